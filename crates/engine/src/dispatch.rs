//! Dispatch: which issues get a run now, and the admission of those runs.
//!
//! Local gates are queried first, from the store alone; a tracker is read only for repos that pass
//! them, so that by default none is. The core decides; this module fetches the facts (`facts`) and
//! creates runs.
//!
//! Trackers are read home by home ([`Engine::look`]), so that one that does not answer holds up no
//! other. The issues of all homes that answered are dispatched together ([`Engine::dispatch`]), so
//! that there is one order for all.

mod facts;
mod machine;
mod mute;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use afk_core::config::Policy;
use afk_core::digest::Digest;
use afk_core::gates::{
    self, DispatchPolicy, Dispatcher, Explanation, Fact, GateVerdict, RemoteFacts, explain,
};
use afk_core::ids::{At, IssueRef, RepoName, RunId};
use afk_core::issue::Issue;
use afk_core::plan::Gates;
use afk_core::run::{LabelsSeen, Leaves, Pinned, Release, Run};
use afk_core::text::{clean, clean_markdown};
use afk_core::trust::{Ground, ReleaseRefusal, Trust};
pub(crate) use facts::{BaseFailed, base_memo};
use facts::{FACTS, unreadable};
use futures_util::future::{BoxFuture, join_all};
use jiff::SignedDuration;

use machine::Freshness;
pub(crate) use machine::{Findings, agent_of};

use crate::Engine;
use crate::bounds::within;
use crate::ports::{
    Admission, AdmitLimits, AdmitRefusal, ByRepo, Filter, PortError, PortResult, StoredRun,
    Switches,
};
use crate::switches::Brake;

/// Time limit for removing kept workspaces.
const CLEAN: SignedDuration = SignedDuration::from_mins(1);
/// The home of a tracker that takes this long to fail is not read again in the same dispatch.
const SLOW: SignedDuration = SignedDuration::from_secs(10);
/// Time limit of one look at a home. Each call has a shorter one.
const LOOK: SignedDuration = SignedDuration::from_mins(10);

/// How many of an issue's newest runs are searched for the one that a retry was requested of.
const EARLIER: u32 = 20;
/// How many of the runs that were handed over keep their work for a retry: the newest ones.
const RETRIABLE: u32 = 500;

/// The result of one dispatch.
#[derive(Debug, Default)]
pub struct DispatchReport {
    /// Runs that were admitted.
    pub admitted: Vec<RunId>,
    /// Issues that would have been admitted if shadow mode were off.
    pub would_admit: Vec<IssueRef>,
    /// Why dispatch stopped early, if it did.
    pub failed: Option<PortError>,
    /// Repos to look at again before the next poll: something in them could not be read or done.
    pub retry: BTreeSet<RepoName>,
}

/// The result of looking at homes.
#[derive(Debug, Default)]
pub(crate) struct HomeListing {
    /// Ready issues that no local gate holds back.
    issues: Vec<Issue>,
    /// Which trackers answered.
    looked: TrackerAnswers,
    /// Repos to look at again before the next poll: something in them could not be read or done.
    retry: BTreeSet<RepoName>,
}

impl HomeListing {
    /// The result of a look that did not read `repos` because of `error`.
    fn unread(repos: &BTreeSet<RepoName>, error: &PortError) -> Self {
        let mut listed = Self::default();
        for repo in repos {
            listed.looked.failed(repo, error);
        }
        listed
    }

    /// Adds the result of another look.
    pub(crate) fn add(&mut self, other: Self) {
        self.issues.extend(other.issues);
        self.looked.unreadable.extend(other.looked.unreadable);
        self.looked.answered.extend(other.looked.answered);
        self.retry.extend(other.retry);
    }
}

/// Which trackers answered, and which did not.
#[derive(Debug, Default)]
pub(crate) struct TrackerAnswers {
    /// Repos whose tracker could not be read, and why.
    unreadable: Vec<Unreadable>,
    /// Repos whose tracker answered.
    pub(crate) answered: Vec<RepoName>,
}

