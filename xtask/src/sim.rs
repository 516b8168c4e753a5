//! `cargo xtask sim`: tells many seeds of the explorer, built for speed.

use std::path::Path;

use clap::Args;

use crate::run::{cargo, show};

/// Which seeds to tell.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many seeds
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// Minutes after which no further seed is begun
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Only this seed
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
}

/// Tells the seeds; fails where one broke an invariant.
pub(crate) fn sim(root: &Path, options: &Options) -> anyhow::Result<()> {
    let (from, seeds) = match options.seed {
        Some(seed) => (seed, 1),
        None => (options.from, options.seeds),
    };
    let words = [from, seeds, options.minutes.saturating_mul(60)].map(|n| n.to_string());
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
    show(root, &argv, &[])
}
