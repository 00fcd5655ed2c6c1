//! A server and its clients in one place, with disks that do as they are told and sockets that lose nothing unless asked.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, VecDeque};

use offprint_core::disk::DiskBatch;
use offprint_core::disk_memory::DiskMemory;
use offprint_core::host::{
    PrimaryConfig, PrimaryEffect, PrimaryInput, ReplicaConfig, ReplicaEffect, ReplicaInput,
};
use offprint_core::{Answer, Ask, AskNo, Primary, PrimaryLimits, Replica};
use offprint_protocol::message::{ClientMessage, ServerMessage};
use offprint_protocol::rpc::{Reply, Request, Select, Status, StorageKind, TabEvent};
use offprint_protocol::{
    Decode, Definition, DocumentId, Error, JournalId, Lsn, MutationSeq, MutatorSource, PageNo, RequestNo,
    SessionNo, TabId, Value,
};

pub const TAB: TabId = TabId([7; 16]);

/// Items with a name that nobody else may have.
pub fn definition() -> Definition {
    let mutator = |sql: &str| MutatorSource { sql: sql.into() };
    Definition {
        name: "items".into(),
        migrations: vec![
            "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, data BLOB)".into(),
        ],
        mutators: BTreeMap::from([
            ("add".into(), mutator("INSERT INTO item (name) VALUES (:name)")),
            ("put".into(), mutator("INSERT INTO item (name, data) VALUES (:name, :data)")),
            (
                "grow".into(),
                mutator(
                    "INSERT INTO item (name, data)
                     WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
                     SELECT :name || i, printf('%08x%08x%08x%08x', i * 2654435761 % 4294967291, i * 40503001 % 4294967279,
                     i * 2246822519 % 4294967231, i * 3266489917 % 4294967197) FROM n",
                ),
            ),
            ("rename".into(), mutator("UPDATE item SET name = :to WHERE name = :from")),
            ("set".into(), mutator("UPDATE item SET data = :data WHERE name = :name")),
        ]),
    }
}

pub fn text(value: &str) -> Value {
    Value::Text(value.into())
}

pub fn mutate(name: &str, args: &[(&str, Value)]) -> Request {
    let args = args.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Request::Mutate { name: name.into(), args }
}

pub fn add(name: &str) -> Request {
    mutate("add", &[("name", text(name))])
}

pub fn names() -> Select {
    Select { sql: "SELECT name FROM item ORDER BY id".into(), params: vec![] }
}

pub struct Client {
    pub replica: Replica,
    pub disk: DiskMemory,
    pub disk_works: bool,
    /// What the disk was to do last when it did not work.
    pub held: Option<DiskBatch>,
    pub socket: Option<SessionNo>,
    pub wants_socket: bool,
    pub wake: Option<u64>,
    pub events: Vec<TabEvent>,
    pub sent: Vec<ClientMessage>,
    /// What its host is to fetch.
    pub fetch: Option<(JournalId, Lsn, u64)>,
    up: VecDeque<(SessionNo, Option<Vec<u8>>)>,
    now: u64,
    entropy: u8,
    next: u64,
}

pub struct Server {
    pub primary: Primary,
    pub disk: DiskMemory,
    pub down: VecDeque<(SessionNo, Vec<u8>)>,
    pub closed: Vec<SessionNo>,
    /// Sessions that do not read by themselves, and whether the primary waits for them.
    pub slow: BTreeMap<SessionNo, bool>,
    entropy: u8,
    next: u64,
}

pub fn config(entropy: u8, definition: Definition, server: bool) -> ReplicaConfig {
    let document = DocumentId::new("doc").unwrap();
    ReplicaConfig { document, definition, server, fetches: false, entropy: [entropy; 32] }
}

impl Client {
    pub fn new(entropy: u8) -> Self {
        Self::with(entropy, definition(), DiskMemory::new(u64::from(entropy)))
    }

    /// One whose host can fetch snapshots.
    pub fn fetching(entropy: u8) -> Self {
        let mut client = Self::new(entropy);
        client.replica =
            Replica::new(ReplicaConfig { fetches: true, ..config(entropy, definition(), true) }).unwrap();
        client.disk = DiskMemory::new(u64::from(entropy));
        client.wants_socket = false;
        client.tell(ReplicaInput::TabHere { tab: TAB });
        client.tell(ReplicaInput::DiskReady { kind: StorageKind::Opfs, durable: true, reason: None });
        client
    }

    /// A document without a server.
    pub fn alone(entropy: u8) -> Self {
        Self::open(entropy, definition(), DiskMemory::new(u64::from(entropy)), false)
    }

