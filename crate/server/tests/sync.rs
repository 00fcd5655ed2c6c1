//! Clients of one server agree, whatever comes and goes.
// Helpers are outside of #[test] functions, where clippy would allow it by itself.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::Duration;

use offprint_protocol::message::{CatchUp, ClientMessage, ServerMessage};
use offprint_protocol::*;
use offprint_server::{FileDisk, Limits};
use support::{Copy, Ended, Running, Socket, add, mutation, push, running};

#[tokio::test]
async fn two_clients_converge() {
    let (server, _data) = running().await;
    let (mut one, mut two) = (Copy::new("a", 1), Copy::new("a", 2));
    let mut one_socket = one.connect(server.address).await;
    let mut two_socket = two.connect(server.address).await;
    for round in 1..=20 {
        one_socket.send(&push([add(round, &format!("one {round}"))])).await;
        two_socket.send(&push([add(round, &format!("two {round}"))])).await;
    }
    one.until(&mut one_socket, 20).await;
    two.until(&mut two_socket, 20).await;
    let ahead = if one.lsn() > two.lsn() { one.clone() } else { two.clone() };
    one.until_equal(&mut one_socket, &ahead).await;
    two.until_equal(&mut two_socket, &ahead).await;
    assert_eq!(one.query::<i64>("SELECT count(*) FROM note"), [40]);
    assert_eq!(one.rejections, []);
}

#[tokio::test]
async fn a_mutation_that_fails_is_rejected_alone_and_only_its_client_is_told() {
    let (server, _data) = running().await;
    let (mut one, mut two) = (Copy::new("a", 1), Copy::new("a", 2));
    let mut one_socket = one.connect(server.address).await;
    let mut two_socket = two.connect(server.address).await;
    let unknown = mutation(3, "unheard-of", &[]);
    one_socket.send(&push([add(1, "same"), add(2, "same"), unknown, add(4, "later")])).await;
    one.until(&mut one_socket, 4).await;
    two.until_equal(&mut two_socket, &one).await;
    let codes: Vec<_> =
        one.rejections.iter().map(|rejection| (rejection.seq.0, rejection.code.as_str())).collect();
    assert_eq!(codes, [(2, "constraint"), (3, "unknown_mutator")]);
    assert_eq!(two.rejections, []);
    assert_eq!(one.query::<String>("SELECT text FROM note ORDER BY n"), ["same", "later"]);
}

#[tokio::test]
async fn a_client_that_comes_back_gets_what_it_missed_and_its_repeats_change_nothing() {
    let (server, _data) = running().await;
    let (mut one, mut two) = (Copy::new("a", 1), Copy::new("a", 2));
    let mut one_socket = one.connect(server.address).await;
    one_socket.send(&push([add(1, "first"), add(2, "first")])).await;
    one.until(&mut one_socket, 2).await;
    one_socket.close().await;
    // As if the answer had been lost: what was not acknowledged is told again.
    let mut forgetful = Copy::new("a", 1);
    forgetful.connect(server.address).await;
    assert_eq!((forgetful.through, &forgetful.rejections), (MutationSeq(2), &one.rejections));
    let mut two_socket = two.connect(server.address).await;
    two_socket.send(&push([add(1, "meanwhile")])).await;
    two.until(&mut two_socket, 1).await;
    let mut one_socket = one.connect(server.address).await;
    assert_eq!(one.catch_up, Some(CatchUp::Tail));
    one.until_equal(&mut one_socket, &two).await;
    one_socket.send(&push([add(1, "first"), add(2, "first"), add(3, "third")])).await;
    one.until(&mut one_socket, 3).await;
    assert_eq!(one.query::<String>("SELECT text FROM note ORDER BY n"), ["first", "meanwhile", "third"]);
}

#[tokio::test]
async fn a_newer_session_of_a_client_takes_the_place_of_the_older() {
    let (server, _data) = running().await;
    let mut copy = Copy::new("a", 1);
    let mut older = copy.connect(server.address).await;
    let mut newer = copy.connect(server.address).await;
    assert_eq!(older.ended().await, Ended::Closed(1000));
    newer.send(&push([add(1, "one")])).await;
    copy.until(&mut newer, 1).await;
}

