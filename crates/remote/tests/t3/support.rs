//! A fake T3 server, and the adapter that talks to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use afk_core::config::Policy;
use afk_core::ids::{AdapterName, At, JobKey, JobOf, RepoName, RunId};
use afk_core::run::{TurnEnd, TurnSeen};
use afk_core::text::Mask;
use afk_engine::ports::{Clock, Executor, Notes, PortResult, TurnReport, TurnRequest};
use afk_fakes::t3::{Flavour, T3Fake};
use afk_remote::{RemoteSettings, T3Executors, WorkspacesHere};
use afk_sim::fakes::{Jumping, MemoryNotes, MemorySecrets, Sim};
use afk_sim::world::World;
use async_trait::async_trait;
use jiff::SignedDuration;
use serde_json::{Value, json};

/// How long a server may take to answer, on a slow machine, too.
const PATIENCE: Duration = Duration::from_secs(10);

/// The bearer that the adapter has.
pub(crate) const TOKEN: &str = "the-bearer-of-nobody-else";

/// The versions of protocol 1 that the fake knows.
pub(crate) const ONE: [Flavour; 3] = [Flavour::V27, Flavour::V33, Flavour::August];
/// Every version that the fake knows.
pub(crate) const ALL: [Flavour; 4] = [Flavour::V27, Flavour::V33, Flavour::August, Flavour::Two];

/// One adapter and the fake server that it talks to.
pub(crate) struct Home {
    pub(crate) sim: Sim,
    pub(crate) fake: T3Fake,
    pub(crate) notes: Arc<MemoryNotes>,
    pub(crate) secrets: Arc<MemorySecrets>,
    pub(crate) executor: Arc<dyn Executor>,
    pub(crate) table: Value,
}

impl Home {
    pub(crate) fn new(flavour: Flavour) -> Self {
        Self::with(flavour, &json!({}))
    }

    /// The same with more keys in the adapter's table.
    pub(crate) fn with(flavour: Flavour, more: &Value) -> Self {
        let now = "2026-11-02T10:00:00Z".parse().unwrap();
        let sim = Sim::new(World::new(Policy::default(), now));
        let fake = T3Fake::start(&sim, flavour, TOKEN).unwrap();
        fake.has_folder("/data/o__r", true);
        let mut table = json!({
            "kind": "t3", "url": fake.url(), "token": { "env": "TOKEN" }, "lands": "agent",
            "turn_usd": 1,
        });
        table.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let secrets = Arc::new(MemorySecrets::default());
        secrets.set("TOKEN", TOKEN);
        let notes = Arc::new(MemoryNotes::default());
        let kept: Arc<dyn Notes> = notes.clone();
        let executor = made(&sim, &secrets, &kept, &table);
        Self { sim, fake, notes, secrets, executor, table }
    }

    /// The executor of another process, which shares the notes.
    pub(crate) fn restarted(&self) -> Arc<dyn Executor> {
        let notes: Arc<dyn Notes> = self.notes.clone();
        self.noting(&notes)
    }

    /// The executor of a process with these notes.
    pub(crate) fn noting(&self, notes: &Arc<dyn Notes>) -> Arc<dyn Executor> {
        made(&self.sim, &self.secrets, notes, &self.table)
    }

    /// The executor of a process whose clock is `by` ahead of the server's.
    pub(crate) fn ahead(&self, by: SignedDuration) -> Arc<dyn Executor> {
        let notes: Arc<dyn Notes> = self.notes.clone();
        let clock = Arc::new(Ahead { server: Jumping(self.sim.clone()), by });
        servers_by(clock, &self.secrets, &notes, &self.table, PATIENCE).1
    }

    /// The executor of a process that soon gives up a server that is silent.
    pub(crate) fn impatient(&self) -> Arc<dyn Executor> {
        let notes: Arc<dyn Notes> = self.notes.clone();
        let clock = Arc::new(Jumping(self.sim.clone()));
        let patience = Duration::from_millis(500);
        servers_by(clock, &self.secrets, &notes, &self.table, patience).1
    }

    /// The executor of a process that lost the notes.
    pub(crate) fn forgetful(&self) -> Arc<dyn Executor> {
        let notes: Arc<dyn Notes> = Arc::new(MemoryNotes::default());
        self.noting(&notes)
    }

    /// All servers of the configuration, which are this one.
    pub(crate) fn servers(&self) -> T3Executors {
        let notes: Arc<dyn Notes> = self.notes.clone();
        servers(&self.sim, &self.secrets, &notes, &self.table).0
    }

    pub(crate) fn later(&self, ms: i64) {
        self.sim.advance(SignedDuration::from_millis(ms));
    }

    pub(crate) async fn start(&self, n: u32, prompt: &str) -> PortResult<()> {
        self.executor.start(&request(n, prompt)).await
    }

    pub(crate) async fn observe(&self, n: u32) -> TurnReport {
        self.executor.observe(&repo(), &key(n)).await.unwrap()
    }

