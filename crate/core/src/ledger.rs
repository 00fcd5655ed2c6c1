//! What was decided for whom, and which requests made which mutations: what keeps everything exactly once.

use std::collections::{BTreeMap, VecDeque};

use offprint_protocol::{
    ClientId, ClientKey, Code, Decode, Encode, Error, Mark, Mutation, MutationSeq, Outcome, Reader,
    Rejection, RequestNo, TabId, Writer,
};

/// How many answered requests are kept.
pub const ANSWERED_LIMIT: usize = 1024;
/// How many points of a client's timeline are kept.
pub const MARKS_LIMIT: usize = 32;
/// How many rejections are kept of those that a primary's client has received.
const RECEIVED_LIMIT: usize = 64;

/// What was decided for one client.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientEntry {
    /// Whose.
    pub client: ClientId,
    /// What its secret has to match.
    pub key: ClientKey,
    /// Points up to which its mutations are decided, ascending; the last is how far that is.
    pub marks: Vec<Mark>,
    /// On a replica, those that the app has not dismissed; on a primary, those that the client, or a copy of its profile,
    /// may not have received. Ascending.
    pub rejections: Vec<Rejection>,
    /// On a replica, the mutations that these rejections are of, as far as they are known. Ascending.
    pub refused: Vec<Mutation>,
}

impl ClientEntry {
    /// A client whose mutations are decided up to here.
    pub fn new(client: ClientId, key: ClientKey, through: Mark) -> Self {
        Self { client, key, marks: vec![through], rejections: Vec::new(), refused: Vec::new() }
    }

    /// The rejection of a mutation.
    pub fn rejection(&self, seq: MutationSeq) -> Option<&Rejection> {
        let index = self.rejections.binary_search_by_key(&seq, |rejection| rejection.seq).ok()?;
        self.rejections.get(index)
    }

    /// The mutation that a rejection is of.
    pub fn refused(&self, seq: MutationSeq) -> Option<&Mutation> {
        let index = self.refused.binary_search_by_key(&seq, |mutation| mutation.seq).ok()?;
        self.refused.get(index)
    }

    /// Up to where its mutations are decided.
    pub fn through(&self) -> Mark {
        self.marks.last().copied().unwrap_or_default()
    }
}

/// Which mutation a tab's request made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Who asked.
    pub tab: TabId,
    /// The tab's number for it.
    pub request: RequestNo,
    /// The mutation.
    pub seq: MutationSeq,
    /// Whether it was rejected and the app has dismissed that.
    pub dismissed: bool,
}

/// A replica's ledger has one client, itself; a primary's has every client and no requests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ledger {
    clients: BTreeMap<ClientId, ClientEntry>,
    answered: VecDeque<Answered>,
}

impl Ledger {
    /// Knows nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a client whose mutations are decided up to here; one that is known stays as it is.
    pub fn register(&mut self, client: ClientId, key: ClientKey, through: Mark) {
        self.clients.entry(client).or_insert_with(|| ClientEntry::new(client, key, through));
    }

    /// What is known of a client.
    pub fn client(&self, client: ClientId) -> Option<&ClientEntry> {
        self.clients.get(&client)
    }

    /// Every client.
    pub fn clients(&self) -> impl Iterator<Item = &ClientEntry> {
        self.clients.values()
    }

    /// Up to where a client's mutations are decided.
    pub fn through(&self, client: ClientId) -> Mark {
        self.client(client).map(ClientEntry::through).unwrap_or_default()
    }

    /// A client's rejections.
    pub fn rejections(&self, client: ClientId) -> &[Rejection] {
        self.client(client).map_or(&[], |entry| &entry.rejections)
    }

    /// Takes over what the primary decided; what is decided already changes nothing. Fails with `unauthorized` for a
    /// client that was never registered.
    pub fn decide(&mut self, outcome: &Outcome) -> Result<(), Error> {
        let Some(entry) = self.clients.get_mut(&outcome.client) else {
            return Err(Error::new(Code::Unauthorized, "an outcome for a client that is not known"));
        };
        let before = entry.through().seq;
        let fresh = outcome.rejections.iter().filter(|rejection| rejection.seq > before);
        entry.rejections.extend(fresh.cloned());
        if outcome.through.seq > before {
            if entry.marks.len() == MARKS_LIMIT {
                entry.marks.remove(0);
            }
            entry.marks.push(outcome.through);
        }
        Ok(())
    }

    /// Keeps a mutation of a replica's own that was decided, if it was rejected.
    pub fn keep(&mut self, client: ClientId, mutation: Mutation) {
        if let Some(entry) = self.clients.get_mut(&client)
            && entry.rejection(mutation.seq).is_some()
            && let Err(index) = entry.refused.binary_search_by_key(&mutation.seq, |refused| refused.seq)
        {
            entry.refused.insert(index, mutation);
        }
    }

