//! What people see and say on the forge: their `/afk` comments, answered in the run's own comment;
//! what holds an issue up, as `explain` and `status` show it.
//!
//! The numbered faults are ones that other bots of this kind had.

use std::io::Read as _;
use std::process::{Command, Stdio};

use afk::demo::{Scenario, sample};
use afk_app::adapters::on_path;
use afk_core::ids::IssueRef;
use afk_fakes::Flaw;
use afk_sim::world::person;
use afk_stand_ins::tools::{found_or_skipped, skip};
use serde_json::json;

use crate::common::{BOUND, ISSUE, texts, until, wait_for};
use crate::support::{HOOK, Kind, OnForge, Plot, READY, Woken, hears, post, repo};

on_each_forge!(
    who_may_write_steers_by_comments_and_a_stranger_does_not,
    a_lock_that_no_run_holds_is_released_from_here,
    a_status_that_is_watched_asks_no_more_often_than_the_poll,
    fault_13_three_webhooks_in_every_order_cause_the_same,
    fault_20_blockers_and_a_failing_poll_are_seen
);

/// What wakes the loop: on one forge webhooks tell of comments, on the other the poll finds them.
pub(crate) fn woken(kind: Kind) -> Woken {
    match kind {
        Kind::GitHub => Woken::Always,
        Kind::Forgejo => Woken::Never,
    }
}

/// Waits until a comment of the loop's has these words.
pub(crate) fn told(here: &OnForge, issue: &IssueRef, words: &str) -> String {
    until(&format!("a comment that says {words:?}"), BOUND, || {
        let all = here.record(issue).comments.into_iter();
        let mut own = all.filter(|one| one.body.contains("AFK run progress"));
        own.find(|one| one.body.contains(words)).map(|one| one.body)
    })
}

fn who_may_write_steers_by_comments_and_a_stranger_does_not(kind: Kind) {
    let here = OnForge::new(Plot { kind, woken: woken(kind), ..Plot::default() });
    // The agent waits at the gate `on`, so that its turn goes on meanwhile.
    let mut turns = sample::script(Scenario::Success, 0).turns;
    turns[0].steps.insert(0, wait_for(here.world.path("gate/on")));
    here.world.script(&turns.into_iter().map(|turn| turn.steps).collect::<Vec<_>>());
    let (issue, serve) = here.begin();
    here.world.job("turn");
    let says = |who: &str, words: &str| {
        here.sim.with(|there| there.write_comment(&issue, words, &person(who)));
    };
    says("ann", "/afk budget 8");
    told(&here, &issue, "the budget is");
    // Nobody without write permission is obeyed; a later request of somebody else is answered.
    says("tim", "/afk stop");
    says("mallory", "/afk stop");
    says("ann", "/afk dance");
    let comment = told(&here, &issue, "\"dance\" is not a request");
    assert!(comment.contains("/afk retry, /afk stop"), "{comment}");
    for stranger in ["tim", "mallory"] {
        assert!(!comment.contains(stranger), "{comment}");
    }
    let runs = || here.world.json(&["runs"])["runs"].as_array().map_or(0, Vec::len);
    assert_eq!(
        (here.world.json(&["status"])["runs"].as_array().map(Vec::len), runs()),
        (Some(1), 1)
    );
    says("ann", "/afk say Mind the hinges.");
    told(&here, &issue, "the agent gets the message after its turn");
    says("ann", "/afk stop");
    told(&here, &issue, "stopped");
    assert_eq!(here.settled(&issue)["summary"]["outcome"], "released");
    assert_eq!(here.world.landed().len(), 1);
    // The user of this machine has no account on the forge, and is told what to do there.
    let (out, err) = texts(&here.world.afk(&["retry", ISSUE]));
    assert!(err.contains("comment `/afk retry` on acme/hello#1, or take"), "{out}{err}");
    let (out, err) = texts(&here.world.afk(&["say", ISSUE, "Hello?"]));
    assert!(err.contains("again: comment `/afk retry` on acme/hello#1"), "{out}{err}");
    // A comment also releases an issue whose run has ended; a stranger's does not.
    says("mallory", "/afk retry");
    here.world.open("on");
    says("ann", "/afk retry");
    until("the issue is closed", BOUND, || here.is_closed(&issue).then_some(()));
    here.settled(&issue);
    assert_eq!((runs(), here.world.landed().len()), (2, 2));
    drop(serve);
    here.done(&format!("e2e_chat_{}", kind.name()));
}

/// The label of an issue that is worked on.
const BUSY: &str = "agent-in-progress";

fn a_lock_that_no_run_holds_is_released_from_here(kind: Kind) {
    let here = OnForge::new(Plot { kind, ..Plot::default() });
    let issue = here.file("ann");
    assert_eq!(here.world.json(&["release", ISSUE])["released"], false);
    here.sim.with(|there| there.set_label(&issue, BUSY, true, &person("ann")));
    let said = here.world.json(&["explain", ISSUE]).to_string();
    assert!(said.contains(&format!("afk release {ISSUE}")), "{said}");
    let done = here.world.json(&["release", ISSUE]);
    assert_eq!((&done["released"], &done["label"]), (&json!(true), &json!(BUSY)));
    assert!(!here.record(&issue).has(BUSY));
    let (out, err) = texts(&here.world.afk(&["release", "acme/hello#99"]));
    assert!(err.contains("there is no issue acme/hello#99"), "{out}{err}");
    here.done(&format!("e2e_lock_{}", kind.name()));
}

