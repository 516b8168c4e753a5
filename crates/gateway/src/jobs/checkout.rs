//! Throwaway checkouts: for each job a local clone of the base, `gateway.workspace_dir`.
//!
//! The base is refreshed at most once in `gateway.fetch_debounce_seconds`, however many jobs come;
//! if that fails, its last good state serves. The lock on the base is held while it is refreshed
//! and cloned, never while an agent runs. Objects are hard links, so a clone costs little.
//!
//! What is unlocked in a checkout must not outlive it, so the home of the CLI that works in it,
//! with all that the CLI keeps there, goes with it.
//!
//! git runs with our configuration alone: no hooks, no system or personal configuration, no `ext`
//! protocol. It is on a tether like every process here.

use std::ffi::OsString;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use afk_agent::agents::{Exit, Invocation};
use secrecy::SecretString;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use super::home;
use crate::service::private_folder;
use crate::sign_in;
use crate::turn::process::{Cli, Progress};

/// Time limit of one git command.
const GIT_LIMIT: Duration = Duration::from_mins(3);
/// How often, and how long apart, the removal of a dropped checkout is tried.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);
/// git's global configuration. The base may be another user's, which git refuses by default. A `-c`
/// argument would not reach the process by which a clone reads it.
pub(super) const CONFIG: &str = "[safe]\n\tdirectory = *\n";
/// How the names of checkouts begin, so that those left by an earlier process are recognised.
const PREFIX: &str = "afk-job-";
/// Where the CLI keeps what it has of its work, below its home: transcripts, unless they are turned
/// off, and the long outputs of tools all the same. Each folder in which it ran has a folder there
/// with the same path as its name, in which other characters than letters and digits are hyphens.
/// Jobs of earlier versions ran in the gateway's home, and may have left theirs.
const PROJECTS: &str = ".claude/projects";

/// Makes checkouts.
#[derive(Debug)]
pub(crate) struct Checkouts {
    base: Option<PathBuf>,
    folder: PathBuf,
    key: Option<PathBuf>,
    debounce: Duration,
    /// The file with [`CONFIG`]: all of git's configuration but a repository's and our arguments.
    config: PathBuf,
    variables: Vec<(String, String)>,
    /// When the base was refreshed last, successfully or not. Locked while the base is in use.
    refreshed: Arc<Mutex<Option<Instant>>>,
}

/// One checkout. [`Checkout::remove`] removes its folder and its home; dropping it does so in the
/// background.
#[derive(Debug)]
pub(crate) struct Checkout {
    path: PathBuf,
    /// The home of the CLI that works in it, and in no other.
    home: PathBuf,
    /// The gateway's home.
    gateway: PathBuf,
    /// Whether it is removed, or being removed, so that dropping it has nothing to do.
    is_removed: bool,
}

/// Why there is no checkout.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckoutError {
    #[error("cannot make the checkout {path}: {source}")]
    Folder { path: PathBuf, source: io::Error },
    #[error("git {what} failed: {why}")]
    Git { what: &'static str, why: String },
    #[error("git-crypt cannot unlock the checkout: {0}")]
    Crypt(String),
}

impl Checkouts {
    pub(crate) fn new(
        base: Option<PathBuf>,
        folder: PathBuf,
        key: Option<PathBuf>,
        debounce: Duration,
        (config, variables): (PathBuf, Vec<(String, String)>),
    ) -> Self {
        Self { base, folder, key, debounce, config, variables, refreshed: Arc::default() }
    }

