//! What a person is told early: about a mistyped switch, an unusable remote, a doorbell. And a text
//! that is typed slowly counts from when it was sent.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use crate::common::Bell;
use crate::processes::{eventually, git};
use crate::{Machine, REPO, said_by};

#[test]
fn a_variable_that_is_spelt_like_a_switch_is_told_of() {
    let machine = Machine::new();
    let mistyped = |args: &[&str]| {
        let mut command = machine.command(args);
        command.env("AFK_KILL_SWICH", "true").env("AFK_SERVICE_HOST", "10.0.0.1");
        // A blank variable counts as not given.
        command.env("RUST_LOG", "");
        let said = said_by(&command.output().unwrap());
        assert_eq!(said.code, 0, "{args:?}: {}{}", said.out, said.err);
        assert_eq!(said.err.matches("AFK_KILL_SWITCH").count(), 1, "{args:?}: {}", said.err);
        assert!(!said.err.contains("AFK_SERVICE_HOST"), "a scheduler's own: {}", said.err);
    };
    for args in [&["tick"][..], &["status"], &["issue", "list"], &["disarm"]] {
        mistyped(args);
    }
}

#[test]
fn a_remote_is_refused_where_it_is_configured() {
    let machine = Machine::new();
    let check = |remote: &str, why: Option<&str>| {
        machine.config(&REPO.replace("/srv/web", remote));
        let said = machine.afk(&["config", "check"]);
        let told = format!("{}{}", said.out, said.err);
        assert_eq!(said.code, if why.is_some() { 2 } else { 0 }, "{remote}: {told}");
        if let Some(why) = why {
            assert!(told.contains("repos.\"o/web\".remote: ") && told.contains(why), "{told}");
            assert!(!told.contains("s3cret"), "{told}");
            machine.refused(&["tick"], 2, &[why]);
        }
        std::fs::remove_file(machine.path("here/afk.toml")).unwrap();
        let enroll = ["enroll", "o/web", "--remote", remote, "--verify", "true"];
        match why {
            Some(why) => machine.refused(&enroll, 2, &["--remote", why]),
            None => drop(machine.good(&enroll)),
        }
        let _ = std::fs::remove_dir_all(machine.path("home/.config"));
    };
    check("/srv/web", None);
    check("file:///srv/web", None);
    check("https://forge.example/o/web", None);
    check("git@forge.example:o/web.git", None);
    check("ssh://git@forge.example:22/o/web", None);
    check("https://s3cret@forge.example/o/web", Some("no user, password or token"));
    check("https://u:s3cret@forge.example/o/web", Some("no user, password or token"));
    check("http://s3cret@localhost:3000/o/web", Some("no user, password or token"));
    check("../s3cret", Some("absolute path"));
    check("ext::sh -c s3cret", Some("blanks"));
}

#[test]
fn a_token_in_a_remote_is_not_written_into_a_new_file() {
    let machine = Machine::new();
    let here = machine.path("here");
    git(&here, &["init", "-q"]);
    git(&here, &["remote", "add", "origin", "https://s3cret@forge.example/o/web"]);
    let text = machine.good(&["init", "--print"]);
    assert!(text.contains("[repos.\"o/web\"]") && !text.contains("s3cret"), "{text}");
}

