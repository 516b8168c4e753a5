//! The loop where people decide what lands, by pull requests.

use afk_core::ask::Permissions;
use afk_core::config::History;
use afk_core::ids::Oid;
use afk_core::plan::{End, TurnCause};
use afk_core::request::{PersonRequest, Request};
use afk_core::run::{CancelHow, PullState, Run};
use afk_engine::ports::Switch;
use afk_sim::story::{
    Story, ask, causes, enroll, fixing_work, good_work, permit, pulls, repo, seven,
};
use afk_sim::world::{Act, Asks, Fault, Script, When, World, person};
use jiff::SignedDuration;

/// A story whose pull request is open.
async fn open(scripts: Vec<Script>) -> Story {
    let story = Story::new().with_issue(scripts).configure(pulls);
    story.until("opened", |world| !world.pulls.opened.is_empty()).await;
    story.rounds(3).await;
    story
}

/// What the next issue wants, apart from the first.
fn other_work() -> Script {
    let files = vec![("tests/three", Some("expect src/three three"))];
    let test = Act::Commit { message: "Expect three", files };
    let files = vec![("src/three", Some("three"))];
    Script::acts(vec![test, Act::Commit { message: "Say three", files }])
}

/// Releases the next issue of the repo, for whose agent these are.
fn next(story: &Story, scripts: Vec<Script>) {
    story.sim.with(|world| {
        world.config.max_concurrent_runs = 1;
        world.file("o/r#8", "Say three.", &["ready-for-agent"], "ann");
        world.agents.scripts.insert(repo("o/r"), scripts.into());
    });
}

/// The only run of an issue of the repo.
fn run_of(world: &World, number: u64) -> Run {
    let mut runs = world.store.all();
    runs.retain(|run| run.issue.repo == repo("o/r") && run.issue.number == number);
    assert_eq!(runs.len(), 1, "runs of #{number}");
    runs.remove(0)
}

/// An open pull request, and an agent at work on the next issue that asks something and waits a
/// minute for the answer.
async fn beside() -> Story {
    beside_for(60).await
}

/// The same with so many seconds.
async fn beside_for(seconds: u64) -> Story {
    let story = open(vec![good_work()]).await;
    let story = story.configure(|config| {
        permit(config, Permissions::Ask);
        config.question_timeout_seconds = seconds;
    });
    next(&story, vec![Script { asks: Some(Asks::Question("Which?")), ..other_work() }]);
    let asked = |world: &mut World| {
        let questions = world.store.all();
        questions.iter().any(|run| run.issue.number == 8 && run.open_questions().count() == 1)
    };
    story.until("asked", asked).await;
    story
}

#[tokio::test]
async fn while_people_decide_the_next_issue_lands() {
    let story = open(vec![good_work()]).await;
    story.sim.with(|world| {
        let issue = &world.tracker.issues[&seven()];
        assert!(issue.has("ready-for-agent") && !issue.has("agent-in-progress"));
        assert_eq!(world.store.all()[0].spent(), world.spent().all, "nothing is reserved");
    });
    next(&story, vec![other_work()]);
    story.until("the second", |world| world.pulls.opened.len() == 2).await;
    story.rounds(3).await;
    story.sim.with(|world| {
        let branch = run_of(world, 8).pull_branch();
        world.people_merge_branch(&repo("o/r"), &branch);
    });
    story.until("done", |world| run_of(world, 8).settled_at.is_some()).await;
    story.ended(End::Done);
    story.rounds(50).await;
    let first = story.sim.with(|world| run_of(world, 7));
    assert!(first.conclusion.is_none() && first.attempts.len() == 1, "followed, not begun again");
    story.sim.with(|world| world.people_merge(&repo("o/r")));
    story.settle().await;
    story.sim.with(|world| {
        let ends = [7, 8].map(|n| run_of(world, n).conclusion.unwrap().end);
        assert_eq!(ends, [End::Done, End::Done]);
        assert!(world.wrong.is_empty(), "{:?}", world.wrong);
    });
}

#[tokio::test]
async fn a_lock_that_a_person_adds_beside_an_open_pull_request_holds_the_repo() {
    let story = open(vec![good_work()]).await;
    let lock = |on| {
        story.sim.with(|world| {
            world.set_label(&seven(), "agent-in-progress", on, &person("ann"));
        });
    };
    lock(true);
    next(&story, vec![other_work()]);
    story.rounds(20).await;
    story.sim.with(|world| {
        assert!(world.tracker.issues[&seven()].has("agent-in-progress"), "it is ann's");
        let runs = world.store.all();
        assert!(runs.len() == 1 && runs[0].cancel.is_none(), "{runs:?}");
    });
    lock(false);
    story.until("the second", |world| world.store.all().len() == 2).await;
    assert_eq!(story.sim.with(|world| run_of(world, 7).cancel), None);
}

