//! What the agent of a server does, and how the server shows it, step by step as the world's time
//! goes on.
//!
//! The text of a message is its script: `SLEEP:N` works N seconds, `RUN:…` runs a command, which
//! must be allowed where permissions are asked for, `ASK:…` asks a question, `HTTP401`, `HTTP429`,
//! `HTTP500` and `FAIL` meet an error of the model's API; anything else is answered at once. The
//! steps and their times are those of the recordings.

use afk_core::ids::At;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::state::{
    Activity, Checkpoint, Flavour, Latest, Message, OpenTurn, Session, State, Thread, Workers,
};
use super::truth::AgentWorkEnd;
use super::two::RequestRecord;

/// A turn that has not ended.
pub(super) struct Run {
    pub(super) turn: String,
    /// When the turn was asked for, as the server has it.
    pub(super) requested: At,
    pub(super) script: Script,
    step: Step,
    since: At,
    /// The id of the request that it waits to be answered, and then when it was.
    pub(super) request: Option<String>,
    pub(super) told: Option<At>,
    pub(super) interrupted: Option<At>,
}

/// What the agent does in a turn.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Script {
    Say(String),
    Fail(&'static ApiFailure),
    Sleep(i64),
    Run(String),
    Ask(String),
    /// Nothing: the text is longer than the server takes.
    TooLong,
    /// What others do for it: nothing is known before they end it, and then what the agent said.
    Others(Option<String>),
}

/// An error of the model's API.
#[derive(PartialEq, Eq)]
pub(super) struct ApiFailure {
    /// The beginning of a text that meets it.
    word: &'static str,
    /// What the agent says instead of an answer.
    says: &'static str,
    /// The code that protocol 2 gives it.
    code: &'static str,
    /// Whether the agent tries again first.
    retries: bool,
}

/// The errors that were recorded.
const FAILURES: [ApiFailure; 4] = [
    ApiFailure {
        word: "HTTP401",
        says: "Invalid API key · Fix external API key",
        code: "api_error_401",
        retries: true,
    },
    ApiFailure {
        word: "HTTP429",
        says: "API Error: Request rejected (429) · mock limit",
        code: "api_error_429",
        retries: true,
    },
    ApiFailure {
        word: "HTTP500",
        says: "API Error: 500 mock internal error. This is a server-side issue, usually temporary \
               — try again in a moment. If it persists, check your inference gateway \
               (127.0.0.1:8787).",
        code: "api_error_500",
        retries: true,
    },
    ApiFailure {
        word: "FAIL",
        says: "API Error: 400 mock failure",
        code: "api_error_400",
        retries: false,
    },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It is accepted, and nothing shows it yet.
    Accepted,
    /// The agent's process is starting.
    Starting,
    /// The agent is at work.
    Running,
    /// The agent has answered, and the server has not recorded the end yet.
    Answered,
}

impl Script {
    fn of(text: &str) -> Self {
        if text.encode_utf16().count() > LONGEST {
            return Self::TooLong;
        }
        let after = |word: &str| text.strip_prefix(word).map(str::to_owned);
        let first = |text: String| text.split_whitespace().next().and_then(|one| one.parse().ok());
        if let Some(seconds) = after("SLEEP:").and_then(first) {
            return Self::Sleep(seconds);
        }
        if let Some(command) = after("RUN:") {
            return Self::Run(command);
        }
        if let Some(question) = after("ASK:") {
            return Self::Ask(question);
        }
        let fails = FAILURES.iter().find(|one| text.starts_with(one.word));
        fails.map_or_else(|| Self::Say(format!("MOCK-REPLY: {text}")), Self::Fail)
    }
}

impl Run {
    pub(super) fn new(turn: String, requested: At, now: At, script: Script) -> Self {
        Self {
            turn,
            requested,
            script,
            step: Step::Accepted,
            since: now,
            request: None,
            told: None,
            interrupted: None,
        }
    }
}

fn ms(from: At, to: At) -> i128 {
    to.duration_since(from).as_millis()
}

