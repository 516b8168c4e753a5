//! A person at the control plane and what their commands need: configuration, store and local
//! tracker, without the engine.
//!
//! Opened anew by each command. Opening it starts and stops nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Config;
use afk_core::ids::{Actor, IdError, IssueRef, RepoName, RunId};
use afk_engine::ports::{Filter, Store as _, StoredRun};
use afk_local::{PublicKey, SigningKey};
use afk_store::Store;
use afk_store::local_tracker::LocalTracker;
use futures_util::future::LocalBoxFuture;

use crate::config::{Sources, is_local, nearest};
use crate::secrets::read_secret;
use crate::settings::FileSettings;
use crate::wiring::open_store;
use crate::{EVIDENCE, Error, data_dir, store_is_there, user_name};

/// Minimum length of a prefix that names a run.
const LEAST_PREFIX: usize = 4;
/// Maximum number of runs listed for an ambiguous prefix.
const MOST_TOLD: u32 = 5;
/// Maximum number of configured repos listed for one that is not.
const MOST_REPOS: usize = 5;

/// A person, and what they work with.
pub struct Operator {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// Why the configuration that was found is invalid, if another is in force.
    pub trouble: Option<String>,
    /// The store.
    pub store: Store,
    /// The local tracker.
    pub tracker: LocalTracker,
    /// The person, by the user name of this process.
    pub person: Actor,
}

impl Operator {
    /// Opens everything; creates the data folder and the store if they do not exist.
    pub async fn open(sources: Sources) -> Result<Self, Error> {
        Self::with(FileSettings::open(sources)?.config(), None).await
    }

    /// Opens everything for commands that only read or stop things. Works with an invalid
    /// configuration, and then [`Self::trouble`] says what is wrong with it.
    pub async fn open_to_look(sources: Sources) -> Result<Self, Error> {
        let (config, trouble) = FileSettings::open_to_look(sources, store_is_there)?.read();
        Self::with(config, trouble).await
    }

    fn with(
        config: Arc<Config>,
        trouble: Option<String>,
    ) -> LocalBoxFuture<'static, Result<Self, Error>> {
        Box::pin(async move {
            let data_dir = data_dir(&config)?;
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&data_dir).map_err(
                |e| {
                    let path = data_dir.display();
                    Error::failed(format!("cannot make the data folder {path}: {e}"))
                },
            )?;
            let store = open_store(&data_dir).await?;
            let person = LocalTracker::user(&user_name());
            let tracker = LocalTracker::new(store.clone(), person.id.clone(), BTreeMap::new());
            Ok(Self { config, trouble, store, tracker, person })
        })
    }

    /// Parses a repository as typed; the default owner completes it.
    pub fn repo(&self, text: &str) -> Result<RepoName, Error> {
        repo(text, &self.config)
    }

    /// Parses an issue as typed; the default owner completes it.
    pub fn issue(&self, text: &str) -> Result<IssueRef, Error> {
        issue(text, &self.config)
    }

    /// Finds the run that `text` names: an id, a prefix of one, or an issue (its newest run).
    pub async fn run(&self, text: &str) -> Result<StoredRun, Error> {
        if text.contains('#') {
            let issue = self.issue(text)?;
            let filter = Filter {
                repo: Some(issue.repo.clone()),
                issue: Some(issue.number),
                limit: 1,
                ..Filter::default()
            };
            let newest = self.store.runs(&filter).await?.into_iter().next();
            return match newest {
                Some(newest) => Ok(newest),
                None => Err(self.no_run(&issue).await?),
            };
        }
        if let Ok(id) = text.parse::<RunId>() {
            let found = self.store.load(id).await?;
            return found
                .ok_or_else(|| Error::invalid(format!("there is no run {id} in this store")));
        }
        let hex = text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if !hex || text.len() < LEAST_PREFIX {
            return Err(Error::invalid(format!(
                "{text:?} is neither a run (its id, or at least {LEAST_PREFIX} characters of its \
                 beginning) nor an issue such as owner/name#7"
            )));
        }
        let text = text.to_ascii_lowercase();
        let found = match self.store.runs_beginning(&text, MOST_TOLD + 1).await?.as_slice() {
            [] => None,
            [only] => self.store.load(*only).await?,
            several => return Err(self.ambiguous(&text, several).await?),
        };
        found.ok_or_else(|| Error::invalid(format!("no run in this store begins with {text}")))
    }

    /// Why there is no run on an issue: perhaps there is no such issue. Only the local tracker is
    /// asked, and only if it is known that the issues of the repo are there.
    async fn no_run(&self, issue: &IssueRef) -> Result<Error, Error> {
        let is_here = self.trouble.is_none() && is_local(&self.config.policy, &issue.repo);
        if is_here && self.tracker.get(issue).await?.is_none() {
            return Ok(no_issue(issue));
        }
        Ok(Error::invalid(format!(
            "there is no run on {issue} yet; `afk explain {issue}` says why, and `afk run {issue}` \
             starts one"
        )))
    }

    /// Which runs a prefix may mean, newest first.
    async fn ambiguous(&self, text: &str, several: &[RunId]) -> Result<Error, Error> {
        let most = MOST_TOLD as usize;
        let mut told = format!("more than one run begins with {text}; give more of the id:");
        for id in several.iter().take(most) {
            let issue = self.store.load(*id).await?.map(|stored| stored.run.issue.to_string());
            let _ = write!(told, "\n    {id}  {}", issue.unwrap_or_default());
        }
        if several.len() > most {
            told.push_str("\n    and more");
        }
        Ok(Error::invalid(told))
    }
}

