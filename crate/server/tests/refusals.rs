//! What a server refuses, with which code, and that nobody else notices.
// Helpers are outside of #[test] functions, where clippy would allow it by itself.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::Duration;

use futures_util::StreamExt;
use offprint_protocol::message::{ClientMessage, Hello, MAX_FRAME, ServerMessage};
use offprint_protocol::*;
use offprint_server::{Config, FileDisk, Limits, Server, StartError};
use support::{Copy, Ended, PATIENCE, Running, Socket, add, definition, push, running};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Message};

async fn first_message_is_refused(server: &Running, message: Message, code: &str) {
    let mut socket = Socket::open(server.address).await;
    socket.send_raw(message).await;
    socket.is_closed_with(code).await;
}

async fn hello_is_refused(server: &Running, hello: Hello, code: &str) {
    first_message_is_refused(server, Message::Binary(ClientMessage::Hello(hello).to_bytes().into()), code)
        .await;
}

#[tokio::test]
async fn garbage_is_a_bad_frame_at_any_time() {
    let (server, _data) = running().await;
    for garbage in
        [&b""[..], b"\0", b"\xff\xff\xff\xff", b"\x01", &[1, 1, 0, 1, 0, 0xff, 0xff, 0xff, 0xff, 0xff]]
    {
        first_message_is_refused(&server, Message::Binary(garbage.to_vec().into()), "bad_frame").await;
        let mut socket = Copy::new("a", 1).connect(server.address).await;
        socket.send_raw(Message::Binary(garbage.to_vec().into())).await;
        socket.is_closed_with("bad_frame").await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_text_frame_is_a_bad_frame_at_any_time() {
    let (server, _data) = running().await;
    first_message_is_refused(&server, Message::text("hello"), "bad_frame").await;
    let mut socket = Copy::new("a", 1).connect(server.address).await;
    socket.send_raw(Message::text("hello")).await;
    socket.is_closed_with("bad_frame").await;
}

#[tokio::test]
async fn bytes_that_are_no_websocket_frame_end_the_session() {
    let (server, _data) = running().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = "GET /sync HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(&[0xff; 64]).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 101"), "{text}");
    assert!(!text.to_lowercase().contains("permessage-deflate"), "compression is off");
    assert!(text.contains("bad_frame"), "{text}");
}

#[tokio::test]
async fn a_hello_that_does_not_fit_is_refused_with_its_code() {
    let (server, _data) = running().await;
    let hello = Copy::new("a", 1).hello;
    let other = |name: &str| Hello { definition: name.into(), ..hello.clone() };
    hello_is_refused(
        &server,
        Hello { min_version: 2, max_version: 3, ..hello.clone() },
        "unsupported_version",
    )
    .await;
    hello_is_refused(&server, other("another"), "definition_mismatch").await;
    hello_is_refused(
        &server,
        Hello { hash: DefinitionHash([0; 32]), ..hello.clone() },
        "definition_mismatch",
    )
    .await;
    let versions_only = Message::Binary(vec![1, 9, 0, 9, 0].into());
    first_message_is_refused(&server, versions_only, "unsupported_version").await;
    let mut illegal = ClientMessage::Hello(hello).to_bytes();
    let at = illegal.iter().position(|byte| *byte == b'a').unwrap();
    illegal[at] = b'/';
    first_message_is_refused(&server, Message::Binary(illegal.into()), "bad_document_id").await;
}

#[tokio::test]
async fn only_a_hello_may_come_first_and_only_once() {
    let (server, _data) = running().await;
    let binary = |message: ClientMessage| Message::Binary(message.to_bytes().into());
    first_message_is_refused(&server, binary(push([add(1, "early")])), "bad_state").await;
    first_message_is_refused(&server, binary(ClientMessage::Ping(1)), "bad_state").await;
    let mut copy = Copy::new("a", 1);
    let mut socket = copy.connect(server.address).await;
    socket.send(&ClientMessage::Hello(copy.hello.clone())).await;
    socket.is_closed_with("bad_state").await;
}

#[tokio::test]
async fn a_session_that_does_not_say_hello_is_ended() {
    let data = tempfile::tempdir().unwrap();
    let limits = Limits { hello: Duration::from_secs(1), ..Limits::default() };
    let server = Running::start(data.path(), limits).await;
    Socket::open(server.address).await.is_closed_with("bad_state").await;
}

#[tokio::test]
async fn a_frame_that_is_too_long_is_refused() {
    let (server, _data) = running().await;
    // Written and read at once, as browsers do: the refusal comes while the frame is still being sent.
    let (socket, _) = connect_async(format!("ws://{}/sync", server.address)).await.unwrap();
    let (mut sink, mut stream) = socket.split();
    let sending = tokio::spawn(async move {
        use futures_util::SinkExt;
        let _ = sink.send(Message::Binary(vec![0; MAX_FRAME + 1].into())).await;
        sink
    });
    let first = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap();
    let ServerMessage::Refused { code, .. } = ServerMessage::from_bytes(&first.into_data()).unwrap() else {
        panic!("not refused")
    };
    assert_eq!(code, "limit");
    drop(sending.await);
    Copy::new("a", 1).connect(server.address).await;
}

