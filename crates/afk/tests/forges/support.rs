//! A repository on a forge: its issues and pull requests on the fake, its branches in a real bare
//! repository, and threads for what goes on by itself there: time, webhooks, and CI.
//!
//! CI is the project's own `ci.sh`, run on every commit that is the head of a branch; the forge
//! shows it as a job of a workflow. A webhook is sent as soon as something has changed; afk takes
//! nothing but the repository's name from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use afk::demo::{Scenario, sample};
use afk_core::config::Policy;
use afk_core::ids::{At, IssueRef, Oid, RepoName};
use afk_core::issue::Permission;
use afk_fakes::forgejo::{self, ForgejoFake};
use afk_fakes::github::{GitHubFake, Login};
use afk_fakes::{Delivery, ForgeFake, UnfinishedJob};
use afk_sim::fakes::Sim;
use afk_sim::world::{IssueRecord, person};
use serde_json::Value;

use crate::app_key;
use crate::common::{BOUND, Control, ISSUE, Plan, REPO, World, git, until};

/// The token that the loop logs in with.
const TOKEN: &str = "ghp_thetokenthatnobodyelsehas";
/// What webhooks are signed with.
pub(crate) const HOOK: &str = "a secret of webhooks";
/// The label that releases an issue.
pub(crate) const READY: &str = "ready-for-agent";
/// The name of the job of CI, and so of its check.
pub(crate) const CI: &str = "ci";

/// Which forge it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    #[default]
    GitHub,
    Forgejo,
}

impl Kind {
    /// The forge's name in the configuration, and in the address of its webhooks.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::Forgejo => "forgejo",
        }
    }

    /// The kind of the stage that asks the forge what CI said.
    pub(crate) const fn stage(self) -> &'static str {
        match self {
            Self::GitHub => "checks",
            Self::Forgejo => "forgejo-status",
        }
    }

    fn start(self, sim: &Sim, as_: As) -> Arc<dyn ForgeFake> {
        match self {
            Self::GitHub => {
                let login = match as_ {
                    As::Token => Login::Token(TOKEN.to_owned()),
                    As::App => Login::App(app_key::account(vec![7])),
                };
                Arc::new(GitHubFake::start(sim, login).unwrap())
            }
            Self::Forgejo => {
                let settings = forgejo::Settings {
                    token: TOKEN.to_owned(),
                    kind: forgejo::Kind::Forgejo,
                    admin: true,
                };
                let fake = ForgejoFake::start(sim, settings).unwrap();
                // On Forgejo only a label that exists can be put on an issue.
                for label in ["agent-in-progress", "ready-for-human"] {
                    fake.add_label(&repo(), label);
                }
                Arc::new(fake)
            }
        }
    }
}

/// What wakes the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Woken {
    /// Only its own poll, once a second.
    #[default]
    Never,
    /// Webhooks, whenever something happens on the forge: its own poll would come after an hour.
    Always,
    /// Webhooks that the test sends; the poll would come after an hour, too.
    ByHand,
}

/// How the loop logs in to the forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum As {
    /// With a token.
    #[default]
    Token,
    /// As an app, at GitHub.
    App,
}

/// How git reaches the repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Remote {
    /// By the path of the bare repository.
    #[default]
    Folder,
    /// At the forge's own address.
    Http,
    /// At this address, in which `@ORIGIN@` stands for that path.
    At(String),
}

/// What differs between repositories.
#[derive(Default)]
pub(crate) struct Plot {
    pub(crate) kind: Kind,
    /// The demo's scenario, whose project and scripts are used; none is `success`.
    pub(crate) scenario: Option<Scenario>,
    pub(crate) woken: Woken,
    /// The keys of its table for landing and stages, in place of the scenario's.
    pub(crate) keys: Option<String>,
    /// Whether CI runs, and is required on the default branch.
    pub(crate) ci: bool,
    pub(crate) as_: As,
    pub(crate) remote: Remote,
}

