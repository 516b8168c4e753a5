//! Tables of every gate, and the properties that tie dispatch to explanation.
#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::check::Gate;
use super::*;
use crate::ids::{Actor, At, IssueRef, RepoName, RunId};
use crate::issue::{BlockerState, Issue, Permission};
use crate::trust::{Distrust, Ground, ReleaseRefusal, Trust};
use crate::verdict::Verdict;

const USD: u64 = 1_000_000;

fn issue(name: &str, labels: &[&str]) -> Issue {
    Issue {
        issue: name.parse().unwrap(),
        title: "t".into(),
        body: String::new(),
        labels: labels.iter().map(ToString::to_string).collect(),
        open: true,
    }
}

fn repo() -> RepoFacts {
    RepoFacts {
        enrolled: true,
        freeze: SwitchReading::Off,
        freeze_why: None,
        machine: Some(Needed::There),
        live: None,
        run_budget: 100 * USD,
        spend_left: None,
    }
}

fn fleet(repos: &[&str]) -> Fleet {
    Fleet {
        kill_switch: SwitchReading::Off,
        halt: SwitchReading::Off,
        pause: None,
        busy_repos: 0,
        spend_left: None,
        repos: repos.iter().map(|name| (name.parse().unwrap(), repo())).collect(),
    }
}

fn trusted() -> Trust {
    Trust::Trusted {
        by: Actor { id: "1".into(), login: "dev".into(), bot: false },
        at: At::UNIX_EPOCH,
        ground: Ground::Permission(Permission::Write),
        request_id: None,
    }
}

fn remote() -> RemoteFacts {
    RemoteFacts {
        base_fails: None,
        remote: Needed::There,
        aside: None,
        foreign_lock: Fact::Known(None),
        trust: Fact::Known(trusted()),
        blockers: Fact::Known(Vec::new()),
        base: None,
    }
}

fn name(text: &str) -> IssueRef {
    text.parse().unwrap()
}

#[test]
fn what_is_on_or_unknown_stops() {
    let stops = [SwitchReading::On, SwitchReading::Unreadable, SwitchReading::Off]
        .map(SwitchReading::stops);
    assert_eq!(stops, [true, true, false]);
}

/// One gate's answer after one fact was changed from the all-passing world.
#[track_caller]
fn check(
    gate: Gate,
    expected: GateVerdict,
    why: &str,
    change: impl FnOnce(&mut DispatchPolicy, &mut Fleet, &mut RepoFacts, &mut RemoteFacts),
) {
    let (mut policy, mut fleet, mut repo, mut remote) =
        (DispatchPolicy::default(), fleet(&["o/r"]), repo(), remote());
    change(&mut policy, &mut fleet, &mut repo, &mut remote);
    fleet.repos.insert("o/r".parse().unwrap(), repo);
    let issue = issue("o/r#7", &[]);
    let explanation = explain(&policy, &fleet, Dispatcher::Loop, &issue, Some(&remote));
    let result = explanation.gates.iter().find(|result| result.gate == gate).unwrap();
    assert_eq!(result.verdict, expected, "{result:?}");
    assert!(result.why.contains(why), "{result:?} lacks {why:?}");
    let refusals: Vec<_> = explanation.refusals().map(|result| result.gate).collect();
    let refused = if expected == GateVerdict::Passed { vec![] } else { vec![gate] };
    assert_eq!(refusals, refused);
    let others = explanation.gates.iter().filter(|result| result.gate != gate);
    assert!(others.into_iter().all(|result| result.verdict == GateVerdict::Passed));
    // Dispatch decides the same.
    let known = HashMap::from([(issue.issue.clone(), remote)]);
    let admitted = DispatchStep::Admit(vec![issue.issue.clone()]);
    let agreed = if expected == GateVerdict::Passed { admitted } else { DispatchStep::Nothing };
    assert_eq!(next(&policy, &fleet, &[issue], &known), agreed);
}

#[test]
fn a_label_that_was_taken_off_says_how_to_release_the_issue_again() {
    let told = "by an unknown account at 1970-01-01 00:00:00Z; release it again with `afk issue \
                label` or, after a run, `afk retry`";
    check(Gate::Trust, GateVerdict::Failed, told, |_, _, _, m| {
        let (by, at) = (None, At::UNIX_EPOCH);
        m.trust = Fact::Known(Trust::Refused { why: ReleaseRefusal::LabelOff { by, at } });
    });
}

