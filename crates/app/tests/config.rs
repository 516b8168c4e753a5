//! Loading a configuration: from text to keys, or to everything that is wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};
use std::path::Path;

use afk_app::config::edit::{self, Edited};
use afk_app::config::{Loaded, Sources, load};
use afk_core::ids::RepoName;
use afk_core::secret::SecretSource;
use schemars::JsonSchema;
use serde::Deserialize;

/// A few of the real keys, one of each shape.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    kill_switch: bool,
    allowlist: Vec<RepoName>,
    ready_label: String,
    in_progress_label: String,
    budget_usd: f64,
    fix_forward_max_attempts: u32,
    fix_forward_max_seconds: u64,
    forge: Forge,
    repos: BTreeMap<RepoName, RepoKeys>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            kill_switch: true,
            allowlist: vec![],
            ready_label: "ready-for-agent".into(),
            in_progress_label: "agent-in-progress".into(),
            budget_usd: 100.0,
            fix_forward_max_attempts: 5,
            fix_forward_max_seconds: 3600,
            forge: Forge::default(),
            repos: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Forge {
    kind: Kind,
    token: Option<SecretSource>,
    max_requests: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    #[default]
    Local,
    GitHub,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct RepoKeys {
    verify: Option<Vec<String>>,
    budget_usd: Option<f64>,
}

struct Case {
    dir: tempfile::TempDir,
    sources: Sources,
}

fn case(file: &str, env: &[(&str, &str)]) -> Case {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("afk.toml");
    std::fs::write(&path, file).unwrap();
    let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
    let aliases = vec![("AFK_GITHUB_TOKEN", "forge.token")];
    Case { dir, sources: Sources { file: Some(path), env, aliases, ..Sources::default() } }
}

impl Case {
    fn load(&self) -> Result<Loaded<Keys>, String> {
        load(&self.sources).map_err(|e| self.hide(&e.to_string()))
    }
    fn hide(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.dir.path().display()), "")
    }
}

fn good(file: &str, env: &[(&str, &str)]) -> Keys {
    case(file, env).load().unwrap().config
}

fn bad(file: &str, env: &[(&str, &str)]) -> String {
    case(file, env).load().unwrap_err()
}

#[test]
fn nothing_given_is_disarmed_by_both_gates() {
    assert_eq!(load::<Keys>(&Sources::default()).unwrap().config, Keys::default());
    let keys = good("", &[]);
    assert!(keys.kill_switch && keys.allowlist.is_empty());
}

#[test]
fn every_shape_of_key_is_read_from_the_file() {
    let keys = good(
        "kill_switch = false\nallowlist = ['o/a', 'o/b']\nbudget_usd = 7\n\
         fix_forward_max_attempts = 0x10\n\
         [forge]\nkind = 'git-hub'\ntoken = { env = 'TOKEN' }\n\
         [repos.'o/a']\nverify = ['make', 'test']\n",
        &[],
    );
    assert_eq!(keys.allowlist, ["o/a".parse().unwrap(), "o/b".parse().unwrap()]);
    assert_eq!((keys.budget_usd, keys.fix_forward_max_attempts), (7.0, 16));
    assert_eq!(keys.forge.kind, Kind::GitHub);
    assert_eq!(keys.forge.token, Some(SecretSource::Env("TOKEN".into())));
    let repo = &keys.repos[&"o/a".parse::<RepoName>().unwrap()];
    assert_eq!(repo.verify.as_deref().unwrap(), ["make", "test"]);
}

#[test]
fn a_variable_wins_over_the_file_and_a_blank_one_leaves_it() {
    let keys = good(
        "kill_switch = true\nbudget_usd = 9\nready_label = 'file'\n[forge]\nmax_requests = 1",
        &[
            ("AFK_KILL_SWITCH", "Off"),
            ("AFK_ALLOWLIST", " o/a , o/b,"),
            ("AFK_BUDGET_USD", ""),
            ("AFK_READY_LABEL", "  "),
            ("AFK_IN_PROGRESS_LABEL", "busy"),
            ("AFK_FIX_FORWARD_MAX_ATTEMPTS", " 7 "),
            ("AFK_FORGE__MAX_REQUESTS", "12"),
            ("AFK_FORGE__KIND", "git-hub"),
            ("AFK_GITHUB_TOKEN", "{ file = '/run/token' }"),
            ("PATH", "/bin"),
        ],
    );
    assert!(!keys.kill_switch);
    assert_eq!(keys.allowlist.len(), 2);
    assert_eq!((keys.budget_usd, keys.ready_label.as_str()), (9.0, "file"));
    assert_eq!((keys.in_progress_label.as_str(), keys.fix_forward_max_attempts), ("busy", 7));
    assert_eq!((keys.forge.max_requests, keys.forge.kind), (Some(12), Kind::GitHub));
    assert_eq!(keys.forge.token, Some(SecretSource::File("/run/token".into())));
    assert!(good("allowlist = ['o/a']", &[("AFK_ALLOWLIST", "")]).allowlist.is_empty());
    let listed = good("", &[("AFK_ALLOWLIST", "['o/a']")]).allowlist;
    assert_eq!(listed, ["o/a".parse().unwrap()]);
}

