//! The only way in which git is run.
//!
//! Every other file of this module uses [`Call`]. Invariants: argv, never a shell; a cleared
//! environment; only our configuration; no hooks, no helpers, no transport but the remote's own; a
//! separate process group; a secret only in the environment of the one command that needs it.
//!
//! A running command is supervised by `process`; what a command means is up to its caller.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use super::askpass;
use super::error::GitError;
use super::lock::MirrorLock;
use super::process::{self, Bounds, EarlyEnd, Output};
use super::remote::{Credential, RemoteUrl};

/// The oldest supported git: it has `merge-tree --write-tree`, and the fixes to that.
pub const OLDEST: &str = "2.39";

/// The configuration of every command. It overrides all other, because it is given on the command
/// line.
const CONFIG: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.symlinks=true",
    "core.fsync=committed,loose-object,reference",
    "core.logAllRefUpdates=false",
    "credential.helper=",
    // After a redirect, askpass would send the credential to another host.
    "http.followRedirects=false",
    "transfer.credentialsInUrl=die",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "push.recurseSubmodules=no",
    "push.gpgSign=false",
    "commit.gpgSign=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "fetch.writeCommitGraph=false",
    // The HEAD of a bare mirror must not change how two trees merge.
    "merge.renames=true",
    // The mirror may be on a volume of another owner. The check would protect from hostile
    // repositories, but a run's clone is never opened without a box.
    "safe.directory=*",
    "protocol.version=2",
    "protocol.allow=never",
];

/// The limits of commands.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a command may take that talks to a remote.
    pub network: Duration,
    /// How long each fetch may take that makes a mirror: it brings everything that the remote has,
    /// which may be gigabytes.
    pub first_fetch: Duration,
    /// How long a command may take on the local disk.
    pub local: Duration,
    /// Maximum length of standard output in bytes, unless the operation has a limit of its own.
    pub output: usize,
    /// Maximum size of the one pack that a fetch from a run's clone brings, in bytes.
    pub pack: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            network: Duration::from_mins(10),
            first_fetch: Duration::from_hours(1),
            local: Duration::from_mins(2),
            output: 32 << 20,
            pack: 2 << 30,
        }
    }
}

/// A git program that is new enough; cheap to clone.
#[derive(Debug, Clone)]
pub struct Git {
    program: Arc<Program>,
    limits: Limits,
    cancel: CancellationToken,
}

#[derive(Debug)]
struct Program {
    binary: PathBuf,
    askpass: PathBuf,
    env: Vec<(OsString, OsString)>,
}

impl Git {
    /// Checks the program's version and writes the askpass helper into `folder`, which only the
    /// control plane may write.
    ///
    /// `env` is added to the environment of every command, for instance `HTTPS_PROXY`; if it has no
    /// `PATH`, this process's own is used. A git older than [`OLDEST`] is an error.
    pub async fn open(
        binary: &Path,
        folder: &Path,
        env: Vec<(OsString, OsString)>,
        limits: Limits,
    ) -> Result<Self, GitError> {
        let mut env = env;
        if !env.iter().any(|(name, _)| name == "PATH") {
            let standard = || OsString::from("/usr/local/bin:/usr/bin:/bin");
            env.push(("PATH".into(), std::env::var_os("PATH").unwrap_or_else(standard)));
        }
        let askpass = askpass::write(folder)?;
        let program = Program { binary: binary.to_owned(), askpass, env };
        let git = Self { program: Arc::new(program), limits, cancel: CancellationToken::new() };
        let answer = git.call("version").ok().await?;
        let answer = String::from_utf8_lossy(&answer).trim().to_owned();
        let oldest = version(OLDEST);
        match answer.strip_prefix("git version ").and_then(version) {
            Some(found) if Some(found) >= oldest => Ok(git),
            Some(_) | None => Err(GitError::TooOld { binary: binary.to_owned(), found: answer }),
        }
    }

    /// Returns the same git, whose commands are killed when `cancel` is cancelled.
    #[must_use]
    pub fn under(&self, cancel: CancellationToken) -> Self {
        Self { cancel, ..self.clone() }
    }

    /// Returns the same git with other limits.
    #[must_use]
    pub fn bounded(&self, limits: Limits) -> Self {
        Self { limits, ..self.clone() }
    }

    /// Returns the limits of the commands.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Returns the token that cancels the commands.
    pub(crate) fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Begins to build the command `name`.
    pub(crate) fn call(&self, name: &'static str) -> Call<'_> {
        Call {
            git: self,
            name,
            options: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            input: None,
            lock: None,
            output: self.limits.output,
            timeout: self.limits.local,
            file_size: None,
            credential: None,
            url: None,
        }
    }
}

/// A git command that is being built.
pub(crate) struct Call<'a> {
    git: &'a Git,
    name: &'static str,
    options: Vec<OsString>,
    args: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
    input: Option<Vec<u8>>,
    lock: Option<&'a MirrorLock>,
    output: usize,
    timeout: Duration,
    file_size: Option<u64>,
    credential: Option<&'a Credential>,
    url: Option<&'a RemoteUrl>,
}

impl<'a> Call<'a> {
    /// Sets the repository that the command works on; no work tree is searched for.
    pub(crate) fn git_dir(mut self, dir: &Path) -> Self {
        self.env.push(("GIT_DIR", dir.into()));
        self
    }

