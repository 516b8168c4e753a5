//! The store, over the world.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use afk_core::freeze::Acknowledgement;
use afk_core::hold::HoldCause;
use afk_core::ids::{At, IssueRef, RepoName, RunId};
use afk_core::plan::End;
use afk_core::request::PersonRequest;
use afk_core::run::Run;
use afk_engine::ports::{
    Admission, AdmitLimits, CheckSpan, Commit, Committed, DoorbellSend, Filter, Freeze, JournalRow,
    LiveRun, MemoKey, OpenRequest, Outgoing, Page, PortResult, Requested, Spent, Store, StoredRun,
    Switch, SwitchState, Switches,
};
use async_trait::async_trait;
use jiff::SignedDuration;

use super::Sim;
use crate::world::World;

#[async_trait]
impl Store for Sim {
    async fn admit(&self, run: &Run, limits: &AdmitLimits, _now: At) -> PortResult<Admission> {
        self.call("store.admit", |world| world.admit(run, limits)).await
    }

    async fn load(&self, run: RunId) -> PortResult<Option<StoredRun>> {
        self.call("store.load", |world| Ok(world.load(run))).await
    }

    async fn commit(&self, commit: Commit) -> PortResult<Committed> {
        self.call("store.commit", |world| world.commit(commit)).await
    }

    async fn live(&self) -> PortResult<Vec<StoredRun>> {
        self.call("store.live", |world| Ok(world.live())).await
    }

    async fn live_runs(&self) -> PortResult<Vec<LiveRun>> {
        self.call("store.live_runs", |world| Ok(world.live_runs())).await
    }

    async fn runs(&self, filter: &Filter) -> PortResult<Vec<StoredRun>> {
        self.call("store.runs", |world| {
            let mut found = Vec::new();
            for id in world.store.runs.keys().rev().copied().collect::<Vec<_>>() {
                found.extend(world.load(id));
            }
            if filter.handed_back {
                let mut seen = BTreeSet::new();
                found.retain(|stored| {
                    let end = stored.run.conclusion.as_ref().map(|conclusion| conclusion.end);
                    let newest = seen.insert(stored.run.issue.clone());
                    newest && end.is_some_and(End::is_handed_over)
                });
            }
            found.retain(|stored| {
                let issue = &stored.run.issue;
                filter.repo.as_ref().is_none_or(|repo| *repo == issue.repo)
                    && filter.issue.is_none_or(|number| number == issue.number)
            });
            found.truncate(if filter.limit == 0 { 100 } else { filter.limit as usize });
            Ok(found)
        })
        .await
    }

    async fn journal(&self, run: RunId, after: u64) -> PortResult<Vec<JournalRow>> {
        self.call("store.journal", |world| Ok(world.journal(run, after))).await
    }

    async fn lease(
        &self,
        key: &str,
        owner: &str,
        ttl: Duration,
        now: At,
    ) -> PortResult<Option<u64>> {
        self.call("store.lease", |world| Ok(world.lease(key, owner, ttl, now))).await
    }

    async fn unlease(&self, key: &str, owner: &str) -> PortResult<()> {
        self.call("store.unlease", |world| {
            world.unlease(key, owner);
            Ok(())
        })
        .await
    }

    async fn switches(&self) -> PortResult<Switches> {
        self.call("store.switches", World::switches).await
    }

    async fn throw(&self, switch: &Switch, state: &SwitchState) -> PortResult<()> {
        self.call("store.throw", |world| {
            world.throw(switch, Some(state));
            Ok(())
        })
        .await
    }

    async fn lift(&self, switch: &Switch, _by: &str, _at: At) -> PortResult<()> {
        self.call("store.lift", |world| {
            world.throw(switch, None);
            Ok(())
        })
        .await
    }

    async fn unfreeze(&self, repo: &RepoName, _by: &str, asked: At) -> PortResult<bool> {
        self.call("store.unfreeze", |world| Ok(world.unfreeze(repo, asked))).await
    }

    async fn page(&self, repo: &RepoName, page: &Page<'_>) -> PortResult<bool> {
        self.call("store.page", |world| Ok(world.page(repo, page))).await
    }

    async fn acknowledge(
        &self,
        repo: &RepoName,
        by: &Acknowledgement,
    ) -> PortResult<Option<Freeze>> {
        self.call("store.acknowledge", |world| Ok(world.acknowledge(repo, by))).await
    }

