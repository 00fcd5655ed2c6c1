//! One life of a document's files: a journal on a fault disk, a script, and the model beside it.

use std::collections::BTreeMap;
use std::rc::Rc;

use offprint_core::disk::{DiskAnswer, DiskBatch, DiskOp, FileName};
use offprint_core::head::{Head, HeadBytes, Place};
use offprint_core::image::Image;
use offprint_core::journal::{History, Journal, JournalConfig, Recovered, Role};
use offprint_core::ledger::Ledger;
use offprint_core::record::{PendingMutation, Record};
use offprint_protocol::{
    Argument, ClientId, ClientKey, Code, CommitBatch, DocumentId, Error, Lsn, Mark, Mutation, MutationSeq,
    Outcome, PAGE_SIZE, Page, PageNo, Rejection, RequestNo, TabId, TimelineHash, Touched, Value,
};

use crate::sweep::fault_disk::{Cut, FaultDisk};
use crate::sweep::faults::{Fault, Report};
use crate::sweep::model::{Model, State, Verdict};
use crate::sweep::past::Past;
use crate::sweep::random::Random;
use crate::sweep::stock::{self, Stock};

/// Somebody whose mutations a primary decides.
const SOMEBODY: ClientId = ClientId([6; 16]);

/// What a script consists of.
#[derive(Debug, Clone)]
pub enum Step {
    /// Mutations of about so many bytes.
    Mutate(usize, usize),
    /// A transaction each, as the commits of one batch. On a replica they decide half of what is pending.
    Commits(Vec<String>),
    /// Transactions that come as a rollup in parts.
    Rollup(Vec<String>),
    Dismiss,
    Checkpoint,
    /// Another history, made by this SQL.
    Reset(String),
    /// So many batches are carried out.
    Batches(usize),
    /// Everything is carried out.
    Settle,
    /// The core dies and another one opens the files.
    Reopen,
    /// The power is cut, and the files are opened again.
    Cut(Cut),
}

/// What is to happen around an operation. An error is the operation's own.
pub trait Watch {
    fn before(&mut self, life: &mut Life, batch: &DiskBatch, at: usize) -> Result<(), Error>;
    fn after(&mut self, life: &mut Life);
}

/// Watches nothing.
pub struct Nobody;

impl Watch for Nobody {
    fn before(&mut self, _: &mut Life, _: &DiskBatch, _: usize) -> Result<(), Error> {
        Ok(())
    }
    fn after(&mut self, _: &mut Life) {}
}

pub struct Life {
    pub disk: FaultDisk,
    pub model: Model,
    pub journal: Journal,
    pub random: Random,
    pub report: Report,
    pub is_open: bool,
    /// Whether an earlier state or damage is to be expected, because a flush lied.
    pub is_lenient: bool,
    pub verdict: Option<Verdict>,
    /// A batch that fails is given to the same disk again.
    pub retries: bool,
    /// Whether a history is kept.
    is_kept: bool,
    stock: Stock,
    /// Every life has a number of its own, over all clones of the disk.
    no: u64,
    requests: u64,
    /// Which life used a salt in which file.
    salts: BTreeMap<[u8; 8], (u64, FileName)>,
    /// The log that this life read and may not write until another one is named.
    recovered_log: Option<FileName>,
}

impl Life {
    pub fn new(role: Role, seed: u64) -> Self {
        let model = Model::new(role);
        let disk = FaultDisk::default();
        Self::on(disk, model, BTreeMap::new(), Report::default(), false, seed, 0)
    }

    /// A primary whose history is kept.
    pub fn with_history(seed: u64) -> Self {
        let model = Model::new(Role::Primary);
        Self::on(FaultDisk::default(), model, BTreeMap::new(), Report::default(), true, seed, 0)
    }

