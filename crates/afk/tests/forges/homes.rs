//! A repository with several homes: its git is here, mirrored one way to GitHub, which has its
//! issues and whose Actions build it. These start a pipeline by hand on a Woodpecker server, which
//! deploys the image, with the commit's first eight digits as its tag, to Kubernetes.
//!
//! What goes wrong in such a set-up goes wrong here, too: the mirror is behind; a pipeline that was
//! started by hand is on the head of the repository that deploys, and only its variable says what
//! it deploys; a newer one deploys something else; the first deployment breaks and is started
//! again; the cluster still shows the old conditions after it has got the new image.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use afk_core::ids::Oid;
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus,
};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde_json::{Value, json};

use crate::common::{BOUND, git, until};
use crate::stand::{Answer, Asked, Stand};
use crate::support::{OnForge, Plot, repo};

/// The token for the Woodpecker server and the cluster.
const TOKEN: &str = "a token of the other homes";
/// The head of the repository that deploys, which is the commit of pipelines started by hand.
const INFRA: &str = "5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed";
/// The number of that repository at its Woodpecker server.
const INFRA_ID: u64 = 42;

/// A Woodpecker server, with the operations that a stage uses.
#[derive(Default)]
struct Woodpecker(Mutex<Pipelines>);

#[derive(Default)]
struct Pipelines {
    all: Vec<Value>,
    /// How many pipelines were started again.
    again: usize,
}

impl Woodpecker {
    fn all(&self) -> MutexGuard<'_, Pipelines> {
        self.0.lock().unwrap()
    }

    /// Starts a pipeline that deploys this tag, as if by hand.
    fn start(&self, tag: &str, parent: u64) -> Value {
        let mut known = self.all();
        let number = known.all.len() as u64 + 1;
        let pipeline = json!({
            "id": 1000 + number, "number": number, "parent": parent, "event": "manual",
            "status": "running", "commit": INFRA, "branch": "main", "ref": "refs/heads/main",
            "variables": { "IMAGE_TAG": tag, "IMAGE_NAME": "shop/web" }, "errors": null,
            "author": "ann", "created": 1, "started": 1, "finished": 0,
        });
        known.all.push(pipeline.clone());
        pipeline
    }

    fn end(&self, number: u64, status: &str) {
        let mut known = self.all();
        let found = known.all.iter_mut().find(|one| one["number"] == number);
        found.unwrap()["status"] = status.into();
    }

    /// The number of the newest pipeline that deploys the tag, if it is running.
    fn running(&self, tag: &str) -> Option<u64> {
        let known = self.all();
        let mut newest = known.all.iter().rev();
        let found = newest.find(|one| one["variables"]["IMAGE_TAG"] == tag)?;
        (found["status"] == "running").then(|| found["number"].as_u64().unwrap())
    }

    fn answer(&self, asked: &Asked) -> Answer {
        let path: Vec<&str> = asked.path.trim_start_matches('/').split('/').collect();
        let number = |text: &str| text.parse::<u64>().unwrap_or_default();
        let id = INFRA_ID.to_string();
        match (asked.method.as_str(), path.as_slice()) {
            ("GET", ["api", "repos", "lookup", "acme", "infra"]) => {
                asked.takes(&[])?;
                Ok(json!({ "id": INFRA_ID, "full_name": "acme/infra", "default_branch": "main" }))
            }
            ("GET", ["api", "repos", repo, "pipelines"]) if *repo == id => {
                asked.takes(&["page", "perPage"])?;
                let get = |name: &str, default| {
                    asked.query.get(name).map_or(default, |text| number(text) as usize)
                };
                let (page, size) = (get("page", 1), get("perPage", 50));
                if size > 50 {
                    return Err((400, "a page has 50 entries at most".to_owned()));
                }
                let known = self.all();
                let newest = known.all.iter().rev().skip((page - 1) * size).take(size);
                Ok(newest.cloned().collect())
            }
            ("GET", ["api", "repos", repo, "pipelines", nth]) if *repo == id => {
                asked.takes(&[])?;
                let found = self.all().all.iter().find(|one| one["number"] == number(nth)).cloned();
                let mut found = found.ok_or((404, "no such pipeline".to_owned()))?;
                found["workflows"] = json!([{ "id": 1, "name": "deploy", "state": found["status"],
                    "children": [{ "id": 7, "name": "apply", "state": found["status"],
                                   "exit_code": 1 }] }]);
                Ok(found)
            }
            ("GET", ["api", "repos", repo, "logs", _, "7", "download"]) if *repo == id => {
                Ok("the registry did not answer".into())
            }
            ("POST", ["api", "repos", repo, "pipelines", nth]) if *repo == id => {
                asked.takes(&[])?;
                let old = self.all().all.iter().find(|one| one["number"] == number(nth)).cloned();
                let old = old.ok_or((404, "no such pipeline".to_owned()))?;
                self.all().again += 1;
                Ok(self.start(old["variables"]["IMAGE_TAG"].as_str().unwrap(), number(nth)))
            }
            _ => Err((404, "no such operation".to_owned())),
        }
    }
}

