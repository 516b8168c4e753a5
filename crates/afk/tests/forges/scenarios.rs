//! The demo's scenarios on issues that live on a forge: each on GitHub and on Forgejo.

use afk::demo::{Scenario, sample};
use afk_agent::agents::scripted::script::Step;
use afk_core::ids::IssueRef;
use afk_sim::world::person;
use serde_json::{Value, json};

use crate::common::{BOUND, until, wait_for};
use crate::support::{Kind, OnForge, Plot, READY, Woken};

/// The keys of a repository that lands what CI on the forge has passed.
fn tested_keys(kind: Kind) -> String {
    let stage = kind.stage();
    format!(
        "landing = \"tested\"\nstages = [{{ name = \"ci\", kind = \"{stage}\", before_landing = \
         true }}]"
    )
}

/// What wakes the loop in a scenario on GitHub; on Forgejo it is the other way round. A new
/// scenario must be decided on here, and needs a test below.
fn woken(kind: Kind, scenario: Scenario) -> Woken {
    let on_github = match scenario {
        Scenario::Success
        | Scenario::CiRed
        | Scenario::Restart
        | Scenario::Guardrail
        | Scenario::Untrusted => Woken::Never,
        Scenario::Tested | Scenario::Frozen | Scenario::NeedsHuman | Scenario::Blocked => {
            Woken::Always
        }
    };
    match (kind, on_github) {
        (Kind::GitHub, woken) => woken,
        (Kind::Forgejo, Woken::Never) => Woken::Always,
        (Kind::Forgejo, Woken::Always | Woken::ByHand) => Woken::Never,
    }
}

on_each_forge!(
    success,
    tested,
    ci_red,
    frozen_until_a_person_lifts_it_on_the_issue,
    restart,
    needs_human,
    guardrail,
    blocked_until_the_blocker_is_closed,
    untrusted
);

fn of(kind: Kind, scenario: Scenario) -> OnForge {
    let (scenario, woken) = (Some(scenario), woken(kind, scenario));
    OnForge::new(Plot { kind, scenario, woken, ..Plot::default() })
}

/// Begins the scenario; returns the demo's issue once the daemon has closed it.
fn closed(here: &OnForge) -> IssueRef {
    let (issue, serve) = here.begin();
    until("the issue is closed", BOUND, || here.is_closed(&issue).then_some(()));
    here.settled(&issue);
    drop(serve);
    issue
}

/// How many lines of a file end with blanks, which CI refuses.
fn blanks(file: &str) -> usize {
    file.lines().filter(|line| line.ends_with(' ')).count()
}

fn attempts(page: &Value) -> &[Value] {
    page["run"]["attempts"].as_array().unwrap()
}

fn success(kind: Kind) {
    let here = of(kind, Scenario::Success);
    let issue = closed(&here);
    here.landed_once(&issue);
    assert!(here.world.landed_file("hello.sh").contains("${1:-world}"));
    here.done(&format!("e2e_success_{}", kind.name()));
}

fn tested(kind: Kind) {
    let (scenario, woken) = (Some(Scenario::Tested), woken(kind, Scenario::Tested));
    let keys = Some(tested_keys(kind));
    let here = OnForge::new(Plot { kind, scenario, woken, keys, ci: true, ..Plot::default() });
    let issue = closed(&here);
    let page = here.landed(&issue);
    assert_eq!(here.world.landed().len(), 2);
    assert_eq!(blanks(&here.world.landed_file("hello.sh")), 0);
    let [first, second] = attempts(&page) else { panic!("{page:#}") };
    // Red twice on the candidate's own branch, in the same workflow run, and never on the default
    // one.
    assert_eq!(first["refused"]["why"]["refusal"], "stage", "{first:#}");
    let red = &first["candidates"][0]["stages"][0];
    assert_eq!((&red["answer"], &red["again"]), (&json!("failure"), &json!(1)), "{red:#}");
    assert!(red["link"].as_str().unwrap().contains("/actions/runs/"), "{red:#}");
    assert!(red["tail"].as_str().unwrap().contains("blanks at the end of a line"), "{red:#}");
    assert_eq!(second["candidates"][0]["stages"][0]["answer"], "success", "{second:#}");
    here.rings(&["done"]);
    here.done(&format!("e2e_tested_{}", kind.name()));
}

fn ci_red(kind: Kind) {
    let here = of(kind, Scenario::CiRed);
    let issue = closed(&here);
    let page = here.landed(&issue);
    assert_eq!((here.world.landed().len(), attempts(&page).len()), (3, 2));
    assert_eq!(blanks(&here.world.landed_file("hello.sh")), 0);
    let comment = here.shows(&issue, false, &[]);
    assert!(comment.contains("_Fix-forward: 1 attempt._"), "{comment}");
    here.rings(&["done"]);
    here.done(&format!("e2e_ci_red_{}", kind.name()));
}

