//! The store: runs, journal, outbox, leases, switches.
//!
//! Each run is changed by compare-and-swap. Limits that span runs (one holder of a repo's lock, one
//! live run an issue, capacity, spending, freezes) are checked again inside the transaction in which
//! a run is admitted or takes the lock again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use afk_core::config::Policy;
use afk_core::doorbell::Doorbell;
use afk_core::freeze::{Acknowledgement, Paging};
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
    /// The run's record.
    pub run: Run,
    /// The record's version: 1 after admission, and one more after each commit.
    pub version: u64,
}

/// A run that is not settled, without its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveRun {
    /// The id of the run.
    pub run: RunId,
    /// The issue that the run works.
    pub issue: IssueRef,
    /// Whether the run holds the lock of its repo.
    pub holds_lock: bool,
}

impl LiveRun {
    /// Whether the run has stepped aside while people decide on its pull request.
    pub fn is_aside(&self) -> bool {
        !self.holds_lock
    }
}

/// The limits that are checked again in the transaction in which a run gets a repo's lock or more
/// budget.
#[derive(Debug, Clone)]
pub struct AdmitLimits {
    /// Maximum number of runs that hold a lock, in all repos together.
    pub max_at_work: u32,
    /// The spend caps of the day.
    pub caps: DayCaps,
}

impl AdmitLimits {
    /// Those of `policy` at `now`.
    pub fn of(policy: &Policy, now: At) -> Self {
        Self { max_at_work: policy.max_concurrent_runs, caps: DayCaps::of(policy, now) }
    }
}

/// The spend caps of one day (UTC). What live runs have reserved counts as spent.
#[derive(Debug, Clone, Copy)]
pub struct DayCaps {
    /// The most that one repo may spend; none without a cap.
    pub repo: Option<Usd>,
    /// The most that all repos together may spend; none without a cap.
    pub all: Option<Usd>,
    /// The start of the day.
    pub start: At,
}

impl DayCaps {
    /// Returns the caps of `policy` for the day of `now`.
    pub fn of(policy: &Policy, now: At) -> Self {
        let day = now.to_zoned(TimeZone::UTC).start_of_day();
        let start = day.map_or(now, |day| day.timestamp());
        Self { repo: policy.repo_day_budget_usd, all: policy.day_budget_usd, start }
    }
}

/// The result of [`Store::admit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// The run is in the store.
    Admitted,
    /// The run is not in the store.
    Refused(AdmitRefusal),
}

/// Why admission refused a run that had passed the gates, or a commit of a live run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmitRefusal {
    /// Another run has the repo's lock or waits for it, or one of the issue is not over.
    #[error("a run is live on this repository")]
    Locked,
    /// The repo is frozen.
    #[error("the repository is frozen")]
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

/// One compare-and-swap of a run: its record after a transition, and what is written with it.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The record after the transition.
    pub run: Run,
    /// The version of the record before the transition.
    pub expected: u64,
    /// The fencing generation of the lease on the run, under which the commit was made.
    pub generation: u64,
    /// What happened to the run.
    pub transition: Transition,
    /// What was seen and planned when it happened, for audit and replay.
    pub context: serde_json::Value,
    /// When it happened.
    pub at: At,
    /// The doorbells that ring because of it.
    pub sends: Vec<DoorbellSend>,
    /// If set, the commit also freezes the run's repo for this reason, and paging about it begins.
    pub freeze: Option<String>,
    /// Checked if the run takes the repo's lock again or may reserve more than before. Without limits
    /// it does not get the lock.
    pub limits: Option<AdmitLimits>,
}

impl Commit {
    /// Creates a commit of `transition` alone: no context, doorbells, freeze or caps.
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
    /// The commit was written.
    Yes {
        /// The new version of the record.
        version: u64,
    },
    /// The record has another version than expected: load it again.
    Conflict,
    /// The limits of the commit do not hold, and nothing was written.
    Refused(AdmitRefusal),
    /// The lease is no longer held under that generation: stop working the run.
    Fenced,
}

