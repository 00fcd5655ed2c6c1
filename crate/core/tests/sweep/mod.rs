//! A document's files under every fault, beside a model and stock SQLite.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

pub mod fault_disk;
pub mod faults;
pub mod import;
pub mod life;
pub mod model;
pub mod pair;
pub mod past;
pub mod points;
pub mod random;
pub mod stock;
