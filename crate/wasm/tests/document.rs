//! The core in a worker of a real browser, through the binding's own messages.
#![cfg(target_family = "wasm")]
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod host;

use host::{Host, TAB_A, TAB_B, at, config, json, request};
use js_sys::{BigInt, Reflect, Uint8Array};
use offprint_protocol::{Reader, Value};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

fn find(events: &[JsValue], path: &str) -> JsValue {
    let found = events.iter().map(|event| at(event, path)).find(|value| !value.is_undefined());
    found.unwrap_or_else(|| panic!("no {path} in {events:?}"))
}

/// The cells of a result, row after row.
fn cells(rows: &JsValue) -> Vec<Value> {
    let bytes = Uint8Array::new(rows).to_vec();
    let mut reader = Reader::new(&bytes);
    let columns = reader.varint().unwrap();
    for _ in 0..columns {
        reader.str().unwrap();
    }
    let count = reader.varint().unwrap();
    let mut cell = || match reader.u8().unwrap() {
        0 => Value::Null,
        1 => Value::Integer(reader.zigzag().unwrap()),
        2 => Value::Real(f64::from_bits(reader.u64().unwrap())),
        3 => Value::Text(reader.str().unwrap().to_owned()),
        4 => Value::Blob(reader.bytes().unwrap().to_owned()),
        tag => panic!("a cell of kind {tag}"),
    };
    (0..count * columns).map(|_| cell()).collect()
}

