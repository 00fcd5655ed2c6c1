//! A few seeds on every test run; `npm run sim` runs many.
#![allow(clippy::panic, clippy::print_stdout)]

use offprint_sim::{Faults, Plan, World};

fn run(clients: usize, wipe: bool, seeds: std::ops::Range<u64>) -> Faults {
    let mut faults = Faults::default();
    for seed in seeds {
        println!("seed {seed}");
        let plan = Plan { seed, clients, steps: 1_500, wipe, copy: seed % 2 == 0, alone: seed % 3 == 0 };
        match World::run(plan) {
            Ok(report) => faults.add(&report.faults),
            Err(violation) => panic!("{plan:?}: {violation}"),
        }
    }
    faults
}

#[test]
fn one_client_and_its_server_agree_in_the_end() {
    run(1, false, 1_000..1_006);
}

#[test]
fn three_clients_and_their_server_agree_in_the_end() {
    run(3, false, 2_000..2_006);
}

#[test]
fn pending_mutations_survive_a_server_that_lost_everything() {
    run(2, true, 3_000..3_006);
}

#[test]
fn a_seed_is_a_whole_run() {
    let plan = Plan { seed: 7, clients: 2, steps: 800, ..Plan::default() };
    let (one, other) = (World::run(plan).unwrap(), World::run(plan).unwrap());
    assert_eq!((one.steps, one.commits, one.faults), (other.steps, other.commits, other.faults));
}
