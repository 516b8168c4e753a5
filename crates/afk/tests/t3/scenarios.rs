//! Every scenario of the demo, in both ways of working, on a server of each behaviour.

use afk::demo::{Scenario, sample};
use afk_fakes::t3::Flavour;
use serde_json::Value;

use crate::cockpit::{Case, Cockpit, Way};

/// The person who releases issues: the world's user.
const YOU: &str = "keeper";
/// A person who is not trusted.
const STRANGER: &str = "mallory";

const SCENARIOS: [Scenario; 9] = [
    Scenario::Success,
    Scenario::Tested,
    Scenario::CiRed,
    Scenario::Frozen,
    Scenario::Restart,
    Scenario::NeedsHuman,
    Scenario::Guardrail,
    Scenario::Blocked,
    Scenario::Untrusted,
];

/// What must come of the issue that a scenario is about.
struct Expected {
    outcome: &'static str,
    /// Commits on the default branch, after the first.
    commits: usize,
    attempts: usize,
    /// Words that its comment must have.
    says: &'static str,
}

/// What must come of a case; none if no run is begun at all.
fn expected(case: Case) -> Option<Expected> {
    let done = |commits, attempts, says| Expected { outcome: "done", commits, attempts, says };
    let one = |case: Case| match case.way {
        // The agent pushes its two commits, a test and the fix; we land them as one.
        Way::AgentPushes => done(2, 1, "- [x] "),
        Way::WeLand => done(1, 1, "- [x] "),
    };
    Some(match (case.scenario, case.way) {
        (
            Scenario::Success | Scenario::Restart | Scenario::Blocked | Scenario::Untrusted,
            Way::AgentPushes | Way::WeLand,
        ) => one(case),
        (Scenario::Tested, Way::AgentPushes) => return None,
        (Scenario::Tested, Way::WeLand) => done(1, 2, "- [x] "),
        (Scenario::CiRed, Way::AgentPushes) => done(3, 2, "_Fix-forward: 1 attempt._"),
        (Scenario::CiRed, Way::WeLand) => done(2, 2, "_Fix-forward: 1 attempt._"),
        (Scenario::Frozen, way) => Expected {
            outcome: "frozen",
            commits: if way == Way::AgentPushes { 4 } else { 3 },
            attempts: 3,
            says: "_Fix-forward: 2 attempts._",
        },
        (Scenario::NeedsHuman, _) => Expected {
            outcome: "needs-human",
            commits: 0,
            attempts: 1,
            says: "which greeting is wanted",
        },
        (Scenario::Guardrail, way) => Expected {
            outcome: "needs-human",
            // What the agent pushed stays on the branch, but the run is not done.
            commits: if way == Way::AgentPushes { 3 } else { 0 },
            attempts: 1,
            says: if way == Way::AgentPushes {
                "ci.sh is protected: it judges changes"
            } else {
                "ci.sh is protected"
            },
        },
    })
}

/// The number of the issue that a scenario is about.
fn number(scenario: Scenario) -> u32 {
    if scenario == Scenario::Blocked { 2 } else { 1 }
}

fn told(flavour: Flavour) {
    let ways = [Way::AgentPushes, Way::WeLand];
    let cases = SCENARIOS.into_iter().flat_map(|scenario| ways.map(|way| Case { scenario, way }));
    let cases: Vec<Case> = cases.collect();
    let here = Cockpit::new(flavour, &cases);
    for case in &cases {
        files(&here, *case);
    }
    let waits = [
        (Scenario::Blocked, Way::WeLand, "blockers", "is open"),
        (Scenario::Untrusted, Way::AgentPushes, "trust", STRANGER),
        (Scenario::Tested, Way::AgentPushes, "machine", "pushes to the default branch by itself"),
    ];
    for (scenario, way, gate, why) in waits {
        let case = Case { scenario, way };
        let issue = case.issue(number(scenario));
        let [refused]: [String; 1] = here.refused_by(&issue).try_into().unwrap();
        assert!(refused.contains(gate) && refused.contains(why), "{issue}: {refused}");
    }
    let serve = here.serve();
    // The agents of the restart cases are at work when the control plane is killed.
    let thinking = || {
        let open = here.fake.open_turns();
        let of = |way| {
            let mark = match way {
                Way::AgentPushes => "restart-pushes",
                Way::WeLand => "restart-lands",
            };
            open.iter().any(|turn| turn.text.contains(mark))
        };
        ways.into_iter().all(of).then_some(())
    };
    here.until("the agents think", thinking);
    serve.kill();
    let serve = here.serve();
    here.until("the other one serves", || serve.said().contains("\"serving\"").then_some(()));
    here.world.open("thought");
    for case in cases.iter().filter(|case| case.scenario == Scenario::Blocked) {
        here.world.ok(&["issue", "close", &case.issue(1)]);
    }
    for case in cases.iter().filter(|case| case.scenario == Scenario::Untrusted) {
        let issue = case.issue(1);
        here.world.ok(&["issue", "unlabel", &issue, "ready-for-agent", "--as", STRANGER]);
        here.world.ok(&["issue", "label", &issue, "ready-for-agent", "--as", YOU]);
    }
    let mut turns = 0;
    for case in &cases {
        turns += ended(&here, *case);
    }
    for case in cases.iter().filter(|case| case.scenario == Scenario::Frozen) {
        turns += thawed(&here, *case);
    }
    assert_eq!(here.fake.turns(), turns, "no turn was started twice");
    drop(serve);
    here.done();
}

