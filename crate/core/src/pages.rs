//! The page store under SQLite: the confirmed image, the overlay that pending mutations made, and what the running
//! transaction has written.

use std::collections::BTreeMap;

use offprint_protocol::page::MAX_PAGES;
use offprint_protocol::{PAGE_SIZE, Page, PageNo};

use crate::image::Image;

/// The file header's change counter and the copy that vouches for its page count.
const COUNTERS: [usize; 2] = [24, 92];
/// The version of the SQLite that wrote last.
const WRITER_VERSION: usize = 96;

/// A page that belongs to the document but is not in memory: fetch it and run the statement again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault(pub PageNo);

/// The pages SQLite sees, looked up in the running transaction, then the overlay, then the image.
#[derive(Debug)]
pub struct Pages {
    image: Image,
    overlay: Overlay,
    staged: Staged,
    /// What SQLite reads as the file's change counter, so that each connection drops its cache exactly when what is
    /// visible has changed under it.
    visible: u32,
    fault: Option<Fault>,
}

/// The pages that differ from the image.
#[derive(Debug, Default)]
struct Overlay {
    pages: BTreeMap<PageNo, Page>,
    /// `None`: the image's.
    page_count: Option<u32>,
}

/// What the running transaction has written so far.
#[derive(Debug, Default)]
struct Staged {
    pages: BTreeMap<PageNo, Page>,
    page_count: Option<u32>,
}

impl Pages {
    /// What is visible is the image alone.
    pub fn new(image: Image) -> Self {
        Self { image, overlay: Overlay::default(), staged: Staged::default(), visible: 1, fault: None }
    }

    /// The confirmed pages.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The pages that transactions changed since the image, without those that were cut off.
    pub fn overlay(&self) -> &BTreeMap<PageNo, Page> {
        &self.overlay.pages
    }

    /// The number of pages that are visible, overlay included.
    pub fn page_count(&self) -> u32 {
        self.overlay.page_count.unwrap_or_else(|| self.image.page_count())
    }

    /// Whether transactions changed anything since the image.
    pub fn has_overlay(&self) -> bool {
        self.overlay.page_count.is_some() || !self.overlay.pages.is_empty()
    }

    /// Drops the overlay: the image alone is visible.
    pub fn clear_overlay(&mut self) {
        if self.has_overlay() {
            self.overlay = Overlay::default();
            self.bump();
        }
    }

    /// Takes the overlay and the page count that goes with it: the image alone is visible.
    pub fn take_overlay(&mut self) -> (BTreeMap<PageNo, Page>, u32) {
        let page_count = self.page_count();
        let overlay = std::mem::take(&mut self.overlay);
        self.bump();
        (overlay.pages, page_count)
    }

    /// Replaces the image; the overlay, which was made on the old one, is dropped.
    pub fn set_image(&mut self, image: Image) {
        self.image = image;
        self.overlay = Overlay::default();
        self.bump();
    }

    /// Drops the overlay and lets `change` move the image.
    pub fn update_image<R>(&mut self, change: impl FnOnce(&mut Image) -> R) -> R {
        self.overlay = Overlay::default();
        self.bump();
        change(&mut self.image)
    }

    /// Lets `change` move the overlay into the image; it is dropped if that succeeds. What is visible stays as it was.
    pub fn confirm_overlay<R, E>(
        &mut self,
        change: impl FnOnce(&mut Image, &BTreeMap<PageNo, Page>, u32) -> Result<R, E>,
    ) -> Result<R, E> {
        let page_count = self.page_count();
        let result = change(&mut self.image, &self.overlay.pages, page_count);
        match &result {
            Ok(_) => self.overlay = Overlay::default(),
            Err(_) => self.bump(),
        }
        result
    }

    /// The page as SQLite reads it, `None` past the end.
    pub fn lookup(&self, no: PageNo) -> Result<Option<&Page>, Fault> {
        if no.0 == 0 || no.0 > self.staged.page_count.unwrap_or_else(|| self.page_count()) {
            return Ok(None);
        }
        match self.staged.pages.get(&no) {
            Some(page) => Ok(Some(page)),
            None => self.committed(no),
        }
    }

    /// The whole visible document, page after page, as a SQLite file has it.
    pub fn to_file(&self) -> Result<Vec<u8>, Fault> {
        let mut file = Vec::with_capacity(self.page_count() as usize * PAGE_SIZE);
        for no in (1..=self.page_count()).map(PageNo) {
            if let Some(page) = self.committed(no)? {
                file.extend_from_slice(&page[..]);
            }
        }
        Ok(file)
    }

