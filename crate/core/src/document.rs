//! An open document on a client: confirmed pages, pending mutations on top, and who is told what.

mod apply;
mod import;
mod local;
mod rejections;
mod split;
mod view;

use std::collections::{BTreeMap, VecDeque};

use offprint_protocol::rpc::{Bytes, Progress, Reply, Request, Select, TabEvent};
use offprint_protocol::{
    Argument, Definition, Error, Mark, Mutation, MutationSeq, Position, RequestNo, TabId, Touched, Value,
};

use crate::entropy::Entropy;
use crate::export::Exports;
use crate::head::Identity;
use crate::host::ReplicaConfig;
use crate::image::Image;
use crate::import::Import;
use crate::journal::Recovered;
use crate::journal::{Journal, Ticket};
use crate::ledger::Ledger;
use crate::live::LiveQueries;
use crate::mutator::Mutators;
use crate::pages::Pages;
use crate::rebase::Rebase;
use crate::record::{PendingMutation, Record};
use crate::snapshot::Snapshot;
use crate::sqlite::Database;
use crate::timeline::Timeline;

/// In place of the number of a mutation that was decided so long ago that the ledger does not have it any more.
const FORGOTTEN: MutationSeq = MutationSeq(0);

/// What tabs are to be told, in order.
pub(crate) type Told = Vec<(TabId, TabEvent)>;

/// An open document.
pub(crate) struct Document {
    config: ReplicaConfig,
    mutators: Mutators,
    /// The newest confirmed pages.
    confirmed: Image,
    /// What is visible: the confirmed pages of some Lsn, and what is pending there on top.
    database: Database,
    /// Whether there is anything to see yet.
    ready: bool,
    /// What brings the view to newer confirmed pages, if that takes long.
    rebase: Option<Rebase>,
    /// How much of a rebase is done at a time.
    slice: u64,
    /// A document without a server confirms its mutations when there are so many.
    confirm_after: usize,
    identity: Identity,
    entropy: Entropy,
    timeline: Timeline,
    ledger: Ledger,
    /// Of each tab the newest request that the ledger has forgotten meanwhile.
    forgotten: BTreeMap<TabId, RequestNo>,
    live: LiveQueries<(TabId, u32)>,
    exports: Exports,
    import: Option<Import>,
    imported: Option<import::Imported>,
    /// What the overlay touches.
    overlay: Touched,
    /// What changed in the view since the live queries last ran.
    changed: Touched,
    /// What commits touched that are in no view and no rebase; none if there are no such commits.
    unseen: Option<Touched>,
    /// The pending mutations that are not in the overlay, because they failed; ascending.
    failed: Vec<(MutationSeq, Error)>,
    /// Decisions whose record is not flushed yet.
    decisions: VecDeque<(Ticket, Mark)>,
    /// The last decision whose record is flushed: the primary may forget rejections up to it.
    acknowledged: Mark,
    /// The end of what is ours of what the server knows as ours, if that is not everything.
    cut: Option<Mark>,
    /// Confirmed by the document itself, or asked for again, but not told yet, because not flushed.
    owed: VecDeque<(Ticket, TabId, RequestNo, MutationSeq)>,
}

impl Document {
    /// The document as it was recovered; ready once its pending mutations are replayed, a `slice` of work at a time.
    pub(crate) fn open(
        config: ReplicaConfig,
        mutators: Mutators,
        recovered: Recovered,
        slice: u64,
    ) -> Result<Self, Error> {
        let confirmed = recovered.ledger.through(recovered.identity.client);
        let mut document = Self {
            entropy: Entropy::new(&config.entropy, "offprint document"),
            config,
            mutators,
            database: Database::open(Pages::new(recovered.image.clone()))?,
            confirmed: recovered.image,
            ready: false,
            rebase: None,
            slice,
            confirm_after: usize::MAX,
            identity: recovered.identity,
            timeline: Timeline::new(confirmed, recovered.pending),
            ledger: recovered.ledger,
            forgotten: BTreeMap::new(),
            live: LiveQueries::new(),
            exports: Exports::default(),
            import: None,
            imported: None,
            overlay: Touched::none(),
            changed: Touched::none(),
            unseen: Some(Touched::All),
            failed: Vec::new(),
            decisions: VecDeque::new(),
            acknowledged: confirmed,
            cut: None,
            owed: VecDeque::new(),
        };
        document.settle()?;
        document.advance()?;
        Ok(document)
    }

