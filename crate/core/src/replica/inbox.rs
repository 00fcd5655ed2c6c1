//! What the server delivered: what changes the document waits and is applied all at once, and only while there is room.

use std::collections::VecDeque;

use offprint_protocol::rpc::{Storage, StorageKind};
use offprint_protocol::{Lsn, MutationSeq};

use super::{Replica, State};
use crate::document::Told;
use crate::host::ReplicaEffect;
use crate::journal::Journal;
use crate::sync::{Changes, Delivery};

/// How many bytes may wait while there is no room for them; then the server is left.
const INBOX_LIMIT: u64 = 1 << 20;
/// How long commits wait for a mutation before they are flushed by themselves, in milliseconds.
const COMMITS_WAIT: u64 = 20;
/// About how much of an offer goes into one frame, in bytes of pages.
const PART: usize = 1 << 20;

impl Replica {
    /// Without room the server's commits wait; once they are many, the server is left until there is room.
    pub(super) fn pull_or_pause(&mut self, effects: &mut Vec<ReplicaEffect>) {
        match self.journal.shortage() {
            Some((error, _)) => {
                let waiting: u64 = self.inbox.iter().map(Changes::size).sum();
                if waiting > INBOX_LIMIT {
                    self.inbox.clear();
                    self.sync.pause(error.clone().into(), effects);
                }
            }
            None => self.sync.resume(effects),
        }
    }

    /// Takes what the server delivered; it may be pushed to from its welcome on, whether there is room for its changes
    /// or not.
    pub(super) fn delivered(&mut self, deliveries: Vec<Delivery>, effects: &mut Vec<ReplicaEffect>) {
        let State::Open(document) = &mut self.state else { return };
        for delivery in deliveries {
            match delivery {
                Delivery::Welcome { marks, snapshot } => {
                    document.welcomed(&marks);
                    // What a device made without a server is offered first.
                    if document.is_whole() && !document.is_local() {
                        let decided = marks.last().map_or(MutationSeq(0), |mark| mark.seq);
                        self.sync.may_push(decided.max(document.timeline().confirmed()));
                    }
                    self.fetches.offered(snapshot, &mut self.sync, effects);
                }
                Delivery::OfferWanted => {
                    self.sync.offer(document.image().rollup_since(Lsn(0), PART), effects);
                }
                Delivery::Changes(changes) => self.inbox.push_back(changes),
            }
        }
    }

    /// Applies all changes that were delivered, and goes on from there.
    pub(super) fn apply_inbox(&mut self, now: u64, told: &mut Told, effects: &mut Vec<ReplicaEffect>) {
        let State::Open(document) = &mut self.state else { return };
        while can_apply(&self.inbox, &self.storage, &mut self.journal)
            && let Some(changes) = self.inbox.pop_front()
        {
            let applied = match (self.fetches.take_whole(), changes) {
                (Some(image), on_top) => document.apply_snapshot(image, on_top, &mut self.journal, told),
                (None, Changes::Commits(batch)) => document.apply_commits(batch, &mut self.journal, told),
                (None, Changes::Rollup { journal, parts }) => {
                    document.apply_rollup(journal, parts, &mut self.journal, told)
                }
            };
            if let Err(error) = applied {
                self.sync.misfit(now, error, effects);
                self.inbox.clear();
                break;
            }
            if self.sync.applied(document.timeline().confirmed()) {
                if document.is_local() {
                    document.adopted(&mut self.journal);
                }
                if let Some(ticket) = document.split(&mut self.journal) {
                    self.sync.suspend(effects);
                    self.connect_after = Some(ticket);
                }
            }
            self.commits_wait_until.get_or_insert(now.saturating_add(COMMITS_WAIT));
        }
        self.inbox_wants_room = !self.inbox.is_empty();
    }
}

/// Whether the first of what was delivered can be applied; while no disk answers, room is no question.
pub(super) fn can_apply(inbox: &VecDeque<Changes>, storage: &Storage, journal: &mut Journal) -> bool {
    let Some(changes) = inbox.front() else { return false };
    storage.kind == StorageKind::None || journal.has_room(changes.size())
}
