//! A subscription whose allowance is used up: the run waits until it is reset, and goes on
//! with the same conversation.

use std::fs;
use std::path::{Path, PathBuf};

use afk_stand_ins::model_api::{Reply, Script};
use serde_json::json;

use crate::common::{BOUND, FIXED, Plan, until};
use crate::held::{Thread, VERSIONS, attached, place, story, work};

/// How long after its first request the limit resets, in seconds: long enough to be seen waiting.
const WAIT: i64 = 12;
/// What the operator's home holds beside the sign-in.
const CANARY: &str = "CANARY-OF-ANOTHER-SERVER";

#[test]
fn a_usage_limit_is_waited_out_and_the_conversation_goes_on() {
    for (version, _) in VERSIONS {
        let test = "a_usage_limit_is_waited_out";
        let script = Script::turns([
            vec![Reply::LimitFor { seconds: WAIT }],
            vec![work(FIXED), Reply::text("Done.")],
        ]);
        let config = "executor_retries_max = 0".to_owned();
        let plan = Plan { config, ..Plan::default() };
        // Only a subscription has an allowance: the sign-in of the home, and no key.
        let Some(thread) = Thread::new(test, version, script, plan, "") else { continue };
        let sign_in = json!({"claudeAiOauth": {
            "accessToken": "sk-ant-oat01-dummy",
            "refreshToken": "sk-ant-ort01-dummy",
            "expiresAt": 4_102_444_800_000_u64,
            "scopes": ["user:inference", "user:profile"],
            "subscriptionType": "max",
        }});
        let folder = thread.world.path("home/.claude");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(".credentials.json"), sign_in.to_string()).unwrap();
        let other = json!({"mcpServers": {"s": {"command": "true", "env": {"TOKEN": CANARY}}}});
        fs::write(thread.world.path("home/.claude.json"), other.to_string()).unwrap();
        let begun = jiff::Timestamp::now().as_second();
        let control = attached(&thread.world);
        let ended = until("the end of the first turn", BOUND, || {
            let turns = thread.turns();
            turns.first().filter(|turn| !turn["ended"].is_null()).cloned()
        });
        assert_eq!(ended["ended"]["how"]["end"], "limited", "{version}: {ended:#}");
        let resets_at = ended["ended"]["how"]["resets_at"].as_str().unwrap();
        let resets_at = resets_at.parse::<jiff::Timestamp>().unwrap().as_second();
        let told = begun + WAIT..=jiff::Timestamp::now().as_second() + WAIT;
        assert!(told.contains(&resets_at), "{version}: {resets_at} is not in {told:?}");
        // The run's home exists while it waits, and has the sign-in and nothing else.
        let runs = thread.world.path("data/work/runs");
        assert_eq!(files_with(&runs, "sk-ant-oat01-dummy").len(), 1, "{version}");
        assert_eq!(files_with(&runs, CANARY), Vec::<PathBuf>::new(), "{version}");
        let refused = thread.calls().len();
        assert!(thread.api.wait_for_turn_requests(refused + 1, BOUND), "it goes on");
        let now = jiff::Timestamp::now().as_second();
        assert!(now >= resets_at, "{version}: {} s too soon", resets_at - now);
        control.done();
        thread.world.assert_done_once();
        let turns = thread.turns();
        assert_eq!(story(&turns), [("opening", "limited"), ("limit_reset", "finished")]);
        assert_eq!(thread.calls().len(), refused + 2, "{version}");
        // Without an answer in between, the CLI joins both turns' lines into one message.
        let last = thread.calls().pop().unwrap().to_string();
        let said = last.matches("It prints `Hello, !`.").count();
        assert_eq!(said, 2, "{version}: {last}");
        println!("{version}: waited for the reset, went on in {:?}", place(&turns[1]));
    }
}

/// The files below `folder` that contain `needle`.
fn files_with(folder: &Path, needle: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files_with(&path, needle));
        } else if fs::read(&path).is_ok_and(|b| String::from_utf8_lossy(&b).contains(needle)) {
            found.push(path);
        }
    }
    found
}
