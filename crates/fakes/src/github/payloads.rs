//! GitHub's answers, with the fields of its official description that it gives for such a thing.

use afk_core::ids::{Actor, At, IssueRef, RepoName};
use afk_core::issue::{Comment, IssueChange, IssueEvent};
use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::state::{Account, State};
use afk_sim::world::IssueRecord;

/// A time as GitHub writes it: in whole seconds.
pub(super) fn time(at: At) -> Value {
    At::from_second(at.as_second()).unwrap_or(at).to_string().into()
}

impl State {
    /// An account where it is part of something else.
    pub(super) fn account(&mut self, account: &Account) -> Value {
        let Account { id, login, is_bot } = account;
        let (base, web) = (&self.base, "https://github.test");
        let api = |below: &str| format!("{base}/users/{}{below}", login.replace('[', "%5B"));
        json!({
            "login": login,
            "id": id,
            "node_id": format!("U_{id}"),
            "avatar_url": format!("{web}/avatars/{id}"),
            "gravatar_id": "",
            "url": api(""),
            "html_url": format!("{web}/{login}"),
            "followers_url": api("/followers"),
            "following_url": api("/following{/other_user}"),
            "gists_url": api("/gists{/gist_id}"),
            "starred_url": api("/starred{/owner}{/repo}"),
            "subscriptions_url": api("/subscriptions"),
            "organizations_url": api("/orgs"),
            "repos_url": api("/repos"),
            "events_url": api("/events{/privacy}"),
            "received_events_url": api("/received_events"),
            "type": if *is_bot { "Bot" } else { "User" },
            "user_view_type": "public",
            "site_admin": false,
        })
    }

    /// An account where it is the whole answer.
    pub(super) fn whole_account(&mut self, account: &Account, since: At) -> Value {
        let mut whole = self.account(account);
        let more = json!({
            "name": null, "company": null, "blog": "", "location": null, "email": null,
            "hireable": null, "bio": null, "twitter_username": null, "public_repos": 0,
            "public_gists": 0, "followers": 0, "following": 0, "created_at": time(since),
            "updated_at": time(since),
        });
        join(&mut whole, more);
        whole
    }

    /// The account that acted, and the app through which it did; null where either is not known.
    fn actor(&mut self, actor: Option<&Actor>, since: At) -> (Value, Value) {
        let Some(actor) = actor else { return (Value::Null, Value::Null) };
        let (account, app) = self.acted(actor);
        let app = app.map_or(Value::Null, |(id, slug)| self.app(id, &slug, since));
        (self.account(&account), app)
    }

    /// An app.
    pub(super) fn app(&mut self, id: u64, slug: &str, since: At) -> Value {
        let owner = Account { id: self.account_id("acme"), login: "acme".into(), is_bot: false };
        json!({
            "id": id,
            "slug": slug,
            "client_id": format!("Iv1.{id:016x}"),
            "node_id": format!("A_{id}"),
            "owner": self.account(&owner),
            "name": slug,
            "description": null,
            "external_url": "https://app.test",
            "html_url": format!("https://github.test/apps/{slug}"),
            "created_at": time(since),
            "updated_at": time(since),
            "permissions": { "issues": "write", "metadata": "read", "contents": "write" },
            "events": ["issues"],
        })
    }

    /// The address of a repo in the API.
    pub(super) fn repo_url(&self, repo: &RepoName) -> String {
        format!("{}/repos/{repo}", self.base)
    }

    /// A label of a repo.
    pub(super) fn label(&mut self, repo: &RepoName, name: &str) -> Value {
        let id = self.id(&format!("label {repo} {}", name.to_lowercase()));
        json!({
            "id": id,
            "node_id": format!("LA_{id}"),
            "url": format!("{}/labels/{name}", self.repo_url(repo)),
            "name": name,
            "color": "ededed",
            "default": false,
            "description": null,
        })
    }

