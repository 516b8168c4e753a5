//! What a repo may set for its own runs, and how it is combined with the operator's configuration.
//!
//! Keys have the same names as in the configuration. Each takes the stricter of the two values: the
//! smaller number, the union of lists, the safe side of a switch. What would loosen is ignored and
//! reported. No key names a command, a path of this machine, a credential or a person.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::config::{Mistake, Policy, Repo};
use crate::network::AgentNetwork;
use crate::proof::{RedMeans, RequireRedProof};
use crate::shared::Shared;
use crate::usd::Usd;

/// The front matter of the workflow file. A missing key changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepoPolicy {
    /// Budget of one run, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_usd: Option<Usd>,
    /// Refusals before landing after which a run escalates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landing_refusals_max: Option<u32>,
    /// Maximum number of corrective turns on a red landed commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix_forward_max_attempts: Option<u32>,
    /// Seconds after the first red verdict in which corrective turns may begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix_forward_max_seconds: Option<u64>,
    /// Maximum number of consecutive retries of a failed turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executor_retries_max: Option<u32>,
    /// Time limit of a run, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_timeout_seconds: Option<u64>,
    /// Time limit of one run of `verify`, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify_timeout_seconds: Option<u64>,
    /// What a change must never contain.
    #[serde(skip_serializing_if = "is_default")]
    pub guardrails: RepoGuardrails,
    /// How a change must be proved.
    #[serde(skip_serializing_if = "is_default")]
    pub proof: RepoProof,
    /// What processes may reach on the network.
    #[serde(skip_serializing_if = "is_default")]
    pub network: RepoNetwork,
}

/// The `[guardrails]` table of the front matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepoGuardrails {
    /// Maximum size of a file in a change, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_file_bytes: Option<u64>,
    /// Maximum number of lines that a change adds and removes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_diff_lines: Option<u64>,
    /// Maximum number of bytes that a change adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_diff_bytes: Option<u64>,
    /// Maximum number of files that a change touches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_files: Option<u64>,
    /// Patterns of further paths that a change may not touch. They only deny: further *protected*
    /// paths could exempt code from its proof.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

/// The `[proof]` table of the front matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepoProof {
    /// What a failing test must look like without the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub red: Option<RedMeans>,
    /// When a change must be seen to fail without its code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_red_proof: Option<RequireRedProof>,
    /// Whether a change may touch protected paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_protected: Option<bool>,
    /// Whether a change may delete test files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_deleted_tests: Option<bool>,
}

/// The `[network]` table of the front matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepoNetwork {
    /// What the agent may reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentNetwork>,
    /// Whether verify and proof may use the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
    /// Whether command stages may use the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stages: Option<bool>,
}

/// A configuration tightened by a repo's policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Tightened {
    /// The general part.
    pub config: Policy,
    /// The repo's own part.
    pub repo: Shared<Repo>,
    /// What the policy asked for in vain, a sentence each.
    pub ignored: Vec<String>,
}

