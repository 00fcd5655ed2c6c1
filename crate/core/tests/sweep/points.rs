//! The ways in which a script is swept.

use offprint_core::disk::{BatchNo, DiskBatch, DiskOp, FileName};
use offprint_core::journal::Role;
use offprint_protocol::{Code, Error};

use crate::sweep::fault_disk::{Cut, Throw};
use crate::sweep::faults::{Fault, Report};
use crate::sweep::life::{Life, Nobody, Step, Watch};
use crate::sweep::model::Verdict;

/// What a script is swept with.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub role: Role,
    pub seed: u64,
    /// Of so many points one is taken where every point is too many.
    pub stride: u64,
    /// Whether a history is kept.
    pub history: bool,
}

/// Every way there is, but flips. Prints the sum.
pub fn sweep(what: &str, plan: Plan, script: &[Step]) -> Report {
    println!("{what}: {plan:?}");
    let mut report = Report::default();
    every_point(plan, script, &mut report);
    every_throw(plan, script, &mut report);
    full_disk(plan, script, &mut report);
    lying_flushes(plan, script, &mut report);
    report
}

/// For scripts too long to take at every point: every call throws, and the power is cut at some operations.
pub fn sweep_throws(what: &str, plan: Plan, script: &[Step]) -> Report {
    println!("{what}: {plan:?}");
    let mut report = Report::default();
    every_throw(plan, script, &mut report);
    report
}

fn run(plan: Plan, script: &[Step], retries: bool, report: &mut Report, watch: &mut dyn Watch) -> Life {
    let mut life = if plan.history { Life::with_history(plan.seed) } else { Life::new(plan.role, plan.seed) };
    life.report = std::mem::take(report);
    life.retries = retries;
    for step in script {
        life.step(step, watch).unwrap();
    }
    life.settle(watch).unwrap();
    life
}

/// What survived is read, completed, added to, and read once more.
fn revive(life: &mut Life) {
    life.open(&mut Nobody).unwrap();
    life.settle(&mut CutAgain { rest: 3 }).unwrap();
    life.check_base();
    life.go_on();
    life.settle(&mut Nobody).unwrap();
    life.cut(Cut::Drop);
    life.reopen();
    life.open(&mut Nobody).unwrap();
}

/// The power is cut, or a call throws and the core dies, at every operation.
fn every_point(plan: Plan, script: &[Step], report: &mut Report) {
    let mut life = run(plan, script, false, report, &mut Points { plan, point: 0 });
    life.check_base();
    revive(&mut life);
    *report = life.report;
}

struct Points {
    plan: Plan,
    point: u64,
}

impl Points {
    fn is_taken(&mut self) -> bool {
        self.point += 1;
        self.point.is_multiple_of(self.plan.stride)
    }
}

impl Watch for Points {
    fn before(&mut self, life: &mut Life, batch: &DiskBatch, at: usize) -> Result<(), Error> {
        let op = &batch.ops[at];
        life.report.points += 1;
        for how in Throw::of(op) {
            life.with_fork(|fork| {
                let error = fork.disk.throw(op, *how, &mut fork.random, &mut fork.report);
                assert_eq!(error.code, Code::Disk);
                fork.report.fired(Fault::Death);
                if self.is_taken() {
                    revive(fork);
                } else {
                    fork.open(&mut Nobody).unwrap();
                }
                if *how != Throw::Nothing {
                    fork.cut(Cut::Any);
                    fork.reopen();
                    fork.open(&mut Nobody).unwrap();
                }
            });
        }
        Ok(())
    }

    fn after(&mut self, life: &mut Life) {
        life.report.points += 1;
        let cuts: &[Cut] = if life.disk.has_unflushed() { &Cut::ALL } else { &[Cut::Drop] };
        for cut in cuts {
            life.with_fork(|fork| {
                fork.cut(*cut);
                if self.is_taken() {
                    revive(fork);
                } else {
                    fork.open(&mut Nobody).unwrap();
                }
            });
        }
    }
}