/// A row of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JournalRow {
    /// The row's number within the run, from 1.
    pub seq: u64,
    /// When the transition happened.
    pub at: At,
    /// The stable word for the kind of transition, as in [`Transition::kind`].
    pub kind: String,
    /// The transition and its context.
    pub body: serde_json::Value,
    /// The hash that chains it to the previous row, in hex.
    pub hash: String,
}

/// A row to be written to the outbox: a message, and the doorbell that is to deliver it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorbellSend {
    /// The doorbell's name in the configuration.
    pub name: String,
    /// The message. Its id is the same whichever doorbell delivers it, because receivers tell
    /// repeats by it.
    pub doorbell: Doorbell,
}

impl DoorbellSend {
    /// Returns the stable id of the row: the same send twice is one row.
    pub fn id(&self) -> String {
        format!("{}:{}", self.doorbell.id, self.name)
    }
}

/// A row of the outbox that was claimed for delivery.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The id of the row.
    pub id: String,
    /// The doorbell's name in the configuration; none in a row from before rows were split by
    /// doorbell, which is for all of them.
    pub name: Option<String>,
    /// The message to deliver.
    pub doorbell: Doorbell,
    /// How often delivery was tried before.
    pub attempts: u32,
}

/// When a check of the world was made. The state that it found was in force at some time between
/// the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckSpan {
    /// When the check began.
    pub began: At,
    /// When its answer was there.
    pub answered: At,
}

/// Which runs to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only runs of this repo.
    pub repo: Option<RepoName>,
    /// Only runs of issues with this number.
    pub issue: Option<u64>,
    /// Only runs that are the newest of their issue and handed it over to a person.
    pub handed_back: bool,
    /// Maximum number of runs; 0 means 100.
    pub limit: u32,
}

/// Who turned a switch on, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchState {
    /// The person, or the id of the run for a freeze that a run caused.
    pub by: String,
    /// When it was turned on.
    pub at: At,
    /// The reason that was given.
    pub why: String,
}

/// The freeze of a repo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// Who froze it (a person or a run), when and why.
    #[serde(flatten)]
    pub thrown: SwitchState,
    /// The pages about it, if a run froze it.
    pub paging: Option<Paging>,
}

/// The switches that are on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switches {
    /// The halt, which stops current work too; none while it is off.
    pub halt: Option<SwitchState>,
    /// The pause, under which nothing new is dispatched; none while it is off.
    pub pause: Option<SwitchState>,
    /// The frozen repos, sorted by name.
    pub frozen: Vec<(RepoName, Freeze)>,
}

impl Switches {
    /// Returns the freeze of `repo`; none if it is not frozen.
    pub fn freeze_of(&self, repo: &RepoName) -> Option<&Freeze> {
        self.frozen.iter().find(|(name, _)| name == repo).map(|(_, freeze)| freeze)
    }
}

/// One more page about a freeze.
#[derive(Debug, Clone)]
pub struct Page<'a> {
    /// The record of the pages so far, which must still be the stored one.
    pub before: &'a Paging,
    /// The record with this page in it.
    pub after: &'a Paging,
    /// The rows for the outbox, one for each doorbell that wants the page.
    pub sends: &'a [DoorbellSend],
}

/// Names a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switch {
    /// The halt: stops all work.
    Halt,
    /// The pause: stops dispatch, and nothing that is under way.
    Pause,
    /// The freeze of one repo.
    Freeze(RepoName),
}

