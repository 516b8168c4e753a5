//! What GitHub's checks say together, in tables.

use serde_json::{Value, json};

use super::*;
use crate::stages::set::State::{Failure, Pending, Success, Void};

const SHA: &str = "1a2b3c4d5e6f708192a3b4c5d6e7f80912345678";

fn time(minute: u32) -> String {
    format!("2026-11-01T10:{minute:02}:00Z")
}

/// A check run of Actions, in the suite of that number.
fn check_run(id: u64, suite: u64, name: &str, status: &str, conclusion: Option<&str>) -> Value {
    let ended = conclusion.map(|_| time(5));
    json!({
        "id": id, "name": name, "node_id": "n", "head_sha": SHA, "external_id": "", "url": "u",
        "html_url": format!("https://github.example/you/web/actions/runs/1/job/{id}"),
        "details_url": null, "status": status, "conclusion": conclusion,
        "started_at": time(1), "completed_at": ended,
        "output": { "title": null, "summary": null, "text": null, "annotations_count": 0,
                    "annotations_url": "u" },
        "check_suite": { "id": suite }, "app": { "id": 15368, "slug": "github-actions" },
        "pull_requests": [],
    })
}

/// A workflow run whose checks are in the suite of that number.
fn run(id: u64, workflow: u64, suite: u64, status: &str, conclusion: Option<&str>) -> Value {
    json!({
        "id": id, "name": "CI", "workflow_id": workflow, "check_suite_id": suite, "event": "push",
        "status": status, "conclusion": conclusion, "head_sha": SHA, "run_attempt": 1,
        "run_started_at": time(1), "updated_at": time(6),
        "html_url": format!("https://github.example/you/web/actions/runs/{id}"),
    })
}

fn seen(checks: Value, runs: Value) -> CommitChecks {
    CommitChecks {
        checks: Some(serde_json::from_value(checks).unwrap()),
        runs: serde_json::from_value(runs).unwrap(),
        ..CommitChecks::default()
    }
}

#[track_caller]
fn check(seen: &CommitChecks, expected: &[(&str, State)]) {
    let mut found: Vec<_> = seen.set().into_iter().map(|(one, _)| (one.name, one.state)).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let expected: Vec<_> = expected.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect();
    assert_eq!(found, expected);
}

#[test]
fn each_conclusion_has_its_state() {
    let check = |status, conclusion, expected| {
        let all = seen(json!([check_run(1, 7, "a", status, conclusion)]), json!([]));
        check(&all, &[("a", expected)]);
    };
    for waiting in ["queued", "in_progress", "waiting", "requested", "pending", "of next year"] {
        check(waiting, None, Pending);
        // Nothing counts before its end.
        check(waiting, Some("success"), Pending);
    }
    check("completed", Some("success"), Success);
    check("completed", Some("neutral"), Success);
    check("completed", Some("skipped"), Success);
    check("completed", Some("failure"), Failure);
    check("completed", Some("timed_out"), Failure);
    check("completed", Some("action_required"), Failure);
    check("completed", Some("startup_failure"), Failure);
    check("completed", Some("cancelled"), Void);
    check("completed", Some("stale"), Void);
    check("completed", Some("of next year"), Pending);
    check("completed", None, Pending);
}

#[test]
fn a_skipped_check_passed_only_if_its_run_did_not_fail() {
    let skipped = json!([check_run(1, 7, "a", "completed", Some("skipped"))]);
    let with =
        |status, conclusion| seen(skipped.clone(), json!([run(1, 1, 7, status, conclusion)]));
    check(&with("completed", Some("success")), &[("a", Success)]);
    // A required job whose needs failed is skipped, and looks green.
    check(&with("completed", Some("failure")), &[("a", Failure)]);
    check(&with("completed", Some("cancelled")), &[("a", Void)]);
    check(&with("in_progress", None), &[("a", Pending)]);
}

#[test]
fn the_newest_of_each_app_suite_and_name_counts() {
    // A rerun is in the same suite.
    let rerun = json!([
        check_run(2, 7, "a", "completed", Some("success")),
        check_run(1, 7, "a", "completed", Some("failure")),
    ]);
    check(&seen(rerun, json!([])), &[("a", Success)]);
    // A job of the same name in another workflow is another one.
    let siblings = json!([
        check_run(2, 8, "a", "in_progress", None),
        check_run(1, 7, "a", "completed", Some("failure")),
    ]);
    check(&seen(siblings, json!([])), &[("a", Failure), ("a", Pending)]);
}

#[test]
fn a_run_that_another_replaced_does_not_count() {
    let checks = json!([
        check_run(1, 7, "a", "completed", Some("cancelled")),
        check_run(2, 8, "a", "completed", Some("success")),
    ]);
    let runs = json!([
        run(20, 1, 8, "completed", Some("success")),
        run(10, 1, 7, "completed", Some("cancelled")),
    ]);
    check(&seen(checks, runs), &[("a", Success)]);
}

