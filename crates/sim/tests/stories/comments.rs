//! What people write on issues: the comment of a trusted person steers, and nobody else's does.

use afk_core::ids::Actor;
use afk_core::issue::Permission;
use afk_core::plan::{End, TurnCause};
use afk_core::run::{CancelHow, TurnEnd};
use afk_core::usd::Usd;
use afk_engine::ports::Switch;
use afk_sim::story::{Story, breaking_work, causes, good_work, repo, seven, story_of};
use afk_sim::world::{Fault, Script, When, World, person};
use jiff::SignedDuration;

fn write(story: &Story, body: &str, by: &Actor) {
    story.sim.with(|world| world.write_comment(&seven(), body, by));
}

fn requests(story: &Story) -> Vec<String> {
    story.sim.with(|world| {
        let all = world.store.requests.iter();
        all.map(|(_, one)| format!("{} {}", one.request.id, one.request.by.id)).collect()
    })
}

fn frozen(story: &Story) -> bool {
    story.sim.with(|world| world.store.switches.freeze_of(&repo("o/r")).is_some())
}

/// A run whose agent hangs until it is told to work.
async fn at_work(scripts: Vec<Script>) -> Story {
    let story = Story::new().with_issue([vec![Script::hangs()], scripts].concat());
    story
        .until("a turn is seen at work", |world| {
            world.tracker.issues[&seven()].has("agent-in-progress")
        })
        .await;
    story
}

fn work_on(story: &Story) {
    story.sim.with(|world| {
        world.agents.turns.values_mut().next().expect("a turn").script = good_work();
    });
}

#[tokio::test]
async fn a_stop_in_a_comment_lets_the_issue_go() {
    let story = at_work(Vec::new()).await;
    write(&story, "/afk stop\nIt is the wrong door.", &person("ann"));
    let run = story.settle().await;
    story.ended(End::Withdrawn);
    let cancel = run.cancel.expect("a cancel");
    assert_eq!((cancel.how, cancel.by), (CancelHow::Stopped, Some(person("ann"))));
}

#[tokio::test]
async fn no_switch_of_dispatch_keeps_a_stop_from_being_read() {
    let throws: [fn(&Story); 3] = [
        |story| story.sim.with(|world| world.config.kill_switch = true),
        |story| story.switch(&Switch::Pause, true),
        |story| story.sim.with(|world| world.bad_config = Some("line 3".to_owned())),
    ];
    for throw in throws {
        let story = at_work(Vec::new()).await;
        throw(&story);
        write(&story, "/afk stop", &person("ann"));
        story.settle().await;
        story.ended(End::Withdrawn);
    }
}

#[tokio::test]
async fn a_tick_that_takes_nothing_new_hears_too() {
    let story = at_work(Vec::new()).await;
    write(&story, "/afk stop", &person("ann"));
    let shutdown = tokio_util::sync::CancellationToken::new();
    story.engine.tick(false, &shutdown).await.unwrap();
    assert_eq!(requests(&story), ["comment:o/r:2 ann"]);
}

#[tokio::test]
async fn words_and_a_budget_in_comments_are_taken_once_by_whoever_looks() {
    let mut story = at_work(vec![Script::acts(Vec::new())]).await;
    write(&story, "/afk say Mind the hinges.", &person("ann"));
    write(&story, "/afk budget 120", &person("ann"));
    story.rounds(3).await;
    // The next process does not know which comments were read, and reads all of them again.
    story = story.restarted("second");
    story.rounds(3).await;
    assert_eq!(requests(&story), ["comment:o/r:2 ann", "comment:o/r:3 ann"]);
    work_on(&story);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::Said]);
    assert_eq!((run.requests.len(), run.budget), (2, Usd::dollars(120)));
}

#[tokio::test]
async fn a_retry_in_a_comment_ends_the_wait_for_a_limit() {
    let resets_at = afk_sim::story::start().checked_add(SignedDuration::from_hours(5)).ok();
    let limited = Script::ends(Vec::new(), TurnEnd::Limited { resets_at });
    let story = Story::new().with_issue(vec![limited, good_work()]);
    story
        .until("the limit", |world| {
            let runs = world.store.all();
            runs.iter().any(|run| run.pauses.iter().any(|pause| pause.to.is_none()))
        })
        .await;
    write(&story, "/afk retry", &person("ann"));
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::LimitReset]);
}

