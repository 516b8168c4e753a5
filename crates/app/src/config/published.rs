//! The schema of the whole configuration, which `afk config schema` prints and the loader reads the
//! known keys from.
//!
//! Each crate's part is a schema of its own. Here they become one document that says the same as the
//! loader does: no key beside those that some part knows, numbers as large as TOML holds and their
//! types take, no `null`, which TOML does not have. `tests/schema.rs` tries both on the same documents.
//! What the schema cannot say is checked by [`Config::mistakes`](super::Config::mistakes) alone: names
//! that must be known elsewhere, addresses, patterns, and keys that depend on one another.

use afk_core::config::Policy;
use afk_core::forms;
use afk_gateway::GatewayPart;
use afk_local::LocalSettings;
use afk_remote::RemoteSettings;
use schemars::schema_for;
use serde_json::{Map, Value, json};

use super::composed::AppSettings;
use super::fleet::{INCLUDE_DIR, REPOS, REPOS_LIKE};

/// The definitions that together are one repo's table.
const REPO_PARTS: [&str; 2] = ["Repo", "LocalRepo"];

/// The schema of the whole configuration.
pub(super) fn schema() -> Value {
    let parts = [
        schema_for!(Policy),
        schema_for!(LocalSettings),
        schema_for!(RemoteSettings),
        schema_for!(GatewayPart),
        schema_for!(AppSettings),
    ];
    let mut whole = json!({});
    for part in parts {
        merge(&mut whole, as_loaded(part.to_value()));
    }
    join_stages(&mut whole);
    // The gateway does not know the core's words.
    let listen = whole.pointer_mut("/$defs/GatewaySettings/properties/listen");
    if let Some(Value::Object(listen)) = listen {
        listen.insert("pattern".into(), forms::socket_address().into());
    }
    // A pattern may supply what a repo's own table omits.
    let mut required = Vec::new();
    for part in REPO_PARTS {
        if let Some(part) = whole["$defs"][part].as_object_mut()
            && let Some(Value::Array(keys)) = part.remove("required")
        {
            required.extend(keys);
        }
    }
    whole["if"] = json!({ "not": { "anyOf": [
        { "required": [REPOS_LIKE] },
        { "required": [INCLUDE_DIR] },
    ] } });
    whole["then"] =
        json!({ "properties": { REPOS: { "additionalProperties": { "required": required } } } });
    let mut like = whole["properties"][REPOS].clone();
    if let Some(like) = like.as_object_mut() {
        like.remove("propertyNames");
    }
    like["description"] = "Settings shared by repos whose names match a pattern such as \
                           \"owner/*\"; a repo's own table wins, then the longer pattern."
        .into();
    whole["properties"][REPOS_LIKE] = like;
    let open = open_tables(&whole);
    close(&mut whole, &open);
    whole["title"] = "Config".into();
    whole["description"] = "Everything that can be configured.".into();
    whole["additionalProperties"] = false.into();
    whole
}

/// A type's schema as the loader reads the type: without what TOML cannot write, and with the bounds
/// that the loader sets.
pub(super) fn as_loaded(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(table) => {
            without_null(table);
            bound(table);
            name_entries(table);
            // A list that becomes a set may say a thing twice.
            table.remove("uniqueItems");
            for (_, value) in table.iter_mut() {
                *value = as_loaded(value.take());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = as_loaded(item.take())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    schema
}

/// TOML has no null: a key that may be absent is absent.
fn without_null(table: &mut Map<String, Value>) {
    if table.get("default").is_some_and(Value::is_null) {
        table.remove("default");
    }
    if let Some(Value::Array(kinds)) = table.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = kinds.as_slice() {
            let kind = kind.clone();
            table.insert("type".into(), kind);
        }
    }
    if let Some(Value::Array(choices)) = table.get_mut("anyOf") {
        choices.retain(|choice| choice["type"] != "null");
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            table.remove("anyOf");
            for (key, value) in only {
                table.entry(key).or_insert(value);
            }
        }
    }
}

/// Numbers that a type does not hold, or TOML does not write.
fn bound(table: &mut Map<String, Value>) {
    let format = table.get("format").and_then(Value::as_str);
    let most = match format {
        Some("uint32") => i64::from(u32::MAX),
        Some("uint64" | "uint" | "int64") => i64::MAX,
        Some(_) | None => return,
    };
    table.entry("maximum").or_insert_with(|| most.into());
}

/// Names of entries that must have a form: as `propertyNames`, beside which the entries stay under
/// `additionalProperties`.
fn name_entries(table: &mut Map<String, Value>) {
    let Some(Value::Object(patterns)) = table.get("patternProperties") else { return };
    let Some((pattern, entry)) = patterns.iter().next().filter(|_| patterns.len() == 1) else {
        return;
    };
    let (pattern, entry) = (pattern.clone(), entry.clone());
    table.remove("patternProperties");
    table.insert("propertyNames".into(), json!({ "pattern": pattern }));
    table.insert("additionalProperties".into(), entry);
}

/// References to the tables that do not say that they are closed.
fn open_tables(whole: &Value) -> Vec<String> {
    let named = whole["$defs"].as_object().into_iter().flatten();
    let open = named.filter(|(_, table)| {
        table.get("properties").is_some() && table.get("additionalProperties").is_none()
    });
    open.map(|(name, _)| format!("#/$defs/{name}")).collect()
}

/// Closes each table where it is used by itself. Where several make up one, that is closed already.
fn close(schema: &mut Value, open: &[String]) {
    match schema {
        Value::Object(table) => {
            let leads_to_open = |table: &Map<String, Value>| {
                let target = table.get("$ref").and_then(Value::as_str);
                target.is_some_and(|target| open.iter().any(|name| name == target))
            };
            if leads_to_open(table) {
                table.insert("unevaluatedProperties".into(), false.into());
            }
            for (key, value) in table.iter_mut() {
                if key != "allOf" {
                    close(value, open);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| close(item, open)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A stage is what two parts say of it, so that only the keys of both together are known.
fn join_stages(whole: &mut Value) {
    let stages = whole["$defs"]["RemoteRepo"]["properties"].as_object_mut();
    let Some(theirs) = stages.and_then(|keys| keys.remove("stages")) else { return };
    let items = json!({ "items": theirs["items"] });
    merge(&mut whole["$defs"]["Repo"]["properties"]["stages"], items);
}

/// Adds what another part of the schema says. Where both speak of the entries of one table,
/// such as a repo's, or of one list, such as a doorbell, an entry is both.
fn merge(whole: &mut Value, part: Value) {
    let (Value::Object(whole), Value::Object(part)) = (whole, part) else { return };
    for (key, theirs) in part {
        match (key.as_str(), whole.get_mut(&key)) {
            ("properties" | "$defs" | "repos" | "agents" | "notify", Some(ours)) => {
                merge(ours, theirs);
            }
            ("additionalProperties" | "items", Some(ours)) => {
                let mut all = ours["allOf"].as_array().cloned().unwrap_or_default();
                if all.is_empty() {
                    all.push(ours.clone());
                }
                all.push(theirs);
                *ours = json!({ "allOf": all, "unevaluatedProperties": false });
            }
            (_, Some(_)) => {}
            (_, None) => drop(whole.insert(key, theirs)),
        }
    }
}
