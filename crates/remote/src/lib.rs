//! The engine's ports that are reached over HTTP, and the secrets that are.
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
mod vault;

pub use doorbells::{NTFY, NtfyDoorbells, SLACK, SlackDoorbells, WEBHOOK, Webhooks};
pub use forges::{
    AppLogin, FORGES, ForgeFinding, ForgeLimits, ForgeTable, Forges, GitToken, Heard, LARGEST_HOOK,
    Needs, NotHeard, Severity,
};
pub use settings::{DoorbellTable, RemoteRepo, RemoteSettings};
pub use stages::{Ancestry, PolledStages, STAGES, StageTable};
pub use vault::{KubernetesLogin, VaultSecrets, VaultSettings};
