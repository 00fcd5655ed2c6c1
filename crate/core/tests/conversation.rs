//! A server and its clients, talking: what is promised to whom, and that bad input takes nothing else with it.

mod pair;

use offprint_core::Replica;
use offprint_core::disk::FileName;
use offprint_core::disk_memory::DiskMemory;
use offprint_core::host::{PrimaryInput, ReplicaEffect, ReplicaInput};
use offprint_protocol::message::{CatchUp, ClientMessage, Hello, ServerMessage, Welcome};
use offprint_protocol::rpc::{Connection, Request, Select, StorageKind, TabEvent};
use offprint_protocol::{
    Argument, ClientId, ClientSecret, Encode, JournalId, Mutation, MutationSeq, MutatorSource, SessionNo,
    Value,
};
use pair::*;

fn refusals(messages: &[ServerMessage]) -> Vec<&str> {
    let codes = messages.iter().filter_map(|message| match message {
        ServerMessage::Refused { code, .. } => Some(code.as_str()),
        _ => None,
    });
    codes.collect()
}

fn hello_of(client: &Client) -> Hello {
    let hello = client.sent.iter().rev().find_map(|message| match message {
        ClientMessage::Hello(hello) => Some(hello.clone()),
        _ => None,
    });
    hello.expect("the client said hello")
}

fn add_as(seq: u64, name: &str) -> Mutation {
    let args = vec![Argument { name: "name".into(), value: text(name) }];
    Mutation { seq: MutationSeq(seq), at: 0, name: "add".into(), args }
}

#[test]
fn a_mutation_is_applied_then_durable_then_confirmed() {
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    let no = client.ask(add("milk"));
    assert_eq!(client.told(no), ["applied", "durable"]);
    assert_eq!(client.status().pending, 1);
    sync(&mut server, &mut [&mut client]);
    assert_eq!(client.told(no), ["applied", "durable", "confirmed"]);
    let status = client.status();
    assert_eq!(
        (status.pending, status.connection, status.lsn),
        (0, Connection::Online, server.primary.position().unwrap().lsn)
    );
}

#[test]
fn nothing_is_sent_before_it_is_flushed() {
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    sync(&mut server, &mut [&mut client]);
    client.disk_works = false;
    client.ask(add("milk"));
    sync(&mut server, &mut [&mut client]);
    assert!(client.pending_seqs().is_empty());
    client.disk_works = true;
    client.tell(ReplicaInput::DiskReady { kind: StorageKind::Opfs, durable: true, reason: None });
    assert_eq!(client.pending_seqs(), [MutationSeq(1)]);
}

#[test]
fn bad_requests_fail_with_their_code_and_leave_no_trace() {
    let mut client = Client::new(2);
    client.ask(add("milk"));
    let before = (client.rows(&names()), client.disk.clone().bytes(FileName::Log0).to_vec());
    let megabyte = Value::Blob(vec![0; 1_000_001]);
    let bad = [
        (mutate("nonsense", &[]), "unknown_mutator"),
        (mutate("add", &[]), "bad_argument"),
        (mutate("add", &[("name", text("a")), ("more", Value::Null)]), "bad_argument"),
        (mutate("add", &[("name", Value::Null)]), "constraint"),
        (add("milk"), "constraint"),
        (mutate("put", &[("name", text("a")), ("data", megabyte)]), "too_large"),
        (Request::Query(Select { sql: "SELEC 1".into(), params: vec![] }), "sql"),
        (Request::Query(Select { sql: "DELETE FROM item".into(), params: vec![] }), "forbidden"),
    ];
    for (request, code) in bad {
        let no = client.ask(request.clone());
        assert_eq!(client.told(no), [format!("failed {code}")], "{request:?}");
    }
    let after = (client.rows(&names()), client.disk.clone().bytes(FileName::Log0).to_vec());
    assert!(before == after);
    assert_eq!(client.status().pending, 1);
}

