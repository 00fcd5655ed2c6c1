//! The listener: HTTP in front, sessions behind it, an end that loses nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use axum::extract::{State, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use offprint_core::Primary;
use offprint_core::budget::TimeLimit;
use offprint_protocol::message::MAX_FRAME;
use offprint_protocol::{Code, Error};
use tokio::net::{TcpListener, lookup_host};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::back_end;
use crate::check_definition::check_definition;
use crate::config::{Config, LEAST_MESSAGE};
use crate::connections::{self, Ends, Stranger};
use crate::data_lock::DataLock;
use crate::origin::Origins;
use crate::rooms::{MakeMachine, Rooms};
use crate::session;
use crate::snapshots;
use crate::start_error::StartError;

/// Asks a server to stop.
pub use tokio_util::sync::CancellationToken as StopToken;

/// How long a stopping server waits for clients to hear of it; their documents are safe by then.
const FAREWELL: Duration = Duration::from_secs(5);
/// How much of a websocket is read at once: what every idle session costs.
const READ_BUFFER: usize = 4 << 10;
/// How many connections the address for metrics takes.
const WATCHERS: usize = 64;
/// How many requests of back ends are carried out at once; the others wait.
const REQUESTS: usize = 64;
/// How many documents are downloaded at once.
const DOWNLOADS: usize = 64;

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    /// The listener for metrics, if they have one of their own.
    watched: Option<(TcpListener, SocketAddr)>,
    app: Arc<App>,
    stop: StopToken,
    lock: DataLock,
}

impl Server {
    /// Listens; documents are opened when somebody asks for them. Fails if the definition cannot be served, if a limit
    /// shuts clients out for ever, or if other machines could connect without a token.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        check_definition(&config.definition).map_err(StartError::BadDefinition)?;
        if config.limits.message < LEAST_MESSAGE {
            return Err(StartError::MessageTooShort(config.limits.message));
        }
        let limits = config.limits.of_primary();
        let time = time_limit(config.limits.mutation_time);
        let make: MakeMachine =
            Box::new(move |config| Ok(Box::new(Primary::new(config)?.limited(limits).timed(time.clone()))));
        Self::bind_with(config, make).await
    }

    pub(crate) async fn bind_with(config: Config, make: MakeMachine) -> Result<Self, StartError> {
        let Config { definition, data, listen, origins, auth, metrics, limits } = config;
        let origins = Origins::new(&origins)?;
        let addresses = resolve(&listen).await?;
        if auth.is_none()
            && let Some(address) = addresses.iter().find(|address| !address.ip().is_loopback())
        {
            return Err(StartError::NotLoopback(*address));
        }
        fs::create_dir_all(&data).map_err(|source| StartError::Data { path: data.clone(), source })?;
        let (path, patience) = (data.clone(), limits.lock);
        let lock = spawn_blocking(move || DataLock::alone(&path, patience)).await;
        let lock = lock.map_err(|_| Error::new(Code::Internal, "locking the data directory panicked"));
        let lock = lock.flatten().map_err(StartError::DataInUse)?;
        let (listener, address) = open(&listen, &addresses).await?;
        let watched = match metrics {
            Some(text) => Some(open(&text, &resolve(&text).await?).await?),
            None => None,
        };
        let stop = StopToken::new();
        let app = Arc::new(App {
            hash: definition.hash(),
            origins,
            auth,
            sessions: TaskTracker::new(),
            session_places: Arc::new(Semaphore::new(limits.sessions)),
            stranger_places: Arc::new(Semaphore::new(limits.handshakes)),
            request_places: Arc::new(Semaphore::new(REQUESTS)),
            download_places: Arc::new(Semaphore::new(DOWNLOADS)),
            query_time: time_limit(limits.query_time),
            rooms: Rooms::new(data, definition, limits, make, stop.clone()),
        });
        Ok(Self { listener, address, watched, app, stop, lock })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it tells its metrics, if that is an address of its own.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.watched.as_ref().map(|(_, address)| *address)
    }

    /// Ends [`Server::run`] when cancelled.
    pub fn stop_token(&self) -> StopToken {
        self.stop.clone()
    }

    /// Serves until it is stopped: what is being written is finished, clients are told, sockets are closed.
    pub async fn run(self) {
        let Self { listener, watched, app, stop, lock, .. } = self;
        let patience = app.rooms.limits().hello;
        let health = Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz));
        let watching = health.clone().route("/metrics", get(metrics)).with_state(app.clone());
        let mut router =
            health.route("/sync", get(sync)).merge(back_end::routes()).merge(snapshots::routes());
        if app.auth.is_none() && watched.is_none() {
            router = router.route("/metrics", get(metrics));
        }
        let router = router.with_state(app.clone());
        let places = app.stranger_places.clone();
        let ends = Ends { stop: stop.clone(), close: StopToken::new() };
        let serving = tokio::spawn(connections::serve(listener, router, places, patience, ends.clone()));
        let watched = watched.map(|(listener, _)| {
            let places = Arc::new(Semaphore::new(WATCHERS));
            tokio::spawn(connections::serve(listener, watching, places, patience, ends.clone()))
        });
        stop.cancelled().await;
        // Who asks meanwhile whether the server is ready hears that it is not.
        app.rooms.ended().await;
        ends.close.cancel();
        let mut connections = Vec::new();
        for listening in [Some(serving), watched].into_iter().flatten() {
            connections.extend(listening.await);
        }
        // Every document is closed: the next server may have them while clients hear that this one stops.
        drop(lock);
        app.sessions.close();
        let _ = timeout(FAREWELL, app.sessions.wait()).await;
        for ending in connections {
            ending.wait().await;
        }
    }
}

