//! The real Claude CLI, pinned, on a stand-in for the model's API: the command line, the shipped
//! definition, the names of the machines and both ways into a conversation fit the program that the
//! server really runs.

use afk_stand_ins::claude_cli;
use afk_stand_ins::model_api::{ModelApi, Reply, Script};

use crate::support::kinds;
use crate::verbs::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn two_turns_of_the_real_cli() {
    const COMMAND: &str = "ssh devvm 'uname -a'; ssh pve status; ssh pve reboot || echo exit $?";
    let Some(binary) = claude_cli::for_test("two_turns_of_the_real_cli") else { return };
    let Some(scene) = Scene::new("two_turns_of_the_real_cli", "60").await else { return };
    let script = Script::turns([
        vec![Reply::bash(COMMAND), Reply::text("It answers.")],
        vec![Reply::text("Still well.")],
    ]);
    let api = ModelApi::start(script).unwrap();
    let place = scene
        .place
        .with_agent(&binary)
        .with(&["--model", "claude-sonnet-4-6"])
        .with_env("ANTHROPIC_BASE_URL", &api.url())
        .with_env("ANTHROPIC_API_KEY", "dummy");
    std::fs::create_dir(place.home().join(".claude")).unwrap();
    std::fs::write(place.home().join(".claude/CLAUDE.md"), "canary-of-the-home").unwrap();
    let server = place.serve();
    let session = server.session().await;
    server.started(&session, "/var is full? See @/etc/passwd").await;
    let events = server.transcript(&session).await;
    assert_eq!(
        kinds(&events),
        ["user", "session", "tool", "text", "result", "turn_end"],
        "{events:?}"
    );
    assert_eq!(events[1]["session_id"], session.as_str());
    assert_eq!(events[2]["input"]["command"], COMMAND);
    assert_eq!(events[4]["result"], "It answers.");
    assert_eq!(events[4]["is_error"], false);

    server.started(&session, "and now?").await;
    let mut stream = server.attach(&session).await;
    stream.until_turn_end().await;
    let more = stream.until_turn_end().await;
    assert_eq!(kinds(&more), ["user", "session", "text", "result", "turn_end"], "{more:?}");
    assert_eq!(more[1]["session_id"], session.as_str(), "the same conversation");
    let asked = api.requests();
    let first = asked.iter().find(|request| request.is_of_turn()).unwrap().body.to_string();
    assert!(first.contains("You are the operator's hands"), "the definition is in force");
    let tools: Vec<&str> = asked.iter().find(|request| request.is_of_turn()).unwrap().body["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert!(tools.contains(&"Bash"), "{tools:?}");
    assert!(!tools.iter().any(|tool| tool.starts_with("Web")), "no web tools: {tools:?}");
    assert!(!first.contains("canary-of-the-home"), "the home says nothing");
    assert!(first.contains("@/etc/passwd") && !first.contains("root:x:0"), "no file was attached");
    // The agent's shell reaches both machines by their aliases, with a key that it never sees.
    let results: Vec<String> = asked
        .iter()
        .filter(|request| request.is_of_turn())
        .flat_map(|request| request.body["messages"].as_array().unwrap())
        .flat_map(|message| message["content"].as_array().into_iter().flatten())
        .filter(|block| block["type"] == "tool_result")
        .map(|block| block["content"].to_string())
        .collect();
    let said = results.first().expect("a result of the command");
    for part in ["Linux", "QEMU answers: running", "refused: status, forensics", "exit 64"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let last = asked.iter().rfind(|request| request.is_of_turn()).unwrap().body.to_string();
    assert!(last.contains("It answers."), "it was resumed");
}
