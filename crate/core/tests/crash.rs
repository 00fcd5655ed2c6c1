//! Whatever the disk does, what comes back is what was true after some ticket, and no durable one is missing.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod storage;

use offprint_core::disk_memory::Faults;
use offprint_core::journal::Role;
use storage::Device;

#[derive(Clone, Copy, PartialEq)]
enum After {
    /// The same batch is given to the same disk again.
    Retry,
    /// The core dies, the device's caches survive.
    Reopen,
    /// The power is cut.
    Crash,
}

/// Lives, writes and dies according to the seed; the operation `fail_at` throws. Gives how many
/// operations there were before the last look at what survived.
fn life(role: Role, seed: u64, steps: u64, fail_at: Option<u64>, after: After) -> (Device, u64) {
    let mut device = Device::new(role, seed);
    if let Some(op) = fail_at {
        device.disk.fail_at(op);
    }
    let mut left = steps;
    while left > 0 {
        let batches = if device.is_open { device.random.below(3) } else { 1 };
        for _ in 0..batches {
            match device.step() {
                Ok(_) => {}
                Err(_) if after == After::Retry => {}
                Err(_) => {
                    if after == After::Crash {
                        device.disk.crash();
                    }
                    device.reopen();
                    break;
                }
            }
        }
        if !device.is_open {
            continue;
        }
        left -= 1;
        if device.random.below(40) == 0 {
            if device.random.below(2) == 0 {
                device.disk.crash();
            }
            device.reopen();
            continue;
        }
        device.anything();
    }
    while device.settle().is_err() {
        if after == After::Crash {
            device.disk.crash();
        }
        if after != After::Retry {
            device.reopen();
        }
    }
    let ops = device.disk.ops();
    device.disk.crash();
    device.reopen();
    device.settle().unwrap();
    (device, ops)
}

fn every_op(role: Role, seed: u64, after: After) -> Faults {
    let (_, ops) = life(role, seed, 45, None, after);
    println!("seed {seed}: {ops} operations");
    let mut total = Faults::default();
    for op in 0..ops {
        let faults = life(role, seed, 45, Some(op), after).0.disk.faults();
        assert_eq!(faults.thrown, 1, "operation {op} of seed {seed} never came");
        total.crashes += faults.crashes;
        total.lost += faults.lost;
        total.kept += faults.kept;
        total.torn += faults.torn;
        total.thrown += faults.thrown;
    }
    println!("{total:?}");
    total
}

#[test]
fn a_replica_survives_a_crash_at_every_operation() {
    let [one, two] = [1, 2].map(|seed| every_op(Role::Replica, seed, After::Crash));
    assert!(one.lost + two.lost > 0 && one.kept + two.kept > 0 && one.torn + two.torn > 0);
}

#[test]
fn a_replica_survives_the_death_of_its_core_at_every_operation() {
    every_op(Role::Replica, 4, After::Reopen);
}

#[test]
fn a_replica_goes_on_after_a_throw_at_every_operation() {
    every_op(Role::Replica, 5, After::Retry);
}

#[test]
fn a_primary_survives_a_crash_at_every_operation() {
    every_op(Role::Primary, 6, After::Crash);
}

#[test]
fn a_primary_goes_on_after_a_throw_at_every_operation() {
    every_op(Role::Primary, 7, After::Retry);
}

#[test]
fn long_lives_with_many_crashes_lose_nothing_durable() {
    for seed in 100..110 {
        println!("seed {seed}");
        let role = if seed % 2 == 0 { Role::Replica } else { Role::Primary };
        life(role, seed, 400, None, After::Crash);
    }
}

#[test]
fn a_log_that_only_the_cache_holds_is_flushed_before_the_other_is_touched() {
    let mut crashes = 0;
    for (seed, died_at, cut_at) in (0..4)
        .flat_map(|seed| (0..4).map(move |op| (seed, op)))
        .flat_map(|(seed, op)| (8..20).map(move |cut| (seed, op, cut)))
    {
        let mut device = Device::new(Role::Replica, seed);
        device.settle().unwrap();
        device.mutate(2_000);
        device.settle().unwrap();
        device.checkpoint();
        device.disk.fail_at(device.disk.ops() + died_at);
        assert!(device.settle().is_err());
        // The core dies, the device does not: what was written is read back, flushed or not.
        device.reopen();
        device.disk.fail_at(device.disk.ops() + cut_at);
        if device.settle().is_err() {
            device.disk.crash();
            device.reopen();
            crashes += 1;
        }
        device.settle().unwrap();
    }
    assert!(crashes > 50, "{crashes}");
}
