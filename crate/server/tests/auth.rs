//! Sessions with tokens: who gets in, to what, and for how long.
// Helpers are outside of #[test] functions, where clippy would allow it by itself.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use offprint_protocol::*;
use offprint_server::{Auth, Limits};
use serde_json::{Value, json};
use support::{Copy, Ended, Running, add, push};
use tempfile::TempDir;

const SECRET: &[u8] = b"a secret that is long enough: 32";
/// What the server allows clocks to differ by, in seconds.
const LEEWAY: i64 = 30;

async fn guarded() -> (Running, TempDir) {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("secret");
    std::fs::write(&path, SECRET).unwrap();
    let source = format!("hs256={}", path.display()).parse().unwrap();
    let auth = Auth::load(&[source], None, None).unwrap();
    (Running::start_with(data.path(), Limits::default(), Some(auth)).await, data)
}

/// A token that is good for so many more seconds.
fn token(seconds: i64, grants: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let claims = json!({ "exp": now + (seconds - LEEWAY) as f64, "offprint": grants });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

fn with(document: &str, client: u8, token: String) -> Copy {
    let mut copy = Copy::new(document, client);
    copy.hello.token = token;
    copy
}

async fn refused(server: &Running, mut copy: Copy) -> String {
    match copy.try_connect(server.address).await {
        Err(Ended::Refused(code)) => code,
        Err(ended) => panic!("{ended:?}"),
        Ok(_) => panic!("it is let in"),
    }
}

#[tokio::test]
async fn a_token_opens_what_it_names_and_nothing_else() {
    let (server, _data) = guarded().await;
    let grants = json!([{ "doc": "team-42", "access": "write" }, { "prefix": "user-7-", "access": "read" }]);
    let good = token(3600, &grants);
    // Reading makes no document.
    let all = token(3600, &json!([{ "prefix": "", "access": "write" }]));
    with("user-7-a", 1, all).connect(server.address).await;
    for document in ["team-42", "user-7-a"] {
        with(document, 1, good.clone()).connect(server.address).await;
    }
    for document in ["team-43", "user-8-a"] {
        assert_eq!(refused(&server, with(document, 1, good.clone())).await, "forbidden");
    }
    for bad in [String::new(), "t0ken".into(), token(-10, &grants), format!("{good}x")] {
        assert_eq!(refused(&server, with("team-42", 1, bad)).await, "unauthorized");
    }
    // Who may not open a document does not learn what the server serves either.
    let mut stranger = with("team-43", 1, good);
    stranger.hello.hash = DefinitionHash([0; 32]);
    assert_eq!(refused(&server, stranger).await, "forbidden");
}

#[tokio::test]
async fn a_reader_hears_of_changes_and_one_that_pushes_is_refused_and_keeps_what_it_made() {
    let (server, _data) = guarded().await;
    let write = token(3600, &json!([{ "doc": "a", "access": "write" }]));
    let read = token(3600, &json!([{ "doc": "a", "access": "read" }]));
    let (mut writer, mut reader) = (with("a", 1, write.clone()), with("a", 2, read));
    let mut writer_socket = writer.connect(server.address).await;
    let mut reader_socket = reader.connect(server.address).await;
    writer_socket.send(&push([add(1, "written")])).await;
    writer.until(&mut writer_socket, 1).await;
    reader.until_equal(&mut reader_socket, &writer).await;
    reader_socket.send(&push([add(1, "wished")])).await;
    reader_socket.is_closed_with("forbidden").await;
    // Nothing was decided: with a better token the same mutation goes in.
    reader.hello.token = write;
    let mut reader_socket = reader.connect(server.address).await;
    assert_eq!((reader.through, &reader.rejections[..]), (MutationSeq(0), &[][..]));
    reader_socket.send(&push([add(1, "wished")])).await;
    reader.until(&mut reader_socket, 1).await;
    assert_eq!(reader.query::<String>("SELECT text FROM note ORDER BY n"), ["written", "wished"]);
}

#[tokio::test]
async fn a_reader_makes_no_document_and_is_let_in_once_there_is_one() {
    let (server, data) = guarded().await;
    let write = token(3600, &json!([{ "doc": "a", "access": "write" }]));
    let read = token(3600, &json!([{ "doc": "a", "access": "read" }]));
    let mut reader = with("a", 2, read);
    assert_eq!(refused(&server, reader.clone()).await, "bad_document_id");
    assert!(!data.path().join("a.offprint").exists());
    let mut writer = with("a", 1, write);
    let mut socket = writer.connect(server.address).await;
    socket.send(&push([add(1, "written")])).await;
    writer.until(&mut socket, 1).await;
    let mut reader_socket = reader.connect(server.address).await;
    reader.until_equal(&mut reader_socket, &writer).await;
}

#[tokio::test]
async fn a_session_ends_with_its_token_and_a_fresh_token_goes_on() {
    let (server, _data) = guarded().await;
    let grants = json!([{ "doc": "a", "access": "write" }]);
    let mut copy = with("a", 1, token(4, &grants));
    let mut other = with("a", 2, token(3600, &grants));
    let mut socket = copy.connect(server.address).await;
    let mut other_socket = other.connect(server.address).await;
    socket.send(&push([add(1, "one")])).await;
    copy.until(&mut socket, 1).await;
    socket.is_closed_with("unauthorized").await;
    assert_eq!(refused(&server, copy.clone()).await, "unauthorized");
    copy.hello.token = token(3600, &grants);
    let mut socket = copy.connect(server.address).await;
    socket.send(&push([add(2, "two")])).await;
    copy.until(&mut socket, 2).await;
    other.until_equal(&mut other_socket, &copy).await;
}

#[tokio::test]
async fn with_tokens_the_server_may_be_reached_from_other_machines() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("secret");
    std::fs::write(&path, SECRET).unwrap();
    let source = format!("hs256={}", path.display()).parse().unwrap();
    let config = offprint_server::Config {
        definition: support::definition(),
        data: data.path().to_owned(),
        listen: "0.0.0.0:0".into(),
        origins: vec![],
        auth: Some(Auth::load(&[source], None, None).unwrap()),
        metrics: None,
        limits: Limits { hello: Duration::from_secs(1), ..Limits::default() },
    };
    offprint_server::Server::bind(config).await.unwrap();
}
