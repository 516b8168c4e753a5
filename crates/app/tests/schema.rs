//! `config check` and `config schema` agree on every document.
//!
//! A valid document is changed at random places: keys added, renamed and taken out, values of
//! another type or out of range. Then
//!
//! - what the schema refuses, the check refuses;
//! - what the loader refuses, the schema refuses.
//!
//! The schema accepts what only the check can judge ([`Config::mistakes`]): whether a name is known
//! elsewhere, an address or a pattern can be used, and keys fit each other. It also accepts a
//! missing key that a pattern or an included file could supply.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::LazyLock;

use afk_app::config::{Compose as _, Config, Problem, Sources, load};
use afk_app::settings::problems;
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};

static SCHEMA: LazyLock<Value> = LazyLock::new(Config::schema);
static VALIDATOR: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::draft202012::new(&SCHEMA).unwrap());

/// A document with keys of every kind.
const WHOLE: &str = r##"
kill_switch = false
allowlist = ["acme/site", "acme/api"]
shadow = true
ready_label = "ready"
default_priority = -1
max_concurrent_runs = 3
budget_usd = 12.5
day_budget_usd = "40.25"
repo_day_budget_usd = 30
poll_seconds = 30
sandbox = "preferred"
base_health = "wait"
data_dir = "/srv/afk"
kept_workspaces_gib = 10
evidence_key = { file = "/run/key" }
default_owner = "acme"

[trust]
least = "maintain"
allow_ids = ["7", "7"]

[[notify]]
kind = "terminal"
[[notify]]
name = "team"
kind = "slack"
token = { command = ["pass", "slack"] }
channel = "#afk"
done = false

[http]
listen = "127.0.0.1:8790"
url = "https://afk.example"

[gateway]
enabled = true
listen = "[::1]:8791"
max_concurrency = 2
chat_budget_usd = 1.5
warm = { least = 0, total = 2 }

[vault]
url = "https://vault:8200"
kubernetes = { role = "afk" }

[forges.hub]
kind = "github"
app = { id = 7, key = { vault = "secret/afk/hub#key" }, installation = 9 }
[forges.forgejo]
url = "https://code.example"
token = { env = "FORGEJO_TOKEN" }

[agents.claude]
model = "opus"
permissions = "ask"
network = ["crates.io", "*.example.com:8443"]
[agents.far]
kind = "t3"
url = "http://127.0.0.1:3773"
token = { env = "T3" }
lands = "agent"
[agents.own]
kind = "acp"
command = ["/opt/agent", "--acp"]
api = "openai"
api_key = { env = "KEY" }
env = { A = "1" }
secret_env = { B = { file = "/run/b" } }
read = ["/opt"]

[repos."acme/site"]
remote = "https://code.example/acme/site.git"
remote_token = { env = "TOKEN" }
tracker = "forgejo"
agent = "far"
names = { hub = "Acme/Site" }
verify = ["make", "test"]
verify_timeout_seconds = 600
landing = "tested"
history = "merge"
author = "The bot <bot@acme.example>"
budget_usd = 5
freeze_repo = false
read = ["/opt"]
network = { agent = "model", verify = true }
hooks = { after_create = ["make", "setup"] }
proof = { junit = "report.xml", repeats = 2, red = "any", least = "proven", build = ["make"] }
guardrails = { max_files = 10, deny = ["infra/**"] }
stages = [
    { name = "ci", command = ["make", "ci"], before_landing = true, timeout_seconds = 60 },
    { name = "checks", kind = "checks", required = ["build"], settle_seconds = 5 },
    { name = "up", kind = "rollout", workload = "deployment/site", namespace = "web" },
    { name = "page", kind = "http", url = "https://acme.example/{short}", failure_statuses = [500] },
]

[repos."acme/api"]
remote = "/srv/api"
verify = "none"
stages = [{ name = "ci", command = ["true"] }]
"##;

/// That document, with settings that repos share.
const LIKE: &str = r#"
allowlist = ["acme/site"]
[repos_like."acme/*"]
remote = "https://code.example/{owner}/{name}.git"
verify = ["make", "test"]
stages = [{ name = "ci", command = ["make", "ci"] }]
[repos_like."*/*"]
history = "squash"
[repos."acme/api"]
verify = "none"
"#;

fn document(text: &str) -> Value {
    let table: toml::Table = text.parse().unwrap();
    serde_json::to_value(table).unwrap()
}

