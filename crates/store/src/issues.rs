//! The tables of the local tracker: rows, and idempotent writes. What the rows mean, and who may do
//! what, is decided in `local_tracker`, the only caller.

use afk_core::ids::{Actor, IssueRef, RepoName};
use afk_core::issue::{Issue, IssueChange, IssueEvent};
use jiff::Timestamp;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{Store, StoreError, from_json, from_micros, micros, signed, to_json};

/// A requested change of an issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IssueEdit {
    /// Add a label.
    Label(String),
    /// Remove a label.
    Unlabel(String),
    /// Close it.
    Close,
    /// Reopen it.
    Reopen,
    /// Give it another title.
    Title(String),
    /// Give it another body.
    Body(String),
}

/// Which issues to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct IssueFilter {
    pub(crate) repo: Option<RepoName>,
    pub(crate) label: Option<String>,
    pub(crate) open: Option<bool>,
}

impl Store {
    pub(crate) async fn issue_create(
        &self,
        repo: RepoName,
        title: String,
        body: String,
        actor: Actor,
        at: Timestamp,
    ) -> Result<IssueRef, StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let number: i64 = sqlx::query_scalar(
                    "INSERT INTO issues (repo, number, title, body, is_open, author_id, \
                     author_login, author_bot, created_at, updated_at) VALUES (?1, \
                     (SELECT coalesce(max(number), 0) + 1 FROM issues WHERE repo = ?1), \
                     ?2, ?3, 1, ?4, ?5, ?6, ?7, ?7) RETURNING number",
                )
                .bind(repo.as_str())
                .bind(title)
                .bind(body)
                .bind(actor.id)
                .bind(actor.login)
                .bind(i64::from(actor.bot))
                .bind(micros(at))
                .fetch_one(tx)
                .await?;
                Ok(IssueRef { repo, number: number as u64 })
            })
        })
        .await
    }

    pub(crate) async fn issue(&self, issue: &IssueRef) -> Result<Option<Issue>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT repo, number, title, body, is_open, (SELECT json_group_array(label) FROM \
             (SELECT label FROM issue_labels l WHERE l.repo = i.repo AND l.number = i.number \
             ORDER BY at, label)) FROM issues i WHERE repo = ? AND number = ?",
        )
        .bind(issue.repo.as_str())
        .bind(signed(issue.number))
        .fetch_optional(self.readers())
        .await
        .map_err(|e| self.fault(e))?;
        row.map(decode).transpose().map_err(|e| self.fault(e))
    }

    /// The issues that match, sorted by repo and number.
    pub(crate) async fn issue_list(
        &self,
        filter: &IssueFilter,
        limit: u32,
    ) -> Result<Vec<Issue>, StoreError> {
        let mut query = list_query(filter, limit);
        let rows: Vec<Row> =
            query.build_query_as().fetch_all(self.readers()).await.map_err(|e| self.fault(e))?;
        rows.into_iter().map(|row| decode(row).map_err(|e| self.fault(e))).collect()
    }

    /// Makes the edit and writes its event; false, and no event, if it changes nothing.
    pub(crate) async fn issue_edit(
        &self,
        issue: &IssueRef,
        edit: IssueEdit,
        actor: Actor,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let issue = issue.clone();
        self.write(move |tx| {
            Box::pin(async move {
                require(tx, &issue).await?;
                let Some(what) = apply(tx, &issue, edit, at).await? else { return Ok(false) };
                record(tx, &issue, &what, &actor, at).await?;
                Ok(true)
            })
        })
        .await
    }

    pub(crate) async fn issue_events(
        &self,
        issue: &IssueRef,
    ) -> Result<Vec<IssueEvent>, StoreError> {
        let rows: Vec<(i64, String, String, i64, String)> = sqlx::query_as(
            "SELECT at, actor_id, actor_login, actor_bot, change_json FROM issue_events \
             WHERE repo = ? AND number = ? ORDER BY id",
        )
        .bind(issue.repo.as_str())
        .bind(signed(issue.number))
        .fetch_all(self.readers())
        .await
        .map_err(|e| self.fault(e))?;
        rows.into_iter()
            .map(|(at, id, login, bot, change)| {
                Ok(IssueEvent {
                    at: from_micros("the time of an event", at)?,
                    actor: Some(Actor { id, login, bot: bot != 0 }),
                    what: from_json("an event of an issue", &change)?,
                })
            })
            .map(|row: Result<_, StoreError>| row.map_err(|e| self.fault(e)))
            .collect()
    }
}

/// The query for a list of issues. With a label the index on labels drives it: CROSS JOIN keeps
/// that order, because SQLite would otherwise walk all issues of the repo.
fn list_query(filter: &IssueFilter, limit: u32) -> QueryBuilder<Sqlite> {
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(
        "SELECT i.repo, i.number, i.title, i.body, i.is_open, \
         (SELECT json_group_array(label) FROM (SELECT label FROM issue_labels l \
         WHERE l.repo = i.repo AND l.number = i.number ORDER BY at, label)) FROM ",
    );
    match &filter.label {
        Some(label) => query
            .push("issue_labels f CROSS JOIN issues i ON i.repo = f.repo AND i.number = f.number ")
            .push("WHERE f.label COLLATE NOCASE = ")
            .push_bind(label.clone()),
        None => query.push("issues i WHERE 1 = 1"),
    };
    // Columns of the table that drives the query, so that it is read in order and not sorted.
    let (column, order) = match filter.label {
        Some(_) => (" AND f.repo = ", " ORDER BY f.repo, f.number LIMIT "),
        None => (" AND i.repo = ", " ORDER BY i.repo, i.number LIMIT "),
    };
    if let Some(repo) = &filter.repo {
        query.push(column).push_bind(repo.to_string());
    }
    if let Some(open) = filter.open {
        query.push(" AND i.is_open = ").push_bind(i64::from(open));
    }
    query.push(order).push_bind(limit);
    query
}

