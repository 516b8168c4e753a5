//! The loop where agents work on another machine, in a checkout of their own, and push by
//! themselves: what they landed is found by the run's trailer, then followed, guarded and proved.

use afk_core::config::Hooks;
use afk_core::doorbell::DoorbellKind;
use afk_core::ids::{JobOf, Oid};
use afk_core::plan::{End, TurnCause};
use afk_core::request::Request;
use afk_core::run::{Run, TurnEnd};
use afk_engine::ports::{JobKind, Switch};
use afk_sim::story::{
    Story, ask, breaking_work, causes, far, fixing_work, good_work, repo, seven, tested,
};
use afk_sim::world::{Act, Script, TurnState, World};
use jiff::SignedDuration;

/// Calls about clones of ours, and calls that only a control plane makes which lands.
const OURS: [&str; 5] =
    ["git.prepare", "git.fetch_head", "git.keep_head", "git.landed", "git.push"];

/// A story whose agents are on another machine.
fn told(scripts: Vec<Script>) -> Story {
    let story = Story::new().with_issue(scripts);
    story.sim.with(far);
    story
}

/// Good work that ends only when the agent is told to stop.
fn unhurried() -> Script {
    Script { end: None, ..good_work() }
}

/// A story whose agent is at work.
async fn at_work(scripts: Vec<Script>) -> Story {
    let story = told(scripts);
    story.marked().await;
    story
}

fn base(run: &Run) -> Option<&Oid> {
    run.start.as_ref().map(|start| &start.base)
}

/// How many proofs were begun.
fn judged(story: &Story) -> usize {
    let judges = |world: &mut World| {
        let jobs = world.jobs.jobs.values();
        jobs.filter(|job| matches!(job.job.kind, JobKind::Judge { .. })).count()
    };
    story.sim.with(judges)
}

/// Asserts that the default branch ends in what the run landed, and that no call of [`OURS`] was
/// made.
fn landed_by_its_agent(story: &Story, run: &Run) {
    story.sim.with(|world| {
        assert_eq!(run.landed().unwrap().commit, world.git.remotes[&repo("o/r")]);
        for call in OURS {
            assert!(!world.calls.contains(&call), "{call}");
        }
        let of_clone = |kind: &JobKind| {
            matches!(kind, JobKind::Status | JobKind::Reset { .. } | JobKind::Hook)
        };
        assert!(!world.jobs.jobs.values().any(|job| of_clone(&job.job.kind)));
    });
}

#[tokio::test]
async fn what_the_agent_lands_is_found_followed_and_proved_afterwards() {
    let hook = || Some(vec!["hook".to_owned()]);
    let story = told(vec![good_work()]).configure(|config| {
        config.repos.get_mut(&repo("o/r")).unwrap().hooks = Hooks {
            after_create: hook(),
            before_run: hook(),
            after_run: hook(),
            before_remove: hook(),
        };
    });
    let run = story.settle().await;
    story.ended(End::Done);
    landed_by_its_agent(&story, &run);
    // The first job looks at the base.
    let second = story.sim.with(|world| world.jobs.started[1].of());
    assert_eq!(second, Some(JobOf::Stage), "nothing is proved before it is green");
    let landed = run.landed().unwrap();
    assert!(landed.proof.as_ref().unwrap().accepted());
    assert!(landed.guardrails.as_ref().unwrap().passed());
    assert_eq!(Some(&landed.base), base(&run), "both commits are one change");
    story.sim.with(|world| {
        let turn = world.agents.turns_of(&repo("o/r"))[0];
        let prompt = &turn.request.prompt;
        assert!(prompt.contains("You land the work yourself"), "{prompt}");
        assert!(prompt.contains(&run.id.to_string()), "{prompt}");
    });
}

#[tokio::test]
async fn what_others_landed_meanwhile_is_not_judged_with_it() {
    let story = at_work(vec![unhurried()]).await;
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("tests/theirs", "expect src/theirs never")]);
        for turn in world.agents.turns.values_mut() {
            turn.script.end = good_work().end;
        }
    });
    let run = story.settle().await;
    landed_by_its_agent(&story, &run);
    let landed = run.landed().unwrap();
    assert_ne!(Some(&landed.base), base(&run));
    // The base's test fails with and without the change.
    story.ended(End::NeedsHuman);
    assert!(!landed.proof.as_ref().unwrap().accepted());
    assert!(landed.guardrails.as_ref().unwrap().stats.files == 2, "{landed:?}");
}

