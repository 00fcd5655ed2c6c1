//! A replica's or primary's journal on a disk that fails, and beside it what every ticket stands for.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeMap;

use offprint_core::disk::{DiskAnswer, FileName};
use offprint_core::disk_memory::DiskMemory;
use offprint_core::image::Image;
use offprint_core::journal::{Identity, Journal, JournalConfig, Recovered, Role, Ticket};
use offprint_core::ledger::Ledger;
use offprint_core::record::{PendingMutation, Record};
use offprint_protocol::{
    Argument, Code, CommitBatch, DocumentId, Epoch, Error, JournalId, Lsn, Mark, Mutation, MutationSeq,
    Outcome, Page, PageNo, Rejection, RequestNo, Rollup, TabId, TimelineHash, Touched, Value,
};

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d | 1);
        random.below(2);
        random
    }

    /// 0 to `below - 1`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % below.max(1)
    }

    pub fn noise(&mut self) -> Page {
        let bytes: Vec<u8> =
            (0..512).flat_map(|_| (self.below(u64::MAX) << 16 | self.below(1 << 16)).to_le_bytes()).collect();
        Page::from_slice(&bytes).unwrap()
    }
}

/// What a recovered document has to say.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub image: Image,
    pub pending: Vec<PendingMutation>,
    pub ledger: Ledger,
}

pub struct Device {
    pub role: Role,
    pub disk: DiskMemory,
    pub journal: Journal,
    pub random: Random,
    pub identity: Option<Identity>,
    /// What is true after each ticket of this life; the first is what was true before it.
    pub states: Vec<State>,
    /// What the old log says after each ticket, while a new one is written; else the same as `states`.
    pub shadows: Vec<State>,
    shadow: State,
    /// The ticket of the opening that is under way.
    opening: Option<Ticket>,
    /// The highest epoch that was durable.
    pub durable_epoch: Epoch,
    pub ever_durable: bool,
    pub now: State,
    pub lives: u64,
    pub is_open: bool,
    requests: u64,
    pub log: Vec<String>,
}

pub fn document() -> DocumentId {
    DocumentId::new("team-42").unwrap()
}

pub fn journal(role: Role, life: u64) -> Journal {
    let mut entropy = [7; 32];
    entropy[..8].copy_from_slice(&life.to_le_bytes());
    Journal::open(JournalConfig { document: document(), role, history: None, entropy })
}

/// Runs the open's reads; gives what was recovered.
pub fn recover(journal: &mut Journal, disk: &mut DiskMemory) -> Result<Recovered, Error> {
    loop {
        let batch = journal.next_batch().expect("an open that is not over has a batch");
        if let Some(recovered) = journal.answer(disk.run(&batch))? {
            return Ok(recovered);
        }
    }
}

/// Runs everything there is to run.
pub fn settle(journal: &mut Journal, disk: &mut DiskMemory) {
    while let Some(batch) = journal.next_batch() {
        journal.answer(disk.run(&batch)).unwrap();
    }
    assert!(journal.is_settled());
}

impl Device {
    pub fn new(role: Role, seed: u64) -> Self {
        let nothing = State { image: Image::none(), pending: Vec::new(), ledger: Ledger::new() };
        Self {
            role,
            disk: DiskMemory::new(seed),
            journal: journal(role, 1),
            random: Random::new(seed),
            identity: None,
            states: vec![nothing.clone()],
            shadows: vec![nothing.clone()],
            shadow: nothing.clone(),
            opening: None,
            durable_epoch: Epoch(0),
            ever_durable: false,
            now: nothing,
            lives: 1,
            is_open: false,
            requests: 0,
            log: Vec::new(),
        }
    }

