//! What every journal of a primary has to do, asked of each there is.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use offprint_core::commit_journal::{CommitJournal, JournalEvent, Start};
use offprint_core::disk_memory::DiskMemory;
use offprint_core::journal_memory::JournalMemory;
use offprint_core::ledger::Ledger;
use offprint_core::{Change, Entry, FileJournal, Image};
use offprint_protocol::{
    ClientId, ClientKey, DocumentId, JournalId, Lsn, Mark, MutationSeq, Outcome, PAGE_SIZE, Page, PageNo,
    Rejection, TimelineHash, Touched,
};

const CLIENT: ClientId = ClientId([1; 16]);

/// Where a journal is kept.
trait Place {
    fn open(&mut self) -> Box<dyn CommitJournal>;

    /// Everything under way arrives.
    fn run(&mut self, journal: &mut dyn CommitJournal);

    /// What the journal tells until nothing is under way.
    fn told(&mut self, journal: &mut dyn CommitJournal) -> Vec<JournalEvent> {
        self.run(journal);
        std::iter::from_fn(|| journal.poll()).collect()
    }

    fn opened(&mut self) -> (Box<dyn CommitJournal>, Start) {
        let mut journal = self.open();
        let told = self.told(&mut *journal);
        let [JournalEvent::Start(start)] = &told[..] else { panic!("{told:?}") };
        (journal, (**start).clone())
    }
}

struct Files {
    disk: DiskMemory,
    opened: u8,
}

impl Place for Files {
    fn open(&mut self) -> Box<dyn CommitJournal> {
        self.opened += 1;
        Box::new(FileJournal::open(DocumentId::new("doc").unwrap(), None, [self.opened; 32]))
    }

    fn run(&mut self, journal: &mut dyn CommitJournal) {
        while let Some(batch) = journal.next_batch() {
            journal.answer(self.disk.run(&batch)).unwrap();
        }
    }
}

impl Place for JournalMemory {
    fn open(&mut self) -> Box<dyn CommitJournal> {
        Box::new(self.join())
    }

    fn run(&mut self, _journal: &mut dyn CommitJournal) {
        self.settle();
    }
}

fn for_each_place(test: impl Fn(&mut dyn Place)) {
    for seed in 1..=20 {
        test(&mut JournalMemory::new(seed));
    }
    test(&mut Files { disk: DiskMemory::new(1), opened: 0 });
}

fn mark(seq: u64) -> Mark {
    Mark { seq: MutationSeq(seq), hash: TimelineHash(seq) }
}

/// Appends a page full of `fill` and decides the client's next mutation, which is refused if `fill` is odd.
fn entry(start: &mut Start, fill: u8) -> Entry {
    noisy_entry(start, &[vec![fill; PAGE_SIZE]], fill % 2 == 1)
}

fn noisy_entry(start: &mut Start, pages: &[Vec<u8>], is_refused: bool) -> Entry {
    let first = start.image.page_count() + 1;
    let pages = (first..).map(PageNo).zip(pages.iter().map(|page| Page::from_slice(page).unwrap()));
    let pages: BTreeMap<_, _> = pages.collect();
    let page_count = start.image.page_count() + pages.len() as u32;
    let commit = start.image.commit_of(&pages, page_count, Touched::none());
    start.image.apply_commit(&commit).unwrap();
    let mut clients = Ledger::new();
    if start.ledger.client(CLIENT).is_none() {
        clients.register(CLIENT, ClientKey([2; 16]), Mark::default());
        start.ledger.merge(clients.clone());
    }
    let through = mark(start.ledger.through(CLIENT).seq.0 + 1);
    let (name, code, message) = ("add".into(), "gone".into(), "m".into());
    let rejection = Rejection { seq: through.seq, name, code, message, lsn: start.image.lsn() };
    let outcome = Outcome {
        client: CLIENT,
        through,
        rejections: is_refused.then_some(rejection).into_iter().collect(),
    };
    start.ledger.decide(&outcome).unwrap();
    Entry::of_commit(1, clients, vec![outcome], commit, &start.image)
}

fn assert_same(one: &Start, other: &Start) {
    assert!(one.image == other.image);
    assert_eq!(one.ledger, other.ledger);
    assert_eq!(one.secret, other.secret);
}

