//! Real clients, unchanged: OpenAI's SDKs for Python and Node, `LiteLLM`, and schemathesis on the
//! `OpenAPI` document. They talk to a gateway over the scripted CLI.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "service/stand.rs"]
#[allow(dead_code)]
mod stand;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use afk_stand_ins::clients;
use stand::{Stand, TOKEN, cold};
use tokio::process::Command;

/// Runs a client's script, which must succeed.
async fn run(mut command: Command) -> String {
    command.stdin(Stdio::null()).kill_on_drop(true).env("NO_PROXY", "*").env("PYTHONUTF8", "1");
    let output = tokio::time::timeout(Duration::from_mins(2), command.output()).await;
    let output = output.expect("in time").unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    text
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

#[tokio::test]
async fn facts_openai_s_sdk_for_python() {
    let Some(python) = clients::python("openai_python") else { return };
    let stand = Stand::new(cold()).await;
    let mut command = Command::new(python);
    command.arg(script("sdk.py")).arg(stand.url("")).arg(TOKEN);
    run(command).await;
    once(&stand, "slow one").await;
}

#[tokio::test]
async fn facts_openai_s_sdk_for_node() {
    let Some(sdk) = clients::node("openai_node") else { return };
    let stand = Stand::new(cold()).await;
    let mut command = Command::new("node");
    command.arg(script("sdk.mjs")).arg(sdk).arg(stand.url("")).arg(TOKEN);
    run(command).await;
    once(&stand, "slow two").await;
}

/// Checks that the aborted stream is over, and that the retried slow request ran once.
async fn once(stand: &Stand, slow: &str) {
    stand.until_load(0, 0).await;
    stand.until_no_processes().await;
    let (_, metrics) = stand.get("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    let starts = stand.starts().len();
    let counted = metrics
        .lines()
        .find_map(|line| line.strip_prefix("afk_gateway_starts_total{process=\"cold\"} "))
        .and_then(|count| count.parse::<usize>().ok());
    assert_eq!(counted, Some(starts));
    let notes = stand.folder.path().join("state/home/notes");
    let notes = std::fs::read_to_string(notes).unwrap_or_default();
    assert_eq!(notes.matches(slow).count(), 1, "{notes}");
}

#[tokio::test]
async fn facts_litellm() {
    let Some(python) = clients::python("litellm") else { return };
    let stand = Stand::new(cold()).await;
    let mut command = Command::new(python);
    command.arg(script("lite.py")).arg(stand.url("")).arg(TOKEN);
    run(command).await;
    stand.until_load(0, 0).await;
}

#[tokio::test]
async fn gateway_schemathesis_finds_nothing() {
    let Some(python) = clients::python("schemathesis") else { return };
    let stand = Stand::new(cold()).await;
    let document = stand.folder.path().join("openapi.json");
    std::fs::write(&document, stand.get("/openapi.json").await.1.to_string()).unwrap();
    // By its module: the environment's own script names the folder where it was made.
    let mut command = Command::new(python);
    command.args(["-m", "schemathesis.cli", "run"]).arg(&document).arg("--url").arg(stand.url(""));
    command.args(["--header", &format!("Authorization: Bearer {TOKEN}")]);
    command.args(["--max-examples", "15", "--seed", "1", "--suppress-health-check", "all"]);
    command.args(["--phases", "examples,coverage,fuzzing,stateful"]);
    // One worker: Python 3.11 cannot parse sources in two threads at once, which hypothesis does.
    command.args(["--workers", "1"]);
    command.current_dir(stand.folder.path());
    let told = run(command).await;
    assert!(told.contains("/v1/chat/completions") || told.contains("passed"), "{told}");
}
