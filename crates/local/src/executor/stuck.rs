//! Conversations that are stuck because the model's API refuses their history: it is too long, or
//! has something in it that is not accepted.
//!
//! The next turn, which counts as a retry, begins another conversation with the whole prompt. That
//! a turn got stuck is recorded in its folder before it is reported, so that the next turn knows
//! it.

use std::path::PathBuf;

use afk_agent::agents::{Recovery, TurnOutcome};
use afk_core::ids::JobKey;
use afk_engine::ports::{PortResult, run_and_turn};

use super::LocalExecutor;
use super::thread::put;

impl LocalExecutor {
    /// Records that the turn got stuck, if this outcome says so.
    pub(super) async fn note_stuck(&self, key: &JobKey, outcome: &TurnOutcome) -> PortResult<()> {
        match outcome {
            TurnOutcome::Failed { reason, .. }
                if reason.recovery() == Recovery::NewConversation && !self.is_stuck(key)? =>
            {
                put(&self.stuck_path(key)?, Vec::new()).await
            }
            TurnOutcome::Failed { .. }
            | TurnOutcome::Finished { .. }
            | TurnOutcome::Interrupted
            | TurnOutcome::Lost => Ok(()),
        }
    }

    /// Whether the turn got stuck, so that the next one must begin another conversation.
    pub(super) fn is_stuck(&self, key: &JobKey) -> PortResult<bool> {
        Ok(self.stuck_path(key)?.exists())
    }

    fn stuck_path(&self, key: &JobKey) -> PortResult<PathBuf> {
        let (run, _) = run_and_turn(key)?;
        Ok(self.local.job(run, key).join("stuck"))
    }
}
