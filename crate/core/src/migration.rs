//! Migrations: the scripts that make a document's schema, each run once and in order.

use offprint_protocol::{Code, Definition, Error, Touched};
use rusqlite::Batch;
use rusqlite::fallible_iterator::FallibleIterator;

use crate::authorizer::{Mode, unsteady};
use crate::sqlite::{Database, Link, MUTATION_STEPS, error, is_fatal};
use crate::statement::split;
use crate::vfs;

impl Database {
    /// The number of migrations that the document has seen.
    pub fn schema_version(&mut self) -> Result<usize, Error> {
        self.refresh()?;
        let link = &self.writer;
        link.watch.start(Mode::Own);
        let version: i64 = link
            .sqlite
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(|e| self.blame_fault(error(e)))?;
        usize::try_from(version).map_err(|_| Error::new(Code::Corrupt, "PRAGMA user_version is negative"))
    }

    /// Checks every page and index, or fails with `corrupt`.
    pub(crate) fn check_integrity(&mut self) -> Result<(), Error> {
        self.refresh()?;
        let link = &self.writer;
        link.watch.start(Mode::Own);
        let corrupt = |why: &str| Error::new(Code::Corrupt, format!("not a sound SQLite database: {why}"));
        let said = link.sqlite.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0));
        match said.map_err(|e| corrupt(&error(e).message))?.as_str() {
            "ok" => Ok(()),
            why => Err(corrupt(why)),
        }
    }

    /// Runs the migrations that the document has not seen, all or none, in a transaction of their own. A document
    /// that has seen more than there are is left as it is.
    pub fn migrate(&mut self, definition: &Definition) -> Result<Touched, Error> {
        let version = self.schema_version()?;
        if version >= definition.migrations.len() {
            return Ok(Touched::none());
        }
        // A table is rebuilt by dropping it, which must not cascade; the keys are checked afterwards.
        self.writer.execute("PRAGMA foreign_keys = OFF")?;
        let result = self.transaction(|database| {
            for (index, script) in definition.migrations.iter().enumerate().skip(version) {
                run_script(&database.writer, script, index + 1).map_err(|error| {
                    let error = database.blame_fault(error);
                    if is_fatal(&error) { error } else { bad(index + 1, &error.message) }
                })?;
            }
            check_foreign_keys(&database.writer, definition.migrations.len())
        });
        self.writer.execute("PRAGMA foreign_keys = ON")?;
        result?;
        self.schema_changed()?;
        Ok(Touched::All)
    }
}

fn run_script(link: &Link, script: &str, number: usize) -> Result<(), Error> {
    if split(script).iter().any(|statement| statement.has_rollback) {
        return Err(Error::new(Code::Forbidden, "ROLLBACK would undo other mutations too: use ABORT"));
    }
    vfs::set_clock(None);
    link.watch.start(Mode::Migration);
    link.budget.allow(MUTATION_STEPS);
    let mut batch = Batch::new(&link.sqlite, script);
    while let Some(mut statement) = batch.next().map_err(|problem| link.explain(problem))? {
        if statement.parameter_count() != 0 {
            return Err(Error::new(Code::Sql, "a migration has no parameters"));
        }
        let mut rows = statement.raw_query();
        while rows.next().map_err(|problem| link.explain(problem))?.is_some() {}
        if vfs::clock_was_asked() {
            return Err(unsteady("the current time"));
        }
    }
    link.watch.start(Mode::Own);
    link.sqlite.execute_batch(&format!("PRAGMA user_version = {number}")).map_err(error)
}

fn check_foreign_keys(link: &Link, last: usize) -> Result<(), Error> {
    link.watch.start(Mode::Own);
    link.budget.allow(u64::MAX);
    let mut statement = link.sqlite.prepare("PRAGMA foreign_key_check").map_err(error)?;
    let mut rows = statement.raw_query();
    match rows.next().map_err(error)? {
        None => Ok(()),
        Some(row) => {
            let table: String = row.get(0).map_err(error)?;
            Err(bad(last, &format!("a row of {table} refers to one that does not exist")))
        }
    }
}

