//! Who may call: tokens with scopes and limits, of which only hashes are kept.
//!
//! The file `tokens.json` in the state's folder is written by `afk token` and read by the service,
//! which notices a change with the next request. The predecessor's one token from the environment
//! has every scope and no limits. Where there is no token at all nobody may do anything.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use afk_http::TokenHash;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

/// The largest token file that is read, in bytes.
const FILE_BYTES: u64 = 4 * 1024 * 1024;
/// The name of the token from the environment; no token in the file can have it.
const ENVIRONMENT: &str = "environment";

/// A group of routes that a token may be allowed to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// `/execute` and `/jobs`.
    Jobs,
    /// `/v1/chat/completions` and `/v1/models`.
    Chat,
    /// `/v1/conversational`.
    Conversations,
    /// `/metrics`.
    Metrics,
}

impl Scope {
    /// All scopes, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Jobs, Self::Chat, Self::Conversations, Self::Metrics];

    /// Returns the scope's name, as `afk token new --scope` takes it and the token file has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Chat => "chat",
            Self::Conversations => "conversations",
            Self::Metrics => "metrics",
        }
    }

    /// Returns the scope with that [name](Scope::name).
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// How much a token may use; a limit that is `None` does not apply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenLimits {
    /// Requests that begin a run, in a minute of the clock.
    pub requests_per_minute: Option<u32>,
    /// Runs at once; a job is one from its order to its end.
    pub concurrency: Option<u32>,
    /// US dollars a day (UTC), by the costs that the CLI reports.
    pub usd_per_day: Option<f64>,
}

/// A token as the token file keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeptToken {
    /// The name for people and logs, unique in the file: up to 64 letters, digits and `.` `_` `-`.
    pub name: String,
    /// The hash of the token, which is all that is kept of it.
    pub hash: TokenHash,
    /// The routes that the token may use.
    pub scopes: Vec<Scope>,
    /// How much the token may use; absent in the file is without limits.
    #[serde(default)]
    pub limits: TokenLimits,
    /// When the token was created.
    pub created_at: Timestamp,
}

/// Why tokens cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The token file cannot be read, locked or written.
    #[error("cannot {what} the tokens in {path}: {source}")]
    File {
        /// What failed: `read`, `lock` or `write`.
        what: &'static str,
        /// The token file.
        path: PathBuf,
        /// What the system said, or what is wrong with the file's content.
        source: io::Error,
    },
    /// Another token has this name already.
    #[error("there is a token named {0:?} already: revoke it first, or choose another name")]
    Taken(String),
    /// No token has this name.
    #[error("there is no token named {0:?}: `afk token list` shows all")]
    Unknown(String),
    /// The name is empty, too long, reserved, or has characters that names may not have.
    #[error("{0:?} is not a valid token name: use up to 64 letters, digits and . _ -")]
    Name(String),
}

/// The file `tokens.json`, which need not exist.
#[derive(Debug, Clone)]
pub struct TokenFile {
    path: PathBuf,
}

impl TokenFile {
    /// Names the file in the state's folder; touches nothing.
    pub fn new(state: &Path) -> Self {
        Self { path: state.join("tokens.json") }
    }

    /// Reads all tokens, in the order in which they were created. A missing file has none.
    pub fn list(&self) -> Result<Vec<KeptToken>, TokenError> {
        let failed = |source| TokenError::File { what: "read", path: self.path.clone(), source };
        match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
            Ok(file) if file.len() > FILE_BYTES => {
                return Err(failed(io::Error::other("it is too large")));
            }
            Ok(_) => {}
        }
        let bytes = fs::read(&self.path).map_err(failed)?;
        serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))
    }

    /// Locks the token file for as long as the result lives, against changes by others.
    fn lock(&self) -> Result<fs::File, TokenError> {
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        let locked = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let file = fs::File::create(&path)?;
            file.lock()?;
            Ok(file)
        };
        locked().map_err(|source| TokenError::File {
            what: "lock",
            path: self.path.clone(),
            source,
        })
    }

    /// Creates a token, `afk_` and 64 hexadecimal digits, and returns it: only a hash is kept.
    pub fn create(
        &self,
        name: &str,
        scopes: Vec<Scope>,
        limits: TokenLimits,
        now: Timestamp,
    ) -> Result<SecretString, TokenError> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=64).contains(&name.len()) || !name.bytes().all(fine) || name == ENVIRONMENT {
            return Err(TokenError::Name(name.chars().take(80).collect()));
        }
        let _lock = self.lock()?;
        let mut tokens = self.list()?;
        if tokens.iter().any(|token| token.name == name) {
            return Err(TokenError::Taken(name.to_owned()));
        }
        let random =
            [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].map(|part| part.simple().to_string());
        let token = format!("afk_{}", random.concat());
        let hash = TokenHash::of(&token);
        tokens.push(KeptToken { name: name.to_owned(), hash, scopes, limits, created_at: now });
        self.write(&tokens)?;
        Ok(token.into())
    }

    /// Revokes a token; a running service refuses it from the next request on.
    pub fn revoke(&self, name: &str) -> Result<(), TokenError> {
        let _lock = self.lock()?;
        let mut tokens = self.list()?;
        let before = tokens.len();
        tokens.retain(|token| token.name != name);
        if tokens.len() == before {
            return Err(TokenError::Unknown(name.to_owned()));
        }
        self.write(&tokens)
    }

    fn write(&self, tokens: &[KeptToken]) -> Result<(), TokenError> {
        let failed = |source| TokenError::File { what: "write", path: self.path.clone(), source };
        let text = serde_json::to_vec_pretty(tokens).map_err(|error| failed(error.into()))?;
        replace(&self.path, &text).map_err(failed)
    }
}

