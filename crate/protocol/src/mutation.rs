//! A named change with arguments, the timeline that a client's mutations form, and what the primary answered.

use crate::codec::{Decode, Encode, Reader, Writer};
use crate::error::Error;
use crate::id::{ClientId, Lsn, MutationSeq};
use crate::value::Value;

/// One named argument.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument {
    /// The name, without `:`.
    pub name: String,
    /// The value.
    pub value: Value,
}

/// A change as data: what a client records, sends, and replays.
#[derive(Debug, Clone, PartialEq)]
pub struct Mutation {
    /// The client's number for it.
    pub seq: MutationSeq,
    /// When it was made, in milliseconds since 1970 by the client's clock.
    pub at: u64,
    /// The mutator's name.
    pub name: String,
    /// The arguments, in ascending order of their names.
    pub args: Vec<Argument>,
}

/// The hash of a client's mutations up to one: 0 before the first, then the first 8 bytes of the blake3 hash of the one
/// before and the mutation's bytes. Equal hashes at equal numbers mean equal mutations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimelineHash(pub u64);

impl TimelineHash {
    /// The hash after `mutation`, given as its bytes.
    pub fn after(self, mutation: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0.to_le_bytes()).update(mutation);
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(u64::from_le_bytes(first))
    }
}

/// A point of a client's timeline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// The last mutation up to here.
    pub seq: MutationSeq,
    /// The hash up to here.
    pub hash: TimelineHash,
}

/// The primary's refusal of one mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Which mutation.
    pub seq: MutationSeq,
    /// The mutator's name.
    pub name: String,
    /// What programs match: one of [`Code`](crate::Code)'s words, or the mutator's own.
    pub code: String,
    /// What people read.
    pub message: String,
    /// What the primary ran it on: the document at this Lsn, and what its next commit had decided before.
    pub lsn: Lsn,
}

/// What the primary has decided for one client: everything up to `through` is confirmed, except the rejections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whose mutations.
    pub client: ClientId,
    /// The last decided mutation.
    pub through: Mark,
    /// Those refused, ascending; at most the ones the client does not have yet.
    pub rejections: Vec<Rejection>,
}

impl Encode for Argument {
    fn encode(&self, out: &mut Writer) {
        out.str(&self.name).put(&self.value);
    }
}

impl Decode for Argument {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { name: from.get()?, value: from.get()? })
    }
}

impl Encode for Mutation {
    fn encode(&self, out: &mut Writer) {
        out.put(&self.seq).varint(self.at).str(&self.name).list(&self.args);
    }
}

impl Decode for Mutation {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { seq: from.get()?, at: from.varint()?, name: from.get()?, args: from.list()? })
    }
}

impl Encode for TimelineHash {
    fn encode(&self, out: &mut Writer) {
        out.u64(self.0);
    }
}

impl Decode for TimelineHash {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self(from.u64()?))
    }
}

impl Encode for Mark {
    fn encode(&self, out: &mut Writer) {
        out.put(&self.seq).put(&self.hash);
    }
}

impl Decode for Mark {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { seq: from.get()?, hash: from.get()? })
    }
}

impl Encode for Rejection {
    fn encode(&self, out: &mut Writer) {
        out.put(&self.seq).str(&self.name).str(&self.code).str(&self.message).put(&self.lsn);
    }
}

impl Decode for Rejection {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            seq: from.get()?,
            name: from.get()?,
            code: from.get()?,
            message: from.get()?,
            lsn: from.get()?,
        })
    }
}

impl Encode for Outcome {
    fn encode(&self, out: &mut Writer) {
        out.put(&self.client).put(&self.through).list(&self.rejections);
    }
}

impl Decode for Outcome {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { client: from.get()?, through: from.get()?, rejections: from.list()? })
    }
}
