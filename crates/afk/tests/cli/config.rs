//! The configuration file: commands that edit it, and what they say if it is invalid.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde_json::Value;

use crate::{Machine, REPO, read, said_by};

#[test]
fn arming_and_enrolling_keep_the_comments_of_the_file() {
    let machine = Machine::new();
    let file = machine.config(REPO);
    machine.good(&["enroll", "o/web"]);
    machine.good(&["arm"]);
    let text = read(&file);
    for kept in ["# Ours.", "# until the weekend", "kill_switch = false", "[\"o/web\"]"] {
        assert!(text.contains(kept), "{kept:?} is not in {text}");
    }
    let (code, document) = machine.json(&["arm"]);
    assert_eq!(
        (code, &document["changed"], &document["kill_switch"]),
        (0, &false.into(), &false.into())
    );
    machine.good(&["disarm"]);
    machine.good(&["unenroll", "o/web"]);
    let (_, document) = machine.json(&["unenroll", "o/web"]);
    assert_eq!(document["allowlist"], serde_json::json!([]));
    assert!(read(&file).contains("kill_switch = true # until the weekend"));
    machine.good(&["config", "check"]);
}

#[test]
fn a_named_file_that_does_not_exist_is_no_reason_to_call_anything_armed_or_disarmed() {
    let machine = Machine::new();
    let typo = machine.path("new/typo.toml");
    let typed = typo.to_str().unwrap();
    for args in [&["arm"][..], &["disarm"], &["unenroll", "o/web"]] {
        let named: Vec<&str> = ["--config", typed].iter().chain(args).copied().collect();
        let told =
            |by: &str| format!("there is no file {typed} (named by {by}); nothing was changed");
        machine.refused(&named, 2, &[told("--config").as_str()]);
        let said = said_by(&machine.command(args).env("AFK_CONFIG", &typo).output().unwrap());
        assert_eq!(said.code, 2, "{args:?}: {}{}", said.out, said.err);
        assert!(said.err.contains(&told("AFK_CONFIG")), "{args:?}: {}", said.err);
        assert!(!machine.path("new").exists(), "{args:?}");
    }
    let enroll = ["--config", typed, "enroll", "o/web", "--remote", "/srv/web", "--verify", "true"];
    machine.good(&enroll);
    machine.good(&["--config", typed, "arm"]);
    assert!(read(&typo).contains("kill_switch = false"));
}

#[test]
fn enrolling_a_new_repository_makes_a_configuration_that_holds() {
    let machine = Machine::new();
    machine.refused(&["enroll", "o/web"], 2, &["not configured", "--remote", "[repos.\"o/web\"]"]);
    let file = machine.path("home/.config/afk/config.toml");
    assert!(!file.exists());
    machine.good(&[
        "enroll",
        "o/web",
        "--remote",
        ".",
        "--verify",
        "sh test.sh",
        "--ci",
        "sh ci.sh",
    ]);
    let text = read(&file);
    let here = machine.path("here").canonicalize().unwrap();
    assert!(text.contains(here.to_str().unwrap()), "{text}");
    assert!(text.contains("afk arm"), "the header explains: {text}");
    let checked = machine.good(&["config", "check"]);
    assert!(checked.contains("kill switch on, 1 repository configured, 1 enrolled"), "{checked}");
    machine.good(&["enroll", "o/api", "--remote", "https://e.invalid/a.git", "--verify", "make"]);
    machine.refused(
        &["enroll", "o/api", "--remote", "x", "--verify", "y"],
        2,
        &["already configured"],
    );
    machine.refused(&["enroll", "o/x", "--remote", "/srv/x", "--verify", "a && b"], 2, &["shell"]);
    let (_, document) = machine.json(&["status"]);
    assert_eq!(document["allowlist"], serde_json::json!(["o/web", "o/api"]));
}

