//! What is said between a tab and its hub. These types are the source of `worker/src/rpc.generated.ts`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::id::{Lsn, MutationSeq, RequestNo};
use crate::value::Value;

/// What a tab asks; each is answered exactly once by a [`TabEvent::Reply`] or [`TabEvent::Failed`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// Runs a mutator and records the mutation.
    Mutate {
        /// The mutator.
        name: String,
        /// Its arguments.
        #[cfg_attr(feature = "ts", ts(type = "Record<string, SqlValue>"))]
        args: BTreeMap<String, Value>,
    },
    /// Runs a read-only statement once.
    Query(Select),
    /// Runs a read-only statement now and whenever its result may have changed.
    Subscribe {
        /// The tab's own number for it.
        subscription: u32,
        /// The statement.
        select: Select,
    },
    /// Ends a subscription.
    Unsubscribe {
        /// The tab's own number for it.
        subscription: u32,
    },
    /// Drops a rejection that the app has dealt with.
    Dismiss {
        /// Which one.
        seq: MutationSeq,
    },
    /// Runs a rejected mutation once more, as a new one that takes the rejection's place.
    Retry {
        /// Which rejection.
        seq: MutationSeq,
    },
    /// Makes the document from a SQLite file, the next part of which this is; answered at the end when it is durable.
    Import {
        /// Where the part begins.
        #[cfg_attr(feature = "ts", ts(type = "number"))]
        offset: u64,
        /// The part.
        #[cfg_attr(feature = "ts", ts(type = "Uint8Array<ArrayBuffer>"))]
        bytes: Bytes,
        /// Whether it is the last.
        last: bool,
    },
    /// Begins to export the document as a SQLite file.
    Export {
        /// What the primary has confirmed, without what is pending.
        confirmed: bool,
    },
    /// Asks for a part of an export; asking again gives the same.
    ExportPart {
        /// Which one.
        export: RequestNo,
        /// Which part, from 0.
        part: u32,
    },
    /// Ends an export, whether it has come to its end or not.
    EndExport {
        /// Which one.
        export: RequestNo,
    },
    /// Tries the server now instead of at the end of the back-off.
    Reconnect,
    /// Gives up a history that this device made by itself for the server's; what is pending stays.
    TakeServers,
}

/// A read-only statement with positional parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Select {
    /// One SQL statement.
    pub sql: String,
    /// A value for each `?`.
    #[cfg_attr(feature = "ts", ts(type = "Array<SqlValue>"))]
    pub params: Vec<Value>,
}

/// A request and the tab's number for it, which is never reused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct TabRequest {
    /// The tab's number.
    pub no: RequestNo,
    /// What is asked.
    pub request: Request,
}

/// What a request gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// A mutation is visible in every tab.
    Applied {
        /// Its number.
        seq: MutationSeq,
    },
    /// A query's rows (PROTOCOL.md, Rows).
    Rows(#[cfg_attr(feature = "ts", ts(type = "Uint8Array<ArrayBuffer>"))] Bytes),
    /// An export has begun.
    Export {
        /// What stands for it.
        export: RequestNo,
        /// The last commit of the primary that is in it.
        lsn: Lsn,
        /// The file's size in bytes.
        #[cfg_attr(feature = "ts", ts(type = "number"))]
        size: u64,
    },
    /// The next bytes of the file; empty behind its end.
    Part(#[cfg_attr(feature = "ts", ts(type = "Uint8Array<ArrayBuffer>"))] Bytes),
    /// Nothing to tell.
    Done,
}

/// What a hub tells a tab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub enum TabEvent {
    /// A request succeeded.
    Reply {
        /// Which one.
        no: RequestNo,
        /// What it gave.
        reply: Reply,
    },
    /// A request failed and left no trace; with `gone` after `durable`, it is not known any more how it was decided.
    Failed {
        /// Which one.
        no: RequestNo,
        /// Why.
        problem: Problem,
    },
    /// The mutations of these requests are flushed to the device.
    Durable {
        /// Which ones.
        requests: Vec<RequestNo>,
    },
    /// The mutations of these requests are in the primary's journal.
    Confirmed {
        /// Which ones.
        requests: Vec<RequestNo>,
    },
    /// The mutation of this request was refused by the primary.
    Rejected {
        /// Which request.
        no: RequestNo,
        /// Why.
        rejection: Rejection,
    },
    /// A subscription's rows: the first, and then each that differs from the last.
    Rows {
        /// Which one.
        subscription: u32,
        /// The rows (PROTOCOL.md, Rows).
        #[cfg_attr(feature = "ts", ts(type = "Uint8Array<ArrayBuffer>"))]
        rows: Bytes,
    },
    /// A subscription's statement fails now (its table was dropped, say); it is tried again after the next change.
    SubscriptionFailed {
        /// Which one.
        subscription: u32,
        /// Why.
        problem: Problem,
    },
    /// The document's status changed.
    Status(Status),
}

