//! The page changes of one accepted batch, and rollups that stand for many of them.

use crate::codec::{Decode, Encode, Reader, Writer, bad};
use crate::error::Error;
use crate::id::{CommitHash, JournalId, Lsn};
use crate::mutation::Outcome;
use crate::page::{Checksum, MAX_PAGES, PagePatch};

/// Which tables a change may have touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// Any of them (a migration, a rollup).
    All,
    /// Only these, in lower case, ascending, each once.
    Tables(Vec<String>),
}

/// The page changes from `lsn - 1` to `lsn`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its position in the journal.
    pub lsn: Lsn,
    /// The document's size afterwards, in pages.
    pub page_count: u32,
    /// The document's checksum afterwards.
    pub checksum: Checksum,
    /// Which tables it may have touched.
    pub touched: Touched,
    /// The changed pages, ascending; `Xor` and `Delta` against `lsn - 1`.
    pub pages: Vec<PagePatch>,
}

/// The newest image of every page that changed after `from` and up to `to`; long ones come in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollup {
    /// The Lsn that the receiver has (0: it needs to have nothing, every page is included).
    pub from: Lsn,
    /// The Lsn that results.
    pub to: Lsn,
    /// The hash of the commit at `to`.
    pub hash: CommitHash,
    /// The document's size at `to`, in pages.
    pub page_count: u32,
    /// The document's checksum at `to`.
    pub checksum: Checksum,
    /// Whether this is the last part; nothing is applied before it.
    pub last: bool,
    /// In the last part: what was decided up to `to`.
    pub outcomes: Vec<Outcome>,
    /// Pages of this part, ascending over all parts; never `Xor` or `Delta`.
    pub pages: Vec<PagePatch>,
}

/// Commits that follow each other, applied at once together with what they decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitBatch {
    /// What was decided by them; on the way to a client only its own.
    pub outcomes: Vec<Outcome>,
    /// The commits, gap-free; may be empty.
    pub commits: Vec<Commit>,
}

/// Where in which history: what two sides compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The history.
    pub journal: JournalId,
    /// The last commit.
    pub lsn: Lsn,
    /// Its hash.
    pub hash: CommitHash,
}

impl Position {
    /// The start of a history: Lsn 0, whose hash is the journal id's.
    pub fn start(journal: JournalId) -> Self {
        Self { journal, lsn: Lsn(0), hash: CommitHash(*blake3::hash(&journal.0).as_bytes()) }
    }

    /// The position after `commit`: the hash covers the previous hash and what results, not how it is encoded.
    pub fn after(&self, commit: &Commit) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.hash.0);
        hasher.update(&commit.lsn.0.to_le_bytes());
        hasher.update(&commit.page_count.to_le_bytes());
        hasher.update(&commit.checksum.0.to_le_bytes());
        for patch in &commit.pages {
            hasher.update(&patch.no.0.to_le_bytes());
            hasher.update(&patch.crc.to_le_bytes());
        }
        Self { journal: self.journal, lsn: commit.lsn, hash: CommitHash(*hasher.finalize().as_bytes()) }
    }
}

impl Commit {
    /// About how many bytes it takes, and not less.
    pub fn size(&self) -> usize {
        let touched = match &self.touched {
            Touched::All => 0,
            Touched::Tables(tables) => tables.iter().map(|name| 8 + name.len()).sum(),
        };
        64 + touched + self.pages.iter().map(PagePatch::size).sum::<usize>()
    }
}

impl Touched {
    /// Both together.
    pub fn merge(self, other: Touched) -> Touched {
        match (self, other) {
            (Touched::Tables(mut mine), Touched::Tables(theirs)) => {
                mine.extend(theirs);
                mine.sort_unstable();
                mine.dedup();
                Touched::Tables(mine)
            }
            _ => Touched::All,
        }
    }

    /// No table.
    pub fn none() -> Touched {
        Touched::Tables(Vec::new())
    }
}

impl Encode for Touched {
    fn encode(&self, out: &mut Writer) {
        match self {
            Touched::All => out.u8(0),
            Touched::Tables(tables) => out.u8(1).list(tables),
        };
    }
}

impl Decode for Touched {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        match from.u8()? {
            0 => Ok(Touched::All),
            1 => Ok(Touched::Tables(from.list()?)),
            _ => Err(bad("an unknown kind of touched tables")),
        }
    }
}

impl Encode for Commit {
    fn encode(&self, out: &mut Writer) {
        out.put(&self.lsn).varint(u64::from(self.page_count)).put(&self.checksum).put(&self.touched);
        out.list(&self.pages);
    }
}

impl Decode for Commit {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        let commit = Self {
            lsn: from.get()?,
            page_count: from.varint32()?,
            checksum: from.get()?,
            touched: from.get()?,
            pages: from.list()?,
        };
        if commit.lsn.0 == 0 {
            return Err(bad("a commit has Lsn 0"));
        }
        check_pages(commit.page_count, &commit.pages)?;
        Ok(commit)
    }
}

impl Encode for Rollup {
    fn encode(&self, out: &mut Writer) {
        out.put(&self.from).put(&self.to).put(&self.hash);
        out.varint(u64::from(self.page_count)).put(&self.checksum);
        out.u8(u8::from(self.last)).list(&self.outcomes).list(&self.pages);
    }
}

impl Decode for Rollup {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        let rollup = Self {
            from: from.get()?,
            to: from.get()?,
            hash: from.get()?,
            page_count: from.varint32()?,
            checksum: from.get()?,
            last: from.flag()?,
            outcomes: from.list()?,
            pages: from.list()?,
        };
        if rollup.from > rollup.to {
            return Err(bad("a rollup goes backwards"));
        }
        check_pages(rollup.page_count, &rollup.pages)?;
        Ok(rollup)
    }
}

fn check_pages(page_count: u32, pages: &[PagePatch]) -> Result<(), Error> {
    if page_count > MAX_PAGES {
        return Err(bad("a page count is out of range"));
    }
    if !pages.is_sorted_by(|a, b| a.no < b.no) || pages.last().is_some_and(|last| last.no.0 > page_count) {
        return Err(bad("pages are not ascending within the page count"));
    }
    Ok(())
}

impl Encode for CommitBatch {
    fn encode(&self, out: &mut Writer) {
        out.list(&self.outcomes).list(&self.commits);
    }
}

impl Decode for CommitBatch {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        let batch = Self { outcomes: from.list()?, commits: from.list()? };
        if !batch.commits.is_sorted_by(|a: &Commit, b| a.lsn.next() == b.lsn) {
            return Err(bad("commits are not gap-free"));
        }
        Ok(batch)
    }
}

impl Encode for Position {
    fn encode(&self, out: &mut Writer) {
        out.put(&self.journal).put(&self.lsn).put(&self.hash);
    }
}

impl Decode for Position {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { journal: from.get()?, lsn: from.get()?, hash: from.get()? })
    }
}
