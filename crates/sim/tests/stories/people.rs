//! The loop where people steer: what they ask of a run is taken once, and followed.

use afk_core::plan::{End, TurnCause};
use afk_core::request::Request;
use afk_core::run::{CancelHow, Transition, TurnEnd};
use afk_core::usd::Usd;
use afk_engine::ports::Switch;
use afk_sim::story::{Story, ask, causes, enroll, good_work, repo, seven, story_of};
use afk_sim::world::{Fault, Script, When, World, person};
use jiff::SignedDuration;

fn say(text: &str) -> Request {
    Request::Say { text: text.to_owned() }
}

fn answers(story: &Story) -> Vec<Option<String>> {
    story.sim.with(|world| {
        let all = world.store.requests.iter().map(|(_, request)| request.answered.clone());
        all.map(|answered| answered.map(|(_, text)| text)).collect()
    })
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_turn_lets_the_issue_go() {
    let story = Story::new().with_issue(vec![Script::hangs()]);
    story.marked().await;
    story.sim.with(|world| ask(world, "a", Request::Stop));
    let run = story.settle().await;
    story.ended(End::Withdrawn);
    let cancel = run.cancel.expect("a cancel");
    assert_eq!((cancel.how, cancel.by), (CancelHow::Stopped, Some(person("ann"))));
    assert_eq!(answers(&story), [Some("stopped".to_owned())]);
    story.sim.with(|world| {
        assert!(world.tracker.issues[&seven()].issue.labels.is_empty(), "and is not taken again");
        assert!(world.rung().is_empty());
    });
}

#[tokio::test]
async fn a_stop_is_obeyed_under_a_pause() {
    let story = Story::new().with_issue(vec![Script::hangs()]);
    story.marked().await;
    story.switch(&Switch::Pause, true);
    story.sim.with(|world| ask(world, "a", Request::Stop));
    story.settle().await;
    story.ended(End::Withdrawn);
}

#[tokio::test]
async fn what_is_said_during_a_turn_is_one_free_turn_before_anything_is_decided() {
    let heard = Script::acts(vec![afk_sim::world::Act::Commit {
        message: "Say it louder",
        files: vec![("src/loud", Some("two!"))],
    }]);
    let story = Story::new().with_issue(vec![Script::hangs(), heard]);
    story.marked().await;
    story.sim.with(|world| ask(world, "a", say("Louder.")));
    story.sim.with(|world| ask(world, "b", say("And @everybody.")));
    story.rounds(3).await;
    assert_eq!(causes(&story.run()), [TurnCause::Opening], "the turn is not cut short");
    story.sim.with(|world| {
        let turn = world.agents.turns.values_mut().next().expect("a turn");
        turn.script = good_work();
    });
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::Said]);
    assert_eq!((run.attempts.len(), run.refusals(), run.fix_forwards()), (1, 0, 0));
    story.sim.with(|world| {
        let prompt = &world.agents.turns_of(&repo("o/r"))[1].request.prompt;
        assert!(prompt.contains("Louder.\n\nAnd ＠everybody."), "{prompt}");
        assert_eq!(world.git.history(&repo("o/r")).len(), 2, "one landing of both turns' work");
    });
    assert!(answers(&story).iter().all(Option::is_some));
}

#[tokio::test]
async fn words_that_bring_no_commit_lose_no_work() {
    let story = Story::new().with_issue(vec![good_work(), Script::acts(Vec::new())]);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    story.sim.with(|world| ask(world, "a", say("Well done.")));
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::Said]);
}

#[tokio::test]
async fn words_that_a_halt_cut_off_are_said_again() {
    let story = Story::new().with_issue(vec![good_work(), Script::hangs()]);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    story.sim.with(|world| ask(world, "a", say("Mind the hinges.")));
    story.until("it is told", |world| world.agents.turns.len() == 2).await;
    story.switch(&Switch::Halt, true);
    story.rounds(2).await;
    story.switch(&Switch::Halt, false);
    story.sim.with(|world| {
        let idle = || Script::acts(Vec::new());
        world.agents.scripts.insert(repo("o/r"), vec![idle(), idle()].into());
    });
    let run = story.settle().await;
    story.ended(End::Done);
    let expected = [TurnCause::Opening, TurnCause::Said, TurnCause::Interrupted];
    assert_eq!(causes(&run), expected);
    story.sim.with(|world| {
        let prompt = &world.agents.turns_of(&repo("o/r"))[2].request.prompt;
        assert!(prompt.contains("You were interrupted"), "{prompt}");
        assert!(prompt.contains("Mind the hinges."), "{prompt}");
    });
}

