//! The state of one of our turns in a thread of protocol 1: a total function over what was read.
//!
//! No field of these servers can be believed by itself (seen on 0.0.27, 0.0.33 and later builds).
//! `latestTurn` still shows the turn before just after a dispatch, is null for a moment at the end
//! of a turn, and stays null in a folder that is no git checkout; its `state` says completed while
//! the session runs, running after it, and completed for a turn that was interrupted. A session
//! keeps its error until the next turn begins. So the rows are, the first that fits:
//!
//! | # | shown | liveness |
//! | --- | --- | --- |
//! | 1 | our message is not there | absent |
//! | 2 | the session starts or runs, or has an active turn | busy |
//! | 3 | the session has a status that nobody knows | unknown |
//! | 4 | the start failed, after our message | never started |
//! | 5 | the latest turn is ours: completed, interrupted | ended so |
//! | 6 | ours: error | failed, or the server was restarted under it |
//! | 7 | ours: running, or a state nobody knows | ended as the session, if that stopped or failed since our message; else unknown: nothing is active |
//! | 8 | the session stopped or failed since our message | with an answer, or by a restart: ended so; else never started |
//! | 9 | another message came after ours | with an answer: completed; without: unknown |
//! | 10 | our answer is there, and the thread has been still | completed |
//! | 11 | our answer is there | unknown: the moment at the end |
//! | 12 | no sign for two minutes | never started |
//! | 13 | no sign | pending |

use afk_core::ids::At;
use jiff::SignedDuration;

use super::wire::{Activity, Message, Role, Session, SessionStatus, Thread, TurnState};
use crate::t3::view::{AtWork, Ending, Liveness};

/// How long a turn may take to show any sign.
const STARTS: SignedDuration = SignedDuration::from_mins(2);
/// How long a thread without a latest turn must have been still for its turn to be over.
const STILL: SignedDuration = SignedDuration::from_secs(5);
/// What a server's error contains when its own restart ended the turn.
const RESTARTED: &str = "did not survive a server restart";
/// Our words for a session that ended without a reason.
const STOPPED: &str = "its session was stopped";
/// The activity of a turn that could not be started.
const START_FAILED: &str = "provider.turn.start.failed";

/// Our message in a thread, and what is around it.
pub(super) struct Place<'a> {
    /// Our message.
    pub(super) asked: &'a Message,
    /// The agent's messages in answer to it.
    pub(super) said: Vec<&'a Message>,
    /// The next message of a user.
    pub(super) later: Option<&'a Message>,
    /// The ids of the turns of messages before ours.
    older: Vec<&'a str>,
}

impl<'a> Place<'a> {
    /// Finds our message by its id.
    pub(super) fn find(thread: &'a Thread, message: &str) -> Option<Self> {
        let ours = |one: &Message| one.id == message && one.role == Role::User;
        let at = thread.messages.iter().position(ours)?;
        let (before, rest) = thread.messages.split_at(at);
        let (asked, after) = rest.split_first()?;
        let end = after.iter().position(|one| one.role == Role::User).unwrap_or(after.len());
        let older: Vec<&str> = before.iter().filter_map(|one| one.turn_id.as_deref()).collect();
        let new = |one: &&Message| match &one.turn_id {
            Some(turn) => !older.contains(&turn.as_str()),
            None => false,
        };
        let said = after[..end].iter().filter(|one| one.role == Role::Assistant).filter(new);
        Some(Self { asked, said: said.collect(), later: after.get(end), older })
    }

