//! What the world is told, and what is believed of what it says: landing, verdict, comment,
//! guardrails.

use afk_core::plan::{End, RedCause, TurnCause};
use afk_sim::story::{Story, causes, fixing_work, good_work, repo, seven};
use afk_sim::world::{Act, PushFate};

#[tokio::test]
async fn fault_5_the_pushed_commit_is_found() {
    for fate in [PushFate::LandedUnknown, PushFate::LostUnknown] {
        let story = Story::new().with_issue(vec![good_work()]);
        story.sim.with(|world| world.git.fates.push_back(fate));
        let run = story.settle().await;
        story.ended(End::Done);
        let head = story.sim.with(|world| world.git.remotes[&repo("o/r")].clone());
        assert_eq!(run.landed().map(|landed| landed.commit.clone()), Some(head));
    }
}

#[tokio::test]
async fn fault_14_one_comment_however_many_ticks() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.settle().await;
    story.rounds(20).await;
    story.sim.with(|world| assert_eq!(world.tracker.issues[&seven()].comments.len(), 1));
}

#[tokio::test]
async fn fault_15_a_box_is_ticked_by_evidence() {
    let story = Story::new().with_issue(vec![good_work()]);
    let mut proved = 0;
    story
        .until("over", |world| {
            let shown = world.tracker.issues[&seven()].comments.first().map(|c| c.body.clone());
            let run = world.store.all().pop();
            if let (Some(shown), Some(run)) = (shown, run) {
                let candidate = run.attempts.iter().flat_map(|a| &a.candidates).next();
                let red = candidate.is_some_and(|candidate| candidate.proof.is_some());
                let ticked = |line: &str| shown.contains(&format!("- [x] {line}"));
                assert!(red || !ticked("Failing test written"), "before any proof:\n{shown}");
                assert!(red || !ticked("Implementation passing"), "before any proof:\n{shown}");
                let landed = run.landed().is_some();
                assert!(landed || !ticked("Pushed to"), "before it landed:\n{shown}");
                let over = run.conclusion.is_some();
                assert!(over || !ticked("Deployed"), "with no deployer asked:\n{shown}");
                proved += u32::from(red);
            }
            world.store.all().iter().any(|run| run.settled_at.is_some())
        })
        .await;
    assert!(proved > 0, "the proof was never seen");
}

#[tokio::test]
async fn fault_18_a_verdict_has_a_base_line_and_knows_what_could_not_run() {
    // The branch was red before us.
    let story = Story::new().with_issue(vec![good_work(), fixing_work()]);
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("src/theirs", "BREAKS-CI")]);
    });
    story
        .until("attributed", |world| {
            world.store.all().iter().any(|run| run.landed().is_some_and(|l| l.red.is_some()))
        })
        .await;
    let run = story.run();
    assert_eq!(run.landed().and_then(|landed| landed.red), Some(RedCause::NotOurs));
    assert_eq!(causes(&run), [TurnCause::Opening]);
    // A stage that could not run is neither red nor green, until a descendant has an answer.
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| world.jobs.absent.insert("ci".to_owned()));
    story.until("landed", |world| world.calls.contains(&"git.push")).await;
    story.rounds(10).await;
    let run = story.run();
    assert_eq!((run.conclusion, run.first_red_at), (None, None), "void is neither");
    story.sim.with(|world| {
        world.jobs.absent.clear();
        world.somebody_lands(&repo("o/r"), &[("src/theirs", "fine")]);
    });
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening]);
}

#[tokio::test]
async fn fault_22_guardrails_are_enforced_whatever_the_agent_does() {
    let with = |breach: Act| {
        let mut work = good_work();
        work.acts.push(breach);
        work
    };
    let flow = ".github/workflows/ci.yml";
    let work = with(Act::Commit { message: "Help CI", files: vec![(flow, Some("on:"))] });
    let story = Story::new().with_issue(vec![work]);
    story.settle().await;
    story.ended(End::NeedsHuman);
    assert_eq!(story.count("git.push"), 0);
    story.sim.with(|world| assert_eq!(world.git.history(&repo("o/r")).len(), 1));
    // We write the message that lands, without words that make the forge do something.
    for message in ["Quiet [skip ci]", "Closes #7"] {
        let files = vec![("src/other", Some("x"))];
        let story = Story::new().with_issue(vec![with(Act::Commit { message, files })]);
        story.settle().await;
        story.ended(End::Done);
        story.sim.with(|world| {
            let landed = &world.git.history(&repo("o/r"))[0].message;
            assert!(!landed.contains("skip ci") && !landed.contains("Closes"), "{landed}");
        });
    }
}
