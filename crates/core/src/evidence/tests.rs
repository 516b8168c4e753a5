//! A bundle with everything, and every single thing taken away from it.

use super::*;
use crate::change::TreePath;
use crate::guardrails::Breach;
use crate::proof::{
    NoRed, PathClass, PathReport, Permitted, ProofOutcome, ProofRefusal, RemovedLines, Reservation,
    RunKind, RunReport, RunResult, Strength, TestFate, TreeRole,
};

fn oid(digit: &str) -> Oid {
    digit.repeat(40).parse().unwrap()
}

fn at() -> At {
    "2026-03-01T10:00:00Z".parse().unwrap()
}

fn proof() -> ProofReport {
    ProofReport {
        outcome: ProofOutcome::Accepted(Strength::Proven),
        red_kind: None,
        red_tests: vec![],
        runs: vec![RunReport {
            role: TreeRole::Candidate,
            kind: RunKind::FIRST,
            tree: oid("c"),
            argv: vec!["make".into(), "check".into()],
            result: RunResult::Passed,
            tail: "ok\u{1b}[0m\n2 passed\n".into(),
            millis: 1_500,
        }],
        reservations: vec![],
        permit: None,
        unheeded: None,
        no_red: None,
        paths: vec![PathReport {
            path: TreePath::new(b"src/lib.rs").unwrap(),
            class: PathClass::Code,
            added: 3,
            removed: 1,
            fate: None,
        }],
        removed_test_lines: vec![],
    }
}

fn whole() -> Evidence {
    let issue = "o/r#7".parse().unwrap();
    let run = "01900000-0000-7000-8000-000000000001".parse().unwrap();
    let by = Actor { id: "42".into(), login: "ann".into(), bot: false };
    Evidence {
        release: Some(ReleaseEvidence {
            by,
            permission: Some(Permission::Write),
            at: at(),
            how: ReleasedBy::Label { label: "ready-for-agent".into() },
            pinned: Digest::of("pinned"),
        }),
        base: Some(oid("a")),
        candidate: Some(oid("b")),
        landed: Some(oid("b")),
        diff: Some(Tally { files: 2, added: 10, removed: 1, bytes: 99 }),
        guardrails: Some(GuardrailReport::default()),
        proof: Some(proof()),
        stages: vec![StageEvidence {
            stage: "checks".into(),
            commit: oid("b"),
            answer: StageAnswer::Success,
            link: Some("https://ci.example/1".into()),
            at: at(),
            flaky: false,
        }],
        stages_configured: vec!["checks".into()],
        reds: vec![RedEvidence {
            commit: oid("d"),
            stage: "checks".into(),
            at: at(),
            attribution: RedFault::Ours,
            fixed_by: Some(2),
        }],
        effort: Some(Effort {
            turns: 2,
            tokens: Usage { input: 10, output: 5, cache_read: 3, cache_write: 1 },
            cost: Usd::micros(1_230_000),
            estimated: true,
            wall_seconds: 600,
        }),
        transcript: Some(Digest::of("transcript")),
        sandbox: Some(SandboxStrength::Full),
        ..Evidence::new(issue, run)
    }
}

#[test]
fn an_issue_closes_only_on_all_of_it() {
    assert_eq!(whole().is_complete(), Ok(()));
    let check = |spoil: &dyn Fn(&mut Evidence), lack: EvidenceGap| {
        let mut evidence = whole();
        spoil(&mut evidence);
        assert_eq!(evidence.is_complete(), Err(Missing(vec![lack])));
    };
    check(&|e| e.schema = 2, EvidenceGap::Schema { schema: 2 });
    check(&|e| e.release = None, EvidenceGap::Release);
    check(&|e| e.base = None, EvidenceGap::Base);
    check(&|e| e.candidate = None, EvidenceGap::Candidate);
    check(&|e| e.landed = None, EvidenceGap::Landed);
    check(&|e| e.diff = None, EvidenceGap::Diff);
    check(&|e| e.guardrails = None, EvidenceGap::Guardrails);
    let breach = || crate::guardrails::Breach::DiffTooLarge { lines: 9, limit: 8 };
    check(&|e| e.guardrails.as_mut().unwrap().breaches.push(breach()), EvidenceGap::Breached);
    check(&|e| e.proof = None, EvidenceGap::Proof);
    let refused = || ProofOutcome::Refused(ProofRefusal::NoTest);
    check(&|e| e.proof.as_mut().unwrap().outcome = refused(), EvidenceGap::Refused);
    check(&|e| e.stages_configured.clear(), EvidenceGap::Stages);
    let stage = || EvidenceGap::Stage { stage: "checks".into() };
    check(&|e| e.stages.clear(), stage());
    for answer in [StageAnswer::None, StageAnswer::Pending, StageAnswer::Failure, StageAnswer::Void]
    {
        check(&|e| e.stages[0].answer = answer, stage());
    }
    check(&|e| e.reds[0].fixed_by = None, EvidenceGap::Red { commit: oid("d") });
    check(&|e| e.effort = None, EvidenceGap::Effort);
    check(&|e| e.transcript = None, EvidenceGap::Transcript);
    check(&|e| e.sandbox = None, EvidenceGap::Sandbox);

    let mut later = whole();
    later.reds[0].fixed_by = None;
    later.reds[0].attribution = RedFault::Later;
    assert_eq!(later.is_complete(), Ok(()));
}

