//! People's requests to the run: read with everything else, recorded by the core, and answered in
//! the store once they are in the record.

use afk_core::request::{PersonRequest, answer};
use afk_core::run::Seen;

use super::Pass;
use crate::ports::PortResult;

impl Pass<'_> {
    /// Requests that have no answer yet, oldest first.
    pub(super) async fn open_requests(&self) -> PortResult<Vec<PersonRequest>> {
        let all = self.ports().store.requests(self.run.id).await?;
        let open = all.into_iter().filter(|request| request.answered.is_none());
        Ok(open.map(|request| request.asked).collect())
    }

    /// Answers requests with what the record says was done, or why nothing was.
    pub(super) async fn answer_requests(&self, seen: &Seen) -> PortResult<()> {
        for asked in &seen.asked {
            let heard = self.run.heard.iter().find(|heard| heard.asked.id == asked.id);
            let text = match heard {
                Some(heard) => heard.answer.clone(),
                None => match answer(&self.run, asked) {
                    Err(why) => why,
                    // Not recorded yet: the next pass does it.
                    Ok(_) => continue,
                },
            };
            self.ports().store.answer(&asked.id, &text, self.now()).await?;
        }
        Ok(())
    }
}
