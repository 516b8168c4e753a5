//! The store as data: records, journals, outbox, leases, switches, memos. The rules are those of
//! the real one: one lock for each repo, compare-and-swap, fencing by generation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use afk_core::freeze::{Acknowledgement, Paging};
use afk_core::hold::HoldCause;
use afk_core::ids::{At, IssueRef, RepoName, RunId};
use afk_core::request::PersonRequest;
use afk_core::run::{Run, Transition};
use afk_core::usd::Usd;
use afk_engine::ports::{
    Admission, AdmitLimits, AdmitRefusal, Commit, Committed, DayCaps, DoorbellSend, Freeze,
    JournalRow, LiveRun, MemoKey, OpenRequest, Page, PortError, PortResult, Requested, Spent,
    StoredRun, Switch, SwitchState, Switches,
};

use super::{Hold, Send, World};

/// A run as it is stored.
#[derive(Debug, Clone)]
pub struct KeptRun {
    /// Its record, as read back from JSON.
    pub run: Run,
    /// The version that the next commit must name.
    pub version: u64,
    /// Its journal, oldest row first.
    pub journal: Vec<Row>,
}

/// A journal row.
#[derive(Debug, Clone)]
pub struct Row {
    /// When it was committed.
    pub at: At,
    /// The transition, as JSON.
    pub transition: String,
    /// What was seen and planned, for audit and replay.
    pub context: serde_json::Value,
}

/// A lease.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The process that holds it; empty once it was released.
    pub owner: String,
    /// The fencing number: higher with each owner.
    pub generation: u64,
    /// When it expires.
    pub until: At,
}

/// Everything that the real store has in its tables.
#[derive(Debug, Clone, Default)]
pub struct StoreWorld {
    /// Runs by id, and so by age.
    pub runs: BTreeMap<RunId, KeptRun>,
    /// The outbox, by stable id.
    pub outbox: BTreeMap<String, Send>,
    /// Owners known to be dead, whose leases may be taken at once.
    pub dead: BTreeSet<String>,
    /// Leases by key.
    pub leases: BTreeMap<String, Lease>,
    /// The halt, the pause and the freezes.
    pub switches: Switches,
    /// Whether reading the switches fails.
    pub unreadable_switches: bool,
    /// What holds dispatch, or did, and was told without a run.
    pub holds: BTreeMap<HoldCause, Hold>,
    /// Remembered results of jobs, by key, each with the time.
    pub memos: BTreeMap<String, (serde_json::Value, At)>,
    /// Whether a run that takes a lock again gets it, whoever holds it.
    pub unchecked: bool,
    /// Requests of people, oldest first, each with its run.
    pub requests: Vec<(RunId, Requested)>,
    /// Until when the comments of each repo were read, by the tracker's clock.
    pub comments_read_until: BTreeMap<RepoName, At>,
    /// When a control plane last said that it runs.
    pub beat: Option<At>,
}

impl StoreWorld {
    /// Every run, oldest first.
    pub fn all(&self) -> Vec<Run> {
        self.runs.values().map(|kept| kept.run.clone()).collect()
    }

    /// The transitions of a run's journal, oldest first.
    pub fn transitions(&self, run: RunId) -> Vec<(At, Transition)> {
        let rows = self.runs.get(&run).into_iter().flat_map(|kept| &kept.journal);
        rows.filter_map(|row| Some((row.at, serde_json::from_str(&row.transition).ok()?))).collect()
    }

    /// The requests to all runs on an issue, oldest first.
    pub fn requests_on(&self, issue: &IssueRef) -> Vec<PersonRequest> {
        let runs = self.all();
        let of = |run: &RunId| runs.iter().any(|one| one.id == *run && one.issue == *issue);
        let on = self.requests.iter().filter(|(run, _)| of(run));
        on.map(|(_, requested)| requested.request.clone()).collect()
    }

    /// The requests without an answer whose number, from 1, is greater than `after`.
    pub fn open_requests(&self, after: u64) -> Vec<OpenRequest> {
        let numbered = (1_u64..).zip(&self.requests).filter(|(seq, _)| *seq > after);
        let open = numbered.filter(|(_, (_, request))| request.answered.is_none());
        let open = open.map(|(seq, (run, requested))| OpenRequest {
            seq,
            run: *run,
            request: requested.request.clone(),
        });
        open.collect()
    }

