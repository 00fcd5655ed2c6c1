//! A document: files on a device, SQLite above them, mutations on top, a server to agree with. Without any I/O.
//!
//! Two state machines are the whole of it: [`Replica`], a client's copy, and [`Primary`], the original. A host hands
//! them what has come ([`host`]) and carries out what they want. Below them, bottom up: files as batches of operations
//! ([`disk`]); records and what recovery makes of them ([`log`], [`head`], [`image`], [`ledger`], [`record`],
//! [`aside`], [`history`], [`journal`], [`inspection`]; FORMAT.md); SQLite over pages in memory ([`snapshot`], [`pages`], [`sqlite`], [`rows`], [`mutator`], [`migration`],
//! [`live`]).
//!
//! Modules are declared in layer order: none uses a later one.

pub mod disk;
pub mod disk_memory;
pub mod host;
mod entropy;
pub mod log;
pub mod head;
pub mod image;
pub mod ledger;
pub mod record;
pub mod aside;
pub mod history;
mod replay;
mod recovery;
mod checkpoint;
pub mod journal;
pub mod inspection;
mod overlay;
pub mod snapshot;
pub mod pages;
mod vfs;
mod statement;
mod authorizer;
pub mod budget;
pub mod sqlite;
pub mod rows;
pub mod mutator;
pub mod migration;
pub mod live;
mod export;
mod import;
mod timeline;
mod rebase;
mod sync;
mod download;
mod document;
mod replica;
mod entry;
pub mod commit_journal;
mod file_journal;
pub mod journal_memory;
mod tail;
mod primary;

#[cfg(test)]
mod testing;

pub use commit_journal::CommitJournal;
pub use entry::{Change, Entry};
pub use file_journal::FileJournal;
pub use image::Image;
pub use primary::{Answer, Ask, AskNo, Primary, PrimaryCounts, PrimaryLimits, Verdict};
pub use replica::Replica;
pub use snapshot::Snapshot;
