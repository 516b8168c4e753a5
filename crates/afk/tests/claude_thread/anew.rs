//! Conversations that cannot be continued: the run goes on in another one.

use std::fs;
use std::path::PathBuf;

use afk_stand_ins::model_api::{Reply, Script};
use rustix::process::Signal;
use serde_json::Value;

use crate::common::{BOUND, FIXED, Plan, until};
use crate::held::{BEFORE, HOLD, Thread, VERSIONS, attached, story, work};

/// What is left of a conversation's file after the machine lost power.
#[derive(Debug, Clone, Copy)]
enum Left {
    /// An empty file.
    Empty,
    /// Its first lines, which have no message.
    Head,
}

/// The files of the conversations in the agent's homes.
fn conversations(thread: &Thread) -> Vec<PathBuf> {
    let below = |folder: PathBuf| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let runs = below(thread.world.path("data/work/runs"));
    let projects = runs.into_iter().flat_map(|run| below(run.join("home/.claude/projects")));
    let files = projects.flat_map(below);
    files.filter(|file| file.extension().is_some_and(|end| end == "jsonl")).collect()
}

/// The conversation that a turn was charged to.
fn session(turn: &Value) -> &str {
    turn["ended"]["facts"]["cost"]["key"]["session"].as_str().unwrap()
}

#[test]
fn a_conversation_that_can_neither_be_opened_nor_resumed_is_followed_by_another() {
    for (version, _) in VERSIONS {
        for left in [Left::Empty, Left::Head] {
            let script = Script::turns([
                vec![Reply::bash(BEFORE), Reply::bash(HOLD)],
                vec![work(FIXED), Reply::text("Done.")],
            ]);
            let config = "executor_retries_max = 1".to_owned();
            let plan = Plan { config, ..Plan::default() };
            let test = "a_conversation_that_cannot_be_entered";
            let Some(thread) = Thread::with_key(test, version, script, plan) else { continue };
            let mut control = attached(&thread.world);
            thread.held(&mut control);
            thread.remembered();
            // Only this is left of the conversation on the disk, and then the agent dies.
            for file in conversations(&thread) {
                let whole = fs::read_to_string(&file).unwrap();
                let lines = match left {
                    Left::Empty => 0,
                    Left::Head => 2,
                };
                let head: Vec<&str> = whole.split_inclusive('\n').take(lines).collect();
                fs::write(&file, head.concat()).unwrap();
            }
            thread.world.job("thread").root.unwrap().signal(Signal::KILL);
            until("the second turn", BOUND, || (thread.turns().len() == 2).then_some(()));
            thread.let_go();
            control.done();
            thread.world.assert_done_once();
            let turns = thread.turns();
            let told = story(&turns);
            assert_eq!(told, [("opening", "failed"), ("retry", "finished")], "{version} {left:?}");
        }
    }
}

#[test]
fn a_history_that_the_api_refuses_is_not_sent_again() {
    for (version, _) in VERSIONS {
        let script = Script::turns([
            vec![Reply::bash(BEFORE), Reply::Status(400)],
            vec![work(FIXED), Reply::text("Done.")],
        ]);
        let config = "executor_retries_max = 1".to_owned();
        let plan = Plan { config, ..Plan::default() };
        let test = "a_history_that_the_api_refuses";
        let Some(thread) = Thread::with_key(test, version, script, plan) else { continue };
        attached(&thread.world).done();
        thread.world.assert_done_once();
        let turns = thread.turns();
        assert_eq!(story(&turns), [("opening", "failed"), ("retry", "finished")], "{version}");
        assert_ne!(session(&turns[0]), session(&turns[1]), "{version}");
        // The other conversation began anew: its one message is the issue.
        assert_eq!(thread.said(), 1, "{version}");
    }
}
