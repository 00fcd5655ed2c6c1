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
        let link = &self.writer;
        link.watch.start(Mode::Own);
        let version: i64 = link
            .sqlite
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(|e| self.blame_fault(error(e)))?;
        usize::try_from(version).map_err(|_| Error::new(Code::Corrupt, "PRAGMA user_version is negative"))
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
        result.map(|()| Touched::All)
    }
}

fn run_script(link: &Link, script: &str, number: usize) -> Result<(), Error> {
    if split(script).iter().any(|statement| statement.has_rollback) {
        return Err(Error::new(Code::Forbidden, "ROLLBACK would undo other mutations too: use ABORT"));
    }
    vfs::set_clock(None);
    link.watch.start(Mode::Migration);
    link.allow_steps(MUTATION_STEPS);
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
    link.allow_steps(u64::MAX);
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
