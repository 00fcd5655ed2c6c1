//! Bytes that changed behind our back: an error or a defined state, never wrong data, never a panic, and what
//! verifies among the pending mutations is kept.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod storage;

use std::collections::BTreeMap;

use offprint_core::aside::entries;
use offprint_core::disk::FileName;
use offprint_core::disk_memory::DiskMemory;
use offprint_core::head::{Head, HeadBytes, Place};
use offprint_core::image::Image;
use offprint_core::journal::{Journal, JournalConfig, Recovered, Role};
use offprint_core::log::{LOG_GROWTH, LogReader};
use offprint_protocol::{Code, DocumentId, Encode, Error, Lsn, MutationSeq};
use storage::{Device, State, journal, recover, seq, settle, used};

/// A document with a base, an opening with a rollup and pending mutations, and records behind it; and what was true
/// at some time.
struct Sample {
    disk: DiskMemory,
    role: Role,
    now: State,
    images: BTreeMap<Lsn, Image>,
    mutations: BTreeMap<MutationSeq, offprint_core::record::PendingMutation>,
    active: FileName,
    /// Where the last write into it began.
    last_write: usize,
}

fn sample(role: Role) -> Sample {
    let mut device = Device::new(role, 11);
    let mut images = BTreeMap::new();
    let mut mutations = BTreeMap::new();
    let mut note = |device: &Device| {
        if device.now.image.position().is_some() {
            images.insert(device.now.image.lsn(), device.now.image.clone());
        }
        mutations.extend(device.now.pending.iter().map(|pending| (seq(pending), pending.clone())));
    };
    device.settle().unwrap();
    if role == Role::Replica {
        device.reset(12);
    } else {
        device.commits(4, 30);
    }
    device.settle().unwrap();
    device.reopen();
    device.settle().unwrap();
    note(&device);
    if role == Role::Replica {
        for _ in 0..3 {
            device.mutate(20);
            note(&device);
        }
    }
    device.commits(1, 1);
    note(&device);
    device.checkpoint();
    for _ in 0..3 {
        device.settle().unwrap();
        if role == Role::Replica {
            device.mutate(20);
            note(&device);
        }
        device.commits(1, 1);
        note(&device);
    }
    if role == Role::Replica {
        for _ in 0..4 {
            device.settle().unwrap();
            device.mutate(20);
            note(&device);
        }
    }
    device.settle().unwrap();
    let HeadBytes::Head(head) = Head::decode(newest_slot(&device.disk), Place::Slot) else {
        panic!("no head")
    };
    let active = head.log.log();
    let mut reader = LogReader::new(device.disk.bytes(active), head.salt);
    let (mut last_write, mut at) = (0, reader.at());
    while let Some(frame) = reader.next() {
        if frame.starts_write {
            last_write = at;
        }
        at = reader.at();
    }
    let opening = head.opening as usize;
    assert!(last_write > opening && last_write < at);
    let mut disk = device.disk.clone();
    // A few bytes of an earlier life stay behind the last record.
    let mut log = disk.bytes(active)[..at + 64].to_vec();
    log.resize(LOG_GROWTH as usize, 0);
    disk.replace(active, log);
    Sample { disk, role, now: device.now.clone(), images, mutations, active, last_write }
}

fn newest_slot(disk: &DiskMemory) -> &[u8] {
    let generation = |slot: &&[u8]| match Head::decode(slot, Place::Slot) {
        HeadBytes::Head(head) => head.generation,
        _ => 0,
    };
    disk.bytes(FileName::Head).chunks(4096).max_by_key(generation).unwrap()
}

impl Sample {
    fn open(&self, disk: &mut DiskMemory) -> Result<Recovered, Error> {
        recover(&mut journal(self.role, 99), disk)
    }

    /// Whether everything is there; fails if anything is there that never was.
    fn check(&self, what: &str, found: &Recovered) -> bool {
        if let Some(position) = found.image.position() {
            let known = &self.images[&position.lsn];
            assert_eq!(&found.image, known, "{what}");
        } else {
            assert_eq!(found.image, Image::none(), "{what}");
        }
        let mut next = found.ledger.through(found.identity.client).seq.next();
        for pending in &found.pending {
            assert_eq!(seq(pending), next, "{what}");
            assert_eq!(pending, &self.mutations[&next], "{what}");
            next = next.next();
        }
        found.image == self.now.image && found.pending == self.now.pending && found.ledger == self.now.ledger
    }
}

