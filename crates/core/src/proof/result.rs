//! The result of running a command on a tree, and the key it is remembered by.
//!
//! The engine fills these in from its jobs. A run that could not be made proves nothing and is
//! never remembered.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::junit::JunitReport;
use crate::digest::Digest;
use crate::ids::Oid;

/// Which tree of a proof is meant; ordered as in reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TreeRole {
    /// The default head's tree (B); for a corrective change, without what the run landed before.
    Base,
    /// The base with only the change's tests (R).
    Red,
    /// The base with only the agent's first commit (B + c1).
    Split,
    /// The one of [`Red`](Self::Red) and [`Split`](Self::Split) that was red, with the change's
    /// judge files added (Rj).
    RedJudge,
    /// The tree that would land, with the base's protected files (C).
    Candidate,
    /// The candidate with the tests, and what runs them, exactly as they were before the newest
    /// change (K).
    Kept,
    /// [`Kept`](Self::Kept) with the change's new test files added, empty except for data files.
    KeptBlank,
    /// [`KeptBlank`](Self::KeptBlank), but with lists as they are now to which the change only adds
    /// new sources: other code may need these to be linked.
    KeptGrown,
    /// The candidate with its existing tests, and the judge files that run them, as they were before
    /// the newest change, but with scripts that run them as they are now.
    KeptScripts,
    /// For a corrective change, as [`Kept`](Self::Kept), but with everything as it was before the
    /// run's first landing.
    KeptWhole,
    /// [`KeptWhole`](Self::KeptWhole) with all new test files of the run added, empty except for
    /// data files, and with lists as they are now to which the run only added new sources.
    KeptWholeBlank,
    /// The candidate with its own tests, and with what runs them as it was before the newest
    /// change.
    OldRunner,
    /// [`OldRunner`](Self::OldRunner) with the change's tests made unreadable, but not those of them
    /// that run others.
    OldRunnerSilenced,
    /// The candidate with the change's tests made unreadable (S).
    Silenced,
    /// The candidate with what it leaves of existing tests made unreadable: those of one of up to
    /// eight shares, numbered from 0.
    LeftSilenced(u8),
    /// The base with the tests of that share of [`LeftSilenced`](Self::LeftSilenced) made
    /// unreadable.
    BaseSilenced(u8),
}

impl TreeRole {
    /// Whether the tree is made from the whole of a run's work, and not from its newest change.
    pub(super) const fn is_of_whole(self) -> bool {
        matches!(self, Self::KeptWhole | Self::KeptWholeBlank)
    }

    /// Returns the role's word in stored records, which must never change.
    fn word(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Base => "base",
            Self::Red => "red",
            Self::Split => "split",
            Self::RedJudge => "red_judge",
            Self::Candidate => "candidate",
            Self::Kept => "kept",
            Self::KeptBlank => "kept_blank",
            Self::KeptGrown => "kept_grown",
            Self::KeptScripts => "kept_scripts",
            Self::KeptWhole => "kept_whole",
            Self::KeptWholeBlank => "kept_whole_blank",
            Self::OldRunner => "old_runner",
            Self::OldRunnerSilenced => "old_runner_silenced",
            Self::Silenced => "silenced",
            Self::LeftSilenced(share) => return format!("left_silenced_{share}").into(),
            Self::BaseSilenced(share) => return format!("base_silenced_{share}").into(),
        })
    }
}

impl From<TreeRole> for String {
    fn from(role: TreeRole) -> Self {
        role.word().into_owned()
    }
}

impl TryFrom<String> for TreeRole {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        let share = |rest: Option<&str>| rest.and_then(|share| share.parse().ok());
        Ok(match word.as_str() {
            "base" => Self::Base,
            "red" => Self::Red,
            "split" => Self::Split,
            "red_judge" => Self::RedJudge,
            "candidate" => Self::Candidate,
            "kept" => Self::Kept,
            "kept_blank" => Self::KeptBlank,
            "kept_grown" => Self::KeptGrown,
            "kept_scripts" => Self::KeptScripts,
            "kept_whole" => Self::KeptWhole,
            "kept_whole_blank" => Self::KeptWholeBlank,
            "old_runner" => Self::OldRunner,
            "old_runner_silenced" => Self::OldRunnerSilenced,
            "silenced" => Self::Silenced,
            // Written by versions that did not divide existing tests into shares.
            "moved_silenced" => Self::LeftSilenced(0),
            other => {
                let left = share(other.strip_prefix("left_silenced_")).map(Self::LeftSilenced);
                let base = || share(other.strip_prefix("base_silenced_")).map(Self::BaseSilenced);
                left.or_else(base).ok_or("not a tree of a proof")?
            }
        })
    }
}

