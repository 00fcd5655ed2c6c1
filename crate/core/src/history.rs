//! A document's past: what its primary's logs tell once they are kept, and the pages of any moment that they reach back
//! to (FORMAT.md, "History"). Logs are in the order in which they were written.

use std::ops::{Range, RangeInclusive};

use offprint_protocol::{Code, Error, JournalId, Lsn, Rollup};

use crate::head::{BaseInfo, Head, HeadBytes, Place, Role};
use crate::image::Image;
use crate::log::{LOG_HEADER_LEN, LogReader};
use crate::record::Record;

/// What a log tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// What its opening adds up to: its commits are those that follow.
    pub start: Lsn,
    /// Its last commit, or `start`.
    pub end: Lsn,
    /// When that was appended, in milliseconds since 1970; 0 if that is not known.
    pub time: u64,
    /// Whether it gives the pages at `start` by itself.
    pub is_whole: bool,
    /// How many bytes it has, header included; the file may go on with what is no part of it.
    pub len: u64,
}

impl Kept {
    /// Whether a history without it would tell less.
    pub fn is_telling(&self) -> bool {
        self.end > self.start || self.is_whole && self.end > Lsn(0)
    }
}

/// What a log tells; nothing unless it is a primary's and its opening verifies.
pub fn describe(log: &[u8]) -> Option<Kept> {
    read(log, |_, _| {})
}

/// What a log's opening adds up to and each of its commits, in order, and when it was appended, if that is known.
pub fn moments(log: &[u8]) -> Vec<(Lsn, u64)> {
    let mut moments = Vec::new();
    read(log, |lsn, time| {
        if time > 0 {
            moments.push((lsn, time));
        }
    });
    moments
}

/// How many bytes of logs there are behind the newest whole one; `u64::MAX` if they reach back to none.
pub fn behind(logs: &[Kept]) -> u64 {
    let mut behind = 0_u64;
    let mut next = None;
    for log in logs.iter().rev() {
        if next.is_some_and(|start| start > log.end) {
            break;
        }
        if log.is_whole {
            return behind;
        }
        behind = behind.saturating_add(log.len);
        next = Some(log.start);
    }
    u64::MAX
}

/// How many of the logs, from the first on, no moment in `reach` (in milliseconds since 1970, up to now) needs.
pub fn outdated(logs: &[Kept], reach: RangeInclusive<u64>) -> usize {
    // A clock that was behind for a while puts an older time after one that is in reach. One that was ahead left a time
    // that has yet to come: that says nothing, or all that follows would stay until then.
    let older = logs.iter().take_while(|log| !reach.contains(&log.time)).count();
    let is_enough = |at: &usize| logs[*at].is_whole && logs[*at - 1].time < *reach.start();
    (1..logs.len().min(older + 1)).rev().find(is_enough).unwrap_or(0)
}

/// Which of the logs give the pages at this Lsn; `gone` if they do not reach back to it, `bad_argument` if it has yet to
/// come.
pub fn chain(logs: &[Kept], to: Lsn) -> Result<Range<usize>, Error> {
    let Some(from) = logs.iter().rposition(|log| log.is_whole && log.start <= to) else {
        return Err(Error::new(Code::Gone, format!("nothing as old as Lsn {to} is kept")));
    };
    match logs[from..].iter().position(|log| log.end >= to) {
        Some(last) => Ok(from..from + last + 1),
        None => Err(Error::new(Code::BadArgument, format!("there is no Lsn {to} yet"))),
    }
}

/// Makes the pages at an Lsn of the logs that [`chain`] names.
#[derive(Debug)]
pub struct Restore {
    to: Lsn,
    image: Option<Image>,
    rollup: Vec<Rollup>,
}

impl Restore {
    /// Begins with nothing.
    pub fn new(to: Lsn) -> Self {
        Self { to, image: None, rollup: Vec::new() }
    }

