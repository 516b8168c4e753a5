//! What a command takes from its environment: the sources of the configuration, and the time.

use std::path::{Path, PathBuf};

use afk_app::config::{Sources, find_file, warn_once};
use afk_core::ids::At;

/// The sources of the configuration; `config` is the file named on the command line. Warns of a
/// file that is not read because others may have written it.
pub(super) fn sources(config: Option<&Path>) -> Sources {
    let env = |name: &str| std::env::var_os(name);
    let found = find_file(config, env, &current_dir());
    warn_once(&found.passed_over);
    Sources {
        file: found.file,
        mounted: mounted(),
        // A name that is not UTF-8 cannot be ours.
        env: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect(),
        aliases: Vec::new(),
        proposed: None,
    }
}

/// The directory of files named like variables, if one is given.
pub(super) fn mounted() -> Option<PathBuf> {
    std::env::var_os("AFK_CONFIG_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// The working directory, or `.` if its path cannot be found out.
pub(super) fn current_dir() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."))
}

/// The current time.
pub(super) fn now() -> At {
    At::now()
}