    /// Sets the work tree that the command may write.
    pub(crate) fn work_tree(mut self, dir: &Path) -> Self {
        self.env.push(("GIT_WORK_TREE", dir.into()));
        self
    }

    /// Adds an environment variable.
    pub(crate) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// Adds a configuration value, `key=value`.
    pub(crate) fn config(mut self, pair: &str) -> Self {
        self.options.extend(["-c".into(), pair.into()]);
        self
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub(crate) fn args<I: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = I>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets what the command reads on standard input.
    pub(crate) fn input(mut self, bytes: Vec<u8>) -> Self {
        self.input = Some(bytes);
        self
    }

    /// Makes the command hold this lock until it ends, even if this process dies before: the lock's
    /// file is its standard input. Not for a command that reads input.
    pub(crate) fn under_lock(mut self, lock: &'a MirrorLock) -> Self {
        self.lock = Some(lock);
        self
    }

    /// Sets the maximum length of standard output, in bytes.
    pub(crate) fn output(mut self, bytes: usize) -> Self {
        self.output = bytes;
        self
    }

    /// Sets how long the command may take.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the maximum size of every file that the command writes, in bytes.
    pub(crate) fn file_size(mut self, bytes: u64) -> Self {
        self.file_size = Some(bytes);
        self
    }

    /// Lets the command talk to `url`, over that URL's protocol only, with the network's time
    /// limit. The caller also has to put the URL into the arguments.
    pub(crate) fn remote(mut self, url: &'a RemoteUrl, credential: Option<&'a Credential>) -> Self {
        self.options.push("-c".into());
        self.options.push(format!("protocol.{}.allow=always", url.protocol()).into());
        self.timeout = self.git.limits.network;
        self.url = Some(url);
        self.credential = credential;
        self
    }

    /// Runs the command and returns its standard output; any exit code but 0 is an error.
    pub(crate) async fn ok(self) -> Result<Vec<u8>, GitError> {
        let (name, url) = (self.name, self.url);
        let output = self.run().await?;
        if output.code == 0 {
            return Ok(output.stdout);
        }
        Err(GitError::from_stderr(name, url.map(RemoteUrl::as_str), output.code, &output.stderr))
    }

    /// Runs the command and returns its output, whatever its exit code.
    pub(crate) async fn run(mut self) -> Result<Output, GitError> {
        let cancelled = || GitError::Cancelled { command: self.name };
        if self.git.cancel.is_cancelled() {
            return Err(cancelled());
        }
        let child = self.command().spawn().map_err(|source| self.not_started(source))?;
        let bounds = Bounds {
            output: self.output,
            file_size: self.file_size,
            timeout: self.timeout,
            cancel: &self.git.cancel,
        };
        let input = self.input.take();
        match process::attend(child, input, bounds).await {
            Ok(mut output) => {
                output.stderr = Credential::redact(self.credential, &output.stderr);
                Ok(output)
            }
            Err(EarlyEnd::Cancelled) => Err(cancelled()),
            Err(EarlyEnd::Timeout) => {
                Err(GitError::Timeout { command: self.name, after: self.timeout })
            }
            Err(EarlyEnd::Flood) => {
                Err(GitError::TooLarge { command: self.name, limit: self.output as u64 })
            }
            Err(EarlyEnd::Io(e)) => Err(GitError::io("talk to", &self.git.program.binary, e)),
        }
    }

    fn command(&self) -> tokio::process::Command {
        let program = &self.git.program;
        let mut command = tokio::process::Command::new(&program.binary);
        command
            .env_clear()
            .envs(program.env.iter().map(|(n, v)| (n, v)))
            .env("LC_ALL", "C")
            // Neither `~/.netrc` nor `~/.gitconfig` nor `~/.config/git` exists.
            .env("HOME", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
            .env("SSH_ASKPASS", "/bin/false")
            .env("GIT_ASKPASS", "/bin/false");
        if let Some(credential) = self.credential {
            command
                .env("GIT_ASKPASS", &program.askpass)
                .env("AFK_GIT_USERNAME", &credential.username)
                .env("AFK_GIT_SECRET", credential.secret.expose_secret());
        }
        command
            .envs(self.env.iter().map(|(n, v)| (n, v)))
            .args(CONFIG.iter().flat_map(|pair| ["-c", pair]))
            .args(&self.options)
            .arg(self.name)
            .args(&self.args)
            .current_dir("/")
            .stdin(self.stdin())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    fn stdin(&self) -> Stdio {
        let lock = || self.lock.and_then(|lock| lock.file().try_clone().ok());
        match &self.input {
            Some(_) => Stdio::piped(),
            None => lock().map_or_else(Stdio::null, Stdio::from),
        }
    }

    fn not_started(&self, source: std::io::Error) -> GitError {
        let binary = self.git.program.binary.clone();
        if source.kind() == std::io::ErrorKind::NotFound {
            GitError::NotFound { binary }
        } else {
            GitError::io("start", binary, source)
        }
    }
}

/// Parses major and minor of a version such as `2.39.5 (Apple Git-154)`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(['.', ' ']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_read_as_vendors_write_them() {
        for (text, expected) in [
            ("2.39", Some((2, 39))),
            ("2.47.3", Some((2, 47))),
            ("2.39.5 (Apple Git-154)", Some((2, 39))),
            ("2.50.1.windows.1", Some((2, 50))),
            ("unknown", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
    }
}
