//! The rows of a query as one buffer (PROTOCOL.md, Rows).

use offprint_protocol::rpc::Select;
use offprint_protocol::value::zigzag;
use offprint_protocol::{Code, Error, Touched, Value, Writer};
use rusqlite::Statement;
use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::authorizer::{Mode, Uses};
use crate::sqlite::{Database, Link, QUERY_STEPS, error};
use crate::statement::split;
use crate::vfs;

/// The most bytes that one result may have.
pub const MAX_ROWS_BYTES: usize = 64 << 20;

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
        link.allow_steps(QUERY_STEPS);
        vfs::set_clock(self.now());
        let (mut prepared, _) = link.prepare(sql)?;
        if !prepared.readonly() {
            prepared.discard();
            return Err(Error::new(Code::Forbidden, "a query only reads: use a mutator to write"));
        }
        bind(&mut prepared, &select.params)?;
        let rows = encode_rows(link, &mut prepared)?;
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

fn encode_rows(link: &Link, statement: &mut Statement<'_>) -> Result<Vec<u8>, Error> {
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
        if cells.len() > MAX_ROWS_BYTES {
            return Err(Error::new(Code::TooLarge, "the result exceeds 64 MiB"));
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
        ValueRef::Integer(value) => out.u8(1).varint(zigzag(value)),
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
    link.allow_steps(u64::MAX);
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
