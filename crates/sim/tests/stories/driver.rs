//! The driver: tasks side by side, none of which holds up another, until all is settled.

use std::cell::Cell;

use afk_core::config::Policy;
use afk_core::plan::End;
use afk_core::request::{PersonRequest, Request};
use afk_core::run::Transition;
use afk_core::usd::Usd;
use afk_engine::driver::{Drive, Until};
use afk_engine::ports::{Switch, SwitchState};
use afk_sim::story::{Story, enroll, good_work, pulls, repo, seven, story_of};
use afk_sim::world::{Fault, Script, When, World, person};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

/// Drives the story while the world goes on, half a second at a time, until the
/// driver ends by itself or `stop` says so.
pub(crate) async fn drive(
    story: &Story,
    until: Until,
    stop: impl FnMut(&mut World) -> bool,
) -> bool {
    drive_and(story, until, stop, || ()).await
}

/// Drives like [`drive`], and calls `beside` each time after `stop` was asked.
async fn drive_and(
    story: &Story,
    until: Until,
    mut stop: impl FnMut(&mut World) -> bool,
    mut beside: impl FnMut(),
) -> bool {
    let shutdown = CancellationToken::new();
    let (engine, token) = (story.engine.clone(), shutdown.clone());
    let driving =
        tokio::spawn(async move { engine.drive(Drive { dispatch: true, until }, &token).await });
    for _ in 0..2_000 {
        // Everything that can go on does, before time passes.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        if driving.is_finished() {
            driving.await.unwrap().unwrap();
            return true;
        }
        if story.sim.with(&mut stop) {
            shutdown.cancel();
        }
        beside();
        story.sim.with(World::step);
        story.sim.advance(SignedDuration::from_millis(500));
    }
    panic!("the driver never ended\n{}", story.sim.with(|world| story_of(world)));
}

#[tokio::test]
async fn it_works_an_issue_to_its_end_and_stops_when_idle() {
    let story = Story::new().with_issue(vec![good_work()]);
    drive(&story, Until::Idle, |_| false).await;
    story.ended(End::Done);
    story.sim.with(|world| {
        assert_eq!(world.rung().len(), 1, "the bell is rung before it stops");
        assert!(!world.tracker.issues[&seven()].issue.open);
    });
}

#[tokio::test]
async fn a_port_that_fails_once_ends_no_driver() {
    for call in (0..160).step_by(7) {
        for when in [When::Before, When::After] {
            // A switch that cannot be read while the agent works stops the turn, and needs another
            // turn.
            let story = Story::new().with_issue(vec![good_work(), good_work()]);
            // A failure of the first calls is one of the start, which reports it and ends the
            // driver.
            let fault = Fault { call: call + 3, when, kills: false };
            story.sim.with(|world| world.fault = Some(fault));
            let over = |world: &mut World| {
                world.store.all().iter().any(|run| run.settled_at.is_some()) && world.all_rung()
            };
            drive(&story, Until::Shutdown, over).await;
            story.ended(End::Done);
            story.sim.with(|world| {
                assert_eq!(world.git.history(&repo("o/r")).len(), 2, "{fault:?}");
                assert_eq!(world.tracker.issues[&seven()].comments.len(), 1, "{fault:?}");
            });
        }
    }
}

/// Fault 14 of other bots: a thousand webhooks of one repo held up the news of another.
#[tokio::test]
async fn a_wake_up_is_followed_at_once_whatever_wakes_beside_it() {
    let story = Story::new().configure(|config| {
        config.poll_seconds = 3600;
        enroll(config, "o/loud");
    });
    let (mut filed_at, mut looks) = (None, 0);
    let wakes = Cell::new(false);
    let stop = |world: &mut World| {
        let listed = world.calls.iter().filter(|call| **call == "tracker.ready").count();
        if filed_at.is_none() && listed == 0 {
            // The first look, at both repos, must have found nothing.
            return false;
        }
        let since = *filed_at.get_or_insert_with(|| {
            looks = listed;
            world.file("o/r#7", "Do it.", &["ready-for-agent"], "ann");
            wakes.set(true);
            world.now
        });
        let waited = world.now.duration_since(since);
        assert!(waited <= SignedDuration::from_secs(1), "not dispatched after {waited}");
        !world.store.all().is_empty()
    };
    drive_and(&story, Until::Shutdown, stop, || {
        if wakes.take() {
            story.engine.wake(&repo("o/r"));
            (0..1000).for_each(|_| story.engine.wake(&repo("o/loud")));
            // A repo that is not enrolled is not read, whatever wakes for it come.
            story.engine.wake(&repo("o/stranger"));
        }
    })
    .await;
    let listed = story.count("tracker.ready") - looks;
    assert!(listed <= 4, "a flood was read {listed} times");
}

