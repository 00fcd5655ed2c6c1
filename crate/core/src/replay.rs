//! From a base and a log's records to what they say (FORMAT.md, "Recovery").

use std::collections::{BTreeMap, BTreeSet};

use offprint_protocol::{
    ClientId, Code, Commit, CommitBatch, Definition, Encode, Error, MutationSeq, Outcome, Position, Rollup,
};

use crate::aside::Aside;
use crate::head::{Head, Role};
use crate::image::Image;
use crate::ledger::Ledger;
use crate::log::{FRAME_LEN, Frame, LOG_GROWTH, LogReader};
use crate::record::{PendingMutation, Record};

/// What base and log said so far.
#[derive(Debug)]
pub(crate) struct Replay {
    role: Role,
    me: ClientId,
    /// The pages, if base can be trusted or a rollup may still complete it.
    image: Option<Image>,
    /// Whether base did not have the head's checksum, and no rollup has completed it yet.
    unverified: bool,
    rollup: Vec<Rollup>,
    mutations: BTreeMap<MutationSeq, PendingMutation>,
    /// The rejections whose place a mutation has taken.
    retried: BTreeSet<MutationSeq>,
    pub(crate) ledger: Ledger,
    /// On a primary: the newest commits, each with the position it follows.
    pub(crate) tail: Vec<(Position, Commit)>,
    /// When the last of what was read was appended; 0 if that is not known.
    pub(crate) time: u64,
    /// What the mutations were made with, if the log says so.
    pub(crate) definition: Option<Definition>,
    /// Where the last write to the log begins and ends: all that the device may lack of it.
    pub(crate) last_write: (usize, usize),
    pub(crate) damage: Option<Error>,
    /// Whether records that had been flushed are lost.
    pub(crate) lost_records: bool,
    /// Whether confirmed pages are lost.
    pub(crate) lost_pages: bool,
    /// What cannot be used.
    pub(crate) aside: Aside,
}

/// Whether the opening of a log verifies to its last byte.
pub(crate) fn opening_is_whole(log: &[u8], head: &Head) -> bool {
    let mut reader = LogReader::new(log, head.salt);
    while (reader.at() as u64) < head.opening {
        if reader.next().is_none() {
            return false;
        }
    }
    reader.at() as u64 == head.opening
}

/// Whether a record tells that the opening before it was flushed.
pub(crate) fn was_flushed(log: &[u8], head: &Head) -> bool {
    let mut reader = LogReader::new(log, head.salt);
    while let Some(frame) = reader.next().or_else(|| reader.resync()) {
        if frame.starts_write {
            return true;
        }
    }
    false
}

impl Replay {
    /// Begins with what base holds, if there is a history.
    pub(crate) fn new(head: &Head, base: Option<Image>) -> Self {
        let unverified = base.as_ref().is_some_and(|image| image.base_info() != head.base_info);
        Self {
            role: head.role,
            me: head.identity.client,
            image: base,
            unverified,
            rollup: Vec::new(),
            mutations: BTreeMap::new(),
            retried: BTreeSet::new(),
            ledger: Ledger::new(),
            tail: Vec::new(),
            time: 0,
            definition: None,
            last_write: (0, 0),
            damage: None,
            lost_records: false,
            lost_pages: false,
            aside: Aside::default(),
        }
    }

    /// Reads the log, header included; `in_slot` if a slot holds its head, so that its opening was flushed.
    pub(crate) fn log(&mut self, log: &[u8], head: &Head, in_slot: bool) {
        let mut reader = LogReader::new(log, head.salt);
        let mut flushed = if in_slot { head.opening } else { 0 };
        let mut start = reader.at();
        while let Some(frame) = reader.next() {
            if frame.starts_write {
                flushed = flushed.max(start as u64);
            }
            start = reader.at();
            self.record(frame);
        }
        let grown = flushed.checked_next_multiple_of(LOG_GROWTH);
        if grown.is_none_or(|grown| (log.len() as u64) < grown) {
            self.lost_records = true;
            self.damaged(format!("the log was cut to {} bytes", log.len()));
        }
        let end = reader.at();
        self.last_write = ((flushed as usize).min(end), end);
        let mut rest = Vec::new();
        let mut holes = Vec::new();
        let mut hole = end;
        while let Some(frame) = reader.resync() {
            holes.push(hole..reader.at() - frame.body.len() - FRAME_LEN);
            rest.push(frame);
            rest.extend(reader.by_ref());
            hole = reader.at();
        }
        let opening_is_short = (reader.at() as u64) < head.opening;
        self.lost_pages |= (end as u64) < head.opening;
        if (end as u64) < head.opening || rest.iter().any(|frame| frame.starts_write) {
            self.lost_records = true;
            self.damaged(format!("a record at byte {end} of the log fails its check"));
            rest.into_iter().for_each(|frame| self.record(frame));
            if opening_is_short {
                // Behind the last record of a whole opening lies what an earlier life of the file left.
                holes.push(hole..log.len());
            }
            for hole in holes {
                self.aside.keep(0, log.get(hole).unwrap_or_default());
            }
        }
    }

