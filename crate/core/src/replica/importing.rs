//! A file that is to become the document, where a server was called already.

use super::{Replica, State};
use crate::host::ReplicaEffect;
use crate::sync::Sync;

impl Replica {
    /// A part of a file has come: if that may become the document, the server is left first and called again once the
    /// file has come wholly, or is known not to. What has come from the server is given up, as it would replace the file.
    pub(super) fn leave_server_for_file(&mut self, effects: &mut Vec<ReplicaEffect>) {
        let State::Open(document) = &self.state else { return };
        if !self.config.server || self.is_call_due || !document.is_blank() {
            return;
        }
        self.sync.suspend(effects);
        // That nothing could be built upon what was here says nothing of the file.
        self.sync = Sync::new(&self.config.entropy);
        self.inbox.clear();
        self.inbox_wants_room = false;
        self.fetches.stop(effects);
        self.is_call_due = true;
    }
}
