//! Carries out the steps of a script.
//!
//! The program calls [`take`] for one step after the other. Every edit is on the real file system,
//! every run a real process, every commit made by git. Children stay in the agent's process group,
//! so that whoever ends the group ends them too.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::script::{Step, stays_inside};
use super::session::Session;
use crate::agents::event::{AgentEvent, LimitHit, TokenUsage, summarise};

/// The author and committer of every commit that the agent makes.
const AUTHOR: &str = "afk scripted agent";
const AUTHOR_MAIL: &str = "scripted-agent@afk.invalid";
/// How long a run or a wait lasts at most by default.
const PATIENCE: Duration = Duration::from_mins(10);
/// How long [`Step::Silence`] lasts at most.
const SILENCE: Duration = Duration::from_hours(1);
const POLL: Duration = Duration::from_millis(10);
/// How much of the end of a program's output is said, in bytes.
const TAIL: usize = 4096;

/// How the turn continues after a step.
pub(super) enum Flow {
    /// With the next step.
    Next,
    /// The turn has failed, and ends.
    Fail { message: String, limit: Option<LimitHit> },
    /// The process ends with this code, without an end of the turn.
    Exit(i32),
}

/// Carries out one step. An error means that the events cannot be written any more; a failure of
/// the step itself is [`Flow::Fail`].
pub(super) fn take<W: Write>(session: &mut Session<W>, step: &Step) -> std::io::Result<Flow> {
    match step {
        Step::Say { text } => {
            session.say(text.clone())?;
            Ok(Flow::Next)
        }
        Step::ExpectPrompt { contains } => Ok(if session.prompt.contains(contains) {
            Flow::Next
        } else {
            fail(format!("the prompt does not contain {contains:?}"))
        }),
        Step::Write { path, content } => edit(session, "write", path, |path| {
            make_parent(path)?;
            std::fs::write(path, content)
        }),
        Step::Append { path, content } => {
            edit(session, "append", path, |path| append(path, content.as_bytes()))
        }
        Step::Delete { path } => edit(session, "delete", path, |path| std::fs::remove_file(path)),
        Step::LeaveDirty { path } => edit(session, "leave_dirty", path, |path| {
            append(path, b"left uncommitted by the scripted agent\n")
        }),
        Step::Run { argv, expect, timeout_ms } => {
            run(session, argv, *expect, patience(*timeout_ms))
        }
        Step::Commit { subject, body, paths } => commit(session, subject, body, paths),
        Step::Checkout { branch } => checkout(session, branch),
        Step::Wait { until_file, ms } => Ok(wait(until_file.as_deref(), patience(*ms))),
        Step::IgnoreTerm {} => Ok(ignore_term()),
        Step::Garbage { lines, bytes } => {
            garbage(session, *lines, *bytes)?;
            Ok(Flow::Next)
        }
        Step::Usage { input_tokens, output_tokens, cost } => {
            session.tokens = session.tokens.plus(TokenUsage {
                input: *input_tokens,
                output: *output_tokens,
                ..TokenUsage::default()
            });
            session.cost_usd += cost;
            session.emit(&AgentEvent::Usage(session.tokens))?;
            Ok(Flow::Next)
        }
        Step::UsageLimit { resets_at } => {
            let resets_at = *resets_at;
            session.emit(&AgentEvent::UsageLimit { resets_at })?;
            Ok(Flow::Fail {
                message: "the usage limit is reached".to_owned(),
                limit: Some(LimitHit { resets_at }),
            })
        }
        Step::Fail { message } => Ok(fail(message.clone())),
        Step::Exit { code } => Ok(Flow::Exit(*code)),
        Step::Silence {} => {
            std::thread::sleep(SILENCE);
            Ok(Flow::Exit(1))
        }
    }
}

fn fail(message: String) -> Flow {
    Flow::Fail { message, limit: None }
}

fn patience(ms: Option<u64>) -> Duration {
    ms.map_or(PATIENCE, Duration::from_millis)
}

/// Wraps work in the events of a tool call; an error of the work fails the turn.
fn tool<W: Write>(
    session: &mut Session<W>,
    name: &str,
    summary: &str,
    work: impl FnOnce(&mut Session<W>) -> std::io::Result<Result<(), String>>,
) -> std::io::Result<Flow> {
    let id = session.next_tool_id();
    session.emit(&AgentEvent::ToolStarted {
        id: id.clone(),
        name: name.to_owned(),
        summary: summarise(summary),
    })?;
    let done = work(session)?;
    session.emit(&AgentEvent::ToolEnded { id, is_error: done.is_err() })?;
    Ok(match done {
        Ok(()) => Flow::Next,
        Err(message) => fail(format!("{name} {summary}: {message}")),
    })
}

fn edit<W: Write>(
    session: &mut Session<W>,
    name: &str,
    path: &Path,
    work: impl FnOnce(&Path) -> std::io::Result<()>,
) -> std::io::Result<Flow> {
    tool(session, name, &path.display().to_string(), |_| {
        Ok(if stays_inside(path) {
            work(path).map_err(|error| error.to_string())
        } else {
            Err("the path leaves the working directory".to_owned())
        })
    })
}

fn make_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => std::fs::create_dir_all(parent),
        Some(_) | None => Ok(()),
    }
}

fn append(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    make_parent(path)?;
    std::fs::OpenOptions::new().create(true).append(true).open(path)?.write_all(bytes)
}