fn query(host: &mut Host, sql: &str) -> Vec<Value> {
    host.heard(TAB_B);
    host.put(&[request(TAB_B, 900, &format!(r#"{{"query": {{"sql": "{sql}", "params": []}}}}"#))]);
    cells(&find(&host.heard(TAB_B), "reply.reply.rows"))
}

#[wasm_bindgen_test]
fn a_mutation_is_applied_and_durable_and_there_after_reopening() {
    let mut host = Host::new();
    let status = host.heard(TAB_A).pop().unwrap();
    assert_eq!(at(&status, "status.storage.kind"), "opfs");
    assert_eq!(at(&status, "status.storage.reason"), JsValue::NULL);
    assert_eq!(at(&status, "status.ready"), true);
    host.put(&[request(TAB_A, 1, r#"{"mutate": {"name": "add", "args": {"id": "x", "n": 1.5}}}"#)]);
    let heard = host.heard(TAB_A);
    assert_eq!(find(&heard, "reply.no"), 1);
    assert_eq!(find(&heard, "reply.reply.applied.seq"), 1);
    assert_eq!(find(&heard, "durable.requests.0"), 1);
    let expected = [Value::Text("x".into()), Value::Real(1.5)];
    assert_eq!(query(&mut host, "SELECT id, n FROM todo"), expected);
    host.reopen();
    assert_eq!(query(&mut host, "SELECT id, n FROM todo"), expected);
}

#[wasm_bindgen_test]
fn a_repeated_request_is_answered_and_not_run_again_also_by_the_next_hub() {
    let mut host = Host::new();
    let add = r#"{"mutate": {"name": "add", "args": {"id": "x", "n": null}}}"#;
    host.put(&[request(TAB_A, 7, add)]);
    host.put(&[request(TAB_A, 7, add)]);
    host.reopen();
    host.heard(TAB_A);
    host.put(&[request(TAB_A, 7, add)]);
    let heard = host.heard(TAB_A);
    assert_eq!(find(&heard, "reply.reply.applied.seq"), 1);
    assert_eq!(query(&mut host, "SELECT count(*) FROM todo"), [Value::Integer(1)]);
}

#[wasm_bindgen_test]
fn an_inspection_tells_what_no_server_has_without_opening_the_document() {
    let mut host = Host::new();
    assert_eq!(at(&host.inspect().unwrap(), "mutations"), 0);
    host.put(&[request(TAB_A, 1, r#"{"mutate": {"name": "add", "args": {"id": "x", "n": null}}}"#)]);
    host.put(&[request(TAB_A, 2, r#"{"mutate": {"name": "add", "args": {"id": "y", "n": null}}}"#)]);
    assert_eq!(at(&host.inspect().unwrap(), "mutations"), 2);
    host.reopen();
    assert_eq!(query(&mut host, "SELECT count(*) FROM todo"), [Value::Integer(2)]);
}

#[wasm_bindgen_test]
fn an_inspection_of_another_documents_files_throws_a_problem() {
    let mut host = Host::new();
    assert_eq!(at(&host.inspect_as("b").unwrap_err(), "code"), "corrupt");
    assert_eq!(at(&host.inspect_as("not an id").unwrap_err(), "code"), "bad_document_id");
}

#[wasm_bindgen_test]
fn a_malformed_request_fails_alone() {
    let mut host = Host::new();
    host.heard(TAB_A);
    host.heard(TAB_B);
    host.put(&[
        request(TAB_A, 1, r#"{"mutate": {"name": "add", "args": {"id": {"not": "a value"}, "n": 1}}}"#),
        request(TAB_A, 2, r#"{"explode": {}}"#),
        request(TAB_A, 3, "null"),
        request(TAB_B, 1, r#"{"mutate": {"name": "add", "args": {"id": "x", "n": 1}}}"#),
    ]);
    let failed = host.heard(TAB_A);
    for no in 1..=3 {
        let failure = failed.iter().find(|event| at(event, "failed.no") == no).unwrap();
        assert_eq!(at(failure, "failed.problem.code"), "bad_argument", "{failure:?}");
    }
    assert_eq!(find(&host.heard(TAB_B), "reply.reply.applied.seq"), 1);
}

#[wasm_bindgen_test]
fn values_of_every_kind_cross_unchanged() {
    let mut host = Host::new();
    let params = js_sys::Array::of5(
        &JsValue::NULL,
        &BigInt::from(i64::MIN).into(),
        &0.5.into(),
        &"ü\0".into(),
        &Uint8Array::from([0, 255].as_slice()).into(),
    );
    params.push(&true.into());
    params.push(&3.into());
    let ask = request(TAB_A, 1, r#"{"query": {"sql": "SELECT ?, ?, ?, ?, ?, ?, ?"}}"#);
    Reflect::set(&at(&ask, "request.request.query"), &"params".into(), &params).unwrap();
    host.heard(TAB_A);
    host.put(&[ask]);
    let expected = [
        Value::Null,
        Value::Integer(i64::MIN),
        Value::Real(0.5),
        Value::Text("ü\0".into()),
        Value::Blob(vec![0, 255]),
        Value::Integer(1),
        Value::Integer(3),
    ];
    assert_eq!(cells(&find(&host.heard(TAB_A), "reply.reply.rows")), expected);
}

#[wasm_bindgen_test]
fn a_live_query_of_one_tab_sees_the_mutation_of_another() {
    let mut host = Host::new();
    let select = r#"{"sql": "SELECT id FROM todo WHERE done", "params": []}"#;
    host.put(&[request(TAB_B, 1, &format!(r#"{{"subscribe": {{"subscription": 5, "select": {select}}}}}"#))]);
    let first = host.heard(TAB_B);
    assert_eq!(find(&first, "rows.subscription"), 5);
    assert_eq!(cells(&find(&first, "rows.rows")), []);
    host.put(&[
        request(TAB_A, 1, r#"{"mutate": {"name": "add", "args": {"id": "x", "n": 1}}}"#),
        request(TAB_A, 2, r#"{"mutate": {"name": "finish", "args": {"id": "x"}}}"#),
    ]);
    assert_eq!(cells(&find(&host.heard(TAB_B), "rows.rows")), [Value::Text("x".into())]);
}

#[wasm_bindgen_test]
fn a_bad_definition_and_a_bad_id_throw_their_codes() {
    let bad = r#"{"name": "", "migrations": [], "mutators": {}}"#;
    assert_eq!(at(&offprint_wasm::start(config(bad, 1)).unwrap_err(), "code"), "bad_definition");
    let good = r#"{"name": "a", "migrations": [], "mutators": {}}"#;
    let other = config(good, 1);
    Reflect::set(&other, &"document".into(), &"a/b".into()).unwrap();
    assert_eq!(at(&offprint_wasm::start(other).unwrap_err(), "code"), "bad_document_id");
}

#[wasm_bindgen_test]
fn without_a_replica_nothing_is_handled() {
    offprint_wasm::stop();
    let inputs = js_sys::Array::of1(&json(r#""wake""#));
    assert!(offprint_wasm::handle(0.0, &inputs).is_err());
}
