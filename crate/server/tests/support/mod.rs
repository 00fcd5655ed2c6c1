//! A definition, a server in this process or its own, and a client made of nothing but the protocol.

// Each test file uses a part of this.
#![allow(dead_code)]

pub(crate) mod program;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use offprint_protocol::message::{CatchUp, ClientMessage, Hello, ServerMessage, Welcome};
use offprint_protocol::*;
use offprint_server::{Auth, Config, Limits, Server, StopToken};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Longer than anything takes; a test that waits for it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn definition() -> Definition {
    let mutator = |sql: &str| MutatorSource { sql: sql.into() };
    Definition {
        name: "notes".into(),
        migrations: vec![
            "CREATE TABLE note (n INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE); CREATE TABLE blob (bytes)"
                .into(),
            "CREATE TABLE seen (client TEXT, n INTEGER)".into(),
        ],
        mutators: BTreeMap::from([
            ("add".into(), mutator("INSERT INTO note (text) VALUES (:text)")),
            // Not idempotent and not constrained: what runs twice shows.
            ("see".into(), mutator("INSERT INTO seen VALUES (:client, :n)")),
            ("keep".into(), mutator("INSERT INTO blob VALUES (:bytes)")),
            (
                "count".into(),
                mutator(
                    "INSERT INTO seen (n) WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < :to)
                     SELECT n FROM c",
                ),
            ),
            ("fill".into(), mutator("DELETE FROM blob; INSERT INTO blob VALUES (:bytes)")),
        ]),
    }
}

/// A server in this process, on a free port.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: StopToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(data: &Path, limits: Limits) -> Self {
        Self::start_with(data, limits, None).await
    }

    pub(crate) async fn start_with(data: &Path, limits: Limits, auth: Option<Auth>) -> Self {
        let listen = "127.0.0.1:0".into();
        let origins = vec!["https://app.example.com".into()];
        let data = data.to_owned();
        let metrics = None;
        let config = Config { definition: definition(), data, listen, origins, auth, metrics, limits };
        let server = Server::bind(config).await.unwrap();
        let (address, stop) = (server.address(), server.stop_token());
        Self { address, stop, task: tokio::spawn(server.run()) }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.expect("the server does not stop").unwrap();
    }
}

pub(crate) async fn running() -> (Running, TempDir) {
    let data = tempfile::tempdir().unwrap();
    (Running::start(data.path(), Limits::default()).await, data)
}

/// A websocket, seen as messages.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// How a session ended: the code of a `Refused`, or the websocket's status.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Refused(String),
    Closed(u16),
    Lost,
}

impl Socket {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self(connect_async(format!("ws://{address}/sync")).await.unwrap().0)
    }

    pub(crate) async fn send(&mut self, message: &ClientMessage) {
        self.send_raw(Message::Binary(message.to_bytes().into())).await;
    }

    pub(crate) async fn send_raw(&mut self, message: Message) {
        self.0.send(message).await.unwrap();
    }

    /// Sends what may fail because the server has gone.
    pub(crate) async fn try_send(&mut self, message: &ClientMessage) -> bool {
        self.0.send(Message::Binary(message.to_bytes().into())).await.is_ok()
    }

    /// Sends what may fail because the server has closed the socket.
    pub(crate) async fn try_send_raw(&mut self, message: Message) -> bool {
        self.0.send(message).await.is_ok()
    }

    /// The next message, or how the session ended.
    pub(crate) async fn next(&mut self) -> Result<ServerMessage, Ended> {
        // Around the whole loop: pings keep coming from a server that has nothing to say.
        timeout(PATIENCE, self.next_at_last()).await.expect("the server says nothing")
    }

    async fn next_at_last(&mut self) -> Result<ServerMessage, Ended> {
        loop {
            return match self.0.next().await {
                Some(Ok(Message::Binary(bytes))) => match ServerMessage::from_bytes(&bytes).unwrap() {
                    ServerMessage::Refused { code, .. } => Err(Ended::Refused(code)),
                    message => Ok(message),
                },
                Some(Ok(Message::Close(frame))) => {
                    Err(Ended::Closed(frame.map_or(1005, |frame| u16::from(frame.code))))
                }
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => Err(Ended::Lost),
            };
        }
    }

    /// Reads to the end, and tells how it ended.
    pub(crate) async fn ended(&mut self) -> Ended {
        loop {
            if let Err(ended) = self.next().await {
                return ended;
            }
        }
    }

    pub(crate) async fn close(&mut self) {
        self.0.close(None).await.unwrap();
        assert_eq!(self.ended().await, Ended::Closed(1005));
    }

    /// Whether the server closed the socket for good after it refused the session.
    pub(crate) async fn is_closed_with(&mut self, code: &str) {
        assert_eq!(self.ended().await, Ended::Refused(code.to_owned()));
        assert_eq!(self.ended().await, Ended::Closed(1000));
        assert_eq!(self.ended().await, Ended::Lost);
    }
}

