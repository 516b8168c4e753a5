//! Forgejo's and Gitea's commit statuses and Actions runs as one set of checks. Pure.
//!
//! The server's own combined status is not used: older servers rank a warning above what is
//! pending.

use std::collections::{BTreeMap, BTreeSet};

use afk_core::ids::At;
use afk_core::run::TRY_PREFIX;
use serde::Deserialize;

use crate::stages::chance::by_chance;
use crate::stages::set::{Check, Required, State};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) id: u64,
    #[serde(rename = "status")]
    pub(super) state: String,
    pub(super) context: String,
    pub(super) description: Option<String>,
    pub(super) target_url: Option<String>,
    pub(super) updated_at: Option<At>,
}

impl Status {
    /// The number of the run that reported it; none if no run of Actions did.
    fn run_number(&self) -> Option<&str> {
        number(self.target_url.as_deref()?)
    }
}

/// A run of Actions. Forgejo has one word for its state; Gitea has two, as GitHub has.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Run {
    pub(super) id: u64,
    pub(super) status: String,
    pub(super) conclusion: Option<String>,
    pub(super) html_url: String,
    pub(super) event: String,
    /// Only Forgejo has it. There, the `event` of a scheduled run is the one at which its schedule
    /// was read.
    pub(super) trigger_event: String,
    /// The branch or tag that it ran for; Forgejo has `#` and a number for a pull request, whose
    /// branch neither server tells.
    #[serde(alias = "head_branch")]
    pub(super) prettyref: Option<String>,
    /// Whether it ran for a pull request from a fork. Only Forgejo has it.
    pub(super) is_fork_pull_request: bool,
    #[serde(alias = "updated_at")]
    pub(super) updated: Option<At>,
}

impl Run {
    /// Whether it is about the commit. A run for a pull request from a fork is not: a stranger can
    /// open one whose head is any commit. A run for a candidate's branch or pull request no longer
    /// is once the commit has `landed`: there, jobs of the default branch are skipped, and so look
    /// green.
    fn counts(&self, landed: bool) -> bool {
        let events = [&self.event, &self.trigger_event];
        let by_chance = events.into_iter().any(|one| by_chance(one));
        let branch = self.prettyref.as_deref().unwrap_or_default();
        let is_before_landing = branch.starts_with(TRY_PREFIX)
            || events.into_iter().any(|one| one.starts_with("pull_request"));
        !(by_chance || self.is_fork_pull_request || landed && is_before_landing)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) status: String,
    pub(super) conclusion: Option<String>,
    pub(super) attempt: u32,
}

/// A branch, with what its protection requires.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Branch {
    pub(super) enable_status_check: bool,
    pub(super) status_check_contexts: Option<Vec<String>>,
}

impl Branch {
    /// The contexts that must have passed. The server takes them for patterns, too.
    pub(super) fn required(&self) -> BTreeSet<Required> {
        let contexts = self.status_check_contexts.iter().flatten();
        let contexts = contexts.filter(|_| self.enable_status_check);
        contexts.map(|name| Required::matching(name)).collect()
    }
}

/// How a run or a job ended; none while it has not ended.
pub(super) fn outcome(status: &str, conclusion: Option<&str>) -> Option<State> {
    let word = match status {
        "completed" => conclusion.unwrap_or_default(),
        other => other,
    };
    match word {
        "success" | "skipped" => Some(State::Success),
        "failure" => Some(State::Failure),
        "cancelled" => Some(State::Void),
        _ => None,
    }
}

/// Everything that the server has about a commit.
#[derive(Debug, Clone, Default)]
pub(super) struct CommitStatuses {
    /// Whether the default branch has the commit.
    pub(super) landed: bool,
    pub(super) statuses: Vec<Status>,
    pub(super) runs: Vec<Run>,
}

