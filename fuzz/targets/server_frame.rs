#![no_main]

#[path = "../check/protocol.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::server_frame(bytes));
