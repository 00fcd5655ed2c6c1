//! Mutations that take more than they may: rejected one by one, and nobody waits for all of them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod pair;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use offprint_core::budget::TimeLimit;
use offprint_core::disk_memory::DiskMemory;
use offprint_protocol::Value;
use pair::*;

fn grow(name: &str, count: i64) -> offprint_protocol::rpc::Request {
    mutate("grow", &[("name", text(name)), ("count", Value::Integer(count))])
}

/// A clock that goes on by a millisecond whenever it is asked.
fn ticking() -> TimeLimit {
    let ticks = AtomicU64::new(0);
    let clock = Arc::new(move || Duration::from_millis(ticks.fetch_add(1, Ordering::Relaxed)));
    TimeLimit { clock, most: Duration::from_millis(5) }
}

#[test]
fn a_mutation_that_takes_too_long_is_rejected_alone() {
    let mut server = Server::made(1, DiskMemory::new(1), |primary| primary.timed(ticking()));
    let mut client = Client::new(2);
    sync(&mut server, &mut [&mut client]);
    let asked =
        [add("before"), grow("long ", 2000), grow("short ", 3), add("after")].map(|what| client.ask(what));
    deliver(&mut server, &mut [&mut client]);
    let ends = asked.map(|no| client.told(no).pop().unwrap());
    assert_eq!(ends, ["confirmed", "rejected limit", "confirmed", "confirmed"]);
    assert!(server.primary.image() == client.replica.image());
}

#[test]
fn heavy_mutations_do_not_keep_what_was_pushed_before_them() {
    let mut server = Server::made(1, DiskMemory::new(1), |primary| primary.timed(ticking()));
    let mut client = Client::new(2);
    sync(&mut server, &mut [&mut client]);
    let before = server.primary.position().unwrap().lsn;
    client.ask(add("light"));
    for name in ["a ", "b ", "c "] {
        client.ask(grow(name, 2000));
    }
    client.ask(add("light, too"));
    push(&mut server, &mut [&mut client]);
    let commits = server.primary.position().unwrap().lsn.0 - before.0;
    assert!(commits >= 4, "each of the three ends its commit, not {commits}");
    deliver(&mut server, &mut [&mut client]);
    assert_eq!(client.status().rejections.len(), 3);
    assert_eq!(client.status().pending, 0);
}
