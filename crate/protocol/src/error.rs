//! The one error that crosses boundaries: a code that programs match and a message that people read.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What went wrong, as a stable word.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "ts", derive(ts_rs::TS))]
        pub enum Code { $($(#[$doc])* #[serde(rename = $text)] $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The code as it is written on the wire and in JavaScript.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// The code for a word, if there is one.
            pub fn parse(text: &str) -> Option<Code> {
                match text { $($text => Some(Code::$name),)* _ => None }
            }
        }
    };
}

codes! {
    /// A document id is not 1-128 of `A-Za-z0-9._~-`.
    BadDocumentId = "bad_document_id",
    /// A definition has a duplicate, empty or unusable part.
    BadDefinition = "bad_definition",
    /// The document is open, or served, with another definition of this name.
    DefinitionMismatch = "definition_mismatch",
    /// No mutator of this name is defined.
    UnknownMutator = "unknown_mutator",
    /// An argument is missing, not expected, or of a type SQLite cannot hold.
    BadArgument = "bad_argument",
    /// A value, or all arguments together, exceed 1 MB.
    TooLarge = "too_large",
    /// SQLite refused the statement.
    Sql = "sql",
    /// A constraint of the schema failed.
    Constraint = "constraint",
    /// What is not allowed here: in a statement (ATTACH, PRAGMA, transaction control, writing in a query), or by the
    /// token (a document that it does not name, or a change where it allows to read).
    Forbidden = "forbidden",
    /// A mutator asked for time or randomness, which differ between replays.
    Nondeterministic = "nondeterministic",
    /// Bytes from the network or from a file do not decode.
    BadFrame = "bad_frame",
    /// The message is not allowed at this point of the conversation.
    BadState = "bad_state",
    /// The other side speaks no protocol version that we do.
    UnsupportedVersion = "unsupported_version",
    /// The client id is known with another secret, or the token is not accepted or has expired.
    Unauthorized = "unauthorized",
    /// A mutation's number does not follow the last one.
    SequenceGap = "sequence_gap",
    /// What the primary told does not fit what this replica has.
    HistoryMismatch = "history_mismatch",
    /// The server's document and the device's have different histories.
    Diverged = "diverged",
    /// A rejection is not there any more: the app has dismissed it, or retried its mutation.
    Dismissed = "dismissed",
    /// The document is on the device already, so no file can become it.
    Exists = "exists",
    /// A file is not a SQLite database that can be a document.
    BadFile = "bad_file",
    /// Bytes on the device fail their check.
    Corrupt = "corrupt",
    /// Files on the device are of a newer format than this build knows.
    Superseded = "superseded",
    /// The device has no room left.
    Quota = "quota",
    /// A disk call failed.
    Disk = "disk",
    /// The document's files were taken away while it was open: the site's data was cleared, say.
    StorageCleared = "storage_cleared",
    /// The device has something of the document that no server has, or that may be so.
    Pending = "pending",
    /// The device offers no storage that lasts.
    StorageUnavailable = "storage_unavailable",
    /// Somebody else holds the document's files; still trying.
    Blocked = "blocked",
    /// The document, tab or hub was closed.
    Closed = "closed",
    /// What was asked for is not kept any more.
    Gone = "gone",
    /// The server cannot be reached.
    Unreachable = "unreachable",
    /// A limit of the server was reached.
    Limit = "limit",
    /// A bug of Offprint.
    Internal = "internal",
}

/// A code and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct Error {
    /// What programs match.
    pub code: Code,
    /// What people read.
    pub message: String,
}

impl Error {
    /// An error of this code and message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
