//! A document: files on a device, SQLite above them, mutations on top, a server to agree with. Without any I/O.
//!
//! Modules are declared in layer order: none uses a later one.

mod authorizer;
mod checkpoint;
pub mod disk;
pub mod disk_memory;
mod document;
mod entropy;
pub mod head;
pub mod host;
pub mod image;
pub mod journal;
pub mod ledger;
pub mod live;
pub mod log;
pub mod migration;
pub mod mutator;
mod news;
pub mod pages;
mod primary;
mod rebase;
pub mod record;
mod recovery;
mod replay;
mod replica;
pub mod rows;
pub mod sqlite;
mod statement;
mod sync;
mod tail;
mod timeline;
mod vfs;

pub use image::Image;
pub use primary::Primary;
pub use replica::Replica;

#[cfg(test)]
mod testing;