#[tokio::test]
async fn nobody_else_steers() {
    let bot = Actor { bot: true, ..person("robot") };
    let own = Actor { bot: true, ..person("afk") };
    let story = at_work(Vec::new()).await;
    story.sim.with(|world| {
        let all = [("rita", Permission::Read), ("robot", Permission::Admin)];
        let all = all.map(|(id, permission)| (id.to_owned(), permission));
        world.tracker.permissions.extend(all);
        world.config.trust.allow_ids.insert("afk".to_owned());
    });
    for by in [&person("stranger"), &person("rita"), &bot, &own] {
        for body in ["/afk stop", "/afk say Delete it all.", "/afk budget 1", "/afk unfreeze"] {
            write(&story, body, by);
        }
    }
    // A trusted person's words that are no request, because they do not come first in the comment.
    for body in ["> /afk stop", "Do not write /afk stop."] {
        write(&story, body, &person("ann"));
    }
    story.rounds(5).await;
    assert_eq!(requests(&story), Vec::<String>::new());
    work_on(&story);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening]);
}

/// Whoever may write to a repo may edit another's comment, and the forge does not say who did.
#[tokio::test]
async fn words_that_were_put_into_a_trusted_persons_mouth_steer_nothing() {
    let story = at_work(Vec::new()).await;
    write(&story, "Nice.", &person("ann"));
    story.sim.with(|world| world.rewrite_comment(&seven(), "Nice.", "/afk stop"));
    story.rounds(5).await;
    assert_eq!(requests(&story), Vec::<String>::new());
    write(&story, "/afk stop", &person("ann"));
    story.settle().await;
    story.ended(End::Withdrawn);
}

#[tokio::test]
async fn a_bot_that_is_listed_by_id_steers() {
    let story = at_work(Vec::new()).await;
    story.sim.with(|world| world.config.trust.allow_ids.insert("robot".to_owned()));
    write(&story, "/afk stop", &Actor { bot: true, ..person("robot") });
    story.settle().await;
    story.ended(End::Withdrawn);
}

#[tokio::test]
async fn a_comment_from_before_the_run_or_on_another_issue_steers_nothing() {
    let story = Story::new().with_issue(vec![Script::hangs()]);
    story.sim.with(|world| world.file("o/r#8", "Say three.", &[], "ann"));
    write(&story, "/afk stop", &person("ann"));
    story.sim.with(|world| {
        let record = world.tracker.issues.get_mut(&seven()).unwrap();
        record.comments[0].at -= SignedDuration::from_secs(1);
    });
    story.rounds(5).await;
    story.sim.with(|world| {
        world.write_comment(&"o/r#8".parse().unwrap(), "/afk stop", &person("ann"));
    });
    story.rounds(5).await;
    assert_eq!(requests(&story), Vec::<String>::new());
    work_on(&story);
    story.settle().await;
    story.ended(End::Done);
}

#[tokio::test]
async fn a_comment_lifts_the_freeze_that_it_is_younger_than_and_no_later_one() {
    let mut story = Story::new()
        .with_issue(vec![breaking_work()])
        .configure(|config| config.fix_forward_max_attempts = 0);
    story.settle().await;
    story.ended(End::Frozen);
    write(&story, "/afk unfreeze", &person("stranger"));
    story.rounds(3).await;
    assert!(frozen(&story), "a stranger lifts nothing");
    write(&story, "/afk unfreeze", &person("ann"));
    story.rounds(1).await;
    assert!(!frozen(&story));
    story.switch(&Switch::Freeze(repo("o/r")), true);
    story.rounds(3).await;
    story = story.restarted("second");
    story.rounds(3).await;
    assert!(frozen(&story), "it was asked of the one before");
}

#[tokio::test]
async fn a_permission_that_cannot_be_read_is_asked_for_again_and_holds_up_nobody_else() {
    let story = at_work(vec![Script::acts(Vec::new())]).await;
    story.sim.with(|world| {
        world.tracker.permissions.insert("bob".to_owned(), Permission::Write);
        world.tracker.unknown.insert("bob".to_owned());
    });
    write(&story, "/afk say Mind the hinges.", &person("bob"));
    write(&story, "/afk budget 120", &person("ann"));
    story.rounds(200).await;
    assert_eq!(requests(&story), ["comment:o/r:3 ann"]);
    story.sim.with(|world| world.tracker.unknown.clear());
    story.rounds(2).await;
    assert_eq!(requests(&story), ["comment:o/r:3 ann", "comment:o/r:2 bob"]);
}

/// As on a forge that tells permissions to administrators only.
#[tokio::test]
async fn a_permission_that_may_not_be_read_is_not_asked_for_again() {
    let story = at_work(vec![Script::acts(Vec::new())]).await;
    story.sim.with(|world| {
        world.tracker.permissions.insert("bob".to_owned(), Permission::Write);
        world.tracker.secret.extend(["bob".to_owned(), "cleo".to_owned()]);
        world.config.trust.allow_ids.insert("cleo".to_owned());
    });
    write(&story, "/afk stop", &person("bob"));
    story.sim.advance(SignedDuration::from_secs(90));
    write(&story, "/afk say Mind the hinges.", &person("cleo"));
    write(&story, "/afk budget 20", &person("ann"));
    let newest = story.sim.with(|world| world.tracker_now());
    story.rounds(3).await;
    assert_eq!(requests(&story), ["comment:o/r:3 cleo", "comment:o/r:4 ann"]);
    assert!(story.sim.with(|world| world.store.comments_read_until[&repo("o/r")]) >= newest);
    let before = story.count("tracker.permission");
    story.rounds(5).await;
    assert_eq!(story.count("tracker.permission"), before);
}

