//! Fetches the facts that gates decide on: the fleet from configuration and store, the rest from
//! the tracker and the git remote. What cannot be read is marked as unreadable.

use std::collections::{BTreeSet, HashMap, HashSet};

use afk_core::blockers::{MOST, blockers};
use afk_core::config::{Policy, Repo};
use afk_core::digest::Digest;
use afk_core::gates::{
    BaseHealth, Fact, Fleet, Needed, PausedBy, RemoteFacts, RepoFacts, SwitchReading,
};
use afk_core::ids::{Actor, At, IssueRef, Oid, RepoName, RunId};
use afk_core::issue::{BlockerState, Permission};
use afk_core::proof::Verify;
use afk_core::request::Request;
use afk_core::run::Run;
use afk_core::shared::Shared;
use afk_core::trust::{OnBehalf, ReleaseRefusal, Trust, trust};
use afk_core::usd::Usd;
use afk_core::verdict::{StageAnswer, Verdict, fold};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::machine::Freshness;
use super::{HomeListing, stopped};
use crate::Engine;
use crate::bounds::within;
use crate::paced::Polled;
use crate::ports::{
    DayCaps, Filter, IssueView, MemoKey, PortError, PortErrorKind, PortResult, Spent, StageQuery,
    StoredRun, Switches,
};
use crate::switches::Brake;

/// Time limit for the facts about one issue.
pub(super) const FACTS: SignedDuration = SignedDuration::from_mins(1);
/// How many of a repo's newest runs are searched for a verdict on its default branch.
const RECENT: u32 = 20;

/// For how long after `verify` failed on a head no run is begun on that head: after the first
/// failure, and at most. The time doubles with each failure.
const BASE_FAILS: [SignedDuration; 2] =
    [SignedDuration::from_mins(30), SignedDuration::from_hours(12)];

/// The remembered fact that `verify` fails on a head.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BaseFailed {
    /// When `verify` failed there last.
    pub(crate) at: At,
    /// How often it failed there.
    pub(crate) times: u32,
    /// Why it failed, in a sentence for people.
    pub(crate) why: String,
}

impl BaseFailed {
    /// For how long after `at` the fact holds issues back.
    fn holds(&self) -> SignedDuration {
        let [first, most] = BASE_FAILS;
        let doubled = first.checked_mul(1 << self.times.saturating_sub(1).min(16));
        doubled.map_or(most, |doubled| doubled.min(most))
    }
}

/// The key under which it is remembered that `verify` of `repo` fails on `head`.
pub(crate) fn base_memo(repo: &Repo, head: &Oid) -> MemoKey {
    let command = match &repo.verify {
        Verify::None => Digest::of_list::<String>(&[]),
        Verify::Command(argv) => Digest::of_list(argv),
    };
    MemoKey { kind: "base-fails".to_owned(), tree: head.to_string(), command: command.to_string() }
}

