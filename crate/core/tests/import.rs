//! A new document from a plain SQLite file: wholly, or without a trace.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod pair;

use offprint_core::host::ReplicaInput;
use offprint_protocol::rpc::{Bytes, Request, StorageKind};
use offprint_protocol::{PAGE_SIZE, RequestNo, TabId};
use pair::*;
use rusqlite::Connection;

/// A file that stock SQLite made with these statements.
fn file(sql: &str) -> Vec<u8> {
    static LAST: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let no = LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("offprint-import-{}-{no}.db", std::process::id()));
    let stock = Connection::open(&path).unwrap();
    stock.execute_batch(sql).unwrap();
    drop(stock);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    bytes
}

const SCHEMA: &str = "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, data BLOB);
    PRAGMA user_version = 1;";

fn good() -> Vec<u8> {
    let rows = "INSERT INTO item (name, data) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
        WHERE i < 2000) SELECT 'item ' || i, zeroblob(i % 700) FROM n";
    file(&format!("{SCHEMA} {rows}; DELETE FROM item WHERE id % 5 = 0"))
}

fn part(offset: usize, bytes: &[u8], last: bool) -> Request {
    Request::Import { offset: offset as u64, bytes: Bytes(bytes.to_vec()), last }
}

/// Asks for all parts, up to the first that fails; gives the last answer.
fn import(client: &mut Client, bytes: &[u8], size: usize) -> (RequestNo, Vec<String>) {
    let count = bytes.chunks(size).len();
    let mut last = None;
    for (index, chunk) in bytes.chunks(size).enumerate() {
        let no = client.ask(part(index * size, chunk, index + 1 == count));
        let told = client.told(no);
        last = Some((no, told.clone()));
        if told != ["done"] {
            break;
        }
    }
    last.unwrap()
}

fn count(client: &mut Client) -> usize {
    let rows = client.rows(&names());
    rows.windows(5).filter(|window| *window == b"item ").count()
}

#[test]
fn a_file_becomes_the_document_and_is_there_again() {
    for size in [1000, PAGE_SIZE, 1 << 20] {
        let mut client = Client::alone(1);
        assert_eq!(import(&mut client, &good(), size).1, ["done"]);
        assert_eq!(count(&mut client), 1600);
        let status = client.status();
        assert_eq!((status.ready, status.pending, status.lsn.0), (true, 0, 1));
        let no = client.ask(add("item more"));
        assert_eq!(client.told(no), ["applied", "durable", "confirmed"]);
        let mut client = client.reopen_with(false);
        assert_eq!(count(&mut client), 1601);
    }
}

#[test]
fn what_was_exported_can_be_imported() {
    let mut one = Client::alone(1);
    assert_eq!(import(&mut one, &good(), 1 << 20).1, ["done"]);
    one.ask(add("item more"));
    let bytes = one.exported();
    let mut two = Client::alone(2);
    assert_eq!(import(&mut two, &bytes, 1 << 20).1, ["done"]);
    assert_eq!(two.rows(&names()), one.rows(&names()));
}

#[test]
fn what_cannot_be_a_document_is_refused_and_leaves_no_trace() {
    let with = |before: &str| file(&format!("{before}; {SCHEMA} INSERT INTO item (name) VALUES ('item')"));
    let wal = {
        let mut bytes = good();
        bytes[18..20].fill(2);
        bytes
    };
    let cut = {
        let mut bytes = good();
        bytes.truncate(bytes.len() - PAGE_SIZE);
        bytes
    };
    let damaged = {
        let mut bytes = good();
        bytes[2 * PAGE_SIZE..3 * PAGE_SIZE].fill(0xa5);
        bytes
    };
    let bad = [
        (b"not a database".repeat(1000), "bad_file"),
        (b"short".to_vec(), "bad_file"),
        (vec![], "bad_file"),
        (with("PRAGMA page_size = 1024"), "bad_file"),
        (with("PRAGMA page_size = 8192"), "bad_file"),
        (with("PRAGMA encoding = 'UTF-16le'"), "bad_file"),
        (with("PRAGMA auto_vacuum = FULL"), "bad_file"),
        (wal, "bad_file"),
        (cut, "bad_file"),
        (good()[..good().len() - 1].to_vec(), "bad_file"),
        (damaged, "bad_file"),
        (file(&SCHEMA.replace("= 1", "= 0")), "bad_definition"),
        (file(&SCHEMA.replace("= 1", "= -1")), "corrupt"),
    ];
    for (index, (bytes, code)) in bad.into_iter().enumerate() {
        let mut client = Client::alone(1);
        let told = if bytes.is_empty() {
            let no = client.ask(part(0, &[], true));
            client.told(no)
        } else {
            import(&mut client, &bytes, 5000).1
        };
        assert_eq!(told, [format!("failed {code}")], "{index}");
        let mut client = client.reopen_with(false);
        assert_eq!(
            (count(&mut client), client.status().lsn.0, client.status().ready),
            (0, 0, true),
            "{index}"
        );
        assert_eq!(import(&mut client, &good(), 1 << 20).1, ["done"], "{index}");
    }
}

