//! A new log's opening, and base catching up with it (FORMAT.md, "What is written in which order").

use offprint_protocol::{Checksum, Encode, Lsn, PAGE_SIZE, PageNo, Position};

use crate::disk::{DiskOp, FileName};
use crate::head::{BaseInfo, Head, Side};
use crate::image::Image;
use crate::ledger::{ClientEntry, Ledger};
use crate::log::{Chain, LOG_HEADER_LEN};
use crate::record::{PendingMutation, Record};

/// About how much a batch writes.
pub(crate) const SLICE: usize = 4 << 20;

const CATCH_UP_SLICE: usize = 1 << 20;
const PART: usize = 1 << 20;

/// Above this many bytes of rollup, base catches up; also above a quarter of base.
const ROLLUP_LIMIT: usize = 256 << 10;

/// The bytes of a new log up to the end of its opening, and what has to be done around writing them.
#[derive(Debug)]
pub(crate) struct Opening {
    /// Log, base and generation are settled when the first batch is made.
    pub(crate) head: Head,
    pub(crate) begun: bool,
    /// Has to be written and flushed before anything else.
    pub(crate) flush: Option<(FileName, Vec<u8>)>,
    /// Has to be in the file `aside` before anything else: where, and what.
    pub(crate) aside: Option<(u64, Vec<u8>)>,
    /// The other base becomes the active one.
    pub(crate) other_base: bool,
    /// These pages go to base first.
    pub(crate) new_base: Option<CatchUp>,
    /// Afterwards base catches up.
    pub(crate) catch_up: Option<CatchUp>,
}

/// Pages on their way to base.
#[derive(Debug)]
pub(crate) struct CatchUp {
    pub(crate) image: Image,
    pages: Vec<PageNo>,
    done: usize,
}

impl CatchUp {
    fn new(image: &Image, from: Lsn) -> Self {
        let pages = image.changed_since(from).map(|(no, _)| no).collect();
        Self { image: image.clone(), pages, done: 0 }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done == self.pages.len()
    }

    /// Writes of about `bytes`, each of adjacent pages.
    pub(crate) fn writes(&mut self, side: Side, bytes: usize) -> Vec<DiskOp> {
        let mut runs: Vec<(PageNo, Vec<u8>)> = Vec::new();
        let end = self.pages.len().min(self.done + (bytes / PAGE_SIZE).max(1));
        let mut last = None;
        for no in &self.pages[self.done..end] {
            let Some(page) = self.image.page(*no) else { continue };
            match runs.last_mut() {
                Some((_, run)) if last.map(PageNo::next) == Some(*no) => run.extend_from_slice(&page[..]),
                _ => runs.push((*no, page.to_vec())),
            }
            last = Some(*no);
        }
        self.done = end;
        let offset = |no: PageNo| u64::from(no.0 - 1) * PAGE_SIZE as u64;
        let file = side.base();
        runs.into_iter().map(|(no, bytes)| DiskOp::Write { file, offset: offset(no), bytes }).collect()
    }

    pub(crate) fn slice(&mut self, side: Side) -> Vec<DiskOp> {
        self.writes(side, CATCH_UP_SLICE)
    }
}

impl Opening {
    /// An opening that follows `head`, its bytes with room for the header in front, and the chain behind it. `full`
    /// means the other base even if this one could be kept; `has_slot`, that a slot holds a head.
    pub(crate) fn new(
        head: &Head,
        salt: u64,
        state: (&Image, &Ledger, &[PendingMutation]),
        full: bool,
        has_slot: bool,
    ) -> (Self, Vec<u8>, Chain) {
        let (image, ledger, pending) = state;
        let mut bytes = vec![0; LOG_HEADER_LEN];
        let mut chain = Chain::new(salt);
        let mut opening = Self {
            head: Head { salt, ..head.clone() },
            begun: false,
            flush: None,
            aside: None,
            other_base: false,
            new_base: None,
            catch_up: None,
        };
        opening.base(image, full, has_slot, &mut chain, &mut bytes);
        for record in ledger_records(ledger) {
            append(&mut chain, &record, &mut bytes);
        }
        for mutation in pending {
            chain.append(1, false, &mutation.to_bytes(), &mut bytes);
        }
        opening.head.opening = bytes.len() as u64;
        (opening, bytes, chain)
    }

    /// Settles what base holds, and what of it goes through the log.
    fn base(&mut self, image: &Image, full: bool, has_slot: bool, chain: &mut Chain, bytes: &mut Vec<u8>) {
        let Some(position) = image.position() else {
            self.head.base_info = None;
            return;
        };
        let kept = self.head.base_info.filter(|base| {
            !full && base.position.journal == position.journal && base.position.lsn <= position.lsn
        });
        self.other_base = kept.is_none();
        if self.other_base && has_slot {
            self.head.base_info = image.base_info();
            self.new_base = Some(CatchUp::new(image, Lsn(0)));
            return;
        }
        // Before the first head base stays empty: one with pages tells that a head is lost.
        let base = kept.map(|base| BaseInfo { origin: image.origin(), ..base }).unwrap_or(BaseInfo {
            position: Position::start(position.journal),
            origin: image.origin(),
            page_count: 0,
            checksum: Checksum::default(),
        });
        self.head.base_info = Some(base);
        let from = base.position.lsn;
        if from == position.lsn {
            return;
        }
        for part in image.rollup_since(from, PART) {
            append(chain, &Record::Rollup(part), bytes);
        }
        let rollup = bytes.len() - LOG_HEADER_LEN;
        if rollup > ROLLUP_LIMIT || rollup >= base.page_count as usize * (PAGE_SIZE / 4) {
            self.catch_up = Some(CatchUp::new(image, from));
        }
    }
}

fn append(chain: &mut Chain, record: &Record, bytes: &mut Vec<u8>) {
    let body = record.body().expect("BUG: a part of a checkpoint exceeds a record");
    chain.append(record.kind(), false, &body, bytes);
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
        let mut piece = ClientEntry { rejections: Vec::new(), ..entry.clone() };
        for rejection in &entry.rejections {
            used += rejection.to_bytes().len();
            if used > PART {
                part.insert(ClientEntry {
                    rejections: std::mem::take(&mut piece.rejections),
                    ..piece.clone()
                });
                records.push(Record::Ledger(std::mem::take(&mut part)));
                piece.marks.clear();
                used = 0;
            }
            piece.rejections.push(rejection.clone());
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
        ClientId, ClientKey, Mark, MutationSeq, Outcome, Rejection, RequestNo, TabId, TimelineHash,
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
            });
            let client = ClientId([client; 16]);
            let through = Mark { seq: MutationSeq(99), hash: TimelineHash(99) };
            ledger.decide(&Outcome { client, through, rejections: rejections.collect() }).unwrap();
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
