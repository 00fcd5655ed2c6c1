//! What a document's files may say at any time, and whether they do.

use std::fmt;
use std::rc::Rc;

use offprint_core::image::Image;
use offprint_core::journal::{Identity, Recovered, Role, Ticket};
use offprint_core::ledger::{ClientEntry, Ledger};
use offprint_core::record::PendingMutation;
use offprint_protocol::Epoch;

/// What a recovered document has to say.
#[derive(Clone, PartialEq)]
pub struct State {
    pub image: Image,
    pub pending: Vec<PendingMutation>,
    pub ledger: Ledger,
}

#[derive(Clone)]
pub struct Model {
    pub role: Role,
    identity: Option<Identity>,
    /// Everything that was ever true, oldest first.
    history: Vec<Rc<State>>,
    /// The pages after each commit of a batch but the last.
    pub between: Vec<Rc<Image>>,
    /// What the log that an opening will replace says meanwhile, beside `history`; else the same.
    shadows: Vec<Rc<State>>,
    /// What old logs said last, when the new ones came to count: a flush that lied brings one back.
    outdated: Vec<Rc<State>>,
    /// The opening that is under way, and whether there is a log that it will replace.
    opening: Option<(Ticket, bool)>,
    /// Where `Ticket(0)` of this life is in the history.
    start: usize,
    /// The first state that may still be found.
    floor: usize,
    durable_epoch: Epoch,
    is_durable: bool,
}

/// What was found, measured by what should be there.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A state that is not older than the durable one.
    Fine,
    /// One that is.
    Earlier,
    /// Damage, and it was told.
    Told,
}

impl Model {
    pub fn new(role: Role) -> Self {
        let nothing = State { image: Image::none(), pending: Vec::new(), ledger: Ledger::new() };
        let nothing = Rc::new(nothing);
        Self {
            role,
            identity: None,
            history: vec![nothing.clone()],
            between: Vec::new(),
            shadows: vec![nothing],
            outdated: Vec::new(),
            opening: None,
            start: 0,
            floor: 0,
            durable_epoch: Epoch(0),
            is_durable: false,
        }
    }

    pub fn identity(&self) -> Identity {
        self.identity.expect("open")
    }

    pub fn history(&self) -> &[Rc<State>] {
        &self.history
    }

    /// Whether the pages were ever these.
    pub fn knows(&self, image: &Image) -> bool {
        self.history.iter().any(|known| known.image == *image)
            || self.between.iter().any(|known| **known == *image)
    }

    /// The state after everything that was handed in.
    pub fn now(&self) -> &State {
        self.history.last().expect("a history has a beginning")
    }

    /// How many tickets this life gave.
    pub fn since_start(&self) -> usize {
        self.history.len() - 1 - self.start
    }

    /// `ticket`, which comes next, is an opening.
    pub fn opening(&mut self, ticket: Ticket) {
        let replaces = self.is_durable_here();
        self.opening = Some((ticket, replaces));
    }

    /// Whether this life's first head is there.
    fn is_durable_here(&self) -> bool {
        self.opening.is_none_or(|(_, replaces)| replaces)
    }

    /// `ticket` stands for this state and those before it.
    pub fn note(&mut self, ticket: Ticket, state: State) {
        let state = Rc::new(state);
        let shadow = match self.opening {
            Some((_, replaces)) if self.role == Role::Replica => {
                let mut shadow = self.shadows.last().expect("a history has a beginning").clone();
                let before = self.now().pending.len();
                if replaces && let [mutation] = state.pending.get(before..).unwrap_or_default() {
                    let shadow = Rc::make_mut(&mut shadow);
                    shadow.pending.push(mutation.clone());
                    if let (Some(seq), Some(me)) = (mutation.retries, self.identity) {
                        shadow.ledger.dismiss(me.client, seq);
                    }
                }
                shadow
            }
            _ => state.clone(),
        };
        self.shadows.push(shadow);
        self.history.push(state);
        assert_eq!(self.start + ticket.0 as usize, self.history.len() - 1, "tickets have no gaps");
    }

    /// Everything up to `ticket` is durable, and every mutation up to `recorded`.
    pub fn durable(&mut self, ticket: Ticket, recorded: Ticket) {
        assert!(ticket <= recorded);
        if ticket.0 > 0 {
            self.floor = self.floor.max(self.start + recorded.0 as usize);
            self.is_durable = true;
            self.durable_epoch = self.identity().epoch;
        }
        if self.opening.is_some_and(|(opening, _)| opening <= ticket) {
            self.opening = None;
            let from = self.start + ticket.0 as usize;
            self.outdated.push(self.shadows[from].clone());
            self.shadows[from..].clone_from_slice(&self.history[from..]);
        }
    }

