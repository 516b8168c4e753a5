//! The stage over HTTP: pages, bad answers, logs, restarts.

use serde_json::{Value, json};

use crate::stages::testing::{COMMIT, Home, HomeAnswer, Stage, TOKEN};
use afk_core::verdict::StageAnswer;
use afk_engine::ports::StageReport;

const REPO: &str = "GET /api/v3/repos/you/web";

fn on(path: &str) -> String {
    format!("{REPO}{path}")
}

/// A repo that requires nothing and has nothing about the commit.
async fn home() -> Home {
    let home = Home::open().await;
    home.gives(REPO, &json!({ "default_branch": "main" }));
    home.gives(&on("/rules/branches/main"), &json!([]));
    home.gives(&on("/branches/main"), &json!({ "name": "main", "protected": false }));
    gives(&home, &[], &[], &[]);
    home
}

fn gives(home: &Home, checks: &[Value], statuses: &[Value], runs: &[Value]) {
    let count = checks.len();
    let checks = json!({ "total_count": count, "check_runs": checks });
    home.gives(&on(&format!("/commits/{COMMIT}/check-runs")), &checks);
    home.gives(&on(&format!("/commits/{COMMIT}/statuses")), &json!(statuses));
    let runs = json!({ "total_count": runs.len(), "workflow_runs": runs });
    home.gives(&on("/actions/runs"), &runs);
}

fn check(id: u64, name: &str, conclusion: Option<&str>) -> Value {
    json!({
        "id": id, "name": name, "status": conclusion.map_or("in_progress", |_| "completed"),
        "conclusion": conclusion, "started_at": "2026-01-01T10:00:00Z",
        "completed_at": conclusion.map(|_| "2026-01-01T10:05:00Z"),
        "html_url": format!("https://github.example/you/web/actions/runs/5/job/{id}"),
        "output": { "title": "3 errors", "summary": "in src", "text": null },
        "check_suite": { "id": 7 }, "app": { "id": 15368 },
    })
}

fn run(conclusion: Option<&str>, attempt: u32) -> Value {
    json!({
        "id": 5, "workflow_id": 1, "check_suite_id": 7, "event": "push",
        "status": conclusion.map_or("in_progress", |_| "completed"), "conclusion": conclusion,
        "run_attempt": attempt, "run_started_at": "2026-01-01T10:00:00Z",
        "updated_at": "2026-01-01T10:05:00Z",
        "html_url": "https://github.example/you/web/actions/runs/5",
    })
}

fn stage(home: &Home) -> Stage {
    Stage::at(home, json!({ "kind": "checks" }))
}

#[tokio::test]
async fn all_must_have_passed_and_be_still() {
    let home = home().await;
    let stage = stage(&home);
    assert_eq!(stage.says(0).await.answer, StageAnswer::None);
    gives(&home, &[check(1, "test", None)], &[], &[run(None, 1)]);
    assert_eq!(stage.says(0).await.answer, StageAnswer::Pending);
    // Between two jobs nothing runs.
    gives(&home, &[check(1, "test", Some("success"))], &[], &[run(None, 1)]);
    assert_eq!(stage.says(0).await.answer, StageAnswer::Pending);
    gives(&home, &[check(1, "test", Some("success"))], &[], &[run(Some("success"), 1)]);
    assert_eq!(stage.says(0).await.answer, StageAnswer::Success);
    let mut fresh = run(Some("success"), 1);
    fresh["updated_at"] = jiff::Timestamp::now().to_string().into();
    gives(&home, &[check(1, "test", Some("success"))], &[], &[fresh]);
    let said = stage.says(0).await;
    assert_eq!(said.answer, StageAnswer::Pending);
    assert!(said.next_look.is_some());
}

/// Comments of the loop itself start such runs.
#[tokio::test]
async fn what_runs_on_the_commit_by_chance_is_not_waited_for() {
    let home = home().await;
    let stage = stage(&home);
    let of_comment = |conclusion: Option<&str>| {
        let mut run = run(conclusion, 1);
        (run["id"], run["workflow_id"], run["check_suite_id"]) = (6.into(), 2.into(), 8.into());
        run["event"] = "issue_comment".into();
        run["updated_at"] = jiff::Timestamp::now().to_string().into();
        run
    };
    let of_commit = run(Some("success"), 1);
    let checks = |other: Option<&str>| {
        let mut other = check(2, "welcome", other);
        other["check_suite"]["id"] = 8.into();
        [check(1, "test", Some("success")), other]
    };
    for conclusion in [None, Some("success"), Some("failure"), Some("cancelled")] {
        gives(&home, &checks(conclusion), &[], &[of_commit.clone(), of_comment(conclusion)]);
        assert_eq!(stage.says(0).await.answer, StageAnswer::Success, "{conclusion:?}");
    }
}