#[tokio::test]
async fn what_is_merged_while_another_run_is_at_work_waits_for_it() {
    let story = beside_for(600).await;
    story.sim.with(|world| world.people_merge(&repo("o/r")));
    let told = |world: &mut World| {
        let held_up = run_of(world, 7).current_error(world.now);
        held_up.is_some_and(|(what, _)| what.contains("another run is at work"))
    };
    story.until("told", told).await;
    story.sim.with(|world| {
        let (first, second) = (run_of(world, 7), run_of(world, 8));
        assert!(first.wants_lock() && first.landed().is_none());
        assert!(second.holds_lock() && second.conclusion.is_none());
        // Whatever comes next, it goes first.
        world.file("o/r#9", "Now.", &["ready-for-agent", "P0"], "ann");
    });
    for _ in 0..6 {
        story.sim.advance(SignedDuration::from_mins(1));
        story.tick().await.unwrap();
    }
    story.sim.with(|world| {
        let comment = &world.tracker.issues[&seven()].comments[0].body;
        assert!(comment.contains("another run is at work in the repository"), "{comment}");
    });
    story.until("landed", |world| run_of(world, 7).landed().is_some()).await;
    story.until("done", |world| run_of(world, 7).settled_at.is_some()).await;
    story.sim.with(|world| {
        let (first, second) = (run_of(world, 7), run_of(world, 8));
        assert_eq!(first.conclusion.unwrap().end, End::Done);
        assert!(second.aside_since.is_some() && second.landed().is_none());
        world.set_open(&"o/r#9".parse().unwrap(), false, &person("ann"));
        world.people_merge(&repo("o/r"));
    });
    story.until("all", |world| run_of(world, 8).settled_at.is_some()).await;
    assert_eq!(story.sim.with(|world| run_of(world, 8).conclusion.unwrap().end), End::Done);
}

#[tokio::test]
async fn what_was_merged_in_one_repo_keeps_no_other_waiting() {
    let story = open(vec![good_work()]).await;
    next(&story, vec![other_work(), Script::hangs()]);
    story.until("the second", |world| world.pulls.opened.len() == 2).await;
    story.rounds(3).await;
    story.sim.with(|world| world.file("o/r#9", "Say four.", &["ready-for-agent"], "ann"));
    story.until("the third", |world| world.agents.turns.len() == 3).await;
    story.sim.with(|world| world.people_merge(&repo("o/r")));
    let both = |world: &mut World| [7, 8].iter().all(|n| run_of(world, *n).wants_lock());
    story.until("both wait", both).await;
    story.sim.with(|world| {
        world.config.max_concurrent_runs = 2;
        enroll(&mut world.config, "o/s");
        world.somebody_lands(&repo("o/s"), &[("src/lib", "one")]);
        world.file("o/s#7", "Say two.", &["ready-for-agent"], "ann");
        world.agents.scripts.insert(repo("o/s"), vec![good_work()].into());
    });
    story.until("another repo", |world| world.agents.turns.len() == 4).await;
    story.sim.with(|world| {
        let other = world.store.all().into_iter().find(|run| run.issue.repo == repo("o/s"));
        assert!(other.unwrap().cancel.is_none() && run_of(world, 9).holds_lock());
    });
}

#[tokio::test]
async fn a_run_beside_another_ends_when_its_pull_request_is_closed_or_it_is_stopped() {
    let closed = |world: &mut World| world.people_close(&repo("o/r"), &PullState::Closed);
    let stopped = |world: &mut World| {
        let (run, at, by) = (run_of(world, 7).id, world.now, person("ann"));
        let asked = PersonRequest { id: "stop".to_owned(), at, by, what: Request::Stop };
        world.ask(run, &asked);
    };
    let enough: [&dyn Fn(&mut World); 2] = [&closed, &stopped];
    for act in enough {
        let story = beside().await;
        story.sim.with(|world| act(world));
        story.until("ended", |world| run_of(world, 7).settled_at.is_some()).await;
        story.sim.with(|world| {
            assert_eq!(run_of(world, 7).conclusion.unwrap().end, End::Withdrawn);
            assert_eq!(state(world), PullState::Closed);
            assert!(run_of(world, 8).holds_lock(), "the other goes on");
            assert!(!world.tracker.issues[&seven()].has("ready-for-agent"));
        });
        story.sim.with(|world| world.pulls.merging = true);
        story.settle().await;
        story.ended(End::Done);
    }
}

