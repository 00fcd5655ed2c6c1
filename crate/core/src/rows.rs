//! The rows of a query as one buffer (PROTOCOL.md, Rows).

use offprint_protocol::rpc::Select;
use offprint_protocol::{Code, Error, Touched, Value, Writer};
use rusqlite::Statement;
use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::authorizer::{Mode, Uses};
use crate::sqlite::{Database, Link, QUERY_STEPS, error};
use crate::statement::split;
use crate::vfs;

/// A query's result.
#[derive(Debug, Clone, PartialEq)]
pub struct Selected {
    /// The rows, encoded.
    pub rows: Vec<u8>,
    /// The tables that it depends on; `All` if that cannot be told from its text.
    pub tables: Touched,
}

impl Database {
    /// Runs one read-only statement.
    pub fn query(&mut self, select: &Select) -> Result<Selected, Error> {
        self.refresh()?;
        let result = self.try_query(select);
        vfs::set_clock(None);
        result.map_err(|error| self.blame_fault(error))
    }

    fn try_query(&self, select: &Select) -> Result<Selected, Error> {
        let statements = split(&select.sql);
        let [statement] = statements.as_slice() else {
            return Err(Error::new(Code::Sql, format!("a query is one statement, not {}", statements.len())));
        };
        let sql = statement.text;
        let link = &self.reader;
        link.watch.start(Mode::Query);
        link.budget.allow_in_time(QUERY_STEPS);
        vfs::set_clock(self.now());
        let (mut prepared, _) = link.prepare(sql)?;
        if !prepared.readonly() {
            prepared.discard();
            return Err(Error::new(Code::Forbidden, "a query only reads: use a mutator to write"));
        }
        bind(&mut prepared, &select.params)?;
        let rows = encode_rows(link, &mut prepared, self.most_rows)?;
        drop(prepared);
        let uses = link.learn(sql);
        Ok(Selected { rows, tables: dependencies(link, &uses)? })
    }
}

fn bind(statement: &mut Statement<'_>, params: &[Value]) -> Result<(), Error> {
    let expected = statement.parameter_count();
    if expected != params.len() {
        return Err(Error::new(
            Code::BadArgument,
            format!("the query has {expected} parameters, and {} values were given", params.len()),
        ));
    }
    for (index, value) in params.iter().enumerate() {
        statement.raw_bind_parameter(index + 1, to_sql(value)).map_err(error)?;
    }
    Ok(())
}

/// A value as SQLite takes it; NaN becomes NULL there.
pub(crate) fn to_sql(value: &Value) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(match value {
        Value::Null => ValueRef::Null,
        Value::Integer(value) => ValueRef::Integer(*value),
        Value::Real(value) => ValueRef::Real(*value),
        Value::Text(text) => ValueRef::Text(text.as_bytes()),
        Value::Blob(bytes) => ValueRef::Blob(bytes),
    })
}

fn encode_rows(link: &Link, statement: &mut Statement<'_>, most: usize) -> Result<Vec<u8>, Error> {
    let columns = statement.column_count();
    let mut out = Writer::new();
    out.varint(columns as u64);
    for column in 0..columns {
        out.str(statement.column_name(column).map_err(error)?);
    }
    let mut cells = Writer::new();
    let mut count = 0u64;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(|problem| link.explain(problem))? {
        for column in 0..columns {
            encode_cell(&mut cells, row.get_ref(column).map_err(error)?);
        }
        count += 1;
        if cells.len() > most {
            return Err(Error::new(Code::TooLarge, format!("the result exceeds {most} bytes")));
        }
    }
    if vfs::clock_was_asked() {
        return Err(Error::new(
            Code::Nondeterministic,
            "the query asks for the time, which is not known here",
        ));
    }
    Ok({
        out.varint(count).raw(&cells.finish());
        out.finish()
    })
}

fn encode_cell(out: &mut Writer, cell: ValueRef<'_>) {
    match cell {
        ValueRef::Null => out.u8(0),
        ValueRef::Integer(value) => out.u8(1).zigzag(value),
        ValueRef::Real(value) => out.u8(2).u64(value.to_bits()),
        ValueRef::Text(bytes) => out.u8(3).bytes(bytes),
        ValueRef::Blob(bytes) => out.u8(4).bytes(bytes),
    };
}

