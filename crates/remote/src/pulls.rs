//! Pull requests at any forge, found by the branch that they ask to merge, which belongs to one
//! run.

use afk_core::ids::{Oid, RepoName};
use afk_core::run::{PullSeen, PullState};
use afk_engine::ports::{PortError, PortErrorKind, PortResult, PullSpec};
use async_trait::async_trait;

/// A pull request as a forge shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pull {
    pub(crate) number: u64,
    /// The URL of its page for people.
    pub(crate) link: String,
    pub(crate) open: bool,
    pub(crate) merged: bool,
    /// The commit that it was merged as.
    pub(crate) commit: Option<Oid>,
    /// The id of the commit that it asks to merge.
    pub(crate) head: String,
}

/// The pull requests of the repos that one account sees, live.
#[async_trait]
pub(crate) trait PullsApi: Send + Sync {
    /// The pull requests of `branch`, newest first, without those of a fork's branch of that name.
    async fn of_branch(&self, repo: &RepoName, branch: &str) -> PortResult<Vec<Pull>>;

    /// Opens a pull request, whether or not there is one already.
    async fn open_pull(&self, pull: &PullSpec) -> PortResult<Pull>;

    /// Closes a pull request without merging it.
    async fn close_pull(&self, repo: &RepoName, number: u64) -> PortResult<()>;
}

/// Returns the branch's pull request; opens one if there is none. An error if it is open for another
/// commit than the one that was pushed.
pub(crate) async fn open(forge: &dyn PullsApi, pull: &PullSpec) -> PortResult<PullSeen> {
    let known = forge.of_branch(&pull.repo, &pull.branch).await?;
    let found = match decisive(&known) {
        Some(known) => known.clone(),
        None => forge.open_pull(pull).await?,
    };
    if found.open && found.head != pull.commit.as_str() {
        let Pull { link, head, .. } = found;
        let PullSpec { branch, commit, .. } = pull;
        return Err(PortError::transient(format!(
            "{link} asks to merge {head} and not {commit}, which was pushed: either the forge does \
             not show the push yet, or somebody else pushed to {branch}; in that case, close the \
             pull request"
        )));
    }
    seen(&found)
}

/// Reads the state of the branch's pull request; a `NotFound` error if there is none.
pub(crate) async fn look(
    forge: &dyn PullsApi,
    repo: &RepoName,
    branch: &str,
) -> PortResult<PullSeen> {
    let known = forge.of_branch(repo, branch).await?;
    decisive(&known).map(seen).transpose()?.ok_or_else(|| {
        let why = format!("{repo} has no pull request for {branch}");
        PortError::new(PortErrorKind::NotFound, why)
    })
}

/// Closes the branch's open pull requests.
pub(crate) async fn close(forge: &dyn PullsApi, repo: &RepoName, branch: &str) -> PortResult<()> {
    for pull in forge.of_branch(repo, branch).await?.iter().filter(|pull| pull.open) {
        forge.close_pull(repo, pull.number).await?;
    }
    Ok(())
}

/// The pull request as the engine sees it: merged, open or closed.
fn seen(pull: &Pull) -> PortResult<PullSeen> {
    let state = match (pull.merged, pull.open) {
        (true, _) => {
            let commit = pull.commit.clone().ok_or_else(|| {
                let link = &pull.link;
                PortError::transient(format!("{link} was merged, but no commit is named yet"))
            })?;
            PullState::Merged { commit }
        }
        (false, true) => PullState::Open,
        (false, false) => PullState::Closed,
    };
    Ok(PullSeen { link: pull.link.clone(), state })
}

/// The pull request that counts among those of one branch, which come newest first: a merged one,
/// since it has landed whatever came after it; else an open one; else the newest.
fn decisive(pulls: &[Pull]) -> Option<&Pull> {
    let merged = pulls.iter().find(|pull| pull.merged);
    merged.or_else(|| pulls.iter().find(|pull| pull.open)).or(pulls.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pull(open: bool, merged: bool, commit: Option<&str>) -> Pull {
        let link = "https://forge.example/o/r/pulls/7".to_owned();
        let commit = commit.map(|commit| commit.parse().unwrap());
        Pull { number: 7, link, open, merged, commit, head: "a".repeat(40) }
    }

    #[test]
    fn a_pull_request_says_what_people_decided() {
        let commit = "b".repeat(40);
        let state = |pull: &Pull| seen(pull).map(|seen| seen.state).ok();
        assert_eq!(state(&pull(true, false, Some(&commit))), Some(PullState::Open));
        assert_eq!(state(&pull(false, false, None)), Some(PullState::Closed));
        let merged = Some(PullState::Merged { commit: commit.parse().unwrap() });
        assert_eq!(state(&pull(false, true, Some(&commit))), merged);
        assert_eq!(state(&pull(false, true, None)), None, "not named yet");
    }

    /// A forge on which the branch has this pull request.
    struct Has(Pull);

    #[async_trait]
    impl PullsApi for Has {
        async fn of_branch(&self, _: &RepoName, _: &str) -> PortResult<Vec<Pull>> {
            Ok(vec![self.0.clone()])
        }

        async fn open_pull(&self, pull: &PullSpec) -> PortResult<Pull> {
            panic!("{pull:?} is opened although there is one")
        }

        async fn close_pull(&self, _: &RepoName, number: u64) -> PortResult<()> {
            panic!("{number} is closed")
        }
    }

    #[tokio::test]
    async fn a_pull_request_for_another_commit_is_not_taken_over() {
        let spec = |commit: &str| PullSpec {
            repo: "o/r".parse().unwrap(),
            branch: "afk/try/1/1".to_owned(),
            commit: commit.repeat(40).parse().unwrap(),
            onto: "main".to_owned(),
            title: String::new(),
            body: String::new(),
        };
        let is_open = Has(pull(true, false, None));
        assert_eq!(open(&is_open, &spec("a")).await.unwrap().state, PullState::Open);
        let error = open(&is_open, &spec("c")).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Transient);
        let says = format!("pulls/7 asks to merge {} and not {}", "a".repeat(40), "c".repeat(40));
        assert!(error.chain().contains(&says), "{}", error.chain());
        // People decided on this one, so it is closed, whatever it asked for.
        let is_closed = Has(pull(false, false, None));
        assert_eq!(open(&is_closed, &spec("c")).await.unwrap().state, PullState::Closed);
    }

    #[test]
    fn what_was_merged_counts_whatever_came_after() {
        let commit = "b".repeat(40);
        let (merged, open) = (pull(false, true, Some(&commit)), pull(true, false, None));
        let closed = pull(false, false, None);
        let which = |pulls: &[Pull]| decisive(pulls).map(|pull| (pull.open, pull.merged));
        assert_eq!(which(&[open.clone(), merged]), Some((false, true)));
        assert_eq!(which(&[closed.clone(), open]), Some((true, false)));
        assert_eq!(which(&[closed]), Some((false, false)));
        assert_eq!(which(&[]), None);
    }
}
