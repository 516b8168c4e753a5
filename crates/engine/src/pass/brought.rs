//! Finds what an agent that lands by itself has pushed to the default branch, by the run's trailer,
//! and records it as landed. Guardrails and proof judge it afterwards ([`super::judge`]).

use afk_core::run::{AgentLanding, BranchCommit, Candidate, Transition, agent_landing};

use super::{Acted, Pass};
use crate::ports::{CommitText, PortResult};

/// A commit of the default branch, as the core looks at it.
pub(super) fn as_branch_commit(commit: &CommitText) -> BranchCommit<'_> {
    let CommitText { id, parents, author, message, .. } = commit;
    BranchCommit { id, parents, author, message }
}

impl Pass<'_> {
    /// Reads the default branch, and records this run's newest commit there, if it is a new one.
    pub(super) async fn find_agent_landing(&mut self) -> PortResult<Acted> {
        let Some(start) = self.run.start.clone() else { return Ok(Acted::Again) };
        let (git, repo) = (self.ports().git.clone(), self.run.issue.repo.clone());
        let head = git.default_head(&repo, &start.branch, &self.token()).await?;
        let since = git.commits(&repo, &start.base, &head).await?;
        let pushed: Vec<_> = since.iter().map(as_branch_commit).collect();
        let found = agent_landing(self.run.id, &head, &pushed);
        let known = self.run.landed().map(|landed| &landed.commit);
        let Some(AgentLanding { commit, base }) = found.filter(|new| known != Some(&new.commit))
        else {
            self.commit(Transition::NotLanded).await?;
            return Ok(Acted::Again);
        };
        let n = self.run.candidates().count() + 1;
        git.keep(&repo, self.run.id, &format!("brought-{n}"), &commit).await?;
        let tree = git.tree(&repo, &commit).await?;
        let candidate = Candidate::new(base, commit.clone(), commit, tree, self.now());
        self.commit(Transition::Found { candidate: Box::new(candidate) }).await?;
        Ok(Acted::Again)
    }
}