    /// Runs one batch, if there is one.
    pub fn step(&mut self) -> Result<bool, Error> {
        let batch = match self.journal.unanswered() {
            Some(batch) => batch.clone(),
            None => match self.journal.next_batch() {
                Some(batch) => batch,
                None => return Ok(false),
            },
        };
        let DiskAnswer { no, result } = self.disk.run(&batch);
        let recovered = self.journal.answer(DiskAnswer { no, result });
        if let Some(recovered) = recovered? {
            self.opened(recovered);
        }
        let durable = self.journal.durable();
        if durable >= Journal::OPENED {
            self.ever_durable = true;
            self.durable_epoch = self.identity.expect("opened").epoch;
        }
        if self.opening.is_some_and(|ticket| ticket <= durable) {
            // The new log counts.
            self.opening = None;
            self.shadow = self.now.clone();
            let from = durable.0 as usize;
            self.shadows[from..].clone_from_slice(&self.states[from..]);
        }
        Ok(true)
    }

    pub fn settle(&mut self) -> Result<(), Error> {
        while self.step()? {}
        assert!(self.journal.is_settled());
        assert_eq!(self.journal.durable().0 as usize, self.states.len() - 1);
        Ok(())
    }

    /// Runs one batch; nothing if there is none.
    pub fn step_if_any(&mut self) -> Option<Result<(), Error>> {
        match self.step() {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Runs what there is room for, and checkpoints when the journal wants it. Gives how often there was no room.
    pub fn struggle(&mut self) -> u64 {
        let mut full = 0;
        loop {
            match self.step() {
                Ok(true) => {}
                Ok(false) => return full,
                Err(error) => {
                    assert_eq!(error.code, Code::Quota, "{:#?}", self.log);
                    // What only overwrites does not fail for want of room.
                    assert!(self.journal.unanswered().is_none(), "{:#?}", self.log);
                    full += 1;
                }
            }
            if self.is_open && self.journal.wants_checkpoint() {
                self.checkpoint();
            }
        }
    }

    /// Another life on the same disk, which may have crashed before.
    pub fn reopen(&mut self) {
        let (durable, recorded) = (self.journal.durable(), self.journal.recorded());
        self.log.push(format!("reopen with {durable:?}, {recorded:?} of {}", self.states.len() - 1));
        assert!(durable <= recorded);
        // What an unanswered batch may have left behind counts as well.
        let from = (recorded.0 as usize).min(self.states.len() - 1);
        self.states.drain(..from);
        self.states.extend(self.shadows.drain(..).skip(from));
        self.lives += 1;
        self.is_open = false;
        self.journal = journal(self.role, self.lives);
    }

    fn opened(&mut self, recovered: Recovered) {
        let Recovered { identity, image, pending, ledger, damage, tail, .. } = recovered;
        assert_eq!(damage, None, "{:#?}", self.log);
        assert!(identity.epoch > self.durable_epoch, "{:#?}", self.log);
        let found = State { image, pending, ledger };
        if self.identity.is_some_and(|known| known.client == identity.client) {
            let fits = self.states.contains(&found);
            assert!(fits, "found {found:#?}\nwhich is none of {:#?}\n{:#?}", self.states, self.log);
        } else {
            assert!(!self.ever_durable, "another client after a durable open: {:#?}", self.log);
            assert!(found.pending.is_empty() && found.image.page_count() == 0);
        }
        if self.role == Role::Primary {
            let end = tail.iter().fold(None, |at, (before, commit)| {
                assert!(at.is_none_or(|at| at == *before), "the tail has a gap before {}", commit.lsn);
                Some(before.after(commit))
            });
            assert!(end.is_none_or(|end| found.image.position() == Some(end)));
        }
        self.is_open = true;
        self.identity = Some(identity);
        self.now = found.clone();
        // The open itself is a ticket.
        self.states = vec![found.clone(), found.clone()];
        self.shadows = self.states.clone();
        self.shadow = found;
        self.opening = Some(Journal::OPENED);
        self.log.push(format!("opened {:?}", identity.epoch));
    }

    fn note(&mut self, ticket: Ticket, what: String) {
        self.log.push(format!("{ticket:?} {what}"));
        self.states.push(self.now.clone());
        if self.opening.is_none() || self.role == Role::Primary {
            self.shadow = self.now.clone();
        }
        self.shadows.push(self.shadow.clone());
        assert_eq!(ticket.0 as usize, self.states.len() - 1, "{:#?}", self.log);
    }

    pub fn mutate(&mut self, bytes: usize) -> Ticket {
        self.try_mutate(bytes).unwrap()
    }

    /// Fails if the journal refuses it, and then nothing has happened.
    pub fn try_mutate(&mut self, bytes: usize) -> Result<Ticket, Error> {
        let me = self.identity.expect("open");
        let last =
            self.now.pending.last().map_or(self.now.ledger.through(me.client).seq, |last| last.mutation.seq);
        self.requests += 1;
        let value = Value::Text(format!("life {} {}", self.lives, "x".repeat(bytes)));
        let pending = PendingMutation {
            epoch: me.epoch,
            tab: TabId([5; 16]),
            request: RequestNo(self.requests),
            retries: None,
            mutation: Mutation {
                seq: last.next(),
                at: 1_000 + self.requests,
                name: "add".into(),
                args: vec![Argument { name: "title".into(), value }],
            },
        };
        let ticket = self.journal.append(&Record::Mutation(pending.clone()))?;
        let what = format!("mutate {}", pending.mutation.seq);
        if self.journal.durable() >= Journal::OPENED {
            self.shadow.pending.push(pending.clone());
        }
        self.now.pending.push(pending);
        self.note(ticket, what);
        Ok(ticket)
    }

    /// A transaction's worth of changed pages on top of `image`.
    fn transaction(&mut self, image: &Image, pages: u64) -> offprint_protocol::Commit {
        let mut changed = BTreeMap::new();
        let grow = self.random.below(3) as u32;
        let shrink = if self.random.below(5) == 0 { self.random.below(6) as u32 } else { 0 };
        let page_count = (image.page_count() + grow).saturating_sub(shrink).max(1);
        for _ in 0..1 + self.random.below(pages) {
            let no = PageNo(1 + self.random.below(u64::from(page_count)) as u32);
            let page = match image.page(no) {
                Some(page) if self.random.below(3) > 0 => {
                    let mut page = page.clone();
                    page.make_mut()[self.random.below(4096) as usize] ^= 1 + self.random.below(255) as u8;
                    page
                }
                _ => self.random.noise(),
            };
            changed.insert(no, page);
        }
        image.commit_of(&changed, page_count, Touched::All)
    }

    /// What the primary may say to the pending mutations.
    fn outcome(&mut self) -> Vec<Outcome> {
        let client = self.identity.expect("open").client;
        let count = self.random.below(self.now.pending.len() as u64 + 1) as usize;
        let decided = &self.now.pending[..count];
        let Some(last) = decided.last() else { return Vec::new() };
        let refused = decided.iter().map(seq).filter(|seq| seq.0.is_multiple_of(3));
        let rejections = refused
            .map(|seq| Rejection {
                seq,
                name: "add".into(),
                code: "constraint".into(),
                message: "no".into(),
                lsn: Lsn(seq.0),
            })
            .collect();
        vec![Outcome {
            client,
            through: Mark { seq: seq(last), hash: TimelineHash(seq(last).0) },
            rejections,
        }]
    }

    fn decide(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            self.now.ledger.decide(outcome).unwrap();
            let (decided, pending) = std::mem::take(&mut self.now.pending)
                .into_iter()
                .partition(|one| seq(one) <= outcome.through.seq);
            let decided: Vec<PendingMutation> = decided;
            self.now.pending = pending;
            for one in decided {
                self.now.ledger.answer(one.tab, one.request, one.mutation.seq);
                self.now.ledger.keep(outcome.client, one.mutation);
            }
        }
    }

    pub fn commits(&mut self, count: u64, pages: u64) {
        if self.now.image.position().is_none() {
            return;
        }
        let outcomes = if self.role == Role::Replica { self.outcome() } else { Vec::new() };
        let mut commits = Vec::new();
        for _ in 0..count {
            let commit = self.transaction(&self.now.image.clone(), pages);
            self.now.image.apply_commit(&commit).unwrap();
            commits.push(commit);
        }
        self.decide(&outcomes);
        let ticket = self.journal.append(&Record::Commits(CommitBatch { outcomes, commits })).unwrap();
        self.note(ticket, format!("commits up to {}", self.now.image.lsn()));
    }

    /// The primary has taken everything, and nothing came of it.
    pub fn confirm_all(&mut self) {
        let client = self.identity.expect("open").client;
        let Some(last) = self.now.pending.last() else { return };
        let through = Mark { seq: seq(last), hash: TimelineHash(seq(last).0) };
        let outcomes = vec![Outcome { client, through, rejections: Vec::new() }];
        self.decide(&outcomes);
        let ticket =
            self.journal.append(&Record::Commits(CommitBatch { outcomes, commits: Vec::new() })).unwrap();
        self.note(ticket, "confirm all".into());
    }

    pub fn rollup(&mut self) {
        let Some(position) = self.now.image.position() else { return };
        let mut image = self.now.image.clone();
        for _ in 0..3 {
            let commit = self.transaction(&image, 5);
            image.apply_commit(&commit).unwrap();
        }
        let mut parts: Vec<Rollup> = image.rollup_since(position.lsn, 9000);
        let outcomes = self.outcome();
        parts.last_mut().unwrap().outcomes = outcomes.clone();
        for part in parts {
            let ticket = self.journal.append(&Record::Rollup(part.clone())).unwrap();
            if part.last {
                self.now
                    .image
                    .apply_rollup(position.journal, &image.rollup_since(position.lsn, 1 << 20))
                    .unwrap();
                assert_eq!(self.now.image, image);
                self.decide(&outcomes);
            }
            self.note(ticket, format!("rollup part of {} to {}", position.lsn, part.to));
        }
    }

    pub fn dismiss(&mut self) {
        let client = self.identity.expect("open").client;
        let Some(seq) = self.now.ledger.rejections(client).first().map(|rejection| rejection.seq) else {
            return;
        };
        self.now.ledger.dismiss(client, seq);
        let ticket = self.journal.append(&Record::Dismiss(seq)).unwrap();
        self.note(ticket, format!("dismiss {seq}"));
    }

    pub fn checkpoint(&mut self) {
        let State { image, pending, ledger } = &self.now;
        let ticket = self.journal.checkpoint(image, ledger, pending);
        self.opening = Some(ticket);
        self.note(ticket, "checkpoint".into());
    }

    /// Another history, of up to `pages` pages.
    pub fn reset(&mut self, pages: u64) {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.random.below(u64::MAX).to_le_bytes());
        let mut image = Image::empty(JournalId(id));
        let changed = (1..=pages as u32).map(|no| (PageNo(no), self.random.noise())).collect();
        let commit = image.commit_of(&changed, pages as u32, Touched::All);
        image.apply_commit(&commit).unwrap();
        self.now.image = image;
        let State { image, pending, ledger } = &self.now;
        let ticket = self.journal.reset(image, ledger, pending);
        self.opening = Some(ticket);
        self.note(ticket, "reset".into());
    }

    /// One of the above.
    pub fn anything(&mut self) {
        match (self.random.below(16), self.role) {
            (0..6, Role::Replica) => {
                let bytes = self.random.below(700) as usize;
                self.mutate(bytes);
            }
            (6..10, _) | (0..6, Role::Primary) => {
                let count = self.random.below(3);
                self.commits(count, 4);
            }
            (10, Role::Replica) => self.rollup(),
            (11, Role::Replica) => self.dismiss(),
            (12, Role::Replica) => {
                let pages = 1 + self.random.below(12);
                self.reset(pages);
            }
            _ => self.checkpoint(),
        }
    }
}

/// Where the zeros that a file was filled up with begin.
pub fn used(disk: &DiskMemory, file: FileName) -> usize {
    disk.bytes(file).iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

pub fn seq(pending: &PendingMutation) -> MutationSeq {
    pending.mutation.seq
}
