//! A stand-in for the Claude CLI that says what its prompt asks for, at once.
//!
//! For tests and benches of the gateway, where the real CLI is too slow or too well-behaved. It
//! prints the CLI's lines, serves both kinds of input, keeps conversations in its home, and notes
//! each start in the gateway's. The prompt's commands are words in double brackets, such as
//! `[[deltas:500]]`.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use serde_json::{Value, json};

/// What each turn costs, in US dollars.
const TURN_USD: f64 = 0.01;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let shared = shared();
    if let Ok(mut starts) =
        fs::OpenOptions::new().create(true).append(true).open(shared.join("starts"))
    {
        let _ = writeln!(starts, "{} {}", std::process::id(), args.join(" "));
    }
    if shared.join("broken").exists() {
        eprintln!("it cannot start");
        return ExitCode::from(1);
    }
    let has =
        |name: &str, value: &str| args.windows(2).any(|two| two[0] == name && two[1] == value);
    let value = |name: &str| args.windows(2).find(|two| two[0] == name).map(|two| two[1].clone());
    let streams = has("--output-format", "stream-json");
    let takes_lines = has("--input-format", "stream-json");
    if takes_lines && shared.join("takes-no-lines").exists() {
        eprintln!("error: option '--input-format <format>' argument 'stream-json' is invalid.");
        return ExitCode::from(1);
    }
    while takes_lines && shared.join("hangs").exists() {
        std::thread::sleep(Duration::from_mins(1));
    }
    let prompt = if takes_lines { line() } else { text() };
    let Some(prompt) = prompt else { return ExitCode::SUCCESS };
    let id = value("--session-id").or(value("--resume"));
    let session = id.as_ref().map(|id| home.join("sessions").join(id));
    if let (Some(id), Some(kept)) = (&id, &session) {
        match (value("--resume").is_some(), kept.exists()) {
            (true, false) => {
                eprintln!("No conversation found with session ID: {id}");
                return ExitCode::from(1);
            }
            (false, true) => {
                eprintln!("Error: Session ID {id} is already in use.");
                return ExitCode::from(1);
            }
            (true, true) => {}
            (false, false) => {
                let _ = fs::create_dir_all(home.join("sessions"));
                let _ = fs::write(kept, "");
            }
        }
    }
    if !args.iter().any(|arg| arg == "--no-session-persistence") {
        keep(&home, "s.jsonl");
    }
    if prompt.contains("[[spill]]") {
        keep(&home, "s/tool-results/t.txt");
    }
    Play { streams, session, said: String::new(), out: String::new() }.play(&prompt, &args)
}

/// Keeps a file where the CLI keeps transcripts and the long outputs of tools: in a folder of its
/// home that is named like the one in which it runs.
fn keep(home: &Path, file: &str) {
    let folder = std::env::current_dir().unwrap_or_default().display().to_string();
    let named = folder.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let path = home.join(".claude/projects").join(named).join(file);
    let _ = path.parent().map(fs::create_dir_all);
    let _ = fs::write(path, "what it read");
}

/// The prompt of a process that reads text to its end.
fn text() -> Option<String> {
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first prompt of a process that reads lines of JSON.
fn line() -> Option<String> {
    for line in io::stdin().lock().lines() {
        let line: Value = serde_json::from_str(&line.ok()?).ok()?;
        match line["type"].as_str() {
            Some("control_request") => {
                println!(
                    "{}",
                    json!({"type": "control_response", "response": {
                    "subtype": "success", "request_id": line["request_id"], "response": {}}})
                );
            }
            Some("user") => {
                return line["message"]["content"][0]["text"].as_str().map(str::to_owned);
            }
            _ => {}
        }
    }
    None
}

/// The gateway's home, where a test finds what is noted and says what is to fail. A job's own home
/// is gone when the job is over.
fn shared() -> PathBuf {
    match std::env::var_os(afk_agent::tether::MARK) {
        Some(state) => Path::new(&state).join("home"),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()),
    }
}

