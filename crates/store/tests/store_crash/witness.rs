//! Watches the real store of a process: records what would be left if the process died at any call.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use afk_core::freeze::Acknowledgement;
use afk_core::hold::HoldCause;
use afk_core::ids::{At, IssueRef, RepoName, RunId};
use afk_core::request::PersonRequest;
use afk_core::run::Run;
use afk_engine::ports::{
    Admission, AdmitLimits, CheckSpan, Commit, Committed, DoorbellSend, Filter, Freeze, JournalRow,
    LiveRun, MemoKey, OpenRequest, Outgoing, Page, PortResult, Requested, Spent, Store, StoredRun,
    Switch, SwitchState, Switches,
};
use afk_sim::fakes::Sim;
use afk_sim::world::World;
use afk_store::Store as Sqlite;
use async_trait::async_trait;
use jiff::SignedDuration;

use crate::files::log;

/// A call that was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Called {
    pub(crate) name: &'static str,
    pub(crate) wrote: bool,
}

/// A moment at which the process may die, and all that it would leave.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    /// The number of the call, from 0, and its name.
    pub(crate) call: (usize, &'static str),
    pub(crate) when: When,
    /// The world as it was then.
    pub(crate) world: World,
    /// The length of the write-ahead log then, in bytes.
    pub(crate) log: usize,
}

/// Where in a call the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Before the call did anything.
    Before,
    /// While the call wrote. The whole write makes the log this long, but only a part of it is on
    /// the disk.
    During(usize),
    /// After the call was committed: only its answer is lost.
    After,
}

/// What a witness has seen.
#[derive(Debug, Default)]
pub(crate) struct Witnessed {
    pub(crate) calls: Vec<Called>,
    /// The moments, each of which leaves something else than the one before it.
    pub(crate) moments: Vec<Moment>,
    /// How many calls of other ports there had been at the newest call.
    others: usize,
}

/// The store of a process, which records for each moment what would be left if the process died.
/// The log only grows meanwhile, so its length is enough.
pub(crate) struct Witness {
    real: Sqlite,
    path: PathBuf,
    /// The other ports; none if no moments are recorded.
    sim: Option<Sim>,
    pub(crate) witnessed: Mutex<Witnessed>,
}

impl Witness {
    /// Watches `store` beside the ports of `sim`; without these no moment is recorded.
    pub(crate) fn new(store: &Sqlite, sim: Option<&Sim>) -> Self {
        let (real, path) = (store.clone(), store.path().to_owned());
        Self { real, path, sim: sim.cloned(), witnessed: Mutex::default() }
    }

    /// Makes one call, and records the moments before, in and after it. The moment before it is
    /// left out if no other port was called since the last call, because nothing has changed then.
    async fn call<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = PortResult<T>> + Send,
    ) -> PortResult<T> {
        let Some(sim) = &self.sim else { return work.await };
        let before = log(&self.path);
        let world = sim.with(|world| world.clone());
        let answer = work.await;
        let after = log(&self.path);
        assert!(after.starts_with(&before), "{name}: the log was begun anew");
        let mut witnessed = self.witnessed.lock().unwrap_or_else(PoisonError::into_inner);
        let (others, wrote) = (world.calls.len(), after.len() > before.len());
        let apart = witnessed.calls.is_empty() || witnessed.others != others;
        let call = (witnessed.calls.len(), name);
        let moment = |when, log| Moment { call, when, world: world.clone(), log };
        if apart && !wrote {
            witnessed.moments.push(moment(When::Before, before.len()));
        }
        if wrote {
            if !apart {
                // A death early in this call leaves what the newest moment leaves.
                witnessed.moments.pop();
            }
            witnessed.moments.push(moment(When::During(after.len()), before.len()));
            witnessed.moments.push(moment(When::After, after.len()));
        }
        witnessed.others = others;
        witnessed.calls.push(Called { name, wrote });
        answer
    }
}

/// Implements each call by handing it on to the real store, watched under its name.
macro_rules! hand_on {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl Store for Witness {
            $(async fn $name(&self, $($arg: $kind),*) -> PortResult<$answer> {
                self.call(stringify!($name), self.real.$name($($arg),*)).await
            })*
        }
    };
}

hand_on! {
    admit(run: &Run, limits: &AdmitLimits, now: At) -> Admission;
    load(run: RunId) -> Option<StoredRun>;
    commit(commit: Commit) -> Committed;
    live() -> Vec<StoredRun>;
    live_runs() -> Vec<LiveRun>;
    runs(filter: &Filter) -> Vec<StoredRun>;
    journal(run: RunId, after: u64) -> Vec<JournalRow>;
    lease(key: &str, owner: &str, ttl: Duration, now: At) -> Option<u64>;
    unlease(key: &str, owner: &str) -> ();
    switches() -> Switches;
    throw(switch: &Switch, state: &SwitchState) -> ();
    lift(switch: &Switch, by: &str, at: At) -> ();
    unfreeze(repo: &RepoName, by: &str, asked: At) -> bool;
    page(repo: &RepoName, page: &Page<'_>) -> bool;
    acknowledge(repo: &RepoName, by: &Acknowledgement) -> Option<Freeze>;
    holds() -> BTreeMap<HoldCause, At>;
    hold(cause: &HoldCause, looked: CheckSpan, sends: &[DoorbellSend]) -> bool;
    unhold(cause: &HoldCause, looked: CheckSpan) -> bool;
    recall(key: &MemoKey) -> Option<serde_json::Value>;
    remember(key: &MemoKey, value: &serde_json::Value, now: At) -> ();
    forget_results(kinds: &str, before: At) -> u64;
    claim(
        owner: &str,
        ttl: Duration,
        now: At,
        at_most: u32,
        busy: &BTreeSet<Option<String>>
    ) -> Vec<Outgoing>;
    rung(id: &str, owner: &str, now: At) -> ();
    not_rung(id: &str, owner: &str, error: &str, again: Option<At>, now: At) -> ();
    spent(since: At) -> Spent;
    add_request(run: RunId, request: &PersonRequest) -> bool;
    requests(run: RunId) -> Vec<Requested>;
    requests_on(issue: &IssueRef) -> Vec<PersonRequest>;
    open_requests(after: u64) -> Vec<OpenRequest>;
    answer(id: &str, answer: &str, now: At) -> ();
    comments_read_until() -> BTreeMap<RepoName, At>;
    note_comments_read(repo: &RepoName, until: At) -> ();
    beat(now: At, within: SignedDuration) -> Option<At>;
}
