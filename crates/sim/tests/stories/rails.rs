//! The guardrails in the loop: what is taken out of a message that we write, what an agent is told
//! once, and what is left to people, wherever it is in the history to be landed.

use afk_core::config::{History, Policy};
use afk_core::doorbell::DoorbellKind;
use afk_core::message::{RUN_TRAILER, trailer};
use afk_core::plan::{End, Refusal, TurnCause};
use afk_sim::story::{Story, causes, far, good_work, repo};
use afk_sim::world::{Act, Script};

fn merged(config: &mut Policy) {
    for table in config.repos.values_mut() {
        table.history = History::Merge;
    }
}

/// Good work whose last commit has this message.
fn worded(message: &'static str) -> Script {
    let mut work = good_work();
    let Some(Act::Commit { message: last, .. }) = work.acts.last_mut() else { unreachable!() };
    *last = message;
    work
}

/// The same work, done again from the beginning.
fn anew(mut work: Script) -> Script {
    work.acts.insert(0, Act::Follow);
    work
}

/// The messages of everything that landed, newest first.
fn landed(story: &Story) -> Vec<String> {
    story.sim.with(|world| {
        let mut left = vec![world.git.remotes[&repo("o/r")].clone()];
        let mut found = Vec::new();
        while let Some(id) = left.pop() {
            let commit = &world.git.commits[&id];
            found.push(commit.message.clone());
            left.extend(commit.parents.iter().cloned());
        }
        found
    })
}

#[tokio::test]
async fn a_squash_has_no_words_that_do_something() {
    for (message, says) in [
        ("Say two, closes #7", "Say two, refs #7\n"),
        ("Say two [skip ci]\n\nFixes o/r#7", "Say two\n\nRefs o/r#7\n"),
        ("***NO_CI***\n\nSigned-off-by: B <b@x>\nAFK-Run: another", "Work on #7\n"),
    ] {
        let story = Story::new().with_issue(vec![worded(message)]);
        let run = story.settle().await;
        story.ended(End::Done);
        let text = &landed(&story)[0];
        assert!(text.starts_with(says), "{message:?}: {text}");
        assert_eq!(trailer(text, RUN_TRAILER), Some(run.id.to_string().as_str()));
        assert!(!text.contains("Signed-off-by"), "{text}");
    }
}

#[tokio::test]
async fn a_line_with_a_secret_is_left_out_of_a_squash() {
    // It is put together from parts, so that no file of ours holds what looks like a secret.
    let token = ["gh", "p_q7Zk2Wm9Xc4Vb8Nn3Ls6Pd1Rf5Tg0HjAbC12"].concat();
    let message = format!("Say two\n\nTried with {token}.\nIt works.").leak();
    let story = Story::new().with_issue(vec![worded(message)]);
    story.settle().await;
    story.ended(End::Done);
    let text = &landed(&story)[0];
    assert!(text.starts_with("Say two\n\nIt works.\n"), "{text}");
}

#[tokio::test]
async fn the_author_of_what_lands_is_the_operators_setting() {
    for history in [History::Squash, History::Merge] {
        let story = Story::new().with_issue(vec![good_work()]).configure(|config| {
            for table in config.repos.values_mut() {
                table.history = history;
                table.author = "The bot <bot@acme.io>".parse().unwrap();
            }
        });
        story.settle().await;
        story.ended(End::Done);
        story.sim.with(|world| {
            let head = world.git.history(&repo("o/r"))[0];
            assert_eq!(head.author, ("The bot".to_owned(), "bot@acme.io".to_owned()));
        });
    }
}

#[tokio::test]
async fn messages_that_are_kept_are_written_anew_once() {
    let scripts = vec![worded("Say two [skip ci]"), anew(good_work())];
    let story = Story::new().with_issue(scripts).configure(merged);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::Refused]);
    let refused = run.attempts[0].refused.as_ref().unwrap();
    assert_eq!(refused.why, Refusal::Message);
    assert!(refused.detail.contains("[skip ci]"), "{}", refused.detail);
    story.sim.with(|world| {
        let prompt = &world.agents.turns_of(&repo("o/r"))[1].request.prompt;
        assert!(prompt.contains("Write these messages anew"), "{prompt}");
    });
    assert!(landed(&story).iter().all(|message| !message.contains("skip")));
}

