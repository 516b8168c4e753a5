//! The evidence bundle: why an issue was allowed to close.
//!
//! The engine fills the bundle in as a run progresses and keeps it with the run; an issue is closed
//! only if [`Evidence::is_complete`] says so, and otherwise everything missing is named. Rendering
//! ([`Evidence::to_markdown`]) is pure; outside texts (names, links, outputs) are only shortened
//! and stripped of control characters.

pub mod bundle;
pub mod dsse;
mod render;
pub mod statement;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::change::Tally;
use crate::digest::Digest;
use crate::guardrails::GuardrailReport;
use crate::ids::{Actor, At, IssueRef, Oid, RunId};
use crate::issue::Permission;
use crate::proof::ProofReport;
use crate::run::ResumedHead;
use crate::spend::Usage;
use crate::usd::Usd;
use crate::verdict::StageAnswer;

/// The version of the bundle's shape; a reader refuses other versions.
pub const SCHEMA: u32 = 1;

/// Everything that shows why a run may close its issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The version of the bundle's shape, [`SCHEMA`].
    pub schema: u32,
    /// The issue.
    pub issue: IssueRef,
    /// The run.
    pub run: RunId,
    /// Who released the issue, and how.
    pub release: Option<ReleaseEvidence>,
    /// The commit that the change was judged against.
    pub base: Option<Oid>,
    /// The commit that was judged.
    pub candidate: Option<Oid>,
    /// The commit on the default branch.
    pub landed: Option<Oid>,
    /// The size of the whole change.
    pub diff: Option<Tally>,
    /// The report of the guardrails.
    pub guardrails: Option<GuardrailReport>,
    /// The report of the proof.
    pub proof: Option<ProofReport>,
    /// The stages that the repo configures, in order.
    pub stages_configured: Vec<String>,
    /// The stages' answers: those for candidates that did not land, then those for what landed,
    /// oldest first. The last answer of each stage counts.
    pub stages: Vec<StageEvidence>,
    /// Every red verdict, and what was done about it.
    pub reds: Vec<RedEvidence>,
    /// The ended run whose head this run continued from, and how that head was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<ResumedHead>,
    /// How much work and time the agent needed.
    pub effort: Option<Effort>,
    /// The digest of the agent's transcripts, including that of the run that this one continued.
    pub transcript: Option<Digest>,
    /// How strong the sandbox was.
    pub sandbox: Option<SandboxStrength>,
}

/// Who released an issue, and the text at that moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseEvidence {
    /// The person.
    pub by: Actor,
    /// Their permission on the repo, if the tracker was read for it.
    pub permission: Option<Permission>,
    /// When they released it.
    pub at: At,
    /// How they released it.
    pub how: ReleasedBy,
    /// The digest of the pinned title and body.
    pub pinned: Digest,
}

/// How an issue was released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ReleasedBy {
    /// By the ready label.
    Label {
        /// The label's name.
        label: String,
    },
    /// By a comment, for which our own account added the label.
    Asked {
        /// The request's id, which names the comment.
        request: String,
    },
    /// By a person who dispatched the issue with a command.
    Command,
}

/// A stage's answer for a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageEvidence {
    /// The stage's name.
    pub stage: String,
    /// The commit that the answer is for: a candidate, the landed commit, or a descendant of it.
    pub commit: Oid,
    /// The stage's answer.
    pub answer: StageAnswer,
    /// A link for people, if the stage gave one.
    pub link: Option<String>,
    /// When the answer was read.
    pub at: At,
    /// Whether the stage failed before it passed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flaky: bool,
}

/// A red verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedEvidence {
    /// The commit that was red.
    pub commit: Oid,
    /// The stage that failed.
    pub stage: String,
    /// When the verdict was found.
    pub at: At,
    /// Whose fault it was that the stage failed.
    pub attribution: RedFault,
    /// The attempt that fixed it or tried to, if there was one.
    #[serde(rename = "mended_by")]
    pub fixed_by: Option<u32>,
}

/// Whose fault a red verdict was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedFault {
    /// The commit of this run.
    Ours,
    /// The base, which fails already.
    Base,
    /// A later commit by somebody else.
    Later,
}

impl fmt::Display for RedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "ours",
            Self::Base => "the base had it already",
            Self::Later => "a later commit brought it",
        })
    }
}

/// How much work and time the agent needed, over all turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effort {
    /// How many turns, including corrective ones.
    pub turns: u32,
    /// The tokens of all turns.
    pub tokens: Usage,
    /// What all turns cost.
    pub cost: Usd,
    /// Whether a part of the cost is estimated.
    pub estimated: bool,
    /// The time from admission to the last verdict, in seconds.
    pub wall_seconds: u64,
}

/// The strength of the sandbox that agent and proof ran in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxStrength {
    /// Separate namespaces, and Landlock as well.
    Full,
    /// Only Landlock, or only namespaces.
    Partial,
    /// No sandbox.
    None,
}

