//! Rooms around a machine that fails in ways the core's primary should not.

use std::pin::pin;
use std::sync::{Barrier, LazyLock};
use std::time::Duration;

use offprint_core::disk::{BatchNo, DiskAnswer, DiskBatch, DiskOp, DiskValue, FileName};
use offprint_core::host::{PrimaryEffect, PrimaryInput};
use offprint_protocol::message::Hello;
use offprint_protocol::{ClientId, ClientSecret, Code, Definition, DocumentId, Error, Mark, SessionNo};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::Limits;
use crate::file_disk::FileDisk;
use crate::outbox::{End, Next, Outbox};
use crate::rooms::{Machine, Place, Rooms};

/// Who is told to block waits for it.
static GATE: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(2));

/// A disk that is told to block waits for it.
static SLOW_DISK: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(2));

/// Greets with `hi`, echoes, and does what some frames say.
#[derive(Default)]
struct Puppet {
    sessions: Vec<SessionNo>,
    batches: u64,
    writing: Option<SessionNo>,
    /// How many writes follow.
    left: u64,
    /// As if they were of mutations that wait.
    are_mutations: bool,
    /// Whether the next flush blocks.
    is_slow: bool,
    /// When it writes by itself.
    due: Option<u64>,
}

impl Machine for Puppet {
    fn handle(&mut self, now: u64, inputs: Vec<PrimaryInput>, effects: &mut Vec<PrimaryEffect>) {
        let mut send = |session, frame: &[u8]| {
            effects.push(PrimaryEffect::Send { session, frame: frame.to_vec() });
        };
        let mut more = Vec::new();
        if self.due.take_if(|due| *due <= now).is_some() {
            self.batches += 1;
            more.push(write(self.batches));
        }
        for input in inputs {
            match input {
                PrimaryInput::SessionOpened { session, .. } => {
                    self.sessions.push(session);
                    send(session, b"hi");
                }
                PrimaryInput::SessionClosed { session } => self.sessions.retain(|other| *other != session),
                PrimaryInput::SessionDrained { session } => send(session, b"drained"),
                PrimaryInput::SessionFrame { session, frame } => match frame.as_slice() {
                    b"panic" => panic!("told to"),
                    b"block" => {
                        GATE.wait();
                    }
                    b"fail" => more.push(PrimaryEffect::Fail(Error::new(Code::Corrupt, "told to"))),
                    b"ask" => more.push(PrimaryEffect::AskDrained { session }),
                    b"close" => more.push(PrimaryEffect::Close { session }),
                    b"flood" => self.sessions.iter().for_each(|other| send(*other, &[0; 1 << 20])),
                    b"write" | b"write slowly" | b"write five" | b"write five mutations" | b"write on" => {
                        send(session, b"writing");
                        self.batches += 1;
                        self.writing = Some(session);
                        self.left = match frame.as_slice() {
                            b"write" | b"write slowly" => 0,
                            b"write on" => u64::MAX,
                            _ => 4,
                        };
                        self.is_slow = frame == b"write slowly";
                        self.are_mutations = frame == b"write five mutations";
                        more.push(write(self.batches));
                    }
                    b"write later" => {
                        self.writing = Some(session);
                        self.due = Some(now + 100);
                        send(session, b"later");
                    }
                    _ => send(session, &frame),
                },
                PrimaryInput::Disk(answer) => {
                    answer.result.unwrap();
                    send(self.writing.unwrap(), b"written");
                    if self.left > 0 {
                        self.left -= 1;
                        self.batches += 1;
                        more.push(write(self.batches));
                    }
                }
            }
        }
        effects.extend(more);
    }

    fn carry_out(&mut self, batch: DiskBatch, disk: &mut FileDisk) -> DiskAnswer {
        let answer = disk.run(batch);
        if std::mem::take(&mut self.is_slow) {
            SLOW_DISK.wait();
        }
        answer
    }

    fn has_mutations(&self) -> bool {
        self.are_mutations
    }

    fn due(&self) -> Option<u64> {
        self.due
    }
}

const WRITE: u64 = 8 << 20;

