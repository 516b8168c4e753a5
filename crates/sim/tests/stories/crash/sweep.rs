//! A story with one fault, which must end as it does without.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use afk_core::doorbell::DoorbellKind;
use afk_core::ids::Actor;
use afk_core::plan::End;
use afk_sim::sites::{Effect, effect};
use afk_sim::story::{Story, repo, seven, story_of};
use afk_sim::world::{Fault, When, World};
use jiff::SignedDuration;

use super::Plot;

/// Longer than a lease lasts.
const LEASE: SignedDuration = SignedDuration::from_secs(31);

/// Which calls of a story are swept. The others are swept in other stories.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// All of them.
    All,
    /// From its first look at the remote to the end, or to the next turn.
    Try,
    /// From its first candidate on.
    FromCandidate,
    /// From its first push on.
    FromPush,
    /// Up to the start of this turn.
    UntilTurn(usize),
}

impl Part {
    pub(super) fn of(self, calls: &[&str]) -> Range<usize> {
        let first = |name: &str| calls.iter().position(|call| *call == name);
        let end = calls.len();
        match self {
            Self::All => 0..end,
            Self::Try => {
                let from = first("git.head").expect("a look at the remote");
                let next = calls.iter().skip(from).position(|call| *call == "executor.start");
                from..next.map_or(end, |next| from + next + 1)
            }
            Self::FromCandidate => first("git.contains").expect("a candidate")..end,
            Self::FromPush => first("git.push").expect("a push")..end,
            Self::UntilTurn(n) => {
                let starts =
                    calls.iter().enumerate().filter(|(_, call)| **call == "executor.start");
                0..starts.map(|(at, _)| at + 1).nth(n - 1).unwrap_or(end)
            }
        }
    }
}

/// What anybody can see once a story is over.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    ends: Vec<Option<End>>,
    open: bool,
    labels: BTreeSet<String>,
    /// Number of comments by the loop's own account.
    comments: usize,
    unticked: bool,
    /// Number of doorbells by kind; repeats of one count once.
    bells: BTreeMap<DoorbellKind, usize>,
    /// Number of commits of the default branch.
    commits: usize,
    /// Whether a stage fails on any commit of the default branch's history.
    red: bool,
    turns: usize,
    evidence: bool,
    frozen: bool,
    /// Number of branches left on the remote.
    branches: usize,
    workspaces: usize,
    alive: usize,
    requests: Vec<Option<String>>,
}

fn outcome(world: &World) -> Outcome {
    let runs = world.store.all();
    let issue = &world.tracker.issues[&seven()];
    let ours = |author: &Option<Actor>| author.as_ref().is_some_and(|who| who.login == "afk");
    let own: Vec<_> = issue.comments.iter().filter(|comment| ours(&comment.author)).collect();
    let bells: BTreeSet<_> = world.rung().iter().map(|bell| (bell.id, bell.kind)).collect();
    let mut kinds = BTreeMap::new();
    for (_, kind) in bells {
        *kinds.entry(kind).or_default() += 1;
    }
    let history = world.git.history(&repo("o/r"));
    let red = |tree| world.git.files(tree).values().any(|text| text.contains("BREAKS-CI"));
    let requests = world.store.requests.iter();
    Outcome {
        ends: runs.iter().map(|run| run.conclusion.as_ref().map(|end| end.end)).collect(),
        open: issue.issue.open,
        labels: issue.issue.labels.iter().map(ToString::to_string).collect(),
        comments: own.len(),
        unticked: own.iter().any(|comment| comment.body.contains("[ ]")),
        bells: kinds,
        commits: history.len(),
        red: history.iter().any(|commit| red(&commit.tree)),
        turns: world.agents.turns.len(),
        evidence: !world.archive.is_empty(),
        frozen: world.store.switches.freeze_of(&repo("o/r")).is_some(),
        branches: world.git.branches.len(),
        workspaces: world.git.workspaces.len(),
        alive: runs.iter().map(|run| world.alive(run.id).len()).sum(),
        requests: requests
            .map(|(_, request)| request.answered.clone().map(|(_, text)| text))
            .collect(),
    }
}

fn settled(world: &World) -> bool {
    let runs = world.store.all();
    !runs.is_empty() && runs.iter().all(|run| run.settled_at.is_some()) && world.all_rung()
}

