//! A run: what was decided and what was found, from admission to outcome.
//!
//! The record grows only by [`Transition`]s, one journal row each; everything else about a run (its
//! phase, its counters, its situation) is derived. What a pass must observe is [`Run::observation_scope`];
//! [`record`] turns what it saw into transitions; what it does next is the plan of
//! [`Run::situation`].

mod agent_landing;
mod apply;
mod asks;
mod claimed;
mod derived;
mod ending;
mod evidence;
mod impeded;
mod observation_scope;
mod prompt_context;
mod pull;
mod race;
mod record;
mod resumed;
mod situate;
mod stage;
#[cfg(test)]
mod tests;
mod transition;
mod turn;
mod unavailable;
mod unfinished;
mod unpushed;

pub use agent_landing::{AgentLanding, BranchCommit, agent_landing};
pub use asks::{AnswerKind, Question, RecordedAnswer};
pub use claimed::{claimed_runs, forged_commit};
pub use derived::TRY_PREFIX;
pub use observation_scope::ObservationScope;
pub use prompt_context::PromptContext;
pub use pull::{Pull, PullSeen, PullState, pull_text};
pub use race::Race;
pub use record::{IssueSeen, Names, Observation, TurnSeen, record};
pub use resumed::{Leaves, ResumedHead};
pub use situate::Limits;
pub use stage::StageRecord;
pub use transition::Transition;
pub use turn::{AgentNeed, EndedTurn, Interrupt, Turn, TurnCost, TurnEnd, TurnFacts};
pub use unavailable::AgentOutage;
pub use unfinished::UnfinishedWork;
pub use unpushed::{FailedPush, PushFailure};

use serde::{Deserialize, Serialize};

use crate::checkout::{Checkout, Machine};
use crate::digest::Digest;
use crate::elapsed::Pause;
use crate::gates::Dispatcher;
use crate::guardrails::GuardrailReport;
use crate::ids::{Actor, At, IssueRef, Oid, RunId};
use crate::impediment::RecordedImpediment;
use crate::issue::{IssueEvent, Permission};
use crate::plan::{End, RedCause, Refusal, TurnCause};
use crate::proof::ProofReport;
use crate::request::PersonRequest;
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
    /// Who released the issue; none if a person dispatched an issue by hand.
    pub release: Option<Release>,
    /// The content that was approved; the only issue text an agent ever sees.
    pub pinned: Pinned,
    /// When it was admitted.
    pub admitted_at: At,
    /// The issue's newest event at that time: every event that the tracker lists after this one
    /// happened after the admission, whatever the two clocks say. None in records from before it
    /// was kept.
    #[serde(default)]
    pub last_event: Option<IssueEvent>,
    /// Whether its repo was on the allowlist at that time: if so, taking the repo off the list
    /// later also cancels a run that a person began. False in records from before it was kept.
    #[serde(default)]
    pub enrolled: bool,
    /// What it may spend, reserved from the spending caps.
    pub budget: Usd,
    /// The ended run of the issue that it is to go on from, because a person asked for a retry and
    /// that run left a head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes: Option<RunId>,
    /// Where its work starts from; known once the workspace was created.
    pub start: Option<Start>,
    /// Why `verify` fails on the head that it would start from; none unless that was found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_fails: Option<String>,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// When a landed commit first went red by our fault: the start of the fix-forward clock.
    pub first_red_at: Option<At>,
    /// Labels that were seen on the issue, so that their removal is noticed.
    pub labels_seen: LabelsSeen,
    /// A person's cancel.
    pub cancel: Option<Cancel>,
    /// People's requests that it took, oldest first.
    #[serde(rename = "heard")]
    pub requests: Vec<AnsweredRequest>,
    /// Its comment on the issue; none before it is posted for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posted: Option<PostedComment>,
    /// Where people can watch its thread, once the executor has reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_link: Option<String>,
    /// Since when agent and jobs have been told to stop; none if they have not.
    pub stopping_since: Option<At>,
    /// Since when it waits for people without the repo's lock; none while it has that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside_since: Option<At>,
    /// Intervals in which all of its clocks stop.
    pub pauses: Vec<Pause>,
    /// The newest impediment of its passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impeded: Option<RecordedImpediment>,
    /// How it ended; none while it is live.
    pub conclusion: Option<Conclusion>,
    /// When the world showed every effect of the outcome and the lock became free.
    pub settled_at: Option<At>,
}