#[tokio::test]
async fn a_gap_in_the_numbers_ends_the_session_and_can_be_healed() {
    let (server, _data) = running().await;
    let mut copy = Copy::new("a", 1);
    let mut socket = copy.connect(server.address).await;
    socket.send(&push([add(1, "one"), add(3, "three")])).await;
    socket.is_closed_with("sequence_gap").await;
    let mut socket = copy.connect(server.address).await;
    socket.send(&push([add(1, "one"), add(2, "two"), add(3, "three")])).await;
    copy.until(&mut socket, 3).await;
    assert_eq!(copy.query::<String>("SELECT text FROM note ORDER BY n"), ["one", "two", "three"]);
}

#[tokio::test]
async fn a_stranger_with_a_known_client_id_is_refused_and_changes_nothing() {
    let (server, _data) = running().await;
    let mut copy = Copy::new("a", 1);
    let mut socket = copy.connect(server.address).await;
    socket.send(&push([add(1, "mine")])).await;
    copy.until(&mut socket, 1).await;
    let mut stranger = Copy::new("a", 1);
    stranger.hello.secret = ClientSecret([0; 16]);
    assert_eq!(stranger.try_connect(server.address).await.err(), Some(Ended::Refused("unauthorized".into())));
    socket.send(&push([add(2, "mine too")])).await;
    copy.until(&mut socket, 2).await;
}

#[tokio::test]
async fn a_second_server_on_the_same_directory_does_not_start_until_the_first_is_gone() {
    let (first, data) = running().await;
    let mut copy = Copy::new("a", 1);
    let _held = copy.connect(first.address).await;
    let config = || Config {
        definition: definition(),
        data: data.path().to_owned(),
        listen: "127.0.0.1:0".into(),
        origins: vec![],
        auth: None,
        metrics: None,
        limits: Limits { lock: Duration::from_millis(10), ..Limits::default() },
    };
    match Server::bind(config()).await {
        Err(StartError::DataInUse(error)) => assert_eq!(error.code, Code::Blocked),
        other => panic!("{:?}", other.err()),
    }
    first.stop().await;
    Server::bind(config()).await.unwrap();
}

#[tokio::test]
async fn a_document_that_cannot_be_opened_is_refused_and_others_are_not() {
    let (server, data) = running().await;
    let mut copy = Copy::new("a", 1);
    let mut socket = copy.connect(server.address).await;
    socket.send(&push([add(1, "one")])).await;
    copy.until(&mut socket, 1).await;
    server.stop().await;
    let directory = data.path().join(FileDisk::directory_name(&DocumentId::new("a").unwrap()));
    for name in ["head", "log-0", "log-1"] {
        let path = directory.join(name);
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::write(&path, vec![0xa5; length as usize]).unwrap();
    }
    let server = Running::start(data.path(), Limits::default()).await;
    for _ in 0..2 {
        let mut socket = Socket::open(server.address).await;
        socket.send(&ClientMessage::Hello(copy.hello.clone())).await;
        socket.is_closed_with("corrupt").await;
    }
    Copy::new("b", 1).connect(server.address).await;
}

#[tokio::test]
async fn pages_of_other_sites_are_kept_out() {
    let (server, _data) = running().await;
    let connect = |origin: &'static str| async move {
        let mut request = format!("ws://{}/sync", server.address).into_client_request().unwrap();
        request.headers_mut().insert("origin", HeaderValue::from_static(origin));
        connect_async(request).await
    };
    for origin in ["http://localhost:5173", "https://app.example.com"] {
        connect(origin).await.unwrap();
    }
    for origin in ["https://evil.example", "null"] {
        let Err(tungstenite::Error::Http(response)) = connect(origin).await else {
            panic!("{origin} is let in")
        };
        assert_eq!(response.status(), 403);
    }
}

async fn does_not_start(change: impl FnOnce(&mut Config)) -> StartError {
    let data = tempfile::tempdir().unwrap();
    let mut config = Config {
        definition: definition(),
        data: data.path().to_owned(),
        listen: "127.0.0.1:0".into(),
        origins: vec![],
        auth: None,
        metrics: None,
        limits: Limits::default(),
    };
    change(&mut config);
    match Server::bind(config).await {
        Ok(_) => panic!("it starts"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_right_does_not_start() {
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let error = does_not_start(|config| config.listen = listen.into()).await;
        assert!(matches!(error, StartError::NotLoopback(_)), "{error}");
    }
    let error = does_not_start(|config| config.listen = "nonsense".into()).await;
    assert!(matches!(error, StartError::Listen { .. }), "{error}");
    let error = does_not_start(|config| config.origins = vec!["*".into()]).await;
    assert!(matches!(error, StartError::BadOrigin(_)), "{error}");
    let error = does_not_start(|config| config.data = "/dev/null/data".into()).await;
    assert!(matches!(error, StartError::Data { .. }), "{error}");
    for message in [0, 1_000_000, (2 << 20) - 1] {
        let error = does_not_start(|config| config.limits.message = message).await;
        assert!(matches!(error, StartError::MessageTooShort(_)), "{error}");
        assert!(error.to_string().contains("--max-message"), "{error}");
    }
    let error = does_not_start(|config| config.definition.name = String::new()).await;
    assert!(matches!(error, StartError::BadDefinition(_)), "{error}");
}
