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
    /// Not all of them the same: some came after a change that the others have yet to hear of.
    Various,
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
        let last = Last::Rows(blake3::hash(&selected.rows));
        let query = self.queries.entry(key(&select)).or_insert_with(|| LiveQuery {
            select,
            subscribers: Vec::new(),
            tables: selected.tables,
            last: Last::Various,
        });
        query.last = if query.subscribers.is_empty() || query.last == last { last } else { Last::Various };
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
            (Touched::All, ..) | (_, Touched::All, _) | (.., Last::Failed(_) | Last::Various) => true,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Document, decode, definition, select, tables};
    use offprint_protocol::{Code, Value};

    const SCHEMA: &str = "CREATE TABLE t (x); CREATE TABLE other (x);";

    fn change(doc: &mut Document, live: &mut LiveQueries<u32>, sql: &str) -> Vec<Change<u32>> {
        let touched = doc.run_sql(sql, &[]).unwrap();
        live.changed(&touched, &mut doc.db)
    }

    #[test]
    fn who_came_between_two_changes_hears_of_the_second() {
        let mut doc = Document::new(SCHEMA, &[]);
        let mut live = LiveQueries::new();
        let none = live.subscribe(1, select("SELECT x FROM t"), &mut doc.db).unwrap();
        let first = doc.run_sql("INSERT INTO t VALUES (5)", &[]).unwrap();
        let one = live.subscribe(2, select("SELECT x FROM t"), &mut doc.db).unwrap();
        let second = doc.run_sql("DELETE FROM t", &[]).unwrap();
        assert_ne!(one, none);
        let changes = live.changed(&first.merge(second), &mut doc.db);
        assert_eq!(changes, [Change { subscribers: vec![1, 2], rows: Ok(none) }]);
    }

    #[test]
    fn one_run_serves_every_listener_of_equal_queries() {
        let mut doc = Document::new(SCHEMA, &[]);
        let mut live = LiveQueries::new();
        for subscriber in [1, 2, 3] {
            live.subscribe(subscriber, select("SELECT x FROM t"), &mut doc.db).unwrap();
        }
        let runs = live.runs();
        let changes = change(&mut doc, &mut live, "INSERT INTO t VALUES (5)");
        assert_eq!(live.runs(), runs + 1);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].subscribers, [1, 2, 3]);
        assert_eq!(decode(changes[0].rows.as_ref().unwrap()).1, [[Value::Integer(5)]]);
    }

    #[test]
    fn equal_text_with_other_values_is_another_query() {
        let mut doc = Document::new(SCHEMA, &[]);
        let mut live = LiveQueries::new();
        let with = |value| Select { sql: "SELECT x FROM t WHERE x = ?".into(), params: vec![value] };
        for (subscriber, value) in
            [(1, Value::Integer(1)), (2, Value::Integer(2)), (3, Value::Text("1".into()))]
        {
            live.subscribe(subscriber, with(value), &mut doc.db).unwrap();
        }
        assert_eq!(live.len(), 3);
        let changes = change(&mut doc, &mut live, "INSERT INTO t VALUES (2)");
        assert_eq!(changes.iter().map(|change| change.subscribers.clone()).collect::<Vec<_>>(), [[2]]);
    }

    #[test]
    fn a_query_is_not_run_for_another_table_and_not_delivered_unchanged() {
        let mut doc = Document::new(SCHEMA, &[]);
        let mut live = LiveQueries::new();
        live.subscribe(1, select("SELECT count(*) FROM t"), &mut doc.db).unwrap();
        let runs = live.runs();
        assert!(change(&mut doc, &mut live, "INSERT INTO other VALUES (1)").is_empty());
        assert_eq!(live.runs(), runs);
        assert!(change(&mut doc, &mut live, "UPDATE t SET x = 1").is_empty());
        assert!(live.changed(&Touched::All, &mut doc.db).is_empty());
        assert!(live.changed(&tables(&[]), &mut doc.db).is_empty());
        assert_eq!(live.runs(), runs + 2);
        assert_eq!(change(&mut doc, &mut live, "INSERT INTO t VALUES (1)").len(), 1);
    }

    #[test]
    fn a_cascade_reaches_the_queries_of_the_tables_it_writes() {
        let schema =
            "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p ON DELETE CASCADE);
             INSERT INTO p VALUES (1); INSERT INTO c VALUES (1);";
        let mut doc = Document::new(schema, &[]);
        let mut live = LiveQueries::new();
        live.subscribe(1, select("SELECT p FROM c"), &mut doc.db).unwrap();
        assert_eq!(change(&mut doc, &mut live, "DELETE FROM p").len(), 1);
    }

    #[test]
    fn a_query_that_fails_is_told_once_and_tried_again() {
        let mut doc = Document::new(SCHEMA, &[]);
        let mut live = LiveQueries::new();
        live.subscribe(1, select("SELECT x FROM t"), &mut doc.db).unwrap();
        doc.db.migrate(&definition(&["", "ALTER TABLE t RENAME TO gone"], &[])).unwrap();
        let changes = live.changed(&Touched::All, &mut doc.db);
        assert_eq!(changes[0].rows.as_ref().unwrap_err().code, Code::Sql);
        assert!(live.changed(&Touched::All, &mut doc.db).is_empty());
        let runs = live.runs();
        assert!(live.changed(&tables(&["other"]), &mut doc.db).is_empty());
        assert_eq!(live.runs(), runs + 1);
        doc.db.migrate(&definition(&["", "", "ALTER TABLE gone RENAME TO t"], &[])).unwrap();
        let changes = live.changed(&Touched::All, &mut doc.db);
        assert!(changes[0].rows.is_ok());
    }

    #[test]
    fn a_query_that_fails_at_once_is_not_kept_and_nobody_is_told_twice() {
        let mut doc = Document::new(SCHEMA, &[]);
        let mut live = LiveQueries::new();
        assert!(live.subscribe(1, select("SELECT x FROM missing"), &mut doc.db).is_err());
        assert!(live.is_empty());
        live.subscribe(1, select("SELECT x FROM t"), &mut doc.db).unwrap();
        live.subscribe(2, select("SELECT x FROM t"), &mut doc.db).unwrap();
        live.subscribe(1, select("SELECT x FROM other"), &mut doc.db).unwrap();
        assert_eq!(change(&mut doc, &mut live, "INSERT INTO t VALUES (1)")[0].subscribers, [2]);
        assert!(live.unsubscribe(&2) && !live.unsubscribe(&2));
        assert_eq!(live.drop_where(|_| true), 1);
        assert!(live.is_empty());
    }

    #[test]
    fn a_live_query_equals_the_same_query_run_fresh() {
        let mut doc = Document::new(SCHEMA, &[]);
        let mut live = LiveQueries::new();
        let queries =
            ["SELECT x FROM t ORDER BY x", "SELECT count(*) FROM t, other", "SELECT max(x) FROM other"];
        let mut seen: Vec<_> = (0u32..)
            .zip(queries)
            .map(|(subscriber, sql)| live.subscribe(subscriber, select(sql), &mut doc.db).unwrap())
            .collect();
        let mut x = 3u64;
        for _ in 0..300 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let n = x >> 60;
            let sql = match (x >> 40) % 6 {
                0 | 1 => format!("INSERT INTO t VALUES ({n})"),
                2 => format!("DELETE FROM t WHERE x = {n}"),
                3 => format!("INSERT INTO other VALUES ({n})"),
                4 => format!("UPDATE other SET x = x + 1 WHERE x < {n}"),
                _ => {
                    doc.db.pages().clear_overlay();
                    let definition = definition(&[SCHEMA], &[]);
                    doc.db.migrate(&definition).unwrap();
                    for change in live.changed(&Touched::All, &mut doc.db) {
                        seen[change.subscribers[0] as usize] = change.rows.unwrap();
                    }
                    continue;
                }
            };
            for change in change(&mut doc, &mut live, &sql) {
                seen[change.subscribers[0] as usize] = change.rows.unwrap();
            }
            for (rows, sql) in seen.iter().zip(queries) {
                assert_eq!(*rows, doc.db.query(&select(sql)).unwrap().rows);
            }
        }
    }
}