/// The default branch's run, whose deploy goes on or has failed, and a newer run for a tag on the
/// same commit, which skipped that job.
#[test]
fn a_run_for_another_branch_or_tag_hides_no_other() {
    let of = |branch: &str, mut run: Value| {
        run["head_branch"] = branch.into();
        run
    };
    let all = |status: &str, conclusion: Option<&str>| {
        let checks = json!([
            check_run(1, 7, "deploy", status, conclusion),
            check_run(2, 8, "deploy", "completed", Some("skipped")),
        ]);
        let runs = json!([
            of("v1.2", run(20, 1, 8, "completed", Some("success"))),
            of("main", run(10, 1, 7, status, conclusion)),
        ]);
        seen(checks, runs)
    };
    let running = all("in_progress", None);
    check(&running, &[("deploy", Pending), ("deploy", Success)]);
    assert_eq!(running.current().iter().map(|run| run.id).collect::<Vec<_>>(), [10, 20]);
    check(&all("completed", Some("failure")), &[("deploy", Failure), ("deploy", Success)]);
    // It was cancelled, by a group of runs that does not tell branches apart.
    check(&all("completed", Some("cancelled")), &[("deploy", Void), ("deploy", Success)]);
}

#[test]
fn a_failed_run_is_replaced_only_by_one_that_a_person_started() {
    let all = |event: &str, ended: Option<&str>| {
        let status = ended.map_or("in_progress", |_| "completed");
        let of = |mut run: Value| {
            (run["event"], run["head_branch"]) = (event.into(), "main".into());
            run
        };
        let checks = json!([
            check_run(1, 7, "a", status, ended),
            check_run(2, 8, "a", "completed", Some("skipped")),
        ]);
        let newer = run(20, 1, 8, "completed", Some("skipped"));
        seen(checks, json!([of(newer), of(run(10, 1, 7, status, ended))]))
    };
    // A stranger's pull request, another deployment, or another status started the newer one.
    for event in ["push", "workflow_run", "deployment_status", "status", "repository_dispatch"] {
        check(&all(event, None), &[("a", Pending), ("a", Success)]);
        check(&all(event, Some("failure")), &[("a", Failure), ("a", Success)]);
        check(&all(event, Some("cancelled")), &[("a", Success)]);
    }
    check(&all("workflow_dispatch", None), &[("a", Pending), ("a", Success)]);
    check(&all("workflow_dispatch", Some("failure")), &[("a", Success)]);
}

#[test]
fn a_run_that_is_on_the_commit_by_chance_shows_nothing() {
    let all = |event: &str| {
        let mut run = run(30, 2, 9, "completed", Some("failure"));
        run["event"] = event.into();
        seen(json!([check_run(3, 9, "a", "completed", Some("failure"))]), json!([run]))
    };
    for event in [
        "schedule",
        "issues",
        "issue_comment",
        "discussion",
        "discussion_comment",
        "fork",
        "watch",
        "gollum",
        "label",
        "milestone",
        "member",
        "public",
        "delete",
        "branch_protection_rule",
    ] {
        check(&all(event), &[]);
        assert!(all(event).current().is_empty(), "{event}");
    }
    for event in ["push", "workflow_dispatch", "workflow_run", "deployment_status", "check_suite"] {
        check(&all(event), &[("a", Failure)]);
    }
}

#[test]
fn a_bots_run_on_the_newest_commit_shows_nothing() {
    let all = |path: &str| {
        let mut run = run(30, 2, 9, "completed", Some("failure"));
        (run["event"], run["path"], run["head_branch"]) =
            ("dynamic".into(), path.into(), "main".into());
        seen(json!([check_run(3, 9, "a", "completed", Some("failure"))]), json!([run]))
    };
    let updates = all("dynamic/dependabot/dependabot-updates");
    check(&updates, &[]);
    assert!(updates.current().is_empty());
    check(&all("dynamic/pages/pages-build-deployment"), &[("a", Failure)]);
}

#[test]
fn a_run_for_a_forks_pull_request_shows_nothing() {
    let all = |event: &str, from: Value| {
        let mut run = run(30, 2, 9, "completed", Some("action_required"));
        run["event"] = event.into();
        run["repository"] = json!({ "id": 1 });
        run["head_repository"] = from;
        seen(json!([check_run(3, 9, "a", "completed", Some("action_required"))]), json!([run]))
    };
    for event in ["pull_request", "pull_request_target", "pull_request_review"] {
        check(&all(event, json!({ "id": 2 })), &[]);
        // The fork was deleted.
        check(&all(event, Value::Null), &[]);
        check(&all(event, json!({ "id": 1 })), &[("a", Failure)]);
    }
    check(&all("push", Value::Null), &[("a", Failure)]);
}

#[test]
fn a_run_for_a_candidate_shows_nothing_once_the_commit_has_landed() {
    let all = |event: &str, branch: Value, landed: bool| {
        let mut run = run(30, 2, 9, "completed", Some("success"));
        (run["event"], run["head_branch"]) = (event.into(), branch);
        let check = check_run(3, 9, "deploy", "completed", Some("skipped"));
        CommitChecks { landed, ..seen(json!([check]), json!([run])) }
    };
    for event in ["push", "pull_request"] {
        check(&all(event, json!("afk/try/1/1"), false), &[("deploy", Success)]);
        check(&all(event, json!("afk/try/1/1"), true), &[]);
        check(&all(event, json!("main"), true), &[("deploy", Success)]);
        check(&all(event, Value::Null, true), &[("deploy", Success)]);
    }
}