    pub fn with(entropy: u8, definition: Definition, disk: DiskMemory) -> Self {
        Self::open(entropy, definition, disk, true)
    }

    /// One that opens what a disk holds.
    pub fn on(entropy: u8, disk: DiskMemory, server: bool) -> Self {
        Self::open(entropy, definition(), disk, server)
    }

    /// A client that asks for something before its files are open.
    pub fn asking(entropy: u8, request: Request) -> Self {
        let disk = DiskMemory::new(u64::from(entropy));
        let mut client =
            Self::unready(entropy, definition(), disk, true, None, Some((RequestNo(1), request)));
        client.replayed();
        client
    }

    fn open(entropy: u8, definition: Definition, disk: DiskMemory, server: bool) -> Self {
        let mut client = Self::unready(entropy, definition, disk, server, None, None);
        client.replayed();
        client
    }

    /// A client whose replay has only begun, which goes on `slice` by slice.
    fn unready(
        entropy: u8,
        definition: Definition,
        disk: DiskMemory,
        server: bool,
        slice: Option<u64>,
        request: Option<(RequestNo, Request)>,
    ) -> Self {
        let mut client = Self::new_hub(entropy, definition, disk, server);
        if let Some(slice) = slice {
            client.replica.set_slice(slice);
        }
        client.tell(ReplicaInput::TabHere { tab: TAB });
        if let Some((no, request)) = request {
            client.next = client.next.max(no.0 + 1);
            client.ask_again(no, request);
        }
        client.tell(ReplicaInput::DiskReady { kind: StorageKind::Opfs, durable: true, reason: None });
        client
    }

    fn new_hub(entropy: u8, definition: Definition, disk: DiskMemory, server: bool) -> Self {
        Self {
            replica: Replica::new(config(entropy, definition, server)).unwrap(),
            disk,
            disk_works: true,
            held: None,
            socket: None,
            wants_socket: false,
            wake: None,
            events: Vec::new(),
            sent: Vec::new(),
            fetch: None,
            up: VecDeque::new(),
            now: 1_000_000_000,
            entropy,
            next: 1,
        }
    }

    /// Lets a replay that is under way come to its end.
    pub fn replayed(&mut self) {
        while self.status().progress.is_some() {
            self.tell(ReplicaInput::Wake);
        }
    }

    /// The hub dies and a fresh one opens the same files.
    pub fn reopen(self) -> Self {
        self.reopen_with(true)
    }

    /// The hub dies and a fresh one opens the same files, with a server or without one.
    pub fn reopen_with(self, server: bool) -> Self {
        let next = self.next;
        Self { next, ..Self::open(self.entropy.wrapping_add(100), definition(), self.disk, server) }
    }

    /// Like [`Client::reopen_with`], and the fresh one has another definition.
    pub fn reopen_under(self, definition: Definition, server: bool) -> Self {
        let next = self.next;
        Self { next, ..Self::open(self.entropy.wrapping_add(100), definition, self.disk, server) }
    }

    /// Like [`Client::reopen`], not waiting for the replay.
    pub fn reopen_unready(self, slice: u64) -> Self {
        let next = self.next;
        Self {
            next,
            ..Self::unready(self.entropy.wrapping_add(100), definition(), self.disk, true, Some(slice), None)
        }
    }

    /// Like [`Client::reopen`], and before the files are read the tab asks again.
    pub fn reopen_asking(self, no: RequestNo, request: Request) -> Self {
        let (next, entropy) = (self.next, self.entropy.wrapping_add(100));
        let mut client = Self::unready(entropy, definition(), self.disk, true, None, Some((no, request)));
        client.replayed();
        Self { next, ..client }
    }

    /// The hub dies before what it asked of the disk is done, but for the first `ops` of it, and is unflushed; the next
    /// one's disk waits for [`Client::carry_out`].
    pub fn killed(mut self, ops: usize, server: bool) -> Self {
        if let Some(batch) = self.held.take() {
            let ops = batch.ops.into_iter().take(ops).collect();
            let _ = self.disk.run(&DiskBatch { no: batch.no, ops });
        }
        let (next, entropy) = (self.next, self.entropy.wrapping_add(100));
        let mut client =
            Self { next, disk_works: false, ..Self::new_hub(entropy, definition(), self.disk, server) };
        client.tell(ReplicaInput::TabHere { tab: TAB });
        client.tell(ReplicaInput::DiskReady { kind: StorageKind::Opfs, durable: true, reason: None });
        client
    }

