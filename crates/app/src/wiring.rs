//! Composes everything: configuration, store, trackers, and the engine over all adapters.
//!
//! Made once for each command. Opening it contacts no tracker, remote or agent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use afk_agent::host::Hosts;
use afk_agent::sandbox::Capabilities;
use afk_core::ids::AdapterName;
use afk_engine::Engine;
use afk_engine::ports::{
    Clock, Doorbells, Executor, Git, Notes, PortError, Ports, Settings, Stages, Tracker,
};
use afk_engine::router::{RoutedDoorbells, RoutedExecutor, RoutedStages, RoutedTracker, Router};
use afk_engine::switches::Brake;
use afk_local::git::{self, GitError, Limits, Workspaces};
use afk_local::{
    FileArchive, FreshIds, KnownSecrets, Local, LocalExecutor, LocalGit, LocalJobs, Sandbox,
    SystemClock, Transcripts, owner,
};
use afk_remote::{
    Forges, NTFY, NtfyDoorbells, PolledStages, SLACK, STAGES, SlackDoorbells, T3Executors, WEBHOOK,
    Webhooks, WorkspacesHere,
};
use afk_store::local_tracker::LocalTracker;
use afk_store::{OpenOptions, Store, StoreError, TrackerPort};
use futures_util::future::LocalBoxFuture;
use tokio_util::sync::CancellationToken;

use crate::ancestry::Mirrored;
use crate::config::{Config, ConfigErrors, LOCAL_TRACKER, Sources};
use crate::logins::ForgeLogins;
use crate::secrets::AllSecrets;
use crate::settings::FileSettings;
use crate::terminal::{TERMINAL, Terminal};

/// Adapters of one port, by name.
type Adapters<T> = BTreeMap<AdapterName, Arc<T>>;

/// The control plane of one machine.
pub struct App {
    /// The configuration at the time the app was opened.
    pub config: Arc<Config>,
    /// The file it was read from, if any.
    pub config_path: Option<PathBuf>,
    /// The folder of the store, the workspaces, the transcripts and the evidence.
    pub data_dir: PathBuf,
    /// The store.
    pub store: Store,
    /// The local tracker.
    pub tracker: LocalTracker,
    /// What the sandbox of this machine can enforce, as found when the app was opened.
    pub capabilities: Arc<Capabilities>,
    /// The archive of evidence bundles.
    pub archive: FileArchive,
    /// What the adapters of this machine share: git, workspaces, hosts, sandbox.
    pub local: Local,
    /// The configuration in force, loaded again when its files change.
    pub settings: Arc<FileSettings>,
    /// The name that this process uses in its leases.
    pub owner: String,
    /// The forges: their trackers, pull requests and accounts.
    pub forges: Arc<Forges>,
    /// The agents on T3 Code servers.
    pub t3: Arc<T3Executors>,
    /// The engine over all these adapters.
    pub engine: Engine,
    /// Every source of secrets.
    pub(crate) secrets: Arc<AllSecrets>,
}

/// Why the control plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Git is missing or too old, or the workspaces cannot be created.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A folder cannot be created.
    #[error("could not create {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not known where to keep the store.
    #[error("neither data_dir nor HOME says where to keep the store: set data_dir")]
    NoDataDir,
    /// The path of the running program is unknown, so no host can be started from it.
    #[error("could not find the running program: {0}")]
    NoProgram(std::io::Error),
    /// An adapter cannot be created.
    #[error("{0}")]
    Adapter(String),
}

impl App {
    /// Opens everything that `sources` configure, with git from the path.
    pub async fn open(sources: Sources) -> Result<Self, AppError> {
        let config_path = sources.file.clone();
        Self::with(FileSettings::open(sources)?, config_path).await
    }

    /// Opens everything for commands that only read or stop things, which work without a valid
    /// configuration: see [`FileSettings::open_to_look`].
    pub async fn open_to_look(sources: Sources) -> Result<Self, AppError> {
        let config_path = sources.file.clone();
        Self::with(FileSettings::open_to_look(sources, store_is_there)?, config_path).await
    }