/// A repository on a forge.
pub(crate) struct OnForge {
    pub(crate) world: World,
    pub(crate) sim: Sim,
    pub(crate) fake: Arc<dyn ForgeFake>,
    kind: Kind,
    /// The commits that CI has passed.
    pub(crate) passed: Arc<Mutex<Vec<Oid>>>,
    woken: Woken,
    hooks: Arc<Hooks>,
    beside: Beside,
}

/// Threads that run beside the test, until this is dropped.
#[derive(Default)]
struct Beside {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Beside {
    /// Calls `act` again and again, with a pause after each.
    fn always(&mut self, pause: Duration, mut act: impl FnMut() + Send + 'static) {
        let over = self.over.clone();
        self.threads.push(std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                act();
                std::thread::sleep(pause);
            }
        }));
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic beside the test fails the test.
            if let Err(panic) = thread.join()
                && !std::thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl OnForge {
    pub(crate) fn new(plot: Plot) -> Self {
        let Plot { kind, woken, ci, as_, .. } = plot;
        let mut there = afk_sim::world::World::new(Policy::default(), At::now());
        for (who, permission) in [("ann", Permission::Write), ("tim", Permission::Triage)] {
            there.tracker.permissions.insert(who.to_owned(), permission);
        }
        let sim = Sim::new(there);
        let fake = kind.start(&sim, as_);
        let world = world(plot, &fake.url());
        fake.on_git(&repo(), &world.path("origin.git"));
        let mut beside = Beside::default();
        beside.always(Duration::from_millis(20), {
            let sim = sim.clone();
            move || sim.with(|there| there.now = At::now())
        });
        let passed = Arc::new(Mutex::new(Vec::new()));
        let hooks = Arc::new(Hooks { kind, ..Hooks::default() });
        if woken == Woken::Always {
            beside.always(Duration::from_millis(50), {
                let (sim, fake, hooks) = (sim.clone(), fake.clone(), hooks.clone());
                move || hooks.tell(seen(&sim, &*fake), &*fake)
            });
        }
        if ci {
            fake.require(&repo(), CI);
            let (fake, passed, mut known) = (fake.clone(), passed.clone(), BTreeSet::new());
            let origin = world.path("origin.git");
            beside.always(Duration::from_millis(50), move || {
                for (branch, head) in fake.heads(&repo()) {
                    // A push to another branch runs CI again, even with the same commit.
                    if known.insert((branch.clone(), head.clone())) {
                        fake.begin_job(&repo(), &branch, &head, CI);
                    }
                }
                for job in fake.unfinished() {
                    let (has_passed, log) = ran(&origin, &job);
                    fake.end_job(&job, has_passed, &log);
                    if has_passed {
                        passed.lock().unwrap().push(job.commit);
                    }
                }
            });
        }
        Self { world, sim, fake, kind, passed, woken, hooks, beside }
    }

    /// Calls `act` again and again beside the test, with a pause after each.
    pub(crate) fn always(&mut self, pause: Duration, act: impl FnMut() + Send + 'static) {
        self.beside.always(pause, act);
    }

    /// Starts the daemon; with [`Woken::Always`] webhooks are sent to it from now on.
    pub(crate) fn serve(&self) -> Control {
        let serve = self.world.start(&["serve"]);
        if self.woken == Woken::Always {
            *self.hooks.to.lock().unwrap() = Some(hears(&serve, self.kind));
        }
        serve
    }

    /// Starts the daemon, and files the demo's issue, released by `ann`. If webhooks wake the
    /// daemon, it has looked before and found nothing, so that only a webhook can tell it in time.
    pub(crate) fn begin(&self) -> (IssueRef, Control) {
        if self.woken == Woken::Never {
            return (self.file("ann"), self.serve());
        }
        let serve = self.serve();
        self.has_looked();
        (self.file("ann"), serve)
    }

    /// Waits until the daemon has asked the forge for released issues.
    pub(crate) fn has_looked(&self) {
        until("the first look", BOUND, || {
            let asked = self.fake.targets();
            asked.iter().any(|one| one.contains("labels=ready-for-agent")).then_some(())
        });
    }

    /// Files the demo's issue and releases it, as `by`.
    pub(crate) fn file(&self, by: &str) -> IssueRef {
        self.file_as(ISSUE, sample::TITLE, sample::BODY, by)
    }

    /// Files an issue and releases it, as `by`.
    pub(crate) fn file_as(&self, name: &str, title: &str, body: &str, by: &str) -> IssueRef {
        self.sim.with(|there| {
            let issue = there.file(name, body, &[], by);
            there.set_title(&issue, title, &person(by));
            there.set_label(&issue, READY, true, &person(by));
            issue
        })
    }

    pub(crate) fn record(&self, issue: &IssueRef) -> IssueRecord {
        self.sim.with(|there| there.tracker.issues[issue].clone())
    }

    pub(crate) fn is_closed(&self, issue: &IssueRef) -> bool {
        !self.record(issue).issue.open
    }

    /// Waits until the newest run on the issue has settled; returns its page.
    pub(crate) fn settled(&self, issue: &IssueRef) -> Value {
        until("the run is settled", BOUND, || {
            let afk = self.world.afk(&["show", &issue.to_string(), "--json"]);
            let page: Value = serde_json::from_slice(&afk.stdout).ok()?;
            (page["summary"]["settled"] == true).then_some(page)
        })
    }

    /// Checks that the issue landed and is closed; returns the page of its run.
    #[track_caller]
    pub(crate) fn landed(&self, issue: &IssueRef) -> Value {
        let page = self.settled(issue);
        assert_eq!(page["summary"]["outcome"], "done", "{page:#}");
        assert_eq!(page["summary"]["landed"], self.world.landed()[0].as_str());
        let comment = self.shows(issue, false, &[]);
        let boxes = if page["summary"]["deploys"] == true { 7 } else { 6 };
        assert_eq!(comment.matches("- [x] ").count(), boxes, "{comment}");
        assert_eq!(self.refs(), ["refs/heads/main"], "no branch of ours is left");
        self.world.ok(&["evidence", &issue.to_string()]);
        page
    }

    /// Checks the same, with one attempt, one commit on top of the first, and one doorbell.
    #[track_caller]
    pub(crate) fn landed_once(&self, issue: &IssueRef) -> Value {
        let page = self.landed(issue);
        assert_eq!(self.world.landed().len(), 2);
        assert_eq!(page["run"]["attempts"].as_array().map(Vec::len), Some(1));
        self.rings(&["done"]);
        page
    }

    /// Checks that the issue was handed to a person, with nothing landed; its comment says `why`.
    #[track_caller]
    pub(crate) fn handed_over(&self, issue: &IssueRef, why: &str) {
        let page = self.settled(issue);
        assert_eq!(page["summary"]["outcome"], "needs-human", "{page:#}");
        let comment = self.shows(issue, true, &["ready-for-human"]);
        assert!(comment.contains(why), "{comment}");
        assert_eq!(git(&self.world.path("origin.git"), &["rev-list", "--all", "--count"]), "1\n");
        self.rings(&["needs-human"]);
    }

    /// Checks the issue on the forge, which must have one comment of the loop; returns its text.
    #[track_caller]
    pub(crate) fn shows(&self, issue: &IssueRef, open: bool, labels: &[&str]) -> String {
        let record = self.record(issue);
        assert_eq!(record.issue.open, open, "{issue}");
        assert_eq!(record.issue.labels, labels, "{issue}");
        let own: Vec<_> =
            record.comments.iter().filter(|one| one.body.contains("AFK run progress")).collect();
        let [comment] = own.as_slice() else { panic!("not one comment: {own:?}") };
        comment.body.clone()
    }

    /// Checks that the issue is untouched, and that only `gate` refuses it, for the reason `why`.
    #[track_caller]
    pub(crate) fn waits_at(&self, issue: &IssueRef, gate: &str, why: &str) {
        let said = self.world.json(&["explain", &issue.to_string()]);
        let gates = said["gates"].as_array().unwrap();
        let failed: Vec<&Value> = gates.iter().filter(|one| one["verdict"] == "failed").collect();
        let [only] = failed.as_slice() else { panic!("not one gate: {said:#}") };
        assert_eq!(only["gate"], gate, "{said:#}");
        assert!(only.to_string().contains(why), "{only:#}");
        let record = self.record(issue);
        assert!(record.comments.is_empty() && record.issue.labels == [READY], "{record:?}");
    }

    /// Checks that doorbells of these kinds ring, in this order, and no others.
    #[track_caller]
    pub(crate) fn rings(&self, kinds: &[&str]) {
        until("the doorbells", BOUND, || (self.rung().len() >= kinds.len()).then_some(()));
        assert_eq!(self.rung(), kinds);
    }

    fn rung(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let rung = self.world.bell.rung().into_iter().filter(|one| seen.insert(one.id.clone()));
        rung.map(|one| {
            let body: Value = serde_json::from_str(&one.body).unwrap();
            body["kind"].as_str().unwrap().to_owned()
        })
        .collect()
    }

    /// All refs of the remote.
    pub(crate) fn refs(&self) -> Vec<String> {
        let refs = git(&self.world.path("origin.git"), &["for-each-ref", "--format=%(refname)"]);
        refs.lines().map(str::to_owned).collect()
    }

    /// Ends the threads, and checks that every request was as the forge's description says, that no
    /// token leaked, and that every webhook was accepted.
    #[track_caller]
    pub(crate) fn done(self, test: &str) {
        let Self { fake, hooks, beside, .. } = self;
        drop(beside);
        fake.check(test);
        assert!(!fake.leaked(), "a token went astray");
        let told = hooks.told.lock().unwrap();
        let bad: Vec<_> = told.iter().filter(|(_, status)| !matches!(status, 200 | 202)).collect();
        assert!(bad.is_empty(), "{bad:?}");
        let woken = hooks.to.lock().unwrap().is_some();
        assert_eq!(woken, !told.is_empty(), "{told:?}");
    }
}

