//! What people ask of runs, as rows that are written once and answered once. What
//! they mean is not known here.

use afk_core::ids::{IssueRef, RunId};
use jiff::Timestamp;

use super::{Store, StoreError, check_document, from_micros, micros, parse, signed};

/// What nobody has answered, read along the numbers.
const OPEN: &str =
    "SELECT seq, run, body_json FROM requests WHERE seq > ? AND answer IS NULL ORDER BY seq";

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRow {
    /// The request, as JSON.
    pub body: String,
    /// When and how it was answered; none while it is open.
    pub answered: Option<(Timestamp, String)>,
}

impl Store {
    /// Keeps a request to `run`; false where one with this id is kept already.
    pub async fn request_add(&self, run: RunId, id: &str, body: &str) -> Result<bool, StoreError> {
        check_document("a request", body).map_err(|e| self.fault(e))?;
        let (run, id, body) = (run.to_string(), id.to_owned(), body.to_owned());
        self.write(move |tx| {
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
    pub async fn requests(&self, run: RunId) -> Result<Vec<RequestRow>, StoreError> {
        let rows: Vec<(String, Option<i64>, Option<String>)> = sqlx::query_as(
            "SELECT body_json, answered_at, answer FROM requests WHERE run = ? ORDER BY seq",
        )
        .bind(run.to_string())
        .fetch_all(self.readers())
        .await
        .map_err(|e| self.fault(e))?;
        rows.into_iter()
            .map(|(body, at, answer)| {
                let at = at.map(|at| from_micros("the answer to a request", at)).transpose();
                let answered = at.map_err(|e| self.fault(e))?.zip(answer);
                Ok(RequestRow { body, answered })
            })
            .collect()
    }

    /// The requests to any run on `issue`, as JSON, oldest first.
    pub async fn requests_on(&self, issue: &IssueRef) -> Result<Vec<String>, StoreError> {
        sqlx::query_scalar(
            "SELECT q.body_json FROM runs r JOIN requests q ON q.run = r.id \
             WHERE r.repo = ? AND r.issue_number = ? ORDER BY q.seq",
        )
        .bind(issue.repo.as_str())
        .bind(signed(issue.number))
        .fetch_all(self.readers())
        .await
        .map_err(|e| self.fault(e))
    }

    /// The requests without an answer after number `after`: their numbers, runs and
    /// bodies, oldest first.
    pub async fn requests_open(&self, after: u64) -> Result<Vec<(u64, RunId, String)>, StoreError> {
        let rows: Vec<(i64, String, String)> = sqlx::query_as(OPEN)
            .bind(signed(after))
            .fetch_all(self.readers())
            .await
            .map_err(|e| self.fault(e))?;
        let read = |(seq, run, body): (i64, String, String)| {
            let run = parse("the run of a request", &run).map_err(|e| self.fault(e))?;
            Ok((i64::cast_unsigned(seq), run, body))
        };
        rows.into_iter().map(read).collect()
    }

    /// Answers a request; the first answer stays.
    pub async fn request_answer(
        &self,
        id: &str,
        answer: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let (id, answer) = (id.to_owned(), answer.to_owned());
        self.write(move |tx| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE requests SET answer = ?, answered_at = ? \
                     WHERE id = ? AND answer IS NULL",
                )
                .bind(answer)
                .bind(micros(at))
                .bind(id)
                .execute(tx)
                .await?;
                Ok(())
            })
        })
        .await
    }
}