#[tokio::test]
async fn a_turn_that_failed_after_its_push_is_taken_up_again_and_nothing_lands_twice() {
    let failed = TurnEnd::Failed { message: "the connection was lost".to_owned() };
    let story = told(vec![Script { end: Some(failed), ..good_work() }, Script::acts(Vec::new())]);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::Retry]);
    landed_by_its_agent(&story, &run);
    assert_eq!(run.candidates().count(), 1);
}

#[tokio::test]
async fn commits_that_do_not_name_the_run_are_nobodys_and_it_is_handed_over() {
    let story = told(vec![Script { unmarked: true, ..good_work() }]);
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    story.handed_over(DoorbellKind::NeedsHuman);
    let why = story.why();
    assert!(why.contains(&format!("no commit on main carries the trailer AFK-Run: {}", run.id)));
    assert_eq!(judged(&story), 1, "the base alone");
}

#[tokio::test]
async fn what_the_proof_refuses_after_it_landed_is_handed_over() {
    let untested = Act::Commit { message: "Say two", files: vec![("src/lib", Some("one two"))] };
    let story = told(vec![Script::acts(vec![untested])]);
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    assert!(story.why().contains("landed and is green, but"), "{}", story.why());
    assert!(!run.landed().unwrap().proof.as_ref().unwrap().accepted());
}

#[tokio::test]
async fn what_breaches_a_guardrail_after_it_landed_is_handed_over_without_a_proof() {
    let mut script = good_work();
    script.acts.push(Act::Commit {
        message: "Skip it [skip ci]",
        files: vec![("src/note", Some("fine"))],
    });
    let story = told(vec![script]);
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    let why = story.why();
    assert!(why.contains("a guardrail is breached:\n- the message of"), "{why}");
    // The comment on the issue names it, too.
    story.sim.with(|world| {
        let said = &world.tracker.issues[&seven()].comments[0].body;
        assert_eq!(said.matches("makes CI skip it: \"[skip ci]\"").count(), 1, "{said}");
        assert!(said.contains("It is still on the default branch."), "{said}");
    });
    let judgement = run.landed().unwrap().guardrails.clone().unwrap();
    assert_eq!(judgement.breaches.len(), 1, "told once, as of the commit: {judgement}");
    assert_eq!(judged(&story), 1, "the base alone");
}

#[tokio::test]
async fn a_red_landing_is_mended_by_the_agent_and_the_whole_is_proved() {
    let story = told(vec![breaking_work(), fixing_work()]);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::FixForward]);
    landed_by_its_agent(&story, &run);
    let landed = run.landed().unwrap();
    assert_eq!(Some(&landed.base), base(&run), "the fix is proved with what it mends");
    assert!(landed.proof.as_ref().unwrap().accepted());
    assert!(run.candidates().next().unwrap().1.proof.is_none(), "what was red was not");
}

#[tokio::test]
async fn a_red_landing_that_nobody_mends_freezes_the_repo() {
    let story = told(vec![breaking_work()]).configure(|config| config.fix_forward_max_attempts = 0);
    let run = story.settle().await;
    story.ended(End::Frozen);
    story.handed_over(DoorbellKind::Frozen);
    landed_by_its_agent(&story, &run);
}

#[tokio::test]
async fn words_after_the_landing_get_a_turn_and_the_landing_its_proof() {
    let story = told(vec![good_work(), Script::acts(Vec::new())]);
    let found = |world: &mut World| world.store.all().pop().is_some_and(|r| r.landed().is_some());
    story.until("found", found).await;
    story.sim.with(|world| ask(world, "a", Request::Say { text: "Louder.".to_owned() }));
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::Said]);
    assert!(run.landed().unwrap().proof.as_ref().unwrap().accepted());
}

#[tokio::test]
async fn what_the_agent_pushes_while_it_is_stopped_is_followed() {
    for lingering in [false, true] {
        let story = at_work(vec![unhurried()]).await;
        story.sim.with(|world| {
            world.agents.lingering = lingering;
            ask(world, "stop", Request::Stop);
        });
        let run = story.settle().await;
        story.ended(if lingering { End::Done } else { End::Withdrawn });
        assert_eq!(run.landed().is_some(), lingering);
        if lingering {
            landed_by_its_agent(&story, &run);
        }
        assert!(run.cancel.is_some());
        assert!(story.count("executor.stop") > 0);
    }
}

#[tokio::test]
async fn an_agent_that_does_not_stop_freezes_the_repo() {
    let story = at_work(vec![Script::hangs()]).await;
    story.sim.with(|world| {
        world.agents.stubborn = true;
        ask(world, "stop", Request::Stop);
    });
    let ended = |world: &mut World| world.store.all()[0].conclusion.is_some();
    story.until("ended", ended).await;
    story.ended(End::Frozen);
    assert!(story.why().contains("could not be stopped"), "{}", story.why());
    // Nobody knows what the turn has cost: all that was reserved is charged.
    let (run, ledger) = (story.run(), story.run().ledger());
    assert_eq!((ledger.total(), ledger.has_estimates()), (run.budget, true));
    story.sim.with(|world| world.agents.stubborn = false);
    story.settle().await;
}

