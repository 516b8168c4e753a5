//! `cargo xtask mutants`: changes one operator, word or value of the code at a time; a test must
//! fail for each.
//!
//! cargo-mutants makes, builds and judges the mutants; this file says which tests judge which
//! crate, and what share must be caught. Mutants that no test can catch are listed in
//! `.cargo/mutants.toml`, each with its reason, and are skipped.

use std::path::Path;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::run::{cargo, code, print, probe, show};

/// The percentage of compiling mutants that must be caught.
const ENOUGH: u32 = 95;
/// Exit codes of cargo-mutants after it judged all mutants: all caught, some missed, some never
/// ended.
const JUDGED: [i32; 3] = [0, 2, 3];

/// Which mutants.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The crate that is changed
    #[arg(value_enum, default_value = "core")]
    which: Which,
    /// Test only every Nth mutant; the same N always selects the same mutants
    #[arg(long, value_name = "N", default_value_t = 1)]
    one_in: u32,
    /// Number of mutants that are built and tested at once
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: u32,
}

/// A crate whose tests are tested.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Which {
    /// The decisions, tested by their own tests; takes hours on two cores
    Core,
    /// The loop, tested by its own tests and the simulation's stories; takes about a minute a
    /// mutant, so give `--one-in 64`
    Engine,
}

/// The results of cargo-mutants.
#[derive(Debug, Deserialize)]
struct Outcomes {
    caught: u32,
    timeout: u32,
    missed: u32,
    unviable: u32,
}

/// Makes the mutants and prints how many were caught; fails if too few were.
pub(crate) fn mutants(root: &Path, options: &Options) -> anyhow::Result<()> {
    let cargo = cargo();
    if probe(&[&cargo, "mutants", "--version"]).is_none() {
        bail!("cargo-mutants is not installed: cargo install --locked cargo-mutants");
    }
    if probe(&[&cargo, "nextest", "--version"]).is_none() {
        bail!("cargo-nextest is not installed: cargo install --locked cargo-nextest");
    }
    let (shard, jobs) = (format!("0/{}", options.one_in.max(1)), options.jobs.to_string());
    let mut argv = vec![cargo.as_str(), "mutants", "--shard", &shard, "--jobs", &jobs];
    argv.extend(["--sharding=round-robin", options.which.timeout(), "--output=target/mutants"]);
    argv.push("--test-tool=nextest");
    argv.extend(options.which.judges());
    if let Some(baseline) = options.which.baseline() {
        show(root, &[&[cargo.as_str(), "test", "--locked", "--quiet"], baseline].concat(), &[])?;
        argv.push("--baseline=skip");
    }
    let env = [
        ("CARGO_PROFILE_DEV_DEBUG", "0"),
        ("CARGO_PROFILE_TEST_DEBUG", "0"),
        ("NEXTEST_PROFILE", "mutants"),
        ("PROPTEST_CASES", "16"),
        ("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true"),
    ];
    let ended = code(root, &argv, &env)?;
    if !JUDGED.contains(&ended) {
        bail!("cargo mutants ended with {ended}: see its output above");
    }
    let written = root.join("target/mutants/mutants.out");
    let read = |name: &str| {
        let file = written.join(name);
        std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    let outcomes: Outcomes = serde_json::from_str(&read("outcomes.json")?)?;
    for survivor in read("missed.txt")?.lines() {
        print(&format!("missed: {survivor}"));
    }
    print(&outcomes.figure());
    if !outcomes.enough() {
        bail!("fewer than {ENOUGH} % are caught: add tests for what was missed");
    }
    Ok(())
}

impl Which {
    /// Arguments of cargo-mutants for the crate and the tests that judge it.
    fn judges(self) -> &'static [&'static str] {
        match self {
            Self::Core => &["--package=afk-core", "-C=--lib", "-C=--test=config"],
            Self::Engine => &[
                "--package=afk-engine",
                "--test-package=afk-engine",
                "--test-package=afk-sim",
                // Each mutant is compiled once and tested once: that is faster at this level.
                "-C=--config=profile.test.package.afk-engine.opt-level=1",
                "-C=--config=profile.test.package.afk-sim.opt-level=1",
            ],
        }
    }

    /// The time that a mutant's tests may take. Well above what they take without one, since a mutant
    /// whose tests do not end counts as caught.
    fn timeout(self) -> &'static str {
        match self {
            Self::Core => "--timeout=120",
            Self::Engine => "--timeout=900",
        }
    }

    /// Arguments for cargo to run the tests that judge the crate without a mutant. None if
    /// cargo-mutants does that, which knows only tests of the crate itself.
    fn baseline(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Core => None,
            Self::Engine => Some(&["--package=afk-engine", "--package=afk-sim"]),
        }
    }
}

impl Outcomes {
    fn viable(&self) -> u32 {
        self.caught + self.timeout + self.missed
    }

    fn enough(&self) -> bool {
        (self.caught + self.timeout) * 100 >= self.viable() * ENOUGH
    }

    fn figure(&self) -> String {
        let (viable, Self { caught, timeout, missed, unviable }) = (self.viable(), self);
        let share = f64::from(caught + timeout) * 100.0 / f64::from(viable.max(1));
        format!(
            "{} mutants: {unviable} do not compile; of the other {viable}, {caught} were caught by \
             a test, {timeout} by never ending, {missed} missed: {share:.1} %",
            viable + unviable,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_that_never_ends_counts_as_caught_and_one_that_does_not_compile_not_at_all() {
        let text = r#"{"caught": 93, "timeout": 2, "missed": 5, "unviable": 20, "success": 0}"#;
        let mut outcomes: Outcomes = serde_json::from_str(text).unwrap();
        assert!(outcomes.enough());
        assert!(outcomes.figure().ends_with("5 missed: 95.0 %"), "{}", outcomes.figure());
        outcomes.missed += 1;
        assert!(!outcomes.enough());
    }
}
