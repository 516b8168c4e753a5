//! What a run needs before anything is spent on it, looked at and believed for a moment: its
//! agent and the sign-in of that, the sandbox and the disk of jobs, the git remote.
//! What a live run has found out about its agent counts, too: it holds others back from it.
//!
//! A tick looks at what its candidates need, one look an agent, so that ten thousand repos
//! cost no more than their few agents. Just before a run begins everything is looked at anew.

use std::collections::HashMap;

use afk_core::checkout::Lands;
use afk_core::config::{Landing, Policy, Repo};
use afk_core::gates::{Fleet, Needed};
use afk_core::ids::{AdapterName, At, Oid, RepoName};
use afk_core::run::{Run, Unavailable};
use jiff::SignedDuration;

use crate::Engine;
use crate::bounds::within;
use crate::ports::{PortError, PortResult, StoredRun};
use crate::switches::Brake;

/// How long a tick believes what was found.
const BELIEVED: SignedDuration = SignedDuration::from_secs(10);
/// How long one look may take.
const LOOK: SignedDuration = SignedDuration::from_secs(30);
/// Findings after which old ones are dropped.
const MANY: usize = 256;

/// What was found, and when.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    agents: HashMap<AdapterName, (At, Needed)>,
    jobs: Option<(At, Needed)>,
    remotes: HashMap<RepoName, (At, Remote)>,
}

/// A git remote as it was found.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    /// Whether it can be read.
    pub(super) needed: Needed,
    /// The head of its default branch, where it can.
    pub(super) head: Option<Oid>,
}

/// What may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// What was found a moment ago, too.
    OfLate,
    /// Only what is found now.
    Anew,
}

impl Engine {
    /// Looks at what runs on `repos` need of their agents and of this machine, and adds it to
    /// the facts.
    pub(super) async fn look_at_machine(
        &self,
        config: &Policy,
        fleet: &mut Fleet,
        live: &[StoredRun],
        repos: &[&RepoName],
        look: Look,
    ) {
        let held = held(config, live, self.ports.clock.now());
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
                None => jobs.insert(self.jobs_ready(look).await),
            };
            let agent = match held.get(&table.agent).cloned().or_else(|| self.unfit(table, repo)) {
                Some(why) => Needed::Missing(why),
                None => self.agent_ready(&table.agent, repo, look).await,
            };
            facts.machine = Some(worse(agent, jobs));
        }
    }

    /// Why the agent of `repo` must not work on it: it would land before anything that is asked
    /// for before a landing.
    fn unfit(&self, table: &Repo, repo: &RepoName) -> Option<String> {
        // What there is no executor for is told when its agent is looked at.
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

    async fn agent_ready(&self, agent: &AdapterName, repo: &RepoName, look: Look) -> Needed {
        let found = self.findings().agents.get(agent).cloned();
        if let Some(found) = self.believed(found, look) {
            return found;
        }
        let found = needed(self.in_time("the agent", self.ports.executor.ready(repo)).await);
        let now = self.ports.clock.now();
        self.findings().agents.insert(agent.clone(), (now, found.clone()));
        found
    }

    async fn jobs_ready(&self, look: Look) -> Needed {
        let found = self.findings().jobs.clone();
        if let Some(found) = self.believed(found, look) {
            return found;
        }
        let found = needed(self.in_time("this machine", self.ports.jobs.ready()).await);
        self.findings().jobs = Some((self.ports.clock.now(), found.clone()));
        found
    }

    /// Whether the git remote of `repo` can be read, and what its head is.
    pub(super) async fn look_at_remote(
        &self,
        repo: &RepoName,
        brake: &Brake,
        look: Look,
    ) -> Remote {
        let found = self.findings().remotes.get(repo).cloned();
        if let Some(found) = self.believed(found, look) {
            return found;
        }
        let token = brake.token();
        let read = self.in_time("the git remote", self.ports.git.remote_head(repo, &token)).await;
        let head = read.as_ref().ok().cloned();
        let found = Remote { needed: needed(read), head };
        let now = self.ports.clock.now();
        let mut findings = self.findings();
        if findings.remotes.len() >= MANY {
            findings.remotes.retain(|_, (at, _)| is_of_late(*at, now));
        }
        findings.remotes.insert(repo.clone(), (now, found.clone()));
        found
    }

    /// What is not found out in time is not known.
    async fn in_time<T>(
        &self,
        what: &str,
        look: impl Future<Output = PortResult<T>> + Send,
    ) -> PortResult<T> {
        within(&*self.ports.clock, LOOK, what, look).await
    }

    fn believed<T>(&self, found: Option<(At, T)>, look: Look) -> Option<T> {
        let (at, found) = found?;
        (look == Look::OfLate && is_of_late(at, self.ports.clock.now())).then_some(found)
    }
}

/// The agents that live runs have found unable to work, and what they wait for.
fn held<'a>(config: &'a Policy, live: &[StoredRun], now: At) -> HashMap<&'a AdapterName, String> {
    let runs = live.iter().map(|stored| &stored.run);
    let found = runs.filter_map(|run| Some((run, agent_of(config, run)?, run.holds_agent(now)?)));
    found.map(|(run, agent, found)| (agent, said(run, &found))).collect()
}

fn said(run: &Run, found: &Unavailable<'_>) -> String {
    format!(
        "{} has waited for the same agent since {:.0}: {}",
        run.issue, found.since, found.message
    )
}

/// The agent of a run; none where its repo is not configured any more.
pub(crate) fn agent_of<'a>(config: &'a Policy, run: &Run) -> Option<&'a AdapterName> {
    config.repos.get(&run.issue.repo).map(|table| &table.agent)
}

fn is_of_late(at: At, now: At) -> bool {
    let age = now.duration_since(at);
    !age.is_negative() && age < BELIEVED
}

/// What only a person can mend is missing; anything else may be there in a moment.
fn needed<T>(ready: PortResult<T>) -> Needed {
    match ready {
        Ok(_) => Needed::There,
        Err(error) if error.needs_a_person() => Needed::Missing(error.chain()),
        Err(error) => Needed::Unknown(PortError::chain(&error)),
    }
}

/// The worse of the two: what is missing for certain first.
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
