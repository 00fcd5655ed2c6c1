//! A document: files on a device, SQLite above them, mutations on top, a server to agree with. Without any I/O.
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
mod replay;
mod recovery;
mod checkpoint;
pub mod journal;
pub mod pages;
mod vfs;
mod statement;
mod authorizer;
pub mod sqlite;
pub mod rows;
pub mod mutator;
pub mod migration;
pub mod live;

#[cfg(test)]
mod testing;