    /// The state of the turn, in a word or two.
    pub(crate) async fn told(&self, n: u32) -> String {
        match self.executor.observe(&repo(), &key(n)).await {
            Ok(report) => word(&report.seen),
            Err(error) => format!("error: {:?}", error.kind),
        }
    }

    /// Lets time pass until the state of the turn is `expected`.
    pub(crate) async fn until(&self, n: u32, expected: &str) {
        let mut told = String::new();
        for _ in 0..200 {
            told = self.told(n).await;
            if told == expected {
                return;
            }
            self.later(500);
        }
        panic!("turn {n} never came to {expected}: {told}");
    }

    pub(crate) async fn alive(&self) -> Vec<JobKey> {
        self.executor.alive(&repo(), run()).await.unwrap()
    }
}

/// An executor for the world of `sim` with that server and those notes.
pub(crate) fn on(sim: &Sim, fake: &T3Fake, notes: &Arc<dyn Notes>) -> Arc<dyn Executor> {
    let table = json!({
        "kind": "t3", "url": fake.url(), "token": { "env": "TOKEN" }, "lands": "agent",
        "turn_usd": 1,
    });
    let secrets = Arc::new(MemorySecrets::default());
    secrets.set("TOKEN", TOKEN);
    made(sim, &secrets, notes, &table)
}

fn made(
    sim: &Sim,
    secrets: &Arc<MemorySecrets>,
    notes: &Arc<dyn Notes>,
    table: &Value,
) -> Arc<dyn Executor> {
    servers(sim, secrets, notes, table).1
}

fn servers(
    sim: &Sim,
    secrets: &Arc<MemorySecrets>,
    notes: &Arc<dyn Notes>,
    table: &Value,
) -> (T3Executors, Arc<dyn Executor>) {
    servers_by(Arc::new(Jumping(sim.clone())), secrets, notes, table, PATIENCE)
}

/// A clock that shows another time than the server's.
struct Ahead {
    server: Jumping,
    by: SignedDuration,
}

#[async_trait]
impl Clock for Ahead {
    fn now(&self) -> At {
        self.server.now().checked_add(self.by).unwrap()
    }

    async fn sleep_until(&self, at: At) {
        self.server.sleep_until(at.checked_sub(self.by).unwrap()).await;
    }
}

fn servers_by(
    clock: Arc<dyn Clock>,
    secrets: &Arc<MemorySecrets>,
    notes: &Arc<dyn Notes>,
    table: &Value,
    patience: Duration,
) -> (T3Executors, Arc<dyn Executor>) {
    let (root, below) = (workspaces(), workspaces());
    let of = Arc::new(move |run: RunId| below.join(run.to_string()).join("clone"));
    let workspaces = WorkspacesHere { root, of };
    let masks = Arc::new(|| Arc::new(Mask::new([])));
    let servers = T3Executors::new(clock, secrets.clone(), notes.clone(), workspaces, masks)
        .answering_within(patience);
    let settings = json!({ "agents": { "far": table } });
    let settings: RemoteSettings = serde_json::from_value(settings).unwrap();
    assert_eq!(settings.mistakes(), []);
    let name: AdapterName = "far".parse().unwrap();
    let executor = servers.configure(&settings).remove(&name).unwrap();
    (servers, executor)
}

/// Where our workspaces would be.
pub(crate) fn workspaces() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("t3-{}", std::process::id()))
}

pub(crate) fn word(seen: &TurnSeen) -> String {
    match seen {
        TurnSeen::Absent => "absent".to_owned(),
        TurnSeen::Running { asks, .. } if asks.is_empty() => "running".to_owned(),
        TurnSeen::Running { asks, .. } => format!("asks {}", asks[0].what),
        TurnSeen::Unknown => "unknown".to_owned(),
        TurnSeen::Ended { how, .. } => match how {
            TurnEnd::Finished { message } => format!("finished {message}"),
            TurnEnd::Failed { message } => format!("failed {message}"),
            TurnEnd::Unavailable { what, .. } => format!("lacks {what:?}"),
            other => format!("{other:?}").to_lowercase(),
        },
    }
}

pub(crate) fn repo() -> RepoName {
    "o/r".parse().unwrap()
}

pub(crate) fn run() -> RunId {
    "01920000-0000-7000-8000-000000000001".parse().unwrap()
}

pub(crate) fn key(n: u32) -> JobKey {
    JobKey::new(run(), JobOf::Turn, &n.to_string())
}

pub(crate) fn request(n: u32, prompt: &str) -> TurnRequest {
    TurnRequest {
        key: key(n),
        run: run(),
        repo: repo(),
        thread: run().thread(),
        n,
        prompt: prompt.to_owned(),
        opening_prompt: format!("{prompt} anew"),
        budget: afk_core::usd::Usd::dollars(5),
        deadline: Duration::from_hours(1),
        network: afk_core::network::AgentNetwork::Open,
    }
}
