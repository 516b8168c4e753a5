//! The loop where something goes wrong before a landing: agents, proofs, pushes.

use afk_core::doorbell::DoorbellKind;
use afk_core::ids::JobKey;
use afk_core::plan::{End, Refusal, TurnCause};
use afk_core::replay::{Differs, replay};
use afk_core::run::{AgentNeed, Conclusion, Transition, TurnEnd};
use afk_engine::ports::Switch;
use afk_sim::story::{
    Story, breaking_work, causes, enroll, fixing_work, good_work, repo, seven, start,
};
use afk_sim::world::{Act, Asks, Claimed, PushFate, Script, World};
use jiff::SignedDuration;

/// One file, committed alone.
fn commit(path: &'static str, text: &'static str) -> Script {
    Script::acts(vec![Act::Commit { message: "Work", files: vec![(path, Some(text))] }])
}

fn fails(message: &str) -> Script {
    Script::ends(Vec::new(), TurnEnd::Failed { message: message.to_owned() })
}

#[tokio::test]
async fn an_agent_that_gives_up_is_handed_to_a_person() {
    let story = Story::new().with_issue(Vec::new());
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    story.handed_over(DoorbellKind::NeedsHuman);
    assert!(story.why().contains("I give up"), "{}", story.why());
    story.sim.with(|world| {
        assert!(world.git.forensics.contains(&run.id), "its workspace is kept");
        assert_eq!(world.git.history(&repo("o/r")).len(), 1);
    });
}

#[tokio::test]
async fn a_breached_guardrail_lands_nothing_and_is_named() {
    let mut work = good_work();
    work.acts.push(Act::Commit {
        message: "Help CI",
        files: vec![(".github/workflows/ci.yml", Some("on:"))],
    });
    let story = Story::new().with_issue(vec![work]);
    story.settle().await;
    story.ended(End::NeedsHuman);
    story.handed_over(DoorbellKind::NeedsHuman);
    assert!(story.why().contains("guardrail"), "{}", story.why());
    assert_eq!(story.count("git.push"), 0);
}

#[tokio::test]
async fn refusals_are_corrected_until_three_are_spent() {
    let works = ["a", "b", "c", "d"].map(|text| commit("src/lib", text));
    let story = Story::new().with_issue(works.into());
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    assert_eq!(run.refusals(), 3, "strict: at the bound it is spent");
    let expected = [TurnCause::Opening, TurnCause::Refused, TurnCause::Refused];
    assert_eq!(causes(&run), expected);
    assert_eq!(story.count("git.push"), 0);
}

#[tokio::test]
async fn a_corrective_turn_without_a_new_commit_ends_the_run() {
    let story = Story::new().with_issue(vec![commit("src/lib", "untested")]);
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::Refused]);
}

#[tokio::test]
async fn a_base_that_fails_already_is_no_agents_to_mend() {
    let story = Story::new().with_issue(vec![good_work(), good_work()]);
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("tests/broken", "expect nowhere anything")]);
    });
    let run = story.settle().await;
    story.ended(End::Withdrawn);
    assert!(run.attempts.is_empty() && run.base_fails.is_some(), "no turn is paid for");
}

#[tokio::test]
async fn a_verify_that_cannot_be_run_is_no_agents_to_mend() {
    let story = Story::new().with_issue(vec![good_work(), good_work()]);
    story.sim.with(|world| world.jobs.absent.insert("verify".to_owned()));
    let run = story.settle().await;
    story.ended(End::Withdrawn);
    assert!(run.attempts.is_empty() && run.base_fails.is_some(), "no turn is paid for");
}

#[tokio::test]
async fn a_base_that_comes_to_hang_is_no_agents_to_mend() {
    let works = vec![good_work(), good_work()];
    let story = Story::new().with_issue(works).configure(|config| {
        for table in config.repos.values_mut() {
            table.verify_timeout_seconds = 5;
        }
    });
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("src/other", "theirs")]);
        world.jobs.hanging.insert("verify".to_owned());
    });
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    assert_eq!(causes(&run), [TurnCause::Opening], "no turn is paid for");
    let refused = run.attempts[0].refused.as_ref().unwrap();
    assert_eq!(refused.why, Refusal::Setup);
    assert!(refused.detail.contains("the base could not be judged"), "{}", refused.detail);
}

