//! `/afk retry` on an issue whose run left a finished head: another run goes on from that head
//! without another turn, and has a turn only if the head is gone or is refused for another reason.

use afk_core::ids::Oid;
use afk_core::message::{RUN_TRAILER, trailer};
use afk_core::plan::{End, Refusal, TurnCause};
use afk_core::request::{PersonRequest, Request};
use afk_core::run::Run;
use afk_core::usd::Usd;
use afk_engine::ports::JobState;
use afk_sim::story::{Story, causes, good_work, repo, runs, seven, story_of, untested_work, write};
use afk_sim::world::{Act, Fault, JobRecord, Script, When, World, person};
use jiff::SignedDuration;

/// How many of the calls before the end of the tick that admits a run are swept; the admission is
/// among them.
const BEFORE: usize = 60;

const PERMIT: &str = "no-test-needed";

/// Only documents: no test can be written for them, so a person has to allow it.
fn documents() -> Script {
    Script::acts(vec![Act::Commit {
        message: "Explain two\n\nSo that it is known.",
        files: vec![("README.md", Some("hello, two"))],
    }])
}

fn label(story: &Story, on: bool, by: &str) {
    story.sim.with(|world| world.set_label(&seven(), PERMIT, on, &person(by)));
    story.sim.advance(SignedDuration::from_secs(1));
}

/// The comment of `run`.
fn comment_of(story: &Story, run: &Run) -> String {
    story.sim.with(|world| {
        let all = &world.tracker.issues[&seven()].comments;
        let own = afk_core::comment::find(all, run.id, "afk");
        own.map(|comment| comment.body.clone()).unwrap_or_default()
    })
}

fn left(run: &Run) -> Oid {
    run.leaves().expect("something to go on from").head
}

/// A run that was handed over; scripts that it leaves are for later runs.
async fn handed_over(scripts: Vec<Script>) -> (Story, Run) {
    let story = Story::new().with_issue(scripts);
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    (story, run)
}

/// The run after the first `n`, once it is settled.
async fn another(story: &Story, n: usize) -> Run {
    story.until("another run", |world| world.store.all().len() == n + 1).await;
    story.settle().await;
    runs(story).pop().unwrap()
}

#[tokio::test]
async fn what_a_label_allows_lands_without_another_turn() {
    let (story, old) = handed_over(vec![documents(), good_work()]).await;
    let why = story.why();
    for word in ["put the label no-test-needed on the issue", "`/afk retry` goes on from"] {
        assert!(why.contains(word), "{word:?} is not in {why:?}");
    }
    let head = left(&old);
    label(&story, true, "ann");
    write(&story, "/afk retry", &person("ann"));
    story
        .until("at work", |world| {
            let marked = world.tracker.issues[&seven()].has("agent-in-progress");
            marked && world.store.all().len() == 2
        })
        .await;
    let run = another(&story, 1).await;
    story.ended(End::Done);
    assert_eq!((causes(&run), run.spent()), (Vec::new(), Usd::ZERO), "nothing was paid for");
    let resumed = run.resumed().unwrap();
    assert_eq!(
        (resumed.from, &resumed.head, Some(&resumed.base)),
        (old.id, &head, old.start.as_ref().map(|start| &start.base))
    );
    let landed = run.landed().unwrap();
    assert_eq!(landed.head, head);
    let said = comment_of(&story, &run);
    assert!(said.contains(&format!("goes on from {}, the head that run {}", head.short(), old.id)));
    assert!(said.lines().next().unwrap().ends_with("progress"), "there is no thread: {said}");
    story.sim.with(|world| {
        let message = &world.git.commits[&landed.commit].message;
        assert_eq!(trailer(message, RUN_TRAILER), Some(run.id.to_string().as_str()));
        let evidence = world.archive.last().unwrap();
        assert_eq!((evidence.run, evidence.is_complete()), (run.id, Ok(())));
        assert_eq!(evidence.resumed.as_ref(), Some(resumed));
        assert_eq!(evidence.effort.as_ref().map(|effort| effort.turns), Some(0));
        assert!(evidence.to_markdown().contains(&format!("resumed from run {}", old.id)));
        assert_eq!(world.agents.turns.len(), 1, "the old one's");
    });
}