/// Bytes that JavaScript sees as a `Uint8Array`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
            fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

/// A code and a sentence, as JavaScript sees an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Problem {
    /// What programs match.
    pub code: String,
    /// What people read.
    pub message: String,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self { code: error.code.as_str().to_owned(), message: error.message }
    }
}

/// A mutation that the primary refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Rejection {
    /// Which mutation.
    pub seq: MutationSeq,
    /// The mutator's name.
    pub name: String,
    /// Its arguments; null if the device has lost them.
    #[cfg_attr(feature = "ts", ts(type = "Record<string, SqlValue> | null"))]
    pub args: Option<BTreeMap<String, Value>>,
    /// What programs match: a `Code`, or the mutator's own.
    pub code: String,
    /// What people read.
    pub message: String,
    /// What the primary ran it on: the document at this Lsn, and what its next commit had decided before.
    pub lsn: Lsn,
}

/// How the document stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Whether the document was read from the device: before, requests wait.
    pub ready: bool,
    /// The last commit of the primary that is here.
    pub lsn: Lsn,
    /// Whether the device made the document's history by itself and no server is known to have taken it over.
    pub local: bool,
    /// The number of mutations that are neither confirmed nor rejected.
    #[cfg_attr(feature = "ts", ts(type = "number"))]
    pub pending: u64,
    /// How far the replay of pending mutations has come that is under way, if it takes long: until `ready`, or until
    /// what others did is visible.
    pub progress: Option<Progress>,
    /// How many bytes of the server's document have come, of how many, while it is downloaded as a whole.
    pub download: Option<Progress>,
    /// The server.
    pub connection: Connection,
    /// Why the server refused or cannot be reached, if so.
    pub connection_problem: Option<Problem>,
    /// The device.
    pub storage: Storage,
    /// Rejections that the app has neither dismissed nor retried, oldest first.
    pub rejections: Vec<Rejection>,
}

/// How much of something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Progress {
    /// So much.
    #[cfg_attr(feature = "ts", ts(type = "number"))]
    pub done: u64,
    /// Of so much.
    #[cfg_attr(feature = "ts", ts(type = "number"))]
    pub total: u64,
}

/// Whether the document is connected with its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub enum Connection {
    /// No server was named.
    None,
    /// Not connected; trying again.
    Offline,
    /// Connecting or catching up.
    Connecting,
    /// In step with the server.
    Online,
}

/// Where the document is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Storage {
    /// The kind of disk, or `none` while no disk answers.
    pub kind: StorageKind,
    /// Whether what is `durable` survives the browser's end.
    pub durable: bool,
    /// What is in the way, or why it is not a better kind, if anything.
    pub reason: Option<Problem>,
    /// Whether the browser promised not to clear this origin's storage by itself; null while nobody knows.
    pub persisted: Option<bool>,
    /// What a lack of room on the device has led to; `reason` (code `quota`) says more. It ends by itself.
    pub shortage: Option<Shortage>,
}

/// What a document does without while the device has no room for it; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub enum Shortage {
    /// Nothing yet: its files are arranged anew, and spare space is given up.
    Reorganising,
    /// Commits from the server; mutations are still recorded.
    NotPulling,
    /// New mutations: they fail with `quota`. Those that were accepted wait.
    ReadOnly,
}

/// The kinds of disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub enum StorageKind {
    /// No disk answers at the moment.
    None,
    /// The origin private file system.
    Opfs,
    /// IndexedDB, where there is no private file system.
    IndexedDb,
    /// The hub's memory, where there is neither and the app asked for it: gone when the last tab closes.
    Memory,
}