#[tokio::test]
async fn a_conflict_is_given_back_to_the_agent() {
    let merged = Script::acts(vec![
        Act::Follow,
        Act::Commit {
            message: "Say two, beside theirs",
            files: vec![("src/lib", Some("theirs two")), ("tests/two", Some("expect src/lib two"))],
        },
    ]);
    let story = Story::new().with_issue(vec![good_work(), merged]);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    story.sim.with(|world| world.somebody_lands(&repo("o/r"), &[("src/lib", "theirs")]));
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::Refused]);
    assert_eq!(run.attempts[0].refused.as_ref().map(|r| r.why), Some(Refusal::Conflict));
    story.sim.with(|world| {
        let turns = world.agents.turns_of(&repo("o/r"));
        assert!(turns[1].request.prompt.contains("src/lib"), "the paths are named");
    });
}

#[tokio::test]
async fn a_moved_default_branch_means_a_new_candidate_and_a_new_proof() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| {
        world.git.fates.push_back(PushFate::Overtaken(vec![("src/other", "theirs")]));
    });
    let run = story.settle().await;
    story.ended(End::Done);
    let candidates = &run.attempts[0].candidates;
    assert_eq!(candidates.len(), 2);
    assert!(candidates.iter().all(|one| one.proof.is_some() && one.guardrails.is_some()));
    assert!(candidates[0].landed_at.is_none() && candidates[1].landed_at.is_some());
    story.sim.with(|world| {
        let head = &world.git.remotes[&repo("o/r")];
        let files = world.git.files_of(head).unwrap();
        assert_eq!(files["src/other"], "theirs", "nobody's work is lost");
        assert_eq!(files["src/lib"], "one two");
    });
}

#[tokio::test]
async fn a_push_whose_answer_was_lost_is_found_or_made_again() {
    for fate in [PushFate::LandedUnknown, PushFate::LostUnknown] {
        let story = Story::new().with_issue(vec![good_work()]);
        story.sim.with(|world| world.git.fates.push_back(fate));
        story.settle().await;
        story.ended(End::Done);
        story.sim.with(|world| assert_eq!(world.git.history(&repo("o/r")).len(), 2));
    }
}

#[tokio::test]
async fn a_failed_turn_is_retried_after_a_backoff() {
    let story =
        Story::new().with_issue(vec![fails("overloaded"), fails("overloaded"), good_work()]);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::Retry, TurnCause::Retry]);
    let turns = &run.attempts[0].turns;
    let wait = |n: usize| {
        let ended = turns[n].ended.as_ref().unwrap().at;
        turns[n + 1].begun_at.duration_since(ended).as_secs()
    };
    assert!(wait(0) >= 10 && wait(1) >= 20, "{} {}", wait(0), wait(1));
}

#[tokio::test]
async fn retries_in_a_row_are_spent_after_three() {
    let story = Story::new().with_issue((0..9).map(|_| fails("overloaded")).collect());
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    assert_eq!(causes(&run).len(), 4, "one turn and three retries");
    assert!(story.why().contains("overloaded"), "{}", story.why());
}

#[tokio::test]
async fn what_no_retry_mends_is_handed_over_at_once() {
    let hopeless = TurnEnd::Hopeless { message: "not signed in: run claude login".to_owned() };
    let story = Story::new().with_issue(vec![Script::ends(Vec::new(), hopeless), good_work()]);
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    assert_eq!(causes(&run).len(), 1);
    assert!(story.why().contains("claude login"), "{}", story.why());
}

/// A turn whose agent cannot work.
fn cannot_work() -> Script {
    let message = "the model's API refused the credential (401): renew it".to_owned();
    Script::ends(Vec::new(), TurnEnd::Unavailable { what: AgentNeed::SignIn, message })
}

/// A story with `o/r#7`, whose agent cannot work so many times and then does, and `o/s#7`, which is
/// ready.
fn two_repos(times: usize, runs: u32) -> Story {
    let scripts = std::iter::repeat_with(cannot_work).take(times).chain([good_work()]);
    let story = Story::new().with_issue(scripts.collect()).configure(|config| {
        enroll(config, "o/s");
        config.max_concurrent_runs = runs;
        config.executor_retries_max = 0;
    });
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/s"), &[("src/lib", "one")]);
        world.file("o/s#7", "Say two.", &["ready-for-agent"], "ann");
        world.agents.scripts.insert(repo("o/s"), vec![good_work()].into());
    });
    story
}

fn held_bells(world: &World) -> usize {
    world.rung().iter().filter(|bell| bell.kind == DoorbellKind::Held).count()
}

