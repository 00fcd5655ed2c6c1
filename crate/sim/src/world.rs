//! One run: clients with tabs and disks, a server with its disk, sockets between them, chance, and oracles.

mod trouble;
mod verdict;

use std::collections::VecDeque;

use offprint_core::disk::DiskBatch;
use offprint_core::disk_memory::DiskMemory;
use offprint_core::host::{
    PrimaryConfig, PrimaryEffect, PrimaryInput, ReplicaConfig, ReplicaEffect, ReplicaInput,
};
use offprint_core::journal_memory::JournalMemory;
use offprint_core::{Primary, PrimaryLimits, Replica};
use offprint_protocol::message::ClientMessage;
use offprint_protocol::rpc::{Status, StorageKind, TabEvent};
use offprint_protocol::{Decode, DocumentId, SessionNo, TabId};

use crate::book::Book;
use crate::faults::{Fault, Faults};
use crate::network::{Network, Socket};
use crate::random::Random;
use crate::tab::Tab;
use crate::workload;

/// How many bytes the server sends a session at once, and how many may wait when it sends more: some commits.
const WINDOW: usize = 4 << 10;
/// A welcome or a refusal is sent whatever waits.
const LAST_WORDS: usize = 1 << 10;

/// What a run is made of.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plan {
    /// The seed: the whole run follows from it.
    pub seed: u64,
    /// How many clients.
    pub clients: usize,
    /// How many steps with faults, before everything has to settle.
    pub steps: usize,
    /// Whether the server may lose its files.
    pub wipe: bool,
    /// Whether a client's profile is copied.
    pub copy: bool,
    /// Whether the first client begins without a server.
    pub alone: bool,
    /// Whether two primaries share a journal, and clients connect to either.
    pub shared: bool,
}

/// What a run did.
#[derive(Debug, Clone)]
pub struct Report {
    /// Steps taken, settling included.
    pub steps: usize,
    /// Mutations asked for.
    pub mutations: usize,
    /// Commits of the primary at the end.
    pub commits: u64,
    /// Faults fired.
    pub faults: Faults,
}

struct Client {
    replica: Replica,
    disk: DiskMemory,
    batches: VecDeque<DiskBatch>,
    has_disk: bool,
    tabs: Vec<Tab>,
    socket: Option<SessionNo>,
    connecting: bool,
    wake: Option<u64>,
    status: Option<Status>,
    /// Whether it has no server.
    alone: bool,
    /// Whether its app has asked for the server's history in place of its own.
    gave_up: bool,
}

struct Server {
    primary: Primary,
    disk: DiskMemory,
    batches: VecDeque<DiskBatch>,
}

/// The world of one run.
pub struct World {
    plan: Plan,
    random: Random,
    now: u64,
    clients: Vec<Client>,
    servers: Vec<Server>,
    /// What the servers append to, if they share it.
    journal: Option<JournalMemory>,
    network: Network,
    book: Book,
    faults: Faults,
    tokens: u64,
    hostile: bool,
}

fn document() -> DocumentId {
    DocumentId::new("sim").expect("BUG: a legal id")
}

