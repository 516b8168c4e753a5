//! A tick: which issues are dispatched now, and the admission of their runs.
//!
//! With the switches as shipped nothing but the store is touched. Local gates are
//! asked first; a tracker is asked only about repos that pass them. The core
//! decides; here facts are fetched (`facts`) and runs are made.

mod facts;
mod machine;

use std::collections::{BTreeSet, HashMap, HashSet};

use afk_core::config::Policy;
use afk_core::digest::Digest;
use afk_core::gates::{
    self, Answer, DispatchPolicy, Dispatcher, Explanation, GateVerdict, explain,
};
use afk_core::ids::{At, IssueRef, RepoName, RunId};
use afk_core::issue::Issue;
use afk_core::plan::Gates;
use afk_core::run::{LabelsSeen, Pinned, Release, Run};
use afk_core::text::clean;
use afk_core::trust::{Ground, Trust};
use jiff::tz::TimeZone;

use machine::Look;
pub(crate) use machine::{Findings, agent_of};

use crate::Engine;
use crate::ports::{
    Admission, AdmitLimits, AdmitRefusal, PortError, PortResult, StoredRun, Switches,
};
use crate::switches::Brake;

/// What one look at the trackers came to.
#[derive(Debug, Clone, Default)]
pub struct Dispatched {
    /// Runs that were admitted.
    pub admitted: Vec<RunId>,
    /// What would have been admitted under shadow.
    pub would: Vec<IssueRef>,
    /// Ready issues that were seen.
    pub candidates: usize,
    /// Who answered, and who did not.
    pub looked: Looked,
}

/// Whose tracker answered when it was asked.
#[derive(Debug, Clone, Default)]
pub struct Looked {
    /// Repos whose tracker could not be read, and why.
    pub unreadable: Vec<Unreadable>,
    /// Repos whose tracker answered.
    pub answered: Vec<RepoName>,
}

/// A repo that could not be read.
#[derive(Debug, Clone)]
pub struct Unreadable {
    /// Which.
    pub repo: RepoName,
    /// Why.
    pub why: String,
    /// When the rate limit ends that was in the way.
    pub reset: Option<At>,
}

impl Looked {
    /// Notes that `repo` could not be read.
    pub(crate) fn failed(&mut self, repo: &RepoName, error: &PortError) {
        let (why, reset) = (error.chain(), error.reset());
        self.unreadable.push(Unreadable { repo: repo.clone(), why, reset });
    }
}

/// An issue that was asked for by name and not admitted.
#[derive(Debug, Clone)]
pub enum NotAdmitted {
    /// Gates refuse it.
    Gates(Explanation),
    /// The last check, in the store, refused it.
    Refused(AdmitRefusal),
}

impl Engine {
    /// Admits what may be dispatched now. A repo in trouble is left alone for a while.
    pub async fn dispatch(&self, brake: &Brake) -> PortResult<Dispatched> {
        let mut done = Dispatched::default();
        let looked = self.look_around(brake, &mut done).await;
        self.note_troubles(&done.looked);
        looked.map(|()| done)
    }

