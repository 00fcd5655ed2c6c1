//! A document that had no server meets one: where the server has none, the same, or another.

mod pair;

use offprint_core::host::PrimaryInput;
use offprint_protocol::message::{CatchUp, ClientMessage, Hello, ServerMessage};
use offprint_protocol::rpc::{Connection, Request, TabEvent};
use offprint_protocol::{ClientId, ClientSecret, Encode};
use pair::*;

/// A document that has made a history of its own, and has something pending on top of it.
fn local(entropy: u8) -> Client {
    let mut client = Client::alone(entropy);
    for index in 0..300 {
        let data = text(&"x".repeat(10_000));
        client.ask(mutate("put", &[("name", text(&format!("local {index}"))), ("data", data)]));
    }
    assert!(client.status().local);
    client.ask(add("last"));
    client
}

fn names_of(client: &mut Client) -> Vec<u8> {
    client.rows(&names())
}

fn last_hello(client: &Client) -> Hello {
    let hello = client.sent.iter().rev().find_map(|message| match message {
        ClientMessage::Hello(hello) => Some(hello.clone()),
        _ => None,
    });
    hello.expect("the client said hello")
}

#[test]
fn a_request_that_was_asked_without_a_server_is_confirmed_with_the_history_it_made() {
    let mut server = Server::new(1);
    let mut client = local(2);
    let no = client.ask(add("one"));
    // The hub dies before its tab has heard anything.
    let mut client = client.reopen_asking(no, add("one"));
    sync(&mut server, &mut [&mut client]);
    assert_eq!(client.status().connection, Connection::Online);
    assert_eq!(client.told(no).last().unwrap(), "confirmed");
}

#[test]
fn what_the_device_made_becomes_the_servers_where_it_has_nothing() {
    let (mut server, client) = (Server::new(1), local(2));
    let mut client = client.reopen_with(true);
    let before = names_of(&mut client);
    sync(&mut server, &mut [&mut client]);
    let status = client.status();
    assert_eq!((status.connection, status.local, status.pending), (Connection::Online, false, 0));
    assert_eq!(server.primary.position(), client.replica.position());
    assert_eq!(server.primary.image(), client.replica.image());
    assert_eq!(names_of(&mut client), before);

    let no = client.ask(add("with the server"));
    sync(&mut server, &mut [&mut client]);
    assert_eq!(client.told(no), ["applied", "durable", "confirmed"]);
    let mut other = Client::new(3);
    sync(&mut server, &mut [&mut other]);
    assert_eq!(names_of(&mut other), names_of(&mut client));

    let mut server = server.restart();
    let mut client = client.reopen();
    sync(&mut server, &mut [&mut client]);
    assert_eq!((client.status().connection, client.status().local), (Connection::Online, false));
    assert_eq!(server.primary.image(), client.replica.image());
}

#[test]
fn mutations_that_were_never_confirmed_are_pushed_like_any_others() {
    let mut server = Server::new(1);
    let mut client = Client::alone(2);
    let no = client.ask(add("milk"));
    assert_eq!(client.told(no), ["applied", "durable", "confirmed"]);
    let mut client = client.reopen_with(true);
    assert_eq!((client.status().local, client.status().pending), (false, 1));
    sync(&mut server, &mut [&mut client]);
    assert_eq!(client.status().pending, 0);
    assert_eq!(server.primary.image(), client.replica.image());
}

#[test]
fn a_device_with_another_history_is_told_so_and_keeps_it() {
    let mut server = Server::new(1);
    let mut first = Client::new(3);
    first.ask(add("the server's"));
    sync(&mut server, &mut [&mut first]);
    let mut client = local(2).reopen_with(true);
    let before = names_of(&mut client);
    sync(&mut server, &mut [&mut client]);
    let status = client.status();
    assert_eq!(status.connection_problem.map(|problem| problem.code), Some("diverged".into()));
    assert!(status.local);
    client.ask(add("meanwhile"));
    let mut client = client.reopen_with(false);
    assert_ne!(names_of(&mut client), before);
    client.ask(add("still works"));

    // The app takes the server's: what is pending goes there.
    let mut client = client.reopen_with(true);
    sync(&mut server, &mut [&mut client]);
    let no = client.ask(add("for the server"));
    client.ask(Request::TakeServers);
    sync(&mut server, &mut [&mut client]);
    let status = client.status();
    assert_eq!((status.connection, status.local, status.pending), (Connection::Online, false, 0));
    assert_eq!(client.told(no), ["applied", "durable", "confirmed"]);
    assert_eq!(server.primary.image(), client.replica.image());
}

#[test]
fn what_was_made_since_the_server_was_named_is_not_given_up_with_the_devices_history() {
    let mut server = Server::new(1);
    let mut first = Client::new(3);
    first.ask(add("the server's"));
    sync(&mut server, &mut [&mut first]);
    let mut client = local(2).reopen_with(true);
    sync(&mut server, &mut [&mut client]);
    client.ask(add("meanwhile"));
    assert_eq!(client.status().pending, 1);
    let mut client = client.reopen_with(true);
    assert_eq!((client.status().pending, client.status().local), (1, true));
    sync(&mut server, &mut [&mut client]);
    client.ask(Request::TakeServers);
    sync(&mut server, &mut [&mut client]);
    assert_eq!((client.status().pending, client.status().local), (0, false));
    let rows = names_of(&mut client);
    assert!(rows.windows(9).any(|part| part == b"meanwhile"));
    assert!(!rows.windows(5).any(|part| part == b"local"));
}