fn frozen_until_a_person_lifts_it_on_the_issue(kind: Kind) {
    let here = of(kind, Scenario::Frozen);
    let (issue, serve) = here.begin();
    let next = here.file_as("acme/hello#2", sample::NEXT_TITLE, sample::NEXT_BODY, "ann");
    let page = here.settled(&issue);
    assert_eq!(page["summary"]["outcome"], "frozen", "{page:#}");
    let broken = here.world.landed();
    assert_eq!((broken.len(), attempts(&page).len()), (4, 3));
    assert_eq!(blanks(&here.world.landed_file("hello.sh")), 1, "it stays in place");
    let comment = here.shows(&issue, true, &["ready-for-human"]);
    assert!(comment.contains("_Fix-forward: 2 attempts._"), "{comment}");
    here.waits_at(&next, "freeze", "the repository is frozen");
    // Nobody without write permission lifts it.
    here.sim.with(|there| there.write_comment(&issue, "/afk unfreeze", &person("tim")));
    here.world.ok(&["tick", "--poll"]);
    here.waits_at(&next, "freeze", "the repository is frozen");
    let turns = sample::next_script(Scenario::Frozen).unwrap().turns;
    here.world.script(&turns.into_iter().map(|turn| turn.steps).collect::<Vec<_>>());
    here.sim.with(|there| there.write_comment(&issue, "/afk unfreeze", &person("ann")));
    until("the next issue is closed", BOUND, || here.is_closed(&next).then_some(()));
    here.landed(&next);
    assert_eq!(here.world.landed()[1..], broken);
    here.rings(&["frozen", "done"]);
    drop(serve);
    here.done(&format!("e2e_frozen_{}", kind.name()));
}

fn restart(kind: Kind) {
    let here = of(kind, Scenario::Restart);
    // The agent thinks until it may go on, so that it is killed in the middle on any machine.
    let mut turns = sample::script(Scenario::Restart, 0).turns;
    for step in turns.iter_mut().flat_map(|turn| &mut turn.steps) {
        if matches!(step, Step::Wait { .. }) {
            *step = wait_for(here.world.path("gate/thought"));
        }
    }
    here.world.script(&turns.into_iter().map(|turn| turn.steps).collect::<Vec<_>>());
    let issue = here.file("ann");
    let serve = here.serve();
    let turn = here.world.job("turn");
    until("the agent says something", BOUND, || {
        std::fs::read_to_string(turn.dir.join("stdout")).ok()?.contains("think").then_some(())
    });
    // Killed in the middle of posting, the next control plane could not tell for two minutes
    // whether the comment was posted.
    until("the comment", BOUND, || (!here.record(&issue).comments.is_empty()).then_some(()));
    serve.kill();
    assert!(turn.host.is_alive(), "the agent goes on without it");
    let serve = here.serve();
    until("the other one serves", BOUND, || serve.said().contains("\"serving\"").then_some(()));
    here.world.open("thought");
    until("the issue is closed", BOUND, || here.is_closed(&issue).then_some(()));
    let page = here.landed_once(&issue);
    let turns = attempts(&page)[0]["turns"].as_array().map(Vec::len);
    assert_eq!(turns, Some(1), "one agent ever");
    drop(serve);
    here.done(&format!("e2e_restart_{}", kind.name()));
}

fn needs_human(kind: Kind) {
    let here = of(kind, Scenario::NeedsHuman);
    let (issue, serve) = here.begin();
    here.handed_over(&issue, "which greeting is wanted");
    drop(serve);
    here.done(&format!("e2e_needs_human_{}", kind.name()));
}

fn guardrail(kind: Kind) {
    let here = of(kind, Scenario::Guardrail);
    let (issue, serve) = here.begin();
    here.handed_over(&issue, "ci.sh is protected");
    drop(serve);
    here.done(&format!("e2e_guardrail_{}", kind.name()));
}

fn blocked_until_the_blocker_is_closed(kind: Kind) {
    let here = of(kind, Scenario::Blocked);
    let title = sample::BLOCKER_TITLE;
    let blocker = here.sim.with(|there| {
        let issue = there.file("acme/hello#1", "", &[], "ann");
        there.set_title(&issue, title, &person("ann"));
        issue
    });
    let body = sample::blocked_body(blocker.number);
    let issue = here.file_as("acme/hello#2", sample::TITLE, &body, "ann");
    here.world.ok(&["tick", "--poll"]);
    here.waits_at(&issue, "blockers", "acme/hello#1 is open");
    here.fake.take_targets();
    let serve = here.serve();
    until("the first look", BOUND, || (!here.fake.take_targets().is_empty()).then_some(()));
    assert_eq!(here.world.json(&["status"])["runs"], json!([]));
    here.sim.with(|there| there.set_open(&blocker, false, &person("ann")));
    until("the issue is closed", BOUND, || here.is_closed(&issue).then_some(()));
    here.landed_once(&issue);
    drop(serve);
    here.done(&format!("e2e_blocked_{}", kind.name()));
}

fn untrusted(kind: Kind) {
    let here = of(kind, Scenario::Untrusted);
    let issue = here.file("mallory");
    here.world.ok(&["tick", "--poll"]);
    here.waits_at(&issue, "trust", "mallory");
    assert_eq!(here.world.json(&["status"])["runs"], json!([]));
    assert_eq!(here.world.landed().len(), 1);
    // Trackers count in seconds: an edit in the second of the label would count as later.
    let filed = here.record(&issue).events.iter().map(|event| event.at.as_second()).max();
    let later = || here.sim.with(|there| Some(there.now.as_second()) > filed);
    until("the next second", BOUND, || later().then_some(()));
    // The same label by a trusted person, before the daemon: its first look must find the issue.
    here.sim.with(|there| {
        there.set_label(&issue, READY, false, &person("mallory"));
        there.set_label(&issue, READY, true, &person("ann"));
    });
    let serve = here.serve();
    until("the issue is closed", BOUND, || here.is_closed(&issue).then_some(()));
    here.landed_once(&issue);
    drop(serve);
    here.done(&format!("e2e_untrusted_{}", kind.name()));
}
