//! What may begin: trust, order, blockers, names, and a tick over many repos.

use afk_core::ids::RepoName;
use afk_core::issue::Permission;
use afk_core::plan::End;
use afk_sim::story::{Story, config, enroll, good_work, repo, seven};
use afk_sim::world::{Script, person};

use super::admitted;

#[tokio::test]
async fn fault_1_trust_is_what_the_labeller_may_do_and_no_field_of_the_event() {
    // The event says who put which label on, and when; what that person may do is asked.
    let story = Story::new().with_issue(vec![good_work()]);
    story.sim.with(|world| world.tracker.permissions.clear());
    story.rounds(3).await;
    assert_eq!(admitted(&story), Vec::<String>::new(), "nobody vouches for ann");
    assert!(story.count("tracker.permission") > 0, "it was asked");
    story.sim.with(|world| {
        world.tracker.permissions.insert("ann".to_owned(), Permission::Write);
    });
    story.settle().await;
    story.ended(End::Done);
}

#[tokio::test]
async fn fault_12_an_issue_without_a_priority_comes_last() {
    let story = Story::new();
    story.sim.with(|world| {
        world.file("o/r#1", "Whenever.", &["ready-for-agent"], "ann");
        world.file("o/r#2", "Soon.", &["ready-for-agent", "P1"], "ann");
        world.file("o/r#3", "High.", &["ready-for-agent", "priority:high"], "ann");
        world.file("o/r#4", "Now.", &["ready-for-agent", "priority:0"], "ann");
    });
    story.until("all were worked", |world| world.rung().len() == 4).await;
    assert_eq!(admitted(&story), ["o/r#4", "o/r#2", "o/r#1", "o/r#3"]);
}

#[tokio::test]
async fn fault_13_only_an_open_blocker_that_is_named_as_one_blocks() {
    let cases = [
        ("Blocked by #3", true),
        ("**Blocked by:** #2, #3", true),
        ("## Blocked by\n\n- #3\n", true),
        ("Blocked by o/s#3", true),
        ("Blocked by #2", false),
        ("This is not blocked by #3.", false),
        ("Like #3, but smaller.", false),
        ("Blocked by #2\n\nSee also #3.", false),
    ];
    for (body, blocks) in cases {
        let story = Story::new().with_issue(vec![good_work()]);
        story.sim.with(|world| {
            world.file("o/r#3", "Open.", &[], "ann");
            world.file("o/s#3", "Open, elsewhere.", &[], "ann");
            let closed = world.file("o/r#2", "Closed.", &[], "ann");
            world.set_open(&closed, false, &person("ann"));
            world.tracker.issues.get_mut(&seven()).unwrap().issue.body = body.to_owned();
        });
        story.rounds(2).await;
        let waits = admitted(&story).is_empty();
        assert_eq!(waits, blocks, "{body}");
    }
}

#[test]
fn fault_19_a_repo_has_one_name() {
    assert!("web".parse::<RepoName>().is_err(), "a name without its owner names nothing");
    let named = RepoName::complete("web", Some("acme")).unwrap();
    assert_eq!(named, "acme/web".parse().unwrap());
    // Names that differ in case would make two repos of one, and so two runs.
    let mut all = config();
    enroll(&mut all, "O/R");
    let mistakes: Vec<_> = all.mistakes().iter().map(ToString::to_string).collect();
    assert_eq!(mistakes, ["repos.\"o/r\": differs from O/R only in case; keep one"]);
}

#[tokio::test]
async fn fault_21_one_repos_trouble_is_its_own_and_a_tick_reads_few_timelines() {
    const ISSUES: u64 = 150;
    let mut all = config();
    for name in ["o/s", "o/t"] {
        enroll(&mut all, name);
    }
    let story = Story::new().configure(|now| *now = all);
    story.sim.with(|world| {
        for name in ["o/s", "o/t"] {
            world.somebody_lands(&repo(name), &[("src/lib", "one")]);
            world.agents.scripts.insert(repo(name), vec![good_work()].into());
        }
        world.mute_trackers([repo("o/s")]);
        world.file("o/s#1", "Nobody answers here.", &["ready-for-agent"], "ann");
        // More issues than fit a page, of which only the last may be worked on: no list is cut
        // short in silence.
        for n in 1..ISSUES {
            world.file(&format!("o/t#{n}"), "Not released.", &["ready-for-agent"], "eve");
        }
        world.file(&format!("o/t#{ISSUES}"), "Say two.", &["ready-for-agent"], "ann");
    });
    story.until("the last is done", |world| world.rung().len() == 1).await;
    assert_eq!(admitted(&story), [format!("o/t#{ISSUES}")]);

    // A repo with a live run is not asked for more issues: its lock is local.
    let story = Story::new().with_issue(vec![Script::hangs()]);
    story.sim.with(|world| {
        for n in 10..30 {
            world.file(&format!("o/r#{n}"), "Next.", &["ready-for-agent"], "ann");
        }
    });
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    story.rounds(2).await;
    let before = story.count("tracker.issue");
    story.rounds(10).await;
    let reads = story.count("tracker.issue") - before;
    assert!(reads <= 10, "{reads} timelines read in ten ticks of one live run");
}
