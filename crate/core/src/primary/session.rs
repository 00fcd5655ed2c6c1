//! What clients say to a primary: who they are and what they have, and what they want run.

use offprint_protocol::message::{CatchUp, ClientMessage, Hello, PROTOCOL_VERSION, ServerMessage, Welcome};
use offprint_protocol::{
    ClientId, ClientKey, Code, Decode, Encode, Error, Mark, MutationSeq, Outcome, Position, SessionNo,
};

use super::delivery::Delivery;
use super::{Open, Primary, Queued, Session, WAITING};
use crate::host::PrimaryEffect;

/// The most refusals of a client's that are kept, but for those of one batch, before it says which it has heard of.
const UNCONFIRMED: usize = 1024;

impl Primary {
    pub(super) fn greet(
        &mut self,
        session: SessionNo,
        hello: Hello,
        effects: &mut Vec<PrimaryEffect>,
    ) -> Result<(), Error> {
        self.used = self.now;
        let open = self.open.as_mut().expect("BUG: greeting before the journal has begun");
        if hello.definition != self.config.definition.name || hello.hash != self.config.definition.hash() {
            return Err(Error::new(
                Code::DefinitionMismatch,
                format!(
                    "the server serves another version of the definition {:?}",
                    self.config.definition.name
                ),
            ));
        }
        let key = hello.secret.key();
        let is_with = |session: &Session| session.client == hello.client && session.key != key;
        if open.ledger.client(hello.client).is_some_and(|known| known.key != key)
            || self.sessions.values().any(is_with)
        {
            return Err(usurped());
        }
        // A client has one hub: an older session of it is one whose death was not noticed yet.
        self.close_where(|other| other.client == hello.client, effects);
        if self.ask_for_offer(session, &hello, effects)? {
            return Ok(());
        }
        let open = self.open.as_mut().expect("BUG: greeting before the journal has begun");
        let (heard, through) = open.received(hello.client, hello.confirmed);
        let known = open.ledger.client(hello.client);
        let marks = known.map_or_else(|| vec![hello.confirmed], |known| known.marks.clone());
        // It sends again what is undecided. Until its marks are compared it may be a copy of who sent that before.
        open.unqueue(|client| client == hello.client);
        let pages = open.database.pages();
        let known = |has: &Position| open.tail.contains(has) && pages.image().remembers(has.lsn);
        let has = hello.position.filter(|has| open.tail.reaches(has) || known(has));
        let journal = open.tail.end().journal;
        let mut delivery = Delivery::new(has, heard);
        let catch_up = match has {
            Some(has) if open.tail.reaches(&has) => CatchUp::Tail,
            Some(_) => CatchUp::Rollup,
            None => {
                drop(pages);
                match hello.fetches.then(|| self.offer_snapshot()).flatten() {
                    Some(offer) => {
                        delivery.wait_for(Position { journal, lsn: offer.lsn, hash: offer.hash });
                        CatchUp::Snapshot(offer)
                    }
                    None => CatchUp::Reset,
                }
            }
        };
        let welcome = Welcome { version: PROTOCOL_VERSION, journal, marks, catch_up };
        effects.push(PrimaryEffect::Send { session, frame: ServerMessage::Welcome(welcome).to_bytes() });
        let (client, begins) = (hello.client, hello.confirmed);
        self.sessions.insert(session, Session { client, key, begins, queued: through, delivery });
        Ok(())
    }

    pub(super) fn frame(
        &mut self,
        no: SessionNo,
        frame: &[u8],
        effects: &mut Vec<PrimaryEffect>,
    ) -> Result<(), Error> {
        let message = ClientMessage::from_bytes(frame)?;
        match (&message, &self.rest) {
            (ClientMessage::Ping(_), _) | (_, None) => self.message(no, message, effects),
            (_, Some(_)) => self.say_later(no, message, frame.len()),
        }
    }

