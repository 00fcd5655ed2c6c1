//! The history that a disk has of a primary's logs, as a host would read it.

use offprint_core::history::{self, Kept, Restore};
use offprint_core::image::Image;
use offprint_protocol::{Error, Lsn};

/// Logs that tell something, in their order, each cut to what it tells.
pub struct Past(Vec<(Kept, Vec<u8>)>);

impl Past {
    /// What was put aside, and the two logs.
    pub fn of<'a>(kept: impl Iterator<Item = &'a [u8]>, current: [&'a [u8]; 2]) -> Self {
        let describe = |log: &[u8]| {
            let kept = history::describe(log)?;
            Some((kept, log[..kept.len as usize].to_vec()))
        };
        let kept = kept.filter_map(describe).filter(|(kept, _)| kept.is_telling());
        let mut logs: Vec<_> = kept.chain(current.into_iter().filter_map(describe)).collect();
        logs.sort_by_key(|(kept, _)| (kept.start, kept.end));
        Self(logs)
    }

    pub fn logs(&self) -> Vec<Kept> {
        self.0.iter().map(|(kept, _)| *kept).collect()
    }

    pub fn behind(&self) -> u64 {
        history::behind(&self.logs())
    }

    pub fn image(&self, lsn: Lsn) -> Result<Image, Error> {
        let mut restore = Restore::new(lsn);
        for (_, log) in &self.0[history::chain(&self.logs(), lsn)?] {
            restore.log(log)?;
        }
        restore.finish()
    }

    /// The last Lsn of this time or before.
    pub fn until(&self, time: u64) -> Option<Lsn> {
        let newest = |log: &[u8]| history::moments(log).into_iter().rfind(|(_, at)| *at <= time);
        self.0.iter().rev().find_map(|(_, log)| newest(log)).map(|(lsn, _)| lsn)
    }

    /// Changes one bit of one of the logs.
    pub fn flip(&mut self, log: usize, at: usize, mask: u8) {
        self.0[log].1[at] ^= mask;
    }

    pub fn without(mut self, log: usize) -> Self {
        self.0.remove(log);
        self
    }

    pub fn drop_first(&mut self, count: usize) {
        self.0.drain(..count);
    }
}
