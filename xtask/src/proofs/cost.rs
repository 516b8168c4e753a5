//! `cargo xtask proofs cost`: what a proof costs, beside the command that it repeats.
//!
//! A first issue is worked so that the result on the base is remembered. Then a second one is
//! measured: the time from the candidate to the proof, by the journal in the evidence, against
//! `verify` as a person runs it. This is done for the demo's sample, whose tests take next to no
//! time, and for tests that take ten seconds.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::change::Files;
use super::world::{Ended, World};
use crate::bench::{Goal, Row, table};
use crate::run::{print, say};

/// How many times longer than one `verify` a proof may take.
const RATIO_GOAL: f64 = 3.5;
/// How often `verify` is run by itself; the median counts.
const TIMES: usize = 3;

/// The test script. It runs every test even after one has failed, so that no run of a proof ends
/// early.
const RUNNER: &str =
    "failed=0\nfor t in tests/*.sh; do sh -e \"$t\" || failed=1; done\nexit $failed\n";

/// What one proof cost.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cost {
    runs: usize,
    /// The sum of the times of all runs.
    run_seconds: f64,
    /// The time from the candidate to the end of its proof.
    proof_seconds: f64,
}

/// Measures, and prints the figures beside their goals.
pub(crate) fn cost(folder: &Path, afk: &Path) -> anyhow::Result<()> {
    say("the demo's sample");
    let demo = World::demo(folder.join("demo"), afk)?;
    let mut rows = measured("demo", &demo, &added("hello.sh", "part", "Bye"), &["sh", "test.sh"])?;
    say("tests that take ten seconds: two minutes and more");
    let verify = ["sh", "test.sh"];
    let files = Files::from([
        ("ci.sh".to_owned(), "sh -n greet.sh\n".to_owned()),
        ("greet.sh".to_owned(), "greet() { echo \"Hello, $1!\"; }\n".to_owned()),
        ("test.sh".to_owned(), RUNNER.to_owned()),
        ("tests/slow.sh".to_owned(), "sleep 10\n".to_owned()),
    ]);
    let slow = World::with_verify(folder.join("slow"), afk, false, (&verify, &[], &files), "")?;
    worked(&slow, "Say good night", &added("greet.sh", "rest", "Good night"))?;
    rows.extend(measured("ten seconds", &slow, &added("greet.sh", "part", "Bye"), &verify)?);
    for line in table(&rows) {
        print(&line);
    }
    Ok(())
}

/// The steps of a turn that first commits a test, then a function in the file `code`.
fn added(code: &str, name: &str, word: &str) -> Vec<Value> {
    let test = format!("tests/{name}.sh");
    let commit = |subject: &str, path: &str| json!({ "commit": { "subject": subject, "body": "As the issue asks.", "paths": [path] } });
    let asserts = format!(". ./{code}\n[ \"$({name} Ada)\" = '{word}, Ada!' ]\n");
    let function = format!("{name}() {{ echo \"{word}, $1!\"; }}\n");
    vec![
        json!({ "write": { "path": test, "content": asserts } }),
        commit("Test a greeting", &test),
        json!({ "append": { "path": code, "content": function } }),
        commit("Add a greeting", code),
    ]
}

fn worked(world: &World, title: &str, turn: &[Value]) -> anyhow::Result<Ended> {
    let ended = world.work(title, &[turn.to_vec()])?;
    ensure!(ended.outcome == "done", "{title}: {}: {}", ended.outcome, ended.why);
    Ok(ended)
}

fn measured(
    what: &str,
    world: &World,
    turn: &[Value],
    verify: &[&str],
) -> anyhow::Result<Vec<Row>> {
    let ended = worked(world, "Say goodbye", turn)?;
    let cost = read(&ended.evidence).context("the evidence does not look as expected")?;
    let alone = median(&world.clone_of_main()?, verify)?;
    Ok(rows(what, cost, alone))
}

fn rows(what: &str, cost: Cost, alone: f64) -> Vec<Row> {
    let row = |name: &str, figure, unit, goal| Row {
        what: format!("{what}: {name}"),
        figure,
        unit,
        goal,
    };
    #[expect(clippy::cast_precision_loss, reason = "a proof has a few dozen runs at most")]
    let runs = cost.runs as f64;
    let goal = Some(Goal::AtMost(RATIO_GOAL));
    vec![
        row("verify by a person", alone * 1e3, "ms", None),
        row("runs of a proof", runs, "runs", None),
        row("one after the other", cost.run_seconds, "s", None),
        row("candidate to proof", cost.proof_seconds, "s", None),
        row("proof to verify", cost.proof_seconds / alone.max(0.001), "times", goal),
    ]
}

/// Reads the cost of the last proof from an evidence bundle.
fn read(evidence: &Value) -> Option<Cost> {
    let runs = evidence["proof"]["runs"].as_array()?;
    let rows = evidence["journal"]["rows"].as_array()?;
    let last = |kind: &str| {
        let row = rows.iter().rev().find(|row| row["kind"] == kind)?;
        row["at"].as_u64()
    };
    let micros = last("proved")?.checked_sub(last("integrated")?)?;
    let millis: u64 = runs.iter().filter_map(|run| run["millis"].as_u64()).sum();
    #[expect(clippy::cast_precision_loss, reason = "hours at most")]
    let seconds = |of: u64, per: f64| of as f64 / per;
    Some(Cost {
        runs: runs.len(),
        run_seconds: seconds(millis, 1e3),
        proof_seconds: seconds(micros, 1e6),
    })
}

/// The median time of `verify` in `folder`, in seconds.
fn median(folder: &Path, verify: &[&str]) -> anyhow::Result<f64> {
    let (program, args) = verify.split_first().context("an empty command")?;
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let since = Instant::now();
        let status = Command::new(program)
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .with_context(|| format!("cannot run {program}"))?;
        ensure!(status.success(), "{} failed: {status}", verify.join(" "));
        times.push(since.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times.get(TIMES / 2).copied().context("verify was not run")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_proof_of_a_bundle_is_read() {
        let row = |kind: &str, at: u64| json!({ "kind": kind, "at": at });
        let evidence = json!({
            "proof": { "runs": [{ "millis": 1_500 }, { "millis": 500 }, {}] },
            "journal": { "rows": [
                row("integrated", 1), row("proved", 2),
                row("integrated", 5_000_000), row("guarded", 5_000_001), row("proved", 12_000_000),
            ] },
        });
        let cost = read(&evidence).unwrap();
        assert_eq!(cost, Cost { runs: 3, run_seconds: 2.0, proof_seconds: 7.0 });
        let lines = table(&rows("x", cost, 2.0));
        assert!(lines.last().unwrap().ends_with("3.5 times   at most 3.5"), "{lines:?}");
        let lines = table(&rows("x", cost, 1.0));
        assert!(lines.last().unwrap().ends_with("at most 3.5   MISSED"), "{lines:?}");
        assert_eq!(read(&json!({})), None);
        assert_eq!(read(&json!({ "proof": { "runs": [] }, "journal": { "rows": [] } })), None);
    }
}
