//! One job, from the control plane's side: observe, renew, feed, end, clean up.
//!
//! Nothing here blocks the async runtime and nothing waits without a limit. Reading a job's state
//! costs a file or two; only a request talks to its host. Two control planes may do all of this at
//! the same time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::conclude::{Concluded, conclude, remove, withdraw};
use super::control::{self, HostAnswer, HostRequest, WRITE_LIMIT};
use super::error::HostError;
use super::files::{Folder, HostRecord, boot};
use super::spec::{End, KilledBy, StopSignal};
use crate::egress::{Refusal, read_refusals};
use crate::sandbox::Strength;

/// How long a host may take to kill its job before it counts as stuck.
const KILL: Duration = Duration::from_millis(2500);

/// The shortest pause between two polls of a state.
pub(super) const LOOK: Duration = Duration::from_millis(10);

/// One job, by its folder. Cheap to clone; holding one keeps nothing open.
#[derive(Clone, Debug)]
pub struct Job {
    pub(super) folder: Folder,
}

/// The state of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Its host runs or is being started, and its box does not exist yet. A job whose starter died
    /// before there was a host stays in this state until somebody ensures it again or withdraws it.
    Starting,
    /// Its box runs.
    Running {
        /// The first process of its box, by its id outside the box.
        pid: i32,
        /// When the box was started.
        started_at: Timestamp,
        /// The strength of its box.
        sandbox: Strength,
    },
    /// It is over, and nothing of it is left.
    Ended(End),
    /// Its host died before it could record how the job ended; nothing of it is left. It must be
    /// removed before it can be started again.
    Lost,
}

impl Job {
    /// The job in this folder; `None` if the folder holds no job.
    pub fn open(dir: impl Into<PathBuf>) -> Option<Self> {
        let folder = Folder::at(dir);
        folder.has("spec.json").then_some(Self { folder })
    }

    pub(super) fn at(dir: impl Into<PathBuf>) -> Self {
        Self { folder: Folder::at(dir) }
    }

    /// The job's folder.
    pub fn dir(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }

    /// Reads the job's state. The first call after its host died ends what is left of the job,
    /// which may take seconds; every other call reads at most two small files.
    pub async fn status(&self) -> Result<JobState, HostError> {
        if let Some(end) = self.read("end.json").await? {
            return Ok(JobState::Ended(end));
        }
        if self.folder.has("lost") {
            return Ok(JobState::Lost);
        }
        let Some(record) = self.read::<HostRecord>("host.json").await? else {
            return Ok(JobState::Starting);
        };
        if record.is_alive() {
            return Ok(match record.running {
                None => JobState::Starting,
                Some(running) => JobState::Running {
                    pid: running.root.pid,
                    started_at: running.started_at,
                    sandbox: running.sandbox,
                },
            });
        }
        match self.conclude(record, None).await? {
            Some(end) => Ok(JobState::Ended(end)),
            None => Ok(JobState::Lost),
        }
    }

    /// Whether the job's host lives. Reads one small file, and changes nothing.
    pub async fn has_host(&self) -> Result<bool, HostError> {
        Ok(self.read::<HostRecord>("host.json").await?.as_ref().is_some_and(HostRecord::is_alive))
    }

