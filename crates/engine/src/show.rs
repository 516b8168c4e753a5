//! What people see of a run on its issue: labels, the one comment, open or closed.
//!
//! Ensured, not logged and ticked off: what is wanted is derived from the record,
//! compared with what the tracker shows, and only the difference is written.

use afk_core::comment::{self, Closing, Progress};
use afk_core::config::Config;
use afk_core::issue::IssueChange;
use afk_core::plan::{End, TurnCause};
use afk_core::request::Asked;
use afk_core::run::{Attempt, CancelHow, IssueSeen, Run, Seen, TurnSeen};
use afk_core::steer::IN_COMMENT;

use crate::Engine;
use crate::ports::{Labels, PortResult};

/// What is wanted of an issue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wanted {
    labels: Labels,
    comment: bool,
    open: Option<bool>,
}

impl Engine {
    /// Writes what the tracker does not show yet; whether anything was written.
    pub(crate) async fn show(&self, run: &Run, config: &Config, seen: &Seen) -> PortResult<bool> {
        let started = run.ends().next().is_some()
            || matches!(seen.turn, Some(TurnSeen::Running { .. } | TurnSeen::Ended { .. }));
        let Some(seen) = &seen.issue else { return Ok(false) };
        let wanted = wanted(run, config, seen, started);
        let mut wrote = false;
        if wanted.labels != Labels::default() {
            self.ports.tracker.label(&run.issue, &wanted.labels).await?;
            wrote = true;
        }
        if wanted.comment {
            wrote |= self.comment(run, &[]).await?;
        }
        match wanted.open {
            Some(false) if seen.open => self.ports.tracker.close(&run.issue).await?,
            Some(true) if !seen.open => self.ports.tracker.reopen(&run.issue).await?,
            Some(_) | None => return Ok(wrote),
        }
        Ok(true)
    }

    /// Tells in the comment of a run that has ended what is answered to `asked`. A run that
    /// has no comment gets none for that.
    pub(crate) async fn tell(&self, run: &Run, asked: &Asked, answer: &str) -> PortResult<()> {
        let own = self.ports.tracker.own_account(&run.issue.repo).await?;
        let comments = self.ports.tracker.comments(&run.issue).await?;
        if comment::find(&comments, run.id, &own.id).is_some() {
            self.comment(run, &[(asked.clone(), answer.to_owned())]).await?;
        }
        Ok(())
    }

    /// Ensures the run's one comment, found again by its marker, with what was answered to
    /// comments and is about to be.
    async fn comment(&self, run: &Run, about: &[(Asked, String)]) -> PortResult<bool> {
        let tracker = &self.ports.tracker;
        let own = tracker.own_account(&run.issue.repo).await?;
        let requests = self.ports.store.requests(run.id).await?;
        let answered = requests.into_iter().filter_map(|request| {
            let (_, answer) = request.answered?;
            Some((request.asked, answer))
        });
        let answered: Vec<_> = answered.chain(about.iter().cloned()).collect();
        let comments = tracker.comments(&run.issue).await?;
        let text = comment::render(&Progress { told: told(run, &answered), ..progress(run) });
        match comment::find(&comments, run.id, &own.id) {
            None => tracker.comment(&run.issue, run.id, &text).await?,
            Some(shown) if comment::differs(&shown.body, &text) => {
                tracker.edit_comment(&run.issue, &shown.id, &text).await?;
            }
            Some(_) => return Ok(false),
        }
        Ok(true)
    }
}

