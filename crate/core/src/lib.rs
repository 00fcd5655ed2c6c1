//! A document: files on a device, SQLite above them, mutations on top, a server to agree with. Without any I/O.
//!
//! Modules are declared in layer order: none uses a later one.

pub mod disk;
pub mod host;
