//! What the agent asks: shown to people, and answered by policy where nobody does.

use std::time::{Duration, Instant};

use afk_sim::model_api::{Reply, Script};
use serde_json::json;

use crate::common::{BOUND, FIXED, Plan, until};
use crate::held::{KEY, Thread, VERSIONS, attached, story, work};

#[test]
fn a_permission_that_nobody_gives_is_refused_at_its_deadline_and_the_turn_goes_on() {
    for (version, _) in VERSIONS {
        let script = Script::turns([vec![work(FIXED), Reply::text("I need a permission.")]]);
        let config = "question_timeout_seconds = 4".to_owned();
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
        assert!(waited < Duration::from_secs(10), "{version}: {waited:?}");
        assert_eq!(thread.world.show()["summary"]["outcome"], "needs-human");
        println!("{version}: asked, refused {:.1} s after it was seen", waited.as_secs_f64());
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
        assert!(waited < Duration::from_secs(5), "{version}: {waited:?}");
        assert_eq!(story(&thread.turns()), [("opening", "finished")]);
        println!("{version}: a question was answered {:.2} s after the call", waited.as_secs_f64());
    }
}