impl State {
    /// The script for a message of this text.
    pub(super) fn script(&self, text: &str) -> Script {
        match self.workers {
            Workers::Text => Script::of(text),
            Workers::World | Workers::Outside => Script::Others(None),
        }
    }

    /// The turns that somebody outside has to do: those that run and were not interrupted.
    pub(super) fn open_turns(&self) -> Vec<OpenTurn> {
        let open = self.threads.iter().filter_map(|thread| {
            let run = thread.run.as_ref()?;
            let works = run.step == Step::Running && run.script == Script::Others(None);
            let asked: Vec<&Message> = thread.messages.iter().filter(|one| one.user).collect();
            (works && run.interrupted.is_none()).then(|| OpenTurn {
                turn: run.turn.clone(),
                thread: thread.id.clone(),
                nth: asked.len(),
                folder: self.place(thread).unwrap_or_default().to_owned(),
                text: asked.last().map(|one| one.text.clone()).unwrap_or_default(),
            })
        });
        open.collect()
    }

    /// Ends a turn that others do; its agent said `said`.
    pub(super) fn end_turn(&mut self, turn: &str, said: &str) {
        let of_turn = |run: &&mut Run| run.turn == turn;
        let found = self.threads.iter_mut().filter_map(|one| one.run.as_mut()).find(of_turn);
        if let Some(run) = found {
            run.script = Script::Others(Some(said.to_owned()));
        }
    }

    /// Lets every agent go on to `now`.
    pub(super) fn go_on(&mut self, now: At) {
        if self.away {
            return;
        }
        for at in 0..self.threads.len() {
            // The thread is taken out of the list for each step, because a step changes other
            // state, too.
            while let Some(mut thread) = self.take(at) {
                let moved = self.step(&mut thread, now);
                self.put(at, thread);
                if !moved {
                    break;
                }
            }
            self.capture_again(at, now);
        }
    }

    fn take(&mut self, at: usize) -> Option<Thread> {
        (at < self.threads.len()).then(|| self.threads.remove(at))
    }

    fn put(&mut self, at: usize, thread: Thread) {
        self.threads.insert(at, thread);
    }

    /// Does one step of a thread's turn, if one is due; returns whether another may be.
    fn step(&mut self, thread: &mut Thread, now: At) -> bool {
        let Some(mut run) = thread.run.take() else { return false };
        let waited = ms(run.since, now);
        if self.flavour.is_two() {
            Self::record(thread, &run, now);
        }
        let next = match run.step {
            Step::Accepted if self.idle || waited < i128::from(self.shows_after()) => None,
            Step::Accepted => {
                if self.cannot_start(thread, &run, now) {
                    self.work_over(&run.turn, now, AgentWorkEnd::Failed);
                    if let Some(record) = thread.runs.iter_mut().find(|one| one.id == run.turn) {
                        let failed = thread.activities.last();
                        let why = failed.and_then(|one| one.payload["detail"].as_str());
                        record.failure =
                            Some((why.unwrap_or("it could not start").to_owned(), None));
                        (record.status, record.completed) = ("failed", Some(now));
                    }
                    return false;
                }
                self.starting(thread, &run);
                Some((Step::Starting, self.shows_after()))
            }
            Step::Starting if waited < 280 => None,
            // Only the oldest version was recorded with a text that is too long; the others are
            // assumed to fail like this.
            Step::Starting if run.script == Script::TooLong => {
                self.too_long(thread, now);
                self.work_over(&run.turn, now, AgentWorkEnd::Failed);
                return false;
            }
            Step::Starting => {
                self.running(thread, &mut run);
                self.work_begun(&run.turn);
                Some((Step::Running, 280))
            }
            Step::Running => match self.lasts(&run) {
                Some(end) if now >= end => {
                    self.answered(thread, &run, end);
                    run.since = end;
                    run.step = Step::Answered;
                    thread.run = Some(run);
                    return true;
                }
                _ => None,
            },
            Step::Answered if self.flavour == Flavour::V27 && waited < 140 => None,
            Step::Answered => {
                let at = after(run.since, if self.flavour == Flavour::V27 { 140 } else { 0 });
                self.over(thread, &run, at);
                return false;
            }
        };
        let moved = next.is_some();
        if let Some((step, by)) = next {
            run.step = step;
            run.since = after(run.since, by);
        }
        thread.run = Some(run);
        moved
    }

