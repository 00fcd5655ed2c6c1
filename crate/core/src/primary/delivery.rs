//! What each session has of the document, and what it is sent next: the commits since, or their sum if it is far behind.
//!
//! A session is sent a window of bytes ahead of what its host says was written, and no more. While it is full nothing is
//! made for it, so what waits for it grows neither with the document nor with what others write.

use std::collections::BTreeSet;

use offprint_protocol::message::ServerMessage;
use offprint_protocol::{
    ClientId, Code, Commit, CommitBatch, Encode, Error, Lsn, Mark, MutationSeq, Outcome, PageNo, Position,
    Rollup, SessionNo,
};

use super::{Primary, Session};
use crate::entry::Change;
use crate::host::PrimaryEffect;
use crate::image::Image;
use crate::ledger::{ClientEntry, Ledger};
use crate::tail::Tail;

/// A window holds so many parts of a rollup.
const PARTS: usize = 4;

/// How far one session is.
pub(super) struct Delivery {
    /// It was sent everything up to here; nothing if what it has is to be replaced.
    has: Option<Position>,
    /// Of its client's mutations it knew what became of those up to here when it came.
    heard: MutationSeq,
    /// It was told what became of those up to here; nothing before the first message.
    told: Option<MutationSeq>,
    /// The snapshot that it fetches: until it says that it has it, nothing is told but pongs.
    fetches: Option<Position>,
    /// What is under way, for which the rest has to wait.
    rollup: Option<Underway>,
    /// A ping that is not answered.
    ping: Option<u64>,
    /// The bytes that it was sent since its host said that little of what came before still waits.
    unwritten: usize,
}

/// A rollup of one image, whatever is committed meanwhile.
struct Underway {
    from: Lsn,
    image: Image,
    /// The first page that was not sent.
    next: PageNo,
    outcomes: Vec<Outcome>,
}

/// What may be told: all of it is in the journal.
struct Durable<'a> {
    image: &'a Image,
    tail: &'a Tail,
    ledger: &'a Ledger,
}

/// What was made last, for all sessions that are sent the same.
#[derive(Default)]
struct Made {
    commits: Memo<(Lsn, Lsn), Vec<Commit>>,
    part: Memo<(Lsn, Lsn, PageNo), Rollup>,
}

struct Memo<K, V>(Option<(K, V)>);

/// What a session has cannot be built upon, though it was welcomed: its client has to come back.
struct Lost;

impl Primary {
    /// Sends every session what it lacks, as far as it reads.
    pub(super) fn deliver(&mut self, effects: &mut Vec<PrimaryEffect>) {
        let Some(open) = &mut self.open else { return };
        if open
            .appending
            .as_ref()
            .is_some_and(|appending| matches!(appending.entry.change, Change::Adopted(_)))
        {
            // Whose history it is has to wait until it is the document's.
            return;
        }
        let pages = open.database.pages();
        let durable = Durable { image: pages.image(), tail: &open.tail, ledger: &open.ledger };
        let window = self.limits.window;
        let mut made = Made::default();
        let mut lost = BTreeSet::new();
        let mut goes_on = true;
        // One message each at a time, so that those who are sent the same are sent it one after the other.
        while std::mem::take(&mut goes_on) {
            for (&session, of) in &mut self.sessions {
                if of.delivery.unwritten >= window {
                    continue;
                }
                let through = durable.ledger.client(of.client).map_or(of.begins, ClientEntry::through);
                match of.delivery.next((of.client, through), &durable, window / PARTS, &mut made) {
                    Ok(None) => {}
                    Ok(Some(frame)) => {
                        of.delivery.send(session, frame, window, effects);
                        goes_on = true;
                    }
                    Err(Lost) => drop(lost.insert(session)),
                }
            }
        }
        for session in lost {
            self.sessions.remove(&session);
            effects.push(PrimaryEffect::Close { session });
        }
    }
}

impl Primary {
    /// Answers pings, which is all that is told while the document is not here.
    pub(super) fn deliver_pongs(&mut self, effects: &mut Vec<PrimaryEffect>) {
        let window = self.limits.window;
        for (&session, Session { delivery, .. }) in &mut self.sessions {
            if delivery.unwritten < window
                && let Some(pong) = delivery.pong()
            {
                delivery.send(session, pong, window, effects);
            }
        }
    }
}

impl Delivery {
    /// Sends a frame, and asks for when it is written if the window is full with it.
    fn send(&mut self, session: SessionNo, frame: Vec<u8>, window: usize, effects: &mut Vec<PrimaryEffect>) {
        self.unwritten += frame.len();
        effects.push(PrimaryEffect::Send { session, frame });
        if self.unwritten >= window {
            effects.push(PrimaryEffect::AskDrained { session });
        }
    }