#[tokio::test]
async fn a_budget_raised_in_time_lets_the_run_go_on() {
    let dear = |mut script: Script| {
        script.cost = Usd::dollars(60);
        script
    };
    let failed = TurnEnd::Failed { message: "overloaded".to_owned() };
    let works = || vec![dear(Script::ends(Vec::new(), failed.clone())), dear(good_work())];
    // Without a larger budget the work of the second turn is never landed.
    let story = Story::new().with_issue(works());
    story.settle().await;
    story.ended(End::NeedsHuman);

    let story = Story::new().with_issue(works());
    story.until("the second turn", |world| world.agents.turns.len() == 2).await;
    story.sim.with(|world| ask(world, "a", Request::Budget { usd: Usd::dollars(130) }));
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(run.budget, Usd::dollars(130));
    assert!(answers(&story)[0].as_ref().is_some_and(|text| text.contains("130")));
}

#[tokio::test]
async fn a_budget_raised_during_the_turn_that_spends_it_lets_the_run_go_on() {
    // The end of an agent that is stopped at its cap.
    let capped = || {
        let message = "the turn cost more than its budget".to_owned();
        let mut script = Script::ends(Vec::new(), TurnEnd::Failed { message });
        script.cost = Usd::dollars(100);
        script
    };
    let story = Story::new().with_issue(vec![capped(), good_work()]);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    story.sim.with(|world| ask(world, "a", Request::Budget { usd: Usd::dollars(130) }));
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::Retry]);
    // If nobody raises the budget, it is spent and there is no other turn.
    let story = Story::new().with_issue(vec![capped(), good_work()]);
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    assert_eq!(causes(&run), [TurnCause::Opening]);
}

#[tokio::test]
async fn a_budget_lowered_during_a_turn_stops_it_and_the_next_gets_what_is_left() {
    let dear = || Script { cost: Usd::dollars(30), ..Script::hangs() };
    let lowered_to = async |usd| {
        let story = Story::new().with_issue(vec![dear(), good_work()]);
        story.marked().await;
        story.sim.with(|world| ask(world, "a", Request::Budget { usd: Usd::dollars(usd) }));
        story.settle().await;
        story
    };
    let story = lowered_to(50).await;
    story.ended(End::Done);
    assert_eq!(causes(&story.run()), [TurnCause::Opening, TurnCause::Interrupted]);
    story.sim.with(|world| {
        let turns = world.agents.turns_of(&repo("o/r"));
        let budgets: Vec<Usd> = turns.iter().map(|turn| turn.request.budget).collect();
        assert_eq!(budgets, [Usd::dollars(100), Usd::dollars(20)]);
    });
    // If the turn has cost more already, there is no other.
    let story = lowered_to(20).await;
    story.ended(End::NeedsHuman);
    assert!(story.why().contains("budget"), "{}", story.why());
    assert_eq!(causes(&story.run()), [TurnCause::Opening]);
}

#[tokio::test]
async fn a_lowered_budget_leaves_room_for_others_once_the_turn_that_may_spend_more_has_ended() {
    let story = Story::new().with_issue(vec![Script::hangs()]).configure(|config| {
        enroll(config, "o/s");
        config.day_budget_usd = Some(Usd::dollars(150));
    });
    story.marked().await;
    story.sim.with(|world| {
        world.agents.stubborn = true;
        world.somebody_lands(&repo("o/s"), &[("src/lib", "one")]);
        world.file("o/s#7", "Say two.", &["ready-for-agent"], "ann");
        ask(world, "a", Request::Budget { usd: Usd::dollars(20) });
    });
    story.rounds(5).await;
    let told = story.count("executor.interrupt");
    assert!(told > 0, "the turn is told to stop");
    story.sim.with(|world| {
        let runs = world.store.all();
        let budgets: Vec<Usd> = runs.iter().map(|run| run.budget).collect();
        assert_eq!(budgets, [Usd::dollars(20)], "the turn may still spend what it was given");
        world.agents.stubborn = false;
    });
    story.until("the other is taken", |world| world.store.all().len() == 2).await;
}

#[tokio::test]
async fn a_budget_beyond_the_caps_of_the_day_is_refused_with_the_room_that_is_left() {
    for whose in [0, 1] {
        let story = Story::new().with_issue(vec![Script::hangs()]).configure(|config| {
            config.day_budget_usd = Some(Usd::dollars([150, 1_000][whose]));
            config.repo_day_budget_usd = Some(Usd::dollars([1_000, 150][whose]));
        });
        story.marked().await;
        for (id, usd) in [("a", 5_000), ("b", 151), ("c", 150), ("d", 151), ("e", 20)] {
            story.sim.with(|world| ask(world, id, Request::Budget { usd: Usd::dollars(usd) }));
            story.rounds(2).await;
        }
        let taken = story
            .run()
            .requests
            .iter()
            .map(|answered| answered.request.id.clone())
            .collect::<Vec<_>>();
        assert_eq!(taken, ["c", "e"]);
        assert_eq!(story.run().budget, Usd::dollars(20));
        let answers = answers(&story);
        for refused in [0, 1] {
            let text = answers[refused].as_deref().unwrap_or_default();
            assert!(text.contains("only for one of $150.00; it stays at $100.00"), "{text}");
        }
    }
}

