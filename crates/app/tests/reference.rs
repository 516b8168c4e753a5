//! The page that lists every key of the configuration is made from the schema, so that it is never
//! out of date. `AFK_UPDATE=1 cargo test -p afk-app --test reference` writes it anew.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use afk_app::config::{Compose as _, Config};
use serde_json::{Map, Value};

/// The tables that are described, each under the name that a person writes.
const TABLES: [(&str, &str); 16] = [
    ("repos.\"OWNER/NAME\"", "/properties/repos/additionalProperties"),
    ("repos.\"OWNER/NAME\".proof", "/$defs/ProofPolicyConfig"),
    ("repos.\"OWNER/NAME\".guardrails", "/$defs/GuardrailPolicy"),
    ("repos.\"OWNER/NAME\".network", "/$defs/NetworkPolicy"),
    ("repos.\"OWNER/NAME\".hooks", "/$defs/Hooks"),
    ("[repos.\"OWNER/NAME\".stages]", "/properties/repos/additionalProperties#stages"),
    ("agents.NAME", "/properties/agents/additionalProperties"),
    ("forges.NAME", "/properties/forges/additionalProperties"),
    ("forges.NAME.app", "/$defs/AppLogin"),
    ("[notify]", "/properties/notify/items"),
    ("trust", "/$defs/TrustPolicy"),
    ("http", "/$defs/HttpSettings"),
    ("gateway", "/$defs/GatewaySettings"),
    ("gateway.warm", "/$defs/WarmSettings"),
    ("vault", "/$defs/VaultSettings"),
    ("vault.kubernetes", "/$defs/KubernetesLogin"),
];

const HEAD: &str = "\
# Every key of the configuration

Made from the schema, which `afk config schema` prints. Each key of the first table is also a variable:
`budget_usd` is `AFK_BUDGET_USD`. See [the configuration](configuration.md) for what belongs together,
and [secrets](secrets.md) for the tables that say where a token or a key comes from.
";

#[test]
fn the_page_lists_every_key() {
    let schema = Config::schema();
    let mut page = HEAD.to_owned();
    let top = keys(&[&schema]);
    let _ = write!(page, "\n## The file\n\n{}{}", rows(&schema, &top), lists(&top));
    let mut shown = Vec::new();
    for (name, pointer) in TABLES {
        let parts = at(&schema, pointer);
        let found = keys(&parts);
        assert!(!found.is_empty(), "{name} has no keys: {pointer}");
        let _ = write!(page, "\n## `[{name}]`\n\n{}{}", rows(&schema, &found), lists(&found));
        shown.extend(parts);
    }
    let mut reached = BTreeMap::new();
    reach(&schema, &schema, &mut reached);
    for (name, table) in reached {
        let is_shown = shown.iter().any(|part| std::ptr::eq(*part, table));
        assert!(is_shown || table.get("properties").is_none(), "{name} is in no table of the page");
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference.md");
    if std::env::var_os("AFK_UPDATE").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == page,
        "docs/reference.md is out of date: AFK_UPDATE=1 cargo test -p afk-app --test reference"
    );
}

/// The schemas of the table that a pointer leads to; with `#` and a key, those of that key's items.
fn at<'s>(schema: &'s Value, pointer: &str) -> Vec<&'s Value> {
    let (pointer, key) = pointer.split_once('#').unwrap_or((pointer, ""));
    let Some(table) = schema.pointer(pointer) else { return Vec::new() };
    let all = parts(schema, table);
    if key.is_empty() {
        return all;
    }
    // Each part that has the key knows some of the keys of its items.
    let items = format!("/properties/{key}/items");
    let items = all.into_iter().filter_map(|part| part.pointer(&items));
    items.flat_map(|items| parts(schema, items)).collect()
}

/// The keys of a table, from all schemas that make it up.
fn keys<'s>(parts: &[&'s Value]) -> BTreeMap<&'s str, &'s Value> {
    let mut found = BTreeMap::new();
    for part in parts {
        let own = part.get("properties").and_then(Value::as_object).into_iter().flatten();
        found.extend(own.map(|(key, value)| (key.as_str(), value)));
    }
    found
}

