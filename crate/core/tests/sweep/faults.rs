//! What is done to a disk, and how often it was: a kind that is planned and never fires is a hole in the sweep.

use std::collections::BTreeSet;
use std::fmt;

use offprint_protocol::{JournalId, Lsn};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power is cut.
    Crash,
    /// The power is cut again while the files are being recovered.
    CrashInRecovery,
    /// A cut loses an unflushed sector.
    Dropped,
    /// A cut keeps a sector that was written after one that it loses.
    Reordered,
    /// A cut keeps a part of a sector.
    Torn,
    /// What is left where a sector was lost are bytes of an earlier life of the file.
    Stale,
    /// A call throws, having done nothing.
    Throw,
    /// A write throws, having done a part.
    ShortWrite,
    /// A call throws, having done everything.
    ThrowDone,
    /// A flush throws; the cache goes on as if it were clean, and the device never gets the bytes.
    LostFlush,
    /// There is no room.
    Full,
    /// The core dies, the device's cache does not.
    Death,
    /// A flush does nothing and says that it did.
    Lie,
    /// A bit is flipped.
    Flip,
}

impl Fault {
    /// How many kinds there are.
    pub const COUNT: usize = 14;
}

/// How many points were tried, and how often each kind fired.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub points: u64,
    pub recoveries: u64,
    /// How many lives there were on the disk and its clones.
    pub lives: u64,
    fired: [u64; Fault::COUNT],
    /// What lying flushes came to.
    pub lies_harmless: u64,
    pub lies_lost: u64,
    pub lies_told: u64,
    /// Of which histories and Lsns stock SQLite has judged a base.
    pub judged: BTreeSet<(JournalId, Lsn)>,
}

impl Report {
    pub fn fired(&mut self, fault: Fault) {
        self.fired[fault as usize] += 1;
    }

    pub fn count(&self, fault: Fault) -> u64 {
        self.fired[fault as usize]
    }

    /// Prints the sum and fails if a planned kind never fired.
    pub fn close(&self, what: &str, planned: &[Fault]) {
        println!("{what}: {self}");
        for fault in planned {
            assert!(self.count(*fault) > 0, "{what}: {fault:?} was planned and never fired");
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALL: [Fault; Fault::COUNT] = [
            Fault::Crash,
            Fault::CrashInRecovery,
            Fault::Dropped,
            Fault::Reordered,
            Fault::Torn,
            Fault::Stale,
            Fault::Throw,
            Fault::ShortWrite,
            Fault::ThrowDone,
            Fault::LostFlush,
            Fault::Full,
            Fault::Death,
            Fault::Lie,
            Fault::Flip,
        ];
        let (points, recoveries, judged) = (self.points, self.recoveries, self.judged.len());
        write!(f, "{points} points, {recoveries} recoveries, {judged} bases judged by SQLite")?;
        for fault in ALL {
            if self.count(fault) > 0 {
                write!(f, ", {fault:?} {}", self.count(fault))?;
            }
        }
        if self.count(Fault::Lie) > 0 {
            let (harmless, lost, told) = (self.lies_harmless, self.lies_lost, self.lies_told);
            write!(f, " ({harmless} harmless, {lost} an earlier state, {told} told as damage)")?;
        }
        Ok(())
    }
}
