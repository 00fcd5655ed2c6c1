//! A room: the task that owns one open document's primary and carries out its effects.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use offprint_core::disk::{DiskBatch, DiskOp};
use offprint_core::host::{PrimaryConfig, PrimaryEffect, PrimaryInput};
use offprint_core::{AskNo, PrimaryCounts};
use offprint_protocol::{Code, DocumentId, Error, SessionNo};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use crate::app;
use crate::file_disk::FileDisk;
use crate::outbox::{Attached, End};
use crate::rooms::{Asker, Machine, Rooms, ToRoom};

/// The most inputs that are handed to the machine at once.
const BURST: usize = 1024;

/// How long a room that stops goes on with its files: left in order they are opened soonest, and are safe without.
const TIDYING: Duration = Duration::from_secs(1);

/// The longest wait for what is due: the clock may have been set back since.
const LATEST: Duration = Duration::from_secs(30);

/// What waits for a room; dropping it turns everybody away.
pub(crate) struct Inbox {
    messages: mpsc::UnboundedReceiver<ToRoom>,
    space: Arc<Semaphore>,
}

impl Inbox {
    pub(crate) fn new(messages: mpsc::UnboundedReceiver<ToRoom>, space: Arc<Semaphore>) -> Self {
        Self { messages, space }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Refuses whoever is on the way in.
    fn turn_away(&mut self, end: &End) {
        self.messages.close();
        while let Ok(message) = self.messages.try_recv() {
            match (message, end) {
                (ToRoom::Opened { outbox, .. }, _) => outbox.0.end(end.clone()),
                // Whoever asks and hears nothing knows that the document was closed.
                (ToRoom::Asked { asker, .. }, End::Refused(error)) => asker.tell(Err(error.clone())),
                _ => {}
            }
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.space.close();
    }
}

/// What a turn works on; while one is under way it is on a thread of its own, where it may block and compute.
struct Engine {
    rooms: Rooms,
    document: DocumentId,
    machine: Box<dyn Machine>,
    disk: FileDisk,
    sessions: BTreeMap<SessionNo, Attached>,
    /// Who waits for an answer.
    asked: BTreeMap<AskNo, Asker>,
    /// What the machine wants the disk to do next.
    batch: Option<DiskBatch>,
    counted: PrimaryCounts,
}

/// Runs the room until it is idle, the server stops, or the document fails.
pub(crate) async fn run(rooms: Rooms, document: DocumentId, number: u64, mut inbox: Inbox) {
    let mut engine = match Engine::open(rooms.clone(), document.clone()).await {
        Ok(engine) => Some(engine),
        Err(error) => {
            tracing::warn!(%document, code = error.code.as_str(), message = error.message, "cannot open");
            rooms.retire(&document, number);
            inbox.turn_away(&End::Refused(error));
            return;
        }
    };
    tracing::info!(%document, "opened");
    let end = match serve(&mut engine, number, &mut inbox).await {
        Ok(end) => end,
        Err(error) => {
            tracing::error!(%document, code = error.code.as_str(), message = error.message, "failed");
            End::Refused(error)
        }
    };
    rooms.retire(&document, number);
    for (_, outbox) in engine.iter_mut().flat_map(|engine| std::mem::take(&mut engine.sessions)) {
        outbox.0.end(end.clone());
    }
    inbox.turn_away(&end);
    match (&mut engine, &end) {
        (Some(engine), End::Refused(error)) => engine.fail_asked(error),
        (Some(_), End::Stopping) => tidy(&mut engine, &document).await,
        _ => {}
    }
    drop(engine);
    tracing::info!(%document, "closed");
}

/// Serves until there is a reason to end, which the remaining sessions are told.
async fn serve(engine: &mut Option<Engine>, number: u64, inbox: &mut Inbox) -> Result<End, Error> {
    let gone = || Error::new(Code::Internal, "the room's work is gone");
    let room = engine.as_ref().ok_or_else(gone)?;
    let (stop, idle) = (room.rooms.stop().clone(), room.rooms.limits().idle);
    let mut idle_at = Instant::now() + idle;
    let mut rest_at = idle_at;
    loop {
        let room = engine.as_mut().ok_or_else(gone)?;
        if stop.is_cancelled() {
            // What was under way is written and told. The next batch was told to nobody, and is not begun.
            return Ok(End::Stopping);
        }
        let mut inputs = Vec::new();
        if room.batch.is_none() {
            let due_at = room.due_at();
            tokio::select! {
                biased;
                Some(message) = inbox.messages.recv() => room.take(message, &mut inputs),
                () = stop.cancelled() => continue,
                () = sleep_until(due_at.unwrap_or(idle_at)), if due_at.is_some() => {}
                () = sleep_until(idle_at), if room.sessions.is_empty() && due_at.is_none() => {
                    if room.rooms.retire_if_empty(&room.document, number, inbox) {
                        return Ok(End::Closed);
                    }
                    continue;
                }
                () = sleep_until(rest_at), if !room.sessions.is_empty() => rest_at = Instant::now() + idle,
            }
        }
        while inputs.len() < BURST
            && let Ok(message) = inbox.messages.try_recv()
        {
            room.take(message, &mut inputs);
        }
        work(engine, inputs).await?;
        idle_at = Instant::now() + idle;
    }
}

/// Lets the files come to rest. Mutations that wait are not begun: nobody would be told of them.
async fn tidy(engine: &mut Option<Engine>, document: &DocumentId) {
    let end = Instant::now() + TIDYING;
    let is_untidy = |room: &Engine| room.batch.is_some() && !room.machine.has_mutations();
    while engine.as_ref().is_some_and(is_untidy) && Instant::now() < end {
        if let Err(error) = work(engine, Vec::new()).await {
            tracing::error!(%document, code = error.code.as_str(), message = error.message, "failed at its end");
            return;
        }
    }
}

/// Takes one turn where it may block: a heavy mutation or a slow disk holds up its own document only.
async fn work(engine: &mut Option<Engine>, inputs: Vec<PrimaryInput>) -> Result<(), Error> {
    let Some(mut working) = engine.take() else { return Ok(()) };
    let turn = spawn_blocking(move || {
        // A room that panicked is dropped as a whole; what its sessions are told does not depend on its state.
        let result = catch_unwind(AssertUnwindSafe(|| working.turn(inputs)));
        (working, result)
    });
    let (working, result) =
        turn.await.map_err(|_| Error::new(Code::Internal, "the room's work was given up"))?;
    *engine = Some(working);
    result.unwrap_or_else(|_| Err(Error::new(Code::Internal, "the room panicked")))
}

impl Engine {
    async fn open(rooms: Rooms, document: DocumentId) -> Result<Self, Error> {
        let mut entropy = [0; 32];
        getrandom::fill(&mut entropy)
            .map_err(|error| Error::new(Code::Internal, format!("no randomness: {error}")))?;
        let opening = spawn_blocking(move || {
            let disk = FileDisk::open(rooms.data(), &document, rooms.limits().lock)?;
            let definition = rooms.definition().clone();
            let history = rooms.limits().history.map(|_| disk.history()).transpose()?;
            let config = PrimaryConfig { document: document.clone(), definition, history, entropy };
            let machine = rooms.make(config)?;
            let sessions = BTreeMap::new();
            let counted = PrimaryCounts::default();
            let asked = BTreeMap::new();
            let engine = Self { rooms, document, machine, disk, sessions, asked, batch: None, counted };
            engine.age_out();
            Ok(engine)
        });
        opening.await.map_err(|_| Error::new(Code::Internal, "opening the document's files panicked"))?
    }

    fn take(&mut self, message: ToRoom, inputs: &mut Vec<PrimaryInput>) {
        match message {
            ToRoom::Opened { session, hello, outbox } => {
                let most = self.rooms.limits().sessions_per_document;
                if self.sessions.len() >= most {
                    let error = Error::new(Code::Limit, format!("the document has {most} sessions already"));
                    outbox.0.end(End::Refused(error));
                    return;
                }
                self.sessions.insert(session, outbox);
                inputs.push(PrimaryInput::SessionOpened { session, hello: *hello });
            }
            ToRoom::Frame { session, frame, .. } => {
                if self.sessions.contains_key(&session) {
                    inputs.push(PrimaryInput::SessionFrame { session, frame });
                }
            }
            ToRoom::Asked { no, ask, asker } => {
                self.machine.ask(no, ask);
                self.asked.insert(no, asker);
            }
            ToRoom::Drained { session } => inputs.push(PrimaryInput::SessionDrained { session }),
            ToRoom::Left { session } => {
                if let Some(outbox) = self.sessions.remove(&session) {
                    outbox.0.end(End::Gone);
                    inputs.push(PrimaryInput::SessionClosed { session });
                }
            }
        }
    }

    /// When the machine has something to do next, though nothing comes.
    fn due_at(&self) -> Option<Instant> {
        let due = Duration::from_millis(self.machine.due()?.saturating_sub(now()));
        Some(Instant::now() + due.min(LATEST))
    }

    /// Lets the machine take the inputs, and does what it wants done up to one batch of disk operations that is more than
    /// reading; what comes meanwhile is for the next turn. With nothing to do it may rest.
    fn turn(&mut self, inputs: Vec<PrimaryInput>) -> Result<(), Error> {
        let is_waiting = inputs.is_empty() && self.asked.is_empty();
        if !is_waiting || self.batch.is_none() && self.machine.due().is_some() {
            self.handle(inputs)?;
        } else if self.batch.is_none() {
            let idle = self.rooms.limits().idle.as_millis();
            self.machine.rest(now(), u64::try_from(idle).unwrap_or(u64::MAX));
            self.count();
        }
        while let Some(batch) = self.batch.take() {
            let flushes = batch.ops.iter().any(|op| matches!(op, DiskOp::Flush { .. }));
            let keeps = batch.ops.iter().any(|op| matches!(op, DiskOp::Keep { .. }));
            let start = Instant::now();
            let answer = self.machine.carry_out(batch, &mut self.disk);
            if keeps {
                self.age_out();
            }
            if flushes {
                self.rooms.metrics().flush.observe(start.elapsed());
            }
            self.handle(vec![PrimaryInput::Disk(answer)])?;
            // Everybody waits for the files to be read: there is nothing else to do between two reads.
            if !self.batch.as_ref().is_some_and(only_reads) {
                break;
            }
        }
        Ok(())
    }

    fn handle(&mut self, mut inputs: Vec<PrimaryInput>) -> Result<(), Error> {
        loop {
            let mut effects = Vec::new();
            self.machine.handle(now(), std::mem::take(&mut inputs), &mut effects);
            self.count();
            for (no, answer) in self.machine.answers() {
                if let Some(asker) = self.asked.remove(&no) {
                    asker.tell(answer);
                }
            }
            for effect in effects {
                match effect {
                    PrimaryEffect::Send { session, frame } => {
                        if let Some(outbox) = self.sessions.get(&session) {
                            outbox.0.push(frame);
                        }
                    }
                    PrimaryEffect::AskDrained { session } => {
                        if self.sessions.get(&session).is_some_and(|outbox| outbox.0.ask_drained()) {
                            inputs.push(PrimaryInput::SessionDrained { session });
                        }
                    }
                    PrimaryEffect::Close { session } => {
                        if let Some(outbox) = self.sessions.remove(&session) {
                            outbox.0.end(End::Closed);
                        }
                    }
                    PrimaryEffect::Disk(batch) => {
                        let before = self.batch.replace(batch);
                        assert!(before.is_none(), "BUG: a batch was given while another was unanswered");
                    }
                    PrimaryEffect::Fail(error) => return Err(error),
                }
            }
            if inputs.is_empty() {
                return Ok(());
            }
        }
    }

    /// What stays for now does no harm: it goes another time.
    fn age_out(&self) {
        let Some(reach) = self.rooms.limits().history else { return };
        let reach = u64::try_from(reach.as_millis()).unwrap_or(u64::MAX);
        match self.disk.age_out(now(), reach) {
            Ok(0) => {}
            Ok(logs) => tracing::info!(document = %self.document, logs, "aged out"),
            Err(error) => {
                tracing::warn!(document = %self.document, message = error.message, "cannot age out")
            }
        }
    }

    fn fail_asked(&mut self, error: &Error) {
        for (_, asker) in std::mem::take(&mut self.asked) {
            asker.tell(Err(error.clone()));
        }
    }

    fn count(&mut self) {
        let before = std::mem::replace(&mut self.counted, self.machine.counts());
        self.rooms.metrics().decided(before, self.counted);
    }
}

fn only_reads(batch: &DiskBatch) -> bool {
    batch.ops.iter().all(|op| matches!(op, DiskOp::Size { .. } | DiskOp::Read { .. }))
}

fn now() -> u64 {
    u64::try_from(app::now().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
