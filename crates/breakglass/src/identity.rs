//! The key with which the machines are reached, and the names under which the agent reaches them.
//!
//! Called once at the start. The key goes from its file through memory into an ssh-agent of our own
//! and is written nowhere. An ssh-agent that dies is replaced and given the key again. Its socket,
//! the aliases and the wrappers that use them are in a private folder on memory-backed storage,
//! which goes away with the server. Where no program can be run from that storage, the wrappers,
//! which are no secret, are in another private folder. Without a key the server starts all the
//! same: conversations can be read, and a warning says what is missing.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use afk_agent::agents::{Exit, Invocation};
use afk_agent::tether::Tethered;
use rustix::fs::StatVfsMountFlags;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::supervisor::Supervisor;

/// How long ssh-agent and ssh-add may take.
const BOUND: Duration = Duration::from_secs(10);
/// The pauses between attempts to replace an ssh-agent.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The largest file that is read as a key, in bytes.
const MAX_KEY: u64 = 64 * 1024;
/// File systems that keep everything in memory: tmpfs and ramfs.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// A machine that the agent reaches by an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The name after `ssh` by which the agent reaches the machine: `devvm` or `pve`.
    pub alias: &'static str,
    /// The machine's host, preferably as an IP address: names may not resolve in an incident.
    pub host: String,
    /// The user to log in as.
    pub user: String,
    /// The port of the machine's SSH server.
    pub port: u16,
}

/// What is needed to reach machines.
#[derive(Debug)]
pub struct IdentityPlan {
    /// The file with the private key, if one is configured.
    pub key: Option<PathBuf>,
    /// The machines to write aliases for.
    pub targets: Vec<Target>,
    /// Where the private folder is made; if `None`, memory-backed storage is looked for.
    pub runtime: Option<PathBuf>,
    /// Where the wrappers may go if programs cannot be run from the private folder, the best first.
    pub elsewhere: Vec<PathBuf>,
    /// Tells this server from others on the machine, and is the same after a restart. No other
    /// server with this mark may be alive: its private folder would be removed.
    pub mark: String,
    /// The server's `PATH`.
    pub path: String,
    /// The server's `HOME`.
    pub home: String,
}

/// The means to reach machines, for as long as it is held.
#[derive(Debug)]
pub struct Identity {
    /// Variables for whatever uses SSH: `HOME`, the socket of ssh-agent, and a `PATH` that begins
    /// with our wrappers.
    pub env: Vec<(String, String)>,
    /// Sentences about what is missing, for the log.
    pub warnings: Vec<String>,
    /// The task that holds the ssh-agent, and replaces one that dies.
    keeper: Option<JoinHandle<()>>,
    folder: tempfile::TempDir,
    /// The folder of the wrappers, if they are not in `folder`. Held because it is removed when it
    /// is dropped.
    _programs: Option<tempfile::TempDir>,
}

impl Drop for Identity {
    fn drop(&mut self) {
        if let Some(keeper) = &self.keeper {
            keeper.abort();
        }
    }
}

