//! A document's files as one state machine: opens them, appends records in groups, checkpoints. It asks for disk
//! batches, one at a time, and takes their answers (FORMAT.md).

mod keeping;
mod running;
mod space;

use offprint_protocol::rpc::Shortage;
use offprint_protocol::{Code, Definition, DocumentId, Error};

use crate::checkpoint::Opening;
use crate::disk::{BatchNo, DiskAnswer, DiskBatch, DiskOp, DiskValue};
use crate::entropy::Entropy;
use crate::image::Image;
use crate::journal::running::Running;
use crate::ledger::Ledger;
use crate::record::{PendingMutation, Record};
use crate::recovery::{Opened, Recovery, Rewrite};

pub use crate::head::{Identity, Role};
pub use crate::host::History;
pub use crate::recovery::Recovered;

/// What a [`Journal`] is made from.
#[derive(Debug, Clone)]
pub struct JournalConfig {
    /// Which document.
    pub document: DocumentId,
    /// Whose files these are.
    pub role: Role,
    /// The history that the host keeps of a primary's logs, if it keeps one.
    pub history: Option<History>,
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
    /// What mutations are made with, if the log has to say so.
    definition: Option<Definition>,
}

#[derive(Debug)]
enum State {
    Opening(Box<Recovery>),
    Running(Box<Running>),
    Failed(Error),
}

impl Journal {
    /// The ticket of the open itself: once it is durable, identity and recovered state are.
    pub const OPENED: Ticket = Ticket(1);

    /// Begins to open a document's files.
    pub fn open(config: JournalConfig) -> Self {
        let entropy = Entropy::new(&config.entropy, "offprint journal");
        let recovery = Recovery::new(config.document.clone(), config.role);
        Self {
            config,
            entropy,
            state: State::Opening(Box::new(recovery)),
            batch: None,
            last_no: BatchNo(0),
            definition: None,
        }
    }

    /// Mutations are made with this definition, and no server knows it: each new log says so.
    pub fn made_with(&mut self, definition: Definition) {
        self.definition = Some(definition);
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
    /// error either the batch stays unanswered (the disk failed: repeat it), or it is dropped and something else comes in
    /// its place (`quota`: there is no room for it, see [`shortage`](Self::shortage)), or the files cannot be opened, for
    /// good.
    pub fn answer(&mut self, answer: DiskAnswer) -> Result<Option<Recovered>, Error> {
        let Some(batch) = self.batch.take_if(|batch| batch.no == answer.no) else {
            return Ok(None);
        };
        let values = match answer.result.and_then(|values| check(&batch, values)) {
            Ok(values) => values,
            Err(error) => {
                let is_dropped = match &mut self.state {
                    State::Running(running) if error.code == Code::Quota => running.no_room(&error),
                    _ => false,
                };
                self.batch = (!is_dropped).then_some(batch);
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
                running.done();
                Ok(None)
            }
            State::Failed(_) => Ok(None),
        }
    }

    /// Appends a record, or fails with `too_large`; `bad_state` before the files are open; `quota` for a mutation that
    /// would have to wait for room.
    pub fn append(&mut self, record: &Record) -> Result<Ticket, Error> {
        self.running()?.append(record)
    }

    /// The last ticket that would survive a power cut, with everything before it.
    pub fn durable(&self) -> Ticket {
        match &self.state {
            State::Running(running) => running.durable,
            _ => Ticket(0),
        }
    }

    /// The last ticket whose mutation, if it has one, would survive a power cut, with every mutation before it. It is
    /// ahead of [`durable`](Self::durable) while a new log is written. From [`OPENED`](Self::OPENED) on, all that was
    /// recovered would; before, the device may not have what its cache does, and nobody may be told.
    pub fn recorded(&self) -> Ticket {
        match &self.state {
            State::Running(running) => running.recorded,
            _ => Ticket(0),
        }
    }

    /// What there is no room for, and what that has led to.
    pub fn shortage(&self) -> Option<(&Error, Shortage)> {
        match &self.state {
            State::Running(running) => running.shortage(),
            _ => None,
        }
    }

    /// Tries again what there was no room for.
    pub fn retry(&mut self) {
        if let State::Running(running) = &mut self.state {
            running.retry();
        }
    }

    /// Whether records of so many bytes, other than mutations, would not get in the way of what has to be durable. If
    /// not, room is made for them if there is any.
    pub fn has_room(&mut self, bytes: u64) -> bool {
        match &mut self.state {
            State::Running(running) => running.has_room(bytes),
            _ => false,
        }
    }

    /// Notes the time: once nothing was appended for a while, the files are cut to what they need.
    pub fn tick(&mut self, now: u64) {
        if let State::Running(running) = &mut self.state {
            running.tick(now);
        }
    }

    /// When [`tick`](Self::tick) has something to do next.
    pub fn due(&self) -> Option<u64> {
        match &self.state {
            State::Running(running) => running.due(),
            _ => None,
        }
    }

    /// Whether the log has become long enough for a checkpoint, or one would help otherwise.
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

    /// Goes on under another name; that is durable with the next checkpoint. Mutations keep their numbers: until then the
    /// old log takes them under the old name.
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
        self.running().expect("BUG: files that were never open are written again").forget();
        self.begin((image, ledger, pending), false, None)
    }

