//! The loop, tick by tick, where everything goes well.

use std::collections::BTreeSet;

use afk_core::config::Policy;
use afk_core::doorbell::DoorbellKind;
use afk_core::plan::End;
use afk_core::run::Run;
use afk_sim::story::{Story, good_work, repo, seven};
use afk_sim::world::{Act, Script};

fn labels(story: &Story) -> Vec<String> {
    story.sim.with(|world| world.tracker.issues[&seven()].issue.labels.clone())
}

#[tokio::test]
async fn an_issue_goes_from_ready_to_closed_with_evidence() {
    let story = Story::new().with_issue(vec![good_work()]);
    story
        .until("a turn began", |world| {
            let marked = world.tracker.issues[&seven()].has("agent-in-progress");
            let begun = !world.agents.turns.is_empty();
            assert!(begun || !marked, "marked before the agent began");
            begun && marked
        })
        .await;
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(labels(&story), Vec::<String>::new());
    story.sim.with(|world| {
        let issue = &world.tracker.issues[&seven()];
        assert!(!issue.issue.open);
        assert_eq!(issue.comments.len(), 1);
        let shown = &issue.comments[0].body;
        assert!(shown.starts_with("### o/r#7 — AFK run progress (thread "), "{shown}");
        assert!(!shown.contains("[ ]") && !shown.contains("[~]"), "{shown}");
        let bells: Vec<_> = world.rung().iter().map(|bell| bell.kind).collect();
        assert_eq!(bells, [DoorbellKind::Done]);
        assert_eq!(world.archive.len(), 1);
        assert_eq!(world.archive[0].is_complete(), Ok(()));
        assert!(world.git.workspaces.is_empty(), "the workspace is left behind");
        let history = world.git.history(&repo("o/r"));
        assert_eq!(history.len(), 2, "one landing on one base");
        assert!(history[0].message.contains(&format!("AFK-Run: {}", run.id)));
        assert!(history[0].message.contains("Refs #7"));
        assert_eq!(world.agents.turns.len(), 1);
    });
}

#[tokio::test]
async fn the_journal_gives_the_record_again() {
    let story = Story::new().with_issue(vec![good_work()]);
    let run = story.settle().await;
    let rows = story.sim.with(|world| world.store.transitions(run.id));
    let mut again: Option<Run> = None;
    for (at, transition) in rows {
        match (&mut again, transition) {
            (None, afk_core::run::Transition::Admitted { run }) => again = Some(*run),
            (Some(run), transition) => run.apply(at, transition),
            (None, other) => panic!("{} before the admission", other.kind()),
        }
    }
    assert_eq!(again, Some(run));
}

#[tokio::test]
async fn a_free_repo_takes_its_next_issue() {
    let story = Story::new().with_issue(vec![good_work()]);
    story.settle().await;
    story.sim.with(|world| {
        world.file("o/r#8", "Say three.", &["ready-for-agent"], "ann");
        let more = vec![
            Act::Commit {
                message: "T",
                files: vec![("tests/three", Some("expect src/lib three"))],
            },
            Act::Commit { message: "C", files: vec![("src/lib", Some("one two three"))] },
        ];
        let script = afk_sim::world::Script::acts(more);
        world.agents.scripts.insert(repo("o/r"), vec![script].into());
    });
    story.round().await.unwrap();
    let run = story.settle().await;
    assert_eq!(run.issue.number, 8);
    story.ended(End::Done);
}

#[tokio::test]
async fn dirt_is_asked_about_once() {
    let mut work = good_work();
    work.acts.push(Act::Dirty("notes.txt"));
    let tidy = afk_sim::world::Script::acts(vec![Act::Discard]);
    let story = Story::new().with_issue(vec![work, tidy]);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(run.attempts.len(), 1);
    assert_eq!(run.attempts[0].turns.len(), 2);
    story.sim.with(|world| {
        let turns = world.agents.turns_of(&repo("o/r"));
        assert!(turns[1].request.prompt.contains("notes.txt"));
    });
}

#[tokio::test]
async fn dirt_that_stays_does_not_count() {
    let mut work = good_work();
    work.acts.push(Act::Dirty("notes.txt"));
    let shrug = afk_sim::world::Script::acts(Vec::new());
    let story = Story::new().with_issue(vec![work, shrug]);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(run.attempts[0].turns.len(), 2, "asked once, and no more");
}

#[tokio::test]
async fn a_proof_is_remembered_with_what_its_runs_could_reach() {
    let remembered = async |change: fn(&mut Policy)| {
        let story = Story::new().with_issue(vec![good_work()]).configure(change);
        story.settle().await;
        story.ended(End::Done);
        story.sim.with(|world| world.store.memos.keys().cloned().collect::<BTreeSet<_>>())
    };
    let closed = remembered(|_| {}).await;
    let open = remembered(|config| {
        for table in config.repos.values_mut() {
            table.network.verify = true;
        }
    });
    let open = open.await;
    assert!(!closed.is_empty() && closed.len() == open.len());
    assert!(closed.is_disjoint(&open), "{closed:?} {open:?}");
    assert_eq!(remembered(|_| {}).await, closed, "and found again under the same");
}

#[tokio::test]
async fn a_fix_of_what_prints_for_ever_is_proven_by_the_flood() {
    let ends = Script::acts(vec![
        Act::Commit {
            message: "Expect an end",
            files: vec![("tests/list", Some("expect src/list ends"))],
        },
        Act::Commit { message: "End it", files: vec![("src/list", Some("ends"))] },
    ]);
    let story = Story::new().with_issue(vec![ends]);
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("src/list", "PRINTS-FOR-EVER")]);
    });
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(run.attempts.len(), 1, "no run is handed over for what it fixes");
}

/// Good work whose agent stops in the middle of a rebase, and what it does when it is asked.
async fn rebasing(then: Vec<Act>) -> Story {
    let mut work = good_work();
    work.acts.push(Act::Begin("a rebase"));
    let story = Story::new().with_issue(vec![work, Script::acts(then)]);
    story.settle().await;
    story.sim.with(|world| {
        let turns = world.agents.turns_of(&repo("o/r"));
        assert_eq!(turns.len(), 2, "asked once");
        let prompt = &turns[1].request.prompt;
        assert!(prompt.contains("a rebase is under way"), "{prompt}");
    });
    story
}

#[tokio::test]
async fn what_git_has_under_way_is_asked_about_and_lands_when_it_is_finished() {
    rebasing(vec![Act::Finish]).await.ended(End::Done);
}

#[tokio::test]
async fn half_a_work_does_not_land_and_stays_for_a_person() {
    let story = rebasing(Vec::new()).await;
    story.ended(End::NeedsHuman);
    assert!(story.why().contains("a rebase is under way"), "{}", story.why());
    assert_eq!(story.count("git.push"), 0);
    let run = story.run().id;
    story.sim.with(|world| assert!(world.git.forensics.contains(&run), "its workspace is kept"));
}
