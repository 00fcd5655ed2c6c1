//! What a primary's host asks on its own account: for back ends, which have no session.

use std::collections::{BTreeSet, VecDeque};

use offprint_protocol::{
    Argument, ClientId, ClientKey, ClientSecret, Code, Error, JournalId, Lsn, Mark, Mutation, MutationSeq,
    Position, Rejection,
};

use super::{Open, Primary, Queued};
use crate::snapshot::Snapshot;

/// The host's number for a question, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AskNo(pub u64);

/// A question. It is answered from what is durable, and once its answer is.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// The document as it is.
    Snapshot,
    /// The document at this Lsn of this history or, without one, of the one it has. Fails with `gone` if that is not kept
    /// any more, with `bad_argument` if it has yet to come.
    At(Option<JournalId>, Lsn),
    /// The document as it was, which fails with `gone` if that is not kept any more.
    Kept(JournalId, Lsn),
    /// To run a mutation of a client that the host vouches for. It has no secret: nobody else can be it.
    Mutate {
        /// The client's name.
        client: String,
        /// Its number for the mutation, so that it may ask again; without one the next is taken.
        seq: Option<MutationSeq>,
        /// When it was made, in milliseconds since 1970.
        at: u64,
        /// The mutator's name.
        name: String,
        /// The arguments, in ascending order of their names.
        args: Vec<Argument>,
    },
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone)]
pub enum Answer {
    /// The document.
    Snapshot(Snapshot),
    /// The mutation is decided, and that is durable.
    Decided {
        /// Its number.
        seq: MutationSeq,
        /// A position that includes it.
        position: Position,
        /// How.
        verdict: Verdict,
    },
}

/// What was decided about a mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is in.
    Confirmed,
    /// It was refused.
    Rejected(Rejection),
    /// One or the other: its client has gone on since, which says that it knew.
    Forgotten,
}

/// The questions that a primary has.
#[derive(Debug, Default)]
pub(super) struct Asks {
    /// What the names of the host's clients are mixed with, so that no session can be one of them.
    pub(super) secret: Option<ClientSecret>,
    fresh: VecDeque<(AskNo, Ask)>,
    waiting: Vec<Waiting>,
    answers: Vec<(AskNo, Result<Answer, Error>)>,
}

/// A mutation that is queued or run but not known to be durable.
#[derive(Debug)]
struct Waiting {
    no: AskNo,
    ask: Ask,
    client: ClientId,
    seq: MutationSeq,
}

impl Asks {
    /// Whether nobody waits for an answer.
    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.waiting.is_empty()
    }
}

impl Primary {
    /// Asks; the answer is among [`Primary::answers`] after some later [`Primary::handle`].
    pub fn ask(&mut self, no: AskNo, ask: Ask) {
        self.used = self.now;
        self.asks.fresh.push_back((no, ask));
    }

    /// The answers since this was called last.
    pub fn answers(&mut self) -> Vec<(AskNo, Result<Answer, Error>)> {
        std::mem::take(&mut self.asks.answers)
    }

    /// Answers what can be answered while nothing is being appended; false if it had to begin that itself.
    pub(super) fn answer_asks(&mut self) -> Result<bool, Error> {
        if !self.asks.fresh.is_empty() && self.is_new() {
            self.migrate()?;
        }
        let Some(open) = self.open.as_mut().filter(|open| open.appending.is_none()) else { return Ok(false) };
        let Asks { secret, fresh, waiting, answers } = &mut self.asks;
        let mut decided = BTreeSet::new();
        waiting.retain(|asked| {
            let Some(answer) = open.verdict(asked.client, asked.seq, true) else { return true };
            answers.push((asked.no, Ok(answer)));
            decided.insert(asked.client);
            false
        });
        for client in decided {
            open.keep_last(client);
        }
        for (no, ask) in fresh.drain(..) {
            let answer = match &ask {
                Ask::Snapshot => Ok(Some(Answer::Snapshot(open.database.pages().snapshot()))),
                Ask::At(journal, lsn) => {
                    let end = open.tail.end();
                    let journal = journal.unwrap_or(end.journal);
                    match journal == end.journal && *lsn > end.lsn {
                        true => {
                            let what = format!("there is no Lsn {lsn} yet: the last is {}", end.lsn);
                            Err(Error::new(Code::BadArgument, what))
                        }
                        false => {
                            let kept = self.snapshots.get(open, (journal, *lsn), self.now);
                            kept.map(|snapshot| Some(Answer::Snapshot(snapshot)))
                        }
                    }
                }
                Ask::Kept(journal, lsn) => {
                    let kept = self.snapshots.get(open, (*journal, *lsn), self.now);
                    kept.map(|snapshot| Some(Answer::Snapshot(snapshot)))
                }
                Ask::Mutate { client, seq, at, name, args } => {
                    let (client, key) = host_client(secret.as_ref(), client);
                    let (name, args) = (name.clone(), args.clone());
                    let mutation = Mutation { seq: MutationSeq(0), at: *at, name, args };
                    open.queue_for(client, key, *seq, mutation).map(|seq| {
                        let answer = open.verdict(client, seq, false);
                        if answer.is_none() {
                            waiting.push(Waiting { no, ask, client, seq });
                        }
                        answer
                    })
                }
            };
            answers.extend(answer.transpose().map(|answer| (no, answer)));
        }
        Ok(true)
    }

