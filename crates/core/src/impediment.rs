//! What keeps a run from going on, as data.
//!
//! The engine finds impediments, the record keeps the newest, and [`crate::plan`] decides what
//! happens to the run: an error by itself ends nothing. An impediment that may pass by itself is
//! kept to be shown; one that only a person can fix ends the run.

use serde::{Deserialize, Serialize};

use crate::ids::{At, Oid};
use crate::text;

/// Maximum length of a kept error, in bytes.
const ERROR: usize = 2_000;

/// What kept a pass from going on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "impediment", rename_all = "snake_case")]
pub enum Impediment {
    /// A port call failed.
    Port {
        /// The kind of failure.
        fault: Fault,
        /// Its message.
        error: String,
    },
    /// A port call failed that nothing waits for: what it was to show or remove can wait.
    Minor {
        /// Its message.
        error: String,
    },
    /// The repo's own policy cannot be used.
    Policy {
        /// The commit that has it.
        base: Oid,
        /// What is wrong with it.
        error: String,
    },
    /// A hook failed that must succeed before a turn begins.
    Hook {
        /// Which hook, and how it failed.
        error: String,
    },
    /// The agent's clone could not be reset for a fix-forward.
    Workspace {
        /// What could not be done, and why.
        error: String,
    },
    /// The default branch moved before each candidate of the attempt could land, for so long that
    /// the race is given up.
    Overtaken {
        /// How many candidates were overtaken.
        times: u32,
        /// For how many minutes; 0 in records from when only the number counted.
        #[serde(default)]
        minutes: u64,
    },
    /// The default branch was rewritten, and the run's change cannot be put on what it is now.
    Rewritten {
        /// The branch.
        branch: String,
        /// The commit that the work stands on, and that the branch no longer has.
        gone: Oid,
        /// Its head now.
        head: Oid,
        /// Why the change cannot be put there.
        why: NotRebuilt,
    },
    /// The remote's default branch is not the one that it was when the run began.
    Switched {
        /// The default branch when the run began.
        from: String,
        /// The default branch now.
        to: String,
        /// The remote.
        remote: String,
        /// Whether the run had landed something on the old one. False in records from before it was
        /// kept.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        landed: bool,
    },
    /// What the run landed is not on the branch that has become the default since.
    SwitchedAway {
        /// The commit that had landed.
        commit: Oid,
        /// The default branch when the run began.
        from: String,
        /// The default branch now.
        to: String,
        /// The remote.
        remote: String,
    },
    /// What the run landed is not on the default branch any more.
    TakenOut {
        /// The commit that had landed.
        commit: Oid,
        /// The branch.
        branch: String,
    },
    /// People merged the run's pull request, and the default branch does not have the result.
    MergedElsewhere {
        /// The commit that it was merged as.
        commit: Oid,
        /// The branch.
        branch: String,
    },
    /// The remote refuses a push.
    PushRefused {
        /// The commit that was pushed.
        commit: Oid,
        /// The branch it was pushed to.
        branch: String,
        /// The remote.
        remote: String,
        /// What the remote said.
        why: String,
        /// How often it was tried; 0 in records from when it was tried once.
        #[serde(default)]
        times: u32,
    },
    /// The branch on which a candidate is to be tested holds a commit that this run did not push.
    TryTaken {
        /// The branch.
        branch: String,
        /// The remote.
        remote: String,
        /// The commit that the branch holds.
        head: Oid,
    },
    /// A commit on the default branch has a run's trailers, but was not pushed by the control
    /// plane.
    Forged {
        /// The commit.
        commit: Oid,
        /// The default branch.
        branch: String,
    },
}

/// Why a change cannot be put on a default branch that was rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum NotRebuilt {
    /// It conflicts in these paths.
    Conflict {
        /// The paths, for people.
        paths: Vec<String>,
    },
    /// The repo keeps the agent's own commits, and these bring back what was taken out.
    KeepsHistory,
}

/// The kind of failure of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It may succeed in a moment.
    Transient,
    /// The remote asked to be left alone for a while.
    RateLimited,
    /// The object does not exist.
    NotFound,
    /// Access was denied.
    Auth,
    /// Trying again gives the same answer.
    Permanent,
}

impl Fault {
    /// Whether a person must act before trying again helps.
    pub const fn needs_a_person(self) -> bool {
        match self {
            Self::Transient | Self::RateLimited => false,
            Self::NotFound | Self::Auth | Self::Permanent => true,
        }
    }
}

/// The newest impediment of a run, in its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedImpediment {
    /// The current or last impediment.
    pub by: Impediment,
    /// Since when the run was impeded without a break, by this impediment or those before it.
    pub since: At,
    /// When it was cleared; none while it lasts.
    pub over: Option<At>,
}