impl fmt::Display for TreeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base => "the base",
            Self::Red => "the base with only the change's tests",
            Self::Split => "the base with only the first commit",
            Self::RedJudge => "the base with only the change's tests and what runs them",
            Self::Candidate => "the candidate",
            Self::Kept => "the candidate with the tests as they were",
            Self::KeptBlank => "the candidate with the tests as they were, and its new ones empty",
            Self::KeptGrown => {
                "the candidate with the tests as they were, and new sources in the lists"
            }
            Self::KeptScripts => {
                "the candidate with the tests as they were, and scripts that run them as they are"
            }
            Self::KeptWhole => "the candidate with the tests as they were before the run",
            Self::KeptWholeBlank => {
                "the candidate with the tests as they were before the run, and its new ones empty"
            }
            Self::OldRunner => "the candidate with what runs its tests as it was",
            Self::OldRunnerSilenced => {
                "the candidate with what runs its tests as it was, and its tests made unreadable"
            }
            Self::Silenced => "the candidate with its tests made unreadable",
            Self::LeftSilenced(_) => {
                "the candidate with what it leaves of existing tests made unreadable"
            }
            Self::BaseSilenced(_) => "the base with these tests made unreadable",
        })
    }
}

/// Which of the runs on one tree is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RunKind {
    /// The nth run of the `verify` command, from 1.
    Verify(u32),
    /// A run of the policy's `build` command, which only builds the tests.
    Build,
}

impl RunKind {
    /// The first run of the `verify` command.
    pub const FIRST: Self = Self::Verify(1);
}

impl fmt::Display for RunKind {
    /// Writes the kind's word in stored records, which must never change.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verify(1) => f.write_str("verify"),
            Self::Verify(2) => f.write_str("verify_again"),
            Self::Verify(nth) => write!(f, "verify_{nth}"),
            Self::Build => f.write_str("build"),
        }
    }
}

impl From<RunKind> for String {
    fn from(kind: RunKind) -> Self {
        kind.to_string()
    }
}

impl TryFrom<String> for RunKind {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        let nth = |rest: &str| rest.parse().ok().filter(|nth| *nth > 2);
        match word.as_str() {
            "verify" => Ok(Self::Verify(1)),
            "verify_again" => Ok(Self::Verify(2)),
            "build" => Ok(Self::Build),
            other => other
                .strip_prefix("verify_")
                .and_then(nth)
                .map(Self::Verify)
                .ok_or("not a run that a proof makes"),
        }
    }
}

/// What a run may reach besides its tree. A result holds only for runs under the same conditions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Whether the run has a network.
    pub network: bool,
    /// Whether the sandbox may be weaker than its policy, if the machine cannot do better.
    pub lax: bool,
    /// Folders outside the sandbox that may be read, in the order in which they are searched for
    /// programs.
    pub read: Vec<PathBuf>,
}

impl Conditions {
    /// Returns the words that stand for the conditions in a digest.
    pub(super) fn words(&self) -> impl Iterator<Item = String> {
        let switches = [format!("network={}", self.network), format!("lax={}", self.lax)];
        switches
            .into_iter()
            .chain(self.read.iter().map(|folder| format!("read={}", folder.display())))
    }
}

/// The key that a result is remembered by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResultKey {
    /// Which of the tree's runs it is.
    pub kind: RunKind,
    /// The id of the tree that was run on.
    pub tree: Oid,
    /// The command and its conditions, see [`super::NeededRun::command`].
    pub command: Digest,
}

/// Why a run could not be made, or gave no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum CouldNotRun {
    /// It ran out of time.
    Timeout,
    /// A signal ended it.
    Signal {
        /// The signal's number.
        number: i32,
    },
    /// It was ended for using more memory than it may.
    OutOfMemory,
    /// It was ended for running more processes than it may.
    TooManyProcesses,
    /// It was ended for writing more output than it may.
    TooMuchOutput,
    /// Exit code 126: the command is not executable.
    NotExecutable,
    /// Exit code 127: the command does not exist.
    NotFound,
    /// The sandbox or the checkout could not be created, or the run's output could not be kept.
    Sandbox {
        /// What went wrong, in a sentence.
        detail: String,
    },
    /// What the tree needs from outside could not be fetched.
    NotFetched {
        /// How the `fetch` command ended.
        detail: String,
    },
}

impl CouldNotRun {
    /// Whether the command was never started, for a reason of the machine. The tree was then not
    /// judged at all, and this does not count as a failure of the tree.
    pub const fn was_not_begun(&self) -> bool {
        match self {
            Self::Sandbox { .. } | Self::NotFetched { .. } => true,
            Self::NotExecutable | Self::NotFound => false,
            Self::Timeout | Self::Signal { .. } => false,
            Self::OutOfMemory | Self::TooManyProcesses | Self::TooMuchOutput => false,
        }
    }
}

impl fmt::Display for CouldNotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("it ran out of time"),
            Self::Signal { number } => write!(f, "signal {number} ended it"),
            Self::OutOfMemory => f.write_str("it used more memory than it may"),
            Self::TooManyProcesses => f.write_str("it ran more processes than it may"),
            Self::TooMuchOutput => f.write_str("it wrote more output than it may"),
            Self::NotExecutable => f.write_str("the command is not executable (exit code 126)"),
            Self::NotFound => f.write_str("the command was not found (exit code 127)"),
            Self::Sandbox { detail } => f.write_str(detail),
            Self::NotFetched { detail } => {
                write!(f, "what it needs could not be fetched: {detail}")
            }
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ended", rename_all = "snake_case")]
pub enum RunResult {
    /// Exit code 0.
    Passed,
    /// Any other exit code.
    Failed {
        /// The exit code.
        code: i32,
    },
    /// It gave no result.
    CouldNotRun {
        /// Why not.
        #[serde(flatten)]
        why: CouldNotRun,
    },
}

