//! A person asks whether `verify` passes on a default branch, beside the loop: it is found out as
//! the loop does, and the result is remembered for the loop.

use afk_core::gates::BaseHealth;
use afk_core::ids::Oid;
use afk_core::plan::End;
use afk_core::proof::RunResult;
use afk_engine::pass::{BaseAnswer, BaseReport};
use afk_engine::ports::{PortErrorKind, PortResult, Switch};
use afk_sim::story::{Story, good_work, repo};
use afk_sim::world::{Script, World};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

/// The answer, while the world goes on for at most `steps` steps; then the question is withdrawn.
async fn told(story: &Story, steps: u32) -> PortResult<BaseReport> {
    let (cancel, name) = (CancellationToken::new(), repo("o/r"));
    let ask = story.engine.verify_base(&name, &cancel);
    tokio::pin!(ask);
    let mut left = steps;
    loop {
        tokio::select! {
            biased;
            told = &mut ask => return told,
            () = tokio::task::yield_now() => {
                story.sim.with(World::step);
                story.sim.advance(SignedDuration::from_secs(1));
                left = left.saturating_sub(1);
                if left == 0 {
                    cancel.cancel();
                }
            }
        }
    }
}

fn base_of(story: &Story) -> (Oid, Oid) {
    story.sim.with(|world| {
        let head = world.git.remotes[&repo("o/r")].clone();
        let tree = world.git.commits[&head].tree.clone();
        (head, tree)
    })
}

/// How many jobs ran on `tree`.
fn ran_on(story: &Story, tree: &Oid) -> usize {
    story.sim.with(|world| {
        let all = world.jobs.started.iter();
        all.filter(|key| key.to_string().contains(tree.as_str())).count()
    })
}

fn assert_nothing_lies_about(story: &Story) {
    story.sim.with(|world| {
        let runs = world.jobs.jobs.keys().map(|(run, _)| *run);
        let runs: std::collections::BTreeSet<_> = runs.collect();
        assert!(runs.iter().all(|run| world.alive(*run).is_empty()), "nothing goes on");
        assert!(world.wrong.is_empty(), "{:?}", world.wrong);
    });
}

#[tokio::test]
async fn what_passes_is_remembered_for_the_loop() {
    let story = Story::new();
    let (head, tree) = base_of(&story);
    let first = told(&story, 100).await.unwrap();
    assert_eq!((first.head, first.branch.as_str()), (head, "main"));
    let BaseAnswer::Passes { remembered: false, flaky: false, .. } = first.answer else {
        panic!("{:?}", first.answer);
    };
    let again = told(&story, 100).await.unwrap();
    assert!(matches!(again.answer, BaseAnswer::Passes { remembered: true, .. }));
    assert_eq!(ran_on(&story, &tree), 1);
    assert!(story.sim.with(|world| world.store.all().is_empty()), "it is nobody's run");
    assert_nothing_lies_about(&story);
    let story = story.with_issue(vec![good_work()]);
    story.settle().await;
    story.ended(End::Done);
    assert_eq!(ran_on(&story, &tree), 1, "and is not asked again");
}

#[tokio::test]
async fn what_fails_is_told_with_its_output() {
    let story = Story::new();
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("tests/broken", "expect nowhere anything")]);
    });
    let said = told(&story, 100).await.unwrap();
    let BaseAnswer::Fails { result: RunResult::Failed { .. }, .. } = said.answer else {
        panic!("{:?}", said.answer);
    };
    assert_nothing_lies_about(&story);
}

#[tokio::test]
async fn a_head_that_was_held_goes_on_once_it_is_seen_to_pass() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| world.jobs.absent.insert("verify".to_owned()));
    story.settle().await;
    story.ended(End::Withdrawn);
    story.rounds(5).await;
    assert_eq!(story.sim.with(|world| world.store.all().len()), 1, "held for half an hour");
    story.sim.with(|world| world.jobs.absent.clear());
    told(&story, 100).await.unwrap();
    story.until("another run", |world| world.store.all().len() == 2).await;
    story.settle().await;
    story.ended(End::Done);
}

#[tokio::test]
async fn a_head_that_was_held_by_a_clock_that_was_ahead_is_tried_again() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| world.jobs.absent.insert("verify".to_owned()));
    story.settle().await;
    story.ended(End::Withdrawn);
    story.rounds(5).await;
    assert_eq!(story.sim.with(|world| world.store.all().len()), 1, "held for half an hour");
    story.sim.with(|world| {
        world.jobs.absent.clear();
        let by = SignedDuration::from_hours(2);
        world.advance(-by);
        world.tracker.skew += by;
    });
    story.until("another run", |world| world.store.all().len() == 2).await;
    story.settle().await;
    story.ended(End::Done);
}

#[tokio::test]
async fn one_that_hangs_is_stopped_by_its_bound_or_by_whoever_asked() {
    let story = Story::new().configure(|config| {
        for table in config.repos.values_mut() {
            table.verify_timeout_seconds = 5;
        }
    });
    story.sim.with(|world| world.jobs.hanging.insert("verify".to_owned()));
    let said = told(&story, 100).await.unwrap();
    assert!(matches!(said.answer, BaseAnswer::Fails { result: RunResult::CouldNotRun { .. }, .. }));
    let error = told(&story, 2).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Cancelled);
    story.sim.with(World::step);
    assert_nothing_lies_about(&story);
}

#[tokio::test]
async fn nothing_is_run_under_a_halt_or_without_a_command() {
    let story = Story::new();
    story.switch(&Switch::Halt, true);
    let error = told(&story, 100).await.unwrap_err();
    assert!(error.chain().contains("afk resume"), "{}", error.chain());
    story.switch(&Switch::Halt, false);
    let story = story.configure(|config| {
        for table in config.repos.values_mut() {
            table.verify = afk_core::proof::Verify::None;
        }
    });
    assert_eq!(told(&story, 100).await.unwrap().answer, BaseAnswer::NoCommand);
    assert!(story.sim.with(|world| world.jobs.started.is_empty()));
}

#[tokio::test]
async fn reports_that_tell_failures_apart_excuse_a_red_base_only_where_none_is_waited_for() {
    for (health, begins) in [(BaseHealth::Attribute, true), (BaseHealth::Wait, false)] {
        let story = Story::new().with_issue(vec![Script::hangs()]).configure(|config| {
            config.base_health = health;
            for table in config.repos.values_mut() {
                table.proof.junit = Some("report.xml".to_owned());
            }
        });
        story.sim.with(|world| {
            world.somebody_lands(&repo("o/r"), &[("tests/broken", "expect nowhere anything")]);
        });
        story.rounds(30).await;
        let run = story.run();
        assert_eq!(run.turn().is_some(), begins, "{health:?}");
        let end = run.conclusion.map(|conclusion| conclusion.end);
        assert_eq!(end, (!begins).then_some(End::Withdrawn), "{health:?}");
        assert_eq!(story.sim.with(|world| world.store.all().len()), 1, "{health:?}");
    }
}