/// The poll is an hour away.
fn a_status_that_is_watched_asks_no_more_often_than_the_poll(kind: Kind) {
    const TEST: &str = "a_status_that_is_watched_asks_no_more_often_than_the_poll";
    let found = on_path("script").ok_or_else(|| skip("install util-linux"));
    let Some(script) = found_or_skipped(TEST, "script", "CI", found) else { return };
    let here = OnForge::new(Plot { kind, woken: Woken::ByHand, ..Plot::default() });
    here.file("ann");
    let watching = here.world.command(&["status", "--watch"]);
    let words = std::iter::once(watching.get_program()).chain(watching.get_args());
    let words: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
    let mut terminal = Command::new(script);
    terminal
        .args(["-q", "-f", "-e", "-c", &format!("exec {}", words.join(" ")), "/dev/null"])
        .current_dir(watching.get_current_dir().unwrap())
        .env_clear()
        .envs(watching.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("TERM", "xterm");
    let mut child =
        terminal.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut output, mut seen) = (child.stdout.take().unwrap(), Vec::new());
    let mut shows = |enough: &dyn Fn(&str) -> bool| {
        let mut part = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&seen).into_owned();
            if enough(&text) {
                return;
            }
            let n = output.read(&mut part).unwrap();
            assert!(n > 0, "it ended: {text}");
            seen.extend_from_slice(&part[..n]);
        }
    };
    // Each screen begins by clearing the one before, once everything that it shows has been read.
    let screens = |text: &str| text.matches("\u{1b}[H\u{1b}[2J").count();
    shows(&|text| screens(text) >= 1);
    let first = here.fake.targets();
    assert!(first.iter().any(|one| one.contains("labels=ready-for-agent")), "{first:?}");
    shows(&|text| screens(text) >= 4);
    let all = here.fake.targets();
    let later = &all[first.len()..];
    assert!(later.is_empty(), "{later:?}");
    // A changed configuration is shown at once.
    here.world.ok(&["disarm"]);
    shows(&|text| text.contains("kill switch on: nothing is dispatched"));
    child.kill().unwrap();
    child.wait().unwrap();
    here.done(&format!("e2e_watch_{}", kind.name()));
}

fn fault_13_three_webhooks_in_every_order_cause_the_same(kind: Kind) {
    const ORDERS: [[&str; 3]; 6] = [
        ["issues", "issue_comment", "push"],
        ["issues", "push", "issue_comment"],
        ["issue_comment", "issues", "push"],
        ["issue_comment", "push", "issues"],
        ["push", "issues", "issue_comment"],
        ["push", "issue_comment", "issues"],
    ];
    let here = OnForge::new(Plot { kind, woken: Woken::ByHand, ..Plot::default() });
    let serve = here.serve();
    let address = hears(&serve, kind);
    here.has_looked();
    for (nth, order) in (1..).zip(ORDERS) {
        // Released by somebody who may not, edited and commented on by a stranger, all before a
        // webhook.
        let issue = here.file_as(&format!("{}#{nth}", repo()), "Greet", "Do it.", "tim");
        here.sim.with(|there| {
            there.set_body(&issue, "Do something else.", &person("mallory"));
            there.write_comment(&issue, "/afk retry", &person("mallory"));
        });
        for event in order {
            let delivery = here.fake.delivery(event, &repo(), HOOK).unwrap();
            assert_eq!(post(&address, kind, &delivery), Some(202), "{order:?} {event}");
        }
        let timeline = format!("/issues/{nth}/timeline");
        until("the issue is read", BOUND, || {
            here.fake.targets().iter().any(|target| target.contains(&timeline)).then_some(())
        });
        let said = here.world.json(&["explain", &issue.to_string()]);
        let failed = said["gates"].as_array().unwrap().iter();
        let failed: Vec<_> = failed.filter(|one| one["verdict"] == "failed").collect();
        let [only] = failed.as_slice() else { panic!("{order:?}: {said:#}") };
        assert_eq!(only["gate"], "trust", "{order:?}: {said:#}");
        let record = here.record(&issue);
        assert_eq!((record.issue.labels, record.comments.len()), (vec![READY.to_owned()], 1));
    }
    assert_eq!(here.world.json(&["runs"])["runs"], json!([]));
    drop(serve);
    here.done(&format!("e2e_orders_{}", kind.name()));
}

fn fault_20_blockers_and_a_failing_poll_are_seen(kind: Kind) {
    let here = OnForge::new(Plot { kind, ..Plot::default() });
    let blocker = here.sim.with(|there| there.file("acme/hello#2", "", &[], "ann"));
    let issue = here.file("ann");
    here.sim.with(|there| {
        let record = there.tracker.issues.get_mut(&issue).unwrap();
        record.blockers.push(blocker.clone());
    });
    here.world.ok(&["tick", "--poll"]);
    here.waits_at(&issue, "blockers", "acme/hello#2 is open");
    let status = here.world.json(&["status"]);
    let held = &status["ready"][0];
    assert_eq!(held["issue"], issue.to_string(), "{status:#}");
    assert!(held["gates"].to_string().contains("acme/hello#2 is open"), "{held:#}");
    // What is left of the account's limit is shown if the forge reports it.
    let left = &status["forges"][0]["left"];
    assert_eq!(left.is_array(), kind == Kind::GitHub, "{status:#}");
    here.fake.plant(&repo(), Flaw::ExpiredToken);
    // The poll fails; the exit code does not matter here.
    here.world.afk(&["tick", "--poll"]);
    let status = here.world.json(&["status"]);
    assert!(status["unreadable"].to_string().contains("401"), "{status:#}");
    let output = here.world.afk(&["explain", ISSUE]);
    let (out, err) = crate::common::texts(&output);
    assert!(format!("{out}{err}").contains("401"), "{out}\n{err}");
    here.done(&format!("e2e_seen_{}", kind.name()));
}
