//! The store: runs, journal, outbox, leases, switches.
//!
//! Each run is changed by compare-and-swap. What spans runs (a repo's lock, capacity, spending,
//! freeze) is checked again in the one `admit` transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use afk_core::config::Policy;
use afk_core::doorbell::Doorbell;
use afk_core::freeze::{Acknowledged, Paging};
use afk_core::hold::HoldCause;
use afk_core::ids::{At, IssueRef, RepoName, RunId};
use afk_core::request::PersonRequest;
use afk_core::run::{Run, Transition};
use afk_core::usd::Usd;
use async_trait::async_trait;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::PortResult;

/// A run with the version that the next commit must name.
#[derive(Debug, Clone)]
pub struct StoredRun {
    /// The record.
    pub run: Run,
    /// Its version, from 1.
    pub version: u64,
}

/// A run that is not settled, without its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveRun {
    /// The run.
    pub run: RunId,
    /// Its issue.
    pub issue: IssueRef,
}

/// What is checked again in the transaction in which a run gets a repo's lock or more budget.
#[derive(Debug, Clone)]
pub struct AdmitLimits {
    /// Maximum number of runs at work; those that stepped aside are not.
    pub max_live: u32,
    /// The caps of a day.
    pub caps: DayCaps,
}

impl AdmitLimits {
    /// Those of `policy` at `now`.
    pub fn of(policy: &Policy, now: At) -> Self {
        Self { max_live: policy.max_concurrent_runs, caps: DayCaps::of(policy, now) }
    }
}

/// The caps of a day, reservations included.
#[derive(Debug, Clone, Copy)]
pub struct DayCaps {
    /// What one repo may spend.
    pub repo: Option<Usd>,
    /// What all repos may spend.
    pub all: Option<Usd>,
    /// The start of today.
    pub start: At,
}

impl DayCaps {
    /// Those of `policy` at `now`.
    pub fn of(policy: &Policy, now: At) -> Self {
        let day = now.to_zoned(TimeZone::UTC).start_of_day();
        let start = day.map_or(now, |day| day.timestamp());
        Self { repo: policy.repo_day_budget_usd, all: policy.day_budget_usd, start }
    }
}

/// Whether a run was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is in the store, at version 1.
    Admitted,
    /// It is not.
    Refused(AdmitRefusal),
}

/// Why admission refused, at the last moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmitRefusal {
    /// Another run has the repo's lock or waits for it, or one of the issue is not over.
    #[error("a run is live on this repo")]
    Locked,
    /// The repo is frozen.
    #[error("the repo is frozen")]
    Frozen,
    /// Everything is halted or paused.
    #[error("dispatch is stopped by a switch")]
    Stopped,
    /// The maximum number of runs is at work.
    #[error("the maximum number of runs is at work")]
    Full,
    /// A spend cap of the day has no room for what it may spend.
    #[error("a spend cap of the day has no room for its budget")]
    Spent,
}

/// One compare-and-swap: the record after a transition, its journal row, its sends.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The record after the transition.
    pub run: Run,
    /// The version that it was made from.
    pub expected: u64,
    /// The fencing generation of the lease under which it was made.
    pub generation: u64,
    /// What happened.
    pub transition: Transition,
    /// What was seen and planned when it happened, for audit and replay.
    pub context: serde_json::Value,
    /// When.
    pub at: At,
    /// The doorbells that ring because of it.
    pub sends: Vec<DoorbellSend>,
    /// Freezes the run's repo, with this reason; pages about it start with it.
    pub freeze: Option<String>,
    /// What is checked if the run takes the repo's lock again by it, or reserves more than before.
    /// Without limits the lock is refused.
    pub limits: Option<AdmitLimits>,
}

impl Commit {
    /// A commit of `transition` alone, without doorbells.
    pub fn new(run: Run, expected: u64, generation: u64, transition: Transition, at: At) -> Self {
        Self {
            run,
            expected,
            generation,
            transition,
            context: serde_json::Value::Null,
            at,
            sends: Vec::new(),
            freeze: None,
            limits: None,
        }
    }
}

/// The result of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// It succeeded.
    Yes {
        /// The new version.
        version: u64,
    },
    /// Somebody else was first: load again.
    Conflict,
    /// The limits of the commit do not hold: nothing was written.
    Refused(AdmitRefusal),
    /// Another process holds the lease now: stop.
    Fenced,
}

/// A row of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JournalRow {
    /// Its number within the run, from 1.
    pub seq: u64,
    /// When.
    pub at: At,
    /// The transition and its context.
    pub kind: String,
    /// The transition and its context.
    pub body: serde_json::Value,
    /// The hash that chains it to the previous row, in hex.
    pub hash: String,
}

