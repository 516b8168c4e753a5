//! What a job is and how it ended: the two files of a job's folder that never change.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::sandbox::{BoxSpec, Strength};

/// The identity of a job: a text that its caller composes, for example of run, kind, and commit or
/// turn.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobKey(String);

/// A job to be started, or attached to if its key was started before.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// The job's identity.
    pub key: JobKey,
    /// The job's state folder: absolute, one for each key; created if missing. Its parent must
    /// exist.
    pub dir: PathBuf,
    /// The lock file of the workspace that the job works in, if it must be alone there.
    pub lock: Option<PathBuf>,
    /// The command and the box in which it runs.
    pub boxed: BoxSpec,
    /// Environment variables of the job that are written to no file.
    pub secrets: BTreeMap<String, SecretString>,
    /// The key of the model's API that the job uses. It stays outside of the box and is written to
    /// no file; for a network that reaches such an API ([`crate::egress::Credential::Handed`]).
    pub model_key: Option<SecretString>,
    /// The job's standard input.
    pub stdin: Stdin,
    /// How long the job may take; then it is asked to end, and killed.
    pub timeout: Duration,
    /// How long the job goes on without renewal by a control plane.
    pub renew_within: Duration,
    /// Maximum size of standard output and standard error together, in bytes.
    pub output_limit: u64,
}

/// A job's standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// No bytes: it ends at once.
    Empty,
    /// These bytes, then it ends.
    Bytes(Vec<u8>),
    /// These bytes, then what [`super::Job::write`] adds until [`super::Job::close_stdin`].
    Pipe(Vec<u8>),
}

/// How a job ended, and what it used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Why the job ended.
    pub how: EndHow,
    /// When the box was started; `None` if it never was.
    pub started_at: Option<Timestamp>,
    /// When nothing of the job was left.
    pub ended_at: Timestamp,
    /// The most memory that its processes were measured to use together, in bytes; 0 if its host
    /// was killed with it.
    pub max_memory: u64,
    /// CPU time of all its processes, in milliseconds; 0 if its host was killed with it.
    pub cpu_ms: u64,
    /// The strength of its box; `None` if it never had one.
    pub sandbox: Option<Strength>,
    /// What confined the job, as text for people and evidence.
    pub sandbox_text: String,
}

/// Why a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", content = "detail", rename_all = "kebab-case")]
pub enum EndHow {
    /// It ended by itself with this exit code.
    Exited(i32),
    /// A signal that we did not send ended it. An exit code of 128 + n is taken for signal n.
    Signalled(i32),
    /// It exceeded its time limit.
    TimedOut,
    /// We ended it, for this reason.
    Killed(KilledBy),
    /// It exceeded its memory limit.
    OutOfMemory,
    /// It exceeded its limit of threads.
    TooManyProcesses,
    /// It exceeded its output limit; what is stored is cut there.
    TooMuchOutput,
    /// Its output or state could not be stored, for this reason.
    OutputLost(String),
    /// Another job holds its workspace. It never ran; remove it and try again later.
    WorkspaceBusy,
    /// This signal, which we did not send, ended its box before the job began. The job never ran
    /// and is not to blame; remove it and try again.
    Unbegun(i32),
    /// It never ran, for this reason.
    CouldNotStart(String),
}

/// Why we ended a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KilledBy {
    /// The loop is halted.
    Halt,
    /// This job was interrupted or cancelled.
    Interrupt,
    /// No control plane renewed it in time.
    Expired,
}

/// The signal that asks a job to stop, before it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopSignal {
    /// `SIGINT`, as Ctrl-C sends it.
    Interrupt,
    /// `SIGTERM`.
    Terminate,
}

impl JobKey {
    /// Makes a key of any text; equal texts are the same job.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// A short name of the key that fits paths and environments: the first 128 bits of its SHA-256,
    /// in hex.
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(self.0.as_bytes())[..16])
    }
}

impl fmt::Display for JobKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl JobSpec {
    /// A job without a lock, secrets or input, with a time limit of an hour, ten minutes between
    /// renewals, and 256 MiB of output.
    pub fn new(key: JobKey, dir: impl Into<PathBuf>, boxed: BoxSpec) -> Self {
        Self {
            key,
            dir: dir.into(),
            lock: None,
            boxed,
            secrets: BTreeMap::new(),
            model_key: None,
            stdin: Stdin::Empty,
            timeout: Duration::from_hours(1),
            renew_within: Duration::from_mins(10),
            output_limit: 256 << 20,
        }
    }
}

impl EndHow {
    /// Whether the job ended by itself with exit code 0.
    pub fn is_success(&self) -> bool {
        *self == Self::Exited(0)
    }
}

impl fmt::Display for EndHow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(out, "exited with code {code}"),
            Self::Signalled(signal) => write!(out, "ended by signal {signal}"),
            Self::TimedOut => out.write_str("ran out of time"),
            Self::Killed(KilledBy::Halt) => out.write_str("ended because the loop is halted"),
            Self::Killed(KilledBy::Interrupt) => out.write_str("interrupted"),
            Self::Killed(KilledBy::Expired) => {
                out.write_str("ended because no control plane renewed it")
            }
            Self::OutOfMemory => out.write_str("used more memory than it may"),
            Self::TooManyProcesses => out.write_str("ran more processes than it may"),
            Self::TooMuchOutput => out.write_str("wrote more output than it may"),
            Self::OutputLost(reason) => {
                write!(out, "ended because its output cannot be stored: {reason}")
            }
            Self::WorkspaceBusy => out.write_str("did not start: another job holds its workspace"),
            Self::Unbegun(signal) => {
                write!(out, "did not start: signal {signal} ended its box before it began")
            }
            Self::CouldNotStart(reason) => write!(out, "did not start: {reason}"),
        }
    }
}

/// The spec as stored in `spec.json`. Fields without a comment are those of [`JobSpec`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredSpec {
    /// Stored to notice that two jobs were given one folder.
    pub(super) key: JobKey,
    pub(super) lock: Option<PathBuf>,
    pub(super) boxed: BoxSpec,
    /// Whether the starter hands over secrets ([`HandedSecrets`]) on the host's standard input.
    pub(super) has_secrets: bool,
    /// Name of the file in the folder with the first input.
    pub(super) input: Option<String>,
    /// Whether more input may follow.
    pub(super) more_input: bool,
    pub(super) timeout_ms: u64,
    pub(super) renew_within_ms: u64,
    pub(super) output_limit: u64,
}

/// The secrets that the starter hands over to a new host; no file contains them.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct HandedSecrets {
    /// Environment variables of the job.
    pub(super) env: BTreeMap<String, String>,
    /// The key of the model's API.
    pub(super) model_key: Option<String>,
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
