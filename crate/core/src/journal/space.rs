//! Space on the device: logs grow before they are full, and what is done when there is no more.
//!
//! Only batches that take room may fail for want of it: growth, a kept log, pages of a base, `aside`. Everything else overwrites
//! what is there. So what fits goes on being flushed while the rest waits.

use offprint_protocol::rpc::Shortage;
use offprint_protocol::{Code, Error};

use crate::disk::{DiskOp, FileName};
use crate::head::{Role, Side};
use crate::journal::running::{Flight, Running};
use crate::log::LOG_GROWTH;

/// A replica's log grows once less than this is left, so that a shortage is known before anything fails by it.
const AHEAD: u64 = 256 << 10;

/// A checkpoint that would leave fewer bytes behind makes no room worth having.
const RECLAIM: u64 = 64 << 10;

/// After so long without an append, in milliseconds, the logs are cut to what they need.
const IDLE: u64 = 10_000;

/// Mutations up to this size fit, or the document is read-only.
const SMALL: u64 = 1 << 10;

/// Something did not fit.
#[derive(Debug)]
pub(super) struct Lack {
    pub(super) error: Error,
    pub(super) hold: Hold,
    pub(super) has_dropped_spare: bool,
}

/// What a lack of room holds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// What takes room, until [`Running::retry`].
    Blocked,
    /// Nothing: it is tried again.
    Trying,
    /// Everything: the batch that failed has to be repeated as it is.
    Stuck,
}

impl Running {
    pub(super) fn is_blocked(&self) -> bool {
        self.lack.as_ref().is_some_and(|lack| lack.hold == Hold::Blocked)
    }

