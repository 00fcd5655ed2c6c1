//! What the tests of the SQLite half share.

use std::collections::BTreeMap;

use offprint_protocol::rpc::Select;
use offprint_protocol::{
    Argument, Code, Definition, Error, JournalId, MutatorSource, Reader, Touched, Value,
};

use crate::image::Image;
use crate::mutator::Mutators;
use crate::pages::Pages;
use crate::sqlite::Database;

pub(crate) fn definition(migrations: &[&str], mutators: &[(&str, &str)]) -> Definition {
    Definition {
        name: "test".into(),
        migrations: migrations.iter().map(|&sql| sql.into()).collect(),
        mutators: mutators
            .iter()
            .map(|&(name, sql)| (name.into(), MutatorSource { sql: sql.into() }))
            .collect(),
    }
}

/// A document with this schema, every mutation of which is one named by its SQL.
pub(crate) struct Document {
    pub(crate) db: Database,
    pub(crate) mutators: Mutators,
}

impl Document {
    pub(crate) fn empty() -> Self {
        let pages = Pages::new(Image::empty(JournalId([7; 16])));
        Self { db: Database::open(pages).unwrap(), mutators: Mutators::default() }
    }

    pub(crate) fn new(schema: &str, mutators: &[(&str, &str)]) -> Self {
        let definition = definition(&[schema], mutators);
        let mut document = Self::empty();
        document.mutators = Mutators::compile(&definition).unwrap();
        document.db.migrate(&definition).unwrap();
        document
    }

    /// One mutation in a transaction of its own.
    pub(crate) fn run(&mut self, name: &str, args: &[Argument]) -> Result<Touched, Error> {
        self.db.run_batch(&self.mutators, &[(name, args)]).unwrap().remove(0)
    }

    /// A mutator made for this one run.
    pub(crate) fn run_sql(&mut self, sql: &str, args: &[Argument]) -> Result<Touched, Error> {
        let mutators = Mutators::compile(&definition(&[], &[("m", sql)])).unwrap();
        self.db.run_batch(&mutators, &[("m", args)]).unwrap().remove(0)
    }

    pub(crate) fn refusal(&mut self, sql: &str) -> Code {
        self.run_sql(sql, &[]).expect_err(sql).code
    }

    pub(crate) fn rows(&mut self, sql: &str) -> Vec<Vec<Value>> {
        decode(&self.db.query(&select(sql)).unwrap().rows).1
    }

    pub(crate) fn number(&mut self, sql: &str) -> i64 {
        match self.rows(sql)[0][0] {
            Value::Integer(number) => number,
            ref other => panic!("{other:?}"),
        }
    }

    /// The overlay becomes part of the image, as it does on a primary.
    pub(crate) fn confirm(&mut self) -> offprint_protocol::Commit {
        self.db
            .pages()
            .confirm_overlay(|image, overlay, page_count| {
                let commit = image.commit_of(overlay, page_count, Touched::All);
                image.apply_commit(&commit).map(|()| commit)
            })
            .unwrap()
    }
}

pub(crate) fn select(sql: &str) -> Select {
    Select { sql: sql.into(), params: Vec::new() }
}

pub(crate) fn args<const N: usize>(args: [(&str, Value); N]) -> Vec<Argument> {
    let sorted: BTreeMap<_, _> = args.into();
    sorted.into_iter().map(|(name, value)| Argument { name: name.into(), value }).collect()
}

pub(crate) fn tables(names: &[&str]) -> Touched {
    Touched::Tables(names.iter().map(|&name| name.to_owned()).collect())
}

/// Names and rows; text that is not UTF-8 becomes a blob.
pub(crate) fn decode(rows: &[u8]) -> (Vec<String>, Vec<Vec<Value>>) {
    let mut from = Reader::new(rows);
    let columns = from.varint().unwrap();
    let names = (0..columns).map(|_| from.str().unwrap().to_owned()).collect();
    let count = from.varint().unwrap();
    let mut cell = || match from.u8().unwrap() {
        0 => Value::Null,
        1 => Value::Integer(from.zigzag().unwrap()),
        2 => Value::Real(f64::from_bits(from.u64().unwrap())),
        3 => match String::from_utf8(from.bytes().unwrap().to_vec()) {
            Ok(text) => Value::Text(text),
            Err(error) => Value::Blob(error.into_bytes()),
        },
        4 => Value::Blob(from.bytes().unwrap().to_vec()),
        other => panic!("tag {other}"),
    };
    let rows = (0..count).map(|_| (0..columns).map(|_| cell()).collect()).collect();
    from.end().unwrap();
    (names, rows)
}