#[test]
fn what_only_the_server_refuses_is_rejected_alone_and_stays_told() {
    let (mut server, mut one, mut two) = (Server::new(1), Client::new(2), Client::new(3));
    sync(&mut server, &mut [&mut one, &mut two]);
    cut(&mut server, &mut two);
    one.ask(add("milk"));
    sync(&mut server, &mut [&mut one]);
    let first = two.ask(add("milk"));
    let later = two.ask(add("bread"));
    reconnect(&mut server, &mut two);
    deliver(&mut server, &mut [&mut one, &mut two]);
    assert_eq!(two.told(first), ["applied", "durable", "rejected constraint"]);
    assert_eq!(two.told(later), ["applied", "durable", "confirmed"]);
    assert_eq!(one.rows(&names()), two.rows(&names()));
    let rejection = &two.status().rejections[0];
    assert_eq!((rejection.seq, rejection.name.as_str()), (MutationSeq(1), "add"));
    let mut two = two.reopen();
    assert_eq!(two.status().rejections.len(), 1);
    two.ask(Request::Dismiss { seq: MutationSeq(1) });
    assert!(two.status().rejections.is_empty());
    let mut two = two.reopen();
    assert!(two.status().rejections.is_empty());
}

#[test]
fn a_rejection_survives_a_server_that_dies_before_the_client_hears_of_it() {
    let (mut server, mut one, mut two) = (Server::new(1), Client::new(2), Client::new(3));
    sync(&mut server, &mut [&mut one, &mut two]);
    one.ask(add("milk"));
    sync(&mut server, &mut [&mut one]);
    let no = two.ask(add("milk"));
    // The push reaches the server; the answer is lost with both sockets and the server's process.
    push(&mut server, &mut [&mut two]);
    server.down.clear();
    two.socket = None;
    two.tell(ReplicaInput::SocketClosed { problem: None });
    let mut server = server.restart();
    reconnect(&mut server, &mut two);
    assert_eq!(two.told(no), ["applied", "durable", "rejected constraint"]);
}

#[test]
fn a_repeated_request_is_answered_again_and_not_run_again() {
    let mut client = Client::new(2);
    let mut asked = Vec::new();
    for index in 0..3_000 {
        let request = add(&format!("item {index}"));
        asked.push((client.ask(request.clone()), request));
    }
    let rows = client.rows(&names());
    let mut client = client.reopen();
    for (no, request) in asked.clone() {
        client.ask_again(no, request);
    }
    assert!(client.rows(&names()) == rows);
    assert_eq!(client.status().pending, 3_000);
    assert_eq!(client.told(asked[0].0), ["applied", "durable"]);
    let mut server = Server::new(1);
    sync(&mut server, &mut [&mut client]);
    assert_eq!((client.status().pending, client.status().rejections.len()), (0, 0));
    let mut client = client.reopen();
    client.ask_again(asked[2_999].0, asked[2_999].1.clone());
    assert_eq!(client.told(asked[2_999].0), ["applied", "durable", "confirmed"]);
    assert!(client.rows(&names()) == rows);
}

#[test]
fn garbage_ends_the_session_that_sent_it_and_no_other() {
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    sync(&mut server, &mut [&mut client]);
    let stranger = server.session();
    let hello = Hello { client: ClientId([9; 16]), secret: ClientSecret([9; 16]), ..hello_of(&client) };
    server.tell(PrimaryInput::SessionOpened { session: stranger, hello });
    server.tell(PrimaryInput::SessionFrame { session: stranger, frame: vec![0xff; 100] });
    assert_eq!(refusals(&server.said(stranger)), ["bad_frame"]);
    assert_eq!(server.closed, [stranger]);
    let no = client.ask(add("milk"));
    sync(&mut server, &mut [&mut client]);
    assert_eq!(client.told(no), ["applied", "durable", "confirmed"]);
}

#[test]
fn garbage_from_the_server_ends_the_session_and_keeps_what_is_pending() {
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    sync(&mut server, &mut [&mut client]);
    cut(&mut server, &mut client);
    let no = client.ask(add("milk"));
    client.ask(Request::Reconnect);
    client.wants_socket = false;
    client.socket = Some(SessionNo(77));
    client.tell(ReplicaInput::SocketOpened { token: String::new() });
    client.tell(ReplicaInput::SocketFrame(vec![2, 0xff, 0xff]));
    let status = client.status();
    assert_eq!((status.pending, status.connection), (1, Connection::Offline));
    assert_eq!(status.connection_problem.unwrap().code, "bad_frame");
    reconnect(&mut server, &mut client);
    assert_eq!(client.told(no), ["applied", "durable", "confirmed"]);
    assert_eq!(client.status().connection_problem, None);
}