impl Sample {
    /// Of the mutations that are no longer pending after damage, each is in the file aside: itself, or (if its own
    /// bytes are damaged) all of it but one byte. Gives their number.
    fn check_aside(&self, what: &str, found: &Recovered, disk: &DiskMemory) -> u64 {
        if found.damage.is_none() || found.pending.len() >= self.now.pending.len() {
            return 0;
        }
        let mut disk = disk.clone();
        let mut journal = journal(self.role, 99);
        recover(&mut journal, &mut disk).unwrap();
        settle(&mut journal, &mut disk);
        let entries = entries(disk.bytes(FileName::Aside));
        let mut missing = 0;
        for lost in self.now.pending.iter().filter(|pending| !found.pending.contains(pending)) {
            missing += 1;
            let body = lost.to_bytes();
            let is_itself = entries.iter().any(|entry| entry.kind == 1 && entry.bytes == body);
            let differs = |part: &[u8]| part.iter().zip(&body).filter(|(one, two)| one != two).count() <= 1;
            let is_damaged = || {
                entries.iter().any(|entry| entry.kind == 0 && entry.bytes.windows(body.len()).any(differs))
            };
            assert!(is_itself || is_damaged(), "{what}: {} is lost; {:?}", seq(lost), found.damage);
        }
        assert!(missing == 0 || found.damage.as_ref().unwrap().message.contains("aside"), "{what}");
        missing
    }
}

#[test]
fn what_is_given_up_is_aside_before_the_log_it_came_from_is_left() {
    let sample = sample(Role::Replica);
    let mut damaged = sample.disk.clone();
    let first = sample.now.pending[0].to_bytes();
    let at = damaged.bytes(sample.active).windows(first.len()).position(|bytes| bytes == first).unwrap();
    damaged.flip(sample.active, at + 3, 0x10);
    let given_up = {
        let found = sample.open(&mut damaged.clone()).unwrap();
        sample.check_aside("undisturbed", &found, &damaged)
    };
    assert!(given_up > 0);
    let mut crashes = 0;
    for op in 0.. {
        let mut disk = damaged.clone();
        disk.fail_at(disk.ops() + op);
        let mut journal = journal(Role::Replica, 99);
        let mut run = || {
            while let Some(batch) = journal.next_batch() {
                journal.answer(disk.run(&batch))?;
            }
            Ok::<_, Error>(())
        };
        if run().is_ok() {
            break;
        }
        crashes += 1;
        disk.crash();
        let found = sample.open(&mut disk.clone()).unwrap();
        let kept = entries(disk.bytes(FileName::Aside)).len();
        // Either the damage is still there to be seen, or what it cost is kept, once.
        assert!(found.damage.is_some() || kept > 0, "operation {op}");
        sample.check_aside(&format!("operation {op}"), &found, &disk);
        let mut journal = storage::journal(Role::Replica, 100);
        recover(&mut journal, &mut disk).unwrap();
        settle(&mut journal, &mut disk);
        let all = entries(disk.bytes(FileName::Aside));
        assert!(all.iter().enumerate().all(|(at, one)| all[..at].iter().all(|two| one.bytes != two.bytes)));
    }
    assert!(crashes > 10, "{crashes}");
}

#[test]
fn a_log_of_which_nothing_can_be_used_is_kept_whole() {
    let sample = sample(Role::Replica);
    let mut disk = sample.disk.clone();
    disk.replace(FileName::Head, Vec::new());
    disk.flip(FileName::Log0, 20, 1);
    disk.flip(FileName::Log1, 20, 1);
    let mut journal = journal(Role::Replica, 99);
    let found = recover(&mut journal, &mut disk).unwrap();
    assert!(found.damage.unwrap().message.contains("0 mutations and"));
    let logs = [FileName::Log0, FileName::Log1].map(|file| disk.bytes(file)[..used(&disk, file)].to_vec());
    settle(&mut journal, &mut disk);
    let kept = entries(disk.bytes(FileName::Aside));
    assert_eq!(kept.iter().map(|entry| entry.bytes).collect::<Vec<_>>(), logs);
}

#[test]
fn a_flipped_byte_of_head_loses_nothing() {
    for role in [Role::Replica, Role::Primary] {
        let sample = sample(role);
        // What follows the document's name is zeros: there, some bytes stand for all.
        for at in (0..2 * 4096).filter(|at| at % 4096 < 280 || at % 4096 > 4088 || at % 61 == 0) {
            let mut disk = sample.disk.clone();
            disk.flip(FileName::Head, at, 1 << (at % 8));
            let found = sample.open(&mut disk).unwrap();
            assert!(sample.check(&format!("byte {at}"), &found) && found.damage.is_none(), "byte {at}");
        }
    }
}

