//! A document's primary: runs the mutations of all clients in one order, and tells what is durable.
//!
//! At most one commit is being flushed at a time. What is pushed meanwhile forms the next batch, so batches grow with
//! the load and an idle document answers at once.

mod adopt;
mod ask;
mod limits;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use offprint_protocol::message::{CatchUp, ClientMessage, Hello, PROTOCOL_VERSION, ServerMessage, Welcome};
use offprint_protocol::{
    ClientId, ClientKey, Code, CommitBatch, Decode, Encode, Error, Lsn, Mark, Mutation, MutationSeq, Outcome,
    Position, Rejection, SessionNo, Touched,
};

use crate::head::Role;
use crate::host::{PrimaryConfig, PrimaryEffect, PrimaryInput};
use crate::image::Image;
use crate::journal::Recovered;
use crate::journal::{Journal, JournalConfig, Ticket};
use crate::ledger::Ledger;
use crate::mutator::{Call, Mutators};
use crate::news::{News, PART};
use crate::pages::Pages;
use crate::record::Record;
use crate::sqlite::Database;
use crate::tail::Tail;

pub use self::ask::{Answer, Ask, AskNo, Verdict};
pub use self::limits::{PrimaryCounts, PrimaryLimits};

use self::adopt::Offer;
use self::ask::Asks;

/// The most mutations, and the most bytes of them, that one commit takes.
const BATCH: (usize, usize) = (1024, 4 << 20);
/// How many bytes of mutations may wait for the next batch.
const WAITING: usize = 64 << 20;
/// How much of a mutator's name, which a client may make up, goes into a rejection, in characters.
const NAME: usize = 128;

/// A document's primary, as a state machine.
pub struct Primary {
    config: PrimaryConfig,
    limits: PrimaryLimits,
    counts: PrimaryCounts,
    mutators: Mutators,
    journal: Journal,
    open: Option<Open>,
    sessions: BTreeMap<SessionNo, Session>,
    /// Sessions that said hello while a commit was being flushed or the files were being read.
    greeting: VecDeque<(SessionNo, Hello)>,
    /// The session that was asked for its own history.
    offer: Option<Offer>,
    asks: Asks,
}

/// What there is once the files are read.
struct Open {
    database: Database,
    ledger: Ledger,
    /// Clients whose entry in the ledger may be newer than the journal's.
    unrecorded: BTreeSet<ClientId>,
    tail: Tail,
    queue: VecDeque<Queued>,
    /// The bytes in the queue.
    waiting: usize,
    flushing: Option<(Ticket, Decided)>,
}

/// What is told once it is durable.
enum Decided {
    /// A commit.
    Commit(News),
    /// The document began with a client's history.
    Adopted { session: SessionNo, outcome: Outcome },
}

struct Session {
    client: ClientId,
    /// The last of its client's mutations that was queued or decided.
    queued: MutationSeq,
}

/// A mutation that waits for the next batch.
struct Queued {
    client: ClientId,
    mutation: Mutation,
    size: usize,
}

impl Primary {
    /// A primary that has yet to read its files; fails with `bad_definition`.
    pub fn new(config: PrimaryConfig) -> Result<Self, Error> {
        let mutators = Mutators::compile(&config.definition)?;
        let journal = Journal::open(JournalConfig {
            document: config.document.clone(),
            role: Role::Primary,
            entropy: config.entropy,
        });
        Ok(Self {
            config,
            limits: PrimaryLimits::default(),
            counts: PrimaryCounts::default(),
            mutators,
            journal,
            open: None,
            sessions: BTreeMap::new(),
            greeting: VecDeque::new(),
            offer: None,
            asks: Asks::default(),
        })
    }