/// A repo that could not be read.
#[derive(Debug)]
struct Unreadable {
    repo: RepoName,
    why: String,
    /// When the rate limit ends, if that was the cause.
    reset: Option<At>,
}

impl TrackerAnswers {
    /// Records that `repo` could not be read because of `error`.
    pub(crate) fn failed(&mut self, repo: &RepoName, error: &PortError) {
        let (why, reset) = (error.chain(), error.reset());
        self.unreadable.push(Unreadable { repo: repo.clone(), why, reset });
    }
}

/// Why an issue named by a person was not admitted.
#[derive(Debug, Clone)]
pub enum NotAdmitted {
    /// At least one gate does not let it pass.
    Gates(Explanation),
    /// Shadow mode is on: nothing is dispatched.
    Shadow,
    /// Its release was revoked after the gates had passed.
    Revoked(ReleaseRefusal),
    /// The last check, in the store's transaction, refused it.
    Refused(AdmitRefusal),
}

impl Engine {
    /// Returns the configured repos by the home of their tracker.
    pub fn homes(&self) -> BTreeMap<String, BTreeSet<RepoName>> {
        let (config, _) = self.ports.settings.current();
        let mut homes: BTreeMap<String, BTreeSet<RepoName>> = BTreeMap::new();
        for repo in config.repos.keys() {
            homes.entry(self.ports.tracker.home(repo)).or_default().insert(repo.clone());
        }
        homes
    }

    /// Lists the open issues with the label `label` in each of `repos`, which share a home.
    pub async fn ready_of(&self, repos: Vec<RepoName>, label: &str) -> ByRepo<Vec<Issue>> {
        self.trackers.ready_of(repos, label).await
    }

    /// Looks at one home: follows the comments in `repos`, and with `dispatch` lists the ready
    /// issues that no local gate holds back. If a limit ends the listing, the next look begins with
    /// the repos that this one did not reach.
    pub(crate) async fn look(
        &self,
        brake: &Brake,
        repos: &BTreeSet<RepoName>,
        dispatch: bool,
    ) -> PortResult<HomeListing> {
        let work = async {
            let (mut listed, mut last) = (HomeListing::default(), None);
            for (n, part) in self.trackers.in_turn(repos).iter().enumerate() {
                let found = match part.first().map(|one| self.trackers.may_call(one)) {
                    // A limit was met on the way here.
                    Some(Err(error)) if n > 0 => HomeListing::unread(part, &error),
                    _ => self.look_at_part(brake, part, dispatch).await?,
                };
                last = found.looked.answered.iter().max().cloned().or(last);
                listed.add(found);
            }
            self.trackers.note_look(repos, last);
            Ok(listed)
        };
        within(&*self.ports.clock, LOOK, "reading a tracker", work).await
    }

    async fn look_at_part(
        &self,
        brake: &Brake,
        repos: &BTreeSet<RepoName>,
        dispatch: bool,
    ) -> PortResult<HomeListing> {
        // A failure to read comments must not hold up dispatch.
        let retry = self.read_comments(brake, repos).await.unwrap_or_else(|error| {
            tracing::warn!(error = error.chain(), "cannot read comments; will try again");
            repos.clone()
        });
        let mut listed =
            if dispatch { self.candidates(brake, repos).await? } else { HomeListing::default() };
        listed.retry.extend(retry);
        Ok(listed)
    }

    /// Admits runs for those of the listed issues that may be dispatched now. Repos that fail are
    /// skipped for a while.
    pub(crate) async fn dispatch(&self, brake: &Brake, listed: HomeListing) -> DispatchReport {
        let HomeListing { issues, mut looked, retry } = listed;
        let mut done = DispatchReport { retry, ..DispatchReport::default() };
        if let Err(error) = self.admit_next(brake, &issues, &mut done, &mut looked).await {
            done.retry.extend(issues.into_iter().map(|issue| issue.issue.repo));
            done.failed = Some(error);
        }
        self.note_troubles(&looked);
        done.retry.extend(looked.unreadable.into_iter().map(|unreadable| unreadable.repo));
        done
    }

