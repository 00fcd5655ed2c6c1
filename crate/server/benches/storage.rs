//! What a primary on local files costs, beside what the files cost alone: a commit beside a bare append, an open after a
//! crash beside an open of files that were left in order. `npm run bench` prints the ratios.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use offprint_core::Primary;
use offprint_core::disk::{DiskBatch, DiskOp, FileName};
use offprint_core::host::{PrimaryConfig, PrimaryEffect, PrimaryInput};
use offprint_protocol::message::{ClientMessage, Hello, PROTOCOL_VERSION, ServerMessage};
use offprint_protocol::*;
use offprint_server::FileDisk;
use tempfile::TempDir;

const SESSION: SessionNo = SessionNo(1);
/// Rows of a document of about 10 MB.
const ROWS: i64 = 10_000;
/// Commits of about 1.1 KB that fill a log almost to its checkpoint.
const LOG: i64 = 1600;

fn definition() -> Definition {
    let mutator = |sql: &str| MutatorSource { sql: sql.into() };
    Definition {
        name: "bench".into(),
        migrations: vec!["CREATE TABLE item (id INTEGER PRIMARY KEY, data BLOB NOT NULL)".into()],
        mutators: BTreeMap::from([(
            "put".into(),
            mutator("INSERT INTO item VALUES (:id, :data) ON CONFLICT DO UPDATE SET data = excluded.data"),
        )]),
    }
}