/// Nothing is wrong with the work: only the remote refused it.
#[tokio::test]
async fn what_the_remote_refused_lands_once_it_takes_it() {
    let story = Story::new().with_issue(vec![good_work()]);
    let refuse = |on: bool| {
        story.sim.with(|world| {
            world.git.refusing.clear();
            if on {
                world.git.refusing.insert(repo("o/r"), "main is closed".to_owned());
            }
        });
    };
    refuse(true);
    story.settle().await;
    story.ended(End::NeedsHuman);
    assert!(story.why().contains("main is closed"), "{}", story.why());
    refuse(false);
    write(&story, "/afk retry", &person("ann"));
    let run = another(&story, 1).await;
    story.ended(End::Done);
    assert_eq!(causes(&run), []);
}

/// The same for a change that a test could have covered, after the agent was told so often enough.
#[tokio::test]
async fn code_that_needs_no_test_lands_without_another_turn() {
    let story = Story::new()
        .with_issue(vec![untested_work()])
        .configure(|config| config.landing_refusals_max = 1);
    let old = story.settle().await;
    story.ended(End::NeedsHuman);
    assert!(story.why().contains("put the label no-test-needed on the issue"), "{}", story.why());
    label(&story, true, "ann");
    write(&story, "/afk retry", &person("ann"));
    let run = another(&story, 1).await;
    story.ended(End::Done);
    assert_eq!(causes(&run), []);
    assert_eq!(run.resumed().map(|resumed| resumed.from), Some(old.id));
}

#[tokio::test]
async fn a_head_that_is_gone_is_said_and_made_anew() {
    let (story, old) = handed_over(vec![documents(), documents()]).await;
    let head = left(&old);
    story.sim.with(|world| world.git.lost.insert(head));
    label(&story, true, "ann");
    write(&story, "/afk retry", &person("ann"));
    let run = another(&story, 1).await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening]);
    assert_eq!((run.resumes, run.resumed()), (Some(old.id), None));
    let said = comment_of(&story, &run);
    assert!(said.contains("which is gone or landed, and began from scratch"), "{said}");
}

#[tokio::test]
async fn a_label_that_a_stranger_put_on_costs_no_turn() {
    for scripts in [vec![documents(), good_work()], vec![untested_work(), good_work()]] {
        let story =
            Story::new().with_issue(scripts).configure(|config| config.landing_refusals_max = 1);
        let old = story.settle().await;
        story.ended(End::NeedsHuman);
        // The next run may refuse the work again.
        story.sim.with(|world| world.config.landing_refusals_max = 3);
        label(&story, true, "stranger");
        write(&story, "/afk retry", &person("ann"));
        let run = another(&story, 1).await;
        story.ended(End::NeedsHuman);
        assert_eq!(causes(&run), []);
        let why = story.why();
        assert!(why.contains("allows nothing, because stranger"), "{why}");
        assert_eq!(run.attempts[0].refused.as_ref().map(|one| one.why), Some(Refusal::Setup));
        // The next run leaves the same head, and now a trusted person puts the label on.
        label(&story, false, "ann");
        label(&story, true, "ann");
        write(&story, "/afk retry", &person("ann"));
        let last = another(&story, 2).await;
        story.ended(End::Done);
        assert_eq!(causes(&last), []);
        assert_eq!(last.landed().map(|landed| landed.head.clone()), Some(left(&old)));
        let resumed = last.resumed().unwrap();
        assert_eq!(resumed.from, run.id);
        assert_eq!(Some(&resumed.base), old.start.as_ref().map(|start| &start.base));
    }
}

#[tokio::test]
async fn a_retry_that_is_asked_twice_is_one_run() {
    let (story, _) = handed_over(vec![documents()]).await;
    label(&story, true, "ann");
    write(&story, "/afk retry", &person("ann"));
    write(&story, "/afk retry", &person("ann"));
    another(&story, 1).await;
    story.ended(End::Done);
    story.rounds(10).await;
    assert_eq!(runs(&story).len(), 2);
}

