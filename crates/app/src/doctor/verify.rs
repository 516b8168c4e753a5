//! Runs `verify` on the default branch as the loop does before it pays for a turn. One repository
//! after another, so that each has the machine for itself.

use std::collections::BTreeSet;
use std::time::Duration;

use afk_core::ids::RepoName;
use afk_core::proof::{CouldNotRun, Lacks, ProofPolicyConfig, RunResult, Verify};
use afk_engine::pass::{BaseAnswer, BaseTold};
use tokio_util::sync::CancellationToken;

use super::{Check, Finding};
use crate::App;

/// Whose command is run, and who is told.
pub struct Verifying<'a> {
    /// The repositories; without any, all enrolled ones, or all that are configured if none is.
    pub repos: Vec<RepoName>,
    /// Called before each.
    pub begins: &'a (dyn Fn(&RepoName) + Send + Sync),
    /// Stops it.
    pub cancel: CancellationToken,
}

/// A finding for each repository. Those that `failed` otherwise are left out: they would fail for the
/// same reason.
pub(super) async fn examine(
    app: &App,
    verifying: &Verifying<'_>,
    failed: &BTreeSet<String>,
) -> Vec<Finding> {
    let policy = &app.config.policy;
    let repos: Vec<RepoName> = if !verifying.repos.is_empty() {
        verifying.repos.clone()
    } else if policy.allowlist.is_empty() {
        policy.repos.keys().cloned().collect()
    } else {
        policy.allowlist.iter().cloned().collect()
    };
    let mut found = Vec::new();
    for repo in &repos {
        let check = Check::of(repo.as_str(), "verify");
        if verifying.cancel.is_cancelled() {
            found.push(check.failure("not run: it was interrupted", "run `afk doctor` again"));
            continue;
        }
        let table = app.config.policy.repos.get(repo);
        if table.is_some_and(|table| table.verify == Verify::None) {
            // Said of its table already.
            continue;
        }
        if failed.contains(repo.as_str()) || failed.contains(super::MACHINE) {
            found.push(check.note("not run: it would fail for what is said above"));
            continue;
        }
        (verifying.begins)(repo);
        found.push(match app.engine.tell_base(repo, &verifying.cancel).await {
            Ok(told) => {
                let table = app.config.policy.repos.get(repo);
                finding(check, told, table.map_or(&ProofPolicyConfig::default(), |it| &it.proof))
            }
            Err(error) => {
                let says = format!("could not be run: {}", error.chain());
                let mend = "mend what it names, and run `afk doctor` again; `afk -vv doctor` shows \
                            what was tried";
                check.failure(says, mend)
            }
        });
    }
    found
}

/// What is said of an answer. With a report failures are told apart, so that a base that fails may
/// be worked on.
fn finding(check: Check<'_>, told: BaseTold, proof: &ProofPolicyConfig) -> Finding {
    let BaseTold { branch, head, answer } = told;
    let at = format!("on {branch} at {}", head.short());
    match answer {
        BaseAnswer::NoCommand => check.warning(
            "not run: there is no command",
            "add tests, and set verify to the command that runs them",
        ),
        BaseAnswer::Passes { took, remembered, flaky } => {
            let before = if remembered { ", as it did before" } else { "" };
            let says = format!("passes {at} in {}{before}", seconds(took));
            let passes = if flaky {
                let says = format!("{says}; it failed before it passed");
                check.warning(says, "mend the tests that fail by chance: each one costs attempts")
            } else {
                check.ok(says)
            };
            Finding { seconds: Some(took.as_secs_f64()), ..passes }
        }
        BaseAnswer::Fails { result, tail, took } => {
            let says = format!("{result} {at}, each time, after {}", seconds(took));
            let fails = if proof.junit.is_some() {
                check.warning(
                    format!("{says}; test reports tell failures apart"),
                    "mend the default branch: a change on it is proved by reports alone",
                )
            } else {
                let mend = cure(&result, &tail, proof);
                check.failure(says, format!("no issue is worked until it passes: {mend}"))
            };
            let output = Some(tail.trim().to_owned()).filter(|tail| !tail.is_empty());
            Finding { seconds: Some(took.as_secs_f64()), output, ..fails }
        }
    }
}

/// How to mend a command that does not pass.
fn cure(result: &RunResult, tail: &str, proof: &ProofPolicyConfig) -> String {
    if let Some(lacks) = Lacks::of(result, tail, proof) {
        return lacks.to_string();
    }
    let cure = match result {
        RunResult::CouldNotRun { why: CouldNotRun::Timeout } => {
            "raise verify_timeout_seconds if the tests are that slow; if they hang, see what they \
             wait for: the sandbox has no network unless `network.verify`, and nothing on standard \
             input"
        }
        RunResult::CouldNotRun {
            why:
                CouldNotRun::OutOfMemory | CouldNotRun::TooManyProcesses | CouldNotRun::TooMuchOutput,
        } => "let it run less at a time or print less, or mend what runs away in it",
        RunResult::Passed | RunResult::Failed { .. } | RunResult::CouldNotRun { .. } => {
            "mend the default branch, or what the command needs in the sandbox (no network unless \
             `network.verify`, an empty home, only what `read` shows)"
        }
    };
    cure.to_owned()
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
