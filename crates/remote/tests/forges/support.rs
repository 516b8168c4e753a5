//! A fake forge over a world, and the adapter that talks to it.

use std::sync::Arc;

use afk_core::config::{Policy, Repo};
use afk_core::ids::{Actor, AdapterName, At, IssueRef, RepoName, RunId};
use afk_core::issue::Permission;
use afk_engine::ports::{Clock, PortError, PullSpec, Tracker};
use afk_fakes::forgejo::{ForgejoFake, Kind, Settings};
use afk_fakes::github::{GitHubFake, Login, Recorded};
use afk_remote::{Forges, RemoteSettings};
use afk_sim::fakes::{Jumping, MemoryNotes, MemorySecrets, Sim};
use afk_sim::world::World;
use jiff::SignedDuration;
use serde_json::{Value, json};

/// The token that the loop has.
pub(crate) const TOKEN: &str = "ghp_thetokenthatnobodyelsehas";
/// The label that releases an issue.
pub(crate) const READY: &str = "ready-for-agent";

/// A fake forge.
pub(crate) trait Fake {
    fn url(&self) -> String;
    fn faults_left(&self) -> usize;
    fn check(&self, test: &str);
}

impl Fake for GitHubFake {
    fn url(&self) -> String {
        self.url()
    }
    fn faults_left(&self) -> usize {
        self.faults_left()
    }
    fn check(&self, test: &str) {
        self.check(test);
    }
}

impl Fake for ForgejoFake {
    fn url(&self) -> String {
        self.url()
    }
    fn faults_left(&self) -> usize {
        self.faults_left()
    }
    fn check(&self, test: &str) {
        self.check(test);
    }
}

/// One adapter and the fake that it talks to.
pub(crate) struct Home<F> {
    pub(crate) sim: Sim,
    pub(crate) fake: F,
    pub(crate) notes: Arc<MemoryNotes>,
    pub(crate) secrets: Arc<MemorySecrets>,
    pub(crate) table: Value,
    pub(crate) forges: Forges,
}

/// The adapter of GitHub.
pub(crate) type OnGitHub = Home<GitHubFake>;
/// The adapter of Forgejo and Gitea.
pub(crate) type OnForgejo = Home<ForgejoFake>;

/// A world in which `ann` may write, `mel` maintain and `tim` triage, at a time between two
/// seconds.
pub(crate) fn world() -> World {
    let mut world = World::new(Policy::default(), "2026-11-02T10:00:00.25Z".parse().unwrap());
    let may = [
        ("ann", Permission::Write),
        ("bea", Permission::Admin),
        ("mel", Permission::Maintain),
        ("tim", Permission::Triage),
        ("rea", Permission::Read),
    ];
    for (who, permission) in may {
        world.tracker.permissions.insert(who.to_owned(), permission);
    }
    world
}

impl OnGitHub {
    /// Logged in with a token.
    pub(crate) fn new() -> Self {
        Self::of(world(), Login::Token(TOKEN.to_owned()), json!({ "token": { "env": "TOKEN" } }))
    }

    /// Logged in with `login`, by a table that lacks only its kind and address.
    pub(crate) fn of(world: World, login: Login, table: Value) -> Self {
        let sim = Sim::new(world);
        let fake = GitHubFake::start(&sim, login).unwrap();
        let mut table = table;
        table["kind"] = "github".into();
        Self::at(sim, fake, table)
    }

    /// The same, where webhooks are signed with that.
    pub(crate) fn hooked(secret: &str) -> Self {
        Self::new().with_webhooks(secret)
    }

    /// Takes the requests since the last call.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.fake.take_requests()
    }
}

impl OnForgejo {
    /// Logged in with the token of an administrator.
    pub(crate) fn new(kind: Kind) -> Self {
        Self::of(world(), kind, true)
    }

    /// The same, where webhooks are signed with that.
    pub(crate) fn hooked(kind: Kind, secret: &str) -> Self {
        Self::new(kind).with_webhooks(secret)
    }

    /// Logged in with a token; `admin` says whether its account administers every repo, or none.
    pub(crate) fn of(world: World, kind: Kind, admin: bool) -> Self {
        let sim = Sim::new(world);
        let settings = Settings { token: TOKEN.to_owned(), kind, admin };
        let fake = ForgejoFake::start(&sim, settings).unwrap();
        let kind = match kind {
            Kind::Forgejo => "forgejo",
            Kind::Gitea => "gitea",
        };
        Self::at(sim, fake, json!({ "kind": kind, "token": { "env": "TOKEN" } }))
    }
}

