//! The bytes in PROTOCOL.md and in golden/ are the bytes of this build, both ways.
// Helpers are outside of #[test] functions, where clippy would allow it by itself.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use offprint_protocol::message::{CatchUp, ClientMessage, Hello, ServerMessage, SnapshotOffer, Welcome};
use offprint_protocol::page::PatchBytes;
use offprint_protocol::rpc::{Reply, Request, Select, Status, Storage, StorageKind, TabEvent, TabRequest};
use offprint_protocol::*;

/// An LZ4 block of 4096 zeros: the byte 0, a match of 4090 at distance 1, five literal zeros.
const ZEROS: &str = "1f000100fffffffffffffffffffffffffffffff6500000000000";
/// An LZ4 block of the byte 1 and then 4095 zeros.
const ONE: &str = "2f01000100fffffffffffffffffffffffffffffff5500000000000";

#[derive(Debug, PartialEq)]
enum Sample {
    Client(ClientMessage),
    Server(ServerMessage),
    Position(Position),
    Patch(PagePatch),
    Definition(Definition),
}

impl Sample {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Sample::Client(message) => message.to_bytes(),
            Sample::Server(message) => message.to_bytes(),
            Sample::Position(position) => position.to_bytes(),
            Sample::Patch(patch) => patch.to_bytes(),
            Sample::Definition(definition) => definition.to_bytes(),
        }
    }

    fn decode_like(&self, bytes: &[u8]) -> Result<Sample, Error> {
        match self {
            Sample::Client(_) => ClientMessage::from_bytes(bytes).map(Sample::Client),
            Sample::Server(_) => ServerMessage::from_bytes(bytes).map(Sample::Server),
            Sample::Position(_) => Position::from_bytes(bytes).map(Sample::Position),
            Sample::Patch(_) => PagePatch::from_bytes(bytes).map(Sample::Patch),
            // A definition is only ever hashed, so nothing decodes it.
            Sample::Definition(definition) => Ok(Sample::Definition(definition.clone())),
        }
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: String =
        text.lines().flat_map(|line| line.split(';').next().unwrap_or("").split_whitespace()).collect();
    assert!(digits.is_ascii() && digits.len().is_multiple_of(2), "odd hex: {digits}");
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    bytes.chunks(32).map(|chunk| line(chunk) + "\n").collect()
}

fn definition() -> Definition {
    let sql = "INSERT INTO todo VALUES (:id, :title)".to_owned();
    Definition {
        name: "todos".into(),
        migrations: vec!["CREATE TABLE todo (id, title)".into()],
        mutators: BTreeMap::from([("add".to_owned(), MutatorSource { sql })]),
    }
}

fn journal() -> JournalId {
    JournalId([0x11; 16])
}

fn client() -> ClientId {
    ClientId([0x22; 16])
}

fn page(first: u8) -> Page {
    let mut page = Page::zeroed();
    page.make_mut()[0] = first;
    page
}

/// Lsn 1 makes pages 1 (zeros) and 2 (zeros); Lsn 2 makes the first byte of page 2 a 1.
fn commits() -> [Commit; 2] {
    let zeros = Page::zeroed().crc();
    let one = page(1).crc();
    let mut checksum = Checksum::default();
    checksum.toggle(PageNo(1), zeros);
    checksum.toggle(PageNo(2), zeros);
    let first = Commit {
        lsn: Lsn(1),
        page_count: 2,
        checksum,
        touched: Touched::All,
        pages: vec![
            PagePatch { no: PageNo(1), crc: zeros, bytes: PatchBytes::Lz4(from_hex(ZEROS)) },
            PagePatch { no: PageNo(2), crc: zeros, bytes: PatchBytes::Lz4(from_hex(ZEROS)) },
        ],
    };
    checksum.toggle(PageNo(2), zeros);
    checksum.toggle(PageNo(2), one);
    let second = Commit {
        lsn: Lsn(2),
        page_count: 2,
        checksum,
        touched: Touched::Tables(vec!["todo".into()]),
        pages: vec![PagePatch { no: PageNo(2), crc: one, bytes: PatchBytes::Xor(from_hex(ONE)) }],
    };
    [first, second]
}

fn position() -> Position {
    let [first, second] = commits();
    Position::start(journal()).after(&first).after(&second)
}