#[tokio::test]
async fn whoever_dies_between_goes_on_with_both() {
    for after in 0..120 {
        let mut story = beside().await;
        story.sim.with(|world| {
            world.people_merge(&repo("o/r"));
            world.pulls.merging = true;
            let call = world.calls.len() + after;
            world.fault = Some(Fault { call, when: When::After, kills: true });
        });
        for _ in 0..400 {
            if story.sim.with(|world| world.store.all().iter().all(|run| run.settled_at.is_some()))
            {
                break;
            }
            if story.deadly_round().await {
                story = story.restarted("second");
            }
        }
        story.sim.with(|world| {
            for n in [7, 8] {
                let end = run_of(world, n).conclusion.map(|conclusion| conclusion.end);
                assert_eq!(end, Some(End::Done), "#{n}, a death after call {after}");
            }
            assert!(world.wrong.is_empty(), "{:?}", world.wrong);
        });
    }
}

fn state(world: &World) -> PullState {
    world.pulls.pulls.values().next().unwrap().state.clone()
}

#[tokio::test]
async fn what_people_merge_landed_and_needs_no_second_proof() {
    let story = open(vec![good_work()]).await;
    let judged = story.count("jobs.start");
    // No clock runs while people decide, however long they take.
    for _ in 0..200 {
        story.sim.advance(SignedDuration::from_mins(5));
        story.tick().await.unwrap();
    }
    assert_eq!(story.run().conclusion, None);
    story.sim.with(|world| world.people_merge(&repo("o/r")));
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(story.count("jobs.start") - judged, 1, "the stage alone");
    story.sim.with(|world| {
        assert_eq!(run.landed().unwrap().commit, world.git.remotes[&repo("o/r")]);
        assert!(!world.calls.contains(&"pullrequests.close"));
        assert_eq!(world.git.branches.len(), 0, "its branch is gone");
        let spec = &world.pulls.pulls.values().next().unwrap().spec;
        assert_eq!((spec.onto.as_str(), world.pulls.opened.len()), ("main", 1));
        assert!(spec.body.contains("Refs #7") && !spec.body.contains("AFK-Run"), "{}", spec.body);
    });
}

#[tokio::test]
async fn a_forge_that_lets_nobody_in_takes_no_pull_request_away() {
    let story = open(vec![good_work()]).await;
    story.sim.with(|world| world.refusing.insert("pullrequests.look"));
    for _ in 0..200 {
        story.sim.advance(SignedDuration::from_mins(5));
        let _ = story.tick().await;
    }
    story.sim.with(|world| {
        let run = run_of(world, 7);
        assert_eq!((run.conclusion.as_ref(), state(world)), (None, PullState::Open));
        let (told, _) = run.current_error(world.now).unwrap();
        assert!(told.contains("pullrequests.look does not let us in"), "{told}");
        world.refusing.clear();
        world.people_merge(&repo("o/r"));
    });
    story.settle().await;
    story.ended(End::Done);
    assert_eq!(story.count("pullrequests.close"), 0);
}

#[tokio::test]
async fn what_was_merged_with_more_is_proved_afterwards() {
    let story = open(vec![good_work()]).await;
    let judged = story.count("jobs.start");
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("src/theirs", "fine")]);
        world.people_merge(&repo("o/r"));
    });
    let run = story.settle().await;
    story.ended(End::Done);
    assert!(story.count("jobs.start") - judged > 1, "proved anew");
    let landed = run.landed().unwrap();
    assert!(landed.proof.as_ref().unwrap().accepted() && landed.guardrails.is_some());
    assert_ne!(Some(&landed.base), run.start.as_ref().map(|start| &start.base));
}

#[tokio::test]
async fn what_was_merged_with_more_is_proved_on_a_day_that_has_no_money_left() {
    let story = open(vec![good_work()]).await;
    story.sim.with(|world| {
        world.config.day_budget_usd = Some(world.spent().all);
        world.somebody_lands(&repo("o/r"), &[("src/theirs", "fine")]);
        world.people_merge(&repo("o/r"));
    });
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(run.spent(), run.budget, "nothing is left to spend");
    assert!(run.landed().unwrap().proof.as_ref().unwrap().accepted());
}

