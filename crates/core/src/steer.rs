//! What a comment steers: the newest run on its issue, or the freeze of its repo.
//!
//! A comment can still release the issue of an ended run again; any other request to such a run is
//! answered that it comes too late. Comments from before an issue's release were not meant for its
//! run; both times are the tracker's. How far a tracker's comments were read is stored; a request's
//! id and the age of a freeze keep anything from being done twice.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use crate::ids::{Actor, At, IssueRef, RepoName, RunId};
use crate::issue::{Comment, Issue};
use crate::request::{PersonRequest, Request, in_comment};
use crate::run::Run;
use crate::trust::ReleaseLabel;

/// How far back comments are read again, because a tracker may show one late.
const OVERLAP: SignedDuration = SignedDuration::from_mins(1);

/// Prefix of the ids of requests that were made in comments.
pub const IN_COMMENT: &str = "comment:";

/// What a comment does, if its author is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Steer {
    /// Makes a request to a run.
    Run {
        /// The run.
        run: RunId,
        /// The request.
        request: PersonRequest,
    },
    /// Lifts the freeze of the repo, if the freeze is older than the comment.
    Unfreeze {
        /// Who wrote the comment.
        by: Actor,
        /// When it was written.
        at: At,
    },
}

/// Why a comment with a request has no effect, whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoEffectReason {
    /// The tracker does not say who wrote it.
    #[error("the tracker does not say who wrote it")]
    Unattributed,
    /// Our own account wrote it.
    #[error("our own account wrote it")]
    Own,
    /// Its text was changed, perhaps by somebody else than the author, who alone is known.
    #[error("it was edited after it was written, perhaps by somebody else: write a new comment")]
    Edited,
    /// The issue has no run that was released before the comment, or in its second.
    #[error("no run on the issue was released before the comment")]
    NoRun,
    /// The run has ended but its issue does not show it yet: read the comment again later.
    #[error("the run on the issue is just ending")]
    Ending,
}

/// What `comment` steers on `issue`, whose newest run is `newest`; none if it is not a request.
pub fn steers(
    issue: &IssueRef,
    comment: &Comment,
    own: &Actor,
    newest: Option<&Run>,
) -> Option<Result<Steer, NoEffectReason>> {
    let what = in_comment(&comment.body)?;
    Some(comment.author.clone().ok_or(NoEffectReason::Unattributed).and_then(|by| {
        if by.id == own.id {
            return Err(NoEffectReason::Own);
        }
        if comment.edited {
            return Err(NoEffectReason::Edited);
        }
        let at = comment.at;
        let what = what.unwrap_or_else(|why| Request::Unclear { why: why.to_string() });
        if what == Request::Unfreeze {
            return Ok(Steer::Unfreeze { by, at });
        }
        let run = newest.filter(|run| run.released_at() <= at).ok_or(NoEffectReason::NoRun)?;
        let what = match (&run.conclusion, run.settled_at, what) {
            (None, _, what) => what,
            (Some(_), None, _) => return Err(NoEffectReason::Ending),
            (Some(_), Some(_), Request::Retry) => Request::Release,
            (Some(_), Some(_), what) => what,
        };
        let id = format!("{IN_COMMENT}{}:{}", issue.repo, comment.id);
        Ok(Steer::Run { run: run.id, request: PersonRequest { id, by, at, what } })
    }))
}

/// The time since when comments may steer something in each repo: the first release of an issue
/// with a live run there, or the freeze of the repo if that is earlier.
pub fn since<'a>(
    live: impl IntoIterator<Item = &'a Run>,
    frozen: impl IntoIterator<Item = (RepoName, At)>,
) -> BTreeMap<RepoName, At> {
    let mut since: BTreeMap<RepoName, At> = BTreeMap::new();
    let live = live.into_iter().map(|run| (run.issue.repo.clone(), run.released_at()));
    for (repo, at) in live.chain(frozen) {
        let first = since.entry(repo).or_insert(at);
        *first = at.min(*first);
    }
    since
}

/// The time from which to read the comments of a repo, if everything up to `until` was read before
/// and comments since `from` matter.
pub fn read_from(from: At, until: Option<At>) -> At {
    let back = until.and_then(|until| until.checked_sub(OVERLAP).ok());
    back.map_or(from, |back| from.max(back))
}

/// What to do about a request to release the issue of `run` again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseStep {
    /// Add the ready label; if it is there already, remove it first, because a release covers the
    /// text as it was when it was requested.
    Put {
        /// Whether to remove it first.
        off: bool,
    },
    /// Do nothing more, and give this answer.
    Answer(String),
}

/// Decides about a request to `run` to release `issue` again. `newest` is the newest run on the
/// issue, and `put` is what the issue's events show about the request so far.
pub fn release_again(
    run: RunId,
    newest: RunId,
    issue: &Issue,
    put: ReleaseLabel,
    ready: &str,
) -> ReleaseStep {
    match put {
        ReleaseLabel::Stands | ReleaseLabel::Spent => ReleaseStep::Answer(RELEASED.to_owned()),
        ReleaseLabel::Withdrawn => {
            ReleaseStep::Answer("the ready label was taken off since".to_owned())
        }
        ReleaseLabel::NotYet if newest != run => {
            ReleaseStep::Answer("another run on the issue has begun since".to_owned())
        }
        ReleaseLabel::NotYet if !issue.open => {
            ReleaseStep::Answer("the issue is closed: open it, then ask again".to_owned())
        }
        ReleaseLabel::NotYet => ReleaseStep::Put { off: issue.has(ready) },
    }
}

/// The answer to a request for another release that was granted.
pub const RELEASED: &str = "the issue is released again";

/// The ids of comments that were read already, because the overlap lists some of them again.
#[derive(Debug, Clone, Default)]
pub struct CommentsRead {
    of: BTreeMap<RepoName, BTreeSet<String>>,
}

impl CommentsRead {
    /// Whether this comment was read before.
    pub fn knows(&self, repo: &RepoName, id: &str) -> bool {
        self.of.get(repo).is_some_and(|ids| ids.contains(id))
    }

    /// Replaces what is known of `repo` by `ids`, the comments that were just read.
    pub fn note(&mut self, repo: &RepoName, ids: BTreeSet<String>) {
        self.of.insert(repo.clone(), ids);
    }

    /// Forgets repos in which nothing can be steered any more.
    pub fn retain(&mut self, matters: impl Fn(&RepoName) -> bool) {
        self.of.retain(|repo, _| matters(repo));
    }
}

#[cfg(test)]
mod tests;