impl Engine {
    /// The local facts: configuration, switches, live runs, spending; for all repos, or for `only`
    /// one. For `own`, an admitted run, spending leaves out what that run itself has reserved.
    pub(super) async fn fleet(
        &self,
        config: &Policy,
        pickup: Option<&String>,
        switches: Option<Switches>,
        live: &[StoredRun],
        only: Option<&RepoName>,
        own: Option<&Run>,
    ) -> PortResult<Fleet> {
        let readable = switches.is_some();
        let switches = switches.unwrap_or_default();
        let thrown = |on: bool| match (readable, on) {
            (false, _) => SwitchReading::Unreadable,
            (true, true) => SwitchReading::On,
            (true, false) => SwitchReading::Off,
        };
        let kill_switch = match pickup {
            Some(_) => SwitchReading::Unreadable,
            None => thrown(config.kill_switch),
        };
        let caps = DayCaps::of(config, self.ports.clock.now());
        let left =
            |cap: Option<Usd>, spent| cap.map(|cap: Usd| cap.saturating_sub(spent).as_micros());
        let mut spent = match caps.repo.or(caps.all) {
            Some(_) => self.ports.store.spent(caps.start).await?,
            None => Spent::default(),
        };
        if let Some(run) = own {
            // The run's own reservation must not refuse it.
            let counted = run.spent() + run.reserved();
            spent.all = spent.all.saturating_sub(counted);
            if let Some(here) = spent.by_repo.get_mut(&run.issue.repo) {
                *here = here.saturating_sub(counted);
            }
        }
        let is_wanted = |name: &RepoName| only.is_none_or(|only| only == name);
        let enrolled: HashSet<&RepoName> =
            config.allowlist.iter().filter(|name| is_wanted(name)).collect();
        let runs = live.iter().map(|stored| &stored.run);
        let at_work: Vec<&Run> = runs.filter(|run| run.holds_lock() || run.wants_lock()).collect();
        // Several may wait in one repo, where only one at a time can be at work. The repo of `own`
        // has that run's place already.
        let mut busy: BTreeSet<&RepoName> = at_work.iter().map(|run| &run.issue.repo).collect();
        busy.retain(|repo| own.is_none_or(|own| own.issue.repo != **repo));
        let mut repos = HashMap::new();
        for (name, repo) in config.repos.iter().filter(|(name, _)| is_wanted(name)) {
            let here = spent.by_repo.get(name).copied().unwrap_or_default();
            let freeze = switches.freeze_of(name);
            let facts = RepoFacts {
                enrolled: enrolled.contains(name),
                freeze: thrown(freeze.is_some()),
                freeze_why: freeze.map(|freeze| freeze.thrown.why.clone()),
                // Filled in by `look_at_machine`, for the repos that need it.
                machine: None,
                live: at_work.iter().find(|run| run.issue.repo == *name).map(|run| run.id),
                run_budget: config.budget(repo).as_micros(),
                spend_left: left(caps.repo, here),
            };
            repos.insert(name.clone(), facts);
        }
        Ok(Fleet {
            kill_switch,
            halt: thrown(switches.halt.is_some()),
            pause: switches.pause.map(|pause| PausedBy { by: pause.by, why: pause.why }),
            busy_repos: busy.len() as u32,
            spend_left: left(caps.all, spent.all),
            repos,
        })
    }

    /// Open, ready issues in those of `repos`, which share a home, that pass the local gates. If
    /// the tracker of a repo does not answer, only that repo is left out.
    pub(super) async fn candidates(
        &self,
        brake: &Brake,
        repos: &BTreeSet<RepoName>,
    ) -> PortResult<HomeListing> {
        let (config, pickup) = self.ports.settings.current();
        if stopped(&config, pickup.as_ref(), brake) {
            return Ok(HomeListing::default());
        }
        let live = self.ports.store.live().await?;
        let fleet =
            self.fleet(&config, pickup.as_ref(), brake.switches(), &live, None, None).await?;
        let now = self.ports.clock.now();
        let wanted: Vec<RepoName> = {
            let mut troubles = self.troubles();
            troubles.retain(|repo| fleet.repos.get(repo).is_some_and(|facts| facts.enrolled));
            let may = |name: &&RepoName| {
                let facts = fleet.repos.get(*name);
                repos.contains(*name)
                    && facts.is_some_and(|facts| facts.live.is_none() && !facts.freeze.stops())
                    && !troubles.waits(name, now)
            };
            config.allowlist.iter().filter(may).cloned().collect()
        };
        let mut listed = HomeListing::default();
        for (repo, ready) in self.trackers.ready_of(wanted, &config.ready_label).await {
            match ready {
                Ok(mut issues) => {
                    issues.retain(|issue| !is_aside(&live, &issue.issue));
                    listed.issues.extend(issues);
                    listed.looked.answered.push(repo);
                }
                Err(error) => listed.looked.failed(&repo, &error),
            }
        }
        Ok(listed)
    }

    /// What tracker and git remote say about one issue; an error if the issue itself cannot be
    /// read, or not everything in time.
    pub(super) async fn remote_facts(
        &self,
        config: &Policy,
        issue: &IssueRef,
        brake: &Brake,
        freshness: Freshness,
    ) -> PortResult<RemoteFacts> {
        let facts = async {
            let view = self.ports.tracker.issue(issue).await?;
            Ok(self.facts_of(config, issue, &view, brake, freshness).await)
        };
        within(&*self.ports.clock, FACTS, format!("reading {issue}"), facts).await
    }

