//! Checks what a run needs before anything is spent on it: its agent and that agent's sign-in, the
//! sandbox and the disk for jobs, the git remote. What was found is believed for a moment. An agent
//! that a live run has found unable to work is missing for all other runs, too.
//!
//! A tick checks each agent that its candidates need once, so that the cost depends on the number
//! of agents and not on that of repos. Just before a run begins everything is checked again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use afk_core::checkout::Lands;
use afk_core::config::{Landing, Policy, Repo};
use afk_core::doorbell::{Doorbell, HoldRing};
use afk_core::gates::{Fleet, Needed};
use afk_core::hold::HoldCause;
use afk_core::ids::{AdapterName, At, IssueRef, Oid, RepoName};
use afk_core::issue::Issue;
use afk_core::run::{AgentOutage, Run};
use jiff::SignedDuration;

use super::mute::MuteServers;
use crate::Engine;
use crate::bounds::within;
use crate::ports::{CheckSpan, PortError, PortResult, StoredRun};
use crate::switches::Brake;

/// How long a tick believes what was found.
const BELIEVED: SignedDuration = SignedDuration::from_secs(10);
/// Time limit of one check.
const LOOK: SignedDuration = SignedDuration::from_secs(30);
/// How many findings about remotes are kept before old ones are dropped.
const MANY: usize = 256;

/// The newest findings.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    agents: HashMap<AdapterName, DatedFinding<Needed>>,
    jobs: Option<DatedFinding<Needed>>,
    remotes: HashMap<RepoName, DatedFinding<Remote>>,
    pub(super) mute: MuteServers,
}

/// What a check found, and when.
#[derive(Debug, Clone)]
struct DatedFinding<T> {
    looked: CheckSpan,
    what: T,
}

/// A git remote as it was found.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    /// Whether the remote can be read.
    pub(super) needed: Needed,
    /// The head of its default branch, if it can.
    pub(super) head: Option<Oid>,
}

/// How old a finding may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// It may be from a moment ago ([`BELIEVED`]).
    Recent,
    /// It must be made now.
    Now,
}

impl Engine {
    /// Checks what runs on `repos` need of their agents and of this machine, and adds the findings
    /// to the facts in `fleet`.
    pub(super) async fn look_at_machine(
        &self,
        config: &Policy,
        fleet: &mut Fleet,
        live: &[StoredRun],
        repos: &[&RepoName],
        freshness: Freshness,
    ) {
        let waited_for = agents_waited_for(config, live, self.ports.clock.now());
        let mut jobs = None;
        for &repo in repos {
            let Some((table, facts)) = config.repos.get(repo).zip(fleet.repos.get_mut(repo)) else {
                continue;
            };
            if facts.machine.is_some() {
                continue;
            }
            let jobs = match &jobs {
                Some(jobs) => jobs,
                None => jobs.insert(self.jobs_ready(freshness).await.what),
            };
            let agent =
                match waited_for.get(&table.agent).cloned().or_else(|| self.unfit(table, repo)) {
                    Some(why) => Needed::Missing(why),
                    None => self.agent_ready(&table.agent, repo, freshness).await.what,
                };
            facts.machine = Some(worse(agent, jobs));
        }
    }

    /// Why the agent of `repo` must not work on it: an agent that lands by itself does not wait for
    /// what the repo's `landing` asks for first.
    fn unfit(&self, table: &Repo, repo: &RepoName) -> Option<String> {
        // A missing executor is reported by `agent_ready`.
        let lands = self.ports.executor.checkout(repo).ok()?.lands();
        let waits = match table.landing {
            Landing::Direct => return None,
            Landing::Tested => "stages",
            Landing::PullRequest => "people",
        };
        match lands {
            Lands::ControlPlane => None,
            Lands::Agent => Some(format!(
                "the agent {} of {repo} pushes to the default branch by itself, and its landing is \
                 to wait for {waits}: set landing to \"direct\", or choose another agent",
                table.agent
            )),
        }
    }

    async fn agent_ready(
        &self,
        agent: &AdapterName,
        repo: &RepoName,
        freshness: Freshness,
    ) -> DatedFinding<Needed> {
        let found = self.findings().agents.get(agent).cloned();
        if let Some(found) = self.believed(found, freshness) {
            return found;
        }
        let ready =
            async { needed(self.in_time("the agent", self.ports.executor.ready(repo)).await) };
        let found = self.find(ready).await;
        self.findings().agents.insert(agent.clone(), found.clone());
        found
    }

