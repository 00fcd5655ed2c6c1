//! A journal in memory that several primaries share, with all that can happen between them and it: results that come
//! late, news that are lost or come twice, entries that are not kept, primaries that end with an append under way. For
//! tests and the simulator; what it does depends on its seed and on who calls when.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use offprint_protocol::{ClientSecret, Error, JournalId, Lsn, Position};

use crate::commit_journal::{CommitJournal, JournalEvent, Start};
use crate::entry::{Change, Entry};
use crate::image::Image;
use crate::journal::Ticket;
use crate::ledger::Ledger;

/// So many entries are kept, at most, before a checkpoint is wanted.
const ENTRIES: usize = 24;

/// What has happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Races {
    /// Entries that are in.
    pub appended: u64,
    /// Appends that others were ahead of.
    pub lost: u64,
    /// News that did not reach a primary.
    pub unheard: u64,
    /// News that came twice.
    pub repeated: u64,
    /// Reads of what is not kept any more.
    pub restarted: u64,
    /// Appends that were carried out after their author had ended.
    pub orphaned: u64,
}

/// The log that they share.
#[derive(Clone)]
pub struct JournalMemory(Arc<Mutex<Shared>>);

/// The log as one primary sees it.
pub struct Member {
    shared: Arc<Mutex<Shared>>,
    no: usize,
}

struct Shared {
    random: u64,
    is_hostile: bool,
    /// The document at the end.
    image: Image,
    ledger: Ledger,
    secret: ClientSecret,
    /// Those that are kept, each with the position before it.
    entries: VecDeque<(Position, Entry)>,
    newest: Option<Entry>,
    members: Vec<Line>,
    races: Races,
}

/// What is under way between the log and a primary.
#[derive(Default)]
struct Line {
    orders: VecDeque<Order>,
    /// Under way to the primary.
    answers: VecDeque<JournalEvent>,
    /// For the primary to take.
    arrived: VecDeque<JournalEvent>,
    last: Ticket,
    /// The newest entry that the primary has been told of.
    told: Lsn,
    is_gone: bool,
}

enum Order {
    Append { ticket: Ticket, expected: Lsn, entry: Entry },
    Read { ticket: Ticket, from: Lsn },
}

