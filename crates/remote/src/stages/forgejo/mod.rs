//! The stage `forgejo-status`: the commit statuses and Actions runs of a commit on Forgejo or
//! Gitea.
//!
//! Statuses are what counts, whoever reported them; runs tell what statuses do not: that a job was
//! cancelled, that more is to come, and what the log says. Older servers have no API for runs;
//! there statuses alone are read.

mod fold;

use afk_core::verdict::StageAnswer;
use afk_engine::ports::{PortError, PortErrorKind, PortResult, StageQuery, StageReport};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use fold::{Branch, CommitStatuses, Job, Run, Status};

use super::checks::{PollContext, Settings};
use super::forges::{ChecksOf, Forge};
use super::set::{self, Required, State, Terms};
use super::{nothing_there, tail};
use crate::http::{Method, Request};

/// Entries per page.
const PAGE: usize = 50;
/// How many pages are read at most. The servers' own counts of pages are not relied on.
const PAGES: usize = 100;

/// Reads everything about the commit, and folds it into the stage's answer.
pub(super) async fn poll(
    with: &PollContext<'_>,
    settings: &Settings,
    query: &StageQuery,
) -> PortResult<StageReport> {
    let forge = settings.forge(with.forges, query, ChecksOf::Forgejo)?;
    let Some(seen) = see(&forge, query).await? else { return Ok(nothing_there()) };
    let mut required = of_branch(&forge).await?;
    required.extend(settings.required.iter().cloned());
    let (checks, statuses): (Vec<_>, Vec<_>) = seen.set().into_iter().unzip();
    let ended = |run: &Run| fold::outcome(&run.status, run.conclusion.as_deref()).is_some();
    let terms = Terms {
        required: &required,
        settle: settings.settle,
        unfinished: seen.current().any(|run| !ended(run)),
        changed: seen.current().filter_map(|run| run.updated).max(),
        now: forge.account.server_time(),
    };
    let said = set::fold(&checks, &terms);
    let by = said.by.and_then(|by| statuses.get(by)).copied();
    let run = by.and_then(|status| seen.run(status));
    let link = by.and_then(|status| {
        let own = status.target_url.clone().filter(|url| url.starts_with("http"));
        own.or_else(|| run.map(|run| run.html_url.clone()))
    });
    let next_look = said.after.and_then(|after| with.clock.now().checked_add(after).ok());
    let waits = StageReport { answer: StageAnswer::Pending, link, tail: None, next_look };
    if said.answer.trouble().is_some()
        && query.again > 0
        && let Some(run) = run
        && (!ended(run) || again(with, settings, &forge, query, run).await?)
    {
        return Ok(waits);
    }
    let text = match (said.answer, by) {
        (StageAnswer::Failure, Some(status)) => what_failed(&forge, status, run).await,
        (StageAnswer::Pending, _) if !said.missing.is_empty() => {
            format!("required, and not there yet: {}", said.missing.join(", "))
        }
        _ => String::new(),
    };
    Ok(StageReport { answer: said.answer, tail: tail::kept(text.as_bytes()), ..waits })
}

/// Reads everything that the server has about the commit; none if it does not know the commit.
async fn see(forge: &Forge, query: &StageQuery) -> PortResult<Option<CommitStatuses>> {
    #[derive(Deserialize)]
    struct Runs {
        workflow_runs: Vec<Run>,
    }
    let commit = query.commit.as_str();
    let statuses = all(forge, &forge.get(&["statuses", commit]), |page: Vec<Status>| page).await;
    let statuses = match statuses {
        Ok(statuses) => statuses,
        Err(error) if error.kind == PortErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let runs = forge.get(&["actions", "runs"]).with("head_sha", commit);
    let runs = match all(forge, &runs, |page: Runs| page.workflow_runs).await {
        Ok(runs) => runs,
        // No such route, or Actions are off.
        Err(error) if error.kind == PortErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(Some(CommitStatuses { landed: query.landed, statuses, runs }))
}

/// Reads the pages of a list until one is empty; an error if there are more than [`PAGES`].
async fn all<P: DeserializeOwned, T>(
    forge: &Forge,
    request: &Request,
    list: impl Fn(P) -> Vec<T>,
) -> PortResult<Vec<T>> {
    let mut all = Vec::new();
    for page in 1..=PAGES {
        let request = request.clone().with("limit", PAGE).with("page", page);
        let found = list(forge.account.json(&request).await?);
        if found.is_empty() {
            return Ok(all);
        }
        all.extend(found);
    }
    Err(PortError::permanent(format!("{request}: the list has more than {PAGES} pages")))
}

/// Reads the checks that the default branch's protection requires.
async fn of_branch(forge: &Forge) -> PortResult<Vec<Required>> {
    #[derive(Deserialize)]
    struct Repository {
        default_branch: String,
    }
    let repository: Repository = forge.account.json(&forge.get(&[])).await?;
    let request = forge.get(&["branches", &repository.default_branch]);
    let branch: Branch = forge.account.json(&request).await?;
    Ok(branch.required().into_iter().collect())
}

/// Restarts the run, if the restart that the query asks for was not made yet. Returns whether it
/// was started now.
async fn again(
    with: &PollContext<'_>,
    settings: &Settings,
    forge: &Forge,
    query: &StageQuery,
    run: &Run,
) -> PortResult<bool> {
    if !settings.restart {
        return Ok(false);
    }
    let attempts = match jobs(forge, run.id).await {
        Ok(jobs) => jobs.iter().map(|job| job.attempt).max().unwrap_or(1),
        // A server without this address cannot restart runs either.
        Err(error) if error.kind == PortErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if attempts > query.again {
        return Ok(false);
    }
    let below = ["actions", "runs", &run.id.to_string(), "rerun"];
    let request = forge.request(Method::Post, &below);
    let asked = forge.account.send(&request);
    Ok(with.started.once(query, run.id, asked).await?.is_some())
}

/// Reads the jobs of a run: Forgejo answers with a list, Gitea with an object that contains one.
async fn jobs(forge: &Forge, run: u64) -> PortResult<Vec<Job>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Jobs {
        Plain(Vec<Job>),
        Inside { jobs: Vec<Job> },
    }
    let request = forge.get(&["actions", "runs", &run.to_string(), "jobs"]);
    Ok(match forge.account.json(&request).await? {
        Jobs::Plain(jobs) | Jobs::Inside { jobs } => jobs,
    })
}

/// The text about what failed: the end of a job's log, or what the status says.
async fn what_failed(forge: &Forge, status: &Status, run: Option<&Run>) -> String {
    let own = status.description.clone().unwrap_or_default();
    let ended = run.filter(|run| fold::outcome(&run.status, run.conclusion.as_deref()).is_some());
    let Some(run) = ended else { return own };
    let Ok(jobs) = jobs(forge, run.id).await else { return own };
    let failed =
        |job: &&Job| fold::outcome(&job.status, job.conclusion.as_deref()) == Some(State::Failure);
    // A context consists of the names of the workflow, the job and the event.
    let named = jobs.iter().filter(failed).find(|job| status.context.contains(&job.name));
    let Some(job) = named.or_else(|| jobs.iter().find(failed)) else { return own };
    let log = forge.get(&["actions", "jobs", &job.id.to_string(), "logs"]);
    format!("{}\njob {} failed: {own}", tail::of(&forge.account, &log).await, job.name)
}

#[cfg(test)]
mod tests;
