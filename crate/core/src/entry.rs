//! What one append adds to a document's journal: its records.

use offprint_protocol::{ClientId, Commit, CommitBatch, Error, JournalId, Lsn, Outcome, Rollup};

use crate::image::Image;
use crate::ledger::Ledger;
use crate::record::Record;

/// The longest part of a rollup, in bytes of pages; a commit that is longer is kept as a rollup.
pub(crate) const PART: usize = 1 << 20;

/// A commit, what it decided, and for whom.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When it was appended, in milliseconds since 1970; 0 if that is not known.
    pub at: u64,
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
    pub fn of_commit(
        at: u64,
        clients: Ledger,
        outcomes: Vec<Outcome>,
        commit: Commit,
        after: &Image,
    ) -> Self {
        let bytes: usize = commit.pages.iter().map(|patch| patch.bytes.len()).sum();
        let change = match bytes > PART {
            true => Change::Rollup(after.rollup_since(Lsn(commit.lsn.0 - 1), PART)),
            false => Change::Commit(commit),
        };
        Self { at, clients, outcomes, change }
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
        let mut records = vec![Record::Time(self.at)];
        if self.clients.clients().next().is_some() {
            records.push(Record::Ledger(self.clients.clone()));
        }
        match &self.change {
            Change::Commit(commit) => {
                let (outcomes, commits) = (self.outcomes.clone(), vec![commit.clone()]);
                records.push(Record::Commits(CommitBatch { outcomes, commits }));
            }
            Change::Rollup(parts) => {
                records.extend(with_outcomes(parts, self.outcomes.clone()).into_iter().map(Record::Rollup));
            }
            Change::Adopted(_) => {}
        }
        records
    }
}

fn with_outcomes(parts: &[Rollup], outcomes: Vec<Outcome>) -> Vec<Rollup> {
    let mut parts = parts.to_vec();
    if let Some(last) = parts.last_mut() {
        last.outcomes = outcomes;
    }
    parts
}
