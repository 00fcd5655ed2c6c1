//! The open documents: found, opened on demand, one room per document.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use offprint_core::disk::{DiskAnswer, DiskBatch};
use offprint_core::host::{PrimaryConfig, PrimaryEffect, PrimaryInput};
use offprint_core::{Answer, Ask, AskNo, Primary, PrimaryCounts};
use offprint_protocol::message::Hello;
use offprint_protocol::{Code, Definition, DocumentId, Error, SessionNo};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Limits;
use crate::file_disk::FileDisk;
use crate::metrics::Metrics;
use crate::outbox::{Attached, Outbox};
use crate::room::{self, Inbox};

/// What a room runs: the core's [`Primary`], or in tests something that fails in ways a primary should not.
pub(crate) trait Machine: Send {
    fn handle(&mut self, now: u64, inputs: Vec<PrimaryInput>, effects: &mut Vec<PrimaryEffect>);

    /// Asks; the answer comes after some later `handle`.
    fn ask(&mut self, _no: AskNo, _ask: Ask) {}

    fn answers(&mut self) -> Vec<(AskNo, Result<Answer, Error>)> {
        Vec::new()
    }

    /// Carries a batch out that it asked for.
    fn carry_out(&mut self, batch: DiskBatch, disk: &mut FileDisk) -> DiskAnswer {
        disk.run(batch)
    }

    /// What it has done so far.
    fn counts(&self) -> PrimaryCounts {
        PrimaryCounts::default()
    }

    /// Whether mutations wait to be run or written.
    fn has_mutations(&self) -> bool {
        false
    }

    /// When it has something to do next without an input, in milliseconds since 1970.
    fn due(&self) -> Option<u64> {
        None
    }

    /// Lets go of a document that nobody has needed for `idle` milliseconds; whether it is at rest.
    fn rest(&mut self, _now: u64, _idle: u64) -> bool {
        false
    }
}

impl Machine for Primary {
    fn handle(&mut self, now: u64, inputs: Vec<PrimaryInput>, effects: &mut Vec<PrimaryEffect>) {
        Primary::handle(self, now, inputs, effects);
    }

    fn ask(&mut self, no: AskNo, ask: Ask) {
        Primary::ask(self, no, ask);
    }

    fn answers(&mut self) -> Vec<(AskNo, Result<Answer, Error>)> {
        Primary::answers(self)
    }

    fn counts(&self) -> PrimaryCounts {
        Primary::counts(self)
    }

    fn has_mutations(&self) -> bool {
        Primary::has_mutations(self)
    }

    fn due(&self) -> Option<u64> {
        Primary::due(self)
    }

    fn rest(&mut self, now: u64, idle: u64) -> bool {
        Primary::rest(self, now, idle)
    }
}

/// Makes a room's machine.
pub(crate) type MakeMachine = Box<dyn Fn(PrimaryConfig) -> Result<Box<dyn Machine>, Error> + Send + Sync>;

/// What a room is told.
pub(crate) enum ToRoom {
    Opened { session: SessionNo, hello: Box<Hello>, outbox: Attached },
    Frame { session: SessionNo, frame: Vec<u8>, _space: OwnedSemaphorePermit },
    Drained { session: SessionNo },
    Left { session: SessionNo },
    Asked { no: AskNo, ask: Ask, asker: Asker },
}

