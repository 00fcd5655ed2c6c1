//! The confirmed state of a document: the pages of one Lsn, each verified, cheap to clone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use offprint_protocol::page::{MAX_PAGES, PatchBytes};
use offprint_protocol::{
    Checksum, Code, Commit, Error, JournalId, Lsn, Page, PageNo, PagePatch, Position, Rollup, Touched,
};

use crate::head::BaseInfo;

/// Pages that are cloned and copied together.
const CHUNK: u32 = 256;

#[derive(Clone)]
struct Slot {
    page: Page,
    crc: u32,
    changed: Lsn,
}

/// All pages of a document at one position; pages that no commit gave are zeros.
#[derive(Clone, Default)]
pub struct Image {
    position: Option<Position>,
    page_count: u32,
    checksum: Checksum,
    /// `changed` is exact, or too high but never above the position, for all Lsns from here on.
    known: Lsn,
    chunks: Vec<Arc<Vec<Slot>>>,
}

/// What a commit or rollup would make of an image.
struct Change {
    page_count: u32,
    checksum: Checksum,
    pages: Vec<(PageNo, Page, u32)>,
}

impl Image {
    /// No history at all: no position, no pages.
    pub fn none() -> Self {
        Self::default()
    }

    /// The start of a history: Lsn 0, no pages.
    pub fn empty(journal: JournalId) -> Self {
        Self { position: Some(Position::start(journal)), ..Self::default() }
    }

    /// Where in which history this is.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// The last commit, 0 if there is none.
    pub fn lsn(&self) -> Lsn {
        self.position.map_or(Lsn(0), |position| position.lsn)
    }

    /// The page, if the document is that long.
    pub fn page(&self, no: PageNo) -> Option<&Page> {
        self.slot(no).map(|slot| &slot.page)
    }

    /// The document's size in pages.
    pub fn page_count(&self) -> u32 {
        self.page_count
    }

    /// The document's checksum.
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// What a base with exactly these pages holds.
    pub fn base_info(&self) -> Option<BaseInfo> {
        let position = self.position?;
        Some(BaseInfo { position, page_count: self.page_count, checksum: self.checksum })
    }

    /// Applies the commit that follows, wholly or not at all: `history_mismatch` if it does not follow, `corrupt` if
    /// it does not give what it names.
    pub fn apply_commit(&mut self, commit: &Commit) -> Result<(), Error> {
        let Some(position) = self.position else {
            return Err(mismatch(format!("commit {} for a document without a history", commit.lsn)));
        };
        if commit.lsn.0 != position.lsn.0.saturating_add(1) {
            return Err(mismatch(format!("commit {} does not follow Lsn {}", commit.lsn, position.lsn)));
        }
        let change = self.prepare(commit.page_count, commit.pages.iter())?;
        if change.checksum != commit.checksum {
            return Err(corrupt(format!("commit {} does not give the checksum it names", commit.lsn)));
        }
        self.take(change, commit.lsn);
        self.position = Some(position.after(commit));
        Ok(())
    }

    /// Applies a whole rollup, wholly or not at all: from Lsn 0 it replaces everything, else it has to begin at our
    /// position in the same history (`history_mismatch`); `corrupt` if it does not give what it names.
    pub fn apply_rollup(&mut self, journal: JournalId, parts: &[Rollup]) -> Result<(), Error> {
        let Some(last) = parts.last() else {
            return Err(corrupt("a rollup without parts"));
        };
        let coherent = parts.iter().enumerate().all(|(index, part)| {
            (part.from, part.to, part.hash, part.page_count, part.checksum)
                == (last.from, last.to, last.hash, last.page_count, last.checksum)
                && part.last == (index + 1 == parts.len())
        });
        if !coherent || last.from > last.to {
            return Err(corrupt("a rollup's parts do not belong together"));
        }
        let to = Position { journal, lsn: last.to, hash: last.hash };
        if to.lsn == Lsn(0) && to != Position::start(journal) {
            return Err(corrupt("a rollup to Lsn 0 has another hash than its history's start"));
        }
        let pages = || parts.iter().flat_map(|part| &part.pages);
        if pages().any(|patch| matches!(patch.bytes, PatchBytes::Xor(_))) {
            return Err(corrupt("a rollup holds a difference"));
        }
        let replaces = last.from == Lsn(0);
        let before = if replaces { Self::empty(journal) } else { self.clone() };
        if !replaces {
            match self.position {
                Some(ours) if ours.journal == journal && ours.lsn == last.from => {}
                _ => return Err(mismatch(format!("a rollup from Lsn {} does not follow", last.from))),
            }
        }
        let change = before.prepare(last.page_count, pages())?;
        if change.checksum != last.checksum {
            return Err(corrupt(format!(
                "the rollup to Lsn {} does not give the checksum it names",
                last.to
            )));
        }
        if replaces {
            *self = before;
            self.known = last.to;
        }
        self.take(change, last.to);
        self.position = Some(to);
        Ok(())
    }

