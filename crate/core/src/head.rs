//! Which log and base are current, who we are: a slot of `head`, and the header of a log (FORMAT.md, "Head").

use offprint_protocol::{
    Checksum, ClientId, ClientSecret, CommitHash, DocumentId, Epoch, JournalId, Lsn, Position, Writer,
    page::MAX_PAGES,
};

use crate::disk::FileName;
use crate::log::LOG_HEADER_LEN;

/// The version of the files that this build reads and writes.
pub const FORMAT_VERSION: u16 = 1;

/// The bytes of one slot of `head`.
pub const SLOT_LEN: usize = 4096;

/// Whose files these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A client's copy.
    Replica,
    /// The copy that alone decides order.
    Primary,
}

/// One of a pair of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// `log-0` or `base-0`.
    Zero,
    /// `log-1` or `base-1`.
    One,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Side::Zero => Side::One,
            Side::One => Side::Zero,
        }
    }

    /// The log of this side.
    pub fn log(self) -> FileName {
        match self {
            Side::Zero => FileName::Log0,
            Side::One => FileName::Log1,
        }
    }

    /// The base of this side.
    pub fn base(self) -> FileName {
        match self {
            Side::Zero => FileName::Base0,
            Side::One => FileName::Base1,
        }
    }

    /// 0 or 1.
    pub fn index(self) -> usize {
        self as usize
    }

    fn decode(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Side::Zero),
            1 => Some(Side::One),
            _ => None,
        }
    }
}

/// Who we are to the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Our name.
    pub client: ClientId,
    /// The proof of it.
    pub secret: ClientSecret,
    /// How often the document was opened, this time included.
    pub epoch: Epoch,
}

/// Who made a history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Origin {
    /// A primary, or it has taken it over.
    #[default]
    Primary,
    /// A device that has no server.
    Device,
    /// A device that was given a server since, which has yet to take it over.
    Offered,
}

/// What base holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseInfo {
    /// Up to where.
    pub position: Position,
    /// Who made the history.
    pub origin: Origin,
    /// Its size in pages.
    pub page_count: u32,
    /// Its checksum.
    pub checksum: Checksum,
}

/// A head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Whose files these are.
    pub role: Role,
    /// The active log.
    pub log: Side,
    /// The active base.
    pub base: Side,
    /// Counts heads.
    pub generation: u64,
    /// Of this life of the active log.
    pub salt: u64,
    /// Where the active log's opening ends.
    pub opening: u64,
    /// What base holds, if there is a history.
    pub base_info: Option<BaseInfo>,
    /// Who we are.
    pub identity: Identity,
    /// Which document.
    pub document: DocumentId,
}

/// Where a head stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a slot of `head`.
    Slot,
    /// At the start of a log.
    Log,
}

/// What some bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadBytes {
    /// Not a head.
    Invalid,
    /// A head of a newer format version.
    Newer(u16),
    /// A head.
    Head(Head),
}

impl Place {
    /// How many bytes a head has here.
    pub fn size(self) -> usize {
        match self {
            Place::Slot => SLOT_LEN,
            Place::Log => LOG_HEADER_LEN,
        }
    }

    fn magic(self) -> &'static [u8; 8] {
        match self {
            Place::Slot => b"OFPRhead",
            Place::Log => b"OFPR-log",
        }
    }
}

impl Head {
    /// Whether the history was made here and no primary is known to have it.
    pub fn is_only_copy(&self) -> bool {
        self.base_info.is_some_and(|base| base.origin != Origin::Primary)
    }

    /// The bytes of this head at a place.
    pub fn encode(&self, place: Place) -> Vec<u8> {
        let history = self.base_info.as_ref().map_or(0, |base| match base.origin {
            Origin::Primary => 1,
            Origin::Device => 2,
            Origin::Offered => 3,
        });
        let mut out = Writer::new();
        out.raw(place.magic()).u16(FORMAT_VERSION);
        out.u8(match self.role {
            Role::Replica => 0,
            Role::Primary => 1,
        });
        out.u8(self.log as u8).u8(self.base as u8).u8(history).u16(0);
        out.u64(self.generation).u64(self.salt).u64(self.opening).u32(self.identity.epoch.0);
        match &self.base_info {
            Some(base) => {
                out.u32(base.page_count).u64(base.checksum.0).u64(base.position.lsn.0);
                out.put(&base.position.journal).put(&base.position.hash);
            }
            None => {
                out.raw(&[0; 68]);
            }
        }
        out.put(&self.identity.client).put(&self.identity.secret);
        out.u8(self.document.as_str().len() as u8).raw(self.document.as_str().as_bytes());
        let mut bytes = out.finish();
        bytes.resize(place.size() - 4, 0);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// What `bytes` are at a place; longer input is cut.
    pub fn decode(bytes: &[u8], place: Place) -> HeadBytes {
        match decode(bytes, place) {
            Some((version, _)) if version > FORMAT_VERSION => HeadBytes::Newer(version),
            Some((FORMAT_VERSION, Some(head))) => HeadBytes::Head(head),
            _ => HeadBytes::Invalid,
        }
    }
}

fn decode(bytes: &[u8], place: Place) -> Option<(u16, Option<Head>)> {
    let (covered, crc) = bytes.get(..place.size())?.split_last_chunk::<4>()?;
    if !covered.starts_with(place.magic()) || crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
        return None;
    }
    let version = u16::from_le_bytes([covered[8], covered[9]]);
    Some((version, decode_fields(covered)))
}

