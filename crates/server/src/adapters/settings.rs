//! The configuration in force: loaded from its file, read again when the file
//! changes, and kept as it was when what is there now is not good.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use afk_core::config::Config;
use afk_engine::ports::Settings;

use crate::config::{ConfigErrors, Sources, load};

/// The configuration of one file and its environment.
pub struct FileSettings {
    sources: Sources,
    state: Mutex<State>,
}

struct State {
    good: Arc<Config>,
    trouble: Option<String>,
    stamp: Option<Stamp>,
}

/// What tells one state of the file from another.
type Stamp = (SystemTime, u64);

impl FileSettings {
    /// Loads the configuration, which must be good now.
    pub fn open(sources: Sources) -> Result<Self, ConfigErrors> {
        let stamp = stamp(sources.file.as_ref());
        let good = Arc::new(checked(&sources)?);
        Ok(Self { sources, state: Mutex::new(State { good, trouble: None, stamp }) })
    }

    /// The configuration that was loaded last and was good.
    pub fn config(&self) -> Arc<Config> {
        self.current().0
    }
}

impl Settings for FileSettings {
    fn current(&self) -> (Arc<Config>, Option<String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(self.sources.file.as_ref());
        if now != state.stamp {
            state.stamp = now;
            match checked(&self.sources) {
                Ok(config) => {
                    tracing::info!("configuration read again");
                    state.good = Arc::new(config);
                    state.trouble = None;
                }
                Err(errors) => {
                    let trouble = errors.to_string();
                    tracing::error!(
                        trouble,
                        "the new configuration is not good: the last good one stays, and pickup pauses"
                    );
                    state.trouble = Some(trouble);
                }
            }
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

fn stamp(file: Option<&PathBuf>) -> Option<Stamp> {
    let metadata = file?.metadata().ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
