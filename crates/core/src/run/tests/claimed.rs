//! Commits in a run's name: which of them somebody else pushed.

use super::*;

/// The run that looks at the default branch.
const OWN: &str = "00000001-0000-0000-0000-000000000007";
/// A run of this store that is over.
const OLD: &str = "00000001-0000-0000-0000-000000000006";
/// A run that this store does not know.
const UNKNOWN: &str = "00000001-0000-0000-0000-000000000005";

fn pull_seen() -> Transition {
    let (link, state) = ("https://code/1".to_owned(), PullState::Open);
    Transition::PullSeen { seen: PullSeen { link, state } }
}

/// A commit as `id: parents: trailers`, such as `2: 1: OWN 1`, on the start `0`.
fn commit(text: &str) -> (Oid, Vec<Oid>, String) {
    let mut parts = text.split(": ");
    let mut next = || parts.next().unwrap_or_default();
    let (id, parents, named) = (next(), next(), next());
    let mut named = named.split_whitespace();
    let run = match named.next() {
        Some("OWN") => Some(OWN),
        Some("OLD") => Some(OLD),
        Some("UNKNOWN") => Some(UNKNOWN),
        other => other,
    };
    let run = run.map(|run| format!("AFK-Run: {run}\n")).unwrap_or_default();
    let attempt = named.next().map(|nth| format!("AFK-Attempt: {nth}\n")).unwrap_or_default();
    let message = format!("Work\n\nBody\n\n{run}{attempt}");
    (oid(id.chars().next().unwrap()), parents.chars().map(oid).collect(), message)
}

fn found(own: &[(i64, Transition)], commits: &[(Oid, Vec<Oid>, String)]) -> Option<char> {
    let author = ("a".to_owned(), "a@b".to_owned());
    let pushed = commits.iter().map(|(id, parents, message)| BranchCommit {
        id,
        parents,
        author: &author,
        message,
    });
    let pushed: Vec<_> = pushed.collect();
    let old = Run { id: OLD.parse().unwrap(), ..run(&to_landing()) };
    let runs = BTreeMap::from([(admitted().id, run(own)), (old.id, old)]);
    assert!(claimed_runs(&pushed).len() <= 3);
    forged_commit(&commits[0].0, &pushed, &runs).and_then(|id| id.as_str().chars().next())
}

fn check(own: &[(i64, Transition)], commits: &[&str], expected: Option<char>) {
    let parsed: Vec<_> = commits.iter().map(|text| commit(text)).collect();
    assert_eq!(found(own, &parsed), expected, "{commits:?} after {:?}", own.last());
}

#[test]
fn who_pushes_in_a_runs_name_is_found() {
    let own = &to_landing()[..7];
    check(own, &["2: 1", "1: 0"], None);
    // With and without an attempt, of this run and of another, old or new.
    check(own, &["2: 1", "1: 0: OWN"], Some('1'));
    check(own, &["1: 0: OWN 1"], Some('1'));
    check(own, &["1: 0: OWN 7"], Some('1'));
    check(own, &["1: 0: OLD"], Some('1'));
    check(own, &["1: 0: OLD 2"], Some('1'));
    check(own, &["1: 0: UNKNOWN 1"], Some('1'));
    // The newest such commit is named, and one that a merge brings in counts, too.
    check(own, &["2: 1: OLD 9", "1: 0: OWN"], Some('2'));
    check(own, &["3: 02", "2: 0: OWN 1"], Some('2'));
    // A run that the store does not know does not count there.
    check(own, &["3: 02", "2: 0: UNKNOWN 1"], None);
    check(own, &["1: 0: no-uuid 1"], None);
}

#[test]
fn what_we_pushed_and_what_people_did_with_it_is_nobody_elses() {
    // Our push, also one that arrived late, and copies of what landed: picked, rebased, squashed.
    let proved = &to_landing()[..7];
    let landed = to_landing();
    check(proved, &["c: 0: OWN 1"], None);
    check(&landed, &["c: 0: OWN 1"], None);
    check(&landed, &["2: 1: OWN 1", "1: c", "c: 0: OWN 1"], None);
    check(&landed, &["2: 0: OLD 1"], None);
    // A candidate that was not proved was not pushed by us.
    check(&to_landing()[..6], &["c: 0: OWN 1"], Some('c'));
    // People were asked to merge it, and squash or rebase it.
    let asked = with(proved.to_vec(), vec![(30, Transition::PullBegun), (31, pull_seen())]);
    check(&asked, &["5: 0: OWN 1"], None);
    check(&asked, &["5: 0: OWN 2"], Some('5'));
    // The candidate of a merge brings what the agent wrote, but not what it was merged with.
    check(&landed, &["c: 12: OWN 1", "2: 0: OWN", "1: 0"], None);
    check(&landed, &["c: 12: OWN 1", "2: 0", "1: 0: OWN"], Some('1'));
    // What a revert quotes is no trailer.
    let quoting = format!("Revert \"Work\"\n\nThis reverts:\n\n    AFK-Run: {OWN}\n\nIt broke.\n");
    assert_eq!(found(&landed, &[(oid('2'), vec![oid('0')], quoting)]), None);
    let told = format!("Look at\nAFK-Run: {OWN}\n\nand more.\n");
    assert_eq!(found(&landed, &[(oid('2'), vec![oid('0')], told)]), None);
}

#[test]
fn an_agent_that_lands_by_agreement_does_so() {
    let far = Start {
        branch: "main".to_owned(),
        base: oid('0'),
        workflow: None,
        checkout: Checkout::Own,
        machine: None,
        head: None,
    };
    let own = [(1, Transition::Opened { start: far })];
    check(&own, &["1: 0: OWN"], None);
    check(&own, &["1: 0: OLD"], Some('1'));
}