/// Right after a webhook a tracker may still show what was there before.
#[tokio::test]
async fn a_wake_up_is_read_again_because_the_first_answer_may_be_old() {
    let story = Story::new().configure(|config| config.poll_seconds = 3600);
    let (mut woken_at, mut filed) = (None, false);
    let wakes = Cell::new(false);
    let stop = |world: &mut World| {
        if woken_at.is_none() && !world.calls.contains(&"tracker.ready") {
            return false;
        }
        let since = *woken_at.get_or_insert_with(|| {
            wakes.set(true);
            world.now
        });
        let waited = world.now.duration_since(since);
        if waited >= SignedDuration::from_secs(2) && !filed {
            // The tracker shows only now what its webhook was about.
            world.file("o/r#7", "Do it.", &["ready-for-agent"], "ann");
            filed = true;
        }
        assert!(waited <= SignedDuration::from_secs(5), "not dispatched after {waited}");
        !world.store.all().is_empty()
    };
    drive_and(&story, Until::Shutdown, stop, || {
        if wakes.take() {
            story.engine.wake(&repo("o/r"));
        }
    })
    .await;
}

/// A waiting run looks by itself each half minute; a request does not wait for that.
#[tokio::test]
async fn a_request_reaches_a_run_that_waits_within_two_seconds() {
    let story = Story::new().with_issue(vec![Script::hangs()]);
    let mut asked_at = None;
    drive(&story, Until::Shutdown, |world| {
        // After its first look at the turn, the run rests.
        if !world.tracker.issues[&seven()].has("agent-in-progress") {
            return false;
        }
        let run = world.store.all()[0].clone();
        let since = *asked_at.get_or_insert_with(|| {
            let what = Request::Budget { usd: Usd::dollars(20) };
            let asked =
                PersonRequest { id: "a".to_owned(), by: person("ann"), at: world.now, what };
            world.add_request(run.id, &asked);
            world.now
        });
        let waited = world.now.duration_since(since);
        assert!(waited <= SignedDuration::from_secs(2), "not taken after {waited}");
        run.budget == Usd::dollars(20)
    })
    .await;
    assert!(asked_at.is_some());
    let asks = story.count("store.open_requests");
    assert!(asks > 0, "it was seen by the reading beside the switches");
}

#[tokio::test]
async fn a_halt_reaches_a_running_agent_within_seconds() {
    let story = Story::new().with_issue(vec![Script::hangs()]);
    let mut halted_at = None;
    drive(&story, Until::Shutdown, |world| {
        if world.agents.turns.is_empty() {
            return false;
        }
        let since = *halted_at.get_or_insert_with(|| {
            let state = SwitchState { by: "ann".to_owned(), at: world.now, why: "stop".to_owned() };
            world.throw(&Switch::Halt, Some(&state));
            world.now
        });
        let run = world.store.all()[0].id;
        let waited = world.now.duration_since(since);
        assert!(waited < SignedDuration::from_secs(10), "it is still alive");
        world.alive(run).is_empty()
    })
    .await;
    assert!(halted_at.is_some());
}

#[tokio::test]
async fn an_edit_of_the_configuration_does_not_wait_for_the_poll() {
    let story = Story::new().with_issue(vec![good_work()]).configure(|config| {
        config.kill_switch = true;
        config.poll_seconds = 3_600;
    });
    let began = story.sim.with(|world| world.now);
    drive(&story, Until::Shutdown, |world| {
        if world.now.duration_since(began) > SignedDuration::from_secs(30) {
            world.config.kill_switch = false;
        }
        assert!(world.now.duration_since(began) < SignedDuration::from_mins(10), "not dispatched");
        !world.store.all().is_empty()
    })
    .await;
}

