//! What holds of every proof, whatever its runs come to.

use proptest::prelude::*;

use super::*;

fn code() -> impl Strategy<Value = i32> {
    prop_oneof![Just(PASS), Just(FAIL), Just(MISSING), Just(137)]
}

proptest! {
    /// Whatever the runs come to, in whatever order: one and the same decision, and
    /// a proof only where every part of it was seen.
    #[test]
    fn a_proof_is_never_more_than_was_seen(
        codes in proptest::collection::vec(code(), 8),
        order in proptest::collection::vec(0usize..4, 20),
        split in any::<bool>(),
        build in any::<bool>(),
        assertion in any::<bool>(),
        junit in any::<bool>(),
    ) {
        let mut story = if split { inline() } else { honest() };
        let runs: Vec<_> = story.ends.keys().copied().collect();
        for (run, code) in runs.into_iter().zip(&codes) {
            story = story.with(run.0, run.1, *code);
        }
        if build {
            story.config.build = Some(vec!["build".into()]);
            if assertion { story.config.red = RedMeans::Assertion; }
        }
        if junit { story.config.junit = Some("report.xml".into()); }
        let mut order = order.into_iter().cycle();
        let report = story.play(|_| order.next().unwrap_or(0));
        prop_assert_eq!(&report.outcome, &story.play(|_| 0).outcome);

        let red = if split { Split } else { Red };
        let passed = |run| story.ends[&run].result == RunResult::Passed;
        let failed = |run| matches!(story.ends[&run].result, RunResult::Failed { .. });
        let seen = passed((Base, Judge)) && passed((Candidate, Judge))
            && failed((red, Judge)) && failed((red, VerifyAgain))
            && (!(build && assertion) || passed((red, Build)));
        prop_assert_eq!(report.accepted(), seen);
        if seen {
            let strength = if split { Strength::WeakerSplitByAgent } else { Strength::Proven };
            prop_assert_eq!(&report.outcome, &yes(strength));
        }
        prop_assert!(!report.to_string().is_empty());
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
            corrective: false,
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
