//! What every connection shares.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use offprint_core::budget::TimeLimit;
use offprint_protocol::{Code, DefinitionHash, Error};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::auth::{Auth, Pass};
use crate::metrics::Gauges;
use crate::origin::Origins;
use crate::rooms::Rooms;

/// What every connection shares.
pub(crate) struct App {
    pub(crate) rooms: Rooms,
    pub(crate) hash: DefinitionHash,
    pub(crate) origins: Origins,
    pub(crate) auth: Option<Auth>,
    pub(crate) sessions: TaskTracker,
    /// Places for sessions, and for connections that have none.
    pub(crate) session_places: Arc<Semaphore>,
    pub(crate) stranger_places: Arc<Semaphore>,
    /// Places for requests of back ends that are being carried out, and for downloads.
    pub(crate) request_places: Arc<Semaphore>,
    pub(crate) download_places: Arc<Semaphore>,
    /// What a back end's query may take.
    pub(crate) query_time: TimeLimit,
}

impl App {
    /// What the token is good for, or `unauthorized`; without `--auth` anybody may do everything.
    pub(crate) fn check_token(&self, token: &str) -> Result<Pass, Error> {
        match &self.auth {
            Some(auth) => auth.check(token, now()),
            None => Ok(Pass::for_anyone()),
        }
    }

    /// A place for one more session, or `limit`.
    pub(crate) fn take_place(&self) -> Result<OwnedSemaphorePermit, Error> {
        self.session_places.clone().try_acquire_owned().map_err(|_| {
            let most = self.rooms.limits().sessions;
            Error::new(Code::Limit, format!("the server has {most} sessions already"))
        })
    }

    /// The metrics, as text.
    pub(crate) fn metrics(&self) -> String {
        let limits = self.rooms.limits();
        let taken = |most: usize, places: &Semaphore| (most - places.available_permits()) as u64;
        self.rooms.metrics().text(Gauges {
            rooms: self.rooms.count() as u64,
            sessions: taken(limits.sessions, &self.session_places),
            handshakes: taken(limits.handshakes, &self.stranger_places),
        })
    }
}

/// The time since 1970.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
