//! The engine's store, made of the SQLite store: records and doorbells as JSON,
//! money as micro-dollars, leases kept between calls.

mod chains;
mod freezes;
mod switches;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use afk_core::freeze::Acknowledged;
use afk_core::ids::{At, IssueRef, RepoName, RunId};
use afk_core::plan::End;
use afk_core::request::Asked;
use afk_core::run::{Run, Transition};
use afk_core::spend::{Basis, day_of};
use afk_core::usd::Usd;
use afk_engine::ports::{
    self, Admission, AdmitLimits, AdmitRefusal, Committed, Filter, Freeze, JournalRow, MemoKey,
    OpenRequest, Outgoing, Page, PortError, PortResult, Requested, Spent, StoredRun, Switch,
    SwitchState, Switches,
};
use async_trait::async_trait;
use jiff::SignedDuration;

pub use chains::Chains;

use crate::{self as store, Lease, Store, StoreError, StoreErrorKind, SwitchName};

/// The most rows of one journal that are read at once.
const JOURNAL_PAGE: u32 = 10_000;

/// The engine's view of the store.
#[derive(Debug)]
pub struct StorePort {
    store: Store,
    /// Leases of this process, so that they are renewed and not taken anew.
    held: Mutex<HashMap<String, Lease>>,
    /// Whether the process that signed a lease with this name is surely gone.
    is_dead: fn(&str) -> bool,
}

impl StorePort {
    /// The engine's view of `store`. `is_dead` tells by the name on a lease whether its
    /// process is surely gone, so that nobody waits for the lease to run out.
    pub fn new(store: Store, is_dead: fn(&str) -> bool) -> Self {
        Self { store, held: Mutex::default(), is_dead }
    }

    /// Lifts a switch, and notes who did.
    pub async fn lift(&self, switch: &Switch, by: &str, at: At) -> PortResult<()> {
        switches::lift(&self.store, switch, by, at).await
    }

    fn held(&self, key: &str) -> Option<Lease> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn hold(&self, key: &str, lease: Option<Lease>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match lease {
            Some(lease) => held.insert(key.to_owned(), lease),
            None => held.remove(key),
        };
    }
}

#[async_trait]
impl ports::Store for StorePort {
    async fn admit(&self, run: &Run, limits: &AdmitLimits, now: At) -> PortResult<Admission> {
        let transition = Transition::Admitted { run: Box::new(run.clone()) };
        let new = store::NewRun {
            run: run.id,
            issue: run.issue.clone(),
            state: json(run)?,
            reserve: run.budget.as_micros(),
            at: now,
            day: day_of(limits.day_start),
            journal: entry(&transition, &serde_json::Value::Null)?,
            sends: Vec::new(),
        };
        let caps = store::Caps {
            max_live: limits.max_live,
            repo_day: limits.repo_day.map(Usd::as_micros),
            all_day: limits.day.map(Usd::as_micros),
        };
        let by_hand = limits.by_hand;
        let decide = move |facts: &store::Facts| match caps.check(facts) {
            // A person's own dispatch passes the pause, as it passes the kill switch.
            Err(store::Refusal::Paused) if by_hand => {
                let unpaused = store::Switches { pause: None, ..facts.switches.clone() };
                caps.check(&store::Facts { switches: unpaused, ..facts.clone() })
            }
            decided => decided,
        };
        let admitted = self.store.admit(new, decide).await.map_err(fault)?;
        Ok(match admitted {
            store::Admission::Admitted | store::Admission::AlreadyAdmitted { .. } => {
                Admission::Admitted
            }
            store::Admission::RepoBusy { .. } => Admission::Refused(AdmitRefusal::Locked),
            store::Admission::Refused(why) => Admission::Refused(match why {
                store::Refusal::Halted | store::Refusal::Paused => AdmitRefusal::Stopped,
                store::Refusal::Frozen => AdmitRefusal::Frozen,
                store::Refusal::Capacity { .. } => AdmitRefusal::Full,
                store::Refusal::RepoSpend { .. } | store::Refusal::AllSpend { .. } => {
                    AdmitRefusal::Spent
                }
            }),
        })
    }

    async fn load(&self, run: RunId) -> PortResult<Option<StoredRun>> {
        self.store.load(run).await.map_err(fault)?.as_ref().map(stored).transpose()
    }

    async fn commit(&self, commit: ports::Commit) -> PortResult<Committed> {
        let ports::Commit { run, expected, generation, transition, context, at, sends, freeze } =
            commit;
        let sends: PortResult<Vec<store::NewSend>> = sends
            .iter()
            .map(|doorbell| {
                Ok(store::NewSend {
                    id: doorbell.id.to_string(),
                    kind: doorbell.kind.to_string(),
                    body: json(doorbell)?,
                    not_before: at,
                })
            })
            .collect();
        let done = store::Commit {
            run: run.id,
            expected_version: expected,
            state: json(&run)?,
            live: run.settled_at.is_none(),
            reserved: reserved(&run),
            at,
            journal: entry(&transition, &context)?,
            sends: sends?,
            ledger: ledger(&run)?,
            fence: Some(store::Fence { key: format!("run:{}", run.id), generation }),
            freeze: freeze.map(|why| freezes::by_run(run.id, why, at)).transpose()?,
        };
        Ok(match self.store.commit(done).await.map_err(fault)? {
            store::CommitOutcome::Committed { version } => Committed::Yes { version },
            store::CommitOutcome::Conflict { .. } => Committed::Conflict,
            store::CommitOutcome::Fenced { .. } => Committed::Fenced,
        })
    }

