#![no_main]

#[path = "../check/core.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::record(bytes));
