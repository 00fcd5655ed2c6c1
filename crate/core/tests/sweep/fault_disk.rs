//! A disk in memory that remembers every unflushed version of every sector, is cheap to clone, and fails as it is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use offprint_core::disk::{DiskOp, DiskValue, FileName};
use offprint_protocol::{Code, Error};

use crate::sweep::faults::{Fault, Report};
use crate::sweep::random::Random;

const SECTOR: usize = 512;
const CHUNK: usize = 32 * SECTOR;

type Sector = Arc<[u8; SECTOR]>;

/// The bytes of a file in chunks that clones share.
#[derive(Clone, Default)]
struct Bytes {
    chunks: Vec<Arc<[u8; CHUNK]>>,
    len: usize,
}

/// A sector as one write left it.
#[derive(Clone)]
struct Version {
    /// Counts writes of all files.
    write: u64,
    bytes: Sector,
}

#[derive(Clone, Default)]
struct File {
    cache: Bytes,
    disk: Bytes,
    /// The versions since the last flush, oldest first. Zeros that a file was filled up with are not among them:
    /// whether one of them survives makes no difference but to the length.
    dirty: Arc<BTreeMap<usize, Vec<Version>>>,
    /// Whether the length is not flushed.
    is_longer: bool,
    /// The shortest that it was cut to since it was flushed.
    cut: Option<usize>,
}

/// What a power cut does to unflushed sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// All are lost.
    Drop,
    /// All are kept.
    Keep,
    /// Writes up to some one are kept, the later ones lost.
    Prefix,
    /// Only the last write is kept.
    Last,
    /// The first sector of each file is kept, the rest lost: what an earlier life left is behind a new header.
    First,
    /// Each is kept in any version, or lost.
    Any,
    /// Each is kept in any version, lost, or mixed.
    Torn,
}

impl Cut {
    pub const ALL: [Cut; 7] = [Cut::Drop, Cut::First, Cut::Last, Cut::Any, Cut::Torn, Cut::Prefix, Cut::Keep];
}

/// How a call throws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throw {
    Nothing,
    Part,
    Done,
    LostFlush,
}

impl Throw {
    /// The ways in which this operation can throw.
    pub fn of(op: &DiskOp) -> &'static [Throw] {
        match op {
            DiskOp::Size { .. } | DiskOp::Read { .. } => &[Throw::Nothing],
            DiskOp::Write { .. } => &[Throw::Nothing, Throw::Part, Throw::Done],
            DiskOp::Grow { .. } | DiskOp::Truncate { .. } | DiskOp::Keep { .. } => {
                &[Throw::Nothing, Throw::Done]
            }
            DiskOp::Flush { .. } => &[Throw::Nothing, Throw::LostFlush, Throw::Done],
        }
    }
}

#[derive(Clone, Default)]
pub struct FaultDisk {
    files: [File; FileName::ALL.len()],
    kept: Vec<Arc<Vec<u8>>>,
    writes: u64,
    pub ops: u64,
    /// The bytes that writes and growth brought.
    pub written: u64,
    /// Files do not grow any more.
    pub is_full: bool,
    /// Flushes do nothing.
    pub lies: bool,
}

impl Bytes {
    fn read(&self, start: usize, end: usize) -> Vec<u8> {
        let (mut at, end) = (start.min(self.len), end.min(self.len));
        let mut bytes = Vec::with_capacity(end.saturating_sub(at));
        while at < end {
            let upto = end.min((at / CHUNK + 1) * CHUNK);
            bytes.extend_from_slice(&self.chunks[at / CHUNK][at % CHUNK..(upto - 1) % CHUNK + 1]);
            at = upto;
        }
        bytes
    }

    fn write(&mut self, start: usize, bytes: &[u8]) {
        self.grow(start + bytes.len());
        let mut done = 0;
        while done < bytes.len() {
            let at = start + done;
            let count = (CHUNK - at % CHUNK).min(bytes.len() - done);
            let chunk = Arc::make_mut(&mut self.chunks[at / CHUNK]);
            chunk[at % CHUNK..][..count].copy_from_slice(&bytes[done..done + count]);
            done += count;
        }
    }

    fn grow(&mut self, len: usize) {
        self.len = self.len.max(len);
        let zeros = self.chunks.last().filter(|chunk| chunk.iter().all(|byte| *byte == 0)).cloned();
        let zeros = zeros.unwrap_or_else(|| Arc::new([0; CHUNK]));
        self.chunks.resize(self.len.div_ceil(CHUNK), zeros);
    }

    fn cut(&mut self, len: usize) {
        if len < self.len {
            self.len = len;
            self.chunks.truncate(len.div_ceil(CHUNK));
            if let Some(last) = self.chunks.last_mut().filter(|_| !len.is_multiple_of(CHUNK)) {
                Arc::make_mut(last)[len % CHUNK..].fill(0);
            }
        }
    }

