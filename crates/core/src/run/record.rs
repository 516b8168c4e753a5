//! What a pass saw, and which of it is worth recording.
//!
//! Observations are facts for one pass. The few that later passes must not lose (a turn's end, what
//! it left, a person's cancel) become transitions here, before anything is planned on them.

use serde::{Deserialize, Serialize};

use super::{
    Cancel, CancelHow, LabelsSeen, Limits, Run, Transition, TurnEnd, TurnFacts, WorkspaceInspection,
};
use crate::ask;
use crate::gates::Dispatcher;
use crate::ids::{Actor, At};
use crate::issue::{IssueChange, IssueEvent};
use crate::plan::Gates;
use crate::request::{PersonRequest, answer};
use crate::usd::Usd;

/// What one pass saw. What was not read, or could not be, is none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Observation {
    /// Everything is halted, or the switch could not be read.
    pub halted: bool,
    /// The repo is frozen, or that could not be read.
    pub frozen: bool,
    /// The issue, as the tracker shows it.
    pub issue: Option<IssueSeen>,
    /// The gates' answer, queried live.
    pub gates: Option<Gates>,
    /// The newest turn, as its executor shows it.
    pub turn: Option<TurnSeen>,
    /// Where people can watch the run's thread, as its executor reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_link: Option<String>,
    /// What the turn left in the workspace.
    pub left: Option<WorkspaceInspection>,
    /// A job that judges the candidate is alive.
    pub judging: bool,
    /// A stage is alive, or has ended and was not recorded yet.
    pub staging: bool,
    /// A turn or a job of the run is alive.
    pub alive: bool,
    /// Something other than a stage is alive.
    pub working: bool,
    /// The executor has a turn of the run at work that is no job on this machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub far: bool,
    /// People's requests that the run has not answered.
    #[serde(rename = "asked")]
    pub requests: Vec<PersonRequest>,
    /// The most that the caps of a day let its budget be; none without such a cap, or where nobody
    /// asks for another budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_room: Option<Usd>,
    /// Its repo has no table in the configuration any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dropped: bool,
    /// Why the observation broke off; everything after that is unknown. None if it was complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broke_off: Option<String>,
    /// The default branch was read, and has the newest landed commit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not", rename = "stands")]
    pub landing_confirmed: bool,
    /// Why the remote cannot be read for the push that was begun, or for what landed; none if
    /// it can, or was not tried.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "unread")]
    pub remote_unreadable: Option<String>,
}

/// The issue as a pass saw it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IssueSeen {
    /// It is open.
    pub open: bool,
    /// The ready label is on it.
    pub ready: bool,
    /// The in-progress label is on it.
    pub in_progress: bool,
    /// The label of issues handed to a person is on it.
    pub human: bool,
    /// Its repo is on the allowlist.
    pub enrolled: bool,
    /// The id of our own account on the tracker.
    pub own_account: String,
    /// Its events, oldest first.
    pub events: Vec<IssueEvent>,
}

/// A turn as its executor showed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "turn", rename_all = "snake_case")]
pub enum TurnSeen {
    /// The executor has never received it.
    Absent,
    /// The agent is at work.
    Running {
        /// When the newest event came.
        last_event_at: At,
        /// A tool call is open, so that a longer silence is allowed.
        tool_open: bool,
        /// The agent's open questions, oldest first.
        #[serde(default)]
        asks: Vec<ask::PendingQuestion>,
    },
    /// The turn is over.
    Ended {
        /// How it ended.
        how: TurnEnd,
        /// What its executor reports of it.
        facts: Box<TurnFacts>,
    },
    /// The executor cannot say how it stands.
    Unknown,
}

/// The label names that decide what an event on the issue means.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The ready label.
    pub ready: &'a str,
    /// The in-progress label.
    pub in_progress: &'a str,
}

impl Observation {
    /// The part that is kept with a journal row: without events of the issue that [`record`] of
    /// `run` ignores, because a row must not grow with the issue.
    #[must_use]
    pub fn kept(&self, run: &Run, names: Names<'_>) -> Self {
        let mut kept = self.clone();
        if let Some(issue) = &mut kept.issue {
            let own = &issue.own_account;
            let wanted: Vec<&IssueEvent> = [
                run.last_event.as_ref().filter(|last| issue.events.contains(last)),
                last_by_others(run, &issue.events, own, &|what| *what == IssueChange::Closed),
                last_by_others(run, &issue.events, own, &|what| what.removes(names.ready)),
                last_by_others(run, &issue.events, own, &|what| what.removes(names.in_progress)),
            ]
            .into_iter()
            .flatten()
            .collect();
            issue.events = wanted.into_iter().cloned().collect();
        }
        kept
    }
}