#[tokio::test]
async fn where_the_caps_cannot_be_read_a_budget_waits() {
    let story = Story::new()
        .with_issue(vec![Script::hangs()])
        .configure(|config| config.day_budget_usd = Some(Usd::dollars(150)));
    story.marked().await;
    story.sim.with(|world| {
        world.broken.insert("store.spent");
        ask(world, "a", Request::Budget { usd: Usd::dollars(120) });
    });
    story.rounds(3).await;
    assert_eq!((story.run().budget, answers(&story)), (Usd::dollars(100), vec![None]));
    story.sim.with(|world| world.broken.clear());
    story.rounds(3).await;
    assert_eq!(story.run().budget, Usd::dollars(120));
}

#[tokio::test]
async fn a_retry_does_not_wait_for_the_limit_to_reset() {
    let resets_at = afk_sim::story::start().checked_add(SignedDuration::from_hours(5)).ok();
    let limited = Script::ends(Vec::new(), TurnEnd::Limited { resets_at });
    let story = Story::new().with_issue(vec![limited, good_work()]);
    story
        .until("the limit", |world| {
            let runs = world.store.all();
            runs.iter().any(|run| run.pauses.iter().any(|pause| pause.to.is_none()))
        })
        .await;
    story.rounds(20).await;
    assert_eq!(causes(&story.run()).len(), 1, "it waits");
    story.sim.with(|world| ask(world, "a", Request::Retry));
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::LimitReset]);
}

#[tokio::test]
async fn what_is_asked_of_an_ended_run_is_answered_and_changes_nothing() {
    let story = Story::new().with_issue(Vec::new());
    story.settle().await;
    story.sim.with(|world| ask(world, "a", Request::Stop));
    story.rounds(3).await;
    story.ended(End::NeedsHuman);
    assert_eq!(story.run().cancel, None);
}

#[tokio::test]
async fn an_agent_that_cannot_be_stopped_is_given_up_on_by_one_shot_ticks_of_new_processes() {
    let mut story = Story::new().with_issue(vec![Script::hangs()]);
    story.marked().await;
    story.sim.with(|world| world.agents.stubborn = true);
    story.sim.with(|world| ask(world, "a", Request::Stop));
    for n in 0..120 {
        story = story.restarted(&format!("process {n}"));
        let _ = story.round().await;
    }
    story.ended(End::Frozen);
}

#[tokio::test]
async fn a_halt_that_ended_leaves_no_grace_behind() {
    let story = Story::new().with_issue(vec![Script::hangs(), Script::hangs()]);
    story.marked().await;
    story.switch(&Switch::Halt, true);
    story.rounds(2).await;
    story.switch(&Switch::Halt, false);
    story.rounds(2).await;
    assert_eq!(story.run().stopping_since, None);
    let run = story.run().id;
    let rows = story.sim.with(|world| world.store.transitions(run));
    let kinds: Vec<_> = rows.iter().map(|(_, row)| row.kind()).collect();
    assert!(rows.iter().any(|(_, row)| *row == Transition::Stopping), "{kinds:?}");
}

/// Every call of a story with a person's words in it fails once, or the process dies of it: the
/// agent is told the words all the same, and each request is taken once.
#[tokio::test]
async fn any_call_may_fail_while_words_are_told() {
    let begin = || Story::new().with_issue(vec![good_work(), Script::acts(Vec::new())]);
    let settled = |world: &mut World| {
        let runs = world.store.all();
        !runs.is_empty() && runs.iter().all(|run| run.settled_at.is_some()) && world.all_rung()
    };
    let tell = async |mut story: Story| {
        for _ in 0..300 {
            if story.sim.with(settled) {
                break;
            }
            story.sim.with(|world| {
                if !world.agents.turns.is_empty() {
                    ask(world, "a", say("Mind the hinges."));
                    ask(world, "b", Request::Budget { usd: Usd::dollars(150) });
                }
            });
            if story.deadly_round().await {
                story = story.restarted("second");
            }
        }
        story
    };
    let calls = tell(begin()).await.sim.with(|world| world.calls.len());
    for call in 0..calls {
        for (when, kills) in [(When::Before, false), (When::After, false), (When::After, true)] {
            let story = begin();
            story.sim.with(|world| world.fault = Some(Fault { call, when, kills }));
            let story = tell(story).await;
            story.ended(End::Done);
            let run = story.run();
            let what = story.sim.with(|world| {
                format!(
                    "{:?} (call {call}) {when:?} {kills}\n{}",
                    world.calls[call],
                    story_of(world)
                )
            });
            assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::Said], "{what}");
            assert_eq!((run.requests.len(), run.budget), (2, Usd::dollars(150)), "{what}");
            let answered = answers(&story).iter().all(Option::is_some);
            assert!(answered, "{what}");
        }
    }
    println!("{calls} calls, {} faults", 3 * calls);
}
