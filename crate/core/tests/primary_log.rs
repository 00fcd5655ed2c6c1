//! What a primary's logs say at every moment, whatever is under way, and how long they stay.
#![allow(clippy::unwrap_used, clippy::panic)]

mod raw;

use std::collections::VecDeque;

use offprint_core::Primary;
use offprint_core::disk::FileName;
use offprint_core::disk_memory::DiskMemory;
use offprint_core::host::{PrimaryEffect, PrimaryInput};
use offprint_protocol::Value;
use raw::{config, mutation, opened, pushed};

fn open(disk: DiskMemory, entropy: u8) -> Server {
    let primary = Primary::new(config(entropy)).unwrap();
    let mut server = Server { primary, disk, now: 0, moments: Vec::new() };
    server.tell(vec![]);
    server
}

struct Server {
    primary: Primary,
    disk: DiskMemory,
    now: u64,
    /// The files after each batch.
    moments: Vec<DiskMemory>,
}

impl Server {
    fn tell(&mut self, inputs: Vec<PrimaryInput>) {
        let mut bursts = VecDeque::from([inputs]);
        while let Some(inputs) = bursts.pop_front() {
            let mut effects = Vec::new();
            self.primary.handle(self.now, inputs, &mut effects);
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

    /// How long the logs and bases are.
    fn bytes(&self) -> usize {
        let files = [FileName::Log0, FileName::Log1, FileName::Base0, FileName::Base1];
        files.map(|file| self.disk.bytes(file).len()).iter().sum()
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

#[test]
fn the_files_of_a_document_that_nobody_changes_are_cut_before_it_rests() {
    let mut server = open(DiskMemory::new(1), 1);
    server.tell(vec![opened(1)]);
    for seq in 1..=12 {
        server.now += 1000;
        server.tell(vec![pushed(1, vec![mutation(seq, "put", "data", noise(900_000))])]);
    }
    let (position, image) = (server.primary.position(), server.primary.image());
    let before = server.bytes();
    assert!(!server.primary.rest(u64::MAX, 0), "what is due is done first");
    let since = server.now;
    server.moments.clear();
    while let Some(due) = server.primary.due() {
        assert!(due > server.now && due <= since + 10_000, "{due} is not behind {}", server.now);
        server.now = due;
        server.tell(vec![]);
    }
    assert!(server.bytes() + (2 << 20) <= before, "{} bytes of {before}", server.bytes());
    assert!(server.primary.rest(u64::MAX, 0));
    for (index, mut moment) in (2_u8..).zip(std::mem::take(&mut server.moments)) {
        moment.crash();
        let mut again = open(moment, index);
        assert_eq!((again.primary.position(), again.primary.image()), (position, image.clone()));
    }
}

#[test]
fn a_full_disk_does_not_end_a_document_that_nobody_changes() {
    let mut server = open(DiskMemory::new(1), 1);
    server.tell(vec![opened(1)]);
    for seq in 1..=4 {
        server.tell(vec![pushed(1, vec![mutation(seq, "put", "data", noise(900_000))])]);
    }
    server.now = 10_000;
    server.tell(vec![]);
    let two = [5, 6].map(|seq| mutation(seq, "put", "data", noise(900_000)));
    server.tell(vec![pushed(1, two.to_vec())]);
    assert_eq!((server.primary.counts().mutations, server.primary.counts().rejections), (6, 0));
    server.disk.set_capacity(Some(0));
    server.now = 20_000;
    server.tell(vec![]);
    assert_eq!(server.primary.due(), None);
}

#[test]
fn a_clock_that_is_set_back_puts_off_what_an_idle_document_does_by_seconds_only() {
    let mut server = open(DiskMemory::new(1), 1);
    server.now = 1_000_000_000;
    server.tell(vec![opened(1)]);
    let large = (1..=6).map(|seq| mutation(seq, "put", "data", noise(900_000))).collect();
    server.tell(vec![pushed(1, large)]);
    server.now = 5;
    server.tell(vec![]);
    assert_eq!(server.primary.due(), Some(5 + 10_000));
}