    /// Lets the disk do what it was asked last; false if that is nothing.
    pub fn carry_out(&mut self) -> bool {
        let Some(batch) = self.held.take() else { return false };
        let answer = self.disk.run(&batch);
        self.tell(ReplicaInput::Disk(answer));
        true
    }

    /// Another device with a copy of the files, as they are now; its tab asks under other numbers.
    pub fn copied(&self, entropy: u8) -> Self {
        Self { next: self.next + 1000, ..Self::with(entropy, definition(), self.disk.clone()) }
    }

    /// Hands an input in and lets the disk answer until it has nothing to do.
    pub fn tell(&mut self, input: ReplicaInput) {
        if matches!(input, ReplicaInput::Wake) {
            self.now += 25;
        }
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut effects = Vec::new();
            self.replica.handle(self.now(), [input], &mut effects);
            for effect in effects {
                match effect {
                    ReplicaEffect::Tab { event, .. } => self.events.push(event),
                    ReplicaEffect::Disk(batch) if self.disk_works => {
                        inputs.push_back(ReplicaInput::Disk(self.disk.run(&batch)));
                    }
                    ReplicaEffect::Disk(batch) => self.held = Some(batch),
                    ReplicaEffect::Connect => self.wants_socket = true,
                    ReplicaEffect::Disconnect => {
                        self.wants_socket = false;
                        self.up.extend(self.socket.take().map(|session| (session, None)));
                    }
                    ReplicaEffect::Send(frame) => {
                        self.sent.push(ClientMessage::from_bytes(&frame).unwrap());
                        self.up.extend(self.socket.map(|session| (session, Some(frame))));
                    }
                    ReplicaEffect::Fetch { journal, lsn, size } => self.fetch = Some((journal, lsn, size)),
                    ReplicaEffect::StopFetch => self.fetch = None,
                    ReplicaEffect::Wake { at } => self.wake = Some(at),
                }
            }
        }
    }

    /// Time passes, and what was to be done by then is done.
    pub fn pass(&mut self, milliseconds: u64) {
        self.now += milliseconds;
        self.tell(ReplicaInput::Wake);
    }

    /// Opens the socket that it wants, if it does.
    pub fn connect(&mut self, server: &mut Server) {
        if std::mem::take(&mut self.wants_socket) {
            self.socket = Some(server.session());
            self.tell(ReplicaInput::SocketOpened { token: String::new() });
        }
    }

    /// What it pushed does not arrive; whether that was something.
    pub fn drop_pushes(&mut self) -> bool {
        let is_push = |frame: &[u8]| matches!(ClientMessage::from_bytes(frame), Ok(ClientMessage::Push(_)));
        let before = self.up.len();
        self.up.retain(|(_, frame)| !frame.as_deref().is_some_and(is_push));
        self.up.len() < before
    }

    /// Somebody sets the clock back.
    pub fn turn_back(&mut self, milliseconds: u64) {
        self.now -= milliseconds;
    }

    pub fn now(&self) -> u64 {
        self.now
    }

    /// Asks; what is sent waits for [`deliver`].
    pub fn ask(&mut self, request: Request) -> RequestNo {
        let no = RequestNo(self.next);
        self.next += 1;
        self.tell(ReplicaInput::Request { tab: TAB, no, request });
        no
    }

    /// Asks again under a number that was used before.
    pub fn ask_again(&mut self, no: RequestNo, request: Request) {
        self.tell(ReplicaInput::Request { tab: TAB, no, request });
    }

    pub fn status(&mut self) -> Status {
        self.tell(ReplicaInput::TabHere { tab: TAB });
        let statuses = self.events.iter().rev().find_map(|event| match event {
            TabEvent::Status(status) => Some(status.clone()),
            _ => None,
        });
        statuses.expect("a status was told")
    }

    /// What was told about a request, in order.
    pub fn told(&self, no: RequestNo) -> Vec<String> {
        let word = |event: &TabEvent| match event {
            TabEvent::Reply { no: other, reply } if *other == no => Some(match reply {
                Reply::Applied { .. } => "applied".to_owned(),
                Reply::Rows(_) => "rows".to_owned(),
                Reply::Export { .. } => "export".to_owned(),
                Reply::Part(_) => "part".to_owned(),
                Reply::Done => "done".to_owned(),
            }),
            TabEvent::Failed { no: other, problem } if *other == no => {
                Some(format!("failed {}", problem.code))
            }
            TabEvent::Durable { requests } if requests.contains(&no) => Some("durable".to_owned()),
            TabEvent::Confirmed { requests } if requests.contains(&no) => Some("confirmed".to_owned()),
            TabEvent::Rejected { no: other, rejection } if *other == no => {
                Some(format!("rejected {}", rejection.code))
            }
            _ => None,
        };
        self.events.iter().filter_map(word).collect()
    }

    pub fn pending_seqs(&self) -> Vec<MutationSeq> {
        let pushed = self.sent.iter().filter_map(|message| match message {
            ClientMessage::Push(mutations) => Some(mutations.iter().map(|mutation| mutation.seq)),
            _ => None,
        });
        pushed.flatten().collect()
    }

    /// The document as a plain SQLite file.
    pub fn exported(&mut self) -> Vec<u8> {
        let export = self.ask(Request::Export { confirmed: false });
        let mut file = Vec::new();
        for part in 0.. {
            let asked = self.ask(Request::ExportPart { export, part });
            let bytes = self.events.iter().find_map(|event| match event {
                TabEvent::Reply { no, reply: Reply::Part(bytes) } if *no == asked => Some(&bytes.0),
                _ => None,
            });
            match bytes.unwrap() {
                bytes if bytes.is_empty() => break,
                bytes => file.extend(bytes),
            }
        }
        file
    }

    /// The rows of a query, as bytes.
    pub fn rows(&mut self, select: &Select) -> Vec<u8> {
        self.replica.query(select).unwrap()
    }
}