#[test]
fn of_two_devices_that_offer_the_first_wins_and_the_second_loses_nothing() {
    let mut server = Server::new(1);
    let (mut one, mut two) = (local(2).reopen_with(true), local(3).reopen_with(true));
    sync(&mut server, &mut [&mut one, &mut two]);
    assert_eq!(two.status().connection_problem.map(|problem| problem.code), Some("limit".into()));
    reconnect(&mut server, &mut two);
    assert_eq!((one.status().connection, one.status().local), (Connection::Online, false));
    assert!(two.status().local);
    assert_eq!(two.status().connection_problem.map(|problem| problem.code), Some("diverged".into()));
    assert_eq!(server.primary.image(), one.replica.image());
}

#[test]
fn an_offer_that_was_cut_off_is_made_again() {
    let mut server = Server::new(1);
    let mut client = local(2).reopen_with(true);
    // Hello arrives, the offer does not.
    client.tell(offprint_core::host::ReplicaInput::Wake);
    assert!(std::mem::take(&mut client.wants_socket));
    client.socket = Some(server.session());
    client.tell(offprint_core::host::ReplicaInput::SocketOpened { token: String::new() });
    push(&mut server, &mut [&mut client]);
    cut(&mut server, &mut client);
    reconnect(&mut server, &mut client);
    assert_eq!((client.status().connection, client.status().local), (Connection::Online, false));
}

#[test]
fn a_server_that_stops_before_the_offer_is_durable_is_offered_it_again() {
    let mut server = Server::new(1);
    let mut client = local(2).reopen_with(true);
    sync(&mut server, &mut [&mut client]);
    cut(&mut server, &mut client);
    // The same device, but a server that knows nothing of it.
    let mut server = Server::new(9);
    let mut client = client.reopen();
    sync(&mut server, &mut [&mut client]);
    // The history is the server's by now, so it is reset as after any loss of the server's, and nothing is pending.
    assert_eq!((client.status().connection, client.status().pending), (Connection::Online, 0));
}

#[test]
fn an_offer_nobody_asked_for_or_that_is_not_sound_is_refused() {
    let mut server = Server::new(1);
    let mut client = local(2).reopen_with(true);
    sync(&mut server, &mut [&mut client]);
    let offers: Vec<_> = client
        .sent
        .iter()
        .filter_map(|message| match message {
            ClientMessage::Offer(part) => Some(part.clone()),
            _ => None,
        })
        .collect();
    let hello = last_hello(&client);
    let stranger = Hello { client: ClientId([9; 16]), secret: ClientSecret([9; 16]), ..hello.clone() };

    // Of a session that was not asked.
    let session = server.session();
    server.tell(PrimaryInput::SessionOpened { session, hello: Hello { local: false, ..stranger.clone() } });
    server.frame(session, ClientMessage::Offer(offers[0].clone()).to_bytes());
    assert!(said_refused(&server, session, "bad_state"));

    // Pages that are not a database; a history at another position than was named.
    for (spoil, code) in [(0, "corrupt"), (1, "history_mismatch")] {
        let mut server = Server::new(1);
        let session = server.session();
        let mut named = stranger.clone();
        let mut parts = offers.clone();
        if spoil == 0 {
            let mut image = offprint_core::Image::local(named.position.unwrap().journal);
            let page = offprint_protocol::Page::from_slice(&[7; 4096]).unwrap();
            let changed = [(offprint_protocol::PageNo(1), page)].into_iter().collect();
            let commit = image.commit_of(&changed, 1, offprint_protocol::Touched::All);
            image.apply_commit(&commit).unwrap();
            parts = image.rollup_since(offprint_protocol::Lsn(0), 1 << 20);
            named.position = image.position();
        } else {
            parts.iter_mut().for_each(|part| part.hash.0[0] ^= 1);
        }
        server.tell(PrimaryInput::SessionOpened { session, hello: named });
        let asked = server.said(session).iter().any(
            |message| matches!(message, ServerMessage::Welcome(welcome) if welcome.catch_up == CatchUp::Offer),
        );
        assert!(asked);
        for part in parts {
            server.frame(session, ClientMessage::Offer(part).to_bytes());
        }
        assert!(said_refused(&server, session, code), "{code}: {:?}", server.said(session));
        // The document is still nobody's.
        let mut first = Client::new(4);
        first.ask(add("fine"));
        sync(&mut server, &mut [&mut first]);
        assert_eq!(first.status().pending, 0);
    }
}

fn said_refused(server: &Server, session: offprint_protocol::SessionNo, code: &str) -> bool {
    let refused = |message: &ServerMessage| matches!(message, ServerMessage::Refused { code: said, .. } if said == code);
    server.said(session).iter().any(refused)
}

#[test]
fn who_waits_is_answered_when_attaching_makes_the_document_ready() {
    let mut client = Client::alone(1);
    client.replica.set_confirm_after(1);
    client.ask(add("one"));
    client.replica.set_confirm_after(usize::MAX);
    client.ask(add("two"));
    client.ask(add("three"));
    client.disk_works = false;
    client.ask(add("four"));
    // What was not flushed is written again before the server is called, and by then the replay has only begun.
    let mut client = client.killed(1, true);
    client.replica.set_slice(1);
    let no = client.ask(Request::Query(names()));
    let is_ready = |client: &Client| {
        client.events.iter().any(|event| matches!(event, TabEvent::Status(status) if status.ready))
    };
    while !is_ready(&client) {
        assert!(client.told(no).is_empty());
        assert!(client.carry_out(), "the disk has nothing to do");
    }
    assert_eq!(client.told(no), ["rows"]);
}
