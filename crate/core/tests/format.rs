//! The bytes in FORMAT.md and in golden/ are the bytes of this build, both ways.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod storage;

use std::fs;
use std::path::{Path, PathBuf};

use offprint_core::aside::entries;
use offprint_core::disk::FileName;
use offprint_core::disk_memory::DiskMemory;
use offprint_core::head::{BaseInfo, Head, HeadBytes, Identity, Origin, Place, Role, Side};
use offprint_core::ledger::{Answered, ClientEntry, Ledger};
use offprint_core::log::{Chain, LOG_GROWTH, LOG_HEADER_LEN, LogReader};
use offprint_core::record::{PendingMutation, Record};
use offprint_protocol::page::PatchBytes;
use offprint_protocol::*;

const SALT: u64 = 0x0102_0304_0506_0708;
const ME: ClientId = ClientId([0x11; 16]);
const SECRET: ClientSecret = ClientSecret([0x22; 16]);
const JOURNAL: JournalId = JournalId([0x33; 16]);

/// An LZ4 block of the byte 1 and then 4095 zeros.
const ONE: &str = "2f01000100fffffffffffffffffffffffffffffff5500000000000";

fn from_hex(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in text.lines().flat_map(|line| line.split(';').next().unwrap_or("").split_whitespace()) {
        match word.split_once('*') {
            Some(("00", count)) => bytes.resize(bytes.len() + count.parse::<usize>().unwrap(), 0),
            _ => {
                assert!(word.is_ascii() && word.len().is_multiple_of(2), "odd hex: {word}");
                let byte = |at| u8::from_str_radix(&word[at..at + 2], 16).unwrap();
                bytes.extend((0..word.len()).step_by(2).map(byte));
            }
        }
    }
    bytes
}

fn to_hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    bytes.chunks(32).map(|chunk| line(chunk) + "\n").collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn one() -> Page {
    let mut page = Page::zeroed();
    page.make_mut()[0] = 1;
    page
}

fn mark(seq: u64) -> Mark {
    Mark { seq: MutationSeq(seq), hash: TimelineHash(0xa0 + seq) }
}

fn checksum(page: &Page) -> Checksum {
    let mut checksum = Checksum::default();
    checksum.toggle(PageNo(1), page.crc());
    checksum
}

fn mutation(seq: u64) -> PendingMutation {
    let value = Value::Text("milk".into());
    PendingMutation {
        epoch: Epoch(3),
        tab: TabId([0x55; 16]),
        request: RequestNo(seq + 3),
        retries: None,
        mutation: Mutation {
            seq: MutationSeq(seq),
            at: 1_000,
            name: "add".into(),
            args: vec![Argument { name: "title".into(), value }],
        },
    }
}

fn rejection() -> Rejection {
    let (name, code, message) = ("add".into(), "constraint".into(), "no".into());
    Rejection { seq: MutationSeq(4), name, code, message, lsn: Lsn(1) }
}

fn head() -> Head {
    let position = Position { journal: JOURNAL, lsn: Lsn(1), hash: CommitHash([0x44; 32]) };
    Head {
        role: Role::Replica,
        log: Side::Zero,
        base: Side::One,
        generation: 5,
        salt: SALT,
        opening: 0,
        base_info: Some(BaseInfo {
            position,
            origin: Origin::Primary,
            page_count: 1,
            checksum: checksum(&Page::zeroed()),
        }),
        identity: Identity { client: ME, secret: SECRET, epoch: Epoch(3) },
        document: DocumentId::new("team-42").unwrap(),
    }
}