/// A client's copy of a document: what the server told, verified.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub(crate) hello: Hello,
    pub(crate) pages: BTreeMap<PageNo, Page>,
    pub(crate) page_count: u32,
    pub(crate) through: MutationSeq,
    decided: Mark,
    pub(crate) rejections: Vec<Rejection>,
    pub(crate) catch_up: Option<CatchUp>,
    parts: Vec<Rollup>,
    journal: Option<JournalId>,
    caught_up: bool,
}

impl Copy {
    pub(crate) fn new(document: &str, client: u8) -> Self {
        let definition = definition();
        let hello = Hello {
            min_version: 1,
            max_version: 1,
            document: DocumentId::new(document).unwrap(),
            client: ClientId([client; 16]),
            secret: ClientSecret([client ^ 0xff; 16]),
            hash: definition.hash(),
            definition: definition.name,
            token: String::new(),
            position: None,
            local: false,
            fetches: false,
            confirmed: Mark::default(),
        };
        Self {
            hello,
            pages: BTreeMap::new(),
            page_count: 0,
            through: MutationSeq(0),
            decided: Mark::default(),
            rejections: vec![],
            catch_up: None,
            parts: vec![],
            journal: None,
            caught_up: false,
        }
    }

    /// Connects and is caught up.
    pub(crate) async fn connect(&mut self, address: SocketAddr) -> Socket {
        self.try_connect(address).await.expect("refused")
    }

    pub(crate) async fn try_connect(&mut self, address: SocketAddr) -> Result<Socket, Ended> {
        let mut socket = Socket::open(address).await;
        self.hello.confirmed = self.decided;
        socket.send(&ClientMessage::Hello(self.hello.clone())).await;
        self.caught_up = false;
        while !self.caught_up {
            let message = socket.next().await?;
            self.take(message);
        }
        Ok(socket)
    }

    /// Waits until these many of its mutations are decided.
    pub(crate) async fn until(&mut self, socket: &mut Socket, through: u64) {
        while self.through < MutationSeq(through) {
            let message = socket.next().await.expect("the session ended");
            self.take(message);
        }
    }

    /// Waits until it is where the other copy is, which must then be the same, byte for byte.
    pub(crate) async fn until_equal(&mut self, socket: &mut Socket, other: &Copy) {
        while self.lsn() < other.lsn() {
            let message = socket.next().await.expect("the session ended");
            self.take(message);
        }
        assert_eq!(self.hello.position, other.hello.position);
        assert_eq!(self.pages, other.pages);
    }

    pub(crate) fn lsn(&self) -> Lsn {
        self.hello.position.map_or(Lsn(0), |position| position.lsn)
    }

