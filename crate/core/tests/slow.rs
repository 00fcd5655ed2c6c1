//! Receivers that are slow: what waits for them is bounded, and they end where everybody is.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod pair;

use offprint_core::PrimaryLimits;
use offprint_core::disk_memory::DiskMemory;
use offprint_core::host::{PrimaryInput, ReplicaInput};
use offprint_protocol::message::{ClientMessage, ServerMessage};
use offprint_protocol::rpc::Connection;
use offprint_protocol::{Encode, Lsn, MutationSeq, Value};
use pair::*;

const WINDOW: usize = 64 << 10;

fn server() -> Server {
    let limits = PrimaryLimits { window: WINDOW, ..PrimaryLimits::default() };
    Server::limited(1, DiskMemory::new(1), limits)
}

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Value {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    };
    Value::Blob((0..length).map(next).collect())
}

/// Reads to the end, and gives what came and the most bytes that waited.
fn read(server: &mut Server, client: &mut Client) -> (Vec<ServerMessage>, usize) {
    let session = client.socket.unwrap();
    let (mut messages, mut most) = (Vec::new(), 0);
    loop {
        most = most.max(server.waiting(session));
        match server.read_one(client) {
            Some(message) => messages.push(message),
            None => return (messages, most),
        }
        push(server, &mut [client]);
    }
}

/// Two clients in step, of which the second reads only when told to.
fn one_fast_one_slow(server: &mut Server) -> (Client, Client) {
    let (mut fast, mut slow) = (Client::new(2), Client::new(3));
    sync(server, &mut [&mut fast, &mut slow]);
    for row in 0..10 {
        fast.ask(mutate("put", &[("name", text(&format!("row {row}"))), ("data", noise(row, 3000))]));
    }
    sync(server, &mut [&mut fast, &mut slow]);
    server.slow.insert(slow.socket.unwrap(), false);
    (fast, slow)
}

fn set(server: &mut Server, client: &mut Client, round: u64) {
    let name = text(&format!("row {}", round % 10));
    client.ask(mutate("set", &[("name", name), ("data", noise(round + 100, 3000))]));
    deliver(server, &mut [client]);
}

fn assert_equal(server: &mut Server, client: &mut Client) {
    assert_eq!(client.replica.position(), server.primary.position());
    assert!(client.replica.image() == server.primary.image());
}

#[test]
fn a_slow_receiver_gets_the_sum_of_what_it_missed() {
    let mut server = server();
    let (mut fast, mut slow) = one_fast_one_slow(&mut server);
    let session = slow.socket.unwrap();
    for round in 0..1000 {
        set(&mut server, &mut fast, round);
        assert!(server.waiting(session) < WINDOW + 8192, "{}", server.waiting(session));
    }
    let commits = server.said(session);
    assert!(commits.iter().all(|message| matches!(message, ServerMessage::Commits(_))));
    assert!(commits.len() < 100, "{}", commits.len());
    let (came, _) = read(&mut server, &mut slow);
    let after = &came[commits.len()..];
    assert!(after.iter().all(|message| matches!(message, ServerMessage::Rollup(_))), "{after:?}");
    let bytes: usize = after.iter().map(|message| message.to_bytes().len()).sum();
    assert!(bytes < 100_000, "{bytes} for ten rows of 3000 bytes");
    assert_equal(&mut server, &mut slow);
    // From here on it is like any other.
    set(&mut server, &mut fast, 1);
    assert!(matches!(server.said(session)[..], [ServerMessage::Commits(_)]));
    read(&mut server, &mut slow);
    assert_equal(&mut server, &mut slow);
}

