//! What servers show that is not true, and what goes wrong with them: for each case a test of what
//! the adapter makes of it.

use std::path::PathBuf;

use afk_core::run::TurnSeen;
use afk_core::spend::Cost;
use afk_core::usd::Usd;
use afk_engine::ports::PortErrorKind;
use afk_fakes::t3::{Fault, Flavour};
use jiff::SignedDuration;
use serde_json::json;

use crate::support::{ALL, Home, ONE, key, repo, request, run, workspaces};

const DISPATCH: &str = "dispatch";

/// "Completed" may be about the turn before ours.
#[tokio::test]
async fn completed_just_after_a_dispatch_is_the_turn_before() {
    for flavour in ALL {
        let home = Home::new(flavour);
        home.start(1, "one").await.unwrap();
        home.until(1, "finished MOCK-REPLY: one anew").await;
        home.later(60_000);
        home.start(2, "SLEEP:30").await.unwrap();
        for _ in 0..20 {
            assert_eq!(home.told(2).await, "running", "{flavour:?}");
            home.later(50);
        }
    }
}

/// "Completed" with the error of the model's API as the agent's words is no success.
#[tokio::test]
async fn completed_with_an_error_as_its_words_is_no_success() {
    for flavour in ALL {
        for (text, expected) in [
            ("HTTP500 x", "lacks Model"),
            ("HTTP401 x", "lacks SignIn"),
            ("HTTP429 x", "lacks Model"),
            ("FAIL x", "failed API Error: 400 mock failure"),
        ] {
            let home = Home::new(flavour);
            home.start(1, text).await.unwrap();
            home.until(1, expected).await;
        }
    }
}

/// In a folder without git, the latest turn is never shown: an answer and stillness end our turn.
#[tokio::test]
async fn a_turn_without_git_ends_all_the_same() {
    for flavour in ALL {
        let home = Home::with(flavour, &json!({ "base": "/plain" }));
        home.fake.has_folder("/plain/o__r", false);
        home.start(1, "hello").await.unwrap();
        home.until(1, "finished MOCK-REPLY: hello anew").await;
        home.start(2, "again").await.unwrap();
        assert_eq!(home.told(2).await, "running");
        home.until(2, "finished MOCK-REPLY: again").await;
    }
}

/// An interrupted turn is shown as failed or completed: only our own record tells that we did it.
#[tokio::test]
async fn an_interrupt_is_ours_by_our_own_record() {
    let checks = [
        (Flavour::V27, "failed [ede_diagnostic]"),
        (Flavour::V33, "finished . . . ."),
        (Flavour::August, "finished . . . ."),
        // By the lost notes it was not us, and that counts as a failure.
        (Flavour::Two, "failed somebody interrupted"),
    ];
    for (flavour, shown) in checks {
        let home = Home::new(flavour);
        home.start(1, "SLEEP:600").await.unwrap();
        home.later(1000);
        home.executor.interrupt(&repo(), &key(1)).await.unwrap();
        home.later(30_000);
        assert_eq!(home.told(1).await, "interrupted", "{flavour:?}");
        let seen = home.forgetful().observe(&repo(), &key(1)).await.unwrap().seen;
        assert!(crate::support::word(&seen).starts_with(shown), "{flavour:?} {seen:?}");
    }
}

/// That an agent cannot be started is shown by an activity only.
#[tokio::test]
async fn an_unknown_agent_never_starts_and_says_why() {
    for flavour in ALL {
        let home = Home::with(flavour, &json!({ "provider": "nope" }));
        home.start(1, "hello").await.unwrap();
        home.until(1, "lacks Program").await;
        assert_eq!(home.alive().await, []);
    }
}