    /// Removes the checkouts that an earlier process left, and what the CLI keeps of any in the
    /// gateway's `home`, which gets the sign-ins that were renewed in the homes of jobs.
    pub(crate) fn sweep(&self, home: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                let path = entry.path();
                // What a repository has in a checkout is no sign-in.
                if home::is_one(&path) {
                    remove_home(&path, home);
                } else {
                    remove(&path);
                }
            }
        }
        forget_checkouts(home);
        Ok(())
    }

    /// Makes a new checkout, or an empty folder if no base is configured, and its home.
    pub(crate) async fn make(self: &Arc<Self>, cli: &Cli) -> Result<Checkout, CheckoutError> {
        let path = self.folder.join(format!("{PREFIX}{}", uuid::Uuid::new_v4().simple()));
        let home = home::beside(&path);
        let (own, gateway) = (home.clone(), cli.around.home.clone());
        let checkout = Checkout {
            path: path.clone(),
            home: home.clone(),
            gateway: gateway.clone(),
            is_removed: false,
        };
        tokio::task::spawn_blocking(move || home::make(&own, &gateway))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| CheckoutError::Folder { path: home, source })?;
        let Some(base) = &self.base else {
            private_folder(&path)
                .map_err(|source| CheckoutError::Folder { path: path.clone(), source })?;
            return Ok(checkout);
        };
        let url = {
            // On a task of its own, which goes on if this caller goes: other callers wait for the
            // same refresh, and a git that is killed leaves its lock files.
            let (this, cli_too, base_too) = (Arc::clone(self), cli.clone(), base.clone());
            let refreshing = tokio::spawn(async move { this.refreshed(&cli_too, &base_too).await });
            let _refreshed = refreshing
                .await
                .map_err(|error| CheckoutError::Git { what: "fetch", why: error.to_string() })?;
            let url = self.git(cli, base, "remote", &["get-url", "origin"]).await?;
            let into = path.to_string_lossy();
            let from = base.to_string_lossy();
            let local = ["--local", "--no-recurse-submodules", "--template=", "--", &from, &into];
            self.git(cli, &self.folder, "clone", &local).await?;
            url.trim().to_owned()
        };
        self.git(cli, &path, "remote", &["set-url", "origin", &url]).await?;
        if let Some(key) = self.key.as_ref().filter(|key| key.is_file()) {
            let unlock = [OsString::from("unlock"), key.clone().into()];
            self.run(cli, &path, "git-crypt", &unlock).await.map_err(CheckoutError::Crypt)?;
        }
        Ok(checkout)
    }

    /// Refreshes the base if it is time, and locks it for as long as the result is held.
    async fn refreshed(&self, cli: &Cli, base: &Path) -> OwnedMutexGuard<Option<Instant>> {
        let mut refreshed = Arc::clone(&self.refreshed).lock_owned().await;
        if refreshed.is_none_or(|at| at.elapsed() >= self.debounce) {
            if let Err(error) = self.refresh(cli, base).await {
                tracing::warn!(%error, "the base clone was not refreshed: using its last state");
            }
            *refreshed = Some(Instant::now());
        }
        refreshed
    }

    async fn refresh(&self, cli: &Cli, base: &Path) -> Result<(), CheckoutError> {
        // Any lock file is a killed git's: only we change the base, and no git of ours runs now.
        let git = base.join(".git");
        let _ = tokio::task::spawn_blocking(move || unlock(&git)).await;
        self.git(cli, base, "fetch", &["--prune", "--no-recurse-submodules", "origin"]).await?;
        // The remote's default branch may have changed; if the remote does not tell, the one that
        // is known stays.
        let _ = self.git(cli, base, "remote", &["set-head", "origin", "--auto"]).await;
        self.git(cli, base, "reset", &["--hard", "refs/remotes/origin/HEAD"]).await?;
        Ok(())
    }

    async fn git(
        &self,
        cli: &Cli,
        folder: &Path,
        what: &'static str,
        args: &[&str],
    ) -> Result<String, CheckoutError> {
        const OURS: [&str; 6] = [
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
            "-c",
            "protocol.ext.allow=never",
        ];
        let args: Vec<OsString> =
            OURS.iter().chain([&what]).chain(args).map(OsString::from).collect();
        self.run(cli, folder, "git", &args).await.map_err(|why| CheckoutError::Git { what, why })
    }

    async fn run(
        &self,
        cli: &Cli,
        folder: &Path,
        program: &str,
        args: &[OsString],
    ) -> Result<String, String> {
        let mut env: Vec<(String, SecretString)> = Vec::new();
        for (name, value) in &self.variables {
            env.push((name.clone(), value.as_str().into()));
        }
        for (name, value) in [
            ("PATH", cli.around.path.as_str()),
            ("LC_ALL", "C"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", self.config.to_string_lossy().as_ref()),
            ("GIT_TERMINAL_PROMPT", "0"),
        ] {
            env.push((name.to_owned(), value.into()));
        }
        let invocation =
            Invocation { program: program.into(), args: args.to_vec(), env, stdin: Vec::new() };
        let mut live = cli.spawn(&invocation, folder).map_err(|error| error.to_string())?;
        live.write(Vec::new(), true).map_err(|error| error.to_string())?;
        let mut output = Vec::new();
        let reading = async {
            while live.read_bytes(|bytes| output.extend_from_slice(bytes)).await == Progress::More {
            }
        };
        let in_time = timeout(GIT_LIMIT, reading).await.is_ok();
        let exit = if in_time { live.ended().await } else { Exit::Lost };
        let complaint = live.complaint().await;
        live.end().await;
        match exit {
            Exit::Exited { code: 0 } => Ok(String::from_utf8_lossy(&output).into_owned()),
            _ if !in_time => Err(format!("it took over {} seconds", GIT_LIMIT.as_secs())),
            Exit::Exited { code } if complaint.is_empty() => Err(format!("exit code {code}")),
            _ => Err(complaint),
        }
    }
}

