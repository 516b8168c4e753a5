//! Forgejo's statuses: the fold, and the stage over HTTP.

use serde_json::{Value, json};

use crate::stages::testing::{COMMIT, Home, HomeAnswer, Stage, TOKEN};
use afk_core::verdict::StageAnswer;

const REPO: &str = "GET /api/v3/repos/you/web";

fn on(path: &str) -> String {
    format!("{REPO}{path}")
}

fn list() -> String {
    on(&format!("/statuses/{COMMIT}"))
}

fn page(path: &str, page: u32) -> String {
    let sep = if path.contains('?') { '&' } else { '?' };
    format!("{path}{sep}limit=50&page={page}")
}

async fn home() -> Home {
    let home = Home::open().await;
    home.gives(REPO, &json!({ "default_branch": "main" }));
    let branch =
        json!({ "name": "main", "enable_status_check": false, "status_check_contexts": [] });
    home.gives(&on("/branches/main"), &branch);
    home
}

fn gives(home: &Home, statuses: &Value, run: Option<&str>) {
    home.gives(&list(), &json!([]));
    home.gives(&page(&list(), 1), statuses);
    let runs = on(&format!("/actions/runs?head_sha={COMMIT}"));
    if let Some(status) = run {
        home.gives(&on("/actions/runs"), &json!({ "total_count": 1, "workflow_runs": [] }));
        let run = json!({
            "id": 400, "index_in_repo": 12, "status": status, "event": "push",
            "html_url": "https://forge.example/you/web/actions/runs/12",
            "updated": "2026-01-01T10:00:00Z",
        });
        let all = json!({ "total_count": 1, "workflow_runs": [run] });
        home.gives(&page(&runs, 1), &all);
    }
}

/// Gives these statuses, and the run that they belong to, which ran for `branch` and has passed.
fn gives_run_of(home: &Home, branch: &str, statuses: &Value) {
    home.gives(&list(), &json!([]));
    home.gives(&page(&list(), 1), statuses);
    home.gives(&on("/actions/runs"), &json!({ "total_count": 0, "workflow_runs": [] }));
    let run = json!({
        "id": 400, "index_in_repo": 12, "status": "success", "event": "push",
        "html_url": "https://forge.example/you/web/actions/runs/12",
        "prettyref": branch, "updated": "2026-01-01T10:00:00Z",
    });
    let runs = on(&format!("/actions/runs?head_sha={COMMIT}"));
    home.gives(&page(&runs, 1), &json!({ "total_count": 1, "workflow_runs": [run] }));
}

fn status(id: u64, context: &str, status: &str) -> Value {
    json!({
        "id": id, "context": context, "status": status, "description": "Failing after 3s",
        "target_url": "/you/web/actions/runs/12/jobs/0", "updated_at": "2026-01-01T10:00:00Z",
    })
}

fn stage(home: &Home) -> Stage {
    Stage::at(home, json!({ "kind": "forgejo-status" }))
}

/// Fault 17 of other bots: a page has fifty statuses, and the red one is on the next page.
#[tokio::test]
async fn fault_17_of_51_contexts_the_last_is_red() {
    let home = home().await;
    let stage = stage(&home);
    // A server without an API for runs.
    gives(&home, &json!([]), None);
    assert_eq!(stage.says(0).await.answer, StageAnswer::None);
    let first: Vec<_> = (1..=50).map(|n| status(n, &format!("c{n}"), "success")).collect();
    gives(&home, &json!(first), None);
    assert_eq!(stage.says(0).await.answer, StageAnswer::Success);
    home.gives(&page(&list(), 2), &json!([status(51, "c51", "failure")]));
    let said = stage.says(0).await;
    assert_eq!(said.answer, StageAnswer::Failure);
    assert_eq!(said.tail.as_deref(), Some("Failing after 3s"));
}

#[tokio::test]
async fn a_run_tells_what_its_status_does_not() {
    let home = home().await;
    let stage = stage(&home);
    let check = async |word: &str, run: &str, expected: StageAnswer| {
        gives(&home, &json!([status(1, "ci / test (push)", word)]), Some(run));
        assert_eq!(stage.says(0).await.answer, expected, "{word} {run}");
    };
    check("success", "success", StageAnswer::Success).await;
    check("success", "running", StageAnswer::Pending).await;
    check("failure", "cancelled", StageAnswer::Void).await;
    check("skipped", "failure", StageAnswer::Failure).await;
}