impl Run {
    /// Returns a run of `issue` that is admitted now, `at`: nobody is recorded to have released the
    /// issue, and nothing has happened yet.
    pub fn new(
        id: RunId,
        issue: IssueRef,
        dispatcher: Dispatcher,
        pinned: Pinned,
        budget: Usd,
        at: At,
    ) -> Self {
        Self {
            id,
            issue,
            dispatcher,
            release: None,
            pinned,
            admitted_at: at,
            last_event: None,
            enrolled: false,
            budget,
            resumes: None,
            start: None,
            base_fails: None,
            attempts: Vec::new(),
            first_red_at: None,
            labels_seen: LabelsSeen::default(),
            cancel: None,
            requests: Vec::new(),
            posted: None,
            thread_link: None,
            stopping_since: None,
            aside_since: None,
            pauses: Vec::new(),
            impeded: None,
            conclusion: None,
            settled_at: None,
        }
    }
}

/// Who released an issue to the loop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Who added the ready label, or requested it.
    pub by: Actor,
    /// When they did.
    pub at: At,
    /// Their permission on the repo; none if they are listed by id.
    pub permission: Option<Permission>,
    /// The label that they released it with.
    pub label: String,
    /// The id of the request for it, if our own account added the label.
    #[serde(default, rename = "asked", skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// An issue's text as it was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// The title, without what a person cannot see.
    pub title: String,
    /// The body, likewise.
    pub body: String,
    /// The digest of the tracker's title and body.
    pub digest: Digest,
}

/// Where a run's work starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The default branch.
    pub branch: String,
    /// Its head at the time.
    pub base: Oid,
    /// The repo's own policy at that head; none if it has no file.
    pub workflow: Option<Box<Workflow>>,
    /// Where its agent works.
    #[serde(default)]
    pub checkout: Checkout,
    /// The machine that its agent works on; none if it was begun before that was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    /// The commit that its workspace stands on instead of the base: the head of the ended run that
    /// it goes on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Oid>,
}

/// Labels of ours that this run has seen on its issue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelsSeen {
    /// The ready label.
    pub ready: bool,
    /// The in-progress label.
    pub in_progress: bool,
}

/// The run's comment, from the moment when it was about to be posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostedComment {
    /// When it was about to be posted.
    pub at: At,
    /// Its id on the tracker; none while the tracker's answer is awaited, or was lost.
    pub id: Option<String>,
}

/// A request that the run took. One that it refused is only answered in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredRequest {
    /// The request.
    #[serde(rename = "asked")]
    pub request: PersonRequest,
    /// When the run took it.
    pub at: At,
    /// What was done about it.
    pub answer: String,
    /// The number of the turn that was begun to give it to the agent, if it is a message.
    pub turn: Option<u32>,
}

/// A person's withdrawal of the issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// Who withdrew it, if known.
    pub by: Option<Actor>,
    /// What they did.
    pub how: CancelHow,
    /// When a pass saw that.
    pub at: At,
}

/// How a person withdrew an issue.
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
    /// The run was stopped by request.
    Stopped,
    /// The pull request was closed, or another took its place.
    PullClosed,
}

impl CancelHow {
    /// What the person did, in a sentence for people.
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

/// A part of a run: the turns that lead to a head commit, and what becomes of that head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number in the run, from 1.
    pub n: u32,
    /// Why its first turn was begun.
    pub cause: TurnCause,
    /// The head of an ended run that it began with instead of a turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<ResumedHead>,
    /// The reset of its workspace before the first turn, if the previous attempt landed.
    pub reset: Option<Reset>,
    /// Its turns: the first, and the retries and clean-ups that followed.
    pub turns: Vec<Turn>,
    /// The head that the last turn left, once the workspace was inspected.
    pub left: Option<WorkspaceInspection>,
    /// Paths that the agent was asked to commit or discard.
    pub dirty: Vec<String>,
    /// Git work that the agent was asked to finish or drop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfinished: Vec<UnfinishedWork>,
    /// The merges of the run's head with the default head, newest last.
    pub candidates: Vec<Candidate>,
    /// Why the attempt was refused, which ends it.
    pub refused: Option<AttemptRefusal>,
}

impl Attempt {
    /// Attempt `n`, before anything of it happened.
    pub(super) fn new(n: u32, cause: TurnCause) -> Self {
        Self {
            n,
            cause,
            resumed: None,
            reset: None,
            turns: Vec::new(),
            left: None,
            dirty: Vec::new(),
            unfinished: Vec::new(),
            candidates: Vec::new(),
            refused: None,
        }
    }
}