    /// The next commit of this history, made of the pages that a transaction left behind; nothing is applied.
    /// `page_count` is at most [`MAX_PAGES`]. An image without a history has no next commit.
    pub fn commit_of(&self, changed: &BTreeMap<PageNo, Page>, page_count: u32, touched: Touched) -> Commit {
        let position = self.position.expect("BUG: a commit of a document without a history");
        let pages: Vec<PagePatch> = changed
            .iter()
            .filter(|(no, _)| (1..=page_count).contains(&no.0))
            .filter(|(no, page)| self.page(**no).is_none_or(|before| before != *page))
            .map(|(no, page)| PagePatch::new(*no, page, self.page(*no)))
            .collect();
        let crcs = pages.iter().map(|patch| (patch.no, patch.crc));
        let checksum = self.checksum_after(page_count, crcs);
        Commit { lsn: position.lsn.next(), page_count, checksum, touched, pages }
    }

    /// The newest image of every page that changed after `from`, in at least one part of about `part_bytes`. Where it
    /// is not known what changed since then (or `from` is not in this history's past), every page, from Lsn 0.
    pub fn rollup_since(&self, from: Lsn, part_bytes: usize) -> Vec<Rollup> {
        let position = self.position.expect("BUG: a rollup of a document without a history");
        let from = if from < self.known || from > position.lsn { Lsn(0) } else { from };
        let part = |pages: Vec<PagePatch>| Rollup {
            from,
            to: position.lsn,
            hash: position.hash,
            page_count: self.page_count,
            checksum: self.checksum,
            last: false,
            outcomes: Vec::new(),
            pages,
        };
        let mut parts = Vec::new();
        let mut pages = Vec::new();
        let mut bytes = 0;
        for (no, page) in self.changed_since(from) {
            let patch = PagePatch::new(no, page, None);
            let patch_bytes = patch.bytes.len() + 16;
            if bytes + patch_bytes > part_bytes && !pages.is_empty() {
                parts.push(part(std::mem::take(&mut pages)));
                bytes = 0;
            }
            bytes += patch_bytes;
            pages.push(patch);
        }
        parts.push(Rollup { last: true, ..part(pages) });
        parts
    }

    /// Every page that may have changed after `from`, ascending; every page if `from` is 0.
    pub(crate) fn changed_since(&self, from: Lsn) -> impl Iterator<Item = (PageNo, &Page)> {
        let all = from < self.known || from == Lsn(0);
        let slots = self.chunks.iter().flat_map(|chunk| chunk.iter());
        (1..)
            .map(PageNo)
            .zip(slots)
            .filter(move |(_, slot)| all || slot.changed > from)
            .map(|(no, slot)| (no, &slot.page))
    }

    /// An image that a base at this position is read into, still without pages.
    pub(crate) fn of_base(position: Position) -> Self {
        Self { position: Some(position), known: position.lsn, ..Self::default() }
    }