/// Makes the edit; the change that it made, or `None` if it changed nothing.
async fn apply(
    tx: &mut SqliteConnection,
    issue: &IssueRef,
    edit: IssueEdit,
    at: Timestamp,
) -> Result<Option<IssueChange>, StoreError> {
    let (sql, bound, what) = match edit {
        IssueEdit::Label(label) => (
            "INSERT INTO issue_labels (repo, number, label, at) VALUES (?2, ?3, ?1, ?4) \
             ON CONFLICT DO NOTHING",
            label.clone(),
            IssueChange::Labeled { label },
        ),
        IssueEdit::Unlabel(label) => (
            "DELETE FROM issue_labels \
             WHERE label COLLATE NOCASE = ?1 AND repo = ?2 AND number = ?3",
            label.clone(),
            IssueChange::Unlabeled { label },
        ),
        IssueEdit::Close => (
            "UPDATE issues SET is_open = 0, updated_at = ?4 \
             WHERE repo = ?2 AND number = ?3 AND is_open = 1",
            String::new(),
            IssueChange::Closed,
        ),
        IssueEdit::Reopen => (
            "UPDATE issues SET is_open = 1, updated_at = ?4 \
             WHERE repo = ?2 AND number = ?3 AND is_open = 0",
            String::new(),
            IssueChange::Reopened,
        ),
        IssueEdit::Title(title) => (
            "UPDATE issues SET title = ?1, updated_at = ?4 \
             WHERE repo = ?2 AND number = ?3 AND title <> ?1",
            title,
            IssueChange::Renamed,
        ),
        IssueEdit::Body(body) => (
            "UPDATE issues SET body = ?1, updated_at = ?4 \
             WHERE repo = ?2 AND number = ?3 AND body <> ?1",
            body,
            IssueChange::Edited,
        ),
    };
    // A statement ignores bound values that it does not name.
    let done = sqlx::query(sql)
        .bind(bound)
        .bind(issue.repo.as_str())
        .bind(signed(issue.number))
        .bind(micros(at))
        .execute(tx)
        .await?;
    Ok((done.rows_affected() > 0).then_some(what))
}

async fn record(
    tx: &mut SqliteConnection,
    issue: &IssueRef,
    what: &IssueChange,
    actor: &Actor,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO issue_events (repo, number, at, actor_id, actor_login, actor_bot, \
         change_json) VALUES (?1, ?2, max(?3, coalesce((SELECT max(at) FROM issue_events \
         WHERE repo = ?1 AND number = ?2), ?3)), ?4, ?5, ?6, ?7)",
    )
    .bind(issue.repo.as_str())
    .bind(signed(issue.number))
    .bind(micros(at))
    .bind(&actor.id)
    .bind(&actor.login)
    .bind(i64::from(actor.bot))
    .bind(to_json(what)?)
    .execute(&mut *tx)
    .await?;
    touch(tx, issue, at).await
}

pub(super) async fn require(tx: &mut SqliteConnection, issue: &IssueRef) -> Result<(), StoreError> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT number FROM issues WHERE repo = ? AND number = ?")
            .bind(issue.repo.as_str())
            .bind(signed(issue.number))
            .fetch_optional(tx)
            .await?;
    found.map(|_| ()).ok_or_else(|| StoreError::not_found(format_args!("issue {issue}")))
}

pub(super) async fn touch(
    tx: &mut SqliteConnection,
    issue: &IssueRef,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE issues SET updated_at = ? WHERE repo = ? AND number = ?")
        .bind(micros(at))
        .bind(issue.repo.as_str())
        .bind(signed(issue.number))
        .execute(tx)
        .await?;
    Ok(())
}

type Row = (String, i64, String, String, i64, String);

fn decode(row: Row) -> Result<Issue, StoreError> {
    let (repo, number, title, body, open, labels) = row;
    let repo = super::parse("the repo of an issue", &repo)?;
    Ok(Issue {
        issue: IssueRef { repo, number: number as u64 },
        title,
        body,
        labels: from_json("the labels of an issue", &labels)?,
        open: open != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::AssertSqlSafe;

    #[tokio::test]
    async fn a_list_by_label_reads_the_issues_with_that_label_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("afk.db")).await.unwrap();
        for repo in [None, Some("o/r".parse().unwrap())] {
            let filter = IssueFilter { repo, label: Some("ready".into()), open: Some(true) };
            let sql = list_query(&filter, 10).sql().as_str().to_owned();
            let plan: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
                    .fetch_all(store.readers())
                    .await
                    .unwrap();
            let steps: Vec<_> = plan.into_iter().map(|row| row.3).collect();
            let first = "SEARCH f USING COVERING INDEX issue_labels_by_label (label=?";
            assert!(steps[0].starts_with(first), "{steps:#?}");
            assert!(steps[1].starts_with("SEARCH i USING PRIMARY KEY (repo=? AND number=?"));
        }
    }
}
