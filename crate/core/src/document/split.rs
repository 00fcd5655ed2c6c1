//! Two histories under one client id (a copied profile, flushed records that were lost): this one goes on as a new client.

use offprint_protocol::{ClientId, ClientSecret, Code, Error, Mark, Outcome};

use crate::document::Document;
use crate::head::Identity;
use crate::journal::{Journal, Ticket};
use crate::ledger::ClientEntry;

impl Document {
    /// The server has greeted and told up to where it decided what it knows as ours. If that is not ours, outcomes count
    /// up to the last mark that is, and [`Document::split`] is due.
    pub(crate) fn welcomed(&mut self, marks: &[Mark]) {
        let is_ours = |mark: &&Mark| self.timeline.mark_at(mark.seq) == Some(**mark);
        self.cut = match marks.last() {
            // A server that lost its history may be behind; it goes on from what the next Hello says.
            Some(last) if last.seq >= self.timeline.confirmed() && !is_ours(&last) => {
                let ours = marks.iter().rev().find(is_ours).copied();
                Some(ours.unwrap_or(self.timeline.confirmed_mark()))
            }
            _ => None,
        };
    }

    /// Whether what the server knows as ours is: if not, nothing is pushed before [`Document::split`].
    pub(crate) fn is_whole(&self) -> bool {
        self.cut.is_none()
    }

    /// The outcomes that are ours, as far as they are; fails with `bad_state` if one is of mutations that we did not make.
    pub(super) fn own(&self, outcomes: Vec<Outcome>) -> Result<Vec<Outcome>, Error> {
        let mut own = Vec::new();
        for mut outcome in outcomes {
            if outcome.client != self.identity.client {
                continue;
            }
            if let Some(cut) = self.cut {
                outcome.through = cut;
                outcome.rejections.retain(|rejection| rejection.seq <= cut.seq);
            } else if outcome.through.seq > self.timeline.confirmed()
                && self.timeline.mark_at(outcome.through.seq) != Some(outcome.through)
            {
                let what = "the server decided mutations that this client did not make";
                return Err(Error::new(Code::BadState, what));
            }
            own.push(outcome);
        }
        Ok(own)
    }

    /// Becomes a new client, if that is due; what is pending keeps its numbers. The server may be told once the ticket is
    /// durable.
    pub(crate) fn split(&mut self, journal: &mut Journal) -> Option<Ticket> {
        self.cut.take()?;
        let before = self.identity.client;
        let secret = ClientSecret(self.entropy.id());
        self.identity = Identity { client: ClientId(self.entropy.id()), secret, ..self.identity };
        let through = self.timeline.begin_again();
        self.ledger.rename(before, ClientEntry::new(self.identity.client, secret.key(), through));
        journal.rename(self.identity);
        let pending: Vec<_> = self.timeline.iter().cloned().collect();
        let ticket = journal.checkpoint(&self.confirmed, &self.ledger, &pending);
        self.decisions.clear();
        self.acknowledged = through;
        Some(ticket)
    }
}
