//! Documents without a server: they confirm their own mutations, and their files stay small.

mod pair;

use offprint_core::disk::FileName;
use offprint_core::host::ReplicaInput;
use offprint_protocol::rpc::{Connection, Select, StorageKind, TabEvent};
use offprint_protocol::{Definition, MutationSeq, MutatorSource, Value};
use pair::*;

fn fill(client: &mut Client, count: usize, bytes: usize) {
    for index in 0..count {
        client
            .ask(mutate("put", &[("name", text(&format!("n{index}"))), ("data", text(&"x".repeat(bytes)))]));
    }
}

#[test]
fn a_durable_mutation_is_a_confirmed_one() {
    let mut client = Client::alone(1);
    let no = client.ask(add("milk"));
    assert_eq!(client.told(no), ["applied", "durable", "confirmed"]);
    let status = client.status();
    assert_eq!((status.pending, status.connection), (0, Connection::None));
}

#[test]
fn a_mutation_that_is_not_flushed_is_neither() {
    let mut client = Client::alone(1);
    client.disk_works = false;
    let no = client.ask(add("milk"));
    assert_eq!(client.told(no), ["applied"]);
    assert_eq!(client.status().pending, 1);
}

#[test]
fn a_long_log_is_confirmed_by_a_checkpoint_and_everything_is_there_again() {
    let mut client = Client::alone(1);
    fill(&mut client, 500, 10_000);
    let lsn = client.status().lsn;
    assert!(lsn.0 >= 1, "{lsn}");
    let rows = client.rows(&names());
    let mut client = client.reopen_with(false);
    assert_eq!(client.rows(&names()), rows);
    assert_eq!(client.status().lsn, lsn);
    let logs = [FileName::Log0, FileName::Log1].map(|file| client.disk.bytes(file).len());
    assert!(logs.iter().all(|len| *len <= 8 << 20), "{logs:?}");
    let no = client.ask(add("more"));
    assert_eq!(client.told(no), ["applied", "durable", "confirmed"]);
}

#[test]
fn a_mutation_in_flight_during_the_checkpoint_is_told_once_it_is_flushed() {
    let mut client = Client::alone(1);
    fill(&mut client, 190, 10_000);
    client.disk_works = false;
    let asked: Vec<_> = (0..40)
        .map(|index| {
            client.ask(mutate(
                "put",
                &[("name", text(&format!("m{index}"))), ("data", text(&"y".repeat(10_000)))],
            ))
        })
        .collect();
    assert!(client.status().lsn.0 >= 1);
    let last = *asked.last().unwrap();
    assert_eq!(client.told(last), ["applied"]);
    assert!(client.status().pending > 0);
    client.disk_works = true;
    client.tell(ReplicaInput::DiskReady { kind: StorageKind::Opfs, durable: true, reason: None });
    for no in asked {
        assert_eq!(client.told(no), ["applied", "durable", "confirmed"]);
    }
    assert_eq!(client.status().pending, 0);
}

#[test]
fn a_repeated_request_is_answered_before_and_after_the_checkpoint() {
    let mut client = Client::alone(1);
    let no = client.ask(add("milk"));
    let mut client = client.reopen_with(false);
    client.ask_again(no, add("milk"));
    assert_eq!(client.told(no), ["applied", "durable", "confirmed"]);
    fill(&mut client, 900, 1000);
    let mut client = client.reopen_with(false);
    client.ask_again(no, add("milk"));
    assert_eq!(client.told(no), ["applied", "durable", "confirmed"]);
}

#[test]
fn numbers_go_on_after_a_checkpoint() {
    let mut client = Client::alone(1);
    fill(&mut client, 500, 10_000);
    let mut client = client.reopen_with(false);
    client.ask(add("more"));
    // Nothing of it was sent to anyone.
    assert_eq!(client.pending_seqs(), [] as [MutationSeq; 0]);
    assert!(client.sent.is_empty());
}

#[test]
fn whatever_operation_the_power_is_cut_at_what_was_durable_is_there_once() {
    let mut cuts = 0;
    for at in (0..).step_by(3) {
        let mut client = Client::alone(1);
        fill(&mut client, 80, 20_000);
        client.disk.fail_at(client.disk.ops() + at);
        for index in 0..80 {
            client.ask(mutate(
                "put",
                &[("name", text(&format!("late{index}"))), ("data", text(&"x".repeat(20_000)))],
            ));
        }
        let was_cut = client.disk.faults().thrown > 0;
        let durable: usize = client
            .events
            .iter()
            .map(|event| match event {
                TabEvent::Durable { requests } => requests.len(),
                _ => 0,
            })
            .sum();
        client.disk.fail_at(u64::MAX);
        client.disk.crash();
        let mut client = client.reopen_with(false);
        let fits = |sql: &str| Select { sql: sql.into(), params: vec![Value::Integer(durable as i64)] };
        let found = client.rows(&fits("SELECT count(*) >= ? AS fits FROM item"));
        assert_eq!(found, client.rows(&fits("SELECT ? > 0 AS fits")), "{durable} durable, cut at {at}");
        cuts += 1;
        if !was_cut {
            break;
        }
    }
    assert!(cuts > 20, "{cuts}");
}

