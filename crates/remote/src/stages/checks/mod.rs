//! The stage `checks`: GitHub's check runs, commit statuses and workflow runs of a commit.
//!
//! What must have passed is what the branch's rules and its protection require, and what the table
//! lists besides; where nothing is required, everything, once it no longer changes. Where the token
//! may not read check runs (no fine-grained one may), the jobs of workflow runs take their place,
//! and the report says so.

mod fold;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use afk_core::config::Mistake;
use afk_core::ids::{AdapterName, At, RepoName};
use afk_core::verdict::StageAnswer;
use afk_engine::ports::{Clock, PortError, PortResult, StageQuery, StageReport};
use jiff::SignedDuration;
use serde::Deserialize;

use fold::{Branch, CheckRun, CommitChecks, Job, Rule, Source, Status, WorkflowRun};

use super::forges::{ChecksOf, Forge, ForgesOfStages};
use super::set::{self, Required, SetAnswer, Terms};
use super::started::Started;
use super::table::StageTable;
use super::{nothing_there, tail};
use crate::github::empty_without_rules;
use crate::http::{Method, RequestFailure};

/// Entries per page: GitHub gives no more.
const PAGE: usize = 100;
/// How long the required checks of a branch are remembered.
const FRESH: SignedDuration = SignedDuration::from_mins(5);
/// The note in a report that was made without check runs.
const NO_CHECKS: &str = "the token may not read check runs (fine-grained tokens have no such \
                         permission), so that workflow runs and statuses alone were read";

/// The settings of a stage that reads a forge's checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// The forge to read; none for the repo's own.
    pub(super) forge: Option<AdapterName>,
    /// The repo's name on the forge, if not the one that the forge is configured with.
    pub(super) repo: Option<RepoName>,
    /// Checks that must have passed besides those that the forge requires.
    pub(super) required: Vec<Required>,
    /// How long the checks must have been still where none is required.
    pub(super) settle: SignedDuration,
    /// Whether a failed run is started again when a query asks for that.
    pub(super) restart: bool,
}

impl Settings {
    /// Reads a stage's table.
    pub(super) fn read(table: &StageTable) -> Result<Self, Mistake> {
        /// How many seconds a set of checks must be still by default.
        const SETTLE: u64 = 60;
        /// The most seconds that are allowed: more is taken for a typo.
        const LONGEST: u64 = 3600;
        let seconds = table.settle_seconds.unwrap_or(SETTLE);
        if seconds > LONGEST {
            return Err(Mistake::at(&["settle_seconds"], "is more than an hour"));
        }
        let required = table.required.iter().flatten();
        if required.clone().any(|name| name.trim().is_empty()) {
            return Err(Mistake::at(&["required"], "contains a blank name; leave it out"));
        }
        Ok(Self {
            forge: table.forge.clone(),
            repo: table.repo.clone(),
            required: required.map(|name| Required::matching(name)).collect(),
            settle: SignedDuration::from_secs(seconds.cast_signed()),
            restart: table.restart.unwrap_or(true),
        })
    }

    /// The repo at its forge; an error unless the forge is of the kind that `checks` names.
    pub(super) fn forge(
        &self,
        forges: &dyn ForgesOfStages,
        query: &StageQuery,
        checks: ChecksOf,
    ) -> PortResult<Forge> {
        let forge = forges.forge(self.forge.as_ref(), &query.repo)?;
        if forge.checks != checks {
            let (is, kind) = match forge.checks {
                ChecksOf::GitHub => ("GitHub", "checks"),
                ChecksOf::Forgejo => ("Forgejo or Gitea", "forgejo-status"),
            };
            let (name, home) = (&query.stage.name, forge.account.home());
            return Err(PortError::permanent(format!(
                "the stage {name:?} asks {home}, which is {is}: make it one of kind {kind:?}"
            )));
        }
        Ok(match &self.repo {
            Some(repo) => Forge { repo: repo.clone(), ..forge },
            None => forge,
        })
    }
}

/// The required checks of branches, and when they were read.
#[derive(Debug, Default)]
pub(super) struct Rules(Mutex<BTreeMap<Branched, (At, Vec<Required>)>>);

/// The forge, if a stage names it, the repo, and where that lives on the forge.
type Branched = (Option<AdapterName>, RepoName, RepoName);

/// What a poll uses besides its settings.
pub(super) struct PollContext<'a> {
    pub(super) forges: &'a dyn ForgesOfStages,
    pub(super) clock: &'a dyn Clock,
    pub(super) started: &'a Started,
    pub(super) rules: &'a Rules,
}

