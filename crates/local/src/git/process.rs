//! Supervises one running command to its end.
//!
//! `command` uses this. Invariants: output, files and time are limited, and unless the command
//! ended by itself (timeout, cancelled, dropped), its whole process group is killed.

use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

/// How much of the end of standard error is kept, in bytes.
const STDERR_TAIL: usize = 8 << 10;
/// How long a terminated git may take to remove its own lock files before it is killed.
const GRACE: Duration = Duration::from_secs(1);

/// The output of an ended command, whatever its exit code.
#[derive(Debug)]
pub(crate) struct Output {
    /// The exit code; 128 + n if signal n ended the command.
    pub(crate) code: i32,
    /// Standard output, complete.
    pub(crate) stdout: Vec<u8>,
    /// The end of standard error.
    pub(crate) stderr: String,
}

/// The limits of one command.
pub(crate) struct Bounds<'a> {
    /// Maximum length of standard output, in bytes.
    pub(crate) output: usize,
    /// Maximum size of every file that it writes, in bytes.
    pub(crate) file_size: Option<u64>,
    /// How long it may take.
    pub(crate) timeout: Duration,
    /// Ends it early when cancelled.
    pub(crate) cancel: &'a CancellationToken,
}

/// Why a command was ended early.
pub(crate) enum EarlyEnd {
    /// The caller cancelled.
    Cancelled,
    /// Its time was up.
    Timeout,
    /// It printed more than its limit.
    Flood,
    /// A pipe to it failed, or it could not be limited or waited for.
    Io(std::io::Error),
}

/// Writes `input` to `child`, which leads a process group of its own, reads its output, and waits
/// for it.
pub(crate) async fn attend(
    mut child: Child,
    input: Option<Vec<u8>>,
    bounds: Bounds<'_>,
) -> Result<Output, EarlyEnd> {
    let mut group = Group::of(&child);
    if let (Some(bytes), Some(pid)) = (bounds.file_size, group.0) {
        // Git starts the program that writes the pack only after its first round trip, so that
        // program inherits the limit.
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        let set = rustix::process::prlimit(Some(pid), Resource::Fsize, limit);
        set.map_err(|e| EarlyEnd::Io(e.into()))?;
    }
    let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let ended = {
        let work = async {
            let read = async { read_whole(out, bounds.output).await };
            let fed = async {
                // A git that stops reading its input says why on standard error.
                if let (Some(mut stdin), Some(bytes)) = (stdin, input) {
                    let _ = stdin.write_all(&bytes).await;
                }
                Ok::<(), EarlyEnd>(())
            };
            let tail = async { Ok(read_tail(err).await) };
            let wait = async { child.wait().await.map_err(EarlyEnd::Io) };
            tokio::try_join!(read, fed, tail, wait)
        };
        tokio::select! {
            done = work => done,
            () = bounds.cancel.cancelled() => Err(EarlyEnd::Cancelled),
            () = tokio::time::sleep(bounds.timeout) => Err(EarlyEnd::Timeout),
        }
    };
    match ended {
        Ok((stdout, (), stderr, status)) => {
            group.0 = None;
            Ok(Output { code: exit_code(status), stdout, stderr })
        }
        Err(why) => {
            group.stop(&mut child).await;
            Err(why)
        }
    }
}

/// The process group of a command that has not ended. Dropping it kills the group.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// Asks the group to end, waits until git has removed its lock files, at most [`GRACE`], then
    /// kills what is left.
    async fn stop(&mut self, child: &mut Child) {
        self.signal(Signal::TERM);
        let _ = tokio::time::timeout(GRACE, child.wait()).await;
        self.signal(Signal::KILL);
        // Even if the group may not be signalled, its leader can be killed as our child.
        let _ = child.start_kill();
        let _ = child.wait().await;
        self.0 = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            // An error means that no process is left to signal, which is a success.
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

async fn read_whole(
    from: Option<impl AsyncRead + Unpin>,
    limit: usize,
) -> Result<Vec<u8>, EarlyEnd> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        let mut bounded = from.take(limit as u64 + 1);
        bounded.read_to_end(&mut bytes).await.map_err(EarlyEnd::Io)?;
    }
    if bytes.len() > limit { Err(EarlyEnd::Flood) } else { Ok(bytes) }
}

/// Reads to the end and returns the last [`STDERR_TAIL`] bytes.
async fn read_tail(from: Option<impl AsyncRead + Unpin>) -> String {
    let mut tail: Vec<u8> = Vec::new();
    let mut chunk = [0_u8; 4096];
    if let Some(mut from) = from {
        while let Ok(n @ 1..) = from.read(&mut chunk).await {
            tail.extend(chunk.iter().take(n));
            if tail.len() > 2 * STDERR_TAIL {
                tail.drain(..tail.len() - STDERR_TAIL);
            }
        }
    }
    let from = tail.len().saturating_sub(STDERR_TAIL);
    String::from_utf8_lossy(tail.get(from..).unwrap_or_default()).into_owned()
}

fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(-1)
}