    /// Polls until the job is over or `bound` has passed; returns the last state.
    pub async fn wait(&self, bound: Duration) -> Result<JobState, HostError> {
        let deadline = Instant::now() + bound;
        let mut pause = LOOK;
        loop {
            match self.status().await? {
                state @ (JobState::Ended(_) | JobState::Lost) => return Ok(state),
                state @ (JobState::Starting | JobState::Running { .. })
                    if Instant::now() >= deadline =>
                {
                    return Ok(state);
                }
                JobState::Starting | JobState::Running { .. } => {}
            }
            tokio::time::sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }

    /// Reads up to `max` bytes of the job's standard output from `offset` on; empty at the current
    /// end.
    pub async fn read_stdout(&self, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
        self.read_output("stdout", offset, max).await
    }

    /// [`Job::read_stdout`] for standard error.
    pub async fn read_stderr(&self, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
        self.read_output("stderr", offset, max).await
    }

    /// Reads the last bytes of the job's standard output so far, up to `max`.
    pub async fn stdout_tail(&self, max: usize) -> Result<Vec<u8>, HostError> {
        self.read_tail("stdout", max).await
    }

    /// [`Job::stdout_tail`] for standard error.
    pub async fn stderr_tail(&self, max: usize) -> Result<Vec<u8>, HostError> {
        self.read_tail("stderr", max).await
    }

    /// Reads up to `max` bytes of the job's input so far, from `offset` on.
    pub async fn read_stdin(&self, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
        self.read_output("stdin", offset, max).await
    }

    /// Reads which network access was refused to the job's box: since the given time, or ever.
    pub async fn refusals(&self, since: Option<Timestamp>) -> Result<Vec<Refusal>, HostError> {
        let folder = self.dir();
        self.blocking("read what it was refused", move || read_refusals(&folder, since)).await
    }

    /// Overwrites the byte ranges `places` of the stored standard output with `byte`, as far as
    /// they are written already. This is safe while the job runs, because the host only appends.
    pub async fn overwrite_stdout(
        &self,
        places: Vec<Range<u64>>,
        byte: u8,
    ) -> Result<(), HostError> {
        let path = self.folder.file("stdout");
        self.blocking("overwrite its output", move || {
            let file = OpenOptions::new().write(true).open(&path)?;
            let len = file.metadata()?.len();
            for place in places {
                let end = place.end.min(len);
                let bytes = usize::try_from(end.saturating_sub(place.start)).unwrap_or(0);
                file.write_all_at(&vec![byte; bytes], place.start)?;
            }
            file.sync_data()
        })
        .await
    }

    /// Renews the job: shows its host that a control plane is there.
    pub async fn renew(&self) -> Result<(), HostError> {
        self.request(HostRequest::Renew, &[]).await.map(drop)
    }

    /// Asks for the length of the job's input so far, which is the offset for the next
    /// [`Job::write`]. Renews, too.
    pub async fn stdin_len(&self) -> Result<u64, HostError> {
        self.request(HostRequest::Renew, &[]).await
    }

    /// Adds input at `offset`, which must be the current end, and returns the new length. A
    /// repeated call with the same offset and bytes changes nothing, so it may be repeated after a
    /// crash.
    pub async fn write(&self, offset: u64, bytes: &[u8]) -> Result<u64, HostError> {
        let mut end = offset;
        for part in bytes.chunks(WRITE_LIMIT) {
            end = self.request(HostRequest::Write { offset: end, len: part.len() }, part).await?;
        }
        Ok(end)
    }

    /// Ends the job's input.
    pub async fn close_stdin(&self) -> Result<(), HostError> {
        self.request(HostRequest::CloseStdin, &[]).await.map(drop)
    }

    /// Asks the job to end, and has its host kill it if it has not ended after `grace`. Returns at
    /// once; a host that does not answer is killed with its job. Safe to repeat; no error if the
    /// job is over.
    pub async fn interrupt(
        &self,
        signal: StopSignal,
        grace: Duration,
        by: KilledBy,
    ) -> Result<(), HostError> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        match self.request(HostRequest::Interrupt { signal, grace_ms, by }, &[]).await {
            Ok(_) | Err(HostError::Over { .. }) => Ok(()),
            Err(_) => self.force(by).await,
        }
    }

    /// Kills the whole job, and returns when nothing of it is left, within about five seconds,
    /// whatever its host does. No error if the job is over.
    pub async fn kill(&self, by: KilledBy) -> Result<(), HostError> {
        match self.request(HostRequest::Kill { by }, &[]).await {
            Ok(_) => match self.wait(KILL).await? {
                JobState::Ended(_) | JobState::Lost => Ok(()),
                JobState::Starting | JobState::Running { .. } => self.force(by).await,
            },
            Err(HostError::Over { .. }) => Ok(()),
            Err(_) => self.force(by).await,
        }
    }

