//! The invariants. After every step the judge compares the world with what it saw before, and
//! reports what must not have happened.
//!
//! It believes the world and the journal's rows, but no answer of the loop. Each file beside this
//! one judges one thing.

mod landing;
mod limits;
mod pulls;
mod record;
mod rest;
mod stages;
mod tick;
mod tracker;
mod wakes;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use afk_core::doorbell::{Doorbell, DoorbellKind, Ring};
use afk_core::ids::{At, IssueRef, JobKey, Oid, RepoName, RunId};
use afk_core::plan::End;
use afk_core::run::Run;
use afk_core::usd::Usd;
use afk_engine::outbox::MOST_ATTEMPTS;
use jiff::SignedDuration;

use super::truth::Truth;
use crate::world::World;

pub(super) use tick::Whole;
pub(super) use tracker::by_us;

/// How long a control plane that has seen a halt may still start or push.
const HALT: SignedDuration = SignedDuration::from_secs(2);

/// Which control plane did the step, if one did.
#[derive(Debug, Clone, Copy)]
pub(super) struct By {
    pub(super) plane: usize,
    pub(super) call: &'static str,
    /// When the call was made.
    pub(super) since: At,
    /// The step at which it was made: the control plane's knowledge is from that step or before.
    pub(super) made: u64,
    /// The step at which its tick began, or of the oldest answer that it got.
    pub(super) tick: u64,
    /// Whether the answer was what the world says.
    pub(super) answered: bool,
}

/// What was seen so far, and what is wrong.
#[derive(Debug, Default)]
pub(super) struct Judge {
    pub(super) wrong: Vec<String>,
    truth: Truth,
    runs: BTreeMap<RunId, (usize, Option<Run>)>,
    /// The largest budget that each run ever had.
    budgets: BTreeMap<RunId, Usd>,
    turns: BTreeSet<JobKey>,
    jobs: usize,
    /// Starts of each job without an excuse: a stopped or lost one may start again.
    starts: BTreeMap<JobKey, u32>,
    /// Jobs created by a call from before their run was settled: such a call cannot be taken back,
    /// and its host ends the job when nobody renews it.
    strays: BTreeSet<JobKey>,
    heads: BTreeMap<RepoName, Oid>,
    landings: BTreeSet<(String, String)>,
    /// Our pushes to default branches that were judged.
    pushes: usize,
    /// By control plane and the step at which it was answered: when it asked for the switches.
    looks: BTreeMap<(usize, u64), u64>,
    /// The last step at which each control plane held each run's lease.
    held: BTreeMap<(usize, RunId), u64>,
    /// The frozen repos, and since when.
    frozen: BTreeMap<RepoName, At>,
    /// Commits that no loop pushed, with the run whose trailers they carry.
    forged: BTreeMap<Oid, RunId>,
    /// The last step at which each landed commit was on its default branch.
    stood: BTreeMap<Oid, u64>,
    /// What a run pushed that had its lease.
    pushed: BTreeMap<Oid, RunId>,
    bells: usize,
    /// How often something that runs need has gone missing, as far as anybody could see.
    lacks: usize,
    /// It is missing now.
    lacking: bool,
    /// Polls of stages that were judged.
    polls: usize,
    /// When each control plane last polled a stage for a run about a commit.
    polled: BTreeMap<(usize, RunId, String, Oid), At>,
    /// Events and comments of each issue that were judged.
    tracked: BTreeMap<IssueRef, (usize, usize)>,
    /// How many events the issue of a run had when the run ended.
    ended: BTreeMap<RunId, usize>,
    /// Since which step an issue has shown what is not true of its run.
    untrue: BTreeMap<IssueRef, (String, u64)>,
    halted: BTreeMap<usize, At>,
    /// Calls of trackers.
    calls: limits::Calls,
    /// Issues that could be dispatched.
    waits: wakes::Waits,
    /// The clock was set back: a row may be older than the time it was decided at.
    back: bool,
}

