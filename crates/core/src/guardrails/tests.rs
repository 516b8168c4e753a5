//! Every rule with what breaks it and its honest counterpart.

use super::*;
use crate::change::testing::{Side, diff, file};
use crate::proof::{ProofPolicyConfig, Verify};

const SECRET: &str = "q7Zk2Wm9Xc4Vb8Nn3Ls6Pd1Rf5Tg0HjAbC12";

fn proof(allow_protected: bool) -> ProofPolicy {
    let config = ProofPolicyConfig { allow_protected, ..ProofPolicyConfig::default() };
    ProofPolicy::compile(config, Verify::Command(vec!["./check.sh".into()]), []).unwrap()
}

fn token() -> String {
    ["gh", "p_", SECRET].concat()
}

fn judge(changes: &[(&str, Side<'_>, Side<'_>)]) -> GuardrailReport {
    let policy = GuardrailPolicy { deny: vec!["vendor".into()], ..GuardrailPolicy::default() };
    let (diff, blobs) = diff(changes);
    Guardrails::compile(policy).unwrap().check(&proof(false), &diff, &blobs, &[])
}

/// The breaches of one change, as people read them.
fn check(path: &str, old: Side<'_>, new: Side<'_>, expected: &[&str]) {
    let report = judge(&[(path, old, new)]);
    let shown: Vec<String> = report.breaches.iter().map(ToString::to_string).collect();
    assert_eq!(shown, expected, "{path}");
    assert_eq!(report.passed(), expected.is_empty());
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<GuardrailReport>(&json).unwrap(), report);
    assert!(!json.contains(SECRET) && !report.to_string().contains(SECRET), "{report}");
}

#[allow(clippy::unnecessary_wraps)] // It is one side of a change, which may be none.
fn link(target: &str) -> Side<'_> {
    Some((Mode::Symlink, target.as_bytes()))
}

#[test]
fn plain_changes_pass() {
    check("src/a.rs", file("a\n"), file("b\n"), &[]);
    check("src/a.rs", file("a\n"), None, &[]);
    check("src/link", None, link("../README.md"), &[]);
    check("vendored/a", None, file("a"), &[]);
}

#[test]
fn denied_paths() {
    check("vendor/a/b.rs", None, file("a"), &["vendor/a/b.rs is on the deny list"]);
    let judges = ["check.sh is protected: it judges changes"];
    check("check.sh", file("a"), file("b"), &judges);
    check("check.sh", file("a"), None, &judges);
    for path in [
        ".env",
        "app/.env.production",
        "tls/server.PEM",
        "id_rsa",
        "home/.ssh/id_ed25519",
        "kubeconfig",
        ".kube/config",
        "infra/x.tfstate",
        ".netrc",
    ] {
        check(path, None, file("a"), &[&format!("{path} is a file for credentials")]);
        check(path, file("a"), None, &[&format!("{path} is a file for credentials")]);
    }
    for path in [".env.example", "id_rsa.pub", "src/env.rs", "src/kubeconfig.rs", "keys.rs"] {
        check(path, None, file("a"), &[]);
    }
    let npm = "//registry.npmjs.org/:_authToken=";
    let login = [".npmrc is a file for credentials"];
    check(".npmrc", None, file(&format!("{npm}abc")), &login);
    check(".npmrc", file(&format!("{npm}abc")), None, &login);
    check(".npmrc", None, file(&format!("{npm}${{NPM_TOKEN}}\nengine-strict=true\n")), &[]);
}

#[test]
fn persistent_volumes_are_for_people() {
    let volume = ["k8s/a.yaml is a manifest of a persistent volume or a claim"];
    for manifest in [
        "apiVersion: v1\nkind: PersistentVolume\n",
        "kind: \"PersistentVolumeClaim\"\n",
        "- kind: !!str PersistentVolumeClaim",
        "{\"kind\":\"PersistentVolume\"}",
        "a: 1\n---\nkind:   PersistentVolumeClaim # x\n",
    ] {
        check("k8s/a.yaml", None, file(manifest), &volume);
        check("k8s/a.yaml", file(manifest), None, &volume);
        check("k8s/a.yaml", file(manifest), file("kind: Pod\n"), &volume);
    }
    check("k8s/a.yaml", None, file("kind: Deployment\n# kind PersistentVolume\n"), &[]);
    check("k8s/a.yaml", None, file("kind: PersistentVolumeSnapshotter\n"), &[]);
    check("docs/a.md", None, file("kind: PersistentVolume\n"), &[]);
    let list = ["l.json is a manifest of a persistent volume or a claim"];
    check("l.json", None, file("{\"items\":[{\"kind\" : \"PersistentVolumeClaim\"}]}"), &list);
}

#[test]
fn new_secrets_are_named_and_not_repeated() {
    let token = token();
    let found = ["a.rs holds what looks like a GitHub token, line 3"];
    let with = format!("a\nb\nlet t = \"{token}\";\n");
    check("a.rs", file("a\nb\n"), file(&with), &found);
    check("a.rs", None, file(&with), &found);
    // It was there before: moving or touching its file brings nothing new.
    check("a.rs", file(&token), file(&with), &[]);
    let moved = judge(&[("a.rs", file(&with), None), ("b.rs", None, file(&with))]);
    assert!(moved.passed(), "{moved}");
    check("a.rs", file(&with), None, &[]);
    let binary = [b"\0\0\n", token.as_bytes()].concat();
    let found = ["a.bin holds what looks like a GitHub token, line 2"];
    check("a.bin", None, Some((Mode::Regular, &binary)), &found);
    check("l", None, link(&token), &["l holds what looks like a GitHub token, line 1"]);
    let masked = ["the name of d/[secret] holds what looks like a GitHub token"];
    check(&format!("d/{token}"), None, file("a"), &masked);
    let within = ["the name of d/[secret]/e.rs holds what looks like a GitHub token"];
    check(&format!("d/{token}xyz/e.rs"), None, file("a"), &within);
}

