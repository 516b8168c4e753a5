//! Forgejo's pull requests, live.

use afk_core::ids::RepoName;
use afk_engine::ports::{PortResult, PullSpec};
use async_trait::async_trait;
use serde_json::json;

use super::{Forgejo, api};
use crate::http::{Method, Request};
use crate::pulls::{Pull, PullsApi};

#[async_trait]
impl PullsApi for Forgejo {
    async fn of_branch(&self, repo: &RepoName, branch: &str) -> PortResult<Vec<Pull>> {
        // Older servers ignore the filter by `head`, and list everything.
        let request = self.get(repo, &["pulls"]).with("state", "all").with("head", branch);
        let pulls: Vec<api::Pull> = self.all(&request).await?;
        let of_branch = pulls.into_iter().filter(|pull| pull.is_of(branch));
        let mut pulls: Vec<_> = of_branch.map(pull_of).collect();
        pulls.sort_by_key(|pull| std::cmp::Reverse(pull.number));
        Ok(pulls)
    }

    async fn open_pull(&self, pull: &PullSpec) -> PortResult<Pull> {
        let body = json!({
            "title": pull.title,
            "body": pull.body,
            "head": pull.branch,
            "base": pull.onto,
        });
        let request = Request::new(Method::Post, self.path(&pull.repo, &["pulls"])).json(body);
        self.account.json(&request).await.map(pull_of)
    }

    async fn close_pull(&self, repo: &RepoName, number: u64) -> PortResult<()> {
        let path = self.path(repo, &["pulls", &number.to_string()]);
        let request = Request::new(Method::Patch, path).json(json!({ "state": "closed" }));
        self.account.send(&request).await.map(drop)
    }
}

/// The pull request as every forge has it.
fn pull_of(pull: api::Pull) -> Pull {
    let commit =
        pull.merge_commit_sha.filter(|_| pull.merged).and_then(|commit| commit.parse().ok());
    Pull {
        number: pull.number,
        link: pull.html_url,
        open: pull.state == "open",
        merged: pull.merged,
        commit,
        head: pull.head.sha,
    }
}
