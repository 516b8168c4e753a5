//! A run whose repo has no table in the configuration any more.
//!
//! Nothing says how to go on with it, and nothing of it may go on: that counts as taken off
//! the allowlist. What is alive is stopped, and the run ends without the table: let go where
//! nothing landed, else handed over. What needs the table is left as it is: the workspace,
//! and branches on the remote.

use afk_core::config::{History, Hooks, Landing, NetworkPolicy, Repo};
use afk_core::guardrails::GuardrailPolicy;
use afk_core::ids::AdapterName;
use afk_core::proof::{ProofPolicyConfig, Verify};

/// What stands where the table was: no command, no stage.
pub(super) fn stand_in() -> Repo {
    Repo {
        verify: Verify::None,
        agent: AdapterName::known("none"),
        tracker: AdapterName::known("none"),
        landing: Landing::default(),
        history: History::default(),
        stages: Vec::new(),
        proof: ProofPolicyConfig::default(),
        guardrails: GuardrailPolicy::default(),
        budget_usd: None,
        verify_timeout_seconds: 0,
        freeze_repo: true,
        network: NetworkPolicy::default(),
        read: Vec::new(),
        hooks: Hooks::default(),
    }
}
