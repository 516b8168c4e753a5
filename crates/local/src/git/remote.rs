//! The URL of a repository, and the credential that opens it.
//!
//! A [`RemoteUrl`] can only be made from a URL that git will take as one: no option in disguise, no
//! `ext::` helper, no password that would show in a process list. Git may only use the URL's own
//! protocol.

use std::fmt;

use afk_engine::ports::PortResult;
use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

use super::error::GitError;

/// The URL of a repository: `https`, `http`, `ssh` (also `user@host:path`), `file` or an absolute
/// path.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteUrl {
    text: String,
    protocol: &'static str,
}

impl RemoteUrl {
    /// Parses a URL far enough to know that it is safe to hand to git.
    pub fn parse(text: &str) -> Result<Self, GitError> {
        let no = |why| Err(GitError::bad_name("the remote url", &redact(text), why));
        if text.is_empty() || text.len() > 2000 {
            return no("it must have 1 to 2000 characters");
        }
        if text.starts_with('-') || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return no("it must not start with a dash or contain blanks or control characters");
        }
        if text.starts_with('/') {
            return Ok(Self { text: format!("file://{}", percent(text)), protocol: "file" });
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            // The short form of ssh: `user@host:path`.
            return match text.split_once(':') {
                Some((host, path)) if !host.contains('/') && !path.starts_with([':', '-']) => {
                    let bare = host.rsplit_once('@').map_or(host, |(_, h)| h);
                    if bare.is_empty() || bare.starts_with('-') || path.is_empty() {
                        return no("its host or path is missing or starts with a dash");
                    }
                    Ok(Self { text: text.to_owned(), protocol: "ssh" })
                }
                Some(_) | None => no("it must be https, http, ssh or an absolute path"),
            };
        };
        let protocol = match scheme {
            "https" => "https",
            "http" => "http",
            "ssh" => "ssh",
            "file" if rest.starts_with('/') => "file",
            _ => return no("only https, http, ssh and file urls are taken"),
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        // For HTTP even a user name alone may be a token, which would show in argv and in the
        // clone.
        if user.contains(':') || (scheme.starts_with("http") && authority.contains('@')) {
            return no(
                "it must contain no user, password or token, which every process could read: give \
                 the url alone, or reach the repository by ssh",
            );
        }
        if protocol != "file" && (host.is_empty() || host.starts_with('-')) {
            return no("its host is missing or starts with a dash");
        }
        Ok(Self { text: text.to_owned(), protocol })
    }

    /// Returns the URL of a git folder on this machine.
    pub(crate) fn local(path: &std::path::Path) -> Result<Self, GitError> {
        let text = path.to_str().unwrap_or_default();
        if !text.starts_with('/') {
            return Err(GitError::bad_name("the path", text, "it must be absolute UTF-8"));
        }
        Ok(Self { text: format!("file://{}", percent(text)), protocol: "file" })
    }

    /// Returns the URL for git; it contains no secret.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the repository is a folder on this machine.
    pub fn is_here(&self) -> bool {
        self.folder().is_some()
    }

    /// Returns the repository's folder, if it is on this machine.
    pub(crate) fn folder(&self) -> Option<std::path::PathBuf> {
        let path = self.text.strip_prefix("file://").filter(|_| self.protocol == "file")?;
        let mut bytes = Vec::new();
        let mut rest = path.bytes();
        while let Some(byte) = rest.next() {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            match byte {
                b'%' => bytes.push((digit(rest.next())? * 16 + digit(rest.next())?) as u8),
                other => bytes.push(other),
            }
        }
        let text = std::ffi::OsString::from(String::from_utf8(bytes).ok()?);
        Some(text.into())
    }

    /// Returns the authority of a URL with a scheme: the host with its port if there is one, for
    /// SSH also with the user.
    pub fn host(&self) -> Option<&str> {
        let (_, rest) = self.text.split_once("://")?;
        rest.split('/').next().filter(|host| !host.is_empty())
    }

    /// Returns the host without a user: over HTTP with its port, at which the forge's other
    /// services are, too, and over SSH without. `None` if the repository is a folder.
    pub fn server(&self) -> Option<&str> {
        let authority = match self.protocol {
            "file" => return None,
            "ssh" => match self.text.strip_prefix("ssh://") {
                Some(rest) => rest.split('/').next()?,
                None => self.text.split(':').next()?,
            },
            _ => return self.host(),
        };
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        Some(host.rsplit_once(':').filter(|(_, end)| port(end)).map_or(host, |(host, _)| host))
    }

