//! Looks into a document from outside: with a stock SQLite, and with queries run fresh.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher};

use offprint_core::mutator::Mutators;
use offprint_core::pages::Pages;
use offprint_core::sqlite::Database;
use offprint_core::{Image, Replica, Snapshot};
use offprint_protocol::rpc::Select;
use offprint_protocol::{Definition, Error, Mutation, PageNo};
use rusqlite::{Connection, MAIN_DB};

use crate::tab::Tab;
use crate::workload::Logged;

/// What the workload's tables hold.
#[derive(Debug, Default, PartialEq)]
pub struct Contents {
    /// The log, in its order.
    pub log: Vec<Logged>,
    /// The items.
    pub items: BTreeMap<String, i64>,
    /// The names that are claimed.
    pub claims: BTreeSet<String>,
}

impl Contents {
    /// Opens the image in a stock SQLite, which must find it whole, and reads the tables.
    pub fn read(image: &Image) -> Result<Self, String> {
        Self::of(&Snapshot::of(image.clone()))
    }

    /// Opens what is visible in a stock SQLite, and reads the tables; none if the document is still empty.
    pub fn of(snapshot: &Snapshot) -> Result<Self, String> {
        if snapshot.page_count() == 0 {
            return Ok(Self::default());
        }
        let file = snapshot.file_part(PageNo(1), snapshot.page_count());
        let bytes = file.map_err(|fault| format!("page {} is missing", fault.0))?;
        Self::query(&bytes).map_err(|error| format!("stock SQLite: {error}"))
    }

    fn query(bytes: &[u8]) -> rusqlite::Result<Self> {
        let mut connection = Connection::open_in_memory()?;
        connection.deserialize_read_exact(MAIN_DB, bytes, bytes.len(), true)?;
        let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(rusqlite::Error::InvalidColumnName(format!("integrity_check: {verdict}")));
        }
        let mut log = connection.prepare("SELECT token, op, k, coalesce(v, 0) FROM log ORDER BY n")?;
        let log = log
            .query_map([], |row| {
                Ok(Logged { token: row.get(0)?, op: row.get(1)?, key: row.get(2)?, value: row.get(3)? })
            })?
            .collect::<Result<_, _>>()?;
        let mut items = connection.prepare("SELECT k, v FROM item")?;
        let items = items.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        let mut claims = connection.prepare("SELECT name FROM claim")?;
        let claims = claims.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(Self { log, items, claims })
    }
}

/// The first page in which two documents differ.
pub fn first_difference(one: &Image, other: &Image) -> Option<PageNo> {
    let pages = one.page_count().max(other.page_count());
    (1..=pages).map(PageNo).find(|no| one.page(*no) != other.page(*no))
}

/// A number that tells the bytes of documents apart.
pub fn digest(image: &Image) -> u64 {
    let mut hasher = DefaultHasher::new();
    for no in (1..=image.page_count()).map(PageNo) {
        hasher.write(image.page(no).map_or(&[], |page| &page[..]));
    }
    hasher.finish()
}

/// What a fresh document shows that begins with `image` and replays `pending`; and the mutations that failed.
pub fn replayed<'a>(
    image: Image,
    definition: &Definition,
    pending: &'a [Mutation],
) -> Result<(Snapshot, Vec<&'a Mutation>), Error> {
    let mut database = Database::open(Pages::new(image))?;
    database.migrate(definition)?;
    let mutators = Mutators::compile(definition)?;
    let mut failed = Vec::new();
    for mutation in pending {
        let call = [(mutation.name.as_str(), &mutation.args[..])];
        if database.run_batch(&mutators, &call)?.iter().any(Result::is_err) {
            failed.push(mutation);
        }
    }
    let snapshot = database.pages().snapshot();
    Ok((snapshot, failed))
}

/// Every tab's newest rows equal the same query run fresh.
pub fn same_rows(replica: &mut Replica, tabs: &[Tab], queries: &[Select]) -> Result<(), String> {
    for (subscription, select) in (0..).zip(queries) {
        let fresh = replica.query(select);
        for tab in tabs {
            let Some(rows) = tab.rows.get(&subscription) else { continue };
            match &fresh {
                Ok(fresh) if fresh == rows => {}
                Ok(_) => return Err(format!("live query {subscription} is not what a fresh one gives")),
                Err(error) => return Err(format!("query {subscription} fails: {error}")),
            }
        }
    }
    Ok(())
}