#[tokio::test]
async fn an_agent_that_cannot_work_is_waited_for_and_holds_every_other_issue_back() {
    let story = two_repos(3, 1);
    story.until("it waits", |world| held_bells(world) == 1).await;
    // A second issue could be admitted, if it were not for the agent.
    let story = story.configure(|config| config.max_concurrent_runs = 2);
    story.rounds(20).await;
    let (run, now) = (story.run(), story.sim.with(|world| world.now));
    assert_eq!(run.issue, seven(), "nothing else was taken");
    let (what, _) = run.current_error(now).unwrap();
    assert!(what.contains("401"), "{what}");
    assert!(run.pauses.iter().any(|pause| pause.to.is_none()), "no clock goes on");
    story
        .until("both are done", |world| {
            world.rung().iter().filter(|bell| bell.kind == DoorbellKind::Done).count() == 2
        })
        .await;
    let first = story.sim.with(|world| {
        assert_eq!(held_bells(world), 1, "told once");
        world.store.all().into_iter().find(|run| run.issue == seven()).unwrap()
    });
    let back = TurnCause::AgentBack;
    assert_eq!(causes(&first), [TurnCause::Opening, back, back, back]);
    story.ended(End::Done);
}

#[tokio::test]
async fn two_runs_that_find_out_the_same_ring_once() {
    let story = two_repos(1, 2);
    story.sim.with(|world| {
        let scripts = vec![cannot_work(), good_work()];
        world.agents.scripts.insert(repo("o/s"), scripts.into());
    });
    story
        .until("both are done", |world| {
            world.rung().iter().filter(|bell| bell.kind == DoorbellKind::Done).count() == 2
        })
        .await;
    story.sim.with(|world| {
        assert_eq!(world.store.all().len(), 2);
        assert_eq!(held_bells(world), 1);
    });
}

#[tokio::test]
async fn an_agent_that_never_comes_back_takes_one_issue_with_it_after_half_a_day() {
    let story = two_repos(500, 1);
    story.until("it waits", |world| held_bells(world) == 1).await;
    let story = story.configure(|config| config.max_concurrent_runs = 2);
    let over = |world: &mut World| world.store.all().iter().any(|run| run.conclusion.is_some());
    let mut rounds = 0;
    while !story.sim.with(over) {
        story.sim.advance(SignedDuration::from_mins(9));
        story.rounds(3).await;
        rounds += 1;
        assert!(rounds < 200, "it waits for ever");
    }
    assert!(rounds > 60, "half a day is longer than {rounds} rounds");
    story.sim.with(|world| {
        let runs = world.store.all();
        let given_up = runs.iter().find(|run| run.issue == seven()).unwrap();
        let Conclusion { end, why, at } = given_up.conclusion.as_ref().unwrap();
        assert_eq!(*end, End::NeedsHuman);
        assert!(why.contains("401") && why.contains("waited for since"), "{why}");
        let others = runs.iter().filter(|run| run.id != given_up.id);
        assert!(others.into_iter().all(|run| run.admitted_at >= *at), "taken while it waited");
        assert_eq!(held_bells(world), 1);
    });
}

#[tokio::test]
async fn a_silent_turn_is_stopped_and_retried() {
    let story = Story::new().with_issue(vec![Script::hangs(), good_work()]);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    for _ in 0..5 {
        story.sim.advance(SignedDuration::from_mins(7));
        story.rounds(1).await;
    }
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::Retry]);
    let first = run.ends().next().unwrap();
    assert_eq!(first.how, TurnEnd::Stalled);
}

#[tokio::test]
async fn silence_while_a_tool_is_open_is_no_stall() {
    let tool = Script { tool_open: true, ..Script::hangs() };
    let story = Story::new().with_issue(vec![tool]);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    for _ in 0..12 {
        story.sim.advance(SignedDuration::from_mins(9));
        story.rounds(1).await;
    }
    assert_eq!(story.count("executor.interrupt"), 0);
}

#[tokio::test]
async fn a_machine_that_slept_has_not_stalled() {
    let story = Story::new().with_issue(vec![Script::hangs()]);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    story.rounds(2).await;
    story.sim.advance(SignedDuration::from_hours(9));
    story.rounds(2).await;
    assert_eq!(story.count("executor.interrupt"), 0);
    assert_eq!(story.run().pauses.len(), 1);
}