#[tokio::test]
async fn what_is_required_must_be_there() {
    let home = home().await;
    let rules = json!([{ "type": "required_status_checks", "parameters": {
        "required_status_checks": [{ "context": "test", "integration_id": 15368 }],
    } }]);
    home.gives(&on("/rules/branches/main"), &rules);
    let branch = json!({ "name": "main", "protection": { "required_status_checks": {
        "contexts": ["docs"], "checks": [{ "context": "docs", "app_id": null }],
    } } });
    home.gives(&on("/branches/main"), &branch);
    let stage = Stage::at(&home, json!({ "kind": "checks", "required": ["lint"] }));
    gives(&home, &[check(1, "test", Some("success"))], &[], &[run(None, 1)]);
    let said = stage.says(0).await;
    assert_eq!(said.answer, StageAnswer::Pending);
    assert_eq!(said.tail.as_deref(), Some("required, and not there yet: docs, lint"));
    let docs = json!({ "id": 1, "context": "docs", "state": "success" });
    let checks = [check(1, "test", Some("success")), check(2, "lint", Some("success"))];
    gives(&home, &checks, &[docs], &[run(None, 1)]);
    assert_eq!(stage.says(0).await.answer, StageAnswer::Success);
    // What the branch requires is not read at every poll.
    let reads = home.asked().iter().filter(|asked| asked.contains("/rules/")).count();
    assert_eq!(reads, 1);
}

#[tokio::test]
async fn every_page_is_read() {
    let home = home().await;
    let pages = on(&format!("/commits/{COMMIT}/statuses"));
    let status = |n: u64, state: &str| {
        json!({ "id": n, "context": format!("c{n}"), "state": state, "description": "broken",
                "updated_at": "2026-01-01T10:00:00Z" })
    };
    let first: Vec<_> = (1..=50).map(|n| status(n, "success")).collect();
    let next = format!("<{}/api/v3/next>; rel=\"next\"", home.url);
    home.says(&pages, [HomeAnswer::json(&json!(first)).with("link", &next)]);
    home.gives("GET /api/v3/next", &json!([status(51, "failure")]));
    let said = stage(&home).says(0).await;
    assert_eq!((said.answer, said.tail.as_deref()), (StageAnswer::Failure, Some("broken")));
}

#[tokio::test]
async fn a_failed_job_has_the_end_of_its_log_which_another_host_keeps() {
    let home = home().await;
    let blobs = Home::open().await;
    let stage = stage(&home);
    gives(&home, &[check(33, "test", Some("failure"))], &[], &[run(Some("failure"), 1)]);
    let job = |id: u64, name: &str| {
        json!({ "id": id, "name": name, "status": "completed", "conclusion": "failure",
                "check_run_url": format!("https://api.github.example/repos/you/web/check-runs/{id}") })
    };
    let jobs = json!({ "total_count": 2, "jobs": [job(32, "lint"), job(33, "test")] });
    home.gives(&on("/actions/runs/5/jobs"), &jobs);
    let elsewhere = format!("{}/log?sig=abc", blobs.url);
    home.says(
        &on("/actions/jobs/33/logs"),
        [HomeAnswer::text(302, "").with("location", &elsewhere)],
    );
    blobs.says("GET /log", [HomeAnswer::text(200, "\u{1b}[36mok\u{1b}[0m\n1 failed\n")]);
    let said = stage.says(0).await;
    assert_eq!(said.answer, StageAnswer::Failure);
    assert_eq!(said.tail.as_deref(), Some("ok\n1 failed\n\njob test failed"));
    let link = "https://github.example/you/web/actions/runs/5/job/33";
    assert_eq!(said.link.as_deref(), Some(link));
    // The other host saw its own address, and no token.
    assert_eq!(blobs.asked_with(), [("GET /log?sig=abc".to_owned(), None)]);
    let asked = home.asked_with();
    assert!(asked.iter().all(|(_, with)| with.as_deref() == Some(&format!("Bearer {TOKEN}"))));
    // With an expired link to the log, there is still an answer.
    blobs.says("GET /log", [HomeAnswer::text(403, "<Error>")]);
    let tail = stage.says(0).await.tail.unwrap();
    assert!(tail.contains("could not be read") && !tail.contains("sig=abc"), "{tail}");
    // The log is not read before the run has ended.
    gives(&home, &[check(33, "test", Some("failure"))], &[], &[run(None, 1)]);
    home.asked();
    let StageReport { answer, tail, .. } = stage.says(0).await;
    assert_eq!(answer, StageAnswer::Failure);
    assert!(tail.unwrap().contains("once the workflow run has ended"));
    assert!(!home.asked().iter().any(|asked| asked.contains("/logs")));
}

