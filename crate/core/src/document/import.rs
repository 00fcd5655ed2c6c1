//! A new document from a file: it becomes the first commit of a history that the device makes by itself.

use offprint_protocol::rpc::{Reply, TabEvent};
use offprint_protocol::{Code, Error, JournalId, MutationSeq, RequestNo, TabId, Touched};

use crate::document::{Document, Told};
use crate::import::Import;
use crate::journal::{Journal, Ticket};

/// A file that became the document, until that is flushed and told.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(super) ticket: Ticket,
    tab: TabId,
    no: RequestNo,
}

impl Document {
    /// Whether a file is coming: everything else waits for it.
    pub(crate) fn is_importing(&self) -> bool {
        self.import.is_some()
    }

    /// Whether there is nothing here that a file would replace.
    pub(crate) fn is_blank(&self) -> bool {
        self.position().is_none()
            && self.timeline.len() == 0
            && self.timeline.confirmed() == MutationSeq(0)
            && self.rejections().is_empty()
    }

    /// What has to be durable before an import counts.
    pub(crate) fn imported(&self) -> Option<Ticket> {
        self.imported.as_ref().map(|imported| imported.ticket)
    }

    /// Takes a part of a file; what cannot be taken ends the import without a trace.
    pub(super) fn import(
        &mut self,
        (tab, no): (TabId, RequestNo),
        (offset, bytes, last): (u64, &[u8], bool),
        journal: &mut Journal,
        told: &mut Told,
    ) {
        let result = if self.ledger.answered(tab, no).is_some() {
            if self.imported.is_none() && journal.durable() < Journal::OPENED {
                self.imported = Some(Imported { ticket: Journal::OPENED, tab, no });
            }
            Ok(self.imported.is_none())
        } else {
            self.take_part((tab, no), (offset, bytes, last), journal).map(|()| !last)
        };
        match result {
            Ok(true) => told.push((tab, TabEvent::Reply { no, reply: Reply::Done })),
            // Told once it is flushed.
            Ok(false) => {}
            Err(error) => {
                self.import = self.import.take().filter(|import| import.tab() != tab);
                told.push((tab, TabEvent::Failed { no, problem: error.into() }));
            }
        }
    }

    fn take_part(
        &mut self,
        (tab, no): (TabId, RequestNo),
        (offset, bytes, last): (u64, &[u8], bool),
        journal: &mut Journal,
    ) -> Result<(), Error> {
        if !self.is_blank() || self.import.as_ref().is_some_and(|import| import.tab() != tab) {
            return Err(Error::new(Code::Exists, "the document is on this device already"));
        }
        let import = self.import.get_or_insert_with(|| Import::new(tab));
        import.add(offset, bytes)?;
        if !last {
            return Ok(());
        }
        let Some(import) = self.import.take() else { return Ok(()) };
        self.confirmed = import.finish(JournalId(self.entropy.id()), &self.config.definition)?;
        self.unseen = Some(Touched::All);
        // Known as answered, should the answer get lost.
        self.ledger.answer(tab, no, MutationSeq(0));
        let ticket = journal.reset(&self.confirmed, &self.ledger, &[]);
        self.imported = Some(Imported { ticket, tab, no });
        Ok(())
    }

    pub(super) fn tell_imported(&mut self, journal: &Journal, told: &mut Told) {
        let flushed = journal.durable();
        if let Some(Imported { tab, no, .. }) = self.imported.take_if(|imported| imported.ticket <= flushed) {
            told.push((tab, TabEvent::Reply { no, reply: Reply::Done }));
        }
    }
}