fn decode_fields(covered: &[u8]) -> Option<Head> {
    let mut from = offprint_protocol::Reader::new(covered);
    from.raw(10).ok()?;
    let role = match from.u8().ok()? {
        0 => Role::Replica,
        1 => Role::Primary,
        _ => return None,
    };
    let log = Side::decode(from.u8().ok()?)?;
    let base = Side::decode(from.u8().ok()?)?;
    let history = from.u8().ok()?;
    from.u16().ok()?;
    let generation = from.u64().ok()?;
    let salt = from.u64().ok()?;
    let opening = from.u64().ok()?;
    let epoch = Epoch(from.u32().ok()?);
    let page_count = from.u32().ok()?;
    let checksum = Checksum(from.u64().ok()?);
    let lsn = Lsn(from.u64().ok()?);
    let journal: JournalId = from.get().ok()?;
    let hash: CommitHash = from.get().ok()?;
    let client: ClientId = from.get().ok()?;
    let secret: ClientSecret = from.get().ok()?;
    let name_len = usize::from(from.u8().ok()?);
    let document = DocumentId::new(std::str::from_utf8(from.raw(name_len).ok()?).ok()?).ok()?;
    let base_info = match history {
        0 => None,
        1..=3 => {
            let origin = match history {
                1 => Origin::Primary,
                2 => Origin::Device,
                _ => Origin::Offered,
            };
            Some(BaseInfo { position: Position { journal, lsn, hash }, origin, page_count, checksum })
        }
        _ => return None,
    };
    // The last values are refused so that counting on cannot overflow.
    if page_count > MAX_PAGES || generation >= u64::MAX / 2 || lsn.0 >= u64::MAX / 2 || epoch.0 == u32::MAX {
        return None;
    }
    let identity = Identity { client, secret, epoch };
    Some(Head { role, log, base, generation, salt, opening, base_info, identity, document })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let position = Position { journal: JournalId([3; 16]), lsn: Lsn(9), hash: CommitHash([4; 32]) };
        Head {
            role: Role::Replica,
            log: Side::One,
            base: Side::Zero,
            generation: 5,
            salt: 0x0102_0304_0506_0708,
            opening: 600,
            base_info: Some(BaseInfo {
                position,
                origin: Origin::Offered,
                page_count: 2,
                checksum: Checksum(77),
            }),
            identity: Identity { client: ClientId([1; 16]), secret: ClientSecret([2; 16]), epoch: Epoch(6) },
            document: DocumentId::new(&"d".repeat(128)).unwrap(),
        }
    }

    #[test]
    fn a_head_round_trips_at_both_places() {
        for place in [Place::Slot, Place::Log] {
            for base_info in [head().base_info, None] {
                let head = Head { base_info, ..head() };
                let bytes = head.encode(place);
                assert_eq!(bytes.len(), place.size());
                assert_eq!(Head::decode(&bytes, place), HeadBytes::Head(head));
            }
        }
    }

    #[test]
    fn a_head_at_the_wrong_place_or_with_a_flipped_bit_is_invalid() {
        let bytes = head().encode(Place::Log);
        for byte in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[byte] ^= 1 << (byte % 8);
            assert_eq!(Head::decode(&flipped, Place::Log), HeadBytes::Invalid, "byte {byte}");
        }
        assert_eq!(Head::decode(&head().encode(Place::Slot), Place::Log), HeadBytes::Invalid);
        assert_eq!(Head::decode(&bytes[..511], Place::Log), HeadBytes::Invalid);
    }

    #[test]
    fn a_newer_version_is_told_apart_from_garbage() {
        let mut bytes = head().encode(Place::Slot);
        bytes[8] = 2;
        assert_eq!(Head::decode(&bytes, Place::Slot), HeadBytes::Invalid);
        let crc = crc32c::crc32c(&bytes[..SLOT_LEN - 4]);
        bytes[SLOT_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Head::decode(&bytes, Place::Slot), HeadBytes::Newer(2));
    }
}
