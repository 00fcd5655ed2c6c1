//! What a statement may do, and which tables it reads and writes: SQLite tells while it prepares the statement.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};

use offprint_protocol::{Code, Error, Touched};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::vfs::lock;

/// Whose statement it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// Ours: everything.
    #[default]
    Own,
    /// A mutator's: reads and writes rows, the same on every replay.
    Mutator,
    /// A migration's: as a mutator's, and changes the schema.
    Migration,
    /// A query's: reads.
    Query,
}

/// What a prepared statement uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Uses {
    /// The tables and views it reads, in lower case.
    pub(crate) reads: BTreeSet<String>,
    /// The tables it writes, by triggers and foreign keys too, in lower case.
    pub(crate) writes: BTreeSet<String>,
    /// Whether it calls a date function.
    pub(crate) dates: bool,
    /// Whether it calls `changes()`.
    pub(crate) changes: bool,
    /// The tables its result depends on, once somebody asked.
    pub(crate) dependencies: OnceLock<Touched>,
}

impl Uses {
    /// The tables it writes.
    pub(crate) fn touched(&self) -> Touched {
        Touched::Tables(self.writes.iter().cloned().collect())
    }

    pub(crate) fn extend(&mut self, other: Uses) {
        self.reads.extend(other.reads);
        self.writes.extend(other.writes);
        self.dates |= other.dates;
        self.changes |= other.changes;
        self.dependencies = OnceLock::new();
    }
}

/// What SQLite asked since [`Watch::start`]; shared between a connection's hook and its owner.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    mode: Mode,
    uses: Option<Uses>,
    refused: Option<Error>,
}

impl Watch {
    /// From here on statements are prepared in this mode.
    pub(crate) fn start(&self, mode: Mode) {
        *lock(&self.0) = State { mode, ..State::default() };
    }

    /// What was prepared since the last call uses, if anything was prepared.
    pub(crate) fn take_uses(&self) -> Option<Uses> {
        lock(&self.0).uses.take()
    }

    /// Why the last statement was refused, if it was.
    pub(crate) fn take_refusal(&self) -> Option<Error> {
        lock(&self.0).refused.take()
    }

    /// Says why the running statement is refused; the first reason stays.
    pub(crate) fn refuse(&self, error: Error) {
        lock(&self.0).refused.get_or_insert(error);
    }

    /// SQLite's question.
    pub(crate) fn authorize(&self, context: AuthContext<'_>) -> Authorization {
        lock(&self.0).authorize(context.action)
    }
}

impl State {
    fn authorize(&mut self, action: AuthAction<'_>) -> Authorization {
        if self.mode == Mode::Own {
            return Authorization::Allow;
        }
        let uses = self.uses.get_or_insert_default();
        match action {
            AuthAction::Read { table_name, .. } => insert(&mut uses.reads, table_name),
            AuthAction::Insert { table_name }
            | AuthAction::Delete { table_name }
            | AuthAction::Update { table_name, .. } => insert(&mut uses.writes, table_name),
            AuthAction::Function { function_name } => match function_name.to_ascii_lowercase().as_str() {
                "changes" => uses.changes = true,
                "date" | "time" | "datetime" | "julianday" | "unixepoch" | "strftime" | "timediff" => {
                    uses.dates = true
                }
                _ => {}
            },
            _ => {}
        }
        match verdict(self.mode, action) {
            Ok(()) => Authorization::Allow,
            Err(error) => {
                self.refused.get_or_insert(error);
                Authorization::Deny
            }
        }
    }
}

fn insert(names: &mut BTreeSet<String>, name: &str) {
    let name = name.to_ascii_lowercase();
    if !names.contains(&name) {
        names.insert(name);
    }
}

/// Also refused when they run, so that a schema may name them for what only queries use.
const FLEETING: [&str; 5] = ["random", "randomblob", "current_date", "current_time", "current_timestamp"];