/// The records by the names of their blocks in FORMAT.md; the first three are the opening.
fn records() -> Vec<(&'static str, Record)> {
    let patch = |crc, bytes| PagePatch { no: PageNo(1), crc, bytes };
    let mut ledger = Ledger::new();
    let (rejections, refused) = (vec![rejection()], vec![mutation(4).mutation]);
    let marks = vec![mark(3), mark(4)];
    ledger.insert(ClientEntry { client: ME, key: SECRET.key(), marks, rejections, refused });
    ledger.answer(TabId([0x55; 16]), RequestNo(7), MutationSeq(4));
    let rollup = Rollup {
        from: Lsn(1),
        to: Lsn(2),
        hash: CommitHash([0x66; 32]),
        page_count: 1,
        checksum: checksum(&one()),
        last: true,
        outcomes: vec![],
        pages: vec![patch(one().crc(), PatchBytes::Lz4(from_hex(ONE)))],
    };
    let commit = Commit {
        lsn: Lsn(3),
        page_count: 1,
        checksum: checksum(&Page::zeroed()),
        touched: Touched::Tables(vec!["todo".into()]),
        pages: vec![patch(Page::zeroed().crc(), PatchBytes::Xor(from_hex(ONE)))],
    };
    let outcomes = vec![Outcome { client: ME, through: mark(5), rejections: vec![] }];
    vec![
        ("rollup", Record::Rollup(rollup)),
        ("ledger", Record::Ledger(ledger)),
        ("mutation-opening", Record::Mutation(mutation(5))),
        ("mutation", Record::Mutation(mutation(6))),
        ("commit", Record::Commits(CommitBatch { outcomes, commits: vec![commit] })),
        ("dismiss", Record::Dismiss(MutationSeq(4))),
    ]
}

