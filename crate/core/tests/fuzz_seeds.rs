//! What the fuzzers start from, run as they run it.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[path = "../../../fuzz/check/core.rs"]
mod check;
mod sweep;

use std::fs;
use std::path::{Path, PathBuf};

use offprint_core::disk::FileName;
use offprint_core::head::Place;
use offprint_core::journal::Role;
use offprint_core::log::LogReader;
use sweep::life::{Life, Nobody, Step};
use sweep::random::Random;

fn seeds(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target)
}

/// Every seed, and each of them changed in so many ways.
fn run(target: &str, ways: u32, check: fn(&[u8])) {
    let mut count = 0;
    for entry in fs::read_dir(seeds(target)).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        let seed = fs::read(&path).unwrap();
        check(&seed);
        let mut random = Random::new(seed.len() as u64);
        for _ in 0..ways {
            let mut bytes = seed.clone();
            for _ in 0..1 + random.below(4) {
                let at = random.below(bytes.len() as u64) as usize;
                match random.below(4) {
                    0 => bytes[at] = random.below(256) as u8,
                    1 => bytes[at] ^= 1 << random.below(8),
                    2 => bytes.truncate(at + 1),
                    _ => drop(bytes.splice(at..at, [random.below(256) as u8])),
                }
            }
            check(&bytes);
        }
        count += 1;
    }
    assert!(count > 0, "{target} has no seeds");
}

#[test]
fn records_of_any_bytes() {
    run("record", 1000, check::record);
}

#[test]
fn logs_of_any_bytes() {
    run("log", 1000, check::log);
}

#[test]
fn heads_of_any_bytes() {
    run("head", 1000, check::head);
}

#[test]
fn files_of_a_replica_of_any_bytes() {
    run("recover_replica", 60, check::recover_replica);
}

#[test]
fn files_of_a_primary_of_any_bytes() {
    run("recover_primary", 60, check::recover_primary);
}

fn used(life: &Life, file: FileName) -> Vec<u8> {
    let mut bytes = life.disk.bytes(file);
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(used);
    bytes
}

fn write(target: &str, name: &str, bytes: &[u8]) {
    fs::create_dir_all(seeds(target)).unwrap();
    fs::write(seeds(target).join(name), bytes).unwrap();
}

#[test]
#[ignore = "writes the seeds anew: when a format has changed"]
fn seeds_are_written() {
    for (role, target) in [(Role::Replica, "recover_replica"), (Role::Primary, "recover_primary")] {
        let insert =
            |value: &str| format!("CREATE TABLE IF NOT EXISTS t (v); INSERT INTO t VALUES ('{value}')");
        let is_replica = usize::from(role == Role::Replica);
        let first = match role {
            Role::Replica => Step::Reset(insert("a")),
            Role::Primary => Step::Commits(vec![insert("a")]),
        };
        let mut life = Life::new(role, 1);
        for (name, steps) in [
            ("first-opening", vec![Step::Mutate(is_replica, 3), first, Step::Batches(4)]),
            ("base", vec![Step::Settle, Step::Checkpoint, Step::Settle]),
            (
                "pending",
                vec![Step::Mutate(3 * is_replica, 3), Step::Commits(vec![insert("b")]), Step::Settle],
            ),
            ("rejected", vec![Step::Commits(vec![insert("c"); 2]), Step::Dismiss, Step::Settle]),
            (
                "half-opened",
                vec![Step::Checkpoint, Step::Mutate(is_replica, 3), Step::Reopen, Step::Batches(4)],
            ),
        ] {
            for step in &steps {
                life.step(step, &mut Nobody).unwrap();
            }
            let mut bytes = vec![1];
            for file in FileName::ALL {
                let used = used(&life, file);
                bytes.extend((used.len() as u32).to_le_bytes());
                bytes.extend(used);
            }
            write(target, name, &bytes);
            if name == "rejected" {
                let log = used(&life, FileName::Log0);
                write("log", target, &log);
                write("head", target, &life.disk.bytes(FileName::Head)[..Place::Slot.size()]);
                let salt = u64::from_le_bytes(log[24..32].try_into().unwrap());
                for (no, frame) in LogReader::new(&log, salt).enumerate() {
                    write("record", &format!("{target}-{no}"), &[&[frame.kind], frame.body].concat());
                }
            }
        }
    }
}
