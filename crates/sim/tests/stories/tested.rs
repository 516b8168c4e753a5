//! The loop where stages run before landing, so that the default branch is never red.

use std::time::Duration;

use afk_core::config::Policy;
use afk_core::ids::{At, JobKey, JobOf, Oid, RunId};
use afk_core::plan::{End, Refusal, TurnCause};
use afk_core::verdict::StageAnswer;
use afk_engine::ports::{Job, JobKind, Jobs, Switch};
use afk_sim::fakes::Sim;
use afk_sim::story::{Story, breaking_work, fixing_work, good_work, repo, seven, tested, unlabel};
use afk_sim::world::{PushFate, Script, World};
use jiff::SignedDuration;

fn story(scripts: Vec<Script>) -> Story {
    Story::new().with_issue(scripts).configure(tested)
}

/// Asserts that no commit which the loop pushed to the default branch is red, and that no try
/// branch is left.
fn assert_never_red(world: &World) {
    for commit in &world.git.past_heads {
        let files = world.git.files_of(commit).unwrap();
        assert!(!files.values().any(|text| text.contains("BREAKS-CI")), "{commit} is red");
    }
    assert!(world.git.branches.is_empty(), "{:?}", world.git.branches);
}

fn stages_started(world: &World) -> usize {
    world.jobs.started.iter().filter(|key| key.of() == Some(JobOf::Stage)).count()
}

#[tokio::test]
async fn a_red_candidate_never_lands_and_its_mended_one_is_asked_once() {
    let story = story(vec![breaking_work(), fixing_work()]);
    let run = story.settle().await;
    story.ended(End::Done);
    let causes: Vec<_> = run.attempts.iter().map(|attempt| attempt.cause).collect();
    assert_eq!(causes, [TurnCause::Opening, TurnCause::Refused]);
    let refused = run.attempts[0].refused.as_ref().unwrap();
    assert_eq!(refused.why, Refusal::Stage);
    assert!(refused.detail.contains("stage ci fails on"), "{}", refused.detail);
    assert_eq!((run.refusals(), run.fix_forwards(), run.first_red_at), (1, 0, None));
    let landed = run.landed().unwrap();
    assert_eq!(landed.stages[0].answer, StageAnswer::Success);
    story.sim.with(|world| {
        assert_never_red(world);
        assert_eq!(world.git.past_heads, std::slice::from_ref(&landed.commit));
        assert_eq!(stages_started(world), 4, "two of the red one, its base, the fixed one");
        let prompt = &world.agents.turns.values().last().unwrap().request.prompt;
        assert!(prompt.contains("stage ci fails on"), "{prompt}");
        let stages = &world.archive.last().unwrap().stages;
        let said: Vec<_> = stages.iter().map(|one| (&one.commit, one.answer)).collect();
        let red = &run.attempts[0].candidates[0].commit;
        assert_eq!(said, [(red, StageAnswer::Failure), (&landed.commit, StageAnswer::Success)]);
    });
}

#[tokio::test]
async fn a_default_branch_that_moved_means_a_new_candidate_tried_again() {
    let story = story(vec![good_work()]);
    story.sim.with(|world| {
        world.git.fates.push_back(PushFate::Overtaken(vec![("src/theirs", "else")]));
    });
    let run = story.settle().await;
    story.ended(End::Done);
    let candidates = &run.attempts[0].candidates;
    assert_eq!(candidates.len(), 2);
    assert!(candidates.iter().all(|one| one.tried.unwrap().removed_at.is_some()));
    story.sim.with(|world| {
        assert_never_red(world);
        assert_eq!(stages_started(world), 2, "the first's pass says nothing of the second");
        assert_eq!(world.git.past_heads, [candidates[1].commit.clone()]);
    });
}

fn voids_seen(world: &mut World) -> usize {
    let run = world.store.all().pop();
    let stage = run.and_then(|run| run.candidate().and_then(|one| one.stage("ci").cloned()));
    stage.map_or(0, |stage| stage.again as usize + 1)
}

