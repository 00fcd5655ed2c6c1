//! What one session, one document, one connection may take, and that the others do not notice.
// Helpers are outside of #[test] functions, where clippy would allow it by itself.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::Duration;

use offprint_protocol::message::ClientMessage;
use offprint_protocol::*;
use offprint_server::Limits;
use support::{Copy, Ended, PATIENCE, Running, Socket, add, mutation, push};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

async fn limited(limits: Limits) -> (Running, TempDir) {
    let data = tempfile::tempdir().unwrap();
    (Running::start(data.path(), limits).await, data)
}

/// What comes until the server closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it stays open");
    String::from_utf8_lossy(&answer).into_owned()
}

fn code(ended: Result<Socket, Ended>) -> String {
    match ended.err() {
        Some(Ended::Refused(code)) => code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_connection_that_does_not_finish_its_request_is_closed() {
    let (server, _data) = limited(Limits { hello: Duration::from_secs(1), ..Limits::default() }).await;
    for beginning in ["", "GET /sy", "GET /healthz HTTP/1.1\r\nHost: a\r\nX: "] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        assert!(!rest(&mut stream).await.contains("200 OK"), "{beginning}");
    }
    // One that was answered and does not ask again is closed, too.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(rest(&mut stream).await.contains("200 OK"));
}

#[tokio::test]
async fn a_head_that_does_not_end_is_refused() {
    let (server, _data) = limited(Limits::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    let line = format!("X-Padding: {}\r\n", "x".repeat(1000));
    for _ in 0..100 {
        if stream.write_all(line.as_bytes()).await.is_err() {
            break;
        }
    }
    assert!(!rest(&mut stream).await.contains("200 OK"));
    Copy::new("a", 1).connect(server.address).await;
}

#[tokio::test]
async fn connections_without_a_session_have_few_places_and_sessions_do_not_take_them() {
    let (server, _data) = limited(Limits { handshakes: 2, ..Limits::default() }).await;
    let mut sessions = Vec::new();
    for client in 1..=5 {
        let mut copy = Copy::new("a", client);
        sessions.push(copy.connect(server.address).await);
    }
    let silent = Socket::open(server.address).await;
    let idle = TcpStream::connect(server.address).await.unwrap();
    // Both places are taken once the second is seen.
    let answer = loop {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        let answer = rest(&mut stream).await;
        if !answer.contains("200 OK") {
            break answer;
        }
    };
    assert!(answer.is_empty() || answer.contains("\"code\":\"limit\""), "{answer}");
    drop((silent, idle));
    let mut copy = Copy::new("a", 9);
    let mut socket = loop {
        // Until the server has seen that they are gone.
        if let Ok((stream, _)) =
            tokio_tungstenite::connect_async(format!("ws://{}/sync", server.address)).await
        {
            drop(stream);
            break copy.connect(server.address).await;
        }
    };
    socket.send(&push([add(1, "one")])).await;
    copy.until(&mut socket, 1).await;
}

#[tokio::test]
async fn sessions_and_open_documents_are_limited_in_number() {
    let (server, _data) = limited(Limits { sessions: 2, rooms: 1, ..Limits::default() }).await;
    let mut first = Copy::new("a", 1).connect(server.address).await;
    assert_eq!(code(Copy::new("b", 1).try_connect(server.address).await), "limit");
    let _second = Copy::new("a", 2).connect(server.address).await;
    assert_eq!(code(Copy::new("a", 3).try_connect(server.address).await), "limit");
    first.close().await;
    while Copy::new("a", 3).try_connect(server.address).await.is_err() {}
}

#[tokio::test]
async fn a_message_longer_than_the_operator_allows_is_refused() {
    let least = 2 << 20;
    let (server, _data) = limited(Limits { message: least, ..Limits::default() }).await;
    let mut copy = Copy::new("a", 1);
    let mut socket = copy.connect(server.address).await;
    socket.send(&push([add(1, &"x".repeat(999_000)), add(2, &"y".repeat(999_000))])).await;
    copy.until(&mut socket, 2).await;
    assert_eq!(copy.rejections, []);
    socket.send_raw(Message::Binary(vec![2; least + 1].into())).await;
    socket.is_closed_with("limit").await;
}

#[tokio::test]
async fn a_mutation_that_is_too_large_is_rejected_alone() {
    let (server, _data) = limited(Limits { mutation: 1000, ..Limits::default() }).await;
    let mut copy = Copy::new("a", 1);
    let mut socket = copy.connect(server.address).await;
    socket.send(&push([add(1, "small"), add(2, &"x".repeat(1001)), add(3, &"y".repeat(1000))])).await;
    copy.until(&mut socket, 3).await;
    let rejected: Vec<_> = copy.rejections.iter().map(|one| (one.seq.0, one.code.as_str())).collect();
    assert_eq!(rejected, [(2, "too_large")]);
    assert_eq!(copy.query::<i64>("SELECT count(*) FROM note"), [2]);
}

#[tokio::test]
async fn a_mutation_that_takes_too_long_is_rejected_alone() {
    let (server, _data) =
        limited(Limits { mutation_time: Duration::from_millis(1), ..Limits::default() }).await;
    let mut copy = Copy::new("a", 1);
    let mut socket = copy.connect(server.address).await;
    // As many rows as would be in time by the number of SQLite's instructions.
    socket.send(&push([mutation(1, "count", &[("to", Value::Integer(500_000))])])).await;
    copy.until(&mut socket, 1).await;
    // Shorter than what is done between two looks at the clock, so that it is in time on any machine.
    socket.send(&push([add(2, "one")])).await;
    copy.until(&mut socket, 2).await;
    let rejected: Vec<_> = copy.rejections.iter().map(|one| (one.seq.0, one.code.as_str())).collect();
    assert_eq!(rejected, [(1, "limit")]);
    assert_eq!(copy.query::<String>("SELECT text FROM note"), ["one"]);
    assert_eq!(copy.query::<i64>("SELECT count(*) FROM seen"), [0]);
}

#[tokio::test]
async fn a_document_grows_to_its_limit_and_shrinks_again() {
    let (server, data) = limited(Limits { document: 400 << 10, ..Limits::default() }).await;
    let mut copy = Copy::new("a", 1);
    let mut socket = copy.connect(server.address).await;
    let keep = |seq| mutation(seq, "keep", &[("bytes", Value::Blob(vec![seq as u8; 100_000]))]);
    let small = mutation(6, "fill", &[("bytes", Value::Blob(vec![6]))]);
    socket.send(&push((1..=5).map(keep).chain([small, keep(7)]))).await;
    copy.until(&mut socket, 7).await;
    let rejected: Vec<_> = copy.rejections.iter().map(|one| (one.seq.0, one.code.as_str())).collect();
    assert_eq!(rejected, [(4, "limit"), (5, "limit")]);
    assert!(copy.page_count <= 100, "{}", copy.page_count);
    socket.close().await;
    server.stop().await;
    // One that is larger than a new limit can still be read, and changed if it does not grow.
    let server = Running::start(data.path(), Limits { document: 8 << 10, ..Limits::default() }).await;
    let mut socket = copy.connect(server.address).await;
    socket.send(&push([add(8, "one more")].into_iter().chain((9..=12).map(keep)))).await;
    copy.until(&mut socket, 12).await;
    let last = copy.rejections.last().map(|one| (one.seq.0, one.code.clone()));
    assert_eq!(last, Some((12, "limit".into())));
    assert!(copy.page_count <= 100, "{}", copy.page_count);
}

#[tokio::test]
async fn a_session_that_talks_too_fast_is_slowed_down_and_loses_nothing() {
    let (server, _data) = limited(Limits { rate: 100, ..Limits::default() }).await;
    let mut copy = Copy::new("a", 1);
    let mut socket = copy.connect(server.address).await;
    let start = std::time::Instant::now();
    for seq in 1..=150 {
        socket.send(&push([add(seq, &seq.to_string())])).await;
    }
    copy.until(&mut socket, 150).await;
    assert!(start.elapsed() >= Duration::from_millis(490), "{:?}", start.elapsed());
    socket.send(&ClientMessage::Ping(1)).await;
    assert_eq!(copy.rejections, []);
}
