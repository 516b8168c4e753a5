//! `cargo xtask soak`: the gateway under mixed load for minutes, not in CI.
//!
//! The load and the verdict are a test of the crate (`tests/soak.rs`), which is otherwise ignored.

use std::path::Path;

use crate::run::{cargo, show};

/// How to soak.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Minutes for which the gateway is loaded
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    minutes: u32,
}

/// Runs the test.
pub(crate) fn soak(root: &Path, options: &Options) -> anyhow::Result<()> {
    let seconds = (options.minutes * 60).to_string();
    let cargo = cargo();
    let argv = [
        &cargo,
        "test",
        "--release",
        "--locked",
        "--package=afk-gateway",
        "--test=soak",
        "--",
        "--ignored",
        "--nocapture",
    ];
    show(root, &argv, &[("AFK_SOAK_SECONDS", &seconds)])
}
