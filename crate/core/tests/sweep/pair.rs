//! A replica and its primary, each on a fault disk of its own: what was told must still be so after any power cut.

use std::collections::{BTreeMap, VecDeque};

use offprint_core::disk::{DiskAnswer, DiskBatch, DiskValue};
use offprint_core::host::{
    PrimaryConfig, PrimaryEffect, PrimaryInput, ReplicaConfig, ReplicaEffect, ReplicaInput,
};
use offprint_core::{Primary, Replica};
use offprint_protocol::message::ClientMessage;
use offprint_protocol::rpc::{Request, Select, Status, StorageKind, TabEvent};
use offprint_protocol::{
    Code, Decode, Definition, DocumentId, Error, Lsn, MutatorSource, Reader, RequestNo, SessionNo, TabId,
    Value,
};
use rusqlite::{Connection, named_params};

use crate::sweep::fault_disk::{Cut, FaultDisk, Throw};
use crate::sweep::faults::{Fault, Report};
use crate::sweep::random::Random;
use crate::sweep::stock;

pub(super) const SCHEMA: &str =
    "CREATE TABLE log (id INTEGER PRIMARY KEY, token INTEGER NOT NULL, data TEXT)";
const ADD: &str = "INSERT INTO log (token, data) VALUES (:token, hex(zeroblob(:size)))";
const GROW: &str = "INSERT INTO log (token) VALUES (:token);
    INSERT INTO log (token, data) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :size)
    SELECT -:token, printf('%08x%08x', i * 2654435761 % 4294967291, i * 40503001 % 4294967279) FROM n";
const SHRINK: &str = "DELETE FROM log WHERE token < 0; INSERT INTO log (token, data) VALUES (:token, :size)";
pub(super) const TOKENS: &str = "SELECT token FROM log WHERE token > 0 ORDER BY id";
pub(super) const DUMP: &str = "SELECT id || ' ' || token || ' ' || coalesce(data, '') FROM log ORDER BY id";