/// Collects the definitions that a value refers to, directly or through others.
fn reach<'s>(schema: &'s Value, value: &'s Value, found: &mut BTreeMap<&'s str, &'s Value>) {
    match value {
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str);
            if let Some(name) = name.filter(|name| !found.contains_key(name)) {
                let target = followed(schema, value);
                found.insert(name, target);
                reach(schema, target, found);
            }
            let inner = map.iter().filter(|(key, _)| *key != "$defs");
            inner.for_each(|(_, value)| reach(schema, value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| reach(schema, item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The schemas that make up a table, with references followed.
fn parts<'s>(schema: &'s Value, table: &'s Value) -> Vec<&'s Value> {
    let table = followed(schema, table);
    let mut all = vec![table];
    for part in table.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        all.extend(parts(schema, part));
    }
    all
}

fn followed<'s>(schema: &'s Value, value: &'s Value) -> &'s Value {
    let name = value.get("$ref").and_then(Value::as_str);
    let target = name.and_then(|name| schema.pointer(name.trim_start_matches('#')));
    target.unwrap_or(value)
}

fn rows(schema: &Value, keys: &BTreeMap<&str, &Value>) -> String {
    let mut out = "| key | takes | default | |\n| --- | --- | --- | --- |\n".to_owned();
    for (key, value) in keys {
        let text = value.get("description").and_then(Value::as_str);
        let text = text.or_else(|| followed(schema, value).get("description")?.as_str());
        let text = text.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        let text = text.replace('|', "\\|");
        let (takes, default) = (takes(schema, value), default(value));
        let _ = writeln!(out, "| `{key}` | {takes} | {default} | {text} |");
    }
    out
}

/// The type of a key's value, in a few words.
fn takes(schema: &Value, value: &Value) -> String {
    let whole = followed(schema, value);
    if let Some(choices) = whole.get("enum").and_then(Value::as_array) {
        return choices.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(", ");
    }
    if let Some(all) = whole.get("oneOf").or_else(|| whole.get("anyOf")).and_then(Value::as_array) {
        let consts: Vec<String> =
            all.iter().filter_map(|one| Some(format!("`{}`", one.get("const")?))).collect();
        if consts.len() == all.len() {
            return consts.join(", ");
        }
        let mut known: Vec<String> = Vec::new();
        for one in all.iter().filter(|one| one.get("type") != Some(&"null".into())) {
            let one = takes(schema, one);
            if !known.contains(&one) {
                known.push(one);
            }
        }
        return known.join(" or ");
    }
    let one = |kind: &str| match kind {
        "integer" => "a whole number".to_owned(),
        "number" => "a number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" => {
            let items = whole.get("items").map(|items| takes(schema, items));
            match items.as_deref() {
                Some("a table") => "tables".to_owned(),
                Some("text") | None => "a list".to_owned(),
                Some(items) => format!("a list: {items}"),
            }
        }
        "object" => "a table".to_owned(),
        _ => "text".to_owned(),
    };
    match whole.get("type") {
        Some(Value::String(kind)) => one(kind),
        Some(Value::Array(kinds)) => {
            let kinds = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null");
            kinds.map(one).collect::<Vec<_>>().join(" or ")
        }
        Some(_) | None if whole.get("allOf").is_some() => "a table".to_owned(),
        Some(_) | None => "text".to_owned(),
    }
}

/// The default, if it is short enough for the page.
fn default(value: &Value) -> String {
    let is_empty = |map: &Map<String, Value>| map.is_empty();
    match value.get("default") {
        None | Some(Value::Null) => String::new(),
        Some(Value::Object(map)) if is_empty(map) => String::new(),
        Some(Value::Array(list)) if list.is_empty() => "`[]`".to_owned(),
        Some(Value::Object(_) | Value::Array(_)) => "see below".to_owned(),
        Some(plain) => format!("`{plain}`"),
    }
}

/// The lists of texts that are defaults and too long for the table, as a person would write them.
fn lists(keys: &BTreeMap<&str, &Value>) -> String {
    let mut out = String::new();
    for (key, value) in keys {
        let list = value.get("default").and_then(Value::as_array).into_iter().flatten();
        let items: Vec<String> =
            list.filter(|item| item.is_string()).map(|item| format!("    {item},\n")).collect();
        if !items.is_empty() {
            let _ = write!(
                out,
                "\nThe default of `{key}`:\n\n```toml\n{key} = [\n{}]\n```\n",
                items.concat()
            );
        }
    }
    out
}
