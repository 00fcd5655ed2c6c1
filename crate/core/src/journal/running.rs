//! An open document's files: what the next batch is, and what its answer means.

use offprint_protocol::{Code, Error};

use crate::checkpoint::{Opening, PageQueue};
use crate::disk::{DiskOp, FileName};
use crate::head::{Head, Place, Role, SLOT_LEN, Side};
use crate::journal::space::{Hold, Lack};
use crate::journal::{History, Journal, Ticket};
use crate::log::{Chain, FRAME_LEN, LOG_GROWTH};
use crate::record::Record;
use crate::recovery::{Opened, Rewrite};

/// Below this many bytes behind its opening, a log needs no checkpoint.
const CHECKPOINT_BYTES: u64 = 2 << 20;

const MUTATION: u8 = 1;

#[derive(Debug)]
pub(super) struct Running {
    /// As of the newest batch; a batch is repeated until it succeeds.
    pub(super) head: Head,
    /// The slot that holds it; none before the first.
    pub(super) slot: Option<Side>,
    /// The log and base that each slot names, as flushed.
    pub(super) named: [Option<(Side, Side)>; 2],
    /// The active log; none before the first head of this life.
    pub(super) tail: Option<Tail>,
    pub(super) log_len: [u64; 2],
    /// At least what the bases have.
    pub(super) base_len: [u64; 2],
    pub(super) head_len: u64,
    pub(super) opening: Option<Opening>,
    /// The first opening since the last head that was written without which what follows it may be in no log that counts.
    held_from: Option<Ticket>,
    pub(super) catch_up: Option<PageQueue>,
    /// What the unanswered batch does.
    pub(super) flight: Option<Flight>,
    pub(super) appended: Ticket,
    pub(super) durable: Ticket,
    /// Mutations up to here survive, in the log that an opening will replace; [`Journal::OPENED`] are those recovered.
    pub(super) recorded: Ticket,
    /// Whether the last batch was an append: then something else may have a turn.
    was_append: bool,
    /// Something did not fit.
    pub(super) lack: Option<Lack>,
    /// How many bytes somebody waits to append.
    pub(super) wanted: u64,
    /// Bytes of the active log's rollup, and whether base has them.
    pub(super) rollup: (u64, bool),
    /// Whether the active log tells every page.
    pub(super) is_whole: bool,
    /// What is kept of the logs, if they are kept.
    pub(super) history: Option<History>,
    /// When the newest commit was appended; 0 if that is not known.
    pub(super) time: u64,
    /// Since when nothing was appended, up to which ticket.
    pub(super) quiet: (u64, Ticket),
    pub(super) is_idle: bool,
}

/// The log that is being appended to.
#[derive(Debug)]
pub(super) struct Tail {
    chain: Chain,
    /// Where `queue` begins in the file.
    pub(super) written: u64,
    /// Not in a batch yet.
    pub(super) queue: Vec<u8>,
    /// Whether the next record is the first after a flush.
    starts_write: bool,
}

/// What a batch does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Flight {
    Append {
        upto: Ticket,
    },
    Grow {
        file: FileName,
        to: u64,
    },
    Keep {
        file: FileName,
    },
    Aside,
    /// Of what was recovered, so that it is on the device.
    Rewrite,
    NewBase,
    CatchUp,
    /// A part of an opening: nothing follows from it.
    Part,
    Flip {
        upto: Ticket,
    },
    Head,
    Cut {
        logs: [u64; 2],
        bases: [u64; 2],
        is_named: bool,
    },
}

impl Tail {
    fn append(&mut self, kind: u8, body: &[u8]) {
        self.chain.append(kind, self.starts_write, body, &mut self.queue);
        self.starts_write = false;
    }

    /// Where the file ends once the queue is written.
    pub(super) fn end(&self) -> u64 {
        self.written + self.queue.len() as u64
    }
}

impl Running {
    /// The files as recovery left them; an opening has to follow.
    pub(super) fn new(opened: &Opened, history: Option<History>) -> Self {
        let Opened { slot, named, log_len, base_len, head_len, time, .. } = *opened;
        Self {
            head: opened.head.clone(),
            slot,
            named,
            tail: None,
            log_len,
            base_len,
            head_len,
            opening: None,
            held_from: None,
            catch_up: None,
            flight: None,
            appended: Ticket(0),
            durable: Ticket(0),
            recorded: Ticket(0),
            was_append: false,
            lack: None,
            wanted: 0,
            rollup: (0, false),
            is_whole: false,
            history,
            time,
            quiet: (0, Ticket(0)),
            is_idle: false,
        }
    }

