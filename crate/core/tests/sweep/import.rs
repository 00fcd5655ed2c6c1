//! A document without a server that begins with a file: what was told of either must still be so after any power cut.

use std::collections::BTreeMap;

use offprint_core::Replica;
use offprint_core::disk::{DiskAnswer, DiskBatch, DiskValue};
use offprint_core::host::{ReplicaConfig, ReplicaEffect, ReplicaInput};
use offprint_protocol::rpc::{Bytes, Reply, Request, Select, Status, StorageKind, TabEvent};
use offprint_protocol::{DocumentId, Reader, RequestNo, TabId, Value};
use rusqlite::Connection;

use crate::sweep::fault_disk::{Cut, FaultDisk, Throw};
use crate::sweep::faults::{Fault, Report};
use crate::sweep::pair::{DUMP, Harm, SCHEMA, TOKENS, definition};
use crate::sweep::random::Random;
use crate::sweep::stock;

/// What a tab has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Import,
    /// The mutation with this token.
    Add(u64),
}

struct Device<'a> {
    file: &'a [u8],
    /// How many rows of it there are, and whether they are to be there.
    rows: u64,
    is_refused: bool,
    core: Replica,
    disk: FaultDisk,
    batch: Option<(DiskBatch, Vec<DiskValue>)>,
    ops: u64,
    harm: Option<(u64, Harm)>,
    random: Random,
    report: Report,
    now: u64,
    wake: Option<u64>,
    is_ready: bool,
    lives: u8,
    tab: TabId,
    last: u64,
    /// What this life's tab waits for.
    open: BTreeMap<RequestNo, What>,
    is_imported: bool,
    /// The last token that was told durable.
    durable: u64,
}

fn replica(life: u8) -> Replica {
    let document = DocumentId::new("doc").unwrap();
    let config = ReplicaConfig {
        document,
        definition: definition(),
        server: false,
        fetches: false,
        entropy: [life; 32],
    };
    let mut replica = Replica::new(config).unwrap();
    replica.set_confirm_after(2);
    replica
}

/// A file with so many rows of a kilobyte.
fn file(rows: u64) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let connection = Connection::open(&path).unwrap();
    let rows = format!(
        "WITH n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO log (token, data) SELECT -i, hex(randomblob(500)) FROM n"
    );
    connection.execute_batch(&format!("{SCHEMA}; {rows}; PRAGMA user_version = 1")).unwrap();
    drop(connection);
    std::fs::read(path).unwrap()
}

