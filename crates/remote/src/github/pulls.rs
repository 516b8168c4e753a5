//! Pull requests, found again by the branch that they ask to merge: it is the run's own.

use afk_core::ids::{Oid, RepoName};
use afk_core::run::{PullSeen, PullState};
use afk_engine::ports::{PortError, PortErrorKind, PortResult, PullRequests, PullSpec};
use async_trait::async_trait;
use serde_json::json;

use super::{GitHub, api};
use crate::http::{Method, Request};

impl GitHub {
    /// The pull requests of `branch`, newest first.
    async fn of_branch(&self, repo: &RepoName, branch: &str) -> PortResult<Vec<api::Pull>> {
        let place = self.places.of(repo);
        let owner = place.as_str().split('/').next().unwrap_or_default();
        let request = self
            .get(repo, &["pulls"])
            .with("head", format_args!("{owner}:{branch}"))
            .with("state", "all")
            .with("sort", "created")
            .with("direction", "desc")
            .with("per_page", 100);
        let mut pulls: Vec<api::Pull> = self.account.pages(&request).await?;
        // A filter that is not understood lists everything.
        pulls.retain(|pull| pull.head.branch == branch);
        Ok(pulls)
    }
}

/// What people decided about it.
fn seen(pull: &api::Pull) -> PortResult<PullSeen> {
    let state = match (pull.merged_at, pull.state.as_str()) {
        (Some(_), _) => {
            let commit = pull.merge_commit_sha.as_deref().unwrap_or_default();
            let unknown = || {
                let link = &pull.html_url;
                PortError::transient(format!("{link} was merged, but no commit is named yet"))
            };
            PullState::Merged { commit: commit.parse::<Oid>().map_err(|_| unknown())? }
        }
        (None, "open") => PullState::Open,
        (None, _) => PullState::Closed,
    };
    Ok(PullSeen { link: pull.html_url.clone(), state })
}

/// The one that counts among those of one branch, newest first: what was merged has landed,
/// whatever came after it.
fn decisive(pulls: &[api::Pull]) -> Option<&api::Pull> {
    let merged = pulls.iter().find(|pull| pull.merged_at.is_some());
    merged.or_else(|| pulls.iter().find(|pull| pull.state == "open")).or(pulls.first())
}

#[async_trait]
impl PullRequests for GitHub {
    async fn open(&self, pull: &PullSpec) -> PortResult<PullSeen> {
        let known = self.of_branch(&pull.repo, &pull.branch).await?;
        if let Some(known) = decisive(&known) {
            return seen(known);
        }
        let body = json!({
            "title": pull.title,
            "body": pull.body,
            "head": pull.branch,
            "base": pull.onto,
        });
        let request = Request::new(Method::Post, self.path(&pull.repo, &["pulls"])).json(body);
        let opened: api::Pull = self.account.json(&request).await?;
        if opened.head.sha != pull.commit.as_str() {
            let link = &opened.html_url;
            return Err(PortError::transient(format!(
                "{link} does not show the pushed commit yet"
            )));
        }
        seen(&opened)
    }

    async fn look(&self, repo: &RepoName, branch: &str) -> PortResult<PullSeen> {
        let known = self.of_branch(repo, branch).await?;
        decisive(&known).map(seen).transpose()?.ok_or_else(|| {
            let why = format!("{repo} has no pull request for {branch}");
            PortError::new(PortErrorKind::NotFound, why)
        })
    }

    async fn close(&self, repo: &RepoName, branch: &str) -> PortResult<()> {
        for pull in self.of_branch(repo, branch).await? {
            if pull.state == "open" {
                let number = pull.number.to_string();
                let path = self.path(repo, &["pulls", &number]);
                let request = Request::new(Method::Patch, path).json(json!({ "state": "closed" }));
                self.account.send(&request).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pull(state: &str, merged: bool, commit: Option<&str>) -> api::Pull {
        serde_json::from_value(json!({
            "number": 7,
            "html_url": "https://github.com/o/r/pull/7",
            "state": state,
            "merged_at": merged.then_some("2026-01-01T00:00:00Z"),
            "merge_commit_sha": commit,
            "head": { "ref": "afk/try/1", "sha": "a".repeat(40) },
        }))
        .unwrap()
    }

    #[test]
    fn a_pull_request_says_what_people_decided() {
        let commit = "b".repeat(40);
        let state = |pull: &api::Pull| seen(pull).map(|seen| seen.state).ok();
        assert_eq!(state(&pull("open", false, Some(&commit))), Some(PullState::Open));
        assert_eq!(state(&pull("closed", false, None)), Some(PullState::Closed));
        let merged = Some(PullState::Merged { commit: commit.parse().unwrap() });
        assert_eq!(state(&pull("closed", true, Some(&commit))), merged);
        assert_eq!(state(&pull("closed", true, None)), None, "not named yet");
    }

    #[test]
    fn what_was_merged_counts_whatever_came_after() {
        let commit = "b".repeat(40);
        let (merged, open) = (pull("closed", true, Some(&commit)), pull("open", false, None));
        let closed = pull("closed", false, None);
        let which = |pulls: &[api::Pull]| {
            decisive(pulls).map(|pull| (pull.state.clone(), pull.merged_at.is_some()))
        };
        assert_eq!(which(&[open.clone(), merged.clone()]), Some(("closed".into(), true)));
        assert_eq!(which(&[closed.clone(), open]), Some(("open".into(), false)));
        assert_eq!(which(&[closed]), Some(("closed".into(), false)));
        assert_eq!(which(&[]), None);
    }
}
