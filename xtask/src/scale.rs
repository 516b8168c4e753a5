//! `cargo xtask bench scale`: the cost of a large installation, beside its goals.
//!
//! The bench `scale` of the store creates a store with 100,000 settled runs on 10,000 repositories,
//! and times what a daemon and a tick do repeatedly. Then the release build of the program is
//! configured with those repositories and run on the same store.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::bench::{Goal, Row, table};
use crate::idle::{used_by_children, watch};
use crate::run::{self, print, say};

/// How many repositories there are: as many as the store's bench creates, with the same names.
const REPOS: usize = 10_000;
/// Longest times, milliseconds.
const GOALS: [(&str, f64); 3] = [("beat", 2.0), ("quiet tick", 100.0), ("status", 300.0)];
/// Maximum memory of an idle daemon, MB.
const MEMORY_GOAL: f64 = 80.0;
/// How long the daemon is watched.
const WATCHED: Duration = Duration::from_mins(1);
/// How often a command is run; the median of its times counts.
const TIMES: usize = 5;

/// Measures, and prints the figures beside their goals.
pub(crate) fn scale(root: &Path, cargo: &str, binary: &Path) -> anyhow::Result<()> {
    let folder = root.join("target/bench-scale");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    let data = folder.join("data");
    fs::create_dir_all(&data)?;
    fs::create_dir_all(folder.join("home"))?;
    fs::write(folder.join("afk.toml"), configuration(&data))?;
    let data = data.to_str().context("the workspace's path is not text")?;
    let bench = [cargo, "bench", "--locked", "--package=afk-store", "--bench=scale", "--", data];
    say("$ cargo bench --package=afk-store --bench=scale");
    let mut rows = rows(&run::read(root, &bench)?)?;
    for command in ["status", "runs", "tick"] {
        let (figure, cpu) = time(&folder, binary, command)?;
        rows.push(row(&format!("afk {command}"), figure, "ms", goal(command)));
        rows.push(row(&format!("afk {command}: CPU"), cpu, "ms", None));
    }
    say("watching an idle daemon for a minute");
    let (start, end) = watch(&folder, binary, WATCHED)?;
    let idle = Some(Goal::AtMost(MEMORY_GOAL));
    rows.push(row("afk serve: CPU of the start", start.cpu_seconds, "s", None));
    rows.push(row("afk serve: CPU of a minute", end.cpu_seconds - start.cpu_seconds, "s", None));
    rows.push(row("afk serve: memory at most", end.peak_mb, "MB", None));
    rows.push(row("afk serve: memory when idle", end.now_mb, "MB", idle));
    for line in table(&rows) {
        print(&line);
    }
    Ok(())
}

fn row(what: &str, figure: f64, unit: &'static str, goal: Option<Goal>) -> Row {
    Row { what: what.to_owned(), figure, unit, goal }
}

fn goal(what: &str) -> Option<Goal> {
    let known = GOALS.iter().find(|(name, _)| *name == what);
    known.map(|(_, goal)| Goal::AtMost(*goal))
}

/// Parses the lines of the store's bench, such as `beat: 0.417 ms`.
fn rows(text: &str) -> anyhow::Result<Vec<Row>> {
    let rows: Vec<Row> = text
        .lines()
        .filter_map(|line| {
            let (what, rest) = line.split_once(": ")?;
            let figure = rest.strip_suffix(" ms")?.parse().ok()?;
            Some(row(what, figure, "ms", goal(what)))
        })
        .collect();
    if rows.is_empty() {
        bail!("the bench of the store printed no figure that can be read");
    }
    Ok(rows)
}

/// The median time of a command, including its start, and the mean of its CPU time, both in
/// milliseconds. On a busy machine only the CPU time can be compared.
fn time(folder: &Path, binary: &Path, command: &str) -> anyhow::Result<(f64, f64)> {
    say(&format!("$ afk {command}, {TIMES} times"));
    let before = used_by_children()?;
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let since = Instant::now();
        let status = Command::new(binary)
            .arg("--config")
            .arg(folder.join("afk.toml"))
            .arg(command)
            .env("HOME", folder.join("home"))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .with_context(|| format!("cannot run afk {command}"))?;
        if !status.success() {
            bail!("afk {command} failed: {status}");
        }
        times.push(since.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    let cpu = (used_by_children()? - before) * 1000.0 / TIMES as f64;
    Ok((times[TIMES / 2], cpu))
}

/// An armed configuration with all repositories.
fn configuration(data: &Path) -> String {
    let names: Vec<String> = (0..REPOS).map(|n| format!("\"f/{n}\"")).collect();
    let mut text = format!(
        "kill_switch = false\ndata_dir = \"{}\"\nsandbox = \"preferred\"\n\
         day_budget_usd = 100\nrepo_day_budget_usd = 20\nallowlist = [{}]\n",
        data.display(),
        names.join(", ")
    );
    for name in &names {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n[repos.{name}]\nremote = \"/srv/git/{}.git\"\nverify = [\"make\", \"test\"]\n\
             stages = [{{ name = \"ci\", command = [\"make\", \"ci\"] }}]\n",
            name.trim_matches('"')
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_read_and_goals_are_found() {
        let rows = rows("filled: 9 s, 500 MB\nbeat: 0.417 ms\nspend of today: 3.1 ms\n").unwrap();
        let found: Vec<_> = rows.iter().map(|row| (row.figure, row.goal)).collect();
        assert_eq!(found, [(0.417, Some(Goal::AtMost(2.0))), (3.1, None)]);
        assert!(self::rows("").is_err());
    }

    #[test]
    fn the_fleet_is_as_large_as_it_says() {
        let text = configuration(Path::new("/data"));
        assert_eq!(text.matches("\n[repos.").count(), REPOS);
    }
}
