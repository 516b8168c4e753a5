//! Agents that the relay speaks to, driven by the real `afk`: the real Codex, and both adapters of
//! the Agent Client Protocol around the real CLIs, each against a stand-in for its model.
//!
//! Checks that a run lands with each, and what a person is told if one is missing. If a program
//! cannot be installed, a visible line says so, and with `CI` set that is a failure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]
#![allow(clippy::unnecessary_debug_formatting, reason = "TOML quotes as Rust does")]

mod common;

use std::fs;

use afk_stand_ins::acp_adapters::{self, Adapter};
use afk_stand_ins::codex_cli;
use afk_stand_ins::model_api::{ModelApi, Reply, Script};
use afk_stand_ins::responses_api::{Reply as CodexReply, ResponsesApi, Script as CodexScript};
use common::{Control, FIXED, ISSUE, NEW_TEST, Plan, World, texts, until};
use serde_json::{Value, json};

/// The API key; nothing else may look like it.
const KEY: &str = "sk-canary-2d9f61c07be94a63";

/// The agent's work as shell words: a test, then the fix, each in a commit.
fn steps() -> [String; 2] {
    [
        format!(
            "cat > tests/nobody.sh <<'END'\n{NEW_TEST}END\ngit add tests/nobody.sh && git commit -q \
             -m 'Test a greeting without a name' -m 'It prints an empty name today.'"
        ),
        format!(
            "cat > hello.sh <<'END'\n{FIXED}END\ngit add hello.sh && git commit -q -m \
             'Greet the world when no name is given' -m 'An empty name made an empty greeting.'"
        ),
    ]
}

/// The model's answers that do this work. Adapters also ask their model for titles, so the turn is
/// recognised by a word of the issue.
fn work() -> Script {
    let mut replies: Vec<Reply> = steps().map(Reply::bash).to_vec();
    replies.push(Reply::text("The test fails without the fix and passes with it."));
    Script::default().when("Hello, !", replies)
}

/// A world in which the agent `name` is configured by `table`.
fn world(name: &str, table: &str) -> World {
    world_with("", name, table)
}

