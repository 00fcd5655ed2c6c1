//! What a primary's operator allows; and what it has done so far, for those who watch.

use offprint_protocol::Error;
use offprint_protocol::page::MAX_PAGES;

use super::batch::Appending;
use super::{Open, Primary};
use crate::budget::TimeLimit;
use crate::mutator::MAX_ARGUMENT_BYTES;

/// What a primary's operator allows. What exceeds it is rejected, mutation by mutation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrimaryLimits {
    /// The most pages that a document may grow to (`limit`).
    pub pages: u32,
    /// The most bytes that a mutation's arguments may have together (`too_large`); at most [`MAX_ARGUMENT_BYTES`].
    pub arguments: usize,
    /// How many bytes a session is sent before its host is asked whether they were written.
    pub window: usize,
    /// From so many pages on a document is offered as a snapshot to clients that lack all of it and can fetch one.
    pub snapshot_pages: u32,
}

impl Default for PrimaryLimits {
    fn default() -> Self {
        Self { pages: MAX_PAGES, arguments: MAX_ARGUMENT_BYTES, window: 1 << 20, snapshot_pages: 64 }
    }
}

/// What a primary has done since it was made; durable, all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrimaryCounts {
    /// Commits that decided something.
    pub commits: u64,
    /// Mutations decided.
    pub mutations: u64,
    /// Of those, rejected.
    pub rejections: u64,
    /// Commits that had to be made again, because another primary was first.
    pub lost_races: u64,
    /// How often it let go of the document because nobody needed it.
    pub rests: u64,
}

impl PrimaryCounts {
    pub(super) fn take(&mut self, done: &Appending) {
        self.commits += u64::from(!done.batch.is_empty());
        self.mutations += done.batch.len() as u64;
        self.rejections +=
            done.entry.outcomes.iter().map(|outcome| outcome.rejections.len() as u64).sum::<u64>();
    }
}

impl Primary {
    /// The same primary under these limits; the files must not have been read yet.
    #[must_use]
    pub fn limited(mut self, limits: PrimaryLimits) -> Self {
        self.mutators.limit_arguments(limits.arguments);
        self.limits = limits;
        self
    }

    /// The same primary, each of whose mutations may take so long (`limit`); the files must not have been read yet.
    #[must_use]
    pub fn timed(mut self, limit: TimeLimit) -> Self {
        self.time = Some(limit);
        self
    }

    /// What it has done since it was made.
    pub fn counts(&self) -> PrimaryCounts {
        self.counts
    }
}

impl Open {
    pub(super) fn limit(&mut self, limits: PrimaryLimits, time: Option<&TimeLimit>) -> Result<(), Error> {
        if let Some(time) = time {
            self.database.limit_time(time.clone());
        }
        self.database.limit_pages(limits.pages.min(MAX_PAGES))
    }
}