impl Server {
    pub fn new(entropy: u8) -> Self {
        Self::with(entropy, DiskMemory::new(u64::from(entropy)))
    }

    pub fn with(entropy: u8, disk: DiskMemory) -> Self {
        Self::limited(entropy, disk, PrimaryLimits::default())
    }

    pub fn limited(entropy: u8, disk: DiskMemory, limits: PrimaryLimits) -> Self {
        Self::made(entropy, disk, |primary| primary.limited(limits))
    }

    pub fn made(entropy: u8, disk: DiskMemory, make: impl FnOnce(Primary) -> Primary) -> Self {
        Self::serving(definition(), entropy, disk, make)
    }

    pub fn serving(
        definition: Definition,
        entropy: u8,
        disk: DiskMemory,
        make: impl FnOnce(Primary) -> Primary,
    ) -> Self {
        let document = DocumentId::new("doc").unwrap();
        let config = PrimaryConfig { document, definition, history: None, entropy: [entropy; 32] };
        let primary = make(Primary::new(config).unwrap());
        let (down, closed, slow) = (VecDeque::new(), Vec::new(), BTreeMap::new());
        let mut server = Self { primary, disk, down, closed, slow, entropy, next: 1 };
        server.tell_all(vec![]);
        server
    }

    /// The process is killed and started again.
    pub fn restart(self) -> Self {
        let next = self.next;
        let mut server = Self::with(self.entropy.wrapping_add(100), self.disk);
        server.next = next;
        server
    }

    pub fn tell(&mut self, input: PrimaryInput) {
        self.tell_all(vec![input]);
    }

    fn tell_all(&mut self, inputs: Vec<PrimaryInput>) {
        let mut bursts = VecDeque::from([inputs]);
        while let Some(inputs) = bursts.pop_front() {
            let mut effects = Vec::new();
            self.primary.handle(0, inputs, &mut effects);
            for effect in effects {
                match effect {
                    PrimaryEffect::Send { session, frame } => self.down.push_back((session, frame)),
                    PrimaryEffect::AskDrained { session } => match self.slow.get_mut(&session) {
                        Some(asked) => *asked = true,
                        None => bursts.push_back(vec![PrimaryInput::SessionDrained { session }]),
                    },
                    PrimaryEffect::Close { session } => self.closed.push(session),
                    PrimaryEffect::Disk(batch) => {
                        bursts.push_back(vec![PrimaryInput::Disk(self.disk.run(&batch))])
                    }
                    PrimaryEffect::Fail(error) => panic!("the primary failed: {error}"),
                }
            }
        }
    }

    /// A session number for a socket of its own.
    pub fn session(&mut self) -> SessionNo {
        self.next += 1;
        SessionNo(self.next)
    }

    pub fn frame(&mut self, session: SessionNo, frame: Vec<u8>) {
        self.tell(input(session, Some(frame)));
    }

    /// What is kept of a state that was offered.
    pub fn kept(&mut self, journal: JournalId, lsn: Lsn) -> Result<Vec<u8>, Error> {
        self.file(Ask::Kept(journal, lsn))
    }

    /// A snapshot, as a SQLite file.
    pub fn file(&mut self, ask: Ask) -> Result<Vec<u8>, Error> {
        self.primary.ask(AskNo(1), ask);
        self.tell_all(vec![]);
        let (_, answer) = self.primary.answers().pop().unwrap();
        let Answer::Snapshot(snapshot) = answer? else { panic!("no snapshot") };
        Ok(snapshot.file_part(PageNo(1), snapshot.page_count()).unwrap())
    }

