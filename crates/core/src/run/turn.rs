//! A turn, as it is recorded: one prompt and the agent's work on it.

use serde::{Deserialize, Serialize};

use super::{Question, Run};
use crate::digest::Digest;
use crate::evidence::SandboxStrength;
use crate::ids::At;
use crate::plan::TurnCause;
use crate::spend::{Cost, Entry, TurnKey, Usage};
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
    /// The budget that was left, all of it reserved for this turn.
    pub reserved: Usd,
    /// When and why we stopped it.
    pub interrupt: Option<Interrupt>,
    /// The agent's questions in it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<Question>,
    /// How it ended.
    pub ended: Option<Ended>,
    /// What is charged for it, where the run ended before it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged: Option<Box<TurnCost>>,
    /// Since its end the default branch was read, at this time, for what the agent brought to it
    /// by itself; none where the control plane lands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<At>,
}

impl Run {
    /// What the newest turn is charged if the run ends before it does: `streamed`, as far as its
    /// executor tells, otherwise all that was reserved for it. None if it has ended.
    pub fn charge_of_unended(&self, streamed: Option<TurnCost>) -> Option<TurnCost> {
        let turn = self.turn().filter(|turn| turn.ended.is_none())?;
        Some(streamed.unwrap_or_else(|| TurnCost {
            key: TurnKey { session: self.turn_key(turn.n).to_string(), process: turn.n, turn: 1 },
            entry: Entry {
                run: self.id,
                repo: self.issue.repo.clone(),
                at: turn.begun_at,
                cli_version: String::new(),
                cost: Cost::Estimated { amount: turn.reserved },
            },
        }))
    }
}

/// The interrupt of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupt {
    /// When.
    pub at: At,
    /// Whether it had stalled: then its end counts as a failure.
    pub stalled: bool,
}

/// The end of a turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: At,
    /// How.
    pub how: TurnEnd,
    /// What it cost.
    pub facts: TurnFacts,
}

/// What a turn cost, according to its executor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnFacts {
    /// Its cost; none if nothing ran.
    pub cost: Option<TurnCost>,
    /// Its tokens.
    pub usage: Usage,
    /// The digest of its transcript.
    pub transcript: Option<Digest>,
    /// The strength of the sandbox that it ran in.
    pub sandbox: Option<SandboxStrength>,
    /// What it was refused on the network, a line each; empty if its network is open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum TurnEnd {
    /// The agent finished.
    Finished {
        /// Its final message, shortened.
        message: String,
    },
    /// It failed; another try may succeed.
    Failed {
        /// What happened and how to fix it.
        message: String,
    },
    /// It failed in a way that no retry fixes (not signed in, no such model).
    Hopeless {
        /// What happened and how to fix it.
        message: String,
    },
    /// It was silent for the stall timeout and was stopped.
    Stalled,
    /// Its process or server died.
    Lost,
    /// We stopped it.
    Interrupted,
    /// What its agent needs to work at all was not available; retrying does not help.
    Unavailable {
        /// What.
        what: AgentNeed,
        /// The message, and how to fix it.
        message: String,
    },
    /// A usage limit.
    Limited {
        /// When the limit resets, if known.
        resets_at: Option<At>,
    },
}

/// What an agent needs to work at all: without it the next run gets no further either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentNeed {
    /// A credential that the model's API accepts.
    SignIn,
    /// A model's API that answers.
    Model,
    /// A program that starts.
    Program,
}

/// The cost of one turn, with its key in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnCost {
    /// The key.
    pub key: TurnKey,
    /// The raw cost.
    pub entry: Entry,
}