#[test]
fn a_stranger_who_knows_a_client_id_is_refused() {
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    client.ask(add("milk"));
    sync(&mut server, &mut [&mut client]);
    let stranger = server.session();
    let hello = Hello { secret: ClientSecret([9; 16]), ..hello_of(&client) };
    server.tell(PrimaryInput::SessionOpened { session: stranger, hello });
    assert_eq!(refusals(&server.said(stranger)), ["unauthorized"]);
    assert_eq!(server.closed, [stranger]);
    let no = client.ask(add("bread"));
    sync(&mut server, &mut [&mut client]);
    assert_eq!(client.told(no), ["applied", "durable", "confirmed"]);
}

#[test]
fn no_client_is_told_of_anothers_id() {
    let (mut server, mut one, mut two) = (Server::new(1), Client::new(2), Client::new(3));
    sync(&mut server, &mut [&mut one, &mut two]);
    one.ask(add("milk"));
    push(&mut server, &mut [&mut one]);
    let id = hello_of(&one).client.0;
    let (session, frame) = server.down.iter().find(|(session, _)| Some(*session) == two.socket).unwrap();
    assert!(!frame.windows(16).any(|window| window == id), "session {session}");
    assert_eq!(server.said(one.socket.unwrap()).len(), 1);
}

#[test]
fn a_gap_is_refused_and_heals() {
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    sync(&mut server, &mut [&mut client]);
    let session = client.socket.unwrap();
    let push = ClientMessage::Push(vec![add_as(2, "second")]).to_bytes();
    server.tell(PrimaryInput::SessionFrame { session, frame: push });
    assert_eq!(refusals(&server.said(session)), ["sequence_gap"]);
    deliver(&mut server, &mut [&mut client]);
    assert_eq!(client.status().connection_problem.unwrap().code, "sequence_gap");
    let no = client.ask(add("milk"));
    reconnect(&mut server, &mut client);
    assert_eq!(client.told(no), ["applied", "durable", "confirmed"]);
}

#[test]
fn a_repeated_push_is_not_run_again() {
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    sync(&mut server, &mut [&mut client]);
    let session = client.socket.unwrap();
    let push = ClientMessage::Push(vec![add_as(1, "milk")]).to_bytes();
    for _ in 0..3 {
        server.tell(PrimaryInput::SessionFrame { session, frame: push.clone() });
    }
    let commits = server.said(session).len();
    assert_eq!((commits, refusals(&server.said(session)).len()), (1, 0));
}

#[test]
fn another_definition_is_refused_and_nothing_pending_is_lost() {
    let mut server = Server::new(1);
    let mut newer = definition();
    newer.migrations.push("ALTER TABLE item ADD COLUMN done INTEGER NOT NULL DEFAULT 0".into());
    let disk = DiskMemory::new(5);
    let mut client = Client::with(5, newer, disk);
    client.ask(add("milk"));
    sync(&mut server, &mut [&mut client]);
    let status = client.status();
    assert_eq!((status.pending, status.connection), (1, Connection::Offline));
    assert_eq!(status.connection_problem.unwrap().code, "definition_mismatch");
}

#[test]
fn a_commit_longer_than_a_frame_may_be_arrives_in_parts() {
    let (mut server, mut one, mut two) = (Server::new(1), Client::new(2), Client::new(3));
    sync(&mut server, &mut [&mut one, &mut two]);
    let no = one.ask(mutate("grow", &[("name", text("n")), ("count", Value::Integer(100_000))]));
    push(&mut server, &mut [&mut one]);
    let parts = server.said(two.socket.unwrap());
    assert!(parts.len() > 2, "{} parts", parts.len());
    assert!(parts.iter().all(|part| matches!(part, ServerMessage::Rollup(_))));
    deliver(&mut server, &mut [&mut one, &mut two]);
    assert_eq!(one.told(no), ["applied", "durable", "confirmed"]);
    assert!(one.rows(&names()) == two.rows(&names()));
    assert_eq!(two.replica.position(), server.primary.position());
    let mut two = two.reopen();
    assert_eq!(two.replica.position(), server.primary.position());
    two.ask(add("after"));
    let server = server.restart();
    assert_eq!(two.replica.position(), server.primary.position());
}

