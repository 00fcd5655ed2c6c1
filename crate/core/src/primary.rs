//! A document's primary: runs the mutations of all clients in one order, and tells what is durable.
//!
//! At most one commit is being appended at a time. What is pushed meanwhile forms the next batch, so batches grow with
//! the load and an idle document answers at once. Until it is in the journal a commit is an overlay, so one that others
//! were ahead of is made again as a replica rebases: what it changed is dropped, theirs is applied, and what theirs did
//! not decide runs once more.

mod adopt;
mod ask;
mod batch;
mod delivery;
mod limits;
mod race;
mod rest;
mod session;
mod snapshots;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use offprint_protocol::message::Hello;
use offprint_protocol::{
    Argument, ClientId, ClientKey, Code, Encode, Error, Lsn, Mark, Mutation, MutationSeq, Position,
    SessionNo, Touched,
};

use crate::budget::TimeLimit;
use crate::commit_journal::{CommitJournal, JournalEvent, Start};
use crate::file_journal::FileJournal;
use crate::host::{PrimaryConfig, PrimaryEffect, PrimaryInput};
use crate::image::Image;
use crate::journal::Ticket;
use crate::ledger::Ledger;
use crate::mutator::Mutators;
use crate::pages::Pages;
use crate::sqlite::Database;
use crate::tail::Tail;

pub use self::ask::{Answer, Ask, AskNo, Verdict};
pub use self::limits::{PrimaryCounts, PrimaryLimits};

use self::adopt::Offer;
use self::ask::Asks;
use self::batch::Appending;
use self::delivery::Delivery;
use self::rest::Rest;
use self::snapshots::Snapshots;

/// How many bytes of mutations may wait for the next batch, as they are in memory.
const WAITING: usize = 64 << 20;

/// A document's primary, as a state machine.
pub struct Primary {
    config: PrimaryConfig,
    limits: PrimaryLimits,
    time: Option<TimeLimit>,
    counts: PrimaryCounts,
    mutators: Mutators,
    journal: Box<dyn CommitJournal>,
    /// The journal is asked what others appended: until it has told, nothing is greeted or run.
    reading: Option<Ticket>,
    open: Option<Open>,
    /// The document is not in memory.
    rest: Option<Rest>,
    sessions: BTreeMap<SessionNo, Session>,
    /// Sessions that said hello while a commit was being appended or the journal was being read.
    greeting: VecDeque<Greeting>,
    /// The session that was asked for its own history.
    offer: Option<Offer>,
    asks: Asks,
    snapshots: Snapshots,
    /// Milliseconds since 1970.
    now: u64,
    /// When somebody needed the document last.
    used: u64,
}

/// What there is once the journal has begun: all of it is durable, but for the overlay.
struct Open {
    database: Database,
    ledger: Ledger,
    /// Clients whose entry in the ledger may be newer than the journal's.
    unrecorded: BTreeSet<ClientId>,
    tail: Tail,
    queue: VecDeque<Queued>,
    /// The bytes in the queue, and in the batch that is being appended.
    waiting: usize,
    appending: Option<Appending>,
    /// Whether the schema may be another than when it was looked at.
    is_moved: bool,
}

struct Greeting {
    session: SessionNo,
    hello: Hello,
    /// Whether the journal was read since it came.
    is_read: bool,
}

struct Session {
    client: ClientId,
    key: ClientKey,
    /// Up to where its mutations are decided if the ledger does not know it: it is noted there once it changes something.
    begins: Mark,
    /// The last of its client's mutations that was queued or decided.
    queued: MutationSeq,
    delivery: Delivery,
}

/// A mutation that waits for the next batch.
struct Queued {
    client: ClientId,
    mutation: Mutation,
    size: usize,
}

impl Queued {
    fn new(client: ClientId, mutation: Mutation) -> Self {
        let size = size_of_mutation(&mutation);
        Self { client, mutation, size }
    }
}

