//! What a server on one core confirms.

use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Result;
use crate::client::Client;
use crate::figure::{Figure, Goal};
use crate::program::{Cores, Program};
use crate::scale::Scale;
use crate::setup::Setup;
use crate::todo;

/// Confirmed mutations per second, one writer per document.
pub(super) async fn many_documents(setup: &Setup, scale: &Scale) -> Result<Figure> {
    let data = tempfile::tempdir()?;
    let server = Program::start(setup, data.path(), Cores::One)?;
    let mut writers = Vec::new();
    for number in 0..scale.documents {
        let hello = setup.hello(&format!("document-{number}"), number)?;
        let mut writer = Client::greeted(server.address, hello).await?;
        writer.confirm(todo::fill(0, scale.rows)).await?;
        writers.push(writer);
    }
    let mut rates = Vec::new();
    for _ in 0..scale.rounds {
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for mut writer in writers.drain(..) {
            let scale = scale.clone();
            tasks.spawn(async move {
                write(&mut writer, &scale, scale.mutations).await?;
                Ok(writer)
            });
        }
        writers = tasks.join_all().await.into_iter().collect::<Result<_>>()?;
        rates.push((scale.documents * scale.mutations) as f64 / began.elapsed().as_secs_f64());
    }
    let name =
        format!("confirmed, one core, {} documents, {} in flight in each", scale.documents, scale.in_flight);
    Ok(Figure::new(name, "/s", rates).with_goal(Goal::AtLeast(8000.0)))
}

/// Confirmed mutations per second of one writer, until all subscribers have everything.
pub(super) async fn one_document(setup: &Setup, scale: &Scale) -> Result<Figure> {
    let data = tempfile::tempdir()?;
    let server = Program::start(setup, data.path(), Cores::One)?;
    let mut writer = Client::greeted(server.address, setup.hello("shared", 0)?).await?;
    writer.confirm(todo::fill(0, scale.rows)).await?;
    let mut subscribers = Vec::new();
    for number in 1..=scale.subscribers {
        subscribers.push(Client::greeted(server.address, setup.hello("shared", number)?).await?);
    }
    let mut rates = Vec::new();
    for _ in 0..scale.rounds {
        let began = Instant::now();
        let (last, target) = watch::channel(None);
        let mut tasks = JoinSet::new();
        for mut subscriber in subscribers.drain(..) {
            let mut target = target.clone();
            tasks.spawn(async move {
                while target.borrow_and_update().is_none_or(|last| subscriber.lsn() < last) {
                    tokio::select! {
                        heard = subscriber.hear() => drop(heard?),
                        changed = target.changed() => changed?,
                    }
                }
                Ok(subscriber)
            });
        }
        write(&mut writer, scale, scale.shared_mutations).await?;
        last.send(Some(writer.lsn()))?;
        subscribers = tasks.join_all().await.into_iter().collect::<Result<_>>()?;
        rates.push(scale.shared_mutations as f64 / began.elapsed().as_secs_f64());
    }
    let name = format!(
        "confirmed, one core, one document, {} subscribers, {} in flight",
        scale.subscribers, scale.in_flight
    );
    Ok(Figure::new(name, "/s", rates).with_goal(Goal::AtLeast(2000.0)))
}

/// Makes so many mutations, and waits until they are decided; what is decided makes room for the next.
async fn write(writer: &mut Client, scale: &Scale, count: u64) -> Result<()> {
    let mut made = 0;
    while made < count {
        let more = (scale.in_flight - writer.in_flight()).min(count - made);
        writer.push((made..made + more).map(|at| todo::toggle((at * 61) % scale.rows))).await?;
        made += more;
        while writer.in_flight() >= scale.in_flight {
            writer.hear().await?;
        }
    }
    writer.settle().await
}
