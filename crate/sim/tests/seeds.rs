//! A few seeds on every test run; `npm run sim` runs many.
#![allow(clippy::panic, clippy::print_stdout)]

use offprint_sim::{Fault, Faults, Plan, World};

fn run(clients: usize, wipe: bool, shared: bool, seeds: std::ops::Range<u64>) -> Faults {
    let mut faults = Faults::default();
    for seed in seeds {
        println!("seed {seed}");
        let plan =
            Plan { seed, clients, steps: 1_500, wipe, copy: seed % 2 == 0, alone: seed % 3 == 0, shared };
        match World::run(plan) {
            Ok(report) => faults.add(&report.faults),
            Err(violation) => panic!("{plan:?}: {violation}"),
        }
    }
    faults
}

#[test]
fn one_client_and_its_server_agree_in_the_end() {
    run(1, false, false, 1_000..1_006);
}

#[test]
fn three_clients_and_their_server_agree_in_the_end() {
    run(3, false, false, 2_000..2_006);
}

#[test]
fn pending_mutations_survive_a_server_that_lost_everything() {
    run(2, true, false, 3_000..3_006);
}

#[test]
fn two_primaries_of_one_journal_and_their_clients_agree_in_the_end() {
    let faults = run(4, false, true, 4_000..4_006);
    assert!(faults.count(Fault::LostRace) > 0, "{faults}");
}

#[test]
fn a_seed_is_a_whole_run() {
    let plan = Plan { seed: 7, clients: 2, steps: 800, ..Plan::default() };
    let (one, other) = (World::run(plan).unwrap(), World::run(plan).unwrap());
    assert_eq!((one.steps, one.commits, one.faults), (other.steps, other.commits, other.faults));
}
