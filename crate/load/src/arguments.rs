//! The command's arguments, and its run.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use offprint_load::{Result, Scale, Setup, measure};

/// Measures the server under load.
#[derive(Debug, Parser)]
#[command(name = "offprint-load", version)]
struct Arguments {
    /// The server's program
    #[arg(long)]
    server: PathBuf,
    /// The bench's definition, as JSON
    #[arg(long)]
    definition: PathBuf,
    /// Little of everything, with nothing to reach but in what is counted: shows that the tool works
    #[arg(long)]
    quick: bool,
    /// Only these measurements: those whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Where the figures go, as JSON
    #[arg(long)]
    figures: PathBuf,
}

/// Runs the measurements that the command line asks for.
pub(crate) fn run() -> ExitCode {
    match run_with(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if even this cannot be written.
            let _ = writeln!(io::stderr(), "offprint-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_with(arguments: &Arguments) -> Result<()> {
    let setup = Setup::read(&arguments.server, &arguments.definition)?;
    let scale = if arguments.quick { Scale::quick() } else { Scale::full() };
    let figures = tokio::runtime::Runtime::new()?.block_on(measure(&setup, &scale, &arguments.only))?;
    Ok(fs::write(&arguments.figures, serde_json::to_vec(&figures)?)?)
}