/// The transitions that `seen` adds to the record, in order.
pub fn record(
    run: &Run,
    seen: &Observation,
    names: Names<'_>,
    limits: &Limits,
    now: At,
) -> Vec<Transition> {
    let mut found = Vec::new();
    // One request at a time, because it may change how the next is answered.
    let new = |request: &&PersonRequest| {
        run.requests.iter().all(|answered| answered.request.id != request.id)
    };
    let taken = seen.requests.iter().filter(new).find_map(|request| {
        let answer = answer(run, request, seen.budget_room).ok()?;
        Some(Transition::Asked { request: request.clone(), answer })
    });
    found.extend(taken);
    if let Some(issue) = &seen.issue {
        let labels = LabelsSeen {
            ready: run.labels_seen.ready || issue.ready,
            in_progress: run.labels_seen.in_progress || issue.in_progress,
        };
        if labels != run.labels_seen {
            found.push(Transition::LabelsSeen { labels });
        }
    }
    if run.cancel.is_none() && run.conclusion.is_none() {
        let cancel = if seen.dropped {
            Some(Cancel { by: None, how: CancelHow::Unenrolled, at: now })
        } else {
            seen.issue.as_ref().and_then(|issue| cancelled(run, issue, names, now))
        };
        found.extend(cancel.map(|cancel| Transition::Cancelled { cancel }));
    }
    let stops = seen.halted || run.cancel.is_some() || run.conclusion.is_some();
    if let (Some(turn), Some(seen)) = (run.turn().filter(|turn| turn.ended.is_none()), &seen.turn) {
        let stopped = turn.interrupt.map(|interrupt| {
            if interrupt.stalled { TurnEnd::Stalled } else { TurnEnd::Interrupted }
        });
        match (seen, stopped) {
            // A turn that we stopped may end as a failure of its process: that is our doing, too.
            (
                TurnSeen::Ended {
                    how: TurnEnd::Interrupted | TurnEnd::Lost | TurnEnd::Failed { .. },
                    facts,
                },
                Some(how),
            ) => {
                found.push(Transition::TurnEnded { how, facts: facts.clone() });
            }
            (TurnSeen::Ended { how, facts }, _) => {
                found.push(Transition::TurnEnded { how: how.clone(), facts: facts.clone() });
            }
            // Stopped before it was ever started.
            (TurnSeen::Absent, Some(how)) => {
                found.push(Transition::TurnEnded { how, facts: Box::default() });
            }
            // While a run is being stopped nobody needs to answer its questions.
            (TurnSeen::Running { asks, .. }, None) if !stops => {
                let new = asks.iter().filter(|asked| turn.question(&asked.id).is_none());
                found.extend(new.map(|asked| {
                    let until = now.checked_add(limits.question).unwrap_or(At::MAX);
                    Transition::Questioned { asked: asked.clone(), until }
                }));
            }
            (TurnSeen::Absent | TurnSeen::Running { .. } | TurnSeen::Unknown, _) => {}
        }
    }
    // A link that the executor does not report in this pass stays as it is.
    let link = seen.thread_link.as_ref().filter(|link| run.thread_link.as_ref() != Some(link));
    found.extend(link.map(|link| Transition::ThreadLinked { link: link.clone() }));
    if let Some(left) = &seen.left {
        found.push(Transition::Inspected { left: left.clone() });
    }
    found
}

/// A person's cancel, if the issue's events show one.
///
/// A missing label alone never cancels: it must have been seen, be gone, and have been removed by
/// somebody else since the run was admitted.
fn cancelled(run: &Run, issue: &IssueSeen, names: Names<'_>, now: At) -> Option<Cancel> {
    let cancel = |by: Option<&Actor>, how| Some(Cancel { by: by.cloned(), how, at: now });
    // A person may run an issue of a repo that was never enrolled: only the removal counts.
    if !issue.enrolled && (run.enrolled || run.dispatcher == Dispatcher::Loop) {
        return cancel(None, CancelHow::Unenrolled);
    }
    let own = &issue.own_account;
    let last =
        |which: &dyn Fn(&IssueChange) -> bool| last_by_others(run, &issue.events, own, which);
    let closed = (!issue.open).then(|| last(&|what| *what == IssueChange::Closed)).flatten();
    if let Some(closed) = closed {
        return cancel(closed.actor.as_ref(), CancelHow::Closed);
    }
    let removed = |label: &str| last(&|what| what.removes(label));
    let unreadied = (run.labels_seen.ready && !issue.ready)
        .then(|| removed(names.ready))
        .flatten()
        .map(|event| (event, CancelHow::Unreadied));
    // A run that stepped aside takes the label off itself: that it is gone cancels nothing.
    let seen = run.labels_seen.in_progress && run.aside_since.is_none();
    let unlocked = (seen && !issue.in_progress)
        .then(|| removed(names.in_progress))
        .flatten()
        .map(|event| (event, CancelHow::Unlocked));
    let (event, how) = unreadied.or(unlocked)?;
    cancel(event.actor.as_ref(), how)
}

/// The newest event of a kind since the run was admitted that was not caused by us.
fn last_by_others<'a>(
    run: &Run,
    events: &'a [IssueEvent],
    own: &str,
    which: &dyn Fn(&IssueChange) -> bool,
) -> Option<&'a IssueEvent> {
    let by_others = |event: &&IssueEvent| event.actor.as_ref().is_none_or(|actor| actor.id != own);
    since_admission(run, events).into_iter().rev().filter(by_others).find(|e| which(&e.what))
}

/// The events since the run was admitted, by the tracker's own order and clock: ours may differ by
/// minutes.
fn since_admission<'a>(run: &Run, events: &'a [IssueEvent]) -> Vec<&'a IssueEvent> {
    let numbered = events.iter().enumerate();
    let Some(last) = &run.last_event else {
        let since = |event: &&IssueEvent| event.at >= run.admitted_at;
        return events.iter().filter(since).collect();
    };
    // A tracker that no longer shows that event answers from an old copy: events in its last
    // second may be from before the admission.
    let place = events.iter().rposition(|event| event == last).unwrap_or(events.len());
    let since = |(i, event): &(usize, &IssueEvent)| {
        event.at > last.at || (event.at == last.at && *i > place)
    };
    numbered.filter(since).map(|(_, event)| event).collect()
}
