//! Why a server does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use offprint_protocol::Error;

use crate::config::LEAST_MESSAGE;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The definition is source code.
    #[error(
        "{} is source code, and the server reads JSON: make it with `npx offprint-definition {} > {}`",
        path.display(), path.display(), path.with_extension("json").display()
    )]
    DefinitionIsSource {
        /// The file.
        path: PathBuf,
    },
    /// The definition cannot be read.
    #[error("cannot read the definition {}: {source}", path.display())]
    ReadDefinition {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The definition is not the JSON of one.
    #[error("{} is not a definition as `npx offprint-definition` writes it: {source}", path.display())]
    ParseDefinition {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The definition has an unusable part.
    #[error("the definition cannot be served: {0}")]
    BadDefinition(Error),
    /// An origin is not one.
    #[error("{0:?} is not an origin: it has the form https://example.com or http://example.com:8080")]
    BadOrigin(String),
    /// A key for tokens is missing or unusable.
    #[error("cannot check tokens with {}: {why}", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Clients could not say what they have to.
    #[error(
        "--max-message {0} is too little: a client with a large mutation could never go on, so it is {LEAST_MESSAGE} at least"
    )]
    MessageTooShort(usize),
    /// The address would let other machines in, and nobody is asked for a token.
    #[error(
        "refusing to listen on {0}: without --auth anybody may read and change every document, so only this \
         machine may connect (127.0.0.1 or [::1])"
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Another server, or a command, has the directory for documents.
    #[error("{0}")]
    DataInUse(Error),
    /// The directory for documents cannot be had.
    #[error("cannot use {} for documents: {source}", path.display())]
    Data {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
