//! Stock SQLite: what makes the pages of the sweep's documents, and what judges those that come back.

use std::collections::BTreeMap;
use std::sync::Mutex;

use offprint_core::image::Image;
use offprint_protocol::{JournalId, PAGE_SIZE, Page, PageNo, Touched};
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::{Connection, MAIN_DB};

use crate::sweep::random::Random;

/// A database in memory of which every transaction can be had as a commit.
pub struct Stock(Connection);

impl Stock {
    /// The database that these pages are.
    pub fn of(image: &Image) -> Self {
        let mut connection = Connection::open_in_memory().unwrap();
        if image.page_count() > 0 {
            let bytes = file(image);
            connection.deserialize_read_exact(MAIN_DB, &bytes[..], bytes.len(), false).unwrap();
        }
        // SQLite's own random bytes depend on no seed.
        let seed = Mutex::new(Random::new(image.lsn().0));
        let noise = move |context: &Context<'_>| {
            let mut random = seed.lock().unwrap();
            let bytes: Vec<u8> = (0..context.get::<u32>(0)?).map(|_| random.below(256) as u8).collect();
            Ok(bytes)
        };
        connection.create_scalar_function("noise", 1, FunctionFlags::SQLITE_UTF8, noise).unwrap();
        Self(connection)
    }

    /// Runs SQL and gives what it changed in `image`, which is what the database was before.
    pub fn run(&mut self, image: &Image, sql: &str) -> offprint_protocol::Commit {
        self.0.execute_batch(sql).unwrap();
        let bytes = self.0.serialize(MAIN_DB).unwrap();
        assert_eq!(bytes.len() % PAGE_SIZE, 0);
        let mut changed = BTreeMap::new();
        for (no, page) in (1..).map(PageNo).zip(bytes.chunks(PAGE_SIZE)) {
            if image.page(no).is_none_or(|before| before[..] != *page) {
                changed.insert(no, Page::from_slice(page).unwrap());
            }
        }
        image.commit_of(&changed, (bytes.len() / PAGE_SIZE) as u32, Touched::All)
    }
}

/// The pages as a file.
pub fn file(image: &Image) -> Vec<u8> {
    (1..=image.page_count()).flat_map(|no| image.page(PageNo(no)).unwrap().to_vec()).collect()
}

/// What stock SQLite says of a file with these bytes, and the rows that a query gives.
pub fn check(bytes: &[u8], select: Option<&str>) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("base");
    std::fs::write(&path, bytes).unwrap();
    let connection = Connection::open(&path).unwrap();
    let said: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(said, "ok");
    let Some(select) = select else { return Vec::new() };
    let mut statement = connection.prepare(select).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(|row| row.unwrap()).collect()
}

/// An image of a history of its own.
pub fn empty(id: u64) -> Image {
    let mut journal = [0; 16];
    journal[..8].copy_from_slice(&id.to_le_bytes());
    Image::empty(JournalId(journal))
}
