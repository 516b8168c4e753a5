//! The comments of the local tracker, and how far each tracker's comments were read. Who may write
//! one, and what it steers, is decided elsewhere.

use std::collections::BTreeMap;

use afk_core::ids::{Actor, IssueRef, RepoName};
use afk_core::issue::Comment;
use jiff::Timestamp;

use super::issues::{require, touch};
use super::{Store, StoreError, from_json, from_micros, micros, parse, signed, to_json};

/// Reads the comments of each repo since a time of its own, by an index: one statement for any
/// number of repos. The result is one JSON list instead of rows, because handing a row over takes
/// most of its time, and there is at least one for each of 10,000 repos.
const SINCE: &str = "SELECT json_group_array(json_array(c.repo, c.number, c.id, c.at, \
     c.author_id, c.author_login, c.author_bot, c.body)) \
     FROM json_each(?) j CROSS JOIN issue_comments c \
     ON c.repo = j.value ->> 0 AND c.at >= j.value ->> 1";
/// Reads up to when the comments of each repo were read, as one JSON list for the same reason.
const READ_UNTIL: &str = "SELECT json_group_array(json_array(repo, until)) FROM comments_heard";

impl Store {
    /// Adds a comment and returns its id. Its time is never before that of the repo's newest
    /// comment, because comments are read from the newest one that was read on, and this write may
    /// have waited long.
    pub(crate) async fn comment_add(
        &self,
        issue: &IssueRef,
        body: String,
        actor: Actor,
        at: Timestamp,
    ) -> Result<i64, StoreError> {
        let issue = issue.clone();
        self.write(move |tx| {
            Box::pin(async move {
                require(tx, &issue).await?;
                let id = sqlx::query_scalar(
                    "INSERT INTO issue_comments (repo, number, at, author_id, author_login, \
                     author_bot, body) VALUES (?1, ?2, max(?3, coalesce((SELECT max(at) FROM \
                     issue_comments WHERE repo = ?1), ?3)), ?4, ?5, ?6, ?7) RETURNING id",
                )
                .bind(issue.repo.as_str())
                .bind(signed(issue.number))
                .bind(micros(at))
                .bind(actor.id)
                .bind(actor.login)
                .bind(i64::from(actor.bot))
                .bind(body)
                .fetch_one(&mut *tx)
                .await?;
                touch(tx, &issue, at).await?;
                Ok(id)
            })
        })
        .await
    }

    /// Replaces the text of a comment that `author` wrote; `None` if they have no such comment,
    /// false if the text is the same already.
    pub(crate) async fn comment_edit(
        &self,
        issue: &IssueRef,
        id: i64,
        body: String,
        author: &str,
        at: Timestamp,
    ) -> Result<Option<bool>, StoreError> {
        let (issue, author) = (issue.clone(), author.to_owned());
        self.write(move |tx| {
            Box::pin(async move {
                let old: Option<String> = sqlx::query_scalar(
                    "SELECT body FROM issue_comments \
                     WHERE id = ? AND repo = ? AND number = ? AND author_id = ?",
                )
                .bind(id)
                .bind(issue.repo.as_str())
                .bind(signed(issue.number))
                .bind(author)
                .fetch_optional(&mut *tx)
                .await?;
                let Some(old) = old else { return Ok(None) };
                if old == body {
                    return Ok(Some(false));
                }
                sqlx::query("UPDATE issue_comments SET body = ?, edited_at = ? WHERE id = ?")
                    .bind(body)
                    .bind(micros(at))
                    .bind(id)
                    .execute(&mut *tx)
                    .await?;
                touch(tx, &issue, at).await?;
                Ok(Some(true))
            })
        })
        .await
    }

    pub(crate) async fn comments(&self, issue: &IssueRef) -> Result<Vec<Comment>, StoreError> {
        let rows: Vec<CommentRow> = sqlx::query_as(
            "SELECT id, at, author_id, author_login, author_bot, body FROM issue_comments \
             WHERE repo = ? AND number = ? ORDER BY id",
        )
        .bind(issue.repo.as_str())
        .bind(signed(issue.number))
        .fetch_all(self.readers())
        .await
        .map_err(|e| self.fault(e))?;
        let read = |row| comment(row).map_err(|e| self.fault(e));
        rows.into_iter().map(read).collect()
    }

