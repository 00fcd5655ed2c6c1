//! From the core's effects to messages.

use offprint_core::disk::{DiskBatch, DiskOp};
use offprint_core::host::ReplicaEffect;
use offprint_protocol::TabId;
use offprint_protocol::rpc::{Bytes, TabEvent};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::JsValue;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Effect {
    Tab { tab: TabId, event: TabEvent },
    Disk(Batch),
    Connect,
    Disconnect,
    Send(Bytes),
    Wake { at: u64 },
}

#[derive(Serialize)]
struct Batch {
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
            DiskOp::Flush { file } => Op::Flush { file: file.as_str() },
        }
    }
}

impl From<ReplicaEffect> for Effect {
    fn from(effect: ReplicaEffect) -> Self {
        match effect {
            ReplicaEffect::Tab { tab, event } => Effect::Tab { tab, event },
            ReplicaEffect::Disk(DiskBatch { no, ops }) => {
                Effect::Disk(Batch { no: no.0, ops: ops.into_iter().map(Op::from).collect() })
            }
            ReplicaEffect::Connect => Effect::Connect,
            ReplicaEffect::Disconnect => Effect::Disconnect,
            ReplicaEffect::Send(frame) => Effect::Send(Bytes(frame)),
            ReplicaEffect::Wake { at } => Effect::Wake { at },
        }
    }
}

/// An effect as a message; bytes are copied out of the module's memory.
pub(crate) fn to_js(effect: ReplicaEffect) -> Result<JsValue, JsValue> {
    // Absent is null, as the generated types say.
    const SERIALIZER: Serializer = Serializer::new().serialize_missing_as_null(true);
    Effect::from(effect).serialize(&SERIALIZER).map_err(JsValue::from)
}
