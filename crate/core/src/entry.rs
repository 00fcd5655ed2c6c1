//! What one append adds to a document's journal: the same in its records and on the wire.

use offprint_protocol::message::ServerMessage;
use offprint_protocol::{ClientId, Commit, CommitBatch, Encode, Error, JournalId, Lsn, Outcome, Rollup};

use crate::image::Image;
use crate::ledger::Ledger;
use crate::record::Record;

/// The longest part of a rollup, in bytes of pages; a commit that is longer travels as a rollup.
pub(crate) const PART: usize = 1 << 20;

/// A commit, what it decided, and for whom.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Clients that the journal may not know as they were before the outcomes.
    pub clients: Ledger,
    /// What it decided.
    pub outcomes: Vec<Outcome>,
    /// What it changed.
    pub change: Change,
}

/// What an [`Entry`] makes of the document.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The commit that follows.
    Commit(Commit),
    /// The commit that follows, cut up.
    Rollup(Vec<Rollup>),
    /// Another history, which a device made: only while the journal has no commit.
    Adopted(Image),
}

impl Entry {
    /// The entry of a commit that leads to `after`.
    pub fn of_commit(clients: Ledger, outcomes: Vec<Outcome>, commit: Commit, after: &Image) -> Self {
        let bytes: usize = commit.pages.iter().map(|patch| patch.bytes.len()).sum();
        let change = match bytes > PART {
            true => Change::Rollup(after.rollup_since(Lsn(commit.lsn.0 - 1), PART)),
            false => Change::Commit(commit),
        };
        Self { clients, outcomes, change }
    }

    /// The journal's end after it.
    pub fn lsn(&self) -> Lsn {
        match &self.change {
            Change::Commit(commit) => commit.lsn,
            Change::Rollup(parts) => parts.last().map_or(Lsn(0), |part| part.to),
            Change::Adopted(image) => image.lsn(),
        }
    }

    /// Applies the change, wholly or not at all.
    pub fn apply(&self, journal: JournalId, image: &mut Image) -> Result<(), Error> {
        match &self.change {
            Change::Commit(commit) => image.apply_commit(commit),
            Change::Rollup(parts) => image.apply_rollup(journal, parts),
            Change::Adopted(adopted) => {
                image.clone_from(adopted);
                Ok(())
            }
        }
    }

    /// Whether it decided something of this client's.
    pub(crate) fn concerns(&self, client: ClientId) -> bool {
        self.outcomes.iter().any(|outcome| outcome.client == client)
    }

    /// What a log keeps of it; another history is not kept in records.
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        if self.clients.clients().next().is_some() {
            records.push(Record::Ledger(self.clients.clone()));
        }
        match &self.change {
            Change::Commit(commit) => {
                records.push(Record::Commits(batch(commit, self.outcomes.clone())));
            }
            Change::Rollup(parts) => {
                records.extend(with_outcomes(parts, self.outcomes.clone()).into_iter().map(Record::Rollup));
            }
            Change::Adopted(_) => {}
        }
        records
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
            // Whose history it is has it already.
            Change::Adopted(_) => {
                let batch = CommitBatch { outcomes, commits: Vec::new() };
                vec![ServerMessage::Commits(batch).to_bytes()]
            }
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