fn write(no: u64) -> PrimaryEffect {
    let bytes = vec![1; WRITE as usize];
    let ops = vec![
        // Where the fifth ends the file is as long as five.
        DiskOp::Write { file: FileName::Log0, offset: (no - 1) % 5 * WRITE, bytes },
        DiskOp::Flush { file: FileName::Log0 },
    ];
    PrimaryEffect::Disk(DiskBatch { no: BatchNo(no), ops })
}

struct House {
    data: TempDir,
    rooms: Rooms,
    stop: CancellationToken,
}

fn house(limits: Limits) -> House {
    let data = tempfile::tempdir().unwrap();
    let definition = Definition { name: "d".into(), migrations: vec![], mutators: Default::default() };
    let stop = CancellationToken::new();
    let make = Box::new(|_| Ok(Box::new(Puppet::default()) as Box<dyn Machine>));
    let rooms = Rooms::new(data.path().to_owned(), definition, limits, make, stop.clone());
    House { data, rooms, stop }
}

fn never_idle() -> Limits {
    Limits { idle: Duration::from_secs(3600), ..Limits::default() }
}

impl House {
    fn join(&self, document: &str) -> (Place, Outbox) {
        let hello = Hello {
            min_version: 1,
            max_version: 1,
            document: DocumentId::new(document).unwrap(),
            client: ClientId([0; 16]),
            secret: ClientSecret([0; 16]),
            definition: "d".into(),
            hash: offprint_protocol::DefinitionHash([0; 32]),
            token: String::new(),
            position: None,
            local: false,
            fetches: false,
            confirmed: Mark::default(),
        };
        let outbox = Outbox::new(self.rooms.limits().outbox);
        (self.rooms.join(hello, &outbox).unwrap(), outbox)
    }

    async fn joined(&self, document: &str) -> (Place, Outbox) {
        let (place, outbox) = self.join(document);
        assert_eq!(frame(&outbox).await, b"hi");
        (place, outbox)
    }
}

async fn next(outbox: &Outbox) -> Next {
    timeout(Duration::from_secs(60), outbox.next()).await.expect("nothing comes")
}

async fn frame(outbox: &Outbox) -> Vec<u8> {
    match next(outbox).await {
        Next::Frame(frame) => {
            outbox.wrote(frame.len());
            frame.into()
        }
        Next::End(end) => panic!("ended: {end:?}"),
    }
}

async fn refusal(outbox: &Outbox) -> Code {
    loop {
        match next(outbox).await {
            Next::Frame(_) => {}
            Next::End(End::Refused(error)) => return error.code,
            Next::End(end) => panic!("ended: {end:?}"),
        }
    }
}

async fn say(place: &Place, frame: &[u8]) {
    assert!(place.frame(frame.to_vec()).await, "the room is gone");
}

#[tokio::test]
async fn sessions_of_one_document_share_a_room_and_others_do_not() {
    let house = house(never_idle());
    // Neither waits for the other: both hellos are under way while the files are opened.
    let (first, second, other) = (house.join("a"), house.join("a"), house.join("b"));
    for (_, outbox) in [&first, &second, &other] {
        assert_eq!(frame(outbox).await, b"hi");
    }
    assert_eq!(house.rooms.count(), 2);
    say(&first.0, b"flood").await;
    assert_eq!(frame(&second.1).await.len(), 1 << 20);
    assert_eq!(other.1.queued(), 0);
}

#[tokio::test]
async fn a_panic_ends_the_room_and_the_next_hello_opens_the_document_again() {
    let house = house(never_idle());
    let (place, outbox) = house.joined("a").await;
    let (other, other_outbox) = house.joined("b").await;
    say(&place, b"panic").await;
    assert_eq!(refusal(&outbox).await, Code::Internal);
    house.joined("a").await;
    say(&other, b"still here").await;
    assert_eq!(frame(&other_outbox).await, b"still here");
}

#[tokio::test]
async fn a_document_that_computes_for_long_holds_up_no_other() {
    let house = house(never_idle());
    // There is one thread for everything that does not block: this one.
    let (busy, busy_outbox) = house.joined("a").await;
    let (other, other_outbox) = house.joined("b").await;
    say(&busy, b"block").await;
    say(&busy, b"done").await;
    for _ in 0..100 {
        say(&other, b"still here").await;
        assert_eq!(frame(&other_outbox).await, b"still here");
    }
    house.joined("c").await;
    assert_eq!(busy_outbox.queued(), 0);
    tokio::task::spawn_blocking(|| GATE.wait());
    assert_eq!(frame(&busy_outbox).await, b"done");
}