    /// Records the status of a run of protocol 2.
    fn record(thread: &mut Thread, run: &Run, now: At) {
        let Some(record) = thread.runs.iter_mut().find(|one| one.id == run.turn) else { return };
        record.status = match run.step {
            Step::Accepted => "preparing",
            Step::Starting => "starting",
            Step::Running => "running",
            Step::Answered => "waiting",
        };
        let (kind, input) = match &run.script {
            Script::Run(command) => ("command", command),
            Script::Ask(question) => ("user_input", question),
            Script::Say(_)
            | Script::Fail(..)
            | Script::Sleep(_)
            | Script::TooLong
            | Script::Others(_) => return,
        };
        if let (Some(id), None) = (&run.request, &record.request) {
            let (id, input) = (id.clone(), input.clone());
            record.request =
                Some(RequestRecord { id, kind, input, status: "pending", created: now });
        }
    }

    /// Records how a run of protocol 2 ended.
    fn record_end(&self, thread: &mut Thread, run: &Run, now: At) {
        let Some(record) = thread.runs.iter_mut().find(|one| one.id == run.turn) else { return };
        record.completed = Some(now);
        record.status = match &run.script {
            _ if run.interrupted.is_some() && !self.deaf => "interrupted",
            Script::Fail(failure) => {
                record.failure = Some((failure.says.to_owned(), Some(failure.code)));
                "failed"
            }
            _ => "completed",
        };
    }

    /// After how many milliseconds an accepted turn is shown.
    fn shows_after(&self) -> i64 {
        if self.flavour == Flavour::V27 { 100 } else { 50 }
    }

    fn too_long(&mut self, thread: &mut Thread, now: At) {
        let detail = json!({ "detail": "The prompt is too long." });
        let failed = "provider.turn.start.failed";
        self.note(thread, "error", failed, "Provider turn start failed", detail, None, now);
        if let Some(session) = &mut thread.session {
            (session.status, session.updated) = ("ready", now);
        }
        thread.updated = now;
    }

    /// Until when the agent works; none as long as it waits for an answer, or for others.
    pub(super) fn lasts(&self, run: &Run) -> Option<At> {
        let (stops, works) = match self.flavour {
            Flavour::V27 => (20, 300),
            Flavour::V33 | Flavour::Two => (1250, 1200),
            Flavour::August => (1100, 1200),
        };
        if let (Some(at), false) = (run.interrupted, self.deaf) {
            return Some(after(at, stops));
        }
        match &run.script {
            Script::Say(_) => Some(after(run.since, works)),
            Script::Fail(..) => Some(after(run.since, works + 100)),
            Script::Sleep(seconds) => Some(after(run.since, seconds * 1000)),
            Script::TooLong | Script::Others(None) => None,
            Script::Others(Some(_)) => Some(run.since),
            Script::Run(_) | Script::Ask(_) if run.request.is_none() => {
                Some(after(run.since, works))
            }
            Script::Run(_) | Script::Ask(_) => {
                run.told.map(|at| after(at, if self.flavour == Flavour::V27 { 50 } else { 1200 }))
            }
        }
    }

