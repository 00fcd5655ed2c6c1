//! What is visible: brought in line with what was applied, and told to whom it concerns.

use offprint_protocol::rpc::{Bytes, TabEvent};
use offprint_protocol::{Error, Touched};

use super::{Document, Told};
use crate::live::Change;
use crate::rebase::{Rebase, Rebased};

impl Document {
    /// Brings the view in line with what was applied, once, however much that was: at once if it takes little, else
    /// it is begun and [`Document::advance`] goes on with it.
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        // One that is not overtaken comes to its end first, however many commits come.
        let is_due = match &self.rebase {
            Some(rebase) => rebase.is_overtaken(&self.timeline),
            None => self.unseen.is_some(),
        };
        if !is_due {
            return Ok(());
        }
        let mut commits = self.unseen.take().unwrap_or(Touched::none());
        if let Some(rebase) = self.rebase.take() {
            commits = commits.merge(rebase.abandon());
        }
        // Stays so on an error.
        self.unseen = Some(Touched::All);
        let is_small = self.timeline.work() <= self.slice;
        let (definition, confirmed) = (&self.config.definition, self.timeline.confirmed());
        let image = self.confirmed.clone();
        self.rebase = Some(if self.ready && !is_small {
            Rebase::aside(image, definition, confirmed, commits)?
        } else {
            Rebase::in_place(&mut self.database, image, definition, confirmed, commits)?
        });
        if self.ready && is_small {
            self.replay(u64::MAX)?;
        }
        self.unseen = None;
        Ok(())
    }

    /// Brings the view to the newest confirmed pages, whatever that takes.
    pub(super) fn settle_wholly(&mut self) -> Result<(), Error> {
        self.settle()?;
        while self.rebase.is_some() {
            self.replay(u64::MAX)?;
            self.settle()?;
        }
        Ok(())
    }

    /// Does one slice of a rebase that is under way.
    pub(crate) fn advance(&mut self) -> Result<(), Error> {
        self.replay(self.slice)?;
        // What came while it ran.
        if self.rebase.is_none() { self.settle() } else { Ok(()) }
    }

    fn replay(&mut self, budget: u64) -> Result<(), Error> {
        let Some(mut rebase) = self.rebase.take() else { return Ok(()) };
        if !rebase.slice(&mut self.database, &self.mutators, &mut self.timeline, budget)? {
            self.rebase = Some(rebase);
            return Ok(());
        }
        let Rebased { aside, commits, overlay, failed } = rebase.finish();
        if let Some(database) = aside {
            self.database = database;
        }
        self.ready = true;
        self.failed = failed;
        let before = std::mem::replace(&mut self.overlay, overlay.clone());
        self.touch(before.merge(commits).merge(overlay));
        Ok(())
    }

    pub(super) fn touch(&mut self, touched: Touched) {
        self.changed = std::mem::replace(&mut self.changed, Touched::none()).merge(touched);
    }

    /// Runs the live queries that may have changed and tells the subscribers of those that did.
    pub(crate) fn run_live_queries(&mut self, now: u64, told: &mut Told) {
        let changed = std::mem::replace(&mut self.changed, Touched::none());
        if changed == Touched::none() {
            return;
        }
        self.database.set_now(now);
        for Change { subscribers, rows } in self.live.changed(&changed, &mut self.database) {
            for (tab, subscription) in subscribers {
                told.push((
                    tab,
                    match &rows {
                        Ok(rows) => TabEvent::Rows { subscription, rows: Bytes(rows.clone()) },
                        Err(error) => {
                            TabEvent::SubscriptionFailed { subscription, problem: error.clone().into() }
                        }
                    },
                ));
            }
        }
    }
}