#[test]
fn a_client_far_behind_gets_what_changed_and_not_everything() {
    let (mut server, mut one, mut two) = (Server::new(1), Client::new(2), Client::new(3));
    sync(&mut server, &mut [&mut one, &mut two]);
    cut(&mut server, &mut two);
    one.ask(mutate("grow", &[("name", text("n")), ("count", Value::Integer(40_000))]));
    sync(&mut server, &mut [&mut one]);
    two.ask(Request::Reconnect);
    two.socket = Some(server.session());
    two.tell(ReplicaInput::SocketOpened { token: String::new() });
    push(&mut server, &mut [&mut two]);
    let ServerMessage::Welcome(welcome) = server.said(two.socket.unwrap()).remove(0) else {
        panic!("no welcome")
    };
    assert_eq!(welcome.catch_up, CatchUp::Rollup);
    deliver(&mut server, &mut [&mut one, &mut two]);
    assert_eq!(two.replica.position(), server.primary.position());
}

#[test]
fn a_client_a_little_behind_a_restarted_server_gets_the_commits_it_lacks() {
    let (mut server, mut one, mut two) = (Server::new(1), Client::new(2), Client::new(3));
    sync(&mut server, &mut [&mut one, &mut two]);
    cut(&mut server, &mut two);
    one.ask(add("milk"));
    sync(&mut server, &mut [&mut one]);
    cut(&mut server, &mut one);
    let mut server = server.restart();
    two.ask(Request::Reconnect);
    two.socket = Some(server.session());
    two.tell(ReplicaInput::SocketOpened { token: String::new() });
    push(&mut server, &mut [&mut two]);
    let ServerMessage::Welcome(welcome) = server.said(two.socket.unwrap()).remove(0) else {
        panic!("no welcome")
    };
    assert_ne!(welcome.catch_up, CatchUp::Reset);
}

#[test]
fn a_server_that_lost_everything_gets_what_is_pending_and_goes_on() {
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    client.ask(add("lost"));
    sync(&mut server, &mut [&mut client]);
    cut(&mut server, &mut client);
    let pending = client.ask(add("pending"));
    let mut server = Server::new(50);
    reconnect(&mut server, &mut client);
    // The first connection may still name an older decision than the reset made.
    let later = client.ask(add("later"));
    sync(&mut server, &mut [&mut client]);
    assert_eq!(client.told(pending), ["applied", "durable", "confirmed"]);
    assert_eq!(client.told(later), ["applied", "durable", "confirmed"]);
    assert_eq!(client.replica.position(), server.primary.position());
    let mut client = client.reopen();
    assert_eq!(client.status().lsn, server.primary.position().unwrap().lsn);
}

#[test]
fn silence_is_asked_about_and_then_given_up() {
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    sync(&mut server, &mut [&mut client]);
    let wake = client.wake.unwrap();
    let mut effects = Vec::new();
    client.replica.handle(wake, [ReplicaInput::Wake], &mut effects);
    assert!(format!("{effects:?}").contains("Send"));
    let mut effects = Vec::new();
    client.replica.handle(wake + 30_000, [ReplicaInput::Wake], &mut effects);
    assert!(effects.contains(&offprint_core::host::ReplicaEffect::Disconnect));
    assert_eq!(client.status().connection_problem.unwrap().code, "unreachable");
}

#[test]
fn a_live_query_is_told_once_for_a_burst_of_commits_and_not_when_nothing_changed() {
    let (mut server, mut one, mut two) = (Server::new(1), Client::new(2), Client::new(3));
    two.ask(Request::Subscribe { subscription: 1, select: names() });
    sync(&mut server, &mut [&mut one, &mut two]);
    two.events.clear();
    for index in 0..10 {
        one.ask(add(&format!("item {index}")));
    }
    sync(&mut server, &mut [&mut one, &mut two]);
    let rows =
        |client: &Client| client.events.iter().filter(|event| matches!(event, TabEvent::Rows { .. })).count();
    assert_eq!(rows(&two), 1);
    one.ask(mutate("rename", &[("from", text("nobody")), ("to", text("nothing"))]));
    sync(&mut server, &mut [&mut one, &mut two]);
    assert_eq!(rows(&two), 1);
}

#[test]
fn a_disk_that_fails_is_asked_again_and_nothing_is_called_durable_meanwhile() {
    let mut client = Client::new(2);
    client.disk.fail_at(client.disk.ops());
    let no = client.ask(add("milk"));
    assert_eq!(client.told(no), ["applied"]);
    assert_eq!(client.status().storage.reason.unwrap().code, "disk");
    let mut effects = Vec::new();
    client.replica.handle(client.now() + 5_000, [ReplicaInput::Wake], &mut effects);
    for effect in effects {
        if let offprint_core::host::ReplicaEffect::Disk(batch) = effect {
            let answer = client.disk.run(&batch);
            client.tell(ReplicaInput::Disk(answer));
        }
    }
    assert_eq!(client.told(no), ["applied", "durable"]);
    assert_eq!(client.status().storage.reason, None);
}

