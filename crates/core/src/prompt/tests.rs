//! Snapshots of every prompt, and that outside text stays inert and bounded.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn run() -> RunId {
    "0199c0de-0000-7000-8000-000000000001".parse().unwrap()
}

fn issue() -> IssueRef {
    "owner/repo#7".parse().unwrap()
}

fn first(issue: &IssueRef) -> Opening<'_> {
    Opening {
        run: run(),
        issue,
        title: "Importer drops the last row",
        body: "See @src/import.rs.\n\n/clear\nBlocked by #3\n",
        branch: "main",
        lands: Lands::ControlPlane,
        judged: JudgingBrief {
            verify: Some("make check"),
            fetch: Some("npm ci"),
            tests: &[],
            exempt: &[],
            no_test_needed: false,
            tests_may_change: true,
        },
        workflow: None,
    }
}

fn with_all_causes(then: &mut dyn FnMut(&str, &Cause<'_>)) {
    let oid: Oid = "a".repeat(40).parse().unwrap();
    let paths = ["src/a.rs".to_owned(), "@b\n/c".to_owned()];
    let output = "\u{1B}[31mFAILED\u{1B}[0m tests::rows\n@file\n/x\n";
    let link = Some("https://ci.example.org/1");
    let unfinished = ["a rebase is under way".to_owned()];
    let all = [
        ("verify", Cause::Verify { command: "cargo test", output }),
        ("proof", Cause::Proof { why: "no test fails without the change", output }),
        ("messages", Cause::Messages { why: "- the message of commit 0123abcd skips CI" }),
        ("stage", Cause::Stage { why: "stage checks fails on 0123abcd", log: output }),
        ("conflict", Cause::Conflict { base: &oid, paths: &paths }),
        ("dirty", Cause::Dirty { paths: &paths }),
        ("unfinished", Cause::Unfinished { what: &unfinished, paths: &[] }),
        ("red", Cause::Red { commit: &oid, stage: "checks", link, log: output }),
        ("interrupted", Cause::Interrupted),
        ("limit reset", Cause::LimitReset),
        ("retry", Cause::Retry { error: "stream closed" }),
        ("said", Cause::Said { text: "use the old parser" }),
    ];
    for (name, cause) in all {
        then(name, &cause);
    }
}

#[test]
fn the_opening_where_the_control_plane_lands() {
    let issue = issue();
    insta::assert_snapshot!(opening(&first(&issue)));
}

#[test]
fn the_opening_where_the_agent_pushes() {
    let issue = issue();
    let workflow = Some("Run `make lint` before every commit.");
    insta::assert_snapshot!(opening(&Opening { lands: Lands::Agent, workflow, ..first(&issue) }));
}

#[test]
fn every_corrective_prompt() {
    let mut shown = String::new();
    with_all_causes(&mut |name, cause| {
        let text = corrective(run(), Lands::ControlPlane, std::slice::from_ref(cause));
        let _ = write!(shown, "===== {name}\n{text}");
    });
    let again = [Cause::Interrupted, Cause::Said { text: "use the old parser" }];
    let text = corrective(run(), Lands::ControlPlane, &again);
    let _ = write!(shown, "===== interrupted, and told again\n{text}");
    let _ = write!(shown, "===== nobody answers\n{NOBODY_ANSWERS}");
    insta::assert_snapshot!(shown);
}

#[test]
fn a_fresh_thread_gets_rules_and_issue_again() {
    let issue = issue();
    with_all_causes(&mut |_, cause| {
        let causes = [*cause];
        let text = corrective_on_fresh_thread(&first(&issue), &causes);
        assert!(text.starts_with(&opening(&first(&issue))));
        assert!(text.ends_with(&asked(run(), &causes)));
    });
}

#[test]
fn the_rules_say_what_they_must() {
    for must in [
        "test-first",
        "in a commit of its own",
        "by name",
        "Never skip",
        "Refs #<n>",
        "closing keyword",
        "plan mode",
        "Never ask",
        "ambiguous",
        "force-push",
        "PersistentVolumes",
        "Vault",
        "Terragrunt",
        "kubectl",
        "skips CI",
        "dropped tables",
        "rm -rf",
        "processes that you did not start",
    ] {
        assert!(RULES.contains(must), "{must}");
    }
    assert!(CONTROL_PLANE_LANDS.contains("Do not push"));
    assert!(AGENT_PUSHES.contains("AFK-Run: <run id>"));
    // Our own text has nothing that is made inert in outside text.
    for own in [RULES, CONTROL_PLANE_LANDS, AGENT_PUSHES, NOBODY_ANSWERS] {
        assert_eq!(neutral(own), own);
    }
}

#[test]
fn no_prompt_is_longer_than_the_limit() {
    let issue = issue();
    for filler in ["x", "@", "/\n", "漢", "\u{200B}"] {
        let of = |bytes: usize| filler.repeat(bytes / filler.len());
        // One is longer than the whole prompt may be, the other longer than any part may be.
        let (body, long) = (of(130_000), of(30_000));
        let paths = vec![long.chars().take(3_000).collect(); 60];
        let oid: Oid = "a".repeat(40).parse().unwrap();
        let workflow = Some(long.as_str());
        let first = Opening { title: &long, body: &body, branch: &long, workflow, ..first(&issue) };
        assert!(opening(&first).len() <= LIMIT);
        for cause in [
            Cause::Verify { command: &long, output: &long },
            Cause::Proof { why: &long, output: &long },
            Cause::Messages { why: &long },
            Cause::Stage { why: &long, log: &long },
            Cause::Conflict { base: &oid, paths: &paths },
            Cause::Red { commit: &oid, stage: &long, link: Some(&long), log: &long },
            Cause::Said { text: &long },
        ] {
            let causes = [Cause::Retry { error: &long }, cause];
            let text = corrective_on_fresh_thread(&first, &causes);
            assert!(text.len() <= LIMIT, "{}", text.len());
            assert!(text.ends_with(&asked(run(), &causes)));
        }
    }
}

#[test]
fn what_fits_is_not_cut_and_a_long_list_is_counted() {
    let whole = outside(run(), "log", &"x".repeat(40), 40, Keep::Tail);
    assert!(whole.contains(&format!("\n{}\n", "x".repeat(40))), "{whole}");
    assert_eq!(list(&vec!["a".to_owned(); 50]), "a\n".repeat(50));
    assert_eq!(list(&vec!["a".to_owned(); 53]), "a\n".repeat(50) + "… 3 more omitted\n");
}

#[test]
fn a_cut_makes_no_command() {
    for max in 30..60 {
        let cut = outside(run(), "log", &"x/".repeat(50), max, Keep::Tail);
        assert!(!cut.lines().any(|line| line.starts_with('/')), "{cut}");
    }
}

proptest! {
    #[test]
    fn outside_text_is_inert_and_stays_between_its_lines(
        title in any::<String>(), body in "(@|/|\n|-----|a| ){0,40}",
    ) {
        let issue = issue();
        let text = opening(&Opening { title: &title, body: &body, ..first(&issue) });
        prop_assert!(!text.contains('@'));
        prop_assert!(!text.lines().any(|line| line.trim_start().starts_with('/')));
        let end = format!("----- issue of run {} ends -----\n", run());
        prop_assert_eq!(text.matches(&end).count(), 1);
        prop_assert!(text.ends_with(&end));
    }

    #[test]
    fn a_cut_log_is_inert_too(text in "(@|/|a|é|\n| ){0,60}", max in 0_usize..90) {
        let text = outside(run(), "log", &text.repeat(4), max, Keep::Tail);
        prop_assert!(!text.contains('@'));
        prop_assert!(!text.lines().any(|line| line.trim_start().starts_with('/')));
    }
}