#[tokio::test]
async fn a_ping_is_answered_with_its_number() {
    let (server, _data) = running().await;
    let mut socket = Copy::new("a", 1).connect(server.address).await;
    socket.send(&ClientMessage::Ping(u64::MAX)).await;
    assert_eq!(socket.next().await, Ok(ServerMessage::Pong(u64::MAX)));
}

#[tokio::test]
async fn documents_know_nothing_of_each_other() {
    let (server, data) = running().await;
    let mut copies: Vec<Copy> = ["a", "A2", "..", "~"].iter().map(|id| Copy::new(id, 1)).collect();
    for copy in &mut copies {
        let mut socket = copy.connect(server.address).await;
        socket.send(&push([add(1, copy.hello.document.as_str())])).await;
        copy.until(&mut socket, 1).await;
    }
    for copy in &copies {
        assert_eq!(copy.query::<String>("SELECT text FROM note"), [copy.hello.document.as_str()]);
    }
    let journals: std::collections::BTreeSet<_> =
        copies.iter().map(|copy| copy.hello.position.unwrap().journal).collect();
    assert_eq!(journals.len(), copies.len());
    server.stop().await;
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), copies.len() + 1, "and the lock");
}

#[tokio::test]
async fn a_room_is_left_when_idle_and_opened_again_as_it_was() {
    let data = tempfile::tempdir().unwrap();
    let limits = Limits { idle: Duration::from_millis(1), ..Limits::default() };
    let server = Running::start(data.path(), limits).await;
    let mut copy = Copy::new("a", 1);
    for round in 1..=5 {
        let mut socket = copy.connect(server.address).await;
        socket.send(&push([add(round, &format!("{round}"))])).await;
        copy.until(&mut socket, round).await;
        socket.close().await;
        left(&data, "a").await;
    }
    let mut fresh = Copy::new("a", 2);
    let mut socket = fresh.connect(server.address).await;
    fresh.until_equal(&mut socket, &copy).await;
    assert_eq!(fresh.query::<i64>("SELECT count(*) FROM note"), [5]);
}

#[tokio::test]
async fn a_server_that_stops_says_so_and_the_next_one_goes_on() {
    let (server, data) = running().await;
    let mut copy = Copy::new("a", 1);
    let mut socket = copy.connect(server.address).await;
    let mut silent = Socket::open(server.address).await;
    socket.send(&push((1..=100).map(|seq| add(seq, &seq.to_string())))).await;
    copy.until(&mut socket, 1).await;
    server.stop().await;
    loop {
        match socket.next().await {
            Ok(message) => copy.take(message),
            Err(ended) => {
                assert_eq!(ended, Ended::Closed(1001));
                break;
            }
        }
    }
    assert_eq!(silent.ended().await, Ended::Closed(1001));
    let before = copy.clone();
    let server = Running::start(data.path(), Limits::default()).await;
    let mut socket = copy.connect(server.address).await;
    assert_eq!(copy.hello.position.unwrap().journal, before.hello.position.unwrap().journal);
    socket.send(&push((1..=100).map(|seq| add(seq, &seq.to_string())))).await;
    copy.until(&mut socket, 100).await;
    assert_eq!(copy.query::<i64>("SELECT count(*) FROM note"), [100]);
}

fn noise(seed: u64, length: usize) -> Value {
    let mut x = seed;
    let next = |_| {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 56) as u8
    };
    Value::Blob((0..length).map(next).collect())
}

