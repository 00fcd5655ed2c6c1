//! `offprint-load`: measures what the server does under load.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod arguments;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    arguments::run()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    use std::io::{self, Write};
    // Nobody is left to tell if even this cannot be written.
    let _ = writeln!(io::stderr(), "offprint-load: the load tool pins, reads and evicts as only Linux can");
    ExitCode::FAILURE
}
