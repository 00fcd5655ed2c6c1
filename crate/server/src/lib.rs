//! The server: documents' primaries on local files, over websockets. The only shipped crate that knows tokio, HTTP and
//! the file system.
//!
//! A tour: [`Server`] listens and hands each websocket to a `session`, which checks the hello (`handshake`) and its
//! token ([`Auth`]) and joins the document's `room` (found or opened by `rooms`). The room owns the core's `Primary` and carries out its
//! effects: batches on a [`FileDisk`], frames into each session's bounded `outbox`.

mod allowance;
mod app;
mod auth;
mod back_end;
mod byte_range;
mod check_definition;
mod config;
mod connections;
mod content_encoding;
mod cors;
mod data_lock;
mod definition_file;
mod file_disk;
mod handshake;
mod json;
mod kept_logs;
mod metrics;
mod origin;
mod outbox;
mod pace;
mod past;
mod room;
mod rooms;
mod server;
mod session;
mod snapshots;
mod start_error;
mod stored;

pub use auth::{Access, Auth, KeySource};
pub use config::{Config, Limits};
pub use data_lock::DataLock;
pub use definition_file::read_definition;
pub use file_disk::FileDisk;
pub use past::Moment;
pub use server::{Server, StopToken};
pub use start_error::StartError;
pub use stored::{Stored, documents, import};
