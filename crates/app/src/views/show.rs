//! One run in full: its record, its journal, and where its files are kept.

use std::path::PathBuf;

use afk_core::ids::IssueRef;
use afk_core::plan::End;
use afk_core::run::Run;
use afk_engine::ports::{JournalRow, PortResult, Requested, Store};
use afk_local::git::Workspaces;
use serde::Serialize;

use super::{RunView, is_halted};
use crate::config::is_local;
use crate::operator::{Operator, bundle_file};
use crate::{App, Error, data_dir};

/// One run in full.
#[derive(Debug, Serialize)]
pub struct RunPage {
    /// The run at a glance.
    pub summary: RunView,
    /// The run's record.
    pub run: Run,
    /// Requests to the run, oldest first.
    pub requests: Vec<Requested>,
    /// The rows of its journal, oldest first.
    pub journal: Vec<JournalRow>,
    /// The file of its kept evidence bundle; none before the run has settled.
    pub bundle: Option<PathBuf>,
    /// Where the files of the run are; none unless it was handed to a person.
    pub kept: Option<RunFiles>,
}

/// Where a person finds the files of a run.
#[derive(Debug, Serialize)]
pub struct RunFiles {
    /// The agent's clone; none if it was removed to make room.
    pub workspace: Option<PathBuf>,
    /// The folder that has one for each job, turns included: its specification, its whole output or
    /// transcript, and how it ended.
    pub jobs: Option<PathBuf>,
    /// The bare mirror that holds the run's heads, candidates and leftovers.
    pub mirror: PathBuf,
    /// The prefix of the run's refs in the mirror.
    pub refs: String,
}

impl RunPage {
    /// Reads everything of `run`; a live one's current turn only if `app` is given.
    pub async fn read(operator: &Operator, app: Option<&App>, run: Run) -> Result<Self, Error> {
        let mut summary = match app.filter(|_| run.conclusion.is_none()) {
            Some(app) => {
                let halted = is_halted(&app.engine).await;
                RunView::read(&app.engine, &run, halted).await
            }
            None => RunView::new(&run, &operator.config.policy, None, afk_core::ids::At::now()),
        };
        // A frozen repository has to be seen to first.
        if summary.outcome != Some(End::Frozen) && is_queued_again(operator, &run).await? {
            let issue = &run.issue;
            let next = format!(
                "{issue} is released again, and waits for its next run: `afk explain {issue}` shows \
                 its gates"
            );
            summary.next = Some(next);
        }
        let bundle = bundle_file(&operator.config, run.id)?;
        Ok(Self {
            summary,
            requests: operator.store.requests(run.id).await?,
            journal: journal(&operator.store, &run).await?,
            bundle: bundle.is_file().then_some(bundle),
            kept: kept(operator, &run)?,
            run,
        })
    }
}

/// Reads the whole journal of a run, oldest row first.
pub async fn journal(store: &dyn Store, run: &Run) -> PortResult<Vec<JournalRow>> {
    let mut all: Vec<JournalRow> = Vec::new();
    loop {
        let after = all.last().map_or(0, |row| row.seq);
        let more = store.journal(run.id, after).await?;
        if more.is_empty() {
            return Ok(all);
        }
        all.extend(more);
    }
}

/// Whether the issue of `run`, which has no newer one, was released again since the run settled.
pub(crate) async fn is_queued_again(operator: &Operator, run: &Run) -> Result<bool, Error> {
    if run.settled_at.is_none() || !is_released(operator, &run.issue).await? {
        return Ok(false);
    }
    Ok(operator.run(&run.issue.to_string()).await?.run.id == run.id)
}

/// Whether an issue of the local tracker is open and has the ready label. Of other issues only
/// their forge knows.
pub(crate) async fn is_released(operator: &Operator, issue: &IssueRef) -> Result<bool, Error> {
    let policy = &operator.config.policy;
    if operator.trouble.is_some() || !is_local(policy, &issue.repo) {
        return Ok(false);
    }
    let found = operator.tracker.get(issue).await?;
    Ok(found.is_some_and(|issue| issue.open && issue.has(&policy.ready_label)))
}

/// Where the run's files are; none unless it was handed to a person.
fn kept(operator: &Operator, run: &Run) -> Result<Option<RunFiles>, Error> {
    if !run.conclusion.as_ref().is_some_and(|conclusion| conclusion.end.is_handed_over()) {
        return Ok(None);
    }
    let spaces = Workspaces::open(&data_dir(&operator.config)?.join("work"))
        .map_err(|error| Error::failed(error.to_string()))?;
    let there = |path: PathBuf| path.is_dir().then_some(path);
    Ok(Some(RunFiles {
        workspace: there(spaces.run(run.id).clone),
        jobs: there(spaces.jobs(run.id)),
        mirror: spaces.mirror(&run.issue.repo),
        refs: format!("refs/afk/{}/", run.id),
    }))
}
