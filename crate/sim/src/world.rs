//! One run: documents, clients with tabs and disks, servers with theirs, sockets between them, chance, and oracles.

mod asking;
mod carry;
mod plan;
mod refused;
mod trouble;
mod verdict;

use std::collections::{BTreeMap, VecDeque};

use offprint_core::disk::DiskBatch;
use offprint_core::disk_memory::DiskMemory;
use offprint_core::host::{History, PrimaryConfig, ReplicaConfig, ReplicaInput};
use offprint_core::journal_memory::JournalMemory;
use offprint_core::{Answer, AskNo, Image, Primary, PrimaryLimits, Replica};
use offprint_protocol::rpc::Status;
use offprint_protocol::{DocumentId, Error, JournalId, Lsn, MutationSeq, SessionNo, TabId};

use crate::back_end::BackEnd;
use crate::book::{Book, Maker};
use crate::faults::Faults;
use crate::network::Network;
use crate::random::Random;
use crate::tab::Tab;
use crate::workload::{self, Logged};

pub use self::plan::{Plan, Report};

/// The servers take arguments up to this size; clients take more.
const ARGUMENTS: usize = 4_500;
/// How many bytes the server sends a session at once, and how many may wait when it sends more: some commits.
const WINDOW: usize = 4 << 10;

/// One document on one profile.
struct Client {
    document: usize,
    /// Clients of one profile die together.
    profile: usize,
    /// Whose files it began with.
    copy_of: Option<usize>,
    /// Of the definition.
    version: usize,
    /// What its clock shows beyond the time, in milliseconds.
    clock: i64,
    replica: Replica,
    disk: DiskMemory,
    batches: VecDeque<DiskBatch>,
    has_disk: bool,
    tabs: Vec<Tab>,
    socket: Option<SessionNo>,
    connecting: bool,
    wake: Option<u64>,
    /// What its host fetches, and how much of it has come.
    fetch: Option<(JournalId, Lsn, usize)>,
    status: Option<Status>,
    /// Whether it has no server.
    alone: bool,
    /// Whether its app has asked for the server's history in place of its own.
    gave_up: bool,
    /// The rejections that its app has dealt with, and whether a crash cannot undo that.
    dealt: BTreeMap<MutationSeq, bool>,
}

/// One document on one server.
struct Server {
    document: usize,
    version: usize,
    clock: i64,
    primary: Primary,
    disk: DiskMemory,
    batches: VecDeque<DiskBatch>,
    /// An older copy of its files, and what they hold.
    backup: Option<(DiskMemory, Vec<Logged>)>,
    /// Its disk does nothing until this step.
    stalled: usize,
    /// The document that it let go of last.
    rested: Option<Image>,
    /// Answers that no back end waits for.
    answers: Vec<(AskNo, Result<Answer, Error>)>,
}

impl Server {
    /// The document, also while the primary rests.
    fn image(&mut self) -> Option<Image> {
        let position = self.primary.position();
        let rested = self.rested.clone().filter(|image| image.position() == position);
        self.primary.image().or(rested)
    }
}

/// The world of one run.
pub struct World {
    plan: Plan,
    random: Random,
    now: u64,
    steps: usize,
    clients: Vec<Client>,
    servers: Vec<Server>,
    back_ends: Vec<BackEnd>,
    /// The last number of a question.
    asks: u64,
    /// What the servers of each document append to, if they share it.
    journals: Vec<Option<JournalMemory>>,
    network: Network,
    book: Book,
    faults: Faults,
    tokens: u64,
    hostile: bool,
    /// The bytes that were seen at a document's positions.
    seen: BTreeMap<(usize, String), u64>,
}

fn document(no: usize) -> DocumentId {
    DocumentId::new(&format!("sim-{no}")).expect("BUG: a legal id")
}

/// A clock that is ahead of the time by `clock`.
fn shown(now: u64, clock: i64) -> u64 {
    now.saturating_add_signed(clock)
}

fn new_replica(random: &mut Random, no: usize, version: usize, server: bool) -> Replica {
    let config = ReplicaConfig {
        document: document(no),
        definition: workload::definition(version),
        server,
        fetches: random.one_in(2),
        entropy: random.entropy(),
    };
    let mut replica = Replica::new(config).expect("BUG: the workload's definition is good");
    if random.one_in(2) {
        // A rebase of a few mutations takes many slices.
        replica.set_slice(1 + random.below(3_000) as u64);
    }
    replica.set_confirm_after(1 + random.below(200));
    replica
}

fn new_primary(random: &mut Random, no: usize, version: usize, journal: Option<&JournalMemory>) -> Primary {
    let entropy = random.entropy();
    // Every other opening is whole.
    let history = Some(History { behind: if entropy[0] < 128 { 0 } else { u64::MAX } });
    let config =
        PrimaryConfig { document: document(no), definition: workload::definition(version), history, entropy };
    let primary = match journal {
        Some(journal) => Primary::on(Box::new(journal.join()), config),
        None => Primary::new(config),
    };
    let limits =
        PrimaryLimits { arguments: ARGUMENTS, window: WINDOW, snapshot_pages: 1, ..PrimaryLimits::default() };
    primary.expect("BUG: the workload's definition is good").limited(limits)
}

