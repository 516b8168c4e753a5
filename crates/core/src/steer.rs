//! What a comment steers: the run that lives on its issue, or the freeze of its repo.
//!
//! Comments are read only where they could steer something, and only those from after
//! it began: words from before a run or a freeze were not said to it. What was heard
//! is remembered in memory alone; a control plane that starts hears everything again,
//! and a request's id and the age of a freeze keep that from being done twice.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use crate::ids::{Actor, At, IssueRef, RepoName, RunId};
use crate::issue::Comment;
use crate::request::{Asked, Request, Unclear, in_comment};
use crate::run::Run;

/// How far back a tracker is asked again: it may show a comment late.
const OVERLAP: SignedDuration = SignedDuration::from_mins(1);

/// What a comment is about to do, if its author is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Steer {
    /// Ask this of a live run.
    Run {
        /// Which.
        run: RunId,
        /// What.
        asked: Asked,
    },
    /// Lift the freeze of the repo, where it is older than the comment.
    Unfreeze {
        /// Who asks.
        by: Actor,
        /// When they did.
        at: At,
    },
}

/// Why a comment that asks steers nothing, whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Idle {
    /// The tracker cannot say who wrote it.
    #[error("the tracker does not say who wrote it")]
    Unattributed,
    /// Our own account wrote it.
    #[error("our own account wrote it")]
    Own,
    /// It asks for nothing that there is.
    #[error(transparent)]
    Unclear(Unclear),
    /// No run was live on the issue when it was written.
    #[error(
        "no run that is older than it is live on the issue; `afk retry` releases an issue again"
    )]
    NoRun,
}

/// What `comment` on `issue` steers among the live runs; none where it asks nothing.
pub fn steers<'a>(
    issue: &IssueRef,
    comment: &Comment,
    own: &Actor,
    live: impl IntoIterator<Item = &'a Run>,
) -> Option<Result<Steer, Idle>> {
    let what = in_comment(&comment.body)?;
    Some(what.map_err(Idle::Unclear).and_then(|what| {
        let by = comment.author.clone().ok_or(Idle::Unattributed)?;
        if by.id == own.id {
            return Err(Idle::Own);
        }
        let at = comment.at;
        match what {
            Request::Unfreeze => Ok(Steer::Unfreeze { by, at }),
            Request::Retry | Request::Stop | Request::Budget { .. } | Request::Say { .. } => {
                let mut live = live.into_iter();
                let run = live.find(|run| run.issue == *issue && run.admitted_at < at);
                let run = run.ok_or(Idle::NoRun)?.id;
                let id = format!("comment:{}:{}", issue.repo, comment.id);
                Ok(Steer::Run { run, asked: Asked { id, by, at, what } })
            }
        }
    }))
}

/// Since when comments may steer something, by repo: since the oldest live run there
/// was admitted, or since the repo was frozen.
pub fn since<'a>(
    live: impl IntoIterator<Item = &'a Run>,
    frozen: impl IntoIterator<Item = (RepoName, At)>,
) -> BTreeMap<RepoName, At> {
    let mut since: BTreeMap<RepoName, At> = BTreeMap::new();
    let live = live.into_iter().map(|run| (run.issue.repo.clone(), run.admitted_at));
    for (repo, at) in live.chain(frozen) {
        let first = since.entry(repo).or_insert(at);
        *first = at.min(*first);
    }
    since
}

/// The comments that were heard already.
#[derive(Debug, Clone, Default)]
pub struct CommentsHeard {
    of: BTreeMap<RepoName, Repo>,
}

#[derive(Debug, Clone, Default)]
struct Repo {
    /// Everything from before this was heard.
    until: Option<At>,
    /// What was heard of the last answer.
    ids: BTreeSet<String>,
}

impl CommentsHeard {
    /// From when on `repo` is asked, where comments since `from` matter.
    pub fn ask_from(&self, repo: &RepoName, from: At) -> At {
        let until = self.of.get(repo).and_then(|repo| repo.until);
        until.and_then(|until| until.checked_sub(OVERLAP).ok()).map_or(from, |back| from.max(back))
    }

    /// Whether this comment was heard.
    pub fn knows(&self, repo: &RepoName, id: &str) -> bool {
        self.of.get(repo).is_some_and(|repo| repo.ids.contains(id))
    }

    /// Notes what was heard of an answer; `all` is when it was asked for, where that
    /// was all of it. What is not heard yet is asked for again.
    pub fn note(&mut self, repo: &RepoName, ids: BTreeSet<String>, all: Option<At>) {
        let noted = self.of.entry(repo.clone()).or_default();
        noted.ids = ids;
        noted.until = all.or(noted.until);
    }

    /// Forgets the repos where nothing can be steered any more.
    pub fn retain(&mut self, matters: impl Fn(&RepoName) -> bool) {
        self.of.retain(|repo, _| matters(repo));
    }
}

#[cfg(test)]
mod tests;
