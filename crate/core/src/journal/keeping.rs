//! What a history asks of the logs: how much of them is kept, and when one has to be whole.

use offprint_protocol::{Definition, PAGE_SIZE};

use crate::checkpoint::Making;
use crate::image::Image;
use crate::journal::History;
use crate::journal::running::Running;

/// Below this many bytes of logs that are not whole, a history needs no other one that is.
const HISTORY_BYTES: u64 = 1 << 20;

impl Running {
    /// How an opening with these pages is made.
    pub(super) fn making(&self, image: &Image, other_base: bool, definition: Option<Definition>) -> Making {
        let document = u64::from(image.page_count()) * PAGE_SIZE as u64;
        let is_far = |history: History| history.behind > document.max(HISTORY_BYTES);
        Making {
            other_base,
            has_slot: self.slot.is_some(),
            is_whole: self.history_with_active().is_some_and(|history| other_base || is_far(history)),
            time: self.time,
            definition,
        }
    }

    /// Bytes of the active log's opening, but for what only a history needs.
    pub(super) fn opening_cost(&self) -> u64 {
        let whole = if self.is_whole { self.rollup.0 } else { 0 };
        self.tail.as_ref().map_or(0, |_| self.head.opening - whole)
    }

    /// The history once it has the active log.
    pub(super) fn history_with_active(&self) -> Option<History> {
        let active = self.behind() + self.opening_cost();
        self.history.map(|history| History { behind: history.behind.saturating_add(active) })
    }
}
