//! Guesses from the end of a run's output what the run lacked.
//!
//! Proof runs have no network, an empty home, and no history unless the policy asks for it. A
//! command that passes for a person may fail here for one of these reasons; then the default branch
//! is not to blame, and people are told what to set. This is advice: no decision depends on it.

use std::fmt;

use super::policy::ProofPolicyConfig;
use super::result::{CouldNotRun, RunResult};

/// What a run lacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingDependency {
    /// A repository with history and tags.
    History,
    /// The network.
    Network,
    /// A program.
    Program,
}

/// The words with which tools report each lack, in lower case.
const WORDS: [(MissingDependency, &[&str]); 3] = [
    (MissingDependency::History, &["not a git repository"]),
    (
        MissingDependency::Network,
        &[
            "could not resolve host",
            "temporary failure in name resolution",
            "name or service not known",
            "network is unreachable",
            "getaddrinfo eai_again",
            "getaddrinfo enotfound",
            "failed to establish a new connection",
            "unable to update registry",
            "spurious network error",
            "server misbehaving",
            "unknownhostexception",
        ],
    ),
    (MissingDependency::Program, &["command not found", ": not found"]),
];

impl MissingDependency {
    /// Returns what a run lacked that ended in `result` with `tail` as the end of its output, if
    /// that can be told.
    pub fn of(result: &RunResult, tail: &str, proof: &ProofPolicyConfig) -> Option<Self> {
        match result {
            RunResult::Passed => return None,
            RunResult::CouldNotRun { why: CouldNotRun::NotFound } => return Some(Self::Program),
            RunResult::Failed { .. } | RunResult::CouldNotRun { .. } => {}
        }
        let tail = tail.to_lowercase();
        let said = |words: &[&str]| words.iter().any(|word| tail.contains(word));
        let lacks = WORDS.iter().find(|(_, words)| said(words)).map(|(lacks, _)| *lacks)?;
        (lacks != Self::History || !proof.git).then_some(lacks)
    }
}

impl fmt::Display for MissingDependency {
    /// Says what was missing, and what to set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::History => {
                "it asks git, and has no repository: `proof.git = true` gives it the history and \
                 the tags"
            }
            Self::Network => {
                "it asks the network, and has none: let `proof.fetch` bring what it needs before \
                 it runs"
            }
            Self::Program => {
                "it calls a program that it does not see: name the folder of its toolchain in \
                 `read`"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(result: &RunResult, tail: &str) -> Option<MissingDependency> {
        MissingDependency::of(result, tail, &ProofPolicyConfig::default())
    }

    #[test]
    fn what_tools_say_tells_what_they_lack() {
        #[track_caller]
        fn check(tail: &str, expected: Option<MissingDependency>) {
            assert_eq!(of(&RunResult::Failed { code: 1 }, tail), expected, "{tail}");
            assert_eq!(of(&RunResult::Passed, tail), None);
        }
        let git = "fatal: not a git repository (or any of the parent directories): .git";
        check(git, Some(MissingDependency::History));
        let npm =
            "npm error code EAI_AGAIN\nnpm error request failed, reason: getaddrinfo EAI_AGAIN";
        check(npm, Some(MissingDependency::Network));
        check("curl: (6) Could not resolve host: example.com", Some(MissingDependency::Network));
        check(
            "error: failed to get `serde`\n  Unable to update registry",
            Some(MissingDependency::Network),
        );
        check("dial tcp: lookup example.com: server misbehaving", Some(MissingDependency::Network));
        check("sh: 1: pytest: not found\n", Some(MissingDependency::Program));
        check("bash: line 1: cargo: command not found", Some(MissingDependency::Program));
        check("assertion failed: 1 != 2", None);
        check("", None);
        let with_history = ProofPolicyConfig { git: true, ..ProofPolicyConfig::default() };
        assert_eq!(
            MissingDependency::of(&RunResult::Failed { code: 128 }, git, &with_history),
            None
        );
    }

    #[test]
    fn a_command_that_does_not_exist_is_told_by_its_exit_code() {
        let could_not_run = |why| RunResult::CouldNotRun { why };
        assert_eq!(of(&could_not_run(CouldNotRun::NotFound), ""), Some(MissingDependency::Program));
        assert_eq!(of(&could_not_run(CouldNotRun::Timeout), ""), None);
    }
}
