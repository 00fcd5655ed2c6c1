//! What statements may take: instructions of SQLite's virtual machine and, where there is a clock, time.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Tells the time since some moment; it never goes back.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// How long something may take, by which clock.
#[derive(Clone)]
pub struct TimeLimit {
    /// The clock.
    pub clock: Clock,
    /// How long.
    pub most: Duration,
}

/// What one query may take that a host runs for somebody else.
#[derive(Clone)]
pub struct QueryLimit {
    /// How long it may take (`limit`).
    pub time: TimeLimit,
    /// Asked while it runs: whether nobody waits for it any more, and it may end (`limit`).
    pub is_needless: Arc<dyn Fn() -> bool + Send + Sync>,
    /// The most bytes that its result, and each value on the way there, may have (`too_large`).
    pub bytes: usize,
    /// By how many bytes all of SQLite in this process may grow from now on until it ends (`limit`).
    pub memory: u64,
}

/// What is left for the statements that follow.
#[derive(Default)]
pub(crate) struct Budget {
    steps: AtomicU64,
    time: OnceLock<TimeLimit>,
    /// What ends a statement before its time.
    end_early: OnceLock<Box<dyn Fn() -> bool + Send + Sync>>,
    /// When it is over by the clock, in nanoseconds.
    end: AtomicU64,
}

impl Budget {
    /// Gives mutations, or queries, so much time each, from now on and for good.
    pub(crate) fn limit_time(&self, limit: TimeLimit) {
        // A second limit would be a second owner's: the first one stays.
        let _ = self.time.set(limit);
    }

    /// Ends what has a limited time as soon as this says so, from now on and for good.
    pub(crate) fn end_when(&self, is_over: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.end_early.set(Box::new(is_over));
    }

    /// So many instructions, however long they take.
    pub(crate) fn allow(&self, steps: u64) {
        self.steps.store(steps, Ordering::Relaxed);
        self.end.store(u64::MAX, Ordering::Relaxed);
    }

    /// So many instructions, within the time for each if that is limited.
    pub(crate) fn allow_in_time(&self, steps: u64) {
        self.allow(steps);
        self.end.store(self.end(), Ordering::Relaxed);
    }

    /// When the time for one that begins now is over.
    pub(crate) fn end(&self) -> u64 {
        self.time.get().map_or(u64::MAX, |TimeLimit { clock, most }| nanos(clock().saturating_add(*most)))
    }

    /// Whether it is later than an [`end`](Self::end).
    pub(crate) fn is_past(&self, end: u64) -> bool {
        self.time.get().is_some_and(|limit| nanos((limit.clock)()) > end)
    }

    /// Takes so many instructions; whether that is more than there was, of them or of time.
    pub(crate) fn take(&self, steps: u64) -> bool {
        let before = self.steps.load(Ordering::Relaxed);
        self.steps.store(before.saturating_sub(steps), Ordering::Relaxed);
        before < steps || self.is_late()
    }

    fn is_late(&self) -> bool {
        let end = self.end.load(Ordering::Relaxed);
        end != u64::MAX && (self.is_past(end) || self.end_early.get().is_some_and(|is_over| is_over()))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX - 1)
}

impl fmt::Debug for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeLimit").field("most", &self.most).finish_non_exhaustive()
    }
}

impl fmt::Debug for QueryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time, bytes, memory, .. } = self;
        f.debug_struct("QueryLimit")
            .field("time", time)
            .field("bytes", bytes)
            .field("memory", memory)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_run_out_and_so_does_time_if_there_is_a_clock() {
        let ticks = Arc::new(AtomicU64::new(0));
        let clock = ticks.clone();
        let budget = Budget::default();
        budget.allow_in_time(10);
        assert!(!budget.take(10) && budget.take(1));
        let clock: Clock = Arc::new(move || Duration::from_nanos(clock.load(Ordering::Relaxed)));
        budget.limit_time(TimeLimit { clock, most: Duration::from_nanos(5) });
        budget.allow_in_time(10);
        ticks.store(5, Ordering::Relaxed);
        assert!(!budget.take(1));
        ticks.store(6, Ordering::Relaxed);
        assert!(budget.take(1));
        budget.allow(10);
        assert!(!budget.take(1), "what is not a mutation has the time it needs");
    }
}
