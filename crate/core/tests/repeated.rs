//! A tab that was away for long asks again for what has been decided since: nothing is run twice.

#![allow(clippy::unwrap_used, clippy::panic)]

mod pair;

use offprint_core::host::ReplicaInput;
use offprint_core::ledger::ANSWERED_LIMIT;
use offprint_protocol::rpc::Request;
use offprint_protocol::{RequestNo, TabId, Value};
use pair::*;

const OTHER: TabId = TabId([8; 16]);

/// Of these the first could be run again after the second.
fn added_and_renamed() -> [Request; 2] {
    [add("early"), mutate("rename", &[("from", text("early")), ("to", text("later"))])]
}

fn set(index: usize) -> Request {
    mutate("set", &[("name", text("later")), ("data", Value::Integer(index as i64))])
}

/// A client with a server or without one, and everything that its tab asked: more than the ledger keeps, all decided.
fn with_history(server: Option<&mut Server>) -> (Client, Vec<(RequestNo, Request)>) {
    let mut client = if server.is_some() { Client::new(2) } else { Client::alone(2) };
    client.replica.set_confirm_after(200);
    let asked = added_and_renamed().into_iter().chain((0..ANSWERED_LIMIT + 500).map(set));
    let asked: Vec<_> = asked.map(|request| (client.ask(request.clone()), request)).collect();
    if let Some(server) = server {
        sync(server, &mut [&mut client]);
    }
    assert_eq!(client.status().pending, 0);
    (client, asked)
}

#[test]
fn what_was_decided_too_long_ago_to_be_remembered_is_not_run_again() {
    for has_server in [true, false] {
        let mut server = has_server.then(|| Server::new(1));
        let (mut client, asked) = with_history(server.as_mut());
        let rows = client.rows(&names());
        let mut client = client.reopen_with(has_server);
        for (no, request) in &asked {
            client.ask_again(*no, request.clone());
        }
        if let Some(server) = &mut server {
            sync(server, &mut [&mut client]);
        }
        assert_eq!(client.rows(&names()), rows);
        assert_eq!((client.status().pending, client.status().rejections.len()), (0, 0));
        assert_eq!(client.told(asked[0].0), ["applied", "durable", "failed gone"]);
        assert_eq!(client.told(asked[1].0), ["applied", "durable", "failed gone"]);
        assert_eq!(client.told(asked.last().unwrap().0), ["applied", "durable", "confirmed"]);
        let how =
            |word: &str| asked.iter().filter(|(no, _)| client.told(*no).last().unwrap() == word).count();
        assert_eq!(how("failed gone") + how("confirmed"), asked.len());
    }
}

#[test]
fn it_is_not_run_again_either_if_it_is_asked_for_before_the_files_are_read() {
    let mut server = Server::new(1);
    let (mut client, asked) = with_history(Some(&mut server));
    let rows = client.rows(&names());
    let (no, request) = asked[0].clone();
    let mut client = client.reopen_asking(no, request);
    assert_eq!(client.told(no), ["applied", "durable", "failed gone"]);
    assert_eq!(client.rows(&names()), rows);
}

#[test]
fn what_others_did_meanwhile_does_not_make_it_run_again_while_the_hub_lives() {
    for mut client in [Client::new(2), Client::alone(2)] {
        others_did_much_meanwhile(&mut client);
    }
}

fn others_did_much_meanwhile(client: &mut Client) {
    let mut server = Server::new(1);
    client.replica.set_confirm_after(200);
    let ask = |client: &mut Client| {
        client.tell(ReplicaInput::TabHere { tab: OTHER });
        for (no, request) in (100_000..).map(RequestNo).zip(added_and_renamed()) {
            client.tell(ReplicaInput::Request { tab: OTHER, no, request });
        }
    };
    ask(client);
    client.tell(ReplicaInput::TabGone { tab: OTHER });
    for index in 0..ANSWERED_LIMIT + 200 {
        client.ask(set(index));
    }
    sync(&mut server, &mut [client]);
    let rows = client.rows(&names());
    ask(client);
    assert_eq!(client.rows(&names()), rows);
    assert_eq!(client.status().pending, 0);
    assert_eq!(client.told(RequestNo(100_000)).last().unwrap(), "failed gone");
}

#[test]
fn what_is_new_is_run_however_much_is_forgotten() {
    let (client, _) = with_history(Some(&mut Server::new(1)));
    let mut client = client.reopen();
    let no = client.ask(add("new"));
    assert_eq!(client.told(no), ["applied", "durable"]);
    client.tell(ReplicaInput::TabHere { tab: OTHER });
    client.tell(ReplicaInput::Request { tab: OTHER, no: RequestNo(100_000), request: add("newer") });
    assert_eq!(client.told(RequestNo(100_000)), ["applied", "durable"]);
    assert_eq!(client.status().pending, 2);
}
