//! Three repositories and twelve issues with blockers, priorities and an untrusted
//! label, worked by `afk serve` while it is reloaded, restarted and steered.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::{Control, until};
use crate::world::{Fleet, by_admission};

const READY: &str = "ready-for-agent";

/// Issue, labels, body, and how it must end.
const ISSUES: [(&str, &[&str], &str, &str); 12] = [
    ("a#1", &[READY, "P1"], "Say one.", "done"),
    ("a#2", &[READY, "P0"], "Say two.", "done"),
    ("a#3", &[READY], "Blocked by o/b#1", "done"),
    ("a#4", &[], "A stranger wants this.", "-"),
    ("b#1", &[READY], "Say one.", "done"),
    ("b#2", &[READY, "priority:2"], "Say two.", "done"),
    ("b#3", &[READY, "P1"], "Blocked by:\n- o/a#1", "done"),
    ("b#4", &[READY, "priority:-1"], "Most urgent, and then taken back.", "released"),
    ("c#1", &[READY, "P0"], "Say one.", "done"),
    ("c#2", &[READY, "P1"], "Say two.", "done"),
    ("c#3", &[READY], "Nobody knows how.", "needs-human"),
    ("c#4", &[READY], "Blocked by #3", "-"),
];

/// The order within each repository, as the rules say: priority, then number, the
/// best eligible first.
const ORDER: [(&str, &[&str]); 3] = [
    ("a", &["a#2", "a#1", "a#3"]),
    // b#3 is more urgent than b#2, and blocked while b#2 is taken.
    ("b", &["b#4", "b#2", "b#3", "b#1"]),
    ("c", &["c#1", "c#2", "c#3"]),
];

fn live(fleet: &Fleet) -> Vec<&'static str> {
    ISSUES.iter().map(|(issue, ..)| *issue).filter(|issue| fleet.outcome(issue) == "live").collect()
}

fn until_live(fleet: &Fleet, expected: &[&str]) {
    until(&format!("{expected:?} live"), Duration::from_mins(1), || {
        (live(fleet) == expected).then_some(())
    });
}

fn terminate(control: Control) {
    let pid = Pid::from_raw(i32::try_from(control.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    control.done();
}

#[test]
fn a_fleet_is_worked_as_the_rules_say_whatever_happens_to_the_daemon() {
    let fleet = Fleet::new(&["a", "b", "c"], 2);
    for (issue, labels, body, _) in ISSUES {
        fleet.issue(issue.split_once('#').unwrap().0, labels, body);
    }
    fleet.ok(&["issue", "label", "o/a#4", READY, "--as", "stranger"]);
    for issue in ["b#4", "c#1", "a#2", "b#2"] {
        fleet.hold(issue);
    }
    fleet.give_up("c#3");

    // The two first of all: b#4 by its priority, c#1 before a#2 by its number.
    let serve = fleet.serve();
    until_live(&fleet, &["b#4", "c#1"]);

    // A bad file changes nothing and pauses pickup; a good one raises the capacity.
    fleet.configure(2, "\nnonsense = true\n");
    fleet.let_go("c#1");
    until("the bell of c#1", Duration::from_mins(1), || {
        (fleet.bell.ids().len() == 1).then_some(())
    });
    fleet.looked();
    fleet.hold("c#2");
    let mended = jiff::Timestamp::now();
    fleet.configure(3, "");
    until_live(&fleet, &["a#2", "b#4", "c#2"]);
    for issue in ["a#2", "c#2"] {
        let begun: jiff::Timestamp =
            fleet.run(issue)["run"]["admitted_at"].as_str().unwrap().parse().unwrap();
        assert!(begun > mended, "{issue} was taken under a configuration that is bad");
    }

    // Ended and started again, then killed and started again: the same agents go on.
    terminate(serve);
    let agents = || fleet.processes().iter().filter(|line| line.contains("scripted-agent")).count();
    assert!(agents() > 0, "agents outlive the daemon");
    let serve = fleet.serve();
    until("the daemon is back", Duration::from_secs(30), || {
        serve.said().contains("serving").then_some(())
    });
    serve.kill();
    let serve = fleet.serve();

    // Withdrawn by a person: no doorbell rings, and the next issue of its repository is begun.
    fleet.ok(&["stop", "o/b#4"]);
    fleet.until("b#4", "released");
    until_live(&fleet, &["a#2", "b#2", "c#2"]);

    // Under a pause live runs go on and nothing new begins; after it the next issue is taken.
    fleet.ok(&["pause", "--why", "lunch"]);
    fleet.let_go("a#2");
    fleet.until("a#2", "done");
    fleet.looked();
    assert_eq!(live(&fleet), ["b#2", "c#2"], "nothing is taken while paused");
    fleet.ok(&["resume"]);
    fleet.until("a#1", "done");
    fleet.let_go("b#2");
    fleet.let_go("c#2");
    for (issue, _, _, outcome) in ISSUES {
        fleet.until(issue, outcome);
    }
    terminate(serve);

    let runs: Vec<(String, Value)> =
        ISSUES.iter().map(|(issue, ..)| ((*issue).to_owned(), fleet.run(issue))).collect();
    let order = by_admission(&runs);
    print_table(&runs, &order);
    for (repo, expected) in ORDER {
        let own: Vec<_> = order.iter().filter(|issue| issue.starts_with(repo)).collect();
        assert_eq!(own, expected, "{repo}");
    }
    assert_eq!(order[..2], ["b#4", "c#1"], "over all repositories");
    let done = ISSUES.iter().filter(|(.., outcome)| *outcome == "done").count();
    let landed: usize = ORDER.iter().map(|(repo, _)| fleet.landed(repo).len() - 1).sum();
    assert_eq!(landed, done, "one commit an issue that is done, and no other");
    assert_eq!(fleet.bell.ids().len(), done + 1, "a bell an end; none for what was taken back");
    for (issue, run) in &runs {
        let turns = run["summary"]["turns"].as_u64().unwrap_or(0);
        assert!(turns <= 1, "{issue} was worked in {turns} turns");
    }
    let left = fleet.processes();
    assert_eq!(left, Vec::<String>::new(), "processes left");
}

fn print_table(runs: &[(String, Value)], order: &[String]) {
    println!("{:<6} {:>5}  {:<18} {:>5}  {:<12}", "issue", "begun", "labels", "turns", "outcome");
    for ((issue, run), (_, labels, _, _)) in runs.iter().zip(ISSUES) {
        let begun = order.iter().position(|other| other == issue);
        let begun = begun.map_or_else(|| "-".to_owned(), |n| (n + 1).to_string());
        let priority: Vec<_> = labels.iter().filter(|label| **label != READY).copied().collect();
        let turns = run["summary"]["turns"].as_u64().unwrap_or(0);
        let outcome = run["summary"]["outcome"].as_str().unwrap_or("waiting");
        println!("{issue:<6} {begun:>5}  {:<18} {turns:>5}  {outcome:<12}", priority.join(" "));
    }
}
