//! `cargo xtask walk`: a new user's first hour. Small repositories in the usual languages go from
//! `afk init` to a landed issue in three commands, mistakes are made on the way, and the time of it
//! all is printed.
//!
//! This runs a test of the crate `afk` in full; CI leaves out the parts that download something.
//! With `--demo` the way from `git clone` to the end of the demo is timed first, as on a new
//! machine. The README's figures are those printed here.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;

use crate::run::{cargo, print, show};

/// What is walked.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Also time the demo, from `git clone` to its end, in a fresh folder
    #[arg(long)]
    demo: bool,
    /// Run only the parts whose names contain this, such as `cargo` or `mistakes`
    name: Option<String>,
}

/// Walks, and prints a line for each repository; fails if one does not land.
pub(crate) fn walk(root: &Path, options: &Options) -> anyhow::Result<()> {
    let cargo = cargo();
    if options.demo {
        let folder = std::env::temp_dir().join(format!("afk-demo-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let timed = demo(root, &folder, &cargo);
        let removed = fs::remove_dir_all(&folder);
        timed?;
        removed.with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let argv = [&cargo, "test", "--locked", "--quiet", "--package=afk", "--test=walk", "--"];
    let name: Vec<&str> = options.name.iter().map(String::as_str).collect();
    let argv = [&argv[..], &["--nocapture", "--test-threads=2"], &name[..]].concat();
    show(root, &argv, &[("AFK_WALK", "1")])
}

/// Times the commands of the README's "See it": a clone of what is committed, a build into an empty
/// target folder, the demo. Crates that this machine has downloaded before are not downloaded
/// again.
fn demo(root: &Path, folder: &Path, cargo: &str) -> anyhow::Result<()> {
    let (from, clone) = (root.to_string_lossy(), folder.join("afk"));
    let target = clone.join("target");
    let own = [("CARGO_TARGET_DIR", target.to_string_lossy())];
    let own = own.each_ref().map(|(name, value)| (*name, value.as_ref()));
    let building = [cargo, "build", "--locked"];
    let showing = [cargo, "run", "--locked", "--quiet", "--", "demo"];

    let timed = |folder: &Path, argv: &[&str]| -> anyhow::Result<Duration> {
        let begun = Instant::now();
        show(folder, argv, &own)?;
        Ok(begun.elapsed())
    };
    let cloned = timed(folder, &["git", "clone", "--quiet", "--no-local", &from, "afk"])?;
    let built = timed(&clone, &building)?;
    let shown = timed(&clone, &showing)?;
    for (what, time) in [("git clone", cloned), ("build", built), ("demo", shown)] {
        print(&format!("{what:<10} {:>4.0} s", time.as_secs_f64()));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let whole = (cloned + built + shown).as_secs_f64().round();
    print(&format!(
        "from git clone to the demo's end: {:.0} min {:02.0} s on {cores} cores",
        (whole / 60.0).floor(),
        whole % 60.0
    ));
    Ok(())
}