/// What a mutation that waits takes in memory, in bytes: a small one more than its frame did.
fn size_of_mutation(mutation: &Mutation) -> usize {
    size_of::<Queued>() + mutation.args.len() * size_of::<Argument>() + mutation.to_bytes().len()
}

impl Primary {
    /// A primary of files that it has yet to read; fails with `bad_definition`.
    pub fn new(config: PrimaryConfig) -> Result<Self, Error> {
        let journal = FileJournal::open(config.document.clone(), config.history, config.entropy);
        Self::on(Box::new(journal), config)
    }

    /// A primary of this journal; fails with `bad_definition`.
    pub fn on(journal: Box<dyn CommitJournal>, config: PrimaryConfig) -> Result<Self, Error> {
        let mutators = Mutators::compile(&config.definition)?;
        Ok(Self {
            config,
            limits: PrimaryLimits::default(),
            time: None,
            counts: PrimaryCounts::default(),
            mutators,
            journal,
            reading: None,
            open: None,
            rest: None,
            sessions: BTreeMap::new(),
            greeting: VecDeque::new(),
            offer: None,
            asks: Asks::default(),
            snapshots: Snapshots::default(),
            now: 0,
            used: 0,
        })
    }

    /// Whether nothing waits for the journal and nobody is connected.
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty() && self.greeting.is_empty() && self.offer.is_none() && self.is_settled()
    }

    /// Whether nothing waits for the journal.
    pub fn is_settled(&self) -> bool {
        let is_quiet = match &self.rest {
            Some(rest) => rest.is_quiet(),
            None => self.open.is_some() && !self.has_mutations(),
        };
        self.journal.is_settled() && self.reading.is_none() && is_quiet
    }

    /// Whether mutations wait to be run or to be in the journal.
    pub fn has_mutations(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.appending.is_some() || !open.queue.is_empty())
    }

    /// Takes what has come and appends what is to be done to `effects`.
    pub fn handle(
        &mut self,
        now: u64,
        inputs: impl IntoIterator<Item = PrimaryInput>,
        effects: &mut Vec<PrimaryEffect>,
    ) {
        self.now = now;
        self.journal.tick(now);
        self.forget_snapshots();
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
                PrimaryInput::SessionOpened { session, hello } => {
                    self.greeting.push_back(Greeting { session, hello, is_read: false });
                }
                PrimaryInput::SessionFrame { session, frame } => {
                    if let Err(error) = self.frame(session, &frame, effects) {
                        self.refuse(session, error, effects);
                    }
                }
                PrimaryInput::SessionClosed { session } => {
                    self.sessions.remove(&session);
                    self.end_offer(session);
                    self.greeting.retain(|greeting| greeting.session != session);
                }
                PrimaryInput::SessionDrained { session } => {
                    if let Some(session) = self.sessions.get_mut(&session) {
                        session.delivery.drained();
                    }
                }
                PrimaryInput::Disk(answer) => self.journal.answer(answer)?,
            }
        }
        Ok(())
    }

    /// Goes on as far as the journal allows: tell, greet, run the next batch.
    fn settle(&mut self, effects: &mut Vec<PrimaryEffect>) -> Result<(), Error> {
        self.wake();
        loop {
            while let Some(event) = self.journal.poll() {
                self.hear(event, effects)?;
            }
            let is_free = |open: &Open| open.appending.is_none();
            if self.reading.is_some() || !self.open.as_ref().is_some_and(is_free) || !self.go_on(effects)? {
                break;
            }
        }
        match self.open {
            Some(_) => self.deliver(effects),
            None => self.deliver_pongs(effects),
        }
        if let Some(batch) = self.journal.next_batch() {
            effects.push(PrimaryEffect::Disk(batch));
        }
        Ok(())
    }

    fn hear(&mut self, event: JournalEvent, effects: &mut Vec<PrimaryEffect>) -> Result<(), Error> {
        match event {
            JournalEvent::Start(start) => self.begin(*start, effects)?,
            JournalEvent::Others(entry) => self.follow(&entry, effects)?,
            JournalEvent::Appended(ticket) => self.appended(ticket, effects)?,
            JournalEvent::Lost(ticket) => self.lose(ticket, effects)?,
            JournalEvent::Read(ticket) => drop(self.reading.take_if(|reading| *reading == ticket)),
        }
        Ok(())
    }

    /// Does the next thing, while nothing is being appended; false if there is none.
    fn go_on(&mut self, effects: &mut Vec<PrimaryEffect>) -> Result<bool, Error> {
        let open = self.open.as_mut().expect("BUG: going on before the journal has begun");
        if std::mem::take(&mut open.is_moved) && self.migrate()? {
            return Ok(true);
        }
        let Some(greeting) = self.greeting.pop_front() else {
            return Ok(self.answer_asks()? && self.run_batch()?);
        };
        if self.has_to_read_for(&greeting) {
            self.read()?;
            self.greeting.push_front(Greeting { is_read: true, ..greeting });
            return Ok(true);
        }
        let Greeting { session, hello, .. } = greeting;
        if !hello.local && self.is_new() && self.migrate()? {
            self.greeting.push_front(Greeting { session, hello, is_read: false });
            return Ok(true);
        }
        if let Err(error) = self.greet(session, hello, effects) {
            self.refuse(session, error, effects);
        }
        Ok(true)
    }

    /// Whether the document has no commit yet.
    fn is_new(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.tail.end().lsn == Lsn(0))
    }

    /// A newer definition's migrations are a commit of their own, before anything else; whether there is one.
    fn migrate(&mut self) -> Result<bool, Error> {
        let Some(open) = &mut self.open else { return Ok(false) };
        if open.database.schema_version()? > self.config.definition.migrations.len() {
            let what = "the document has had more migrations than this definition knows";
            return Err(Error::new(Code::DefinitionMismatch, what));
        }
        let touched = open.database.migrate(&self.config.definition)?;
        if touched == Touched::none() {
            return Ok(false);
        }
        open.commit(&mut *self.journal, self.now, touched, Vec::new(), Vec::new())?;
        Ok(true)
    }

    /// What was being appended is in the journal, and durable.
    fn appended(&mut self, ticket: Ticket, effects: &mut Vec<PrimaryEffect>) -> Result<(), Error> {
        let open = self.open.as_mut().expect("BUG: an append before the journal has begun");
        let Some(done) = open.appending.take_if(|appending| appending.ticket == ticket) else {
            return Err(Error::new(Code::Corrupt, "the journal has two entries for one Lsn"));
        };
        self.counts.take(&done);
        open.confirm(&done)?;
        self.refuse_unconfirmed(&done.entry.outcomes, effects);
        if self.journal.wants_checkpoint() {
            let open = self.open.as_mut().expect("BUG: an append before the journal has begun");
            // Clients stay unrecorded: files count on the old log, which has not got them, until the new one is whole.
            self.journal.checkpoint(open.database.pages().image(), &open.ledger);
        }
        Ok(())
    }

    /// When [`handle`](Self::handle) has something to do next without an input, in milliseconds.
    pub fn due(&self) -> Option<u64> {
        self.journal.due()
    }

    /// The last commit that is durable.
    pub fn position(&self) -> Option<Position> {
        let end = self.open.as_ref().map(|open| open.tail.end());
        end.or_else(|| self.rest.as_ref().map(Rest::position))
    }

    /// The pages at [`Primary::position`], if they are in memory.
    pub fn image(&mut self) -> Option<Image> {
        self.open.as_mut().map(|open| open.database.pages().image().clone())
    }
}

impl Open {
    fn new(start: Start) -> Result<Self, Error> {
        let end = start.image.position().expect("BUG: a primary has a history");
        Ok(Self {
            tail: Tail::new(start.tail, end),
            // A new document may yet begin with a client's history.
            is_moved: start.image.lsn() > Lsn(0),
            database: Database::open(Pages::new(start.image))?,
            ledger: start.ledger,
            unrecorded: BTreeSet::new(),
            queue: VecDeque::new(),
            waiting: 0,
            appending: None,
        })
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
}