#[test]
fn any_bytes_are_taken_or_refused() {
    let good = good();
    let mut x = 1u64;
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..150 {
        let mut bytes = good.clone();
        for _ in 0..3 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let near = if x & 1 == 0 { 120 } else { bytes.len() };
            bytes[(x >> 33) as usize % near] = (x >> 20) as u8;
        }
        let mut client = Client::alone(1);
        match &import(&mut client, &bytes, 1 << 20).1[..] {
            [done] if done == "done" => {
                taken += 1;
                client.ask(add("item more"));
                client.rows(&names());
            }
            _ => refused += 1,
        }
    }
    println!("{taken} taken, {refused} refused");
    assert!(taken > 0 && refused > 0);
}

#[test]
fn a_document_that_is_there_is_not_replaced() {
    let mut client = Client::alone(1);
    client.ask(add("item one"));
    assert_eq!(import(&mut client, &good(), 1 << 20).1, ["failed exists"]);
    let mut client = client.reopen_with(false);
    assert_eq!(import(&mut client, &good(), 1 << 20).1, ["failed exists"]);
    assert_eq!(count(&mut client), 1);
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    sync(&mut server, &mut [&mut client]);
    assert_eq!(import(&mut client, &good(), 1 << 20).1, ["failed exists"]);
}

#[test]
fn everybody_else_waits_for_the_file_or_for_its_end() {
    let bytes = good();
    let (first, rest) = bytes.split_at(5000);
    for succeeds in [true, false] {
        let mut client = Client::alone(1);
        let importer = TabId([8; 16]);
        client.tell(ReplicaInput::TabHere { tab: importer });
        let request =
            |no: u64, request| ReplicaInput::Request { tab: importer, no: RequestNo(1000 + no), request };
        client.tell(request(1, part(0, first, false)));
        let waiting = client.ask(add("item late"));
        assert!(client.told(waiting).is_empty() && !client.status().ready);
        // Another file does not get in between.
        assert_eq!(import(&mut client, &bytes, 1 << 20).1, ["failed exists"]);
        if succeeds {
            client.tell(request(2, part(5000, rest, true)));
        } else {
            client.tell(ReplicaInput::TabGone { tab: importer });
        }
        assert_eq!(client.told(waiting), ["applied", "durable", "confirmed"]);
        assert_eq!(count(&mut client), if succeeds { 1601 } else { 1 });
    }
}

#[test]
fn a_tab_that_is_gone_before_the_files_are_read_leaves_no_part_that_others_wait_for() {
    let gone = TabId([8; 16]);
    let mut client = Client::alone(1).killed(0, false);
    client.tell(ReplicaInput::TabHere { tab: gone });
    for (no, request) in [(1, part(0, &good()[..5000], false)), (2, add("item of theirs"))] {
        client.tell(ReplicaInput::Request { tab: gone, no: RequestNo(no), request });
    }
    client.tell(ReplicaInput::TabGone { tab: gone });
    let no = client.ask(add("item of ours"));
    while client.carry_out() {}
    assert!(client.status().ready);
    assert_eq!(client.told(no), ["applied", "durable", "confirmed"]);
    assert_eq!(count(&mut client), 2, "what was changed by who is gone counts");
}

#[test]
fn a_repeated_part_changes_nothing_and_a_missing_one_is_noticed() {
    let bytes = good();
    let mut client = Client::alone(1);
    for (offset, end) in [(0, 9000), (0, 9000), (4000, 12_000)] {
        let no = client.ask(part(offset, &bytes[offset..end], false));
        assert_eq!(client.told(no), ["done"]);
    }
    let last = client.ask(part(12_000, &bytes[12_000..], true));
    assert_eq!(client.told(last), ["done"]);
    // The answer got lost with the hub.
    let mut client = client.reopen_with(false);
    client.ask_again(last, part(12_000, &bytes[12_000..], true));
    assert_eq!(client.told(last), ["done"]);
    assert_eq!(count(&mut client), 1600);

    let mut client = Client::alone(1);
    let no = client.ask(part(4096, &bytes[4096..9000], false));
    assert_eq!(client.told(no), ["failed closed"]);
    assert_eq!(import(&mut client, &bytes, 1 << 20).1, ["done"]);
}

