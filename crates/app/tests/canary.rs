//! No message of the loader repeats a value, whatever its key: people write a secret where its
//! source belongs, or into the next line.
//!
//! The keys are those of the real configuration, read off its schema. Each is given a value
//! that must not be repeated, in the file, by a variable and by a mounted file.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeSet;
use std::path::Path;

use afk_app::config::{Compose as _, Config, Sources, load};
use afk_app::settings::problems;
use serde_json::Value as Schema;
use toml::{Table, Value};

/// The planted values that must not be repeated, in upper or lower case: a text, and a number.
const TEXT: &str = "hunter2";
const NUMBER: i64 = 735_560_812_374;

/// A configuration in which every key can be given.
const WHOLE: &str = "
    allowlist = [\"o/r\"]
    [agents.claude]
    [[notify]]
    kind = \"webhook\"
    url = \"https://bell.example/\"
    secret = { env = \"BELL\" }
    [repos.\"o/r\"]
    remote = \"/srv/git/r.git\"
    verify = [\"true\"]
    stages = [{ name = \"ci\", command = [\"ci\"] }]
";

/// The path of every key of the schema, with `o/r` for any entry of a map, and 0 for any item of a
/// list.
fn keys() -> BTreeSet<Vec<String>> {
    let schema = Config::schema();
    let mut found = BTreeSet::new();
    walk(&schema, &schema, &mut Vec::new(), &mut found);
    found
}

fn walk(root: &Schema, node: &Schema, path: &mut Vec<String>, found: &mut BTreeSet<Vec<String>>) {
    assert!(path.len() < 12, "the schema has no end: {path:?}");
    if !path.is_empty() {
        found.insert(path.clone());
    }
    let mut below = |word: &str, node: &Schema| {
        path.push(word.to_owned());
        walk(root, node, path, found);
        path.pop();
    };
    for (key, node) in node["properties"].as_object().into_iter().flatten() {
        below(key, node);
    }
    if node["additionalProperties"].is_object() {
        below("o/r", &node["additionalProperties"]);
    }
    if node["items"].is_object() {
        below("0", &node["items"]);
    }
    if let Some(target) = node["$ref"].as_str() {
        walk(root, root.pointer(&target[1..]).unwrap(), path, found);
    }
    for word in ["allOf", "anyOf", "oneOf"] {
        for node in node[word].as_array().into_iter().flatten() {
            walk(root, node, path, found);
        }
    }
}

/// The values that are planted, of every type.
fn canaries() -> Vec<Value> {
    let text = |text: &str| Value::String(text.replace('*', TEXT));
    let table = Table::from_iter([("x".to_owned(), text("*"))]);
    let source = Table::from_iter([("env".to_owned(), text("sk-*"))]);
    vec![
        text("sk-ant-*"),
        text("*/*"),
        text("https://u:*@host/x"),
        text("[*"),
        text("*\n\"'`, expected *"),
        NUMBER.into(),
        (-NUMBER).into(),
        (NUMBER as f64 + 0.5).into(),
        Value::Array(vec![text("*")]),
        Value::Array(vec![text("[*"), text("[*")]),
        Value::Array(vec![Value::Table(table.clone())]),
        Value::Table(table),
        Value::Table(source),
    ]
}

/// Puts `value` at `path`, in place of what is there.
fn plant(at: &mut Value, path: &[String], value: &Value) {
    let [word, rest @ ..] = path else {
        *at = value.clone();
        return;
    };
    if word == "0" {
        if !at.is_array() {
            *at = Value::Array(Vec::new());
        }
        let items = at.as_array_mut().unwrap();
        if items.is_empty() {
            items.push(Table::new().into());
        }
        return plant(&mut items[0], rest, value);
    }
    if !at.is_table() {
        *at = Table::new().into();
    }
    let inner = at.as_table_mut().unwrap().entry(word).or_insert_with(|| Table::new().into());
    plant(inner, rest, value);
}

/// Loads the configuration, and looks for the planted values in every text that could be shown.
#[track_caller]
fn check(sources: &Sources, about: &str) -> Option<Config> {
    let hidden = |shown: String| {
        let found = shown.to_lowercase().contains(TEXT) || shown.contains(&NUMBER.to_string());
        assert!(!found, "{about}: {shown}");
    };
    hidden(format!("{sources:?}"));
    match load::<Config>(sources) {
        Err(errors) => {
            hidden(format!("{errors} {errors:?}"));
            None
        }
        Ok(loaded) => {
            let problems = problems(&loaded);
            for problem in problems.iter().chain(&loaded.warnings).chain(&loaded.mistyped) {
                hidden(format!("{problem} {problem:?}"));
            }
            hidden(format!("{:?}", loaded.places));
            Some(loaded.config)
        }
    }
}

fn folder() -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let sources = Sources { file: Some(folder.path().join("afk.toml")), ..Sources::default() };
    (folder, sources)
}

fn write(sources: &Sources, text: &str) {
    std::fs::write(sources.file.as_ref().unwrap(), text).unwrap();
}

#[test]
fn no_message_repeats_what_a_file_says_at_any_key() {
    let (_folder, sources) = folder();
    let keys = keys();
    for known in ["kill_switch", "agents claude api_key env", "repos o/r proof tests 0"] {
        let known: Vec<_> = known.split(' ').map(str::to_owned).collect();
        assert!(keys.contains(&known), "{known:?} is not among the keys");
    }
    let mut programs = 0;
    for key in &keys {
        for canary in canaries() {
            let mut whole = Value::Table(WHOLE.parse().unwrap());
            plant(&mut whole, key, &canary);
            write(&sources, &toml::to_string(&whole).unwrap());
            let about = format!("{key:?} = {canary}");
            let taken = check(&sources, &about);
            // The name of a secret's source may be shown, the arguments of its command may not.
            if let Some(config) = taken
                && key.iter().any(|word| word == "command")
                && key.iter().any(|word| word == "api_key" || word == "secret")
                && key.last().unwrap() != "0"
            {
                let shown = format!("{:?} {:?}", config.local.agents, config.remote.notify);
                let named = shown.matches(TEXT).count();
                assert!(named <= 1, "{about}: {shown}");
                programs += named;
            }
        }
    }
    assert!(programs > 0, "no command is taken");
}

#[test]
fn no_message_repeats_what_a_variable_or_a_mounted_file_says() {
    let (folder, mut sources) = folder();
    write(&sources, WHOLE);
    let mounted = folder.path().join("mounted");
    std::fs::create_dir(&mounted).unwrap();
    for key in keys() {
        let name = format!("AFK_{}", key.join("__").to_uppercase());
        for canary in canaries() {
            let text = match &canary {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            sources.env = vec![(name.clone(), text.clone().into())];
            check(&sources, &format!("{name}={text}"));
            if plain(&name) {
                sources.env.clear();
                sources.mounted = Some(mounted.clone());
                std::fs::write(mounted.join(&name), &text).unwrap();
                check(&sources, &format!("{name} holds {text}"));
                std::fs::remove_file(mounted.join(&name)).unwrap();
                sources.mounted = None;
            }
        }
    }
}

fn plain(name: &str) -> bool {
    Path::new(name).components().count() == 1
}

#[test]
fn no_message_repeats_what_is_no_toml() {
    let (_folder, sources) = folder();
    for text in [
        "api_key = hunter2",
        "api_key = 'hunter2",
        "api_key = \"\\hunter2\"",
        "hunter2",
        "[hunter2",
        "a = 1\na = 'hunter2'",
        "a = { b = hunter2 }",
        "a = 12hunter2",
        "a = 1979-99-99hunter2",
        "[[a]]\n[a]\nb = 'hunter2'",
        "\"hunter2\" 7",
    ] {
        write(&sources, text);
        assert!(check(&sources, text).is_none());
    }
}