#[tokio::test]
async fn a_disk_that_flushes_for_long_holds_up_no_other_document() {
    let house = house(never_idle());
    let (slow, slow_outbox) = house.joined("a").await;
    let (other, other_outbox) = house.joined("b").await;
    say(&slow, b"write slowly").await;
    assert_eq!(frame(&slow_outbox).await, b"writing");
    for _ in 0..3 {
        say(&other, b"write").await;
        for word in [&b"writing"[..], b"written"] {
            assert_eq!(frame(&other_outbox).await, word);
        }
    }
    house.joined("c").await;
    assert_eq!(slow_outbox.queued(), 0, "nothing is told before it is flushed");
    tokio::task::spawn_blocking(|| SLOW_DISK.wait());
    assert_eq!(frame(&slow_outbox).await, b"written");
}

#[tokio::test]
async fn a_stop_waits_for_what_is_being_written_and_not_long_for_what_comes_after() {
    let house = house(never_idle());
    let (place, outbox) = house.joined("a").await;
    say(&place, b"write on").await;
    assert_eq!(frame(&outbox).await, b"writing");
    house.stop.cancel();
    timeout(Duration::from_secs(20), house.rooms.ended()).await.expect("it writes on and on");
    let mut told = Vec::new();
    let end = loop {
        match next(&outbox).await {
            Next::Frame(frame) => told.push(frame),
            Next::End(end) => break end,
        }
    };
    assert_eq!(end, End::Stopping);
    assert_eq!(told[0], &b"written"[..], "what was begun is told");
}

#[tokio::test]
async fn a_document_that_fails_tells_its_sessions_and_can_be_opened_again() {
    let house = house(never_idle());
    let (place, outbox) = house.joined("a").await;
    let (_place, bystander) = house.joined("a").await;
    say(&place, b"fail").await;
    assert_eq!(refusal(&outbox).await, Code::Corrupt);
    assert_eq!(refusal(&bystander).await, Code::Corrupt);
    house.joined("a").await;
}

#[tokio::test]
async fn a_session_that_the_machine_closes_is_closed_after_what_was_sent() {
    let house = house(never_idle());
    let (place, outbox) = house.joined("a").await;
    say(&place, b"last words").await;
    say(&place, b"close").await;
    assert_eq!(frame(&outbox).await, b"last words");
    assert_eq!(next(&outbox).await, Next::End(End::Closed));
}

#[tokio::test]
async fn an_idle_room_gives_its_files_back_and_is_opened_again() {
    let house = house(Limits { idle: Duration::from_millis(1), ..Limits::default() });
    let (place, _outbox) = house.joined("a").await;
    let path = house.data.path().to_owned();
    let id = DocumentId::new("a").unwrap();
    assert_eq!(FileDisk::open(&path, &id, Duration::ZERO).unwrap_err().code, Code::Blocked);
    drop(place);
    // Taking the lock proves that the room let go of it; it is then free for the next room.
    let take = move || FileDisk::open(&path, &id, Duration::from_secs(60)).map(drop);
    tokio::task::spawn_blocking(take).await.unwrap().unwrap();
    house.joined("a").await;
}

#[tokio::test]
async fn what_is_due_is_done_though_nothing_comes() {
    let house = house(never_idle());
    let (place, outbox) = house.joined("a").await;
    say(&place, b"write later").await;
    for word in [&b"later"[..], b"written"] {
        assert_eq!(frame(&outbox).await, word);
    }
}

