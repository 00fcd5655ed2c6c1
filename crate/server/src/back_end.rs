//! HTTP for back ends: run a mutation, query, download. Authorised by the same tokens as sessions.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream;
use offprint_core::budget::QueryLimit;
use offprint_core::pages::Pages;
use offprint_core::sqlite::Database;
use offprint_core::{Answer, Ask, Snapshot, Verdict};
use offprint_protocol::rpc::Select;
use offprint_protocol::{Code, DocumentId, Error, JournalId, Lsn, MutationSeq, PAGE_SIZE, PageNo, Position};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::app::{App, now};
use crate::auth::{self, Access};
use crate::json;
use crate::origin::check_host;

/// The longest body of a request: the arguments of one mutation, as base64 at worst.
const BODY: usize = 2 << 20;
/// The longest name of a back end's client, in bytes.
const CLIENT: usize = 128;
/// The longest answer to a query, in bytes.
const ANSWER: usize = 16 << 20;
/// By how many bytes SQLite may grow while a query runs.
const QUERY_MEMORY: u64 = 256 << 20;
/// An answer that is no longer needs no place among the downloads.
const SHORT: usize = 64 << 10;
/// How many pages of a download are made at once.
const PART: u32 = 256;

/// Where the parts of a body go.
pub(crate) type Parts = mpsc::Sender<Result<Bytes, io::Error>>;

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
    /// The state to read; the newest if it is not said.
    lsn: Option<u64>,
    /// Its history, in hexadecimal digits; the one that the document has if it is not said.
    journal: Option<String>,
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
    let MutateBody { client, seq, name, args } = body(app, request).await?;
    let place = place(app).await?;
    if client.is_empty() || client.len() > CLIENT {
        return Err(Error::new(Code::BadArgument, format!("the client's name has 1 to {CLIENT} bytes")));
    }
    let seq = match seq {
        Some(0 | u64::MAX) => return Err(Error::new(Code::BadArgument, "mutations are numbered from 1")),
        seq => seq.map(MutationSeq),
    };
    let at = u64::try_from(now().as_millis()).unwrap_or(u64::MAX);
    let ask = Ask::Mutate { client, seq, at, name, args: json::arguments(args)? };
    let Answer::Decided { seq, position, verdict } = app.rooms.ask(document, ask, Some(place)).await? else {
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
    let QueryBody { sql, params, lsn, journal } = body(app, request).await?;
    let place = place(app).await?;
    let select = Select { sql, params: json::params(params)? };
    let journal = journal.map(|text| parse_journal(&text)).transpose()?;
    let ask = match (lsn, journal) {
        (Some(lsn), journal) => Ask::At(journal, Lsn(lsn)),
        (None, Some(_)) => return Err(Error::new(Code::BadArgument, "a journal is named with an lsn in it")),
        (None, None) => Ask::Snapshot,
    };
    let (snapshot, position) = ask_snapshot(app, document, ask).await?;
    let now = u64::try_from(now().as_millis()).unwrap_or(u64::MAX);
    // Dropped with the request when its client goes away.
    let waiting = app.rooms.stop().child_token();
    let is_over = waiting.clone();
    let _waiting = waiting.drop_guard();
    let limit = QueryLimit {
        time: app.query_time.clone(),
        is_needless: Arc::new(move || is_over.is_cancelled()),
        bytes: ANSWER,
        memory: QUERY_MEMORY,
    };
    // On connections of its own: a long query delays nobody, and sees one state of the document.
    let rows = spawn_blocking(move || {
        // Held by who works, not by who waits.
        let _place = place;
        let mut database = Database::open(Pages::at(snapshot))?;
        database.set_now(now);
        database.limit_queries(limit)?;
        json::selected(&database.query(&select)?.rows, &position, ANSWER)
    });
    let rows = rows.await.map_err(|_| Error::new(Code::Internal, "the query panicked"))?;
    let stopped = |error: Error| match error.code {
        Code::Limit if app.rooms.stop().is_cancelled() => Error::new(Code::Closed, "the server stops"),
        _ => error,
    };
    answer_with(app, rows.map_err(stopped)?)
}