/// What a log may begin with, by the names of the blocks: a primary's, and a replica's without a server.
fn firsts() -> [(&'static str, Record); 2] {
    let add = MutatorSource { sql: "INSERT INTO todo VALUES (:title)".into() };
    let definition = Definition {
        name: "todos".into(),
        migrations: vec!["CREATE TABLE todo (title)".into()],
        mutators: [("add".into(), add)].into(),
    };
    [("time", Record::Time(1_700_000_000_000)), ("definition", Record::Definition(definition))]
}

fn first(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    Chain::new(SALT).append(record.kind(), false, &record.body().unwrap(), &mut bytes);
    bytes
}

/// Every block of FORMAT.md as this build writes it: name and bytes, in the order of the file `log-0`, then `head`.
fn blocks() -> Vec<(&'static str, Vec<u8>)> {
    let mut chain = Chain::new(SALT);
    let mut blocks = Vec::new();
    let mut opening = LOG_HEADER_LEN;
    for (index, (name, record)) in records().into_iter().enumerate() {
        let mut bytes = Vec::new();
        chain.append(record.kind(), index == 3, &record.body().unwrap(), &mut bytes);
        if index < 3 {
            opening += bytes.len();
        }
        blocks.push((name, bytes));
    }
    let head = Head { opening: opening as u64, ..head() };
    blocks.insert(0, ("log-header", head.encode(Place::Log)));
    blocks.push(("head", head.encode(Place::Slot)));
    blocks.extend(firsts().iter().map(|(name, record)| (*name, first(record))));
    blocks
}

fn documented(name: &str) -> Vec<u8> {
    let text = fs::read_to_string(folder().join("FORMAT.md")).unwrap();
    let start = text.split_once(&format!("```hex {name}\n"));
    let (_, rest) = start.unwrap_or_else(|| panic!("FORMAT.md has no block {name}"));
    from_hex(rest.split_once("```").unwrap().0)
}

fn golden(name: &str) -> Vec<u8> {
    let path = folder().join("tests/golden").join(name).with_extension("hex");
    from_hex(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

#[test]
fn every_block_of_the_format_is_what_this_build_writes() {
    for (name, bytes) in blocks() {
        assert!(documented(name) == bytes, "{name} is\n{}", to_hex(&bytes));
    }
}

#[test]
fn the_blocks_of_the_format_are_read_as_what_they_say() {
    let HeadBytes::Head(slot) = Head::decode(&documented("head"), Place::Slot) else { panic!("no head") };
    assert_eq!(Head { opening: 0, ..slot.clone() }, head());
    assert_eq!(Head::decode(&documented("log-header"), Place::Log), HeadBytes::Head(slot));
    let mut log = documented("log-header");
    records().iter().for_each(|(name, _)| log.extend(documented(name)));
    let read: Vec<_> =
        LogReader::new(&log, SALT).map(|frame| Record::decode(frame.kind, frame.body).unwrap()).collect();
    let meant: Vec<_> = records().into_iter().map(|(_, record)| record).collect();
    assert_eq!(read, meant);
    for (name, record) in firsts() {
        let first = [vec![0; LOG_HEADER_LEN], documented(name)].concat();
        let frame = LogReader::new(&first, SALT).next().unwrap();
        assert_eq!(Record::decode(frame.kind, frame.body).unwrap(), record);
    }
    assert_eq!(log, golden("log-0"));
    assert_eq!(documented("head"), golden("head"));
}

#[test]
fn what_was_given_up_long_ago_is_read_and_written_the_same() {
    let mut disk = DiskMemory::new(1);
    disk.replace(FileName::Head, [golden("head"), vec![0; 4096]].concat());
    disk.replace(FileName::Base1, vec![0; 4096]);
    let mut log = golden("log-0");
    let first = mutation(5).to_bytes();
    let at = log.windows(first.len()).position(|bytes| bytes == first).unwrap();
    // Mutation 5 is lost, and the commit that decides it.
    log[at] ^= 1;
    let commit = records()[4].1.body().unwrap();
    let at = log.windows(commit.len()).position(|bytes| bytes == commit).unwrap();
    log[at] ^= 1;
    log.resize(LOG_GROWTH as usize, 0);
    disk.replace(FileName::Log0, log);
    let mut journal = storage::journal(Role::Replica, 9);
    assert!(storage::recover(&mut journal, &mut disk).unwrap().damage.is_some());
    storage::settle(&mut journal, &mut disk);
    let documented = documented("aside");
    let entry = entries(&documented)[0];
    assert_eq!((entry.kind, entry.epoch, entry.bytes), (1, Epoch(4), &mutation(6).to_bytes()[..]));
    assert!(disk.bytes(FileName::Aside).starts_with(&documented), "{}", to_hex(disk.bytes(FileName::Aside)));
    assert_eq!(golden("aside"), documented);
}

#[test]
fn a_document_written_long_ago_opens() {
    let mut disk = DiskMemory::new(1);
    // Generation 5 lies in the second slot; the first is torn.
    let mut slots = vec![0xee; 4096];
    slots.extend(golden("head"));
    disk.replace(FileName::Head, slots);
    let mut log = golden("log-0");
    log.resize(LOG_GROWTH as usize, 0);
    disk.replace(FileName::Log0, log);
    disk.replace(FileName::Base1, vec![0; 4096]);
    let mut journal = storage::journal(Role::Replica, 9);
    let found = storage::recover(&mut journal, &mut disk).unwrap();
    assert_eq!(found.damage, None);
    assert_eq!((found.identity.client, found.identity.secret), (ME, SECRET));
    assert_eq!(found.identity.epoch, Epoch(4));
    assert_eq!((found.image.lsn(), found.image.page(PageNo(1))), (Lsn(3), Some(&Page::zeroed())));
    assert_eq!(found.pending, [mutation(6)]);
    assert_eq!((found.ledger.through(ME), found.ledger.rejections(ME)), (mark(5), &[][..]));
    let tab = TabId([0x55; 16]);
    let answer =
        |no, seq, dismissed| Answered { tab, request: RequestNo(no), seq: MutationSeq(seq), dismissed };
    assert_eq!(found.ledger.answered(tab, RequestNo(7)), Some(&answer(7, 4, true)));
    assert_eq!(found.ledger.answered(tab, RequestNo(8)), Some(&answer(8, 5, false)));
    storage::settle(&mut journal, &mut disk);
    let again = storage::recover(&mut storage::journal(Role::Replica, 10), &mut disk).unwrap();
    assert_eq!((again.image, again.pending, again.ledger), (found.image, found.pending, found.ledger));
}
