//! What the agent asks, answered on the forge: the real Claude CLI asks questions and for
//! permissions, and people answer, refuse and allow in comments.
//!
//! If the CLI cannot be installed, a visible line says so, and with `CI` set that is a failure.

use std::fs;

use afk_core::ids::IssueRef;
use afk_sim::world::person;
use afk_stand_ins::claude_cli;
use afk_stand_ins::model_api::{ModelApi, Reply, Script};
use serde_json::{Value, json};

use crate::common::{BOUND, FIXED, NEW_TEST, until};
use crate::people::{told, woken};
use crate::support::{Kind, OnForge, Plot};

on_each_forge!(people_answer_refuse_and_allow_by_comments);

/// What the model does: it asks a question, then to do what nobody should allow, then to do its
/// work.
fn replies() -> Vec<Reply> {
    let question = json!({ "questions": [{
        "question": "Whom does it greet?", "header": "Greeting", "multiSelect": false,
        "options": [
            { "label": "world", "description": "Everybody." },
            { "label": "nobody", "description": "As it is." },
        ],
    }] });
    let work = format!(
        "cat > tests/nobody.sh <<'END'\n{NEW_TEST}END\ngit add tests/nobody.sh && git commit -q -m \
         'Test a greeting without a name' -m 'Nobody has no name.'\ncat > hello.sh \
         <<'END'\n{FIXED}END\ngit add hello.sh && git commit -q -m 'Greet the world when no name is \
         given' -m 'Nobody has no name.'"
    );
    vec![
        Reply::tool("AskUserQuestion", question),
        Reply::bash("git rm -q -r tests && git commit -q -m 'Remove the tests'"),
        Reply::bash(work),
        Reply::text("Done."),
    ]
}

/// A repository whose agent is the real CLI, which asks before it does anything.
fn asking(kind: Kind, api: &ModelApi, cli: &std::path::Path) -> OnForge {
    let mut here = OnForge::new(Plot { kind, woken: woken(kind), ..Plot::default() });
    let file = here.world.path("afk.toml");
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replace("agent = \"scripted\"", "agent = \"claude\"");
    let (cli, url) = (cli.canonicalize().unwrap(), api.url());
    let agent = format!(
        "[agents.claude]\nprogram = {cli:?}\nbase_url = {url:?}\npermissions = \"ask\"\napi_key = {{ \
         env = \"ANTHROPIC_API_KEY\" }}\n"
    );
    fs::write(&file, format!("question_timeout_seconds = 600\n{text}\n{agent}")).unwrap();
    here.world.env.push(("ANTHROPIC_API_KEY".to_owned(), "dummy".to_owned()));
    here
}

/// Waits for the nth question, and for the next second: forges count in seconds, so an answer in
/// the second of the question would count as from before it.
fn asks(here: &OnForge, n: u64) -> Value {
    let asked = until(&format!("question {n}"), BOUND, || {
        let status = here.world.json(&["status"]);
        let asks = status["runs"].get(0)?["asks"].as_array()?.clone();
        asks.into_iter().find(|ask| ask["n"] == n)
    });
    let second = || here.sim.with(|there| there.now.as_second());
    let then = second();
    until("the next second", BOUND, || (second() > then).then_some(()));
    asked
}

fn people_answer_refuse_and_allow_by_comments(kind: Kind) {
    let test = format!("e2e_asks_{}", kind.name());
    let Some(cli) = claude_cli::for_test(&test) else { return };
    let api = ModelApi::start(Script::turns([replies()])).unwrap();
    let here = asking(kind, &api, &cli);
    let (issue, serve) = here.begin();
    let says = |who: &str, words: &str| {
        here.sim.with(|there| there.write_comment(&issue, words, &person(who)));
    };

    let asked = asks(&here, 1);
    assert_eq!((&asked["question"], &asked["what"]), (&json!(true), &WHOM.into()), "{asked:#}");
    // Nobody without write permission answers it, and nobody by the wrong command.
    says("tim", "/afk answer nobody");
    says("mallory", "/afk answer --ask 1 nobody");
    says("ann", "/afk allow");
    told(&here, &issue, "1 is an open question");
    says("ann", "/afk answer world, of course");
    told(&here, &issue, "the agent gets this as the answer to question 1");

    let asked = asks(&here, 2);
    assert_eq!(asked["question"], false, "{asked:#}");
    says("mallory", "/afk allow");
    says("ann", "/afk answer go on");
    told(&here, &issue, "2 asks for a permission");
    says("ann", "/afk deny --ask 2 The tests stay.");
    told(&here, &issue, "refused: Bash: ");

    asks(&here, 3);
    says("mallory", "/afk deny");
    says("ann", "/afk allow --ask 2");
    told(&here, &issue, "question 2 was already answered by ann");
    says("ann", "/afk allow");
    told(&here, &issue, "allowed once: Bash: ");

    until("the issue is closed", BOUND, || here.is_closed(&issue).then_some(()));
    let page = here.landed(&issue);
    assert_eq!(here.world.landed().len(), 2);
    given(&page, &issue);
    here.rings(&["question", "question", "question", "done"]);
    let heard = api.requests().pop().unwrap().body.to_string();
    assert!(heard.contains("world, of course") && heard.contains("The tests stay."), "{heard}");
    drop(serve);
    here.done(&test);
}

/// The question with its options, as it is shown to people.
const WHOM: &str = "Whom does it greet? (world / nobody)";

/// Each question got one answer, by ann, in the one turn of the run.
#[track_caller]
fn given(page: &Value, issue: &IssueRef) {
    let turns = page["run"]["attempts"][0]["turns"].as_array().unwrap();
    let [turn] = turns.as_slice() else { panic!("not one turn on {issue}: {turns:#?}") };
    let all = turn["questions"].as_array().unwrap().iter();
    let given: Vec<_> = all
        .map(|one| {
            let given = &one["given"];
            let words = given["answer"]["text"].as_str().or(given["answer"]["why"].as_str());
            (given["by"]["login"].as_str(), given["answer"]["answer"].as_str(), words)
        })
        .collect();
    let by = Some("ann");
    let expected = [
        (by, Some("say"), Some("world, of course")),
        (by, Some("deny"), Some("The tests stay.")),
        (by, Some("allow"), None),
    ];
    assert_eq!(given, expected);
}