/// Waits until the daemon logs where it listens for webhooks; returns the address.
pub(crate) fn hears(serve: &Control, kind: Kind) -> String {
    let path = format!("/webhooks/{}", kind.name());
    until("webhooks are heard", BOUND, || {
        let said = serve.said();
        let at = said.find("http://127.0.0.1:")? + "http://".len();
        let address = said[at..].split(&path).next()?.to_owned();
        (address.len() < 30).then_some(address)
    })
}

pub(crate) fn repo() -> RepoName {
    REPO.parse().unwrap()
}

/// The demo's project, configured for a fake forge at that address.
fn world(plot: Plot, url: &str) -> World {
    let Plot { kind, scenario, woken, keys, as_, remote, .. } = plot;
    let scenario = scenario.unwrap_or(Scenario::Success);
    let mut config = sample::bounds(scenario).to_owned();
    if woken != Woken::Never {
        config.push_str("poll_seconds = 3600\nhttp.listen = \"127.0.0.1:0\"\n");
    }
    writeln!(
        config,
        "forges.{name} = {{ url = {url:?}, {login}, webhook_secret = {{ env = \"AFK_E2E_HOOK\" }} }}",
        name = kind.name(),
        login = match as_ {
            As::Token => "token = { env = \"AFK_E2E_FORGE\" }",
            As::App => "app = { id = 4711, key = { env = \"AFK_E2E_KEY\" } }",
        },
    )
    .unwrap();
    let keys = keys.unwrap_or_else(|| sample::landing(scenario).to_owned());
    let turns = sample::script(scenario, sample::THINKING_MS)
        .turns
        .into_iter()
        .map(|turn| turn.steps)
        .collect();
    let mut world = World::new(&Plan {
        turns,
        config,
        remote: match remote {
            Remote::Folder => String::new(),
            Remote::Http => format!("{url}/{REPO}.git"),
            Remote::At(address) => address,
        },
        files: sample::FILES.iter().map(|(name, text, _)| (*name, *text)).collect(),
        keys: format!("tracker = \"{}\"\n{keys}", kind.name()),
        ..Plan::default()
    });
    let login = match as_ {
        As::Token => ("AFK_E2E_FORGE", TOKEN),
        As::App => ("AFK_E2E_KEY", app_key::pem()),
    };
    for (name, value) in [login, ("AFK_E2E_HOOK", HOOK)] {
        world.env.push((name.to_owned(), value.to_owned()));
    }
    world
}

