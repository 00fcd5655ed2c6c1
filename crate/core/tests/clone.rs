//! Two copies of one profile, and devices that lost flushed records: nothing is lost, and both go on.

mod pair;

use offprint_core::host::ReplicaInput;
use offprint_protocol::message::ClientMessage;
use offprint_protocol::rpc::{Connection, Request};
use pair::*;

fn client_id(client: &Client) -> offprint_protocol::ClientId {
    let hello = client.sent.iter().rev().find_map(|message| match message {
        ClientMessage::Hello(hello) => Some(hello.client),
        _ => None,
    });
    hello.expect("the client said hello")
}

fn sync_all(server: &mut Server, clients: &mut [&mut Client]) {
    for _ in 0..4 {
        for client in clients.iter_mut() {
            cut(server, client);
            reconnect(server, client);
        }
    }
}

/// A client that the server knows, offline, and a copy of it.
fn two_copies(server: &mut Server) -> (Client, Client) {
    let mut one = Client::new(2);
    one.ask(add("before"));
    sync(server, &mut [&mut one]);
    cut(server, &mut one);
    let two = one.copied(50);
    (one.reopen(), two)
}

#[test]
fn the_later_of_two_copies_becomes_a_new_client_and_neither_loses_anything() {
    let mut server = Server::new(1);
    let (mut one, mut two) = two_copies(&mut server);
    one.ask(add("of one"));
    one.ask(add("of one, too"));
    two.ask(add("of two"));
    sync(&mut server, &mut [&mut one]);
    sync_all(&mut server, &mut [&mut two]);
    assert_eq!(two.status().pending, 0);
    assert_ne!(client_id(&one), client_id(&two));
    two.ask(add("of two, later"));
    one.ask(add("of one, later"));
    sync_all(&mut server, &mut [&mut one, &mut two]);
    assert_eq!((one.status().pending, two.status().pending), (0, 0));
    let rows = one.rows(&names());
    assert_eq!(two.rows(&names()), rows);
    for name in ["before", "of one", "of one, too", "of two", "of one, later", "of two, later"] {
        let found = rows.windows(name.len()).any(|part| part == name.as_bytes());
        assert!(found, "{name}");
    }
    // The new name lasts.
    let mut two = two.reopen();
    sync(&mut server, &mut [&mut two]);
    assert_ne!(client_id(&one), client_id(&two));
    assert_eq!(two.status().connection, Connection::Online);
}

#[test]
fn what_both_copies_had_pending_is_decided_once() {
    let mut server = Server::new(1);
    let mut one = Client::new(2);
    sync(&mut server, &mut [&mut one]);
    cut(&mut server, &mut one);
    one.ask(add("shared"));
    let mut two = one.copied(50);
    let mut one = one.reopen();
    sync(&mut server, &mut [&mut one]);
    one.ask(add("of one"));
    sync(&mut server, &mut [&mut one]);
    let no = two.ask(add("of two"));
    sync_all(&mut server, &mut [&mut two]);
    assert_eq!((two.status().pending, two.status().rejections), (0, vec![]));
    assert_eq!(two.told(no), ["applied", "durable", "confirmed"]);
    sync_all(&mut server, &mut [&mut one, &mut two]);
    assert_eq!(one.rows(&names()), two.rows(&names()));
    assert_eq!(server.primary.image(), two.replica.image());
}

#[test]
fn what_one_copy_has_queued_is_not_taken_for_the_others() {
    let mut server = Server::new(1);
    let mut one = Client::new(2);
    sync(&mut server, &mut [&mut one]);
    one.ask(add("shared"));
    sync(&mut server, &mut [&mut one]);
    cut(&mut server, &mut one);
    let mut two = one.copied(50);
    let mut one = one.reopen();
    sync(&mut server, &mut [&mut one]);
    // Both get there before anything is decided: a mutation of one, and the hello of the other.
    one.ask(add("of one"));
    two.tell(ReplicaInput::Wake);
    two.socket = Some(server.session());
    two.tell(ReplicaInput::SocketOpened { token: String::new() });
    push_at_once(&mut server, &mut [&mut one, &mut two]);
    two.ask(add("of two"));
    two.ask(add("of two, too"));
    // It pushes as soon as it has read that it is in step.
    server.slow.insert(two.socket.unwrap(), false);
    server.read_one(&mut two);
    server.read_one(&mut two);
    push(&mut server, &mut [&mut two]);
    sync_all(&mut server, &mut [&mut one, &mut two]);
    assert_eq!((one.status().pending, two.status().pending), (0, 0));
    assert_eq!((one.status().rejections, two.status().rejections), (vec![], vec![]));
    assert_eq!(one.rows(&names()), two.rows(&names()));
}

