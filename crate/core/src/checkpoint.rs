//! A new log's opening, and base catching up with it (FORMAT.md, "What is written in which order").

use std::collections::VecDeque;

use offprint_protocol::{Checksum, Definition, Encode, Lsn, PAGE_SIZE, PageNo, PagePatch, Position};

use crate::disk::{DiskOp, FileName};
use crate::head::{BaseInfo, Head};
use crate::image::Image;
use crate::ledger::{ClientEntry, Ledger};
use crate::log::{Chain, LOG_HEADER_LEN};
use crate::record::{PendingMutation, Record};
use crate::recovery::Rewrite;

/// About how much a batch writes: appends wait for no more.
pub(crate) const SLICE: usize = 1 << 20;

/// How many pages are compressed for one slice.
const SLICE_PAGES: usize = 128;

const PART: usize = 1 << 20;

/// Above this many bytes of rollup, base catches up; also above a quarter of base.
const ROLLUP_LIMIT: usize = 256 << 10;

/// A new log on its way to its file, and what has to be done around writing it.
#[derive(Debug)]
pub(crate) struct Opening {
    /// Log, base and generation are settled when the first batch is made.
    pub(crate) head: Head,
    pub(crate) begun: bool,
    /// What the log's file held is in the history, if there is one.
    pub(crate) is_kept: bool,
    /// Whether the log tells every page, so that none of those before it is needed to read it.
    pub(crate) is_whole: bool,
    /// Has to be written and flushed before anything else.
    pub(crate) flush: Option<Rewrite>,
    /// Has to be in the file `aside` before anything else: where, and what.
    pub(crate) aside: Option<(u64, Vec<u8>)>,
    /// The other base becomes the active one.
    pub(crate) other_base: bool,
    /// These pages go to base first.
    pub(crate) new_base: Option<PageQueue>,
    rollup: Option<(Lsn, PageQueue)>,
    /// Bytes of rollup so far.
    pub(crate) rollup_len: u64,
    /// Where base stands, if it lacks something, and what it is to hold.
    covers: Option<(Lsn, Image)>,
    /// Bodies by kind, to be chained behind the rollup.
    records: VecDeque<(u8, Vec<u8>)>,
    pub(crate) chain: Chain,
    /// Where `ready` begins in the file.
    pub(crate) written: u64,
    /// Chained but not in a batch yet.
    pub(crate) ready: Vec<u8>,
}

/// How an opening is made.
#[derive(Debug, Clone)]
pub(crate) struct Making {
    /// With the other base, even if this one could be kept.
    pub(crate) other_base: bool,
    /// A slot holds a head already.
    pub(crate) has_slot: bool,
    /// With every page in the log itself.
    pub(crate) is_whole: bool,
    /// When the newest commit was appended; 0 if that is not known.
    pub(crate) time: u64,
    /// What the pending mutations were made with, if the log has to say so.
    pub(crate) definition: Option<Definition>,
}

/// Pages on their way to a file.
#[derive(Debug)]
pub(crate) struct PageQueue {
    pub(crate) image: Image,
    pages: Vec<PageNo>,
    done: usize,
    /// What `done` was before the last slice.
    before: usize,
}

impl PageQueue {
    fn new(image: &Image, from: Lsn) -> Self {
        let pages = image.changed_since(from).map(|(no, _)| no).collect();
        Self { image: image.clone(), pages, done: 0, before: 0 }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done == self.pages.len()
    }

    fn next(&mut self, count: usize) -> &[PageNo] {
        self.before = self.done;
        self.done = self.pages.len().min(self.done + count);
        &self.pages[self.before..self.done]
    }

    /// The last slice was not written.
    pub(crate) fn back(&mut self) {
        self.done = self.before;
    }

