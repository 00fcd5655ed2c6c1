//! A simulated back end: asks the server's host for one mutation after the other, and again where it got no answer.

use std::collections::BTreeMap;

use offprint_core::{Answer, Ask, AskNo, Verdict};
use offprint_protocol::rpc::Request;
use offprint_protocol::{Argument, Code, Error, MutationSeq};

use crate::random::Random;

/// A back end of one document.
#[derive(Debug)]
pub struct BackEnd {
    /// Which document.
    pub document: usize,
    name: String,
    /// How often it has taken another name.
    names: usize,
    /// The number of its next mutation, if it numbers them.
    next: Option<MutationSeq>,
    /// What it asks for until it is answered, if it numbers its mutations.
    wanted: Option<Order>,
    /// Its questions under way, each to a server.
    asked: BTreeMap<AskNo, (usize, Order)>,
    /// What it was told under this name and in this history.
    answered: BTreeMap<MutationSeq, (Order, Verdict)>,
    /// Whether the document's history was lost since it was told something.
    is_lost: bool,
}

/// A mutation that a back end wants.
#[derive(Debug, Clone)]
pub struct Order {
    token: String,
    client: String,
    seq: Option<MutationSeq>,
    at: u64,
    name: String,
    args: Vec<Argument>,
}

/// What an answer tells a back end.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// The mutation of a token is in.
    Confirmed(String),
    /// The mutation of a token was refused.
    Rejected(String),
    /// What it knew, or nothing yet.
    Nothing,
    /// The server does not know it any more: it has another name now.
    Renamed,
}

impl Order {
    /// The mutation of `token`, made at this time.
    pub fn new(token: String, at: u64, request: Request) -> Self {
        let Request::Mutate { name, args } = request else { unreachable!("BUG: only mutations are ordered") };
        let args = args.into_iter().map(|(name, value)| Argument { name, value }).collect();
        Self { token, client: String::new(), seq: None, at, name, args }
    }

    fn ask(&self) -> Ask {
        let Self { client, seq, at, name, args, .. } = self.clone();
        Ask::Mutate { client, seq, at, name, args }
    }
}

impl BackEnd {
    /// A back end that has asked nothing yet.
    pub fn new(document: usize, name: &str, is_numbered: bool) -> Self {
        Self {
            document,
            name: name.to_owned(),
            names: 1,
            next: is_numbered.then_some(MutationSeq(1)),
            wanted: None,
            asked: BTreeMap::new(),
            answered: BTreeMap::new(),
            is_lost: false,
        }
    }

    /// Whether it would ask for another mutation.
    pub fn is_free(&self) -> bool {
        self.wanted.is_none()
    }

    /// Whether it waits for nothing.
    pub fn is_idle(&self) -> bool {
        self.wanted.is_none() && self.asked.is_empty()
    }

    /// Asks for a mutation.
    pub fn order(&mut self, no: AskNo, server: usize, order: Order) -> Ask {
        let order = Order { client: self.name.clone(), seq: self.next, ..order };
        if self.next.is_some() {
            self.wanted = Some(order.clone());
        }
        self.send(no, server, order)
    }

    /// Asks once more for what it waits for, if it may: it is the same mutation, as its number tells.
    pub fn again(&mut self, no: AskNo, server: usize, random: &mut Random) -> Option<Ask> {
        let is_under_way = !self.asked.is_empty();
        let order = self.wanted.clone().filter(|_| !is_under_way || random.one_in(4))?;
        Some(self.send(no, server, order))
    }

    /// Asks for something that it was told already, if there is something.
    pub fn repeat(&mut self, no: AskNo, server: usize, random: &mut Random) -> Option<Ask> {
        let back = random.below(self.answered.len().min(4));
        let (_, (order, _)) = self.answered.iter().rev().nth(back).filter(|_| self.next.is_some())?;
        let order = order.clone();
        Some(self.send(no, server, order))
    }

    fn send(&mut self, no: AskNo, server: usize, order: Order) -> Ask {
        let ask = order.ask();
        self.asked.insert(no, (server, order));
        ask
    }

    /// A server has died; gives how many answers went with it.
    pub fn cut(&mut self, server: usize) -> usize {
        let before = self.asked.len();
        self.asked.retain(|_, (asked, _)| *asked != server);
        before - self.asked.len()
    }

    /// The document's history is lost, and all its servers with it.
    pub fn lose_history(&mut self) {
        self.is_lost = true;
        self.answered.clear();
    }

    /// Whether it has asked this.
    pub fn has_asked(&self, no: AskNo) -> bool {
        self.asked.contains_key(&no)
    }

    /// Takes an answer; fails if that is none it may get. `may_lag`: the server may not have heard of what another told.
    pub fn hear(&mut self, no: AskNo, answer: &Result<Answer, Error>, may_lag: bool) -> Result<Told, String> {
        let Some((_, order)) = self.asked.remove(&no) else { return Ok(Told::Nothing) };
        let (seq, verdict) = match answer {
            Ok(Answer::Decided { seq, verdict, .. }) => (*seq, verdict),
            Ok(Answer::Snapshot(_)) => return Err(format!("{order:?} was answered by a snapshot")),
            Err(error) if error.code == Code::SequenceGap && order.seq.is_some() => {
                return self.hear_gap(&order, may_lag);
            }
            Err(error) => return Err(format!("{order:?} was answered by {error}")),
        };
        if order.client != self.name || order.seq.is_some_and(|wanted| wanted != seq) {
            return Err(format!("{order:?} of {} was decided as {seq}", self.name));
        }
        if let Some((known, told)) = self.answered.get(&seq) {
            // The outcome of the last one is kept, as long as it is the last.
            let is_last = self.answered.last_key_value().is_some_and(|(last, _)| *last == seq);
            let may_be_forgotten = *verdict == Verdict::Forgotten && !(is_last && self.wanted.is_none());
            return match known.token == order.token && (verdict == told || may_be_forgotten) {
                true => Ok(Told::Nothing),
                false => Err(format!("{order:?} is {verdict:?}, but {known:?} was {told:?}")),
            };
        }
        let news = match verdict {
            Verdict::Confirmed => Told::Confirmed(order.token.clone()),
            Verdict::Rejected(_) => Told::Rejected(order.token.clone()),
            Verdict::Forgotten => return Err(format!("{order:?} is forgotten, and nobody was told")),
        };
        self.is_lost = false;
        if self.next.is_some() {
            self.next = Some(seq.next());
            self.wanted = None;
        }
        self.answered.insert(seq, (order, verdict.clone()));
        Ok(news)
    }

    fn hear_gap(&mut self, order: &Order, may_lag: bool) -> Result<Told, String> {
        if order.client != self.name || may_lag && !self.is_lost {
            return Ok(Told::Nothing);
        }
        let Some(wanted) = self.wanted.as_mut().filter(|_| self.is_lost) else {
            return Err(format!("{order:?} is out of turn"));
        };
        self.names += 1;
        self.name = format!("{}-{}", self.name.split('-').next().unwrap_or_default(), self.names);
        self.next = Some(MutationSeq(1));
        self.is_lost = false;
        *wanted = Order { client: self.name.clone(), seq: self.next, ..wanted.clone() };
        Ok(Told::Renamed)
    }
}
