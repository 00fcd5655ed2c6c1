//! What a primary's log says at every moment, whatever is under way.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, VecDeque};

use offprint_core::Primary;
use offprint_core::disk_memory::DiskMemory;
use offprint_core::host::{PrimaryConfig, PrimaryEffect, PrimaryInput};
use offprint_protocol::message::{ClientMessage, Hello, PROTOCOL_VERSION};
use offprint_protocol::{
    Argument, ClientId, ClientSecret, Definition, DocumentId, Encode, Mark, Mutation, MutationSeq,
    MutatorSource, SessionNo, Value,
};

fn definition() -> Definition {
    let put = MutatorSource { sql: "INSERT INTO item (data) VALUES (:data)".into() };
    Definition {
        name: "items".into(),
        migrations: vec!["CREATE TABLE item (data BLOB)".into()],
        mutators: BTreeMap::from([("put".into(), put)]),
    }
}

fn open(disk: DiskMemory, entropy: u8) -> Server {
    let config = PrimaryConfig {
        document: DocumentId::new("doc").unwrap(),
        definition: definition(),
        entropy: [entropy; 32],
    };
    let mut server = Server { primary: Primary::new(config).unwrap(), disk, moments: Vec::new() };
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
                    PrimaryEffect::Send { .. } | PrimaryEffect::Close { .. } => {}
                }
            }
        }
    }
}

fn hello(client: u8) -> PrimaryInput {
    let hello = Hello {
        min_version: PROTOCOL_VERSION,
        max_version: PROTOCOL_VERSION,
        document: DocumentId::new("doc").unwrap(),
        client: ClientId([client; 16]),
        secret: ClientSecret([client; 16]),
        definition: "items".into(),
        hash: definition().hash(),
        token: String::new(),
        position: None,
        local: false,
        confirmed: Mark::default(),
    };
    PrimaryInput::SessionOpened { session: SessionNo(client.into()), hello }
}

fn put(client: u8, count: u64, bytes: usize) -> PrimaryInput {
    // Bytes that do not compress, so that the log grows by them.
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    let noise = noise.take(bytes).collect();
    let args = vec![Argument { name: "data".into(), value: Value::Blob(noise) }];
    let mutation = |seq| Mutation { seq: MutationSeq(seq), at: 0, name: "put".into(), args: args.clone() };
    let frame = ClientMessage::Push((1..=count).map(mutation).collect()).to_bytes();
    PrimaryInput::SessionFrame { session: SessionNo(client.into()), frame }
}

#[test]
fn a_client_whose_first_commit_comes_during_a_checkpoint_is_in_the_old_log_too() {
    let mut server = open(DiskMemory::new(1), 1);
    server.tell(vec![hello(1), hello(2)]);
    // The first batch takes what begins a checkpoint; the second goes to both logs.
    server.tell(vec![put(1, 6, 900_000), put(2, 1, 10)]);
    assert_eq!(server.primary.counts().mutations, 7);
    for (index, moment) in (2_u8..).zip(std::mem::take(&mut server.moments)) {
        open(moment, index);
    }
}