#[tokio::test]
async fn a_client_that_does_not_read_gets_the_sum_of_what_it_missed_when_it_does() {
    let (server, _data) = running().await;
    let (mut slow, mut busy) = (Copy::new("a", 1), Copy::new("a", 2));
    let mut slow_socket = slow.connect(server.address).await;
    let mut busy_socket = busy.connect(server.address).await;
    // More than the outbox and what the two kernels' socket buffers take.
    for seq in 1..=60 {
        busy_socket.send(&push([mutation(seq, "fill", &[("bytes", noise(seq, 900_000))])])).await;
        busy.until(&mut busy_socket, seq).await;
    }
    slow_socket.send(&push([add(1, "meanwhile")])).await;
    let mut bytes = 0;
    while slow.through < MutationSeq(1) {
        let message = slow_socket.next().await.expect("the session ended");
        bytes += message.to_bytes().len();
        slow.take(message);
    }
    assert!(bytes < 30_000_000, "{bytes} of 54 million");
    busy.until_equal(&mut busy_socket, &slow).await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_for_long_is_cut_off() {
    let data = tempfile::tempdir().unwrap();
    let limits = Limits { stall: Duration::from_secs(2), ..Limits::default() };
    let server = Running::start(data.path(), limits).await;
    let (mut silent, mut busy) = (Copy::new("a", 1), Copy::new("a", 2));
    let mut silent_socket = silent.connect(server.address).await;
    let mut busy_socket = busy.connect(server.address).await;
    for seq in 1.. {
        busy_socket.send(&push([mutation(seq, "fill", &[("bytes", noise(seq, 900_000))])])).await;
        busy.until(&mut busy_socket, seq).await;
        let (_, metrics) = support::get(server.address, "/metrics", "").await;
        if metrics.contains("offprint_refusals_total{code=\"limit\"} 1\n") {
            break;
        }
    }
    let ended = silent_socket.ended().await;
    assert!(matches!(&ended, Ended::Refused(code) if code == "limit") || ended == Ended::Lost, "{ended:?}");
    let mut silent_socket = silent.connect(server.address).await;
    silent.until_equal(&mut silent_socket, &busy).await;
}

#[tokio::test]
async fn a_document_larger_than_the_outbox_reaches_a_new_client_while_others_write() {
    let data = tempfile::tempdir().unwrap();
    let limits = Limits { outbox: 2 << 20, ..Limits::default() };
    let server = Running::start(data.path(), limits).await;
    let (mut one, mut two) = (Copy::new("a", 1), Copy::new("a", 2));
    let mut one_socket = one.connect(server.address).await;
    for seq in 1..=30 {
        let Value::Blob(noise) = noise(seq, 400_000) else { panic!("noise is a blob") };
        let text = noise.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        one_socket.send(&push([add(seq, &text)])).await;
        one.until(&mut one_socket, seq).await;
    }
    // Nothing is read yet: most of the catch-up is still waiting when the next commits come.
    let mut two_socket = Socket::open(server.address).await;
    two_socket.send(&ClientMessage::Hello(two.hello.clone())).await;
    for seq in 31..=50 {
        one_socket.send(&push([add(seq, &format!("short {seq}"))])).await;
        one.until(&mut one_socket, seq).await;
    }
    two.until_equal(&mut two_socket, &one).await;
    assert_eq!(two.query::<i64>("SELECT count(*) FROM note"), [50]);
}

#[tokio::test]
async fn a_commit_larger_than_the_outbox_reaches_everybody_who_reads() {
    let data = tempfile::tempdir().unwrap();
    let limits = Limits { outbox: 64 << 10, ..Limits::default() };
    let server = Running::start(data.path(), limits).await;
    let (mut one, mut two) = (Copy::new("a", 1), Copy::new("a", 2));
    let mut one_socket = one.connect(server.address).await;
    let mut two_socket = two.connect(server.address).await;
    let keep = |seq| mutation(seq, "keep", &[("bytes", noise(seq, 900_000))]);
    one_socket.send(&push((1..=4).map(keep))).await;
    one.until(&mut one_socket, 4).await;
    two.until_equal(&mut two_socket, &one).await;
    assert_eq!(two.query::<i64>("SELECT sum(length(bytes)) FROM blob"), [3_600_000]);
}

#[tokio::test]
async fn a_client_that_gives_no_sign_of_life_is_given_up() {
    let data = tempfile::tempdir().unwrap();
    let limits =
        Limits { ping: Duration::from_millis(200), idle: Duration::from_millis(1), ..Limits::default() };
    let server = Running::start(data.path(), limits).await;
    // This client answers pings only while it reads.
    let mut socket = Copy::new("a", 1).connect(server.address).await;
    left(&data, "a").await;
    assert_eq!(socket.ended().await, Ended::Lost);
}

/// Waits until the room is left: then its files can be had.
async fn left(data: &tempfile::TempDir, document: &str) {
    let (path, id) = (data.path().to_owned(), DocumentId::new(document).unwrap());
    let take = move || FileDisk::open(&path, &id, support::PATIENCE).map(drop);
    tokio::task::spawn_blocking(take).await.unwrap().unwrap();
}