    /// Fails with `quota` if a mutation of this size would have to wait for room.
    pub(super) fn check_room(&self, bytes: usize) -> Result<(), Error> {
        match &self.lack {
            Some(lack) if lack.hold == Hold::Stuck || !self.fits(bytes as u64) => {
                let what = format!("the device has no room for the mutation: {}", lack.error.message);
                Err(Error::new(Code::Quota, what))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn shortage(&self) -> Option<(&Error, Shortage)> {
        let lack = self.lack.as_ref()?;
        let shortage = if lack.hold == Hold::Stuck || !self.fits(SMALL) {
            Shortage::ReadOnly
        } else if lack.has_dropped_spare {
            Shortage::NotPulling
        } else {
            Shortage::Reorganising
        };
        Some((&lack.error, shortage))
    }

    /// Whether so many bytes can be appended now. If not, the log grows if it can.
    pub(super) fn has_room(&mut self, bytes: u64) -> bool {
        let has_room = self.lack.is_none() && (self.opening.is_some() || self.fits(bytes));
        self.wanted = if has_room { 0 } else { bytes };
        has_room
    }

    /// What takes room may be tried again.
    pub(super) fn retry(&mut self) {
        if let Some(lack) = self.lack.as_mut().filter(|lack| lack.hold == Hold::Blocked) {
            lack.hold = Hold::Trying;
            lack.has_dropped_spare = false;
        }
    }

    /// A batch was carried out: perhaps there is room again.
    pub(super) fn found_room(&mut self, flight: Flight) {
        let Some(lack) = &mut self.lack else { return };
        match flight {
            Flight::Cut { .. } => lack.hold = Hold::Trying,
            Flight::Grow { .. } | Flight::Keep { .. } | Flight::Aside | Flight::NewBase | Flight::CatchUp => {
                self.lack = None
            }
            _ if lack.hold == Hold::Stuck => self.lack = None,
            // What is spare has changed.
            Flight::Flip { .. } | Flight::Head => lack.has_dropped_spare = false,
            _ => {}
        }
    }

    /// A lack ends when nothing is wanted any more, too.
    pub(super) fn end_lack(&mut self) {
        let wants_room = self.opening.is_some()
            || self.catch_up.is_some()
            || self.missing_growth().is_some()
            || self.growth_ahead().is_some();
        if !wants_room {
            self.lack = None;
        }
    }

    pub(super) fn grow(&self, file: FileName, to: u64) -> Option<(Flight, Vec<DiskOp>)> {
        let ops = || vec![DiskOp::Grow { file, to }, DiskOp::Flush { file }];
        (!self.is_blocked()).then(|| (Flight::Grow { file, to }, ops()))
    }

    pub(super) fn grown(&mut self, file: FileName, to: u64) {
        match file {
            FileName::Head => self.head_len = to,
            FileName::Log0 => self.log_len[0] = to,
            _ => self.log_len[1] = to,
        }
    }

    /// Room for what was appended.
    pub(super) fn growth_ops(&mut self) -> Option<(Flight, Vec<DiskOp>)> {
        let (file, to) = self.missing_growth()?;
        self.grow(file, to)
    }

    /// Room for what may be appended.
    pub(super) fn ahead_ops(&mut self) -> Option<(Flight, Vec<DiskOp>)> {
        let (file, to) = self.growth_ahead()?;
        self.grow(file, to)
    }

    fn missing_growth(&self) -> Option<(FileName, u64)> {
        let end = self.tail.as_ref()?.end().next_multiple_of(LOG_GROWTH);
        (self.log_len[self.head.log.index()] < end).then(|| (self.head.log.log(), end))
    }

    fn growth_ahead(&self) -> Option<(FileName, u64)> {
        // A primary refuses to go on without room; it would do so too early.
        if self.head.role == Role::Primary || self.opening.is_some() {
            return None;
        }
        let (log, other) = (self.head.log, self.head.log.other());
        let end = self.tail.as_ref()?.end() + AHEAD.max(self.wanted);
        if self.log_len[log.index()] < end {
            return Some((log.log(), end.next_multiple_of(LOG_GROWTH)));
        }
        (self.log_len[other.index()] < LOG_GROWTH).then(|| (other.log(), LOG_GROWTH))
    }

    /// Spare room is given up once a checkpoint does not help.
    pub(super) fn spare_ops(&mut self) -> Option<(Flight, Vec<DiskOp>)> {
        let may_drop = !self.is_blocked_and_stale();
        let lack = self.lack.as_mut().filter(|lack| lack.hold == Hold::Blocked && may_drop)?;
        if std::mem::replace(&mut lack.has_dropped_spare, true) {
            return None;
        }
        self.drop_spare(false)
    }

    /// Spare room is given up while nothing happens.
    pub(super) fn tidy_ops(&mut self) -> Option<(Flight, Vec<DiskOp>)> {
        if self.is_idle && self.lack.is_none() && self.is_large() { self.drop_spare(true) } else { None }
    }

    pub(super) fn is_blocked_and_stale(&self) -> bool {
        self.is_blocked() && self.opening.is_none() && self.stale() >= RECLAIM
    }

    pub(super) fn is_idle_and_stale(&self) -> bool {
        self.is_idle && self.is_large() && self.is_worth_a_checkpoint()
    }

    /// Whether a checkpoint while nothing happens is worth its writes. A primary's log spares whoever lacks its commits a
    /// download, and an opening may be long: it has everybody's entry of the ledger.
    fn is_worth_a_checkpoint(&self) -> bool {
        self.head.role == Role::Replica && self.stale() >= RECLAIM
    }

    fn is_large(&self) -> bool {
        self.log_len.iter().sum::<u64>() > self.log_limit()
            || self.base_len[self.head.base.other().index()] > 0
    }

    /// What the files may be cut to.
    fn needed(&self, is_idle: bool) -> ([u64; 2], [u64; 2]) {
        let (mut logs, mut bases) = (self.log_len, self.base_len);
        let (log, base) = (self.head.log, self.head.base);
        match &self.opening {
            // The other log is being written. A slot may still name the other base.
            Some(opening) => {
                if !opening.other_base && self.named.iter().flatten().all(|(_, named)| *named == base) {
                    bases[base.other().index()] = 0;
                }
            }
            None => {
                bases[base.other().index()] = 0;
                // With a history the other log is kept first, at the next opening.
                if self.history.is_none() {
                    let other = &mut logs[log.other().index()];
                    *other = (*other).min(LOG_GROWTH);
                }
                if let Some(tail) = self.tail.as_ref().filter(|_| is_idle) {
                    let active = &mut logs[log.index()];
                    *active = (*active).min((tail.end() + AHEAD).next_multiple_of(LOG_GROWTH));
                }
            }
        }
        (logs, bases)
    }

    /// Cuts the files to what they need. What no head may name any more is cut after both slots name something else.
    fn drop_spare(&mut self, is_idle: bool) -> Option<(Flight, Vec<DiskOp>)> {
        let (logs, bases) = self.needed(is_idle);
        let mut cuts = Vec::new();
        for side in [Side::Zero, Side::One] {
            let at = side.index();
            if logs[at] < self.log_len[at] {
                cuts.push(DiskOp::Truncate { file: side.log(), to: logs[at] });
            }
            if bases[at] < self.base_len[at] {
                cuts.push(DiskOp::Truncate { file: side.base(), to: bases[at] });
            }
        }
        if cuts.is_empty() {
            return None;
        }
        let newest = (self.head.log, self.head.base);
        let is_named = self.opening.is_none() && self.named.iter().flatten().any(|named| *named != newest);
        let mut ops = Vec::new();
        if is_named {
            self.head.generation += 1;
            ops.extend(self.head_ops());
        }
        ops.extend(cuts);
        Some((Flight::Cut { logs, bases, is_named }, ops))
    }

    /// Notes the time. Once nothing was appended for a while, the files are cut to what they need.
    pub(super) fn tick(&mut self, now: u64) {
        if self.quiet.1 != self.appended || now < self.quiet.0 {
            self.quiet = (now, self.appended);
        }
        self.is_idle = now >= self.quiet.0.saturating_add(IDLE);
    }

    /// When [`Running::tick`] has something to do next.
    pub(super) fn due(&self) -> Option<u64> {
        let can_cut = || self.is_worth_a_checkpoint() || self.needed(true) != (self.log_len, self.base_len);
        (!self.is_idle && self.tail.is_some() && self.is_large() && can_cut())
            .then(|| self.quiet.0.saturating_add(IDLE))
    }
}