/// Fault 1: a server that was killed in mid-turn shows the dead turn as running, for good. Nobody
/// knows better, and no second turn is started.
#[tokio::test]
async fn a_killed_server_leaves_a_turn_that_nobody_knows_of() {
    for flavour in [Flavour::V27, Flavour::V33] {
        let home = Home::new(flavour);
        home.start(1, "SLEEP:600").await.unwrap();
        home.later(1000);
        assert_eq!(home.told(1).await, "running");
        home.fake.kill();
        home.later(25_000);
        assert_eq!(home.told(1).await, "error: Transient");
        assert!(home.executor.alive(&repo(), run()).await.is_err());
        assert_eq!(home.start(2, "again").await.unwrap_err().kind, PortErrorKind::Transient);
        home.fake.revive();
        home.later(25_000);
        assert_eq!(home.told(1).await, "running");
        home.later(24 * 3_600_000);
        assert_eq!(home.told(1).await, "running");
        assert_eq!(home.alive().await, [key(1)]);
        let error = home.start(2, "again").await.unwrap_err();
        assert!(error.chain().contains("no second turn"), "{}", error.chain());
        // The time of its last event does not move, so that the loop notices the silence.
        let afk_core::run::TurnSeen::Running { last_event_at, .. } = home.observe(1).await.seen
        else {
            panic!("not running")
        };
        assert!(home.sim.with(|world| world.now).duration_since(last_event_at).as_hours() >= 24);
        assert_eq!(home.fake.turns(), 1);
    }
}

/// Fault 2: an interrupt may have no effect. The second one stops the session, too.
#[tokio::test]
async fn an_interrupt_that_settles_nothing_is_insisted_on() {
    for flavour in ONE {
        let home = Home::new(flavour);
        home.fake.is_deaf();
        home.start(1, "SLEEP:600").await.unwrap();
        home.later(1000);
        home.executor.interrupt(&repo(), &key(1)).await.unwrap();
        home.later(25_000);
        assert_eq!(home.told(1).await, "running", "{flavour:?}");
        assert_eq!(home.alive().await, [key(1)]);
        home.fake.take_requests();
        home.executor.interrupt(&repo(), &key(1)).await.unwrap();
        assert!(home.fake.take_requests().contains(&"thread.session.stop".to_owned()));
        home.later(25_000);
        assert_eq!(home.told(1).await, "interrupted", "{flavour:?}");
    }
}

/// Fault 3: a turn may be accepted and never started.
#[tokio::test]
async fn what_is_accepted_and_never_started_is_over_after_two_minutes() {
    for flavour in ONE {
        let home = Home::new(flavour);
        home.fake.starts_nothing();
        home.start(1, "hello").await.unwrap();
        home.later(119_000);
        assert_eq!(home.told(1).await, "running");
        home.later(21_000);
        let told = home.told(1).await;
        assert!(told.starts_with("failed the turn was never started"), "{told}");
    }
}

/// Fault 4: a thread that cannot go on is replaced by a new one, once for each turn.
#[tokio::test]
async fn a_thread_that_cannot_start_is_left_for_a_new_one() {
    for flavour in ONE {
        let home = Home::with(flavour, &json!({ "provider": "nope" }));
        for n in 1..=3 {
            home.start(n, "hello").await.unwrap();
            home.until(n, "lacks Program").await;
        }
        // A process that has lost the notes finds all threads.
        let other = home.forgetful();
        assert_eq!(other.alive(&repo(), run()).await.unwrap(), []);
        // Each had the whole prompt, since its thread was new.
        assert_eq!(home.fake.turns(), 3);
        let made = home.fake.take_requests();
        assert_eq!(made.iter().filter(|one| *one == "thread.create").count(), 3);
    }
}

/// A thread that a person deleted is replaced by a new one, too.
#[tokio::test]
async fn a_thread_that_was_deleted_is_left_for_a_new_one() {
    for flavour in ALL {
        let home = Home::new(flavour);
        home.start(1, "hello").await.unwrap();
        home.until(1, "finished MOCK-REPLY: hello anew").await;
        let first = home.fake.open_threads();
        home.fake.delete(&first[0]);
        home.start(2, "again").await.unwrap();
        home.until(2, "finished MOCK-REPLY: again anew").await;
        assert_ne!(home.fake.open_threads(), first);
    }
}

/// Fault 5: while a turn hangs, the time of its last event does not move.
#[tokio::test]
async fn a_silent_turn_shows_its_silence() {
    for flavour in ALL {
        let home = Home::new(flavour);
        home.start(1, "SLEEP:100000").await.unwrap();
        home.later(3_600_000);
        let afk_core::run::TurnSeen::Running { last_event_at, tool_open, .. } =
            home.observe(1).await.seen
        else {
            panic!("not running")
        };
        assert!(!tool_open);
        assert!(home.sim.with(|world| world.now).duration_since(last_event_at).as_mins() >= 59);
    }
}

