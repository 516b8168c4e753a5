//! What a thread of protocol 1 shows of one of our turns, besides its state.

use std::collections::BTreeSet;

use afk_core::ask::PendingQuestion;
use afk_core::ids::At;
use afk_core::spend::Usage;
use serde_json::{Value, json};

use super::liveness::{Place, busy, liveness};
use super::wire::{Activity, Role, Thread};
use crate::t3::transcript::{TranscriptEntry, sorted};
use crate::t3::view::{AtWork, Liveness, PendingAsk, View};

/// How many characters of a detail some versions keep, and what they put in place of the rest.
const DETAIL: usize = 180;
const CUT: &str = "...";

/// The assumed size of the model's context, in tokens, where the server does not say how much of it
/// was used.
const WINDOW: u64 = 200_000;

/// What `thread`, which was read at `now`, shows of the turn of `message`.
pub(in crate::t3) fn view(thread: &Thread, message: &str, now: At) -> View {
    let Some(place) = Place::find(thread, message) else { return View::absent() };
    let liveness = liveness(thread, message, now);
    let turn = place.turn(thread);
    let ours = |one: &&Activity| turn.is_some() && one.turn_id.as_deref() == turn;
    let activities: Vec<&Activity> = thread.activities.iter().filter(ours).collect();
    let said = place.said.iter().rev().map(|one| one.text.trim()).find(|text| !text.is_empty());
    let at_work = matches!(liveness, Liveness::Busy { .. });
    let tools = activities.iter().filter(|one| one.kind == "tool.completed").count();
    let answers = u64::try_from(place.said.len() + tools).unwrap_or(u64::MAX);
    View {
        began: place.asked.created_at,
        last: thread.updated_at,
        said: said.map(str::to_owned),
        tool_open: at_work && tool_open(&activities),
        asks: if at_work { open_asks(&activities) } else { Vec::new() },
        tokens: tokens(&activities),
        usage: Some(usage(&activities, answers)),
        answers,
        entries: entries(&place, &activities),
        liveness,
    }
}

/// The ids of the messages that users sent to the thread, oldest first.
pub(in crate::t3) fn asked(thread: &Thread) -> Vec<&str> {
    let users = thread.messages.iter().filter(|one| one.role == Role::User);
    users.map(|one| one.id.as_str()).collect()
}

/// What is at work in the thread, if anything is.
pub(in crate::t3) fn at_work(thread: &Thread) -> Option<AtWork> {
    busy(thread.session.as_ref()?)
}

/// Whether the thread is in the archive.
pub(in crate::t3) fn is_archived(thread: &Thread) -> bool {
    thread.archived_at.is_some()
}

/// Whether the thread was deleted.
pub(in crate::t3) fn is_deleted(thread: &Thread) -> bool {
    thread.deleted_at.is_some()
}

/// Whether the newest entry about a tool is not of its end.
fn tool_open(activities: &[&Activity]) -> bool {
    let tools = activities.iter().filter(|one| one.kind.starts_with("tool."));
    // Entries of the same time come in any order: the end of a tool is taken for the last.
    let last = tools.max_by_key(|one| (one.created_at, one.kind == "tool.completed"));
    last.is_some_and(|one| one.kind != "tool.completed")
}

/// The requests that wait for an answer, oldest first. A request to which the server could not
/// deliver an answer is not open any more.
fn open_asks(activities: &[&Activity]) -> Vec<PendingAsk> {
    let is_end =
        |one: &&&Activity| one.kind.ends_with(".resolved") || one.kind.ends_with(".respond.failed");
    let closed: BTreeSet<&str> = activities
        .iter()
        .filter(is_end)
        .filter_map(|one| one.payload["requestId"].as_str())
        .collect();
    let mut open: Vec<PendingAsk> = activities
        .iter()
        .filter(|one| ["approval.requested", "user-input.requested"].contains(&one.kind.as_str()))
        .filter_map(|one| ask(one))
        .filter(|ask| !closed.contains(ask.asked.id.as_str()))
        .collect();
    open.sort_by_key(|ask| ask.asked.since);
    open
}

