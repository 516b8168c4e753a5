//! What most commands work at: configuration, store and local tracker, without the
//! engine. Opened anew by each command; nothing here starts or stops anything.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use afk_core::config::Config;
use afk_core::ids::{Actor, At, IssueRef, RepoName, RunId};
use afk_engine::ports::{Filter, Store as _, StoredRun};

use super::exit::Exit;
use super::failure::{Answer, Failure};
use super::out::Out;
use crate::adapters::local_tracker::LocalTracker;
use crate::adapters::store_port::StorePort;
use crate::config::{Loaded, Sources, find_file, load};
use crate::store::Store;

/// The store's file in the data folder.
pub(crate) const STORE_FILE: &str = "afk.db";
/// Runs that a short id is looked for in.
const RECENT: u32 = 1_000;
/// A run id is told from the beginning of it, of at least so many characters.
const LEAST_PREFIX: usize = 4;
const MAX_PASSWD: u64 = 4 * 1024 * 1024;

/// Configuration, store and tracker.
pub(super) struct Desk {
    pub(super) config: Config,
    /// The file that was read; none where there is none.
    pub(super) config_path: Option<PathBuf>,
    pub(super) data_dir: PathBuf,
    pub(super) store: Store,
    pub(super) port: StorePort,
    pub(super) tracker: LocalTracker,
    /// The person at the keyboard.
    pub(super) keeper: Actor,
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

/// The configuration, sound in shape and meaning; warnings go to standard error.
pub(super) fn configuration(sources: &Sources, out: &Out) -> Answer<Config> {
    let Loaded { config, warnings } = load::<Config>(sources)?;
    for warning in warnings {
        out.note(format!("{} {warning}", out.paint_err.warn("warning:")));
    }
    let problems = config.problems();
    if !problems.is_empty() {
        let at = sources.file.as_ref().map(|path| format!("{}: ", path.display()));
        let at = at.unwrap_or_default();
        let lines: Vec<_> = problems.iter().map(|problem| format!("{at}{problem}")).collect();
        return Err(Failure::usage(lines.join("\n")));
    }
    Ok(config)
}

/// The folder of store and workspaces: `data_dir`, else the platform's own.
pub(crate) fn data_dir(
    config: &Config,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, String> {
    // By the XDG rules a path that is not absolute is as good as none.
    let absolute = |name| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(named) = &config.data_dir {
        return Ok(named.clone());
    }
    absolute("XDG_DATA_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/share")))
        .map(|base| base.join("afk"))
        .ok_or_else(|| {
            "there is no place for the store: HOME is not set; set it, or `data_dir` in the \
             configuration"
                .to_owned()
        })
}

/// The person at the keyboard, by the account that runs this process and not by
/// what the environment says.
pub(crate) fn keeper() -> Actor {
    let uid = rustix::process::getuid().as_raw();
    let mut passwd = String::new();
    let read = std::fs::File::open("/etc/passwd")
        .and_then(|file| file.take(MAX_PASSWD).read_to_string(&mut passwd));
    let name = read.ok().and_then(|_| name_of(uid, &passwd));
    LocalTracker::user(&name.unwrap_or_else(|| format!("uid-{uid}")))
}

fn name_of(uid: u32, passwd: &str) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

impl Desk {
    /// Opens everything; makes the data folder and the store where they are not.
    pub(super) async fn open(config: Option<&Path>, out: &Out) -> Answer<Self> {
        let sources = sources(config);
        let config = configuration(&sources, out)?;
        let data_dir = data_dir(&config, |name| std::env::var_os(name)).map_err(Failure::usage)?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&data_dir).map_err(|e| {
            let path = data_dir.display();
            Failure::new(Exit::Failure, format!("cannot make the data folder {path}: {e}"))
        })?;
        let store = Store::open(&data_dir.join(STORE_FILE)).await?;
        let keeper = keeper();
        let tracker = LocalTracker::new(store.clone(), keeper.id.clone(), [].into());
        let port = StorePort::new(store.clone());
        Ok(Self { config, config_path: sources.file, data_dir, store, port, tracker, keeper })
    }

    /// A repository as somebody typed it; the default owner completes it.
    pub(super) fn repo(&self, text: &str) -> Answer<RepoName> {
        repo(text, &self.config)
    }

    /// An issue as somebody typed it; the default owner completes it.
    pub(super) fn issue(&self, text: &str) -> Answer<IssueRef> {
        let owner = self.config.default_owner.as_deref();
        let completed = match (owner, text.split_once('#')) {
            (Some(owner), Some((repo, number))) if !repo.contains('/') => {
                format!("{owner}/{repo}#{number}").parse()
            }
            _ => text.parse(),
        };
        completed.map_err(|e| Failure::usage(format!("{e}")))
    }

    /// The run that `text` names: an id, the beginning of one, or an issue's newest.
    pub(super) async fn run(&self, text: &str) -> Answer<StoredRun> {
        if text.contains('#') {
            let issue = self.issue(text)?;
            let filter = Filter {
                repo: Some(issue.repo.clone()),
                issue: Some(issue.number),
                limit: 1,
            };
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
        let filter = Filter { limit: RECENT, ..Filter::default() };
        let mut found: Vec<_> = self.port.runs(&filter).await?;
        found.retain(|stored| stored.run.id.to_string().starts_with(&text));
        match (found.pop(), found.len()) {
            (Some(only), 0) => Ok(only),
            (Some(_), more) => Err(Failure::usage(format!(
                "{} runs begin with {text}: give more of the id",
                more + 1
            ))),
            (None, _) => Err(Failure::usage(format!("no run here begins with {text}"))),
        }
    }

    /// Refuses a repo that the configuration does not have, and says what to add.
    pub(super) fn configured(&self, repo: &RepoName) -> Answer<()> {
        if self.config.repos.contains_key(repo) {
            return Ok(());
        }
        let file = self.config_path.as_ref().map_or_else(
            || "no configuration file was found".to_owned(),
            |path| format!("{} has no table for it", path.display()),
        );
        Err(Failure::usage(not_configured(repo, &file)))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_folder_is_the_named_one_or_the_platforms() {
        let check = |named: Option<&str>, xdg: &str, home: &str, expected: Option<&str>| {
            let config = Config { data_dir: named.map(PathBuf::from), ..Config::default() };
            let env = |name: &str| match name {
                "XDG_DATA_HOME" if !xdg.is_empty() => Some(OsString::from(xdg)),
                "HOME" if !home.is_empty() => Some(OsString::from(home)),
                _ => None,
            };
            assert_eq!(data_dir(&config, env).ok(), expected.map(PathBuf::from));
        };
        check(Some("/srv/afk"), "/x", "/h", Some("/srv/afk"));
        check(None, "/x", "/h", Some("/x/afk"));
        check(None, "relative", "/h", Some("/h/.local/share/afk"));
        check(None, "", "/h", Some("/h/.local/share/afk"));
        check(None, "", "", None);
    }

    #[test]
    fn an_account_is_named_by_its_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\nbad\nann:x:1000:1000::/h:/bin/sh\n";
        assert_eq!(name_of(0, passwd).as_deref(), Some("root"));
        assert_eq!(name_of(1000, passwd).as_deref(), Some("ann"));
        assert_eq!(name_of(7, passwd), None);
    }
}
