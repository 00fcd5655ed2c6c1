//! SQLite pages, and how one travels: whole, compressed, or as a difference to the receiver's version.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::codec::{Decode, Encode, Reader, Writer, bad};
use crate::delta;
use crate::error::{Code, Error};
use crate::id::PageNo;

/// The bytes of a SQLite page; no other size is used.
pub const PAGE_SIZE: usize = 4096;

/// A delta up to this is taken without looking for something shorter.
const SMALL: usize = 128;

/// The highest page number that is accepted: 16 GiB of document.
pub const MAX_PAGES: u32 = 1 << 22;

/// An immutable page image, cheap to share.
#[derive(Clone, PartialEq, Eq)]
pub struct Page(Arc<[u8; PAGE_SIZE]>);

impl Page {
    /// A page of zeros.
    pub fn zeroed() -> Self {
        Self(Arc::new([0; PAGE_SIZE]))
    }

    /// Copies exactly [`PAGE_SIZE`] bytes, or fails with `corrupt`.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        // Copied once, straight into its place.
        Arc::<[u8]>::from(bytes).try_into().map(Self).map_err(|bytes: Arc<[u8]>| {
            Error::new(Code::Corrupt, format!("a page has {} bytes", bytes.len()))
        })
    }

    /// The image, copied first if it is shared.
    pub fn make_mut(&mut self) -> &mut [u8; PAGE_SIZE] {
        Arc::make_mut(&mut self.0)
    }

    /// The crc32c of the image.
    pub fn crc(&self) -> u32 {
        crc32c::crc32c(&self.0[..])
    }
}

impl Deref for Page {
    type Target = [u8; PAGE_SIZE];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({:08x})", self.crc())
    }
}

/// The order-independent checksum of a whole document: XOR over its pages, so one page's change is one step
/// (the idea is LiteFS's LTX post-apply checksum).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checksum(pub u64);

impl Checksum {
    /// Adds the page if it is absent, removes it if it is present.
    pub fn toggle(&mut self, no: PageNo, crc: u32) {
        // splitmix64's finaliser: makes the sum depend on which page has which crc.
        let mut x = (u64::from(no.0) << 32 | u64::from(crc)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 ^= x ^ (x >> 31);
    }
}

impl Encode for Checksum {
    fn encode(&self, out: &mut Writer) {
        out.u64(self.0);
    }
}

impl Decode for Checksum {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self(from.u64()?))
    }
}

/// How a [`PagePatch`]'s bytes give the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatchBytes {
    /// The page itself, [`PAGE_SIZE`] bytes.
    Raw(Vec<u8>),
    /// An LZ4 block of the page.
    Lz4(Vec<u8>),
    /// An LZ4 block of the page XOR the receiver's version of it (zeros if it has none).
    Xor(Vec<u8>),
    /// What is new in it, and what is copied from the receiver's version of it (zeros if it has none).
    Delta(Vec<u8>),
}

/// One page of a commit or rollup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagePatch {
    /// Which page.
    pub no: PageNo,
    /// The crc32c of the resulting page.
    pub crc: u32,
    /// How to get it.
    pub bytes: PatchBytes,
}

impl PagePatch {
    /// A small patch that makes `page` from `before`; without `before` it stands for itself.
    pub fn new(no: PageNo, page: &Page, before: Option<&Page>) -> Self {
        let delta = before.and_then(|before| delta::encode(&before.0, &page.0)).map(PatchBytes::Delta);
        let bytes = match delta {
            Some(delta) if delta.len() <= SMALL => delta,
            delta => {
                let xor = before.map(|before| {
                    let mut difference = *before.0;
                    xor(&mut difference, page);
                    PatchBytes::Xor(compress(&difference))
                });
                let whole = PatchBytes::Lz4(compress(page));
                let smallest = [delta, xor].into_iter().flatten().fold(whole, PatchBytes::smaller);
                if smallest.len() < PAGE_SIZE { smallest } else { PatchBytes::Raw(page.to_vec()) }
            }
        };
        Self { no, crc: page.crc(), bytes }
    }

    /// The page that results on top of `before`, or `corrupt` if it is not the one that was meant.
    pub fn apply(&self, before: Option<&Page>) -> Result<Page, Error> {
        const ZEROS: &[u8; PAGE_SIZE] = &[0; PAGE_SIZE];
        let before = before.map_or(ZEROS, |before| &*before.0);
        let mut page = Page::zeroed();
        let image = page.make_mut();
        match &self.bytes {
            PatchBytes::Raw(bytes) if bytes.len() == PAGE_SIZE => image.copy_from_slice(bytes),
            PatchBytes::Raw(_) => return Err(self.corrupt()),
            PatchBytes::Lz4(block) => self.decompress(block, image)?,
            PatchBytes::Xor(block) => {
                self.decompress(block, image)?;
                xor(image, before);
            }
            PatchBytes::Delta(delta) => {
                delta::decode(delta, before, image).map_err(|_| self.corrupt())?;
            }
        }
        if page.crc() == self.crc { Ok(page) } else { Err(self.corrupt()) }
    }

    /// About how many bytes it takes, and not less.
    pub fn size(&self) -> usize {
        16 + self.bytes.len()
    }

