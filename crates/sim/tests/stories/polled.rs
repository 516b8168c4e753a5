//! The loop where another machine answers for the stages: late, twice, with changing answers, or
//! not at all.

use std::collections::BTreeMap;

use afk_core::config::Stage;
use afk_core::plan::{End, RedCause, TurnCause};
use afk_core::run::Run;
use afk_core::verdict::StageAnswer::{self, Failure, None as Nothing, Pending, Success, Void};
use afk_sim::story::{
    Story, breaking_work, causes, fixing_work, good_work, polled, repo, seven, tested,
};
use afk_sim::world::{Says, Script, World};
use jiff::SignedDuration;

fn story(scripts: Vec<Script>, says: &[Says]) -> Story {
    let story = Story::new().with_issue(scripts).configure(polled);
    let says = says.iter().copied().collect();
    story.sim.with(|world| world.stages.says.insert("ci".to_owned(), says));
    story
}

fn answers(all: &[StageAnswer]) -> Vec<Says> {
    all.iter().copied().map(Says::Answer).collect()
}

/// The seconds between two polls about the same commit.
fn pauses(world: &World) -> Vec<i64> {
    let mut last = BTreeMap::new();
    let mut pauses = Vec::new();
    for poll in &world.stages.polls {
        if let Some(before) = last.insert(&poll.commit, poll.at) {
            pauses.push(poll.at.duration_since(before).as_secs());
        }
    }
    pauses
}

fn failed_turns(run: &Run) -> usize {
    causes(run).iter().filter(|cause| **cause != TurnCause::Opening).count()
}

#[tokio::test]
async fn an_answer_that_comes_late_is_waited_for_and_not_asked_for_all_the_time() {
    let says = answers(&[Nothing, Nothing, Pending, Pending, Pending, Success]);
    let story = story(vec![good_work()], &says);
    story.settle().await;
    story.ended(End::Done);
    assert_eq!(story.sim.with(|world| pauses(world)), [5, 10, 5, 10, 20]);
}

#[tokio::test]
async fn a_deployment_is_waited_for_in_the_checklist() {
    let story = Story::new().with_issue(vec![good_work()]).configure(|config| {
        let stages = serde_json::json!([
            { "name": "ci", "command": ["ci"] },
            { "name": "up", "kind": "rollout" },
        ]);
        let stages: Vec<Stage> = serde_json::from_value(stages).unwrap();
        config.repos.values_mut().for_each(|repo| repo.stages.clone_from(&stages));
    });
    let says = answers(&[Nothing, Nothing, Nothing, Success]).into_iter().collect();
    story.sim.with(|world| world.stages.says.insert("up".to_owned(), says));
    let says = |words: &'static str| {
        move |world: &mut World| {
            let comments = &world.tracker.issues[&seven()].comments;
            comments.first().is_some_and(|comment| comment.body.contains(words))
        }
    };
    story.until("begun", says("- [ ] Deployed")).await;
    story.until("deployed", says("- [x] CI green on pushed commit\n- [~] Deployed")).await;
    story.settle().await;
    story.ended(End::Done);
    assert!(story.sim.with(says("- [x] Deployed / rolled out\n- [x] Done")));
}

#[tokio::test]
async fn the_next_look_that_a_stage_names_is_waited_for() {
    let story = story(vec![good_work()], &[Says::Look(45), Says::Answer(Success)]);
    story.settle().await;
    story.ended(End::Done);
    assert_eq!(story.sim.with(|world| pauses(world)), [45]);
}

#[tokio::test]
async fn what_is_decided_stays_and_one_failure_alone_decides_nothing() {
    for (says, flaky) in [(vec![Success, Failure, Failure], false), (vec![Failure, Success], true)]
    {
        let story = story(vec![good_work()], &answers(&says));
        let run = story.settle().await;
        story.ended(End::Done);
        assert_eq!(failed_turns(&run), 0, "{says:?}");
        let known = run.landed().unwrap().stage("ci").unwrap();
        assert_eq!((known.answer, known.flaky), (Success, flaky), "{says:?}");
        let evidence = story.sim.with(|world| world.archive.last().unwrap().to_markdown());
        assert_eq!(evidence.contains("flaky: it failed before"), flaky, "{evidence}");
    }
}

#[tokio::test]
async fn a_failure_that_is_reported_twice_is_fixed_forward() {
    let story = story(vec![breaking_work(), fixing_work()], &[]);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::FixForward]);
    story.sim.with(|world| {
        let fix = &world.agents.turns_of(&repo("o/r"))[1].request;
        assert!(fix.prompt.contains("https://ci.test/ci/"), "{}", fix.prompt);
        let red = &run.attempts[0].candidates[0].commit;
        let polls = world.stages.polls.iter().filter(|poll| poll.commit == *red);
        assert_eq!(polls.filter(|poll| poll.told == Some(Failure)).count(), 2);
    });
}

