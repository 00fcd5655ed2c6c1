//! What a run is made of, and what it did.

use crate::faults::Faults;

/// What a run is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The seed: the whole run follows from it.
    pub seed: u64,
    /// How many profiles; each has every document.
    pub clients: usize,
    /// How many documents.
    pub documents: usize,
    /// How many steps with faults, before everything has to settle.
    pub steps: usize,
    /// Whether a server may lose its files.
    pub wipe: bool,
    /// Whether a server may be given an older copy of its files.
    pub restore: bool,
    /// Whether a client's profile is copied.
    pub copy: bool,
    /// Whether somebody clears what a browser keeps.
    pub clear: bool,
    /// Whether the first profile begins without a server.
    pub alone: bool,
    /// Whether two primaries share each document's journal, and clients connect to either.
    pub shared: bool,
    /// Whether definitions and protocol versions differ for a while.
    pub skew: bool,
    /// Whether each document has back ends.
    pub back_ends: bool,
}

impl Plan {
    /// The plan of a seed, so that many of them in a row have everything in every mixture.
    pub fn of(seed: u64, steps: usize) -> Self {
        Self {
            clients: 1 + (seed % 4) as usize,
            documents: 1 + usize::from(seed.is_multiple_of(3)),
            wipe: seed.is_multiple_of(5),
            restore: matches!(seed % 8, 0 | 2 | 3),
            copy: seed.is_multiple_of(7),
            clear: seed % 5 == 2,
            alone: seed.is_multiple_of(6),
            shared: seed % 8 > 4,
            skew: seed % 9 < 3,
            // Alone with its server, a client may offer it what it made without.
            back_ends: !seed.is_multiple_of(4),
            ..Self::quiet(seed, steps)
        }
    }

    /// A client and a document, and only what goes wrong everywhere.
    pub fn quiet(seed: u64, steps: usize) -> Self {
        Self {
            seed,
            clients: 1,
            documents: 1,
            steps,
            wipe: false,
            restore: false,
            copy: false,
            clear: false,
            alone: false,
            shared: false,
            skew: false,
            back_ends: false,
        }
    }
}

/// What a run did.
#[derive(Debug, Clone)]
pub struct Report {
    /// Steps taken, settling included.
    pub steps: usize,
    /// Time that went by in the world, in milliseconds.
    pub simulated: u64,
    /// Mutations asked for.
    pub mutations: usize,
    /// Commits that the primaries have at the end.
    pub commits: u64,
    /// Faults fired.
    pub faults: Faults,
}
