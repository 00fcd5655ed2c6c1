//! What recovery gave up, kept in the file `aside` (FORMAT.md, "Aside").

use offprint_protocol::{Epoch, Writer};

/// The most that the file holds: then nothing more is kept.
pub const ASIDE_LIMIT: u64 = 16 << 20;

const MAGIC: &[u8; 8] = b"OFPRkept";
const HEADER_LEN: usize = 8 + 1 + 3 + 4 + 4;
const MUTATION: u8 = 1;

/// Something that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The kind of the record whose body this is; 0 for bytes of a log in which no record verifies.
    pub kind: u8,
    /// The bytes as they were found.
    pub bytes: Vec<u8>,
}

/// An entry of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// As in [`Kept`].
    pub kind: u8,
    /// The epoch of the opening that gave it up.
    pub epoch: Epoch,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// Everything that one recovery gave up.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    kept: Vec<Kept>,
}

/// What is to be written, and what the app is told.
#[derive(Debug)]
pub(crate) struct Addition {
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) told: String,
}

impl Aside {
    /// Keeps a record's body, or (kind 0) what is no record, unless it is nothing but zeros.
    pub(crate) fn keep(&mut self, kind: u8, bytes: &[u8]) {
        let bytes = if kind == 0 { &bytes[..used(bytes)] } else { bytes };
        if !bytes.is_empty() {
            self.kept.push(Kept { kind, bytes: bytes.to_vec() });
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// What goes behind what the file holds. What it has already, of an opening that was not finished, is not added.
    pub(crate) fn added_to(mut self, file: &[u8], len: u64, epoch: Epoch) -> Addition {
        // What is a mutation for sure comes first.
        self.kept.sort_by_key(|kept| kept.kind != MUTATION);
        let (known, end) = read(file);
        let offset = if len > file.len() as u64 { len } else { end.max(used(file)) as u64 };
        let mut bytes = Vec::new();
        let (mut mutations, mut others, mut left_out) = (0, 0, 0);
        for kept in &self.kept {
            if !known.iter().any(|entry| (entry.kind, entry.bytes) == (kept.kind, &kept.bytes[..])) {
                let room = ASIDE_LIMIT.saturating_sub(offset + bytes.len() as u64);
                if (kept.bytes.len() + HEADER_LEN + 4) as u64 > room {
                    left_out += 1;
                    continue;
                }
                encode(kept, epoch, &mut bytes);
            }
            match kept.kind {
                MUTATION => mutations += 1,
                _ => others += kept.bytes.len(),
            }
        }
        let mut told = format!(
            "{mutations} mutations and {others} bytes that cannot be used are kept in the document's file aside"
        );
        if left_out > 0 {
            told += &format!(", which is full: {left_out} more pieces are lost");
        }
        Addition { offset, bytes, told }
    }
}

fn encode(kept: &Kept, epoch: Epoch, out: &mut Vec<u8>) {
    let mut header = Writer::new();
    header.raw(MAGIC).u8(kept.kind).raw(&[0; 3]).u32(epoch.0).u32(kept.bytes.len() as u32);
    let start = out.len();
    out.extend_from_slice(&header.finish());
    out.extend_from_slice(&kept.bytes);
    let crc = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// The entries of the file that verify; what lies between them is skipped.
pub fn entries(file: &[u8]) -> Vec<Entry<'_>> {
    read(file).0
}

/// The entries, and where the last one ends.
fn read(file: &[u8]) -> (Vec<Entry<'_>>, usize) {
    let (mut entries, mut end, mut at) = (Vec::new(), 0, 0);
    while let Some(skipped) = file[at..].windows(MAGIC.len()).position(|window| window == MAGIC) {
        at += skipped;
        match decode(&file[at..]) {
            Some((entry, len)) => {
                entries.push(entry);
                at += len;
                end = at;
            }
            None => at += MAGIC.len(),
        }
    }
    (entries, end)
}

fn decode(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let end = HEADER_LEN.checked_add(word(16)? as usize)?;
    let covered = bytes.get(..end)?;
    let (kind, epoch) = (covered[8], Epoch(word(12)?));
    (crc32c::crc32c(covered) == word(end)?)
        .then_some((Entry { kind, epoch, bytes: &covered[HEADER_LEN..] }, end + 4))
}

/// Where the zeros at the end begin.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aside(kept: &[(u8, &[u8])]) -> Aside {
        let mut aside = Aside::default();
        kept.iter().for_each(|(kind, bytes)| aside.keep(*kind, bytes));
        aside
    }

    fn write(file: &mut Vec<u8>, kept: &[(u8, &[u8])], epoch: u32) -> String {
        let added = aside(kept).added_to(file, file.len() as u64, Epoch(epoch));
        file.truncate(added.offset as usize);
        file.resize(added.offset as usize, 0);
        file.extend_from_slice(&added.bytes);
        added.told
    }

    #[test]
    fn what_is_kept_comes_back_behind_what_was_there_and_twice_is_once() {
        let mut file = Vec::new();
        let first: &[(u8, &[u8])] = &[(0, b"torn"), (1, b"mutation")];
        write(&mut file, first, 3);
        write(&mut file, first, 3);
        write(&mut file, &[(4, b"ledger")], 4);
        let found: Vec<_> =
            entries(&file).iter().map(|entry| (entry.kind, entry.epoch.0, entry.bytes)).collect();
        assert_eq!(found, [(1, 3, &b"mutation"[..]), (0, 3, b"torn"), (4, 4, b"ledger")]);
    }

    #[test]
    fn a_damaged_entry_costs_itself_alone_and_is_not_written_over() {
        let mut file = Vec::new();
        write(&mut file, &[(1, b"one"), (1, b"two")], 1);
        for at in 0..HEADER_LEN + 7 {
            let mut file = file.clone();
            file[at] ^= 4;
            write(&mut file, &[(1, b"three")], 2);
            assert_eq!(
                entries(&file).iter().map(|entry| entry.bytes).collect::<Vec<_>>(),
                [&b"two"[..], b"three"],
                "{at}"
            );
        }
    }

    #[test]
    fn zeros_are_not_kept_and_a_full_file_says_so() {
        assert!(aside(&[(0, &[0; 99])]).is_empty());
        let mut file = Vec::new();
        let large = vec![1; 9 << 20];
        assert!(!write(&mut file, &[(0, &large)], 1).contains("lost"));
        let told = write(&mut file, &[(0, &[2; 9 << 20]), (1, b"small")], 2);
        assert!(
            told.contains("1 mutations and 0 bytes") && told.contains("1 more pieces are lost"),
            "{told}"
        );
        assert_eq!(entries(&file).len(), 2);
        assert!(file.len() as u64 <= ASIDE_LIMIT);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        let mut file = Vec::new();
        write(&mut file, &[(1, b"one")], 1);
        for cut in 0..file.len() {
            assert_eq!(entries(&file[..cut]).len(), 0);
        }
        let mut long = MAGIC.to_vec();
        long.extend_from_slice(&[0xff; 64]);
        assert_eq!(entries(&long).len(), 0);
    }
}
