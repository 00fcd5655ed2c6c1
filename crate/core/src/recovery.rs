//! Opening a document's files: which head counts, what base and log say (FORMAT.md, "Recovery"). Writes nothing.

use offprint_protocol::{
    ClientId, ClientSecret, Code, Commit, Definition, DocumentId, Encode, Epoch, Error, JournalId, Mark,
    PAGE_SIZE, Page, Position,
};

use crate::aside::{ASIDE_LIMIT, Addition, Aside};
use crate::disk::{DiskOp, DiskValue, FileName};
use crate::entropy::Entropy;
use crate::head::{Head, HeadBytes, Identity, Place, Role, SLOT_LEN, Side};
use crate::image::Image;
use crate::ledger::Ledger;
use crate::log::{LOG_HEADER_LEN, used};
use crate::record::PendingMutation;
use crate::replay::{Replay, opening_is_whole, was_flushed};

/// The most that one read asks for: little enough that an allocator uses the same memory again for the next.
const SLICE: u64 = 1 << 20;

/// What the files said.
#[derive(Debug)]
pub struct Recovered {
    /// Who we are in this life.
    pub identity: Identity,
    /// The confirmed state; [`Image::none`] if there is no history yet.
    pub image: Image,
    /// The mutations above the confirmed one, ascending, without a gap.
    pub pending: Vec<PendingMutation>,
    /// What was decided.
    pub ledger: Ledger,
    /// On a primary: the newest commits, each with the position it follows, up to the image's; none of those that a
    /// checkpoint rolled up.
    pub tail: Vec<(Position, Commit)>,
    /// What was lost, if something was, and what of it is kept aside (code `corrupt`).
    pub damage: Option<Error>,
    /// What the pending mutations were made with, if no server was named then.
    pub definition: Option<Definition>,
    /// Whether an opening before this one kept something aside.
    pub has_aside: bool,
}

/// Bytes that a log has already, and where: to be written once more.
#[derive(Debug)]
pub(crate) struct Rewrite {
    pub(crate) file: FileName,
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

/// What recovery hands over to the journal.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) recovered: Recovered,
    /// The newest head, with this life's identity; its generation is the highest seen. Its log stays untouched until
    /// the next head is flushed.
    pub(crate) head: Head,
    /// The slot that holds it, if one does.
    pub(crate) slot: Option<Side>,
    /// A log that has to be written again and flushed before the other one is touched: the device may not have it,
    /// whatever its cache says, and after a flush that failed another one alone would not bring it there.
    pub(crate) flush: Option<Rewrite>,
    /// The last write to a log that needs not all of it written again: a crash of the core alone, or a flush that failed,
    /// may have come before its own.
    pub(crate) last_write: Option<Rewrite>,
    /// When the newest commit was appended; 0 if that is not known.
    pub(crate) time: u64,
    /// The log and base that each slot names.
    pub(crate) named: [Option<(Side, Side)>; 2],
    pub(crate) log_len: [u64; 2],
    pub(crate) base_len: [u64; 2],
    pub(crate) head_len: u64,
    /// Has to be in the file `aside` before the next head is flushed: where, and what.
    pub(crate) aside: Option<(u64, Vec<u8>)>,
}

#[derive(Debug)]
struct Candidate {
    head: Head,
    /// Whether a slot holds it; a log's header counts only if the opening is whole.
    in_slot: bool,
}

#[derive(Debug)]
enum Step {
    Heads,
    Log(Candidate),
    Base {
        candidate: Candidate,
        log: Vec<u8>,
        base: Image,
    },
    /// Both logs, of which nothing can be used.
    Lost(Error),
    Aside(Box<Opened>, Aside),
}

/// An open under way.
#[derive(Debug)]
pub(crate) struct Recovery {
    document: DocumentId,
    role: Role,
    step: Step,
    sizes: [u64; FileName::ALL.len()],
    /// Best last.
    candidates: Vec<Candidate>,
    /// A log whose opening is not whole, when nothing better was found.
    torn: Option<(Head, Vec<u8>)>,
    newest_slot: Option<Side>,
    named: [Option<(Side, Side)>; 2],
    /// Whether head and bases hold nothing but zeros.
    blank: bool,
    generation: u64,
    epoch: Epoch,
}

impl Recovery {
    pub(crate) fn new(document: DocumentId, role: Role) -> Self {
        Self {
            document,
            role,
            step: Step::Heads,
            sizes: [0; FileName::ALL.len()],
            candidates: Vec::new(),
            torn: None,
            newest_slot: None,
            named: [None; 2],
            blank: false,
            generation: 0,
            epoch: Epoch(0),
        }
    }

