//! `GET /documents/{document}/snapshots/{journal}/{lsn}`: one state of a document, as clients that lack all of it fetch it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use offprint_core::{Ask, Snapshot};
use offprint_protocol::{Code, Error, JournalId, Lsn, PAGE_SIZE, PageNo};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::app::App;
use crate::auth::Access;
use crate::back_end::{Parts, admit, ask_snapshot, download_place, parse_journal, parts, respond};
use crate::byte_range::ByteRange;
use crate::content_encoding::{ContentEncoding, Encoder};
use crate::cors;

/// How many pages are made at once.
const PART: u32 = 64;
/// The same URL is the same bytes for ever, for those who may see them.
const CACHE: &str = "private, max-age=31536000, immutable";

pub(crate) fn routes() -> Router<Arc<App>> {
    let route = get(fetch).options(ask_before);
    Router::new().route("/documents/{document}/snapshots/{journal}/{lsn}", route)
}

async fn ask_before(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let answer = respond(&app, cors::preflight(&app, &headers));
    cors::share(&app, &headers, answer)
}

async fn fetch(
    State(app): State<Arc<App>>,
    Path((document, journal, lsn)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let answer = serve(&app, &document, (&journal, &lsn), &headers).await;
    cors::share(&app, &headers, respond(&app, answer))
}

async fn serve(
    app: &App,
    document: &str,
    (journal, lsn): (&str, &str),
    headers: &HeaderMap,
) -> Result<Response, Error> {
    let document = admit(app, document, headers, Access::Read)?;
    let (id, no) = parse(journal, lsn)?;
    let place = download_place(app)?;
    let (snapshot, _) = ask_snapshot(app, document, Ask::Kept(id, no)).await?;
    let length = u64::from(snapshot.page_count()) * PAGE_SIZE as u64;
    // A range is one of the bytes as they are: those who go on after a cut have decoded what came before.
    let encoding = match headers.contains_key(header::RANGE) {
        true => ContentEncoding::Identity,
        false => ContentEncoding::of(headers),
    };
    let etag = etag(id, no, encoding)?;
    let mut response = match ByteRange::of(headers, &etag, length) {
        _ if headers.get(header::IF_NONE_MATCH) == Some(&etag) => StatusCode::NOT_MODIFIED.into_response(),
        ByteRange::Outside => {
            let range = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, range).into_response());
        }
        ByteRange::Whole => {
            let body = body(app, snapshot, (0, length), encoding, place)?;
            match encoding {
                ContentEncoding::Identity => ([(header::CONTENT_LENGTH, length)], body).into_response(),
                other => ([(header::CONTENT_ENCODING, other.name())], body).into_response(),
            }
        }
        ByteRange::Part(first, end) => {
            let range = format!("bytes {first}-{}/{length}", end - 1);
            let headers =
                [(header::CONTENT_RANGE, range), (header::CONTENT_LENGTH, (end - first).to_string())];
            let body = body(app, snapshot, (first, end), encoding, place)?;
            (StatusCode::PARTIAL_CONTENT, headers, body).into_response()
        }
    };
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/vnd.sqlite3"));
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHE));
    answer.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    answer.insert(header::ETAG, etag);
    Ok(response)
}

fn parse(journal: &str, lsn: &str) -> Result<(JournalId, Lsn), Error> {
    let lsn = lsn.parse().map_err(|_| Error::new(Code::BadArgument, "an lsn is a number"))?;
    Ok((parse_journal(journal)?, Lsn(lsn)))
}

/// Each encoding is a body of its own.
fn etag(JournalId(journal): JournalId, lsn: Lsn, encoding: ContentEncoding) -> Result<HeaderValue, Error> {
    let text = format!("\"{:032x}-{lsn}-{}\"", u128::from_be_bytes(journal), encoding.name());
    HeaderValue::from_str(&text).map_err(|_| Error::new(Code::Internal, "an ETag cannot be written"))
}

/// Streams these bytes of the file; who does not read is given up.
fn body(
    app: &App,
    snapshot: Snapshot,
    range: (u64, u64),
    encoding: ContentEncoding,
    place: OwnedSemaphorePermit,
) -> Result<Body, Error> {
    let encoder = Encoder::new(encoding)
        .map_err(|error| Error::new(Code::Internal, format!("an encoder cannot be made: {error}")))?;
    let stall = app.rooms.limits().stall;
    let (parts, body) = parts();
    tokio::spawn(async move {
        if let Err(error) = send(snapshot, range, encoder, &parts, stall).await {
            // Without an end, the body is seen to be cut off.
            let _ = timeout(stall, parts.send(Err(error))).await;
        }
        drop(place);
    });
    Ok(body)
}

async fn send(
    snapshot: Snapshot,
    (mut first, end): (u64, u64),
    mut encoder: Encoder,
    parts: &Parts,
    stall: Duration,
) -> io::Result<()> {
    let pass_on = async |bytes: Vec<u8>| {
        if bytes.is_empty() {
            return Ok(());
        }
        match timeout(stall, parts.send(Ok(bytes.into()))).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    };
    while first < end {
        let part = file_part(&snapshot, first, end)?;
        first += part.len() as u64;
        let bytes = if let Encoder::Identity = encoder {
            part
        } else {
            // Where it may compute; no thread waits for the network.
            let encoding = spawn_blocking(move || encoder.encode(part).map(|bytes| (encoder, bytes)));
            let (next, bytes) = encoding.await.map_err(io::Error::other)??;
            encoder = next;
            bytes
        };
        pass_on(bytes).await?;
    }
    pass_on(encoder.finish()?).await
}

/// The bytes from `first` on, up to the end of a part or to `end`.
fn file_part(snapshot: &Snapshot, first: u64, end: u64) -> io::Result<Vec<u8>> {
    let size = PAGE_SIZE as u64;
    let page = u32::try_from(first / size).map_err(io::Error::other)?;
    let part = snapshot.file_part(PageNo(page + 1), PART);
    let mut part = part.map_err(|fault| io::Error::other(format!("page {} is missing", fault.0)))?;
    let skipped = first % size;
    let most = usize::try_from(skipped + (end - first)).unwrap_or(usize::MAX);
    part.truncate(most);
    part.drain(..(skipped as usize).min(part.len()));
    if part.is_empty() {
        return Err(io::Error::other("the snapshot is shorter than it said"));
    }
    Ok(part)
}
