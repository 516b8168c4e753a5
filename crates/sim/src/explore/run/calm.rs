//! The calm phase: nothing fails any more, nobody acts, and everything must come to an end.

use afk_core::ids::RepoName;
use afk_core::issue::Permission;
use afk_engine::ports::JobState;
use jiff::SignedDuration;

use super::Story;
use crate::world::{Lease, World};

/// Rounds of calm after which whatever has not ended counts as stuck.
const CALM: u32 = 600;
/// Rounds that are five seconds long; later ones take a minute.
const HALF: u32 = CALM / 2;

impl Story<'_> {
    /// Goes on until nothing is in progress and nothing could be dispatched.
    pub(super) fn calm(&mut self) {
        self.wild = false;
        for plane in &mut self.planes {
            plane.whole = None;
        }
        self.sim.happen_late();
        let repos = self.scenario.setting.repos();
        let dead = self.scenario.setting.dead_webhook;
        self.sim.with(|world| calmed(world, &repos, dead));
        self.disturbed();
        self.note("calm");
        for round in 0..CALM {
            if self.scenario.setting.daemon {
                self.serve();
            } else {
                for plane in 0..self.planes.len() {
                    self.whole_tick(plane);
                }
            }
            if !self.sound() {
                return;
            }
            self.world_goes_on();
            // Usage limits are waited out for a quarter of an hour each.
            let pause = match round {
                // A dead doorbell is given up only after a day.
                _ if self.sim.with(|world| only_rings(world)) => 600,
                0..HALF => 5,
                _ => 60,
            };
            self.time_passes(SignedDuration::from_secs(pause));
            let (judge, planes) = (&self.judge, &self.planes);
            let dead = |lease: &Lease| !planes.iter().any(|plane| plane.owner == lease.owner);
            let over = |world: &mut World| {
                // The leases of a dead control plane are free only once they have expired.
                let mut leases = world.store.leases.values();
                let awaited = leases.any(|lease| lease.until > world.now && dead(lease));
                !awaited && at_rest(world) && judge.waiting(world).is_none()
            };
            if round > 3 && self.sim.with(over) {
                break;
            }
        }
        let mut judge = std::mem::take(&mut self.judge);
        self.sim.with(|world| {
            judge.rest(world);
            if world.bad.is_none() {
                judge.replayed(world);
            }
        });
        self.judge = judge;
    }
}

/// Repairs what fails, lifts the switches, and lets people merge; only a dead webhook stays dead.
fn calmed(world: &mut World, repos: &[RepoName], dead: bool) {
    let switches = &mut world.store.switches;
    (switches.halt, switches.pause) = (None, None);
    switches.frozen.clear();
    world.store.unreadable_switches = false;
    world.config.kill_switch = false;
    world.bad_config = None;
    world.doorbells.broken.retain(|name| dead && name == "webhook");
    world.tracker.mute.clear();
    world.tracker.limited.clear();
    world.tracker.limits.quotas.clear();
    world.tracker.limits.secondary.clear();
    world.tracker.permissions.insert("ann".to_owned(), Permission::Write);
    world.jobs.hanging.clear();
    world.jobs.absent.clear();
    world.jobs.flakes = 0;
    world.stages.says.clear();
    world.pulls.merging = true;
    world.git.fates.clear();
    world.git.refusing.clear();
    world.agents.stubborn = false;
    world.agents.missing = false;
    for repo in repos {
        if !world.config.allowlist.contains(repo) {
            world.config.allowlist.insert(repo.clone());
        }
    }
}

/// Whether no run is live, no job runs, no request is open and no doorbell is left to ring.
fn at_rest(world: &World) -> bool {
    let live = world.store.all().iter().any(|run| run.settled_at.is_none());
    let jobs = world.jobs.jobs.values().any(|job| matches!(job.state, JobState::Running));
    let answered = world.store.requests.iter().all(|(_, request)| request.answered.is_some());
    !live && !jobs && answered && world.all_rung()
}

/// Whether only doorbells are left to ring, each of which has failed many times.
fn only_rings(world: &World) -> bool {
    let live = world.store.all().iter().any(|run| run.settled_at.is_none());
    let waits = world.store.outbox.values().filter(|send| send.waits());
    !live
        && !world.all_rung()
        && waits.min_by_key(|send| send.attempts).is_some_and(|send| send.attempts > 8)
}