#[tokio::test]
async fn a_failed_run_is_started_once_for_each_number() {
    const RERUN: &str = "POST /api/v3/repos/you/web/actions/runs/5/rerun-failed-jobs";
    let home = home().await;
    let stage = stage(&home);
    let failed = check(33, "test", Some("failure"));
    home.gives(&on("/actions/runs/5/jobs"), &json!({ "total_count": 0, "jobs": [] }));
    home.says(RERUN, [HomeAnswer::text(201, "{}")]);
    let posts = || home.asked().iter().filter(|asked| asked.starts_with("POST")).count();
    // While the run goes on, its end is awaited.
    gives(&home, std::slice::from_ref(&failed), &[], &[run(None, 1)]);
    assert_eq!(stage.says(1).await.answer, StageAnswer::Pending);
    assert_eq!(posts(), 0);
    gives(&home, std::slice::from_ref(&failed), &[], &[run(Some("failure"), 1)]);
    assert_eq!(stage.says(1).await.answer, StageAnswer::Pending);
    assert_eq!(stage.says(1).await.answer, StageAnswer::Failure);
    assert_eq!(posts(), 1);
    // The number of the attempt shows the restart to a control plane that knows nothing of it.
    gives(&home, std::slice::from_ref(&failed), &[], &[run(Some("failure"), 2)]);
    let new = self::stage(&home);
    assert_eq!(new.says(1).await.answer, StageAnswer::Failure);
    assert_eq!(posts(), 0);
    // The answer of a run that may not be restarted stands.
    home.says(RERUN, [HomeAnswer::text(403, "{}")]);
    assert_eq!(new.says(2).await.answer, StageAnswer::Failure);
    assert_eq!(posts(), 1);
}

/// The second workflow failed because the first one had; when that is started again and passes,
/// GitHub starts a new run of the second one, and the failed one is there all the same.
#[tokio::test]
async fn a_workflow_that_follows_a_restarted_one_is_started_again_too() {
    let home = home().await;
    let stage = stage(&home);
    let following = |conclusion: &str, attempt: u32| {
        let mut run = run(Some(conclusion), attempt);
        (run["id"], run["workflow_id"], run["check_suite_id"]) = (6.into(), 2.into(), 8.into());
        run["event"] = "workflow_run".into();
        run
    };
    let checks = |first: &str, second: &str| {
        let mut deploy = check(2, "deploy", Some(second));
        deploy["check_suite"]["id"] = 8.into();
        [check(1, "test", Some(first)), deploy]
    };
    for id in [5, 6] {
        let rerun = format!("POST /api/v3/repos/you/web/actions/runs/{id}/rerun-failed-jobs");
        home.says(&rerun, [HomeAnswer::text(201, "{}")]);
        let jobs = json!({ "total_count": 0, "jobs": [] });
        home.gives(&on(&format!("/actions/runs/{id}/jobs")), &jobs);
    }
    let posts = || home.asked().iter().filter(|asked| asked.starts_with("POST")).count();
    let failed = run(Some("failure"), 1);
    gives(&home, &[check(1, "test", Some("failure"))], &[], &[failed]);
    assert_eq!((stage.says(1).await.answer, posts()), (StageAnswer::Pending, 1));
    let runs = [run(Some("success"), 2), following("failure", 1)];
    gives(&home, &checks("success", "failure"), &[], &runs);
    assert_eq!((stage.says(1).await.answer, posts()), (StageAnswer::Pending, 1));
    let runs = [run(Some("success"), 2), following("success", 2)];
    gives(&home, &checks("success", "success"), &[], &runs);
    assert_eq!((stage.says(1).await.answer, posts()), (StageAnswer::Success, 0));
}

#[tokio::test]
async fn a_token_without_checks_gets_by_with_jobs_and_says_so() {
    let home = home().await;
    let stage = stage(&home);
    gives(&home, &[], &[], &[run(Some("success"), 1)]);
    let refused = json!({ "message": "Resource not accessible by personal access token" });
    let refused = HomeAnswer::text(403, &refused.to_string());
    home.says(&on(&format!("/commits/{COMMIT}/check-runs")), [refused]);
    let jobs = json!({ "total_count": 1, "jobs": [{
        "id": 1, "name": "test", "status": "completed", "conclusion": "success",
        "completed_at": "2026-01-01T10:05:00Z",
    }] });
    home.gives(&on("/actions/runs/5/jobs"), &jobs);
    let said = stage.says(0).await;
    assert_eq!(said.answer, StageAnswer::Success);
    assert!(said.tail.unwrap().contains("may not read check runs"));
}