    pub(super) fn message(
        &mut self,
        no: SessionNo,
        message: ClientMessage,
        effects: &mut Vec<PrimaryEffect>,
    ) -> Result<(), Error> {
        if let ClientMessage::Offer(part) = message {
            return self.take_offer(no, part, effects);
        }
        let Some(session) = self.sessions.get_mut(&no) else {
            // A session that was refused or replaced may still have frames under way.
            let greets = self.greeting.iter().any(|greeting| greeting.session == no);
            return match greets || self.offer.as_ref().is_some_and(|offer| offer.session == no) {
                true => Err(Error::new(Code::BadState, "a message came before the welcome")),
                false => Ok(()),
            };
        };
        match message {
            ClientMessage::Hello(_) | ClientMessage::Offer(_) => {
                return Err(Error::new(Code::BadState, "a session says hello once"));
            }
            ClientMessage::Ping(number) => session.delivery.ping(number),
            ClientMessage::Fetched(has_it) => session.delivery.fetched(has_it)?,
            ClientMessage::Push(mutations) => {
                self.used = self.now;
                let open = self.open.as_mut().expect("BUG: a push before the journal has begun");
                for mutation in mutations {
                    if mutation.seq <= session.queued {
                        continue;
                    }
                    if mutation.seq != session.queued.next() {
                        return Err(Error::new(
                            Code::SequenceGap,
                            format!("mutation {} came after {}", mutation.seq, session.queued),
                        ));
                    }
                    if open.ledger.rejections(session.client).len() >= UNCONFIRMED {
                        return Err(unconfirmed());
                    }
                    let seq = mutation.seq;
                    open.enqueue(Queued::new(session.client, mutation))?;
                    open.register(session.client, session.key, session.begins);
                    session.queued = seq;
                }
            }
        }
        Ok(())
    }

    /// Ends these sessions: their clients come back.
    pub(super) fn close_where(&mut self, which: impl Fn(&Session) -> bool, effects: &mut Vec<PrimaryEffect>) {
        let closed = self.sessions.extract_if(.., |_, session| which(session));
        effects.extend(closed.map(|(session, _)| PrimaryEffect::Close { session }));
    }

    /// Drops what still waits of clients that have not confirmed too many refusals: they come back, and do.
    pub(super) fn refuse_unconfirmed(&mut self, outcomes: &[Outcome], effects: &mut Vec<PrimaryEffect>) {
        for client in outcomes.iter().map(|outcome| outcome.client) {
            let Some(open) = &mut self.open else { return };
            if open.ledger.rejections(client).len() < UNCONFIRMED || open.queued(client).is_none() {
                continue;
            }
            let of_client = self.sessions.iter().filter(|(_, session)| session.client == client);
            let sessions: Vec<_> = of_client.map(|(no, _)| *no).collect();
            if !sessions.is_empty() {
                open.unqueue(|queued| queued == client);
            }
            for session in sessions {
                self.refuse(session, unconfirmed(), effects);
            }
        }
    }

    pub(super) fn refuse(&mut self, session: SessionNo, error: Error, effects: &mut Vec<PrimaryEffect>) {
        self.sessions.remove(&session);
        self.end_offer(session);
        let message = ServerMessage::Refused { code: error.code.as_str().to_owned(), message: error.message };
        effects.push(PrimaryEffect::Send { session, frame: message.to_bytes() });
        effects.push(PrimaryEffect::Close { session });
    }
}

/// A client's name belongs to whoever settled its secret.
pub(super) fn usurped() -> Error {
    Error::new(Code::Unauthorized, "the client id is known with another secret")
}

fn unconfirmed() -> Error {
    Error::new(
        Code::Limit,
        "too many mutations were refused since the client said what it knows of: come back",
    )
}

impl Open {
    /// Notes a client that changes something, unless it is known: its mutations are decided up to here.
    pub(super) fn register(&mut self, client: ClientId, key: ClientKey, through: Mark) {
        if self.ledger.client(client).is_none() {
            self.ledger.register(client, key, through);
            self.unrecorded.insert(client);
        }
    }

    pub(super) fn enqueue(&mut self, queued: Queued) -> Result<(), Error> {
        if self.waiting + queued.size > WAITING {
            return Err(Error::new(Code::Limit, "too many mutations are waiting to be decided"));
        }
        self.waiting += queued.size;
        self.queue.push_back(queued);
        Ok(())
    }

    /// A client has on disk what was decided up to `confirmed`; gives up to where it has heard of that here, and up to where
    /// there are decisions.
    pub(super) fn received(&mut self, client: ClientId, confirmed: Mark) -> (MutationSeq, MutationSeq) {
        let Some(known) = self.ledger.client(client) else { return (confirmed.seq, confirmed.seq) };
        // Another mark is a copy's, or of a history that is lost: this client may not have heard what was refused.
        let heard = if known.marks.contains(&confirmed) { confirmed.seq } else { MutationSeq(0) };
        self.ledger.received(client, heard);
        if confirmed.seq > self.ledger.through(client).seq {
            // Decided in a history that is lost: counting goes on from there.
            let lost = Outcome { client, through: confirmed, rejections: Vec::new() };
            self.ledger.decide(&lost).expect("BUG: the client is registered");
            self.unrecorded.insert(client);
        }
        (heard, self.ledger.through(client).seq)
    }

    /// The last mutation of a client that waits for the next batch.
    pub(super) fn queued(&self, client: ClientId) -> Option<MutationSeq> {
        self.queue.iter().rev().find(|queued| queued.client == client).map(|queued| queued.mutation.seq)
    }
}