    /// Whether a credential may be sent to the remote: over HTTPS, or in the clear to this machine.
    pub fn takes_credential(&self) -> bool {
        let bare = self.host().unwrap_or_default();
        let bare = bare.rsplit_once(':').map_or(bare, |(host, _)| host);
        match self.protocol {
            "https" => true,
            "http" => matches!(bare, "localhost" | "127.0.0.1" | "[::1]"),
            _ => false,
        }
    }

    /// Returns git's name for the one transport that the URL needs.
    pub(crate) fn protocol(&self) -> &'static str {
        self.protocol
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The credential of a remote over HTTP or HTTPS, which askpass gives to one command.
///
/// It is not used for SSH, where the operator's own client configuration decides.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The account's name; with a forge's token usually any name, such as `x-access-token`.
    pub username: String,
    /// The password or token.
    pub secret: SecretString,
}

/// The source of a remote's credential. It is asked each time the credential is used, because
/// tokens are rotated.
#[async_trait]
pub trait Login: Send + Sync {
    /// Returns the credential; `None` if the remote opens without one.
    async fn credential(&self) -> PortResult<Option<Credential>>;
}

impl Credential {
    /// Removes the credential's secret, and the user part of URLs, from a text.
    pub(crate) fn redact(credential: Option<&Self>, text: &str) -> String {
        let text = redact(text);
        match credential.map(|c| c.secret.expose_secret()) {
            Some(secret) if !secret.is_empty() => text.replace(secret, "***"),
            Some(_) | None => text,
        }
    }
}

/// Replaces what is before the `@` of a URL's authority by `***`, in the whole text.
fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after
            .find(|c: char| c == '/' || c.is_whitespace() || c == '\'' || c == '"')
            .unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                out.push_str("***@");
                out.push_str(host);
            }
            None => out.push_str(authority),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// Encodes special characters of a path for a `file://` URL, in which git decodes `%xx`.
fn percent(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~+:@,=".contains(&byte) {
            out.push(char::from(byte));
        } else {
            use std::fmt::Write as _;
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_the_same_however_it_is_reached() {
        let check = |url: &str, expected: Option<&str>| {
            assert_eq!(RemoteUrl::parse(url).unwrap().server(), expected, "{url}");
        };
        check("https://github.com/o/r.git", Some("github.com"));
        check("http://127.0.0.1:3000/o/r.git", Some("127.0.0.1:3000"));
        check("git@github.com:o/r.git", Some("github.com"));
        check("ssh://git@code.example:2222/o/r.git", Some("code.example"));
        check("ssh://code.example/o/r.git", Some("code.example"));
        check("/srv/r.git", None);
        check("file:///srv/r.git", None);
    }

    fn check(text: &str, expected: Option<&str>) {
        let protocol = RemoteUrl::parse(text).ok().map(|r| r.protocol);
        assert_eq!(protocol, expected, "{text:?}");
    }

    #[test]
    fn urls_are_taken_by_their_protocol_and_helpers_refused() {
        check("https://forge.example/o/r.git", Some("https"));
        check("http://localhost:3000/o/r", Some("http"));
        check("ssh://git@forge.example:22/o/r", Some("ssh"));
        check("git@forge.example:o/r.git", Some("ssh"));
        check("/srv/git/r.git", Some("file"));
        check("file:///srv/git/r.git", Some("file"));
        check("ext::sh -c id", None);
        check("ext::id", None);
        check("--upload-pack=id", None);
        check("ssh://-oProxyCommand=id/x", None);
        check("-oProxyCommand=id:x", None);
        check("git@-oProxyCommand=id:x", None);
        check("git://forge.example/o/r", None);
        check("fd::7", None);
        check("https://u:secret@forge.example/o/r", None);
        check("https://token@forge.example/o/r", None);
        check("http://@forge.example/o/r", None);
        check("ssh://u:secret@forge.example/o/r", None);
        check("relative/path", None);
        check("https://forge.example/o/r\n", None);
        check("", None);
    }

    #[test]
    fn secrets_in_urls_never_reach_a_message() {
        let error = RemoteUrl::parse("https://u:hunter2@h/o").map(|_| ()).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        let credential = Credential { username: "u".into(), secret: "tok-1".into() };
        let text = "fatal: 'https://u:p@h/x' and https://tok@h: tok-1 refused";
        let safe = Credential::redact(Some(&credential), text);
        assert_eq!(safe, "fatal: 'https://***@h/x' and https://***@h: *** refused");
    }
}
