//! A frozen repo: what waits for a person, who is paged, and for how long.

use std::collections::BTreeSet;

use afk_core::doorbell::{Doorbell, DoorbellKind};
use afk_core::freeze::Acknowledgement;
use afk_core::plan::End;
use afk_engine::ports::Switch;
use afk_sim::story::{Story, breaking_work, enroll, good_work, repo};
use afk_sim::world::{Fault, When, World};
use jiff::SignedDuration;

/// A repo that a run has frozen.
async fn frozen() -> Story {
    let story = Story::new()
        .with_issue(vec![breaking_work()])
        .configure(|config| config.fix_forward_max_attempts = 0);
    story.settle().await;
    story.ended(End::Frozen);
    story
}

fn bells(story: &Story) -> Vec<Doorbell> {
    story.sim.with(|world| world.rung().into_iter().cloned().collect())
}

/// Lets half an hour pass, in steps that count as no absence.
async fn half_an_hour(story: &Story) {
    for _ in 0..6 {
        story.sim.advance(SignedDuration::from_mins(5));
        story.tick().await.unwrap();
    }
}

fn acknowledge(world: &mut World) {
    let by = Acknowledgement { by: "ann".to_owned(), at: world.now };
    assert!(world.acknowledge(&repo("o/r"), &by).is_some());
}

#[tokio::test]
async fn a_freeze_rings_until_somebody_acknowledges() {
    let mut story = frozen().await;
    assert_eq!(bells(&story).len(), 1);
    half_an_hour(&story).await;
    assert_eq!(bells(&story).len(), 1, "not before its hour");
    half_an_hour(&story).await;
    assert_eq!(bells(&story).len(), 2);
    story = story.restarted("second");
    half_an_hour(&story).await;
    half_an_hour(&story).await;
    let rung = bells(&story);
    let ids: BTreeSet<_> = rung.iter().map(|bell| bell.id).collect();
    assert_eq!((rung.len(), ids.len()), (3, 3), "each page is one of its own");
    assert!(rung.iter().all(|bell| bell.kind == DoorbellKind::Frozen));
    assert_eq!(rung[2].title, rung[0].title);
    let body = &rung[2].body;
    assert!(body.contains("page 2") && body.contains("afk ack o/r"), "{body}");
    story.sim.with(acknowledge);
    story = story.restarted("third");
    for _ in 0..6 {
        half_an_hour(&story).await;
    }
    assert_eq!(bells(&story).len(), 3, "somebody acknowledged");
    let still = story.sim.with(|world| world.store.switches.freeze_of(&repo("o/r")).cloned());
    assert_eq!(still.unwrap().paging.unwrap().acknowledged.unwrap().by, "ann");
    story.ended(End::Frozen);
}

#[tokio::test]
async fn a_page_that_is_made_again_after_a_crash_is_the_same() {
    let story = frozen().await;
    let before = story.sim.with(|world| world.store.switches.clone());
    story.sim.advance(SignedDuration::from_hours(1));
    story.sim.with(|world| world.break_doorbells(true));
    let _ = story.tick().await;
    // The note that a page was made is lost with its process; its row in the outbox is not.
    story.sim.with(|world| {
        world.store.switches = before;
        world.break_doorbells(false);
    });
    let story = story.restarted("second");
    story.sim.advance(SignedDuration::from_mins(5));
    story.rounds(3).await;
    let ids: BTreeSet<_> = bells(&story).iter().map(|bell| bell.id).collect();
    assert_eq!(ids.len(), 2, "the outcome and one page");
}

#[tokio::test]
async fn the_process_may_die_wherever_a_page_is_made() {
    let length = {
        let story = frozen().await;
        story.sim.advance(SignedDuration::from_hours(1));
        let before = story.sim.with(|world| world.calls.len());
        story.tick().await.unwrap();
        assert_eq!(bells(&story).len(), 2);
        story.sim.with(|world| world.calls.len()) - before
    };
    for call in 0..length {
        for when in [When::Before, When::After] {
            let story = frozen().await;
            story.sim.advance(SignedDuration::from_hours(1));
            story.sim.with(|world| {
                let call = world.calls.len() + call;
                world.fault = Some(Fault { call, when, kills: true });
            });
            assert!(story.deadly_round().await);
            let story = story.restarted("second");
            // A send that was claimed and did not ring is due again after a minute.
            story.sim.advance(SignedDuration::from_mins(2));
            story.rounds(3).await;
            let ids: BTreeSet<_> = bells(&story).iter().map(|bell| bell.id).collect();
            assert_eq!(ids.len(), 2, "call {call}, {when:?}: the outcome and one page");
        }
    }
}

#[tokio::test]
async fn pages_do_not_pile_up_behind_a_bell_that_is_out_of_order() {
    let story = frozen().await;
    story.sim.with(|world| world.break_doorbells(true));
    for _ in 0..16 {
        half_an_hour(&story).await;
    }
    story.sim.with(|world| world.break_doorbells(false));
    half_an_hour(&story).await;
    let rung = bells(&story).len();
    assert_eq!(rung, 3, "the one that waited, and the one that is due now: not eight");
    half_an_hour(&story).await;
    half_an_hour(&story).await;
    assert_eq!(bells(&story).len(), rung + 1, "and then they go on");
}

