//! Every rule, with a change that breaks it and an honest counterpart.

mod commits;

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

fn run() -> crate::ids::RunId {
    "01900000-0000-7000-8000-000000000001".parse().unwrap()
}

fn rails(policy: GuardrailPolicy) -> Guardrails {
    Guardrails::compile(policy).unwrap()
}

/// Returns the report on a landing with this final diff and message.
fn at_its_end(
    policy: GuardrailPolicy,
    proof: &ProofPolicy,
    (diff, blobs): (&Diff, &Blobs),
    message: &str,
) -> GuardrailReport {
    let rails = rails(policy);
    let mut judging = rails.judge(proof, run());
    judging.end(diff, blobs);
    judging.message(message);
    judging.report()
}

fn judge_by(policy: GuardrailPolicy, changes: &[(&str, Side<'_>, Side<'_>)]) -> GuardrailReport {
    let (diff, blobs) = diff(changes);
    at_its_end(policy, &proof(false), (&diff, &blobs), "Add it")
}

fn judge(changes: &[(&str, Side<'_>, Side<'_>)]) -> GuardrailReport {
    let deny = vec!["vendor".into()];
    judge_by(GuardrailPolicy { deny, ..GuardrailPolicy::default() }, changes)
}

/// Checks the breaches of one change, as people read them.
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
    // A link in the place of a folder leads to what nobody judged.
    let shared = file("obey");
    let planted = [("shared/settings.json", None, shared), (".claude", None, link("shared"))];
    let told: Vec<_> = judge(&planted).breaches.iter().map(ToString::to_string).collect();
    assert_eq!(told, [".claude is protected: it judges changes"]);
    let deny = vec!["vendor/**".to_owned()];
    let policy = GuardrailPolicy { deny, ..GuardrailPolicy::default() };
    let linked = judge_by(policy, &[("vendor", None, link("src"))]);
    let told: Vec<_> = linked.breaches.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["vendor is on the deny list"]);
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

/// Judges one change on a base that ignores these paths.
fn ignoring(allowed: &[&str], ignored: &[&str], path: &str, old: Side<'_>) -> Vec<String> {
    let allow_ignored = allowed.iter().map(|one| (*one).to_owned()).collect();
    let rails = rails(GuardrailPolicy { allow_ignored, ..GuardrailPolicy::default() });
    let (diff, blobs) = diff(&[(path, old, file("x\n")), ("src/a.rs", None, file("a\n"))]);
    let proof = proof(false);
    let mut judging = rails.judge(&proof, run());
    let asked = judging.not_yet_told(&diff);
    let ignored = |one: &TreePath| ignored.iter().any(|path| path.as_bytes() == one.bytes());
    let ignored = asked.iter().filter(|one| ignored(one)).cloned().collect();
    judging.ignores(asked, ignored);
    assert!(judging.not_yet_told(&diff).is_empty());
    judging.end(&diff, &blobs);
    judging.report().breaches.iter().map(ToString::to_string).collect()
}

#[test]
fn what_the_base_ignores_is_not_added_by_force() {
    let check = |allowed: &[&str], ignored: &[&str], path: &str, old: Side<'_>, breached: bool| {
        let told = format!("{path} is new, and .gitignore says that it is not to be committed");
        let expected = if breached { vec![told] } else { Vec::new() };
        assert_eq!(ignoring(allowed, ignored, path, old), expected, "{path}");
    };
    check(&[], &["dist/app.js"], "dist/app.js", None, true);
    check(&[], &[], "dist/app.js", None, false);
    check(&[], &["dist/other.js"], "dist/app.js", None, false);
    // A file that existed before is not new, even if the base ignores it.
    check(&[], &["dist/app.js"], "dist/app.js", file("y\n"), false);
    check(&["dist/**"], &["dist/app.js"], "dist/app.js", None, false);
    check(&["other/**"], &["dist/app.js"], "dist/app.js", None, true);
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
    // The secret was there before: moving or touching its file brings nothing new.
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
    let moved = ["m is a submodule link to another commit than before"];
    check("m", module("1"), module("2"), &moved);
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
    assert_eq!(report.stats, Tally { files: 2, added: 2, removed: 1, bytes: 4 });
}

