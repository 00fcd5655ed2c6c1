//! What would be lost with a device's files, as the files themselves tell.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod pair;

use offprint_core::disk::{DiskAnswer, FileName};
use offprint_core::disk_memory::DiskMemory;
use offprint_core::inspection::{Inspection, Unsent};
use offprint_protocol::{Code, DocumentId, Error};
use pair::*;

fn inspect_as(document: &str, disk: &DiskMemory) -> Result<Unsent, Error> {
    let mut disk = disk.clone();
    let before = FileName::ALL.map(|file| disk.bytes(file).to_vec());
    let mut inspection = Inspection::new(DocumentId::new(document).unwrap());
    let unsent = loop {
        let batch = inspection.next_batch().expect("an inspection that is not over has a batch");
        match inspection.answer(disk.run(&batch)).transpose() {
            Some(found) => break found,
            None => continue,
        }
    };
    assert_eq!(FileName::ALL.map(|file| disk.bytes(file).to_vec()), before, "an inspection writes nothing");
    unsent
}

fn inspect(client: &Client) -> Unsent {
    inspect_as("doc", &client.disk).unwrap()
}

fn put_much(client: &mut Client, count: usize) {
    for index in 0..count {
        let data = text(&"x".repeat(10_000));
        client.ask(mutate("put", &[("name", text(&format!("n{index}"))), ("data", data)]));
    }
}

#[test]
fn what_the_server_does_not_have_is_counted_and_what_it_has_is_not() {
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    assert_eq!(inspect(&client), Unsent::Mutations(0));
    client.ask(add("offline"));
    client.ask(add("too"));
    assert_eq!(inspect(&client), Unsent::Mutations(2));
    sync(&mut server, &mut [&mut client]);
    assert_eq!(client.status().pending, 0);
    assert_eq!(inspect(&client), Unsent::Mutations(0));
    cut(&mut server, &mut client);
    client.ask(add("offline again"));
    assert_eq!(inspect(&client), Unsent::Mutations(1));
    // The same behind checkpoints, of which a later opening makes one.
    let client = client.reopen();
    assert_eq!(inspect(&client), Unsent::Mutations(1));
}

#[test]
fn a_mutation_that_was_rejected_is_not_pending() {
    let (mut server, mut client) = (Server::new(1), Client::new(2));
    sync(&mut server, &mut [&mut client]);
    client.ask(add("twice"));
    let mut other = Client::new(3);
    sync(&mut server, &mut [&mut other]);
    other.ask(add("twice"));
    sync(&mut server, &mut [&mut other]);
    sync(&mut server, &mut [&mut client]);
    assert_eq!(client.status().rejections.len(), 1, "the sample rejects nothing");
    assert_eq!(inspect(&client), Unsent::Mutations(0));
}

#[test]
fn files_that_were_never_used_hold_nothing() {
    assert_eq!(inspect_as("doc", &DiskMemory::new(1)), Ok(Unsent::Mutations(0)));
}

#[test]
fn a_history_of_the_devices_own_is_the_only_one() {
    let mut client = Client::alone(1);
    client.ask(add("few"));
    assert_eq!(inspect(&client), Unsent::Mutations(1));
    put_much(&mut client, 300);
    assert!(client.status().local);
    assert_eq!(inspect(&client), Unsent::History);
    // It stays so when a server is named, and ends when that has taken it over.
    let mut client = client.reopen_with(true);
    assert_eq!(inspect(&client), Unsent::History);
    sync(&mut Server::new(2), &mut [&mut client]);
    assert!(!client.status().local);
    assert_eq!(inspect(&client), Unsent::Mutations(0));
}

#[test]
fn what_damaged_files_held_is_unknown() {
    let mut client = Client::new(1);
    client.ask(add("one"));
    client.ask(add("two"));
    client.ask(add("three"));
    let log = [FileName::Log0, FileName::Log1]
        .into_iter()
        .max_by_key(|file| client.disk.bytes(*file).windows(5).filter(|bytes| bytes == b"three").count())
        .unwrap();
    let at = client.disk.bytes(log).windows(3).position(|bytes| bytes == b"two").unwrap();
    client.disk.flip(log, at, 1);
    match inspect(&client) {
        Unsent::Unknown(damage) => assert_eq!(damage.code, Code::Corrupt),
        other => panic!("{other:?}"),
    }
    // It stays so after an opening that kept it aside.
    let client = client.reopen();
    match inspect(&client) {
        Unsent::Unknown(damage) => assert!(damage.message.contains("aside"), "{damage}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_that_cannot_be_opened_say_so() {
    let mut client = Client::new(1);
    client.ask(add("one"));
    assert_eq!(inspect_as("another", &client.disk).unwrap_err().code, Code::Corrupt);
    let mut inspection = Inspection::new(DocumentId::new("doc").unwrap());
    let batch = inspection.next_batch().unwrap();
    let broken = DiskAnswer { no: batch.no, result: Err(Error::new(Code::Disk, "broken")) };
    assert_eq!(inspection.answer(broken).unwrap_err().code, Code::Disk);
}

#[test]
fn a_mutation_that_was_durable_is_counted_wherever_the_power_was_cut() {
    let mut cuts = 0;
    for at in 0..40 {
        let mut client = Client::new(1);
        client.disk.fail_at(client.disk.ops() + at);
        let asked: Vec<_> = (0..5).map(|index| client.ask(add(&format!("n{index}")))).collect();
        let durable = asked.iter().filter(|no| client.told(**no).contains(&"durable".to_owned())).count();
        cuts += usize::from(durable < asked.len());
        client.disk.fail_at(u64::MAX);
        client.disk.crash();
        match inspect(&client) {
            Unsent::Mutations(count) => {
                assert!(count >= durable as u64, "operation {at}: {count} of {durable}")
            }
            other => panic!("operation {at}: {other:?}"),
        }
    }
    assert!(cuts > 3, "{cuts}");
}
