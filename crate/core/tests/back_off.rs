//! When a client comes back to its server, and what it does differently after a refusal.

mod pair;

use offprint_core::host::ReplicaInput;
use offprint_protocol::Encode;
use offprint_protocol::message::{ClientMessage, ServerMessage};
use offprint_protocol::rpc::{Connection, Request};
use pair::*;

/// The session ends with this, as if the server had said so.
fn refuse(server: &mut Server, client: &mut Client, code: &str) {
    let refused = ServerMessage::Refused { code: code.into(), message: "no".into() };
    client.tell(ReplicaInput::SocketFrame(refused.to_bytes()));
    push(server, &mut [client]);
    server.down.clear();
}

/// A client in step whose push does not arrive and is refused with this.
fn refused(code: &str) -> (Server, Client) {
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    sync(&mut server, &mut [&mut client]);
    client.ask(add("refused"));
    client.drop_pushes();
    refuse(&mut server, &mut client, code);
    (server, client)
}

/// Lets time pass until it wants to come back, and gives how long that was.
fn wait(client: &mut Client) -> u64 {
    let since = client.now();
    while !client.wants_socket {
        let wake = client.wake.expect("it comes back");
        client.pass(wake - client.now());
    }
    client.now() - since
}

/// Comes back, and is refused when it pushes; whether it did, and how long it waited before.
fn comes_back_and_is_refused(server: &mut Server, client: &mut Client, code: &str) -> (bool, u64) {
    let wait = wait(client);
    let before = client.sent.len();
    sync_without_pushes(server, client);
    let pushes = client.sent[before..].iter().any(|message| matches!(message, ClientMessage::Push(_)));
    if pushes {
        refuse(server, client, code);
    }
    (pushes, wait)
}

/// Comes back at once and hears the welcome, and not yet what follows it.
fn hear_the_welcome(server: &mut Server, client: &mut Client) {
    client.ask(Request::Reconnect);
    client.connect(server);
    push(server, &mut [client]);
    let is_its = |(session, _): &(_, _)| client.socket == Some(*session);
    let at = server.down.iter().position(is_its).expect("it is welcomed");
    let (_, welcome) = server.down.remove(at).expect("BUG: it was there");
    client.tell(ReplicaInput::SocketFrame(welcome));
}

/// Everything arrives but what is pushed.
fn sync_without_pushes(server: &mut Server, client: &mut Client) {
    client.connect(server);
    loop {
        client.drop_pushes();
        push(server, &mut [client]);
        let under_way = std::mem::take(&mut server.down);
        if under_way.is_empty() {
            return;
        }
        for (session, frame) in under_way {
            if client.socket == Some(session) {
                client.tell(ReplicaInput::SocketFrame(frame));
            }
        }
        client.tell(ReplicaInput::Wake);
    }
}

#[test]
fn waits_grow_to_half_a_minute_and_differ_between_clients() {
    let waits = |entropy: u8| {
        let mut client = Client::new(entropy);
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert!(std::mem::take(&mut client.wants_socket));
            client.tell(ReplicaInput::SocketClosed { problem: None });
            let wait = client.wake.unwrap() - client.now();
            waits.push(wait);
            client.pass(wait);
        }
        waits
    };
    let one = waits(1);
    for (attempt, wait) in one.iter().enumerate() {
        let longest = (250 << attempt).min(30_000);
        assert!((longest / 2..=longest).contains(wait), "{one:?}");
    }
    assert_ne!(one, waits(2));
}

#[test]
fn who_may_not_write_goes_on_reading() {
    let mut server = Server::new(1);
    let mut other = Client::new(3);
    let mut client = Client::new(2);
    sync(&mut server, &mut [&mut other, &mut client]);
    let no = client.ask(add("refused"));
    client.drop_pushes();
    refuse(&mut server, &mut client, "forbidden");
    let (pushes, _) = comes_back_and_is_refused(&mut server, &mut client, "forbidden");
    assert!(!pushes);
    other.ask(add("of the other"));
    client.ask(add("refused, too"));
    sync(&mut server, &mut [&mut other, &mut client]);
    let status = client.status();
    assert_eq!((status.connection, status.pending), (Connection::Online, 2));
    assert_eq!(status.connection_problem.map(|problem| problem.code), Some("forbidden".into()));
    let rows = client.rows(&names());
    assert!(rows.windows(12).any(|part| part == b"of the other"));

    // With another token.
    client.ask(Request::Reconnect);
    sync(&mut server, &mut [&mut client]);
    let status = client.status();
    assert_eq!((status.connection, status.pending), (Connection::Online, 0));
    assert_eq!(status.connection_problem, None);
    assert_eq!(client.told(no), ["applied", "durable", "confirmed"]);
}