#[tokio::test]
async fn without_the_label_it_is_judged_again_and_refused_as_usual() {
    // Only a person can help here: the work is handed over again, and no turn is paid for.
    let (story, _) = handed_over(vec![documents(), good_work()]).await;
    write(&story, "/afk retry", &person("ann"));
    let run = another(&story, 1).await;
    story.ended(End::NeedsHuman);
    assert_eq!(causes(&run), []);
    // Here the agent can help: it goes on from its own work.
    let tests = Script::acts(vec![Act::Commit {
        message: "Expect two",
        files: vec![("tests/two", Some("expect src/lib two"))],
    }]);
    let story = Story::new()
        .with_issue(vec![untested_work(), tests])
        .configure(|config| config.landing_refusals_max = 1);
    let old = story.settle().await;
    story.ended(End::NeedsHuman);
    story.sim.with(|world| world.config.landing_refusals_max = 3);
    write(&story, "/afk retry", &person("ann"));
    let run = another(&story, 1).await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Refused]);
    let landed = run.landed().unwrap();
    story.sim.with(|world| {
        let below = &world.git.commits[&landed.head].parents;
        assert_eq!(*below, [left(&old)], "on top of what it had made");
        let turn = world.agents.turns.values().last().unwrap();
        assert!(
            turn.request.prompt.contains("the change was not proved"),
            "{}",
            turn.request.prompt
        );
        assert!(turn.request.prompt.contains("Say two."), "the issue, on a thread that is new");
    });
}

#[tokio::test]
async fn a_head_that_conflicts_since_gets_a_turn_that_resolves_it() {
    let mend = Script::acts(vec![
        Act::Follow,
        Act::Commit { message: "Explain two", files: vec![("README.md", Some("both"))] },
    ]);
    let (story, _) = handed_over(vec![documents(), mend]).await;
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("README.md", "hello, others")]);
    });
    label(&story, true, "ann");
    write(&story, "/afk retry", &person("ann"));
    let run = another(&story, 1).await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Refused]);
    let whys: Vec<_> = run.attempts.iter().map(|one| one.refused.as_ref().map(|r| r.why)).collect();
    assert_eq!(whys, [Some(Refusal::Conflict), None]);
}

/// The base of the head was taken out of the default branch: only the run's own change lands.
#[tokio::test]
async fn what_the_head_stood_on_does_not_come_back_with_it() {
    let story = Story::new().with_issue(vec![documents()]);
    story.sim.with(|world| world.somebody_lands(&repo("o/r"), &[("src/keys", "theirs")]));
    let old = story.settle().await;
    story.ended(End::NeedsHuman);
    story.sim.with(|world| world.somebody_rewinds(&repo("o/r")));
    label(&story, true, "ann");
    write(&story, "/afk retry", &person("ann"));
    let run = another(&story, 1).await;
    story.ended(End::Done);
    let landed = run.landed().unwrap();
    assert_eq!(landed.rebuilt_from, old.start.map(|start| start.base));
    let files = story.sim.with(|world| world.git.files_of(&landed.commit)).unwrap();
    assert!(files.contains_key("README.md") && !files.contains_key("src/keys"), "{files:?}");
}

#[tokio::test]
async fn work_for_another_text_is_not_gone_on_from() {
    let (story, _) = handed_over(vec![documents(), good_work()]).await;
    story.sim.with(|world| world.set_body(&seven(), "Say two, and test it.", &person("ann")));
    story.sim.advance(SignedDuration::from_secs(2));
    label(&story, true, "ann");
    write(&story, "/afk retry", &person("ann"));
    let run = another(&story, 1).await;
    story.ended(End::Done);
    assert_eq!((causes(&run), run.resumes), (vec![TurnCause::Opening], None));
}

/// A person who puts the ready label on by hand wants a new beginning. One who asks for a retry by
/// a command puts the label on, too, at the time of the request.
#[tokio::test]
async fn only_a_retry_goes_on_from_what_was_left() {
    for asked in [false, true] {
        let (story, old) = handed_over(vec![documents(), good_work()]).await;
        label(&story, true, "ann");
        story.sim.with(|world| {
            if asked {
                let (id, by, at) = ("cli:1".to_owned(), person("ann"), world.now);
                world.add_request(old.id, &PersonRequest { id, by, at, what: Request::Release });
                for (_, request) in &mut world.store.requests {
                    request.answered = Some((at, "the issue is released again".to_owned()));
                }
            }
            world.set_label(&seven(), "ready-for-human", false, &person("ann"));
            world.set_label(&seven(), "ready-for-agent", true, &person("ann"));
        });
        let run = another(&story, 1).await;
        story.ended(End::Done);
        assert_eq!(run.resumed().is_some(), asked);
        assert_eq!(causes(&run).len(), usize::from(!asked));
    }
}

