//! What the fuzzers start from, the golden messages, and each of them changed at every field, run as they run it.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

#[path = "../../../fuzz/check/protocol.rs"]
mod check;

use std::fs;
use std::path::Path;

fn run(target: &str, check: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut count = 0;
    for entry in fs::read_dir(seeds).unwrap() {
        let seed = fs::read(entry.unwrap().path()).unwrap();
        check(&seed);
        for at in (0..seed.len()).filter(|at| at % 64 == 0 || *at < 256) {
            check(&seed[..at]);
            for byte in [0, 1, 2, 0x7f, 0x80, 0xff, seed[at] ^ 1, seed[at].wrapping_add(1)] {
                let mut bytes = seed.clone();
                bytes[at] = byte;
                check(&bytes);
            }
        }
        count += 1;
    }
    assert!(count > 0, "{target} has no seeds");
}

#[test]
fn frames_of_a_client_of_any_bytes() {
    run("client_frame", check::client_frame);
}

#[test]
fn frames_of_a_server_of_any_bytes() {
    run("server_frame", check::server_frame);
}

#[test]
fn patches_of_any_bytes() {
    run("page_patch", check::page_patch);
}
