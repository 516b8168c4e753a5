//! `cargo xtask test`: the one command that runs every test.
//!
//! Checks for what the tests need besides Rust, installs it where it may, and says what is missing.
//! nextest runs the tests if it is installed (it limits the time of each), otherwise cargo does.
//! The runner's own summary comes last.

use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::run::{self, cargo, probe, say, show};

/// The oldest git that works: major and minor version.
const GIT: (u32, u32) = (2, 39);

/// The nextest profile for the number of threads that [`threads`] returns.
const PROFILE: &str = "two-per-core";

/// How to run the tests.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Install nothing, whatever is missing
    #[arg(long)]
    no_install: bool,
    /// Arguments for the runner, such as a part of a test's name
    #[arg(last = true)]
    runner: Vec<String>,
}

/// Something that tests need besides Rust.
struct Need {
    /// Its name for people.
    what: &'static str,
    /// The packages of Debian and Ubuntu that contain it.
    packages: &'static [&'static str],
    /// Whether only CI installs it, because a person may not want it on their machine.
    only_in_ci: bool,
    /// Returns what is wrong with it; none if it works.
    trouble: fn() -> Option<String>,
}

const NEEDS: [Need; 8] = [
    Need { what: "git", packages: &["git"], only_in_ci: false, trouble: git },
    Need { what: "bubblewrap", packages: &["bubblewrap"], only_in_ci: false, trouble: bubblewrap },
    Need { what: "git-crypt", packages: &["git-crypt"], only_in_ci: false, trouble: git_crypt },
    Need { what: "npm", packages: &["nodejs", "npm"], only_in_ci: true, trouble: npm },
    Need {
        what: "Python",
        packages: &["python3", "python3-venv"],
        only_in_ci: true,
        trouble: python,
    },
    Need { what: "sshd", packages: &["openssh-server"], only_in_ci: true, trouble: sshd },
    Need { what: "shellcheck", packages: &["shellcheck"], only_in_ci: true, trouble: shellcheck },
    Need {
        what: "Chromium",
        packages: &["chromium-headless-shell"],
        only_in_ci: true,
        trouble: chromium,
    },
];

/// Runs every test.
pub(crate) fn test(root: &Path, options: &Options) -> anyhow::Result<()> {
    let ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    let mut lists = PackageLists::Old;
    for need in &NEEDS {
        have(root, need, ci, !options.no_install, &mut lists)?;
    }
    let cargo = cargo();
    if options.runner.is_empty() {
        show(root, &[&cargo, "test", "--locked", "--workspace", "--doc", "--quiet"], &[])?;
    }
    let nextest = probe(&[&cargo, "nextest", "--version"]).is_some();
    let mut argv = vec![cargo.as_str()];
    let threads = threads(std::thread::available_parallelism().map_or(1, usize::from));
    if nextest {
        argv.extend(["nextest", "run", "--locked", "--workspace"]);
        argv.extend(["--profile", PROFILE, "--test-threads", &threads]);
    } else {
        say("cargo-nextest is not installed: cargo runs the tests, without a time limit for each");
        argv.extend([
            "test",
            "--locked",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
            "--no-fail-fast",
        ]);
    }
    if !options.runner.is_empty() {
        argv.push("--");
        argv.extend(options.runner.iter().map(String::as_str));
    }
    show(root, &argv, &[])
}

/// How many threads run tests: two a core, because most tests wait for processes.
fn threads(cores: usize) -> String {
    cores.saturating_mul(2).to_string()
}

/// Whether the lists of packages were updated by this process.
#[derive(PartialEq, Eq)]
enum PackageLists {
    Old,
    Updated,
}

fn have(
    root: &Path,
    need: &Need,
    ci: bool,
    install: bool,
    lists: &mut PackageLists,
) -> anyhow::Result<()> {
    let Some(mut trouble) = (need.trouble)() else { return Ok(()) };
    let may = install
        && (ci || !need.only_in_ci)
        && is_root()
        && probe(&["apt-get", "--version"]).is_some();
    if may {
        say(&format!("{}: {trouble}; installing {}", need.what, need.packages.join(" ")));
        let quiet = [("DEBIAN_FRONTEND", "noninteractive")];
        let mut argv = vec!["apt-get", "install", "--yes", "--quiet", "--no-install-recommends"];
        argv.extend(need.packages);
        if *lists == PackageLists::Old {
            *lists = PackageLists::Updated;
            // Old lists may still be good enough.
            if let Err(error) = show(root, &["apt-get", "update", "--quiet"], &quiet) {
                say(&format!("{error:#}; trying with the existing lists"));
            }
        }
        match (show(root, &argv, &quiet), (need.trouble)()) {
            (Ok(()), None) => return Ok(()),
            (Ok(()), Some(left)) => trouble = left,
            (Err(error), _) => trouble = format!("{error:#}"),
        }
    }
    let remedy = format!("{}: {trouble}; install {}", need.what, need.packages.join(" "));
    if ci {
        bail!("{remedy} (with CI set nothing is skipped)");
    }
    say(&format!("MISSING {remedy}; tests that need it skip or fail"));
    Ok(())
}