    fn on(
        disk: FaultDisk,
        model: Model,
        salts: BTreeMap<[u8; 8], (u64, FileName)>,
        report: Report,
        is_kept: bool,
        seed: u64,
        no: u64,
    ) -> Self {
        let mut entropy = [7; 32];
        entropy[..8].copy_from_slice(&no.to_le_bytes());
        entropy[8..16].copy_from_slice(&seed.to_le_bytes());
        let document = DocumentId::new("team-42").unwrap();
        // Every other opening is whole, whether or not it has to be.
        let behind = || if no.is_multiple_of(2) { u64::MAX } else { past(&disk).behind() };
        let history = is_kept.then(|| History { behind: behind() });
        let journal = Journal::open(JournalConfig { document, role: model.role, history, entropy });
        Self {
            disk,
            model,
            journal,
            random: Random::new(seed),
            report,
            is_open: false,
            is_lenient: false,
            verdict: None,
            retries: false,
            is_kept,
            stock: Stock::of(&Image::none()),
            no,
            requests: 0,
            salts,
            recovered_log: None,
        }
    }

    /// Lets another life do something on a copy of the files as they are now.
    pub fn with_fork(&mut self, act: impl FnOnce(&mut Life)) {
        let mut fork = self.fork();
        act(&mut fork);
        self.report = fork.report;
    }

    fn fork(&mut self) -> Self {
        let seed = self.random.below(u64::MAX);
        let mut report = std::mem::take(&mut self.report);
        report.lives += 1;
        let no = report.lives;
        let (disk, model, salts) = (self.disk.clone(), self.model.clone(), self.salts.clone());
        Self::on(disk, model, salts, report, self.is_kept, seed, no)
    }

    /// Another life on the same files.
    pub fn reopen(&mut self) {
        let next = self.fork();
        let (is_lenient, retries, requests) = (self.is_lenient, self.retries, self.requests);
        *self = Self { is_lenient, retries, requests, ..next };
    }

    pub fn cut(&mut self, cut: Cut) {
        self.disk.cut(cut, &mut self.random, &mut self.report);
    }

    /// Carries one batch out; gives whether there was one.
    pub fn batch(&mut self, watch: &mut dyn Watch) -> Result<bool, Error> {
        loop {
            match self.try_batch(watch) {
                Err(error) if self.retries && matches!(error.code, Code::Disk | Code::Quota) => {
                    self.journal.retry();
                }
                result => return result,
            }
        }
    }

