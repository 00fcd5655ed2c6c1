//! What a small mutation costs another client on the wire.

use crate::Result;
use crate::client::Client;
use crate::figure::{Figure, Goal};
use crate::program::{Cores, Program};
use crate::scale::Scale;
use crate::setup::Setup;
use crate::todo::{self, Call};

/// Mutations per round.
const COUNT: u64 = 50;

/// All bytes that come in at the other client's socket, per mutation.
pub(super) async fn measure(setup: &Setup, scale: &Scale) -> Result<[Figure; 2]> {
    let data = tempfile::tempdir()?;
    let server = Program::start(setup, data.path(), Cores::All)?;
    let mut writer = Client::greeted(server.address, setup.hello("wire", 0)?).await?;
    writer.confirm(todo::fill(0, scale.rows)).await?;
    let mut other = Client::greeted(server.address, setup.hello("wire", 1)?).await?;
    let toggles = each(&mut writer, &mut other, scale, |at| todo::toggle((at * 61) % scale.rows)).await?;
    let inserts = each(&mut writer, &mut other, scale, todo::insert).await?;
    Ok([
        Figure::new("a toggle, to another client", "B", toggles).with_goal(Goal::AtMost(120.0)).counted(),
        Figure::new("a small insert, to another client", "B", inserts)
            .with_goal(Goal::AtMost(1600.0))
            .counted(),
    ])
}

async fn each(
    writer: &mut Client,
    other: &mut Client,
    scale: &Scale,
    call: impl Fn(u64) -> Call,
) -> Result<Vec<f64>> {
    let mut rounds = Vec::new();
    for round in 0..scale.rounds as u64 {
        let before = other.received();
        for at in round * COUNT..(round + 1) * COUNT {
            writer.confirm(call(at)).await?;
            other.until(writer.lsn()).await?;
        }
        rounds.push((other.received() - before) as f64 / COUNT as f64);
    }
    Ok(rounds)
}
