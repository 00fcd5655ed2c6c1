//! A document's files in a directory of this machine.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use offprint_core::disk::{DiskAnswer, DiskBatch, DiskOp, DiskValue, FileName};
use offprint_core::history::{Kept, behind, describe};
use offprint_core::journal::History;
use offprint_protocol::{Code, DocumentId, Error};

use crate::kept_logs::KeptLogs;

static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// A document's files and the lock that keeps every other process from them; dropping it gives them back.
#[derive(Debug)]
pub struct FileDisk {
    files: [File; FileName::ALL.len()],
    kept: KeptLogs,
    _lock: File,
}

impl FileDisk {
    /// The name of a document's directory. It has a suffix because `..` is a document id. Where file names ignore
    /// case, ids that differ only in case share a directory, and the second is `blocked` or fails with `corrupt`.
    pub fn directory_name(document: &DocumentId) -> String {
        format!("{document}.offprint")
    }

    /// Opens the document's files under `data`, making what is absent. Fails with `blocked` if somebody else still
    /// holds them after `patience`.
    pub fn open(data: &Path, document: &DocumentId, patience: Duration) -> Result<Self, Error> {
        let directory = data.join(Self::directory_name(document));
        match fs::create_dir(&directory) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("make the document's directory", &error)),
        }
        let open = |name: &str| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options.open(directory.join(name)).map_err(|error| failed(&format!("open {name}"), &error))
        };
        let lock = open("lock")?;
        take(&lock, patience)?;
        let [head, log_0, log_1, base_0, base_1, aside] = FileName::ALL.map(|file| open(file.as_str()));
        let files = [head?, log_0?, log_1?, base_0?, base_1?, aside?];
        // Whether or not they are new: whoever made them may have died before they were flushed.
        let flushed = flush_directory(&directory).and_then(|()| flush_directory(data));
        flushed.map_err(|error| failed("flush a directory", &error))?;
        Ok(Self { files, kept: KeptLogs::of(&directory), _lock: lock })
    }

    /// The history that is kept of the document's logs, those in use included.
    pub fn history(&self) -> Result<History, Error> {
        let logs = || {
            let mut logs: Vec<Kept> = self.kept.list()?.into_iter().map(|(kept, _)| kept).collect();
            for log in [FileName::Log0, FileName::Log1] {
                logs.extend(describe(&self.whole(log)?));
            }
            logs.sort_by_key(|log| (log.start, log.end));
            Ok(History { behind: behind(&logs) })
        };
        logs().map_err(|error| failed("read the history", &error))
    }

    /// Deletes the kept logs that no moment of the last `reach` milliseconds before `now`, or before the newest commit in
    /// them if that is earlier, needs; gives how many.
    pub fn age_out(&self, now: u64, reach: u64) -> Result<usize, Error> {
        self.kept.age_out(now, reach).map_err(|error| failed("delete what is too old", &error))
    }

    /// Carries the batch out, in order, up to the first operation that fails.
    pub fn run(&mut self, batch: DiskBatch) -> DiskAnswer {
        let result = batch.ops.into_iter().map(|op| self.carry_out(op)).collect();
        DiskAnswer { no: batch.no, result }
    }

    fn carry_out(&mut self, op: DiskOp) -> Result<DiskValue, Error> {
        let (file, doing, result) = match op {
            DiskOp::Size { file } => (file, "measure", self.size(file).map(DiskValue::Size)),
            DiskOp::Read { file, offset, len } => {
                (file, "read", self.read(file, offset, len).map(DiskValue::Bytes))
            }
            DiskOp::Write { file, offset, bytes } => {
                (file, "write", write_at(self.file(file), &bytes, offset).map(|()| DiskValue::Done))
            }
            DiskOp::Grow { file, to } => (file, "grow", self.grow(file, to).map(|()| DiskValue::Done)),
            DiskOp::Truncate { file, to } => (file, "cut", self.cut(file, to).map(|()| DiskValue::Done)),
            DiskOp::Keep { file } => (file, "keep", self.keep(file).map(|()| DiskValue::Done)),
            DiskOp::Flush { file } => (file, "flush", self.file(file).sync_data().map(|()| DiskValue::Done)),
        };
        result.map_err(|error| failed(&format!("{doing} {}", file.as_str()), &error))
    }

    fn file(&self, name: FileName) -> &File {
        let [head, log_0, log_1, base_0, base_1, aside] = &self.files;
        match name {
            FileName::Head => head,
            FileName::Log0 => log_0,
            FileName::Log1 => log_1,
            FileName::Base0 => base_0,
            FileName::Base1 => base_1,
            FileName::Aside => aside,
        }
    }

    fn size(&self, name: FileName) -> io::Result<u64> {
        Ok(self.file(name).metadata()?.len())
    }

    fn read(&self, name: FileName, offset: u64, len: u32) -> io::Result<Vec<u8>> {
        // Nothing is allocated for bytes that are not there.
        let there = self.size(name)?.saturating_sub(offset).min(u64::from(len));
        let mut bytes = vec![0; usize::try_from(there).map_err(io::Error::other)?];
        let mut filled = 0;
        while filled < bytes.len() {
            match read_at(self.file(name), &mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Writes the zeros out: room that is only promised would make a later write or flush fail or wait.
    fn grow(&self, name: FileName, to: u64) -> io::Result<()> {
        let mut end = self.size(name)?;
        while end < to {
            let count = (to - end).min(ZEROS.len() as u64);
            write_at(self.file(name), &ZEROS[..count as usize], end)?;
            end += count;
        }
        Ok(())
    }

    /// The log stays as it is until the copy of what it tells is flushed under its name: every step may be repeated.
    fn keep(&self, name: FileName) -> io::Result<()> {
        let log = self.whole(name)?;
        if let Some(kept) = describe(&log).filter(Kept::is_telling)
            && (kept.is_whole || self.kept.reaches(kept.start)?)
        {
            self.kept.add(&log[..kept.len as usize], &kept)?;
        }
        self.cut(name, 0)?;
        self.file(name).sync_all()
    }

    fn whole(&self, name: FileName) -> io::Result<Vec<u8>> {
        self.read(name, 0, u32::try_from(self.size(name)?).map_err(io::Error::other)?)
    }

    fn cut(&self, name: FileName, to: u64) -> io::Result<()> {
        if self.size(name)? > to { self.file(name).set_len(to) } else { Ok(()) }
    }
}

fn take(lock: &File, patience: Duration) -> Result<(), Error> {
    let start = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(failed("lock the document", &error)),
            Err(TryLockError::WouldBlock) if start.elapsed() >= patience => {
                return Err(Error::new(Code::Blocked, "another server has the document open"));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_RETRY.min(patience)),
        }
    }
}

