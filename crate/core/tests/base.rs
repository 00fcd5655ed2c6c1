//! Base follows the log: in slices, never ahead of it, and as plain page images.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod storage;

use offprint_core::disk::{DiskOp, FileName};
use offprint_core::disk_memory::DiskMemory;
use offprint_core::head::{Head, HeadBytes, Place};
use offprint_core::image::Image;
use offprint_core::journal::{Journal, Role, Ticket};
use offprint_core::record::Record;
use offprint_protocol::{Code, MutationSeq, PAGE_SIZE, PageNo};
use storage::{Device, journal, recover, settle};

fn newest(disk: &DiskMemory) -> Head {
    let heads =
        disk.bytes(FileName::Head).chunks(4096).filter_map(|slot| match Head::decode(slot, Place::Slot) {
            HeadBytes::Head(head) => Some(head),
            _ => None,
        });
    heads.max_by_key(|head| head.generation).expect("a head")
}

fn base_is(disk: &DiskMemory, image: &Image) -> bool {
    let head = newest(disk);
    let base = disk.bytes(head.base.base());
    let no = |index: usize| PageNo(index as u32 + 1);
    head.base_info == image.base_info()
        && (0..image.page_count() as usize).all(|index| {
            image.page(no(index)).map(|page| &page[..])
                == base.get(index * PAGE_SIZE..(index + 1) * PAGE_SIZE)
        })
}

/// Runs everything, and checks that no batch writes more than a few slices or writes base ahead of its log.
fn settle_in_slices(device: &mut Device) -> usize {
    let mut batches = 0;
    while let Some(batch) = device.journal.next_batch() {
        batches += 1;
        let written = batch.ops.iter().map(|op| match op {
            DiskOp::Write { bytes, .. } => bytes.len(),
            _ => 0,
        });
        assert!(written.sum::<usize>() <= 5 << 18);
        let flushed = batch.ops.iter().position(|op| matches!(op, DiskOp::Flush { file: FileName::Head }));
        let base = batch.ops.iter().rposition(
            |op| matches!(op, DiskOp::Write { file, .. } if [FileName::Base0, FileName::Base1].contains(file)),
        );
        assert!(flushed.is_none() || base.is_none() || base < flushed);
        let answer = device.disk.run(&batch);
        device.journal.answer(answer).unwrap();
    }
    batches
}

#[test]
fn a_large_document_is_written_in_slices_and_read_back() {
    let mut device = Device::new(Role::Replica, 21);
    device.settle().unwrap();
    device.mutate(10);
    device.reset(1_500);
    assert!(settle_in_slices(&mut device) > 1);
    assert!(base_is(&device.disk, &device.now.image));
    device.reopen();
    device.settle().unwrap();
    // More than a quarter of base changes: base catches up after the checkpoint.
    device.commits(3, 700);
    device.settle().unwrap();
    device.checkpoint();
    device.mutate(10);
    assert!(settle_in_slices(&mut device) > 2);
    assert!(base_is(&device.disk, &device.now.image));
    device.reopen();
    device.settle().unwrap();
}

#[test]
fn appends_go_on_while_base_catches_up() {
    let mut device = Device::new(Role::Replica, 23);
    device.settle().unwrap();
    device.reset(1_500);
    device.settle().unwrap();
    device.commits(1, 1_200);
    device.checkpoint();
    let mut waits = 0;
    while !device.journal.is_settled() && waits < 40 {
        let ticket = device.mutate(10);
        let mut batches = 0;
        while device.journal.durable() < ticket {
            device.step().unwrap();
            batches += 1;
        }
        // Its own batch, the one before it, and at most one slice of base in between.
        assert!(waits == 0 || batches <= 3, "{batches}");
        waits += 1;
    }
    device.settle().unwrap();
    assert!(base_is(&device.disk, &device.states[2].image) || base_is(&device.disk, &device.now.image));
}

/// Appends until everything is settled, and checks that no append waits for more than one slice of something else.
fn append_until_settled(device: &mut Device, append: impl Fn(&mut Device) -> Ticket) -> usize {
    let mut waits = 0;
    while !device.journal.is_settled() && waits < 100 {
        let ticket = append(device);
        let mut batches = 0;
        while device.journal.recorded() < ticket {
            device.step().unwrap();
            batches += 1;
        }
        assert!(batches <= 3, "{batches}");
        waits += 1;
    }
    waits
}

#[test]
fn mutations_are_durable_while_another_history_is_written() {
    let mut device = Device::new(Role::Replica, 27);
    device.settle().unwrap();
    device.reset(4);
    device.settle().unwrap();
    let before = device.journal.durable();
    device.reset(2_000);
    assert!(append_until_settled(&mut device, |device| device.mutate(10)) > 6);
    assert!(device.journal.durable() > before);
    device.disk.crash();
    device.reopen();
    device.settle().unwrap();
    assert!(device.now.pending.len() > 6 && base_is(&device.disk, &device.now.image));
}

