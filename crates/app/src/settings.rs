//! The configuration in force: loaded from its files, loaded again after they change and have
//! rested, and kept when the new one is invalid.
//!
//! A file that is being written may be truncated or empty and still be a valid configuration: one
//! without an allowlist, which would cancel runs. So a change only counts after the files have been
//! unchanged for a moment, and what had something in it must not have become empty: not a file, and
//! not a folder either, which is empty while a mount is gone.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use afk_core::config::Policy;
use afk_engine::ports::Settings;
use afk_local::LocalSettings;
use tokio::sync::watch;

use crate::config::{
    Config, ConfigErrors, Loaded, Origin, Problem, Sources, Unknown, has_mounted, include_dir,
    included, load, read_text, salvage, warn_once,
};

/// The configuration of one file and its environment.
pub struct FileSettings {
    sources: Sources,
    state: Mutex<State>,
    local: watch::Sender<Arc<LocalSettings>>,
    listeners: Mutex<Vec<ConfigListener>>,
}

/// A callback that gets the configuration whenever it changes.
type ConfigListener = Box<dyn Fn(&Config) + Send + Sync>;

/// How long a changed file must have rested before it is read.
pub const RESTS: Duration = Duration::from_secs(1);

/// Minimum time between checks of the files: each read of the settings would check them otherwise,
/// and a fleet has many files.
const LOOK: Duration = Duration::from_millis(100);

/// Maximum number of mistakes reported at once.
const MOST: usize = 50;

struct State {
    good: Arc<Config>,
    trouble: Option<String>,
    /// The folder of included files, if one is configured.
    include: Option<PathBuf>,
    /// When the files were last checked.
    looked: Option<Instant>,
    /// What the last valid configuration was read from.
    parts: Parts,
    /// The stamps of the files as last read; none to force a reload.
    read: Option<Stamps>,
    /// The current stamps if they differ from those in `read`, and since when.
    moved: Option<(Stamps, Instant)>,
}

impl State {
    fn new(good: Config, trouble: Option<String>, watched: Watched) -> Self {
        let Watched { include, stamps, parts } = watched;
        let (good, read, looked) = (Arc::new(good), Some(stamps), Some(Instant::now()));
        Self { good, trouble, include, parts, read, moved: None, looked }
    }

    /// Whether the files differ from what was read, and have been as they are `now` for long
    /// enough.
    fn has_changed(&mut self, now: &Stamps) -> bool {
        if self.read.as_ref() == Some(now) {
            self.moved = None;
            return false;
        }
        match &self.moved {
            Some((seen, since)) if seen == now => since.elapsed() >= RESTS,
            Some(_) | None => {
                self.moved = Some((now.clone(), Instant::now()));
                false
            }
        }
    }
}

/// The files' stamps, in order; a missing file has the stamp none.
type Stamps = Vec<Option<Stamp>>;

/// What distinguishes one state of a file from another: modification time, length, inode, and
/// change time, which nobody can set back.
type Stamp = (SystemTime, u64, u64, (i64, i64));

impl FileSettings {
    /// Loads the configuration, which must be valid.
    pub fn open(sources: Sources) -> Result<Self, ConfigErrors> {
        let watched = Watched::of(&sources);
        let good = checked(&sources)?;
        Ok(Self::new(sources, State::new(good, None, watched)))
    }

    /// Loads the configuration for commands that only read or stop things.
    ///
    /// If it is invalid, but still says where the store is and `there` finds one, the defaults
    /// apply, which dispatch nothing, and [`Self::read`] returns the problem. A store is never
    /// created.
    pub fn open_to_look(
        sources: Sources,
        there: impl Fn(&Config) -> bool,
    ) -> Result<Self, ConfigErrors> {
        let watched = Watched::of(&sources);
        let (good, trouble) = match checked(&sources) {
            Ok(config) => (config, None),
            Err(errors) => match salvage::<Config>(&sources, "data_dir") {
                Ok(dir) if dir.as_ref().is_none_or(|dir| Path::new(dir).is_absolute()) => {
                    let data_dir = dir.map(PathBuf::from);
                    let local = LocalSettings { data_dir, ..LocalSettings::default() };
                    let shipped = Config { local: Arc::new(local), ..Config::default() };
                    if !there(&shipped) {
                        return Err(errors);
                    }
                    (shipped, Some(errors.to_string()))
                }
                Ok(_) | Err(Unknown) => return Err(errors),
            },
        };
        Ok(Self::new(sources, State::new(good, trouble, watched)))
    }

