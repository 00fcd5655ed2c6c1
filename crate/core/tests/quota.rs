//! What an app sees of a device without room.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod pair;

use offprint_core::disk_memory::DiskMemory;
use offprint_protocol::Value;
use offprint_protocol::rpc::{Connection, Request, Shortage, TabEvent};
use pair::*;

fn put(name: String, bytes: usize) -> Request {
    mutate("put", &[("name", Value::Text(name)), ("data", text(&"x".repeat(bytes)))])
}

fn full(mut client: Client) -> Client {
    client.disk.set_capacity(Some(client.disk.size()));
    client
}

/// Asks for more and more until one is refused; gives those that were not.
fn fill(client: &mut Client, bytes: usize) -> usize {
    for count in 0.. {
        let no = client.ask(put(format!("{bytes} {count}"), bytes));
        if client.told(no) == ["failed quota"] {
            return count;
        }
        assert!(client.told(no).contains(&"durable".to_owned()), "{:?}", client.told(no));
    }
    unreachable!()
}

fn count(client: &mut Client) -> usize {
    let select = offprint_protocol::rpc::Select {
        sql: "SELECT name FROM item WHERE data IS NOT NULL".into(),
        params: vec![],
    };
    // Every row begins with the tag of a text.
    let names = client.rows(&select);
    String::from_utf8_lossy(&names).matches(' ').count()
}

#[test]
fn a_full_device_refuses_mutations_without_a_trace_and_goes_on_by_itself() {
    let mut server = Server::new(1);
    let mut client = Client::new(2);
    sync(&mut server, &mut [&mut client]);
    cut(&mut server, &mut client);
    let mut client = full(client);
    let accepted = fill(&mut client, 10_000) + fill(&mut client, 500);
    assert!(accepted > 60, "{accepted}");
    let status = client.status();
    assert_eq!(status.storage.shortage, Some(Shortage::ReadOnly));
    assert_eq!(status.storage.reason.unwrap().code, "quota");
    assert_eq!((status.pending as usize, count(&mut client)), (accepted, accepted));

    // Nobody asks for anything: the disk is tried again, ever less often, and finds room.
    client.events.clear();
    for _ in 0..20 {
        client.pass(30_000);
    }
    assert!(client.events.len() <= 60, "{}", client.events.len());
    client.disk.set_capacity(None);
    client.pass(30_000);
    let status = client.status();
    assert_eq!((status.storage.shortage, status.storage.reason), (None, None));
    let no = client.ask(put("after it".into(), 10_000));
    assert_eq!(client.told(no), ["applied", "durable"]);

    let mut client = client.reopen();
    assert_eq!(count(&mut client), accepted + 1);
    sync(&mut server, &mut [&mut client]);
    assert_eq!(client.status().pending, 0);
    assert_eq!(count(&mut client), accepted + 1);
}

#[test]
fn what_was_accepted_before_the_lack_was_known_waits_and_becomes_durable() {
    let mut client = Client::alone(3);
    client.disk_works = false;
    let waiting: Vec<_> = (0..150).map(|no| client.ask(put(format!("n {no}"), 10_000))).collect();
    client.disk.set_capacity(Some(client.disk.size()));
    client.disk_works = true;
    client.tell(offprint_core::host::ReplicaInput::DiskReady {
        kind: offprint_protocol::rpc::StorageKind::Opfs,
        durable: true,
        reason: None,
    });
    assert_eq!(client.told(*waiting.last().unwrap()), ["applied"]);
    assert_eq!(client.status().storage.shortage, Some(Shortage::ReadOnly));
    client.disk.set_capacity(None);
    client.pass(60_000);
    assert_eq!(client.told(*waiting.last().unwrap()), ["applied", "durable", "confirmed"]);
    assert_eq!(count(&mut client.reopen_with(false)), 150);
}

