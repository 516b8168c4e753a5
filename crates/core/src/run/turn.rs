//! A turn, as it is recorded: one prompt and the agent's work on it.

use serde::{Deserialize, Serialize};

use super::Question;
use crate::digest::Digest;
use crate::evidence::SandboxStrength;
use crate::ids::At;
use crate::plan::TurnCause;
use crate::spend::{Entry, TurnKey, Usage};
use crate::usd::Usd;

/// One prompt and the agent's work on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// From 1, over the whole run.
    pub n: u32,
    /// Why it was begun.
    pub cause: TurnCause,
    /// When.
    pub begun_at: At,
    /// What the budget had left, all of it reserved for this turn.
    pub reserved: Usd,
    /// When and why we told it to stop.
    pub interrupt: Option<Interrupt>,
    /// What the agent asked in it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<Question>,
    /// How it ended.
    pub ended: Option<Ended>,
    /// Since its end the default branch was read, at this time, for what the agent brought to it
    /// by itself; none where the control plane lands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<At>,
}

/// A turn that was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupt {
    /// When.
    pub at: At,
    /// Because it had stalled: then its end counts as a failure.
    pub stalled: bool,
}

/// The end of a turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: At,
    /// How.
    pub how: TurnEnd,
    /// What it took.
    pub facts: TurnFacts,
}

/// What a turn took, as its executor knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnFacts {
    /// What it cost; none where nothing ran.
    pub cost: Option<TurnCost>,
    /// Its tokens.
    pub usage: Usage,
    /// The digest of its transcript.
    pub transcript: Option<Digest>,
    /// The strength of the sandbox that it ran in.
    pub sandbox: Option<SandboxStrength>,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum TurnEnd {
    /// The agent finished; its last words.
    Finished {
        /// The final message, bounded.
        message: String,
    },
    /// It errored; another try may go better.
    Failed {
        /// What happened and how to mend it.
        message: String,
    },
    /// It errored in a way that no retry mends (not signed in, no such model).
    Hopeless {
        /// What happened and how to mend it.
        message: String,
    },
    /// It made no sound for the stall timeout and was stopped.
    Stalled,
    /// Its process or server died.
    Lost,
    /// We stopped it.
    Interrupted,
    /// What its agent needs to work at all was not there; no retry of this run alone brings it.
    Unavailable {
        /// What.
        what: AgentNeed,
        /// What was said, and how to mend it.
        message: String,
    },
    /// A usage limit.
    Limited {
        /// When the limit resets, where that is known.
        resets_at: Option<At>,
    },
}

/// What an agent needs to work at all: without it the next run gets no further either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentNeed {
    /// A credential that the model's API takes.
    SignIn,
    /// The model's API, answering.
    Model,
    /// Its program, starting.
    Program,
}

/// What one turn cost, under the key that the ledger knows it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnCost {
    /// The key.
    pub key: TurnKey,
    /// The cost, raw.
    pub entry: Entry,
}
