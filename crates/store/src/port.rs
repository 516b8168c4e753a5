//! Implements the engine's store port. Each call is implemented in a module beside this one; here
//! its error gets the name of the file, and one of the kinds that the loop distinguishes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use afk_core::chain::Link;
use afk_core::freeze::Acknowledgement;
use afk_core::hold::HoldCause;
use afk_core::ids::{At, IssueRef, RepoName, RunId};
use afk_core::request::PersonRequest;
use afk_core::run::Run;
use afk_engine::ports::{
    self, Admission, AdmitLimits, CheckSpan, Commit, Committed, DoorbellSend, Filter, Freeze,
    JournalRow, Journals, LiveRun, MemoKey, Notes, OpenRequest, Outgoing, Page, PortError,
    PortErrorKind, PortResult, Requested, Spent, StoredRun, Switch, SwitchState, Switches,
};
use async_trait::async_trait;
use jiff::SignedDuration;

use super::{
    Store, StoreError, StoreErrorKind, admit, beat, comments, freezes, holds, journal, leases,
    ledger, memo, outbox, requests, runs, switches,
};

impl Store {
    fn in_kind<T>(&self, done: Result<T, StoreError>) -> PortResult<T> {
        done.map_err(|error| self.fault(error).into())
    }
}

#[async_trait]
impl ports::Store for Store {
    async fn admit(&self, run: &Run, limits: &AdmitLimits, now: At) -> PortResult<Admission> {
        self.in_kind(admit::admit(self, run, limits, now).await)
    }

    async fn load(&self, run: RunId) -> PortResult<Option<StoredRun>> {
        self.in_kind(runs::load(self, run).await)
    }

    async fn commit(&self, commit: Commit) -> PortResult<Committed> {
        self.in_kind(runs::commit(self, commit).await)
    }

    async fn live(&self) -> PortResult<Vec<StoredRun>> {
        self.in_kind(runs::live(self).await)
    }

    async fn live_runs(&self) -> PortResult<Vec<LiveRun>> {
        self.in_kind(runs::live_names(self).await)
    }

    async fn runs(&self, filter: &Filter) -> PortResult<Vec<StoredRun>> {
        self.in_kind(runs::list(self, filter).await)
    }

    async fn journal(&self, run: RunId, after: u64) -> PortResult<Vec<JournalRow>> {
        self.in_kind(journal::page(self, run, after).await)
    }

    async fn lease(
        &self,
        key: &str,
        owner: &str,
        ttl: Duration,
        now: At,
    ) -> PortResult<Option<u64>> {
        self.in_kind(leases::lease(self, key, owner, ttl, now).await)
    }

    async fn unlease(&self, key: &str, owner: &str) -> PortResult<()> {
        self.in_kind(leases::unlease(self, key, owner).await)
    }

    async fn switches(&self) -> PortResult<Switches> {
        self.in_kind(switches::all(self).await)
    }

    async fn throw(&self, switch: &Switch, state: &SwitchState) -> PortResult<()> {
        self.in_kind(switches::throw(self, switch, state).await)
    }

    async fn lift(&self, switch: &Switch, by: &str, at: At) -> PortResult<()> {
        self.in_kind(switches::lift(self, switch, by, at).await)
    }

    async fn unfreeze(&self, repo: &RepoName, by: &str, asked: At) -> PortResult<bool> {
        self.in_kind(freezes::lift_older(self, repo, by, asked).await)
    }

    async fn page(&self, repo: &RepoName, page: &Page<'_>) -> PortResult<bool> {
        self.in_kind(freezes::page(self, repo, page).await)
    }

    async fn acknowledge(
        &self,
        repo: &RepoName,
        by: &Acknowledgement,
    ) -> PortResult<Option<Freeze>> {
        self.in_kind(freezes::acknowledge(self, repo, by).await)
    }

    async fn holds(&self) -> PortResult<BTreeMap<HoldCause, At>> {
        self.in_kind(holds::all(self).await)
    }

    async fn hold(
        &self,
        cause: &HoldCause,
        looked: CheckSpan,
        sends: &[DoorbellSend],
    ) -> PortResult<bool> {
        self.in_kind(holds::hold(self, cause, looked, sends).await)
    }

    async fn unhold(&self, cause: &HoldCause, looked: CheckSpan) -> PortResult<bool> {
        self.in_kind(holds::unhold(self, cause, looked).await)
    }

    async fn recall(&self, key: &MemoKey) -> PortResult<Option<serde_json::Value>> {
        self.in_kind(memo::recall(self, key).await)
    }