/// The tables read; a virtual table, or one that SQLite keeps for itself, may change with any other.
fn dependencies(link: &Link, uses: &Uses) -> Result<Touched, Error> {
    if let Some(known) = uses.dependencies.get() {
        return Ok(known.clone());
    }
    let unsteady =
        uses.reads.iter().any(|name| name.starts_with("sqlite_")) || reads_virtual_table(link, uses)?;
    let tables = if unsteady { Touched::All } else { Touched::Tables(uses.reads.iter().cloned().collect()) };
    Ok(uses.dependencies.get_or_init(|| tables).clone())
}

fn reads_virtual_table(link: &Link, uses: &Uses) -> Result<bool, Error> {
    link.watch.start(Mode::Own);
    link.budget.allow(u64::MAX);
    let sql = "--\nSELECT lower(name) FROM pragma_table_list WHERE schema = 'main' AND type = 'virtual'";
    let mut statement = link.sqlite.prepare_cached(sql).map_err(error)?;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(error)? {
        if uses.reads.contains(row.get_ref(0).and_then(|name| Ok(name.as_str()?)).map_err(error)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::budget::{Clock, QueryLimit, TimeLimit};
    use crate::testing::{Document, decode, select, tables};

    fn params(sql: &str, params: &[Value]) -> Select {
        Select { sql: sql.into(), params: params.to_vec() }
    }

    #[test]
    fn every_kind_of_value_comes_back_as_it_is() {
        let mut doc = Document::new("CREATE TABLE t (v)", &[]);
        let values = [
            Value::Null,
            Value::Integer(9_007_199_254_740_993),
            Value::Integer(i64::MIN),
            Value::Real(-0.5),
            Value::Real(f64::INFINITY),
            Value::Text("ü\0x".into()),
            Value::Text(String::new()),
            Value::Blob(vec![]),
            Value::Blob(vec![0, 255]),
        ];
        for value in values {
            let selected =
                doc.db.query(&params("SELECT ? AS \"a b\"", std::slice::from_ref(&value))).unwrap();
            assert_eq!(decode(&selected.rows), (vec!["a b".to_owned()], vec![vec![value]]));
            assert_eq!(selected.tables, tables(&[]));
        }
        let nan = doc.db.query(&params("SELECT ?", &[Value::Real(f64::NAN)])).unwrap();
        assert_eq!(decode(&nan.rows).1, [[Value::Null]]);
    }

    #[test]
    fn the_buffer_is_what_the_protocol_says() {
        let mut doc = Document::empty();
        let selected = doc
            .db
            .query(&select("SELECT 1 AS n, -2 AS m, 'a' AS t, x'ff' AS b, null AS z, 1.0 AS r"))
            .unwrap();
        let expected = b"\x06\x01n\x01m\x01t\x01b\x01z\x01r\x01\x01\x02\x01\x03\x03\x01a\x04\x01\xff\x00\x02\0\0\0\0\0\0\xf0\x3f";
        assert_eq!(selected.rows, expected);
        assert_eq!(doc.db.query(&select("SELECT 1 AS n WHERE 0")).unwrap().rows, b"\x01\x01n\x00");
    }

    #[test]
    fn text_that_is_not_utf_8_is_handed_on() {
        let mut doc = Document::new("CREATE TABLE t (v); INSERT INTO t VALUES (CAST(x'ff41' AS TEXT));", &[]);
        assert_eq!(
            doc.rows("SELECT v, typeof(v) FROM t"),
            [[Value::Blob(b"\xffA".to_vec()), Value::Text("text".into())]]
        );
    }

    #[test]
    fn a_query_is_one_statement_with_a_value_for_each_parameter() {
        let mut doc = Document::empty();
        for (sql, given, code) in [
            ("", 0, Code::Sql),
            ("-- nothing", 0, Code::Sql),
            ("SELECT 1; SELECT 2", 0, Code::Sql),
            ("SELECT FROM", 0, Code::Sql),
            ("SELECT * FROM missing", 0, Code::Sql),
            ("SELECT ?", 0, Code::BadArgument),
            ("SELECT ?", 2, Code::BadArgument),
            ("SELECT ?2", 1, Code::BadArgument),
        ] {
            let error = doc.db.query(&params(sql, &vec![Value::Null; given])).expect_err(sql);
            assert_eq!(error.code, code, "{sql}: {error}");
        }
        doc.db.query(&select("SELECT 1; -- and a comment;")).unwrap();
    }

    #[test]
    fn a_query_only_reads() {
        let mut doc = Document::new("CREATE TABLE t (x); CREATE INDEX i ON t (x);", &[]);
        for sql in [
            "INSERT INTO t VALUES (1)",
            "INSERT INTO t VALUES (1) RETURNING x",
            "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
            "DELETE FROM t",
            "UPDATE t SET x = 1",
            "CREATE VIRTUAL TABLE f USING fts5(x)",
            "CREATE TABLE u (x)",
            "CREATE TEMP TABLE u (x)",
            "DROP TABLE t",
            "PRAGMA query_only = OFF",
            "PRAGMA user_version = 1",
            "PRAGMA wal_checkpoint",
            "ATTACH ':memory:' AS x",
            "BEGIN",
            "BEGIN IMMEDIATE",
            "COMMIT",
            "ROLLBACK",
            "SAVEPOINT a",
            "VACUUM",
            "VACUUM INTO '/tmp/offprint-must-not-exist'",
            "ANALYZE",
            "REINDEX",
            "SELECT load_extension('x')",
            "SELECT * FROM sqlite_dbpage",
        ] {
            for _ in 0..2 {
                let error = doc.db.query(&select(sql)).expect_err(sql);
                // One of them is compiled into only one of the two SQLites.
                let absent = sql.contains("dbpage") && error.code == Code::Sql;
                assert!(error.code == Code::Forbidden || absent, "{sql}: {error}");
            }
        }
        assert!(!std::path::Path::new("/tmp/offprint-must-not-exist").exists());
        assert_eq!(doc.number("SELECT count(*) FROM t"), 0);
    }

    #[test]
    fn table_valued_functions_can_be_read() {
        let mut doc = Document::new("CREATE TABLE t (id INTEGER PRIMARY KEY, body);", &[]);
        for _ in 0..2 {
            assert_eq!(doc.number("SELECT sum(value) FROM json_each('[1, 2, 3]')"), 6);
            assert_eq!(doc.number("SELECT count(*) FROM pragma_table_info('t')"), 2);
        }
        let tables_of = |doc: &mut Document, sql: &str| doc.db.query(&select(sql)).unwrap().tables;
        assert_eq!(tables_of(&mut doc, "SELECT name FROM sqlite_schema"), Touched::All);
        assert_eq!(tables_of(&mut doc, "SELECT value FROM json_each('[1]')"), tables(&["json_each"]));
    }

    #[test]
    fn the_tables_a_query_depends_on_are_all_named() {
        let mut doc = Document::new(
            "CREATE TABLE A (x); CREATE TABLE b (x); CREATE TABLE c (x); CREATE VIEW v AS SELECT x FROM b;
             CREATE TABLE w (k PRIMARY KEY) WITHOUT ROWID;",
            &[],
        );
        for (sql, expected) in [
            ("SELECT count(*) FROM a", &["a"][..]),
            ("SELECT 1 FROM A LIMIT 0", &["a"]),
            ("SELECT x FROM v", &["b", "v"]),
            ("SELECT 1 WHERE EXISTS (SELECT 1 FROM c)", &["c"]),
            ("WITH q AS (SELECT x FROM a) SELECT * FROM q JOIN w ON k = x", &["a", "w"]),
        ] {
            for _ in 0..2 {
                assert_eq!(doc.db.query(&select(sql)).unwrap().tables, tables(expected), "{sql}");
            }
        }
    }

    #[test]
    fn a_query_may_ask_for_time_once_it_is_known_and_for_randomness() {
        let mut doc = Document::empty();
        for sql in ["SELECT datetime('now')", "SELECT current_timestamp", "SELECT date()"] {
            assert_eq!(doc.db.query(&select(sql)).unwrap_err().code, Code::Nondeterministic, "{sql}");
        }
        doc.db.set_now(1_700_000_000_000);
        assert_eq!(doc.rows("SELECT datetime('now')"), [[Value::Text("2023-11-14 22:13:20".into())]]);
        assert_eq!(doc.number("SELECT typeof(random()) = 'integer'"), 1);
        assert_eq!(doc.refusal("SELECT datetime('now')"), Code::Nondeterministic, "a mutator may still not");
    }

    #[test]
    fn a_result_or_a_run_without_end_is_stopped() {
        let mut doc = Document::empty();
        let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT";
        let error = doc.db.query(&select(&format!("{endless} randomblob(1000000) FROM n"))).unwrap_err();
        assert_eq!(error.code, Code::TooLarge);
        let error = doc.db.query(&select(&format!("{endless} 1 FROM n WHERE i < 0"))).unwrap_err();
        assert_eq!(error.code, Code::Limit);
        assert_eq!(doc.number("SELECT 1"), 1);
    }

    fn limit() -> QueryLimit {
        let clock: Clock = Arc::new(|| Duration::ZERO);
        let time = TimeLimit { clock, most: Duration::from_secs(1) };
        QueryLimit { time, is_needless: Arc::new(|| false), bytes: 1000, memory: 100 << 20 }
    }

    const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";

    #[test]
    fn a_query_for_somebody_else_ends_when_its_time_is_over_or_nobody_waits() {
        // Long before its steps are over, as each of them takes long.
        let endless = format!("{ENDLESS} SELECT 1 FROM n WHERE randomblob(100000) IS NULL");
        let ticks = Arc::new(AtomicU64::new(0));
        let mut doc = Document::empty();
        let clock: Clock =
            Arc::new(move || Duration::from_millis(100 * ticks.fetch_add(1, Ordering::Relaxed)));
        let time = TimeLimit { clock, most: Duration::from_secs(1) };
        doc.db.limit_queries(QueryLimit { bytes: 100_000, time, ..limit() }).unwrap();
        assert_eq!(doc.db.query(&select(&endless)).unwrap_err().code, Code::Limit);
        assert_eq!(doc.number("SELECT 1"), 1, "the next has time of its own");
        let mut doc = Document::empty();
        let asked = AtomicU64::new(0);
        let is_needless = Arc::new(move || asked.fetch_add(1, Ordering::Relaxed) == 10);
        doc.db.limit_queries(QueryLimit { bytes: 100_000, is_needless, ..limit() }).unwrap();
        assert_eq!(doc.db.query(&select(&endless)).unwrap_err().code, Code::Limit);
    }

    #[test]
    fn a_query_for_somebody_else_takes_neither_more_memory_nor_more_bytes_than_it_may() {
        let mut doc = Document::empty();
        doc.db.limit_queries(QueryLimit { bytes: 1 << 20, ..limit() }).unwrap();
        let sorted =
            format!("{ENDLESS} SELECT length(b) FROM (SELECT randomblob(1000000) AS b FROM n ORDER BY 1)");
        assert_eq!(doc.db.query(&select(&sorted)).unwrap_err().code, Code::Limit);
        let mut doc = Document::empty();
        doc.db.limit_queries(limit()).unwrap();
        assert_eq!(doc.rows("SELECT length(zeroblob(900))"), [[Value::Integer(900)]]);
        for sql in [
            &format!("{ENDLESS} SELECT NULL FROM n"),
            "SELECT length(replace(hex(zeroblob(500)), '0', 'ab'))",
        ] {
            assert_eq!(doc.db.query(&select(sql)).unwrap_err().code, Code::TooLarge, "{sql}");
        }
    }

    #[test]
    fn more_distinct_queries_than_are_cached_all_keep_their_tables() {
        let mut doc = Document::new("CREATE TABLE t (x)", &[]);
        for round in 0..1500 {
            let sql = format!("SELECT x FROM t WHERE x = {}", round % 700);
            assert_eq!(doc.db.query(&select(&sql)).unwrap().tables, tables(&["t"]), "{round}");
        }
    }
}