#[test]
fn a_device_that_lost_flushed_records_does_not_reuse_their_numbers() {
    let mut server = Server::new(1);
    let mut client = Client::new(2);
    sync(&mut server, &mut [&mut client]);
    client.ask(add("one"));
    sync(&mut server, &mut [&mut client]);
    cut(&mut server, &mut client);
    // Two more are decided by the server, but an older state of the files is what remains.
    let mut older = client.copied(60);
    let mut client = client.reopen();
    client.ask(add("two"));
    client.ask(add("three"));
    sync(&mut server, &mut [&mut client]);
    cut(&mut server, &mut client);
    let no = older.ask(add("four"));
    assert_eq!(older.told(no), ["applied", "durable"]);
    sync_all(&mut server, &mut [&mut older]);
    assert_eq!(older.told(no), ["applied", "durable", "confirmed"]);
    let rows = older.rows(&names());
    for name in ["one", "two", "three", "four"] {
        assert!(rows.windows(name.len()).any(|part| part == name.as_bytes()), "{name}");
    }
}

#[test]
fn the_new_name_is_durable_before_the_server_hears_of_it() {
    let mut server = Server::new(1);
    let (mut one, mut two) = two_copies(&mut server);
    one.ask(add("of one"));
    sync(&mut server, &mut [&mut one]);
    two.ask(add("of two"));
    let asked = two.sent.len();
    two.disk_works = false;
    sync_all(&mut server, &mut [&mut two]);
    let names: Vec<_> = two.sent[asked..]
        .iter()
        .filter_map(|message| match message {
            ClientMessage::Hello(hello) => Some(hello.client),
            _ => None,
        })
        .collect();
    assert_eq!(names.len(), 1, "the second hello waits for the disk");
}

#[test]
fn what_one_copy_has_heard_does_not_make_the_server_forget_what_the_other_was_refused() {
    let mut server = Server::new(1);
    let (mut one, mut two) = two_copies(&mut server);
    let backup = server.disk.clone();
    one.ask(add("of one"));
    one.ask(add("of one, too"));
    sync(&mut server, &mut [&mut one]);
    cut(&mut server, &mut one);

    // A server that lost this decides the same numbers of the other copy, which does not hear of it.
    let mut server = Server::with(9, backup);
    let mut three = Client::new(3);
    sync(&mut server, &mut [&mut two]);
    three.ask(add("taken"));
    sync(&mut server, &mut [&mut three]);
    let refused = two.ask(add("taken"));
    let taken = two.ask(add("of two"));
    push(&mut server, &mut [&mut two]);
    cut(&mut server, &mut two);
    reconnect(&mut server, &mut one);
    cut(&mut server, &mut one);
    reconnect(&mut server, &mut two);
    assert_eq!(two.told(refused), ["applied", "durable", "rejected constraint"]);
    assert_eq!(two.told(taken), ["applied", "durable", "confirmed"]);
    sync_all(&mut server, &mut [&mut one, &mut two, &mut three]);
    assert_eq!((one.status().pending, two.status().pending), (0, 0));
    assert_eq!(one.rows(&names()), two.rows(&names()));
}

#[test]
fn what_both_copies_had_pending_is_told_as_rejected_to_both() {
    let mut server = Server::new(1);
    let mut one = Client::new(2);
    let mut three = Client::new(3);
    sync(&mut server, &mut [&mut one, &mut three]);
    cut(&mut server, &mut one);
    three.ask(add("taken"));
    sync(&mut server, &mut [&mut three]);
    one.ask(add("taken"));
    one.ask(add("shared"));
    let mut two = one.copied(50);
    let mut one = one.reopen();
    sync(&mut server, &mut [&mut one]);
    assert_eq!(one.status().rejections.len(), 1);
    // It says that it has heard, and goes on.
    cut(&mut server, &mut one);
    reconnect(&mut server, &mut one);
    for more in 0..5 {
        one.ask(add(&format!("more {more}")));
        sync(&mut server, &mut [&mut one]);
    }
    sync_all(&mut server, &mut [&mut two]);
    assert_eq!(two.status().pending, 0);
    assert_eq!(two.status().rejections, one.status().rejections);
    // Once told, it is not told again: neither to who dismissed it nor to who keeps it.
    let refused = one.status().rejections[0].seq;
    one.ask(Request::Dismiss { seq: refused });
    sync_all(&mut server, &mut [&mut one, &mut two]);
    assert_eq!((one.status().rejections.len(), two.status().rejections.len()), (0, 1));
}