#[tokio::test]
async fn a_stage_that_is_down_is_waited_for() {
    let says = [
        Says::Down,
        Says::Down,
        Says::Limited(90),
        Says::Answer(Pending),
        Says::Down,
        Says::Answer(Success),
    ];
    let story = story(vec![good_work()], &says);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(failed_turns(&run), 0);
    assert!(story.sim.with(|world| pauses(world)).contains(&90), "the limit is waited out");
}

#[tokio::test]
async fn a_stage_that_stays_down_freezes_at_its_deadline() {
    let story = story(vec![good_work()], &[Says::Down; 200]);
    story.until("landed", |world| world.calls.contains(&"git.push")).await;
    for _ in 0..12 {
        story.sim.advance(SignedDuration::from_mins(5));
        story.rounds(2).await;
    }
    story.settle().await;
    story.ended(End::Frozen);
    let why = story.why();
    assert!(why.contains("never answered") && why.contains("503 from the stage"), "{why}");
}

#[tokio::test]
async fn what_goes_void_is_asked_about_again() {
    let story = story(vec![good_work()], &answers(&[Pending, Void, Void, Pending, Success]));
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(failed_turns(&run), 0);
}

#[tokio::test]
async fn a_base_that_is_pending_still_is_waited_for_before_a_red_is_paid_for() {
    // Two answers about our commit, and then those about what it is based on.
    let says = answers(&[Failure, Failure, Pending, Pending, Failure]);
    let story = story(vec![good_work()], &says);
    let attributed = |world: &mut World| {
        world.store.all().iter().any(|run| run.landed().is_some_and(|one| one.red.is_some()))
    };
    story.until("attributed", attributed).await;
    assert_eq!(story.run().landed().unwrap().red, Some(RedCause::NotOurs));
    // From here on the stage answers what is true.
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(failed_turns(&run), 0);
}

#[tokio::test]
async fn a_candidate_waits_for_polled_stages_before_it_lands() {
    let tested = |config: &mut _| {
        tested(config);
        polled(config);
    };
    let story = Story::new().with_issue(vec![breaking_work(), fixing_work()]).configure(tested);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::Refused]);
    let story = Story::new().with_issue(vec![good_work()]).configure(tested);
    story.sim.with(|world| world.jobs.hanging.insert("ci".to_owned()));
    let at_work = |world: &mut World| {
        let run = world.store.all().pop();
        run.is_some_and(|run| run.candidate().is_some_and(|one| one.stage("ci").is_some()))
    };
    story.until("at work", at_work).await;
    story.rounds(60).await;
    // Longer than the loop waits for a candidate about which there is never an answer.
    for _ in 0..4 {
        story.sim.advance(SignedDuration::from_mins(5));
        story.rounds(2).await;
    }
    assert_eq!(story.run().conclusion, None);
    for _ in 0..10 {
        story.sim.advance(SignedDuration::from_mins(5));
        story.rounds(2).await;
    }
    story.settle().await;
    story.ended(End::NeedsHuman);
    let why = story.why();
    assert!(why.contains("stage ci did not finish within 60 minutes"), "{why}");
}

#[tokio::test]
async fn a_stage_that_fails_for_everybody_is_asked_again_until_it_does_not() {
    for (by_poll, lands_tested) in [(false, false), (false, true), (true, false), (true, true)] {
        let story = Story::new().with_issue(vec![good_work()]).configure(|config| {
            if lands_tested {
                tested(config);
            }
            if by_poll {
                polled(config);
            }
        });
        story.sim.with(|world| world.jobs.failing.insert("ci".to_owned()));
        story
            .until("known to be not ours", |world| {
                let run = world.store.all().pop();
                let newest =
                    run.as_ref().and_then(|run| run.candidates().last().map(|(_, one)| one));
                newest.is_some_and(|one| one.red.is_some() || !one.red_bases.is_empty())
            })
            .await;
        story.rounds(150).await;
        assert_eq!(story.run().conclusion, None, "polled: {by_poll}, tested: {lands_tested}");
        story.sim.with(|world| world.jobs.failing.clear());
        let run = story.settle().await;
        story.ended(End::Done);
        assert_eq!(failed_turns(&run), 0, "polled: {by_poll}, tested: {lands_tested}");
    }
}
