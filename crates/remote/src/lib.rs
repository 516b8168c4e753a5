//! Adapters of the engine's ports that talk to other systems over HTTP: forges, stages, doorbells,
//! T3 Code executors, and secrets in Vault.
//!
//! Each adapter knows only its port and its own system.

mod doorbells;
mod forgejo;
mod forges;
mod github;
mod http;
mod issues;
mod pulls;
mod settings;
mod stages;
#[cfg(test)]
mod stand_in;
mod t3;
mod vault;

pub use doorbells::{NTFY, NtfyDoorbells, SLACK, SlackDoorbells, WEBHOOK, Webhooks};
pub use forges::{
    AppLogin, FORGES, ForgeLimits, ForgeTable, ForgeUse, Forges, GitToken, HookOutcome,
    HookRefusal, LARGEST_HOOK, Needs, RemoteFinding, Severity, may_be_signed,
};
pub use http::AnswerCounts;
pub use settings::{DoorbellTable, RemoteRepo, RemoteSettings};
pub use stages::{Ancestry, PolledStages, STAGES, StageTable};
pub use t3::{
    CheckStep, Masks, Paired, T3, T3Executors, T3Lands, T3Table, WorkspacesHere, pair as pair_t3,
};
pub use vault::{KubernetesLogin, VaultSecrets, VaultSettings};
