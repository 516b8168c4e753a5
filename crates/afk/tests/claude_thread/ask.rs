//! What the agent asks: shown to people, and answered by policy if nobody answers in time.

use std::time::{Duration, Instant};

use afk_stand_ins::model_api::{Reply, Script};
use serde_json::{Value, json};

use crate::common::{BOUND, Control, FIXED, ISSUE, NEW_TEST, Plan, World, texts, until};
use crate::held::{KEY, Thread, VERSIONS, attached, story, work};

#[test]
fn a_permission_that_nobody_gives_is_refused_at_its_deadline_and_the_turn_goes_on() {
    for (version, _) in VERSIONS {
        let script = Script::turns([vec![work(FIXED), Reply::text("I need a permission.")]]);
        let config = "question_timeout_seconds = 6".to_owned();
        let plan = Plan { config, ..Plan::default() };
        let agent = format!("{KEY}\npermissions = \"ask\"");
        let test = "a_permission_that_nobody_gives";
        let Some(thread) = Thread::new(test, version, script, plan, &agent) else { continue };
        let control = attached(&thread.world);
        let asked = until("a run that asks", BOUND, || {
            let status = thread.world.json(&["status"]);
            let run = status["runs"].get(0)?.clone();
            (run["asks"].as_array()?.len() == 1).then_some(run)
        });
        let begun = Instant::now();
        let ask = &asked["asks"][0];
        assert_eq!(ask["question"], false, "{asked:#}");
        assert!(ask["what"].as_str().unwrap().starts_with("Bash: "), "{asked:#}");
        assert!(asked["waits_for"].as_str().unwrap().starts_with("an answer: Bash"), "{asked:#}");
        let shown = thread.world.show();
        assert_eq!(shown["summary"]["asks"][0]["id"], ask["id"], "{shown:#}");
        assert!(thread.api.wait_for_turn_requests(2, BOUND), "the turn goes on");
        let waited = begun.elapsed();
        control.wait(BOUND);
        let last = thread.calls().pop().unwrap().to_string();
        assert!(last.contains("Nobody has allowed this in time"), "{version}: {last}");
        assert_eq!(thread.calls().len(), 2, "{version}");
        assert_eq!(story(&thread.turns()), [("opening", "finished")], "{:#?}", thread.turns());
        assert!(waited < Duration::from_mins(1), "{version}: {waited:?}");
        assert_eq!(thread.world.show()["summary"]["outcome"], "needs-human");
        println!("{version}: asked, refused {:.1} s after it was seen", waited.as_secs_f64());
    }
}

/// A stand-in for a CLI that makes a request which no client knows, and works once that is refused.
const ASKS_ODDLY: &str = r#"#!/bin/sh
while read -r line; do
  case $line in
    *'"subtype":"initialize"'*)
      echo '{"type":"control_response","response":{"subtype":"success","request_id":"initialize"}}' ;;
    *'"type":"user"'*)
      id=$(printf %s "$line" | sed 's/.*"uuid":"\([^"]*\)".*/\1/')
      echo '{"type":"system","subtype":"init","session_id":"s","model":"m"}'
      echo '{"type":"control_request","request_id":"odd-1","request":{"subtype":"of_tomorrow"}}' ;;
    *'"request_id":"odd-1"'*)
      case $line in *'"subtype":"error"'*) ;; *) exit 3 ;; esac
      @WORK@
      echo '{"type":"user","isReplay":true,"uuid":"'"$id"'","message":{"content":[]}}'
      echo '{"type":"result","subtype":"success","is_error":false,"result":"Done."}' ;;
  esac
done
"#;

#[test]
fn a_request_that_no_client_knows_is_refused_and_the_turn_goes_on() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("claude");
    let work = format!(
        "cat > tests/nobody.sh <<'END'\n{NEW_TEST}END\ngit add . && git commit -q -m 'Test it' -m \
         'Nobody has no name.'\ncat > hello.sh <<'END'\n{FIXED}END\ngit add . && git commit -q -m \
         'Greet the world' -m 'Nobody has no name.'"
    );
    std::fs::write(&program, ASKS_ODDLY.replace("@WORK@", &work)).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!("\n[agents.claude]\nprogram = {program:?}\n{KEY}\n");
    let mut world = World::new(&Plan { config, ..Plan::default() });
    world.env.push(("ANTHROPIC_API_KEY".to_owned(), "dummy".to_owned()));
    world.issue("It prints `Hello, !`.");
    attached(&world).wait(BOUND);
    let page = world.show();
    assert_eq!(page["summary"]["outcome"], "done", "{page:#}");
}

/// Starts a thread whose agent asks for permission to do its work; also returns what it asks.
fn asking(test: &str, version: &str, replies: Vec<Reply>) -> Option<(Thread, Control, Value)> {
    let config = "question_timeout_seconds = 600".to_owned();
    let plan = Plan { config, ..Plan::default() };
    let agent = format!("{KEY}\npermissions = \"ask\"");
    let thread = Thread::new(test, version, Script::turns([replies]), plan, &agent)?;
    let control = attached(&thread.world);
    let asked = until("a run that asks", BOUND, || {
        let status = thread.world.json(&["status"]);
        let asks = status["runs"].get(0)?["asks"].as_array()?.clone();
        (asks.len() == 1).then(|| asks[0].clone())
    });
    Some((thread, control, asked))
}

