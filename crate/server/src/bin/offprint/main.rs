//! `offprint`: serves documents.

mod documents;
mod serve;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::documents::{Export, OneFile, Several};

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
    /// Writes a document to a new SQLite file, as it is or as it was.
    Export(Export),
    /// Makes a new document of a SQLite file, which is not changed. `PRAGMA user_version` in it says how many of the
    /// definition's migrations it has had.
    Import(OneFile),
    /// Prints where documents stand: position, sizes, history, clients.
    Inspect(Several),
    /// Checks documents: heads, logs, checksums, history, SQLite's own integrity_check, and foreign keys.
    Verify(Several),
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let result = match command {
        Command::Serve(arguments) => serve::serve(*arguments),
        Command::Export(arguments) => documents::run_export(arguments),
        Command::Import(arguments) => documents::run_import(arguments),
        Command::Inspect(arguments) => documents::run_inspect(arguments),
        Command::Verify(arguments) => documents::run_verify(arguments),
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
