//! What must hold for any bytes in a document's files: no panic, nothing unverified, and what opens goes on.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use offprint_core::disk::FileName;
use offprint_core::disk_memory::DiskMemory;
use offprint_core::head::{Head, HeadBytes, Place};
use offprint_core::history::{Restore, describe, moments};
use offprint_core::journal::{Journal, JournalConfig, Recovered, Role};
use offprint_core::log::{LOG_HEADER_LEN, LogReader, RECORD_LIMIT};
use offprint_core::record::Record;
use offprint_protocol::{Checksum, Code, DocumentId, Error, PAGE_SIZE, PageNo};

/// The kind, then the body.
pub fn record(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    let Ok(record) = Record::decode(*kind, body) else { return };
    // Read and said again it may be longer, and then too long.
    let Ok(said) = record.body() else { return };
    assert_eq!(Record::decode(*kind, &said).unwrap().body().unwrap(), said);
}

/// A log with its header, once as it is and once with crcs that fit.
pub fn log(bytes: &[u8]) {
    let mut whole = bytes.to_vec();
    let Some(salt) = bytes.get(24..32).map(|salt| u64::from_le_bytes(salt.try_into().unwrap())) else {
        return;
    };
    seal_head(&mut whole, Place::Log);
    seal_log(&mut whole);
    for bytes in [bytes, &whole] {
        past(bytes);
        let mut reader = LogReader::new(bytes, salt);
        let mut at = reader.at();
        while let Some(frame) = reader.next().or_else(|| reader.resync()) {
            assert!((1..=RECORD_LIMIT).contains(&frame.body.len()));
            assert!(reader.at() > at && reader.at() <= bytes.len());
            at = reader.at();
        }
    }
}

/// What a log tells of the past is what it says, and can be restored or is told to be damaged.
fn past(log: &[u8]) {
    let Some(kept) = describe(log) else { return };
    assert!(kept.start <= kept.end && kept.len <= log.len() as u64);
    assert!(moments(log).iter().all(|(_, time)| *time > 0));
    let mut restore = Restore::new(kept.end);
    match restore.log(&log[..kept.len as usize]).and_then(|()| restore.finish()) {
        Ok(image) => assert!(kept.is_whole && image.lsn() == kept.end),
        Err(error) => {
            let codes = [Code::Gone, Code::Corrupt, Code::HistoryMismatch, Code::BadFrame];
            assert!(codes.contains(&error.code), "{error}");
        }
    }
}

/// A head in a slot and in a log.
pub fn head(bytes: &[u8]) {
    for place in [Place::Slot, Place::Log] {
        let mut sealed = bytes.to_vec();
        seal_head(&mut sealed, place);
        for bytes in [bytes, &sealed] {
            if let HeadBytes::Head(head) = Head::decode(bytes, place) {
                let said = head.encode(place);
                assert_eq!(Head::decode(&said, place), HeadBytes::Head(head));
            }
        }
    }
}

/// Files of a replica: flags, then for each file its length (4 bytes) and its bytes.
pub fn recover_replica(bytes: &[u8]) {
    recover(bytes, Role::Replica);
}

/// Files of a primary, in the same form.
pub fn recover_primary(bytes: &[u8]) {
    recover(bytes, Role::Primary);
}

fn open(disk: &mut DiskMemory, role: Role, life: u8) -> (Journal, Result<Recovered, Error>) {
    let document = DocumentId::new("team-42").unwrap();
    let mut journal = Journal::open(JournalConfig { document, role, history: None, entropy: [life; 32] });
    loop {
        let batch = journal.next_batch().expect("an open that is not over has a batch");
        match journal.answer(disk.run(&batch)) {
            Ok(None) => {}
            Ok(Some(recovered)) => return (journal, Ok(recovered)),
            Err(error) => return (journal, Err(error)),
        }
    }
}

