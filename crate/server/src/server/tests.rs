//! A server around a machine that does not come to an end before it may.

use std::sync::{Mutex, mpsc};

use offprint_core::Ask;
use offprint_core::host::{PrimaryEffect, PrimaryInput};
use offprint_protocol::{Definition, DocumentId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::*;
use crate::config::Limits;
use crate::rooms::Machine;

/// Says that it has begun, and waits until the other side of the channel is gone.
struct Held {
    begun: Option<oneshot::Sender<()>>,
    end: mpsc::Receiver<()>,
}

impl Machine for Held {
    fn handle(&mut self, _now: u64, _inputs: Vec<PrimaryInput>, _effects: &mut Vec<PrimaryEffect>) {
        if let Some(begun) = self.begun.take() {
            begun.send(()).unwrap();
        }
        self.end.recv().unwrap_err();
    }
}

/// The status of the answer to a request with a body, which would open a websocket if that is what is there.
async fn status(address: SocketAddr, request: &str) -> String {
    let body = r#"{"client":"c","name":"one"}"#;
    let request = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
        Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_server_that_stops_is_not_ready_and_takes_nobody_in_until_its_documents_are_closed() {
    let data = tempfile::tempdir().unwrap();
    let (begun, has_begun) = oneshot::channel();
    let (end, until_end) = mpsc::channel();
    let held = Mutex::new(Some(Held { begun: Some(begun), end: until_end }));
    let make: MakeMachine = Box::new(move |_| Ok(Box::new(held.lock().unwrap().take().unwrap())));
    let config = Config {
        definition: Definition { name: "d".into(), migrations: vec![], mutators: Default::default() },
        data: data.path().to_owned(),
        listen: "127.0.0.1:0".into(),
        origins: vec![],
        auth: None,
        metrics: Some("127.0.0.1:0".into()),
        limits: Limits::default(),
    };
    let server = Server::bind_with(config, make).await.unwrap();
    let (address, watched) = (server.address(), server.metrics_address().unwrap());
    let (rooms, stop) = (server.app.rooms.clone(), server.stop_token());
    let running = tokio::spawn(server.run());
    assert_eq!(status(address, "GET /readyz").await, "200");
    let asking =
        tokio::spawn(async move { rooms.ask(DocumentId::new("a").unwrap(), Ask::Snapshot, None).await });
    has_begun.await.unwrap();
    stop.cancel();
    for (address, request, expected) in [
        (address, "GET /readyz", "503"),
        (address, "GET /healthz", "200"),
        (address, "GET /sync", "503"),
        (address, "POST /documents/b/mutations", "503"),
        (watched, "GET /readyz", "503"),
        (watched, "GET /metrics", "200"),
    ] {
        assert_eq!(status(address, request).await, expected, "{request}");
    }
    assert!(!running.is_finished());
    drop(end);
    running.await.unwrap();
    assert_eq!(asking.await.unwrap().unwrap_err().code, Code::Closed);
}