/// What the program says of a document: why it cannot be loaded, and what is wrong beyond types.
fn told(document: &Value) -> (Vec<Problem>, Vec<Problem>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("afk.toml");
    std::fs::write(&file, toml::to_string(document).unwrap()).unwrap();
    match load::<Config>(&Sources { file: Some(file), ..Sources::default() }) {
        Err(errors) => (errors.problems, Vec::new()),
        Ok(loaded) => (Vec::new(), problems(&loaded)),
    }
}

/// Compares what program and schema say of a document. An error tells how they disagree.
fn compare(document: &Value) -> Result<(), String> {
    let (unread, wrong) = told(document);
    let refused: Vec<_> = VALIDATOR.iter_errors(document).map(|e| e.to_string()).collect();
    let told = |problems: &[Problem]| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    if !refused.is_empty() && unread.is_empty() && wrong.is_empty() {
        return Err(format!("the schema alone refuses it: {}", refused.join("\n")));
    }
    // A pattern could give what is missing.
    let shared = document.get("repos_like").is_some();
    let read = unread.iter().filter(|one| !(shared && one.what.starts_with("lacks the key")));
    if refused.is_empty() && read.count() > 0 {
        return Err(format!("the loader alone refuses it: {}", told(&unread)));
    }
    Ok(())
}

#[test]
fn what_is_valid_is_valid_for_both() {
    for text in [WHOLE, LIKE, ""] {
        let document = document(text);
        let (unread, wrong) = told(&document);
        assert_eq!((unread, wrong), (vec![], vec![]), "{text}");
        let refused: Vec<_> = VALIDATOR.iter_errors(&document).map(|e| e.to_string()).collect();
        assert!(refused.is_empty(), "{refused:#?}");
    }
}

#[test]
fn a_pattern_that_no_repo_matches_needs_a_stage() {
    let mut document = document(LIKE);
    document["repos"] = json!({});
    document["repos_like"]["acme/*"]["stages"] = json!([]);
    assert_eq!(compare(&document), Ok(()));
    assert_eq!(told(&document).0.len(), 1);
}

/// Values that are wrong by themselves: both refuse each.
#[test]
#[allow(clippy::too_many_lines, reason = "most of it is the table")]
fn what_is_out_of_range_is_refused_by_both() {
    for (pointer, value) in [
        ("/ready_label", json!(" ")),
        ("/human_label", json!("")),
        ("/max_concurrent_runs", json!(-1)),
        ("/max_concurrent_runs", json!(4_294_967_296_u64)),
        ("/max_concurrent_runs", json!(1.5)),
        ("/budget_usd", json!(-0.5)),
        ("/budget_usd", json!(1_000_000_000)),
        ("/budget_usd", json!("12.1234567")),
        ("/budget_usd", json!("a lot")),
        ("/allowlist/0", json!("site")),
        ("/allowlist/0", json!("../site")),
        ("/evidence_key", json!({ "env": "MY-KEY" })),
        ("/evidence_key", json!({ "file": "key" })),
        ("/evidence_key", json!({ "command": [] })),
        ("/evidence_key", json!({ "command": [""] })),
        ("/evidence_key", json!({ "vault": "secret/afk" })),
        ("/evidence_key", json!({ "env": "A", "file": "/b" })),
        ("/evidence_key", json!("sk-secret")),
        ("/http/listen", json!("127.0.0.1")),
        ("/http/listen", json!("256.0.0.1:80")),
        ("/http/listen", json!("127.0.0.1:65536")),
        ("/gateway/max_concurrency", json!(0)),
        ("/gateway/chat_budget_usd", json!(0)),
        ("/gateway/listen", json!("here")),
        ("/agents/claude/network", json!("closed")),
        ("/agents/claude/network", json!(["not a host"])),
        ("/agents/claude/lands", json!("agent")),
        ("/agents/a b", json!({ "kind": "claude" })),
        (
            "/repos/acme",
            json!({ "remote": "/r", "verify": "none", "stages": [{ "name": "a", "command": ["b"] }] }),
        ),
        ("/repos/acme~1site/author", json!("nobody")),
        ("/repos/acme~1site/verify", json!([])),
        ("/repos/acme~1site/verify", json!([""])),
        ("/repos/acme~1site/verify", json!("some")),
        ("/repos/acme~1site/stages", json!([])),
        ("/repos/acme~1site/hooks/after_run", json!([""])),
        ("/repos/acme~1site/proof/repeats", json!(1)),
        ("/repos/acme~1site/proof/repeats", json!(21)),
        ("/repos/acme~1site/proof/fetch", json!([])),
        ("/repos/acme~1site/stages/3/failure_statuses", json!([70_000])),
    ] {
        let mut document = document(WHOLE);
        *place(&mut document, pointer) = value.clone();
        let (unread, wrong) = told(&document);
        assert!(unread.len() + wrong.len() > 0, "the check takes {pointer} = {value}");
        assert!(!VALIDATOR.is_valid(&document), "the schema takes {pointer} = {value}");
    }
}

