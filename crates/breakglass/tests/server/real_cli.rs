//! The real Claude CLI, pinned, on a stand-in for the model's API: the command line, the shipped
//! definition and both ways into a conversation fit the program that the server really runs.

use afk_stand_ins::claude_cli;
use afk_stand_ins::model_api::{ModelApi, Reply, Script};

use crate::support::{Place, kinds};

#[tokio::test(flavor = "multi_thread")]
async fn two_turns_of_the_real_cli() {
    let Some(binary) = claude_cli::for_test("two_turns_of_the_real_cli") else { return };
    let script = Script::turns([
        vec![Reply::bash("echo the machine is $((40 + 2))"), Reply::text("It answers.")],
        vec![Reply::text("Still well.")],
    ]);
    let api = ModelApi::start(script).unwrap();
    let place = Place::new()
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
    assert_eq!(events[2]["input"]["command"], "echo the machine is $((40 + 2))");
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
    assert!(!first.contains("canary-of-the-home"), "the home says nothing");
    assert!(first.contains("@/etc/passwd") && !first.contains("root:x:0"), "no file was attached");
    let last = asked.iter().rfind(|request| request.is_of_turn()).unwrap().body.to_string();
    assert!(last.contains("It answers."), "it was resumed");
}