#[test]
fn commits_of_others_share_the_flush_of_a_mutation_or_wait_a_little() {
    let (mut server, mut one, mut two) = (Server::new(1), Client::new(2), Client::new(3));
    sync(&mut server, &mut [&mut one, &mut two]);
    one.ask(add("milk"));
    push(&mut server, &mut [&mut one]);
    let (_, frame) = server.down.pop_back().expect("the commit is on its way");
    let before = two.disk.ops();
    two.tell(ReplicaInput::SocketFrame(frame));
    two.tell(ReplicaInput::Wake);
    assert_eq!(two.replica.position(), server.primary.position());
    assert_eq!(two.disk.ops(), before, "nothing is written yet");
    two.tell(ReplicaInput::Wake);
    assert_eq!(two.disk.ops(), before + 2, "one write and one flush");
    assert_eq!(two.reopen().replica.position(), server.primary.position());
}

#[test]
fn the_last_tabs_end_does_not_leave_commits_unwritten() {
    let (mut server, mut one, mut two) = (Server::new(1), Client::new(2), Client::new(3));
    sync(&mut server, &mut [&mut one, &mut two]);
    one.ask(add("milk"));
    push(&mut server, &mut [&mut one]);
    let (_, frame) = server.down.pop_back().expect("the commit is on its way");
    two.tell(ReplicaInput::SocketFrame(frame));
    two.tell(ReplicaInput::Wake);
    two.tell(ReplicaInput::TabGone { tab: TAB });
    assert_eq!(two.reopen().replica.position(), server.primary.position());
}

#[test]
fn whoever_hears_how_far_a_mutation_has_come_hears_the_counters_too() {
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    let pending = |client: &Client| {
        let last = client.events.iter().rev().find_map(|event| match event {
            TabEvent::Status(status) => Some(status.pending),
            _ => None,
        });
        last.expect("a status was told")
    };
    for count in 1..=5 {
        client.ask(add(&format!("item {count}")));
        assert_eq!(pending(&client), count);
    }
    sync(&mut server, &mut [&mut client]);
    assert_eq!(pending(&client), 0);
}

#[test]
fn a_server_that_chooses_another_version_is_left_and_nothing_pending_is_lost() {
    let mut client = Client::new(2);
    client.ask(add("milk"));
    client.socket = Some(SessionNo(77));
    client.tell(ReplicaInput::SocketOpened { token: String::new() });
    let welcome = Welcome { version: 2, journal: JournalId([1; 16]), marks: vec![], catch_up: CatchUp::Tail };
    client.tell(ReplicaInput::SocketFrame(ServerMessage::Welcome(welcome).to_bytes()));
    let status = client.status();
    assert_eq!((status.pending, status.connection), (1, Connection::Offline));
    assert_eq!(status.connection_problem.unwrap().code, "unsupported_version");
}

#[test]
fn a_query_may_ask_for_the_time_and_a_mutator_may_not() {
    let mut client = Client::new(2);
    let select = Select { sql: "SELECT datetime('now')".into(), params: vec![] };
    let no = client.ask(Request::Query(select));
    assert_eq!(client.told(no), ["rows"]);
    let mut timely = definition();
    let sql = "INSERT INTO item (name) VALUES (datetime('now') || :x)".into();
    timely.mutators.insert("stamp".into(), MutatorSource { sql });
    let mut client = Client::with(5, timely, DiskMemory::new(5));
    let no = client.ask(mutate("stamp", &[("x", text(""))]));
    assert_eq!(client.told(no), ["failed nondeterministic"]);
}

#[test]
fn a_damaged_base_is_told_and_fetched_again_and_nothing_pending_is_lost() {
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    client.ask(mutate("grow", &[("name", text("n")), ("count", Value::Integer(20_000))]));
    sync(&mut server, &mut [&mut client]);
    cut(&mut server, &mut client);
    let pending = client.ask(add("pending"));
    let [zero, one] = [FileName::Base0, FileName::Base1].map(|base| client.disk.bytes(base).len());
    let base = if zero > one { FileName::Base0 } else { FileName::Base1 };
    assert!(zero.max(one) > 4096, "a base was written");
    client.disk.flip(base, 4096 + 100, 1);
    let mut client = client.reopen();
    assert_eq!((client.status().ready, client.status().pending), (true, 1));
    client.ask(add("and on"));
    assert_eq!(client.status().storage.reason.expect("the damage is told").code, "corrupt");
    sync(&mut server, &mut [&mut client]);
    assert_eq!(client.status().pending, 0);
    assert_eq!(client.replica.position(), server.primary.position());
    assert!(client.told(pending).contains(&"confirmed".to_owned()));
}