impl Device<'_> {
    fn begin(&mut self) {
        let ready = ReplicaInput::DiskReady { kind: StorageKind::Opfs, durable: true, reason: None };
        self.tell(vec![ReplicaInput::TabHere { tab: self.tab }, ready]);
    }

    fn ask(&mut self, what: What) {
        self.last += 1;
        self.open.insert(RequestNo(self.last), what);
        self.ask_again(RequestNo(self.last));
    }

    fn ask_again(&mut self, no: RequestNo) {
        let request = match self.open[&no] {
            What::Import => Request::Import { offset: 0, bytes: Bytes(self.file.to_vec()), last: true },
            What::Add(token) => {
                let args = [("token", token as i64), ("size", 20)];
                let args = args.map(|(name, value)| (name.into(), Value::Integer(value)));
                Request::Mutate { name: "add".into(), args: args.into() }
            }
        };
        self.tell(vec![ReplicaInput::Request { tab: self.tab, no, request }]);
    }

    /// Lets things happen until nothing is open and nothing waits for the disk.
    fn settle(&mut self) {
        for _ in 0..20_000 {
            if self.batch.is_some() {
                self.op();
            } else if self.is_ready && self.open.is_empty() {
                return;
            } else {
                self.now = self.wake.take().expect("it waits for something").max(self.now);
                self.tell(vec![ReplicaInput::Wake]);
            }
        }
        panic!("no end: {:?}", self.open);
    }

    fn op(&mut self) {
        let Some((batch, mut values)) = self.batch.take() else { return };
        self.now += 1;
        let harm = self.harm.take_if(|(at, _)| *at == self.ops).map(|(_, harm)| harm);
        self.report.points += u64::from(harm.is_some());
        self.ops += 1;
        let op = &batch.ops[values.len()];
        let result = match harm {
            Some(Harm::Kill(ops)) => {
                self.harm = Some((self.ops + ops, Harm::Cut(Cut::Any)));
                self.report.fired(Fault::Death);
                return self.restart();
            }
            Some(Harm::Throw) => {
                let how = self.random.pick(Throw::of(op));
                Err(self.disk.throw(op, how, &mut self.random, &mut self.report))
            }
            _ => self.disk.op(op, &mut self.report),
        };
        if let Some(Harm::Cut(cut)) = harm {
            self.disk.cut(cut, &mut self.random, &mut self.report);
            // Its tab is dead as well.
            self.open.clear();
            self.tab = TabId([self.lives + 1; 16]);
            return self.restart();
        }
        let is_over = result.is_err() || values.len() + 1 == batch.ops.len();
        let result = result.map(|value| values.push(value));
        if is_over {
            let answer = DiskAnswer { no: batch.no, result: result.map(|()| values) };
            self.tell(vec![ReplicaInput::Disk(answer)]);
        } else {
            self.batch = Some((batch, values));
        }
    }

    fn restart(&mut self) {
        self.lives += 1;
        self.core = replica(self.lives);
        (self.batch, self.wake, self.is_ready) = (None, None, false);
        self.begin();
        for no in self.open.keys().copied().collect::<Vec<_>>() {
            self.ask_again(no);
        }
    }

    fn tell(&mut self, inputs: Vec<ReplicaInput>) {
        let mut effects = Vec::new();
        self.core.handle(self.now, inputs, &mut effects);
        for effect in effects {
            match effect {
                ReplicaEffect::Tab { event, .. } => self.heard(event),
                ReplicaEffect::Disk(batch) => self.batch = Some((batch, Vec::new())),
                ReplicaEffect::Wake { at } => self.wake = Some(at),
                other => panic!("{other:?} without a server"),
            }
        }
    }

    fn heard(&mut self, event: TabEvent) {
        match event {
            TabEvent::Reply { no, reply: Reply::Done } => {
                assert_eq!(self.open.remove(&no), Some(What::Import));
                self.is_imported = true;
            }
            TabEvent::Failed { no, problem } => {
                assert_eq!((self.open.remove(&no), &*problem.code), (Some(What::Import), "exists"));
                self.is_refused = true;
            }
            TabEvent::Durable { requests } => {
                for no in requests {
                    let Some(What::Add(token)) = self.open.remove(&no) else { panic!("it was not asked") };
                    self.durable = self.durable.max(token);
                }
            }
            TabEvent::Status(Status { ready, .. }) if ready && !self.is_ready => {
                self.is_ready = true;
                self.check();
            }
            _ => {}
        }
    }

    fn query(&mut self, sql: &str) -> Vec<i64> {
        let rows = self.core.query(&Select { sql: sql.into(), params: Vec::new() }).unwrap();
        let mut from = Reader::new(&rows);
        assert_eq!(from.varint().unwrap(), 1);
        from.str().unwrap();
        let count = from.varint().unwrap();
        (0..count).map(|_| (from.u8().unwrap(), from.zigzag().unwrap()).1).collect()
    }

    /// The file is there wholly or not at all, and a prefix of the mutations, with everything that was told.
    fn check(&mut self) {
        self.report.recoveries += 1;
        let rows = self.query("SELECT count(*) FROM log WHERE token < 0")[0] as u64;
        assert!(rows == self.rows || rows == 0 && !self.is_imported, "{rows} rows of the file are there");
        let tokens = self.query(TOKENS);
        assert_eq!(tokens, (1..=tokens.len() as i64).collect::<Vec<_>>(), "not a prefix of what was asked");
        assert!(tokens.len() as u64 >= self.durable, "{} is durable, {tokens:?} are there", self.durable);
    }
}

fn run(file: &[u8], rows: u64, seed: u64, harm: Option<(u64, Harm)>, report: &mut Report) -> u64 {
    let mut device = Device {
        file,
        rows,
        is_refused: false,
        core: replica(1),
        disk: FaultDisk::default(),
        batch: None,
        ops: 0,
        harm,
        random: Random::new(seed),
        report: std::mem::take(report),
        now: 1_000_000,
        wake: None,
        is_ready: false,
        lives: 1,
        tab: TabId([1; 16]),
        last: 0,
        open: BTreeMap::new(),
        is_imported: false,
        durable: 0,
    };
    device.begin();
    // The disk is open when the file comes.
    while device.batch.is_some() {
        device.op();
    }
    device.ask(What::Import);
    // While the file is being written, as another tab may.
    if device.is_ready {
        device.ask(What::Add(1));
    }
    device.settle();
    let there = device.query(TOKENS).len() as u64;
    for token in there + 1..=4 {
        device.ask(What::Add(token));
    }
    device.settle();
    let there = device.query(TOKENS).len() as u64;
    for token in there + 1..=4 {
        device.ask(What::Add(token));
    }
    if !device.is_imported && !device.is_refused {
        // What was there, but not told, or other mutations: in both cases it exists.
        device.ask(What::Import);
    }
    device.harm = None;
    device.settle();
    device.check();
    assert_eq!(device.query(TOKENS), [1, 2, 3, 4]);
    let image = device.core.image().unwrap();
    assert!(!stock::check(&stock::file(&image), Some(DUMP)).is_empty());
    *report = device.report;
    device.ops
}

/// The power is cut, a call throws, or the hub dies and the power is cut later, at every `stride`th operation.
pub fn sweep(what: &str, rows: u64, seed: u64, stride: usize) -> Report {
    let mut report = Report::default();
    let file = file(rows);
    let ops = run(&file, rows, seed, None, &mut report);
    println!("{what}: seed {seed}, {} bytes, {ops} operations", file.len());
    for at in (0..ops).step_by(stride) {
        let cut = Cut::ALL[at as usize % Cut::ALL.len()];
        for harm in [Harm::Cut(cut), Harm::Cut(Cut::Any), Harm::Kill(8 + at % 13), Harm::Throw] {
            run(&file, rows, seed, Some((at, harm)), &mut report);
        }
    }
    report
}