/// Texts that must have a form, good and bad: both say the same of each.
#[test]
#[allow(clippy::too_many_lines, reason = "most of it is the table")]
fn texts_are_read_alike() {
    let cases: [(&str, &[&str]); 6] = [
        (
            "/http/listen",
            &[
                "0.0.0.0:0",
                "01.2.3.4:80",
                "1.2.3.4:00080",
                "1.2.3.4:99999",
                "[::]:1",
                "[1::2:3]:4",
                "[1:2:3:4:5:6:7:8]:9",
                "[1:2:3:4:5:6:7::]:9",
                "[::ffff:1.2.3.4]:5",
                "[1:2:3:4:5:6:7:8:9]:1",
                "[fe80::1%2]:3",
                "[1::2::3]:4",
                "localhost:80",
                "::1:80",
                "[::1]",
                " 1.2.3.4:5",
            ],
        ),
        (
            "/allowlist/0",
            &[
                "a/b", "a.b/c_d", "./b", "../b", ".../b", ".a/..b", "-a/b", "a/-b", "a/b/c", "a/",
                "é/b", "a/b ",
            ],
        ),
        (
            "/budget_usd",
            &["1", "$1.5", " $2 ", "1.", ".5", "1e3", "0001", "$", "-1", "1.000001", "1,5"],
        ),
        (
            "/evidence_key/vault",
            &[
                "a/b#c", "a/b/c#d", "a#b", "/b#c", "a/b#", "a/../b#c", "a/b#..", "a/b#c/d",
                "a/b c#d", "a/b#c#d", "a/.b#c", "a/...#c",
            ],
        ),
        (
            "/agents/claude/network/0",
            &[
                "a.b",
                "*.a.b",
                "*",
                "a..b",
                "a.b:80",
                "a.b:0",
                "a.b:65536",
                "1.2.3.4",
                "1.2.3.4:80",
                "1.2.3",
                "0x7f",
                "a.0xf",
                "::1",
                "[::1]",
                "[::1]:8",
                "A.B",
                "a_b-c",
                "a.",
                "1a",
                "a.0",
                "a b",
                "",
            ],
        ),
        (
            "/repos/acme~1site/author",
            &[
                "a <b>",
                "a<b>",
                "<b>",
                "a <>",
                "a <b> ",
                "a <b c>",
                ". <b>",
                "a. <b>",
                "a b <c@d>",
                "a <b",
                "a <b>c",
                "a\u{200b}b <c>",
                "a <<b>>",
                "\"a\" <b>",
            ],
        ),
    ];
    for (pointer, texts) in cases {
        let mut taken = 0;
        for text in texts {
            let mut document = document(WHOLE);
            if pointer == "/evidence_key/vault" {
                document["evidence_key"] = json!({});
            }
            *place(&mut document, pointer) = json!(text);
            let read = told(&document).0.is_empty();
            assert_eq!(
                read,
                VALIDATOR.is_valid(&document),
                "{pointer} = {text:?}: the check says {read}"
            );
            taken += usize::from(read);
        }
        assert!(taken > 0 && taken < texts.len(), "{pointer}: {taken} of {}", texts.len());
    }
}

#[test]
fn a_pattern_is_read_whether_or_not_a_repo_uses_it() {
    let mut document = document(LIKE);
    document["repos_like"]["other/*"] = json!({ "history": "flat", "proof": { "repeats": "two" } });
    let said: Vec<_> =
        told(&document).0.iter().map(|one| format!("{}: {}", one.key, one.what)).collect();
    assert_eq!(
        said,
        [
            "repos_like.\"other/*\".history: must be `squash` or `merge`",
            "repos_like.\"other/*\".proof.repeats: must be a whole number from 0 up; found text",
        ]
    );
    assert!(!VALIDATOR.is_valid(&document));
}

/// The value at a pointer, created if it is not there.
fn place<'v>(document: &'v mut Value, pointer: &str) -> &'v mut Value {
    pointer.split('/').skip(1).fold(document, |value, word| {
        let word = word.replace("~1", "/");
        match value {
            Value::Array(items) => &mut items[word.parse::<usize>().unwrap()],
            other => other.as_object_mut().unwrap().entry(word).or_insert_with(|| json!({})),
        }
    })
}

