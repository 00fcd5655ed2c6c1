//! `offprint-sim [--seeds N | --minutes N] [--first SEED] [--steps N]`: runs seeds one after the other, so many or for so
//! long, and stops at the first violation.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use offprint_sim::{Faults, Plan, World};

/// After so many seeds, every kind of fault must have fired.
const ENOUGH: u64 = 50;

struct Options {
    seeds: u64,
    first: u64,
    steps: usize,
    /// In place of `seeds`.
    time: Option<Duration>,
}

impl Options {
    fn read(args: &[String]) -> Result<Self, String> {
        let option = |name: &str| -> Result<Option<u64>, String> {
            let Some(at) = args.iter().position(|arg| arg == name) else { return Ok(None) };
            let number = args.get(at + 1).and_then(|text| text.parse().ok());
            number.map(Some).ok_or_else(|| format!("{name} needs a whole number"))
        };
        Ok(Self {
            seeds: option("--seeds")?.unwrap_or(50),
            first: option("--first")?.unwrap_or(1),
            steps: option("--steps")?.unwrap_or(4_000) as usize,
            time: option("--minutes")?.map(|minutes| Duration::from_secs(60 * minutes)),
        })
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let options = match Options::read(&args) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("offprint-sim: {message}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    let (mut faults, mut seeds, mut steps, mut mutations, mut simulated) = (Faults::default(), 0, 0, 0, 0);
    while match options.time {
        Some(time) => began.elapsed() < time,
        None => seeds < options.seeds,
    } {
        let plan = Plan::of(options.first + seeds, options.steps);
        let Plan { seed, clients, documents, .. } = plan;
        match World::run(plan) {
            Ok(report) => {
                println!(
                    "seed {seed}: {clients} clients, {documents} documents, {} s, {} steps, {} mutations, {} commits, {}",
                    report.simulated / 1_000,
                    report.steps,
                    report.mutations,
                    report.commits,
                    report.faults
                );
                faults.add(&report.faults);
                seeds += 1;
                steps += report.steps;
                mutations += report.mutations;
                simulated += report.simulated;
            }
            Err(violation) => {
                println!("seed {seed}: VIOLATION: {violation}");
                println!("again: npm run sim -- --seeds 1 --first {seed} --steps {}", options.steps);
                println!("{seeds} passed, 1 failed");
                return ExitCode::FAILURE;
            }
        }
    }
    let hours = simulated as f64 / 3_600_000.0;
    println!("{seeds} seeds, {hours:.1} simulated hours, {steps} steps, {mutations} mutations");
    println!("faults fired: {faults}");
    let missing = faults.missing();
    if seeds >= ENOUGH && !missing.is_empty() {
        println!("planned faults never fired: {missing:?}");
        println!("{seeds} passed, 1 failed");
        return ExitCode::FAILURE;
    }
    println!("{seeds} passed, 0 failed");
    ExitCode::SUCCESS
}