/// A row of the outbox: a doorbell and the name of the one to ring it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorbellSend {
    /// The doorbell's name.
    pub name: String,
    /// What it rings. Its id is the same for all names, because it is for receivers.
    pub doorbell: Doorbell,
}

impl DoorbellSend {
    /// The stable id of the row: the same send twice is one row.
    pub fn id(&self) -> String {
        format!("{}:{}", self.doorbell.id, self.name)
    }
}

/// A send that was claimed.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The id of its row.
    pub id: String,
    /// The doorbell's name; none in a row from before rows were split by doorbell.
    pub name: Option<String>,
    /// What it rings.
    pub doorbell: Doorbell,
    /// How often it was tried before.
    pub attempts: u32,
}

/// When it was looked at something: when the look began, and when it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// What was found is not older than this.
    pub began: At,
    /// And not newer than this.
    pub answered: At,
}

/// Which runs to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of this repo.
    pub repo: Option<RepoName>,
    /// Only of this issue number.
    pub issue: Option<u64>,
    /// Only runs that are the newest of their issue and handed it to a person.
    pub handed_back: bool,
    /// Maximum number; 0 means 100.
    pub limit: u32,
}

/// A switch that somebody turned on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchState {
    /// Who.
    pub by: String,
    /// When.
    pub at: At,
    /// Why.
    pub why: String,
}

/// A frozen repo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// By whom (a run, or a person), when and why.
    #[serde(flatten)]
    pub thrown: SwitchState,
    /// The pages about it, if a run froze it.
    pub paging: Option<Paging>,
}

/// The switches of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switches {
    /// Everything is halted.
    pub halt: Option<SwitchState>,
    /// Nothing new is dispatched.
    pub pause: Option<SwitchState>,
    /// Frozen repos.
    pub frozen: Vec<(RepoName, Freeze)>,
}

impl Switches {
    /// The freeze of `repo`.
    pub fn freeze_of(&self, repo: &RepoName) -> Option<&Freeze> {
        self.frozen.iter().find(|(name, _)| name == repo).map(|(_, freeze)| freeze)
    }
}

/// One more page about a freeze.
#[derive(Debug, Clone)]
pub struct Page<'a> {
    /// The pages so far.
    pub before: &'a Paging,
    /// The pages with this one.
    pub after: &'a Paging,
    /// What to ring, one for each doorbell.
    pub sends: &'a [DoorbellSend],
}

/// Which switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switch {
    /// Halt everything.
    Halt,
    /// Pause dispatch.
    Pause,
    /// Freeze one repo.
    Freeze(RepoName),
}

