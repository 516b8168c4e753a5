//! What was observed of a run, reduced to what decides the next step.
//!
//! Made from the run's record and the engine's observations; clocks and limits are already
//! evaluated, so that equal situations have equal plans at any time. Small on purpose: the tests
//! walk through every possible value.

use serde::{Deserialize, Serialize};

/// Everything that a run's plan depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Situation {
    /// An outcome is committed.
    pub concluded: bool,
    /// A person withdrew the issue.
    pub cancelled: bool,
    /// Everything is halted.
    pub halted: bool,
    /// The repo is frozen.
    pub frozen: bool,
    /// The repo is frozen and the run's agent lands by itself, so the agent must not be working.
    #[serde(default, rename = "held")]
    pub frozen_out: bool,
    /// The run waits for people without the repo's lock.
    #[serde(default)]
    pub aside: bool,
    /// The run's budget or its deadline is used up.
    pub spent: bool,
    /// Only the budget is used up: there is time left for what costs nothing.
    #[serde(default)]
    pub out_of_money: bool,
    /// The budget was lowered while the newest turn was under way, and less is left of it than was
    /// reserved for the turn.
    #[serde(default)]
    pub lowered: bool,
    /// Executor retries are left, and usage limits may still be waited out.
    pub retries_left: bool,
    /// Landing refusals are left.
    pub refusals_left: bool,
    /// Fix-forwards are left and their clock has not run out.
    pub fixes_left: bool,
    /// A push of the newest candidate was begun, or the agent may have pushed by itself, and
    /// nobody has read since whether it landed.
    #[serde(default, rename = "sent")]
    pub push_unconfirmed: bool,
    /// The remote cannot be read for the result of that push, or for whether it still has what
    /// landed, and the time to wait for that is up.
    #[serde(default, rename = "unread")]
    pub remote_unreadable: bool,
    /// The default branch was read in this pass, and has the newest landed commit.
    #[serde(default, rename = "stands")]
    pub landing_confirmed: bool,
    /// A person's message waits to be given to the agent.
    #[serde(rename = "said")]
    pub message_waiting: bool,
    /// Not everything could be observed, and it is too early to go on without it.
    #[serde(default)]
    pub blind: bool,
    /// What is in the way and does not pass by itself.
    #[serde(default)]
    pub obstacle: Obstacle,
    /// What an interrupt would stop.
    pub alive: Alive,
    /// The newest landed commit.
    pub landed: Landed,
    /// The newest turn.
    pub turn: TurnState,
}

/// What is in the way of a run and does not pass by itself: an
/// [`Impediment`](crate::impediment::Impediment), reduced to what decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// Nothing, or something that may pass by itself.
    #[default]
    Nothing,
    /// Something that only a person can fix.
    NeedsAPerson,
    /// A commit carries a run's trailers and the control plane did not push it: whoever did may
    /// push more.
    Forged,
    /// What landed was taken out of the default branch by people, or is not on the branch that has
    /// become the default since, or was merged into another branch.
    TakenOut,
}

/// Whether a turn or a job of the run is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "alive", rename_all = "snake_case")]
pub enum Alive {
    /// Neither a turn nor a job.
    Nothing,
    /// Only stages, which bring a verdict.
    Stages {
        /// They were told to stop, and are still alive after the grace period.
        grace_over: bool,
    },
    /// A turn, or a job other than a stage.
    Something {
        /// It was told to stop, and is still alive after the grace period.
        grace_over: bool,
    },
}

/// The state of the newest landed commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "landed", rename_all = "snake_case")]
pub enum Landed {
    /// None of the run's commits is on the default branch.
    Nothing,
    /// Its stages have not answered.
    Pending {
        /// The stage's deadline has passed.
        overdue: bool,
    },
    /// Every stage succeeded.
    Green {
        /// Whether it may close the issue.
        evidence: EvidenceState,
    },
    /// A stage failed.
    Red {
        /// Whose fault it is.
        cause: RedCause,
        /// The stage's deadline has passed.
        overdue: bool,
    },
    /// A stage could not answer for this commit: cancelled, superseded, not run.
    Void {
        /// The stage's deadline has passed.
        overdue: bool,
    },
}

/// Whose fault a red verdict is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedCause {
    /// The landed commit brought it.
    Ours,
    /// The base fails already, or a later commit by somebody else broke it.
    NotOurs,
}

