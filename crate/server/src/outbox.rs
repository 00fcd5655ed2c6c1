//! The frames that wait for one session: bounded, so that a client that does not read costs little and is cut off.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use offprint_protocol::{Code, Error};
use tokio::sync::Notify;

/// Why a session ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The client closed its socket, or cannot be reached any more: there is nobody to tell.
    Gone,
    /// The room closed the session and has said why.
    Closed,
    /// The server stops.
    Stopping,
    /// The client is told why.
    Refused(Error),
}

/// What a session's writer does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Frame(Bytes),
    End(End),
}

/// One session's waiting frames; clones are the same outbox.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    shared: Arc<Shared>,
}

/// The room's hold on a session's outbox: if the room dies without ending the session, dropping this does.
#[derive(Debug)]
pub(crate) struct Attached(pub(crate) Outbox);

#[derive(Debug)]
struct Shared {
    limit: usize,
    state: Mutex<State>,
    changed: Notify,
    cut: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Bytes>,
    /// The bytes of all frames that are not written yet.
    bytes: usize,
    /// How many of those do not count against the limit.
    free: usize,
    turn: Option<u64>,
    /// Whether nothing waited when this turn began.
    is_free: bool,
    end: Option<End>,
    cut: bool,
}

impl Outbox {
    /// An empty outbox that holds up to `limit` bytes more than what one turn makes.
    pub(crate) fn new(limit: usize) -> Self {
        let shared = Shared { limit, state: Mutex::default(), changed: Notify::new(), cut: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No invariant spans a panic here: every change is complete before anything can fail.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a frame that the room made in this turn; false if the session was cut off because too much waits.
    /// What a turn makes for a client that has read everything before is taken whole: a catch-up or a large commit
    /// says nothing about how the client reads.
    pub(crate) fn push(&self, turn: u64, frame: Vec<u8>) -> bool {
        let mut state = self.state();
        if state.end.is_some() {
            return !state.cut;
        }
        if state.turn != Some(turn) {
            state.turn = Some(turn);
            state.is_free = state.bytes == 0;
        }
        if state.is_free {
            state.free += frame.len();
        } else if state.bytes + frame.len() - state.free > self.shared.limit {
            drop(state);
            self.cut(Error::new(Code::Limit, "the session reads too slowly; come back to be caught up"));
            return false;
        }
        state.bytes += frame.len();
        state.frames.push_back(Bytes::from(frame));
        drop(state);
        self.shared.changed.notify_one();
        true
    }

    /// Ends the session after what is queued; the first end counts.
    pub(crate) fn end(&self, end: End) {
        self.state().end.get_or_insert(end);
        self.shared.changed.notify_one();
    }

    /// Ends the session at once; what is queued is dropped.
    pub(crate) fn cut(&self, error: Error) {
        let mut state = self.state();
        state.frames.clear();
        state.end = Some(End::Refused(error));
        state.cut = true;
        drop(state);
        self.shared.changed.notify_one();
        self.shared.cut.notify_one();
    }

    /// The next frame, or the end. One writer only.
    pub(crate) async fn next(&self) -> Next {
        loop {
            {
                let mut state = self.state();
                if let Some(frame) = state.frames.pop_front() {
                    return Next::Frame(frame);
                }
                if let Some(end) = &state.end {
                    return Next::End(end.clone());
                }
            }
            self.shared.changed.notified().await;
        }
    }

    /// A frame of so many bytes is written.
    pub(crate) fn wrote(&self, bytes: usize) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(bytes);
        // Free frames were queued on an empty outbox, so they are written first.
        state.free = state.free.saturating_sub(bytes);
    }

    /// Resolves when the session is cut off.
    pub(crate) async fn until_cut(&self) {
        self.shared.cut.notified().await;
    }

    #[cfg(test)]
    pub(crate) fn queued(&self) -> usize {
        self.state().frames.iter().map(Bytes::len).sum()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.end(End::Refused(Error::new(Code::Internal, "the document had to be closed")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_out_in_order_and_then_the_end() {
        let outbox = Outbox::new(100);
        assert!(outbox.push(1, vec![1]));
        assert!(outbox.push(1, vec![2]));
        outbox.end(End::Closed);
        outbox.end(End::Stopping);
        assert!(outbox.push(1, vec![3]), "what comes after the end is dropped");
        assert_eq!(outbox.next().await, Next::Frame(Bytes::from_static(&[1])));
        assert_eq!(outbox.next().await, Next::Frame(Bytes::from_static(&[2])));
        assert_eq!(outbox.next().await, Next::End(End::Closed));
    }

    #[tokio::test]
    async fn a_session_that_does_not_read_is_cut_off_and_holds_nothing() {
        let outbox = Outbox::new(100);
        assert!(outbox.push(1, vec![0; 1000]), "a catch-up is as long as the document");
        assert!(outbox.push(2, vec![0; 60]));
        assert!(outbox.push(3, vec![0; 40]));
        assert!(!outbox.push(4, vec![0; 1]));
        outbox.until_cut().await;
        assert_eq!(outbox.queued(), 0);
        let Next::End(End::Refused(error)) = outbox.next().await else { panic!("not refused") };
        assert_eq!(error.code, Code::Limit);
        assert!(!outbox.push(5, vec![0; 1]));
    }

    #[tokio::test]
    async fn a_large_commit_does_not_cut_off_a_client_that_reads() {
        let outbox = Outbox::new(100);
        for turn in 1..5 {
            for _ in 0..10 {
                assert!(outbox.push(turn, vec![0; 90]));
            }
            assert!(outbox.push(turn + 100, vec![0; 90]), "the limit is there for what comes meanwhile");
            for _ in 0..11 {
                let Next::Frame(frame) = outbox.next().await else { panic!("no frame") };
                outbox.wrote(frame.len());
            }
        }
    }

    #[tokio::test]
    async fn what_is_written_makes_room() {
        let outbox = Outbox::new(200);
        assert!(outbox.push(1, vec![0; 1000]));
        for turn in 2..50 {
            assert!(outbox.push(turn, vec![0; 90]));
            let Next::Frame(frame) = outbox.next().await else { panic!("no frame") };
            outbox.wrote(frame.len());
        }
    }

    #[tokio::test]
    async fn a_room_that_dies_ends_its_sessions() {
        let outbox = Outbox::new(100);
        drop(Attached(outbox.clone()));
        assert!(
            matches!(outbox.next().await, Next::End(End::Refused(error)) if error.code == Code::Internal)
        );
    }
}
