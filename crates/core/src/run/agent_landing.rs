//! What an agent that lands by itself brought to the default branch.
//!
//! The control plane did not push it, so it has to be found: by the trailer that names the run,
//! which the agent was told to put on every commit. What is found is recorded as landed, and
//! guarded and proved afterwards as one change, from the newest commit that holds nothing of
//! the run. Rather too much is judged than too little: see [`agent_landing`].

use std::collections::{BTreeMap, BTreeSet};

use super::{Observation, Run, TurnSeen};
use crate::checkout::{Checkout, Lands, Machine};
use crate::ids::{Oid, RunId};
use crate::message::{RUN_TRAILER, trailer};

/// A commit of the default branch.
#[derive(Debug, Clone, Copy)]
pub struct BranchCommit<'a> {
    /// Its id.
    pub id: &'a Oid,
    /// The ids of its parents, first parent first.
    pub parents: &'a [Oid],
    /// Its author: name and email address.
    pub author: &'a (String, String),
    /// Its whole message.
    pub message: &'a str,
}

/// What a run's agent brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentLanding {
    /// The commit that holds all of it.
    pub commit: Oid,
    /// The newest commit below that one that holds nothing of the run.
    pub base: Oid,
}

/// Finds the work of `run` among the commits since its start; none if it brought nothing.
///
/// `since` are the commits of `head` that the start does not have. A commit is the run's if it
/// carries the run's trailer, or if it stands below one that does and has the same author: an
/// agent that forgot a trailer is judged for that commit, too. What others landed between two
/// commits of the run cannot be told apart from them any more, and is judged with them.
pub fn agent_landing(run: RunId, head: &Oid, since: &[BranchCommit<'_>]) -> Option<AgentLanding> {
    let since: BTreeMap<&Oid, &BranchCommit<'_>> = since.iter().map(|one| (one.id, one)).collect();
    let run = run.to_string();
    let named = |one: &&&BranchCommit<'_>| trailer(one.message, RUN_TRAILER) == Some(run.as_str());
    let named: Vec<&BranchCommit<'_>> = since.values().filter(named).copied().collect();
    let authors: BTreeSet<_> = named.iter().map(|one| one.author).collect();
    let below: BTreeSet<&Oid> =
        named.iter().flat_map(|one| strictly_below(&since, one.id)).collect();
    let mut newest = named.iter().map(|one| one.id).filter(|id| !below.contains(id));
    let commit = match (newest.next(), newest.next()) {
        (None, _) => return None,
        (Some(one), None) => one,
        // Several lines of work that somebody merged: the head holds them all.
        (Some(_), Some(_)) => head,
    };
    let is_own = |id: &Oid| {
        let forgot = |one: &&BranchCommit<'_>| below.contains(id) && authors.contains(one.author);
        named.iter().any(|one| one.id == id) || since.get(id).is_some_and(forgot)
    };
    let holds_nothing =
        |id: &Oid| !is_own(id) && !strictly_below(&since, id).iter().any(|one| is_own(one));
    // Level by level, so that the nearest base wins; of two at one level, one after the start.
    let mut level: Vec<&Oid> = vec![commit];
    let mut seen = BTreeSet::new();
    while !level.is_empty() {
        let next = level.iter().filter_map(|id| since.get(*id)).flat_map(|one| one.parents);
        let next: Vec<&Oid> = next.filter(|id| seen.insert(*id)).collect();
        let clean = next.iter().filter(|id| holds_nothing(id));
        if let Some(base) = clean.max_by_key(|id| since.contains_key(**id)) {
            return Some(AgentLanding { commit: commit.clone(), base: (*base).clone() });
        }
        level = next;
    }
    None
}

/// The commits since the start that `of` stands on.
fn strictly_below<'a>(since: &BTreeMap<&'a Oid, &BranchCommit<'a>>, of: &Oid) -> BTreeSet<&'a Oid> {
    reached(since, since.get(of).map_or(&[][..], |one| one.parents))
}

/// The commits since the start that are reached from `from`, which it includes.
pub(super) fn reached<'a>(
    since: &BTreeMap<&'a Oid, &BranchCommit<'a>>,
    from: &'a [Oid],
) -> BTreeSet<&'a Oid> {
    let mut found = BTreeSet::new();
    let mut left: Vec<&Oid> = from.iter().collect();
    while let Some(id) = left.pop() {
        if let Some((id, one)) = since.get_key_value(id)
            && found.insert(*id)
        {
            left.extend(one.parents);
        }
    }
    found
}

impl Run {
    /// Where its agent works.
    pub fn checkout(&self) -> Checkout {
        self.start.as_ref().map_or(Checkout::Ours, |start| start.checkout)
    }

    /// Whether its agent puts its work on the default branch by itself.
    pub fn agent_lands(&self) -> bool {
        match self.checkout().lands() {
            Lands::Agent => true,
            Lands::ControlPlane => false,
        }
    }

