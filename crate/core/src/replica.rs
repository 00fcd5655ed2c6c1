//! A client's copy of a document, as a state machine: tabs ask, the disk answers, the server has the last word.

mod disk;
mod fetches;
mod importing;
mod inbox;
mod opening;
mod status;

use std::collections::{BTreeSet, VecDeque};

use offprint_protocol::message::{Hello, PROTOCOL_VERSION};
use offprint_protocol::rpc::{Problem, Request, Select, Status, Storage, StorageKind, TabEvent};
use offprint_protocol::{Code, Error, Mutation, Position, RequestNo, TabId};

use crate::document::{Document, Told};
use crate::head::Role;
use crate::host::{ReplicaConfig, ReplicaEffect, ReplicaInput};
use crate::image::Image;
use crate::journal::{Journal, JournalConfig, Ticket};
use crate::mutator::Mutators;
use crate::snapshot::Snapshot;
use crate::sync::{Changes, Sync};

use self::fetches::Fetches;
use self::inbox::can_apply;
use self::status::FRAME;

/// How much of a replay is done at a time, in instructions of SQLite's; some milliseconds.
const SLICE: u64 = 250_000;
/// So many mutations of a document without a server are replayed at most when it is opened again.
const CONFIRM_AFTER: usize = 8192;

/// A client's copy of a document.
pub struct Replica {
    config: ReplicaConfig,
    journal: Journal,
    sync: Sync,
    state: State,
    /// Requests that came before the document was ready.
    waiting: Vec<(TabId, RequestNo, Request)>,
    /// How much of a replay is done at a time.
    slice: u64,
    confirm_after: usize,
    /// Whether a slice is due.
    is_slice_due: bool,
    tabs: BTreeSet<TabId>,
    storage: Storage,
    /// Why the disk is not of a better kind.
    rung: Option<Problem>,
    /// What was lost when the files were read.
    damage: Option<Problem>,
    retry_disk_at: Option<u64>,
    /// How often in a row the disk has failed.
    disk_failures: u32,
    commits_wait_until: Option<u64>,
    /// What the server delivered and is not applied yet.
    inbox: VecDeque<Changes>,
    /// Whether it waits for room.
    inbox_wants_room: bool,
    fetches: Fetches,
    told: Option<Status>,
    told_at: u64,
    /// Whether a counter has moved since.
    is_status_due: bool,
    wake: Option<u64>,
    /// What the clock showed last.
    now: u64,
    /// Whether the server is to be called once nothing is being imported.
    is_call_due: bool,
    /// The server is called once this is durable.
    connect_after: Option<Ticket>,
}

enum State {
    /// The files are being read; requests wait.
    Opening { mutators: Mutators },
    /// The files are read; requests wait until what is pending is replayed.
    Open(Box<Document>),
    /// The files cannot be read; they are left as they are.
    Failed(Problem),
}

impl Replica {
    /// A replica that waits for a disk to read its files from; fails with `bad_definition`.
    pub fn new(config: ReplicaConfig) -> Result<Self, Error> {
        config.definition.check()?;
        let mutators = Mutators::compile(&config.definition)?;
        let mut journal = Journal::open(JournalConfig {
            document: config.document.clone(),
            role: Role::Replica,
            history: None,
            entropy: config.entropy,
        });
        if !config.server {
            journal.made_with(config.definition.clone());
        }
        Ok(Self {
            journal,
            sync: Sync::new(&config.entropy),
            state: State::Opening { mutators },
            waiting: Vec::new(),
            slice: SLICE,
            confirm_after: CONFIRM_AFTER,
            is_slice_due: false,
            tabs: BTreeSet::new(),
            storage: Storage {
                kind: StorageKind::None,
                durable: false,
                reason: None,
                persisted: None,
                shortage: None,
            },
            rung: None,
            damage: None,
            retry_disk_at: None,
            disk_failures: 0,
            commits_wait_until: None,
            inbox: VecDeque::new(),
            inbox_wants_room: false,
            fetches: Fetches::default(),
            told: None,
            told_at: 0,
            is_status_due: false,
            wake: None,
            now: 0,
            is_call_due: false,
            connect_after: None,
            config,
        })
    }

    /// How much of a replay one call of [`Replica::handle`] does, in instructions of SQLite's. For tests, and for
    /// devices that are much slower or faster than most.
    pub fn set_slice(&mut self, work: u64) {
        self.slice = work.max(1);
        if let State::Open(document) = &mut self.state {
            document.set_slice(self.slice);
        }
    }

    /// How many mutations a document without a server keeps before it confirms them. For tests.
    pub fn set_confirm_after(&mut self, mutations: usize) {
        self.confirm_after = mutations.max(1);
        if let State::Open(document) = &mut self.state {
            document.set_confirm_after(self.confirm_after);
        }
    }