    async fn look_around(&self, brake: &Brake, done: &mut Dispatched) -> PortResult<()> {
        let (config, pickup) = self.ports.settings.current();
        let stopped = config.kill_switch
            || pickup.is_some()
            || brake.switches().is_none_or(|now| now.halt.is_some() || now.pause.is_some());
        if stopped || config.allowlist.is_empty() {
            return Ok(());
        }
        let live = self.ports.store.live().await?;
        let mut fleet =
            self.fleet(&config, pickup.as_ref(), brake.switches(), &live, None, None).await?;
        let candidates = self.candidates(&config, &fleet, done).await;
        done.candidates = candidates.len();
        let wanted: Vec<&RepoName> = candidates.iter().map(|issue| &issue.issue.repo).collect();
        self.look_at_machine(&config, &mut fleet, &live, &wanted, Look::OfLate).await;
        let policy = policy(&config);
        let mut remote = HashMap::new();
        loop {
            match gates::next(&policy, &fleet, &candidates, &remote) {
                gates::Next::Nothing => return Ok(()),
                gates::Next::Look(issues) => {
                    for issue in issues {
                        let looked = &mut done.looked;
                        let facts =
                            self.remote_facts(&config, &issue, brake, Look::OfLate, looked).await;
                        remote.insert(issue, facts);
                    }
                }
                gates::Next::Admit(issues) if config.shadow => {
                    tracing::info!(?issues, "shadow: would have been dispatched");
                    done.would = issues;
                    return Ok(());
                }
                gates::Next::Admit(issues) => {
                    // Without the switches nobody knows what a freeze holds.
                    if let Some(switches) = brake.switches() {
                        let cleaned = self.ports.git.clean(&needed(&live, &switches)).await;
                        if let Err(error) = cleaned {
                            tracing::warn!(error = error.chain(), "kept workspaces not cleaned");
                        }
                    }
                    for issue in issues {
                        match self.admit(&config, &issue, Dispatcher::Loop).await {
                            Ok(Ok(run)) => done.admitted.push(run),
                            Ok(Err(why)) => tracing::info!(%issue, ?why, "not admitted"),
                            // One repo's trouble is not the next one's.
                            Err(error) => {
                                tracing::warn!(%issue, error = error.chain(), "not admitted");
                                done.looked.failed(&issue.repo, &error);
                            }
                        }
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Says each trouble once, and once that it is over.
    pub(crate) fn note_troubles(&self, looked: &Looked) {
        let now = self.ports.clock.now();
        let mut troubles = self.troubles();
        let mut failed = HashSet::new();
        for Unreadable { repo, why, reset } in &looked.unreadable {
            // Several calls may fail in one look; it is one failure.
            if failed.insert(repo) && troubles.failed(repo, why, *reset, now) {
                tracing::warn!(repo = %repo, error = why, "repo unreadable: left alone for a while");
            }
        }
        for repo in looked.answered.iter().filter(|repo| !failed.contains(repo)) {
            if let Some(over) = troubles.answered(repo) {
                let since = tracing::field::display(over.since);
                tracing::info!(repo = %repo, since, failures = over.failures, "repo readable again");
            }
        }
    }

    /// A person's own dispatch: it passes kill switch and allowlist, and no other gate.
    pub async fn dispatch_by_hand(
        &self,
        issue: &IssueRef,
        brake: &Brake,
    ) -> PortResult<Result<RunId, NotAdmitted>> {
        let (config, _) = self.ports.settings.current();
        let explanation = self.explain(issue, Dispatcher::Person, brake).await?;
        if !explanation.eligible() {
            return Ok(Err(NotAdmitted::Gates(explanation)));
        }
        let admitted = self.admit(&config, issue, Dispatcher::Person).await?;
        Ok(admitted.map_err(NotAdmitted::Refused))
    }

    /// Every gate's answer for one issue, by the predicate that dispatches.
    pub async fn explain(
        &self,
        issue: &IssueRef,
        dispatcher: Dispatcher,
        brake: &Brake,
    ) -> PortResult<Explanation> {
        let (config, pickup) = self.ports.settings.current();
        if !config.repos.contains_key(&issue.repo) {
            return Err(not_configured(&issue.repo));
        }
        let live = self.ports.store.live().await?;
        let only = Some(&issue.repo);
        let mut fleet =
            self.fleet(&config, pickup.as_ref(), brake.switches(), &live, only, None).await?;
        self.look_at_machine(&config, &mut fleet, &live, &[&issue.repo], Look::OfLate).await;
        let view = self.ports.tracker.issue(issue).await?;
        let looked = &mut Looked::default();
        let remote = self.remote_facts(&config, issue, brake, Look::OfLate, looked).await;
        Ok(explain(&policy(&config), &fleet, dispatcher, &view.issue, Some(&remote)))
    }

    /// The gates of a run that is admitted and has not begun, asked live.
    pub(crate) async fn gates_of(&self, run: &Run, config: &Policy, brake: &Brake) -> Gates {
        let asked = async {
            let mut live = self.ports.store.live().await?;
            live.retain(|stored| stored.run.id != run.id);
            let (_, pickup) = self.ports.settings.current();
            let (only, own) = (Some(&run.issue.repo), Some(run));
            let mut fleet =
                self.fleet(config, pickup.as_ref(), brake.switches(), &live, only, own).await?;
            self.look_at_machine(config, &mut fleet, &live, &[&run.issue.repo], Look::Anew).await;
            let view = self.ports.tracker.issue(&run.issue).await?;
            let looked = &mut Looked::default();
            let remote = self.remote_facts(config, &run.issue, brake, Look::Anew, looked).await;
            let said = explain(&policy(config), &fleet, run.dispatcher, &view.issue, Some(&remote));
            let pinned = pin(&view.issue).digest == run.pinned.digest;
            PortResult::Ok((said, pinned))
        };
        match asked.await {
            Err(error) => {
                tracing::warn!(run.id = %run.id, error = error.chain(), "gates unreadable");
                Gates::Unreadable
            }
            Ok((said, pinned)) => {
                let failed = said.gates.iter().any(|gate| gate.verdict == GateVerdict::Failed);
                if failed || !said.open || !pinned {
                    Gates::Refused
                } else if said.eligible() {
                    Gates::Open
                } else {
                    Gates::Unreadable
                }
            }
        }
    }

    /// Makes the run and admits it in the store's one transaction.
    async fn admit(
        &self,
        config: &Policy,
        issue: &IssueRef,
        dispatcher: Dispatcher,
    ) -> PortResult<Result<RunId, AdmitRefusal>> {
        let repo = config.repos.get(&issue.repo).ok_or_else(|| not_configured(&issue.repo))?;
        let view = self.ports.tracker.issue(issue).await?;
        let release = released(config, issue, self.trust(config, issue, &view).await)?;
        let now = self.ports.clock.now();
        let has = |label: &str| view.issue.labels.iter().any(|other| other == label);
        let run = Run {
            id: self.ports.ids.run(),
            issue: issue.clone(),
            dispatcher,
            release: Some(release),
            pinned: pin(&view.issue),
            admitted_at: now,
            last_event: view.events.last().cloned(),
            budget: config.budget(repo),
            start: None,
            attempts: Vec::new(),
            first_red_at: None,
            labels_seen: LabelsSeen { ready: has(&config.ready_label), in_progress: false },
            cancel: None,
            heard: Vec::new(),
            posted: None,
            stopping_since: None,
            pauses: Vec::new(),
            impeded: None,
            conclusion: None,
            settled_at: None,
        };
        let limits = AdmitLimits {
            max_live: config.max_concurrent_runs,
            repo_day: config.repo_day_budget_usd,
            day: config.day_budget_usd,
            day_start: day_start(now),
        };
        match self.ports.store.admit(&run, &limits, now).await? {
            Admission::Admitted => {
                tracing::info!(run.id = %run.id, repo = %issue.repo, issue = issue.number, "admitted");
                Ok(Ok(run.id))
            }
            Admission::Refused(why) => Ok(Err(why)),
        }
    }
}

/// Runs whose workspaces must stay: those at work, and those that hold a freeze.
pub(crate) fn needed(live: &[StoredRun], switches: &Switches) -> BTreeSet<RunId> {
    let freezes = switches.frozen.iter().map(|(_, freeze)| freeze);
    let held = freezes.filter_map(|freeze| freeze.paging.as_ref().map(|paging| paging.run));
    live.iter().map(|stored| stored.run.id).chain(held).collect()
}

/// The content of an issue as it is accepted: cleaned of what a person cannot see.
fn pin(issue: &Issue) -> Pinned {
    Pinned {
        title: clean(&issue.title).text,
        body: clean(&issue.body).text,
        digest: Digest::of_list(&[&issue.title, &issue.body]),
    }
}

/// Who released what is about to be pinned. The text was read again since the gates
/// passed: without an answer for this very text nothing is admitted, since a run
/// that does not know its release could never close its issue.
fn released(config: &Policy, issue: &IssueRef, trust: Answer<Trust>) -> PortResult<Release> {
    match trust {
        Answer::Known(Trust::Trusted { by, at, ground, asked }) => {
            let permission = match ground {
                Ground::Permission(permission) => Some(permission),
                Ground::Listed => None,
            };
            Ok(Release { by, at, permission, label: config.ready_label.clone(), asked })
        }
        Answer::Known(Trust::Refused { why }) => Err(PortError::transient(format!(
            "the release of {issue} did not stand while it was being admitted: {why}"
        ))),
        Answer::Unreadable(why) => Err(PortError::transient(format!(
            "who released {issue} could not be read while it was being admitted: {why}"
        ))),
    }
}

fn policy(config: &Policy) -> DispatchPolicy {
    DispatchPolicy {
        default_priority: config.default_priority,
        max_concurrent_runs: config.max_concurrent_runs,
        base_health: config.base_health,
    }
}

fn not_configured(repo: &RepoName) -> PortError {
    PortError::permanent(format!(
        "{repo} is not configured: add a [repos.\"{repo}\"] table to the configuration"
    ))
}

/// The first moment of the day, in UTC.
fn day_start(now: At) -> At {
    let day = now.to_zoned(TimeZone::UTC).start_of_day();
    day.map_or(now, |day| day.timestamp())
}