/// The pointers to every value in a document.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let escaped = |word: &str| word.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(table) => {
            table
                .iter()
                .for_each(|(key, inner)| places(inner, &format!("{at}/{}", escaped(key)), found));
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(n, inner)| places(inner, &format!("{at}/{n}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// One change of a document.
#[derive(Debug, Clone)]
enum Change {
    /// The value becomes another.
    Replace(prop::sample::Index, Value),
    /// A table gets another key.
    Add(prop::sample::Index, String, Value),
    /// The key or item goes.
    Remove(prop::sample::Index),
    /// A key moves to another place.
    Move(prop::sample::Index, prop::sample::Index),
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(true)),
        any::<i64>().prop_map(|n| json!(n)),
        (-3_i64..70_000).prop_map(|n| json!(n)),
        (-3_i64..300).prop_map(|n| json!(n as f64)),
        (-9.0..9e9).prop_map(|n: f64| json!(n)),
        prop::sample::select(vec![
            "", " ", "none", "claude", "ask", "tested", "a/b", "12.50", "/a", "*"
        ])
        .prop_map(|text| json!(text)),
        "[ -~]{0,12}".prop_map(|text| json!(text)),
        Just(json!([])),
        Just(json!(["a", "b"])),
        Just(json!([1])),
        Just(json!([{}])),
        Just(json!({})),
        Just(json!({ "env": "A" })),
        Just(json!({ "a": 1 })),
    ]
}

fn changes() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    let keys: Vec<String> = {
        let (mut found, mut keys) = (Vec::new(), Vec::new());
        places(&document(WHOLE), "", &mut found);
        keys.extend(found.iter().filter_map(|at| Some(at.rsplit_once('/')?.1.replace("~1", "/"))));
        keys.retain(|key| key.parse::<usize>().is_err());
        keys.extend(["unknown", "Kind", "repos_like", "script", "-a/b", "a b"].map(str::to_owned));
        keys
    };
    prop_oneof![
        3 => (at(), values()).prop_map(|(at, value)| Change::Replace(at, value)),
        3 => (at(), prop::sample::select(keys), values())
            .prop_map(|(at, key, value)| Change::Add(at, key, value)),
        2 => at().prop_map(Change::Remove),
        2 => (at(), at()).prop_map(|(from, to)| Change::Move(from, to)),
    ]
}

fn apply(document: &mut Value, change: Change) {
    let mut found = Vec::new();
    places(document, "", &mut found);
    let below = &found[1..];
    match change {
        Change::Replace(at, value) if !below.is_empty() => {
            *place(document, pick(at, below)) = value;
        }
        Change::Remove(at) if !below.is_empty() => drop(taken(document, pick(at, below))),
        Change::Move(from, to) if !below.is_empty() => {
            let from = pick(from, below);
            let (key, value) = taken(document, from);
            let mut found = Vec::new();
            places(document, "", &mut found);
            if let (Value::Object(table), Some(key)) = (place(document, pick(to, &found)), key) {
                table.insert(key, value);
            }
        }
        Change::Add(at, key, value) => match place(document, pick(at, &found)) {
            Value::Object(table) => drop(table.insert(key, value)),
            Value::Array(items) => items.push(value),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        },
        Change::Replace(..) | Change::Remove(_) | Change::Move(..) => {}
    }
}

fn pick(index: prop::sample::Index, places: &[String]) -> &str {
    let place: &String = index.get(places);
    place
}

/// Takes out what is at a pointer: its key, if it has one, and the value.
fn taken(document: &mut Value, pointer: &str) -> (Option<String>, Value) {
    let (outer, word) = pointer.rsplit_once('/').unwrap();
    let word = word.replace("~1", "/");
    match place(document, outer) {
        Value::Object(table) => {
            let value = table.remove(&word).unwrap_or_default();
            (Some(word), value)
        }
        Value::Array(items) => (None, items.remove(word.parse().unwrap())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (None, Value::Null),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_say_the_same_of_every_document(
        like in any::<bool>(),
        changes in prop::collection::vec(changes(), 1..4),
    ) {
        let mut document = document(if like { LIKE } else { WHOLE });
        for change in changes {
            apply(&mut document, change);
        }
        // A folder is not part of the document.
        if let Some(table) = document.as_object_mut() {
            table.remove("include_dir");
        }
        prop_assume!(document.is_object());
        prop_assert_eq!(compare(&document), Ok(()), "{}", toml::to_string(&document).unwrap());
    }
}
