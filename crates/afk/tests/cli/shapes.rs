//! What commands print with `--json`, held against the schemas of `afk schema output`.
//!
//! The schemas are closed: a key that is new, or gone, or of another type fails here.

use std::path::Path;

use serde_json::{Value, json};

use crate::{Machine, REPO};

/// The document must be what `afk schema output COMMAND` describes.
#[track_caller]
pub(crate) fn fits(machine: &Machine, command: &str, document: &Value) {
    let words: Vec<&str> = ["schema", "output"].into_iter().chain(command.split(' ')).collect();
    let schema: Value = serde_json::from_str(&machine.good(&words)).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let wrong: Vec<_> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{command}: {wrong:#?}\n{document:#}");
}

/// Runs a command, and holds its document against its schema.
#[track_caller]
fn check(machine: &Machine, command: &str, more: &[&str]) -> Value {
    let words: Vec<&str> = command.split(' ').chain(more.iter().copied()).collect();
    let (_, document) = machine.json(&words);
    fits(machine, command, &document);
    document
}

#[test]
fn what_commands_print_is_what_their_schemas_say() {
    let machine = Machine::new();
    let script = machine.scripted(REPO);
    let remote = machine.remote();
    let config = script.replace("/srv/web", remote.to_str().unwrap());
    machine.config(&format!("sandbox = \"preferred\"\n{config}"));

    check(&machine, "status", &[]);
    check(&machine, "config check", &[]);
    check(&machine, "config path", &[]);
    check(&machine, "enroll", &["o/web"]);
    check(&machine, "arm", &[]);
    check(&machine, "disarm", &[]);
    check(&machine, "issue new", &["o/web", "Add a door", "--ready"]);
    check(&machine, "issue label", &["o/web#1", "red"]);
    check(&machine, "issue unlabel", &["o/web#1", "red"]);
    check(&machine, "issue comment", &["o/web#1", "soon"]);
    check(&machine, "issue edit", &["o/web#1", "--title", "Add a window"]);
    check(&machine, "issue close", &["o/web#1"]);
    check(&machine, "issue reopen", &["o/web#1"]);
    check(&machine, "issue list", &[]);
    check(&machine, "issue show", &["o/web#1"]);
    let held = check(&machine, "status", &[]);
    assert!(held["ready"][0]["gates"].is_object(), "{held:#}");
    check(&machine, "explain", &["o/web#1"]);
    check(&machine, "pause", &["--why", "a break"]);
    check(&machine, "halt", &[]);
    check(&machine, "freeze", &["o/web"]);
    let frozen = check(&machine, "status", &[]);
    assert!(frozen["switches"]["frozen"][0].is_array(), "{frozen:#}");
    check(&machine, "ack", &["o/web"]);
    check(&machine, "unfreeze", &["o/web"]);
    check(&machine, "resume", &[]);
    check(&machine, "release", &["o/web#1"]);
    check(&machine, "runs", &[]);
    check(&machine, "tick", &[]);
    check(&machine, "tick", &["--watch"]);
    check(&machine, "doctor", &["--quick"]);
    check(&machine, "doorbell test", &[]);
    check(&machine, "presence claim", &["repo:o/web", "--purpose", "by hand"]);
    check(&machine, "presence", &[]);
    check(&machine, "presence list", &[]);
    check(&machine, "presence release", &["repo:o/web"]);
    check(&machine, "token new", &["ci", "--scope", "jobs"]);
    let tokens = check(&machine, "token list", &[]);
    assert_eq!(tokens["tokens"][0]["name"], "ci", "{tokens:#}");
    check(&machine, "token revoke", &["ci"]);
    check(&machine, "agents install", &["--home", machine.path("home").to_str().unwrap()]);
    check(&machine, "backup", &["copy.db"]);
    check(&machine, "man", &["pages"]);
    check(&machine, "init", &["--print"]);
    check(&machine, "unenroll", &["o/web"]);
    machine.config("bugdet_usd = 1\n");
    let problems = check(&machine, "config check", &[]);
    assert_eq!(problems["problems"][0]["line"], 1, "{problems:#}");
    // A warning and an error are a line each on standard error.
    let said = machine.afk(&["show", "o/web#1", "--json"]);
    let lines: Vec<Value> =
        said.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() == 2 && lines[0]["warning"].is_string(), "{}", said.err);
    let all: Value = serde_json::from_str(&machine.good(&["schema", "output"])).unwrap();
    let validator = jsonschema::draft202012::new(&all["stderr"]).unwrap();
    assert!(lines.iter().all(|line| validator.is_valid(line)), "{}", said.err);
}

/// Of a demo that landed.
pub(crate) fn of_a_landed_run(machine: &Machine, config: &Path, report: &Value) {
    fits(machine, "demo", report);
    let issue = report["issue"].as_str().unwrap();
    under(machine, config, "status", &[]);
    under(machine, config, "runs", &[]);
    for command in ["show", "diff", "evidence", "evidence verify", "replay", "issue show"] {
        under(machine, config, command, &[issue]);
    }
}

/// Of an issue that is released again.
pub(crate) fn of_a_retry(machine: &Machine, config: &Path, issue: &str) {
    under(machine, config, "issue reopen", &[issue]);
    under(machine, config, "retry", &[issue]);
}

/// The same under another configuration.
#[track_caller]
fn under(machine: &Machine, config: &Path, command: &str, more: &[&str]) {
    let named = ["--config", config.to_str().unwrap()];
    let words: Vec<&str> =
        named.into_iter().chain(command.split(' ')).chain(more.iter().copied()).collect();
    let (_, document) = machine.json(&words);
    fits(machine, command, &document);
}

#[test]
fn a_schema_is_found_by_its_command() {
    let machine = Machine::new();
    machine.refused(&["schema", "output", "serve"], 2, &["its output is its log"]);
    machine.refused(&["schema", "output", "issue"], 2, &["which one", "issue list"]);
    machine.refused(
        &["schema", "output", "stauts"],
        2,
        &["no command \"stauts\"", "afk schema output"],
    );
    // The bad case: a document of another command does not fit.
    let schema: Value =
        serde_json::from_str(&machine.good(&["schema", "output", "status"])).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    assert!(!validator.is_valid(&json!({ "runs": [] })));
}
