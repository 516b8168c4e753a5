//! What holds for every proof, whatever the results of its runs.

use proptest::prelude::*;

use super::*;

fn code() -> impl Strategy<Value = i32> {
    prop_oneof![Just(PASS), Just(FAIL), Just(MISSING), Just(137)]
}

proptest! {
    /// Whatever the runs' results are, in whatever order: one and the same decision, and a proof
    /// only if every part of it was seen.
    #[test]
    fn a_proof_is_never_more_than_was_seen(
        codes in proptest::collection::vec(code(), 24),
        order in proptest::collection::vec(0usize..6, 40),
        kind in 0u8..4,
        edits in any::<bool>(),
        judge in any::<bool>(),
        build in any::<bool>(),
        assertion in any::<bool>(),
        quick in any::<bool>(),
    ) {
        let split = kind == 0;
        let mut story = if split { inline() } else { honest() };
        if edits { story.changes.push(("tests/old.rs", file("a\nb\n"), file("a\n"))); }
        if judge { story.changes.push(("Makefile", file("a\n"), file("b\n"))); }
        let split = split && !edits;
        let nths = (1..=7).map(Judge);
        let roles = [
            Base, Red, Candidate, Kept, OldRunner, OldRunnerSilenced, Silenced, RedJudge, Split,
            KeptBlank, LeftSilenced(0), BaseSilenced(0),
        ];
        let runs = roles.into_iter();
        let runs: Vec<_> = runs.flat_map(|role| nths.clone().map(move |nth| (role, nth))).collect();
        for (run, code) in runs.into_iter().zip(codes.iter().cycle()) {
            story = story.with(run.0, run.1, *code);
        }
        if build {
            story.config.build = Some(vec!["build".into()]);
            if assertion { story.config.red = RedMeans::Assertion; }
        }
        if quick { for record in story.ends.values_mut() { record.millis = 10; } }
        let mut order = order.into_iter().cycle();
        let report = story.play(|_| order.next().unwrap_or(0));
        prop_assert_eq!(&report.outcome, &story.play(|_| 0).outcome);
        prop_assert!(!report.to_string().is_empty());
        if !report.accepted() { return Ok(()); }

        let ran = |role, passed: bool| report.runs.iter().filter(move |run| {
            run.role == role && matches!(run.kind, Judge(_)) && (run.result == RunResult::Passed) == passed
        }).count();
        let repeats = if quick { 6 } else { 2 };
        let red = if ran(Split, false) > 0 { Split } else { Red };
        prop_assert!(!split || red == Split);
        prop_assert!(ran(Base, true) >= 1 && ran(Base, false) <= 1);
        prop_assert!(ran(Candidate, true) >= repeats && ran(Candidate, false) <= 1);
        prop_assert!(ran(red, false) >= repeats && ran(red, true) == 0);
        prop_assert!(!judge || ran(RedJudge, true) == 0 && ran(RedJudge, false) == 1);
        let heard = ran(OldRunner, true) >= 1 && ran(OldRunnerSilenced, false) >= 1;
        prop_assert!(!judge || heard || report.outcome == yes(Strength::Weaker));
        prop_assert!(ran(Silenced, true) == 0 && ran(Silenced, false) == 1);
        let kept = ran(Kept, true) + ran(KeptBlank, true) >= 1;
        prop_assert!((split && !judge) || edits || kept);
        prop_assert!(kept || !edits || report.outcome == yes(Strength::Weaker));
        let deaf = ran(LeftSilenced(0), true) == 1;
        prop_assert!(!deaf || ran(BaseSilenced(0), true) == 1);
    }
}

#[test]
fn a_result_counts_only_where_a_run_may_reach_the_same() {
    let policy = ProofPolicy::compile(ProofPolicyConfig::default(), honest().verify, []).unwrap();
    let (all, blobs) = diff(&honest().changes);
    let keys = |conditions: &Conditions| {
        let inputs = ProofInputs {
            policy: &policy,
            diff: &all,
            first: None,
            blobs: &blobs,
            since: None,
            permits: &permits(),
            conditions,
        };
        let ProofStep::Run(wanted) = next(&inputs, &ProofResults::default()) else { panic!() };
        wanted.into_iter().map(|one| one.key(oid(b"tree"))).collect::<Vec<_>>()
    };
    let read = |folders: &[&str]| Conditions {
        read: folders.iter().map(Into::into).collect(),
        ..Conditions::default()
    };
    let others = [
        Conditions::default(),
        Conditions { network: true, ..Conditions::default() },
        Conditions { lax: true, ..Conditions::default() },
        read(&["/opt/a"]),
        read(&["/opt/a", "/opt/b"]),
        read(&["/opt/b", "/opt/a"]),
    ];
    for (n, one) in others.iter().enumerate() {
        assert_eq!(keys(one), keys(&one.clone()), "told again");
        for other in &others[n + 1..] {
            assert!(keys(one).iter().all(|key| !keys(other).contains(key)), "{one:?} {other:?}");
        }
    }
}
