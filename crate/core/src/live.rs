//! Live queries: each is run once per change that may concern it, however many listen, and told when it differs.

use std::collections::BTreeMap;

use offprint_protocol::rpc::Select;
use offprint_protocol::{Encode, Error, Touched, Writer};

use crate::sqlite::Database;

/// The running live queries of a document; `S` names a listener.
#[derive(Debug)]
pub struct LiveQueries<S> {
    queries: BTreeMap<Vec<u8>, LiveQuery<S>>,
    runs: u64,
}

#[derive(Debug)]
struct LiveQuery<S> {
    select: Select,
    subscribers: Vec<S>,
    tables: Touched,
    last: Last,
}

/// What the subscribers were told last.
#[derive(Debug, PartialEq)]
enum Last {
    Rows(blake3::Hash),
    Failed(Error),
}

/// A result that differs from the last one.
#[derive(Debug, Clone, PartialEq)]
pub struct Change<S> {
    /// Who listens.
    pub subscribers: Vec<S>,
    /// The rows, encoded, or why there are none now.
    pub rows: Result<Vec<u8>, Error>,
}

impl<S> Default for LiveQueries<S> {
    fn default() -> Self {
        Self { queries: BTreeMap::new(), runs: 0 }
    }
}

impl<S: Clone + PartialEq> LiveQueries<S> {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs the query and has the subscriber told of its changes from here on; one that fails is not kept.
    /// A subscriber has one query at a time: what it listened to before is ended.
    pub fn subscribe(
        &mut self,
        subscriber: S,
        select: Select,
        database: &mut Database,
    ) -> Result<Vec<u8>, Error> {
        self.unsubscribe(&subscriber);
        self.runs += 1;
        let selected = database.query(&select)?;
        let query = self.queries.entry(key(&select)).or_insert_with(|| LiveQuery {
            select,
            subscribers: Vec::new(),
            tables: selected.tables,
            last: Last::Rows(blake3::hash(&selected.rows)),
        });
        query.subscribers.push(subscriber);
        Ok(selected.rows)
    }

    /// Ends a subscription; false if there was none.
    pub fn unsubscribe(&mut self, subscriber: &S) -> bool {
        self.drop_where(|other| other == subscriber) > 0
    }

    /// Ends the subscriptions that `pred` names and gives their number.
    pub fn drop_where(&mut self, pred: impl Fn(&S) -> bool) -> usize {
        let mut dropped = 0;
        self.queries.retain(|_, query| {
            let before = query.subscribers.len();
            query.subscribers.retain(|subscriber| !pred(subscriber));
            dropped += before - query.subscribers.len();
            !query.subscribers.is_empty()
        });
        dropped
    }

    /// Runs again what may have changed and gives the results that did.
    pub fn changed(&mut self, touched: &Touched, database: &mut Database) -> Vec<Change<S>> {
        let mut changes = Vec::new();
        for query in self.queries.values_mut() {
            if !query.may_change(touched) {
                continue;
            }
            self.runs += 1;
            let (rows, last) = match database.query(&query.select) {
                Ok(selected) => {
                    query.tables = selected.tables;
                    let hash = blake3::hash(&selected.rows);
                    (Ok(selected.rows), Last::Rows(hash))
                }
                Err(error) => (Err(error.clone()), Last::Failed(error)),
            };
            if last != query.last {
                query.last = last;
                changes.push(Change { subscribers: query.subscribers.clone(), rows });
            }
        }
        changes
    }

    /// The number of distinct queries that are listened to.
    pub fn len(&self) -> usize {
        self.queries.len()
    }

    /// Whether nobody listens.
    pub fn is_empty(&self) -> bool {
        self.queries.is_empty()
    }

    /// How often queries were run so far.
    pub fn runs(&self) -> u64 {
        self.runs
    }
}

impl<S> LiveQuery<S> {
    fn may_change(&self, touched: &Touched) -> bool {
        match (touched, &self.tables, &self.last) {
            (Touched::Tables(none), ..) if none.is_empty() => false,
            (Touched::All, ..) | (_, Touched::All, _) | (.., Last::Failed(_)) => true,
            (Touched::Tables(changed), Touched::Tables(read), _) => {
                changed.iter().any(|table| read.binary_search(table).is_ok())
            }
        }
    }
}

/// Equal for equal text and equal values, bit by bit.
fn key(select: &Select) -> Vec<u8> {
    let mut out = Writer::new();
    out.str(&select.sql);
    for value in &select.params {
        value.encode(&mut out);
    }
    out.finish()
}
