//! A primary that lets go of a document nobody needs: its sessions do not notice.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod pair;

use offprint_core::disk_memory::DiskMemory;
use offprint_core::{Ask, PrimaryLimits, Snapshot};
use offprint_protocol::message::{ClientMessage, ServerMessage};
use offprint_protocol::{Encode, PageNo, SessionNo, Value};
use pair::*;

fn ping(server: &mut Server, session: SessionNo) {
    server.frame(session, ClientMessage::Ping(7).to_bytes());
    assert_eq!(server.said(session), [ServerMessage::Pong(7)]);
    server.down.clear();
}

/// Two clients in step with a server at rest.
fn at_rest() -> (Server, Client, Client) {
    let (mut server, mut a, mut b) = (Server::new(1), Client::new(2), Client::new(3));
    sync(&mut server, &mut [&mut a, &mut b]);
    a.ask(add("one"));
    sync(&mut server, &mut [&mut a, &mut b]);
    assert!(server.primary.rest(0, 0));
    (server, a, b)
}

#[test]
fn at_rest_the_document_is_not_in_memory_and_pings_do_not_bring_it_back() {
    let (mut server, a, b) = at_rest();
    let position = server.primary.position();
    assert!(server.primary.image().is_none() && server.primary.is_settled());
    for client in [&a, &b] {
        ping(&mut server, client.socket.unwrap());
    }
    assert!(server.primary.image().is_none() && server.primary.rest(0, 0));
    assert_eq!(server.primary.position(), position);
}

#[test]
fn a_push_brings_it_back_and_every_session_goes_on_where_it_was() {
    let (mut server, mut a, mut b) = at_rest();
    for round in 0..3 {
        b.ask(add(&format!("two {round}")));
        a.ask(add(&format!("three {round}")));
        deliver(&mut server, &mut [&mut a, &mut b]);
        assert_eq!(server.primary.position(), a.replica.position());
        assert_eq!(server.primary.position(), b.replica.position());
        assert!(server.primary.image() == a.replica.image() && a.replica.image() == b.replica.image());
        assert!(server.closed.is_empty());
        assert!(server.primary.rest(0, 0), "round {round}");
    }
}

#[test]
fn who_never_wrote_is_still_known() {
    // The server's history is lost: it goes on counting from what the client has on disk, which no journal knows.
    let (mut server, mut a) = (Server::new(1), Client::new(2));
    sync(&mut server, &mut [&mut a]);
    a.ask(add("one"));
    sync(&mut server, &mut [&mut a]);
    cut(&mut server, &mut a);
    let mut server = Server::new(9);
    reconnect(&mut server, &mut a);
    assert!(server.primary.rest(0, 0));
    let no = a.ask(add("two"));
    deliver(&mut server, &mut [&mut a]);
    assert_eq!(a.told(no), ["applied", "durable", "confirmed"]);
    assert!(server.closed.is_empty());
    cut(&mut server, &mut a);
    let mut server = server.restart();
    reconnect(&mut server, &mut a);
    assert!(server.primary.image() == a.replica.image());
}

#[test]
fn a_new_session_and_a_back_end_bring_it_back() {
    let (mut server, mut a, mut b) = at_rest();
    let mut c = Client::new(4);
    sync(&mut server, &mut [&mut a, &mut b, &mut c]);
    assert!(c.replica.image() == a.replica.image());
    assert!(server.primary.rest(0, 0));
    let file = server.file(Ask::Snapshot).unwrap();
    assert!(
        file == server
            .primary
            .image()
            .map(|image| Snapshot::of(image).file_part(PageNo(1), 1000).unwrap())
            .unwrap()
    );
    assert!(server.primary.image() == a.replica.image());
}

#[test]
fn it_does_not_rest_while_somebody_may_need_it() {
    let limits = PrimaryLimits { window: 4096, ..PrimaryLimits::default() };
    let mut server = Server::limited(1, DiskMemory::new(1), limits);
    let (mut a, mut b) = (Client::new(2), Client::new(3));
    sync(&mut server, &mut [&mut a, &mut b]);
    assert!(!server.primary.rest(999, 1000), "it was needed a moment ago");
    server.slow.insert(b.socket.unwrap(), false);
    for row in 0..20 {
        a.ask(mutate("grow", &[("name", text(&format!("{row} "))), ("count", Value::Integer(50))]));
        deliver(&mut server, &mut [&mut a]);
    }
    assert!(!server.primary.rest(1000, 1000), "a session lacks something");
    while server.read_one(&mut b).is_some() {}
    assert!(server.primary.rest(1000, 1000));
    assert!(b.replica.image() == a.replica.image());
}

#[test]
fn sessions_of_another_document_than_the_one_that_comes_back_have_to_come_back_too() {
    let (mut server, mut a, mut b) = at_rest();
    let older = server.disk.clone();
    a.ask(add("two"));
    deliver(&mut server, &mut [&mut a, &mut b]);
    assert!(server.primary.rest(0, 0));
    server.disk = older;
    b.ask(add("three"));
    deliver(&mut server, &mut [&mut a, &mut b]);
    assert_eq!(server.closed.len(), 2);
    for client in [&mut a, &mut b] {
        cut(&mut server, client);
    }
    for _ in 0..2 {
        reconnect(&mut server, &mut a);
        reconnect(&mut server, &mut b);
    }
    assert_eq!((a.status().pending, b.status().pending), (0, 0));
    assert!(a.replica.image() == b.replica.image() && server.primary.image() == a.replica.image());
}

#[test]
fn who_asks_and_does_not_read_has_no_more_than_a_window_waiting_at_rest() {
    let limits = PrimaryLimits { window: 4096, ..PrimaryLimits::default() };
    let mut server = Server::limited(1, DiskMemory::new(1), limits);
    let mut client = Client::new(2);
    sync(&mut server, &mut [&mut client]);
    assert!(server.primary.rest(0, 0));
    let session = client.socket.unwrap();
    server.slow.insert(session, false);
    for number in 0..5000 {
        server.frame(session, ClientMessage::Ping(number).to_bytes());
    }
    assert!(server.waiting(session) < 4096 + 16, "{}", server.waiting(session));
    assert!(server.primary.rest(0, 0));
}