fn mark(seq: u64) -> Mark {
    Mark { seq: MutationSeq(seq), hash: TimelineHash(0xa0 + seq) }
}

fn outcome() -> Outcome {
    let rejection = Rejection {
        seq: MutationSeq(4),
        name: "add".into(),
        code: "constraint".into(),
        message: "UNIQUE constraint failed: todo.id".into(),
        lsn: Lsn(1),
    };
    Outcome { client: client(), through: mark(5), rejections: vec![rejection] }
}

fn samples() -> BTreeMap<&'static str, Sample> {
    let hello = Hello {
        min_version: 1,
        max_version: 1,
        document: DocumentId::new("team-42").unwrap(),
        client: client(),
        secret: ClientSecret([0x33; 16]),
        definition: "todos".into(),
        hash: definition().hash(),
        token: String::new(),
        position: None,
        local: false,
        fetches: true,
        confirmed: Mark::default(),
    };
    let resume =
        Hello { token: "t0ken".into(), position: Some(position()), confirmed: mark(300), ..hello.clone() };
    let local = Hello { position: Some(position()), local: true, fetches: false, ..hello.clone() };
    let value = |name: &str, value: Value| Argument { name: name.into(), value };
    let push = vec![
        Mutation {
            seq: MutationSeq(4),
            at: 1_700_000_000_000,
            name: "add".into(),
            args: vec![value("id", Value::Text("a1".into())), value("title", Value::Null)],
        },
        Mutation {
            seq: MutationSeq(5),
            at: 1_700_000_000_001,
            name: "all".into(),
            args: vec![
                value("big", Value::Integer(i64::MIN)),
                value("blob", Value::Blob(vec![0, 255])),
                value("int", Value::Integer(-3)),
                value("real", Value::Real(0.5)),
            ],
        },
    ];
    let welcome = |catch_up| {
        let welcome = Welcome { version: 1, journal: journal(), marks: vec![mark(1), mark(3)], catch_up };
        Sample::Server(ServerMessage::Welcome(welcome))
    };
    let [first, second] = commits();
    let part = Rollup {
        from: Lsn(0),
        to: Lsn(2),
        hash: position().hash,
        page_count: 2,
        checksum: second.checksum,
        last: false,
        outcomes: vec![],
        pages: vec![PagePatch {
            no: PageNo(1),
            crc: Page::zeroed().crc(),
            bytes: PatchBytes::Raw(Page::zeroed().to_vec()),
        }],
    };
    let last = Rollup {
        last: true,
        outcomes: vec![outcome()],
        pages: vec![PagePatch { no: PageNo(2), crc: page(1).crc(), bytes: PatchBytes::Lz4(from_hex(ONE)) }],
        ..part.clone()
    };
    let offer = SnapshotOffer { lsn: Lsn(2), hash: position().hash, page_count: 2, checksum: part.checksum };
    let whole = Rollup { outcomes: vec![], ..last.clone() };
    let refused = ServerMessage::Refused { code: "bad_frame".into(), message: "malformed bytes".into() };
    let batch = CommitBatch { outcomes: vec![outcome()], commits: vec![first, second] };
    let nothing = CommitBatch { outcomes: vec![], commits: vec![] };
    BTreeMap::from([
        ("client-hello", Sample::Client(ClientMessage::Hello(hello))),
        ("client-hello-resume", Sample::Client(ClientMessage::Hello(resume))),
        ("client-hello-local", Sample::Client(ClientMessage::Hello(local))),
        ("client-push", Sample::Client(ClientMessage::Push(push))),
        ("client-ping", Sample::Client(ClientMessage::Ping(300))),
        ("client-offer", Sample::Client(ClientMessage::Offer(whole))),
        ("client-fetched", Sample::Client(ClientMessage::Fetched(true))),
        ("server-welcome-tail", welcome(CatchUp::Tail)),
        ("server-welcome-rollup", welcome(CatchUp::Rollup)),
        ("server-welcome-reset", welcome(CatchUp::Reset)),
        ("server-welcome-offer", welcome(CatchUp::Offer)),
        ("server-welcome-snapshot", welcome(CatchUp::Snapshot(offer))),
        ("server-commits", Sample::Server(ServerMessage::Commits(batch))),
        ("server-commits-empty", Sample::Server(ServerMessage::Commits(nothing))),
        ("server-rollup-part", Sample::Server(ServerMessage::Rollup(part))),
        ("server-rollup-last", Sample::Server(ServerMessage::Rollup(last))),
        ("server-pong", Sample::Server(ServerMessage::Pong(300))),
        ("server-refused", Sample::Server(refused)),
        ("position", Sample::Position(position())),
        ("patch-delta", Sample::Patch(PagePatch::new(PageNo(2), &page(1), Some(&page(0))))),
        ("definition", Sample::Definition(definition())),
    ])
}

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn protocol_md() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("PROTOCOL.md")).unwrap()
}

