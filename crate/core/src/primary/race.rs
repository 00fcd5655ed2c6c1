//! A journal that others append to as well: what they were first with, and what is made again because of it.

use offprint_protocol::{ClientId, Error};

use super::session::usurped;
use super::{Greeting, Open, Primary, Session};
use crate::commit_journal::Start;
use crate::entry::{Change, Entry};
use crate::host::PrimaryEffect;
use crate::journal::Ticket;

impl Primary {
    /// Asks the journal for what others appended; until it has told, nothing else is done.
    pub(super) fn read(&mut self) -> Result<(), Error> {
        let open = self.open.as_ref().expect("BUG: a read before the journal has begun");
        self.reading = Some(self.journal.read(open.tail.end().lsn)?);
        Ok(())
    }

    /// Whether a client knows of something that another primary may have told it, and we have not heard of yet.
    pub(super) fn has_to_read_for(&self, Greeting { hello, is_read, .. }: &Greeting) -> bool {
        let Some(open) = self.open.as_ref().filter(|_| !is_read) else { return false };
        let ours = open.tail.end();
        let is_ahead =
            hello.position.is_some_and(|theirs| theirs.journal == ours.journal && theirs.lsn > ours.lsn);
        is_ahead || hello.confirmed.seq > open.ledger.through(hello.client).seq
    }

    /// Begins, or begins anew where what others appended cannot be followed one by one.
    pub(super) fn begin(&mut self, start: Start, effects: &mut Vec<PrimaryEffect>) -> Result<(), Error> {
        self.take_back(effects);
        let rest = self.end_rest(&start);
        if rest.is_none() {
            // What they have cannot be followed from either: they come back and send again what is undecided.
            let offer = self.offer.take().map(|offer| offer.session);
            self.close_where(|_| true, effects);
            effects.extend(offer.map(|session| PrimaryEffect::Close { session }));
        }
        self.ask_again(|_| true);
        self.snapshots.clear();
        self.asks.secret = Some(start.secret);
        let mut open = Open::new(start)?;
        if let Some(rest) = &rest {
            open.take_up(rest);
        }
        open.limit(self.limits, self.time.as_ref())?;
        self.open = Some(open);
        if let Some(rest) = rest {
            self.catch_up(rest, effects);
        }
        Ok(())
    }

    /// Another primary has appended this.
    pub(super) fn follow(&mut self, entry: &Entry, effects: &mut Vec<PrimaryEffect>) -> Result<(), Error> {
        let open = self.open.as_mut().expect("BUG: an entry before the journal has begun");
        let end = open.tail.end();
        if entry.lsn() <= end.lsn {
            return Ok(());
        }
        self.take_back(effects);
        if entry.lsn() != end.lsn.next() || matches!(entry.change, Change::Adopted(_)) {
            // Something before it was not told.
            return if self.reading.is_none() { self.read() } else { Ok(()) };
        }
        // Their mutations may have the numbers that ours were given here.
        self.ask_again(|client| entry.concerns(client));
        let open = self.open.as_mut().expect("BUG: an entry before the journal has begun");
        open.apply(entry)?;
        self.refuse_usurpers(effects);
        // Who says to be the same client may be a copy of it: only its next Hello tells whose mutations those were.
        if let Some(open) = &mut self.open {
            open.unqueue(|client| entry.concerns(client));
        }
        self.close_where(|session| entry.concerns(session.client), effects);
        Ok(())
    }

    /// Others were ahead of what was being appended.
    pub(super) fn lose(&mut self, ticket: Ticket, effects: &mut Vec<PrimaryEffect>) -> Result<(), Error> {
        let open = self.open.as_ref().expect("BUG: an append before the journal has begun");
        if open.appending.as_ref().is_none_or(|appending| appending.ticket != ticket) {
            return Ok(());
        }
        self.take_back(effects);
        if self.reading.is_none() { self.read() } else { Ok(()) }
    }

    /// What was being appended is as if it had never been run. Nobody was told.
    fn take_back(&mut self, effects: &mut Vec<PrimaryEffect>) {
        let Some(open) = &mut self.open else { return };
        let Some(lost) = open.appending.take() else { return };
        self.counts.lost_races += 1;
        open.database.pages().clear_overlay();
        for queued in lost.batch.into_iter().rev() {
            open.queue.push_front(queued);
        }
        if matches!(lost.entry.change, Change::Adopted(_)) {
            // The document has got another history: what that means to the client it hears when it comes back.
            self.close_where(|_| true, effects);
        }
    }

    /// Ends the sessions whose clients another primary knows with another secret.
    fn refuse_usurpers(&mut self, effects: &mut Vec<PrimaryEffect>) {
        let Some(open) = &mut self.open else { return };
        let is_other = |session: &Session| {
            open.ledger.client(session.client).is_some_and(|known| known.key != session.key)
        };
        let usurpers = self.sessions.iter().filter(|(_, session)| is_other(session));
        let usurpers: Vec<_> = usurpers.map(|(no, session)| (*no, session.client)).collect();
        open.unqueue(|client| usurpers.iter().any(|(_, usurper)| *usurper == client));
        for (session, _) in usurpers {
            self.refuse(session, usurped(), effects);
        }
    }
}

impl Open {
    /// Applies what others appended.
    fn apply(&mut self, entry: &Entry) -> Result<(), Error> {
        let journal = self.tail.end().journal;
        let image = self
            .database
            .pages()
            .update_image(|image| entry.apply(journal, image).map(|()| image.clone()))?;
        self.ledger.merge(entry.clients.clone());
        self.decide(entry, &image)?;
        self.is_moved = true;
        Ok(())
    }

    /// Drops what is queued for these clients.
    pub(super) fn unqueue(&mut self, which: impl Fn(ClientId) -> bool) {
        let Self { queue, waiting, .. } = self;
        queue.retain(|queued| {
            let stays = !which(queued.client);
            *waiting -= if stays { 0 } else { queued.size };
            stays
        });
    }
}