#[test]
fn a_file_becomes_the_servers_document_if_that_has_none() {
    let mut server = Server::new(1);
    let mut client = Client::asking(2, part(0, &good(), true));
    sync(&mut server, &mut [&mut client]);
    sync(&mut server, &mut [&mut client]);
    let mut other = Client::new(3);
    sync(&mut server, &mut [&mut client, &mut other]);
    assert_eq!((count(&mut client), count(&mut other)), (1600, 1600));
    other.ask(add("item more"));
    sync(&mut server, &mut [&mut client, &mut other]);
    assert_eq!(count(&mut client), 1601);
}

/// A server whose document has one item.
fn other_document() -> Server {
    let (mut server, mut maker) = (Server::new(1), Client::new(9));
    maker.ask(add("item of others"));
    sync(&mut server, &mut [&mut maker]);
    server
}

/// Imports in two parts, and lets what a server said come after each of them.
fn import_amid(client: &mut Client, frames: &mut dyn Iterator<Item = Vec<u8>>) -> Vec<String> {
    let bytes = good();
    let first = client.ask(part(0, &bytes[..5000], false));
    assert_eq!(client.told(first), ["done"]);
    frames.next().into_iter().for_each(|frame| client.tell(ReplicaInput::SocketFrame(frame)));
    client.tell(ReplicaInput::Wake);
    let last = client.ask(part(5000, &bytes[5000..], true));
    frames.for_each(|frame| client.tell(ReplicaInput::SocketFrame(frame)));
    client.tell(ReplicaInput::Wake);
    client.told(last)
}

/// It has the file and nothing else, and the server's document is told to be another one.
fn assert_diverged(server: &mut Server, client: &mut Client) {
    sync(server, &mut [client]);
    assert_eq!(count(client), 1600);
    let status = client.status();
    assert_eq!(status.connection_problem.map(|problem| problem.code).as_deref(), Some("diverged"));
    assert!(status.ready && status.local);
}

#[test]
fn what_a_server_has_sent_before_a_file_came_does_not_replace_that() {
    for heard in 0.. {
        let (mut server, mut client) = (other_document(), Client::new(2));
        client.connect(&mut server);
        push(&mut server, &mut [&mut client]);
        let frames = server.down.len();
        let mut frames_left = std::mem::take(&mut server.down).into_iter().map(|(_, frame)| frame);
        frames_left.by_ref().take(heard).for_each(|frame| client.tell(ReplicaInput::SocketFrame(frame)));
        assert_eq!(import_amid(&mut client, &mut frames_left), ["done"], "after {heard} frames");
        assert_eq!(count(&mut client), 1600, "after {heard} frames");
        assert_diverged(&mut server, &mut client);
        assert_diverged(&mut server, &mut client.reopen());
        if heard == frames {
            assert!(frames > 1);
            break;
        }
    }
}

#[test]
fn a_snapshot_that_was_fetched_before_a_file_came_does_not_replace_that() {
    for share in [0, 1, 2] {
        let (mut server, mut maker) = (Server::new(1), Client::new(9));
        let count = offprint_protocol::Value::Integer(10_000);
        maker.ask(mutate("grow", &[("name", text("n")), ("count", count)]));
        sync(&mut server, &mut [&mut maker]);
        let mut client = Client::fetching(2);
        client.connect(&mut server);
        deliver(&mut server, &mut [&mut client]);
        let (journal, lsn, _) = client.fetch.unwrap();
        let body = server.kept(journal, lsn).unwrap();
        client.tell(ReplicaInput::SnapshotBytes(body[..body.len() * share / 2].to_vec()));
        push(&mut server, &mut [&mut client]);
        let mut frames = std::mem::take(&mut server.down).into_iter().map(|(_, frame)| frame);
        assert_eq!(import_amid(&mut client, &mut frames), ["done"]);
        assert_diverged(&mut server, &mut client);
        assert_eq!(client.status().download, None);
    }
}

#[test]
fn a_file_that_comes_while_the_server_is_out_of_reach_is_offered_to_it_once_it_is_durable() {
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    client.tell(ReplicaInput::SocketClosed { problem: None });
    client.wants_socket = false;
    client.disk_works = false;
    let (no, told) = import(&mut client, &good(), 1 << 20);
    assert!(told.is_empty());
    client.pass(60_000);
    while !client.wants_socket {
        assert!(client.carry_out(), "the server is not called");
        client.pass(60_000);
    }
    assert_eq!(client.told(no), ["done"]);
    let mut disk = client.disk.clone();
    disk.crash_hard();
    assert_eq!(count(&mut Client::on(99, disk, true)), 1600, "it is offered before it is durable");
    while client.carry_out() {}
    client.disk_works = true;
    client.ask(add("item pending"));
    sync(&mut server, &mut [&mut client]);
    let mut other = Client::new(3);
    sync(&mut server, &mut [&mut client, &mut other]);
    assert_eq!((count(&mut client), count(&mut other)), (1601, 1601));
    assert!(!client.status().local);
}

