//! Every moment of a primary's past comes back from the logs that were kept, whatever happened in between.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[path = "sweep/past.rs"]
mod past;
mod storage;

use std::collections::BTreeMap;

use offprint_core::commit_journal::{CommitJournal, JournalEvent, Start};
use offprint_core::disk::{DiskOp, FileName};
use offprint_core::disk_memory::DiskMemory;
use offprint_core::head::{Head, HeadBytes, Place, SLOT_LEN};
use offprint_core::history;
use offprint_core::journal::History;
use offprint_core::ledger::Ledger;
use offprint_core::{Change, Entry, FileJournal, Image};
use offprint_protocol::{Code, JournalId, Lsn, PageNo, Touched};
use past::Past;
use storage::{Random, document};

struct Run {
    disk: DiskMemory,
    journal: FileJournal,
    image: Image,
    random: Random,
    now: u64,
    lives: u8,
    /// How many appends are not durable yet.
    under_way: usize,
    /// The first Lsn that there is a history of.
    first: u64,
    /// What there was at each Lsn, and since when.
    known: BTreeMap<u64, (Image, u64)>,
}

fn past(disk: &DiskMemory) -> Past {
    Past::of(disk.kept(), [disk.bytes(FileName::Log0), disk.bytes(FileName::Log1)])
}

impl Run {
    fn new(seed: u64) -> Self {
        let disk = DiskMemory::new(seed);
        let (journal, image) = (file_journal(&disk, 1), Image::none());
        let (random, known) = (Random::new(seed), BTreeMap::new());
        let mut run =
            Self { disk, journal, image, random, now: 1_000, lives: 1, under_way: 0, first: 1, known };
        run.open();
        run
    }

    /// Carries out up to so many batches; gives what the journal told.
    fn batches(&mut self, count: usize) -> Vec<JournalEvent> {
        for _ in 0..count {
            let Some(batch) = self.journal.next_batch() else { break };
            self.journal.answer(self.disk.run(&batch)).unwrap();
        }
        let told: Vec<_> = std::iter::from_fn(|| self.journal.poll()).collect();
        self.under_way -= told.iter().filter(|event| matches!(event, JournalEvent::Appended(_))).count();
        told
    }

    fn settle(&mut self) -> Vec<JournalEvent> {
        self.batches(usize::MAX)
    }

    fn open(&mut self) {
        loop {
            for event in self.batches(1) {
                if let JournalEvent::Start(start) = event {
                    let Start { image, .. } = *start;
                    let lsn = image.lsn().0;
                    self.known.retain(|known, _| *known <= lsn);
                    assert!(self.known.get(&lsn).is_none_or(|(known, _)| *known == image));
                    self.image = image;
                    return;
                }
            }
        }
    }

    fn reopen(&mut self) {
        self.lives += 1;
        self.journal = file_journal(&self.disk, self.lives);
        self.under_way = 0;
        self.open();
    }

    fn append(&mut self, change: Entry) {
        self.journal.append(self.image.lsn(), &change).unwrap();
        let journal = self.image.position().unwrap().journal;
        change.apply(journal, &mut self.image).unwrap();
        self.under_way += 1;
        self.known.insert(self.image.lsn().0, (self.image.clone(), change.at));
    }

    /// A commit that changes, adds and drops some pages.
    fn commit(&mut self, pages: u64) {
        let before = self.image.page_count();
        let dropped = if self.random.below(6) == 0 { self.random.below(40) as u32 } else { 0 };
        let page_count = (before + self.random.below(pages + 1) as u32).saturating_sub(dropped).max(1);
        let mut changed = BTreeMap::new();
        for _ in 0..pages {
            let no = PageNo(1 + self.random.below(page_count.into()) as u32);
            changed.insert(no, self.random.noise());
        }
        let commit = self.image.commit_of(&changed, page_count, Touched::All);
        let mut after = self.image.clone();
        after.apply_commit(&commit).unwrap();
        self.now += self.random.below(50);
        self.append(Entry::of_commit(self.now, Ledger::new(), vec![], commit, &after));
    }