/// Reads everything about the commit, and folds it into the stage's answer.
pub(super) async fn poll(
    with: &PollContext<'_>,
    settings: &Settings,
    query: &StageQuery,
) -> PortResult<StageReport> {
    let forge = settings.forge(with.forges, query, ChecksOf::GitHub)?;
    let Some(seen) = see(&forge, query).await? else { return Ok(nothing_there()) };
    let required = required(with, settings, &forge, query).await?;
    let (checks, sources): (Vec<_>, Vec<_>) = seen.set().into_iter().unzip();
    let runs = seen.current();
    let unfinished = runs.iter().any(|run| fold::outcome(run).is_none());
    let changed = runs.iter().filter_map(|run| run.updated_at).max();
    let now = forge.account.server_time();
    let (required, settle) = (&required[..], settings.settle);
    let said = set::fold(&checks, &Terms { required, settle, unfinished, changed, now });
    let by = said.by.and_then(|by| sources.get(by));
    let run = by.and_then(Source::workflow);
    let run = runs.iter().copied().find(|one| Some(one.id) == run);
    if said.answer.trouble().is_some()
        && let Some(run) = run
        && let Some(report) = again(with, settings, &forge, query, run).await?
    {
        return Ok(report);
    }
    let what = match (said.answer, by) {
        (StageAnswer::Failure, Some(source)) => what_failed(&forge, source, run).await,
        _ => String::new(),
    };
    Ok(report(with, &seen, &said, by, &what))
}

/// Reads everything that GitHub has about the commit; none if it does not know the commit.
async fn see(forge: &Forge, query: &StageQuery) -> PortResult<Option<CommitChecks>> {
    #[derive(Deserialize)]
    struct CheckRuns {
        check_runs: Vec<CheckRun>,
    }
    #[derive(Deserialize)]
    struct WorkflowRuns {
        workflow_runs: Vec<WorkflowRun>,
    }
    let commit = query.commit.as_str();
    let checks = forge.get(&["commits", commit, "check-runs"]);
    let checks = checks.with("filter", "all").with("per_page", PAGE);
    let checks = match forge.account.try_pages(&checks, |page: CheckRuns| page.check_runs).await {
        Ok(checks) => Some(checks),
        Err(RequestFailure { status: Some(403), .. }) => None,
        // No such commit. It may still be on its way there, mirrored from where it was pushed to.
        Err(RequestFailure { status: Some(422), .. }) => return Ok(None),
        Err(RequestFailure { error, .. }) => return Err(error),
    };
    let statuses = forge.get(&["commits", commit, "statuses"]).with("per_page", PAGE);
    let statuses: Vec<Status> = forge.account.pages(&statuses).await?;
    let runs = forge.get(&["actions", "runs"]).with("head_sha", commit).with("per_page", PAGE);
    let runs = forge.account.pages_of(&runs, |page: WorkflowRuns| page.workflow_runs).await?;
    let (landed, none) = (query.landed, BTreeMap::new());
    let mut seen = CommitChecks { landed, checks, statuses, runs, jobs: none };
    if seen.checks.is_none() {
        let ids: Vec<_> = seen.current().iter().map(|run| run.id).collect();
        for id in ids {
            seen.jobs.insert(id, jobs(forge, id).await?);
        }
    }
    Ok(Some(seen))
}

/// Reads the jobs of a workflow run's newest attempt.
async fn jobs(forge: &Forge, run: u64) -> PortResult<Vec<Job>> {
    #[derive(Deserialize)]
    struct Jobs {
        jobs: Vec<Job>,
    }
    let request = forge.get(&["actions", "runs", &run.to_string(), "jobs"]);
    let request = request.with("filter", "latest").with("per_page", PAGE);
    forge.account.pages_of(&request, |page: Jobs| page.jobs).await
}

/// The checks that must have passed: what the default branch requires, and what the table lists.
async fn required(
    with: &PollContext<'_>,
    settings: &Settings,
    forge: &Forge,
    query: &StageQuery,
) -> PortResult<Vec<Required>> {
    let key = (settings.forge.clone(), query.repo.clone(), forge.repo.clone());
    let now = with.clock.now();
    let known = {
        let known = with.rules.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&key).filter(|(at, _)| now.duration_since(*at).abs() < FRESH).cloned()
    };
    let mut required = if let Some((_, required)) = known {
        required
    } else {
        let read = of_branch(forge).await?;
        let mut all = with.rules.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (at, _)| now.duration_since(*at).abs() < FRESH);
        all.insert(key, (now, read.clone()));
        read
    };
    required.extend(settings.required.iter().cloned());
    Ok(required)
}

