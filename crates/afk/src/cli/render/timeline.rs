//! The journal of a run, a line for each row.

use afk_app::views::{cause, outcome};
use afk_core::ask::Answer;
use afk_core::ids::At;
use afk_core::plan::RedCause;
use afk_core::run::{
    PullSeen, PullState, ResumedHead, Start, Transition, UnfinishedWork, WorkspaceInspection,
};
use afk_engine::ports::JournalRow;

use super::phrases::{ended, verb};
use crate::cli::style::Paint;
use crate::cli::words::{between, duration, line, many, moment};

/// The line of a row: the time since `start`, and what happened.
pub(super) fn row(row: &JournalRow, start: At, paint: Paint) -> String {
    let since = format!("+{}", duration(between(start, row.at)));
    let since = paint.faint(format!("{since:>9}"));
    format!("  {since}  {}", transition(row).map_or_else(|| line(&row.kind, 60), |t| describe(&t)))
}

/// The transition of a row; none if this binary does not know it, because a newer one wrote it.
fn transition(row: &JournalRow) -> Option<Transition> {
    let inner = row.body.get("transition").filter(|inner| inner.is_object());
    serde_json::from_value(inner.unwrap_or(&row.body).clone()).ok()
}

fn goes_on(resumed: &ResumedHead) -> String {
    format!("goes on from {}, the head that run {} left", resumed.head.short(), resumed.from)
}

fn opened(start: &Start) -> String {
    let policy = if start.workflow.is_some() { ", under the repository's policy" } else { "" };
    let (branch, base) = (line(&start.branch, 60), start.base.short());
    format!("workspace created from {branch} at {base}{policy}")
}

