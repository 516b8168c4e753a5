//! Killed hosts, killed control planes, halts: the conversation goes on, in one agent,
//! and nothing is said to it twice.

use afk_stand_ins::model_api::{Reply, Script};
use rustix::process::Signal;

use crate::common::{BOUND, Control, FIXED, Found, ISSUE, Plan, until};
use crate::held::{
    BEFORE, HELD_VERIFY, HOLD, Thread, VERSIONS, WRONG, attached, mend, place, story, work,
};

/// Kills the control plane and starts it again, twice; the thread's process must stay
/// the same.
fn kill_and_attach(thread: &Thread, mut control: Control, job: &Found) -> Control {
    for n in 1..=2 {
        control.kill();
        assert!(job.host.is_alive(), "kill {n} took the host along");
        assert!(job.root.unwrap().is_alive(), "kill {n} took the agent along");
        control = attached(&thread.world);
        let threads = thread.world.jobs().into_iter().filter(|one| one.name.starts_with("thread"));
        assert_eq!(threads.collect::<Vec<_>>(), std::slice::from_ref(job), "after kill {n}");
    }
    control
}

#[test]
fn a_killed_control_plane_finds_the_same_agent_in_a_turn_and_between_two() {
    for (version, price) in VERSIONS {
        let held = Reply::bash(HOLD);
        let script = Script::turns([
            vec![held, work(WRONG), Reply::text("Done.")],
            vec![mend(), Reply::text("Mended.")],
        ]);
        let verify = HELD_VERIFY.to_owned();
        let config = "executor_retries_max = 0".to_owned();
        let plan = Plan { verify, config, ..Plan::default() };
        let test = "a_killed_control_plane_finds_the_same_agent";
        let Some(thread) = Thread::with_key(test, version, script, plan) else { continue };
        let mut control = attached(&thread.world);
        thread.held(&mut control);
        let job = thread.world.job("thread");
        let control = kill_and_attach(&thread, control, &job);
        thread.let_go();
        // Between the two turns, while the work of the first is judged.
        thread.world.job("verify");
        let control = kill_and_attach(&thread, control, &job);
        thread.world.open("verify");
        control.done();
        thread.world.assert_done_once();
        let turns = thread.turns();
        assert_eq!(story(&turns), [("opening", "finished"), ("refused", "finished")]);
        assert_eq!((place(&turns[0]), place(&turns[1])), ((1, 1), (1, 2)), "{version}");
        // Three calls and two, and each message once.
        assert_eq!((thread.calls().len(), thread.said()), (5, 2), "{version}");
        assert_eq!(thread.charged(), 5 * price, "{version}");
        println!("{version}: 2 kills in a turn and 2 between: 1 agent, 5 calls, 2 messages");
    }
}

#[test]
fn a_killed_host_is_one_retry_of_the_same_conversation_when_all_of_it_is_gone() {
    for (version, price) in VERSIONS {
        // The first turn never ends by itself; the second looks whether the first still works.
        let beat = "touch ~/there; while :; do date +%s%N > ~/beat; sleep 0.02; done";
        let look = "a=$(cat ~/beat); sleep 0.5; b=$(cat ~/beat); test \"$a\" = \"$b\" && echo gone \
                    > alone.txt && git add alone.txt && git commit -q -m 'Tell that it works alone' \
                    -m 'The test reads it.'";
        let script = Script::turns([
            vec![Reply::bash(BEFORE), Reply::bash(beat)],
            vec![work(FIXED), Reply::bash(look), Reply::text("Done.")],
        ]);
        let config = "executor_retries_max = 1".to_owned();
        let plan = Plan { config, ..Plan::default() };
        let test = "a_killed_host_is_one_retry";
        let Some(thread) = Thread::with_key(test, version, script, plan) else { continue };
        let mut control = attached(&thread.world);
        thread.held(&mut control);
        thread.remembered();
        let job = thread.world.job("thread");
        job.host.signal(Signal::KILL);
        until("the end of the box", BOUND, || (!job.root.unwrap().is_alive()).then_some(()));
        control.done();
        thread.world.assert_done_once();
        assert_eq!(thread.world.landed_file("alone.txt"), "gone\n");
        let turns = thread.turns();
        assert_eq!(story(&turns), [("opening", "lost"), ("retry", "finished")], "{turns:#?}");
        assert_eq!(place(&turns[1]), (2, 1), "{turns:#?}");
        let last = thread.calls().pop().unwrap().to_string();
        assert!(last.contains(BEFORE), "{version}: the first turn is remembered");
        assert_eq!(thread.said(), 2, "{version}: {last}");
        // The lost turn reported no cost, so it is estimated, and never too low.
        let (charged, real) = (thread.charged(), thread.calls().len() as u64 * price);
        assert!(charged >= real, "{version}: {charged} of {real}");
        println!(
            "{version}: 1 host killed: 1 retry in a new process, same conversation; charged \
             {charged} for {real}"
        );
    }
}

