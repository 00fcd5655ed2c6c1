//! A primary's journal in files of its own: nobody else appends to it.

use std::collections::VecDeque;

use offprint_protocol::{DocumentId, Error, Lsn};

use crate::commit_journal::{CommitJournal, JournalEvent, Start};
use crate::disk::{DiskAnswer, DiskBatch};
use crate::entry::{Change, Entry};
use crate::head::Role;
use crate::host::History;
use crate::image::Image;
use crate::journal::{Journal, JournalConfig, Ticket};
use crate::ledger::Ledger;
use crate::record::Record;

/// The files of one document as a [`CommitJournal`].
#[derive(Debug)]
pub struct FileJournal {
    files: Journal,
    end: Lsn,
    last: Ticket,
    /// Appends that are not durable yet, each with the files' own ticket.
    under_way: VecDeque<(Ticket, Ticket)>,
    events: VecDeque<JournalEvent>,
    /// What the files said, until it would survive a power cut: others are told of it.
    start: Option<Box<Start>>,
}

impl FileJournal {
    /// Begins to open a document's files; `entropy` is fresh and never used twice.
    pub fn open(document: DocumentId, history: Option<History>, entropy: [u8; 32]) -> Self {
        Self {
            files: Journal::open(JournalConfig { document, role: Role::Primary, history, entropy }),
            end: Lsn(0),
            last: Ticket(0),
            under_way: VecDeque::new(),
            events: VecDeque::new(),
            start: None,
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.last.0 += 1;
        self.last
    }
}

impl CommitJournal for FileJournal {
    fn append(&mut self, expected: Lsn, entry: &Entry) -> Result<Ticket, Error> {
        let ticket = self.ticket();
        if expected != self.end {
            self.events.push_back(JournalEvent::Lost(ticket));
            return Ok(ticket);
        }
        let mut last = Ticket(0);
        match &entry.change {
            Change::Adopted(image) => {
                self.files.append(&Record::Time(entry.at))?;
                last = self.files.reset(image, &entry.clients, &[]);
            }
            Change::Commit(_) | Change::Rollup(_) => {
                for record in entry.records() {
                    last = self.files.append(&record)?;
                }
            }
        }
        self.end = entry.lsn();
        self.under_way.push_back((ticket, last));
        Ok(ticket)
    }

    /// There are no others.
    fn read(&mut self, _from: Lsn) -> Result<Ticket, Error> {
        let ticket = self.ticket();
        self.events.push_back(JournalEvent::Read(ticket));
        Ok(ticket)
    }

    fn poll(&mut self) -> Option<JournalEvent> {
        if self.files.recorded() >= Journal::OPENED
            && let Some(start) = self.start.take()
        {
            return Some(JournalEvent::Start(start));
        }
        let durable = self.files.durable();
        if let Some((ticket, _)) = self.under_way.pop_front_if(|(_, last)| *last <= durable) {
            return Some(JournalEvent::Appended(ticket));
        }
        self.events.pop_front()
    }

    fn is_settled(&self) -> bool {
        self.files.is_settled() && self.start.is_none() && self.under_way.is_empty() && self.events.is_empty()
    }

    fn wants_checkpoint(&self) -> bool {
        self.files.wants_checkpoint()
    }

    fn checkpoint(&mut self, image: &Image, ledger: &Ledger) {
        self.files.checkpoint(image, ledger, &[]);
    }

    fn tick(&mut self, now: u64) {
        self.files.tick(now);
    }

    fn due(&self) -> Option<u64> {
        self.files.due()
    }

    /// What is due is done before: files that are opened anew are not being written.
    fn rest(&mut self) -> bool {
        self.is_settled() && self.due().is_none()
    }

    fn wake(&mut self) {
        self.files.reopen();
    }

    fn next_batch(&mut self) -> Option<DiskBatch> {
        self.files.next_batch()
    }

    fn answer(&mut self, answer: DiskAnswer) -> Result<(), Error> {
        if let Some(recovered) = self.files.answer(answer)? {
            self.end = recovered.image.lsn();
            self.start = Some(Box::new(Start {
                image: recovered.image,
                ledger: recovered.ledger,
                tail: recovered.tail,
                secret: recovered.identity.secret,
            }));
        }
        Ok(())
    }
}