impl World {
    /// Runs a plan to its end, or to the first violation.
    pub fn run(plan: Plan) -> Result<Report, String> {
        let mut world = World {
            plan,
            random: Random::new(plan.seed),
            now: 1_700_000_000_000,
            steps: 0,
            clients: Vec::new(),
            servers: Vec::new(),
            back_ends: Vec::new(),
            asks: 0,
            journals: Vec::new(),
            network: Network::default(),
            book: Book::default(),
            faults: Faults::default(),
            tokens: 0,
            hostile: true,
            seen: BTreeMap::new(),
        };
        let began = world.now;
        world.populate()?;
        for _ in 0..plan.steps {
            world.step()?;
        }
        world.make_peace()?;
        world.settle()?;
        world.check_end()?;
        world.count_what_was_seen();
        let commits = world.servers.iter().filter_map(|server| server.primary.position());
        Ok(Report {
            steps: world.steps,
            simulated: world.now - began,
            mutations: world.book.len(),
            commits: commits.map(|position| position.lsn.0).sum(),
            faults: world.faults,
        })
    }

    fn populate(&mut self) -> Result<(), String> {
        let nodes = if self.plan.shared { 2 } else { 1 };
        for document in 0..self.plan.documents {
            let journal = self.plan.shared.then(|| JournalMemory::new(self.random.bits()));
            for _ in 0..nodes {
                let version = usize::from(!self.plan.skew);
                let primary = new_primary(&mut self.random, document, version, journal.as_ref());
                let disk = DiskMemory::new(self.random.bits());
                let (batches, backup) = (VecDeque::new(), None);
                let clock = 0;
                let server = Server {
                    document,
                    version,
                    clock,
                    primary,
                    disk,
                    batches,
                    backup,
                    stalled: 0,
                    rested: None,
                    answers: Vec::new(),
                };
                self.servers.push(server);
            }
            self.journals.push(journal);
        }
        for at in 0..self.servers.len() {
            self.tell_server(at, vec![])?;
        }
        self.add_back_ends();
        for profile in 0..self.plan.clients {
            for document in 0..self.plan.documents {
                let disk = DiskMemory::new(self.random.bits());
                let version = if self.plan.skew { self.random.below(2) } else { 1 };
                self.add_client(document, profile, version, disk, self.plan.alone && profile == 0)?;
            }
        }
        Ok(())
    }

    fn add_client(
        &mut self,
        document: usize,
        profile: usize,
        version: usize,
        disk: DiskMemory,
        alone: bool,
    ) -> Result<(), String> {
        let replica = new_replica(&mut self.random, document, version, !alone);
        self.clients.push(Client {
            document,
            profile,
            copy_of: None,
            version,
            clock: 0,
            replica,
            disk,
            batches: VecDeque::new(),
            has_disk: false,
            tabs: Vec::new(),
            socket: None,
            connecting: false,
            wake: None,
            fetch: None,
            status: None,
            alone,
            gave_up: false,
            dealt: BTreeMap::new(),
        });
        self.add_tabs(self.clients.len() - 1)
    }

    fn add_tabs(&mut self, client: usize) -> Result<(), String> {
        for _ in 0..1 + self.random.below(2) {
            let mut id = [0; 16];
            id.copy_from_slice(&self.random.entropy()[..16]);
            let mut tab = Tab::new(TabId(id));
            let asked: Vec<_> =
                (0..).zip(workload::queries()).map(|(no, query)| tab.subscribe(no, query)).collect();
            let tab_id = tab.id;
            self.clients[client].tabs.push(tab);
            let here = std::iter::once(ReplicaInput::TabHere { tab: tab_id });
            let asks =
                asked.into_iter().map(|(no, request)| ReplicaInput::Request { tab: tab_id, no, request });
            self.tell_client(client, here.chain(asks).collect())?;
        }
        Ok(())
    }

    /// One thing happens.
    fn step(&mut self) -> Result<(), String> {
        self.steps += 1;
        self.now += self.random.below(20) as u64;
        let client = self.random.below(self.clients.len());
        let server = self.random.below(self.servers.len());
        match self.random.below(100) {
            0..18 if self.hostile => self.mutate(client),
            0..40 => self.run_disk(client),
            40..55 => self.run_server(server),
            55..85 => self.move_frame(),
            85..88 => self.connect(client),
            88..90 => self.fetch(client),
            90 => self.give_up_if_diverged(client),
            91..93 => self.ask(),
            93..98 => self.wake(client),
            _ if self.hostile && self.random.one_in(3) => self.fault(client, server),
            _ => self.check_client(client),
        }
    }

    /// One of a document's servers.
    fn any_server(&mut self, document: usize) -> usize {
        let nodes = self.servers.len() / self.plan.documents;
        document * nodes + self.random.below(nodes)
    }

    fn mutate(&mut self, client: usize) -> Result<(), String> {
        if self.random.one_in(8) && self.deal_with_rejection(client)? {
            return Ok(());
        }
        let burst = if self.random.one_in(10) { 20 } else { 1 };
        let mut inputs = Vec::new();
        for _ in 0..1 + self.random.below(burst) {
            let token = format!("t{}", self.tokens);
            self.tokens += 1;
            self.book.asked(&token, Maker::Client(client), self.clients[client].alone);
            let request = workload::mutation(&mut self.random, &token);
            let tabs = &mut self.clients[client].tabs;
            let at = self.random.below(tabs.len());
            let tab = &mut tabs[at];
            let (no, request) = tab.ask(request, Some(token));
            inputs.push(ReplicaInput::Request { tab: tab.id, no, request });
        }
        self.tell_client(client, inputs)
    }
}
