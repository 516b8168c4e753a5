//! A story: one engine over one world, driven tick by tick.
//!
//! The world is a small, armed installation: the repo `o/r` with one stage, `ann`, who may release
//! issues, and agents that follow scripts. Each round is a tick, a step of the world, and a second
//! of time.

use std::fmt::Write as _;

use afk_core::ask::Permissions;
use afk_core::config::{ExecutorPolicy, Landing, Policy, Repo};
use afk_core::doorbell::DoorbellKind;
use afk_core::ids::{Actor, AdapterName, At, IssueRef, RepoName, RunId};
use afk_core::issue::Permission;
use afk_core::plan::{End, TurnCause};
use afk_core::replay::{Row, replay};
use afk_core::request::{PersonRequest, Request};
use afk_core::run::Run;
use afk_engine::Engine;
use afk_engine::driver::TickReport;
use afk_engine::ports::{JournalRow, PortResult, Switch, SwitchState};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::fakes::{Killed, Sim};
use crate::world::{Act, Script, World, person};

/// Rounds after which a story that has not ended counts as stuck.
const MAX_ROUNDS: u32 = 400;

/// One engine over one world, with helpers that tests tell stories by.
pub struct Story {
    /// The world, and the ports over it.
    pub sim: Sim,
    /// The engine under test.
    pub engine: Engine,
}

impl Default for Story {
    fn default() -> Self {
        Self::new()
    }
}

impl Story {
    /// A story over an armed world with the repo `o/r`, and with no issue yet.
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

    /// The same world after the process died, with a new engine called `name`.
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

    /// Changes the configuration in force.
    pub fn configure(self, change: impl FnOnce(&mut Policy)) -> Self {
        self.sim.with(|world| change(&mut world.config));
        self
    }

    /// One tick.
    pub async fn tick(&self) -> PortResult<TickReport> {
        self.engine.tick(true, &CancellationToken::new()).await
    }

    /// A tick, a step of the world, and a second of time.
    pub async fn round(&self) -> PortResult<TickReport> {
        let ticked = self.tick().await;
        self.sim.with(World::step);
        self.sim.advance(SignedDuration::from_secs(1));
        ticked
    }

