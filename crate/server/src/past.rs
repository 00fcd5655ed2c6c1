//! What is left of a stored document's past: its kept logs, and the two in use.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use humantime::{Timestamp, format_rfc3339_millis};
use offprint_core::disk::FileName;
use offprint_core::history::{Kept, Restore, chain, describe, moments};
use offprint_core::image::Image;
use offprint_protocol::{Code, Error, Lsn};

use crate::kept_logs::KeptLogs;

/// When in a document's past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After this commit.
    Lsn(Lsn),
    /// After the last commit until this time, in milliseconds since 1970.
    Time(u64),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(lsn) = text.parse() {
            return Ok(Moment::Lsn(Lsn(lsn)));
        }
        let wrong = |error| format!("neither an Lsn nor a time in UTC like 2026-01-31T18:00:00Z: {error}");
        let time = text.parse::<Timestamp>().map_err(wrong)?;
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Moment::Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Logs in their order.
pub(crate) struct Past {
    logs: Vec<Log>,
}

struct Log {
    kept: Kept,
    path: PathBuf,
    /// Whether it is one of the two in use: its file goes on with what is not part of it.
    is_used: bool,
}

impl Past {
    pub(crate) fn read(directory: &Path) -> io::Result<Self> {
        let mut logs = Vec::new();
        for (kept, path) in KeptLogs::of(directory).list()? {
            logs.push(Log { kept, path, is_used: false });
        }
        for name in [FileName::Log0, FileName::Log1] {
            let path = directory.join(name.as_str());
            logs.extend(describe(&fs::read(&path)?).map(|kept| Log { kept, path, is_used: true }));
        }
        logs.sort_by_key(|log| (log.kept.start, log.kept.end));
        Ok(Self { logs })
    }

    /// The pages of that moment; `gone` if the logs do not reach back to it.
    pub(crate) fn image(&self, moment: Moment) -> Result<Image, Error> {
        let lsn = match moment {
            Moment::Lsn(lsn) => lsn,
            Moment::Time(time) => self.until(time)?,
        };
        let kept: Vec<Kept> = self.logs.iter().map(|log| log.kept).collect();
        restore(&self.logs[chain(&kept, lsn)?], lsn)
    }

    /// Some words about it, if a history is kept.
    pub(crate) fn describe(&self) -> Result<Option<String>, Error> {
        let kept: Vec<&Log> = self.logs.iter().filter(|log| !log.is_used).collect();
        let Some(first) = self.reach().filter(|_| !kept.is_empty()) else { return Ok(None) };
        let (mut since, mut until) = (None, None);
        for log in &self.logs[first..] {
            since = since.or(moments(&log.bytes()?).first().copied());
            until = Some(log.kept.time).filter(|time| *time > 0).or(until);
        }
        let (from, to) = (self.logs[first].kept.start, self.logs[self.logs.len() - 1].kept.end);
        let time = |time: Option<u64>| match time {
            Some(time) => format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(time)).to_string(),
            None => "a time that is not known".to_owned(),
        };
        let (since, until) = (time(since.map(|(_, time)| time)), time(until));
        let bytes: u64 = kept.iter().map(|log| log.kept.len).sum();
        Ok(Some(format!("Lsn {from} to {to}, from {since} to {until}, {} logs, {bytes} bytes", kept.len())))
    }

    /// What is wrong with it, `newest` being the document as it is: each log is read, and where one begins anew it has to
    /// give what those before it give.
    pub(crate) fn check(&self, newest: &Image) -> Vec<String> {
        let whole: Vec<usize> = (0..self.logs.len()).filter(|at| self.logs[*at].kept.is_whole).collect();
        let mut wrong = Vec::new();
        let mut note = |result: Result<(), Error>| wrong.extend(result.err().map(|error| error.to_string()));
        let first = whole.first().copied().unwrap_or(self.logs.len());
        for log in &self.logs[..first] {
            note(log.bytes().map(drop));
        }
        let mut before: Option<Image> = None;
        for (index, from) in whole.iter().enumerate() {
            let logs = following(&self.logs[*from..whole.get(index + 1).copied().unwrap_or(self.logs.len())]);
            let overlap = before.take().filter(|before| before.lsn() >= logs[0].kept.start);
            if let Some(before) = overlap.filter(|before| before.lsn() <= logs[0].kept.end) {
                note(restore(&logs[..1], before.lsn()).and_then(|image| same(&image, &before)));
            }
            let end = logs.iter().map(|log| log.kept.end).max().unwrap_or_default();
            match restore(logs, end) {
                Ok(image) if image.lsn() == newest.lsn() => note(same(&image, newest)),
                Ok(image) => before = Some(image),
                Err(error) => note(Err(error)),
            }
        }
        wrong
    }

    /// The first of the logs that reach from a whole one to the newest, each following the other.
    fn reach(&self) -> Option<usize> {
        let mut first = None;
        for (at, log) in self.logs.iter().enumerate().rev() {
            if self.logs.get(at + 1).is_some_and(|next| next.kept.start > log.kept.end) {
                break;
            }
            if log.kept.is_whole {
                first = Some(at);
            }
        }
        first
    }

    fn until(&self, time: u64) -> Result<Lsn, Error> {
        let mut next: Option<&Log> = None;
        for log in self.logs.iter().rev() {
            if let Some((lsn, _)) = moments(&log.bytes()?).into_iter().rfind(|(_, at)| *at <= time) {
                // Behind the last that is here there was more, and when is not known.
                if lsn == log.kept.end && next.is_some_and(|next| next.kept.start > lsn) {
                    break;
                }
                return Ok(lsn);
            }
            next = Some(log);
        }
        Err(Error::new(Code::Gone, "nothing as old as that is kept"))
    }
}

impl Log {
    /// What it holds; `corrupt` if that is not what its name says.
    fn bytes(&self) -> Result<Vec<u8>, Error> {
        let failed = |doing: &str, what: String| format!("cannot {doing} {}: {what}", self.path.display());
        let mut bytes = fs::read(&self.path)
            .map_err(|error| Error::new(Code::Disk, failed("read", error.to_string())))?;
        if self.is_used {
            bytes.truncate(self.kept.len as usize);
        }
        if describe(&bytes) != Some(self.kept) {
            let what = "it does not hold what its name and its length say".to_owned();
            return Err(Error::new(Code::Corrupt, failed("use", what)));
        }
        Ok(bytes)
    }
}

/// The logs up to one in use that does not follow: no history is kept any more.
fn following(logs: &[Log]) -> &[Log] {
    let ends = |at: &usize| logs[*at].is_used && logs[*at].kept.start > logs[*at - 1].kept.end;
    &logs[..(1..logs.len()).find(ends).unwrap_or(logs.len())]
}

fn restore(logs: &[Log], to: Lsn) -> Result<Image, Error> {
    let mut restore = Restore::new(to);
    for log in logs {
        restore.log(&log.bytes()?)?;
    }
    restore.finish()
}

fn same(image: &Image, other: &Image) -> Result<(), Error> {
    if image.position() == other.position() && image.checksum() == other.checksum() {
        return Ok(());
    }
    let what = format!("the history has another Lsn {} than what it is compared with", image.lsn());
    Err(Error::new(Code::HistoryMismatch, what))
}

#[cfg(test)]
mod tests;
