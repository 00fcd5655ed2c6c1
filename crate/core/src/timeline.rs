//! A client's pending mutations, in order, and how far each has come.

use std::collections::{BTreeMap, VecDeque};

use offprint_protocol::{Encode, Mark, Mutation, MutationSeq, RequestNo, TabId, TimelineHash};

use crate::journal::{Journal, Ticket};
use crate::record::PendingMutation;

/// The pending mutations of one client, contiguous from the first undecided one.
#[derive(Debug)]
pub(crate) struct Timeline {
    confirmed: Mark,
    entries: VecDeque<Entry>,
    requests: BTreeMap<(TabId, RequestNo), MutationSeq>,
    /// How many entries, from the front, are known to be flushed.
    durable: usize,
    /// The bytes of all entries there ever were, and of those before the first.
    bytes: (u64, u64),
    /// What running all entries once more takes, as far as it is known.
    work: u64,
}

/// A pending mutation and when it is durable.
#[derive(Debug)]
struct Entry {
    pending: PendingMutation,
    ticket: Ticket,
    /// Where it ends among the bytes of all entries.
    end: u64,
    work: u64,
    /// Of the timeline up to here.
    hash: TimelineHash,
}

impl Entry {
    fn mark(&self) -> Mark {
        Mark { seq: self.pending.mutation.seq, hash: self.hash }
    }
}

impl Timeline {
    /// The timeline after recovery.
    pub(crate) fn new(confirmed: Mark, pending: Vec<PendingMutation>) -> Self {
        let mut timeline = Self {
            confirmed,
            entries: VecDeque::new(),
            requests: BTreeMap::new(),
            durable: 0,
            bytes: (0, 0),
            work: 0,
        };
        for pending in pending {
            timeline.push(pending, Journal::OPENED, 0);
        }
        timeline
    }

    /// The last mutation that was confirmed or rejected.
    pub(crate) fn confirmed(&self) -> MutationSeq {
        self.confirmed.seq
    }

    /// Everything that is decided.
    pub(crate) fn confirmed_mark(&self) -> Mark {
        self.confirmed
    }

    /// Everything that was made.
    pub(crate) fn end(&self) -> Mark {
        self.entries.back().map_or(self.confirmed, Entry::mark)
    }

    /// The timeline up to a mutation, if that is pending or the last decided one.
    pub(crate) fn mark_at(&self, seq: MutationSeq) -> Option<Mark> {
        let before = seq.0.checked_sub(self.confirmed.seq.0)?;
        let Some(index) = usize::try_from(before).ok()?.checked_sub(1) else { return Some(self.confirmed) };
        self.entries.get(index).map(Entry::mark)
    }

    /// The same mutations, as those of a client of which nothing is known but that they go on from here.
    pub(crate) fn begin_again(&mut self) -> Mark {
        self.confirmed.hash = TimelineHash::default();
        let mut hash = self.confirmed.hash;
        for entry in &mut self.entries {
            hash = hash.after(&entry.pending.mutation.to_bytes());
            entry.hash = hash;
        }
        self.confirmed
    }

    /// The number that the next mutation gets.
    pub(crate) fn next_seq(&self) -> MutationSeq {
        self.last().next()
    }

    /// The last mutation that was made.
    fn last(&self) -> MutationSeq {
        self.end().seq
    }

    /// Appends a mutation that becomes durable with `ticket` and took `work` to run.
    pub(crate) fn push(&mut self, pending: PendingMutation, ticket: Ticket, work: u64) {
        assert!(
            pending.mutation.seq == self.next_seq(),
            "BUG: a mutation's number does not follow the last one"
        );
        let bytes = pending.mutation.to_bytes();
        let hash = self.end().hash.after(&bytes);
        self.bytes.0 += bytes.len() as u64;
        self.work += work;
        self.requests.insert((pending.tab, pending.request), pending.mutation.seq);
        self.entries.push_back(Entry { pending, ticket, end: self.bytes.0, work, hash });
    }

