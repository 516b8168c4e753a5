//! Forgejo's issues, live.

use std::collections::BTreeMap;
use std::sync::Arc;

use afk_core::digest::Digest;
use afk_core::ids::{Actor, At, IssueRef, RepoName};
use afk_core::issue::{Comment, Issue, Permission, same_label};
use afk_engine::ports::{PortError, PortErrorKind, PortResult};
use async_trait::async_trait;
use jiff::SignedDuration;
use serde_json::json;
use serde_json::value::RawValue;

use super::api::{self, User};
use super::history::timeline;
use super::{Forgejo, Known};
use crate::http::{Account, Answer, Method, Request, RequestFailure};
use crate::issues::{IssueCache, IssuesApi, ListedIssue, View};

/// The kind of the notes that hold a repo's [`Known`].
const KNOWN: &str = "forgejo-known";
/// How far the first probe looks back: further than the server's clock may be behind ours.
const FIRST_LOOK: SignedDuration = SignedDuration::from_hours(24);
/// How far each further probe reaches back behind the newest update that is known.
const OVERLAP: SignedDuration = SignedDuration::from_secs(60);
/// How many requests are made at most for a list without pages that is read in spans of time.
const SPANS: usize = 64;
/// How many pages of changes are followed; with more, everything is read again.
const PAGES_OF_CHANGES: usize = 20;

impl Forgejo {
    /// The segments of the path of `issue`, followed by `below`.
    fn issue_path(&self, issue: &IssueRef, below: &[&str]) -> Vec<String> {
        let number = issue.number.to_string();
        self.path(&issue.repo, &[&["issues", number.as_str()], below].concat())
    }

    /// Reads the issue itself.
    async fn entry(&self, issue: &IssueRef) -> PortResult<api::Issue> {
        self.account.json(&Request::get(self.issue_path(issue, &[]))).await
    }

    /// Reads a list below the issue as a whole, without pages. One that is too large is read in
    /// spans of time, the oldest first, so that what changes meanwhile comes twice and is not lost.
    /// Pages, where there are any, would not do: a page whose entries the server hides looks like
    /// the end.
    async fn whole(&self, issue: &IssueRef, list: &str) -> PortResult<Vec<Answer>> {
        let time = |second: i64| At::from_second(second).map_err(PortError::permanent);
        let now = self.account.server_time().as_second();
        let (mut all, mut first, mut spans) = (Vec::new(), None, vec![(None, None)]);
        for _ in 0..SPANS {
            let Some((since, before)) = spans.pop() else { return Ok(all) };
            let mut request = Request::get(self.issue_path(issue, &[list]));
            if let Some(since) = since {
                request = request.with("since", time(since)?);
            }
            if let Some(before) = before {
                request = request.with("before", time(before)?);
            }
            match self.account.try_send(&request).await {
                Ok(answer) => all.push(answer),
                Err(RequestFailure { too_large: false, error, .. }) => return Err(error),
                Err(RequestFailure { error, .. }) => {
                    let opened = match first {
                        Some(opened) => opened,
                        None => self.entry(issue).await?.created_at.as_second(),
                    };
                    first = Some(opened);
                    let (from, to) = (since.unwrap_or(opened), before.unwrap_or(now));
                    if from >= to {
                        return Err(error);
                    }
                    let middle = from.midpoint(to);
                    spans.extend([(Some(middle + 1), before), (since, Some(middle))]);
                }
            }
        }
        Err(PortError::permanent(format!("the {list} of {issue} are more than what is read")))
    }