/// A reset of the idle workspace to the default head: the agent's own commits landed as another
/// commit, and a fix must build on that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// The default head, which the next work is compared with.
    pub onto: Oid,
    /// A commit with everything in the workspace that did not land; none if all of it landed.
    pub leftovers: Option<Oid>,
}

impl Reset {
    /// The name under which the run keeps the leftovers that were found before attempt `n`.
    pub fn name(n: u32) -> String {
        format!("leftovers-{n}")
    }
}

/// What a finished turn left in the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspaceInspection {
    /// The commit that HEAD names.
    pub head: Oid,
    /// Uncommitted paths, a limited number.
    pub dirty: Vec<String>,
    /// Branches with commits that HEAD does not reach: they do not count.
    pub elsewhere: Vec<String>,
    /// Git work that is not finished, such as a rebase under way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfinished: Vec<UnfinishedWork>,
}

/// The exact commit that would be landed, recorded before anything is done with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The default head that it was merged with.
    pub base: Oid,
    /// The run's head that it contains.
    pub head: Oid,
    /// The commit that would be pushed.
    pub commit: Oid,
    /// The tree of that commit.
    pub tree: Oid,
    /// When the intent was recorded; also the commit's date.
    pub at: At,
    /// The report of the guardrails.
    pub guardrails: Option<GuardrailReport>,
    /// The report of the proof.
    pub proof: Option<ProofReport>,
    /// Its own branch on the remote, if stages must pass before landing or people decide.
    pub tried: Option<TryBranch>,
    /// Its pull request, if people decide by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<Pull>,
    /// Since when a push to the default branch, or people, may have landed it; none if none was
    /// begun, or if the remote was read since and does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<At>,
    /// When it was found on the default branch. Where the agent lands by itself, the candidate is
    /// only recorded then.
    pub landed_at: Option<At>,
    /// The answers of its stages, in order.
    pub stages: Vec<StageRecord>,
    /// Whose fault its red verdict is, once decided.
    pub red: Option<RedCause>,
    /// Which run of the failed stage decided that, as numbered by [`StageRecord::again`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributed: Option<u32>,
    /// Heads of the default branch that fail as it failed before landing, oldest first: if there is
    /// one, the failure is not its own.
    #[serde(default)]
    pub red_bases: Vec<Oid>,
    /// The newest check of the last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_asked: Option<BaseAsked>,
    /// Pushes of it that did not arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpushed: Option<FailedPush>,
    /// The commit that its head stands on, if the default branch no longer has that commit: only
    /// the change from there to the head was put on the base, and nothing else of the head's
    /// history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt_from: Option<Oid>,
}

impl Candidate {
    /// Returns a new candidate: `commit`, whose tree is `tree`, puts `head` on `base`.
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
            unpushed: None,
            rebuilt_from: None,
        }
    }

    /// The commit on top of which all commits of its head are the run's own.
    pub fn since(&self) -> &Oid {
        self.rebuilt_from.as_ref().unwrap_or(&self.base)
    }
}

/// The newest check of a head of the default branch that fails as a candidate failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseAsked {
    /// How many checks of that head there were before.
    pub again: u32,
    /// When the check failed.
    pub at: At,
}

impl BaseAsked {
    /// When the head is checked again, after a growing pause.
    pub fn next(self) -> At {
        self.at.checked_add(Run::backoff(self.again + 1)).unwrap_or(At::MAX)
    }
}

/// A candidate's branch on the remote. Its name follows from the record, so that it can be found
/// and removed after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TryBranch {
    /// When pushing it was decided.
    pub begun_at: At,
    /// When it was found on the remote.
    pub pushed_at: Option<At>,
    /// When it was found to be removed.
    pub removed_at: Option<At>,
}

impl TryBranch {
    /// A branch that is about to be pushed.
    const fn begun(at: At) -> Self {
        Self { begun_at: at, pushed_at: None, removed_at: None }
    }
}

/// Why an attempt was refused before landing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRefusal {
    /// What kind of refusal.
    pub why: Refusal,
    /// The details, for the corrective turn and the comment.
    pub detail: String,
    /// The end of the output that shows it; may be empty.
    pub output: String,
    /// The default head that it conflicts with, and the conflicting paths; none without a conflict.
    pub conflict: Option<(Oid, Vec<String>)>,
}

/// How a run ended, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conclusion {
    /// The outcome.
    pub end: End,
    /// Why it ended, in a sentence for people.
    pub why: String,
    /// When that was recorded.
    pub at: At,
}
