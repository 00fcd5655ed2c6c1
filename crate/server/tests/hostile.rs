//! Who means harm gets a code or a closed socket; the process stays up, and another document's session goes on.
// Helpers are outside of #[test] functions, where clippy would allow it by itself.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]
#![cfg(unix)]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use offprint_protocol::message::{CatchUp, ClientMessage, Hello, ServerMessage};
use offprint_protocol::page::PatchBytes;
use offprint_protocol::*;
use support::program::Program;
use support::{Copy, Ended, PATIENCE, Socket, add, get, mutation, push};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

/// The program, and a session that must not notice anything.
struct Scene {
    program: Program,
    _dir: TempDir,
    bystander: Copy,
    socket: Socket,
    made: u64,
    random: Random,
}

impl Scene {
    async fn new(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = Program::start_with(&dir, options);
        let mut bystander = Copy::new("bystander", 99);
        let socket = bystander.connect(program.address).await;
        Self { program, _dir: dir, bystander, socket, made: 0, random: Random::new() }
    }

    fn address(&self) -> SocketAddr {
        self.program.address
    }

    /// The same process lives, and the same session gets an answer.
    async fn goes_on(&mut self) {
        assert_eq!(self.program.child.try_wait().unwrap(), None, "the process ended");
        self.made += 1;
        self.socket.send(&push([add(self.made, &self.made.to_string())])).await;
        self.bystander.until(&mut self.socket, self.made).await;
        assert_eq!(self.bystander.rejections, []);
    }
}

struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = match std::env::var("SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into(),
        };
        println!("SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most);
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}

/// A connection that has become a websocket, without anything that keeps it from lying.
async fn upgraded(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = "GET /sync HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// Says it, says no more, and waits until the server has closed the connection.
async fn say_and_end(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it stays open");
    answer
}

/// How the session ends that says these frames; the server is asked to end it if none of them does.
async fn say_frames(address: SocketAddr, frames: &[Vec<u8>]) -> Ended {
    let mut socket = Socket::open(address).await;
    for frame in frames {
        if !socket.try_send_raw(Message::Binary(frame.clone().into())).await {
            break;
        }
    }
    let _ = socket.try_send_raw(Message::Close(None)).await;
    socket.ended().await
}

/// The code that the session is refused with that says these frames.
async fn refusal(address: SocketAddr, frames: &[Vec<u8>]) -> String {
    let mut socket = Socket::open(address).await;
    for frame in frames {
        if !socket.try_send_raw(Message::Binary(frame.clone().into())).await {
            break;
        }
    }
    match socket.ended().await {
        Ended::Refused(code) => code,
        ended => panic!("{ended:?}"),
    }
}

fn is_coded(ended: &Ended) -> bool {
    match ended {
        Ended::Refused(code) => Code::parse(code).is_some_and(|code| code != Code::Internal),
        Ended::Closed(status) => [1000, 1005].contains(status),
        Ended::Lost => true,
    }
}

fn hello(document: &str, client: u8) -> Vec<u8> {
    ClientMessage::Hello(Copy::new(document, client).hello).to_bytes()
}

#[tokio::test]
async fn bytes_that_mean_nothing() {
    let mut scene = Scene::new(&[]).await;
    for round in 0..300 {
        let bytes = scene.random.bytes(600);
        let stream = match round % 3 {
            0 => TcpStream::connect(scene.address()).await.unwrap(),
            _ => upgraded(scene.address()).await,
        };
        say_and_end(stream, &bytes).await;
        if round % 30 == 0 {
            scene.goes_on().await;
        }
    }
    scene.goes_on().await;
}

#[tokio::test]
async fn websocket_frames_that_lie() {
    let mut scene = Scene::new(&[]).await;
    let frames: [&[u8]; 12] = [
        // Not masked; a length of 2^63; of 4 GiB; a reserved bit; a reserved kind.
        &[0x82, 0x01, 0x01],
        &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xc2, 0x81, 0, 0, 0, 0, 1],
        &[0x83, 0x81, 0, 0, 0, 0, 1],
        // A continuation of nothing; a message that begins twice; a ping in parts; a ping of 126 bytes.
        &[0x80, 0x81, 0, 0, 0, 0, 1],
        &[0x02, 0x81, 0, 0, 0, 0, 1, 0x02, 0x81, 0, 0, 0, 0, 1],
        &[0x09, 0x80, 0, 0, 0, 0],
        &[0x89, 0xfe, 0, 126, 0, 0, 0, 0],
        // Text that is not UTF-8; a goodbye of one byte; with a status that does not exist.
        &[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xff],
        &[0x88, 0x81, 0, 0, 0, 0, 1],
        &[0x88, 0x82, 0, 0, 0, 0, 0xff, 0xff],
    ];
    for frame in frames {
        say_and_end(upgraded(scene.address()).await, frame).await;
        scene.goes_on().await;
    }
    // A message in very many very small parts.
    let mut parts = vec![0x02, 0x81, 0, 0, 0, 0, 1];
    for _ in 0..100_000 {
        parts.extend([0x00, 0x80, 0, 0, 0, 0]);
    }
    say_and_end(upgraded(scene.address()).await, &parts).await;
    scene.goes_on().await;
}