/// How an undisturbed story went.
pub(super) struct Baseline {
    pub(super) calls: Vec<&'static str>,
    outcome: Outcome,
}

/// Tells it undisturbed, and asserts that it ends as the plot says.
pub(super) async fn undisturbed(plot: &Plot) -> Baseline {
    let story = through(plot, &[]).await;
    story.sim.with(|world| {
        let text = format!("{}\n{}", plot.name, story_of(world));
        let outcome = outcome(world);
        assert!(settled(world) && (plot.over)(world), "never settled: {text}");
        assert!(world.wrong.is_empty(), "{:?} {text}", world.wrong);
        assert_eq!(outcome.ends, [Some(plot.end)], "{text}");
        assert_eq!((outcome.commits, outcome.turns), (1 + plot.landings, plot.turns), "{text}");
        let (comments, alive) = (outcome.comments, outcome.alive);
        assert_eq!((comments, alive), (1, 0), "{text}");
        if plot.end == End::Done {
            assert!(!outcome.open && outcome.labels.is_empty() && !outcome.unticked, "{text}");
            assert_eq!((outcome.workspaces, outcome.branches), (0, 0), "{text}");
        }
        Baseline { calls: world.calls.clone(), outcome }
    })
}

/// Tells a story in which these faults come one after the other; after one that kills, another
/// process goes on.
pub(super) async fn through(plot: &Plot, faults: &[Fault]) -> Story {
    let mut story = plot.told();
    let mut faults = faults.iter();
    let mut done = 0;
    story.sim.with(|world| world.fault = faults.next().copied());
    for round in 0..400 {
        if story.sim.with(|world| settled(world) && (plot.over)(world)) {
            break;
        }
        if story.deadly_round().await {
            let at_once = story.died_at_odd();
            story = story.restarted(&format!("after {round}"));
            if at_once {
                story.sim.with(World::declare_owners_dead);
            } else {
                // The next process has to wait until the lease of the dead one has run out.
                story.sim.advance(LEASE);
            }
            story.sim.with(|world| world.fault = faults.next().copied());
        }
        story.sim.with(|world| (plot.people)(world, &mut done));
    }
    story
}

/// Asserts that the story with these faults ended as the undisturbed one.
pub(super) fn assert_same(plot: &Plot, told: &Baseline, story: &Story, faults: &[Fault]) {
    story.sim.with(|world| {
        let text = || {
            let faults: Vec<_> = faults.iter().map(|fault| name(world, *fault)).collect();
            format!("{}, {}\n{}", plot.name, faults.join(", then "), story_of(world))
        };
        assert!(settled(world) && (plot.over)(world), "never settled: {}", text());
        assert!(world.wrong.is_empty(), "{:?} {}", world.wrong, text());
        assert_eq!(outcome(world), told.outcome, "{}", text());
    });
}

fn name(world: &World, fault: Fault) -> String {
    let call = world.calls.get(fault.call).copied().unwrap_or("nothing");
    let how = if fault.kills { "killed" } else { "failed" };
    format!("{call} (call {}) {how} {:?}", fault.call, fault.when)
}

/// The sites of these calls: one before each, and one after each that changes something.
pub(super) fn sites(calls: &[&'static str], part: Range<usize>) -> Vec<(usize, When)> {
    let mut sites = Vec::new();
    for call in part {
        sites.push((call, When::Before));
        if effect(calls[call]) == Some(Effect::Writes) {
            sites.push((call, When::After));
        }
    }
    sites
}

/// Tells one story for each site. A call that only reads has one site: failing after its effect is
/// the same as failing before.
pub(super) async fn sweep(plot: &Plot, kills: bool) {
    let told = undisturbed(plot).await;
    let mut sites = sites(&told.calls, plot.part.of(&told.calls));
    sites.retain(|(call, _)| kills || !plot.waits || told.calls[*call] != "store.switches");
    for (call, when) in &sites {
        let faults = [Fault { call: *call, when: *when, kills }];
        let story = through(plot, &faults).await;
        assert_same(plot, &told, &story, &faults);
    }
    let how = if kills { "deaths" } else { "failures" };
    println!("{}: {} {how}, every one survived", plot.name, sites.len());
}
