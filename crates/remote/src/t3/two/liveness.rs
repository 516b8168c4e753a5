//! The state of one of our turns in a thread of protocol 2: a total function over what was read.
//!
//! Here a turn is a run of the server, found by our message, and its status can be believed but for
//! four things: `waiting` is a step on the way to the end and waits for nobody; a server that was
//! ended calls what it lost `cancelled`, while its agents may go on working; the reason of a
//! failure is not in the run but in an item of it; and a run that was launched may fail before it
//! has begun.

use afk_core::ids::At;
use jiff::SignedDuration;

use super::wire::{Run, RunStatus, Thread};
use crate::t3::view::{Ending, Liveness};

/// How long a message may be without a run before the turn counts as never started.
const STARTS: SignedDuration = SignedDuration::from_mins(2);
/// The beginning of a failure's code that is a status of the model's API.
const API_ERROR: &str = "api_error_";

/// The run of a message: the newest if there are several.
pub(super) fn run<'a>(thread: &'a Thread, message: &str) -> Option<&'a Run> {
    thread.runs.iter().rfind(|run| run.user_message_id.as_deref() == Some(message))
}

/// Whether a run is at work or will be.
pub(super) const fn is_active(status: RunStatus) -> bool {
    match status {
        RunStatus::Preparing
        | RunStatus::Queued
        | RunStatus::Starting
        | RunStatus::Running
        | RunStatus::Waiting => true,
        RunStatus::Completed
        | RunStatus::Interrupted
        | RunStatus::Failed
        | RunStatus::Cancelled
        | RunStatus::RolledBack
        | RunStatus::Unrecognised => false,
    }
}

/// The state of the turn of `message` in `thread`, which was read at `now`.
pub(super) fn liveness(thread: &Thread, message: &str, now: At) -> Liveness {
    let Some(run) = run(thread, message) else {
        let asked = thread.messages.iter().find(|one| one.id == message && one.role == "user");
        return match asked {
            None => Liveness::Absent,
            Some(asked) if now.duration_since(asked.created_at) < STARTS => Liveness::Pending,
            Some(_) => Liveness::NeverStarted {
                why: "the server has its message, and began no run for two minutes".to_owned(),
            },
        };
    };
    match run.status {
        RunStatus::Preparing
        | RunStatus::Queued
        | RunStatus::Starting
        | RunStatus::Running
        | RunStatus::Waiting => Liveness::Busy { active: Some(run.id.clone()) },
        RunStatus::Completed => Liveness::Ended(Ending::Completed),
        RunStatus::Interrupted => Liveness::Ended(Ending::Interrupted),
        RunStatus::Failed => Liveness::Ended(failure(thread, run)),
        RunStatus::Cancelled => {
            Liveness::Ended(Ending::Restarted { at: run.completed_at.unwrap_or(run.requested_at) })
        }
        RunStatus::RolledBack => Liveness::Ended(Ending::Failed {
            why: "somebody rolled it back on the server".to_owned(),
            status: None,
        }),
        RunStatus::Unrecognised => Liveness::Unknown,
    }
}

/// The end of a run that failed, with the reason in its newest item that has one.
fn failure(thread: &Thread, run: &Run) -> Ending {
    let ours = thread.turn_items.iter().filter(|one| one.run_id.as_ref() == Some(&run.id));
    let newest = ours.filter_map(|one| one.failure.as_ref()).next_back();
    let why = newest.map(|failure| failure.message.trim()).filter(|text| !text.is_empty());
    let code = newest.and_then(|failure| failure.code.as_deref()?.strip_prefix(API_ERROR));
    Ending::Failed {
        why: why.unwrap_or("it failed, without a reason").to_owned(),
        status: code.and_then(|status| status.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn thread(runs: &[(&str, &str)], failure: Option<(&str, Option<&str>)>) -> Thread {
        let at = |second: i64| At::from_second(1_800_000_000 + second).unwrap().to_string();
        let run = |(n, (message, status)): (usize, &(&str, &str))| {
            json!({
                "id": format!("run-{n}"), "userMessageId": message, "status": status,
                "requestedAt": at(10), "completedAt": at(20),
            })
        };
        let runs: Vec<Value> = runs.iter().enumerate().map(run).collect();
        let items: Vec<Value> = failure
            .iter()
            .map(|(why, code)| {
                json!({
                    "type": "error", "runId": "run-0", "updatedAt": at(20),
                    "failure": {
                        "class": "provider_error", "message": why, "code": code, "retryable": true,
                    },
                })
            })
            .collect();
        serde_json::from_value(json!({
            "thread": { "updatedAt": at(20) }, "runs": runs, "turnItems": items,
            "messages": [{ "id": "asked", "role": "user", "createdAt": at(10) }],
        }))
        .unwrap()
    }

    #[track_caller]
    fn check(
        runs: &[(&str, &str)],
        failure: Option<(&str, Option<&str>)>,
        second: i64,
        expected: &str,
    ) {
        let now = At::from_second(1_800_000_000 + second).unwrap();
        let message = if runs.is_empty() { "asked" } else { "ours" };
        let told = match liveness(&thread(runs, failure), message, now) {
            Liveness::Absent => "absent".to_owned(),
            Liveness::Pending => "pending".to_owned(),
            Liveness::Busy { active } => format!("busy {}", active.unwrap()),
            Liveness::Ended(Ending::Failed { why, status: None }) => format!("failed: {why}"),
            Liveness::Ended(Ending::Failed { why, status: Some(status) }) => {
                format!("failed: {why}, {status}")
            }
            Liveness::Ended(how) => format!("{how:?}").split(' ').next().unwrap().to_lowercase(),
            Liveness::NeverStarted { .. } => "never started".to_owned(),
            Liveness::Unknown => "unknown".to_owned(),
        };
        assert_eq!(told, expected, "{runs:?}");
    }

    #[test]
    fn each_status_has_its_standing() {
        for status in ["preparing", "queued", "starting", "running", "waiting"] {
            check(&[("ours", status)], None, 9_000, "busy run-0");
        }
        check(&[("ours", "completed")], None, 30, "completed");
        check(&[("ours", "interrupted")], None, 30, "interrupted");
        let failed = |why, code| check(&[("ours", "failed")], Some((why, code)), 30, "failed: x");
        failed("x", None);
        failed("x", Some("of_a_later_version"));
        failed("x", Some("api_error_"));
        let limited = Some(("x", Some("api_error_429")));
        check(&[("ours", "failed")], limited, 30, "failed: x, 429");
        check(&[("ours", "failed")], None, 30, "failed: it failed, without a reason");
        check(&[("ours", "cancelled")], None, 30, "restarted");
        check(
            &[("ours", "rolled_back")],
            None,
            30,
            "failed: somebody rolled it back on the server",
        );
        check(&[("ours", "paused")], None, 30, "unknown");
    }

    #[test]
    fn another_run_does_not_speak_for_ours() {
        check(&[("other", "running")], None, 30, "absent");
        check(&[("other", "completed"), ("ours", "running")], None, 30, "busy run-1");
        check(&[("ours", "completed"), ("other", "running")], None, 30, "completed");
        // A message id that is used again starts another run.
        check(&[("ours", "completed"), ("ours", "running")], None, 30, "busy run-1");
    }

    #[test]
    fn a_message_without_a_run_is_pending_for_two_minutes() {
        check(&[], None, 129, "pending");
        check(&[], None, 130, "never started");
    }
}