    /// Forgets a rejection.
    pub fn dismiss(&mut self, client: ClientId, seq: MutationSeq) {
        if let Some(entry) = self.clients.get_mut(&client) {
            entry.rejections.retain(|rejection| rejection.seq != seq);
            entry.refused.retain(|mutation| mutation.seq != seq);
        }
        for answered in self.answered.iter_mut().filter(|answered| answered.seq == seq) {
            answered.dismissed = true;
        }
    }

    /// On a primary: the client has received what was decided up to `through`. A copy of its profile may not have, as
    /// long as there are marks that it can know; for it the newest of those rejections are kept.
    pub fn received(&mut self, client: ClientId, through: MutationSeq) {
        if let Some(entry) = self.clients.get_mut(&client) {
            let up_to = |seq| entry.rejections.partition_point(|rejection| rejection.seq <= seq);
            let received = up_to(through);
            let oldest = entry.marks.first().map_or(through, |mark| mark.seq);
            let forgotten = received.min(up_to(oldest)).max(received.saturating_sub(RECEIVED_LIMIT));
            entry.rejections.drain(..forgotten);
        }
    }

    /// Forgets a client's rejections up to `through`.
    pub fn forget(&mut self, client: ClientId, through: MutationSeq) {
        if let Some(entry) = self.clients.get_mut(&client) {
            entry.rejections.retain(|rejection| rejection.seq > through);
        }
    }

    /// Notes which mutation a request made, and gives the one that is forgotten for it.
    pub fn answer(&mut self, tab: TabId, request: RequestNo, seq: MutationSeq) -> Option<Answered> {
        let is_full = self.answered.len() == ANSWERED_LIMIT;
        let oldest = is_full.then(|| self.answered.pop_front()).flatten();
        self.answered.push_back(Answered { tab, request, seq, dismissed: false });
        oldest
    }

    /// Whether a request that is not among the newest must have come before them. Of a tab that has none among them
    /// nothing can be said: its request may as well be new.
    pub fn is_older(&self, tab: TabId, request: RequestNo) -> bool {
        // A tab's numbers ascend, and so do those of its requests that were recorded.
        let first = self.answered.iter().find(|answered| answered.tab == tab);
        self.answered.len() == ANSWERED_LIMIT && first.is_some_and(|first| request < first.request)
    }

    /// What a request led to, if it is among the newest.
    pub fn answered(&self, tab: TabId, request: RequestNo) -> Option<&Answered> {
        self.answered.iter().rev().find(|answered| (answered.tab, answered.request) == (tab, request))
    }

    /// Takes over every client of `other`, replacing what was known of it, and its requests if it has any. The
    /// rejections of one without marks are added to those that are known.
    pub fn merge(&mut self, other: Ledger) {
        for entry in other.clients.into_values() {
            match self.clients.get_mut(&entry.client) {
                Some(known) if entry.marks.is_empty() => {
                    known.rejections.extend(entry.rejections);
                    known.refused.extend(entry.refused);
                }
                _ => self.insert(entry),
            }
        }
        if !other.answered.is_empty() {
            self.answered = other.answered;
        }
    }

    /// Replaces what is known of a client.
    pub fn insert(&mut self, entry: ClientEntry) {
        self.clients.insert(entry.client, entry);
    }

    /// A client goes on under another name.
    pub(crate) fn rename(&mut self, before: ClientId, entry: ClientEntry) {
        let known = self.clients.remove(&before);
        let (rejections, refused) = known.map(|known| (known.rejections, known.refused)).unwrap_or_default();
        self.insert(ClientEntry { rejections, refused, ..entry });
    }

    /// Takes over the requests of `other`.
    pub(crate) fn take_answered(&mut self, other: &Ledger) {
        self.answered = other.answered.clone();
    }
}

impl Encode for ClientEntry {
    fn encode(&self, out: &mut Writer) {
        out.put(&self.client).put(&self.key).list(&self.marks).list(&self.rejections).list(&self.refused);
    }
}

impl Decode for ClientEntry {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            client: from.get()?,
            key: from.get()?,
            marks: from.list()?,
            rejections: from.list()?,
            refused: from.list()?,
        })
    }
}

impl Encode for Answered {
    fn encode(&self, out: &mut Writer) {
        out.put(&self.tab).put(&self.request).put(&self.seq).u8(u8::from(self.dismissed));
    }
}

impl Decode for Answered {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { tab: from.get()?, request: from.get()?, seq: from.get()?, dismissed: from.flag()? })
    }
}

impl Encode for Ledger {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.clients.len() as u64);
        for entry in self.clients.values() {
            out.put(entry);
        }
        out.varint(self.answered.len() as u64);
        for answered in &self.answered {
            out.put(answered);
        }
    }
}

impl Decode for Ledger {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        let clients: Vec<ClientEntry> = from.list()?;
        let mut answered: VecDeque<Answered> = from.list()?.into();
        answered.drain(..answered.len().saturating_sub(ANSWERED_LIMIT));
        let clients = clients.into_iter().map(|entry| (entry.client, entry)).collect();
        Ok(Self { clients, answered })
    }
}

