//! A device whose clock is set back waits no longer than one whose clock is right.

mod pair;

use offprint_core::host::ReplicaInput;
use offprint_protocol::rpc::Connection;
use pair::*;

const DAY: u64 = 24 * 60 * 60 * 1_000;

#[test]
fn it_calls_the_server_again() {
    let mut server = Server::new(1);
    let mut client = Client::new(2);
    sync(&mut server, &mut [&mut client]);
    cut(&mut server, &mut client);
    client.wants_socket = false;
    client.turn_back(DAY);
    client.pass(60_000);
    client.pass(60_000);
    assert!(client.wants_socket);
}

#[test]
fn it_notices_a_server_that_is_silent() {
    let mut server = Server::new(1);
    let mut client = Client::new(2);
    sync(&mut server, &mut [&mut client]);
    client.turn_back(DAY);
    for _ in 0..5 {
        client.pass(20_000);
    }
    assert_ne!(client.status().connection, Connection::Online);
}

#[test]
fn it_tries_a_disk_again_that_failed() {
    let mut client = Client::new(1);
    let op = client.disk.ops();
    client.disk.fail_at(op);
    let no = client.ask(add("one"));
    client.turn_back(DAY);
    client.tell(ReplicaInput::Wake);
    client.pass(60_000);
    assert_eq!(client.told(no), ["applied", "durable"]);
}

#[test]
fn it_applies_what_others_did() {
    let mut server = Server::new(1);
    let (mut one, mut two) = (Client::new(2), Client::new(3));
    sync(&mut server, &mut [&mut one, &mut two]);
    one.ask(add("one"));
    deliver(&mut server, &mut [&mut one, &mut two]);
    two.turn_back(DAY);
    two.pass(1_000);
    two.pass(1_000);
    assert_eq!(two.status().lsn, server.primary.position().unwrap().lsn);
    assert_eq!(two.reopen().replica.position(), server.primary.position());
}
