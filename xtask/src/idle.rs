//! `cargo xtask bench idle`: the cost of an idle daemon.
//!
//! Runs `afk serve` of the release build over a thousand enrolled repositories on the local
//! tracker, with some issues that nobody has released, and reads its usage from `/proc`. An idle
//! fleet touches no git, so the repositories need not exist.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::bench::{Goal, Row, table};
use crate::run::{print, say, show};

/// Repositories of the fleet.
const REPOS: usize = 1_000;
/// Issues on them, none of them released.
const ISSUES: usize = 20;
/// CPU seconds that ten idle minutes may use.
const CPU_GOAL: f64 = 4.0;
/// Maximum memory, MB.
const MEMORY_GOAL: f64 = 60.0;
/// Ticks of `/proc/<pid>/stat` in a second, on every Linux that afk runs on.
const TICKS: f64 = 100.0;
/// Time limit of the daemon's start.
const START: Duration = Duration::from_mins(1);

/// Options of the measurement.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Minutes for which the daemon is watched
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=120))]
    minutes: u32,
}

/// What a process has used so far: CPU time, and its peak and current resident memory in MB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_mb: f64,
    pub(crate) now_mb: f64,
}

/// Measures, and prints the figures beside their goals.
pub(crate) fn idle(root: &Path, binary: &Path, options: &Options) -> anyhow::Result<()> {
    let folder = root.join("target/bench-idle");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder.join("home"))?;
    fs::write(folder.join("afk.toml"), configuration(&folder))?;
    let program = binary.to_str().context("the target folder's path is not text")?;
    let config = folder.join("afk.toml");
    let config = config.to_str().context("the workspace's path is not text")?;
    for n in 0..ISSUES {
        let repo = format!("fleet/repo-{n:04}");
        show(&folder, &[program, "--config", config, "issue", "new", &repo, "Not yet"], &[])?;
    }
    say(&format!("watching an idle daemon for {} minutes", options.minutes));
    let watched = Duration::from_mins(u64::from(options.minutes));
    let (start, end) = watch(&folder, binary, watched)?;
    let idle = (end.cpu_seconds - start.cpu_seconds) * 10.0 / f64::from(options.minutes);
    let row = |what: &str, figure, unit, goal| Row { what: what.to_owned(), figure, unit, goal };
    let rows = [
        row("idle: CPU of the start", start.cpu_seconds, "s", None),
        row("idle: CPU in ten minutes", idle, "s", Some(Goal::AtMost(CPU_GOAL))),
        row("idle: memory at most", end.peak_mb, "MB", Some(Goal::AtMost(MEMORY_GOAL))),
        row("idle: memory at the end", end.now_mb, "MB", None),
    ];
    for line in table(&rows) {
        print(&line);
    }
    Ok(())
}

/// Runs a daemon with the configuration and the home in `folder`; returns what it had used once it
/// was up, and after it was watched for `watched`.
pub(crate) fn watch(
    folder: &Path,
    binary: &Path,
    watched: Duration,
) -> anyhow::Result<(Used, Used)> {
    let log = fs::File::create(folder.join("serve.log"))?;
    let daemon = Command::new(binary)
        .arg("--config")
        .arg(folder.join("afk.toml"))
        .args(["serve", "--log-format", "json"])
        .env("HOME", folder.join("home"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log)
        .spawn()
        .context("cannot start the daemon")?;
    let mut daemon = Daemon(daemon);
    let measured = daemon.watch(folder, watched);
    daemon.stop();
    measured
}

struct Daemon(Child);

impl Daemon {
    fn watch(&mut self, folder: &Path, watched: Duration) -> anyhow::Result<(Used, Used)> {
        let mut waited = Duration::ZERO;
        while !fs::read_to_string(folder.join("serve.log"))?.contains("\"serving\"") {
            if waited > START || self.0.try_wait()?.is_some() {
                bail!("the daemon does not start: see {}", folder.join("serve.log").display());
            }
            sleep(Duration::from_millis(100));
            waited += Duration::from_millis(100);
        }
        // The first look at all repositories counts as part of the start.
        sleep(Duration::from_secs(2));
        let start = used(self.0.id())?;
        sleep(watched);
        if let Some(status) = self.0.try_wait()? {
            bail!("the daemon ended while it was watched: {status}");
        }
        Ok((start, used(self.0.id())?))
    }

    fn stop(&mut self) {
        // Failures do not matter: the last measurement is done.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// An armed configuration with all repositories of the fleet.
fn configuration(folder: &Path) -> String {
    let names: Vec<String> = (0..REPOS).map(|n| format!("\"fleet/repo-{n:04}\"")).collect();
    let mut text = format!(
        "kill_switch = false\ndata_dir = \"{}\"\nsandbox = \"preferred\"\nday_budget_usd = 100\n\
         repo_day_budget_usd = 20\nallowlist = [{}]\n",
        folder.join("data").display(),
        names.join(", ")
    );
    for name in &names {
        let remote = folder.join(format!("{}.git", name.trim_matches('"')));
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n[repos.{name}]\nremote = \"{}\"\nverify = [\"make\", \"test\"]\n\
             stages = [{{ name = \"ci\", command = [\"make\", \"ci\"] }}]\n",
            remote.display()
        );
    }
    text
}

fn used(pid: u32) -> anyhow::Result<Used> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    read(&stat, &status).context("/proc does not look as expected")
}

/// The CPU seconds of this process's ended children and their ended children.
pub(crate) fn used_by_children() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let ticks = ticks(&stat, 13).context("/proc does not look as expected")?;
    Ok(ticks / TICKS)
}

/// The sum of two neighbouring fields of a `stat` file: the time in user and in system mode.
fn ticks(stat: &str, first: usize) -> Option<f64> {
    // The name in parentheses may contain blanks; the fields are counted after it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(first);
    Some(fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?)
}

fn read(stat: &str, status: &str) -> Option<Used> {
    let ticks = ticks(stat, 11)?;
    let memory = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        let kib: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kib * 1024.0 / 1e6)
    };
    Some(Used { cpu_seconds: ticks / TICKS, peak_mb: memory("VmHWM:")?, now_mb: memory("VmRSS:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4 1 2 3 4 150 50 9 9 20 0 8";
        let status = "Name:\tafk\nVmHWM:\t   50000 kB\nVmRSS:\t   40000 kB\n";
        let used = read(stat, status).unwrap();
        assert!((used.cpu_seconds - 2.0).abs() < 1e-9, "{used:?}");
        assert!((used.peak_mb - 51.2).abs() < 1e-9 && (used.now_mb - 40.96).abs() < 1e-9);
        assert_eq!(ticks(stat, 13), Some(18.0), "of its children");
        assert!(used_by_children().is_ok());
        assert!(read("7 (x) S", status).is_none() && read(stat, "Name: x").is_none());
        assert!(self::used(std::process::id()).unwrap().peak_mb > 0.0);
    }

    #[test]
    fn the_fleet_is_as_large_as_it_says() {
        let text = configuration(Path::new("/fleet"));
        assert_eq!(text.matches("\n[repos.").count(), REPOS);
    }
}