    fn with(
        settings: FileSettings,
        config_path: Option<PathBuf>,
    ) -> LocalBoxFuture<'static, Result<Self, AppError>> {
        Box::pin(async move {
            let settings = Arc::new(settings);
            let config = settings.config();
            let data_dir = data_dir(&config)?;
            make_private(&data_dir)?;
            let store = open_store(&data_dir).await?;
            let tracker = LocalTracker::new(store.clone(), keeper(), BTreeMap::new());
            let program = std::env::current_exe().map_err(AppError::NoProgram)?;
            let workspaces = Workspaces::open(&data_dir.join("work"))?;
            let git =
                git::Git::open(Path::new("git"), &data_dir, proxies(), Limits::default()).await?;
            let sandbox = sandbox(&program).await?;
            let capabilities = sandbox.found();
            let files = settings;
            let settings: Arc<dyn Settings> = files.clone();
            let transcripts = Transcripts::new(data_dir.join("transcripts"));
            let evidence = data_dir.join(EVIDENCE);
            let journals = Arc::new(store.clone());
            let known = KnownSecrets::default();
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            let secrets = Arc::new(AllSecrets::new(known.clone(), clock.clone()));
            files.on_change({
                let secrets = secrets.clone();
                move |config| secrets.configure(config)
            });
            let archive = FileArchive::new(
                evidence,
                journals,
                secrets.clone(),
                transcripts.clone(),
                files.local(),
            );
            // What adapters keep between processes.
            let notes: Arc<dyn Notes> = Arc::new(store.clone());
            let forges = Arc::new(Forges::new(clock.clone(), secrets.clone(), notes.clone()));
            let trackers = trackers(&forges, &files, &tracker);
            let local = Local {
                workspaces: Arc::new(workspaces),
                git,
                hosts: Hosts::new(&program),
                program,
                sandbox,
                settings: settings.clone(),
                own: files.local(),
                secrets: secrets.clone(),
                known,
                transcripts,
                logins: Arc::new(ForgeLogins(forges.clone())),
            };
            let doorbells = doorbells(&local, &files, &notes, &clock);
            let doorbells = doorbells.map_err(|error| AppError::Adapter(error.chain()))?;
            let doorbells = Arc::new(Router::new("kind of doorbell", doorbells));
            let git: Arc<dyn Git> = Arc::new(LocalGit::new(local.clone()));
            let ancestry = Mirrored::new(git.clone(), Arc::new(store.clone()), clock.clone());
            let polled = stages(&local, &files, clock.clone(), ancestry, forges.clone());
            let stages = Arc::new(Router::new("kind of stage", polled));
            let t3 = Arc::new(t3(&local, &notes, &clock));
            let executors = executors(&local, &files, &t3);
            let ports = Ports {
                clock,
                ids: Arc::new(FreshIds),
                settings: settings.clone(),
                store: Arc::new(store.clone()),
                tracker: Arc::new(RoutedTracker::new(settings.clone(), trackers)),
                executor: Arc::new(RoutedExecutor::new(settings.clone(), executors)),
                jobs: Arc::new(LocalJobs::new(local.clone())),
                stages: Arc::new(RoutedStages::new(stages)),
                pulls: forges.clone(),
                git,
                doorbells: Arc::new(RoutedDoorbells::new(settings.clone(), doorbells)),
                archive: Arc::new(archive.clone()),
            };
            let owner = owner::of_this_process();
            let engine = Engine::new(ports, &owner);
            Ok(Self {
                config,
                config_path,
                data_dir,
                store,
                tracker,
                capabilities,
                archive,
                local,
                settings: files,
                owner,
                forges,
                t3,
                engine,
                secrets,
            })
        })
    }
}

impl App {
    /// Returns a brake that has read the switches of the store once.
    pub async fn brake(&self) -> Brake {
        let brake = Brake::new(CancellationToken::new());
        brake.read(self.engine.ports()).await;
        brake
    }
}

/// Tries what this machine can enforce; the sandbox keeps the trial, to repeat it when asked.
async fn sandbox(program: &Path) -> Result<Sandbox, AppError> {
    let trial = {
        let program = program.to_owned();
        move || Capabilities::detect(&program)
    };
    let capabilities = tokio::task::spawn_blocking(trial.clone()).await;
    let capabilities = capabilities.map_err(|e| AppError::Adapter(e.to_string()))?;
    Ok(Sandbox::new(capabilities, trial))
}

/// The agents on T3 Code servers; none before their tables are read.
fn t3(local: &Local, notes: &Arc<dyn Notes>, clock: &Arc<dyn Clock>) -> T3Executors {
    let workspaces = local.workspaces.clone();
    let root = workspaces.root().to_owned();
    let here = WorkspacesHere { root, of: Arc::new(move |run| workspaces.run(run).clone) };
    let known = local.known.clone();
    let masks = Arc::new(move || known.mask());
    T3Executors::new(clock.clone(), local.secrets.clone(), notes.clone(), here, masks)
}

/// The executors by their names: the agents of this machine, and T3 Code servers.
fn executors(
    local: &Local,
    files: &FileSettings,
    t3: &Arc<T3Executors>,
) -> Arc<Router<dyn Executor>> {
    let executors = Arc::new(Router::new("executor", BTreeMap::new()));
    let here: Arc<dyn Executor> = Arc::new(LocalExecutor::new(local.clone()));
    files.on_change({
        // Weak, because the executor itself holds the settings.
        let routed = Arc::downgrade(&executors);
        let weak = Arc::downgrade(&here);
        let t3 = t3.clone();
        move |config| {
            if let (Some(executors), Some(here)) = (routed.upgrade(), weak.upgrade()) {
                let named = config.local.executors().map(|name| (name, here.clone()));
                executors.replace(named.chain(t3.configure(&config.remote)).collect());
            }
        }
    });
    executors
}

