//! Forgejo's pull requests, live.

use afk_core::ids::RepoName;
use afk_engine::ports::{PortResult, PullSpec};
use async_trait::async_trait;
use jiff::SignedDuration;
use serde_json::json;

use super::pages::TooLarge;
use super::{Forgejo, api, list_of};
use crate::http::{Answer, Method, Request};
use crate::pulls::{Listed, Pull, PullsApi, begun};

/// How far the server's clock and ours may be apart.
const CLOCKS: SignedDuration = SignedDuration::from_hours(24);

#[async_trait]
impl PullsApi for Forgejo {
    /// Forgejo before version 16 and Gitea ignore the filter by `head`, and list every pull request
    /// that the repo ever had. They list the newest first, so that the list is read only down to
    /// the ones that are older than the branch's run.
    async fn of_branch(&self, repo: &RepoName, branch: &str) -> PortResult<Listed> {
        let request = self.get(repo, &["pulls"]).with("state", "all").with("head", branch);
        let begun = begun(branch).and_then(|begun| begun.checked_sub(CLOCKS).ok());
        let is_last = |page: &Answer| -> PortResult<bool> {
            let Some(begun) = begun else { return Ok(false) };
            let oldest = pulls_of(page)?.into_iter().flatten().next_back();
            Ok(oldest.and_then(|pull| pull.created_at).is_some_and(|created| created < begun))
        };
        let mut listed = Listed::default();
        for page in self.pages_until(&request, TooLarge::Fails, is_last).await? {
            for pull in pulls_of(&page)? {
                match pull {
                    Some(pull) if pull.is_of(branch) => listed.pulls.push(pull_of(pull)),
                    Some(_) => {}
                    None => listed.has_holes = true,
                }
            }
        }
        listed.pulls.sort_by_key(|pull| std::cmp::Reverse(pull.number));
        Ok(listed)
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

/// The pull requests of a page. The server writes null in place of one that it fails to load.
fn pulls_of(page: &Answer) -> PortResult<Vec<Option<api::Pull>>> {
    list_of(page)
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
