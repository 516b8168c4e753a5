//! The configuration in force: loaded from its file, read again when the file
//! changes, and kept as it was when what is there now is not good.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use afk_core::config::Config;
use afk_engine::ports::Settings;

use crate::config::{ConfigErrors, Sources, Unknown, load, salvage};

/// The configuration of one file and its environment.
pub struct FileSettings {
    sources: Sources,
    state: Mutex<State>,
}

struct State {
    good: Arc<Config>,
    trouble: Option<String>,
    stamp: Vec<Option<Stamp>>,
}

/// What tells one state of a file from another: when it was written, its length, its
/// inode, and when that changed, which nobody can set back.
type Stamp = (SystemTime, u64, u64, (i64, i64));

impl FileSettings {
    /// Loads the configuration, which must be good now.
    pub fn open(sources: Sources) -> Result<Self, ConfigErrors> {
        let stamp = stamp(&sources);
        let good = Arc::new(checked(&sources)?);
        Ok(Self { sources, state: Mutex::new(State { good, trouble: None, stamp }) })
    }

    /// The same, also where what they configure is not good, if they still say where things
    /// are kept: then it is as shipped, which dispatches nothing, and [`Self::current`] tells
    /// the trouble. For those who look, and those who stop.
    pub fn open_to_look(sources: Sources) -> Result<Self, ConfigErrors> {
        let stamp = stamp(&sources);
        let (good, trouble) = match checked(&sources) {
            Ok(config) => (config, None),
            Err(errors) => match salvage::<Config>(&sources, "data_dir") {
                Ok(dir) if dir.as_ref().is_none_or(|dir| Path::new(dir).is_absolute()) => {
                    let data_dir = dir.map(PathBuf::from);
                    let shipped = Config { data_dir, kill_switch: true, ..Config::default() };
                    (shipped, Some(errors.to_string()))
                }
                Ok(_) | Err(Unknown) => return Err(errors),
            },
        };
        let state = State { good: Arc::new(good), trouble, stamp };
        Ok(Self { sources, state: Mutex::new(state) })
    }

    /// The configuration that was loaded last and was good.
    pub fn config(&self) -> Arc<Config> {
        self.current().0
    }
}

impl FileSettings {
    /// Reads the configuration again, changed or not; what is wrong with it, where it is
    /// not good.
    pub fn reload(&self) -> Result<Arc<Config>, String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stamp = stamp(&self.sources);
        self.read_again(&mut state);
        match &state.trouble {
            None => Ok(state.good.clone()),
            Some(trouble) => Err(trouble.clone()),
        }
    }

    fn read_again(&self, state: &mut State) {
        match checked(&self.sources) {
            Ok(config) => {
                tracing::info!(repos = config.allowlist.len(), "configuration read again");
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
        if now != state.stamp {
            state.stamp = now;
            self.read_again(&mut state);
        }
        (state.good.clone(), state.trouble.clone())
    }
}

/// Loads the configuration and checks what its shape alone does not say.
pub(crate) fn checked(sources: &Sources) -> Result<Config, ConfigErrors> {
    let loaded = load::<Config>(sources)?;
    let problems = loaded.config.problems();
    if problems.is_empty() {
        Ok(loaded.config)
    } else {
        Err(ConfigErrors::of(sources.file.as_ref(), problems))
    }
}

/// A file that is gone has a stamp too: none.
fn stamp(sources: &Sources) -> Vec<Option<Stamp>> {
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