#[test]
fn what_a_server_has_taken_over_goes_on_as_the_servers_even_if_the_device_forgets_that() {
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    client.tell(ReplicaInput::SocketClosed { problem: None });
    client.wants_socket = false;
    assert_eq!(import(&mut client, &good(), 1 << 20).1, ["done"]);
    client.ask(add("item pending"));
    client.disk_works = false;
    client.pass(60_000);
    client.connect(&mut server);
    // The server's answer to the offer is not heard.
    for _ in 0..2 {
        push(&mut server, &mut [&mut client]);
        let frames = std::mem::take(&mut server.down);
        frames.into_iter().for_each(|(_, frame)| client.tell(ReplicaInput::SocketFrame(frame)));
    }
    assert_eq!(server.primary.position().unwrap().lsn.0, 1);
    cut(&mut server, &mut client);
    let mut other = Client::new(3);
    sync(&mut server, &mut [&mut other]);
    other.ask(add("item of others"));
    sync(&mut server, &mut [&mut other]);
    let mut client = client.reopen();
    sync(&mut server, &mut [&mut client, &mut other]);
    assert_eq!(client.status().connection_problem, None);
    assert_eq!((count(&mut client), count(&mut other)), (1602, 1602));
}

#[test]
fn the_server_is_called_again_when_a_file_fails_or_does_not_come_wholly() {
    let bytes = good();
    for how in 0..3 {
        let (mut server, mut client) = (other_document(), Client::new(2));
        client.connect(&mut server);
        push(&mut server, &mut [&mut client]);
        server.down.clear();
        let tab = TabId([8; 16]);
        client.tell(ReplicaInput::TabHere { tab });
        let mut give = |no, request| {
            client.tell(ReplicaInput::Request { tab, no: RequestNo(no), request });
            client.wants_socket
        };
        match how {
            0 => assert!(give(1, part(0, b"not a database", true))),
            1 => {
                assert!(!give(1, part(0, &bytes[..5000], false)));
                assert!(give(2, part(5000, &bytes[5000..9000], true)));
            }
            _ => {
                assert!(!give(1, part(0, &bytes[..5000], false)));
                client.tell(ReplicaInput::TabGone { tab });
            }
        }
        sync(&mut server, &mut [&mut client]);
        assert_eq!(count(&mut client), 1);
        assert_eq!(client.status().connection_problem, None);
    }
}

#[test]
fn whatever_operation_the_power_is_cut_at_the_file_is_there_or_not() {
    let bytes = good();
    let (mut there, mut absent) = (0, 0);
    for at in 0.. {
        let mut client = Client::alone(1);
        client.disk.fail_at(client.disk.ops() + at);
        let (no, told) = import(&mut client, &bytes, 1 << 20);
        let was_cut = client.disk.faults().thrown > 0;
        client.disk.fail_at(u64::MAX);
        client.disk.crash();
        let mut client = client.reopen_with(false);
        match count(&mut client) {
            0 => {
                absent += 1;
                assert!(told.is_empty(), "cut at {at}: it was told to be durable");
                assert_eq!(import(&mut client, &bytes, 1 << 20).1, ["done"]);
            }
            1600 => {
                there += 1;
                client.ask_again(no, part(0, &bytes, true));
                assert_eq!(client.told(no), ["done"]);
            }
            other => panic!("cut at {at}: {other} items"),
        }
        if !was_cut {
            break;
        }
    }
    println!("cut {absent} times before, {there} times after it was durable");
    assert!(absent > 3 && there > 1);
}

#[test]
fn it_is_answered_when_it_is_durable() {
    let mut client = Client::alone(1);
    client.disk_works = false;
    let (no, told) = import(&mut client, &good(), 1 << 20);
    assert!(told.is_empty());
    client.ask_again(no, part(0, &good(), true));
    assert!(client.told(no).is_empty());
    client.disk_works = true;
    client.tell(ReplicaInput::DiskReady { kind: StorageKind::Opfs, durable: true, reason: None });
    assert_eq!(client.told(no), ["done"]);
    assert_eq!(count(&mut client), 1600);
}
