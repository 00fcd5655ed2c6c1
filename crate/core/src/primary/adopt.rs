//! A document that begins with the history that a device made while it had no server.

use offprint_protocol::message::{CatchUp, Hello, PROTOCOL_VERSION, ServerMessage, Welcome};
use offprint_protocol::{Code, Encode, Error, Lsn, Rollup, SessionNo};

use crate::entry::{Change, Entry};
use crate::host::PrimaryEffect;
use crate::image::Image;
use crate::ledger::ClientEntry;
use crate::primary::batch::Appending;
use crate::primary::delivery::Delivery;
use crate::primary::{Primary, Session};

/// The most pages that an offer may have: 1 GiB.
const PAGES: usize = 1 << 18;

/// What a client that was asked for its history has sent of it.
pub(super) struct Offer {
    pub(super) session: SessionNo,
    hello: Hello,
    parts: Vec<Rollup>,
    pages: usize,
}

impl Primary {
    /// Whether the document has no history yet and this client has one; it is asked for it. Fails with `diverged` if the
    /// document has another.
    pub(super) fn ask_for_offer(
        &mut self,
        session: SessionNo,
        hello: &Hello,
        effects: &mut Vec<PrimaryEffect>,
    ) -> Result<bool, Error> {
        let open = self.open.as_mut().expect("BUG: greeting before the journal has begun");
        let ours = open.tail.end();
        let Some(theirs) = hello.position.filter(|_| hello.local) else { return Ok(false) };
        // It may have begun as the same and gone on otherwise, by a copy of the device or without the server.
        let is_taken_over = |known: &ClientEntry| known.marks.contains(&hello.confirmed);
        if theirs.journal == ours.journal
            && (open.tail.contains(&theirs) || open.ledger.client(hello.client).is_some_and(is_taken_over))
        {
            return Ok(false);
        }
        if ours.lsn > Lsn(0) {
            let what = "the document on the server has another history than the one on the device";
            return Err(Error::new(Code::Diverged, what));
        }
        if self.offer.is_some() {
            return Err(Error::new(Code::Limit, "another device is offering its history; try again"));
        }
        self.offer = Some(Offer { session, hello: hello.clone(), parts: Vec::new(), pages: 0 });
        let welcome = Welcome {
            version: PROTOCOL_VERSION,
            journal: theirs.journal,
            marks: vec![hello.confirmed],
            catch_up: CatchUp::Offer,
        };
        effects.push(PrimaryEffect::Send { session, frame: ServerMessage::Welcome(welcome).to_bytes() });
        Ok(true)
    }

    /// Takes a part of an offer; the last one makes it the document's history.
    pub(super) fn take_offer(
        &mut self,
        session: SessionNo,
        part: Rollup,
        effects: &mut Vec<PrimaryEffect>,
    ) -> Result<(), Error> {
        let Some(offer) = self.offer.as_mut().filter(|offer| offer.session == session) else {
            return Err(Error::new(Code::BadState, "an offer that was not asked for"));
        };
        // Pages alone are counted: nothing else may come without end.
        if !part.outcomes.is_empty() || part.pages.is_empty() && !part.last {
            return Err(Error::new(Code::BadState, "a part of an offer has outcomes, or no pages"));
        }
        offer.pages += part.pages.len();
        if offer.pages.max(part.page_count as usize) > PAGES.min(self.limits.pages as usize) {
            return Err(Error::new(Code::Limit, "the offered document is too long"));
        }
        let is_last = part.last;
        if !is_last {
            // A sign of life: what is behind it, a ping included, may be under way for long.
            effects.push(PrimaryEffect::Send { session, frame: ServerMessage::Pong(0).to_bytes() });
        }
        offer.parts.push(part);
        if is_last && let Some(offer) = self.offer.take() {
            self.adopt(offer, effects)?;
        }
        Ok(())
    }

    /// A session that was asked for its history has ended.
    pub(super) fn end_offer(&mut self, session: SessionNo) {
        self.offer.take_if(|offer| offer.session == session);
    }

    fn adopt(
        &mut self,
        Offer { session, hello, parts, .. }: Offer,
        effects: &mut Vec<PrimaryEffect>,
    ) -> Result<(), Error> {
        let open = self.open.as_mut().expect("BUG: an offer before the journal has begun");
        if open.tail.end().lsn > Lsn(0) || open.appending.is_some() {
            let what = "the document got another history while the offer was under way";
            return Err(Error::new(Code::Diverged, what));
        }
        let position = hello.position.ok_or_else(|| Error::new(Code::BadState, "an offer of nothing"))?;
        let mut image = Image::none();
        image.apply_rollup(position.journal, &parts)?;
        if image.position() != Some(position) {
            return Err(Error::new(Code::HistoryMismatch, "the offer is not at the position that was named"));
        }
        let before = open.database.pages().update_image(|ours| std::mem::replace(ours, image.clone()));
        let checked = open.check_adopted(self.config.definition.migrations.len());
        open.database.pages().update_image(|ours| *ours = before);
        checked?;
        let key = hello.secret.key();
        open.register(hello.client, key, hello.confirmed);
        let (heard, _) = open.received(hello.client, hello.confirmed);
        let change = Change::Adopted(image.clone());
        let clients = open.ledger.clone();
        let entry = Entry { at: self.now, clients, outcomes: Vec::new(), change };
        let ticket = self.journal.append(Lsn(0), &entry)?;
        open.appending = Some(Appending { ticket, entry, image, batch: Vec::new() });
        // Whoever greeted before has the start of another history: they come back.
        self.close_where(|_| true, effects);
        // Once that is durable it is told so, with no commits: it is in step.
        let delivery = Delivery::new(Some(position), heard);
        let (client, begins) = (hello.client, hello.confirmed);
        self.sessions.insert(session, Session { client, key, begins, queued: begins.seq, delivery });
        Ok(())
    }
}
