//! A large document that is fetched over HTTP: in pieces, over several sessions, with bytes that are wrong or never come.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod pair;

use offprint_core::host::{PrimaryInput, ReplicaInput};
use offprint_protocol::message::{CatchUp, ClientMessage, ServerMessage};
use offprint_protocol::rpc::{Connection, Progress};
use offprint_protocol::{Encode, Value};
use pair::*;

/// A server with a large document, and the client that made it.
fn large() -> (Server, Client) {
    let (mut server, mut maker) = (Server::new(1), Client::new(2));
    maker.ask(mutate("grow", &[("name", text("n")), ("count", Value::Integer(10_000))]));
    sync(&mut server, &mut [&mut maker]);
    (server, maker)
}

/// A new client to whom the server has offered a snapshot.
fn offered(server: &mut Server) -> Client {
    let mut client = Client::fetching(3);
    sync(server, &mut [&mut client]);
    assert!(client.fetch.is_some());
    assert_eq!(client.status().connection, Connection::Connecting);
    client
}

fn body(server: &mut Server, client: &Client) -> Vec<u8> {
    let (journal, lsn, size) = client.fetch.unwrap();
    let body = server.kept(journal, lsn).unwrap();
    assert_eq!(body.len() as u64, size);
    body
}

fn give(client: &mut Client, bytes: &[u8]) {
    client.tell(ReplicaInput::SnapshotBytes(bytes.to_vec()));
}

fn said_fetched(client: &Client) -> Vec<bool> {
    let said = client.sent.iter().filter_map(|message| match message {
        ClientMessage::Fetched(has_it) => Some(*has_it),
        _ => None,
    });
    said.collect()
}

fn assert_equal(server: &mut Server, client: &mut Client) {
    assert_eq!(client.replica.position(), server.primary.position());
    assert!(client.replica.image() == server.primary.image());
    assert_eq!((client.status().connection, client.status().download), (Connection::Online, None));
}

#[test]
fn a_document_comes_in_pieces_of_any_size_while_everybody_edits() {
    let (mut server, mut maker) = large();
    let mut client = offered(&mut server);
    let body = body(&mut server, &client);
    let total = body.len() as u64;
    assert_eq!(client.status().download, Some(Progress { done: 0, total }));
    let (mut done, mut made) = (0, Vec::new());
    for (round, size) in [1, 4095, 4096, 4097, 100_000, 3].into_iter().enumerate() {
        give(&mut client, &body[done..done + size]);
        done += size;
        assert_eq!(client.status().download, Some(Progress { done: done as u64, total }));
        made.push(client.ask(add(&format!("mine {round}"))));
        maker.ask(add(&format!("theirs {round}")));
        deliver(&mut server, &mut [&mut maker, &mut client]);
        assert_eq!(client.told(made[round]), ["applied", "durable"]);
    }
    // What it made has reached the others meanwhile.
    assert_eq!(maker.rows(&names()).windows(4).filter(|four| four == b"mine").count(), made.len());
    assert_eq!(client.status().pending, made.len() as u64);
    give(&mut client, &body[done..]);
    deliver(&mut server, &mut [&mut maker, &mut client]);
    for no in &made {
        assert_eq!(client.told(*no), ["applied", "durable", "confirmed"]);
    }
    assert_equal(&mut server, &mut client);
    assert_eq!(client.status().pending, 0);
    let mut client = client.reopen();
    assert_eq!(client.replica.position(), server.primary.position());
    assert!(client.rows(&names()) == maker.rows(&names()));
}

#[test]
fn what_has_come_is_not_fetched_again_by_the_next_session() {
    let (mut server, mut maker) = large();
    let mut client = offered(&mut server);
    let body = body(&mut server, &client);
    give(&mut client, &body[..50_000]);
    cut(&mut server, &mut client);
    maker.ask(add("meanwhile"));
    deliver(&mut server, &mut [&mut maker]);
    // Bytes come without a session, too.
    give(&mut client, &body[50_000..60_000]);
    let fetch = client.fetch.take();
    reconnect(&mut server, &mut client);
    assert_eq!(client.fetch, None, "it was asked for anew, after {fetch:?}");
    give(&mut client, &body[60_000..]);
    deliver(&mut server, &mut [&mut maker, &mut client]);
    assert_equal(&mut server, &mut client);
}

#[test]
fn a_snapshot_that_was_whole_before_the_session_came_back_is_used() {
    let (mut server, _maker) = large();
    let mut client = offered(&mut server);
    let pending = client.ask(add("pending"));
    let body = body(&mut server, &client);
    cut(&mut server, &mut client);
    give(&mut client, &body);
    assert_eq!(said_fetched(&client), []);
    reconnect(&mut server, &mut client);
    assert_eq!(said_fetched(&client), [true]);
    assert_eq!(client.told(pending), ["applied", "durable", "confirmed"]);
    assert_equal(&mut server, &mut client);
}

