//! Whether a workload has rolled out, in tables.

use serde_json::{Value, json};

use super::Rollout::{Done, Failed, Waits};
use super::*;

const COMMIT: &str = "1a2b3c4d5e6f708192a3b4c5d6e7f80912345678";

/// `object` with these fields changed; null leaves a field out.
fn with(mut object: Value, changes: &Value) -> Value {
    fn lay(over: &mut Value, changes: &Value) {
        match (over, changes) {
            (Value::Object(over), Value::Object(changes)) => {
                for (key, value) in changes {
                    if value.is_null() {
                        over.remove(key);
                    } else {
                        lay(over.entry(key.clone()).or_insert(Value::Null), value);
                    }
                }
            }
            (over, changes) => *over = changes.clone(),
        }
    }
    lay(&mut object, changes);
    object
}

fn template() -> Value {
    json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "web", "image": "registry.example/web:1a2b3c4d" }] },
    })
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "web", "namespace": "default", "generation": 4 },
        "spec": {
            "replicas": 3,
            "selector": { "matchLabels": { "app": "web" } },
            "template": template(),
        },
        "status": {
            "observedGeneration": 4,
            "replicas": 3,
            "updatedReplicas": 3,
            "readyReplicas": 3,
            "availableReplicas": 3,
            "conditions": [{
                "type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable",
                "message": "ReplicaSet \"web-1\" has successfully progressed.",
            }],
        },
    })
}

fn stateful_set() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": { "name": "db", "namespace": "default", "generation": 2 },
        "spec": {
            "replicas": 3,
            "serviceName": "db",
            "selector": { "matchLabels": { "app": "web" } },
            "template": template(),
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } },
        },
        "status": {
            "observedGeneration": 2,
            "replicas": 3,
            "readyReplicas": 3,
            "updatedReplicas": 3,
            "currentRevision": "db-2",
            "updateRevision": "db-2",
        },
    })
}

fn daemon_set() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": "agent", "namespace": "default", "generation": 2 },
        "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": template(),
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 0 } },
        },
        "status": {
            "observedGeneration": 2,
            "currentNumberScheduled": 5,
            "numberMisscheduled": 0,
            "numberReady": 5,
            "desiredNumberScheduled": 5,
            "updatedNumberScheduled": 5,
            "numberAvailable": 5,
        },
    })
}

#[track_caller]
fn check(kind: Kind, whole: Value, changes: &Value, expected: &Rollout) {
    let object = with(whole, changes);
    // What the server could not send proves nothing.
    let allowed = match kind {
        Kind::Deployment => {
            serde_json::from_value::<k8s_openapi::api::apps::v1::Deployment>(object.clone())
                .map(drop)
        }
        Kind::StatefulSet => {
            serde_json::from_value::<k8s_openapi::api::apps::v1::StatefulSet>(object.clone())
                .map(drop)
        }
        Kind::DaemonSet => {
            serde_json::from_value::<k8s_openapi::api::apps::v1::DaemonSet>(object.clone())
                .map(drop)
        }
    };
    allowed.unwrap();
    let read: Workload = serde_json::from_value(object).unwrap();
    assert_eq!(read.rollout(kind), *expected, "{changes}");
}

fn waiting(what: &str) -> Rollout {
    Waits(what.to_owned())
}