    async fn holds(&self) -> PortResult<BTreeMap<HoldCause, At>> {
        self.call("store.holds", |world| Ok(world.holds())).await
    }

    async fn hold(
        &self,
        cause: &HoldCause,
        looked: CheckSpan,
        sends: &[DoorbellSend],
    ) -> PortResult<bool> {
        self.call("store.hold", |world| Ok(world.hold(cause, looked, sends))).await
    }

    async fn unhold(&self, cause: &HoldCause, looked: CheckSpan) -> PortResult<bool> {
        self.call("store.unhold", |world| Ok(world.unhold(cause, looked))).await
    }

    async fn recall(&self, key: &MemoKey) -> PortResult<Option<serde_json::Value>> {
        self.call("store.recall", |world| {
            Ok(world.store.memos.get(&World::memo(key)).map(|(value, _)| value.clone()))
        })
        .await
    }

    async fn remember(&self, key: &MemoKey, value: &serde_json::Value, now: At) -> PortResult<()> {
        self.call("store.remember", |world| {
            world.store.memos.insert(World::memo(key), (value.clone(), now));
            Ok(())
        })
        .await
    }

    async fn forget_results(&self, kinds: &str, before: At) -> PortResult<u64> {
        self.call("store.forget_results", |world| {
            let memos = &mut world.store.memos;
            let held = memos.len();
            memos.retain(|key, (_, at)| *at >= before || !key.starts_with(kinds));
            Ok((held - memos.len()) as u64)
        })
        .await
    }

    async fn claim(
        &self,
        owner: &str,
        ttl: Duration,
        now: At,
        at_most: u32,
        busy: &BTreeSet<Option<String>>,
    ) -> PortResult<Vec<Outgoing>> {
        self.call("store.claim", |world| Ok(world.claim(owner, ttl, now, at_most, busy))).await
    }

    async fn rung(&self, id: &str, owner: &str, _now: At) -> PortResult<()> {
        self.call("store.rung", |world| world.delivered(id, owner)).await
    }

    async fn not_rung(
        &self,
        id: &str,
        owner: &str,
        _error: &str,
        again: Option<At>,
        now: At,
    ) -> PortResult<()> {
        self.call("store.not_rung", |world| world.not_delivered(id, owner, again, now)).await
    }

    async fn spent(&self, _since: At) -> PortResult<Spent> {
        self.call("store.spent", |world| Ok(world.spent())).await
    }

    async fn add_request(&self, run: RunId, request: &PersonRequest) -> PortResult<bool> {
        self.call("store.add_request", |world| Ok(world.add_request(run, request))).await
    }

    async fn requests(&self, run: RunId) -> PortResult<Vec<Requested>> {
        self.call("store.requests", |world| Ok(world.store.requests_to(run))).await
    }

    async fn requests_on(&self, issue: &IssueRef) -> PortResult<Vec<PersonRequest>> {
        self.call("store.requests_on", |world| Ok(world.store.requests_on(issue))).await
    }

    async fn comments_read_until(&self) -> PortResult<BTreeMap<RepoName, At>> {
        self.call("store.comments_read_until", |world| Ok(world.store.comments_read_until.clone()))
            .await
    }

    async fn note_comments_read(&self, repo: &RepoName, until: At) -> PortResult<()> {
        self.call("store.note_comments_read", |world| {
            let noted = world.store.comments_read_until.entry(repo.clone()).or_insert(until);
            *noted = until.max(*noted);
            Ok(())
        })
        .await
    }

    async fn open_requests(&self, after: u64) -> PortResult<Vec<OpenRequest>> {
        self.call("store.open_requests", |world| Ok(world.store.open_requests(after))).await
    }

    async fn answer(&self, id: &str, answer: &str, now: At) -> PortResult<()> {
        self.call("store.answer", |world| world.answer(id, answer, now)).await
    }

    async fn beat(&self, now: At, within: SignedDuration) -> PortResult<Option<At>> {
        self.call("store.beat", |world| {
            let old = world.store.beat.filter(|last| now.duration_since(*last) > within);
            if old.is_none() {
                world.store.beat = Some(now);
            }
            Ok(old)
        })
        .await
    }
}
