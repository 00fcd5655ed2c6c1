//! What a replica tells its tabs about itself.

use offprint_protocol::rpc::{Problem, Status, Storage, TabEvent};
use offprint_protocol::{Lsn, TabId};

use super::{Replica, State};
use crate::document::Told;

/// How often the status is told when only its counters move, in milliseconds.
pub(super) const FRAME: u64 = 16;

impl Replica {
    /// Counters that move are told once a frame, and at once to a tab whose mutation has come further; everything
    /// else is told at once.
    pub(super) fn tell_status(&mut self, now: u64, told: &mut Told) {
        let status = self.status();
        let is_frame_over = now >= self.told_at.saturating_add(FRAME);
        let counters_alone = |before: &Status| {
            let Status { pending, lsn, progress, download, .. } = *before;
            *before == Status { pending, lsn, progress, download, ..status.clone() }
        };
        self.is_status_due = match &self.told {
            Some(before) if *before == status => return,
            Some(before) => !is_frame_over && counters_alone(before),
            None => false,
        };
        let has_news = |tab: &&TabId| {
            let is_stage = |event: &TabEvent| {
                matches!(
                    event,
                    TabEvent::Durable { .. } | TabEvent::Confirmed { .. } | TabEvent::Rejected { .. }
                )
            };
            told.iter().any(|(other, event)| other == *tab && is_stage(event))
        };
        let tabs: Vec<TabId> =
            self.tabs.iter().filter(|tab| !self.is_status_due || has_news(tab)).copied().collect();
        told.extend(tabs.into_iter().map(|tab| (tab, TabEvent::Status(status.clone()))));
        if !self.is_status_due {
            self.told = Some(status);
            self.told_at = now;
        }
    }

    pub(super) fn status(&self) -> Status {
        let (connection, connection_problem) = self.sync.connection();
        let shortage = self.journal.shortage();
        let lack = shortage.map(|(error, _)| Problem::from(error.clone()));
        let mut status = Status {
            ready: false,
            lsn: Lsn(0),
            local: false,
            pending: 0,
            progress: None,
            download: self.fetches.progress(),
            connection,
            connection_problem,
            storage: Storage {
                reason: [&self.storage.reason, &lack, &self.damage, &self.rung]
                    .into_iter()
                    .flatten()
                    .next()
                    .cloned(),
                shortage: shortage.map(|(_, shortage)| shortage),
                ..self.storage
            },
            rejections: Vec::new(),
        };
        match &self.state {
            State::Opening { .. } => {}
            State::Open(document) => {
                status.ready = document.is_ready();
                status.progress = document.progress();
                status.lsn = document.position().map_or(Lsn(0), |position| position.lsn);
                status.local = document.is_local();
                status.pending = document.pending() as u64;
                status.rejections = document.rejections();
            }
            State::Failed(problem) => status.storage.reason = Some(problem.clone()),
        }
        status
    }
}
