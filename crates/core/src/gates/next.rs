//! The next step of dispatch: what to read, or which issues to admit.
//!
//! The tick calls this in a loop: it returns [`DispatchStep::Look`] until it knows enough. Remote
//! facts are only read for the most urgent remaining issue of each repo, and only if there is room
//! for it, so that a long queue behind a closed gate costs nothing. One pass over the candidates,
//! without sorting.

use std::collections::HashMap;
use std::hash::BuildHasher;

use serde::{Deserialize, Serialize};

use super::check::{Case, Standing};
use super::facts::{DispatchPolicy, Dispatcher, Fleet, RemoteFacts};
use crate::ids::{IssueRef, RepoName};
use crate::issue::Issue;
use crate::priority::priority;

/// An issue's place in the queue; the lowest is dispatched first. Total, and different for any two
/// issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank<'a> {
    /// Whether it has no priority: it comes after all that have one.
    unranked: bool,
    priority: i64,
    number: u64,
    repo: &'a RepoName,
}

impl<'a> Rank<'a> {
    /// The place of an issue with these labels.
    pub fn new(issue: &'a IssueRef, labels: &[String], default_priority: Option<i64>) -> Self {
        let priority = priority(labels).or(default_priority);
        Self {
            unranked: priority.is_none(),
            priority: priority.unwrap_or(0),
            number: issue.number,
            repo: &issue.repo,
        }
    }
}

/// The next step of dispatch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DispatchStep {
    /// Read the remote facts of these issues, then call again.
    Look(Vec<IssueRef>),
    /// Admit these issues, in this order: each passes every gate.
    Admit(Vec<IssueRef>),
    /// Nothing can be dispatched.
    Nothing,
}

/// Decides the loop's next step over the open, ready issues of all repos.
///
/// The result does not depend on the order of `candidates`. `remote` holds what was read in this
/// tick; a fact that could not be read is in it as unreadable, so that a remote that does not
/// answer only holds up its own issue.
pub fn next<S: BuildHasher>(
    policy: &DispatchPolicy,
    fleet: &Fleet,
    candidates: &[Issue],
    remote: &HashMap<IssueRef, RemoteFacts, S>,
) -> DispatchStep {
    let mut heads = heads(policy, fleet, candidates, remote);
    heads.sort_unstable_by_key(|head| head.rank);

    let mut slots = policy.max_concurrent_runs.saturating_sub(fleet.busy_repos);
    let mut money = fleet.spend_left;
    let (mut look, mut admit) = (Vec::new(), Vec::new());
    for head in heads {
        if slots == 0 {
            break;
        }
        if let Some(left) = &mut money {
            // Issues earlier in the queue have taken their budgets already.
            let Some(rest) = left.checked_sub(head.budget) else { continue };
            *left = rest;
        }
        slots -= 1;
        let list = if head.known { &mut admit } else { &mut look };
        list.push(head.issue.clone());
    }
    if !look.is_empty() {
        DispatchStep::Look(look)
    } else if !admit.is_empty() {
        DispatchStep::Admit(admit)
    } else {
        DispatchStep::Nothing
    }
}

/// The most urgent issue of a repo that no gate is known to refuse.
struct Head<'a> {
    rank: Rank<'a>,
    issue: &'a IssueRef,
    budget: u64,
    /// Whether its remote facts are known and it passes every gate.
    known: bool,
}

fn heads<'a, S: BuildHasher>(
    policy: &DispatchPolicy,
    fleet: &Fleet,
    candidates: &'a [Issue],
    remote: &HashMap<IssueRef, RemoteFacts, S>,
) -> Vec<Head<'a>> {
    let mut places: HashMap<&RepoName, usize> = HashMap::new();
    // By position: the case of a repo that passes locally, and its head so far.
    let mut repos: Vec<Option<(Case<'_>, Option<Head<'a>>)>> = Vec::new();
    let mut last: Option<(&RepoName, usize)> = None;

    for candidate in candidates.iter().filter(|issue| issue.open) {
        let repo = &candidate.issue.repo;
        // Trackers list by repo, so the last position is usually the right one.
        let place = match last {
            Some((name, place)) if name == repo => place,
            Some(_) | None => *places.entry(repo).or_insert_with(|| {
                let facts = fleet.repos.get(repo);
                let dispatcher = Dispatcher::Loop;
                let case = Case { policy, fleet, dispatcher, repo: facts, remote: None };
                let refused = case.standing() == Standing::Refused;
                repos.push((!refused).then_some((case, None)));
                repos.len() - 1
            }),
        };
        last = Some((repo, place));

        let Some((case, head)) = &mut repos[place] else { continue };
        let rank = Rank::new(&candidate.issue, &candidate.labels, policy.default_priority);
        if head.as_ref().is_some_and(|head| head.rank <= rank) {
            continue;
        }
        let facts = if remote.is_empty() { None } else { remote.get(&candidate.issue) };
        let known = match (Case { remote: facts, ..*case }).standing() {
            Standing::Refused => continue,
            Standing::Open => false,
            Standing::Eligible => facts.is_some(),
        };
        let budget = case.repo.map_or(0, |repo| repo.run_budget);
        *head = Some(Head { rank, issue: &candidate.issue, budget, known });
    }
    repos.into_iter().flatten().filter_map(|(_, head)| head).collect()
}
