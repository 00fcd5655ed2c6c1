//! Mutators: an app's named SQL, run so that it either happens as a whole or leaves no trace.

use std::collections::BTreeMap;

use offprint_protocol::{Argument, Code, Definition, Error, Touched, Value};
use rusqlite::StatementStatus;

use crate::authorizer::{Mode, unsteady};
use crate::rows::to_sql;
use crate::sqlite::{Database, Link, MUTATION_STEPS, error, is_fatal};
use crate::statement::{is_local_time, split};
use crate::vfs;

/// The most bytes that one argument, or all of a mutation's together, may have.
pub const MAX_ARGUMENT_BYTES: usize = 1_000_000;

/// A definition's mutators, ready to run.
#[derive(Debug, Clone)]
pub struct Mutators {
    by_name: BTreeMap<String, Mutator>,
    most: usize,
}

#[derive(Debug, Clone)]
struct Mutator {
    statements: Vec<String>,
    /// Without their first character, ascending.
    params: Vec<String>,
    refused: Option<Error>,
}

/// What a mutation takes beside the instructions of its statements, counted in such instructions.
pub(crate) const MUTATION_WORK: u64 = 200;

/// One mutation of a batch: the mutator's name and the arguments.
pub type Call<'a> = (&'a str, &'a [Argument]);

/// A mutation that was run.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The tables it wrote, or why it left no trace.
    pub(crate) result: Result<Touched, Error>,
    /// What it took.
    pub(crate) work: u64,
}

impl Default for Mutators {
    fn default() -> Self {
        Self { by_name: BTreeMap::new(), most: MAX_ARGUMENT_BYTES }
    }
}

impl Mutators {
    /// Cuts the SQL up; fails with `bad_definition` if a mutator has no statement or an unnamed parameter.
    pub fn compile(definition: &Definition) -> Result<Self, Error> {
        let compile = |(name, source): (&String, &offprint_protocol::MutatorSource)| {
            let bad = |why: &str| Error::new(Code::BadDefinition, format!("mutator {name:?} {why}"));
            Ok((name.clone(), Mutator::compile(&source.sql).map_err(bad)?))
        };
        let by_name = definition.mutators.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { by_name, most: MAX_ARGUMENT_BYTES })
    }

    /// Lets a mutation's arguments together have at most so many bytes, if that is less than [`MAX_ARGUMENT_BYTES`].
    pub fn limit_arguments(&mut self, most: usize) {
        self.most = most.min(MAX_ARGUMENT_BYTES);
    }

    fn get(&self, name: &str) -> Result<&Mutator, Error> {
        self.by_name.get(name).ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            Error::new(Code::UnknownMutator, format!("no mutator is named {shown:?}"))
        })
    }
}

impl Mutator {
    fn compile(sql: &str) -> Result<Self, &'static str> {
        let found = split(sql);
        if found.is_empty() {
            return Err("has no statement");
        }
        let mut params = Vec::new();
        for param in found.iter().flat_map(|statement| &statement.params) {
            if param.starts_with(['?', '#']) {
                return Err("has a parameter without a name: write :name");
            }
            params.push(param[1..].to_owned());
        }
        params.sort_unstable();
        params.dedup();
        let refused = if found.iter().any(|statement| statement.has_rollback) {
            Some(Error::new(Code::Forbidden, "ROLLBACK would undo other mutations too: use ABORT"))
        } else if found.iter().any(|statement| statement.has_local_time) {
            Some(unsteady("local time"))
        } else {
            None
        };
        let statements = found.iter().map(|statement| statement.text.to_owned()).collect();
        Ok(Self { statements, params, refused })
    }

    fn check(&self, args: &[Argument], most: usize) -> Result<(), Error> {
        let is_given = |name: &String| args.iter().any(|arg| arg.name == *name);
        let missing: Vec<_> = self.params.iter().filter(|name| !is_given(name)).map(String::as_str).collect();
        if !missing.is_empty() {
            return Err(Error::new(Code::BadArgument, format!("missing arguments: {}", missing.join(", "))));
        }
        if args.len() != self.params.len() {
            let is_known = |arg: &&Argument| !self.params.contains(&arg.name);
            let extra: Vec<_> = args
                .iter()
                .filter(is_known)
                .take(16)
                .map(|arg| arg.name.chars().take(64).collect::<String>())
                .collect();
            let what = if extra.is_empty() { "an argument is given twice".into() } else { extra.join(", ") };
            return Err(Error::new(
                Code::BadArgument,
                format!("arguments that the mutator does not take: {what}"),
            ));
        }
        let sizes = args.iter().map(|arg| arg.value.size());
        if sizes.sum::<usize>() > most {
            return Err(Error::new(Code::TooLarge, format!("the arguments exceed {most} bytes")));
        }
        Ok(())
    }
}