    /// How many bytes wait for a session.
    pub fn waiting(&self, session: SessionNo) -> usize {
        self.down.iter().filter(|(other, _)| *other == session).map(|(_, frame)| frame.len()).sum()
    }

    /// A slow session's next frame reaches its client; the primary hears of it if it waits for that.
    pub fn read_one(&mut self, client: &mut Client) -> Option<ServerMessage> {
        let session = client.socket.unwrap();
        let at = self.down.iter().position(|(other, _)| *other == session)?;
        let (_, frame) = self.down.remove(at).unwrap();
        client.tell(ReplicaInput::SocketFrame(frame.clone()));
        client.tell(ReplicaInput::Wake);
        if self.waiting(session) == 0 && std::mem::take(self.slow.get_mut(&session).unwrap()) {
            self.tell(PrimaryInput::SessionDrained { session });
        }
        Some(ServerMessage::from_bytes(&frame).unwrap())
    }

    /// What was sent to a session and not delivered.
    pub fn said(&self, session: SessionNo) -> Vec<ServerMessage> {
        let own = self.down.iter().filter(|(other, _)| *other == session);
        own.map(|(_, frame)| ServerMessage::from_bytes(frame).unwrap()).collect()
    }
}

/// Connects a client if it wants to be, and lets everything arrive until nothing is under way.
pub fn sync(server: &mut Server, clients: &mut [&mut Client]) {
    for client in clients.iter_mut() {
        client.tell(ReplicaInput::Wake);
        client.connect(server);
    }
    deliver(server, clients);
}

/// What a frame, or the end of its socket, is to the primary.
fn input(session: SessionNo, frame: Option<Vec<u8>>) -> PrimaryInput {
    match frame.as_deref().map(ClientMessage::from_bytes) {
        None => PrimaryInput::SessionClosed { session },
        Some(Ok(ClientMessage::Hello(hello))) => PrimaryInput::SessionOpened { session, hello },
        Some(_) => PrimaryInput::SessionFrame { session, frame: frame.unwrap_or_default() },
    }
}

/// Lets what clients sent arrive.
pub fn push(server: &mut Server, clients: &mut [&mut Client]) {
    for client in clients {
        while let Some((session, frame)) = client.up.pop_front() {
            server.tell(input(session, frame));
        }
    }
}

/// The only client's connection carries so many bytes to the server, and is cut.
pub fn push_at_most(server: &mut Server, client: &mut Client, bytes: usize) {
    let mut left = bytes;
    while let Some((session, frame)) = client.up.pop_front() {
        match left.checked_sub(frame.as_ref().map_or(0, Vec::len)) {
            Some(rest) => left = rest,
            None => break,
        }
        server.tell(input(session, frame));
        for (_, frame) in std::mem::take(&mut server.down) {
            client.tell(ReplicaInput::SocketFrame(frame));
        }
        client.tell(ReplicaInput::Wake);
    }
    client.up.clear();
    cut(server, client);
}

/// Lets what clients sent arrive, all at once.
pub fn push_at_once(server: &mut Server, clients: &mut [&mut Client]) {
    let sent = clients.iter_mut().flat_map(|client| client.up.drain(..));
    server.tell_all(sent.map(|(session, frame)| input(session, frame)).collect());
}

/// Lets everything that is under way arrive.
pub fn deliver(server: &mut Server, clients: &mut [&mut Client]) {
    push(server, clients);
    loop {
        let under_way = std::mem::take(&mut server.down);
        let before = under_way.len();
        for (session, frame) in under_way {
            match clients.iter_mut().find(|client| client.socket == Some(session)) {
                Some(client) => client.tell(ReplicaInput::SocketFrame(frame)),
                None => server.down.push_back((session, frame)),
            }
        }
        if server.down.len() == before {
            clients.iter_mut().for_each(|client| client.tell(ReplicaInput::Wake));
            return;
        }
        clients.iter_mut().for_each(|client| client.tell(ReplicaInput::Wake));
        push(server, clients);
    }
}

/// The socket is cut on both ends.
pub fn cut(server: &mut Server, client: &mut Client) {
    if let Some(session) = client.socket.take() {
        server.tell(PrimaryInput::SessionClosed { session });
        client.tell(ReplicaInput::SocketClosed { problem: None });
    }
}

/// Asks for a connection now.
pub fn reconnect(server: &mut Server, client: &mut Client) {
    client.ask(Request::Reconnect);
    sync(server, &mut [client]);
}
