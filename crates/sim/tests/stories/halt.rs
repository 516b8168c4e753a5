//! A halt, wherever it comes. After any call of a story, in the middle of a pass: once it has been
//! read, nothing more is started and nothing is pushed. Before a turn: once it is lifted, the turn
//! is the one that it was to be.

use std::pin::Pin;
use std::task::{Context, Waker};

use afk_core::config::Policy;
use afk_core::ids::{At, JobOf};
use afk_core::plan::End;
use afk_core::run::CancelHow;
use afk_engine::Engine;
use afk_engine::ports::Switch;
use afk_sim::fakes::{Fate, Gate, Sim, Waiting};
use afk_sim::story::{Story, breaking_work, fixing_work, good_work, repo, seven};
use afk_sim::world::{Act, Script, World, person};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

/// One engine whose calls are let through one by one.
struct Stepped {
    story: Story,
    gate: Gate,
    engine: Engine,
    ticking: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Stepped {
    fn new() -> Self {
        let story = Story::new().with_issue(vec![breaking_work(), fixing_work()]);
        let gate = Gate::default();
        let behind: Sim = story.sim.behind(&gate, 0);
        let engine = Engine::new(behind.ports(), "first");
        Self { story, gate, engine, ticking: None }
    }

    fn poll(&mut self) {
        let Some(ticking) = &mut self.ticking else { return };
        if ticking.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            self.ticking = None;
        }
    }

    /// Lets one call through, or begins the next tick of the story.
    fn step(&mut self) {
        if let Some(one) = self.gate.waiting().first() {
            self.grant(*one);
            return;
        }
        assert!(self.ticking.is_none(), "a tick neither ends nor makes a call");
        self.story.sim.with(World::step);
        self.pass_time(1_000);
        let engine = self.engine.clone();
        self.ticking = Some(Box::pin(async move {
            engine.tick(true, &CancellationToken::new()).await.expect("no call fails");
        }));
        self.poll();
    }

    fn grant(&mut self, one: Waiting) {
        self.gate.grant(one.ticket, Fate::Done);
        self.poll();
    }

    fn pass_time(&mut self, millis: i64) {
        self.story.sim.advance(SignedDuration::from_millis(millis));
        self.poll();
    }

    /// Lets the looks at the switches through, and nothing else.
    fn look_at_switches(&mut self) {
        while let Some(one) =
            self.gate.waiting().into_iter().find(|one| one.name == "store.switches")
        {
            self.grant(one);
        }
    }

    /// The number of turns and jobs that were started, and of commits on the default branch.
    fn done(&self) -> (usize, usize, usize) {
        self.story.sim.with(|world| {
            let landed = world.git.history(&repo("o/r")).len();
            (world.agents.turns.len(), world.jobs.started.len(), landed)
        })
    }

    fn settled(&self) -> bool {
        self.story.sim.with(|world| {
            let runs = world.store.all();
            !runs.is_empty() && runs.iter().all(|run| run.settled_at.is_some())
        })
    }
}

/// Halts after `n` calls; false if the story was over before.
fn halted_after(n: usize) -> bool {
    let mut stepped = Stepped::new();
    for _ in 0..n {
        if stepped.settled() {
            return false;
        }
        stepped.step();
    }
    stepped.story.switch(&Switch::Halt, true);
    stepped.pass_time(600);
    stepped.look_at_switches();
    // Calls that were made before the halt was read may still be done.
    let read: At = stepped.story.sim.with(|world| world.now);
    stepped.pass_time(100);
    for one in stepped.gate.waiting().into_iter().filter(|one| one.since <= read) {
        stepped.grant(one);
    }
    let before = stepped.done();
    for _ in 0..120 {
        stepped.step();
    }
    assert_eq!(stepped.done(), before, "something was begun under a halt after {n} calls");
    true
}

#[test]
fn nothing_begins_once_a_halt_was_read_wherever_a_pass_is() {
    let told = (0..5_000).take_while(|n| halted_after(*n)).count();
    assert!(told > 100, "only {told} calls");
    println!("halted after each of {told} calls");
}

/// Halts while a job of this kind runs after `turns` turns, lifts the halt, and returns the prompt
/// of the turn that is started then.
async fn halted_at(story: &Story, of: JobOf, turns: usize) -> String {
    let at_work = |world: &mut World| {
        let run = world.store.all().pop().map(|run| run.id);
        let alive = run.map(|run| world.alive(run)).unwrap_or_default();
        world.agents.turns.len() == turns && alive.iter().any(|key| key.of() == Some(of))
    };
    for _ in 0..100 {
        story.tick().await.unwrap();
        if story.sim.with(at_work) {
            break;
        }
        story.sim.with(World::step);
        story.sim.advance(SignedDuration::from_secs(1));
    }
    assert!(story.sim.with(at_work), "no {of:?} after {turns} turns");
    story.switch(&Switch::Halt, true);
    story.rounds(3).await;
    story.switch(&Switch::Halt, false);
    story.until("the next turn", |world| world.agents.turns.len() == turns + 1).await;
    story.sim.with(|world| world.agents.turns_of(&repo("o/r"))[turns].request.prompt.clone())
}

/// Configures a hook that runs before each turn.
fn with_a_hook(config: &mut Policy) {
    for table in config.repos.values_mut() {
        table.hooks.before_run = Some(vec!["prepare".to_owned()]);
    }
}

