//! Runs an invocation as a real process and reads it, for the tests of this crate.
//! A stand-in for the host: no sandbox, and it lives as long as the test.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use afk_agent::agents::ask::AgentQuestion;
use afk_agent::agents::{
    AgentEvent, AgentKind, Exit, FailReason, Invocation, TurnOutcome, TurnReader,
};
use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::ExposeSecret;

/// How long anything may take: far more than it does, so that a busy machine fails no test.
pub(crate) const BOUND: Duration = Duration::from_mins(2);

/// A running process. Dropping it kills its group.
pub(crate) struct Running {
    agent: AgentKind,
    child: Child,
    /// The process's input, if it stays open.
    stdin: Option<std::process::ChildStdin>,
    output: Arc<Mutex<Vec<u8>>>,
    stdout: Option<JoinHandle<()>>,
    stderr: Option<JoinHandle<()>>,
    errors: Arc<Mutex<Vec<u8>>>,
}

impl Running {
    pub(crate) fn start(agent: AgentKind, invocation: &Invocation, folder: &Path) -> Self {
        let mut running = Self::start_talking(agent, invocation, folder);
        running.stdin = None;
        running
    }

    /// [`Running::start`] with an input that stays open after the first bytes.
    pub(crate) fn start_talking(agent: AgentKind, invocation: &Invocation, folder: &Path) -> Self {
        let mut child = Command::new(&invocation.program)
            .args(&invocation.args)
            .env_clear()
            .envs(invocation.env.iter().map(|(k, v)| (k, v.expose_secret())))
            .current_dir(folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A program that does not read its input must not stall or fail the test here.
        let bytes = invocation.stdin.clone();
        let written = std::thread::spawn(move || {
            let _ = stdin.write_all(&bytes);
            stdin
        });
        let output = Arc::default();
        let errors = Arc::default();
        let stdout = drain(child.stdout.take().unwrap(), &output);
        let stderr = drain(child.stderr.take().unwrap(), &errors);
        let written = bounded(written);
        Self {
            agent,
            child,
            stdin: written,
            output,
            stdout: Some(stdout),
            stderr: Some(stderr),
            errors,
        }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes one more line to the process's input.
    pub(crate) fn say(&mut self, line: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(line).unwrap();
    }

    /// Waits for an open question.
    pub(crate) fn wait_for_ask(&self) -> AgentQuestion {
        self.wait_for_ask_after("")
    }

    /// Waits for an open question other than `id`.
    pub(crate) fn wait_for_ask_after(&self, id: &str) -> AgentQuestion {
        let mut found = None;
        wait_until("a question", || {
            let mut reader = TurnReader::new(self.agent);
            let _ = reader.feed(&self.output.lock().unwrap());
            found = reader.asks().iter().find(|ask| ask.id != id).cloned();
            found.is_some()
        });
        found.unwrap()
    }

    /// What the process has written to standard output so far.
    pub(crate) fn written(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }

    /// Sends a signal to the whole group.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process_group(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the output contains a text.
    pub(crate) fn wait_for(&self, text: &str) {
        wait_until(text, || String::from_utf8_lossy(&self.output.lock().unwrap()).contains(text));
    }

    /// Waits for the end and reads the turn.
    pub(crate) fn finish(mut self, interrupted_by_us: bool) -> Done {
        let mut status = None;
        wait_until("the process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let status = status.unwrap();
        // A process that it started may still hold the pipes open.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        for reader in [self.stdout.take(), self.stderr.take()] {
            reader.unwrap().join().unwrap();
        }
        let exit = match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Exited { code },
            (None, Some(signal)) => Exit::Signalled { signal },
            (None, None) => Exit::Lost,
        };
        let mut reader = TurnReader::new(self.agent);
        let mut events = reader.feed(&self.output.lock().unwrap());
        events.extend(reader.finish());
        let errors = String::from_utf8_lossy(&self.errors.lock().unwrap()).into_owned();
        let output = std::mem::take(&mut *self.output.lock().unwrap());
        let outcome = reader.outcome(&exit, &errors, interrupted_by_us);
        Done { outcome, events, reader, output }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// The input of a program that has read its first bytes within five seconds; `None` if it has not.
fn bounded(written: JoinHandle<std::process::ChildStdin>) -> Option<std::process::ChildStdin> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !written.is_finished() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    written.is_finished().then(|| written.join().unwrap())
}

/// Polls until something holds; fails the test after [`BOUND`].
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + BOUND;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {BOUND:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn drain(mut from: impl Read + Send + 'static, into: &Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let mut chunk = [0; 8192];
        while let Ok(count @ 1..) = from.read(&mut chunk) {
            into.lock().unwrap().extend_from_slice(&chunk[..count]);
        }
    })
}

/// A turn that is over.
pub(crate) struct Done {
    pub(crate) outcome: TurnOutcome,
    pub(crate) events: Vec<AgentEvent>,
    pub(crate) reader: TurnReader,
    /// Everything that the process wrote to standard output.
    pub(crate) output: Vec<u8>,
}

impl Done {
    pub(crate) fn finished(&self) -> &str {
        match &self.outcome {
            TurnOutcome::Finished { text } => text,
            other => panic!("not finished: {other:?}"),
        }
    }

    pub(crate) fn reason(&self) -> &FailReason {
        match &self.outcome {
            TurnOutcome::Failed { reason, message } => {
                println!("{}", self.outcome);
                assert!(!message.is_empty(), "a failure without a word");
                reason
            }
            other => panic!("not failed: {other:?}"),
        }
    }
}
