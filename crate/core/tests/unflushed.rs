//! What a life before wrote and did not flush is told to nobody before it is flushed.

#![allow(clippy::unwrap_used, clippy::panic)]

mod pair;

use offprint_core::host::ReplicaInput;
use offprint_protocol::message::ClientMessage;
use offprint_protocol::rpc::{Bytes, Request};
use offprint_protocol::{Mark, RequestNo};
use pair::*;

/// The document as it would be if the power were cut now.
fn after_a_cut(client: &Client, server: bool) -> Client {
    let mut disk = client.disk.clone();
    disk.crash_hard();
    Client::on(99, disk, server)
}

fn has(client: &mut Client, name: &str) -> bool {
    let rows = client.rows(&names());
    rows.windows(name.len()).any(|window| window == name.as_bytes())
}

fn was_told(client: &Client, no: RequestNo, word: &str) -> bool {
    client.told(no).iter().any(|told| told == word)
}

/// Lets the disk go on, batch by batch, and looks after each.
fn watch(client: &mut Client, mut look: impl FnMut(&mut Client)) {
    look(client);
    while client.carry_out() {
        look(client);
    }
}

#[test]
fn a_mutation_is_called_durable_again_once_it_is_flushed() {
    for server in [false, true] {
        let mut client = Client::on(1, Client::new(1).disk, server);
        client.disk_works = false;
        let no = client.ask(add("one"));
        // Written, but the hub dies before the flush.
        let mut client = client.killed(1, server);
        client.ask_again(no, add("one"));
        let mut times = 0;
        watch(&mut client, |client| {
            if was_told(client, no, "durable") {
                times += 1;
                assert!(has(&mut after_a_cut(client, server), "one"));
            }
            // Whoever sends it to a server counts on it, too.
            if client.wants_socket {
                assert!(has(&mut after_a_cut(client, server), "one"));
            }
        });
        assert!(times > 0);
    }
}

#[test]
fn a_mutation_that_an_opening_alone_has_is_called_durable_to_who_asks_again_before_that_is_read() {
    for server in [false, true] {
        let mut client = Client::on(1, Client::new(1).disk, server).killed(0, server);
        let no = client.ask(add("one"));
        // The batch that makes the opening count is carried out; its answer meets a dead hub.
        while !has(&mut after_a_cut(&client, server), "one") {
            let batch = client.held.take().unwrap();
            let answer = client.disk.run(&batch);
            client.held = Some(batch);
            if !has(&mut after_a_cut(&client, server), "one") {
                client.tell(ReplicaInput::Disk(answer));
            }
        }
        assert_eq!(client.told(no), ["applied"]);
        let mut client = client.killed(0, server);
        client.ask_again(no, add("one"));
        while client.carry_out() {}
        let told: &[&str] =
            if server { &["applied", "durable"] } else { &["applied", "durable", "confirmed"] };
        assert_eq!(client.told(no), told);
    }
}

#[test]
fn what_a_device_confirmed_by_itself_is_told_again_once_it_is_flushed() {
    for ops in 0..8 {
        let mut client = Client::alone(1);
        client.disk_works = false;
        client.replica.set_confirm_after(1);
        let no = client.ask(add("one"));
        let mut client = client.killed(ops, false);
        client.ask_again(no, add("one"));
        let mut times = 0;
        watch(&mut client, |client| {
            if was_told(client, no, "durable") || was_told(client, no, "confirmed") {
                times += 1;
                assert!(has(&mut after_a_cut(client, false), "one"), "{ops}");
            }
        });
        assert!(times > 0, "{ops}: {:?}", client.told(no));
    }
}

#[test]
fn a_decision_is_acknowledged_once_it_is_flushed() {
    let (mut client, mut server) = (Client::new(1), Server::new(2));
    sync(&mut server, &mut [&mut client]);
    client.disk_works = false;
    let no = client.ask(add("one"));
    while client.carry_out() {}
    sync(&mut server, &mut [&mut client]);
    assert!(was_told(&client, no, "confirmed"));
    let mut client = client.killed(1, true);
    watch(&mut client, |client| {
        if client.wants_socket {
            client.connect(&mut server);
        }
        let told = client.sent.iter().find_map(|message| match message {
            ClientMessage::Hello(hello) => Some(hello.confirmed),
            _ => None,
        });
        if told.is_some_and(|told| told != Mark::default()) {
            assert_eq!(after_a_cut(client, true).status().pending, 0);
        }
    });
    assert!(!client.sent.is_empty());
}

#[test]
fn an_import_is_told_once_all_of_it_is_flushed() {
    let mut file = Client::alone(9);
    file.ask(mutate(
        "grow",
        &[("name", text("grown ")), ("count", offprint_protocol::Value::Integer(60_000))],
    ));
    let bytes = file.exported();
    assert!(bytes.len() > 2 << 20, "it takes several slices");

    let mut client = Client::alone(1);
    client.disk_works = false;
    let no = client.ask(Request::Import { offset: 0, bytes: Bytes(bytes), last: true });
    let more = client.ask(add("more"));
    watch(&mut client, |client| {
        if was_told(client, more, "durable") {
            assert!(has(&mut after_a_cut(client, false), "more"));
        }
        if was_told(client, no, "done") {
            assert!(has(&mut after_a_cut(client, false), "grown 1"), "told before its base was flushed");
        }
    });
    assert_eq!(client.told(no), ["done"]);
}