    /// Takes what has come and appends what is to be done to `effects`.
    pub fn handle(
        &mut self,
        now: u64,
        inputs: impl IntoIterator<Item = ReplicaInput>,
        effects: &mut Vec<ReplicaEffect>,
    ) {
        self.follow_clock(now);
        let mut told = Told::new();
        for input in inputs {
            self.take(now, input, &mut told, effects);
        }
        self.settle(now, &mut told, effects);
    }

    /// A clock that was set back takes everything that is due with it: nothing waits longer than it would have.
    fn follow_clock(&mut self, now: u64) {
        let back = std::mem::replace(&mut self.now, now).saturating_sub(now);
        if back > 0 {
            let times = [&mut self.retry_disk_at, &mut self.commits_wait_until];
            for time in times.into_iter().flatten().chain([&mut self.told_at]) {
                *time = time.saturating_sub(back);
            }
            self.sync.turn_back(back);
            self.wake = None;
        }
    }

    /// Whether everything that it has recorded is durable and nothing waits for the disk.
    pub fn is_settled(&self) -> bool {
        self.journal.is_settled()
    }

    /// The last commit of the primary that is here.
    pub fn position(&self) -> Option<Position> {
        match &self.state {
            State::Open(document) => document.position(),
            _ => None,
        }
    }

    /// The confirmed pages, if the document is open.
    pub fn image(&mut self) -> Option<Image> {
        match &mut self.state {
            State::Open(document) => Some(document.image().clone()),
            _ => None,
        }
    }

    /// The mutations that nobody has decided yet, in order, once the document is ready.
    pub fn pending(&self) -> Option<Vec<Mutation>> {
        match &self.state {
            State::Open(document) if document.is_ready() => {
                Some(document.timeline().iter().map(|pending| pending.mutation.clone()).collect())
            }
            _ => None,
        }
    }

    /// What is visible, once the document is ready.
    pub fn snapshot(&mut self) -> Option<Snapshot> {
        match &mut self.state {
            State::Open(document) if document.is_ready() => Some(document.snapshot()),
            _ => None,
        }
    }

    /// Runs a read-only statement and gives its rows; fails with `closed` while the document is not open.
    pub fn query(&mut self, select: &Select) -> Result<Vec<u8>, Error> {
        match &mut self.state {
            State::Open(document) if document.is_ready() => document.query(select),
            _ => Err(Error::new(Code::Closed, "the document is not open")),
        }
    }

    fn take(&mut self, now: u64, input: ReplicaInput, told: &mut Told, effects: &mut Vec<ReplicaEffect>) {
        match input {
            ReplicaInput::TabHere { tab } => {
                self.tabs.insert(tab);
                told.push((tab, TabEvent::Status(self.status())));
            }
            ReplicaInput::TabGone { tab } => {
                self.tabs.remove(&tab);
                // Nobody would go on with a file of which a part waits; what it changed still counts.
                self.waiting.retain(|(other, _, request)| {
                    *other != tab || !matches!(request, Request::Import { .. })
                });
                if let State::Open(document) = &mut self.state {
                    document.tab_gone(tab);
                }
            }
            ReplicaInput::Request { tab, no, request } => self.request(now, tab, no, request, told, effects),
            ReplicaInput::DiskReady { kind, durable, reason } => {
                self.storage = Storage { kind, durable, reason: None, ..self.storage };
                self.rung = reason;
                self.retry_disk(effects);
            }
            ReplicaInput::DiskLost { problem } => {
                self.storage =
                    Storage { kind: StorageKind::None, durable: false, reason: problem, ..self.storage };
                self.rung = None;
                self.retry_disk_at = None;
            }
            ReplicaInput::FilesGone => match &mut self.state {
                State::Opening { .. } => self.journal.forget(),
                State::Open(document) => document.write_again(&mut self.journal),
                State::Failed(_) => {}
            },
            ReplicaInput::Persisted { persisted } => self.storage.persisted = Some(persisted),
            ReplicaInput::Disk(answer) => self.disk_answered(now, answer, told, effects),
            ReplicaInput::SocketOpened { token } => {
                self.apply_inbox(now, told, effects);
                self.inbox.clear();
                if let Some(hello) = self.hello(token) {
                    self.sync.opened(now, hello, effects);
                }
            }
            ReplicaInput::SocketFrame(frame) => {
                let deliveries = self.sync.frame(now, &frame, effects);
                self.delivered(deliveries, effects);
            }
            ReplicaInput::SocketClosed { problem } => {
                self.apply_inbox(now, told, effects);
                self.inbox.clear();
                self.sync.closed(now, problem);
            }
            ReplicaInput::SnapshotBytes(bytes) => self.fetches.take(&bytes, &mut self.sync, effects),
            ReplicaInput::SnapshotFailed => self.fetches.failed(&mut self.sync, effects),
            ReplicaInput::Wake => {
                self.wake = None;
                self.is_slice_due = true;
                self.apply_inbox(now, told, effects);
                self.sync.tick(now, effects);
                if self.retry_disk_at.is_some_and(|at| at <= now) {
                    self.retry_disk(effects);
                }
            }
        }
    }