#[tokio::test]
async fn the_second_such_message_is_handed_over() {
    let scripts = vec![worded("Say two [skip ci]"), anew(worded("Say two\n\nCloses #7"))];
    let story = Story::new().with_issue(scripts).configure(merged);
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    story.handed_over(DoorbellKind::NeedsHuman);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::Refused]);
    assert!(story.why().contains("Closes #7"), "{}", story.why());
    assert_eq!(story.count("git.push"), 0);
}

#[tokio::test]
async fn what_no_words_repair_is_handed_over_wherever_it_stands() {
    let token = ["gh", "p_q7Zk2Wm9Xc4Vb8Nn3Ls6Pd1Rf5Tg0HjAbC12\n"].concat().leak();
    let both = |message, file: (&'static str, &'static str)| {
        let mut work = good_work();
        work.acts.extend([
            Act::Commit { message, files: vec![(file.0, Some(file.1))] },
            Act::Commit { message: "Tidy", files: vec![(file.0, None)] },
        ]);
        work
    };
    for (work, said) in [
        (both("Note", ("src/note", token)), "holds what looks like a GitHub token"),
        (both("Quick [skip ci]", ("src/note", token)), "holds what looks like a GitHub token"),
        (
            both("CI", (".github/workflows/x.yml", "on: push")),
            ".github/workflows/x.yml is protected",
        ),
        (both("Build", ("dist/app", "x")), "dist/app is new, and .gitignore says"),
    ] {
        let told = |scripts| {
            let story = Story::new().with_issue(scripts);
            let ignores = [(".gitignore", "dist")];
            story.sim.with(|world| world.somebody_lands(&repo("o/r"), &ignores));
            story
        };
        let story = told(vec![work.clone(), good_work()]).configure(merged);
        let run = story.settle().await;
        story.ended(End::NeedsHuman);
        story.handed_over(DoorbellKind::NeedsHuman);
        let why = story.why();
        assert!(why.contains("in commit ") && why.contains(said), "{why}");
        assert_eq!(causes(&run), [TurnCause::Opening], "{said}");
        assert_eq!(story.count("git.push"), 0);
        // When it is squashed, nothing of the commit is ever published.
        let story = told(vec![work]);
        story.settle().await;
        story.ended(End::Done);
    }
}

#[tokio::test]
async fn more_commits_than_can_be_judged_are_for_people() {
    let many = |n: usize| {
        let mut work = good_work();
        let text = |n: usize| -> &'static str { format!("{n}").leak() };
        let commits = (0..n)
            .map(|n| Act::Commit { message: "Count", files: vec![("src/count", Some(text(n)))] });
        work.acts.extend(commits);
        work
    };
    let story = Story::new().with_issue(vec![many(499)]).configure(merged);
    story.settle().await;
    story.ended(End::NeedsHuman);
    assert!(story.why().contains("501 commits, more than 500"), "{}", story.why());
    let story = Story::new().with_issue(vec![many(499)]);
    story.settle().await;
    story.ended(End::Done);
}

#[tokio::test]
async fn an_agent_that_lands_by_itself_is_judged_by_each_commit() {
    let token = ["gh", "p_q7Zk2Wm9Xc4Vb8Nn3Ls6Pd1Rf5Tg0HjAbC12\n"].concat().leak();
    let mut work = good_work();
    work.acts.extend([
        Act::Commit { message: "Note", files: vec![("src/note", Some(token))] },
        Act::Commit { message: "Tidy", files: vec![("src/note", None)] },
    ]);
    let story = Story::new().with_issue(vec![work]);
    story.sim.with(far);
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    let report = run.landed().unwrap().guardrails.as_ref().unwrap();
    assert!(
        report.to_string().contains("src/note holds what looks like a GitHub token"),
        "{report}"
    );
}
