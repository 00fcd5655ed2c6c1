//! What a page of another origin may ask for with `fetch`: those of the origins that are let in.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use offprint_protocol::Error;

use crate::app::App;

/// For how many seconds a browser need not ask again.
const REMEMBERED: &str = "600";

/// The answer to a browser that asks before it sends a GET.
pub(crate) fn preflight(app: &App, headers: &HeaderMap) -> Result<Response, Error> {
    app.origins.check(headers.get(header::ORIGIN))?;
    let allowed = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, range, if-range"),
        (header::ACCESS_CONTROL_MAX_AGE, REMEMBERED),
    ];
    Ok((StatusCode::NO_CONTENT, allowed).into_response())
}

/// Lets the page read the answer, a refusal included.
pub(crate) fn share(app: &App, headers: &HeaderMap, mut response: Response) -> Response {
    let answer = response.headers_mut();
    answer.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = headers.get(header::ORIGIN)
        && app.origins.check(Some(origin)).is_ok()
    {
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let exposed: HeaderName = header::ACCESS_CONTROL_EXPOSE_HEADERS;
        answer.insert(exposed, HeaderValue::from_static("Content-Range, ETag"));
    }
    response
}