    /// Whether nothing waits for the disk and nobody is connected.
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty() && self.greeting.is_empty() && self.offer.is_none() && self.is_settled()
    }

    /// Whether nothing waits for the disk.
    pub fn is_settled(&self) -> bool {
        self.journal.is_settled()
            && self.open.as_ref().is_some_and(|open| open.flushing.is_none() && open.queue.is_empty())
    }

    /// Takes what has come and appends what is to be done to `effects`.
    pub fn handle(
        &mut self,
        _now: u64,
        inputs: impl IntoIterator<Item = PrimaryInput>,
        effects: &mut Vec<PrimaryEffect>,
    ) {
        if let Err(error) = self.take(inputs, effects).and_then(|()| self.settle(effects)) {
            effects.push(PrimaryEffect::Fail(error));
        }
    }

    fn take(
        &mut self,
        inputs: impl IntoIterator<Item = PrimaryInput>,
        effects: &mut Vec<PrimaryEffect>,
    ) -> Result<(), Error> {
        for input in inputs {
            match input {
                PrimaryInput::SessionOpened { session, hello } => self.greeting.push_back((session, hello)),
                PrimaryInput::SessionFrame { session, frame } => {
                    if let Err(error) = self.frame(session, &frame, effects) {
                        self.refuse(session, error, effects);
                    }
                }
                PrimaryInput::SessionClosed { session } => {
                    self.sessions.remove(&session);
                    self.end_offer(session);
                    self.greeting.retain(|(other, _)| *other != session);
                }
                PrimaryInput::Disk(answer) => {
                    if let Some(recovered) = self.journal.answer(answer)? {
                        let is_new = recovered.image.lsn() == Lsn(0);
                        self.asks.secret = Some(recovered.identity.secret);
                        let mut open = Open::new(recovered)?;
                        open.limit(self.limits)?;
                        self.open = Some(open);
                        // A new document may yet begin with a client's history.
                        if !is_new {
                            self.migrate()?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Goes on as far as the disk allows: tell, greet, run the next batch.
    fn settle(&mut self, effects: &mut Vec<PrimaryEffect>) -> Result<(), Error> {
        self.tell_what_is_durable(effects);
        while let Some(open) = self.open.as_ref().filter(|open| open.flushing.is_none()) {
            let Some((session, hello)) = self.greeting.pop_front() else {
                if self.answer_asks()? {
                    self.run_batch()?;
                }
                break;
            };
            if !hello.local && open.tail.end().lsn == Lsn(0) {
                self.migrate()?;
                if self.open.as_ref().is_some_and(|open| open.flushing.is_some()) {
                    self.greeting.push_front((session, hello));
                    break;
                }
            }
            if let Err(error) = self.greet(session, hello, effects) {
                self.refuse(session, error, effects);
            }
        }
        if let Some(batch) = self.journal.next_batch() {
            effects.push(PrimaryEffect::Disk(batch));
        }
        Ok(())
    }

    /// A newer definition's migrations are a commit of their own, before anything else.
    fn migrate(&mut self) -> Result<(), Error> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.database.schema_version()? > self.config.definition.migrations.len() {
            let what = "the document has had more migrations than this definition knows";
            return Err(Error::new(Code::DefinitionMismatch, what));
        }
        let touched = open.database.migrate(&self.config.definition)?;
        if touched != Touched::none() {
            open.commit(&mut self.journal, touched, Vec::new())?;
        }
        Ok(())
    }

    fn tell_what_is_durable(&mut self, effects: &mut Vec<PrimaryEffect>) {
        let Some(open) = &mut self.open else { return };
        let durable = self.journal.durable();
        let news = match open.flushing.take_if(|(ticket, _)| *ticket <= durable) {
            Some((_, Decided::Commit(news))) => news,
            Some((_, Decided::Adopted { session, outcome })) => {
                return Self::tell_adopted(session, outcome, effects);
            }
            None => return,
        };
        let common = news.frames(None);
        for (&session, Session { client, .. }) in &self.sessions {
            let frames = if news.concerns(*client) { &news.frames(Some(*client)) } else { &common };
            effects.extend(frames.iter().map(|frame| PrimaryEffect::Send { session, frame: frame.clone() }));
        }
    }

    fn greet(
        &mut self,
        session: SessionNo,
        hello: Hello,
        effects: &mut Vec<PrimaryEffect>,
    ) -> Result<(), Error> {
        let open = self.open.as_mut().expect("BUG: greeting before the files are read");
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
        if open.ledger.client(hello.client).is_some_and(|known| known.key != key) {
            return Err(Error::new(Code::Unauthorized, "the client id is known with another secret"));
        }
        // A client has one hub: an older session of it is one whose death was not noticed yet.
        let replaced: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, other)| other.client == hello.client)
            .map(|(no, _)| *no)
            .collect();
        for old in replaced {
            self.sessions.remove(&old);
            effects.push(PrimaryEffect::Close { session: old });
        }
        if self.ask_for_offer(session, &hello, effects)? {
            return Ok(());
        }
        let open = self.open.as_mut().expect("BUG: greeting before the files are read");
        let outcome = open.received(hello.client, key, hello.confirmed);
        let marks = open.ledger.client(hello.client).map_or_else(Vec::new, |known| known.marks.clone());
        let queued = open.queued(hello.client).unwrap_or(outcome.through.seq);
        let mut send = |message: ServerMessage| {
            effects.push(PrimaryEffect::Send { session, frame: message.to_bytes() });
        };
        let image = open.database.pages().image().clone();
        let journal = image.position().expect("BUG: a primary has a history").journal;
        let mut welcome = Welcome { version: PROTOCOL_VERSION, journal, marks, catch_up: CatchUp::Tail };
        if let Some(commits) = hello.position.as_ref().and_then(|position| open.tail.after(position)) {
            send(ServerMessage::Welcome(welcome));
            send(ServerMessage::Commits(CommitBatch { outcomes: vec![outcome], commits }));
        } else {
            let known = hello.position.filter(|position| open.tail.contains(position));
            let mut parts = image.rollup_since(known.map_or(Lsn(0), |position| position.lsn), PART);
            let is_whole = parts.iter().all(|part| part.from == Lsn(0));
            welcome.catch_up = if is_whole { CatchUp::Reset } else { CatchUp::Rollup };
            parts.last_mut().expect("BUG: a rollup has a part").outcomes = vec![outcome];
            send(ServerMessage::Welcome(welcome));
            parts.into_iter().for_each(|part| send(ServerMessage::Rollup(part)));
        }
        self.sessions.insert(session, Session { client: hello.client, queued });
        Ok(())
    }

    fn frame(&mut self, no: SessionNo, frame: &[u8], effects: &mut Vec<PrimaryEffect>) -> Result<(), Error> {
        let message = ClientMessage::from_bytes(frame)?;
        if let ClientMessage::Offer(part) = message {
            return self.take_offer(no, part, effects);
        }
        let Some(session) = self.sessions.get_mut(&no) else {
            // A session that was refused or replaced may still have frames under way.
            let greets = self.greeting.iter().any(|(greeting, _)| *greeting == no);
            return match greets || self.offer.as_ref().is_some_and(|offer| offer.session == no) {
                true => Err(Error::new(Code::BadState, "a message came before the welcome")),
                false => Ok(()),
            };
        };
        let open = self.open.as_mut().expect("BUG: a session before the files are read");
        match message {
            ClientMessage::Hello(_) | ClientMessage::Offer(_) => {
                return Err(Error::new(Code::BadState, "a session says hello once"));
            }
            ClientMessage::Ping(number) => {
                let frame = ServerMessage::Pong(number).to_bytes();
                effects.push(PrimaryEffect::Send { session: no, frame });
            }
            ClientMessage::Push(mutations) => {
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
                    let size = mutation.to_bytes().len();
                    if open.waiting + size > WAITING {
                        return Err(Error::new(Code::Limit, "too many mutations are waiting to be decided"));
                    }
                    session.queued = mutation.seq;
                    open.waiting += size;
                    open.queue.push_back(Queued { client: session.client, mutation, size });
                }
            }
        }
        Ok(())
    }

    /// Runs what is queued, each mutation in its own savepoint, as one commit.
    fn run_batch(&mut self) -> Result<(), Error> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.queue.is_empty() {
            return Ok(());
        }
        let mut bytes = 0;
        let fits = |queued: &&Queued| {
            bytes += queued.size;
            bytes <= BATCH.1
        };
        let count = open.queue.iter().take(BATCH.0).take_while(fits).count().max(1);
        let batch: Vec<_> = open.queue.drain(..count).collect();
        let calls: Vec<Call<'_>> =
            batch.iter().map(|queued| (queued.mutation.name.as_str(), &queued.mutation.args[..])).collect();
        let results = open.database.run_batch(&self.mutators, &calls)?;
        let mut outcomes: BTreeMap<ClientId, Outcome> = BTreeMap::new();
        let mut touched = Touched::none();
        for (Queued { client, mutation, .. }, result) in batch.iter().zip(results) {
            let outcome = outcomes.entry(*client).or_insert_with(|| Outcome {
                client: *client,
                through: open.ledger.through(*client),
                rejections: Vec::new(),
            });
            let hash = outcome.through.hash.after(&mutation.to_bytes());
            outcome.through = Mark { seq: mutation.seq, hash };
            self.counts.mutations += 1;
            self.counts.rejections += u64::from(result.is_err());
            match result {
                Ok(more) => touched = touched.merge(more),
                Err(error) => outcome.rejections.push(Rejection {
                    seq: mutation.seq,
                    name: mutation.name.chars().take(NAME).collect(),
                    code: error.code.as_str().to_owned(),
                    message: error.message,
                }),
            }
        }
        open.waiting -= batch.iter().map(|queued| queued.size).sum::<usize>();
        open.commit(&mut self.journal, touched, outcomes.into_values().collect())?;
        self.counts.commits += 1;
        if self.journal.wants_checkpoint() {
            // Clients stay unrecorded: the old log, which counts until the new one does, has not got them.
            self.journal.checkpoint(open.database.pages().image(), &open.ledger, &[]);
        }
        Ok(())
    }

    /// The last commit; it may not be durable yet.
    pub fn position(&self) -> Option<Position> {
        self.open.as_ref().map(|open| open.tail.end())
    }

    /// The pages at [`Primary::position`], once the files are read.
    pub fn image(&mut self) -> Option<Image> {
        self.open.as_mut().map(|open| open.database.pages().image().clone())
    }

    fn refuse(&mut self, session: SessionNo, error: Error, effects: &mut Vec<PrimaryEffect>) {
        self.sessions.remove(&session);
        self.end_offer(session);
        let message = ServerMessage::Refused { code: error.code.as_str().to_owned(), message: error.message };
        effects.push(PrimaryEffect::Send { session, frame: message.to_bytes() });
        effects.push(PrimaryEffect::Close { session });
    }
}

