//! Judges how long daemons, which look by themselves, leave an issue waiting that nothing keeps
//! from being dispatched: not at all after a webhook, and without one no longer than polls take.
//! And how long a run waits after a webhook told that its pull request or its stage is decided.
//!
//! After a disturbance (a call that fails, another tracker that does not answer) they may take time
//! to get over it. A limit of a tracker's account excuses only the repos of that account.

use std::collections::{BTreeMap, BTreeSet};

use afk_core::gates::BaseHealth;
use afk_core::ids::{At, IssueRef, RepoName};
use afk_core::run::{PullState, Run};
use afk_core::verdict::StageAnswer;
use jiff::SignedDuration;

use super::super::truth::all_open;
use super::Judge;
use crate::world::{HookSays, IssueRecord, Poll, World};

/// How long a disturbance excuses delays: a repo that failed is skipped for five minutes at most.
const DISTURBED: SignedDuration = SignedDuration::from_secs(400);
/// How long an issue, or a run, may wait after a webhook.
const RECEIVED: SignedDuration = SignedDuration::from_secs(2);
/// How long a stage is not polled again, whatever a webhook says of it.
const PAUSE: SignedDuration = SignedDuration::from_secs(5);
/// The answers with which a stage is decided.
const DECIDED: [StageAnswer; 3] = [StageAnswer::Success, StageAnswer::Failure, StageAnswer::Void];
/// How many poll intervals an issue may wait without a webhook: a repo that sends webhooks is
/// polled less often.
const POLLS: i32 = 8;

/// What was seen of issues that could be dispatched.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// Until when delays are excused.
    until: Option<At>,
    /// Since when each issue could have been dispatched.
    since: BTreeMap<IssueRef, At>,
}

impl Judge {
    /// Excuses delays from now until a while after `at`.
    pub(in super::super) fn disturbed(&mut self, at: At) {
        let until = at.checked_add(DISTURBED).unwrap_or(At::MAX);
        self.waits.until = self.waits.until.max(Some(until));
    }

    /// Judges what waits when no control plane has anything left to do before time passes.
    pub(in super::super) fn overdue(&mut self, world: &World) {
        let mut known = std::mem::take(&mut self.waits.since);
        let mut still = BTreeMap::new();
        for (issue, record) in &world.tracker.issues {
            if !self.could_begin(world, issue, record) {
                continue;
            }
            let since = known.remove(issue).unwrap_or(world.now);
            still.insert(issue.clone(), since);
            let from = self.waits.until.map_or(since, |until| since.max(until));
            let waited = world.now.duration_since(from);
            let poll = SignedDuration::from_secs(world.config.poll_seconds.cast_signed());
            if waited > poll * POLLS {
                self.wrong.push(format!("{issue} waits for {waited} and no poll finds it"));
            }
            let news = world.hooks.received.iter().rev().find(|received| {
                received.hook.repo == issue.repo
                    && received.at >= from
                    && world.now.duration_since(received.at) > RECEIVED
            });
            if let Some(received) = news {
                let at = received.at;
                self.wrong.push(format!("{issue} waits although a webhook came at {at}"));
            }
        }
        self.waits.since = still;
        let waits: Vec<String> =
            self.live().filter_map(|run| self.waits_in_vain(world, run)).collect();
        self.wrong.extend(waits);
    }

    /// What a run waits for although the control plane that works on it has been told that it is
    /// decided.
    fn waits_in_vain(&self, world: &World, run: &Run) -> Option<String> {
        let repo = &run.issue.repo;
        let switches = &world.store.switches;
        let free = run.conclusion.is_none()
            && run.cancel.is_none()
            && switches.halt.is_none()
            && switches.frozen.iter().all(|(frozen, _)| frozen != repo)
            && !world.store.unreadable_switches
            && !world.tracker.mute.contains(repo)
            && world.limited_until(repo).is_none();
        let lease = world.store.leases.get(&format!("run:{}", run.id)).filter(|_| free)?;
        let received = |what: &HookSays| {
            let by = |plane: usize| lease.owner.starts_with(&format!("plane-{plane}-"));
            let mut all =
                world.hooks.received.iter().rev().filter(|received| received.hook.repo == *repo);
            all.find(|received| by(received.plane) && received.hook.says == *what)
                .map(|received| received.at)
        };
        let from = |at: At| self.waits.until.map_or(at, |until| at.max(until));
        let branch = run.pull_branch();
        let pull = world.pulls.pulls.get(&(repo.clone(), branch.clone()));
        let decided = pull.map(|pull| pull.state.clone()).filter(|state| *state != PullState::Open);
        let seen = run.candidate().and_then(|candidate| candidate.pull_state());
        if let (Some(PullState::Open), Some(state)) = (seen, decided) {
            let at = received(&HookSays::Pull { branch: Some(branch), state })?;
            let late = world.now.duration_since(from(at)) > RECEIVED;
            return late.then(|| {
                format!("{} waits although a webhook told at {at} of its pull request", run.id)
            });
        }
        let asked = last_poll(world, run)?;
        let about = Some((asked.stage.clone(), asked.commit.clone()));
        let said = DECIDED
            .into_iter()
            .filter_map(|answer| received(&HookSays::Stage { about: about.clone(), answer }));
        let at = said.max().filter(|at| *at > asked.at)?;
        let may_be_asked = asked.at.checked_add(PAUSE).unwrap_or(At::MAX);
        let late = world.now.duration_since(from(at.max(may_be_asked))) > RECEIVED;
        late.then(|| format!("{} waits although a webhook told at {at} of its stage", run.id))
    }

    /// Whether nothing keeps `issue` from being dispatched now.
    fn could_begin(&self, world: &World, issue: &IssueRef, record: &IssueRecord) -> bool {
        let config = &world.config;
        let Some(repo) = config.repos.get(&issue.repo) else { return false };
        let at_work = self.live().filter(|run| run.holds_lock() || run.wants_lock());
        let at_work: BTreeSet<&RepoName> = at_work.map(|run| &run.issue.repo).collect();
        let free = at_work.len() < config.max_concurrent_runs as usize
            && !at_work.contains(&issue.repo)
            && !self.live().any(|run| run.issue == *issue);
        // With `wait`, a red default branch keeps it from that, whose verdict is not judged here.
        let base_counts = config.base_health == BaseHealth::Wait;
        free && !base_counts
            && !world.tracker.mute.contains(&issue.repo)
            && world.limited_until(&issue.repo).is_none()
            && all_open(world, issue, record)
            && self.fits(world, config.budget(repo))
    }
}

/// The last poll of a run, if it was about the newest candidate and found nothing decided; none
/// while a turn runs or prepared answers are left.
fn last_poll<'a>(world: &'a World, run: &Run) -> Option<&'a Poll> {
    let works = run.turn().is_some_and(|turn| turn.ended.is_none());
    let commit = &run.attempt()?.candidates.last().filter(|_| !works)?.commit;
    let poll = world.stages.polls.iter().rev().find(|poll| poll.run == run.id)?;
    let open = matches!(poll.told, Some(StageAnswer::None | StageAnswer::Pending));
    let prepared = world.stages.says.values().any(|says| !says.is_empty());
    (poll.commit == *commit && open && !prepared).then_some(poll)
}