#[test]
fn a_variable_that_is_no_text_is_an_error_that_names_it() {
    use std::os::unix::ffi::OsStringExt as _;
    let mut case = case("kill_switch = false\n", &[("AFK_READY_LABEL", "go")]);
    for name in ["AFK_KILL_SWITCH", "OTHER"] {
        case.sources.env.push((name.to_owned(), OsString::from_vec(vec![0xff])));
    }
    let said = case.load().unwrap_err();
    assert_eq!(said, "environment variable AFK_KILL_SWITCH: is not UTF-8");
    // What the rest says is not known either.
    assert!(afk_app::config::salvage::<Keys>(&case.sources, "ready_label").is_err());
}

#[test]
fn the_kill_switch_is_never_guessed() {
    for (text, expected) in [
        ("1", Some(true)),
        ("TRUE", Some(true)),
        ("yes", Some(true)),
        ("oN", Some(true)),
        ("0", Some(false)),
        ("False", Some(false)),
        ("NO", Some(false)),
        ("off", Some(false)),
        ("", None),
        (" ", None),
        ("2", None),
        ("disabled", None),
        ("truee", None),
        ("none", None),
    ] {
        let found = case("", &[("AFK_KILL_SWITCH", text)]).load();
        assert_eq!(found.ok().map(|l| l.config.kill_switch), expected, "{text:?}");
    }
}

#[test]
fn a_mounted_directory_gives_keys_and_the_environment_wins() {
    let mut case =
        case("ready_label = 'file'\nin_progress_label = 'file'", &[("AFK_READY_LABEL", "env")]);
    // As a mounted ConfigMap is laid out: links into a hidden directory.
    let mounted = case.dir.path().join("mounted");
    std::fs::create_dir_all(mounted.join("..data")).unwrap();
    for (name, value) in
        [("AFK_KILL_SWITCH", "false\n"), ("AFK_READY_LABEL", "m"), ("AFK_IN_PROGRESS_LABEL", "m")]
    {
        std::fs::write(mounted.join("..data").join(name), value).unwrap();
        std::os::unix::fs::symlink(Path::new("..data").join(name), mounted.join(name)).unwrap();
    }
    case.sources.mounted = Some(mounted.clone());
    let keys = case.load().unwrap().config;
    assert!(!keys.kill_switch);
    assert_eq!((keys.ready_label.as_str(), keys.in_progress_label.as_str()), ("env", "m"));
    std::fs::write(mounted.join("..data/AFK_KILL_SWITCH"), "\n").unwrap();
    insta::assert_snapshot!(case.load().unwrap_err(), @"mounted/AFK_KILL_SWITCH: kill_switch: must be 1, true, yes or on, or 0, false, no or off; it is blank");
    case.sources.mounted = Some(case.dir.path().join("none"));
    insta::assert_snapshot!(case.load().unwrap_err(), @"none: cannot be read: No such file or directory (os error 2)");
}

