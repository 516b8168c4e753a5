//! What a run changes, as a patch: `afk diff`.

use afk_core::ids::{IssueRef, RunId};
use afk_core::run::Run;
use serde::Serialize;

use crate::{App, Error};

/// The change that a run makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunDiff {
    /// The run.
    pub run: RunId,
    /// Its issue.
    pub issue: IssueRef,
    /// The commit of the default branch that the change is relative to.
    pub base: String,
    /// The commit with the change.
    pub commit: String,
    /// Whether the commit landed.
    pub landed: bool,
    /// The change as git prints it: a patch, or with `stat` a list of files.
    pub patch: String,
}

impl RunDiff {
    /// Reads the change that landed, or else the newest candidate; with `stat` only which files
    /// changed. An error says that there is no commit, or that this machine no longer has it.
    pub async fn read(app: &App, run: &Run, stat: bool) -> Result<Self, Error> {
        let newest = || run.attempts.iter().rev().find_map(|attempt| attempt.candidates.last());
        let candidate = run.landed().or_else(newest).ok_or_else(|| {
            let (id, issue) = (run.id, &run.issue);
            Error::failed(if run.conclusion.is_some() {
                format!(
                    "run {id} on {issue} ended without a commit; `afk logs {issue}` shows what its \
                     agent did"
                )
            } else {
                format!("run {id} has no commit yet; `afk logs {issue}` shows what its agent does")
            })
        })?;
        let mirror = app.local.mirror(&run.issue.repo)?;
        let (base, commit) = (&candidate.base, &candidate.commit);
        let patch = mirror.patch(base, commit, stat).await.map_err(|error| {
            Error::failed(format!(
                "{} cannot be shown, because this machine keeps it no longer, or it could not be \
                 read: {error}",
                commit.short()
            ))
        })?;
        Ok(Self {
            run: run.id,
            issue: run.issue.clone(),
            base: base.to_string(),
            commit: commit.to_string(),
            landed: candidate.landed_at.is_some(),
            patch: String::from_utf8_lossy(&patch).into_owned(),
        })
    }
}