fn bad(number: usize, why: &str) -> Error {
    Error::new(Code::BadDefinition, format!("migration {number}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Document, definition};

    #[test]
    fn missing_migrations_are_run_once_each_and_in_order() {
        let mut doc = Document::empty();
        let one = definition(&["CREATE TABLE t (x); INSERT INTO t VALUES (1);"], &[]);
        let two = definition(
            &[&one.migrations[0], "ALTER TABLE t ADD COLUMN y NOT NULL DEFAULT 2 CHECK (y > 1)"],
            &[],
        );
        assert_eq!(doc.db.schema_version().unwrap(), 0);
        assert_eq!(doc.db.migrate(&one).unwrap(), Touched::All);
        assert_eq!(doc.db.migrate(&one).unwrap(), Touched::none());
        assert_eq!(doc.db.migrate(&two).unwrap(), Touched::All);
        assert_eq!(doc.db.schema_version().unwrap(), 2);
        assert_eq!(doc.number("SELECT x + y FROM t"), 3);
        assert_eq!(doc.db.migrate(&one).unwrap(), Touched::none(), "a document that is ahead is left alone");
    }

    #[test]
    fn a_migration_that_fails_names_itself_and_leaves_nothing() {
        let first = "CREATE TABLE t (x)";
        for bad in [
            "CREATE TABLE u (x); INSERT INTO missing VALUES (1)",
            "CREATE TABLE u (x); COMMIT",
            "BEGIN",
            "PRAGMA user_version = 9",
            "ATTACH 'x' AS y",
            "CREATE TEMP TABLE u (x)",
            "CREATE TABLE u (x UNIQUE ON CONFLICT ROLLBACK)",
            "INSERT INTO t VALUES (datetime('now'))",
            "INSERT INTO t VALUES (random())",
            "INSERT INTO t VALUES (:x)",
            "CREATE VIRTUAL TABLE u USING nothing",
            "CREATE TABLE p (id PRIMARY KEY); CREATE TABLE c (p REFERENCES p); INSERT INTO c VALUES (1)",
            "SELECT '",
        ] {
            let mut doc = Document::empty();
            let error = doc.db.migrate(&definition(&[first, bad], &[])).expect_err(bad);
            assert_eq!(error.code, Code::BadDefinition, "{bad}");
            assert!(error.message.starts_with("migration 2: "), "{bad}: {error}");
            assert_eq!(doc.db.schema_version().unwrap(), 0, "{bad}");
            assert!(!doc.db.pages().has_overlay(), "{bad}");
            doc.db.migrate(&definition(&[first], &[])).unwrap();
            let orphan = "SELECT 1 FROM pragma_foreign_key_list('t')";
            assert!(doc.rows(orphan).is_empty());
        }
    }

    #[test]
    fn a_table_is_rebuilt_without_cascading_and_keys_hold_afterwards() {
        let mut doc = Document::new(
            "CREATE TABLE p (id INTEGER PRIMARY KEY, x);
             CREATE TABLE c (p REFERENCES p ON DELETE CASCADE);
             INSERT INTO p VALUES (1, 2); INSERT INTO c VALUES (1);",
            &[],
        );
        let rebuild =
            "CREATE TABLE q (id INTEGER PRIMARY KEY, x TEXT NOT NULL); INSERT INTO q SELECT id, x FROM p;
             DROP TABLE p; ALTER TABLE q RENAME TO p; CREATE INDEX i ON p (x); ANALYZE;";
        doc.db.migrate(&definition(&["SELECT 1", rebuild], &[])).unwrap();
        assert_eq!(doc.number("SELECT count(*) FROM c"), 1);
        assert_eq!(doc.refusal("INSERT INTO c VALUES (9)"), Code::Constraint);
        doc.run_sql("DELETE FROM p", &[]).unwrap();
        assert_eq!(doc.number("SELECT count(*) FROM c"), 0);
    }

    #[test]
    fn triggers_with_semicolons_are_one_statement() {
        let mut doc = Document::new(
            "CREATE TABLE t (x); CREATE TABLE n (c INTEGER); INSERT INTO n VALUES (0);
             CREATE TRIGGER a AFTER INSERT ON t BEGIN UPDATE n SET c = c + 1; UPDATE n SET c = c * 2; END;",
            &[],
        );
        doc.run_sql("INSERT INTO t VALUES (1)", &[]).unwrap();
        assert_eq!(doc.number("SELECT c FROM n"), 2);
    }
}