#[test]
fn links_and_submodules() {
    check("l", None, link("/etc/passwd"), &["l is a link to an absolute path"]);
    check("d/l", file("a"), link("../../x"), &["d/l is a link that can leave the tree"]);
    check("l", None, link(".git/config"), &["l is a link into .git"]);
    check("l", link("/etc/passwd"), None, &[]);
    let module = |id: &'static str| Some((Mode::Submodule, id.as_bytes()));
    check("m", None, module("1"), &["m is a new submodule link"]);
    check("m", file("a"), module("1"), &["m is a new submodule link"]);
    check("m", module("1"), module("2"), &[]);
    check("m", module("1"), None, &[]);
    check("a/../b", None, file("a"), &["a/../b is not a safe path"]);
    check("x/.GIT/config", None, file("a"), &["x/.GIT/config is not a safe path"]);
}

#[test]
fn sizes_have_limits_that_may_be_reached() {
    let text = |lines: usize| "x\n".repeat(lines);
    check("a", None, file(&text(2_000)), &[]);
    let large = ["the change adds and removes 2001 lines, more than 2000"];
    check("a", None, file(&text(2_001)), &large);
    check("a", file(&text(1_001)), file(&"y\n".repeat(1_000)), &large);
    let bytes = |size: usize| vec![0; size];
    check("a", None, Some((Mode::Regular, &bytes(1 << 20))), &[]);
    let large = ["a has 1048577 bytes, more than 1048576"];
    check("a", None, Some((Mode::Regular, &bytes((1 << 20) + 1))), &large);
    let report = judge(&[("a", None, file("1\n2\n")), ("b", file("1\n"), None)]);
    assert_eq!(report.stats, Tally { files: 2, added: 2, removed: 1 });
}

#[test]
fn a_file_of_nothing_but_secrets_is_read_once() {
    // Whoever reads it again for each of them does not come to an end here.
    let value = ["q7Zk2Wm9Xc4Vb8Nn3", "Ls6Pd1Rf5Tg0Hj"].concat();
    let lines = 20_000;
    let report = judge(&[("a", None, file(&format!("\ntoken = \"{value}\"").repeat(lines)))]);
    let told = report.breaches.iter().filter(|b| matches!(b, Breach::Secret { .. })).count();
    assert_eq!(report.further + told as u64, lines as u64 + 1);
    let last = report.breaches.last();
    assert!(matches!(last, Some(Breach::Secret { line: 51, .. })), "{last:?}");
}

#[test]
fn what_cannot_be_read_is_not_let_through() {
    let (diff, _) = diff(&[("a", None, file("a"))]);
    let rails = Guardrails::compile(GuardrailPolicy::default()).unwrap();
    let report = rails.check(&proof(false), &diff, &Blobs::default(), &[]);
    assert_eq!(report.to_string(), "- the content of a could not be read");
    let oid = diff.changes[0].new.as_ref().unwrap().oid.clone();
    let large = [(oid, Blob::Oversize(9 << 20))].into_iter().collect();
    let report = rails.check(&proof(false), &diff, &large, &[]);
    let expected = "- a has 9437184 bytes, more than 1048576\n\
                    - the change adds and removes 9216 lines, more than 2000";
    assert_eq!(report.to_string(), expected);
}

#[test]
fn protected_paths_may_be_allowed() {
    let (diff, blobs) = diff(&[(".github/workflows/a.yml", None, file("a"))]);
    let rails = Guardrails::compile(GuardrailPolicy::default()).unwrap();
    assert!(!rails.check(&proof(false), &diff, &blobs, &[]).passed());
    assert!(rails.check(&proof(true), &diff, &blobs, &[]).passed());
}

#[test]
fn every_message_is_read() {
    let rails = Guardrails::compile(GuardrailPolicy::default()).unwrap();
    let commit = || MessageOf::Commit("a".repeat(40).parse().unwrap());
    let messages = [
        Message { of: MessageOf::Candidate, text: "Add it\n\nRefs #7\n".into() },
        Message { of: commit(), text: "Add it [ci skip]\n\nFixes: o/r#7".into() },
        Message { of: commit(), text: format!("Fixes {}/r#7", token()) },
        Message { of: commit(), text: format!("Add it\n\nuse {}\n", token()) },
    ];
    let report = rails.check(&proof(false), &Diff::default(), &Blobs::default(), &messages);
    assert!(!report.to_string().contains(SECRET));
    insta::assert_snapshot!(report, @r#"
    - the message of commit aaaaaaaa makes CI skip it: "[ci skip]"
    - the message of commit aaaaaaaa would close an issue before any verdict: "Fixes: o/r#7"
    - the message of commit aaaaaaaa would close an issue before any verdict: "(masked)"
    - the message of commit aaaaaaaa holds what looks like a GitHub token, line 1
    - the message of commit aaaaaaaa holds what looks like a GitHub token, line 3
    "#);
}

#[test]
fn a_flood_of_breaches_is_cut() {
    let paths: Vec<String> = (0..80).map(|n| format!("vendor/{n:03}")).collect();
    let changes: Vec<_> = paths.iter().map(|p| (p.as_str(), None, file("a"))).collect();
    let report = judge(&changes);
    assert_eq!((report.breaches.len(), report.further), (MAX_BREACHES, 30));
    assert!(report.to_string().ends_with("- and 30 more"));
}
