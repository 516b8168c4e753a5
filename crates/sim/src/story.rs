//! A story: one engine over one world, worked tick by tick.
//!
//! The world is a small, armed installation: the repo `o/r` with one stage, `ann`
//! who may release issues, and agents that follow scripts. Each round is a tick,
//! a step of the world, and a second of time.

use std::fmt::Write as _;

use afk_core::ask::Permissions;
use afk_core::config::{ExecutorPolicy, Landing, Policy, Repo};
use afk_core::doorbell::DoorbellKind;
use afk_core::ids::{AdapterName, At, IssueRef, RepoName, RunId};
use afk_core::issue::Permission;
use afk_core::plan::{End, TurnCause};
use afk_core::replay::{Row, replay};
use afk_core::request::{PersonRequest, Request};
use afk_core::run::Run;
use afk_engine::Engine;
use afk_engine::driver::Ticked;
use afk_engine::ports::{JournalRow, PortResult, Switch, SwitchState};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::fakes::{Killed, Sim};
use crate::world::{Act, Script, World, person};

/// Rounds after which a story that has not ended is stuck.
const MAX_ROUNDS: u32 = 400;

/// One engine over one world.
pub struct Story {
    /// The world, and its ports.
    pub sim: Sim,
    /// The loop.
    pub engine: Engine,
}

impl Default for Story {
    fn default() -> Self {
        Self::new()
    }
}

impl Story {
    /// The armed world, with no issue yet.
    pub fn new() -> Self {
        let mut world = World::new(config(), start());
        world.tracker.permissions.insert("ann".to_owned(), Permission::Write);
        world.somebody_lands(&repo("o/r"), &[("README.md", "hello"), ("src/lib", "one")]);
        Self::over(world)
    }

    /// An engine over `world`.
    pub fn over(world: World) -> Self {
        let sim = Sim::new(world);
        let engine = Engine::new(sim.ports(), "first");
        Self { sim, engine }
    }

    /// The same world after the process died: a new engine under a new name.
    pub fn restarted(self, name: &str) -> Self {
        let engine = Engine::new(self.sim.ports(), name);
        Self { sim: self.sim, engine }
    }

    /// Files `o/r#7`, released by ann, and gives its agent these scripts.
    pub fn with_issue(self, scripts: Vec<Script>) -> Self {
        self.sim.with(|world| {
            world.file("o/r#7", "Say two.", &["ready-for-agent"], "ann");
            world.agents.scripts.insert(repo("o/r"), scripts.into());
        });
        self
    }

    /// Changes the configuration.
    pub fn configure(self, change: impl FnOnce(&mut Policy)) -> Self {
        self.sim.with(|world| change(&mut world.config));
        self
    }

    /// One tick.
    pub async fn tick(&self) -> PortResult<Ticked> {
        self.engine.tick(true, &CancellationToken::new()).await
    }

    /// A tick, a step of the world, a second.
    pub async fn round(&self) -> PortResult<Ticked> {
        let ticked = self.tick().await;
        self.sim.with(World::step);
        self.sim.advance(SignedDuration::from_secs(1));
        ticked
    }

    /// A round in which the process may be made to die; returns whether it did. If it dies at every
    /// other call the world stands still, so that the next process finds jobs and turns at work.
    pub async fn deadly_round(&self) -> bool {
        let engine = self.engine.clone();
        let tick = tokio::spawn(async move {
            // Its answer dies with it, or is visible in the world.
            let _ = engine.tick(true, &CancellationToken::new()).await;
        });
        let died = match tick.await {
            Ok(()) => false,
            Err(error) => match error.try_into_panic() {
                Ok(payload) if payload.is::<Killed>() => true,
                Ok(payload) => std::panic::resume_unwind(payload),
                Err(error) => panic!("the tick was cancelled: {error}"),
            },
        };
        if !(died && self.died_at_odd()) {
            self.sim.with(World::step);
        }
        self.sim.advance(SignedDuration::from_secs(1));
        died
    }

    /// Whether the last call has an odd number.
    pub fn died_at_odd(&self) -> bool {
        self.sim.with(|world| world.calls.len() % 2 == 1)
    }

    /// `n` rounds; a tick that fails is part of the story.
    pub async fn rounds(&self, n: u32) {
        for _ in 0..n {
            let _ = self.round().await;
        }
    }

