//! What a primary's log says at every moment, whatever is under way.
#![allow(clippy::unwrap_used, clippy::panic)]

mod raw;

use std::collections::VecDeque;

use offprint_core::Primary;
use offprint_core::disk_memory::DiskMemory;
use offprint_core::host::{PrimaryEffect, PrimaryInput};
use offprint_protocol::Value;
use raw::{config, mutation, opened, pushed};

fn open(disk: DiskMemory, entropy: u8) -> Server {
    let primary = Primary::new(config(entropy)).unwrap();
    let mut server = Server { primary, disk, moments: Vec::new() };
    server.tell(vec![]);
    server
}

struct Server {
    primary: Primary,
    disk: DiskMemory,
    /// The files after each batch.
    moments: Vec<DiskMemory>,
}

impl Server {
    fn tell(&mut self, inputs: Vec<PrimaryInput>) {
        let mut bursts = VecDeque::from([inputs]);
        while let Some(inputs) = bursts.pop_front() {
            let mut effects = Vec::new();
            self.primary.handle(0, inputs, &mut effects);
            for effect in effects {
                match effect {
                    PrimaryEffect::Disk(batch) => {
                        let answer = self.disk.run(&batch);
                        self.moments.push(self.disk.clone());
                        bursts.push_back(vec![PrimaryInput::Disk(answer)]);
                    }
                    PrimaryEffect::Fail(error) => panic!("the primary failed: {error}"),
                    PrimaryEffect::AskDrained { session } => {
                        bursts.push_back(vec![PrimaryInput::SessionDrained { session }]);
                    }
                    PrimaryEffect::Send { .. } | PrimaryEffect::Close { .. } => {}
                }
            }
        }
    }
}

/// Bytes that do not compress, so that the log grows by them.
fn noise(bytes: usize) -> Value {
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    Value::Blob(noise.take(bytes).collect())
}

#[test]
fn a_client_whose_first_commit_comes_during_a_checkpoint_is_in_the_old_log_too() {
    let mut server = open(DiskMemory::new(1), 1);
    server.tell(vec![opened(1), opened(2)]);
    // The first batch takes what begins a checkpoint; the second goes to both logs.
    let large = (1..=6).map(|seq| mutation(seq, "put", "data", noise(900_000))).collect();
    server.tell(vec![pushed(1, large), pushed(2, vec![raw::put(1, "small")])]);
    assert_eq!(server.primary.counts().mutations, 7);
    for (index, moment) in (2_u8..).zip(std::mem::take(&mut server.moments)) {
        open(moment, index);
    }
}
