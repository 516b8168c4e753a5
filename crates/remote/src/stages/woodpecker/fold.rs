//! What a pipeline of Woodpecker says about a commit. Pure.
//!
//! Fields and states are named as in the server's `model/pipeline.go`, `workflow.go` and
//! `const.go`.

use std::collections::BTreeMap;

use afk_core::ids::Oid;
use afk_core::run::TRY_PREFIX;
use afk_core::verdict::StageAnswer;
use serde::Deserialize;

use crate::stages::commit;

/// A pipeline. Lists leave out its workflows, which only the answer about the pipeline itself has.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pipeline {
    pub(super) number: u64,
    /// The number of the pipeline that this one is a restart of; 0 if it is none.
    pub(super) parent: u64,
    pub(super) event: String,
    pub(super) status: String,
    pub(super) commit: String,
    /// The branch that it ran for; of a pull request, the branch that it is to go to.
    pub(super) branch: String,
    /// Of a pull request, its own branch, a colon, and the branch that it is to go to.
    pub(super) refspec: String,
    pub(super) variables: BTreeMap<String, String>,
    /// Faults and warnings about the pipeline's configuration.
    pub(super) errors: Option<Vec<Trouble>>,
    pub(super) workflows: Vec<Workflow>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Trouble {
    pub(super) message: String,
    pub(super) is_warning: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Workflow {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) error: String,
    pub(super) children: Vec<Step>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Step {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) state: String,
    pub(super) error: String,
    pub(super) exit_code: i64,
}

/// Decides which pipelines are about a commit.
pub(super) struct About<'a> {
    pub(super) commit: &'a Oid,
    /// Whether the default branch has the commit.
    pub(super) landed: bool,
    /// The events whose pipelines count.
    pub(super) events: &'a [String],
    /// The variable of a pipeline that may name the commit.
    pub(super) variable: &'a str,
    /// The default branch; empty if the server does not tell.
    pub(super) default_branch: &'a str,
}

impl About<'_> {
    /// Whether the pipeline is about the commit. If its variable names a commit, that one counts: a
    /// pipeline that was started by hand has the branch's head as its commit, whatever it deploys.
    /// One for a candidate's branch does not count once the commit has landed: it skips what only
    /// the default branch gets.
    pub(super) fn is(&self, pipeline: &Pipeline) -> bool {
        if !self.events.contains(&pipeline.event) {
            return false;
        }
        let branches = [&pipeline.branch, &pipeline.refspec];
        if self.landed && branches.into_iter().any(|branch| branch.starts_with(TRY_PREFIX)) {
            return false;
        }
        let named = pipeline.variables.get(self.variable).and_then(|tag| commit::named(tag));
        match named {
            Some(digits) => self.commit.as_str().starts_with(&digits),
            None => pipeline.commit.eq_ignore_ascii_case(self.commit.as_str()),
        }
    }

    /// Whether the pipeline is of a push to another branch than the default one, which has the
    /// commit: to a release branch that was cut from it, say. Such a pipeline skips what only the
    /// default branch gets.
    pub(super) fn is_elsewhere(&self, pipeline: &Pipeline) -> bool {
        self.landed
            && pipeline.event == "push"
            && !self.default_branch.is_empty()
            && pipeline.branch != self.default_branch
    }
}

/// How many restarts led to the pipeline, as far as its ancestors are in `all`.
pub(super) fn restarts(pipeline: &Pipeline, all: &[Pipeline]) -> u32 {
    let mut parent = pipeline.parent;
    let mut times = 0;
    while parent != 0 {
        times += 1;
        // An ancestor must have a lower number, so that this ends.
        let older = all.iter().find(|one| one.number == parent && one.parent < one.number);
        parent = older.map_or(0, |one| one.parent);
    }
    times
}