/// Runs CI on the job's commit; returns whether it passed, and its log.
fn ran(origin: &Path, job: &UnfinishedJob) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("tree.tar");
    let out = format!("--output={}", tar.display());
    git(origin, &["archive", "--format=tar", &out, job.commit.as_str()]);
    let unpacked = Command::new("tar").arg("-xf").arg(&tar).current_dir(folder.path()).status();
    assert!(unpacked.unwrap().success());
    let said = Command::new("sh")
        .arg("ci.sh")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let log = [said.stdout, said.stderr].concat();
    (said.status.success(), String::from_utf8_lossy(&log).into_owned())
}

/// Everything that webhooks are sent for, by event and subject; each value changes if its subject
/// does.
fn seen(sim: &Sim, fake: &dyn ForgeFake) -> BTreeMap<(&'static str, String), String> {
    let mut all = BTreeMap::new();
    let heads = format!("{:?}", fake.heads(&repo()));
    all.insert(("push", String::new()), heads);
    for job in fake.unfinished() {
        all.insert(("workflow_run", format!("{} of {}", job.attempt, job.run)), String::new());
    }
    sim.with(|there| {
        for (issue, record) in &there.tracker.issues {
            let (of, events) = (issue.to_string(), record.events.len());
            all.insert(("issues", of.clone()), events.to_string());
            let texts: Vec<_> = record.comments.iter().map(|one| &one.body).collect();
            all.insert(("issue_comment", of), format!("{texts:?}"));
        }
        for ((_, branch), record) in &there.pulls.pulls {
            all.insert(("pull_request", branch.clone()), format!("{:?}", record.state));
        }
    });
    all
}