#[test]
fn every_gate_refuses_what_it_is_there_for() {
    use GateVerdict::{Failed, Passed, Unknown};
    check(Gate::KillSwitch, Passed, "off", |_, _, _, _| {});
    check(Gate::KillSwitch, Failed, "afk arm", |_, f, _, _| f.kill_switch = SwitchReading::On);
    check(Gate::KillSwitch, Unknown, "counts as on", |_, f, _, _| {
        f.kill_switch = SwitchReading::Unreadable;
    });
    check(Gate::KillSwitch, Failed, "afk resume", |_, f, _, _| f.halt = SwitchReading::On);
    check(Gate::KillSwitch, Unknown, "halt", |_, f, _, _| f.halt = SwitchReading::Unreadable);
    let pause = |why: &str| Some(PausedBy { by: "ann".into(), why: why.into() });
    check(Gate::KillSwitch, Failed, "paused by ann: release day; `afk resume`", |_, f, _, _| {
        f.pause = pause("release day");
    });
    check(Gate::KillSwitch, Failed, "paused by ann; `afk resume`", |_, f, _, _| {
        f.pause = pause("");
    });
    check(Gate::Allowlist, Failed, "afk enroll", |_, _, r, _| r.enrolled = false);
    check(Gate::Freeze, Failed, "frozen (red); `afk unfreeze`", |_, _, r, _| {
        (r.freeze, r.freeze_why) = (SwitchReading::On, Some("red".into()));
    });
    check(Gate::Freeze, Failed, "the repository is frozen; `afk unfreeze`", |_, _, r, _| {
        (r.freeze, r.freeze_why) = (SwitchReading::On, Some(String::new()));
    });
    check(Gate::Freeze, Unknown, "counts as frozen", |_, _, r, _| {
        r.freeze = SwitchReading::Unreadable;
    });
    let missing = || Needed::Missing("no agent: install it".into());
    let unknown = || Needed::Unknown("no route".into());
    check(Gate::Machine, Passed, "are available", |_, _, _, _| {});
    check(Gate::Machine, Failed, "no agent: install it", |_, _, r, _| r.machine = Some(missing()));
    check(Gate::Machine, Unknown, "could not be checked: no route", |_, _, r, _| {
        r.machine = Some(unknown());
    });
    check(Gate::Machine, Failed, "no agent: install it", |_, _, _, m| m.remote = missing());
    check(Gate::Machine, Unknown, "could not be checked: no route", |_, _, _, m| {
        m.remote = unknown();
    });
    check(Gate::RepoLock, Failed, "is live", |_, _, r, _| {
        r.live = "00000000-0000-7000-8000-000000000001".parse::<RunId>().ok();
    });
    check(Gate::RepoLock, Failed, "its pull request to be merged or closed", |_, _, _, m| {
        m.aside = "00000000-0000-7000-8000-000000000001".parse::<RunId>().ok();
    });
    check(Gate::RepoLock, Failed, "afk release o/r#3", |_, _, _, m| {
        m.foreign_lock = Fact::Known(Some(name("o/r#3")));
    });
    check(Gate::RepoLock, Unknown, "502", |_, _, _, m| {
        m.foreign_lock = Fact::Unreadable("502".into());
    });
    check(Gate::Capacity, Passed, "1 of 2", |_, f, _, _| f.busy_repos = 1);
    check(Gate::Capacity, Failed, "2 of 2", |_, f, _, _| f.busy_repos = 2);
    check(Gate::Capacity, Failed, "the repository may spend 99.99 USD more", |_, _, r, _| {
        r.spend_left = Some(100 * USD - 1);
    });
    check(Gate::Capacity, Failed, "a run needs 100.00 USD", |_, f, _, _| f.spend_left = Some(0));
    check(Gate::Capacity, Failed, "all repos", |_, f, _, _| f.spend_left = Some(0));
    check(Gate::Capacity, Passed, "", |_, f, _, _| f.spend_left = Some(100 * USD));
    check(Gate::Trust, Passed, "released by dev (write permission)", |_, _, _, _| {});
    check(Gate::Trust, Failed, "no event", |_, _, _, m| {
        m.trust = Fact::Known(Trust::Refused { why: ReleaseRefusal::NeverLabelled });
    });
    check(Gate::Trust, Unknown, "dev", |_, _, _, m| {
        let by = Actor { id: "1".into(), login: "dev".into(), bot: false };
        m.trust = Fact::Known(Trust::Refused {
            why: ReleaseRefusal::Labeller { by, why: Distrust::Unknown },
        });
    });
    check(Gate::Trust, Unknown, "timeout", |_, _, _, m| {
        m.trust = Fact::Unreadable("timeout".into());
    });
    let blocked = |states: &[BlockerState]| {
        let all = states.iter().enumerate();
        Fact::Known(all.map(|(i, s)| (name(&format!("o/r#{}", i + 1)), *s)).collect())
    };
    let (open, closed, dark) = (BlockerState::Open, BlockerState::Closed, BlockerState::Unreadable);
    check(Gate::Blockers, Passed, "all 2", |_, _, _, m| m.blockers = blocked(&[closed, closed]));
    check(Gate::Blockers, Failed, "o/r#2 is open, o/r#3 could not", |_, _, _, m| {
        m.blockers = blocked(&[closed, open, dark]);
    });
    check(Gate::Blockers, Unknown, "o/r#1 could not", |_, _, _, m| {
        m.blockers = blocked(&[dark, closed]);
    });
    check(Gate::Blockers, Unknown, "o/r#2 is gone or hidden", |_, _, _, m| {
        m.blockers = blocked(&[closed, BlockerState::Gone]);
    });
    let wait = |p: &mut DispatchPolicy| p.base_health = BaseHealth::Wait;
    check(Gate::BaseHealth, Passed, "recorded", |_, _, _, m| {
        m.base = Some(Fact::Known(Verdict::Red));
    });
    check(Gate::BaseHealth, Failed, "is red", |p, _, _, m| {
        wait(p);
        m.base = Some(Fact::Known(Verdict::Red));
    });
    check(Gate::BaseHealth, Passed, "not red", |p, _, _, m| {
        wait(p);
        m.base = Some(Fact::Known(Verdict::Pending));
    });
    check(Gate::BaseHealth, Unknown, "not read", |p, _, _, _| wait(p));
}

