//! What is measured, and who its clients are.

use std::fs;
use std::path::{Path, PathBuf};

use offprint_protocol::message::{Hello, PROTOCOL_VERSION};
use offprint_protocol::{ClientId, ClientSecret, Definition, DocumentId, Mark};

use crate::Result;

/// The server's program and what it serves.
#[derive(Debug)]
pub struct Setup {
    pub(crate) server: PathBuf,
    pub(crate) definition_file: PathBuf,
    definition: Definition,
}

impl Setup {
    /// Reads the definition.
    pub fn read(server: &Path, definition_file: &Path) -> Result<Self> {
        let definition = serde_json::from_str(&fs::read_to_string(definition_file)?)?;
        Ok(Self { server: server.to_owned(), definition_file: definition_file.to_owned(), definition })
    }

    /// What the client of this number says first, when it has nothing.
    pub(crate) fn hello(&self, document: &str, client: u64) -> Result<Hello> {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&client.to_le_bytes());
        Ok(Hello {
            min_version: PROTOCOL_VERSION,
            max_version: PROTOCOL_VERSION,
            document: DocumentId::new(document)?,
            client: ClientId(id),
            secret: ClientSecret(id),
            definition: self.definition.name.clone(),
            hash: self.definition.hash(),
            token: String::new(),
            position: None,
            local: false,
            fetches: false,
            confirmed: Mark::default(),
        })
    }
}