    /// The files hold nothing any more.
    pub(super) fn forget(&mut self) {
        self.head.base_info = None;
        self.slot = None;
        self.named = [None; 2];
        self.tail = None;
        self.log_len = [0; 2];
        self.base_len = [0; 2];
        self.head_len = 0;
        self.opening = None;
        self.held_from = None;
        self.flight = None;
        self.lack = None;
    }

    /// Begins a new log.
    pub(super) fn begin(&mut self, opening: Opening) -> Ticket {
        self.catch_up = None;
        self.appended.0 += 1;
        // A primary's old log can tell all that the new one will, unless that is of another history.
        if self.head.role == Role::Replica || opening.other_base {
            self.held_from.get_or_insert(self.appended);
        }
        self.opening = Some(opening);
        if self.is_idle {
            // This is no news.
            self.quiet.1 = self.appended;
        }
        self.appended
    }

    pub(super) fn append(&mut self, record: &Record) -> Result<Ticket, Error> {
        let (kind, body) = (record.kind(), record.body()?);
        if let Record::Time(at) = record {
            self.time = *at;
        }
        if kind == MUTATION {
            self.check_room(body.len() + FRAME_LEN)?;
        }
        // Until the new log counts, what must not be lost is in the old one as well. On a replica these are the
        // mutations; they go on from what the old log says, whatever history the new one has. A primary's commits do not.
        let both = kind == MUTATION || self.head.role == Role::Primary && self.held_from.is_none();
        if let Some(tail) = &mut self.tail
            && (both || self.opening.is_none())
        {
            tail.append(kind, &body);
        }
        if let Some(opening) = &mut self.opening {
            opening.push(kind, body);
        }
        self.appended.0 += 1;
        Ok(self.appended)
    }

