//! Who works where: people and agents, so that they do not surprise each other.
//!
//! A claim is a text with an expiry, renewed while it holds. It gates nothing: several people may
//! claim the same thing, and runs begin regardless of claims. A run's own presence is not stored:
//! it is derived from the run, and ends with it.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::ids::{At, IssueRef, RepoName};
use crate::text::clean;

/// Maximum duration of a claim without renewal.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(24);
/// Maximum length of a resource's name, in bytes.
const MAX_RESOURCE: usize = 200;
/// Maximum length of a purpose, in bytes.
const MAX_PURPOSE: usize = 500;

/// Somebody's presence at a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The resource: `repo:owner/name`, or any name that people agree on.
    pub resource: String,
    /// Who is present: the id of an account, or `afk`.
    pub holder: String,
    /// What they do there, for people.
    pub purpose: String,
    /// When they began.
    pub since: At,
    /// When the claim expires; none for a live run.
    pub until: Option<At>,
}

/// An invalid claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The resource is not a valid name.
    #[error("the resource {0:?} is not 1 to {MAX_RESOURCE} bytes of text without blanks")]
    Resource(String),
    /// The purpose is empty or too long.
    #[error("the purpose is not 1 to {MAX_PURPOSE} bytes of text on one line")]
    Purpose,
    /// The duration is zero or too long.
    #[error("a claim lasts from one second to 24 hours; renew it to hold it longer")]
    Ttl,
}

/// A valid claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The resource that is claimed.
    pub resource: String,
    /// What it is claimed for, cleaned and trimmed.
    pub purpose: String,
    /// How long it holds from now.
    pub ttl: SignedDuration,
}

impl Claim {
    /// Validates a claim.
    pub fn new(resource: &str, purpose: &str, ttl: SignedDuration) -> Result<Self, ClaimError> {
        let plain = !resource.chars().any(|c| c.is_whitespace() || c.is_control());
        if resource.is_empty() || resource.len() > MAX_RESOURCE || !plain {
            return Err(ClaimError::Resource(resource.chars().take(40).collect()));
        }
        let purpose = clean(purpose.trim()).text;
        let one_line = !purpose.chars().any(char::is_control);
        if purpose.is_empty() || purpose.len() > MAX_PURPOSE || !one_line {
            return Err(ClaimError::Purpose);
        }
        if ttl < SignedDuration::from_secs(1) || ttl > LONGEST {
            return Err(ClaimError::Ttl);
        }
        Ok(Self { resource: resource.to_owned(), purpose, ttl })
    }
}

/// The presence of a run on `issue` that has been live since `since`.
pub fn of_run(issue: &IssueRef, holder: &str, since: At) -> Presence {
    Presence {
        resource: of_repo(&issue.repo),
        holder: holder.to_owned(),
        purpose: format!("AFK #{}", issue.number),
        since,
        until: None,
    }
}

/// The resource that stands for a repo.
pub fn of_repo(repo: &RepoName) -> String {
    format!("repo:{repo}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_a_name_a_purpose_and_an_end() {
        let minute = SignedDuration::from_mins(1);
        let check = |resource: &str, purpose: &str, ttl, expected: Option<ClaimError>| {
            let claim = Claim::new(resource, purpose, ttl);
            assert_eq!(claim.err(), expected, "{resource:?} {purpose:?} {ttl}");
        };
        check("repo:o/web", "rebasing by hand", minute, None);
        check("host:mill", " reboot ", LONGEST, None);
        check("", "x", minute, Some(ClaimError::Resource(String::new())));
        check("a b", "x", minute, Some(ClaimError::Resource("a b".to_owned())));
        check("a", " ", minute, Some(ClaimError::Purpose));
        check("a", "x\ny", minute, Some(ClaimError::Purpose));
        check("a", &"x".repeat(MAX_PURPOSE), minute, None);
        check("a", &"x".repeat(MAX_PURPOSE + 1), minute, Some(ClaimError::Purpose));
        let longest = "x".repeat(MAX_RESOURCE);
        check(&longest, "x", minute, None);
        let start = longest.chars().take(40).collect();
        check(&format!("{longest}x"), "x", minute, Some(ClaimError::Resource(start)));
        check("a", "x", SignedDuration::from_secs(1), None);
        check("a", "x", SignedDuration::from_millis(999), Some(ClaimError::Ttl));
        check("a", "x", SignedDuration::ZERO, Some(ClaimError::Ttl));
        check("a", "x", LONGEST + minute, Some(ClaimError::Ttl));
    }

    #[test]
    fn a_run_is_present_at_its_repo() {
        let run = of_run(&"o/web#7".parse().unwrap(), "afk", At::UNIX_EPOCH);
        assert_eq!((run.resource.as_str(), run.purpose.as_str()), ("repo:o/web", "AFK #7"));
        assert_eq!(run.until, None);
    }
}
