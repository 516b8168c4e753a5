//! The spending ledger: what each turn cost, by the agent's session, process and turn.
//!
//! An entry is written with the transition that recorded the cost, and again when a better number
//! is known: an estimate is replaced by what was charged, never added to it. What a live run may
//! still spend is its reservation, which is stored with the run.

use afk_core::ids::At;
use afk_core::spend::{Basis, Ledger, day_of};
use afk_core::usd::Usd;
use afk_engine::ports::{DayCaps, Spent};
use jiff::civil::Date;
use sqlx::SqliteConnection;

use super::{Store, StoreError, parse, signed, to_json};

/// Sums what was spent on a day and what live runs reserve, each from its own index.
const OF_ALL: &str = "SELECT (SELECT coalesce(sum(micro_usd), 0) FROM ledger WHERE day = ?) + \
     (SELECT coalesce(sum(reserved_micro_usd), 0) FROM runs WHERE live = 1)";
const OF_REPO: &str = "SELECT \
     (SELECT coalesce(sum(micro_usd), 0) FROM ledger WHERE day = ?1 AND repo = ?2) + \
     (SELECT coalesce(sum(reserved_micro_usd), 0) FROM runs WHERE live = 1 AND repo = ?2)";
/// The same sums by repo, in the order of the index. A repo that has spent and has a live run gets
/// two rows.
const BY_REPO: &str = "SELECT repo, sum(micro_usd) FROM ledger WHERE day = ? GROUP BY repo \
     UNION ALL SELECT repo, reserved_micro_usd FROM runs WHERE live = 1";

/// The cost of one turn, in the form in which it is written.
pub(super) struct Charged {
    session: String,
    process: String,
    turn: String,
    day: String,
    micro_usd: u64,
    estimated: bool,
    /// The raw counters and the executor's version, as JSON.
    body: String,
}

/// The rows for what each turn of a run cost.
pub(super) fn charged(ledger: &Ledger) -> Result<Vec<Charged>, StoreError> {
    ledger
        .charges()
        .map(|(key, entry, charge)| {
            Ok(Charged {
                session: key.session.clone(),
                process: key.process.to_string(),
                turn: key.turn.to_string(),
                day: day_of(entry.at).to_string(),
                micro_usd: charge.amount.as_micros(),
                estimated: charge.basis == Basis::Estimated,
                body: to_json(entry)?,
            })
        })
        .collect()
}

/// What was spent on the day of `since`, plus what live runs reserve now, by repo.
pub(super) async fn spent(store: &Store, since: At) -> Result<Spent, StoreError> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as(BY_REPO).bind(day_of(since).to_string()).fetch_all(store.readers()).await?;
    let mut spent = Spent::default();
    for (repo, sum) in rows {
        let sum = Usd::micros(sum.cast_unsigned());
        spent.all += sum;
        *spent.by_repo.entry(parse("the repo of a spend", &repo)?).or_default() += sum;
    }
    Ok(spent)
}

/// The same sum for one repo or for all, read in the transaction that depends on it.
pub(super) async fn spent_on(
    tx: &mut SqliteConnection,
    repo: Option<&str>,
    day: Date,
) -> Result<Usd, StoreError> {
    let query = match repo {
        Some(repo) => sqlx::query_scalar(OF_REPO).bind(day.to_string()).bind(repo.to_owned()),
        None => sqlx::query_scalar(OF_ALL).bind(day.to_string()),
    };
    let sum: i64 = query.fetch_one(tx).await?;
    Ok(Usd::micros(sum.cast_unsigned()))
}

/// Whether the caps of the day have room for `more` in `repo`. For nothing there always is.
pub(super) async fn have_room(
    tx: &mut SqliteConnection,
    caps: &DayCaps,
    repo: &str,
    more: Usd,
) -> Result<bool, StoreError> {
    if more == Usd::ZERO {
        return Ok(true);
    }
    let day = day_of(caps.start);
    for (cap, repo) in [(caps.repo, Some(repo)), (caps.all, None)] {
        if let Some(cap) = cap
            && spent_on(tx, repo, day).await? + more > cap
        {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) async fn record(
    tx: &mut SqliteConnection,
    run: &str,
    repo: &str,
    charges: &[Charged],
) -> Result<(), StoreError> {
    for charged in charges {
        // A late commit must not replace a charged number by an estimate.
        sqlx::query(
            "INSERT INTO ledger (session, process, turn, run, repo, day, micro_usd, estimated, \
             body_json) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
             ON CONFLICT (session, process, turn) DO UPDATE SET micro_usd = ?7, estimated = ?8, \
             body_json = ?9 WHERE estimated = 1 OR ?8 = 0",
        )
        .bind(&charged.session)
        .bind(&charged.process)
        .bind(&charged.turn)
        .bind(run)
        .bind(repo)
        .bind(&charged.day)
        .bind(signed(charged.micro_usd))
        .bind(i64::from(charged.estimated))
        .bind(&charged.body)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use afk_core::ids::RunId;
    use afk_core::spend::{Cost, Entry, TurnKey};

    #[tokio::test]
    async fn spend_is_charged_once_a_turn_and_an_estimate_gives_way() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("afk.db")).await.unwrap();
        let (id, repo, at) = (RunId::new(uuid::Uuid::from_u128(1)), "o/a", At::UNIX_EPOCH);
        let row = "INSERT INTO runs (id, repo, issue_number, live, version, state_json, \
                   reserved_micro_usd, journal_hash, admitted_at, updated_at) \
                   VALUES (?, 'o/a', 1, 1, 1, '{}', 5, '', 0, 0)";
        store
            .write(move |tx| {
                Box::pin(async move {
                    sqlx::query(row).bind(id.to_string()).execute(tx).await?;
                    Ok(())
                })
            })
            .await
            .unwrap();
        let charged = |micros, estimated| {
            let amount = Usd::micros(micros);
            let cost = if estimated {
                Cost::Estimated { amount }
            } else {
                Cost::Reported { total: amount, delta: None, cut: None }
            };
            let key = TurnKey { session: "s".to_owned(), process: 1, turn: 1 };
            let repo = repo.parse().unwrap();
            let entry = Entry { run: id, repo, at, cli_version: String::new(), cost };
            charged(&Ledger::from_iter([(key, entry)])).unwrap()
        };
        for (given, expected) in [
            (charged(70, true), 70),
            (charged(90, true), 90),
            (charged(80, false), 80),
            (charged(500, true), 80),
            (charged(81, false), 81),
        ] {
            let sums = store.write(move |tx| {
                Box::pin(async move {
                    record(tx, &id.to_string(), repo, &given).await?;
                    let (day, next) = (day_of(at), day_of(at).tomorrow().unwrap());
                    Ok([
                        spent_on(tx, None, day).await?,
                        spent_on(tx, Some(repo), day).await?,
                        spent_on(tx, Some("o/b"), day).await?,
                        spent_on(tx, None, next).await?,
                    ])
                })
            });
            // The run's reservation (5) counts on every day.
            let expected = [expected + 5, expected + 5, 0, 5].map(Usd::micros);
            assert_eq!(sums.await.unwrap(), expected);
            let spent = spent(&store, at).await.unwrap();
            assert_eq!(
                (spent.all, spent.by_repo[&repo.parse().unwrap()]),
                (expected[0], expected[0])
            );
        }
    }
}