    async fn live(&self) -> PortResult<Vec<StoredRun>> {
        self.store.live_runs().await.map_err(fault)?.iter().map(stored).collect()
    }

    async fn runs(&self, filter: &Filter) -> PortResult<Vec<StoredRun>> {
        let limit = if filter.limit == 0 { 100 } else { filter.limit };
        let filter = store::RunFilter {
            repo: filter.repo.clone(),
            number: filter.issue,
            ..store::RunFilter::default()
        };
        self.store.runs(&filter, limit).await.map_err(fault)?.iter().map(stored).collect()
    }

    async fn journal(&self, run: RunId, after: u64) -> PortResult<Vec<JournalRow>> {
        let rows = self.store.journal(run, after + 1, JOURNAL_PAGE).await.map_err(fault)?;
        rows.into_iter()
            .map(|row| {
                let body = parse("a journal row", &row.body)?;
                Ok(JournalRow {
                    seq: row.run_seq,
                    at: row.at,
                    kind: row.kind,
                    body,
                    hash: row.hash,
                })
            })
            .collect()
    }

    async fn lease(
        &self,
        key: &str,
        owner: &str,
        ttl: Duration,
        now: At,
    ) -> PortResult<Option<u64>> {
        let ttl = SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX);
        let lease = match self.held(key) {
            Some(held) => self.store.renew(&held, ttl, now).await.map_err(fault)?,
            None => match self.store.lease(key, owner, ttl, now).await.map_err(fault)? {
                Some(lease) => Some(lease),
                // SQLite is one machine's: a holder whose process is gone need not be
                // waited out.
                None => match self.store.lease_holder(key).await.map_err(fault)? {
                    Some(holder) if (self.is_dead)(&holder.owner) => {
                        let dead = &holder.owner;
                        self.store.take_over(key, dead, owner, ttl, now).await.map_err(fault)?
                    }
                    Some(_) | None => None,
                },
            },
        };
        let generation = lease.as_ref().map(|lease| lease.generation);
        self.hold(key, lease);
        Ok(generation)
    }

    async fn unlease(&self, key: &str, _owner: &str) -> PortResult<()> {
        if let Some(held) = self.held(key) {
            self.store.release(&held).await.map_err(fault)?;
            self.hold(key, None);
        }
        Ok(())
    }

    async fn switches(&self) -> PortResult<Switches> {
        switches::read(&self.store).await
    }

    async fn switch(&self, switch: &Switch, state: Option<&SwitchState>) -> PortResult<()> {
        switches::set(&self.store, switch, state).await
    }

    async fn unfreeze(&self, repo: &RepoName, by: &str, asked: At) -> PortResult<bool> {
        let (name, value) = (SwitchName::Freeze(repo.clone()), freezes::by_person("")?);
        self.store.lift_older(name, &value, by, asked).await.map_err(fault)
    }

    async fn page(&self, repo: &RepoName, page: &Page<'_>) -> PortResult<bool> {
        freezes::page(&self.store, repo, page).await
    }

    async fn acknowledge(&self, repo: &RepoName, by: &Acknowledged) -> PortResult<Option<Freeze>> {
        freezes::acknowledge(&self.store, repo, by).await
    }

    async fn recall(&self, key: &MemoKey) -> PortResult<Option<serde_json::Value>> {
        let known = self.store.memo(&key.kind, &key.tree, &key.command).await.map_err(fault)?;
        known.map(|text| parse("a remembered result", &text)).transpose()
    }

    async fn remember(&self, key: &MemoKey, value: &serde_json::Value, now: At) -> PortResult<()> {
        let body = json(value)?;
        self.store.remember(&key.kind, &key.tree, &key.command, &body, now).await.map_err(fault)
    }

    async fn claim(
        &self,
        owner: &str,
        ttl: Duration,
        now: At,
        at_most: u32,
    ) -> PortResult<Vec<Outgoing>> {
        let ttl = SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX);
        let due = self.store.outbox_claim(owner, now, ttl, at_most).await.map_err(fault)?;
        let mut claimed = Vec::with_capacity(due.len());
        for row in due {
            match parse("a doorbell", &row.body) {
                Ok(doorbell) => {
                    let attempts = row.attempt.saturating_sub(1);
                    claimed.push(Outgoing { id: row.id, doorbell, attempts });
                }
                // It can never be rung, and must not be in the way of the others.
                Err(error) => {
                    let why = error.chain();
                    tracing::error!(doorbell = row.id, error = why, "doorbell given up");
                    let given_up = self.store.outbox_failed(&row.id, owner, &why, None, now);
                    given_up.await.map_err(fault)?;
                }
            }
        }
        Ok(claimed)
    }

    async fn rung(&self, id: &str, owner: &str, now: At) -> PortResult<()> {
        self.store.outbox_done(id, owner, now).await.map_err(fault).map(drop)
    }

    async fn not_rung(
        &self,
        id: &str,
        owner: &str,
        error: &str,
        again: At,
        now: At,
    ) -> PortResult<()> {
        let done = self.store.outbox_failed(id, owner, error, Some(again), now).await;
        done.map_err(fault).map(drop)
    }

    async fn spent(&self, since: At) -> PortResult<Spent> {
        let spent = self.store.spend_by_repo(day_of(since)).await.map_err(fault)?;
        let all = spent.iter().fold(0_u64, |sum, (_, micros)| sum.saturating_add(*micros));
        let by_repo = spent.into_iter().map(|(repo, micros)| (repo, Usd::micros(micros)));
        Ok(Spent { by_repo: by_repo.collect(), all: Usd::micros(all) })
    }

    async fn ask(&self, run: RunId, asked: &Asked) -> PortResult<bool> {
        self.store.request_add(run, &asked.id, &json(asked)?).await.map_err(fault)
    }

    async fn requests(&self, run: RunId) -> PortResult<Vec<Requested>> {
        let rows = self.store.requests(run).await.map_err(fault)?;
        let read = |row: store::RequestRow| {
            let asked = parse("a request", &row.body)?;
            Ok(Requested { asked, answered: row.answered })
        };
        rows.into_iter().map(read).collect()
    }

    async fn requests_on(&self, issue: &IssueRef) -> PortResult<Vec<Asked>> {
        let rows = self.store.requests_on(issue).await.map_err(fault)?;
        rows.iter().map(|body| parse("a request", body)).collect()
    }

    async fn heard(&self) -> PortResult<BTreeMap<RepoName, At>> {
        self.store.heard().await.map_err(fault)
    }

    async fn note_heard(&self, repo: &RepoName, until: At) -> PortResult<()> {
        self.store.note_heard(repo, until).await.map_err(fault)
    }

    async fn open_requests(&self, after: u64) -> PortResult<Vec<OpenRequest>> {
        let rows = self.store.requests_open(after).await.map_err(fault)?;
        let read = |(seq, run, body): (u64, RunId, String)| {
            Ok(OpenRequest { seq, run, asked: parse("a request", &body)? })
        };
        rows.into_iter().map(read).collect()
    }

    async fn answer(&self, id: &str, answer: &str, now: At) -> PortResult<()> {
        self.store.request_answer(id, answer, now).await.map_err(fault)
    }

    async fn beat(&self, now: At, within: SignedDuration) -> PortResult<Option<At>> {
        self.store.beat(now, within).await.map_err(fault)
    }
}