fn git() -> Option<String> {
    let Some(version) = probe(&["git", "--version"]) else {
        return Some("not installed".to_owned());
    };
    match git_version(&version) {
        Ok(found) if found >= GIT => None,
        Ok((major, minor)) => {
            Some(format!("{major}.{minor} is too old, {}.{} is the least", GIT.0, GIT.1))
        }
        Err(error) => Some(format!("{error:#}")),
    }
}

fn git_version(text: &str) -> anyhow::Result<(u32, u32)> {
    let parse = || {
        let mut parts = text.strip_prefix("git version ")?.trim().split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    parse().with_context(|| format!("cannot read the version in {:?}", text.trim()))
}

/// Tries to make a sandbox, because a kernel or a container may refuse what an installed bubblewrap
/// needs.
fn bubblewrap() -> Option<String> {
    if probe(&["bwrap", "--version"]).is_none() {
        return Some("not installed".to_owned());
    }
    let trial = [
        "bwrap",
        "--unshare-user",
        "--unshare-pid",
        "--unshare-net",
        "--ro-bind",
        "/",
        "/",
        "true",
    ];
    probe(&trial).is_none().then(|| {
        "installed, but it cannot create a sandbox: this kernel or container refuses user namespaces"
            .to_owned()
    })
}

fn git_crypt() -> Option<String> {
    probe(&["git-crypt", "--version"]).is_none().then(|| "not installed".to_owned())
}

fn npm() -> Option<String> {
    probe(&["npm", "--version"]).is_none().then(|| "not installed".to_owned())
}

/// Tests create a virtual environment with pip in it.
fn python() -> Option<String> {
    let able = probe(&["python3", "-c", "import venv, ensurepip"]).is_some();
    (!able).then(|| "not installed, or without venv and pip".to_owned())
}

/// Looks where sshd usually is, which need not be on `PATH`.
fn sshd() -> Option<String> {
    let found =
        ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].iter().any(|path| Path::new(path).is_file());
    (!found).then(|| "not installed".to_owned())
}

fn shellcheck() -> Option<String> {
    let found = probe(&["shellcheck", "--version"]).is_some();
    (!found).then(|| "not installed".to_owned())
}

fn chromium() -> Option<String> {
    let named = std::env::var_os("AFK_TEST_CHROMIUM").is_some();
    let usual = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
    let found = named || usual.iter().any(|name| probe(&[name, "--version"]).is_some());
    (!found).then(|| "not installed".to_owned())
}

fn is_root() -> bool {
    run::probe(&["id", "-u"]).is_some_and(|id| id.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_git() {
        let check = |text, expected| assert_eq!(git_version(text).ok(), expected);
        check("git version 2.47.1\n", Some((2, 47)));
        check("git version 2.39.5 (Apple Git-154)", Some((2, 39)));
        check("git version 3.0\n", Some((3, 0)));
        check("hub version 2.14", None);
        check("", None);
    }

    #[test]
    fn tests_have_two_threads_a_core_and_a_profile_for_it() {
        assert_eq!((threads(1), threads(2)), ("2".to_owned(), "4".to_owned()));
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../.config/nextest.toml");
        let config = std::fs::read_to_string(config).unwrap();
        assert!(config.contains(&format!("\n[profile.{PROFILE}]\n")), "{config}");
    }

    #[test]
    fn what_is_missing_fails_in_ci_and_nowhere_else() {
        let need = Need {
            what: "a thing",
            packages: &["thing"],
            only_in_ci: false,
            trouble: || Some("not installed".to_owned()),
        };
        let have_it = |ci| have(Path::new("."), &need, ci, false, &mut PackageLists::Old);
        assert!(have_it(false).is_ok());
        let error = have_it(true).unwrap_err().to_string();
        assert!(error.contains("a thing: not installed; install thing"), "{error}");
    }
}
