//! HTTP for back ends: run a mutation, query, download. Authorised by the same tokens as sessions.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream;
use offprint_core::pages::Pages;
use offprint_core::sqlite::Database;
use offprint_core::{Answer, Ask, Snapshot, Verdict};
use offprint_protocol::rpc::Select;
use offprint_protocol::{Code, DocumentId, Error, MutationSeq, PAGE_SIZE, PageNo, Position};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::app::{App, now};
use crate::auth::{self, Access};
use crate::file_disk::FileDisk;
use crate::json;
use crate::origin::check_host;

/// The longest body of a request: the arguments of one mutation, as base64 at worst.
const BODY: usize = 2 << 20;
/// The longest name of a back end's client, in bytes.
const CLIENT: usize = 128;
/// How many pages of a download are made at once.
const PART: u32 = 256;

/// `POST /documents/{id}/mutations`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MutateBody {
    client: String,
    seq: Option<u64>,
    name: String,
    #[serde(default)]
    args: Map<String, Json>,
}

/// `POST /documents/{id}/query`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryBody {
    sql: String,
    #[serde(default)]
    params: Vec<Json>,
}

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/documents/{document}/mutations", post(mutations))
        .route("/documents/{document}/query", post(query))
        .route("/documents/{document}/export.db", get(export))
}

async fn mutations(State(app): State<Arc<App>>, Path(document): Path<String>, request: Request) -> Response {
    respond(&app, mutate(&app, &document, request).await)
}

async fn query(State(app): State<Arc<App>>, Path(document): Path<String>, request: Request) -> Response {
    respond(&app, select(&app, &document, request).await)
}

async fn export(State(app): State<Arc<App>>, Path(document): Path<String>, headers: HeaderMap) -> Response {
    respond(&app, download(&app, &document, &headers).await)
}

async fn mutate(app: &App, document: &str, request: Request) -> Result<Response, Error> {
    let document = admit(app, document, request.headers(), Access::Write)?;
    let _place = place(app).await?;
    let MutateBody { client, seq, name, args } = body(app, request).await?;
    if client.is_empty() || client.len() > CLIENT {
        return Err(Error::new(Code::BadArgument, format!("the client's name has 1 to {CLIENT} bytes")));
    }
    let seq = match seq {
        Some(0 | u64::MAX) => return Err(Error::new(Code::BadArgument, "mutations are numbered from 1")),
        seq => seq.map(MutationSeq),
    };
    let at = u64::try_from(now().as_millis()).unwrap_or(u64::MAX);
    let ask = Ask::Mutate { client, seq, at, name, args: json::arguments(args)? };
    let Answer::Decided { seq, position, verdict } = app.rooms.ask(document, ask).await? else {
        return Err(Error::new(Code::Internal, "a mutation was answered by something else"));
    };
    let mut answer = place_of(&position);
    answer.insert("seq".into(), seq.0.into());
    let (status, word) = match verdict {
        Verdict::Confirmed => (StatusCode::OK, "confirmed"),
        Verdict::Forgotten => (StatusCode::OK, "decided"),
        Verdict::Rejected(rejection) => {
            answer.insert("code".into(), rejection.code.into());
            answer.insert("message".into(), rejection.message.into());
            (StatusCode::UNPROCESSABLE_ENTITY, "rejected")
        }
    };
    answer.insert("status".into(), word.into());
    Ok((status, axum_json(answer)).into_response())
}

async fn select(app: &App, document: &str, request: Request) -> Result<Response, Error> {
    let document = admit(app, document, request.headers(), Access::Read)?;
    let _place = place(app).await?;
    let QueryBody { sql, params } = body(app, request).await?;
    let select = Select { sql, params: json::params(params)? };
    let (snapshot, position) = snapshot(app, document).await?;
    let now = u64::try_from(now().as_millis()).unwrap_or(u64::MAX);
    // On connections of its own: a long query delays nobody, and sees one state of the document.
    let rows = spawn_blocking(move || {
        let mut database = Database::open(Pages::at(snapshot))?;
        database.set_now(now);
        json::rows(&database.query(&select)?.rows)
    });
    let mut answer = rows.await.map_err(|_| Error::new(Code::Internal, "the query panicked"))??;
    answer.extend(place_of(&position));
    Ok(axum_json(answer).into_response())
}

async fn download(app: &App, document: &str, headers: &HeaderMap) -> Result<Response, Error> {
    let document = admit(app, document, headers, Access::Read)?;
    let place = app.download_places.clone().try_acquire_owned();
    let place = place.map_err(|_| Error::new(Code::Limit, "too many documents are being downloaded"))?;
    let (snapshot, position) = snapshot(app, document).await?;
    let length = u64::from(snapshot.page_count()) * PAGE_SIZE as u64;
    let (parts, stream) = mpsc::channel(1);
    tokio::spawn(send_parts(snapshot, parts, app.rooms.limits().stall, place));
    let stream = stream::unfold(stream, |mut stream| async { Some((stream.recv().await?, stream)) });
    let header = |text: String| HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0"));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/vnd.sqlite3")),
        (header::CONTENT_LENGTH, length.into()),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (HeaderName::from_static("offprint-journal"), header(hex(&position.journal.0))),
        (HeaderName::from_static("offprint-lsn"), header(position.lsn.to_string())),
    ];
    Ok((headers, Body::from_stream(stream)).into_response())
}