/// Whether a landed, green commit may close its issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "evidence", rename_all = "snake_case")]
pub enum EvidenceState {
    /// All evidence is there.
    Complete,
    /// The landed tree was not proved.
    Missing {
        /// A proof of it is in progress.
        judging: bool,
    },
    /// The proof of the landed tree refused it.
    Refused,
}

/// The newest turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "turn", rename_all = "snake_case")]
pub enum TurnState {
    /// There is no turn, or one that no executor has received because a gate is closed.
    None {
        /// What the gates say now.
        gates: Gates,
    },
    /// Recorded, but its executor has not received it.
    NotStarted {
        /// The workspace is at the commit where the turn begins.
        reset: bool,
    },
    /// The agent waits for an answer.
    Asking {
        /// The record has an answer that the agent has not been given, or the deadline has passed.
        #[serde(alias = "overdue")]
        due: bool,
    },
    /// What its agent needs to work at all was not available.
    Unavailable {
        /// It is time to try again.
        again: bool,
        /// The time to wait for it is up.
        overdue: bool,
    },
    /// A usage limit ended it.
    Limited {
        /// The limit has reset.
        reset: bool,
    },
    /// The agent is at work.
    Running {
        /// No event came for the stall timeout or, during a tool call, for the tool timeout.
        stalled: bool,
    },
    /// The executor cannot say how the turn stands.
    Unknown,
    /// The control plane stopped it.
    Interrupted,
    /// Errored, lost, or stalled and stopped for it.
    Failed {
        /// The backoff before a retry is over.
        backoff_over: bool,
    },
    /// The agent finished it.
    Finished {
        /// How it left the workspace.
        workspace: WorkspaceState,
        /// What it left to land.
        work: Work,
    },
}

/// What the gates say before the first turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gates {
    /// All pass.
    Open,
    /// One refuses.
    Refused,
    /// One could not be read.
    Unreadable,
}

/// The state of the workspace after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "workspace", rename_all = "snake_case")]
pub enum WorkspaceState {
    /// Nothing in it is uncommitted or unfinished.
    Clean,
    /// Files are uncommitted, or git work is [unfinished](crate::run::UnfinishedWork).
    Dirty {
        /// The agent was asked once to commit, finish or discard it.
        asked: bool,
    },
    /// The agent was asked to finish its git work and did not, so that the commit that HEAD names
    /// is not the end of the work.
    Unfinished,
    /// It has not been inspected yet.
    Unreadable,
}

/// What a finished turn left to land.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// No commit that is still to be decided on.
    Nothing,
    /// A new head, and how far it has come.
    New(CandidateState),
}

/// How far a new head has come on its way to the default branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "candidate", rename_all = "snake_case")]
pub enum CandidateState {
    /// Not merged with the default head yet.
    Unmerged,
    /// Merged; guardrails or proof not decided.
    Unjudged {
        /// A job that judges it is alive.
        judging: bool,
    },
    /// A guardrail is breached.
    Breached,
    /// Refused before landing.
    Refused(Refusal),
    /// Nothing speaks against it.
    Clear,
    /// Judged, but not yet on the branch where its stages run first.
    Untried,
    /// Pushed to a branch of its own; its stages are awaited there.
    Pushed {
        /// No stage is alive and none answered in time, or one could not run however often it was
        /// tried.
        overdue: bool,
    },
    /// It failed there, and the default branch fails likewise: the failure is not its own.
    Excused {
        /// The stage's deadline has passed.
        overdue: bool,
    },
    /// On a branch of its own; its pull request is not known to be open yet.
    PullRequestUnopened,
    /// People have not decided on its pull request.
    PullRequestOpen,
    /// People merged it.
    PullRequestMerged,
}

/// Why a candidate is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum Refusal {
    /// It does not merge with the default head.
    Conflict,
    /// The verify command fails on it.
    Verify,
    /// Its tests do not prove it.
    Proof,
    /// A stage that must pass before landing fails on it.
    Stage,
    /// Messages of the agent's own commits, which would land with it, skip CI, close an issue or
    /// speak for others.
    Message,
    /// Something that no agent can fix: the base fails already, or the command that judges cannot
    /// run.
    Setup,
}