#[test]
fn a_base_that_fails_or_cannot_be_read_is_waited_for() {
    use GateVerdict::{Failed, Passed, Unknown};
    check(Gate::BaseHealth, Failed, "verify fails on bbbbbbbb", |_, _, _, m| {
        m.base_fails = Some("verify fails on bbbbbbbb".into());
    });
    check(Gate::BaseHealth, Unknown, "could not be read: 502", |p, _, _, m| {
        p.base_health = BaseHealth::Wait;
        m.base = Some(Fact::Unreadable("502".into()));
    });
    check(Gate::BaseHealth, Passed, "the default branch is not red", |p, _, _, m| {
        p.base_health = BaseHealth::Wait;
        m.base = Some(Fact::Known(Verdict::Green));
    });
    check(Gate::Blockers, Unknown, "could not be read: 502", |_, _, _, m| {
        m.blockers = Fact::Unreadable("502".into());
    });
    let words = [Passed, Failed, GateVerdict::NotAsked, Unknown].map(|word| word.to_string());
    assert_eq!(words, ["passed", "failed", "not asked", "unknown"]);
}

type Change = fn(&mut Fleet, &mut RepoFacts, &mut RemoteFacts);

#[test]
fn what_nobody_tells_us_of_is_looked_at_again() {
    let again: [Change; 8] = [
        |fleet, _, _| fleet.halt = SwitchReading::On,
        |fleet, _, _| fleet.kill_switch = SwitchReading::Unreadable,
        |_, repo, _| repo.freeze = SwitchReading::On,
        |_, repo, _| repo.machine = Some(Needed::Missing("no claude".into())),
        |_, repo, _| repo.machine = Some(Needed::Unknown("busy".into())),
        |_, _, remote| remote.remote = Needed::Unknown("busy".into()),
        |_, _, remote| remote.trust = Fact::Unreadable("cut off".into()),
        |_, _, remote| {
            let blocker = ("o/r#1".parse().unwrap(), BlockerState::Unreadable);
            remote.blockers = Fact::Known(vec![blocker]);
        },
    ];
    let not: [Change; 5] = [
        |_, _, _| {},
        |_, repo, _| repo.enrolled = false,
        |fleet, _, _| fleet.busy_repos = 9,
        |_, _, remote| remote.base_fails = Some("red".into()),
        |_, _, remote| {
            remote.trust = Fact::Known(Trust::Refused { why: ReleaseRefusal::NeverLabelled });
        },
    ];
    let looked = |change: &Change| {
        let (mut fleet, mut repo, mut remote) = (fleet(&["o/r"]), repo(), remote());
        change(&mut fleet, &mut repo, &mut remote);
        fleet.repos.insert("o/r".parse().unwrap(), repo);
        look_again(&DispatchPolicy::default(), &fleet, &name("o/r#7"), Some(&remote))
    };
    assert_eq!(again.each_ref().map(looked), [true; 8]);
    assert_eq!(not.each_ref().map(looked), [false; 5]);
    let (policy, unasked) = (DispatchPolicy::default(), fleet(&["o/r"]));
    assert!(!look_again(&policy, &unasked, &name("o/r#7"), None), "nobody has looked yet");
}

