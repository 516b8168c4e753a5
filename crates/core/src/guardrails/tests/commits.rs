//! The commits below a landing, if they are kept.

use super::*;
use crate::ids::Oid;

const HEADER: &str = "tree 1\nauthor A <a@x> 1 +0000\ncommitter A <a@x> 1 +0000";

fn id(letter: char) -> Oid {
    letter.to_string().repeat(40).parse().unwrap()
}

/// A commit of the agent, with what the tests vary.
struct Own {
    header: Option<&'static str>,
    message: Option<String>,
    known: bool,
    root: bool,
    lands_itself: bool,
}

fn own(message: &str) -> Own {
    let message = Some(message.to_owned());
    Own { header: Some(HEADER), message, known: false, root: false, lands_itself: false }
}

/// Paths with their old and new sides.
type Changes<'a> = &'a [(&'a str, Side<'a>, Side<'a>)];

fn judge_own(commits: &[(Own, Changes<'_>)]) -> GuardrailReport {
    let (rails, proof) = (rails(GuardrailPolicy::default()), proof(false));
    let mut judging = rails.judge(&proof, run());
    judging.end(&Diff::default(), &Blobs::default());
    assert!(judging.takes(commits.len()));
    for ((own, changes), letter) in commits.iter().zip('a'..='f') {
        let (id, parents) = (id(letter), [id('0')]);
        let commit = OwnCommit {
            id: &id,
            parents: if own.root { &[] } else { &parents },
            header: own.header,
            message: own.message.as_deref(),
            holds_known_secret: own.known,
        };
        let (diff, blobs) = diff(changes);
        judging.commit(&commit, &diff, &blobs, own.lands_itself);
    }
    judging.report()
}

#[track_caller]
fn check(own: Own, expected: &[&str], of_words: bool) {
    let report = judge_own(&[(own, &[])]);
    let shown: Vec<String> = report.breaches.iter().map(ToString::to_string).collect();
    assert_eq!(shown, expected);
    assert_eq!(report.is_of_words(), of_words);
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<GuardrailReport>(&json).unwrap(), report);
}

#[test]
fn what_is_gone_at_the_end_was_published_all_the_same() {
    let notes = format!("token {}\n", token());
    let big = vec![b'0'; 5_000_000];
    let big = Some((Mode::Regular, &big[..]));
    let (notes, flow) = (file(&notes), file("on: push\n"));
    let flows = ".github/workflows/x.yml";
    let report = judge_own(&[
        (own("Note"), &[("big.bin", None, big), ("notes.txt", None, notes), (flows, None, flow)]),
        (own("Tidy"), &[("big.bin", big, None), ("notes.txt", notes, None), (flows, flow, None)]),
    ]);
    insta::assert_snapshot!(report, @r"
    - in commit aaaaaaaa: .github/workflows/x.yml is protected: it judges changes
    - in commit aaaaaaaa: big.bin has 5000000 bytes, more than 1048576
    - in commit aaaaaaaa: notes.txt holds what looks like a GitHub token, line 1
    - in commit aaaaaaaa: the change adds and removes 4885 lines, more than 2000
    - in commit bbbbbbbb: .github/workflows/x.yml is protected: it judges changes
    - in commit bbbbbbbb: the change adds and removes 4885 lines, more than 2000
    ");
    assert!(!report.is_of_words());
}

#[test]
fn messages_of_its_commits_may_be_written_anew() {
    let of = "the message of commit aaaaaaaa";
    check(own("Add it\n\nRefs #7"), &[], false);
    check(own("Add it [skip ci]"), &[&format!("{of} makes CI skip it: \"[skip ci]\"")], true);
    let closes = format!("{of} would close an issue before any verdict: \"Fixes #7\"");
    check(own("Add it\n\nFixes #7"), &[&closes], true);
    let speaks = |key: &str| format!("{of} speaks for others or for another run: {key:?}");
    check(own("Add it\n\nReviewed-by: B <b@x>"), &[&speaks("reviewed-by")], true);
    check(own("Add it\n\nAFK-Run: x"), &[&speaks("afk-run")], true);
    check(own(&format!("Add it\n\nAFK-Run: {}", run())), &[&speaks("afk-run")], true);
    // The author may sign off.
    check(own("Add it\n\nSigned-off-by: A <a@x>"), &[], false);
    // An agent that lands by itself has to name its run, and no other.
    let named = format!("Add it\n\nAFK-Run: {}", run());
    check(Own { lands_itself: true, ..own(&named) }, &[], false);
    check(Own { lands_itself: true, ..own("A\n\nAFK-Run: x") }, &[&speaks("afk-run")], true);
}

#[test]
fn what_should_have_stayed_secret_is_for_people() {
    let secret = "the message of commit aaaaaaaa holds what looks like a GitHub token, line 1";
    check(own(&token()), &[secret], false);
    let known = "in commit aaaaaaaa: it holds a secret of the control plane";
    check(Own { known: true, ..own("Add it") }, &[known], false);
    let text = "the message of commit aaaaaaaa is not UTF-8";
    check(Own { message: None, ..own("") }, &[text], false);
    let header = "in commit aaaaaaaa: the header is not UTF-8";
    check(Own { header: None, ..own("Add it") }, &[header], false);
    let latin = "author A <a@x> 1 +0000\nencoding latin1";
    let told = "in commit aaaaaaaa: the header says that the message is not UTF-8";
    check(Own { header: Some(latin), ..own("Add it") }, &[told], false);
    let root = "in commit aaaaaaaa: it has no parent, and begins another history";
    check(Own { root: true, ..own("Add it") }, &[root], false);
    // If there is another breach, too, rewriting messages is not enough.
    let report = judge_own(&[(own("a [skip ci]"), &[]), (Own { root: true, ..own("b") }, &[])]);
    assert_eq!((report.breaches.len(), report.is_of_words()), (2, false));
}

#[test]
fn what_was_added_by_force_and_removed_was_published_all_the_same() {
    let (rails, proof) = (rails(GuardrailPolicy::default()), proof(false));
    let mut judging = rails.judge(&proof, run());
    let (diff, blobs) = diff(&[("dist/app.js", None, file("x\n"))]);
    let asked = judging.not_yet_told(&diff);
    judging.ignores(asked.clone(), asked);
    judging.end(&Diff::default(), &Blobs::default());
    let (id, parents) = (id('a'), [id('0')]);
    let commit = OwnCommit {
        id: &id,
        parents: &parents,
        header: Some(HEADER),
        message: Some("Build"),
        holds_known_secret: false,
    };
    judging.commit(&commit, &diff, &blobs, false);
    let told = "- in commit aaaaaaaa: dist/app.js is new, and .gitignore says that it is not to be \
                committed";
    assert_eq!(judging.report().to_string(), told);
}

#[test]
fn each_commit_and_all_together_have_a_size() {
    let line = format!("{}\n", "x".repeat(1023));
    let text = |n: usize| line.repeat(n);
    let one = text(2_001);
    let report = judge_own(&[(own("a"), &[("a", None, file(&one))])]);
    let told = "- in commit aaaaaaaa: a has 2049024 bytes, more than 1048576\n\
                - in commit aaaaaaaa: the change adds and removes 2001 lines, more than 2000";
    assert_eq!(report.to_string(), told);
    // Six commits of 7 MiB each in lock files, each of them gone in the next.
    let lock = text(3_500);
    let changes = [("a/go.sum", None, file(&lock)), ("b/go.sum", None, file(&lock))];
    let six: Vec<_> = (0..6).map(|_| (own("a"), &changes[..])).collect();
    let told = "- the commits add 43008000 bytes together, more than 33554432";
    assert_eq!(judge_own(&six).to_string(), told);
    assert!(judge_own(&six[..4]).passed());
}

#[test]
fn so_many_commits_are_judged_and_no_more() {
    let (rails, proof) = (rails(GuardrailPolicy::default()), proof(false));
    let mut judging = rails.judge(&proof, run());
    assert!(judging.takes(500));
    assert!(!judging.takes(501));
    assert_eq!(judging.report().to_string(), "- the change has 501 commits, more than 500");
}

#[test]
fn a_breach_that_no_words_repair_is_never_beyond_the_cut() {
    let mut commits: Vec<Own> = (0..60).map(|n| own(&format!("Closes #{n}"))).collect();
    commits.push(Own { root: true, ..own("b") });
    let (rails, proof) = (super::rails(GuardrailPolicy::default()), super::proof(false));
    let mut judging = rails.judge(&proof, run());
    for (n, own) in commits.iter().enumerate() {
        let id: Oid = format!("{n:040x}").parse().unwrap();
        let parents = [id.clone()];
        let commit = OwnCommit {
            id: &id,
            parents: if own.root { &[] } else { &parents },
            header: own.header,
            message: own.message.as_deref(),
            holds_known_secret: false,
        };
        judging.commit(&commit, &Diff::default(), &Blobs::default(), false);
    }
    let report = judging.report();
    assert_eq!((report.breaches.len(), report.further), (MAX_BREACHES, 11));
    assert!(!report.is_of_words());
}
