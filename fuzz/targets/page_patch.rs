#![no_main]

#[path = "../check/protocol.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::page_patch(bytes));