    /// Takes over a sector of a file that is `len` long.
    fn keep(&mut self, no: usize, bytes: &[u8; SECTOR], len: usize) {
        let (start, end) = (no * SECTOR, len.min((no + 1) * SECTOR));
        if start >= self.len && *bytes == [0; SECTOR] {
            self.grow(end);
        } else {
            self.write(start, &bytes[..end - start]);
        }
    }

    fn sector(&self, no: usize) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        if no * SECTOR >= self.len {
            return sector;
        }
        let bytes = self.read(no * SECTOR, (no + 1) * SECTOR);
        sector[..bytes.len()].copy_from_slice(&bytes);
        sector
    }
}

impl File {
    fn note(&mut self, write: u64, from: usize, to: usize) {
        let dirty = Arc::make_mut(&mut self.dirty);
        let mut last: Option<Sector> = None;
        for no in from / SECTOR..to.div_ceil(SECTOR) {
            let bytes = self.cache.sector(no);
            let bytes = last.filter(|last| **last == bytes).unwrap_or_else(|| Arc::new(bytes));
            last = Some(bytes.clone());
            dirty.entry(no).or_default().push(Version { write, bytes });
        }
    }

    fn write(&mut self, write: u64, offset: usize, bytes: &[u8]) {
        self.is_longer |= self.cache.len < offset + bytes.len();
        self.cache.write(offset, bytes);
        if !bytes.is_empty() {
            self.note(write, offset, offset + bytes.len());
        }
    }

    fn grow(&mut self, to: usize) {
        self.is_longer |= self.cache.len < to;
        self.cache.grow(to);
    }

    fn cut(&mut self, to: usize) {
        if to < self.cache.len {
            self.cache.cut(to);
            Arc::make_mut(&mut self.dirty).split_off(&to.div_ceil(SECTOR));
            self.cut = Some(self.cut.map_or(to, |cut| cut.min(to)));
        }
    }

    /// Only what is dirty reaches the device: what a lost flush left behind does not.
    fn flush(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.disk.cut(cut);
            // What was cut off and has grown again are zeros.
            self.is_longer = true;
        }
        for (no, versions) in std::mem::take(&mut self.dirty).iter() {
            let newest = versions.last().expect("a dirty sector has a version");
            self.disk.keep(*no, &newest.bytes, self.cache.len);
        }
        if std::mem::take(&mut self.is_longer) {
            self.disk.grow(self.cache.len);
        }
    }
}

impl FaultDisk {
    /// What a file holds now.
    pub fn bytes(&self, file: FileName) -> Vec<u8> {
        self.files[file as usize].cache.read(0, usize::MAX)
    }

    /// What was put aside, in order.
    pub fn kept(&self) -> impl Iterator<Item = &[u8]> {
        self.kept.iter().map(|bytes| &bytes[..])
    }

    pub fn has_unflushed(&self) -> bool {
        self.files.iter().any(|file| file.is_longer || !file.dirty.is_empty())
    }

    /// Whether the operation makes a file longer.
    pub fn grows(&self, op: &DiskOp) -> bool {
        let len = |file: FileName| self.files[file as usize].cache.len as u64;
        match op {
            DiskOp::Write { file, offset, bytes } => offset + bytes.len() as u64 > len(*file),
            DiskOp::Grow { file, to } => *to > len(*file),
            _ => false,
        }
    }

    pub fn op(&mut self, op: &DiskOp, report: &mut Report) -> Result<DiskValue, Error> {
        self.ops += 1;
        Ok(match op {
            DiskOp::Size { file } => DiskValue::Size(self.files[*file as usize].cache.len as u64),
            DiskOp::Read { file, offset, len } => {
                let start = usize::try_from(*offset).unwrap_or(usize::MAX);
                let end = start.saturating_add(*len as usize);
                DiskValue::Bytes(self.files[*file as usize].cache.read(start, end))
            }
            DiskOp::Write { file, offset, bytes } => {
                let (offset, file) = (*offset as usize, &mut self.files[*file as usize]);
                if self.is_full && offset + bytes.len() > file.cache.len {
                    report.fired(Fault::Full);
                    let fits = file.cache.len.saturating_sub(offset).min(bytes.len());
                    self.writes += 1;
                    file.write(self.writes, offset.min(file.cache.len), &bytes[..fits]);
                    return Err(Error::new(Code::Quota, "the disk is full"));
                }
                self.writes += 1;
                self.written += bytes.len() as u64;
                file.write(self.writes, offset, bytes);
                DiskValue::Done
            }
            DiskOp::Grow { file, to } => {
                let (to, file) = (*to as usize, &mut self.files[*file as usize]);
                self.writes += 1;
                if self.is_full && to > file.cache.len {
                    report.fired(Fault::Full);
                    return Err(Error::new(Code::Quota, "the disk is full"));
                }
                self.written += to.saturating_sub(file.cache.len) as u64;
                file.grow(to);
                DiskValue::Done
            }
            DiskOp::Truncate { file, to } => {
                self.writes += 1;
                self.files[*file as usize].cut(usize::try_from(*to).unwrap_or(usize::MAX));
                DiskValue::Done
            }
            DiskOp::Keep { file } => {
                let bytes = self.bytes(*file);
                if !bytes.is_empty() {
                    self.kept.push(Arc::new(bytes));
                    self.files[*file as usize] = File::default();
                }
                DiskValue::Done
            }
            DiskOp::Flush { .. } if self.lies => {
                report.fired(Fault::Lie);
                DiskValue::Done
            }
            DiskOp::Flush { file } => {
                self.files[*file as usize].flush();
                DiskValue::Done
            }
        })
    }

