//! SQLite's two connections to a document: one that writes, one that reads.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use offprint_protocol::{Code, Error, PAGE_SIZE};
use rusqlite::config::DbConfig;
use rusqlite::functions::FunctionFlags;
use rusqlite::limits::Limit;
use rusqlite::{CachedStatement, Connection, ErrorCode, ffi};

use crate::authorizer::{Mode, Uses, Watch, unsteady};
use crate::budget::{Budget, QueryLimit, TimeLimit};
use crate::pages::{Fault, Pages};
use crate::vfs::{self, lock};

/// Virtual machine instructions that one mutation, or one migration, may take.
pub(crate) const MUTATION_STEPS: u64 = 50_000_000;
/// Virtual machine instructions that one query may take.
pub(crate) const QUERY_STEPS: u64 = 500_000_000;
const STEPS_PER_CHECK: u16 = 1000;
/// Fewer, where each may take long and somebody else's memory.
const LIMITED_STEPS_PER_CHECK: u16 = 100;
/// A row, or a value inside a statement, in bytes.
const MAX_LENGTH: i32 = 64 << 20;
/// The most bytes that one result may have, unless less is allowed.
const MAX_ROWS: usize = 64 << 20;
const CACHED_STATEMENTS: usize = 256;

/// A document as SQLite sees it: pages below, SQL above.
pub struct Database {
    pages: Arc<Mutex<Pages>>,
    pub(crate) writer: Link,
    pub(crate) reader: Link,
    open: bool,
    now: Option<u64>,
    schema: Option<blake3::Hash>,
    /// The most bytes that one result may have.
    pub(crate) most_rows: usize,
}

/// One connection and what its prepared statements use.
pub(crate) struct Link {
    pub(crate) sqlite: Connection,
    pub(crate) watch: Watch,
    uses: RefCell<HashMap<String, Arc<Uses>>>,
    pub(crate) budget: Arc<Budget>,
    /// What the mutation that ran last took.
    pub(crate) work: Cell<u64>,
}

impl Database {
    /// Opens the connections; the pages are as they will be read.
    pub fn open(pages: Pages) -> Result<Self, Error> {
        let pages = Arc::new(Mutex::new(pages));
        let writer = Link::open(&pages, true)?;
        let reader = Link::open(&pages, false)?;
        let most_rows = MAX_ROWS;
        Ok(Self { pages, writer, reader, open: false, now: None, schema: None, most_rows })
    }

