//! `afk demo --forge`: the demo with its issue on the fake forge, as a newcomer sees it.
//!
//! It runs without any network but loopback, so that reaching for anything else would fail. The
//! other scenarios are in `scenarios`, on a fake that is checked against the forge's description.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::common::{git, texts};

/// Runs a demo on the fake `forge` with further arguments, which must end with 0; returns its
/// standard output and its standard error.
#[track_caller]
fn shown(folder: &Path, forge: &str, args: &[&str]) -> (String, String) {
    let mut command = Command::new("bwrap");
    command
        .args(["--unshare-net", "--dev-bind", "/", "/", "--die-with-parent", "--"])
        .arg(env!("CARGO_BIN_EXE_afk"))
        .args(["demo", "--forge", forge, "--keep"])
        .arg(folder.join("kept"))
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", folder)
        .env("USER", "ann")
        .current_dir(folder)
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    (out, err)
}

/// The report of a demo, which must have ended as intended, without a request that the forge
/// refuses.
#[track_caller]
fn reported(folder: &Path, kind: &str, scenario: &str) -> Value {
    let (out, _) = shown(folder, kind, &["--scenario", scenario, "--json"]);
    let report: Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!(report["as_expected"], true, "{report:#}");
    let forge = &report["forge"];
    assert_eq!((&forge["kind"], &forge["mistakes"]), (&json!(kind), &json!([])), "{report:#}");
    assert!(forge["url"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{report:#}");
    assert!(forge["requests"].as_u64().unwrap() > 2, "{report:#}");
    report
}

#[test]
fn a_newcomer_is_told_that_the_forge_is_a_fake() {
    let folder = tempfile::tempdir().unwrap();
    let (out, err) = shown(folder.path(), "github", &[]);
    for words in ["a fake GitHub", "http://127.0.0.1:", "nothing is sent to the real one"] {
        assert!(err.contains(words), "{words:?} is not in {err}");
    }
    assert!(err.contains("nothing leaves this machine"), "{err}");
    for words in ["landed and closed with evidence, as intended", "it ended with this demo"] {
        assert!(out.contains(words), "{words:?} is not in {out}");
    }
    let origin = folder.path().join("kept/origin.git");
    let message = git(&origin, &["log", "-1", "--format=%B", "main"]);
    assert!(message.contains("Refs #1"), "{message}");
    // The run can be looked at without its forge.
    let config = folder.path().join("kept/afk.toml");
    let afk = Command::new(env!("CARGO_BIN_EXE_afk"))
        .arg("--config")
        .arg(config)
        .args(["evidence", "demo/hello#1", "--json"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let landed: Value = serde_json::from_slice(&afk.stdout).unwrap();
    assert_eq!(landed["landed"], git(&origin, &["rev-parse", "main"]).trim());
}

#[test]
fn another_control_plane_finds_the_same_forge() {
    let folder = tempfile::tempdir().unwrap();
    let report = reported(folder.path(), "github", "restart");
    assert_eq!(report["restart"]["agent_went_on"], true, "{report:#}");
}

#[test]
fn what_a_stranger_released_waits_there_too() {
    let folder = tempfile::tempdir().unwrap();
    let report = reported(folder.path(), "forgejo", "untrusted");
    assert_eq!(report["outcome"], "waiting", "{report:#}");
    assert!(report["why"].as_str().unwrap().contains("mallory"), "{report:#}");
}

#[test]
fn a_frozen_repository_holds_the_next_issue_there_too() {
    let folder = tempfile::tempdir().unwrap();
    let report = reported(folder.path(), "gitea", "frozen");
    assert_eq!((&report["outcome"], &report["attempts"]), (&json!("frozen"), &json!(3)));
    assert_eq!(report["held"]["gates"], json!(["freeze"]), "{report:#}");
}
