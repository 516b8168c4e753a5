//! The fold over pipelines, and the stage over HTTP.

use serde_json::{Value, json};

use super::*;
use crate::stages::testing::{COMMIT, Home, HomeAnswer, Stage, TOKEN};

const LIST: &str = "GET /api/repos/7/pipelines";

async fn home() -> Home {
    let home = Home::open().await;
    let repo = json!({
        "id": 7, "owner": "you", "name": "web", "full_name": "you/web", "default_branch": "main",
    });
    home.gives("GET /api/repos/lookup/you/web", &repo);
    home
}

fn stage(home: &Home) -> Stage {
    Stage::new(json!({ "kind": "woodpecker", "url": home.url, "token": { "env": "T" } }))
}

fn pipeline(number: u64, status: &str, commit: &str) -> Value {
    json!({
        "id": 1000 + number, "number": number, "parent": 0, "event": "push", "event_reason": [],
        "status": status, "errors": null, "created": 1, "updated": 1, "started": 1, "finished": 0,
        "commit": commit, "branch": "main", "ref": "refs/heads/main", "author": "ada",
        "title": "", "message": "m", "sender": "ada", "version": "3.9.0", "rerun_count": 0,
    })
}

/// A page of pipelines for other commits, newest first.
fn others(newest: u64) -> Value {
    let all = (0..50).map(|n| pipeline(newest - n, "success", &"f".repeat(40)));
    Value::Array(all.collect())
}

#[tokio::test]
async fn the_newest_pipeline_for_the_commit_answers() {
    let home = home().await;
    let stage = stage(&home);
    home.gives(LIST, &json!([]));
    assert_eq!(stage.says(0).await, nothing_there());
    let mut tagged = pipeline(9, "running", &"f".repeat(40));
    tagged["event"] = "manual".into();
    tagged["variables"] = json!({ "IMAGE_TAG": "1a2b3c4d", "IMAGE_NAME": "web" });
    home.gives(LIST, &json!([tagged, pipeline(8, "failure", COMMIT)]));
    let said = stage.says(0).await;
    assert_eq!(said.answer, StageAnswer::Pending);
    assert_eq!(said.link, Some(format!("{}/repos/7/pipeline/9", home.url)));
    assert_eq!(said.tail, None);
    let asked = home.asked_with();
    assert!(asked.iter().all(|(_, with)| with.as_deref() == Some(&format!("Bearer {TOKEN}"))));
    assert_eq!(asked.last().unwrap().0, "GET /api/repos/7/pipelines?page=1&perPage=50");
}

#[tokio::test]
async fn a_candidates_pipeline_does_not_answer_for_what_has_landed() {
    let home = home().await;
    let stage = stage(&home);
    let mut tried = pipeline(8, "success", COMMIT);
    (tried["branch"], tried["ref"]) = ("afk/try/1/1".into(), "refs/heads/afk/try/1/1".into());
    home.gives(LIST, &json!([tried]));
    let (before, after) = stage.before_and_after().await;
    assert_eq!((before, after), (StageAnswer::Success, StageAnswer::None));
    home.gives(LIST, &json!([pipeline(9, "running", COMMIT), tried]));
    assert_eq!(stage.says(0).await.answer, StageAnswer::Pending);
}

#[tokio::test]
async fn a_release_branchs_pipeline_does_not_hide_the_default_branchs() {
    let home = home().await;
    let stage = stage(&home);
    let mut release = pipeline(9, "success", COMMIT);
    (release["branch"], release["ref"]) = ("v1".into(), "refs/heads/v1".into());
    home.gives(LIST, &json!([release, pipeline(8, "running", COMMIT)]));
    let (before, after) = stage.before_and_after().await;
    assert_eq!((before, after), (StageAnswer::Success, StageAnswer::Pending));
}

#[tokio::test]
async fn pages_are_read_until_one_has_the_commit() {
    let home = home().await;
    let stage = stage(&home);
    home.gives(&format!("{LIST}?page=1&perPage=50"), &others(120));
    home.gives(&format!("{LIST}?page=2&perPage=50"), &others(70));
    let last = json!([pipeline(20, "success", COMMIT), pipeline(19, "failure", COMMIT)]);
    home.gives(&format!("{LIST}?page=3&perPage=50"), &last);
    assert_eq!(stage.says(0).await.answer, StageAnswer::Success);
    home.gives(LIST, &others(500));
    for page in 1..=3 {
        home.gives(&format!("{LIST}?page={page}&perPage=50"), &others(500));
    }
    home.asked();
    // Pages without end are not read without end.
    assert_eq!(stage.says(0).await, nothing_there());
    assert_eq!(home.asked().len(), 1 + PAGES);
}

