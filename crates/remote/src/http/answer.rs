//! Answers, and the errors that refusals become.

use afk_core::ids::At;
use afk_core::text::clean;
use afk_engine::ports::{PortError, PortErrorKind, PortResult};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::json::read_json;

/// How many characters of an error's text are shown.
const SHOWN: usize = 300;

/// An answer with a status of success, or that nothing has changed (304).
#[derive(Debug)]
pub(crate) struct Answer {
    /// The request as errors name it, such as `GET /user`.
    pub(super) request: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Reads the body as JSON; an error if it has another shape.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> PortResult<T> {
        read_json(&self.body).map_err(|error| self.unexpected_shape(&error))
    }

    /// The same, with parts that are borrowed from the body.
    pub(crate) fn borrowed<'a, T: Deserialize<'a>>(&'a self) -> PortResult<T> {
        serde_json::from_slice(&self.body).map_err(|error| self.unexpected_shape(&error))
    }

    /// The error of a body that does not have the expected shape. It counts as one that may pass.
    pub(crate) fn unexpected_shape(&self, error: &serde_json::Error) -> PortError {
        let request = &self.request;
        let kind = self.header("content-type").unwrap_or("no content type");
        PortError::transient(if kind.contains("json") {
            format!("{request}: the answer is not what it should be: {error}")
        } else {
            format!("{request}: the answer is {kind}, not JSON: does the url name the API?")
        })
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// When the home sent it, by its own clock.
    pub(super) fn date(headers: &HeaderMap) -> Option<At> {
        let text = headers.get("date")?.to_str().ok()?;
        jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
    }
}

/// The body of a refusal, in the shapes that homes use.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RefusalBody {
    message: String,
    /// The message of some homes, if it is text; others have other things there.
    error: serde_json::Value,
    errors: Vec<serde_json::Value>,
    /// A code word of the home's own, used where there is no message; likewise `code`.
    reason: serde_json::Value,
    code: serde_json::Value,
}

/// The text of a refusal's body, for people: its message and the first of its reasons. Empty if it
/// has none of the known shapes.
pub(super) fn refusal_text(body: &[u8]) -> String {
    let Ok(RefusalBody { mut message, error, errors, reason, code }) = serde_json::from_slice(body)
    else {
        return String::new();
    };
    if let (true, Some(error)) = (message.is_empty(), error.as_str()) {
        error.clone_into(&mut message);
    }
    if let (true, true, Some(word)) =
        (message.is_empty(), errors.is_empty(), reason.as_str().or_else(|| code.as_str()))
    {
        word.clone_into(&mut message);
    }
    let reason = errors.first().and_then(|first| {
        first.as_str().or_else(|| first["message"].as_str()).or_else(|| first["code"].as_str())
    });
    let whole = match reason {
        Some(reason) if message.is_empty() => reason.to_owned(),
        Some(reason) => format!("{message} ({reason})"),
        None => message,
    };
    clean(&whole).text.chars().take(SHOWN).collect()
}

/// The target of a redirect; none if the answer is not one.
pub(super) fn redirect_target(status: StatusCode, headers: &HeaderMap) -> Option<String> {
    let to = || headers.get("location").and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
        .then(|| clean(to()).text.chars().take(SHOWN).collect())
}

/// The text of a refusal's body for callers that know the home's wording: as [`refusal_text`], but of a
/// body of no known shape its beginning.
pub(super) fn raw_refusal_text(body: &[u8]) -> String {
    let said = refusal_text(body);
    if !said.is_empty() {
        return said;
    }
    let near = String::from_utf8_lossy(&body[..body.len().min(4 * SHOWN)]);
    clean(&near).text.trim().chars().take(SHOWN).collect()
}

/// The error of a refusal by `home`. The caller has checked before that it is not a rate limit.
pub(super) fn refused(
    request: &str,
    home: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> PortError {
    let said = refusal_text(body);
    let because = if said.is_empty() { String::new() } else { format!(": {said}") };
    let answered = format!("{request}: {home} answered {}{because}", status.as_u16());
    if let Some(to) = redirect_target(status, headers) {
        return PortError::permanent(format!(
            "{request}: {home} says that it has moved to {to}; correct the repo's name there, or \
             the url; an issue that was transferred is not followed"
        ));
    }
    match status.as_u16() {
        401 => PortError::new(
            PortErrorKind::Auth,
            format!("{answered}; the credential is wrong or has expired"),
        ),
        403 => PortError::new(
            PortErrorKind::Auth,
            format!("{answered}; the credential does not allow that"),
        ),
        404 | 410 | 451 => PortError::new(PortErrorKind::NotFound, answered),
        408 | 425 | 500..=599 => PortError::transient(answered),
        _ => PortError::permanent(answered),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, kind: PortErrorKind, says: &str) {
        let mut headers = HeaderMap::new();
        headers.insert("location", "https://api.example/repositories/7".parse().unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        let error = refused("GET /repos/a/b", "the forge", status, &headers, body.as_bytes());
        assert_eq!(error.kind, kind, "{status}");
        assert!(error.chain().contains(says), "{status}: {}", error.chain());
    }

    #[test]
    fn each_status_has_its_kind() {
        check(401, "{}", PortErrorKind::Auth, "expired");
        check(403, r#"{"message":"Not yours"}"#, PortErrorKind::Auth, "answered 403: Not yours");
        check(404, "{}", PortErrorKind::NotFound, "GET /repos/a/b: the forge answered 404");
        check(410, "{}", PortErrorKind::NotFound, "410");
        check(451, "{}", PortErrorKind::NotFound, "451");
        check(301, "{}", PortErrorKind::Permanent, "moved to https://api.example/repositories/7");
        check(307, "{}", PortErrorKind::Permanent, "moved");
        check(409, "{}", PortErrorKind::Permanent, "409");
        check(
            422,
            r#"{"message":"Invalid","errors":[{"code":"missing"}]}"#,
            PortErrorKind::Permanent,
            "422: Invalid (missing)",
        );
        check(423, "{}", PortErrorKind::Permanent, "423");
        let body = r#"{"code":40301,"error":"forbidden"}"#;
        check(403, body, PortErrorKind::Auth, "403: forbidden;");
        check(
            400,
            r#"{"errors":["no role"],"error":{}}"#,
            PortErrorKind::Permanent,
            "400: no role",
        );
        let body = r#"{"_tag":"T","code":"internal_error","reason":"dispatch_failed"}"#;
        check(500, body, PortErrorKind::Transient, "500: dispatch_failed");
        let body = r#"{"code":"insufficient_scope"}"#;
        check(403, body, PortErrorKind::Auth, "403: insufficient_scope");
        check(500, "<html>", PortErrorKind::Transient, "500");
        check(503, "", PortErrorKind::Transient, "503");
    }

    #[test]
    fn what_is_not_json_says_so() {
        let answer = |kind: &'static str, body: &str| Answer {
            request: "GET /user".to_owned(),
            status: StatusCode::OK,
            headers: [(reqwest::header::CONTENT_TYPE, kind.parse().unwrap())].into_iter().collect(),
            body: body.as_bytes().to_vec(),
        };
        let html = answer("text/html", "<html>").json::<u32>().unwrap_err();
        assert!(html.chain().contains("text/html, not JSON"), "{}", html.chain());
        let cut = answer("application/json", "{\"a\":").json::<u32>().unwrap_err();
        assert!(cut.chain().contains("not what it should be"), "{}", cut.chain());
        assert_eq!(cut.kind, PortErrorKind::Transient);
    }
}