#[test]
fn what_only_a_new_log_holds_is_not_durable_before_it_even_if_another_opening_replaces_it() {
    let mut device = Device::new(Role::Replica, 30);
    device.settle().unwrap();
    device.reset(4);
    device.settle().unwrap();
    let before = device.journal.durable();
    device.reset(700);
    device.step().unwrap();
    device.commits(1, 3);
    device.checkpoint();
    let mutation = device.mutate(10);
    while device.journal.recorded() < mutation {
        device.step().unwrap();
    }
    assert_eq!(device.journal.durable(), before);
    device.settle().unwrap();
    assert_eq!(device.journal.durable(), device.journal.recorded());
}

#[test]
fn a_primary_commits_while_a_large_rollup_is_written() {
    let mut device = Device::new(Role::Primary, 28);
    device.settle().unwrap();
    for _ in 0..30 {
        device.commits(1, 400);
    }
    device.settle().unwrap();
    device.checkpoint();
    let waits = append_until_settled(&mut device, |device| {
        device.commits(1, 1);
        Ticket(device.states.len() as u64 - 1)
    });
    assert!(waits > 3, "{waits}");
    device.disk.crash();
    device.reopen();
    device.settle().unwrap();
}

#[test]
fn mutations_made_during_an_opening_survive_a_crash_at_any_of_its_operations() {
    let life = |fail_at: Option<u64>| {
        let mut device = Device::new(Role::Replica, 29);
        device.settle().unwrap();
        device.reset(30);
        device.mutate(10);
        device.settle().unwrap();
        let first = device.disk.ops();
        if let Some(op) = fail_at {
            device.disk.fail_at(first + op);
        }
        device.reset(700);
        for step in 0..40 {
            device.mutate(10);
            if step == 9 {
                device.checkpoint();
            }
            if device.step().is_err() {
                device.disk.crash();
                device.reopen();
                device.settle().unwrap();
                break;
            }
        }
        (device.disk.ops() - first, device.disk.faults())
    };
    let (ops, _) = life(None);
    println!("{ops} operations");
    for op in 0..ops {
        assert_eq!(life(Some(op)).1.crashes, 1, "operation {op}");
    }
}

#[test]
fn a_log_wants_a_checkpoint_when_it_is_long_and_not_again_at_once() {
    let mut device = Device::new(Role::Replica, 24);
    device.settle().unwrap();
    device.reset(4);
    device.settle().unwrap();
    while !device.journal.wants_checkpoint() {
        device.mutate(100_000);
        device.settle().unwrap();
        assert!(device.states.len() < 40);
    }
    device.checkpoint();
    device.settle().unwrap();
    // What is pending is carried over, so the new log is as long; that is no reason for another checkpoint.
    assert!(!device.journal.wants_checkpoint());
    device.mutate(100_000);
    assert!(!device.journal.wants_checkpoint());
}

#[test]
fn a_group_of_records_is_one_write_and_one_flush() {
    let mut device = Device::new(Role::Replica, 25);
    device.settle().unwrap();
    for _ in 0..64 {
        device.mutate(50);
    }
    let batch = device.journal.next_batch().unwrap();
    assert!(matches!(&batch.ops[..], [DiskOp::Write { .. }, DiskOp::Flush { .. }]), "{batch:?}");
    assert_eq!(device.journal.next_batch(), None);
    device.journal.answer(device.disk.run(&batch)).unwrap();
    assert_eq!(device.journal.durable().0 as usize, device.states.len() - 1);
}

#[test]
fn an_answer_to_another_batch_or_of_another_shape_changes_nothing() {
    let mut disk = DiskMemory::new(1);
    let mut journal = journal(Role::Replica, 1);
    assert_eq!(journal.append(&Record::Dismiss(MutationSeq(1))).unwrap_err().code, Code::BadState);
    let batch = journal.next_batch().unwrap();
    let mut answer = disk.run(&batch);
    answer.no.0 += 1;
    assert!(journal.answer(answer.clone()).unwrap().is_none());
    assert_eq!(journal.unanswered(), Some(&batch));
    answer.no = batch.no;
    answer.result.as_mut().unwrap().pop();
    assert_eq!(journal.answer(answer).unwrap_err().code, Code::Disk);
    assert_eq!(journal.unanswered(), Some(&batch));
    journal.answer(disk.run(&batch)).unwrap();
    settle(&mut journal, &mut disk);
    assert_eq!(journal.durable(), Journal::OPENED);
}

#[test]
fn a_base_that_is_half_written_is_completed_by_the_log() {
    let mut device = Device::new(Role::Primary, 26);
    device.settle().unwrap();
    device.commits(6, 30);
    device.settle().unwrap();
    device.reopen();
    device.settle().unwrap();
    assert!(base_is(&device.disk, &device.now.image));
    device.commits(6, 30);
    device.checkpoint();
    // Up to the head that names the new log; base is not touched yet.
    device.step().unwrap();
    device.step().unwrap();
    let mut disk = device.disk.clone();
    let file = newest(&disk).base.base();
    let mut base = disk.bytes(file).to_vec();
    for (index, page) in base.chunks_mut(PAGE_SIZE).enumerate().filter(|(index, _)| index % 2 == 0) {
        if let Some(newer) = device.now.image.page(PageNo(index as u32 + 1)) {
            page.copy_from_slice(&newer[..]);
        }
    }
    disk.replace(file, base);
    let found = recover(&mut journal(Role::Primary, 50), &mut disk).unwrap();
    assert_eq!(found.image, device.now.image);
}
