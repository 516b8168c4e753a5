//! Goes on from the head that an ended run of the issue left: the run's first attempt is that head,
//! and the next step judges it.
//!
//! The workspace stands on the head already ([`crate::ports::Git::prepare`]), so that a corrective
//! turn, if the head is refused again, goes on from there. A pass after a crash reads everything
//! again, because the ended run does not change any more.

use afk_core::ids::Oid;
use afk_core::plan::TurnCause;
use afk_core::run::{Leaves, ResumedHead, Run, Transition};

use super::{Acted, Pass};
use crate::ports::PortResult;

impl Pass<'_> {
    /// The ended run that this one continues, and what it left; none if it begins from scratch.
    pub(super) async fn left_behind(&self) -> PortResult<Option<(Run, Leaves)>> {
        let Some(from) = self.run.resumes else { return Ok(None) };
        let stored = self.ports().store.load(from).await?;
        Ok(stored.and_then(|stored| {
            let left = stored.run.leaves()?;
            Some((stored.run, left))
        }))
    }

    /// Records the first attempt, for which no turn is paid.
    pub(super) async fn resume(&mut self) -> PortResult<Acted> {
        let Some((old, left)) = self.left_behind().await? else {
            return self.begin_turn(TurnCause::Opening).await;
        };
        let Leaves { head, transcript, sandbox } = left;
        let Some(base) = self.stood_on(&old, &head).await? else {
            return self.begin_turn(TurnCause::Opening).await;
        };
        let resumed = ResumedHead { from: old.id, head, base, transcript, sandbox };
        self.commit(Transition::Resumed { resumed }).await?;
        Ok(Acted::Again)
    }

    /// The newest of the default branch's heads that `old` was given which its `head` contains; if
    /// it contains none, the head that `old` began with. None for a run that never began.
    async fn stood_on(&self, old: &Run, head: &Oid) -> PortResult<Option<Oid>> {
        let (git, repo) = (&self.ports().git, &self.run.issue.repo);
        let given = old.given();
        for commit in &given {
            if git.contains(repo, head, commit).await? {
                return Ok(Some((*commit).clone()));
            }
        }
        Ok(given.last().map(|start| (*start).clone()))
    }
}
