//! What must hold for any bytes that are decoded: no panic, and what decodes is said again and understood.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use offprint_protocol::message::{ClientMessage, ServerMessage};
use offprint_protocol::{Decode, Encode, PAGE_SIZE, Page, PageNo, PagePatch};

fn said_again<T: Decode + Encode>(bytes: &[u8]) -> Option<T> {
    let message = T::from_bytes(bytes).ok()?;
    let said = message.to_bytes();
    // Bytes, not values: a NaN is not equal to itself.
    assert_eq!(T::from_bytes(&said).unwrap().to_bytes(), said);
    Some(message)
}

/// A frame of a client.
pub fn client_frame(bytes: &[u8]) {
    said_again::<ClientMessage>(bytes);
}

/// A frame of a server.
pub fn server_frame(bytes: &[u8]) {
    said_again::<ServerMessage>(bytes);
}

/// A patch onto no page, and onto one made of the same bytes; and the page as a patch of its own.
pub fn page_patch(bytes: &[u8]) {
    let mut page = Page::zeroed();
    let len = bytes.len().min(PAGE_SIZE);
    page.make_mut()[..len].copy_from_slice(&bytes[..len]);
    let mut before = page.clone();
    let bit = bytes.len() % PAGE_SIZE;
    before.make_mut()[bit] ^= 1;
    for before in [None, Some(&before), Some(&page)] {
        if let Some(patch) = said_again::<PagePatch>(bytes)
            && let Ok(result) = patch.apply(before)
        {
            assert_eq!(result.crc(), patch.crc);
        }
        let patch = PagePatch::new(PageNo(1), &page, before);
        assert!(patch.apply(before).unwrap() == page);
    }
}
