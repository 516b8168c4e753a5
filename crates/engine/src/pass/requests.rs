//! People's requests to the run: read with everything else, recorded by the core, and answered in
//! the store once they are in the record.

use afk_core::config::Policy;
use afk_core::ids::At;
use afk_core::request::{PersonRequest, answer};
use afk_core::run::{Observation, Run};
use afk_core::usd::Usd;

use super::Pass;
use crate::ports::{DayCaps, PortResult, Store};

/// Returns the largest budget that the caps of the day allow `run`; none without a cap.
pub async fn budget_room(
    store: &dyn Store,
    policy: &Policy,
    run: &Run,
    now: At,
) -> PortResult<Option<Usd>> {
    let caps = DayCaps::of(policy, now);
    if caps.all.or(caps.repo).is_none() {
        return Ok(None);
    }
    let spent = store.spent(caps.start).await?;
    let here = spent.by_repo.get(&run.issue.repo).copied().unwrap_or_default();
    Ok(policy.budget_room(run, [spent.all, here]))
}

impl Pass<'_> {
    /// Requests that have no answer yet, oldest first.
    pub(super) async fn open_requests(&self) -> PortResult<Vec<PersonRequest>> {
        let all = self.ports().store.requests(self.run.id).await?;
        let open = all.into_iter().filter(|one| one.answered.is_none());
        Ok(open.map(|open| open.request).collect())
    }

    /// Answers the open requests with what the record says was done, or why nothing was.
    pub(super) async fn answer_requests(&self, seen: &Observation) -> PortResult<()> {
        for request in &seen.requests {
            let answered =
                self.run.requests.iter().find(|answered| answered.request.id == request.id);
            let text = match answered {
                Some(answered) => answered.answer.clone(),
                None => match answer(&self.run, request, seen.budget_room) {
                    Err(why) => why,
                    // Not recorded yet: the next pass does it.
                    Ok(_) => continue,
                },
            };
            self.ports().store.answer(&request.id, &text, self.now()).await?;
        }
        Ok(())
    }
}
