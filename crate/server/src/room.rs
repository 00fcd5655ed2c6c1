//! A room: the task that owns one open document's primary and carries out its effects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use offprint_core::disk::{DiskAnswer, DiskBatch};
use offprint_core::host::{PrimaryConfig, PrimaryEffect, PrimaryInput};
use offprint_protocol::{Code, DocumentId, Error, SessionNo};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::file_disk::FileDisk;
use crate::outbox::{Attached, End};
use crate::rooms::{Machine, Rooms, ToRoom};

/// The most inputs that are handed to the machine at once.
const BURST: usize = 1024;

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
            if let ToRoom::Opened { outbox, .. } = message {
                outbox.0.end(end.clone());
            }
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.space.close();
    }
}

struct Room {
    rooms: Rooms,
    document: DocumentId,
    machine: Box<dyn Machine>,
    /// Absent while a batch is under way.
    disk: Option<FileDisk>,
    batch: Option<JoinHandle<(FileDisk, DiskAnswer)>>,
    sessions: BTreeMap<SessionNo, Attached>,
    turn: u64,
}

/// Runs the room until it is idle, the server stops, or the document fails.
pub(crate) async fn run(rooms: Rooms, document: DocumentId, number: u64, mut inbox: Inbox) {
    let mut room = match Room::open(rooms.clone(), document.clone()).await {
        Ok(room) => room,
        Err(error) => {
            tracing::warn!(%document, code = error.code.as_str(), message = error.message, "cannot open");
            rooms.retire(&document, number);
            inbox.turn_away(&End::Refused(error));
            return;
        }
    };
    tracing::info!(%document, "opened");
    let end = match room.serve(number, &mut inbox).await {
        Ok(end) => end,
        Err(error) => {
            tracing::error!(%document, code = error.code.as_str(), message = error.message, "failed");
            End::Refused(error)
        }
    };
    rooms.retire(&document, number);
    for outbox in room.sessions.values() {
        outbox.0.end(end.clone());
    }
    inbox.turn_away(&end);
    room.close().await;
    tracing::info!(%document, "closed");
}

impl Room {
    async fn open(rooms: Rooms, document: DocumentId) -> Result<Self, Error> {
        let mut entropy = [0; 32];
        getrandom::fill(&mut entropy)
            .map_err(|error| Error::new(Code::Internal, format!("no randomness: {error}")))?;
        let (data, patience, id) = (rooms.data().clone(), rooms.limits().lock, document.clone());
        let disk = spawn_blocking(move || FileDisk::open(&data, &id, patience))
            .await
            .map_err(|_| Error::new(Code::Internal, "opening the document's files panicked"))??;
        let definition = rooms.definition().clone();
        let machine = rooms.make(PrimaryConfig { document: document.clone(), definition, entropy })?;
        Ok(Self {
            rooms,
            document,
            machine,
            disk: Some(disk),
            batch: None,
            sessions: BTreeMap::new(),
            turn: 0,
        })
    }

    /// Serves until there is a reason to end, which the remaining sessions are told.
    async fn serve(&mut self, number: u64, inbox: &mut Inbox) -> Result<End, Error> {
        let stop = self.rooms.stop().clone();
        let idle = self.rooms.limits().idle;
        let mut idle_at = Instant::now() + idle;
        loop {
            let stopping = stop.is_cancelled();
            if stopping && self.batch.is_none() {
                return Ok(End::Stopping);
            }
            let nobody = self.sessions.is_empty() && self.batch.is_none();
            let mut inputs = Vec::new();
            tokio::select! {
                biased;
                answer = answer(&mut self.batch) => {
                    let (disk, answer) = answer?;
                    self.disk = Some(disk);
                    inputs.push(PrimaryInput::Disk(answer));
                }
                Some(message) = inbox.messages.recv(), if !stopping => self.take(message, &mut inputs),
                () = stop.cancelled(), if !stopping => continue,
                () = sleep_until(idle_at), if nobody => {
                    if self.rooms.retire_if_empty(&self.document, number, inbox) {
                        return Ok(End::Closed);
                    }
                    continue;
                }
            }
            while !stopping
                && inputs.len() < BURST
                && let Ok(message) = inbox.messages.try_recv()
            {
                self.take(message, &mut inputs);
            }
            self.handle(inputs)?;
            idle_at = Instant::now() + idle;
        }
    }

    fn take(&mut self, message: ToRoom, inputs: &mut Vec<PrimaryInput>) {
        match message {
            ToRoom::Opened { session, hello, outbox } => {
                let most = self.rooms.limits().sessions;
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
            ToRoom::Left { session } => {
                if let Some(outbox) = self.sessions.remove(&session) {
                    outbox.0.end(End::Gone);
                    inputs.push(PrimaryInput::SessionClosed { session });
                }
            }
        }
    }

    /// Lets the machine take the inputs and does what it wants done.
    fn handle(&mut self, mut inputs: Vec<PrimaryInput>) -> Result<(), Error> {
        while !inputs.is_empty() {
            self.turn += 1;
            let mut effects = Vec::new();
            self.machine.handle(now(), std::mem::take(&mut inputs), &mut effects);
            for effect in effects {
                match effect {
                    PrimaryEffect::Send { session, frame } => {
                        let Some(outbox) = self.sessions.get(&session) else { continue };
                        if !outbox.0.push(self.turn, frame) {
                            tracing::warn!(document = %self.document, %session, "a session reads too slowly");
                            self.sessions.remove(&session);
                            inputs.push(PrimaryInput::SessionClosed { session });
                        }
                    }
                    PrimaryEffect::Close { session } => {
                        if let Some(outbox) = self.sessions.remove(&session) {
                            outbox.0.end(End::Closed);
                        }
                    }
                    PrimaryEffect::Disk(batch) => self.start(batch),
                    PrimaryEffect::Fail(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Runs the batch where blocking is allowed; what comes meanwhile forms the next one.
    fn start(&mut self, batch: DiskBatch) {
        let mut disk = self.disk.take().expect("BUG: a batch was given while another was unanswered");
        self.batch = Some(spawn_blocking(move || {
            let answer = disk.run(batch);
            (disk, answer)
        }));
    }

    /// Gives the files back; a batch that is under way is waited for.
    async fn close(mut self) {
        if self.batch.is_some() {
            // Whether it succeeds matters to nobody: nothing of it was told.
            let _ = answer(&mut self.batch).await;
        }
    }
}

/// The answer of the batch under way; never, if there is none.
async fn answer(
    batch: &mut Option<JoinHandle<(FileDisk, DiskAnswer)>>,
) -> Result<(FileDisk, DiskAnswer), Error> {
    let Some(running) = batch else { return std::future::pending().await };
    let result = running.await;
    *batch = None;
    result.map_err(|_| Error::new(Code::Internal, "a batch of disk operations panicked"))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
