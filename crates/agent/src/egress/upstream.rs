//! The model's API behind the proxy: a request of the box becomes one with the real key.
//!
//! Whatever the box sends as a credential is dropped, so that nobody inside can use an account of
//! their own at the model's API. Bodies of requests and answers are passed on as they come.

use std::path::Path;
use std::time::Duration;

use http_body_util::Limited;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::rules::{Credential, Header, RefusalReason, Upstream};

/// Maximum size of a request's body, in bytes: conversations with pictures are long.
const REQUEST: usize = 64 << 20;
const CONNECT: Duration = Duration::from_secs(20);
/// How long an answer may be silent. Models think, but their APIs send signs of life.
const SILENCE: Duration = Duration::from_mins(10);
/// How much of a sign-in's file is read, in bytes.
const SIGN_IN: u64 = 1 << 20;

/// Headers that belong to one connection and are not passed on.
pub(super) const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers of the box's request that are dropped: credentials, and those that name a host.
const OURS: [&str; 5] = ["authorization", "x-api-key", "cookie", "host", "forwarded"];

/// A model's API, with the client and the key to call it.
pub(super) struct Model {
    upstream: Upstream,
    key: Option<SecretString>,
    client: reqwest::Client,
}

/// Why a request of the box has no answer of the other side.
pub(super) enum NoAnswer {
    /// The rules refuse the request.
    Refused(RefusalReason),
    /// The request failed: the status for our answer, and the reason.
    Failed(StatusCode, String),
}

impl Model {
    pub(super) fn new(upstream: Upstream, key: Option<SecretString>) -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .build()
            .map_err(|error| format!("cannot make connections to the model's API: {error}"))?;
        Ok(Self { upstream, key, client })
    }

    /// Passes a request on with the real key, and returns the answer.
    pub(super) async fn ask(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<reqwest::Body>, NoAnswer> {
        let (head, body) = request.into_parts();
        let address =
            self.upstream.address(head.uri.path(), head.uri.query()).map_err(NoAnswer::Refused)?;
        let key = self.key().map_err(|why| NoAnswer::Failed(StatusCode::UNAUTHORIZED, why))?;
        let mut headers = passed_on(&head.headers);
        for name in OURS {
            headers.remove(name);
        }
        let (name, value) = header(self.upstream.header, &key)
            .ok_or_else(|| failed("the key of the model's API is not one line of text"))?;
        headers.insert(name, value);
        let body = reqwest::Body::wrap(Limited::new(body, REQUEST));
        let asked = self.client.request(head.method, address).headers(headers).body(body).send();
        // Nobody should configure a URL with a key in it, but the error leaves the URL out anyway.
        let answer = asked.await.map_err(|error| failed(chain(&error.without_url())))?;
        let mut answer: Response<reqwest::Body> = answer.into();
        let kept = passed_on(answer.headers());
        *answer.headers_mut() = kept;
        Ok(answer)
    }

    fn key(&self) -> Result<SecretString, String> {
        match (&self.upstream.credential, &self.key) {
            (Credential::Handed, Some(key)) => Ok(key.clone()),
            (Credential::Handed, None) => Err("no key was handed over for the model's API".into()),
            (Credential::ClaudeSignIn(file), _) => access_token(file),
        }
    }
}

/// The headers that a proxy passes on: all but those that belong to one connection.
pub(super) fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all("connection")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let mut kept = headers.clone();
    for name in named.iter().map(String::as_str).chain(HOP_BY_HOP) {
        kept.remove(name);
    }
    kept
}

fn header(how: Header, key: &SecretString) -> Option<(HeaderName, HeaderValue)> {
    let key = key.expose_secret().trim();
    let (name, text) = match how {
        Header::ApiKey => (HeaderName::from_static("x-api-key"), key.to_owned()),
        Header::Bearer => (AUTHORIZATION, format!("Bearer {key}")),
    };
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

/// Reads the present access token of the Claude CLI's sign-in. It is not renewed here, because the
/// refresh token can be used only once, and belongs to the operator's own CLI.
fn access_token(file: &Path) -> Result<SecretString, String> {
    let cannot = |why: &str| {
        format!(
            "the Claude CLI's sign-in in {} {why}: run `claude` once as the user who signed in, which \
             renews it, or give the agent an api_key",
            file.display()
        )
    };
    let read = std::fs::File::open(file).and_then(|file| {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(file, SIGN_IN), &mut text)?;
        Ok(text)
    });
    let text = read.map_err(|error| cannot(&format!("cannot be read ({error})")))?;
    let found: Value = serde_json::from_slice(&text).unwrap_or_default();
    let sign_in = &found["claudeAiOauth"];
    let token = sign_in["accessToken"].as_str().filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| cannot("contains no access token"))?;
    let now = jiff::Timestamp::now().as_millisecond();
    if sign_in["expiresAt"].as_i64().is_some_and(|until| until > 0 && until <= now) {
        return Err(cannot("has run out"));
    }
    Ok(token.into())
}

fn failed(why: impl Into<String>) -> NoAnswer {
    NoAnswer::Failed(StatusCode::BAD_GATEWAY, why.into())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = format!("the model's API cannot be reached: {error}");
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_one_connection_is_not_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Own"),
            ("x-own", "1"),
            ("proxy-authorization", "secret"),
            ("transfer-encoding", "chunked"),
            ("content-type", "application/json"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let kept = passed_on(&headers);
        let names: Vec<_> = kept.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-type"]);
    }

    #[test]
    fn an_access_token_is_read_and_one_that_has_run_out_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials.json");
        let check = |text: &str, expected: Result<&str, &str>| {
            std::fs::write(&file, text).unwrap();
            match (access_token(&file), expected) {
                (Ok(token), Ok(expected)) => assert_eq!(token.expose_secret(), expected, "{text}"),
                (Err(error), Err(part)) => {
                    assert!(error.contains(part) && error.contains("run `claude` once"), "{error}");
                    assert!(!error.contains("token-a"), "{error}");
                }
                (found, _) => panic!("{text}: {:?}", found.map(|_| ())),
            }
        };
        check(
            r#"{"claudeAiOauth":{"accessToken":"token-a","expiresAt":9999999999999}}"#,
            Ok("token-a"),
        );
        check(r#"{"claudeAiOauth":{"accessToken":"token-a"}}"#, Ok("token-a"));
        check(r#"{"claudeAiOauth":{"accessToken":"token-a","expiresAt":1}}"#, Err("has run out"));
        check(r#"{"claudeAiOauth":{"accessToken":""}}"#, Err("no access token"));
        check("token-a", Err("no access token"));
        let error = access_token(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(error.contains("cannot be read"), "{error}");
    }

    #[test]
    fn a_key_is_one_line() {
        let key = |text: &str| header(Header::Bearer, &text.into()).map(|(_, value)| value);
        assert_eq!(key("k\n").unwrap(), "Bearer k");
        assert!(key("k\r\nx: y").is_none());
        assert_eq!(header(Header::ApiKey, &"k".into()).unwrap().0, "x-api-key");
    }
}
