//! A document's files as one state machine: opens them, appends records in groups, checkpoints. It asks for disk
//! batches, one at a time, and takes their answers (FORMAT.md).

use offprint_protocol::{Code, DocumentId, Error};

use crate::checkpoint::{CatchUp, Opening, SLICE};
use crate::disk::{BatchNo, DiskAnswer, DiskBatch, DiskOp, DiskValue, FileName};
use crate::entropy::Entropy;
use crate::head::{Head, Place, SLOT_LEN, Side};
use crate::image::Image;
use crate::ledger::Ledger;
use crate::log::{Chain, LOG_GROWTH, LOG_HEADER_LEN};
use crate::record::{PendingMutation, Record};
use crate::recovery::{Opened, Recovery};

pub use crate::head::{Identity, Role};
pub use crate::recovery::Recovered;

/// Below this many bytes behind its opening, a log needs no checkpoint.
const CHECKPOINT_BYTES: u64 = 2 << 20;

/// What a [`Journal`] is made from.
#[derive(Debug, Clone)]
pub struct JournalConfig {
    /// Which document.
    pub document: DocumentId,
    /// Whose files these are.
    pub role: Role,
    /// Fresh randomness, never used twice.
    pub entropy: [u8; 32],
}

/// Stands for everything handed in so far; ascending. `Ticket(0)` is always durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The files of one document.
#[derive(Debug)]
pub struct Journal {
    config: JournalConfig,
    entropy: Entropy,
    state: State,
    batch: Option<DiskBatch>,
    last_no: BatchNo,
}

#[derive(Debug)]
enum State {
    Opening(Box<Recovery>),
    Running(Box<Running>),
    Failed(Error),
}

#[derive(Debug)]
struct Running {
    /// As of the newest batch; a batch is repeated until it succeeds.
    head: Head,
    /// The slot that holds it; none before the first.
    slot: Option<Side>,
    log: Tail,
    log_len: [u64; 2],
    opening: Option<Opening>,
    catch_up: Option<CatchUp>,
    appended: Ticket,
    /// Durable once the unanswered batch is answered.
    issued: Ticket,
    durable: Ticket,
    /// Whether the last batch was an append: then base may have a turn.
    was_append: bool,
}

/// The log that is being appended to; with an opening under way, the new one.
#[derive(Debug)]
struct Tail {
    chain: Chain,
    /// Where `queue` begins in the file.
    written: u64,
    /// Not in a batch yet.
    queue: Vec<u8>,
    /// Whether the next record is the first after a flush.
    starts_write: bool,
}

impl Journal {
    /// The ticket of the open itself: once it is durable, identity and recovered state are.
    pub const OPENED: Ticket = Ticket(1);

    /// Begins to open a document's files.
    pub fn open(config: JournalConfig) -> Self {
        let entropy = Entropy::new(&config.entropy, "offprint journal");
        let recovery = Recovery::new(config.document.clone(), config.role);
        Self { config, entropy, state: State::Opening(Box::new(recovery)), batch: None, last_no: BatchNo(0) }
    }

    /// What the disk shall do next; nothing while a batch is unanswered or if there is nothing to do.
    pub fn next_batch(&mut self) -> Option<DiskBatch> {
        if self.batch.is_some() {
            return None;
        }
        let ops = match &mut self.state {
            State::Opening(recovery) => recovery.ops(),
            State::Running(running) => running.next_ops()?,
            State::Failed(_) => return None,
        };
        self.last_no = BatchNo(self.last_no.0 + 1);
        let batch = DiskBatch { no: self.last_no, ops };
        self.batch = Some(batch.clone());
        Some(batch)
    }

    /// The batch that a disk owes an answer to; may be given to another disk as it is, or to the same again.
    pub fn unanswered(&self) -> Option<&DiskBatch> {
        self.batch.as_ref()
    }

