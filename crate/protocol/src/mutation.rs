//! A named change with arguments, and what the primary answered to it.

use serde::{Deserialize, Serialize};

use crate::codec::{Decode, Encode, Reader, Writer};
use crate::error::Error;
use crate::id::{ClientId, MutationSeq};
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

/// The primary's refusal of one mutation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Rejection {
    /// Which mutation.
    pub seq: MutationSeq,
    /// The mutator's name.
    pub name: String,
    /// What programs match: one of [`Code`](crate::Code)'s words, or the mutator's own.
    pub code: String,
    /// What people read.
    pub message: String,
}

/// What the primary has decided for one client: everything up to `through` is confirmed, except the rejections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whose mutations.
    pub client: ClientId,
    /// The last decided mutation.
    pub through: MutationSeq,
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

impl Encode for Rejection {
    fn encode(&self, out: &mut Writer) {
        out.put(&self.seq).str(&self.name).str(&self.code).str(&self.message);
    }
}

impl Decode for Rejection {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { seq: from.get()?, name: from.get()?, code: from.get()?, message: from.get()? })
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
