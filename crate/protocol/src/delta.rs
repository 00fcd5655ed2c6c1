//! A page as what is new in it and what is copied from the receiver's version (PROTOCOL.md, "Delta").
//!
//! SQLite moves cells and cell pointers within a page, so bytes are looked for everywhere in the version before, as in
//! VCDIFF (RFC 3284), and not only where they were.

use std::cell::OnceCell;

use crate::codec::{Reader, Writer, bad};
use crate::error::Error;
use crate::page::PAGE_SIZE;

type Image = [u8; PAGE_SIZE];

/// Above this a general compressor is as good.
const LIMIT: usize = 1024;
/// What a copy saves at least, in bytes; one with the shift of the copy before may be shorter.
const WORTH: usize = 6;
const WORTH_UNSHIFTED: usize = 4;
/// How many places that begin alike are looked at.
const TRIES: usize = 8;
/// A run that needs no other to be looked for.
const LONG: usize = 64;
/// Bytes that may have been changed in place.
const FEW: usize = 8;
/// After so many new bytes only every second place is looked at, after twice as many every third, as LZ4 does.
const HASTE: usize = 64;
const NONE: u16 = u16::MAX;

/// How `after` is made from `before`, or nothing if that is long.
pub(crate) fn encode(before: &Image, after: &Image) -> Option<Vec<u8>> {
    let source = Source::new(before);
    let mut out = Writer::new();
    let (mut done, mut at, mut shift) = (0, 0, 0);
    while at < PAGE_SIZE {
        let Some((len, from)) = source.longest(after, at, shift) else {
            at += 1 + (at - done) / HASTE;
            continue;
        };
        shift = from as i64 - at as i64;
        // It may have begun where nobody looked.
        let back = after[done..at].iter().rev().zip(before[..from].iter().rev());
        let back = back.take_while(|(new, old)| new == old).count();
        let len = len + back;
        at -= back;
        out.bytes(&after[done..at]).varint(len as u64).zigzag(shift);
        at += len;
        done = at;
        if out.len() > LIMIT {
            return None;
        }
    }
    if done < PAGE_SIZE {
        out.bytes(&after[done..]);
    }
    Some(out.finish()).filter(|delta| delta.len() <= LIMIT)
}

/// What `encode` described; `bad_frame` if it is no whole page.
pub(crate) fn decode(delta: &[u8], before: &Image, after: &mut Image) -> Result<(), Error> {
    let mut from = Reader::new(delta);
    let mut at = 0;
    while at < PAGE_SIZE {
        let fresh = from.bytes()?;
        room(after, at, fresh.len())?.copy_from_slice(fresh);
        at += fresh.len();
        if at == PAGE_SIZE {
            break;
        }
        let len = usize::try_from(from.varint()?).map_err(|_| outside())?;
        let shift = from.zigzag()?;
        let start = (at as i64).checked_add(shift).and_then(|start| usize::try_from(start).ok());
        let copied =
            start.and_then(|start| before.get(start..start.checked_add(len)?)).ok_or_else(outside)?;
        room(after, at, len)?.copy_from_slice(copied);
        at += len;
    }
    if from.rest().is_empty() { Ok(()) } else { Err(bad("a delta goes on behind the page")) }
}

fn room(after: &mut Image, at: usize, len: usize) -> Result<&mut [u8], Error> {
    after.get_mut(at..).and_then(|rest| rest.get_mut(..len)).ok_or_else(outside)
}

fn outside() -> Error {
    bad("a delta reaches out of the page")
}

/// A page to copy from.
struct Source<'a> {
    page: &'a Image,
    /// Made when something has moved.
    places: OnceCell<Box<Places>>,
}

/// The places where four bytes are found, newest first, by a hash of them.
struct Places {
    first: [u16; PAGE_SIZE],
    next: [u16; PAGE_SIZE],
}

impl<'a> Source<'a> {
    fn new(page: &'a Image) -> Self {
        Self { page, places: OnceCell::new() }
    }

    /// The longest run of `after` from `at` on that is worth copying, and from where.
    fn longest(&self, after: &Image, at: usize, shift: i64) -> Option<(usize, usize)> {
        let wanted = &after[at..];
        let shifted = usize::try_from(at as i64 + shift).ok().filter(|from| *from < PAGE_SIZE);
        let near = [Some(at), shifted].into_iter().flatten().map(|from| (self.run(wanted, from), from));
        let best = near.max_by_key(|(len, _)| *len).filter(|(len, _)| *len >= WORTH_UNSHIFTED);
        if best.is_some_and(|(len, _)| len >= LONG) || wanted.len() < WORTH {
            return best;
        }
        if best.is_none() && self.resumes(after, at) {
            return None;
        }
        let far = self.places(&wanted[..4]).take(TRIES).map(|from| (self.run(wanted, from), from));
        let far = far.max_by_key(|(len, _)| *len).filter(|(len, _)| *len >= WORTH);
        best.into_iter().chain(far).max_by_key(|(len, _)| *len)
    }

