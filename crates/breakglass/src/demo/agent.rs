//! The demo's agent: takes the command line of the Claude CLI, prints a stream like the CLI's, and
//! really runs its commands, but always the same ones. It always says that it is scripted.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

/// The name of the hidden subcommand.
pub const SUBCOMMAND: &str = "scripted-agent";

/// The longest prompt that is read, in bytes.
const MAX_PROMPT: u64 = 1 << 20;

/// Runs one turn with the CLI's arguments, and the prompt on standard input.
pub fn main(args: &[OsString]) -> ExitCode {
    match turn(args) {
        Ok(()) => ExitCode::SUCCESS,
        // The output has no reader any more, or a command could not be started.
        Err(_) => ExitCode::FAILURE,
    }
}

fn turn(args: &[OsString]) -> io::Result<()> {
    let begun = Instant::now();
    let session = args
        .windows(2)
        .find(|pair| pair[0] == "--session-id" || pair[0] == "--resume")
        .map(|pair| pair[1].to_string_lossy().into_owned());
    let mut prompt = String::new();
    io::stdin().take(MAX_PROMPT).read_to_string(&mut prompt)?;
    say(&json!({"type": "system", "subtype": "init", "session_id": session, "model": "scripted"}))?;
    text(
        "I am scripted: I look at the same things whatever you ask. First, load, memory and disk.",
    )?;
    for command in ["uptime", "free -m", "df -h /", "systemctl --failed --no-legend"] {
        run(&["devvm", command])?;
    }
    text("The machine answers. Now its hypervisor.")?;
    let seen = run(&["pve", "status"])?;
    let last = if seen.contains("does not answer") || seen.contains("QEMU answers: no") {
        "QEMU does not answer its hypervisor although the VM is running: it is wedged. I would \
         record forensics, then power-cycle it. The power panel does both without me."
    } else {
        "QEMU answers and nothing is out of the ordinary. There is nothing to repair."
    };
    text(last)?;
    let duration = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    say(&json!({
        "type": "result", "subtype": "success", "is_error": false, "result": last,
        "duration_ms": duration, "num_turns": 1, "session_id": session,
    }))
}

/// Runs `ssh` for at most 20 seconds, shows the call and what it printed, and returns the latter.
fn run(args: &[&str]) -> io::Result<String> {
    let command = format!("timeout 20 ssh {}", args.join(" "));
    block(&json!({"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": command}}))?;
    let output =
        Command::new("timeout").args(["20", "ssh"]).args(args).stdin(Stdio::null()).output()?;
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).trim().to_owned();
    text(&format!("```\n{printed}\n```"))?;
    Ok(printed)
}

fn text(text: &str) -> io::Result<()> {
    block(&json!({"type": "text", "text": text}))
}

fn block(block: &Value) -> io::Result<()> {
    say(&json!({"type": "assistant", "message": {"role": "assistant", "content": [block]}}))
}

fn say(line: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
