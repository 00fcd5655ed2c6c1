//! What a server is started with.

use std::path::PathBuf;
use std::time::Duration;

use offprint_protocol::Definition;

use crate::auth::Auth;

/// What a server serves, from where, and to whom.
#[derive(Debug, Clone)]
pub struct Config {
    /// What is served.
    pub definition: Definition,
    /// The directory of the documents; made if absent.
    pub data: PathBuf,
    /// The address to listen on; without `auth` it must be a loopback one. Port 0 takes a free port.
    pub listen: String,
    /// Origins that browsers may come from, besides those of this machine.
    pub origins: Vec<String>,
    /// What tokens are checked with; without it nobody needs one.
    pub auth: Option<Auth>,
    /// The limits.
    pub limits: Limits,
}

/// What one session, one room, one wait may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a session may take to say hello.
    pub hello: Duration,
    /// A session is pinged this often, and given up after three times as long without any sign of life.
    pub ping: Duration,
    /// How long one frame may take to leave.
    pub stall: Duration,
    /// How many bytes may wait for a session besides what one turn of the room makes for it.
    pub outbox: usize,
    /// How many bytes of frames may wait for a room.
    pub inbox: usize,
    /// How many sessions a room may have.
    pub sessions: usize,
    /// How long a room without sessions stays open.
    pub idle: Duration,
    /// How long a room waits for files that somebody else holds.
    pub lock: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(10),
            ping: Duration::from_secs(15),
            stall: Duration::from_secs(60),
            outbox: 16 << 20,
            inbox: 32 << 20,
            sessions: 1000,
            idle: Duration::from_secs(30),
            lock: Duration::from_secs(5),
        }
    }
}