/// Replaces a file atomically, by renaming one with mode 0600 over it. Creates missing folders.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", uuid::Uuid::new_v4().simple()));
    let beside = PathBuf::from(beside);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_data());
    let replaced = written.and_then(|()| fs::rename(&beside, path));
    if replaced.is_err() {
        let _ = fs::remove_file(&beside);
    }
    replaced
}

/// Checks tokens against scopes, for a server beside the service that has no tokens of its own.
#[derive(Debug)]
pub struct TokenCheck(Tokens);

impl TokenCheck {
    /// Checks by the token file in the state's folder, and by the token from the environment.
    pub fn new(state: &Path, environment: Option<&SecretString>) -> Self {
        Self(Tokens::new(TokenFile::new(state), environment))
    }

    /// Returns whether `token` is valid and has the scope.
    pub fn allows(&self, token: &str, scope: Scope) -> bool {
        self.0.caller(token).is_some_and(|caller| caller.scopes.contains(&scope))
    }
}

/// An authenticated caller, as the request's token describes it.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The token's name.
    pub(crate) name: Arc<str>,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) limits: TokenLimits,
}

/// The valid tokens: the file, read again whenever it changed, and the one from the environment.
#[derive(Debug)]
pub(crate) struct Tokens {
    file: TokenFile,
    environment: Option<TokenHash>,
    read: Mutex<Read>,
}

#[derive(Debug, Default)]
struct Read {
    /// The file's modification time and size when it was read; `None` if there was no file.
    changed: Option<(SystemTime, u64)>,
    /// Whether the file could be read.
    is_good: bool,
    tokens: Vec<KeptToken>,
}

impl Tokens {
    pub(crate) fn new(file: TokenFile, environment: Option<&SecretString>) -> Self {
        let given = environment.map(SecretString::expose_secret).filter(|token| !token.is_empty());
        Self { file, environment: given.map(TokenHash::of), read: Mutex::default() }
    }

    /// Returns the limits that the token of that name has now; `None` if no such token is valid,
    /// because it was revoked or the file cannot be read.
    pub(crate) fn limits(&self, name: &str) -> Option<TokenLimits> {
        if name == ENVIRONMENT {
            return self.environment.is_some().then(TokenLimits::default);
        }
        let read = self.current();
        read.tokens.iter().find(|kept| kept.name == name).map(|kept| kept.limits)
    }

    /// Returns the caller that a token stands for; `None` if it is not valid.
    pub(crate) fn caller(&self, token: &str) -> Option<Caller> {
        let read = self.current();
        // Compares with every token, so that the time taken does not tell which one matched.
        let mut found = None;
        for kept in &read.tokens {
            if kept.hash.matches(token) {
                found = Some(Caller {
                    name: kept.name.as_str().into(),
                    scopes: kept.scopes.clone(),
                    limits: kept.limits,
                });
            }
        }
        if self.environment.is_some_and(|hash| hash.matches(token)) {
            found = Some(Caller {
                name: ENVIRONMENT.into(),
                scopes: Scope::ALL.to_vec(),
                limits: TokenLimits::default(),
            });
        }
        found
    }