#[tokio::test]
async fn frames_cut_short_flipped_and_mixed() {
    let mut scene = Scene::new(&[]).await;
    let see = mutation(1, "see", &[("client", Value::Text("x".into())), ("n", Value::Real(0.5))]);
    let good = [
        hello("target", 1),
        push([add(1, "one"), see]).to_bytes(),
        ClientMessage::Ping(7).to_bytes(),
        offer("target", 1, offered_page(), 1).1,
    ];
    for frame in &good {
        for length in 0..frame.len() {
            let cut = frame[..length].to_vec();
            let frames = [good[0].clone(), cut];
            assert_eq!(refusal(scene.address(), &frames).await, "bad_frame", "{frames:x?}");
            // Before a hello nothing else is looked into.
            let code = if length == 0 || frame == &good[0] { "bad_frame" } else { "bad_state" };
            assert_eq!(refusal(scene.address(), &frames[1..]).await, code, "{frames:x?}");
            // The bystander has to read, or it is given up.
            if length % 100 == 0 {
                scene.goes_on().await;
            }
        }
    }
    scene.goes_on().await;
    for _ in 0..400 {
        let mut frames = vec![good[0].clone()];
        for _ in 0..scene.random.below(4) {
            frames.push(good[scene.random.below(good.len())].clone());
        }
        for _ in 0..=scene.random.below(3) {
            let frame = scene.random.below(frames.len());
            match (scene.random.below(4), scene.random.below(frames[frame].len().max(1))) {
                (0, at) => frames[frame].truncate(at),
                (1, at) => {
                    let noise = scene.random.bytes(20);
                    frames[frame].splice(at..at, noise);
                }
                (_, at) if at < frames[frame].len() => frames[frame][at] ^= 1 << scene.random.below(8),
                _ => {}
            }
        }
        let ended = say_frames(scene.address(), &frames).await;
        assert!(is_coded(&ended), "{frames:x?}: {ended:?}");
    }
    scene.goes_on().await;
}

#[tokio::test]
async fn claims_that_would_take_all_memory() {
    let mut scene = Scene::new(&[]).await;
    let endless = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    // A Push of 2^63 mutations, of one whose name, and of one whose arguments are that many.
    let push = [&[2][..], &endless].concat();
    let name = [&[2, 1, 1, 1][..], &endless].concat();
    let args = [&[2, 1, 1, 1, 1, b'x'][..], &endless].concat();
    for frame in [push, name, args] {
        assert_eq!(refusal(scene.address(), &[hello("target", 1), frame]).await, "bad_frame");
    }
    // The longest frame there may be, full of mutations that are as small as possible.
    let mut small = vec![2];
    small.extend([0x80, 0x80, 0x80, 0x01]);
    small.resize(8 << 20, 0);
    let ended = say_frames(scene.address(), &[hello("target", 1), small]).await;
    assert!(is_coded(&ended), "{ended:?}");
    scene.goes_on().await;
    #[cfg(target_os = "linux")]
    assert!(scene.program.memory() < 512 << 20, "{} bytes", scene.program.memory());
}

/// A page that is an empty SQLite database.
fn offered_page() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 0; VACUUM").unwrap();
    std::fs::read(path).unwrap()
}

/// A hello of a client that made its own history, and its offer of a page.
fn offer(document: &str, client: u8, payload: Vec<u8>, page_count: u32) -> (Vec<u8>, Vec<u8>) {
    let position = Position { journal: JournalId([5; 16]), lsn: Lsn(1), hash: CommitHash([6; 32]) };
    let hello = Hello { position: Some(position), local: true, ..Copy::new(document, client).hello };
    let rollup = Rollup {
        from: Lsn(0),
        to: Lsn(1),
        hash: CommitHash([6; 32]),
        page_count,
        checksum: Checksum(0),
        last: true,
        outcomes: vec![],
        pages: vec![PagePatch { no: PageNo(1), crc: 0, bytes: PatchBytes::Lz4(payload) }],
    };
    (ClientMessage::Hello(hello).to_bytes(), ClientMessage::Offer(rollup).to_bytes())
}

