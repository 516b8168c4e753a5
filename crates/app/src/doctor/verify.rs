//! Runs `verify` on the default branch, as the loop does before it pays for a turn. One repository
//! after another, so that each has the machine to itself.

use std::collections::BTreeSet;
use std::time::Duration;

use afk_core::ids::RepoName;
use afk_core::proof::{CouldNotRun, MissingDependency, ProofPolicyConfig, RunResult, Verify};
use afk_engine::pass::{BaseAnswer, BaseReport};
use tokio_util::sync::CancellationToken;

use super::{Check, Finding};
use crate::App;

/// For which repositories `verify` is run, and how that is shown and stopped.
pub struct Verifying<'a> {
    /// The repositories. Empty means all enrolled ones, or all configured ones if none is enrolled.
    pub repos: Vec<RepoName>,
    /// Called before each run of `verify`, with the repository's name.
    pub begins: &'a (dyn Fn(&RepoName) + Send + Sync),
    /// Stops the current run of `verify`, and skips the rest.
    pub cancel: CancellationToken,
}

/// Returns a finding for each repository that has a command. `verify` is not run for groups that
/// `failed` another check, or if the machine did: it would fail for the same reason.
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
            found.push(interrupted(check));
            continue;
        }
        let table = app.config.policy.repos.get(repo);
        if table.is_some_and(|table| table.verify == Verify::None) {
            // The findings about its table warn of that already.
            continue;
        }
        if failed.contains(repo.as_str()) || failed.contains(super::MACHINE) {
            found.push(check.note("not run: it would fail for what is said above"));
            continue;
        }
        (verifying.begins)(repo);
        found.push(match app.engine.verify_base(repo, &verifying.cancel).await {
            // Stopped half way, it says nothing about the repository.
            _ if verifying.cancel.is_cancelled() => interrupted(check),
            Ok(told) => {
                let table = app.config.policy.repos.get(repo);
                finding(check, told, table.map_or(&ProofPolicyConfig::default(), |it| &it.proof))
            }
            Err(error) => {
                let says = format!("could not be run: {}", error.chain());
                let remedy = "fix what it names, and run `afk doctor` again; `afk -vv doctor` shows \
                            what was tried";
                check.failure(says, remedy)
            }
        });
    }
    found
}

fn interrupted(check: Check<'_>) -> Finding {
    check.failure("not run: it was interrupted", "run `afk doctor` again")
}

/// The finding from an answer. A base that fails is a warning if test reports are configured: they
/// tell failures apart, so it can be worked on.
fn finding(check: Check<'_>, told: BaseReport, proof: &ProofPolicyConfig) -> Finding {
    let BaseReport { branch, head, answer } = told;
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
                check.warning(says, "fix the tests that fail by chance: each one costs attempts")
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
                    "fix the default branch: a change on it is proved by reports alone",
                )
            } else {
                let remedy = remedy(&result, &tail, proof);
                check.failure(says, format!("no issue is worked until it passes: {remedy}"))
            };
            let output = Some(tail.trim().to_owned()).filter(|tail| !tail.is_empty());
            Finding { seconds: Some(took.as_secs_f64()), output, ..fails }
        }
    }
}

/// How to fix a command that does not pass.
fn remedy(result: &RunResult, tail: &str, proof: &ProofPolicyConfig) -> String {
    if let Some(lacks) = MissingDependency::of(result, tail, proof) {
        return lacks.to_string();
    }
    let remedy = match result {
        RunResult::CouldNotRun { why: CouldNotRun::Timeout } => {
            "raise verify_timeout_seconds if the tests are that slow; if they hang, see what they \
             wait for: the sandbox has no network unless `network.verify`, and nothing on standard \
             input"
        }
        RunResult::CouldNotRun {
            why:
                CouldNotRun::OutOfMemory | CouldNotRun::TooManyProcesses | CouldNotRun::TooMuchOutput,
        } => "let it run less at a time or print less, or fix what runs away in it",
        RunResult::Passed | RunResult::Failed { .. } | RunResult::CouldNotRun { .. } => {
            "fix the default branch, or what the command needs in the sandbox (no network unless \
             `network.verify`, an empty home, only what `read` shows)"
        }
    };
    remedy.to_owned()
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