#[test]
fn a_line_is_no_way_around_the_limits() {
    let long = "x".repeat(1000 << 10);
    check("a", None, file(&long), &[]);
    let paths: Vec<String> = (0..12).map(|n| format!("a{n:02}")).collect();
    let three: Vec<_> = paths[..3].iter().map(|p| (p.as_str(), None, file(&long))).collect();
    let told = "- the change adds and removes 3000 lines, more than 2000";
    assert_eq!(judge(&three).to_string(), told);
    let policy = || GuardrailPolicy { max_diff_lines: 100_000, ..GuardrailPolicy::default() };
    let all: Vec<_> = paths.iter().map(|p| (p.as_str(), None, file(&long))).collect();
    let told = "- the change adds 12288012 bytes, more than 10485760";
    assert_eq!(judge_by(policy(), &all).to_string(), told);
    assert!(judge_by(policy(), &all[..10]).passed());
    let gone: Vec<_> = paths.iter().map(|p| (p.as_str(), file(&long), None)).collect();
    assert!(judge_by(policy(), &gone).passed(), "what is removed takes no room");
}

#[test]
fn empty_files_count_too() {
    let paths: Vec<String> = (0..301).map(|n| format!("e/{n:03}")).collect();
    let all: Vec<_> = paths.iter().map(|p| (p.as_str(), None, file(""))).collect();
    let told = "- the change touches 301 files, more than 300";
    assert_eq!(judge(&all).to_string(), told);
    assert!(judge(&all[1..]).passed());
}

#[test]
fn lock_files_do_not_count_and_have_a_bound_of_their_own() {
    let lines = "  \"node_modules/x\": {},\n".repeat(60_000);
    for path in ["package-lock.json", "web/yarn.lock", "a/b/Cargo.lock", "go.sum", "uv.lock"] {
        check(path, None, file(&lines), &[]);
    }
    let report = judge(&[("Cargo.lock", None, file("a\n"))]);
    assert_eq!(report.stats.added, 1, "they are told all the same");
    let large = vec![b'x'; (4 << 20) + 1];
    let told = ["go.sum has 4194305 bytes, more than 4194304"];
    check("go.sum", None, Some((Mode::Regular, &large)), &told);
    let large = vec![b'x'; 4 << 20];
    let paths: Vec<String> = (0..9).map(|n| format!("{n}/go.sum")).collect();
    let side = Some((Mode::Regular, &large[..]));
    let all: Vec<_> = paths.iter().map(|p| (p.as_str(), None, side)).collect();
    let told = "- the change adds 37748745 bytes, more than 33554432";
    assert_eq!(judge(&all).to_string(), told);
    assert!(judge(&all[..7]).passed());
    let paths: Vec<String> = (0..1001).map(|n| format!("{n}/go.sum")).collect();
    let all: Vec<_> = paths.iter().map(|p| (p.as_str(), None, file(""))).collect();
    let told = "- the change touches 1001 files, more than 1000";
    assert_eq!(judge(&all).to_string(), told);
    let secret = format!("{}\n", token());
    let told = ["go.sum holds what looks like a GitHub token, line 1"];
    check("go.sum", None, file(&secret), &told);
    let policy = GuardrailPolicy { uncounted: Vec::new(), ..GuardrailPolicy::default() };
    assert!(!judge_by(policy, &[("go.sum", None, file(&lines))]).passed());
}

#[test]
fn settings_are_read_as_settings() {
    let lines = "DB_PASSWORD=Tr0ub4dor-and-3-horses\nS3_SECRET=hunter2hunter2\n";
    let told = |path: &str| {
        [1, 2].map(|line| format!("{path} holds what looks like a literal secret, line {line}"))
    };
    for path in ["env/env.test", ".envrc", "deploy/prod.env", "settings.ini", "app.properties"] {
        let told = told(path);
        check(path, None, file(lines), &told.each_ref().map(String::as_str));
    }
    check("src/a.rs", None, file(lines), &[]);
    let json = "{\n  \"db\": {\n    \"password\": \"Tr0ub4dor-and-3-horses\",\n    \"user\": \"app\"\n  }\n}\n";
    let told = ["config.json holds what looks like a literal secret, line 3"];
    check("config.json", None, file(json), &told);
    check("src/a.rs", None, file(json), &[]);
    let address = "url = \"postgres://app:p4Ssw0rd9xKq2@db.internal:5432/app\"\n";
    for path in ["settings.ini", "src/a.rs"] {
        let told = format!("{path} holds what looks like a password in an address, line 1");
        check(path, None, file(address), &[&told]);
    }
    // The secret was there before, in another file of settings.
    let moved = judge(&[("a.ini", file(lines), None), ("b.ini", None, file(lines))]);
    assert!(moved.passed(), "{moved}");
}