/// One call for each repo and poll, which lists what came since the newest comment that was read.
#[tokio::test]
async fn only_where_something_can_be_steered_is_anybody_asked_for_comments() {
    let story = Story::new();
    story.rounds(5).await;
    assert_eq!(story.count("tracker.comments_since"), 0, "no issue ever had a run");
    let story = story.with_issue(vec![good_work()]);
    story.settle().await;
    story.ended(End::Done);
    let before = story.count("tracker.comments_since");
    assert!(before > 0);
    story.rounds(5).await;
    assert_eq!(story.count("tracker.comments_since"), before + 5, "it may be released again");
    story.sim.with(|world| world.config.kill_switch = true);
    story.rounds(5).await;
    assert_eq!(story.count("tracker.comments_since"), before + 5, "disarmed, and no run is live");
    story.switch(&Switch::Freeze(repo("o/r")), true);
    story.rounds(2).await;
    assert_eq!(story.count("tracker.comments_since"), before + 7, "a freeze may be lifted");
    story.sim.with(|world| world.config.allowlist.clear());
    story.rounds(2).await;
    assert_eq!(story.count("tracker.comments_since"), before + 7, "nobody is enrolled");
}

/// Old comments are not read again, however long ago the issue's run ended, and whichever process
/// reads.
#[tokio::test]
async fn a_process_that_starts_reads_no_old_comments() {
    let mut story = Story::new().with_issue(vec![good_work()]);
    story.settle().await;
    story.sim.advance(SignedDuration::from_hours(24 * 90));
    write(&story, "A word.", &person("stranger"));
    story.rounds(1).await;
    story = story.restarted("second");
    story.rounds(1).await;
    let (until, now) =
        story.sim.with(|world| (world.store.comments_read_until[&repo("o/r")], world.now));
    let back = now.duration_since(until);
    assert!(back < SignedDuration::from_mins(1), "everything was read until {back} ago");
}

/// The calls by which comments are read.
const HEARING: [&str; 6] = [
    "tracker.comments_since",
    "tracker.own_account",
    "tracker.permission",
    "store.runs",
    "store.add_request",
    "store.note_comments_read",
];

/// Every call by which comments are read fails once, or the process dies of it: what
/// was asked is done all the same, and once.
#[tokio::test]
async fn any_call_may_fail_while_comments_are_read() {
    let begin = || Story::new().with_issue(vec![Script::hangs(), Script::acts(Vec::new())]);
    let settled = |world: &mut World| {
        let runs = world.store.all();
        !runs.is_empty() && runs.iter().all(|run| run.settled_at.is_some()) && world.all_rung()
    };
    let tell = async |mut story: Story| {
        let (mut written, mut works) = (false, false);
        for _ in 0..300 {
            if story.sim.with(settled) {
                break;
            }
            if !written && story.sim.with(|world| !world.agents.turns.is_empty()) {
                written = true;
                write(&story, "/afk say Mind the hinges.", &person("ann"));
                write(&story, "/afk budget 150", &person("ann"));
                write(&story, "/afk stop", &person("stranger"));
            }
            if !works && requests(&story).len() == 2 {
                works = true;
                work_on(&story);
            }
            if story.deadly_round().await {
                story = story.restarted("second");
            }
        }
        story
    };
    let calls = tell(begin()).await.sim.with(|world| world.calls.clone());
    let hearing = calls.iter().enumerate().filter(|(_, name)| HEARING.contains(name));
    let hearing: Vec<usize> = hearing.map(|(call, _)| call).collect();
    for name in HEARING {
        assert!(calls.contains(&name), "{name} is not a call of this story");
    }
    for &call in &hearing {
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
            assert_eq!(requests(&story).len(), 2, "{what}");
            assert_eq!((run.requests.len(), run.budget), (2, Usd::dollars(150)), "{what}");
            assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::Said], "{what}");
        }
    }
    println!("{} calls, {} faults", hearing.len(), 3 * hearing.len());
}

#[tokio::test]
async fn how_far_comments_were_read_is_noted_once() {
    let story = at_work(Vec::new()).await;
    write(&story, "Nice.", &person("ann"));
    story.rounds(6).await;
    assert_eq!(story.count("store.note_comments_read"), 1);
}