#[tokio::test]
async fn a_usage_limit_is_waited_out_and_no_clock_goes_on() {
    let resets_at = afk_sim::story::start().checked_add(SignedDuration::from_hours(20)).unwrap();
    let limited = TurnEnd::Limited { resets_at: Some(resets_at) };
    let story = Story::new().with_issue(vec![Script::ends(Vec::new(), limited), good_work()]);
    story.until("paused", |world| world.store.all().iter().any(|r| !r.pauses.is_empty())).await;
    for _ in 0..130 {
        story.sim.advance(SignedDuration::from_mins(9));
        story.rounds(1).await;
    }
    assert_eq!(causes(&story.run()), [TurnCause::Opening]);
    story.sim.advance(SignedDuration::from_mins(40));
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::LimitReset]);
    assert!(run.pauses.iter().all(|pause| pause.to.is_some()));
}

#[tokio::test]
async fn a_usage_limit_that_never_resets_is_asked_ever_less_often_and_then_handed_over() {
    let told = afk_sim::story::start().checked_sub(SignedDuration::from_hours(1)).unwrap();
    let limited = || Script::ends(Vec::new(), TurnEnd::Limited { resets_at: Some(told) });
    let story = Story::new().with_issue((0..40).map(|_| limited()).collect());
    let over = |world: &mut World| world.store.all().iter().any(|run| run.settled_at.is_some());
    for _ in 0..1_500 {
        if story.sim.with(over) {
            break;
        }
        story.rounds(1).await;
        story.sim.advance(SignedDuration::from_secs(9));
    }
    story.ended(End::NeedsHuman);
    assert!(story.why().contains("usage limit ended 12 consecutive turns"), "{}", story.why());
    let turns = story.sim.with(|world| world.agents.clone());
    let starts: Vec<_> = turns.turns_of(&repo("o/r")).iter().map(|turn| turn.started_at).collect();
    assert_eq!(starts.len(), 12);
    let apart = starts.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs());
    for (n, seconds) in apart.enumerate() {
        assert!(seconds >= (10 << n).min(3600), "{seconds} s after turn {}", n + 1);
    }
}

#[tokio::test]
async fn evidence_that_lacks_something_says_what() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.until("landed", |world| world.calls.contains(&"git.push")).await;
    story.sim.with(|world| {
        let id = world.store.all()[0].id;
        let kept = world.store.runs.get_mut(&id).unwrap();
        kept.run.release = None;
    });
    let run = story.settle().await;
    assert_eq!(run.conclusion.as_ref().map(|conclusion| conclusion.end), Some(End::NeedsHuman));
    assert!(story.why().contains("who released"), "{}", story.why());
    // The record was edited without the journal, and a replay shows it.
    let told = replay(&story.journal(run.id), &run).differences;
    assert!(told.iter().any(|one| one.what == Differs::Record), "{told:?}");
}

#[tokio::test]
async fn every_conclusion_is_in_the_journal_once() {
    let story = Story::new().with_issue(vec![breaking_work(), fixing_work()]);
    let run = story.settle().await;
    let rows = story.sim.with(|world| world.store.transitions(run.id));
    let count = |kind| rows.iter().filter(|(_, row): &&(_, Transition)| row.kind() == kind).count();
    assert_eq!((count("concluded"), count("settled"), count("landed")), (1, 1, 2));
}

#[tokio::test]
async fn a_question_is_answered_by_policy_and_the_turn_goes_on() {
    let asking = Script { asks: Some(Asks::Question("Which greeting?")), ..good_work() };
    let story = Story::new().with_issue(vec![asking]);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening], "one turn, asked and answered");
    assert!(story.count("executor.answer") >= 1);
    story.sim.with(|world| {
        let turns = world.agents.turns_of(&repo("o/r"));
        let answer = format!("{:?}", turns[0].answered);
        assert!(answer.contains("Nobody is there"), "{answer}");
    });
}

#[tokio::test]
async fn a_commit_in_the_runs_name_that_nobody_here_pushed_freezes_the_repo() {
    // Before there is a candidate, while it is judged, and while its push cannot be made.
    for at in ["executor.start", "git.keep", "git.push"] {
        let story = Story::new().with_issue(vec![good_work()]);
        story.sim.with(|world| world.broken.insert("git.push"));
        story.until("so far", |world| world.calls.contains(&at)).await;
        assert!(story.sim.with(|world| world.somebody_forges(&repo("o/r"))));
        story.sim.with(|world| world.broken.clear());
        let run = story.settle().await;
        story.ended(End::Frozen);
        story.handed_over(DoorbellKind::Frozen);
        assert!(run.landed().is_none());
        let why = story.why();
        story.sim.with(|world| {
            let forged = &world.git.remotes[&repo("o/r")];
            assert!(why.contains(forged.short()), "{why}");
            assert!(world.store.switches.freeze_of(&repo("o/r")).is_some());
        });
    }
}