/// A cluster with one Deployment, whose rollout goes on with each look at it.
struct Cluster(Mutex<Rollout>);

struct Rollout {
    tag: String,
    generation: i64,
    /// The number of looks since it got its image.
    looked: u32,
}

impl Cluster {
    fn new(tag: &str) -> Self {
        Self(Mutex::new(Rollout { tag: tag.to_owned(), generation: 1, looked: 9 }))
    }

    /// Gives the Deployment another image, as `kubectl set image` does.
    fn deploy(&self, tag: &str) {
        let mut now = self.0.lock().unwrap();
        *now = Rollout { tag: tag.to_owned(), generation: now.generation + 1, looked: 0 };
    }

    /// The tag of its image, and the number of looks since it got it.
    fn seen(&self) -> (String, u32) {
        let now = self.0.lock().unwrap();
        (now.tag.clone(), now.looked)
    }

    fn answer(&self, asked: &Asked) -> Answer {
        if (asked.method.as_str(), asked.path.as_str())
            != ("GET", "/apis/apps/v1/namespaces/shop/deployments/web")
        {
            return Err((404, "the server could not find the requested resource".to_owned()));
        }
        asked.takes(&[])?;
        let mut now = self.0.lock().unwrap();
        now.looked += 1;
        Ok(serde_json::to_value(deployment(&now)).unwrap())
    }
}

/// The Deployment in the official types.
fn deployment(now: &Rollout) -> Deployment {
    // At the first look the controller has not observed the new image yet, at the second it is
    // rolling out: the conditions are still those of the old image.
    let observed = if now.looked > 1 { now.generation } else { now.generation - 1 };
    let updated = if now.looked == 2 { 1 } else { 2 };
    let condition = DeploymentCondition {
        type_: Some("Progressing".to_owned()),
        status: Some("True".to_owned()),
        reason: Some("NewReplicaSetAvailable".to_owned()),
        ..DeploymentCondition::default()
    };
    let container = Container {
        name: "web".to_owned(),
        image: Some(format!("registry.test/shop/web:{}", now.tag)),
        ..Container::default()
    };
    let pods = PodSpec { containers: vec![container], ..PodSpec::default() };
    Deployment {
        metadata: ObjectMeta {
            name: Some("web".to_owned()),
            namespace: Some("shop".to_owned()),
            generation: Some(now.generation),
            ..ObjectMeta::default()
        },
        spec: DeploymentSpec {
            replicas: Some(2),
            selector: LabelSelector::default(),
            template: PodTemplateSpec { spec: Some(pods), ..PodTemplateSpec::default() },
            ..DeploymentSpec::default()
        },
        status: Some(DeploymentStatus {
            observed_generation: Some(observed),
            replicas: Some(2),
            ready_replicas: Some(2),
            updated_replicas: Some(updated),
            available_replicas: Some(2),
            conditions: Some(vec![condition]),
            ..DeploymentStatus::default()
        }),
    }
}

/// The three stages, each asked at a server of its own.
fn stages(woodpecker: &str, cluster: &str) -> String {
    let token = "token = { env = \"AFK_E2E_HOMES\" }";
    format!(
        "stages = [\n  {{ name = \"build\", kind = \"checks\" }},\n  {{ name = \"deploy\", kind = \
         \"woodpecker\", url = \"{woodpecker}\", repo = \"acme/infra\", {token} }},\n  {{ name = \
         \"rollout\", kind = \"rollout\", url = \"{cluster}\", workload = \"deployment/web\", \
         namespace = \"shop\", {token} }},\n]"
    )
}