    /// Rounds until `done`; panics with the world's journal if that never comes.
    pub async fn until(&self, what: &str, mut done: impl FnMut(&mut World) -> bool) {
        for _ in 0..MAX_ROUNDS {
            if self.sim.with(&mut done) {
                return;
            }
            let _ = self.round().await;
        }
        panic!("never: {what}\n{}", self.sim.with(|world| story_of(world)));
    }

    /// Rounds until `o/r#7` shows that an agent works on it.
    pub async fn marked(&self) {
        let marked = |world: &mut World| world.tracker.issues[&seven()].has("agent-in-progress");
        self.until("marked", marked).await;
    }

    /// Rounds until the run of `o/r#7` is settled and no bell is left to ring.
    pub async fn settle(&self) -> Run {
        self.until("settled", |world| {
            let runs = world.store.all();
            !runs.is_empty() && runs.iter().all(|run| run.settled_at.is_some()) && world.all_rung()
        })
        .await;
        self.run()
    }

    /// The newest run.
    pub fn run(&self) -> Run {
        match self.sim.with(|world| world.store.all().pop()) {
            Some(run) => run,
            None => panic!("no run was admitted"),
        }
    }

    /// Why the newest run ended; empty while it has not.
    pub fn why(&self) -> String {
        self.run().conclusion.map(|conclusion| conclusion.why).unwrap_or_default()
    }

    /// Asserts what every escalation looks like from outside.
    #[track_caller]
    pub fn handed_over(&self, kind: DoorbellKind) {
        self.sim.with(|world| {
            let issue = &world.tracker.issues[&seven()];
            assert!(issue.issue.open, "left open");
            assert_eq!(issue.issue.labels, ["ready-for-human"]);
            assert_eq!(issue.comments.len(), 1);
            assert_eq!(world.rung().iter().map(|bell| bell.kind).collect::<Vec<_>>(), [kind]);
        });
    }

    /// Asserts how the one run ended and that no senseless call was made.
    pub fn ended(&self, end: End) {
        let run = self.run();
        let text = self.sim.with(|world| story_of(world));
        let ended = run.conclusion.as_ref().map(|conclusion| conclusion.end);
        assert_eq!(ended, Some(end), "{text}");
        self.sim.with(|world| assert!(world.wrong.is_empty(), "{:?}\n{text}", world.wrong));
        let replayed = replay(&self.journal(run.id), &run);
        assert_eq!(replayed.differences, [], "a replay decides differently\n{text}");
    }

    /// A run's journal.
    pub fn journal(&self, run: RunId) -> Vec<Row> {
        let rows = self.sim.with(|world| world.journal(run, 0));
        let row = |row: JournalRow| Row { seq: row.seq, at: row.at, body: row.body };
        rows.into_iter().map(row).collect()
    }

    /// Turns a switch on, or off.
    pub fn switch(&self, switch: &Switch, on: bool) {
        self.sim.with(|world| {
            let why = "a test says so".to_owned();
            let state = SwitchState { by: "ann".to_owned(), at: world.now, why };
            world.throw(switch, on.then_some(&state));
        });
    }

    /// How often a port was called.
    pub fn count(&self, call: &str) -> usize {
        self.sim.with(|world| world.calls.iter().filter(|name| **name == call).count())
    }
}

/// When every story begins.
pub fn start() -> At {
    At::from_second(1_800_000_000).unwrap_or(At::UNIX_EPOCH)
}

/// A repo's name.
pub fn repo(name: &str) -> RepoName {
    match name.parse() {
        Ok(repo) => repo,
        Err(error) => panic!("a test names a bad repo: {error}"),
    }
}

/// `o/r#7`, the issue of most stories.
pub fn seven() -> IssueRef {
    IssueRef { repo: repo("o/r"), number: 7 }
}

/// An armed configuration with the repo `o/r`.
pub fn config() -> Policy {
    let mut config = Policy { kill_switch: false, ..Policy::default() };
    enroll(&mut config, "o/r");
    config
}

