//! The loop where the agent asks: people are told once, their answer reaches the agent once, and if
//! none comes in time the policy's answer does.

use afk_core::ask::{Answer, Permissions};
use afk_core::doorbell::DoorbellKind;
use afk_core::plan::{End, TurnCause};
use afk_core::request::Request;
use afk_core::run::{Run, Transition};
use afk_engine::Engine;
use afk_engine::ports::Switch;
use afk_sim::story::{Story, ask, causes, good_work, permit, repo, seven, story_of};
use afk_sim::world::{Asks, Fault, Script, When, World, person};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

/// How many seconds a question waits for a person in these stories.
const PATIENCE: u64 = 60;
const PERMISSION: Asks = Asks::Permission("Bash: cargo add serde");
const QUESTION: Asks = Asks::Question("Which greeting?");

/// A story whose first agent asks before it works well.
fn asking(asks: Asks) -> Story {
    let script = Script { asks: Some(asks), ..good_work() };
    Story::new().with_issue(vec![script]).configure(|config| {
        permit(config, Permissions::Ask);
        config.question_timeout_seconds = PATIENCE;
    })
}

fn allow(ask: Option<u32>) -> Request {
    Request::Allow { ask }
}

fn deny() -> Request {
    Request::Deny { ask: None, why: "Use what is there.".to_owned() }
}

fn waits(world: &World) -> bool {
    world.store.all().iter().any(|run| run.open_questions().next().is_some())
}

fn numbers(run: &Run) -> Vec<u32> {
    run.open_questions().map(|question| question.n).collect()
}

/// The doorbells about questions, rung or still to ring.
fn bells(story: &Story) -> Vec<String> {
    let of = DoorbellKind::Question;
    story.sim.with(|world| {
        let all = world.rung().into_iter().filter(|bell| bell.kind == of);
        all.map(|bell| format!("{}: {}", bell.title, bell.body)).collect()
    })
}

/// The answer that the first agent got.
fn told(story: &Story) -> Option<Answer> {
    story.sim.with(|world| world.agents.turns_of(&repo("o/r"))[0].answered.clone())
}

#[tokio::test]
async fn an_allowed_agent_goes_on_and_people_were_told_once() {
    let story = asking(PERMISSION);
    story.until("it asks", |world| waits(world)).await;
    story.rounds(20).await;
    assert_eq!(told(&story), None, "it waits for a person");
    let rung = bells(&story);
    assert_eq!(rung.len(), 1, "{rung:?}");
    for words in ["[QUESTION] o/r#7", "Bash: cargo add serde", "afk allow o/r#7 --ask 1"] {
        assert!(rung[0].contains(words), "{}", rung[0]);
    }
    story.sim.with(|world| ask(world, "a", allow(None)));
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(told(&story), Some(Answer::Allow));
    assert_eq!(causes(&run), [TurnCause::Opening]);
    assert_eq!(bells(&story).len(), 1);
    assert_eq!(story.count("executor.answer"), 1);
    // The run's clocks stood still from the question to the answer, and no longer.
    let question = run.questions().next().unwrap();
    let given = question.given.as_ref().unwrap();
    assert_eq!(given.by, Some(person("ann")));
    let pause = &run.pauses[0];
    assert_eq!((pause.from, pause.to), (question.at, Some(given.at)));
    assert!(given.at.duration_since(question.at) >= SignedDuration::from_secs(20));
}

#[tokio::test]
async fn a_refused_agent_does_not_do_it() {
    let story = asking(PERMISSION);
    story.until("it asks", |world| waits(world)).await;
    story.sim.with(|world| ask(world, "a", deny()));
    story.settle().await;
    story.ended(End::NeedsHuman);
    assert_eq!(told(&story), Some(Answer::Deny { why: "Use what is there.".to_owned() }));
    story.sim.with(|world| assert_eq!(world.git.history(&repo("o/r")).len(), 1));
}