    /// Takes the disk's answer; gives what was recovered, once. An answer to another batch changes nothing. On an
    /// error either the batch stays unanswered (the disk failed: repeat it) or the files cannot be opened, for good.
    pub fn answer(&mut self, answer: DiskAnswer) -> Result<Option<Recovered>, Error> {
        let Some(batch) = self.batch.take_if(|batch| batch.no == answer.no) else {
            return Ok(None);
        };
        let values = match answer.result.and_then(|values| check(&batch, values)) {
            Ok(values) => values,
            Err(error) => {
                self.batch = Some(batch);
                return Err(error);
            }
        };
        match &mut self.state {
            State::Opening(recovery) => match recovery.take(values, &mut self.entropy) {
                Ok(None) => Ok(None),
                Ok(Some(opened)) => Ok(Some(self.run(opened))),
                Err(error) => Err(self.fail(error)),
            },
            State::Running(running) => {
                running.durable = running.issued;
                Ok(None)
            }
            State::Failed(_) => Ok(None),
        }
    }

    /// Appends a record, or fails with `too_large`; `bad_state` before the files are open.
    pub fn append(&mut self, record: &Record) -> Result<Ticket, Error> {
        let running = self.running()?;
        let body = record.body()?;
        let log = &mut running.log;
        log.chain.append(record.kind(), log.starts_write, &body, &mut log.queue);
        log.starts_write = false;
        running.appended.0 += 1;
        Ok(running.appended)
    }

    /// The last ticket that would survive a power cut, with everything before it.
    pub fn durable(&self) -> Ticket {
        match &self.state {
            State::Running(running) => running.durable,
            _ => Ticket(0),
        }
    }

    /// Whether the log has become long enough for a checkpoint.
    pub fn wants_checkpoint(&self) -> bool {
        match &self.state {
            State::Running(running) => running.wants_checkpoint(),
            _ => false,
        }
    }

    /// Whether a checkpoint is under way.
    pub fn is_checkpointing(&self) -> bool {
        match &self.state {
            State::Running(running) => running.opening.is_some() || running.catch_up.is_some(),
            _ => true,
        }
    }

    /// Whether everything handed in is durable and nothing waits for the disk.
    pub fn is_settled(&self) -> bool {
        self.batch.is_none() && matches!(&self.state, State::Running(running) if running.is_settled())
    }

    /// Goes on under another name; that is durable with the next checkpoint.
    pub(crate) fn rename(&mut self, identity: Identity) {
        let running = self.running().expect("BUG: a client is renamed whose files are not open");
        running.head.identity = identity;
    }

    /// Begins a new log with the state that everything appended so far adds up to; later records go behind it. The
    /// ticket is durable with the new log. The files have to be open.
    pub fn checkpoint(&mut self, image: &Image, ledger: &Ledger, pending: &[PendingMutation]) -> Ticket {
        self.begin((image, ledger, pending), false, None)
    }

    /// Like [`checkpoint`](Self::checkpoint), with a new base: for an image of another history.
    pub fn reset(&mut self, image: &Image, ledger: &Ledger, pending: &[PendingMutation]) -> Ticket {
        self.begin((image, ledger, pending), true, None)
    }

    /// Like [`checkpoint`](Self::checkpoint), for files that hold nothing any more.
    pub fn write_again(&mut self, image: &Image, ledger: &Ledger, pending: &[PendingMutation]) -> Ticket {
        self.batch = None;
        let running = self.running().expect("BUG: files that were never open are written again");
        running.head.base_info = None;
        running.slot = None;
        running.log_len = [0; 2];
        running.opening = None;
        // What the last batch would have made durable is not.
        running.issued = running.durable;
        self.begin((image, ledger, pending), false, None)
    }

    /// Begins to open the files once more, if they are still being read.
    pub fn forget(&mut self) {
        if let State::Opening(recovery) = &mut self.state {
            **recovery = Recovery::new(self.config.document.clone(), self.config.role);
            self.batch = None;
        }
    }

