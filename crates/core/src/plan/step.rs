//! What a plan can be: the next step, how a run ends, why a turn is begun, and what is waited for.

use serde::{Deserialize, Serialize};

use crate::elapsed::Standstill;

/// What the engine is to do now. Every step is idempotent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Plan {
    /// The outcome is committed: ensure its effects until the world shows them.
    Settle,
    /// Stop the turn and every job of the run, and look again.
    Interrupt,
    /// Commit this outcome.
    Conclude {
        /// How the run ends.
        end: End,
    },
    /// Ensure workspace and thread, and begin the opening turn.
    Open,
    /// Reset the idle workspace to the default head, and keep what was left in it.
    Reset,
    /// Start the turn that is recorded but that no executor has received.
    StartTurn,
    /// Begin another turn on the thread.
    Turn {
        /// Why it is begun.
        cause: TurnCause,
    },
    /// Give the agent a person's answer or, at the deadline, the policy's.
    Answer,
    /// Fetch the head, merge it with the default head, record the intent.
    Integrate,
    /// Check guardrails and prove the candidate; long work is a job.
    Judge,
    /// Push the candidate to a branch of its own, or find that it is there.
    Try,
    /// Run the stages that must pass before landing on the candidate; a failure is recorded as a
    /// refusal, unless the base fails too.
    #[serde(rename = "ask_candidate")]
    CheckCandidate,
    /// Check whether the default branch, which failed as the candidate did, passes again; make a
    /// candidate on top of what does.
    #[serde(rename = "ask_base")]
    CheckBase,
    /// Push the candidate to the default branch, or find that it is there.
    Land,
    /// Read the default branch: whether the push that was begun put the candidate there, or what
    /// an agent that lands by itself brought to it.
    Find,
    /// Read whether the default branch still has what landed.
    Confirm,
    /// Open the candidate's pull request, or find that it is there.
    OpenPullRequest,
    /// Let others work in the repo until people decide on the pull request.
    StepAside,
    /// Take the repo's lock again, or wait for it.
    TakeUp,
    /// Record what landed with the pull request that people merged.
    Adopt,
    /// Run or poll the stages of the landed commit.
    #[serde(rename = "ask_stages")]
    CheckStages,
    /// Run or poll the stages of descendants of the landed commit: the first decisive answer counts
    /// for it.
    #[serde(rename = "ask_descendants")]
    CheckDescendants,
    /// Prove what landed without a proof.
    ProveLanded,
    /// Nothing to do until something changes or the time comes.
    Wait {
        /// What the run waits for.
        reason: Waiting,
    },
}

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Landed, green, evidence complete: the issue is closed.
    Done,
    /// Handed to a person.
    NeedsHuman,
    /// Handed to a person with the repo frozen and the broken commit in place.
    Frozen,
    /// Ended without a doorbell: a person withdrew the issue, or a gate closed before the first
    /// turn. It is stored and printed as `released`.
    #[serde(rename = "released")]
    Withdrawn,
}

impl End {
    /// Whether the issue belongs to a person after this end.
    pub const fn is_handed_over(self) -> bool {
        match self {
            Self::NeedsHuman | Self::Frozen => true,
            Self::Done | Self::Withdrawn => false,
        }
    }
}

/// Why a turn is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnCause {
    /// It is the first.
    Opening,
    /// The last one errored, was lost or stalled.
    Retry,
    /// The last one was interrupted by us; costs no retry.
    Interrupted,
    /// The usage limit that ended the last one has reset; costs no retry.
    LimitReset,
    /// What its agent needs may be available again; costs no retry.
    AgentBack,
    /// The workspace has uncommitted or unfinished work.
    CommitOrDiscard,
    /// The candidate was refused before landing.
    Refused,
    /// The landed commit is red.
    FixForward,
    /// A person sent a message; uses up no retry, refusal or fix-forward.
    Said,
}

/// What a waiting run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// A halt to be lifted, by a person.
    Halt,
    /// A freeze of the repo to be lifted, by a person.
    Freeze,
    /// A person's answer to the agent's question, until its deadline.
    Question,
    /// People to merge or close the pull request.
    PullRequest,
    /// The usage limit to reset.
    UsageLimit,
    /// What its agent needs: the sign-in, the model's API, its program.
    Agent,
    /// A gate to become readable.
    Gates,
    /// The turn to end.
    Turn,
    /// An executor to tell how the turn stands.
    Executor,
    /// The backoff before a retry to pass.
    Backoff,
    /// The workspace to become readable.
    Workspace,
    /// A proof, verify or guardrail check to end.
    Judgement,
    /// A port that failed during the pass to work again.
    Ports,
}

impl Waiting {
    /// Why the run's clocks stand still during the wait; none if they run on.
    pub const fn stops_clocks(self) -> Option<Standstill> {
        match self {
            Self::Halt | Self::Freeze => Some(Standstill::ByPerson),
            Self::Question | Self::PullRequest | Self::UsageLimit | Self::Agent => {
                Some(Standstill::Wait)
            }
            Self::Gates
            | Self::Turn
            | Self::Executor
            | Self::Backoff
            | Self::Workspace
            | Self::Judgement
            | Self::Ports => None,
        }
    }
}
