//! An export is one state of the document as a file that any SQLite opens.

#![allow(clippy::unwrap_used, clippy::panic)]

mod pair;

use offprint_core::host::ReplicaInput;
use offprint_protocol::rpc::{Reply, Request, TabEvent};
use offprint_protocol::{Lsn, RequestNo, TabId};
use pair::*;
use rusqlite::Connection;

fn reply(client: &Client, no: RequestNo) -> Reply {
    let reply = client.events.iter().rev().find_map(|event| match event {
        TabEvent::Reply { no: other, reply } if *other == no => Some(reply.clone()),
        _ => None,
    });
    reply.unwrap_or_else(|| panic!("{no:?}: {:?}", client.told(no)))
}

fn begin(client: &mut Client, confirmed: bool) -> (RequestNo, Lsn, u64) {
    let no = client.ask(Request::Export { confirmed });
    match reply(client, no) {
        Reply::Export { export, lsn, size } => (export, lsn, size),
        other => panic!("{other:?}"),
    }
}

fn part(client: &mut Client, export: RequestNo, part: u32) -> Vec<u8> {
    let no = client.ask(Request::ExportPart { export, part });
    match reply(client, no) {
        Reply::Part(bytes) => bytes.0,
        other => panic!("{other:?}"),
    }
}

/// What stock SQLite finds in the file.
fn items(name: &str, file: &[u8]) -> i64 {
    let path = std::env::temp_dir().join(format!("offprint-export-{}-{name}.db", std::process::id()));
    std::fs::write(&path, file).unwrap();
    let stock = Connection::open(&path).unwrap();
    let verdict: String = stock.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    let count = stock.query_row("SELECT count(*) FROM item", [], |row| row.get(0)).unwrap();
    drop(stock);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(verdict, "ok");
    count
}

fn grow(client: &mut Client, name: &str, count: i64) {
    client.ask(mutate("grow", &[("name", text(name)), ("count", offprint_protocol::Value::Integer(count))]));
}

#[test]
fn an_export_is_the_state_it_began_with_whatever_happens_meanwhile() {
    let (mut server, mut one, mut two) = (Server::new(1), Client::new(2), Client::new(3));
    grow(&mut one, "confirmed ", 40_000);
    sync(&mut server, &mut [&mut one, &mut two]);
    cut(&mut server, &mut one);
    grow(&mut one, "pending ", 5_000);
    let (visible, lsn, size) = begin(&mut one, false);
    let (confirmed, confirmed_lsn, confirmed_size) = begin(&mut one, true);
    assert!((lsn, confirmed_lsn) == (one.status().lsn, lsn) && confirmed_size < size && size > 3 << 20);
    let (mut file, mut before) = (Vec::new(), Vec::new());
    for index in 0..20 {
        file.extend(part(&mut one, visible, index));
        before.extend(part(&mut one, confirmed, index));
        match index {
            0 => grow(&mut one, "later ", 5_000),
            1 => {
                two.ask(mutate("rename", &[("from", text("confirmed 7")), ("to", text("renamed"))]));
                reconnect(&mut server, &mut one);
                sync(&mut server, &mut [&mut one, &mut two]);
                assert!(one.status().pending == 0 && one.status().lsn > lsn);
            }
            _ => one.tell(ReplicaInput::Wake),
        }
    }
    assert_eq!((file.len() as u64, before.len() as u64), (size, confirmed_size));
    assert_eq!(items("visible", &file), 45_000);
    assert_eq!(items("confirmed", &before), 40_000);
    assert_eq!(part(&mut one, visible, 0)[..], file[..1 << 20], "asking again gives the same");
}

#[test]
fn an_export_ends_when_it_is_told_to_and_with_its_tab_and_its_hub() {
    let mut one = Client::new(2);
    grow(&mut one, "item ", 100);
    let (first, _, size) = begin(&mut one, false);
    assert_eq!(part(&mut one, first, 0).len() as u64, size);
    assert!(part(&mut one, first, 1).is_empty() && part(&mut one, first, u32::MAX).is_empty());
    let no = one.ask(Request::EndExport { export: first });
    assert_eq!(one.told(no), ["done"]);
    let no = one.ask(Request::ExportPart { export: first, part: 0 });
    assert_eq!(one.told(no), ["failed closed"]);

    let (second, ..) = begin(&mut one, false);
    let stranger = TabId([8; 16]);
    one.tell(ReplicaInput::TabHere { tab: stranger });
    one.tell(ReplicaInput::TabGone { tab: stranger });
    assert_eq!(part(&mut one, second, 0).len() as u64, size);
    one.tell(ReplicaInput::TabGone { tab: TAB });
    one.tell(ReplicaInput::TabHere { tab: TAB });
    let no = one.ask(Request::ExportPart { export: second, part: 0 });
    assert_eq!(one.told(no), ["failed closed"]);

    let (third, ..) = begin(&mut one, false);
    let mut one = one.reopen();
    let no = one.ask(Request::ExportPart { export: third, part: 0 });
    assert_eq!(one.told(no), ["failed closed"]);
}

#[test]
fn a_document_without_any_page_is_an_empty_file() {
    let mut one = Client::new(2);
    let (export, lsn, size) = begin(&mut one, true);
    assert_eq!((lsn, size), (Lsn(0), 0));
    assert!(part(&mut one, export, 0).is_empty());
}