    /// The comments on any issue of each repo since the time given with it, oldest first.
    pub(crate) async fn comments_since(
        &self,
        asked: &[(RepoName, Timestamp)],
    ) -> Result<BTreeMap<RepoName, Vec<(IssueRef, Comment)>>, StoreError> {
        comments_since(self, asked).await.map_err(|e| self.fault(e))
    }
}

type SinceRow = (String, i64, i64, i64, String, String, i64, String);

async fn comments_since(
    store: &Store,
    asked: &[(RepoName, Timestamp)],
) -> Result<BTreeMap<RepoName, Vec<(IssueRef, Comment)>>, StoreError> {
    let asked: Vec<_> = asked.iter().map(|(repo, since)| (repo, micros(*since))).collect();
    let list: String =
        sqlx::query_scalar(SINCE).bind(to_json(&asked)?).fetch_one(store.readers()).await?;
    let mut rows: Vec<SinceRow> = from_json("the comments", &list)?;
    rows.sort_by_key(|(_, _, id, at, ..)| (*at, *id));
    let mut by_repo: BTreeMap<RepoName, Vec<(IssueRef, Comment)>> = BTreeMap::new();
    for (repo, number, id, at, author, login, bot, body) in rows {
        let repo: RepoName = parse("the repo of a comment", &repo)?;
        let issue = IssueRef { repo: repo.clone(), number: number.cast_unsigned() };
        let comment = comment((id, at, author, login, bot, body))?;
        by_repo.entry(repo).or_default().push((issue, comment));
    }
    Ok(by_repo)
}

/// Up to when the comments of each repo were read.
pub(super) async fn comments_read_until(
    store: &Store,
) -> Result<BTreeMap<RepoName, Timestamp>, StoreError> {
    let list: String = sqlx::query_scalar(READ_UNTIL).fetch_one(store.readers()).await?;
    let rows: Vec<(String, i64)> = from_json("until when comments were read", &list)?;
    let read = |(repo, until): (String, i64)| {
        let until = from_micros("until when comments were read", until)?;
        Ok((parse("the repo of comments", &repo)?, until))
    };
    rows.into_iter().map(read).collect()
}

/// Records that the comments of `repo` were read up to `until`; the time never goes back.
pub(super) async fn note_comments_read(
    store: &Store,
    repo: &RepoName,
    until: Timestamp,
) -> Result<(), StoreError> {
    let repo = repo.clone();
    store
        .write(move |tx| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO comments_heard (repo, until) VALUES (?1, ?2) \
                     ON CONFLICT (repo) DO UPDATE SET until = max(until, ?2)",
                )
                .bind(repo.as_str())
                .bind(micros(until))
                .execute(tx)
                .await?;
                Ok(())
            })
        })
        .await
}

type CommentRow = (i64, i64, String, String, i64, String);

fn comment((id, at, author, login, bot, body): CommentRow) -> Result<Comment, StoreError> {
    let author = Some(Actor { id: author, login, bot: bot != 0 });
    let at = from_micros("the time of a comment", at)?;
    Ok(Comment { id: id.to_string(), author, at, body, edited: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_comment_is_never_before_the_newest_that_may_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("afk.db")).await.unwrap();
        let repo: RepoName = "o/r".parse().unwrap();
        let ann = Actor { id: "user:ann".to_owned(), login: "ann".to_owned(), bot: false };
        let at = |second| Timestamp::from_second(second).unwrap();
        let made = store.issue_create(repo.clone(), "t".into(), String::new(), ann.clone(), at(1));
        let issue = made.await.unwrap();
        for (second, body) in [(20, "first"), (10, "/afk stop"), (30, "later")] {
            store.comment_add(&issue, body.to_owned(), ann.clone(), at(second)).await.unwrap();
        }
        let other: RepoName = "o/q".parse().unwrap();
        let asked = [(repo.clone(), at(20)), (other, at(0))];
        let since = store.comments_since(&asked).await.unwrap();
        assert_eq!(since.len(), 1);
        let told: Vec<_> =
            since[&repo].iter().map(|(_, one)| (one.at, one.body.as_str())).collect();
        assert_eq!(told, [(at(20), "first"), (at(20), "/afk stop"), (at(30), "later")]);
    }
}
