//! Snapshots over HTTP: the same bytes in every encoding and from every offset, for those who may have them.
// Helpers are outside of #[test] functions, where clippy would allow it by itself.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use offprint_protocol::message::{CatchUp, ClientMessage, ServerMessage, SnapshotOffer, Welcome};
use offprint_protocol::*;
use offprint_server::{Auth, Limits};
use serde_json::{Value as Json, json};
use support::{Copy, PATIENCE, Running, Socket, add, mutation, push, running};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SECRET: &[u8] = b"a secret that is long enough: 32";

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    /// A header's value, or nothing.
    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")));
        line.map_or("", |line| line.split_once(':').unwrap().1.trim())
    }

    fn code(&self) -> String {
        let json: Json = serde_json::from_slice(&self.body).unwrap();
        json["code"].as_str().unwrap().to_owned()
    }
}

async fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    let request =
        format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\n{headers}\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("no answer").unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("no head") + 4;
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = answer[end..].to_vec();
    if head.to_lowercase().contains("transfer-encoding: chunked") {
        body = support::unchunk(&body);
    }
    Answer { status, head, body }
}

async fn get(address: SocketAddr, path: &str, headers: &str) -> Answer {
    ask(address, "GET", path, headers).await
}

/// A document of more than a mebibyte, and who made it.
async fn large(address: SocketAddr, token: &str) -> (Copy, Socket) {
    let mut maker = Copy::new("a", 1);
    maker.hello.token = token.to_owned();
    let mut socket = maker.connect(address).await;
    for seq in 1..=4 {
        let text = |at: u64| format!("{:016x}", (seq * 1_000_000 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let bytes: String = (0..40_000).map(text).collect();
        socket.send(&push([mutation(seq, "keep", &[("bytes", Value::Text(bytes))])])).await;
    }
    maker.until(&mut socket, 4).await;
    (maker, socket)
}

/// A new client that can fetch, and what it is offered.
async fn offered(address: SocketAddr, client: u8) -> (Copy, Socket, JournalId, SnapshotOffer) {
    let mut copy = Copy::new("a", client);
    copy.hello.fetches = true;
    let mut socket = Socket::open(address).await;
    socket.send(&ClientMessage::Hello(copy.hello.clone())).await;
    match socket.next().await.unwrap() {
        ServerMessage::Welcome(Welcome { journal, catch_up: CatchUp::Snapshot(offer), .. }) => {
            (copy, socket, journal, offer)
        }
        other => panic!("{other:?}"),
    }
}

fn path(JournalId(journal): JournalId, lsn: Lsn) -> String {
    format!("/documents/a/snapshots/{:032x}/{lsn}", u128::from_be_bytes(journal))
}

fn path_of(copy: &Copy) -> String {
    let position = copy.hello.position.unwrap();
    path(position.journal, position.lsn)
}

fn bytes_of(copy: &Copy) -> Vec<u8> {
    copy.pages.values().flat_map(|page| page.to_vec()).collect()
}

#[tokio::test]
async fn every_encoding_gives_the_same_bytes_and_says_which_it_is() {
    let (server, _data) = running().await;
    let (maker, _socket) = large(server.address, "").await;
    let (path, expected) = (path_of(&maker), bytes_of(&maker));
    let plain = get(server.address, &path, "").await;
    assert_eq!((plain.status, plain.header("content-encoding")), (200, ""));
    assert_eq!(plain.header("content-length"), expected.len().to_string());
    assert_eq!(plain.header("cache-control"), "private, max-age=31536000, immutable");
    assert!(plain.body == expected);
    let mut etags = vec![plain.header("etag").to_owned()];
    for name in ["zstd", "br", "gzip"] {
        let answer = get(server.address, &path, &format!("Accept-Encoding: {name}\r\n")).await;
        assert_eq!((answer.status, answer.header("content-encoding")), (200, name));
        assert!(answer.head.contains("Accept-Encoding") || answer.head.contains("accept-encoding"));
        let mut bytes = Vec::new();
        match name {
            "zstd" => bytes = zstd::decode_all(&answer.body[..]).unwrap(),
            "br" => drop(brotli::Decompressor::new(&answer.body[..], 4096).read_to_end(&mut bytes).unwrap()),
            _ => drop(flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut bytes).unwrap()),
        }
        assert!(bytes == expected, "{name}");
        assert!(answer.body.len() < expected.len() * 3 / 4, "{name}: {} bytes", answer.body.len());
        etags.push(answer.header("etag").to_owned());
    }
    etags.sort();
    etags.dedup();
    assert_eq!(etags.len(), 4, "{etags:?}");
    let known = format!("If-None-Match: {}\r\n", plain.header("etag"));
    assert_eq!(get(server.address, &path, &known).await.status, 304);
}

#[tokio::test]
async fn a_download_that_was_cut_goes_on_at_any_byte() {
    let (server, _data) = running().await;
    let (maker, _socket) = large(server.address, "").await;
    let (path, expected) = (path_of(&maker), bytes_of(&maker));
    let length = expected.len();
    let etag = get(server.address, &path, "Range: bytes=0-0\r\n").await.header("etag").to_owned();
    for first in [0, 1, 4095, 4096, 64 * 4096, 300_001, length - 1] {
        let headers = format!("Range: bytes={first}-\r\nIf-Range: {etag}\r\nAccept-Encoding: zstd, gzip\r\n");
        let answer = get(server.address, &path, &headers).await;
        assert_eq!((answer.status, answer.header("content-encoding")), (206, ""), "{first}");
        assert_eq!(answer.header("content-range"), format!("bytes {first}-{}/{length}", length - 1));
        assert!(answer.body == expected[first..], "{first}");
    }
    let some = get(server.address, &path, "Range: bytes=5000-9999\r\n").await;
    assert!(some.status == 206 && some.body == expected[5000..10_000]);
    let other = get(server.address, &path, "Range: bytes=5000-\r\nIf-Range: \"another\"\r\n").await;
    assert!(other.status == 200 && other.body == expected);
    let outside = get(server.address, &path, &format!("Range: bytes={length}-\r\n")).await;
    assert_eq!((outside.status, outside.header("content-range")), (416, &*format!("bytes */{length}")));
}

#[tokio::test]
async fn a_client_that_fetched_gets_the_commits_since_and_is_told_nothing_before() {
    let (server, _data) = running().await;
    let (mut maker, mut maker_socket) = large(server.address, "").await;
    let (mut copy, mut socket, journal, offer) = offered(server.address, 2).await;
    maker_socket.send(&push([add(5, "meanwhile")])).await;
    maker.until(&mut maker_socket, 5).await;
    socket.send(&push([add(1, "pushed meanwhile")])).await;
    socket.send(&ClientMessage::Ping(7)).await;
    assert_eq!(socket.next().await, Ok(ServerMessage::Pong(7)));

    let body = get(server.address, &path(journal, offer.lsn), "").await.body;
    let mut checksum = Checksum::default();
    for (no, bytes) in (1..).map(PageNo).zip(body.chunks(PAGE_SIZE)) {
        let page = Page::from_slice(bytes).unwrap();
        checksum.toggle(no, page.crc());
        copy.pages.insert(no, page);
    }
    assert_eq!((body.len() as u64, checksum), (offer.size(), offer.checksum));
    copy.hello.position = Some(Position { journal, lsn: offer.lsn, hash: offer.hash });
    socket.send(&ClientMessage::Fetched(true)).await;
    copy.until(&mut socket, 1).await;
    maker.until_equal(&mut maker_socket, &copy).await;
    assert_eq!(copy.query::<i64>("SELECT count(*) FROM note"), [2]);
}

#[tokio::test]
async fn a_client_that_could_not_fetch_gets_everything_over_the_websocket() {
    let (server, _data) = running().await;
    let (maker, _maker_socket) = large(server.address, "").await;
    let (mut copy, mut socket, journal, _) = offered(server.address, 2).await;
    socket.send(&ClientMessage::Fetched(false)).await;
    copy.take(ServerMessage::Welcome(Welcome {
        version: 1,
        journal,
        marks: vec![],
        catch_up: CatchUp::Reset,
    }));
    copy.until_equal(&mut socket, &maker).await;
}

#[tokio::test]
async fn what_is_not_kept_is_gone_and_what_makes_no_sense_is_said_to() {
    let (server, _data) = running().await;
    let (maker, _socket) = large(server.address, "").await;
    let journal = maker.hello.position.unwrap().journal;
    for (path, status, code) in [
        (path(journal, Lsn(1)), 410, "gone"),
        (path(JournalId([7; 16]), maker.lsn()), 410, "gone"),
        ("/documents/a/snapshots/77/1".into(), 400, "bad_argument"),
        (format!("/documents/a/snapshots/{}/1", "+".repeat(32)), 400, "bad_argument"),
        (path(journal, Lsn(1)).replace("/1", "/one"), 400, "bad_argument"),
        (path(journal, Lsn(1)).replace("/a/", "/none/"), 404, "bad_document_id"),
    ] {
        let answer = get(server.address, &path, "").await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
    }
}

#[tokio::test]
async fn only_a_token_that_may_read_the_document_fetches_it() {
    let data = tempfile::tempdir().unwrap();
    let file = key_file();
    let source = format!("hs256={}", file.path().join("key").display()).parse().unwrap();
    let auth = Auth::load(&[source], None, None);
    let server = Running::start_with(data.path(), Limits::default(), Some(auth.unwrap())).await;
    let (maker, _socket) = large(server.address, &token("a", "write")).await;
    let path = path_of(&maker);
    let answer = get(server.address, &path, "").await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"));
    for (document, access, status) in [("b", "write", 403), ("a", "read", 200), ("a", "write", 200)] {
        let bearer = format!("Authorization: Bearer {}\r\n", token(document, access));
        assert_eq!(get(server.address, &path, &bearer).await.status, status, "{document} {access}");
    }
}

#[tokio::test]
async fn pages_of_origins_that_are_let_in_may_read_the_answer_and_others_may_not() {
    let (server, _data) = running().await;
    let (maker, _socket) = large(server.address, "").await;
    let path = path_of(&maker);
    let ours = "Origin: https://app.example.com\r\n";
    let asks =
        "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization,range\r\n";
    let before = ask(server.address, "OPTIONS", &path, &format!("{ours}{asks}")).await;
    assert_eq!((before.status, before.header("access-control-allow-methods")), (204, "GET"));
    assert_eq!(before.header("access-control-allow-headers"), "authorization, range, if-range");
    for (path, status) in [(path.clone(), 200), (path.replace(&format!("/{}", maker.lsn()), "/1"), 410)] {
        let answer = get(server.address, &path, ours).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), "https://app.example.com");
    }
    let theirs = format!("Origin: https://evil.example\r\n{asks}");
    for method in ["OPTIONS", "GET"] {
        let answer = ask(server.address, method, &path, &theirs).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, ""), "{method}");
    }
}

#[tokio::test]
async fn a_state_that_is_being_fetched_stays_while_the_document_goes_on() {
    let (server, _data) = running().await;
    let (mut maker, mut maker_socket) = large(server.address, "").await;
    let before = bytes_of(&maker);
    let (_copy, _socket, journal, offer) = offered(server.address, 2).await;
    let path = path(journal, offer.lsn);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    maker_socket.send(&push([mutation(5, "fill", &[("bytes", Value::Integer(1))])])).await;
    maker.until(&mut maker_socket, 5).await;
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.ends_with(&before));
    assert!(get(server.address, &path, "").await.body == before, "it can be resumed, too");
}

fn key_file() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::File::create(folder.path().join("key")).unwrap().write_all(SECRET).unwrap();
    folder
}

fn token(document: &str, access: &str) -> String {
    let exp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(600);
    let claims = json!({ "exp": exp.as_secs(), "offprint": [{ "doc": document, "access": access }] });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET)).unwrap()
}