/// Sends the document part by part; who does not read is given up.
async fn send_parts(
    snapshot: Snapshot,
    parts: mpsc::Sender<Result<Bytes, std::io::Error>>,
    stall: std::time::Duration,
    _place: OwnedSemaphorePermit,
) {
    let mut next = PageNo(1);
    while next.0 <= snapshot.page_count() {
        let part = snapshot.file_part(next, PART).map(Bytes::from);
        let part = part.map_err(|fault| std::io::Error::other(format!("page {} is missing", fault.0)));
        let failed = part.is_err();
        if !matches!(timeout(stall, parts.send(part)).await, Ok(Ok(()))) || failed {
            return;
        }
        next.0 += PART;
    }
}

/// Whether the request may do so much with the document.
pub(crate) fn admit(
    app: &App,
    document: &str,
    headers: &HeaderMap,
    needed: Access,
) -> Result<DocumentId, Error> {
    app.origins.check(headers.get(header::ORIGIN))?;
    if app.auth.is_none() {
        check_host(headers.get(header::HOST))?;
    }
    let document = DocumentId::new(document)?;
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
    if app.check_token(token)?.access(&document)? < needed {
        return Err(auth::read_only());
    }
    Ok(document)
}

/// Waits for a place among the requests that are carried out.
async fn place(app: &App) -> Result<OwnedSemaphorePermit, Error> {
    let place = app.request_places.clone().acquire_owned().await;
    place.map_err(|_| Error::new(Code::Closed, "the server stops"))
}

async fn body<T: DeserializeOwned>(app: &App, request: Request) -> Result<T, Error> {
    // Without this a page of any site could send one: browsers ask before they send JSON.
    let content = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content.and_then(|text| text.split(';').next()).map(str::trim) != Some("application/json") {
        return Err(Error::new(Code::BadFrame, "the body is JSON, and Content-Type says so"));
    }
    let bytes = timeout(app.rooms.limits().hello, to_bytes(request.into_body(), BODY)).await;
    let bytes = bytes.map_err(|_| Error::new(Code::Limit, "the body comes too slowly"))?;
    let bytes = bytes
        .map_err(|_| Error::new(Code::TooLarge, format!("the body exceeds {BODY} bytes, or was cut off")))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::new(Code::BadFrame, format!("the body is not understood: {error}")))
}

/// The document as it is; reading makes no document.
async fn snapshot(app: &App, document: DocumentId) -> Result<(Snapshot, Position), Error> {
    ask_snapshot(app, document, Ask::Snapshot).await
}

/// The answer to a question for a state of the document, if there is the document.
pub(crate) async fn ask_snapshot(
    app: &App,
    document: DocumentId,
    ask: Ask,
) -> Result<(Snapshot, Position), Error> {
    let directory = app.rooms.data().join(FileDisk::directory_name(&document));
    if !tokio::fs::try_exists(directory).await.unwrap_or(false) {
        return Err(Error::new(Code::BadDocumentId, format!("there is no document {document}")));
    }
    match app.rooms.ask(document, ask).await? {
        Answer::Snapshot(snapshot) => match snapshot.position() {
            Some(position) => Ok((snapshot, position)),
            None => Err(Error::new(Code::Internal, "the document has no history")),
        },
        Answer::Decided { .. } => {
            Err(Error::new(Code::Internal, "a question was answered by something else"))
        }
    }
}

fn place_of(position: &Position) -> Map<String, Json> {
    Map::from_iter([
        ("journal".to_owned(), hex(&position.journal.0).into()),
        ("lsn".to_owned(), position.lsn.0.into()),
    ])
}

pub(crate) fn respond(app: &App, result: Result<Response, Error>) -> Response {
    result.unwrap_or_else(|Error { code, message }| {
        app.rooms.metrics().refused(code);
        tracing::info!(code = code.as_str(), "a request is refused");
        let answer = axum_json(json!({ "code": code.as_str(), "message": message }));
        let mut response = (status(code), answer).into_response();
        if code == Code::Unauthorized {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    })
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::Unauthorized => StatusCode::UNAUTHORIZED,
        Code::Forbidden => StatusCode::FORBIDDEN,
        Code::BadDocumentId => StatusCode::NOT_FOUND,
        Code::SequenceGap => StatusCode::CONFLICT,
        Code::Gone => StatusCode::GONE,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Limit => StatusCode::TOO_MANY_REQUESTS,
        Code::Blocked | Code::Closed => StatusCode::SERVICE_UNAVAILABLE,
        Code::Internal | Code::Corrupt | Code::Superseded | Code::Disk | Code::Quota => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        _ => StatusCode::BAD_REQUEST,
    }
}

fn axum_json(value: impl Into<Json>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], value.into().to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