    /// Applies what the server said; every claim in it is checked.
    pub(crate) fn take(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Welcome(Welcome { version, journal, catch_up, .. }) => {
                assert_eq!(version, 1);
                if catch_up == CatchUp::Reset {
                    self.pages.clear();
                    self.hello.position = None;
                } else {
                    assert_eq!(self.hello.position.unwrap().journal, journal);
                }
                self.parts.clear();
                self.catch_up = Some(catch_up);
                self.journal = Some(journal);
                self.caught_up = false;
            }
            ServerMessage::Commits(CommitBatch { outcomes, commits }) => {
                for commit in commits {
                    let position = self.hello.position.expect("commits on top of nothing");
                    assert_eq!(commit.lsn, position.lsn.next());
                    for patch in &commit.pages {
                        let page = patch.apply(self.pages.get(&patch.no)).unwrap();
                        self.pages.insert(patch.no, page);
                    }
                    self.resize(commit.page_count, commit.checksum);
                    self.hello.position = Some(position.after(&commit));
                }
                self.decide(outcomes);
                self.caught_up = true;
            }
            ServerMessage::Rollup(part) => {
                let last = part.last;
                self.parts.push(part);
                if last {
                    self.roll_up();
                }
            }
            ServerMessage::Pong(_) => {}
            ServerMessage::Refused { code, message } => panic!("refused: {code}: {message}"),
        }
    }

    fn roll_up(&mut self) {
        for part in std::mem::take(&mut self.parts) {
            assert_eq!(part.from, self.lsn());
            for patch in &part.pages {
                self.pages.insert(patch.no, patch.apply(None).unwrap());
            }
            if part.last {
                self.resize(part.page_count, part.checksum);
                let journal = self.journal.unwrap();
                self.hello.position = Some(Position { journal, lsn: part.to, hash: part.hash });
                self.decide(part.outcomes);
                self.caught_up = true;
            }
        }
    }

    fn resize(&mut self, page_count: u32, checksum: Checksum) {
        self.page_count = page_count;
        self.pages.retain(|no, _| no.0 <= page_count);
        assert_eq!(self.pages.len(), page_count as usize, "a page is missing");
        let mut sum = Checksum::default();
        for (no, page) in &self.pages {
            sum.toggle(*no, page.crc());
        }
        assert_eq!(sum, checksum);
    }

    fn decide(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            assert_eq!(outcome.client, self.hello.client, "another client's outcome");
            for rejection in outcome.rejections {
                if !self.rejections.contains(&rejection) {
                    self.rejections.push(rejection);
                }
            }
            if outcome.through.seq > self.through {
                self.decided = outcome.through;
                self.through = outcome.through.seq;
            }
        }
    }

    /// What stock SQLite reads in the pages.
    pub(crate) fn query<T: rusqlite::types::FromSql>(&self, sql: &str) -> Vec<T> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let bytes: Vec<u8> = self.pages.values().flat_map(|page| page.to_vec()).collect();
        std::fs::write(&path, bytes).unwrap();
        let connection = rusqlite::Connection::open(&path).unwrap();
        let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }
}

pub(crate) fn mutation(seq: u64, name: &str, args: &[(&str, Value)]) -> Mutation {
    let argument = |(name, value): &(&str, Value)| Argument { name: (*name).into(), value: value.clone() };
    Mutation {
        seq: MutationSeq(seq),
        at: 1_700_000_000_000 + seq,
        name: name.into(),
        args: args.iter().map(argument).collect(),
    }
}

pub(crate) fn add(seq: u64, text: &str) -> Mutation {
    mutation(seq, "add", &[("text", Value::Text(text.into()))])
}

pub(crate) fn push(mutations: impl IntoIterator<Item = Mutation>) -> ClientMessage {
    ClientMessage::Push(mutations.into_iter().collect())
}

/// The status and the body of a GET; `headers` are whole lines.
pub(crate) async fn get(address: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let (status, body) = request(address, "GET", path, headers, b"").await;
    (status, String::from_utf8(body).unwrap())
}

/// The status and the body of the answer; `headers` are whole lines.
pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> (u16, Vec<u8>) {
    let length = body.len();
    let host = if headers.contains("Host: ") { "" } else { "Host: localhost\r\n" };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{host}{headers}\r\n"
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("no answer").unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("no head") + 4;
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = answer[end..].to_vec();
    if head.to_lowercase().contains("transfer-encoding: chunked") {
        body = unchunk(&body);
    }
    (status, body)
}

pub(crate) fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("the body is cut off");
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 2 + length + 2..];
    }
}
