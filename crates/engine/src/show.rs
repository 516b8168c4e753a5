//! What people see of a run on its issue: labels, the one comment, open or closed.
//!
//! Level-triggered: the wanted state is derived from the record and compared with what the tracker
//! shows, and only the difference is written. How the comment is created exactly once is in
//! `pass::comment`.

use afk_core::comment::{self, Closing, Progress};
use afk_core::config::{Policy, Stage};
use afk_core::issue::IssueChange;
use afk_core::plan::{End, TurnCause};
use afk_core::request::PersonRequest;
use afk_core::run::{Attempt, CancelHow, EndedTurn, IssueSeen, Observation, Run, TurnSeen};
use afk_core::steer::IN_COMMENT;

use crate::Engine;
use crate::ports::{Labels, PortResult};

/// The wanted state of an issue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WantedState {
    labels: Labels,
    /// Whether the run has something to say in its comment.
    pub(crate) comment: bool,
    /// Whether the issue must be open or closed; none leaves it as it is.
    open: Option<bool>,
}

impl WantedState {
    /// The wanted state of the issue of `run`; none while the issue has not been read.
    pub(crate) fn of(run: &Run, config: &Policy, seen: &Observation) -> Option<Self> {
        // A comment shows that a turn started, even if nobody saw its end. A run that goes on from
        // an earlier head has started without any turn.
        let started = run.posted.is_some()
            || run.resumed().is_some()
            || run.ends().any(EndedTurn::started)
            || matches!(seen.turn, Some(TurnSeen::Running { .. } | TurnSeen::Ended { .. }));
        let mut wanted = wanted(run, config, seen.issue.as_ref()?, started);
        if seen.alive {
            // People who look at the repo should see that something is still at work there.
            wanted.labels.remove.retain(|label| *label != config.in_progress_label);
        }
        Some(wanted)
    }
}

impl Engine {
    /// Adds and removes labels; returns whether anything was written.
    pub(crate) async fn label(&self, run: &Run, wanted: &WantedState) -> PortResult<bool> {
        if wanted.labels == Labels::default() {
            return Ok(false);
        }
        self.ports.tracker.label(&run.issue, &wanted.labels).await.map(|()| true)
    }

    /// Closes or reopens the issue if it is not as wanted; returns whether anything was written.
    pub(crate) async fn open(
        &self,
        run: &Run,
        wanted: &WantedState,
        seen: &Observation,
    ) -> PortResult<bool> {
        let tracker = &self.ports.tracker;
        match (wanted.open, seen.issue.as_ref().is_some_and(|issue| issue.open)) {
            (Some(false), true) => tracker.close(&run.issue).await.map(|()| true),
            (Some(true), false) => tracker.reopen(&run.issue).await.map(|()| true),
            (Some(_) | None, _) => Ok(false),
        }
    }

    /// Puts the answer to `asked` into the comment of an ended run. A run without a comment gets no
    /// comment for that.
    pub(crate) async fn answer_in_comment(
        &self,
        run: &Run,
        asked: &PersonRequest,
        answer: &str,
    ) -> PortResult<()> {
        let tracker = &self.ports.tracker;
        let own = tracker.own_account(&run.issue.repo).await?;
        let comments = tracker.comments(&run.issue).await?;
        if let Some(shown) = comment::find(&comments, run.id, &own.id) {
            let text = self.comment_text(run, &[(asked.clone(), answer.to_owned())]).await?;
            if comment::differs(&shown.body, &text) {
                tracker.edit_comment(&run.issue, &shown.id, &text).await?;
            }
        }
        Ok(())
    }

    /// The text of the comment of `run`. It includes the answers to requests in comments: those in
    /// the store, and those in `about`, which are about to be given.
    pub(crate) async fn comment_text(
        &self,
        run: &Run,
        about: &[(PersonRequest, String)],
    ) -> PortResult<String> {
        let requests = self.ports.store.requests(run.id).await?;
        let answered = requests.into_iter().filter_map(|requested| {
            let (_, answer) = requested.answered?;
            Some((requested.request, answer))
        });
        let answered: Vec<_> = answered.chain(about.iter().cloned()).collect();
        let error = run.lasting_error(self.ports.clock.now());
        let (config, _) = self.ports.settings.current();
        let stages = config.stages_of(&run.issue.repo);
        let progress = progress(run, stages);
        Ok(comment::render(&Progress { error, told: answers(&answered), ..progress }))
    }
}

