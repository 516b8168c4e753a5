//! What keeps a run from going on, as data.
//!
//! The engine finds it, the record keeps the newest, and [`crate::plan`] decides what
//! becomes of the run: an error by itself ends nothing. What may pass by itself is kept to
//! be shown; what only a person can mend ends the run.

use serde::{Deserialize, Serialize};

use crate::ids::{At, Oid};
use crate::text;

/// How much of an error is kept, in bytes.
const ERROR: usize = 2_000;

/// What kept a pass from going on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "impediment", rename_all = "snake_case")]
pub enum Impediment {
    /// A port could not do what it was asked.
    Port {
        /// In which way.
        fault: Fault,
        /// What it said.
        error: String,
    },
    /// A port failed, and nothing waits for it: what it was to show or to remove comes later.
    Minor {
        /// What it said.
        error: String,
    },
    /// The repo's own policy cannot be used.
    Policy {
        /// The commit that has it.
        base: Oid,
        /// What is the matter with it.
        error: String,
    },
    /// A hook failed without which no turn begins.
    Hook {
        /// Which, and how.
        error: String,
    },
    /// The agent's clone could not be put in order for a fix-forward.
    Workspace {
        /// What could not be done, and why.
        error: String,
    },
    /// The default branch moved so often that no candidate of the attempt came to land.
    Overtaken {
        /// How often.
        times: u32,
    },
    /// The remote does not take a push.
    PushRefused {
        /// The commit that was pushed.
        commit: Oid,
        /// The branch that it was pushed to.
        branch: String,
        /// The remote.
        remote: String,
        /// What the remote said.
        why: String,
    },
    /// The branch on which a candidate is to be tried holds what this run did not push.
    TryTaken {
        /// The branch.
        branch: String,
        /// The remote.
        remote: String,
        /// What it holds.
        head: Oid,
    },
    /// A commit on the default branch carries the run's trailers, and the control plane
    /// did not push it.
    Forged {
        /// The commit.
        commit: Oid,
        /// The default branch.
        branch: String,
    },
}

/// In which way a port failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It may go better in a moment.
    Transient,
    /// The other side asked to be left alone for a while.
    RateLimited,
    /// What was asked about is not there.
    NotFound,
    /// We are not let in.
    Auth,
    /// Asking again gives the same answer.
    Permanent,
}

impl Fault {
    /// Whether a person has to do something before asking again helps.
    pub const fn needs_a_person(self) -> bool {
        match self {
            Self::Transient | Self::RateLimited => false,
            Self::NotFound | Self::Auth | Self::Permanent => true,
        }
    }
}

/// What is in the way of a run, in its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impeded {
    /// What is in its way, or was last.
    pub by: Impediment,
    /// Since when something has been.
    pub since: At,
    /// When it was out of the way; none while it is not.
    pub over: Option<At>,
}

impl Impediment {
    /// That a port failed.
    pub fn port(fault: Fault, error: &str) -> Self {
        Self::Port { fault, error: kept(error) }
    }

    /// Whether a person has to do something before the run can go on.
    pub const fn needs_a_person(&self) -> bool {
        match self {
            Self::Port { fault, .. } => fault.needs_a_person(),
            Self::Minor { .. } => false,
            Self::Policy { .. }
            | Self::Hook { .. }
            | Self::Workspace { .. }
            | Self::Overtaken { .. }
            | Self::PushRefused { .. }
            | Self::TryTaken { .. }
            | Self::Forged { .. } => true,
        }
    }

    /// The sentence that says what is the matter.
    pub fn sentence(&self) -> String {
        match self {
            Self::Port { error, .. }
            | Self::Minor { error }
            | Self::Hook { error }
            | Self::Workspace { error } => error.clone(),
            Self::Policy { base, error } => format!(
                "the repository's policy at {} cannot be used, so nothing was begun: {error}",
                base.short()
            ),
            Self::Overtaken { times } => {
                format!("the default branch moved {times} times while the change was being judged")
            }
            Self::PushRefused { commit, branch, remote, why } => {
                format!("{remote} refused the push of {} to {branch}: {why}", commit.short())
            }
            Self::TryTaken { branch, remote, head } => {
                format!(
                    "{branch} on {remote} is {}, which this run did not push there",
                    head.short()
                )
            }
            Self::Forged { commit, branch } => format!(
                "{} on {branch} carries the trailers of this run, and the control plane did not \
                 push it: find out who did, then lift the freeze",
                commit.short()
            ),
        }
    }

    /// Whether it says the same as `other`. Numbers and ids that differ are no news: a port
    /// that names the second in each of its errors must not fill the journal.
    pub fn is_news_after(&self, other: &Self) -> bool {
        self.needs_a_person() != other.needs_a_person()
            || without_numbers(&self.sentence()) != without_numbers(&other.sentence())
    }
}

/// An error as it is kept: what a terminal would obey is gone, and it has a bound.
pub fn kept(error: &str) -> String {
    text::visible(error.trim(), ERROR)
}

/// `text` with every word that holds a digit made the same.
fn without_numbers(text: &str) -> String {
    let words = text.split_inclusive(|c: char| !c.is_alphanumeric());
    let plain =
        words.map(|word| if word.contains(|c: char| c.is_ascii_digit()) { "#" } else { word });
    plain.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(error: &str) -> Impediment {
        Impediment::port(Fault::Transient, error)
    }

    #[test]
    fn numbers_are_no_news() {
        let check = |before: &str, now: &str, news| {
            assert_eq!(port(now).is_news_after(&port(before)), news, "{before:?}, {now:?}");
        };
        check("no such host", "no such host", false);
        check("again at 2026-11-28T10:50:59Z", "again at 2026-11-28T10:51:13Z", false);
        check("push of 3f2a9c1 failed", "push of 9b8e7d6 failed", false);
        check("no such host", "no route to host", true);
        let lasting = Impediment::port(Fault::Auth, "no such host");
        assert!(lasting.is_news_after(&port("no such host")));
    }

    #[test]
    fn an_error_is_kept_without_what_a_terminal_obeys_and_within_its_bound() {
        assert_eq!(kept(" \u{1B}[31mred\u{1B}[0m\u{7}\nline two "), "red\nline two");
        assert_eq!(kept("write to ann@example.org"), "write to ann@example.org");
        assert!(kept(&"long ".repeat(10_000)).len() < 2 * ERROR);
    }

    #[test]
    fn who_has_to_do_something() {
        let needs = |fault: Fault| fault.needs_a_person();
        assert!(!needs(Fault::Transient) && !needs(Fault::RateLimited));
        assert!(needs(Fault::NotFound) && needs(Fault::Auth) && needs(Fault::Permanent));
    }
}
