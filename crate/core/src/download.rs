//! A snapshot on its way: pages in order, believed once all are there and give the checksum that was named.

use offprint_protocol::message::SnapshotOffer;
use offprint_protocol::rpc::Progress;
use offprint_protocol::{Code, Error, JournalId, PAGE_SIZE, Page, Position};

use crate::head::{BaseInfo, Origin};
use crate::image::Image;

/// What has come of a snapshot.
pub(crate) struct Download {
    offer: SnapshotOffer,
    image: Image,
    /// The beginning of the next page.
    begun: Vec<u8>,
}

impl Download {
    /// Nothing of it yet.
    pub(crate) fn new(journal: JournalId, offer: SnapshotOffer) -> Self {
        let SnapshotOffer { lsn, hash, page_count, checksum } = offer;
        let position = Position { journal, lsn, hash };
        let base = BaseInfo { position, origin: Origin::Primary, page_count, checksum };
        Self { offer, image: Image::of_base(&base), begun: Vec::new() }
    }

    /// The bytes that have come, of all.
    pub(crate) fn progress(&self) -> Progress {
        let done = u64::from(self.image.page_count()) * PAGE_SIZE as u64 + self.begun.len() as u64;
        Progress { done, total: self.offer.size() }
    }

    /// Takes the bytes that follow, and gives the document once it has all; `corrupt` if it is not what was offered.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> Result<Option<Image>, Error> {
        while !bytes.is_empty() {
            if self.image.page_count() == self.offer.page_count {
                return Err(Error::new(Code::Corrupt, "the snapshot is longer than was said"));
            }
            let (more, rest) = bytes.split_at(bytes.len().min(PAGE_SIZE - self.begun.len()));
            self.begun.extend_from_slice(more);
            bytes = rest;
            if self.begun.len() == PAGE_SIZE {
                self.image.push(Page::from_slice(&self.begun)?);
                self.begun.clear();
            }
        }
        if self.image.page_count() < self.offer.page_count {
            return Ok(None);
        }
        if self.image.checksum() != self.offer.checksum {
            return Err(Error::new(Code::Corrupt, "the snapshot does not give the checksum that was named"));
        }
        Ok(Some(self.image.clone()))
    }
}