#[tokio::test]
async fn whoever_pushes_in_a_runs_name_is_noticed_before_anything_lands_on_it() {
    for how in [Claimed::Run, Claimed::OtherAttempt, Claimed::Unknown] {
        // Before there is a candidate, while it is judged, and while its push cannot be made.
        for at in ["executor.start", "git.keep", "git.push"] {
            let story = Story::new().with_issue(vec![good_work()]);
            story.sim.with(|world| world.broken.insert("git.push"));
            story.until("so far", |world| world.calls.contains(&at)).await;
            assert!(story.sim.with(|world| world.somebody_claims(&repo("o/r"), how)));
            story.sim.with(|world| world.broken.clear());
            let run = story.settle().await;
            story.ended(End::Frozen);
            assert!(run.landed().is_none(), "{how:?} at {at}");
            let why = story.why();
            story.sim.with(|world| {
                let foreign = world.git.foreign.first().unwrap();
                assert!(why.contains(foreign.short()), "{why}");
                assert_eq!(world.git.remotes[&repo("o/r")], *foreign, "nothing on top of it");
            });
        }
    }
}

#[tokio::test]
async fn what_people_pick_of_a_landed_run_freezes_nothing() {
    // Between a landing and its fix-forward.
    let story = Story::new().with_issue(vec![breaking_work(), fixing_work()]);
    let begun = |world: &mut World| {
        let starts = world.calls.iter().filter(|call| **call == "executor.start");
        starts.count() == 2
    };
    story.until("the fix-forward", begun).await;
    assert!(story.sim.with(|world| world.somebody_claims(&repo("o/r"), Claimed::Picked)));
    story.settle().await;
    story.ended(End::Done);
}

#[tokio::test]
async fn a_turn_after_one_that_was_killed_finds_no_lock_of_gits() {
    let unlocks = async |first: TurnEnd| {
        let first = Script::ends(good_work().acts, first);
        let story = Story::new().with_issue(vec![first, good_work()]);
        story.settle().await;
        story.ended(End::Done);
        story.sim.with(|world| {
            let keys = world.jobs.started.iter().map(JobKey::as_str);
            keys.filter(|key| key.ends_with(".turn-2.unlock")).count()
        })
    };
    assert_eq!(unlocks(TurnEnd::Lost).await, 1);
    assert_eq!(unlocks(TurnEnd::Failed { message: "no".to_owned() }).await, 1);
    assert_eq!(unlocks(TurnEnd::Limited { resets_at: Some(start()) }).await, 0);
}

/// A run whose agent could not work when everything was stopped for the night.
#[tokio::test]
async fn after_a_night_in_which_nothing_could_be_tried_the_agent_is_tried_again() {
    for halted in [false, true] {
        let story = two_repos(1, 1);
        story.until("it waits", |world| held_bells(world) == 1).await;
        let story = if halted {
            story.switch(&Switch::Halt, true);
            for _ in 0..100 {
                story.sim.advance(SignedDuration::from_mins(9));
                story.rounds(1).await;
            }
            story.switch(&Switch::Halt, false);
            story
        } else {
            let story = story.restarted("second");
            story.sim.advance(SignedDuration::from_hours(13));
            story
        };
        story
            .until("it is done", |world| {
                world.rung().iter().any(|bell| bell.kind == DoorbellKind::Done)
            })
            .await;
        let first = story.sim.with(|world| world.store.all().remove(0));
        let ended = first.conclusion.map(|conclusion| conclusion.end);
        assert_eq!(ended, Some(End::Done), "{halted}");
    }
}

/// Clocks that stand still during a limit go on when it is over, whatever cannot be read then.
#[tokio::test]
async fn a_port_that_fails_during_a_usage_limit_does_not_hold_the_run_for_ever() {
    let limited =
        TurnEnd::Limited { resets_at: start().checked_add(SignedDuration::from_hours(1)).ok() };
    let story = Story::new().with_issue(vec![Script::ends(Vec::new(), limited)]);
    let stands = |world: &mut World| {
        let runs = world.store.all();
        runs.first().is_some_and(|run| run.standstill().is_some())
    };
    story.until("it waits", stands).await;
    story.sim.with(|world| world.broken.insert("jobs.alive"));
    let mut rounds = 0;
    while story.run().conclusion.is_none() {
        story.sim.advance(SignedDuration::from_mins(9));
        story.rounds(1).await;
        rounds += 1;
        assert!(rounds < 120, "it waits for ever");
    }
    assert!(rounds > 80, "the limit is nobody's time: {rounds}");
}