#[tokio::test]
async fn a_room_that_nobody_needs_does_what_is_due_before_it_leaves() {
    let house = house(Limits { idle: Duration::ZERO, ..Limits::default() });
    let (place, outbox) = house.joined("a").await;
    say(&place, b"write later").await;
    assert_eq!(frame(&outbox).await, b"later");
    drop(place);
    let path = house.data.path().to_owned();
    let id = DocumentId::new("a").unwrap();
    let take = move || FileDisk::open(&path, &id, Duration::from_secs(60));
    let mut disk = tokio::task::spawn_blocking(take).await.unwrap().unwrap();
    let ops = vec![DiskOp::Size { file: FileName::Log0 }];
    let size = disk.run(DiskBatch { no: BatchNo(1), ops }).result.unwrap();
    assert_eq!(size, [DiskValue::Size(WRITE)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_that_come_while_a_room_is_leaving_are_not_lost() {
    let house = house(Limits { idle: Duration::ZERO, ..Limits::default() });
    for wait in 0..3000 {
        drop(house.joined("a").await);
        // Sweeps over the moments in which the room decides to leave.
        (0..wait % 300).for_each(|_| std::hint::spin_loop());
    }
}

#[tokio::test]
async fn one_session_too_many_is_refused() {
    let house = house(Limits { sessions_per_document: 1, ..never_idle() });
    let (first, _outbox) = house.joined("a").await;
    let (_second, outbox) = house.join("a");
    assert_eq!(refusal(&outbox).await, Code::Limit);
    drop(first);
    house.joined("a").await;
}

#[tokio::test]
async fn a_machine_that_asks_hears_when_little_waits_for_a_session() {
    let house = house(Limits { outbox: (1 << 20) + 6, ..never_idle() });
    let (place, outbox) = house.joined("a").await;
    say(&place, b"ask").await;
    assert_eq!(frame(&outbox).await, b"drained");
    // Each is said when the one before has been answered, so it is for a later turn.
    let mut waiting = 0;
    for (word, answer) in
        [(&b"flood"[..], 1 << 20), (b"flood", 1 << 20), (b"ask", 0), (b"one", 3), (b"two", 3)]
    {
        say(&place, word).await;
        waiting += answer;
        while outbox.queued() < waiting {
            tokio::task::yield_now().await;
        }
    }
    let mut drained = pin!(outbox.until_drained());
    assert!(timeout(Duration::ZERO, &mut drained).await.is_err());
    assert_eq!(frame(&outbox).await.len(), 1 << 20);
    drained.await;
    place.drained();
    assert_eq!(frame(&outbox).await.len(), 1 << 20);
    for word in [&b"one"[..], b"two", b"drained"] {
        assert_eq!(frame(&outbox).await, word);
    }
}

#[tokio::test]
async fn a_client_that_says_more_than_the_room_can_take_waits() {
    let house = house(Limits { inbox: 1000, ..never_idle() });
    let (place, outbox) = house.joined("a").await;
    for _ in 0..100 {
        say(&place, &[7; 900]).await;
    }
    for _ in 0..100 {
        assert_eq!(frame(&outbox).await, [7; 900]);
    }
}

#[tokio::test]
async fn stopping_finishes_what_is_being_written_and_turns_everybody_away() {
    let house = house(never_idle());
    let (place, outbox) = house.joined("a").await;
    let (_idle, idle_outbox) = house.joined("b").await;
    say(&place, b"write").await;
    assert_eq!(frame(&outbox).await, b"writing");
    house.stop.cancel();
    house.rooms.ended().await;
    assert_eq!(frame(&outbox).await, b"written");
    assert_eq!(next(&outbox).await, Next::End(End::Stopping));
    assert_eq!(next(&idle_outbox).await, Next::End(End::Stopping));
    assert_eq!(std::fs::metadata(house.data.path().join("a.offprint/log-0")).unwrap().len(), WRITE);
    assert_eq!(house.rooms.count(), 0);
}

#[tokio::test]
async fn a_stop_leaves_the_files_in_order_unless_mutations_wait() {
    for (what, finishes) in [("write five", true), ("write five mutations", false)] {
        let house = house(never_idle());
        let (place, outbox) = house.joined("a").await;
        say(&place, what.as_bytes()).await;
        assert_eq!(frame(&outbox).await, b"writing");
        house.stop.cancel();
        house.rooms.ended().await;
        let log = house.data.path().join("a.offprint/log-0");
        assert_eq!(std::fs::metadata(log).unwrap().len() == 5 * WRITE, finishes, "{what}");
    }
}

#[tokio::test]
async fn files_held_by_somebody_else_block_their_document_only() {
    let house = house(Limits { lock: Duration::from_millis(1), ..never_idle() });
    let held = FileDisk::open(house.data.path(), &DocumentId::new("a").unwrap(), Duration::ZERO).unwrap();
    let (_place, outbox) = house.join("a");
    assert_eq!(refusal(&outbox).await, Code::Blocked);
    house.joined("b").await;
    drop(held);
    house.joined("a").await;
}
