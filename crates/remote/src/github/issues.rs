//! GitHub's issues, live.

use std::sync::Arc;

use afk_core::digest::Digest;
use afk_core::ids::{Actor, At, IssueRef, RepoName};
use afk_core::issue::{Comment, Issue, IssueEvent, Permission, same_label};
use afk_engine::ports::{PortError, PortErrorKind, PortResult};
use async_trait::async_trait;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::history::{edits, merged, through, timeline};
use super::{GitHub, api};
use crate::http::{Account, Answer, Changed, Method, Request, RequestFailure};
use crate::issues::{IssueCache, IssuesApi, ListedIssue, Page, View};

/// Entries per page.
const PAGE: u32 = 100;
/// How many entries the probe asks for.
const ENTRIES: usize = 40;
/// In how many smaller pages these are read if they are too large for one answer. Texts have up to
/// 256 KiB, which JSON may double.
const PIECES: usize = 4;
/// How many pages of changes are followed; with more, everything is read again.
const PAGES: usize = 6;

/// The query for a page of the edits of an issue's body.
const EDITS: &str = "query($owner: String!, $name: String!, $number: Int!, $after: String) {
  repository(owner: $owner, name: $name) {
    issue(number: $number) {
      lastEditedAt
      userContentEdits(first: 100, after: $after) {
        nodes {
          editedAt
          deletedAt
          editor { __typename login ... on User { databaseId } ... on Bot { databaseId } }
        }
        pageInfo { hasNextPage endCursor }
      }
    }
  }
}";

impl GitHub {
    /// Reads who edited the body, and when.
    async fn edits(&self, issue: &IssueRef) -> PortResult<Vec<IssueEvent>> {
        let place = self.places.of(&issue.repo);
        let (owner, name) = place.as_str().split_once('/').unwrap_or_default();
        let (mut all, mut after) = (Vec::new(), None::<String>);
        loop {
            let variables =
                json!({ "owner": owner, "name": name, "number": issue.number, "after": after });
            let body = json!({ "query": EDITS, "variables": variables });
            let request = Request::new(Method::Query, ["graphql"]).json(body).about(name);
            let answer: api::Graph<api::Edited> = self.account.json(&request).await?;
            let unreadable = |why: &str| {
                PortError::transient(format!("the edits of {issue} cannot be read: {why}"))
            };
            if let Some(error) = answer.errors.first() {
                let kind = match error.kind.as_deref() {
                    Some("NOT_FOUND") => PortErrorKind::NotFound,
                    Some("FORBIDDEN") => PortErrorKind::Auth,
                    Some(_) | None => PortErrorKind::Transient,
                };
                return Err(PortError::new(kind, unreadable(&error.message).to_string()));
            }
            let found = answer.data.and_then(|data| data.repository?.issue);
            let mut found = found.ok_or_else(|| unreadable("there is no such issue"))?;
            let Some(page) = found.user_content_edits.take() else {
                // Nobody edited it, or GitHub does not list the edits: then `lastEditedAt` is
                // there.
                return Ok(edits(&found, all));
            };
            all.extend(page.nodes);
            if !page.page_info.has_next_page {
                return Ok(edits(&found, all));
            }
            after = page.page_info.end_cursor;
            if after.is_none() {
                return Err(unreadable("the next page has no name"));
            }
        }
    }

