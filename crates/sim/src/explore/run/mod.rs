//! Runs a scenario: lets calls through one by one, lets the world go on between them, and calls the
//! judge after each step.
//!
//! First comes a wild phase, in which people act and ports fail; then a calm one, in which every
//! run must come to its end. Engines are polled by hand: nothing here waits, and a control plane
//! dies by being dropped.

mod acts;
mod calm;
mod daemon;
mod hooks;
mod plane;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use afk_core::ids::At;
use afk_core::plan::End;
use afk_core::trouble;
use afk_engine::Engine;
use afk_engine::ports::PortErrorKind;
use jiff::SignedDuration;

use super::draw::STEPS;
use super::judge::{By, Judge};
use super::rng::{Purpose, Rng};
use super::scenario::{Call, DECISIONS, Fault, Happens, Scenario, When};
use crate::fakes::{Bad, Fate, Gate, Sim, Waiting};
use crate::story::story_of;
use crate::world::{Hook, World};
use plane::Plane;

/// Calls of one tick after which it counts as going in circles. The longest of a good loop have a
/// few hundred.
const CIRCLES: u32 = 2_000;
/// Rounds of the wild phase of a story without a seed.
const ROUNDS: u32 = 60;
/// Lines of the story's end that a report keeps.
const TAIL: usize = 80;

/// The result of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The first invariant that was broken, if any was.
    pub wrong: Option<String>,
    /// A hash of the whole story, and of the world at its end.
    pub hash: u64,
    /// Number of steps: port calls, passing time, acts.
    pub steps: u64,
    /// Number of port calls.
    pub calls: u64,
    /// Number of calls that a fault fell on, whether that made a difference or not.
    pub faults: u32,
    /// Number of control planes that died and were replaced.
    pub crashes: u32,
    /// Number of runs that were admitted.
    pub runs: u32,
    /// How the runs ended, oldest run first.
    pub ends: Vec<End>,
    /// The faults that made a difference to their call.
    pub suffered: Vec<Fault>,
    /// Number of webhooks that were received.
    pub received: u32,
    /// Number of webhooks that came late, twice or not at all.
    pub astray: u32,
    /// The webhooks of pull requests.
    pub pulls: Hooked,
    /// The webhooks of stages.
    pub stages: Hooked,
    /// Number of tracker calls that were refused because of a limit.
    pub limited: u32,
    /// The end of the story, for people; empty if nothing is wrong.
    pub tail: String,
    /// Which call each fault of the scenario fell on, by name and count.
    pub fell: Vec<(usize, Call)>,
    /// After which call each act of the scenario was done, by name and count.
    pub done: Vec<(usize, When)>,
}

/// How many webhooks of one kind there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hooked {
    /// How many were received.
    pub received: u32,
    /// How many came late, twice or not at all.
    pub astray: u32,
}

struct Story<'a> {
    scenario: &'a Scenario,
    sim: Sim,
    gate: Gate,
    planes: Vec<Plane>,
    judge: Judge,
    rng: Rng,
    step: u64,
    replicated: u64,
    wild: bool,
    /// The latest time until which a tracker has asked not to be called.
    limited: At,
    /// Webhooks that are still to be received: when, by which control plane, and what.
    posted: Vec<(At, usize, Hook)>,
    /// The numbers of the next webhooks: of issues and pushes, and of pull requests and stages.
    sent: [u64; 2],
    /// Control planes that hear no webhooks.
    deaf: BTreeSet<usize>,
    /// Number of tracker calls that were searched for refusals.
    refusals: usize,
    /// Acts that are still to be done, by their index in the scenario.
    acts: Vec<(usize, &'a When, &'a Happens)>,
    /// How often each call was made, by name.
    made: BTreeMap<&'static str, u64>,
    /// The name of the newest call.
    newest: Option<&'static str>,
    /// The step at which each waiting call was made, by its ticket.
    asked: BTreeMap<u64, u64>,
    report: Report,
    lines: Vec<String>,
}

