//! Statuses of commits, and runs of Actions with their jobs and logs, as tests plant them.
//!
//! Gitea's runs have another shape, which Forgejo's description does not know: as Gitea, the fake
//! is a server without an API for runs, as older ones are.

use std::collections::BTreeMap;

use afk_core::ids::{At, Oid, RepoName};
use serde_json::{Value, json};

use super::answers::{
    Answered, CheckedRequest, Content, Forge, Paging, Refusal, missing, refuse, window,
};
use super::payloads::WEB;
use super::state::Kind;
use crate::forge::UnfinishedJob;

/// A status that somebody gave to a commit.
#[derive(Debug, Clone)]
pub struct Status {
    /// The context: what the status is about.
    pub context: String,
    /// `pending`, `success`, `error`, `failure`, `warning` or `skipped`.
    pub state: String,
    /// The description, for people.
    pub description: String,
    /// The number of the run of Actions that it is about, if any.
    pub run: Option<u64>,
}

/// A run of Actions.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its number in its repo, which is in the address of its page.
    pub number: u64,
    /// Its status, in Forgejo's one word: `waiting`, `running`, `success`, `failure`, `cancelled`,
    /// `skipped` or `blocked`.
    pub status: String,
    /// The event that started it, such as `push`.
    pub event: String,
    /// The branch that it runs for; none for that of the run in whose place it is put, or else the
    /// default branch.
    pub branch: Option<String>,
    /// Its jobs.
    pub jobs: Vec<Job>,
}

/// A job of a run.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Its status, in the words of [`Run::status`].
    pub status: String,
    /// Its log.
    pub log: String,
}

/// The statuses and runs of every commit.
#[derive(Debug, Default)]
pub(super) struct Checks {
    statuses: BTreeMap<(RepoName, Oid), Vec<(At, Status)>>,
    runs: BTreeMap<RepoName, Vec<Known>>,
}

/// A run, with what only the server knows of it.
#[derive(Debug, Clone)]
struct Known {
    commit: Oid,
    run: Run,
    updated: At,
    attempt: u64,
}

impl Checks {
    pub(super) fn give(&mut self, repo: &RepoName, commit: &Oid, status: Status, at: At) {
        self.statuses.entry((repo.clone(), commit.clone())).or_default().push((at, status));
    }

    /// Puts a run there, in place of the repo's run of the same number.
    pub(super) fn put(&mut self, repo: &RepoName, commit: &Oid, run: Run, at: At) {
        let runs = self.runs.entry(repo.clone()).or_default();
        let known = runs.iter().find(|one| one.run.number == run.number);
        let attempt = known.map_or(1, |one| one.attempt);
        let branch = run.branch.clone().or_else(|| known.and_then(|one| one.run.branch.clone()));
        runs.retain(|one| one.run.number != run.number);
        let run = Run { branch, ..run };
        runs.push(Known { commit: commit.clone(), run, updated: at, attempt });
        runs.sort_by_key(|one| one.run.number);
    }

    /// The jobs that have not ended, by repo and run.
    pub(super) fn waiting(&self) -> Vec<UnfinishedJob> {
        let mut all = Vec::new();
        for (repo, runs) in &self.runs {
            for Known { commit, run, attempt, .. } in runs {
                let open = run.jobs.iter().filter(|job| is_open(&job.status));
                all.extend(open.map(|job| UnfinishedJob {
                    run: run.number,
                    repo: repo.clone(),
                    commit: commit.clone(),
                    job: job.name.clone(),
                    attempt: u32::try_from(*attempt).unwrap_or(u32::MAX),
                }));
            }
        }
        all
    }

    /// How often each run was started, by its number.
    pub(super) fn attempts(&self, repo: &RepoName) -> BTreeMap<u64, u64> {
        let runs = self.runs.get(repo).into_iter().flatten();
        runs.map(|one| (one.run.number, one.attempt)).collect()
    }
}

