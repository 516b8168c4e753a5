//! GitHub's issues as the loop's tracker.

use std::sync::PoisonError;

use afk_core::comment::find;
use afk_core::ids::{Actor, At, IssueRef, RepoName, RunId};
use afk_core::issue::{BlockerState, Comment, Issue, IssueEvent, Permission};
use afk_engine::ports::{IssueView, Labels, PortError, PortErrorKind, PortResult, Tracker};
use async_trait::async_trait;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::history::{edits, merged, through, timeline};
use super::repo::{FOR_A_PASS, FOR_A_POLL, issue_of, listed};
use super::seen::{View, has};
use super::{GitHub, PERMISSION_HOLDS, api};
use crate::http::{Method, Request};

/// Entries of one page.
const PAGE: u32 = 100;
/// How long a whole list is believed before it is read again: a renamed label touches no issue.
const SWEPT: SignedDuration = SignedDuration::from_hours(6);
/// How long an issue that was read is believed, though nothing shows that it changed: a dependency
/// that is removed may touch neither.
const VIEWED: SignedDuration = SignedDuration::from_mins(15);

/// The edits of an issue's body, a page at a time.
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
    /// The issue with its history, live.
    async fn read(&self, issue: &IssueRef) -> PortResult<View> {
        let at = self.now();
        let number = issue.number.to_string();
        // The text first: an edit after it was read is among the edits, and refuses the release.
        let entry: api::Issue =
            self.account.json(&self.get(&issue.repo, &["issues", &number])).await?;
        if entry.pull_request.is_some() {
            let why = format!("{issue} is a pull request, not an issue");
            return Err(PortError::new(PortErrorKind::NotFound, why));
        }
        let updated = entry.updated_at;
        let seen = issue_of(&issue.repo, entry);
        let request =
            self.get(&issue.repo, &["issues", &number, "timeline"]).with("per_page", PAGE);
        let entries: Vec<Value> = self.account.pages(&request).await?;
        let events =
            timeline(entries).map_err(|why| PortError::transient(format!("{issue}: {why}")))?;
        let events = merged(events, self.edits(issue).await?);
        let blockers = self.blockers(issue).await?;
        Ok(View { issue: seen, events, blockers, updated, at })
    }

    /// Who edited the body, and when.
    async fn edits(&self, issue: &IssueRef) -> PortResult<Vec<IssueEvent>> {
        let place = self.places.of(&issue.repo);
        let (owner, name) = place.as_str().split_once('/').unwrap_or_default();
        let (mut all, mut after) = (Vec::new(), None::<String>);
        loop {
            let variables =
                json!({ "owner": owner, "name": name, "number": issue.number, "after": after });
            let body = json!({ "query": EDITS, "variables": variables });
            let request = Request::new(Method::Query, ["graphql"]).json(body);
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
                // Nobody edited it, or nothing is told: then the time of the last edit is.
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

    /// The issues that GitHub itself knows to block this one.
    async fn blockers(&self, issue: &IssueRef) -> PortResult<Vec<IssueRef>> {
        let number = issue.number.to_string();
        let path = ["issues", &number, "dependencies", "blocked_by"];
        let request = self.get(&issue.repo, &path).with("per_page", PAGE);
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

    /// The open issues with `label`, as the newest probe shows them.
    async fn list(&self, repo: &RepoName, label: &str) -> PortResult<Vec<Issue>> {
        let state = self.repo(repo);
        let mut kept = self.seen(repo, &state, FOR_A_POLL).await?;
        let now = self.now();
        if let Some(list) = kept.seen.list(label, earlier(now, SWEPT)) {
            return Ok(list);
        }
        let request = self
            .get(repo, &["issues"])
            .with("state", "open")
            .with("labels", label)
            .with("per_page", PAGE);
        let answers = self.account.answers(&request).await?;
        let mut issues = Vec::new();
        for answer in &answers {
            let page = listed(repo, answer)?;
            issues.extend(page.into_iter().filter(|entry| !entry.pull).map(|entry| entry.issue));
        }
        issues.retain(|issue| issue.open && has(issue, label));
        kept.seen.swept(label, issues.clone(), now);
        self.note(repo, &kept).await?;
        Ok(issues)
    }

    /// What GitHub's comment says, for the loop.
    fn comment_of(comment: api::Comment) -> Comment {
        let author = comment.user.map(|user| user.actor());
        Comment {
            id: comment.id.to_string(),
            author: through(author, comment.performed_via_github_app),
            at: comment.created_at,
            body: comment.body.unwrap_or_default(),
        }
    }

    /// The comments of `issue`, live.
    async fn read_comments(&self, issue: &IssueRef) -> PortResult<Vec<Comment>> {
        let number = issue.number.to_string();
        let path = ["issues", &number, "comments"];
        let request = self.get(&issue.repo, &path).with("per_page", PAGE);
        let all: Vec<api::Comment> = self.account.pages(&request).await?;
        Ok(all.into_iter().map(Self::comment_of).collect())
    }

    /// Sends what changes `issue`; whatever was read of it before is read again.
    async fn write(&self, issue: &IssueRef, request: &Request) -> PortResult<crate::http::Answer> {
        let answer = self.account.send(request).await;
        self.repo(&issue.repo).kept().await.seen.forget(issue.number);
        answer
    }

    async fn set_state(&self, issue: &IssueRef, body: Value) -> PortResult<()> {
        let number = issue.number.to_string();
        let path = self.path(&issue.repo, &["issues", &number]);
        let wanted = body["state"].clone();
        let request = Request::new(Method::Patch, path).json(body);
        let after: api::Issue = self.write(issue, &request).await?.json()?;
        if after.state == wanted {
            return Ok(());
        }
        let why = format!("{issue} is {} after all: may the credential write issues?", after.state);
        Err(PortError::new(PortErrorKind::Auth, why))
    }
}

#[async_trait]
impl Tracker for GitHub {
    fn home(&self, _repo: &RepoName) -> String {
        self.account.home().to_owned()
    }

    async fn ready(&self, repo: &RepoName, label: &str) -> PortResult<Vec<Issue>> {
        self.list(repo, label).await
    }

    async fn labelled(&self, repo: &RepoName, label: &str) -> PortResult<Vec<IssueRef>> {
        let issues = self.list(repo, label).await?;
        Ok(issues.into_iter().map(|issue| issue.issue).collect())
    }

    async fn issue(&self, issue: &IssueRef) -> PortResult<IssueView> {
        let state = self.repo(&issue.repo);
        let oldest = earlier(self.now(), VIEWED);
        let (view, before) = {
            let kept = self.seen(&issue.repo, &state, FOR_A_PASS).await?;
            let view = kept.seen.view(issue.number, oldest).cloned();
            (view, kept.seen.entry(issue.number))
        };
        let view = if let Some(view) = view {
            view
        } else {
            let view = self.read(issue).await?;
            let mut kept = state.kept().await;
            if kept.seen.is_ahead_of(issue.number, view.updated) {
                let why = format!("{issue} was answered older than the list of issues shows it");
                return Err(PortError::transient(why));
            }
            // What changed meanwhile may be in it or not; right after a webhook, some of what was
            // read may come from a copy that is behind.
            if kept.seen.entry(issue.number) == before && !state.is_woken(self.now()) {
                kept.seen.viewed(view.clone());
                self.note(&issue.repo, &kept).await?;
            }
            view
        };
        Ok(IssueView { issue: view.issue, events: view.events, native_blockers: view.blockers })
    }

    fn forget(&self, issue: &IssueRef) {
        self.repo(&issue.repo).forget(issue.number);
    }

    async fn permission(&self, repo: &RepoName, actor: &Actor) -> PortResult<Permission> {
        if actor.bot {
            // GitHub answers that a bot is no user; what it may do, its app says.
            return Ok(Permission::None);
        }
        let key = (repo.clone(), actor.id.clone());
        let now = self.now();
        let known = {
            let known = self.permissions.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(&key).copied()
        };
        if let Some((permission, at)) = known
            && (at..later(at, PERMISSION_HOLDS)).contains(&now)
        {
            return Ok(permission);
        }
        let path = ["collaborators", &actor.login, "permission"];
        let answer = self.account.json::<api::Collaborator>(&self.get(repo, &path)).await;
        let permission = match answer {
            Ok(answer) => permission(&answer, actor),
            Err(error) if error.kind == PortErrorKind::NotFound => Permission::None,
            Err(error) => return Err(error),
        };
        let mut known = self.permissions.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, at)| now.duration_since(*at) < PERMISSION_HOLDS);
        known.insert(key, (permission, now));
        Ok(permission)
    }

    async fn blocker(&self, _repo: &RepoName, issue: &IssueRef) -> BlockerState {
        let state = self.repo(&issue.repo);
        let (open, before) = {
            match self.seen(&issue.repo, &state, FOR_A_POLL).await {
                Ok(kept) => (kept.seen.open(issue.number), kept.seen.entry(issue.number)),
                Err(_) => return BlockerState::Unreadable,
            }
        };
        let open = if let Some(open) = open {
            open
        } else {
            let number = issue.number.to_string();
            let request = self.get(&issue.repo, &["issues", &number]);
            let Ok(entry) = self.account.json::<api::Issue>(&request).await else {
                return BlockerState::Unreadable;
            };
            let open = entry.state == "open";
            let mut kept = state.kept().await;
            if kept.seen.entry(issue.number) == before {
                kept.seen.known_open(issue.number, open);
                // A note that is not taken costs a request, and nothing else.
                let _ = self.note(&issue.repo, &kept).await;
            }
            open
        };
        if open { BlockerState::Open } else { BlockerState::Closed }
    }

    async fn own_account(&self, _repo: &RepoName) -> PortResult<Actor> {
        let own = self.own.get_or_try_init(|| async {
            let account: api::Account = match &self.app {
                Some(app) => {
                    let login = format!("{}[bot]", app.slug().await?);
                    self.account.json(&Request::get(self.top(&["users", &login]))).await?
                }
                None => self.account.json(&Request::get(self.top(&["user"]))).await?,
            };
            Ok(account.actor())
        });
        own.await.cloned()
    }

    async fn label(&self, issue: &IssueRef, labels: &Labels) -> PortResult<()> {
        let number = issue.number.to_string();
        let below = ["issues", &number, "labels"];
        if !labels.add.is_empty() {
            let path = self.path(&issue.repo, &below);
            let request = Request::new(Method::Post, path).json(json!({ "labels": labels.add }));
            let now: Vec<api::Label> = self.write(issue, &request).await?.json()?;
            let now: Vec<String> = now.into_iter().filter_map(api::Label::name).collect();
            let missing =
                labels.add.iter().find(|label| !now.iter().any(|n| n.eq_ignore_ascii_case(label)));
            if let Some(missing) = missing {
                let why = format!(
                    "{issue} did not get the label {missing}: the credential needs the permission \
                     to write issues"
                );
                return Err(PortError::new(PortErrorKind::Auth, why));
            }
        }
        for label in &labels.remove {
            let path = self.path(&issue.repo, &[&below[..], &[label.as_str()]].concat());
            match self.write(issue, &Request::new(Method::Delete, path)).await {
                Ok(_) => {}
                // It is not on the issue.
                Err(error) if error.kind == PortErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn comments(&self, issue: &IssueRef) -> PortResult<Vec<Comment>> {
        let state = self.repo(&issue.repo);
        let before = {
            let kept = self.seen(&issue.repo, &state, FOR_A_PASS).await?;
            if let Some(comments) = kept.seen.comments(issue.number) {
                return Ok(comments.to_vec());
            }
            kept.seen.entry(issue.number)
        };
        let comments = self.read_comments(issue).await?;
        let mut kept = state.kept().await;
        if kept.seen.entry(issue.number) == before {
            kept.seen.commented(issue.number, comments.clone());
            self.note(&issue.repo, &kept).await?;
        }
        Ok(comments)
    }

    async fn comments_since(
        &self,
        repo: &RepoName,
        since: At,
    ) -> PortResult<Vec<(IssueRef, Comment)>> {
        // GitHub's times are whole seconds: what was written in the one that `since` is in counts.
        let since = At::from_second(since.as_second()).unwrap_or(since);
        let state = self.repo(repo);
        let mut kept = self.seen(repo, &state, FOR_A_POLL).await?;
        if let Some(known) = kept.seen.comments_since(since) {
            return Ok(known);
        }
        let request = self
            .get(repo, &["issues", "comments"])
            .with("since", since)
            .with("sort", "created")
            .with("direction", "asc")
            .with("per_page", PAGE);
        let all: Vec<api::Comment> = self.account.pages(&request).await?;
        // The list goes by the last change: older comments that were edited are in it, too.
        let written = all.into_iter().filter(|comment| comment.created_at >= since);
        let mut comments = Vec::new();
        for comment in written {
            let Some(number) = comment.issue_number() else { continue };
            let issue = IssueRef { repo: repo.clone(), number };
            comments.push((issue, Self::comment_of(comment)));
        }
        comments.sort_by_key(|(_, comment)| comment.at);
        kept.seen.commented_since(since, comments.clone());
        self.note(repo, &kept).await?;
        Ok(comments)
    }

    async fn comment(&self, issue: &IssueRef, run: RunId, body: &str) -> PortResult<String> {
        let own = self.own_account(&issue.repo).await?;
        // Live, to the last page: a second comment would stay there for good.
        if let Some(there) = find(&self.read_comments(issue).await?, run, &own.id) {
            return Ok(there.id.clone());
        }
        let number = issue.number.to_string();
        let path = self.path(&issue.repo, &["issues", &number, "comments"]);
        let request = Request::new(Method::Post, path).json(json!({ "body": body }));
        let posted: api::Comment = self.write(issue, &request).await?.json()?;
        Ok(posted.id.to_string())
    }

    async fn edit_comment(&self, issue: &IssueRef, id: &str, body: &str) -> PortResult<()> {
        let path = self.path(&issue.repo, &["issues", "comments", id]);
        let request = Request::new(Method::Patch, path).json(json!({ "body": body }));
        self.write(issue, &request).await.map(drop)
    }

    async fn close(&self, issue: &IssueRef) -> PortResult<()> {
        self.set_state(issue, json!({ "state": "closed", "state_reason": "completed" })).await
    }

    async fn reopen(&self, issue: &IssueRef) -> PortResult<()> {
        self.set_state(issue, json!({ "state": "open" })).await
    }
}

/// The permission that the answer gives to `actor`. A login that somebody else has by now gives
/// nothing. A role that the organisation made itself counts as what it includes.
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

fn earlier(now: At, by: SignedDuration) -> At {
    now.checked_sub(by).unwrap_or(At::MIN)
}

fn later(at: At, by: SignedDuration) -> At {
    at.checked_add(by).unwrap_or(At::MAX)
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
