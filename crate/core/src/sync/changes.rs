//! What a server says happened to the document.

use offprint_protocol::{Commit, CommitBatch, JournalId, Outcome, PagePatch, Rejection, Rollup};

/// What happened to the document, to be applied in order.
#[derive(Debug)]
pub(crate) enum Changes {
    /// Commits on top of what is here.
    Commits(CommitBatch),
    /// All parts of a rollup.
    Rollup { journal: JournalId, parts: Vec<Rollup> },
}

impl Changes {
    /// About how many bytes it takes in the log, and not less. What replaces everything takes a base instead.
    pub(crate) fn size(&self) -> u64 {
        let outcomes = |outcomes: &[Outcome]| {
            let rejection = |one: &Rejection| 64 + one.name.len() + one.code.len() + one.message.len();
            let bytes = |one: &Outcome| 64 + one.rejections.iter().map(rejection).sum::<usize>();
            outcomes.iter().map(bytes).sum::<usize>()
        };
        let pages = |part: &Rollup| part.pages.iter().map(PagePatch::size).sum::<usize>();
        let bytes = match self {
            Changes::Commits(batch) => {
                outcomes(&batch.outcomes) + batch.commits.iter().map(Commit::size).sum::<usize>()
            }
            Changes::Rollup { parts, .. } if parts.iter().any(|part| part.from.0 == 0) => 0,
            Changes::Rollup { parts, .. } => {
                parts.iter().map(|part| 128 + outcomes(&part.outcomes) + pages(part)).sum()
            }
        };
        bytes as u64 + 64
    }
}