#[test]
fn a_flipped_byte_of_a_log_is_told_or_at_the_torn_end() {
    for role in [Role::Replica, Role::Primary] {
        let sample = sample(role);
        for file in [FileName::Log0, FileName::Log1] {
            let (mut told, mut given_up) = (0, 0);
            let end = used(&sample.disk, file);
            for at in (0..end).chain((end..sample.disk.bytes(file).len()).step_by(9973)) {
                let mut disk = sample.disk.clone();
                disk.flip(file, at, 1 << (at % 8));
                let what =
                    format!("{role:?}: byte {at} of {file:?}, {} in the active log", sample.last_write);
                match sample.open(&mut disk) {
                    Ok(found) => {
                        let whole = sample.check(&what, &found);
                        assert!(whole || found.damage.is_some() || at >= sample.last_write, "{what}");
                        assert!(file == sample.active || whole, "{what}");
                        told += u64::from(found.damage.is_some());
                        if at % 5 == 0 {
                            given_up += sample.check_aside(&what, &found, &disk);
                        }
                    }
                    Err(error) => {
                        assert_eq!((error.code, role), (Code::Corrupt, Role::Primary), "{what}");
                        told += 1;
                    }
                }
            }
            assert_eq!(told > 0, file == sample.active, "{role:?} {file:?}");
            assert_eq!(given_up > 0, told > 0 && role == Role::Replica, "{role:?} {file:?}");
        }
    }
}

#[test]
fn a_flipped_byte_of_a_page_costs_a_replica_its_pages_only() {
    let sample = sample(Role::Replica);
    for file in [FileName::Base0, FileName::Base1] {
        for at in (0..sample.disk.bytes(file).len()).step_by(97) {
            let mut disk = sample.disk.clone();
            disk.flip(file, at, 0x40);
            let found = sample.open(&mut disk).unwrap();
            if !sample.check(&format!("byte {at} of {file:?}"), &found) {
                assert_eq!(found.damage.unwrap().code, Code::Corrupt);
                assert_eq!(found.image, Image::none());
                assert_eq!(
                    (found.pending, found.ledger),
                    (sample.now.pending.clone(), sample.now.ledger.clone())
                );
            }
        }
    }
}