impl Judge {
    /// Judges the step that has just been made.
    pub(super) fn look(&mut self, world: &World, step: u64, by: Option<By>) {
        self.truth.look(world, step);
        self.switches(world, step, by);
        self.leases(world, step);
        self.stands(world, step);
        self.rows(world, by);
        self.turns(world, by);
        self.jobs(world, by);
        self.polls(world, by);
        self.pulls(world);
        self.pushes(world);
        self.landings(world, by);
        self.thawed(world, by);
        self.tracker(world);
        self.shown(world, step);
        self.holds(world, by);
        self.calls(world, step, by);
        for (name, bell) in world.doorbells.rung.iter().skip(self.bells) {
            if !world.store.outbox.contains_key(&format!("{}:{name}", bell.id)) {
                self.wrong.push(format!("a bell rang before its outcome was kept: {}", bell.title));
            }
        }
        self.bells = world.doorbells.rung.len();
        for (id, send) in &world.store.outbox {
            if send.attempts > MOST_ATTEMPTS {
                self.wrong.push(format!("{id} was rung {} times", send.attempts));
            }
        }
        self.wrong.extend(world.wrong.iter().cloned());
    }

    /// One ring for each time that what runs need has gone missing, or a look was refused.
    fn holds(&mut self, world: &World, by: Option<By>) {
        let looks = |by: &By| matches!(by.call, "executor.ready" | "jobs.ready");
        let refused = by.is_some_and(|by| looks(&by) && !by.answered);
        let went = world.agents.missing && !self.lacking;
        self.lacks += usize::from(refused) + usize::from(went);
        self.lacking = world.agents.missing;
        let of_holds = world.store.outbox.values().filter(|send| send.cause.is_some());
        let rings: BTreeSet<_> = of_holds.map(|send| send.doorbell.id).collect();
        if rings.len() > self.lacks {
            let what =
                format!("{} rings for {} times that dispatch was held", rings.len(), self.lacks);
            self.wrong.push(what);
        }
    }

    /// The clock was put back.
    pub(super) fn went_back(&mut self) {
        self.back = true;
    }

    /// A control plane died: what it had seen is forgotten.
    pub(super) fn died(&mut self, plane: usize) {
        self.halted.remove(&plane);
        self.polled.retain(|(of, ..), _| *of != plane);
        self.calls.died(plane);
    }

    fn switches(&mut self, world: &World, step: u64, by: Option<By>) {
        let Some(by) = by.filter(|by| by.call == "store.switches" && by.answered) else { return };
        self.looks.insert((by.plane, step), by.made);
        // What cannot be read counts as on.
        if world.store.switches.halt.is_some() || world.store.unreadable_switches {
            self.halted.entry(by.plane).or_insert(world.now);
        } else {
            self.halted.remove(&by.plane);
        }
    }

    /// Reports if `by` began something although it had known of a halt.
    fn not_halted(&mut self, by: Option<By>, what: &str) {
        let Some(by) = by else { return };
        let seen = self.halted.get(&by.plane);
        if seen.is_some_and(|seen| by.since.duration_since(*seen) > HALT) {
            self.wrong.push(format!("{what} although a halt was known"));
        } else if self.truth.halted(by.tick) {
            self.wrong.push(format!("{what} by a tick that began under a halt"));
        }
    }

    /// The runs whose journal is readable.
    fn known(&self) -> impl Iterator<Item = &Run> {
        self.runs.values().filter_map(|(_, run)| run.as_ref())
    }

    fn live(&self) -> impl Iterator<Item = &Run> {
        self.known().filter(|run| run.settled_at.is_none())
    }
}

/// A doorbell of a run's end.
struct Bell {
    kind: DoorbellKind,
    /// Which doorbell rings.
    name: String,
    /// The id of what it rings.
    id: String,
    /// Whether it must ring about this end.
    wanted: bool,
}

impl Bell {
    /// The id of its row in the outbox.
    fn row(&self) -> String {
        format!("{}:{}", self.id, self.name)
    }
}

/// The bells of a run that may ring about its end, and whether each must for `end`.
fn bells(world: &World, run: &Run, end: End) -> Vec<Bell> {
    let ends = match end {
        End::Done => Some(DoorbellKind::Done),
        End::NeedsHuman => Some(DoorbellKind::NeedsHuman),
        End::Frozen => Some(DoorbellKind::Frozen),
        End::Released => None,
    };
    let kinds = [DoorbellKind::Done, DoorbellKind::NeedsHuman, DoorbellKind::Frozen];
    let bells = kinds.into_iter().flat_map(|kind| {
        let (issue, detail) = (&run.issue, "");
        let ring = Ring { run: run.id, issue, kind, reason: None, detail, link: None, nth: 0 };
        let id = Doorbell::new(&ring).id.to_string();
        let wanting = world.doorbells_wanting(kind);
        world.doorbell_names().into_iter().map(move |name| {
            let wanted = ends == Some(kind) && wanting.contains(&name);
            Bell { kind, name, id: id.clone(), wanted }
        })
    });
    bells.collect()
}