    /// The requests to a run, answered or not, oldest first.
    pub fn requests_to(&self, run: RunId) -> Vec<Requested> {
        let of_run = self.requests.iter().filter(|(to, _)| *to == run);
        of_run.map(|(_, request)| request.clone()).collect()
    }

    fn live(&self) -> Vec<StoredRun> {
        let live = self.runs.values().filter(|kept| kept.run.settled_at.is_none());
        live.map(|kept| StoredRun { run: kept.run.clone(), version: kept.version }).collect()
    }
}

impl World {
    pub(crate) fn admit(&mut self, run: &Run, limits: &AdmitLimits) -> PortResult<Admission> {
        let refused = |why| Ok(Admission::Refused(why));
        if self.store.runs.contains_key(&run.id) {
            return Ok(Admission::Admitted);
        }
        let live = self.store.live();
        let at_work = |other: &&StoredRun| other.run.holds_lock() || other.run.wants_lock();
        let at_work = live.iter().filter(at_work);
        // However many wait in one repo, only one at a time can be at work there.
        let at_work: BTreeSet<&RepoName> = at_work.map(|other| &other.run.issue.repo).collect();
        let repo = &run.issue.repo;
        let switches = &self.store.switches;
        if at_work.contains(repo) || live.iter().any(|other| other.run.issue == run.issue) {
            return refused(AdmitRefusal::Locked);
        }
        if switches.halt.is_some() || switches.pause.is_some() {
            return refused(AdmitRefusal::Stopped);
        }
        if switches.freeze_of(repo).is_some() {
            return refused(AdmitRefusal::Frozen);
        }
        if at_work.len() as u64 >= u64::from(limits.max_at_work) {
            return refused(AdmitRefusal::Full);
        }
        if !self.have_room(&limits.caps, repo, run.budget) {
            return refused(AdmitRefusal::Spent);
        }
        let first = Transition::Admitted { run: Box::new(run.clone()) };
        let context = serde_json::Value::Null;
        let row = Row { at: self.now, transition: json(&first)?, context };
        let kept = KeptRun { run: read_back(run)?, version: 1, journal: vec![row] };
        self.store.runs.insert(run.id, kept);
        self.store.comments_read_until.entry(repo.clone()).or_insert_with(|| run.released_at());
        Ok(Admission::Admitted)
    }

    /// Why a commit of `run` is refused that takes the repo's lock (`takes`), or reserves `more` than
    /// before.
    fn refuses(
        &self,
        run: &Run,
        takes: bool,
        more: Usd,
        limits: Option<&AdmitLimits>,
    ) -> Option<AdmitRefusal> {
        let Some(limits) = limits else { return takes.then_some(AdmitRefusal::Locked) };
        if takes && !self.store.unchecked {
            let mut at_work = self.store.live();
            at_work.retain(|other| other.run.holds_lock());
            if at_work.iter().any(|other| other.run.issue.repo == run.issue.repo) {
                return Some(AdmitRefusal::Locked);
            }
            if at_work.len() as u64 >= u64::from(limits.max_at_work) {
                return Some(AdmitRefusal::Full);
            }
        }
        let room = self.have_room(&limits.caps, &run.issue.repo, more);
        (!room).then_some(AdmitRefusal::Spent)
    }

    /// Whether the caps of the day have room for `more` in `repo`. Days are not told apart.
    fn have_room(&self, caps: &DayCaps, repo: &RepoName, more: Usd) -> bool {
        let spent = self.spent();
        let here = spent.by_repo.get(repo).copied().unwrap_or_default();
        let fits = |cap: Option<Usd>, spent: Usd| cap.is_none_or(|cap| spent + more <= cap);
        more == Usd::ZERO || fits(caps.repo, here) && fits(caps.all, spent.all)
    }

    pub(crate) fn load(&mut self, run: RunId) -> Option<StoredRun> {
        let kept = self.store.runs.get(&run);
        kept.map(|kept| StoredRun { run: kept.run.clone(), version: kept.version })
    }

    pub(crate) fn live(&mut self) -> Vec<StoredRun> {
        self.store.live()
    }

    pub(crate) fn live_runs(&self) -> Vec<LiveRun> {
        let live = self.store.live().into_iter().map(|stored| stored.run);
        let of = |run: Run| LiveRun { run: run.id, holds_lock: run.holds_lock(), issue: run.issue };
        live.map(of).collect()
    }