    /// The fault that made the last statement fail, if one did.
    pub fn take_fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    fn committed(&self, no: PageNo) -> Result<Option<&Page>, Fault> {
        if no.0 > self.page_count() {
            return Ok(None);
        }
        self.overlay.pages.get(&no).or_else(|| self.image.page(no)).map(Some).ok_or(Fault(no))
    }

    fn bump(&mut self) {
        self.visible = self.visible.wrapping_add(1);
    }

    /// Fills `out` from `offset` of the file and gives the number of bytes there were.
    pub(crate) fn read(&mut self, offset: u64, out: &mut [u8]) -> Result<usize, Fault> {
        let mut done = 0;
        while done < out.len() {
            let at = offset + done as u64;
            let within = (at % PAGE_SIZE as u64) as usize;
            let Ok(index) = u32::try_from(at / PAGE_SIZE as u64) else { break };
            let no = PageNo(index.saturating_add(1));
            let page = match self.lookup(no) {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(fault) => {
                    self.fault = Some(fault);
                    return Err(fault);
                }
            };
            let count = (PAGE_SIZE - within).min(out.len() - done);
            let target = &mut out[done..done + count];
            target.copy_from_slice(&page[within..within + count]);
            if no.0 == 1 {
                self.answer_counters(within, target);
            }
            done += count;
        }
        Ok(done)
    }

    /// Puts the visibility counter over the part of page 1 that starts at `from`.
    fn answer_counters(&self, from: usize, part: &mut [u8]) {
        for counter in COUNTERS {
            for (index, byte) in self.visible.to_be_bytes().into_iter().enumerate() {
                let at = counter + index;
                if at >= from && at < from + part.len() {
                    part[at - from] = byte;
                }
            }
        }
    }

    /// Keeps a page of the running transaction; false if the document would be too large.
    pub(crate) fn stage(&mut self, no: PageNo, page: Page) -> bool {
        if no.0 > MAX_PAGES {
            return false;
        }
        let page_count = self.staged.page_count.unwrap_or_else(|| self.page_count());
        self.staged.page_count = Some(page_count.max(no.0));
        self.staged.pages.insert(no, page);
        true
    }

    /// Cuts the document to `page_count` in the running transaction.
    pub(crate) fn stage_truncate(&mut self, page_count: u32) {
        self.staged.page_count = Some(page_count);
        self.staged.pages.split_off(&PageNo(page_count + 1));
    }

    /// The file's size as the running transaction sees it, in pages.
    pub(crate) fn staged_page_count(&self) -> u32 {
        self.staged.page_count.unwrap_or_else(|| self.page_count())
    }

    /// The running transaction was undone.
    pub(crate) fn discard_staged(&mut self) {
        self.staged = Staged::default();
    }

    /// The running transaction is complete: what it changed becomes visible.
    pub(crate) fn take_staged(&mut self) {
        let staged = std::mem::take(&mut self.staged);
        let Some(page_count) = staged.page_count else { return };
        let before = self.page_count();
        let mut changed = staged.pages;
        // SQLite does not write a page that is new and already free again.
        for no in (before + 1..=page_count).map(PageNo) {
            changed.entry(no).or_insert_with(Page::zeroed);
        }
        if let Some(first) = changed.get_mut(&PageNo(1)) {
            let stamp = (self.image.lsn().0 as u32).wrapping_add(1);
            let bytes = first.make_mut();
            for counter in COUNTERS {
                bytes[counter..counter + 4].copy_from_slice(&stamp.to_be_bytes());
            }
        }
        changed.retain(|&no, page| match self.committed(no) {
            Ok(Some(old)) if no.0 == 1 => !same_but_for_the_stamp(old, page),
            Ok(Some(old)) => old != page,
            _ => true,
        });
        if changed.is_empty() && page_count == before {
            // The writer's own cache already counts one commit more.
            self.bump();
            return;
        }
        self.overlay.pages.split_off(&PageNo(page_count + 1));
        self.overlay.pages.append(&mut changed);
        self.overlay.page_count = Some(page_count);
        // By exactly one, as SQLite does: the connection that wrote keeps its cache.
        self.bump();
    }
}

fn same_but_for_the_stamp(one: &Page, other: &Page) -> bool {
    let holes = [COUNTERS[0]..COUNTERS[0] + 4, COUNTERS[1]..WRITER_VERSION + 4];
    one[..holes[0].start] == other[..holes[0].start]
        && one[holes[0].end..holes[1].start] == other[holes[0].end..holes[1].start]
        && one[holes[1].end..] == other[holes[1].end..]
}