fn wanted(run: &Run, config: &Config, seen: &IssueSeen, started: bool) -> Wanted {
    let end = run.conclusion.as_ref().map(|conclusion| conclusion.end);
    let escalated = matches!(end, Some(End::NeedsHuman | End::Frozen));
    let mut wanted = Wanted { comment: started || escalated, ..Wanted::default() };
    let label = |on: bool, name: &str, list: &mut Vec<String>| {
        if on {
            list.push(name.to_owned());
        }
    };
    let Labels { add, remove } = &mut wanted.labels;
    match end {
        None => {
            // After the thread exists: a failed dispatch leaves no phantom lock.
            label(
                started && run.cancel.is_none() && !seen.in_progress,
                &config.in_progress_label,
                add,
            );
        }
        Some(End::Done) => {
            label(seen.in_progress, &config.in_progress_label, remove);
            label(seen.ready, &config.ready_label, remove);
            wanted.open = Some(false);
        }
        Some(End::NeedsHuman | End::Frozen) => {
            label(seen.in_progress, &config.in_progress_label, remove);
            // Or it would be dispatched again.
            label(seen.ready, &config.ready_label, remove);
            label(!seen.human, &config.human_label, add);
            wanted.open = closed_by_us(seen).then_some(true);
        }
        Some(End::Released) => {
            label(seen.in_progress, &config.in_progress_label, remove);
            let taken_back = run.cancel.as_ref().is_some_and(|cancel| match cancel.how {
                CancelHow::Closed
                | CancelHow::Unreadied
                | CancelHow::Unlocked
                | CancelHow::Stopped => true,
                CancelHow::Unenrolled => false,
            });
            label(taken_back && seen.ready, &config.ready_label, remove);
        }
    }
    wanted
}

/// Whether the forge closed the issue because of our own commit.
fn closed_by_us(seen: &IssueSeen) -> bool {
    let closed = seen.events.iter().rev().find(|event| event.what == IssueChange::Closed);
    !seen.open
        && closed.and_then(|event| event.actor.as_ref()).is_some_and(|by| by.id == seen.own_account)
}

/// What the comment shows of a run.
pub fn progress(run: &Run) -> Progress {
    let closing = run.conclusion.as_ref().map(|conclusion| Closing {
        end: conclusion.end,
        why: conclusion.why.clone(),
        tried: run.attempts.iter().map(tried).collect(),
        landed: run.landed().map(|landed| landed.commit.clone()),
        output: output(run),
    });
    Progress {
        run: run.id,
        issue: run.issue.clone(),
        thread: run.turn().map(|_| run.id.thread()),
        branch: run
            .start
            .as_ref()
            .map_or_else(|| "master".to_owned(), |start| start.branch.clone()),
        phase: run.phase(),
        fix_forwards: run.fix_forwards(),
        told: Vec::new(),
        closing,
    }
}

/// What whoever asked in a comment must be told, oldest first: that it was unclear, came
/// too late, or released the issue again. What the run took it shows by what it does.
fn told(run: &Run, answered: &[(Asked, String)]) -> Vec<String> {
    let told = answered.iter().filter(|(asked, _)| {
        let taken = run.heard.iter().any(|heard| heard.asked.id == asked.id);
        asked.id.starts_with(IN_COMMENT) && !taken
    });
    told.map(|(asked, answer)| format!("{}, {}: {answer}", asked.by.login, asked.at)).collect()
}

fn tried(attempt: &Attempt) -> String {
    let what = match attempt.cause {
        TurnCause::FixForward => "fix-forward",
        TurnCause::Refused => "corrective attempt",
        TurnCause::Opening
        | TurnCause::Retry
        | TurnCause::Interrupted
        | TurnCause::LimitReset
        | TurnCause::CommitOrDiscard
        | TurnCause::Said => "attempt",
    };
    let turns = attempt.turns.len();
    let came = match (attempt.candidates.last(), &attempt.refused) {
        (_, Some(refused)) => format!("refused: {}", refused.detail),
        (Some(candidate), None) if candidate.landed_at.is_some() => {
            format!("landed as {}", candidate.commit.short())
        }
        (Some(_), None) => "a candidate that did not land".to_owned(),
        (None, None) => "no new commit".to_owned(),
    };
    format!("{what} {} ({turns} {}): {came}", attempt.n, if turns == 1 { "turn" } else { "turns" })
}

/// The end of the output that speaks against what the run did.
fn output(run: &Run) -> Option<String> {
    if run.conclusion.as_ref().is_some_and(|conclusion| conclusion.end == End::Done) {
        return None;
    }
    let refused = run.attempt().and_then(|attempt| attempt.refused.as_ref());
    let red = run.landed().and_then(|landed| landed.stages.iter().find_map(|s| s.tail.clone()));
    refused.map(|refused| refused.output.clone()).or(red).filter(|text| !text.trim().is_empty())
}