    async fn facts_of(
        &self,
        config: &Policy,
        issue: &IssueRef,
        view: &IssueView,
        brake: &Brake,
        freshness: Freshness,
    ) -> RemoteFacts {
        let mut blocking = blockers(&view.issue.body, &issue.repo);
        let native = view.native_blockers.iter().filter(|native| !blocking.contains(native));
        let native: Vec<IssueRef> = native.cloned().collect();
        blocking.extend(native);
        let freshness = match config.base_health {
            BaseHealth::Attribute => freshness,
            // Since the last look a red commit may have become the head.
            BaseHealth::Wait => Freshness::Now,
        };
        let remote = self.look_at_remote(&issue.repo, brake, freshness).await;
        let base = match (config.base_health, &remote.head) {
            (BaseHealth::Wait, Some(head)) => Some(self.health(config, &issue.repo, head).await),
            (BaseHealth::Attribute, _) | (BaseHealth::Wait, None) => None,
        };
        let base_fails = match &remote.head {
            Some(head) => self.base_fails(config, &issue.repo, head).await,
            None => None,
        };
        let (aside, foreign_lock) = self.locks(config, issue).await;
        RemoteFacts {
            base_fails,
            remote: remote.needed,
            aside,
            foreign_lock,
            trust: self.trust(config, issue, view).await,
            blockers: self.states(config, &issue.repo, blocking).await,
            base,
        }
    }

    /// Why `verify` fails on `head`, if a run found that out not long ago. After a while a run may
    /// check again, and a person's run at once: the failure may have been chance, or the machine.
    async fn base_fails(&self, config: &Policy, repo: &RepoName, head: &Oid) -> Option<String> {
        let waits = |table: &&Shared<Repo>| table.waits_for_verify(config.base_health);
        let table = config.repos.get(repo).filter(waits)?;
        let memo = base_memo(table, head);
        let known = self.ports.store.recall(&memo).await.ok()??;
        let known: BaseFailed = serde_json::from_value(known).ok()?;
        let age = self.ports.clock.now().duration_since(known.at);
        // A time to come is from before the clock was set back.
        (SignedDuration::ZERO..known.holds()).contains(&age).then_some(known.why)
    }

    /// The verdict on the default branch's `head`: what runs of this store found out about it, or
    /// else what its polled stages say. Stages that run a command answer only for commits that a
    /// run tested.
    async fn health(&self, config: &Policy, repo: &RepoName, head: &Oid) -> Fact<Verdict> {
        let Some(table) = config.repos.get(repo) else { return Fact::Known(Verdict::Pending) };
        let stages = config.limits(table).stages;
        let recent = Filter { repo: Some(repo.clone()), limit: RECENT, ..Filter::default() };
        let runs = match self.ports.store.runs(&recent).await {
            Err(error) => return Fact::Unreadable(error.chain()),
            Ok(runs) => runs,
        };
        if let Some(known) = runs.iter().find_map(|kept| kept.run.verdict_on(head, stages.as_ref()))
        {
            return Fact::Known(known);
        }
        match self.in_time("the stages of the default branch", self.polled(table, repo, head)).await
        {
            Err(error) => Fact::Unreadable(error.chain()),
            Ok(verdict) => Fact::Known(verdict),
        }
    }

    /// What the polled stages say of `head`, whether a run landed it or not: they are asked in
    /// order, up to the first that has not succeeded. Polls are paced, so that a tick asks once for
    /// all its issues.
    async fn polled(&self, table: &Repo, repo: &RepoName, head: &Oid) -> PortResult<Verdict> {
        let mut answers = Vec::new();
        for stage in table.stages.iter().filter(|stage| !stage.is_run()) {
            let query = StageQuery {
                run: RunId::NOBODY,
                repo: repo.clone(),
                stage: stage.clone(),
                commit: head.clone(),
                landed: true,
                again: 0,
            };
            let answer = match self.stages.poll(&query).await? {
                Polled::Says(report, _) => report.answer,
                Polled::NotYet(_) => StageAnswer::Pending,
            };
            answers.push(answer);
            if answer != StageAnswer::Success {
                break;
            }
        }
        Ok(fold(answers))
    }

    async fn states(
        &self,
        config: &Policy,
        repo: &RepoName,
        blocking: Vec<IssueRef>,
    ) -> Fact<Vec<(IssueRef, BlockerState)>> {
        if blocking.len() > MOST {
            return Fact::Unreadable(format!("it names more than {MOST} issues as blockers"));
        }
        let mut states = Vec::new();
        for blocker in blocking {
            // An issue in a repo that is not configured is read through the tracker of the repo
            // whose issue it blocks.
            let home = if config.repos.contains_key(&blocker.repo) { &blocker.repo } else { repo };
            let state = match self.ports.tracker.blocker(home, &blocker).await {
                Err(error) if error.kind == PortErrorKind::NotFound => BlockerState::Gone,
                state => state.unwrap_or(BlockerState::Unreadable),
            };
            states.push((blocker, state));
        }
        Fact::Known(states)
    }