#[tokio::test]
async fn what_the_proof_refuses_after_it_was_merged_is_handed_over() {
    let story = open(vec![good_work()]).await;
    story.sim.with(|world| {
        // On top of this, the tests of the change pass without it.
        world.somebody_lands(&repo("o/r"), &[("src/lib", "one two")]);
        let key = world.pulls.pulls.keys().next().unwrap().clone();
        let record = world.pulls.pulls.get_mut(&key).unwrap();
        let commit = world.git.remotes[&repo("o/r")].clone();
        record.state = PullState::Merged { commit };
    });
    story.settle().await;
    story.ended(End::NeedsHuman);
    assert!(story.why().contains("landed and is green, but"), "{}", story.why());
}

/// A story whose pull request is open and brings the agent's own commits.
async fn open_with_history(scripts: Vec<Script>) -> Story {
    let story = Story::new().with_issue(scripts).configure(pulls).configure(|config| {
        for table in config.repos.values_mut() {
            table.history = History::Merge;
        }
    });
    story.until("opened", |world| !world.pulls.opened.is_empty()).await;
    story.rounds(3).await;
    story
}

/// People merge the pull request by a rebase. Returns what the default head was before.
fn rebase(world: &mut World) -> Oid {
    let before = world.git.remotes[&repo("o/r")].clone();
    world.people_rebase(&repo("o/r"));
    assert!(matches!(state(world), PullState::Merged { .. }));
    before
}

#[tokio::test]
async fn commits_that_people_rebased_are_one_change_on_what_is_below_them() {
    for moved in [false, true] {
        let story = open_with_history(vec![good_work()]).await;
        let before = story.sim.with(|world| {
            if moved {
                world.somebody_lands(&repo("o/r"), &[("src/theirs", "fine")]);
            }
            rebase(world)
        });
        let run = story.settle().await;
        story.ended(End::Done);
        let landed = run.landed().unwrap();
        assert_eq!(landed.base, before, "moved: {moved}");
        assert!(landed.proof.as_ref().unwrap().accepted());
        story.sim.with(|world| {
            assert_eq!(landed.commit, world.git.remotes[&repo("o/r")]);
            let parents = &world.git.commits[&landed.commit].parents;
            assert_ne!(parents[..], [before], "there are two of them");
        });
    }
}

#[tokio::test]
async fn a_red_commit_among_those_that_people_rebased_is_ours() {
    let mut breaking = good_work();
    let files = vec![("src/note", Some("BREAKS-CI"))];
    breaking.acts.insert(0, Act::Commit { message: "Add a note", files });
    let story = open_with_history(vec![breaking, fixing_work()]).await;
    let before = story.sim.with(|world| {
        let before = rebase(world);
        world.pulls.merging = true;
        before
    });
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::FixForward]);
    assert_eq!(run.attempts[0].candidates[0].base, before);
}

/// People choose another branch for the open pull request, and merge it there.
fn merge_elsewhere(world: &mut World) {
    for record in world.pulls.pulls.values_mut() {
        record.state = PullState::Merged { commit: record.spec.commit.clone() };
    }
}

/// Rounds a minute apart.
async fn minutes(story: &Story, n: u32) {
    for _ in 0..n {
        story.sim.advance(SignedDuration::from_mins(1));
        story.rounds(1).await;
    }
}

#[tokio::test]
async fn what_people_merge_into_another_branch_is_handed_over_and_holds_no_repo() {
    let story = open(vec![good_work()]).await;
    story.sim.with(merge_elsewhere);
    story.until("taken up", |world| run_of(world, 7).holds_lock()).await;
    next(&story, vec![other_work()]);
    minutes(&story, 8).await;
    story.sim.with(|world| {
        let run = run_of(world, 7);
        assert!(run.conclusion.is_none() && world.store.all().len() == 1, "it may come yet");
        let (told, _) = run.current_error(world.now).unwrap();
        assert!(told.contains("was merged, but main does not show it yet"), "{told}");
    });
    minutes(&story, 8).await;
    story.until("settled", |world| run_of(world, 7).settled_at.is_some()).await;
    story.sim.with(|world| {
        let end = run_of(world, 7).conclusion.unwrap();
        assert_eq!(end.end, End::NeedsHuman);
        assert!(end.why.contains("but main does not have that commit"), "{}", end.why);
        assert!(world.tracker.issues[&seven()].issue.open);
    });
    story.until("the next", |world| world.store.all().len() == 2).await;
    story.sim.with(|world| assert!(world.wrong.is_empty(), "{:?}", world.wrong));
}