#[tokio::test]
async fn a_commit_that_is_not_there_yet_is_nothing_and_no_answer_an_error() {
    let home = home().await;
    let stage = stage(&home);
    let path = on(&format!("/commits/{COMMIT}/check-runs"));
    home.says(&path, [HomeAnswer::text(422, r#"{"message":"No commit found for SHA"}"#)]);
    assert_eq!(stage.says(0).await.answer, StageAnswer::None);
    let elsewhere = Home::open().await;
    for (says, expected) in [
        (HomeAnswer::text(200, "<html>").with("content-type", "text/html"), "not JSON"),
        (
            HomeAnswer::text(200, "{").with("content-type", "application/json"),
            "not what it should be",
        ),
        (HomeAnswer::text(401, "{}"), "wrong or has expired"),
        (HomeAnswer::text(500, ""), "answered 500"),
        (HomeAnswer::text(404, "{}"), "answered 404"),
        (HomeAnswer::text(301, "").with("location", &elsewhere.url), "has moved to"),
    ] {
        home.says(&path, [says]);
        let told = stage.fails().await;
        assert!(told.contains(expected) && !told.contains(TOKEN), "{told}");
    }
    assert_eq!(elsewhere.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_plan_without_rules_requires_nothing_and_other_refusals_are_errors() {
    let home = home().await;
    gives(&home, &[check(1, "test", Some("success"))], &[], &[run(Some("success"), 1)]);
    let refused =
        |message: &str| [HomeAnswer::text(403, &json!({ "message": message }).to_string())];
    let plan = "Upgrade to GitHub Pro or make this repository public to enable this feature.";
    home.says(&on("/rules/branches/main"), refused(plan));
    assert_eq!(stage(&home).says(0).await.answer, StageAnswer::Success);
    home.says(&on("/rules/branches/main"), refused("Resource not accessible by integration"));
    let told = stage(&home).fails().await;
    assert!(told.contains("does not allow that"), "{told}");
}

#[tokio::test]
async fn a_restart_that_was_not_answered_is_asked_for_again() {
    const RERUN: &str = "POST /api/v3/repos/you/web/actions/runs/5/rerun-failed-jobs";
    let home = home().await;
    let stage = stage(&home);
    gives(&home, &[check(33, "test", Some("failure"))], &[], &[run(Some("failure"), 1)]);
    home.gives(&on("/actions/runs/5/jobs"), &json!({ "total_count": 0, "jobs": [] }));
    home.says(RERUN, [HomeAnswer::text(500, ""), HomeAnswer::text(201, "{}")]);
    assert!(stage.poll(1).await.is_err());
    assert_eq!(stage.says(1).await.answer, StageAnswer::Pending);
    assert_eq!(stage.says(1).await.answer, StageAnswer::Failure);
    let posts = home.asked().iter().filter(|asked| asked.starts_with("POST")).count();
    assert_eq!(posts, 2);
}

#[tokio::test]
async fn stages_that_ask_about_different_repos_share_no_rules() {
    let home = home().await;
    gives(&home, &[check(1, "test", Some("success"))], &[], &[run(Some("success"), 1)]);
    let other = "GET /api/v3/repos/you/deploys";
    home.gives(other, &json!({ "default_branch": "main" }));
    let rules = json!([{ "type": "required_status_checks", "parameters": {
        "required_status_checks": [{ "context": "smoke" }],
    } }]);
    home.gives(&format!("{other}/rules/branches/main"), &rules);
    home.gives(&format!("{other}/branches/main"), &json!({ "name": "main" }));
    let checks = json!({ "total_count": 1, "check_runs": [check(2, "test", Some("success"))] });
    home.gives(&format!("{other}/commits/{COMMIT}/check-runs"), &checks);
    home.gives(&format!("{other}/commits/{COMMIT}/statuses"), &json!([]));
    let runs = json!({ "total_count": 0, "workflow_runs": [] });
    home.gives(&format!("{other}/actions/runs"), &runs);
    let [here, there] = Stage::two_at(
        &home,
        [json!({ "kind": "checks" }), json!({ "kind": "checks", "repo": "you/deploys" })],
    );
    assert_eq!(here.says(0).await.answer, StageAnswer::Success);
    let said = there.says(0).await;
    assert_eq!(said.tail.as_deref(), Some("required, and not there yet: smoke"));
}