    /// The id of our message's turn, if it is known.
    pub(super) fn turn(&self, thread: &'a Thread) -> Option<&'a str> {
        let latest = thread.latest_turn.as_ref().filter(|_| self.is_latest(thread));
        let spoke = self.said.last().and_then(|one| one.turn_id.as_deref());
        latest.map(|latest| latest.id.as_str()).or(spoke)
    }

    /// Whether the latest turn is the one of our message.
    fn is_latest(&self, thread: &Thread) -> bool {
        let Some(latest) = &thread.latest_turn else { return false };
        let asked = self.asked;
        let dated = [asked.created_at, asked.updated_at].contains(&latest.requested_at);
        let newer =
            latest.requested_at >= asked.created_at && !self.older.contains(&latest.id.as_str());
        dated || (newer && self.later.is_none())
    }
}

/// The state of the turn of `message` in `thread`, which was read at `now`.
pub(super) fn liveness(thread: &Thread, message: &str, now: At) -> Liveness {
    let Some(place) = Place::find(thread, message) else { return Liveness::Absent };
    let session = thread.session.as_ref();
    if let Some(AtWork { active }) = session.and_then(busy) {
        let turn = place.turn(thread).map(str::to_owned);
        return Liveness::Busy { active: active.or(turn) };
    }
    if session.is_some_and(|session| session.status == SessionStatus::Unrecognised) {
        return Liveness::Unknown;
    }
    let last_error = || session.and_then(|session| session.last_error.clone());
    if let Some(why) = start_failed(thread, &place) {
        // The session's error may say more, or the same.
        let more = last_error().filter(|more| *more != why);
        let why = more.map_or_else(|| why.clone(), |more| format!("{why}; {more}"));
        return Liveness::NeverStarted { why };
    }
    let closed = session.and_then(|session| closed(session, place.asked.created_at));
    let latest = thread.latest_turn.as_ref().filter(|_| place.is_latest(thread));
    match latest.map(|latest| latest.state) {
        Some(TurnState::Completed) => return Liveness::Ended(Ending::Completed),
        Some(TurnState::Interrupted) => return Liveness::Ended(Ending::Interrupted),
        Some(TurnState::Error) => {
            let why = last_error().unwrap_or_else(|| "it failed, without a reason".to_owned());
            let at = session.map_or(thread.updated_at, |one| one.updated_at);
            return Liveness::Ended(failed(why, at));
        }
        Some(TurnState::Running | TurnState::Unrecognised) => {
            return closed.map_or(Liveness::Unknown, Liveness::Ended);
        }
        None => {}
    }
    if let Some(how) = closed {
        // An agent that was starting when its server was killed may be at work all the same.
        if place.said.is_empty() && !matches!(how, Ending::Restarted { .. }) {
            let why = last_error().unwrap_or_else(|| STOPPED.to_owned());
            return Liveness::NeverStarted { why };
        }
        return Liveness::Ended(how);
    }
    let streams = place.said.iter().any(|one| one.streaming);
    let still = now.duration_since(thread.updated_at) >= STILL;
    match (place.said.is_empty(), place.later.is_some()) {
        (false, true) => Liveness::Ended(Ending::Completed),
        (true, true) => Liveness::Unknown,
        (false, false) if still && !streams => Liveness::Ended(Ending::Completed),
        (false, false) => Liveness::Unknown,
        (true, false) if now.duration_since(place.asked.created_at) >= STARTS => {
            let why = "the server accepted it and showed no sign of it for two minutes".to_owned();
            Liveness::NeverStarted { why }
        }
        (true, false) => Liveness::Pending,
    }
}

/// What a session is at work on, if it is at work.
pub(super) fn busy(session: &Session) -> Option<AtWork> {
    let active = session.active_turn_id.clone();
    match session.status {
        SessionStatus::Starting | SessionStatus::Running => Some(AtWork { active }),
        SessionStatus::Idle
        | SessionStatus::Ready
        | SessionStatus::Interrupted
        | SessionStatus::Stopped
        | SessionStatus::Error
        | SessionStatus::Unrecognised => active.map(|turn| AtWork { active: Some(turn) }),
    }
}

/// The end of a turn that failed for `why`, which may say that the server was restarted.
fn failed(why: String, at: At) -> Ending {
    if why.contains(RESTARTED) {
        Ending::Restarted { at }
    } else {
        Ending::Failed { why, status: None }
    }
}

/// How a session that is not at work ended what it did, if it stopped or failed since `asked`.
fn closed(session: &Session, asked: At) -> Option<Ending> {
    match session.status {
        _ if session.updated_at < asked => None,
        SessionStatus::Stopped => Some(Ending::Interrupted),
        SessionStatus::Error => {
            let why = session.last_error.clone().unwrap_or_else(|| STOPPED.to_owned());
            Some(failed(why, session.updated_at))
        }
        SessionStatus::Idle
        | SessionStatus::Starting
        | SessionStatus::Running
        | SessionStatus::Ready
        | SessionStatus::Interrupted
        | SessionStatus::Unrecognised => None,
    }
}

/// The server's reason if the start of our turn failed.
fn start_failed(thread: &Thread, place: &Place<'_>) -> Option<String> {
    let until = place.later.map_or(At::MAX, |later| later.created_at);
    let ours = |one: &&Activity| {
        one.kind == START_FAILED && (place.asked.created_at..until).contains(&one.created_at)
    };
    let failed = thread.activities.iter().rfind(ours)?;
    let detail = failed.payload["detail"].as_str().unwrap_or(&failed.summary);
    // The lines after the first are a stack trace of the server.
    Some(detail.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const OURS: &str = "ours";

    fn at(second: i64) -> String {
        At::from_second(1_800_000_000 + second).unwrap().to_string()
    }

    /// A thread from short texts: messages as `who turn second`, a latest turn and a session as
    /// `state turn second`, an error, and the seconds of failed starts.
    fn thread(
        messages: &[&str],
        latest: &str,
        session: &str,
        error: Option<&str>,
        failed: &[i64],
    ) -> Thread {
        let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
        let none = |text: &String| (text != "-").then(|| text.clone());
        let mut updated = 0;
        let messages: Vec<Value> = messages
            .iter()
            .map(|text| {
                let [who, turn, second] = &words(text)[..] else { panic!("{text}") };
                let second: i64 = second.parse().unwrap();
                updated = updated.max(second);
                let role = if who.starts_with("agent") { "assistant" } else { "user" };
                json!({
                    "id": who, "role": role, "text": "x", "turnId": none(turn),
                    "streaming": who == "agent-streams",
                    "createdAt": at(second), "updatedAt": at(second),
                })
            })
            .collect();
        let latest = (latest != "-").then(|| {
            let [state, turn, second] = &words(latest)[..] else { panic!("{latest}") };
            json!({ "turnId": turn, "state": state, "requestedAt": at(second.parse().unwrap()) })
        });
        let session = (session != "-").then(|| {
            let [status, turn, second] = &words(session)[..] else { panic!("{session}") };
            json!({
                "status": status, "activeTurnId": none(turn), "lastError": error,
                "updatedAt": at(second.parse().unwrap()),
            })
        });
        let activities: Vec<Value> = failed
            .iter()
            .map(|second| {
                json!({
                    "kind": START_FAILED, "payload": { "detail": "no such agent\n    at x" },
                    "createdAt": at(*second),
                })
            })
            .collect();
        serde_json::from_value(json!({
            "id": "t", "updatedAt": at(updated), "messages": messages, "latestTurn": latest,
            "session": session, "activities": activities,
        }))
        .unwrap()
    }

    #[track_caller]
    fn check(thread: &Thread, second: i64, expected: &str) {
        let now = At::from_second(1_800_000_000 + second).unwrap();
        let told = match liveness(thread, OURS, now) {
            Liveness::Absent => "absent".to_owned(),
            Liveness::Pending => "pending".to_owned(),
            Liveness::Busy { active } => format!("busy {}", active.as_deref().unwrap_or("-")),
            Liveness::Ended(Ending::Completed) => "completed".to_owned(),
            Liveness::Ended(Ending::Interrupted) => "interrupted".to_owned(),
            Liveness::Ended(Ending::Failed { why, .. }) => format!("failed: {why}"),
            Liveness::Ended(Ending::Restarted { .. }) => "restarted".to_owned(),
            Liveness::NeverStarted { why } => format!("never started: {why}"),
            Liveness::Unknown => "unknown".to_owned(),
        };
        assert_eq!(told, expected);
    }

    /// The first message of a thread is ours, from second 10.
    const FIRST: &[&str] = &["ours - 10"];
    const ANSWERED: &[&str] = &["ours - 10", "agent T 15"];
    /// Ours is the second.
    const SECOND: &[&str] = &["before - 1", "agent S 2", "ours - 10"];
    const SECOND_ANSWERED: &[&str] = &["before - 1", "agent S 2", "ours - 10", "agent T 15"];

    #[test]
    fn a_message_that_is_not_there_is_absent_whatever_else_is_shown() {
        check(&thread(&[], "-", "-", None, &[]), 20, "absent");
        check(&thread(&["before - 1"], "running S 1", "running S 1", None, &[]), 20, "absent");
        // An answer of that id is not our message.
        check(&thread(&["agent-ours T 3"], "-", "-", None, &[]), 20, "absent");
    }

    #[test]
    fn a_session_at_work_is_busy_whatever_the_turn_says() {
        for latest in ["-", "completed S 1", "running T 10", "completed T 10", "odd T 10"] {
            let busy = thread(SECOND, latest, "running T 11", None, &[]);
            check(&busy, 20, "busy T");
        }
        check(&thread(FIRST, "-", "starting - 11", None, &[]), 20, "busy -");
        // An active turn counts whatever the status is.
        check(&thread(ANSWERED, "completed T 10", "ready T 11", None, &[]), 20, "busy T");
        check(&thread(ANSWERED, "error T 10", "error T 11", Some("x"), &[]), 20, "busy T");
        // Running for good after the server was killed.
        check(&thread(FIRST, "running T 10", "running T 11", None, &[]), 90_000, "busy T");
        check(&thread(FIRST, "interrupted T 10", "running T 11", None, &[]), 90_000, "busy T");
    }

    #[test]
    fn just_after_a_dispatch_the_turn_before_means_nothing() {
        check(&thread(FIRST, "-", "-", None, &[]), 11, "pending");
        check(&thread(FIRST, "-", "ready - 11", None, &[]), 11, "pending");
        check(&thread(SECOND, "completed S 1", "ready - 3", None, &[]), 11, "pending");
        check(&thread(SECOND, "-", "ready - 11", None, &[]), 11, "pending");
        // The session still has the error of the turn before.
        check(&thread(SECOND, "error S 1", "error - 3", Some("x"), &[]), 11, "pending");
        check(&thread(SECOND, "completed S 1", "stopped - 3", None, &[2]), 11, "pending");
    }

    #[test]
    fn a_turn_without_a_sign_for_two_minutes_never_started() {
        let none = "the server accepted it and showed no sign of it for two minutes";
        for second in [FIRST, SECOND] {
            let silent = thread(second, "-", "ready - 3", None, &[]);
            check(&silent, 129, "pending");
            check(&silent, 130, &format!("never started: {none}"));
        }
    }

    #[test]
    fn a_start_that_failed_says_why() {
        check(&thread(FIRST, "-", "-", None, &[10]), 11, "never started: no such agent");
        check(&thread(FIRST, "-", "stopped - 11", None, &[11]), 12, "never started: no such agent");
        let stopped = thread(FIRST, "-", "stopped - 11", None, &[]);
        check(&stopped, 12, "never started: its session was stopped");
        let error = thread(SECOND, "completed S 1", "error - 11", Some("no program"), &[]);
        check(&error, 12, "never started: no program");
        // A start that failed before or after is another turn's.
        let other = ["ours - 10", "agent T 15", "after - 20"];
        check(&thread(&other, "-", "ready - 21", None, &[9, 20]), 30, "completed");
    }

    #[test]
    fn the_latest_turn_is_ours_by_its_time_or_by_its_id() {
        check(&thread(ANSWERED, "completed T 10", "ready - 15", None, &[]), 16, "completed");
        check(&thread(FIRST, "completed T 10", "ready - 15", None, &[]), 16, "completed");
        // 0.0.33 dates the message a moment after its request.
        check(&thread(SECOND, "completed T 11", "ready - 15", None, &[]), 16, "completed");
        check(&thread(SECOND, "completed S 11", "ready - 3", None, &[]), 16, "pending");
        check(&thread(ANSWERED, "interrupted T 10", "ready - 15", None, &[]), 16, "interrupted");
        check(
            &thread(ANSWERED, "interrupted T 10", "error - 15", Some("e"), &[]),
            16,
            "interrupted",
        );
        check(&thread(ANSWERED, "error T 10", "error - 15", Some("bad"), &[]), 16, "failed: bad");
        let no_reason = thread(ANSWERED, "error T 10", "ready - 15", None, &[]);
        check(&no_reason, 16, "failed: it failed, without a reason");
    }

    #[test]
    fn a_restart_is_told_from_a_failure() {
        let said = "Provider session did not survive a server restart. Send a new message.";
        check(&thread(FIRST, "error T 10", "error - 15", Some(said), &[]), 16, "restarted");
        // No turn was shown yet: an agent may have been starting.
        check(&thread(FIRST, "-", "error - 15", Some(said), &[]), 16, "restarted");
    }

    #[test]
    fn a_turn_that_says_running_while_nothing_is_active_is_unknown() {
        check(&thread(FIRST, "running T 10", "ready - 15", None, &[]), 16, "unknown");
        check(&thread(FIRST, "running T 10", "-", None, &[]), 9_000, "unknown");
        check(&thread(ANSWERED, "paused T 10", "ready - 15", None, &[]), 9_000, "unknown");
        // Where the session has ended since, nothing is at work.
        let failed = thread(FIRST, "running T 10", "error - 15", Some("gone"), &[]);
        check(&failed, 16, "failed: gone");
        check(&thread(FIRST, "running T 10", "stopped - 15", None, &[]), 16, "interrupted");
        check(&thread(SECOND, "running T 10", "error - 3", Some("old"), &[]), 16, "unknown");
    }

    #[test]
    fn without_a_latest_turn_an_answer_and_stillness_end_it() {
        // So it is for a moment at the end of a turn, and for good where there is no git.
        check(&thread(ANSWERED, "-", "ready - 15", None, &[]), 16, "unknown");
        check(&thread(ANSWERED, "-", "ready - 15", None, &[]), 20, "completed");
        check(&thread(SECOND_ANSWERED, "-", "ready - 15", None, &[]), 20, "completed");
        let streams = ["ours - 10", "agent-streams T 15"];
        check(&thread(&streams, "-", "ready - 15", None, &[]), 60, "unknown");
        // The answer of the turn before does not end ours.
        let late = ["before - 1", "agent S 2", "ours - 10", "agent S 12"];
        check(&thread(&late, "-", "ready - 12", None, &[]), 60, "pending");
    }

    #[test]
    fn what_came_after_ours_does_not_speak_for_it() {
        let after = ["ours - 10", "agent T 15", "after - 20", "agent U 25"];
        check(&thread(&after, "completed U 20", "ready - 25", None, &[]), 60, "completed");
        let unanswered = ["ours - 10", "after - 20", "agent U 25"];
        check(&thread(&unanswered, "completed U 20", "ready - 25", None, &[]), 60, "unknown");
        check(&thread(&after, "running U 20", "running U 25", None, &[]), 60, "busy U");
    }

    #[test]
    fn a_session_that_was_stopped_after_an_answer_was_interrupted() {
        check(&thread(ANSWERED, "-", "stopped - 16", None, &[]), 20, "interrupted");
        check(&thread(ANSWERED, "-", "error - 16", Some("gone"), &[]), 20, "failed: gone");
    }

    #[test]
    fn every_combination_has_an_answer() {
        let states = ["-", "running", "completed", "interrupted", "error", "odd"];
        let statuses =
            ["-", "idle", "starting", "running", "ready", "interrupted", "stopped", "error", "odd"];
        let mut seen = 0;
        for messages in [FIRST, ANSWERED, SECOND, SECOND_ANSWERED] {
            for (state, status) in states.iter().flat_map(|s| statuses.map(|t| (*s, t))) {
                for (turn, active) in [("S", "-"), ("T", "-"), ("T", "T")] {
                    let latest =
                        if state == "-" { "-".into() } else { format!("{state} {turn} 10") };
                    let session =
                        if status == "-" { "-".into() } else { format!("{status} {active} 12") };
                    let thread = thread(messages, &latest, &session, Some("e"), &[]);
                    let now = At::from_second(1_800_000_020).unwrap();
                    let liveness = liveness(&thread, OURS, now);
                    let works = ["starting", "running"].contains(&status)
                        || (status != "-" && active != "-");
                    // What is at work is never over, and what is not there is never at work.
                    assert_eq!(matches!(liveness, Liveness::Busy { .. }), works);
                    assert_ne!(liveness, Liveness::Absent);
                    // Nothing is concluded from a status that nobody knows.
                    assert!(works || status != "odd" || liveness == Liveness::Unknown);
                    seen += 1;
                }
            }
        }
        assert_eq!(seen, 4 * 6 * 9 * 3);
    }
}