#[test]
fn an_empty_bundle_names_all_that_it_lacks() {
    let evidence = Evidence::new(whole().issue, whole().run);
    let missing = evidence.is_complete().unwrap_err();
    assert_eq!(
        missing.to_string(),
        "the evidence lacks who released the issue, the base commit, the candidate commit, \
         the landed commit, the diff's statistics, the guardrails' report, the proof, \
         a configured stage, turns, tokens, cost and time, the transcript's digest, \
         the sandbox's strength"
    );
    assert!(evidence.to_markdown().contains("\nNot complete: the evidence lacks who released"));
}

#[test]
fn it_is_stored_and_read_back() {
    let json = serde_json::to_string(&whole()).unwrap();
    assert_eq!(serde_json::from_str::<Evidence>(&json).unwrap(), whole());
}

#[test]
fn breached_guardrails_are_named() {
    let mut evidence = whole();
    let report = evidence.guardrails.as_mut().unwrap();
    report.breaches.push(Breach::DiffTooLarge { lines: 9_000, limit: 2_000 });
    let text = evidence.to_markdown();
    assert!(
        text.contains("- guardrails are breached:\n- the change adds and removes 9000"),
        "{text}"
    );
}

#[test]
fn one_turn_and_one_file_are_singular() {
    let mut evidence = whole();
    evidence.effort.as_mut().unwrap().turns = 1;
    evidence.diff.as_mut().unwrap().files = 1;
    let text = evidence.to_markdown();
    assert!(text.contains("- 1 turn, $1.23") && text.contains(": 1 file, +10"), "{text}");
}

#[test]
fn a_run_that_printed_nothing_is_said_to_have_done_so() {
    let mut evidence = whole();
    evidence.proof.as_mut().unwrap().runs[0].tail = String::new();
    let text = evidence.to_markdown();
    assert!(text.contains("[\"make\", \"check\"] printed nothing.\n\n## Verdict"), "{text}");
    // Earlier versions said less, and what they wrote is still accepted.
    let earlier = text.replace("printed nothing.\n", "printed:\n\n");
    let earlier = earlier.replace("from base to candidate: ", "");
    assert!(evidence.is_rendered_as(&text) && evidence.is_rendered_as(&earlier));
    assert!(!evidence.is_rendered_as(&earlier.replace("2 files", "3 files")));
}

#[test]
fn people_can_read_it() {
    let pinned = Digest::of("pinned");
    let transcript = Digest::of("transcript");
    let (a, b, c) = (oid("a"), oid("b"), oid("c"));
    let expected = format!(
        "# Evidence for o/r#7\n\nRun 01900000-0000-7000-8000-000000000001\n\n\
         Complete: the issue may be closed on this.\n\n## Release\n\n\
         - ann (account 42, permission write), by the label ready-for-agent, \
         at 2026-03-01T10:00:00Z\n- pinned text: sha256 {pinned}\n\n## Change\n\n\
         - base {a}\n- candidate {b}\n- landed {b}\n- from base to candidate: 2 files, +10 −1\n\
         - guardrails: none breached\n\n## Proof\n\n\
         proven: the base passes, its tests fail without the change and pass with it\n\n\
         What was run:\n\n- the candidate: passes, in 1.5 s (tree cccccccc)\n\n\
         Paths of the whole change:\n\n- src/lib.rs (code): +3 −1\n\n\
         On the candidate (tree {c}), [\"make\", \"check\"] printed:\n\n    ok[0m\n    2 passed\n\
         \n## Verdict\n\n- checks: success for bbbbbbbb at 2026-03-01T10:00:00Z, \
         https://ci.example/1\n- red: dddddddd at 2026-03-01T10:00:00Z (checks, ours), \
         fixed by attempt 2\n\n## Effort\n\n- 2 turns, $1.23 (partly estimated), 600 s\n\
         - tokens: 10 read, 5 written, 3 read from the cache, 1 put into it\n\
         - transcript: sha256 {transcript}\n- sandbox: full\n"
    );
    assert_eq!(whole().to_markdown(), expected);
}

/// Returns a run of the proof's command that took this long.
fn run(role: TreeRole, nth: u32, result: RunResult, millis: u64) -> RunReport {
    let (kind, tail) = (RunKind::Verify(nth), format!("output {nth}\n"));
    RunReport { role, kind, result, tail, millis, ..proof().runs[0].clone() }
}