    /// The confirmed pages, and the pending mutations in order without a gap.
    pub(crate) fn finish(&mut self) -> (Image, Vec<PendingMutation>) {
        if self.unverified {
            self.lose_image("base fails its check");
        }
        let mut next = self.ledger.through(self.me).seq.next();
        let mut mutations = std::mem::take(&mut self.mutations).split_off(&next);
        let mut pending = Vec::with_capacity(mutations.len());
        while let Some(mutation) = mutations.remove(&next) {
            pending.push(mutation);
            next = next.next();
        }
        if let Some((seq, _)) = mutations.first_key_value() {
            self.damaged(format!("mutation {seq} is there, {next} is not"));
            for given_up in mutations.values() {
                self.aside.keep(1, &given_up.to_bytes());
            }
        }
        (self.image.take().unwrap_or_default(), pending)
    }

    fn record(&mut self, frame: Frame<'_>) {
        match Record::decode(frame.kind, frame.body) {
            Ok(Record::Mutation(pending)) => {
                if let Some(seq) = pending.retries {
                    self.retried.insert(seq);
                    self.ledger.dismiss(self.me, seq);
                }
                self.mutations.insert(pending.mutation.seq, pending);
            }
            Ok(Record::Commits(batch)) => self.commits(batch),
            Ok(Record::Rollup(part)) => self.rollup(part),
            Ok(Record::Ledger(ledger)) => self.ledger.merge(ledger),
            Ok(Record::Dismiss(seq)) => self.ledger.dismiss(self.me, seq),
            Ok(Record::Time(at)) => self.time = at,
            Ok(Record::Definition(definition)) => self.definition = Some(definition),
            Err(error) => {
                self.damaged(error.message);
                self.aside.keep(frame.kind, frame.body);
            }
        }
    }

    fn commits(&mut self, batch: CommitBatch) {
        self.outcomes(&batch.outcomes);
        for commit in batch.commits {
            let before = self.image.as_ref().and_then(Image::position);
            let applied = match &mut self.image {
                Some(image) if !self.unverified => image.apply_commit(&commit),
                _ => Err(Error::new(Code::Corrupt, format!("commit {} has no base", commit.lsn))),
            };
            match applied {
                Ok(()) if self.role == Role::Primary => {
                    self.tail.extend(before.map(|before| (before, commit)))
                }
                Ok(()) => {}
                Err(error) => self.damaged(error.message),
            }
        }
    }

    fn rollup(&mut self, part: Rollup) {
        if self.rollup.first().is_some_and(|first| (first.from, first.to) != (part.from, part.to)) {
            self.rollup.clear();
        }
        self.rollup.push(part);
        if !self.rollup.last().is_some_and(|part| part.last) {
            return;
        }
        let parts = std::mem::take(&mut self.rollup);
        for part in &parts {
            self.outcomes(&part.outcomes);
        }
        let Some((image, position)) =
            self.image.as_mut().and_then(|image| Some(image.position()).map(|at| (image, at)))
        else {
            return self.damaged("a rollup has no base");
        };
        let Some(position) = position else {
            return self.damaged("a rollup has no history");
        };
        if !self.unverified && parts.last().is_some_and(|part| part.to <= position.lsn) {
            return;
        }
        match image.apply_rollup(position.journal, &parts) {
            Ok(()) => {
                self.unverified = false;
                self.tail.clear();
            }
            Err(error) if self.unverified => self.lose_image(&error.message),
            Err(error) => {
                self.lost_pages = true;
                self.damaged(error.message);
            }
        }
    }

    fn outcomes(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            if self.role == Role::Primary || outcome.client == self.me {
                if let Err(error) = self.ledger.decide(outcome) {
                    self.damaged(error.message);
                }
                self.answer_decided();
            }
        }
    }

    /// A request's answer is kept once its mutation is decided; before, the pending mutation itself says it.
    fn answer_decided(&mut self) {
        let undecided = self.mutations.split_off(&self.ledger.through(self.me).seq.next());
        for (seq, pending) in std::mem::replace(&mut self.mutations, undecided) {
            self.ledger.answer(pending.tab, pending.request, seq);
            self.ledger.keep(self.me, pending.mutation);
        }
        // The mutation is in both logs while a new one is written; the commit that rejected the first is in one alone.
        for seq in &self.retried {
            if self.ledger.client(self.me).is_some_and(|entry| entry.rejection(*seq).is_some()) {
                self.ledger.dismiss(self.me, *seq);
            }
        }
    }

    fn lose_image(&mut self, why: &str) {
        self.lost_pages = true;
        self.image = None;
        self.unverified = false;
        self.damaged(why);
    }

    fn damaged(&mut self, what: impl Into<String>) {
        self.damage.get_or_insert_with(|| Error::new(Code::Corrupt, what));
    }
}
