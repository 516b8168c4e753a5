//! What a thread of protocol 2 shows of one of our turns, besides its state.

use afk_core::ask::PendingQuestion;
use afk_core::ids::At;
use serde_json::{Value, json};

use super::liveness::{is_active, liveness, run};
use super::wire::{Item, Request, Thread};
use crate::t3::transcript::{TranscriptEntry, sorted};
use crate::t3::view::{AtWork, Liveness, PendingAsk, View};

/// The kind of a request that is a question. No recording contains an answer to one.
const QUESTION: &str = "user_input";

/// What `thread`, which was read at `now`, shows of the turn of `message`.
pub(in crate::t3) fn view(thread: &Thread, message: &str, now: At) -> View {
    let liveness = liveness(thread, message, now);
    let run = run(thread, message);
    let of_run = |id: &Option<String>| run.is_some_and(|run| id.as_ref() == Some(&run.id));
    let said = thread.messages.iter().filter(|one| one.role == "assistant" && of_run(&one.run_id));
    let said = said.map(|one| one.text.trim()).rfind(|text| !text.is_empty());
    let items: Vec<&Item> = thread.turn_items.iter().filter(|one| of_run(&one.run_id)).collect();
    let at_work = matches!(liveness, Liveness::Busy { .. });
    let asked = thread.messages.iter().find(|one| one.id == message);
    let began = run.map(|run| run.requested_at).or(asked.map(|one| one.created_at));
    let tool = |one: &&Item| one.completed_at.is_none() && one.kind.ends_with("_execution");
    let began = began.unwrap_or(At::UNIX_EPOCH);
    // A request of a run that was interrupted may stay pending for good.
    let pending = |one: &&Request| one.status == "pending" && one.created_at >= began;
    let pending = thread.runtime_requests.iter().filter(pending);
    View {
        began,
        last: thread.head.updated_at,
        said: said.map(str::to_owned),
        tool_open: at_work && items.iter().any(tool),
        asks: if at_work { pending.map(|one| ask(one, &items)).collect() } else { Vec::new() },
        // The server counts tokens nowhere that can be read.
        tokens: (0, 0),
        usage: None,
        answers: answers(thread, &items, |id| of_run(id)),
        entries: entries(thread, &items, |id| of_run(id)),
        liveness,
    }
}

/// The ids of the messages that users sent to the thread. Those that are known only by their runs
/// come first.
pub(in crate::t3) fn asked(thread: &Thread) -> Vec<&str> {
    let messages = thread.messages.iter().filter(|one| one.role == "user");
    let messages: Vec<&str> = messages.map(|one| one.id.as_str()).collect();
    let of_runs = thread.runs.iter().filter_map(|run| run.user_message_id.as_deref());
    let beside: Vec<&str> = of_runs.filter(|id| !messages.contains(id)).collect();
    beside.into_iter().chain(messages).collect()
}

/// What is at work in the thread, if anything is.
pub(in crate::t3) fn at_work(thread: &Thread) -> Option<AtWork> {
    let active = thread.runs.iter().find(|run| is_active(run.status))?;
    Some(AtWork { active: Some(active.id.clone()) })
}

/// Whether the thread is in the archive.
pub(in crate::t3) fn is_archived(thread: &Thread) -> bool {
    thread.head.archived_at.is_some()
}

/// Whether the thread was deleted.
pub(in crate::t3) fn is_deleted(thread: &Thread) -> bool {
    thread.head.deleted_at.is_some()
}

/// How often the model has answered: with words, or with a call of a tool.
fn answers(thread: &Thread, items: &[&Item], ours: impl Fn(&Option<String>) -> bool) -> u64 {
    let said = thread.messages.iter().filter(|one| one.role == "assistant" && ours(&one.run_id));
    let is_tool = |one: &&&Item| one.native_item_ref.is_some() && one.kind != "assistant_message";
    u64::try_from(said.count() + items.iter().filter(is_tool).count()).unwrap_or(u64::MAX)
}

/// A request, with the input of the tool that it is about.
fn ask(request: &Request, items: &[&Item]) -> PendingAsk {
    let about = items.iter().filter(|one| {
        one.native_item_ref.is_some() && one.native_item_ref == request.native_request_ref
    });
    let input = about.filter(|one| !one.input.is_null()).map(|one| match &one.input {
        Value::String(text) => text.clone(),
        input => input.to_string(),
    });
    let input: Vec<String> = input.collect();
    let what = format!("{}: {}", request.kind, input.join(" "));
    let question = request.kind == QUESTION;
    let id = request.id.clone();
    let mut asked = PendingQuestion::new(id, question, &what, request.created_at);
    // Without the input, nobody can see what a permission is for.
    asked.cut |= !question && input.is_empty();
    let questions = if question { vec![request.id.clone()] } else { Vec::new() };
    PendingAsk { asked, questions }
}

/// What was said and done, oldest first.
fn entries(
    thread: &Thread,
    items: &[&Item],
    ours: impl Fn(&Option<String>) -> bool,
) -> Vec<TranscriptEntry> {
    let said = thread.messages.iter().filter(|one| one.role == "assistant" && ours(&one.run_id));
    let said =
        said.map(|one| TranscriptEntry::said(one.created_at, &one.id, &one.text, !one.streaming));
    let done = items.iter().map(|one| {
        let (at, over) = (one.updated_at, one.completed_at.is_some());
        let input = match &one.input {
            Value::Null => one.title.clone().unwrap_or_default(),
            Value::String(text) => text.clone(),
            input => input.to_string(),
        };
        if one.kind.ends_with("_execution") {
            let failed = Some(one.status == "failed");
            return TranscriptEntry::used(at, &one.id, (&one.kind, &input), failed, over);
        }
        let note = json!({
            "kind": one.kind, "status": one.status, "title": one.title, "input": one.input,
            "failure": one.failure.as_ref().map(|failure| &failure.message),
        });
        TranscriptEntry::noted(at, &one.id, &note, over)
    });
    sorted(said.chain(done).collect())
}