    /// Whether so many more bytes fit into the active log as it is.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        let len = self.log_len[self.head.log.index()];
        self.tail.as_ref().is_some_and(|tail| tail.end() + bytes <= len)
    }

    pub(super) fn next_ops(&mut self) -> Option<Vec<DiskOp>> {
        self.end_lack();
        let (flight, ops) = match self.was_append {
            true => self.background_ops().or_else(|| self.append_ops()),
            false => self.append_ops().or_else(|| self.background_ops()),
        }?;
        self.was_append = matches!(flight, Flight::Append { .. });
        self.flight = Some(flight);
        Some(ops)
    }

    fn append_ops(&mut self) -> Option<(Flight, Vec<DiskOp>)> {
        if !self.fits(0) {
            return None;
        }
        let file = self.head.log.log();
        let tail = self.tail.as_mut().filter(|tail| !tail.queue.is_empty())?;
        let (offset, bytes) = (tail.written, std::mem::take(&mut tail.queue));
        tail.written += bytes.len() as u64;
        tail.starts_write = true;
        let ops = vec![DiskOp::Write { file, offset, bytes }, DiskOp::Flush { file }];
        Some((Flight::Append { upto: self.appended }, ops))
    }

    fn background_ops(&mut self) -> Option<(Flight, Vec<DiskOp>)> {
        self.spare_ops()
            .or_else(|| self.growth_ops())
            .or_else(|| self.opening_ops())
            .or_else(|| self.catch_up_ops())
            .or_else(|| self.ahead_ops())
            .or_else(|| self.tidy_ops())
    }

    fn opening_ops(&mut self) -> Option<(Flight, Vec<DiskOp>)> {
        let mut opening = self.opening.take()?;
        let step = self.opening_step(&mut opening);
        if !matches!(step, Some((Flight::Flip { .. }, _))) {
            self.opening = Some(opening);
        }
        step
    }

    fn opening_step(&mut self, opening: &mut Opening) -> Option<(Flight, Vec<DiskOp>)> {
        if let Some(Rewrite { file, offset, bytes }) = opening.flush.take() {
            let ops = vec![DiskOp::Write { file, offset, bytes }, DiskOp::Flush { file }];
            return Some((Flight::Rewrite, ops));
        }
        if let Some((offset, bytes)) = opening.aside.clone() {
            let file = FileName::Aside;
            let ops = vec![DiskOp::Write { file, offset, bytes }, DiskOp::Flush { file }];
            return (!self.is_blocked()).then_some((Flight::Aside, ops));
        }
        if !opening.begun {
            opening.begun = true;
            opening.head.generation = self.head.generation + 1;
            opening.head.log = self.head.log.other();
            opening.head.base = if opening.other_base { self.head.base.other() } else { self.head.base };
            opening.is_kept = self.history.is_none() || self.log_len[opening.head.log.index()] == 0;
        }
        if !opening.is_kept {
            let file = opening.head.log.log();
            return (!self.is_blocked()).then(|| (Flight::Keep { file }, vec![DiskOp::Keep { file }]));
        }
        if let Some(new_base) = opening.new_base.as_mut().filter(|new_base| !new_base.is_done()) {
            if self.is_blocked() {
                return None;
            }
            let base = opening.head.base;
            let ops = new_base.slice(base.base());
            self.note_base(base, &ops);
            return Some((Flight::NewBase, ops));
        }
        let head_len = 2 * SLOT_LEN as u64;
        if self.head_len < head_len {
            return self.grow(FileName::Head, head_len);
        }
        opening.fill();
        let log = opening.head.log;
        let end = opening.written + opening.ready.len() as u64;
        if self.log_len[log.index()] < end.next_multiple_of(LOG_GROWTH) {
            return self.grow(log.log(), end.next_multiple_of(LOG_GROWTH));
        }
        if !opening.is_full() {
            let ops = vec![
                DiskOp::Write {
                    file: log.log(),
                    offset: opening.written,
                    bytes: std::mem::take(&mut opening.ready),
                },
                DiskOp::Flush { file: log.log() },
            ];
            opening.written = end;
            return Some((Flight::Part, ops));
        }
        Some(self.flip(opening, end))
    }

    /// The rest of the opening, then the header that makes it count, then the head.
    fn flip(&mut self, opening: &mut Opening, end: u64) -> (Flight, Vec<DiskOp>) {
        opening.head.opening = end;
        let file = opening.head.log.log();
        let mut header = opening.head.encode(Place::Log);
        let mut ops = Vec::with_capacity(5);
        if opening.written == header.len() as u64 {
            header.append(&mut opening.ready);
        } else {
            let (offset, bytes) = (opening.written, std::mem::take(&mut opening.ready));
            ops.push(DiskOp::Write { file, offset, bytes });
        }
        ops.push(DiskOp::Write { file, offset: 0, bytes: header });
        ops.push(DiskOp::Flush { file });
        self.history = match opening.is_whole {
            true => self.history.map(|_| History { behind: 0 }),
            false => self.history_with_active(),
        };
        self.is_whole = opening.is_whole;
        self.head = opening.head.clone();
        ops.extend(self.head_ops());
        self.tail = Some(Tail { chain: opening.chain, written: end, queue: Vec::new(), starts_write: true });
        self.catch_up = opening.catch_up(self.is_idle);
        self.rollup = (opening.rollup_len, false);
        self.held_from = None;
        (Flight::Flip { upto: self.appended }, ops)
    }

    fn catch_up_ops(&mut self) -> Option<(Flight, Vec<DiskOp>)> {
        let is_blocked = self.is_blocked();
        let catch_up = self.catch_up.as_mut()?;
        if !catch_up.is_done() {
            if is_blocked {
                return None;
            }
            let ops = catch_up.slice(self.head.base.base());
            self.note_base(self.head.base, &ops);
            return Some((Flight::CatchUp, ops));
        }
        self.head.base_info = catch_up.image.base_info();
        self.head.generation += 1;
        self.catch_up = None;
        self.rollup.1 = true;
        Some((Flight::Head, self.head_ops().into()))
    }

    /// The head goes to the slot that does not hold the newest.
    pub(super) fn head_ops(&mut self) -> [DiskOp; 2] {
        let file = FileName::Head;
        let slot = self.slot.map_or(Side::Zero, Side::other);
        let offset = (slot.index() * SLOT_LEN) as u64;
        self.slot = Some(slot);
        [DiskOp::Write { file, offset, bytes: self.head.encode(Place::Slot) }, DiskOp::Flush { file }]
    }

    fn note_base(&mut self, base: Side, ops: &[DiskOp]) {
        for op in ops {
            if let DiskOp::Write { offset, bytes, .. } = op {
                let len = &mut self.base_len[base.index()];
                *len = (*len).max(offset + bytes.len() as u64);
            }
        }
    }

    /// The batch is carried out.
    pub(super) fn done(&mut self) {
        let Some(flight) = self.flight.take() else { return };
        match flight {
            Flight::Append { upto } => {
                self.recorded = self.recorded.max(upto);
                let upto = self.held_from.map_or(upto, |held| upto.min(Ticket(held.0 - 1)));
                self.durable = self.durable.max(upto);
            }
            Flight::Flip { upto } => {
                self.recorded = upto;
                self.durable = upto;
                self.name();
            }
            Flight::Rewrite => self.recorded = self.recorded.max(Journal::OPENED),
            Flight::Head => self.name(),
            Flight::Grow { file, to } => self.grown(file, to),
            Flight::Keep { file } => {
                self.grown(file, 0);
                if let Some(opening) = &mut self.opening {
                    opening.is_kept = true;
                }
            }
            Flight::Aside => {
                if let Some(opening) = &mut self.opening {
                    opening.aside = None;
                }
            }
            Flight::Cut { logs, bases, is_named } => {
                if is_named {
                    self.name();
                }
                self.log_len = logs;
                self.base_len = bases;
            }
            Flight::NewBase | Flight::CatchUp | Flight::Part => {}
        }
        self.found_room(flight);
    }

    /// The newest slot is flushed.
    fn name(&mut self) {
        if let Some(slot) = self.slot {
            self.named[slot.index()] = Some((self.head.log, self.head.base));
        }
    }

    /// The batch failed for want of room. Whether it is dropped: it is made again from what is wanted then.
    pub(super) fn no_room(&mut self, error: &Error) -> bool {
        debug_assert!(error.code == Code::Quota);
        let is_dropped = match self.flight {
            Some(Flight::Grow { .. } | Flight::Keep { .. } | Flight::Aside) => true,
            Some(Flight::NewBase) => {
                if let Some(new_base) = self.opening.as_mut().and_then(|opening| opening.new_base.as_mut()) {
                    new_base.back();
                }
                true
            }
            Some(Flight::CatchUp) => {
                if let Some(catch_up) = &mut self.catch_up {
                    catch_up.back();
                }
                true
            }
            _ => false,
        };
        let hold = if is_dropped { Hold::Blocked } else { Hold::Stuck };
        if is_dropped {
            self.flight = None;
        }
        let has_dropped_spare = self.lack.as_ref().is_some_and(|lack| lack.has_dropped_spare);
        self.lack = Some(Lack { error: error.clone(), hold, has_dropped_spare });
        is_dropped
    }

    pub(super) fn is_settled(&self) -> bool {
        let is_written = self.tail.as_ref().is_some_and(|tail| tail.queue.is_empty());
        self.opening.is_none() && self.catch_up.is_none() && is_written
    }

    /// Bytes of the active log behind its opening.
    pub(super) fn behind(&self) -> u64 {
        self.tail.as_ref().map_or(0, |tail| tail.end().saturating_sub(self.head.opening))
    }

    /// Bytes of the active log that a checkpoint leaves behind.
    pub(super) fn stale(&self) -> u64 {
        self.behind() + if self.rollup.1 { self.rollup.0 } else { 0 }
    }

    /// How long the logs together may be while nothing happens.
    pub(super) fn log_limit(&self) -> u64 {
        let base = self.head.base_info.map_or(0, |base| u64::from(base.page_count) * SLOT_LEN as u64);
        CHECKPOINT_BYTES.max(base * 3 / 10)
    }

    pub(super) fn wants_checkpoint(&self) -> bool {
        if self.opening.is_some() || self.tail.is_none() {
            return false;
        }
        let is_long = || self.behind() > self.log_limit().max(self.opening_cost());
        self.is_blocked_and_stale() || self.catch_up.is_none() && (is_long() || self.is_idle_and_stale())
    }
}
