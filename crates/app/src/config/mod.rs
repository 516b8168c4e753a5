//! The configuration: one TOML file, and an environment variable for each key.
//!
//! The program finds and loads it ([`find_file`], [`load`]), `arm` and `enroll` edit it ([`edit`]).
//! Each crate defines its own keys ([`Config`]), and their JSON Schema lists them. Loading fails
//! closed: whatever cannot be read makes the whole configuration invalid, with an error that names
//! the file, line and key, or the variable. Nothing is guessed, the loader does not know what keys
//! mean, and values, which may be secrets, are not shown.

mod composed;
mod draft;
pub mod edit;
mod env;
mod fleet;
mod load;
mod places;
mod problem;
mod published;
mod schema;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub(crate) use env::has_mounted;
pub(crate) use load::read_text;

pub use composed::{AppSettings, Config, DOORBELLS, HttpSettings, LOCAL_TRACKER, is_local, stages};
pub use fleet::included;
pub use load::{Compose, Loaded, PartError, Sources, Unknown, include_dir, load, salvage};
pub use places::Places;
pub use problem::{ConfigErrors, Origin, Problem, warn_once};

/// Variables that steer the program itself and are not keys.
const NOT_KEYS: [&str; 2] = ["AFK_CONFIG", "AFK_CONFIG_DIR"];

/// Returns the file to read: the one named by `flag` or `AFK_CONFIG`, even if it does not exist;
/// otherwise the first that exists of `afk.toml` in `directory` and the user's own.
pub fn find_file(
    flag: Option<&Path>,
    env: impl Fn(&str) -> Option<OsString>,
    directory: &Path,
) -> Option<PathBuf> {
    if let Some(named) = named_file(flag, &env) {
        return Some(named);
    }
    let here = directory.join("afk.toml");
    [Some(here), user_file(env)].into_iter().flatten().find(|path| path.exists())
}

/// Returns the file to create if [`find_file`] finds none: the named one, the user's own, or
/// `afk.toml` in `directory`.
pub fn default_file(
    flag: Option<&Path>,
    env: impl Fn(&str) -> Option<OsString>,
    directory: &Path,
) -> PathBuf {
    named_file(flag, &env).or_else(|| user_file(env)).unwrap_or_else(|| directory.join("afk.toml"))
}

fn named_file(flag: Option<&Path>, env: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let variable = || env("AFK_CONFIG").filter(|value| !value.is_empty()).map(PathBuf::from);
    flag.map(Path::to_owned).or_else(variable)
}

fn user_file(env: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // By the XDG rules a relative path is ignored.
    let absolute = |name| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(base.join("afk/config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_file_wins_and_the_nearest_is_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(path("xdg/afk")).unwrap();
        let env = |pairs: &[(&'static str, PathBuf)]| {
            let pairs = pairs.to_vec();
            move |name: &str| {
                let found = pairs.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| value.clone().into_os_string())
            }
        };
        let xdg = env(&[("XDG_CONFIG_HOME", path("xdg"))]);
        assert_eq!(find_file(None, &xdg, dir.path()), None);
        assert_eq!(default_file(None, &xdg, dir.path()), path("xdg/afk/config.toml"));
        std::fs::write(path("xdg/afk/config.toml"), "").unwrap();
        assert_eq!(find_file(None, &xdg, dir.path()), Some(path("xdg/afk/config.toml")));
        std::fs::write(path("afk.toml"), "").unwrap();
        assert_eq!(find_file(None, &xdg, dir.path()), Some(path("afk.toml")));
        let named = env(&[("AFK_CONFIG", path("missing.toml"))]);
        assert_eq!(find_file(None, &named, dir.path()), Some(path("missing.toml")));
        let flag = path("flag.toml");
        assert_eq!(find_file(Some(&flag), &named, dir.path()), Some(flag));
        let relative = env(&[("XDG_CONFIG_HOME", "xdg".into()), ("HOME", path("home"))]);
        let expected = path("home/.config/afk/config.toml");
        assert_eq!(default_file(None, relative, dir.path()), expected);
    }
}