/// The forge's webhooks.
#[derive(Default)]
struct Hooks {
    kind: Kind,
    /// The address that they are sent to, once the daemon listens.
    to: Mutex<Option<String>>,
    known: Mutex<BTreeMap<(&'static str, String), String>>,
    /// The webhooks that were answered, with the status.
    told: Mutex<Vec<(&'static str, u16)>>,
}

impl Hooks {
    /// Sends a webhook for each change since the last call. One that fails is not sent again.
    fn tell(&self, seen: BTreeMap<(&'static str, String), String>, fake: &dyn ForgeFake) {
        let to = self.to.lock().unwrap().clone();
        let mut known = self.known.lock().unwrap();
        let keys: BTreeSet<_> = seen.keys().chain(known.keys()).cloned().collect();
        for key in keys.into_iter().filter(|key| seen.get(key) != known.get(key)) {
            let Some(to) = &to else { continue };
            let Some(delivery) = fake.delivery(key.0, &repo(), HOOK) else { continue };
            let status = post(to, self.kind, &delivery);
            self.told.lock().unwrap().extend(status.map(|status| (key.0, status)));
        }
        *known = seen;
    }
}

/// Posts a webhook; returns the status of the answer, or none if nothing answers.
pub(crate) fn post(address: &str, kind: Kind, delivery: &Delivery) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut head = format!(
        "POST /webhooks/{} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\nconnection: close\r\n",
        kind.name(),
        delivery.body.len()
    );
    for (name, value) in &delivery.headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    head.push_str("\r\n");
    stream.write_all(&[head.as_bytes(), &delivery.body].concat()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}
