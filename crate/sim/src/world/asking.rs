//! What back ends ask, and what they are told.

use offprint_core::{Answer, AskNo};
use offprint_protocol::Error;

use super::{World, shown};
use crate::back_end::{BackEnd, Order, Told};
use crate::book::Maker;
use crate::faults::Fault;
use crate::tab::News;
use crate::workload;

impl World {
    pub(super) fn add_back_ends(&mut self) {
        for document in (0..self.plan.documents).filter(|_| self.plan.back_ends) {
            self.back_ends.push(BackEnd::new(document, "numbered", true));
            self.back_ends.push(BackEnd::new(document, "unnumbered", false));
        }
    }

    /// The next number for a question.
    pub(super) fn next_ask(&mut self) -> AskNo {
        self.asks += 1;
        AskNo(self.asks)
    }

    /// A back end asks one of its document's servers: for a mutation, or again.
    pub(super) fn ask(&mut self) -> Result<(), String> {
        let at = self.random.below(self.back_ends.len());
        let no = self.next_ask();
        let Some(document) = self.back_ends.get(at).map(|back_end| back_end.document) else { return Ok(()) };
        let server = self.any_server(document);
        let back_end = &mut self.back_ends[at];
        let ask = if !back_end.is_free() {
            back_end.again(no, server, &mut self.random)
        } else if !self.hostile {
            None
        } else if self.random.one_in(4) {
            let ask = back_end.repeat(no, server, &mut self.random);
            ask.inspect(|_| self.faults.fired(Fault::AskedAgain))
        } else {
            let token = format!("t{}", self.tokens);
            self.tokens += 1;
            self.book.asked(&token, Maker::BackEnd(document), false);
            let request = workload::mutation(&mut self.random, &token);
            let at = shown(self.now, self.servers[server].clock);
            Some(back_end.order(no, server, Order::new(token, at, request)))
        };
        let Some(ask) = ask else { return Ok(()) };
        self.servers[server].primary.ask(no, ask);
        self.tell_server(server, vec![])
    }

    /// Takes an answer to the back end that asked; false if none waits for it.
    pub(super) fn answer(&mut self, no: AskNo, answer: &Result<Answer, Error>) -> Result<bool, String> {
        let Some(back_end) = self.back_ends.iter_mut().find(|back_end| back_end.has_asked(no)) else {
            return Ok(false);
        };
        match back_end.hear(no, answer, self.plan.shared)? {
            Told::Confirmed(token) => {
                self.faults.fired(Fault::BackEnd);
                self.book.heard(&token, &News::Confirmed)?;
            }
            Told::Rejected(token) => {
                self.faults.fired(Fault::BackEndRefused);
                self.book.heard(&token, &News::Rejected)?;
            }
            Told::Renamed => self.faults.fired(Fault::NameLost),
            Told::Nothing => {}
        }
        Ok(true)
    }

    /// A server has died, and what it was asked is not answered.
    pub(super) fn cut_back_ends(&mut self, server: usize) {
        for back_end in &mut self.back_ends {
            for _ in 0..back_end.cut(server) {
                self.faults.fired(Fault::AnswerLost);
            }
        }
    }

    /// A document's history is lost.
    pub(super) fn lose_history(&mut self, document: usize) {
        let theirs = self.back_ends.iter_mut().filter(|back_end| back_end.document == document);
        theirs.for_each(BackEnd::lose_history);
    }
}