impl RunResult {
    /// Returns the result for an exit code.
    ///
    /// With 129 to 159, a shell and the sandbox report that a signal ended the program: 128 plus
    /// its number.
    pub fn from_exit_code(code: i32) -> Self {
        match code {
            0 => Self::Passed,
            126 => Self::CouldNotRun { why: CouldNotRun::NotExecutable },
            127 => Self::CouldNotRun { why: CouldNotRun::NotFound },
            129..=159 => Self::CouldNotRun { why: CouldNotRun::Signal { number: code - 128 } },
            code => Self::Failed { code },
        }
    }

    /// Whether other runs may reuse the result. A failure may have been chance: the next run asks
    /// again.
    pub fn is_reusable(&self) -> bool {
        match self {
            Self::Passed => true,
            Self::Failed { .. } | Self::CouldNotRun { .. } => false,
        }
    }
}

impl fmt::Display for RunResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passes"),
            Self::Failed { code } => write!(f, "fails (exit code {code})"),
            Self::CouldNotRun { why } => write!(f, "could not run: {why}"),
        }
    }
}

/// The result of a run, with what people need to understand it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// How the run ended.
    pub result: RunResult,
    /// The end of the run's output, shortened and masked by whoever records it.
    pub tail: String,
    /// How long the run took, in milliseconds.
    #[serde(default)]
    pub millis: u64,
    /// The test report that the run wrote, if the policy names one and it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<JunitReport>,
}

/// What is known about a proof so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProofResults {
    /// The ids of the trees that were made from recipes.
    pub trees: BTreeMap<TreeRole, Oid>,
    /// The runs' records, remembered and new.
    pub runs: BTreeMap<ResultKey, RunRecord>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_failures_from_runs_that_told_nothing() {
        let check = |code, expected: &str, kept| {
            let result = RunResult::from_exit_code(code);
            assert_eq!((result.to_string().as_str(), result.is_reusable()), (expected, kept));
            let json = serde_json::to_string(&result).unwrap();
            assert_eq!(serde_json::from_str::<RunResult>(&json).unwrap(), result, "{json}");
        };
        check(0, "passes", true);
        check(1, "fails (exit code 1)", false);
        check(101, "fails (exit code 101)", false);
        check(125, "fails (exit code 125)", false);
        check(126, "could not run: the command is not executable (exit code 126)", false);
        check(127, "could not run: the command was not found (exit code 127)", false);
        check(128, "fails (exit code 128)", false);
        check(129, "could not run: signal 1 ended it", false);
        check(137, "could not run: signal 9 ended it", false);
        check(159, "could not run: signal 31 ended it", false);
        check(160, "fails (exit code 160)", false);
        check(255, "fails (exit code 255)", false);
        check(-1, "fails (exit code -1)", false);
    }

    #[test]
    fn the_words_of_trees_in_stored_records_are_these() {
        use TreeRole::{
            BaseSilenced, Kept, KeptGrown, KeptScripts, KeptWhole, KeptWholeBlank, LeftSilenced,
            OldRunnerSilenced,
        };
        for (word, role) in [
            ("kept", Kept),
            ("kept_grown", KeptGrown),
            ("kept_scripts", KeptScripts),
            ("kept_whole", KeptWhole),
            ("kept_whole_blank", KeptWholeBlank),
            ("old_runner_silenced", OldRunnerSilenced),
            ("left_silenced_0", LeftSilenced(0)),
            ("base_silenced_7", BaseSilenced(7)),
        ] {
            assert_eq!(serde_json::to_value(role).unwrap(), word);
            assert_eq!(serde_json::from_value::<TreeRole>(word.into()).unwrap(), role);
        }
        let old = serde_json::from_value::<TreeRole>("moved_silenced".into()).unwrap();
        assert_eq!(old, LeftSilenced(0));
        for bad in ["", "Kept", "left_silenced", "left_silenced_", "base_silenced_-1"] {
            assert!(serde_json::from_value::<TreeRole>(bad.into()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_words_of_runs_in_stored_records_are_these() {
        let words = [
            ("verify", RunKind::FIRST),
            ("verify_again", RunKind::Verify(2)),
            ("verify_3", RunKind::Verify(3)),
            ("build", RunKind::Build),
        ];
        for (word, kind) in words {
            assert_eq!(serde_json::to_value(kind).unwrap(), word);
            assert_eq!(serde_json::from_value::<RunKind>(word.into()).unwrap(), kind);
        }
        for bad in ["verify_1", "verify_2", "verify_", "verify_-3", "", "again"] {
            assert!(serde_json::from_value::<RunKind>(bad.into()).is_err(), "{bad:?}");
        }
    }
}