#[test]
fn a_person_passes_kill_switch_and_allowlist_only() {
    let policy = DispatchPolicy::default();
    let issue = issue("o/r#7", &[]);
    let mut fleet = fleet(&["o/r"]);
    fleet.kill_switch = SwitchReading::On;
    let enroll = |fleet: &mut Fleet, change: &dyn Fn(&mut RepoFacts)| {
        change(fleet.repos.values_mut().next().unwrap());
    };
    enroll(&mut fleet, &|repo| repo.enrolled = false);
    let ask = |fleet: &Fleet, remote: Option<&RemoteFacts>| {
        explain(&policy, fleet, Dispatcher::Person, &issue, remote).eligible()
    };
    assert!(ask(&fleet, Some(&remote())));
    assert!(!ask(&fleet, None));
    let refused = Fact::Known(Trust::Refused { why: ReleaseRefusal::NeverLabelled });
    assert!(!ask(&fleet, Some(&RemoteFacts { trust: refused, ..remote() })));
    enroll(&mut fleet, &|repo| repo.freeze = SwitchReading::On);
    assert!(!ask(&fleet, Some(&remote())));
    enroll(&mut fleet, &|repo| repo.freeze = SwitchReading::Off);
    enroll(&mut fleet, &|repo| repo.machine = Some(Needed::Missing("x".into())));
    assert!(!ask(&fleet, Some(&remote())));
    enroll(&mut fleet, &|repo| repo.machine = Some(Needed::There));
    fleet.pause = Some(PausedBy { by: "ann".into(), why: String::new() });
    assert!(!ask(&fleet, Some(&remote())), "a pause holds people's runs, too");
    fleet.pause = None;
    assert!(ask(&fleet, Some(&remote())));
    fleet.halt = SwitchReading::On;
    assert!(!ask(&fleet, Some(&remote())));
}

#[test]
fn where_nobody_looked_at_the_machine_nothing_is_decided() {
    let mut fleet = fleet(&["o/r"]);
    for facts in fleet.repos.values_mut() {
        facts.machine = None;
    }
    let (policy, issue) = (DispatchPolicy::default(), issue("o/r#7", &[]));
    let said = explain(&policy, &fleet, Dispatcher::Loop, &issue, Some(&remote()));
    let machine = said.gates.iter().find(|result| result.gate == Gate::Machine).unwrap();
    assert_eq!(machine.verdict, GateVerdict::NotAsked);
    let known = HashMap::from([(issue.issue.clone(), remote())]);
    assert!(!matches!(next(&policy, &fleet, &[issue], &known), DispatchStep::Admit(_)));
}

#[test]
fn a_halt_and_a_pause_are_named_and_what_a_halt_cuts_off_refuses_nothing() {
    let (policy, issue) = (DispatchPolicy::default(), issue("o/r#7", &[]));
    let cut = Needed::Unknown("git ls-remote was cancelled".into());
    let cut = RemoteFacts { remote: cut, ..remote() };
    let refused_by = |fleet: &Fleet| -> Vec<String> {
        let said = explain(&policy, fleet, Dispatcher::Loop, &issue, Some(&cut));
        said.refusals().map(GateResult::name).collect()
    };
    let mut fleet = fleet(&["o/r"]);
    assert_eq!(refused_by(&fleet), ["machine"]);
    fleet.kill_switch = SwitchReading::On;
    assert_eq!(refused_by(&fleet), ["kill switch", "machine"]);
    fleet.pause = Some(PausedBy { by: "ann".into(), why: String::new() });
    assert_eq!(refused_by(&fleet), ["pause", "machine"]);
    fleet.halt = SwitchReading::On;
    assert_eq!(refused_by(&fleet), ["halt"]);
}