#[tokio::test]
async fn pages_that_unpack_to_more_than_they_are() {
    let mut scene = Scene::new(&[]).await;
    // 4096 zeros take 26 bytes; these claim a megabyte of them, and a gigabyte.
    let bomb = |length| {
        let mut bomb = vec![0x1f, 0, 1, 0];
        bomb.resize(length, 0xff);
        bomb.extend([0, 0x50, 0, 0, 0, 0, 0]);
        bomb
    };
    for (name, page, count, expected) in [
        ("bomb", bomb(4000), 1, "corrupt"),
        ("longbomb", bomb(4 << 20), 1, "bad_frame"),
        ("cut", vec![0x1f, 0, 1], 1, "corrupt"),
        ("empty", vec![], 1, "corrupt"),
        ("long", vec![0x1f, 0, 1, 0], u32::MAX, "bad_frame or limit"),
        ("holes", vec![0x1f, 0, 1, 0], 1 << 22, "limit"),
    ] {
        let (hello, offer) = offer(name, 1, page, count);
        let mut socket = Socket::open(scene.address()).await;
        socket.send_raw(Message::Binary(hello.into())).await;
        // What is offered before it is asked for is refused for that.
        let Ok(ServerMessage::Welcome(welcome)) = socket.next().await else { panic!("{name}: no welcome") };
        assert_eq!(welcome.catch_up, CatchUp::Offer);
        socket.try_send_raw(Message::Binary(offer.into())).await;
        let Ended::Refused(code) = socket.ended().await else { panic!("{name}: not refused") };
        assert!(expected.contains(&code), "{name}: {code}");
        scene.goes_on().await;
    }
    #[cfg(target_os = "linux")]
    assert!(scene.program.memory() < 512 << 20, "{} bytes", scene.program.memory());
}

#[tokio::test]
async fn frames_of_others_said_again() {
    let mut scene = Scene::new(&[]).await;
    let mut victim = Copy::new("target", 1);
    let mut socket = victim.connect(scene.address()).await;
    let said = push([add(1, "mine"), add(2, "mine too")]);
    socket.send(&said).await;
    victim.until(&mut socket, 2).await;
    // Without the secret: nothing, whatever is claimed.
    let mut stranger = Copy::new("target", 1);
    stranger.hello.secret = ClientSecret([0; 16]);
    for confirmed in [0, 2, 1 << 40] {
        stranger.hello.confirmed.seq = MutationSeq(confirmed);
        let frames =
            [ClientMessage::Hello(stranger.hello.clone()).to_bytes(), push([add(3, "theirs")]).to_bytes()];
        assert_eq!(refusal(scene.address(), &frames).await, "unauthorized");
    }
    socket.send(&push([add(3, "mine still")])).await;
    victim.until(&mut socket, 3).await;
    // With it, word by word: nothing happens twice.
    for _ in 0..5 {
        let frames =
            [ClientMessage::Hello(victim.hello.clone()).to_bytes(), said.to_bytes(), said.to_bytes()];
        say_frames(scene.address(), &frames).await;
    }
    // In another document the same frames are another client's.
    say_frames(scene.address(), &[hello("elsewhere", 1), said.to_bytes()]).await;
    let mut fresh = Copy::new("target", 7);
    let _socket = fresh.connect(scene.address()).await;
    assert_eq!(fresh.query::<String>("SELECT text FROM note ORDER BY n"), ["mine", "mine too", "mine still"]);
    scene.goes_on().await;
}