#[test]
fn a_receiver_that_missed_little_gets_the_commits() {
    let mut server = server();
    let (mut fast, mut slow) = one_fast_one_slow(&mut server);
    for round in 0..40 {
        set(&mut server, &mut fast, round);
    }
    let (came, _) = read(&mut server, &mut slow);
    let count = |message: &ServerMessage| match message {
        ServerMessage::Commits(batch) => batch.commits.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(came.iter().map(count).sum::<usize>(), 40);
    assert!(came.len() < 40, "what it missed comes at once");
    assert_equal(&mut server, &mut slow);
}

#[test]
fn a_rollup_under_way_is_of_one_state_whatever_is_committed_meanwhile() {
    let mut server = server();
    let mut fast = Client::new(2);
    fast.ask(mutate("grow", &[("name", text("n")), ("count", Value::Integer(30_000))]));
    sync(&mut server, &mut [&mut fast]);
    fast.ask(mutate("put", &[("name", text("row 1")), ("data", noise(1, 3000))]));
    sync(&mut server, &mut [&mut fast]);

    let mut slow = Client::new(3);
    let session = server.session();
    slow.socket = Some(session);
    server.slow.insert(session, false);
    slow.tell(ReplicaInput::SocketOpened { token: String::new() });
    push(&mut server, &mut [&mut slow]);
    let begun = server.primary.position().unwrap().lsn;
    let mut came = Vec::new();
    for round in 0.. {
        assert!(server.waiting(session) < WINDOW + WINDOW / 2, "{}", server.waiting(session));
        let Some(message) = server.read_one(&mut slow) else { break };
        came.push(message);
        if round < 30 {
            set(&mut server, &mut fast, 1);
        }
    }
    let parts = came.iter().filter_map(|message| match message {
        ServerMessage::Rollup(part) => Some((part.to, part.last)),
        _ => None,
    });
    let parts: Vec<_> = parts.collect();
    assert!(parts.len() > 30, "{} parts", parts.len());
    assert!(parts.iter().all(|(to, _)| *to == begun));
    assert!(matches!(came[0], ServerMessage::Welcome(_)));
    assert!(came[1..=parts.len()].iter().all(|message| matches!(message, ServerMessage::Rollup(_))));
    assert!(matches!(came[parts.len() + 1..], [ServerMessage::Commits(_)]));
    assert_equal(&mut server, &mut slow);
}

#[test]
fn a_commit_larger_than_the_window_waits_for_those_who_are_slow() {
    let mut server = server();
    let (mut fast, mut slow) = one_fast_one_slow(&mut server);
    let session = slow.socket.unwrap();
    fast.ask(mutate("grow", &[("name", text("n")), ("count", Value::Integer(100_000))]));
    deliver(&mut server, &mut [&mut fast]);
    assert_equal(&mut server, &mut fast);
    let (came, most) = read(&mut server, &mut slow);
    assert!(came.len() > 60 && most < WINDOW + WINDOW / 2, "{} parts, {most} bytes", came.len());
    assert_equal(&mut server, &mut slow);
    assert_eq!(server.waiting(session), 0);
}

#[test]
fn a_rejection_reaches_a_slow_receiver_with_a_position_that_includes_it_and_once() {
    let mut server = server();
    let (mut fast, mut slow) = one_fast_one_slow(&mut server);
    let session = slow.socket.unwrap();
    for round in 0..100 {
        set(&mut server, &mut fast, round);
    }
    // It cannot know that the name is taken.
    fast.ask(add("milk"));
    deliver(&mut server, &mut [&mut fast]);
    let refused = slow.ask(add("milk"));
    let fine = slow.ask(add("bread"));
    push(&mut server, &mut [&mut slow]);
    let decided = server.primary.position().unwrap().lsn;
    for round in 0..1000 {
        set(&mut server, &mut fast, round);
    }
    assert_eq!(slow.told(refused), ["applied", "durable"]);
    let (came, _) = read(&mut server, &mut slow);
    let mut tellings = Vec::new();
    for message in &came {
        let (outcomes, lsn) = match message {
            ServerMessage::Commits(batch) => {
                (&batch.outcomes, batch.commits.last().map_or(Lsn(0), |commit| commit.lsn))
            }
            ServerMessage::Rollup(part) if part.last => (&part.outcomes, part.to),
            ServerMessage::Rollup(part) => (&part.outcomes, Lsn(0)),
            other => panic!("{other:?}"),
        };
        tellings.extend(outcomes.iter().map(|outcome| (outcome.clone(), lsn)));
    }
    let [(outcome, lsn)] = &tellings[..] else { panic!("{tellings:?}") };
    assert!(*lsn >= decided);
    assert_eq!((outcome.through.seq, outcome.rejections.len()), (MutationSeq(2), 1));
    assert_eq!(slow.told(refused), ["applied", "durable", "rejected constraint"]);
    assert_eq!(slow.told(fine), ["applied", "durable", "confirmed"]);
    assert_equal(&mut server, &mut slow);
    assert_eq!(server.waiting(session), 0);
}

#[test]
fn pings_of_a_full_session_cost_nothing_and_the_last_is_answered() {
    let mut server = server();
    let (mut fast, slow) = one_fast_one_slow(&mut server);
    let session = slow.socket.unwrap();
    for round in 0..100 {
        set(&mut server, &mut fast, round);
    }
    let waiting = server.waiting(session);
    for number in 0..1000 {
        server.tell(PrimaryInput::SessionFrame { session, frame: ClientMessage::Ping(number).to_bytes() });
    }
    assert_eq!(server.waiting(session), waiting);
    server.down.clear();
    server.tell(PrimaryInput::SessionDrained { session });
    assert_eq!(server.said(session)[0], ServerMessage::Pong(999));
}

#[test]
fn a_receiver_that_leaves_in_the_middle_of_a_rollup_is_caught_up_when_it_comes_back() {
    let mut server = server();
    let mut fast = Client::new(2);
    fast.ask(mutate("grow", &[("name", text("n")), ("count", Value::Integer(30_000))]));
    sync(&mut server, &mut [&mut fast]);
    let mut slow = Client::new(3);
    let pending = slow.ask(add("pending"));
    slow.socket = Some(server.session());
    server.slow.insert(slow.socket.unwrap(), false);
    slow.tell(ReplicaInput::SocketOpened { token: String::new() });
    push(&mut server, &mut [&mut slow]);
    for _ in 0..5 {
        server.read_one(&mut slow).unwrap();
    }
    server.down.clear();
    cut(&mut server, &mut slow);
    assert_eq!(slow.status().connection, Connection::Offline);
    reconnect(&mut server, &mut slow);
    assert_eq!(slow.told(pending), ["applied", "durable", "confirmed"]);
    deliver(&mut server, &mut [&mut fast, &mut slow]);
    assert_equal(&mut server, &mut slow);
}

#[test]
fn a_backlog_gets_through_connections_that_carry_little() {
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    sync(&mut server, &mut [&mut client]);
    cut(&mut server, &mut client);
    for row in 0..200 {
        client.ask(mutate("put", &[("name", text(&format!("row {row}"))), ("data", noise(row, 2000))]));
    }
    let mut connections = 0;
    while client.status().pending > 0 {
        connections += 1;
        assert!(connections < 100, "{} are pending", client.status().pending);
        client.pass(60_000);
        client.connect(&mut server);
        push_at_most(&mut server, &mut client, 10_000);
    }
    assert_equal(&mut server, &mut client);
}
