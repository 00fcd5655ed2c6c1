//! The oracle's book of every mutation ever asked for: what was promised about it, and whether that held.

use std::collections::{BTreeMap, BTreeSet};

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
    /// How many were made once it was decided. A device may not have heard of that yet, so these have it pending again if
    /// the server forgets it.
    later_copies: usize,
    /// Made without a server: confirmed by the device alone.
    alone: bool,
    /// It was seen to fail when its client replayed it.
    threw: bool,
    /// The server may have forgotten that it rejected it, while that was on its way: it may be there all the same.
    unrejected: bool,
}

impl Entry {
    /// Whether it is not run again; what a device alone confirmed may be pending there once it meets a server.
    fn is_decided(&self) -> bool {
        self.confirmed && !self.alone || self.rejected || self.failed
    }

    /// The server does not have it any more.
    fn forget(&mut self) {
        self.excused = true;
        self.copies += std::mem::take(&mut self.later_copies);
    }
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

    /// The history of these clients' server is lost.
    pub fn excuse_all(&mut self, is_theirs: impl Fn(usize) -> bool) {
        self.entries.values_mut().filter(|entry| is_theirs(entry.client)).for_each(Entry::forget);
    }

    /// These clients' server is one again that had `kept`, and not all that it `had`: what was decided in between is what
    /// the restore lost. What nobody had decided is owed as before.
    pub fn restored(&mut self, is_theirs: impl Fn(usize) -> bool, kept: &[Logged], had: &[Logged]) {
        let tokens = |log: &[Logged]| log.iter().map(|logged| logged.token.clone()).collect::<BTreeSet<_>>();
        let (kept, had) = (tokens(kept), tokens(had));
        for (token, entry) in self.entries.iter_mut().filter(|(_, entry)| is_theirs(entry.client)) {
            let was_decided = had.contains(token) || entry.confirmed || entry.rejected;
            if kept.contains(token) {
                continue;
            }
            if was_decided {
                entry.forget();
            } else {
                entry.unrejected = true;
            }
        }
    }

    /// The client could not replay the mutation of `token`.
    pub fn threw(&mut self, token: &str) {
        if let Some(entry) = self.entries.get_mut(token) {
            entry.threw = true;
        }
    }

    /// How many mutations were confirmed that their client could not replay.
    pub fn threw_at_client(&self) -> u64 {
        self.entries.values().filter(|entry| entry.threw && entry.confirmed).count() as u64
    }

    /// A client gave up or lost what it had made without a server.
    pub fn excuse(&mut self, client: usize) {
        for entry in self.entries.values_mut().filter(|entry| entry.client == client) {
            entry.excused = true;
        }
    }

    /// A client's device has nothing any more, and its client begins anew: what it was told that the server has decided
    /// is still so.
    pub fn cleared(&mut self, client: usize, origins: &[usize]) {
        for entry in self.entries.values_mut() {
            let is_own = entry.client == client;
            // Of what several profiles had, only one may know that it was rejected.
            let is_shared = entry.copies > 0 && (is_own || origins.contains(&entry.client));
            entry.excused |= is_shared || is_own && !entry.is_decided();
            if is_own {
                // The new client counts from one again.
                entry.seq = None;
            }
        }
    }

    /// A client's profile is copied, and with it what it has from the profiles that it is a copy of itself.
    pub fn copied(&mut self, client: usize, origins: &[usize]) {
        for entry in self.entries.values_mut() {
            let is_open = entry.excused || !entry.is_decided();
            let is_own = entry.client == client;
            let is_inherited = origins.contains(&entry.client);
            let pending = is_own && is_open || is_inherited && entry.copies > 0;
            entry.copies += usize::from(pending);
            entry.later_copies += usize::from(!pending && (is_own || is_inherited));
        }
    }

    /// Compares with the final state of one document: `log` in its order, and the rejections of each of its clients.
    pub fn settle(
        &self,
        log: &[Logged],
        rejections: &BTreeMap<usize, Vec<MutationSeq>>,
    ) -> Result<(), String> {
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        let mut last: BTreeMap<usize, (MutationSeq, &str)> = BTreeMap::new();
        for logged in log {
            *count.entry(&logged.token).or_default() += 1;
            let entry = self
                .entries
                .get(&logged.token)
                .ok_or_else(|| format!("{} came from nowhere", logged.token))?;
            if let Some(seq) = entry.seq.filter(|_| entry.durable && entry.copies == 0)
                && let Some((before, other)) = last.insert(entry.client, (seq, &logged.token))
                && seq <= before
            {
                let tell = |token: &str| self.tell(token);
                return Err(format!("{} came behind {}", tell(&logged.token), tell(other)));
            }
        }
        for (token, entry) in self.entries.iter().filter(|(_, entry)| rejections.contains_key(&entry.client))
        {
            let count = count.get(token.as_str()).copied().unwrap_or(0);
            let listed = |list: &Vec<MutationSeq>| entry.seq.is_some_and(|seq| list.contains(&seq));
            let is_rejected =
                entry.rejected || entry.durable && rejections.get(&entry.client).is_some_and(listed);
            let fits = match entry {
                Entry { copies: 1.., durable: true, excused: false, .. } => {
                    count <= 1 + entry.copies && (count > 0 || rejections.values().any(listed))
                }
                Entry { copies: 1.., .. } => count <= 1 + entry.copies,
                _ if count > 1 => false,
                Entry { failed: true, .. } => count == 0,
                Entry { excused: true, .. } => true,
                Entry { confirmed: true, alone: false, .. } => count == 1,
                Entry { durable: true, unrejected: true, .. } => count == 1 || is_rejected,
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