    /// Reads the open issues that GitHub itself lists as blocking this one.
    async fn blockers(&self, issue: &IssueRef) -> PortResult<Vec<IssueRef>> {
        let path = self.issue_path(issue, &["dependencies", "blocked_by"]);
        let request = Request::get(path).with("per_page", PAGE);
        let all: Vec<api::Blocker> = match self.account.pages(&request).await {
            Ok(all) => all,
            // Servers without dependencies do not know the path; the issue itself was just read.
            Err(error) if error.kind == PortErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let open = all.into_iter().filter(|blocker| blocker.state == "open");
        let named = open.map(|blocker| {
            let place = blocker.repository_url.rsplit('/').take(2).collect::<Vec<_>>();
            let [name, owner] = place.as_slice() else {
                return Err(PortError::transient(format!("a blocker of {issue} has no repo")));
            };
            let place: RepoName =
                format!("{owner}/{name}").parse().map_err(PortError::permanent)?;
            Ok(IssueRef { repo: self.places.at(&place), number: blocker.number })
        });
        named.collect()
    }

    /// The segments of the path of `issue`, followed by `below`.
    fn issue_path(&self, issue: &IssueRef, below: &[&str]) -> Vec<String> {
        let number = issue.number.to_string();
        self.path(&issue.repo, &[&["issues", number.as_str()], below].concat())
    }

    /// Reads the issue itself. One that was transferred is not found: it is not followed to its new
    /// place.
    async fn entry(&self, issue: &IssueRef) -> PortResult<api::Issue> {
        let request = Request::get(self.issue_path(issue, &[]));
        match self.account.try_send(&request).await {
            Ok(answer) => answer.json(),
            Err(RequestFailure { redirect: Some(to), error, .. }) => {
                Err(if self.has(&issue.repo).await? {
                    let why = format!("{issue} was transferred: it is at {to} now");
                    PortError::new(PortErrorKind::NotFound, why)
                } else {
                    error
                })
            }
            Err(failure) => Err(failure.error),
        }
    }

    /// Reads a page of the probe that is too large for one answer, in smaller pages.
    async fn pieces(
        &self,
        repo: &RepoName,
        request: &Request,
        page: usize,
    ) -> PortResult<Vec<ListedIssue>> {
        const SIZE: usize = ENTRIES / PIECES;
        let mut entries = Vec::new();
        for piece in (page - 1) * PIECES + 1..=page * PIECES {
            let request = request.clone().with("per_page", SIZE).with("page", piece);
            let here = listed(repo, &self.account.send(&request).await?)?;
            let last = here.len() < SIZE;
            entries.extend(here);
            if last {
                break;
            }
        }
        Ok(entries)
    }

    /// Whether the repo still has the name that we know: GitHub redirects all paths of a renamed
    /// one.
    async fn has(&self, repo: &RepoName) -> PortResult<bool> {
        match self.account.try_send(&self.get(repo, &[])).await {
            Ok(_) => Ok(true),
            Err(RequestFailure { redirect: Some(_), .. }) => Ok(false),
            Err(failure) => Err(failure.error),
        }
    }
}
#[async_trait]
impl IssuesApi for GitHub {
    fn account(&self) -> &Arc<Account> {
        &self.account
    }

    async fn own_account(&self) -> PortResult<Actor> {
        let account: api::Account = match &self.app {
            Some(app) => {
                let login = format!("{}[bot]", app.slug().await?);
                self.account.json(&Request::get(self.top(&["users", &login]))).await?
            }
            None => self.account.json(&Request::get(self.top(&["user"]))).await?,
        };
        Ok(account.actor())
    }

    /// Reads the first page of the list of all issues, sorted by their last update and not
    /// filtered: whatever happens to an issue brings it to the front.
    async fn changes(&self, repo: &RepoName, seen: &mut IssueCache) -> PortResult<bool> {
        let request = self
            .get(repo, &["issues"])
            .with("state", "all")
            .with("sort", "updated")
            .with("direction", "desc");
        let probe = request.clone().with("per_page", ENTRIES);
        let changed = self.account.try_changed(&probe, seen.probe.as_ref()).await;
        let (mut entries, validator) = match changed {
            Ok(Changed::No(None)) => return Ok(false),
            Ok(Changed::No(Some(validator))) => {
                seen.probe = Some(validator);
                return Ok(true);
            }
            Ok(Changed::Yes(answer, validator)) => (listed(repo, &answer)?, Some(validator)),
            // Smaller pages have tags of their own, so that the next probe is not conditional.
            Err(failure) if failure.too_large => (self.pieces(repo, &request, 1).await?, None),
            Err(failure) => return Err(failure.error),
        };
        // Taken in only when all pages are there: with half of the changes known, the next probe
        // would end at them and never find the others.
        let (mut pages, mut last) = (1, entries.len() < ENTRIES);
        while seen.reach(&entries, last) == Page::More && pages < PAGES {
            pages += 1;
            let page = match self.account.try_send(&probe.clone().with("page", pages)).await {
                Ok(answer) => listed(repo, &answer)?,
                Err(failure) if failure.too_large => self.pieces(repo, &request, pages).await?,
                Err(failure) => return Err(failure.error),
            };
            last = page.len() < ENTRIES;
            entries.extend(page);
        }
        let reach = seen.reach(&entries, last);
        seen.take(entries);
        if reach == Page::More {
            seen.reset();
        }
        seen.probe = validator;
        Ok(true)
    }