#[test]
fn a_conversation_that_is_gone_is_opened_anew_with_rules_and_issue() {
    for (version, _) in VERSIONS {
        let script = Script::turns([
            vec![work(WRONG), Reply::text("Done.")],
            vec![mend(), Reply::text("Mended.")],
        ]);
        let (verify, config) = (HELD_VERIFY.to_owned(), "executor_retries_max = 1".to_owned());
        let plan = Plan { verify, config, ..Plan::default() };
        let test = "a_conversation_that_is_gone";
        let Some(thread) = Thread::with_key(test, version, script, plan) else { continue };
        let control = attached(&thread.world);
        let job = thread.world.job("thread");
        thread.world.job("verify");
        job.host.signal(Signal::KILL);
        until("its end", BOUND, || (!job.root.unwrap().is_alive()).then_some(()));
        thread.forget();
        thread.world.open("verify");
        control.done();
        thread.world.assert_done_once();
        // A process that can still report the missing conversation ends a turn with that.
        let turns = thread.turns();
        match story(&turns).as_slice() {
            [("opening", "finished"), ("refused", "finished")]
            | [("opening", "finished"), ("refused", "failed"), ("retry", "finished")] => {}
            other => panic!("{version}: {other:?}"),
        }
        let last = thread.calls().pop().unwrap().to_string();
        assert_eq!(thread.said(), 1, "{version}: {last}");
        for told in ["# The issue", "It prints `Hello, !`.", "the verify command"] {
            assert!(last.contains(told), "{version}: {told}: {last}");
        }
    }
}

#[test]
fn a_halt_in_a_turn_and_a_resume_go_on_with_the_same_conversation() {
    for (version, price) in VERSIONS {
        let script = Script::turns([
            vec![Reply::bash(BEFORE), Reply::bash(HOLD), Reply::text("Never said.")],
            vec![work(FIXED), Reply::text("Done.")],
        ]);
        let config = "executor_retries_max = 0".to_owned();
        let plan = Plan { config, ..Plan::default() };
        let test = "a_halt_and_a_resume";
        let Some(thread) = Thread::with_key(test, version, script, plan) else { continue };
        let mut control = attached(&thread.world);
        thread.held(&mut control);
        thread.remembered();
        thread.world.ok(&["halt", "--why", "a test"]);
        until("that nothing runs", BOUND, || {
            thread.world.processes(&[control.id()]).is_empty().then_some(())
        });
        let calls = thread.calls().len();
        thread.world.ok(&["resume"]);
        control.done();
        thread.world.assert_done_once();
        let turns = thread.turns();
        assert_eq!(story(&turns), [("opening", "interrupted"), ("interrupted", "finished")]);
        let last = thread.calls().pop().unwrap().to_string();
        assert!(last.contains(BEFORE), "{version}: the first turn is remembered");
        assert_eq!((calls, thread.calls().len()), (2, 4), "{version}");
        // The halted turn has little time to report its cost. If that is too little, it is
        // estimated, which is told, and never too low.
        let (charged, spent) = (thread.charged(), 4 * price);
        let evidence = thread.world.json(&["evidence", ISSUE]);
        let estimated = evidence["effort"]["estimated"] == true;
        println!("{version}: halted and resumed, charged {charged}, spent {spent}");
        let right = charged == spent || (estimated && charged > spent);
        assert!(right, "{version}: {charged} of {spent}, {estimated}: {:#}", turns[0]);
    }
}