#[tokio::test]
async fn a_halt_before_a_fix_is_started_loses_nothing_of_what_it_is_for() {
    let story = Story::new().with_issue(vec![breaking_work(), fixing_work()]);
    let prompt = halted_at(&story, JobOf::Reset, 1).await;
    let red = story.run().attempts[0].candidates[0].commit.clone();
    assert!(prompt.contains(&format!("Your landed commit {red} is red")), "{prompt}");
    assert!(prompt.contains("it failed with 1"), "the log: {prompt}");
    assert!(!prompt.contains("You were interrupted"), "it had not begun: {prompt}");
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!((run.fix_forwards(), run.attempts.len()), (1, 2), "attempts, not turns");
}

#[tokio::test]
async fn a_halt_before_any_turn_is_started_loses_nothing_of_what_it_is_for() {
    // Work that is not to land, because it does not say two.
    let wrong = Script::acts(vec![
        Act::Commit { message: "Expect", files: vec![("tests/two", Some("expect src/lib two"))] },
        Act::Commit { message: "Say", files: vec![("src/lib", Some("one"))] },
        Act::Dirty("scratch"),
    ]);
    let right = Script::acts(vec![Act::Commit {
        message: "Say two",
        files: vec![("src/lib", Some("one two"))],
    }]);
    let discards = Script::acts(vec![Act::Discard]);
    let story = Story::new().with_issue(vec![wrong, discards, right]).configure(with_a_hook);
    let opening = halted_at(&story, JobOf::Hook, 0).await;
    assert!(opening.contains("# The issue") && !opening.contains("# What to do now"), "{opening}");
    let discard = halted_at(&story, JobOf::Hook, 1).await;
    assert!(discard.contains("uncommitted work") && discard.contains("scratch"), "{discard}");
    let refused = halted_at(&story, JobOf::Hook, 2).await;
    assert!(refused.contains("the verify command `verify` fails"), "{refused}");
    assert!(refused.contains("it failed with 1"), "the output: {refused}");
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!((run.refusals(), run.attempts.len()), (1, 2));
}

#[tokio::test]
async fn what_broke_off_is_told_again() {
    let story = Story::new().with_issue(vec![breaking_work(), Script::hangs(), fixing_work()]);
    story.until("a fix", |world| world.agents.turns.len() == 2).await;
    story.switch(&Switch::Halt, true);
    story.rounds(3).await;
    story.switch(&Switch::Halt, false);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(run.fix_forwards(), 1);
    let turns = story.sim.with(|world| world.agents.clone());
    let prompt = &turns.turns_of(&repo("o/r"))[2].request.prompt;
    for told in ["You were interrupted", "is red", "it failed with 1"] {
        assert!(prompt.contains(told), "{prompt}");
    }
}

#[tokio::test]
async fn a_halt_stops_the_stage_of_a_run_that_was_taken_back_after_it_landed() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| world.jobs.hanging.insert("ci".to_owned()));
    story.until("landed", |world| world.calls.contains(&"git.push")).await;
    story.sim.with(|world| world.set_open(&seven(), false, &person("ann")));
    story.rounds(5).await;
    let run = story.run().id;
    assert_eq!(story.sim.with(|world| world.alive(run).len()), 1, "its verdict is awaited");
    story.switch(&Switch::Halt, true);
    story.rounds(10).await;
    assert_eq!(story.sim.with(|world| world.alive(run)), []);
    assert_eq!(story.run().conclusion, None);
    story.switch(&Switch::Halt, false);
    story.sim.with(|world| world.jobs.hanging.clear());
    story.settle().await;
    story.ended(End::Done);
}

/// Takes the repo out of the configuration, as its operator.
fn drop_repo(story: &Story) {
    story.sim.with(|world| {
        world.config.allowlist.clear();
        world.config.repos.clear();
        world.calls.clear();
    });
}

/// Asserts what becomes of a run whose repo was taken out of the configuration.
async fn dropped(story: &Story, end: End) {
    let run = story.settle().await;
    story.ended(end);
    assert_eq!(run.cancel.map(|cancel| cancel.how), Some(CancelHow::Unenrolled));
    story.sim.with(|world| {
        assert_eq!(world.alive(run.id), []);
        assert!(!world.tracker.issues[&seven()].has("agent-in-progress"));
        let git: Vec<_> = world.calls.iter().filter(|call| call.starts_with("git.")).collect();
        assert!(git.is_empty(), "without a table there is no remote: {git:?}");
    });
}

#[tokio::test]
async fn a_run_whose_repo_is_not_configured_any_more_is_stopped_and_let_go() {
    for halted in [false, true] {
        let story = Story::new().with_issue(vec![Script::hangs()]);
        story.until("a turn", |world| !world.agents.turns.is_empty()).await;
        story.rounds(3).await;
        drop_repo(&story);
        story.switch(&Switch::Halt, halted);
        story.rounds(10).await;
        let run = story.run().id;
        assert_eq!(story.sim.with(|world| world.alive(run)), [], "halted: {halted}");
        dropped(&story, End::Withdrawn).await;
        assert!(story.sim.with(|world| world.rung().is_empty()), "a cancel rings no bell");
    }
}

#[tokio::test]
async fn what_a_repo_that_is_not_configured_any_more_landed_is_handed_over() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| world.jobs.hanging.insert("ci".to_owned()));
    story.until("landed", |world| world.calls.contains(&"git.push")).await;
    story.rounds(3).await;
    drop_repo(&story);
    dropped(&story, End::NeedsHuman).await;
    let why = story.run().conclusion.map(|conclusion| conclusion.why).unwrap_or_default();
    assert!(why.contains("no longer configured"), "{why}");
    assert_eq!(story.sim.with(|world| world.rung().len()), 1);
}