    async fn jobs_ready(&self, freshness: Freshness) -> DatedFinding<Needed> {
        let found = self.findings().jobs.clone();
        if let Some(found) = self.believed(found, freshness) {
            return found;
        }
        let ready = async { needed(self.in_time("this machine", self.ports.jobs.ready()).await) };
        let found = self.find(ready).await;
        self.findings().jobs = Some(found.clone());
        found
    }

    /// Checks whether the git remote of `repo` can be read, and what its head is.
    pub(super) async fn look_at_remote(
        &self,
        repo: &RepoName,
        brake: &Brake,
        freshness: Freshness,
    ) -> Remote {
        let found = self.findings().remotes.get(repo).cloned();
        if let Some(found) = self.believed(found, freshness) {
            return found.what;
        }
        let token = brake.token();
        let read = async {
            let head = self.ports.git.remote_head(repo, &token);
            let read = self.in_time("the git remote", head).await;
            let head = read.as_ref().ok().cloned();
            Remote { needed: needed(read), head }
        };
        let found = self.find(read).await;
        let failed = matches!(found.what.needed, Needed::Unknown(_));
        let remote = self.ports.git.remote(repo);
        let mut findings = self.findings();
        if findings.mute.looked(repo, &remote, found.looked, failed) {
            tracing::warn!(
                repo = %repo,
                "the git remote does not answer: the repos on its server are skipped for a while"
            );
        }
        if findings.remotes.len() >= MANY {
            findings.remotes.retain(|_, old| is_recent(old.looked, found.looked.answered));
        }
        findings.remotes.insert(repo.clone(), found.clone());
        found.what
    }

    /// The holds of dispatch that people were told of. None in shadow mode, where nobody is told,
    /// and if the store cannot be read; the next tick tries again.
    pub(super) async fn announced_holds(&self, config: &Policy) -> Option<BTreeMap<HoldCause, At>> {
        if config.shadow {
            return None;
        }
        let told = self.in_time("reading what holds dispatch", self.ports.store.holds()).await;
        told.inspect_err(not_told).ok()
    }

    /// Rings once for each cause that holds dispatch while no run exists for it, and records causes
    /// that have cleared. Looks at the agents and the machine that `candidates` need, and at what
    /// was `told` before. Skips agents that a live run waits for: that run has rung.
    pub(super) async fn announce_holds(
        &self,
        config: &Policy,
        live: &[StoredRun],
        candidates: &[Issue],
        told: &BTreeMap<HoldCause, At>,
    ) {
        let waiting = agents_waited_for(config, live, self.ports.clock.now());
        let mut needed: BTreeMap<HoldCause, &IssueRef> = BTreeMap::new();
        for candidate in candidates {
            let issue = &candidate.issue;
            let Some(table) = config.repos.get(&issue.repo) else { continue };
            needed.entry(HoldCause::Agent(table.agent.clone())).or_insert(issue);
            needed.entry(HoldCause::Machine).or_insert(issue);
        }
        let store = &*self.ports.store;
        let causes: BTreeSet<&HoldCause> = needed.keys().chain(told.keys()).collect();
        for cause in causes {
            let DatedFinding { looked, what } = match cause {
                HoldCause::Machine => self.jobs_ready(Freshness::Recent).await,
                HoldCause::Agent(agent) if waiting.contains_key(agent) => continue,
                HoldCause::Agent(agent) => self.find_agent(config, agent).await,
            };
            let noted = match (what, needed.get(cause)) {
                (Needed::Missing(why), Some(issue)) if !told.contains_key(cause) => {
                    let since = looked.answered;
                    let ring = HoldRing { cause, issue, why: &why, since };
                    let sends = self.sends(&Doorbell::of_hold(&ring));
                    let hold = store.hold(cause, looked, &sends);
                    let noted = self.in_time("telling of a hold", hold).await;
                    noted.map(|new| new.then(|| tracing::warn!(%cause, why, "dispatch is held")))
                }
                (Needed::There, _) if told.contains_key(cause) => {
                    let unhold = store.unhold(cause, looked);
                    let noted = self.in_time("recording the end of a hold", unhold).await;
                    noted.map(|new| {
                        new.then(|| tracing::info!(%cause, "dispatch is no longer held"))
                    })
                }
                (Needed::There | Needed::Missing(_) | Needed::Unknown(_), _) => continue,
            };
            // The next tick tries again; nothing is held up by it.
            let _ = noted.inspect_err(not_told);
        }
    }

