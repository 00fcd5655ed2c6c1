//! What the primary refused: told, dismissed, or made once more.

use offprint_protocol::rpc::{Rejection, Reply, TabEvent};
use offprint_protocol::{Argument, Code, Error, Lsn, Mutation, MutationSeq, Outcome, RequestNo, TabId};

use crate::document::{Document, FORGOTTEN, Told};
use crate::journal::Journal;
use crate::ledger::ClientEntry;
use crate::record::Record;

impl Document {
    /// The rejections that the app has neither dismissed nor retried.
    pub(crate) fn rejections(&self) -> Vec<Rejection> {
        let told = |entry: &ClientEntry| entry.rejections.iter().map(|one| tell(entry, one)).collect();
        self.ledger.client(self.identity.client).map_or_else(Vec::new, told)
    }

    pub(super) fn rejection_of(&self, seq: MutationSeq) -> Option<Rejection> {
        let entry = self.ledger.client(self.identity.client)?;
        entry.rejection(seq).map(|rejection| tell(entry, rejection))
    }

    /// What was decided of a request's mutation.
    pub(super) fn decision(&self, (tab, no): (TabId, RequestNo), seq: MutationSeq) -> TabEvent {
        let is_dismissed = || self.ledger.answered(tab, no).is_some_and(|answered| answered.dismissed);
        match self.rejection_of(seq) {
            Some(rejection) => TabEvent::Rejected { no, rejection },
            None if seq == FORGOTTEN => TabEvent::Failed { no, problem: forgotten().into() },
            None if is_dismissed() => TabEvent::Rejected { no, rejection: dismissed(seq) },
            None => TabEvent::Confirmed { requests: vec![no] },
        }
    }

    pub(super) fn dismiss(&mut self, seq: MutationSeq, journal: &mut Journal) -> Result<(), Error> {
        journal.append(&Record::Dismiss(seq))?;
        self.ledger.dismiss(self.identity.client, seq);
        Ok(())
    }

    /// Makes a rejected mutation once more. One record has the new mutation and says that the rejection is dealt with,
    /// so a crash leaves either.
    pub(super) fn retry(
        &mut self,
        now: u64,
        (tab, no): (TabId, RequestNo),
        rejected: MutationSeq,
        journal: &mut Journal,
        told: &mut Told,
    ) {
        if let Some(seq) = self.made((tab, no)) {
            return self.tell_again((tab, no), seq, journal, told);
        }
        let made = self.refused(rejected).and_then(|Mutation { name, args, .. }| {
            let seq = self.record((tab, no), (now, name, args), Some(rejected), journal)?;
            self.ledger.dismiss(self.identity.client, rejected);
            Ok(seq)
        });
        told.push(match made {
            Ok(seq) => (tab, TabEvent::Reply { no, reply: Reply::Applied { seq } }),
            Err(error) => (tab, TabEvent::Failed { no, problem: error.into() }),
        });
    }

    /// The rejections in an outcome whose place a mutation has taken already: a device that lost what it knew of them,
    /// but not that mutation, hears of them again.
    pub(super) fn retried(&self, outcome: &Outcome) -> Vec<MutationSeq> {
        if outcome.rejections.is_empty() {
            return Vec::new();
        }
        self.timeline.iter().filter_map(|pending| pending.retries).collect()
    }

    /// The mutation that a rejection is of.
    fn refused(&self, seq: MutationSeq) -> Result<Mutation, Error> {
        let entry = self.ledger.client(self.identity.client).filter(|entry| entry.rejection(seq).is_some());
        let Some(entry) = entry else {
            let what = format!("there is no rejection of mutation {seq} any more");
            return Err(Error::new(Code::Dismissed, what));
        };
        let lost = || Error::new(Code::Corrupt, format!("the arguments of mutation {seq} are lost"));
        entry.refused(seq).cloned().ok_or_else(lost)
    }
}

/// A rejection and what was refused by it.
fn tell(entry: &ClientEntry, rejection: &offprint_protocol::Rejection) -> Rejection {
    let argument = |Argument { name, value }: &Argument| (name.clone(), value.clone());
    Rejection {
        seq: rejection.seq,
        name: rejection.name.clone(),
        args: entry.refused(rejection.seq).map(|mutation| mutation.args.iter().map(argument).collect()),
        code: rejection.code.clone(),
        message: rejection.message.clone(),
        lsn: rejection.lsn,
    }
}

/// What stands for a rejection that is not there any more.
fn dismissed(seq: MutationSeq) -> Rejection {
    Rejection {
        seq,
        name: String::new(),
        args: None,
        code: Code::Dismissed.as_str().to_owned(),
        message: "the mutation was rejected, and the app has dismissed that".to_owned(),
        lsn: Lsn(0),
    }
}

/// Why nobody can tell what was decided.
fn forgotten() -> Error {
    let what =
        "the mutation was decided so long ago that nobody knows how; the status lists it if it was rejected";
    Error::new(Code::Gone, what)
}