    /// What is queued for these of the host's clients is asked again, in order: the numbers that it was given may be
    /// taken by now. What is decided is not: it only waits to be told.
    pub(super) fn ask_again(&mut self, which: impl Fn(ClientId) -> bool) {
        let Some(open) = &mut self.open else { return };
        let is_queued = |asked: &Waiting| asked.seq > open.ledger.through(asked.client).seq;
        let again = self.asks.waiting.extract_if(.., |asked| which(asked.client) && is_queued(asked));
        let again: Vec<_> = again.collect();
        open.unqueue(|client| again.iter().any(|asked| asked.client == client));
        for asked in again.into_iter().rev() {
            self.asks.fresh.push_front((asked.no, asked.ask));
        }
    }
}

impl Open {
    /// What was decided about a client's mutation, if something was. One that was awaited before it was decided was
    /// not refused if no refusal of it is here.
    fn verdict(&self, client: ClientId, seq: MutationSeq, is_awaited: bool) -> Option<Answer> {
        let through = self.ledger.through(client).seq;
        if seq > through {
            return None;
        }
        let rejection = self.ledger.rejections(client).iter().find(|rejection| rejection.seq == seq);
        let verdict = match rejection {
            Some(rejection) => Verdict::Rejected(rejection.clone()),
            None if seq == through || is_awaited => Verdict::Confirmed,
            None => Verdict::Forgotten,
        };
        Some(Answer::Decided { seq, position: self.tail.end(), verdict })
    }

    /// Keeps what became of the client's last mutation that is decided; who went on has heard of those before it.
    fn keep_last(&mut self, client: ClientId) {
        let last = self.ledger.through(client).seq;
        self.ledger.forget(client, MutationSeq(last.0.saturating_sub(1)));
    }

    /// Queues the mutation unless it is queued or decided already, and gives its number.
    fn queue_for(
        &mut self,
        client: ClientId,
        key: ClientKey,
        seq: Option<MutationSeq>,
        mutation: Mutation,
    ) -> Result<MutationSeq, Error> {
        let last = self.queued(client).unwrap_or(self.ledger.through(client).seq);
        let seq = seq.unwrap_or(last.next());
        if (MutationSeq(1)..=last).contains(&seq) {
            return Ok(seq);
        }
        if seq != last.next() {
            let what = format!("mutation {seq} came after {last}: the next is {}", last.next());
            return Err(Error::new(Code::SequenceGap, what));
        }
        let mutation = Mutation { seq, ..mutation };
        self.enqueue(Queued::new(client, mutation))?;
        self.register(client, key, Mark::default());
        Ok(seq)
    }
}

/// The id of the host's client of this name, which cannot be guessed, and a key to which nobody has the secret.
fn host_client(secret: Option<&ClientSecret>, name: &str) -> (ClientId, ClientKey) {
    let secret = secret.expect("BUG: a question is answered before the files are read");
    let mut hasher = blake3::Hasher::new_derive_key("offprint client of the host");
    let hash = hasher.update(&secret.0).update(name.as_bytes()).finalize();
    let (id, key) = hash.as_bytes().split_at(16);
    let half = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).expect("BUG: a hash has two halves of 16 bytes");
    (ClientId(half(id)), ClientKey(half(key)))
}