/// What happened, in a line.
fn describe(transition: &Transition) -> String {
    match transition {
        Transition::Admitted { .. } => "admitted".to_owned(),
        Transition::Opened { start } => opened(start),
        Transition::BaseFails { why } => line(why, 200),
        Transition::Resumed { resumed } => goes_on(resumed),
        Transition::TurnBegun { cause: why, reserved, .. } => {
            format!("turn begun ({}), {reserved} reserved", cause(*why))
        }
        Transition::Reset { reset } => {
            let kept = reset.leftovers.as_ref().map(|kept| format!(", leftovers {}", kept.short()));
            format!("workspace reset to {}{}", reset.onto.short(), kept.unwrap_or_default())
        }
        Transition::TurnInterrupted { stalled: true } => "turn stopped: it had stalled".to_owned(),
        Transition::TurnInterrupted { stalled: false } => "turn stopped".to_owned(),
        Transition::TurnEnded { how, .. } => format!("turn {}", ended(how)),
        Transition::Inspected { left } => inspected(left),
        Transition::Integrated { candidate } => {
            format!("candidate {} on {}", candidate.commit.short(), candidate.base.short())
        }
        Transition::Guarded { report } if report.passed() => "guardrails passed".to_owned(),
        Transition::Guarded { report } => {
            format!("guardrails breached: {}", line(&report.to_string(), 200))
        }
        Transition::Proved { report } => {
            format!("proof: {}", line(report.to_string().lines().next().unwrap_or_default(), 200))
        }
        Transition::Refused { refused } => format!("refused: {}", line(&refused.detail, 200)),
        Transition::TryBegun => "about to be pushed to a branch of its own".to_owned(),
        Transition::TryPushed => "pushed to that branch".to_owned(),
        Transition::CandidateAnswered { stage } => {
            format!("stage {}, before landing: {}", line(&stage.name, 60), stage.answer)
        }
        Transition::BaseRed { commit } => {
            format!("the default branch fails it too, at {}", commit.short())
        }
        Transition::TryRemoved { n } => format!("the branch of candidate {n} was deleted"),
        Transition::PushBegun => "about to be pushed".to_owned(),
        Transition::NotLanded => "not found on the default branch".to_owned(),
        Transition::Found { candidate } => {
            let (commit, base) = (candidate.commit.short(), candidate.base.short());
            format!("landed as {commit} on {base}, by the agent itself")
        }
        Transition::Unpushed { branch, why, .. } => {
            format!("the push to {} did not arrive: {}", line(branch, 80), line(why, 200))
        }
        Transition::Landed { commit } => format!("landed as {}", commit.short()),
        Transition::PullBegun => "about to open a pull request".to_owned(),
        Transition::PullSeen { seen } => pull(seen),
        Transition::Adopted { commit, base, .. } => {
            format!("landed as {} on {}, merged by people", commit.short(), base.short())
        }
        Transition::StageAnswered { stage } => {
            format!("stage {}: {}", line(&stage.name, 60), stage.answer)
        }
        Transition::Attributed { cause } => match cause {
            RedCause::Ours => "the failure is the run's own".to_owned(),
            RedCause::NotOurs => "the failure is not the run's".to_owned(),
        },
        Transition::LabelsSeen { .. } => "labels seen on the issue".to_owned(),
        Transition::Cancelled { cancel } => {
            let by = cancel.by.as_ref().map(|by| format!(" by {}", line(&by.login, 40)));
            format!("cancelled{}: {}", by.unwrap_or_default(), cancel.how.sentence())
        }
        Transition::Asked { request, answer } => {
            let by = line(&request.by.login, 40);
            format!("{by} requested: {}: {}", verb(&request.what), line(answer, 200))
        }
        Transition::Questioned { asked, until } => {
            let what = if asked.question { "asks" } else { "asks for a permission" };
            format!("the agent {what}, until {}: {}", moment(*until), line(&asked.what, 200))
        }
        Transition::Answered { n, answer } => match answer {
            Answer::Allow => format!("policy allows question {n}"),
            Answer::Deny { why } | Answer::Say { text: why } => {
                format!("policy answers question {n}: {}", line(why, 200))
            }
        },
        Transition::CommentBegun => "the comment is about to be posted".to_owned(),
        Transition::CommentPosted { .. } => "the comment is on the issue".to_owned(),
        Transition::ThreadLinked { link } => {
            format!("its thread can be watched at {}", line(link, 200))
        }
        Transition::Stopping => "stopping the agent and jobs".to_owned(),
        Transition::Stopped => "the agent and jobs have stopped".to_owned(),
        Transition::Paused { .. } => "clocks stopped".to_owned(),
        Transition::SteppedAside => "others may work in the repository".to_owned(),
        Transition::TookUp { budget } => {
            format!("has the repository to itself again, with a budget of {budget}")
        }
        Transition::Unpaused => "clocks resume".to_owned(),
        Transition::Away { from, to } => {
            format!("no control plane ran for {}", duration(between(*from, *to)))
        }
        Transition::ClockSetBack => "the clock was set back".to_owned(),
        Transition::Impeded { by } => format!("impediment: {}", line(&by.sentence(), 200)),
        Transition::Unimpeded => "impediment cleared".to_owned(),
        Transition::Concluded { end, why, .. } => format!("{}: {}", outcome(*end), line(why, 200)),
        Transition::Settled => "settled: the issue is up to date".to_owned(),
    }
}

/// How a turn left the workspace.
fn inspected(left: &WorkspaceInspection) -> String {
    let head = left.head.short();
    if !left.unfinished.is_empty() {
        let what: Vec<_> = left.unfinished.iter().map(UnfinishedWork::sentence).collect();
        return format!("workspace at {head}, {}", line(&what.join(", "), 200));
    }
    if left.dirty.is_empty() {
        return format!("workspace at {head}");
    }
    format!("workspace at {head}, {} not committed", many(left.dirty.len(), "path"))
}

/// How a pull request ended.
fn pull(seen: &PullSeen) -> String {
    let state = match &seen.state {
        PullState::Open => "is open".to_owned(),
        PullState::Merged { commit } => format!("was merged as {}", commit.short()),
        PullState::Closed => "was closed".to_owned(),
        PullState::Superseded => "was superseded by another".to_owned(),
    };
    format!("the pull request {} {state}", line(&seen.link, 200))
}
