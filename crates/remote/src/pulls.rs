//! Pull requests at any forge, found by the branch that they ask to merge, which belongs to one
//! run.

use afk_core::ids::{At, Oid, RepoName, RunId};
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

/// What a forge shows of a branch's pull requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Those that it shows, newest first, without those of a fork's branch of that name.
    pub(crate) pulls: Vec<Pull>,
    /// Whether it failed to show some that may be the branch's.
    pub(crate) has_holes: bool,
}

/// The pull requests of the repos that one account sees, live.
#[async_trait]
pub(crate) trait PullsApi: Send + Sync {
    /// The pull requests of `branch`.
    async fn of_branch(&self, repo: &RepoName, branch: &str) -> PortResult<Listed>;

    /// Opens a pull request, whether or not there is one already.
    async fn open_pull(&self, pull: &PullSpec) -> PortResult<Pull>;

    /// Closes a pull request without merging it.
    async fn close_pull(&self, repo: &RepoName, number: u64) -> PortResult<()>;
}

/// Returns the branch's pull request; opens one if there is none. An error if it is open for another
/// commit than the one that was pushed.
pub(crate) async fn open(forge: &dyn PullsApi, pull: &PullSpec) -> PortResult<PullSeen> {
    // If the branch's own one is not shown, the forge refuses to open a second one.
    let known = forge.of_branch(&pull.repo, &pull.branch).await?.pulls;
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
    let listed = forge.of_branch(repo, branch).await.map_err(unread)?;
    match decisive(&listed.pulls) {
        Some(known) => seen(known),
        None if listed.has_holes => Err(PortError::transient(format!(
            "the forge fails to show some pull requests of {repo}, and one of them may be that of \
             {branch}: see what the forge's log says about them"
        ))),
        None => {
            let why = format!("{repo} has no pull request for {branch}");
            Err(PortError::new(PortErrorKind::NotFound, why))
        }
    }
}

/// Closes the branch's open pull requests.
pub(crate) async fn close(forge: &dyn PullsApi, repo: &RepoName, branch: &str) -> PortResult<()> {
    for pull in forge.of_branch(repo, branch).await?.pulls.iter().filter(|pull| pull.open) {
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

/// When the run that `branch` belongs to began, by our clock, which the run's id tells. None if the
/// branch has another kind of name.
pub(crate) fn begun(branch: &str) -> Option<At> {
    let run = branch.split('/').find_map(|part| part.parse::<RunId>().ok())?;
    let (seconds, _) = run.uuid().get_timestamp()?.to_unix();
    At::from_second(seconds.try_into().ok()?).ok()
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

    /// A forge that shows these pull requests of a branch, or hides that it has any.
    struct Shows(Option<Vec<Pull>>);

    #[async_trait]
    impl PullsApi for Shows {
        async fn of_branch(&self, repo: &RepoName, _: &str) -> PortResult<Listed> {
            let hidden = || PortError::new(PortErrorKind::NotFound, format!("no {repo}"));
            let pulls = self.0.clone().ok_or_else(hidden)?;
            Ok(Listed { pulls, has_holes: false })
        }

        async fn open_pull(&self, pull: &PullSpec) -> PortResult<Pull> {
            panic!("{pull:?} is opened although there is one")
        }

        async fn close_pull(&self, _: &RepoName, number: u64) -> PortResult<()> {
            panic!("{number} is closed")
        }
    }

    #[tokio::test]
    async fn only_a_list_that_was_read_shows_that_a_pull_request_was_never_opened() {
        let repo = "o/r".parse().unwrap();
        let kind = async |lists: Option<Vec<Pull>>| {
            let seen = look(&Shows(lists), &repo, "afk/try/1/1").await;
            seen.map(|seen| seen.state).map_err(|error| error.kind)
        };
        assert_eq!(kind(Some(vec![pull(true, false, None)])).await, Ok(PullState::Open));
        assert_eq!(kind(Some(Vec::new())).await, Err(PortErrorKind::NotFound));
        assert_eq!(kind(None).await, Err(PortErrorKind::Transient));
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
        let is_open = Shows(Some(vec![pull(true, false, None)]));
        assert_eq!(open(&is_open, &spec("a")).await.unwrap().state, PullState::Open);
        let error = open(&is_open, &spec("c")).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Transient);
        let says = format!("pulls/7 asks to merge {} and not {}", "a".repeat(40), "c".repeat(40));
        assert!(error.chain().contains(&says), "{}", error.chain());
        // People decided on this one, so it is closed, whatever it asked for.
        let is_closed = Shows(Some(vec![pull(false, false, None)]));
        assert_eq!(open(&is_closed, &spec("c")).await.unwrap().state, PullState::Closed);
    }

    #[test]
    fn a_branch_tells_when_its_run_began() {
        let check = |branch: &str, expected: Option<&str>| {
            assert_eq!(begun(branch), expected.map(|at| at.parse().unwrap()), "{branch}");
        };
        let began = "2024-09-16T13:22:58Z";
        check("afk/try/0191fb00-2db0-7000-8000-000000000001/12", Some(began));
        // Not the id of a run, and one without a time.
        check("afk/try/1/1", None);
        check("afk/try/7d444840-9dc0-41d1-b245-5ffdce74fad2/1", None);
        check("main", None);
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