    /// Deletes a job that is over, with all its files; its key may then be used again.
    pub async fn remove(self) -> Result<(), HostError> {
        match self.status().await? {
            JobState::Ended(_) | JobState::Lost => {}
            JobState::Starting | JobState::Running { .. } => {
                return Err(HostError::StillRunning { dir: self.dir() });
            }
        }
        let folder = self.folder.clone();
        // The host still holds the lock for a moment after it has recorded the end.
        let deadline = Instant::now() + control::PATIENCE;
        loop {
            let folder = folder.clone();
            if self.blocking("remove it", move || remove(&folder)).await? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(HostError::StillRunning { dir: self.dir() });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Deletes a job that never had a host, as when its starter died half way; returns whether the
    /// job is gone. Only for a caller that alone may start the job, and is not doing so now.
    pub async fn withdraw(&self) -> Result<bool, HostError> {
        if self.folder.has("host.json") {
            return Ok(false);
        }
        let folder = self.folder.clone();
        self.blocking("withdraw it", move || match withdraw(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
            done => done,
        })
        .await
    }

    /// Kills a host that does not obey, and the job with it.
    async fn force(&self, by: KilledBy) -> Result<(), HostError> {
        let Some(record) = self.read::<HostRecord>("host.json").await? else {
            return Err(self.gone());
        };
        if record.boot == boot() {
            record.host.signal(rustix::process::Signal::KILL);
        }
        let deadline = Instant::now() + control::PATIENCE;
        while record.is_alive() && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
        // The record may have been rewritten until the host died.
        let record = self.read::<HostRecord>("host.json").await?.unwrap_or(record);
        self.conclude(record, Some(by)).await.map(drop)
    }

    /// Records the end of a job whose host is dead, after making sure that nothing is left of it:
    /// killed `by` if that is given, otherwise lost. An end that is recorded already stays.
    async fn conclude(
        &self,
        record: HostRecord,
        by: Option<KilledBy>,
    ) -> Result<Option<End>, HostError> {
        let deadline = Instant::now() + control::PATIENCE;
        loop {
            let (folder, record) = (self.folder.clone(), record.clone());
            let concluded =
                self.blocking("conclude it", move || Ok(conclude(&folder, &record, by))).await?;
            match concluded {
                Concluded::Ended(end) => return Ok(Some(end)),
                Concluded::Lost => return Ok(None),
                Concluded::Undead(reason) => {
                    return Err(HostError::Undead { dir: self.dir(), reason });
                }
                Concluded::Failed(source) => return Err(self.io("conclude it", source)),
                // Another process is concluding it, or a dying host still holds the lock.
                Concluded::Locked if Instant::now() < deadline => tokio::time::sleep(LOOK).await,
                Concluded::Locked => return Err(self.io("lock it", ErrorKind::TimedOut.into())),
            }
        }
    }

    async fn request(&self, ask: HostRequest, bytes: &[u8]) -> Result<u64, HostError> {
        if self.folder.has("end.json") || self.folder.has("lost") {
            return Err(HostError::Over { dir: self.dir() });
        }
        let silent = |source| HostError::Silent { dir: self.dir(), source };
        let token = fs::read_to_string(self.folder.file("token"))
            .map_err(|source| self.io("read its token", source))?;
        let deadline = Instant::now() + control::PATIENCE;
        loop {
            let (_open, socket) =
                self.folder.socket().map_err(|source| self.io("find its socket", source))?;
            match control::send(&socket, &token, ask, bytes).await {
                Ok(HostAnswer::Done { stdin_len }) => return Ok(stdin_len),
                Ok(HostAnswer::Refused { reason }) => {
                    return Err(HostError::Refused { dir: self.dir(), reason });
                }
                Err(_) if self.folder.has("end.json") => {
                    return Err(HostError::Over { dir: self.dir() });
                }
                // A host that has just started will listen in a moment.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::NotFound | ErrorKind::ConnectionRefused
                    ) && Instant::now() < deadline
                        && self.has_host().await? =>
                {
                    tokio::time::sleep(LOOK).await;
                }
                Err(error) => return Err(silent(error)),
            }
        }
    }

    async fn read_output(
        &self,
        name: &'static str,
        offset: u64,
        max: usize,
    ) -> Result<Vec<u8>, HostError> {
        let path = self.folder.file(name);
        self.blocking("read its output", move || read_at(&path, offset, max)).await
    }

    async fn read_tail(&self, name: &'static str, max: usize) -> Result<Vec<u8>, HostError> {
        let path = self.folder.file(name);
        self.blocking("read its output", move || {
            let len = path.metadata().map_or(0, |data| data.len());
            read_at(&path, len.saturating_sub(max as u64), max)
        })
        .await
    }

    pub(super) async fn read<T>(&self, name: &'static str) -> Result<Option<T>, HostError>
    where
        T: serde::de::DeserializeOwned + Send + 'static,
    {
        let folder = self.folder.clone();
        self.blocking("read its state", move || folder.read(name)).await
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, HostError> {
        let done = tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        done.map_err(|source| self.io(what, source))
    }

    pub(super) async fn last_of_log(&self) -> String {
        let path = self.folder.file("host.log");
        let log = self
            .blocking("read its log", move || read_at(&path, 0, 4096))
            .await
            .unwrap_or_default();
        match String::from_utf8_lossy(&log).lines().next_back() {
            Some(line) => format!(": {line}"),
            None => String::new(),
        }
    }

    pub(super) fn io(&self, what: &'static str, source: io::Error) -> HostError {
        HostError::Io { dir: self.dir(), what, source }
    }

    pub(super) fn gone(&self) -> HostError {
        self.io("find it", ErrorKind::NotFound.into())
    }
}

fn read_at(path: &Path, offset: u64, max: usize) -> io::Result<Vec<u8>> {
    let file = match File::open(path) {
        Ok(file) => file,
        // Nothing was written yet.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let there = usize::try_from(file.metadata()?.len().saturating_sub(offset)).unwrap_or(max);
    let mut bytes = vec![0; there.min(max)];
    let read = file.read_at(&mut bytes, offset)?;
    bytes.truncate(read);
    Ok(bytes)
}