    /// Adds the next page of a base.
    pub(crate) fn push(&mut self, page: Page) {
        let crc = page.crc();
        let slot = Slot { page, crc, changed: self.known };
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK as usize => Arc::make_mut(chunk).push(slot),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK as usize);
                chunk.push(slot);
                self.chunks.push(Arc::new(chunk));
            }
        }
        self.page_count += 1;
        self.checksum.toggle(PageNo(self.page_count), crc);
    }

    /// Adds pages of zeros up to `page_count`, for what a base lacks.
    pub(crate) fn pad(&mut self, page_count: u32) {
        self.checksum = self.checksum_after(page_count.max(self.page_count), std::iter::empty());
        let known = self.known;
        self.resize(page_count.max(self.page_count), known);
    }

    fn slot(&self, no: PageNo) -> Option<&Slot> {
        let index = no.0.checked_sub(1)?;
        self.chunks.get((index / CHUNK) as usize)?.get((index % CHUNK) as usize)
    }

    fn prepare<'a>(
        &self,
        page_count: u32,
        patches: impl Iterator<Item = &'a PagePatch>,
    ) -> Result<Change, Error> {
        if page_count > MAX_PAGES {
            return Err(corrupt(format!("{page_count} pages are more than a document can have")));
        }
        let mut pages: Vec<(PageNo, Page, u32)> = Vec::new();
        for patch in patches {
            let after = pages.last().map_or(0, |(no, ..)| no.0);
            if patch.no.0 <= after || patch.no.0 > page_count {
                return Err(corrupt("pages are not ascending within the page count"));
            }
            pages.push((patch.no, patch.apply(self.page(patch.no))?, patch.crc));
        }
        let checksum = self.checksum_after(page_count, pages.iter().map(|(no, _, crc)| (*no, *crc)));
        Ok(Change { page_count, checksum, pages })
    }

    /// The checksum once the document has `page_count` pages and the ones in `crcs` (ascending) are replaced.
    fn checksum_after(&self, page_count: u32, crcs: impl Iterator<Item = (PageNo, u32)>) -> Checksum {
        let mut checksum = self.checksum;
        for no in page_count.saturating_add(1)..=self.page_count {
            if let Some(slot) = self.slot(PageNo(no)) {
                checksum.toggle(PageNo(no), slot.crc);
            }
        }
        let mut zeros = Zeros { crc: None, next: self.page_count + 1 };
        for (no, crc) in crcs {
            match self.slot(no) {
                Some(slot) => checksum.toggle(no, slot.crc),
                None => {
                    zeros.fill(no.0, &mut checksum);
                    zeros.next = no.0 + 1;
                }
            }
            checksum.toggle(no, crc);
        }
        zeros.fill(page_count + 1, &mut checksum);
        checksum
    }

    fn take(&mut self, change: Change, lsn: Lsn) {
        self.resize(change.page_count, lsn);
        for (no, page, crc) in change.pages {
            let index = no.0 - 1;
            let chunk = Arc::make_mut(&mut self.chunks[(index / CHUNK) as usize]);
            chunk[(index % CHUNK) as usize] = Slot { page, crc, changed: lsn };
        }
        self.checksum = change.checksum;
    }

    fn resize(&mut self, page_count: u32, lsn: Lsn) {
        let chunks = page_count.div_ceil(CHUNK) as usize;
        self.chunks.truncate(chunks);
        if page_count < self.page_count {
            if let Some(last) = self.chunks.last_mut() {
                let kept = (page_count - 1) % CHUNK + 1;
                if last.len() > kept as usize {
                    Arc::make_mut(last).truncate(kept as usize);
                }
            }
        } else if page_count > self.page_count {
            let page = Page::zeroed();
            let zero = Slot { crc: page.crc(), page, changed: lsn };
            if let Some(last) = self.chunks.last_mut() {
                let free = CHUNK - last.len() as u32;
                let more = free.min(page_count - self.page_count);
                if more > 0 {
                    let len = last.len() + more as usize;
                    Arc::make_mut(last).resize(len, zero.clone());
                }
            }
            // Chunks of zeros are shared, so a long hole costs next to nothing.
            let full = Arc::new(vec![zero.clone(); CHUNK as usize]);
            while self.chunks.len() < chunks {
                let start = self.chunks.len() as u32 * CHUNK;
                let len = (page_count - start).min(CHUNK);
                self.chunks.push(if len == CHUNK {
                    full.clone()
                } else {
                    let mut chunk = Vec::with_capacity(CHUNK as usize);
                    chunk.resize(len as usize, zero.clone());
                    Arc::new(chunk)
                });
            }
        }
        self.page_count = page_count;
    }
}

struct Zeros {
    crc: Option<u32>,
    next: u32,
}

impl Zeros {
    fn fill(&mut self, end: u32, checksum: &mut Checksum) {
        for no in self.next..end {
            let crc = *self.crc.get_or_insert_with(|| Page::zeroed().crc());
            checksum.toggle(PageNo(no), crc);
        }
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("position", &self.position)
            .field("page_count", &self.page_count)
            .field("checksum", &self.checksum)
            .finish()
    }
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        let slots = |image: &Self| image.chunks.clone().into_iter();
        self.position == other.position
            && self.page_count == other.page_count
            && self.checksum == other.checksum
            && slots(self).zip(slots(other)).all(|(mine, theirs)| {
                mine.iter().zip(theirs.iter()).all(|(mine, theirs)| mine.page == theirs.page)
            })
    }
}

fn mismatch(what: String) -> Error {
    Error::new(Code::HistoryMismatch, what)
}

fn corrupt(what: impl Into<String>) -> Error {
    Error::new(Code::Corrupt, what)
}
