//! The listener: HTTP in front, sessions behind it, an end that loses nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use axum::Router;
use axum::extract::{State, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use offprint_core::Primary;
use offprint_protocol::message::MAX_FRAME;
use tokio::net::{TcpListener, lookup_host};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::check_definition::check_definition;
use crate::config::Config;
use crate::origin::Origins;
use crate::rooms::{MakeMachine, Rooms};
use crate::session;
use crate::start_error::StartError;

/// Asks a server to stop.
pub use tokio_util::sync::CancellationToken as StopToken;

/// How long a stopping server waits for clients to hear of it; their documents are safe by then.
const FAREWELL: Duration = Duration::from_secs(5);

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    stop: StopToken,
}

impl Server {
    /// Listens; documents are opened when somebody asks for them. Fails if the definition cannot be served,
    /// or if other machines could connect without a token.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        check_definition(&config.definition).map_err(StartError::BadDefinition)?;
        Self::bind_with(config, Box::new(|config| Ok(Box::new(Primary::new(config)?)))).await
    }

    pub(crate) async fn bind_with(config: Config, make: MakeMachine) -> Result<Self, StartError> {
        let Config { definition, data, listen, origins, auth, limits } = config;
        let origins = Origins::new(&origins)?;
        let cannot_listen = |source: io::Error| StartError::Listen { address: listen.clone(), source };
        let addresses: Vec<SocketAddr> = lookup_host(&listen).await.map_err(cannot_listen)?.collect();
        if auth.is_none()
            && let Some(address) = addresses.iter().find(|address| !address.ip().is_loopback())
        {
            return Err(StartError::NotLoopback(*address));
        }
        fs::create_dir_all(&data).map_err(|source| StartError::Data { path: data.clone(), source })?;
        let listener = TcpListener::bind(addresses.as_slice()).await.map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        let stop = StopToken::new();
        let hash = definition.hash();
        let rooms = Rooms::new(data, definition, limits, make, stop.clone());
        let app = Arc::new(App { rooms, hash, origins, auth, sessions: TaskTracker::new() });
        Ok(Self { listener, address, app, stop })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends [`Server::run`] when cancelled.
    pub fn stop_token(&self) -> StopToken {
        self.stop.clone()
    }

    /// Serves until it is stopped: what is being written is finished, clients are told, sockets are closed.
    pub async fn run(self) -> io::Result<()> {
        let router = Router::new()
            .route("/sync", get(sync))
            .route("/healthz", get(healthz))
            .with_state(self.app.clone());
        let serving =
            axum::serve(self.listener, router).with_graceful_shutdown(self.stop.clone().cancelled_owned());
        let mut serving = tokio::spawn(serving.into_future());
        let mut result = Ok(());
        tokio::select! {
            () = self.stop.cancelled() => {}
            // It ends by itself only if it cannot go on.
            ended = &mut serving => result = ended.map_err(io::Error::other).flatten(),
        }
        self.stop.cancel();
        self.app.rooms.ended().await;
        self.app.sessions.close();
        let _ = timeout(FAREWELL, self.app.sessions.wait()).await;
        serving.abort();
        result
    }
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn sync(State(app): State<Arc<App>>, headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    if let Err(error) = app.origins.check(headers.get(header::ORIGIN)) {
        tracing::warn!(code = error.code.as_str(), "an origin is refused");
        return (StatusCode::FORBIDDEN, format!("{error}\n")).into_response();
    }
    // The extension that would compress frames is never negotiated.
    upgrade.max_frame_size(MAX_FRAME).max_message_size(MAX_FRAME).on_upgrade(move |socket| async move {
        app.sessions.track_future(session::run(socket, &app)).await;
    })
}
