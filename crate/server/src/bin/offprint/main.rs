//! `offprint`: serves documents.

mod serve;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// SQLite documents: local first, shared, synchronised.
#[derive(Debug, Parser)]
#[command(name = "offprint", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the documents of one definition.
    Serve(Box<serve::Serve>),
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let result = match command {
        Command::Serve(arguments) => serve::serve(*arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if even this cannot be written.
            let _ = writeln!(io::stderr(), "offprint: {error}");
            ExitCode::FAILURE
        }
    }
}