    /// What one burst of inputs leads to, once.
    fn settle(&mut self, now: u64, told: &mut Told, effects: &mut Vec<ReplicaEffect>) {
        let is_slice_due = std::mem::take(&mut self.is_slice_due);
        self.journal.tick(now);
        if let State::Open(document) = &mut self.state {
            let settled = document.settle();
            if let Err(error) = settled.and_then(|()| if is_slice_due { document.advance() } else { Ok(()) })
            {
                self.fail(error, told);
            }
        }
        // What a device confirmed by itself is replayed wholly before a server is called, which makes the document ready.
        self.call_server(told, effects);
        self.answer_waiting(now, told, effects);
        if let State::Open(document) = &mut self.state {
            document.run_live_queries(now, told);
            let checked = document.checkpoint_if_due(&mut self.journal);
            self.sync.push(document.timeline(), effects);
            if let Err(error) = checked {
                self.fail(error, told);
            }
        }
        if self.storage.kind != StorageKind::None
            && !self.may_wait(now)
            && let Some(batch) = self.journal.next_batch()
        {
            self.commits_wait_until = None;
            effects.push(ReplicaEffect::Disk(batch));
        }
        self.pull_or_pause(effects);
        self.tell_status(now, told);
        let tabs = &self.tabs;
        let told = told.drain(..).filter(|(tab, _)| tabs.contains(tab));
        effects.extend(told.map(|(tab, event)| ReplicaEffect::Tab { tab, event }));
        self.ask_to_wake(now, effects);
    }

    /// Whether what the journal holds are commits alone. They can be fetched again, so they wait a little for a
    /// mutation to share its flush; for longer, or once every tab is gone, they do not.
    fn may_wait(&mut self, now: u64) -> bool {
        let State::Open(document) = &self.state else { return false };
        self.commits_wait_until =
            self.commits_wait_until.filter(|until| now < *until && !self.tabs.is_empty());
        self.commits_wait_until.is_some() && document.timeline().is_flushed()
    }

    fn ask_to_wake(&mut self, now: u64, effects: &mut Vec<ReplicaEffect>) {
        // Deliveries wait until the frames that have already arrived are handed in: one rebase for all of them.
        let inbox = can_apply(&self.inbox, &self.storage, &mut self.journal).then_some(now);
        let status = self.is_status_due.then_some(self.told_at.saturating_add(FRAME));
        let slice =
            matches!(&self.state, State::Open(document) if document.progress().is_some()).then_some(now);
        let due = [
            inbox,
            slice,
            status,
            self.commits_wait_until,
            self.sync.due(),
            self.retry_disk_at,
            self.journal.due(),
        ];
        let due = due.into_iter().flatten().min();
        if let Some(at) = due
            && self.wake != due
        {
            self.wake = due;
            effects.push(ReplicaEffect::Wake { at });
        }
    }

    fn request(
        &mut self,
        now: u64,
        tab: TabId,
        no: RequestNo,
        request: Request,
        told: &mut Told,
        effects: &mut Vec<ReplicaEffect>,
    ) {
        match request {
            Request::Reconnect => self.sync.nudge(now, effects),
            Request::TakeServers => self.sync.take_servers(now, effects),
            Request::Import { .. } => self.leave_server_for_file(effects),
            _ => {}
        }
        match &mut self.state {
            State::Open(document)
                if document.is_ready()
                    || matches!(request, Request::Import { .. })
                    || document.knows((tab, no), &request) =>
            {
                document.request(now, (tab, no), request, &mut self.journal, told)
            }
            State::Failed(problem) => told.push((tab, TabEvent::Failed { no, problem: problem.clone() })),
            State::Opening { .. } | State::Open(_) => {
                if !self.waiting.iter().any(|(other, number, _)| (*other, *number) == (tab, no)) {
                    self.waiting.push((tab, no, request));
                }
            }
        }
    }

    fn fail(&mut self, error: Error, told: &mut Told) {
        let problem = Problem::from(error);
        let failed = |(tab, no, _)| (tab, TabEvent::Failed { no, problem: problem.clone() });
        told.extend(self.waiting.drain(..).map(failed));
        self.storage.reason = Some(problem.clone());
        self.state = State::Failed(problem);
    }

    fn hello(&self, token: String) -> Option<Hello> {
        let State::Open(document) = &self.state else { return None };
        let identity = document.identity();
        let position = document.position().filter(|_| !self.sync.distrusts());
        Some(Hello {
            min_version: PROTOCOL_VERSION,
            max_version: PROTOCOL_VERSION,
            document: self.config.document.clone(),
            client: identity.client,
            secret: identity.secret,
            definition: self.config.definition.name.clone(),
            hash: self.config.definition.hash(),
            token,
            position,
            local: position.is_some() && document.is_local(),
            fetches: self.config.fetches,
            confirmed: document.acknowledged(),
        })
    }
}