    /// The call throws, having done what `how` says.
    pub fn throw(&mut self, op: &DiskOp, how: Throw, random: &mut Random, report: &mut Report) -> Error {
        match (how, op) {
            (Throw::Part, DiskOp::Write { file, offset, bytes }) => {
                report.fired(Fault::ShortWrite);
                let done = random.below(bytes.len() as u64 + 1) as usize;
                self.writes += 1;
                self.files[*file as usize].write(self.writes, *offset as usize, &bytes[..done]);
            }
            (Throw::Done, _) => {
                report.fired(Fault::ThrowDone);
                let _ = self.op(op, report);
            }
            (Throw::LostFlush, DiskOp::Flush { file }) => {
                report.fired(Fault::LostFlush);
                // The length stays to be flushed: it is in the file system's journal, not in the cache.
                self.files[*file as usize].dirty = Arc::default();
            }
            _ => report.fired(Fault::Throw),
        }
        Error::new(
            Code::Disk,
            format!("{op:?} was made to throw: {how:?}").chars().take(120).collect::<String>(),
        )
    }

    /// The power is cut.
    pub fn cut(&mut self, cut: Cut, random: &mut Random, report: &mut Report) {
        report.fired(Fault::Crash);
        let writes = || self.files.iter().flat_map(|file| file.dirty.values().flatten()).map(|one| one.write);
        let (first, last) = (writes().min().unwrap_or(0), writes().max().unwrap_or(0));
        let upto = first + random.below(last - first + 1);
        let (mut lost, mut kept) = (u64::MAX, 0);
        for name in FileName::ALL {
            let file = &mut self.files[name as usize];
            let is_log = matches!(name, FileName::Log0 | FileName::Log1);
            let dirty = std::mem::take(&mut file.dirty);
            let mut survived = std::mem::take(&mut file.disk);
            if let Some(to) = file.cut.filter(|_| cut != Cut::Drop && random.below(2) == 0) {
                survived.cut(to);
            }
            let head = dirty.keys().next().copied();
            for (no, versions) in dirty.iter() {
                let newest = versions.last().expect("a dirty sector has a version");
                let pick = match cut {
                    Cut::Drop => None,
                    Cut::Keep => Some(newest),
                    Cut::First => (Some(*no) == head).then_some(newest),
                    Cut::Last => Some(newest).filter(|version| version.write == last),
                    Cut::Prefix => versions.iter().rfind(|version| version.write <= upto),
                    Cut::Any | Cut::Torn => {
                        let at = random.below(versions.len() as u64 + 1) as usize;
                        at.checked_sub(1).map(|at| &versions[at])
                    }
                };
                let before = survived.sector(*no);
                match pick {
                    Some(version) => {
                        kept = kept.max(version.write);
                        let mut bytes = *version.bytes;
                        if cut == Cut::Torn && random.below(3) == 0 {
                            report.fired(Fault::Torn);
                            let at = random.below(SECTOR as u64) as usize;
                            let old = if random.below(2) == 0 { 0..at } else { at..SECTOR };
                            bytes[old.clone()].copy_from_slice(&before[old]);
                        }
                        survived.keep(*no, &bytes, file.cache.len);
                    }
                    None => {
                        report.fired(Fault::Dropped);
                        lost = lost.min(newest.write);
                        if is_log && before.iter().any(|byte| *byte != 0) && before != *newest.bytes {
                            report.fired(Fault::Stale);
                        }
                    }
                }
            }
            if cut == Cut::Keep || cut != Cut::Drop && random.below(2) == 0 {
                survived.grow(file.cache.len);
            }
            *file = File { cache: survived.clone(), disk: survived, ..File::default() };
        }
        if lost < kept {
            report.fired(Fault::Reordered);
        }
    }

    pub fn flip(&mut self, name: FileName, at: usize, mask: u8, report: &mut Report) {
        report.fired(Fault::Flip);
        let file = &mut self.files[name as usize];
        let byte = file.cache.read(at, at + 1)[0] ^ mask;
        file.cache.write(at, &[byte]);
        file.disk.write(at, &[byte]);
    }
}
