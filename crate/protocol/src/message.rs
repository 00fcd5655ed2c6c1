//! The frames between client and server: one message per binary websocket frame (PROTOCOL.md).

use crate::codec::{Decode, Encode, Reader, Writer, bad};
use crate::commit::{CommitBatch, Position, Rollup};
use crate::error::{Code, Error};
use crate::id::{ClientId, ClientSecret, CommitHash, DefinitionHash, DocumentId, JournalId, Lsn};
use crate::mutation::{Mark, Mutation};
use crate::page::{Checksum, MAX_PAGES, PAGE_SIZE};

/// The version of the wire protocol that this build speaks.
pub const PROTOCOL_VERSION: u16 = 1;

/// The longest frame that either side accepts, in bytes.
pub const MAX_FRAME: usize = 8 << 20;

/// The first message of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Hello {
    /// The lowest version that the client speaks.
    pub min_version: u16,
    /// The highest version that the client speaks.
    pub max_version: u16,
    /// Which document.
    pub document: DocumentId,
    /// Who.
    pub client: ClientId,
    /// The proof.
    pub secret: ClientSecret,
    /// The definition's name.
    pub definition: String,
    /// The definition's hash.
    pub hash: DefinitionHash,
    /// What the app's `auth` gave, or empty.
    pub token: String,
    /// What the client has, if it has any history.
    pub position: Option<Position>,
    /// Whether the client made that history by itself and no server is known to have taken it over.
    pub local: bool,
    /// Whether the client can fetch a snapshot over HTTP.
    pub fetches: bool,
    /// The last of its mutations that it knows to be decided.
    pub confirmed: Mark,
}

/// What a client says.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientMessage {
    /// Opens the session.
    Hello(Hello),
    /// Mutations with contiguous numbers.
    Push(Vec<Mutation>),
    /// Asks for a [`ServerMessage::Pong`] with the same number.
    Ping(u64),
    /// A part of what the client has, from Lsn 0: the answer to [`CatchUp::Offer`].
    Offer(Rollup),
    /// The answer to [`CatchUp::Snapshot`]: whether the client has it now, or could not get it.
    Fetched(bool),
}

/// What the server will send first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// One `Commits` on top of what the client has (maybe without any commit).
    Tail,
    /// `Rollup` parts on top of what the client has.
    Rollup,
    /// `Rollup` parts from Lsn 0, which replace what the client has; its pending mutations stay.
    Reset,
    /// Nothing before the client has offered its own history, which the document will begin with; then one `Commits`.
    Offer,
    /// Nothing before the client has said [`ClientMessage::Fetched`]: it is to fetch this over HTTP meanwhile, which replaces
    /// what it has. What follows is on top of that, or everything if it could not get it.
    Snapshot(SnapshotOffer),
}

/// One state of the document, which can be fetched over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotOffer {
    /// Its last commit.
    pub lsn: Lsn,
    /// That commit's hash.
    pub hash: CommitHash,
    /// Its size in pages.
    pub page_count: u32,
    /// Its checksum.
    pub checksum: Checksum,
}

impl SnapshotOffer {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        u64::from(self.page_count) * PAGE_SIZE as u64
    }
}

/// The answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The version that both will speak.
    pub version: u16,
    /// The server's history.
    pub journal: JournalId,
    /// Points of the client's timeline up to which the server has decided, ascending; the last is how far it is.
    pub marks: Vec<Mark>,
    /// What follows.
    pub catch_up: CatchUp,
}

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerMessage {
    /// The session is open.
    Welcome(Welcome),
    /// New commits and what they decided for this client.
    Commits(CommitBatch),
    /// A part of a rollup.
    Rollup(Rollup),
    /// The answer to a `Ping`.
    Pong(u64),
    /// Why the server closes the session: one of [`Code`](crate::Code)'s words and a sentence.
    Refused {
        /// What programs match.
        code: String,
        /// What people read.
        message: String,
    },
}

impl Encode for Hello {
    fn encode(&self, out: &mut Writer) {
        out.u16(self.min_version).u16(self.max_version).put(&self.document).put(&self.client);
        out.put(&self.secret).str(&self.definition).put(&self.hash).str(&self.token);
        out.put(&self.position).u8(u8::from(self.local)).u8(u8::from(self.fetches)).put(&self.confirmed);
    }
}

impl Decode for Hello {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            min_version: from.u16()?,
            max_version: from.u16()?,
            document: from.get()?,
            client: from.get()?,
            secret: from.get()?,
            definition: from.get()?,
            hash: from.get()?,
            token: from.get()?,
            position: from.get()?,
            local: from.flag()?,
            fetches: from.flag()?,
            confirmed: from.get()?,
        })
    }
}