    /// The pages; no transaction may be open.
    pub fn pages(&mut self) -> MutexGuard<'_, Pages> {
        assert!(!self.open, "BUG: the pages are changed under an open transaction");
        lock(&self.pages)
    }

    /// What the clock shows to queries from here on, in milliseconds since 1970. Without it they cannot ask.
    pub fn set_now(&mut self, now: u64) {
        self.now = Some(now);
    }

    pub(crate) fn now(&self) -> Option<u64> {
        self.now
    }

    /// Gives each mutation at most so much time (`limit`).
    pub fn limit_time(&self, limit: TimeLimit) {
        self.writer.budget.limit_time(limit);
    }

    /// Gives each query from here on at most so much.
    pub fn limit_queries(&mut self, limit: QueryLimit) -> Result<(), Error> {
        let QueryLimit { time, is_needless, bytes, memory } = limit;
        let most = vfs::memory_used().saturating_add(memory);
        self.reader.budget.limit_time(time);
        self.reader.budget.end_when(move || is_needless() || vfs::memory_used() > most);
        self.reader.count_steps(LIMITED_STEPS_PER_CHECK)?;
        self.most_rows = bytes;
        let length = i32::try_from(bytes).unwrap_or(MAX_LENGTH).min(MAX_LENGTH);
        self.reader.sqlite.set_limit(Limit::SQLITE_LIMIT_LENGTH, length).map(drop).map_err(error)
    }

    /// Lets the document grow to so many pages and no further; one that is larger already may only shrink.
    pub fn limit_pages(&mut self, most: u32) -> Result<(), Error> {
        self.writer.watch.start(Mode::Own);
        self.writer.sqlite.execute_batch(&format!("PRAGMA max_page_count = {most}")).map_err(error)
    }

    /// Opens the write transaction.
    pub fn begin(&mut self) -> Result<(), Error> {
        assert!(!self.open, "BUG: a transaction is open already");
        self.refresh()?;
        self.writer.execute("BEGIN IMMEDIATE").map_err(|error| self.blame_fault(error))?;
        self.open = true;
        Ok(())
    }

    /// Makes what the transaction changed visible; if that fails it is undone.
    pub fn commit(&mut self) -> Result<(), Error> {
        assert!(self.open, "BUG: no transaction is open");
        if self.is_lost() {
            self.open = false;
            return Err(Error::new(Code::Internal, "SQLite has undone the transaction already"));
        }
        let result = self.writer.execute("COMMIT").map_err(|error| self.blame_fault(error));
        if result.is_err() {
            self.rollback()?;
        }
        self.open = false;
        result
    }

    /// Undoes the transaction.
    pub fn rollback(&mut self) -> Result<(), Error> {
        if self.open && !self.is_lost() {
            self.writer.execute("ROLLBACK")?;
        }
        self.open = false;
        Ok(())
    }

    /// Runs `work` in a transaction, which is undone if it fails.
    pub fn transaction<R>(&mut self, work: impl FnOnce(&mut Self) -> Result<R, Error>) -> Result<R, Error> {
        self.begin()?;
        match work(self) {
            Ok(result) => {
                self.commit()?;
                Ok(result)
            }
            Err(error) => {
                self.rollback()?;
                Err(error)
            }
        }
    }

    /// Whether SQLite has undone the open transaction by itself, as it does when a statement that writes is
    /// interrupted; all that ran in it is gone.
    pub fn is_lost(&self) -> bool {
        self.open && self.writer.sqlite.is_autocommit()
    }

    /// What the mutation that ran last took: the instructions of its statements, and what every mutation takes.
    pub(crate) fn work(&self) -> u64 {
        self.writer.work.get()
    }

    /// Makes both connections forget the schema if another one was put under them. SQLite tells schemas apart by a
    /// counter, which two overlays may have brought to the same value.
    pub(crate) fn refresh(&mut self) -> Result<(), Error> {
        if self.open || !lock(&self.pages).take_replaced() {
            return Ok(());
        }
        let schema = self.schema_hash()?;
        if self.schema != Some(schema) {
            for link in [&self.writer, &self.reader] {
                link.execute("PRAGMA writable_schema = RESET")?;
            }
            self.schema = Some(schema);
        }
        Ok(())
    }

    /// The schema was changed by a transaction of ours, which SQLite sees.
    pub(crate) fn schema_changed(&mut self) -> Result<(), Error> {
        self.schema = Some(self.schema_hash()?);
        Ok(())
    }

    fn schema_hash(&self) -> Result<blake3::Hash, Error> {
        let link = &self.reader;
        link.watch.start(Mode::Own);
        link.budget.allow(u64::MAX);
        let mut hasher = blake3::Hasher::new();
        let fail = |problem| self.blame_fault(error(problem));
        let sql = "--\nSELECT rootpage || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_schema";
        let mut statement = link.sqlite.prepare_cached(sql).map_err(fail)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(fail)? {
            let text =
                row.get_ref(0).map_err(fail)?.as_bytes_or_null().unwrap_or_default().unwrap_or_default();
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text);
        }
        Ok(hasher.finalize())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// An error of SQLite's that was really a page that is not here says so.
    pub(crate) fn blame_fault(&self, error: Error) -> Error {
        match lock(&self.pages).take_fault() {
            Some(Fault(no)) => {
                Error::new(Code::Internal, format!("page {no} of the document is not in memory"))
            }
            None => error,
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("open", &self.open).finish_non_exhaustive()
    }
}