    async fn remember(&self, key: &MemoKey, value: &serde_json::Value, now: At) -> PortResult<()> {
        self.in_kind(memo::remember(self, key, value, now).await)
    }

    async fn forget_results(&self, kinds: &str, before: At) -> PortResult<u64> {
        self.in_kind(memo::forget(self, kinds, before).await)
    }

    async fn claim(
        &self,
        owner: &str,
        ttl: Duration,
        now: At,
        at_most: u32,
        busy: &BTreeSet<Option<String>>,
    ) -> PortResult<Vec<Outgoing>> {
        self.in_kind(outbox::claim(self, owner, ttl, now, at_most, busy).await)
    }

    async fn rung(&self, id: &str, owner: &str, now: At) -> PortResult<()> {
        self.in_kind(outbox::done(self, id, owner, now).await).map(drop)
    }

    async fn not_rung(
        &self,
        id: &str,
        owner: &str,
        error: &str,
        again: Option<At>,
        now: At,
    ) -> PortResult<()> {
        self.in_kind(outbox::failed(self, id, owner, error, again, now).await).map(drop)
    }

    async fn spent(&self, since: At) -> PortResult<Spent> {
        self.in_kind(ledger::spent(self, since).await)
    }

    async fn add_request(&self, run: RunId, request: &PersonRequest) -> PortResult<bool> {
        self.in_kind(requests::add(self, run, request).await)
    }

    async fn requests(&self, run: RunId) -> PortResult<Vec<Requested>> {
        self.in_kind(requests::of_run(self, run).await)
    }

    async fn requests_on(&self, issue: &IssueRef) -> PortResult<Vec<PersonRequest>> {
        self.in_kind(requests::on_issue(self, issue).await)
    }

    async fn open_requests(&self, after: u64) -> PortResult<Vec<OpenRequest>> {
        self.in_kind(requests::open(self, after).await)
    }

    async fn answer(&self, id: &str, answer: &str, now: At) -> PortResult<()> {
        self.in_kind(requests::answer(self, id, answer, now).await)
    }

    async fn comments_read_until(&self) -> PortResult<BTreeMap<RepoName, At>> {
        self.in_kind(comments::comments_read_until(self).await)
    }

    async fn note_comments_read(&self, repo: &RepoName, until: At) -> PortResult<()> {
        self.in_kind(comments::note_comments_read(self, repo, until).await)
    }

    async fn beat(&self, now: At, within: SignedDuration) -> PortResult<Option<At>> {
        self.in_kind(beat::beat(self, now, within).await)
    }
}

#[async_trait]
impl Journals for Store {
    async fn chain(&self, run: RunId) -> PortResult<Vec<Link>> {
        self.in_kind(journal::chain(self, run).await)
    }
}

/// Notes are stored as remembered results without a command.
#[async_trait]
impl Notes for Store {
    async fn read(&self, kind: &str, key: &str) -> PortResult<Option<serde_json::Value>> {
        self.in_kind(memo::recall(self, &note(kind, key)).await)
    }

    async fn write(
        &self,
        kind: &str,
        key: &str,
        value: &serde_json::Value,
        now: At,
    ) -> PortResult<()> {
        self.in_kind(memo::remember(self, &note(kind, key), value, now).await)
    }
}

fn note(kind: &str, key: &str) -> MemoKey {
    MemoKey { kind: kind.to_owned(), tree: key.to_owned(), command: String::new() }
}

/// Only an object that is clearly missing, and an error that clearly needs a person, are told
/// apart. Any other failure counts as transient, because the next pass may succeed.
impl From<StoreError> for PortError {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            StoreErrorKind::NotFound(_) => Self::new(PortErrorKind::NotFound, error),
            StoreErrorKind::UnknownSwitch(_) => Self::permanent(error),
            StoreErrorKind::Locked
            | StoreErrorKind::DiskFull
            | StoreErrorKind::ReadOnly
            | StoreErrorKind::NotOurs
            | StoreErrorKind::Corrupt
            | StoreErrorKind::CannotOpen(_)
            | StoreErrorKind::NotCopied(_)
            | StoreErrorKind::NewerSchema { .. }
            | StoreErrorKind::InUse(_)
            | StoreErrorKind::ForeignSchema(_)
            | StoreErrorKind::Closed
            | StoreErrorKind::Finished(_)
            | StoreErrorKind::Malformed { .. }
            | StoreErrorKind::Io
            | StoreErrorKind::Query => Self::transient(error),
        }
    }
}
