//! What the server counts, as Prometheus reads it.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use offprint_core::PrimaryCounts;
use offprint_protocol::Code;

/// The upper bounds of the histogram's buckets, in microseconds.
const BOUNDS: [u64; 14] = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
    5_000_000,
];

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often something took how long.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Not cumulative; the last is for what exceeds every bound.
    buckets: [Counter; BOUNDS.len() + 1],
    microseconds: Counter,
}

impl Histogram {
    pub(crate) fn observe(&self, time: Duration) {
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS.partition_point(|bound| *bound < time)].add(1);
        self.microseconds.add(time);
    }
}

/// How often each code was the reason.
#[derive(Debug)]
struct Refusals([Counter; Code::ALL.len()]);

impl Default for Refusals {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

/// What is counted while the server runs.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    commits: Counter,
    mutations: Counter,
    rejections: Counter,
    rests: Counter,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) flush: Histogram,
    refusals: Refusals,
}

/// What there is at the moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gauges {
    pub(crate) rooms: u64,
    pub(crate) sessions: u64,
    pub(crate) handshakes: u64,
}

impl Metrics {
    /// A document's primary has come from one state to another.
    pub(crate) fn decided(&self, from: PrimaryCounts, to: PrimaryCounts) {
        self.commits.add(to.commits.saturating_sub(from.commits));
        self.mutations.add(to.mutations.saturating_sub(from.mutations));
        self.rejections.add(to.rejections.saturating_sub(from.rejections));
        self.rests.add(to.rests.saturating_sub(from.rests));
    }

    /// Somebody was refused.
    pub(crate) fn refused(&self, code: Code) {
        if let Some(index) = Code::ALL.iter().position(|other| *other == code) {
            self.refusals.0[index].add(1);
        }
    }

    /// Everything, in Prometheus's text format.
    pub(crate) fn text(&self, gauges: Gauges) -> String {
        let mut out = String::new();
        for (name, help, value) in [
            ("rooms", "Open documents.", gauges.rooms),
            ("sessions", "Websockets that were let in.", gauges.sessions),
            ("handshakes", "Connections without a session: before hello, or HTTP.", gauges.handshakes),
        ] {
            metric(&mut out, name, "gauge", help);
            line(&mut out, &format!("offprint_{name}"), value);
        }
        for (name, help, counter) in [
            ("commits_total", "Commits.", &self.commits),
            ("mutations_total", "Mutations decided.", &self.mutations),
            ("rejections_total", "Mutations rejected.", &self.rejections),
            ("rests_total", "Times that an open document left memory, since nobody needed it.", &self.rests),
            ("received_bytes_total", "Bytes of frames from sessions.", &self.received),
            ("sent_bytes_total", "Bytes of frames to sessions.", &self.sent),
        ] {
            metric(&mut out, name, "counter", help);
            line(&mut out, &format!("offprint_{name}"), counter.get());
        }
        metric(&mut out, "refusals_total", "counter", "Sessions and requests refused, by code.");
        for (code, counter) in Code::ALL.iter().zip(&self.refusals.0) {
            if counter.get() > 0 {
                line(
                    &mut out,
                    &format!("offprint_refusals_total{{code=\"{}\"}}", code.as_str()),
                    counter.get(),
                );
            }
        }
        self.write_flush(&mut out);
        out
    }

    fn write_flush(&self, out: &mut String) {
        metric(out, "flush_seconds", "histogram", "Disk batches that end in a flush.");
        let mut count = 0;
        for (index, bucket) in self.flush.buckets.iter().enumerate() {
            count += bucket.get();
            let bound = BOUNDS.get(index).map_or("+Inf".into(), |bound| seconds(*bound));
            line(out, &format!("offprint_flush_seconds_bucket{{le=\"{bound}\"}}"), count);
        }
        line(out, "offprint_flush_seconds_sum", seconds(self.flush.microseconds.get()));
        line(out, "offprint_flush_seconds_count", count);
    }
}

fn seconds(microseconds: u64) -> String {
    Duration::from_micros(microseconds).as_secs_f64().to_string()
}

fn metric(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string does not fail.
    let _ = write!(out, "# HELP offprint_{name} {help}\n# TYPE offprint_{name} {kind}\n");
}

fn line(out: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(out, "{name} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_each_time_in_every_bucket_that_it_does_not_exceed() {
        let metrics = Metrics::default();
        for micros in [0, 100, 101, 1_000_000, 60_000_000] {
            metrics.flush.observe(Duration::from_micros(micros));
        }
        let text = metrics.text(Gauges::default());
        for expected in [
            "offprint_flush_seconds_bucket{le=\"0.0001\"} 2\n",
            "offprint_flush_seconds_bucket{le=\"0.0002\"} 3\n",
            "offprint_flush_seconds_bucket{le=\"1\"} 4\n",
            "offprint_flush_seconds_bucket{le=\"5\"} 4\n",
            "offprint_flush_seconds_bucket{le=\"+Inf\"} 5\n",
            "offprint_flush_seconds_sum 61.000201\n",
            "offprint_flush_seconds_count 5\n",
        ] {
            assert!(text.contains(expected), "{expected}{text}");
        }
    }

    #[test]
    fn every_line_is_a_comment_or_a_name_and_a_number_and_is_there_once() {
        let metrics = Metrics::default();
        Code::ALL.iter().for_each(|code| metrics.refused(*code));
        let text = metrics.text(Gauges { rooms: 1, sessions: 2, handshakes: 3 });
        let mut names = std::collections::BTreeSet::new();
        for line in text.lines().filter(|line| !line.starts_with("# ")) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok() && name.starts_with("offprint_"), "{line}");
            assert!(names.insert(name.to_owned()), "{line}");
        }
        assert!(text.contains("offprint_refusals_total{code=\"limit\"} 1\n"));
    }
}