/// A long answer is a download: it waits in memory for whoever reads it.
fn answer_with(app: &App, text: Vec<u8>) -> Result<Response, Error> {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CONTENT_LENGTH, text.len().into()),
    ];
    if text.len() <= SHORT {
        return Ok((headers, text).into_response());
    }
    let place = download_place(app)?;
    let (parts, body) = parts();
    let stall = app.rooms.limits().stall;
    tokio::spawn(async move {
        let mut rest = Bytes::from(text);
        while !rest.is_empty() && send_part(&parts, Ok(rest.split_to(SHORT.min(rest.len()))), stall).await {}
        drop(place);
    });
    Ok((headers, body).into_response())
}

async fn download(app: &App, document: &str, headers: &HeaderMap) -> Result<Response, Error> {
    let document = admit(app, document, headers, Access::Read)?;
    let place = download_place(app)?;
    let (snapshot, position) = ask_snapshot(app, document, Ask::Snapshot).await?;
    let length = u64::from(snapshot.page_count()) * PAGE_SIZE as u64;
    let (parts, body) = parts();
    tokio::spawn(send_parts(snapshot, parts, app.rooms.limits().stall, place));
    let header = |text: String| HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0"));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/vnd.sqlite3")),
        (header::CONTENT_LENGTH, length.into()),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (HeaderName::from_static("offprint-journal"), header(json::hex(&position.journal.0))),
        (HeaderName::from_static("offprint-lsn"), header(position.lsn.to_string())),
    ];
    Ok((headers, body).into_response())
}

/// A body, and where its parts go.
pub(crate) fn parts() -> (Parts, Body) {
    let (parts, stream) = mpsc::channel(1);
    let stream = stream::unfold(stream, |mut stream| async { Some((stream.recv().await?, stream)) });
    (parts, Body::from_stream(stream))
}

/// Sends a part of a body; false if there is nobody who reads it, and no more can be sent.
async fn send_part(parts: &Parts, part: Result<Bytes, io::Error>, stall: Duration) -> bool {
    let failed = part.is_err();
    matches!(timeout(stall, parts.send(part)).await, Ok(Ok(()))) && !failed
}

/// Sends the document part by part; who does not read is given up.
async fn send_parts(snapshot: Snapshot, parts: Parts, stall: Duration, _place: OwnedSemaphorePermit) {
    let mut next = PageNo(1);
    while next.0 <= snapshot.page_count() {
        let part = snapshot.file_part(next, PART).map(Bytes::from);
        let part = part.map_err(|fault| io::Error::other(format!("page {} is missing", fault.0)));
        if !send_part(&parts, part, stall).await {
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

/// A place among the downloads, or `limit`.
pub(crate) fn download_place(app: &App) -> Result<OwnedSemaphorePermit, Error> {
    let place = app.download_places.clone().try_acquire_owned();
    place.map_err(|_| Error::new(Code::Limit, "too many documents are being downloaded"))
}

/// Waits for a place among the requests that are carried out: with its body, or who sends slowly would take one from those
/// who do not.
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

/// The answer to a question for a state of the document, if there is the document: reading makes none.
pub(crate) async fn ask_snapshot(
    app: &App,
    document: DocumentId,
    ask: Ask,
) -> Result<(Snapshot, Position), Error> {
    app.rooms.check_exists(&document).await?;
    match app.rooms.ask(document, ask, None).await? {
        Answer::Snapshot(snapshot) => match snapshot.position() {
            Some(position) => Ok((snapshot, position)),
            None => Err(Error::new(Code::Internal, "the document has no history")),
        },
        Answer::Decided { .. } => {
            Err(Error::new(Code::Internal, "a question was answered by something else"))
        }
    }
}

/// A history's id, as it is written.
pub(crate) fn parse_journal(text: &str) -> Result<JournalId, Error> {
    let is_it = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = u128::from_str_radix(text, 16).ok().filter(|_| is_it);
    let id = id.ok_or_else(|| Error::new(Code::BadArgument, "a journal is 32 hexadecimal digits"))?;
    Ok(JournalId(id.to_be_bytes()))
}

fn place_of(position: &Position) -> Map<String, Json> {
    Map::from_iter([
        ("journal".to_owned(), json::hex(&position.journal.0).into()),
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