    /// The number of pending mutations.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The pending mutations, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &PendingMutation> {
        self.entries.iter().map(|entry| &entry.pending)
    }

    /// The pending mutations after `seq`, in order.
    pub(crate) fn after(&self, seq: MutationSeq) -> impl ExactSizeIterator<Item = &PendingMutation> {
        self.entries.range(self.index_of(seq.next())..).map(|entry| &entry.pending)
    }

    /// What running all of them takes, as far as it is known.
    pub(crate) fn work(&self) -> u64 {
        self.work
    }

    /// Notes what running a mutation took.
    pub(crate) fn took(&mut self, seq: MutationSeq, work: u64) {
        let index = self.index_of(seq);
        if let Some(entry) = self.entries.get_mut(index).filter(|entry| entry.pending.mutation.seq == seq) {
            self.work = self.work - entry.work + work;
            entry.work = work;
        }
    }

    /// Which pending mutation a request made.
    pub(crate) fn request(&self, tab: TabId, request: RequestNo) -> Option<MutationSeq> {
        self.requests.get(&(tab, request)).copied()
    }

    /// Whether the mutation is flushed, or decided, which it can only be after a flush.
    pub(crate) fn is_durable(&self, seq: MutationSeq) -> bool {
        seq <= self.confirmed.seq || self.index_of(seq) < self.durable
    }

    /// Whether the mutation is neither confirmed nor rejected.
    pub(crate) fn is_pending(&self, seq: MutationSeq) -> bool {
        seq > self.confirmed.seq && seq <= self.last()
    }

    /// Whether every mutation is flushed.
    pub(crate) fn is_flushed(&self) -> bool {
        self.durable == self.entries.len()
    }

    /// Marks what is flushed up to `ticket` and gives what became durable by that.
    pub(crate) fn flushed(&mut self, ticket: Ticket) -> impl Iterator<Item = (Ticket, &PendingMutation)> {
        let before = self.durable;
        while self.entries.get(self.durable).is_some_and(|entry| entry.ticket <= ticket) {
            self.durable += 1;
        }
        self.entries.range(before..self.durable).map(|entry| (entry.ticket, &entry.pending))
    }

    /// Nothing is flushed any more before `ticket` is.
    pub(crate) fn unflushed(&mut self, ticket: Ticket) {
        self.durable = 0;
        for entry in &mut self.entries {
            entry.ticket = ticket;
        }
    }

    /// What is not known to be flushed, and what it waits for.
    pub(crate) fn in_flight(&self) -> impl ExactSizeIterator<Item = (Ticket, &PendingMutation)> {
        self.entries.range(self.durable..).map(|entry| (entry.ticket, &entry.pending))
    }

    /// Takes out every mutation up to `through`.
    pub(crate) fn decided(&mut self, through: Mark) -> Vec<PendingMutation> {
        let count = self.entries.partition_point(|entry| entry.pending.mutation.seq <= through.seq);
        self.durable = self.durable.saturating_sub(count);
        if through.seq > self.confirmed.seq {
            self.confirmed = through;
        }
        let mut decided = Vec::with_capacity(count);
        for Entry { pending, end, work, .. } in self.entries.drain(..count) {
            self.requests.remove(&(pending.tab, pending.request));
            self.bytes.1 = end;
            self.work -= work;
            decided.push(pending);
        }
        decided
    }

    /// Durable mutations after `sent` for the next push: as many as keep what is unanswered (from `confirmed` on)
    /// within `window` bytes, but at least one if nothing is unanswered.
    pub(crate) fn sendable(&self, sent: MutationSeq, window: usize) -> Vec<Mutation> {
        let start = self.index_of(sent.next());
        let first = self.bytes.1;
        let before =
            start.checked_sub(1).and_then(|last| self.entries.get(last)).map_or(first, |last| last.end);
        let mut unanswered = before - first;
        let mut mutations = Vec::new();
        for entry in self.entries.range(start.min(self.durable)..self.durable) {
            if unanswered > 0 && entry.end - first > window as u64 {
                break;
            }
            unanswered = entry.end - first;
            mutations.push(entry.pending.mutation.clone());
        }
        mutations
    }

    fn index_of(&self, seq: MutationSeq) -> usize {
        let index = seq.0.saturating_sub(self.confirmed.seq.0 + 1);
        usize::try_from(index).map_or(self.entries.len(), |index| index.min(self.entries.len()))
    }
}

#[cfg(test)]
mod tests {
    use offprint_protocol::Epoch;

    use super::*;

    fn pending(seq: u64) -> PendingMutation {
        PendingMutation {
            epoch: Epoch(1),
            tab: TabId([0; 16]),
            request: RequestNo(seq),
            retries: None,
            mutation: Mutation { seq: MutationSeq(seq), at: 0, name: "m".repeat(94), args: vec![] },
        }
    }