fn recover(bytes: &[u8], role: Role) {
    let Some((flags, mut rest)) = bytes.split_first() else { return };
    let mut files = Vec::new();
    for _ in FileName::ALL {
        let Some((len, more)) = rest.split_first_chunk::<4>() else { break };
        let len = (u32::from_le_bytes(*len) as usize).min(more.len());
        files.push(more[..len].to_vec());
        rest = &more[len..];
    }
    files.resize(FileName::ALL.len(), Vec::new());
    if flags & 1 != 0 {
        seal(&mut files);
    }
    let mut disk = DiskMemory::new(1);
    for (file, bytes) in FileName::ALL.into_iter().zip(files) {
        if !bytes.is_empty() {
            disk.replace(file, bytes);
        }
    }
    let before = disk.clone();
    let (mut journal, found) = open(&mut disk, role, 1);
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            assert!([Code::Corrupt, Code::Superseded].contains(&error.code), "{error}");
            assert!(journal.next_batch().is_none() && journal.unanswered().is_none());
            assert!(FileName::ALL.iter().all(|file| before.bytes(*file) == disk.bytes(*file)));
            return;
        }
    };
    while let Some(batch) = journal.next_batch() {
        journal.answer(disk.run(&batch)).unwrap();
    }
    let again = open(&mut disk, role, 2).1.unwrap();
    assert_eq!(again.damage, None);
    assert_eq!(again.image, found.image);
    assert!(again.identity.epoch > found.identity.epoch);
    let names = |found: &Recovered| -> Vec<_> {
        found.pending.iter().map(|one| (one.mutation.seq, one.tab, one.request)).collect()
    };
    assert_eq!(names(&again), names(&found));
}

/// Makes checksums, crcs and lengths right, so that what they guard is reached.
fn seal(files: &mut [Vec<u8>]) {
    let [head, log_0, log_1, base_0, base_1, ..] = files else { return };
    head.resize(2 * Place::Slot.size(), 0);
    for slot in head.chunks_mut(Place::Slot.size()) {
        name_base(slot, [base_0, base_1]);
        seal_head(slot, Place::Slot);
    }
    for log in [log_0, log_1] {
        if log.len() > LOG_HEADER_LEN {
            name_base(log, [base_0, base_1]);
            seal_head(log, Place::Log);
            seal_log(log);
            log.resize(log.len().next_multiple_of(1 << 20), 0);
        }
    }
}

/// The head's base is given the size and the checksum of the file.
fn name_base(head: &mut [u8], bases: [&Vec<u8>; 2]) {
    if head[13] != 1 {
        return;
    }
    let base = bases[usize::from(head[12] & 1)];
    let mut sum = Checksum::default();
    let pages = base.chunks_exact(PAGE_SIZE);
    let count = pages.len() as u32;
    for (no, page) in (1..).map(PageNo).zip(pages) {
        sum.toggle(no, crc32c::crc32c(page));
    }
    head[44..48].copy_from_slice(&count.to_le_bytes());
    head[48..56].copy_from_slice(&sum.0.to_le_bytes());
}

fn seal_head(bytes: &mut [u8], place: Place) {
    if let Some((covered, crc)) =
        bytes.get_mut(..place.size()).and_then(|bytes| bytes.split_last_chunk_mut::<4>())
    {
        *crc = crc32c::crc32c(covered).to_le_bytes();
    }
}

fn seal_log(bytes: &mut [u8]) {
    let Some(salt) = bytes.get(24..32).map(|salt| <[u8; 8]>::try_from(salt).unwrap()) else { return };
    let mut crc = crc32c::crc32c(&salt);
    let mut at = LOG_HEADER_LEN;
    while let Some(len) =
        bytes.get(at..at + 4).map(|len| u32::from_le_bytes(len.try_into().unwrap()) as usize)
    {
        let end = at + 9 + len;
        if len == 0 || bytes.len() < end + 4 {
            return;
        }
        bytes[at + 5..at + 9].copy_from_slice(&salt[..4]);
        crc = crc32c::crc32c_append(crc, &bytes[at..end]);
        bytes[end..end + 4].copy_from_slice(&crc.to_le_bytes());
        at = end + 4;
    }
}
