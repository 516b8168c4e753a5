//! The outcome of a turn from what was seen of it: one pure fold.
//!
//! [`TurnReader`](crate::agents::TurnReader) calls it once the process has ended. Neither the exit
//! code nor the result's subtype shows success: an API error exits 1 with subtype `success`, a
//! denied tool exits 0, SIGINT may exit 0. So a turn only finished if there is a result that is not
//! an error, and nothing important was denied; everything else is some kind of failure.

use crate::agents::event::{TurnEnd, bounded_line};
use crate::agents::outcome::{Exit, FailReason, TurnOutcome};

/// Maximum length of a failure's message, in characters.
const MESSAGE_CHARS: usize = 500;

/// What was seen of a turn.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// How the process ended.
    pub exit: &'a Exit,
    /// Whether the agent began a turn.
    pub started: bool,
    /// What the last result line says.
    pub end: Option<&'a TurnEnd>,
    /// Number of lines that were too long or not JSON objects.
    pub unread_lines: u64,
    /// The end of standard error.
    pub stderr_tail: &'a str,
    /// Whether we stopped the process.
    pub interrupted_by_us: bool,
}

/// Decides the outcome. A turn that finished before our interrupt took effect is finished.
pub fn fold(seen: &Evidence<'_>) -> TurnOutcome {
    if let Some(end) = seen.end
        && let Some(text) = success(end)
    {
        return TurnOutcome::Finished { text };
    }
    if seen.interrupted_by_us {
        return TurnOutcome::Interrupted;
    }
    match (seen.end, seen.exit) {
        (Some(end), _) => failed(reason_of_end(end), &said(end, seen.stderr_tail)),
        (None, Exit::Lost) => TurnOutcome::Lost,
        (None, Exit::NotStarted { message }) => failed(FailReason::StartFailed, message),
        (None, Exit::Exited { .. } | Exit::Signalled { .. }) => {
            failed(reason_without_end(seen), &last_words(seen))
        }
    }
}

/// Tools whose denial does not matter: they ask a person, and without an answer the agent goes on.
const ASKING_TOOLS: [&str; 3] = ["AskUserQuestion", "EnterPlanMode", "ExitPlanMode"];

fn denials_that_matter(end: &TurnEnd) -> Vec<String> {
    let mut tools: Vec<String> = end
        .denied_tools
        .iter()
        .filter(|tool| !ASKING_TOOLS.contains(&tool.as_str()))
        .cloned()
        .collect();
    tools.sort();
    tools.dedup();
    tools
}

fn success(end: &TurnEnd) -> Option<String> {
    let fine = !end.is_error && denials_that_matter(end).is_empty();
    fine.then(|| end.text.clone().unwrap_or_default())
}

fn reason_of_end(end: &TurnEnd) -> FailReason {
    if !end.is_error {
        return FailReason::PermissionDenied { tools: denials_that_matter(end) };
    }
    let texts = || end.errors.iter().map(String::as_str).chain(end.text.as_deref());
    if let Some(limit) = end.limit {
        return FailReason::UsageLimit { resets_at: limit.resets_at };
    }
    if end.kind == "error_max_budget_usd" {
        return FailReason::BudgetExceeded;
    }
    if texts().any(|text| text.starts_with("Prompt is too long")) {
        return FailReason::StuckConversation;
    }
    if let Some(lacking) = texts().find_map(FailReason::in_words) {
        return lacking;
    }
    if let Some(status) = end.api_status {
        return FailReason::ApiError { status: Some(status) };
    }
    if texts().any(|text| text.contains("Please run /login")) {
        return FailReason::NotSignedIn;
    }
    if end.errors.iter().any(|error| error.starts_with("No conversation found")) {
        return FailReason::UnknownSession;
    }
    match end.stop.as_deref() {
        Some(stop) if stop.starts_with("aborted") => FailReason::Aborted,
        Some("api_error") => FailReason::ApiError { status: None },
        Some(_) | None => FailReason::AgentError,
    }
}

fn reason_without_end(seen: &Evidence<'_>) -> FailReason {
    if let Some(signal) = seen.exit.signal() {
        return FailReason::Killed { signal };
    }
    if seen.started {
        return FailReason::NoResult;
    }
    // Read only if no turn began: later, standard error may contain anybody's text.
    let says = |words: &str| seen.stderr_tail.lines().any(|line| line.contains(words));
    if says("Session ID") && says("is already in use") {
        return FailReason::SessionInUse;
    }
    if says("No conversation found") {
        return FailReason::UnknownSession;
    }
    if says("--agent '") && says("not found") {
        return FailReason::UnknownAgent;
    }
    if seen.unread_lines > 0 {
        return FailReason::Garbage { lines: seen.unread_lines };
    }
    match seen.exit {
        Exit::Exited { code: 0 } => FailReason::NoResult,
        Exit::Exited { .. } | Exit::Signalled { .. } | Exit::NotStarted { .. } | Exit::Lost => {
            FailReason::StartFailed
        }
    }
}

fn said(end: &TurnEnd, stderr_tail: &str) -> String {
    let mut texts = end.errors.clone();
    texts.extend(end.text.clone());
    if texts.is_empty() {
        texts.push(last_line(stderr_tail));
    }
    texts.join("; ")
}

fn last_words(seen: &Evidence<'_>) -> String {
    let line = last_line(seen.stderr_tail);
    if line.is_empty() { seen.exit.to_string() } else { format!("{}: {line}", seen.exit) }
}

fn last_line(text: &str) -> String {
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

fn failed(reason: FailReason, message: &str) -> TurnOutcome {
    TurnOutcome::Failed { reason, message: bounded_line(message, MESSAGE_CHARS) }
}
