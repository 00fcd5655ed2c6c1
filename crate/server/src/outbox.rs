//! The frames that wait for one session. The room puts nothing more in while it is full, and asks when it has drained.

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
    mark: usize,
    state: Mutex<State>,
    changed: Notify,
    drained: Notify,
    cut: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Bytes>,
    /// The bytes of all frames that are not written yet.
    bytes: usize,
    /// Whether somebody waits until little is left.
    asked: bool,
    /// Whether little was left since this was looked at.
    moved: bool,
    end: Option<End>,
}

impl Outbox {
    /// An empty outbox, which is drained when it holds at most `mark` bytes.
    pub(crate) fn new(mark: usize) -> Self {
        let state = Mutex::default();
        let (changed, drained, cut) = (Notify::new(), Notify::new(), Notify::new());
        Self { shared: Arc::new(Shared { mark, state, changed, drained, cut }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No invariant spans a panic here: every change is complete before anything can fail.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a frame; after the end it is dropped.
    pub(crate) fn push(&self, frame: Vec<u8>) {
        let mut state = self.state();
        if state.end.is_some() {
            return;
        }
        state.bytes += frame.len();
        state.frames.push_back(Bytes::from(frame));
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Whether it is drained; if not, [`Outbox::until_drained`] tells when it is.
    pub(crate) fn ask_drained(&self) -> bool {
        let mut state = self.state();
        state.asked = state.bytes > self.shared.mark;
        !state.asked
    }

    /// Resolves when it is drained, if that was asked for.
    pub(crate) async fn until_drained(&self) {
        self.shared.drained.notified().await;
    }

    /// Whether it was drained since this was asked last, which an unreachable client's is not for long.
    pub(crate) fn has_moved(&self) -> bool {
        std::mem::take(&mut self.state().moved)
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
        if state.asked && state.bytes <= self.shared.mark {
            state.asked = false;
            state.moved = true;
            self.shared.drained.notify_one();
        }
    }

    /// Resolves when the session is cut off.
    pub(crate) async fn until_cut(&self) {
        self.shared.cut.notified().await;
    }

    #[cfg(test)]
    pub(crate) fn queued(&self) -> usize {
        self.state().bytes
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

    async fn write(outbox: &Outbox) {
        let Next::Frame(frame) = outbox.next().await else { panic!("no frame") };
        outbox.wrote(frame.len());
    }

    #[tokio::test]
    async fn frames_come_out_in_order_and_then_the_end() {
        let outbox = Outbox::new(100);
        outbox.push(vec![1]);
        outbox.push(vec![2]);
        outbox.end(End::Closed);
        outbox.end(End::Stopping);
        outbox.push(vec![3]);
        assert_eq!(outbox.next().await, Next::Frame(Bytes::from_static(&[1])));
        assert_eq!(outbox.next().await, Next::Frame(Bytes::from_static(&[2])));
        assert_eq!(outbox.next().await, Next::End(End::Closed));
    }

    #[tokio::test]
    async fn a_session_that_is_cut_off_holds_nothing() {
        let outbox = Outbox::new(100);
        outbox.push(vec![0; 1000]);
        outbox.cut(Error::new(Code::Limit, "the session does not read"));
        outbox.until_cut().await;
        let Next::End(End::Refused(error)) = outbox.next().await else { panic!("not refused") };
        assert_eq!(error.code, Code::Limit);
    }

    #[tokio::test]
    async fn who_asks_is_told_once_little_is_left() {
        let outbox = Outbox::new(100);
        outbox.push(vec![0; 100]);
        assert!(outbox.ask_drained());
        outbox.push(vec![0; 60]);
        outbox.push(vec![0; 60]);
        assert!(!outbox.ask_drained());
        assert!(!outbox.has_moved());
        write(&outbox).await;
        write(&outbox).await;
        outbox.until_drained().await;
        assert!(outbox.has_moved());
        assert!(!outbox.has_moved(), "it was drained once");
        write(&outbox).await;
        assert!(!outbox.has_moved(), "nobody asked");
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
