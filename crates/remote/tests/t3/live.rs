//! The check of a real server, if the environment names one: its address in `T3_BASE_URL`, its
//! bearer in `T3_TOKEN`, and in `T3_REPO` a repo (default `afk/check`) whose project is in
//! `T3_BASE` (default `/data`). Calls a model, for a few words.

use std::sync::Arc;

use afk_core::ids::{AdapterName, RepoName, RunId};
use afk_core::text::Mask;
use afk_engine::ports::Clock;
use afk_remote::{RemoteSettings, T3Executors, WorkspacesHere};
use afk_sim::fakes::{MemoryNotes, MemorySecrets};
use async_trait::async_trait;
use serde_json::json;

/// The real clock.
struct RealClock;

#[async_trait]
impl Clock for RealClock {
    fn now(&self) -> afk_core::ids::At {
        afk_core::ids::At::now()
    }

    async fn sleep_until(&self, at: afk_core::ids::At) {
        let wait = at.duration_since(self.now());
        if let Ok(wait) = std::time::Duration::try_from(wait) {
            tokio::time::sleep(wait).await;
        }
    }
}

#[tokio::test]
async fn a_real_server_does_what_the_loop_does_with_it() {
    let given = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let (Some(url), Some(token)) = (given("T3_BASE_URL"), given("T3_TOKEN")) else {
        println!("skipped: T3_BASE_URL and T3_TOKEN name no server");
        return;
    };
    let repo: RepoName = given("T3_REPO").unwrap_or("afk/check".to_owned()).parse().unwrap();
    let base = given("T3_BASE").unwrap_or("/data".to_owned());
    let secrets = Arc::new(MemorySecrets::default());
    secrets.set("T3_TOKEN", &token);
    let here = WorkspacesHere { root: "/".into(), of: Arc::new(|_| "/".into()) };
    let (notes, masks) = (Arc::new(MemoryNotes::default()), Arc::new(|| Arc::new(Mask::new([]))));
    let servers = T3Executors::new(Arc::new(RealClock), secrets, notes, here, masks);
    let table = json!({ "kind": "t3", "url": url, "token": { "env": "T3_TOKEN" }, "base": base });
    let settings: RemoteSettings =
        serde_json::from_value(json!({ "agents": { "far": table } })).unwrap();
    assert_eq!(settings.mistakes(), []);
    servers.configure(&settings);
    let name: AdapterName = "far".parse().unwrap();
    let run = RunId::new(uuid::Uuid::now_v7());
    let checked = servers.check(&name, &repo, run).await.unwrap();
    for one in &checked {
        println!("{}: {:?}", one.step, one.says);
    }
    assert!(checked.iter().all(|one| one.says.is_ok()), "{checked:?}");
}