/// What the tab does.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    /// Calls a mutator so many times.
    Ask(&'static str, i64, usize),
    Online,
    Offline,
    /// Lets so much happen.
    Steps(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Client,
    Server,
}

/// What is done to one of the two disks, and when.
#[derive(Debug, Clone, Copy)]
pub enum Harm {
    Cut(Cut),
    /// The core dies and comes back to files of which not everything is flushed, on a disk that is slow; so many
    /// operations later the power is cut.
    Kill(u64),
    Throw,
}

/// A core and the batch that it waits for.
struct Host<T> {
    core: T,
    disk: FaultDisk,
    batch: Option<(DiskBatch, Vec<DiskValue>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Asked,
    Durable,
    Confirmed,
}

pub struct Pair {
    client: Host<Replica>,
    server: Host<Primary>,
    pub ops: [u64; 2],
    harm: Option<(Whose, u64, Harm)>,
    random: Random,
    report: Report,
    now: u64,
    wake: Option<u64>,
    status: Option<Status>,
    wants_socket: bool,
    is_online: bool,
    socket: Option<SessionNo>,
    is_greeted: bool,
    up: VecDeque<Vec<u8>>,
    down: VecDeque<Vec<u8>>,
    lives: u8,
    tab: TabId,
    was_killed: bool,
    /// By token, which is the request's number too.
    asked: BTreeMap<u64, (&'static str, i64, Stage)>,
    is_checked: bool,
    /// The last commit that the server spoke of.
    told: Lsn,
}

pub(super) fn definition() -> Definition {
    let mutator = |sql: &str| MutatorSource { sql: sql.into() };
    Definition {
        name: "log".into(),
        migrations: vec![SCHEMA.into()],
        mutators: [("add", ADD), ("grow", GROW), ("shrink", SHRINK)]
            .map(|(name, sql)| (name.into(), mutator(sql)))
            .into(),
    }
}

fn entropy(life: u8) -> [u8; 32] {
    [life; 32]
}

fn replica(life: u8) -> Replica {
    let document = DocumentId::new("doc").unwrap();
    let config = ReplicaConfig {
        document,
        definition: definition(),
        server: true,
        fetches: false,
        entropy: entropy(life),
    };
    Replica::new(config).unwrap()
}

fn primary(life: u8) -> Primary {
    let document = DocumentId::new("doc").unwrap();
    Primary::new(PrimaryConfig { document, definition: definition(), history: None, entropy: entropy(life) })
        .unwrap()
}

/// Runs the script with some harm and to its end; gives how many operations each disk had.
pub fn run(script: &[Act], seed: u64, harm: Option<(Whose, u64, Harm)>, report: &mut Report) -> [u64; 2] {
    let mut pair = Pair {
        client: Host { core: replica(1), disk: FaultDisk::default(), batch: None },
        server: Host { core: primary(2), disk: FaultDisk::default(), batch: None },
        ops: [0; 2],
        harm,
        random: Random::new(seed),
        report: std::mem::take(report),
        now: 1_000_000,
        wake: None,
        status: None,
        wants_socket: false,
        is_online: true,
        socket: None,
        is_greeted: false,
        up: VecDeque::new(),
        down: VecDeque::new(),
        lives: 2,
        tab: TabId([2; 16]),
        was_killed: false,
        asked: BTreeMap::new(),
        is_checked: false,
        told: Lsn(0),
    };
    pair.begin_client();
    pair.tell_server(vec![]);
    for act in script {
        pair.act(*act);
    }
    pair.is_online = true;
    pair.converge();
    pair.check_end();
    *report = pair.report;
    pair.ops
}

impl Pair {
    fn begin_client(&mut self) {
        let ready = ReplicaInput::DiskReady { kind: StorageKind::Opfs, durable: true, reason: None };
        self.tell_client(vec![ReplicaInput::TabHere { tab: self.tab }, ready]);
    }

    fn ask(&mut self, token: u64) {
        let (name, size, _) = self.asked[&token];
        let args = [("token".into(), Value::Integer(token as i64)), ("size".into(), Value::Integer(size))];
        let request = Request::Mutate { name: name.into(), args: args.into() };
        self.tell_client(vec![ReplicaInput::Request { tab: self.tab, no: RequestNo(token), request }]);
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Ask(name, size, count) => {
                // A tab's requests wait while the files are read; here none is made, so that tokens have no gaps.
                let mut steps = 0;
                while !self.is_checked {
                    self.step();
                    steps += 1;
                    assert!(steps < 100_000, "the files are not read: {:?}", self.status);
                }
                for _ in 0..count {
                    let token = self.asked.last_key_value().map_or(1, |(token, _)| token + 1);
                    self.asked.insert(token, (name, size, Stage::Asked));
                    self.ask(token);
                }
            }
            Act::Online => self.is_online = true,
            Act::Offline => {
                self.is_online = false;
                self.cut_wire();
            }
            Act::Steps(count) => (0..count).for_each(|_| self.step()),
        }
    }

    fn step(&mut self) {
        self.now += 7;
        match self.random.below(8) {
            0..3 if !self.stalls(Whose::Client) => self.client_op(),
            3..5 if !self.stalls(Whose::Server) => self.server_op(),
            5 => self.move_up(),
            6 => self.move_down(),
            _ => self.tick(),
        }
        self.check_client();
    }

    /// Whether the disk is slow, until the power is cut, and has no turn.
    fn stalls(&mut self, whose: Whose) -> bool {
        let is_slow = matches!(self.harm, Some((who, _, Harm::Cut(_))) if who == whose) && self.was_killed;
        is_slow && self.random.below(16) > 0
    }

    fn tick(&mut self) {
        if self.is_online && std::mem::take(&mut self.wants_socket) {
            let no = SessionNo(self.socket.map_or(1, |no| no.0 + 1) + self.now);
            (self.socket, self.is_greeted) = (Some(no), false);
            self.tell_client(vec![ReplicaInput::SocketOpened { token: String::new() }]);
        } else if self.wake.take_if(|at| *at <= self.now).is_some() {
            self.tell_client(vec![ReplicaInput::Wake]);
        }
    }

    fn move_up(&mut self) {
        let (Some(session), Some(frame)) = (self.socket, self.up.pop_front()) else { return };
        let is_greeted = std::mem::replace(&mut self.is_greeted, true);
        let input = match ClientMessage::from_bytes(&frame).unwrap() {
            ClientMessage::Hello(hello) if !is_greeted => PrimaryInput::SessionOpened { session, hello },
            _ => PrimaryInput::SessionFrame { session, frame },
        };
        self.tell_server(vec![input]);
    }

    fn move_down(&mut self) {
        if let Some(frame) = self.down.pop_front() {
            self.tell_client(vec![ReplicaInput::SocketFrame(frame)]);
        }
    }

    fn cut_wire(&mut self) {
        self.up.clear();
        self.down.clear();
        if let Some(session) = self.socket.take() {
            self.tell_server(vec![PrimaryInput::SessionClosed { session }]);
            self.tell_client(vec![ReplicaInput::SocketClosed { problem: None }]);
        }
    }

    /// Whether this operation is the one that is harmed.
    fn harm_now(&mut self, whose: Whose) -> Option<Harm> {
        let at = self.ops[whose as usize];
        self.ops[whose as usize] += 1;
        let (_, _, harm) = self.harm.take_if(|(who, op, _)| (*who, *op) == (whose, at))?;
        self.report.points += 1;
        if let Harm::Kill(ops) = harm {
            self.harm = Some((whose, at + ops, Harm::Cut(Cut::Any)));
            self.was_killed = true;
        }
        Some(harm)
    }

    fn client_op(&mut self) {
        let Some((batch, mut values)) = self.client.batch.take() else { return };
        let harm = self.harm_now(Whose::Client);
        if let Some(Harm::Kill(_)) = harm {
            return self.kill_client();
        }
        let op = &batch.ops[values.len()];
        let result = match harm {
            Some(Harm::Throw) => {
                let how = self.random.pick(Throw::of(op));
                Err(self.client.disk.throw(op, how, &mut self.random, &mut self.report))
            }
            _ => self.client.disk.op(op, &mut self.report),
        };
        if let Some(Harm::Cut(cut)) = harm {
            self.client.disk.cut(cut, &mut self.random, &mut self.report);
            return self.restart_client();
        }
        let is_over = result.is_err() || values.len() + 1 == batch.ops.len();
        let result = result.map(|value| values.push(value));
        if is_over {
            let answer = DiskAnswer { no: batch.no, result: result.map(|()| values) };
            self.tell_client(vec![ReplicaInput::Disk(answer)]);
        } else {
            self.client.batch = Some((batch, values));
        }
    }

    fn server_op(&mut self) {
        let Some((batch, mut values)) = self.server.batch.take() else { return };
        let harm = self.harm_now(Whose::Server);
        if let Some(Harm::Kill(_)) = harm {
            self.report.fired(Fault::Death);
            return self.restart_server();
        }
        let op = &batch.ops[values.len()];
        let result = match harm {
            Some(Harm::Throw) => {
                let how = self.random.pick(Throw::of(op));
                Err(self.server.disk.throw(op, how, &mut self.random, &mut self.report))
            }
            _ => self.server.disk.op(op, &mut self.report),
        };
        if let Some(Harm::Cut(cut)) = harm {
            self.server.disk.cut(cut, &mut self.random, &mut self.report);
            return self.restart_server();
        }
        let is_over = result.is_err() || values.len() + 1 == batch.ops.len();
        let result = result.map(|value| values.push(value));
        if is_over {
            let answer = DiskAnswer { no: batch.no, result: result.map(|()| values) };
            self.tell_server(vec![PrimaryInput::Disk(answer)]);
        } else {
            self.server.batch = Some((batch, values));
        }
    }

    /// Its tab lives on, and asks again for what it has not heard the end of.
    fn kill_client(&mut self) {
        self.report.fired(Fault::Death);
        self.new_client();
        let open = self.asked.iter().filter(|(_, (_, _, stage))| *stage < Stage::Confirmed);
        for token in open.map(|(token, _)| *token).collect::<Vec<_>>() {
            self.ask(token);
        }
    }

    fn restart_client(&mut self) {
        self.tab = TabId([self.lives + 1; 16]);
        self.new_client();
    }

    fn new_client(&mut self) {
        self.lives += 1;
        self.client.core = replica(self.lives);
        (self.client.batch, self.wake, self.status) = (None, None, None);
        (self.wants_socket, self.is_checked) = (false, false);
        self.up.clear();
        self.down.clear();
        if let Some(session) = self.socket.take() {
            self.tell_server(vec![PrimaryInput::SessionClosed { session }]);
        }
        self.begin_client();
    }

    fn restart_server(&mut self) {
        self.lives += 1;
        self.server.core = primary(self.lives);
        self.server.batch = None;
        self.tell_server(vec![]);
        self.cut_wire();
    }

    /// After a restart: of what was asked a prefix is there, with everything durable; the rest was never told.
    fn check_client(&mut self) {
        if self.is_checked {
            return;
        }
        let select = Select { sql: TOKENS.into(), params: Vec::new() };
        let Ok(rows) = self.client.core.query(&select) else { return };
        self.is_checked = true;
        self.report.recoveries += 1;
        let mut from = Reader::new(&rows);
        assert_eq!((from.varint().unwrap(), from.str().unwrap()), (1, "token"));
        let count = from.varint().unwrap();
        for token in 1..=count {
            let cell = (from.u8().unwrap(), from.zigzag().unwrap());
            assert_eq!(cell, (1, token as i64), "not a prefix of what was asked");
        }
        let durable = self.asked.iter().rfind(|(_, (_, _, stage))| *stage > Stage::Asked);
        assert!(
            durable.is_none_or(|(token, _)| *token <= count),
            "{durable:?} is durable, {count} are there"
        );
        // What is not there was not told, and its tab is dead.
        self.asked.retain(|token, _| *token <= count);
    }

    fn tell_client(&mut self, inputs: Vec<ReplicaInput>) {
        let mut effects = Vec::new();
        self.client.core.handle(self.now, inputs, &mut effects);
        for effect in effects {
            match effect {
                ReplicaEffect::Tab { event, .. } => self.heard(event),
                ReplicaEffect::Disk(batch) => self.client.batch = Some((batch, Vec::new())),
                ReplicaEffect::Connect => self.wants_socket = true,
                ReplicaEffect::Disconnect => {
                    self.wants_socket = false;
                    self.cut_wire();
                }
                ReplicaEffect::Send(frame) => {
                    if self.socket.is_some() {
                        self.up.push_back(frame);
                    }
                }
                ReplicaEffect::Fetch { .. } | ReplicaEffect::StopFetch => panic!("it cannot fetch"),
                ReplicaEffect::Wake { at } => self.wake = Some(at),
            }
        }
    }

    fn heard(&mut self, event: TabEvent) {
        let (requests, stage) = match event {
            TabEvent::Durable { requests } => (requests, Stage::Durable),
            TabEvent::Confirmed { requests } => (requests, Stage::Confirmed),
            TabEvent::Status(status) => {
                self.status = Some(status);
                return;
            }
            TabEvent::Failed { problem, .. } => panic!("{problem:?}"),
            TabEvent::Rejected { rejection, .. } => panic!("{rejection:?}"),
            _ => return,
        };
        for RequestNo(token) in requests {
            let (_, _, known) = self.asked.get_mut(&token).expect("it was asked");
            *known = stage.max(*known);
        }
    }

    fn tell_server(&mut self, inputs: Vec<PrimaryInput>) {
        let (mut effects, mut asked) = (Vec::new(), Vec::new());
        self.server.core.handle(self.now, inputs, &mut effects);
        let mut error: Option<Error> = None;
        for effect in effects {
            match effect {
                PrimaryEffect::Send { session, frame } if self.socket == Some(session) => {
                    self.down.push_back(frame);
                }
                PrimaryEffect::Send { .. } => {}
                PrimaryEffect::AskDrained { session } => asked.push(PrimaryInput::SessionDrained { session }),
                PrimaryEffect::Close { session } => {
                    if self.socket == Some(session) {
                        self.cut_wire();
                    }
                }
                PrimaryEffect::Disk(batch) => self.server.batch = Some((batch, Vec::new())),
                PrimaryEffect::Fail(failed) => error = Some(failed),
            }
        }
        if let Some(error) = error {
            assert_eq!(error.code, Code::Disk, "{error}");
            self.report.fired(Fault::Death);
            self.restart_server();
        }
        if let Some(here) = self.client.core.position() {
            self.told = self.told.max(here.lsn);
        }
        if !asked.is_empty() {
            self.tell_server(asked);
        }
        // Until it is read back, a restarted server has no position.
        if let Some(there) = self.server.core.position() {
            assert!(there.lsn >= self.told, "{:?} was told, {there:?} is there", self.told);
        }
    }

    fn converge(&mut self) {
        for _ in 0..200_000 {
            let is_done = |status: &Status| status.ready && status.pending == 0;
            if self.status.as_ref().is_some_and(is_done)
                && self.client.batch.is_none()
                && self.server.batch.is_none()
                && self.server.core.is_settled()
                && self.client.core.position() == self.server.core.position()
                && self.asked.values().all(|(_, _, stage)| *stage == Stage::Confirmed || self.lives > 2)
            {
                return;
            }
            self.step();
        }
        panic!("no end: {:?}", self.status);
    }

    /// Both sides are equal, and equal to stock SQLite that ran the mutations in the journal's order.
    fn check_end(&mut self) {
        self.check_client();
        let image = self.server.core.image().unwrap();
        assert!(self.client.core.image().unwrap() == image, "the two differ");
        let file = stock::file(&image);
        let tokens =
            stock::check(&file, Some("SELECT CAST(token AS TEXT) FROM log WHERE token > 0 ORDER BY id"));
        let asked: Vec<String> = self.asked.keys().map(u64::to_string).collect();
        assert_eq!(tokens, asked, "each exactly once");
        let serial = Connection::open_in_memory().unwrap();
        serial.execute_batch(SCHEMA).unwrap();
        for (token, (name, size, _)) in &self.asked {
            let sql = match *name {
                "add" => ADD,
                "grow" => GROW,
                _ => SHRINK,
            };
            for one in sql.split(';') {
                let mut statement = serial.prepare(one).unwrap();
                let params = named_params! { ":token": *token as i64, ":size": size };
                let used: Vec<(&str, &dyn rusqlite::ToSql)> = params
                    .iter()
                    .filter(|(name, _)| statement.parameter_index(name).unwrap().is_some())
                    .copied()
                    .collect();
                statement.execute(&used[..]).unwrap();
            }
        }
        let mut statement = serial.prepare(DUMP).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let rows: Vec<String> = rows.map(|row| row.unwrap()).collect();
        assert!(stock::check(&file, Some(DUMP)) == rows, "not what a serial replay gives");
    }
}

/// The power is cut, or a call throws, at every `stride`th operation of each disk.
pub fn sweep(what: &str, script: &[Act], seed: u64, stride: usize) -> Report {
    let mut report = Report::default();
    let ops = run(script, seed, None, &mut report);
    println!("{what}: seed {seed}, {ops:?} operations");
    for (whose, ops) in [(Whose::Client, ops[0]), (Whose::Server, ops[1])] {
        for at in (0..ops).step_by(stride) {
            let cut = Cut::ALL[at as usize % Cut::ALL.len()];
            let kill = Harm::Kill(8 + at % 13);
            for harm in [Harm::Cut(cut), Harm::Cut(Cut::Any), kill, Harm::Throw] {
                run(script, seed, Some((whose, at, harm)), &mut report);
            }
        }
    }
    report
}
