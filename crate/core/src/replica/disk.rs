//! What the disk's answers lead to, and when it is asked again.

use offprint_protocol::Code;

use super::{Replica, State};
use crate::disk::DiskAnswer;
use crate::document::Told;
use crate::host::ReplicaEffect;
use crate::journal::Ticket;

/// After a disk error its batch is tried again, at first and at last so many milliseconds later.
const DISK_RETRY: (u64, u64) = (1_000, 30_000);

impl Replica {
    /// A batch was carried out, or could not be.
    pub(super) fn disk_answered(
        &mut self,
        now: u64,
        answer: DiskAnswer,
        told: &mut Told,
        effects: &mut Vec<ReplicaEffect>,
    ) {
        match self.journal.answer(answer) {
            Ok(recovered) => {
                self.storage.reason = None;
                if self.journal.shortage().is_none() {
                    self.disk_failures = 0;
                }
                if let Some(recovered) = recovered {
                    self.opened(now, recovered, told, effects);
                }
                if let State::Open(document) = &mut self.state {
                    document.flushed(&self.journal, told);
                }
                if self.inbox_wants_room {
                    self.apply_inbox(now, told, effects);
                }
                let may_connect =
                    |ticket: &mut Ticket| !self.is_call_due && *ticket <= self.journal.durable();
                if self.connect_after.take_if(may_connect).is_some() {
                    self.sync.connect(effects);
                }
            }
            Err(error) if matches!(error.code, Code::Disk | Code::Quota) => {
                self.storage.reason = Some(error.into());
                let (first, longest) = DISK_RETRY;
                let wait = first.saturating_mul(1 << self.disk_failures.min(16)).min(longest);
                self.disk_failures += 1;
                self.retry_disk_at = Some(now.saturating_add(wait));
            }
            Err(error) => self.fail(error, told),
        }
    }

    /// Gives the disk again what it has not answered.
    pub(super) fn retry_disk(&mut self, effects: &mut Vec<ReplicaEffect>) {
        self.retry_disk_at = None;
        self.journal.retry();
        effects.extend(self.journal.unanswered().cloned().map(ReplicaEffect::Disk));
    }
}
