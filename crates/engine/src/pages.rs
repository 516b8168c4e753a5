//! Pages people again about freezes that nobody has acknowledged.
//!
//! A page is a doorbell of the run that froze its repo, with an id of its own. It is written to the
//! outbox in the same transaction that records it, and delivered from there.

use std::time::Duration;

use afk_core::doorbell::{Doorbell, DoorbellKind, Ring};
use afk_core::freeze::Paging;
use afk_core::ids::RepoName;

use crate::Engine;
use crate::ports::{Page, PortResult};

impl Engine {
    /// Writes the pages that are due to the outbox.
    pub(crate) async fn page_again(&self) -> PortResult<()> {
        let every = Duration::from_secs(self.ports.settings.current().0.page_again_seconds);
        let now = self.ports.clock.now();
        for (repo, freeze) in self.ports.store.switches().await?.frozen {
            let Some(before) = freeze.paging else { continue };
            let Some(after) = before.due(every, now) else { continue };
            if let Some(doorbell) = self.page(&repo, &after).await? {
                let sends = self.sends(&doorbell);
                let page = Page { before: &before, after: &after, sends: &sends };
                if self.ports.store.page(&repo, &page).await? {
                    tracing::info!(run.id = %after.run, %repo, nth = after.nth, "paged again");
                }
            }
        }
        Ok(())
    }

    async fn page(&self, repo: &RepoName, paging: &Paging) -> PortResult<Option<Doorbell>> {
        let Some(stored) = self.ports.store.load(paging.run).await? else { return Ok(None) };
        let run = stored.run;
        let why = run.conclusion.as_ref().map_or("", |conclusion| conclusion.why.as_str());
        let detail = format!(
            "{why}\n\n{repo} has been frozen since, and nobody has acknowledged it (page {}). \
             `afk ack {repo}` ends the pages, `afk unfreeze {repo}` lifts the freeze, `afk show {}` \
             shows what was kept.",
            paging.nth, run.id
        );
        Ok(Some(Doorbell::new(&Ring {
            run: run.id,
            issue: &run.issue,
            kind: DoorbellKind::Frozen,
            reason: Some(why),
            detail: &detail,
            link: run.thread_link.as_deref(),
            nth: paging.nth,
        })))
    }
}