    /// Begins to open the files once more, if they are still being read.
    pub fn forget(&mut self) {
        if let State::Opening(recovery) = &mut self.state {
            **recovery = Recovery::new(self.config.document.clone(), self.config.role);
            self.batch = None;
        }
    }

    /// Begins to read the files once more; nothing may be waiting for the disk.
    pub(crate) fn reopen(&mut self) {
        assert!(self.is_settled(), "BUG: files are opened anew that are being written");
        if let State::Running(running) = &self.state {
            self.config.history = running.history_with_active();
        }
        let recovery = Recovery::new(self.config.document.clone(), self.config.role);
        self.state = State::Opening(Box::new(recovery));
    }

    fn begin(
        &mut self,
        state: (&Image, &Ledger, &[PendingMutation]),
        other_base: bool,
        flush: Option<Rewrite>,
    ) -> Ticket {
        let salt = self.entropy.number();
        let definition = self.definition.clone();
        let running = self.running().expect("BUG: a checkpoint of files that are not open");
        let making = running.making(state.0, other_base, definition);
        let mut opening = Opening::new(&running.head, salt, state, making);
        // An opening that was under way is replaced; what has to be written before it still has to be.
        let before = running.opening.take();
        let (before, aside) = before.map_or((None, None), |opening| (opening.flush, opening.aside));
        opening.flush = flush.or(before);
        opening.aside = aside;
        running.begin(opening)
    }

    fn run(&mut self, opened: Opened) -> Recovered {
        self.state = State::Running(Box::new(Running::new(&opened, self.config.history)));
        let Opened { recovered, flush, last_write, aside, .. } = opened;
        let flush = flush.or(last_write);
        let is_flushed = flush.is_none();
        self.begin((&recovered.image, &recovered.ledger, &recovered.pending), false, flush);
        if let State::Running(running) = &mut self.state {
            if is_flushed {
                running.recorded = Self::OPENED;
            }
            if let Some(opening) = &mut running.opening {
                opening.aside = aside;
            }
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

/// The values, if they are of the kinds that the batch asked for.
fn check(batch: &DiskBatch, values: Vec<DiskValue>) -> Result<Vec<DiskValue>, Error> {
    let fits = |(op, value): (&DiskOp, &DiskValue)| match (op, value) {
        (DiskOp::Size { .. }, DiskValue::Size(_)) => true,
        (DiskOp::Read { len, .. }, DiskValue::Bytes(bytes)) => bytes.len() <= *len as usize,
        (DiskOp::Size { .. } | DiskOp::Read { .. }, _) => false,
        (_, DiskValue::Done) => true,
        _ => false,
    };
    if batch.ops.len() == values.len() && batch.ops.iter().zip(&values).all(fits) {
        Ok(values)
    } else {
        Err(Error::new(Code::Disk, "the disk gave other answers than it was asked for"))
    }
}