    fn cannot_start(&mut self, thread: &mut Thread, run: &Run, now: At) -> bool {
        if run.script == Script::TooLong && self.flavour == Flavour::V27 {
            self.too_long(thread, now);
            return true;
        }
        let provider = thread.model["instanceId"].as_str().unwrap_or_default().to_owned();
        let (why, status) = if provider != "claudeAgent" {
            let why = format!(
                "Thread '{}' references unknown provider instance '{provider}'. The instance is \
                 not configured in this build.",
                thread.id
            );
            let shows = matches!(self.flavour, Flavour::V33 | Flavour::August);
            (why, shows.then_some("error"))
        } else if thread.worktree.as_ref().is_some_and(|path| self.folder(path).is_none()) {
            let why = format!(
                "ProviderAdapterSessionNotFoundError: Unknown claudeAgent adapter thread: {}\n    \
                 at toSessionError (file:///srv/src/x.ts:1:1)",
                thread.id
            );
            (why, Some("stopped"))
        } else {
            return false;
        };
        let error = match (status, self.flavour) {
            (Some("stopped"), Flavour::V27) => format!(
                "Provider adapter process error (claudeAgent) for thread {}: Claude Code native \
                 binary not found at claude. Please ensure Claude Code is installed via native \
                 installer or specify a valid path with options.pathToClaudeCodeExecutable.",
                thread.id
            ),
            (Some("stopped"), _) => "Claude runtime stream failed.".to_owned(),
            _ => why.clone(),
        };
        let detail = json!({ "detail": why });
        let failed = "provider.turn.start.failed";
        self.note(thread, "error", failed, "Provider turn start failed", detail, None, now);
        if status == Some("stopped") {
            let short =
                if error.len() > 180 { format!("{}...", &error[..177]) } else { error.clone() };
            for _ in 0..2 {
                let payload = json!({ "message": short });
                self.note(thread, "error", "runtime.error", "Runtime error", payload, None, now);
            }
        }
        if let Some(status) = status {
            let error = Some(error);
            thread.session = Some(Session { status, active: None, error, updated: now });
        }
        thread.updated = now;
        true
    }

    fn starting(&self, thread: &mut Thread, run: &Run) {
        let now = after(run.since, self.shows_after());
        match self.flavour {
            Flavour::V27 => {
                // This version shows the orphaned turn as running for good.
                match (&thread.orphan, &mut thread.latest) {
                    (Some(_), Some(latest)) => latest.state = "running",
                    (Some(_), None) => {}
                    (None, _) => thread.latest = None,
                }
                let active = thread.orphan.clone();
                thread.session =
                    Some(Session { status: "ready", active, error: None, updated: now });
            }
            Flavour::V33 | Flavour::August | Flavour::Two => {
                if let (Some(_), Some(latest)) = (thread.orphan.take(), &mut thread.latest) {
                    latest.state = "completed";
                    latest.completed.get_or_insert(now);
                }
                let session =
                    Session { status: "starting", active: None, error: None, updated: now };
                thread.session = Some(session);
            }
        }
        thread.updated = thread.updated.max(now);
    }

    fn running(&mut self, thread: &mut Thread, run: &mut Run) {
        let now = after(run.since, 280);
        if thread.orphan.is_none() {
            thread.latest = Some(Latest {
                turn: run.turn.clone(),
                state: "running",
                requested: run.requested,
                completed: None,
                answer: None,
            });
        }
        let active = Some(thread.orphan.clone().unwrap_or_else(|| run.turn.clone()));
        thread.session = Some(Session { status: "running", active, error: None, updated: now });
        self.ask(thread, run, now);
        thread.updated = now;
    }

