//! What the simulated app does: a definition whose every mutation leaves its token in `log`, so that order and
//! completeness can be checked from the final state alone.

use std::collections::{BTreeMap, BTreeSet};

use offprint_protocol::rpc::{Rejection, Request, Select};
use offprint_protocol::{Definition, Mutation, MutatorSource, Value};

use crate::random::Random;

/// The definition of a version: 0, or 1 with one migration more.
pub fn definition(version: usize) -> Definition {
    let mutator = |sql: &str| MutatorSource { sql: sql.to_owned() };
    let mut definition = Definition {
        name: "sim".into(),
        migrations: vec![
            "CREATE TABLE log (n INTEGER PRIMARY KEY, token TEXT NOT NULL, op TEXT NOT NULL, k TEXT NOT NULL, v INTEGER);
             CREATE TABLE item (k TEXT PRIMARY KEY, v INTEGER NOT NULL) WITHOUT ROWID;"
                .into(),
            "CREATE INDEX item_by_value ON item (v);
             CREATE TABLE claim (name TEXT PRIMARY KEY, token TEXT NOT NULL);"
                .into(),
        ],
        mutators: BTreeMap::from([
            (
                "put".into(),
                mutator(
                    "INSERT INTO log (token, op, k, v) VALUES (:token, 'put', :k, :v);
                     INSERT INTO item (k, v) VALUES (:k, :v) ON CONFLICT DO UPDATE SET v = excluded.v",
                ),
            ),
            (
                "add".into(),
                mutator(
                    "INSERT INTO log (token, op, k, v) VALUES (:token, 'add', :k, :v);
                     UPDATE item SET v = v + :v WHERE k = :k",
                ),
            ),
            (
                "remove".into(),
                mutator(
                    "INSERT INTO log (token, op, k, v) VALUES (:token, 'remove', :k, NULL);
                     DELETE FROM item WHERE k = :k",
                ),
            ),
            (
                // Two clients that claim one name while apart: the primary refuses the later.
                "claim".into(),
                mutator(
                    "INSERT INTO log (token, op, k, v) VALUES (:token, 'claim', :k, NULL);
                     INSERT INTO claim (name, token) VALUES (:k, :token)",
                ),
            ),
            (
                // What a client could not claim for a while, it could at the primary all the same.
                "release".into(),
                mutator(
                    "INSERT INTO log (token, op, k, v) VALUES (:token, 'release', :k, NULL);
                     DELETE FROM claim WHERE name = :k",
                ),
            ),
        ]),
    };
    if version > 0 {
        definition.migrations.push(
            "CREATE TABLE later (id INTEGER PRIMARY KEY); CREATE INDEX claim_by_token ON claim (token)"
                .into(),
        );
    }
    definition
}

/// A random mutation that carries `token`.
pub fn mutation(random: &mut Random, token: &str) -> Request {
    let (name, keys, has_value) = match random.below(10) {
        0..4 => ("put", 40, true),
        4..7 => ("add", 40, true),
        7 => ("remove", 40, false),
        8 => ("claim", 30, false),
        _ => ("release", 30, false),
    };
    let padding = if random.one_in(20) { "x".repeat(random.below(6_000)) } else { String::new() };
    let mut args = BTreeMap::from([
        ("token".to_owned(), Value::Text(token.to_owned())),
        ("k".to_owned(), Value::Text(format!("key-{}{padding}", random.below(keys)))),
    ]);
    if has_value {
        args.insert("v".to_owned(), Value::Integer(random.below(100) as i64));
    }
    Request::Mutate { name: name.to_owned(), args }
}

/// The queries that tabs listen to.
pub fn queries() -> [Select; 3] {
    let select = |sql: &str| Select { sql: sql.to_owned(), params: vec![] };
    [
        select("SELECT k, v FROM item ORDER BY k"),
        select("SELECT count(*), max(n) FROM log"),
        select("SELECT name, token FROM claim ORDER BY name"),
    ]
}

/// What a row of `log` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Which mutation.
    pub token: String,
    /// Which mutator.
    pub op: String,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: i64,
}

/// The names that stand claimed after these mutations, one after the other.
pub fn claims(log: &[Logged]) -> BTreeSet<String> {
    let mut claims = BTreeSet::new();
    for Logged { op, key, .. } in log {
        match op.as_str() {
            "claim" => drop(claims.insert(key.clone())),
            "release" => drop(claims.remove(key)),
            _ => {}
        }
    }
    claims
}

/// The token of a mutation.
pub fn token(mutation: &Mutation) -> Option<&str> {
    mutation.args.iter().find(|argument| argument.name == "token").and_then(|argument| {
        match &argument.value {
            Value::Text(token) => Some(token.as_str()),
            _ => None,
        }
    })
}

/// The token of a rejected mutation, if the device has it.
pub fn refused(rejection: &Rejection) -> Option<&str> {
    match rejection.args.as_ref()?.get("token")? {
        Value::Text(token) => Some(token),
        _ => None,
    }
}

/// The serial model: what `item` holds after these mutations, one after the other.
pub fn replay(log: &[Logged]) -> BTreeMap<String, i64> {
    let mut items = BTreeMap::new();
    for Logged { op, key, value, .. } in log {
        match op.as_str() {
            "put" => {
                items.insert(key.clone(), *value);
            }
            "add" => {
                items.entry(key.clone()).and_modify(|v| *v += value);
            }
            "remove" => {
                items.remove(key);
            }
            _ => {}
        }
    }
    items
}
