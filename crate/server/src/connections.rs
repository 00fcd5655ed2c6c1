//! TCP connections: taken in, bounded in number and in time until they say what they want.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::allowance::{Allowance, Bounded};

/// The longest head of a request, in bytes.
const HEAD: usize = 32 << 10;
/// How long a stopping server waits for requests that are being answered.
const FAREWELL: Duration = Duration::from_secs(5);
/// What is said to those for whom there is no place; nobody waits for them to read it.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n\
    Content-Length: 61\r\n\r\n{\"code\":\"limit\",\"message\":\"too many connections are waiting\"}";

/// A connection that has no session yet takes one of the few places for those; a request carries it, and a session
/// gives it back once it is let in.
#[derive(Debug, Clone)]
pub(crate) struct Stranger {
    _place: Arc<OwnedSemaphorePermit>,
    allowance: Arc<Allowance>,
}

impl Stranger {
    /// From here on it may say so many bytes until it is let in.
    pub(crate) fn limit(&self, bytes: u64) {
        self.allowance.limit(bytes);
    }

    /// It is let in: its place is for the next one.
    pub(crate) fn let_in(self) {
        self.allowance.lift();
    }
}

/// When connections end.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    /// From here on no connection has more than one answer.
    pub(crate) stop: CancellationToken,
    /// From here on none is taken in.
    pub(crate) close: CancellationToken,
}

/// Serves HTTP on the listener until it closes; gives the connections that are ending then.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    places: Arc<Semaphore>,
    patience: Duration,
    ends: Ends,
) -> TaskTracker {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ends.close.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, say: others may give some back.
                tracing::error!(%error, "cannot take a connection in");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        match places.clone().try_acquire_owned() {
            Ok(place) => {
                let stranger = Stranger { _place: Arc::new(place), allowance: Arc::new(Allowance::new()) };
                connections.spawn(converse(stream, router.clone(), stranger, patience, ends.clone()));
            }
            Err(_) => turn_away(&stream),
        }
    }
    drop(listener);
    connections.close();
    connections
}

async fn converse(stream: TcpStream, router: Router, stranger: Stranger, patience: Duration, ends: Ends) {
    // One that comes after the stop has its one answer until all ends.
    let (keep_alive, end) = if ends.stop.is_cancelled() { (false, ends.close) } else { (true, ends.stop) };
    // Frames are small and each waits for an answer.
    let _ = stream.set_nodelay(true);
    let stream = TokioIo::new(Bounded { stream, allowance: stranger.allowance.clone() });
    let inner = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(stranger.clone());
        let answer = inner.call(request.map(Body::new));
        async move { answer.await as Result<Response, Infallible> }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(patience).max_buf_size(HEAD).keep_alive(keep_alive);
    let mut connection = pin!(builder.serve_connection(stream, service).with_upgrades());
    tokio::select! {
        // How a connection ends is its client's business.
        _ = connection.as_mut() => return,
        () = end.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = timeout(FAREWELL, connection).await;
}

fn turn_away(stream: &TcpStream) {
    tracing::warn!(code = "limit", "too many connections wait: one is turned away");
    let _ = stream.try_write(FULL);
}
