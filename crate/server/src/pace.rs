//! How fast one session may talk: it is slowed down, never refused, so that it loses nothing.

use std::time::Duration;

use tokio::time::Instant;

/// A bucket of tokens, one for each message, that fills at a steady rate.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Tokens per second, and the most that the bucket holds.
    rate: f64,
    tokens: f64,
    at: Instant,
}

impl Pace {
    /// So many messages per second; as many may come at once after a quiet second.
    pub(crate) fn new(rate: u32, now: Instant) -> Self {
        let rate = f64::from(rate.max(1));
        Self { rate, tokens: rate, at: now }
    }

    /// Takes a token and says how long to wait until it would have been there.
    pub(crate) fn take(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + passed * self.rate).min(self.rate) - 1.0;
        Duration::from_secs_f64((-self.tokens).max(0.0) / self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_what_follows_comes_at_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(100, start);
        let mut now = start;
        for _ in 0..100 {
            assert_eq!(pace.take(now), Duration::ZERO);
        }
        for _ in 0..1000 {
            now += pace.take(now);
        }
        let took = (now - start).as_secs_f64();
        assert!((9.9..10.1).contains(&took), "{took}");
        now += Duration::from_secs(3600);
        for _ in 0..100 {
            assert_eq!(pace.take(now), Duration::ZERO);
        }
        assert!(pace.take(now) > Duration::ZERO);
    }
}