    /// Reads the open issues that this one depends on.
    async fn blockers(&self, issue: &IssueRef) -> PortResult<Vec<IssueRef>> {
        let request = Request::get(self.issue_path(issue, &["dependencies"]));
        let all: Vec<api::Issue> = match self.all(&request).await {
            Ok(all) => all,
            // The repo has dependencies switched off; the issue itself was just read.
            Err(error) if error.kind == PortErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let open = all.into_iter().filter(|blocker| blocker.state == "open");
        let named = open.map(|blocker| {
            let place = match blocker.repository {
                Some(repository) => repository.full_name,
                None => self.places.of(&issue.repo).to_string(),
            };
            let place: RepoName = place.parse().map_err(PortError::permanent)?;
            Ok(IssueRef { repo: self.places.at(&place), number: blocker.number })
        });
        named.collect()
    }

    /// Calls `act` with what is known of the repo, and writes that to the notes if `act` returns
    /// true first. Returns the second part of its result.
    async fn with_known<T: Send>(
        &self,
        repo: &RepoName,
        act: impl FnOnce(&mut Known) -> (bool, T) + Send,
    ) -> PortResult<T> {
        let kept = self.known_of(repo);
        let mut kept = kept.lock().await;
        let key = format!("{}/{}", self.name, self.places.of(repo));
        let mut known = if let Some(known) = kept.take() {
            known
        } else {
            let noted = self.notes.read(KNOWN, &key).await?;
            noted.and_then(|noted| serde_json::from_value(noted).ok()).unwrap_or_default()
        };
        let (news, done) = act(&mut known);
        if news {
            let value = serde_json::to_value(&known).map_err(PortError::permanent)?;
            // If this fails, this process must not believe it either, and reads the notes again.
            self.notes.write(KNOWN, &key, &value, self.clock.now()).await?;
        }
        *kept = Some(known);
        Ok(done)
    }

    /// Reads the entries of a list of issues, and records the texts and labels that they show.
    async fn listed(&self, repo: &RepoName, answers: &[Answer]) -> PortResult<Vec<ListedIssue>> {
        let (mut all, mut labels) = (Vec::new(), Vec::new());
        for answer in answers {
            for raw in super::list_of::<&RawValue>(answer)? {
                let entry: api::Issue = serde_json::from_str(raw.get())
                    .map_err(|error| answer.unexpected_shape(&error))?;
                labels.extend(entry.labels.iter().flatten().cloned());
                let (pull, updated) = (entry.pull_request.is_some(), entry.updated_at);
                let issue = issue_of(repo, entry);
                all.push(ListedIssue { issue, pull, updated, entry: Digest::of(raw.get()) });
            }
        }
        let now = self.account.server_time();
        self.with_known(repo, |known| {
            let mut news = false;
            for ListedIssue { issue, updated, .. } in all.iter().filter(|one| !one.pull) {
                news |= known.texts.record(issue.issue.number, &issue.body, *updated);
            }
            for label in &labels {
                news |= known.labels.record(label, now);
            }
            (news, ())
        })
        .await?;
        Ok(all)
    }

    /// Reads every label of the repo, and records their names.
    pub(super) async fn labels_of(&self, repo: &RepoName) -> PortResult<Vec<api::Label>> {
        let all: Vec<api::Label> = self.all(&self.get(repo, &["labels"])).await?;
        let now = self.account.server_time();
        let note = |known: &mut Known| {
            // Counted, because `any` would stop at the first one that is news.
            let news = all.iter().filter(|label| known.labels.record(label, now)).count();
            (news > 0, ())
        };
        self.with_known(repo, note).await?;
        Ok(all)
    }

    /// Reads the labels of the issue.
    async fn labels(&self, issue: &IssueRef) -> PortResult<Vec<api::Label>> {
        super::list_of(
            &self.account.send(&Request::get(self.issue_path(issue, &["labels"]))).await?,
        )
    }
}

#[async_trait]
impl IssuesApi for Forgejo {
    fn account(&self) -> &Arc<Account> {
        &self.account
    }

    async fn own_account(&self) -> PortResult<Actor> {
        let own: User = self.account.json(&Request::get(self.top(&["user"]))).await?;
        own.actor().ok_or_else(|| PortError::permanent("the token is of a deleted account"))
    }

    /// Lists the issues that were updated since shortly before the newest update that is known: an
    /// update may become visible after a later one.
    async fn changes(&self, repo: &RepoName, seen: &mut IssueCache) -> PortResult<bool> {
        let first = self.clock.now().checked_sub(FIRST_LOOK).unwrap_or(At::MIN);
        let newest = seen.newest().and_then(|newest| newest.checked_sub(OVERLAP).ok());
        let since = newest.unwrap_or(first);
        // The server has whole seconds.
        let since = At::from_second(since.as_second()).unwrap_or(since);
        let request = self.get(repo, &["issues"]).with("state", "all").with("since", since);
        let answers = self.readable_pages(&request).await?;
        let entries = self.listed(repo, &answers).await?;
        let known =
            |one: &ListedIssue| seen.entry(one.issue.issue.number) == Some(one.entry.clone());
        if entries.iter().all(known) {
            return Ok(false);
        }
        if answers.len() > PAGES_OF_CHANGES {
            seen.reset();
        }
        seen.take(entries);
        Ok(true)
    }

