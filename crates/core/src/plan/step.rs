//! What a plan can say: the next step, how a run ends, why a turn is begun, and what is
//! waited for.

use serde::{Deserialize, Serialize};

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
    /// Put the idle workspace on the default head, and keep what was left in it.
    Reset,
    /// Start the turn that is recorded but that no executor knows.
    StartTurn,
    /// Begin another turn on the thread.
    Turn {
        /// Why.
        cause: TurnCause,
    },
    /// Tell the agent what a person answered, or what policy does at the deadline.
    Answer,
    /// Fetch the head, merge it with the default head, record the intent.
    Integrate,
    /// Check guardrails and prove the candidate; long work is a job.
    Judge,
    /// Push the candidate to a branch of its own, or find that it is there.
    Try,
    /// Ask the stages that must pass before landing about the candidate; a failure is
    /// recorded as a refusal, unless the base fails there, too.
    AskCandidate,
    /// Look whether the default branch passes again where it and the candidate failed,
    /// and make a candidate on top of what does.
    AskBase,
    /// Push the candidate to the default branch, or find that it is there.
    Land,
    /// Look whether the push that was begun put the candidate on the default branch, or what
    /// an agent that lands by itself brought to it.
    Find,
    /// Open the candidate's pull request, or find that it is there.
    OpenPullRequest,
    /// A pull request was merged by people: record what landed.
    Adopt,
    /// Ask the stages about the landed commit.
    AskStages,
    /// Ask the stages about descendants of the landed commit: the first decisive
    /// answer speaks for it.
    AskDescendants,
    /// Prove what landed without a proof.
    ProveLanded,
    /// Nothing to do until something changes or the time comes.
    Wait {
        /// For what.
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
    /// Let go without a word: cancelled, or a gate closed before the first turn.
    Released,
}

impl End {
    /// Whether the issue is a person's from then on.
    pub const fn is_handed_back(self) -> bool {
        match self {
            Self::NeedsHuman | Self::Frozen => true,
            Self::Done | Self::Released => false,
        }
    }
}

/// Why a turn is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnCause {
    /// The first.
    Opening,
    /// The last one errored, was lost or stalled.
    Retry,
    /// The last one was interrupted by us; costs no retry.
    Interrupted,
    /// The usage limit that ended the last one has reset; costs no retry.
    LimitReset,
    /// What its agent needs may be back; costs no retry.
    AgentBack,
    /// The workspace holds work that is not committed.
    CommitOrDiscard,
    /// The candidate was refused before landing.
    Refused,
    /// The landed commit is red.
    FixForward,
    /// A person says something; costs nothing of what is counted.
    Said,
}

/// What a waiting run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// A halt to be lifted, by a person.
    Halt,
    /// A frozen repo to be lifted, by a person.
    Freeze,
    /// An answer to the agent's question, by a person, to its deadline.
    Question,
    /// People to merge or close the pull request.
    PullRequest,
    /// The usage limit to reset.
    UsageLimit,
    /// What its agent needs: the sign-in, the model's API, its program.
    Agent,
    /// A gate that could not be read.
    Gates,
    /// The turn to end.
    Turn,
    /// An executor that cannot say how the turn is.
    Executor,
    /// The backoff before a retry.
    Backoff,
    /// What cannot be read of the workspace.
    Workspace,
    /// A proof, a verify or a guardrail check to end.
    Judgement,
    /// A port that failed when the pass looked at the run.
    Ports,
}

impl Waiting {
    /// Whether only a person can end it.
    pub const fn on_people(self) -> bool {
        match self {
            Self::Halt | Self::Freeze | Self::Question | Self::PullRequest => true,
            Self::UsageLimit
            | Self::Agent
            | Self::Gates
            | Self::Turn
            | Self::Executor
            | Self::Backoff
            | Self::Workspace
            | Self::Judgement
            | Self::Ports => false,
        }
    }

    /// Whether the run's clocks stand still meanwhile.
    pub const fn stops_clocks(self) -> bool {
        self.on_people() || matches!(self, Self::UsageLimit | Self::Agent)
    }
}
