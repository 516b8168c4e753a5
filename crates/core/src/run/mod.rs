//! A run: what was decided and what was found, from admission to outcome.
//!
//! The record grows only by [`Transition`]s, one journal row each; everything
//! else that is said of a run (its phase, its counters, its situation) is derived.
//! What a pass must look at is [`Run::look`]; what it saw becomes transitions by
//! [`record`]; what it does next is the plan of [`Run::situation`].

mod apply;
mod asks;
mod brought;
mod derived;
mod ending;
mod evidence;
mod impeded;
mod look;
mod pull;
mod record;
mod situate;
mod stage;
#[cfg(test)]
mod tests;
mod told;
mod transition;
mod turn;
mod unavailable;

pub use asks::{Given, Question, Wants};
pub use brought::{Brought, Pushed, brought};
pub use look::Look;
pub use pull::{Pull, PullSeen, PullState, pull_text};
pub use record::{IssueSeen, Names, Seen, TurnSeen, record};
pub use situate::Limits;
pub use stage::Stage;
pub use told::Told;
pub use transition::Transition;
pub use turn::{AgentNeed, Ended, Interrupt, Turn, TurnCost, TurnEnd, TurnFacts};
pub use unavailable::Unavailable;

use serde::{Deserialize, Serialize};

use crate::checkout::Checkout;
use crate::digest::Digest;
use crate::elapsed::Pause;
use crate::gates::Dispatcher;
use crate::guardrails::GuardrailReport;
use crate::ids::{Actor, At, IssueRef, Oid, RunId};
use crate::impediment::Impeded;
use crate::issue::{IssueEvent, Permission};
use crate::plan::{End, RedCause, Refusal, TurnCause};
use crate::proof::ProofReport;
use crate::request::Asked;
use crate::usd::Usd;
use crate::workflow::Workflow;

/// A run and everything that is recorded of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id; ids of what it creates are derived from this one.
    pub id: RunId,
    /// The issue it lands.
    pub issue: IssueRef,
    /// Who dispatched it.
    pub dispatcher: Dispatcher,
    /// Who released the issue; none where a person dispatched an issue by hand.
    pub release: Option<Release>,
    /// The content that was approved; the only issue text an agent ever sees.
    pub pinned: Pinned,
    /// When it was admitted.
    pub admitted_at: At,
    /// The issue's newest event then: what the tracker tells after it is since the
    /// admission, whatever either clock says. None in records from before it was kept.
    #[serde(default)]
    pub last_event: Option<IssueEvent>,
    /// Its repo was on the allowlist then: taking it off is an event that cancels a run that
    /// a person began, too. None was, by records from before it was kept.
    #[serde(default)]
    pub enrolled: bool,
    /// What was reserved of the spend caps for it.
    pub budget: Usd,
    /// Where its work starts from; known once the workspace is made.
    pub start: Option<Start>,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// When a landed commit first went red by our doing: the fix-forward clock's start.
    pub first_red_at: Option<At>,
    /// Labels that were seen on the issue, so that their loss is an event.
    pub labels_seen: LabelsSeen,
    /// A person's cancel.
    pub cancel: Option<Cancel>,
    /// What people asked of it, oldest first.
    pub heard: Vec<Heard>,
    /// Its comment on the issue; none before it is posted for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posted: Option<Posted>,
    /// Since when what is alive has been told to stop; none while nothing is.
    pub stopping_since: Option<At>,
    /// Stretches in which none of its clocks goes on.
    pub pauses: Vec<Pause>,
    /// What was last in the way of its passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impeded: Option<Impeded>,
    /// How it ended.
    pub conclusion: Option<Conclusion>,
    /// When the world showed every effect of the outcome: the lock is free again.
    pub settled_at: Option<At>,
}

/// Who released an issue to the loop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Who put the ready label on, or asked for it.
    pub by: Actor,
    /// When they did.
    pub at: At,
    /// What they may do on the repo; none where they are listed by id.
    pub permission: Option<Permission>,
    /// The label that they released it with.
    pub label: String,
    /// The request by which they asked for it, where our own account put it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
}

/// An issue's text as it was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// The title, cleaned of what a person cannot see.
    pub title: String,
    /// The body, cleaned likewise.
    pub body: String,
    /// The digest of title and body as the tracker had them.
    pub digest: Digest,
}

/// Where a run's work starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The default branch.
    pub branch: String,
    /// Its head at the time.
    pub base: Oid,
    /// The repo's own policy, as that head has it; none where it has no file.
    pub workflow: Option<Box<Workflow>>,
    /// Where its agent works.
    #[serde(default)]
    pub checkout: Checkout,
}

/// Labels of ours that this run has seen on its issue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelsSeen {
    /// The ready label.
    pub ready: bool,
    /// The in-progress label.
    pub in_progress: bool,
}

/// The run's comment, from the moment in which it was about to be posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// When that was.
    pub at: At,
    /// Its id on the tracker; none while the answer is awaited, or was lost.
    pub id: Option<String>,
}

/// A request that the run has taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The request.
    pub asked: Asked,
    /// When it was taken.
    pub at: At,
    /// What was done about it.
    pub answer: String,
    /// The turn that told it to the agent.
    pub turn: Option<u32>,
}

/// A person took the issue back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// Who, where it is known.
    pub by: Option<Actor>,
    /// How.
    pub how: CancelHow,
    /// When it was seen.
    pub at: At,
}