impl Forge<'_> {
    /// The statuses of a commit. A commit that is not there has none.
    pub(super) fn statuses(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let Some(commit) = asked.open.get(2).and_then(|name| name.parse::<Oid>().ok()) else {
            return self.wrong("statuses are asked for by the whole name of a commit");
        };
        Ok(self.statuses_of(asked, &repo, &commit))
    }

    /// The statuses of a commit by any of its names; the commit must be there.
    pub(super) fn ref_statuses(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let name = asked.open.get(2).cloned().unwrap_or_default();
        self.read_git(&repo)?;
        let there = |commit: &Oid| match self.state.pulls.git(&repo) {
            Some(bare) => bare.has(commit.as_str()),
            None => self.world.git.commits.contains_key(commit),
        };
        let commit = name.parse::<Oid>().ok().filter(there);
        let Some(commit) = commit.or_else(|| self.world.head(&repo, &name)) else {
            return missing();
        };
        Ok(self.statuses_of(asked, &repo, &commit))
    }

    fn statuses_of(&mut self, asked: &CheckedRequest, repo: &RepoName, commit: &Oid) -> Content {
        let key = (repo.clone(), commit.clone());
        let all = self.state.checks.statuses.get(&key).cloned().unwrap_or_default();
        let wanted = asked.query.get("state");
        let own = self.state.own();
        let creator = self.state.user(&own);
        let shown = all
            .iter()
            .enumerate()
            .filter(|(_, (_, status))| wanted.is_none_or(|wanted| *wanted == status.state));
        let shown = shown.map(|(nth, (at, status))| {
            // Actions write an address without a host.
            let page = status.run.map(|run| format!("/{repo}/actions/runs/{run}/jobs/0"));
            let at = self.state.time(*at);
            json!({
                "context": status.context, "created_at": at, "creator": creator,
                "description": status.description, "id": nth + 1, "status": status.state,
                "target_url": page.unwrap_or_default(), "updated_at": at,
                "url": format!("{}/statuses/{commit}", self.state.repo_url(repo)),
            })
        });
        let mut shown: Vec<Value> = shown.collect();
        if asked.query.get("sort").is_none_or(|sort| sort != "leastindex") {
            shown.reverse();
        }
        Content::List(shown, Paging::LINKED_IF_ASKED)
    }

    pub(super) fn runs(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let all = self.known_runs(&repo)?;
        let commit = asked.query.get("head_sha");
        let of_commit = all.iter().rev();
        let of_commit = of_commit.filter(|one| commit.is_none_or(|id| id == one.commit.as_str()));
        let of_commit: Vec<&Known> = of_commit.collect();
        let window = window(asked, false);
        let page = of_commit.iter().skip(window.skip).take(window.take);
        let page: Vec<Value> = page.map(|one| self.run(&repo, one)).collect();
        let answer = json!({ "total_count": of_commit.len(), "workflow_runs": page });
        Ok(Content::One(200, answer))
    }

    pub(super) fn run_jobs(&mut self, asked: &CheckedRequest) -> Answered {
        let (repo, one) = self.run_asked(asked)?;
        let run_id = self.run_id(&repo, one.run.number);
        let repo_id = self.state.repo_id(&repo);
        let number = one.run.number;
        let mut jobs = Vec::new();
        for (nth, job) in one.run.jobs.iter().enumerate() {
            jobs.push(json!({
                "attempt": one.attempt, "handle": format!("{run_id}-{nth}-{}", one.attempt),
                "html_url": format!("{WEB}/{repo}/actions/runs/{number}/jobs/{nth}"),
                "id": self.job_id(&repo, number, nth), "name": job.name, "needs": null,
                "owner_id": 0, "repo_id": repo_id, "run_id": run_id, "runs_on": ["docker"],
                "status": job.status, "steps": null, "task_id": 0,
            }));
        }
        Ok(Content::One(200, jobs.into()))
    }

    pub(super) fn job_log(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let wanted: Option<u64> = asked.open.get(2).and_then(|id| id.parse().ok());
        for one in self.known_runs(&repo)? {
            for (nth, job) in one.run.jobs.iter().enumerate() {
                if Some(self.job_id(&repo, one.run.number, nth)) == wanted {
                    return Ok(Content::Text(job.log.clone()));
                }
            }
        }
        missing()
    }

    /// Starts a run again, with all of its jobs, if it has ended.
    pub(super) fn rerun(&mut self, asked: &CheckedRequest) -> Answered {
        let (repo, one) = self.run_asked(asked)?;
        if is_open(&one.run.status) {
            return refuse(400, "run is not done");
        }
        let now = self.world.tracker_now();
        let runs = self.state.checks.runs.entry(repo).or_default();
        for run in runs.iter_mut().filter(|run| run.run.number == one.run.number) {
            run.attempt += 1;
            run.updated = now;
            "waiting".clone_into(&mut run.run.status);
            run.run.jobs.iter_mut().for_each(|job| "waiting".clone_into(&mut job.status));
        }
        Ok(Content::Empty(204))
    }

    /// The runs of a repo, if the server has an API for them.
    fn known_runs(&self, repo: &RepoName) -> Result<Vec<Known>, Refusal> {
        match self.state.settings.kind {
            Kind::Forgejo => Ok(self.state.checks.runs.get(repo).cloned().unwrap_or_default()),
            Kind::Gitea => missing(),
        }
    }

    /// The run of the request.
    fn run_asked(&mut self, asked: &CheckedRequest) -> Result<(RepoName, Known), Refusal> {
        let repo = Self::repo(asked)?;
        let wanted: Option<u64> = asked.open.get(2).and_then(|id| id.parse().ok());
        let mut runs = self.known_runs(&repo)?.into_iter();
        let found = runs.find(|one| Some(self.run_id(&repo, one.run.number)) == wanted);
        found.map_or_else(missing, |found| Ok((repo, found)))
    }

    fn run_id(&mut self, repo: &RepoName, number: u64) -> u64 {
        self.state.id(&format!("run {repo} {number}"))
    }

    fn job_id(&mut self, repo: &RepoName, run: u64, nth: usize) -> u64 {
        self.state.id(&format!("job {repo} {run} {nth}"))
    }

    fn run(&mut self, repo: &RepoName, one: &Known) -> Value {
        let Run { number, status, event, branch, .. } = &one.run;
        let at = self.state.time(one.updated);
        let own = self.state.own();
        let branch = branch.clone().unwrap_or_else(|| self.default_branch(repo));
        json!({
            "ScheduleID": 0, "approved_by": 0, "commit_sha": one.commit, "created": at,
            "duration": 1_000_000_000, "event": event, "event_payload": "{}",
            "html_url": format!("{WEB}/{repo}/actions/runs/{number}"),
            "id": self.run_id(repo, *number), "index_in_repo": number,
            "is_fork_pull_request": false, "is_ref_deleted": false, "need_approval": false,
            "prettyref": branch, "repository": self.repository(repo),
            "started": at, "status": status, "stopped": at, "title": "what was pushed",
            "trigger_event": event, "trigger_user": self.state.user(&own), "updated": at,
            "workflow_id": "ci.yml",
        })
    }
}

/// Whether a run or a job has not ended.
fn is_open(status: &str) -> bool {
    matches!(status, "waiting" | "running" | "blocked")
}