    /// Shows the call of a tool, and the request of a permission or an answer, if the agent makes
    /// one.
    fn ask(&mut self, thread: &mut Thread, run: &mut Run, now: At) {
        let (kind, tool, detail, asks) = match &run.script {
            Script::Run(command) => {
                let asks = thread.mode == "approval-required";
                ("command_execution", "Bash", format!("Bash: {command}"), asks)
            }
            Script::Ask(question) => {
                let input = json!({ "questions": questions(question, false) });
                ("dynamic_tool_call", "AskUserQuestion", format!("AskUserQuestion: {input}"), true)
            }
            Script::Say(_)
            | Script::Fail(..)
            | Script::Sleep(_)
            | Script::TooLong
            | Script::Others(_) => return,
        };
        let name = if tool == "Bash" { "Command run" } else { "Tool call" };
        let turn = Some(run.turn.clone());
        let mut payload = json!({ "itemType": kind, "detail": format!("{tool}: {{}}") });
        if self.flavour == Flavour::August {
            payload["data"] = json!({});
        }
        let payload = self.of_call(payload, &run.turn, "inProgress");
        self.note(
            thread,
            "tool",
            "tool.started",
            &format!("{name} started"),
            payload,
            turn.clone(),
            now,
        );
        let payload = json!({
            "itemType": kind, "status": "inProgress", "detail": detail,
            "data": self.data(&run.script, false),
        });
        let payload = self.of_call(payload, &run.turn, "inProgress");
        self.note(thread, "tool", "tool.updated", name, payload, turn.clone(), now);
        if matches!(self.flavour, Flavour::V33 | Flavour::August) {
            let payload = json!({
                "usedTokens": 1702, "lastUsedTokens": 1702, "outputTokens": 7, "maxTokens": 200_000,
            });
            let (kind, summary) = ("context-window.updated", "Context window updated");
            self.note(thread, "info", kind, summary, payload, turn.clone(), now);
        }
        if !asks {
            return;
        }
        let request = self.fresh();
        let (tone, kind, summary, payload) = match &run.script {
            Script::Ask(question) => (
                "info",
                "user-input.requested",
                "User input requested",
                json!({ "requestId": request, "questions": questions(question, true) }),
            ),
            _ => (
                "approval",
                "approval.requested",
                "Command approval requested",
                json!({
                    "requestId": request, "requestKind": "command",
                    "requestType": "command_execution_approval", "detail": detail,
                }),
            ),
        };
        self.note(thread, tone, kind, summary, payload, turn, now);
        run.request = Some(request);
    }

    /// The input of a tool, and its result if it is `done`, as far as the version shows them.
    fn data(&self, script: &Script, done: bool) -> Value {
        match (self.flavour, script) {
            (Flavour::August, Script::Run(command)) => return json!({ "command": command }),
            (Flavour::V33 | Flavour::August, _) => return json!({}),
            (Flavour::V27 | Flavour::Two, _) => {}
        }
        let (tool, input) = match script {
            Script::Ask(question) => {
                ("AskUserQuestion", json!({ "questions": questions(question, false) }))
            }
            Script::Run(command) => {
                ("Bash", json!({ "command": command, "description": "mock run" }))
            }
            _ => return json!({}),
        };
        let mut data = json!({ "toolName": tool, "input": input });
        if done {
            data["result"] = json!({
                "tool_use_id": "toolu_x", "type": "tool_result", "content": "done",
            });
            if tool == "Bash" {
                data["result"]["is_error"] = false.into();
            }
        }
        data
    }

    /// Shows the agent's last message, and ends its work.
    fn answered(&mut self, thread: &mut Thread, run: &Run, now: At) {
        let turn = Some(run.turn.clone());
        let stopped = run.interrupted.is_some() && !self.deaf;
        let text = match &run.script {
            _ if stopped => ". . . . ".to_owned(),
            Script::Say(text) => text.clone(),
            Script::Fail(failure) => failure.says.to_owned(),
            Script::Others(said) => said.clone().unwrap_or_default(),
            Script::Sleep(_) | Script::TooLong => "MOCK-REPLY: slept".to_owned(),
            Script::Run(command) => format!("MOCK-REPLY: tool done for RUN:{command}"),
            Script::Ask(question) => format!("MOCK-REPLY: tool done for ASK:{question}"),
        };
        if matches!(run.script, Script::Run(_) | Script::Ask(_)) && !stopped {
            self.tool_done(thread, run, now);
        }
        if let (Script::Fail(ApiFailure { retries: true, .. }), Flavour::V27) =
            (&run.script, self.flavour)
        {
            let summary = "Claude system message 'api_retry' — attempt: 1";
            let payload = json!({ "message": summary, "detail": { "type": "system" } });
            self.note(thread, "info", "runtime.warning", summary, payload, turn.clone(), now);
        }
        if stopped && self.flavour == Flavour::V27 {
            let payload = json!({ "message": DIAGNOSTIC });
            self.note(
                thread,
                "error",
                "runtime.error",
                "Runtime error",
                payload,
                turn.clone(),
                now,
            );
        }
        let end = match &run.script {
            _ if stopped => AgentWorkEnd::Stopped,
            Script::Fail(..) => AgentWorkEnd::Failed,
            _ => AgentWorkEnd::Done(text.clone()),
        };
        self.work_over(&run.turn, now, end);
        let id = format!("assistant:{}", self.fresh());
        let (created, updated) = (now, now);
        thread.messages.push(Message { id, user: false, text, turn, created, updated });
        if self.flavour == Flavour::V27 && thread.orphan.is_none() && !stopped {
            thread.latest = None;
            let session = Session { status: "ready", active: None, error: None, updated: now };
            thread.session = Some(session);
        }
        thread.updated = now;
    }

