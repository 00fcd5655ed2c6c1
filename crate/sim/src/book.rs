//! The oracle's book of every mutation ever asked for: what was promised about it, and whether that held.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use offprint_protocol::MutationSeq;

use crate::tab::News;
use crate::workload::Logged;

/// Who asks for mutations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Maker {
    /// A tab of this client.
    Client(usize),
    /// A back end of this document.
    BackEnd(usize),
}

/// Stands between a token and the number of an attempt; before every digit, so that attempts follow their token.
const ATTEMPT: char = '#';

/// Whether it is the name of a mutation that was made once more.
pub fn is_retry(name: &str) -> bool {
    name.contains(ATTEMPT)
}

fn token_of(name: &str) -> &str {
    name.split(ATTEMPT).next().unwrap_or(name)
}

/// What is known about one mutation.
#[derive(Debug, Clone)]
struct Entry {
    maker: Maker,
    seq: Option<MutationSeq>,
    durable: bool,
    confirmed: bool,
    rejected: bool,
    /// An app was shown that it is rejected, and may have dealt with that.
    refused: bool,
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
    fn new(maker: Maker, alone: bool) -> Self {
        Self {
            maker,
            seq: None,
            durable: false,
            confirmed: false,
            rejected: false,
            refused: false,
            failed: false,
            excused: false,
            copies: 0,
            later_copies: 0,
            alone,
            threw: false,
            unrejected: false,
        }
    }

    fn is_of(&self, client: usize) -> bool {
        self.maker == Maker::Client(client)
    }

    /// How often it may be in the end.
    fn times(&self, rejections: &BTreeMap<Maker, Vec<MutationSeq>>) -> RangeInclusive<usize> {
        let listed = |list: &Vec<MutationSeq>| self.seq.is_some_and(|seq| list.contains(&seq));
        let is_rejected =
            self.rejected || self.refused || self.durable && rejections.get(&self.maker).is_some_and(listed);
        match self {
            Entry { copies: 1.., durable: true, excused: false, .. } => {
                let may_miss = self.refused || rejections.values().any(listed);
                usize::from(!may_miss)..=1 + self.copies
            }
            Entry { copies: 1.., .. } => 0..=1 + self.copies,
            Entry { failed: true, .. } => 0..=0,
            Entry { excused: true, .. } => 0..=1,
            Entry { confirmed: true, alone: false, .. } => 1..=1,
            Entry { durable: true, unrejected: true, .. } => usize::from(!is_rejected)..=1,
            Entry { durable: true, .. } if is_rejected => 0..=0,
            Entry { durable: true, .. } => 1..=1,
            Entry { rejected: true, .. } => 0..=0,
            Entry { refused: true, unrejected: false, .. } => 0..=0,
            _ => 0..=1,
        }
    }

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

/// The book, by token. One that was made once more has the same token, and after it the number of the attempt.
#[derive(Debug, Default)]
pub struct Book {
    entries: BTreeMap<String, Entry>,
}

impl Book {
    /// The mutation of `token` is asked for; `alone` by a client that has no server.
    pub fn asked(&mut self, token: &str, maker: Maker, alone: bool) {
        self.entries.insert(token.to_owned(), Entry::new(maker, alone));
    }

    /// A client's app was shown that its mutation `seq`, of `token`, is rejected.
    pub fn refused(&mut self, token: &str, client: usize, seq: MutationSeq) {
        let shown: Vec<_> = self.attempts(token).filter(|(_, entry)| entry.seq == Some(seq)).collect();
        let own = shown.iter().find(|(_, entry)| entry.is_of(client)).or(shown.first());
        let name = own.map(|(name, _)| (*name).clone());
        if let Some(entry) = name.and_then(|name| self.entries.get_mut(&name)) {
            entry.refused = true;
        }
    }

    /// A client's app asks for the mutation of `token` once more; gives the name of the attempt.
    pub fn retried(&mut self, token: &str, client: usize, alone: bool) -> String {
        let name = format!("{token}{ATTEMPT}{}", self.attempts(token).count());
        self.asked(&name, Maker::Client(client), alone);
        name
    }

