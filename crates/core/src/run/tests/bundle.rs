//! An evidence bundle is sound as it was written, and every change to it is noticed.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::chain::{self, Link};
use crate::evidence::bundle::{Bundle, BundleMismatch, Flaw, NotABundle};

/// The run of a small journal, from its admission to its end.
fn steps() -> Vec<Transition> {
    vec![
        Transition::Admitted { run: Box::new(admitted()) },
        opened(),
        begun(TurnCause::Opening),
        paid(2, 1),
        left('c', &[]),
        integrated('c', 'd'),
        guarded(),
        proved(),
        landed('d'),
        stage("ci", StageAnswer::Success, 900),
        Transition::Concluded { end: End::Done, why: "landed".to_owned(), charged: None },
    ]
}

/// The rows of `steps`, a second apart, hashed anew.
fn rows(steps: &[Transition]) -> Vec<Link> {
    let (run, mut prev_hash) = (admitted().id.to_string(), String::new());
    let row = |(seq, step): (u64, &Transition)| {
        let (at, kind) = (at(seq.cast_signed()).as_microsecond(), step.kind().to_owned());
        let body = json!({ "transition": step, "context": null }).to_string();
        let hash = chain::hash(&run, seq, at, &kind, &body, &prev_hash);
        let row = Link { seq, at, kind, body, prev_hash: prev_hash.clone(), hash };
        prev_hash.clone_from(&row.hash);
        row
    };
    (1..).zip(steps).map(row).collect()
}

fn bundle() -> Bundle {
    let mut run = admitted();
    for (second, step) in (1..).zip(steps()) {
        run.apply(at(second), step);
    }
    Bundle::new(run.evidence(None), rows(&steps()))
}

/// The bytes of a bundle, and where the journal begins in them.
static KEPT: LazyLock<(Vec<u8>, usize)> = LazyLock::new(|| {
    let bytes = bundle().to_bytes().unwrap();
    let text = std::str::from_utf8(&bytes).unwrap();
    let begin = text.find("\"journal\": {").unwrap();
    (bytes, begin)
});

/// The flaws that are found in a file of these bytes.
fn told(bytes: &[u8]) -> Result<Vec<Flaw>, NotABundle> {
    Bundle::read(bytes).map(|bundle| bundle.check(bytes).flaws)
}

/// The flaws that are found in the bundle after `change`, written as bundles are.
fn after(change: impl FnOnce(&mut Bundle)) -> Vec<String> {
    let mut bundle = bundle();
    change(&mut bundle);
    let flaws = told(&bundle.to_bytes().unwrap()).unwrap();
    flaws.iter().map(ToString::to_string).collect()
}

#[test]
fn what_was_kept_is_sound_and_names_its_transcripts() {
    let (bytes, begin) = &*KEPT;
    assert!(*begin > 100 && bytes.ends_with(b"}\n"));
    let read = Bundle::read(bytes).unwrap();
    assert_eq!(read, bundle());
    let checked = read.check(bytes);
    assert_eq!(checked.flaws, []);
    assert_eq!(checked.transcripts(), [(1, Digest::of("transcript"))]);
    assert_eq!(checked.run.unwrap().conclusion.unwrap().end, End::Done);
}

