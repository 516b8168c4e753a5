//! `cargo xtask bench`: measured figures beside their goals.
//!
//! Runs the benches of `core`, `store` and `remote`, and one demo of the release binary. The goals
//! are for a machine with two cores and a local disk. A figure that misses its goal is marked but
//! does not fail the task, because machines differ.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde::Deserialize;

use crate::run::{self, cargo, print};
use crate::{gateway, idle, scale};

/// Maximum time of one dispatch decision over 10,000 issues, in microseconds.
const DISPATCH_GOAL: f64 = 1_000.0;
/// Minimum number of durable commits a second, by number of concurrent committers.
const COMMITS_GOALS: [(u32, f64); 2] = [(1, 300.0), (64, 2_000.0)];
/// Maximum cost of a quiet tick over a hundred repositories at GitHub: milliseconds of CPU, and
/// requests.
const QUIET_GOALS: [(&str, f64); 2] = [("ms of CPU", 50.0), ("requests", 100.0)];
/// Maximum time of a demo with the scripted agent, in milliseconds.
const DEMO_GOAL: f64 = 20_000.0;

/// A figure beside its goal.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) figure: f64,
    pub(crate) unit: &'static str,
    pub(crate) goal: Option<Goal>,
}

/// The goal of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Measure an idle daemon with a thousand repositories and no issue
    Idle(idle::Options),
    /// Measure the gateway: 32 streams at once, 1,000 silent ones, processes started in advance
    Gateway,
    /// Measure a large installation: 10,000 repositories, 100,000 settled runs
    Scale,
}

/// Measures what was requested, or by default everything that does not take long.
pub(crate) fn bench(root: &Path, what: Option<&What>) -> anyhow::Result<()> {
    match what {
        None => all(root),
        Some(What::Idle(options)) => {
            let cargo = cargo();
            run::show(root, &[&cargo, "build", "--release", "--locked", "--package=afk"], &[])?;
            idle::idle(root, &binary(root), options)
        }
        Some(What::Gateway) => {
            let binary = binary(root);
            let target = binary.ancestors().nth(2).context("the target folder has no path")?;
            gateway::gateway(root, target)
        }
        Some(What::Scale) => {
            let cargo = cargo();
            run::show(root, &[&cargo, "build", "--release", "--locked", "--package=afk"], &[])?;
            scale::scale(root, &cargo, &binary(root))
        }
    }
}

/// The path of the program's release build.
fn binary(root: &Path) -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    target.join("release/afk")
}

fn all(root: &Path) -> anyhow::Result<()> {
    let cargo = cargo();
    let dispatch = bench_output(root, &cargo, "afk-core", "dispatch")?;
    let store = bench_output(root, &cargo, "afk-store", "store")?;
    let quiet = bench_output(root, &cargo, "afk-remote", "quiet")?;
    run::show(root, &[&cargo, "build", "--release", "--locked", "--package=afk"], &[])?;
    let binary = binary(root);
    let binary = binary.to_str().context("the target folder's path is not text")?;
    run::say("$ afk demo --json");
    let demo = run::read(root, &[binary, "demo", "--json"])?;
    let mut rows = dispatch_rows(&dispatch)?;
    rows.extend(store_rows(&store)?);
    rows.extend(quiet_rows(&quiet)?);
    rows.extend(demo_rows(&demo)?);
    for line in table(&rows) {
        print(&line);
    }
    Ok(())
}

fn bench_output(root: &Path, cargo: &str, package: &str, bench: &str) -> anyhow::Result<String> {
    run::say(&format!("$ cargo bench --package {package} --bench {bench}"));
    run::read(root, &[cargo, "bench", "--locked", "--package", package, "--bench", bench])
}

/// Parses Divan's lines: a tree of names, then `fastest │ slowest │ median │ mean …`.
fn dispatch_rows(text: &str) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for line in text.lines() {
        let mut columns = line.split('│').map(str::trim).filter(|column| !column.is_empty());
        let (Some(first), Some(_), Some(median)) = (columns.next(), columns.next(), columns.next())
        else {
            continue;
        };
        let first = first.trim_start_matches(['├', '╰', '─', ' ']);
        let name = first.split_whitespace().next().unwrap_or_default();
        if let (true, Some(figure)) = (line.contains('─'), microseconds(median)) {
            let goal = Some(Goal::AtMost(DISPATCH_GOAL));
            rows.push(Row { what: format!("dispatch: {name}"), figure, unit: "µs", goal });
        }
    }
    if rows.is_empty() {
        bail!("the bench of dispatch printed no readable figure");
    }
    Ok(rows)
}

fn microseconds(text: &str) -> Option<f64> {
    let (number, unit) = text.split_once(' ')?;
    let scale = match unit {
        "ps" => 1e-6,
        "ns" => 1e-3,
        "µs" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * scale)
}

/// Parses the store's lines, such as `  64 committers:     1234 durable commits/s`.
fn store_rows(text: &str) -> anyhow::Result<Vec<Row>> {
    let rows: Vec<Row> = text
        .lines()
        .filter_map(|line| {
            let (committers, rest) = line.trim().split_once(" committers:")?;
            let committers: u32 = committers.parse().ok()?;
            let figure = rest.trim().strip_suffix(" durable commits/s")?.parse().ok()?;
            let goal = COMMITS_GOALS.iter().find(|(of, _)| *of == committers);
            let goal = goal.map(|(_, goal)| Goal::AtLeast(*goal));
            Some(Row {
                what: format!("store: {committers} committers"),
                figure,
                unit: "commits/s",
                goal,
            })
        })
        .collect();
    if rows.is_empty() {
        bail!("the bench of the store printed no readable figure");
    }
    Ok(rows)
}

