//! What happens outside the loop, applied to the world.

use std::collections::BTreeSet;

use afk_core::ids::{IssueRef, RepoName};
use afk_core::issue::Permission;
use afk_core::request::{PersonRequest, in_comment};
use afk_core::run::{PullState, TurnEnd};
use afk_engine::ports::{JobState, Switch, SwitchState};

use jiff::SignedDuration;

use super::scenario::{Decided, Happens, PushEnd};
use crate::story::repo;
use crate::world::{PushFate, TurnState, World, person};

impl Happens {
    /// Applies it to the world; an event that names a missing issue does nothing.
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
            Self::Comment(issue, body, who) => {
                let there = named(issue).filter(|issue| world.tracker.issues.contains_key(issue));
                if let Some(issue) = there.filter(|it| !world.tracker.mute.contains(&it.repo)) {
                    world.unlimited(|world| world.write_comment(&issue, body, &person(who)));
                }
            }
            Self::Ask(issue, words) => ask(world, issue, words),
            Self::Push(..)
            | Self::Forge(_)
            | Self::Claim(..)
            | Self::Rewind(_)
            | Self::RefusePushes(..) => self.on_remote(world),
            Self::Halt(on) => throw(world, &Switch::Halt, *on),
            Self::Pause(on) => throw(world, &Switch::Pause, *on),
            Self::Freeze(name, on) => throw(world, &Switch::Freeze(repo(name)), *on),
            Self::Kill(on) => world.config.kill_switch = *on,
            Self::Enroll(name, on) => {
                let name = repo(name);
                world.config.allowlist.retain(|other| *other != name);
                if *on {
                    world.config.allowlist.insert(name);
                }
            }
            Self::Bad(on) => world.bad_config = on.then(|| "it does not parse".to_owned()),
            Self::Unreadable(on) => world.store.unreadable_switches = *on,
            Self::NextPush(pushed) => world.git.fates.push_back(pushed.fate()),
            Self::Decide(name, how) => decide(world, &repo(name), *how),
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
            Self::NoAgent(on) => world.agents.missing = *on,
            Self::Stubborn(on) => world.agents.stubborn = *on,
            Self::Bells(broken) => world.break_doorbells(*broken),
            Self::Bell(name, broken) => {
                if *broken {
                    world.doorbells.broken.insert(name.clone());
                } else {
                    world.doorbells.broken.remove(name);
                }
            }
            Self::Mute(name, on) => {
                let name = repo(name);
                if *on {
                    world.tracker.mute.insert(name);
                } else {
                    world.tracker.mute.remove(&name);
                }
            }
            Self::Limit(name, seconds) => {
                let until = world.now + SignedDuration::from_secs(*seconds);
                world.tracker.limited.insert(repo(name), until);
            }
            Self::Quota(name, calls, seconds) => {
                let home = world.tracker.home(&repo(name));
                let window = SignedDuration::from_secs(*seconds);
                world.tracker.limits.quotas.insert(home, (*calls, window));
            }
            Self::Slow(name) => world.limit_for_a_minute(&repo(name)),
            Self::Flake => world.jobs.flakes += 1,
            Self::HangStages(on) => put(&mut world.jobs.hanging, *on),
            Self::NoStages(on) => put(&mut world.jobs.absent, *on),
            Self::Permit(on) => {
                let may = if *on { Permission::Write } else { Permission::Read };
                world.tracker.permissions.insert("ann".to_owned(), may);
            }
            // These happen to control planes, to time and to webhooks, not to the world.
            Self::Jump(_)
            | Self::Crash(_)
            | Self::Hook(..)
            | Self::HookLie(..)
            | Self::Deaf(..) => {}
        }
    }

    /// Applies what happens to a remote.
    fn on_remote(&self, world: &mut World) {
        match self {
            Self::Push(name, path, text) => {
                world.somebody_lands(&repo(name), &[(path, text)]);
            }
            Self::Rewind(name) => {
                world.somebody_rewinds(&repo(name));
            }
            Self::RefusePushes(name, true) => {
                world.git.refusing.insert(repo(name), "the branch is locked".to_owned());
            }
            Self::RefusePushes(name, false) => {
                world.git.refusing.remove(&repo(name));
            }
            Self::Forge(name) => {
                world.somebody_forges(&repo(name));
            }
            Self::Claim(name, how) => {
                world.somebody_claims(&repo(name), *how);
            }
            _ => {}
        }
    }
}

impl PushEnd {
    fn fate(self) -> PushFate {
        match self {
            Self::Overtaken => PushFate::Overtaken(vec![("src/other", "first")]),
            Self::Followed => PushFate::Followed(vec![("src/other", "next")]),
            Self::AnswerLost => PushFate::LandedUnknown,
            Self::Lost => PushFate::LostUnknown,
            Self::Refused => PushFate::Refused("protected"),
        }
    }
}

fn named(issue: &str) -> Option<IssueRef> {
    issue.parse().ok()
}

/// Decides on every open pull request of a repo.
fn decide(world: &mut World, repo: &RepoName, how: Decided) {
    match how {
        Decided::Merged => world.people_merge(repo),
        Decided::Closed => world.people_close(repo, &PullState::Closed),
        Decided::Superseded => world.people_close(repo, &PullState::Superseded),
    }
}

/// Makes a request to the live run of `issue` as ann, as `afk say` and the like do.
fn ask(world: &mut World, issue: &str, words: &str) {
    let Some(Ok(what)) = in_comment(words) else { return };
    let runs = world.store.all();
    let live = runs.iter().find(|run| run.settled_at.is_none() && run.issue.to_string() == issue);
    let Some(run) = live.map(|run| run.id) else { return };
    let id = format!("by-hand:{}", world.store.requests.len());
    world.add_request(run, &PersonRequest { id, by: person("ann"), at: world.now, what });
}

/// Adds the program of every stage to `programs`, or removes it.
fn put(programs: &mut BTreeSet<String>, on: bool) {
    if on {
        programs.insert("ci".to_owned());
    } else {
        programs.remove("ci");
    }
}

fn throw(world: &mut World, switch: &Switch, on: bool) {
    let (by, why) = ("ann".to_owned(), "she says so".to_owned());
    let state = SwitchState { by, at: world.now, why };
    world.throw(switch, on.then_some(&state));
}