    /// Fails if the files said what was never true, or hold less than what was durable.
    pub fn check(&self, found: &Recovered) {
        assert_eq!(found.damage, None, "damage without a cause");
        let verdict = self.judge(found);
        assert_eq!(
            verdict,
            Verdict::Fine,
            "found {:?}, durable is {:?}",
            State::of(found),
            self.history[self.floor]
        );
        assert!(found.identity.epoch > self.durable_epoch, "the epoch was used before");
    }

    /// Fails if the files said what was never true.
    pub fn judge(&self, found: &Recovered) -> Verdict {
        if self.role == Role::Primary {
            let end = found.tail.iter().fold(None, |at, (before, commit)| {
                assert!(at.is_none_or(|at| at == *before), "the tail has a gap before {}", commit.lsn);
                Some(before.after(commit))
            });
            assert!(end.is_none_or(|end| found.image.position() == Some(end)));
        }
        if found.damage.is_some() {
            self.check_parts(found);
            return Verdict::Told;
        }
        let state = State::of(found);
        let ours = self.identity.is_some_and(|known| match self.role {
            Role::Replica => known.client == found.identity.client,
            Role::Primary => {
                let journal = |image: &Image| image.position().map(|position| position.journal);
                journal(&self.now().image) == journal(&found.image)
            }
        });
        if !ours {
            assert!(state.pending.is_empty() && state.image.page_count() == 0, "somebody else's: {state:?}");
            return if self.is_durable { Verdict::Earlier } else { Verdict::Fine };
        }
        if !self.is_durable && state.image == Image::none() {
            // The first opening is torn: what can be read of it are mutations.
            self.check_parts(found);
            return Verdict::Fine;
        }
        let mutations = |known: &Rc<State>| known.pending == state.pending && known.ledger == state.ledger;
        if self.role == Role::Replica
            && state.image == Image::none()
            && !self.history.iter().any(|known| **known == state)
        {
            // The first head is gone: pages can be fetched again, mutations cannot.
            assert!(self.history.iter().any(mutations), "found {state:?}, which was never true");
            return Verdict::Earlier;
        }
        let last = |states: &[Rc<State>]| states.iter().rposition(|known| **known == state);
        let Some(at) = last(&self.history).max(last(&self.shadows)) else {
            if last(&self.outdated).is_some() {
                return Verdict::Earlier;
            }
            panic!(
                "found {state:?}\nwhich was never true; from the durable one on: {:#?}",
                &self.history[self.floor..]
            );
        };
        if at < self.floor { Verdict::Earlier } else { Verdict::Fine }
    }

    /// After damage: pages of one Lsn or none, and pending mutations that we made, in order.
    fn check_parts(&self, found: &Recovered) {
        if let Some(position) = found.image.position() {
            let start = |known: &Image| {
                let of = known.position().map(|position| Image::empty(position.journal));
                position.lsn.0 == 0 && of.as_ref() == Some(&found.image)
            };
            assert!(
                self.history.iter().any(|known| known.image == found.image || start(&known.image)),
                "pages that never were: {:#?}",
                found.image
            );
        } else {
            assert_eq!(found.image, Image::none());
        }
        let mut next = found.ledger.through(found.identity.client).seq.next();
        for pending in &found.pending {
            assert_eq!(pending.mutation.seq, next, "a gap among the pending mutations");
            let is_ours = |state: &Rc<State>| state.pending.contains(pending);
            assert!(self.history.iter().any(is_ours), "a mutation that never was: {pending:?}");
            next = next.next();
        }
    }

    /// Another life has read the files; until its open is durable, what was true before may be found as well.
    pub fn opened(&mut self, found: &Recovered) {
        let state = Rc::new(State::of(found));
        if self.identity.is_none_or(|known| known.client != found.identity.client) {
            self.identity = None;
        }
        self.identity = Some(found.identity);
        self.start = self.history.len();
        self.history.extend([state.clone(), state.clone()]);
        self.shadows.extend([state.clone(), state]);
        self.opening = Some((Ticket(1), false));
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} pages, pending", self.image.position(), self.image.page_count())?;
        for pending in &self.pending {
            write!(f, " {} ({:?} of {:?})", pending.mutation.seq, pending.request, pending.epoch)?;
        }
        let known = |entry: &ClientEntry| (entry.client, entry.through().seq, entry.rejections.len());
        write!(f, ", clients {:?}", self.ledger.clients().map(known).collect::<Vec<_>>())
    }
}

impl State {
    pub fn of(found: &Recovered) -> Self {
        Self { image: found.image.clone(), pending: found.pending.clone(), ledger: found.ledger.clone() }
    }
}