#[test]
fn runs_that_say_the_same_are_one_line_and_permits_name_who_gave_them() {
    use RunResult::{Failed, Passed};
    let mut evidence = whole();
    let proof = evidence.proof.as_mut().unwrap();
    proof.runs = vec![
        run(TreeRole::Base, 1, Passed, 0),
        run(TreeRole::Red, 1, Failed { code: 1 }, 210),
        run(TreeRole::Red, 2, Failed { code: 1 }, 390),
        RunReport { kind: RunKind::Build, ..run(TreeRole::Red, 1, Passed, 59_990) },
        run(TreeRole::Candidate, 1, Failed { code: 2 }, 60_001),
        run(TreeRole::Candidate, 2, Passed, 100),
        run(TreeRole::Candidate, 3, Passed, 100),
    ];
    let permitted = |label: &str| {
        let by = Actor { id: "42".into(), login: "ann".into(), bot: false };
        Permitted { label: label.into(), by, at: at() }
    };
    let gone = TreePath::new(b"tests/old.rs").unwrap();
    proof.no_red = Some(NoRed::Permitted(permitted("no-test-needed")));
    proof.reservations = vec![
        Reservation::BaseFails,
        Reservation::HidingAllowed {
            paths: vec![gone.clone()],
            by: Some(permitted("tests-may-change")),
        },
    ];
    proof.red_tests = vec!["it\u{7} works".into()];
    proof.paths[0].fate = Some(TestFate::Deleted);
    proof.removed_test_lines = vec![RemovedLines { path: gone, count: 3, first: vec!["x".into()] }];
    let text = evidence.to_markdown();
    let (_, section) = text.split_once("\nWhat was run:\n\n").unwrap();
    let (section, _) = section.split_once("\n## Verdict").unwrap();
    let c = oid("c");
    let expected = format!(
        "- the base: passes (tree cccccccc)\n\
         - the base with only the change's tests: fails (exit code 1), twice, in 0.3 s to 0.4 s \
         (tree cccccccc)\n\
         - the base with only the change's tests (build): passes, in 60.0 s (tree cccccccc)\n\
         - the candidate (time 1): fails (exit code 2), in 61 s (tree cccccccc)\n\
         - the candidate (time 2, 3): passes, twice, in 0.1 s (tree cccccccc)\n\
         - fixed: it works\n- flaky: the candidate failed and passed\n\n\
         Permits:\n\n\
         - no test that fails without the change: by ann (account 42), by the label \
         no-test-needed, at 2026-03-01T10:00:00Z\n\
         - to remove tests, or change what runs them: by ann (account 42), by the label \
         tests-may-change, at 2026-03-01T10:00:00Z\n\n\
         Paths of the whole change:\n\n- src/lib.rs (code, deleted): +3 −1\n\n\
         Lines removed from tests:\n\n- tests/old.rs: 3\n\n\
         On the base (tree {c}), [\"make\", \"check\"] printed:\n\n    output 1\n\n\
         On the base with only the change's tests (tree {c}), [\"make\", \"check\"] printed:\n\n    \
         output 1\n\n\
         On the base with only the change's tests (build) (tree {c}), [\"make\", \
         \"check\"] printed:\n\n    output 1\n\n\
         On the candidate (time 1) (tree {c}), [\"make\", \"check\"] printed:\n\n    output 1\n\n\
         On the candidate (time 2, 3) (tree {c}), [\"make\", \"check\"] printed:\n\n    output 2\n"
    );
    assert_eq!(section, expected);
}

/// Returns the statement of a bundle with this evidence.
fn statement(evidence: Evidence) -> Option<serde_json::Value> {
    let head = "5d057f88".to_owned();
    let journal = Some(bundle::Journal { count: 9, head, rows: vec![] });
    let bytes = bundle::Bundle { evidence, journal }.statement().unwrap()?;
    assert!(bytes.ends_with(b"}\n"));
    Some(serde_json::from_slice(&bytes).unwrap())
}

#[test]
fn the_statement_is_about_what_landed_and_says_all_of_it() {
    let mut expected = serde_json::to_value(whole()).unwrap();
    let more = serde_json::json!({
        "complete": true,
        "missing": [],
        "journal": { "count": 9, "head": "5d057f88" },
    });
    expected.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let subject = serde_json::json!([
        { "name": "o/r", "digest": { "gitCommit": oid("b") } },
        { "name": "o/r^{tree}", "digest": { "gitTree": oid("c") } },
    ]);
    let made = statement(whole()).unwrap();
    assert_eq!(made["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(made["predicateType"], "https://afk.dev/evidence/v1");
    assert_eq!(made["subject"], subject);
    assert_eq!(made["predicate"], expected);
    assert_eq!(made.as_object().unwrap().len(), 4);

    // Evidence on which the issue may not be closed says so.
    let made = statement(Evidence { proof: None, ..whole() }).unwrap();
    assert_eq!(made["predicate"]["complete"], false);
    assert_eq!(made["predicate"]["missing"], serde_json::json!([{ "lacks": "proof" }]));
    assert_eq!(made["subject"].as_array().unwrap().len(), 1);
    assert_eq!(statement(Evidence { landed: None, ..whole() }), None);
}