fn run<W: Write>(
    session: &mut Session<W>,
    argv: &[String],
    expect: Option<i32>,
    patience: Duration,
) -> std::io::Result<Flow> {
    tool(session, "run", &argv.join(" "), |session| {
        let Some((program, rest)) = argv.split_first() else {
            return Ok(Err("argv is empty".to_owned()));
        };
        let mut command = Command::new(program);
        command.args(rest);
        let (status, output) = match finish(command, patience) {
            Ok(done) => done,
            Err(message) => return Ok(Err(message)),
        };
        session.say(format!("[scripted agent] {status}\n{output}"))?;
        Ok(match expect {
            Some(code) if status.code() != Some(code) => {
                Err(format!("{status}, expected exit code {code}"))
            }
            Some(_) | None => Ok(()),
        })
    })
}

/// Runs a command to its end, and returns its status and the end of its output, both streams in
/// one.
fn finish(mut command: Command, patience: Duration) -> Result<(ExitStatus, String), String> {
    let (reader, writer) =
        std::io::pipe().map_err(|error| format!("cannot make a pipe: {error}"))?;
    let second = writer.try_clone().map_err(|error| format!("cannot share a pipe: {error}"))?;
    command.stdin(Stdio::null()).stdout(writer).stderr(second);
    let mut child = command.spawn().map_err(|error| format!("cannot start: {error}"))?;
    // The command holds the pipe's writing ends; while they are open, reading would never end.
    drop(command);
    let (sender, tail) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(read_tail(reader)));
    let deadline = Instant::now() + patience;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(POLL),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("not done after {} ms", patience.as_millis()));
            }
            Err(error) => return Err(format!("cannot wait: {error}")),
        }
    };
    // A grandchild may hold the output open for longer than anybody waits.
    let output = tail
        .recv_timeout(Duration::from_secs(2))
        .unwrap_or_else(|_| "(its output is still open)".to_owned());
    Ok((status, output))
}

fn read_tail(mut reader: impl Read) -> String {
    let mut tail = Vec::new();
    let mut chunk = [0; 8192];
    while let Ok(count @ 1..) = reader.read(&mut chunk) {
        tail.extend_from_slice(&chunk[..count]);
        if tail.len() > 2 * TAIL {
            tail.drain(..tail.len() - TAIL);
        }
    }
    let start = tail.len().saturating_sub(TAIL);
    String::from_utf8_lossy(&tail[start..]).into_owned()
}

fn git(args: &[&str]) -> Command {
    let mut command = Command::new("git");
    // No hook and no signature: a commit must contain exactly what the script says.
    command
        .args(["-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false"])
        .args(args)
        .env("GIT_TERMINAL_PROMPT", "0");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), AUTHOR).env(format!("GIT_{who}_EMAIL"), AUTHOR_MAIL);
    }
    command
}

fn git_ok(command: Command) -> Result<(), String> {
    let (status, output) = finish(command, PATIENCE)?;
    if status.success() { Ok(()) } else { Err(format!("{status}: {}", output.trim())) }
}

fn commit<W: Write>(
    session: &mut Session<W>,
    subject: &str,
    body: &str,
    paths: &[PathBuf],
) -> std::io::Result<Flow> {
    tool(session, "commit", subject, |_| {
        if let Some(path) = paths.iter().find(|path| !stays_inside(path)) {
            return Ok(Err(format!("{} leaves the working directory", path.display())));
        }
        let staged = if paths.is_empty() {
            Ok(())
        } else {
            let mut add = git(&["--literal-pathspecs", "add", "--all", "--"]);
            add.args(paths);
            git_ok(add)
        };
        let message =
            if body.is_empty() { subject.to_owned() } else { format!("{subject}\n\n{body}") };
        let mut commit = git(&["commit", "--quiet", "--message", &message]);
        if paths.is_empty() {
            commit.arg("--allow-empty");
        }
        Ok(staged.and_then(|()| git_ok(commit)))
    })
}

fn checkout<W: Write>(session: &mut Session<W>, branch: &str) -> std::io::Result<Flow> {
    tool(session, "checkout", branch, |_| {
        let name = format!("refs/heads/{branch}");
        let known = git_ok(git(&["show-ref", "--verify", "--quiet", &name])).is_ok();
        let switch = if known {
            git(&["switch", "--quiet", "--", branch])
        } else {
            git(&["switch", "--quiet", "--create", branch])
        };
        Ok(git_ok(switch))
    })
}

fn wait(until_file: Option<&Path>, patience: Duration) -> Flow {
    let Some(path) = until_file else {
        std::thread::sleep(patience);
        return Flow::Next;
    };
    let deadline = Instant::now() + patience;
    loop {
        if path.exists() {
            return Flow::Next;
        }
        if Instant::now() >= deadline {
            return fail(format!(
                "{} is not there after {} ms",
                path.display(),
                patience.as_millis()
            ));
        }
        std::thread::sleep(POLL);
    }
}

/// Makes the process ignore SIGTERM and SIGINT. Registering a handler replaces the default action
/// for the rest of the process's life, even after the listener and its runtime are gone.
fn ignore_term() -> Flow {
    use tokio::signal::unix::{SignalKind, signal};
    let register = || -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let _guard = runtime.enter();
        drop(signal(SignalKind::terminate())?);
        drop(signal(SignalKind::interrupt())?);
        Ok(())
    };
    match register() {
        Ok(()) => Flow::Next,
        Err(error) => fail(format!("cannot ignore signals: {error}")),
    }
}

fn garbage<W: Write>(session: &mut Session<W>, lines: u32, bytes: u32) -> std::io::Result<()> {
    let block = vec![b'x'; 64 * 1024];
    for _ in 0..lines {
        let mut left = bytes as usize;
        while left > 0 {
            let part = left.min(block.len());
            session.raw(&block[..part])?;
            left -= part;
        }
        session.raw(b"\n")?;
    }
    Ok(())
}