impl Identity {
    /// Returns the private folder with the socket and the aliases.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Starts ssh-agent, loads the key, and writes the aliases. A bad key is only a warning.
pub async fn prepare(plan: &IdentityPlan, supervisor: &Supervisor) -> io::Result<Identity> {
    let mut warnings = Vec::new();
    let folder = private_folder(plan.runtime.as_deref(), &plan.mark)?;
    if !is_in_memory(folder.path()) {
        warnings.push(format!(
            "{} is not on memory-backed storage: set BREAKGLASS_RUNTIME_DIR to a folder that is, \
             such as one in /dev/shm",
            folder.path().display()
        ));
    }
    let programs = if runs_programs(folder.path()) { None } else { folder_elsewhere(plan) };
    let holder = programs.as_ref().unwrap_or(&folder).path();
    if !runs_programs(holder) {
        warnings.push(format!(
            "no program can be run from {}, nor from another folder of this server: the agent \
             cannot use the names of the machines. Set BREAKGLASS_RUNTIME_DIR to a folder in \
             memory that is mounted without `noexec`",
            folder.path().display()
        ));
    }
    let bin = holder.join("bin");
    let socket = folder.path().join("agent");
    write_aliases(folder.path(), &bin, plan)?;
    let mut env = vec![
        ("HOME".to_owned(), plan.home.clone()),
        ("PATH".to_owned(), plan.path.clone()),
        ("SSH_AUTH_SOCK".to_owned(), socket.display().to_string()),
    ];
    let feeder = match &plan.key {
        None => Err("BREAKGLASS_KEY_PATH is not set".to_owned()),
        Some(path) => match read_key(path) {
            Ok(key) => {
                let (folder, env) = (folder.path().to_owned(), env.clone());
                Ok(Feeder { key, socket, folder, env, supervisor: supervisor.clone() })
            }
            Err(error) => Err(format!("the key {} cannot be read: {error}", path.display())),
        },
    };
    let loaded = match feeder {
        Ok(feeder) => feeder.load().await.map(|agent| (feeder, agent)),
        Err(why) => Err(why),
    };
    let keeper = match loaded {
        Ok((feeder, agent)) => Some(tokio::spawn(feeder.keep(agent))),
        Err(why) => {
            warnings.push(format!(
                "NO SSH KEY: {why}. Neither the agent nor the power verbs can reach a machine \
                 until that is fixed and the server started again"
            ));
            None
        }
    };
    env[1].1 = format!("{}:{}", bin.display(), plan.path);
    Ok(Identity { env, warnings, keeper, folder, _programs: programs })
}

/// Makes a folder that only we may enter, in memory if that is possible.
fn private_folder(wanted: Option<&Path>, mark: &str) -> io::Result<tempfile::TempDir> {
    let usual = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let found =
        usual.into_iter().chain([PathBuf::from("/dev/shm")]).find(|path| is_in_memory(path));
    let parent = wanted.map(Path::to_owned).or(found).unwrap_or_else(std::env::temp_dir);
    private_folder_in(&parent, mark)
}

/// Makes a private folder for the wrappers where programs can be run. Docker, for one, mounts
/// `/dev/shm` so that none can; a shell then passes over the wrappers without a word.
fn folder_elsewhere(plan: &IdentityPlan) -> Option<tempfile::TempDir> {
    // Not the mark alone: the other private folder may have the same parent, and would be removed.
    let mark = format!("{}:programs", plan.mark);
    let mut made = plan.elsewhere.iter().filter_map(|parent| private_folder_in(parent, &mark).ok());
    made.find(|folder| runs_programs(folder.path()))
}

/// Makes a folder in `parent` that only we may enter. The one that a killed server with this mark
/// left there is removed, so that such folders do not add up.
fn private_folder_in(parent: &Path, mark: &str) -> io::Result<tempfile::TempDir> {
    let told = |error| io::Error::other(format!("cannot use {}: {error}", parent.display()));
    std::fs::create_dir_all(parent).map_err(told)?;
    let name = format!("breakglass-{}", Uuid::new_v5(&Uuid::NAMESPACE_URL, mark.as_bytes()));
    // If somebody else made it, it cannot be removed, and the fallback below takes another name.
    let _ = std::fs::remove_dir_all(parent.join(&name));
    let mut builder = tempfile::Builder::new();
    builder.prefix(&name).permissions(Permissions::from_mode(0o700));
    let made = builder.clone().rand_bytes(0).tempdir_in(parent);
    made.or_else(|_| builder.tempdir_in(parent)).map_err(told)
}

fn is_in_memory(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| IN_MEMORY.contains(&{ found.f_type }))
}

/// Whether programs can be run from this folder; true if that is not known.
fn runs_programs(folder: &Path) -> bool {
    let flags = rustix::fs::statvfs(folder).map(|found| found.f_flag);
    !flags.is_ok_and(|flags| flags.contains(StatVfsMountFlags::NOEXEC))
}

fn read_key(path: &Path) -> io::Result<SecretString> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_KEY).read_to_string(&mut text)?;
    Ok(as_openssh_reads(&text).into())
}

/// Returns the key as OpenSSH accepts it: without carriage returns, and with a line feed at the
/// end. Pasting a key into a secret easily adds the former and loses the latter.
fn as_openssh_reads(key: &str) -> String {
    let mut key = key.replace("\r\n", "\n");
    if !key.ends_with('\n') {
        key.push('\n');
    }
    key
}

/// Gives the key to ssh-agents, one after the other.
struct Feeder {
    key: SecretString,
    socket: PathBuf,
    folder: PathBuf,
    env: Vec<(String, String)>,
    supervisor: Supervisor,
}