/// The power is cut at every operation, and in what follows again.
struct CutAgain {
    rest: u8,
}

impl Watch for CutAgain {
    fn before(&mut self, _: &mut Life, _: &DiskBatch, _: usize) -> Result<(), Error> {
        Ok(())
    }

    fn after(&mut self, life: &mut Life) {
        if self.rest == 0 || !life.disk.has_unflushed() {
            return;
        }
        let cut = Cut::ALL[life.random.below(Cut::ALL.len() as u64) as usize];
        life.with_fork(|fork| {
            fork.report.fired(Fault::CrashInRecovery);
            fork.cut(cut);
            fork.open(&mut Nobody).unwrap();
            // One of several: each further level multiplies.
            if fork.random.below(4) == 0 {
                fork.settle(&mut CutAgain { rest: self.rest - 1 }).unwrap();
            }
        });
    }
}

/// Every call throws in every way, and the batch is given to the same disk again.
fn every_throw(plan: Plan, script: &[Step], report: &mut Report) {
    let mut watch = Throws { plan, batch: BatchNo(0), at: 0, how: 0, point: 0 };
    let mut life = run(plan, script, true, report, &mut watch);
    life.check_base();
    life.cut(Cut::Drop);
    life.reopen();
    revive(&mut life);
    *report = life.report;
}

/// Where in a batch the next throw is.
struct Throws {
    plan: Plan,
    batch: BatchNo,
    at: usize,
    how: usize,
    point: u64,
}

impl Watch for Throws {
    fn before(&mut self, life: &mut Life, batch: &DiskBatch, at: usize) -> Result<(), Error> {
        if self.batch != batch.no {
            (self.batch, self.at, self.how) = (batch.no, 0, 0);
        }
        if at != self.at {
            return Ok(());
        }
        let Some(how) = Throw::of(&batch.ops[at]).get(self.how) else {
            (self.at, self.how) = (at + 1, 0);
            return Ok(());
        };
        self.how += 1;
        life.report.points += 1;
        let error = life.disk.throw(&batch.ops[at], *how, &mut life.random, &mut life.report);
        if self.how == 1 {
            life.with_fork(|fork| {
                fork.cut(Cut::Any);
                fork.open(&mut Nobody).unwrap();
            });
        }
        Err(error)
    }

    fn after(&mut self, life: &mut Life) {
        self.point += 1;
        if !self.point.is_multiple_of(self.plan.stride) {
            return;
        }
        // What a lost flush left behind looks flushed and is not.
        life.with_fork(|fork| {
            fork.cut(Cut::Drop);
            fork.open(&mut Nobody).unwrap();
        });
    }
}

/// There is no room for anything that makes a file longer, at first.
fn full_disk(plan: Plan, script: &[Step], report: &mut Report) {
    let mut life = run(plan, script, true, report, &mut Full { last: None, tries: 0 });
    life.check_base();
    revive(&mut life);
    *report = life.report;
}

struct Full {
    /// Which file was to grow, and where to: what finds no room comes back in another batch.
    last: Option<(FileName, u64)>,
    tries: u8,
}

impl Watch for Full {
    fn before(&mut self, life: &mut Life, batch: &DiskBatch, at: usize) -> Result<(), Error> {
        life.disk.is_full = false;
        if !life.disk.grows(&batch.ops[at]) {
            return Ok(());
        }
        let growth = match &batch.ops[at] {
            DiskOp::Write { file, offset, bytes } => Some((*file, offset + bytes.len() as u64)),
            DiskOp::Grow { file, to } => Some((*file, *to)),
            _ => None,
        };
        if self.last != growth {
            *self = Self { last: growth, tries: 0 };
        }
        if self.tries < 2 {
            self.tries += 1;
            life.report.points += 1;
            life.disk.is_full = true;
            life.with_fork(|fork| {
                // A fresh core finds everything, whether or not it gets further.
                fork.open(&mut Nobody).unwrap();
                if let Err(error) = fork.settle(&mut Nobody) {
                    assert_eq!(error.code, Code::Quota);
                }
                fork.cut(Cut::Any);
                fork.reopen();
                fork.open(&mut Nobody).unwrap();
                fork.disk.is_full = false;
                fork.settle(&mut Nobody).unwrap();
                fork.check_base();
            });
        }
        Ok(())
    }

