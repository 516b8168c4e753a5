//! The server's answers, with all fields of its official description: empty fields are there, too,
//! as Go marshals them.
//!
//! Pages for people are on another host than the API, as behind a proxy. Forgejo writes times in
//! its own zone, with its offset (`modules/timeutil/timestamp.go`).

use afk_core::ids::{At, IssueRef, Oid, RepoName};
use afk_core::issue::{Comment, IssueChange};
use jiff::SignedDuration;
use jiff::tz::{Offset, TimeZone};
use serde_json::{Map, Value, json};

use super::answers::Forge;
use super::state::{Account, Kind, State};
use afk_sim::world::IssueRecord;

/// Where the pages for people are.
pub(super) const WEB: &str = "https://forge.test";
/// The time that Go writes where there is none.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl State {
    /// A time as the server writes it: in whole seconds.
    pub(super) fn time(&self, at: At) -> Value {
        let hours = match self.settings.kind {
            Kind::Forgejo => 1,
            Kind::Gitea => return At::from_second(at.as_second()).unwrap_or(at).to_string().into(),
        };
        let there = at.to_zoned(TimeZone::fixed(Offset::constant(hours)));
        there.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string().into()
    }

    /// An account.
    pub(super) fn user(&self, account: &Account) -> Value {
        let Account { id, login } = account;
        json!({
            "active": false, "avatar_url": format!("{WEB}/avatars/{id}"),
            "created": self.time(At::UNIX_EPOCH), "description": "",
            "email": format!("{login}@noreply.forge.test"), "followers_count": 0,
            "following_count": 0, "full_name": "", "html_url": format!("{WEB}/{login}"),
            "id": id, "is_admin": false, "language": "", "last_login": NEVER, "location": "",
            "login": login, "login_name": "", "prohibit_login": false, "pronouns": "",
            "restricted": false, "source_id": 0, "starred_repos_count": 0,
            "visibility": "public", "website": "",
        })
    }

    /// The address of a repo in the API.
    pub(super) fn repo_url(&self, repo: &RepoName) -> String {
        format!("{}/api/v1/repos/{repo}", self.base)
    }

    /// A label of a repo.
    pub(super) fn label_payload(&mut self, repo: &RepoName, name: &str) -> Value {
        let label = self.label(repo, name);
        json!({
            "color": label.color, "description": label.description,
            "exclusive": label.exclusive, "id": label.id, "is_archived": false, "name": name,
            "url": format!("{}/labels/{}", self.repo_url(repo), label.id),
        })
    }

    /// Labels of a repo, sorted by name, as the server shows them everywhere.
    pub(super) fn label_payloads(&mut self, repo: &RepoName, names: &[String]) -> Value {
        let mut names = names.to_vec();
        names.sort();
        names.iter().map(|name| self.label_payload(repo, name)).collect()
    }

    /// A repo where it is part of an issue.
    pub(super) fn meta(&mut self, repo: &RepoName) -> Value {
        json!({
            "full_name": repo, "id": self.repo_id(repo), "name": repo.name(),
            "owner": repo.owner(),
        })
    }

    /// An issue.
    pub(super) fn issue(&mut self, record: &IssueRecord) -> Value {
        let issue = &record.issue;
        let IssueRef { repo, number } = &issue.issue;
        let closed = record.events.iter().rev().find(|event| event.what == IssueChange::Closed);
        let closed = closed.filter(|_| !issue.open).map(|event| event.at);
        let user = self.acted(Some(&record.author));
        json!({
            "assets": [], "assignee": null, "assignees": null, "body": issue.body,
            "closed_at": closed.map_or(Value::Null, |at| self.time(at)),
            "comments": record.comments.len(), "created_at": self.time(record.created),
            "due_date": null, "html_url": format!("{WEB}/{repo}/issues/{number}"),
            "id": self.id(&format!("issue {}", issue.issue)),
            "is_locked": self.locked.contains(&issue.issue),
            "labels": self.label_payloads(repo, &issue.labels), "milestone": null,
            "number": number, "original_author": "", "original_author_id": 0, "pin_order": 0,
            "pull_request": null, "ref": "", "repository": self.meta(repo),
            "state": if issue.open { "open" } else { "closed" }, "title": issue.title,
            "updated_at": self.time(record.updated),
            "url": format!("{}/issues/{number}", self.repo_url(repo)), "user": self.user(&user),
        })
    }

    /// What is shown of a blocker in a repo that the account may not see, if the account may write
    /// the issue that waits for it (`GetIssueDependencies` in
    /// `routers/api/v1/repo/issue_dependency.go`).
    pub(super) fn confidential(&mut self, record: &IssueRecord) -> Value {
        let mut shown = self.issue(record);
        let empty = json!({
            "body": "", "closed_at": null, "comments": 0, "id": 0, "labels": [], "user": null,
            "created_at": self.time(At::UNIX_EPOCH), "updated_at": self.time(At::UNIX_EPOCH),
        });
        join(&mut shown, empty);
        shown
    }

    /// The same if the account may not write the issue that waits: nothing is shown at all, not
    /// even whether the blocker is closed.
    pub(super) fn secret(&self) -> Value {
        let epoch = self.time(At::UNIX_EPOCH);
        json!({
            "assets": [], "assignee": null, "assignees": null, "body": "", "closed_at": null,
            "comments": 0, "created_at": epoch, "due_date": null, "html_url": "", "id": 0,
            "is_locked": false, "labels": null, "milestone": null, "number": 0,
            "original_author": "", "original_author_id": 0, "pin_order": 0, "pull_request": null,
            "ref": "", "repository": null, "state": "open", "title": "HIDDEN",
            "updated_at": epoch, "url": "", "user": null,
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
        let page = format!("{WEB}/{}/issues/{}", issue.repo, issue.number);
        let user = self.acted(comment.author.as_ref());
        let edited = self.changed(comment);
        let id: u64 = comment.id.parse().unwrap_or_default();
        json!({
            "assets": [], "body": comment.body, "created_at": self.time(comment.at),
            "html_url": format!("{page}#issuecomment-{id}"), "id": id, "issue_url": page,
            "original_author": "", "original_author_id": 0, "pull_request_url": "",
            "updated_at": self.time(edited), "user": self.user(&user),
        })
    }
}

impl Forge<'_> {
    /// A repo.
    pub(super) fn repository(&mut self, repo: &RepoName) -> Value {
        let owner = self.state.account(repo.owner());
        let (url, web) = (self.state.repo_url(repo), format!("{WEB}/{repo}"));
        let archived = self.state.archived.contains(repo);
        let archived_at = if archived { self.world.now } else { At::UNIX_EPOCH };
        let (epoch, now) = (self.state.time(At::UNIX_EPOCH), self.state.time(self.world.now));
        let mut whole = json!({
            "allow_fast_forward_only_merge": false, "allow_merge_commits": true,
            "allow_rebase": true, "allow_rebase_explicit": true, "allow_rebase_update": true,
            "allow_squash_merge": true, "archived": archived,
            "archived_at": self.state.time(archived_at), "avatar_url": "",
            "clone_url": format!("{web}.git"), "created_at": epoch,
            "default_allow_maintainer_edit": false, "default_branch": self.default_branch(repo),
            "default_delete_branch_after_merge": false, "default_merge_style": "merge",
            "default_update_style": "merge", "description": "",
            "empty": !self.world.git.remotes.contains_key(repo), "fork": false, "forks_count": 0,
            "full_name": repo, "globally_editable_wiki": false, "has_actions": true,
            "has_issues": true, "has_packages": true, "has_projects": true,
            "has_pull_requests": true, "has_releases": true, "has_wiki": true,
            "has_wiki_contents": false, "html_url": web, "id": self.state.repo_id(repo),
            "ignore_whitespace_conflicts": false, "internal": false,
            "internal_tracker": {
                "allow_only_contributors_to_track_time": true, "enable_issue_dependencies": true,
                "enable_time_tracker": true,
            },
        });
        let more = json!({
            "language": "", "languages_url": format!("{url}/languages"), "link": "",
            "mirror": false, "mirror_interval": "", "mirror_updated": NEVER, "name": repo.name(),
            "object_format_name": "sha1", "open_issues_count": 0, "open_pr_counter": 0,
            "original_url": "", "owner": self.state.user(&owner), "parent": null,
            "permissions": { "admin": self.state.settings.admin, "pull": true, "push": true },
            "private": true, "release_counter": 0, "repo_transfer": null, "size": 1,
            "ssh_url": format!("ssh://git@forge.test/{repo}.git"), "stars_count": 0,
            "template": false, "topics": null, "updated_at": now, "url": url,
            "watchers_count": 0, "website": "", "wiki_branch": "main",
            "wiki_clone_url": format!("{web}.wiki.git"),
            "wiki_ssh_url": format!("ssh://git@forge.test/{repo}.wiki.git"),
        });
        join(&mut whole, more);
        whole
    }

    /// A commit where it is part of a branch or a webhook.
    pub(super) fn commit(&self, repo: &RepoName, id: &Oid) -> Value {
        let commit = self.world.git.commits.get(id);
        let (name, email) = commit.map(|commit| commit.author.clone()).unwrap_or_default();
        let who = json!({ "email": email, "name": name, "username": "" });
        json!({
            "added": null, "author": who, "committer": who, "id": id,
            "message": commit.map(|commit| commit.message.as_str()).unwrap_or_default(),
            "modified": null, "removed": null, "timestamp": self.state.time(self.world.now),
            "url": format!("{WEB}/{repo}/commit/{id}"),
            "verification": {
                "payload": "", "reason": "gpg.error.not_signed_commit", "signature": "",
                "signer": null, "verified": false,
            },
        })
    }
}

/// Adds fields to an object.
pub(super) fn join(to: &mut Value, more: Value) {
    if let (Value::Object(to), Value::Object(more)) = (to, more) {
        let more: Map<String, Value> = more;
        to.extend(more);
    }
}
