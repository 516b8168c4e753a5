//! The real Claude CLI as a living thread, in both versions that count costs otherwise:
//! later turns go to the process of the first, and are charged once.
//!
//! Where a version cannot be had a visible line says so, and with `CI` set that is a failure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]
#![allow(clippy::unnecessary_debug_formatting, reason = "TOML quotes as Rust does")]

mod common;

use afk_sim::claude_cli::{OLD_VERSION, VERSION, of_version};
use afk_sim::model_api::{ModelApi, Reply, Script};
use common::{FIXED, ISSUE, NEW_TEST, Plan, World};

/// A first turn that leaves its work uncommitted, and a second one that commits it.
fn two_turns() -> Script {
    let write = Reply::bash(format!(
        "cat > tests/nobody.sh <<'END'\n{NEW_TEST}END\ncat > hello.sh <<'END'\n{FIXED}END"
    ));
    let commit = Reply::bash(
        "git add tests/nobody.sh && git commit -q -m 'Test a greeting without a name' && git add \
         hello.sh && git commit -q -m 'Greet the world when no name is given'",
    );
    Script::turns([vec![write, Reply::text("Written.")], vec![commit, Reply::text("Committed.")]])
}

#[test]
fn a_second_turn_goes_to_the_process_of_the_first_and_is_charged_once() {
    for (version, call_micros) in [(VERSION, 5_000), (OLD_VERSION, 6_250)] {
        let test = "a_second_turn_goes_to_the_process_of_the_first";
        let Some(binary) = of_version(test, version) else { continue };
        let api = ModelApi::start(two_turns()).unwrap();
        let config = format!(
            "\n[agents.claude]\nprogram = {:?}\napi_key = {{ env = \"ANTHROPIC_API_KEY\" }}\nbase_url = {:?}\n",
            binary.canonicalize().unwrap(),
            api.url(),
        );
        let mut world = World::new(&Plan { config, ..Plan::default() });
        world.env.push(("ANTHROPIC_API_KEY".to_owned(), "dummy".to_owned()));
        world.issue("It prints `Hello, !`.");
        world.ok(&["run", ISSUE]);
        world.assert_done_once();
        let page = world.show();
        let turns = &page["run"]["attempts"][0]["turns"];
        let place = |n: usize| {
            let key = &turns[n]["ended"]["facts"]["cost"]["key"];
            (key["process"].as_u64().unwrap(), key["turn"].as_u64().unwrap())
        };
        assert_eq!((place(0), place(1)), ((1, 1), (1, 2)), "{version}: {turns:#}");
        // Four calls of 1000 and 50 tokens: twice a tool and a text.
        let cost = page["summary"]["cost_usd"].to_string();
        let cost: f64 = cost.trim_matches('"').parse().unwrap();
        assert!((cost * 1e6 - f64::from(4 * call_micros)).abs() < 1.0, "{version}: {cost}");
        let last = api.requests().into_iter().rfind(afk_sim::model_api::Recorded::is_of_turn);
        assert!(last.unwrap().body.to_string().contains("nobody.sh"), "the conversation is whole");
        assert_eq!(world.processes(&[]), Vec::new(), "nothing of it is left");
        println!("{version}: two turns on one process, {cost} USD");
    }
}
