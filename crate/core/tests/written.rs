//! How many bytes go to the device, counted.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod sweep;

use std::collections::BTreeMap;

use offprint_core::disk::{DiskBatch, DiskOp, FileName};
use offprint_core::journal::Role;
use offprint_protocol::{Error, PAGE_SIZE};
use sweep::life::{Life, Nobody, Step, Watch};

/// How often each page of a base was written, and how many bytes were written at all.
#[derive(Default)]
struct Count {
    pages: BTreeMap<(FileName, u64), u32>,
    bytes: u64,
}

impl Watch for Count {
    fn before(&mut self, _: &mut Life, batch: &DiskBatch, at: usize) -> Result<(), Error> {
        let DiskOp::Write { file, offset, bytes } = &batch.ops[at] else { return Ok(()) };
        self.bytes += bytes.len() as u64;
        if let FileName::Base0 | FileName::Base1 = file {
            let page = PAGE_SIZE as u64;
            for no in offset / page..(offset + bytes.len() as u64).div_ceil(page) {
                *self.pages.entry((*file, no)).or_default() += 1;
            }
        }
        Ok(())
    }

    fn after(&mut self, _: &mut Life) {}
}

#[test]
fn a_checkpoint_writes_each_changed_page_of_base_once() {
    let mut life = Life::new(Role::Primary, 1);
    let table = "CREATE TABLE t (k INTEGER PRIMARY KEY, v);
        INSERT INTO t (v) WITH n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600) SELECT noise(3900) FROM n";
    for step in [Step::Commits(vec![table.into()]), Step::Settle, Step::Checkpoint, Step::Settle] {
        life.step(&step, &mut Nobody).unwrap();
    }
    let before = life.model.now().image.clone();
    let mut count = Count::default();
    let change = "UPDATE t SET v = noise(3900) WHERE k <= 400";
    for step in [Step::Commits(vec![change.into(); 3]), Step::Settle, Step::Checkpoint, Step::Settle] {
        life.step(&step, &mut count).unwrap();
    }
    life.check_base();
    let after = &life.model.now().image;
    let changed = (1..=after.page_count()).map(offprint_protocol::PageNo);
    let changed = changed.filter(|no| before.page(*no) != after.page(*no)).count();
    println!("{changed} pages changed, {} were written", count.pages.len());
    assert!(changed >= 400 && count.pages.len() == changed, "{changed} {}", count.pages.len());
    assert!(count.pages.values().all(|times| *times == 1));
}

#[test]
fn a_small_mutation_costs_at_most_300_bytes_with_its_confirmation_and_its_share_of_checkpoints() {
    let mut life = Life::new(Role::Replica, 2);
    let table = "CREATE TABLE t (k INTEGER PRIMARY KEY, v); INSERT INTO t (v) VALUES (0), (1)";
    for step in [Step::Reset(table.into()), Step::Settle] {
        life.step(&step, &mut Nobody).unwrap();
    }
    let mut count = Count::default();
    let toggle = || Step::Commits(vec!["UPDATE t SET v = 1 - v WHERE k = 1".into()]);
    let mutations = 300;
    for _ in 0..mutations {
        for step in [Step::Mutate(1, 20), Step::Settle, toggle(), Step::Settle] {
            life.step(&step, &mut count).unwrap();
        }
    }
    let each = count.bytes / mutations;
    let mut checkpoint = Count::default();
    for step in [Step::Checkpoint, Step::Settle] {
        life.step(&step, &mut checkpoint).unwrap();
    }
    // A log is written for two megabytes before it is due.
    let share = checkpoint.bytes.div_ceil((2 << 20) / each);
    println!("{each} bytes each, and {share} of a checkpoint's {}", checkpoint.bytes);
    assert!(each + share <= 300, "{each} and {share}");
}