#[test]
fn what_files_held_that_are_gone_is_written_again_and_nothing_is_durable_meanwhile() {
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    client.ask(add("milk"));
    client.ask(add("taken"));
    sync(&mut server, &mut [&mut client]);
    client.socket = None;
    client.tell(ReplicaInput::SocketClosed { problem: None });
    let pending = client.ask(add("bread"));
    client.disk_works = false;
    let unanswered = client.ask(add("butter"));
    let before = client.rows(&names());

    client.disk = DiskMemory::new(3);
    client.tell(ReplicaInput::DiskLost { problem: None });
    client.tell(ReplicaInput::FilesGone);
    client.events.clear();
    client.ask_again(pending, add("bread"));
    assert_eq!(client.told(pending), ["applied"]);
    client.disk_works = true;
    client.tell(ReplicaInput::DiskReady { kind: StorageKind::IndexedDb, durable: true, reason: None });
    assert_eq!(client.told(pending), ["applied", "durable"]);
    assert_eq!(client.told(unanswered), ["durable"]);

    let mut client = client.reopen();
    assert_eq!(client.rows(&names()), before);
    assert_eq!((client.status().pending, client.status().storage.reason), (2, None));
    sync(&mut server, &mut [&mut client]);
    assert_eq!(client.status().pending, 0);
    assert_eq!(client.rows(&names()), before);
}

#[test]
fn files_that_go_while_they_are_read_are_read_from_the_start() {
    let mut client = Client::new(2);
    client.ask(add("milk"));
    let mut full = client.disk;
    let mut client = Client::with(3, definition(), DiskMemory::new(4));
    client.replica = Replica::new(config(5, definition(), true)).unwrap();
    client.disk_works = false;
    let mut effects = Vec::new();
    let ready = || ReplicaInput::DiskReady { kind: StorageKind::Opfs, durable: true, reason: None };
    client.replica.handle(0, [ReplicaInput::TabHere { tab: TAB }, ready()], &mut effects);
    let heads = effects.iter().find_map(|effect| match effect {
        ReplicaEffect::Disk(batch) => Some(full.run(batch)),
        _ => None,
    });
    client.tell(ReplicaInput::Disk(heads.expect("the heads are read")));
    client.tell(ReplicaInput::DiskLost { problem: None });
    client.tell(ReplicaInput::FilesGone);
    client.disk_works = true;
    client.tell(ready());
    let status = client.status();
    assert_eq!((status.ready, status.pending, status.storage.reason), (true, 0, None));
}

#[test]
fn a_request_whose_rejection_was_dismissed_is_not_answered_as_confirmed() {
    let (mut server, mut one, mut two) = (Server::new(1), Client::new(2), Client::new(3));
    one.ask(add("milk"));
    let no = two.ask(add("milk"));
    sync(&mut server, &mut [&mut one, &mut two]);
    let seq = two.status().rejections[0].seq;
    two.ask(Request::Dismiss { seq });
    for _ in 0..2 {
        // From the records, then from the opening of the next log.
        two = two.reopen();
        two.ask_again(no, add("milk"));
        assert_eq!(two.told(no), ["applied", "durable", "rejected dismissed"]);
    }
}

#[test]
fn more_requests_than_the_ledger_remembers_are_asked_again_and_none_is_run_again() {
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    let asked: Vec<_> = (0..1100).map(|row| (client.ask(add(&format!("row {row}"))), row)).collect();
    // A new hub has yet to replay them when the tab comes back and the server decides.
    let mut client = client.reopen_unready(1);
    for (no, row) in &asked {
        client.ask_again(*no, add(&format!("row {row}")));
    }
    for _ in 0..4 {
        sync(&mut server, &mut [&mut client]);
    }
    client.replayed();
    sync(&mut server, &mut [&mut client]);
    let status = client.status();
    assert_eq!((status.pending, status.rejections.len()), (0, 0));
    assert!(asked.iter().all(|(no, _)| client.told(*no).last().is_some_and(|word| word == "confirmed")));
}