#[test]
fn a_variable_that_wins_over_an_edit_is_named() {
    let machine = Machine::new();
    machine.config(REPO);
    let said = said_by(&machine.command(&["arm"]).env("AFK_KILL_SWITCH", "on").output().unwrap());
    assert_eq!(said.code, 0);
    assert!(said.err.contains("AFK_KILL_SWITCH"), "{}", said.err);
    let (_, web) = REPO.split_once("[repos.").unwrap();
    let api = format!("[repos.{}", web.replace("o/web", "o/api"));
    machine.config(&format!("{REPO}\n{api}"));
    let enroll = |list: &str| {
        let mut command = machine.command(&["enroll", "o/web"]);
        let said = said_by(&command.env("AFK_ALLOWLIST", list).output().unwrap());
        assert_eq!(said.code, 0, "{}", said.err);
        said.err
    };
    let overridden = "AFK_ALLOWLIST overrides the file and does not name o/web";
    for _ in ["now", "already"] {
        let err = enroll("o/api");
        assert!(err.contains(overridden), "{err}");
    }
    let err = enroll("o/api,o/web");
    assert!(!err.contains("AFK_ALLOWLIST"), "{err}");
}

#[test]
fn a_kill_switch_that_is_no_text_is_never_taken_for_off() {
    let machine = Machine::new();
    machine.config(REPO);
    let odd = std::ffi::OsStr::from_bytes(b"\xff");
    let mut command = machine.command(&["config", "check"]);
    let said = said_by(&command.env("AFK_KILL_SWITCH", odd).output().unwrap());
    assert_eq!(said.code, 2, "{}{}", said.out, said.err);
    assert!(said.err.contains("variable AFK_KILL_SWITCH: is not UTF-8"), "{}", said.err);
}

