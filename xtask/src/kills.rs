//! `cargo xtask kills`: kills `afk serve` and its hosts many times while they work a backlog, and
//! judges the result from outside.
//!
//! This is the long form of a test of the crate `afk`, which otherwise runs in a short one. cargo
//! runs it here, because nextest limits each test to minutes.

use std::path::Path;

use clap::Args;

use crate::run::{cargo, show};

/// The test that kills.
const TEST: &str = "kills::killed_at_any_moment_nothing_is_done_twice_lost_or_stuck";

/// How much is killed.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Number of kills; one in five is of a host, the others are of the daemon
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// Number of issues to work on meanwhile, in three repositories
    #[arg(long, default_value_t = 51)]
    issues: u64,
    /// Seed that chooses what is killed and when
    #[arg(long, default_value_t = 12_648_430)]
    seed: u64,
    /// Minutes within which every issue must be finished
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Keep the folder with the repositories, the store and the logs
    #[arg(long)]
    keep: bool,
}

/// Kills, judges and prints the table; fails if anything is wrong.
pub(crate) fn kills(root: &Path, options: &Options) -> anyhow::Result<()> {
    let cargo = cargo();
    let argv =
        [&cargo, "test", "--locked", "--quiet", "--package=afk", "--test=fleet", "--", "--exact"];
    let argv = [&argv[..], &[TEST, "--nocapture"]].concat();
    let Options { kills, issues, seed, minutes, keep } = options;
    let [kills, issues, seed, minutes] = [kills, issues, seed, minutes].map(u64::to_string);
    let mut env = vec![
        ("AFK_KILLS", kills.as_str()),
        ("AFK_KILL_ISSUES", &issues),
        ("AFK_KILL_SEED", &seed),
        ("AFK_KILL_MINUTES", &minutes),
    ];
    if *keep {
        env.push(("AFK_KEEP", "1"));
    }
    show(root, &argv, &env)
}
