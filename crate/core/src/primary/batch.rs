//! A batch of mutations, from the queue into the journal.

use std::collections::BTreeMap;

use offprint_protocol::{ClientId, Encode, Error, Mark, Outcome, Rejection, Touched};

use super::{Open, Primary, Queued};
use crate::commit_journal::CommitJournal;
use crate::entry::{Change, Entry};
use crate::image::Image;
use crate::journal::Ticket;
use crate::ledger::Ledger;
use crate::mutator::{Call, Ran};
use crate::sqlite::MUTATION_STEPS;

/// The most mutations, and the most bytes of them, that one commit takes.
const BATCH: (usize, usize) = (1024, 4 << 20);
/// The work with which a commit is ended, so that heavy mutations do not keep what was done before them.
const BATCH_WORK: u64 = MUTATION_STEPS;
/// How much of a mutator's name, which a client may make up, goes into a rejection, in characters.
const NAME: usize = 128;
/// How much of a message, which a mutator may make up, goes into a rejection, in characters.
const MESSAGE: usize = 1024;

/// What is told once it is in the journal.
pub(super) struct Appending {
    pub(super) ticket: Ticket,
    pub(super) entry: Entry,
    /// The document after it.
    pub(super) image: Image,
    /// What was run for it.
    pub(super) batch: Vec<Queued>,
}

impl Primary {
    /// Runs what is queued, each mutation in its own savepoint, as one commit; false if nothing is.
    pub(super) fn run_batch(&mut self) -> Result<bool, Error> {
        let Some(open) = &mut self.open else { return Ok(false) };
        if open.queue.is_empty() {
            return Ok(false);
        }
        let mut bytes = 0;
        let fits = |queued: &&Queued| {
            bytes += queued.size;
            bytes <= BATCH.1
        };
        let count = open.queue.iter().take(BATCH.0).take_while(fits).count().max(1);
        let mut batch: Vec<_> = open.queue.drain(..count).collect();
        let calls: Vec<Call<'_>> =
            batch.iter().map(|queued| (queued.mutation.name.as_str(), &queued.mutation.args[..])).collect();
        let ran = open.database.run_some(&self.mutators, &calls, BATCH_WORK)?;
        for later in batch.drain(ran.len()..).rev() {
            open.queue.push_front(later);
        }
        let mut outcomes: BTreeMap<ClientId, Outcome> = BTreeMap::new();
        let mut touched = Touched::none();
        let lsn = open.database.pages().image().lsn();
        for (Queued { client, mutation, .. }, Ran { result, .. }) in batch.iter().zip(ran) {
            let outcome = outcomes.entry(*client).or_insert_with(|| Outcome {
                client: *client,
                through: open.ledger.through(*client),
                rejections: Vec::new(),
            });
            let hash = outcome.through.hash.after(&mutation.to_bytes());
            outcome.through = Mark { seq: mutation.seq, hash };
            match result {
                Ok(more) => touched = touched.merge(more),
                Err(error) => outcome.rejections.push(Rejection {
                    seq: mutation.seq,
                    name: mutation.name.chars().take(NAME).collect(),
                    code: error.code.as_str().to_owned(),
                    message: error.message.chars().take(MESSAGE).collect(),
                    lsn,
                }),
            }
        }
        open.commit(&mut *self.journal, self.now, touched, outcomes.into_values().collect(), batch)?;
        Ok(true)
    }
}

impl Open {
    /// Makes a commit of what the last transaction left behind and hands it to the journal.
    pub(super) fn commit(
        &mut self,
        journal: &mut dyn CommitJournal,
        now: u64,
        touched: Touched,
        outcomes: Vec<Outcome>,
        batch: Vec<Queued>,
    ) -> Result<(), Error> {
        let (commit, image) = {
            let pages = self.database.pages();
            let commit = pages.image().commit_of(&pages.overlay(), pages.page_count(), touched);
            let mut image = pages.image().clone();
            image.apply_commit(&commit)?;
            (commit, image)
        };
        let mut clients = Ledger::new();
        for outcome in &outcomes {
            if self.unrecorded.contains(&outcome.client)
                && let Some(entry) = self.ledger.client(outcome.client)
            {
                clients.insert(entry.clone());
            }
        }
        let entry = Entry::of_commit(now, clients, outcomes, commit, &image);
        let ticket = journal.append(self.tail.end().lsn, &entry)?;
        self.appending = Some(Appending { ticket, entry, image, batch });
        Ok(())
    }

    /// What was appended is in the journal.
    pub(super) fn confirm(&mut self, Appending { entry, image, batch, .. }: &Appending) -> Result<(), Error> {
        self.waiting -= batch.iter().map(|queued| queued.size).sum::<usize>();
        match &entry.change {
            Change::Adopted(_) => {
                self.database.pages().update_image(|ours| ours.clone_from(image));
                self.is_moved = true;
            }
            _ => self.database.pages().settle_overlay(image.clone()),
        }
        self.decide(entry, image)
    }

    /// Takes over what an entry says, of which the pages are there.
    pub(super) fn decide(&mut self, entry: &Entry, image: &Image) -> Result<(), Error> {
        self.tail.follow(&entry.change, image.position().expect("BUG: an entry gives a history"));
        for client in entry.clients.clients() {
            self.unrecorded.remove(&client.client);
        }
        for outcome in &entry.outcomes {
            self.ledger.decide(outcome)?;
        }
        Ok(())
    }
}