impl Feeder {
    /// Waits for the end of `agent` and replaces it, for as long as the server runs.
    async fn keep(self, mut agent: Tethered) {
        loop {
            let exit = agent.wait().await;
            tracing::error!(%exit, "the ssh-agent died: another one is started");
            let mut pause = FIRST_PAUSE;
            agent = loop {
                match self.load().await {
                    Ok(agent) => break agent,
                    Err(why) => tracing::error!(why, "no ssh-agent: no machine can be reached"),
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            };
            tracing::info!("another ssh-agent has the key");
        }
    }

    /// Starts an ssh-agent and gives it the key.
    async fn load(&self) -> Result<Tethered, String> {
        let invocation = |program: &str, args: &[&str]| Invocation {
            program: program.into(),
            args: args.iter().map(Into::into).collect(),
            env: self
                .env
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().into()))
                .collect(),
            stdin: Vec::new(),
        };
        let start = |program, args: &[&str]| {
            let started = self.supervisor.spawn(&invocation(program, args), &self.folder);
            started.map_err(|error| format!("{program} cannot be started: {error}"))
        };
        // The socket of an ssh-agent that died would be in the way.
        let _ = std::fs::remove_file(&self.socket);
        let mut agent = start("ssh-agent", &["-D", "-a", &self.socket.display().to_string()])?;
        let deadline = Instant::now() + BOUND;
        while !self.socket.exists() {
            if Instant::now() >= deadline {
                drop(agent.stdout.take());
                return Err(format!("ssh-agent did not start{}", said(&mut agent).await));
            }
            sleep(Duration::from_millis(5)).await;
        }
        let mut add = start("ssh-add", &["-q", "-"])?;
        let fed = async {
            if let Some(mut stdin) = add.stdin.take() {
                // If ssh-add does not read, its exit code tells.
                let _ = stdin.write_all(self.key.expose_secret().as_bytes()).await;
            }
            add.wait().await
        };
        match timeout(BOUND, fed).await {
            Ok(Exit::Exited { code: 0 }) => Ok(agent),
            Ok(exit) => Err(format!(
                "ssh-add refused the key ({exit}{}); a key with a passphrase cannot be used",
                said(&mut add).await
            )),
            Err(_) => Err("ssh-add did not end in time".to_owned()),
        }
    }
}

/// Returns the beginning of a process's standard error, to be appended to a sentence.
async fn said(process: &mut Tethered) -> String {
    let Some(stderr) = process.stderr.take() else { return String::new() };
    let mut text = Vec::new();
    let _ = timeout(Duration::from_secs(1), stderr.take(500).read_to_end(&mut text)).await;
    let text = afk_agent::agents::event::bounded_line(&String::from_utf8_lossy(&text), 200);
    if text.is_empty() { text } else { format!(": {text}") }
}

/// Writes the aliases, and wrappers for the programs that read them: OpenSSH takes the
/// configuration of the user's own home, whatever `HOME` says, and that is not ours to change.
fn write_aliases(folder: &Path, bin: &Path, plan: &IdentityPlan) -> io::Result<()> {
    let config = folder.join("ssh_config");
    std::fs::write(&config, aliases(&plan.targets))?;
    std::fs::create_dir(bin)?;
    for program in ["ssh", "scp", "sftp"] {
        let Some(found) = find(&plan.path, program) else { continue };
        let script = format!("#!/bin/sh\nexec {} -F {} \"$@\"\n", quoted(&found), quoted(&config));
        let wrapper = bin.join(program);
        std::fs::write(&wrapper, script)?;
        std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Returns the SSH configuration for the aliases. Host keys are not checked on purpose: a machine
/// that was rebuilt has a new one just when it must be reached.
fn aliases(targets: &[Target]) -> String {
    let mut text = String::new();
    for Target { alias, host, user, port } in targets {
        let _ = write!(text, "Host {alias}\n  HostName {host}\n  User {user}\n  Port {port}\n\n");
    }
    text.push_str(
        "Host *\n  BatchMode yes\n  ConnectTimeout 10\n  ServerAliveInterval 10\n  \
         ServerAliveCountMax 3\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  \
         LogLevel ERROR\n",
    );
    text
}

fn find(path: &str, program: &str) -> Option<PathBuf> {
    path.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_openssh_wants_them() {
        assert_eq!(as_openssh_reads("a\r\nb\r\n"), "a\nb\n");
        assert_eq!(as_openssh_reads("a\nb"), "a\nb\n");
        assert_eq!(as_openssh_reads("a\nb\n"), "a\nb\n");
    }

    #[test]
    fn aliases_name_each_machine() {
        let target =
            Target { alias: "pve", host: "10.0.0.2".into(), user: "root".into(), port: 22 };
        let text = aliases(&[target]);
        assert!(
            text.starts_with("Host pve\n  HostName 10.0.0.2\n  User root\n  Port 22\n"),
            "{text}"
        );
        assert!(text.contains("UserKnownHostsFile /dev/null"));
    }

    #[test]
    fn a_path_is_one_word_of_the_wrapper() {
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
