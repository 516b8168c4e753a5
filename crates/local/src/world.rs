//! What the local adapters share: the folders and programs of this machine, and the current
//! configuration.
//!
//! One folder holds everything on disk: `mirrors/`, `runs/`, `caches/` (see [`Workspaces`]), and
//! `jobs/<run>/<job>` for the hosts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use afk_agent::host::Hosts;
use afk_agent::sandbox::Requirement;
use afk_core::config::{Repo, SandboxRequirement};
use afk_core::ids::{JobKey, RepoName, RunId};
use afk_core::secret::SecretSource;
use afk_core::shared::Shared;
use afk_engine::ports::{PortError, PortResult, Secrets, Settings};
use async_trait::async_trait;

use tokio::sync::watch;

use super::git::{Credential, Git, Login, Mirror, RemoteUrl, Workspaces};
use super::known::KnownSecrets;
use super::sandbox::Sandbox;
use super::settings::{Agent, LocalSettings};
use super::transcripts::Transcripts;

/// Minimum free disk space before a run begins, in bytes.
pub const FREE: u64 = 512 << 20;

/// This machine as the adapters use it. Cheap to clone.
#[derive(Clone)]
pub struct Local {
    /// The folders of mirrors, runs and caches.
    pub workspaces: Arc<Workspaces>,
    /// The git program.
    pub git: Git,
    /// Starts the hosts that jobs run under.
    pub hosts: Hosts,
    /// This program's own binary, which also runs hosts, boxes and the scripted agent.
    pub program: PathBuf,
    /// What the sandbox of this machine can enforce.
    pub sandbox: Sandbox,
    /// The engine's view of the configuration.
    pub settings: Arc<dyn Settings>,
    /// This crate's own settings, as they are now.
    pub own: watch::Receiver<Arc<LocalSettings>>,
    /// Reads configured secrets.
    pub secrets: Arc<dyn Secrets>,
    /// The secrets that were read, which are masked in all output.
    pub known: KnownSecrets,
    /// Transcripts that outlive their workspaces.
    pub transcripts: Transcripts,
    /// Finds the credentials of remotes over HTTP.
    pub logins: Arc<dyn Logins>,
}

/// Finds the credentials of the remotes that are reached over HTTP. [`Local::mirror`] uses it for
/// repos whose table names no token: it gives the account of the forge that hosts the remote.
pub trait Logins: Send + Sync {
    /// Returns the login for `remote`, the remote of `repo`; `None` if there is none.
    fn of(&self, repo: &RepoName, remote: &RemoteUrl) -> Option<Arc<dyn Login>>;
}

/// The user name that goes with a token, for forges that only check the token.
pub const ANY_USER: &str = "x-access-token";

/// The token that a repo's table names for its remote.
struct OwnToken {
    secrets: Arc<dyn Secrets>,
    token: SecretSource,
    user: String,
}

#[async_trait]
impl Login for OwnToken {
    async fn credential(&self) -> PortResult<Option<Credential>> {
        let secret = self.secrets.read(&self.token).await?;
        Ok(Some(Credential { username: self.user.clone(), secret }))
    }
}

impl Local {
    /// Returns the configuration of one repo; a permanent error if it has none.
    pub fn repo(&self, name: &RepoName) -> PortResult<Shared<Repo>> {
        let (config, _) = self.settings.current();
        config.repos.get(name).cloned().ok_or_else(|| not_configured(name))
    }

    /// Returns this crate's own settings as they are now.
    pub fn own(&self) -> Arc<LocalSettings> {
        self.own.borrow().clone()
    }

    /// Returns the agent that works on one repo; a permanent error if it is not a local one.
    pub fn agent(&self, name: &RepoName) -> PortResult<Agent> {
        let (config, _) = self.settings.current();
        let agent = config.executor_of(name);
        self.own().agent_on(name, &agent).ok_or_else(|| {
            PortError::permanent(format!("{agent} is not a local agent: see [agents]"))
        })
    }

    /// Returns the mirror of one repo, with the login of its remote. Does no I/O.
    pub fn mirror(&self, name: &RepoName) -> PortResult<Mirror> {
        let own = self.own();
        let table = own.repos.get(name).ok_or_else(|| not_configured(name))?;
        let remote = RemoteUrl::parse(&table.remote).map_err(PortError::permanent)?;
        let mirror = Mirror::new(self.git.clone(), self.workspaces.mirror(name), remote.clone());
        let own = table.remote_token.as_ref().map(|token| -> Arc<dyn Login> {
            let user = table.remote_user.clone().unwrap_or_else(|| ANY_USER.to_owned());
            Arc::new(OwnToken { secrets: self.secrets.clone(), token: token.clone(), user })
        });
        Ok(match own.or_else(|| self.logins.of(name, &remote)) {
            Some(login) => mirror.opened_by(login),
            None => mirror,
        })
    }

    /// Returns the folder that holds the jobs of a run.
    pub fn jobs(&self, run: RunId) -> PathBuf {
        self.workspaces.jobs(run)
    }

    /// Returns the folder of one job. Its name is the key without the run, so that a listing of the
    /// run's jobs gives the keys.
    pub fn job(&self, run: RunId, key: &JobKey) -> PathBuf {
        let prefix = format!("{run}.");
        let name = key.as_str().strip_prefix(&prefix).unwrap_or(key.as_str());
        self.jobs(run).join(name)
    }

    /// Returns the key of the job in `folder`.
    pub fn key_of(run: RunId, folder: &Path) -> Option<JobKey> {
        format!("{run}.{}", folder.file_name()?.to_str()?).parse().ok()
    }

    /// Returns the strength that the configuration requires of a box.
    pub fn requirement(&self) -> Requirement {
        match self.settings.current().0.sandbox {
            SandboxRequirement::Required => Requirement::Required,
            SandboxRequirement::Preferred => Requirement::Preferred,
        }
    }

    /// Returns the runs that have jobs on disk, untouched for `age`, but are not `live` and have no
    /// workspace any more.
    pub fn leftovers(&self, live: &BTreeSet<RunId>, age: Duration) -> Vec<RunId> {
        let entries = std::fs::read_dir(self.workspaces.root().join("jobs"));
        let old = |entry: &std::fs::DirEntry| {
            let touched = entry.metadata().and_then(|metadata| metadata.modified());
            touched.is_ok_and(|at| at.elapsed().is_ok_and(|since| since >= age))
        };
        let left = entries.into_iter().flatten().flatten().filter(old).filter_map(|entry| {
            let run: RunId = entry.file_name().to_str()?.parse().ok()?;
            let kept = self.workspaces.run(run).dir.exists();
            (!live.contains(&run) && !kept).then_some(run)
        });
        left.collect()
    }

    /// Creates the folder of a run's jobs.
    pub fn make_jobs(&self, run: RunId) -> PortResult<()> {
        let folder = self.jobs(run);
        std::fs::create_dir_all(&folder).map_err(|error| {
            PortError::permanent(format!("could not create {}: {error}", folder.display()))
        })
    }
}

/// Runs work that may wait for the disk on a thread for blocking work.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> PortResult<T> {
    tokio::task::spawn_blocking(work).await.map_err(PortError::transient)
}

fn not_configured(name: &RepoName) -> PortError {
    PortError::permanent(format!("{name} is not configured: add a [repos.\"{name}\"] table"))
}