/// By whatever clock a server dates its events, their age is told by ours.
#[tokio::test]
async fn a_server_whose_clock_is_wrong_shows_the_same_silence() {
    for flavour in [Flavour::V33, Flavour::August, Flavour::Two] {
        for minutes in [40, -40] {
            let home = Home::new(flavour);
            let by = SignedDuration::from_mins(minutes);
            let executor = home.ahead(by);
            executor.start(&request(1, "SLEEP:100000")).await.unwrap();
            home.later(20 * 60_000);
            let seen = executor.observe(&repo(), &key(1)).await.unwrap().seen;
            let TurnSeen::Running { last_event_at, .. } = seen else { panic!("{seen:?}") };
            let now = home.sim.with(|world| world.now).checked_add(by).unwrap();
            let silent = now.duration_since(last_event_at).as_mins();
            assert!((18..=20).contains(&silent), "{flavour:?} {minutes}: {silent}");
        }
    }
}

/// Fault 6: a server answers 200 and forgets the message. The message is looked for, and sent under
/// another id once the server shows the sequence that it had answered with.
#[tokio::test]
async fn a_command_that_was_taken_and_forgotten_is_found_out() {
    for flavour in ALL {
        let home = Home::new(flavour);
        home.start(1, "hello").await.unwrap();
        home.until(1, "finished MOCK-REPLY: hello anew").await;
        home.fake.fails(DISPATCH, Fault::Forgets);
        home.start(2, "again").await.unwrap();
        home.later(25_000);
        assert_eq!(home.told(2).await, "absent", "{flavour:?}");
        home.start(2, "again").await.unwrap();
        home.until(2, "finished MOCK-REPLY: again").await;
        assert_eq!(home.fake.turns(), 2);
    }
}

/// Fault 7: snapshots of everything are not polled where threads can be read by themselves, and
/// seldom where they cannot.
#[tokio::test]
async fn snapshots_are_not_polled() {
    for (flavour, most) in
        [(Flavour::V27, 9), (Flavour::V33, 0), (Flavour::August, 0), (Flavour::Two, 0)]
    {
        let home = Home::new(flavour);
        home.start(1, "SLEEP:600").await.unwrap();
        for _ in 0..120 {
            assert_eq!(home.told(1).await, "running");
            home.later(1000);
        }
        let asked = home.fake.take_requests();
        let snapshots = asked.iter().filter(|one| one.ends_with("/snapshot")).count();
        assert!(snapshots <= most, "{flavour:?}: {snapshots}");
    }
}

/// After a read that failed, what was read before the newest command is not used again.
#[tokio::test]
async fn a_failed_read_does_not_bring_back_an_older_one() {
    for flavour in ALL {
        let home = Home::new(flavour);
        home.start(1, "hello").await.unwrap();
        home.until(1, "finished MOCK-REPLY: hello anew").await;
        home.start(2, "SLEEP:600").await.unwrap();
        home.fake.kill();
        home.executor.alive(&repo(), run()).await.unwrap_err();
        home.fake.revive();
        assert_eq!(home.alive().await, [key(2)], "{flavour:?}");
    }
}

/// A request that an interrupted turn left open is none of the next turn.
#[tokio::test]
async fn a_request_of_an_interrupted_turn_is_not_the_next_ones() {
    for flavour in ALL {
        let home = Home::with(flavour, &json!({ "permissions": "ask" }));
        home.start(1, "RUN:touch mark").await.unwrap();
        let asks = if flavour == Flavour::Two { "command" } else { "Bash" };
        home.until(1, &format!("asks {asks}: touch mark anew")).await;
        home.executor.interrupt(&repo(), &key(1)).await.unwrap();
        home.until(1, "interrupted").await;
        home.start(2, "SLEEP:600").await.unwrap();
        home.until(2, "running").await;
        home.later(5_000);
        assert_eq!(home.told(2).await, "running", "{flavour:?}");
    }
}

