//! Pull requests, also as entries of the list of issues.

use std::cmp::Reverse;

use afk_core::ids::{IssueRef, RepoName};
use afk_core::run::PullState;
use afk_engine::ports::PullSpec;
use serde_json::{Value, json};

use super::answers::{Answered, CheckedRequest, Content, Forge, Paging, Refusal, missing, refuse};
use super::issues::Entry;
use super::payloads::{WEB, join};
use super::state::Kind;
use crate::pulls::{FIRST, PullMeta};
use afk_sim::world::PullRecord;

impl Forge<'_> {
    /// The repo's pull requests, newest first.
    fn pulls_of(&mut self, repo: &RepoName) -> Vec<(PullMeta, PullRecord)> {
        self.state.pulls.of_repo(self.world, repo)
    }

    /// Reads what was pushed to the repo's git remote, if it has one.
    pub(super) fn read_git(&mut self, repo: &RepoName) -> Result<(), Refusal> {
        let read = self.state.pulls.read_git(self.world, repo);
        read.or_else(|why| self.wrong(why))
    }

    pub(super) fn pulls(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        self.read_git(&repo)?;
        let get = |name: &str| asked.query.get(name).map(String::as_str);
        let state = get("state").unwrap_or("open");
        // Gitea lists all of them, whatever branches the request names.
        let filters = self.state.settings.kind == Kind::Forgejo;
        let wants =
            |name: &str, branch: &str| !filters || get(name).is_none_or(|wanted| wanted == branch);
        let fork = fork_of(&repo);
        let from_forks = self.state.from_forks.get(&repo).cloned().unwrap_or_default();
        let from_forks = from_forks.into_iter().map(|(meta, record)| (meta, record, &fork));
        let own = self.pulls_of(&repo).into_iter().map(|(meta, record)| (meta, record, &repo));
        let mut found: Vec<_> = from_forks.chain(own).collect();
        found.sort_by_key(|(meta, ..)| Reverse((meta.created.as_second(), meta.number)));
        found.retain(|(_, record, _)| {
            let (spec, is_open) = (&record.spec, record.state == PullState::Open);
            let in_state = state == "all" || is_open == (state == "open");
            in_state && wants("head", &spec.branch) && wants("base", &spec.onto)
        });
        let by =
            |meta: &PullMeta| (meta.updated.as_second(), meta.created.as_second(), meta.number);
        match get("sort") {
            Some("oldest") => found.reverse(),
            Some("recentupdate") => found.sort_by_key(|(meta, ..)| Reverse(by(meta))),
            Some("leastupdate") => found.sort_by_key(|(meta, ..)| by(meta)),
            _ => {}
        }
        let shown = found.iter().map(|(meta, record, from)| {
            let is_broken = self.state.broken_pulls.contains(&meta.number);
            if is_broken { Value::Null } else { self.pull_from(from, *meta, record) }
        });
        let all = shown.collect();
        Ok(Content::List(all, Paging::LINKED))
    }

    pub(super) fn open_pull(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        self.read_git(&repo)?;
        let text = |name: &str| asked.body[name].as_str().unwrap_or_default().to_owned();
        let (title, body, onto, head) = (text("title"), text("body"), text("base"), text("head"));
        for (field, text) in [("Head", &head), ("Base", &onto), ("Title", &title)] {
            if text.is_empty() {
                return refuse(422, format!("[{field}]: Required"));
            }
        }
        let branch = head.rsplit_once(':').map_or(head.as_str(), |(_, branch)| branch).to_owned();
        if branch == onto {
            let why = "Invalid PullRequest: There are no changes between the head and the base";
            return refuse(422, why);
        }
        let key = (repo.clone(), branch.clone());
        let commit = self.world.git.branches.get(&key).cloned();
        let (Some(commit), Some(_)) = (commit, self.world.head(&repo, &onto)) else {
            return missing();
        };
        if let Some(known) = self.world.pulls.pulls.get(&key).map(|known| known.state.clone()) {
            if known == PullState::Open {
                let known = self.state.pulls.of_branch(self.world, &repo, &branch);
                let number = known.map_or(FIRST, |(meta, _)| meta.number);
                return refuse(
                    409,
                    format!(
                        "pull request already exists for these targets [id: {number}, issue_id: \
                         {number}, head_repo_id: 1, base_repo_id: 1, head_branch: {branch}, \
                         base_branch: {onto}]"
                    ),
                );
            }
            return self.wrong(format!("{branch} has a pull request, which was decided on"));
        }
        let spec =
            PullSpec { repo: repo.clone(), branch: branch.clone(), commit, onto, title, body };
        if self.world.open_pull(&spec).is_err() {
            return missing();
        }
        self.shown_pull(&repo, |_, record| record.spec.branch == branch)
    }

    pub(super) fn edit_pull(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        self.read_git(&repo)?;
        let number: Option<u64> = asked.open.get(2).and_then(|number| number.parse().ok());
        let found = self.pulls_of(&repo).into_iter().find(|(meta, _)| Some(meta.number) == number);
        let Some((_, record)) = found else { return missing() };
        if asked.body["state"] != "closed" {
            return self.wrong("a pull request is only ever closed");
        }
        if merged(&record) {
            let why = "cannot change state of this pull request, it was already merged";
            return refuse(412, why);
        }
        let branch = record.spec.branch;
        if self.world.close_pull(&repo, &branch).is_err() {
            return missing();
        }
        self.state.pulls.touch(self.world, &repo, &branch);
        self.shown_pull(&repo, |meta, _| Some(meta.number) == number)
    }

    /// The pull request for which `is_it` holds, as the answer to a write.
    fn shown_pull(
        &mut self,
        repo: &RepoName,
        is_it: impl Fn(&PullMeta, &PullRecord) -> bool,
    ) -> Answered {
        let all = self.pulls_of(repo);
        match all.into_iter().find(|(meta, record)| is_it(meta, record)) {
            Some((meta, record)) => Ok(Content::One(201, self.pull(meta, &record))),
            None => missing(),
        }
    }

    /// The pull requests as entries of the list of issues: those for which `counts` holds, given
    /// whether they are open.
    pub(super) fn pulls_among_issues(
        &mut self,
        repo: &RepoName,
        counts: &dyn Fn(bool) -> bool,
    ) -> Vec<Entry> {
        let mut all = Vec::new();
        for (meta, record) in self.pulls_of(repo) {
            if counts(record.state == PullState::Open) {
                let PullMeta { number, created, updated } = meta;
                let shown = self.as_issue(meta, &record);
                all.push(Entry { created, updated, number, shown });
            }
        }
        all
    }

    /// The pull request with this number as an issue, if there is one.
    pub(super) fn pull_as_issue(&mut self, issue: &IssueRef) -> Option<Value> {
        let mut all = self.pulls_of(&issue.repo).into_iter();
        let (meta, record) = all.find(|(meta, _)| meta.number == issue.number)?;
        Some(self.as_issue(meta, &record))
    }

    fn as_issue(&mut self, meta: PullMeta, record: &PullRecord) -> Value {
        let (repo, number) = (&record.spec.repo, meta.number);
        let pull = self.pull(meta, record);
        let mut issue = json!({
            "assets": [], "id": pull["id"], "original_author": "", "original_author_id": 0,
            "pull_request": {
                "draft": false, "html_url": pull["html_url"], "merged": pull["merged"],
                "merged_at": pull["merged_at"],
            },
            "ref": "", "repository": self.state.meta(repo),
            "url": format!("{}/issues/{number}", self.state.repo_url(repo)),
        });
        let shared = "assignee assignees body closed_at comments created_at due_date html_url \
            is_locked labels milestone number pin_order state title updated_at user";
        for field in shared.split_whitespace() {
            issue[field] = pull[field].clone();
        }
        issue
    }

    /// A pull request for one of the repo's own branches.
    fn pull(&mut self, meta: PullMeta, record: &PullRecord) -> Value {
        self.pull_from(&record.spec.repo, meta, record)
    }

    /// A pull request for a branch of the repo `from`.
    fn pull_from(&mut self, from: &RepoName, meta: PullMeta, record: &PullRecord) -> Value {
        let spec = &record.spec;
        let (repo, number) = (&spec.repo, meta.number);
        let web = format!("{WEB}/{repo}/pulls/{number}");
        let is_own = from == repo;
        let poster = if is_own { self.state.own() } else { self.state.account(from.owner()) };
        let user = self.state.user(&poster);
        let is_open = record.state == PullState::Open;
        let updated = self.state.time(meta.updated);
        let ended = |is: bool| if is { updated.clone() } else { Value::Null };
        let (is_merged, commit) = match &record.state {
            PullState::Merged { commit } => (true, Value::from(commit.as_str())),
            PullState::Open | PullState::Closed | PullState::Superseded => (false, Value::Null),
        };
        let head = self.world.head(repo, &spec.onto);
        let base = head.as_ref().unwrap_or(&spec.commit).as_str().to_owned();
        // Once the branch is gone, the server names its own reference instead
        // (`ToAPIPullRequest` in `services/convert/pull.go`).
        let is_gone =
            is_own && !self.world.git.branches.contains_key(&(repo.clone(), spec.branch.clone()));
        let own_reference = format!("refs/pull/{number}/head");
        let reference = if is_gone { &own_reference } else { &spec.branch };
        let mut side = |repo: &RepoName, branch: &str, reference: &str, commit: &str| {
            json!({
                "label": branch, "ref": reference, "repo": self.repository(repo),
                "repo_id": self.state.repo_id(repo), "sha": commit,
            })
        };
        let (head, into) = (
            side(from, &spec.branch, reference, spec.commit.as_str()),
            side(repo, &spec.onto, &spec.onto, &base),
        );
        let mut whole = json!({
            "additions": 1, "allow_maintainer_edit": false, "assignee": null, "assignees": null,
            "base": into, "body": spec.body, "changed_files": 1,
            "closed_at": ended(!is_open), "comments": 0,
            "created_at": self.state.time(meta.created), "deletions": 0,
            "diff_url": format!("{web}.diff"), "draft": false, "due_date": null, "flow": 0,
            "head": head, "html_url": web,
            "id": self.state.id(&format!("pull {repo}#{number}")), "is_locked": false,
            "labels": [], "merge_base": base, "merge_commit_sha": commit, "mergeable": true,
        });
        let more = json!({
            "merged": is_merged, "merged_at": ended(is_merged),
            "merged_by": if is_merged { user.clone() } else { Value::Null }, "milestone": null,
            "number": number, "patch_url": format!("{web}.patch"), "pin_order": 0,
            "requested_reviewers": null, "requested_reviewers_teams": null, "review_comments": 0,
            "state": if is_open { "open" } else { "closed" }, "title": spec.title,
            "updated_at": updated, "url": web, "user": user,
        });
        join(&mut whole, more);
        whole
    }
}

/// The stranger's fork of a repo.
fn fork_of(repo: &RepoName) -> RepoName {
    let name = format!("stranger/{}", repo.name());
    name.parse().unwrap_or_else(|_| repo.clone())
}

fn merged(record: &PullRecord) -> bool {
    matches!(record.state, PullState::Merged { .. })
}
