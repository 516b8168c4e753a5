//! Finds out whose fault a failed stage is: the same stage is run on the base of the failed commit.
//!
//! Commits are judged alike before and after landing. The base may contain what the run landed
//! before, and fail because of that. Then the stage is run once more on the base without the run's
//! own changes: only a failure that is also there is somebody else's.

use afk_core::config;
use afk_core::elapsed::deadline;
use afk_core::ids::{At, Oid};
use afk_core::proof::TreeRecipe;
use afk_core::run::Candidate;
use afk_core::verdict::StageAnswer;

use super::Pass;
use super::land::COMMITTER;
use super::stages::StageStatus;
use crate::ports::{CommitSpec, PortResult};

/// The message of a commit that is never pushed.
const MESSAGE: &str = "The branch without what this run landed\n";

impl Pass<'_> {
    /// The stage's answer for `base`, on which `commit` was made, without the run's own changes. A
    /// failure excuses `commit`, which failed at `since`. `again` is the number of earlier runs of
    /// the stage there. A running stage is waited for; a missing answer counts as pending until the
    /// candidate's time limit has passed since `since`.
    pub(super) async fn check_base(
        &self,
        base: &Oid,
        commit: &Oid,
        stage: &config::Stage,
        (again, since): (u32, At),
    ) -> PortResult<StageStatus> {
        let (theirs, own) = self.run.base_under(base, commit);
        let patience = self.config.limits(&self.repo).candidate;
        let late = deadline(since, patience, self.now(), &self.run.pauses);
        let waits = late.is_none_or(|late| self.now() < late);
        let status = self.run_or_poll(stage, theirs, true, again).await?.at_its_end(waits);
        if !status.is(StageAnswer::Failure) || own.is_empty() {
            return Ok(status);
        }
        if !stage.is_run() {
            // The commit without the run's own changes exists only in the mirror, so no CI can
            // answer for it. When in doubt, others are not blamed.
            return Ok(status.with_answer(StageAnswer::None));
        }
        let without = self.commit_without(theirs, &own).await?;
        self.run_or_poll(stage, &without, false, again).await
    }

    /// The history below `commit`, which was made on `base`, without what the run landed before.
    pub(super) async fn base_without_own(&self, base: &Oid, commit: &Oid) -> PortResult<Oid> {
        let (theirs, own) = self.run.base_under(base, commit);
        if own.is_empty() { Ok(theirs.clone()) } else { self.commit_without(theirs, &own).await }
    }

    /// Every commit that [`Self::check_base`] may have run a stage on for `base` and `commit`.
    pub(super) async fn base_commits(&self, base: &Oid, commit: &Oid) -> PortResult<Vec<Oid>> {
        let (theirs, own) = self.run.base_under(base, commit);
        let mut all = vec![theirs.clone()];
        if !own.is_empty() {
            all.push(self.commit_without(theirs, &own).await?);
        }
        Ok(all)
    }

    /// Makes a commit that exists only in the mirror: `head`, with every path that `own` changed
    /// put back to its state before the first of them. What others did to those paths is lost with
    /// it, so that others are blamed too little rather than too much.
    async fn commit_without(&self, head: &Oid, own: &[&Candidate]) -> PortResult<Oid> {
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
        let (parents, message) = (vec![head.clone()], MESSAGE.to_owned());
        // Equal inputs give an equal id, by which its job is found again.
        let spec = CommitSpec { tree, parents, message, author, at: first.at };
        let commit = git.commit(repo, &spec).await?;
        git.keep(repo, self.run.id, &format!("without-{head}"), &commit).await?;
        Ok(commit)
    }
}