#[test]
fn a_primary_with_a_corrupt_page_is_refused_and_stays_as_it_is() {
    let sample = sample(Role::Primary);
    let mut refused = 0;
    for file in [FileName::Base0, FileName::Base1] {
        for at in (0..sample.disk.bytes(file).len()).step_by(997) {
            let mut disk = sample.disk.clone();
            disk.flip(file, at, 0x40);
            let before = disk.clone();
            let mut journal = journal(Role::Primary, 99);
            match recover(&mut journal, &mut disk) {
                Ok(found) => assert!(sample.check(&format!("byte {at} of {file:?}"), &found)),
                Err(error) => {
                    assert_eq!(error.code, Code::Corrupt);
                    assert!(journal.next_batch().is_none() && journal.unanswered().is_none());
                    assert!(FileName::ALL.iter().all(|file| before.bytes(*file) == disk.bytes(*file)));
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 0);
}

#[test]
fn a_cut_or_deleted_file_gives_a_defined_state() {
    for role in [Role::Replica, Role::Primary] {
        let sample = sample(role);
        for file in FileName::ALL {
            let len = sample.disk.bytes(file).len();
            let end = used(&sample.disk, file);
            let cuts = (0..end).step_by((end / 64).max(1)).chain((end..len).step_by((len / 8).max(1)));
            for cut in cuts {
                let mut disk = sample.disk.clone();
                disk.replace(file, disk.bytes(file)[..cut].to_vec());
                let what = format!("{role:?}: {file:?} cut to {cut} of {len}");
                match sample.open(&mut disk) {
                    Ok(found) => {
                        let whole = sample.check(&what, &found);
                        assert!(whole || found.damage.is_some(), "{what}");
                        if file == FileName::Head {
                            assert!(whole && found.damage.is_none(), "{what}");
                        }
                        if role == Role::Replica && file != sample.active {
                            assert_eq!(found.pending, sample.now.pending, "{what}");
                        }
                    }
                    Err(error) => assert_eq!((error.code, role), (Code::Corrupt, Role::Primary), "{what}"),
                }
            }
        }
    }
}

#[test]
fn files_of_a_newer_format_another_document_or_role_are_left_alone() {
    let sample = sample(Role::Replica);
    let open = |disk: &mut DiskMemory, document: &str, role| {
        let before = disk.clone();
        let document = DocumentId::new(document).unwrap();
        let mut journal = Journal::open(JournalConfig { document, role, history: None, entropy: [1; 32] });
        let error = recover(&mut journal, disk).unwrap_err();
        assert!(journal.next_batch().is_none() && journal.unanswered().is_none());
        assert!(FileName::ALL.iter().all(|file| before.bytes(*file) == disk.bytes(*file)));
        error.code
    };
    let mut disk = sample.disk.clone();
    assert_eq!(open(&mut disk, "team-43", Role::Replica), Code::Corrupt);
    assert_eq!(open(&mut disk, "team-42", Role::Primary), Code::Corrupt);
    for (file, len) in [(FileName::Head, 4096), (FileName::Log0, 512), (FileName::Log1, 512)] {
        let mut disk = sample.disk.clone();
        let mut bytes = disk.bytes(file).to_vec();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..len - 4]);
        bytes[len - 4..len].copy_from_slice(&crc.to_le_bytes());
        disk.replace(file, bytes);
        assert_eq!(open(&mut disk, "team-42", Role::Replica), Code::Superseded);
    }
}

#[test]
fn a_lost_log_with_nothing_pending_gives_a_fresh_client() {
    let sample = sample(Role::Replica);
    let mut disk = sample.disk.clone();
    let before = sample.open(&mut disk.clone()).unwrap().identity;
    disk.replace(sample.active, Vec::new());
    let found = sample.open(&mut disk).unwrap();
    assert_eq!(found.damage.unwrap().code, Code::Corrupt);
    assert!(found.pending.is_empty());
    assert_ne!(found.identity.client, before.client);
    assert_eq!(found.identity.epoch, before.epoch);
}

#[test]
fn any_bytes_open_or_are_refused_and_what_opens_goes_on() {
    let samples = [sample(Role::Replica), sample(Role::Primary)];
    let (mut opened, mut refused) = (0, 0);
    for seed in 0..1_000 {
        println!("seed {seed}");
        let mut random = storage::Random::new(seed);
        let sample = &samples[random.below(2) as usize];
        let mut disk = sample.disk.clone();
        for _ in 0..1 + random.below(4) {
            let file = FileName::ALL[random.below(6) as usize];
            let other = FileName::ALL[random.below(6) as usize];
            let mut bytes = disk.bytes(file).to_vec();
            let at = random.below(used(&disk, file) as u64 + 100) as usize;
            match random.below(6) {
                0 => bytes.truncate(at),
                1 => bytes = disk.bytes(other).to_vec(),
                2 => bytes.iter_mut().skip(at).take(600).for_each(|byte| *byte = random.below(256) as u8),
                3 => bytes.iter_mut().skip(at).take(4096).for_each(|byte| *byte = 0),
                4 => bytes = (0..random.below(9000)).map(|_| random.below(256) as u8).collect(),
                _ => reseal(&mut bytes, file, random.below(300) as usize, random.below(256) as u8),
            }
            disk.replace(file, bytes);
        }
        let mut journal = journal(sample.role, 99);
        match recover(&mut journal, &mut disk) {
            Ok(found) => {
                opened += 1;
                settle(&mut journal, &mut disk);
                let again = sample.open(&mut disk).unwrap();
                assert_eq!(again.damage, None);
                assert_eq!((again.image, again.pending), (found.image, found.pending));
            }
            Err(error) => {
                refused += 1;
                assert!([Code::Corrupt, Code::Superseded].contains(&error.code), "{error}");
            }
        }
    }
    assert!(opened > 100 && refused > 100, "{opened} {refused}");
}

/// Changes a byte of a head and makes its crc right again.
fn reseal(bytes: &mut [u8], file: FileName, at: usize, byte: u8) {
    let len = match file {
        FileName::Head => 4096,
        FileName::Log0 | FileName::Log1 => 512,
        _ => return,
    };
    for head in bytes.chunks_exact_mut(len).take(2) {
        head[at] = byte;
        let crc = crc32c::crc32c(&head[..len - 4]);
        head[len - 4..].copy_from_slice(&crc.to_le_bytes());
    }
}