impl Open {
    fn new(recovered: Recovered) -> Result<Self, Error> {
        let start = recovered.tail_start.or(recovered.image.position());
        Ok(Self {
            tail: Tail::new(start.expect("BUG: a primary has a history"), recovered.tail),
            database: Database::open(Pages::new(recovered.image))?,
            ledger: recovered.ledger,
            unrecorded: BTreeSet::new(),
            queue: VecDeque::new(),
            waiting: 0,
            flushing: None,
        })
    }

    /// A client has on disk what was decided up to `confirmed`; gives what it may not have yet.
    fn received(&mut self, client: ClientId, key: ClientKey, confirmed: Mark) -> Outcome {
        if self.ledger.client(client).is_none() {
            self.ledger.register(client, key, confirmed);
            self.unrecorded.insert(client);
        }
        self.ledger.received(client, confirmed.seq);
        if confirmed.seq > self.ledger.through(client).seq {
            // Decided in a history that is lost: counting goes on from there.
            let lost = Outcome { client, through: confirmed, rejections: Vec::new() };
            self.ledger.decide(&lost).expect("BUG: the client is registered");
            self.unrecorded.insert(client);
        }
        let through = self.ledger.through(client);
        Outcome { client, through, rejections: self.ledger.rejections(client).to_vec() }
    }