impl JournalMemory {
    /// A document's journal without a commit.
    pub fn new(seed: u64) -> Self {
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&seed.to_le_bytes());
        Self(Arc::new(Mutex::new(Shared {
            random,
            is_hostile: true,
            image: Image::empty(JournalId(id)),
            ledger: Ledger::new(),
            secret: ClientSecret(id),
            entries: VecDeque::new(),
            newest: None,
            members: Vec::new(),
            races: Races::default(),
        })))
    }

    /// A primary joins.
    pub fn join(&self) -> Member {
        let mut shared = self.lock();
        let no = shared.members.len();
        let line =
            Line { answers: VecDeque::from([shared.start()]), told: shared.image.lsn(), ..Line::default() };
        shared.members.push(line);
        Member { shared: Arc::clone(&self.0), no }
    }

    /// One thing arrives, at the log or at a primary; false if nothing is under way.
    pub fn step(&self) -> bool {
        self.lock().step()
    }

    /// Everything arrives.
    pub fn settle(&self) {
        while self.step() {}
    }

    /// Whether news may be lost or repeated.
    pub fn set_hostile(&self, is_hostile: bool) {
        self.lock().is_hostile = is_hostile;
    }

    /// What has happened so far.
    pub fn races(&self) -> Races {
        self.lock().races
    }

    /// The document at the end.
    pub fn image(&self) -> Image {
        self.lock().image.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.0)
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        ((self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % limit.max(1)
    }

    fn start(&self) -> JournalEvent {
        let commit = |(before, entry): &(Position, Entry)| match &entry.change {
            Change::Commit(commit) => Some((*before, commit.clone())),
            Change::Rollup(_) | Change::Adopted(_) => None,
        };
        let mut tail: Vec<_> = self.entries.iter().rev().map_while(commit).collect();
        tail.reverse();
        JournalEvent::Start(Box::new(Start {
            image: self.image.clone(),
            ledger: self.ledger.clone(),
            tail,
            secret: self.secret,
        }))
    }

    fn step(&mut self) -> bool {
        let is_busy = |line: &Line| !(line.is_gone || line.orders.is_empty() && line.answers.is_empty());
        let busy: Vec<usize> = (0..self.members.len()).filter(|no| is_busy(&self.members[*no])).collect();
        let at = self.below(busy.len());
        let Some(&no) = busy.get(at) else { return self.remind() };
        let delivers = self.below(2) == 0;
        let line = &mut self.members[no];
        match line.answers.pop_front_if(|_| delivers || line.orders.is_empty()) {
            Some(answer) => line.arrived.push_back(answer),
            None => self.carry_out(no),
        }
        true
    }

    /// The newest entry is not lost for good.
    fn remind(&mut self) -> bool {
        let end = self.image.lsn();
        let Some(line) = self.members.iter_mut().find(|line| !line.is_gone && line.told < end) else {
            return false;
        };
        line.told = end;
        line.answers.extend(self.newest.clone().map(JournalEvent::Others));
        true
    }

    fn carry_out(&mut self, no: usize) {
        match self.members[no].orders.pop_front() {
            Some(Order::Append { ticket, expected, entry }) => {
                let is_first = expected == self.image.lsn();
                let answer =
                    if is_first { JournalEvent::Appended(ticket) } else { JournalEvent::Lost(ticket) };
                self.members[no].answers.push_back(answer);
                match is_first {
                    true => self.append(no, entry),
                    false => self.races.lost += 1,
                }
            }
            Some(Order::Read { ticket, from }) => {
                self.hand_over(no, from);
                self.members[no].answers.push_back(JournalEvent::Read(ticket));
            }
            None => {}
        }
    }

    fn append(&mut self, author: usize, entry: Entry) {
        let before = self.image.position().expect("BUG: a journal has a history");
        entry.apply(before.journal, &mut self.image).expect("BUG: an entry does not follow");
        self.ledger.merge(entry.clients.clone());
        for outcome in &entry.outcomes {
            self.ledger.decide(outcome).expect("BUG: an entry decides for a client that is not known");
        }
        self.races.appended += 1;
        self.newest = Some(entry.clone());
        self.members[author].told = entry.lsn();
        let is_adopted = matches!(entry.change, Change::Adopted(_));
        if is_adopted {
            self.entries.clear();
        } else {
            self.entries.push_back((before, entry.clone()));
        }
        for no in (0..self.members.len()).filter(|no| *no != author) {
            let chance = if self.is_hostile { self.below(10) } else { 9 };
            let news = if is_adopted { self.start() } else { JournalEvent::Others(entry.clone()) };
            let line = &mut self.members[no];
            match chance {
                0 => {
                    self.races.unheard += 1;
                    continue;
                }
                1 => {
                    self.races.repeated += 1;
                    line.answers.extend([news.clone(), news]);
                }
                _ => line.answers.push_back(news),
            }
            line.told = entry.lsn();
        }
    }

    fn hand_over(&mut self, no: usize, from: Lsn) {
        let first = self.entries.front().map_or(self.image.lsn(), |(before, _)| before.lsn);
        if from < first {
            self.races.restarted += 1;
            let start = self.start();
            self.members[no].answers.push_back(start);
            return;
        }
        let behind = self.entries.iter().filter(|(before, _)| before.lsn >= from);
        let news = behind.map(|(_, entry)| JournalEvent::Others(entry.clone()));
        self.members[no].answers.extend(news);
    }

    fn order(&mut self, no: usize, order: impl FnOnce(Ticket) -> Order) -> Ticket {
        let line = &mut self.members[no];
        line.last.0 += 1;
        let ticket = line.last;
        line.orders.push_back(order(ticket));
        ticket
    }
}

impl CommitJournal for Member {
    fn append(&mut self, expected: Lsn, entry: &Entry) -> Result<Ticket, Error> {
        let entry = entry.clone();
        Ok(lock(&self.shared).order(self.no, |ticket| Order::Append { ticket, expected, entry }))
    }

    fn read(&mut self, from: Lsn) -> Result<Ticket, Error> {
        Ok(lock(&self.shared).order(self.no, |ticket| Order::Read { ticket, from }))
    }

    fn poll(&mut self) -> Option<JournalEvent> {
        lock(&self.shared).members[self.no].arrived.pop_front()
    }

    fn is_settled(&self) -> bool {
        let shared = lock(&self.shared);
        let line = &shared.members[self.no];
        line.orders.is_empty() && line.answers.is_empty() && line.arrived.is_empty()
    }

    fn wants_checkpoint(&self) -> bool {
        lock(&self.shared).entries.len() > ENTRIES
    }

    fn checkpoint(&mut self, image: &Image, _ledger: &Ledger) {
        lock(&self.shared).entries.retain(|(before, _)| before.lsn >= image.lsn());
    }
}

impl Drop for Member {
    /// A primary ends: what it had ordered may be carried out all the same.
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        let orders = shared.members[self.no].orders.len();
        for _ in 0..shared.below(1 + orders) {
            let before = shared.races.appended;
            shared.carry_out(self.no);
            shared.races.orphaned += shared.races.appended - before;
        }
        shared.members[self.no] = Line { is_gone: true, ..Line::default() };
    }
}