#[test]
fn a_permission_that_a_person_gives_lets_the_tool_run() {
    for (version, _) in VERSIONS {
        let replies = vec![work(FIXED), Reply::text("Done.")];
        let test = "a_permission_that_a_person_gives";
        let Some((thread, control, asked)) = asking(test, version, replies) else { continue };
        let (world, n) = (&thread.world, asked["n"].to_string());
        assert_eq!(asked["commands"][0], format!("afk allow {ISSUE} --ask {n}"));
        assert!(world.ok(&["status"]).contains(&format!("`afk allow {ISSUE} --ask {n}`")));
        assert!(world.ok(&["show", ISSUE]).contains("1. permission: Bash: "));
        let other = world.afk(&["answer", ISSUE, "yes"]);
        let (_, said) = texts(&other);
        assert_eq!(other.status.code(), Some(3), "{said}");
        assert!(said.contains("asks for a permission: use `afk allow` or `afk deny`"), "{said}");
        let begun = Instant::now();
        let allowed = world.json(&["allow", ISSUE]);
        assert_eq!(allowed["asked"]["request"], "allow", "{allowed:#}");
        assert!(thread.api.wait_for_turn_requests(2, BOUND), "the tool has run");
        let waited = begun.elapsed();
        control.done();
        world.assert_done_ringing(2);
        let last = thread.calls().pop().unwrap().to_string();
        assert!(!last.contains("is_error\":true"), "{version}: {last}");
        assert_eq!(story(&thread.turns()), [("opening", "finished")], "{:#?}", thread.turns());
        let page = world.show();
        let given = &thread.turns()[0]["questions"][0]["given"];
        assert_eq!(given["answer"]["answer"], "allow", "{page:#}");
        assert!(given["by"].is_object(), "{page:#}");
        let late = world.afk(&["allow", ISSUE, "--ask", "1"]);
        let (_, said) = texts(&late);
        assert_eq!(late.status.code(), Some(2), "{said}");
        assert!(said.contains("has ended"), "{said}");
        println!("{version}: allowed, the turn went on after {:.2} s", waited.as_secs_f64());
    }
}

#[test]
fn a_permission_that_a_person_refuses_keeps_the_tool_from_running() {
    for (version, _) in VERSIONS {
        let replies = vec![work(FIXED), Reply::text("I may not.")];
        let test = "a_permission_that_a_person_refuses";
        let Some((thread, control, _)) = asking(test, version, replies) else { continue };
        let world = &thread.world;
        let nobody = world.afk(&["allow", ISSUE, "--ask", "7"]);
        let (_, said) = texts(&nobody);
        assert_eq!(nobody.status.code(), Some(3), "{said}");
        assert!(said.contains("there is no question 7"), "{said}");
        world.ok(&["issue", "comment", ISSUE, "/afk allow", "--as", "mallory"]);
        world.ok(&["deny", ISSUE, "Mind the hinges.", "--ask", "1"]);
        assert!(thread.api.wait_for_turn_requests(2, BOUND), "the turn goes on");
        control.wait(BOUND);
        let last = thread.calls().pop().unwrap().to_string();
        assert!(last.contains("Mind the hinges."), "{version}: {last}");
        assert_eq!(world.show()["summary"]["outcome"], "needs-human");
        assert_eq!(world.landed().len(), 1, "{version}: nothing landed");
    }
}

#[test]
fn a_question_under_full_access_is_answered_at_once() {
    for (version, _) in VERSIONS {
        let question = json!({"questions": [{
            "question": "Which greeting?",
            "header": "Greeting",
            "multiSelect": false,
            "options": [
                {"label": "world", "description": "Greet the world."},
                {"label": "you", "description": "Greet whoever reads."},
            ],
        }]});
        let ask = Reply::tool("AskUserQuestion", question);
        let script = Script::turns([vec![ask, work(FIXED), Reply::text("Done.")]]);
        let test = "a_question_under_full_access";
        let Some(thread) = Thread::with_key(test, version, script, Plan::default()) else {
            continue;
        };
        let control = attached(&thread.world);
        assert!(thread.api.wait_for_turn_requests(1, BOUND), "the first call");
        let begun = Instant::now();
        assert!(thread.api.wait_for_turn_requests(2, BOUND), "the turn goes on");
        let waited = begun.elapsed();
        control.done();
        thread.world.assert_done_once();
        let last = thread.calls().pop().unwrap().to_string();
        assert!(last.contains("Nobody is there to answer"), "{version}: {last}");
        assert!(waited < Duration::from_mins(1), "{version}: {waited:?}");
        assert_eq!(story(&thread.turns()), [("opening", "finished")]);
        println!("{version}: a question was answered {:.2} s after the call", waited.as_secs_f64());
    }
}
