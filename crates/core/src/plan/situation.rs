//! What was seen of a run, in the few words that decide what comes next.
//!
//! Made from the run's record and the engine's observations; clocks and bounds
//! are already read off, so that equal situations have equal plans whatever the
//! time is. Small on purpose: the tests walk every value of it.

use serde::{Deserialize, Serialize};

/// Everything that the plan of a run depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Situation {
    /// An outcome is committed.
    pub concluded: bool,
    /// A person took the issue back.
    pub cancelled: bool,
    /// Everything is halted.
    pub halted: bool,
    /// The repo is frozen.
    pub frozen: bool,
    /// It is, and the run's agent would land by itself all the same: it must not be at work.
    #[serde(default)]
    pub held: bool,
    /// The run's budget or its deadline is used up.
    pub spent: bool,
    /// Executor retries are left, and usage limits to wait out.
    pub retries_left: bool,
    /// Landing refusals are left.
    pub refusals_left: bool,
    /// Fix-forwards are left and their clock is not spent.
    pub fixes_left: bool,
    /// A push of the newest candidate was begun, or the agent may have pushed by itself, and
    /// nobody has read since whether it landed.
    #[serde(default)]
    pub sent: bool,
    /// Whether that push landed cannot be read, and nobody waits any longer until it can.
    #[serde(default)]
    pub unread: bool,
    /// A person's words wait to be told to the agent.
    pub said: bool,
    /// Not everything could be seen, and it is not yet time to do without.
    #[serde(default)]
    pub blind: bool,
    /// What is in the way and does not go by itself.
    #[serde(default)]
    pub obstacle: Obstacle,
    /// What an interrupt would stop.
    pub alive: Alive,
    /// The newest landed commit.
    pub landed: Landed,
    /// The newest turn.
    pub turn: Turn,
}

/// What is in the way of a run and does not go by itself: an
/// [`Impediment`](crate::impediment::Impediment), in the only differences that decide.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// Nothing, or what may go by itself.
    #[default]
    Nothing,
    /// Something that only a person can mend.
    NeedsAPerson,
    /// A commit in the run's name that the control plane did not push: whoever did may
    /// push more.
    Forged,
}

/// Whether a turn or a job of the run is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "alive", rename_all = "snake_case")]
pub enum Alive {
    /// Nothing is.
    Nothing,
    /// Stages of the landed commit, and nothing else: they bring its verdict.
    Stages {
        /// They were interrupted, and have gone on past their grace all the same.
        grace_over: bool,
    },
    /// Something else is.
    Something {
        /// It was interrupted, and has gone on past its grace all the same.
        grace_over: bool,
    },
}

/// What became of the newest landed commit.
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
        evidence: Evidence,
    },
    /// A stage failed.
    Red {
        /// By whom.
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

/// Whose a red verdict is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedCause {
    /// The landed commit brought it.
    Ours,
    /// The base had it already, or a later commit by somebody else brought it.
    NotOurs,
}

/// Whether a landed, green commit may close its issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "evidence", rename_all = "snake_case")]
pub enum Evidence {
    /// All of it is there.
    Complete,
    /// The landed tree was not proved.
    Missing {
        /// A proof of it is under way.
        judging: bool,
    },
    /// The proof of the landed tree refused it.
    Refused,
}

/// The newest turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "turn", rename_all = "snake_case")]
pub enum Turn {
    /// There has been none, or none that an executor has heard of and a gate is not open.
    None {
        /// What the gates say now.
        gates: Gates,
    },
    /// Recorded, but its executor has not heard of it.
    NotStarted {
        /// The workspace stands where the turn is to begin.
        reset: bool,
    },
    /// The agent waits for an answer.
    Asking {
        /// The record has an answer that it has not been told, or the deadline has passed.
        #[serde(alias = "overdue")]
        due: bool,
    },
    /// What its agent needs was not there.
    Unavailable {
        /// It is time to try again.
        again: bool,
        /// It was waited for long enough.
        overdue: bool,
    },
    /// A usage limit ended it.
    Limited {
        /// The limit has reset.
        reset: bool,
    },
    /// At work.
    Running {
        /// No event for the stall timeout, and no tool open.
        stalled: bool,
    },
    /// The executor cannot say.
    Unknown,
    /// We stopped it.
    Interrupted,
    /// Errored, lost, or stalled and stopped for it.
    Failed {
        /// The backoff before a retry is over.
        backoff_over: bool,
    },
    /// Over.
    Finished {
        /// How it left the workspace.
        workspace: Workspace,
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
pub enum Workspace {
    /// Nothing is left uncommitted.
    Clean,
    /// Something is.
    Dirty {
        /// The agent was asked once to commit or discard it.
        asked: bool,
    },
    /// It is not known yet.
    Unreadable,
}

/// What a finished turn left to land.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// No commit that is neither landed nor disposed of.
    Nothing,
    /// A new head.
    New(Candidate),
}

/// How far a new head has come on its way to the default branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "candidate", rename_all = "snake_case")]
pub enum Candidate {
    /// Not merged with the default head yet.
    Unmerged,
    /// Merged; guardrails or proof not decided.
    Unjudged {
        /// A job of it is under way.
        judging: bool,
    },
    /// A guardrail is breached.
    Breached,
    /// Refused before landing.
    Refused(Refusal),
    /// Nothing stands against it.
    Clear,
    /// Judged, and not on the branch of its own yet where its stages are asked first.
    Untried,
    /// Pushed to a branch of its own; its stages are awaited there.
    Pushed {
        /// None of them runs, and none answered in time, or one could not be run at all.
        overdue: bool,
    },
    /// It failed there, and so does the default branch: its red is not its own.
    Excused {
        /// The stage's deadline has passed.
        overdue: bool,
    },
    /// On a branch of its own, and its pull request is not known to be open yet.
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
    /// A stage that is asked before landing fails on it.
    Stage,
    /// What stands against it no agent can mend: the base fails already, or the
    /// command that judges cannot be run.
    Setup,
}
