//! What a new client downloads of a document with a long past.

use std::collections::BTreeMap;

use lz4_flex::block::compress;
use offprint_protocol::PageNo;
use offprint_protocol::message::ServerMessage;

use crate::Result;
use crate::client::Client;
use crate::figure::{Figure, Goal};
use crate::program::{Cores, Program};
use crate::scale::Scale;
use crate::setup::Setup;
use crate::todo;

/// The websocket's bytes, beside the same pages compressed without anything else: each by itself, and all at once.
pub(super) async fn measure(setup: &Setup, scale: &Scale) -> Result<[Figure; 2]> {
    let data = tempfile::tempdir()?;
    let server = Program::start(setup, data.path(), Cores::All)?;
    let mut writer = Client::greeted(server.address, setup.hello("past", 0)?).await?;
    writer.confirm(todo::fill(0, scale.live_rows)).await?;
    while writer.lsn().0 < scale.commits {
        writer.confirm(todo::toggle((writer.lsn().0 * 61) % scale.live_rows)).await?;
    }
    let mut newcomer = Client::connect(server.address, setup.hello("past", 1)?).await?;
    let before = newcomer.received();
    newcomer.say_hello().await?;
    let mut pages = BTreeMap::new();
    while !newcomer.is_caught_up() {
        if let ServerMessage::Rollup(part) = newcomer.hear().await? {
            for patch in part.pages {
                pages.insert(patch.no, patch.apply(None)?);
            }
        }
    }
    let downloaded = (newcomer.received() - before) as f64 / 1000.0;
    if pages.len() as u64 * 4096 != newcomer.size() || !pages.contains_key(&PageNo(1)) {
        return Err("a new client did not get every page".into());
    }
    let each: usize = pages.values().map(|page| compress(&page[..]).len()).sum();
    let all: Vec<u8> = pages.values().flat_map(|page| page.iter().copied()).collect();
    let name = format!("joining after {} commits, {:.2} MB live", writer.lsn(), all.len() as f64 / 1e6);
    let whole = compress(&all).len();
    Ok([
        Figure::new(name, "kB", vec![downloaded])
            .beside("LZ4 of each page", vec![each as f64 / 1000.0])
            .with_goal(Goal::Ratio(1.1))
            .counted(),
        Figure::new("… beside the pages as one", "kB", vec![downloaded])
            .beside("LZ4 of the file", vec![whole as f64 / 1000.0]),
    ])
}
