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
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

pub(crate) use env::has_mounted;
pub(crate) use load::read_text;
pub(crate) use schema::nearest;

pub use composed::{AppSettings, Config, DOORBELLS, HttpSettings, LOCAL_TRACKER, is_local, stages};
pub use fleet::included;
pub use load::{Compose, Loaded, PartError, Sources, Unknown, include_dir, load, salvage};
pub use places::SourceMap;
pub use problem::{ConfigErrors, Origin, Problem, warn_once};

/// Variables that steer the program itself and are not keys.
const NOT_KEYS: [&str; 2] = ["AFK_CONFIG", "AFK_CONFIG_DIR"];

/// The result of the search for the file to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoundFile {
    /// The file to read, if there is one.
    pub file: Option<PathBuf>,
    /// A file that is not read because others may have written it, as a warning.
    pub passed_over: Option<Problem>,
}

/// Finds the file to read: the one named by `flag` or `AFK_CONFIG`, even if it does not exist;
/// otherwise the first that exists of `afk.toml` in `directory` and the user's own.
///
/// A configuration names programs to run and says what is dispatched. So `afk.toml` is passed over
/// where others may have written it, in a clone and where another user owns it: there it must be
/// named.
pub fn find_file(
    flag: Option<&Path>,
    env: impl Fn(&str) -> Option<OsString>,
    directory: &Path,
) -> FoundFile {
    let user = rustix::process::geteuid().as_raw();
    search(flag, env, directory, user)
}

fn search(
    flag: Option<&Path>,
    env: impl Fn(&str) -> Option<OsString>,
    directory: &Path,
    user: u32,
) -> FoundFile {
    if let Some((named, _)) = named_file(flag, &env) {
        return FoundFile { file: Some(named), passed_over: None };
    }
    let here = Some(directory.join("afk.toml")).filter(|path| path.exists());
    let why = here.as_ref().and_then(|path| {
        if is_in_clone(directory) {
            return Some("it is in a git clone, which may contain what others wrote".to_owned());
        }
        let other = other_owner(path, user, &env)?;
        Some(format!("it belongs to another user, whose id is {other}"))
    });
    let passed_over = here.as_ref().zip(why).map(|(path, why)| Problem {
        origin: Origin::File { path: path.clone(), place: None },
        key: String::new(),
        what: format!("is not read, because {why}; to use it, name it: `--config ./afk.toml`"),
    });
    let here = here.filter(|_| passed_over.is_none());
    let own = || user_file(env).filter(|path| path.exists());
    FoundFile { file: here.or_else(own), passed_over }
}

/// The owner of a file, or of the link to it, if that is neither `user`, nor root, nor who became
/// root by sudo.
fn other_owner(path: &Path, user: u32, env: impl Fn(&str) -> Option<OsString>) -> Option<u32> {
    let sudo = env("SUDO_UID").filter(|_| user == 0).and_then(|id| id.to_str()?.parse().ok());
    let link = path.symlink_metadata().ok();
    let owners = [link, path.metadata().ok()].into_iter().flatten().map(|found| found.uid());
    owners.into_iter().find(|owner| ![0, user].contains(owner) && Some(*owner) != sudo)
}

/// Whether the folder is in a git clone, or in a worktree, whose `.git` is a file.
fn is_in_clone(directory: &Path) -> bool {
    directory.ancestors().any(|folder| folder.join(".git").symlink_metadata().is_ok())
}

/// Returns the file to create if [`find_file`] finds none: the named one, the user's own, or
/// `afk.toml` in `directory`.
pub fn default_file(
    flag: Option<&Path>,
    env: impl Fn(&str) -> Option<OsString>,
    directory: &Path,
) -> PathBuf {
    let named = named_file(flag, &env).map(|(named, _)| named);
    named.or_else(|| user_file(env)).unwrap_or_else(|| directory.join("afk.toml"))
}

