//! The doorbell of a run whose agent cannot work. The first run that finds out rings it; as long as
//! any run waits for that agent no other run rings.

use afk_core::doorbell::{Doorbell, DoorbellKind, Ring};
use afk_core::run::{Transition, TurnEnd};

use super::Pass;
use crate::dispatch::agent_of;
use crate::ports::PortResult;

impl Pass<'_> {
    /// The doorbell for a turn's end that `transition` is about to record, if that shows that the
    /// agent cannot work and no other run has rung for it already.
    pub(super) async fn bell_of_hold(
        &self,
        transition: &Transition,
    ) -> PortResult<Option<Doorbell>> {
        let Transition::TurnEnded { how: TurnEnd::Unavailable { .. }, .. } = transition else {
            return Ok(None);
        };
        let now = self.now();
        let mut run = self.run.clone();
        run.apply(now, transition.clone());
        let Some(found) = run.unavailable().filter(|found| found.times == 1) else {
            return Ok(None);
        };
        let live = self.ports().store.live().await?;
        let told = live.iter().map(|stored| &stored.run).any(|other| {
            other.id != run.id
                && agent_of(&self.config, other) == Some(&self.repo.agent)
                && other.waits_for_agent(now).is_some()
        });
        let issue = &run.issue;
        let detail = format!(
            "{}\n\n{issue} waits, and nothing else is dispatched to its agent. afk tries the agent \
             again after half a minute, then at growing intervals, for half a day; `afk retry \
             {issue}` tries at once.",
            found.message
        );
        let bell = Doorbell::new(&Ring {
            run: run.id,
            issue,
            kind: DoorbellKind::Held,
            reason: None,
            detail: &detail,
            link: run.thread_link.as_deref(),
            nth: run.turn().map_or(0, |turn| turn.n),
        });
        Ok((!told).then_some(bell))
    }
}
