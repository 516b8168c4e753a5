//! CI, as whoever plays it sets it: workflow runs of Actions with their jobs, commit statuses,
//! checks of other apps, and what a branch requires.
//!
//! Nothing runs by itself: whoever plays CI asks what is unfinished and ends it. A failed run that
//! the loop starts again is unfinished once more. The answers of the API are in `checks`.

use std::collections::BTreeMap;

use afk_core::ids::{At, Oid, RepoName};

use super::GitHubFake;
use crate::UnfinishedJob;

/// The number of the app that the checks of Actions are by.
pub(super) const ACTIONS: u64 = 15_368;

/// Everything that is known of CI.
#[derive(Debug, Default)]
pub(super) struct Ci {
    pub(super) runs: Vec<Run>,
    pub(super) statuses: Vec<Status>,
    pub(super) checks: Vec<Check>,
    /// The names of checks that a ruleset requires of each repo's default branch.
    pub(super) ruled: BTreeMap<RepoName, Vec<String>>,
    /// The names of checks that its classic protection requires.
    pub(super) protected: BTreeMap<RepoName, Vec<String>>,
    /// Whether the token may not read check runs, as fine-grained ones may not.
    pub(super) hides_checks: bool,
}

/// A workflow run.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) id: u64,
    pub(super) repo: RepoName,
    pub(super) commit: Oid,
    pub(super) branch: String,
    /// The workflow that it is a run of.
    pub(super) workflow: String,
    pub(super) began: At,
    /// When its newest attempt began.
    pub(super) started: At,
    pub(super) updated: At,
    pub(super) attempt: u32,
    /// The jobs of every attempt; the newest of each name counts.
    pub(super) jobs: Vec<Job>,
    /// Whether another job is to follow, which nothing shows yet.
    pub(super) goes_on: bool,
}

/// A job of a workflow run, which is a check, too.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) attempt: u32,
    pub(super) started: At,
    /// When it ended, and its conclusion.
    pub(super) ended: Option<(At, String)>,
    pub(super) log: String,
}

/// A commit status.
#[derive(Debug, Clone)]
pub(super) struct Status {
    pub(super) id: u64,
    pub(super) repo: RepoName,
    pub(super) commit: Oid,
    pub(super) context: String,
    pub(super) state: String,
    pub(super) description: String,
    pub(super) at: At,
}

/// A check of another app.
#[derive(Debug, Clone)]
pub(super) struct Check {
    pub(super) id: u64,
    pub(super) repo: RepoName,
    pub(super) commit: Oid,
    pub(super) app: u64,
    pub(super) name: String,
    pub(super) at: At,
    pub(super) conclusion: Option<String>,
    pub(super) summary: String,
}

impl Run {
    /// The jobs that count: the newest of each name.
    pub(super) fn newest(&self) -> Vec<&Job> {
        let mut by_name: BTreeMap<&str, &Job> = BTreeMap::new();
        for job in &self.jobs {
            by_name.insert(&job.name, job);
        }
        by_name.into_values().collect()
    }

    /// How the run ended; none while it has not. A run without any job could not even begin.
    pub(super) fn conclusion(&self) -> Option<&str> {
        if self.goes_on {
            return None;
        }
        let newest = self.newest();
        if newest.is_empty() {
            return Some("startup_failure");
        }
        let ends: Option<Vec<&str>> =
            newest.iter().map(|job| job.ended.as_ref().map(|(_, how)| how.as_str())).collect();
        let ends = ends?;
        let worst = ["failure", "timed_out", "action_required", "cancelled"];
        Some(worst.into_iter().find(|bad| ends.contains(bad)).unwrap_or("success"))
    }

    /// Starts the jobs of the run again that failed, as another attempt.
    pub(super) fn start_again(&mut self, now: At, mut id: impl FnMut() -> u64) {
        self.attempt += 1;
        (self.started, self.updated) = (now, now);
        let failed = |job: &&Job| job.ended.as_ref().is_some_and(|(_, how)| how != "success");
        let names: Vec<String> =
            self.newest().into_iter().filter(failed).map(|job| job.name.clone()).collect();
        for name in names {
            self.jobs.push(Job::new(id(), &name, self.attempt, now));
        }
    }
}

impl Job {
    fn new(id: u64, name: &str, attempt: u32, started: At) -> Self {
        Self { id, name: name.to_owned(), attempt, started, ended: None, log: String::new() }
    }
}

impl GitHubFake {
    /// Begins a run of the workflow `CI` on the head of a branch, with these jobs, and returns its
    /// number. Without jobs it has failed already, as one whose file is wrong.
    pub fn begin_run(&self, repo: &RepoName, branch: &str, commit: &Oid, jobs: &[&str]) -> u64 {
        self.begin_run_of("CI", repo, branch, commit, jobs)
    }

    /// Begins a run of the workflow of that name.
    pub fn begin_run_of(
        &self,
        workflow: &str,
        repo: &RepoName,
        branch: &str,
        commit: &Oid,
        jobs: &[&str],
    ) -> u64 {
        let now = self.shared.sim.with(|world| world.tracker_now());
        let mut state = self.shared.state();
        let id = state.fresh_id("run");
        let jobs = jobs.iter().map(|name| Job::new(state.fresh_id("job"), name, 1, now)).collect();
        state.ci.runs.push(Run {
            id,
            repo: repo.clone(),
            commit: commit.clone(),
            branch: branch.to_owned(),
            workflow: workflow.to_owned(),
            began: now,
            started: now,
            updated: now,
            attempt: 1,
            jobs,
            goes_on: false,
        });
        id
    }

