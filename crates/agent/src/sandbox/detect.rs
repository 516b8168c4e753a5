//! What this machine can enforce, found out by trying it.
//!
//! The host tries it before every job, and `doctor` and `status` show it. A flag that bubblewrap
//! knows but this kernel or container refuses counts as absent: only a box that was really built
//! counts.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::init::SUBCOMMAND;
use super::spec::Requirement;
use super::{bubblewrap, confine, launch};

/// The strength of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strength {
    /// No sandbox: only limits and a clean environment.
    None,
    /// One layer of two. With landlock alone a job reaches every path socket it may open, sees
    /// other processes, and a closed network is only closed for TCP; with bubblewrap alone a job on
    /// the open network reaches abstract sockets.
    Partial,
    /// Bubblewrap, and landlock inside it.
    Full,
}

/// What this machine can enforce for this user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The bubblewrap that has built a box, or why there is none.
    pub bubblewrap: Result<Bubblewrap, String>,
    /// The version of the kernel's landlock; 0 if it has none.
    pub landlock_abi: u32,
}

/// A bubblewrap that works here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bubblewrap {
    /// The path of the program.
    pub path: PathBuf,
    /// What it prints for `--version`.
    pub version: String,
    /// Whether it can forbid further user namespaces inside (0.8 and newer).
    pub disable_userns: bool,
}

/// Why a job may not run on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a full sandbox is required and this machine offers {found}: {remedy}; or {accept}",
    remedy = Refusal::REMEDY,
    accept = Refusal::ACCEPT
)]
pub struct Refusal {
    /// What the machine offers instead, as [`Capabilities`] displays it.
    pub found: String,
}

impl Refusal {
    /// What to do so that the machine offers a full sandbox.
    pub const REMEDY: &'static str = "install bubblewrap 0.8 or newer, allow user namespaces (sysctl \
         user.max_user_namespaces above 0, kernel.unprivileged_userns_clone=1 and \
         kernel.apparmor_restrict_unprivileged_userns=0 where they exist; in a container, a seccomp \
         profile that lets them through) and use a kernel with landlock";
    /// What to do to go without a full sandbox.
    pub const ACCEPT: &'static str = "set sandbox = \"preferred\" and accept what there is";
}

/// How long a trial run of bubblewrap may take.
const TRIAL_BOUND: Duration = Duration::from_secs(10);

impl Capabilities {
    /// Finds out what this machine can enforce, by trying it. `program` is the binary that has the
    /// `sandbox-init` subcommand. Takes some ten milliseconds and blocks; async callers move it off
    /// their thread.
    pub fn detect(program: &Path) -> Self {
        Self { bubblewrap: detect_bubblewrap(program), landlock_abi: confine::landlock_abi() }
    }

    /// The strength of the strongest box that this machine can build.
    pub fn strength(&self) -> Strength {
        match (self.bubblewrap.is_ok(), self.landlock_abi > 0) {
            (true, true) => Strength::Full,
            (true, false) | (false, true) => Strength::Partial,
            (false, false) => Strength::None,
        }
    }

    /// Checks that the requirement can be met; the refusal says how to fix that.
    pub fn meets(&self, requirement: Requirement) -> Result<(), Refusal> {
        self.clone().under(requirement).map(drop)
    }

    /// Returns the start of a command line: the command that is appended to it runs in a box where
    /// it can read `paths` and reach nothing else, as strong as `requirement` demands; or a
    /// refusal. For commands that we supervise ourselves, such as `upload-pack`, not for jobs.
    /// `program` is the binary that has the `sandbox-init` subcommand.
    pub fn reader(
        &self,
        program: &Path,
        requirement: Requirement,
        paths: &[&Path],
    ) -> Result<Vec<OsString>, Refusal> {
        let machine = self.clone().under(requirement)?;
        let plan = launch::reader(&machine, paths);
        Ok(match &machine.bubblewrap {
            Ok(found) => std::iter::once(found.path.clone().into_os_string())
                .chain(bubblewrap::reader(found, program, &plan, paths))
                .collect(),
            Err(_) => vec![program.into(), SUBCOMMAND.into(), "read".into(), plan.into()],
        })
    }