#[tokio::test]
async fn a_run_whose_work_was_merged_into_another_branch_can_be_stopped() {
    let story = open(vec![good_work()]).await;
    story.sim.with(|world| {
        merge_elsewhere(world);
        ask(world, "stop", Request::Stop);
    });
    minutes(&story, 16).await;
    story.settle().await;
    story.ended(End::NeedsHuman);
    assert!(story.why().contains("but main does not have that commit"), "{}", story.why());
}

#[tokio::test]
async fn a_branch_that_shows_late_what_was_merged_is_waited_for_anew_after_another_error() {
    let story = open(vec![good_work()]).await;
    let broken = |on: bool| {
        story.sim.with(|world| world.broken = on.then_some("git.landed").into_iter().collect());
    };
    story.sim.with(merge_elsewhere);
    broken(true);
    minutes(&story, 20).await;
    broken(false);
    minutes(&story, 3).await;
    assert_eq!(story.run().conclusion, None, "the other error does not count");
    story.sim.with(|world| {
        let record = world.pulls.pulls.values().next().unwrap();
        let commit = record.spec.commit.clone();
        world.git.remotes.insert(repo("o/r"), commit);
    });
    story.settle().await;
    story.ended(End::Done);
}

#[tokio::test]
async fn what_people_close_cancels_the_run() {
    for closed in [PullState::Closed, PullState::Superseded] {
        let story = open(vec![good_work()]).await;
        story.sim.with(|world| world.people_close(&repo("o/r"), &closed));
        let run = story.settle().await;
        story.ended(End::Withdrawn);
        assert_eq!(run.cancel.map(|cancel| cancel.how), Some(CancelHow::PullClosed));
        assert!(story.why().contains("the pull request was closed"), "{}", story.why());
        story.sim.with(|world| {
            let issue = &world.tracker.issues[&seven()];
            assert!(!issue.has("ready-for-agent") && issue.issue.open, "not begun again");
            assert_eq!(world.git.branches.len(), 0);
        });
    }
}

#[tokio::test]
async fn an_agent_gets_no_message_about_work_that_people_decide_on() {
    let story = open(vec![good_work()]).await;
    story.sim.with(|world| ask(world, "say", Request::Say { text: "Shorter.".to_owned() }));
    story.rounds(3).await;
    story.sim.with(|world| {
        let run = run_of(world, 7);
        let answered = world.store.requests_to(run.id).remove(0).answered;
        let (_, said) = answered.expect("an answer");
        assert!(said.contains("close the pull request"), "{said}");
        assert_eq!(run.heard, [], "nothing was taken");
        world.people_merge(&repo("o/r"));
    });
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening], "nothing is paid for after the merge");
}

#[tokio::test]
async fn a_run_that_ends_takes_its_pull_request_back() {
    let story = open(vec![good_work()]).await;
    story.sim.with(|world| ask(world, "stop", Request::Stop));
    story.settle().await;
    story.ended(End::Withdrawn);
    assert_eq!(story.sim.with(|world| state(world)), PullState::Closed);
}

#[tokio::test]
async fn what_was_merged_while_the_run_was_stopped_is_followed() {
    let story = open(vec![good_work()]).await;
    story.sim.with(|world| {
        ask(world, "stop", Request::Stop);
        world.people_merge(&repo("o/r"));
    });
    let run = story.settle().await;
    story.ended(End::Done);
    assert!(run.landed().is_some() && run.cancel.is_some());
}

#[tokio::test]
async fn a_frozen_repo_gets_no_pull_request() {
    let story = Story::new().with_issue(vec![good_work()]).configure(pulls);
    let broken = |on: bool| {
        story.sim.with(|world| {
            world.broken = on.then_some("pullrequests.open").into_iter().collect();
        });
    };
    broken(true);
    let tried = |world: &mut World| world.calls.contains(&"pullrequests.open");
    story.until("tried", tried).await;
    let frozen = Switch::Freeze(repo("o/r"));
    story.switch(&frozen, true);
    broken(false);
    story.rounds(5).await;
    assert_eq!(story.sim.with(|world| world.pulls.opened.len()), 0);
    story.switch(&frozen, false);
    story.sim.with(|world| world.pulls.merging = true);
    story.settle().await;
    story.ended(End::Done);
}