/// Reads the checks that rules and classic protection of the default branch require.
async fn of_branch(forge: &Forge) -> PortResult<Vec<Required>> {
    #[derive(Deserialize)]
    struct Repository {
        default_branch: String,
    }
    let repository: Repository = forge.account.json(&forge.get(&[])).await?;
    let branch = repository.default_branch.as_str();
    let rules = forge.get(&["rules", "branches", branch]).with("per_page", PAGE);
    let rules = forge.account.try_pages(&rules, |page: Vec<Rule>| page).await;
    let rules = rules.or_else(empty_without_rules)?;
    let branch: Branch = forge.account.json(&forge.get(&["branches", branch])).await?;
    Ok(fold::required(&rules, &branch).into_iter().collect())
}

/// Restarts a workflow run that failed or gave no result, if the query asks for a restart that was
/// not made yet. Returns the report to give instead of the run's answer; none if that answer
/// stands.
async fn again(
    with: &PollContext<'_>,
    settings: &Settings,
    forge: &Forge,
    query: &StageQuery,
    run: &WorkflowRun,
) -> PortResult<Option<StageReport>> {
    let waits = StageReport {
        answer: StageAnswer::Pending,
        link: Some(run.html_url.clone()),
        ..nothing_there()
    };
    if query.again == 0 {
        return Ok(None);
    }
    if fold::outcome(run).is_none() {
        // Until the run ends, its log is not there, and it cannot be started again.
        return Ok(Some(waits));
    }
    let shown = run.run_attempt.unwrap_or(1) > query.again;
    if shown || !settings.restart {
        return Ok(None);
    }
    let below = ["actions", "runs", &run.id.to_string(), "rerun-failed-jobs"];
    let request = forge.request(Method::Post, &below);
    let asked = forge.account.send(&request);
    // Refused if the credential may not do it, or the run cannot be restarted: it is too old, or of
    // an app that decides that for itself.
    Ok(with.started.once(query, run.id, asked).await?.map(|_| waits))
}

/// The text about what failed: the end of a job's log, or what a check or status says.
async fn what_failed(forge: &Forge, source: &Source, run: Option<&WorkflowRun>) -> String {
    match (source, run) {
        (Source::Run(check, _), Some(run)) => {
            let own = format!("/check-runs/{}", check.id);
            log(forge, run, |job| job.check_run_url.ends_with(&own)).await
        }
        (Source::Job(job, _), Some(run)) => log(forge, run, |one| one.id == job.id).await,
        (Source::Workflow(_), Some(run)) => log(forge, run, |_| true).await,
        (Source::Run(check, _), None) => {
            let output = &check.output;
            let parts = [&output.title, &output.summary, &output.text];
            parts.into_iter().flatten().cloned().collect::<Vec<_>>().join("\n")
        }
        (Source::Status(status), _) => status.description.clone().unwrap_or_default(),
        (Source::Job(..) | Source::Workflow(_), None) => String::new(),
    }
}

/// Reads the end of the log of a job that failed: one that `is` picks, or else the first.
async fn log(forge: &Forge, run: &WorkflowRun, is: impl Fn(&Job) -> bool) -> String {
    if fold::outcome(run).is_none() {
        return "its log is there once the workflow run has ended".to_owned();
    }
    let jobs = match jobs(forge, run.id).await {
        Ok(jobs) => jobs,
        Err(error) => return format!("its jobs could not be read: {}", error.chain()),
    };
    let failed = |job: &&Job| job.conclusion.as_deref() == Some("failure");
    let job = jobs.iter().filter(failed).find(|job| is(job)).or_else(|| jobs.iter().find(failed));
    let Some(job) = job else {
        return format!("no job of it failed: see {}", run.html_url);
    };
    let id = job.id.to_string();
    let log = tail::of(&forge.account, &forge.get(&["actions", "jobs", &id, "logs"])).await;
    format!("{log}\njob {} failed", job.name)
}

fn report(
    with: &PollContext<'_>,
    seen: &CommitChecks,
    said: &SetAnswer,
    by: Option<&Source>,
    what: &str,
) -> StageReport {
    let link = by.and_then(|source| match source {
        Source::Run(check, _) => check.html_url.clone(),
        Source::Job(job, _) => job.html_url.clone(),
        Source::Status(status) => status.target_url.clone(),
        Source::Workflow(id) => {
            seen.runs.iter().find(|run| run.id == *id).map(|run| run.html_url.clone())
        }
    });
    let missing = match said.answer {
        StageAnswer::Pending if !said.missing.is_empty() => {
            format!("required, and not there yet: {}", said.missing.join(", "))
        }
        _ => String::new(),
    };
    let note = if seen.checks.is_none() { NO_CHECKS } else { "" };
    let text = [note, what, &missing].join("\n");
    let next_look = said.after.and_then(|after| with.clock.now().checked_add(after).ok());
    StageReport { answer: said.answer, link, tail: tail::kept(text.as_bytes()), next_look }
}

#[cfg(test)]
mod tests;
