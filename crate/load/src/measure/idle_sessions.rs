//! What a session costs while nothing happens.

use futures_util::{StreamExt, stream};

use crate::Result;
use crate::client::Client;
use crate::figure::{Figure, Goal};
use crate::files::allow_files;
use crate::program::{Cores, Program};
use crate::scale::Scale;
use crate::setup::Setup;
use crate::todo;

/// How many connect at once.
const CROWD: usize = 100;
/// Files of this process and of a server that are not sessions.
const OTHER_FILES: u64 = 1000;

/// The memory of a server that has many sessions more than before, over the documents that are open anyway.
pub(super) async fn measure(setup: &Setup, scale: &Scale) -> Result<Figure> {
    allow_files(scale.idle_sessions + OTHER_FILES)?;
    let data = tempfile::tempdir()?;
    let server = Program::start(setup, data.path(), Cores::All)?;
    let address = server.address;
    let document = |number: u64| format!("document-{}", number % scale.documents);
    let mut sessions = Vec::new();
    for number in 0..scale.documents {
        let mut session = Client::greeted(address, setup.hello(&document(number), number)?).await?;
        session.confirm(todo::insert(number)).await?;
        sessions.push(session);
    }
    let before = server.memory()?;
    let numbers = scale.documents..scale.documents + scale.idle_sessions;
    let mut joining = stream::iter(numbers)
        .map(|number| {
            let hello = setup.hello(&document(number), number);
            async move { Client::greeted(address, hello?).await }
        })
        .buffer_unordered(CROWD);
    while let Some(session) = joining.next().await {
        sessions.push(session?);
    }
    // A few sessions may fit into memory that the process had already.
    let each = server.memory()?.saturating_sub(before).max(1) as f64 / scale.idle_sessions as f64;
    // Each of them was still there.
    for session in &mut sessions {
        session.ping().await?;
    }
    let name = format!("memory of a session, {} of them idle", scale.idle_sessions);
    Ok(Figure::new(name, "kB", vec![each / 1000.0]).with_goal(Goal::AtMost(20.0)))
}
