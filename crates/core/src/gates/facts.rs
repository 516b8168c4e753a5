//! The facts that gates are asked of. Local ones come from the store and the
//! configuration and cost nothing; remote ones cost a request each.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{IssueRef, RepoName, RunId};
use crate::issue::BlockerState;
use crate::trust::Trust;
use crate::verdict::Verdict;

/// A safety switch. What cannot be read counts as on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// It is on: it stops.
    On,
    /// It is off.
    Off,
    /// It could not be read or parsed.
    Unreadable,
}

impl Switch {
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
    /// A person: passes kill switch and allowlist, and no other gate; halt and pause hold it.
    Person,
}

/// What to do about a red default branch before dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BaseHealth {
    /// Record it and go on: a failure that was there before is not ours.
    #[default]
    Attribute,
    /// Wait until it is red no more.
    Wait,
}

/// What dispatch is decided by.
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

/// Something that a run needs before anything is spent on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Needed {
    /// It is there.
    There,
    /// It is missing: what, and how to mend it.
    Missing(String),
    /// Whether it is there could not be found out, for this reason.
    Unknown(String),
}

/// Who paused dispatch, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Who.
    pub by: String,
    /// Why; may be empty.
    pub why: String,
}

/// The local facts. Where the gates are asked again for a run that is admitted
/// already, they are the facts without that run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// The kill switch. Unreadable also stands for a configuration that did not
    /// parse when it was read again: pickup pauses until it is mended.
    pub kill_switch: Switch,
    /// The halt.
    pub halt: Switch,
    /// The pause of dispatch; none where there is none, or where switches cannot be read.
    pub pause: Option<Pause>,
    /// How many runs are live, over all repos.
    pub live_runs: u32,
    /// What all repos together may still spend today, in millionths of a dollar;
    /// none is no cap.
    pub spend_left: Option<u64>,
    /// The repos that are known. Of one that is missing nothing is known, and
    /// nothing is dispatched there.
    pub repos: HashMap<RepoName, RepoFacts>,
}

/// The local facts of one repo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoFacts {
    /// Whether it is on the allowlist.
    pub enrolled: bool,
    /// Whether it is frozen.
    pub freeze: Switch,
    /// Why it was frozen, for people.
    pub freeze_why: Option<String>,
    /// What a run needs here of its agent and of the machine; none where nobody looked.
    pub machine: Option<Needed>,
    /// The run that is live on it.
    pub live: Option<RunId>,
    /// What one run may spend here, in millionths of a dollar.
    pub run_budget: u64,
    /// What the repo may still spend today, in millionths of a dollar; none is no cap.
    pub spend_left: Option<u64>,
}

/// What a remote said, or why it is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<T> {
    /// It said this.
    Known(T),
    /// It could not be read, for this reason. Unknown is "wait".
    Unreadable(String),
}

/// The remote facts of one issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteFacts {
    /// The git remote of the repo.
    pub remote: Needed,
    /// An issue of the repo that carries an in-progress label which this store
    /// does not know.
    pub foreign_lock: Answer<Option<IssueRef>>,
    /// Whether the release is trusted.
    pub trust: Answer<Trust>,
    /// The issues that block it, by its body and by the forge's own relations.
    pub blockers: Answer<Vec<(IssueRef, BlockerState)>>,
    /// The verdict on the default branch's head; none where the policy does not ask.
    pub base: Option<Answer<Verdict>>,
}
