//! Answers about the checks of a commit, and about what its branch requires, from what `ci` knows.

use std::collections::BTreeSet;

use afk_core::ids::{Oid, RepoName};
use serde_json::{Value, json};

use super::answers::{Answered, CheckedRequest, Content, Forge, Refusal, refuse};
use super::ci::{ACTIONS, Check, Job, Run, Status};
use super::payloads::{join, time};
use crate::pulls::DEFAULT_BRANCH;

impl Forge<'_> {
    /// The commit of the request; 422 if the repo has none of that name.
    fn commit(&mut self, asked: &CheckedRequest) -> Result<(RepoName, Oid), Refusal> {
        let repo = Self::repo(asked)?;
        let name = asked.open.get(2).cloned().unwrap_or_default();
        let known = match self.state.pulls.git(&repo) {
            Some(bare) => bare.has(&name),
            None => self.world.git.commits.keys().any(|commit| commit.as_str() == name),
        };
        match name.parse() {
            Ok(commit) if known => Ok((repo, commit)),
            _ => refuse(422, format!("No commit found for SHA: {name}")),
        }
    }

    pub(super) fn check_runs(&mut self, asked: &CheckedRequest) -> Answered {
        let (repo, commit) = self.commit(asked)?;
        if self.state.ci.hides_checks {
            return refuse(403, "Resource not accessible by personal access token");
        }
        let all = asked.query.get("filter").is_some_and(|filter| filter == "all");
        let runs: Vec<Run> = self.runs_of(&repo, &commit);
        let mut found: Vec<(u64, Value)> = Vec::new();
        for run in &runs {
            let jobs = if all { run.jobs.iter().collect() } else { run.newest() };
            for job in jobs {
                found.push((job.id, self.job_as_check(run, job)));
            }
        }
        let checks = self.state.ci.checks.iter();
        let checks: Vec<Check> =
            checks.filter(|one| one.repo == repo && one.commit == commit).cloned().collect();
        for check in checks {
            found.push((check.id, self.check(&check)));
        }
        found.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
        if !all {
            // Of the checks of one app with one name, in whatever suites, GitHub shows the newest
            // only.
            let mut shown = BTreeSet::new();
            found.retain(|(_, check)| {
                shown.insert((check["app"]["id"].to_string(), check["name"].to_string()))
            });
        }
        let found = found.into_iter().map(|(_, check)| check).collect();
        Ok(Content::Within("check_runs", found))
    }

    pub(super) fn statuses(&mut self, asked: &CheckedRequest) -> Answered {
        let (repo, commit) = self.commit(asked)?;
        let all = self.state.ci.statuses.iter().rev();
        let all: Vec<Status> =
            all.filter(|one| one.repo == repo && one.commit == commit).cloned().collect();
        Ok(Content::Many(all.iter().map(|status| self.status(status)).collect()))
    }

    pub(super) fn workflow_runs(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let of = asked.query.get("head_sha");
        let runs = self.state.ci.runs.iter().rev().filter(|run| run.repo == repo);
        let runs: Vec<Run> =
            runs.filter(|run| of.is_none_or(|of| run.commit.as_str() == of)).cloned().collect();
        let runs = runs.iter().map(|run| self.workflow_run(run)).collect();
        Ok(Content::Within("workflow_runs", runs))
    }

    pub(super) fn jobs(&mut self, asked: &CheckedRequest) -> Answered {
        let run = self.run(asked)?;
        let all = asked.query.get("filter").is_some_and(|filter| filter == "all");
        let jobs = if all { run.jobs.iter().collect() } else { run.newest() };
        let jobs = jobs.into_iter().map(|job| self.job(&run, job)).collect();
        Ok(Content::Within("jobs", jobs))
    }

    /// Redirects to the other host, which has the logs, under an address that is valid for a
    /// minute.
    pub(super) fn log(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let id = asked.open.get(2).and_then(|id| id.parse::<u64>().ok());
        let mut runs = self.state.ci.runs.iter().filter(|run| run.repo == repo);
        let run = runs.find(|run| run.jobs.iter().any(|job| Some(job.id) == id));
        match run.filter(|run| run.conclusion().is_some()).zip(id) {
            Some((_, id)) => {
                let to = format!("{}/logs/{id}?sig=of-a-minute", self.state.elsewhere);
                Ok(Content::Elsewhere(to))
            }
            None => refuse(404, "Not Found"),
        }
    }

    pub(super) fn start_again(&mut self, asked: &CheckedRequest) -> Answered {
        let known = self.run(asked)?;
        if known.conclusion().is_none() {
            return refuse(403, "This workflow is already running");
        }
        let now = self.world.tracker_now();
        let mut runs = std::mem::take(&mut self.state.ci.runs);
        if let Some(run) = runs.iter_mut().find(|run| run.id == known.id) {
            run.start_again(now, || self.state.fresh_id("job"));
        }
        self.state.ci.runs = runs;
        Ok(Content::One(201, json!({})))
    }

    pub(super) fn rules(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let is_default = asked.open.get(2).is_some_and(|branch| branch == DEFAULT_BRANCH);
        let names = self.state.ci.ruled.get(&repo).filter(|_| is_default).cloned();
        let rule = |names: Vec<String>| {
            let checks = names.iter();
            let checks: Vec<Value> =
                checks.map(|name| json!({ "context": name, "integration_id": ACTIONS })).collect();
            json!({
                "type": "required_status_checks",
                "ruleset_source_type": "Repository",
                "ruleset_source": repo,
                "ruleset_id": 7,
                "parameters": {
                    "required_status_checks": checks,
                    "strict_required_status_checks_policy": false,
                },
            })
        };
        let by_pulls = is_default && self.state.admin.by_pulls.contains(&repo);
        let pulls = by_pulls.then(|| {
            json!({
                "type": "pull_request", "ruleset_source_type": "Repository",
                "ruleset_source": repo, "ruleset_id": 8,
                "parameters": {
                    "dismiss_stale_reviews_on_push": false, "require_code_owner_review": false,
                    "require_last_push_approval": false, "required_approving_review_count": 1,
                    "required_review_thread_resolution": false,
                },
            })
        });
        Ok(Content::Many(names.map(rule).into_iter().chain(pulls).collect()))
    }

    pub(super) fn branch(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        self.read_git(&repo)?;
        let name = asked.open.get(2).cloned().unwrap_or_default();
        let Some(head) = self.world.head(&repo, &name) else {
            return refuse(404, "Branch not found");
        };
        let url = self.state.repo_url(&repo);
        let web = format!("https://github.test/{repo}");
        let required = self.state.ci.protected.get(&repo).filter(|_| name == DEFAULT_BRANCH);
        let names = required.cloned().unwrap_or_default();
        let checks: Vec<Value> =
            names.iter().map(|name| json!({ "context": name, "app_id": null })).collect();
        let is_protected = required.is_some();
        let id = self.state.id(&format!("commit {head}"));
        // No adapter reads what the commit contains.
        let commit = json!({
            "sha": head, "node_id": format!("C_{id}"), "url": format!("{url}/commits/{head}"),
            "html_url": format!("{web}/commit/{head}"),
            "comments_url": format!("{url}/commits/{head}/comments"),
            "author": null, "committer": null, "parents": [],
            "commit": {
                "url": format!("{url}/git/commits/{head}"), "author": null, "committer": null,
                "message": "", "comment_count": 0,
                "tree": { "sha": head, "url": format!("{url}/git/trees/{head}") },
            },
        });
        let answer = json!({
            "name": name, "commit": commit, "protected": is_protected,
            "_links": { "self": format!("{url}/branches/{name}"),
                        "html": format!("{web}/tree/{name}") },
            "protection": {
                "enabled": is_protected,
                "required_status_checks": {
                    "enforcement_level": if is_protected { "non_admins" } else { "off" },
                    "contexts": names, "checks": checks,
                },
            },
            "protection_url": format!("{url}/branches/{name}/protection"),
        });
        Ok(Content::One(200, answer))
    }

    pub(super) fn whole_repository(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let mut whole = self.repository(&repo);
        let now = time(self.world.tracker_now());
        let more = json!({
            "has_discussions": false, "subscribers_count": 1, "network_count": 0,
            "created_at": now, "updated_at": now, "pushed_at": now,
            "permissions": {
                "admin": self.state.admin.administers, "maintain": false, "push": true, "triage": true, "pull": true,
            },
        });
        join(&mut whole, more);
        Ok(Content::One(200, whole))
    }

    fn runs_of(&self, repo: &RepoName, commit: &Oid) -> Vec<Run> {
        let all = self.state.ci.runs.iter();
        all.filter(|run| run.repo == *repo && run.commit == *commit).cloned().collect()
    }

    /// The workflow run of the request.
    fn run(&self, asked: &CheckedRequest) -> Result<Run, Refusal> {
        let repo = Self::repo(asked)?;
        let id = asked.open.get(2).and_then(|id| id.parse::<u64>().ok());
        let mut runs = self.state.ci.runs.iter().filter(|run| run.repo == repo);
        match runs.find(|run| Some(run.id) == id) {
            Some(run) => Ok(run.clone()),
            None => refuse(404, "Not Found"),
        }
    }

    /// A job of Actions, shown as a check.
    fn job_as_check(&mut self, run: &Run, job: &Job) -> Value {
        let Run { id, repo, commit, .. } = run;
        let suite = self.state.id(&format!("suite {id}"));
        let web = format!("https://github.test/{repo}/actions/runs/{id}/job/{}", job.id);
        let app = self.state.app(ACTIONS, "github-actions", run.began);
        let output = json!({
            "title": null, "summary": null, "text": null, "annotations_count": 0,
            "annotations_url": self.annotations(repo, job.id),
        });
        let conclusion = job.ended.as_ref().map(|(_, how)| how.as_str());
        json!({
            "id": job.id, "node_id": format!("CR_{}", job.id), "head_sha": commit,
            "external_id": format!("of-job-{}", job.id),
            "url": format!("{}/check-runs/{}", self.state.repo_url(repo), job.id),
            "html_url": web, "details_url": web,
            "status": if conclusion.is_some() { "completed" } else { "in_progress" },
            "conclusion": conclusion, "started_at": time(job.started),
            "completed_at": job.ended.as_ref().map_or(Value::Null, |(at, _)| time(*at)),
            "output": output, "name": job.name, "check_suite": { "id": suite }, "app": app,
            "pull_requests": [],
        })
    }

    fn annotations(&self, repo: &RepoName, check: u64) -> String {
        format!("{}/check-runs/{check}/annotations", self.state.repo_url(repo))
    }

    /// A check of another app.
    fn check(&mut self, check: &Check) -> Value {
        let Check { id, repo, commit, app, name, at, conclusion, summary } = check;
        let suite = self.state.id(&format!("suite {repo} {commit} {app}"));
        let web = format!("https://app-{app}.test/{id}");
        let by = self.state.app(*app, &format!("app-{app}"), *at);
        let is_over = conclusion.is_some();
        json!({
            "id": id, "node_id": format!("CR_{id}"), "head_sha": commit, "external_id": "",
            "url": format!("{}/check-runs/{id}", self.state.repo_url(repo)),
            "html_url": web, "details_url": web,
            "status": if is_over { "completed" } else { "in_progress" },
            "conclusion": conclusion, "started_at": time(*at),
            "completed_at": if is_over { time(*at) } else { Value::Null },
            "output": {
                "title": name, "summary": summary, "text": null, "annotations_count": 0,
                "annotations_url": self.annotations(repo, *id),
            },
            "name": name, "check_suite": { "id": suite }, "app": by, "pull_requests": [],
        })
    }

    fn status(&mut self, status: &Status) -> Value {
        let Status { id, repo, commit, context, state, description, at } = status;
        let own = self.state.own();
        let creator = self.state.account(&own);
        json!({
            "id": id, "node_id": format!("SC_{id}"), "avatar_url": creator["avatar_url"],
            "url": format!("{}/statuses/{commit}", self.state.repo_url(repo)),
            "state": state, "description": description, "context": context,
            "target_url": format!("https://ci.test/{id}"),
            "created_at": time(*at), "updated_at": time(*at), "creator": creator,
        })
    }

    fn workflow_run(&mut self, run: &Run) -> Value {
        let Run { id, repo, commit, branch, workflow: name, .. } = run;
        let Run { began, started, updated, attempt, .. } = run;
        let base = self.state.repo_url(repo);
        let url = format!("{base}/actions/runs/{id}");
        let suite = self.state.id(&format!("suite {id}"));
        let workflow = self.state.id(&format!("workflow {name} of {repo}"));
        let own = self.state.own();
        let actor = self.state.account(&own);
        let place = self.repository(repo);
        let author = json!({ "name": "Ann", "email": "ann@people.test" });
        json!({
            "id": id, "node_id": format!("WFR_{id}"), "name": name, "display_title": name,
            "check_suite_id": suite, "check_suite_node_id": format!("CS_{suite}"),
            "head_branch": branch, "head_sha": commit, "path": format!(".github/workflows/{}.yml", name.to_lowercase()),
            "run_number": 1, "run_attempt": attempt, "event": "push",
            "status": if run.conclusion().is_some() { "completed" } else { "in_progress" },
            "conclusion": run.conclusion(), "workflow_id": workflow, "url": url,
            "html_url": format!("https://github.test/{repo}/actions/runs/{id}"),
            "pull_requests": [], "created_at": time(*began), "updated_at": time(*updated),
            "run_started_at": time(*started), "actor": actor, "triggering_actor": actor,
            "jobs_url": format!("{url}/jobs"), "logs_url": format!("{url}/logs"),
            "check_suite_url": format!("{base}/check-suites/{suite}"),
            "artifacts_url": format!("{url}/artifacts"), "cancel_url": format!("{url}/cancel"),
            "rerun_url": format!("{url}/rerun"), "previous_attempt_url": null,
            "workflow_url": format!("{base}/actions/workflows/{workflow}"),
            "head_commit": {
                "id": commit, "tree_id": commit, "message": "", "timestamp": time(*began),
                "author": author, "committer": author,
            },
            "repository": place, "head_repository": place,
        })
    }

    fn job(&mut self, run: &Run, job: &Job) -> Value {
        let Run { id, repo, commit, branch, workflow, .. } = run;
        let base = self.state.repo_url(repo);
        let conclusion = job.ended.as_ref().map(|(_, how)| how.as_str());
        json!({
            "id": job.id, "node_id": format!("CR_{}", job.id), "run_id": id,
            "run_url": format!("{base}/actions/runs/{id}"), "run_attempt": job.attempt,
            "head_sha": commit, "head_branch": branch, "workflow_name": workflow,
            "url": format!("{base}/actions/jobs/{}", job.id),
            "html_url": format!("https://github.test/{repo}/actions/runs/{id}/job/{}", job.id),
            "status": if conclusion.is_some() { "completed" } else { "in_progress" },
            "conclusion": conclusion, "created_at": time(job.started),
            "started_at": time(job.started),
            "completed_at": job.ended.as_ref().map_or(Value::Null, |(at, _)| time(*at)),
            "name": job.name, "steps": [], "labels": ["ubuntu-latest"],
            "check_run_url": format!("{base}/check-runs/{}", job.id),
            "runner_id": 1, "runner_name": "runner", "runner_group_id": 1,
            "runner_group_name": "GitHub Actions",
        })
    }
}
