//! Agents that the relay speaks to, driven by the real `afk`: the real Codex, and both adapters of
//! the Agent Client Protocol around the real CLIs, each against a stand-in for its model.
//!
//! That a run lands with each, and what a person is told where one is missing. Where a program
//! cannot be had a visible line says so, and with `CI` set that is a failure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]
#![allow(clippy::unnecessary_debug_formatting, reason = "TOML quotes as Rust does")]

mod common;

use std::fs;

use afk_sim::codex_cli;
use afk_sim::model_api::{Reply, Script};
use afk_sim::responses_api::ResponsesApi;
use common::{FIXED, ISSUE, NEW_TEST, Plan, World};

/// The key; nothing else may look like it.
const KEY: &str = "sk-canary-2d9f61c07be94a63";

/// What the model does: a test, then the fix, each in a commit.
fn work() -> Script {
    Script::turns([vec![
        Reply::bash(format!(
            "cat > tests/nobody.sh <<'END'\n{NEW_TEST}END\ngit add tests/nobody.sh && git commit -q \
             -m 'Test a greeting without a name' -m 'It prints an empty name today.'"
        )),
        Reply::bash(format!(
            "cat > hello.sh <<'END'\n{FIXED}END\ngit add hello.sh && git commit -q -m \
             'Greet the world when no name is given' -m 'An empty name made an empty greeting.'"
        )),
        Reply::text("The test fails without the fix and passes with it."),
    ]])
}

/// A world in which the agent `name` is configured by `table`.
fn world(name: &str, table: &str) -> World {
    let config = format!("\n[agents.{name}]\n{table}\n");
    let mut world = World::new(&Plan { config, ..Plan::default() });
    let file = world.path("afk.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("agent = \"scripted\"", &format!("agent = {name:?}"))).unwrap();
    world.env.push(("MODEL_KEY".to_owned(), KEY.to_owned()));
    world
}

#[test]
fn an_issue_lands_with_the_real_codex() {
    let Some(binary) = codex_cli::for_test("an_issue_lands_with_the_real_codex") else { return };
    let api = ResponsesApi::start(work()).unwrap();
    let world = world(
        "codex",
        &format!(
            "program = {:?}\napi_key = {{ env = \"MODEL_KEY\" }}\nmodel = \"standin\"\nbase_url = \
             {:?}",
            binary.canonicalize().unwrap(),
            api.url()
        ),
    );
    world.issue("It prints `Hello, !`.");
    world.ok(&["run", ISSUE]);
    world.assert_done_once();
    assert!(!api.everything_sent().contains(KEY));
    assert_eq!(api.requests()[0].authorization, format!("Bearer {KEY}"));
}
