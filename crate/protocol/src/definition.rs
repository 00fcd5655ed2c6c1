//! What an app says once and both sides run: the schema's migrations and the mutators.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::codec::{Decode, Encode, Reader, Writer};
use crate::error::{Code, Error};
use crate::id::DefinitionHash;

/// A definition as data: what `defineDocument` makes and `offprint serve` reads (as JSON).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The definition's name, which server and client compare.
    pub name: String,
    /// SQL scripts, each run once and in order; `PRAGMA user_version` counts them.
    pub migrations: Vec<String>,
    /// The mutators by name.
    pub mutators: BTreeMap<String, MutatorSource>,
}

/// A mutator's code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(deny_unknown_fields)]
pub struct MutatorSource {
    /// One or more SQL statements with named parameters, run in order.
    pub sql: String,
}

impl Definition {
    /// Fails with `bad_definition` if a name or a script is empty.
    pub fn check(&self) -> Result<(), Error> {
        let bad = |what: String| Err(Error::new(Code::BadDefinition, what));
        if self.name.is_empty() || self.name.len() > 128 {
            return bad("a definition's name is 1 to 128 bytes".into());
        }
        if let Some(at) = self.migrations.iter().position(|script| script.trim().is_empty()) {
            return bad(format!("migration {} is empty", at + 1));
        }
        for (name, source) in &self.mutators {
            if name.is_empty() || source.sql.trim().is_empty() {
                return bad(format!("mutator {name:?} is empty"));
            }
        }
        Ok(())
    }

    /// The blake3 hash of the encoded definition.
    pub fn hash(&self) -> DefinitionHash {
        DefinitionHash(*blake3::hash(&self.to_bytes()).as_bytes())
    }
}

impl Encode for Definition {
    fn encode(&self, out: &mut Writer) {
        out.str(&self.name).list(&self.migrations).varint(self.mutators.len() as u64);
        for (name, source) in &self.mutators {
            out.str(name).str(&source.sql);
        }
    }
}

impl Decode for Definition {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        let (name, migrations) = (from.str()?.to_owned(), from.list()?);
        let mut mutators = BTreeMap::new();
        for _ in 0..from.varint()? {
            let name = from.str()?.to_owned();
            mutators.insert(name, MutatorSource { sql: from.str()?.to_owned() });
        }
        Ok(Self { name, migrations, mutators })
    }
}
