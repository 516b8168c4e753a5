//! What a run changes, as a patch: `afk diff`.

use afk_core::ids::{IssueRef, RunId};
use afk_core::run::{Candidate, Run};
use afk_local::git::GitError;
use serde::Serialize;

use crate::words::line;
use crate::{App, Error};

/// Maximum length of a commit's subject above its files, in characters.
const SUBJECT: usize = 100;

/// The change that a run makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunDiff {
    /// The run.
    pub run: RunId,
    /// Its issue.
    pub issue: IssueRef,
    /// The commit of the default branch that the first of `commits` is relative to.
    pub base: String,
    /// The newest of `commits`.
    pub commit: String,
    /// The commits with the change, oldest first: several if a landed commit was fixed forward.
    pub commits: Vec<String>,
    /// Whether they landed.
    pub landed: bool,
    /// The change as git prints it, commit by commit: a patch, or with `stat` lists of files.
    pub patch: String,
}

impl RunDiff {
    /// Reads what landed, or else the newest candidate; with `stat` only which files changed. An
    /// error says that there is no commit, or that this machine no longer has it.
    pub async fn read(app: &App, run: &Run, stat: bool) -> Result<Self, Error> {
        let all = || run.candidates().map(|(_, candidate)| candidate);
        let mut shown: Vec<&Candidate> = all().filter(|one| one.landed_at.is_some()).collect();
        if shown.is_empty() {
            shown.extend(all().last());
        }
        let (Some(first), Some(last)) = (shown.first(), shown.last()) else {
            return Err(without_commit(run));
        };
        let mirror = app.local.mirror(&run.issue.repo)?;
        let mut patch = Vec::new();
        for one in &shown {
            let unreadable = |error: GitError| {
                let commit = one.commit.short();
                Error::failed(format!(
                    "{commit} cannot be shown, because this machine keeps it no longer, or it \
                     could not be read: {error}"
                ))
            };
            if stat && shown.len() > 1 {
                let message = mirror.commit_of(&one.commit).await.map_err(unreadable)?.message;
                let message = String::from_utf8_lossy(&message);
                let subject = line(message.lines().next().unwrap_or_default(), SUBJECT);
                patch.extend(format!("{} {subject}\n", one.commit.short()).into_bytes());
            }
            patch.extend(mirror.patch(&one.base, &one.commit, stat).await.map_err(unreadable)?);
        }
        Ok(Self {
            run: run.id,
            issue: run.issue.clone(),
            base: first.base.to_string(),
            commit: last.commit.to_string(),
            commits: shown.iter().map(|one| one.commit.to_string()).collect(),
            landed: last.landed_at.is_some(),
            patch: String::from_utf8_lossy(&patch).into_owned(),
        })
    }
}

/// The error about a run that has made no commit.
fn without_commit(run: &Run) -> Error {
    let (id, issue) = (run.id, &run.issue);
    Error::failed(if run.conclusion.is_some() {
        format!(
            "run {id} on {issue} ended without a commit; `afk logs {issue}` shows what its agent \
             did"
        )
    } else {
        format!("run {id} has no commit yet; `afk logs {issue}` shows what its agent does")
    })
}
