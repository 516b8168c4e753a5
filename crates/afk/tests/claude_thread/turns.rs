//! Two turns of one process: the conversation has both, each is charged once, and
//! each has its own part of the output as its transcript.

use afk_core::digest::Digest;
use afk_stand_ins::model_api::{Reply, Script};
use serde_json::Value;

use crate::common::{BOUND, Control, FIXED, ISSUE, NEW_TEST, Plan, until};
use crate::held::{Thread, VERSIONS, place};

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
    for (version, price) in VERSIONS {
        let test = "a_second_turn_goes_to_the_process_of_the_first";
        let Some(thread) = Thread::with_key(test, version, two_turns(), Plan::default()) else {
            continue;
        };
        let control = thread.world.start(&["run", ISSUE]);
        thread.world.job("thread.1");
        let logs = |args: &[&str]| thread.world.start(&[&["logs", ISSUE, "-f"], args].concat());
        let (told, raw) = (["1", "2"].map(|n| logs(&["--turn", n])), logs(&["--json"]));
        control.done();
        let (told, raw) = (told.map(Control::done), raw.done());
        thread.world.assert_done_once();
        let turns = thread.turns();
        assert_eq!((place(&turns[0]), place(&turns[1])), ((1, 1), (1, 2)), "{version}: {turns:#?}");
        // Four calls of 1000 and 50 tokens: twice a tool and a text.
        assert_eq!(thread.charged(), 4 * price, "{version}");
        let last = thread.calls().pop().unwrap().to_string();
        assert!(last.contains("nobody.sh"), "the conversation is whole");
        assert!(told[0].contains("Written.") && !told[0].contains("Committed."), "{told:#?}");
        assert!(told[1].contains("Committed.") && !told[1].contains("Written."), "{told:#?}");
        assert!(told.iter().all(|one| one.contains("Bash  ")), "{version}: {told:#?}");
        let lines = raw.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let results = lines.filter(|line| line["type"] == "result").count();
        assert_eq!(results, 2, "{version}: each turn's part once: {raw}");
        // Their workspace is gone; what is kept is what evidence is of.
        assert!(thread.world.runs().is_empty(), "{version}");
        let kept = ["1", "2"].map(|n| thread.world.ok(&["logs", ISSUE, "--json", "--turn", n]));
        assert_eq!(kept.concat(), raw, "{version}");
        let digests = kept.map(|bytes| Digest::of(bytes).to_string());
        let evidence = thread.world.json(&["evidence", ISSUE]);
        assert_eq!(evidence["transcript"], Digest::of_list(&digests).to_string(), "{version}");
        until("nothing of it is left", BOUND, || {
            thread.world.processes(&[]).is_empty().then_some(())
        });
        println!("{version}: two turns on one process, {} millionths of a dollar", 4 * price);
    }
}