    /// What to read next.
    pub(crate) fn ops(&self) -> Vec<DiskOp> {
        match &self.step {
            Step::Heads => {
                let mut ops: Vec<DiskOp> = FileName::ALL.map(|file| DiskOp::Size { file }).into();
                ops.push(DiskOp::Read { file: FileName::Head, offset: 0, len: 2 * SLOT_LEN as u32 });
                for side in [Side::Zero, Side::One] {
                    ops.push(DiskOp::Read { file: side.log(), offset: 0, len: LOG_HEADER_LEN as u32 });
                }
                ops
            }
            Step::Log(candidate) => {
                let mut ops = self.whole(candidate.head.log.log(), u64::MAX);
                ops.extend(self.base_op(&candidate.head, 0));
                ops
            }
            Step::Base { candidate, base, .. } => {
                let read = u64::from(base.page_count()) * PAGE_SIZE as u64;
                self.base_op(&candidate.head, read).into_iter().collect()
            }
            Step::Lost(_) => [Side::Zero, Side::One]
                .into_iter()
                .flat_map(|side| self.whole(side.log(), ASIDE_LIMIT))
                .collect(),
            Step::Aside(..) => self.whole(FileName::Aside, ASIDE_LIMIT),
        }
    }

    /// Takes the answer to [`ops`](Self::ops); gives what was found once nothing is left to read.
    pub(crate) fn take(
        &mut self,
        values: Vec<DiskValue>,
        entropy: &mut Entropy,
    ) -> Result<Option<Opened>, Error> {
        let mut bytes = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            match value {
                DiskValue::Size(size) => {
                    if let Some(known) = self.sizes.get_mut(index) {
                        *known = size;
                    }
                }
                DiskValue::Bytes(read) => bytes.push(read),
                DiskValue::Done => {}
            }
        }
        match std::mem::replace(&mut self.step, Step::Heads) {
            Step::Heads => {
                self.heads(&bytes)?;
                self.next_candidate(entropy)
            }
            Step::Log(candidate) => {
                let slices = self.sizes[candidate.head.log.log() as usize].div_ceil(SLICE) as usize;
                let rest = bytes.split_off(slices.min(bytes.len()));
                let log = bytes.concat();
                if !candidate.in_slot && !opening_is_whole(&log, &candidate.head) {
                    if self.torn.is_none() {
                        self.torn = Some((candidate.head, log));
                    }
                    return self.next_candidate(entropy);
                }
                let base = candidate.head.base_info.as_ref().map_or_else(Image::none, Image::of_base);
                self.base(candidate, log, base, &rest, entropy)
            }
            Step::Base { candidate, log, base } => self.base(candidate, log, base, &bytes, entropy),
            Step::Lost(damage) => {
                let mut aside = Aside::default();
                let slices = self.whole(FileName::Log0, ASIDE_LIMIT).len().min(bytes.len());
                let log_1 = bytes.split_off(slices);
                aside.keep(0, &bytes.concat());
                aside.keep(0, &log_1.concat());
                let opened = self.fresh(Some(damage), entropy)?;
                Ok(self.kept(opened, aside))
            }
            Step::Aside(opened, aside) => Ok(Some(self.added(*opened, aside, &bytes.concat()))),
        }
    }

    /// The reads of a file's first `limit` bytes.
    fn whole(&self, file: FileName, limit: u64) -> Vec<DiskOp> {
        let size = self.sizes[file as usize].min(limit);
        let read = |offset| DiskOp::Read { file, offset, len: SLICE.min(size - offset) as u32 };
        (0..size).step_by(SLICE as usize).map(read).collect()
    }

    /// Gives what was found, unless something of it has to be kept aside first.
    fn kept(&mut self, opened: Opened, aside: Aside) -> Option<Opened> {
        if aside.is_empty() || opened.recovered.damage.is_none() {
            return Some(opened);
        }
        self.step = Step::Aside(Box::new(opened), aside);
        None
    }

    fn added(&self, mut opened: Opened, aside: Aside, file: &[u8]) -> Opened {
        let size = self.sizes[FileName::Aside as usize];
        let Addition { offset, bytes, told } = aside.added_to(file, size, opened.recovered.identity.epoch);
        opened.aside = (!bytes.is_empty()).then_some((offset, bytes));
        if let Some(damage) = &mut opened.recovered.damage {
            damage.message = format!("{}; {told}", damage.message);
        }
        opened
    }

    /// The read of the next slice of base, if there is one.
    fn base_op(&self, head: &Head, offset: u64) -> Option<DiskOp> {
        let file = head.base.base();
        let wanted = u64::from(head.base_info?.page_count) * PAGE_SIZE as u64;
        let end = wanted.min(self.sizes[file as usize] / PAGE_SIZE as u64 * PAGE_SIZE as u64);
        let len = end.checked_sub(offset).filter(|len| *len > 0)?.min(SLICE);
        Some(DiskOp::Read { file, offset, len: len as u32 })
    }

    fn heads(&mut self, bytes: &[Vec<u8>]) -> Result<(), Error> {
        let [slots, log_0, log_1] = bytes else {
            return Err(Error::new(Code::Disk, "the disk gave other answers than it was asked for"));
        };
        self.blank = slots.iter().all(|byte| *byte == 0)
            && [FileName::Base0, FileName::Base1].iter().all(|file| self.sizes[*file as usize] == 0);
        let mut newest: Option<Head> = None;
        for (side, slot) in [Side::Zero, Side::One].into_iter().zip(slots.chunks(SLOT_LEN)) {
            let Some(head) = self.head(slot, Place::Slot)? else { continue };
            self.named[side.index()] = Some((head.log, head.base));
            if newest.as_ref().is_none_or(|newest| newest.generation < head.generation) {
                self.newest_slot = Some(side);
                newest = Some(head);
            }
        }
        let in_slot = newest.as_ref().map_or(0, |head| head.generation);
        self.candidates.extend(newest.map(|head| Candidate { head, in_slot: true }));
        for (side, header) in [(Side::Zero, log_0), (Side::One, log_1)] {
            if let Some(head) = self.head(header, Place::Log)?
                && head.log == side
                && head.generation > in_slot
            {
                self.candidates.push(Candidate { head, in_slot: false });
            }
        }
        self.candidates.sort_by_key(|candidate| candidate.head.generation);
        Ok(())
    }

    fn head(&mut self, bytes: &[u8], place: Place) -> Result<Option<Head>, Error> {
        let head = match Head::decode(bytes, place) {
            HeadBytes::Invalid => return Ok(None),
            HeadBytes::Newer(version) => {
                let what =
                    format!("the document's files have format {version}, which this build does not know");
                return Err(Error::new(Code::Superseded, what));
            }
            HeadBytes::Head(head) => head,
        };
        if head.document != self.document {
            return Err(corrupt(format!("the files are those of document {}", head.document)));
        }
        if head.role != self.role {
            return Err(corrupt(format!("the files are those of a {:?}", head.role).to_lowercase()));
        }
        self.generation = self.generation.max(head.generation);
        self.epoch = self.epoch.max(head.identity.epoch);
        Ok(Some(head))
    }

    fn next_candidate(&mut self, entropy: &mut Entropy) -> Result<Option<Opened>, Error> {
        if let Some(candidate) = self.candidates.pop() {
            self.step = Step::Log(candidate);
            return Ok(None);
        }
        let torn = self.torn.take();
        let first_opening = self.blank && !torn.as_ref().is_some_and(|(head, log)| was_flushed(log, head));
        let damage = (!first_opening).then(|| corrupt("no head and no whole log are left"));
        match (self.role, damage, torn) {
            (Role::Primary, Some(error), _) => Err(error),
            (Role::Primary, None, _) => self.fresh(None, entropy).map(Some),
            (Role::Replica, None, None) => self.fresh(None, entropy).map(Some),
            (Role::Replica, Some(damage), None) => {
                self.step = Step::Lost(damage);
                Ok(None)
            }
            (Role::Replica, Some(damage), Some((head, _))) if head.is_only_copy() => Err(damage),
            (Role::Replica, damage, Some((head, log))) => {
                let head = Head { base_info: None, ..head };
                let candidate = Candidate { head, in_slot: false };
                let (mut opened, aside) = self.replay(candidate, Image::none(), &log, entropy)?;
                opened.recovered.damage = damage;
                Ok(self.kept(opened, aside))
            }
        }
    }

    /// Adds slices to base; once all are there, goes on to the log.
    fn base(
        &mut self,
        candidate: Candidate,
        log: Vec<u8>,
        mut base: Image,
        slices: &[Vec<u8>],
        entropy: &mut Entropy,
    ) -> Result<Option<Opened>, Error> {
        let before = base.page_count();
        for page in slices.iter().flat_map(|slice| slice.chunks_exact(PAGE_SIZE)) {
            base.push(Page::from_slice(page)?);
        }
        let read = u64::from(base.page_count()) * PAGE_SIZE as u64;
        if base.page_count() > before && self.base_op(&candidate.head, read).is_some() {
            self.step = Step::Base { candidate, log, base };
            return Ok(None);
        }
        if let Some(info) = candidate.head.base_info {
            base.pad(info.page_count);
        }
        let file = candidate.head.log.log();
        let flush =
            (!candidate.in_slot).then(|| Rewrite { file, offset: 0, bytes: log[..used(&log)].to_vec() });
        let (opened, aside) = self.replay(candidate, base, &log, entropy)?;
        Ok(self.kept(Opened { flush, ..opened }, aside))
    }

    fn replay(
        &mut self,
        Candidate { mut head, in_slot }: Candidate,
        base: Image,
        log: &[u8],
        entropy: &mut Entropy,
    ) -> Result<(Opened, Aside), Error> {
        let has_history = head.base_info.is_some();
        let mut replay = Replay::new(&head, has_history.then_some(base));
        replay.log(log, &head, in_slot);
        let (image, pending) = replay.finish();
        let (from, to) = replay.last_write;
        let last_write = log.get(from..to).filter(|bytes| !bytes.is_empty()).map(|bytes| Rewrite {
            file: head.log.log(),
            offset: from as u64,
            bytes: bytes.to_vec(),
        });
        let time = replay.time;
        if self.role == Role::Primary {
            if let Some(damage) = replay.damage {
                return Err(damage);
            }
            if !has_history {
                return Err(corrupt("a primary without a history"));
            }
        }
        // Nobody else has those pages: nothing may be written over what is left of them.
        if head.is_only_copy()
            && replay.lost_pages
            && let Some(damage) = replay.damage
        {
            return Err(damage);
        }
        let mut ledger = replay.ledger;
        if self.role == Role::Replica && replay.lost_records && pending.is_empty() {
            // What was lost may have been sent: its numbers must not be used for something else.
            if !ledger.rejections(head.identity.client).is_empty() {
                replay.aside.keep(4, &ledger.to_bytes());
            }
            head.identity = self.new_identity(entropy);
            ledger = Ledger::new();
        }
        if self.role == Role::Replica {
            ledger.register(head.identity.client, head.identity.secret.key(), Mark::default());
        }
        head.identity.epoch = self.next_epoch()?;
        head.generation = self.generation;
        if image.position().is_none() {
            head.base_info = None;
        }
        let recovered = Recovered {
            identity: head.identity,
            image,
            pending,
            ledger,
            tail: replay.tail,
            damage: replay.damage,
            definition: replay.definition,
            has_aside: self.sizes[FileName::Aside as usize] > 0,
        };
        Ok((Opened { last_write, time, ..self.opened(recovered, head) }, replay.aside))
    }

    /// A document of which the files say nothing.
    fn fresh(&self, damage: Option<Error>, entropy: &mut Entropy) -> Result<Opened, Error> {
        let identity = Identity { epoch: self.next_epoch()?, ..self.new_identity(entropy) };
        let head = Head {
            role: self.role,
            log: Side::One,
            base: Side::One,
            generation: self.generation,
            salt: 0,
            opening: 0,
            base_info: None,
            identity,
            document: self.document.clone(),
        };
        let mut ledger = Ledger::new();
        let image = match self.role {
            Role::Primary => Image::empty(JournalId(entropy.id())),
            Role::Replica => {
                ledger.register(identity.client, identity.secret.key(), Mark::default());
                Image::none()
            }
        };
        let recovered = Recovered {
            identity,
            image,
            pending: Vec::new(),
            ledger,
            tail: Vec::new(),
            damage,
            definition: None,
            has_aside: self.sizes[FileName::Aside as usize] > 0,
        };
        Ok(self.opened(recovered, head))
    }

    fn opened(&self, recovered: Recovered, head: Head) -> Opened {
        let size = |file: FileName| self.sizes[file as usize];
        Opened {
            recovered,
            head,
            slot: self.newest_slot,
            flush: None,
            last_write: None,
            time: 0,
            aside: None,
            named: self.named,
            log_len: [size(FileName::Log0), size(FileName::Log1)],
            base_len: [size(FileName::Base0), size(FileName::Base1)],
            head_len: size(FileName::Head),
        }
    }

    fn new_identity(&self, entropy: &mut Entropy) -> Identity {
        Identity { client: ClientId(entropy.id()), secret: ClientSecret(entropy.id()), epoch: self.epoch }
    }

    fn next_epoch(&self) -> Result<Epoch, Error> {
        // The highest number is not decodable, see `Head::decode`.
        if self.epoch.0 >= u32::MAX - 1 {
            Err(corrupt("the epoch is used up"))
        } else {
            Ok(self.epoch.next())
        }
    }
}

fn corrupt(what: impl Into<String>) -> Error {
    Error::new(Code::Corrupt, what)
}
