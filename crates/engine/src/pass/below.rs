//! Whose a failure is: the same stage asked of what a commit of the run stands on.
//!
//! Landing and try are judged alike. What stands below may hold what the run landed
//! before, and fail for that; then the stage is asked of it without the run's own
//! change: only what fails there, too, is somebody else's.

use afk_core::config;
use afk_core::elapsed::deadline;
use afk_core::ids::{At, Oid};
use afk_core::proof::TreeRecipe;
use afk_core::run::Candidate;
use afk_core::verdict::StageAnswer;

use super::Pass;
use super::land::COMMITTER;
use super::stages::Heard;
use crate::ports::{CommitSpec, PortResult};

/// The message of a commit that is never pushed.
const WITHOUT: &str = "The branch without what this run landed\n";

impl Pass<'_> {
    /// What the stage says of the branch as it is at `base` without what this run brought,
    /// when `commit` is put on it, asked once more after `again` times. A failure excuses
    /// `commit`, which failed at `since`. What is at work is waited for, and for a while
    /// after that also what is not there yet.
    pub(super) async fn ask_below(
        &self,
        base: &Oid,
        commit: &Oid,
        stage: &config::Stage,
        (again, since): (u32, At),
    ) -> PortResult<Heard> {
        let (below, own) = self.run.foundation(base, commit);
        let patience = self.config.limits(&self.repo).candidate;
        let late = deadline(since, patience, self.now(), &self.run.pauses);
        let waits = late.is_none_or(|late| self.now() < late);
        let heard = self.ask(stage, below, true, again).await?.at_its_end(waits);
        if !heard.is(StageAnswer::Failure) || own.is_empty() {
            return Ok(heard);
        }
        if !stage.is_run() {
            // Nobody but us has a commit without the run's own, so that nobody can say more:
            // rather less is blamed on others.
            return Ok(heard.instead(StageAnswer::None));
        }
        let without = self.without(below, &own).await?;
        self.ask(stage, &without, false, again).await
    }

    /// Every commit that may have been asked about for one that stands on `base`.
    pub(super) async fn all_below(&self, base: &Oid, commit: &Oid) -> PortResult<Vec<Oid>> {
        let (below, own) = self.run.foundation(base, commit);
        let mut all = vec![below.clone()];
        if !own.is_empty() {
            all.push(self.without(below, &own).await?);
        }
        Ok(all)
    }

    /// A commit of the mirror alone: `head` with every path that `own` changed as it was
    /// before the first of them. What others did to those paths is not in it, so that
    /// less is blamed on them rather than more.
    async fn without(&self, head: &Oid, own: &[&Candidate]) -> PortResult<Oid> {
        let Some(first) = own.first() else { return Ok(head.clone()) };
        let (git, repo) = (&self.ports().git, &self.run.issue.repo);
        let whole = self.diff(&first.base, head).await?;
        let mut ours = Vec::new();
        for one in own {
            ours.push(self.diff(&one.base, &one.commit).await?);
        }
        let start = git.tree(repo, head).await?;
        let tree = git.compose(repo, &start, &TreeRecipe::without(&whole, &ours)).await?;
        let author = (COMMITTER.0.to_owned(), COMMITTER.1.to_owned());
        let (parents, message) = (vec![head.clone()], WITHOUT.to_owned());
        // Equal inputs, equal id: its job is found again by it.
        let spec = CommitSpec { tree, parents, message, author, at: first.at };
        let commit = git.commit(repo, &spec).await?;
        git.keep(repo, self.run.id, &format!("without-{head}"), &commit).await?;
        Ok(commit)
    }
}
