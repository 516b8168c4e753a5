//! The value of a freeze's row: why the repo is frozen, and the pages about it.
//!
//! A page changes the row only if the pages are still as they were read, in one transaction with
//! the doorbell, so that of two control planes only one pages.

use afk_core::freeze::{Acknowledgement, Paging};
use afk_core::ids::{At, RepoName, RunId};
use afk_engine::ports::{Freeze, Page, Switch, SwitchState};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

use super::switches::{name, set};
use super::{Store, StoreError, from_json, from_micros, micros, outbox, to_json};

/// The value of a freeze's row.
#[derive(Debug, Serialize, Deserialize)]
struct Value {
    why: String,
    paging: Option<Paging>,
}

/// The value of a freeze that a run causes. Paging about it begins.
pub(super) fn by_run(run: RunId, why: String, at: At) -> Result<String, StoreError> {
    to_json(&Value { why, paging: Some(Paging::begun(run, at)) })
}

/// The value of a freeze that is lifted.
pub(super) fn lifted() -> Result<String, StoreError> {
    to_json(&Value { why: String::new(), paging: None })
}

/// Freezes `repo` in a person's name. If a run froze it before, its paging is kept as acknowledged
/// by that person: they know of the freeze, and the workspace of the run is still needed.
pub(super) async fn throw(
    store: &Store,
    repo: &RepoName,
    state: &SwitchState,
) -> Result<(), StoreError> {
    let (repo, state) = (repo.clone(), state.clone());
    store
        .write(move |tx| {
            Box::pin(async move {
                // A row that cannot be read must not keep anybody from freezing.
                let before = read(tx, &repo).await.ok().flatten();
                let paging = before.and_then(|(_, value)| value.paging);
                let by = Acknowledgement { by: state.by.clone(), at: state.at };
                let paging = paging.map(|paging| paging.acknowledged_by(by));
                let value = to_json(&Value { why: state.why, paging })?;
                set(tx, &Switch::Freeze(repo), true, &value, &state.by, state.at).await
            })
        })
        .await
}

/// The freeze in a row, if it is on. A value that cannot be read is taken for the reason, so that
/// it freezes all the same.
pub(super) fn of(
    thrown: impl FnOnce(String) -> Option<SwitchState>,
    value: String,
) -> Option<Freeze> {
    let Value { why, paging } =
        serde_json::from_str(&value).unwrap_or(Value { why: value, paging: None });
    Some(Freeze { thrown: thrown(why)?, paging })
}

/// Lifts the freeze of `repo` if it is older than `asked`; returns whether it was lifted.
pub(super) async fn lift_older(
    store: &Store,
    repo: &RepoName,
    by: &str,
    asked: At,
) -> Result<bool, StoreError> {
    let (row, value, by) = (row(repo), lifted()?, by.to_owned());
    store
        .write(move |tx| {
            Box::pin(async move {
                let lifted = sqlx::query(
                    "UPDATE switches SET is_on = 0, value_json = ?2, by = ?3, at = ?4 \
                     WHERE name = ?1 AND is_on <> 0 AND at < ?4",
                )
                .bind(row)
                .bind(value)
                .bind(by)
                .bind(micros(asked))
                .execute(tx)
                .await?;
                Ok(lifted.rows_affected() > 0)
            })
        })
        .await
}

/// Writes a page to the outbox, for each doorbell for which nothing else of that run waits, and the
/// new pages to the row. Does nothing if the row's pages have changed.
pub(super) async fn page(
    store: &Store,
    repo: &RepoName,
    page: &Page<'_>,
) -> Result<bool, StoreError> {
    let (repo, run) = (repo.clone(), page.after.run.to_string());
    let (before, after) = (page.before.clone(), page.after.clone());
    let at = page.after.last;
    let sends: Result<Vec<_>, _> =
        page.sends.iter().map(|send| outbox::Send::new(send, at)).collect();
    let sends = sends?;
    store
        .write(move |tx| {
            Box::pin(async move {
                let Some((_, mut value)) = read(tx, &repo).await? else { return Ok(false) };
                let mut free = Vec::new();
                for send in sends {
                    if !outbox::waits(tx, &run, &send.name).await? {
                        free.push(send);
                    }
                }
                if value.paging.as_ref() != Some(&before) || free.is_empty() {
                    return Ok(false);
                }
                value.paging = Some(after);
                keep(tx, &repo, &value).await?;
                outbox::enqueue(tx, Some(&run), &free).await?;
                Ok(true)
            })
        })
        .await
}

/// Records an acknowledgement of the freeze; the first one stays.
pub(super) async fn acknowledge(
    store: &Store,
    repo: &RepoName,
    by: &Acknowledgement,
) -> Result<Option<Freeze>, StoreError> {
    let (repo, by) = (repo.clone(), by.clone());
    store
        .write(move |tx| {
            Box::pin(async move {
                let Some((mut thrown, mut value)) = read(tx, &repo).await? else {
                    return Ok(None);
                };
                if let Some(paging) = value.paging.take() {
                    value.paging = Some(paging.acknowledged_by(by));
                    keep(tx, &repo, &value).await?;
                }
                thrown.why = value.why;
                Ok(Some(Freeze { thrown, paging: value.paging }))
            })
        })
        .await
}

/// Who froze the repo and when, and the row's value; none if it is not frozen.
async fn read(
    tx: &mut SqliteConnection,
    repo: &RepoName,
) -> Result<Option<(SwitchState, Value)>, StoreError> {
    let found: Option<(String, String, i64)> =
        sqlx::query_as("SELECT value_json, by, at FROM switches WHERE name = ? AND is_on <> 0")
            .bind(row(repo))
            .fetch_optional(tx)
            .await?;
    let Some((value, by, at)) = found else { return Ok(None) };
    let at = from_micros("the time of a freeze", at).unwrap_or(At::UNIX_EPOCH);
    let value = from_json(format_args!("the freeze of {repo}"), &value)?;
    Ok(Some((SwitchState { by, at, why: String::new() }, value)))
}

async fn keep(tx: &mut SqliteConnection, repo: &RepoName, value: &Value) -> Result<(), StoreError> {
    sqlx::query("UPDATE switches SET value_json = ? WHERE name = ?")
        .bind(to_json(value)?)
        .bind(row(repo))
        .execute(tx)
        .await?;
    Ok(())
}

fn row(repo: &RepoName) -> String {
    name(&Switch::Freeze(repo.clone()))
}
