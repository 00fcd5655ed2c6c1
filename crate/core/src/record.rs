//! What is appended to a log (FORMAT.md, "Kinds").

use offprint_protocol::{
    Code, CommitBatch, Decode, Definition, Encode, Epoch, Error, Mutation, MutationSeq, Reader, RequestNo,
    Rollup, TabId, Writer,
};

use crate::ledger::Ledger;
use crate::log::RECORD_LIMIT;

/// A mutation that is recorded but not decided yet.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingMutation {
    /// In which life of the core it was made.
    pub epoch: Epoch,
    /// Which tab asked for it.
    pub tab: TabId,
    /// The tab's number for that request.
    pub request: RequestNo,
    /// The rejection whose place it takes, if it was made to do so.
    pub retries: Option<MutationSeq>,
    /// The mutation.
    pub mutation: Mutation,
}

/// A record of a log.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A mutation of ours.
    Mutation(PendingMutation),
    /// Commits, and what they decided.
    Commits(CommitBatch),
    /// A part of a rollup.
    Rollup(Rollup),
    /// What was decided for some clients.
    Ledger(Ledger),
    /// The app has seen this rejection.
    Dismiss(MutationSeq),
    /// When what follows was appended, in milliseconds since 1970.
    Time(u64),
    /// What the mutations behind it were made with, where no server knows.
    Definition(Definition),
}

impl Record {
    /// The kind's number.
    pub fn kind(&self) -> u8 {
        match self {
            Record::Mutation(_) => 1,
            Record::Commits(_) => 2,
            Record::Rollup(_) => 3,
            Record::Ledger(_) => 4,
            Record::Dismiss(_) => 5,
            Record::Time(_) => 6,
            Record::Definition(_) => 7,
        }
    }

    /// The body's bytes, or `too_large`.
    pub fn body(&self) -> Result<Vec<u8>, Error> {
        let body = match self {
            Record::Mutation(pending) => pending.to_bytes(),
            Record::Commits(batch) => batch.to_bytes(),
            Record::Rollup(rollup) => rollup.to_bytes(),
            Record::Ledger(ledger) => ledger.to_bytes(),
            Record::Dismiss(seq) => seq.to_bytes(),
            Record::Time(at) => {
                let mut out = Writer::new();
                out.varint(*at);
                out.finish()
            }
            Record::Definition(definition) => definition.to_bytes(),
        };
        if body.len() > RECORD_LIMIT {
            return Err(Error::new(Code::TooLarge, format!("a record of {} bytes", body.len())));
        }
        Ok(body)
    }

    /// Reads a body of this kind, or fails with `bad_frame`.
    pub fn decode(kind: u8, body: &[u8]) -> Result<Self, Error> {
        Ok(match kind {
            1 => Record::Mutation(PendingMutation::from_bytes(body)?),
            2 => Record::Commits(CommitBatch::from_bytes(body)?),
            3 => Record::Rollup(Rollup::from_bytes(body)?),
            4 => Record::Ledger(Ledger::from_bytes(body)?),
            5 => Record::Dismiss(MutationSeq::from_bytes(body)?),
            6 => {
                let mut from = Reader::new(body);
                let at = from.varint()?;
                from.end()?;
                Record::Time(at)
            }
            7 => Record::Definition(Definition::from_bytes(body)?),
            _ => return Err(Error::new(Code::BadFrame, format!("a record of kind {kind}"))),
        })
    }
}

impl Encode for PendingMutation {
    fn encode(&self, out: &mut Writer) {
        out.put(&self.epoch).put(&self.tab).put(&self.request);
        out.put(&self.retries.unwrap_or_default()).put(&self.mutation);
    }
}

impl Decode for PendingMutation {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        let (epoch, tab, request) = (from.get()?, from.get()?, from.get()?);
        let retries = Some(from.get()?).filter(|seq| *seq != MutationSeq(0));
        Ok(Self { epoch, tab, request, retries, mutation: from.get()? })
    }
}
