//! The repo's own policy: read once for each run, before its first turn, and in force in every pass
//! after it.
//!
//! It is read as a raw blob of the commit that the work starts from, in the mirror: an agent that
//! edits its copy changes nothing for any live run. A file that cannot be used is an impediment
//! before the first turn, because a policy is never guessed.

use std::sync::Arc;

use afk_core::config::{Policy, Repo};
use afk_core::ids::Oid;
use afk_core::run::Run;
use afk_core::shared::Shared;
use afk_core::workflow::{self, Variables, Workflow, WorkflowError, tighten};

use super::Pass;
use crate::ports::{FileAt, PortResult};

/// The configuration and the repo's table for `run`: tightened by the repo's own policy, if the
/// run has read one.
pub(super) fn in_force(
    config: Arc<Policy>,
    repo: Shared<Repo>,
    run: &Run,
) -> (Arc<Policy>, Shared<Repo>) {
    match run.start.as_ref().and_then(|start| start.workflow.as_ref()) {
        Some(workflow) => {
            let tightened = tighten(&config, &repo, &workflow.policy);
            (Arc::new(tightened.config), tightened.repo)
        }
        None => (config, repo),
    }
}

impl Pass<'_> {
    /// Reads the repo's own policy at `base`: none if there is no file, an inner error if the file
    /// cannot be used.
    pub(super) async fn read_workflow(
        &self,
        base: &Oid,
    ) -> PortResult<Result<Option<Workflow>, WorkflowError>> {
        let (repo, limit) = (&self.run.issue.repo, workflow::MAX_BYTES);
        let found = match self.ports().git.file_at(repo, base, workflow::PATH, limit).await? {
            FileAt::Absent => return Ok(Ok(None)),
            FileAt::File(bytes) => Workflow::parse(&bytes),
            FileAt::TooLarge { size } => Err(workflow::too_large(size)),
            FileAt::NotPlain { mode } => Err(WorkflowError::whole(format!(
                "is not a plain file (mode {mode}): replace it on the default branch with a regular \
                 file that is not executable"
            ))),
        };
        let met = found.and_then(|workflow| workflow.met(&self.config, &self.repo));
        Ok(met.map(Some))
    }

    /// What the repo's own policy adds to the prompt of the newest turn.
    pub(super) fn additions(&self, branch: &str) -> Option<String> {
        let workflow = self.run.start.as_ref()?.workflow.as_ref()?;
        workflow.additions(&Variables {
            run: self.run.id,
            issue: &self.run.issue,
            title: &self.run.pinned.title,
            branch,
            attempt: self.run.attempt().map_or(1, |attempt| attempt.n),
        })
    }
}