/// The stage's answer for a pipeline's status.
pub(super) fn answer(status: &str) -> StageAnswer {
    match status {
        "success" => StageAnswer::Success,
        // `error` is a fault in the pipeline's configuration, which the commit may have broken.
        "failure" | "error" => StageAnswer::Failure,
        // `skipped`: no step was to run.
        "killed" | "canceled" | "declined" | "skipped" => StageAnswer::Void,
        // `blocked` waits for a person. A status that we do not know decides nothing.
        _ => StageAnswer::Pending,
    }
}

/// The step to show of a pipeline that failed, with its workflow: the first that failed by itself,
/// or else the first that was ended with it.
pub(super) fn failed_step(pipeline: &Pipeline) -> Option<(&Workflow, &Step)> {
    let steps =
        pipeline.workflows.iter().flat_map(|one| one.children.iter().map(move |s| (one, s)));
    let failed = |state: &str| matches!(state, "failure" | "error" | "killed");
    steps.filter(|(_, step)| failed(&step.state)).max_by_key(|(workflow, step)| {
        // Steps that failed by themselves come before steps that were killed with others.
        (step.state == "failure", workflow.state == "failure", std::cmp::Reverse(step.id))
    })
}

/// The faults that the server lists besides logs: of the configuration, of workflows, and of the
/// step that failed.
pub(super) fn faults(pipeline: &Pipeline) -> Vec<String> {
    let errors = pipeline.errors.iter().flatten().filter(|error| !error.is_warning);
    let errors = errors.map(|error| error.message.clone());
    let workflows = pipeline.workflows.iter().filter(|one| !one.error.is_empty());
    let workflows = workflows.map(|one| format!("workflow {}: {}", one.name, one.error));
    let step = failed_step(pipeline).map(|(workflow, step)| {
        let error = if step.error.is_empty() { String::new() } else { format!(": {}", step.error) };
        format!(
            "step {} of {} failed, exit code {}{error}",
            step.name, workflow.name, step.exit_code
        )
    });
    errors.chain(workflows).chain(step).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pipeline(value: serde_json::Value) -> Pipeline {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn each_status_has_its_answer() {
        use StageAnswer::{Failure, Pending, Success, Void};
        let check = |status, expected| assert_eq!(answer(status), expected, "{status}");
        check("success", Success);
        check("failure", Failure);
        check("error", Failure);
        check("killed", Void);
        check("canceled", Void);
        check("declined", Void);
        check("skipped", Void);
        check("blocked", Pending);
        check("created", Pending);
        check("pending", Pending);
        check("running", Pending);
        check("of next year", Pending);
        check("", Pending);
    }

    #[test]
    fn a_pipeline_is_about_the_commit_of_its_variable_or_its_own() {
        let ours: Oid = "1a2b3c4d5e6f708192a3b4c5d6e7f80912345678".parse().unwrap();
        let other = "f".repeat(40);
        let events = ["push".to_owned(), "manual".to_owned()];
        let about = About {
            commit: &ours,
            landed: false,
            events: &events,
            variable: "IMAGE_TAG",
            default_branch: "main",
        };
        let check = |value: serde_json::Value, expected| {
            assert_eq!(about.is(&pipeline(value.clone())), expected, "{value}");
        };
        check(json!({ "event": "push", "commit": ours }), true);
        check(json!({ "event": "push", "commit": other }), false);
        check(json!({ "event": "cron", "commit": ours }), false);
        check(json!({ "event": "pull_request", "commit": ours }), false);
        let tagged = |commit: &str, tag: &str| json!({ "event": "manual", "commit": commit, "variables": { "IMAGE_TAG": tag } });
        check(tagged(&other, "1a2b3c4d"), true);
        check(tagged(&other, "1a2b3c4"), true);
        check(tagged(&other, ours.as_str()), true);
        // It deploys an older commit; its own commit is ours because that is the branch's head.
        check(tagged(ours.as_str(), "ffffffff"), false);
        check(tagged(ours.as_str(), "latest"), true);
        check(tagged(&other, "1a2b3c"), false);
        check(json!({ "event": "push", "commit": ours, "variables": {} }), true);
    }

    #[test]
    fn a_pipeline_for_a_candidate_is_not_about_the_landed_commit() {
        let ours: Oid = "1a2b3c4d5e6f708192a3b4c5d6e7f80912345678".parse().unwrap();
        let events = ["push".to_owned(), "pull_request".to_owned()];
        let check = |branch: &str, refspec: &str, expected: bool| {
            let event = if refspec.is_empty() { "push" } else { "pull_request" };
            let pipeline = pipeline(json!({
                "event": event, "commit": ours, "branch": branch, "refspec": refspec,
            }));
            let is = |landed: bool| {
                let (variable, default_branch) = ("IMAGE_TAG", "main");
                About { commit: &ours, landed, events: &events, variable, default_branch }
                    .is(&pipeline)
            };
            assert_eq!((is(false), is(true)), (true, expected), "{branch} {refspec}");
        };
        check("main", "", true);
        check("afk/try/1/1", "", false);
        check("main", "fix:main", true);
        check("main", "afk/try/1/1:main", false);
    }

    #[test]
    fn a_push_to_another_branch_is_elsewhere_once_the_commit_has_landed() {
        let commit: Oid = "1a2b3c4d5e6f708192a3b4c5d6e7f80912345678".parse().unwrap();
        let check = |landed: bool, default_branch: &str, event: &str, branch: &str, expected| {
            let about =
                About { commit: &commit, landed, events: &[], variable: "", default_branch };
            let pipeline = pipeline(json!({ "event": event, "branch": branch }));
            assert_eq!(about.is_elsewhere(&pipeline), expected, "{landed} {event} {branch}");
        };
        check(true, "main", "push", "main", false);
        check(true, "main", "push", "release/1.2", true);
        check(false, "main", "push", "release/1.2", false);
        check(true, "", "push", "release/1.2", false);
        // A person started these, wherever from.
        check(true, "main", "manual", "release/1.2", false);
        check(true, "main", "deployment", "release/1.2", false);
    }

    #[test]
    fn restarts_are_counted_by_parents() {
        let all = [json!({ "number": 9, "parent": 7 }), json!({ "number": 7, "parent": 4 })];
        let mut all: Vec<_> = all.into_iter().map(pipeline).collect();
        all.push(pipeline(json!({ "number": 4 })));
        assert_eq!([0, 1, 2].map(|n| restarts(&all[n], &all)), [2, 1, 0]);
        // One whose ancestor is not in the list, and one that claims to be its own.
        assert_eq!(restarts(&all[1], &all[..2]), 1);
        let own = pipeline(json!({ "number": 3, "parent": 3 }));
        assert_eq!(restarts(&own, std::slice::from_ref(&own)), 1);
    }

    #[test]
    fn what_failed_by_itself_is_shown() {
        let shown = pipeline(json!({
            "status": "failure",
            "errors": [
                { "type": "linter", "message": "a hint", "is_warning": true },
                { "type": "compiler", "message": "no such image", "is_warning": false },
            ],
            "workflows": [
                { "name": "lint", "state": "killed", "children": [
                    { "id": 1, "name": "fmt", "state": "killed", "exit_code": 137 },
                ] },
                { "name": "build", "state": "failure", "children": [
                    { "id": 2, "name": "clone", "state": "success" },
                    { "id": 3, "name": "test", "state": "failure", "exit_code": 1 },
                    { "id": 4, "name": "push", "state": "skipped" },
                ] },
            ],
        }));
        assert_eq!(failed_step(&shown).map(|(_, step)| step.id), Some(3));
        assert_eq!(faults(&shown), ["no such image", "step test of build failed, exit code 1"]);
        assert_eq!(faults(&pipeline(json!({ "errors": null }))), Vec::<String>::new());
    }
}
