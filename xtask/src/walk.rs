//! `cargo xtask walk`: a new user's first hour. Small repositories in the usual languages go from
//! `afk init` to a landed issue in three commands, mistakes are made on the way, and the time of it
//! all is printed.
//!
//! It is a test of the program, of which CI runs all that downloads nothing; here the rest runs, too.

use std::path::Path;
use std::time::Instant;

use clap::Args;

use crate::run::{cargo, print, show};

/// What is walked.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Also time the demo, from the build of the program to its end
    #[arg(long)]
    demo: bool,
    /// Only what has this in its name, such as `cargo` or `mistakes`
    name: Option<String>,
}

/// Walks, and prints a line for each repository; fails if one does not land.
pub(crate) fn walk(root: &Path, options: &Options) -> anyhow::Result<()> {
    let cargo = cargo();
    if options.demo {
        demo(root, &cargo)?;
    }
    let argv = [&cargo, "test", "--locked", "--quiet", "--package=afk", "--test=walk", "--"];
    let name: Vec<&str> = options.name.iter().map(String::as_str).collect();
    let argv = [&argv[..], &["--nocapture", "--test-threads=2"], &name[..]].concat();
    show(root, &argv, &[("AFK_WALK", "1")])
}

/// The first two commands of the README.
fn demo(root: &Path, cargo: &str) -> anyhow::Result<()> {
    let begun = Instant::now();
    show(root, &[cargo, "build", "--locked", "--release"], &[])?;
    let built = begun.elapsed();
    show(root, &[cargo, "run", "--locked", "--release", "--quiet", "--", "demo"], &[])?;
    let seconds = |time: std::time::Duration| format!("{:.0} s", time.as_secs_f64());
    print(&format!("build  {}", seconds(built)));
    print(&format!("demo   {}", seconds(begun.elapsed().saturating_sub(built))));
    Ok(())
}