    fn after(&mut self, _: &mut Life) {}
}

/// One flush lies, or all from some on; then the power is cut.
fn lying_flushes(plan: Plan, script: &[Step], report: &mut Report) {
    let script: Vec<Step> =
        script.iter().map(|step| if let Step::Cut(_) = step { Step::Reopen } else { step.clone() }).collect();
    let mut at = 0;
    loop {
        for all in [false, true] {
            let mut watch = Lies { plan, at, all, seen: 0, ops: 0 };
            *report = run(plan, &script, false, report, &mut watch).report;
            if watch.seen <= at {
                return;
            }
        }
        at += plan.stride;
    }
}

struct Lies {
    plan: Plan,
    /// The flush that lies, the first being 0.
    at: u64,
    /// And all after it.
    all: bool,
    seen: u64,
    ops: u64,
}

impl Watch for Lies {
    fn before(&mut self, life: &mut Life, batch: &DiskBatch, at: usize) -> Result<(), Error> {
        let is_flush = matches!(batch.ops[at], DiskOp::Flush { .. });
        life.disk.lies = is_flush && (self.seen == self.at || self.all && self.seen > self.at);
        self.seen += u64::from(is_flush);
        Ok(())
    }

    fn after(&mut self, life: &mut Life) {
        self.ops += 1;
        if self.seen <= self.at || !self.ops.is_multiple_of(1 + self.plan.stride) {
            return;
        }
        life.report.points += 1;
        for cut in [Cut::Drop, Cut::Any] {
            life.with_fork(|fork| {
                fork.cut(cut);
                match look(fork) {
                    Verdict::Fine => fork.report.lies_harmless += 1,
                    Verdict::Earlier => fork.report.lies_lost += 1,
                    Verdict::Told => fork.report.lies_told += 1,
                }
            });
        }
    }
}

/// What the files say, whatever was done to them.
fn look(life: &mut Life) -> Verdict {
    life.is_lenient = true;
    life.disk.lies = false;
    match life.open(&mut Nobody) {
        Ok(()) => life.verdict.take().expect("open"),
        Err(error) => {
            assert_eq!((error.code, life.model.role), (Code::Corrupt, Role::Primary));
            assert!(life.journal.next_batch().is_none() && life.journal.unanswered().is_none());
            Verdict::Told
        }
    }
}

/// A bit is flipped in every byte of head and logs, and in every `stride`th of the bases, as the script left them.
pub fn flips(what: &str, plan: Plan, script: &[Step]) -> Report {
    println!("{what}: flips, {plan:?}");
    let mut life = run(plan, script, false, &mut Report::default(), &mut Nobody);
    for file in FileName::ALL {
        let is_log = matches!(file, FileName::Log0 | FileName::Log1);
        let is_base = matches!(file, FileName::Base0 | FileName::Base1);
        let bytes = life.disk.bytes(file);
        // Behind what a log holds are up to a megabyte of zeros: a few of them stand for all.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 64);
        let len = if is_log { used } else { bytes.len() };
        let stride = if is_base { plan.stride } else { 1 };
        for at in (0..len).step_by(stride as usize) {
            life.report.points += 1;
            life.with_fork(|fork| {
                fork.disk.flip(file, at, 1 << (at % 8), &mut fork.report);
                let verdict = look(fork);
                // The end of a log is not told from one that was torn there; nothing else may be lost in silence.
                assert!(is_log || verdict != Verdict::Earlier, "byte {at} of {file:?}");
                assert!(file != FileName::Head || verdict == Verdict::Fine, "byte {at} of {file:?}");
                if fork.is_open && at % 16 == 0 {
                    fork.settle(&mut Nobody).unwrap();
                }
            });
        }
    }
    life.report
}
