//! Clients that are nothing but the frames they send, for what is asked of a primary alone.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use offprint_core::host::{PrimaryConfig, PrimaryInput};
use offprint_protocol::message::{ClientMessage, Hello, PROTOCOL_VERSION};
use offprint_protocol::{
    Argument, ClientId, ClientSecret, Definition, DocumentId, Encode, Mark, Mutation, MutationSeq,
    MutatorSource, SessionNo, Value,
};

/// Items; `claim` fails for a name that is taken.
pub fn definition() -> Definition {
    let mutator = |sql: &str| MutatorSource { sql: sql.into() };
    Definition {
        name: "items".into(),
        migrations: vec![
            "CREATE TABLE item (data BLOB); CREATE TABLE claim (name TEXT PRIMARY KEY) WITHOUT ROWID".into(),
        ],
        mutators: BTreeMap::from([
            ("put".into(), mutator("INSERT INTO item (data) VALUES (:data)")),
            ("claim".into(), mutator("INSERT INTO claim (name) VALUES (:name)")),
        ]),
    }
}

pub fn config(entropy: u8) -> PrimaryConfig {
    let document = DocumentId::new("doc").unwrap();
    PrimaryConfig { document, definition: definition(), history: None, entropy: [entropy; 32] }
}

/// A client that knows nothing yet.
pub fn hello(client: u8) -> Hello {
    Hello {
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
        fetches: false,
        confirmed: Mark::default(),
    }
}

/// The client opens the session of its number.
pub fn opened(client: u8) -> PrimaryInput {
    PrimaryInput::SessionOpened { session: SessionNo(client.into()), hello: hello(client) }
}

pub fn mutation(seq: u64, name: &str, argument: &str, value: Value) -> Mutation {
    let args = vec![Argument { name: argument.into(), value }];
    Mutation { seq: MutationSeq(seq), at: 0, name: name.into(), args }
}

pub fn put(seq: u64, data: &str) -> Mutation {
    mutation(seq, "put", "data", Value::Text(data.into()))
}

pub fn claim(seq: u64, name: &str) -> Mutation {
    mutation(seq, "claim", "name", Value::Text(name.into()))
}

/// The client pushes in the session of its number.
pub fn pushed(client: u8, mutations: Vec<Mutation>) -> PrimaryInput {
    let frame = ClientMessage::Push(mutations).to_bytes();
    PrimaryInput::SessionFrame { session: SessionNo(client.into()), frame }
}
