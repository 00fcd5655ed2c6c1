//! How much of everything.

/// How much of everything is done.
#[derive(Debug, Clone)]
pub struct Scale {
    pub(crate) rounds: usize,
    /// Round trips per round.
    pub(crate) trips: usize,
    /// Rows of a small document.
    pub(crate) rows: u64,
    /// Documents that are written to at once.
    pub(crate) documents: u64,
    /// Mutations of each of them, per round.
    pub(crate) mutations: u64,
    /// Mutations that a writer has under way.
    pub(crate) in_flight: u64,
    /// Sessions that hear every commit of one document.
    pub(crate) subscribers: u64,
    /// Mutations of that document, per round.
    pub(crate) shared_mutations: u64,
    pub(crate) idle_sessions: u64,
    /// Rows, of about a kilobyte, of a large document.
    pub(crate) large_rows: u64,
    /// Commits of a document with a past, and its rows.
    pub(crate) commits: u64,
    pub(crate) live_rows: u64,
}

impl Scale {
    /// What the figures to reach are about.
    pub fn full() -> Self {
        Self {
            rounds: 5,
            trips: 300,
            rows: 5000,
            documents: 100,
            mutations: 400,
            in_flight: 64,
            subscribers: 50,
            shared_mutations: 10_000,
            idle_sessions: 10_000,
            large_rows: 9000,
            commits: 10_000,
            live_rows: 7300,
        }
    }

    /// A little of everything; the bytes of a change depend on how large the document is, which so is as large as in full.
    pub fn quick() -> Self {
        Self {
            rounds: 1,
            trips: 10,
            rows: 5000,
            documents: 4,
            mutations: 40,
            in_flight: 8,
            subscribers: 3,
            shared_mutations: 50,
            idle_sessions: 50,
            large_rows: 500,
            commits: 50,
            live_rows: 500,
        }
    }
}