    fn begin(
        &mut self,
        state: (&Image, &Ledger, &[PendingMutation]),
        full: bool,
        flush: Option<(FileName, Vec<u8>)>,
    ) -> Ticket {
        let salt = self.entropy.number();
        let running = self.running().expect("BUG: a checkpoint of files that are not open");
        let (opening, queue, chain) = Opening::new(&running.head, salt, state, full, running.slot.is_some());
        // An opening that was under way is replaced; what has to be flushed before it still has to be.
        let before = running.opening.take();
        let (before, aside) = before.map_or((None, None), |opening| (opening.flush, opening.aside));
        running.opening = Some(Opening { flush: flush.or(before), aside, ..opening });
        running.catch_up = None;
        running.log = Tail { chain, written: 0, queue, starts_write: false };
        running.appended.0 += 1;
        running.appended
    }

    fn run(&mut self, opened: Opened) -> Recovered {
        let Opened { recovered, head, slot, flush, log_len, aside } = opened;
        let log = Tail { chain: Chain::new(0), written: 0, queue: Vec::new(), starts_write: false };
        self.state = State::Running(Box::new(Running {
            head,
            slot,
            log,
            log_len,
            opening: None,
            catch_up: None,
            appended: Ticket(0),
            issued: Ticket(0),
            durable: Ticket(0),
            was_append: false,
        }));
        self.begin((&recovered.image, &recovered.ledger, &recovered.pending), false, flush);
        if let State::Running(running) = &mut self.state
            && let Some(opening) = &mut running.opening
        {
            opening.aside = aside;
        }
        recovered
    }

    fn running(&mut self) -> Result<&mut Running, Error> {
        match &mut self.state {
            State::Running(running) => Ok(running),
            State::Opening(_) => {
                let what = format!("the files of {} are not open yet", self.config.document);
                Err(Error::new(Code::BadState, what))
            }
            State::Failed(error) => Err(error.clone()),
        }
    }

    fn fail(&mut self, error: Error) -> Error {
        self.state = State::Failed(error.clone());
        error
    }
}

impl Running {
    fn next_ops(&mut self) -> Option<Vec<DiskOp>> {
        if self.opening.is_some() {
            return Some(self.opening_ops());
        }
        let wants_append = !self.log.queue.is_empty();
        if self.catch_up.is_some() && (self.was_append || !wants_append) {
            self.was_append = false;
            return Some(self.catch_up_ops());
        }
        if !wants_append {
            return None;
        }
        self.was_append = true;
        let mut ops = self.write_queue(usize::MAX);
        ops.push(DiskOp::Flush { file: self.head.log.log() });
        self.log.starts_write = true;
        self.issued = self.appended;
        Some(ops)
    }

    fn opening_ops(&mut self) -> Vec<DiskOp> {
        let Some(mut opening) = self.opening.take() else { return Vec::new() };
        let mut ops = Vec::new();
        if !opening.begun {
            opening.begun = true;
            opening.head.generation = self.head.generation + 1;
            opening.head.log = self.head.log.other();
            opening.head.base = if opening.other_base { self.head.base.other() } else { self.head.base };
            self.log.queue[..LOG_HEADER_LEN].copy_from_slice(&opening.head.encode(Place::Log));
            if let Some((file, bytes)) = opening.flush.take() {
                ops.extend([DiskOp::Write { file, offset: 0, bytes }, DiskOp::Flush { file }]);
            }
            if let Some((offset, bytes)) = opening.aside.clone() {
                let file = FileName::Aside;
                ops.extend([DiskOp::Write { file, offset, bytes }, DiskOp::Flush { file }]);
            }
        }
        if let Some(new_base) = &mut opening.new_base {
            ops.extend(new_base.writes(opening.head.base, SLICE));
            ops.push(DiskOp::Flush { file: opening.head.base.base() });
            if !new_base.is_done() {
                self.opening = Some(opening);
                return ops;
            }
            opening.new_base = None;
        }
        let (log, other) = (opening.head.log, opening.head.log.other());
        if self.log_len[other.index()] == 0 {
            ops.push(self.grow(other, LOG_GROWTH));
        }
        let is_last = self.log.queue.len() <= SLICE;
        ops.extend(self.write_to(log, SLICE));
        ops.push(DiskOp::Flush { file: log.log() });
        if !is_last {
            self.opening = Some(opening);
            return ops;
        }
        self.head = opening.head;
        ops.extend(self.head_ops());
        self.catch_up = opening.catch_up;
        self.log.starts_write = true;
        self.issued = self.appended;
        ops
    }