    /// Keeps the run going after the jobs that it has: another one waits for them, which is not
    /// shown before it begins.
    pub fn goes_on(&self, run: u64) {
        if let Some(run) = self.shared.state().ci.runs.iter_mut().find(|one| one.id == run) {
            run.goes_on = true;
        }
    }

    /// Begins the job that waited for the others.
    pub fn begin_last_job(&self, run: u64, job: &str) {
        let now = self.shared.sim.with(|world| world.tracker_now());
        let mut state = self.shared.state();
        let id = state.fresh_id("job");
        if let Some(run) = state.ci.runs.iter_mut().find(|one| one.id == run) {
            (run.goes_on, run.updated) = (false, now);
            run.jobs.push(Job::new(id, job, run.attempt, now));
        }
    }

    /// The jobs that have not ended, by run, in the order in which the runs began.
    pub fn unfinished(&self) -> Vec<UnfinishedJob> {
        let state = self.shared.state();
        let jobs = state.ci.runs.iter().flat_map(|run| {
            let open = run.jobs.iter().filter(|job| job.ended.is_none());
            open.map(|job| UnfinishedJob {
                run: run.id,
                repo: run.repo.clone(),
                commit: run.commit.clone(),
                job: job.name.clone(),
                attempt: job.attempt,
            })
        });
        jobs.collect()
    }

    /// Ends a job with one of GitHub's conclusions, such as `success` or `failure`, and with this
    /// log. The run ends with the last of its jobs.
    ///
    /// # Panics
    ///
    /// If this job has ended already, or there is none like it.
    pub fn end_job(&self, of: &UnfinishedJob, conclusion: &str, log: &str) {
        let now = self.shared.sim.with(|world| world.tracker_now());
        let mut state = self.shared.state();
        let run = state.ci.runs.iter_mut().find(|run| run.id == of.run);
        let job = run.and_then(|run| {
            run.updated = now;
            run.jobs.iter_mut().find(|job| job.name == of.job && job.ended.is_none())
        });
        let Some(job) = job else { panic!("{of:?} has ended") };
        job.ended = Some((now, conclusion.to_owned()));
        log.clone_into(&mut job.log);
    }

    /// Sets a status of a commit, in one of GitHub's states.
    pub fn set_status(
        &self,
        repo: &RepoName,
        commit: &Oid,
        context: &str,
        state: &str,
        description: &str,
    ) {
        let at = self.shared.sim.with(|world| world.tracker_now());
        let mut known = self.shared.state();
        let id = known.fresh_id("status");
        known.ci.statuses.push(Status {
            id,
            repo: repo.clone(),
            commit: commit.clone(),
            context: context.to_owned(),
            state: state.to_owned(),
            description: description.to_owned(),
            at,
        });
    }

    /// Adds a check of a commit by an app other than Actions; without a conclusion it is in
    /// progress.
    pub fn set_check(
        &self,
        repo: &RepoName,
        commit: &Oid,
        (app, name): (u64, &str),
        conclusion: Option<&str>,
        summary: &str,
    ) {
        let at = self.shared.sim.with(|world| world.tracker_now());
        let mut state = self.shared.state();
        let id = state.fresh_id("job");
        state.ci.checks.push(Check {
            id,
            repo: repo.clone(),
            commit: commit.clone(),
            app,
            name: name.to_owned(),
            at,
            conclusion: conclusion.map(str::to_owned),
            summary: summary.to_owned(),
        });
    }

    /// Makes a ruleset require these checks of Actions on the default branch.
    pub fn require(&self, repo: &RepoName, checks: &[&str]) {
        let names = checks.iter().map(|name| (*name).to_owned()).collect();
        self.shared.state().ci.ruled.insert(repo.clone(), names);
    }

    /// Makes the classic protection of the default branch require these checks, whoever gives them.
    pub fn protect(&self, repo: &RepoName, checks: &[&str]) {
        let names = checks.iter().map(|name| (*name).to_owned()).collect();
        self.shared.state().ci.protected.insert(repo.clone(), names);
    }

    /// Makes the token a fine-grained one, which may not read check runs.
    pub fn hide_checks(&self) {
        self.shared.state().ci.hides_checks = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_with_its_last_job_and_what_failed_is_started_again() {
        let at = |second| At::from_second(second).unwrap();
        let mut ids = 0;
        let mut id = || {
            ids += 1;
            ids
        };
        let mut run = Run {
            id: 1,
            repo: "o/r".parse().unwrap(),
            commit: "a".repeat(40).parse().unwrap(),
            branch: "main".to_owned(),
            workflow: "CI".to_owned(),
            began: at(1),
            started: at(1),
            updated: at(1),
            attempt: 1,
            jobs: ["lint", "test"].map(|name| Job::new(id(), name, 1, at(1))).into(),
            goes_on: false,
        };
        let end = |run: &mut Run, name: &str, how: &str| {
            let mut open = run.jobs.iter_mut().filter(|job| job.ended.is_none());
            open.find(|job| job.name == name).unwrap().ended = Some((at(2), how.to_owned()));
        };
        assert_eq!(run.conclusion(), None);
        end(&mut run, "test", "failure");
        assert_eq!(run.conclusion(), None);
        end(&mut run, "lint", "success");
        assert_eq!(run.conclusion(), Some("failure"));
        run.start_again(at(3), &mut id);
        assert_eq!((run.conclusion(), run.attempt, run.jobs.len()), (None, 2, 3));
        end(&mut run, "test", "skipped");
        assert_eq!(run.conclusion(), Some("success"));
        run.goes_on = true;
        assert_eq!(run.conclusion(), None, "another job is to follow");
        run.goes_on = false;
        run.jobs.clear();
        assert_eq!(run.conclusion(), Some("startup_failure"));
    }
}