    /// Writes of a slice, each of adjacent pages, and their flush.
    pub(crate) fn slice(&mut self, file: FileName) -> Vec<DiskOp> {
        let mut runs: Vec<(PageNo, Vec<u8>)> = Vec::new();
        let mut last = None;
        let image = self.image.clone();
        for no in self.next(SLICE / PAGE_SIZE) {
            let Some(page) = image.page(*no) else { continue };
            match runs.last_mut() {
                Some((_, run)) if last.map(PageNo::next) == Some(*no) => run.extend_from_slice(&page[..]),
                _ => runs.push((*no, page.to_vec())),
            }
            last = Some(*no);
        }
        let offset = |no: PageNo| u64::from(no.0 - 1) * PAGE_SIZE as u64;
        let write = |(no, bytes)| DiskOp::Write { file, offset: offset(no), bytes };
        let mut ops: Vec<DiskOp> = runs.into_iter().map(write).collect();
        ops.push(DiskOp::Flush { file });
        ops
    }
}

impl Opening {
    /// An opening that follows `head`.
    pub(crate) fn new(
        head: &Head,
        salt: u64,
        (image, ledger, pending): (&Image, &Ledger, &[PendingMutation]),
        mut making: Making,
    ) -> Self {
        let mut records = VecDeque::new();
        for record in ledger_records(ledger) {
            let body = record.body().expect("BUG: a part of a checkpoint exceeds a record");
            records.push_back((record.kind(), body));
        }
        records.extend(pending.iter().map(|mutation| (1, mutation.to_bytes())));
        let mut opening = Self {
            head: Head { salt, ..head.clone() },
            begun: false,
            is_kept: false,
            is_whole: making.is_whole,
            flush: None,
            aside: None,
            other_base: false,
            new_base: None,
            rollup: None,
            rollup_len: 0,
            covers: None,
            records,
            chain: Chain::new(salt),
            written: LOG_HEADER_LEN as u64,
            ready: Vec::new(),
        };
        let time = (making.time > 0).then_some(Record::Time(making.time));
        let definition = making.definition.take().map(Record::Definition);
        for record in time.into_iter().chain(definition) {
            let body = record.body().expect("BUG: what a log begins with exceeds a record");
            opening.chain.append(record.kind(), false, &body, &mut opening.ready);
        }
        opening.base(image, &making);
        opening
    }

    /// Settles what base holds, and what of it goes through the log.
    fn base(&mut self, image: &Image, making: &Making) {
        let Some(position) = image.position() else {
            self.head.base_info = None;
            return;
        };
        let kept = self.head.base_info.filter(|base| {
            !making.other_base
                && base.position.journal == position.journal
                && base.position.lsn <= position.lsn
        });
        self.other_base = kept.is_none();
        if self.other_base && making.has_slot && !making.is_whole {
            self.head.base_info = image.base_info();
            self.new_base = Some(PageQueue::new(image, Lsn(0)));
            return;
        }
        // Before the first head base stays empty: one with pages tells that a head is lost. So it does while the log
        // has every page: it gets them from there.
        let base = kept.map(|base| BaseInfo { origin: image.origin(), ..base }).unwrap_or(BaseInfo {
            position: Position::start(position.journal),
            origin: image.origin(),
            page_count: 0,
            checksum: Checksum::default(),
        });
        self.head.base_info = Some(base);
        let from = base.position.lsn;
        if from != position.lsn {
            self.covers = Some((from, image.clone()));
        }
        let from = if making.is_whole { Lsn(0) } else { from };
        if from != position.lsn {
            self.rollup = Some((from, PageQueue::new(image, from)));
        }
    }

    /// A record that is appended while the opening is being written.
    pub(crate) fn push(&mut self, kind: u8, body: Vec<u8>) {
        self.records.push_back((kind, body));
    }

    /// Chains what fits one slice.
    pub(crate) fn fill(&mut self) {
        while self.ready.len() < SLICE {
            if let Some((from, pages)) = &mut self.rollup {
                let image = pages.image.clone();
                let patch = |no: &PageNo| Some(PagePatch::new(*no, image.page(*no)?, None));
                let patches = pages.next(SLICE_PAGES).iter().filter_map(patch).collect();
                let is_last = pages.is_done();
                let part = image.rollup_part(*from, patches, is_last).to_bytes();
                let before = self.ready.len();
                self.chain.append(3, false, &part, &mut self.ready);
                self.rollup_len += (self.ready.len() - before) as u64;
                if !is_last {
                    return;
                }
                self.rollup = None;
            } else if let Some((kind, body)) = self.records.pop_front() {
                self.chain.append(kind, false, &body, &mut self.ready);
            } else {
                return;
            }
        }
    }

