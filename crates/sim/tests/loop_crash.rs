//! Every single port call of a story fails once, before it did anything and after
//! its effect; the story must end as if nothing had happened. The same with the
//! process dying there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::ops::Range;

use afk_core::doorbell::DoorbellKind;
use afk_core::plan::End;
use afk_sim::story::{
    Story, breaking_work, good_work, mending_more, mending_work, repo, seven, story_of, tested,
};
use afk_sim::world::{Act, Fault, PushFate, Script, When, World};
use jiff::SignedDuration;

/// A story that ends well, and how often it lands.
struct Plot {
    name: &'static str,
    scripts: fn() -> Vec<Script>,
    /// What becomes of its pushes, where they have another fate than the usual.
    fates: fn() -> Vec<PushFate>,
    /// Commits on the default branch after the first, others' included.
    landings: usize,
    turns: usize,
    /// Whether its stage is asked before landing.
    tested: bool,
}

const PLOTS: [Plot; 4] = [
    Plot {
        name: "straight",
        scripts: || vec![good_work()],
        fates: Vec::new,
        landings: 1,
        turns: 1,
        tested: false,
    },
    Plot {
        name: "fix-forward",
        scripts: || vec![breaking_work(), mending_work()],
        fates: Vec::new,
        landings: 2,
        turns: 2,
        tested: false,
    },
    Plot {
        name: "refused once",
        scripts: || vec![untested_work(), tests()],
        fates: Vec::new,
        landings: 1,
        turns: 2,
        tested: false,
    },
    Plot {
        name: "a descendant speaks",
        scripts: || vec![voiding_work()],
        fates: || vec![PushFate::Followed(vec![("src/note", "fine")])],
        landings: 2,
        turns: 1,
        tested: false,
    },
];

/// Stories in which stages are asked before landing.
const TRIES: [Plot; 2] = [
    Plot {
        name: "tested",
        scripts: || vec![good_work()],
        fates: Vec::new,
        landings: 1,
        turns: 1,
        tested: true,
    },
    Plot {
        name: "tested, red before landing",
        scripts: || vec![breaking_work(), mending_more()],
        fates: Vec::new,
        landings: 1,
        turns: 2,
        tested: true,
    },
];

/// Longer than a lease lasts.
const LEASE: SignedDuration = SignedDuration::from_secs(31);

/// Code without a test: the proof refuses it.
fn untested_work() -> Script {
    Script::acts(vec![Act::Commit {
        message: "Say two",
        files: vec![("src/lib", Some("one two"))],
    }])
}

/// Good work of which no stage can say anything.
fn voiding_work() -> Script {
    let mut script = good_work();
    let files = vec![("src/note", Some("VOIDS-CI"))];
    script.acts.push(Act::Commit { message: "Add a note", files });
    script
}

/// The test that was missing.
fn tests() -> Script {
    Script::acts(vec![Act::Commit {
        message: "Expect two",
        files: vec![("tests/two", Some("expect src/lib two"))],
    }])
}

/// Asserts the one good end, whatever happened on the way.
fn assert_ended_well(plot: &Plot, world: &World, what: &str) {
    let text = || format!("{}, {what}\n{}", plot.name, story_of(world));
    assert!(world.wrong.is_empty(), "{:?}\n{}", world.wrong, text());
    let runs = world.store.all();
    assert_eq!(runs.len(), 1, "{}", text());
    let end = runs[0].conclusion.as_ref().map(|conclusion| conclusion.end);
    assert_eq!(end, Some(End::Done), "{}", text());
    let issue = &world.tracker.issues[&seven()];
    assert!(!issue.issue.open && issue.issue.labels.is_empty(), "{}", text());
    assert_eq!(issue.comments.len(), 1, "{}", text());
    assert!(!issue.comments[0].body.contains("[ ]"), "{}", text());
    let bells: BTreeSet<_> = world.rung.iter().map(|bell| bell.id).collect();
    assert_eq!(bells.len(), 1, "{}", text());
    assert!(world.rung.iter().all(|bell| bell.kind == DoorbellKind::Done), "{}", text());
    let history = world.git.history(&repo("o/r"));
    assert_eq!(history.len(), 1 + plot.landings, "{}", text());
    assert_eq!(world.agents.turns.len(), plot.turns, "{}", text());
    assert!(!world.archive.is_empty(), "{}", text());
    assert!(world.git.workspaces.is_empty(), "{}", text());
    assert!(world.git.branches.is_empty(), "{:?}\n{}", world.git.branches, text());
    if plot.tested {
        let red = |tree| world.git.files(tree).values().any(|text| text.contains("BREAKS-CI"));
        assert!(!history.iter().any(|commit| red(&commit.tree)), "{}", text());
    }
}

