//! The confirmed state of a document: the pages of one Lsn, each verified, cheap to clone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use offprint_protocol::page::MAX_PAGES;
use offprint_protocol::{
    Checksum, Code, Commit, Error, JournalId, Lsn, Page, PageNo, PagePatch, Position, Rollup, Touched,
};

use crate::head::{BaseInfo, Origin};

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
    /// Who made the history.
    origin: Origin,
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

    /// The start of a history that a device makes by itself.
    pub fn local(journal: JournalId) -> Self {
        Self { origin: Origin::Device, ..Self::empty(journal) }
    }

    /// Who made the history.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The same history, seen otherwise.
    pub(crate) fn set_origin(&mut self, origin: Origin) {
        self.origin = origin;
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
        Some(BaseInfo { position, origin: self.origin, page_count: self.page_count, checksum: self.checksum })
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
        if pages().any(|patch| patch.bytes.needs_before()) {
            return Err(corrupt("a rollup holds a difference"));
        }
        let replaces = last.from == Lsn(0);
        // What a device made stays so when its own rollup is read back.
        let is_same = self.position.is_some_and(|ours| ours.journal == journal);
        let origin = if is_same { self.origin } else { Origin::Primary };
        let before = if replaces { Self { origin, ..Self::empty(journal) } } else { self.clone() };
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
        let mut parts = Vec::new();
        let mut first = PageNo(1);
        loop {
            let part = self.rollup_at(from, first, part_bytes);
            let last = part.last;
            first = part.pages.last().map_or(first, |patch| PageNo(patch.no.0 + 1));
            parts.push(part);
            if last {
                return parts;
            }
        }
    }

    /// The part of that rollup that begins with page `first`: one page at least, if there is one.
    pub(crate) fn rollup_at(&self, from: Lsn, first: PageNo, part_bytes: usize) -> Rollup {
        let mut changed = self.changed_from(from, first).peekable();
        let mut pages = Vec::new();
        let mut bytes = 0;
        while let Some((no, page)) = changed.next_if(|_| bytes < part_bytes || pages.is_empty()) {
            let patch = PagePatch::new(no, page, None);
            bytes += patch.size();
            pages.push(patch);
        }
        let last = changed.peek().is_none();
        self.rollup_part(from, pages, last)
    }

    /// Whether it is known what changed after `from`, so that a rollup from there need not replace everything.
    pub(crate) fn remembers(&self, from: Lsn) -> bool {
        from != Lsn(0) && (self.known..=self.lsn()).contains(&from)
    }

    /// One part of a rollup, with these of the pages that changed after `from`.
    pub(crate) fn rollup_part(&self, from: Lsn, pages: Vec<PagePatch>, last: bool) -> Rollup {
        let position = self.position.expect("BUG: a rollup of a document without a history");
        Rollup {
            from: if self.remembers(from) { from } else { Lsn(0) },
            to: position.lsn,
            hash: position.hash,
            page_count: self.page_count,
            checksum: self.checksum,
            last,
            outcomes: Vec::new(),
            pages,
        }
    }

    /// Every page that may have changed after `from`, ascending; every page if that is not known.
    pub(crate) fn changed_since(&self, from: Lsn) -> impl Iterator<Item = (PageNo, &Page)> {
        self.changed_from(from, PageNo(1))
    }

    fn changed_from(&self, from: Lsn, first: PageNo) -> impl Iterator<Item = (PageNo, &Page)> {
        let all = !self.remembers(from);
        let skipped = first.0.saturating_sub(1) / CHUNK;
        let slots = self.chunks.iter().skip(skipped as usize).flat_map(|chunk| chunk.iter());
        (skipped * CHUNK + 1..)
            .map(PageNo)
            .zip(slots)
            .filter(move |(no, slot)| *no >= first && (all || slot.changed > from))
            .map(|(no, slot)| (no, &slot.page))
    }

    /// An image that a base is read into, still without pages.
    pub(crate) fn of_base(base: &BaseInfo) -> Self {
        let BaseInfo { position, origin, .. } = *base;
        Self { position: Some(position), origin, known: position.lsn, ..Self::default() }
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
            && self.origin == other.origin
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

#[cfg(test)]
mod tests {
    use offprint_protocol::page::PatchBytes;

    use super::*;

    const JOURNAL: JournalId = JournalId([1; 16]);

    fn page(byte: u8) -> Page {
        let mut page = Page::zeroed();
        page.make_mut().iter_mut().enumerate().for_each(|(at, to)| *to = (at as u8).wrapping_mul(byte));
        page
    }

    fn commit(image: &mut Image, page_count: u32, pages: &[(u32, u8)]) -> Commit {
        let changed = pages.iter().map(|(no, byte)| (PageNo(*no), page(*byte))).collect();
        let commit = image.commit_of(&changed, page_count, Touched::All);
        image.apply_commit(&commit).unwrap();
        commit
    }

    /// The checksum as it is defined, page by page.
    fn summed(image: &Image) -> Checksum {
        let mut sum = Checksum::default();
        (1..=image.page_count()).for_each(|no| sum.toggle(PageNo(no), image.page(PageNo(no)).unwrap().crc()));
        sum
    }

    #[test]
    fn a_document_that_grows_shrinks_and_grows_keeps_its_checksum_and_forgets_what_was_cut() {
        let mut image = Image::empty(JOURNAL);
        for (page_count, pages) in [
            (3, &[(1, 1), (3, 3)][..]),
            (700, &[(700, 7)]),
            (2, &[(1, 9)]),
            (600, &[(1, 8), (300, 3)]),
            (256, &[]),
            (257, &[]),
            (0, &[]),
            (1, &[(1, 1)]),
        ] {
            commit(&mut image, page_count, pages);
            assert_eq!((image.page_count(), image.checksum()), (page_count, summed(&image)));
            assert_eq!(image.page(PageNo(page_count + 1)), None);
            assert_eq!(image.page(PageNo(0)), None);
        }
        commit(&mut image, 700, &[]);
        assert_eq!(image.page(PageNo(700)), Some(&Page::zeroed()));
    }

    #[test]
    fn rollups_bring_every_earlier_image_to_the_newest_one() {
        let mut image = Image::empty(JOURNAL);
        let mut history = vec![image.clone()];
        for (page_count, pages) in
            [(4, &[(1, 1), (2, 2), (4, 4)][..]), (2, &[(1, 5)]), (6, &[(6, 6)]), (6, &[(2, 7)]), (5, &[])]
        {
            commit(&mut image, page_count, pages);
            history.push(image.clone());
        }
        for before in &history {
            for part_bytes in [1, 5000, 1 << 20] {
                let parts = image.rollup_since(before.lsn(), part_bytes);
                assert!(parts.iter().all(|part| part.from == before.lsn()));
                let mut after = before.clone();
                after.apply_rollup(JOURNAL, &parts).unwrap();
                assert_eq!(after, image);
                // It serves those behind it as well.
                let again = after.rollup_since(before.lsn(), part_bytes);
                let mut third = before.clone();
                third.apply_rollup(JOURNAL, &again).unwrap();
                assert_eq!(third, image);
            }
        }
        let mut elsewhere = Image::empty(JournalId([2; 16]));
        commit(&mut elsewhere, 9, &[(9, 9)]);
        elsewhere.apply_rollup(JOURNAL, &image.rollup_since(Lsn(0), 1 << 20)).unwrap();
        assert_eq!(elsewhere, image);
        assert_eq!(
            elsewhere.rollup_since(Lsn(1), 1 << 20)[0].from,
            Lsn(0),
            "what changed since is not known"
        );
    }

    #[test]
    fn what_does_not_follow_or_does_not_fit_changes_nothing() {
        let mut image = Image::empty(JOURNAL);
        let first = commit(&mut image, 2, &[(1, 1), (2, 2)]);
        let mut next = image.clone();
        let second = commit(&mut next, 2, &[(2, 3)]);
        let before = image.clone();
        let mut check = |change: &dyn Fn(&mut Image) -> Result<(), Error>, code| {
            assert_eq!(change(&mut image).unwrap_err().code, code);
            assert_eq!(image, before);
        };
        check(&|image| image.apply_commit(&first), Code::HistoryMismatch);
        check(&|image| image.apply_commit(&Commit { lsn: Lsn(3), ..second.clone() }), Code::HistoryMismatch);
        check(
            &|image| image.apply_commit(&Commit { checksum: Checksum(1), ..second.clone() }),
            Code::Corrupt,
        );
        check(&|image| image.apply_commit(&Commit { page_count: 1, ..second.clone() }), Code::Corrupt);
        check(&|image| image.apply_commit(&Commit { page_count: u32::MAX, ..second.clone() }), Code::Corrupt);
        let mut patches = second.pages.clone();
        patches[0].no = PageNo(1);
        check(
            &|image| image.apply_commit(&Commit { pages: patches.clone(), ..second.clone() }),
            Code::Corrupt,
        );
        let rollup = next.rollup_since(Lsn(1), 1 << 20);
        check(&|image| image.apply_rollup(JournalId([2; 16]), &rollup), Code::HistoryMismatch);
        check(&|image| image.apply_rollup(JOURNAL, &[]), Code::Corrupt);
        let open = Rollup { last: false, ..rollup[0].clone() };
        check(&|image| image.apply_rollup(JOURNAL, std::slice::from_ref(&open)), Code::Corrupt);
        let mut delta = rollup[0].clone();
        let PatchBytes::Lz4(block) = delta.pages[0].bytes.clone() else { panic!("a pattern compresses") };
        delta.pages[0].bytes = PatchBytes::Xor(block);
        check(&|image| image.apply_rollup(JOURNAL, std::slice::from_ref(&delta)), Code::Corrupt);
        let empty = Rollup { from: Lsn(0), to: Lsn(0), ..rollup[0].clone() };
        check(&|image| image.apply_rollup(JOURNAL, std::slice::from_ref(&empty)), Code::Corrupt);
        assert_eq!(Image::none().apply_commit(&first).unwrap_err().code, Code::HistoryMismatch);
    }

    #[test]
    fn a_clone_stays_as_it_is() {
        let mut image = Image::empty(JOURNAL);
        commit(&mut image, 300, &[(1, 1), (300, 3)]);
        let clone = image.clone();
        commit(&mut image, 300, &[(1, 2)]);
        assert_eq!(clone.page(PageNo(1)), Some(&page(1)));
        assert_eq!(image.page(PageNo(1)), Some(&page(2)));
    }

    #[test]
    fn pages_that_did_not_change_are_not_in_the_commit() {
        let mut image = Image::empty(JOURNAL);
        commit(&mut image, 2, &[(1, 1), (2, 2)]);
        let again = commit(&mut image, 2, &[(1, 1), (2, 3)]);
        assert_eq!(again.pages.iter().map(|patch| patch.no).collect::<Vec<_>>(), [PageNo(2)]);
    }
}
