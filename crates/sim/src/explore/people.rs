//! What happens outside the loop, done to the world.

use afk_core::ids::IssueRef;
use afk_core::run::TurnEnd;
use afk_engine::ports::{JobState, Switch, SwitchState};

use super::scenario::Happens;
use crate::story::repo;
use crate::world::{TurnState, World, person};

impl Happens {
    /// Makes it so; what names an issue that is not there does nothing.
    pub(super) fn on(&self, world: &mut World) {
        match self {
            Self::Label(issue, label, on, who) => {
                if let Some(issue) = named(issue) {
                    world.set_label(&issue, label, *on, &person(who));
                }
            }
            Self::Open(issue, open, who) => {
                if let Some(issue) = named(issue) {
                    world.set_open(&issue, *open, &person(who));
                }
            }
            Self::Edit(issue, body, who) => {
                if let Some(issue) = named(issue) {
                    world.set_body(&issue, body, &person(who));
                }
            }
            Self::Push(name, path, text) => {
                world.somebody_lands(&repo(name), &[(path, text)]);
            }
            Self::Halt(on) => throw(world, &Switch::Halt, *on),
            Self::Pause(on) => throw(world, &Switch::Pause, *on),
            Self::Freeze(name, on) => throw(world, &Switch::Freeze(repo(name)), *on),
            Self::Kill(on) => world.config.kill_switch = *on,
            Self::Enroll(name, on) => {
                let name = repo(name);
                world.config.allowlist.retain(|other| *other != name);
                if *on {
                    world.config.allowlist.push(name);
                }
            }
            Self::Bad(on) => world.bad_config = on.then(|| "it does not parse".to_owned()),
            Self::Unreadable(on) => world.store.unreadable_switches = *on,
            Self::Fate(fate) => world.git.fates.push_back(fate.clone()),
            Self::LoseTurns => {
                for turn in world.agents.turns.values_mut() {
                    if turn.state == TurnState::Running {
                        turn.state = TurnState::Ended(TurnEnd::Lost);
                    }
                }
            }
            Self::LoseJobs => {
                for job in world.jobs.jobs.values_mut() {
                    if matches!(job.state, JobState::Running) {
                        job.state = JobState::Lost;
                    }
                }
            }
            Self::Bells(broken) => world.bells_broken = *broken,
            Self::Mute(name, on) => {
                let name = repo(name);
                if *on {
                    world.tracker.mute.insert(name);
                } else {
                    world.tracker.mute.remove(&name);
                }
            }
            // These are done to control planes and to time, not to the world.
            Self::Jump(_) | Self::Crash(_) => {}
        }
    }
}

fn named(issue: &str) -> Option<IssueRef> {
    issue.parse().ok()
}

fn throw(world: &mut World, switch: &Switch, on: bool) {
    let (by, why) = ("ann".to_owned(), "she says so".to_owned());
    let state = SwitchState { by, at: world.now, why };
    world.throw(switch, on.then_some(&state));
}
