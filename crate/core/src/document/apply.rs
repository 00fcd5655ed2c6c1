//! What the server decided, taken into the confirmed pages, the timeline, the ledger and the log.

use std::collections::BTreeMap;

use offprint_protocol::rpc::TabEvent;
use offprint_protocol::{
    Commit, CommitBatch, Error, JournalId, Mark, Outcome, RequestNo, Rollup, TabId, Touched,
};

use super::{Document, Told};
use crate::image::Image;
use crate::journal::{Journal, Ticket};
use crate::record::{PendingMutation, Record};
use crate::sync::Changes;

impl Document {
    /// Takes commits; the view is brought in line by the next [`Document::settle`]. On an error what was taken before
    /// it stands.
    pub(crate) fn apply_commits(
        &mut self,
        batch: CommitBatch,
        journal: &mut Journal,
        told: &mut Told,
    ) -> Result<(), Error> {
        self.unseen.get_or_insert(Touched::none());
        let CommitBatch { outcomes, commits } = batch;
        let outcomes = self.own(outcomes)?;
        let mut applied: Vec<Commit> = Vec::with_capacity(commits.len());
        let mut result = Ok(());
        for commit in commits {
            result = self.confirmed.apply_commit(&commit);
            if result.is_err() {
                break;
            }
            self.commit_touched(commit.touched.clone());
            applied.push(commit);
        }
        // What was decided by a commit that is not here is not taken either.
        let outcomes = if result.is_ok() { outcomes } else { Vec::new() };
        if !(applied.is_empty() && outcomes.is_empty()) {
            let record = Record::Commits(CommitBatch { outcomes: outcomes.clone(), commits: applied });
            let ticket = journal.append(&record)?;
            self.decide(outcomes, ticket, told)?;
        }
        result
    }

    /// Takes a rollup, wholly or not at all; the view is brought in line by the next [`Document::settle`].
    pub(crate) fn apply_rollup(
        &mut self,
        id: JournalId,
        mut parts: Vec<Rollup>,
        journal: &mut Journal,
        told: &mut Told,
    ) -> Result<(), Error> {
        self.unseen.get_or_insert(Touched::none());
        let outcomes = parts.iter_mut().flat_map(|part| std::mem::take(&mut part.outcomes)).collect();
        let outcomes = self.own(outcomes)?;
        self.confirmed.apply_rollup(id, &parts)?;
        self.commit_touched(Touched::All);
        if parts.iter().any(|part| part.from.0 == 0) {
            return self.write_replaced(outcomes, journal, told);
        }
        if let Some(last) = parts.last_mut() {
            last.outcomes = outcomes.clone();
        }
        let mut ticket = Ticket(0);
        for part in parts {
            ticket = journal.append(&Record::Rollup(part))?;
        }
        self.decide(outcomes, ticket, told)?;
        Ok(())
    }

    /// Takes a document that was fetched and what the server said on top of it, wholly or not at all; the view is brought
    /// in line by the next [`Document::settle`].
    pub(crate) fn apply_snapshot(
        &mut self,
        mut image: Image,
        on_top: Changes,
        journal: &mut Journal,
        told: &mut Told,
    ) -> Result<(), Error> {
        let outcomes = match on_top {
            Changes::Commits(CommitBatch { outcomes, commits }) => {
                commits.iter().try_for_each(|commit| image.apply_commit(commit))?;
                outcomes
            }
            Changes::Rollup { journal, mut parts } => {
                image.apply_rollup(journal, &parts)?;
                parts.iter_mut().flat_map(|part| std::mem::take(&mut part.outcomes)).collect()
            }
        };
        let outcomes = self.own(outcomes)?;
        self.confirmed = image;
        self.commit_touched(Touched::All);
        self.write_replaced(outcomes, journal, told)
    }

    /// The confirmed pages were replaced as a whole: so is the log.
    pub(super) fn write_replaced(
        &mut self,
        outcomes: Vec<Outcome>,
        journal: &mut Journal,
        told: &mut Told,
    ) -> Result<(), Error> {
        // Decided first: the reset writes the ledger and the pending mutations as they are afterwards.
        let decided = self.decide_in_memory(outcomes, told)?;
        let pending: Vec<_> = self.timeline.iter().cloned().collect();
        let ticket = journal.reset(&self.confirmed, &self.ledger, &pending);
        self.decisions.push_back((ticket, decided));
        Ok(())
    }

    pub(super) fn commit_touched(&mut self, touched: Touched) {
        let before = self.unseen.take().unwrap_or(Touched::none());
        self.unseen = Some(before.merge(touched));
    }

    pub(super) fn decide(
        &mut self,
        outcomes: Vec<Outcome>,
        ticket: Ticket,
        told: &mut Told,
    ) -> Result<(), Error> {
        let decided = self.decide_in_memory(outcomes, told)?;
        self.decisions.push_back((ticket, decided));
        Ok(())
    }

    /// Takes decided mutations out of the timeline, keeps rejections, and tells who made them.
    pub(super) fn decide_in_memory(
        &mut self,
        outcomes: Vec<Outcome>,
        told: &mut Told,
    ) -> Result<Mark, Error> {
        for outcome in outcomes {
            let retried = self.retried(&outcome);
            let decided = self.timeline.decided(outcome.through);
            self.ledger.decide(&outcome)?;
            let mut confirmed: BTreeMap<TabId, Vec<RequestNo>> = BTreeMap::new();
            for PendingMutation { tab, request, mutation, .. } in decided {
                let seq = mutation.seq;
                self.answer_decided(tab, request, mutation);
                match self.rejection_of(seq) {
                    Some(rejection) => told.push((tab, TabEvent::Rejected { no: request, rejection })),
                    None => confirmed.entry(tab).or_default().push(request),
                }
            }
            for seq in retried {
                self.ledger.dismiss(self.identity.client, seq);
            }
            told.extend(confirmed.into_iter().map(|(tab, requests)| (tab, TabEvent::Confirmed { requests })));
        }
        Ok(self.timeline.confirmed_mark())
    }
}