/// Who asked a room. Its place is taken until it is answered, whether or not it still waits for that.
pub(crate) struct Asker {
    answer: oneshot::Sender<Result<Answer, Error>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Asker {
    pub(crate) fn tell(self, answer: Result<Answer, Error>) {
        // Who has gone does not hear it.
        let _ = self.answer.send(answer);
    }
}

/// The open documents; clones are the same.
#[derive(Clone)]
pub(crate) struct Rooms {
    shared: Arc<Shared>,
}

struct Shared {
    open: Mutex<HashMap<DocumentId, Door>>,
    data: PathBuf,
    definition: Definition,
    limits: Limits,
    make: MakeMachine,
    stop: CancellationToken,
    tasks: TaskTracker,
    numbers: AtomicU64,
    metrics: Metrics,
}

/// The way into an open room.
#[derive(Clone)]
struct Door {
    /// Tells this room from a later one of the same document.
    room: u64,
    to_room: mpsc::UnboundedSender<ToRoom>,
    space: Arc<Semaphore>,
}

/// A session's place in its room; dropping it leaves.
pub(crate) struct Place {
    session: SessionNo,
    door: Door,
}

impl Rooms {
    pub(crate) fn new(
        data: PathBuf,
        definition: Definition,
        limits: Limits,
        make: MakeMachine,
        stop: CancellationToken,
    ) -> Self {
        let shared = Shared {
            open: Mutex::default(),
            data,
            definition,
            limits,
            make,
            stop,
            tasks: TaskTracker::new(),
            numbers: AtomicU64::new(1),
            metrics: Metrics::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<DocumentId, Door>> {
        // The map is whole between any two statements.
        self.shared.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the session to its document's room, which is opened if it is not; fails when the server stops or
    /// too many are open.
    pub(crate) fn join(&self, hello: Hello, outbox: &Outbox) -> Result<Place, Error> {
        let session = SessionNo(self.number());
        let document = hello.document.clone();
        let opened = || ToRoom::Opened { session, hello: Box::new(hello), outbox: Attached(outbox.clone()) };
        Ok(Place { session, door: self.deliver(document, opened)? })
    }

    /// Asks the document's room, which is opened if it is not.
    pub(crate) async fn ask(
        &self,
        document: DocumentId,
        ask: Ask,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<Answer, Error> {
        let (answer, answered) = oneshot::channel();
        let no = AskNo(self.number());
        let asker = Asker { answer, _place: place };
        self.deliver(document, || ToRoom::Asked { no, ask, asker })?;
        answered.await.unwrap_or_else(|_| Err(Error::new(Code::Closed, "the document was closed: ask again")))
    }

    fn deliver(&self, document: DocumentId, message: impl FnOnce() -> ToRoom) -> Result<Door, Error> {
        let mut open = self.open();
        // Checked under the lock: a room made now is seen by whoever waits for all rooms to end.
        if self.shared.stop.is_cancelled() {
            return Err(Error::new(Code::Closed, "the server stops"));
        }
        let most = self.shared.limits.rooms;
        if open.len() >= most && !open.contains_key(&document) {
            return Err(Error::new(Code::Limit, format!("the server has {most} documents open already")));
        }
        let mut message = message();
        if let Some(door) = open.get(&document) {
            match door.to_room.send(message) {
                Ok(()) => return Ok(door.clone()),
                // The room died without a word: the next one takes its place.
                Err(mpsc::error::SendError(unsent)) => message = unsent,
            }
        }
        let (to_room, messages) = mpsc::unbounded_channel();
        let space = Arc::new(Semaphore::new(self.shared.limits.inbox));
        let door = Door { room: self.number(), to_room, space: space.clone() };
        if door.to_room.send(message).is_err() {
            return Err(Error::new(Code::Internal, "a new room takes no messages"));
        }
        let room = door.room;
        open.insert(document.clone(), door.clone());
        let rooms = self.clone();
        self.shared.tasks.spawn(async move {
            let inbox = Inbox::new(messages, space);
            // A task of its own, so that a panic ends this room and nothing else.
            let running = tokio::spawn(room::run(rooms.clone(), document.clone(), room, inbox));
            if let Err(error) = running.await {
                tracing::error!(%document, panicked = error.is_panic(), "the room died");
            }
            rooms.retire(&document, room);
        });
        Ok(door)
    }

    fn number(&self) -> u64 {
        self.shared.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes the room off the list: the next hello opens another.
    pub(crate) fn retire(&self, document: &DocumentId, room: u64) {
        let mut open = self.open();
        if open.get(document).is_some_and(|door| door.room == room) {
            open.remove(document);
        }
    }

    /// Takes the room off the list unless somebody is on the way in.
    pub(crate) fn retire_if_empty(&self, document: &DocumentId, room: u64, inbox: &Inbox) -> bool {
        let mut open = self.open();
        // Under the lock nobody can join between the look and the removal.
        if !inbox.is_empty() {
            return false;
        }
        if open.get(document).is_some_and(|door| door.room == room) {
            open.remove(document);
        }
        true
    }

    /// Waits until every room has ended; the stop must have been asked for.
    pub(crate) async fn ended(&self) {
        // Whoever was joining when the stop was asked for is done when the lock is free.
        drop(self.open());
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Fails with `bad_document_id` if there is no such document: reading makes none.
    pub(crate) async fn check_exists(&self, document: &DocumentId) -> Result<(), Error> {
        let directory = self.shared.data.join(FileDisk::directory_name(document));
        match tokio::fs::try_exists(directory).await {
            Ok(true) => Ok(()),
            _ => Err(Error::new(Code::BadDocumentId, format!("there is no document {document}"))),
        }
    }

    pub(crate) fn data(&self) -> &PathBuf {
        &self.shared.data
    }

    pub(crate) fn definition(&self) -> &Definition {
        &self.shared.definition
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.shared.stop
    }

    pub(crate) fn make(&self, config: PrimaryConfig) -> Result<Box<dyn Machine>, Error> {
        (self.shared.make)(config)
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    pub(crate) fn count(&self) -> usize {
        self.open().len()
    }
}

impl Place {
    /// Hands a frame to the room, once the room has space for it; false if the room is gone.
    pub(crate) async fn frame(&self, frame: Vec<u8>) -> bool {
        // Even an empty frame takes some space, or any number of them could wait.
        let bytes = u32::try_from(frame.len().max(256)).unwrap_or(u32::MAX);
        let Ok(space) = self.door.space.clone().acquire_many_owned(bytes).await else { return false };
        self.door.to_room.send(ToRoom::Frame { session: self.session, frame, _space: space }).is_ok()
    }
}

impl Place {
    /// Little waits for the session any more, as the room wanted to know.
    pub(crate) fn drained(&self) {
        // A room that is gone has nothing to send.
        let _ = self.door.to_room.send(ToRoom::Drained { session: self.session });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A room that is gone has nobody to forget.
        let _ = self.door.to_room.send(ToRoom::Left { session: self.session });
    }
}
