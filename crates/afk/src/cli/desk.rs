//! What most commands work at: configuration, store and local tracker, without the
//! engine. Opened anew by each command; nothing here starts or stops anything.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use afk_core::config::Config;
use afk_core::ids::{Actor, At, IdError, IssueRef, RepoName, RunId};
use afk_engine::ports::{Filter, Settings as _, Store as _, StoredRun};

use super::exit::Exit;
use super::failure::{Answer, Failure};
use super::out::Out;
use afk_app::STORE_FILE;
use afk_app::config::{Sources, find_file};
use afk_app::settings::FileSettings;
use afk_store::Store;
use afk_store::StorePort;
use afk_store::local_tracker::LocalTracker;

/// A run id is told from the beginning of it, of at least so many characters.
const LEAST_PREFIX: usize = 4;

/// Configuration, store and tracker.
pub(super) struct Desk {
    pub(super) config: Arc<Config>,
    pub(super) store: Store,
    pub(super) port: StorePort,
    pub(super) tracker: LocalTracker,
    /// The person at the keyboard.
    pub(super) keeper: Actor,
    /// The configuration that was found is not good, and this is another.
    pub(super) trouble: bool,
}

/// Where the configuration is read from.
pub(super) fn sources(config: Option<&Path>) -> Sources {
    let env = |name: &str| std::env::var_os(name);
    Sources {
        file: find_file(config, env, &current_dir()),
        mounted: env("AFK_CONFIG_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from),
        // What is no UTF-8 cannot be a value of ours.
        env: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        aliases: Vec::new(),
    }
}

/// The working directory, or what stands for it where it is gone.
pub(super) fn current_dir() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."))
}

impl Desk {
    /// Opens everything; makes the data folder and the store where they are not.
    pub(super) async fn open(config: Option<&Path>) -> Answer<Self> {
        Self::with(FileSettings::open(sources(config))?.config()).await
    }

    /// The same for who only looks, or stops things: also where the configuration is not
    /// good, which is said, with the store that is worked at instead.
    pub(super) async fn open_to_look(out: &Out, config: Option<&Path>) -> Answer<Self> {
        let settings = FileSettings::open_to_look(sources(config), afk_app::store_is_there)?;
        let (config, trouble) = settings.current();
        let mut desk = Self::with(config).await?;
        if let Some(trouble) = trouble {
            desk.trouble = true;
            let store = desk.store.path().display();
            out.warn(&format!(
                "the configuration is not good, and this is the store at {store}:\n{trouble}\n\
                 pickup is paused: nothing new is dispatched until this is mended; an `afk serve` \
                 that runs goes on with its live runs under the last good configuration"
            ));
        }
        Ok(desk)
    }

    async fn with(config: Arc<Config>) -> Answer<Self> {
        let data_dir = afk_app::data_dir(&config)?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&data_dir).map_err(|e| {
            let path = data_dir.display();
            Failure::new(Exit::Failure, format!("cannot make the data folder {path}: {e}"))
        })?;
        let store = Store::open(&data_dir.join(STORE_FILE)).await?;
        let keeper = LocalTracker::user(&afk_app::user_name());
        let tracker = LocalTracker::new(store.clone(), keeper.id.clone(), BTreeMap::new());
        let port = StorePort::new(store.clone(), afk_local::owner::is_dead);
        Ok(Self { config, store, port, tracker, keeper, trouble: false })
    }

    /// A repository as somebody typed it; the default owner completes it.
    pub(super) fn repo(&self, text: &str) -> Answer<RepoName> {
        repo(text, &self.config)
    }

    /// An issue as somebody typed it; the default owner completes it.
    pub(super) fn issue(&self, text: &str) -> Answer<IssueRef> {
        issue(text, &self.config)
    }

    /// The run that `text` names: an id, the beginning of one, or an issue's newest.
    pub(super) async fn run(&self, text: &str) -> Answer<StoredRun> {
        if text.contains('#') {
            let issue = self.issue(text)?;
            let filter =
                Filter { repo: Some(issue.repo.clone()), issue: Some(issue.number), limit: 1 };
            let newest = self.port.runs(&filter).await?.into_iter().next();
            return newest.ok_or_else(|| {
                Failure::usage(format!(
                    "there is no run on {issue} yet; `afk explain {issue}` says why, and \
                     `afk run {issue}` starts one"
                ))
            });
        }
        if let Ok(id) = text.parse::<RunId>() {
            let found = self.port.load(id).await?;
            return found.ok_or_else(|| Failure::usage(format!("there is no run {id} here")));
        }
        let hex = text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if !hex || text.len() < LEAST_PREFIX {
            return Err(Failure::usage(format!(
                "{text:?} is neither a run (its id, or at least {LEAST_PREFIX} characters of its \
                 beginning) nor an issue such as owner/repo#7"
            )));
        }
        let text = text.to_ascii_lowercase();
        let found = match self.store.runs_beginning(&text, 2).await?.as_slice() {
            [] => None,
            [only] => self.port.load(*only).await?,
            [..] => {
                let told = format!("more than one run begins with {text}: give more of the id");
                return Err(Failure::usage(told));
            }
        };
        found.ok_or_else(|| Failure::usage(format!("no run here begins with {text}")))
    }
}

/// Refuses a repo that the configuration does not have, and says what to add.
pub(super) fn configured(repo: &RepoName, config: &Config, path: Option<&Path>) -> Answer<()> {
    if config.repos.contains_key(repo) {
        return Ok(());
    }
    let file = path.map_or_else(
        || "no configuration file was found".to_owned(),
        |path| format!("{} has no table for it", path.display()),
    );
    Err(Failure::usage(not_configured(repo, &file)))
}

/// An issue as somebody typed it; the default owner completes it.
pub(super) fn issue(text: &str, config: &Config) -> Answer<IssueRef> {
    let completed = match (&config.default_owner, text.split_once('#')) {
        (Some(owner), Some((repo, number))) if !repo.contains('/') => {
            format!("{owner}/{repo}#{number}").parse()
        }
        _ => text.parse(),
    };
    completed.map_err(|e: IdError| Failure::usage(e.to_string()))
}

/// A repository as somebody typed it.
pub(super) fn repo(text: &str, config: &Config) -> Answer<RepoName> {
    RepoName::complete(text, config.default_owner.as_deref())
        .map_err(|e| Failure::usage(e.to_string()))
}

/// What to do about a repo without a table.
pub(super) fn not_configured(repo: &RepoName, why: &str) -> String {
    format!(
        "{repo} is not configured: {why}; a file is looked for at --config, AFK_CONFIG, \
         ./afk.toml and ~/.config/afk/config.toml\n\n\
         afk writes it for you:\n\n    \
         afk enroll {repo} --remote PATH-OR-URL --verify 'COMMAND'\n\n\
         or add by hand:\n\n    \
         [repos.\"{repo}\"]\n    \
         remote = \"/path/to/repository\"\n    \
         verify = [\"cargo\", \"test\"]\n    \
         stages = [{{ name = \"ci\", command = [\"cargo\", \"test\"] }}]"
    )
}

/// Now.
pub(super) fn now() -> At {
    At::now()
}