    fn tool_done(&mut self, thread: &mut Thread, run: &Run, now: At) {
        let turn = Some(run.turn.clone());
        let asked = thread.activities.iter().find(|one| {
            one.kind == "tool.updated" && one.turn.as_deref() == Some(run.turn.as_str())
        });
        let detail = asked.map_or(Value::Null, |one| one.payload["detail"].clone());
        let (kind, name) = match run.script {
            Script::Run(_) => ("command_execution", "Command run"),
            _ => ("dynamic_tool_call", "Tool call"),
        };
        let data = self.data(&run.script, true);
        match self.flavour {
            Flavour::V27 => {
                let payload = json!({
                    "itemType": kind, "status": "inProgress", "detail": detail, "data": data,
                });
                self.note(thread, "tool", "tool.updated", name, payload, turn.clone(), now);
            }
            // Later versions keep only the last activity of an item.
            Flavour::V33 | Flavour::August | Flavour::Two => {
                let ours = run.turn.clone();
                thread.activities.retain(|one| {
                    one.turn.as_ref() != Some(&ours)
                        || !["tool.updated", "context-window.updated"].contains(&one.kind)
                });
            }
        }
        let payload = json!({ "itemType": kind, "detail": detail, "data": data });
        let done = self.of_call(payload.clone(), &run.turn, "completed");
        self.note(thread, "tool", "tool.completed", name, done, turn.clone(), now);
        if self.flavour == Flavour::August {
            let again = self.of_call(payload, &run.turn, "inProgress");
            self.note(thread, "tool", "tool.updated", name, again, turn, now);
        }
    }

    /// The payload of a tool call, with its id and status where the version gives them.
    fn of_call(&self, mut payload: Value, turn: &str, status: &str) -> Value {
        if self.flavour == Flavour::August {
            payload["toolCallId"] = format!("toolu_{turn}").into();
            payload["status"] = status.into();
        }
        payload
    }

