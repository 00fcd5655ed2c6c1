//! What the core asks of a device's files: batches of operations, carried out in order and answered once.

use offprint_protocol::Error;

/// One of a document's six files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileName {
    /// Which log and base are current.
    Head,
    /// One of the two logs.
    Log0,
    /// The other log.
    Log1,
    /// One of the two bases.
    Base0,
    /// The other base.
    Base1,
    /// What recovery gave up.
    Aside,
}

impl FileName {
    /// Every file.
    pub const ALL: [FileName; 6] =
        [FileName::Head, FileName::Log0, FileName::Log1, FileName::Base0, FileName::Base1, FileName::Aside];

    /// The file's name in the document's directory.
    pub fn as_str(self) -> &'static str {
        match self {
            FileName::Head => "head",
            FileName::Log0 => "log-0",
            FileName::Log1 => "log-1",
            FileName::Base0 => "base-0",
            FileName::Base1 => "base-1",
            FileName::Aside => "aside",
        }
    }
}

/// One operation on a file. Every file exists (created empty if absent); all but `Read` may be repeated harmlessly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskOp {
    /// Gives the file's length in bytes.
    Size {
        /// Which file.
        file: FileName,
    },
    /// Gives up to `len` bytes from `offset`, fewer only at the end of the file.
    Read {
        /// Which file.
        file: FileName,
        /// Where from, in bytes.
        offset: u64,
        /// How many bytes.
        len: u32,
    },
    /// Writes all bytes at `offset`, growing the file if needed.
    Write {
        /// Which file.
        file: FileName,
        /// Where to, in bytes.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Fills the file with zeros from its end up to `to` bytes; does nothing if it is that long already.
    Grow {
        /// Which file.
        file: FileName,
        /// The length afterwards, in bytes.
        to: u64,
    },
    /// Cuts the file to `to` bytes; does nothing if it is no longer than that.
    Truncate {
        /// Which file.
        file: FileName,
        /// The length afterwards, in bytes.
        to: u64,
    },
    /// Puts what the file holds aside, under a name of its own and beyond the reach of a power cut, and leaves the file
    /// empty; does nothing if it is empty already. Asked only where a history is kept.
    Keep {
        /// Which file.
        file: FileName,
    },
    /// Makes everything written to the file so far survive a power cut.
    Flush {
        /// Which file.
        file: FileName,
    },
}

/// A batch's number, from 1, never reused in one life of the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchNo(pub u64);

/// Operations to carry out in order, stopping at the first that fails. At most one batch is unanswered at a time;
/// one that a dying disk left unanswered is given to the next disk as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskBatch {
    /// Its number.
    pub no: BatchNo,
    /// What to do.
    pub ops: Vec<DiskOp>,
}

/// What one operation gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskValue {
    /// `Write`, `Grow`, `Truncate`, `Keep`, `Flush`: nothing.
    Done,
    /// `Size`: bytes.
    Size(u64),
    /// `Read`: the bytes.
    Bytes(Vec<u8>),
}

/// The answer to a batch: a value for each operation, or the error of the first that failed
/// (`quota` when there is no room, else `disk`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskAnswer {
    /// Which batch.
    pub no: BatchNo,
    /// What it gave.
    pub result: Result<Vec<DiskValue>, Error>,
}