impl Impediment {
    /// Returns the impediment for a failed port call.
    pub fn port(fault: Fault, error: &str) -> Self {
        Self::Port { fault, error: kept(error) }
    }

    /// Whether a person must act before the run can go on.
    pub const fn needs_a_person(&self) -> bool {
        match self {
            Self::Port { fault, .. } => fault.needs_a_person(),
            Self::Minor { .. } => false,
            Self::Policy { .. }
            | Self::Hook { .. }
            | Self::Workspace { .. }
            | Self::Overtaken { .. }
            | Self::Rewritten { .. }
            | Self::Switched { .. }
            | Self::SwitchedAway { .. }
            | Self::TakenOut { .. }
            | Self::MergedElsewhere { .. }
            | Self::PushRefused { .. }
            | Self::TryTaken { .. }
            | Self::Forged { .. } => true,
        }
    }

    /// What is in the way, in a sentence for people.
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
            Self::Overtaken { times, minutes: 0 } => {
                format!("the default branch moved {times} times while the change was being judged")
            }
            Self::Overtaken { times, minutes } => format!(
                "the default branch moved {times} times within {minutes} min, each time before \
                 the change on top of it was judged: label the issue again when fewer people push, \
                 or make verify faster"
            ),
            Self::Rewritten { branch, gone, head, why } => {
                let why = match why {
                    NotRebuilt::Conflict { paths } => {
                        format!("the change conflicts with it in: {}", paths.join(", "))
                    }
                    NotRebuilt::KeepsHistory => "history = \"merge\" keeps the agent's commits, \
                                                 and these would bring back what was taken out"
                        .to_owned(),
                };
                format!(
                    "{branch} was rewritten: it no longer has {}, on which the work stands, and is \
                     {} now; nothing was pushed, because {why}",
                    gone.short(),
                    head.short()
                )
            }
            Self::Switched { from, to, remote, landed } => {
                let nothing = if *landed { "nothing more" } else { "nothing" };
                format!(
                    "the default branch of {remote} is {to} now, and was {from} when the run \
                     began: the work was released, made and judged for {from}, so that {nothing} \
                     was pushed; label the issue again to have it done on {to}"
                )
            }
            Self::SwitchedAway { commit, from, to, remote } => format!(
                "the default branch of {remote} is {to} now, and was {from} when the run began: {} \
                 landed on {from}, and {to} does not have it, so that the issue is not done; bring \
                 the commit to {to} and close the issue, or label it again to have it done there",
                commit.short()
            ),
            Self::TakenOut { commit, branch } => format!(
                "{} landed on {branch}, and somebody took it out again: it is not on {branch} any \
                 more, so that the issue is not done",
                commit.short()
            ),
            Self::MergedElsewhere { commit, branch } => format!(
                "the pull request was merged as {}, but {branch} does not have that commit: it was \
                 merged into another branch, or taken out again, so that the issue is not done; \
                 bring the commit to {branch} and close the issue, or label it again",
                commit.short()
            ),
            Self::PushRefused { commit, branch, remote, why, times } => {
                let times = match times {
                    0 | 1 => String::new(),
                    n => format!(" (tried {n} times)"),
                };
                format!("{remote} refused the push of {} to {branch}{times}: {why}", commit.short())
            }
            Self::TryTaken { branch, remote, head } => {
                format!(
                    "{branch} on {remote} is {}, which this run did not push there",
                    head.short()
                )
            }
            Self::Forged { commit, branch } => format!(
                "{} on {branch} carries the trailer of a run, and the control plane did not push \
                 it: find out who did, then lift the freeze",
                commit.short()
            ),
        }
    }

    /// Whether it differs from `other` in more than numbers and ids: a port that puts the time into
    /// each of its errors must not fill the journal.
    pub fn is_news_after(&self, other: &Self) -> bool {
        self.needs_a_person() != other.needs_a_person()
            || without_numbers(&self.sentence()) != without_numbers(&other.sentence())
    }
}

/// An error as it is kept: without terminal sequences, and of limited length.
pub fn kept(error: &str) -> String {
    text::visible(error.trim(), ERROR)
}