    /// Returns the tokens, after reading the file again if it changed or could not be read before.
    fn current(&self) -> MutexGuard<'_, Read> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = fs::metadata(&self.file.path).ok();
        let changed = now.and_then(|file| Some((file.modified().ok()?, file.len())));
        if !read.is_good || changed != read.changed {
            let listed = self.file.list();
            read.is_good = listed.is_ok();
            // A file that cannot be read allows nothing, and is read again with the next request.
            read.tokens = listed.unwrap_or_else(|error| {
                if changed != read.changed {
                    tracing::error!(error = %error, "no token is valid");
                }
                Vec::new()
            });
            read.changed = changed;
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    #[test]
    fn a_token_is_told_once_kept_as_a_hash_and_can_be_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::new(folder.path());
        let tokens = Tokens::new(file.clone(), None);
        assert!(tokens.caller("x").is_none() && tokens.caller("").is_none());
        let limits = TokenLimits { concurrency: Some(2), ..TokenLimits::default() };
        let token = file.create("budget", vec![Scope::Chat], limits, now()).unwrap();
        let token = token.expose_secret();
        let kept = fs::read_to_string(folder.path().join("tokens.json")).unwrap();
        assert!(!kept.contains(token), "{kept}");
        let check = TokenCheck::new(folder.path(), None);
        assert!(check.allows(token, Scope::Chat) && !check.allows(token, Scope::Metrics));
        assert!(!check.allows("x", Scope::Chat) && !check.allows("", Scope::Chat));
        let caller = tokens.caller(token).expect("known at once");
        assert_eq!(
            (&*caller.name, caller.scopes, caller.limits),
            ("budget", vec![Scope::Chat], limits)
        );
        assert_eq!((tokens.limits("budget"), tokens.limits("other")), (Some(limits), None));
        assert!(matches!(file.create("budget", vec![], limits, now()), Err(TokenError::Taken(_))));
        file.revoke("budget").unwrap();
        assert!(tokens.caller(token).is_none());
        assert_eq!(tokens.limits("budget"), None);
        assert!(matches!(file.revoke("budget"), Err(TokenError::Unknown(_))));
    }

    #[test]
    fn the_token_of_the_environment_may_do_everything_unless_it_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::new(folder.path());
        let tokens = Tokens::new(file.clone(), Some(&"secret".into()));
        assert_eq!(tokens.caller("secret").unwrap().scopes, Scope::ALL);
        assert!(tokens.caller("wrong").is_none() && tokens.caller("").is_none());
        assert_eq!(tokens.limits(ENVIRONMENT), Some(TokenLimits::default()));
        let none = Tokens::new(file, Some(&"".into()));
        assert!(none.caller("").is_none());
        assert_eq!(none.limits(ENVIRONMENT), None);
    }

    #[test]
    fn a_broken_file_allows_nothing_and_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::new(folder.path());
        let token = file.create("a", Scope::ALL.to_vec(), TokenLimits::default(), now()).unwrap();
        let tokens = Tokens::new(file.clone(), None);
        assert!(tokens.caller(token.expose_secret()).is_some());
        fs::write(folder.path().join("tokens.json"), "{").unwrap();
        assert!(tokens.caller(token.expose_secret()).is_none());
        assert_eq!(tokens.limits("a"), None);
        assert!(file.list().unwrap_err().to_string().contains("cannot read the tokens"));
    }

    #[test]
    fn a_read_that_failed_is_tried_again_although_nothing_changed() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::new(folder.path());
        let token = file.create("a", Scope::ALL.to_vec(), TokenLimits::default(), now()).unwrap();
        let (path, aside) = (folder.path().join("tokens.json"), folder.path().join("aside"));
        let tokens = Tokens::new(file, None);
        // A folder in the file's place has a modification time, and cannot be read.
        fs::rename(&path, &aside).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(tokens.caller(token.expose_secret()).is_none());
        let seen = tokens.read.lock().unwrap().changed;
        fs::remove_dir(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
        let file = fs::metadata(&path).unwrap();
        tokens.read.lock().unwrap().changed =
            seen.and(Some((file.modified().unwrap(), file.len())));
        assert!(tokens.caller(token.expose_secret()).is_some());
    }

    #[test]
    fn tokens_that_are_made_at_once_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::new(folder.path());
        std::thread::scope(|scope| {
            for n in 0..16 {
                let file = file.clone();
                scope.spawn(move || {
                    let (name, limits) = (format!("t{n}"), TokenLimits::default());
                    file.create(&name, Scope::ALL.to_vec(), limits, now()).unwrap();
                });
            }
        });
        assert_eq!(file.list().unwrap().len(), 16);
    }

    #[test]
    fn names_that_are_no_names_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::new(folder.path());
        for name in ["", "a b", "é", "environment", "x/y"] {
            let made = file.create(name, vec![], TokenLimits::default(), now());
            assert!(matches!(made, Err(TokenError::Name(_))), "{name}");
        }
    }
}