fn files(here: &Cockpit, case: Case) {
    if case.scenario == Scenario::Blocked {
        here.file(case, sample::BLOCKER_TITLE, "", None);
    }
    let body = match case.scenario {
        Scenario::Blocked => sample::blocked_body(1),
        _ => sample::BODY.to_owned(),
    };
    let by = if case.scenario == Scenario::Untrusted { STRANGER } else { YOU };
    here.file(case, sample::TITLE, &body, Some(by));
    if case.scenario == Scenario::Frozen {
        here.file(case, sample::NEXT_TITLE, sample::NEXT_BODY, Some(YOU));
    }
}

/// Checks that the case's issue came to the expected end; returns how many turns that took.
#[track_caller]
fn ended(here: &Cockpit, case: Case) -> usize {
    let issue = case.issue(number(case.scenario));
    let Some(expected) = expected(case) else {
        let page = here.world.afk(&["show", &issue, "--json"]);
        assert!(!page.status.success(), "{issue} has a run");
        return 0;
    };
    let page = here.settled(&issue);
    let landed = here.landed(case);
    println!("{issue}: {} after {landed} commits", page["summary"]["outcome"]);
    assert_eq!(page["summary"]["outcome"], expected.outcome, "{issue}: {page:#}");
    assert_eq!(landed, expected.commits, "{issue}: {page:#}");
    assert_eq!(here.branches(case), "refs/heads/main\n", "{issue}");
    let attempts = page["run"]["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), expected.attempts, "{issue}: {page:#}");
    tells(here, &issue, &expected);
    let of = |attempt: &Value| attempt["turns"].as_array().map_or(0, Vec::len);
    let turns: usize = attempts.iter().map(of).sum();
    assert_eq!(turns, expected.attempts, "{issue}: one turn an attempt: {page:#}");
    turns
}

/// Checks what people see: the issue, its one comment, its one doorbell, its evidence.
#[track_caller]
fn tells(here: &Cockpit, issue: &str, expected: &Expected) {
    let shown = here.world.json(&["issue", "show", issue]);
    let done = expected.outcome == "done";
    assert_eq!(shown["issue"]["open"], !done, "{shown:#}");
    let comment = Cockpit::comment(&shown);
    assert!(comment.contains(expected.says), "{issue}: {comment}");
    // The thread can be watched from the comment and from the doorbell.
    let link = format!("{}?thread=", here.fake.url());
    assert!(comment.contains(&link), "{issue}: {comment}");
    here.until("the doorbell", || (!here.rung(issue).is_empty()).then_some(()));
    let [bell]: [Value; 1] = here.rung(issue).try_into().unwrap();
    assert_eq!(bell["kind"], expected.outcome, "{bell:#}");
    assert!(bell["link"].as_str().unwrap().starts_with(&link), "{bell:#}");
    if done {
        assert_eq!(comment.matches("- [x] ").count(), 6, "{issue}: {comment}");
        here.world.ok(&["evidence", issue]);
    }
}

/// Checks that the next issue of a frozen repository waits until a person lifts the freeze; returns
/// how many turns it then took.
#[track_caller]
fn thawed(here: &Cockpit, case: Case) -> usize {
    let next = case.issue(2);
    let refused = here.refused_by(&next);
    assert!(refused.iter().any(|one| one.contains("the repository is frozen")), "{refused:?}");
    here.script(case, &sample::next_script(Scenario::Frozen).unwrap());
    let before = here.landed(case);
    here.world.ok(&["unfreeze", &case.repo()]);
    let page = here.settled(&next);
    assert_eq!(page["summary"]["outcome"], "done", "{page:#}");
    let commits = if case.way == Way::AgentPushes { 2 } else { 1 };
    assert_eq!(here.landed(case), before + commits);
    1
}

#[test]
fn every_scenario_on_0_0_27() {
    told(Flavour::V27);
}

#[test]
fn every_scenario_on_0_0_33() {
    told(Flavour::V33);
}

#[test]
fn every_scenario_on_protocol_2() {
    told(Flavour::Two);
}
