//! What one commit means to those who wait for it: the same in the journal and on the wire.

use offprint_protocol::message::ServerMessage;
use offprint_protocol::{ClientId, Commit, CommitBatch, Encode, Outcome, Rollup};

use crate::record::Record;

/// The longest part of a rollup, in bytes of pages; a commit that is longer travels as a rollup.
pub(crate) const PART: usize = 1 << 20;

/// A commit and what it decided.
#[derive(Debug)]
pub(crate) struct News {
    outcomes: Vec<Outcome>,
    change: Change,
}

#[derive(Debug)]
enum Change {
    Commit(Commit),
    Rollup(Vec<Rollup>),
}

impl News {
    /// `rollup` gives the same change in parts, if it has to be cut up.
    pub(crate) fn new(outcomes: Vec<Outcome>, commit: Commit, rollup: impl FnOnce() -> Vec<Rollup>) -> Self {
        let bytes: usize = commit.pages.iter().map(|patch| patch.bytes.len()).sum();
        let change = if bytes > PART { Change::Rollup(rollup()) } else { Change::Commit(commit) };
        Self { outcomes, change }
    }

    /// Whether it decided something of this client's.
    pub(crate) fn concerns(&self, client: ClientId) -> bool {
        self.outcomes.iter().any(|outcome| outcome.client == client)
    }

    /// What the journal keeps.
    pub(crate) fn records(&self) -> Vec<Record> {
        match &self.change {
            Change::Commit(commit) => vec![Record::Commits(batch(commit, self.outcomes.clone()))],
            Change::Rollup(parts) => {
                with_outcomes(parts, self.outcomes.clone()).into_iter().map(Record::Rollup).collect()
            }
        }
    }

    /// What a session is sent: its own client's outcome at most.
    pub(crate) fn frames(&self, client: Option<ClientId>) -> Vec<Vec<u8>> {
        let own = |outcome: &&Outcome| Some(outcome.client) == client;
        let outcomes: Vec<Outcome> = self.outcomes.iter().filter(own).cloned().collect();
        match &self.change {
            Change::Commit(commit) => vec![ServerMessage::Commits(batch(commit, outcomes)).to_bytes()],
            Change::Rollup(parts) => with_outcomes(parts, outcomes)
                .into_iter()
                .map(|part| ServerMessage::Rollup(part).to_bytes())
                .collect(),
        }
    }
}

fn batch(commit: &Commit, outcomes: Vec<Outcome>) -> CommitBatch {
    CommitBatch { outcomes, commits: vec![commit.clone()] }
}

fn with_outcomes(parts: &[Rollup], outcomes: Vec<Outcome>) -> Vec<Rollup> {
    let mut parts = parts.to_vec();
    if let Some(last) = parts.last_mut() {
        last.outcomes = outcomes;
    }
    parts
}