fn ask(activity: &Activity) -> Option<PendingAsk> {
    let payload = &activity.payload;
    let id = payload["requestId"].as_str()?.to_owned();
    let questions = payload["questions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let question = activity.kind == "user-input.requested";
    let what = if question {
        questions.iter().map(words).collect::<Vec<_>>().join("; ")
    } else {
        payload["detail"].as_str().unwrap_or(&activity.summary).to_owned()
    };
    let ids = questions.iter().filter_map(|one| one["id"].as_str().map(str::to_owned));
    let mut asked = PendingQuestion::new(id, question, &what, activity.created_at);
    asked.cut |= !question && what.ends_with(CUT) && what.chars().count() >= DETAIL;
    Some(PendingAsk { asked, questions: ids.collect() })
}

/// A question with its choices.
fn words(question: &Value) -> String {
    let text = question["question"].as_str().unwrap_or_default();
    let options = question["options"].as_array().map(Vec::as_slice).unwrap_or_default();
    let labels: Vec<&str> = options.iter().filter_map(|one| one["label"].as_str()).collect();
    if labels.is_empty() { text.to_owned() } else { format!("{text} ({})", labels.join(", ")) }
}

/// The largest of the server's counts of that name.
fn counted(activities: &[&Activity], name: &str) -> Option<u64> {
    let counted = activities.iter().filter(|one| one.kind == "context-window.updated");
    counted.filter_map(|one| one.payload[name].as_u64()).max()
}

/// The tokens that people see: into the model, and out of it.
fn tokens(activities: &[&Activity]) -> (u64, u64) {
    let of = |name: &str| counted(activities, name);
    let input = of("inputTokens").or_else(|| of("usedTokens"));
    (input.unwrap_or(0), of("outputTokens").unwrap_or(0))
}

/// An estimate of the usage, on the high side. 0.0.27 adds up the tokens in and out. Later versions
/// tell only the size of the last context: the estimate is that the model read so much for each
/// answer, from the cache but for the first time, when it was written there. Some of it is the
/// model's own output, nobody says how much.
fn usage(activities: &[&Activity], answers: u64) -> Usage {
    let of = |name: &str| counted(activities, name);
    let output = of("outputTokens");
    if let (Some(input), Some(output)) = (of("inputTokens"), output) {
        return Usage { input, output, ..Usage::default() };
    }
    // If only the output was counted, `usedTokens` is that, and not the size of the context.
    let window = of("usedTokens").filter(|used| Some(*used) != output).unwrap_or(WINDOW);
    Usage {
        input: 0,
        output: output.unwrap_or(window),
        cache_read: window.saturating_mul(answers.saturating_sub(1)),
        cache_write: window,
    }
}

/// What was said and done, oldest first. A tool is shown once it has ended, since later versions
/// then take back the entries about its progress.
fn entries(place: &Place<'_>, activities: &[&Activity]) -> Vec<TranscriptEntry> {
    let said = place
        .said
        .iter()
        .map(|one| TranscriptEntry::said(one.created_at, &one.id, &one.text, !one.streaming));
    let done = activities.iter().map(|one| {
        let (at, id) = (one.created_at, one.id.as_str());
        let detail = one.payload["detail"].as_str().unwrap_or_default();
        match one.kind.as_str() {
            "tool.completed" => {
                let failed = one.payload["data"]["result"]["is_error"].as_bool();
                TranscriptEntry::used(at, id, (&one.summary, detail), failed, true)
            }
            kind => {
                let note = json!({ "kind": kind, "summary": one.summary, "payload": one.payload });
                let passing = ["tool.updated", "context-window.updated"].contains(&kind);
                TranscriptEntry::noted(at, id, &note, !passing)
            }
        }
    });
    sorted(said.chain(done).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_not_there_whole_is_known_to_be_cut() {
        let check = |detail: &str, cut| {
            let activity = json!({
                "kind": "approval.requested", "createdAt": "2026-11-28T10:00:00Z",
                "payload": { "requestId": "r", "requestKind": "command", "detail": detail },
            });
            let asked = ask(&serde_json::from_value(activity).unwrap()).unwrap().asked;
            assert_eq!((asked.what.as_str(), asked.cut), (detail, cut));
        };
        check("Bash: go test ./...", false);
        let long = format!("Bash: {}; rm -rf /", "x".repeat(2_000));
        check(&long, false);
        // Cut as the server does it.
        check(&format!("{}...", &long[..177]), true);
    }

    #[track_caller]
    fn check(counted: &[Value], answers: u64, expected: (u64, u64, u64, u64)) {
        let counted = counted.iter().map(|payload| -> Activity {
            let activity = json!({
                "kind": "context-window.updated", "payload": payload,
                "createdAt": "2026-11-28T10:00:00Z",
            });
            serde_json::from_value(activity).unwrap()
        });
        let counted: Vec<Activity> = counted.collect();
        let Usage { input, output, cache_read, cache_write } =
            usage(&counted.iter().collect::<Vec<_>>(), answers);
        assert_eq!((input, output, cache_read, cache_write), expected, "{counted:?}");
    }

    #[test]
    fn what_is_charged_is_rather_more_than_less() {
        // As recorded of 0.0.27, of two calls: sums.
        let sums = json!({ "usedTokens": 36, "inputTokens": 22, "outputTokens": 14 });
        check(&[sums], 2, (22, 14, 0, 0));
        // As recorded of 0.0.33: what the model was shown last.
        let window = json!({ "usedTokens": 1702, "lastUsedTokens": 1702, "maxTokens": 200_000 });
        check(std::slice::from_ref(&window), 1, (0, 1702, 0, 1702));
        check(&[window], 41, (0, 1702, 40 * 1702, 1702));
        // As recorded of 0.0.27, of a turn that was cut off.
        let cut = json!({ "usedTokens": 7, "outputTokens": 7 });
        check(&[cut], 2, (0, 7, WINDOW, WINDOW));
        check(&[], 1, (0, WINDOW, 0, WINDOW));
    }
}