#[tokio::test]
async fn the_next_issue_waits_until_the_freeze_is_lifted() {
    let mut story = frozen().await;
    story.sim.with(|world| {
        world.file("o/r#8", "Say two.", &["ready-for-agent"], "ann");
        // Somebody repairs what is broken; the freeze stays.
        world.somebody_lands(&repo("o/r"), &[("src/note", "fine"), ("src/lib", "one")]);
        world.somebody_lands(&repo("o/r"), &[("tests/two", "")]);
        world.agents.scripts.insert(repo("o/r"), vec![good_work()].into());
    });
    story.rounds(5).await;
    story.sim.with(acknowledge);
    story = story.restarted("second");
    story.rounds(5).await;
    assert_eq!(story.sim.with(|world| world.store.all().len()), 1, "acknowledged is not lifted");
    story.switch(&Switch::Freeze(repo("o/r")), false);
    story.until("the next run", |world| world.store.all().len() == 2).await;
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(run.issue.number, 8);
    for _ in 0..4 {
        half_an_hour(&story).await;
    }
    assert_eq!(bells(&story).len(), 2, "frozen once, done once");
}

#[tokio::test]
async fn who_freezes_by_hand_is_not_called() {
    let story = Story::new();
    story.switch(&Switch::Freeze(repo("o/r")), true);
    for _ in 0..4 {
        half_an_hour(&story).await;
    }
    assert_eq!(bells(&story), []);
    // Nobody is paged either, once a person has taken over a run's freeze.
    let story = frozen().await;
    story.switch(&Switch::Freeze(repo("o/r")), true);
    for _ in 0..4 {
        half_an_hour(&story).await;
    }
    assert_eq!(bells(&story).len(), 1);
}

#[tokio::test]
async fn a_freeze_of_the_issue_alone_rings_once() {
    let story = Story::new().with_issue(vec![breaking_work()]).configure(|config| {
        config.fix_forward_max_attempts = 0;
        config.repos.get_mut(&repo("o/r")).unwrap().freeze_repo = false;
    });
    story.settle().await;
    story.ended(End::Frozen);
    for _ in 0..4 {
        half_an_hour(&story).await;
    }
    assert_eq!(bells(&story).len(), 1);
    assert!(story.sim.with(|world| world.store.switches.frozen.is_empty()));
}

#[tokio::test]
async fn what_a_freeze_keeps_makes_no_room_for_others() {
    let story = frozen().await.configure(|config| enroll(config, "o/s"));
    let held = story.run().id;
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/s"), &[("src/lib", "one")]);
        world.file("o/s#1", "Say two.", &["ready-for-agent"], "ann");
    });
    story.until("another repo's run", |world| world.store.all().len() == 2).await;
    assert!(story.sim.with(|world| world.git.spared.contains(&held)));
    story.switch(&Switch::Freeze(repo("o/r")), false);
    story.settle().await;
    story.sim.with(|world| {
        world.file("o/s#2", "Say two.", &["ready-for-agent"], "ann");
    });
    story.until("one more", |world| world.store.all().len() == 3).await;
    assert!(!story.sim.with(|world| world.git.spared.contains(&held)), "it is lifted");
}

#[tokio::test]
async fn what_was_broken_stays_for_whoever_looks() {
    let story = frozen().await;
    let run = story.run();
    story.sim.with(|world| {
        assert!(
            world.git.workspaces.contains_key(&run.id) && world.git.forensics.contains(&run.id)
        );
        let head = &world.git.remotes[&repo("o/r")];
        assert_eq!(run.landed().map(|landed| &landed.commit), Some(head), "nothing is reverted");
    });
}

#[tokio::test]
async fn whoever_freezes_what_a_run_froze_acknowledges_and_its_workspace_stays() {
    let story = frozen().await;
    let run = story.run().id;
    story.switch(&Switch::Freeze(repo("o/r")), true);
    let story = story.configure(|config| enroll(config, "o/s"));
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/s"), &[("src/lib", "one")]);
        world.file("o/s#1", "Say two.", &["ready-for-agent"], "ann");
        world.agents.scripts.insert(repo("o/s"), vec![good_work()].into());
    });
    // Pages that are not needed any more are removed before another run is admitted.
    story.until("another run", |world| world.store.all().len() == 2).await;
    story.sim.with(|world| {
        let freeze = world.store.switches.freeze_of(&repo("o/r")).unwrap();
        let paging = freeze.paging.as_ref().unwrap();
        let acknowledged = paging.acknowledged.as_ref().unwrap();
        assert_eq!(
            (freeze.thrown.by.as_str(), paging.run, acknowledged.by.as_str()),
            ("ann", run, "ann")
        );
        assert!(world.git.spared.contains(&run), "its forensics stay");
    });
    for _ in 0..4 {
        half_an_hour(&story).await;
    }
    let of_freeze = bells(&story).into_iter().filter(|bell| bell.kind == DoorbellKind::Frozen);
    assert_eq!(of_freeze.count(), 1);
}
