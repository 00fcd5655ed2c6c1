//! A document's first pages from a plain SQLite file, which comes part by part.

use std::collections::BTreeMap;

use offprint_protocol::page::MAX_PAGES;
use offprint_protocol::{Code, Definition, Error, JournalId, PAGE_SIZE, Page, PageNo, TabId, Touched};

use crate::image::Image;
use crate::pages::Pages;
use crate::sqlite::Database;

const MAGIC: &[u8] = b"SQLite format 3\0";
/// Pages of 4096 bytes, no WAL in either format version, no bytes reserved.
const LAYOUT: [u8; 5] = [0x10, 0, 1, 1, 0];

/// A file of which the first part has come.
#[derive(Debug)]
pub(crate) struct Import {
    tab: TabId,
    pages: BTreeMap<PageNo, Page>,
    /// Less than a page.
    rest: Vec<u8>,
}

impl Import {
    pub(crate) fn new(tab: TabId) -> Self {
        Self { tab, pages: BTreeMap::new(), rest: Vec::new() }
    }

    /// Who imports.
    pub(crate) fn tab(&self) -> TabId {
        self.tab
    }

    /// Takes the bytes at `offset`; those that have come already change nothing. Fails with `closed` if some are
    /// missing before them, and with `bad_file`.
    pub(crate) fn add(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let received = (self.pages.len() * PAGE_SIZE + self.rest.len()) as u64;
        let known = received.checked_sub(offset).and_then(|known| usize::try_from(known).ok());
        let Some(known) = known else {
            return Err(Error::new(
                Code::Closed,
                "the worker that had the file's beginning is gone: import again",
            ));
        };
        self.rest.extend_from_slice(bytes.get(known..).unwrap_or_default());
        let whole = self.rest.len() / PAGE_SIZE * PAGE_SIZE;
        for page in self.rest[..whole].chunks_exact(PAGE_SIZE) {
            if self.pages.is_empty() {
                check_header(page)?;
            }
            let no = PageNo(self.pages.len() as u32 + 1);
            if no.0 > MAX_PAGES {
                return Err(Error::new(Code::TooLarge, "the file exceeds 16 GiB"));
            }
            self.pages.insert(no, Page::from_slice(page)?);
        }
        self.rest.drain(..whole);
        Ok(())
    }

    /// The pages as the first commit of a device's own history; fails with `bad_file`, or as a migration does that the
    /// file lacks.
    pub(crate) fn finish(mut self, journal: JournalId, definition: &Definition) -> Result<Image, Error> {
        let found = self.pages.len() as u32;
        let first = self.pages.get_mut(&PageNo(1)).filter(|_| self.rest.is_empty());
        let Some(first) = first.map(Page::make_mut) else { return Err(bad("it is not made of whole pages")) };
        let said = u32::from_be_bytes([first[28], first[29], first[30], first[31]]);
        // The header's page count is trusted only where its two change counters agree.
        let page_count = if said > 0 && first[24..28] == first[92..96] { said } else { found };
        if page_count > found {
            return Err(bad("it is cut short"));
        }
        first[28..32].copy_from_slice(&page_count.to_be_bytes());
        for counter in [24, 92] {
            first[counter..counter + 4].copy_from_slice(&1u32.to_be_bytes());
        }
        let mut image = Image::local(journal);
        image.apply_commit(&image.commit_of(&self.pages, page_count, Touched::All))?;
        drop(self.pages);
        let damaged = |error: Error| bad(&error.message);
        let mut database = Database::open(Pages::new(image.clone())).map_err(damaged)?;
        database.check_integrity().map_err(damaged)?;
        database.migrate(definition)?;
        Ok(image)
    }
}

fn check_header(page: &[u8]) -> Result<(), Error> {
    if !page.starts_with(MAGIC) {
        return Err(bad("it is not a SQLite database"));
    }
    let [auto_vacuum, encoding] = [&page[52..56], &page[56..60]];
    if page[16..21] != LAYOUT || auto_vacuum != [0; 4] || (encoding != [0, 0, 0, 1] && encoding != [0; 4]) {
        return Err(bad(
            "a document has pages of 4096 bytes, UTF-8, no auto_vacuum and no WAL; for the file: PRAGMA journal_mode = \
             DELETE; PRAGMA page_size = 4096; PRAGMA auto_vacuum = NONE; VACUUM",
        ));
    }
    Ok(())
}

fn bad(why: &str) -> Error {
    Error::new(Code::BadFile, format!("the file cannot be a document: {why}"))
}