    /// Whether the agents of its repo work elsewhere by now than its own agent: in such a
    /// `checkout`, on such a `machine`. Their executor does not know the run's turns, and can stop
    /// none.
    pub fn is_elsewhere(&self, checkout: Checkout, machine: &Machine) -> bool {
        let begun = self.start.as_ref().and_then(|start| start.machine.as_ref());
        begun.is_some_and(|begun| begun != machine)
            || (self.agent_lands() && self.checkout() != checkout)
    }

    /// The reason why nobody can be asked about its agent, if [`Self::is_elsewhere`], and what
    /// helps.
    pub fn out_of_reach(&self) -> String {
        let begun_with = match self.start.as_ref().and_then(|start| start.machine.as_ref()) {
            Some(Machine::Far { executor }) => format!(" ({executor})"),
            Some(Machine::This) => " (an agent on this machine)".to_owned(),
            None => String::new(),
        };
        format!(
            "{} does not name the executor any more that this run was begun with{begun_with}, so \
             that nobody knows whether its agent is at work: let the repo name it again until the \
             run has ended",
            self.issue.repo
        )
    }

    /// Whether the newest turn of an agent that lands by itself may have brought something, and
    /// the default branch was not read for it since. While the turn runs, that is not asked.
    pub(super) fn branch_unread(&self, seen: &Observation) -> bool {
        let Some(turn) = self.turn().filter(|turn| turn.read_at.is_none()) else { return false };
        let begun = match (&turn.ended, &seen.turn) {
            (Some(_), _) | (None, Some(TurnSeen::Unknown | TurnSeen::Ended { .. }) | None) => true,
            (None, Some(TurnSeen::Absent | TurnSeen::Running { .. })) => false,
        };
        self.agent_lands() && begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A commit as `id: parents: mark`, where the mark is `own` with the trailer, `forgot` with
    /// the agent's author alone, and else somebody's.
    fn commit(text: &str) -> (Oid, Vec<Oid>, (String, String), String) {
        let mut parts = text.split(':').map(str::trim);
        let mut next = || parts.next().unwrap_or_default();
        let (id, parents, mark) = (next(), next(), next());
        let author = if mark.is_empty() { "somebody" } else { "agent" };
        let message = if mark == "own" {
            format!("Work\n\n{RUN_TRAILER}: {}\n", run())
        } else {
            "Work\n".to_owned()
        };
        let parents = parents.chars().map(oid).collect();
        (oid(id.chars().next().unwrap()), parents, (author.to_owned(), String::new()), message)
    }

    fn oid(digit: char) -> Oid {
        digit.to_string().repeat(40).parse().unwrap()
    }

    fn run() -> RunId {
        RunId::new(uuid::Uuid::from_u128(7))
    }

    #[test]
    fn the_work_of_a_run_is_one_change_on_what_others_landed() {
        // 0 is the start. Expected are the found commit and its base.
        let check = |commits: &[&str], expected: &str| {
            let commits: Vec<_> = commits.iter().map(|text| commit(text)).collect();
            let pushed = commits.iter().map(|(id, parents, author, message)| BranchCommit {
                id,
                parents,
                author,
                message,
            });
            let pushed: Vec<_> = pushed.collect();
            let found = agent_landing(run(), &commits[0].0, &pushed);
            let found = found.map(|one| {
                [one.commit.short(), one.base.short()].map(|id| id[..1].to_owned()).concat()
            });
            assert_eq!(found.unwrap_or_default(), expected, "{commits:?}");
        };
        // Nothing is the run's.
        check(&["1: 0:"], "");
        check(&["1: 0: forgot"], "");
        // One commit on top of the other, with somebody else's below and above.
        check(&["1: 0: own"], "10");
        check(&["2: 1: own", "1: 0: own"], "20");
        check(&["3: 2:", "2: 1: own", "1: 0:"], "21");
        // A trailer was forgotten between, and below.
        check(&["3: 2: own", "2: 1: forgot", "1: 0: own"], "30");
        check(&["3: 2: own", "2: 1: forgot", "1: 0:"], "31");
        // Merged with what others landed, whichever parent comes first.
        check(&["3: 12: own", "2: 0:", "1: 0: own"], "32");
        check(&["3: 21: own", "2: 0:", "1: 0: own"], "32");
        check(&["4: 3: own", "3: 12: own", "2: 0:", "1: 0: own"], "42");
        // The merge itself carries no trailer: what it holds is found.
        check(&["3: 21:", "2: 0:", "1: 0: own"], "10");
        // Pushed twice, with somebody else's between: judged as one.
        check(&["3: 2: own", "2: 1:", "1: 0: own"], "30");
        // Two lines that somebody merged.
        check(&["3: 12:", "2: 0: own", "1: 0: own"], "30");
    }
}