fn settled(world: &World) -> bool {
    let runs = world.store.all();
    !runs.is_empty()
        && runs.iter().all(|run| run.settled_at.is_some())
        && world.store.outbox.values().all(|send| send.rung)
}

/// The story before its first tick.
fn told(plot: &Plot) -> Story {
    let story = Story::new().with_issue((plot.scripts)());
    story.sim.with(|world| world.git.fates = (plot.fates)().into());
    if plot.tested { story.configure(tested) } else { story }
}

/// The port calls that the story makes undisturbed.
async fn calls_of(plot: &Plot) -> Vec<&'static str> {
    let story = told(plot);
    story.settle().await;
    story.sim.with(|world| {
        assert_ended_well(plot, world, "undisturbed");
        world.calls.clone()
    })
}

/// Tells the story with one fault; where it kills, another process goes on.
async fn with_fault(plot: &Plot, fault: Fault) {
    let mut story = told(plot);
    story.sim.with(|world| world.fault = Some(fault));
    for _ in 0..300 {
        if story.sim.with(|world| settled(world)) {
            break;
        }
        if story.deadly_round().await {
            story = story.restarted("second");
            // Nobody goes on before the dead one's lease has run out.
            story.sim.advance(LEASE);
        }
    }
    story.sim.with(|world| {
        let called = world.calls.get(fault.call).copied().unwrap_or("nothing");
        let how = if fault.kills { "killed" } else { "failed" };
        let what = format!("{called} (call {}) {how} {:?}", fault.call, fault.when);
        assert!(settled(world), "never settled: {what}\n{}", story_of(world));
        assert_ended_well(plot, world, &what);
    });
}

async fn sweep(plot: &Plot, kills: bool) {
    let calls = calls_of(plot).await;
    sweep_over(plot, kills, 0..calls.len()).await;
}

/// Only what a try adds: from its first look at the remote to the end, or to the next turn.
async fn sweep_tries(plot: &Plot, kills: bool) {
    let calls = calls_of(plot).await;
    let from = calls.iter().position(|call| *call == "git.head").unwrap();
    let next = calls.iter().skip(from).position(|call| *call == "executor.start");
    sweep_over(plot, kills, from..next.map_or(calls.len(), |next| from + next + 1)).await;
}

async fn sweep_over(plot: &Plot, kills: bool, calls: Range<usize>) {
    let faults = 2 * calls.len();
    for call in calls {
        for when in [When::Before, When::After] {
            with_fault(plot, Fault { call, when, kills }).await;
        }
    }
    println!("{}: {faults} faults", plot.name);
}

#[tokio::test]
async fn any_call_of_the_straight_story_may_fail_once() {
    sweep(&PLOTS[0], false).await;
}

#[tokio::test]
async fn any_call_of_the_fix_forward_may_fail_once() {
    sweep(&PLOTS[1], false).await;
}

#[tokio::test]
async fn any_call_of_the_refused_story_may_fail_once() {
    sweep(&PLOTS[2], false).await;
}

#[tokio::test]
async fn any_call_of_a_try_may_fail_once() {
    for plot in &TRIES {
        sweep_tries(plot, false).await;
    }
}

#[tokio::test]
async fn the_process_may_die_at_any_call_of_a_try() {
    for plot in &TRIES {
        sweep_tries(plot, true).await;
    }
}

#[tokio::test]
async fn the_process_may_die_at_any_call_of_the_straight_story() {
    sweep(&PLOTS[0], true).await;
}

#[tokio::test]
async fn the_process_may_die_at_any_call_of_the_fix_forward() {
    sweep(&PLOTS[1], true).await;
}

#[tokio::test]
async fn the_process_may_die_at_any_call_of_the_refused_story() {
    sweep(&PLOTS[2], true).await;
}

#[tokio::test]
async fn any_call_of_a_voided_story_may_fail_once() {
    sweep(&PLOTS[3], false).await;
}

#[tokio::test]
async fn the_process_may_die_at_any_call_of_a_voided_story() {
    sweep(&PLOTS[3], true).await;
}
