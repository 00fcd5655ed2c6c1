//! A disk in memory that fails on purpose: it crashes with unflushed sectors lost, kept or torn, throws at a chosen
//! operation, and lets bytes be flipped. For tests and the simulator; what it does depends on its seed alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use offprint_protocol::{Code, Error};

use crate::disk::{DiskAnswer, DiskBatch, DiskOp, DiskValue, FileName};

const SECTOR: usize = 512;

/// The faults that fired so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Crashes.
    pub crashes: u64,
    /// Unflushed sectors that a crash lost.
    pub lost: u64,
    /// Unflushed sectors that a crash kept.
    pub kept: u64,
    /// Unflushed sectors of which a crash kept the first bytes.
    pub torn: u64,
    /// Operations that threw.
    pub thrown: u64,
    /// Operations for which there was no room.
    pub full: u64,
    /// Bytes that were changed behind the core's back, and files that were cut or emptied.
    pub damaged: u64,
}

#[derive(Debug, Clone, Default)]
struct MemoryFile {
    bytes: Arc<Vec<u8>>,
    flushed: Arc<Vec<u8>>,
    unflushed: BTreeSet<usize>,
    /// The shortest that the file was cut to since it was flushed.
    cut: Option<usize>,
}

/// A document's files.
#[derive(Debug, Clone)]
pub struct DiskMemory {
    files: [MemoryFile; FileName::ALL.len()],
    kept: Vec<Arc<Vec<u8>>>,
    random: u64,
    ops: u64,
    fail_at: Option<u64>,
    capacity: Option<u64>,
    faults: Faults,
}

impl DiskMemory {
    /// Empty files.
    pub fn new(seed: u64) -> Self {
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self {
            files: Default::default(),
            kept: Vec::new(),
            random,
            ops: 0,
            fail_at: None,
            capacity: None,
            faults: Faults::default(),
        }
    }

    /// Carries a batch out, up to the first operation that throws.
    pub fn run(&mut self, batch: &DiskBatch) -> DiskAnswer {
        let result = batch.ops.iter().map(|op| self.op(op)).collect();
        DiskAnswer { no: batch.no, result }
    }

    /// How many operations were carried out or thrown.
    pub fn ops(&self) -> u64 {
        self.ops
    }

    /// Makes the operation with this number (the next one is `ops()`) throw, having done none, some or all of it.
    pub fn fail_at(&mut self, op: u64) {
        self.fail_at = Some(op);
    }

    /// Lets the files together have so many bytes; what they have already stays. Nothing is without a limit.
    pub fn set_capacity(&mut self, bytes: Option<u64>) {
        self.capacity = bytes;
    }

