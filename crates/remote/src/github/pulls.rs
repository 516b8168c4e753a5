//! GitHub's pull requests, live.

use afk_core::ids::RepoName;
use afk_engine::ports::{PortError, PortResult, PullSpec};
use async_trait::async_trait;
use serde_json::json;

use super::{GitHub, api};
use crate::http::{Changed, Method, Request};
use crate::pulls::{Listed, Pull, PullsApi};

/// More pull requests than one branch has.
const FEW: usize = 10;

#[async_trait]
impl PullsApi for GitHub {
    async fn of_branch(&self, repo: &RepoName, branch: &str) -> PortResult<Listed> {
        let place = self.places.of(repo);
        let request = self
            .get(repo, &["pulls"])
            .with("head", format_args!("{}:{branch}", place.owner()))
            .with("state", "all")
            .with("sort", "created")
            .with("direction", "desc");
        let (known, before) = self.watched.of(repo, branch).unzip();
        let few = request.clone().with("per_page", FEW);
        let (answer, validator) = match (self.account.changed(&few, known.as_ref()).await?, before)
        {
            (Changed::Yes(answer, validator), _) => (answer, validator),
            (Changed::No(newer), Some(before)) => {
                if let Some(newer) = newer {
                    self.watched.read(repo, branch, newer, &before);
                }
                return Ok(Listed { pulls: before, has_holes: false });
            }
            (Changed::No(_), None) => {
                let why = format!("{few}: the answer is that nothing has changed, since never");
                return Err(PortError::transient(why));
            }
        };
        let mut listed: Vec<api::Pull> = answer.json()?;
        let is_whole = listed.len() < FEW;
        if !is_whole {
            // GitHub lists everything if it does not understand the filter by `head`.
            listed = self.account.pages(&request.with("per_page", 100)).await?;
        }
        let of_branch = listed.into_iter().filter(|pull| pull.is_of(branch));
        let pulls: Vec<Pull> = of_branch.map(pull_of).collect();
        if is_whole {
            self.watched.read(repo, branch, validator, &pulls);
        }
        Ok(Listed { pulls, has_holes: false })
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

/// The pull request in the form that all forges share. Before it is merged, GitHub names the commit
/// of a trial merge, which does not count.
fn pull_of(pull: api::Pull) -> Pull {
    let merged = pull.merged_at.is_some();
    let commit = pull.merge_commit_sha.filter(|_| merged).and_then(|commit| commit.parse().ok());
    Pull {
        number: pull.number,
        link: pull.html_url,
        open: pull.state == "open",
        merged,
        commit,
        head: pull.head.sha,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_merged_one_has_a_commit() {
        let told = |state: &str, merged: bool| {
            let pull = pull_of(
                serde_json::from_value(json!({
                    "number": 7,
                    "html_url": "https://github.com/o/r/pull/7",
                    "state": state,
                    "merged_at": merged.then_some("2026-01-01T00:00:00Z"),
                    "merge_commit_sha": "b".repeat(40),
                    "head": { "ref": "afk/try/1", "sha": "a".repeat(40) },
                    "base": { "ref": "main", "sha": "c".repeat(40) },
                }))
                .unwrap(),
            );
            (pull.open, pull.merged, pull.commit.is_some())
        };
        assert_eq!(told("open", false), (true, false, false));
        assert_eq!(told("closed", false), (false, false, false));
        assert_eq!(told("closed", true), (false, true, true));
    }

    #[test]
    fn a_forks_branch_is_another_one() {
        let check = |branch: &str, from: serde_json::Value, expected: bool| {
            let pull: api::Pull = serde_json::from_value(json!({
                "number": 7, "html_url": "https://github.com/o/r/pull/7", "state": "open",
                "head": { "ref": branch, "sha": "a".repeat(40), "repo": from },
                "base": { "ref": "main", "sha": "c".repeat(40), "repo": { "id": 1 } },
            }))
            .unwrap();
            assert_eq!(pull.is_of("afk/try/1"), expected, "{pull:?}");
        };
        check("afk/try/1", json!({ "id": 1 }), true);
        check("afk/try/2", json!({ "id": 1 }), false);
        check("afk/try/1", json!({ "id": 2 }), false);
        // The fork was deleted.
        check("afk/try/1", json!(null), false);
    }
}
