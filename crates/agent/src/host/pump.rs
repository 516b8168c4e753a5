//! Moves bytes between a job and its folder: output to files, input from a file.
//!
//! Only bytes count: lines and characters mean nothing here. Every pipe has its own thread, so that
//! no stream can hold up another.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::files::private;

/// Maximum input of a job, in bytes.
const INPUT_LIMIT: u64 = 256 << 20;

/// What [`drain`] reports.
#[derive(Debug)]
pub(super) enum PumpNotice {
    /// The output limit was exceeded.
    Full,
    /// Output cannot be stored.
    Failed(io::Error),
    /// The pipe is closed, and all stored output is on disk.
    Done,
}

/// How many bytes of output the pumps of a job may store together.
#[derive(Debug)]
pub(super) struct Allowance {
    limit: u64,
    used: AtomicU64,
}

impl Allowance {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, used: AtomicU64::new(0) }
    }

    /// Takes `wanted` bytes of the allowance, and returns how many of them may be stored.
    fn take(&self, wanted: u64) -> u64 {
        let before = self.used.fetch_add(wanted, Ordering::SeqCst);
        self.limit.saturating_sub(before).min(wanted)
    }
}

/// Appends everything that `from` delivers to a file. Past the allowance, or if the file fails, it
/// goes on reading, so that the job does not hang in a write until it is killed.
pub(super) fn drain(
    mut from: impl Read,
    path: &Path,
    allowance: &Allowance,
    notice: impl Fn(PumpNotice),
) {
    let mut file = match private().create(true).append(true).open(path) {
        Ok(file) => Some(file),
        Err(error) => {
            notice(PumpNotice::Failed(error));
            None
        }
    };
    let mut buffer = vec![0; 64 << 10];
    let mut full = false;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let stored = allowance.take(read as u64) as usize;
        if let Some(Err(error)) = file.as_mut().map(|file| file.write_all(&buffer[..stored])) {
            notice(PumpNotice::Failed(error));
            file = None;
        }
        if stored < read && !full {
            full = true;
            notice(PumpNotice::Full);
        }
    }
    if let Some(Err(error)) = file.map(|file| file.sync_data()) {
        notice(PumpNotice::Failed(error));
    }
    notice(PumpNotice::Done);
}

/// A job's input: a log that control planes append to, and that the job reads at its own pace.
#[derive(Debug)]
pub(super) struct Input {
    log: File,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    len: u64,
    closed: bool,
}

impl Input {
    /// Creates the log at `path` with the bytes `first`; `more` keeps the input open.
    pub(super) fn new(path: &Path, first: &[u8], more: bool) -> io::Result<Arc<Self>> {
        let log = private().create(true).truncate(true).read(true).write(true).open(path)?;
        log.write_all_at(first, 0)?;
        let state = Mutex::new(State { len: first.len() as u64, closed: !more });
        Ok(Arc::new(Self { log, state, changed: Condvar::new() }))
    }

    /// Adds `bytes` at `offset`, which must be the end, and returns the new length. The same bytes
    /// may be there already, because a control plane may repeat a call after a crash.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<u64, String> {
        let mut state = self.state();
        let end = offset + bytes.len() as u64;
        if offset < state.len && end <= state.len {
            let mut held = vec![0; bytes.len()];
            self.log
                .read_exact_at(&mut held, offset)
                .map_err(|error| format!("cannot read the input so far: {error}"))?;
            return if held == bytes {
                Ok(state.len)
            } else {
                Err(format!("there is other input at {offset} already"))
            };
        }
        if offset != state.len {
            return Err(format!(
                "the input is {} bytes long, so none can be added at {offset}",
                state.len
            ));
        }
        if state.closed {
            return Err("the input is closed".to_owned());
        }
        if end > INPUT_LIMIT {
            return Err(format!("the input would be longer than {INPUT_LIMIT} bytes"));
        }
        self.log
            .write_all_at(bytes, offset)
            .map_err(|error| format!("cannot store the input: {error}"))?;
        state.len = end;
        self.changed.notify_all();
        Ok(end)
    }

    /// Ends the input, and returns its length.
    pub(super) fn close(&self) -> u64 {
        let mut state = self.state();
        state.closed = true;
        self.changed.notify_all();
        state.len
    }

    /// Length of the input so far, in bytes.
    pub(super) fn len(&self) -> u64 {
        self.state().len
    }

    /// Passes the log on to the job until the input is closed and delivered, or the job stops
    /// reading.
    pub(super) fn feed(&self, mut to: impl Write) -> io::Result<()> {
        let mut at = 0;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let end = {
                let mut state = self.state();
                while state.len == at && !state.closed {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                state.len
            };
            if end == at {
                return Ok(());
            }
            let part = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            self.log.read_exact_at(&mut buffer[..part], at)?;
            to.write_all(&buffer[..part])?;
            at += part as u64;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent at every unlock, so a thread that panicked has broken nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_written_twice_is_there_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let input = Input::new(&folder.path().join("stdin"), b"one\n", true).expect("made");
        assert_eq!(input.write(4, b"two\n"), Ok(8));
        assert_eq!(input.write(4, b"two\n"), Ok(8));
        assert_eq!(input.write(0, b"one\ntwo\n"), Ok(8));
        assert!(input.write(4, b"2wo\n").is_err(), "other bytes at the same place");
        assert!(input.write(6, b"o\nthree\n").is_err(), "neither old nor new");
        assert!(input.write(9, b"x").is_err(), "a gap");
        assert_eq!(input.close(), 8);
        assert!(input.write(8, b"x").is_err(), "closed");
        assert_eq!(input.write(4, b"two\n"), Ok(8), "old bytes are there, closed or not");
        let mut fed = Vec::new();
        input.feed(&mut fed).expect("fed");
        assert_eq!(fed, b"one\ntwo\n");
    }

    #[test]
    fn output_stops_at_the_allowance_and_is_read_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stdout");
        let notices = Mutex::new(Vec::new());
        let bytes = vec![0xff; 200_000];
        drain(&bytes[..], &path, &Allowance::new(100_000), |notice| {
            notices.lock().expect("whole").push(format!("{notice:?}"));
        });
        assert_eq!(std::fs::read(&path).expect("stored").len(), 100_000);
        assert_eq!(*notices.lock().expect("whole"), ["Full", "Done"]);
    }
}
