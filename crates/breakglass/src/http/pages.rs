//! Serves the console's files, which are in the binary, and sets the headers of every answer.
//!
//! The files hold no secret and need no sign-in: the page itself tells people to sign in.

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answers::ApiError;
use super::auth::{AccessRefusal, has_token};

/// The name below `assets` and the content of every file of the console; made by `build.rs`.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// Files that a browser wants at the root: a service worker serves only what is below it.
const AT_ROOT: [&str; 2] = ["manifest.webmanifest", "service-worker.js"];

/// Headers of every answer. Nothing is loaded from elsewhere, nothing inline is run, and no other
/// page may frame the console.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// `GET /`: the page. With a token in the address it is refused as everywhere; a browser is sent on
/// at once, so that the token stays neither in its address bar nor in its history.
pub async fn index(uri: Uri) -> Response {
    if has_token(uri.query().unwrap_or_default()) {
        let mut refused = ApiError::from(AccessRefusal::TokenInAddress).into_response();
        refused.headers_mut().insert(header::REFRESH, HeaderValue::from_static("0; url=/"));
        return refused;
    }
    file("index.html", "no-store")
}

/// `GET /NAME`: one of the few files that are at the root.
pub async fn at_root(name: Result<Path<String>, PathRejection>) -> Response {
    match name {
        Ok(Path(name)) if AT_ROOT.contains(&name.as_str()) => file(&name, "no-cache"),
        Ok(_) | Err(_) => missing(),
    }
}

/// `GET /assets/NAME`: any file of the console.
pub async fn asset(name: Result<Path<String>, PathRejection>) -> Response {
    name.map_or_else(|_| missing(), |Path(name)| file(&name, "no-cache"))
}

/// Answers 404 to whatever has no route.
pub async fn unknown() -> Response {
    missing()
}

/// A middleware that adds the same security headers to every answer.
pub async fn with_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn file(name: &str, cache: &'static str) -> Response {
    let Some((_, body)) = FILES.iter().find(|(known, _)| *known == name) else { return missing() };
    let headers = [(header::CONTENT_TYPE, content_type(name)), (header::CACHE_CONTROL, cache)];
    (headers, Bytes::from_static(body)).into_response()
}

fn missing() -> Response {
    ApiError::new(StatusCode::NOT_FOUND, "not found").into_response()
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("webmanifest") => "application/manifest+json",
        Some("png") => "image/png",
        Some("svg") => "image/svg+xml",
        Some(_) | None => "application/octet-stream",
    }
}