    /// Whether everything is chained.
    pub(crate) fn is_full(&self) -> bool {
        self.rollup.is_none() && self.records.is_empty()
    }

    /// What base then lacks, if that is too much, or at all with `any`.
    pub(crate) fn catch_up(&self, any: bool) -> Option<PageQueue> {
        let (from, image) = self.covers.as_ref()?;
        let base = self.head.base_info.map_or(0, |base| base.page_count as usize);
        let len = self.rollup_len as usize;
        let much = len > ROLLUP_LIMIT || len >= base * (PAGE_SIZE / 4);
        (much || any).then(|| PageQueue::new(image, *from))
    }
}

/// Records of about [`PART`] bytes that give the ledger. A client with more rejections than fit one continues in the
/// next, without marks.
fn ledger_records(ledger: &Ledger) -> Vec<Record> {
    let mut records = Vec::new();
    let mut part = Ledger::new();
    part.take_answered(ledger);
    let mut used = 0;
    for entry in ledger.clients() {
        used += 64 + 16 * entry.marks.len();
        let marks = entry.marks.clone();
        let mut piece = ClientEntry { rejections: Vec::new(), refused: Vec::new(), marks, ..*entry };
        for rejection in &entry.rejections {
            let refused = entry.refused(rejection.seq);
            used += rejection.to_bytes().len() + refused.map_or(0, |mutation| mutation.to_bytes().len());
            if used > PART {
                part.insert(ClientEntry {
                    rejections: std::mem::take(&mut piece.rejections),
                    refused: std::mem::take(&mut piece.refused),
                    ..piece.clone()
                });
                records.push(Record::Ledger(std::mem::take(&mut part)));
                piece.marks.clear();
                used = 0;
            }
            piece.rejections.push(rejection.clone());
            piece.refused.extend(refused.cloned());
        }
        part.insert(piece);
        if used > PART {
            records.push(Record::Ledger(std::mem::take(&mut part)));
            used = 0;
        }
    }
    records.push(Record::Ledger(part));
    records
}

#[cfg(test)]
mod tests {
    use offprint_protocol::{
        ClientId, ClientKey, Mark, Mutation, MutationSeq, Outcome, Rejection, RequestNo, TabId, TimelineHash,
    };

    use super::*;

    #[test]
    fn a_ledger_of_any_size_comes_back_from_its_records() {
        let mut ledger = Ledger::new();
        ledger.answer(TabId([0; 16]), RequestNo(1), MutationSeq(1));
        for (client, rejections) in [(1, 0), (2, 3), (3, 40), (4, 0), (5, 10)] {
            ledger.register(ClientId([client; 16]), ClientKey([client; 16]), Mark::default());
            let rejections = (1..=rejections).map(|seq| Rejection {
                seq: MutationSeq(2 * seq),
                name: "add".into(),
                code: "gone".into(),
                message: "m".repeat(100_000),
                lsn: Lsn(seq),
            });
            let client = ClientId([client; 16]);
            let through = Mark { seq: MutationSeq(99), hash: TimelineHash(99) };
            ledger.decide(&Outcome { client, through, rejections: rejections.collect() }).unwrap();
            for seq in (0..30).map(MutationSeq) {
                ledger.keep(client, Mutation { seq, at: 0, name: "n".repeat(90_000), args: Vec::new() });
            }
        }
        let records = ledger_records(&ledger);
        assert!(records.len() > 4);
        let mut merged = Ledger::new();
        for record in records {
            assert!(record.body().unwrap().len() < 2 * PART);
            match record {
                Record::Ledger(part) => merged.merge(part),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(merged, ledger);
    }
}
