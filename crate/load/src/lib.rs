#![cfg(target_os = "linux")]
//! Measures `offprint serve` from outside: the real process, its sockets, its files, its memory.
//!
//! A tour: each file of `measure` makes [`Figure`]s with one `Program` (the server) and some `Client`s, which speak
//! the protocol and nothing else; `bare` is what the platform takes for the same without a server.

mod bare;
mod client;
mod counted;
mod figure;
mod files;
mod measure;
mod program;
mod scale;
mod setup;
mod todo;

use std::error::Error;

pub use figure::{Figure, Floor, Goal};
pub use measure::measure;
pub use scale::Scale;
pub use setup::Setup;

/// What anything here may fail with.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;
