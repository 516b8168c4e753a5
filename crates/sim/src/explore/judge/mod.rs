//! The invariants. After every step the judge compares the world with what it saw before, and
//! reports what must not have happened.
//!
//! It believes the world and the rows of journals, but no answer of the loop. Each file beside this
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

pub(super) use tick::UndisturbedTick;
pub(super) use tracker::by_us;

/// How long after it has seen a halt a control plane may still start or push something.
const HALT: SignedDuration = SignedDuration::from_secs(2);

/// The call by which a control plane made a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct By {
    pub(super) plane: usize,
    pub(super) call: &'static str,
    /// When the call was made.
    pub(super) since: At,
    /// The step at which the call was made: what the control plane knew is from that step or
    /// before.
    pub(super) made: u64,
    /// The step at which its tick began, or the oldest one that an answer to it was from.
    pub(super) tick: u64,
    /// Whether the call was answered normally, and so with what the world says.
    pub(super) answered: bool,
}

/// What the judge has seen so far, and what it found wrong.
#[derive(Debug, Default)]
pub(super) struct Judge {
    pub(super) wrong: Vec<String>,
    truth: Truth,
    runs: BTreeMap<RunId, (usize, Option<Run>)>,
    /// The largest budget that each run ever had.
    budgets: BTreeMap<RunId, Usd>,
    turns: BTreeSet<JobKey>,
    jobs: usize,
    /// How often each job was started.
    starts: BTreeMap<JobKey, u32>,
    /// Jobs created by a call from before their run was settled: such a call cannot be taken back,
    /// and its host ends the job when nobody renews it.
    strays: BTreeSet<JobKey>,
    heads: BTreeMap<RepoName, Oid>,
    landings: BTreeSet<(String, String)>,
    /// Number of our pushes to default branches that were judged.
    pushes: usize,
    /// The step at which a control plane asked for the switches, by control plane and step of the
    /// answer.
    looks: BTreeMap<(usize, u64), u64>,
    /// The last step at which each control plane held each run's lease.
    held: BTreeMap<(usize, RunId), u64>,
    /// The frozen repos, and since when each is.
    frozen: BTreeMap<RepoName, At>,
    /// Commits that no control plane pushed, with the run whose trailers they carry.
    forged: BTreeMap<Oid, RunId>,
    /// The last step at which each landed commit was on its default branch.
    stood: BTreeMap<Oid, u64>,
    /// Commits that a run pushed while its control plane held its lease.
    pushed: BTreeMap<Oid, RunId>,
    bells: usize,
    /// How often a look can have found dispatch held: the agent went missing, or a look was made to
    /// fail.
    lacks: usize,
    /// Whether the agents' program is missing now.
    lacking: bool,
    /// Number of polls of stages that were judged.
    polls: usize,
    /// When each control plane last polled a stage for a run about a commit.
    polled: BTreeMap<(usize, RunId, RepoName, String, Oid), At>,
    /// Number of events and comments of each issue that were judged.
    tracked: BTreeMap<IssueRef, (usize, usize)>,
    /// How many events the issue of a run had when the run ended.
    ended: BTreeMap<RunId, usize>,
    /// What each issue shows that is not true of its live run, and since which step.
    untrue: BTreeMap<IssueRef, (String, u64)>,
    halted: BTreeMap<usize, At>,
    /// What was seen of tracker calls.
    calls: limits::Calls,
    /// What was seen of issues that could be dispatched.
    waits: wakes::Waits,
    /// Whether the clock was set back, so that a row may be older than the time it was decided at.
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

    /// Dispatch rings at most once for each time that the agent went missing, or that a look was
    /// made to fail.
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

    /// Notes that the clock was set back, which ends every pause: whoever was told to wait may ask
    /// once more.
    pub(super) fn went_back(&mut self) {
        self.back = true;
        self.calls.went_back();
    }

    /// Forgets what a control plane had seen, because it died.
    pub(super) fn died(&mut self, plane: usize) {
        self.halted.remove(&plane);
        self.polled.retain(|(of, ..), _| *of != plane);
        self.calls.died(plane);
    }

    fn switches(&mut self, world: &World, step: u64, by: Option<By>) {
        let Some(by) = by.filter(|by| by.call == "store.switches" && by.answered) else { return };
        self.looks.insert((by.plane, step), by.made);
        // Switches that cannot be read count as on.
        if world.store.switches.halt.is_some() || world.store.unreadable_switches {
            self.halted.entry(by.plane).or_insert(world.now);
        } else {
            self.halted.remove(&by.plane);
        }
    }

    /// Reports that `by` began something although it must have known of a halt.
    fn not_halted(&mut self, by: Option<By>, what: &str) {
        let Some(by) = by else { return };
        let seen = self.halted.get(&by.plane);
        if seen.is_some_and(|seen| by.since.duration_since(*seen) > HALT) {
            self.wrong.push(format!("{what} although a halt was known"));
        } else if self.truth.halted(by.tick) {
            self.wrong.push(format!("{what} by a tick that began under a halt"));
        }
    }

    /// The runs whose journal could be read, as the journal has them.
    fn known(&self) -> impl Iterator<Item = &Run> {
        self.runs.values().filter_map(|(_, run)| run.as_ref())
    }

    fn live(&self) -> impl Iterator<Item = &Run> {
        self.known().filter(|run| run.settled_at.is_none())
    }
}

/// A doorbell of one kind, which may ring about the end of a run.
struct Bell {
    kind: DoorbellKind,
    /// The name of the doorbell that rings.
    name: String,
    /// The id of what it rings.
    id: String,
    /// Whether it must ring about this end; if not, it must not.
    wanted: bool,
}

impl Bell {
    /// The id of its row in the outbox.
    fn row(&self) -> String {
        format!("{}:{}", self.id, self.name)
    }
}

/// Every doorbell that may ring about the end of a run, and whether it must if that is `end`.
fn bells(world: &World, run: &Run, end: End) -> Vec<Bell> {
    let ends = match end {
        End::Done => Some(DoorbellKind::Done),
        End::NeedsHuman => Some(DoorbellKind::NeedsHuman),
        End::Frozen => Some(DoorbellKind::Frozen),
        End::Withdrawn => None,
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