    fn adopt(&mut self) {
        let mut theirs = Image::empty(JournalId([9; 16]));
        for _ in 0..3 {
            let changed = (1..=9).map(|no| (PageNo(no), self.random.noise())).collect();
            theirs.apply_commit(&theirs.commit_of(&changed, 9, Touched::All)).unwrap();
        }
        self.first = 3;
        let change = Change::Adopted(theirs);
        self.append(Entry { at: self.now, clients: Ledger::new(), outcomes: vec![], change });
        self.settle();
    }

    /// Begins one, as a primary does: while nothing is being appended.
    fn checkpoint(&mut self) {
        while self.under_way > 0 {
            self.batches(1);
        }
        self.journal.checkpoint(&self.image, &Ledger::new());
    }

    fn anything(&mut self) {
        match self.random.below(20) {
            0..9 => self.commit(1),
            9..12 => self.commit(20),
            12 => self.commit(330),
            13..15 => self.checkpoint(),
            15 => self.reopen(),
            16 => {
                self.settle();
                self.journal.wake();
                self.open();
            }
            17 => {
                self.disk.crash();
                self.reopen();
            }
            _ => {
                self.settle();
            }
        }
        let count = self.random.below(4) as usize;
        self.batches(count);
    }

    fn check(&mut self) {
        let past = past(&self.disk);
        for (lsn, (image, time)) in self.known.range(self.first..) {
            assert!(past.image(Lsn(*lsn)).unwrap() == *image, "Lsn {lsn} is another");
            let last = self.known.range(self.first..).rfind(|(_, (_, other))| other <= time).unwrap();
            assert_eq!(past.until(*time), Some(Lsn(*last.0)), "at {time}");
        }
        assert_eq!(past.until(999), None);
        let beyond = past.image(self.image.lsn().next()).unwrap_err();
        assert_eq!(beyond.code, Code::BadArgument, "{beyond}");
    }
}

fn file_journal(disk: &DiskMemory, life: u8) -> FileJournal {
    let history = History { behind: past(disk).behind() };
    FileJournal::open(document(), Some(history), [life; 32])
}

/// So much that whole logs come several times.
fn long_run(seed: u64) -> Run {
    let mut run = Run::new(seed);
    if seed.is_multiple_of(3) {
        run.adopt();
    }
    for _ in 0..120 {
        run.anything();
    }
    run.settle();
    run
}

#[test]
fn every_lsn_and_every_time_come_back() {
    let mut whole = 0;
    for seed in 1..=4 {
        println!("seed {seed}");
        let mut run = long_run(seed);
        run.check();
        whole += past(&run.disk).logs().iter().filter(|log| log.is_whole).count();
    }
    assert!(whole > 8, "{whole} whole logs: not enough to start from another than the first");
}

#[test]
fn a_log_is_whole_once_those_behind_the_last_whole_one_have_more_than_the_document() {
    let mut run = Run::new(1);
    for round in 0..80 {
        run.commit(if round % 9 == 0 { 150 } else { 12 });
        run.settle();
        run.checkpoint();
        run.settle();
    }
    let logs = past(&run.disk).logs();
    // The first of them are whole anyway: base is at Lsn 0.
    let whole: Vec<usize> = (3..logs.len()).filter(|at| logs[*at].is_whole).collect();
    assert!(whole.len() > 4, "{whole:?} of {}", logs.len());
    for pair in whole.windows(2) {
        let bytes = |to: usize| logs[pair[0] + 1..to].iter().map(|log| log.len).sum::<u64>();
        let (image, _) = &run.known[&logs[pair[1]].start.0];
        let least = (u64::from(image.page_count()) * 4096).max(1 << 20);
        let opening = logs[pair[0]].len;
        assert!(bytes(pair[1]) + opening > least, "{:?} comes too early", logs[pair[1]]);
        assert!(bytes(pair[1] - 1) <= least, "{:?} comes too late", logs[pair[1]]);
    }
    let bytes =
        |is_whole: bool| logs.iter().filter(|log| log.is_whole == is_whole).map(|log| log.len).sum::<u64>();
    println!("{} bytes in whole logs, {} in others", bytes(true), bytes(false));
    assert!(bytes(true) < 2 * bytes(false));
}

