//! Reading a replica's files to learn what would be lost with them.

use offprint_protocol::{Code, DocumentId, Error};

use crate::disk::{DiskAnswer, DiskBatch};
use crate::head::Origin;
use crate::journal::{Journal, JournalConfig, Recovered, Role};

/// What a device has of a document that no server is known to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsent {
    /// So many mutations; 0 if nothing would be lost.
    Mutations(u64),
    /// The whole document: its history was made on this device.
    History,
    /// What that was cannot be told: the files are damaged, or were and what could not be read is kept aside.
    Unknown(Error),
}

/// Reads a replica's files, and writes nothing.
#[derive(Debug)]
pub struct Inspection {
    journal: Journal,
}

impl Inspection {
    /// Begins to read.
    pub fn new(document: DocumentId) -> Self {
        // Nothing that is made of it is ever written.
        let entropy = [0; 32];
        Self {
            journal: Journal::open(JournalConfig { document, role: Role::Replica, history: None, entropy }),
        }
    }

    /// What the disk shall read next; to be asked again after each answer that told nothing.
    pub fn next_batch(&mut self) -> Option<DiskBatch> {
        self.journal.next_batch()
    }

    /// Takes the disk's answer; tells what was found once everything is read. An error is the disk's own, or says why the
    /// files cannot be opened.
    pub fn answer(&mut self, answer: DiskAnswer) -> Result<Option<Unsent>, Error> {
        Ok(self.journal.answer(answer)?.map(Unsent::of))
    }
}

impl Unsent {
    fn of(recovered: Recovered) -> Self {
        if let Some(damage) = recovered.damage {
            return Unsent::Unknown(damage);
        }
        if recovered.has_aside {
            let what = "the files were damaged; what could not be read of them is kept aside";
            return Unsent::Unknown(Error::new(Code::Corrupt, what));
        }
        // Without a history the files do not tell whether a server was ever named: then mutations are what there is.
        match recovered.image.position() {
            Some(_) if recovered.image.origin() != Origin::Primary => Unsent::History,
            _ => Unsent::Mutations(recovered.pending.len() as u64),
        }
    }
}