/// Runs `scenario`.
pub fn run(scenario: &Scenario) -> Report {
    run_bad(scenario, None)
}

/// Runs `scenario` with a known-bad loop, if one is named.
pub fn run_bad(scenario: &Scenario, bad: Option<Bad>) -> Report {
    let mut world = scenario.setting.world();
    world.bad = bad;
    let report = Report {
        wrong: None,
        hash: 0xCBF2_9CE4_8422_2325,
        steps: 0,
        calls: 0,
        faults: 0,
        crashes: 0,
        runs: 0,
        ends: Vec::new(),
        suffered: Vec::new(),
        received: 0,
        astray: 0,
        pulls: Hooked::default(),
        stages: Hooked::default(),
        limited: 0,
        tail: String::new(),
        fell: Vec::new(),
        done: Vec::new(),
    };
    let mut story = Story {
        scenario,
        sim: Sim::new(world),
        gate: Gate::default(),
        planes: Vec::new(),
        judge: Judge::default(),
        rng: Rng::new(scenario.seed.unwrap_or_default(), Purpose::Schedule),
        step: 0,
        replicated: 0,
        wild: true,
        limited: At::MIN,
        posted: Vec::new(),
        sent: [0, DECISIONS],
        deaf: BTreeSet::new(),
        refusals: 0,
        acts: (0..).zip(&scenario.acts).map(|(n, (when, act))| (n, when, act)).collect(),
        made: BTreeMap::new(),
        newest: None,
        asked: BTreeMap::new(),
        report,
        lines: Vec::new(),
    };
    // No webhook tells of what is there at the start.
    story.sim.with(|world| drop(world.webhooks()));
    for plane in 0..scenario.planes {
        let new = story.new_plane(plane);
        story.planes.push(new);
    }
    story.look(None);
    if scenario.setting.daemon {
        story.daemons();
    } else if scenario.seed.is_some() {
        story.wild();
    } else {
        story.in_turn();
    }
    story.calm();
    story.end()
}

