//! A document at one moment: the pages of one Lsn and what pending mutations made of them.

use offprint_protocol::{PAGE_SIZE, Page, PageNo, Position};

use crate::image::Image;
use crate::overlay::Overlay;

/// A page that belongs to the document but is not in memory: fetch it and run the statement again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault(pub PageNo);

/// One state of a document, immutable. It shares its pages with the states before and after it, so taking one copies
/// none and keeping one delays nobody.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(crate) image: Image,
    pub(crate) overlay: Overlay,
}

impl Snapshot {
    /// The confirmed pages alone.
    pub fn of(image: Image) -> Self {
        Self { image, overlay: Overlay::default() }
    }

    /// The last commit of the primary that is in it.
    pub fn position(&self) -> Option<Position> {
        self.image.position()
    }

    /// The document's size in pages.
    pub fn page_count(&self) -> u32 {
        self.overlay.page_count().unwrap_or_else(|| self.image.page_count())
    }

    /// The page, `None` past the end.
    pub fn page(&self, no: PageNo) -> Result<Option<&Page>, Fault> {
        if no.0 == 0 || no.0 > self.page_count() {
            return Ok(None);
        }
        self.overlay.get(no).or_else(|| self.image.page(no)).map(Some).ok_or(Fault(no))
    }

    /// Up to `count` pages from `first` on, as a SQLite file has them; none past the end.
    pub fn file_part(&self, first: PageNo, count: u32) -> Result<Vec<u8>, Fault> {
        let end = first.0.saturating_add(count).min(self.page_count().saturating_add(1));
        let mut bytes = Vec::with_capacity(end.saturating_sub(first.0) as usize * PAGE_SIZE);
        for no in (first.0..end).map(PageNo) {
            if let Some(page) = self.page(no)? {
                bytes.extend_from_slice(&page[..]);
            }
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::Pages;
    use crate::sqlite::Database;
    use crate::testing::{Document, select};

    const SUM: &str = "SELECT count(*), sum(x), min(x), max(x) FROM t";

    fn counted(rows: u32) -> Document {
        let mut doc = Document::new("CREATE TABLE t (id INTEGER PRIMARY KEY, x)", &[]);
        let fill = format!(
            "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             SELECT i, 0 FROM n"
        );
        doc.run_sql(&fill, &[]).unwrap();
        doc
    }

    #[test]
    fn a_long_read_sees_one_state_while_everything_goes_on() {
        let mut doc = counted(20_000);
        doc.confirm();
        doc.run_sql("UPDATE t SET x = 1 WHERE id % 7 = 0", &[]).unwrap();
        let before = doc.db.pages().to_file().unwrap();
        let snapshot = doc.db.pages().snapshot();
        let mut file = Vec::new();
        for step in 0.. {
            let first = PageNo(1 + step * 5);
            if first.0 > snapshot.page_count() {
                break;
            }
            file.extend(snapshot.file_part(first, 5).unwrap());
            match step % 4 {
                0 => drop(doc.run_sql("UPDATE t SET x = x + 1 WHERE id % 3 = 0", &[]).unwrap()),
                1 => drop(doc.confirm()),
                2 => drop(doc.run_sql("DELETE FROM t WHERE id > 19000", &[]).unwrap()),
                _ => doc.db.pages().clear_overlay(),
            }
        }
        assert!(file == before);
        assert!(doc.db.pages().to_file().unwrap() != before);
        assert!(snapshot.file_part(PageNo(snapshot.page_count() + 1), 5).unwrap().is_empty());
    }

    #[test]
    fn readers_on_other_threads_each_see_the_one_state_they_were_given() {
        let mut doc = counted(5000);
        let given: Vec<_> = (1..=8)
            .map(|round| {
                doc.run_sql("UPDATE t SET x = x + 1", &[]).unwrap();
                if round % 3 == 0 {
                    doc.confirm();
                }
                (round, doc.db.pages().snapshot())
            })
            .collect();
        std::thread::scope(|scope| {
            for (round, snapshot) in &given {
                scope.spawn(move || {
                    for _ in 0..10 {
                        let mut reader = Database::open(Pages::at(snapshot.clone())).unwrap();
                        let row = crate::testing::decode(&reader.query(&select(SUM)).unwrap().rows).1;
                        let expected = [5000, 5000 * round, *round, *round];
                        assert_eq!(row, [expected.map(offprint_protocol::Value::Integer)]);
                    }
                });
            }
            for _ in 0..50 {
                doc.run_sql("UPDATE t SET x = x + 1", &[]).unwrap();
            }
        });
        assert_eq!(doc.number("SELECT max(x) FROM t"), 58);
    }
}