/// Returns the file that `flag` or `AFK_CONFIG` names, and what names it, `--config` or
/// `AFK_CONFIG`; none if neither is given.
pub fn named_file(
    flag: Option<&Path>,
    env: &impl Fn(&str) -> Option<OsString>,
) -> Option<(PathBuf, &'static str)> {
    let variable = || {
        let named = env("AFK_CONFIG").filter(|value| !value.is_empty())?;
        Some((PathBuf::from(named), "AFK_CONFIG"))
    };
    flag.map(|flag| (flag.to_owned(), "--config")).or_else(variable)
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
        let check = |flag: Option<&Path>, env: &dyn Fn(&str) -> Option<OsString>, expected| {
            let found = FoundFile { file: expected, passed_over: None };
            assert_eq!(find_file(flag, env, dir.path()), found);
        };
        check(None, &xdg, None);
        assert_eq!(default_file(None, &xdg, dir.path()), path("xdg/afk/config.toml"));
        std::fs::write(path("xdg/afk/config.toml"), "").unwrap();
        check(None, &xdg, Some(path("xdg/afk/config.toml")));
        std::fs::write(path("afk.toml"), "").unwrap();
        check(None, &xdg, Some(path("afk.toml")));
        let named = env(&[("AFK_CONFIG", path("missing.toml"))]);
        check(None, &named, Some(path("missing.toml")));
        let flag = path("flag.toml");
        check(Some(&flag), &named, Some(flag.clone()));
        let relative = env(&[("XDG_CONFIG_HOME", "xdg".into()), ("HOME", path("home"))]);
        let expected = path("home/.config/afk/config.toml");
        assert_eq!(default_file(None, relative, dir.path()), expected);
    }

    #[test]
    fn a_file_of_another_user_is_read_only_if_it_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().join("afk.toml");
        std::fs::write(&here, "").unwrap();
        let mut owner = here.metadata().unwrap().uid();
        if owner == 0 {
            owner = 4_711;
            std::os::unix::fs::chown(&here, Some(owner), None).unwrap();
        }
        let check = |user: u32, sudo: Option<u32>, read: bool| {
            let env =
                |name: &str| sudo.filter(|_| name == "SUDO_UID").map(|id| id.to_string().into());
            let found = search(None, env, dir.path(), user);
            assert_eq!((found.file.is_some(), found.passed_over.is_none()), (read, read));
            if let Some(told) = found.passed_over {
                assert!(told.to_string().contains(&format!("whose id is {owner}")), "{told}");
            }
            let named = search(Some(&here), env, dir.path(), user);
            assert_eq!(named, FoundFile { file: Some(here.clone()), passed_over: None });
        };
        check(owner, None, true);
        check(owner + 1, None, false);
        check(0, None, false);
        check(0, Some(owner), true);
        check(owner + 1, Some(owner), false);
        // A link that somebody else made is not read, whosever file it leads to.
        if rustix::process::geteuid().is_root() {
            let file = dir.path().join("mine.toml");
            std::fs::rename(&here, &file).unwrap();
            std::os::unix::fs::chown(&file, Some(0), None).unwrap();
            std::os::unix::fs::symlink(&file, &here).unwrap();
            std::os::unix::fs::lchown(&here, Some(owner), None).unwrap();
            check(owner + 1, None, false);
        }
    }

    #[test]
    fn a_file_in_a_clone_is_read_only_if_it_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(path("clone/sub")).unwrap();
        std::fs::create_dir_all(path("home/.config/afk")).unwrap();
        let home = path("home").into_os_string();
        let env = |name: &str| (name == "HOME").then(|| home.clone());
        for name in ["clone/afk.toml", "clone/sub/afk.toml", "home/.config/afk/config.toml"] {
            std::fs::write(path(name), "").unwrap();
        }
        let own = path("home/.config/afk/config.toml");
        for is_worktree in [false, true] {
            for folder in ["clone", "clone/sub"] {
                let found = find_file(None, env, &path(folder));
                let here = path(folder).join("afk.toml");
                assert_eq!((found.file.as_ref(), found.passed_over), (Some(&here), None));
            }
            let git = path("clone/.git");
            if is_worktree {
                std::fs::write(&git, "gitdir: /elsewhere\n").unwrap();
            } else {
                std::fs::create_dir(&git).unwrap();
            }
            for folder in ["clone", "clone/sub"] {
                let found = find_file(None, env, &path(folder));
                assert_eq!(found.file.as_ref(), Some(&own));
                let told = found.passed_over.unwrap().to_string();
                let here = path(folder).join("afk.toml");
                assert!(told.starts_with(here.to_str().unwrap()), "{told}");
                assert!(told.contains("--config ./afk.toml"), "{told}");
                let named = find_file(Some(Path::new("./afk.toml")), env, &path(folder));
                assert_eq!(named.file.as_deref(), Some(Path::new("./afk.toml")));
                assert_eq!(named.passed_over, None);
            }
            let _ = std::fs::remove_dir(&git).or_else(|_| std::fs::remove_file(&git));
        }
    }
}