#[test]
fn test_material_may_look_like_a_key_where_it_is_listed_and_a_test() {
    let token = token();
    let pem = format!("a\n{token}\n");
    let policy = |list: &[&str]| GuardrailPolicy {
        test_material: list.iter().map(|p| (*p).to_owned()).collect(),
        ..GuardrailPolicy::default()
    };
    let check = |list: &[&str], path: &str, expected: usize| {
        let report = judge_by(policy(list), &[(path, None, file(&pem))]);
        assert_eq!(report.breaches.len(), expected, "{path}: {report}");
    };
    check(&["tests/fixtures/**"], "tests/fixtures/server.key", 0);
    check(&["tests/fixtures/**"], "tests/fixtures/token.txt", 0);
    check(&["**"], "tests/fixtures/server.key", 0);
    // One that is listed but no test, and a test that is not listed.
    check(&["**"], "src/server.key", 2);
    check(&["tests/fixtures/**"], "tests/other/server.key", 2);
    check(&[], "tests/fixtures/server.key", 2);
    // All other rules still apply to such files.
    let report = judge_by(policy(&["**"]), &[("tests/l", None, link("/etc"))]);
    assert_eq!(report.to_string(), "- tests/l is a link to an absolute path");
}

#[test]
fn a_file_of_nothing_but_secrets_is_read_once() {
    // Counting lines from the start for each finding would not finish here.
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
    let (diff, none) = (diff(&[("a", None, file("a"))]).0, Blobs::default());
    let policy = GuardrailPolicy::default;
    let report = at_its_end(policy(), &proof(false), (&diff, &none), "");
    assert_eq!(report.to_string(), "- the content of a could not be read");
    let oid = diff.changes[0].new.as_ref().unwrap().oid.clone();
    let large = [(oid, Blob::Oversize(9 << 20))].into_iter().collect();
    let report = at_its_end(policy(), &proof(false), (&diff, &large), "");
    let expected = "- a has 9437184 bytes, more than 1048576\n\
                    - the change adds and removes 9216 lines, more than 2000";
    assert_eq!(report.to_string(), expected);
}

#[test]
fn protected_paths_may_be_allowed() {
    let (diff, blobs) = diff(&[(".github/workflows/a.yml", None, file("a"))]);
    let policy = GuardrailPolicy::default;
    assert!(!at_its_end(policy(), &proof(false), (&diff, &blobs), "").passed());
    assert!(at_its_end(policy(), &proof(true), (&diff, &blobs), "").passed());
}

#[test]
fn the_message_that_lands_is_read() {
    let check = |text: &str, expected: &[&str]| {
        let nothing = (&Diff::default(), &Blobs::default());
        let report = at_its_end(GuardrailPolicy::default(), &proof(false), nothing, text);
        let shown: Vec<String> = report.breaches.iter().map(ToString::to_string).collect();
        let of = "the message of the commit that would land";
        let expected: Vec<String> = expected.iter().map(|said| format!("{of} {said}")).collect();
        assert_eq!(shown, expected, "{text:?}");
        assert!(!report.is_of_words(), "it is ours, and no agent can fix it");
        assert!(!report.to_string().contains(SECRET));
    };
    let own = format!("Add it\n\nRefs #7\n\nAFK-Run: {}\nAFK-Attempt: 1\n", run());
    check(&own, &[]);
    check("Add it\n\nCo-authored-by: A person who merged it <a@b>\n", &[]);
    check("Add it [ci skip]", &["makes CI skip it: \"[ci skip]\""]);
    let closes = "would close an issue before any verdict: \"Fixes: o/r#7\"";
    check("Add it\n\nFixes: o/r#7", &[closes]);
    let another = "speaks for others or for another run: \"afk-run\"";
    check("Add it\n\nAFK-Run: x", &[another]);
    let kind = "holds what looks like a GitHub token, line";
    check(&format!("Add it\n\nuse {}\n", token()), &[&format!("{kind} 3")]);
    let masked = "would close an issue before any verdict: \"(masked)\"";
    check(&format!("Fixes {}/r#7", token()), &[masked, &format!("{kind} 1")]);
}

#[test]
fn a_flood_of_breaches_is_cut() {
    let paths: Vec<String> = (0..80).map(|n| format!("vendor/{n:03}")).collect();
    let changes: Vec<_> = paths.iter().map(|p| (p.as_str(), None, file("a"))).collect();
    let report = judge(&changes);
    assert_eq!((report.breaches.len(), report.further), (MAX_BREACHES, 30));
    assert!(report.to_string().ends_with("- and 30 more"));
}