/// A command whose answer was lost is sent again with the same id.
#[tokio::test]
async fn a_lost_answer_makes_no_second_turn() {
    for flavour in ALL {
        for fault in
            [Fault::BreaksBefore, Fault::BreaksAfter, Fault::Answers(500), Fault::Answers(502)]
        {
            let home = Home::new(flavour);
            // One for each command: project, thread, turn. Protocol 2 makes projects elsewhere.
            let commands = if flavour == Flavour::Two { 2 } else { 3 };
            for _ in 0..commands {
                home.fake.fails(DISPATCH, fault);
            }
            let mut tries = 0;
            while home.start(1, "hello").await.is_err() {
                tries += 1;
                assert!(tries < 5, "{flavour:?} {fault:?}");
            }
            home.until(1, "finished MOCK-REPLY: hello anew").await;
            assert_eq!(home.fake.turns(), 1, "{flavour:?} {fault:?}");
            assert_eq!(home.fake.open_threads().len(), 1);
            assert_eq!(home.fake.faults_left(), 0);
        }
    }
}

/// A server that is starting never answers some requests: they time out, and are sent again.
#[tokio::test]
async fn silence_is_given_up() {
    for flavour in ALL {
        let mut home = Home::new(flavour);
        home.executor = home.impatient();
        home.fake.fails("environment", Fault::Silent);
        let error = home.start(1, "hello").await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Transient);
        assert!(error.chain().contains("did not answer in time"), "{}", error.chain());
        home.fake.fails(DISPATCH, Fault::Silent);
        home.start(1, "hello").await.unwrap();
        home.until(1, "finished MOCK-REPLY: hello anew").await;
        assert_eq!(home.fake.turns(), 1);
    }
}

/// A refused command stays refused: the next try has another id.
#[tokio::test]
async fn what_was_refused_is_sent_under_another_id() {
    for flavour in ONE {
        let home = Home::new(flavour);
        home.start(1, "hello").await.unwrap();
        home.until(1, "finished MOCK-REPLY: hello anew").await;
        home.fake.fails(DISPATCH, Fault::Answers(400));
        let error = home.start(2, "again").await.unwrap_err();
        assert!(error.chain().contains("not what this version of T3 Code takes"));
        home.start(2, "again").await.unwrap();
        home.until(2, "finished MOCK-REPLY: again").await;
        assert_eq!(home.fake.turns(), 2);
    }
}

/// The same where the server says why: on every version, the command's id is refused for good.
#[tokio::test]
async fn a_refused_id_is_not_asked_again() {
    for flavour in ALL {
        let home = Home::new(flavour);
        home.start(1, "hello").await.unwrap();
        home.until(1, "finished MOCK-REPLY: hello anew").await;
        home.fake.fails(DISPATCH, Fault::Refuses);
        home.start(2, "again").await.unwrap_err();
        home.start(2, "again").await.unwrap();
        home.until(2, "finished MOCK-REPLY: again").await;
        assert_eq!(home.fake.turns(), 2);
    }
}

/// What a killed server lost is shown as failed by later builds, and as cancelled by protocol 2,
/// while its agents may go on working: it is unknown for a while, and no second turn is started.
#[tokio::test]
async fn what_a_killed_server_calls_over_is_unknown_for_a_while() {
    for flavour in [Flavour::August, Flavour::Two] {
        what_is_called_over_is_unknown(flavour).await;
    }
}

async fn what_is_called_over_is_unknown(flavour: Flavour) {
    let home = Home::new(flavour);
    home.start(1, "SLEEP:600").await.unwrap();
    home.later(1000);
    assert_eq!(home.told(1).await, "running");
    home.fake.kill();
    assert_eq!(home.told(1).await, "error: Transient");
    home.fake.revive();
    home.later(10_000);
    assert_eq!(home.told(1).await, "unknown");
    assert_eq!(home.alive().await, [key(1)]);
    assert_eq!(home.start(2, "again").await.unwrap_err().kind, PortErrorKind::Transient);
    home.later(15 * 60_000);
    assert_eq!(home.told(1).await, "lost");
    assert_eq!(home.alive().await, []);
    home.start(2, "again").await.unwrap();
    home.until(2, "finished MOCK-REPLY: again").await;
    assert_eq!(home.fake.turns(), 2);
}