    fn new(sources: Sources, state: State) -> Self {
        let (local, _) = watch::channel(state.good.local.clone());
        Self { sources, state: Mutex::new(state), local, listeners: Mutex::default() }
    }

    /// Returns the last valid configuration, and why dispatch pauses if the newest one is invalid.
    /// Loads changed files again once they have rested.
    pub fn read(&self) -> (Arc<Config>, Option<String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            state.looked = Some(Instant::now());
            let now = stamps(&self.sources, state.include.as_deref());
            if state.has_changed(&now) {
                let Watched { include, stamps, parts } = Watched::of(&self.sources);
                (state.include, state.read, state.moved) = (include, Some(stamps), None);
                self.read_again(&mut state, parts);
            }
        }
        (state.good.clone(), state.trouble.clone())
    }

    /// The last valid configuration.
    pub fn config(&self) -> Arc<Config> {
        self.read().0
    }

    /// Calls `take` with the configuration, now and whenever it changes.
    pub fn on_change(&self, take: impl Fn(&Config) + Send + Sync + 'static) {
        take(&self.config());
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(take));
    }

    /// Returns a receiver of this machine's part of the configuration, as it changes.
    pub fn local(&self) -> watch::Receiver<Arc<LocalSettings>> {
        self.local.subscribe()
    }
}

impl FileSettings {
    /// Makes a later [`Self::read`] load the files again once they have rested, even if they have
    /// not changed.
    pub fn ask_again(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.read, state.moved, state.looked) = (None, None, None);
    }

    fn read_again(&self, state: &mut State, parts: Parts) {
        match emptied(&state.parts, &parts).map_or_else(|| checked(&self.sources), Err) {
            Ok(mut config) => {
                state.parts = parts;
                let changed = *state.good != config;
                let repos = config.policy.allowlist.len();
                tracing::info!(repos, "configuration read again");
                if !changed {
                    tracing::info!("it is unchanged");
                }
                if config.local.data_dir != state.good.local.data_dir {
                    tracing::warn!(
                        key = "data_dir",
                        "a changed data_dir takes effect at the next start: the store stays where it is"
                    );
                }
                // An equal policy keeps its allocation, so that others can compare the pointers.
                if config.policy == state.good.policy {
                    config.policy = state.good.policy.clone();
                }
                if changed {
                    self.local.send_replace(config.local.clone());
                    for take in &*self.listeners.lock().unwrap_or_else(PoisonError::into_inner) {
                        take(&config);
                    }
                    state.good = Arc::new(config);
                }
                state.trouble = None;
            }
            Err(errors) => {
                let trouble = errors.to_string();
                tracing::error!(
                    error = trouble,
                    "the new configuration is invalid: the last valid one stays, and dispatch pauses"
                );
                state.trouble = Some(trouble);
            }
        }
    }
}

impl Settings for FileSettings {
    fn current(&self) -> (Arc<Policy>, Option<String>) {
        let (config, trouble) = self.read();
        (config.policy.clone(), trouble)
    }
}

/// Loads the configuration and checks what its types do not express.
pub fn checked(sources: &Sources) -> Result<Config, ConfigErrors> {
    let loaded = load::<Config>(sources)?;
    warn_once(&loaded.mistyped);
    let problems = problems(&loaded);
    if problems.is_empty() { Ok(loaded.config) } else { Err(ConfigErrors { problems }) }
}