impl Story<'_> {
    fn new_plane(&self, plane: usize) -> Plane {
        let ports = self.sim.behind(&self.gate, plane).ports();
        let owner = format!("plane-{plane}-{}", self.step);
        let engine = Engine::new(ports, &owner);
        Plane::new(engine, owner, self.step, self.scenario.setting.daemon)
    }

    fn wild(&mut self) {
        while self.step < STEPS && self.sound() {
            self.due();
            let waiting = self.gate.waiting();
            match self.rng.below(100) {
                0..=79 if !waiting.is_empty() => {
                    let one = self.rng.pick(&waiting);
                    self.let_through(one);
                }
                80..=87 => self.world_goes_on(),
                88..=95 => {
                    let millis = self.rng.pick(&[100, 500, 2_000, 12_000]);
                    self.time_passes(SignedDuration::from_millis(millis));
                }
                _ => {
                    let plane = self.rng.below(self.planes.len() as u64) as usize;
                    self.tick(plane);
                }
            }
        }
    }

    /// The wild phase without randomness: in each round a tick of each control plane, a step of the
    /// world, and five seconds.
    fn in_turn(&mut self) {
        for _ in 0..ROUNDS {
            for plane in 0..self.planes.len() {
                self.whole_tick(plane);
            }
            self.due();
            if !self.sound() {
                return;
            }
            self.world_goes_on();
            self.time_passes(SignedDuration::from_secs(5));
        }
    }

    /// Lets a control plane go on from where it is to the end of its tick.
    fn whole_tick(&mut self, plane: usize) {
        self.tick(plane);
        // A call may not go on although it was let through: then its tick waits for another one
        // first.
        let mut stays = None;
        for _ in 0..CIRCLES {
            let mut waiting = self.gate.waiting().into_iter().filter(|one| one.plane == plane);
            let Some(one) = waiting.find(|one| Some(one.ticket) != stays) else { break };
            self.let_through(one);
            stays = self
                .gate
                .waiting()
                .iter()
                .any(|now| now.ticket == one.ticket)
                .then_some(one.ticket);
            if !self.sound() {
                return;
            }
        }
        if self.planes[plane].ticks() {
            self.judge.wrong.push("a tick neither ends nor makes a call".to_owned());
        }
    }

    fn tick(&mut self, plane: usize) {
        if self.planes[plane].rests() {
            self.planes[plane].tick();
            self.planes[plane].began = self.step;
            let alone = self.planes.len() == 1;
            let limited = self.sim.with(|world| world.now < self.limited);
            self.planes[plane].whole = (alone && !limited).then_some(self.step);
            self.note(&format!("{plane} ticks"));
            self.poll(plane);
        }
    }

    fn let_through(&mut self, one: Waiting) {
        let nth = self.made.get(one.name).copied().unwrap_or_default() + 1;
        let due = |(_, (call, _)): &(usize, &(Call, Fault))| match call {
            Call::Any(n) => *n == self.report.calls,
            Call::Named(name, n) => name == one.name && *n == nth,
        };
        let mut faults = self.scenario.faults.iter().enumerate().filter(|_| self.wild);
        let fault = faults.find(due);
        let fate = fault.map_or(Fate::Done, |(_, (_, fault))| fault.fate());
        if let Some((n, (_, fault))) = fault {
            if fate.bites(one.name) {
                self.report.suffered.push(*fault);
            }
            self.report.fell.push((n, Call::Named(one.name.to_owned(), nth)));
        }
        self.made.insert(one.name, nth);
        self.newest = Some(one.name);
        self.report.calls += 1;
        self.report.faults += u32::from(fate != Fate::Done);
        if fate == Fate::Stale {
            let began = &mut self.planes[one.plane].began;
            *began = (*began).min(self.replicated);
        }
        self.note(&format!("{} {} {fate:?}", one.plane, one.name));
        if fate != Fate::Done {
            self.planes[one.plane].whole = None;
            self.disturbed();
        }
        if let Fate::Before(kind) | Fate::After(kind) = fate
            && let PortErrorKind::RateLimited { until } = kind
        {
            // As long as the loop waits it out, which is a while even if the limit has passed
            // already.
            let now = self.sim.with(|world| world.now);
            self.limited = self.limited.max(trouble::retry_at(1, Some(until), now));
        }
        self.gate.grant(one.ticket, fate);
        let tick = self.planes[one.plane].tick_of(self.scenario.setting.daemon);
        self.poll(one.plane);
        self.refused();
        if self.gate.take_died() {
            self.crash(one.plane);
        }
        let answered = fate == Fate::Done;
        let Waiting { plane, name: call, since, ticket, .. } = one;
        let made = self.asked.remove(&ticket).unwrap_or(self.step);
        if call == "store.switches" && answered {
            self.planes[plane].switches = made;
        }
        if call == "executor.start" {
            self.sim.with(acts::capped);
        }
        self.look(Some(By { plane, call, since, made, tick, answered }));
        if let Some(tick) = self.planes[plane].ticked.take() {
            let mut judge = std::mem::take(&mut self.judge);
            self.sim.with(|world| judge.ticked(world, &tick));
            self.judge = judge;
        }
        if self.wild && self.scenario.seed.is_none() {
            self.due();
        }
    }

    fn poll(&mut self, plane: usize) {
        if self.planes[plane].poll() {
            // A daemon that ended could not begin, and is started again.
            self.crash(plane);
        }
        if !self.gate.waiting().iter().any(|one| one.plane == plane) {
            let began = self.step;
            let plane = &mut self.planes[plane];
            if !plane.ticks() {
                plane.began = began;
            }
        }
    }

    /// Takes note of refusals because of a limit, which disturb every tick under way.
    fn refused(&mut self) {
        let told = self.sim.with(|world| {
            let newest = world.tracker.asked.get(self.refusals..).unwrap_or_default();
            self.refusals = world.tracker.asked.len();
            let told = newest.iter().filter_map(|asked| asked.told);
            self.report.limited += told.clone().count() as u32;
            let told = told.max();
            told.map(|until| trouble::retry_at(1, Some(until), world.now))
        });
        if let Some(until) = told {
            self.limited = self.limited.max(until);
            for plane in &mut self.planes {
                plane.whole = None;
            }
        }
    }

    /// From now on what must happen within a time may take longer.
    fn disturbed(&mut self) {
        let until = self.limited;
        let now = self.sim.with(|world| world.now);
        self.judge.disturbed(now.max(until));
    }

    fn crash(&mut self, plane: usize) {
        self.note(&format!("{plane} dies"));
        self.report.crashes += 1;
        let new = self.new_plane(plane);
        let dead = std::mem::replace(&mut self.planes[plane], new).owner;
        if self.scenario.setting.buries {
            self.sim.with(|world| world.store.dead.insert(dead));
        }
        self.judge.died(plane);
    }

    fn world_goes_on(&mut self) {
        self.note("the world goes on");
        self.sim.happen_late();
        self.sim.with(World::step);
        self.look(None);
    }

    fn time_passes(&mut self, by: SignedDuration) {
        self.note(&format!("{by} pass"));
        if by.is_negative() {
            self.judge.went_back();
        }
        self.sim.advance(by);
        for plane in 0..self.planes.len() {
            self.poll(plane);
        }
        if self.rng.chance(30) {
            self.sim.with(World::replicate);
            self.replicated = self.step + 1;
        }
        self.look(None);
    }

    fn look(&mut self, by: Option<By>) {
        self.step += 1;
        for one in self.gate.waiting() {
            self.asked.entry(one.ticket).or_insert(self.step);
        }
        let (step, mut judge) = (self.step, std::mem::take(&mut self.judge));
        self.sim.with(|world| judge.look(world, step, by));
        self.judge = judge;
        self.hooks();
    }

    fn sound(&self) -> bool {
        self.judge.wrong.is_empty()
    }

    fn note(&mut self, what: &str) {
        let line = self.sim.with(|world| format!("{} {} {what}", self.step, world.now));
        self.add_to_hash(&line);
        if self.lines.len() >= 2 * TAIL {
            self.lines.drain(..TAIL);
        }
        self.lines.push(line);
    }

    fn add_to_hash(&mut self, line: &str) {
        for byte in line.bytes() {
            self.report.hash = (self.report.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    fn end(mut self) -> Report {
        let told = self.sim.with(|world| {
            let rows = world.store.runs.values().flat_map(|kept| &kept.journal);
            let rows = rows.map(|row| row.transition.clone());
            let (issues, remotes) = (&world.tracker.issues, &world.git.remotes);
            let rest =
                format!("{issues:?} {:?} {remotes:?} {:?}", world.doorbells.rung, world.archive);
            rows.chain([rest]).collect::<Vec<_>>()
        });
        for text in told {
            self.add_to_hash(&text);
        }
        let runs = self.sim.with(|world| world.store.all());
        let ends = runs.iter().filter_map(|run| run.conclusion.as_ref());
        self.report.ends = ends.map(|conclusion| conclusion.end).collect();
        self.report.steps = self.step;
        self.report.runs = runs.len() as u32;
        self.report.wrong = self.judge.wrong.first().cloned();
        if self.report.wrong.is_some() {
            let from = self.lines.len().saturating_sub(TAIL);
            let mut tail = self.sim.with(|world| story_of(world));
            for line in &self.lines[from..] {
                let line: String = line.chars().take(160).collect();
                let _ = writeln!(tail, "{line}");
            }
            self.report.tail = tail;
        }
        self.report
    }
}