    async fn labelled(&self, repo: &RepoName, label: &str) -> PortResult<Vec<Issue>> {
        let request = self
            .get(repo, &["issues"])
            .with("state", "open")
            .with("labels", label)
            .with("per_page", PAGE);
        let mut issues = Vec::new();
        for answer in &self.account.answers(&request).await? {
            let page = listed(repo, answer)?;
            issues.extend(page.into_iter().filter(|entry| !entry.pull).map(|entry| entry.issue));
        }
        Ok(issues)
    }

    async fn view(&self, issue: &IssueRef) -> PortResult<View> {
        let at = self.clock.now();
        // The text is read first: a later edit is then among the edits, and refuses the release.
        let entry = self.entry(issue).await?;
        if entry.pull_request.is_some() {
            let why = format!("{issue} is a pull request, not an issue");
            return Err(PortError::new(PortErrorKind::NotFound, why));
        }
        let updated = entry.updated_at;
        let seen = issue_of(&issue.repo, entry);
        let request = Request::get(self.issue_path(issue, &["timeline"])).with("per_page", PAGE);
        let entries: Vec<Value> = self.account.pages(&request).await?;
        let events =
            timeline(entries).map_err(|why| PortError::transient(format!("{issue}: {why}")))?;
        let events = merged(events, self.edits(issue).await?);
        let blockers = self.blockers(issue).await?;
        Ok(View { issue: seen, events, blockers, updated, at })
    }

    async fn is_open(&self, issue: &IssueRef) -> PortResult<bool> {
        Ok(self.entry(issue).await?.state == "open")
    }

    async fn permission(&self, repo: &RepoName, actor: &Actor) -> PortResult<Permission> {
        let path = ["collaborators", &actor.login, "permission"];
        match self.account.json::<api::Collaborator>(&self.get(repo, &path)).await {
            Ok(answer) => Ok(permission(&answer, actor)),
            Err(error) if error.kind == PortErrorKind::NotFound => Ok(Permission::None),
            Err(error) => Err(error),
        }
    }

    async fn comments(&self, issue: &IssueRef) -> PortResult<Vec<Comment>> {
        let request = Request::get(self.issue_path(issue, &["comments"])).with("per_page", PAGE);
        let all: Vec<api::Comment> = self.account.pages(&request).await?;
        Ok(all.into_iter().map(comment_of).collect())
    }

    async fn comments_since(
        &self,
        repo: &RepoName,
        since: At,
    ) -> PortResult<Vec<(IssueRef, Comment)>> {
        let request = self
            .get(repo, &["issues", "comments"])
            .with("since", since)
            .with("sort", "created")
            .with("direction", "asc")
            .with("per_page", PAGE);
        let all: Vec<api::Comment> = self.account.pages(&request).await?;
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
        let path = self.issue_path(issue, &["labels"]);
        let request = Request::new(Method::Post, path).json(json!({ "labels": labels }));
        let now: Vec<api::Label> = self.account.json(&request).await?;
        let now: Vec<String> = now.into_iter().filter_map(api::Label::name).collect();
        let is_there = |label: &&String| now.iter().any(|one| same_label(one, label));
        labels.iter().find(|label| !is_there(label)).map_or(Ok(()), |missing| {
            let why = format!(
                "{issue} did not get the label {missing}: the credential needs the permission to \
                 write issues"
            );
            Err(PortError::new(PortErrorKind::Auth, why))
        })
    }

