//! GitHub's check runs, commit statuses and workflow runs as one set of checks. Pure.
//!
//! Fields are named as in GitHub's own description of its API. States and conclusions that it does
//! not list yet count as pending.

use std::collections::{BTreeMap, BTreeSet};

use afk_core::ids::At;
use afk_core::run::TRY_PREFIX;
use serde::Deserialize;

use crate::stages::chance::{by_bot, by_chance};
use crate::stages::set::{Check, Required, State};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct CheckRun {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) status: String,
    pub(super) conclusion: Option<String>,
    pub(super) started_at: Option<At>,
    pub(super) completed_at: Option<At>,
    pub(super) html_url: Option<String>,
    pub(super) app: Option<Id>,
    pub(super) check_suite: Option<Id>,
    pub(super) output: Output,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Id {
    pub(super) id: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Output {
    pub(super) title: Option<String>,
    pub(super) summary: Option<String>,
    pub(super) text: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) id: u64,
    pub(super) state: String,
    pub(super) context: String,
    pub(super) description: Option<String>,
    pub(super) target_url: Option<String>,
    pub(super) updated_at: Option<At>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct WorkflowRun {
    pub(super) id: u64,
    pub(super) workflow_id: u64,
    /// Where its workflow is: a file of the repo, or below `dynamic/` if GitHub made it.
    pub(super) path: String,
    pub(super) event: String,
    /// The branch or tag that it ran for; none if it is gone.
    pub(super) head_branch: Option<String>,
    pub(super) status: Option<String>,
    pub(super) conclusion: Option<String>,
    pub(super) check_suite_id: Option<u64>,
    pub(super) run_attempt: Option<u32>,
    pub(super) run_started_at: Option<At>,
    pub(super) updated_at: Option<At>,
    pub(super) html_url: String,
    pub(super) repository: Option<Id>,
    /// The repo of the branch that it ran for; none if that repo is gone.
    pub(super) head_repository: Option<Id>,
}

impl WorkflowRun {
    /// Whether it is about the commit. A run for a pull request from a fork is not: a stranger can
    /// open one whose head is any commit. A run for a candidate's branch no longer is once the
    /// commit has `landed`: there, jobs of the default branch are skipped, and so look green.
    fn counts(&self, landed: bool) -> bool {
        let is_strangers =
            self.event.starts_with("pull_request") && self.head_repository != self.repository;
        let branch = self.head_branch.as_deref().unwrap_or_default();
        let is_candidates = landed && branch.starts_with(TRY_PREFIX);
        !is_strangers && !is_candidates && !by_chance(&self.event) && !by_bot(&self.path)
    }

    /// Whether it takes the place of `older`: of a run of the same workflow for the same event and
    /// branch that gave no result, or that failed before a person started this one by hand. A run
    /// for another branch or tag, or after another deployment, does not: it may skip the very job
    /// that is under way or has failed in `older`. (A run that is started again keeps its id.)
    fn replaces(&self, older: &Self) -> bool {
        let is_same = self.workflow_id == older.workflow_id
            && self.event == older.event
            && self.head_branch == older.head_branch;
        let is_over = match outcome(older) {
            Some(State::Void) => true,
            Some(State::Failure) => self.event == "workflow_dispatch",
            Some(State::Success | State::Pending) | None => false,
        };
        is_same && self.id > older.id && is_over
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) status: String,
    pub(super) conclusion: Option<String>,
    pub(super) started_at: Option<At>,
    pub(super) completed_at: Option<At>,
    pub(super) html_url: Option<String>,
    pub(super) check_run_url: String,
}

/// A rule of a branch. Only the parameters of required checks are read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rule {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) parameters: Option<RuleParameters>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RuleParameters {
    pub(super) required_status_checks: Vec<RequiredCheck>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RequiredCheck {
    pub(super) context: String,
    /// The app that must have reported it, in a rule.
    pub(super) integration_id: Option<i64>,
    /// The app that must have reported it, in classic protection; -1 for any.
    pub(super) app_id: Option<i64>,
}

/// A branch, with its classic protection.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Branch {
    pub(super) protection: Option<Protection>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Protection {
    pub(super) required_status_checks: Option<ProtectedChecks>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ProtectedChecks {
    pub(super) contexts: Vec<String>,
    pub(super) checks: Vec<RequiredCheck>,
}

/// The checks that rules and classic protection require.
pub(super) fn required(rules: &[Rule], branch: &Branch) -> BTreeSet<Required> {
    let one = |check: &RequiredCheck| {
        let app = check.integration_id.or(check.app_id).and_then(|app| u64::try_from(app).ok());
        Required::named(&check.context, app)
    };
    let rules = rules.iter().filter(|rule| rule.kind == "required_status_checks");
    let demanded =
        rules.flat_map(|rule| &rule.parameters).flat_map(|all| &all.required_status_checks);
    let mut all: BTreeSet<_> = demanded.map(one).collect();
    let classic = branch.protection.as_ref().and_then(|all| all.required_status_checks.as_ref());
    if let Some(ProtectedChecks { contexts, checks }) = classic {
        all.extend(checks.iter().map(one));
        let named = |name: &&String| !checks.iter().any(|check| check.context == **name);
        all.extend(contexts.iter().filter(named).map(|name| Required::named(name, None)));
    }
    all
}

/// Where a check of the set came from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// A check run, and the id of its workflow run if it is one of Actions.
    Run(CheckRun, Option<u64>),
    /// A job and the id of its workflow run, where check runs cannot be read.
    Job(Job, u64),
    /// A commit status.
    Status(Status),
    /// The id of a workflow run that failed while none of its jobs did.
    Workflow(u64),
}

impl Source {
    /// The id of the workflow run that it belongs to.
    pub(super) fn workflow(&self) -> Option<u64> {
        match self {
            Self::Run(_, run) => *run,
            Self::Job(_, run) | Self::Workflow(run) => Some(*run),
            Self::Status(_) => None,
        }
    }
}

/// Everything that GitHub has about a commit.
#[derive(Debug, Clone, Default)]
pub(super) struct CommitChecks {
    /// Whether the default branch has the commit.
    pub(super) landed: bool,
    /// The check runs; none where the token may not read them.
    pub(super) checks: Option<Vec<CheckRun>>,
    pub(super) statuses: Vec<Status>,
    pub(super) runs: Vec<WorkflowRun>,
    /// The jobs of each run, read where check runs cannot be.
    pub(super) jobs: BTreeMap<u64, Vec<Job>>,
}

impl CommitChecks {
    /// The set of checks, each with where it came from.
    pub(super) fn set(&self) -> Vec<(Check, Source)> {
        let runs = self.current();
        let mut set = match &self.checks {
            Some(checks) => self.of_check_runs(checks, &runs),
            None => self.of_jobs(&runs),
        };
        set.extend(newest_statuses(&self.statuses).map(|status| {
            let state = match status.state.as_str() {
                "success" => State::Success,
                "failure" | "error" => State::Failure,
                _ => State::Pending,
            };
            let (name, at) = (status.context.clone(), status.updated_at);
            (Check { name, app: None, state, at }, Source::Status(status.clone()))
        }));
        // A workflow file that GitHub cannot read fails without a job, and so without a check.
        let bare = runs.iter().filter(|run| outcome(run) == Some(State::Failure)).filter(|run| {
            !set.iter().any(|(check, source)| {
                check.state == State::Failure && source.workflow() == Some(run.id)
            })
        });
        let bare: Vec<_> = bare
            .map(|run| {
                let name = format!("workflow run {}", run.id);
                let (state, at) = (State::Failure, run.updated_at);
                (Check { name, app: None, state, at }, Source::Workflow(run.id))
            })
            .collect();
        set.extend(bare);
        set
    }

    /// The workflow runs that count, oldest first: of those about the commit, each that no newer
    /// one replaces.
    pub(super) fn current(&self) -> Vec<&WorkflowRun> {
        let about: Vec<_> = self.runs.iter().filter(|run| run.counts(self.landed)).collect();
        let is_replaced = |run: &WorkflowRun| about.iter().any(|newer| newer.replaces(run));
        let mut current: Vec<_> = about.iter().copied().filter(|run| !is_replaced(run)).collect();
        current.sort_by_key(|run| run.id);
        current
    }

    /// The newest check run of each app, suite and name: one of the same name in another suite is
    /// another check. Those of a workflow run that does not count are left out.
    fn of_check_runs(&self, all: &[CheckRun], runs: &[&WorkflowRun]) -> Vec<(Check, Source)> {
        let mut newest: BTreeMap<(Option<u64>, Option<u64>, &str), &CheckRun> = BTreeMap::new();
        for one in all {
            let suite = one.check_suite.map(|suite| suite.id);
            let key = (one.app.map(|app| app.id), suite, one.name.as_str());
            let known = newest.entry(key).or_insert(one);
            if one.id > known.id {
                *known = one;
            }
        }
        let counted = newest.into_iter().filter_map(|((app, suite, name), one)| {
            let same = |run: &&WorkflowRun| suite.is_some() && run.check_suite_id == suite;
            let run = runs.iter().copied().find(same);
            if run.is_none() && self.runs.iter().any(|run| same(&run)) {
                return None;
            }
            let state = state(&one.status, one.conclusion.as_deref(), one.completed_at, run);
            let at = one.completed_at.max(one.started_at);
            let check = Check { name: name.to_owned(), app: Some(app.unwrap_or(0)), state, at };
            Some((check, Source::Run(one.clone(), run.map(|run| run.id))))
        });
        counted.collect()
    }

    fn of_jobs(&self, runs: &[&WorkflowRun]) -> Vec<(Check, Source)> {
        let jobs = runs.iter().flat_map(|run| {
            let jobs = self.jobs.get(&run.id).into_iter().flatten();
            jobs.map(move |job| {
                let conclusion = job.conclusion.as_deref();
                let state = state(&job.status, conclusion, job.completed_at, Some(run));
                let at = job.completed_at.max(job.started_at);
                let name = job.name.clone();
                (Check { name, app: None, state, at }, Source::Job(job.clone(), run.id))
            })
        });
        jobs.collect()
    }
}

/// The state of a check; `run` is its workflow run if it is one of Actions.
fn state(
    status: &str,
    conclusion: Option<&str>,
    ended: Option<At>,
    run: Option<&WorkflowRun>,
) -> State {
    if status != "completed" {
        return State::Pending;
    }
    let rerun = run.filter(|run| outcome(run).is_none());
    let is_old = rerun.is_some_and(|run| run.run_started_at.is_some_and(|at| ended < Some(at)));
    match conclusion {
        Some("success") => State::Success,
        // A job whose needs failed is skipped, too, and would look green: its run's outcome counts.
        Some("skipped" | "neutral") => match run.map(outcome) {
            None | Some(Some(State::Success)) => State::Success,
            Some(None) => State::Pending,
            Some(Some(other)) => other,
        },
        // This is the result of an attempt before the one that is under way.
        Some("failure" | "timed_out" | "action_required" | "startup_failure" | "cancelled")
            if is_old =>
        {
            State::Pending
        }
        Some("failure" | "timed_out" | "action_required" | "startup_failure") => State::Failure,
        Some("cancelled" | "stale") => State::Void,
        Some(_) | None => State::Pending,
    }
}

/// How a workflow run ended; none while it has not ended.
pub(super) fn outcome(run: &WorkflowRun) -> Option<State> {
    if run.status.as_deref() != Some("completed") {
        return None;
    }
    match run.conclusion.as_deref() {
        Some("success" | "skipped" | "neutral") => Some(State::Success),
        Some("failure" | "timed_out" | "action_required" | "startup_failure") => {
            Some(State::Failure)
        }
        Some("cancelled" | "stale") => Some(State::Void),
        Some(_) | None => None,
    }
}

/// The newest status of each context. GitHub's own combined status is not used: it is paged, and
/// pending if there is no status.
fn newest_statuses(all: &[Status]) -> impl Iterator<Item = &Status> {
    let mut newest: BTreeMap<&str, &Status> = BTreeMap::new();
    for status in all {
        let known = newest.entry(&status.context).or_insert(status);
        if status.id > known.id {
            *known = status;
        }
    }
    newest.into_values()
}

#[cfg(test)]
mod tests;