#[test]
fn a_remote_that_is_given_brings_its_forge_and_is_looked_at() {
    let machine = Machine::new();
    let here = machine.path("here");
    git(&here, &["init", "-q"]);
    let site = ["--remote", "https://github.com/you/site", "--verify", "true"];
    let text = machine.good(&[&["init", "--print"][..], &site[..]].concat());
    for word in ["[repos.\"you/site\"]", "tracker = \"github\"", "[forges.github]"] {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    let said = machine.afk(&["init", "--remote", "/nowhere/web.git", "--verify", "true"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.err.contains("`afk doctor` looks again"), "{}", said.err);
    // The doctor is asked about the file that was written.
    let there = ["--config", "there.toml", "init", "--remote", "/nowhere/web.git"];
    let said = machine.afk(&[&there[..], &["--verify", "true"]].concat());
    assert!(said.err.contains("there.toml doctor` looks again"), "{}", said.err);
}

#[test]
fn what_is_typed_slowly_carries_the_time_when_it_was_said() {
    let machine = Machine::new();
    machine.good(&["issue", "new", "o/web", "Add a door"]);
    let mut slow = machine
        .command(&["issue", "comment", "o/web#1", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let fds = format!("/proc/{}/fd", slow.id());
    eventually("it has begun, and reads", || {
        let open = std::fs::read_dir(&fds).unwrap().flatten();
        let mut open = open.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        open.any(|file| file.ends_with("afk.db"))
    });
    std::thread::sleep(std::time::Duration::from_millis(50));
    let before = jiff::Timestamp::now();
    slow.stdin.take().unwrap().write_all(b"/afk stop").unwrap();
    assert!(slow.wait().unwrap().success());
    let (_, shown) = machine.json(&["issue", "show", "o/web#1"]);
    let at: jiff::Timestamp = shown["comments"][0]["at"].as_str().unwrap().parse().unwrap();
    assert!(at.as_microsecond() >= before.as_microsecond(), "{at} is before {before}: {shown:#}");
}

#[test]
fn a_doorbell_is_json_where_json_was_asked_for() {
    let machine = Machine::new();
    let said = machine.afk(&["demo", "--scenario", "guardrail", "--json"]);
    let lines: Vec<Value> = said.err.lines().map(|l| serde_json::from_str(l).expect(l)).collect();
    let rung: Vec<&Value> = lines.iter().filter(|line| !line["doorbell"].is_null()).collect();
    assert_eq!(rung.len(), 1, "{}", said.err);
    assert_eq!(rung[0]["doorbell"]["kind"], "needs-human");
}

#[test]
fn each_doorbell_is_rung_for_a_test_and_says_what_is_wrong() {
    let machine = Machine::new();
    let bell = Bell::start();
    let key = machine.path("key");
    std::fs::write(&key, "a key of ours").unwrap();
    let webhook = |name: &str, url: &str| {
        let secret = format!("{{ file = '{}' }}", key.display());
        format!("{{ kind = 'webhook', name = '{name}', url = '{url}', secret = {secret} }}")
    };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (good, bad) = (webhook("ops", bell.url()), webhook("dead", &format!("http://{free}/")));
    machine.config(&format!("notify = [{{ kind = 'terminal' }}, {good}, {bad}]"));

    // Disarmed, as it is shipped.
    let said = machine.afk(&["doorbell", "test", "terminal", "ops"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("✓ ops") && said.out.contains(" s\n"), "{}", said.out);
    assert!(said.err.contains("[TEST]"), "the terminal is rung, too: {}", said.err);
    let rung: Value = serde_json::from_str(&bell.rung()[0].body).unwrap();
    assert_eq!((&rung["kind"], &rung["issue_ref"]), (&"test".into(), &Value::Null));

    let said = machine.afk(&["doorbell", "test"]);
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    assert!(said.out.contains("✗ dead") && said.out.contains("→ "), "{}", said.out);
    assert_eq!(bell.ids().len(), 2, "each test is a ring of its own");
    let (code, told) = machine.json(&["doorbell", "test", "dead", "ops"]);
    let told = &told["doorbells"];
    assert_eq!((code, told.as_array().unwrap().len()), (1, 2), "{told:#}");
    assert_eq!((&told[0]["name"], &told[0]["error"]), (&"ops".into(), &Value::Null), "{told:#}");
    assert!(told[1]["error"].is_string() && told[1]["remedy"].is_string(), "{told:#}");
    machine.refused(&["doorbell", "test", "nobody"], 2, &["\"nobody\"", "terminal, ops, dead"]);
}

#[test]
fn the_doctor_reads_repositories_of_either_kind() {
    for format in ["sha1", "sha256"] {
        let machine = Machine::new();
        let (origin, seed) = (machine.path("origin.git"), machine.path("seed"));
        std::fs::create_dir_all(seed.join("tests")).unwrap();
        std::fs::write(seed.join("tests/one.sh"), "true\n").unwrap();
        let format = format!("--object-format={format}");
        let bare = origin.to_str().unwrap();
        git(&seed, &["init", "-q", "--bare", "--initial-branch=main", &format, bare]);
        git(&seed, &["init", "-q", "--initial-branch=main", &format]);
        git(&seed, &["add", "tests"]);
        git(&seed, &["commit", "-q", "-m", "Begin"]);
        git(&seed, &["push", "-q", bare, "main"]);
        machine.config(&format!("sandbox = \"preferred\"\n{}", REPO.replace("/srv/web", bare)));
        let (_, report) = machine.json(&["doctor"]);
        let found = report["findings"].as_array().unwrap().iter();
        let mut found = found.filter(|one| one["group"] == "o/web" && one["about"] == "tests");
        assert_eq!(found.next().unwrap()["state"], "ok", "{format}: {report:#}");
    }
}

#[test]
fn an_issue_of_a_forge_is_not_made_here() {
    let machine = Machine::new();
    machine.config(&format!(
        "{}\n[forges.github]\ntoken = {{ env = \"GITHUB_TOKEN\" }}\n",
        REPO.replace("agent = ", "tracker = \"github\"\nagent = ")
    ));
    let where_it_is = ["on github, not here", "ready-for-agent", "afk run o/web#N"];
    for args in [
        &["issue", "new", "o/web", "Add a door", "--ready"][..],
        &["issue", "list", "o/web"],
        &["issue", "show", "o/web#1"],
        &["issue", "label", "o/web#1"],
        &["issue", "comment", "o/web#1", "Which side?"],
        &["issue", "close", "o/web#1"],
    ] {
        machine.refused(args, 2, &where_it_is);
    }
    let all = machine.json(&["issue", "list", "--all"]).1;
    assert_eq!(all, serde_json::json!({ "issues": [] }), "none is made");
}

#[test]
fn a_new_token_is_alone_on_standard_output() {
    let machine = Machine::new();
    let said = machine.afk(&["token", "new", "ci", "--scope", "jobs"]);
    assert_eq!((said.code, said.out.lines().count()), (0, 1), "{}{}", said.out, said.err);
    assert!(said.err.contains("it cannot be shown again"), "{}", said.err);
}

#[test]
fn a_demo_whose_path_cannot_be_a_remote_is_refused_before_it_is_made() {
    let machine = Machine::new();
    let keep = machine.path("sp ace's");
    let told = ["sp ace's/origin.git: ", "blanks", "--keep"];
    machine.refused(&["demo", "--keep", keep.to_str().unwrap()], 2, &told);
    assert!(!keep.exists());
    std::fs::create_dir(&keep).unwrap();
    let said = said_by(&machine.command(&["demo"]).env("TMPDIR", &keep).output().unwrap());
    assert_eq!(said.code, 2, "{}{}", said.out, said.err);
    assert!(said.err.contains("TMPDIR"), "{}", said.err);
    assert!(std::fs::read_dir(&keep).unwrap().next().is_none());
}
