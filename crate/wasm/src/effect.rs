//! From what the core wants and finds to messages.

use offprint_core::disk::{DiskBatch, DiskOp};
use offprint_core::host::ReplicaEffect;
use offprint_core::inspection::Unsent;
use offprint_protocol::TabId;
use offprint_protocol::rpc::{Bytes, Problem, TabEvent};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::JsValue;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Effect {
    Tab {
        tab: TabId,
        event: TabEvent,
    },
    Disk(Batch),
    Connect,
    Disconnect,
    Send(Bytes),
    /// The journal in hexadecimal digits, as in the URL.
    Fetch {
        journal: String,
        lsn: u64,
        size: u64,
    },
    StopFetch,
    Wake {
        at: u64,
    },
}

#[derive(Serialize)]
pub(crate) struct Batch {
    no: u64,
    ops: Vec<Op>,
}

#[derive(Serialize)]
#[serde(tag = "op", rename_all = "camelCase")]
enum Op {
    Size { file: &'static str },
    Read { file: &'static str, offset: u64, len: u32 },
    Write { file: &'static str, offset: u64, bytes: Bytes },
    Grow { file: &'static str, to: u64 },
    Truncate { file: &'static str, to: u64 },
    Flush { file: &'static str },
}

impl From<DiskOp> for Op {
    fn from(op: DiskOp) -> Self {
        match op {
            DiskOp::Size { file } => Op::Size { file: file.as_str() },
            DiskOp::Read { file, offset, len } => Op::Read { file: file.as_str(), offset, len },
            DiskOp::Write { file, offset, bytes } => {
                Op::Write { file: file.as_str(), offset, bytes: Bytes(bytes) }
            }
            DiskOp::Grow { file, to } => Op::Grow { file: file.as_str(), to },
            DiskOp::Truncate { file, to } => Op::Truncate { file: file.as_str(), to },
            DiskOp::Keep { .. } => unreachable!("BUG: a replica keeps no history"),
            DiskOp::Flush { file } => Op::Flush { file: file.as_str() },
        }
    }
}

impl From<DiskBatch> for Batch {
    fn from(DiskBatch { no, ops }: DiskBatch) -> Self {
        Batch { no: no.0, ops: ops.into_iter().map(Op::from).collect() }
    }
}

impl From<ReplicaEffect> for Effect {
    fn from(effect: ReplicaEffect) -> Self {
        match effect {
            ReplicaEffect::Tab { tab, event } => Effect::Tab { tab, event },
            ReplicaEffect::Disk(batch) => Effect::Disk(batch.into()),
            ReplicaEffect::Connect => Effect::Connect,
            ReplicaEffect::Disconnect => Effect::Disconnect,
            ReplicaEffect::Send(frame) => Effect::Send(Bytes(frame)),
            ReplicaEffect::Fetch { journal, lsn, size } => {
                let journal = journal.0.iter().map(|byte| format!("{byte:02x}")).collect();
                Effect::Fetch { journal, lsn: lsn.0, size }
            }
            ReplicaEffect::StopFetch => Effect::StopFetch,
            ReplicaEffect::Wake { at } => Effect::Wake { at },
        }
    }
}

/// What an inspection wants read, or what it has found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Inspected {
    Disk(Batch),
    Mutations(u64),
    History,
    Unknown(Problem),
}

impl From<Unsent> for Inspected {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::Mutations(count) => Inspected::Mutations(count),
            Unsent::History => Inspected::History,
            Unsent::Unknown(error) => Inspected::Unknown(error.into()),
        }
    }
}

impl From<DiskBatch> for Inspected {
    fn from(batch: DiskBatch) -> Self {
        Inspected::Disk(batch.into())
    }
}

/// A message; bytes are copied out of the module's memory.
pub(crate) fn to_js(message: &impl Serialize) -> Result<JsValue, JsValue> {
    // As the generated types say: absent is null, and what has names is an object.
    const SERIALIZER: Serializer =
        Serializer::new().serialize_missing_as_null(true).serialize_maps_as_objects(true);
    message.serialize(&SERIALIZER).map_err(JsValue::from)
}
