//! Files that a change may not touch, and files that are taken from the base.

use super::*;

#[test]
fn what_judges_may_not_be_touched() {
    let edited = honest().set(|s| {
        s.changes.push((".github/workflows/ci.yml", file("run\n"), file("true\n")));
    });
    let paths = vec![path(".github/workflows/ci.yml")];
    check("edited CI", &edited, no(ProofRefusal::Protected { paths }));
    let script = honest().set(|s| {
        s.verify = Verify::Command(vec!["./check.sh".into()]);
        s.changes.push(("check.sh", file("test\n"), file("exit 0\n")));
    });
    let paths = vec![path("check.sh")];
    check("edited verify script", &script, no(ProofRefusal::Protected { paths }));
    let allowed = edited.set(|s| s.config.allow_protected = true);
    check("allowed", &allowed, yes(Strength::Proven));
}

#[test]
fn protected_files_come_from_the_base_in_every_tree() {
    let policy = ProofPolicyConfig { allow_protected: true, ..ProofPolicyConfig::default() };
    let policy = ProofPolicy::compile(policy, honest().verify, []).unwrap();
    let ci = ".github/tests/ci.yml";
    let (all, blobs) = diff(&[CODE, (ci, file("old"), file("new")), ("tests/t", None, file("t"))]);
    let inputs = ProofInputs {
        policy: &policy,
        diff: &all,
        first: None,
        blobs: &blobs,
        since: None,
        permits: &permits(),
        conditions: &Conditions::default(),
    };
    let ProofStep::Run(wanted) = next(&inputs, &ProofResults::default()) else { panic!() };
    let take = |role| {
        let recipe = &wanted.iter().find(|w| w.role == role).unwrap().recipe;
        recipe
            .take
            .iter()
            .map(|(p, e)| (p.to_string(), e.clone().map(|e| e.oid)))
            .collect::<Vec<_>>()
    };
    assert_eq!(take(Base), []);
    assert_eq!(take(Red), [("tests/t".to_owned(), Some(oid(b"t")))]);
    assert_eq!(take(Candidate), [(ci.to_owned(), Some(oid(b"old")))]);
}

#[test]
fn a_split_takes_the_first_commit_but_nothing_that_judges() {
    let policy = ProofPolicyConfig { allow_protected: true, ..ProofPolicyConfig::default() };
    let policy = ProofPolicy::compile(policy, honest().verify, []).unwrap();
    let story = inline();
    let (all, mut blobs) = diff(&story.changes);
    let ci = (".github/tests/ci.yml", file("old"), file("new"));
    let (first, more) = diff(&[story.first.unwrap()[0], ci]);
    add(&mut blobs, &first, &more);
    let inputs = ProofInputs {
        policy: &policy,
        diff: &all,
        first: Some(&first),
        blobs: &blobs,
        since: None,
        permits: &permits(),
        conditions: &Conditions::default(),
    };
    let ProofStep::Run(wanted) = next(&inputs, &ProofResults::default()) else { panic!() };
    let split = &wanted.iter().find(|one| one.role == Split).unwrap().recipe;
    let taken: Vec<String> = split.take.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(taken, ["src/lib.rs"]);
}