#[test]
fn a_new_document_has_a_history_and_no_commit() {
    for_each_place(|place| {
        let (journal, start) = place.opened();
        assert!(journal.is_settled());
        assert_eq!(start.image.position().map(|position| position.lsn), Some(Lsn(0)));
        drop(journal);
        assert_same(&place.opened().1, &start);
    });
}

#[test]
fn what_was_appended_is_there_for_whoever_comes_later() {
    for_each_place(|place| {
        let (mut journal, mut start) = place.opened();
        let begin = start.image.position();
        for fill in 0..10 {
            let entry = entry(&mut start, fill);
            let ticket = journal.append(Lsn(u64::from(fill)), &entry).unwrap();
            let told = place.told(&mut *journal);
            assert!(matches!(&told[..], [JournalEvent::Appended(other)] if *other == ticket), "{told:?}");
        }
        assert!(journal.is_settled());
        drop(journal);
        let (_, later) = place.opened();
        assert_same(&later, &start);
        assert_eq!(later.ledger.rejections(CLIENT).len(), 5);
        let mut position = begin.unwrap();
        for (before, commit) in &later.tail {
            assert_eq!(*before, position);
            position = position.after(commit);
        }
        assert_eq!(Some(position), start.image.position());
    });
}

#[test]
fn an_append_behind_another_end_leaves_no_trace() {
    for_each_place(|place| {
        let (mut journal, mut start) = place.opened();
        let first = entry(&mut start, 0);
        journal.append(Lsn(0), &first).unwrap();
        place.told(&mut *journal);
        let before = start.clone();
        let second = entry(&mut start, 1);
        for end in [0, 2, 7] {
            let ticket = journal.append(Lsn(end), &second).unwrap();
            let told = place.told(&mut *journal);
            assert!(matches!(&told[..], [JournalEvent::Lost(other)] if *other == ticket), "{told:?}");
        }
        let ticket = journal.read(Lsn(1)).unwrap();
        let told = place.told(&mut *journal);
        assert!(matches!(&told[..], [JournalEvent::Read(other)] if *other == ticket), "{told:?}");
        drop(journal);
        let (mut journal, later) = place.opened();
        assert_same(&later, &before);
        journal.append(Lsn(1), &second).unwrap();
        assert!(matches!(&place.told(&mut *journal)[..], [JournalEvent::Appended(_)]));
    });
}

#[test]
fn checkpoints_change_nothing_for_whoever_comes_later() {
    for_each_place(|place| {
        let (mut journal, mut start) = place.opened();
        for fill in 0..60 {
            let entry = entry(&mut start, fill);
            journal.append(Lsn(u64::from(fill)), &entry).unwrap();
            place.told(&mut *journal);
            if journal.wants_checkpoint() || fill % 25 == 24 {
                journal.checkpoint(&start.image, &start.ledger);
            }
        }
        place.run(&mut *journal);
        drop(journal);
        assert_same(&place.opened().1, &start);
    });
}

#[test]
fn a_long_commit_comes_back_whole() {
    for_each_place(|place| {
        let (mut journal, mut start) = place.opened();
        let mut state = 7_u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        let pages: Vec<Vec<u8>> = (0..600).map(|_| (0..PAGE_SIZE).map(|_| noise()).collect()).collect();
        let long = noisy_entry(&mut start, &pages, true);
        assert!(matches!(&long.change, Change::Rollup(parts) if parts.len() > 1));
        journal.append(Lsn(0), &long).unwrap();
        let short = entry(&mut start, 2);
        journal.append(Lsn(1), &short).unwrap();
        place.told(&mut *journal);
        drop(journal);
        assert_same(&place.opened().1, &start);
    });
}

#[test]
fn another_history_is_adopted_while_there_is_no_commit() {
    for_each_place(|place| {
        let (mut journal, mut start) = place.opened();
        let mut theirs = Start { image: Image::local(JournalId([9; 16])), ..start.clone() };
        entry(&mut theirs, 1);
        entry(&mut theirs, 2);
        let clients = theirs.ledger.clone();
        let adopted =
            Entry { at: 1, clients, outcomes: vec![], change: Change::Adopted(theirs.image.clone()) };
        journal.append(Lsn(0), &adopted).unwrap();
        assert!(matches!(&place.told(&mut *journal)[..], [JournalEvent::Appended(_)]));
        for late in [adopted, entry(&mut start, 3)] {
            journal.append(Lsn(0), &late).unwrap();
            assert!(matches!(&place.told(&mut *journal)[..], [JournalEvent::Lost(_)]));
        }
        let third = entry(&mut theirs, 4);
        journal.append(Lsn(2), &third).unwrap();
        assert!(matches!(&place.told(&mut *journal)[..], [JournalEvent::Appended(_)]));
        drop(journal);
        let (_, later) = place.opened();
        assert_eq!(later.image.position(), theirs.image.position());
        assert_eq!(later.ledger, theirs.ledger);
    });
}