#[test]
fn a_wrong_configuration_is_named_by_file_line_and_column() {
    let machine = Machine::new();
    let bad = "kill_switch = true\nalowlist = []\nbudget_usd = \"much\"\n";
    machine.config(bad);
    let named = ["afk.toml:2:1", "allowlist", "afk.toml:3:"];
    machine.refused(&["explain", "o/web#1"], 2, &named);
    machine.refused(&["status"], 2, &named);
    // Where there is a store, it is shown all the same, and the same is named.
    machine.config("");
    machine.good(&["status"]);
    machine.config(bad);
    let said = machine.afk(&["status"]);
    assert_eq!(said.code, 2, "{}{}", said.out, said.err);
    for word in named {
        assert!(said.err.contains(word), "{word:?} is not in {:?}", said.err);
    }
    assert_eq!(machine.json(&["status"]).0, 2);
    machine.refused(&["issue", "list"], 2, &["afk.toml:2:1"]);
    let said = machine.afk(&["config", "check"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("afk.toml:2:1"), "{}", said.err);
    let (code, document) = machine.json(&["config", "check"]);
    assert_eq!((code, &document["ok"]), (2, &false.into()));
    assert_eq!(
        (&document["problems"][0]["line"], &document["problems"][0]["column"]),
        (&2.into(), &1.into())
    );
    machine.config("allowlist = [\"o/web\"]\n");
    let (code, document) = machine.json(&["config", "check"]);
    assert_eq!((code, &document["problems"][0]["key"]), (2, &"allowlist.0".into()));
    assert_eq!(document["problems"][0]["line"], 1);
    machine.config("kill_switch = true\n");
    let output = machine.command(&["config", "check"]).env("AFK_KILSWITCH", "1").output().unwrap();
    let said = said_by(&output);
    assert_eq!(said.code, 0);
    assert!(said.err.contains("AFK_KILL_SWITCH"), "{}", said.err);
}

#[test]
fn a_value_of_the_wrong_kind_is_answered_with_the_right_one() {
    let machine = Machine::new();
    for (text, told) in [
        ("shadow = \"true\"\n", "shadow: must be true or false, without quotes; found text"),
        ("allowlist = \"o/web\"\n", "allowlist: must be a list; found text"),
        (
            "[http]\nlisten = \"127.0.0.1\"\n",
            "http.listen: must be an address and port such as \"127.0.0.1:8790\"",
        ),
        ("[notify]\nkind = \"slack\"\n", "notify is a list, whose entries begin with [[notify]]"),
    ] {
        machine.config(text);
        let said = machine.afk(&["config", "check"]);
        assert_eq!(said.code, 2, "{text}: {}{}", said.out, said.err);
        assert!(said.err.contains(told), "{text}: {}", said.err);
    }
}

#[test]
fn a_secret_where_its_source_belongs_is_told_by_its_key_alone() {
    let machine = Machine::new();
    machine.config("");
    machine.good(&["status"]);
    for (file, key) in [
        ("[agents.claude]\napi_key = \"sk-ant-s3cret\"\n", "agents.claude.api_key"),
        ("[agents.claude]\napi_key = { env = \"sk-ant-s3cret\" }\n", "agents.claude.api_key"),
        (
            "[[notify]]\nkind = \"webhook\"\nurl = \"https://b.example\"\nsecret = \"s3cret\"\n",
            "notify.0",
        ),
        ("allowlist = [\"s3cret/s3cret\"]\n", "allowlist.0"),
        ("budget_usd = \"s3cret\"\n", "budget_usd"),
    ] {
        machine.config(file);
        for args in [
            &["config", "check"][..],
            &["config", "check", "--json"],
            &["status"],
            &["status", "--json"],
            &["doctor"],
            &["serve"],
        ] {
            let said = machine.afk(args);
            let told = format!("{}{}", said.out, said.err);
            assert_eq!(said.code, 2, "{args:?}: {told}");
            assert!(told.contains(key) && !told.contains("s3cret"), "{args:?}: {told}");
        }
    }
}

#[test]
fn a_file_in_a_git_clone_is_obeyed_only_if_it_is_named() {
    let machine = Machine::new();
    let planted = "kill_switch = false\ndata_dir = \"/nowhere\"\n";
    let file = machine.config(planted);
    std::fs::create_dir(machine.path("here/.git")).unwrap();
    let said = machine.afk(&["config", "path"]);
    let own = machine.path("home/.config/afk/config.toml");
    assert_eq!((said.code, Path::new(said.out.trim())), (0, own.as_path()), "{}", said.err);
    for word in ["here/afk.toml: is not read", "--config ./afk.toml"] {
        assert_eq!(said.err.matches(word).count(), 1, "{word:?}: {}", said.err);
    }
    let (_, document) = machine.json(&["status"]);
    assert_eq!(document["kill_switch"], true, "{document:#}");
    machine.good(&["arm"]);
    assert_eq!((read(&file).as_str(), own.exists()), (planted, true));
    let named = machine.afk(&["--config", "./afk.toml", "config", "check"]);
    assert_eq!((named.code, named.err.as_str()), (0, ""), "{}", named.out);
}

#[test]
fn the_schema_and_the_path_of_the_configuration() {
    let machine = Machine::new();
    let schema: Value = serde_json::from_str(&machine.good(&["config", "schema"])).unwrap();
    assert!(schema["properties"]["kill_switch"].is_object());
    let (_, document) = machine.json(&["config", "path"]);
    assert_eq!(document["exists"], false);
    let file = machine.config("");
    let said = machine.good(&["config", "path"]);
    assert_eq!(Path::new(said.trim()), file.canonicalize().unwrap());
    let named = machine.good(&["--config", "/nowhere/afk.toml", "config", "path"]);
    assert_eq!(named, "/nowhere/afk.toml\n");
    machine.refused(&["--config", "/nowhere/afk.toml", "status"], 2, &["/nowhere/afk.toml"]);
}

#[test]
fn what_init_says_to_do_next_names_the_file_that_was_named() {
    let machine = Machine::new();
    let said = machine.afk(&["--config", "./our own.toml", "init"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    for word in ["`afk --config './our own.toml' enroll`", "is read only if it is named"] {
        assert!(said.err.contains(word), "{word:?} is not in {}", said.err);
    }
    let print = "`afk --config './our own.toml' init --print`";
    machine.refused(&["--config", "./our own.toml", "init"], 2, &["exists already", print]);
    let said = machine.afk(&["--config", "./our own.toml", "arm"]);
    assert!(said.err.contains("`afk --config './our own.toml' enroll`"), "{}", said.err);
    machine.refused(&["--config", ".", "init"], 2, &["is a folder", "./afk.toml"]);
    // What is read anyway need not be named.
    let said = machine.afk(&["init"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.err.contains("`afk enroll`") && !said.err.contains("--config"), "{}", said.err);
}