#[tokio::test]
async fn a_stage_that_could_not_run_is_asked_again() {
    let story = story(vec![good_work()]);
    story.sim.with(|world| world.jobs.absent.insert("ci".to_owned()));
    story.until("void", |world| voids_seen(world) == 1).await;
    story.sim.with(|world| world.jobs.absent.clear());
    let before = story.sim.with(|world| world.now);
    let run = story.settle().await;
    story.ended(End::Done);
    let landed = run.landed().unwrap();
    assert!(landed.landed_at.unwrap().duration_since(before) < SignedDuration::from_mins(1));
    assert_eq!((landed.stages[0].answer, landed.stages[0].again), (StageAnswer::Success, 1));
    assert_eq!(run.refusals(), 0);
    story.sim.with(|world| assert_eq!(stages_started(world), 2));
}

#[tokio::test]
async fn a_stage_that_never_runs_is_handed_over_by_its_name() {
    let story = story(vec![good_work()]);
    story.sim.with(|world| world.jobs.absent.insert("ci".to_owned()));
    let before = story.sim.with(|world| world.now);
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    let ended = run.conclusion.unwrap();
    assert!(ended.at.duration_since(before) < SignedDuration::from_mins(2), "not waited out");
    for word in ["stage ci", "tried 3 times", "it failed with 127", "afk/try/"] {
        assert!(ended.why.contains(word), "{word:?} is not in {:?}", ended.why);
    }
    story.sim.with(|world| {
        assert_never_red(world);
        assert_eq!(stages_started(world), 3);
        assert!(world.git.past_heads.is_empty(), "nothing landed");
    });
}

#[tokio::test]
async fn a_stage_that_runs_long_after_it_could_not_is_heard() {
    let story = story(vec![good_work()]);
    story.sim.with(|world| world.jobs.absent.insert("ci".to_owned()));
    story.until("void", |world| voids_seen(world) == 1).await;
    story.sim.with(|world| {
        world.jobs.absent.clear();
        world.jobs.hanging.insert("ci".to_owned());
    });
    story.until("asked again", |world| stages_started(world) == 2).await;
    for _ in 0..5 {
        story.sim.advance(SignedDuration::from_mins(4));
        story.rounds(2).await;
    }
    story.sim.with(|world| world.jobs.hanging.clear());
    story.settle().await;
    story.ended(End::Done);
}

/// Good work on top of a default branch that somebody had broken.
async fn on_a_red_base() -> Story {
    let story = story(vec![good_work()]);
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("src/theirs", "BREAKS-CI")]);
    });
    story.until("excused", |world| red_bases(world) == 1).await;
    story
}

fn red_bases(world: &mut World) -> usize {
    let run = world.store.all().pop();
    run.and_then(|run| run.candidate().map(|one| one.red_bases.len())).unwrap_or_default()
}

#[tokio::test]
async fn a_red_that_the_base_has_costs_no_refusal_and_lands_when_it_is_mended() {
    let story = on_a_red_base().await;
    // Another default head that is red, too, gets no candidate.
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("src/more", "theirs, too")]);
    });
    story.until("asked", |world| red_bases(world) == 2).await;
    story.rounds(5).await;
    assert_eq!(story.run().candidates().count(), 1);
    story.sim.with(|world| {
        assert_eq!(stages_started(world), 4, "the candidate twice, its base, the head after it");
        world.somebody_lands(&repo("o/r"), &[("src/theirs", "mended")]);
    });
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!((run.refusals(), run.attempts.len(), run.candidates().count()), (0, 1, 2));
    story.sim.with(|world| assert_never_red(world));
}

#[tokio::test]
async fn a_red_base_that_nobody_mends_is_handed_over_by_its_name() {
    let story = on_a_red_base().await;
    for n in 0..13 {
        assert!(n > 11 || story.run().conclusion.is_none(), "after {n} times five minutes");
        story.sim.advance(SignedDuration::from_mins(5));
        story.rounds(2).await;
    }
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    assert_eq!((run.refusals(), run.attempts.len()), (0, 1));
    let base = run.candidates().last().unwrap().1.base.clone();
    let why = run.conclusion.unwrap().why;
    for word in ["stage ci fails on", base.short(), "main", "within 60 minutes"] {
        assert!(why.contains(word), "{word:?} is not in {why:?}");
    }
    story.sim.with(|world| {
        assert!(world.git.past_heads.is_empty(), "nothing landed");
        assert!(world.git.branches.is_empty(), "no try is left");
        assert_eq!(world.store.switches.freeze_of(&repo("o/r")), None, "their red freezes nobody");
    });
}

