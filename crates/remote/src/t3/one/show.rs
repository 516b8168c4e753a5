//! What a thread of protocol 1 shows of one of our turns, beside how that stands.

use std::collections::BTreeSet;

use afk_core::ask::Asked;
use afk_core::ids::At;
use serde_json::{Value, json};

use super::liveness::{Place, busy, liveness};
use super::wire::{Activity, Role, Thread};
use crate::t3::transcript::{TranscriptEntry, sorted};
use crate::t3::view::{AtWork, Liveness, PendingAsk, View};

/// How much of a detail such servers keep, in characters, and what they put in the place of the rest.
const DETAIL: usize = 180;
const CUT: &str = "...";

/// What `thread` shows of the turn of `message`, read at `now`.
pub(in crate::t3) fn view(thread: &Thread, message: &str, now: At) -> View {
    let Some(place) = Place::find(thread, message) else { return View::absent() };
    let liveness = liveness(thread, message, now);
    let turn = place.turn(thread);
    let ours = |one: &&Activity| turn.is_some() && one.turn_id.as_deref() == turn;
    let activities: Vec<&Activity> = thread.activities.iter().filter(ours).collect();
    let said = place.said.iter().rev().map(|one| one.text.trim()).find(|text| !text.is_empty());
    let at_work = matches!(liveness, Liveness::Busy { .. });
    View {
        began: place.asked.created_at,
        last: thread.updated_at,
        said: said.map(str::to_owned),
        tool_open: at_work && tool_open(&activities),
        asks: if at_work { open_asks(&activities) } else { Vec::new() },
        tokens: tokens(&activities),
        entries: entries(&place, &activities),
        liveness,
    }
}

/// What people asked in it, by the ids of their messages.
pub(in crate::t3) fn asked(thread: &Thread) -> Vec<&str> {
    let users = thread.messages.iter().filter(|one| one.role == Role::User);
    users.map(|one| one.id.as_str()).collect()
}

/// What is at work in it.
pub(in crate::t3) fn at_work(thread: &Thread) -> Option<AtWork> {
    busy(thread.session.as_ref()?)
}

/// Whether it was deleted.
pub(in crate::t3) fn is_deleted(thread: &Thread) -> bool {
    thread.deleted_at.is_some()
}

/// Whether the newest of what the agent did with tools has not come to its end.
fn tool_open(activities: &[&Activity]) -> bool {
    let tools = activities.iter().filter(|one| one.kind.starts_with("tool."));
    // Entries of one moment come in any order: one that has ended is then the last.
    let last = tools.max_by_key(|one| (one.created_at, one.kind == "tool.completed"));
    last.is_some_and(|one| one.kind != "tool.completed")
}

/// What it waits to be told, oldest first. A request that the server cannot bring an answer to is
/// not open any more.
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
    let mut asked = Asked::new(id, question, &what, activity.created_at);
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

/// The most that it counted. It counts what the model is shown, not what was paid for.
fn tokens(activities: &[&Activity]) -> (u64, u64) {
    let of = |name: &str| {
        let counted = activities.iter().filter(|one| one.kind == "context-window.updated");
        counted.filter_map(|one| one.payload[name].as_u64()).max()
    };
    let input = of("inputTokens").or_else(|| of("usedTokens"));
    (input.unwrap_or(0), of("outputTokens").unwrap_or(0))
}

/// What was said and done, oldest first. What a tool is doing is told once that has ended, since later
/// versions then take the former entries back.
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