#[tokio::test]
async fn a_question_is_answered_in_a_persons_words_by_a_comment() {
    let story = asking(QUESTION);
    story.until("it asks", |world| waits(world)).await;
    story.rounds(2).await;
    story.sim.with(|world| {
        world.write_comment(&seven(), "/afk answer world", &person("mallory"));
        world.write_comment(&seven(), "/afk answer you", &person("ann"));
    });
    story.settle().await;
    story.ended(End::Done);
    assert_eq!(told(&story), Some(Answer::Say { text: "you".to_owned() }));
}

#[tokio::test]
async fn at_the_deadline_policy_answers_and_a_late_answer_does_nothing() {
    let story = asking(PERMISSION);
    story.until("it asks", |world| waits(world)).await;
    story.sim.with(|world| {
        // The agent gets its answer, and works on for a long time.
        let turn = world.agents.turns.values_mut().next().expect("a turn");
        turn.script.end = None;
    });
    let asked_at = story.run().questions().next().unwrap().at;
    story.until("an answer", |world| !waits(world)).await;
    story.sim.with(|world| ask(world, "late", allow(None)));
    story.sim.with(|world| ask(world, "late, by its number", allow(Some(1))));
    story.rounds(3).await;
    let run = story.run();
    assert_eq!(run.requests, [], "nothing was taken");
    let given = run.questions().next().unwrap().given.clone().unwrap();
    assert_eq!(given.by, None);
    let waited = given.at.duration_since(asked_at);
    assert!(waited >= SignedDuration::from_secs(60), "{waited}");
    assert!(matches!(told(&story), Some(Answer::Deny { why }) if why.contains("in time")));
    let answers: Vec<_> = story.sim.with(|world| {
        let all = world.store.requests.iter().map(|(_, one)| one.answered.clone().unwrap().1);
        all.collect()
    });
    assert!(
        answers.iter().all(|why| why.contains("ask for a permission") || why.contains("by policy"))
    );
    assert_eq!((answers.len(), story.count("executor.answer")), (2, 1));
}

#[tokio::test]
async fn an_answer_in_time_counts_although_it_is_read_after_the_deadline() {
    let story = asking(PERMISSION);
    story.until("it asks", |world| waits(world)).await;
    story.sim.with(|world| ask(world, "a", allow(None)));
    story.sim.advance(SignedDuration::from_hours(2));
    story.settle().await;
    story.ended(End::Done);
    assert_eq!(told(&story), Some(Answer::Allow));
}

#[tokio::test]
async fn an_answer_said_twice_is_told_once() {
    let story = asking(PERMISSION);
    story.until("it asks", |world| waits(world)).await;
    story.sim.with(|world| ask(world, "a", allow(None)));
    story.sim.with(|world| ask(world, "b", deny()));
    story.sim.with(|world| ask(world, "a", allow(None)));
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!((told(&story), run.requests.len()), (Some(Answer::Allow), 1));
}

#[tokio::test]
async fn under_full_access_nobody_is_told_of_a_question() {
    let story = asking(QUESTION).configure(|config| permit(config, Permissions::FullAccess));
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(bells(&story), Vec::<String>::new());
    assert_eq!(run.pauses, []);
    let given = run.questions().next().unwrap().given.clone().unwrap();
    assert!(matches!(given.answer, Answer::Deny { why } if why.contains("Nobody is there")));
}

#[tokio::test]
async fn a_halt_lets_nothing_be_allowed() {
    let story = asking(PERMISSION);
    story.until("it asks", |world| waits(world)).await;
    story.switch(&Switch::Halt, true);
    story.sim.with(|world| ask(world, "a", allow(None)));
    story.rounds(5).await;
    assert_eq!(told(&story), None);
    assert_eq!(story.count("executor.answer"), 0);
    story.switch(&Switch::Halt, false);
    story.sim.with(|world| {
        world.agents.scripts.insert(repo("o/r"), vec![good_work()].into());
    });
    story.settle().await;
    story.ended(End::Done);
}