#[test]
fn a_failure_before_the_attempt_under_way_is_pending() {
    let failed = json!([check_run(1, 7, "a", "completed", Some("failure"))]);
    let with = |status: &str, started: u32| {
        let mut run = run(1, 1, 7, status, (status == "completed").then_some("failure"));
        run["run_attempt"] = 2.into();
        run["run_started_at"] = time(started).into();
        seen(failed.clone(), json!([run]))
    };
    check(&with("queued", 9), &[("a", Pending)]);
    check(&with("in_progress", 1), &[("a", Failure)]);
    check(&with("completed", 9), &[("a", Failure)]);
}

#[test]
fn a_run_that_failed_without_a_job_is_a_failure() {
    let all = seen(json!([]), json!([run(5, 1, 7, "completed", Some("startup_failure"))]));
    check(&all, &[("workflow run 5", Failure)]);
    let all = seen(json!([]), json!([run(5, 1, 7, "in_progress", None)]));
    check(&all, &[]);
}

#[test]
fn the_newest_status_of_each_context_counts() {
    let status = |id: u64, context: &str, state: &str| {
        json!({
            "id": id, "context": context, "state": state, "description": null, "target_url": null,
            "created_at": time(1), "updated_at": time(2), "url": "u", "node_id": "n",
            "avatar_url": null, "creator": null,
        })
    };
    let mut statuses: Vec<_> = (0..50).map(|n| status(n, &format!("c{n}"), "success")).collect();
    statuses.push(status(100, "c7", "error"));
    let statuses = serde_json::from_value(Value::Array(statuses)).unwrap();
    let all = CommitChecks { statuses, checks: Some(Vec::new()), ..CommitChecks::default() };
    let failed: Vec<_> = all
        .set()
        .into_iter()
        .filter(|(one, _)| one.state == Failure)
        .map(|(o, _)| o.name)
        .collect();
    assert_eq!(failed, ["c7"]);
    let one = |state| {
        let statuses = serde_json::from_value(json!([status(1, "c", state)])).unwrap();
        CommitChecks { statuses, checks: Some(Vec::new()), ..CommitChecks::default() }
    };
    check(&one("failure"), &[("c", Failure)]);
    check(&one("pending"), &[("c", Pending)]);
    check(&one("of next year"), &[("c", Pending)]);
}

#[test]
fn jobs_stand_in_for_check_runs_that_may_not_be_read() {
    let job = |id: u64, name: &str, conclusion: &str| {
        json!({
            "id": id, "name": name, "status": "completed", "conclusion": conclusion,
            "started_at": time(1), "completed_at": time(5), "html_url": "u", "run_id": 5,
            "check_run_url": format!("https://api.github.example/repos/you/web/check-runs/{id}"),
        })
    };
    let jobs = json!([job(1, "build", "failure"), job(2, "test", "skipped")]);
    let all = CommitChecks {
        runs: serde_json::from_value(json!([run(5, 1, 7, "completed", Some("failure"))])).unwrap(),
        jobs: [(5, serde_json::from_value(jobs).unwrap())].into(),
        ..CommitChecks::default()
    };
    check(&all, &[("build", Failure), ("test", Failure)]);
}

#[test]
fn rules_and_classic_protection_both_require() {
    let rules = json!([
        { "type": "deletion" },
        { "type": "required_status_checks", "ruleset_id": 1, "parameters": {
            "strict_required_status_checks_policy": false,
            "required_status_checks": [
                { "context": "test", "integration_id": 15368 }, { "context": "lint" },
            ],
        } },
        { "type": "of_next_year", "parameters": { "x": 1 } },
    ]);
    let branch = json!({ "name": "main", "protected": true, "protection": {
        "enabled": true,
        "required_status_checks": {
            "enforcement_level": "everyone", "contexts": ["docs", "old", "ci/other"],
            "checks": [{ "context": "docs", "app_id": 7 }, { "context": "old", "app_id": null },
                       { "context": "any", "app_id": -1 }],
        },
    } });
    let rules: Vec<Rule> = serde_json::from_value(rules).unwrap();
    let branch: Branch = serde_json::from_value(branch).unwrap();
    let found: Vec<_> = required(&rules, &branch).into_iter().map(|r| (r.name, r.app)).collect();
    let expected = [
        ("any", None),
        ("ci/other", None),
        ("docs", Some(7)),
        ("lint", None),
        ("old", None),
        ("test", Some(15368)),
    ];
    assert_eq!(found, expected.map(|(name, app)| (name.to_owned(), app)));
    let bare = serde_json::from_value(json!({ "name": "main", "protected": false })).unwrap();
    assert!(required(&[], &bare).is_empty());
}