#[cfg(test)]
mod tests {
    use offprint_protocol::{Lsn, TimelineHash};

    use super::*;

    const ME: ClientId = ClientId([1; 16]);

    fn rejection(seq: u64) -> Rejection {
        let (name, code, message) = ("add".into(), "gone".into(), "m".into());
        Rejection { seq: MutationSeq(seq), name, code, message, lsn: Lsn(seq) }
    }

    fn mark(seq: u64) -> Mark {
        Mark { seq: MutationSeq(seq), hash: TimelineHash(seq) }
    }

    fn outcome(through: u64, rejected: &[u64]) -> Outcome {
        let rejections = rejected.iter().copied().map(rejection).collect();
        Outcome { client: ME, through: mark(through), rejections }
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::new();
        ledger.register(ME, ClientKey([2; 16]), Mark::default());
        ledger
    }

    #[test]
    fn a_repeated_outcome_changes_nothing() {
        let mut ledger = ledger();
        ledger.decide(&outcome(3, &[2])).unwrap();
        ledger.decide(&outcome(3, &[2])).unwrap();
        ledger.decide(&outcome(1, &[1])).unwrap();
        assert_eq!((ledger.through(ME), ledger.rejections(ME)), (mark(3), &[rejection(2)][..]));
        ledger.dismiss(ME, MutationSeq(2));
        ledger.decide(&outcome(4, &[2, 4])).unwrap();
        assert_eq!(ledger.rejections(ME), [rejection(4)]);
        assert_eq!(
            ledger.decide(&Outcome { client: ClientId([9; 16]), ..outcome(1, &[]) }).unwrap_err().code,
            Code::Unauthorized
        );
    }

    #[test]
    fn a_mutation_is_kept_as_long_as_its_rejection_is() {
        let mutation = |seq| Mutation { seq: MutationSeq(seq), at: 1, name: "add".into(), args: Vec::new() };
        let mut ledger = ledger();
        ledger.decide(&outcome(4, &[2, 4])).unwrap();
        for seq in [4, 2, 3, 4] {
            ledger.keep(ME, mutation(seq));
        }
        assert_eq!(ledger.client(ME).unwrap().refused, [mutation(2), mutation(4)]);
        assert_eq!(Ledger::from_bytes(&ledger.to_bytes()).unwrap(), ledger);
        ledger.dismiss(ME, MutationSeq(2));
        let entry = ledger.client(ME).unwrap();
        assert_eq!(
            (entry.refused(MutationSeq(2)), entry.refused(MutationSeq(4))),
            (None, Some(&mutation(4)))
        );
    }

    #[test]
    fn what_a_client_has_received_is_kept_while_a_copy_of_it_can_come() {
        let mut ledger = ledger();
        (1..=40).for_each(|through| ledger.decide(&outcome(through, &[through])).unwrap());
        let kept = |ledger: &Ledger| ledger.rejections(ME).iter().map(|one| one.seq.0).collect::<Vec<_>>();
        ledger.received(ME, MutationSeq(2));
        assert_eq!(kept(&ledger), (3..=40).collect::<Vec<_>>());
        ledger.received(ME, MutationSeq(30));
        let oldest = ledger.client(ME).unwrap().marks[0].seq.0;
        assert_eq!(kept(&ledger), (oldest + 1..=40).collect::<Vec<_>>());
        let many: Vec<u64> = (41..=200).collect();
        ledger.decide(&outcome(200, &many)).unwrap();
        ledger.received(ME, MutationSeq(190));
        assert_eq!(kept(&ledger), (191 - RECEIVED_LIMIT as u64..=200).collect::<Vec<_>>());
    }

    #[test]
    fn the_newest_marks_are_kept() {
        let mut ledger = ledger();
        (1..=100).for_each(|through| ledger.decide(&outcome(through, &[])).unwrap());
        let marks = &ledger.client(ME).unwrap().marks;
        assert_eq!((marks.len(), marks.last()), (MARKS_LIMIT, Some(&mark(100))));
        assert_eq!(ledger.through(ME), mark(100));
    }

    #[test]
    fn the_newest_requests_are_kept() {
        let mut ledger = ledger();
        for no in 1..=ANSWERED_LIMIT as u64 + 1 {
            ledger.answer(TabId([0; 16]), RequestNo(no), MutationSeq(no));
        }
        let seq = |tab, no| ledger.answered(TabId([tab; 16]), RequestNo(no)).map(|answered| answered.seq);
        assert_eq!(seq(0, 1), None);
        assert_eq!(seq(0, 2), Some(MutationSeq(2)));
        assert_eq!(seq(1, 2), None);
        assert_eq!(Ledger::from_bytes(&ledger.to_bytes()).unwrap(), ledger);
    }
}