    /// The document as it was recovered, of which the mutations were made with another definition and counted as
    /// confirmed, since no server was named: they are run with that one and become a commit before this one counts.
    pub(crate) fn open_made_with(
        made_with: Definition,
        config: ReplicaConfig,
        mutators: Mutators,
        recovered: Recovered,
        slice: u64,
        journal: &mut Journal,
    ) -> Result<Self, Error> {
        let before = Mutators::compile(&made_with)?;
        let now = config.definition.clone();
        let config = ReplicaConfig { definition: made_with, ..config };
        let mut document = Self::open(config, before, recovered, u64::MAX)?;
        document.confirm_locally(journal)?;
        (document.config.definition, document.mutators, document.slice) = (now, mutators, slice);
        document.unseen = Some(Touched::All);
        document.settle_wholly()?;
        Ok(document)
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// The number of mutations that nobody has decided yet.
    pub(crate) fn pending(&self) -> usize {
        if self.is_own_primary() {
            let is_decided = |(.., seq): &&(_, _, _, MutationSeq)| !self.timeline.is_pending(*seq);
            self.owed.iter().filter(is_decided).count() + self.timeline.in_flight().len()
        } else {
            self.timeline.len()
        }
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.confirmed.position()
    }

    /// The confirmed pages.
    pub(crate) fn image(&self) -> &Image {
        &self.confirmed
    }

    /// What is visible.
    pub(crate) fn snapshot(&mut self) -> Snapshot {
        self.database.pages().snapshot()
    }

    /// Whether requests can be answered.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready && self.import.is_none()
    }

    pub(crate) fn set_confirm_after(&mut self, mutations: usize) {
        self.confirm_after = mutations;
    }

    pub(crate) fn set_slice(&mut self, slice: u64) {
        self.slice = slice;
    }

    /// How far the replay has come that is under way.
    pub(crate) fn progress(&self) -> Option<Progress> {
        self.rebase.as_ref().map(|rebase| rebase.progress(&self.timeline))
    }

    /// Runs a read-only statement.
    pub(crate) fn query(&mut self, select: &Select) -> Result<Vec<u8>, Error> {
        Ok(self.database.query(select)?.rows)
    }

    /// Up to where decisions are flushed.
    pub(crate) fn acknowledged(&self) -> Mark {
        self.acknowledged
    }

    /// Does what a tab asks and tells it the answer.
    pub(crate) fn request(
        &mut self,
        now: u64,
        (tab, no): (TabId, RequestNo),
        request: Request,
        journal: &mut Journal,
        told: &mut Told,
    ) {
        self.database.set_now(now);
        let result = match request {
            Request::Mutate { name, args } => return self.mutate(now, (tab, no), name, args, journal, told),
            Request::Query(select) => self.query(&select).map(|rows| Reply::Rows(Bytes(rows))),
            Request::Subscribe { subscription, select } => {
                match self.live.subscribe((tab, subscription), select, &mut self.database) {
                    Ok(rows) => {
                        told.push((tab, TabEvent::Reply { no, reply: Reply::Done }));
                        told.push((tab, TabEvent::Rows { subscription, rows: Bytes(rows) }));
                        return;
                    }
                    Err(error) => Err(error),
                }
            }
            Request::Unsubscribe { subscription } => {
                self.live.unsubscribe(&(tab, subscription));
                Ok(Reply::Done)
            }
            Request::Retry { seq } => return self.retry(now, (tab, no), seq, journal, told),
            Request::Dismiss { seq } => self.dismiss(seq, journal).map(|()| Reply::Done),
            Request::Import { offset, bytes, last } => {
                return self.import((tab, no), (offset, &bytes.0, last), journal, told);
            }
            Request::Export { confirmed } => {
                let (image, database) = (&self.confirmed, &mut self.database);
                Ok(self.exports.begin(tab, no, || match confirmed {
                    true => Snapshot::of(image.clone()),
                    false => database.pages().snapshot(),
                }))
            }
            Request::ExportPart { export, part } => self.exports.part(tab, export, part),
            Request::EndExport { export } => {
                self.exports.end(tab, export);
                Ok(Reply::Done)
            }
            Request::Reconnect | Request::TakeServers => Ok(Reply::Done),
        };
        told.push(match result {
            Ok(reply) => (tab, TabEvent::Reply { no, reply }),
            Err(error) => (tab, TabEvent::Failed { no, problem: error.into() }),
        });
    }