    pub(crate) fn commit(&mut self, commit: Commit) -> PortResult<Committed> {
        let id = commit.run.id;
        let lease = self.store.leases.get(&format!("run:{id}"));
        if lease.map_or(0, |lease| lease.generation) != commit.generation {
            return Ok(Committed::Fenced);
        }
        let (run, transition) = (read_back(&commit.run)?, json(&commit.transition)?);
        let before = self.store.runs.get(&id).filter(|kept| kept.version == commit.expected);
        let takes = before.is_some_and(|kept| !kept.run.holds_lock()) && run.holds_lock();
        let more =
            run.reserved().saturating_sub(before.map_or(Usd::ZERO, |kept| kept.run.reserved()));
        let refused = self.refuses(&run, takes, more, commit.limits.as_ref());
        let Some(kept) = self.store.runs.get_mut(&id) else {
            return Err(self.complain(format!("no run {id}")));
        };
        if kept.version != commit.expected {
            return Ok(Committed::Conflict);
        }
        if let Some(why) = refused {
            return Ok(Committed::Refused(why));
        }
        kept.version += 1;
        kept.run = run;
        kept.journal.push(Row { at: commit.at, transition, context: commit.context });
        let version = kept.version;
        for send in commit.sends {
            let (id, send) = (send.id(), Send::new(send, commit.at));
            self.store.outbox.entry(id).or_insert(send);
        }
        if let Some(why) = commit.freeze {
            let repo = commit.run.issue.repo;
            self.store.switches.frozen.retain(|(name, _)| *name != repo);
            let thrown = SwitchState { by: id.to_string(), at: commit.at, why };
            let paging = Some(Paging::begun(id, commit.at));
            self.store.switches.frozen.push((repo, Freeze { thrown, paging }));
        }
        Ok(Committed::Yes { version })
    }

    pub(crate) fn journal(&mut self, run: RunId, after: u64) -> Vec<JournalRow> {
        let rows = self.store.runs.get(&run).into_iter().flat_map(|kept| &kept.journal);
        let row = |(n, row): (usize, &Row)| {
            let transition: serde_json::Value =
                serde_json::from_str(&row.transition).unwrap_or_default();
            JournalRow {
                seq: n as u64 + 1,
                at: row.at,
                kind: transition["transition"].as_str().unwrap_or_default().to_owned(),
                body: serde_json::json!({ "transition": transition, "context": row.context }),
                hash: String::new(),
            }
        };
        rows.enumerate().map(row).filter(|row| row.seq > after).collect()
    }

    /// Declares every owner of a lease dead.
    pub fn declare_owners_dead(&mut self) {
        let owners = self.store.leases.values().map(|lease| lease.owner.clone());
        self.store.dead.extend(owners.collect::<Vec<_>>());
    }

    pub(crate) fn lease(&mut self, key: &str, owner: &str, ttl: Duration, now: At) -> Option<u64> {
        let until = now.checked_add(ttl).unwrap_or(At::MAX);
        let latest = now.checked_add(ttl.saturating_mul(2)).unwrap_or(At::MAX);
        let held = |until: At| until > now && until <= latest;
        match self.store.leases.get_mut(key) {
            Some(lease) if lease.owner == owner => {
                lease.until = until;
                Some(lease.generation)
            }
            Some(lease) if held(lease.until) && !self.store.dead.contains(&lease.owner) => None,
            Some(lease) => {
                let generation = lease.generation + 1;
                *lease = Lease { owner: owner.to_owned(), generation, until };
                Some(generation)
            }
            None => {
                let lease = Lease { owner: owner.to_owned(), generation: 1, until };
                self.store.leases.insert(key.to_owned(), lease);
                Some(1)
            }
        }
    }

    pub(crate) fn unlease(&mut self, key: &str, owner: &str) {
        if let Some(lease) = self.store.leases.get_mut(key).filter(|lease| lease.owner == owner) {
            // From now on commits under the old generation are refused.
            lease.generation += 1;
            lease.owner.clear();
            lease.until = At::MIN;
        }
    }

