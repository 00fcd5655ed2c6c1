//! The logs that were kept of a document: files in a directory of their own, whose names say what they tell (core's
//! FORMAT.md, "History").

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use offprint_core::history::{Kept, outdated};
use offprint_protocol::Lsn;

use crate::file_disk::flush_directory;

const DIRECTORY: &str = "history";
/// A log on its way; the next one takes its place.
const UNFINISHED: &str = "unfinished";
const WHOLE: &str = ".whole";

/// The directory; absent until a log is kept.
#[derive(Debug)]
pub(crate) struct KeptLogs {
    directory: PathBuf,
}

impl KeptLogs {
    pub(crate) fn of(document: &Path) -> Self {
        Self { directory: document.join(DIRECTORY) }
    }

    /// Keeps a log; durable at return. One that is kept already is kept once.
    pub(crate) fn add(&self, log: &[u8], kept: &Kept) -> io::Result<()> {
        match fs::create_dir(&self.directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            // Whether or not it is new: whoever made it may have died before it was flushed.
            _ => self.directory.parent().map_or(Ok(()), flush_directory)?,
        }
        let unfinished = self.directory.join(UNFINISHED);
        let mut file = File::create(&unfinished)?;
        file.write_all(log)?;
        file.sync_all()?;
        fs::rename(unfinished, self.directory.join(name(kept)))?;
        flush_directory(&self.directory)
    }

    /// What is kept, in order, and where.
    pub(crate) fn list(&self) -> io::Result<Vec<(Kept, PathBuf)>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut logs = Vec::new();
        for entry in entries {
            let entry = entry?;
            if let Some(kept) = entry.file_name().to_str().and_then(parse) {
                logs.push((Kept { len: entry.metadata()?.len(), ..kept }, entry.path()));
            }
        }
        logs.sort_by_key(|(kept, _)| (kept.start, kept.end));
        Ok(logs)
    }

    /// Whether a log that begins with this Lsn follows what is kept.
    pub(crate) fn reaches(&self, start: Lsn) -> io::Result<bool> {
        Ok(self.list()?.iter().any(|(kept, _)| kept.end >= start))
    }

    /// Deletes what no moment of the last `reach` milliseconds needs, the oldest first; gives how many logs. These end with
    /// the newest commit that is kept, if `now` (in milliseconds since 1970) is later: a clock that is wrong deletes nothing.
    pub(crate) fn age_out(&self, now: u64, reach: u64) -> io::Result<usize> {
        let (kept, paths): (Vec<_>, Vec<_>) = self.list()?.into_iter().unzip();
        let newest = kept.iter().map(|log| log.time).max().unwrap_or(0);
        let count = outdated(&kept, now.min(newest).saturating_sub(reach)..=now);
        for path in &paths[..count] {
            fs::remove_file(path)?;
        }
        Ok(count)
    }
}

fn name(kept: &Kept) -> String {
    let Kept { start, end, time, is_whole, .. } = kept;
    format!("{:016x}-{:016x}-{time}{}", start.0, end.0, if *is_whole { WHOLE } else { "" })
}