#[tokio::test]
async fn two_control_planes_tell_people_and_the_agent_once() {
    let story = asking(PERMISSION);
    let other = Engine::new(story.sim.ports(), "other");
    let both = async || {
        let token = CancellationToken::new();
        let (one, two) = tokio::join!(story.engine.tick(true, &token), other.tick(true, &token));
        drop((one, two));
        story.sim.with(World::step);
        story.sim.advance(SignedDuration::from_secs(1));
    };
    for _ in 0..20 {
        both().await;
    }
    assert!(story.sim.with(|world| waits(world)));
    story.sim.with(|world| ask(world, "a", allow(None)));
    for _ in 0..20 {
        both().await;
    }
    story.settle().await;
    story.ended(End::Done);
    assert_eq!((bells(&story).len(), story.count("executor.answer")), (1, 1));
    assert_eq!(story.run().requests.len(), 1);
}

/// Every call of a story with a question in it fails once, or the process dies of it:
/// people are told once, what they answer is what the agent is told, and no run hangs.
#[tokio::test]
async fn any_call_may_fail_while_the_agent_asks() {
    let settled = |world: &mut World| {
        let runs = world.store.all();
        !runs.is_empty() && runs.iter().all(|run| run.settled_at.is_some()) && world.all_rung()
    };
    let tell = async |mut story: Story| {
        for _ in 0..400 {
            if story.sim.with(settled) {
                break;
            }
            story.sim.with(|world| {
                let open: Vec<u32> = world.store.all().iter().flat_map(numbers).collect();
                for n in open {
                    ask(world, &format!("allow {n}"), allow(Some(n)));
                }
            });
            if story.deadly_round().await {
                story = story.restarted("second");
            }
        }
        story
    };
    // A switch that cannot be read halts, and the turn after that asks again, so there are two
    // scripts.
    let begin = || {
        let story = asking(PERMISSION);
        let script = Script { asks: Some(PERMISSION), ..good_work() };
        story.sim.with(|world| {
            world.agents.scripts.insert(repo("o/r"), vec![script.clone(), script].into());
        });
        story
    };
    let calls = tell(begin()).await.sim.with(|world| world.calls.clone());
    // The calls that the question adds: from the turn's start to a while after the answer.
    let place = |name| calls.iter().position(|call| *call == name).unwrap();
    let calls = place("executor.start")..place("executor.answer") + 12;
    println!("{} calls, {} faults", calls.len(), 3 * calls.len());
    for call in calls {
        for (when, kills) in [(When::Before, false), (When::After, false), (When::After, true)] {
            let story = begin();
            story.sim.with(|world| world.fault = Some(Fault { call, when, kills }));
            let story = tell(story).await;
            story.ended(End::Done);
            let run = story.run();
            let what = story.sim.with(|world| {
                let name = world.calls[call];
                format!("{name} (call {call}) {when:?} {kills}\n{}", story_of(world))
            });
            let last = story.sim.with(|world| {
                world.agents.turns_of(&repo("o/r")).last().and_then(|turn| turn.answered.clone())
            });
            assert_eq!(last, Some(Answer::Allow), "{what}");
            let questions = run.questions().count();
            assert!(questions >= 1 && questions <= causes(&run).len(), "{what}");
            let rows = story.sim.with(|world| world.store.transitions(run.id));
            let asked = |row: &Transition| matches!(row, Transition::Questioned { .. });
            let recorded = rows.iter().filter(|(_, row)| asked(row)).count();
            assert_eq!(recorded, questions, "{what}");
            let ids: std::collections::BTreeSet<_> = story.sim.with(|world| {
                let of = DoorbellKind::Question;
                world.rung().iter().filter(|bell| bell.kind == of).map(|bell| bell.id).collect()
            });
            assert_eq!(ids.len(), questions, "{what}");
        }
    }
}

#[tokio::test]
async fn a_question_waits_for_people_as_long_after_a_night_without_a_control_plane() {
    let story = asking(QUESTION);
    story.until("it asks", |world| waits(world)).await;
    story.rounds(20).await;
    let story = story.restarted("second");
    story.sim.advance(SignedDuration::from_hours(13));
    story.rounds(20).await;
    assert_eq!(told(&story), None, "nobody could answer in the night");
    story.settle().await;
    assert!(told(&story).is_some(), "policy answers in the end");
}