/// Plays the tick: reads the facts that [`next`] wants until it decides. Also returns how many it
/// read.
fn settle(
    policy: &DispatchPolicy,
    fleet: &Fleet,
    issues: &[Issue],
    world: &dyn Fn(&IssueRef) -> RemoteFacts,
) -> (DispatchStep, usize) {
    let mut known = HashMap::new();
    for _ in 0..=issues.len() {
        match next(policy, fleet, issues, &known) {
            DispatchStep::Look(asked) => {
                for issue in asked {
                    assert!(known.insert(issue.clone(), world(&issue)).is_none(), "asked twice");
                }
            }
            done @ (DispatchStep::Admit(_) | DispatchStep::Nothing) => return (done, known.len()),
        }
    }
    panic!("never settled")
}

fn admitted(next: DispatchStep) -> Vec<String> {
    match next {
        DispatchStep::Admit(all) => all.iter().map(ToString::to_string).collect(),
        DispatchStep::Look(_) | DispatchStep::Nothing => Vec::new(),
    }
}

#[test]
fn the_most_urgent_eligible_issue_of_each_repo_is_admitted() {
    let policy = DispatchPolicy::default();
    let issues = [
        issue("o/b#1", &[]),
        issue("o/a#5", &["priority:1"]),
        issue("o/a#4", &["P0"]),
        issue("o/c#2", &["P0"]),
        issue("o/c#1", &["priority:high"]),
        issue("o/a#3", &["P2"]),
    ];
    let mut fleet = fleet(&["o/a", "o/b", "o/c"]);
    let (all, looks) = settle(&policy, &fleet, &issues, &|_| remote());
    assert_eq!((admitted(all), looks), (vec!["o/c#2".to_owned(), "o/a#4".to_owned()], 2));

    // The most urgent issue of `a` is refused: the next issue of `a` takes its place.
    let refuse = |issue: &IssueRef| match issue.to_string().as_str() {
        "o/a#4" => RemoteFacts { trust: Fact::Unreadable("x".into()), ..remote() },
        _ => remote(),
    };
    let (all, looks) = settle(&policy, &fleet, &issues, &refuse);
    assert_eq!((admitted(all), looks), (vec!["o/c#2".to_owned(), "o/a#5".to_owned()], 3));

    let zero = DispatchPolicy { default_priority: Some(0), ..policy };
    let (all, _) = settle(&zero, &fleet, &issues, &|_| remote());
    assert_eq!(admitted(all), ["o/b#1", "o/c#1"]);

    fleet.spend_left = Some(150 * USD);
    assert_eq!(admitted(settle(&policy, &fleet, &issues, &|_| remote()).0), ["o/c#2"]);

    // Behind a closed local gate no remote fact is read.
    fleet.kill_switch = SwitchReading::On;
    assert_eq!(settle(&policy, &fleet, &issues, &|_| remote()), (DispatchStep::Nothing, 0));
}

#[test]
fn an_explanation_can_be_read() {
    let mut hidden = issue("o/r#7", &["P1"]);
    hidden.body = "do it<!-- and more -->".into();
    let mut fleet = fleet(&["o/r"]);
    fleet.kill_switch = SwitchReading::On;
    let policy = DispatchPolicy::default();
    let shown = explain(&policy, &fleet, Dispatcher::Loop, &hidden, Some(&remote()));
    insta::assert_snapshot!(shown, @r"
    o/r#7 is not dispatched (priority 1)
      failed     kill switch  it is on; `afk arm` turns it off
      passed     allowlist    the repository is enrolled
      passed     freeze       the repository is not frozen
      passed     machine      agent, sandbox, disk and remote are available
      passed     repo lock    no run is live on the repository
      passed     capacity     0 of 2 runs are live
      passed     trust        released by dev (write permission) at 1970-01-01T00:00:00Z
      passed     blockers     it names none
      passed     base health  a red default branch is recorded, not waited for
      hidden from the agent: 1 HTML comment: <!-- and more -->
    ");
    let json = serde_json::to_string(&shown).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap(), shown);
}

