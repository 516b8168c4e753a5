//! Why an issue is or is not dispatched: every gate's answer, for people and the API.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::check::{Case, Gate, GateVerdict, HALTED, PAUSED};
use super::facts::{DispatchPolicy, Dispatcher, Fleet, RemoteFacts};
use crate::ids::IssueRef;
use crate::issue::Issue;
use crate::priority::priority;
use crate::text::{Dropped, clean, clean_markdown};

/// One gate's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateResult {
    /// Which gate.
    pub gate: Gate,
    /// Its answer.
    pub verdict: GateVerdict,
    /// Why, and how to fix it.
    pub why: String,
}

/// Every gate's answer for one issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The issue.
    pub issue: IssueRef,
    /// Whether it is open; a closed issue is never dispatched, whatever the gates say.
    pub open: bool,
    /// Its priority, its own or the default.
    pub priority: Option<i64>,
    /// Every gate, in order.
    pub gates: Vec<GateResult>,
    /// What people cannot see in its title and body, most of which is hidden from the agent.
    pub dropped: Vec<Dropped>,
    /// What its run would go on from, in a sentence, if it was released by a retry and an ended run
    /// left something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goes_on: Option<String>,
}

impl GateResult {
    /// The name of what answered: a halt or a pause also closes the gate of the kill switch.
    pub fn name(&self) -> String {
        let closed_by = |what| self.gate == Gate::KillSwitch && self.why.starts_with(what);
        if closed_by(HALTED) {
            "halt".to_owned()
        } else if closed_by(PAUSED) {
            "pause".to_owned()
        } else {
            self.gate.to_string()
        }
    }
}

impl Explanation {
    /// Whether it would be dispatched if it were first in the queue.
    pub fn eligible(&self) -> bool {
        self.open && self.gates.iter().all(|gate| gate.verdict == GateVerdict::Passed)
    }

    /// The gates that refuse it, or could not be decided.
    pub fn refusals(&self) -> impl Iterator<Item = &GateResult> {
        self.gates.iter().filter(|gate| match gate.verdict {
            GateVerdict::Failed | GateVerdict::Unknown => true,
            GateVerdict::Passed | GateVerdict::NotAsked => false,
        })
    }
}

/// Queries all gates for one issue. Without `remote`, a gate that needs it answers
/// [`GateVerdict::NotAsked`].
pub fn explain(
    policy: &DispatchPolicy,
    fleet: &Fleet,
    dispatcher: Dispatcher,
    issue: &Issue,
    remote: Option<&RemoteFacts>,
) -> Explanation {
    let repo = fleet.repos.get(&issue.issue.repo);
    let case = Case { policy, fleet, dispatcher, repo, remote };
    let ask = |gate| {
        let finding = case.query(gate);
        GateResult { gate, verdict: finding.verdict, why: finding.why.to_string() }
    };
    let mut dropped = clean(&issue.title).dropped;
    dropped.extend(clean_markdown(&issue.body).dropped);
    Explanation {
        issue: issue.issue.clone(),
        open: issue.open,
        priority: priority(&issue.labels).or(policy.default_priority),
        gates: Gate::ALL.map(ask).into(),
        dropped,
        goes_on: None,
    }
}

/// Whether to look at `issue` again soon although the tracker may report no change: a gate could
/// not be decided, or one refuses that opens by something done here, not in the tracker.
pub fn look_again(
    policy: &DispatchPolicy,
    fleet: &Fleet,
    issue: &IssueRef,
    remote: Option<&RemoteFacts>,
) -> bool {
    let repo = fleet.repos.get(&issue.repo);
    let case = Case { policy, fleet, dispatcher: Dispatcher::Loop, repo, remote };
    let may_pass_soon = |gate| match gate {
        Gate::KillSwitch | Gate::Freeze | Gate::Machine => true,
        Gate::Allowlist
        | Gate::RepoLock
        | Gate::Capacity
        | Gate::Trust
        | Gate::Blockers
        | Gate::BaseHealth => false,
    };
    Gate::ALL.into_iter().any(|gate| match case.query(gate).verdict {
        GateVerdict::Unknown => true,
        GateVerdict::Failed => may_pass_soon(gate),
        GateVerdict::Passed | GateVerdict::NotAsked => false,
    })
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.eligible() { "would be dispatched" } else { "is not dispatched" };
        write!(f, "{} {word} (", self.issue)?;
        match self.priority {
            Some(priority) => write!(f, "priority {priority}")?,
            None => f.write_str("no priority")?,
        }
        writeln!(f, "{})", if self.open { "" } else { ", closed" })?;
        for GateResult { gate, verdict, why } in &self.gates {
            writeln!(f, "  {verdict:<9}  {gate:<11}  {why}")?;
        }
        if let Some(goes_on) = &self.goes_on {
            writeln!(f, "  {goes_on}")?;
        }
        for dropped in &self.dropped {
            let what =
                if dropped.kind.stays() { "not shown on a page" } else { "hidden from the agent" };
            writeln!(f, "  {what}: {dropped}")?;
        }
        Ok(())
    }
}