/// Lists what is wrong with a configuration beyond its types: at most fifty mistakes, each at
/// the place where its key was given.
pub fn problems(loaded: &Loaded<Config>) -> Vec<Problem> {
    let all = loaded.config.mistakes().into_iter();
    let told = all.take(MOST).map(|mistake| loaded.places.problem(&mistake.key, mistake.what));
    // A problem in a pattern is reported once, not once for each repo.
    let mut problems: Vec<Problem> = Vec::new();
    for problem in told {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    problems
}

/// The error for files and folders that have become empty since the last valid configuration.
/// Starting with an empty one is fine; becoming empty is an accident.
fn emptied(before: &Parts, now: &Parts) -> Option<ConfigErrors> {
    let had = |path: &PathBuf| before.get(path).is_some_and(|part| part.is_filled);
    let emptied = now.iter().filter(|(path, part)| !part.is_filled && had(path));
    let problem = |(path, part): (&PathBuf, &Part)| Problem {
        origin: Origin::File { path: path.clone(), place: None },
        key: String::new(),
        what: format!("it has become empty; {}", part.instead),
    };
    let problems: Vec<Problem> = emptied.map(problem).collect();
    if problems.is_empty() { None } else { Some(ConfigErrors { problems }) }
}

/// The files and folders that the configuration is read from, as far as they can be read.
type Parts = BTreeMap<PathBuf, Part>;

/// A file or folder of the configuration.
struct Part {
    /// Whether it has something in it.
    is_filled: bool,
    /// What to do instead of emptying it.
    instead: &'static str,
}

fn parts(sources: &Sources, include: Option<&Path>) -> Parts {
    let mut parts = Parts::new();
    let mut add = |path: &Path, is_filled, instead| {
        parts.insert(path.to_owned(), Part { is_filled, instead });
    };
    let has_text = |path: &Path| read_text(path).map_or(true, |text| !text.trim().is_empty());
    if let Some(file) = &sources.file {
        add(file, has_text(file), "to stop dispatch, turn the kill switch on");
    }
    if let Some(folder) = &sources.mounted
        && let Ok(is_filled) = has_mounted(folder)
    {
        add(folder, is_filled, "to do without it, start without AFK_CONFIG_DIR");
    }
    if let Some(folder) = include
        && let Ok(files) = included(folder)
    {
        add(folder, !files.is_empty(), "to do without it, remove include_dir");
        for file in &files {
            add(file, has_text(file), "to take its repos out, remove the file");
        }
    }
    parts
}

/// The folder of included files, the stamps of everything that is watched for changes, and what of
/// it has something in it.
struct Watched {
    include: Option<PathBuf>,
    stamps: Stamps,
    parts: Parts,
}

impl Watched {
    fn of(sources: &Sources) -> Self {
        let include = include_dir(sources);
        let stamps = stamps(sources, include.as_deref());
        Self { stamps, parts: parts(sources, include.as_deref()), include }
    }
}

fn stamps(sources: &Sources, include: Option<&Path>) -> Stamps {
    let mut files: Vec<PathBuf> = sources.file.iter().cloned().collect();
    if let Some(dir) = &sources.mounted {
        // A ConfigMap is mounted as a folder of links, one of which is swapped on a change.
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut mounted: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        mounted.sort();
        files.extend(mounted);
    }
    if let Some(folder) = include {
        // The folder's own stamp shows files that are added or removed.
        files.push(folder.to_owned());
        files.extend(included(folder).unwrap_or_default());
    }
    let of = |path: &PathBuf| {
        let metadata = path.metadata().ok()?;
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino(), changed))
    };
    files.iter().map(of).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const WHOLE: &str = "budget_usd = 5\nday_budget_usd = 50\n";

    fn written() -> (tempfile::TempDir, PathBuf, FileSettings) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("afk.toml");
        std::fs::write(&file, WHOLE).unwrap();
        let sources = Sources { file: Some(file.clone()), ..Sources::default() };
        let settings = FileSettings::open(sources).unwrap();
        (folder, file, settings)
    }

    /// Polls until the condition holds.
    #[track_caller]
    fn until(settings: &FileSettings, so: impl Fn(&Config, Option<&str>) -> bool) {
        let bound = Instant::now() + Duration::from_mins(1);
        loop {
            let (config, trouble) = settings.read();
            if so(&config, trouble.as_deref()) {
                return;
            }
            assert!(Instant::now() < bound, "{trouble:?} {config:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn half_a_file_is_never_in_force() {
        let (_folder, file, settings) = written();
        let before = settings.config();
        for torn in ["", "budget_usd = 5\n", WHOLE] {
            std::fs::write(&file, torn).unwrap();
            let (config, trouble) = settings.read();
            assert_eq!((&config, trouble), (&before, None), "{torn:?}");
        }
        std::fs::write(&file, WHOLE.replace("50", "60")).unwrap();
        until(&settings, |config, trouble| *config != *before && trouble.is_none());
    }

    #[test]
    fn a_file_that_was_emptied_is_trouble_and_the_last_good_one_stays() {
        let (_folder, file, settings) = written();
        let before = settings.config();
        std::fs::write(&file, " \n").unwrap();
        until(&settings, |config, trouble| {
            *config == *before && trouble.is_some_and(|why| why.contains("it has become empty"))
        });
        std::fs::write(&file, WHOLE).unwrap();
        until(&settings, |config, trouble| *config == *before && trouble.is_none());
    }

    /// A file of one enrolled repo.
    fn table(name: &str) -> String {
        format!(
            "allowlist = ['{name}']\n[repos.'{name}']\nremote = '/srv/{name}'\nverify = ['make']\n\
             stages = [{{ name = 'ci', command = ['ci'] }}]\n"
        )
    }

    #[test]
    fn a_folder_that_was_emptied_is_trouble_until_it_is_filled_or_no_longer_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (file, mounted) = (path("afk.toml"), path("mounted"));
        let (one, two) = (path("repos.d/1.toml"), path("repos.d/2.toml"));
        let variable = path("mounted/AFK_BUDGET_USD");
        for folder in [&mounted, &path("repos.d")] {
            std::fs::create_dir(folder).unwrap();
        }
        let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
        let remove = |path: &Path| std::fs::remove_file(path).unwrap();
        let write_all = |budget: u32| {
            write(&one, &table("o/a"));
            write(&two, &table("o/b"));
            write(&variable, &budget.to_string());
        };
        let named = |day: u32| format!("include_dir = 'repos.d'\nday_budget_usd = {day}\n");
        write_all(1);
        write(&file, &named(50));
        let mounted = Some(mounted);
        let sources = Sources { file: Some(file.clone()), mounted, ..Sources::default() };
        let settings = FileSettings::open(sources).unwrap();
        let repos = |config: &Config| config.policy.allowlist.len();
        assert_eq!(repos(&settings.config()), 2);
        let unmount = || {
            remove(&one);
            remove(&two);
        };
        let mishaps: [(&str, &dyn Fn()); 3] = [
            ("repos.d: it has become empty", &unmount),
            ("2.toml: it has become empty", &|| write(&two, "\n")),
            ("mounted: it has become empty", &|| remove(&variable)),
        ];
        for (budget, (says, mishap)) in (2..).zip(mishaps) {
            let before = settings.config();
            mishap();
            let is_told = |config: &Config, trouble: Option<&str>| {
                *config == *before && trouble.is_some_and(|why| why.contains(says))
            };
            until(&settings, is_told);
            // Read once more as it is, it does not count as having been empty all along.
            let now = Watched::of(&settings.sources).parts;
            settings.read_again(&mut settings.state.lock().unwrap(), now);
            until(&settings, is_told);
            write_all(budget);
            until(&settings, |config, trouble| *config != *before && trouble.is_none());
            assert_eq!(repos(&settings.config()), 2);
        }
        // It is meant if a file is removed, or if the folder is no longer named.
        remove(&two);
        until(&settings, |config, trouble| repos(config) == 1 && trouble.is_none());
        remove(&one);
        until(&settings, |config, trouble| repos(config) == 1 && trouble.is_some());
        write(&file, "day_budget_usd = 60\n");
        until(&settings, |config, trouble| repos(config) == 0 && trouble.is_none());
        // A folder that was never full may be empty.
        let unnamed = settings.config();
        write(&file, &named(70));
        until(&settings, |config, trouble| *config != *unnamed && trouble.is_none());
    }
}
