//! How records lie in a log file: length, kind, salt, body, chained crc (FORMAT.md, "Log").

/// Where the first record of a log begins.
pub const LOG_HEADER_LEN: usize = 512;

/// The longest body of a record.
pub const RECORD_LIMIT: usize = 16 << 20;

/// Log files grow by this much at a time, so that their length is a multiple of it.
pub const LOG_GROWTH: u64 = 1 << 20;

/// Bytes of a record around its body.
pub const FRAME_LEN: usize = 4 + 1 + 4 + 4;

const STARTS_WRITE: u8 = 0x80;
const KINDS: std::ops::RangeInclusive<u8> = 1..=7;

/// What the crc of the next record continues from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    salt: u32,
    crc: u32,
}

/// A record that verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its kind, 1 to 7.
    pub kind: u8,
    /// Whether everything before it was flushed before it was written.
    pub starts_write: bool,
    /// Its body.
    pub body: &'a [u8],
}

/// Reads the records of a log.
#[derive(Debug, Clone)]
pub struct LogReader<'a> {
    bytes: &'a [u8],
    at: usize,
    chain: Chain,
}

impl Chain {
    /// The chain of a log's first record.
    pub fn new(salt: u64) -> Self {
        Self { salt: salt as u32, crc: crc32c::crc32c(&salt.to_le_bytes()) }
    }

    /// Appends a record to `out` and moves on; the body has 1 to [`RECORD_LIMIT`] bytes.
    pub fn append(&mut self, kind: u8, starts_write: bool, body: &[u8], out: &mut Vec<u8>) {
        debug_assert!(KINDS.contains(&kind) && (1..=RECORD_LIMIT).contains(&body.len()));
        let start = out.len();
        out.reserve(body.len() + FRAME_LEN);
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.push(if starts_write { kind | STARTS_WRITE } else { kind });
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(body);
        self.crc = crc32c::crc32c_append(self.crc, &out[start..]);
        out.extend_from_slice(&self.crc.to_le_bytes());
    }
}

impl<'a> LogReader<'a> {
    /// Reads the log in `bytes`, header included, whose header has this salt.
    pub fn new(bytes: &'a [u8], salt: u64) -> Self {
        Self { bytes, at: LOG_HEADER_LEN, chain: Chain::new(salt) }
    }

    /// Where the next record begins.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Moves on to the next record that verifies, past what does not.
    pub fn resync(&mut self) -> Option<Frame<'a>> {
        let salt = self.chain.salt.to_le_bytes();
        let mut from = self.at.max(LOG_HEADER_LEN);
        // Hostile bytes could name many long records: what is checked in vain is bounded.
        let mut budget = self.bytes.len().saturating_mul(4);
        // Logs end in up to a megabyte of zeros; a salt may reach into them, a record's kind does not.
        let end = (used(self.bytes) + 4).min(self.bytes.len());
        loop {
            let searched = self.bytes.get(from + 5..end)?;
            let start = from + find(searched, salt)?;
            from = start + 1;
            let Some(len) = array_at(self.bytes, start).map(u32::from_le_bytes) else { continue };
            if len as usize > RECORD_LIMIT || start + FRAME_LEN + len as usize > self.bytes.len() {
                continue;
            }
            budget = budget.checked_sub(len as usize)?;
            let Some(crc) = array_at(self.bytes, start - 4).map(u32::from_le_bytes) else { continue };
            let mut reader = self.clone();
            reader.at = start;
            if start > LOG_HEADER_LEN {
                reader.chain.crc = crc;
            }
            if let Some(frame) = reader.next() {
                *self = reader;
                return Some(frame);
            }
        }
    }
}

impl<'a> LogReader<'a> {
    /// The record here with its computed and its stored crc, if it is one of this life of the file.
    fn here(&self) -> Option<(Frame<'a>, u32, u32)> {
        let rest = self.bytes.get(self.at..)?;
        let len = u32::from_le_bytes(array_at(rest, 0)?) as usize;
        let kind = *rest.get(4)?;
        let salt = u32::from_le_bytes(array_at(rest, 5)?);
        let known = KINDS.contains(&(kind & !STARTS_WRITE));
        if !(1..=RECORD_LIMIT).contains(&len) || salt != self.chain.salt || !known {
            return None;
        }
        let covered = rest.get(..9 + len)?;
        let stored = u32::from_le_bytes(array_at(rest, 9 + len)?);
        let starts_write = kind & STARTS_WRITE != 0;
        let frame = Frame { kind: kind & !STARTS_WRITE, starts_write, body: &covered[9..] };
        Some((frame, crc32c::crc32c_append(self.chain.crc, covered), stored))
    }

