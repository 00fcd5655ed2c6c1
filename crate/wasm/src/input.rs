//! From messages to the core's inputs.

use js_sys::Reflect;
use offprint_core::disk::{BatchNo, DiskAnswer, DiskValue};
use offprint_core::host::{ReplicaConfig, ReplicaEffect, ReplicaInput};
use offprint_protocol::rpc::{Bytes, Problem, Request, StorageKind, TabEvent};
use offprint_protocol::{Code, Definition, DocumentId, Error, RequestNo, TabId};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use wasm_bindgen::JsValue;

#[derive(Deserialize)]
struct Config {
    document: String,
    definition: Definition,
    server: bool,
    entropy: Bytes,
}

/// What a replica is made from.
pub(crate) fn config(value: JsValue) -> Result<ReplicaConfig, Error> {
    let bad = |why: String| Error::new(Code::BadArgument, why);
    let config: Config = serde_wasm_bindgen::from_value(value).map_err(|error| bad(error.to_string()))?;
    Ok(ReplicaConfig {
        document: DocumentId::new(&config.document)?,
        definition: config.definition,
        server: config.server,
        fetches: config.server,
        entropy: config.entropy.0.try_into().map_err(|_| bad("the entropy is not 32 bytes".into()))?,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Input {
    TabHere { tab: TabId },
    TabGone { tab: TabId },
    Request { tab: TabId, no: RequestNo, request: Request },
    DiskReady { kind: StorageKind, durable: bool, reason: Option<Problem> },
    FilesGone,
    Persisted { persisted: bool },
    DiskLost { problem: Option<Problem> },
    Disk(Answer),
    SocketOpened { token: String },
    SocketFrame(Bytes),
    SocketClosed { problem: Option<Problem> },
    SnapshotBytes(Bytes),
    SnapshotFailed,
    Wake,
}

#[derive(Deserialize)]
struct Answer {
    no: u64,
    #[serde(default)]
    values: Vec<Value>,
    problem: Option<Problem>,
}

struct Value(DiskValue);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl Visitor<'_> for ValueVisitor {
            type Value = DiskValue;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("null, a length or a Uint8Array")
            }
            fn visit_unit<E: de::Error>(self) -> Result<DiskValue, E> {
                Ok(DiskValue::Done)
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<DiskValue, E> {
                u64::try_from(value).map(DiskValue::Size).map_err(E::custom)
            }
            fn visit_byte_buf<E: de::Error>(self, value: Vec<u8>) -> Result<DiskValue, E> {
                Ok(DiskValue::Bytes(value))
            }
        }
        deserializer.deserialize_any(ValueVisitor).map(Value)
    }
}

impl From<Answer> for DiskAnswer {
    fn from(answer: Answer) -> Self {
        let result = match answer.problem {
            Some(Problem { code, message }) => {
                Err(Error::new(Code::parse(&code).unwrap_or(Code::Disk), message))
            }
            None => Ok(answer.values.into_iter().map(|value| value.0).collect()),
        };
        DiskAnswer { no: BatchNo(answer.no), result }
    }
}

impl From<Input> for ReplicaInput {
    fn from(input: Input) -> Self {
        match input {
            Input::TabHere { tab } => ReplicaInput::TabHere { tab },
            Input::TabGone { tab } => ReplicaInput::TabGone { tab },
            Input::Request { tab, no, request } => ReplicaInput::Request { tab, no, request },
            Input::DiskReady { kind, durable, reason } => ReplicaInput::DiskReady { kind, durable, reason },
            Input::FilesGone => ReplicaInput::FilesGone,
            Input::Persisted { persisted } => ReplicaInput::Persisted { persisted },
            Input::DiskLost { problem } => ReplicaInput::DiskLost { problem },
            Input::Disk(answer) => ReplicaInput::Disk(answer.into()),
            Input::SocketOpened { token } => ReplicaInput::SocketOpened { token },
            Input::SocketFrame(bytes) => ReplicaInput::SocketFrame(bytes.0),
            Input::SocketClosed { problem } => ReplicaInput::SocketClosed { problem },
            Input::SnapshotBytes(bytes) => ReplicaInput::SnapshotBytes(bytes.0),
            Input::SnapshotFailed => ReplicaInput::SnapshotFailed,
            Input::Wake => ReplicaInput::Wake,
        }
    }
}

/// A disk's answer, which is the worker's own message.
pub(crate) fn answer(value: JsValue) -> Result<DiskAnswer, JsValue> {
    let answer: Answer = serde_wasm_bindgen::from_value(value)?;
    Ok(answer.into())
}

/// A message as the core takes it, or what its sender is told.
pub(crate) enum Taken {
    Input(ReplicaInput),
    Refused(ReplicaEffect),
}

/// Only a tab's request may be malformed, and only that tab is told: the other messages are the hub's own.
pub(crate) fn input(value: JsValue) -> Result<Taken, JsValue> {
    match serde_wasm_bindgen::from_value::<Input>(value.clone()) {
        Ok(input) => Ok(Taken::Input(input.into())),
        Err(error) => {
            let (tab, no) = asker(&value).ok_or_else(|| JsValue::from(format!("BUG: {error}")))?;
            let problem = Error::new(Code::BadArgument, error.to_string()).into();
            Ok(Taken::Refused(ReplicaEffect::Tab { tab, event: TabEvent::Failed { no, problem } }))
        }
    }
}

fn asker(value: &JsValue) -> Option<(TabId, RequestNo)> {
    let request = Reflect::get(value, &"request".into()).ok()?;
    let tab = Reflect::get(&request, &"tab".into()).ok()?;
    let no = Reflect::get(&request, &"no".into()).ok()?;
    Some((serde_wasm_bindgen::from_value(tab).ok()?, serde_wasm_bindgen::from_value(no).ok()?))
}
