//! A few seeds on every test run; `npm run sim` runs many.
#![allow(clippy::panic, clippy::print_stdout)]

use offprint_sim::{Fault, Faults, Plan, World};

fn run(plan: Plan, seeds: std::ops::Range<u64>) -> Faults {
    let mut faults = Faults::default();
    for seed in seeds {
        println!("seed {seed}");
        let plan = Plan { seed, copy: seed % 2 == 0, alone: seed % 3 == 0, skew: seed % 3 == 1, ..plan };
        let plan = Plan { back_ends: seed % 4 < 2, ..plan };
        match World::run(plan) {
            Ok(report) => faults.add(&report.faults),
            Err(violation) => panic!("{plan:?}: {violation}"),
        }
    }
    faults
}

fn plan() -> Plan {
    Plan::quiet(0, 1_500)
}

#[test]
fn one_client_and_its_server_agree_in_the_end() {
    run(plan(), 1_000..1_006);
}

#[test]
fn three_clients_and_their_server_agree_in_the_end() {
    run(Plan { clients: 3, ..plan() }, 2_000..2_006);
}

#[test]
fn pending_mutations_survive_a_server_that_lost_everything() {
    run(Plan { clients: 2, wipe: true, ..plan() }, 3_000..3_006);
}

#[test]
fn two_primaries_of_one_journal_and_their_clients_agree_in_the_end() {
    let faults = run(Plan { clients: 4, shared: true, ..plan() }, 4_000..4_006);
    assert!(faults.count(Fault::LostRace) > 0, "{faults}");
}

#[test]
fn pending_mutations_survive_a_server_that_was_restored_from_an_older_copy() {
    let faults = run(Plan { clients: 2, restore: true, ..plan() }, 5_000..5_020);
    assert!(faults.count(Fault::Restore) > 0, "{faults}");
}

#[test]
fn documents_do_not_get_into_each_others_way() {
    run(Plan { clients: 2, documents: 3, ..plan() }, 6_000..6_003);
}

#[test]
fn a_seed_is_a_whole_run() {
    let plan = Plan { clients: 2, ..Plan::quiet(7, 800) };
    let (one, other) = (World::run(plan).unwrap(), World::run(plan).unwrap());
    assert_eq!((one.steps, one.commits, one.faults), (other.steps, other.commits, other.faults));
}