    /// Records the end of a turn, as the server does.
    fn over(&mut self, thread: &mut Thread, run: &Run, now: At) {
        self.record_end(thread, run, now);
        let turn = Some(run.turn.clone());
        let stopped = run.interrupted.is_some() && !self.deaf;
        let answer = thread.messages.last().filter(|one| !one.user).map(|one| one.id.clone());
        let counted = match (self.flavour, &run.script) {
            (Flavour::V27, Script::Fail(..)) => None,
            (Flavour::V27, _) if stopped => None,
            (Flavour::V27, Script::Run(_) | Script::Ask(_)) => Some(json!({
                "usedTokens": 36, "lastUsedTokens": 36, "inputTokens": 22, "outputTokens": 14,
                "maxTokens": 200_000,
            })),
            (Flavour::V27, _) => Some(json!({
                "usedTokens": 18, "lastUsedTokens": 18, "inputTokens": 11, "outputTokens": 7,
                "maxTokens": 200_000,
            })),
            (Flavour::V33 | Flavour::August | Flavour::Two, _) => Some(json!({
                "usedTokens": 1702, "lastUsedTokens": 1702, "maxTokens": 200_000,
                "compactsAutomatically": true,
            })),
        };
        if let Some(payload) = counted {
            let (kind, summary) = ("context-window.updated", "Context window updated");
            self.note(thread, "info", kind, summary, payload, turn.clone(), now);
        }
        thread.updated = now;
        if thread.orphan.is_some() {
            // Turn and session stay as the orphaned turn left them.
            return;
        }
        let git = self.is_git(thread);
        if git || matches!(self.flavour, Flavour::V33 | Flavour::August) {
            let state = if stopped && self.flavour == Flavour::V27 { "error" } else { "completed" };
            thread.latest = Some(Latest {
                turn: run.turn.clone(),
                state,
                requested: run.requested,
                completed: Some(now),
                answer: answer.clone(),
            });
        }
        let error = (stopped && self.flavour == Flavour::V27).then(|| DIAGNOSTIC.to_owned());
        let status = if error.is_some() { "error" } else { "ready" };
        thread.session = Some(Session { status, active: None, error, updated: now });
        if git {
            let status = match (stopped, self.flavour) {
                (false, _) => "ready",
                (true, Flavour::V27) => "error",
                (true, Flavour::V33 | Flavour::August | Flavour::Two) => "missing",
            };
            let turn = run.turn.clone();
            thread.checkpoints.push(Checkpoint { turn, status, answer, completed: now });
            self.captured(thread, now);
        }
    }

    fn captured(&mut self, thread: &mut Thread, now: At) {
        let Some(last) = thread.checkpoints.last() else { return };
        let payload = json!({ "turnCount": thread.checkpoints.len(), "status": last.status });
        let turn = Some(last.turn.clone());
        let (kind, summary) = ("checkpoint.captured", "Checkpoint captured");
        self.note(thread, "info", kind, summary, payload, turn, now);
    }

    /// Versions after 0.0.27 capture a stopped turn a second time, a moment later, and then call it
    /// completed.
    fn capture_again(&mut self, at: usize, now: At) {
        let due = |thread: &Thread| {
            let last = thread.checkpoints.last()?;
            (last.status == "missing" && ms(last.completed, now) >= 300).then_some(last.completed)
        };
        let Some(completed) = self.threads.get(at).and_then(due) else { return };
        let Some(mut thread) = self.take(at) else { return };
        let then = after(completed, 300);
        if let Some(last) = thread.checkpoints.last_mut() {
            last.status = "ready";
        }
        if let Some(latest) = &mut thread.latest {
            latest.state = "completed";
        }
        self.captured(&mut thread, then);
        self.put(at, thread);
    }

    /// Records one activity of a thread.
    #[allow(clippy::too_many_arguments, reason = "they are the fields of what is put down")]
    pub(super) fn note(
        &mut self,
        thread: &mut Thread,
        tone: &'static str,
        kind: &'static str,
        summary: &str,
        payload: Value,
        turn: Option<String>,
        created: At,
    ) {
        let (id, summary) = (self.fresh(), summary.to_owned());
        self.sequence += 1;
        thread.activities.push(Activity { id, tone, kind, summary, payload, turn, created });
    }
}

/// The longest text that is taken, in UTF-16 units.
const LONGEST: usize = 120_000;
/// What the CLI says about a turn in which it was interrupted.
const DIAGNOSTIC: &str = "[ede_diagnostic] result_type=user last_content_type=n/a stop_reason=null";

/// The questions that a text asks; in a request they have an id.
fn questions(question: &str, with_id: bool) -> Value {
    let mut one = json!({
        "header": "Pick", "question": question, "multiSelect": false,
        "options": [
            { "label": "Alpha", "description": "a" }, { "label": "Beta", "description": "b" },
        ],
    });
    if with_id {
        one["id"] = question.into();
    }
    json!([one])
}

fn after(at: At, ms: i64) -> At {
    at.checked_add(SignedDuration::from_millis(ms)).unwrap_or(at)
}