    /// Reduces the capabilities to what the requirement lets a job use; or refuses.
    pub(crate) fn under(self, requirement: Requirement) -> Result<Self, Refusal> {
        match (requirement, self.strength()) {
            (Requirement::Preferred, _) | (Requirement::Required, Strength::Full) => Ok(self),
            (Requirement::Required, Strength::Partial | Strength::None) => {
                Err(Refusal { found: self.to_string() })
            }
            (Requirement::LandlockOnly, _) if self.landlock_abi == 0 => {
                Err(Refusal { found: self.to_string() })
            }
            (Requirement::LandlockOnly, _) => {
                Ok(Self { bubblewrap: Err("switched off".to_owned()), ..self })
            }
            (Requirement::Off, _) => {
                Ok(Self { bubblewrap: Err("switched off".to_owned()), landlock_abi: 0 })
            }
        }
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.bubblewrap, self.landlock_abi) {
            (Ok(bubblewrap), 0) => {
                write!(out, "partial: {bubblewrap} alone (the kernel has no landlock)")
            }
            (Ok(bubblewrap), abi) if bubblewrap.disable_userns => {
                write!(out, "full: {bubblewrap} + landlock {abi}")
            }
            (Ok(bubblewrap), abi) => {
                write!(
                    out,
                    "full: {bubblewrap} + landlock {abi} (nested user namespaces stay possible)"
                )
            }
            (Err(reason), 0) => write!(out, "none: no bubblewrap ({reason}), no landlock"),
            (Err(reason), abi) => {
                write!(out, "partial: landlock {abi} alone (no bubblewrap: {reason})")
            }
        }
    }
}

impl fmt::Display for Bubblewrap {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.version)
    }
}

impl fmt::Display for Strength {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::None => "none",
        })
    }
}

fn detect_bubblewrap(program: &Path) -> Result<Bubblewrap, String> {
    let path = find("bwrap").ok_or("not installed")?;
    let version = bounded(Command::new(&path).arg("--version"))?;
    let version =
        String::from_utf8_lossy(&version.stdout).trim().chars().take(64).collect::<String>();
    let mut found = Bubblewrap { path, version, disable_userns: true };
    let strict = trial(&found, program);
    if strict.is_ok() {
        return Ok(found);
    }
    found.disable_userns = false;
    // If both fail, the first error is kept: with a current bubblewrap it names the problem.
    trial(&found, program).or(strict).map(|()| found)
}

/// Builds a box like a job's, with a trivial command.
fn trial(bubblewrap: &Bubblewrap, program: &Path) -> Result<(), String> {
    let output = bounded(
        Command::new(&bubblewrap.path).env_clear().args(bubblewrap::trial(bubblewrap, program)),
    )?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(complaint.lines().next().unwrap_or("a trial run failed").trim().chars().take(200).collect())
}

/// Runs a short command with empty standard input, and kills it if it takes too long.
fn bounded(command: &mut Command) -> Result<Output, String> {
    let refused = |error: std::io::Error| format!("cannot be run: {error}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(refused)?;
    let deadline = Instant::now() + TRIAL_BOUND;
    while child.try_wait().map_err(refused)?.is_none() {
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err("a trial run did not end".to_owned());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.wait_with_output().map_err(refused)
}

/// Looks a program up on `PATH`, then in the usual folders.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from))
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(OsStr::new(name)))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(bubblewrap: bool, landlock_abi: u32) -> Capabilities {
        let found = Bubblewrap {
            path: "/usr/bin/bwrap".into(),
            version: "bubblewrap 0.8.0".to_owned(),
            disable_userns: true,
        };
        Capabilities {
            bubblewrap: if bubblewrap { Ok(found) } else { Err("not installed".to_owned()) },
            landlock_abi,
        }
    }

    #[test]
    fn strength_by_layers() {
        let check = |bubblewrap, abi, strength, text: &str| {
            assert_eq!(machine(bubblewrap, abi).strength(), strength);
            assert_eq!(machine(bubblewrap, abi).to_string(), text);
        };
        check(true, 7, Strength::Full, "full: bubblewrap 0.8.0 + landlock 7");
        check(
            true,
            0,
            Strength::Partial,
            "partial: bubblewrap 0.8.0 alone (the kernel has no landlock)",
        );
        check(
            false,
            7,
            Strength::Partial,
            "partial: landlock 7 alone (no bubblewrap: not installed)",
        );
        check(false, 0, Strength::None, "none: no bubblewrap (not installed), no landlock");
    }

    #[test]
    fn required_takes_nothing_less_than_full() {
        use Requirement::{LandlockOnly, Off, Preferred, Required};
        let check = |requirement, bubblewrap, abi, expected: Option<Strength>| {
            let under = machine(bubblewrap, abi).under(requirement);
            assert_eq!(under.ok().map(|left| left.strength()), expected);
        };
        check(Required, true, 7, Some(Strength::Full));
        check(Required, true, 0, None);
        check(Required, false, 7, None);
        check(Required, false, 0, None);
        check(Preferred, true, 7, Some(Strength::Full));
        check(Preferred, false, 7, Some(Strength::Partial));
        check(Preferred, false, 0, Some(Strength::None));
        check(LandlockOnly, true, 7, Some(Strength::Partial));
        check(LandlockOnly, true, 0, None);
        check(Off, true, 7, Some(Strength::None));
        let refusal = machine(false, 7).under(Required).expect_err("refused").to_string();
        assert!(
            refusal.contains("landlock 7 alone") && refusal.contains("install bubblewrap"),
            "{refusal}"
        );
    }
}