/// Returns `config` and `repo` with the stricter of each value and the one in `policy`.
pub fn tighten(config: &Policy, repo: &Shared<Repo>, policy: &RepoPolicy) -> Tightened {
    let RepoPolicy {
        budget_usd,
        landing_refusals_max,
        fix_forward_max_attempts,
        fix_forward_max_seconds,
        executor_retries_max,
        run_timeout_seconds,
        verify_timeout_seconds,
        guardrails,
        proof,
        network,
    } = policy;
    let mut out = Tightened { config: config.clone(), repo: repo.clone(), ignored: Vec::new() };
    let Tightened { config, repo, ignored } = &mut out;
    let repo: &mut Repo = repo;

    let mut budget = config.budget(repo);
    least(ignored, "budget_usd", &mut budget, *budget_usd);
    repo.budget_usd = Some(budget);
    least(ignored, "landing_refusals_max", &mut config.landing_refusals_max, *landing_refusals_max);
    let fixes = &mut config.fix_forward_max_attempts;
    least(ignored, "fix_forward_max_attempts", fixes, *fix_forward_max_attempts);
    let clock = &mut config.fix_forward_max_seconds;
    least(ignored, "fix_forward_max_seconds", clock, *fix_forward_max_seconds);
    let retries = &mut config.executor_retries_max;
    least(ignored, "executor_retries_max", retries, *executor_retries_max);
    least(ignored, "run_timeout_seconds", &mut config.run_timeout_seconds, *run_timeout_seconds);
    let verify = &mut repo.verify_timeout_seconds;
    least(ignored, "verify_timeout_seconds", verify, *verify_timeout_seconds);

    let RepoGuardrails { max_file_bytes, max_diff_lines, max_diff_bytes, max_files, deny } =
        guardrails;
    let ours = &mut repo.guardrails;
    least(ignored, "guardrails.max_file_bytes", &mut ours.max_file_bytes, *max_file_bytes);
    least(ignored, "guardrails.max_diff_lines", &mut ours.max_diff_lines, *max_diff_lines);
    least(ignored, "guardrails.max_diff_bytes", &mut ours.max_diff_bytes, *max_diff_bytes);
    least(ignored, "guardrails.max_files", &mut ours.max_files, *max_files);
    for pattern in deny {
        if !ours.deny.contains(pattern) {
            ours.deny.push(pattern.clone());
        }
    }

    let RepoProof { red, require_red_proof, allow_protected, allow_deleted_tests } = proof;
    let ours = &mut repo.proof;
    let strictness = |red: RedMeans| match red {
        RedMeans::Any => 0_u8,
        RedMeans::Assertion => 1,
    };
    most(ignored, "proof.red", &mut ours.red, *red, strictness);
    let strictness = |when: RequireRedProof| match when {
        RequireRedProof::Never => 0_u8,
        RequireRedProof::WhenCodeChanges => 1,
        RequireRedProof::Always => 2,
    };
    let when = &mut ours.require_red_proof;
    most(ignored, "proof.require_red_proof", when, *require_red_proof, strictness);
    least(ignored, "proof.allow_protected", &mut ours.allow_protected, *allow_protected);
    let deleted = &mut ours.allow_deleted_tests;
    least(ignored, "proof.allow_deleted_tests", deleted, *allow_deleted_tests);

    let RepoNetwork { agent, verify, stages } = network;
    let ours = &mut repo.network;
    if let Some(theirs) = agent {
        if !ours.agent.covers(theirs) {
            let ours = &ours.agent;
            ignored.push(format!("network.agent = {theirs} would loosen the configured {ours}"));
        }
        // Of two lists that overlap, what both allow is left.
        ours.agent = ours.agent.narrowed(theirs);
    }
    least(ignored, "network.verify", &mut ours.verify, *verify);
    least(ignored, "network.stages", &mut ours.stages, *stages);
    out
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Tightened {
    /// Why configuration and policy contradict each other; empty if they do not.
    pub fn mistakes(&self) -> Vec<Mistake> {
        self.repo.mistakes()
    }
}

/// The smaller of the two; `false` is smaller than `true`, and every switch here permits something.
fn least<T: Ord + Copy + Display>(
    ignored: &mut Vec<String>,
    key: &str,
    ours: &mut T,
    theirs: Option<T>,
) {
    match theirs {
        Some(theirs) if theirs > *ours => {
            ignored.push(format!("{key} = {theirs} would loosen the configured {ours}"));
        }
        Some(theirs) => *ours = theirs,
        None => {}
    }
}

/// The stricter of the two.
fn most<T: Copy + Serialize>(
    ignored: &mut Vec<String>,
    key: &str,
    ours: &mut T,
    theirs: Option<T>,
    strictness: impl Fn(T) -> u8,
) {
    match theirs {
        Some(theirs) if strictness(theirs) < strictness(*ours) => {
            let word = |value: T| serde_json::to_string(&value).unwrap_or_default();
            let (theirs, ours) = (word(theirs), word(*ours));
            ignored.push(format!("{key} = {theirs} would loosen the configured {ours}"));
        }
        Some(theirs) => *ours = theirs,
        None => {}
    }
}
