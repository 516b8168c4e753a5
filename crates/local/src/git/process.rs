//! One running command, supervised to its end.
//!
//! Called by `command`. Invariants: output, files and time are limited, and however the waiting
//! ends (done, timeout, cancelled, dropped), no process of its group stays.

use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

/// How much of standard error is kept.
const STDERR_TAIL: usize = 8 << 10;
/// How long a stopped git may take to remove its own lock files.
const GRACE: Duration = Duration::from_secs(1);

/// The output of an ended command, whatever its exit code.
#[derive(Debug)]
pub(crate) struct Output {
    /// The exit code; 128 + n after signal n.
    pub(crate) code: i32,
    /// Standard output, complete.
    pub(crate) stdout: Vec<u8>,
    /// The end of standard error.
    pub(crate) stderr: String,
}

/// The limits of a command.
pub(crate) struct Bounds<'a> {
    /// Bytes of standard output.
    pub(crate) output: usize,
    /// Bytes of every file it writes.
    pub(crate) file_size: Option<u64>,
    /// Time.
    pub(crate) timeout: Duration,
    /// Ends it early.
    pub(crate) cancel: &'a CancellationToken,
}

/// Why a command was not waited for to its end.
pub(crate) enum Ended {
    /// The caller cancelled.
    Cancelled,
    /// Its time was up.
    Timeout,
    /// It printed more than allowed.
    Flood,
    /// Its pipes failed.
    Io(std::io::Error),
}

/// Feeds, reads and waits for `child`, the leader of a process group of its own.
pub(crate) async fn attend(
    mut child: Child,
    input: Option<Vec<u8>>,
    bounds: Bounds<'_>,
) -> Result<Output, Ended> {
    let mut group = Group::of(&child);
    if let (Some(bytes), Some(pid)) = (bounds.file_size, group.0) {
        // Inherited by what git starts, which it does after its first round trip.
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        let set = rustix::process::prlimit(Some(pid), Resource::Fsize, limit);
        set.map_err(|e| Ended::Io(e.into()))?;
    }
    let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let ended = {
        let work = async {
            let read = async { read_whole(out, bounds.output).await };
            let fed = async {
                // A git that stops reading says why on standard error.
                if let (Some(mut stdin), Some(bytes)) = (stdin, input) {
                    let _ = stdin.write_all(&bytes).await;
                }
                Ok::<(), Ended>(())
            };
            let tail = async { Ok(read_tail(err).await) };
            let wait = async { child.wait().await.map_err(Ended::Io) };
            tokio::try_join!(read, fed, tail, wait)
        };
        tokio::select! {
            done = work => done,
            () = bounds.cancel.cancelled() => Err(Ended::Cancelled),
            () = tokio::time::sleep(bounds.timeout) => Err(Ended::Timeout),
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

/// The process group of a command that has not ended; killed when dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// Asks it to end, waits a moment for lock files to be removed, then kills what is left.
    async fn stop(&mut self, child: &mut Child) {
        self.signal(Signal::TERM);
        let _ = tokio::time::timeout(GRACE, child.wait()).await;
        self.signal(Signal::KILL);
        // If we may not signal the group, its leader is still our child.
        let _ = child.start_kill();
        let _ = child.wait().await;
        self.0 = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            // No process left to signal is a success.
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

async fn read_whole(from: Option<impl AsyncRead + Unpin>, limit: usize) -> Result<Vec<u8>, Ended> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        let mut bounded = from.take(limit as u64 + 1);
        bounded.read_to_end(&mut bytes).await.map_err(Ended::Io)?;
    }
    if bytes.len() > limit { Err(Ended::Flood) } else { Ok(bytes) }
}

/// Reads to the end and keeps the last of it.
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
