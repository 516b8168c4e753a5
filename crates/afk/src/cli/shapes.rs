//! The shape of what each command prints with `--json`, as JSON Schemas: `afk schema output`.
//!
//! Every document is one object. What a script would rely on is described key by key and closed, so
//! that a key which appears or goes away fails a test (`tests/cli/shapes.rs` compares the real
//! output with these). Records of the engine that are passed on whole (a run's record, its journal,
//! its evidence) are described as objects of any keys: their form is fixed by the journal, not
//! here.

#![allow(
    clippy::needless_pass_by_value,
    reason = "schemas are made where they are used; `json!` takes them by reference"
)]

use serde_json::{Map, Value, json};

/// Commands that print no document, and why.
pub(super) const NO_DOCUMENT: [(&str, &str); 6] = [
    ("serve", "its output is its log, one JSON object a line"),
    ("logs", "the agent's own lines, unchanged"),
    ("completions", "a script for the shell"),
    ("help", "text"),
    ("config schema", "the schema itself"),
    ("schema output", "the schemas themselves"),
];

/// Each command that prints a document, with the document's schema, in the order of their names.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    let mut all = vec![
        ("ack", switches()),
        ("agents install", object(&[("installed", list(text()))], &[])),
        ("allow", request()),
        ("answer", request()),
        ("arm", edited()),
        ("backup", backup()),
        ("budget", request()),
        ("config check", checked()),
        ("config path", object(&[("path", text()), ("exists", flag())], &[])),
        ("demo", demo()),
        ("deny", request()),
        ("diff", diff()),
        ("disarm", edited()),
        ("doctor", doctor()),
        ("doorbell test", object(&[("doorbells", list(doorbell()))], &[])),
        ("enroll", edited()),
        (
            "evidence",
            record("The evidence bundle of the run: `complete` once it may close its issue."),
        ),
        ("evidence verify", verified()),
        ("explain", explained()),
        ("freeze", switches()),
        ("halt", switches()),
        ("init", init()),
        ("issue close", changed()),
        ("issue comment", object(&[("issue", text()), ("comment", text())], &[])),
        ("issue edit", changed()),
        ("issue label", changed()),
        ("issue list", object(&[("issues", list(issue()))], &[])),
        ("issue new", issue()),
        ("issue reopen", changed()),
        ("issue show", issue_page()),
        ("issue unlabel", changed()),
        ("man", object(&[("written", list(text()))], &[])),
        ("pause", switches()),
        ("presence", presences()),
        ("presence claim", presence()),
        ("presence list", presences()),
        ("presence release", presence_released()),
        ("release", released()),
        ("replay", replayed()),
        ("resume", switches()),
        ("retry", either(&[request(), released_again()])),
        ("run", either(&[run(), not_admitted()])),
        ("runs", object(&[("runs", list(run()))], &[])),
        ("say", request()),
        ("show", page()),
        ("status", status()),
        ("stop", request()),
        ("t3 check", t3_checked()),
        ("t3 pair", t3_paired()),
        ("tick", either(&[ticked(), object(&[("live", list(run()))], &[])])),
        ("token list", object(&[("tokens", list(token()))], &[])),
        ("token new", object(&[("name", text()), ("token", text())], &[])),
        ("token revoke", object(&[("revoked", text())], &[])),
        ("unenroll", edited()),
        ("unfreeze", switches()),
    ];
    all.sort_by_key(|(name, _)| *name);
    all
}

/// The schema of standard error, one object a line: why a command failed, a warning, or a doorbell
/// that rings on the terminal.
pub(super) fn remark() -> Value {
    either(&[
        object(&[("error", text()), ("exit", count())], &[]),
        object(&[("warning", text())], &[]),
        object(
            &[("doorbell", record("A doorbell: `kind`, `issue_ref`, `title`, `body`, `link`."))],
            &[],
        ),
    ])
}

/// Makes a schema a document of its own, with title and dialect.
pub(super) fn document(title: &str, schema: &Value) -> Value {
    let mut document = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
    });
    if let (Value::Object(document), Value::Object(schema)) = (&mut document, schema) {
        document.extend(schema.clone());
    }
    document
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn flag() -> Value {
    json!({ "type": "boolean" })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn number() -> Value {
    json!({ "type": "number" })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

/// An exact amount of US dollars, as text.
fn dollars() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]+(\\.[0-9]{1,6})?$" })
}

fn one_of(words: &[&str]) -> Value {
    json!({ "enum": words })
}