/// How a person took an issue back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelHow {
    /// The issue was closed.
    Closed,
    /// The ready label was taken off.
    Unreadied,
    /// The in-progress label was taken off.
    Unlocked,
    /// The repo was taken off the allowlist.
    Unenrolled,
    /// The run was stopped by name.
    Stopped,
    /// The pull request was closed, or another took its place.
    PullClosed,
}

impl CancelHow {
    /// The sentence that says so.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Closed => "the issue was closed",
            Self::Unreadied => "the ready label was removed",
            Self::Unlocked => "the in-progress label was removed",
            Self::Unenrolled => "the repository was taken off the allowlist",
            Self::Stopped => "the run was stopped by a person",
            Self::PullClosed => "the pull request was closed without being merged",
        }
    }
}

/// One stretch of a run from a turn to a head commit and what becomes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// From 1.
    pub n: u32,
    /// Why its first turn was begun.
    pub cause: TurnCause,
    /// What its workspace was put on before the first turn, where the one before landed.
    pub reset: Option<Reset>,
    /// Its turns: the first, and the retries and clean-ups that followed.
    pub turns: Vec<Turn>,
    /// The head that the last turn left, once the workspace was looked at.
    pub left: Option<Left>,
    /// Paths that the agent was asked to commit or discard.
    pub dirty: Vec<String>,
    /// The merges of that head with the default head, newest last.
    pub candidates: Vec<Candidate>,
    /// Why it was refused, which is the end of it.
    pub refused: Option<Refused>,
}

/// The idle workspace put on the default head: the agent's own commits landed as
/// another commit, and a fix must stand on that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// The default head, which the next work is measured against.
    pub onto: Oid,
    /// Everything that was there and did not land, as a commit; none where all had.
    pub leftovers: Option<Oid>,
}

impl Reset {
    /// The name under which the run keeps the leftovers of attempt `n`.
    pub fn name(n: u32) -> String {
        format!("leftovers-{n}")
    }
}

/// What a finished turn left in the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The commit that HEAD names.
    pub head: Oid,
    /// Paths that are not committed, bounded.
    pub dirty: Vec<String>,
    /// Commits on branches that HEAD does not reach: they do not count.
    pub elsewhere: Vec<String>,
}

/// The exact commit that would be landed, recorded before anything is done with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The default head that it stands on.
    pub base: Oid,
    /// The run's head that it carries.
    pub head: Oid,
    /// The commit that would be pushed.
    pub commit: Oid,
    /// Its tree.
    pub tree: Oid,
    /// When the intent was recorded; also the commit's date.
    pub at: At,
    /// What the guardrails said.
    pub guardrails: Option<GuardrailReport>,
    /// What the proof said.
    pub proof: Option<ProofReport>,
    /// Its way over a branch of its own, where stages are asked before landing.
    pub tried: Option<Tried>,
    /// Its pull request, where people decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<Pull>,
    /// Since when a push to the default branch, or people, may have landed it; none where none was
    /// begun, or the remote was read since and does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<At>,
    /// When it was found on the default branch. Where the agent lands, there is no candidate
    /// before that.
    pub landed_at: Option<At>,
    /// What its stages answered, in their order.
    pub stages: Vec<Stage>,
    /// Whose its red is, once that is decided.
    pub red: Option<RedCause>,
    /// At which asking of the stage that failed that was decided ([`Stage::again`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributed: Option<u32>,
    /// Heads of the default branch that fail where it failed before landing, oldest
    /// first: with any, its red is not its own.
    #[serde(default)]
    pub red_bases: Vec<Oid>,
    /// The newest asking about the last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_asked: Option<BaseAsked>,
}

impl Candidate {
    /// `commit` with this tree, which puts `head` on `base`, and of which nothing is known yet.
    pub fn new(base: Oid, head: Oid, commit: Oid, tree: Oid, at: At) -> Self {
        Self {
            base,
            head,
            commit,
            tree,
            at,
            guardrails: None,
            proof: None,
            tried: None,
            pull: None,
            sent_at: None,
            landed_at: None,
            stages: Vec::new(),
            red: None,
            attributed: None,
            red_bases: Vec::new(),
            base_asked: None,
        }
    }
}

/// An asking about a head of the default branch that fails where a candidate failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseAsked {
    /// How often it had been asked before.
    pub again: u32,
    /// When it failed.
    pub at: At,
}

impl BaseAsked {
    /// When it is asked again.
    pub fn next(self) -> At {
        self.at.checked_add(Run::backoff(self.again + 1)).unwrap_or(At::MAX)
    }
}

/// A candidate's branch on the remote. Its name follows from the record: it is found
/// and removed whoever died on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// When it was decided to push it.
    pub begun_at: At,
    /// When it was found on the remote.
    pub pushed_at: Option<At>,
    /// When it was found gone again.
    pub removed_at: Option<At>,
}

/// Why an attempt was refused before landing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What kind of refusal.
    pub why: Refusal,
    /// What the corrective turn and the comment say about it.
    pub detail: String,
    /// The end of the output that shows it; empty where there is none.
    pub output: String,
    /// The paths that conflict, and with which default head.
    pub conflict: Option<(Oid, Vec<String>)>,
}

/// How a run ended, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conclusion {
    /// The outcome.
    pub end: End,
    /// Why it stopped, in a sentence for people.
    pub why: String,
    /// When.
    pub at: At,
}