fn short(commit: &Oid) -> String {
    commit.as_str()[..8].to_owned()
}

#[test]
fn what_the_predecessor_had() {
    // The cluster runs something older.
    let cluster = Arc::new(Cluster::new("0ddba11b"));
    let woodpecker = Arc::new(Woodpecker::default());
    let ci = Stand::start(TOKEN, {
        let woodpecker = woodpecker.clone();
        move |asked| woodpecker.answer(asked)
    });
    let kubernetes = Stand::start(TOKEN, {
        let cluster = cluster.clone();
        move |asked| cluster.answer(asked)
    });
    let keys = Some(stages(&ci.url, &kubernetes.url));
    let mut here = OnForge::new(Plot { keys, ci: true, ..Plot::default() });
    here.world.env.push(("AFK_E2E_HOMES".to_owned(), TOKEN.to_owned()));

    // The mirror is two seconds behind, and gets no branch but `main`.
    let (origin, mirror) = (here.world.path("origin.git"), here.world.path("github.git"));
    let to = mirror.to_str().unwrap().to_owned();
    git(&here.world.path(""), &["clone", "-q", "--bare", "origin.git", &to]);
    here.fake.on_git(&repo(), &mirror);
    let head = |git_dir: &std::path::Path| git(git_dir, &["rev-parse", "refs/heads/main"]);
    let mut behind = 0;
    here.always(Duration::from_millis(200), move || {
        behind = if head(&origin) == head(&mirror) { 0 } else { behind + 1 };
        if behind == 10 {
            git(&origin, &["push", "-q", &to, "main"]);
        }
    });

    // The build starts the pipeline that deploys; somebody else starts another one.
    let (passed, deploys) = (here.passed.clone(), woodpecker.clone());
    let first = here.fake.heads(&repo())["main"].clone();
    let mut known = BTreeMap::from([(first, 0)]);
    let rolled_out = cluster.clone();
    here.always(Duration::from_millis(50), move || {
        for commit in passed.lock().unwrap().clone() {
            let tag = short(&commit);
            let ran = known.entry(commit).or_insert_with(|| {
                deploys.start(&tag, 0);
                let other = deploys.start("0ddba11a", 0);
                deploys.end(other["number"].as_u64().unwrap(), "success");
                1
            });
            match deploys.running(&tag) {
                Some(number) if *ran == 1 => {
                    deploys.end(number, "failure");
                    *ran = 2;
                }
                Some(number) if *ran == 2 => {
                    rolled_out.deploy(&tag);
                    deploys.end(number, "success");
                }
                _ => {}
            }
        }
    });

    let issue = here.file("ann");
    let serve = here.serve();
    until("the issue is closed", BOUND, || here.is_closed(&issue).then_some(()));
    let page = here.landed_once(&issue);
    let stages = page["run"]["attempts"][0]["candidates"][0]["stages"].as_array().unwrap();
    let told: Vec<_> = stages
        .iter()
        .map(|stage| (stage["name"].as_str().unwrap(), stage["answer"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("build", "success"), ("deploy", "success"), ("rollout", "success")]);
    assert_eq!(stages[1]["flaky"], true, "{stages:#?}");
    assert!(stages[1]["link"].as_str().unwrap().ends_with("/repos/42/pipeline/3"), "{stages:#?}");
    assert_eq!(woodpecker.all().again, 1);
    assert_eq!(woodpecker.all().all.len(), 3);
    let landed: Oid = here.world.landed()[0].parse().unwrap();
    let (tag, looked) = cluster.seen();
    assert_eq!(tag, short(&landed));
    assert!(looked >= 3, "it was believed before it was over");
    // The mirror was behind when the build was asked for.
    assert!(here.fake.refused("/check-runs", 422), "{:#?}", here.fake.targets());
    assert_eq!((ci.wrong(), kubernetes.wrong()), (Vec::new(), Vec::new()));
    assert_eq!(woodpecker.all().all[0]["commit"], INFRA);
    drop(serve);
    here.done("e2e_homes");
}
