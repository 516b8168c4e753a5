//! The loop after a landing that is red, or of which nobody says anything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use afk_core::doorbell::DoorbellKind;
use afk_core::plan::{End, RedCause, TurnCause};
use afk_core::run::Run;
use afk_sim::story::{Story, breaking_work, good_work, mending_work, repo, seven};
use afk_sim::world::{Act, Script};
use jiff::SignedDuration;

fn causes(run: &Run) -> Vec<TurnCause> {
    run.attempts.iter().flat_map(|attempt| &attempt.turns).map(|turn| turn.cause).collect()
}

/// What every escalation looks like from outside.
fn assert_handed_over(story: &Story, kind: DoorbellKind) {
    story.sim.with(|world| {
        let issue = &world.tracker.issues[&seven()];
        assert!(issue.issue.open, "left open");
        assert_eq!(issue.issue.labels, ["ready-for-human"]);
        assert_eq!(issue.comments.len(), 1);
        assert_eq!(world.rung.iter().map(|bell| bell.kind).collect::<Vec<_>>(), [kind]);
    });
}

#[tokio::test]
async fn a_red_stage_is_mended_forward() {
    let story = Story::new().with_issue(vec![breaking_work(), mending_work()]);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::FixForward]);
    assert!(run.first_red_at.is_some());
    story.sim.with(|world| {
        assert_eq!(world.git.history(&repo("o/r")).len(), 3);
        let shown = &world.tracker.issues[&seven()].comments[0].body;
        assert!(shown.contains("_Fix-forward: 1 attempt._"), "{shown}");
    });
}

#[tokio::test]
async fn a_fix_that_is_red_too_is_still_ours() {
    let again = Script::acts(vec![
        Act::Follow,
        Act::Commit { message: "Try", files: vec![("src/note", Some("still BREAKS-CI"))] },
    ]);
    let story = Story::new().with_issue(vec![breaking_work(), again, mending_work()]);
    let run = story.settle().await;
    story.ended(End::Done);
    let expected = [TurnCause::Opening, TurnCause::FixForward, TurnCause::FixForward];
    assert_eq!(causes(&run), expected);
    let reds: Vec<_> = run.attempts.iter().flat_map(|a| &a.candidates).map(|c| c.red).collect();
    assert_eq!(reds, [Some(RedCause::Ours), Some(RedCause::Ours), None]);
}

#[tokio::test]
async fn a_refused_fix_is_still_judged_as_a_fix() {
    // Refused for what it says in its message's stead: it fails verify.
    let wrong = Script::acts(vec![
        Act::Follow,
        Act::Commit {
            message: "Mend the wrong thing",
            files: vec![("src/note", Some("fine")), ("src/lib", Some("lost"))],
        },
    ]);
    let right = Script::acts(vec![Act::Commit {
        message: "Put it back",
        files: vec![("src/lib", Some("one two"))],
    }]);
    let story = Story::new().with_issue(vec![breaking_work(), wrong, right]);
    let run = story.settle().await;
    story.ended(End::Done);
    let expected = [TurnCause::Opening, TurnCause::FixForward, TurnCause::Refused];
    assert_eq!(causes(&run), expected);
}

#[tokio::test]
async fn fixes_that_mend_nothing_freeze_the_repo() {
    let story = Story::new()
        .with_issue(vec![breaking_work()])
        .configure(|config| config.fix_forward_max_attempts = 2);
    let run = story.settle().await;
    story.ended(End::Frozen);
    assert_handed_over(&story, DoorbellKind::Frozen);
    assert_eq!(run.fix_forwards(), 2);
    story.sim.with(|world| {
        assert!(world.store.switches.freeze_of(&repo("o/r")).is_some());
        world.file("o/r#8", "Next.", &["ready-for-agent"], "ann");
    });
    story.rounds(5).await;
    assert_eq!(story.sim.with(|world| world.store.all().len()), 1, "a frozen repo is left alone");
}

#[tokio::test]
async fn a_red_base_is_not_ours() {
    let story = Story::new().with_issue(vec![good_work(), mending_work()]);
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("src/theirs", "BREAKS-CI")]);
    });
    story
        .until("attributed", |world| {
            let run = world.store.all().pop();
            run.is_some_and(|run| run.landed().is_some_and(|landed| landed.red.is_some()))
        })
        .await;
    assert_eq!(story.run().landed().and_then(|landed| landed.red), Some(RedCause::NotOurs));
    story.rounds(5).await;
    assert_eq!(causes(&story.run()), [TurnCause::Opening], "nothing is paid for it");
    // Somebody mends it: that descendant speaks for ours.
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("src/theirs", "fine")]);
    });
    story.settle().await;
    story.ended(End::Done);
}

#[tokio::test]
async fn a_red_base_that_nobody_mends_is_handed_over_at_the_deadline() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("src/theirs", "BREAKS-CI")]);
    });
    story.until("landed", |world| world.calls.contains(&"git.push")).await;
    story.rounds(6).await;
    // Not at once, or it would count as time in which no control plane ran.
    for _ in 0..13 {
        story.sim.advance(SignedDuration::from_mins(5));
        story.rounds(2).await;
    }
    story.settle().await;
    story.ended(End::NeedsHuman);
    let freeze = story.sim.with(|world| world.store.switches.freeze_of(&repo("o/r")).cloned());
    assert_eq!(freeze, None, "their red freezes nobody");
}

#[tokio::test]
async fn a_stage_that_never_answers_freezes_at_its_deadline() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| world.jobs.hanging.insert("ci".to_owned()));
    story.until("landed", |world| world.calls.contains(&"git.push")).await;
    for _ in 0..14 {
        story.sim.advance(SignedDuration::from_mins(5));
        story.rounds(2).await;
    }
    story.settle().await;
    story.ended(End::Frozen);
}
