//! Running one turn's process: it is started on a tether, its output is read as it comes, and it is
//! ended when its [`Live`] is dropped.
//!
//! Output is read directly from the CLI's pipe, as much as there is at once, into a buffer that all
//! turns of a thread share: a turn that is silent holds no buffer. The supervisor copies nothing.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use afk_agent::agents::claude::control;
use afk_agent::agents::{Exit, Invocation};
use afk_agent::tether::{self, Tethered};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe::Receiver;
use tokio::process::ChildStdin;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::command::{Input, Surroundings, TurnSpec, input, invocation, line};
use super::transcript::{Accepts, Transcript, Verdict};

/// How much of standard output is read at once, in bytes.
const READ_BYTES: usize = 128 * 1024;
/// How much of the end of standard error is kept, in bytes.
const STDERR_BYTES: usize = 16 * 1024;
/// How long the processes of a turn may take to die once they are told to.
const DYING: Duration = Duration::from_secs(5);

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Starts processes of the CLI for one service.
#[derive(Debug, Clone)]
pub(crate) struct Cli {
    /// The program that supervises each process: this very binary.
    pub(crate) supervisor: PathBuf,
    /// The value of [`tether::MARK`] in everything that this service starts.
    pub(crate) mark: String,
    /// What all processes share.
    pub(crate) around: Surroundings,
    /// An empty folder, where lean turns and conversations run.
    pub(crate) scratch: PathBuf,
}

/// A running process. Dropping it ends the process, without waiting for that; see [`Live::end`].
#[derive(Debug)]
pub(crate) struct Live {
    process: Tethered,
    stdout: Option<Receiver>,
    stdin: Option<ChildStdin>,
    input: Option<mpsc::Sender<Vec<u8>>>,
    writer: Option<JoinHandle<()>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    complaints: Option<JoinHandle<()>>,
    exit: Option<Exit>,
    pub(crate) transcript: Transcript,
}

/// Whether more output may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    /// The turn has its result, or the output has ended.
    Over,
}

impl Cli {
    /// Starts a process and gives it its prompt.
    pub(crate) fn start(&self, spec: &TurnSpec, prompt: &str, folder: &Path) -> io::Result<Live> {
        let mut live = self.spawn(&invocation(spec, &self.around, folder), folder)?;
        match input(spec) {
            Input::Text => live.write(prompt.as_bytes().to_vec(), true)?,
            Input::Line => live.begin(prompt)?,
        }
        Ok(live)
    }

    /// Starts a process that waits for its prompt.
    pub(crate) fn start_warm(&self, spec: &TurnSpec) -> io::Result<Live> {
        let mut live = self.spawn(&invocation(spec, &self.around, &self.scratch), &self.scratch)?;
        live.write(control::initialize(), false)?;
        Ok(live)
    }

    /// Starts any program on a tether, such as git.
    pub(crate) fn spawn(&self, invocation: &Invocation, folder: &Path) -> io::Result<Live> {
        let mut process = tether::start(&self.supervisor, invocation, folder, &self.mark)?;
        let missing = || io::Error::other("the process has no pipes");
        let stdout = process.stdout.take().ok_or_else(missing)?;
        let stdout = Receiver::from_owned_fd(stdout.into_owned_fd()?)?;
        let stdin = process.stdin.take();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let complaints = process.stderr.take().map(|mut stderr| {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut piece = [0; 2048];
                // Ends with the process: its supervisor holds the pipe no longer than that.
                while let Ok(read @ 1..) = stderr.read(&mut piece).await {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.extend_from_slice(&piece[..read]);
                    let excess = kept.len().saturating_sub(STDERR_BYTES);
                    kept.drain(..excess);
                }
            })
        });
        Ok(Live {
            process,
            stdout: Some(stdout),
            stdin,
            input: None,
            writer: None,
            stderr: kept,
            complaints,
            exit: None,
            transcript: Transcript::new(),
        })
    }
}

impl Live {
    /// Gives a process that takes lines its one prompt.
    pub(crate) fn begin(&mut self, prompt: &str) -> io::Result<()> {
        let line = line(prompt).map_err(|error| io::Error::other(error.to_string()))?;
        self.transcript = Transcript::new();
        self.write(line, false)
    }

    /// Queues bytes for the process's input, written by a task of its own: a process that reads
    /// late must not keep us from reading. `close` ends the input, or else the process's end does.
    pub(crate) fn write(&mut self, bytes: Vec<u8>, close: bool) -> io::Result<()> {
        let gone = || io::Error::other("the process takes no more input");
        if let Some(mut stdin) = self.stdin.take() {
            let (pass, mut passed) = mpsc::channel::<Vec<u8>>(2);
            self.input = Some(pass);
            self.writer = Some(tokio::spawn(async move {
                while let Some(bytes) = passed.recv().await {
                    // No need to report this: a process that closed its input is ending.
                    if stdin.write_all(&bytes).await.is_err() || stdin.flush().await.is_err() {
                        return;
                    }
                }
            }));
        }
        let input = self.input.as_ref().ok_or_else(gone)?;
        input.try_send(bytes).map_err(|_| gone())?;
        if close {
            self.input = None;
        }
        Ok(())
    }

