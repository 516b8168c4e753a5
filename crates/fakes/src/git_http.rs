//! Git over HTTP: git's own `http-backend` in front of a repo's git folder, at the same address as
//! the API, as on real forges.
//!
//! The forge decides who may do what ([`Door`]) by the credential that git gives, a user and a
//! password. Without one, nobody reads or writes.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use afk_core::ids::RepoName;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::frame::Reply;

/// How long one request may take.
const BOUND: Duration = Duration::from_mins(1);

/// A request of git's to a forge, and how it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedGitRequest {
    /// The repo.
    pub repo: RepoName,
    /// Whether it belongs to a push.
    pub pushes: bool,
    /// The user of its credential; none without a credential.
    pub user: Option<String>,
    /// The status of the answer.
    pub status: u16,
}

/// A request of git's.
#[derive(Debug)]
pub(crate) struct GitRequest {
    pub(crate) repo: RepoName,
    pub(crate) pushes: bool,
    /// What follows the repo's name, such as `/info/refs`.
    below: String,
    /// User and password.
    pub(crate) credential: Option<(String, String)>,
}

/// What a forge decides about a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// It may do that.
    Open,
    /// It is not known.
    Unknown,
    /// It is known, and may not do that, for this reason.
    Closed(&'static str),
}

impl GitRequest {
    /// The request, if it is one of git's and not of the API.
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        let (repo, below) = uri.path().trim_start_matches('/').split_once(".git/")?;
        let repo = repo.parse().ok()?;
        let pushes = below == "git-receive-pack"
            || uri.query().unwrap_or_default().contains("service=git-receive-pack");
        let given = headers.get("authorization").and_then(|value| value.to_str().ok());
        Some(Self { repo, pushes, below: format!("/{below}"), credential: given.and_then(basic) })
    }

    /// The record of this request, answered with `status`.
    pub(crate) fn recorded(&self, status: u16) -> RecordedGitRequest {
        let user = self.credential.as_ref().map(|(user, _)| user.clone());
        RecordedGitRequest { repo: self.repo.clone(), pushes: self.pushes, user, status }
    }

    /// Answers the request: git itself does, if the door is open.
    pub(crate) async fn answer(
        &self,
        door: Door,
        folder: Option<&Path>,
        (method, uri, headers, body): (&Method, &Uri, &HeaderMap, &Bytes),
    ) -> Reply {
        let says = |status: u16, text: &str| Reply::of(status, "text/plain", text.into());
        match (door, folder) {
            (Door::Unknown, _) => {
                let why = "Invalid username or token.";
                says(401, why).with("www-authenticate", "Basic realm=\"a fake forge\"")
            }
            (Door::Closed(why), _) => says(403, why),
            (Door::Open, None) => says(404, "Repository not found."),
            (Door::Open, Some(folder)) => {
                let user = self.credential.as_ref().map_or("", |(user, _)| user);
                let served = self.serve(folder, user, (method, uri, headers, body));
                match tokio::time::timeout(BOUND, served).await {
                    Ok(Ok(reply)) => reply,
                    Ok(Err(why)) => says(500, &why),
                    Err(_) => says(504, "git does not end"),
                }
            }
        }
    }

    /// Runs git's own server on the request (CGI, RFC 3875).
    async fn serve(
        &self,
        folder: &Path,
        user: &str,
        (method, uri, headers, body): (&Method, &Uri, &HeaderMap, &Bytes),
    ) -> Result<Reply, String> {
        let header = |name: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        let mut command = Command::new("git");
        command
            .arg("http-backend")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("GIT_PROTOCOL", header("git-protocol"))
            .env("GIT_PROJECT_ROOT", folder)
            .env("PATH_INFO", &self.below)
            .env("REQUEST_METHOD", method.as_str())
            .env("QUERY_STRING", uri.query().unwrap_or_default())
            .env("CONTENT_TYPE", header("content-type"))
            .env("CONTENT_LENGTH", body.len().to_string())
            .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
            // It takes pushes only from a named user.
            .env("REMOTE_USER", user)
            .env("REMOTE_ADDR", "127.0.0.1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let failed = |error: std::io::Error| format!("git http-backend: {error}");
        let mut child = command.spawn().map_err(failed)?;
        let mut stdin = child.stdin.take().ok_or("git has no input")?;
        let given = async move {
            // If git ends without reading everything, it has all that it needs.
            let _ = stdin.write_all(body).await;
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), given);
        parsed(&output.map_err(failed)?.stdout)
    }
}

/// User and password of a `Basic` authorization header.
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, coded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(coded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Reads the answer of a CGI program.
fn parsed(output: &[u8]) -> Result<Reply, String> {
    let end = output.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or("git http-backend answers nothing")?;
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let mut reply = Reply::empty(200);
    reply.body = output[end + 4..].to_vec();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        match name.to_ascii_lowercase().as_str() {
            "status" => {
                let status = value.split(' ').next().and_then(|text| text.parse().ok());
                reply.status = status.ok_or(format!("the status {value:?}"))?;
            }
            "content-type" => reply.headers.push(("content-type", value.to_owned())),
            "cache-control" => reply.headers.push(("cache-control", value.to_owned())),
            _ => {}
        }
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gits_is_told_from_the_api() {
        let check = |uri: &str, expected: Option<(&str, bool, &str)>| {
            let uri: Uri = uri.parse().unwrap();
            let found = GitRequest::of(&uri, &HeaderMap::new());
            let found = found.map(|one| (one.repo.to_string(), one.pushes, one.below));
            let expected =
                expected.map(|(repo, pushes, below)| (repo.to_owned(), pushes, below.to_owned()));
            assert_eq!(found, expected, "{uri}");
        };
        check("/o/r.git/info/refs?service=git-upload-pack", Some(("o/r", false, "/info/refs")));
        check("/o/r.git/info/refs?service=git-receive-pack", Some(("o/r", true, "/info/refs")));
        check("/o/r.git/git-receive-pack", Some(("o/r", true, "/git-receive-pack")));
        check("/o/r.git/git-upload-pack", Some(("o/r", false, "/git-upload-pack")));
        check("/repos/o/r/git/refs", None);
        check("/api/v1/repos/o/r", None);
    }

    #[test]
    fn a_credential_is_a_user_and_a_password() {
        let check = |header: &str, expected: Option<(&str, &str)>| {
            let expected = expected.map(|(user, word)| (user.to_owned(), word.to_owned()));
            assert_eq!(basic(header), expected, "{header}");
        };
        check("Basic eDpzZWNyZXQ6MQ==", Some(("x", "secret:1")));
        check("Bearer eDpzZWNyZXQ=", None);
        check("Basic nonsense", None);
        check("Basic", None);
    }

    #[test]
    fn an_answer_by_cgi_is_read() {
        let reply = parsed(b"Status: 403 Forbidden\r\nContent-Type: text/plain\r\n\r\nno").unwrap();
        assert_eq!((reply.status, reply.body.as_slice()), (403, &b"no"[..]));
        assert_eq!(parsed(b"Content-Type: x\r\n\r\n").unwrap().status, 200);
        assert!(parsed(b"").is_err());
    }
}