    /// Whether only a few bytes from `at` on were changed in place.
    fn resumes(&self, after: &Image, at: usize) -> bool {
        let end = PAGE_SIZE.min(at + FEW);
        (at + 1..end).any(|at| self.run(&after[at..], at) >= FEW)
    }

    fn run(&self, wanted: &[u8], from: usize) -> usize {
        let here = &self.page[from..];
        let whole =
            here.chunks_exact(16).zip(wanted.chunks_exact(16)).take_while(|(a, b)| a == b).count() * 16;
        let rest = here[whole..].iter().zip(&wanted[whole..]).take_while(|(a, b)| a == b).count();
        whole + rest
    }

    fn places(&self, four: &[u8]) -> impl Iterator<Item = usize> {
        let places = self.places.get_or_init(|| Box::new(Places::of(self.page)));
        let known = |place: u16| (place != NONE).then_some(usize::from(place));
        std::iter::successors(known(places.first[hash(four)]), move |place| known(places.next[*place]))
    }
}

impl Places {
    fn of(page: &Image) -> Self {
        let mut places = Self { first: [NONE; PAGE_SIZE], next: [NONE; PAGE_SIZE] };
        for (at, four) in page.windows(4).enumerate() {
            let first = &mut places.first[hash(four)];
            places.next[at] = *first;
            *first = at as u16;
        }
        places
    }
}

fn hash(four: &[u8]) -> usize {
    let word = four.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
    (word.wrapping_mul(0x9e37_79b1) >> 20) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % end
        }
    }

    fn noise(seed: u64) -> Image {
        let mut random = Random(seed);
        std::array::from_fn(|_| random.below(256) as u8)
    }

    fn delta(before: &Image, after: &Image) -> Vec<u8> {
        let delta = encode(before, after).unwrap();
        let mut back = [0; PAGE_SIZE];
        decode(&delta, before, &mut back).unwrap();
        assert!(back == *after);
        delta
    }

    #[test]
    fn a_changed_byte_costs_nine() {
        let before = noise(1);
        let mut after = before;
        after[1000] ^= 1;
        assert_eq!(delta(&before, &after).len(), 9);
        assert_eq!(delta(&before, &before), [0, 0x80, 0x20, 0]);
    }

    #[test]
    fn what_moved_is_copied_from_where_it_was() {
        let before = noise(1);
        let mut after = before;
        after.copy_within(100..600, 102);
        after.copy_within(2000..3000, 1970);
        after[100..102].copy_from_slice(b"ab");
        assert!(delta(&before, &after).len() < 40);
    }

    #[test]
    fn whatever_was_changed_comes_back() {
        let seed = std::process::id();
        println!("seed {seed}");
        let mut random = Random(u64::from(seed));
        for _ in 0..300 {
            let before = noise(random.below(3) as u64);
            let mut after = before;
            for _ in 0..random.below(8) {
                let (from, to) = (random.below(PAGE_SIZE), random.below(PAGE_SIZE));
                let len = random.below(PAGE_SIZE - from.max(to)).min(random.below(500));
                match random.below(3) {
                    0 => after.copy_within(from..from + len, to),
                    1 => after[from..from + len.min(60)].fill(random.below(256) as u8),
                    _ => after[from] = random.below(256) as u8,
                }
            }
            delta(&before, &after);
        }
    }

    #[test]
    fn a_page_with_nothing_in_common_has_no_delta() {
        assert_eq!(encode(&noise(1), &noise(2)), None);
    }

    #[test]
    fn a_delta_that_is_no_page_is_refused() {
        let page = noise(1);
        let mut out = [0; PAGE_SIZE];
        for wrong in [
            &[][..],
            // A copy from before the page, from behind it, past the end of either, and of more than memory has.
            &[0, 1, 1],
            &[0, 1, 0x80, 0x40],
            &[0, 0x81, 0x20, 0],
            &[1, 7, 0x80, 0x20, 1],
            &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0],
            // An end before the page's, and one behind it.
            &[0, 9, 0],
            &[0, 0x80, 0x20, 0, 0],
            &[0x81, 0x20],
        ] {
            assert!(decode(wrong, &page, &mut out).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn copies_of_nothing_end() {
        let mut out = [0; PAGE_SIZE];
        assert!(decode(&[0; 30], &noise(1), &mut out).is_err());
    }
}