    fn mutate(
        &mut self,
        now: u64,
        (tab, no): (TabId, RequestNo),
        name: String,
        args: BTreeMap<String, Value>,
        journal: &mut Journal,
        told: &mut Told,
    ) {
        if let Some(seq) = self.made((tab, no)) {
            return self.tell_again((tab, no), seq, journal, told);
        }
        let args = args.into_iter().map(|(name, value)| Argument { name, value }).collect();
        let result = self.record((tab, no), (now, name, args), None, journal);
        told.push(match result {
            Ok(seq) => (tab, TabEvent::Reply { no, reply: Reply::Applied { seq } }),
            Err(error) => (tab, TabEvent::Failed { no, problem: error.into() }),
        });
    }

    /// Which mutation a request made, if it is repeated; [`FORGOTTEN`] if nobody knows any more.
    fn made(&self, (tab, no): (TabId, RequestNo)) -> Option<MutationSeq> {
        let pending = self.timeline.request(tab, no);
        let decided = || self.ledger.answered(tab, no).map(|answered| answered.seq);
        let is_forgotten =
            || self.forgotten.get(&tab).is_some_and(|newest| no <= *newest) || self.ledger.is_older(tab, no);
        pending.or_else(decided).or_else(|| is_forgotten().then_some(FORGOTTEN))
    }

    /// Notes what a request made that is decided now, and what the ledger forgets for it.
    fn answer_decided(&mut self, tab: TabId, request: RequestNo, mutation: Mutation) {
        if let Some(oldest) = self.ledger.answer(tab, request, mutation.seq) {
            self.forgotten.insert(oldest.tab, oldest.request);
        }
        self.ledger.keep(self.identity.client, mutation);
    }

    /// Runs a new mutation and appends it to the journal; on an error neither has happened.
    fn record(
        &mut self,
        (tab, request): (TabId, RequestNo),
        (at, name, args): (u64, String, Vec<Argument>),
        retries: Option<MutationSeq>,
        journal: &mut Journal,
    ) -> Result<MutationSeq, Error> {
        self.settle()?;
        let seq = self.timeline.next_seq();
        let mutation = Mutation { seq, at, name, args };
        let Self { database, mutators, .. } = self;
        let pending = PendingMutation { epoch: self.identity.epoch, tab, request, retries, mutation };
        // Appended inside the transaction: the change becomes visible only once the journal has taken it.
        let (touched, ticket) = database.transaction(|database| {
            let touched = database.run(mutators, &pending.mutation.name, &pending.mutation.args)?;
            let ticket = journal.append(&Record::Mutation(pending.clone()))?;
            Ok((touched, ticket))
        })?;
        let work = database.work();
        self.overlay = std::mem::replace(&mut self.overlay, Touched::none()).merge(touched.clone());
        self.changed = std::mem::replace(&mut self.changed, Touched::none()).merge(touched);
        self.timeline.push(pending, ticket, work);
        if let Some(rebase) = &mut self.rebase {
            rebase.added(work);
        }
        Ok(seq)
    }

