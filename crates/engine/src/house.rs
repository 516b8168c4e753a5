//! Keeping house: what nobody waits for and what would pile up if nobody did it.
//!
//! Called by a daemon once in a while, never by a pass. Each thing is done on its own:
//! what fails is logged and tried again the next time.

use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::dispatch::needed;
use crate::ports::PortResult;

/// What keeping house came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Housework {
    /// Mirrors that were packed.
    pub packed: u32,
    /// Runs whose leftover jobs were removed.
    pub swept: u32,
    /// Transcripts that were removed.
    pub pruned: u32,
    /// Things that could not be done.
    pub failed: u32,
}

impl Engine {
    /// Removes what is kept past its limit, and leftovers of settled runs; packs the
    /// mirrors that need it. Stops between two things when `cancel` says so.
    pub async fn keep_house(&self, cancel: &CancellationToken) -> PortResult<Housework> {
        let mut done = Housework::default();
        let stored = self.ports.store.live().await?;
        // Where the switches cannot be read, nobody knows what a freeze holds.
        let live = needed(&stored, Some(self.ports.store.switches().await?));
        if let Err(error) = self.ports.git.clean(&live).await {
            tracing::warn!(error = error.chain(), "kept workspaces not cleaned");
            done.failed += 1;
        }
        match self.ports.jobs.sweep(&live).await {
            Ok(swept) => done.swept = swept,
            Err(error) => {
                tracing::warn!(error = error.chain(), "leftover jobs not removed");
                done.failed += 1;
            }
        }
        match self.ports.archive.prune().await {
            Ok(pruned) => done.pruned = pruned,
            Err(error) => {
                tracing::warn!(error = error.chain(), "kept transcripts not cleaned");
                done.failed += 1;
            }
        }
        let (config, _) = self.ports.settings.current();
        for repo in config.repos.keys() {
            if cancel.is_cancelled() {
                break;
            }
            match self.ports.git.tidy(repo, cancel).await {
                Ok(packed) => done.packed += u32::from(packed),
                Err(error) => {
                    tracing::warn!(repo = %repo, error = error.chain(), "mirror not packed");
                    done.failed += 1;
                }
            }
        }
        Ok(done)
    }
}