fn failed(doing: &str, error: &io::Error) -> Error {
    let code = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Code::Quota,
        _ => Code::Disk,
    };
    Error::new(code, format!("cannot {doing}: {error}"))
}

/// Makes the names in the directory survive a power cut.
#[cfg(unix)]
pub(crate) fn flush_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Windows has no such call: NTFS journals its names.
#[cfg(not(unix))]
pub(crate) fn flush_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, offset)
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read(bytes)
}

#[cfg(not(unix))]
fn write_at(mut file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    use std::io::{Seek, SeekFrom, Write};
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use offprint_core::disk::BatchNo;
    use offprint_core::disk_memory::DiskMemory;

    use super::*;

    const NO_WAIT: Duration = Duration::ZERO;

    fn id(text: &str) -> DocumentId {
        DocumentId::new(text).unwrap()
    }

    fn run(disk: &mut FileDisk, ops: Vec<DiskOp>) -> Result<Vec<DiskValue>, Error> {
        let answer = disk.run(DiskBatch { no: BatchNo(3), ops });
        assert_eq!(answer.no, BatchNo(3));
        answer.result
    }

    fn read(file: FileName, offset: u64, len: u32) -> DiskOp {
        DiskOp::Read { file, offset, len }
    }

    #[test]
    fn operations_do_what_the_core_expects_of_them() {
        let data = tempfile::tempdir().unwrap();
        let mut disk = FileDisk::open(data.path(), &id("a"), NO_WAIT).unwrap();
        for file in FileName::ALL {
            let values = run(
                &mut disk,
                vec![
                    DiskOp::Size { file },
                    DiskOp::Write { file, offset: 3, bytes: b"abc".to_vec() },
                    DiskOp::Size { file },
                    DiskOp::Grow { file, to: 200_000 },
                    DiskOp::Grow { file, to: 10 },
                    DiskOp::Write { file, offset: 4, bytes: b"B".to_vec() },
                    DiskOp::Flush { file },
                    DiskOp::Size { file },
                    read(file, 0, 8),
                    read(file, 199_998, 100),
                    read(file, 200_000, u32::MAX),
                    read(file, u64::MAX, u32::MAX),
                ],
            );
            let expected = [
                DiskValue::Size(0),
                DiskValue::Done,
                DiskValue::Size(6),
                DiskValue::Done,
                DiskValue::Done,
                DiskValue::Done,
                DiskValue::Done,
                DiskValue::Size(200_000),
                DiskValue::Bytes(b"\0\0\0aBc\0\0".to_vec()),
                DiskValue::Bytes(vec![0, 0]),
                DiskValue::Bytes(vec![]),
                DiskValue::Bytes(vec![]),
            ];
            assert_eq!(values.unwrap(), expected, "{file:?}");
        }
    }

    #[test]
    fn it_answers_as_the_disk_that_the_core_is_tested_on() {
        let seed = std::process::id();
        println!("seed {seed}");
        let mut x = u64::from(seed) | 1;
        let mut random = |below: u64| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 33) % below
        };
        let data = tempfile::tempdir().unwrap();
        let mut disk = FileDisk::open(data.path(), &id("a"), NO_WAIT).unwrap();
        let mut model = DiskMemory::new(1);
        for no in 1..400 {
            let ops = (0..random(6)).map(|_| {
                let file = FileName::ALL[random(6) as usize];
                let offset = random(20_000);
                match random(7) {
                    0 => DiskOp::Size { file },
                    1 => read(file, offset, random(9_000) as u32),
                    2 => DiskOp::Grow { file, to: offset },
                    3 => DiskOp::Flush { file },
                    4 => DiskOp::Truncate { file, to: offset },
                    5 => DiskOp::Keep { file },
                    _ => {
                        DiskOp::Write { file, offset, bytes: vec![random(256) as u8; random(9_000) as usize] }
                    }
                }
            });
            let batch = DiskBatch { no: BatchNo(no), ops: ops.collect() };
            assert_eq!(model.run(&batch), disk.run(batch.clone()), "{batch:?}");
        }
    }

    #[test]
    fn files_are_as_they_were_when_opened_again() {
        let data = tempfile::tempdir().unwrap();
        let write = DiskOp::Write { file: FileName::Log1, offset: 0, bytes: b"kept".to_vec() };
        run(&mut FileDisk::open(data.path(), &id("a"), NO_WAIT).unwrap(), vec![write]).unwrap();
        let mut disk = FileDisk::open(data.path(), &id("a"), NO_WAIT).unwrap();
        assert_eq!(
            run(&mut disk, vec![read(FileName::Log1, 0, 9)]).unwrap(),
            [DiskValue::Bytes(b"kept".to_vec())]
        );
    }

    #[test]
    fn a_second_opener_is_blocked_until_the_first_is_gone() {
        let data = tempfile::tempdir().unwrap();
        let first = FileDisk::open(data.path(), &id("a"), NO_WAIT).unwrap();
        assert_eq!(FileDisk::open(data.path(), &id("a"), NO_WAIT).unwrap_err().code, Code::Blocked);
        FileDisk::open(data.path(), &id("b"), NO_WAIT).unwrap();
        let path = data.path().to_owned();
        let second = thread::spawn(move || FileDisk::open(&path, &id("a"), Duration::from_secs(60)));
        drop(first);
        second.join().unwrap().unwrap();
    }

    #[test]
    fn every_legal_id_is_a_directory_of_its_own_inside_the_data_directory() {
        let data = tempfile::tempdir().unwrap();
        let longest = "x".repeat(128);
        for text in [".", "..", "~", "-", "a.offprint", longest.as_str()] {
            FileDisk::open(data.path(), &id(text), NO_WAIT).unwrap();
            assert!(data.path().join(format!("{text}.offprint")).join("log-0").is_file(), "{text}");
        }
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 6);
    }

    #[test]
    fn the_first_operation_that_fails_ends_the_batch_with_a_code() {
        let data = tempfile::tempdir().unwrap();
        let mut disk = FileDisk::open(data.path(), &id("a"), NO_WAIT).unwrap();
        let too_far = DiskOp::Write { file: FileName::Head, offset: i64::MAX as u64, bytes: vec![1] };
        let after = DiskOp::Write { file: FileName::Log0, offset: 0, bytes: vec![1] };
        let error = run(&mut disk, vec![too_far, after]).unwrap_err();
        assert_eq!(error.code, Code::Disk, "{error}");
        assert_eq!(
            run(&mut disk, vec![DiskOp::Size { file: FileName::Log0 }]).unwrap(),
            [DiskValue::Size(0)]
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_device_is_quota() {
        let data = tempfile::tempdir().unwrap();
        let directory = data.path().join("a.offprint");
        fs::create_dir(&directory).unwrap();
        std::os::unix::fs::symlink("/dev/full", directory.join("log-0")).unwrap();
        let mut disk = FileDisk::open(data.path(), &id("a"), NO_WAIT).unwrap();
        let write = DiskOp::Write { file: FileName::Log0, offset: 0, bytes: vec![1] };
        assert_eq!(run(&mut disk, vec![write]).unwrap_err().code, Code::Quota);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_flush_asks_the_device() {
        let data = tempfile::tempdir().unwrap();
        let directory = data.path().join("a.offprint");
        fs::create_dir(&directory).unwrap();
        // It takes what is written and cannot be flushed.
        std::os::unix::fs::symlink("/dev/null", directory.join("log-0")).unwrap();
        let mut disk = FileDisk::open(data.path(), &id("a"), NO_WAIT).unwrap();
        let write = DiskOp::Write { file: FileName::Log0, offset: 0, bytes: vec![1] };
        run(&mut disk, vec![write]).unwrap();
        let flush = DiskOp::Flush { file: FileName::Log0 };
        assert_eq!(run(&mut disk, vec![flush]).unwrap_err().code, Code::Disk);
    }
}