    async fn labelled(&self, repo: &RepoName, label: &str) -> PortResult<Vec<Issue>> {
        // By a label that the repo does not have, servers list all issues: the caller drops those.
        let request = self
            .get(repo, &["issues"])
            .with("state", "open")
            .with("type", "issues")
            .with("labels", label);
        let entries = self.listed(repo, &self.readable_pages(&request).await?).await?;
        Ok(entries.into_iter().filter(|entry| !entry.pull).map(|entry| entry.issue).collect())
    }

    async fn view(&self, issue: &IssueRef) -> PortResult<View> {
        let at = self.clock.now();
        let entry = self.entry(issue).await?;
        if entry.pull_request.is_some() {
            let why = format!("{issue} is a pull request, not an issue");
            return Err(PortError::new(PortErrorKind::NotFound, why));
        }
        let (created, updated) = (entry.created_at, entry.updated_at);
        let author = entry.user.clone().and_then(User::actor);
        let labels = entry.labels.clone().unwrap_or_default();
        let seen = issue_of(&issue.repo, entry);
        // Read without pages, which the server's filters would shorten.
        let mut entries = Vec::new();
        for answer in self.whole(issue, "timeline").await? {
            entries.extend(super::list_of(&answer)?);
        }
        let now = self.account.server_time();
        let read = self.with_known(&issue.repo, |known| {
            let mut news = known.texts.record(issue.number, &seen.body, updated);
            for label in &labels {
                news |= known.labels.record(label, now);
            }
            let edit = known.texts.edit(issue.number, author, created);
            (news, (timeline(entries, &known.labels), edit))
        });
        let (events, edit) = read.await?;
        let mut events = events.map_err(|why| PortError::transient(format!("{issue}: {why}")))?;
        // A label that was added after the text was read may have been meant for another text.
        if events.iter().any(|event| event.at > updated) {
            let why = format!("{issue} changed while it was read");
            return Err(PortError::transient(why));
        }
        events.extend(edit);
        events.sort_by_key(|event| event.at);
        let blockers = self.blockers(issue).await?;
        Ok(View { issue: seen, events, blockers, updated, at })
    }

    async fn is_open(&self, issue: &IssueRef) -> PortResult<bool> {
        Ok(self.entry(issue).await?.state == "open")
    }

    async fn permission(&self, repo: &RepoName, actor: &Actor) -> PortResult<Permission> {
        let path = ["collaborators", &actor.login, "permission"];
        match self.account.json::<api::Collaborator>(&self.get(repo, &path)).await {
            Ok(answer) => Ok(permission(answer, actor)),
            Err(error) if error.kind == PortErrorKind::NotFound => Ok(Permission::None),
            Err(error) => Err(error),
        }
    }

    async fn comments(&self, issue: &IssueRef) -> PortResult<Vec<Comment>> {
        let mut all = BTreeMap::new();
        for answer in self.whole(issue, "comments").await? {
            let part = super::list_of::<api::Comment>(&answer)?;
            // A comment that is edited meanwhile comes in two spans.
            all.extend(part.into_iter().map(|comment| (comment.id, comment)));
        }
        let mut all: Vec<Comment> = all.into_values().map(comment_of).collect();
        all.sort_by_key(|comment| comment.at);
        Ok(all)
    }

    async fn comments_since(
        &self,
        repo: &RepoName,
        since: At,
    ) -> PortResult<Vec<(IssueRef, Comment)>> {
        let request = self.get(repo, &["issues", "comments"]).with("since", since);
        let mut all = Vec::new();
        for answer in self.readable_pages(&request).await? {
            all.extend(super::list_of::<api::Comment>(&answer)?);
        }
        let named = all.into_iter().filter_map(|comment| {
            let number = comment.issue_number()?;
            Some((IssueRef { repo: repo.clone(), number }, comment_of(comment)))
        });
        Ok(named.collect())
    }

    async fn post_comment(&self, issue: &IssueRef, body: &str) -> PortResult<String> {
        let path = self.issue_path(issue, &["comments"]);
        let request = Request::new(Method::Post, path).json(json!({ "body": body }));
        let posted: api::Comment = self.account.json(&request).await?;
        Ok(posted.id.to_string())
    }