#[test]
fn damage_to_pages_that_nobody_else_has_is_told_and_nothing_is_written_over_them() {
    let mut client = Client::alone(1);
    fill(&mut client, 500, 10_000);
    assert!(client.status().local);
    let rows = client.rows(&names());
    let base =
        [FileName::Base0, FileName::Base1].into_iter().find(|file| client.disk.bytes(*file).len() > 8192);
    let base = base.expect("a base has pages");
    let places = [(base, 1_000_000), (FileName::Log0, 600), (FileName::Log1, 600)];
    let mut told = 0;
    for (file, at) in places {
        client.disk.flip(file, at, 0x10);
        let before: Vec<_> = FileName::ALL.map(|file| client.disk.bytes(file).to_vec()).into();
        let mut damaged = client.copied(9);
        let status = damaged.status();
        let is_told = status.storage.reason.as_ref().is_some_and(|reason| reason.code == "corrupt");
        if is_told {
            assert!(!status.ready, "{status:?}");
            let after: Vec<_> = FileName::ALL.map(|file| damaged.disk.bytes(file).to_vec()).into();
            assert!(before == after, "something was written");
            told += 1;
        } else {
            // The log that is not in use.
            assert_eq!(damaged.rows(&names()), rows);
        }
        client.disk.flip(file, at, 0x10);
    }
    assert_eq!(told, 2);
    let mut client = client.reopen_with(false);
    assert_eq!(client.rows(&names()), rows);
}

/// The next version: what added is called otherwise, and what there was is marked.
fn newer() -> Definition {
    let mut newer = definition();
    newer.migrations.push("UPDATE item SET data = 'old'".into());
    newer.mutators.remove("add");
    newer
        .mutators
        .insert("enter".into(), MutatorSource { sql: "INSERT INTO item (name) VALUES (:title)".into() });
    newer
}

fn enter(title: &str) -> offprint_protocol::rpc::Request {
    mutate("enter", &[("title", text(title))])
}

fn marked() -> Select {
    Select { sql: "SELECT name FROM item WHERE data = 'old' ORDER BY id".into(), params: vec![] }
}

#[test]
fn what_was_confirmed_stays_under_a_newer_definition() {
    for server in [false, true] {
        let mut client = Client::alone(1);
        client.ask(add("one"));
        client.ask(add("two"));
        let rows = client.rows(&names());
        let mut client = client.reopen_under(newer(), server);
        for _ in 0..2 {
            assert_eq!(client.rows(&names()), rows);
            assert_eq!(client.rows(&marked()), rows, "the migration came after them");
            let status = client.status();
            assert_eq!((status.pending, status.rejections.len(), status.local), (0, 0, true));
            client = client.reopen_under(newer(), server);
        }
        let no = client.ask(enter("three"));
        assert!(client.told(no).contains(&"durable".to_owned()));
        let mut client = client.reopen_under(newer(), server);
        assert_eq!((client.rows(&marked()), client.rows(&names()).len()), (rows.clone(), rows.len() + 7));
    }
}

#[test]
fn a_power_cut_while_the_definition_changes_loses_nothing() {
    for at in 0..40 {
        let mut client = Client::alone(1);
        client.ask(add("one"));
        client.ask(add("two"));
        let rows = client.rows(&names());
        client.disk.fail_at(client.disk.ops() + at);
        let mut client = client.reopen_under(newer(), false);
        client.disk.crash();
        let mut client = client.reopen_under(newer(), false);
        // If the call that throws comes only now.
        client.pass(60_000);
        assert_eq!((client.rows(&names()), client.rows(&marked())), (rows.clone(), rows), "{at}");
    }
}

#[test]
fn what_is_pending_on_a_servers_history_stays_so_when_the_definition_changes_without_the_server() {
    let mut server = Server::new(9);
    let mut client = Client::new(1);
    client.ask(add("before"));
    sync(&mut server, &mut [&mut client]);
    let mut client = client.reopen_with(false);
    let no = client.ask(mutate("set", &[("name", text("before")), ("data", text("alone"))]));
    assert_eq!(client.told(no), ["applied", "durable"]);
    for with_server in [false, true] {
        client = client.reopen_under(newer(), with_server);
        assert_eq!((client.status().pending, client.status().local), (1, false));
    }
    let mut server = Server::serving(newer(), 10, server.disk, |primary| primary);
    sync(&mut server, &mut [&mut client]);
    assert_eq!((client.status().pending, client.status().rejections), (0, vec![]));
    let changed = Select { sql: "SELECT name FROM item WHERE data = 'alone'".into(), params: vec![] };
    assert_eq!(client.rows(&changed).len(), client.rows(&names()).len(), "it is there");
    assert_eq!(server.primary.image(), client.replica.image());
}

#[test]
fn what_a_server_is_to_decide_stays_pending_under_a_newer_definition() {
    let mut client = Client::new(1);
    client.ask(add("one"));
    let mut client = client.reopen_under(newer(), true);
    let status = client.status();
    assert_eq!((status.pending, status.local, status.rejections.len()), (1, false, 0));
}