/// The store. It reads no clock: times are arguments. A failed call leaves nothing half done.
#[async_trait]
pub trait Store: Send + Sync {
    /// Admits `run` in one write transaction that checks the limits that span runs. A run that was
    /// admitted before is left as it is.
    async fn admit(&self, run: &Run, limits: &AdmitLimits, now: At) -> PortResult<Admission>;
    /// Returns one run, if the store has it.
    async fn load(&self, run: RunId) -> PortResult<Option<StoredRun>>;
    /// Writes one commit, or nothing of it.
    async fn commit(&self, commit: Commit) -> PortResult<Committed>;
    /// Returns every run that is not settled.
    async fn live(&self) -> PortResult<Vec<StoredRun>>;
    /// Returns the live runs without their records, for callers that call often and need no more.
    async fn live_runs(&self) -> PortResult<Vec<LiveRun>>;
    /// Returns the runs that match `filter`, newest first.
    async fn runs(&self, filter: &Filter) -> PortResult<Vec<StoredRun>>;
    /// Returns a page of the run's journal, after row `after`; empty at its end.
    async fn journal(&self, run: RunId, after: u64) -> PortResult<Vec<JournalRow>>;
    /// Takes or renews the lease on `key` until `ttl` after `now`; returns its fencing generation,
    /// or none if another owner holds it. One that ends later than twice `ttl` from `now` is over:
    /// the clock was set back since.
    async fn lease(
        &self,
        key: &str,
        owner: &str,
        ttl: Duration,
        now: At,
    ) -> PortResult<Option<u64>>;
    /// Releases the lease on `key` if `owner` holds it.
    async fn unlease(&self, key: &str, owner: &str) -> PortResult<()>;
    /// Returns the switches that are on. A switch that this version does not know is an error.
    async fn switches(&self) -> PortResult<Switches>;
    /// Turns a switch on in a person's name. A repo that a person freezes is not paged about any
    /// more: if a run froze it before, that paging is kept, as acknowledged by the person.
    async fn throw(&self, switch: &Switch, state: &SwitchState) -> PortResult<()>;
    /// Turns a switch off in the name of `by`, at `at`. A repo that is no longer frozen is not paged
    /// about any more.
    async fn lift(&self, switch: &Switch, by: &str, at: At) -> PortResult<()>;
    /// Lifts the freeze of `repo` in the name of `by`, who requested that at `asked`, if the freeze
    /// is older than the request. Returns whether it was lifted.
    async fn unfreeze(&self, repo: &RepoName, by: &str, asked: At) -> PortResult<bool>;
    /// Writes a page about the freeze of `repo` to the outbox, and `page.after` to the freeze. A
    /// doorbell that still has something of that run to deliver is left out, so that pages do not
    /// pile up. Does nothing, and returns false, if that leaves no doorbell, or if the freeze no
    /// longer has `page.before`.
    async fn page(&self, repo: &RepoName, page: &Page<'_>) -> PortResult<bool>;
    /// Records that somebody acknowledged the freeze of `repo`; returns the freeze afterwards, or
    /// none if the repo is not frozen. The first acknowledgement stays.
    async fn acknowledge(
        &self,
        repo: &RepoName,
        by: &Acknowledgement,
    ) -> PortResult<Option<Freeze>>;
    /// Returns what holds dispatch, as noted by [`Store::hold`], and since when.
    async fn holds(&self) -> PortResult<BTreeMap<HoldCause, At>>;
    /// Notes that `cause` was found to hold dispatch, and writes its doorbells to the outbox in the
    /// same transaction. Does nothing, and returns false, if that is noted already, or if the
    /// cause was found cleared after this look began.
    async fn hold(
        &self,
        cause: &HoldCause,
        looked: CheckSpan,
        sends: &[DoorbellSend],
    ) -> PortResult<bool>;
    /// Notes that `cause` was found cleared. Does nothing, and returns false, if dispatch is not
    /// held for it, or has been only since this look began.
    async fn unhold(&self, cause: &HoldCause, looked: CheckSpan) -> PortResult<bool>;
    /// Returns the result remembered under `key`, if there is one.
    async fn recall(&self, key: &MemoKey) -> PortResult<Option<serde_json::Value>>;
    /// Remembers a result under `key`, replacing an older one.
    async fn remember(&self, key: &MemoKey, value: &serde_json::Value, now: At) -> PortResult<()>;
    /// Forgets the results that were remembered before `before` and whose kind begins with `kinds`.
    /// Returns how many there were.
    async fn forget_results(&self, kinds: &str, before: At) -> PortResult<u64>;
    /// Claims at most `at_most` due rows of the outbox for `owner`, oldest first, until `ttl` after
    /// `now`. Rows of doorbells in `busy` are left out; `None` there stands for rows without a
    /// name. A row is also due if its time is further away than [`LONGEST_LIMIT`], which no failure
    /// asks for, and a claim is over if it ends later than twice `ttl` from `now`: the clock was set
    /// back since.
    ///
    /// [`LONGEST_LIMIT`]: afk_core::trouble::LONGEST_LIMIT
    async fn claim(
        &self,
        owner: &str,
        ttl: Duration,
        now: At,
        at_most: u32,
        busy: &BTreeSet<Option<String>>,
    ) -> PortResult<Vec<Outgoing>>;
    /// Records that a claimed row was delivered.
    async fn rung(&self, id: &str, owner: &str, now: At) -> PortResult<()>;
    /// Records that a claimed row was not delivered, and when it is due `again`, at most
    /// [`LONGEST_LIMIT`] from now; none gives it up for good.
    ///
    /// [`LONGEST_LIMIT`]: afk_core::trouble::LONGEST_LIMIT
    async fn not_rung(
        &self,
        id: &str,
        owner: &str,
        error: &str,
        again: Option<At>,
        now: At,
    ) -> PortResult<()>;
    /// Returns what was spent on the day (UTC) of `since`, and what live runs reserve now.
    async fn spent(&self, since: At) -> PortResult<Spent>;
    /// Stores a request to `run`; false if one with its id is stored already.
    async fn add_request(&self, run: RunId, request: &PersonRequest) -> PortResult<bool>;
    /// Returns the requests to `run`, oldest first.
    async fn requests(&self, run: RunId) -> PortResult<Vec<Requested>>;
    /// Returns the requests to any run on `issue`, oldest first.
    async fn requests_on(&self, issue: &IssueRef) -> PortResult<Vec<PersonRequest>>;
    /// Returns the requests to any run that have no answer and a number above `after`, oldest
    /// first.
    async fn open_requests(&self, after: u64) -> PortResult<Vec<OpenRequest>>;
    /// Records the answer to a request; the first one stays.
    async fn answer(&self, id: &str, answer: &str, now: At) -> PortResult<()>;
    /// Returns up to when, by the tracker's clock, the comments of each repo were read: at first
    /// the release of its first run. A repo that never had a run is not in the map.
    async fn comments_read_until(&self) -> PortResult<BTreeMap<RepoName, At>>;
    /// Records that the comments of `repo` were read up to `until`; the time never goes back.
    async fn note_comments_read(&self, repo: &RepoName, until: At) -> PortResult<()>;
    /// Records that a control plane runs at `now`. If the last record is older than `within`,
    /// nothing is written, and the time of that record is returned instead.
    async fn beat(&self, now: At, within: SignedDuration) -> PortResult<Option<At>>;
}

/// What was spent on a day, plus what live runs have reserved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spent {
    /// The sum of each repo; a repo without an entry spent nothing.
    pub by_repo: BTreeMap<RepoName, Usd>,
    /// The sum of all repos.
    pub all: Usd,
}

/// A person's request, and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// The request.
    #[serde(flatten)]
    pub request: PersonRequest,
    /// When the request was answered, and the text of the answer; none while it is open.
    pub answered: Option<(At, String)>,
}

/// A request that has no answer yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRequest {
    /// The request's number in the whole store, from 1.
    pub seq: u64,
    /// The run that the request is for.
    pub run: RunId,
    /// The request.
    pub request: PersonRequest,
}

/// The key of a remembered result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemoKey {
    /// The kind of result, such as `verify`.
    pub kind: String,
    /// The id of the tree that the command ran on.
    pub tree: String,
    /// The digest of the command and its conditions.
    pub command: String,
}