    async fn remove_label(&self, issue: &IssueRef, label: &str) -> PortResult<()> {
        let path = self.issue_path(issue, &["labels", label]);
        match self.account.send(&Request::new(Method::Delete, path)).await {
            Ok(_) => Ok(()),
            // The label is not on the issue.
            Err(error) if error.kind == PortErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn set_open(&self, issue: &IssueRef, open: bool) -> PortResult<()> {
        let body = if open {
            json!({ "state": "open" })
        } else {
            json!({ "state": "closed", "state_reason": "completed" })
        };
        let request = Request::new(Method::Patch, self.issue_path(issue, &[])).json(body);
        let after: api::Issue = self.account.json(&request).await?;
        if (after.state == "open") == open {
            return Ok(());
        }
        let why = format!("{issue} is {} after all: may the credential write issues?", after.state);
        Err(PortError::new(PortErrorKind::Auth, why))
    }
}

/// The entries of a page of the list of issues.
fn listed(repo: &RepoName, answer: &Answer) -> PortResult<Vec<ListedIssue>> {
    let entries: Vec<&RawValue> = answer.borrowed()?;
    let listed = entries.into_iter().map(|raw| {
        let entry: api::Issue =
            serde_json::from_str(raw.get()).map_err(|e| answer.unexpected_shape(&e))?;
        let (pull, updated) = (entry.pull_request.is_some(), entry.updated_at);
        let issue = issue_of(repo, entry);
        Ok(ListedIssue { issue, pull, updated, entry: Digest::of(raw.get()) })
    });
    listed.collect()
}

/// The issue as the loop knows it.
fn issue_of(repo: &RepoName, entry: api::Issue) -> Issue {
    Issue {
        issue: IssueRef { repo: repo.clone(), number: entry.number },
        title: entry.title,
        body: entry.body.unwrap_or_default(),
        labels: entry.labels.into_iter().filter_map(api::Label::name).collect(),
        open: entry.state == "open",
    }
}

/// The comment as the loop knows it.
fn comment_of(comment: api::Comment) -> Comment {
    let edited = comment.is_edited();
    let author = comment.user.map(|user| user.actor());
    Comment {
        id: comment.id.to_string(),
        author: through(author, comment.performed_via_github_app),
        at: comment.created_at,
        body: comment.body.unwrap_or_default(),
        edited,
    }
}

/// The permission that the answer gives to `actor`: none if their login belongs to another account
/// by now. A custom role of the organisation counts as the permission that it includes.
fn permission(answer: &api::Collaborator, actor: &Actor) -> Permission {
    if answer.user.as_ref().is_none_or(|user| user.id.to_string() != actor.id) {
        return Permission::None;
    }
    let known = |role: &str| match role {
        "admin" => Some(Permission::Admin),
        "maintain" => Some(Permission::Maintain),
        "write" => Some(Permission::Write),
        "triage" => Some(Permission::Triage),
        "read" => Some(Permission::Read),
        "none" => Some(Permission::None),
        _ => None,
    };
    let role = answer.role_name.as_deref().and_then(known);
    role.or_else(|| known(&answer.permission)).unwrap_or(Permission::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_an_accounts_and_not_a_names() {
        let check = |permission_: &str, role: Option<&str>, id: u64, expected: Permission| {
            let answer = json!({
                "permission": permission_, "role_name": role,
                "user": { "id": id, "login": "ada", "type": "User" },
            });
            let answer: api::Collaborator = serde_json::from_value(answer).unwrap();
            let ada = Actor { id: "7".into(), login: "ada".into(), bot: false };
            assert_eq!(permission(&answer, &ada), expected, "{permission_} {role:?} {id}");
        };
        check("admin", Some("admin"), 7, Permission::Admin);
        check("write", Some("maintain"), 7, Permission::Maintain);
        check("write", Some("write"), 7, Permission::Write);
        check("read", Some("triage"), 7, Permission::Triage);
        check("read", Some("read"), 7, Permission::Read);
        check("none", Some("none"), 7, Permission::None);
        check("none", None, 7, Permission::None);
        check("write", None, 7, Permission::Write);
        check("write", Some("release managers"), 7, Permission::Write);
        check("owner", Some("unheard of"), 7, Permission::None);
        check("admin", Some("admin"), 8, Permission::None);
    }
}
