//! How long a confirmation takes.

use std::time::Instant;

use crate::Result;
use crate::bare::Bare;
use crate::client::Client;
use crate::figure::{Figure, Goal, median};
use crate::program::{Cores, Program};
use crate::scale::Scale;
use crate::setup::Setup;
use crate::todo;

/// From the push to its outcome, beside the same bytes appended, flushed and echoed; by turns.
pub(super) async fn measure(setup: &Setup, scale: &Scale) -> Result<[Figure; 1]> {
    let data = tempfile::tempdir()?;
    let server = Program::start(setup, data.path(), Cores::All)?;
    let mut client = Client::greeted(server.address, setup.hello("round-trip", 1)?).await?;
    let mut bare = Bare::start(data.path()).await?;
    client.confirm(todo::fill(0, scale.rows)).await?;
    let (mut confirms, mut floors) = (Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=scale.rounds {
        let (mut taken, mut floor) = (Vec::new(), Vec::new());
        for trip in 0..scale.trips as u64 {
            let began = Instant::now();
            let frame = client.push([todo::toggle((trip * 61) % scale.rows)]).await?;
            client.settle().await?;
            taken.push(began.elapsed().as_secs_f64() * 1000.0);
            let began = Instant::now();
            bare.trip(frame).await?;
            floor.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        if round > 0 {
            confirms.push(median(taken));
            floors.push(median(floor));
        }
    }
    let figure = Figure::new("confirm round trip", "ms", confirms);
    Ok([figure.beside("websocket echo of it, appended and flushed", floors).with_goal(Goal::Ratio(3.0))])
}