#[test]
fn a_statement_that_the_rows_do_not_give_is_named_with_its_field() {
    let refused = || ProofOutcome::Refused(ProofRefusal::NoTest);
    let edited = after(|b| b.evidence.proof.as_mut().unwrap().outcome = refused());
    let (accepted, refused) = (
        r#"/proof/outcome/accepted: stated null, but the rows give "proven""#,
        r#"/proof/outcome/refused: stated {"reason":"no_test"}, but the rows give null"#,
    );
    assert_eq!(edited, [refused, accepted]);
    let edited = after(|b| b.evidence.effort.as_mut().unwrap().turns = 9);
    assert_eq!(edited, ["/effort/turns: stated 9, but the rows give 1"]);
    let edited = after(|b| b.evidence.stages[0].stage = "more".to_owned());
    assert_eq!(edited, [r#"/stages/0/stage: stated "more", but the rows give "ci""#]);
    let edited = after(|b| b.evidence.stages.clear());
    assert!(edited[0].starts_with("/stages: stated [], but the rows give [{"), "{edited:?}");
    let edited = after(|b| b.evidence.stages_configured.push("ci".to_owned()));
    assert_eq!(edited, [r#"/stages_configured: stated ["ci"], but the rows give []"#]);
    let none = after(|b| b.journal = None);
    assert!(none[0].starts_with("it contains no journal"), "{none:?}");
}

#[test]
fn a_row_that_was_changed_is_named() {
    let rows = |b: &mut Bundle, change: fn(&mut Vec<Link>)| {
        change(&mut b.journal.as_mut().unwrap().rows);
    };
    let check = |change: fn(&mut Vec<Link>), expected: &[&str]| {
        assert_eq!(after(|b| rows(b, change)), expected);
    };
    check(
        |rows| drop(rows.remove(7)),
        &[
            "row 8 is missing",
            r#"/proof: stated {"outcome":{"accepted":"proven"},"red_kind":null,"red_tests":[],"removed_test_lines":[],"runs":[]}, but the rows give null"#,
        ],
    );
    check(
        |rows| rows.swap(3, 4),
        &["row 5 is in the place of row 4", "row 4 is in the place of row 5"],
    );
    check(
        |rows| rows[7].kind = "guarded".to_owned(),
        &[
            "row 8 was edited: its at, kind or body does not match its hash",
            r#"row 8: its kind says "guarded", its body "proved""#,
        ],
    );
    check(
        |rows| drop(rows.remove(0)),
        &["row 1 is missing", "row 2 cannot be read: the first row does not admit the run"],
    );
    check(Vec::clear, &["rows 1 to 11 are missing", "row 1 cannot be read: there are no rows"]);
    let other = after(|b| rows(b, |rows| rows[7].body = rows[7].body.replace("proven", "exempt")));
    assert_eq!(other[0], "row 8 was edited: its at, kind or body does not match its hash");
    assert!(other[1..].iter().any(|flaw| flaw.contains("row 8") || flaw.contains("/proof")));
}

#[test]
fn a_bundle_in_the_place_of_another_is_told() {
    let bundle = bundle();
    let (run, issue) = (bundle.evidence.run, bundle.evidence.issue.clone());
    assert_eq!(bundle.of(run, Some(&issue)), []);
    assert_eq!(bundle.of(run, None), []);
    let asked = "01900000-0000-7000-8000-0000000000ff".parse().unwrap();
    let strayed = BundleMismatch::Run { is: run, asked };
    assert_eq!(bundle.of(asked, Some(&issue)), std::slice::from_ref(&strayed));
    assert_eq!(strayed.to_string(), format!("it is of run {run}, not of run {asked}"));
    let other: crate::ids::IssueRef = "o/other#9".parse().unwrap();
    let both = [strayed, BundleMismatch::Issue { is: issue.clone(), asked: other.clone() }];
    assert_eq!(bundle.of(asked, Some(&other)), both);
    assert_eq!(both[1].to_string(), format!("it is of issue {issue}, not of o/other#9"));
}

#[test]
fn rows_that_the_store_does_not_have_are_told() {
    let bundle = bundle();
    let stored = rows(&steps());
    let check = |change: fn(&mut Vec<Link>), expected: Option<&str>| {
        let mut stored = stored.clone();
        change(&mut stored);
        let told = bundle.against(&stored).map(|stray| stray.to_string());
        assert_eq!(told.as_deref(), expected);
    };
    check(|_| {}, None);
    // Rows that were added after the bundle was made are fine.
    check(|rows| rows.push(Link { seq: 12, ..rows[10].clone() }), None);
    check(|rows| drop(rows.pop()), Some("the store's journal ends after row 10"));
    check(Vec::clear, Some("the store's journal has no rows"));
    check(|rows| rows[7].body.push(' '), Some("row 8 is another one in the store's journal"));
    check(|rows| drop(rows.remove(0)), Some("row 1 is another one in the store's journal"));
}

#[test]
fn a_bundle_from_before_durations_were_kept_is_as_sound_as_it_was() {
    use crate::proof::{RunReport, RunResult, TreeRole};
    let report = |millis| RunReport {
        role: TreeRole::Candidate,
        kind: crate::proof::RunKind::FIRST,
        tree: oid('e'),
        argv: vec!["true".to_owned()],
        result: RunResult::Passed,
        tail: String::new(),
        millis,
    };
    let with = |millis| {
        let mut steps = steps();
        let Transition::Proved { report: proof, .. } = &mut steps[7] else { panic!() };
        proof.runs = vec![report(millis)];
        let mut run = admitted();
        for (second, step) in (1..).zip(&steps) {
            run.apply(at(second), step.clone());
        }
        Bundle::new(run.evidence(None), rows(&steps))
    };
    let old = with(0);
    let bytes = old.to_bytes().unwrap();
    assert!(!String::from_utf8(bytes.clone()).unwrap().contains("millis"));
    assert_eq!(told(&bytes), Ok(vec![]));
    assert!(old.predates_durations());
    let mut exempt = Bundle::read(&bytes).unwrap();
    exempt.evidence.proof.as_mut().unwrap().outcome =
        ProofOutcome::Accepted(crate::proof::Strength::NoRed);
    let text = String::from_utf8(exempt.to_bytes().unwrap()).unwrap();
    let text = text.replace("\"accepted\": \"no_red\"", "\"accepted\": \"exempt\"");
    let flaws = told(text.as_bytes()).unwrap();
    assert!(matches!(flaws.as_slice(), [Flaw::Statement { .. }]), "no flaw of the text: {flaws:?}");
    assert!(!with(7).predates_durations());
    assert!(!bundle().predates_durations(), "nothing was run");
}

#[test]
fn a_file_that_ends_anywhere_in_its_middle_is_told() {
    let (bytes, _) = &*KEPT;
    for end in 0..bytes.len() - 1 {
        let expected = Err(NotABundle::Torn { bytes: end });
        assert_eq!(told(&bytes[..end]), expected, "torn at {end}");
    }
    // Without its last byte, the final line end, the file is whole but not as written.
    let end = bytes.len() - 1;
    assert_eq!(told(&bytes[..end]), Ok(vec![Flaw::Text { byte: end }]));
    let newer = String::from_utf8(bytes.clone()).unwrap().replace("\"schema\": 1", "\"schema\": 9");
    assert_eq!(told(newer.as_bytes()), Err(NotABundle::Schema(9)));
    assert!(matches!(told(b"{}"), Err(NotABundle::Malformed(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn any_byte_of_the_journal_that_is_edited_is_found(
        place in any::<prop::sample::Index>(),
        flip in 1..=u8::MAX,
    ) {
        let (bytes, begin) = &*KEPT;
        let mut bytes = bytes.clone();
        let place = begin + place.index(bytes.len() - begin);
        bytes[place] ^= flip;
        prop_assert_ne!(told(&bytes), Ok(Vec::new()), "byte {}", place);
    }

    #[test]
    fn any_blank_more_is_found(place in any::<prop::sample::Index>()) {
        let (bytes, begin) = &*KEPT;
        let mut bytes = bytes.clone();
        bytes.insert(begin + place.index(bytes.len() - begin), b' ');
        prop_assert_ne!(told(&bytes), Ok(Vec::new()));
    }
}
