//! The names of things: repos, issues, runs, commits, jobs.
//!
//! Every id is a newtype that can only be made from well-formed text, so that it never needs
//! checking again. Ids of what a run creates are derived from the run's own id, so that they are
//! the same after a crash.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::forms::{self, text_schema};

/// Text that is not a valid id; says what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct IdError {
    text: String,
    expected: &'static str,
}

impl IdError {
    fn new(text: &str, expected: &'static str) -> Self {
        let text = text.chars().take(120).collect();
        Self { text, expected }
    }
}

/// Serde, `Display` and the rest for an id that is stored as its text.
macro_rules! text_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into()
            }
        }
        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

mod job_key;
pub use job_key::{JobKey, JobOf};

/// A repository, `owner/name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct RepoName(Box<str>);
text_id!(RepoName);
text_schema!(RepoName, "A repository, `owner/name`.", forms::repo_name());

impl<'de> Deserialize<'de> for RepoName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // The text is left out: in a configuration it may be a misplaced secret.
        let wrong = |error: IdError| {
            D::Error::invalid_value(Unexpected::Other("other text"), &error.expected)
        };
        String::deserialize(from)?.parse().map_err(wrong)
    }
}

impl RepoName {
    /// The part before the slash.
    pub fn owner(&self) -> &str {
        self.0.split_once('/').map_or("", |(owner, _)| owner)
    }

    /// The part after the slash.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, name)| name)
    }

    /// Completes a bare `name` with `default_owner`; `owner/name` is unchanged.
    pub fn complete(text: &str, default_owner: Option<&str>) -> Result<Self, IdError> {
        match default_owner {
            Some(owner) if !text.contains('/') => format!("{owner}/{text}").parse(),
            Some(_) | None => text.parse(),
        }
    }
}

impl FromStr for RepoName {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let part = |s: &str| {
            !s.is_empty()
                && s.len() <= 100
                && s != "."
                && s != ".."
                && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
                && !s.starts_with('-')
        };
        match text.split_once('/') {
            Some((owner, name)) if part(owner) && part(name) => Ok(Self(text.into())),
            Some(_) | None => Err(IdError::new(text, "a repository name such as owner/name")),
        }
    }
}

/// The name of an adapter in the configuration: an executor, a tracker, a kind of stage.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct AdapterName(Box<str>);
text_id!(AdapterName);
text_schema!(
    AdapterName,
    "The name of an agent, a tracker, a forge or a doorbell, or the kind of one or of a stage.",
    forms::ADAPTER_NAME
);

impl AdapterName {
    /// A name from our own code, which is not checked.
    pub fn known(name: &'static str) -> Self {
        Self(name.into())
    }
}

impl<'de> Deserialize<'de> for AdapterName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let wrong = |error: IdError| {
            D::Error::invalid_value(Unexpected::Other("other text"), &error.expected)
        };
        String::deserialize(from)?.parse().map_err(wrong)
    }
}

impl Borrow<str> for AdapterName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for AdapterName {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if (1..=40).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(Self(text.into()));
        }
        Err(IdError::new(text, "a name of at most 40 letters, digits, dashes and underscores"))
    }
}

/// An issue, `owner/repo#number`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IssueRef {
    /// The repository that tracks it.
    pub repo: RepoName,
    /// Its number there, from 1.
    pub number: u64,
}

impl fmt::Display for IssueRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.repo, self.number)
    }
}

impl fmt::Debug for IssueRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for IssueRef {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::new(text, "an issue such as owner/name#7");
        let (repo, number) = text.rsplit_once('#').ok_or_else(wrong)?;
        let number = number.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?;
        Ok(Self { repo: repo.parse()?, number })
    }
}

impl TryFrom<String> for IssueRef {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<IssueRef> for String {
    fn from(issue: IssueRef) -> String {
        issue.to_string()
    }
}

/// A run: a UUID whose first bits are the time of its admission.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(Uuid);

impl RunId {
    /// No run: stands in where something is asked before a run is admitted.
    pub const NOBODY: Self = Self(Uuid::nil());

    /// Wraps an id that the caller generated.
    pub const fn new(id: Uuid) -> Self {
        Self(id)
    }