    /// A round in which the process may be made to die; returns whether it did. If it dies at an
    /// odd number of calls the world stands still, so that the next process finds jobs and turns at
    /// work.
    pub async fn deadly_round(&self) -> bool {
        let engine = self.engine.clone();
        let tick = tokio::spawn(async move {
            // Its answer dies with the process, or is visible in the world.
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

    /// Whether the number of calls so far is odd.
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

    /// Rounds until `o/r#7` has the in-progress label.
    pub async fn marked(&self) {
        let marked = |world: &mut World| world.tracker.issues[&seven()].has("agent-in-progress");
        self.until("marked", marked).await;
    }

    /// Rounds until all runs are settled and no doorbell is left to ring; returns the newest run.
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

    /// Asserts what every hand-over to people looks like from outside: the open issue, its labels,
    /// its one comment, and a doorbell of this kind.
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

    /// Asserts how the newest run ended, that no senseless call was made, and that a replay of the
    /// journal decides the same.
    pub fn ended(&self, end: End) {
        let run = self.run();
        let text = self.sim.with(|world| story_of(world));
        let ended = run.conclusion.as_ref().map(|conclusion| conclusion.end);
        assert_eq!(ended, Some(end), "{text}");
        self.sim.with(|world| assert!(world.wrong.is_empty(), "{:?}\n{text}", world.wrong));
        let replayed = replay(&self.journal(run.id), &run);
        assert_eq!(replayed.differences, [], "a replay decides differently\n{text}");
    }

    /// A run's journal, as a replay reads it.
    pub fn journal(&self, run: RunId) -> Vec<Row> {
        let rows = self.sim.with(|world| world.journal(run, 0));
        let row = |row: JournalRow| Row { seq: row.seq, at: row.at, body: row.body };
        rows.into_iter().map(row).collect()
    }

    /// Turns a switch on or off, as ann.
    pub fn switch(&self, switch: &Switch, on: bool) {
        self.sim.with(|world| {
            let why = "a test says so".to_owned();
            let state = SwitchState { by: "ann".to_owned(), at: world.now, why };
            world.throw(switch, on.then_some(&state));
        });
    }

    /// How often the call of this name was made.
    pub fn count(&self, call: &str) -> usize {
        self.sim.with(|world| world.calls.iter().filter(|name| **name == call).count())
    }
}

/// When every story begins.
pub fn start() -> At {
    At::from_second(1_800_000_000).unwrap_or(At::UNIX_EPOCH)
}

/// Parses a repo's name; panics if it is bad.
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

/// Enrols the repo `name` with a verify command and one stage.
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

/// Good work that also breaks the stage and makes it print for ever.
pub fn flooding_work() -> Script {
    let mut script = good_work();
    let files = vec![("src/note", Some("BREAKS-CI PRINTS-FOR-EVER"))];
    script.acts.push(Act::Commit { message: "Add a note", files });
    script
}

/// Makes all repos land tested: every stage runs before landing, too.
pub fn tested(config: &mut Policy) {
    for table in config.repos.values_mut() {
        table.landing = Landing::Tested;
        for stage in &mut table.stages {
            stage.before_landing = true;
        }
    }
}

/// Makes all repos land by pull requests.
pub fn pulls(config: &mut Policy) {
    for table in config.repos.values_mut() {
        table.landing = Landing::PullRequest;
    }
}

/// Makes the agents of all repos work on another machine and push by themselves.
pub fn far(world: &mut World) {
    world.agents.far = world.config.repos.keys().cloned().collect();
}

/// Makes every stage a polled one, which another machine answers for.
pub fn polled(config: &mut Policy) {
    let stages = config.repos.values_mut().flat_map(|table| &mut table.stages);
    for stage in stages {
        stage.kind = AdapterName::known("checks");
        stage.command.clear();
    }
}

/// Code without a test: the proof refuses it.
pub fn untested_work() -> Script {
    Script::acts(vec![Act::Commit {
        message: "Say two",
        files: vec![("src/lib", Some("one two"))],
    }])
}

/// Work that fixes the note of [`breaking_work`].
pub fn fixing_work() -> Script {
    Script::acts(vec![Act::Commit {
        message: "Fix the note",
        files: vec![("src/note", Some("fine"))],
    }])
}

/// Writes a comment on issue 7 as `by`. What happens next is later than the comment, because
/// trackers tell no order within a second.
pub fn write(story: &Story, body: &str, by: &Actor) {
    story.sim.with(|world| world.write_comment(&seven(), body, by));
    story.sim.advance(SignedDuration::from_secs(1));
}

/// All runs, oldest first.
pub fn runs(story: &Story) -> Vec<Run> {
    let mut all = story.sim.with(|world| world.store.all());
    all.sort_by_key(|run| run.id);
    all
}

/// The cause of each turn of a run, oldest first.
pub fn causes(run: &Run) -> Vec<TurnCause> {
    run.attempts.iter().flat_map(|attempt| &attempt.turns).map(|turn| turn.cause).collect()
}

/// Makes a request to the newest run as ann, as the command line does and not in a comment.
pub fn ask(world: &mut World, id: &str, what: Request) {
    let run = world.store.all().pop().map(|run| run.id);
    let asked = PersonRequest { id: id.to_owned(), by: person("ann"), at: world.now, what };
    match run {
        Some(run) => world.add_request(run, &asked),
        None => panic!("there is no run for the request {asked:?}"),
    };
}

/// Takes a label off `o/r#7`, as `by`.
pub fn unlabel(world: &mut World, label: &str, by: &str) {
    world.set_label(&seven(), label, false, &person(by));
}

/// What happened so far, as text for a failing test.
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
