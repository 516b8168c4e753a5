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
    /// When it was begun.
    pub begun_at: At,
    /// The budget that was left, all of it reserved for this turn.
    pub reserved: Usd,
    /// When and why we told it to stop.
    pub interrupt: Option<Interrupt>,
    /// The agent's questions in it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<Question>,
    /// How it ended; none while it is under way.
    pub ended: Option<EndedTurn>,
    /// What is charged for it if the run ended before the turn did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged: Option<Box<TurnCost>>,
    /// When the default branch was last read for what the agent brought to it by itself; none if it
    /// was not read since the turn's end, and where the control plane lands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<At>,
}

impl Run {
    /// What is charged for the newest turn if the run ends before it does: `streamed`, the cost
    /// that its executor reports so far, or else all that was reserved for it. None if it has
    /// ended.
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
    /// When the turn was told to stop.
    pub at: At,
    /// Whether the turn had stalled: then its end counts as a failure.
    pub stalled: bool,
}

/// The end of a turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndedTurn {
    /// When it was recorded.
    pub at: At,
    /// How the turn ended.
    pub how: TurnEnd,
    /// What its executor reports of it.
    pub facts: TurnFacts,
}

/// What the executor reports of a turn that ended; empty if the turn never started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnFacts {
    /// Its cost; none if nothing ran.
    pub cost: Option<TurnCost>,
    /// The tokens that it used.
    pub usage: Usage,
    /// The digest of its transcript.
    pub transcript: Option<Digest>,
    /// The strength of the sandbox that it ran in.
    pub sandbox: Option<SandboxStrength>,
    /// The network accesses that it was refused, a line each; empty if its network is open.
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
    /// It was silent for too long and was stopped.
    Stalled,
    /// Its process or server died.
    Lost,
    /// The control plane stopped it.
    Interrupted,
    /// What its agent needs to work at all was not available; an immediate retry does not help.
    Unavailable {
        /// What was not available.
        what: AgentNeed,
        /// The message, and how to fix it.
        message: String,
    },
    /// A usage limit ended it.
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
    /// The key in the ledger.
    pub key: TurnKey,
    /// The raw cost.
    pub entry: Entry,
}
