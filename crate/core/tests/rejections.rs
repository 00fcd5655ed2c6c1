//! What the server refused: kept with its arguments, and made once more in one durable step.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod pair;

use offprint_core::disk_memory::DiskMemory;
use offprint_core::journal::{Journal, JournalConfig, Role};
use offprint_core::record::{PendingMutation, Record};
use offprint_protocol::rpc::{Rejection, Request, TabEvent};
use offprint_protocol::{Argument, Code, DocumentId, Epoch, Mutation, MutationSeq, RequestNo, TabId, Value};
use pair::*;

/// A client whose first mutation the server has refused, because another had taken the name; and that other.
fn refused() -> (Server, Client, Client) {
    let (mut server, mut one, mut two) = (Server::new(1), Client::new(2), Client::new(3));
    sync(&mut server, &mut [&mut one, &mut two]);
    cut(&mut server, &mut two);
    one.ask(add("milk"));
    sync(&mut server, &mut [&mut one]);
    two.ask(add("milk"));
    reconnect(&mut server, &mut two);
    deliver(&mut server, &mut [&mut one, &mut two]);
    assert_eq!(two.status().rejections.len(), 1, "the sample is refused nothing");
    (server, one, two)
}

fn rejection(client: &mut Client) -> Rejection {
    let rejections = client.status().rejections;
    assert_eq!(rejections.len(), 1, "{rejections:?}");
    rejections.into_iter().next().unwrap()
}

const RETRY: Request = Request::Retry { seq: MutationSeq(1) };

/// The name that was in the way is free again.
fn make_way(server: &mut Server, one: &mut Client, two: &mut Client) {
    one.ask(mutate("rename", &[("from", text("milk")), ("to", text("oat milk"))]));
    sync(server, &mut [one, two]);
}

fn count(client: &mut Client, name: &str) -> usize {
    let rows = client.rows(&names());
    rows.windows(name.len() + 1)
        .filter(|bytes| bytes[0] as usize == name.len() && bytes[1..] == *name.as_bytes())
        .count()
}

#[test]
fn a_rejection_keeps_its_arguments_and_what_the_server_saw_wherever_it_is_kept() {
    let (server, mut one, mut two) = refused();
    let first = rejection(&mut two);
    assert_eq!((first.seq, first.name.as_str(), first.code.as_str()), (MutationSeq(1), "add", "constraint"));
    assert_eq!(first.args.as_ref().unwrap().get("name"), Some(&text("milk")));
    // The refusal is a commit of its own, behind the other's.
    assert_eq!(first.lsn.0 + 1, one.status().lsn.0);
    // From the records; from the opening of the next log; from that of the one after it.
    for _ in 0..3 {
        two = two.reopen();
        assert_eq!(rejection(&mut two), first);
    }
    let mut server = server.restart();
    reconnect(&mut server, &mut two);
    deliver(&mut server, &mut [&mut one, &mut two]);
    assert_eq!(rejection(&mut two), first);
}

#[test]
fn a_rejection_that_the_client_hears_of_after_the_server_died_has_all_of_it() {
    let (mut server, mut one, mut two) = (Server::new(1), Client::new(2), Client::new(3));
    sync(&mut server, &mut [&mut one, &mut two]);
    one.ask(add("milk"));
    sync(&mut server, &mut [&mut one]);
    let lsn = one.status().lsn;
    two.ask(add("milk"));
    push(&mut server, &mut [&mut two]);
    server.down.clear();
    two.socket = None;
    let mut server = server.restart();
    let mut two = two.reopen();
    sync(&mut server, &mut [&mut two]);
    let rejection = rejection(&mut two);
    assert_eq!((rejection.lsn, rejection.args.unwrap().len()), (lsn, 1));
}

#[test]
fn a_retry_is_a_new_mutation_in_place_of_the_rejection() {
    let (mut server, mut one, mut two) = refused();
    make_way(&mut server, &mut one, &mut two);
    let no = two.ask(RETRY);
    assert!(two.status().rejections.is_empty());
    assert_eq!(two.status().pending, 1);
    sync(&mut server, &mut [&mut one, &mut two]);
    assert_eq!(two.told(no), ["applied", "durable", "confirmed"]);
    assert_eq!(one.rows(&names()), two.rows(&names()));
    assert_eq!(count(&mut one, "milk"), 1);
    let mut two = two.reopen();
    assert!(two.status().rejections.is_empty());
}

#[test]
fn a_retry_that_is_rejected_is_a_rejection_of_its_own() {
    let (mut server, mut one, mut two) = refused();
    cut(&mut server, &mut two);
    make_way(&mut server, &mut one, &mut Client::new(4));
    reconnect(&mut server, &mut two);
    deliver(&mut server, &mut [&mut one, &mut two]);
    cut(&mut server, &mut two);
    one.ask(add("milk"));
    sync(&mut server, &mut [&mut one]);
    let no = two.ask(RETRY);
    reconnect(&mut server, &mut two);
    deliver(&mut server, &mut [&mut one, &mut two]);
    assert_eq!(two.told(no), ["applied", "durable", "rejected constraint"]);
    let again = rejection(&mut two);
    assert_eq!(again.seq, MutationSeq(2));
    assert_eq!(again.args.unwrap().get("name"), Some(&text("milk")));
}

