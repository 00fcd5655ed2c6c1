//! The newest commits of a journal, for receivers that are a little behind.

use std::collections::VecDeque;

use offprint_protocol::{Commit, Position};

use crate::entry::Change;

/// How many positions are remembered, so that a receiver's history can be compared with ours.
const POSITIONS: usize = 1 << 14;
/// How many bytes of commits are kept and sent at once; a receiver further behind gets a rollup.
const BYTES: usize = 1 << 20;

/// Positions and commits up to the end of the journal.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Ascending without gaps; the last is the journal's end.
    positions: VecDeque<Position>,
    /// The commits that led to the last positions.
    commits: VecDeque<Commit>,
    /// Their sizes together.
    bytes: usize,
}

impl Tail {
    /// The tail of commits that each follow a position, the last of which led to `end`.
    pub(crate) fn new(commits: Vec<(Position, Commit)>, end: Position) -> Self {
        let mut tail = Self { positions: VecDeque::new(), commits: VecDeque::new(), bytes: 0 };
        for (before, commit) in commits {
            tail.advance(before);
            tail.keep(commit);
        }
        tail.advance(end);
        tail
    }

    /// The journal's end.
    pub(crate) fn end(&self) -> Position {
        *self.positions.back().expect("BUG: a tail has an end")
    }

    /// Appends the commit that follows.
    pub(crate) fn push(&mut self, commit: Commit) {
        self.advance(self.end().after(&commit));
        self.keep(commit);
    }

    fn keep(&mut self, commit: Commit) {
        self.bytes += commit.size();
        self.commits.push_back(commit);
        while self.bytes > BYTES || self.commits.len() >= POSITIONS {
            let Some(first) = self.commits.pop_front() else { break };
            self.bytes -= first.size();
        }
    }

    /// Appends what an entry changed, which led to `position`.
    pub(crate) fn follow(&mut self, change: &Change, position: Position) {
        match change {
            Change::Commit(commit) => self.push(commit.clone()),
            Change::Rollup(_) => {
                self.advance(position);
                self.commits.clear();
                self.bytes = 0;
            }
            Change::Adopted(_) => *self = Self::new(Vec::new(), position),
        }
    }

    fn advance(&mut self, end: Position) {
        self.positions.push_back(end);
        if self.positions.len() > POSITIONS {
            self.positions.pop_front();
        }
    }

    /// Whether a receiver that is at `position` shares our history.
    pub(crate) fn contains(&self, position: &Position) -> bool {
        let first = self.positions.front().map_or(0, |first| first.lsn.0);
        let index = position.lsn.0.checked_sub(first).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.positions.get(index)) == Some(position)
    }

    /// The commits after `position`, if it is in our history and they are all still here.
    pub(crate) fn after(&self, position: &Position) -> Option<Vec<Commit>> {
        let skip = self.index_after(position)?;
        Some(self.commits.range(skip..).cloned().collect())
    }

    /// Whether there is something [`Tail::after`] that position.
    pub(crate) fn reaches(&self, position: &Position) -> bool {
        self.index_after(position).is_some()
    }

    fn index_after(&self, position: &Position) -> Option<usize> {
        if !self.contains(position) {
            return None;
        }
        let missing = usize::try_from(self.end().lsn.0 - position.lsn.0).ok()?;
        self.commits.len().checked_sub(missing)
    }
}

#[cfg(test)]
mod tests {
    use offprint_protocol::{
        Checksum, CommitHash, JournalId, Lsn, PageNo, PagePatch, Touched, page::PatchBytes,
    };

    use super::*;

    fn commit(lsn: u64, bytes: usize) -> Commit {
        let patch = PagePatch { no: PageNo(1), crc: lsn as u32, bytes: PatchBytes::Raw(vec![0; bytes]) };
        Commit {
            lsn: Lsn(lsn),
            page_count: 1,
            checksum: Checksum(lsn),
            touched: Touched::none(),
            pages: vec![patch],
        }
    }

    fn tail(start: Position, commits: impl IntoIterator<Item = Commit>) -> Tail {
        let mut end = start;
        let follow = |commit: Commit| {
            let after = end.after(&commit);
            (std::mem::replace(&mut end, after), commit)
        };
        let commits = commits.into_iter().map(follow).collect();
        Tail::new(commits, end)
    }

    #[test]
    fn a_receiver_gets_exactly_what_it_lacks() {
        let start = Position::start(JournalId([1; 16]));
        let tail = tail(start, (1..=5).map(|lsn| commit(lsn, 10)));
        let third = (1..=3).fold(start, |position, lsn| position.after(&commit(lsn, 10)));
        let lsns: Vec<_> = tail.after(&third).unwrap().iter().map(|commit| commit.lsn.0).collect();
        assert_eq!(lsns, [4, 5]);
        assert_eq!(tail.after(&start).unwrap().len(), 5);
    }

    #[test]
    fn another_history_is_not_ours() {
        let start = Position::start(JournalId([1; 16]));
        let tail = tail(start, [commit(1, 10)]);
        assert!(tail.after(&Position { hash: CommitHash([0; 32]), ..start }).is_none());
        assert!(tail.after(&Position { lsn: Lsn(9), ..start }).is_none());
        assert!(tail.after(&Position::start(JournalId([2; 16]))).is_none());
    }

    #[test]
    fn a_receiver_too_far_behind_is_known_but_gets_no_commits() {
        let start = Position::start(JournalId([1; 16]));
        let tail = tail(start, (1..=3).map(|lsn| commit(lsn, BYTES / 2)));
        assert!(tail.contains(&start));
        assert!(tail.after(&start).is_none());
    }
}