#[tokio::test]
async fn connections_that_trickle_and_connections_that_stay_silent() {
    let mut scene = Scene::new(&["--hello-timeout", "1", "--max-handshakes", "300"]).await;
    let mut slow = tokio::task::JoinSet::new();
    for n in 0..200 {
        let address = scene.address();
        slow.spawn(async move {
            let mut stream = match n % 2 {
                0 => TcpStream::connect(address).await.unwrap(),
                _ => upgraded(address).await,
            };
            // One byte at a time, for as long as the server takes it.
            for byte in b"GET /healthz HTTP/1.1\r\nX-Long: ".iter().chain(std::iter::repeat(&b'x')) {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
    while !slow.is_empty() {
        scene.goes_on().await;
        let _ = timeout(Duration::from_millis(50), slow.join_next()).await;
    }
    // The places are free again.
    Copy::new("another", 1).connect(scene.address()).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn strangers_that_say_much_before_a_hello_take_no_memory() {
    let mut scene = Scene::new(&[]).await;
    // The beginning of a masked binary frame that is as long as one may be.
    let mut frame = vec![0x82, 0xff];
    frame.extend((8_u64 << 20).to_be_bytes());
    frame.resize(2 << 20, 0);
    let before = scene.program.memory();
    let mut strangers = Vec::new();
    for _ in 0..100 {
        let mut stream = upgraded(scene.address()).await;
        let _ = timeout(Duration::from_secs(1), stream.write_all(&frame)).await;
        strangers.push(stream);
    }
    let more = scene.program.memory().saturating_sub(before);
    assert!(more < 32 << 20, "{more} bytes more");
    scene.goes_on().await;
    assert_eq!(refusal(scene.address(), &[vec![0; 1 << 20]]).await, "limit");
}

#[tokio::test]
async fn requests_that_are_none() {
    let mut scene = Scene::new(&[]).await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(20_000));
    for request in [
        "POST /documents/a/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: 18446744073709551615\r\n\r\n{",
        "POST /documents/a/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{",
        "POST /documents/a/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        "GET /sync HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 99\r\n\r\n",
        "GET /sync HTTP/2.0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\r\n\r\n\r\n",
        &long,
        &many,
    ] {
        let stream = TcpStream::connect(scene.address()).await.unwrap();
        let answer = say_and_end(stream, request.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    scene.goes_on().await;
}

#[tokio::test]
async fn documents_that_would_be_files_elsewhere() {
    let mut scene = Scene::new(&[]).await;
    for path in ["/documents/../../../etc/passwd/export.db", "/documents/%2e%2e%2f%2e%2e/export.db"] {
        let (status, answer) = get(scene.address(), path, "").await;
        assert!((400..500).contains(&status), "{status} {answer}");
    }
    scene.goes_on().await;
    let (_, metrics) = get(scene.address(), "/metrics", "").await;
    assert!(metrics.contains("offprint_refusals_total{code=\"bad_document_id\"}"), "{metrics}");
}

#[tokio::test]
async fn a_crowd_that_comes_and_goes() {
    let mut scene = Scene::new(&[]).await;
    let mut crowd = tokio::task::JoinSet::new();
    for n in 0..300u16 {
        let address = scene.address();
        crowd.spawn(async move {
            let mut socket = Socket::open(address).await;
            let _ = socket
                .try_send_raw(Message::Binary(hello(&format!("d{}", n % 20), (n % 90) as u8).into()))
                .await;
            // Gone without a goodbye, some before they are welcomed.
            if n % 2 == 0 {
                let _ = socket.next().await;
            }
        });
        if n % 50 == 0 {
            scene.goes_on().await;
        }
    }
    crowd.join_all().await;
    scene.goes_on().await;
    Copy::new("d1", 91).connect(scene.address()).await;
}

async fn idle_sessions(count: usize) {
    let mut scene = Scene::new(&["--max-handshakes", "20000"]).await;
    let (mut sockets, mut before) = (Vec::new(), 0);
    for n in 0..count {
        let mut copy = Copy::new(&format!("idle-{}", n % 100), 0);
        copy.hello.client = ClientId((n as u128).to_be_bytes());
        sockets.push(copy.connect(scene.address()).await);
        // Opening the documents is not what a session costs.
        if n == count / 5 {
            before = scene.program.memory();
        }
        if n % 500 == 0 {
            scene.goes_on().await;
        }
    }
    scene.goes_on().await;
    let each = scene.program.memory().saturating_sub(before) as usize / (count - count / 5 - 1);
    println!("{count} idle sessions take {each} bytes each");
    assert!(each < 20_000, "{each} bytes each");
    let (_, metrics) = get(scene.address(), "/metrics", "").await;
    assert!(metrics.contains(&format!("\noffprint_sessions {}\n", count + 1)), "{metrics}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn idle_sessions_cost_little() {
    idle_sessions(1000).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "the long form"]
async fn ten_thousand_idle_sessions_cost_little() {
    idle_sessions(10_000).await;
}