fn maybe(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// An array of exactly two items.
fn pair(first: Value, second: Value) -> Value {
    json!({ "type": "array", "prefixItems": [first, second], "minItems": 2, "maxItems": 2 })
}

fn either(schemas: &[Value]) -> Value {
    json!({ "type": "object", "anyOf": schemas })
}

/// An object of any keys.
fn record(about: &str) -> Value {
    json!({ "type": "object", "description": about })
}

/// An object of these keys and no others; those of `at_times` may be absent.
fn object(always: &[(&str, Value)], at_times: &[(&str, Value)]) -> Value {
    let keys = always.iter().chain(at_times);
    let properties: Map<String, Value> =
        keys.map(|(key, schema)| ((*key).to_owned(), schema.clone())).collect();
    let required: Vec<&str> = always.iter().map(|(key, _)| *key).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn run() -> Value {
    let phase = one_of(&["worktree", "tests_red", "green", "pushed", "ci", "deployed", "done"]);
    let question = object(
        &[
            ("n", count()),
            ("id", text()),
            ("question", flag()),
            ("what", text()),
            ("since", time()),
            ("until", time()),
            ("commands", list(text())),
        ],
        &[],
    );
    object(
        &[
            ("run", text()),
            ("issue", text()),
            ("title", text()),
            ("phase", phase),
            ("deploys", flag()),
            ("branch", text()),
            ("waits_for", text()),
            ("outcome", maybe(outcome())),
            ("why", maybe(text())),
            ("landed", maybe(text())),
            ("elapsed_seconds", count()),
            ("attempts", count()),
            ("turns", count()),
            ("fix_forwards", count()),
            ("tokens_in", count()),
            ("tokens_out", count()),
            ("cost_usd", dollars()),
            ("budget_usd", dollars()),
            ("last", maybe(text())),
            ("asks", list(question)),
            ("error", maybe(object(&[("what", text()), ("since", time())], &[("again", time())]))),
            ("settled", flag()),
        ],
        &[("next", text()), ("setback", text()), ("goes_on", text()), ("thread_link", text())],
    )
}

fn outcome() -> Value {
    one_of(&["done", "needs_human", "frozen", "released"])
}

fn page() -> Value {
    let kept = object(
        &[
            ("workspace", maybe(text())),
            ("jobs", maybe(text())),
            ("mirror", text()),
            ("refs", text()),
        ],
        &[],
    );
    object(
        &[
            ("summary", run()),
            ("run", record("The run's record, as the store has it.")),
            ("requests", list(record("A person's request, and its answer."))),
            ("journal", list(record("A row of the journal: `seq`, `at`, `body`."))),
            ("bundle", maybe(text())),
            ("kept", maybe(kept)),
        ],
        &[],
    )
}

fn gate() -> Value {
    let gates = [
        "kill_switch",
        "allowlist",
        "freeze",
        "machine",
        "repo_lock",
        "capacity",
        "trust",
        "blockers",
        "base_health",
    ];
    let verdict = one_of(&["passed", "failed", "not_asked", "unknown"]);
    object(&[("gate", one_of(&gates)), ("verdict", verdict), ("why", text())], &[])
}

fn dropped() -> Value {
    object(&[("kind", text()), ("count", count()), ("sample", text())], &[])
}

fn explained() -> Value {
    object(
        &[
            ("issue", text()),
            ("title", text()),
            ("eligible", flag()),
            ("open", flag()),
            ("priority", maybe(json!({ "type": "integer" }))),
            ("gates", list(gate())),
            ("dropped", list(dropped())),
        ],
        &[],
    )
}

fn not_admitted() -> Value {
    let never = json!({ "const": false });
    object(&[("issue", text()), ("admitted", never), ("gates", list(gate()))], &[])
}

fn switch() -> Value {
    object(&[("by", text()), ("at", time()), ("why", text())], &[])
}

fn switch_states() -> Value {
    let freeze = record("A freeze: who or which run froze it, when, and why.");
    object(
        &[
            ("halt", maybe(switch())),
            ("pause", maybe(switch())),
            ("frozen", list(pair(text(), freeze))),
        ],
        &[],
    )
}

fn switches() -> Value {
    object(&[("did", text()), ("switches", switch_states())], &[])
}

fn status() -> Value {
    let gates = object(
        &[
            ("issue", text()),
            ("open", flag()),
            ("priority", maybe(json!({ "type": "integer" }))),
            ("gates", list(gate())),
            ("dropped", list(dropped())),
        ],
        &[("goes_on", text())],
    );
    let ready = object(
        &[("issue", text()), ("title", text()), ("gates", maybe(gates)), ("error", maybe(text()))],
        &[],
    );
    let handed_back = object(
        &[("issue", text()), ("title", text()), ("run", text()), ("at", time()), ("why", text())],
        &[],
    );
    let silent = object(
        &[
            ("name", text()),
            ("given_up", count()),
            ("since", time()),
            ("last", time()),
            ("error", text()),
            ("remedy", text()),
        ],
        &[],
    );
    let serving = object(&[("pid", count()), ("host", text()), ("since", time())], &[]);
    object(
        &[
            ("at", time()),
            ("takes_issues", flag()),
            ("kill_switch", flag()),
            ("shadow", flag()),
            ("allowlist", list(text())),
            ("switches", switch_states()),
            ("runs", list(run())),
            ("handed_back", list(handed_back)),
            ("ready", list(ready)),
            ("unreadable", list(object(&[("repo", text()), ("why", text())], &[]))),
            (
                "forges",
                list(record("A forge's account: `name`, what is left of its limit, until when.")),
            ),
            ("silent_doorbells", list(silent)),
            ("serving", maybe(serving)),
            ("looked_at", maybe(time())),
            ("sandbox", text()),
            ("config", maybe(text())),
            ("data_dir", text()),
        ],
        &[],
    )
}

fn actor() -> Value {
    object(&[("id", text()), ("login", text()), ("bot", flag())], &[])
}

fn request() -> Value {
    let asked = json!({
        "type": "object",
        "description": "The request: who made it, when, and what it is with its own keys.",
        "properties": { "id": text(), "by": actor(), "at": time() },
        "required": ["id", "by", "at"],
    });
    object(&[("run", text()), ("issue", text()), ("asked", asked), ("expected", text())], &[])
}

fn released_again() -> Value {
    object(
        &[
            ("issue", text()),
            ("released", json!({ "const": true })),
            ("by", actor()),
            ("goes_on_from", maybe(text())),
        ],
        &[],
    )
}

fn released() -> Value {
    object(&[("issue", text()), ("label", text()), ("released", flag()), ("by", actor())], &[])
}

fn issue() -> Value {
    object(
        &[
            ("issue", text()),
            ("title", text()),
            ("body", text()),
            ("labels", list(text())),
            ("open", flag()),
        ],
        &[],
    )
}

fn issue_page() -> Value {
    let event = object(
        &[
            ("at", time()),
            ("actor", maybe(actor())),
            ("what", record("What happened: `kind`, and what belongs to it.")),
        ],
        &[],
    );
    let comment = object(
        &[("id", text()), ("author", maybe(actor())), ("at", time()), ("body", text())],
        &[],
    );
    object(&[("issue", issue()), ("events", list(event)), ("comments", list(comment))], &[])
}

fn changed() -> Value {
    object(&[("issue", text()), ("changed", flag())], &[])
}

fn edited() -> Value {
    object(
        &[
            ("file", text()),
            ("changed", flag()),
            ("kill_switch", maybe(flag())),
            ("allowlist", maybe(list(text()))),
        ],
        &[],
    )
}

fn init() -> Value {
    let argv = || list(text());
    let proposal = object(
        &[
            ("by", text()),
            ("verify", argv()),
            ("build", maybe(argv())),
            ("ci", argv()),
            ("fetch", maybe(argv())),
            ("network", flag()),
            ("programs", list(text())),
        ],
        &[],
    );
    object(
        &[
            ("file", text()),
            ("written", flag()),
            ("repo", maybe(text())),
            ("remote", maybe(text())),
            ("proposal", maybe(proposal)),
            ("read", maybe(list(text()))),
            ("agent", maybe(text())),
            ("claude", maybe(text())),
            ("text", text()),
        ],
        &[],
    )
}

fn checked() -> Value {
    let problem = || {
        object(
            &[
                ("file", maybe(text())),
                ("line", maybe(count())),
                ("column", maybe(count())),
                ("variable", maybe(text())),
                ("key", text()),
                ("what", text()),
            ],
            &[],
        )
    };
    object(
        &[
            ("ok", flag()),
            ("file", maybe(text())),
            ("problems", list(problem())),
            ("warnings", list(problem())),
        ],
        &[],
    )
}

fn doctor() -> Value {
    let finding = object(
        &[
            ("group", text()),
            ("about", text()),
            ("state", one_of(&["ok", "note", "warning", "failure"])),
            ("says", text()),
            ("remedy", maybe(text())),
        ],
        &[("seconds", number()), ("output", text())],
    );
    object(
        &[
            ("findings", list(finding)),
            ("unusable", flag()),
            ("repos", count()),
            ("verified", count()),
            ("disarmed", maybe(text())),
        ],
        &[],
    )
}

fn doorbell() -> Value {
    object(
        &[
            ("name", text()),
            ("kind", text()),
            ("seconds", number()),
            ("error", maybe(text())),
            ("remedy", maybe(text())),
        ],
        &[],
    )
}

fn backup() -> Value {
    object(
        &[("file", text()), ("bytes", count()), ("store", text()), ("without", list(text()))],
        &[],
    )
}

fn presence() -> Value {
    object(
        &[
            ("resource", text()),
            ("holder", text()),
            ("purpose", text()),
            ("since", time()),
            ("until", maybe(time())),
        ],
        &[],
    )
}

fn presences() -> Value {
    object(&[("presence", list(presence()))], &[])
}

fn presence_released() -> Value {
    object(&[("resource", text()), ("holder", text()), ("released", flag())], &[])
}

fn diff() -> Value {
    object(
        &[
            ("run", text()),
            ("issue", text()),
            ("base", text()),
            ("commit", text()),
            ("commits", list(text())),
            ("landed", flag()),
            ("patch", text()),
        ],
        &[],
    )
}

fn verified() -> Value {
    let check = object(
        &[
            ("what", text()),
            ("state", one_of(&["holds", "broken", "unknown"])),
            ("told", list(text())),
        ],
        &[],
    );
    object(
        &[
            ("file", text()),
            ("issue", text()),
            ("run", text()),
            ("head", maybe(text())),
            ("signed_by", maybe(text())),
            ("sound", flag()),
            ("incomplete", maybe(text())),
            ("checks", list(check)),
            ("flaws", list(json!({}))),
        ],
        &[],
    )
}

fn replayed() -> Value {
    let chain = either(&[
        object(&[("chain", json!({ "const": "whole" }))], &[]),
        object(&[("chain", json!({ "const": "broken" })), ("row", count()), ("why", text())], &[]),
    ]);
    let kept = object(&[("kept", one_of(&["same", "differs", "unreadable"]))], &[("why", text())]);
    let replayed = object(
        &[
            ("rows", count()),
            ("decisions", count()),
            ("differences", list(record("A decision that this program would make otherwise."))),
        ],
        &[],
    );
    object(
        &[
            ("run", text()),
            ("issue", text()),
            ("chain", chain),
            ("kept", maybe(kept)),
            ("replayed", maybe(replayed)),
        ],
        &[],
    )
}

fn ticked() -> Value {
    let failed = object(&[("run", text()), ("error", text())], &[]);
    object(
        &[
            ("admitted", list(text())),
            ("would_be_admitted", list(text())),
            ("passed", list(text())),
            ("elsewhere", list(text())),
            ("failed", list(failed)),
            ("not_dispatched", maybe(text())),
            ("rung", count()),
            ("not_rung", count()),
            ("given_up", count()),
        ],
        &[],
    )
}

fn demo() -> Value {
    let phase = object(&[("phase", text()), ("ms", count())], &[]);
    object(
        &[
            ("scenario", text()),
            ("outcome", text()),
            ("as_expected", flag()),
            ("agent", text()),
            ("run", maybe(text())),
            ("issue", text()),
            ("commit", maybe(text())),
            ("attempts", count()),
            ("forge", maybe(record("The fake forge: `kind`, `url`, `requests`, `mistakes`."))),
            ("held", maybe(record("The next issue, and the gates that refuse it."))),
            ("restart", maybe(record("The kill in mid-turn, and which process continued."))),
            ("evidence", maybe(text())),
            ("why", text()),
            ("folder", text()),
            ("sandbox", text()),
            ("phases", list(phase)),
            ("wall_ms", count()),
        ],
        &[],
    )
}

fn token() -> Value {
    let limits = record("Its limits: `requests_per_minute`, `concurrency`, `usd_per_day`.");
    object(
        &[("name", text()), ("scopes", list(text())), ("limits", limits), ("created_at", time())],
        &[],
    )
}

fn t3_checked() -> Value {
    let step = object(&[("step", text()), ("says", text()), ("failed", flag())], &[]);
    object(&[("name", text()), ("steps", list(step))], &[])
}

fn t3_paired() -> Value {
    object(
        &[
            ("name", text()),
            ("file", text()),
            ("scope", text()),
            ("days", json!({ "type": "integer" })),
        ],
        &[],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args;

    /// Collects the names of the commands that can be run without a subcommand.
    fn leaves(command: &clap::Command, name: &str, found: &mut Vec<String>) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let name = format!("{name} {}", sub.get_name());
            if !sub.has_subcommands() || !sub.is_subcommand_required_set() {
                found.push(name.trim().to_owned());
            }
            leaves(sub, &name, found);
        }
    }

    #[test]
    fn every_command_has_a_shape_or_a_reason_why_not() {
        let mut commands = Vec::new();
        leaves(&args::command(), "", &mut commands);
        let all = all();
        let known = |name: &str| {
            all.iter().any(|(one, _)| *one == name)
                || NO_DOCUMENT.iter().any(|(one, _)| *one == name)
        };
        let missing: Vec<_> = commands.iter().filter(|name| !known(name)).collect();
        assert!(missing.is_empty(), "no shape: {missing:?}");
        for (name, schema) in &all {
            assert!(commands.iter().any(|one| one == name), "{name} is not a command");
            assert_eq!(schema["type"], "object", "{name}");
        }
    }
}