#[test]
fn wrong_bytes_too_many_and_none_at_all_lead_to_the_websocket_and_lose_nothing() {
    for how in 0..3 {
        let (mut server, _maker) = large();
        let mut client = offered(&mut server);
        let pending = client.ask(add("pending"));
        let before = client.rows(&names());
        let mut body = body(&mut server, &client);
        match how {
            0 => {
                body[70_000] ^= 1;
                give(&mut client, &body);
            }
            1 => {
                body.push(0);
                give(&mut client, &body);
            }
            _ => {
                give(&mut client, &body[..50_000]);
                client.tell(ReplicaInput::SnapshotFailed);
            }
        }
        assert_eq!(said_fetched(&client), [false]);
        assert_eq!(client.status().download, None);
        assert!(client.rows(&names()) == before);
        deliver(&mut server, &mut [&mut client]);
        assert_eq!(client.told(pending), ["applied", "durable", "confirmed"]);
        assert_equal(&mut server, &mut client);
    }
}

#[test]
fn a_client_that_crashes_in_the_middle_still_has_what_it_had_and_what_is_pending() {
    let (mut server, _maker) = large();
    let mut client = offered(&mut server);
    client.ask(add("pending"));
    let body = body(&mut server, &client);
    give(&mut client, &body[..body.len() - 1]);
    let mut client = client.reopen();
    assert_eq!((client.status().pending, client.replica.position()), (1, None));
    sync(&mut server, &mut [&mut client]);
    assert_eq!(client.status().pending, 0);
    assert_equal(&mut server, &mut client);
}

#[test]
fn everybody_is_offered_the_same_state_for_as_long_as_the_commits_since_are_at_hand() {
    let (mut server, mut maker) = large();
    let first = offered(&mut server).fetch;
    maker.ask(add("a little"));
    deliver(&mut server, &mut [&mut maker]);
    assert_eq!(offered(&mut server).fetch, first);
    maker.ask(mutate("grow", &[("name", text("m")), ("count", Value::Integer(50_000))]));
    deliver(&mut server, &mut [&mut maker]);
    let second = offered(&mut server).fetch;
    assert!(second.unwrap().1 > first.unwrap().1);
    // The first can still be had.
    let (journal, lsn, size) = first.unwrap();
    assert_eq!(server.kept(journal, lsn).unwrap().len() as u64, size);
}

#[test]
fn what_is_too_old_is_gone_and_its_client_gets_the_rest_otherwise() {
    let (mut server, mut maker) = large();
    let mut client = offered(&mut server);
    let (journal, lsn, _) = client.fetch.unwrap();
    maker.ask(add("a little"));
    deliver(&mut server, &mut [&mut maker]);
    let mut effects = Vec::new();
    server.primary.handle(3_600_000, [], &mut effects);
    assert_eq!(server.kept(journal, lsn).unwrap_err().code.as_str(), "gone");
    client.tell(ReplicaInput::SnapshotFailed);
    deliver(&mut server, &mut [&mut maker, &mut client]);
    assert_equal(&mut server, &mut client);
}

#[test]
fn small_documents_and_clients_that_cannot_fetch_are_offered_nothing() {
    let (mut server, mut small) = (Server::new(1), Client::fetching(2));
    small.ask(add("milk"));
    sync(&mut server, &mut [&mut small]);
    assert_equal(&mut server, &mut small);
    let mut fetching = Client::fetching(3);
    sync(&mut server, &mut [&mut fetching]);
    assert_eq!(fetching.fetch, None);
    assert_equal(&mut server, &mut fetching);

    let (mut server, _maker) = large();
    let mut plain = Client::new(4);
    sync(&mut server, &mut [&mut plain]);
    assert_eq!(plain.fetch, None);
    assert_equal(&mut server, &mut plain);
}

#[test]
fn who_was_offered_nothing_cannot_have_fetched_it() {
    let (mut server, maker) = large();
    let session = maker.socket.unwrap();
    server.tell(PrimaryInput::SessionFrame { session, frame: ClientMessage::Fetched(true).to_bytes() });
    let said = server.said(session);
    assert!(matches!(&said[..], [ServerMessage::Refused { code, .. }] if code == "bad_state"), "{said:?}");
}

#[test]
fn nothing_is_told_before_the_snapshot_is_there() {
    let (mut server, mut maker) = large();
    let client = {
        let mut client = Client::fetching(3);
        client.tell(ReplicaInput::Wake);
        client.socket = Some(server.session());
        client.tell(ReplicaInput::SocketOpened { token: String::new() });
        push(&mut server, &mut [&mut client]);
        client
    };
    maker.ask(add("meanwhile"));
    deliver(&mut server, &mut [&mut maker]);
    let said = server.said(client.socket.unwrap());
    let [ServerMessage::Welcome(welcome)] = &said[..] else { panic!("{said:?}") };
    assert!(matches!(welcome.catch_up, CatchUp::Snapshot(_)));
}