/// Servers take a text that is too long with 200, and then it fails or nothing happens: so it is
/// not sent.
#[tokio::test]
async fn a_text_that_is_too_long_is_not_sent() {
    for flavour in ALL {
        let home = Home::new(flavour);
        let error = home.start(1, &"y".repeat(120_001)).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Permanent, "{flavour:?}");
        assert!(error.chain().contains("longer than the 120000 characters"), "{}", error.chain());
        assert_eq!(home.fake.turns(), 0);
    }
}

/// Early builds of protocol 2 have the version of other builds and name no protocol: they are
/// recognised by the addresses that they know.
#[tokio::test]
async fn a_protocol_that_is_not_named_is_found_out() {
    for flavour in ALL {
        let home = Home::new(flavour);
        home.fake.names_no_protocol();
        home.start(1, "hello").await.unwrap();
        home.until(1, "finished MOCK-REPLY: hello anew").await;
        let asked = home.fake.take_requests();
        let sockets = asked.iter().filter(|one| *one == "GET /ws").count();
        assert_eq!(sockets > 0, flavour == Flavour::Two, "{flavour:?} {asked:?}");
    }
}

/// To make a thread with an id in use would overwrite the thread: it is looked for first.
#[tokio::test]
async fn protocol_2_is_not_given_a_used_thread() {
    let home = Home::new(Flavour::Two);
    home.start(1, "SLEEP:5").await.unwrap();
    home.forgetful().start(&request(1, "SLEEP:5")).await.unwrap();
    let asked = home.fake.take_requests();
    assert_eq!(asked.iter().filter(|one| *one == "thread.create").count(), 1, "{asked:?}");
    assert_eq!(home.fake.turns(), 1);
}

/// Where tokens are not counted, a turn costs the configured amount, or else its whole reserved
/// budget. A turn that the model's API refused costs nothing.
#[tokio::test]
async fn a_turn_is_charged_also_where_nothing_is_counted() {
    let charged = async |home: &Home, n: u32| match home.observe(n).await.seen {
        TurnSeen::Ended { facts, .. } => facts.cost.map(|cost| match cost.entry.cost {
            Cost::Estimated { amount } => amount,
            other @ Cost::Reported { .. } => panic!("{other:?}"),
        }),
        other => panic!("{other:?}"),
    };
    for flavour in ALL {
        let home = Home::new(flavour);
        home.start(1, "hello").await.unwrap();
        home.until(1, "finished MOCK-REPLY: hello anew").await;
        let amount = charged(&home, 1).await.unwrap();
        let one = Usd::dollars(1);
        assert!(if flavour == Flavour::Two { amount == one } else { amount < one }, "{amount}");
        assert!(amount > Usd::ZERO, "{flavour:?}");
        home.start(2, "HTTP429 x").await.unwrap();
        home.until(2, "lacks Model").await;
        assert_eq!(charged(&home, 2).await, None, "{flavour:?}");
    }
    let home = Home::with(Flavour::Two, &json!({ "turn_usd": null }));
    let error = home.executor.ready(&repo()).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotFound);
    assert!(error.chain().contains("set turn_usd"), "{}", error.chain());
    // A turn may have been begun all the same, when the server spoke another protocol.
    home.start(1, "hello").await.unwrap();
    home.until(1, "finished MOCK-REPLY: hello anew").await;
    assert_eq!(charged(&home, 1).await, Some(Usd::dollars(5)));
}