/// The same world with `head` at the beginning of the configuration.
fn world_with(head: &str, name: &str, table: &str) -> World {
    let config = format!("{head}\n[agents.{name}]\n{table}\n");
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

/// A world whose agent is the real Codex, with an issue; none if Codex cannot be installed.
fn codex_world(test: &str, head: &str, keys: &str, api: &ResponsesApi) -> Option<World> {
    let binary = codex_cli::for_test(test)?.canonicalize().unwrap();
    let table = format!(
        "program = {binary:?}\napi_key = {{ env = \"MODEL_KEY\" }}\nmodel = \"standin\"\nbase_url = \
         {:?}\n{keys}",
        api.url()
    );
    let world = world_with(head, "codex", &table);
    world.issue("It prints `Hello, !`.");
    Some(world)
}

/// Starts a control plane that works on the issue.
fn attached(world: &World) -> Control {
    let mut control = world.start(&["tick", "--poll", "--watch", "--verbose"]);
    until("a control plane that shows the run", common::BOUND, || {
        assert!(control.over().is_none(), "it ended: {}", control.said());
        control.said().contains(ISSUE).then_some(())
    });
    control
}

/// Causes, ends and output tokens of the turns of the newest run.
fn story(world: &World) -> Vec<(String, String, u64)> {
    let page = world.show();
    let attempts = page["run"]["attempts"].as_array().unwrap().clone();
    let turns = attempts.iter().flat_map(|one| one["turns"].as_array().unwrap().clone());
    let text = |turn: &Value, at: &str| {
        turn.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let told = |turn: Value| {
        let output = turn.pointer("/ended/facts/usage/output").and_then(Value::as_u64);
        (text(&turn, "/cause"), text(&turn, "/ended/how/end"), output.unwrap_or(0))
    };
    turns.map(told).collect()
}

/// How often the newest request to the model contains the words of the first prompt.
fn said_in_newest(api: &ResponsesApi) -> usize {
    api.requests().pop().unwrap().body.to_string().matches("Hello, !`").count()
}

#[test]
fn a_usage_limit_is_waited_out_and_the_thread_goes_on() {
    let begun = jiff::Timestamp::now().as_second();
    let mut replies: Vec<CodexReply> = steps().map(CodexReply::Command).to_vec();
    replies.push(CodexReply::text("Done."));
    let limit = CodexReply::LimitFor { seconds: 12 };
    let api = ResponsesApi::start(CodexScript::turns([vec![limit], replies])).unwrap();
    let head = "executor_retries_max = 0";
    let Some(world) = codex_world("a_usage_limit_is_waited_out", head, "", &api) else { return };
    attached(&world).done();
    world.assert_done_once();
    let page = world.show();
    let resets_at = &page["run"]["attempts"][0]["turns"][0]["ended"]["how"]["resets_at"];
    let resets_at = resets_at.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    assert!((begun + 12..=jiff::Timestamp::now().as_second()).contains(&resets_at), "{page:#}");
    let told = story(&world);
    let told: Vec<(&str, &str, u64)> =
        told.iter().map(|(cause, end, output)| (&**cause, &**end, *output)).collect();
    // Three answers of 20 tokens; the refused one costs none.
    assert_eq!(told, [("opening", "limited", 0), ("limit_reset", "finished", 60)]);
    // Both turns are in one thread.
    assert!(said_in_newest(&api) >= 2, "{:?}", api.requests().pop());
}

#[test]
fn a_second_turn_of_a_thread_is_told_and_counted_alone() {
    // Without a test nothing lands, so a second turn has to write one.
    let [test, fix] = steps();
    let api = ResponsesApi::start(CodexScript::turns([
        vec![CodexReply::Command(fix), CodexReply::text("Fixed.")],
        vec![CodexReply::Command(test), CodexReply::text("Tested.")],
    ]))
    .unwrap();
    let Some(world) = codex_world("a_second_turn_of_a_thread", "", "", &api) else { return };
    attached(&world).done();
    world.assert_done_once();
    let told = story(&world);
    let outputs: Vec<u64> = told.iter().map(|(_, _, output)| *output).collect();
    assert_eq!(outputs, [40, 40], "{told:?}");
    let first = api.requests()[0].body["prompt_cache_key"].clone();
    let last = api.requests().pop().unwrap().body["prompt_cache_key"].clone();
    assert!(first.is_string() && first == last, "one thread: {first} {last}");
}

#[test]
fn a_person_allows_what_codex_asks() {
    let mut replies: Vec<CodexReply> = steps().map(CodexReply::Command).to_vec();
    replies.push(CodexReply::text("Done."));
    let api = ResponsesApi::start(CodexScript::turns([replies])).unwrap();
    let (head, keys) = ("question_timeout_seconds = 600", "permissions = \"ask\"");
    let Some(world) = codex_world("a_person_allows_what_codex_asks", head, keys, &api) else {
        return;
    };
    let control = attached(&world);
    for n in 1..=2 {
        let asked = until("a run that asks", common::BOUND, || {
            let status = world.json(&["status"]);
            let asks = status["runs"].get(0)?["asks"].as_array()?.clone();
            asks.into_iter().find(|ask| ask["n"] == n)
        });
        assert!(asked["what"].as_str().unwrap().starts_with("command: "), "{asked:#}");
        world.ok(&["allow", ISSUE, "--ask", &n.to_string()]);
    }
    control.done();
    assert_eq!(world.show()["summary"]["outcome"], "done");
    assert_eq!(world.landed().len(), 2);
}

#[test]
fn a_killed_control_plane_changes_nothing_for_the_agent() {
    let [test, fix] = steps();
    let hold = "touch ~/there; while [ ! -e ~/go ]; do sleep 0.05; done";
    let api = ResponsesApi::start(CodexScript::turns([vec![
        CodexReply::command(hold),
        CodexReply::Command(test),
        CodexReply::Command(fix),
        CodexReply::text("Done."),
    ]]))
    .unwrap();
    let Some(world) = codex_world("a_killed_control_plane", "", "", &api) else { return };
    let control = attached(&world);
    let home = until("the held command", common::BOUND, || {
        let runs = fs::read_dir(world.path("data/work/runs")).ok()?.flatten();
        runs.map(|run| run.path().join("home")).find(|home| home.join("there").exists())
    });
    control.kill();
    fs::write(home.join("go"), "").unwrap();
    attached(&world).done();
    world.assert_done_once();
    assert_eq!(story(&world).len(), 1, "one turn, found again");
    assert_eq!(api.requests().len(), 4, "nothing was asked twice");
}

/// The keys of an adapter's table, with these variables.
fn adapter_table(adapter: &Adapter, env: &[(&str, String)], key: &str) -> String {
    let env: Vec<String> = env
        .iter()
        .map(|(name, value)| format!("{name} = {}", toml::Value::String(value.clone())))
        .collect();
    format!(
        "kind = \"acp\"\ncommand = {:?}\nread = [{:?}]\nenv = {{ {} }}\nsecret_env = {{ {key} = {{ \
         env = \"MODEL_KEY\" }} }}",
        adapter.command(),
        adapter.packages,
        env.join(", ")
    )
}

/// The configuration by which the adapter's Codex uses the stand-in.
fn codex_config(url: &str) -> String {
    json!({
        "model": "standin",
        "model_provider": "standin",
        "model_providers": {"standin": {
            "name": "standin", "base_url": url, "env_key": "CODEX_API_KEY",
            "wire_api": "responses", "request_max_retries": 0, "stream_max_retries": 0,
        }},
    })
    .to_string()
}

#[test]
fn an_issue_lands_through_the_adapter_of_claude() {
    let test = "an_issue_lands_through_the_adapter_of_claude";
    let Some(adapter) = acp_adapters::claude(test) else { return };
    let api = ModelApi::start(work()).unwrap();
    let env = [
        ("ANTHROPIC_BASE_URL", api.url()),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
    ];
    let world = world("ada", &adapter_table(&adapter, &env, "ANTHROPIC_API_KEY"));
    world.issue("It prints `Hello, !`.");
    world.ok(&["run", ISSUE]);
    world.assert_done_once();
    assert!(!api.everything_sent().contains(KEY));
}

#[test]
fn an_issue_lands_through_the_adapter_of_codex() {
    let test = "an_issue_lands_through_the_adapter_of_codex";
    let Some(adapter) = acp_adapters::codex(test) else { return };
    let api = ResponsesApi::start(work()).unwrap();
    let env =
        [("CODEX_CONFIG", codex_config(&api.url())), ("MODEL_PROVIDER", "standin".to_owned())];
    let world = world("cody", &adapter_table(&adapter, &env, "CODEX_API_KEY"));
    world.issue("It prints `Hello, !`.");
    world.ok(&["run", ISSUE]);
    world.assert_done_once();
    assert_eq!(api.requests()[0].authorization, format!("Bearer {KEY}"));
}

/// An agent of somebody's own that speaks ACP, of which the loop knows nothing.
const SOME_AGENT: &str = r#"
while IFS= read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  answer() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$1"; }
  case $line in
    *'"method":"initialize"'*)
      answer '{"protocolVersion":1,"agentCapabilities":{}}' ;;
    *'"method":"session/new"'*)
      [ -n "$SOME_KEY" ] || exit 9
      answer '{"sessionId":"s-1"}' ;;
    *'"method":"session/prompt"'*)
      sh "$WORK" >&2
      printf '%s\n' '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s-1","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"It is done."}}}}'
      answer '{"stopReason":"end_turn"}' ;;
  esac