#[test]
fn a_refused_push_does_not_keep_the_catch_up_away() {
    let mut server = Server::new(1);
    let mut other = Client::new(3);
    let mut client = Client::new(2);
    sync(&mut server, &mut [&mut other, &mut client]);
    cut(&mut server, &mut client);
    client.ask(add("pending"));
    other.ask(add("of the other"));
    sync(&mut server, &mut [&mut other]);
    for code in ["limit", "forbidden"] {
        // It pushes at the welcome, and is refused before it is told the rest.
        hear_the_welcome(&mut server, &mut client);
        assert!(client.drop_pushes(), "{code}");
        refuse(&mut server, &mut client, code);
        // The next time it hears that before it pushes.
        hear_the_welcome(&mut server, &mut client);
        assert!(!client.drop_pushes(), "{code}");
        deliver(&mut server, &mut [&mut client]);
        assert_eq!(client.status().connection, Connection::Online);
        if code == "limit" {
            assert_eq!(client.status().pending, 0);
            cut(&mut server, &mut client);
            client.ask(add("pending, too"));
        }
    }
}

#[test]
fn a_push_that_is_refused_again_and_again_is_made_ever_less_often() {
    let (mut server, mut client) = refused("limit");
    let told = (0..10).map(|_| comes_back_and_is_refused(&mut server, &mut client, "limit"));
    let told: Vec<_> = told.collect();
    assert!(told.iter().all(|(pushes, _)| *pushes), "{told:?}");
    let (_, last) = told.last().unwrap();
    assert!((15_000..=30_000).contains(last), "{told:?}");
    // Once it is taken all is as before.
    wait(&mut client);
    sync(&mut server, &mut [&mut client]);
    assert_eq!(client.status().pending, 0);
    cut(&mut server, &mut client);
    assert!(wait(&mut client) <= 250);
}

#[test]
fn a_server_that_does_not_answer_a_nudge_is_given_up_soon() {
    let mut server = Server::new(1);
    let mut client = Client::new(2);
    sync(&mut server, &mut [&mut client]);
    client.ask(Request::Reconnect);
    assert!(matches!(client.sent.last(), Some(ClientMessage::Ping(_))));
    client.pass(9_000);
    assert_eq!(client.status().connection, Connection::Online);
    client.pass(1_000);
    let status = client.status();
    assert_eq!(status.connection, Connection::Offline);
    assert_eq!(status.connection_problem.map(|problem| problem.code), Some("unreachable".into()));
}

#[test]
fn who_asks_to_reconnect_while_it_waits_after_a_refusal_is_believed() {
    let (mut server, mut client) = refused("forbidden");
    client.ask(Request::Reconnect);
    sync(&mut server, &mut [&mut client]);
    assert_eq!((client.status().connection, client.status().pending), (Connection::Online, 0));
}

#[test]
fn a_token_that_ends_says_nothing_of_what_was_pushed() {
    let (mut server, mut client) = refused("unauthorized");
    hear_the_welcome(&mut server, &mut client);
    assert!(client.drop_pushes(), "it pushes from the welcome on, as a full device has to");
}

#[test]
fn a_backlog_that_gets_through_piece_by_piece_does_not_make_the_waits_grow() {
    let mut server = Server::new(1);
    let mut client = Client::new(2);
    sync(&mut server, &mut [&mut client]);
    cut(&mut server, &mut client);
    for index in 0..30 {
        let data = text(&"x".repeat(100_000));
        client.ask(mutate("put", &[("name", text(&format!("large {index}"))), ("data", data)]));
    }
    for session in 0..9 {
        let waited = wait(&mut client);
        assert!(waited < 500, "{session}: {waited} ms");
        let before = client.status().pending;
        client.connect(&mut server);
        while client.status().pending == before {
            push(&mut server, &mut [&mut client]);
            for (_, frame) in std::mem::take(&mut server.down) {
                client.tell(ReplicaInput::SocketFrame(frame));
            }
            client.tell(ReplicaInput::Wake);
        }
        assert!(client.drop_pushes(), "more is under way");
        cut(&mut server, &mut client);
    }
}