/// Adds a repo with a verify command and one stage.
pub fn enroll(config: &mut Policy, name: &str) {
    let table = serde_json::json!({
        "verify": ["verify"],
        "stages": [{ "name": "ci", "command": ["ci"] }],
    });
    let table: Repo = match serde_json::from_value(table) {
        Ok(table) => table,
        Err(error) => panic!("the test's repo does not parse: {error}"),
    };
    config.allowlist.insert(repo(name));
    config.repos.insert(repo(name), table.into());
}

/// Sets what the agents of all repos may do without asking.
pub fn permit(config: &mut Policy, permissions: Permissions) {
    for repo in config.repos.values() {
        config.agents.insert(repo.agent.clone(), ExecutorPolicy { permissions });
    }
}

/// A test first, then the code that passes it.
pub fn good_work() -> Script {
    Script::acts(vec![
        Act::Commit {
            message: "Expect two\n\nSo that it is said.",
            files: vec![("tests/two", Some("expect src/lib two"))],
        },
        Act::Commit { message: "Say two", files: vec![("src/lib", Some("one two"))] },
    ])
}

/// Good work that also breaks the stage.
pub fn breaking_work() -> Script {
    let mut script = good_work();
    script
        .acts
        .push(Act::Commit { message: "Add a note", files: vec![("src/note", Some("BREAKS-CI"))] });
    script
}

/// Good work that also makes the stage print for ever.
pub fn flooding_work() -> Script {
    let mut script = good_work();
    let files = vec![("src/note", Some("BREAKS-CI PRINTS-FOR-EVER"))];
    script.acts.push(Act::Commit { message: "Add a note", files });
    script
}

/// Lands tested: the one stage runs before landing.
pub fn tested(config: &mut Policy) {
    for table in config.repos.values_mut() {
        table.landing = Landing::Tested;
        for stage in &mut table.stages {
            stage.before_landing = true;
        }
    }
}

/// Lands by pull requests.
pub fn pulls(config: &mut Policy) {
    for table in config.repos.values_mut() {
        table.landing = Landing::PullRequest;
    }
}

/// The agents of all repos work on another machine, and push by themselves.
pub fn far(world: &mut World) {
    world.agents.far = world.config.repos.keys().cloned().collect();
}

/// Every stage is polled, as one that another machine answers for.
pub fn polled(config: &mut Policy) {
    let stages = config.repos.values_mut().flat_map(|table| &mut table.stages);
    for stage in stages {
        stage.kind = AdapterName::known("checks");
        stage.command.clear();
    }
}

/// A fix of [`breaking_work`] before it landed.
pub fn mending_more() -> Script {
    Script::acts(vec![Act::Commit {
        message: "Mend the note",
        files: vec![("src/note", Some("fine"))],
    }])
}

/// A fix of [`breaking_work`].
pub fn mending_work() -> Script {
    Script::acts(vec![Act::Commit {
        message: "Mend the note",
        files: vec![("src/note", Some("fine"))],
    }])
}

/// Why each turn of a run was begun.
pub fn causes(run: &Run) -> Vec<TurnCause> {
    run.attempts.iter().flat_map(|attempt| &attempt.turns).map(|turn| turn.cause).collect()
}

/// Ann makes a request to the newest run, not in a comment.
pub fn ask(world: &mut World, id: &str, what: Request) {
    let run = world.store.all().pop().map(|run| run.id);
    let asked = PersonRequest { id: id.to_owned(), by: person("ann"), at: world.now, what };
    match run {
        Some(run) => world.ask(run, &asked),
        None => panic!("there is no run for the request {asked:?}"),
    };
}

/// A person takes a label off `o/r#7`.
pub fn unlabel(world: &mut World, label: &str, by: &str) {
    world.set_label(&seven(), label, false, &person(by));
}

/// What happened, for a failing test.
pub fn story_of(world: &World) -> String {
    let mut text = String::new();
    for run in world.store.runs.keys() {
        let _ = writeln!(text, "run {run}");
        for (at, transition) in world.store.transitions(RunId::new(run.uuid())) {
            let line = format!("{transition:?}");
            let line: String = line.chars().take(300).collect();
            let _ = writeln!(text, "  {at} {line}");
        }
    }
    for wrong in &world.wrong {
        let _ = writeln!(text, "wrong: {wrong}");
    }
    let last: Vec<_> = world.calls.iter().rev().take(30).rev().collect();
    let _ = writeln!(text, "last calls: {last:?}");
    text
}