/// What a live run may still spend.
fn reserved(run: &Run) -> u64 {
    let ended = run.conclusion.as_ref().map(|conclusion| conclusion.end);
    match ended {
        Some(End::Done | End::NeedsHuman | End::Frozen | End::Released) => 0,
        None => run.budget.less(run.spent()).as_micros(),
    }
}

fn ledger(run: &Run) -> PortResult<Vec<store::LedgerEntry>> {
    let ledger = run.ledger();
    ledger
        .charges()
        .map(|(key, entry, charge)| {
            Ok(store::LedgerEntry {
                session: key.session.clone(),
                process: key.process.to_string(),
                turn: key.turn.to_string(),
                day: day_of(entry.at),
                micro_usd: charge.amount.as_micros(),
                estimated: charge.basis == Basis::Estimated,
                body: json(entry)?,
            })
        })
        .collect()
}

fn entry(transition: &Transition, context: &serde_json::Value) -> PortResult<store::JournalEntry> {
    let body = serde_json::json!({ "transition": transition, "context": context });
    Ok(store::JournalEntry { kind: transition.kind().to_owned(), body: json(&body)? })
}

fn stored(row: &store::RunRow) -> PortResult<StoredRun> {
    let run = parse(&format!("the record of run {}", row.run), &row.state)?;
    Ok(StoredRun { run, version: row.version })
}

fn json<T: serde::Serialize>(value: &T) -> PortResult<String> {
    store::to_json(value).map_err(fault)
}

fn parse<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> PortResult<T> {
    store::from_json(what, text).map_err(fault)
}

/// A failed read or write, in the differences that the loop acts on: whatever is not
/// plainly absent may be there at the next pass.
fn fault(error: StoreError) -> PortError {
    match error.kind() {
        StoreErrorKind::NotFound(_) => PortError::new(ports::PortErrorKind::NotFound, error),
        _ => PortError::transient(error),
    }
}