/// Parses the lines of the quiet tick, such as `quiet tick: 12.3 ms of CPU`.
fn quiet_rows(text: &str) -> anyhow::Result<Vec<Row>> {
    let figures = text.lines().filter_map(|line| {
        let (figure, unit) = line.strip_prefix("quiet tick: ")?.split_once(' ')?;
        let (unit, goal) = QUIET_GOALS.into_iter().find(|(known, _)| *known == unit)?;
        let (what, figure) = (format!("quiet tick: {unit}"), figure.parse().ok()?);
        Some(Row { what, figure, unit: "", goal: Some(Goal::AtMost(goal)) })
    });
    let rows: Vec<Row> = figures.collect();
    if rows.len() != QUIET_GOALS.len() {
        bail!("the bench of a quiet tick did not print what is needed: {text}");
    }
    Ok(rows)
}

#[derive(Deserialize)]
struct Demo {
    as_expected: bool,
    why: String,
    phases: Vec<Phase>,
    wall_ms: f64,
}

#[derive(Deserialize)]
struct Phase {
    phase: String,
    ms: f64,
}

fn demo_rows(json: &str) -> anyhow::Result<Vec<Row>> {
    let demo: Demo =
        serde_json::from_str(json).context("`afk demo --json` answered in an unknown shape")?;
    if !demo.as_expected {
        bail!("the demo did not end as it should: {}", demo.why);
    }
    let phase = |phase: Phase| Row {
        what: format!("demo: {}", phase.phase),
        figure: phase.ms,
        unit: "ms",
        goal: None,
    };
    let mut rows: Vec<Row> = demo.phases.into_iter().map(phase).collect();
    let goal = Some(Goal::AtMost(DEMO_GOAL));
    rows.push(Row { what: "demo: total".to_owned(), figure: demo.wall_ms, unit: "ms", goal });
    Ok(rows)
}

pub(crate) fn table(rows: &[Row]) -> Vec<String> {
    let mut lines = vec![format!("{:<34} {:>22}   goal", "what", "figure")];
    for row in rows {
        let goal = match row.goal {
            None => String::new(),
            Some(Goal::AtMost(most)) => verdict(row.figure <= most, "at most", most),
            Some(Goal::AtLeast(least)) => verdict(row.figure >= least, "at least", least),
        };
        let figure = format!("{:.1} {}", row.figure, row.unit);
        let figure = figure.trim_end();
        lines.push(format!("{:<34} {figure:>22}   {goal}", row.what).trim_end().to_owned());
    }
    lines
}

fn verdict(met: bool, word: &str, goal: f64) -> String {
    format!("{word} {goal}{}", if met { "" } else { "   MISSED" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divan_is_read() {
        let text = "\
dispatch     fastest       │ slowest       │ median        │ mean          │ samples │ iters
├─ ordered   612.3 µs      │ 1.101 ms      │ 1.5 ms        │ 650 µs        │ 100     │ 100
│            max alloc:    │               │               │               │         │
│              3           │ 3             │ 3             │ 3             │         │
╰─ mixed     812.3 ns      │ 1.1 µs        │ 900 ns        │ 850.2 ns      │ 100     │ 100
";
        let rows = dispatch_rows(text).unwrap();
        let found: Vec<_> = rows.iter().map(|row| (row.what.as_str(), row.figure)).collect();
        assert_eq!(found, [("dispatch: ordered", 1500.0), ("dispatch: mixed", 0.9)]);
        let lines = table(&rows);
        assert!(lines[1].ends_with("at most 1000   MISSED") && lines[2].ends_with("at most 1000"));
        assert!(dispatch_rows("error").is_err());
    }

    #[test]
    fn the_store_is_read() {
        let rows = store_rows(
            "   1 committers:       50 durable commits/s\n  8 committers: 9 durable commits/s\n",
        );
        let found: Vec<_> = rows.unwrap().iter().map(|row| (row.figure, row.goal)).collect();
        assert_eq!(found, [(50.0, Some(Goal::AtLeast(300.0))), (9.0, None)]);
        assert!(store_rows("").is_err());
    }

    #[test]
    fn the_quiet_tick_is_read() {
        let rows = quiet_rows("quiet tick: 51.5 ms of CPU\nquiet tick: 100 requests\n").unwrap();
        let lines = table(&rows);
        assert!(lines[1].ends_with("51.5   at most 50   MISSED"), "{lines:?}");
        assert!(lines[2].ends_with("100.0   at most 100"), "{lines:?}");
        assert!(quiet_rows("quiet tick: 51.5 ms of CPU\n").is_err());
    }

    #[test]
    fn the_demo_is_read() {
        let json = |as_expected| {
            format!(
                r#"{{"as_expected": {as_expected}, "why": "no", "wall_ms": 12,
                "phases": [{{"phase": "turn", "ms": 7}}], "run": null}}"#
            )
        };
        let rows = demo_rows(&json(true)).unwrap();
        assert_eq!(rows.iter().map(|row| row.figure).collect::<Vec<_>>(), [7.0, 12.0]);
        assert!(demo_rows(&json(false)).is_err());
    }
}