#[test]
fn what_is_not_needed_since_a_time_goes_and_nothing_else() {
    let mut gone = 0;
    for seed in 1..=3 {
        let run = long_run(seed);
        for horizon in (1_000..run.now).step_by(397) {
            let mut past = past(&run.disk);
            let count = history::outdated(&past.logs(), horizon..=u64::MAX);
            gone += count;
            let next = past.logs().iter().skip(count + 1).position(|log| log.is_whole);
            past.drop_first(count);
            for (lsn, (image, time)) in run.known.range(run.first..) {
                if *time >= horizon {
                    assert!(past.image(Lsn(*lsn)).unwrap() == *image);
                }
            }
            // What was so at the horizon, if it is not what the very first of the commits made.
            if let Some((lsn, (image, _))) =
                run.known.range(run.first..).rfind(|(_, (_, time))| *time <= horizon)
            {
                assert!(past.image(Lsn(*lsn)).unwrap() == *image);
                if let Some(next) = next {
                    let end = past.logs()[next].end;
                    past.drop_first(next + 1);
                    let is_needed = *lsn < past.logs()[0].start.0;
                    let at_end = run.known.get(&end.0).is_some_and(|(_, time)| *time >= horizon);
                    assert!(is_needed || at_end, "{} logs more could go", next + 1);
                }
            }
        }
    }
    assert!(gone > 0);
}

#[test]
fn a_flipped_bit_of_a_kept_log_is_told_and_never_gives_other_pages() {
    let run = long_run(4);
    let (newest, count) = (past(&run.disk).logs().last().unwrap().end, past(&run.disk).logs().len());
    let mut told = 0;
    for (no, log) in past(&run.disk).logs().into_iter().enumerate().take(count - 1) {
        for at in (0..log.len as usize).step_by(1 + log.len as usize / 12).chain([500, 512, 520]) {
            let mut past = past(&run.disk);
            past.flip(no, at, 1 << (at % 8));
            // The names of the logs stay as they were: what is read is checked, not what is named.
            for lsn in [log.start.next(), log.end, newest] {
                match past.image(lsn) {
                    Ok(image) => assert!(run.known.get(&lsn.0).is_none_or(|(known, _)| *known == image)),
                    Err(error) => {
                        assert_eq!(error.code, Code::Corrupt, "{error}");
                        told += 1;
                    }
                }
            }
        }
    }
    assert!(told > 100, "{told}");
}

#[test]
fn a_log_that_is_missing_is_told() {
    let run = long_run(5);
    let logs = past(&run.disk).logs();
    let is_alone = |at: &usize| {
        let (before, here, behind) = (logs[at - 1], logs[*at], logs[at + 1]);
        !here.is_whole && !behind.is_whole && behind.start > before.end
    };
    let at = (1..logs.len() - 1).find(is_alone).expect("a log that others do not repeat");
    let missing = past(&run.disk).without(at);
    assert_eq!(missing.image(logs[at + 1].end).unwrap_err().code, Code::Gone);
    assert!(missing.image(logs[at - 1].end).is_ok());
    let oldest = logs.iter().rposition(|log| log.is_whole && log.start <= Lsn(run.first)).unwrap();
    let mut young = past(&run.disk);
    young.drop_first(oldest + 1);
    assert_eq!(young.image(Lsn(run.first)).unwrap_err().code, Code::Gone);
}

