//! Snapshots that clients fetch over HTTP: kept for a while, so that what was offered can be had.

use offprint_protocol::message::SnapshotOffer;
use offprint_protocol::{Code, Error, JournalId, Lsn};

use super::{Open, Primary};
use crate::image::Image;
use crate::snapshot::Snapshot;

/// How many are kept. They share their pages with each other and with what is newest.
const KEPT: usize = 4;
/// How long one is kept that nobody asks for, in milliseconds.
const KEPT_FOR: u64 = 10 * 60 * 1000;

/// The snapshots that are kept, oldest first.
#[derive(Default)]
pub(super) struct Snapshots(Vec<Kept>);

struct Kept {
    image: Image,
    used: u64,
}

impl Primary {
    /// Lets go of what nobody has asked for in a long time.
    pub(super) fn forget_snapshots(&mut self) {
        let now = self.now;
        self.snapshots.0.retain(|kept| now.saturating_sub(kept.used) < KEPT_FOR);
    }

    /// What a client that lacks everything may fetch, if that is worth it: what others fetch, or else the newest. Nothing
    /// is being flushed.
    pub(super) fn offer_snapshot(&mut self) -> Option<SnapshotOffer> {
        let open = self.open.as_mut()?;
        let pages = open.database.pages();
        if pages.image().page_count() < self.limits.snapshot_pages {
            return None;
        }
        let kept = &mut self.snapshots.0;
        let reaches =
            |kept: &Kept| kept.image.position().is_some_and(|position| open.tail.reaches(&position));
        if !kept.last().is_some_and(reaches) {
            if kept.len() == KEPT {
                kept.remove(0);
            }
            kept.push(Kept { image: pages.image().clone(), used: self.now });
        }
        let newest = kept.last_mut()?;
        newest.used = self.now;
        let position = newest.image.position()?;
        Some(SnapshotOffer {
            lsn: position.lsn,
            hash: position.hash,
            page_count: newest.image.page_count(),
            checksum: newest.image.checksum(),
        })
    }
}

impl Snapshots {
    /// The history has become another.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The state of this Lsn, if it is kept or is what is newest and durable; else `gone`.
    pub(super) fn get(
        &mut self,
        open: &mut Open,
        (journal, lsn): (JournalId, Lsn),
        now: u64,
    ) -> Result<Snapshot, Error> {
        let is_it = |image: &Image| {
            image.position().is_some_and(|position| (position.journal, position.lsn) == (journal, lsn))
        };
        if let Some(kept) = self.0.iter_mut().find(|kept| is_it(&kept.image)) {
            kept.used = now;
            return Ok(Snapshot::of(kept.image.clone()));
        }
        let pages = open.database.pages();
        match is_it(pages.image()) {
            true => Ok(Snapshot::of(pages.image().clone())),
            false => Err(Error::new(Code::Gone, "that state of the document is not kept any more")),
        }
    }
}