    fn attempts(&self, token: &str) -> impl Iterator<Item = (&String, &Entry)> {
        let behind = self.entries.range(token.to_owned()..);
        behind.take_while(move |(name, _)| token_of(name) == token)
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

    /// The history of these makers' server is lost.
    pub fn excuse_all(&mut self, is_theirs: impl Fn(Maker) -> bool) {
        self.entries.values_mut().filter(|entry| is_theirs(entry.maker)).for_each(Entry::forget);
    }

    /// These makers' server is one again that had `kept`, and not all that it `had`: what was decided in between is what
    /// the restore lost. What nobody had decided is owed as before.
    pub fn restored(&mut self, is_theirs: impl Fn(Maker) -> bool, kept: &[Logged], had: &[Logged]) {
        let tokens = |log: &[Logged]| log.iter().map(|logged| logged.token.clone()).collect::<BTreeSet<_>>();
        let (kept, had) = (tokens(kept), tokens(had));
        for (name, entry) in self.entries.iter_mut().filter(|(_, entry)| is_theirs(entry.maker)) {
            let token = token_of(name);
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
        let names: Vec<_> = self.attempts(token).map(|(name, _)| name.clone()).collect();
        for name in names {
            if let Some(entry) = self.entries.get_mut(&name) {
                entry.threw = true;
            }
        }
    }

    /// How many mutations were confirmed that their client could not replay.
    pub fn threw_at_client(&self) -> u64 {
        self.entries.values().filter(|entry| entry.threw && entry.confirmed).count() as u64
    }

    /// A client gave up or lost what it had made without a server.
    pub fn excuse(&mut self, client: usize) {
        for entry in self.entries.values_mut().filter(|entry| entry.is_of(client)) {
            entry.excused = true;
        }
    }

    /// A client's device has nothing any more, and its client begins anew: what it was told that the server has decided
    /// is still so.
    pub fn cleared(&mut self, client: usize, origins: &[usize]) {
        for entry in self.entries.values_mut() {
            let is_own = entry.is_of(client);
            // Of what several profiles had, only one may know that it was rejected.
            let is_shared = entry.copies > 0 && (is_own || origins.iter().any(|origin| entry.is_of(*origin)));
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
            let is_own = entry.is_of(client);
            let is_inherited = origins.iter().any(|origin| entry.is_of(*origin));
            let pending = is_own && is_open || is_inherited && entry.copies > 0;
            entry.copies += usize::from(pending);
            entry.later_copies += usize::from(!pending && (is_own || is_inherited));
        }
    }

    /// Compares with the final state of one document: `log` in its order, and the rejections of each of its makers.
    pub fn settle(
        &self,
        log: &[Logged],
        rejections: &BTreeMap<Maker, Vec<MutationSeq>>,
    ) -> Result<(), String> {
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        let mut last: BTreeMap<Maker, (MutationSeq, &str)> = BTreeMap::new();
        for Logged { token, .. } in log {
            *count.entry(token).or_default() += 1;
            let entry = self.logged(token).ok_or_else(|| format!("{token} came from nowhere"))?;
            let Some(entry) = entry.filter(|entry| entry.durable && entry.copies == 0) else { continue };
            if let Some(seq) = entry.seq
                && let Some((before, other)) = last.insert(entry.maker, (seq, token))
                && seq <= before
            {
                return Err(format!("{} came behind {}", self.tell(token), self.tell(other)));
            }
        }
        let mut times: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (name, entry) in self.entries.iter().filter(|(_, entry)| rejections.contains_key(&entry.maker)) {
            let (least, most) = times.entry(token_of(name)).or_default();
            let of_this = entry.times(rejections);
            *least += of_this.start();
            *most += of_this.end();
        }
        for (token, (least, most)) in times {
            let count = count.get(token).copied().unwrap_or(0);
            if !(least..=most).contains(&count) {
                return Err(format!("{token} is there {count} times, but {}", self.tell(token)));
            }
        }
        Ok(())
    }

    /// The attempt that a row of the log is from, if that can be told; none if the token is not known.
    fn logged(&self, token: &str) -> Option<Option<&Entry>> {
        let attempts: Vec<_> = self.attempts(token).map(|(_, entry)| entry).collect();
        if let [only] = attempts[..] {
            return Some(Some(only));
        }
        if attempts.iter().any(|entry| entry.excused || entry.copies > 0) {
            return Some(None);
        }
        let is_open = |entry: &&&Entry| !(entry.refused || entry.rejected || entry.failed);
        let open: Vec<_> = attempts.iter().filter(is_open).collect();
        let one = if let [one] = open[..] { Some(*one) } else { None };
        (!attempts.is_empty()).then_some(one)
    }

    /// What is known about the mutation of a token, for people to read.
    pub fn tell(&self, token: &str) -> String {
        format!("{:?}", self.attempts(token_of(token)).collect::<Vec<_>>())
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