#[test]
fn logs_that_were_written_without_a_history_are_no_part_of_it_and_the_next_one_is_whole() {
    let mut run = Run::new(1);
    run.commit(3);
    run.settle();
    run.reopen();
    run.settle();
    // Some lives without a history: the same files, and nothing is kept.
    for life in 100..104 {
        run.journal = FileJournal::open(document(), None, [life; 32]);
        run.open();
        run.commit(3);
        run.settle();
    }
    run.reopen();
    run.settle();
    run.commit(3);
    run.settle();
    let past = past(&run.disk);
    assert!(past.image(Lsn(6)).unwrap() == run.image);
    assert!(past.image(Lsn(5)).unwrap() == run.known[&5].0);
    assert_eq!(past.image(Lsn(2)).unwrap_err().code, Code::Gone, "{:?}", past.logs());
}

#[test]
fn a_history_that_was_adopted_begins_with_what_was_adopted() {
    let mut run = Run::new(2);
    run.settle();
    run.adopt();
    run.commit(3);
    run.settle();
    run.check();
    run.checkpoint();
    run.settle();
    run.commit(3);
    run.reopen();
    run.settle();
    run.check();
    assert!(past(&run.disk).image(Lsn(2)).is_err());
}

#[test]
fn a_clock_that_is_set_back_tells_the_last_commit_that_is_not_later() {
    let mut run = Run::new(1);
    for now in [5_000, 6_000, 2_000, 2_500, 9_000] {
        run.now = now;
        run.random = Random::new(now);
        run.commit(0);
        run.settle();
        run.checkpoint();
        run.settle();
    }
    let past = past(&run.disk);
    let time = |lsn: u64| run.known[&lsn].1;
    assert_eq!(past.until(time(1)), Some(Lsn(4)));
    assert_eq!(past.until(time(3)), Some(Lsn(3)));
    assert_eq!(past.until(time(3) - 1), None);
    assert_eq!(past.until(time(5)), Some(Lsn(5)));
}

#[test]
fn a_torn_slot_beside_one_that_names_a_log_that_was_kept_loses_nothing() {
    let mut run = Run::new(3);
    run.commit(90);
    run.settle();
    run.reopen();
    run.settle();
    // Base lacks so little that it needs no head of its own: one slot names each log.
    run.commit(1);
    run.settle();
    run.checkpoint();
    run.settle();
    run.commit(1);
    run.settle();
    let heads = |disk: &DiskMemory| -> Vec<Head> {
        let slots = disk.bytes(FileName::Head).chunks(SLOT_LEN);
        slots
            .map(|slot| match Head::decode(slot, Place::Slot) {
                HeadBytes::Head(head) => head,
                other => panic!("{other:?}"),
            })
            .collect()
    };
    run.checkpoint();
    let kept = run.disk.kept().len();
    while run.disk.kept().len() == kept {
        let batch = run.journal.next_batch().unwrap();
        let is_alone = batch.ops.len() == 1;
        assert!(is_alone || !batch.ops.iter().any(|op| matches!(op, DiskOp::Keep { .. })));
        run.journal.answer(run.disk.run(&batch)).unwrap();
    }
    let heads = heads(&run.disk);
    let newest = usize::from(heads[0].generation < heads[1].generation);
    let (named, other) = (heads[newest].log, heads[1 - newest].log);
    assert_eq!(named.other(), other, "both slots name one log");
    assert!(run.disk.bytes(other.log()).is_empty());
    for at in [0, 8, 100, SLOT_LEN - 1] {
        let mut torn = run.disk.clone();
        torn.flip(FileName::Head, newest * SLOT_LEN + at, 0x20);
        let mut again = Run { disk: torn, journal: file_journal(&run.disk, 77), ..Run::new(9) };
        again.known = run.known.clone();
        again.open();
        assert!(again.image == run.image);
        again.settle();
        again.check();
    }
}
