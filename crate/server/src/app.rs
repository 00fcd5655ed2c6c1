//! What every connection shares.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use offprint_protocol::{DefinitionHash, Error};
use tokio_util::task::TaskTracker;

use crate::auth::{Auth, Pass};
use crate::origin::Origins;
use crate::rooms::Rooms;

/// What every connection shares.
pub(crate) struct App {
    pub(crate) rooms: Rooms,
    pub(crate) hash: DefinitionHash,
    pub(crate) origins: Origins,
    pub(crate) auth: Option<Auth>,
    pub(crate) sessions: TaskTracker,
}

impl App {
    /// What the token is good for, or `unauthorized`; without `--auth` anybody may do everything.
    pub(crate) fn check_token(&self, token: &str) -> Result<Pass, Error> {
        match &self.auth {
            Some(auth) => auth.check(token, now()),
            None => Ok(Pass::for_anyone()),
        }
    }
}

/// The time since 1970.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