#[test]
fn every_mistake_in_a_file_is_told_with_its_place() {
    insta::assert_snapshot!(bad(
        "killswitch = false\nbudget_usd = 'much'\nallowlist = ['o/a', 'web', 'o/b']\n\
         fix_forward_max_attempts = -1\nzzz = 1\n\n[forge]\nkind = 'gitlab'\n  tokn = 'x'\n\
         [repos.'o/a']\nverfy = ['x']\nbudget_usd = true\n",
        &[("AFK_FIX_FORWARD_MAX_SECONDS", "soon"), ("AFK_KILL_SWITCH", "")],
    ), @r#"
afk.toml:1:1: killswitch: is not a known key; did you mean `kill_switch`?
afk.toml:2:14: budget_usd: must be a number; found text
afk.toml:3:21: allowlist.1: must be a repository name such as owner/name
afk.toml:4:28: fix_forward_max_attempts: must be a whole number from 0 up
afk.toml:5:1: zzz: is not a known key; known here: allowlist, budget_usd, fix_forward_max_attempts, fix_forward_max_seconds, forge, in_progress_label, kill_switch, ready_label, repos
afk.toml:8:8: forge.kind: must be `local` or `git-hub`
afk.toml:9:3: forge.tokn: is not a known key; did you mean `token`?
afk.toml:11:1: repos."o/a".verfy: is not a known key; did you mean `verify`?
afk.toml:12:14: repos."o/a".budget_usd: must be a number; found a boolean
environment variable AFK_FIX_FORWARD_MAX_SECONDS: fix_forward_max_seconds: must be a whole number
environment variable AFK_KILL_SWITCH: kill_switch: must be 1, true, yes or on, or 0, false, no or off; it is blank
"#);
    insta::assert_snapshot!(bad("[repos.'o a']\nverify = ['x']", &[]), @r#"afk.toml:1:1: repos."o a": must be a repository name such as owner/name"#);
    insta::assert_snapshot!(bad("a = \nready_label = 'x\n[forge\n", &[]), @r#"
afk.toml:1:5: is not TOML: string values must be quoted
afk.toml:2:17: is not TOML: invalid literal string, expected `'`
afk.toml:3:7: is not TOML: unclosed table, expected `]`
"#);
    insta::assert_snapshot!(bad("budget_usd = nan", &[]), @"afk.toml:1:14: budget_usd: is not a number that can be used here");
    insta::assert_snapshot!(bad("", &[("AFK_FIX_FORWARD_MAX_ATTEMPTS", "-4")]), @"environment variable AFK_FIX_FORWARD_MAX_ATTEMPTS: fix_forward_max_attempts: must be a whole number from 0 up");
    let mut gone = case("", &[]);
    gone.sources.file = Some(gone.dir.path().join("none.toml"));
    insta::assert_snapshot!(gone.load().unwrap_err(), @"none.toml: cannot be read: No such file or directory (os error 2)");
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown() {
    for (file, env) in [
        ("[forge]\ntoken = 'hunter2'", &[][..]),
        ("budget_usd = 'hunter2'", &[]),
        ("[forge]\ntoken = { env = 'A', file = '/hunter2' }", &[]),
        ("[forge]\ntoken = { value = 'hunter2' }", &[]),
        ("[forge]\ntoken = ['hunter2']", &[]),
        ("forge = 'hunter2'", &[]),
        ("", &[("AFK_KILL_SWITCH", "hunter2")]),
        ("", &[("AFK_BUDGET_USD", "hunter2")]),
        ("", &[("AFK_GITHUB_TOKEN", "hunter2")]),
        ("token = 'hunter2", &[]),
    ] {
        let told = bad(file, env);
        assert!(!told.contains("hunter2"), "{told}");
    }
    insta::assert_snapshot!(bad("[forge]\ntoken = 'hunter2'", &[]), @r#"afk.toml:2:9: forge.token: must be one of { env = "NAME" }, { file = "/path" }, { command = ["program"] } and { vault = "mount/path#field" }: a secret is not written in the configuration"#);
    insta::assert_snapshot!(bad("", &[("AFK_GITHUB_TOKEN", "hunter2")]), @r#"environment variable AFK_GITHUB_TOKEN: forge.token: must be a TOML inline table, such as { env = "NAME" }"#);
}

#[test]
fn a_variable_that_names_no_key_is_a_warning() {
    let case = case(
        "",
        &[
            ("AFK_KILL_SWICH", "1"),
            ("AFK_FORGE__MAXREQUESTS", "1"),
            ("AFK_SERVICE_HOST", "10.0.0.1"),
            ("AFK_REPOS__X", "1"),
            ("AFK_CONFIG", "x"),
        ],
    );
    let warnings = case.load().unwrap().warnings;
    let told: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
environment variable AFK_FORGE__MAXREQUESTS: forge.maxrequests: names no key and is ignored; did you mean AFK_FORGE__MAX_REQUESTS?
environment variable AFK_KILL_SWICH: kill_swich: names no key and is ignored; did you mean AFK_KILL_SWITCH?
environment variable AFK_REPOS__X: repos.x: names no key and is ignored
environment variable AFK_SERVICE_HOST: service_host: names no key and is ignored
"#);
}

fn edited(before: Option<&str>, change: impl Fn(&Path) -> Edited) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/afk.toml");
    if let Some(before) = before {
        std::fs::create_dir(dir.path().join("new")).unwrap();
        std::fs::write(&path, before).unwrap();
    }
    assert_eq!(change(&path), Edited::Changed);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(change(&path), Edited::Unchanged);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    text
}

#[test]
fn edits_keep_what_a_person_wrote() {
    let repo: RepoName = "o/web".parse().unwrap();
    let arm = |path: &Path| edit::arm(path).unwrap();
    let enroll = |path: &Path| edit::enroll(path, &repo, &|_| Ok(())).unwrap();
    let unenroll = |path: &Path| edit::unenroll(path, &repo).unwrap();
    let file =
        "# mine\nkill_switch   =  true # careful\n\n[repos.\"o/web\"] # the site\nverify=['x']\n";
    assert_eq!(edited(Some(file), arm), file.replace("true", "false"));
    let armed = file.replace("true", "false");
    assert_eq!(edited(Some(&armed), |path| edit::disarm(path).unwrap()), file);
    insta::assert_snapshot!(edited(Some(file), enroll), @r#"
# mine
kill_switch   =  true # careful
allowlist = ["o/web"]

[repos."o/web"] # the site
verify=['x']
"#);
    insta::assert_snapshot!(edited(Some("allowlist = [\n  # first\n  'o/a', # a\n]\n"), enroll), @r#"
allowlist = [
  # first
  'o/a', # a
  "o/web",
]
"#);
    insta::assert_snapshot!(edited(Some("allowlist = [\n  'o/a', # a\n  'o/b' # b\n]\n"), enroll), @r#"
allowlist = [
  'o/a', # a
  'o/b', # b
  "o/web"
]
"#);
    insta::assert_snapshot!(edited(Some("allowlist = ['o/a']\n[forge]\n"), enroll), @r#"
allowlist = ['o/a', "o/web"]
[forge]
"#);
    insta::assert_snapshot!(edited(Some("allowlist = ['o/web', \"o/a\"] # ours\n"), unenroll), @r#"allowlist = [ "o/a"] # ours"#);
    insta::assert_snapshot!(edited(None, arm), @r#"
# The configuration of afk. It is disarmed, and a person arms it:
# `afk enroll` fills the allowlist, `afk arm` turns the kill switch off.
# `afk config check` validates this file, `afk doctor` checks what it needs,
# and `afk config schema` lists every key.
kill_switch = false
allowlist = []

budget_usd = 10              # limit of one run, US dollars
day_budget_usd = 50          # limit of all runs in a day
"#);
    insta::assert_snapshot!(edited(None, enroll), @r#"
# The configuration of afk. It is disarmed, and a person arms it:
# `afk enroll` fills the allowlist, `afk arm` turns the kill switch off.
# `afk config check` validates this file, `afk doctor` checks what it needs,
# and `afk config schema` lists every key.
kill_switch = true
allowlist = ["o/web"]

budget_usd = 10              # limit of one run, US dollars
day_budget_usd = 50          # limit of all runs in a day
"#);
}

/// The daemon's user must still be able to read what root armed.
#[test]
#[allow(clippy::print_stdout, reason = "it says that it is skipped")]
fn an_edit_keeps_the_owner_and_the_group() {
    const NOBODY: u32 = 65_534;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("afk.toml");
    let owner = || {
        let found = std::fs::metadata(&path).unwrap();
        (found.uid(), found.gid(), found.permissions().mode() & 0o7777)
    };
    std::fs::write(&path, "kill_switch = true\n").unwrap();
    let (own, first, _) = owner();
    let other = if own == 0 {
        Some((NOBODY, NOBODY))
    } else {
        let groups = rustix::process::getgroups().unwrap();
        let mut groups = groups.into_iter().map(rustix::process::Gid::as_raw);
        groups.find(|group| *group != first).map(|group| (own, group))
    };
    let Some((user, group)) = other else {
        assert!(std::env::var_os("CI").is_none(), "this user needs a second group, or to be root");
        println!("SKIP an_edit_keeps_the_owner_and_the_group: this user has only one group");
        return;
    };
    chown(&path, Some(user), Some(group)).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    assert_eq!(edit::arm(&path).unwrap(), Edited::Changed);
    assert_eq!(owner(), (user, group, 0o640));
}

#[test]
fn an_edit_keeps_the_mode_and_refuses_what_it_cannot_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("afk.toml");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    edit::arm(&path).unwrap();
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    edit::disarm(&path).unwrap();
    assert_eq!(mode(), 0o640);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);

    for text in ["kill_switch = 'no'\n", "kill_switch = \n", "[kill_switch]\n"] {
        std::fs::write(&path, text).unwrap();
        assert!(edit::arm(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    std::fs::write(&path, "shadow = true\nbudget_usd = five\n").unwrap();
    let told = edit::arm(&path).unwrap_err().to_string();
    assert!(told.starts_with(&format!("{}:2:", path.display())), "{told}");
    assert!(told.contains(": is not TOML: ") && told.contains("correct it by hand"), "{told}");
    let link = dir.path().join("link.toml");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    std::fs::write(&path, "kill_switch = true\n").unwrap();
    edit::arm(&link).unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink(), "the link stays");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "kill_switch = false\n");
    let guard = std::fs::File::open(dir.path()).unwrap();
    guard.lock().unwrap();
    let told = edit::arm(&path).unwrap_err().to_string();
    assert!(told.contains("being edited by another process"), "{told}");
}
