//! The configuration in force: loaded from its file, read again when the file has
//! changed and rests, and kept as it was when what is there now is not good.
//!
//! A file that somebody is just writing may hold its beginning alone, or nothing, and still
//! be a whole configuration: one under which repos are off the allowlist and their runs
//! cancelled. So a change counts only once nothing has changed for a moment.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use afk_core::config::{Config, Mistake};
use afk_engine::ports::Settings;
use afk_local::git::RemoteUrl;

use crate::config::{
    ConfigErrors, Loaded, Origin, Problem, Sources, Unknown, load, salvage, warn_once,
};

/// The configuration of one file and its environment.
pub struct FileSettings {
    sources: Sources,
    state: Mutex<State>,
}

/// How long a changed file must have rested before it is read.
pub const RESTS: Duration = Duration::from_secs(1);

/// Mistakes that are told at once; whoever mends these is told the rest.
const MOST: usize = 50;

struct State {
    good: Arc<Config>,
    trouble: Option<String>,
    /// The files as they were read last; none where they are to be read in any case.
    read: Option<Stamps>,
    /// The files as they are now, where that is something else, and since when.
    moved: Option<(Stamps, Instant)>,
}

impl State {
    fn new(good: Config, trouble: Option<String>, read: Stamps) -> Self {
        Self { good: Arc::new(good), trouble, read: Some(read), moved: None }
    }

    /// Whether the files are not what was read, and have been as they are `now` for long
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

/// The files' stamps, in order; one that is gone has a stamp, too: none.
type Stamps = Vec<Option<Stamp>>;

/// What tells one state of a file from another: when it was written, its length, its
/// inode, and when that changed, which nobody can set back.
type Stamp = (SystemTime, u64, u64, (i64, i64));

impl FileSettings {
    /// Loads the configuration, which must be good now.
    pub fn open(sources: Sources) -> Result<Self, ConfigErrors> {
        let stamp = stamp(&sources);
        let state = State::new(checked(&sources)?, None, stamp);
        Ok(Self { sources, state: Mutex::new(state) })
    }

    /// The same, also where what they configure is not good, if they still say where things
    /// are kept and `there` finds a store there: then it is as shipped, which dispatches
    /// nothing, and [`Self::current`] tells the trouble. For those who look, and those who
    /// stop; a file that is not good makes no store.
    pub fn open_to_look(
        sources: Sources,
        there: impl Fn(&Config) -> bool,
    ) -> Result<Self, ConfigErrors> {
        let stamp = stamp(&sources);
        let (good, trouble) = match checked(&sources) {
            Ok(config) => (config, None),
            Err(errors) => match salvage::<Config>(&sources, "data_dir") {
                Ok(dir) if dir.as_ref().is_none_or(|dir| Path::new(dir).is_absolute()) => {
                    let data_dir = dir.map(PathBuf::from);
                    let shipped = Config { data_dir, kill_switch: true, ..Config::default() };
                    if !there(&shipped) {
                        return Err(errors);
                    }
                    (shipped, Some(errors.to_string()))
                }
                Ok(_) | Err(Unknown) => return Err(errors),
            },
        };
        let state = State::new(good, trouble, stamp);
        Ok(Self { sources, state: Mutex::new(state) })
    }

    /// The configuration that was loaded last and was good.
    pub fn config(&self) -> Arc<Config> {
        self.current().0
    }
}

impl FileSettings {
    /// Asks for the configuration to be read again, changed or not, once it rests.
    pub fn ask_again(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.read, state.moved) = (None, None);
    }

    fn read_again(&self, state: &mut State) {
        match emptied(&self.sources).map_or_else(|| checked(&self.sources), Err) {
            Ok(config) => {
                let changed = *state.good != config;
                tracing::info!(repos = config.allowlist.len(), "configuration read again");
                if !changed {
                    tracing::info!("nothing changed by it");
                }
                if config.data_dir != state.good.data_dir {
                    tracing::warn!(
                        key = "data_dir",
                        "a changed data_dir counts from the next start on: the store stays where it is"
                    );
                }
                state.good = Arc::new(config);
                state.trouble = None;
            }
            Err(errors) => {
                let trouble = errors.to_string();
                tracing::error!(
                    error = trouble,
                    "the new configuration is not good: the last good one stays, and pickup pauses"
                );
                state.trouble = Some(trouble);
            }
        }
    }
}

impl Settings for FileSettings {
    fn current(&self) -> (Arc<Config>, Option<String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(&self.sources);
        if state.has_changed(&now) {
            (state.read, state.moved) = (Some(now), None);
            self.read_again(&mut state);
        }
        (state.good.clone(), state.trouble.clone())
    }
}

/// Loads the configuration and checks what its shape alone does not say.
pub fn checked(sources: &Sources) -> Result<Config, ConfigErrors> {
    let loaded = load::<Config>(sources)?;
    warn_once(&loaded.mistyped);
    let problems = problems(&loaded);
    if problems.is_empty() { Ok(loaded.config) } else { Err(ConfigErrors { problems }) }
}

/// What is wrong with a configuration whose shape is sound.
pub fn problems(loaded: &Loaded<Config>) -> Vec<Problem> {
    let remotes = loaded.config.repos.iter().filter_map(|(name, repo)| {
        let why = RemoteUrl::parse(&repo.remote).err()?.reason();
        Some(Mistake::at(&["repos", name.as_str(), "remote"], why))
    });
    let all = loaded.config.mistakes().into_iter().chain(remotes);
    all.take(MOST).map(|mistake| loaded.places.problem(&mistake.key, mistake.what)).collect()
}

/// What is wrong with a file that says nothing any more. To begin with nothing is fine; to
/// be left with nothing is an accident.
fn emptied(sources: &Sources) -> Option<ConfigErrors> {
    let text = std::fs::read_to_string(sources.file.as_ref()?).ok()?;
    let why = "it is empty, and was not when it was read; to stop all, turn the kill switch on";
    let problem = |path: &PathBuf| Problem {
        origin: Origin::File { path: path.clone(), place: None },
        key: String::new(),
        what: why.to_owned(),
    };
    let file = sources.file.as_ref().filter(|_| text.trim().is_empty())?;
    Some(ConfigErrors { problems: vec![problem(file)] })
}

fn stamp(sources: &Sources) -> Stamps {
    let mut files: Vec<PathBuf> = sources.file.iter().cloned().collect();
    if let Some(dir) = &sources.mounted {
        // What a ConfigMap mounts is a folder of links, of which a change swaps one.
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut mounted: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        mounted.sort();
        files.extend(mounted);
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

    /// Asks until it is so.
    #[track_caller]
    fn until(settings: &FileSettings, so: impl Fn(&Config, Option<&str>) -> bool) {
        let bound = Instant::now() + Duration::from_mins(1);
        loop {
            let (config, trouble) = settings.current();
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
            let (config, trouble) = settings.current();
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
            *config == *before && trouble.is_some_and(|why| why.contains("it is empty"))
        });
        std::fs::write(&file, WHOLE).unwrap();
        until(&settings, |config, trouble| *config == *before && trouble.is_none());
    }
}