/// A server took a turn and was killed before it answered: the turn's agent may be an orphan,
/// whatever the server says when it is back.
#[tokio::test]
async fn a_turn_whose_server_died_before_it_answered_may_have_an_orphan() {
    for flavour in [Flavour::V27, Flavour::V33] {
        let home = Home::new(flavour);
        home.start(1, "hello").await.unwrap();
        home.until(1, "finished MOCK-REPLY: hello anew").await;
        for _ in 0..3 {
            home.fake.fails(DISPATCH, Fault::BreaksAfter);
        }
        home.start(2, "SLEEP:600").await.unwrap_err();
        home.later(1000);
        home.fake.kill();
        home.fake.revive();
        // The turn is found, and not sent again.
        home.start(2, "SLEEP:600").await.unwrap();
        home.later(1000);
        for _ in 0..3 {
            home.executor.interrupt(&repo(), &key(2)).await.unwrap();
            home.later(25_000);
        }
        assert_eq!(home.told(2).await, "unknown", "{flavour:?}");
        assert_eq!(home.alive().await, [key(2)], "{flavour:?}");
        home.later(15 * 60_000);
        assert_eq!(home.told(2).await, "interrupted", "{flavour:?}");
        assert_eq!(home.fake.turns(), 2);
    }
}

/// That a server was killed and restarted between two reads is not noticed. What its orphan does in
/// one of our workspaces is.
#[tokio::test]
async fn what_goes_on_in_our_workspace_after_an_interrupt_is_alive() {
    let _alone = OUR_WORKSPACE.lock().await;
    for flavour in [Flavour::V27, Flavour::V33] {
        let (home, folder) = in_our_workspace(flavour);
        home.start(1, "SLEEP:600").await.unwrap();
        home.later(1000);
        assert_eq!(home.told(1).await, "running");
        home.fake.kill();
        home.fake.revive();
        for _ in 0..3 {
            home.executor.interrupt(&repo(), &key(1)).await.unwrap();
            home.later(25_000);
        }
        for n in 0..3 {
            std::fs::write(folder.join("work"), "x".repeat(n + 1)).unwrap();
            assert_eq!(home.told(1).await, "unknown", "{flavour:?}");
            assert_eq!(home.alive().await, [key(1)], "{flavour:?}");
            home.later(25_000);
        }
        assert_eq!(home.told(1).await, "interrupted", "{flavour:?}");
        assert_eq!(home.alive().await, [], "{flavour:?}");
        // From now on we may change the workspace ourselves.
        std::fs::write(folder.join("work"), "reset").unwrap();
        assert_eq!(home.alive().await, [], "{flavour:?}");
        std::fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    }
}

/// The next process finds out that a workspace is still: each look of `afk tick` is another
/// process's. A turn that has ended is not told to stop again in the meantime.
#[tokio::test]
async fn a_workspace_is_seen_to_be_still_from_one_process_to_the_next() {
    let _alone = OUR_WORKSPACE.lock().await;
    for flavour in ALL {
        let (home, folder) = in_our_workspace(flavour);
        home.start(1, "SLEEP:600").await.unwrap();
        home.later(1000);
        home.executor.interrupt(&repo(), &key(1)).await.unwrap();
        let told = async || {
            let report = home.restarted().observe(&repo(), &key(1)).await.unwrap();
            crate::support::word(&report.seen)
        };
        let alive = async || home.restarted().alive(&repo(), run()).await.unwrap();
        for n in 1..=3 {
            home.later(60_000);
            std::fs::write(folder.join("work"), "x".repeat(n)).unwrap();
            assert_eq!(told().await, "unknown", "{flavour:?}");
            assert_eq!(alive().await, [key(1)], "{flavour:?}");
            home.fake.take_requests();
            home.restarted().stop(&repo(), run()).await.unwrap();
            let asked = home.fake.take_requests();
            let ends = |one: &&String| one.contains("interrupt") || one.contains("session.stop");
            assert_eq!(asked.iter().find(ends), None, "{flavour:?}");
        }
        home.later(60_000);
        assert_eq!(told().await, "interrupted", "{flavour:?}");
        assert_eq!(alive().await, [], "{flavour:?}");
        std::fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    }
}

/// Held by a test that uses the folder of our workspace, of which there is one.
static OUR_WORKSPACE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A server whose agents work in our workspace, and the folder of that.
fn in_our_workspace(flavour: Flavour) -> (Home, PathBuf) {
    let home = Home::with(flavour, &json!({ "lands": "control-plane" }));
    let folder = workspaces().join(run().to_string()).join("clone");
    std::fs::create_dir_all(&folder).unwrap();
    home.fake.has_folder(&folder.to_string_lossy(), true);
    (home, folder)
}
