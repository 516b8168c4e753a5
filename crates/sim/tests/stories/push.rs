//! The loop where a push was begun and nobody knows how it ended.

use afk_core::plan::End;
use afk_core::request::Request;
use afk_core::usd::Usd;
use afk_sim::story::{Story, ask, good_work, repo, seven};
use afk_sim::world::{Fault, Script, When, World, person};
use jiff::SignedDuration;

/// The process died after its push had landed, before any of that was recorded.
async fn pushed_and_died() -> Story {
    let told = || Story::new().with_issue(vec![good_work(), Script::acts(Vec::new())]);
    let first = told();
    first.settle().await;
    let call = first
        .sim
        .with(|world| world.calls.iter().position(|call| *call == "git.push").expect("a push"));
    let story = told();
    let fault = Fault { call, when: When::After, kills: true };
    story.sim.with(|world| world.fault = Some(fault));
    while !story.deadly_round().await {}
    story.sim.with(|world| assert_eq!(world.git.history(&repo("o/r")).len(), 2, "it landed"));
    assert!(story.run().landed().is_none(), "and nobody knows");
    // The next process has to wait until the lease of the dead one has run out.
    story.sim.advance(SignedDuration::from_secs(31));
    story.restarted("second")
}

#[tokio::test]
async fn what_landed_unseen_is_followed_to_its_verdict_whatever_people_do() {
    let close = |world: &mut World| {
        world.set_open(&seven(), false, &person("ann"));
    };
    let stop = |world: &mut World| ask(world, "a", Request::Stop);
    let words = |world: &mut World| ask(world, "a", Request::Say { text: "Louder.".to_owned() });
    let less = |world: &mut World| ask(world, "a", Request::Budget { usd: Usd::micros(1) });
    let acts: [&dyn Fn(&mut World); 4] = [&close, &stop, &words, &less];
    for (n, act) in acts.into_iter().enumerate() {
        let story = pushed_and_died().await;
        story.sim.with(act);
        let run = story.settle().await;
        story.ended(End::Done);
        assert!(run.attempts[0].candidates[0].landed_at.is_some(), "act {n}");
        story.sim.with(|world| {
            assert_eq!(world.git.history(&repo("o/r")).len(), 2, "act {n}: it landed once");
        });
    }
}

#[tokio::test]
async fn what_cannot_be_read_of_a_push_is_waited_for_and_then_handed_over_as_unknown() {
    let story = pushed_and_died().await;
    story.sim.with(|world| {
        world.broken.insert("git.landed");
        ask(world, "a", Request::Stop);
    });
    story.rounds(5).await;
    assert!(story.run().cancel.is_some());
    for _ in 0..13 * 12 {
        assert_eq!(story.run().conclusion.map(|end| end.end == End::Withdrawn), None);
        story.sim.advance(SignedDuration::from_mins(5));
        story.rounds(1).await;
        if story.run().conclusion.is_some() {
            break;
        }
    }
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    let why = run.conclusion.map(|end| end.why).unwrap_or_default();
    assert!(why.contains("it is not known whether"), "{why}");
    assert!(
        run.admitted_at.duration_since(story.sim.with(|world| world.now)).abs().as_hours() >= 12
    );

    // If the remote can be read in time, what it shows counts.
    let story = pushed_and_died().await;
    story.sim.with(|world| {
        world.broken.insert("git.landed");
        ask(world, "a", Request::Stop);
    });
    story.rounds(5).await;
    story.sim.with(|world| world.broken.clear());
    story.settle().await;
    story.ended(End::Done);
}

#[tokio::test]
async fn a_push_to_a_repo_that_is_not_configured_any_more_is_handed_over_as_unknown() {
    let story = pushed_and_died().await.configure(|config| config.repos.clear());
    story.settle().await;
    story.ended(End::NeedsHuman);
    let why = story.run().conclusion.map(|end| end.why).unwrap_or_default();
    assert!(why.contains("it is not known whether"), "{why}");
}

#[tokio::test]
async fn a_push_that_never_was_holds_nobody() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| {
        world.broken.insert("git.push");
    });
    story.until("a push", |world| world.calls.contains(&"git.push")).await;
    story.sim.with(|world| ask(world, "a", Request::Stop));
    let run = story.settle().await;
    story.ended(End::Withdrawn);
    assert!(run.landed().is_none() && run.unconfirmed_push().is_none());
}
