//! People's requests to runs: a row is written once and answered once.

use afk_core::ids::{At, IssueRef, RunId};
use afk_core::request::PersonRequest;
use afk_engine::ports::{OpenRequest, Requested};

use super::{Store, StoreError, from_json, from_micros, micros, parse, signed, to_json};

/// What the documents here are called in errors.
const WHAT: &str = "a request";

/// Records a request to `run`; false if one with its id is recorded already.
pub(super) async fn add(
    store: &Store,
    run: RunId,
    request: &PersonRequest,
) -> Result<bool, StoreError> {
    let (run, id, body) = (run.to_string(), request.id.clone(), to_json(request)?);
    store
        .write(move |tx| {
            Box::pin(async move {
                let done = sqlx::query(
                    "INSERT INTO requests (id, run, body_json) VALUES (?, ?, ?) \
                     ON CONFLICT (id) DO NOTHING",
                )
                .bind(id)
                .bind(run)
                .bind(body)
                .execute(tx)
                .await?;
                Ok(done.rows_affected() > 0)
            })
        })
        .await
}

/// The requests to `run`, oldest first.
pub(super) async fn of_run(store: &Store, run: RunId) -> Result<Vec<Requested>, StoreError> {
    let rows: Vec<(String, Option<i64>, Option<String>)> = sqlx::query_as(
        "SELECT body_json, answered_at, answer FROM requests WHERE run = ? ORDER BY seq",
    )
    .bind(run.to_string())
    .fetch_all(store.readers())
    .await?;
    let read = |(body, at, answer): (String, Option<i64>, Option<String>)| {
        let at = at.map(|at| from_micros("the answer to a request", at)).transpose()?;
        Ok(Requested { request: from_json(WHAT, &body)?, answered: at.zip(answer) })
    };
    rows.into_iter().map(read).collect()
}

/// The requests to any run on `issue`, oldest first.
pub(super) async fn on_issue(
    store: &Store,
    issue: &IssueRef,
) -> Result<Vec<PersonRequest>, StoreError> {
    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT q.body_json FROM runs r JOIN requests q ON q.run = r.id \
         WHERE r.repo = ? AND r.issue_number = ? ORDER BY q.seq",
    )
    .bind(issue.repo.as_str())
    .bind(signed(issue.number))
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(|body| from_json(WHAT, body)).collect()
}

/// The requests without an answer after number `after`, oldest first.
pub(super) async fn open(store: &Store, after: u64) -> Result<Vec<OpenRequest>, StoreError> {
    let rows: Vec<(i64, String, String)> = sqlx::query_as(
        "SELECT seq, run, body_json FROM requests WHERE seq > ? AND answer IS NULL ORDER BY seq",
    )
    .bind(signed(after))
    .fetch_all(store.readers())
    .await?;
    let read = |(seq, run, body): (i64, String, String)| {
        let run = parse("the run of a request", &run)?;
        Ok(OpenRequest { seq: seq.cast_unsigned(), run, request: from_json(WHAT, &body)? })
    };
    rows.into_iter().map(read).collect()
}

/// Answers a request; the first answer stays.
pub(super) async fn answer(
    store: &Store,
    id: &str,
    answer: &str,
    now: At,
) -> Result<(), StoreError> {
    let (id, answer) = (id.to_owned(), answer.to_owned());
    store
        .write(move |tx| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE requests SET answer = ?, answered_at = ? \
                     WHERE id = ? AND answer IS NULL",
                )
                .bind(answer)
                .bind(micros(now))
                .bind(id)
                .execute(tx)
                .await?;
                Ok(())
            })
        })
        .await
}