    fn catch_up_ops(&mut self) -> Vec<DiskOp> {
        let Some(mut catch_up) = self.catch_up.take() else { return Vec::new() };
        let mut ops = catch_up.slice(self.head.base);
        ops.push(DiskOp::Flush { file: self.head.base.base() });
        if catch_up.is_done() {
            self.head.base_info = catch_up.image.base_info();
            self.head.generation += 1;
            ops.extend(self.head_ops());
        } else {
            self.catch_up = Some(catch_up);
        }
        ops
    }

    fn head_ops(&mut self) -> [DiskOp; 2] {
        let file = FileName::Head;
        let slot = self.slot.map_or(Side::Zero, Side::other);
        let offset = (slot.index() * SLOT_LEN) as u64;
        self.slot = Some(slot);
        [DiskOp::Write { file, offset, bytes: self.head.encode(Place::Slot) }, DiskOp::Flush { file }]
    }

    fn write_queue(&mut self, limit: usize) -> Vec<DiskOp> {
        self.write_to(self.head.log, limit)
    }

    /// Up to `limit` bytes of the queue, into a file that is long enough.
    fn write_to(&mut self, log: Side, limit: usize) -> Vec<DiskOp> {
        let rest = self.log.queue.split_off(self.log.queue.len().min(limit));
        let bytes = std::mem::replace(&mut self.log.queue, rest);
        let offset = self.log.written;
        self.log.written += bytes.len() as u64;
        let mut ops = Vec::with_capacity(3);
        let len = self.log.written.next_multiple_of(LOG_GROWTH);
        if len > self.log_len[log.index()] {
            ops.push(self.grow(log, len));
        }
        ops.push(DiskOp::Write { file: log.log(), offset, bytes });
        ops
    }

    fn grow(&mut self, log: Side, to: u64) -> DiskOp {
        self.log_len[log.index()] = to;
        DiskOp::Grow { file: log.log(), to }
    }

    fn is_settled(&self) -> bool {
        self.opening.is_none() && self.catch_up.is_none() && self.log.queue.is_empty()
    }

    fn wants_checkpoint(&self) -> bool {
        let used = self.log.written + self.log.queue.len() as u64;
        let base = self.head.base_info.map_or(0, |base| u64::from(base.page_count) * SLOT_LEN as u64);
        let enough = CHECKPOINT_BYTES.max(base * 3 / 10).max(self.head.opening);
        self.opening.is_none() && self.catch_up.is_none() && used.saturating_sub(self.head.opening) > enough
    }
}

/// The values, if they are of the kinds that the batch asked for.
fn check(batch: &DiskBatch, values: Vec<DiskValue>) -> Result<Vec<DiskValue>, Error> {
    let fits = |(op, value): (&DiskOp, &DiskValue)| match (op, value) {
        (DiskOp::Size { .. }, DiskValue::Size(_)) => true,
        (DiskOp::Read { len, .. }, DiskValue::Bytes(bytes)) => bytes.len() <= *len as usize,
        (DiskOp::Write { .. } | DiskOp::Grow { .. } | DiskOp::Flush { .. }, DiskValue::Done) => true,
        _ => false,
    };
    if batch.ops.len() == values.len() && batch.ops.iter().zip(&values).all(fits) {
        Ok(values)
    } else {
        Err(Error::new(Code::Disk, "the disk gave other answers than it was asked for"))
    }
}