/// All trackers: those of the forges, and the local one.
fn trackers(
    forges: &Arc<Forges>,
    files: &FileSettings,
    tracker: &LocalTracker,
) -> Arc<Router<dyn Tracker>> {
    let trackers = Arc::new(Router::new("tracker", BTreeMap::new()));
    files.on_change({
        let here: Arc<dyn Tracker> = Arc::new(TrackerPort::new(tracker.clone()));
        let (forges, trackers) = (forges.clone(), trackers.clone());
        move |config| {
            forges.configure(&config.remote, &config.policy);
            let mut all = forges.trackers();
            all.insert(AdapterName::known(LOCAL_TRACKER), here.clone());
            trackers.replace(all);
        }
    });
    trackers
}

/// Every kind of doorbell; each gets changed settings by itself.
fn doorbells(
    local: &Local,
    files: &FileSettings,
    notes: &Arc<dyn Notes>,
    clock: &Arc<dyn Clock>,
) -> Result<Adapters<dyn Doorbells>, PortError> {
    let (secrets, clock) = (&local.secrets, || clock.clone());
    let webhooks = Arc::new(Webhooks::new(secrets.clone(), clock()));
    let slack = Arc::new(SlackDoorbells::new(secrets.clone(), notes.clone(), clock())?);
    let ntfy = Arc::new(NtfyDoorbells::new(secrets.clone(), clock()));
    files.on_change({
        let (webhooks, slack, ntfy) = (webhooks.clone(), slack.clone(), ntfy.clone());
        move |config| {
            webhooks.configure(config.remote.clone());
            slack.configure(config.remote.clone());
            ntfy.configure(config.remote.clone());
        }
    });
    Ok([
        (AdapterName::known(TERMINAL), Arc::new(Terminal::default()) as _),
        (AdapterName::known(WEBHOOK), webhooks as _),
        (AdapterName::known(SLACK), slack as _),
        (AdapterName::known(NTFY), ntfy as _),
    ]
    .into())
}

/// Every kind of stage that is polled: one adapter, which gets changed settings by itself.
fn stages(
    local: &Local,
    files: &FileSettings,
    clock: Arc<dyn Clock>,
    ancestry: Mirrored,
    forges: Arc<Forges>,
) -> Adapters<dyn Stages> {
    let polled = PolledStages::new(local.secrets.clone(), clock, Arc::new(ancestry), forges);
    let polled = Arc::new(polled);
    files.on_change({
        let polled = polled.clone();
        move |config| polled.configure(config.remote.clone())
    });
    STAGES.map(|kind| (AdapterName::known(kind), polled.clone() as _)).into()
}

/// Returns the folder of store and workspaces: `data_dir`, `$XDG_DATA_HOME/afk`, or
/// `~/.local/share/afk`.
pub fn data_dir(config: &Config) -> Result<PathBuf, AppError> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    config
        .local
        .data_dir
        .clone()
        .or_else(|| absolute("XDG_DATA_HOME").map(|base| base.join("afk")))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share/afk")))
        .ok_or(AppError::NoDataDir)
}

/// The store's file in the data folder.
pub const STORE_FILE: &str = "afk.db";

/// The folder of kept evidence bundles in the data folder.
pub const EVIDENCE: &str = "evidence";

/// Opens the store in the data folder. Leases of dead processes are taken over at once. The schema
/// is brought up to date, unless a process of an older binary may be alive.
pub(crate) async fn open_store(data_dir: &Path) -> Result<Store, StoreError> {
    let now = SystemClock.now();
    let options = OpenOptions { is_dead: owner::is_dead, now: Some(now), ..OpenOptions::default() };
    options.open(&data_dir.join(STORE_FILE)).await
}

/// Whether the data folder of `config` has a store.
pub fn store_is_there(config: &Config) -> bool {
    data_dir(config).is_ok_and(|dir| dir.join(STORE_FILE).exists())
}

/// Returns the id of this process's user in the local tracker.
pub fn keeper() -> String {
    LocalTracker::user(&user_name()).id
}

/// Returns the name of the user who runs this process. A scheduler may not set `USER`; the name in
/// `/etc/passwd` is the same, so that a person keeps their identity.
pub fn user_name() -> String {
    let uid = rustix::process::getuid().as_raw();
    std::env::var("USER").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        name_of(uid, &users).map_or_else(|| format!("uid-{uid}"), str::to_owned)
    })
}

/// The name of a user id in the text of a passwd file.
fn name_of(uid: u32, users: &str) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

fn make_private(path: &Path) -> Result<(), AppError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| AppError::Folder { path: path.to_owned(), source })
}

/// The environment variables that git needs to reach a remote.
fn proxies() -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    let names = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"];
    let found = names.iter().filter_map(|name| Some(((*name).into(), std::env::var_os(name)?)));
    found.chain(std::env::var_os("SSH_AUTH_SOCK").map(|v| ("SSH_AUTH_SOCK".into(), v))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_by_their_id() {
        let users = "root:x:0:0:root:/root:/bin/sh\nodd\nada:x:1000:1000::/home/ada:/bin/sh\n";
        assert_eq!(name_of(1000, users), Some("ada"));
        assert_eq!(name_of(0, users), Some("root"));
        assert_eq!(name_of(7, users), None);
    }
}
