//! Compares what commands print with `--json` with the schemas of `afk schema output`.
//!
//! The schemas are closed: a key that is new, or gone, or of another type fails here. One test
//! walks all of them, and fails for a command of which no real document was compared. That every
//! command has a schema is a test beside the schemas.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{Machine, REPO, runs};

/// Requests to a live run, which all have one shape: `processes` compares that of `budget`.
const REQUESTS: [&str; 7] = [
    "allow (1 of 1)",
    "answer (1 of 1)",
    "budget (1 of 1)",
    "deny (1 of 1)",
    "retry (1 of 2)",
    "say (1 of 1)",
    "stop (1 of 1)",
];

/// What commands printed, by their names.
pub(crate) struct Printed {
    schemas: Map<String, Value>,
    seen: BTreeMap<String, Vec<Value>>,
}

impl Printed {
    fn new(machine: &Machine) -> Self {
        let schemas = serde_json::from_str(&machine.good(&["schema", "output"])).unwrap();
        Self { schemas, seen: BTreeMap::new() }
    }

    /// Compares a document that a command printed with its schema.
    #[track_caller]
    pub(crate) fn saw(&mut self, command: &str, document: &Value) {
        let schema = self.schemas.get(command).unwrap_or_else(|| panic!("{command}: no schema"));
        let wrong = mistakes(schema, document);
        assert!(wrong.is_empty(), "{command}: {wrong:#?}\n{document:#}");
        self.seen.entry(command.to_owned()).or_default().push(document.clone());
    }

    /// Compares the lines that a command wrote to standard error.
    #[track_caller]
    pub(crate) fn saw_lines(&mut self, err: &str) {
        for line in err.lines() {
            let line = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
            self.saw("stderr", &line);
        }
    }

    /// The schemas, and the alternatives of one, with which no real document was compared.
    fn unseen(&self) -> Vec<String> {
        let mut unseen = Vec::new();
        for (command, schema) in &self.schemas {
            let seen = self.seen.get(command).map_or(&[][..], Vec::as_slice);
            let ways = schema["anyOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
            for (n, way) in ways.iter().enumerate() {
                if !seen.iter().any(|document| mistakes(way, document).is_empty()) {
                    unseen.push(format!("{command} ({} of {})", n + 1, ways.len()));
                }
            }
        }
        unseen
    }
}

/// Where a document differs from its schema.
fn mistakes(schema: &Value, document: &Value) -> Vec<String> {
    let validator = jsonschema::draft202012::new(schema).unwrap();
    let errors = validator.iter_errors(document);
    errors.map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The document must be what `afk schema output COMMAND` describes.
#[track_caller]
pub(crate) fn fits(machine: &Machine, command: &str, document: &Value) {
    let words: Vec<&str> = ["schema", "output"].into_iter().chain(command.split(' ')).collect();
    let schema: Value = serde_json::from_str(&machine.good(&words)).unwrap();
    let wrong = mistakes(&schema, document);
    assert!(wrong.is_empty(), "{command}: {wrong:#?}\n{document:#}");
}

#[test]
fn what_every_command_prints_is_what_its_schema_says() {
    let machine = Machine::new();
    let mut printed = Printed::new(&machine);
    of_commands(&machine, &mut printed);
    runs::print(&mut printed);
    assert_eq!(printed.unseen(), REQUESTS, "nothing real was held against these");
    // The bad case: a schema without a document is reported, as a whole and by its alternatives.
    printed.seen.remove("status");
    printed.seen.get_mut("tick").unwrap().retain(|document| document.get("live").is_none());
    let unseen = printed.unseen();
    for told in ["status (1 of 1)", "tick (2 of 2)"] {
        assert!(unseen.iter().any(|one| one == told), "{unseen:?}");
    }
}

/// Of commands that need no run.
fn of_commands(machine: &Machine, printed: &mut Printed) {
    let script = machine.scripted(REPO);
    let remote = machine.remote();
    let config = script.replace("/srv/web", remote.to_str().unwrap());
    machine.config(&format!("sandbox = \"preferred\"\n{config}"));
    let mut check = |command: &str, more: &[&str]| {
        let words: Vec<&str> = command.split(' ').chain(more.iter().copied()).collect();
        let (_, document) = machine.json(&words);
        printed.saw(command, &document);
        document
    };

    check("status", &[]);
    check("config check", &[]);
    check("config path", &[]);
    check("enroll", &["o/web"]);
    check("arm", &[]);
    check("disarm", &[]);
    check("issue new", &["o/web", "Add a door", "--ready"]);
    check("issue label", &["o/web#1", "red"]);
    check("issue unlabel", &["o/web#1", "red"]);
    check("issue comment", &["o/web#1", "soon"]);
    check("issue edit", &["o/web#1", "--title", "Add a window"]);
    check("issue close", &["o/web#1"]);
    check("issue reopen", &["o/web#1"]);
    check("issue list", &[]);
    check("issue show", &["o/web#1"]);
    let held = check("status", &[]);
    assert!(held["ready"][0]["gates"].is_object(), "{held:#}");
    check("explain", &["o/web#1"]);
    check("pause", &["--why", "a break"]);
    check("halt", &[]);
    check("freeze", &["o/web"]);
    let frozen = check("status", &[]);
    assert!(frozen["switches"]["frozen"][0].is_array(), "{frozen:#}");
    check("ack", &["o/web"]);
    check("unfreeze", &["o/web"]);
    check("resume", &[]);
    check("release", &["o/web#1"]);
    check("runs", &[]);
    check("tick", &[]);
    check("tick", &["--watch"]);
    check("doctor", &["--quick"]);
    check("doorbell test", &[]);
    check("presence claim", &["repo:o/web", "--purpose", "by hand"]);
    check("presence", &[]);
    check("presence list", &[]);
    check("presence release", &["repo:o/web"]);
    check("token new", &["ci", "--scope", "jobs"]);
    let tokens = check("token list", &[]);
    assert_eq!(tokens["tokens"][0]["name"], "ci", "{tokens:#}");
    check("token revoke", &["ci"]);
    check("agents install", &["--home", machine.path("home").to_str().unwrap()]);
    check("backup", &["copy.db"]);
    check("man", &["pages"]);
    check("init", &["--print"]);
    check("demo", &["--scenario", "blocked"]);
    check("unenroll", &["o/web"]);
    machine.config("bugdet_usd = 1\n");
    let problems = check("config check", &[]);
    assert_eq!(problems["problems"][0]["line"], 1, "{problems:#}");
    // A warning and an error are a line each on standard error.
    let said = machine.afk(&["show", "o/web#1", "--json"]);
    assert_eq!(said.err.lines().count(), 2, "{}", said.err);
    printed.saw_lines(&said.err);
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