/// `text` with all words that contain a digit made equal.
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
    #[allow(clippy::too_many_lines, reason = "most of it is the table")]
    fn each_impediment_says_what_is_in_the_way_and_whether_a_person_must_act() {
        let oid = |digit: &str| digit.repeat(40).parse::<Oid>().unwrap();
        let [branch, remote, error] = ["main", "the remote", "no way"].map(str::to_owned);
        let commit = oid("c");
        let (from, to) = (branch.clone(), "trunk".to_owned());
        let rewritten = |why| Impediment::Rewritten {
            branch: "main".to_owned(),
            gone: oid("a"),
            head: oid("b"),
            why,
        };
        let switched = |landed| Impediment::Switched {
            from: "main".to_owned(),
            to: "trunk".to_owned(),
            remote: "the remote".to_owned(),
            landed,
        };
        let push = |times| Impediment::PushRefused {
            commit: oid("c"),
            branch: "main".to_owned(),
            remote: "the remote".to_owned(),
            why: "locked".to_owned(),
            times,
        };
        let conflict = NotRebuilt::Conflict { paths: vec!["a".to_owned(), "b".to_owned()] };
        let transient = Impediment::Port { fault: Fault::Transient, error: error.clone() };
        for (impediment, person, expected) in [
            (transient, false, "no way"),
            (Impediment::Port { fault: Fault::Auth, error: error.clone() }, true, "no way"),
            (Impediment::Minor { error: error.clone() }, false, "no way"),
            (Impediment::Hook { error: error.clone() }, true, "no way"),
            (Impediment::Workspace { error: error.clone() }, true, "no way"),
            (
                Impediment::Policy { base: oid("b"), error },
                true,
                "the repository's policy at bbbbbbbb cannot be used, so nothing was begun: no way",
            ),
            (
                Impediment::Overtaken { times: 4, minutes: 0 },
                true,
                "the default branch moved 4 times while the change was being judged",
            ),
            (
                Impediment::Overtaken { times: 4, minutes: 31 },
                true,
                "the default branch moved 4 times within 31 min, each time before the change on \
                 top of it was judged: label the issue again when fewer people push, or make \
                 verify faster",
            ),
            (
                rewritten(conflict),
                true,
                "main was rewritten: it no longer has aaaaaaaa, on which the work stands, and is \
                 bbbbbbbb now; nothing was pushed, because the change conflicts with it in: a, b",
            ),
            (
                rewritten(NotRebuilt::KeepsHistory),
                true,
                "main was rewritten: it no longer has aaaaaaaa, on which the work stands, and is \
                 bbbbbbbb now; nothing was pushed, because history = \"merge\" keeps the agent's \
                 commits, and these would bring back what was taken out",
            ),
            (
                switched(false),
                true,
                "the default branch of the remote is trunk now, and was main when the run began: \
                 the work was released, made and judged for main, so that nothing was pushed; \
                 label the issue again to have it done on trunk",
            ),
            (
                switched(true),
                true,
                "the default branch of the remote is trunk now, and was main when the run began: \
                 the work was released, made and judged for main, so that nothing more was pushed; \
                 label the issue again to have it done on trunk",
            ),
            (
                Impediment::SwitchedAway {
                    commit: commit.clone(),
                    from,
                    to,
                    remote: remote.clone(),
                },
                true,
                "the default branch of the remote is trunk now, and was main when the run began: \
                 cccccccc landed on main, and trunk does not have it, so that the issue is not \
                 done; bring the commit to trunk and close the issue, or label it again to have it \
                 done there",
            ),
            (
                Impediment::TakenOut { commit: commit.clone(), branch: branch.clone() },
                true,
                "cccccccc landed on main, and somebody took it out again: it is not on main any \
                 more, so that the issue is not done",
            ),
            (
                Impediment::MergedElsewhere { commit: commit.clone(), branch: branch.clone() },
                true,
                "the pull request was merged as cccccccc, but main does not have that commit: it \
                 was merged into another branch, or taken out again, so that the issue is not \
                 done; bring the commit to main and close the issue, or label it again",
            ),
            (push(1), true, "the remote refused the push of cccccccc to main: locked"),
            (
                push(2),
                true,
                "the remote refused the push of cccccccc to main (tried 2 times): locked",
            ),
            (
                Impediment::TryTaken { branch: branch.clone(), remote, head: oid("d") },
                true,
                "main on the remote is dddddddd, which this run did not push there",
            ),
            (
                Impediment::Forged { commit, branch },
                true,
                "cccccccc on main carries the trailer of a run, and the control plane did not push \
                 it: find out who did, then lift the freeze",
            ),
        ] {
            assert_eq!(impediment.sentence(), expected);
            assert_eq!(impediment.needs_a_person(), person, "{expected}");
        }
    }

    #[test]
    fn who_has_to_do_something() {
        let needs = |fault: Fault| fault.needs_a_person();
        assert!(!needs(Fault::Transient) && !needs(Fault::RateLimited));
        assert!(needs(Fault::NotFound) && needs(Fault::Auth) && needs(Fault::Permanent));
    }
}