/// Bytes that do not compress.
fn noise(seed: i64, length: usize) -> Vec<u8> {
    let mut x = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A primary on the files in a directory, with one client.
struct Room {
    primary: Primary,
    disk: FileDisk,
    seq: MutationSeq,
    /// What the disk has to do next.
    batch: Option<DiskBatch>,
    /// What the primary asked to be told.
    drained: Option<PrimaryInput>,
    /// Bytes of the last write to a log.
    appended: usize,
}

impl Room {
    /// Opens the document and greets its client.
    fn open(data: &Path) -> Self {
        let document = DocumentId::new("bench").unwrap();
        let disk = FileDisk::open(data, &document, Duration::ZERO).unwrap();
        let (history, entropy) = (None, [7; 32]);
        let config = PrimaryConfig { document: document.clone(), definition: definition(), history, entropy };
        let primary = Primary::new(config).unwrap();
        let mut room = Self { primary, disk, seq: MutationSeq(0), batch: None, drained: None, appended: 0 };
        let hello = Hello {
            min_version: PROTOCOL_VERSION,
            max_version: PROTOCOL_VERSION,
            document,
            client: ClientId([1; 16]),
            secret: ClientSecret([2; 16]),
            definition: definition().name,
            hash: definition().hash(),
            token: String::new(),
            position: None,
            local: false,
            fetches: false,
            confirmed: Mark::default(),
        };
        let greeted = room.until(PrimaryInput::SessionOpened { session: SESSION, hello }, |message| {
            let ServerMessage::Welcome(welcome) = message else { return None };
            Some(welcome.marks.last().map_or(MutationSeq(0), |mark| mark.seq))
        });
        room.seq = greeted;
        room
    }

    /// Confirms one mutation: it is run, flushed and told.
    fn put(&mut self, id: i64, data: Vec<u8>) {
        self.seq = self.seq.next();
        let seq = self.seq;
        let args = vec![
            Argument { name: "data".into(), value: Value::Blob(data) },
            Argument { name: "id".into(), value: Value::Integer(id) },
        ];
        let push = ClientMessage::Push(vec![Mutation { seq, at: 0, name: "put".into(), args }]);
        self.until(PrimaryInput::SessionFrame { session: SESSION, frame: push.to_bytes() }, |message| {
            let outcomes = match message {
                ServerMessage::Commits(batch) => batch.outcomes,
                ServerMessage::Rollup(rollup) => rollup.outcomes,
                other => panic!("{other:?}"),
            };
            outcomes.iter().any(|outcome| outcome.through.seq == seq).then_some(())
        });
    }

    /// Goes on until the client is told what `told` looks for; what the disk has to do then is left for later.
    fn until<T>(&mut self, input: PrimaryInput, told: impl Fn(ServerMessage) -> Option<T>) -> T {
        let mut input = Some(input);
        loop {
            let answer = self.batch.take().map(|batch| PrimaryInput::Disk(self.disk.run(batch)));
            assert!(
                answer.is_some() || input.is_some() || self.drained.is_some(),
                "nothing happens any more"
            );
            let inputs = answer.into_iter().chain(self.drained.take()).chain(input.take());
            if let Some(found) = self.handle(inputs, &told) {
                return found;
            }
        }
    }

    /// Lets the disk finish.
    fn settle(&mut self) {
        while let Some(batch) = self.batch.take() {
            let answer = PrimaryInput::Disk(self.disk.run(batch));
            self.handle([answer], &|_| None::<()>);
        }
    }

    fn handle<T>(
        &mut self,
        inputs: impl IntoIterator<Item = PrimaryInput>,
        told: &impl Fn(ServerMessage) -> Option<T>,
    ) -> Option<T> {
        let mut effects = Vec::new();
        self.primary.handle(0, inputs, &mut effects);
        let mut found = None;
        for effect in effects {
            match effect {
                PrimaryEffect::Send { frame, .. } => {
                    found = found.or(told(ServerMessage::from_bytes(&frame).unwrap()));
                }
                PrimaryEffect::AskDrained { session } => {
                    self.drained = Some(PrimaryInput::SessionDrained { session });
                }
                PrimaryEffect::Disk(batch) => self.batch = Some(batch),
                other => panic!("{other:?}"),
            }
        }
        if let Some(batch) = &self.batch {
            for op in &batch.ops {
                if let DiskOp::Write { file: FileName::Log0 | FileName::Log1, bytes, .. } = op {
                    self.appended = bytes.len();
                }
            }
        }
        found
    }
}

/// A commit: a mutation is run, its pages and outcome are appended and flushed, its client is told. Beside it, an append
/// and flush of as many bytes, into a file as long as a log.
fn commit(criterion: &mut Criterion) {
    let data = TempDir::new().unwrap();
    let mut room = Room::open(data.path());
    for id in 0..200 {
        room.put(id, noise(id, 100));
    }
    room.settle();
    let mut group = criterion.benchmark_group("commit");
    let mut id = 0;
    group.bench_function("primary", |bencher| {
        bencher.iter(|| {
            id += 1;
            room.put(id % 200, noise(id, 100));
        });
    });
    let bytes = noise(0, room.appended);
    let mut file = File::create(data.path().join("bare")).unwrap();
    file.write_all(&vec![0; 4 << 20]).unwrap();
    file.sync_all().unwrap();
    let mut end = 0;
    group.bench_function("bare", |bencher| {
        bencher.iter(|| {
            end = if end + bytes.len() > 4 << 20 { 0 } else { end };
            file.seek(SeekFrom::Start(end as u64)).unwrap();
            file.write_all(&bytes).unwrap();
            file.sync_data().unwrap();
            end += bytes.len();
        });
    });
    group.finish();
}

/// From the files to the client's Welcome, for a document of about 10 MB: closed in order, and killed with a full log.
fn open(criterion: &mut Criterion) {
    let ordered = TempDir::new().unwrap();
    let mut room = Room::open(ordered.path());
    for id in 0..ROWS {
        room.put(id, noise(id, 1000));
    }
    room.settle();
    drop(room);
    // Its opening leaves nothing behind that the next would have to read.
    Room::open(ordered.path()).settle();
    let killed = copy(ordered.path());
    let mut room = Room::open(killed.path());
    for id in 0..LOG {
        room.put(id * 7919 % ROWS, noise(-id, 1000));
    }
    drop(room);
    let mut group = criterion.benchmark_group("open");
    group.sample_size(30);
    for (name, files) in [("ordered", &ordered), ("killed", &killed)] {
        group.bench_function(name, |bencher| {
            let opened = |data: TempDir| (Room::open(data.path()), data);
            bencher.iter_batched(|| copy(files.path()), opened, BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// A copy of a data directory with one document.
fn copy(from: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    for document in fs::read_dir(from).unwrap() {
        let document = document.unwrap();
        let directory = to.path().join(document.file_name());
        fs::create_dir(&directory).unwrap();
        for file in fs::read_dir(document.path()).unwrap() {
            let file = file.unwrap();
            let copied = directory.join(file.file_name());
            fs::copy(file.path(), &copied).unwrap();
            File::open(copied).unwrap().sync_all().unwrap();
        }
    }
    to
}

criterion_group!(benches, commit, open);
criterion_main!(benches);