#[tokio::test]
async fn under_a_freeze_or_a_halt_no_agent_that_lands_by_itself_is_at_work() {
    for switch in [Switch::Freeze(repo("o/r")), Switch::Halt] {
        let story = at_work(vec![Script::hangs(), good_work()]).await;
        story.switch(&switch, true);
        story.rounds(10).await;
        story.sim.with(|world| {
            assert_eq!(world.alive(world.store.all()[0].id), [], "{switch:?}");
            assert_eq!(world.agents.turns.len(), 1, "none is begun under {switch:?}");
            assert_eq!(world.store.all()[0].conclusion, None);
        });
        story.switch(&switch, false);
        let run = story.settle().await;
        story.ended(End::Done);
        assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::Interrupted]);
    }
}

#[tokio::test]
async fn the_executor_and_no_process_table_says_whether_its_turn_is_alive() {
    let story = at_work(vec![unhurried()]).await;
    // The agent says that it has ended, and pushes all the same.
    story.sim.with(|world| {
        let turn = world.agents.turns.values_mut().next().unwrap();
        turn.state = TurnState::Ended(good_work().end.unwrap());
        turn.lingers = true;
    });
    story.tick().await.unwrap();
    story.tick().await.unwrap();
    assert_eq!(story.run().conclusion, None, "it may still push");
    let run = story.settle().await;
    story.ended(End::Done);
    landed_by_its_agent(&story, &run);
}

#[tokio::test]
async fn what_is_asked_before_a_landing_cannot_be_asked_of_an_agent_that_lands() {
    let story = told(vec![good_work()]).configure(tested);
    story.rounds(5).await;
    story.sim.with(|world| {
        assert!(world.store.all().is_empty(), "left ready");
        assert!(world.tracker.issues[&seven()].has("ready-for-agent"));
    });
}

#[tokio::test]
async fn a_branch_that_cannot_be_read_is_waited_for_and_then_handed_over_as_unknown() {
    let story = at_work(vec![unhurried()]).await;
    story.sim.with(|world| {
        world.broken.insert("git.commits");
        world.agents.lingering = true;
        ask(world, "stop", Request::Stop);
    });
    story.rounds(5).await;
    assert_eq!(story.run().conclusion, None);
    for _ in 0..13 * 12 {
        story.sim.advance(SignedDuration::from_mins(5));
        story.rounds(1).await;
    }
    story.settle().await;
    story.ended(End::NeedsHuman);
    let why = story.why();
    assert!(why.contains("it is not known whether what the agent did landed on main"), "{why}");
}

#[tokio::test]
async fn an_agent_that_nobody_can_ask_about_is_not_believed_dead() {
    let story = at_work(vec![Script::hangs()]).await;
    // The repo is given to an executor of this machine, which knows nothing of the turn.
    story.sim.with(|world| world.agents.far.clear());
    story.rounds(5).await;
    let run = story.run();
    assert_eq!((run.conclusion, run.attempts[0].turns.len()), (None, 1));
    story.sim.with(|world| {
        far(world);
        ask(world, "stop", Request::Stop);
    });
    story.settle().await;
    story.ended(End::Withdrawn);
}

/// Where the control plane lands, the clone is the same for both executors, and neither knows the
/// turn of the other: a second agent would be started beside the first.
#[tokio::test]
async fn a_repo_that_is_given_to_another_machine_or_back_gets_no_second_agent() {
    for begun_far in [true, false] {
        let story = Story::new().with_issue(vec![Script::hangs()]);
        let move_to = |world: &mut World, to_far: bool| {
            far(world);
            world.agents.in_our_clone = world.agents.far.clone();
            if !to_far {
                world.agents.far.clear();
            }
        };
        story.sim.with(|world| move_to(world, begun_far));
        story.until("at work", |world| !world.agents.turns.is_empty()).await;
        story.sim.with(|world| move_to(world, !begun_far));
        story.rounds(5).await;
        let run = story.run();
        assert_eq!((run.conclusion, run.attempts[0].turns.len()), (None, 1));
        story.sim.with(|world| {
            assert_eq!(world.alive(run.id).len(), 1, "it is at work as before");
            move_to(world, begun_far);
            ask(world, "stop", Request::Stop);
        });
        story.settle().await;
        story.ended(End::Withdrawn);
    }
}