prop_compose! {
    fn any_issue()(
        repo in 0_usize..5, number in 1_u64..9, open in prop::bool::weighted(0.9),
        label in prop::sample::select(vec!["P0", "P1", "priority:-2", "priority:high", "bug"]),
    ) -> Issue {
        Issue { open, ..issue(&format!("o/r{repo}#{number}"), &[label]) }
    }
}

prop_compose! {
    fn any_fleet()(
        kill in 0_u8..8, live in 0_u32..3, spend in prop::option::of(0_u64..400),
        repos in prop::collection::vec((0_u8..8, 0_u8..8, prop::option::of(50_u64..200)), 4),
    ) -> Fleet {
        let switch = |n| match n {
            0 => SwitchReading::On,
            1 => SwitchReading::Unreadable,
            _ => SwitchReading::Off,
        };
        let facts = |(enrolled, freeze, left): (u8, u8, Option<u64>)| RepoFacts {
            enrolled: enrolled > 0, freeze: switch(freeze), spend_left: left.map(|l| l * USD), ..repo()
        };
        let named = |(i, all)| (format!("o/r{i}").parse().unwrap(), facts(all));
        Fleet {
            kill_switch: switch(kill), halt: SwitchReading::Off, pause: None, busy_repos: live,
            spend_left: spend.map(|s| s * USD),
            repos: repos.into_iter().enumerate().map(named).collect(),
        }
    }
}

/// A world whose answers differ by issue, some of them refusals.
fn world(salt: u64) -> impl Fn(&IssueRef) -> RemoteFacts {
    move |issue| {
        let repo = issue.repo.as_str().bytes().map(u64::from).sum::<u64>();
        let mut facts = remote();
        match (issue.number * 7 + repo * 13 + salt) % 6 {
            0 => facts.trust = Fact::Known(Trust::Refused { why: ReleaseRefusal::NeverLabelled }),
            1 => facts.blockers = Fact::Known(vec![(name("x/y#1"), BlockerState::Open)]),
            2 => facts.foreign_lock = Fact::Unreadable("x".into()),
            3 => facts.remote = Needed::Missing("x".into()),
            _ => {}
        }
        facts
    }
}

proptest! {
    #[test]
    fn dispatch_is_what_is_explained(
        fleet in any_fleet(), salt in 0_u64..6,
        issues in prop::collection::vec(any_issue(), 0..24),
        seed in any::<prop::sample::Index>(),
    ) {
        let policy = DispatchPolicy::default();
        let world = world(salt);
        let (done, _) = settle(&policy, &fleet, &issues, &world);

        // The order of the candidates does not matter.
        let mut turned = issues.clone();
        if !turned.is_empty() {
            turned.rotate_left(seed.index(issues.len()));
            turned.reverse();
        }
        let (again, _) = settle(&policy, &fleet, &turned, &world);
        prop_assert_eq!(&again, &done);

        let eligible = |i: &&Issue| {
            explain(&policy, &fleet, Dispatcher::Loop, i, Some(&world(&i.issue))).eligible()
        };
        let all: HashSet<_> = issues.iter().filter(eligible).map(|i| i.issue.clone()).collect();
        let admitted = match done {
            DispatchStep::Admit(admitted) => admitted,
            DispatchStep::Look(_) | DispatchStep::Nothing => Vec::new(),
        };
        // Nothing that a gate refuses is admitted, and something is when something could be.
        prop_assert!(admitted.iter().all(|issue| all.contains(issue)));
        prop_assert_eq!(admitted.is_empty(), all.is_empty());

        // At most one issue a repo is admitted, its best eligible one, and within capacity.
        let repos: HashSet<&RepoName> = admitted.iter().map(|issue| &issue.repo).collect();
        prop_assert_eq!(repos.len(), admitted.len());
        prop_assert!(admitted.len() as u32 + fleet.busy_repos <= 2 || admitted.is_empty());
        let spent = admitted.len() as u64 * 100 * USD;
        prop_assert!(fleet.spend_left.is_none_or(|left| spent <= left));
        let rank = |i: &IssueRef| {
            // If an issue is listed twice with different labels, the better rank counts.
            let of = issues.iter().filter(|issue| issue.issue == *i && issue.open);
            of.map(|issue| Rank::new(&issue.issue, &issue.labels, None)).min().unwrap()
        };
        for issue in &admitted {
            let better = all.iter().filter(|i| i.repo == issue.repo && rank(i) < rank(issue));
            prop_assert_eq!(better.count(), 0);
        }
    }
}
