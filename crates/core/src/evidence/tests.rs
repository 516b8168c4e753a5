//! A bundle with everything, and every single thing taken away from it.

use super::*;
use crate::change::TreePath;
use crate::guardrails::Breach;
use crate::proof::{
    PathClass, PathReport, ProofOutcome, ProofRefusal, RunKind, RunReport, RunResult, Strength,
    TreeRole,
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
        release: Some(Release {
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
            mended_by: Some(2),
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
    let check = |spoil: &dyn Fn(&mut Evidence), lack: Lack| {
        let mut evidence = whole();
        spoil(&mut evidence);
        assert_eq!(evidence.is_complete(), Err(Missing(vec![lack])));
    };
    check(&|e| e.schema = 2, Lack::Schema { schema: 2 });
    check(&|e| e.release = None, Lack::Release);
    check(&|e| e.base = None, Lack::Base);
    check(&|e| e.candidate = None, Lack::Candidate);
    check(&|e| e.landed = None, Lack::Landed);
    check(&|e| e.diff = None, Lack::Diff);
    check(&|e| e.guardrails = None, Lack::Guardrails);
    let breach = || crate::guardrails::Breach::DiffTooLarge { lines: 9, limit: 8 };
    check(&|e| e.guardrails.as_mut().unwrap().breaches.push(breach()), Lack::Breached);
    check(&|e| e.proof = None, Lack::Proof);
    let refused = || ProofOutcome::Refused(ProofRefusal::NoTest);
    check(&|e| e.proof.as_mut().unwrap().outcome = refused(), Lack::Refused);
    check(&|e| e.stages_configured.clear(), Lack::Stages);
    let stage = || Lack::Stage { stage: "checks".into() };
    check(&|e| e.stages.clear(), stage());
    for answer in [StageAnswer::None, StageAnswer::Pending, StageAnswer::Failure, StageAnswer::Void]
    {
        check(&|e| e.stages[0].answer = answer, stage());
    }
    check(&|e| e.reds[0].mended_by = None, Lack::Red { commit: oid("d") });
    check(&|e| e.effort = None, Lack::Effort);
    check(&|e| e.transcript = None, Lack::Transcript);
    check(&|e| e.sandbox = None, Lack::Sandbox);

    let mut later = whole();
    later.reds[0].mended_by = None;
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
fn people_can_read_it() {
    let pinned = Digest::of("pinned");
    let transcript = Digest::of("transcript");
    let (a, b, c) = (oid("a"), oid("b"), oid("c"));
    let expected = format!(
        "# Evidence for o/r#7\n\nRun 01900000-0000-7000-8000-000000000001\n\n\
         Complete: the issue may be closed on this.\n\n## Release\n\n\
         - ann (account 42, permission write), by the label ready-for-agent, \
         at 2026-03-01T10:00:00Z\n- pinned text: sha256 {pinned}\n\n## Change\n\n\
         - base {a}\n- candidate {b}\n- landed {b}\n- 2 files, +10 −1\n\
         - guardrails: none breached\n\n## Proof\n\n{}\
         \nOn the candidate (tree {c}), [\"make\", \"check\"]: passes\n\n    ok[0m\n    2 passed\n\
         \n## Verdict\n\n- checks: success for bbbbbbbb at 2026-03-01T10:00:00Z, \
         https://ci.example/1\n- red: dddddddd at 2026-03-01T10:00:00Z (checks, ours), \
         fixed by attempt 2\n\n## Effort\n\n- 2 turns, $1.23 (partly estimated), 600 s\n\
         - tokens: 10 read, 5 written, 3 read from the cache, 1 put into it\n\
         - transcript: sha256 {transcript}\n- sandbox: full\n",
        proof()
    );
    assert_eq!(whole().to_markdown(), expected);
}
