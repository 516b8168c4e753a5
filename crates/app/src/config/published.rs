//! The schema of the whole configuration: `afk config schema` prints it, and the loader reads the
//! known keys from it.
//!
//! Each crate's part has a schema of its own. Here they are joined into one that accepts what the
//! loader accepts: no keys but those of some part, numbers that TOML can write and the type holds,
//! no `null`, which TOML does not have. `tests/schema.rs` tries both on the same documents. What a
//! schema cannot say is checked by [`Config::mistakes`](super::Config::mistakes) alone: names that
//! must be known elsewhere, addresses, patterns, and keys that depend on one another.

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
    // The gateway does not depend on `core`, so it cannot name this form itself.
    let listen = whole.pointer_mut("/$defs/GatewaySettings/properties/listen");
    if let Some(Value::Object(listen)) = listen {
        listen.insert("pattern".into(), forms::socket_address().into());
    }
    // A pattern may supply what a repo's own table omits: keys are only required without patterns.
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
                           \"owner/*\". A repo's own table wins over them, and a longer pattern \
                           over a shorter one."
        .into();
    whole["properties"][REPOS_LIKE] = like;
    let open = open_tables(&whole);
    close(&mut whole, &open);
    whole["title"] = "Config".into();
    whole["description"] = "The configuration of afk.".into();
    whole["additionalProperties"] = false.into();
    whole
}

/// Adapts a type's schema to what the loader accepts: without what TOML cannot write, and with the
/// bounds of numbers.
pub(super) fn as_loaded(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(table) => {
            without_null(table);
            bound(table);
            name_entries(table);
            // A list that is read into a set may repeat an item.
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

/// Removes `null` from types, choices and defaults: in TOML an optional key is absent.
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

/// Sets a maximum for integers: what the type holds, or what TOML can write.
fn bound(table: &mut Map<String, Value>) {
    let format = table.get("format").and_then(Value::as_str);
    let most = match format {
        Some("uint32") => i64::from(u32::MAX),
        Some("uint64" | "uint" | "int64") => i64::MAX,
        Some(_) | None => return,
    };
    table.entry("maximum").or_insert_with(|| most.into());
}

/// Turns a single entry of `patternProperties`, by which names of entries must have a form, into
/// `propertyNames` and `additionalProperties`, where the loader looks for entries.
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

/// References to the tables that do not forbid other keys.
fn open_tables(whole: &Value) -> Vec<String> {
    let named = whole["$defs"].as_object().into_iter().flatten();
    let open = named.filter(|(_, table)| {
        table.get("properties").is_some() && table.get("additionalProperties").is_none()
    });
    open.map(|(name, _)| format!("#/$defs/{name}")).collect()
}

/// Closes each table where it is used by itself. Tables in `allOf` make up one together, which
/// [`merge`] has closed.
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

/// Joins what two parts say of a stage, so that it may have the keys of both and no others.
fn join_stages(whole: &mut Value) {
    let stages = whole["$defs"]["RemoteRepo"]["properties"].as_object_mut();
    let Some(theirs) = stages.and_then(|keys| keys.remove("stages")) else { return };
    let items = json!({ "items": theirs["items"] });
    merge(&mut whole["$defs"]["Repo"]["properties"]["stages"], items);
}

/// Merges another part's schema into the whole. Where both describe the entries of one table, such
/// as `repos`, or the items of one list, such as `notify`, each entry must satisfy both.
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
