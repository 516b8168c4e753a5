//! Pull requests, also as entries of the list of issues.

use afk_core::ids::RepoName;
use afk_core::run::PullState;
use afk_engine::ports::PullSpec;
use serde_json::{Value, json};

use super::answers::{Answered, CheckedRequest, Content, Forge, Refusal, refuse};
use super::payloads::{join, time};
use super::state::Account;
use crate::pulls::{DEFAULT_BRANCH, PullMeta};
use afk_sim::world::PullRecord;

impl Forge<'_> {
    /// The repo's pull requests, newest first.
    pub(super) fn pulls_of(&mut self, repo: &RepoName) -> Vec<(PullMeta, PullRecord)> {
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
        let owner = asked.open.first().cloned().unwrap_or_default();
        let state = asked.query.get("state").map_or("open", String::as_str).to_owned();
        let head = asked.query.get("head").cloned();
        let mut all = Vec::new();
        for (meta, record) in self.pulls_of(&repo) {
            let is_open = record.state == PullState::Open;
            let of_head =
                head.as_ref().is_none_or(|head| *head == format!("{owner}:{}", record.spec.branch));
            if of_head && (state == "all" || is_open == (state == "open")) {
                all.push(self.pull(meta, &record));
            }
        }
        if asked.query.get("direction").is_some_and(|direction| direction == "asc") {
            all.reverse();
        }
        Ok(Content::Many(all))
    }

    pub(super) fn open_pull(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        self.read_git(&repo)?;
        let text = |name: &str| asked.body[name].as_str().unwrap_or_default().to_owned();
        let (title, body, onto) = (text("title"), text("body"), text("base"));
        let branch = text("head");
        let branch =
            branch.rsplit_once(':').map_or(branch.as_str(), |(_, branch)| branch).to_owned();
        let key = (repo.clone(), branch.clone());
        let Some(commit) = self.world.git.branches.get(&key).cloned() else {
            return refuse(422, "Validation Failed");
        };
        if let Some(known) = self.world.pulls.pulls.get(&key) {
            if known.state == PullState::Open {
                return refuse(422, format!("A pull request already exists for {branch}."));
            }
            return self.wrong(format!("{branch} has a pull request, which was decided on"));
        }
        let spec =
            PullSpec { repo: repo.clone(), branch: branch.clone(), commit, onto, title, body };
        if self.world.open_pull(&spec).is_err() {
            return refuse(422, "Validation Failed");
        }
        match self.state.pulls.of_branch(self.world, &repo, &branch) {
            Some((meta, record)) => Ok(Content::One(201, self.whole_pull(meta, &record))),
            None => refuse(422, "Validation Failed"),
        }
    }

    pub(super) fn edit_pull(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        self.read_git(&repo)?;
        let number: Option<u64> = asked.open.get(2).and_then(|number| number.parse().ok());
        let found = self.pulls_of(&repo).into_iter().find(|(meta, _)| Some(meta.number) == number);
        let Some((_, record)) = found else { return refuse(404, "Not Found") };
        let branch = record.spec.branch;
        if asked.body["state"] != "closed" {
            return self.wrong("a pull request is only ever closed");
        }
        if self.world.close_pull(&repo, &branch).is_err() {
            return refuse(404, "Not Found");
        }
        self.state.pulls.touch(self.world, &repo, &branch);
        let found = self.pulls_of(&repo).into_iter().find(|(meta, _)| Some(meta.number) == number);
        match found {
            Some((meta, record)) => Ok(Content::One(200, self.whole_pull(meta, &record))),
            None => Err(Refusal { status: 404, message: "Not Found".to_owned(), location: None }),
        }
    }

    /// The pull requests as entries of the list of issues, each with the time in seconds and the
    /// number that it is sorted by.
    pub(super) fn pulls_among_issues(
        &mut self,
        repo: &RepoName,
        state: &str,
        sort: &str,
    ) -> Vec<(i64, u64, Value)> {
        let mut all = Vec::new();
        for (meta, record) in self.pulls_of(repo) {
            let is_open = record.state == PullState::Open;
            if state != "all" && is_open != (state == "open") {
                continue;
            }
            let by = if sort == "updated" { meta.updated } else { meta.created };
            all.push((by.as_second(), meta.number, self.as_issue(meta, &record)));
        }
        all
    }

    fn as_issue(&mut self, meta: PullMeta, record: &PullRecord) -> Value {
        let repo = &record.spec.repo;
        let base = self.state.repo_url(repo);
        let (url, web) = (
            format!("{base}/issues/{}", meta.number),
            format!("https://github.test/{repo}/pull/{}", meta.number),
        );
        let own = self.state.own();
        let id = self.state.id(&format!("issue {repo}#{}", meta.number));
        let (is_open, merged) = (record.state == PullState::Open, merged(record));
        let merged_at = if merged { time(meta.updated) } else { Value::Null };
        json!({
            "id": id, "node_id": format!("PR_{id}"), "url": url, "repository_url": base,
            "labels_url": format!("{url}/labels{{/name}}"), "comments_url": format!("{url}/comments"),
            "events_url": format!("{url}/events"), "timeline_url": format!("{url}/timeline"),
            "html_url": web, "number": meta.number,
            "state": if is_open { "open" } else { "closed" },
            "state_reason": null, "title": record.spec.title, "body": record.spec.body,
            "user": self.state.account(&own), "labels": [], "assignee": null, "assignees": [],
            "milestone": null, "locked": false, "active_lock_reason": null, "comments": 0,
            "closed_at": if is_open { Value::Null } else { time(meta.updated) },
            "created_at": time(meta.created), "updated_at": time(meta.updated),
            "author_association": "NONE", "draft": false, "performed_via_github_app": null,
            "pull_request": {
                "url": format!("{base}/pulls/{}", meta.number), "html_url": web,
                "diff_url": format!("{web}.diff"), "patch_url": format!("{web}.patch"),
                "merged_at": merged_at,
            },
        })
    }

    /// A pull request as lists show it.
    fn pull(&mut self, meta: PullMeta, record: &PullRecord) -> Value {
        let spec = &record.spec;
        let (repo, number) = (&spec.repo, meta.number);
        let base = self.state.repo_url(repo);
        let url = format!("{base}/pulls/{number}");
        let web = format!("https://github.test/{repo}/pull/{number}");
        let issue = format!("{base}/issues/{number}");
        let statuses = format!("{base}/statuses/{}", spec.commit);
        let own = self.state.own();
        let user = self.state.account(&own);
        let id = self.state.id(&format!("pull {repo}#{number}"));
        let is_open = record.state == PullState::Open;
        let ended = |is: bool| if is { time(meta.updated) } else { Value::Null };
        // Before the merge GitHub names the commit of a trial merge here.
        let commit = match &record.state {
            PullState::Merged { commit } => commit,
            PullState::Open | PullState::Closed | PullState::Superseded => &spec.commit,
        };
        let link = |to: String| json!({ "href": to });
        let side = |branch: &str, commit: &str, repo_: &Value, user: &Value| {
            let owner = repo.as_str().split('/').next().unwrap_or_default();
            json!({
                "label": format!("{owner}:{branch}"), "ref": branch, "sha": commit,
                "repo": repo_, "user": user,
            })
        };
        let repo_ = self.repository(repo);
        let onto = self.world.git.remotes.get(repo).unwrap_or(&spec.commit);
        json!({
            "url": url, "id": id, "node_id": format!("PR_{id}"), "html_url": web,
            "diff_url": format!("{web}.diff"), "patch_url": format!("{web}.patch"),
            "issue_url": issue, "commits_url": format!("{url}/commits"),
            "review_comments_url": format!("{url}/comments"),
            "review_comment_url": format!("{base}/pulls/comments{{/number}}"),
            "comments_url": format!("{issue}/comments"), "statuses_url": statuses,
            "number": number, "state": if is_open { "open" } else { "closed" }, "locked": false,
            "title": spec.title, "user": user, "body": spec.body, "labels": [], "milestone": null,
            "active_lock_reason": null, "created_at": time(meta.created),
            "updated_at": time(meta.updated), "closed_at": ended(!is_open),
            "merged_at": ended(merged(record)), "merge_commit_sha": commit.as_str(),
            "assignee": null, "assignees": [], "requested_reviewers": [], "requested_teams": [],
            "head": side(&spec.branch, spec.commit.as_str(), &repo_, &user),
            "base": side(&spec.onto, onto.as_str(), &repo_, &user),
            "_links": {
                "self": link(url.clone()), "html": link(web.clone()), "issue": link(issue.clone()),
                "comments": link(format!("{issue}/comments")),
                "review_comments": link(format!("{url}/comments")),
                "review_comment": link(format!("{base}/pulls/comments{{/number}}")),
                "commits": link(format!("{url}/commits")), "statuses": link(statuses.clone()),
            },
            "author_association": "NONE", "auto_merge": null, "draft": false,
        })
    }

    /// A pull request where it is the whole answer.
    fn whole_pull(&mut self, meta: PullMeta, record: &PullRecord) -> Value {
        let mut whole = self.pull(meta, record);
        let more = json!({
            "merged": merged(record), "mergeable": null, "rebaseable": null,
            "mergeable_state": "unknown", "merged_by": null, "comments": 0, "review_comments": 0,
            "maintainer_can_modify": false, "commits": 1, "additions": 1, "deletions": 0,
            "changed_files": 1,
        });
        join(&mut whole, more);
        whole
    }

    /// A repo where it is part of something else.
    pub(super) fn repository(&mut self, repo: &RepoName) -> Value {
        /// The addresses below a repo's, by the name of their field.
        const BELOW: &str = "archive:/{archive_format}{/ref} assignees:/assignees{/user} \
            blobs:/git/blobs{/sha} branches:/branches{/branch} \
            collaborators:/collaborators{/collaborator} comments:/comments{/number} \
            commits:/commits{/sha} compare:/compare/{base}...{head} contents:/contents/{+path} \
            contributors:/contributors deployments:/deployments downloads:/downloads \
            events:/events forks:/forks git_commits:/git/commits{/sha} git_refs:/git/refs{/sha} \
            git_tags:/git/tags{/sha} issue_comment:/issues/comments{/number} \
            issue_events:/issues/events{/number} issues:/issues{/number} keys:/keys{/key_id} \
            labels:/labels{/name} languages:/languages merges:/merges \
            milestones:/milestones{/number} notifications:/notifications{?since,all,participating} \
            pulls:/pulls{/number} releases:/releases{/id} stargazers:/stargazers \
            statuses:/statuses/{sha} subscribers:/subscribers subscription:/subscription \
            tags:/tags teams:/teams trees:/git/trees{/sha} hooks:/hooks";
        let (owner, name) = repo.as_str().split_once('/').unwrap_or_default();
        let id = self.state.repo_id(repo);
        let owner =
            Account { id: self.state.account_id(owner), login: owner.to_owned(), is_bot: false };
        let (url, web) = (self.state.repo_url(repo), format!("https://github.test/{repo}"));
        let mut whole = json!({
            "id": id, "node_id": format!("R_{id}"), "name": name, "full_name": repo,
            "owner": self.state.account(&owner), "private": true, "html_url": web,
            "description": null, "fork": false, "url": url, "git_url": format!("git://{repo}.git"),
            "ssh_url": format!("git@github.test:{repo}.git"), "clone_url": format!("{web}.git"),
            "svn_url": web, "homepage": null, "size": 1, "stargazers_count": 0,
            "watchers_count": 0, "language": null, "has_issues": true, "has_projects": false,
            "has_downloads": true, "has_wiki": false, "has_pages": false, "forks_count": 0,
            "mirror_url": null, "archived": false, "disabled": false, "open_issues_count": 0,
            "license": null, "forks": 0, "open_issues": 0, "watchers": 0, "default_branch": DEFAULT_BRANCH,
            "created_at": null, "updated_at": null, "pushed_at": null,
        });
        for (field, below) in BELOW.split_whitespace().filter_map(|one| one.split_once(':')) {
            whole[format!("{field}_url")] = format!("{url}{below}").into();
        }
        whole
    }
}

fn merged(record: &PullRecord) -> bool {
    matches!(record.state, PullState::Merged { .. })
}