    fn try_batch(&mut self, watch: &mut dyn Watch) -> Result<bool, Error> {
        let batch = match self.journal.unanswered() {
            Some(batch) => batch.clone(),
            None => match self.journal.next_batch() {
                Some(batch) => batch,
                None => return Ok(false),
            },
        };
        // What is called durable is, before the batch is carried out.
        self.model.durable(self.journal.durable(), self.journal.recorded());
        let mut values = Vec::new();
        let mut result = Ok(());
        for (at, op) in batch.ops.iter().enumerate() {
            self.observe(op);
            result = watch.before(self, &batch, at);
            if result.is_err() {
                break;
            }
            match self.disk.op(op, &mut self.report) {
                Ok(value) => values.push(value),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
            watch.after(self);
        }
        let answer = DiskAnswer { no: batch.no, result: result.map(|()| values) };
        if let Some(recovered) = self.journal.answer(answer)? {
            self.opened(&recovered);
        }
        self.model.durable(self.journal.durable(), self.journal.recorded());
        Ok(true)
    }

    /// Invariant 6: a recovered log stays as it is until a head names the other one; no salt is used twice.
    fn observe(&mut self, op: &DiskOp) {
        let (file, offset, bytes) = match op {
            DiskOp::Write { file, offset, bytes } => (file, offset, bytes),
            DiskOp::Keep { file } => {
                assert_ne!(self.recovered_log, Some(*file), "a recovered log is emptied");
                return;
            }
            _ => return,
        };
        match file {
            FileName::Head => self.recovered_log = None,
            // A log that only the cache may hold is written again as it is.
            FileName::Log0 | FileName::Log1
                if self
                    .disk
                    .bytes(*file)
                    .get(*offset as usize..)
                    .is_some_and(|there| there.starts_with(bytes)) => {}
            FileName::Log0 | FileName::Log1 => {
                assert_ne!(self.recovered_log, Some(*file), "a recovered log is written");
                if *offset == 0 {
                    let salt: [u8; 8] = bytes[24..32].try_into().unwrap();
                    let used = *self.salts.entry(salt).or_insert((self.no, *file));
                    assert_eq!(used, (self.no, *file), "a salt is used again");
                }
            }
            _ => {}
        }
    }

    fn opened(&mut self, recovered: &Recovered) {
        self.report.recoveries += 1;
        if self.is_lenient {
            self.verdict = Some(self.model.judge(recovered));
        } else {
            self.model.check(recovered);
            self.check_history(&recovered.image);
        }
        self.model.opened(recovered);
        self.stock = Stock::of(&recovered.image);
        self.is_open = true;
        self.recovered_log = newest_log(&self.disk);
    }

    /// Every moment that there was is in the history: two of them stand for all.
    fn check_history(&mut self, newest: &Image) {
        if !self.is_kept || newest.lsn() == Lsn(0) {
            return;
        }
        let past = past(&self.disk);
        assert!(past.image(newest.lsn()).unwrap() == *newest, "the history ends elsewhere");
        let lsn = Lsn(1 + self.random.below(newest.lsn().0));
        let image = past.image(lsn).unwrap();
        assert!(self.model.knows(&image), "Lsn {lsn} was never so: {:?}", past.logs());
    }

    /// Reads the files.
    pub fn open(&mut self, watch: &mut dyn Watch) -> Result<(), Error> {
        while !self.is_open {
            self.batch(watch)?;
        }
        Ok(())
    }

    /// Once everything is carried out: base is a database, and one that was confirmed.
    pub fn check_base(&mut self) {
        let Some(head) = newest_head(&self.disk) else { return };
        let Some(info) = head.base_info.filter(|info| info.page_count > 0) else { return };
        let bytes = self.disk.bytes(head.base.base());
        let bytes = &bytes[..info.page_count as usize * PAGE_SIZE];
        let is_known = |state: &&Rc<State>| state.image.base_info() == Some(info);
        let known = self.model.history().iter().find(is_known).expect("base is at a confirmed position");
        assert!(stock::file(&known.image) == bytes, "base has other pages than its position");
        if self.report.judged.insert((info.position.journal, info.position.lsn)) {
            stock::check(bytes, None);
        }
    }

    pub fn settle(&mut self, watch: &mut dyn Watch) -> Result<(), Error> {
        while self.batch(watch)? {}
        assert!(self.journal.is_settled());
        assert_eq!(self.journal.durable().0 as usize, self.model.since_start());
        Ok(())
    }

    /// Takes a step; one that needs open files opens them first.
    pub fn step(&mut self, step: &Step, watch: &mut dyn Watch) -> Result<(), Error> {
        match step {
            Step::Batches(count) => {
                for _ in 0..*count {
                    self.batch(watch)?;
                }
                return Ok(());
            }
            Step::Reopen => {
                self.report.fired(Fault::Death);
                self.reopen();
                return Ok(());
            }
            Step::Cut(cut) => {
                self.cut(*cut);
                self.reopen();
                return Ok(());
            }
            _ => {}
        }
        self.open(watch)?;
        match step {
            Step::Mutate(count, bytes) => (0..*count).for_each(|_| self.mutate(*bytes)),
            Step::Commits(sql) => self.commits(sql),
            Step::Rollup(sql) => self.rollup(sql),
            Step::Dismiss => self.dismiss(),
            Step::Checkpoint => {
                let State { image, pending, ledger } = self.model.now().clone();
                let ticket = self.journal.checkpoint(&image, &ledger, &pending);
                self.model.opening(ticket);
                self.model.note(ticket, State { image, pending, ledger });
            }
            Step::Reset(sql) => self.reset(sql),
            _ => self.settle(watch)?,
        }
        Ok(())
    }

    fn append(&mut self, record: &Record, state: State) {
        let ticket = self.journal.append(record).unwrap();
        self.model.note(ticket, state);
    }

    fn mutate(&mut self, bytes: usize) {
        let (me, mut now) = (self.model.identity(), self.model.now().clone());
        let last = now.pending.last().map_or(now.ledger.through(me.client).seq, |last| last.mutation.seq);
        self.requests += 1;
        let rejection = now.ledger.rejections(me.client).first().map(|rejection| rejection.seq);
        let retries = rejection.filter(|_| self.requests.is_multiple_of(2));
        if let Some(seq) = retries {
            now.ledger.dismiss(me.client, seq);
        }
        let value = Value::Text(format!("life {} {}", self.no, "x".repeat(bytes)));
        let pending = PendingMutation {
            epoch: me.epoch,
            tab: TabId([5; 16]),
            request: RequestNo(self.requests),
            retries,
            mutation: Mutation {
                seq: last.next(),
                at: 1_000 + self.requests,
                name: "add".into(),
                args: vec![Argument { name: "title".into(), value }],
            },
        };
        now.pending.push(pending.clone());
        self.append(&Record::Mutation(pending), now);
    }

    /// What the commits of a batch decide: on a replica half of what is pending, on a primary two of somebody's.
    fn outcome(&mut self, now: &mut State) -> Vec<Outcome> {
        let (client, from, through) = match self.model.role {
            Role::Replica => {
                let client = self.model.identity().client;
                let Some(last) = now.pending.get(now.pending.len() / 2) else { return Vec::new() };
                (client, now.ledger.through(client).seq, last.mutation.seq)
            }
            Role::Primary => {
                if now.ledger.client(SOMEBODY).is_none() {
                    let mut fresh = Ledger::new();
                    fresh.register(SOMEBODY, ClientKey([9; 16]), Mark::default());
                    now.ledger.merge(fresh.clone());
                    self.append(&Record::Ledger(fresh), now.clone());
                }
                let from = now.ledger.through(SOMEBODY).seq;
                (SOMEBODY, from, MutationSeq(from.0 + 2))
            }
        };
        let refused = (from.0 + 1..=through.0).filter(|seq| seq.is_multiple_of(3));
        let rejections = refused.map(|seq| Rejection {
            seq: MutationSeq(seq),
            name: "add".into(),
            code: "constraint".into(),
            message: "no".into(),
            lsn: Lsn(seq),
        });
        let through = Mark { seq: through, hash: TimelineHash(through.0) };
        vec![Outcome { client, through, rejections: rejections.collect() }]
    }

    fn decide(now: &mut State, outcomes: &[Outcome]) {
        for outcome in outcomes {
            now.ledger.decide(outcome).unwrap();
            let retried: Vec<_> = now.pending.iter().filter_map(|one| one.retries).collect();
            let is_decided = |one: &PendingMutation| one.mutation.seq <= outcome.through.seq;
            let (decided, pending): (Vec<_>, _) =
                std::mem::take(&mut now.pending).into_iter().partition(is_decided);
            now.pending = pending;
            for one in decided {
                now.ledger.answer(one.tab, one.request, one.mutation.seq);
                now.ledger.keep(outcome.client, one.mutation);
            }
            retried.into_iter().for_each(|seq| now.ledger.dismiss(outcome.client, seq));
        }
    }

    fn commits(&mut self, sql: &[String]) {
        let mut now = self.model.now().clone();
        if now.image.position().is_none() {
            return;
        }
        let outcomes = self.outcome(&mut now);
        let mut commits = Vec::new();
        for sql in sql {
            if !commits.is_empty() {
                self.model.between.push(Rc::new(now.image.clone()));
            }
            let commit = self.stock.run(&now.image, sql);
            now.image.apply_commit(&commit).unwrap();
            commits.push(commit);
        }
        Self::decide(&mut now, &outcomes);
        self.append(&Record::Commits(CommitBatch { outcomes, commits }), now);
    }

    fn rollup(&mut self, sql: &[String]) {
        let mut now = self.model.now().clone();
        let Some(position) = now.image.position() else { return };
        let mut image = now.image.clone();
        for sql in sql {
            let commit = self.stock.run(&image, sql);
            image.apply_commit(&commit).unwrap();
        }
        let mut parts = image.rollup_since(position.lsn, 9000);
        let outcomes = self.outcome(&mut now);
        parts.last_mut().expect("a rollup has a part").outcomes = outcomes.clone();
        for part in &parts {
            if part.last {
                now.image.apply_rollup(position.journal, &parts).unwrap();
                assert_eq!(now.image, image);
                Self::decide(&mut now, &outcomes);
            }
            self.append(&Record::Rollup(part.clone()), now.clone());
        }
    }

    fn dismiss(&mut self) {
        let mut now = self.model.now().clone();
        let client = self.model.identity().client;
        let Some(seq) = now.ledger.rejections(client).first().map(|rejection| rejection.seq) else { return };
        now.ledger.dismiss(client, seq);
        self.append(&Record::Dismiss(seq), now);
    }

    fn reset(&mut self, sql: &str) {
        let mut image = stock::empty(self.random.below(u64::MAX));
        self.stock = Stock::of(&image);
        let commit = self.stock.run(&image, sql);
        image.apply_commit(&commit).unwrap();
        let State { pending, ledger, .. } = self.model.now().clone();
        let ticket = self.journal.reset(&image, &ledger, &pending);
        self.model.opening(ticket);
        self.model.note(ticket, State { image, pending, ledger });
    }

    /// A little more of everything, which does not need the database to be one.
    pub fn go_on(&mut self) {
        match self.model.role {
            Role::Replica => self.mutate(30),
            Role::Primary => {
                let mut now = self.model.now().clone();
                let mut changed = BTreeMap::new();
                let page_count = now.image.page_count() + 1;
                let mut page = Page::zeroed();
                page.make_mut()[7] = 7;
                changed.insert(PageNo(page_count), page);
                let commit = now.image.commit_of(&changed, page_count, Touched::All);
                now.image.apply_commit(&commit).unwrap();
                let batch = CommitBatch { outcomes: Vec::new(), commits: vec![commit] };
                self.append(&Record::Commits(batch), now);
            }
        }
    }
}

fn past(disk: &FaultDisk) -> Past {
    let logs = [disk.bytes(FileName::Log0), disk.bytes(FileName::Log1)];
    Past::of(disk.kept(), [&logs[0], &logs[1]])
}

fn heads(disk: &FaultDisk, file: FileName, place: Place) -> impl Iterator<Item = Head> {
    let bytes = disk.bytes(file);
    let heads: Vec<Head> = bytes
        .chunks(place.size())
        .take(2)
        .filter_map(|bytes| match Head::decode(bytes, place) {
            HeadBytes::Head(head) => Some(head),
            _ => None,
        })
        .collect();
    heads.into_iter()
}

fn newest_head(disk: &FaultDisk) -> Option<Head> {
    heads(disk, FileName::Head, Place::Slot).max_by_key(|head| head.generation)
}

/// The log that recovery reads, unless the other one has a newer header.
fn newest_log(disk: &FaultDisk) -> Option<FileName> {
    let newest = newest_head(disk)?;
    let is_newer = |file| heads(disk, file, Place::Log).any(|head| head.generation > newest.generation);
    (!is_newer(FileName::Log0) && !is_newer(FileName::Log1)).then(|| newest.log.log())
}