/// Appends a line about this run to a file in the gateway's home, for tests that count runs.
fn note(prompt: &str) {
    let notes = fs::OpenOptions::new().create(true).append(true).open(shared().join("notes"));
    if let Ok(mut notes) = notes {
        let _ = writeln!(notes, "{prompt}");
    }
}

/// Renews the sign-in in its home as the CLI does: by a new file that is renamed over the old one,
/// or over a link to it.
fn renew(sign_in: &str) {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let kept = home.join(".claude/.credentials.json");
    let beside = home.join(".claude/.credentials.json.new");
    let _ = fs::write(&beside, sign_in).and_then(|()| fs::rename(&beside, kept));
}

/// Makes a read-only folder, such as the caches of tools have.
fn close(folder: &Path) {
    let _ = fs::create_dir_all(folder);
    let _ = fs::write(folder.join("file"), "");
    let _ = fs::set_permissions(folder, PermissionsExt::from_mode(0o555));
}

struct Play {
    streams: bool,
    /// The file of the conversation, with what it has cost so far in US dollars.
    session: Option<PathBuf>,
    said: String,
    out: String,
}

impl Play {
    fn play(mut self, prompt: &str, args: &[String]) -> ExitCode {
        self.event(&json!({"type": "system", "subtype": "init", "session_id": "s",
            "model": "scripted", "claude_code_version": "0"}));
        let commands: Vec<(String, String)> = prompt
            .split("[[")
            .skip(1)
            .filter_map(|rest| rest.split_once("]]"))
            .map(|(command, _)| command.split_once(':').unwrap_or((command, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut reason = "end_turn".to_owned();
        for (name, value) in commands {
            let number = value.split(',').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
            let second = value.split(',').nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
            match name.as_str() {
                "deltas" => (0..number).for_each(|_| self.delta("word ")),
                "size" => self.delta(&"x".repeat(number as usize)),
                "slow" => {
                    for n in 0..number {
                        self.delta(&format!("{n} "));
                        self.flush();
                        std::thread::sleep(Duration::from_millis(second));
                    }
                }
                // Prints plain lines, as a program does while it works.
                "print" => {
                    for n in 0..number {
                        let _ = writeln!(self.out, "line {n}");
                    }
                    self.flush();
                }
                "echo" => value.split_inclusive(' ').for_each(|word| self.delta(word)),
                "note" => note(prompt),
                "prompt" => self.delta(prompt),
                "argv" => self.delta(&args.join(" ")),
                "folder" => {
                    let folder = std::env::current_dir().unwrap_or_default();
                    self.delta(&folder.display().to_string());
                }
                "renew" => renew(&value),
                "closed" => close(Path::new(&value)),
                "read" => self.delta(&fs::read_to_string(&value).unwrap_or_else(|e| e.to_string())),
                "bytes" => {
                    self.delta("Здравейте, как сте?");
                    let bytes = std::mem::take(&mut self.out).into_bytes();
                    for byte in bytes {
                        let _ = io::stdout().write_all(&[byte]);
                        let _ = io::stdout().flush();
                    }
                }
                "sleep" => {
                    self.flush();
                    std::thread::sleep(Duration::from_millis(number));
                }
                "hang" => {
                    self.flush();
                    loop {
                        std::thread::sleep(Duration::from_mins(1));
                    }
                }
                // Waits, and ends its turn when it gets an interrupt.
                "wait" => {
                    self.flush();
                    while let Some(line) = io::stdin().lock().lines().next() {
                        if line.unwrap_or_default().contains("\"interrupt\"") {
                            self.result("", true, &reason);
                            return ExitCode::SUCCESS;
                        }
                    }
                }
                "usage" => self.begin(number),
                "break" => self.break_off(&value),
                // Says something in its result alone.
                "late" => self.said.push_str(&value),
                // Starts grandchildren that hold the output open, each in a session of its own.
                "fork" => {
                    for _ in 0..number.max(1) {
                        let _ = Command::new("setsid").args(["sleep", "1000"]).spawn();
                    }
                }
                "reason" => reason = value,
                "stderr" => eprintln!("{value}"),
                "exit" => {
                    self.flush();
                    return ExitCode::from(u8::try_from(number).unwrap_or(1));
                }
                "die" => {
                    self.flush();
                    std::process::abort();
                }
                "raw" => {
                    println!("{value}");
                    return ExitCode::SUCCESS;
                }
                "fail" => {
                    self.result(&value, true, &reason);
                    return ExitCode::from(1);
                }
                _ => {}
            }
        }
        let said = self.said.clone();
        self.result(&said, false, &reason);
        ExitCode::SUCCESS
    }

    fn delta(&mut self, text: &str) {
        self.said.push_str(text);
        if self.streams {
            let text = Value::from(text);
            let _ = writeln!(
                self.out,
                "{{\"type\":\"stream_event\",\"event\":{{\"type\":\"content_block_delta\",\"index\":0,\
                 \"delta\":{{\"type\":\"text_delta\",\"text\":{text}}}}},\"session_id\":\
                 \"23dfd852-e5a6-4236-bc52-cd6e9e016a7c\",\"parent_tool_use_id\":null,\"uuid\":\
                 \"9775f9e7-f35f-42b8-886e-8a973d461bab\",\"api_message_id\":\"msg_51292a6d54084b8db2\"}}"
            );
        }
        if self.out.len() > 1 << 20 {
            self.flush();
        }
    }

    /// Prints the token counts that the model's API sends when it begins to answer.
    fn begin(&mut self, input: u64) {
        self.event(&json!({"type": "stream_event", "parent_tool_use_id": null,
            "event": {"type": "message_start", "message": {"id": "m", "usage":
                {"input_tokens": input, "output_tokens": 1}}}}));
    }

    /// Says the beginning of an answer, in the middle of which the model's API fails. What is said
    /// next is the answer to the second request, and the whole answer.
    fn break_off(&mut self, beginning: &str) {
        self.begin(1000);
        beginning.split_inclusive(' ').for_each(|word| self.delta(word));
        for kind in ["content_block_stop", "message_stop"] {
            self.event(&json!({"type": "stream_event", "parent_tool_use_id": null,
                "event": {"type": kind}}));
        }
        self.said.clear();
    }

    fn event(&mut self, value: &Value) {
        if self.streams {
            let _ = writeln!(self.out, "{value}");
        }
    }

    fn result(&mut self, text: &str, is_error: bool, reason: &str) {
        let total = self.total_usd();
        let mut line = json!({"type": "result", "subtype": "success", "is_error": is_error,
            "result": text, "stop_reason": reason, "num_turns": 1, "total_cost_usd": total,
            "usage": {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 3,
                "cache_creation_input_tokens": 2}, "permission_denials": []});
        if self.streams {
            line["model_usage_since_last_result"] = json!({"scripted": {"inputTokens": 10,
                "outputTokens": 5, "cacheReadInputTokens": 3, "cacheCreationInputTokens": 2,
                "costUSD": TURN_USD}});
        }
        let _ = writeln!(self.out, "{line}");
        self.flush();
    }

    /// Adds this turn to what its conversation has cost, and returns that.
    fn total_usd(&self) -> f64 {
        let Some(kept) = &self.session else { return TURN_USD };
        let before = fs::read_to_string(kept).unwrap_or_default();
        let total = before.parse::<f64>().unwrap_or(0.0) + TURN_USD;
        let _ = fs::write(kept, total.to_string());
        total
    }

    fn flush(&mut self) {
        let mut stdout = io::stdout();
        let _ = stdout.write_all(std::mem::take(&mut self.out).as_bytes());
        let _ = stdout.flush();
    }
}