    fn decompress(&self, block: &[u8], image: &mut [u8; PAGE_SIZE]) -> Result<(), Error> {
        match lz4_flex::block::decompress_into(block, image) {
            Ok(PAGE_SIZE) => Ok(()),
            _ => Err(self.corrupt()),
        }
    }

    fn corrupt(&self) -> Error {
        Error::new(Code::Corrupt, format!("the patch of page {} does not give the page it names", self.no))
    }
}

impl PatchBytes {
    /// The number of payload bytes.
    pub fn len(&self) -> usize {
        match self {
            PatchBytes::Raw(bytes)
            | PatchBytes::Lz4(bytes)
            | PatchBytes::Xor(bytes)
            | PatchBytes::Delta(bytes) => bytes.len(),
        }
    }

    /// Whether there are no payload bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it can be applied only to the version that it was made for.
    pub fn needs_before(&self) -> bool {
        matches!(self, PatchBytes::Xor(_) | PatchBytes::Delta(_))
    }

    fn smaller(self, other: Self) -> Self {
        if other.len() < self.len() { other } else { self }
    }
}

fn compress(image: &[u8; PAGE_SIZE]) -> Vec<u8> {
    lz4_flex::block::compress(image)
}

fn xor(image: &mut [u8; PAGE_SIZE], with: &[u8; PAGE_SIZE]) {
    for (byte, other) in image.iter_mut().zip(with) {
        *byte ^= other;
    }
}

impl Encode for PagePatch {
    fn encode(&self, out: &mut Writer) {
        out.put(&self.no).u32(self.crc);
        match &self.bytes {
            PatchBytes::Raw(bytes) => out.u8(0).bytes(bytes),
            PatchBytes::Lz4(bytes) => out.u8(1).bytes(bytes),
            PatchBytes::Xor(bytes) => out.u8(2).bytes(bytes),
            PatchBytes::Delta(bytes) => out.u8(3).bytes(bytes),
        };
    }
}

impl Decode for PagePatch {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        let no: PageNo = from.get()?;
        if no.0 == 0 || no.0 > MAX_PAGES {
            return Err(bad("a page number is out of range"));
        }
        let crc = from.u32()?;
        let kind = from.u8()?;
        let bytes = from.bytes()?;
        if bytes.len() > PAGE_SIZE {
            return Err(bad("a page patch is longer than a page"));
        }
        let bytes = bytes.to_vec();
        let bytes = match kind {
            0 => PatchBytes::Raw(bytes),
            1 => PatchBytes::Lz4(bytes),
            2 => PatchBytes::Xor(bytes),
            3 => PatchBytes::Delta(bytes),
            _ => return Err(bad("an unknown kind of page patch")),
        };
        Ok(Self { no, crc, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64) -> Page {
        let mut page = Page::zeroed();
        let mut x = seed;
        for byte in page.make_mut() {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (x >> 56) as u8;
        }
        page
    }

    #[test]
    fn a_small_change_of_an_incompressible_page_is_a_small_patch() {
        let before = noise(1);
        let mut after = before.clone();
        after.make_mut()[100] ^= 1;
        let patch = PagePatch::new(PageNo(7), &after, Some(&before));
        assert!(patch.to_bytes().len() < 20, "{}", patch.to_bytes().len());
        let decoded = PagePatch::from_bytes(&patch.to_bytes()).unwrap();
        assert_eq!(decoded.apply(Some(&before)).unwrap(), after);
    }

    #[test]
    fn every_encoding_gives_the_page_back() {
        for (page, before) in [(noise(1), None), (noise(2), Some(noise(3))), (Page::zeroed(), Some(noise(4)))]
        {
            let patch = PagePatch::new(PageNo(1), &page, before.as_ref());
            assert_eq!(patch.apply(before.as_ref()).unwrap(), page);
        }
    }

    #[test]
    fn a_patch_on_the_wrong_page_is_corrupt() {
        let mut after = noise(1);
        after.make_mut()[0] ^= 1;
        let patch = PagePatch::new(PageNo(1), &after, Some(&noise(1)));
        assert_eq!(patch.apply(Some(&noise(2))).unwrap_err().code, Code::Corrupt);
        assert_eq!(patch.apply(None).unwrap_err().code, Code::Corrupt);
    }

    #[test]
    fn a_block_that_would_grow_past_a_page_is_corrupt() {
        let bomb = lz4_flex::block::compress(&vec![0; 1 << 20]);
        let patch = PagePatch { no: PageNo(1), crc: 0, bytes: PatchBytes::Lz4(bomb) };
        assert_eq!(patch.apply(None).unwrap_err().code, Code::Corrupt);
    }

    #[test]
    fn the_checksum_depends_on_which_page_has_which_crc() {
        let mut one = Checksum::default();
        one.toggle(PageNo(1), 10);
        one.toggle(PageNo(2), 20);
        let mut other = Checksum::default();
        other.toggle(PageNo(1), 20);
        other.toggle(PageNo(2), 10);
        assert_ne!(one, other);
        one.toggle(PageNo(2), 20);
        one.toggle(PageNo(1), 10);
        assert_eq!(one, Checksum::default());
    }
}