#[tokio::test]
async fn what_is_red_on_a_mended_base_is_refused() {
    let story = story(vec![breaking_work(), fixing_work()]);
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("src/theirs", "BREAKS-CI")]);
    });
    story.until("excused", |world| red_bases(world) == 1).await;
    story.sim.with(|world| world.somebody_lands(&repo("o/r"), &[("src/theirs", "mended")]));
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!((run.refusals(), run.attempts.len(), run.candidates().count()), (1, 2, 3));
    story.sim.with(|world| assert_never_red(world));
}

#[tokio::test]
async fn a_long_stage_is_waited_for_past_ten_minutes() {
    let story = story(vec![good_work()]);
    story.sim.with(|world| world.jobs.hanging.insert("ci".to_owned()));
    story.until("asked", |world| stages_started(world) == 1).await;
    for _ in 0..5 {
        story.sim.advance(SignedDuration::from_mins(4));
        story.rounds(2).await;
    }
    assert!(story.run().conclusion.is_none());
    story.sim.with(|world| world.jobs.hanging.clear());
    story.settle().await;
    story.ended(End::Done);
}

#[tokio::test]
async fn a_cancelled_try_leaves_no_branch() {
    let story = story(vec![good_work()]);
    story.sim.with(|world| world.jobs.hanging.insert("ci".to_owned()));
    story.until("asked", |world| stages_started(world) == 1).await;
    story.rounds(2).await;
    story.sim.with(|world| unlabel(world, "agent-in-progress", "ann"));
    story.settle().await;
    story.ended(End::Withdrawn);
    story.sim.with(|world| {
        assert_never_red(world);
        assert!(world.git.past_heads.is_empty());
    });
}

#[tokio::test]
async fn a_halt_starts_no_push_of_a_try() {
    let story = story(vec![good_work()]);
    story
        .until("judged", |world| {
            world
                .store
                .all()
                .iter()
                .any(|run| run.candidate().is_some_and(|one| one.guardrails.is_some()))
        })
        .await;
    story.switch(&Switch::Halt, true);
    story.rounds(10).await;
    story.sim.with(|world| assert!(world.git.branches.is_empty()));
    story.switch(&Switch::Halt, false);
    story.settle().await;
    story.ended(End::Done);
}

#[tokio::test]
async fn a_branch_that_somebody_else_took_is_not_overwritten() {
    let story = story(vec![good_work()]);
    story.until("a run", |world| !world.store.all().is_empty()).await;
    let name = story.run().try_branch(1);
    let theirs = story.sim.with(|world| {
        let head = world.git.remotes[&repo("o/r")].clone();
        world.git.branches.insert((repo("o/r"), name), head.clone());
        head
    });
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    assert!(run.conclusion.unwrap().why.contains("did not push there"));
    story.sim.with(|world| {
        assert_eq!(world.git.remotes[&repo("o/r")], theirs, "nothing landed");
        assert!(world.tracker.issues[&seven()].issue.open);
    });
}

/// The fake itself notices it: no story may get as far.
#[tokio::test]
async fn a_stage_that_could_fill_the_cache_before_its_commit_landed_is_complained_of() {
    let sim = Sim::new(World::new(Policy::default(), At::UNIX_EPOCH));
    let (one, other) = ("o/one".parse().unwrap(), "o/other".parse().unwrap());
    let (landed, tried) = sim.with(|world| {
        world.somebody_lands(&one, &[("src/lib", "one")]);
        let landed = world.git.remotes[&one].clone();
        world.somebody_lands(&one, &[("src/lib", "two")]);
        world.somebody_lands(&other, &[("src/lib", "three")]);
        (landed, world.git.remotes.remove(&other).unwrap())
    });
    let run = RunId::new(uuid::Uuid::nil());
    let check = async |commit: &Oid, landed: bool, expected: bool| {
        let job = Job {
            key: JobKey::new(run, JobOf::Stage, &format!("{commit}.{landed}")),
            run,
            repo: one.clone(),
            kind: JobKind::Stage { commit: commit.clone(), landed },
            argv: vec!["ci".to_owned()],
            timeout: Duration::from_mins(1),
            network: false,
        };
        assert_eq!(Jobs::start(&sim, &job).await.is_ok(), expected, "{}", job.key);
    };
    check(&landed, true, true).await;
    check(&landed, false, true).await;
    check(&tried, false, true).await;
    check(&tried, true, false).await;
}