impl Checkout {
    /// Returns the folder of the checkout.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the home of the CLI that works in the checkout.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Removes the checkout. The processes that work in it must be gone.
    pub(crate) async fn remove(mut self) {
        self.is_removed = true;
        let (path, home) = (std::mem::take(&mut self.path), std::mem::take(&mut self.home));
        let gateway = std::mem::take(&mut self.gateway);
        let removed = tokio::task::spawn_blocking(move || {
            remove(&path);
            remove_home(&home, &gateway);
        });
        let _ = removed.await;
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        if self.is_removed {
            return;
        }
        let (path, home) = (std::mem::take(&mut self.path), std::mem::take(&mut self.home));
        let gateway = std::mem::take(&mut self.gateway);
        std::thread::spawn(move || {
            // The git that was making it is being killed, and may still write.
            for _ in 0..LOOKS {
                remove(&path);
                remove_home(&home, &gateway);
                std::thread::sleep(BETWEEN_LOOKS);
                if !path.exists() && !home.exists() {
                    break;
                }
            }
        });
    }
}

/// Removes a killed git's `*.lock` files; below `refs`, no branch can have such a name.
fn unlock(git: &Path) {
    let mut folders = vec![(git.to_owned(), false), (git.join("refs"), true)];
    while let Some((folder, deep)) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            if kind.is_dir() && deep {
                folders.push((path, true));
            } else if kind.is_file() && path.extension().is_some_and(|end| end == "lock") {
                tracing::warn!(path = %path.display(), "removed a lock that a killed git had left");
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// Makes this folder and those below it writable, as tools' caches often are not.
fn open_folders(path: &Path) {
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let _ = std::fs::set_permissions(&folder, Permissions::from_mode(0o700));
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            // This does not follow links, so that nothing outside is touched.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
}

/// Removes what the CLI keeps of checkouts in the gateway's home.
fn forget_checkouts(home: &Path) {
    for entry in std::fs::read_dir(home.join(PROJECTS)).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().contains(PREFIX) {
            remove(&entry.path());
        }
    }
}

/// Removes the home of a job. The gateway's home keeps the sign-in that was renewed there.
fn remove_home(home: &Path, gateway: &Path) {
    if let Err(error) = sign_in::take_back(home, gateway) {
        let path = home.display();
        tracing::warn!(%path, %error, "the sign-in that a job has renewed was not kept");
    }
    remove(home);
}

fn remove(path: &Path) {
    let removed = match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_folders(path);
            std::fs::remove_dir_all(path)
        }
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a folder of a job was not removed");
        }
        Ok(()) | Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_checkout_with_read_only_folders_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (checkout, outside) = (folder.path().join("checkout"), folder.path().join("outside"));
        let deep = checkout.join("cache/deep");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), "").unwrap();
        fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, checkout.join("link")).unwrap();
        let close = || {
            for path in [&deep, &checkout.join("cache"), &outside] {
                fs::set_permissions(path, Permissions::from_mode(0o555)).unwrap();
            }
        };
        // Root may remove anything, so the modes that removal relies on are checked by themselves.
        close();
        open_folders(&checkout);
        assert_eq!((mode(&deep), mode(&checkout.join("cache"))), (0o700, 0o700));
        assert_eq!(mode(&outside), 0o555, "it is not in the checkout");
        close();
        remove(&checkout);
        assert!(!checkout.exists() && outside.exists());
    }

    #[test]
    fn locks_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let git = folder.path();
        let branches = git.join("refs/remotes/origin/topic");
        fs::create_dir_all(&branches).unwrap();
        fs::create_dir_all(git.join("lfs")).unwrap();
        let locks = [git.join("index.lock"), git.join("HEAD.lock"), branches.join("one.lock")];
        let others = [git.join("index"), branches.join("one"), git.join("lfs/data.lock")];
        for path in locks.iter().chain(&others) {
            fs::write(path, "").unwrap();
        }
        unlock(git);
        assert!(locks.iter().all(|path| !path.exists()) && others.iter().all(|path| path.exists()));
    }
}
