//! An agent that speaks the Agent Client Protocol without a model, for the tests of this crate and
//! of others. Its argument names its behaviour: it does well, or one thing wrong.
//!
//! `scripted-acp BEHAVIOUR`. It keeps its sessions in `sessions.txt` in its home, so that a later
//! process can resume them, and writes what it is told into `told.jsonl` there.

use std::io::{BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

fn main() -> ExitCode {
    let behaviour = std::env::args().nth(1).unwrap_or_default();
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let mut agent = Agent { behaviour, home, prompt: None, authenticated: false };
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        agent.note(&line);
        let Ok(message) = serde_json::from_str::<Value>(&line) else { return ExitCode::from(3) };
        if let Some(code) = agent.hear(&message) {
            return ExitCode::from(code);
        }
    }
    if agent.is("stays") {
        sleep_for_ever();
    }
    ExitCode::SUCCESS
}

struct Agent {
    behaviour: String,
    home: PathBuf,
    /// The id of the prompt's request, until it is answered.
    prompt: Option<Value>,
    authenticated: bool,
}

impl Agent {
    fn is(&self, behaviour: &str) -> bool {
        self.behaviour == behaviour
    }

    /// Handles a message; an exit code ends the process.
    fn hear(&mut self, message: &Value) -> Option<u8> {
        let id = &message["id"];
        match message["method"].as_str() {
            Some("initialize") => self.initialize(id),
            Some("authenticate") => {
                self.authenticated = message["params"]["methodId"] == "a-key";
                answer(id, &json!({}));
            }
            Some("session/new") => self.session(id),
            Some("session/resume" | "session/load") => self.resume(id, &message["params"]),
            Some("session/set_mode") if self.is("dies-early") => return Some(4),
            Some("session/set_mode" | "session/set_model") => answer(id, &json!({})),
            Some("session/prompt") => {
                self.prompt = Some(id.clone());
                return self.turn();
            }
            Some("session/cancel") => {
                if !self.is("deaf") {
                    self.end("cancelled");
                }
            }
            Some(_) => error(id, -32601, "unknown method"),
            None => return self.answered(message),
        }
        None
    }

    fn initialize(&self, id: &Value) {
        match self.behaviour.as_str() {
            "mute" => sleep_for_ever(),
            "garbage" => {
                for line in ["warning: ready", "[1, 2]", "{broken"] {
                    say(line);
                }
            }
            "noise" => {
                say("Welcome!");
                std::process::exit(0);
            }
            _ => {}
        }
        let version = if self.is("version-2") { 2 } else { 1 };
        let can = if self.is("forgetful") { json!({}) } else { json!({"resume": {}}) };
        let mut result = json!({
            "protocolVersion": version,
            "agentInfo": {"name": "scripted-acp", "version": self.version()},
            "agentCapabilities": {"loadSession": self.is("loads"), "sessionCapabilities": can},
            "authMethods": [{"id": "a-key", "name": "A key"}],
        });
        if self.is("loads") {
            result["agentCapabilities"]["sessionCapabilities"] = json!({});
        }
        answer(id, &result);
    }

    /// The agent's version; with behaviour `updates` it grows with each session.
    fn version(&self) -> String {
        let turns = std::fs::read_to_string(self.home.join("sessions.txt")).unwrap_or_default();
        if self.is("updates") { format!("1.{}.0", turns.lines().count()) } else { "1.0.0".into() }
    }

    fn session(&self, id: &Value) {
        if self.is("signed-out") && !self.authenticated {
            error(id, -32000, "Authentication required");
            return;
        }
        let file = self.home.join("sessions.txt");
        let known = std::fs::read_to_string(&file).unwrap_or_default();
        let session = format!("session-{}", known.lines().count() + 1);
        std::fs::write(&file, format!("{known}{session}\n")).unwrap_or_default();
        let modes = json!([{"id": "default", "name": "Ask"}, {"id": "yolo", "name": "Never ask"}]);
        let modes = json!({"currentModeId": "default", "availableModes": modes});
        answer(id, &json!({"sessionId": session, "modes": modes}));
        if self.is("asks-early") {
            self.ask(7, "early");
        }
    }

    fn resume(&self, id: &Value, params: &Value) {
        let known = std::fs::read_to_string(self.home.join("sessions.txt")).unwrap_or_default();
        let session = params["sessionId"].as_str().unwrap_or_default();
        if self.is("loses") || !known.lines().any(|line| line == session) {
            error(id, -32002, "Resource not found");
            return;
        }
        if self.is("loads") {
            // The replay of an old session is no part of the turn.
            self.words("said long ago");
        }
        answer(id, &json!({}));
    }