    /// Waits for output, reads what there is, and passes the answer's pieces to `each`.
    pub(crate) async fn read(&mut self, mut each: impl FnMut(&str)) -> Progress {
        match self.raw(|transcript, bytes| transcript.feed(bytes, &mut each)).await {
            Progress::Over => {
                self.transcript.finish(&mut each);
                Progress::Over
            }
            Progress::More if self.transcript.has_result() => Progress::Over,
            Progress::More => Progress::More,
        }
    }

    /// Waits for output and reads once.
    async fn raw(&mut self, mut take: impl FnMut(&mut Transcript, &[u8])) -> Progress {
        let Self { process, stdout, exit, transcript, .. } = self;
        let Some(pipe) = stdout else { return Progress::Over };
        loop {
            let ready = if exit.is_none() {
                tokio::select! {
                    biased;
                    ready = pipe.readable() => ready,
                    // The supervisor ended; the rest of the output is still in the pipe.
                    ended = process.wait() => { *exit = Some(ended); continue }
                }
            } else {
                pipe.readable().await
            };
            if ready.is_err() {
                return Progress::Over;
            }
            let read = BUFFER.with_borrow_mut(|buffer| match pipe.try_read(buffer) {
                Ok(0) => Some(Progress::Over),
                Ok(read) => {
                    take(transcript, &buffer[..read]);
                    Some(Progress::More)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                Err(_) => Some(Progress::Over),
            });
            if let Some(progress) = read {
                return progress;
            }
        }
    }

    /// Like [`Live::read`], but passes on raw bytes, up to the end of the output.
    pub(crate) async fn read_bytes(&mut self, mut each: impl FnMut(&[u8])) -> Progress {
        let both = |transcript: &mut Transcript, bytes: &[u8]| {
            transcript.feed(bytes, |_| {});
            each(bytes);
        };
        let progress = self.raw(both).await;
        if progress == Progress::Over {
            self.transcript.finish(|_| {});
        }
        progress
    }

    /// Whether a waiting process still waits: it has neither ended nor printed anything.
    pub(crate) fn is_waiting(&mut self) -> bool {
        let Some(pipe) = &self.stdout else { return false };
        let mut byte = [0; 1];
        matches!(pipe.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Asks the turn to end, if its process takes lines, and reads on for `limit` to get a result.
    pub(crate) async fn interrupt(&mut self, limit: Duration) {
        if !self.transcript.has_result() && self.write(control::interrupt("end"), false).is_ok() {
            let reading = async { while self.read(|_| {}).await == Progress::More {} };
            let _ = timeout(limit, reading).await;
        }
    }

    /// Judges a turn that is over. `stopped` is whether we ended it.
    pub(crate) async fn judge(&mut self, stopped: bool, accepts: Accepts) -> Verdict {
        if self.transcript.has_result() || stopped {
            let exit = self.exit.clone().unwrap_or(Exit::Exited { code: 0 });
            return self.transcript.judge(&exit, &self.stderr_tail(), stopped, accepts);
        }
        let exit = self.ended().await;
        self.complaint().await;
        self.transcript.judge(&exit, &self.stderr_tail(), stopped, accepts)
    }

    /// Returns the line of standard error that says what is wrong; for a process that ended.
    pub(crate) async fn complaint(&mut self) -> String {
        if let Some(complaints) = self.complaints.take() {
            // The task ends with the pipe, and the pipe with the process.
            let _ = timeout(DYING, complaints).await;
        }
        complaint_in(&self.stderr_tail()).to_owned()
    }

    /// Returns how the process ended; [`Exit::Lost`] if it has not within [`DYING`].
    pub(crate) async fn ended(&mut self) -> Exit {
        if self.exit.is_none() {
            let ended = timeout(DYING, self.process.wait()).await;
            self.exit = Some(ended.unwrap_or(Exit::Lost));
        }
        self.exit.clone().unwrap_or(Exit::Lost)
    }

    /// Ends the process with everything that it started, and waits until all of it is gone.
    pub(crate) async fn end(mut self) {
        if let Some(writer) = self.writer.take() {
            writer.abort();
        }
        self.stdin = None;
        self.stdout = None;
        self.ended().await;
    }

    /// Returns what is kept of standard error: its last [`STDERR_BYTES`].
    pub(crate) fn stderr_tail(&self) -> String {
        let kept = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).into_owned()
    }
}

/// Returns the line of standard error that says what is wrong. It need not be the last one, since
/// advice may follow: `git clone` ends with "and the repository exists."
fn complaint_in(stderr: &str) -> &str {
    let mut lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let is_error = |line: &&str| line.starts_with("fatal:") || line.starts_with("error:");
    lines.clone().find(is_error).or_else(|| lines.next_back()).unwrap_or_default()
}

impl Drop for Live {
    fn drop(&mut self) {
        // Dropping `stdout` ends the process; dropping the handle would not end the writer.
        if let Some(writer) = self.writer.take() {
            writer.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_what_is_wrong_and_not_the_advice_after_it() {
        #[track_caller]
        fn check(stderr: &str, complaint: &str) {
            assert_eq!(complaint_in(stderr), complaint);
        }
        check("", "");
        check("\n one \n two\n\n", "two");
        check(
            "Cloning into '/x'...\n\
             fatal: detected dubious ownership in repository at '/b/.git'\n\
             To add an exception for this directory, call:\n\n\
             fatal: Could not read from remote repository.\n\n\
             Please make sure you have the correct access rights\nand the repository exists.\n",
            "fatal: detected dubious ownership in repository at '/b/.git'",
        );
        check("error: no such file\nit is over\n", "error: no such file");
    }
}