/// Differ between builds of SQLite, or depend on what ran before on the connection.
const UNSTEADY: [&str; 6] = [
    "total_changes",
    "sqlite_version",
    "sqlite_source_id",
    "sqlite_compileoption_get",
    "sqlite_compileoption_used",
    "sqlite_offset",
];

/// Reach around the schema, or tell of this process.
const INTERNALS: [&str; 5] = ["sqlite_dbpage", "sqlite_stmt", "dbstat", "bytecode", "tables_used"];

/// Read only; FTS5 asks for the first, ALTER TABLE for the second.
const PRAGMAS: [&str; 9] = [
    "data_version",
    "quick_check",
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
];

/// Built into both SQLites that documents meet.
const MODULES: [&str; 4] = ["fts5", "fts5vocab", "rtree", "rtree_i32"];

fn verdict(mode: Mode, action: AuthAction<'_>) -> Result<(), Error> {
    use AuthAction as A;
    let is_one_of = |name: &str, names: &[&str]| names.iter().any(|other| name.eq_ignore_ascii_case(other));
    match action {
        A::Select | A::Recursive => Ok(()),
        A::Read { table_name, .. } if is_one_of(table_name, &INTERNALS) => {
            forbidden(format!("{table_name} cannot be read"))
        }
        A::Read { .. } => Ok(()),
        A::Function { function_name } if is_one_of(function_name, &["load_extension", "fts3_tokenizer"]) => {
            forbidden(format!("{function_name}() is not allowed"))
        }
        A::Function { function_name }
            if mode != Mode::Query && is_one_of(function_name, &UNSTEADY)
                || mode == Mode::Mutator && is_one_of(function_name, &FLEETING) =>
        {
            Err(unsteady(&format!("{function_name}()")))
        }
        A::Function { .. } => Ok(()),
        // A query's own writing is seen by its statement not being read-only; R-Tree prepares writes to read.
        A::Insert { .. } | A::Update { .. } | A::Delete { .. } => Ok(()),
        A::Pragma { pragma_name, .. } if is_one_of(pragma_name, &PRAGMAS) => Ok(()),
        // R-Tree asks for it.
        A::Pragma { pragma_name: "page_size", pragma_value: None } => Ok(()),
        A::Pragma { pragma_name, .. } => forbidden(format!("PRAGMA {pragma_name} is not allowed")),
        A::Attach { .. } | A::Detach { .. } => forbidden("ATTACH, DETACH and VACUUM are not allowed"),
        A::Transaction { .. } | A::Savepoint { .. } => {
            forbidden("a mutation, a migration or a query is one transaction: it cannot control it")
        }
        A::CreateTempIndex { .. }
        | A::CreateTempTable { .. }
        | A::CreateTempTrigger { .. }
        | A::CreateTempView { .. }
        | A::DropTempIndex { .. }
        | A::DropTempTable { .. }
        | A::DropTempTrigger { .. }
        | A::DropTempView { .. } => forbidden("TEMP objects are not part of the document"),
        A::CreateVtable { module_name, .. } if !is_one_of(module_name, &MODULES) => {
            forbidden(format!("virtual tables of {module_name} are not allowed"))
        }
        A::CreateIndex { .. }
        | A::CreateTable { .. }
        | A::CreateTrigger { .. }
        | A::CreateView { .. }
        | A::CreateVtable { .. }
        | A::DropIndex { .. }
        | A::DropTable { .. }
        | A::DropTrigger { .. }
        | A::DropView { .. }
        | A::DropVtable { .. }
        | A::AlterTable { .. }
        | A::Reindex { .. }
        | A::Analyze { .. } => match mode {
            Mode::Migration => Ok(()),
            _ => forbidden("only migrations change the schema"),
        },
        _ => forbidden("SQLite asks for something this build does not know"),
    }
}

fn forbidden(why: impl Into<String>) -> Result<(), Error> {
    Err(Error::new(Code::Forbidden, why))
}

/// The refusal of something that differs between replays.
pub(crate) fn unsteady(what: &str) -> Error {
    Error::new(
        Code::Nondeterministic,
        format!("{what} differs between replays: pass the value as an argument"),
    )
}