impl<F: Fake> Home<F> {
    /// At the address in `table`, or else at `fake`.
    pub(crate) fn at(sim: Sim, fake: F, table: Value) -> Self {
        let secrets = Arc::new(MemorySecrets::default());
        secrets.set("TOKEN", TOKEN);
        let notes = Arc::new(MemoryNotes::default());
        let mut table = table;
        if table["url"].is_null() {
            table["url"] = fake.url().into();
        }
        let forges = made(&sim, &secrets, &notes, &table);
        Self { sim, fake, notes, secrets, table, forges }
    }

    fn with_webhooks(self, secret: &str) -> Self {
        self.secrets.set("HOOK", secret);
        let mut table = self.table.clone();
        table["webhook_secret"] = json!({ "env": "HOOK" });
        let forges = made(&self.sim, &self.secrets, &self.notes, &table);
        Self { table, forges, ..self }
    }

    /// The forges of another process, which shares the notes.
    pub(crate) fn restarted(&self) -> Forges {
        made(&self.sim, &self.secrets, &self.notes, &self.table)
    }

    pub(crate) fn tracker(&self) -> Arc<dyn Tracker> {
        tracker(&self.forges)
    }

    /// Files an issue that `ann` released.
    pub(crate) fn released(&self, name: &str) -> IssueRef {
        self.sim.with(|world| world.file(name, "Do it.", &[READY], "ann"))
    }

    /// Pushes a branch of `o/r` with a commit, and describes a pull request for it.
    pub(crate) fn pushed(&self, branch: &str) -> PullSpec {
        let (repo, branch) = (repo("o/r"), branch.to_owned());
        let commit = self.sim.with(|world| {
            world.somebody_lands(&repo, &[("README.md", "hello")]);
            let commit = world.git.remotes[&repo].clone();
            world.git.branches.insert((repo.clone(), branch.clone()), commit.clone());
            commit
        });
        let (title, body) = ("Say two".to_owned(), String::new());
        PullSpec { repo, branch, commit, onto: "main".to_owned(), title, body }
    }

    /// Lets time pass.
    pub(crate) fn later(&self, seconds: i64) {
        self.sim.advance(SignedDuration::from_secs(seconds));
    }

    pub(crate) fn now(&self) -> At {
        self.sim.now()
    }

    /// Checks that every planned fault was met, and every request was as the forge's description
    /// wants it.
    pub(crate) fn done(self, test: &str) {
        assert_eq!(self.fake.faults_left(), 0, "{test}: a fault was never met");
        self.fake.check(test);
    }
}

fn made(
    sim: &Sim,
    secrets: &Arc<MemorySecrets>,
    notes: &Arc<MemoryNotes>,
    table: &Value,
) -> Forges {
    let clock = Arc::new(Jumping(sim.clone()));
    let forges = Forges::new(clock, secrets.clone(), notes.clone());
    let settings = json!({ "forges": { "home": table } });
    let settings: RemoteSettings = serde_json::from_value(settings).unwrap();
    assert_eq!(settings.mistakes(), []);
    let mut policy = Policy::default();
    let table = json!({ "tracker": "home", "verify": ["verify"], "stages": [] });
    let table: Repo = serde_json::from_value(table).unwrap();
    policy.repos.insert(repo("o/r"), table.into());
    forges.configure(&settings, &policy);
    forges
}

pub(crate) fn tracker(forges: &Forges) -> Arc<dyn Tracker> {
    let name: AdapterName = "home".parse().unwrap();
    forges.trackers().remove(&name).unwrap()
}

pub(crate) fn repo(name: &str) -> RepoName {
    name.parse().unwrap()
}

pub(crate) fn run() -> RunId {
    "01920000-0000-7000-8000-000000000001".parse().unwrap()
}

pub(crate) fn login(actor: Option<&Actor>) -> &str {
    actor.map_or("nobody", |actor| &actor.login)
}

/// An error as a test names it.
pub(crate) fn said(error: &PortError) -> String {
    format!("{:?}: {}", error.kind, error.chain())
}