    fn mark(seq: u64) -> Mark {
        Mark { seq: MutationSeq(seq), hash: TimelineHash(seq) }
    }

    fn timeline(count: u64) -> Timeline {
        let mut timeline = Timeline::new(mark(10), vec![]);
        for seq in 11..11 + count {
            timeline.push(pending(seq), Ticket(seq), seq);
        }
        timeline
    }

    fn seqs(mutations: &[Mutation]) -> Vec<u64> {
        mutations.iter().map(|mutation| mutation.seq.0).collect()
    }

    #[test]
    fn only_flushed_mutations_are_sent() {
        let mut timeline = timeline(3);
        assert!(timeline.sendable(MutationSeq(10), 1000).is_empty());
        assert_eq!(timeline.flushed(Ticket(12)).count(), 2);
        assert_eq!(seqs(&timeline.sendable(MutationSeq(10), 1000)), [11, 12]);
        assert_eq!(seqs(&timeline.sendable(MutationSeq(11), 1000)), [12]);
        assert!(timeline.sendable(MutationSeq(12), 1000).is_empty());
    }

    #[test]
    fn the_window_refills_when_mutations_are_decided() {
        let mut timeline = timeline(500);
        assert_eq!(timeline.flushed(Ticket(u64::MAX)).count(), 500);
        let mut sent = MutationSeq(10);
        let mut total = 0;
        loop {
            let batch = timeline.sendable(sent, 1000);
            if batch.is_empty() {
                break;
            }
            total += batch.len();
            assert!(batch.len() <= 10);
            sent = batch.last().expect("not empty").seq;
            assert!(timeline.sendable(sent, 1000).is_empty());
            assert_eq!(timeline.decided(mark(sent.0)).len(), batch.len());
        }
        assert_eq!(total, 500);
    }

    #[test]
    fn the_work_is_that_of_what_is_pending() {
        let mut timeline = timeline(4);
        assert_eq!(timeline.work(), 11 + 12 + 13 + 14);
        timeline.took(MutationSeq(12), 100);
        timeline.took(MutationSeq(99), 5);
        assert_eq!(timeline.work(), 11 + 100 + 13 + 14);
        assert_eq!(timeline.decided(mark(12)).len(), 2);
        timeline.took(MutationSeq(12), 7);
        assert_eq!(timeline.work(), 13 + 14);
        assert_eq!(
            timeline.after(MutationSeq(13)).map(|pending| pending.mutation.seq.0).collect::<Vec<_>>(),
            [14]
        );
        assert_eq!(timeline.after(MutationSeq(5)).len(), 2);
    }

    #[test]
    fn a_mutation_larger_than_the_window_is_sent_alone() {
        let mut timeline = timeline(2);
        let _ = timeline.flushed(Ticket(u64::MAX)).count();
        assert_eq!(seqs(&timeline.sendable(MutationSeq(10), 1)), [11]);
        assert!(timeline.sendable(MutationSeq(11), 1).is_empty());
    }

    #[test]
    fn a_mark_stands_for_all_that_was_made_up_to_it() {
        let (one, mut other) = (timeline(3), Timeline::new(mark(10), vec![]));
        other.push(pending(11), Ticket(1), 0);
        assert_eq!(one.mark_at(MutationSeq(11)), Some(other.end()));
        other.push(
            PendingMutation { mutation: Mutation { at: 1, ..pending(12).mutation }, ..pending(12) },
            Ticket(2),
            0,
        );
        other.push(pending(13), Ticket(3), 0);
        assert_ne!(one.mark_at(MutationSeq(13)), Some(other.end()));
        assert_eq!((one.mark_at(MutationSeq(10)), one.mark_at(MutationSeq(9))), (Some(mark(10)), None));
        assert_eq!(one.mark_at(MutationSeq(14)), None);
    }

    #[test]
    fn what_is_decided_ahead_of_the_device_counts_as_durable() {
        let mut timeline = timeline(3);
        assert_eq!(timeline.decided(mark(12)).len(), 2);
        assert!(timeline.is_durable(MutationSeq(12)));
        assert!(!timeline.is_durable(MutationSeq(13)));
        assert_eq!(timeline.next_seq(), MutationSeq(14));
        assert_eq!(timeline.flushed(Ticket(13)).count(), 1);
        assert!(timeline.decided(mark(20)).len() == 1 && timeline.next_seq() == MutationSeq(21));
    }
}