    async fn admit_next(
        &self,
        brake: &Brake,
        candidates: &[Issue],
        done: &mut DispatchReport,
        looked: &mut TrackerAnswers,
    ) -> PortResult<()> {
        let (config, pickup) = self.ports.settings.current();
        if stopped(&config, pickup.as_ref(), brake) {
            // The stop may be lifted in a moment.
            done.retry.extend(candidates.iter().map(|candidate| candidate.issue.repo.clone()));
            return Ok(());
        }
        let clock = &*self.ports.clock;
        let told = self.announced_holds(&config).await;
        if candidates.is_empty() && told.as_ref().is_none_or(BTreeMap::is_empty) {
            return Ok(());
        }
        let mut candidates = candidates.to_vec();
        let live = self.ports.store.live().await?;
        if let Some(told) = told {
            self.announce_holds(&config, &live, &candidates, &told).await;
        }
        if candidates.is_empty() {
            return Ok(());
        }
        let mut fleet =
            self.fleet(&config, pickup.as_ref(), brake.switches(), &live, None, None).await?;
        let wanted: Vec<&RepoName> = candidates.iter().map(|issue| &issue.issue.repo).collect();
        self.look_at_machine(&config, &mut fleet, &live, &wanted, Freshness::Recent).await;
        let policy = policy(&config);
        let mut remote = HashMap::new();
        loop {
            self.leave_out_mute(&mut candidates, &remote, &mut done.retry);
            let next = gates::next(&policy, &fleet, &candidates, &remote);
            if !matches!(next, gates::DispatchStep::Look(_)) {
                let again = candidates.iter().map(|candidate| &candidate.issue);
                let again = again
                    .filter(|issue| gates::look_again(&policy, &fleet, issue, remote.get(*issue)));
                done.retry.extend(again.map(|issue| issue.repo.clone()));
            }
            match next {
                gates::DispatchStep::Nothing => return Ok(()),
                gates::DispatchStep::Look(issues) => {
                    let began = clock.now();
                    // Side by side: one tracker does not wait for another.
                    let facts = issues.into_iter().map(|issue| async {
                        let facts =
                            self.remote_facts(&config, &issue, brake, Freshness::Recent).await;
                        (issue, facts)
                    });
                    for (issue, facts) in join_all(facts).await {
                        if let Err(error) = &facts {
                            looked.failed(&issue.repo, error);
                            if clock.now().duration_since(began) >= SLOW {
                                // A slow tracker is waited for once, not once for each issue.
                                let home = self.ports.tracker.home(&issue.repo);
                                candidates.retain(|Issue { issue, .. }| {
                                    let other = self.ports.tracker.home(&issue.repo) != home;
                                    if !other {
                                        done.retry.insert(issue.repo.clone());
                                    }
                                    other
                                });
                            }
                        }
                        remote.insert(issue, facts.unwrap_or_else(|error| unreadable(&error)));
                    }
                }
                gates::DispatchStep::Admit(issues) if config.shadow => {
                    tracing::info!(?issues, "shadow: would have been dispatched");
                    done.would_admit = issues;
                    return Ok(());
                }
                gates::DispatchStep::Admit(issues) => {
                    // Only the switches tell which workspaces a freeze still needs.
                    if let Some(switches) = brake.switches() {
                        let needed = needed(&live, &switches);
                        let clean = Box::pin(async {
                            let retriable = self.retriable(&live).await?;
                            self.ports.git.clean(&needed, &retriable).await
                        });
                        if let Err(error) = within(clock, CLEAN, "cleaning", clean).await {
                            tracing::warn!(error = error.chain(), "kept workspaces not cleaned");
                        }
                    }
                    for issue in issues {
                        let admit = Box::pin(self.admit(&config, &issue, Dispatcher::Loop));
                        match within(clock, FACTS, format!("admitting {issue}"), admit).await {
                            Ok(Ok(run)) => done.admitted.push(run),
                            Ok(Err(why)) => {
                                tracing::info!(%issue, ?why, "not admitted");
                                done.retry.insert(issue.repo.clone());
                            }
                            // A failing repo must not affect the next one.
                            Err(error) => {
                                tracing::warn!(%issue, error = error.chain(), "not admitted");
                                looked.failed(&issue.repo, &error);
                            }
                        }
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Leaves out the candidates whose git server does not answer; they are looked at again before
    /// long. Those whose facts are `known` stay.
    fn leave_out_mute(
        &self,
        candidates: &mut Vec<Issue>,
        known: &HashMap<IssueRef, RemoteFacts>,
        retry: &mut BTreeSet<RepoName>,
    ) {
        let (now, findings) = (self.ports.clock.now(), self.findings());
        if findings.mute.is_empty() {
            return;
        }
        candidates.retain(|Issue { issue, .. }| {
            let remote = self.ports.git.remote(&issue.repo);
            let mute = !known.contains_key(issue) && findings.mute.waits(&issue.repo, &remote, now);
            if mute {
                retry.insert(issue.repo.clone());
            }
            !mute
        });
    }

    /// Records which repos failed and which answered. Logs a repo when it begins to fail or fails
    /// for another reason, and once when it has recovered.
    pub(crate) fn note_troubles(&self, looked: &TrackerAnswers) {
        let now = self.ports.clock.now();
        let mut troubles = self.troubles();
        let mut failed = HashSet::new();
        for Unreadable { repo, why, reset } in &looked.unreadable {
            // Several failed calls in one look count as one failure.
            if failed.insert(repo) && troubles.failed(repo, why, *reset, now) {
                tracing::warn!(repo = %repo, error = why, "repo unreadable: skipped for a while");
            }
        }
        for repo in looked.answered.iter().filter(|repo| !failed.contains(repo)) {
            if let Some(over) = troubles.answered(repo) {
                let since = tracing::field::display(over.since);
                tracing::info!(repo = %repo, since, failures = over.failures, "the repo can be read again");
            }
        }
    }

    /// Dispatches `issue` for a person: bypasses kill switch and allowlist, and no other gate. In
    /// shadow mode nothing is dispatched.
    pub fn dispatch_by_hand<'a>(
        &'a self,
        issue: &'a IssueRef,
        brake: &'a Brake,
    ) -> BoxFuture<'a, PortResult<Result<RunId, NotAdmitted>>> {
        Box::pin(async move {
            let (config, _) = self.ports.settings.current();
            if config.shadow {
                // The run would hold the repo and reserve its budget, and do nothing.
                return Ok(Err(NotAdmitted::Shadow));
            }
            let explanation = self.explain(issue, Dispatcher::Person, brake).await?;
            if !explanation.eligible() {
                return Ok(Err(NotAdmitted::Gates(explanation)));
            }
            self.admit(&config, issue, Dispatcher::Person).await
        })
    }

    /// Returns every gate's answer for one issue, by the same predicate that dispatches. A repo
    /// that is not configured is an error.
    pub fn explain<'a>(
        &'a self,
        issue: &'a IssueRef,
        dispatcher: Dispatcher,
        brake: &'a Brake,
    ) -> BoxFuture<'a, PortResult<Explanation>> {
        Box::pin(async move {
            let (config, pickup) = self.ports.settings.current();
            if !config.repos.contains_key(&issue.repo) {
                return Err(not_configured(&issue.repo));
            }
            let live = self.ports.store.live().await?;
            let only = Some(&issue.repo);
            let mut fleet =
                self.fleet(&config, pickup.as_ref(), brake.switches(), &live, only, None).await?;
            self.look_at_machine(&config, &mut fleet, &live, &[&issue.repo], Freshness::Recent)
                .await;
            let view = self.ports.tracker.issue(issue).await?;
            let remote = self.remote_facts(&config, issue, brake, Freshness::Recent).await;
            let mut remote = remote.unwrap_or_else(|error| unreadable(&error));
            if dispatcher == Dispatcher::Person {
                // A person who asks for a run has the base checked again.
                remote.base_fails = None;
            }
            let mut said =
                explain(&policy(&config), &fleet, dispatcher, &view.issue, Some(&remote));
            if let Ok(Ok(release)) = released(&config, issue, remote.trust) {
                let left = self.left_for(issue, &release, &pin(&view.issue)).await?;
                said.goes_on = left.as_ref().map(goes_on);
            }
            Ok(said)
        })
    }

    /// Queries the gates again, live, for an admitted run that has not begun.
    pub(crate) async fn gates_of(&self, run: &Run, config: &Policy, brake: &Brake) -> Gates {
        let asked = async {
            let mut live = self.ports.store.live().await?;
            live.retain(|stored| stored.run.id != run.id);
            let (_, pickup) = self.ports.settings.current();
            let (only, own) = (Some(&run.issue.repo), Some(run));
            let mut fleet =
                self.fleet(config, pickup.as_ref(), brake.switches(), &live, only, own).await?;
            self.look_at_machine(config, &mut fleet, &live, &[&run.issue.repo], Freshness::Now)
                .await;
            self.ports.tracker.forget(&run.issue);
            let view = self.ports.tracker.issue(&run.issue).await?;
            let remote = self.remote_facts(config, &run.issue, brake, Freshness::Now).await;
            let mut remote = remote.unwrap_or_else(|error| unreadable(&error));
            // The run checks its base by itself before its first turn.
            remote.base_fails = None;
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

    /// Creates the run and admits it in the store's one transaction.
    async fn admit(
        &self,
        config: &Policy,
        issue: &IssueRef,
        dispatcher: Dispatcher,
    ) -> PortResult<Result<RunId, NotAdmitted>> {
        let repo = config.repos.get(&issue.repo).ok_or_else(|| not_configured(&issue.repo))?;
        let view = self.ports.tracker.issue(issue).await?;
        let release = match released(config, issue, self.trust(config, issue, &view).await)? {
            Ok(release) => release,
            Err(why) => return Ok(Err(NotAdmitted::Revoked(why))),
        };
        let pinned = pin(&view.issue);
        let resumes = self.left_for(issue, &release, &pinned).await?.map(|(run, _)| run);
        let now = self.ports.clock.now();
        let (id, budget) = (self.ports.ids.run(), config.budget(repo));
        let run = Run {
            release: Some(release),
            last_event: view.events.last().cloned(),
            enrolled: config.allowlist.contains(&issue.repo),
            resumes,
            labels_seen: LabelsSeen {
                ready: view.issue.has(&config.ready_label),
                in_progress: false,
            },
            ..Run::new(id, issue.clone(), dispatcher, pinned, budget, now)
        };
        match self.ports.store.admit(&run, &AdmitLimits::of(config, now), now).await? {
            Admission::Admitted => {
                tracing::info!(run.id = %run.id, repo = %issue.repo, issue = issue.number, "admitted");
                Ok(Ok(run.id))
            }
            Admission::Refused(why) => Ok(Err(NotAdmitted::Refused(why))),
        }
    }
}

impl Engine {
    /// The ended run of `issue` that `release` retries, and what it left. None if it left nothing,
    /// or if the text of the issue has changed since: the work was done for the old text.
    async fn left_for(
        &self,
        issue: &IssueRef,
        release: &Release,
        pinned: &Pinned,
    ) -> PortResult<Option<(RunId, Leaves)>> {
        let store = &self.ports.store;
        let (repo, number) = (Some(issue.repo.clone()), Some(issue.number));
        let earlier = Filter { repo, issue: number, limit: EARLIER, ..Filter::default() };
        for stored in store.runs(&earlier).await? {
            // A run that ended before it began leaves what it was to go on from.
            let asked_of = stored.run.id;
            let run = match stored.run.resumes.filter(|_| stored.run.attempts.is_empty()) {
                Some(before) => match store.load(before).await? {
                    Some(before) => before.run,
                    None => continue,
                },
                None => stored.run,
            };
            let Some(left) = run.leaves().filter(|_| run.settled_at.is_some()) else { continue };
            let requests = store.requests(asked_of).await?;
            if requests.iter().any(|one| release.is_for(&one.request)) {
                let same = run.pinned.digest == pinned.digest;
                return Ok(same.then_some((run.id, left)));
            }
        }
        Ok(None)
    }

    /// Runs whose work a retry may go on from: those that a `live` run goes on from, and those that
    /// were handed over and are the newest of their issue.
    pub(crate) async fn retriable(&self, live: &[StoredRun]) -> PortResult<BTreeSet<RunId>> {
        let handed_back = Filter { handed_back: true, limit: RETRIABLE, ..Filter::default() };
        let ended = self.ports.store.runs(&handed_back).await?;
        let ended = ended.iter().filter(|stored| stored.run.leaves().is_some());
        let ended = ended.map(|stored| stored.run.id);
        Ok(ended.chain(live.iter().filter_map(|stored| stored.run.resumes)).collect())
    }
}

/// Whether dispatch is stopped as a whole, whatever the trackers say.
fn stopped(config: &Policy, pickup: Option<&String>, brake: &Brake) -> bool {
    config.kill_switch
        || pickup.is_some()
        || config.allowlist.is_empty()
        || brake.switches().is_none_or(|now| now.halt.is_some() || now.pause.is_some())
}

/// Runs whose workspaces must stay: live ones, and those that caused a freeze which still holds.
pub(crate) fn needed(live: &[StoredRun], switches: &Switches) -> BTreeSet<RunId> {
    let freezes = switches.frozen.iter().map(|(_, freeze)| freeze);
    let held = freezes.filter_map(|freeze| freeze.paging.as_ref().map(|paging| paging.run));
    live.iter().map(|stored| stored.run.id).chain(held).collect()
}

/// The text of an issue as a run gets it, without what a person cannot see, and the digest of the
/// text as it stands.
fn pin(issue: &Issue) -> Pinned {
    Pinned {
        title: clean(&issue.title).text,
        body: clean_markdown(&issue.body).text,
        digest: Digest::of_list(&[&issue.title, &issue.body]),
    }
}

/// Who released the text that is about to be pinned, or why it is not released. The issue was read
/// again after the gates passed. If it is unknown who released this very text, nothing is admitted,
/// because a run without a known release could never close its issue.
fn released(
    config: &Policy,
    issue: &IssueRef,
    trust: Fact<Trust>,
) -> PortResult<Result<Release, ReleaseRefusal>> {
    match trust {
        Fact::Known(Trust::Trusted { by, at, ground, request_id }) => {
            let permission = match ground {
                Ground::Permission(permission) => Some(permission),
                Ground::Listed => None,
            };
            Ok(Ok(Release { by, at, permission, label: config.ready_label.clone(), request_id }))
        }
        Fact::Known(Trust::Refused { why }) => Ok(Err(why)),
        Fact::Unreadable(why) => Err(PortError::transient(format!(
            "who released {issue} could not be read while it was being admitted: {why}"
        ))),
    }
}

/// What a retry goes on from: the run and its head that [`Engine::left_for`] found.
fn goes_on((run, left): &(RunId, Leaves)) -> String {
    let head = left.head.short();
    format!(
        "a retry: its run goes on from {head}, the head that run {run} left, without another turn of \
         the agent"
    )
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
