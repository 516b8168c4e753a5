//! Measures one dispatch decision over 10,000 ready issues in 100 repos, as a tick makes it. The
//! goal is well under a millisecond.

#![allow(clippy::expect_used, missing_docs)]

use std::collections::HashMap;
use std::hint::black_box;

use afk_core::blockers::blockers;
use afk_core::gates::{
    DispatchPolicy, DispatchStep, Fact, Fleet, Needed, RemoteFacts, RepoFacts, SwitchReading, next,
};
use afk_core::ids::{Actor, At, IssueRef, RepoName};
use afk_core::issue::{BlockerState, Issue, Permission};
use afk_core::trust::{Ground, Trust};

#[global_allocator]
static ALLOC: divan::AllocProfiler = divan::AllocProfiler::system();

const REPOS: u64 = 100;
const ISSUES: u64 = 10_000;

fn main() {
    divan::main();
}

fn repo(n: u64) -> RepoName {
    format!("example-org/service-{n:03}").parse().expect("a repo name")
}

/// Three labels and a body of 200 bytes each; every tenth issue is blocked.
fn issue(n: u64) -> Issue {
    let urgency = match n % 4 {
        0 => "priority:high".to_owned(),
        _ => format!("priority:{}", n.wrapping_mul(7919) % 5),
    };
    let clause = if n.is_multiple_of(10) { "\n\nBlocked by #3, #4.\n" } else { "\n" };
    let body = format!("The importer drops the last row when the file has no newline.{clause}");
    Issue {
        issue: IssueRef { repo: repo(n / (ISSUES / REPOS)), number: n % (ISSUES / REPOS) + 1 },
        title: format!("Importer drops the last row ({n})"),
        body: format!("{body:.<200}"),
        labels: vec!["bug".to_owned(), "ready-for-agent".to_owned(), urgency],
        open: true,
    }
}

/// Returns all issues, as trackers list them (repo after repo) or mixed up.
fn issues(mixed: bool) -> Vec<Issue> {
    // 7919 is a prime that does not divide the count, so every issue occurs once.
    (0..ISSUES).map(|n| issue(if mixed { n * 7919 % ISSUES } else { n })).collect()
}

fn fleet() -> Fleet {
    let facts = RepoFacts {
        enrolled: true,
        freeze: SwitchReading::Off,
        freeze_why: None,
        machine: Some(Needed::There),
        live: None,
        run_budget: 100_000_000,
        spend_left: None,
    };
    Fleet {
        kill_switch: SwitchReading::Off,
        halt: SwitchReading::Off,
        pause: None,
        busy_repos: 0,
        spend_left: None,
        repos: (0..REPOS).map(|n| (repo(n), facts.clone())).collect(),
    }
}

/// Returns what a tracker says: the blockers that the body names, all still open.
fn look(issue: &Issue) -> RemoteFacts {
    let named = blockers(&issue.body, &issue.issue.repo);
    RemoteFacts {
        base_fails: None,
        remote: Needed::There,
        aside: None,
        foreign_lock: Fact::Known(None),
        trust: Fact::Known(Trust::Trusted {
            by: Actor { id: "1".into(), login: "dev".into(), bot: false },
            at: At::UNIX_EPOCH,
            ground: Ground::Permission(Permission::Write),
            request_id: None,
        }),
        blockers: Fact::Known(named.into_iter().map(|b| (b, BlockerState::Open)).collect()),
        base: None,
    }
}

/// Measures the first answer of a tick: what to look at.
#[divan::bench(args = [false, true])]
fn one_decision(bencher: divan::Bencher<'_, '_>, mixed: bool) {
    let (policy, fleet, issues, known) =
        (DispatchPolicy::default(), fleet(), issues(mixed), HashMap::new());
    bencher.bench_local(|| next(&policy, &fleet, black_box(&issues), &known));
}

/// Measures the last answer, with room for every repo and all of their facts known.
#[divan::bench]
fn one_decision_with_facts(bencher: divan::Bencher<'_, '_>) {
    let policy = DispatchPolicy { max_concurrent_runs: REPOS as u32, ..Default::default() };
    let (fleet, issues) = (fleet(), issues(true));
    let known: HashMap<_, _> = issues.iter().map(|i| (i.issue.clone(), look(i))).collect();
    bencher.bench_local(|| next(&policy, &fleet, black_box(&issues), &known));
}

/// Measures a whole tick: every answer from the first look to the admission.
#[divan::bench]
fn a_tick(bencher: divan::Bencher<'_, '_>) {
    let (policy, fleet, issues) = (DispatchPolicy::default(), fleet(), issues(true));
    let world: HashMap<_, _> = issues.iter().map(|i| (&i.issue, i)).collect();
    bencher.bench_local(|| {
        let mut known = HashMap::new();
        loop {
            match next(&policy, &fleet, black_box(&issues), &known) {
                DispatchStep::Look(asked) => {
                    known.extend(asked.into_iter().map(|i| (i.clone(), look(world[&i]))));
                }
                done @ (DispatchStep::Admit(_) | DispatchStep::Nothing) => return done,
            }
        }
    });
}

/// Measures reading every body for its blockers, which a tick does only for a few.
#[divan::bench]
fn all_blockers(bencher: divan::Bencher<'_, '_>) {
    let issues = issues(false);
    bencher.bench_local(|| {
        issues.iter().map(|i| blockers(&i.body, &i.issue.repo).len()).sum::<usize>()
    });
}