done
"#;

/// A folder that the agent's box shows, with its program and its work.
fn installed() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let acp = dir.path().join("some-agent");
    fs::write(&acp, format!("#!/bin/sh\n{SOME_AGENT}")).unwrap();
    let plain = dir.path().join("plain-agent");
    fs::write(&plain, "#!/bin/sh\ngrep -q 'Hello, !' \"$1\" && sh \"$WORK\" && echo It is done.\n")
        .unwrap();
    fs::write(dir.path().join("work.sh"), steps().join("\n")).unwrap();
    for program in [&acp, &plain] {
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    dir
}

#[test]
fn another_agent_is_configuration_alone() {
    let dir = installed();
    let path = |name: &str| dir.path().join(name);
    let rest = format!(
        "read = [{:?}]\nenv = {{ WORK = {:?} }}\nsecret_env = {{ SOME_KEY = {{ env = \"MODEL_KEY\" }} }}",
        dir.path(),
        path("work.sh")
    );
    for (kind, command) in [
        ("acp", format!("[{:?}]", path("some-agent"))),
        ("command", format!("[{:?}, \"{{prompt_file}}\"]", path("plain-agent"))),
    ] {
        let world = world("mine", &format!("kind = {kind:?}\ncommand = {command}\n{rest}"));
        world.issue("It prints `Hello, !`.");
        world.ok(&["run", ISSUE]);
        world.assert_done_once();
        // It does not say what it used, and neither does its table: all but a cent of the budget.
        assert_eq!(world.show()["summary"]["cost_usd"], "4.99", "{kind}");
    }
}

#[test]
fn a_budget_ends_a_run_whose_agent_never_says_what_it_used() {
    let dir = installed();
    let [test, _] = steps();
    // Each turn commits something, and `verify` refuses all of it.
    let work = format!(
        "[ -e tests/nobody.sh ] || {{ {test}\n}}\necho '#' >> hello.sh\ngit commit -qam 'Add a \
         comment' -m 'It mends nothing.'\n"
    );
    fs::write(dir.path().join("work.sh"), work).unwrap();
    let table = format!(
        "kind = \"command\"\ncommand = [{:?}, \"{{prompt_file}}\"]\nread = [{:?}]\nenv = {{ WORK = \
         {:?} }}\nturn_usd = 1",
        dir.path().join("plain-agent"),
        dir.path(),
        dir.path().join("work.sh")
    );
    let world = world_with("budget_usd = 2", "mine", &table);
    world.issue("It prints `Hello, !`.");
    world.afk(&["run", ISSUE]);
    let told = story(&world);
    let told: Vec<(&str, &str)> = told.iter().map(|(cause, end, _)| (&**cause, &**end)).collect();
    assert_eq!(told, [("opening", "finished"), ("refused", "finished")]);
    let summary = world.show()["summary"].clone();
    assert_eq!(summary["outcome"], "needs-human", "{summary:#}");
    assert!(summary["why"].as_str().unwrap().contains("the budget of $2.00"), "{summary:#}");
    assert_eq!(summary["cost_usd"], "2", "{summary:#}");
    let (found, _) = texts(&world.afk(&["doctor", "--all", "--quick"]));
    assert!(found.contains("a turn is taken to cost $1.00"), "{found}");
}

