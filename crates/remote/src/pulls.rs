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
    /// The pull requests of `branch`, newest first.
    async fn of_branch(&self, repo: &RepoName, branch: &str) -> PortResult<Vec<Pull>>;

    /// Opens a pull request, whether or not there is one already.
    async fn open_pull(&self, pull: &PullSpec) -> PortResult<Pull>;

    /// Closes a pull request without merging it.
    async fn close_pull(&self, repo: &RepoName, number: u64) -> PortResult<()>;
}

/// Returns the branch's pull request; opens one if there is none.
pub(crate) async fn open(forge: &dyn PullsApi, pull: &PullSpec) -> PortResult<PullSeen> {
    let known = forge.of_branch(&pull.repo, &pull.branch).await?;
    if let Some(known) = decisive(&known) {
        return seen(known);
    }
    let opened = forge.open_pull(pull).await?;
    if opened.head != pull.commit.as_str() {
        let link = &opened.link;
        return Err(PortError::transient(format!("{link} does not show the pushed commit yet")));
    }
    seen(&opened)
}

/// Reads the state of the branch's pull request; a `NotFound` error if there is none.
pub(crate) async fn look(
    forge: &dyn PullsApi,
    repo: &RepoName,
    branch: &str,
) -> PortResult<PullSeen> {
    let known = forge.of_branch(repo, branch).await.map_err(unread)?;
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

/// The error of a list that could not be read. A forge hides from an account without access that
/// there is anything at all, which does not mean that the pull request was never opened.
fn unread(error: PortError) -> PortError {
    if error.kind != PortErrorKind::NotFound {
        return error;
    }
    let why = error.chain();
    PortError::transient(format!("it cannot be read which pull requests there are: {why}"))
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

    /// A forge that lists these pull requests, or hides that it has any.
    struct Lists(Option<Vec<Pull>>);

    #[async_trait]
    impl PullsApi for Lists {
        async fn of_branch(&self, repo: &RepoName, _branch: &str) -> PortResult<Vec<Pull>> {
            let hidden = || PortError::new(PortErrorKind::NotFound, format!("no {repo}"));
            self.0.clone().ok_or_else(hidden)
        }

        async fn open_pull(&self, pull: &PullSpec) -> PortResult<Pull> {
            Err(PortError::permanent(format!("{} is not opened here", pull.branch)))
        }

        async fn close_pull(&self, _repo: &RepoName, number: u64) -> PortResult<()> {
            Err(PortError::permanent(format!("{number} is not closed here")))
        }
    }

    #[tokio::test]
    async fn only_a_list_that_was_read_shows_that_a_pull_request_was_never_opened() {
        let repo = "o/r".parse().unwrap();
        let kind = async |lists: Option<Vec<Pull>>| {
            let seen = look(&Lists(lists), &repo, "afk/try/1/1").await;
            seen.map(|seen| seen.state).map_err(|error| error.kind)
        };
        assert_eq!(kind(Some(vec![pull(true, false, None)])).await, Ok(PullState::Open));
        assert_eq!(kind(Some(Vec::new())).await, Err(PortErrorKind::NotFound));
        assert_eq!(kind(None).await, Err(PortErrorKind::Transient));
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
