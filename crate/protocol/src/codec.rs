//! The byte codec under every wire message and log record: little-endian fixed integers, LEB128 varints,
//! length-prefixed bytes. Decoding never panics and never allocates more than the input could justify.

use crate::error::{Code, Error};

/// Appends encoded fields to a byte buffer.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// An unsigned LEB128 varint, 1 to 10 bytes.
    pub fn varint(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.bytes.push((value as u8) | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
        self
    }

    /// A signed integer as a varint whose lowest bit is the sign, so that small ones are short.
    pub fn zigzag(&mut self, value: i64) -> &mut Self {
        self.varint(((value << 1) ^ (value >> 63)) as u64)
    }

    /// Bytes as they are, without a length.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// A varint length, then the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.varint(bytes.len() as u64).raw(bytes)
    }

    /// A varint length in bytes, then UTF-8.
    pub fn str(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// A varint count, then each item.
    pub fn list<T: Encode>(&mut self, items: &[T]) -> &mut Self {
        self.varint(items.len() as u64);
        for item in items {
            item.encode(self);
        }
        self
    }

    /// One item.
    pub fn put<T: Encode + ?Sized>(&mut self, item: &T) -> &mut Self {
        item.encode(self);
        self
    }

    /// The number of bytes written so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The buffer.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads encoded fields from a byte slice; every method fails with `bad_frame` past the end.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// `count` bytes as they are.
    pub fn raw(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or_else(|| bad("it ends early"))?;
        self.rest = tail;
        Ok(head)
    }

    /// Exactly `N` bytes as they are.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.raw(N)?);
        Ok(array)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    /// One byte, 0 or 1.
    pub fn flag(&mut self) -> Result<bool, Error> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(bad("a flag is neither 0 nor 1")),
        }
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// An unsigned LEB128 varint of at most 10 bytes.
    pub fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(bad("a varint exceeds 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(bad("a varint exceeds 64 bits"))
    }

    /// What [`Writer::zigzag`] wrote.
    pub fn zigzag(&mut self) -> Result<i64, Error> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A varint that fits 32 bits.
    pub fn varint32(&mut self) -> Result<u32, Error> {
        u32::try_from(self.varint()?).map_err(|_| bad("a number exceeds 32 bits"))
    }

    /// A varint length, then that many bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let count = usize::try_from(self.varint()?).map_err(|_| bad("a length exceeds the address space"))?;
        self.raw(count)
    }

    /// A varint length, then UTF-8.
    pub fn str(&mut self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes()?).map_err(|_| bad("text is not UTF-8"))
    }

    /// A varint count, then each item; every item is at least one byte, so the count is bounded by the input.
    pub fn list<T: Decode>(&mut self) -> Result<Vec<T>, Error> {
        let count = self.varint()?;
        if count > self.rest.len() as u64 {
            return Err(bad("a count exceeds the bytes that follow"));
        }
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(T::decode(self)?);
        }
        Ok(items)
    }

    /// One item.
    pub fn get<T: Decode>(&mut self) -> Result<T, Error> {
        T::decode(self)
    }

    /// Fails with `bad_frame` if bytes are left over.
    pub fn end(self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(bad("bytes are left over")) }
    }
}

/// What can be written to a [`Writer`].
pub trait Encode {
    /// Appends `self`; an item is never empty.
    fn encode(&self, out: &mut Writer);

    /// The encoded bytes alone.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.encode(&mut out);
        out.finish()
    }
}

/// What can be read from a [`Reader`].
pub trait Decode: Sized {
    /// Reads one item, or fails with `bad_frame`.
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error>;

    /// Reads one item that fills `bytes` exactly.
    fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let item = Self::decode(&mut reader)?;
        reader.end()?;
        Ok(item)
    }
}

impl Encode for String {
    fn encode(&self, out: &mut Writer) {
        out.str(self);
    }
}

impl Decode for String {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(from.str()?.to_owned())
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, out: &mut Writer) {
        match self {
            None => out.u8(0),
            Some(item) => out.u8(1).put(item),
        };
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        match from.u8()? {
            0 => Ok(None),
            1 => Ok(Some(T::decode(from)?)),
            _ => Err(bad("an option is neither 0 nor 1")),
        }
    }
}

pub(crate) fn bad(what: &str) -> Error {
    Error::new(Code::BadFrame, format!("malformed bytes: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_at_every_width() {
        for shift in 0..64 {
            for value in [(1u64 << shift) - 1, 1 << shift, u64::MAX >> shift] {
                let mut out = Writer::new();
                out.varint(value);
                assert_eq!(Reader::new(&out.finish()).varint().unwrap(), value);
            }
        }
    }

    #[test]
    fn a_varint_past_64_bits_is_refused() {
        assert_eq!(Reader::new(&[0xff; 11]).varint().unwrap_err().code, Code::BadFrame);
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).varint().is_err());
    }

    #[test]
    fn a_hostile_count_is_refused_before_anything_is_allocated() {
        let mut out = Writer::new();
        out.varint(u64::MAX);
        assert!(Reader::new(&out.finish()).list::<String>().is_err());
    }
}