impl Database {
    /// Runs one mutation inside the open transaction and gives the tables it wrote. One that fails leaves no trace,
    /// unless [`Database::is_lost`] says that SQLite undid the whole transaction.
    pub fn run(&mut self, mutators: &Mutators, name: &str, args: &[Argument]) -> Result<Touched, Error> {
        assert!(self.is_open(), "BUG: a mutation runs outside of a transaction");
        self.writer.work.set(MUTATION_WORK);
        let mutator = mutators.get(name)?;
        if let Some(refused) = &mutator.refused {
            return Err(refused.clone());
        }
        mutator.check(args, mutators.most)?;
        let link = &self.writer;
        link.execute("SAVEPOINT mutation")?;
        let result = run_statements(link, mutator, args).map_err(|error| self.blame_fault(error));
        if self.is_lost() {
            return result;
        }
        if result.is_err() {
            link.execute("ROLLBACK TO mutation")?;
        }
        link.execute("RELEASE mutation")?;
        result
    }

    /// Runs mutations in one transaction, each on its own: one that fails takes nothing else with it. The error is
    /// the document's, not a mutation's; nothing is kept then.
    pub fn run_batch(
        &mut self,
        mutators: &Mutators,
        batch: &[Call<'_>],
    ) -> Result<Vec<Result<Touched, Error>>, Error> {
        let ran = self.run_some(mutators, batch, u64::MAX)?;
        Ok(ran.into_iter().map(|ran| ran.result).collect())
    }

    /// Like [`run_batch`](Self::run_batch), but stops behind the mutation with which `limit` is reached, or the time for one
    /// is over: who waits for the others, or for the end, does not wait for as many times that.
    pub(crate) fn run_some(
        &mut self,
        mutators: &Mutators,
        batch: &[Call<'_>],
        limit: u64,
    ) -> Result<Vec<Ran>, Error> {
        let mut failed = BTreeMap::new();
        loop {
            self.begin()?;
            let ran = match self.run_all(mutators, batch, limit, &mut failed) {
                Ok(ran) => ran,
                Err(error) => {
                    self.rollback()?;
                    return Err(error);
                }
            };
            if self.is_lost() {
                // Again from the start, without the one that took the others with it.
                self.rollback()?;
                continue;
            }
            self.commit()?;
            return Ok(ran);
        }
    }

    /// Stops after a mutation that loses the transaction.
    fn run_all(
        &mut self,
        mutators: &Mutators,
        batch: &[Call<'_>],
        limit: u64,
        failed: &mut BTreeMap<usize, (Error, u64)>,
    ) -> Result<Vec<Ran>, Error> {
        let mut all = Vec::with_capacity(batch.len());
        let mut left = limit;
        let end = if limit == u64::MAX { u64::MAX } else { self.writer.budget.end() };
        for (index, &(name, args)) in batch.iter().enumerate() {
            let ran = match failed.get(&index) {
                Some((error, work)) => Ran { result: Err(error.clone()), work: *work },
                None => {
                    let result = self.run(mutators, name, args);
                    // What ran before it has to run once more.
                    let work = if self.is_lost() { MUTATION_STEPS } else { self.work() };
                    Ran { result, work }
                }
            };
            if let Err(error) = &ran.result {
                if is_fatal(error) {
                    return Err(error.clone());
                }
                failed.insert(index, (error.clone(), ran.work));
            }
            left = left.saturating_sub(ran.work);
            all.push(ran);
            if left == 0 || self.writer.budget.is_past(end) || self.is_lost() {
                break;
            }
        }
        Ok(all)
    }
}

fn run_statements(link: &Link, mutator: &Mutator, args: &[Argument]) -> Result<Touched, Error> {
    vfs::forget_last_insert_rowid(&link.sqlite);
    vfs::set_clock(None);
    link.watch.start(Mode::Mutator);
    link.budget.allow_in_time(MUTATION_STEPS);
    let mut touched = Touched::none();
    let mut has_written = false;
    for sql in &mutator.statements {
        let (mut statement, uses) = link.prepare(sql)?;
        if uses.changes && !has_written {
            return Err(unsteady("changes() before the mutator's first write"));
        }
        let is_time = |arg: &Argument| matches!(&arg.value, Value::Text(text) if is_local_time(text.trim()));
        if uses.dates && args.iter().any(is_time) {
            return Err(unsteady("local time"));
        }
        for index in 1..=statement.parameter_count() {
            let value = statement.parameter_name(index).and_then(|name| {
                let name = &name[1..];
                args.iter().find(|arg| arg.name == name).map(|arg| &arg.value)
            });
            let value =
                value.ok_or_else(|| Error::new(Code::Sql, format!("parameter {index} has no name")))?;
            statement.raw_bind_parameter(index, to_sql(value)).map_err(error)?;
        }
        has_written |= !statement.readonly();
        let mut rows = statement.raw_query();
        let end = loop {
            match rows.next() {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(problem) => break Err(problem),
            }
        };
        drop(rows);
        link.work
            .set(link.work.get() + statement.reset_status(StatementStatus::VmStep).unsigned_abs() as u64);
        end.map_err(|problem| link.explain(problem))?;
        drop(statement);
        if vfs::clock_was_asked() {
            return Err(unsteady("the current time"));
        }
        if let Some(refusal) = link.watch.take_refusal() {
            return Err(refusal);
        }
        touched = touched.merge(link.learn(sql).touched());
    }
    if vfs::has_deferred_violations(&link.sqlite) {
        return Err(Error::new(Code::Constraint, "FOREIGN KEY constraint failed"));
    }
    Ok(touched)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::budget::{Clock, TimeLimit};
    use crate::testing::{Document, args, definition, tables};

    const TODO: &str =
        "CREATE TABLE todo (id TEXT PRIMARY KEY, title TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0)";
    const ADD: (&str, &str) = ("add", "INSERT INTO todo (id, title) VALUES (:id, :title)");

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn a_mutation_is_visible_to_queries_and_names_what_it_touched() {
        let mut doc = Document::new(TODO, &[ADD]);
        let touched = doc.run("add", &args([("id", text("a")), ("title", text("milk"))])).unwrap();
        assert_eq!(touched, tables(&["todo"]));
        assert_eq!(doc.rows("SELECT * FROM todo"), [[text("a"), text("milk"), Value::Integer(0)]]);
    }

    #[test]
    fn a_definition_without_a_statement_or_with_nameless_parameters_is_refused() {
        for sql in ["-- nothing", ";;", "SELECT ?", "SELECT :a, ?3"] {
            let error = Mutators::compile(&definition(&[], &[("broken", sql)])).unwrap_err();
            assert_eq!(error.code, Code::BadDefinition, "{sql}");
            assert!(error.message.contains("\"broken\""), "{error}");
        }
    }

    #[test]
    fn arguments_are_checked_by_name_and_size() {
        let mut doc = Document::new(TODO, &[ADD]);
        let error = doc.run("add", &args([("id", text("a"))])).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (Code::BadArgument, "missing arguments: title"));
        let extra = args([("id", text("a")), ("title", text("b")), ("x", Value::Null)]);
        let error = doc.run("add", &extra).unwrap_err();
        assert_eq!(error.code, Code::BadArgument);
        assert!(error.message.ends_with(": x"), "{error}");
        assert_eq!(doc.run("ad", &[]).unwrap_err().code, Code::UnknownMutator);
        let long = "x".repeat(MAX_ARGUMENT_BYTES);
        let error = doc.run("add", &args([("id", text("a")), ("title", text(&long))])).unwrap_err();
        assert_eq!(error.code, Code::TooLarge);
        doc.run("add", &args([("id", text("a")), ("title", text(&long[1..]))])).unwrap();
    }

    #[test]
    fn a_batch_ends_with_the_mutation_with_which_the_time_for_one_is_over() {
        let mut doc = Document::new(TODO, &[("note", "INSERT INTO todo (id, title) VALUES (:id, '')")]);
        let ticks = AtomicU64::new(0);
        let clock: Clock = Arc::new(move || Duration::from_millis(ticks.fetch_add(1, Ordering::Relaxed)));
        doc.db.limit_time(TimeLimit { clock, most: Duration::from_millis(20) });
        let args: Vec<_> = (0..100).map(|id| args([("id", Value::Integer(id))])).collect();
        let calls: Vec<Call<'_>> = args.iter().map(|args| ("note", &args[..])).collect();
        let ran = doc.db.run_some(&doc.mutators, &calls, MUTATION_STEPS).unwrap();
        assert!((1..50).contains(&ran.len()), "{}", ran.len());
        assert!(ran.iter().all(|ran| ran.result.is_ok()));
        assert_eq!(doc.number("SELECT count(*) FROM todo"), i64::try_from(ran.len()).unwrap());
    }

    #[test]
    fn every_prefix_names_the_same_argument() {
        let mut doc = Document::new(TODO, &[("add", "INSERT INTO todo VALUES (:id, @id || $title, :done)")]);
        let values = args([("id", text("a")), ("title", text("b")), ("done", Value::Real(f64::NAN))]);
        assert_eq!(doc.run("add", &values).unwrap_err().code, Code::Constraint, "NaN is NULL");
        let values = args([("id", text("a")), ("title", text("b")), ("done", Value::Integer(i64::MIN))]);
        doc.run("add", &values).unwrap();
        assert_eq!(doc.rows("SELECT title, done FROM todo"), [[text("ab"), Value::Integer(i64::MIN)]]);
    }

    #[test]
    fn a_failing_mutation_leaves_no_trace_and_takes_no_other_with_it() {
        let two = (
            "two",
            "INSERT INTO todo (id, title) VALUES (:a, 'x'); INSERT INTO todo (id, title) VALUES (:b, 'y')",
        );
        let mut doc = Document::new(TODO, &[two]);
        let pair = |a: &str, b: &str| args([("a", text(a)), ("b", text(b))]);
        let (first, bad, last) = (pair("a", "b"), pair("c", "a"), pair("d", "e"));
        let results =
            doc.db.run_batch(&doc.mutators, &[("two", &first), ("two", &bad), ("two", &last)]).unwrap();
        assert!(results[0].is_ok() && results[2].is_ok());
        let error = results[1].clone().unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (Code::Constraint, "UNIQUE constraint failed: todo.id")
        );
        assert_eq!(doc.rows("SELECT group_concat(id, '') FROM todo"), [[text("abde")]]);
    }

    #[test]
    fn a_batch_that_changes_nothing_changes_no_page() {
        let mut doc = Document::new(TODO, &[ADD]);
        doc.run("add", &args([("id", text("a")), ("title", text("b"))])).unwrap();
        doc.confirm();
        doc.run("add", &args([("id", text("a")), ("title", text("b"))])).unwrap_err();
        doc.run_sql("UPDATE todo SET done = done", &[]).unwrap();
        doc.run_sql("SELECT 1", &[]).unwrap();
        assert!(!doc.db.pages().has_overlay());
    }

    #[test]
    fn what_a_mutator_may_not_do_is_forbidden() {
        let mut doc = Document::new(TODO, &[]);
        for sql in [
            "ATTACH ':memory:' AS x",
            "DETACH main",
            "PRAGMA user_version = 7",
            "PRAGMA journal_mode = DELETE",
            "SELECT * FROM pragma_user_version",
            "BEGIN",
            "COMMIT",
            "END",
            "ROLLBACK",
            "SAVEPOINT mutation",
            "RELEASE mutation",
            "ROLLBACK TO mutation",
            "CREATE TEMP TABLE x (y)",
            "CREATE TABLE x (y)",
            "CREATE VIEW x AS SELECT 1",
            "DROP TABLE todo",
            "ALTER TABLE todo ADD COLUMN x",
            "CREATE INDEX x ON todo (title)",
            "REINDEX",
            "ANALYZE",
            "VACUUM",
            "VACUUM INTO '/tmp/offprint-must-not-exist'",
            "INSERT OR ROLLBACK INTO todo VALUES (1, 2, 3)",
            "SELECT load_extension('x')",
        ] {
            let code = doc.refusal(sql);
            // SQLite itself refuses VACUUM inside a transaction.
            let expected = if sql.starts_with("VACUUM") { Code::Sql } else { Code::Forbidden };
            assert_eq!(code, expected, "{sql}");
        }
        assert!(!std::path::Path::new("/tmp/offprint-must-not-exist").exists());
        for sql in
            ["DELETE FROM sqlite_schema", "UPDATE sqlite_schema SET sql = ''", "SELECT nothing()", "SELEC 1"]
        {
            assert_eq!(doc.refusal(sql), Code::Sql, "{sql}");
        }
        assert_eq!(doc.number("SELECT count(*) FROM todo"), 0);
    }

    #[test]
    fn our_own_statements_do_not_open_a_back_door_through_the_statement_cache() {
        let mut doc = Document::new(TODO, &[]);
        for sql in
            ["--\nSAVEPOINT mutation", "--\nCOMMIT", " --\nBEGIN IMMEDIATE", "--\nPRAGMA foreign_keys = OFF"]
        {
            assert_eq!(doc.refusal(sql), Code::Forbidden, "{sql}");
        }
    }

    #[test]
    fn what_differs_between_replays_is_refused_wherever_it_hides() {
        let mut doc = Document::new(
            "CREATE TABLE log (id INTEGER PRIMARY KEY, at TEXT DEFAULT CURRENT_TIMESTAMP, r INTEGER DEFAULT (random()));
             CREATE TABLE plain (x);
             CREATE TABLE fate (x DEFAULT (randomblob(4)));
             CREATE TABLE noon (x DEFAULT (datetime('now')), y);
             CREATE VIEW dice AS SELECT random() AS r;
             CREATE VIEW clock AS SELECT julianday('now') AS t;
             CREATE TRIGGER tick AFTER UPDATE ON plain BEGIN INSERT INTO plain VALUES (unixepoch()); END;
             CREATE TABLE other (x);
             CREATE TRIGGER roll AFTER INSERT ON other BEGIN UPDATE other SET x = random(); END;
             INSERT INTO plain VALUES (1);",
            &[],
        );
        for sql in [
            "SELECT random()",
            "SELECT hex(randomblob(3))",
            "INSERT INTO plain VALUES (abs(random()))",
            "SELECT CURRENT_TIMESTAMP",
            "SELECT current_date",
            "SELECT datetime('now')",
            "SELECT datetime()",
            "SELECT strftime('%s')",
            "SELECT strftime('%s', 'now', 'localtime')",
            "SELECT date('2024-01-01', 'localtime')",
            "SELECT unixepoch('subsec')",
            "INSERT INTO log (r) VALUES (1)",
            "INSERT INTO log (at) VALUES ('x')",
            "INSERT INTO fate DEFAULT VALUES",
            "INSERT INTO noon (y) VALUES (1)",
            "SELECT * FROM dice",
            "SELECT * FROM clock",
            "UPDATE plain SET x = 2",
            "INSERT INTO other VALUES (1)",
            "SELECT total_changes()",
            "SELECT changes()",
            "SELECT sqlite_version()",
        ] {
            assert_eq!(doc.refusal(sql), Code::Nondeterministic, "{sql}");
            // And again, from the statement cache.
            assert_eq!(doc.refusal(sql), Code::Nondeterministic, "{sql}");
        }
        let modifier = args([("m", text("localtime"))]);
        let error = doc.run_sql("SELECT datetime(0, 'unixepoch', :m)", &modifier).unwrap_err();
        assert_eq!(error.code, Code::Nondeterministic);
        for sql in [
            "INSERT INTO plain VALUES (datetime('2024-01-01', '+1 day'))",
            "INSERT INTO plain VALUES (1); INSERT INTO plain SELECT 2 WHERE changes() = 1",
            "INSERT INTO log VALUES (9, 'x', 1); INSERT INTO plain VALUES (last_insert_rowid())",
        ] {
            doc.run_sql(sql, &[]).expect(sql);
        }
        assert_eq!(doc.number("SELECT max(typeof(x) = 'integer') FROM plain WHERE x = 9"), 1);
        doc.run_sql("INSERT INTO plain VALUES ('rowid ' || last_insert_rowid())", &[]).unwrap();
        assert_eq!(doc.number("SELECT count(*) FROM plain WHERE x = 'rowid 0'"), 1);
    }

    #[test]
    fn triggers_and_foreign_keys_are_among_the_touched() {
        let mut doc = Document::new(
            "CREATE TABLE Parent (id INTEGER PRIMARY KEY);
             CREATE TABLE child (id INTEGER PRIMARY KEY, p REFERENCES Parent ON DELETE CASCADE);
             CREATE TABLE grandchild (id INTEGER PRIMARY KEY, c REFERENCES child ON DELETE SET NULL);
             CREATE TABLE audit (what);
             CREATE TRIGGER t AFTER UPDATE ON grandchild BEGIN INSERT INTO audit VALUES (new.id); END;
             CREATE TABLE bare (k PRIMARY KEY, v) WITHOUT ROWID;
             INSERT INTO Parent VALUES (1); INSERT INTO child VALUES (1, 1); INSERT INTO grandchild VALUES (1, 1);",
            &[],
        );
        let touched = doc.run_sql("DELETE FROM PARENT WHERE id = 1", &[]).unwrap();
        assert_eq!(touched, tables(&["audit", "child", "grandchild", "parent"]));
        assert_eq!(doc.number("SELECT count(*) FROM audit"), 1);
        assert_eq!(doc.run_sql("INSERT INTO bare VALUES (1, 2)", &[]).unwrap(), tables(&["bare"]));
        assert_eq!(doc.run_sql("DELETE FROM bare", &[]).unwrap(), tables(&["bare"]));
        assert_eq!(doc.run_sql("SELECT * FROM bare", &[]).unwrap(), tables(&[]));
    }

    #[test]
    fn a_deferred_violation_rejects_its_own_mutation_alone() {
        let mut doc = Document::new(
            "CREATE TABLE p (id INTEGER PRIMARY KEY);
             CREATE TABLE c (id INTEGER PRIMARY KEY, p REFERENCES p DEFERRABLE INITIALLY DEFERRED);",
            &[
                ("orphan", "INSERT INTO c VALUES (:id, :id)"),
                ("pair", "INSERT INTO c VALUES (:id, :id); INSERT INTO p VALUES (:id)"),
            ],
        );
        let [one, two, three] = [1, 2, 3].map(|id| args([("id", Value::Integer(id))]));
        let results =
            doc.db.run_batch(&doc.mutators, &[("pair", &one), ("orphan", &two), ("pair", &three)]).unwrap();
        assert!(results[0].is_ok() && results[2].is_ok());
        assert_eq!(results[1].clone().unwrap_err().code, Code::Constraint);
        assert_eq!(doc.rows("SELECT id FROM c"), [[Value::Integer(1)], [Value::Integer(3)]]);
    }

    #[test]
    fn a_mutation_without_end_is_stopped_and_the_others_of_its_batch_survive() {
        let endless =
            "INSERT INTO todo (id, title) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
             SELECT i, 'x' FROM n WHERE i < 0";
        let mut doc = Document::new(TODO, &[ADD, ("endless", endless)]);
        let [a, b] = ["a", "b"].map(|id| args([("id", text(id)), ("title", text("t"))]));
        let batch: [Call<'_>; 4] = [("add", &a), ("endless", &[]), ("add", &a), ("add", &b)];
        let results = doc.db.run_batch(&doc.mutators, &batch).unwrap();
        let codes: Vec<_> =
            results.iter().map(|result| result.as_ref().err().map(|error| error.code)).collect();
        assert_eq!(codes, [None, Some(Code::Limit), Some(Code::Constraint), None]);
        assert_eq!(doc.number("SELECT count(*) FROM todo"), 2);
        let after = doc
            .run_sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n", &[]);
        assert_eq!(after.unwrap_err().code, Code::Limit);
    }

    #[test]
    fn a_large_transaction_that_fails_leaves_the_document_usable() {
        let fill =
            "INSERT INTO blobs WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8)
             SELECT i, zeroblob(1000000) FROM n; INSERT INTO blobs VALUES (:id, x'')";
        let mut doc =
            Document::new("CREATE TABLE blobs (id INTEGER PRIMARY KEY, bytes BLOB)", &[("fill", fill)]);
        let before = doc.db.pages().to_file().unwrap();
        let error = doc.run("fill", &args([("id", Value::Integer(1))])).unwrap_err();
        assert_eq!(error.code, Code::Constraint);
        assert_eq!(doc.db.pages().to_file().unwrap(), before);
        doc.run("fill", &args([("id", Value::Integer(9))])).unwrap();
        assert_eq!(doc.number("SELECT sum(length(bytes)) FROM blobs"), 8_000_000);
        assert_eq!(doc.refusal("SELECT zeroblob(100000000)"), Code::TooLarge);
    }

    #[test]
    fn raise_gives_its_message() {
        let mut doc = Document::new(
            "CREATE TABLE t (x);
             CREATE TRIGGER no BEFORE INSERT ON t WHEN new.x < 0 BEGIN SELECT RAISE(ABORT, 'below zero'); END;",
            &[],
        );
        let error = doc.run_sql("INSERT INTO t VALUES (-1)", &[]).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (Code::Constraint, "below zero"));
    }

    #[test]
    fn equal_runs_give_equal_bytes() {
        let run = |noise: bool| {
            let mut doc = Document::new(TODO, &[ADD]);
            for round in 0..200 {
                let id = args([("id", text(&format!("{}", round * 7919 % 200))), ("title", text("t"))]);
                doc.run("add", &id).unwrap();
                if noise {
                    doc.run("add", &id).unwrap_err();
                    doc.db.begin().unwrap();
                    doc.db
                        .run(&doc.mutators, "add", &args([("id", text("x")), ("title", text("y"))]))
                        .unwrap();
                    doc.db.rollback().unwrap();
                }
                if round % 10 == 0 {
                    doc.confirm();
                }
            }
            doc.db.pages().to_file().unwrap()
        };
        assert!(run(false) == run(true));
    }
}