fn new_replica(random: &mut Random, server: bool) -> Replica {
    let config = ReplicaConfig {
        document: document(),
        definition: workload::definition(),
        server,
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

fn new_primary(random: &mut Random, journal: Option<&JournalMemory>) -> Primary {
    let config =
        PrimaryConfig { document: document(), definition: workload::definition(), entropy: random.entropy() };
    let primary = match journal {
        Some(journal) => Primary::on(Box::new(journal.join()), config),
        None => Primary::new(config),
    };
    let limits = PrimaryLimits { window: WINDOW, ..PrimaryLimits::default() };
    primary.expect("BUG: the workload's definition is good").limited(limits)
}

impl World {
    /// Runs a plan to its end, or to the first violation.
    pub fn run(plan: Plan) -> Result<Report, String> {
        let mut random = Random::new(plan.seed);
        let journal = plan.shared.then(|| JournalMemory::new(random.bits()));
        let servers = (0..if plan.shared { 2 } else { 1 }).map(|_| Server {
            primary: new_primary(&mut random, journal.as_ref()),
            disk: DiskMemory::new(random.bits()),
            batches: VecDeque::new(),
        });
        let mut world = World {
            plan,
            now: 1_700_000_000_000,
            clients: Vec::new(),
            servers: servers.collect(),
            journal,
            network: Network::default(),
            book: Book::default(),
            faults: Faults::default(),
            tokens: 0,
            hostile: true,
            random,
        };
        for at in 0..world.servers.len() {
            world.tell_server(at, vec![])?;
        }
        for at in 0..plan.clients {
            let disk = DiskMemory::new(world.random.bits());
            world.add_client(disk, plan.alone && at == 0)?;
        }
        for _ in 0..plan.steps {
            world.step()?;
        }
        world.hostile = false;
        if let Some(journal) = &world.journal {
            journal.set_hostile(false);
        }
        for at in 0..world.clients.len() {
            world.attach(at)?;
        }
        let settling = world.settle()?;
        world.check_end()?;
        world.count_races();
        Ok(Report {
            steps: plan.steps + settling,
            mutations: world.book.len(),
            commits: world.servers[0].primary.position().map_or(0, |position| position.lsn.0),
            faults: world.faults,
        })
    }

    fn add_client(&mut self, disk: DiskMemory, alone: bool) -> Result<(), String> {
        let replica = new_replica(&mut self.random, !alone);
        self.clients.push(Client {
            replica,
            disk,
            batches: VecDeque::new(),
            has_disk: false,
            tabs: Vec::new(),
            socket: None,
            connecting: false,
            wake: None,
            status: None,
            alone,
            gave_up: false,
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
        self.now += self.random.below(20) as u64;
        let client = self.random.below(self.clients.len());
        match self.random.below(100) {
            0..18 if self.hostile => self.mutate(client),
            0..40 => self.run_disk(client),
            40..55 => {
                let server = self.random.below(self.servers.len());
                self.run_server(server)
            }
            55..85 => self.move_frame(),
            85..90 => self.connect(client),
            90..92 => self.give_up_if_diverged(client),
            92..98 => self.wake(client),
            _ if self.hostile && self.random.one_in(4) => self.fault(client),
            _ => self.check_client(client),
        }
    }

    fn mutate(&mut self, client: usize) -> Result<(), String> {
        let burst = if self.random.one_in(10) { 20 } else { 1 };
        let mut inputs = Vec::new();
        for _ in 0..1 + self.random.below(burst) {
            let token = format!("t{}", self.tokens);
            self.tokens += 1;
            self.book.asked(&token, client, self.clients[client].alone);
            let request = workload::mutation(&mut self.random, &token);
            let tabs = &mut self.clients[client].tabs;
            let at = self.random.below(tabs.len());
            let tab = &mut tabs[at];
            let (no, request) = tab.ask(request, Some(token));
            inputs.push(ReplicaInput::Request { tab: tab.id, no, request });
        }
        self.tell_client(client, inputs)
    }

    /// Hands inputs to a client's hub and carries the effects out.
    fn tell_client(&mut self, at: usize, inputs: Vec<ReplicaInput>) -> Result<(), String> {
        let mut effects = Vec::new();
        self.clients[at].replica.handle(self.now, inputs, &mut effects);
        for effect in effects {
            let client = &mut self.clients[at];
            match effect {
                ReplicaEffect::Tab { tab, event } => {
                    if let TabEvent::Status(status) = &event {
                        client.status = Some(status.clone());
                    }
                    let Some(tab) = client.tabs.iter_mut().find(|other| other.id == tab) else { continue };
                    for (token, news) in tab.hear(event) {
                        self.book.heard(&token, &news)?;
                    }
                }
                ReplicaEffect::Disk(batch) => client.batches.push_back(batch),
                ReplicaEffect::Connect => client.connecting = true,
                ReplicaEffect::Disconnect => {
                    client.connecting = false;
                    if let Some(socket) = client.socket.take() {
                        self.close_at_server(socket)?;
                    }
                }
                ReplicaEffect::Send(frame) => {
                    if let Some(socket) = client.socket.and_then(|no| self.network.get(no)) {
                        socket.up.push_back(frame);
                    }
                }
                ReplicaEffect::Wake { at } => client.wake = Some(at),
            }
        }
        Ok(())
    }

    fn close_at_server(&mut self, socket: SessionNo) -> Result<(), String> {
        match self.network.cut(socket) {
            Some(Socket { server, .. }) => {
                self.tell_server(server, vec![PrimaryInput::SessionClosed { session: socket }])
            }
            None => Ok(()),
        }
    }

    /// Hands inputs to a server and carries the effects out.
    fn tell_server(&mut self, at: usize, inputs: Vec<PrimaryInput>) -> Result<(), String> {
        let (mut effects, mut asked) = (Vec::new(), Vec::new());
        self.servers[at].primary.handle(self.now, inputs, &mut effects);
        for effect in effects {
            match effect {
                PrimaryEffect::Send { session, frame } => {
                    if let Some(socket) = self.network.get(session) {
                        if socket.waiting() > 2 * WINDOW + LAST_WORDS {
                            return Err(format!("{} bytes wait for session {session}", socket.waiting()));
                        }
                        socket.down.push_back(frame);
                    }
                }
                PrimaryEffect::AskDrained { session } => {
                    if let Some(socket) = self.network.get(session) {
                        socket.asked = true;
                    }
                    asked.push(session);
                }
                PrimaryEffect::Close { session } => {
                    if let Some(socket) = self.network.get(session) {
                        socket.closing = true;
                    }
                }
                PrimaryEffect::Disk(batch) => self.servers[at].batches.push_back(batch),
                PrimaryEffect::Fail(error) if self.hostile => {
                    let _ = error;
                    return self.restart_server(at, false);
                }
                PrimaryEffect::Fail(error) => {
                    return Err(format!("the primary failed without a fault: {error}"));
                }
            }
        }
        asked.into_iter().try_for_each(|session| self.tell_drained(session))
    }

    /// Answers the server that waits for a session to read, if it has.
    fn tell_drained(&mut self, session: SessionNo) -> Result<(), String> {
        let Some(socket) = self.network.get(session) else { return Ok(()) };
        if socket.asked && socket.slow_until > self.now && self.hostile {
            self.faults.fired(Fault::Slow);
        }
        if socket.asked && socket.waiting() <= WINDOW {
            socket.asked = false;
            let server = socket.server;
            return self.tell_server(server, vec![PrimaryInput::SessionDrained { session }]);
        }
        Ok(())
    }

    fn run_disk(&mut self, at: usize) -> Result<(), String> {
        let client = &mut self.clients[at];
        if !client.has_disk {
            client.has_disk = true;
            return self.tell_client(
                at,
                vec![ReplicaInput::DiskReady { kind: StorageKind::Opfs, durable: true, reason: None }],
            );
        }
        let Some(batch) = client.batches.pop_front() else { return Ok(()) };
        if self.hostile && self.random.one_in(150) {
            self.faults.fired(Fault::DiskError);
            let op = client.disk.ops() + self.random.below(batch.ops.len()) as u64;
            client.disk.fail_at(op);
        }
        let answer = client.disk.run(&batch);
        self.tell_client(at, vec![ReplicaInput::Disk(answer)])
    }

    /// What a server waits for goes on: its disk, or the journal that it shares.
    fn run_server(&mut self, at: usize) -> Result<(), String> {
        if let Some(journal) = &self.journal {
            journal.step();
            return self.tell_server(at, vec![]);
        }
        let server = &mut self.servers[at];
        let Some(batch) = server.batches.pop_front() else { return Ok(()) };
        let answer = server.disk.run(&batch);
        self.tell_server(at, vec![PrimaryInput::Disk(answer)])
    }

    fn connect(&mut self, at: usize) -> Result<(), String> {
        let client = &mut self.clients[at];
        if !std::mem::take(&mut client.connecting) {
            return Ok(());
        }
        if self.hostile && self.random.one_in(5) {
            return self.tell_client(at, vec![ReplicaInput::SocketClosed { problem: None }]);
        }
        client.socket = Some(self.network.open(at, self.random.below(self.servers.len())));
        self.tell_client(at, vec![ReplicaInput::SocketOpened { token: String::new() }])
    }

    fn wake(&mut self, at: usize) -> Result<(), String> {
        match self.clients[at].wake.take_if(|at| *at <= self.now) {
            Some(_) => self.tell_client(at, vec![ReplicaInput::Wake]),
            None => Ok(()),
        }
    }

    /// One frame arrives, in one direction, on one socket.
    fn move_frame(&mut self) -> Result<(), String> {
        let sockets = self.network.all();
        let Some(&no) = sockets.get(self.random.below(sockets.len())) else { return Ok(()) };
        let up = self.random.one_in(2);
        let Some(socket) = self.network.get(no) else { return Ok(()) };
        let server = socket.server;
        if up {
            let (random, faults) = (&mut self.random, &mut self.faults);
            let Some(frame) = Network::next_frame(&mut socket.up, random, self.hostile, faults) else {
                return Ok(());
            };
            let input = if std::mem::replace(&mut socket.greeted, true) {
                PrimaryInput::SessionFrame { session: no, frame }
            } else {
                match ClientMessage::from_bytes(&frame) {
                    Ok(ClientMessage::Hello(hello)) => PrimaryInput::SessionOpened { session: no, hello },
                    // A host closes such a socket: the Hello was lost or overtaken.
                    _ => return self.cut(no),
                }
            };
            return self.tell_server(server, vec![input]);
        }
        let (at, closing) = (socket.client, socket.closing);
        if self.hostile && socket.slow_until > self.now {
            return Ok(());
        }
        match Network::next_frame(&mut socket.down, &mut self.random, self.hostile, &mut self.faults) {
            Some(frame) => self.tell_client(at, vec![ReplicaInput::SocketFrame(frame)])?,
            None if closing => return self.cut(no),
            None => {}
        }
        self.tell_drained(no)
    }

    fn cut(&mut self, no: SessionNo) -> Result<(), String> {
        let Some(socket) = self.network.cut(no) else { return Ok(()) };
        self.tell_server(socket.server, vec![PrimaryInput::SessionClosed { session: no }])?;
        let client = &mut self.clients[socket.client];
        if client.socket != Some(no) {
            return Ok(());
        }
        client.socket = None;
        self.tell_client(socket.client, vec![ReplicaInput::SocketClosed { problem: None }])
    }
}