impl Link {
    fn open(pages: &Arc<Mutex<Pages>>, write: bool) -> Result<Self, Error> {
        let mut sqlite = vfs::connect(pages, write).map_err(error)?;
        configure(&sqlite, write)?;
        let watch = Watch::default();
        let hook = watch.clone();
        sqlite
            .authorizer(Some(move |context: rusqlite::hooks::AuthContext<'_>| hook.authorize(context)))
            .map_err(error)?;
        let budget = Arc::new(Budget::default());
        budget.allow(u64::MAX);
        if write {
            refuse_randomness(&sqlite, &watch)?;
        }
        sqlite.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        let mut link = Self { sqlite, watch, uses: RefCell::default(), budget, work: Cell::new(0) };
        link.count_steps(STEPS_PER_CHECK)?;
        Ok(link)
    }

    /// Takes the budget's steps, so many at once.
    fn count_steps(&mut self, at_once: u16) -> Result<(), Error> {
        let left = Arc::clone(&self.budget);
        let handler = move || left.take(u64::from(at_once));
        self.sqlite.progress_handler(i32::from(at_once), Some(handler)).map_err(error)
    }

    /// Runs a statement of our own, in no mode. The comment in front keeps it apart from anybody else's in the cache.
    pub(crate) fn execute(&self, sql: &'static str) -> Result<(), Error> {
        self.watch.start(Mode::Own);
        self.budget.allow(u64::MAX);
        let mut own = String::with_capacity(32);
        own.push_str("--\n");
        own.push_str(sql);
        self.sqlite.prepare_cached(&own).and_then(|mut statement| statement.raw_execute()).map_err(error)?;
        Ok(())
    }

    /// Prepares a statement in the mode that the watch is in, from the cache if it is there.
    pub(crate) fn prepare(&self, sql: &str) -> Result<(CachedStatement<'_>, Arc<Uses>), Error> {
        if self.uses.borrow().len() > 2 * CACHED_STATEMENTS {
            // Nothing may be cached whose uses are not known.
            self.sqlite.flush_prepared_statement_cache();
            self.uses.borrow_mut().clear();
        }
        let statement = self.sqlite.prepare_cached(sql).map_err(|problem| self.explain(problem))?;
        let uses = self.learn(sql);
        Ok((statement, uses))
    }

    /// What a statement uses, with what was learned while it was prepared or, by SQLite itself, prepared again.
    pub(crate) fn learn(&self, sql: &str) -> Arc<Uses> {
        let mut known = self.uses.borrow_mut();
        match (known.get_mut(sql), self.watch.take_uses()) {
            (Some(uses), None) => Arc::clone(uses),
            (Some(uses), Some(more)) => {
                Arc::make_mut(uses).extend(more);
                Arc::clone(uses)
            }
            (None, more) => {
                let uses = Arc::new(more.unwrap_or_default());
                known.insert(sql.to_owned(), Arc::clone(&uses));
                uses
            }
        }
    }

    /// An error of SQLite's, or the reason why it was told to fail.
    pub(crate) fn explain(&self, problem: rusqlite::Error) -> Error {
        if let Some(refusal) = self.watch.take_refusal() {
            return refusal;
        }
        if vfs::clock_was_asked() {
            return unsteady("the current time");
        }
        error(problem)
    }
}

/// `random()` may hide in a column's DEFAULT, where the authorizer does not see it.
fn refuse_randomness(sqlite: &Connection, watch: &Watch) -> Result<(), Error> {
    for (name, arity) in [("random", 0), ("randomblob", 1)] {
        let watch = watch.clone();
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
        sqlite
            .create_scalar_function(name, arity, flags, move |_| -> rusqlite::Result<i64> {
                let refusal = unsteady(&format!("{name}()"));
                watch.refuse(refusal.clone());
                Err(rusqlite::Error::UserFunctionError(refusal.into()))
            })
            .map_err(error)?;
    }
    Ok(())
}

fn configure(sqlite: &Connection, write: bool) -> Result<(), Error> {
    // The page size first: every other pragma may read the file and settle it.
    let pragmas = [
        ("page_size", PAGE_SIZE.to_string(), PAGE_SIZE.to_string()),
        ("journal_mode", "MEMORY".into(), "memory".into()),
        ("locking_mode", "NORMAL".into(), "normal".into()),
        ("synchronous", "OFF".into(), "0".into()),
        ("temp_store", "MEMORY".into(), "2".into()),
        ("cache_spill", "OFF".into(), "0".into()),
        // 8 MiB: a scan that misses the cache copies each page once more.
        ("cache_size", "-8192".into(), "-8192".into()),
        ("foreign_keys", "ON".into(), "1".into()),
        ("trusted_schema", "OFF".into(), "0".into()),
        ("query_only", if write { "OFF" } else { "ON" }.into(), u8::from(!write).to_string()),
    ];
    for (name, value, expected) in pragmas {
        sqlite.execute_batch(&format!("PRAGMA {name} = {value}")).map_err(error)?;
        let found = sqlite
            .query_row(&format!("PRAGMA {name}"), [], |row| {
                Ok(match row.get_ref(0)? {
                    rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                    other => other.as_str()?.to_owned(),
                })
            })
            .map_err(error)?;
        if found != expected {
            return Err(Error::new(Code::Corrupt, format!("PRAGMA {name} is {found}, not {expected}")));
        }
    }
    let switches = [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
    ];
    for (switch, on) in switches {
        sqlite.set_db_config(switch, on).map_err(error)?;
    }
    let limits = [
        (Limit::SQLITE_LIMIT_LENGTH, MAX_LENGTH),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 1_000_000),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 250),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 100),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ];
    for (limit, value) in limits {
        sqlite.set_limit(limit, value).map_err(error)?;
    }
    Ok(())
}