/// A gate that closes before the run has begun releases it; the next run goes on from the same
/// head.
#[tokio::test]
async fn a_run_that_was_let_go_before_it_began_loses_nothing() {
    let (story, old) = handed_over(vec![documents()]).await;
    let hook = |on: bool| {
        story.sim.with(|world| {
            for table in world.config.repos.values_mut() {
                table.hooks.after_create = on.then(|| vec!["hook".to_owned()]);
            }
            world.jobs.hanging.insert("hook".to_owned());
        });
    };
    hook(true);
    label(&story, true, "ann");
    write(&story, "/afk retry", &person("ann"));
    let runs = |job: &JobRecord| matches!(job.state, JobState::Running);
    story.until("at the hook", |world| world.jobs.jobs.values().any(runs)).await;
    story.sim.with(|world| world.config.kill_switch = true);
    story.settle().await;
    story.ended(End::Withdrawn);
    hook(false);
    story.sim.with(|world| world.config.kill_switch = false);
    let run = another(&story, 2).await;
    story.ended(End::Done);
    assert_eq!(causes(&run), []);
    assert_eq!(run.resumed().map(|resumed| resumed.from), Some(old.id));
}

#[tokio::test]
async fn what_can_be_retried_is_kept() {
    let (story, old) = handed_over(vec![documents()]).await;
    story
        .engine
        .do_chores(SignedDuration::from_mins(20), &tokio_util::sync::CancellationToken::new())
        .await
        .unwrap();
    story.sim.with(|world| assert!(world.git.retriable.contains(&old.id)));
    label(&story, true, "ann");
    write(&story, "/afk retry", &person("ann"));
    another(&story, 1).await;
    story
        .engine
        .do_chores(SignedDuration::from_mins(20), &tokio_util::sync::CancellationToken::new())
        .await
        .unwrap();
    story.sim.with(|world| assert!(world.git.retriable.is_empty(), "it landed"));
}

/// Every call from the comment to the end fails once, before or after its effect, and the process
/// dies of it once.
#[tokio::test]
async fn any_call_may_fail_on_the_way_and_no_turn_is_paid_for() {
    let tell = async |fault: Option<Fault>| {
        let (mut story, _) = handed_over(vec![documents(), good_work()]).await;
        label(&story, true, "ann");
        write(&story, "/afk retry", &person("ann"));
        story.sim.with(|world| world.fault = fault);
        let mut admitted = None;
        for _ in 0..300 {
            if story.deadly_round().await {
                story = story.restarted("second");
            }
            let over = story.sim.with(|world: &mut World| {
                let all = world.store.all();
                if all.len() >= 2 {
                    admitted.get_or_insert(world.calls.len());
                }
                all.len() >= 2
                    && all.iter().all(|run| run.settled_at.is_some())
                    && world.store.requests.iter().all(|(_, one)| one.answered.is_some())
                    && world.all_rung()
            });
            if over {
                break;
            }
        }
        (story, admitted)
    };
    let (story, admitted) = tell(None).await;
    // What comes before the admission is swept with any retry.
    let from = admitted.expect("another run") - BEFORE;
    let to = story.sim.with(|world| world.calls.len());
    for call in from..to {
        let fails = if call % 2 == 0 { When::Before } else { When::After };
        for (when, kills) in [(fails, false), (When::After, true)] {
            let (story, _) = tell(Some(Fault { call, when, kills })).await;
            let what = story.sim.with(|world| {
                let name = world.calls[call];
                format!("{name} (call {call}) {when:?} {kills}\n{}", story_of(world))
            });
            let all = runs(&story);
            let last = all.last().unwrap();
            assert_eq!(last.conclusion.as_ref().map(|end| end.end), Some(End::Done), "{what}");
            assert!(last.resumed().is_some(), "{what}");
            story.sim.with(|world| {
                assert_eq!(world.agents.turns.len(), 1, "only the old run's turn: {what}");
                assert_eq!(world.git.history(&repo("o/r")).len(), 2, "one landing: {what}");
                assert!(world.wrong.is_empty(), "{:?} {what}", world.wrong);
            });
        }
    }
    println!("{} calls, {} faults", to - from, 2 * (to - from));
}
