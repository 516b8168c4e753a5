//! `cargo xtask`: what people and CI run in this workspace.
//!
//! Each task is a module; this file only names them. Nothing here is shipped, and no task but
//! `record`, which writes into `docs/`, changes a file of the workspace outside `target/`.

mod bench;
mod deny;
mod gateway;
mod idle;
mod kills;
mod lint;
mod metadata;
mod mutants;
mod proofs;
mod record;
mod run;
mod scale;
mod sim;
mod soak;
mod test;
mod tidy;
mod walk;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Tasks of this workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run every test, after checking for what the tests need
    ///
    /// As root on Debian or Ubuntu it installs what is missing with apt. With `CI` set, anything
    /// missing is an error; otherwise the tests that need it skip, visibly.
    Test(test::Options),
    /// Check formatting, run clippy, tidy and deny
    Lint,
    /// Check rules that no compiler checks: heads and lengths of files, links, the index of
    /// decisions
    Tidy,
    /// Check the licences and sources of all dependencies, and that no banned crate is among them
    Deny,
    /// Run the simulation with many seeds: people, faults and crashes must break no invariant
    Sim(sim::Options),
    /// Kill the daemon and its hosts many times, and check that nothing is done twice, lost or
    /// stuck
    Kills(kills::Options),
    /// Change the code in one place at a time, and check that a test fails (needs cargo-mutants)
    Mutants(mutants::Options),
    /// Check that small real changes land, and that none lands after it was sabotaged
    Proofs(proofs::Options),
    /// Load the gateway for minutes, while clients disconnect, processes are killed and it restarts
    Soak(soak::Options),
    /// Take small repositories from `afk init` to a landed issue, and make mistakes on the way
    Walk(walk::Options),
    /// Record the demo as an asciicast and as a picture, into docs/
    Record(record::Options),
    /// Run the benchmarks and the demo, and print each figure beside its goal
    Bench {
        #[command(subcommand)]
        what: Option<bench::What>,
    },
}

fn main() -> ExitCode {
    let done =
        run::root().context("cannot find the workspace").and_then(|root| match Cli::parse().task {
            Task::Test(options) => test::test(&root, &options),
            Task::Lint => lint::lint(&root),
            Task::Tidy => tidy::tidy(&root),
            Task::Deny => deny::deny(&root),
            Task::Sim(options) => sim::sim(&root, &options),
            Task::Kills(options) => kills::kills(&root, &options),
            Task::Mutants(options) => mutants::mutants(&root, &options),
            Task::Proofs(options) => proofs::proofs(&root, &options),
            Task::Soak(options) => soak::soak(&root, &options),
            Task::Walk(options) => walk::walk(&root, &options),
            Task::Record(options) => record::record(&root, &options),
            Task::Bench { what } => bench::bench(&root, what.as_ref()),
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