    /// Whether an agent is ready, asked through a repo that names it. An agent that no repo names
    /// any more counts as there, so that its hold ends.
    async fn find_agent(&self, config: &Policy, agent: &AdapterName) -> DatedFinding<Needed> {
        let mut repos = config.repos.iter();
        match repos.find(|(_, table)| table.agent == *agent) {
            Some((repo, _)) => self.agent_ready(agent, repo, Freshness::Recent).await,
            None => self.find(async { Needed::There }).await,
        }
    }

    async fn find<T>(&self, look: impl Future<Output = T> + Send) -> DatedFinding<T> {
        let began = self.ports.clock.now();
        let what = look.await;
        DatedFinding { looked: CheckSpan { began, answered: self.ports.clock.now() }, what }
    }

    /// The result of `look`, or a transient error after [`LOOK`].
    pub(super) async fn in_time<T>(
        &self,
        what: &str,
        look: impl Future<Output = PortResult<T>> + Send,
    ) -> PortResult<T> {
        within(&*self.ports.clock, LOOK, what, look).await
    }

    fn believed<T>(
        &self,
        found: Option<DatedFinding<T>>,
        freshness: Freshness,
    ) -> Option<DatedFinding<T>> {
        let now = self.ports.clock.now();
        found.filter(|found| freshness == Freshness::Recent && is_recent(found.looked, now))
    }
}

fn not_told(error: &PortError) {
    tracing::warn!(error = error.chain(), "could not ring for what holds dispatch; will try again");
}

/// The agents that live runs have found unable to work, and what to tell people about each.
fn agents_waited_for<'a>(
    config: &'a Policy,
    live: &[StoredRun],
    now: At,
) -> HashMap<&'a AdapterName, String> {
    let runs = live.iter().map(|stored| &stored.run);
    let found = runs.filter_map(|run| Some((run, agent_of(config, run)?, run.holds_agent(now)?)));
    found.map(|(run, agent, found)| (agent, said(run, &found))).collect()
}

fn said(run: &Run, found: &AgentOutage<'_>) -> String {
    format!(
        "{} has waited for the same agent since {:.0}: {}",
        run.issue, found.since, found.message
    )
}

/// The agent of a run; none where its repo is not configured any more.
pub(crate) fn agent_of<'a>(config: &'a Policy, run: &Run) -> Option<&'a AdapterName> {
    config.repos.get(&run.issue.repo).map(|table| &table.agent)
}

fn is_recent(looked: CheckSpan, now: At) -> bool {
    let age = now.duration_since(looked.answered);
    !age.is_negative() && age < BELIEVED
}

/// An error that only a person can fix means that something is missing; any other may pass.
fn needed<T>(ready: PortResult<T>) -> Needed {
    match ready {
        Ok(_) => Needed::There,
        Err(error) if error.needs_a_person() => Needed::Missing(error.chain()),
        Err(error) => Needed::Unknown(PortError::chain(&error)),
    }
}

/// The worse of the two findings: missing is worse than unknown. If they are equal, the agent's.
fn worse(agent: Needed, jobs: &Needed) -> Needed {
    match (&agent, jobs) {
        (Needed::Missing(_), _) | (Needed::Unknown(_), Needed::There | Needed::Unknown(_)) => agent,
        (Needed::There, _) | (Needed::Unknown(_), Needed::Missing(_)) => jobs.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_for_certain_is_told_first() {
        let missing = || Needed::Missing("m".to_owned());
        let unknown = || Needed::Unknown("u".to_owned());
        for (agent, jobs, expected) in [
            (Needed::There, Needed::There, Needed::There),
            (Needed::There, missing(), missing()),
            (Needed::There, unknown(), unknown()),
            (unknown(), Needed::There, unknown()),
            (unknown(), missing(), missing()),
            (missing(), unknown(), missing()),
        ] {
            assert_eq!(worse(agent.clone(), &jobs), expected, "{agent:?} {jobs:?}");
        }
    }
}
