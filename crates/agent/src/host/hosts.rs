//! Starting a job or attaching to it by key.
//!
//! Two control planes may call at the same time, or one again after a crash half way: the first to
//! claim the spec wins, the hosts agree by a lock on which one owns the job, and every caller gets
//! the same job.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::control;
use super::error::HostError;
use super::files::{Folder, HostRecord, private, random};
use super::job::{Job, LOOK};
use super::serve::SUBCOMMAND;
use super::spec::{HandedSecrets, JobSpec, Stdin, StoredSpec, hex};

/// How long a new host may take to record that it owns the job.
const BIRTH: Duration = Duration::from_secs(15);

/// Starts jobs under hosts. Its program is the binary with the `host`, `sandbox-init` and `egress`
/// subcommands.
#[derive(Clone, Debug)]
pub struct Hosts {
    program: PathBuf,
}

impl Hosts {
    /// Starts hosts from this binary.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    /// Starts hosts from the running binary.
    pub fn of_this_program() -> io::Result<Self> {
        std::env::current_exe().map(Self::new)
    }

    /// Starts the job, or attaches to it if its key was ever started. It is never started twice,
    /// even by concurrent calls. A spec that is stored already wins over this one. Attaching
    /// renews.
    pub async fn ensure(&self, spec: &JobSpec) -> Result<Job, HostError> {
        let job = Job::at(&spec.dir);
        job.blocking("write its spec", store_spec(spec)).await?;
        let stored: StoredSpec = job.read("spec.json").await?.ok_or_else(|| job.gone())?;
        if stored.key != spec.key {
            return Err(HostError::OtherKey { dir: job.dir(), found: stored.key.to_string() });
        }
        let deadline = Instant::now() + BIRTH;
        let mut spawned = false;
        loop {
            if job.folder.has("end.json") {
                return Ok(job);
            }
            if let Some(record) = job.read::<HostRecord>("host.json").await? {
                if record.is_alive() {
                    // Attached even if the host does not answer: the caller will find out.
                    let _ = job.renew().await;
                }
                return Ok(job);
            }
            if !spawned {
                self.spawn(&job, spec).await?;
                spawned = true;
            }
            if Instant::now() >= deadline {
                return Err(HostError::NotBegun { said: job.last_of_log().await, dir: job.dir() });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Starts a host, which leaves our session and outlives us, and hands over the secrets.
    async fn spawn(&self, job: &Job, spec: &JobSpec) -> Result<(), HostError> {
        let told = |source| job.io("start its host", source);
        let log =
            private().create(true).append(true).open(job.folder.file("host.log")).map_err(told)?;
        // A host only needs to know where programs are; any other variable may be a secret.
        let path = std::env::var_os("PATH").map(|path| ("PATH", path));
        let mut child = tokio::process::Command::new(&self.program)
            .arg(SUBCOMMAND)
            .arg(job.folder.path())
            .env_clear()
            .envs(path)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(told)?;
        let env = spec.secrets.iter();
        let handed = HandedSecrets {
            env: env
                .map(|(name, value)| (name.clone(), value.expose_secret().to_owned()))
                .collect(),
            model_key: spec.model_key.as_ref().map(|key| key.expose_secret().to_owned()),
        };
        let body = serde_json::to_vec(&handed).map_err(|error| told(error.into()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A second host for the same job exits without reading, as it should.
            let _ = tokio::time::timeout(control::PATIENCE, stdin.write_all(&body)).await;
        }
        // Waited for, so that no zombie is left while we live.
        tokio::spawn(async move { child.wait().await });
        Ok(())
    }
}

/// Writes a job's files, the spec last, unless the folder has a spec already.
fn store_spec(spec: &JobSpec) -> impl FnOnce() -> io::Result<()> + Send + 'static {
    let folder = Folder::at(&spec.dir);
    let (first, more_input) = match &spec.stdin {
        Stdin::Empty => (Vec::new(), false),
        Stdin::Bytes(bytes) => (bytes.clone(), false),
        Stdin::Pipe(bytes) => (bytes.clone(), true),
    };
    // Named by its content, so that two concurrent callers cannot change each other's input.
    let input = (!first.is_empty()).then(|| format!("input-{}", hex(&Sha256::digest(&first))));
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let stored = StoredSpec {
        key: spec.key.clone(),
        lock: spec.lock.clone(),
        boxed: spec.boxed.clone(),
        has_secrets: !spec.secrets.is_empty() || spec.model_key.is_some(),
        input: input.clone(),
        more_input,
        timeout_ms: milliseconds(spec.timeout),
        renew_within_ms: milliseconds(spec.renew_within),
        output_limit: spec.output_limit,
    };
    move || {
        folder.make()?;
        if folder.has("spec.json") {
            return Ok(());
        }
        if let Some(name) = input {
            folder.claim(&name, &first)?;
        }
        folder.claim("token", random()?.as_bytes())?;
        folder.claim("spec.json", &serde_json::to_vec(&stored)?).map(drop)
    }
}