    /// The last mutation of a client that waits for the next batch.
    fn queued(&self, client: ClientId) -> Option<MutationSeq> {
        self.queue.iter().rev().find(|queued| queued.client == client).map(|queued| queued.mutation.seq)
    }

    /// Whether an adopted history is a sound SQLite database that this definition knows.
    fn check_adopted(&mut self, migrations: usize) -> Result<(), Error> {
        self.database.check_integrity()?;
        if self.database.schema_version()? > migrations {
            let what = "the offered document has had more migrations than the server's definition knows";
            return Err(Error::new(Code::DefinitionMismatch, what));
        }
        Ok(())
    }

    /// Makes a commit of what the last transaction left behind and hands it to the journal.
    fn commit(
        &mut self,
        journal: &mut Journal,
        touched: Touched,
        outcomes: Vec<Outcome>,
    ) -> Result<(), Error> {
        let commit = self.database.pages().confirm_overlay(|image, changed, page_count| {
            let commit = image.commit_of(changed, page_count, touched);
            image.apply_commit(&commit).map(|()| commit)
        })?;
        let mut fresh = Ledger::new();
        for outcome in &outcomes {
            if self.unrecorded.remove(&outcome.client)
                && let Some(entry) = self.ledger.client(outcome.client)
            {
                fresh.insert(entry.clone());
            }
            self.ledger.decide(outcome)?;
        }
        if fresh.clients().next().is_some() {
            journal.append(&Record::Ledger(fresh))?;
        }
        let before = self.tail.end().lsn;
        self.tail.push(commit.clone());
        let news = News::new(outcomes, commit, || self.database.pages().image().rollup_since(before, PART));
        let mut ticket = Ticket(0);
        for record in news.records() {
            ticket = journal.append(&record)?;
        }
        self.flushing = Some((ticket, Decided::Commit(news)));
        Ok(())
    }
}