/// The fenced blocks of PROTOCOL.md whose info string is `language name`, by name.
fn blocks(language: &str) -> Vec<(String, String)> {
    let text = protocol_md();
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```").and_then(|info| info.strip_prefix(language)) else {
            continue;
        };
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push((name.trim().to_owned(), body.join("\n")));
    }
    blocks
}

#[test]
fn every_message_kind_encodes_to_its_golden_bytes_and_back() {
    for (name, sample) in samples() {
        let path = golden_dir().join(format!("{name}.hex"));
        let golden = fs::read_to_string(&path).unwrap_or_default();
        let bytes = sample.bytes();
        assert_eq!(from_hex(&golden), bytes, "{name} is not what this build writes:\n{}", to_hex(&bytes));
        assert_eq!(sample.decode_like(&bytes).unwrap(), sample, "{name}");
    }
}

#[test]
fn every_golden_file_belongs_to_a_sample() {
    let names: BTreeSet<String> = samples().keys().map(|name| format!("{name}.hex")).collect();
    let files: BTreeSet<String> = fs::read_dir(golden_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, names);
}

#[test]
fn the_frames_in_the_document_are_the_golden_ones() {
    let samples = samples();
    let documented = blocks("hex");
    for (name, text) in &documented {
        if name == "rows" {
            continue;
        }
        let sample = samples.get(name.as_str()).unwrap_or_else(|| panic!("no sample is named {name}"));
        let bytes = from_hex(text);
        assert_eq!(bytes, sample.bytes(), "{name}");
        assert_eq!(&sample.decode_like(&bytes).unwrap(), sample, "{name}");
    }
    for kind in ["client-hello", "client-push", "client-ping", "client-fetched", "server-commits"]
        .into_iter()
        .chain([
            "server-welcome-tail",
            "server-welcome-snapshot",
            "server-rollup-last",
            "server-pong",
            "server-refused",
            "patch-delta",
            "position",
            "definition",
            "rows",
        ])
    {
        assert!(documented.iter().any(|(name, _)| name == kind), "{kind} is not documented");
    }
}

#[test]
fn the_rows_in_the_document_are_what_they_are_said_to_be() {
    let (_, text) = blocks("hex").into_iter().find(|(name, _)| name == "rows").unwrap();
    let bytes = from_hex(&text);
    let mut reader = Reader::new(&bytes);
    assert_eq!(reader.list::<String>().unwrap(), ["id", "n"]);
    assert_eq!(reader.varint().unwrap(), 2);
    let cells: Vec<Value> = (0..4).map(|_| reader.get().unwrap()).collect();
    reader.end().unwrap();
    assert_eq!(cells, [Value::Text("a1".into()), Value::Integer(-3), Value::Null, Value::Real(0.5)]);
}

#[test]
fn the_rpc_messages_in_the_document_are_what_this_build_says() {
    let said = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
    let request = |no, request| serde_json::to_value(TabRequest { no: RequestNo(no), request }).unwrap();
    let event = |event: TabEvent| serde_json::to_value(event).unwrap();
    let args =
        BTreeMap::from([("id".to_owned(), Value::Text("a1".into())), ("n".to_owned(), Value::Integer(7))]);
    let select =
        Select { sql: "SELECT * FROM todo WHERE id = ?".into(), params: vec![Value::Text("a1".into())] };
    let Rejection { seq, name, code, message, lsn } = outcome().rejections.remove(0);
    let rejection = rpc::Rejection { seq, name, args: Some(args.clone()), code, message, lsn };
    let status = Status {
        ready: true,
        lsn: Lsn(2),
        local: false,
        pending: 1,
        progress: None,
        download: None,
        connection: rpc::Connection::Online,
        connection_problem: None,
        storage: Storage {
            kind: StorageKind::Opfs,
            durable: true,
            reason: None,
            persisted: None,
            shortage: None,
        },
        rejections: vec![],
    };
    let problem: rpc::Problem = Error::new(Code::UnknownMutator, "no mutator is named \"ad\"").into();
    let expected = BTreeMap::from([
        ("mutate", request(1, Request::Mutate { name: "add".into(), args })),
        ("query", request(2, Request::Query(select.clone()))),
        ("subscribe", request(3, Request::Subscribe { subscription: 1, select })),
        ("unsubscribe", request(4, Request::Unsubscribe { subscription: 1 })),
        ("dismiss", request(5, Request::Dismiss { seq: MutationSeq(4) })),
        ("retry", request(10, Request::Retry { seq: MutationSeq(4) })),
        ("reconnect", request(6, Request::Reconnect)),
        ("take-servers", request(7, Request::TakeServers)),
        ("export", request(7, Request::Export { confirmed: false })),
        ("export-part", request(8, Request::ExportPart { export: RequestNo(7), part: 0 })),
        ("end-export", request(9, Request::EndExport { export: RequestNo(7) })),
        (
            "applied",
            event(TabEvent::Reply { no: RequestNo(1), reply: Reply::Applied { seq: MutationSeq(9) } }),
        ),
        ("done", event(TabEvent::Reply { no: RequestNo(4), reply: Reply::Done })),
        (
            "exported",
            event(TabEvent::Reply {
                no: RequestNo(7),
                reply: Reply::Export { export: RequestNo(7), lsn: Lsn(2), size: 12288 },
            }),
        ),
        ("failed", event(TabEvent::Failed { no: RequestNo(1), problem: problem.clone() })),
        ("durable", event(TabEvent::Durable { requests: vec![RequestNo(1)] })),
        ("confirmed", event(TabEvent::Confirmed { requests: vec![RequestNo(1)] })),
        ("rejected", event(TabEvent::Rejected { no: RequestNo(1), rejection })),
        ("subscription-failed", event(TabEvent::SubscriptionFailed { subscription: 1, problem })),
        ("status", event(TabEvent::Status(status))),
    ]);
    let documented: BTreeMap<String, serde_json::Value> =
        blocks("json").into_iter().map(|(name, text)| (name, said(&text))).collect();
    for (name, json) in &expected {
        assert_eq!(documented.get(*name), Some(json), "{name} should read {json}");
    }
    assert_eq!(documented.len(), expected.len());
}

#[test]
fn the_sample_commits_give_the_pages_and_the_checksum_they_name() {
    let mut pages: BTreeMap<PageNo, Page> = BTreeMap::new();
    for commit in commits() {
        for patch in &commit.pages {
            let page = patch.apply(pages.get(&patch.no)).unwrap();
            pages.insert(patch.no, page);
        }
        let mut checksum = Checksum::default();
        for (no, page) in &pages {
            checksum.toggle(*no, page.crc());
        }
        assert_eq!(checksum, commit.checksum);
    }
    assert_eq!(pages[&PageNo(2)], page(1));
}

#[test]
fn a_golden_frame_cut_short_or_too_long_is_a_bad_frame() {
    for (name, sample) in samples() {
        if matches!(sample, Sample::Definition(_)) {
            continue;
        }
        let mut bytes = sample.bytes();
        for len in 0..bytes.len() {
            let error = sample.decode_like(&bytes[..len]).expect_err(name);
            assert!(matches!(error.code, Code::BadFrame | Code::BadDocumentId), "{name} at {len}: {error}");
        }
        bytes.push(0);
        assert_eq!(sample.decode_like(&bytes).unwrap_err().code, Code::BadFrame, "{name}");
    }
}

#[test]
fn a_flipped_bit_decodes_to_an_error_or_to_something_else_but_never_panics() {
    for sample in samples().values() {
        let bytes = sample.bytes();
        if matches!(sample, Sample::Definition(_)) {
            continue;
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(sample.decode_like(&flipped).as_ref(), Ok(sample), "bit {bit} means nothing");
        }
    }
}
