//! From files that were read to a document that answers: requests wait, and the server is called.

use offprint_protocol::rpc::{Problem, Request};
use offprint_protocol::{Definition, RequestNo, TabId};

use super::{Replica, State};
use crate::document::{Document, Told};
use crate::head::Origin;
use crate::host::ReplicaEffect;
use crate::journal::{Journal, Recovered};

impl Replica {
    /// The files are read.
    pub(super) fn opened(
        &mut self,
        now: u64,
        recovered: Recovered,
        told: &mut Told,
        effects: &mut Vec<ReplicaEffect>,
    ) {
        let State::Opening { mutators } = &mut self.state else { return };
        let mutators = std::mem::take(mutators);
        let damage = recovered.damage.clone();
        let is_other = |made_with: &Definition| *made_with != self.config.definition;
        // What is pending on a server's history is the server's to decide, whoever it was opened without.
        let is_confirmed =
            recovered.image.position().is_none() || recovered.image.origin() != Origin::Primary;
        let made_with = recovered.definition.clone().filter(is_other);
        let made_with = made_with.filter(|_| is_confirmed && !recovered.pending.is_empty());
        let (config, slice) = (self.config.clone(), self.slice);
        let opened = match made_with {
            None => Document::open(config, mutators, recovered, slice),
            Some(made_with) => {
                Document::open_made_with(made_with, config, mutators, recovered, slice, &mut self.journal)
            }
        };
        match opened {
            Ok(mut document) => {
                document.set_confirm_after(self.confirm_after);
                // What needs no flush any more counts as durable before somebody asks for it again.
                document.flushed(&self.journal, told);
                self.state = State::Open(Box::new(document));
                self.damage = damage.map(Problem::from);
                self.is_call_due = self.config.server;
                self.answer_repeated(now, told, effects);
                // A file to import comes before the server.
                self.answer_waiting(now, told, effects);
            }
            Err(error) => self.fail(error, told),
        }
    }

    /// Connects for the first time, or after a file, unless a file is still coming or what is here could still be lost.
    pub(super) fn call_server(&mut self, told: &mut Told, effects: &mut Vec<ReplicaEffect>) {
        let State::Open(document) = &mut self.state else { return };
        if !self.is_call_due || document.is_importing() || self.journal.recorded() < Journal::OPENED {
            return;
        }
        self.is_call_due = false;
        match document.before_connecting(&mut self.journal) {
            Ok(confirmed) => {
                let ticket = confirmed.max(document.imported()).max(self.connect_after);
                self.connect_after = ticket.filter(|ticket| *ticket > self.journal.durable());
                if self.connect_after.is_none() {
                    self.sync.connect(effects);
                }
            }
            Err(error) => self.fail(error, told),
        }
    }

    /// Does what was asked before the document was ready.
    pub(super) fn answer_waiting(&mut self, now: u64, told: &mut Told, effects: &mut Vec<ReplicaEffect>) {
        if matches!(&self.state, State::Open(document) if document.is_ready()) {
            for (tab, no, request) in std::mem::take(&mut self.waiting) {
                self.request(now, tab, no, request, told, effects);
            }
        }
    }

    /// Answers what is asked again. It does not wait: until the document is ready more may be decided than the ledger
    /// remembers.
    fn answer_repeated(&mut self, now: u64, told: &mut Told, effects: &mut Vec<ReplicaEffect>) {
        let State::Open(document) = &self.state else { return };
        let is_known =
            |(tab, no, request): &mut (TabId, RequestNo, Request)| document.knows((*tab, *no), request);
        for (tab, no, request) in self.waiting.extract_if(.., is_known).collect::<Vec<_>>() {
            self.request(now, tab, no, request, told, effects);
        }
    }
}
