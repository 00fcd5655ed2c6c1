//! The page store under SQLite: the confirmed image, the overlay that pending mutations made, and what the running
//! transaction has written.

use std::collections::BTreeMap;

use offprint_protocol::page::MAX_PAGES;
use offprint_protocol::{PAGE_SIZE, Page, PageNo};

use crate::image::Image;
use crate::overlay::Overlay;
use crate::snapshot::Snapshot;

pub use crate::snapshot::Fault;

/// The file header's change counter and the copy that vouches for its page count.
const COUNTERS: [usize; 2] = [24, 92];
/// The version of the SQLite that wrote last.
const WRITER_VERSION: usize = 96;

/// The pages SQLite sees, looked up in the running transaction, then the overlay, then the image.
#[derive(Debug)]
pub struct Pages {
    committed: Snapshot,
    staged: Staged,
    /// What SQLite reads as the file's change counter, so that each connection drops its cache exactly when what is
    /// visible has changed under it.
    visible: u32,
    /// Whether something else than a transaction moved what is visible.
    replaced: bool,
    fault: Option<Fault>,
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
        Self::at(Snapshot::of(image))
    }

    /// What is visible is what the snapshot holds.
    pub fn at(snapshot: Snapshot) -> Self {
        Self { committed: snapshot, staged: Staged::default(), visible: 1, replaced: true, fault: None }
    }

    /// What is visible now, without what an open transaction has written.
    pub fn snapshot(&self) -> Snapshot {
        self.committed.clone()
    }

    /// The confirmed pages.
    pub fn image(&self) -> &Image {
        &self.committed.image
    }

    /// The pages that transactions changed since the image, without those that were cut off.
    pub fn overlay(&self) -> BTreeMap<PageNo, Page> {
        self.committed.overlay.iter().map(|(no, page)| (no, page.clone())).collect()
    }

    /// The number of pages that are visible, overlay included.
    pub fn page_count(&self) -> u32 {
        self.committed.page_count()
    }

    /// Whether transactions changed anything since the image.
    pub fn has_overlay(&self) -> bool {
        !self.committed.overlay.is_empty()
    }

    /// Drops the overlay: the image alone is visible.
    pub fn clear_overlay(&mut self) {
        if self.has_overlay() {
            self.committed.overlay = Overlay::default();
            self.replace();
        }
    }

    /// Drops the overlay and lets `change` move the image.
    pub fn update_image<R>(&mut self, change: impl FnOnce(&mut Image) -> R) -> R {
        self.committed.overlay = Overlay::default();
        self.replace();
        change(&mut self.committed.image)
    }

    /// Lets `change` move the overlay into the image; it is dropped if that succeeds. What is visible stays as it was.
    pub fn confirm_overlay<R, E>(
        &mut self,
        change: impl FnOnce(&mut Image, &BTreeMap<PageNo, Page>, u32) -> Result<R, E>,
    ) -> Result<R, E> {
        let (overlay, page_count) = (self.overlay(), self.page_count());
        let result = change(&mut self.committed.image, &overlay, page_count);
        match &result {
            Ok(_) => self.committed.overlay = Overlay::default(),
            Err(_) => self.replace(),
        }
        result
    }

    /// The overlay has become part of `image`. What is visible stays as it was.
    pub(crate) fn settle_overlay(&mut self, image: Image) {
        self.committed = Snapshot::of(image);
    }

    /// The page as SQLite reads it, `None` past the end.
    pub fn lookup(&self, no: PageNo) -> Result<Option<&Page>, Fault> {
        if no.0 == 0 || no.0 > self.staged.page_count.unwrap_or_else(|| self.page_count()) {
            return Ok(None);
        }
        match self.staged.pages.get(&no) {
            Some(page) => Ok(Some(page)),
            None => self.committed.page(no),
        }
    }

    /// The whole visible document, page after page, as a SQLite file has it.
    pub fn to_file(&self) -> Result<Vec<u8>, Fault> {
        self.committed.file_part(PageNo(1), self.page_count())
    }

    /// The fault that made the last statement fail, if one did.
    pub fn take_fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    /// Whether something else than a transaction moved what is visible since the last call.
    pub(crate) fn take_replaced(&mut self) -> bool {
        std::mem::take(&mut self.replaced)
    }

    fn replace(&mut self) {
        self.replaced = true;
        self.bump();
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
            let stamp = (self.image().lsn().0 as u32).wrapping_add(1);
            let bytes = first.make_mut();
            for counter in COUNTERS {
                bytes[counter..counter + 4].copy_from_slice(&stamp.to_be_bytes());
            }
        }
        changed.retain(|&no, page| match self.committed.page(no) {
            Ok(Some(old)) if no.0 == 1 => !same_but_for_the_stamp(old, page),
            Ok(Some(old)) => old != page,
            _ => true,
        });
        if changed.is_empty() && page_count == before {
            // The writer's own cache already counts one commit more.
            self.bump();
            return;
        }
        self.committed.overlay.take(changed, page_count);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Document;
    use offprint_protocol::Value;

    const T: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, x)";

    fn filled(rows: u32) -> Document {
        let mut doc = Document::new(T, &[]);
        let sql = format!(
            "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             SELECT i, printf('%0100d', i) FROM n"
        );
        doc.run_sql(&sql, &[]).unwrap();
        doc
    }

    #[test]
    fn a_commit_is_seen_once_and_a_rollback_never() {
        let mut doc = filled(1);
        doc.confirm();
        assert!(!doc.db.pages().has_overlay());
        let undone = doc.db.transaction(|db| {
            db.writer.sqlite.execute_batch("UPDATE t SET x = 2").unwrap();
            Err::<(), _>(offprint_protocol::Error::new(offprint_protocol::Code::Closed, "stop"))
        });
        undone.unwrap_err();
        assert!(!doc.db.pages().has_overlay());
        doc.run_sql("UPDATE t SET x = 3", &[]).unwrap();
        assert!(doc.db.pages().has_overlay());
        assert_eq!(doc.number("SELECT x FROM t"), 3);
    }

    #[test]
    fn an_update_of_one_row_is_a_commit_of_one_page() {
        let mut doc = filled(1000);
        doc.confirm();
        doc.run_sql("UPDATE t SET x = 1 WHERE id = 500", &[]).unwrap();
        let commit = doc.confirm();
        assert_eq!(commit.pages.len(), 1, "{:?}", commit.pages);
        assert_ne!(commit.pages[0].no, PageNo(1));
    }

    #[test]
    fn a_dropped_overlay_is_forgotten_by_both_connections() {
        let mut doc = filled(1000);
        doc.confirm();
        let sum = "SELECT sum(length(x)) FROM t";
        assert_eq!(doc.number(sum), 100_000);
        doc.run_sql("UPDATE t SET x = 'short'", &[]).unwrap();
        doc.run_sql("CREATE_NOTHING", &[]).unwrap_err();
        assert_eq!(doc.number(sum), 5000);
        doc.db.pages().clear_overlay();
        assert_eq!(doc.number(sum), 100_000);
        // The writer's cache too: it builds on what is visible now.
        doc.run_sql("UPDATE t SET x = x || '+' WHERE id = 1", &[]).unwrap();
        assert_eq!(doc.number(sum), 100_001);
        let changed = doc.db.pages().overlay().len();
        let page_count = doc.db.pages().page_count();
        doc.db.pages().clear_overlay();
        assert_eq!((changed, page_count), (1, doc.db.pages().page_count()));
        assert_eq!(doc.number(sum), 100_000);
    }

    #[test]
    fn a_replaced_image_with_another_schema_is_what_statements_see() {
        let mut doc = filled(10);
        doc.confirm();
        let other = {
            let mut other = Document::new("CREATE TABLE u (y); INSERT INTO u VALUES (7);", &[]);
            other.confirm();
            other.db.pages().image().clone()
        };
        assert_eq!(doc.number("SELECT count(*) FROM t"), 10);
        let before = doc.db.pages().image().clone();
        doc.db.pages().update_image(|image| *image = other);
        assert_eq!(doc.number("SELECT y FROM u"), 7);
        assert_eq!(doc.refusal("SELECT count(*) FROM t"), offprint_protocol::Code::Sql);
        doc.run_sql("UPDATE u SET y = 8", &[]).unwrap();
        doc.db.pages().update_image(|image| *image = before);
        assert_eq!(doc.number("SELECT count(*) FROM t"), 10);
    }

    #[test]
    fn equal_schema_cookies_of_other_overlays_are_not_taken_for_equal_schemas() {
        let mut doc = filled(1);
        doc.confirm();
        let migrate = |doc: &mut Document, sql: &str| {
            doc.db.pages().clear_overlay();
            doc.db.migrate(&crate::testing::definition(&[T, sql], &[])).unwrap();
        };
        for round in 0..3 {
            migrate(&mut doc, "CREATE TABLE a (x); INSERT INTO a VALUES (1)");
            if round != 1 {
                assert_eq!(doc.number("SELECT x FROM a"), 1);
            }
            migrate(&mut doc, "CREATE TABLE b (y); INSERT INTO b VALUES (2)");
            assert_eq!(doc.number("SELECT y FROM b"), 2);
            doc.run_sql("UPDATE b SET y = 3", &[]).unwrap();
            assert_eq!(doc.refusal("UPDATE a SET x = 3"), offprint_protocol::Code::Sql);
        }
    }

    #[test]
    fn nested_savepoints_are_undone_to_where_they_began() {
        let mut doc = filled(100);
        let before = doc.db.pages().to_file().unwrap();
        doc.db
            .transaction(|db| {
                let sqlite = &db.writer.sqlite;
                let run = |sql: &str| sqlite.execute_batch(sql).unwrap();
                run("SAVEPOINT a; DELETE FROM t WHERE id > 50; SAVEPOINT b; DELETE FROM t; ROLLBACK TO b; RELEASE b");
                run("ROLLBACK TO a; RELEASE a; SAVEPOINT c; UPDATE t SET x = 'c' WHERE id = 1; RELEASE c");
                Ok(())
            })
            .unwrap();
        assert_eq!(doc.number("SELECT count(*) FROM t"), 100);
        assert_eq!(doc.rows("SELECT x FROM t WHERE id = 1"), [[Value::Text("c".into())]]);
        assert_ne!(doc.db.pages().to_file().unwrap(), before);
    }

    #[test]
    fn the_document_grows_and_shrinks() {
        let mut doc = filled(5000);
        doc.confirm();
        let large = doc.db.pages().page_count();
        doc.run_sql("DELETE FROM t WHERE id > 10", &[]).unwrap();
        // Nobody but us may: it moves every page.
        doc.db.writer.watch.start(crate::authorizer::Mode::Own);
        doc.db.writer.sqlite.set_limit(rusqlite::limits::Limit::SQLITE_LIMIT_ATTACHED, 1).unwrap();
        doc.db.writer.sqlite.execute_batch("VACUUM").unwrap();
        let small = doc.db.pages().page_count();
        assert!(small < 5 && large > 100, "{small} {large}");
        assert_eq!(doc.number("SELECT count(*) FROM t"), 10);
        doc.confirm();
        assert_eq!(doc.db.pages().image().page_count(), small);
        assert_eq!(doc.number("SELECT sum(length(x)) FROM t"), 1000);
        doc.run_sql("INSERT INTO t VALUES (null, zeroblob(100000))", &[]).unwrap();
        let commit = doc.confirm();
        assert!(commit.page_count >= small + 24, "{}", commit.page_count);
        stock(&mut doc);
    }

    #[test]
    fn pages_that_are_new_and_free_again_are_zeros() {
        let mut doc = filled(1);
        doc.confirm();
        let sql = "INSERT INTO t VALUES (2, zeroblob(400000)); DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (3, 3)";
        doc.run_sql(sql, &[]).unwrap();
        doc.confirm();
        assert!(doc.db.pages().page_count() > 90);
        stock(&mut doc);
    }

    #[test]
    fn what_is_written_to_a_file_is_a_stock_database() {
        let mut doc = Document::new(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, x); CREATE INDEX i ON t (x);
             CREATE TABLE w (k TEXT PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO w VALUES ('hello', 'world');",
            &[],
        );
        for round in 0..50 {
            doc.run_sql(
                &format!("INSERT INTO t (x) VALUES ({}); DELETE FROM t WHERE id % 3 = 0", round * 31 % 50),
                &[],
            )
            .unwrap();
            if round % 7 == 0 {
                doc.confirm();
            }
        }
        stock(&mut doc);
    }

    /// Opens the visible document with SQLite's own VFS.
    fn stock(doc: &mut Document) {
        let directory = std::env::temp_dir();
        let path = directory.join(format!(
            "offprint-pages-{}-{:?}.db",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::write(&path, doc.db.pages().to_file().unwrap()).unwrap();
        let stock = rusqlite::Connection::open(&path).unwrap();
        let answer: String = stock.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        let rows: i64 = stock.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        drop(stock);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(answer, "ok");
        assert_eq!(rows, doc.number("SELECT count(*) FROM t"));
    }
}