/// Only where a journal can be shared.
#[test]
fn who_was_second_reads_what_was_first() {
    for seed in 1..=100 {
        let place = JournalMemory::new(seed);
        let mut members = [place.join(), place.join()];
        place.settle();
        let mut starts = members.each_mut().map(|member| match member.poll() {
            Some(JournalEvent::Start(start)) => *start,
            other => panic!("{other:?}"),
        });
        let entries = [entry(&mut starts[0], 1), entry(&mut starts[1], 2)];
        for (member, entry) in members.iter_mut().zip(&entries) {
            member.append(Lsn(0), entry).unwrap();
        }
        place.settle();
        let told = members.each_mut().map(|member| std::iter::from_fn(|| member.poll()).collect::<Vec<_>>());
        let is_first = |told: &Vec<JournalEvent>| matches!(told.first(), Some(JournalEvent::Appended(_)));
        let first = usize::from(is_first(&told[1]));
        let second = 1 - first;
        assert!(told[second].iter().any(|event| matches!(event, JournalEvent::Lost(_))), "{told:?}");
        let ticket = members[second].read(Lsn(0)).unwrap();
        place.settle();
        let read: Vec<_> = std::iter::from_fn(|| members[second].poll()).collect();
        let [JournalEvent::Others(entry), JournalEvent::Read(other)] = &read[..] else { panic!("{read:?}") };
        assert_eq!((entry, *other), (&entries[first], ticket), "seed {seed}");
    }
}

#[test]
fn an_adopted_history_is_told_once_a_power_cut_would_leave_it() {
    let mut place = Files { disk: DiskMemory::new(3), opened: 0 };
    let (mut journal, _) = place.opened();
    // What a device made by itself.
    let mut image = Image::empty(JournalId([7; 16]));
    let page = Page::from_slice(&[7; PAGE_SIZE]).unwrap();
    let commit = image.commit_of(&BTreeMap::from([(PageNo(1), page)]), 1, Touched::All);
    image.apply_commit(&commit).unwrap();
    let change = Change::Adopted(image.clone());
    let entry = Entry { at: 1, clients: Ledger::new(), outcomes: vec![], change };
    journal.append(Lsn(0), &entry).unwrap();
    while !journal.poll().is_some_and(|event| matches!(event, JournalEvent::Appended(_))) {
        let batch = journal.next_batch().expect("it is told in the end");
        journal.answer(place.disk.run(&batch)).unwrap();
    }
    drop(journal);
    place.disk.crash();
    assert!(place.opened().1.image == image);
}

#[test]
fn what_follows_an_adopted_history_does_not_spoil_the_one_before() {
    for cut in 0.. {
        let mut place = Files { disk: DiskMemory::new(3), opened: 0 };
        let (mut journal, _) = place.opened();
        let mut image = Image::empty(JournalId([7; 16]));
        let change = Change::Adopted(image.clone());
        let entry = Entry { at: 1, clients: Ledger::new(), outcomes: vec![], change };
        journal.append(Lsn(0), &entry).unwrap();
        let page = Page::from_slice(&[7; PAGE_SIZE]).unwrap();
        let commit = image.commit_of(&BTreeMap::from([(PageNo(1), page)]), 1, Touched::All);
        image.apply_commit(&commit).unwrap();
        let next = Entry::of_commit(2, Ledger::new(), vec![], commit, &image);
        journal.append(Lsn(0), &next).unwrap();
        let mut told = 0;
        for _ in 0..cut {
            let Some(batch) = journal.next_batch() else { break };
            journal.answer(place.disk.run(&batch)).unwrap();
            told += std::iter::from_fn(|| journal.poll()).count();
        }
        let is_settled = journal.is_settled();
        drop(journal);
        place.disk.crash();
        let after = place.opened().1.image;
        assert!(after == image || told < 2 && after.lsn() == Lsn(0), "cut after batch {cut}");
        if is_settled {
            assert_eq!(told, 2);
            return;
        }
    }
}
