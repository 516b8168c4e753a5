//! The stage over HTTP, against a cluster's API.

use serde_json::json;

use super::*;
use crate::stages::testing::{COMMIT, Home, HomeAnswer, Stage, TOKEN};

const PATH: &str = "GET /apis/apps/v1/namespaces/shop/deployments/web";

fn stage(home: &Home) -> Stage {
    Stage::new(json!({
        "kind": "rollout", "url": home.url, "token": { "env": "T" },
        "workload": "deployment/web", "namespace": "shop",
    }))
}

/// A finished rollout of an image with that tag, or one that failed.
fn deployment(tag: &str, failed: bool) -> serde_json::Value {
    let reason = if failed { "ProgressDeadlineExceeded" } else { "NewReplicaSetAvailable" };
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web", "namespace": "shop", "generation": 2 },
        "spec": {
            "replicas": 1, "selector": {},
            "template": { "spec": { "containers": [{ "name": "web", "image": format!("web:{tag}") }] } },
        },
        "status": {
            "observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1,
            "conditions": [{
                "type": "Progressing", "status": "True", "reason": reason, "message": "why",
            }],
        },
    })
}

#[tokio::test]
async fn a_workload_answers_for_the_commit_that_it_runs() {
    let home = Home::open().await;
    let stage = stage(&home);
    // Nobody has deployed it yet.
    assert_eq!(stage.says(0).await, nothing_there());
    let check = async |tag: &str, failed, expected: StageAnswer, why: Option<&str>| {
        home.gives(PATH, &deployment(tag, failed));
        let said = stage.says(0).await;
        assert_eq!((said.answer, said.tail.as_deref()), (expected, why), "{tag}");
    };
    check("1a2b3c4d", false, StageAnswer::Success, None).await;
    check(COMMIT, true, StageAnswer::Failure, Some("why")).await;
    // A later commit's, and one that nobody knows to be later.
    check("deadbeef", false, StageAnswer::Success, None).await;
    check("deadbeef", true, StageAnswer::Void, Some("why")).await;
    check("aaaaaaaa", false, StageAnswer::None, None).await;
    check("aaaaaaaa", true, StageAnswer::None, None).await;
    check("latest", false, StageAnswer::None, None).await;
    let asked = home.asked_with();
    assert!(asked.iter().all(|(_, with)| with.as_deref() == Some(&format!("Bearer {TOKEN}"))));
}

/// Fault 19 of other bots: the cluster has taken the new image and shows the conditions of the old one,
/// which had rolled out, or had failed to.
#[tokio::test]
async fn fault_19_a_generation_ahead_of_its_conditions_is_waited_for() {
    let home = Home::open().await;
    let stage = stage(&home);
    for failed in [false, true] {
        let mut ahead = deployment("1a2b3c4d", failed);
        home.gives(PATH, &ahead);
        let decided = if failed { StageAnswer::Failure } else { StageAnswer::Success };
        assert_eq!(stage.says(0).await.answer, decided);
        ahead["metadata"]["generation"] = 3.into();
        home.gives(PATH, &ahead);
        let said = stage.says(0).await;
        let why = Some("its new specification is not observed yet");
        assert_eq!((said.answer, said.tail.as_deref()), (StageAnswer::Pending, why), "{failed}");
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_an_error() {
    let home = Home::open().await;
    let stage = stage(&home);
    for (says, expected) in [
        (HomeAnswer::text(200, "<html>").with("content-type", "text/html"), "not JSON"),
        (HomeAnswer::text(401, ""), "wrong or has expired"),
        (HomeAnswer::text(403, ""), "does not allow that"),
        (HomeAnswer::text(503, ""), "answered 503"),
    ] {
        home.says(PATH, [says]);
        let told = stage.fails().await;
        assert!(told.contains(expected) && !told.contains(TOKEN), "{told}");
    }
}

#[tokio::test]
async fn authorities_that_cannot_be_used_are_told() {
    let home = Home::open().await;
    let dir = std::env::temp_dir().join(format!("afk-ca-{}", std::process::id()));
    let table = |ca: &Path| {
        json!({
            "kind": "rollout", "url": home.url, "token": { "env": "T" }, "ca": ca,
            "workload": "deployment/web",
        })
    };
    let told = Stage::new(table(&dir)).fails().await;
    assert!(told.contains("cannot be read"), "{told}");
    std::fs::write(&dir, "no certificate").unwrap();
    let told = Stage::new(table(&dir)).fails().await;
    std::fs::remove_file(&dir).unwrap();
    assert!(told.contains("contains no certificate"), "{told}");
}

#[test]
fn a_table_names_a_workload_and_a_cluster() {
    let check = |table: serde_json::Value, expected: Result<&str, &str>| {
        let table: StageTable = serde_json::from_value(table).unwrap();
        let read = Settings::read(&table);
        let read = read.map(|read| format!("{} {}", read.url, read.request()));
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(read.map_err(|mistake| mistake.to_string()), expected);
    };
    check(
        json!({ "kind": "rollout", "workload": "sts/db" }),
        Ok("https://kubernetes.default.svc/ GET /apis/apps/v1/namespaces/default/statefulsets/db"),
    );
    check(
        json!({ "kind": "rollout", "workload": "daemonset/a", "url": "https://k:6443",
                "token": { "env": "T" } }),
        Ok("https://k:6443/ GET /apis/apps/v1/namespaces/default/daemonsets/a"),
    );
    let shape = "workload: must be deployment/NAME, statefulset/NAME or daemonset/NAME";
    check(json!({ "kind": "rollout", "workload": "web" }), Err(shape));
    check(json!({ "kind": "rollout", "workload": "job/web" }), Err(shape));
    check(json!({ "kind": "rollout", "workload": "deployment/../x" }), Err(shape));
    check(
        json!({ "kind": "rollout" }),
        Err(": a stage of kind \"rollout\" needs a workload; add it"),
    );
    check(
        json!({ "kind": "rollout", "workload": "deployment/web", "url": "https://k" }),
        Err(": a stage of kind \"rollout\" needs a token; add it"),
    );
    check(
        json!({ "kind": "rollout", "workload": "deployment/web", "token": { "env": "T" } }),
        Err(": a stage of kind \"rollout\" needs the url of the cluster that it is for; add it, \
             or omit token and ca for the cluster that afk runs in"),
    );
}