#[test]
fn the_doctor_says_which_agents_no_budget_limits_well() {
    for (keys, words) in [
        ("", "agents.mine.turn_usd"),
        ("\nturn_usd = 0", "no budget limits it"),
        ("\nturn_usd = 2.5", "is taken to cost $2.50"),
    ] {
        for kind in ["acp", "command"] {
            let table = format!("kind = {kind:?}\ncommand = [\"/bin/sh\"]{keys}");
            let (found, _) = texts(&world("mine", &table).afk(&["doctor", "--all", "--quick"]));
            assert!(found.contains("cost of mine") && found.contains(words), "{kind}: {found}");
        }
    }
}

#[test]
fn what_an_agent_lacks_is_told_before_anything_starts() {
    for (name, table, words) in [
        ("codex", "program = \"/nowhere/codex\"", "agents.codex.program"),
        ("mine", "kind = \"acp\"\ncommand = [\"/nowhere/agent\"]", "/nowhere/agent"),
        (
            "mine",
            "kind = \"acp\"\ncommand = [\"/bin/sh\"]\nsecret_env = { A = { env = \"NO_KEY\" } }",
            "NO_KEY",
        ),
    ] {
        let world = world(name, table);
        world.issue("It prints `Hello, !`.");
        let output = world.afk(&["run", ISSUE]);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(6), "{out}\n{err}");
        assert!(err.contains(words), "{err}");
        assert!(world.runs().is_empty());
        let (found, _) = texts(&world.afk(&["doctor"]));
        assert!(found.contains(words), "{found}");
    }
}

/// Runs a demo with an agent of this machine and these variables; returns its report.
fn demo(agent: &str, env: &[(&str, String)]) -> Value {
    let mut world = World::new(&Plan::default());
    world.env.extend(env.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let dir = world.path("demo");
    let args = ["demo", "--agent", agent, "--json", "--keep", dir.to_str().unwrap()];
    let mut command = world.command(&args);
    command.env_remove("AFK_CONFIG");
    let output = Control::start(command, &world.path("out")).wait(common::BOUND);
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    let report: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&report["outcome"], &report["agent"]),
        (&"done".into(), &agent.into()),
        "{report:#}"
    );
    println!("demo with {agent}: {} ms", report["wall_ms"]);
    report
}

#[test]
fn the_demo_lands_with_codex() {
    let Some(binary) = codex_cli::for_test("the_demo_lands_with_codex") else { return };
    let api = ResponsesApi::start(work()).unwrap();
    let binary = binary.canonicalize().unwrap().to_string_lossy().into_owned();
    let report = demo(
        "codex",
        &[
            ("AFK_AGENTS__CODEX__PROGRAM", binary),
            ("AFK_AGENTS__CODEX__BASE_URL", api.url()),
            ("AFK_AGENTS__CODEX__MODEL", "standin".to_owned()),
            ("CODEX_API_KEY", KEY.to_owned()),
        ],
    );
    let bundle = fs::read(report["evidence"].as_str().unwrap());
    assert!(bundle.is_err() || !String::from_utf8_lossy(&bundle.unwrap()).contains(KEY));
}

#[test]
fn the_demo_lands_with_an_agent_of_the_protocol() {
    let test = "the_demo_lands_with_an_agent_of_the_protocol";
    let Some(adapter) = acp_adapters::claude(test) else { return };
    let api = ModelApi::start(work()).unwrap();
    let list = |paths: &[String]| format!("{paths:?}");
    demo(
        "acp",
        &[
            ("AFK_AGENTS__ACP__COMMAND", list(&adapter.command())),
            ("AFK_AGENTS__ACP__READ", list(&[adapter.packages.to_string_lossy().into_owned()])),
            ("AFK_AGENTS__ACP__ENV", format!("{{ ANTHROPIC_BASE_URL = \"{}\" }}", api.url())),
            (
                "AFK_AGENTS__ACP__SECRET_ENV",
                "{ ANTHROPIC_API_KEY = { env = \"MODEL_KEY\" } }".to_owned(),
            ),
            ("MODEL_KEY", KEY.to_owned()),
        ],
    );
}
