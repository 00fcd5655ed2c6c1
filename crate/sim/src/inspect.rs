//! Looks into a document from outside: with a stock SQLite, and with queries run fresh.

use std::collections::BTreeMap;

use offprint_core::{Image, Replica};
use offprint_protocol::rpc::Select;
use offprint_protocol::{PAGE_SIZE, PageNo};
use rusqlite::{Connection, MAIN_DB};

use crate::tab::Tab;
use crate::workload::Logged;

/// What the workload's tables hold.
#[derive(Debug)]
pub struct Contents {
    /// The log, in its order.
    pub log: Vec<Logged>,
    /// The items.
    pub items: BTreeMap<String, i64>,
    /// How many claims stand.
    pub claims: usize,
}

impl Contents {
    /// Opens the image in a stock SQLite, which must find it whole, and reads the tables.
    pub fn read(image: &Image) -> Result<Self, String> {
        let mut bytes = Vec::with_capacity(image.page_count() as usize * PAGE_SIZE);
        for no in 1..=image.page_count() {
            let page = image.page(PageNo(no)).ok_or_else(|| format!("page {no} is missing"))?;
            bytes.extend_from_slice(&page[..]);
        }
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
        let claims: i64 = connection.query_row("SELECT count(*) FROM claim", [], |row| row.get(0))?;
        Ok(Self { log, items, claims: claims as usize })
    }
}

/// The first page in which two documents differ.
pub fn first_difference(one: &Image, other: &Image) -> Option<PageNo> {
    let pages = one.page_count().max(other.page_count());
    (1..=pages).map(PageNo).find(|no| one.page(*no) != other.page(*no))
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