    /// Turns a switch on with `state`, or off without. A person's freeze acknowledges a run's.
    pub fn throw(&mut self, switch: &Switch, state: Option<&SwitchState>) {
        let switches = &mut self.store.switches;
        match switch {
            Switch::Halt => switches.halt = state.cloned(),
            Switch::Pause => switches.pause = state.cloned(),
            Switch::Freeze(repo) => {
                let before = switches.freeze_of(repo).and_then(|freeze| freeze.paging.clone());
                switches.frozen.retain(|(name, _)| name != repo);
                let freeze = |thrown: &SwitchState| {
                    let by = Acknowledgement { by: thrown.by.clone(), at: thrown.at };
                    let paging = before.map(|paging| paging.acknowledged_by(by));
                    Freeze { thrown: thrown.clone(), paging }
                };
                switches.frozen.extend(state.map(|state| (repo.clone(), freeze(state))));
            }
        }
    }

    pub(crate) fn unfreeze(&mut self, repo: &RepoName, asked: At) -> bool {
        let older = |freeze: &Freeze| freeze.thrown.at < asked;
        let lifted = self.store.switches.freeze_of(repo).is_some_and(older);
        if lifted {
            self.throw(&Switch::Freeze(repo.clone()), None);
        }
        lifted
    }

    pub(crate) fn page(&mut self, repo: &RepoName, page: &Page<'_>) -> bool {
        let waits = |one: &DoorbellSend| {
            let mut rows = self.store.outbox.values();
            rows.any(|row| {
                row.waits()
                    && row.doorbell.issue_ref == one.doorbell.issue_ref
                    && row.name.as_ref().is_none_or(|name| *name == one.name)
            })
        };
        let free: Vec<DoorbellSend> =
            page.sends.iter().filter(|one| !waits(one)).cloned().collect();
        if free.is_empty() {
            return false;
        }
        let mut frozen = self.store.switches.frozen.iter_mut();
        let found = frozen.find(|(name, _)| name == repo).map(|(_, freeze)| &mut freeze.paging);
        let Some(paging) = found.filter(|paging| paging.as_ref() == Some(page.before)) else {
            return false;
        };
        *paging = Some(page.after.clone());
        for send in free {
            let (id, send) = (send.id(), Send::new(send, page.after.last));
            self.store.outbox.entry(id).or_insert(send);
        }
        true
    }

    /// Acknowledges the freeze of `repo`, and returns it; none if the repo is not frozen.
    pub fn acknowledge(&mut self, repo: &RepoName, by: &Acknowledgement) -> Option<Freeze> {
        let mut frozen = self.store.switches.frozen.iter_mut();
        let (_, freeze) = frozen.find(|(name, _)| name == repo)?;
        if let Some(paging) = &mut freeze.paging {
            paging.acknowledged.get_or_insert_with(|| by.clone());
        }
        Some(freeze.clone())
    }

    pub(crate) fn switches(&mut self) -> PortResult<Switches> {
        if self.store.unreadable_switches {
            return Err(PortError::transient("the switches cannot be read"));
        }
        Ok(self.store.switches.clone())
    }

    /// What all runs have spent, and what is reserved for them.
    pub fn spent(&self) -> Spent {
        let mut spent = Spent::default();
        for run in self.store.all() {
            let cost = run.spent() + run.reserved();
            *spent.by_repo.entry(run.issue.repo.clone()).or_default() += cost;
            spent.all += cost;
        }
        spent
    }

    /// Records a person's request; false if it is recorded already.
    pub fn add_request(&mut self, run: RunId, request: &PersonRequest) -> bool {
        if self.store.requests.iter().any(|(_, other)| other.request.id == request.id) {
            return false;
        }
        let requested = Requested { request: request.clone(), answered: None };
        self.store.requests.push((run, requested));
        true
    }

    pub(crate) fn answer(&mut self, id: &str, answer: &str, now: At) -> PortResult<()> {
        let found = self.store.requests.iter_mut().find(|(_, other)| other.request.id == id);
        let Some((_, request)) = found else {
            return Err(self.complain(format!("no request {id}")));
        };
        request.answered.get_or_insert_with(|| (now, answer.to_owned()));
        Ok(())
    }

    pub(crate) fn memo(key: &MemoKey) -> String {
        format!("{} {} {}", key.kind, key.tree, key.command)
    }
}

/// The record after a round trip through JSON, as the next process reads it.
fn read_back(run: &Run) -> PortResult<Run> {
    serde_json::from_str(&json(run)?).map_err(PortError::permanent)
}

fn json<T: serde::Serialize>(value: &T) -> PortResult<String> {
    serde_json::to_string(value).map_err(PortError::permanent)
}