/// The store. Times are arguments; a failed call leaves nothing half done.
#[async_trait]
pub trait Store: Send + Sync {
    /// Admits `run` in one write transaction that checks again what spans runs.
    async fn admit(&self, run: &Run, limits: &AdmitLimits, now: At) -> PortResult<Admission>;
    /// One run.
    async fn load(&self, run: RunId) -> PortResult<Option<StoredRun>>;
    /// One compare-and-swap.
    async fn commit(&self, commit: Commit) -> PortResult<Committed>;
    /// Every run that is not settled.
    async fn live(&self) -> PortResult<Vec<StoredRun>>;
    /// Their names only, without reading records: called twice a second.
    async fn live_runs(&self) -> PortResult<Vec<LiveRun>>;
    /// Runs, newest first.
    async fn runs(&self, filter: &Filter) -> PortResult<Vec<StoredRun>>;
    /// A page of the journal of a run, after row `after`; empty at its end.
    async fn journal(&self, run: RunId, after: u64) -> PortResult<Vec<JournalRow>>;
    /// Takes or renews the lease on `key`; returns its fencing generation, or none if another
    /// process holds it.
    async fn lease(
        &self,
        key: &str,
        owner: &str,
        ttl: Duration,
        now: At,
    ) -> PortResult<Option<u64>>;
    /// Releases a lease.
    async fn unlease(&self, key: &str, owner: &str) -> PortResult<()>;
    /// The switches.
    async fn switches(&self) -> PortResult<Switches>;
    /// Turns a switch on, or off if `state` is none. What a person freezes or unfreezes no longer
    /// rings pages: over a run's freeze, theirs keeps its pages, as acknowledged by them.
    async fn switch(&self, switch: &Switch, state: Option<&SwitchState>) -> PortResult<()>;
    /// Lifts the freeze of `repo` in the name of `by`, who requested it at `asked`: only a freeze
    /// from before that. Returns whether there was one.
    async fn unfreeze(&self, repo: &RepoName, by: &str, asked: At) -> PortResult<bool>;
    /// Puts a page of a frozen repo into the outbox, with the pages as they are `after` it. A
    /// doorbell that still has something of that run to ring gets none: pages do not pile up. Does
    /// nothing, and returns so, if no doorbell is left, or if the pages are not as they were
    /// `before`.
    async fn page(&self, repo: &RepoName, page: &Page<'_>) -> PortResult<bool>;
    /// Records that somebody acknowledged the freeze of `repo`; returns the freeze afterwards, or
    /// none if the repo is not frozen. The first acknowledgement stays.
    async fn acknowledge(&self, repo: &RepoName, by: &Acknowledged) -> PortResult<Option<Freeze>>;
    /// What holds dispatch, found before there was a run, and since when.
    async fn holds(&self) -> PortResult<BTreeMap<HoldCause, At>>;
    /// Notes that `cause` was found to hold dispatch, and puts its doorbells into the outbox in
    /// the same transaction. Does nothing, and says so, where that is noted already, or where
    /// the cause was found mended after this look began.
    async fn hold(
        &self,
        cause: &HoldCause,
        looked: Looked,
        sends: &[DoorbellSend],
    ) -> PortResult<bool>;
    /// Notes that `cause` was found mended; false where nothing is held for it, or only since
    /// this look began.
    async fn unhold(&self, cause: &HoldCause, looked: Looked) -> PortResult<bool>;
    /// A remembered result: (kind, tree, command digest).
    async fn recall(&self, key: &MemoKey) -> PortResult<Option<serde_json::Value>>;
    /// Remembers a result.
    async fn remember(&self, key: &MemoKey, value: &serde_json::Value, now: At) -> PortResult<()>;
    /// Claims due sends, oldest first, for `owner` and `ttl`; none for doorbells in `busy`, where
    /// none stands for rows without a name.
    async fn claim(
        &self,
        owner: &str,
        ttl: Duration,
        now: At,
        at_most: u32,
        busy: &BTreeSet<Option<String>>,
    ) -> PortResult<Vec<Outgoing>>;
    /// Records that a send was delivered.
    async fn rung(&self, id: &str, owner: &str, now: At) -> PortResult<()>;
    /// Records that a send failed, and when to try again; none gives it up for good.
    async fn not_rung(
        &self,
        id: &str,
        owner: &str,
        error: &str,
        again: Option<At>,
        now: At,
    ) -> PortResult<()>;
    /// What was spent since `since`, including live runs' budgets.
    async fn spent(&self, since: At) -> PortResult<Spent>;
    /// Keeps a request to `run`; false if one with its id is kept already.
    async fn ask(&self, run: RunId, asked: &PersonRequest) -> PortResult<bool>;
    /// The requests to `run`, oldest first.
    async fn requests(&self, run: RunId) -> PortResult<Vec<Requested>>;
    /// The requests to any run on `issue`, oldest first.
    async fn requests_on(&self, issue: &IssueRef) -> PortResult<Vec<PersonRequest>>;
    /// The requests to any run that have no answer and come after number `after`.
    async fn open_requests(&self, after: u64) -> PortResult<Vec<OpenRequest>>;
    /// Records the answer to a request; the first one stays.
    async fn answer(&self, id: &str, answer: &str, now: At) -> PortResult<()>;
    /// Until when, by the tracker's clock, the comments of each repo were read; where none were,
    /// the release of the first run. Only repos in which an issue had a run are there.
    async fn heard(&self) -> PortResult<BTreeMap<RepoName, At>>;
    /// Records that the comments of `repo` were read until then; never goes back.
    async fn note_heard(&self, repo: &RepoName, until: At) -> PortResult<()>;
    /// Records that a control plane runs at `now`, unless the last such note is older than
    /// `within`: then nothing is written, and that note is returned.
    async fn beat(&self, now: At, within: SignedDuration) -> PortResult<Option<At>>;
}

/// What was spent, and what live runs may still spend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spent {
    /// By repo; a repo without an entry spent nothing.
    pub by_repo: BTreeMap<RepoName, Usd>,
    /// By all of them.
    pub all: Usd,
}

/// A person's request, and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// The request.
    #[serde(flatten)]
    pub asked: PersonRequest,
    /// When it was answered, and how; none while it is open.
    pub answered: Option<(At, String)>,
}

/// A request that has no answer yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRequest {
    /// Its number in the whole store, from 1.
    pub seq: u64,
    /// The run.
    pub run: RunId,
    /// The request.
    pub asked: PersonRequest,
}

/// The key of a remembered result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemoKey {
    /// What kind of run gave it.
    pub kind: String,
    /// The tree it ran on.
    pub tree: String,
    /// The digest of the command.
    pub command: String,
}
