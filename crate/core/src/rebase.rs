//! Builds the view anew on newer confirmed pages: replays what is pending, in slices if it is much.

use offprint_protocol::rpc::Progress;
use offprint_protocol::{Definition, Error, MutationSeq, Touched};

use crate::image::Image;
use crate::mutator::{Call, MUTATION_WORK, Mutators, Ran};
use crate::pages::Pages;
use crate::sqlite::Database;
use crate::timeline::Timeline;

/// A rebase under way. The view that it builds is the one of the Lsn it began at, so nothing that it has not replayed
/// yet may be decided: then it is begun anew.
#[derive(Debug)]
pub(crate) struct Rebase {
    /// What is built, apart from the view that is read meanwhile; none if nobody reads and it is built in place.
    aside: Option<Database>,
    /// The last mutation that was replayed.
    through: MutationSeq,
    done: u64,
    /// What the commits touched since the view that is read.
    commits: Touched,
    /// What the overlay touches.
    overlay: Touched,
    /// The mutations that failed, ascending, and why.
    failed: Vec<(MutationSeq, Error)>,
    /// The work of mutations that were added since the last slice.
    added: u64,
}

/// What a complete rebase leaves.
pub(crate) struct Rebased {
    pub(crate) aside: Option<Database>,
    pub(crate) commits: Touched,
    pub(crate) overlay: Touched,
    pub(crate) failed: Vec<(MutationSeq, Error)>,
}

impl Rebase {
    /// Begins in `database`, which shows what is built at once.
    pub(crate) fn in_place(
        database: &mut Database,
        image: Image,
        definition: &Definition,
        confirmed: MutationSeq,
        commits: Touched,
    ) -> Result<Self, Error> {
        database.pages().update_image(|before| *before = image);
        let overlay = database.migrate(definition)?;
        Ok(Self { aside: None, through: confirmed, done: 0, commits, overlay, failed: Vec::new(), added: 0 })
    }

    /// Begins in a database of its own.
    pub(crate) fn aside(
        image: Image,
        definition: &Definition,
        confirmed: MutationSeq,
        commits: Touched,
    ) -> Result<Self, Error> {
        let mut database = Database::open(Pages::new(image.clone()))?;
        let begun = Self::in_place(&mut database, image, definition, confirmed, commits)?;
        Ok(Self { aside: Some(database), ..begun })
    }

    /// Replays about `budget` worth of work and gives whether that was all. A mutation that fails is left out of the
    /// overlay and stays pending: the primary decides.
    pub(crate) fn slice(
        &mut self,
        database: &mut Database,
        mutators: &Mutators,
        timeline: &mut Timeline,
        budget: u64,
    ) -> Result<bool, Error> {
        assert!(!self.is_overtaken(timeline), "BUG: a rebase leaves out what was decided");
        // Twice what was added: it ends however fast mutations are made.
        let mut budget = budget.saturating_add(self.added.saturating_mul(2));
        self.added = 0;
        let database = self.aside.as_mut().unwrap_or(database);
        while timeline.after(self.through).len() > 0 {
            if budget == 0 {
                return Ok(false);
            }
            let most = usize::try_from(budget / MUTATION_WORK + 1).unwrap_or(usize::MAX);
            let next: Vec<_> = timeline.after(self.through).take(most).collect();
            let calls: Vec<Call<'_>> =
                next.iter().map(|entry| (entry.mutation.name.as_str(), &entry.mutation.args[..])).collect();
            let ran = database.run_some(mutators, &calls, budget)?;
            let seqs: Vec<_> = next.iter().map(|entry| entry.mutation.seq).collect();
            for (seq, Ran { result, work }) in seqs.into_iter().zip(ran) {
                budget = budget.saturating_sub(work);
                self.done += 1;
                self.through = seq;
                timeline.took(seq, work);
                match result {
                    Ok(touched) => {
                        self.overlay = std::mem::replace(&mut self.overlay, Touched::none()).merge(touched);
                    }
                    Err(error) => self.failed.push((seq, error)),
                }
            }
        }
        Ok(true)
    }

    /// Whether something was decided that it has not replayed. All that is pending is ahead of it then, so one begun
    /// anew is no further from its end.
    pub(crate) fn is_overtaken(&self, timeline: &Timeline) -> bool {
        self.through < timeline.confirmed()
    }

    /// A mutation was made.
    pub(crate) fn added(&mut self, work: u64) {
        self.added = self.added.saturating_add(work);
    }

    pub(crate) fn progress(&self, timeline: &Timeline) -> Progress {
        Progress { done: self.done, total: self.done + timeline.after(self.through).len() as u64 }
    }

    /// Gives it up for one on newer pages; what the commits touched is not forgotten.
    pub(crate) fn abandon(self) -> Touched {
        self.commits
    }

    pub(crate) fn finish(self) -> Rebased {
        Rebased { aside: self.aside, commits: self.commits, overlay: self.overlay, failed: self.failed }
    }
}
