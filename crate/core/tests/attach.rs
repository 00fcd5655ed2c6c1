//! A document that had no server meets one: where the server has none, the same, or another.

mod pair;

use offprint_core::disk_memory::DiskMemory;
use offprint_core::host::{PrimaryInput, ReplicaInput};
use offprint_protocol::message::{CatchUp, ClientMessage, Hello, ServerMessage};
use offprint_protocol::rpc::{Connection, Request, TabEvent};
use offprint_protocol::{
    Checksum, ClientId, ClientSecret, Encode, Lsn, Mark, MutationSeq, MutatorSource, Outcome, Page, PageNo,
    PagePatch, Rollup, TimelineHash,
};
use pair::*;

/// A document that has made a history of its own, and has something pending on top of it.
fn local(entropy: u8) -> Client {
    let mut client = Client::alone(entropy);
    commit(&mut client, "local");
    client
}

/// Makes a commit without a server, and has something pending on top of it.
fn commit(client: &mut Client, name: &str) {
    let before = client.replica.position();
    for index in 0.. {
        let data = text(&"x".repeat(10_000));
        client.ask(mutate("put", &[("name", text(&format!("{name} {index}"))), ("data", data)]));
        if index >= 300 && client.replica.position() != before {
            break;
        }
        assert!(index < 1000);
    }
    assert!(client.status().local);
    client.ask(add(&format!("{name} last")));
}

/// A device whose history the server has taken over, and whose connection is cut before it hears of that.
fn taken_over_unheard(server: &mut Server) -> Client {
    let mut client = local(2).reopen_with(true);
    client.tell(ReplicaInput::Wake);
    client.connect(server);
    push(server, &mut [&mut client]);
    for (_, welcome) in std::mem::take(&mut server.down) {
        client.tell(ReplicaInput::SocketFrame(welcome));
    }
    push(server, &mut [&mut client]);
    cut(server, &mut client);
    server.down.clear();
    assert!(client.status().local);
    assert!(server.primary.position().is_some_and(|position| position.lsn > Lsn(0)));
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
fn a_history_from_before_a_migration_is_migrated_once_the_server_has_it() {
    let mut newer = definition();
    newer.migrations.push("ALTER TABLE item ADD COLUMN done INTEGER NOT NULL DEFAULT 0".into());
    let finish = MutatorSource { sql: "UPDATE item SET done = 1 WHERE name = :name".into() };
    newer.mutators.insert("finish".into(), finish);
    // It has committed what it offers before it heard of the newer definition, and no server was in reach.
    let client = local(2).reopen_with(true);
    let mut client = client.reopen_under(newer.clone(), true);
    let no = client.ask(mutate("finish", &[("name", text("last"))]));
    let mut server = Server::serving(newer, 1, DiskMemory::new(1), |primary| primary);
    sync(&mut server, &mut [&mut client]);
    assert_eq!((client.status().connection, client.status().local), (Connection::Online, false));
    assert_eq!(client.told(no), ["applied", "durable", "confirmed"]);
    assert_eq!(server.primary.image(), client.replica.image());
}

#[test]
fn an_offer_that_has_no_end_is_refused() {
    let mut server = Server::new(1);
    let mut client = local(2).reopen_with(true);
    sync(&mut server, &mut [&mut client]);
    let hello = Hello { client: ClientId([9; 16]), secret: ClientSecret([9; 16]), ..last_hello(&client) };
    let position = hello.position.unwrap();
    let nothing = Rollup {
        from: Lsn(0),
        to: position.lsn,
        hash: position.hash,
        page_count: 9,
        checksum: Checksum::default(),
        last: false,
        outcomes: vec![],
        pages: vec![],
    };
    let mark = Mark { seq: MutationSeq(1), hash: TimelineHash(1) };
    let outcome = Outcome { client: hello.client, through: mark, rejections: vec![] };
    let patch = PagePatch::new(PageNo(1), &Page::zeroed(), None);
    let with_outcomes = Rollup { outcomes: vec![outcome], pages: vec![patch], ..nothing.clone() };
    for part in [nothing, with_outcomes] {
        let mut server = Server::new(1);
        let session = server.session();
        server.tell(PrimaryInput::SessionOpened { session, hello: hello.clone() });
        server.frame(session, ClientMessage::Offer(part).to_bytes());
        assert!(said_refused(&server, session, "bad_state"), "{:?}", server.said(session));
    }
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
fn of_two_copies_of_a_history_that_both_went_on_the_second_is_told_so() {
    let mut server = Server::new(1);
    let one = local(2);
    let mut two = Client::on(50, one.disk.clone(), false);
    let mut one = one.reopen_with(false);
    commit(&mut one, "of one");
    let mut one = one.reopen_with(true);
    sync(&mut server, &mut [&mut one]);
    assert_eq!((one.status().connection, one.status().local), (Connection::Online, false));
    commit(&mut two, "of two");
    let mut two = two.reopen_with(true);
    let before = names_of(&mut two);
    sync(&mut server, &mut [&mut two]);
    let status = two.status();
    assert_eq!(status.connection_problem.map(|problem| problem.code), Some("diverged".into()));
    assert_eq!(names_of(&mut two), before);
}

#[test]
fn what_was_confirmed_without_the_server_that_took_the_history_over_is_not_given_up() {
    let mut server = Server::new(1);
    let mut client = taken_over_unheard(&mut server).reopen_with(false);
    commit(&mut client, "alone");
    let mut client = client.reopen_with(true);
    let before = names_of(&mut client);
    sync(&mut server, &mut [&mut client]);
    assert_eq!(client.status().connection_problem.map(|problem| problem.code), Some("diverged".into()));
    assert_eq!(names_of(&mut client), before);
}

#[test]
fn a_device_that_did_not_hear_that_its_history_was_taken_over_goes_on_with_it() {
    let mut server = Server::new(1);
    let mut client = taken_over_unheard(&mut server);
    let mut other = Client::new(3);
    // Until a checkpoint forgets where the history began to be the server's.
    let mut x = 1u64;
    for more in 0..60 {
        let mut noise = String::new();
        while noise.len() < 100_000 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            noise += &format!("{x:016x}");
        }
        other.ask(mutate("put", &[("name", text(&format!("more {more}"))), ("data", text(&noise))]));
        sync(&mut server, &mut [&mut other]);
    }
    let mut server = server.restart();
    client.ask(add("meanwhile"));
    let mut client = client.reopen();
    sync(&mut server, &mut [&mut client, &mut other]);
    let status = client.status();
    assert_eq!((status.connection, status.local, status.pending), (Connection::Online, false, 0));
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
    client.tell(ReplicaInput::Wake);
    assert!(std::mem::take(&mut client.wants_socket));
    client.socket = Some(server.session());
    client.tell(ReplicaInput::SocketOpened { token: String::new() });
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
            let page = Page::from_slice(&[7; 4096]).unwrap();
            let changed = [(PageNo(1), page)].into_iter().collect();
            let commit = image.commit_of(&changed, 1, offprint_protocol::Touched::All);
            image.apply_commit(&commit).unwrap();
            parts = image.rollup_since(Lsn(0), 1 << 20);
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
