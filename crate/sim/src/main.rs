//! `offprint-sim [--seeds N] [--first SEED] [--steps N]`: runs seeds one after the other and stops at the first violation.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use offprint_sim::{Faults, Plan, World};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str, default: u64| -> Result<u64, String> {
        match args.iter().position(|arg| arg == name) {
            None => Ok(default),
            Some(at) => args
                .get(at + 1)
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| format!("{name} needs a whole number")),
        }
    };
    let options = (|| Ok((option("--seeds", 50)?, option("--first", 1)?, option("--steps", 4_000)?)))();
    let (seeds, first, steps) = match options {
        Ok(options) => options,
        Err(message) => {
            let message: String = message;
            eprintln!("offprint-sim: {message}");
            return ExitCode::from(2);
        }
    };
    let (mut faults, mut total_steps, mut mutations) = (Faults::default(), 0, 0);
    for seed in first..first + seeds {
        let clients = 1 + (seed % 4) as usize;
        match World::run(Plan {
            seed,
            clients,
            steps: steps as usize,
            wipe: seed % 5 == 0,
            copy: seed % 7 == 0,
            alone: seed % 6 == 0,
            shared: seed % 4 == 1,
        }) {
            Ok(report) => {
                println!(
                    "seed {seed}: {clients} clients, {} steps, {} mutations, {} commits, {}",
                    report.steps, report.mutations, report.commits, report.faults
                );
                faults.add(&report.faults);
                total_steps += report.steps;
                mutations += report.mutations;
            }
            Err(violation) => {
                println!("seed {seed}: VIOLATION: {violation}");
                println!("again: npm run sim -- --seeds 1 --first {seed} --steps {steps}");
                println!("{} passed, 1 failed", seed - first);
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{seeds} seeds, {total_steps} steps, {mutations} mutations, faults fired: {faults}");
    let missing = faults.missing();
    if seeds >= 50 && !missing.is_empty() {
        println!("planned faults never fired: {missing:?}");
        println!("{seeds} passed, 1 failed");
        return ExitCode::FAILURE;
    }
    println!("{seeds} passed, 0 failed");
    ExitCode::SUCCESS
}