/// SQLite's errors in our words.
pub(crate) fn error(problem: rusqlite::Error) -> Error {
    let (failure, message) = match problem {
        rusqlite::Error::SqliteFailure(failure, message) => (failure, message),
        rusqlite::Error::SqlInputError { error, msg, .. } => (error, Some(msg)),
        other => return Error::new(Code::Sql, other.to_string()),
    };
    let message = message.unwrap_or_else(|| ffi::code_to_str(failure.extended_code).to_owned());
    let code = match failure.code {
        ErrorCode::ConstraintViolation => Code::Constraint,
        ErrorCode::AuthorizationForStatementDenied | ErrorCode::ReadOnly => Code::Forbidden,
        ErrorCode::TooBig => Code::TooLarge,
        ErrorCode::OperationInterrupted => {
            return Error::new(Code::Limit, "it takes more steps, or more time, than it may");
        }
        ErrorCode::DiskFull => {
            return Error::new(
                Code::Limit,
                "the document would exceed its largest size, or a rowid has reached its highest value",
            );
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Code::Corrupt,
        ErrorCode::OutOfMemory
        | ErrorCode::SystemIoFailure
        | ErrorCode::CannotOpen
        | ErrorCode::InternalMalfunction
        | ErrorCode::ApiMisuse
        | ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked => Code::Internal,
        _ => Code::Sql,
    };
    Error::new(code, message)
}

/// Whether the document failed, not what was run on it.
pub(crate) fn is_fatal(error: &Error) -> bool {
    matches!(error.code, Code::Internal | Code::Corrupt)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::image::Image;
    use crate::testing::{Document, args, select};
    use offprint_protocol::{JournalId, Page, PageNo, Touched, Value};

    #[test]
    fn documents_do_not_see_each_other_from_any_thread() {
        let threads: Vec<_> = (0..8)
            .map(|own| {
                std::thread::spawn(move || {
                    let mut doc =
                        Document::new("CREATE TABLE t (x)", &[("add", "INSERT INTO t VALUES (:x)")]);
                    for _ in 0..200 {
                        doc.run("add", &args([("x", Value::Integer(own))])).unwrap();
                        assert_eq!(doc.refusal("SELECT datetime('now')"), Code::Nondeterministic);
                        doc.db.set_now(own as u64 * 1000);
                        assert_eq!(doc.number("SELECT unixepoch()"), own);
                    }
                    doc
                })
            })
            .collect();
        for (own, thread) in (0..).zip(threads) {
            let mut doc = thread.join().unwrap();
            assert_eq!(doc.number("SELECT count(*) FROM t"), 200);
            assert_eq!(doc.number("SELECT min(x) FROM t"), own);
        }
    }

    #[test]
    fn both_connections_let_go_of_the_pages() {
        let doc = Document::new("CREATE TABLE t (x)", &[]);
        let pages = Arc::downgrade(&doc.db.pages);
        drop(doc);
        assert!(pages.upgrade().is_none());
    }

    #[test]
    fn large_sorts_and_large_transactions_need_no_file() {
        let mut doc = Document::new("CREATE TABLE t (x, y)", &[]);
        let fill =
            "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
             SELECT i * 7919 % 100003, hex(zeroblob(50)) FROM n";
        doc.run_sql(fill, &[]).unwrap();
        doc.run_sql("UPDATE t SET x = x + 1; CREATE_NOTHING", &[]).unwrap_err();
        assert_eq!(
            doc.number("SELECT x FROM (SELECT x, y FROM t ORDER BY y, x LIMIT 1 OFFSET 99999)"),
            100_002
        );
        let distinct = "SELECT count(*) FROM (SELECT DISTINCT x || y FROM t UNION SELECT x || y FROM t)";
        assert_eq!(doc.number(distinct), 100_000);
    }

    #[test]
    fn a_transaction_that_sqlite_undid_cannot_be_committed() {
        let mut doc = Document::new("CREATE TABLE t (x)", &[]);
        doc.db.begin().unwrap();
        doc.db.writer.sqlite.execute_batch("INSERT INTO t VALUES (1); ROLLBACK").unwrap();
        assert!(doc.db.is_lost());
        assert_eq!(doc.db.commit().unwrap_err().code, Code::Internal);
        doc.run_sql("INSERT INTO t VALUES (2)", &[]).unwrap();
        assert_eq!(doc.number("SELECT sum(x) FROM t"), 2);
    }

    #[test]
    fn a_full_table_takes_no_other_mutation_with_it() {
        let mut doc = Document::new(
            "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, x);
             CREATE TABLE u (x);
             INSERT INTO t VALUES (9223372036854775807, 1);",
            &[
                ("fill", "INSERT INTO u VALUES (:x); INSERT INTO t (x) VALUES (:x)"),
                ("add", "INSERT INTO u VALUES (:x)"),
            ],
        );
        let [a, b, c] = [1, 2, 4].map(|x| args([("x", Value::Integer(x))]));
        let results = doc.db.run_batch(&doc.mutators, &[("add", &a), ("fill", &b), ("add", &c)]).unwrap();
        assert!(results[0].is_ok() && results[2].is_ok());
        assert_eq!(results[1].clone().unwrap_err().code, Code::Limit);
        assert_eq!(doc.number("SELECT sum(x) FROM u"), 5);
    }

    #[test]
    fn pages_that_are_no_database_are_corrupt_and_nothing_worse() {
        let journal = JournalId([7; 16]);
        let image_of = |pages: BTreeMap<PageNo, Page>| {
            let mut image = Image::empty(journal);
            let page_count = pages.len() as u32;
            image.apply_commit(&image.commit_of(&pages, page_count, Touched::All)).unwrap();
            image
        };
        let mut noise = Page::zeroed();
        noise.make_mut().fill(0xa5);
        let image = image_of([(PageNo(1), noise.clone())].into());
        assert_eq!(Database::open(Pages::new(image)).unwrap_err().code, Code::Corrupt);

        let mut doc = Document::new(
            "CREATE TABLE t (x); CREATE INDEX i ON t (x)",
            &[("add", "INSERT INTO t VALUES (1)")],
        );
        let good: BTreeMap<_, _> = doc.db.pages().overlay().clone();
        let mut x = 1u64;
        for _ in 0..300 {
            let mut bad = good.clone();
            for _ in 0..8 {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let no = PageNo(1 + (x >> 33) as u32 % 3);
                let at = if no.0 == 1 { (x >> 40) as usize % 200 } else { (x >> 40) as usize % 4096 };
                bad.get_mut(&no).unwrap().make_mut()[at] = (x >> 56) as u8;
            }
            let Ok(mut db) = Database::open(Pages::new(image_of(bad))) else { continue };
            let _ = db.query(&select("SELECT * FROM t ORDER BY x"));
            let _ = db.run_batch(&doc.mutators, &[("add", &[])]);
            let _ = db.query(&select("SELECT count(*) FROM t"));
        }
        let mut bad = good;
        bad.insert(PageNo(2), noise);
        let mut db = Database::open(Pages::new(image_of(bad))).unwrap();
        assert_eq!(db.query(&select("SELECT * FROM t")).unwrap_err().code, Code::Corrupt);
        assert_eq!(db.run_batch(&doc.mutators, &[("add", &[])]).unwrap_err().code, Code::Corrupt);
    }
}
