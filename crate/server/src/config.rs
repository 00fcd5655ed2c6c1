//! What a server is started with.

use std::path::PathBuf;
use std::time::Duration;

use offprint_core::PrimaryLimits;
use offprint_core::mutator::MAX_ARGUMENT_BYTES;
use offprint_protocol::message::MAX_FRAME;
use offprint_protocol::{Definition, PAGE_SIZE};

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
    /// An address of its own for `/metrics`; without one they are at `listen`, unless tokens are asked for there.
    pub metrics: Option<String>,
    /// The limits.
    pub limits: Limits,
}

/// The least that [`Limits::message`] may be: with less a client could be refused for ever. An offer goes in parts of 1 MiB
/// and a page; a mutation goes whole, even one that is to be rejected because of its length.
pub(crate) const LEAST_MESSAGE: usize = 2 << 20;
const _: () = assert!(LEAST_MESSAGE > MAX_ARGUMENT_BYTES + (64 << 10));

/// What one session, one room, one wait may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a connection may take to make a request, and a session to say hello.
    pub hello: Duration,
    /// A session is pinged this often, and given up after twice as long without any sign of life.
    pub ping: Duration,
    /// How long one frame may take to leave.
    pub stall: Duration,
    /// A session is sent more once so many bytes wait, and at most so many at a time: twice as many and a frame may wait.
    pub outbox: usize,
    /// How many bytes of frames may wait for a room.
    pub inbox: usize,
    /// The most bytes of one frame from a client, at least 2 MiB and at most [`MAX_FRAME`].
    pub message: usize,
    /// The most bytes of one mutation's arguments, at most [`MAX_ARGUMENT_BYTES`].
    pub mutation: usize,
    /// The most time that one mutation may take.
    pub mutation_time: Duration,
    /// The most time that a back end's query may take.
    pub query_time: Duration,
    /// The most bytes that a document may grow to.
    pub document: u64,
    /// How many messages a session may send per second before it is slowed down.
    pub rate: u32,
    /// How many sessions there may be.
    pub sessions: usize,
    /// How many sessions a room may have.
    pub sessions_per_document: usize,
    /// How many connections may be without a session.
    pub handshakes: usize,
    /// How many rooms may be open.
    pub rooms: usize,
    /// How long a room without sessions stays open, and one that nobody needs keeps its document in memory.
    pub idle: Duration,
    /// How long a room waits for files that somebody else holds.
    pub lock: Duration,
    /// How far back a document can be restored; without it no history is kept.
    pub history: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(10),
            ping: Duration::from_secs(15),
            stall: Duration::from_secs(60),
            outbox: 1 << 20,
            inbox: 32 << 20,
            message: MAX_FRAME,
            mutation: MAX_ARGUMENT_BYTES,
            mutation_time: Duration::from_secs(5),
            query_time: Duration::from_secs(5),
            document: 512 << 20,
            rate: 2000,
            sessions: 20_000,
            sessions_per_document: 1000,
            handshakes: 1024,
            rooms: 4096,
            idle: Duration::from_secs(30),
            lock: Duration::from_secs(5),
            history: None,
        }
    }
}

impl Limits {
    /// How long a session may give no sign of life.
    pub(crate) fn silence(&self) -> Duration {
        self.ping * 2
    }

    pub(crate) fn of_primary(&self) -> PrimaryLimits {
        let pages = u32::try_from(self.document / PAGE_SIZE as u64).unwrap_or(u32::MAX);
        let pages = pages.max(1);
        PrimaryLimits { pages, arguments: self.mutation, window: self.outbox, ..PrimaryLimits::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_is_dead_is_given_up_as_soon_as_a_client_gives_up_a_server() {
        assert_eq!(Limits::default().silence(), Duration::from_secs(30));
    }
}
