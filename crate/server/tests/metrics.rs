//! What the server tells those who watch it.
// Helpers are outside of #[test] functions, where clippy would allow it by itself.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use offprint_server::{Auth, Config, Limits, Server};
use support::{Copy, Running, Socket, add, definition, get, push, running};
use tokio_tungstenite::tungstenite::Message;

async fn value(address: SocketAddr, name: &str) -> f64 {
    let (status, text) = get(address, "/metrics", "").await;
    assert_eq!(status, 200);
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.unwrap_or("0").parse().unwrap()
}

#[tokio::test]
async fn health_is_told_over_http_and_unknown_paths_are_not_found() {
    let (server, _data) = running().await;
    for (path, expected) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/", 404),
        ("/sync", 400),
        ("/healthz/x", 404),
    ] {
        assert_eq!(get(server.address, path, "").await.0, expected, "{path}");
    }
}

#[tokio::test]
async fn a_document_that_nobody_needs_leaves_memory_and_its_sessions_do_not_notice() {
    let data = tempfile::tempdir().unwrap();
    let limits = Limits { idle: Duration::from_millis(50), ..Limits::default() };
    let server = Running::start(data.path(), limits).await;
    let (mut a, mut b) = (Copy::new("a", 1), Copy::new("a", 2));
    let (mut of_a, mut of_b) = (a.connect(server.address).await, b.connect(server.address).await);
    for round in 1..=3 {
        while value(server.address, "offprint_rests_total").await < f64::from(round) {}
        of_a.send(&push([add(u64::try_from(round).unwrap(), "one")])).await;
        a.until(&mut of_a, u64::try_from(round).unwrap()).await;
        b.until_equal(&mut of_b, &a).await;
    }
    assert_eq!(value(server.address, "offprint_rooms").await, 1.0);
}

#[tokio::test]
async fn what_happens_is_counted() {
    let (server, _data) = running().await;
    let mut copy = Copy::new("a", 1);
    let mut socket = copy.connect(server.address).await;
    socket.send(&push([add(1, "one"), add(2, "one"), add(3, "three")])).await;
    copy.until(&mut socket, 3).await;
    let mut garbage = Socket::open(server.address).await;
    garbage.send_raw(Message::text("hello")).await;
    garbage.is_closed_with("bad_frame").await;
    for (name, expected) in [
        ("offprint_rooms", 1.0),
        ("offprint_sessions", 1.0),
        ("offprint_commits_total", 1.0),
        ("offprint_mutations_total", 3.0),
        ("offprint_rejections_total", 1.0),
        ("offprint_refusals_total{code=\"bad_frame\"}", 1.0),
    ] {
        assert_eq!(value(server.address, name).await, expected, "{name}");
    }
    for name in ["offprint_received_bytes_total", "offprint_sent_bytes_total", "offprint_flush_seconds_count"]
    {
        assert!(value(server.address, name).await > 0.0, "{name}");
    }
    socket.close().await;
    while value(server.address, "offprint_sessions").await > 0.0 {}
}

#[tokio::test]
async fn where_tokens_are_asked_for_metrics_are_at_an_address_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, [7; 32]).unwrap();
    let source = format!("hs256={}", secret.display()).parse().unwrap();
    let config = |metrics| Config {
        definition: definition(),
        data: dir.path().join("data"),
        listen: "127.0.0.1:0".into(),
        origins: vec![],
        auth: Some(Auth::load(&[source], None, None).unwrap()),
        metrics,
        limits: Limits::default(),
    };
    let server = Server::bind(config(Some("127.0.0.1:0".into()))).await.unwrap();
    let (address, watched, stop) = (server.address(), server.metrics_address().unwrap(), server.stop_token());
    let running = tokio::spawn(server.run());
    assert_eq!(get(address, "/metrics", "").await.0, 404);
    assert_eq!(get(address, "/healthz", "").await.0, 200);
    assert_eq!(get(watched, "/metrics", "").await.0, 200);
    assert_eq!(get(watched, "/sync", "").await.0, 404);
    stop.cancel();
    running.await.unwrap();
}
