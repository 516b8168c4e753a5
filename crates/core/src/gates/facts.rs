//! The facts that gates decide on. Local ones come from the store and the configuration and are
//! free; remote ones cost a request each.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{IssueRef, RepoName, RunId};
use crate::issue::BlockerState;
use crate::trust::Trust;
use crate::verdict::Verdict;

/// How a safety switch was read. One that cannot be read counts as on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchReading {
    /// It is on, and stops what it guards.
    On,
    /// It is off.
    Off,
    /// It could not be read or parsed.
    Unreadable,
}

impl SwitchReading {
    /// Whether it stops what it guards.
    pub fn stops(self) -> bool {
        match self {
            Self::On | Self::Unreadable => true,
            Self::Off => false,
        }
    }
}

/// Who dispatches a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dispatcher {
    /// The loop, by itself.
    Loop,
    /// A person: bypasses kill switch and allowlist, and no other gate; halt and pause apply.
    Person,
}

/// What to do if the default branch is red before a run is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BaseHealth {
    /// Start the run, and record which failures were there before it. Where `verify` itself fails,
    /// that needs `proof.junit`.
    #[default]
    Attribute,
    /// Start no run until the branch is no longer red.
    Wait,
}

/// The policy of dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchPolicy {
    /// The priority of an issue without one; none sorts it after all that have one.
    pub default_priority: Option<i64>,
    /// How many runs may be live at once.
    pub max_concurrent_runs: u32,
    /// What to do about a red default branch.
    pub base_health: BaseHealth,
}

impl Default for DispatchPolicy {
    fn default() -> Self {
        Self { default_priority: None, max_concurrent_runs: 2, base_health: BaseHealth::Attribute }
    }
}

/// A prerequisite of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Needed {
    /// It is available.
    There,
    /// It is missing: what, and how to fix it.
    Missing(String),
    /// It could not be checked, for this reason.
    Unknown(String),
}

/// Who paused dispatch, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PausedBy {
    /// Who paused it.
    pub by: String,
    /// Why; may be empty.
    pub why: String,
}

/// The local facts. When the gates are queried again for an admitted run, that run is left out of
/// them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// The kill switch. Also unreadable if a changed configuration does not parse: dispatch pauses
    /// until it is fixed.
    pub kill_switch: SwitchReading,
    /// The halt.
    pub halt: SwitchReading,
    /// The pause of dispatch; none if dispatch is not paused, or if the switches cannot be read.
    pub pause: Option<PausedBy>,
    /// Number of repos of which a live run has the lock or waits for it: as many runs can be at
    /// work.
    pub busy_repos: u32,
    /// What all repos together may still spend today, in millionths of a dollar; none is no cap.
    pub spend_left: Option<u64>,
    /// The known repos. Nothing is dispatched on any other.
    pub repos: HashMap<RepoName, RepoFacts>,
}

/// The local facts of one repo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoFacts {
    /// Whether it is on the allowlist.
    pub enrolled: bool,
    /// Whether it is frozen.
    pub freeze: SwitchReading,
    /// Why it was frozen, for people.
    pub freeze_why: Option<String>,
    /// Whether its agent and the machine have what a run needs; none if that was not checked.
    pub machine: Option<Needed>,
    /// The run that has its lock, or waits for it.
    pub live: Option<RunId>,
    /// The budget of one run here, in millionths of a dollar.
    pub run_budget: u64,
    /// What the repo may still spend today, in millionths of a dollar; none is no cap.
    pub spend_left: Option<u64>,
}

/// An answer of a remote, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact<T> {
    /// The answer.
    Known(T),
    /// It could not be read, for this reason. What is unknown is waited for.
    Unreadable(String),
}

/// The remote facts of one issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteFacts {
    /// Whether the git remote of the repo can be used.
    pub remote: Needed,
    /// The issue's own run, if that waits for people without the repo's lock.
    #[serde(default)]
    pub aside: Option<RunId>,
    /// An issue of the repo with an in-progress label that this store did not set.
    pub foreign_lock: Fact<Option<IssueRef>>,
    /// Whether the release is trusted.
    pub trust: Fact<Trust>,
    /// The issues that block it, by its body and by the forge's own relations.
    pub blockers: Fact<Vec<(IssueRef, BlockerState)>>,
    /// Why `verify` fails on the default branch's head, if a run found that out recently.
    #[serde(default)]
    pub base_fails: Option<String>,
    /// The verdict on the default branch's head; none if the policy does not need it.
    pub base: Option<Fact<Verdict>>,
}