#[tokio::test]
async fn a_failure_has_the_end_of_its_log() {
    let home = home().await;
    let stage = stage(&home);
    home.gives(LIST, &json!([pipeline(9, "failure", COMMIT)]));
    let mut whole = pipeline(9, "failure", COMMIT);
    whole["workflows"] = json!([{
        "id": 1, "pipeline_id": 1009, "pid": 1, "name": "ci", "state": "failure",
        "children": [{
            "id": 33, "uuid": "u", "pipeline_id": 1009, "pid": 2, "ppid": 1, "name": "test",
            "state": "failure", "exit_code": 1, "type": "commands",
        }],
    }]);
    home.gives("GET /api/repos/7/pipelines/9", &whole);
    let log = format!("{}\u{1b}[31m1 test failed\u{1b}[0m", "a line\n".repeat(20_000));
    home.says("GET /api/repos/7/logs/9/33/download", [HomeAnswer::text(200, &log)]);
    let said = stage.says(0).await;
    let tail = said.tail.unwrap();
    assert_eq!(said.answer, StageAnswer::Failure);
    assert!(tail.len() <= 8192, "{}", tail.len());
    assert!(tail.ends_with("a line\n1 test failed\nstep test of ci failed, exit code 1"), "{tail}");
    // Without its log it has failed all the same.
    home.says("GET /api/repos/7/logs/9/33/download", [HomeAnswer::text(500, "gone")]);
    let tail = stage.says(0).await.tail.unwrap();
    assert!(tail.contains("could not be read") && tail.ends_with("exit code 1"), "{tail}");
}

#[tokio::test]
async fn a_failed_pipeline_is_started_once_for_each_number() {
    let home = home().await;
    let stage = stage(&home);
    let failed = pipeline(9, "failure", COMMIT);
    home.gives(LIST, &json!([failed]));
    home.gives("GET /api/repos/7/pipelines/9", &failed);
    home.gives("POST /api/repos/7/pipelines/9", &pipeline(10, "pending", COMMIT));
    assert_eq!(stage.says(0).await.answer, StageAnswer::Failure);
    let said = stage.says(1).await;
    assert_eq!(said.answer, StageAnswer::Pending);
    assert_eq!(said.link, Some(format!("{}/repos/7/pipeline/10", home.url)));
    // The list does not show it yet.
    assert_eq!(stage.says(1).await.answer, StageAnswer::Failure);
    // It does, to a control plane that knows nothing of it.
    let mut new = pipeline(10, "failure", COMMIT);
    new["parent"] = 9.into();
    home.gives(LIST, &json!([new, failed]));
    home.gives("GET /api/repos/7/pipelines/10", &new);
    assert_eq!(self::stage(&home).says(1).await.answer, StageAnswer::Failure);
    let posts = home.asked().iter().filter(|asked| asked.starts_with("POST")).count();
    assert_eq!(posts, 1);
}

/// The stage's answer about a failed pipeline whose restart the server answers with `says`, and how
/// often it was asked to restart it.
async fn not_started(says: HomeAnswer) -> (StageAnswer, usize) {
    let home = home().await;
    let stage = stage(&home);
    let failed = pipeline(9, "failure", COMMIT);
    home.gives(LIST, &json!([failed]));
    home.gives("GET /api/repos/7/pipelines/9", &failed);
    home.says("POST /api/repos/7/pipelines/9", [says]);
    let answers = [stage.says(1).await.answer, stage.says(1).await.answer];
    assert_eq!(answers[0], answers[1], "it is not asked for again");
    let posts = home.asked().iter().filter(|asked| asked.starts_with("POST")).count();
    (answers[0], posts)
}

#[tokio::test]
async fn what_may_not_be_started_is_not_waited_for() {
    for refusal in [HomeAnswer::text(403, ""), HomeAnswer::text(400, "blocked")] {
        assert_eq!(not_started(refusal).await, (StageAnswer::Failure, 1));
    }
}

/// Fault 18 of other bots: the server filtered the new pipeline, said so by 204, and it was waited
/// for.
#[tokio::test]
async fn fault_18_a_204_has_started_nothing() {
    assert_eq!(not_started(HomeAnswer::text(204, "")).await, (StageAnswer::Failure, 1));
}

#[tokio::test]
async fn an_answer_that_is_none_is_an_error() {
    let home = home().await;
    let stage = stage(&home);
    let check = async |says: HomeAnswer, expected: &str| {
        home.says(LIST, [says]);
        let told = stage.fails().await;
        assert!(told.contains(expected) && !told.contains(TOKEN), "{told}");
    };
    let html = HomeAnswer::text(200, "<html>").with("content-type", "text/html");
    check(html, "text/html, not JSON").await;
    let cut = HomeAnswer::text(200, "[{").with("content-type", "application/json");
    check(cut, "not what it should be").await;
    check(HomeAnswer::text(500, ""), "answered 500").await;
    check(HomeAnswer::text(401, ""), "wrong or has expired").await;
    // A redirect is not followed, so that nobody else sees the token.
    let elsewhere = Home::open().await;
    check(HomeAnswer::text(302, "").with("location", &elsewhere.url), "has moved to").await;
    assert_eq!(elsewhere.asked(), Vec::<String>::new());
}
