//! A document without a server is its own primary: its checkpoints confirm its own mutations.

use offprint_protocol::{Error, JournalId, Outcome, Rejection, Touched};

use crate::document::{Document, Told};
use crate::head::Origin;
use crate::image::Image;
use crate::journal::{Journal, Ticket};
use crate::record::PendingMutation;

impl Document {
    /// Whether nobody else decides: no server is named, and the history, if there is one, was made here.
    pub(crate) fn is_own_primary(&self) -> bool {
        !self.config.server && (self.position().is_none() || self.is_local())
    }

    /// Whether the device made the history by itself and no server is known to have taken it over.
    pub(crate) fn is_local(&self) -> bool {
        self.confirmed.origin() != Origin::Primary
    }

    /// What a device has confirmed by itself becomes one commit before a server is told of it; what comes from then on is
    /// pending. The server may be told once the ticket is durable.
    pub(crate) fn before_connecting(&mut self, journal: &mut Journal) -> Result<Option<Ticket>, Error> {
        if !self.config.server || self.confirmed.origin() != Origin::Device {
            return Ok(None);
        }
        self.confirm_locally(journal)?;
        self.confirmed.set_origin(Origin::Offered);
        Ok(Some(journal.checkpoint(&self.confirmed, &self.ledger, &[])))
    }

    /// A server has taken the history over; nothing else changes.
    pub(crate) fn adopted(&mut self, journal: &mut Journal) {
        self.confirmed.set_origin(Origin::Primary);
        let pending: Vec<_> = self.timeline.iter().cloned().collect();
        journal.checkpoint(&self.confirmed, &self.ledger, &pending);
    }

    /// Confirms its mutations if the log has grown long, or if there are many; not while they are being replayed.
    pub(super) fn confirm_if_due(&mut self, journal: &mut Journal) -> Result<(), Error> {
        let many = self.timeline.len() >= self.confirm_after && !journal.is_checkpointing();
        if self.rebase.is_none() && (many || journal.wants_checkpoint()) {
            self.confirm_locally(journal)?;
        }
        Ok(())
    }

    /// Makes a commit of what is in the overlay, in a history of the document's own, and a checkpoint with it:
    /// once the ticket is durable, nothing is pending. A mutation that could not be replayed is rejected.
    pub(crate) fn confirm_locally(&mut self, journal: &mut Journal) -> Result<Ticket, Error> {
        self.settle_wholly()?;
        if self.timeline.len() == 0 && self.overlay == Touched::none() {
            return Ok(Journal::OPENED);
        }
        let id = JournalId(self.entropy.id());
        let before = self.confirmed.lsn();
        let touched = std::mem::replace(&mut self.overlay, Touched::none());
        {
            let mut pages = self.database.pages();
            pages.confirm_overlay(|image, changed, page_count| {
                if image.position().is_none() {
                    *image = Image::local(id);
                }
                image.set_origin(Origin::Device);
                let commit = image.commit_of(changed, page_count, touched);
                image.apply_commit(&commit)
            })?;
            self.confirmed = pages.image().clone();
        }
        let through = self.timeline.end();
        // With a server named, what is flushed was called durable only.
        let is_told = self.is_own_primary();
        let owed = |ticket, one: &PendingMutation| (ticket, one.tab, one.request, one.mutation.seq);
        let unflushed = self.timeline.in_flight().map(|(ticket, one)| owed(ticket, one));
        let unflushed: Vec<_> =
            unflushed.filter(|(ticket, ..)| is_told && *ticket > Journal::OPENED).collect();
        self.owed.extend(unflushed);
        let failed = std::mem::take(&mut self.failed);
        let rejections = self.timeline.iter().filter_map(|pending| {
            let index = failed.binary_search_by_key(&pending.mutation.seq, |(seq, _)| *seq).ok()?;
            let (_, error) = &failed[index];
            Some(Rejection {
                seq: pending.mutation.seq,
                name: pending.mutation.name.clone(),
                code: error.code.as_str().to_owned(),
                message: error.message.clone(),
                lsn: before,
            })
        });
        let rejections = rejections.collect();
        let outcome = Outcome { client: self.identity.client, through, rejections };
        let retried = self.retried(&outcome);
        let decided = self.timeline.decided(through);
        self.ledger.decide(&outcome)?;
        for pending in &decided {
            self.answer_decided(pending.tab, pending.request, pending.mutation.clone());
        }
        for seq in retried {
            self.ledger.dismiss(self.identity.client, seq);
        }
        let ticket = journal.checkpoint(&self.confirmed, &self.ledger, &[]);
        self.owed.extend(decided.iter().filter(|_| !is_told).map(|one| owed(ticket, one)));
        self.decisions.push_back((ticket, through));
        Ok(ticket)
    }

    /// Tells what was confirmed or asked for again before it was flushed, now that it is.
    pub(super) fn tell_owed(&mut self, journal: &Journal, told: &mut Told) {
        // Without a server a mutation counts once it is recorded; what a server is to take over, with its commit.
        let flushed = if self.config.server { journal.durable() } else { journal.recorded() };
        let is_flushed =
            |ticket| ticket <= flushed || ticket == Journal::OPENED && journal.recorded() >= ticket;
        while let Some((_, tab, no, seq)) = self.owed.pop_front_if(|(ticket, ..)| is_flushed(*ticket)) {
            self.tell_durable((tab, no), seq, told);
        }
    }
}
