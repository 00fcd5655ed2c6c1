//! Names and numbers: every one that could be mixed up with another has its own type.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec::{Decode, Encode, Reader, Writer};
use crate::error::{Code, Error};

/// A document's name, chosen by the user: 1-128 of `A-Za-z0-9._~-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentId(String);

impl DocumentId {
    /// Checks the name, or fails with `bad_document_id`.
    pub fn new(text: &str) -> Result<Self, Error> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        if text.is_empty() || text.len() > 128 || !text.bytes().all(allowed) {
            let shown: String = text.chars().take(32).collect();
            return Err(Error::new(
                Code::BadDocumentId,
                format!("document id {shown:?} is not 1-128 of A-Z a-z 0-9 . _ ~ -"),
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Encode for DocumentId {
    fn encode(&self, out: &mut Writer) {
        out.str(&self.0);
    }
}

impl Decode for DocumentId {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Self::new(from.str()?)
    }
}

macro_rules! bytes_id {
    ($($(#[$doc:meta])* $name:ident, $width:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $width]);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}(", stringify!($name))?;
                for byte in &self.0[..4] {
                    write!(f, "{byte:02x}")?;
                }
                f.write_str("…)")
            }
        }

        impl Encode for $name {
            fn encode(&self, out: &mut Writer) {
                out.raw(&self.0);
            }
        }

        impl Decode for $name {
            fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
                Ok(Self(from.array()?))
            }
        }
    )*};
}

bytes_id! {
    /// One history of a document: random, made by the primary when it creates the document.
    JournalId, 16;
    /// One browser profile's name for itself in one document: random.
    ClientId, 16;
    /// What proves a [`ClientId`]: random, never told to anyone but the primary.
    ClientSecret, 16;
    /// What the primary remembers of a [`ClientSecret`]: the first 16 bytes of its blake3 hash.
    ClientKey, 16;
    /// One tab's name for itself: random.
    TabId, 16;
    /// The hash of a commit and, through its predecessor, of the whole history up to it.
    CommitHash, 32;
    /// The hash of a definition: its code's identity.
    DefinitionHash, 32;
}

impl ClientSecret {
    /// What the primary remembers of this secret.
    pub fn key(&self) -> ClientKey {
        let hash = blake3::hash(&self.0);
        let mut key = [0; 16];
        key.copy_from_slice(&hash.as_bytes()[..16]);
        ClientKey(key)
    }
}

impl TabId {
    /// The id as 32 hexadecimal digits, as tabs write it.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads 32 hexadecimal digits, or fails with `bad_argument`.
    pub fn from_hex(text: &str) -> Result<Self, Error> {
        let bad = || Error::new(Code::BadArgument, "a tab id is 32 hexadecimal digits");
        if text.len() != 32 || !text.is_ascii() {
            return Err(bad());
        }
        let mut id = [0; 16];
        for (index, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(id))
    }
}

impl Serialize for TabId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for TabId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::from_hex(&text).map_err(serde::de::Error::custom)
    }
}

macro_rules! number {
    ($($(#[$doc:meta])* $name:ident, $inner:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "ts", derive(ts_rs::TS))]
        #[serde(transparent)]
        pub struct $name(#[cfg_attr(feature = "ts", ts(type = "number"))] pub $inner);

        impl $name {
            /// The number that follows.
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl Encode for $name {
            fn encode(&self, out: &mut Writer) {
                out.varint(u64::from(self.0));
            }
        }

        impl Decode for $name {
            fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
                let value = from.varint()?;
                // The last values are refused so that `next` cannot overflow.
                if value >= u64::from(<$inner>::MAX) {
                    return Err(crate::codec::bad("a number is out of range"));
                }
                Ok(Self(value as $inner))
            }
        }
    )*};
}

number! {
    /// A commit's position in one document's journal: gap-free from 1; 0 is the empty document.
    Lsn, u64;
    /// A SQLite page's 1-based number.
    PageNo, u32;
    /// A client's own counter of mutations: gap-free from 1; 0 is none yet.
    MutationSeq, u64;
    /// How often a document's files were opened on this device.
    Epoch, u32;
    /// A tab's own counter of requests, from 1.
    RequestNo, u64;
    /// The server's number for one websocket.
    SessionNo, u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_ids_are_checked() {
        for good in ["a", "team-42", "A.b_c~d", ".", &"x".repeat(128)] {
            assert!(DocumentId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a/b", "a b", "ü", "a\0", &"x".repeat(129)] {
            assert_eq!(DocumentId::new(bad).unwrap_err().code, Code::BadDocumentId, "{bad}");
        }
    }

    #[test]
    fn tab_ids_round_trip_as_hex() {
        let id = TabId([0xab; 16]);
        assert_eq!(TabId::from_hex(&id.to_hex()).unwrap(), id);
        assert!(TabId::from_hex("ü").is_err());
        assert!(TabId::from_hex(&"ü".repeat(16)).is_err());
    }
}