    /// That of a session that was welcomed and has this, or nothing that can be built upon, and that has heard of what
    /// was refused up to `heard`.
    pub(super) fn new(has: Option<Position>, heard: MutationSeq) -> Self {
        Self { has, heard, told: None, fetches: None, rollup: None, ping: None, unwritten: 0 }
    }

    /// It is to fetch this, over HTTP.
    pub(super) fn wait_for(&mut self, snapshot: Position) {
        self.fetches = Some(snapshot);
    }

    /// It has what it was to fetch, or could not get it.
    pub(super) fn fetched(&mut self, has_it: bool) -> Result<(), Error> {
        let Some(snapshot) = self.fetches.take() else {
            return Err(Error::new(Code::BadState, "there was nothing to fetch"));
        };
        self.has = has_it.then_some(snapshot);
        Ok(())
    }

    /// Little of what was sent still waits.
    pub(super) fn drained(&mut self) {
        self.unwritten = 0;
    }

    /// Owes a pong; while the session is full, of many only the last.
    pub(super) fn ping(&mut self, number: u64) {
        self.ping = Some(number);
    }

    /// The pong that is owed.
    fn pong(&mut self) -> Option<Vec<u8>> {
        self.ping.take().map(|number| ServerMessage::Pong(number).to_bytes())
    }

    /// Whether it was sent everything up to `end`, and nothing is under way.
    pub(super) fn is_in_step(&self, end: Position) -> bool {
        self.has == Some(end) && self.told.is_some() && self.fetches.is_none() && self.rollup.is_none()
    }

    /// The next message, if there is one.
    fn next(
        &mut self,
        (client, through): (ClientId, Mark),
        durable: &Durable<'_>,
        part: usize,
        made: &mut Made,
    ) -> Result<Option<Vec<u8>>, Lost> {
        if let Some(pong) = self.pong() {
            return Ok(Some(pong));
        }
        if self.fetches.is_some() {
            return Ok(None);
        }
        if self.rollup.is_none() && (self.told.is_none() || self.has != Some(durable.tail.end())) {
            let outcomes = self.outcomes(client, through, durable.ledger);
            self.told = Some(through.seq);
            if let Some(has) = self.has.filter(|has| durable.tail.reaches(has)) {
                let end = durable.tail.end();
                self.has = Some(end);
                let commits = made.commits.get((has.lsn, end.lsn), || {
                    durable.tail.after(&has).expect("BUG: the tail does not reach where it did")
                });
                return Ok(Some(ServerMessage::Commits(CommitBatch { outcomes, commits }).to_bytes()));
            }
            let from = self.has.map_or(Lsn(0), |has| has.lsn);
            if self.has.is_some() && !durable.image.remembers(from) {
                return Err(Lost);
            }
            self.rollup = Some(Underway { from, image: durable.image.clone(), next: PageNo(1), outcomes });
        }
        let Some(underway) = &mut self.rollup else { return Ok(None) };
        let part = underway.part(part, made);
        if part.last {
            self.has = underway.image.position();
            self.rollup = None;
        }
        Ok(Some(ServerMessage::Rollup(part).to_bytes()))
    }

    /// What was decided for the client and it was not told.
    fn outcomes(&self, client: ClientId, through: Mark, ledger: &Ledger) -> Vec<Outcome> {
        if self.told == Some(through.seq) {
            return Vec::new();
        }
        let told = self.told.unwrap_or(self.heard);
        let rejections = ledger.rejections(client).iter().filter(|rejection| rejection.seq > told);
        vec![Outcome { client, through, rejections: rejections.cloned().collect() }]
    }
}

impl Underway {
    fn part(&mut self, bytes: usize, made: &mut Made) -> Rollup {
        let Self { from, image, next, outcomes } = self;
        let mut part = made.part.get((*from, image.lsn(), *next), || image.rollup_at(*from, *next, bytes));
        if let Some(patch) = part.pages.last() {
            *next = PageNo(patch.no.0 + 1);
        }
        if part.last {
            part.outcomes = std::mem::take(outcomes);
        }
        part
    }
}

impl<K: PartialEq, V: Clone> Memo<K, V> {
    fn get(&mut self, key: K, make: impl FnOnce() -> V) -> V {
        match &self.0 {
            Some((known, value)) if *known == key => value.clone(),
            _ => self.0.insert((key, make())).1.clone(),
        }
    }
}

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self(None)
    }
}