    /// The thread of this run, derived from its id: always the same.
    pub fn thread(&self) -> ThreadId {
        ThreadId(Uuid::new_v5(&self.0, b"afk-thread"))
    }

    /// The raw id.
    pub const fn uuid(&self) -> Uuid {
        self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for RunId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let id = Uuid::parse_str(text).map_err(|_| IdError::new(text, "a run id (a UUID)"))?;
        Ok(Self(id))
    }
}

/// The executor's conversation for a run, derived from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ThreadId(Uuid);

impl ThreadId {
    /// The raw id, which names an executor's session.
    pub const fn uuid(&self) -> Uuid {
        self.0
    }
}

impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A git object id: 40 or 64 lowercase hex digits. A commit unless said otherwise.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Oid(Box<str>);
text_id!(Oid);

impl Oid {
    /// The first eight digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }

    /// The id of the empty tree in the repository of this object, by the length of its ids. Git
    /// knows that tree without storing it.
    #[must_use]
    pub fn empty_tree(&self) -> Self {
        Self(match self.0.len() {
            64 => "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321".into(),
            _ => "4b825dc642cb6eb9a060e54bf8d69288fbee4904".into(),
        })
    }
}

impl FromStr for Oid {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex && matches!(text.len(), 40 | 64) {
            Ok(Self(text.into()))
        } else {
            Err(IdError::new(text, "a git object id (40 or 64 lowercase hex digits)"))
        }
    }
}

/// An account on a tracker. The id decides, the login is for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// The tracker's own stable id for the account.
    pub id: String,
    /// The name that people see; it can be changed, and taken over by others.
    pub login: String,
    /// Whether it is a bot or an app according to the tracker (never guessed from the name).
    #[serde(default)]
    pub bot: bool,
}

/// When something was seen or done, in UTC.
pub type At = Timestamp;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_accept_what_they_name_and_refuse_the_rest() {
        for ok in ["o/r", "my-org/my.repo_2"] {
            assert_eq!(ok.parse::<RepoName>().map(|r| r.to_string()), Ok(ok.to_owned()));
        }
        for bad in ["", "r", "o/", "/r", "o/r/x", "../r", "o/..", "o/r r", "-o/r", "o/r\n"] {
            assert!(bad.parse::<RepoName>().is_err(), "{bad:?}");
        }
        for bad in ["o/r", "o/r#", "o/r#0", "o/r#-1", "o/r#x", "r#1"] {
            assert!(bad.parse::<IssueRef>().is_err(), "{bad:?}");
        }
        assert_eq!("o/r#7".parse::<IssueRef>().map(|i| i.number), Ok(7));
        let repo: RepoName = "o/r".parse().unwrap();
        assert_eq!((repo.owner(), repo.name()), ("o", "r"));
        assert!("ABCDEF".parse::<Oid>().is_err());
        assert!("a".repeat(40).parse::<Oid>().is_ok());
        for (length, tree) in [
            (40, "4b825dc642cb6eb9a060e54bf8d69288fbee4904"),
            (64, "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321"),
        ] {
            assert_eq!("a".repeat(length).parse::<Oid>().unwrap().empty_tree().as_str(), tree);
        }
    }

    #[test]
    fn ids_look_the_same_in_messages_and_in_logs() {
        let run: RunId = "01900000-0000-7000-8000-000000000001".parse().unwrap();
        let issue: IssueRef = "o/r#7".parse().unwrap();
        assert_eq!(format!("{issue:?}"), "o/r#7");
        assert_eq!(format!("{run:?}"), "01900000-0000-7000-8000-000000000001");
        assert_eq!(format!("{:?}", run.thread()), run.thread().to_string());
        assert!(!run.thread().to_string().is_empty());
    }

    #[test]
    fn a_bare_name_is_completed_and_a_full_one_is_not() {
        let complete = |text| RepoName::complete(text, Some("home")).map(|r| r.to_string());
        assert_eq!(complete("web"), Ok("home/web".to_owned()));
        assert_eq!(complete("other/web"), Ok("other/web".to_owned()));
        assert!(RepoName::complete("web", None).is_err());
    }
}
