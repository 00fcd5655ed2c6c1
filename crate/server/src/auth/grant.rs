//! One line of a token's claim `offprint`: which documents, and what may be done with them.

use offprint_protocol::DocumentId;
use serde::Deserialize;

/// What may be done with a document; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// To read it and hear of its changes.
    Read,
    /// To change it.
    Write,
}

/// `{"doc": "team-42", "access": "write"}` or `{"prefix": "user-7-", "access": "read"}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Fields")]
pub(crate) struct Grant {
    which: Which,
    access: Access,
}

#[derive(Debug, Clone, PartialEq)]
enum Which {
    Doc(String),
    Prefix(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    doc: Option<String>,
    prefix: Option<String>,
    access: Access,
}

impl TryFrom<Fields> for Grant {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let which = match (fields.doc, fields.prefix) {
            (Some(doc), None) => Which::Doc(doc),
            (None, Some(prefix)) => Which::Prefix(prefix),
            _ => return Err("a grant has either \"doc\" or \"prefix\""),
        };
        Ok(Self { which, access: fields.access })
    }
}

impl Grant {
    /// What it allows with this document.
    pub(crate) fn access(&self, document: &DocumentId) -> Option<Access> {
        let fits = match &self.which {
            Which::Doc(doc) => document.as_str() == doc,
            Which::Prefix(prefix) => document.as_str().starts_with(prefix),
        };
        fits.then_some(self.access)
    }
}