fn wanted(run: &Run, config: &Policy, seen: &IssueSeen, started: bool) -> WantedState {
    let end = run.conclusion.as_ref().map(|conclusion| conclusion.end);
    let escalated = end.is_some_and(End::is_handed_over);
    let mut wanted = WantedState { comment: started || escalated, ..WantedState::default() };
    let label = |on: bool, name: &str, list: &mut Vec<String>| {
        if on {
            list.push(name.to_owned());
        }
    };
    let Labels { add, remove } = &mut wanted.labels;
    match end {
        // Others may work in the repo now. A label that a person added since is that person's lock.
        None if run.aside_since.is_some() => {
            let ours = seen.in_progress && locked_by_us(seen, &config.in_progress_label);
            label(ours, &config.in_progress_label, remove);
        }
        None => {
            // Only once the thread exists, so that a failed dispatch leaves no stale lock.
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
            // With the ready label the issue would be dispatched again.
            label(seen.ready, &config.ready_label, remove);
            label(!seen.human, &config.human_label, add);
            wanted.open = closed_by_us(seen).then_some(true);
        }
        Some(End::Withdrawn) => {
            label(seen.in_progress, &config.in_progress_label, remove);
            let taken_back = run.cancel.as_ref().is_some_and(|cancel| match cancel.how {
                CancelHow::Closed
                | CancelHow::Unreadied
                | CancelHow::Unlocked
                | CancelHow::Stopped
                | CancelHow::PullClosed => true,
                CancelHow::Unenrolled => false,
            });
            label(taken_back && seen.ready, &config.ready_label, remove);
        }
    }
    wanted
}

/// Whether our own account added the in-progress label the last time that it was added.
fn locked_by_us(seen: &IssueSeen, label: &str) -> bool {
    let last = seen.events.iter().rev().find(|event| event.what.on_or_off(label) == Some(true));
    last.and_then(|event| event.actor.as_ref()).is_some_and(|by| by.id == seen.own_account)
}

/// Whether our own account closed the issue: a forge does so in its name when a commit lands.
fn closed_by_us(seen: &IssueSeen) -> bool {
    let closed = seen.events.iter().rev().find(|event| event.what == IssueChange::Closed);
    !seen.open
        && closed.and_then(|event| event.actor.as_ref()).is_some_and(|by| by.id == seen.own_account)
}

/// What the comment shows of a run whose repo configures `stages`.
fn progress(run: &Run, stages: &[Stage]) -> Progress {
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
        thread_link: run.thread_link.clone(),
        branch: run
            .start
            .as_ref()
            .map_or_else(|| "master".to_owned(), |start| start.branch.clone()),
        phase: run.phase(stages),
        deploys: run.deploys(stages),
        fix_forwards: run.fix_forwards(),
        goes_on: run.goes_on(),
        error: None,
        told: Vec::new(),
        closing,
    }
}

/// Answers to requests in comments, oldest first. People who ask in a comment are answered there,
/// whether the request was carried out or not.
fn answers(answered: &[(PersonRequest, String)]) -> Vec<String> {
    let told = answered.iter().filter(|(asked, _)| asked.id.starts_with(IN_COMMENT));
    told.map(|(asked, answer)| format!("{}, {:.0}: {answer}", asked.by.login, asked.at)).collect()
}

fn tried(attempt: &Attempt) -> String {
    let what = match attempt.cause {
        TurnCause::FixForward => "fix-forward",
        TurnCause::Refused => "corrective attempt",
        TurnCause::Opening
        | TurnCause::Retry
        | TurnCause::Interrupted
        | TurnCause::LimitReset
        | TurnCause::AgentBack
        | TurnCause::CommitOrDiscard
        | TurnCause::Said => "attempt",
    };
    let turns = attempt.turns.len();
    let from = attempt.resumed.as_ref().map(|resumed| format!(", of run {}", resumed.from));
    let from = from.unwrap_or_default();
    let came = match (attempt.candidates.last(), &attempt.refused) {
        (_, Some(refused)) => format!("refused: {}", refused.detail),
        (Some(candidate), None) if candidate.landed_at.is_some() => {
            format!("landed as {}", candidate.commit.short())
        }
        (Some(_), None) => "a candidate that did not land".to_owned(),
        (None, None) => "no new commit".to_owned(),
    };
    let plural = if turns == 1 { "turn" } else { "turns" };
    format!("{what} {} ({turns} {plural}{from}): {came}", attempt.n)
}

/// The end of the output that shows why the run failed; none for a run that is done.
fn output(run: &Run) -> Option<String> {
    if run.conclusion.as_ref().is_some_and(|conclusion| conclusion.end == End::Done) {
        return None;
    }
    let refused = run.attempt().and_then(|attempt| attempt.refused.as_ref());
    let red = run.landed().and_then(|landed| landed.stages.iter().find_map(|s| s.tail.clone()));
    refused.map(|refused| refused.output.clone()).or(red).filter(|text| !text.trim().is_empty())
}