#[test]
fn a_retry_that_fails_here_leaves_the_rejection() {
    let (_, _, mut two) = refused();
    let before = rejection(&mut two);
    let no = two.ask(RETRY);
    assert_eq!(two.told(no), ["failed constraint"]);
    assert_eq!((rejection(&mut two), two.status().pending), (before.clone(), 0));
    let mut two = two.reopen();
    assert_eq!(rejection(&mut two), before);
}

#[test]
fn a_repeated_retry_is_answered_and_not_run_again() {
    let (mut server, mut one, mut two) = refused();
    make_way(&mut server, &mut one, &mut two);
    let no = two.ask(RETRY);
    two.ask_again(no, RETRY);
    let mut two = two.reopen();
    two.ask_again(no, RETRY);
    assert_eq!(two.told(no), ["applied", "durable"]);
    sync(&mut server, &mut [&mut one, &mut two]);
    let mut two = two.reopen();
    two.ask_again(no, RETRY);
    assert_eq!(two.told(no), ["applied", "durable", "confirmed"]);
    sync(&mut server, &mut [&mut one, &mut two]);
    assert_eq!(count(&mut one, "milk"), 1);
}

#[test]
fn what_was_retried_or_dismissed_is_not_retried_again() {
    let (mut server, mut one, mut two) = refused();
    make_way(&mut server, &mut one, &mut two);
    two.ask(RETRY);
    let again = two.ask(RETRY);
    assert_eq!(two.told(again), ["failed dismissed"]);
    let (mut server, mut one, mut two) = refused();
    make_way(&mut server, &mut one, &mut two);
    two.ask(Request::Dismiss { seq: MutationSeq(1) });
    let no = two.ask(RETRY);
    assert_eq!(two.told(no), ["failed dismissed"]);
    assert_eq!(two.status().pending, 0);
}

#[test]
fn wherever_the_power_is_cut_there_is_the_rejection_or_the_retry() {
    let (mut kept, mut made) = (0, 0);
    for at in 0.. {
        let (mut server, mut one, mut two) = refused();
        make_way(&mut server, &mut one, &mut two);
        let end = two.disk.ops() + at;
        two.disk.fail_at(end);
        two.ask(RETRY);
        let is_over = two.disk.ops() < end;
        two.disk.fail_at(u64::MAX);
        two.disk.crash();
        let mut two = two.reopen();
        let rejections = two.status().rejections.len();
        sync(&mut server, &mut [&mut one, &mut two]);
        let retried = count(&mut one, "milk");
        assert_eq!(rejections + retried, 1, "operation {at}: {rejections} rejections, {retried} retries");
        assert_eq!(two.status().rejections.len(), rejections, "operation {at}");
        kept += rejections;
        made += retried;
        if is_over {
            break;
        }
    }
    assert!(kept > 0 && made > 0, "{kept} {made}");
}

#[test]
fn a_rejection_that_is_told_again_after_its_retry_was_kept_is_dealt_with() {
    // The commit with the rejection was in a new log that the device lost, the retry in the old one, too.
    let mut disk = DiskMemory::new(1);
    let document = DocumentId::new("doc").unwrap();
    let mut journal =
        Journal::open(JournalConfig { document, role: Role::Replica, history: None, entropy: [9; 32] });
    let settle = |journal: &mut Journal, disk: &mut DiskMemory| {
        while let Some(batch) = journal.next_batch() {
            journal.answer(disk.run(&batch)).unwrap();
        }
    };
    settle(&mut journal, &mut disk);
    for (seq, retries) in [(1, None), (2, Some(MutationSeq(1)))] {
        let args = vec![Argument { name: "name".into(), value: Value::Text("milk".into()) }];
        let mutation = Mutation { seq: MutationSeq(seq), at: 1, name: "add".into(), args };
        let (tab, request) = (TabId([7; 16]), RequestNo(500 + seq));
        let pending = PendingMutation { epoch: Epoch(1), tab, request, retries, mutation };
        journal.append(&Record::Mutation(pending)).unwrap();
    }
    settle(&mut journal, &mut disk);
    let (mut server, mut one) = (Server::new(1), Client::new(2));
    one.ask(add("milk"));
    sync(&mut server, &mut [&mut one]);
    let mut two = Client::with(3, definition(), disk);
    sync(&mut server, &mut [&mut one, &mut two]);
    let both = two.events.iter().filter(|event| matches!(event, TabEvent::Rejected { .. })).count();
    assert_eq!(both, 2, "the sample is refused both");
    assert_eq!(rejection(&mut two).seq, MutationSeq(2));
    let mut two = two.reopen();
    assert_eq!(rejection(&mut two).seq, MutationSeq(2));
    assert_eq!(rejection(&mut two).code, Code::Constraint.as_str());
}