    fn turn(&mut self) -> Option<u8> {
        match self.behaviour.as_str() {
            "hangs-after" => {
                work();
                return None;
            }
            "hangs" | "deaf" => {
                self.words("working");
                return None;
            }
            "killed" => {
                let me = std::process::id().to_string();
                let _ = Command::new("kill").args(["-KILL", &me]).status();
            }
            "leaves" => return Some(0),
            "long-line" => self.words(&"x".repeat(10 << 20)),
            "forks" => {
                for setsid in [false, true] {
                    let mut child = Command::new(if setsid { "setsid" } else { "sleep" });
                    if setsid {
                        child.arg("sleep");
                    }
                    child.arg("987").stdin(Stdio::null()).stdout(Stdio::null());
                    let _ = child.stderr(Stdio::null()).spawn();
                }
            }
            "empty" => {
                self.end("end_turn");
                return None;
            }
            "fails" => {
                let id = self.prompt.take().unwrap_or_default();
                error(&id, 500, "the model's API failed");
                return None;
            }
            "limited" => {
                let failure = json!({"category": "limit", "severity": "error", "actions": [],
                    "title": "the limit is used up"});
                let meta = json!({"jetbrains": {"air": {"version": 1, "sessionFailure": failure}}});
                let limits = json!({"sessionUpdate": "usage_update", "used": 1, "size": 2,
                    "_meta": {"_claude/rateLimit": {"resetsAt": 4_000_000_000_u64}}});
                self.update(&limits);
                let id = self.prompt.take().unwrap_or_default();
                answer(&id, &json!({"stopReason": "end_turn", "_meta": meta}));
                return None;
            }
            "refuses" => {
                self.words("I cannot help with that.");
                self.end("refusal");
                return None;
            }
            "closes-output" => {
                let _ = rustix::io::fcntl_setfd(std::io::stdout(), rustix::io::FdFlags::CLOEXEC);
                let mut next = Command::new("sleep");
                next.arg("987").stdout(Stdio::null()).stdin(Stdio::null());
                let _ = next.exec();
            }
            "asks" | "works" => {
                self.ask(8, "write");
                return None;
            }
            _ => {}
        }
        self.finish();
        None
    }

    /// Handles the answer to a request of its own.
    fn answered(&mut self, message: &Value) -> Option<u8> {
        if message["id"] == 8 && self.prompt.is_some() {
            let allowed = message["result"]["outcome"]["optionId"] == "yes";
            if allowed && self.is("works") {
                work();
            }
            let status = if allowed { "completed" } else { "failed" };
            self.update(&json!({"sessionUpdate": "tool_call_update", "toolCallId": "c-8",
                "status": status}));
            self.words(if allowed { "allowed" } else { "refused" });
            self.finish();
        }
        None
    }

    fn ask(&self, id: u32, what: &str) {
        let call = format!("c-{id}");
        self.update(&json!({"sessionUpdate": "tool_call", "toolCallId": call, "title": what,
            "kind": "edit", "status": "pending", "rawInput": {"path": "a.txt"}}));
        let options = json!([
            {"optionId": "no", "name": "No", "kind": "reject_once"},
            {"optionId": "always", "name": "Always", "kind": "allow_always"},
            {"optionId": "yes", "name": "Yes", "kind": "allow_once"},
        ]);
        let call = json!({"toolCallId": call, "title": what, "rawInput": {"path": "a.txt"}});
        let params = json!({"sessionId": self.newest(), "toolCall": call, "options": options});
        let method = "session/request_permission";
        say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string());
    }

    /// Reports usage, says something, and ends the turn.
    fn finish(&mut self) {
        let cost = json!({"amount": 0.25, "currency": "USD"});
        let turns = std::fs::read_to_string(self.home.join("turns.txt")).unwrap_or_default();
        let n = turns.len() + 1;
        std::fs::write(self.home.join("turns.txt"), "x".repeat(n)).unwrap_or_default();
        let mut usage = json!({"sessionUpdate": "usage_update", "used": 9, "size": 99});
        usage["cost"] = cost;
        usage["cost"]["amount"] = json!(0.25 * f64::from(u32::try_from(n).unwrap_or(1)));
        self.words("done in ");
        self.words("parts");
        self.update(&usage);
        self.update(&json!({"sessionUpdate": "of_a_later_version", "x": [1]}));
        self.end("end_turn");
        if self.is("late") {
            self.words("said too late");
        }
    }

    fn end(&mut self, reason: &str) {
        if let Some(id) = self.prompt.take() {
            let usage = json!({"inputTokens": 30, "outputTokens": 5, "cachedReadTokens": 10,
                "totalTokens": 45});
            answer(&id, &json!({"stopReason": reason, "usage": usage}));
        }
    }

    fn words(&self, text: &str) {
        let content = json!({"type": "text", "text": text});
        self.update(&json!({"sessionUpdate": "agent_message_chunk", "content": content}));
    }

    fn update(&self, update: &Value) {
        let params = json!({"sessionId": self.newest(), "update": update});
        let message = json!({"jsonrpc": "2.0", "method": "session/update", "params": params});
        say(&message.to_string());
    }

    fn newest(&self) -> String {
        let known = std::fs::read_to_string(self.home.join("sessions.txt")).unwrap_or_default();
        known.lines().next_back().unwrap_or_default().to_owned()
    }

    fn note(&self, line: &str) {
        let file = self.home.join("told.jsonl");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
        if let Ok(mut file) = file {
            let _ = writeln!(file, "{line}");
        }
    }
}

/// Runs the shell script that the environment variable `SCRIPT` names, in the working folder.
fn work() {
    let script = std::env::var("SCRIPT").unwrap_or_default();
    let mut shell = Command::new("sh");
    let _ = shell.arg(script).stdin(Stdio::null()).stdout(Stdio::null()).status();
}

fn answer(id: &Value, result: &Value) {
    say(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
}

fn error(id: &Value, code: i64, message: &str) {
    let error = json!({"code": code, "message": message});
    say(&json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string());
}

fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

fn sleep_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_hours(1));
    }
}