impl fmt::Display for SandboxStrength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::None => "none",
        })
    }
}

/// Something without which an issue may not be closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "lacks", rename_all = "snake_case")]
pub enum EvidenceGap {
    /// The bundle has a shape that this program does not know.
    Schema {
        /// The version of that shape.
        schema: u32,
    },
    /// Who released the issue.
    Release,
    /// The base commit.
    Base,
    /// The candidate.
    Candidate,
    /// The landed commit.
    Landed,
    /// The size of the change.
    Diff,
    /// The guardrails' report.
    Guardrails,
    /// A guardrails' report without breaches.
    Breached,
    /// The proof.
    Proof,
    /// A proof that is not refused.
    Refused,
    /// A configured stage: without one, nothing can be green.
    Stages,
    /// The success of a configured stage.
    Stage {
        /// The stage's name.
        stage: String,
    },
    /// A fix of a red verdict that is this run's fault.
    Red {
        /// The red commit.
        commit: Oid,
    },
    /// Turns, tokens, cost and time.
    Effort,
    /// The transcript's digest.
    Transcript,
    /// The sandbox's strength.
    Sandbox,
}

impl fmt::Display for EvidenceGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schema { schema } => write!(f, "a known shape (it has shape {schema})"),
            Self::Release => f.write_str("who released the issue"),
            Self::Base => f.write_str("the base commit"),
            Self::Candidate => f.write_str("the candidate commit"),
            Self::Landed => f.write_str("the landed commit"),
            Self::Diff => f.write_str("the diff's statistics"),
            Self::Guardrails => f.write_str("the guardrails' report"),
            Self::Breached => f.write_str("guardrails that are not breached"),
            Self::Proof => f.write_str("the proof"),
            Self::Refused => f.write_str("a proof that is not refused"),
            Self::Stages => f.write_str("a configured stage"),
            Self::Stage { stage } => write!(f, "success of stage {stage:?}"),
            Self::Red { commit } => write!(f, "a fix of the red commit {}", commit.short()),
            Self::Effort => f.write_str("turns, tokens, cost and time"),
            Self::Transcript => f.write_str("the transcript's digest"),
            Self::Sandbox => f.write_str("the sandbox's strength"),
        }
    }
}

/// Everything that a bundle lacks; not empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing(pub Vec<EvidenceGap>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lacks: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "the evidence lacks {}", lacks.join(", "))
    }
}

impl std::error::Error for Missing {}

impl Evidence {
    /// Returns a bundle with nothing filled in yet.
    pub fn new(issue: IssueRef, run: RunId) -> Self {
        Self {
            schema: SCHEMA,
            issue,
            run,
            release: None,
            base: None,
            candidate: None,
            landed: None,
            diff: None,
            guardrails: None,
            proof: None,
            stages_configured: Vec::new(),
            stages: Vec::new(),
            reds: Vec::new(),
            resumed: None,
            effort: None,
            transcript: None,
            sandbox: None,
        }
    }

    /// Checks that the issue may be closed on this evidence; otherwise returns everything missing.
    pub fn is_complete(&self) -> Result<(), Missing> {
        let mut lacks = Vec::new();
        let mut need = |there: bool, lack: EvidenceGap| {
            if !there {
                lacks.push(lack);
            }
        };
        need(self.schema == SCHEMA, EvidenceGap::Schema { schema: self.schema });
        need(self.release.is_some(), EvidenceGap::Release);
        need(self.base.is_some(), EvidenceGap::Base);
        need(self.candidate.is_some(), EvidenceGap::Candidate);
        need(self.landed.is_some(), EvidenceGap::Landed);
        need(self.diff.is_some(), EvidenceGap::Diff);
        need(self.guardrails.is_some(), EvidenceGap::Guardrails);
        need(self.guardrails.as_ref().is_none_or(GuardrailReport::passed), EvidenceGap::Breached);
        need(self.proof.is_some(), EvidenceGap::Proof);
        need(self.proof.as_ref().is_none_or(ProofReport::accepted), EvidenceGap::Refused);
        need(!self.stages_configured.is_empty(), EvidenceGap::Stages);
        for stage in &self.stages_configured {
            let answer = self.stages.iter().rev().find(|s| s.stage == *stage).map(|s| s.answer);
            need(answer == Some(StageAnswer::Success), EvidenceGap::Stage { stage: stage.clone() });
        }
        for red in self.reds.iter().filter(|red| red.attribution == RedFault::Ours) {
            need(red.fixed_by.is_some(), EvidenceGap::Red { commit: red.commit.clone() });
        }
        need(self.effort.is_some(), EvidenceGap::Effort);
        need(self.transcript.is_some(), EvidenceGap::Transcript);
        need(self.sandbox.is_some(), EvidenceGap::Sandbox);
        if lacks.is_empty() { Ok(()) } else { Err(Missing(lacks)) }
    }
}

#[cfg(test)]
mod tests;