#[test]
fn commits_wait_while_there_is_no_room_and_come_once_there_is() {
    let mut server = Server::new(1);
    let (one, mut two) = (Client::new(2), Client::new(3));
    let mut one = full(one);
    sync(&mut server, &mut [&mut one, &mut two]);
    // Until there is less ahead than a shortage begins with.
    let mut own = 0;
    while one.status().storage.shortage.is_none() {
        one.ask(put(format!("own {own}"), 10_000));
        own += 1;
        assert!(own < 200);
    }
    assert_eq!(one.status().storage.shortage, Some(Shortage::NotPulling));
    let pending = one.ask(put("still durable".into(), 1_000));
    assert!(one.told(pending).contains(&"durable".to_owned()));

    let before = one.replica.position();
    let data: Vec<u8> =
        (0..300_000_u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for no in 0..6 {
        let name = Value::Text(format!("large {no}"));
        two.ask(mutate(
            "put",
            &[("name", name), ("data", Value::Blob(data[no * 200_000..][..200_000].to_vec()))],
        ));
        sync(&mut server, &mut [&mut two, &mut one]);
    }
    assert_eq!(one.replica.position(), before);
    let status = one.status();
    assert_eq!(
        (status.connection, status.storage.shortage),
        (Connection::Offline, Some(Shortage::NotPulling))
    );
    assert_eq!(status.connection_problem.unwrap().code, "quota");

    one.disk.set_capacity(None);
    one.pass(60_000);
    for _ in 0..3 {
        sync(&mut server, &mut [&mut one, &mut two]);
    }
    let status = one.status();
    assert_eq!((status.connection, status.storage.shortage, status.pending), (Connection::Online, None, 0));
    assert_eq!(one.replica.position(), server.primary.position());
    assert!(one.rows(&names()) == two.rows(&names()));
    assert_eq!(one.told(pending), ["applied", "durable", "confirmed"]);
}

#[test]
fn a_new_document_on_a_full_device_can_be_read_and_tells_why_it_cannot_be_written() {
    let mut disk = DiskMemory::new(4);
    disk.set_capacity(Some(0));
    let mut client = Client::with(4, definition(), disk);
    let status = client.status();
    assert!(status.ready);
    assert_eq!(status.storage.shortage, Some(Shortage::ReadOnly));
    assert_eq!(status.storage.reason.unwrap().code, "quota");
    let no = client.ask(add("milk"));
    assert_eq!(client.told(no), ["failed quota"]);
    assert_eq!(count(&mut client), 0);
    client.disk.set_capacity(None);
    client.pass(60_000);
    let no = client.ask(add("milk"));
    assert_eq!(client.told(no), ["applied", "durable"]);
    assert!(client.events.iter().any(|event| matches!(event, TabEvent::Status(_))));
}

#[test]
fn what_is_pending_reaches_the_server_though_there_is_no_room_for_what_that_has_to_say() {
    let mut server = Server::new(1);
    let (one, mut two) = (Client::new(2), Client::new(3));
    let mut one = full(one);
    for own in 0..200 {
        if one.status().storage.shortage.is_some() {
            break;
        }
        one.ask(put(format!("own {own}"), 10_000));
        sync(&mut server, &mut [&mut one, &mut two]);
    }
    cut(&mut server, &mut one);
    assert_eq!((one.status().storage.shortage, one.status().pending), (Some(Shortage::NotPulling), 0));
    let pending = one.ask(put("only here".into(), 1_000));
    assert_eq!(one.told(pending), ["applied", "durable"]);
    for no in 0..200 {
        two.ask(put(format!("another {no}"), 10_000));
    }
    sync(&mut server, &mut [&mut two]);

    let before = one.replica.position();
    one.pass(60_000);
    sync(&mut server, &mut [&mut one, &mut two]);
    assert_eq!((one.replica.position(), one.status().pending), (before, 1));
    assert!(String::from_utf8_lossy(&two.rows(&names())).contains("only here"));

    one.disk.set_capacity(None);
    one.pass(60_000);
    for _ in 0..3 {
        sync(&mut server, &mut [&mut one, &mut two]);
    }
    assert_eq!(one.told(pending), ["applied", "durable", "confirmed"]);
    assert!(one.rows(&names()) == two.rows(&names()));
}
