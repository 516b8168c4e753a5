//! `cargo xtask sim`: runs many seeds of the explorer, built for speed.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::run::{cargo, show};

/// Which seeds to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Number of seeds
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// Minutes after which no further seed is started
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run only this seed
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Run loops with known mistakes instead, and check that each is caught and by how many seeds
    #[arg(long, conflicts_with = "seed")]
    bad: bool,
    /// Test the adapter of T3 Code instead, on servers that lie and fail
    #[arg(long, conflicts_with_all = ["seed", "bad", "pairs"])]
    t3: bool,
    /// Run the stories instead in which two processes die, at every pair of calls
    #[arg(long, conflicts_with_all = ["seed", "bad"])]
    pairs: bool,
    /// Write each failure to this folder, as a short story [default: target/sim]
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

/// Runs the seeds; fails if one broke an invariant, or the time was up first.
pub(crate) fn sim(root: &Path, options: &Options) -> anyhow::Result<()> {
    if options.pairs {
        return pairs(root);
    }
    if options.t3 {
        return servers(root, options);
    }
    let (from, seeds) = match options.seed {
        Some(seed) => (seed, 1),
        None => (options.from, options.seeds),
    };
    let mut words: Vec<String> =
        [from, seeds, options.minutes.saturating_mul(60)].map(|n| n.to_string()).into();
    words.push(if options.bad { "bad" } else { "good" }.to_owned());
    let kept = || (!options.bad).then(|| root.join("target/sim"));
    if let Some(folder) = options.keep.clone().or_else(kept) {
        let folder = std::path::absolute(folder).context("no such folder")?;
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create the folder {}", folder.display()))?;
        words.push(folder.to_string_lossy().into_owned());
    }
    let cargo = cargo();
    let mut argv = vec![
        cargo.as_str(),
        "run",
        "--locked",
        "--profile=sim",
        "--quiet",
        "--package=afk-sim",
        "--bin=explore",
        "--",
    ];
    argv.extend(words.iter().map(String::as_str));
    show(root, &argv, &[])?;
    if options.bad {
        // Besides the known-bad loops, the known-bad executors on a T3 Code server.
        return of_t3(root, "every_known_bad_executor_is_caught", &[]);
    }
    Ok(())
}

/// Runs the adapter on T3 Code servers that lie and fail, by seed.
fn servers(root: &Path, options: &Options) -> anyhow::Result<()> {
    let (from, seeds) = (options.from.to_string(), options.seeds.to_string());
    let env = [("AFK_T3_FROM", from.as_str()), ("AFK_T3_SEEDS", seeds.as_str())];
    of_t3(root, "many_servers", &env)
}

/// Runs one test of the adapter's seeds, and shows what it prints.
fn of_t3(root: &Path, name: &str, env: &[(&str, &str)]) -> anyhow::Result<()> {
    let cargo = cargo();
    let test = ["test", "--locked", "--profile=sim", "--package=afk-remote", "--test=t3"];
    let name = format!("seeds::{name}");
    let only = ["--", "--include-ignored", "--nocapture", "--exact", name.as_str()];
    show(root, &[&[cargo.as_str()], &test[..], &only[..]].concat(), env)
}

/// Runs the stories with two deaths.
fn pairs(root: &Path) -> anyhow::Result<()> {
    let cargo = cargo();
    let test = ["test", "--locked", "--profile=sim", "--package=afk-sim", "--test=stories"];
    let only = ["--", "--include-ignored", "crash::pairs::"];
    show(root, &[&[cargo.as_str()], &test[..], &only[..]].concat(), &[])
}
