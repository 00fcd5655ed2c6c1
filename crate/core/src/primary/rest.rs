//! A primary at rest: its sessions are in step and say nothing, so the document need not be in memory.

use offprint_protocol::message::ClientMessage;
use offprint_protocol::{Code, Error, Position, SessionNo};

use super::{Open, Primary, WAITING, size_of_mutation};
use crate::commit_journal::Start;
use crate::host::PrimaryEffect;
use crate::ledger::Ledger;

/// What is kept meanwhile, besides the sessions.
pub(super) struct Rest {
    /// The journal's end.
    position: Position,
    /// Clients that the journal has not heard of.
    unrecorded: Ledger,
    /// What was said since somebody needed the document, and its bytes.
    later: Vec<(SessionNo, ClientMessage)>,
    waiting: usize,
    is_waking: bool,
}

impl Primary {
    /// Lets go of the document if nobody has needed it for `idle` milliseconds, every session is in step, and the
    /// journal can give it again. Sessions notice nothing; what needs the document brings it back. Gives whether the
    /// primary is at rest.
    pub fn rest(&mut self, now: u64, idle: u64) -> bool {
        if self.rest.is_some() {
            return true;
        }
        // A clock that was set back has to catch up first.
        if now < self.used.saturating_add(idle) || !self.is_in_step() || !self.journal.rest() {
            return false;
        }
        let Some(open) = self.open.take() else { return false };
        let mut unrecorded = Ledger::new();
        for client in &open.unrecorded {
            unrecorded.insert(open.ledger.client(*client).expect("BUG: it is registered").clone());
        }
        let position = open.tail.end();
        self.snapshots.clear();
        self.counts.rests += 1;
        self.rest = Some(Rest { position, unrecorded, later: Vec::new(), waiting: 0, is_waking: false });
        true
    }

    fn is_in_step(&self) -> bool {
        let is_waited_for = !self.greeting.is_empty() || self.offer.is_some() || !self.asks.is_empty();
        let Some(open) = self.open.as_ref().filter(|_| !is_waited_for && self.is_settled()) else {
            return false;
        };
        let end = open.tail.end();
        self.sessions.values().all(|session| session.delivery.is_in_step(end))
    }

    /// Brings the document back if something waits for it.
    pub(super) fn wake(&mut self) {
        let Some(rest) = &mut self.rest else { return };
        let is_needed = !self.greeting.is_empty() || !rest.later.is_empty() || !self.asks.is_empty();
        if is_needed && !std::mem::replace(&mut rest.is_waking, true) {
            self.journal.wake();
        }
    }

    /// What a session says while the document is not here.
    pub(super) fn say_later(
        &mut self,
        session: SessionNo,
        message: ClientMessage,
        frame: usize,
    ) -> Result<(), Error> {
        let size = match &message {
            ClientMessage::Push(mutations) => mutations.iter().map(size_of_mutation).sum(),
            _ => frame,
        };
        let rest = self.rest.as_mut().expect("BUG: what an open document needs is put off");
        if rest.waiting + size > WAITING {
            return Err(Error::new(Code::Limit, "too many mutations are waiting to be decided"));
        }
        rest.waiting += size;
        rest.later.push((session, message));
        Ok(())
    }

    /// What was kept, if the document that has come back is the one that was let go.
    pub(super) fn end_rest(&mut self, start: &Start) -> Option<Rest> {
        self.rest.take().filter(|rest| start.image.position() == Some(rest.position))
    }

    /// Hears what was said meanwhile.
    pub(super) fn catch_up(&mut self, rest: Rest, effects: &mut Vec<PrimaryEffect>) {
        for (session, message) in rest.later {
            if let Err(error) = self.message(session, message, effects) {
                self.refuse(session, error, effects);
            }
        }
    }
}

impl Rest {
    /// The journal's end.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Whether the document is still wanted by nobody.
    pub(super) fn is_quiet(&self) -> bool {
        !self.is_waking
    }
}

impl Open {
    /// Knows again what the journal cannot tell.
    pub(super) fn take_up(&mut self, rest: &Rest) {
        self.unrecorded.extend(rest.unrecorded.clients().map(|entry| entry.client));
        self.ledger.merge(rest.unrecorded.clone());
    }
}
