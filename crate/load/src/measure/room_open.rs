//! How long a large document takes to open.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use offprint_protocol::message::Hello;

use crate::Result;
use crate::client::Client;
use crate::figure::{Figure, Goal};
use crate::files::{evict, files_under};
use crate::program::{Cores, Program};
use crate::scale::Scale;
use crate::setup::Setup;
use crate::todo;

/// Rows per mutation.
const STEP: u64 = 500;
/// More than the answer to a client that is up to date, with what comes before it.
const SHORT: u64 = 4096;

/// From the hello of a client that is up to date until it is told so: the room is open; it is closed; it is closed and
/// the system has forgotten its files. The last two beside reading those files.
pub(super) async fn measure(setup: &Setup, scale: &Scale) -> Result<[Figure; 3]> {
    let data = tempfile::tempdir()?;
    let (hello, bytes) = prepare(setup, scale, data.path()).await?;
    let files = files_under(&data.path().join("large.offprint"))?;
    let mut open = Vec::new();
    let (mut closed, mut closed_floor) = (Vec::new(), Vec::new());
    let (mut evicted, mut evicted_floor) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        evict(&files)?;
        evicted_floor.push(read(&files)?);
        evict(&files)?;
        let (server, taken) = open_cold(setup, data.path(), &hello).await?;
        evicted.push(taken);
        server.stop()?;
        closed_floor.push(read(&files)?);
        let (server, taken) = open_cold(setup, data.path(), &hello).await?;
        closed.push(taken);
        open.push(welcome(&server, &hello).await?);
        server.stop()?;
    }
    let size = format!("{:.1} MB", bytes as f64 / 1e6);
    Ok([
        Figure::new(format!("joining an open room of {size}"), "ms", open),
        Figure::new(format!("opening a room of {size}"), "ms", closed)
            .beside("reading its files", closed_floor)
            .with_goal(Goal::AtMost(20.0)),
        Figure::new("… files not in memory", "ms", evicted)
            .beside("reading its files", evicted_floor)
            .with_goal(Goal::AtMost(20.0)),
    ])
}

/// Makes the document, opened once since, and gives what an up-to-date client of it says, and the document's size.
async fn prepare(setup: &Setup, scale: &Scale, data: &Path) -> Result<(Hello, u64)> {
    let server = Program::start(setup, data, Cores::All)?;
    let mut client = Client::greeted(server.address, setup.hello("large", 1)?).await?;
    for from in (0..scale.large_rows).step_by(STEP as usize) {
        client.confirm(todo::bulk(from, scale.large_rows.min(from + STEP))).await?;
    }
    let prepared = (client.hello(), client.size());
    server.stop()?;
    open_cold(setup, data, &prepared.0).await?.0.stop()?;
    Ok(prepared)
}

/// Starts a server and gives how long the document's first client waits, in milliseconds.
async fn open_cold(setup: &Setup, data: &Path, hello: &Hello) -> Result<(Program, f64)> {
    let server = Program::start(setup, data, Cores::All)?;
    // The room is cold, and the server is not.
    Client::greeted(server.address, setup.hello("other", 1)?).await?;
    let taken = welcome(&server, hello).await?;
    Ok((server, taken))
}

async fn welcome(server: &Program, hello: &Hello) -> Result<f64> {
    let mut client = Client::connect(server.address, hello.clone()).await?;
    let began = Instant::now();
    client.greet().await?;
    let taken = began.elapsed().as_secs_f64() * 1000.0;
    if client.received() > SHORT {
        return Err("a client that was up to date got the document again".into());
    }
    Ok(taken)
}

/// How long the files take to be read, in milliseconds.
fn read(files: &[PathBuf]) -> Result<f64> {
    let began = Instant::now();
    for path in files {
        fs::read(path)?;
    }
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}