#[tokio::test]
async fn ci_of_a_candidates_branch_does_not_answer_for_what_has_landed() {
    let home = home().await;
    let stage = stage(&home);
    let skipped = json!([status(1, "ci / deploy (push)", "skipped")]);
    gives_run_of(&home, "afk/try/1/1", &skipped);
    let (before, after) = stage.before_and_after().await;
    assert_eq!((before, after), (StageAnswer::Success, StageAnswer::None));
    gives_run_of(&home, "main", &skipped);
    assert_eq!(stage.says(0).await.answer, StageAnswer::Success);
}

#[tokio::test]
async fn a_failed_run_has_its_log_and_is_started_once() {
    const RERUN: &str = "POST /api/v3/repos/you/web/actions/runs/400/rerun";
    let home = home().await;
    let stage = stage(&home);
    gives(&home, &json!([status(1, "ci / test (push)", "failure")]), Some("failure"));
    let jobs = json!([
        { "id": 32, "name": "lint", "status": "failure", "attempt": 1 },
        { "id": 33, "name": "test", "status": "failure", "attempt": 1 },
    ]);
    home.gives(&on("/actions/runs/400/jobs"), &jobs);
    home.says(&on("/actions/jobs/33/logs"), [HomeAnswer::text(200, "1 failed\n")]);
    let said = stage.says(0).await;
    assert_eq!(said.answer, StageAnswer::Failure);
    assert_eq!(said.tail.as_deref(), Some("1 failed\n\njob test failed: Failing after 3s"));
    assert_eq!(said.link.as_deref(), Some("https://forge.example/you/web/actions/runs/12"));
    home.says(RERUN, [HomeAnswer::text(204, "")]);
    assert_eq!(stage.says(1).await.answer, StageAnswer::Pending);
    assert_eq!(stage.says(1).await.answer, StageAnswer::Failure);
    let again =
        json!({ "jobs": [{ "id": 33, "name": "test", "status": "failure", "attempt": 2 }] });
    home.gives(&on("/actions/runs/400/jobs"), &again);
    assert_eq!(self::stage(&home).says(1).await.answer, StageAnswer::Failure);
    let asked = home.asked_with();
    assert_eq!(asked.iter().filter(|(asked, _)| asked.starts_with("POST")).count(), 1);
    assert!(asked.iter().all(|(_, with)| with.as_deref() == Some(&format!("Bearer {TOKEN}"))));
}

#[tokio::test]
async fn what_the_branch_requires_must_be_there() {
    let home = home().await;
    let branch = json!({
        "name": "main", "enable_status_check": true, "status_check_contexts": ["ci / *", "docs"],
    });
    home.gives(&on("/branches/main"), &branch);
    let stage = stage(&home);
    gives(&home, &json!([status(1, "ci / test (push)", "success")]), Some("running"));
    let said = stage.says(0).await;
    assert_eq!(said.tail.as_deref(), Some("required, and not there yet: docs"));
    let both = json!([status(1, "ci / test (push)", "success"), status(2, "docs", "success")]);
    gives(&home, &both, Some("running"));
    assert_eq!(stage.says(0).await.answer, StageAnswer::Success);
}

#[tokio::test]
async fn a_commit_that_is_not_there_yet_is_nothing_and_no_answer_an_error() {
    let home = home().await;
    let stage = stage(&home);
    assert_eq!(stage.says(0).await.answer, StageAnswer::None);
    for (says, expected) in [
        (HomeAnswer::text(200, "<html>").with("content-type", "text/html"), "not JSON"),
        (HomeAnswer::text(401, "{}"), "wrong or has expired"),
        (HomeAnswer::text(500, ""), "answered 500"),
    ] {
        home.says(&page(&list(), 1), [says]);
        let told = stage.fails().await;
        assert!(told.contains(expected) && !told.contains(TOKEN), "{told}");
    }
}