fn time_limit(most: Duration) -> TimeLimit {
    let started = Instant::now();
    TimeLimit { clock: Arc::new(move || started.elapsed()), most }
}

async fn resolve(listen: &str) -> Result<Vec<SocketAddr>, StartError> {
    let addresses = lookup_host(listen).await.map_err(|source| cannot_listen(listen, source))?;
    Ok(addresses.collect())
}

async fn open(listen: &str, addresses: &[SocketAddr]) -> Result<(TcpListener, SocketAddr), StartError> {
    let listener = TcpListener::bind(addresses).await.map_err(|source| cannot_listen(listen, source))?;
    let address = listener.local_addr().map_err(|source| cannot_listen(listen, source))?;
    Ok((listener, address))
}

fn cannot_listen(listen: &str, source: io::Error) -> StartError {
    StartError::Listen { address: listen.to_owned(), source }
}

/// The process lives.
async fn healthz() -> &'static str {
    "ok\n"
}

/// Documents can be opened.
async fn readyz(State(app): State<Arc<App>>) -> Response {
    match app.rooms.stop().is_cancelled() {
        false => "ok\n".into_response(),
        true => stopping(),
    }
}

fn stopping() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the server stops\n").into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics()).into_response()
}

async fn sync(
    State(app): State<Arc<App>>,
    Extension(stranger): Extension<Stranger>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Err(error) = app.origins.check(headers.get(header::ORIGIN)) {
        tracing::warn!(code = error.code.as_str(), "an origin is refused");
        app.rooms.metrics().refused(error.code);
        return (StatusCode::FORBIDDEN, format!("{error}\n")).into_response();
    }
    if app.rooms.stop().is_cancelled() {
        return stopping();
    }
    let most = app.rooms.limits().message.min(MAX_FRAME);
    // The extension that would compress frames is never negotiated.
    let upgrade = upgrade.max_frame_size(most).max_message_size(most).read_buffer_size(READ_BUFFER);
    upgrade.on_upgrade(move |socket| async move {
        app.sessions.track_future(session::run(socket, &app, stranger)).await;
    })
}

#[cfg(test)]
mod tests;