#[test]
fn a_deployment_is_rolled_out_as_kubectl_says() {
    let check = |changes: Value, expected: &Rollout| {
        check(Kind::Deployment, deployment(), &changes, expected);
    };
    check(json!({}), &Done);
    check(json!({ "status": { "updatedReplicas": 2 } }), &waiting("2 of 3 replicas are updated"));
    check(json!({ "status": { "replicas": 4 } }), &waiting("1 old replicas are still there"));
    check(
        json!({ "status": { "availableReplicas": 1 } }),
        &waiting("1 of 3 updated replicas are available"),
    );
    // Counts that are left out are zero, and a number of replicas that is left out is one.
    check(
        json!({ "status": { "updatedReplicas": null } }),
        &waiting("0 of 3 replicas are updated"),
    );
    let one = json!({ "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1 });
    check(json!({ "spec": { "replicas": null }, "status": one }), &Done);
    let none = json!({ "replicas": 0, "updatedReplicas": 0, "availableReplicas": 0 });
    check(
        json!({ "spec": { "replicas": 0 }, "status": none }),
        &waiting("no replica is wanted, so that nothing runs"),
    );
}

#[test]
fn a_deployment_that_stalls_has_failed_unless_the_condition_is_old() {
    let stalled = json!([
        { "type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable",
          "message": "Deployment does not have minimum availability." },
        { "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
          "message": "ReplicaSet \"web-2\" has timed out progressing." },
    ]);
    let status = json!({ "updatedReplicas": 1, "conditions": stalled });
    check(
        Kind::Deployment,
        deployment(),
        &json!({ "status": status }),
        &Failed(
            "ReplicaSet \"web-2\" has timed out progressing.\nMinimumReplicasUnavailable: \
             Deployment does not have minimum availability."
                .to_owned(),
        ),
    );
    check(
        Kind::Deployment,
        deployment(),
        &json!({ "metadata": { "generation": 5 }, "status": status }),
        &waiting("its new specification is not observed yet"),
    );
    check(
        Kind::Deployment,
        deployment(),
        &json!({ "metadata": { "generation": 5 } }),
        &waiting("its new specification is not observed yet"),
    );
}

#[test]
fn a_stateful_set_is_rolled_out_as_kubectl_says_and_whole() {
    let check = |changes: Value, expected: &Rollout| {
        check(Kind::StatefulSet, stateful_set(), &changes, expected);
    };
    check(json!({}), &Done);
    check(json!({ "status": { "readyReplicas": 2 } }), &waiting("2 of 3 replicas are ready"));
    check(json!({ "status": { "updatedReplicas": 2 } }), &waiting("2 of 3 replicas are updated"));
    let unseen = waiting("its new specification is not observed yet");
    check(json!({ "status": { "observedGeneration": 0 } }), &unseen);
    check(json!({ "status": { "observedGeneration": null } }), &unseen);
    check(json!({ "metadata": { "generation": 3 } }), &unseen);
    let partition = json!({ "rollingUpdate": { "partition": 1 } });
    check(
        json!({ "spec": { "updateStrategy": partition } }),
        &waiting("its partition keeps the old revision below ordinal 1"),
    );
    let without = json!({ "updateStrategy": { "rollingUpdate": null } });
    check(json!({ "spec": without }), &Done);
    check(
        json!({ "spec": without, "status": { "updateRevision": "db-3" } }),
        &waiting("pods of the old revision are still there"),
    );
    check(
        json!({ "spec": { "updateStrategy": { "type": "OnDelete", "rollingUpdate": null } } }),
        &waiting("its update strategy OnDelete replaces pods only as somebody deletes them"),
    );
    check(
        json!({ "spec": { "replicas": 0 } }),
        &waiting("no replica is wanted, so that nothing runs"),
    );
}

#[test]
fn a_daemon_set_is_rolled_out_as_kubectl_says() {
    let check = |changes: Value, expected: &Rollout| {
        check(Kind::DaemonSet, daemon_set(), &changes, expected);
    };
    check(json!({}), &Done);
    check(
        json!({ "status": { "updatedNumberScheduled": 4 } }),
        &waiting("4 of 5 pods are updated"),
    );
    check(
        json!({ "status": { "numberAvailable": 4 } }),
        &waiting("4 of 5 updated pods are available"),
    );
    check(
        json!({ "metadata": { "generation": 3 } }),
        &waiting("its new specification is not observed yet"),
    );
    check(
        json!({ "status": { "desiredNumberScheduled": 0 } }),
        &waiting("no replica is wanted, so that nothing runs"),
    );
    check(
        json!({ "spec": { "updateStrategy": { "type": "OnDelete", "rollingUpdate": null } } }),
        &waiting("its update strategy OnDelete replaces pods only as somebody deletes them"),
    );
}

#[test]
fn an_image_names_its_commit() {
    let commit: Oid = COMMIT.parse().unwrap();
    let runs = |containers: Value, container: Option<&str>| {
        let changes = json!({ "spec": { "template": { "spec": { "containers": containers } } } });
        let read: Workload = serde_json::from_value(with(deployment(), &changes)).unwrap();
        read.runs(&commit, container)
    };
    let others = |digits: &[&str]| Runs::Others(digits.iter().map(ToString::to_string).collect());
    let one = |image: &str| json!([{ "name": "web", "image": image }]);
    assert_eq!(runs(one("web:1a2b3c4d"), None), Runs::Ours);
    assert_eq!(runs(one("web:1a2b3c4"), None), Runs::Ours);
    assert_eq!(runs(one(&format!("host:5000/a/web:{COMMIT}")), None), Runs::Ours);
    assert_eq!(runs(one("web:sha-1a2b3c4@sha256:abc"), None), Runs::Ours);
    assert_eq!(runs(one("web:deadbee"), None), others(&["deadbee"]));
    assert_eq!(runs(one("host:5000/web"), None), others(&[]));
    assert_eq!(runs(one("web:latest"), None), others(&[]));
    let two = json!([
        { "name": "proxy", "image": "proxy:deadbee" },
        { "name": "web", "image": "web:1a2b3c4" },
    ]);
    assert_eq!(runs(two.clone(), None), Runs::Ours);
    assert_eq!(runs(two.clone(), Some("web")), Runs::Ours);
    assert_eq!(runs(two.clone(), Some("proxy")), others(&["deadbee"]));
    assert_eq!(runs(two, Some("other")), others(&[]));
}