/// What a name says; nothing if it is not exactly one that is given to a log.
fn parse(text: &str) -> Option<Kept> {
    let stem = text.strip_suffix(WHOLE);
    let mut parts = stem.unwrap_or(text).splitn(3, '-');
    let mut lsn = || u64::from_str_radix(parts.next()?, 16).ok().map(Lsn);
    let (start, end) = (lsn()?, lsn()?);
    let time = parts.next()?.parse().ok()?;
    let kept = Kept { start, end, time, is_whole: stem.is_some(), len: 0 };
    (name(&kept) == text).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(start: u64, end: u64, time: u64, is_whole: bool) -> Kept {
        Kept { start: Lsn(start), end: Lsn(end), time, is_whole, len: 3 }
    }

    fn names(logs: &KeptLogs) -> Vec<Kept> {
        logs.list().unwrap().into_iter().map(|(kept, _)| kept).collect()
    }

    #[test]
    fn logs_are_listed_in_their_order_with_what_they_tell_and_nothing_else_is() {
        let document = tempfile::tempdir().unwrap();
        let logs = KeptLogs::of(document.path());
        assert_eq!(names(&logs), []);
        let all = [kept(0, 9, 0, true), kept(9, 17, 1_700_000_000_000, false), kept(16, 255, 7, true)];
        for log in all.iter().rev().chain(&all) {
            logs.add(b"log", log).unwrap();
        }
        for other in ["notes.txt", "unfinished", "1-2-3", "0000000000000001-000000000000000F-3", "-", ""] {
            assert_eq!(parse(other), None, "{other}");
        }
        fs::write(document.path().join("history/notes.txt"), "mine").unwrap();
        assert_eq!(names(&logs), all);
    }

    #[test]
    fn what_was_on_its_way_when_the_power_went_is_no_log_and_in_nobodys_way() {
        let document = tempfile::tempdir().unwrap();
        let logs = KeptLogs::of(document.path());
        fs::create_dir(document.path().join("history")).unwrap();
        fs::write(document.path().join("history/unfinished"), "half of a longer one").unwrap();
        assert_eq!(names(&logs), []);
        logs.add(b"log", &kept(0, 9, 5, true)).unwrap();
        assert_eq!(names(&logs), [kept(0, 9, 5, true)]);
        assert_eq!(fs::read_dir(document.path().join("history")).unwrap().count(), 1);
    }

    #[test]
    fn a_log_goes_once_a_whole_one_gives_every_moment_since_the_horizon() {
        let document = tempfile::tempdir().unwrap();
        let logs = KeptLogs::of(document.path());
        let all = [
            kept(0, 9, 100, true),
            kept(9, 12, 200, false),
            kept(12, 20, 300, true),
            kept(20, 25, 400, false),
            kept(25, 30, 500, true),
        ];
        for log in &all {
            logs.add(b"log", log).unwrap();
        }
        let other = document.path().join("history/notes.txt");
        fs::write(&other, "mine").unwrap();
        // At 200 the last commit is that of the second log.
        for (now, left) in [(0, 5), (160, 5), (210, 5), (211, 3), (410, 3), (411, 1), (u64::MAX, 1)] {
            logs.age_out(now, 10).unwrap();
            assert_eq!(names(&logs), all[5 - left..], "since {now} - 10");
        }
        assert!(other.exists());
    }

    #[test]
    fn a_clock_that_is_wrong_deletes_nothing() {
        let document = tempfile::tempdir().unwrap();
        let logs = KeptLogs::of(document.path());
        let all = [kept(0, 9, 1000, true), kept(9, 12, 1003, true), kept(12, 20, 1006, true)];
        for log in &all {
            logs.add(b"log", log).unwrap();
        }
        for now in [0, 1007, 1_000_000, u64::MAX] {
            assert_eq!(logs.age_out(now, 7).unwrap(), 0, "at {now}");
        }
        assert_eq!(names(&logs), all);
    }

    #[test]
    fn a_clock_that_was_behind_for_a_while_deletes_nothing_that_is_in_reach() {
        let document = tempfile::tempdir().unwrap();
        let logs = KeptLogs::of(document.path());
        let all = [kept(0, 9, 900, true), kept(9, 12, 5, false), kept(12, 20, 1000, true)];
        for log in &all {
            logs.add(b"log", log).unwrap();
        }
        assert_eq!(logs.age_out(1000, 100).unwrap(), 0);
        assert_eq!(names(&logs), all);
        logs.add(b"log", &kept(20, 30, 1001, true)).unwrap();
        assert_eq!(logs.age_out(1001, 100).unwrap(), 2, "the first of them is out of reach, too");
    }

    #[test]
    fn what_a_clock_that_was_ahead_left_does_not_stay_until_then() {
        let document = tempfile::tempdir().unwrap();
        let logs = KeptLogs::of(document.path());
        let all = [
            kept(0, 9, 100, true),
            kept(9, 12, 9999, true),
            kept(12, 20, 200, true),
            kept(20, 30, 300, true),
            kept(30, 40, 400, true),
        ];
        for log in &all {
            logs.add(b"log", log).unwrap();
        }
        for (now, left) in [(210, 4), (211, 2), (311, 1)] {
            logs.age_out(now, 10).unwrap();
            assert_eq!(names(&logs), all[5 - left..], "since {now} - 10");
        }
    }
}