impl Encode for ClientMessage {
    fn encode(&self, out: &mut Writer) {
        match self {
            ClientMessage::Hello(hello) => out.u8(1).put(hello),
            ClientMessage::Push(mutations) => out.u8(2).list(mutations),
            ClientMessage::Ping(number) => out.u8(3).varint(*number),
            ClientMessage::Offer(rollup) => out.u8(4).put(rollup),
            ClientMessage::Fetched(has_it) => out.u8(5).u8(u8::from(*has_it)),
        };
    }
}

impl Decode for ClientMessage {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(match from.u8()? {
            1 => ClientMessage::Hello(from.get()?),
            2 => ClientMessage::Push(from.list()?),
            3 => ClientMessage::Ping(from.varint()?),
            4 => ClientMessage::Offer(from.get()?),
            5 => ClientMessage::Fetched(from.flag()?),
            _ => return Err(bad("an unknown kind of message")),
        })
    }
}

impl ClientMessage {
    /// Whether the frame is of a kind that would change the document, told by its first byte.
    pub fn would_change(frame: &[u8]) -> bool {
        matches!(frame.first(), Some(2 | 4))
    }

    /// The `Hello` in a frame; nothing else is decoded: `bad_state` for another kind of message.
    pub fn read_hello(frame: &[u8]) -> Result<Hello, Error> {
        match frame.split_first() {
            Some((1, hello)) => Hello::from_bytes(hello),
            Some((2..=5, _)) => Err(Error::new(Code::BadState, "the first message is not a hello")),
            _ => Err(bad("an unknown kind of message")),
        }
    }

    /// The version range at the front of a `Hello` of any version, so that a server can name the mismatch.
    pub fn hello_versions(frame: &[u8]) -> Option<(u16, u16)> {
        let mut reader = Reader::new(frame);
        if reader.u8().ok()? != 1 {
            return None;
        }
        Some((reader.u16().ok()?, reader.u16().ok()?))
    }
}

impl Encode for Welcome {
    fn encode(&self, out: &mut Writer) {
        out.u16(self.version).put(&self.journal).list(&self.marks).put(&self.catch_up);
    }
}

impl Decode for Welcome {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { version: from.u16()?, journal: from.get()?, marks: from.list()?, catch_up: from.get()? })
    }
}

impl Encode for CatchUp {
    fn encode(&self, out: &mut Writer) {
        match self {
            CatchUp::Tail => out.u8(0),
            CatchUp::Rollup => out.u8(1),
            CatchUp::Reset => out.u8(2),
            CatchUp::Offer => out.u8(3),
            CatchUp::Snapshot(offer) => out.u8(4).put(offer),
        };
    }
}

impl Decode for CatchUp {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(match from.u8()? {
            0 => CatchUp::Tail,
            1 => CatchUp::Rollup,
            2 => CatchUp::Reset,
            3 => CatchUp::Offer,
            4 => CatchUp::Snapshot(from.get()?),
            _ => return Err(bad("an unknown kind of catch-up")),
        })
    }
}

impl Encode for SnapshotOffer {
    fn encode(&self, out: &mut Writer) {
        out.put(&self.lsn).put(&self.hash).varint(u64::from(self.page_count)).put(&self.checksum);
    }
}

impl Decode for SnapshotOffer {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        let offer =
            Self { lsn: from.get()?, hash: from.get()?, page_count: from.varint32()?, checksum: from.get()? };
        if offer.page_count > MAX_PAGES {
            return Err(bad("a page count is out of range"));
        }
        Ok(offer)
    }
}

impl Encode for ServerMessage {
    fn encode(&self, out: &mut Writer) {
        match self {
            ServerMessage::Welcome(welcome) => out.u8(1).put(welcome),
            ServerMessage::Commits(batch) => out.u8(2).put(batch),
            ServerMessage::Rollup(rollup) => out.u8(3).put(rollup),
            ServerMessage::Pong(number) => out.u8(4).varint(*number),
            ServerMessage::Refused { code, message } => out.u8(5).str(code).str(message),
        };
    }
}

impl Decode for ServerMessage {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(match from.u8()? {
            1 => ServerMessage::Welcome(from.get()?),
            2 => ServerMessage::Commits(from.get()?),
            3 => ServerMessage::Rollup(from.get()?),
            4 => ServerMessage::Pong(from.varint()?),
            5 => ServerMessage::Refused { code: from.get()?, message: from.get()? },
            _ => return Err(bad("an unknown kind of message")),
        })
    }
}
