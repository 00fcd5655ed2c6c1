//! What goes into and comes out of the two state machines: the whole of their contact with the world.
//!
//! A host (browser hub, server room, simulator) calls `handle(now, inputs, &mut effects)` with everything that has
//! come since the last call (`inputs: impl IntoIterator<Item = …Input>`) and carries the effects out in order. One
//! call is one burst: one disk batch, one run of each live query, one status. `now` is milliseconds since 1970 and
//! never decides correctness.

use offprint_protocol::message::Hello;
use offprint_protocol::rpc::{Problem, Request, StorageKind, TabEvent};
use offprint_protocol::{Definition, DocumentId, Error, JournalId, Lsn, RequestNo, SessionNo, TabId};

use crate::disk::{DiskAnswer, DiskBatch};

/// What a [`Replica`](crate::Replica) is made from.
#[derive(Debug, Clone)]
pub struct ReplicaConfig {
    /// Which document.
    pub document: DocumentId,
    /// What the app defined.
    pub definition: Definition,
    /// Whether a server was named.
    pub server: bool,
    /// Whether the host can fetch snapshots.
    pub fetches: bool,
    /// Fresh randomness, never used twice.
    pub entropy: [u8; 32],
}

/// What happens to a [`Replica`](crate::Replica).
#[derive(Debug, Clone)]
pub enum ReplicaInput {
    /// A tab attached; it is told the status.
    TabHere {
        /// Which one.
        tab: TabId,
    },
    /// A tab went away; its subscriptions end, what it asked still runs.
    TabGone {
        /// Which one.
        tab: TabId,
    },
    /// A tab asks something; a repeated request is answered again, not run again.
    Request {
        /// Who asks.
        tab: TabId,
        /// The tab's number for it.
        no: RequestNo,
        /// What.
        request: Request,
    },
    /// A disk is there; what the last one left unanswered is given to it.
    DiskReady {
        /// What it keeps the files in.
        kind: StorageKind,
        /// Whether that survives the browser's end.
        durable: bool,
        /// Why it is not a better kind, if it is not the best.
        reason: Option<Problem>,
    },
    /// What the files held is gone. The next disk is given everything that is here; until it has that, nothing counts
    /// as durable.
    FilesGone,
    /// Whether the browser promised not to clear this origin's storage by itself.
    Persisted {
        /// What it said.
        persisted: bool,
    },
    /// The disk is gone, or cannot be had for this reason; the document goes on.
    DiskLost {
        /// Why, if it is more than a hand-over.
        problem: Option<Problem>,
    },
    /// The disk answers.
    Disk(DiskAnswer),
    /// The socket asked for by `Connect` is open.
    SocketOpened {
        /// What the app's `auth` gave, or empty.
        token: String,
    },
    /// A binary frame came.
    SocketFrame(Vec<u8>),
    /// The socket is closed, or could not be opened.
    SocketClosed {
        /// Why, if it is known.
        problem: Option<Problem>,
    },
    /// Bytes of the snapshot asked for by `Fetch`, in order and without a hole, however often its connection was cut.
    SnapshotBytes(Vec<u8>),
    /// The snapshot cannot be had.
    SnapshotFailed,
    /// The time asked for by `Wake` has come.
    Wake,
}

/// What a [`Replica`](crate::Replica) wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplicaEffect {
    /// Tell a tab.
    Tab {
        /// Which one.
        tab: TabId,
        /// What.
        event: TabEvent,
    },
    /// Give the disk a batch.
    Disk(DiskBatch),
    /// Open a socket; answered by `SocketOpened` or `SocketClosed`.
    Connect,
    /// Close the socket if one is open or opening; no answer is expected.
    Disconnect,
    /// Send a binary frame.
    Send(Vec<u8>),
    /// Fetch a snapshot from the server, in place of any other; answered by `SnapshotBytes` and perhaps `SnapshotFailed`.
    Fetch {
        /// The history.
        journal: JournalId,
        /// Its last commit.
        lsn: Lsn,
        /// How many bytes it has.
        size: u64,
    },
    /// Fetch no more; nothing of it is told any more.
    StopFetch,
    /// Call with `Wake` at this time, or as soon as what is already queued has been handed in if it is past;
    /// replaces the time asked for before.
    Wake {
        /// Milliseconds since 1970.
        at: u64,
    },
}

/// What a host has kept of a primary's logs by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// So many bytes of logs behind the newest that is whole; `u64::MAX` if there is none that they reach back to.
    pub behind: u64,
}

/// What a [`Primary`](crate::Primary) is made from.
#[derive(Debug, Clone)]
pub struct PrimaryConfig {
    /// Which document.
    pub document: DocumentId,
    /// What the operator serves.
    pub definition: Definition,
    /// The history that the host keeps of the document's logs, if it keeps one.
    pub history: Option<History>,
    /// Fresh randomness, never used twice.
    pub entropy: [u8; 32],
}

/// What happens to a [`Primary`](crate::Primary).
#[derive(Debug, Clone)]
pub enum PrimaryInput {
    /// A session said hello (version, document and definition name were checked by the host).
    SessionOpened {
        /// The host's number for it, never reused.
        session: SessionNo,
        /// What it said.
        hello: Hello,
    },
    /// A later frame of an open session.
    SessionFrame {
        /// Which one.
        session: SessionNo,
        /// The bytes.
        frame: Vec<u8>,
    },
    /// A session's socket closed.
    SessionClosed {
        /// Which one.
        session: SessionNo,
    },
    /// The answer to `AskDrained`: little of what was sent to the session still waits to be written.
    SessionDrained {
        /// Which one.
        session: SessionNo,
    },
    /// The disk answers.
    Disk(DiskAnswer),
}

/// What a [`Primary`](crate::Primary) wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum PrimaryEffect {
    /// Send a binary frame to a session.
    Send {
        /// Which one.
        session: SessionNo,
        /// The bytes.
        frame: Vec<u8>,
    },
    /// Say `SessionDrained`, now or later, once little of what was sent to the session waits; until then it is sent
    /// nothing more.
    AskDrained {
        /// Which one.
        session: SessionNo,
    },
    /// Close a session's socket after what was sent; no `SessionClosed` is expected.
    Close {
        /// Which one.
        session: SessionNo,
    },
    /// Give the disk a batch.
    Disk(DiskBatch),
    /// The state cannot be trusted any more (the disk failed): drop this primary, close its sessions, open it again.
    Fail(Error),
}