impl CommitStatuses {
    /// The set of checks: the newest status of each context in each run, without those of runs
    /// that do not count. (Servers give a scheduled run's statuses the contexts of the push that it
    /// repeats, and a tag's those of the branch.)
    pub(super) fn set(&self) -> Vec<(Check, &Status)> {
        let counts = |status: &&Status| self.run(status).is_none_or(|run| run.counts(self.landed));
        let mut newest: BTreeMap<(&str, Option<&str>), &Status> = BTreeMap::new();
        for status in self.statuses.iter().filter(counts) {
            let known = newest.entry((&status.context, status.run_number())).or_insert(status);
            if status.id > known.id {
                *known = status;
            }
        }
        let newest: Vec<_> = newest.into_values().collect();
        let is_replaced = |status: &Status| newest.iter().any(|one| self.replaces(one, status));
        let check = |status: &Status| Check {
            name: status.context.clone(),
            app: None,
            state: self.state(status),
            at: status.updated_at,
        };
        let current = newest.iter().copied().filter(|status| !is_replaced(status));
        current.map(|status| (check(status), status)).collect()
    }

    /// Whether `newer` takes the place of `older`: of a status of the same context, from an older
    /// run for the same branch, that gave no result, or that failed before a person started the
    /// newer run by hand. A run for another branch or tag hides no other: it may skip the very job
    /// that is under way or has failed there.
    fn replaces(&self, newer: &Status, older: &Status) -> bool {
        let (Some(new), Some(old)) = (self.run(newer), self.run(older)) else { return false };
        let is_over = match self.state(older) {
            State::Void => true,
            State::Failure => new.event == "workflow_dispatch",
            State::Success | State::Pending => false,
        };
        let is_same = newer.context == older.context && new.prettyref == old.prettyref;
        is_same && new.id > old.id && is_over
    }

    fn state(&self, status: &Status) -> State {
        let run = self.run(status).map(|run| outcome(&run.status, run.conclusion.as_deref()));
        match status.state.as_str() {
            "success" | "warning" => State::Success,
            // A job whose needs failed is skipped, too: its run's outcome counts.
            "skipped" => match run {
                None | Some(Some(State::Success)) => State::Success,
                Some(None) => State::Pending,
                Some(Some(other)) => other,
            },
            // The server writes the status of a cancelled job as a failure.
            "failure" | "error" if run == Some(Some(State::Void)) => State::Void,
            "failure" | "error" => State::Failure,
            _ => State::Pending,
        }
    }

    /// The run that a status belongs to, by the number in its address.
    pub(super) fn run(&self, status: &Status) -> Option<&Run> {
        let number = status.run_number()?;
        self.runs.iter().find(|run| self::number(&run.html_url) == Some(number))
    }

    /// The runs that count.
    pub(super) fn current(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| run.counts(self.landed))
    }
}