/// Returns the public half of the key that signs evidence; none if no key is configured. An error
/// says that the secret cannot be read or is no key.
pub async fn evidence_key(config: &Config) -> Result<Option<PublicKey>, Error> {
    let Some(source) = &config.local.evidence_key else { return Ok(None) };
    let pem = read_secret(config, source).await;
    let pem = pem.map_err(|error| Error::invalid(format!("evidence_key: {}", error.chain())))?;
    let key = SigningKey::from_pem(&pem).and_then(|key| key.public());
    key.map(Some)
        .map_err(|why| Error::invalid(format!("evidence_key: the secret from {source} {why}")))
}

/// Returns the path at which the bundle of a run is kept once the run has settled.
pub fn bundle_file(config: &Config, run: RunId) -> Result<PathBuf, Error> {
    Ok(data_dir(config)?.join(EVIDENCE).join(format!("{run}.json")))
}

/// Refuses a repo that is not configured, and says what to add. `path` is the configuration file,
/// if there is one.
pub fn configured(repo: &RepoName, config: &Config, path: Option<&Path>) -> Result<(), Error> {
    if config.policy.repos.contains_key(repo) {
        return Ok(());
    }
    let file = path.map_or_else(
        || "there is no configuration file yet".to_owned(),
        |path| format!("{} has no table for it", path.display()),
    );
    Err(Error::invalid(not_configured(repo, config, &file)))
}

/// The error about an issue that the local tracker does not have.
pub fn no_issue(issue: &IssueRef) -> Error {
    Error::invalid(format!("there is no issue {issue}; `afk issue list --all` shows every issue"))
}

/// Parses an issue as typed; the default owner completes it.
pub fn issue(text: &str, config: &Config) -> Result<IssueRef, Error> {
    let completed = match (&config.own.default_owner, text.split_once('#')) {
        (Some(owner), Some((repo, number))) if !repo.contains('/') => {
            format!("{owner}/{repo}#{number}").parse()
        }
        _ => text.parse(),
    };
    completed.map_err(|e: IdError| {
        if !text.contains('#') {
            return Error::invalid(format!(
                "{e}; in a clone of its repository its number is enough"
            ));
        }
        let meant = with_owner(text, config).filter(|meant| meant.parse::<IssueRef>().is_ok());
        Error::invalid(meant.map_or_else(|| e.to_string(), |meant| lacks_owner(text, &meant)))
    })
}

/// Parses a repository as typed; the default owner completes it.
pub fn repo(text: &str, config: &Config) -> Result<RepoName, Error> {
    RepoName::complete(text, config.own.default_owner.as_deref()).map_err(|e| {
        let meant = with_owner(text, config);
        Error::invalid(meant.map_or_else(|| e.to_string(), |meant| lacks_owner(text, &meant)))
    })
}

/// A repository, or an issue of one, that was typed without its owner, completed with the owner of
/// the only configured repo of that name; none if no repo has the name, or several do.
fn with_owner(text: &str, config: &Config) -> Option<String> {
    let (name, rest) = text.split_at(text.find('#').unwrap_or(text.len()));
    let mut so_named = config.policy.repos.keys().filter(|repo| repo.name() == name);
    match (so_named.next(), so_named.next()) {
        (Some(only), None) => Some(format!("{only}{rest}")),
        _ => None,
    }
}

fn lacks_owner(text: &str, meant: &str) -> String {
    format!(
        "{text:?} lacks its owner: did you mean {meant}? It may be omitted if default_owner is set"
    )
}

/// The configured repo that was most likely meant by one that is not: of the same owner, with a
/// similar name, or of another owner, with the same name.
fn meant<'c>(repo: &RepoName, config: &'c Config) -> Option<&'c RepoName> {
    let all = &config.policy.repos;
    let own: Vec<&RepoName> = all.keys().filter(|one| one.owner() == repo.owner()).collect();
    let near = nearest(repo.name(), own.iter().map(|one| one.name()));
    let near = near.and_then(|name| own.iter().copied().find(|one| one.name() == name));
    near.or_else(|| all.keys().find(|one| one.name() == repo.name()))
}

/// The message about a repo without a table: which other one may be meant or, where none is
/// configured, `why` it has none; and how to add it.
pub fn not_configured(repo: &RepoName, config: &Config, why: &str) -> String {
    let known: Vec<&str> = config.policy.repos.keys().map(RepoName::as_str).collect();
    if !known.is_empty() {
        let or = meant(repo, config).map_or_else(
            || {
                let more = known.len().saturating_sub(MOST_REPOS);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let known = known.iter().take(MOST_REPOS).copied().collect::<Vec<_>>();
                format!("configured: {}{more}.", known.join(", "))
            },
            |meant| format!("did you mean {meant}?"),
        );
        return format!(
            "{repo} is not configured; {or} `afk enroll` in a clone of {repo} adds it, or \
             elsewhere `afk enroll {repo} --remote PATH-OR-URL --verify 'COMMAND'`"
        );
    }
    format!(
        "{repo} is not configured: {why}; the file is searched for at --config, AFK_CONFIG, \
         ./afk.toml (outside of git clones) and ~/.config/afk/config.toml\n\n\
         let afk write it, in a clone of {repo}:\n\n    \
         afk enroll\n\n\
         or elsewhere:\n\n    \
         afk enroll {repo} --remote PATH-OR-URL --verify 'COMMAND'\n\n\
         or add it by hand:\n\n    \
         [repos.\"{repo}\"]\n    \
         remote = \"/path/to/repository\"\n    \
         verify = [\"cargo\", \"test\"]\n    \
         stages = [{{ name = \"ci\", command = [\"cargo\", \"test\"] }}]"
    )
}
