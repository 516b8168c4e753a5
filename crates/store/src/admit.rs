//! Admission: the one write transaction that lets a run begin.
//!
//! It reads what spans runs (live runs, switches, spending) under the write lock, and inserts the
//! run with its first journal row, or returns why not. With the first run of a repo it records from
//! when on the comments there matter. A run that stepped aside gets its repo's lock again by the
//! same checks. Whatever is decided here, unique indexes allow one lock a repo and one live run an
//! issue.

use std::collections::BTreeSet;

use afk_core::ids::{At, RunId};
use afk_core::run::{Run, Transition};
use afk_core::usd::Usd;
use afk_engine::ports::{Admission, AdmitLimits, AdmitRefusal};
use sqlx::SqliteConnection;

use super::{Store, StoreError, journal, ledger, micros, signed, switches, to_json};

/// A run to be admitted, in the form in which it is written.
struct Entrant {
    id: RunId,
    repo: String,
    number: u64,
    state: String,
    budget: Usd,
    released_at: At,
    first: journal::Entry,
}

/// Admits `run` if nothing prevents it. If a run with its id was admitted before, that one is left
/// as it is.
pub(super) async fn admit(
    store: &Store,
    run: &Run,
    limits: &AdmitLimits,
    now: At,
) -> Result<Admission, StoreError> {
    let transition = Transition::Admitted { run: Box::new(run.clone()) };
    let entrant = Entrant {
        id: run.id,
        repo: run.issue.repo.to_string(),
        number: run.issue.number,
        state: to_json(run)?,
        budget: run.budget,
        released_at: run.released_at(),
        first: journal::Entry::new(&transition, &serde_json::Value::Null)?,
    };
    let limits = limits.clone();
    store.write(move |tx| Box::pin(async move { apply(tx, &entrant, &limits, now).await })).await
}

async fn apply(
    tx: &mut SqliteConnection,
    entrant: &Entrant,
    limits: &AdmitLimits,
    now: At,
) -> Result<Admission, StoreError> {
    let id = entrant.id.to_string();
    let known: Option<i64> = sqlx::query_scalar("SELECT version FROM runs WHERE id = ?")
        .bind(&id)
        .fetch_optional(&mut *tx)
        .await?;
    if known.is_some() {
        return Ok(Admission::Admitted);
    }
    if let Some(why) = refusal(tx, entrant, limits).await? {
        return Ok(Admission::Refused(why));
    }
    sqlx::query(
        "INSERT INTO runs (id, repo, issue_number, live, locks, version, state_json, \
         reserved_micro_usd, journal_hash, admitted_at, updated_at) \
         VALUES (?1, ?2, ?3, 1, 1, 1, ?4, ?5, '', ?6, ?6)",
    )
    .bind(&id)
    .bind(&entrant.repo)
    .bind(signed(entrant.number))
    .bind(&entrant.state)
    .bind(signed(entrant.budget.as_micros()))
    .bind(micros(now))
    .execute(&mut *tx)
    .await?;
    let hash = journal::append(tx, &id, 1, now, &entrant.first, "").await?;
    sqlx::query("UPDATE runs SET journal_hash = ? WHERE id = ?")
        .bind(hash)
        .bind(&id)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "INSERT INTO comments_heard (repo, until) VALUES (?1, ?2) ON CONFLICT (repo) DO NOTHING",
    )
    .bind(&entrant.repo)
    .bind(micros(entrant.released_at))
    .execute(&mut *tx)
    .await?;
    Ok(Admission::Admitted)
}

/// What prevents the run, if anything: of several reasons the one that people should hear first.
async fn refusal(
    tx: &mut SqliteConnection,
    entrant: &Entrant,
    limits: &AdmitLimits,
) -> Result<Option<AdmitRefusal>, StoreError> {
    let live = live(tx).await?;
    let number = signed(entrant.number);
    // A run that has to go on comes before one that would begin. However many have to in one repo,
    // only one at a time can be at work there.
    let at_work = live.iter().filter(|one| one.locks || one.waits);
    let at_work: BTreeSet<&str> = at_work.map(|one| one.repo.as_str()).collect();
    let own = |one: &Live| one.repo == entrant.repo && one.number == number;
    if at_work.contains(entrant.repo.as_str()) || live.iter().any(own) {
        return Ok(Some(AdmitRefusal::Locked));
    }
    // An unknown switch is an error, which admits nothing either.
    let switches = switches::read(tx).await?;
    if switches.halt.is_some() || switches.pause.is_some() {
        return Ok(Some(AdmitRefusal::Stopped));
    }
    if switches.frozen.iter().any(|(repo, _)| repo.as_str() == entrant.repo) {
        return Ok(Some(AdmitRefusal::Frozen));
    }
    if at_work.len() >= limits.max_at_work as usize {
        return Ok(Some(AdmitRefusal::Full));
    }
    let fits = ledger::have_room(tx, &limits.caps, &entrant.repo, entrant.budget).await?;
    Ok((!fits).then_some(AdmitRefusal::Spent))
}

/// What keeps a live run of `repo` from a commit that takes the repo's lock again (`takes`) or
/// reserves `more` than before. Without limits it may do neither.
pub(super) async fn refuses(
    tx: &mut SqliteConnection,
    repo: &str,
    takes: bool,
    more: Usd,
    limits: Option<&AdmitLimits>,
) -> Result<Option<AdmitRefusal>, StoreError> {
    let Some(limits) = limits else { return Ok(takes.then_some(AdmitRefusal::Locked)) };
    if takes {
        let mut at_work = live(tx).await?;
        at_work.retain(|one| one.locks);
        if at_work.iter().any(|one| one.repo == repo) {
            return Ok(Some(AdmitRefusal::Locked));
        }
        if at_work.len() >= limits.max_at_work as usize {
            return Ok(Some(AdmitRefusal::Full));
        }
    }
    let fits = ledger::have_room(tx, &limits.caps, repo, more).await?;
    Ok((!fits).then_some(AdmitRefusal::Spent))
}

/// What of a live run matters for others.
struct Live {
    repo: String,
    number: i64,
    locks: bool,
    waits: bool,
}

async fn live(tx: &mut SqliteConnection) -> Result<Vec<Live>, StoreError> {
    let live = "SELECT repo, issue_number, locks, waits FROM runs WHERE live = 1";
    let rows: Vec<(String, i64, bool, bool)> = sqlx::query_as(live).fetch_all(tx).await?;
    let of = |(repo, number, locks, waits)| Live { repo, number, locks, waits };
    Ok(rows.into_iter().map(of).collect())
}