    /// The issue's own run, if that stepped aside; and an issue of the repo that has the in-progress
    /// label although no live run works it.
    async fn locks(
        &self,
        config: &Policy,
        issue: &IssueRef,
    ) -> (Option<RunId>, Fact<Option<IssueRef>>) {
        let locks = async {
            let label = &config.in_progress_label;
            let locked = self.ports.tracker.labelled(&issue.repo, label).await?;
            PortResult::Ok((locked, self.ports.store.live_runs().await?))
        };
        match locks.await {
            Err(error) => (None, Fact::Unreadable(error.chain())),
            Ok((locked, live)) => {
                // A run that stepped aside takes its label off: one that is there is a person's.
                let ours =
                    |issue: &IssueRef| live.iter().any(|one| one.issue == *issue && one.holds_lock);
                let foreign = locked.into_iter().find(|issue| !ours(issue));
                let aside = live.iter().find(|one| one.issue == *issue && one.is_aside());
                (aside.map(|one| one.run), Fact::Known(foreign))
            }
        }
    }

    pub(super) async fn trust(
        &self,
        config: &Policy,
        issue: &IssueRef,
        view: &IssueView,
    ) -> Fact<Trust> {
        let behalf = async {
            let mut asked = self.ports.store.requests_on(issue).await?;
            asked.retain(|asked| asked.what == Request::Release);
            // Without a request our own account counts like any bot.
            let own = if asked.is_empty() {
                None
            } else {
                Some(self.ports.tracker.own_account(&issue.repo).await?.id)
            };
            PortResult::Ok((asked, own))
        };
        let (asked, own) = match behalf.await {
            Ok(behalf) => behalf,
            Err(error) => return Fact::Unreadable(error.chain()),
        };
        let behalf = own.as_ref().map_or(OnBehalf::NOBODY, |own| OnBehalf { own, asked: &asked });
        let actors = view.events.iter().filter_map(|event| event.actor.as_ref());
        let actors = actors.chain(asked.iter().map(|asked| &asked.by));
        let permissions = self.permissions(issue, actors).await;
        let of = |actor: &Actor| permissions.get(&actor.id).copied();
        let trust = trust(&view.events, &config.ready_label, &config.trust, behalf, &of);
        let is_on = view.issue.has(&config.ready_label);
        Fact::Known(match trust {
            Trust::Trusted { .. } if !is_on => Trust::Refused { why: ReleaseRefusal::LabelGone },
            Trust::Trusted { .. } | Trust::Refused { .. } => trust,
        })
    }

    /// Whether a trusted person put `label` on the issue, by the rules for the ready label. Unlike
    /// that one, it cannot be put on by a request.
    pub(crate) async fn trust_in(
        &self,
        config: &Policy,
        issue: &IssueRef,
        view: &IssueView,
        label: &str,
    ) -> Trust {
        let actors = view.events.iter().filter_map(|event| event.actor.as_ref());
        let permissions = self.permissions(issue, actors).await;
        let of = |actor: &Actor| permissions.get(&actor.id).copied();
        trust(&view.events, label, &config.trust, OnBehalf::NOBODY, &of)
    }

    /// The permissions of `actors` on the issue's repo, by account id. One that could not be read
    /// is missing, and the core does not trust its actor.
    async fn permissions<'a>(
        &self,
        issue: &IssueRef,
        actors: impl Iterator<Item = &'a Actor>,
    ) -> HashMap<String, Permission> {
        let mut permissions: HashMap<String, Permission> = HashMap::new();
        for actor in actors {
            if permissions.contains_key(&actor.id) {
                continue;
            }
            match self.ports.tracker.permission(&issue.repo, actor).await {
                Ok(permission) => {
                    permissions.insert(actor.id.clone(), permission);
                }
                Err(error) => {
                    tracing::warn!(%issue, error = error.chain(), "permission unreadable");
                }
            }
        }
        permissions
    }
}

/// Whether a run of `issue` waits for people to decide on its pull request: then the issue gets no
/// second run.
fn is_aside(live: &[StoredRun], issue: &IssueRef) -> bool {
    live.iter().any(|stored| stored.run.issue == *issue && stored.run.aside_since.is_some())
}

/// The facts about an issue of which nothing could be read.
pub(super) fn unreadable(error: &PortError) -> RemoteFacts {
    let why = error.chain();
    RemoteFacts {
        base_fails: None,
        remote: Needed::Unknown(why.clone()),
        aside: None,
        foreign_lock: Fact::Unreadable(why.clone()),
        trust: Fact::Unreadable(why.clone()),
        blockers: Fact::Unreadable(why),
        base: None,
    }
}
