//! The oracle's book of every mutation ever asked for: what was promised about it, and whether that held.

use std::collections::BTreeMap;

use offprint_protocol::MutationSeq;

use crate::tab::News;
use crate::workload::Logged;

/// What is known about one mutation.
#[derive(Debug, Clone, Default)]
struct Entry {
    client: usize,
    seq: Option<MutationSeq>,
    durable: bool,
    confirmed: bool,
    rejected: bool,
    failed: bool,
    /// The server's files were wiped after it was made: it may be missing, but never twice.
    excused: bool,
    /// How many copies of its profile had it pending: so many times more it may be there.
    copies: usize,
    /// Made without a server: confirmed by the device alone.
    alone: bool,
}

/// The book.
#[derive(Debug, Default)]
pub struct Book {
    entries: BTreeMap<String, Entry>,
}

impl Book {
    /// A tab of `client` asks for the mutation of `token`.
    pub fn asked(&mut self, token: &str, client: usize, alone: bool) {
        self.entries.insert(token.to_owned(), Entry { client, alone, ..Entry::default() });
    }

    /// A tab learned something; fails if it contradicts what was said before.
    pub fn heard(&mut self, token: &str, news: &News) -> Result<(), String> {
        let Some(entry) = self.entries.get_mut(token) else {
            return Err(format!("{token} was never asked for"));
        };
        match news {
            News::Applied(seq) => {
                if entry.durable && entry.seq.is_some_and(|known| known != *seq) {
                    return Err(format!("{token} was durable as {:?} and is now {seq}", entry.seq));
                }
                entry.seq = Some(*seq);
            }
            News::Durable => entry.durable = true,
            News::Confirmed => entry.confirmed = true,
            News::Rejected => entry.rejected = true,
            News::Failed => entry.failed = true,
        }
        let verdicts =
            [entry.confirmed, entry.rejected, entry.failed].into_iter().filter(|said| *said).count();
        match verdicts {
            0 | 1 => Ok(()),
            _ => Err(format!("{token} has two verdicts: {entry:?}")),
        }
    }

    /// The server's history is lost.
    pub fn excuse_all(&mut self) {
        for entry in self.entries.values_mut() {
            entry.excused = true;
        }
    }

    /// A client gave up what it had made without a server.
    pub fn excuse(&mut self, client: usize) {
        for entry in self.entries.values_mut().filter(|entry| entry.client == client) {
            entry.excused = true;
        }
    }

    /// A client's profile is copied.
    pub fn copied(&mut self, client: usize) {
        let is_open = |entry: &&mut Entry| !(entry.confirmed || entry.rejected || entry.failed);
        for entry in self.entries.values_mut().filter(|entry| entry.client == client).filter(is_open) {
            entry.copies += 1;
        }
    }

    /// Compares with the final state: `log` in its order, and each client's rejections.
    pub fn settle(&self, log: &[Logged], rejections: &[Vec<MutationSeq>]) -> Result<(), String> {
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        let mut last: BTreeMap<usize, MutationSeq> = BTreeMap::new();
        for logged in log {
            *count.entry(&logged.token).or_default() += 1;
            let entry = self
                .entries
                .get(&logged.token)
                .ok_or_else(|| format!("{} came from nowhere", logged.token))?;
            if let Some(seq) = entry.seq.filter(|_| entry.durable && entry.copies == 0) {
                let last = last.entry(entry.client).or_default();
                if seq <= *last {
                    return Err(format!("{} of client {} is out of order", logged.token, entry.client));
                }
                *last = seq;
            }
        }
        for (token, entry) in &self.entries {
            let count = count.get(token.as_str()).copied().unwrap_or(0);
            let listed = |list: &Vec<MutationSeq>| entry.seq.is_some_and(|seq| list.contains(&seq));
            let is_rejected = entry.rejected || entry.durable && listed(&rejections[entry.client]);
            let fits = match entry {
                Entry { copies: 1.., durable: true, excused: false, .. } => {
                    count <= 1 + entry.copies && (count > 0 || rejections.iter().any(listed))
                }
                Entry { copies: 1.., .. } => count <= 1 + entry.copies,
                _ if count > 1 => false,
                Entry { failed: true, .. } => count == 0,
                Entry { excused: true, .. } => true,
                Entry { confirmed: true, alone: false, .. } => count == 1,
                Entry { durable: true, .. } => (count == 1) != is_rejected,
                Entry { rejected: true, .. } => count == 0,
                _ => true,
            };
            if !fits {
                return Err(format!("{token} is there {count} times, but {entry:?}"));
            }
        }
        Ok(())
    }

    /// What is known about the mutation of a token, for people to read.
    pub fn tell(&self, token: &str) -> String {
        format!("{token}: {:?}", self.entries.get(token))
    }

    /// How many mutations were asked for.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none was asked for.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