    async fn edit_comment(&self, issue: &IssueRef, id: &str, body: &str) -> PortResult<()> {
        let path = self.path(&issue.repo, &["issues", "comments", id]);
        let request = Request::new(Method::Patch, path).json(json!({ "body": body }));
        self.account.send(&request).await.map(drop)
    }

    async fn add_labels(&self, issue: &IssueRef, labels: &[String]) -> PortResult<()> {
        // By id: older servers take no names here, and newer ones ignore unknown names.
        let all = self.labels_of(&issue.repo).await?;
        let mut ids = Vec::new();
        for label in labels {
            let found = all.iter().find(|one| same_label(&one.name, label));
            let found = found.ok_or_else(|| {
                PortError::permanent(format!(
                    "{} has no label {label}; `afk doctor --fix` makes it",
                    issue.repo
                ))
            })?;
            ids.push(found.id);
        }
        let path = self.issue_path(issue, &["labels"]);
        let request = Request::new(Method::Post, path).json(json!({ "labels": ids }));
        let now: Vec<api::Label> = super::list_of(&self.account.send(&request).await?)?;
        let is_there = |label: &&String| now.iter().any(|one| same_label(&one.name, label));
        labels.iter().find(|label| !is_there(label)).map_or(Ok(()), |missing| {
            let why = format!(
                "{issue} did not get the label {missing}: the token needs the scope write:issue, \
                 and its account the permission to write issues"
            );
            Err(PortError::new(PortErrorKind::Auth, why))
        })
    }

    async fn remove_label(&self, issue: &IssueRef, label: &str) -> PortResult<()> {
        let there = self.labels(issue).await?;
        let Some(found) = there.iter().find(|one| same_label(&one.name, label)) else {
            return Ok(());
        };
        let path = self.issue_path(issue, &["labels", &found.id.to_string()]);
        match self.account.send(&Request::new(Method::Delete, path)).await {
            Ok(_) => Ok(()),
            // Somebody else removed it first.
            Err(error) if error.kind == PortErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn set_open(&self, issue: &IssueRef, open: bool) -> PortResult<()> {
        let body = json!({ "state": if open { "open" } else { "closed" } });
        let request = Request::new(Method::Patch, self.issue_path(issue, &[])).json(body);
        let after: api::Issue = self.account.json(&request).await?;
        if (after.state == "open") == open {
            return Ok(());
        }
        let why = format!("{issue} is {} after all: may the token write issues?", after.state);
        Err(PortError::new(PortErrorKind::Auth, why))
    }
}

/// The issue as the loop knows it.
fn issue_of(repo: &RepoName, entry: api::Issue) -> Issue {
    Issue {
        issue: IssueRef { repo: repo.clone(), number: entry.number },
        title: entry.title,
        body: entry.body.unwrap_or_default(),
        labels: entry.labels.unwrap_or_default().into_iter().map(|label| label.name).collect(),
        open: entry.state == "open",
    }
}

/// The comment as the loop knows it.
fn comment_of(comment: api::Comment) -> Comment {
    let edited = comment.is_edited();
    Comment {
        id: comment.id.to_string(),
        author: comment.user.and_then(User::actor),
        at: comment.created_at,
        body: comment.body.unwrap_or_default(),
        edited,
    }
}

/// The permission that the answer gives to `actor`: none if their login belongs to another account
/// by now.
fn permission(answer: api::Collaborator, actor: &Actor) -> Permission {
    if answer.user.is_none_or(|user| user.id.to_string() != actor.id) {
        return Permission::None;
    }
    match answer.permission.as_str() {
        "owner" | "admin" => Permission::Admin,
        "write" => Permission::Write,
        "read" => Permission::Read,
        _ => Permission::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_an_accounts_and_not_a_names() {
        let check = |word: &str, id: i64, expected: Permission| {
            let answer = json!({
                "permission": word, "role_name": word, "user": { "id": id, "login": "ada" },
            });
            let ada = Actor { id: "7".into(), login: "ada".into(), bot: false };
            assert_eq!(permission(serde_json::from_value(answer).unwrap(), &ada), expected);
        };
        check("owner", 7, Permission::Admin);
        check("admin", 7, Permission::Admin);
        check("write", 7, Permission::Write);
        check("read", 7, Permission::Read);
        check("none", 7, Permission::None);
        check("unheard of", 7, Permission::None);
        check("admin", 8, Permission::None);
    }
}
