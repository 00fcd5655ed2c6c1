//! A document that is fetched as a whole: the server names it, the host brings it over HTTP, and the session goes on.

use offprint_protocol::JournalId;
use offprint_protocol::message::SnapshotOffer;
use offprint_protocol::rpc::Progress;

use crate::download::Download;
use crate::host::ReplicaEffect;
use crate::image::Image;
use crate::sync::Sync;

/// The snapshot that is fetched, over one session or several.
#[derive(Default)]
pub(super) struct Fetches(Option<Fetch>);

struct Fetch {
    journal: JournalId,
    offer: SnapshotOffer,
    state: State,
}

enum State {
    Coming(Download),
    /// All of it is here; it takes the place of what was here together with what the server says next.
    Whole(Image),
}

impl Fetches {
    /// How much has come.
    pub(super) fn progress(&self) -> Option<Progress> {
        match &self.0.as_ref()?.state {
            State::Coming(download) => Some(download.progress()),
            State::Whole(_) => None,
        }
    }

    /// The server has welcomed this client, with a snapshot to fetch or without. What has come of it is not fetched again.
    pub(super) fn offered(
        &mut self,
        snapshot: Option<(JournalId, SnapshotOffer)>,
        sync: &mut Sync,
        effects: &mut Vec<ReplicaEffect>,
    ) {
        if self.0.as_ref().map(|fetch| (fetch.journal, fetch.offer)) != snapshot {
            self.stop(effects);
            let Some((journal, offer)) = snapshot else { return };
            let state = State::Coming(Download::new(journal, offer));
            self.0 = Some(Fetch { journal, offer, state });
            effects.push(ReplicaEffect::Fetch { journal, lsn: offer.lsn, size: offer.size() });
        }
        if matches!(&self.0, Some(Fetch { state: State::Whole(_), .. })) {
            sync.fetched(true, effects);
        }
    }

    /// More has come. If it is not what was offered, the server is asked for it instead.
    pub(super) fn take(&mut self, bytes: &[u8], sync: &mut Sync, effects: &mut Vec<ReplicaEffect>) {
        let Some(Fetch { state, .. }) = &mut self.0 else { return };
        let State::Coming(download) = state else { return };
        match download.take(bytes) {
            Ok(None) => {}
            Ok(Some(image)) => {
                *state = State::Whole(image);
                sync.fetched(true, effects);
            }
            Err(_) => {
                self.stop(effects);
                sync.fetched(false, effects);
            }
        }
    }

    /// It cannot be had.
    pub(super) fn failed(&mut self, sync: &mut Sync, effects: &mut Vec<ReplicaEffect>) {
        if self.0.take_if(|fetch| matches!(fetch.state, State::Coming(_))).is_some() {
            sync.fetched(false, effects);
        }
    }

    /// What was fetched, for what the server says next to build upon.
    pub(super) fn take_whole(&mut self) -> Option<Image> {
        match self.0.take_if(|fetch| matches!(fetch.state, State::Whole(_)))?.state {
            State::Whole(image) => Some(image),
            State::Coming(_) => None,
        }
    }

    /// Gives up what has come.
    pub(super) fn stop(&mut self, effects: &mut Vec<ReplicaEffect>) {
        if let Some(Fetch { state: State::Coming(_), .. }) = self.0.take() {
            effects.push(ReplicaEffect::StopFetch);
        }
    }
}
