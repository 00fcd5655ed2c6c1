//! A server's silence, and the signs of life that it is asked for.

use offprint_protocol::Encode;
use offprint_protocol::message::ClientMessage;

/// After this much silence the server is asked for a sign of life; after twice as much it is given up. Milliseconds.
const SILENCE: u64 = 15_000;
/// A sign of life that was asked for from outside has to come within this, in milliseconds: the network may be another.
const DOUBTED: u64 = 10_000;

/// How long nothing was heard from the server.
#[derive(Debug, Default)]
pub(super) struct Silence {
    since: u64,
    /// It was asked for a sign of life, and is given up at this time without one.
    until: Option<u64>,
}

impl Silence {
    /// The server said something, or the socket was opened.
    pub(super) fn heard(&mut self, now: u64) {
        *self = Self { since: now, until: None };
    }

    /// Whether it is given up.
    pub(super) fn has_lasted(&self, now: u64) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// The frame that asks for a sign of life, if it is time for one.
    pub(super) fn ask(&mut self, now: u64) -> Option<Vec<u8>> {
        let is_time = self.until.is_none() && now >= self.since.saturating_add(SILENCE);
        is_time.then(|| self.ping(self.since.saturating_add(2 * SILENCE).max(now)))
    }

    /// The frame that asks for a sign of life at once, unless one is asked for that has to come as soon. What the server
    /// is being sent may take longer than its answer.
    pub(super) fn doubt(&mut self, now: u64, is_sending: bool) -> Option<Vec<u8>> {
        let until = now.saturating_add(if is_sending { SILENCE } else { DOUBTED });
        self.until.is_none_or(|before| until < before).then(|| self.ping(until))
    }

    /// When [`ask`](Self::ask) or [`has_lasted`](Self::has_lasted) gives another answer.
    pub(super) fn due(&self) -> u64 {
        self.until.unwrap_or(self.since.saturating_add(SILENCE))
    }

    /// The clock was set back by so much.
    pub(super) fn turn_back(&mut self, back: u64) {
        self.since = self.since.saturating_sub(back);
        self.until = self.until.map(|until| until.saturating_sub(back));
    }

    fn ping(&mut self, until: u64) -> Vec<u8> {
        self.until = Some(until);
        ClientMessage::Ping(self.since).to_bytes()
    }
}