    /// Takes the next log, of which every byte counts: `gone` if it does not follow, `corrupt` if it fails a check.
    pub fn log(&mut self, log: &[u8]) -> Result<(), Error> {
        let (Some(head), Some(kept)) = (header(log), describe(log)) else {
            return Err(corrupt("a kept log has no opening that verifies"));
        };
        if kept.len != log.len() as u64 {
            return Err(corrupt(format!("a record at byte {} of a kept log fails its check", kept.len)));
        }
        let journal = position(&head)?.position.journal;
        let mut image = match self.image.take() {
            Some(image) if kept.start > image.lsn() => {
                let what = format!("the commits between Lsn {} and {} are not kept", image.lsn(), kept.start);
                return Err(Error::new(Code::Gone, what));
            }
            Some(image) if image.position().is_some_and(|ours| ours.journal != journal) => {
                return Err(Error::new(Code::HistoryMismatch, "a kept log is of another history"));
            }
            Some(image) => image,
            None if kept.is_whole && kept.start <= self.to => Image::empty(journal),
            None => return Err(Error::new(Code::Gone, "the first of the logs is not a whole one")),
        };
        self.rollup.clear();
        for frame in LogReader::new(log, head.salt) {
            match Record::decode(frame.kind, frame.body)? {
                Record::Commits(batch) => {
                    for commit in batch.commits {
                        if image.lsn() < commit.lsn && commit.lsn <= self.to {
                            image.apply_commit(&commit)?;
                        }
                    }
                }
                Record::Rollup(part) => self.rollup(journal, part, &mut image)?,
                Record::Mutation(_)
                | Record::Ledger(_)
                | Record::Dismiss(_)
                | Record::Time(_)
                | Record::Definition(_) => {}
            }
        }
        self.image = Some(image);
        Ok(())
    }

    /// The pages, if the logs came as far.
    pub fn finish(self) -> Result<Image, Error> {
        let to = self.to;
        self.image.filter(|image| image.lsn() == to).ok_or_else(|| corrupt(format!("no log has Lsn {to}")))
    }

    fn rollup(&mut self, journal: JournalId, part: Rollup, image: &mut Image) -> Result<(), Error> {
        if self.rollup.first().is_some_and(|first| (first.from, first.to) != (part.from, part.to)) {
            self.rollup.clear();
        }
        let (to, hash, is_last) = (part.to, part.hash, part.last);
        self.rollup.push(part);
        if !is_last {
            return Ok(());
        }
        let parts = std::mem::take(&mut self.rollup);
        if image.position().is_some_and(|ours| ours.lsn == to && ours.hash != hash) {
            return Err(Error::new(Code::HistoryMismatch, format!("Lsn {to} is not the same in two logs")));
        }
        match image.lsn() < to && to <= self.to {
            true => image.apply_rollup(journal, &parts),
            false => Ok(()),
        }
    }
}

fn header(log: &[u8]) -> Option<Head> {
    match Head::decode(log.get(..LOG_HEADER_LEN)?, Place::Log) {
        HeadBytes::Head(head) if head.role == Role::Primary => Some(head),
        _ => None,
    }
}

fn position(head: &Head) -> Result<BaseInfo, Error> {
    head.base_info.ok_or_else(|| corrupt("a primary's log without a history"))
}

/// Tells `each` Lsn that the log gives and when it was appended, first the one that the opening adds up to.
fn read(log: &[u8], mut each: impl FnMut(Lsn, u64)) -> Option<Kept> {
    let head = header(log)?;
    let base = position(&head).ok()?;
    let mut reader = LogReader::new(log, head.salt);
    let mut kept = Kept {
        start: base.position.lsn,
        end: base.position.lsn,
        time: 0,
        is_whole: base.position.lsn == Lsn(0) && base.page_count == 0,
        len: reader.at() as u64,
    };
    let (mut time, mut is_begun) = (0, false);
    while let Some(frame) = reader.next() {
        let Ok(record) = Record::decode(frame.kind, frame.body) else { break };
        match record {
            Record::Time(at) => time = at,
            // The rollup of the opening comes before its ledger, those of long commits behind it.
            Record::Rollup(part) if !is_begun => {
                kept.is_whole |= part.from == Lsn(0);
                (kept.start, kept.end) = (part.to, part.to);
            }
            Record::Ledger(_) if !is_begun => {
                is_begun = true;
                kept.time = time;
                each(kept.start, time);
            }
            Record::Rollup(Rollup { to, last: true, .. }) => {
                (kept.end, kept.time) = (kept.end.max(to), time);
                each(to, time);
            }
            Record::Commits(batch) => {
                for commit in batch.commits {
                    (kept.end, kept.time) = (kept.end.max(commit.lsn), time);
                    each(commit.lsn, time);
                }
            }
            Record::Mutation(_)
            | Record::Rollup(_)
            | Record::Ledger(_)
            | Record::Dismiss(_)
            | Record::Definition(_) => {}
        }
        kept.len = reader.at() as u64;
    }
    (is_begun && kept.len >= head.opening).then_some(kept)
}

fn corrupt(what: impl Into<String>) -> Error {
    Error::new(Code::Corrupt, what)
}