    /// An issue. `blocked` counts the issues that it waits for, `blocking` those that wait for it:
    /// first the open ones, then all.
    pub(super) fn issue(
        &mut self,
        record: &IssueRecord,
        blocked: (usize, usize),
        blocking: (usize, usize),
    ) -> Value {
        let issue = &record.issue;
        let IssueRef { repo, number } = &issue.issue;
        let url = format!("{}/issues/{number}", self.repo_url(repo));
        let id = self.id(&format!("issue {}", issue.issue));
        let labels: Vec<Value> = issue.labels.iter().map(|label| self.label(repo, label)).collect();
        let closed = record.events.iter().rev().find(|event| event.what == IssueChange::Closed);
        let closed = closed.filter(|_| !issue.open);
        let by = closed.map(|event| self.actor(event.actor.as_ref(), record.created).0);
        let (user, app) = self.actor(Some(&record.author), record.created);
        let reopened = record.events.iter().any(|event| event.what == IssueChange::Reopened);
        let reason = match (issue.open, reopened) {
            (true, true) => Value::from("reopened"),
            (true, false) => Value::Null,
            (false, _) => self.reasons.get(&issue.issue).map_or("completed", |r| r).into(),
        };
        json!({
            "id": id,
            "node_id": format!("I_{id}"),
            "url": url,
            "repository_url": self.repo_url(repo),
            "labels_url": format!("{url}/labels{{/name}}"),
            "comments_url": format!("{url}/comments"),
            "events_url": format!("{url}/events"),
            "timeline_url": format!("{url}/timeline"),
            "html_url": format!("https://github.test/{repo}/issues/{number}"),
            "number": number,
            "state": if issue.open { "open" } else { "closed" },
            "state_reason": reason,
            "title": issue.title,
            "body": if issue.body.is_empty() { Value::Null } else { issue.body.clone().into() },
            "user": user,
            "labels": labels,
            "assignee": null,
            "assignees": [],
            "milestone": null,
            "locked": false,
            "active_lock_reason": null,
            "comments": record.comments.len(),
            "closed_at": closed.map_or(Value::Null, |event| time(event.at)),
            "closed_by": by.unwrap_or(Value::Null),
            "created_at": time(record.created),
            "updated_at": time(record.updated),
            "author_association": "NONE",
            "performed_via_github_app": app,
            "sub_issues_summary": { "total": 0, "completed": 0, "percent_completed": 0 },
            "issue_dependencies_summary": {
                "blocked_by": blocked.0, "total_blocked_by": blocked.1,
                "blocking": blocking.0, "total_blocking": blocking.1,
            },
        })
    }

    /// When the comment last changed. Of an edit by a person, the world does not know the time: here
    /// it was a minute after the comment was written.
    pub(super) fn changed(&self, comment: &Comment) -> At {
        let later = if comment.edited { 60 } else { 0 };
        let by_a_person = comment.at + SignedDuration::from_secs(later);
        self.edited.get(&comment.id).copied().unwrap_or(by_a_person)
    }

    /// A comment.
    pub(super) fn comment(&mut self, issue: &IssueRef, comment: &Comment) -> Value {
        let IssueRef { repo, number } = issue;
        let url = self.repo_url(repo);
        let (user, app) = self.actor(comment.author.as_ref(), comment.at);
        let edited = self.changed(comment);
        let id: u64 = comment.id.parse().unwrap_or_default();
        json!({
            "id": id,
            "node_id": format!("IC_{id}"),
            "url": format!("{url}/issues/comments/{id}"),
            "html_url": format!("https://github.test/{repo}/issues/{number}#issuecomment-{id}"),
            "issue_url": format!("{url}/issues/{number}"),
            "body": comment.body,
            "user": user,
            "author_association": "NONE",
            "created_at": time(comment.at),
            "updated_at": time(edited),
            "performed_via_github_app": app,
        })
    }

    /// The comment as an entry of its issue's timeline.
    pub(super) fn commented(&mut self, issue: &IssueRef, comment: &Comment) -> Value {
        let mut entry = self.comment(issue, comment);
        let actor = entry["user"].clone();
        join(&mut entry, json!({ "event": "commented", "actor": actor }));
        entry
    }

    /// An event as an entry of its issue's timeline; edits of the text have none.
    pub(super) fn entry(&mut self, record: &IssueRecord, nth: usize) -> Option<Value> {
        let IssueEvent { at, actor, what } = record.events.get(nth)?;
        let (kind, more) = match what {
            IssueChange::Labeled { label } => ("labeled", labelled(label)),
            IssueChange::Unlabeled { label } => ("unlabeled", labelled(label)),
            IssueChange::Renamed => {
                let to = &record.issue.title;
                ("renamed", json!({ "rename": { "from": "as it was called", "to": to } }))
            }
            IssueChange::Closed => ("closed", json!({ "state_reason": "completed" })),
            IssueChange::Reopened => ("reopened", json!({ "state_reason": null })),
            IssueChange::Edited => return None,
        };
        let issue = &record.issue.issue;
        let id = self.id(&format!("event {issue} {nth}"));
        let (actor, app) = self.actor(actor.as_ref(), *at);
        let mut entry = json!({
            "id": id,
            "node_id": format!("E_{id}"),
            "url": format!("{}/issues/events/{id}", self.repo_url(&issue.repo)),
            "actor": actor,
            "event": kind,
            "commit_id": null,
            "commit_url": null,
            "created_at": time(*at),
            "performed_via_github_app": app,
        });
        join(&mut entry, more);
        Some(entry)
    }
}

fn labelled(label: &str) -> Value {
    json!({ "label": { "name": label, "color": "ededed" } })
}

/// Adds fields to an object.
pub(super) fn join(to: &mut Value, more: Value) {
    if let (Value::Object(to), Value::Object(more)) = (to, more) {
        let more: Map<String, Value> = more;
        to.extend(more);
    }
}