    /// Whether the request is one that was recorded before: its mutation is pending or decided, or it was an import.
    pub(crate) fn knows(&self, (tab, no): (TabId, RequestNo), request: &Request) -> bool {
        match request {
            Request::Mutate { .. } | Request::Retry { .. } => self.made((tab, no)).is_some(),
            _ => self.ledger.answered(tab, no).is_some(),
        }
    }

    /// Answers a repeated mutation from the ledger.
    fn tell_again(
        &mut self,
        (tab, no): (TabId, RequestNo),
        seq: MutationSeq,
        journal: &Journal,
        told: &mut Told,
    ) {
        told.push((tab, TabEvent::Reply { no, reply: Reply::Applied { seq } }));
        // What is not flushed is told when it is.
        if self.owed.iter().any(|(_, who, which, _)| (*who, *which) == (tab, no)) {
            return;
        }
        if journal.recorded() < Journal::OPENED {
            self.owed.push_front((Journal::OPENED, tab, no, seq));
        } else if self.timeline.is_durable(seq) {
            self.tell_durable((tab, no), seq, told);
        }
    }

    /// Tells that a mutation is durable, and what was decided of it if that is known.
    fn tell_durable(&self, (tab, no): (TabId, RequestNo), seq: MutationSeq, told: &mut Told) {
        told.push((tab, TabEvent::Durable { requests: vec![no] }));
        if !self.timeline.is_pending(seq) || self.is_own_primary() {
            told.push((tab, self.decision((tab, no), seq)));
        }
    }

    /// A tab is gone: its subscriptions, its exports and its import end.
    pub(crate) fn tab_gone(&mut self, tab: TabId) {
        self.live.drop_where(|(other, _)| *other == tab);
        self.exports.tab_gone(tab);
        self.import = self.import.take().filter(|import| import.tab() != tab);
    }

    /// Tells what became durable.
    pub(crate) fn flushed(&mut self, journal: &Journal, told: &mut Told) {
        let ticket = journal.recorded();
        self.tell_owed(journal, told);
        self.tell_imported(journal, told);
        let mut durable: BTreeMap<TabId, Vec<RequestNo>> = BTreeMap::new();
        for (ticket, pending) in self.timeline.flushed(ticket) {
            // Who asked for one that was recovered is gone, or asks again.
            if ticket == Journal::OPENED {
                continue;
            }
            durable.entry(pending.tab).or_default().push(pending.request);
        }
        let own = self.is_own_primary();
        for (tab, requests) in durable {
            told.push((tab, TabEvent::Durable { requests: requests.clone() }));
            if own {
                told.push((tab, TabEvent::Confirmed { requests }));
            }
        }
        while let Some((_, mark)) =
            self.decisions.pop_front_if(|(decision, _)| *decision <= journal.durable())
        {
            self.acknowledged = mark;
        }
    }

    /// Starts the other log if this one has grown long.
    pub(crate) fn checkpoint_if_due(&mut self, journal: &mut Journal) -> Result<(), Error> {
        if self.is_own_primary() {
            return self.confirm_if_due(journal);
        }
        if journal.wants_checkpoint() {
            let pending: Vec<_> = self.timeline.iter().cloned().collect();
            journal.checkpoint(&self.confirmed, &self.ledger, &pending);
        }
        Ok(())
    }

    /// Gives everything to files that hold nothing any more.
    pub(crate) fn write_again(&mut self, journal: &mut Journal) {
        let pending: Vec<_> = self.timeline.iter().cloned().collect();
        let ticket = journal.write_again(&self.confirmed, &self.ledger, &pending);
        self.timeline.unflushed(ticket);
        for (decision, _) in &mut self.decisions {
            *decision = ticket;
        }
        if let Some(imported) = &mut self.imported {
            imported.ticket = ticket;
        }
        for (owed, ..) in &mut self.owed {
            *owed = ticket;
        }
    }
}