/// The number of a run, from the address of a page about it.
fn number(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("/actions/runs/")?;
    rest.split(['/', '?', '#']).next().filter(|number| !number.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(statuses: Value, runs: Value, expected: &[(&str, State)]) {
        let statuses = serde_json::from_value(statuses).unwrap();
        let runs = serde_json::from_value(runs).unwrap();
        let seen = CommitStatuses { statuses, runs, ..CommitStatuses::default() };
        let found: Vec<_> = seen.set().into_iter().map(|(one, _)| (one.name, one.state)).collect();
        let expected: Vec<_> = expected.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect();
        assert_eq!(found, expected);
    }

    fn status(id: u64, context: &str, status: &str) -> Value {
        json!({
            "id": id, "status": status, "context": context, "description": "Has a word",
            "target_url": "/you/web/actions/runs/12/jobs/0",
            "created_at": "2026-11-01T10:00:00Z", "updated_at": "2026-11-01T10:00:00Z",
        })
    }

    fn run(status: &str) -> Value {
        json!([{
            "id": 400, "index_in_repo": 12, "status": status, "event": "push",
            "trigger_event": "push",
            "html_url": "https://forge.example/you/web/actions/runs/12",
            "updated": "2026-11-01T10:00:00Z",
        }])
    }

    #[test]
    fn the_newest_status_of_a_context_counts() {
        use State::{Failure, Pending, Success};
        let all = json!([
            status(3, "a", "success"),
            status(1, "a", "failure"),
            status(2, "b", "success"),
            status(4, "b", "pending"),
            status(5, "c", "error"),
            status(6, "d", "warning"),
            status(7, "e", "of next year"),
        ]);
        let expected =
            [("a", Success), ("b", Pending), ("c", Failure), ("d", Success), ("e", Pending)];
        check(all, json!([]), &expected);
    }

    #[test]
    fn a_run_tells_cancelled_from_failed_and_skipped_from_passed() {
        use State::{Failure, Pending, Success, Void};
        let one = |word| json!([status(1, "a", word)]);
        check(one("failure"), run("cancelled"), &[("a", Void)]);
        check(one("failure"), run("failure"), &[("a", Failure)]);
        check(one("failure"), run("running"), &[("a", Failure)]);
        check(one("failure"), json!([]), &[("a", Failure)]);
        check(one("skipped"), run("success"), &[("a", Success)]);
        check(one("skipped"), run("failure"), &[("a", Failure)]);
        check(one("skipped"), run("running"), &[("a", Pending)]);
        check(one("skipped"), json!([]), &[("a", Success)]);
        let other = json!([{ "html_url": "https://forge.example/you/web/actions/runs/1" }]);
        check(one("failure"), other, &[("a", Failure)]);
    }

    #[test]
    fn both_servers_words_are_read() {
        let check = |status, conclusion, expected| {
            assert_eq!(outcome(status, conclusion), expected, "{status} {conclusion:?}");
        };
        check("success", None, Some(State::Success));
        check("completed", Some("success"), Some(State::Success));
        check("completed", Some("failure"), Some(State::Failure));
        check("cancelled", None, Some(State::Void));
        check("running", None, None);
        check("blocked", None, None);
        check("in_progress", None, None);
        check("completed", None, None);
        let read: Run = serde_json::from_value(run("success")[0].clone()).unwrap();
        assert_eq!((read.event.as_str(), read.updated.is_some()), ("push", true));
    }

    #[test]
    fn a_run_that_is_there_by_chance_is_told_by_either_word() {
        let check = |event: Value, expected: bool| {
            let run: Run = serde_json::from_value(event).unwrap();
            assert_eq!(run.counts(false), expected, "{run:?}");
        };
        check(json!({ "event": "push", "trigger_event": "push" }), true);
        check(json!({ "event": "push", "trigger_event": "schedule" }), false);
        check(json!({ "event": "issue_label", "trigger_event": "issues" }), false);
        // Gitea has `event` alone.
        check(json!({ "event": "push" }), true);
        check(json!({ "event": "schedule" }), false);
        check(json!({ "event": "issue_comment" }), false);
        check(json!({ "event": "pull_request", "is_fork_pull_request": false }), true);
        check(json!({ "event": "pull_request", "is_fork_pull_request": true }), false);
    }

    #[test]
    fn a_run_for_a_candidate_does_not_count_once_the_commit_has_landed() {
        let check = |run: Value, expected: bool| {
            let run: Run = serde_json::from_value(run).unwrap();
            assert_eq!((run.counts(false), run.counts(true)), (true, expected), "{run:?}");
        };
        check(json!({ "event": "push", "prettyref": "main" }), true);
        check(json!({ "event": "push", "prettyref": "v1.2" }), true);
        check(json!({ "event": "push", "prettyref": "afk/try/1/1" }), false);
        check(json!({ "event": "pull_request_sync", "prettyref": "#12" }), false);
        // Gitea's words.
        check(json!({ "event": "push", "head_branch": "main" }), true);
        check(json!({ "event": "push", "head_branch": "afk/try/1/1" }), false);
        check(json!({ "event": "pull_request", "head_branch": "" }), false);
        // An older server tells no branch.
        check(json!({ "event": "push" }), true);
        check(json!({ "event": "push", "prettyref": null }), true);
    }

    #[test]
    fn the_statuses_of_a_run_that_does_not_count_do_not_count_either() {
        let other = |id: u64, run: u64, word: &str| {
            let mut status = status(id, "ci / test (push)", word);
            status["target_url"] = format!("/you/web/actions/runs/{run}/jobs/0").into();
            status
        };
        let run = |number: u64, more: &Value| {
            let mut run = json!({
                "status": "failure", "event": "push",
                "html_url": format!("https://forge.example/you/web/actions/runs/{number}"),
            });
            run.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            run
        };
        let statuses = json!([other(1, 12, "success"), other(2, 13, "failure")]);
        for why in [
            json!({ "trigger_event": "schedule" }),
            json!({ "event": "pull_request", "is_fork_pull_request": true }),
        ] {
            let runs = json!([run(12, &json!({ "status": "success" })), run(13, &why)]);
            check(statuses.clone(), runs, &[("ci / test (push)", State::Success)]);
        }
        let runs = json!([run(12, &json!({})), run(13, &json!({}))]);
        let both = [("ci / test (push)", State::Success), ("ci / test (push)", State::Failure)];
        check(statuses, runs, &both);
    }

    /// Servers give the statuses of a tag's run the contexts of the branch's.
    #[test]
    fn a_run_hides_another_only_if_that_gave_no_result_or_a_person_started_it() {
        use State::{Failure, Pending, Success, Void};
        let statuses = |older: &str| {
            let mut newer = status(2, "ci / deploy", "success");
            newer["target_url"] = "/you/web/actions/runs/13/jobs/0".into();
            json!([newer, status(1, "ci / deploy", older)])
        };
        let run = |number: u64, branch: &str, event: &str, word: &str| {
            json!({
                "id": 400 + number, "status": word, "event": event, "prettyref": branch,
                "html_url": format!("https://forge.example/you/web/actions/runs/{number}"),
            })
        };
        let check = |event: &str, branch: &str, (word, ended): (&str, &str), older| {
            let newer = run(13, branch, event, "success");
            let runs = json!([newer, run(12, "main", event, ended)]);
            let both = [("ci / deploy", older), ("ci / deploy", Success)];
            let expected = if older == Success { &both[1..] } else { &both[..] };
            check(statuses(word), runs, expected);
        };
        let failed = ("failure", "failure");
        let cancelled = ("failure", "cancelled");
        check("push", "v1.2", ("pending", "running"), Pending);
        check("push", "v1.2", failed, Failure);
        check("push", "main", failed, Failure);
        check("push", "v1.2", cancelled, Void);
        check("push", "main", cancelled, Success);
        check("workflow_dispatch", "main", failed, Success);
        check("workflow_dispatch", "v1.2", failed, Failure);
        // A server without an API for runs.
        self::check(
            statuses("failure"),
            json!([]),
            &[("ci / deploy", Failure), ("ci / deploy", Success)],
        );
    }

    #[test]
    fn a_branch_requires_what_its_protection_lists() {
        let check = |branch: Value, expected: &[&str]| {
            let branch: Branch = serde_json::from_value(branch).unwrap();
            let names: Vec<_> = branch.required().into_iter().map(|one| one.name).collect();
            assert_eq!(names, expected);
        };
        let contexts = json!(["ci / *"]);
        check(
            json!({ "enable_status_check": true, "status_check_contexts": contexts }),
            &["ci / *"],
        );
        check(json!({ "enable_status_check": false, "status_check_contexts": contexts }), &[]);
        check(json!({ "enable_status_check": true, "status_check_contexts": null }), &[]);
    }
}
