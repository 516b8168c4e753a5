//! The demo: the real loop on a sample repository, in its own folder.
//!
//! Creates a bare origin, a project with tests and a CI script, an issue, and a configuration that
//! is armed for that folder only; then runs the engine as for any repo. Two parts are stand-ins,
//! and the output says so: the agent is a script unless another is chosen, and a forge is a fake.

mod agents;
mod error;
mod forge;
mod issues;
mod restart;
mod run;
pub mod sample;
mod setup;

use std::path::PathBuf;

use afk_core::gates::Gate;
use afk_core::ids::{IssueRef, Oid, RunId};
use clap::ValueEnum;
use serde::Serialize;

pub use agents::{DemoAgent, NoAgent};
pub use error::DemoError;
pub use forge::{Forge, ForgeSeen};
pub use restart::Restart;
pub use setup::{Demo, DemoOptions};

/// What happens to the demo's issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// The change lands, passes CI, and the issue is closed with evidence
    Success,
    /// CI runs before landing: it fails once, and only a commit that passed lands
    Tested,
    /// CI fails on something the tests do not cover, and the agent fixes it with a further commit
    CiRed,
    /// No fix makes CI green: the repository is frozen, and the next issue waits
    Frozen,
    /// The afk process is killed while the agent works, and another one continues
    Restart,
    /// The agent cannot prove its change, and the issue is handed to a person
    NeedsHuman,
    /// The change contains what a guardrail forbids, and nothing lands
    Guardrail,
    /// Another issue blocks the issue, and nothing starts
    Blocked,
    /// Nobody trusted released the issue, and nothing starts
    Untrusted,
}

impl Scenario {
    /// Returns the outcome that the scenario is meant to have.
    pub const fn expected(self) -> Outcome {
        match self {
            Self::Success | Self::Tested | Self::CiRed | Self::Restart => Outcome::Done,
            Self::Frozen => Outcome::Frozen,
            Self::NeedsHuman | Self::Guardrail => Outcome::NeedsHuman,
            Self::Blocked | Self::Untrusted => Outcome::Waiting,
        }
    }

    /// The scenario's name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Tested => "tested",
            Self::CiRed => "ci-red",
            Self::Frozen => "frozen",
            Self::Restart => "restart",
            Self::NeedsHuman => "needs-human",
            Self::Guardrail => "guardrail",
            Self::Blocked => "blocked",
            Self::Untrusted => "untrusted",
        }
    }
}

/// What the demo's issue lives on, if not in afk's own tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ForgeKind {
    /// A fake GitHub in this program
    Github,
    /// A fake Forgejo in this program
    Forgejo,
    /// A fake Gitea in this program
    Gitea,
}

impl ForgeKind {
    /// The forge's name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Forgejo => "forgejo",
            Self::Gitea => "gitea",
        }
    }

    /// The forge's name for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Github => "GitHub",
            Self::Forgejo => "Forgejo",
            Self::Gitea => "Gitea",
        }
    }
}

/// The label that releases an issue, the default of the configuration.
const READY: &str = "ready-for-agent";

/// How a demo ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Landed, green, the issue closed with evidence.
    Done,
    /// Handed to a person.
    NeedsHuman,
    /// Handed to a person with the repo frozen.
    Frozen,
    /// Withdrawn, or stopped before its end.
    Released,
    /// Not dispatched: a gate refuses it.
    Waiting,
}

/// How a demo ended: the one line of `afk demo --json`.
#[derive(Debug, Clone, Serialize)]
pub struct DemoReport {
    /// The scenario that was shown.
    pub scenario: Scenario,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether everything went as the scenario intends.
    pub as_expected: bool,
    /// The name of the agent that worked.
    pub agent: &'static str,
    /// The id of the run; none if a gate refused the issue.
    pub run: Option<RunId>,
    /// The issue.
    pub issue: IssueRef,
    /// The commit that landed.
    pub commit: Option<Oid>,
    /// The number of attempts that were made.
    pub attempts: u32,
    /// The fake forge that the issue lived on, if it was on one.
    pub forge: Option<ForgeSeen>,
    /// The next issue, which a frozen repo holds.
    pub held: Option<WaitingIssue>,
    /// The kill in mid-turn, and which process continued.
    pub restart: Option<Restart>,
    /// The file of the evidence bundle.
    pub evidence: Option<PathBuf>,
    /// Why it ended this way, for people.
    pub why: String,
    /// The demo's folder, with the store and the configuration.
    pub folder: PathBuf,
    /// What the sandbox could enforce, in a sentence.
    pub sandbox: String,
    /// Wall time by phase.
    pub phases: Vec<PhaseTime>,
    /// Wall time of the whole demo, in milliseconds.
    pub wall_ms: u64,
}

/// An issue that is released and waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaitingIssue {
    /// The issue that waits.
    pub issue: IssueRef,
    /// The gates that refuse it.
    pub gates: Vec<Gate>,
    /// Why, for people.
    pub why: String,
}

/// How long one phase took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PhaseTime {
    /// What was done: `setup`, `workspace`, `turn`, `integrate`, `proof`, `land`, `stages`,
    /// `close`.
    pub phase: &'static str,
    /// How long it took, in milliseconds.
    pub ms: u64,
}