    fn pass(&mut self, frame: Frame<'a>, crc: u32) {
        self.at += frame.body.len() + FRAME_LEN;
        self.chain.crc = crc;
    }
}

impl<'a> Iterator for LogReader<'a> {
    type Item = Frame<'a>;

    /// The next record, or nothing at the first that does not verify.
    fn next(&mut self) -> Option<Frame<'a>> {
        let (frame, crc, stored) = self.here()?;
        if crc != stored {
            // If the record behind continues from the computed crc, only the stored one is wrong.
            let mut behind = self.clone();
            behind.pass(frame, crc);
            behind.here().filter(|(_, crc, stored)| crc == stored)?;
        }
        self.pass(frame, crc);
        Some(frame)
    }
}

fn array_at(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok()
}

/// Where the zeros at the end begin, rounded up.
pub(crate) fn used(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut end = bytes.len();
    for chunk in bytes.rchunks(ZEROS.len()) {
        if chunk != &ZEROS[..chunk.len()] {
            break;
        }
        end -= chunk.len();
    }
    end
}

fn find(bytes: &[u8], wanted: [u8; 4]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| *byte == wanted[0])?;
        if bytes.get(at..at + 4)? == wanted {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(salt: u64, bodies: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0; LOG_HEADER_LEN];
        let mut chain = Chain::new(salt);
        for body in bodies {
            chain.append(1, true, body, &mut bytes);
        }
        bytes
    }

    fn bodies(bytes: &[u8], salt: u64) -> Vec<&[u8]> {
        LogReader::new(bytes, salt).map(|frame| frame.body).collect()
    }

    #[test]
    fn records_are_read_back_until_the_end() {
        let mut bytes = log(7, &[b"one", b"two"]);
        assert_eq!(bodies(&bytes, 7), [b"one", b"two"]);
        bytes.extend_from_slice(&[0; 100]);
        assert_eq!(bodies(&bytes, 7), [b"one", b"two"]);
    }

    #[test]
    fn a_log_cut_anywhere_gives_whole_records_only() {
        let bytes = log(7, &[b"one", b"two", b"three"]);
        for cut in 0..bytes.len() {
            let found = bodies(&bytes[..cut], 7);
            assert!(found.len() < 3 && found == [&b"one"[..], b"two", b"three"][..found.len()]);
        }
    }

    #[test]
    fn a_record_of_another_life_never_parses_even_with_the_same_low_salt() {
        let old = log(7, &[b"one", b"two", b"six"]);
        let new = log(7 | 1 << 32, &[b"ONE"]);
        let mut recycled = old.clone();
        recycled[..new.len()].copy_from_slice(&new);
        assert_eq!(bodies(&recycled, 7 | 1 << 32), [b"ONE"]);
    }

    #[test]
    fn resync_finds_what_follows_a_flipped_byte() {
        let clean = log(7, &[b"one", b"two", b"three", b"four"]);
        for byte in LOG_HEADER_LEN..LOG_HEADER_LEN + FRAME_LEN - 4 + 3 {
            let mut bytes = clean.clone();
            bytes[byte] ^= 0x10;
            let mut reader = LogReader::new(&bytes, 7);
            assert_eq!(reader.next(), None);
            let mut found: Vec<&[u8]> = reader.resync().into_iter().map(|frame| frame.body).collect();
            found.extend(reader.map(|frame| frame.body));
            assert_eq!(found.last(), Some(&&b"four"[..]), "byte {byte}");
            assert!(found.len() >= 2, "byte {byte}");
        }
    }

    #[test]
    fn a_record_whose_crc_alone_is_flipped_is_proved_by_the_one_behind_it() {
        let mut bytes = log(7, &[b"one", b"two"]);
        bytes[LOG_HEADER_LEN + FRAME_LEN + 3 - 1] ^= 1;
        assert_eq!(bodies(&bytes, 7), [b"one", b"two"]);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(bodies(&bytes, 7), [b""; 0]);
    }

    #[test]
    fn resync_at_the_end_finds_nothing() {
        let mut bytes = log(7, &[b"one"]);
        bytes.extend_from_slice(&[7, 0, 0, 0, 7, 0, 0]);
        let mut reader = LogReader::new(&bytes, 7);
        assert!(reader.next().is_some() && reader.next().is_none());
        assert_eq!(reader.resync(), None);
    }
}
