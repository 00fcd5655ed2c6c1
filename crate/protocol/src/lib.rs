//! What is said on the wire and between tab and hub: ids, pages, commits, mutations, messages, errors, and the
//! byte codec under them. PROTOCOL.md gives the bytes; nothing here does I/O.
//!
//! A tour: [`message`] is the conversation of client and server; [`commit`] and [`page`] are what it carries down,
//! [`mutation`] what it carries up; [`rpc`] is the conversation of tab and hub; [`definition`] is what both sides
//! run; [`codec`] and [`error`] are under everything.

pub mod codec;
pub mod commit;
pub mod definition;
mod delta;
pub mod error;
pub mod id;
pub mod message;
pub mod mutation;
pub mod page;
pub mod rpc;
pub mod value;

pub use codec::{Decode, Encode, Reader, Writer};
pub use commit::{Commit, CommitBatch, Position, Rollup, Touched};
pub use definition::{Definition, MutatorSource};
pub use error::{Code, Error};
pub use id::{
    ClientId, ClientKey, ClientSecret, CommitHash, DefinitionHash, DocumentId, Epoch, JournalId, Lsn,
    MutationSeq, PageNo, RequestNo, SessionNo, TabId,
};
pub use mutation::{Argument, Mark, Mutation, Outcome, Rejection, TimelineHash};
pub use page::{Checksum, PAGE_SIZE, Page, PagePatch};
pub use value::Value;