/// Sets our clock back by two hours. The tracker's goes on.
fn set_back(world: &mut World) {
    let by = SignedDuration::from_hours(2);
    world.advance(-by);
    world.tracker.skew += by;
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_hold_up_the_poll() {
    // A repo that was read, one that failed, and one whose tracker limits its calls.
    for (mute, limited) in [(false, false), (true, false), (false, true)] {
        let story = Story::new().configure(|config| config.poll_seconds = 30);
        let began = story.sim.with(|world| world.passed);
        let mut back: Option<SignedDuration> = None;
        drive(&story, Until::Shutdown, |world| {
            let after = |since: SignedDuration| world.passed - since;
            match back {
                None if after(began) > SignedDuration::from_secs(70) => {
                    set_back(world);
                    world.mute_trackers([]);
                    world.tracker.limited.clear();
                    world.file("o/r#7", "Say two.", &["ready-for-agent"], "ann");
                    world.agents.scripts.insert(repo("o/r"), vec![good_work()].into());
                    back = Some(world.passed);
                }
                None if after(began) > SignedDuration::from_secs(20) => {
                    world.mute_trackers(mute.then(|| repo("o/r")));
                    if limited {
                        let until = world.now + SignedDuration::from_mins(50);
                        world.tracker.limited.entry(repo("o/r")).or_insert(until);
                    }
                }
                None => {}
                Some(back) => {
                    let waited = after(back);
                    assert!(
                        waited < SignedDuration::from_mins(1),
                        "not dispatched: {mute} {limited}"
                    );
                }
            }
            !world.store.all().is_empty()
        })
        .await;
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_hold_up_a_doorbell() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| world.break_doorbells(true));
    let mut back: Option<SignedDuration> = None;
    drive(&story, Until::Shutdown, |world| {
        if let Some(back) = back {
            let waited = world.passed - back;
            assert!(waited < SignedDuration::from_mins(1), "not rung");
            return !world.rung().is_empty();
        }
        if world.store.outbox.values().any(|send| send.attempts > 3) {
            set_back(world);
            world.break_doorbells(false);
            back = Some(world.passed);
        }
        false
    })
    .await;
}

#[tokio::test]
async fn the_next_issue_does_not_wait_for_the_poll_where_a_run_ends_or_steps_aside() {
    let lands: [fn(&mut Policy); 2] = [|_| (), pulls];
    for landing in lands {
        let story = Story::new().with_issue(vec![good_work(), good_work()]).configure(|config| {
            landing(config);
            config.poll_seconds = 3_600;
        });
        story.sim.with(|world| world.file("o/r#8", "Say it.", &["ready-for-agent"], "ann"));
        let began = story.sim.with(|world| world.now);
        drive(&story, Until::Shutdown, |world| {
            let waited = world.now.duration_since(began);
            assert!(waited < SignedDuration::from_mins(2), "the second is not dispatched");
            world.store.all().len() == 2
        })
        .await;
    }
}

/// Another repo, at a tracker of its own, with an issue that ann released.
fn with_second(story: Story) -> Story {
    let story = story.configure(|config| {
        enroll(config, "p/q");
        config.max_concurrent_runs = 3;
    });
    story.sim.with(|world| {
        world.somebody_lands(&repo("p/q"), &[("README.md", "hello"), ("src/lib", "one")]);
        world.file("p/q#1", "Say two.", &["ready-for-agent"], "ann");
        world.agents.scripts.insert(repo("p/q"), vec![good_work()].into());
    });
    story
}

/// Drives until the run of `p/q` is settled, which must happen within a minute of `begin`.
async fn second_is_done_within_a_minute(story: &Story) {
    let began = story.sim.with(|world| world.now);
    let done = |world: &mut World| {
        let waited = world.now.duration_since(began);
        assert!(waited < SignedDuration::from_mins(1), "not done after {waited}");
        let runs = world.store.all();
        runs.iter().any(|run| run.issue.repo == repo("p/q") && run.settled_at.is_some())
    };
    drive(story, Until::Shutdown, done).await;
}

#[tokio::test]
async fn a_tracker_that_hangs_holds_up_no_other() {
    let story = with_second(Story::new().with_issue(vec![good_work()]));
    story.sim.with(|world| world.tracker.hanging.insert(repo("o/r")));
    second_is_done_within_a_minute(&story).await;
}

/// Each look at such a server takes all its time, and two are made side by side.
#[tokio::test]
async fn a_repo_whose_remote_hangs_does_not_hold_up_those_on_the_same_git_server() {
    for slots in [1, 2] {
        let story = with_second(Story::new()).configure(|config| {
            config.max_concurrent_runs = slots;
            enroll(config, "o/n0");
        });
        let began = story.sim.with(|world| {
            world.somebody_lands(&repo("o/n0"), &[("src/lib", "one")]);
            world.file("o/n0#1", "Say two.", &["ready-for-agent", "P0"], "ann");
            world.git.hanging.insert(repo("o/n0"));
            for name in ["o/n0", "p/q"] {
                world.git.servers.insert(repo(name), "git.example".to_owned());
            }
            world.now
        });
        drive(&story, Until::Shutdown, |world| {
            let waited = world.now.duration_since(began);
            assert!(waited < SignedDuration::from_secs(100), "{slots}: not begun after {waited}");
            world.store.all().iter().any(|run| run.issue.repo == repo("p/q"))
        })
        .await;
    }
}

#[tokio::test]
async fn a_git_server_that_hangs_is_waited_for_once_and_holds_up_no_other() {
    let names: Vec<String> = (0..9).map(|n| format!("o/n{n}")).collect();
    let story = with_second(Story::new()).configure(|config| {
        config.max_concurrent_runs = 2;
        for name in &names {
            enroll(config, name);
        }
    });
    story.sim.with(|world| {
        for name in &names {
            world.somebody_lands(&repo(name), &[("src/lib", "one")]);
            world.file(&format!("{name}#1"), "Say two.", &["ready-for-agent", "P0"], "ann");
            world.git.hanging.insert(repo(name));
            world.git.servers.insert(repo(name), "git.example".to_owned());
        }
    });
    let began = story.sim.with(|world| world.now);
    drive(&story, Until::Shutdown, |world| {
        let waited = world.now.duration_since(began);
        assert!(waited < SignedDuration::from_secs(45), "not begun after {waited}");
        world.store.all().iter().any(|run| run.issue.repo == repo("p/q"))
    })
    .await;
    let admitted = story.sim.with(|world| world.store.all().len());
    assert_eq!(admitted, 1, "nothing begins where the remote is not known to be there");
    // Once it answers, its repos are worked on again.
    let began = story.sim.with(|world| {
        world.git.hanging.clear();
        world.now
    });
    drive(&story, Until::Shutdown, |world| {
        let waited = world.now.duration_since(began);
        assert!(waited < SignedDuration::from_mins(6), "not dispatched after {waited}");
        world.store.all().len() > 1
    })
    .await;
}

#[tokio::test]
async fn a_tracker_that_hangs_is_looked_at_again_when_it_answers() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| world.tracker.hanging.insert(repo("o/r")));
    let began = story.sim.with(|world| world.now);
    drive(&story, Until::Shutdown, |world| {
        let waited = world.now.duration_since(began);
        if waited >= SignedDuration::from_mins(5) {
            world.tracker.hanging.clear();
        }
        assert!(waited < SignedDuration::from_mins(12), "not dispatched");
        !world.store.all().is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_tracker_that_hangs_does_not_keep_the_most_urgent_of_the_others_from_being_first() {
    let story = with_second(Story::new().with_issue(vec![good_work()]));
    story.sim.with(|world| {
        world.config.max_concurrent_runs = 1;
        world.file("p/q#2", "Say more.", &["ready-for-agent", "priority:0"], "ann");
    });
    drive(&story, Until::Shutdown, |world| !world.store.all().is_empty()).await;
    let first = story.sim.with(|world| world.store.all()[0].issue.to_string());
    assert_eq!(first, "p/q#2", "one order for all trackers");
}

#[tokio::test]
async fn a_doorbell_that_hangs_holds_up_nothing() {
    let story = with_second(Story::new().with_issue(vec![Script::acts(Vec::new())]));
    story.sim.with(|world| {
        world.add_webhook();
        world.doorbells.hanging.insert("webhook".to_owned());
    });
    second_is_done_within_a_minute(&story).await;
    story.sim.with(|world| {
        let rang = world.doorbells.rung.iter().filter(|(name, _)| name == "terminal");
        assert_eq!(rang.count(), 2, "the other doorbell rings");
    });
}

#[tokio::test]
async fn housekeeping_that_hangs_holds_up_nothing() {
    for chore in ["jobs.sweep", "archive.prune", "store.forget_results", "git.tidy"] {
        let story = Story::new();
        story.sim.with(|world| world.hanging.insert(chore));
        let mut filed_at = None;
        drive(&story, Until::Shutdown, |world| {
            // This began a minute after the start.
            if !world.calls.contains(&"git.clean") {
                return false;
            }
            let filed = *filed_at.get_or_insert_with(|| {
                world.file("o/r#7", "Say two.", &["ready-for-agent"], "ann");
                world.agents.scripts.insert(repo("o/r"), vec![good_work()].into());
                world.now
            });
            let waited = world.now.duration_since(filed);
            assert!(waited < SignedDuration::from_mins(2), "{chore}: not done after {waited}");
            world.store.all().iter().any(|run| run.settled_at.is_some())
        })
        .await;
    }
}

#[tokio::test]
async fn while_everything_hangs_switches_requests_and_the_heartbeat_do_not() {
    let story = with_second(Story::new().with_issue(vec![Script::hangs()]));
    let (mut asked_at, mut halted_at) = (None, None);
    drive(&story, Until::Shutdown, |world| {
        if !world.tracker.issues[&seven()].has("agent-in-progress") {
            return false;
        }
        // The trackers of runs at work are left out: they are another matter.
        world.hanging.extend(["doorbells.ring", "git.clean", "jobs.sweep", "tracker.ready"]);
        world.tracker.hanging.insert(repo("p/q"));
        let note = world.store.beat.expect("noted");
        let silent = world.now.duration_since(note);
        assert!(silent <= SignedDuration::from_secs(31), "no heartbeat for {silent}");
        let run = world.store.all().into_iter().find(|run| run.issue == seven()).unwrap();
        let asked = *asked_at.get_or_insert_with(|| {
            let what = Request::Budget { usd: Usd::dollars(120) };
            let asked =
                PersonRequest { id: "a".to_owned(), by: person("ann"), at: world.now, what };
            world.add_request(run.id, &asked);
            world.now
        });
        if run.budget != Usd::dollars(120) {
            let waited = world.now.duration_since(asked);
            assert!(waited <= SignedDuration::from_secs(2), "not carried out after {waited}");
            return false;
        }
        if world.now.duration_since(asked) < SignedDuration::from_mins(15) {
            return false;
        }
        let halted = *halted_at.get_or_insert_with(|| {
            let (by, why) = ("ann".to_owned(), "stop".to_owned());
            let state = SwitchState { by, at: world.now, why };
            world.throw(&Switch::Halt, Some(&state));
            world.now
        });
        let waited = world.now.duration_since(halted);
        let told = world.calls.contains(&"executor.interrupt");
        assert!(told || waited <= SignedDuration::from_secs(2), "not told {waited} after the halt");
        told && world.alive(run.id).is_empty()
    })
    .await;
    assert!(halted_at.is_some());
}

#[tokio::test]
async fn a_note_that_hangs_takes_nothing_off_the_clocks_of_a_run_at_work() {
    let story = Story::new().with_issue(vec![Script::hangs()]);
    let mut hung_at = None;
    drive(&story, Until::Shutdown, |world| {
        if !world.tracker.issues[&seven()].has("agent-in-progress") {
            return false;
        }
        let since = *hung_at.get_or_insert(world.now);
        let hung = world.now.duration_since(since);
        world.hanging.clear();
        if hung < SignedDuration::from_mins(12) {
            world.hanging.insert("store.beat");
        }
        hung > SignedDuration::from_mins(14)
    })
    .await;
    assert_eq!(absences(&story), 0);
    let noted = story.sim.with(|world| world.now.duration_since(world.store.beat.unwrap()));
    assert!(noted < SignedDuration::from_mins(1), "it is noted again");
}

#[tokio::test]
async fn a_machine_that_slept_takes_the_night_off_the_clocks_of_its_runs() {
    let story = Story::new().with_issue(vec![Script::hangs()]);
    let mut slept_at = None;
    drive(&story, Until::Shutdown, |world| {
        if !world.tracker.issues[&seven()].has("agent-in-progress") {
            return false;
        }
        let since = *slept_at.get_or_insert_with(|| {
            world.advance(SignedDuration::from_hours(8));
            world.now
        });
        world.now.duration_since(since) > SignedDuration::from_mins(2)
    })
    .await;
    assert_eq!(absences(&story), 1);
}

#[tokio::test]
async fn what_a_clock_that_was_ahead_took_off_the_clocks_counts_once_it_is_set_back() {
    let story = Story::new().with_issue(vec![Script::hangs()]);
    let (mut is_ahead, mut back) = (false, None::<SignedDuration>);
    drive(&story, Until::Shutdown, |world| {
        if !is_ahead {
            if world.tracker.issues[&seven()].has("agent-in-progress") {
                world.advance(SignedDuration::from_hours(2));
                is_ahead = true;
            }
            return false;
        }
        let pauses = world.store.all()[0].pauses.clone();
        let Some(since) = back else {
            if !pauses.is_empty() {
                set_back(world);
                back = Some(world.passed);
            }
            return false;
        };
        let counts = pauses.iter().all(|pause| pause.to.is_none_or(|to| to <= world.now));
        let waited = world.passed - since;
        assert!(counts || waited < SignedDuration::from_mins(1), "paused for two hours");
        counts
    })
    .await;
    assert_eq!(absences(&story), 1);
}

/// How many absences the run of `o/r#7` has recorded.
fn absences(story: &Story) -> usize {
    let rows = story.sim.with(|world| world.store.transitions(world.store.all()[0].id));
    rows.iter().filter(|(_, row)| matches!(row, Transition::Away { .. })).count()
}
