//! A run whose repo no longer has a table in the configuration.
//!
//! Without the table nothing says how to continue the run, so it must not continue: this counts as
//! taken off the allowlist. Agent and jobs are stopped, and the run ends: released if nothing
//! landed, otherwise escalated. What cannot be removed without the table stays: the workspace, and
//! branches on the remote.

use afk_core::author::Author;
use afk_core::config::{History, Hooks, Landing, NetworkPolicy, Repo};
use afk_core::guardrails::GuardrailPolicy;
use afk_core::ids::AdapterName;
use afk_core::proof::{ProofPolicyConfig, Verify};

/// A stand-in for the table: no command, no stage.
pub(super) fn placeholder_table() -> Repo {
    Repo {
        verify: Verify::None,
        agent: AdapterName::known("none"),
        tracker: AdapterName::known("none"),
        landing: Landing::default(),
        history: History::default(),
        author: Author::default(),
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