    /// How many bytes the files have together.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.bytes.len() as u64).sum()
    }

    /// The power is cut: of what was not flushed any subset of sectors survives, some of them in part.
    pub fn crash(&mut self) {
        self.faults.crashes += 1;
        for index in 0..self.files.len() {
            let mut file = std::mem::take(&mut self.files[index]);
            let mut survived = std::mem::take(&mut file.flushed);
            if let Some(cut) = file.cut
                && self.random(2) == 0
            {
                Arc::make_mut(&mut survived).truncate(cut);
            }
            let style = self.random(4);
            for sector in std::mem::take(&mut file.unflushed) {
                let start = sector * SECTOR;
                let fresh = &file.bytes[start..file.bytes.len().min(start + SECTOR)];
                let keep = match style {
                    0 => 0,
                    1 => SECTOR,
                    _ => match self.random(8) {
                        0 => self.random(SECTOR as u64) as usize,
                        1..4 => 0,
                        _ => SECTOR,
                    },
                };
                let keep = keep.min(fresh.len());
                match keep {
                    0 => self.faults.lost += 1,
                    _ if keep == fresh.len() => self.faults.kept += 1,
                    _ => self.faults.torn += 1,
                }
                if keep > 0 {
                    let survived = Arc::make_mut(&mut survived);
                    survived.resize(survived.len().max(start + keep), 0);
                    survived[start..start + keep].copy_from_slice(&fresh[..keep]);
                }
            }
            self.files[index] =
                MemoryFile { bytes: survived.clone(), flushed: survived, ..MemoryFile::default() };
        }
    }

    /// The power is cut: nothing survives that was not flushed.
    pub fn crash_hard(&mut self) {
        self.faults.crashes += 1;
        for file in &mut self.files {
            self.faults.lost += file.unflushed.len() as u64;
            let flushed = std::mem::take(&mut file.flushed);
            *file = MemoryFile { bytes: flushed.clone(), flushed, ..MemoryFile::default() };
        }
    }

    /// What a file holds now.
    pub fn bytes(&self, file: FileName) -> &[u8] {
        &self.files[file as usize].bytes
    }

    /// What was put aside, in order.
    pub fn kept(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        self.kept.iter().map(|bytes| &bytes[..])
    }

    /// Changes one byte by `mask`, flushed or not; does nothing past the end.
    pub fn flip(&mut self, file: FileName, at: usize, mask: u8) {
        let file = &mut self.files[file as usize];
        let same = Arc::ptr_eq(&file.bytes, &file.flushed);
        if let Some(byte) = Arc::make_mut(&mut file.bytes).get_mut(at) {
            *byte ^= mask;
            self.faults.damaged += 1;
        }
        if same {
            file.flushed = file.bytes.clone();
        } else if let Some(byte) = Arc::make_mut(&mut file.flushed).get_mut(at) {
            *byte ^= mask;
        }
    }

    /// Replaces a file's content, as something else on the device might; empty bytes are a deleted file.
    pub fn replace(&mut self, file: FileName, bytes: Vec<u8>) {
        let bytes = Arc::new(bytes);
        self.files[file as usize] = MemoryFile { flushed: bytes.clone(), bytes, ..MemoryFile::default() };
        self.faults.damaged += 1;
    }

    /// The faults that fired so far.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    fn op(&mut self, op: &DiskOp) -> Result<DiskValue, Error> {
        let no = self.ops;
        self.ops += 1;
        if self.fail_at == Some(no) {
            self.fail_at = None;
            self.faults.thrown += 1;
            match op {
                DiskOp::Write { file, offset, bytes } => {
                    let done = self.random(bytes.len() as u64 + 1) as usize;
                    self.write(*file, *offset, &bytes[..done]);
                }
                DiskOp::Flush { file } if self.random(2) == 0 => self.flush(*file),
                DiskOp::Grow { file, to } if self.random(2) == 0 => self.grow(*file, *to),
                DiskOp::Truncate { file, to } if self.random(2) == 0 => self.cut(*file, *to),
                DiskOp::Keep { file } if self.random(2) == 0 => self.keep(*file),
                _ => {}
            }
            return Err(Error::new(Code::Disk, format!("operation {no} was made to fail")));
        }
        self.check_room(no, op)?;
        Ok(match op {
            DiskOp::Size { file } => DiskValue::Size(self.files[*file as usize].bytes.len() as u64),
            DiskOp::Read { file, offset, len } => {
                let bytes = &self.files[*file as usize].bytes;
                let start = bytes.len().min(usize::try_from(*offset).unwrap_or(usize::MAX));
                let end = bytes.len().min(start.saturating_add(*len as usize));
                DiskValue::Bytes(bytes[start..end].to_vec())
            }
            DiskOp::Write { file, offset, bytes } => {
                self.write(*file, *offset, bytes);
                DiskValue::Done
            }
            DiskOp::Grow { file, to } => {
                self.grow(*file, *to);
                DiskValue::Done
            }
            DiskOp::Truncate { file, to } => {
                self.cut(*file, *to);
                DiskValue::Done
            }
            DiskOp::Keep { file } => {
                self.keep(*file);
                DiskValue::Done
            }
            DiskOp::Flush { file } => {
                self.flush(*file);
                DiskValue::Done
            }
        })
    }

    /// Does of a write or growth what there is room for, and fails if that is not all.
    fn check_room(&mut self, no: u64, op: &DiskOp) -> Result<(), Error> {
        let (file, end) = match op {
            DiskOp::Write { file, offset, bytes } if !bytes.is_empty() => {
                (*file, offset + bytes.len() as u64)
            }
            DiskOp::Grow { file, to } => (*file, *to),
            _ => return Ok(()),
        };
        let len = self.files[file as usize].bytes.len() as u64;
        let room = self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.size()));
        if end.saturating_sub(len) <= room {
            return Ok(());
        }
        self.faults.full += 1;
        match op {
            DiskOp::Write { offset, bytes, .. } => {
                let fits = (len + room).saturating_sub(*offset) as usize;
                self.write(file, *offset, &bytes[..fits]);
            }
            _ => self.grow(file, len + room),
        }
        Err(Error::new(Code::Quota, format!("operation {no} finds no room")))
    }

    fn write(&mut self, file: FileName, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let file = &mut self.files[file as usize];
        let start = offset as usize;
        let end = start + bytes.len();
        let before = file.bytes.len();
        let content = Arc::make_mut(&mut file.bytes);
        if before < end {
            content.resize(end, 0);
        }
        content[start..end].copy_from_slice(bytes);
        file.unflushed.extend(start.min(before) / SECTOR..end.div_ceil(SECTOR));
    }

    fn grow(&mut self, file: FileName, to: u64) {
        let file = &mut self.files[file as usize];
        let before = file.bytes.len();
        if before < to as usize {
            Arc::make_mut(&mut file.bytes).resize(to as usize, 0);
            file.unflushed.extend(before / SECTOR..(to as usize).div_ceil(SECTOR));
        }
    }

    fn cut(&mut self, file: FileName, to: u64) {
        let file = &mut self.files[file as usize];
        let to = usize::try_from(to).unwrap_or(usize::MAX);
        if to < file.bytes.len() {
            Arc::make_mut(&mut file.bytes).truncate(to);
            file.unflushed.split_off(&to.div_ceil(SECTOR));
            file.cut = Some(file.cut.map_or(to, |cut| cut.min(to)));
        }
    }

    fn keep(&mut self, file: FileName) {
        let MemoryFile { bytes, .. } = std::mem::take(&mut self.files[file as usize]);
        if !bytes.is_empty() {
            self.kept.push(bytes);
        }
    }

    fn flush(&mut self, file: FileName) {
        let file = &mut self.files[file as usize];
        let flushed = Arc::make_mut(&mut file.flushed);
        flushed.resize(file.bytes.len(), 0);
        for sector in std::mem::take(&mut file.unflushed) {
            let start = sector * SECTOR;
            let end = file.bytes.len().min(start + SECTOR);
            flushed[start..end].copy_from_slice(&file.bytes[start..end]);
        }
        file.cut = None;
    }

    /// 0 to `below - 1`.
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::BatchNo;

    fn write(bytes: Vec<u8>) -> DiskOp {
        DiskOp::Write { file: FileName::Log0, offset: 0, bytes }
    }

    fn run(disk: &mut DiskMemory, ops: Vec<DiskOp>) -> DiskAnswer {
        disk.run(&DiskBatch { no: BatchNo(1), ops })
    }

    #[test]
    fn a_crash_never_loses_what_was_flushed_and_sometimes_what_was_not() {
        let mut total = Faults::default();
        for seed in 0..64 {
            let mut disk = DiskMemory::new(seed);
            run(&mut disk, vec![write(vec![1; 8192]), DiskOp::Flush { file: FileName::Log0 }]);
            run(&mut disk, vec![write(vec![2; 4096])]);
            disk.crash();
            let bytes = disk.bytes(FileName::Log0);
            assert!(bytes[..4096].iter().all(|byte| [1, 2].contains(byte)), "seed {seed}");
            assert!(bytes[4096..].iter().all(|byte| *byte == 1) && bytes.len() == 8192, "seed {seed}");
            total.lost += disk.faults().lost;
            total.kept += disk.faults().kept;
            total.torn += disk.faults().torn;
        }
        assert!(total.lost > 0 && total.kept > 0 && total.torn > 0, "{total:?}");
    }

    #[test]
    fn the_chosen_operation_throws_once() {
        let mut disk = DiskMemory::new(1);
        disk.fail_at(1);
        let ops = vec![write(vec![1]), DiskOp::Flush { file: FileName::Log0 }];
        assert_eq!(run(&mut disk, ops.clone()).result.unwrap_err().code, Code::Disk);
        assert!(run(&mut disk, ops).result.is_ok());
        assert_eq!(disk.faults().thrown, 1);
    }
}
