//! `schema output`: prints the JSON Schemas of what commands print with `--json`.

use afk_app::Error;
use serde_json::{Map, Value};

use super::Context;
use crate::cli::args::SchemaCommand;
use crate::cli::exit::{Answer, Exit};
use crate::cli::shapes;

pub(super) fn run(context: &Context<'_>, command: &SchemaCommand) -> Answer {
    let SchemaCommand::Output { command } = command;
    let document = if command.is_empty() { everything() } else { of(&command.join(" "))? };
    context.out.say(serde_json::to_string_pretty(&document)?);
    Ok(Exit::Done)
}

/// The schemas of all commands, by their names.
fn everything() -> Value {
    let named = shapes::all().into_iter().map(|(name, schema)| (name.to_owned(), schema));
    let mut all: Map<String, Value> = named
        .map(|(name, schema)| {
            (name.clone(), shapes::document(&format!("afk {name} --json"), &schema))
        })
        .collect();
    let stderr = shapes::document("standard error with --json, a line", &shapes::remark());
    all.insert("stderr".to_owned(), stderr);
    Value::Object(all)
}

fn of(name: &str) -> Answer<Value> {
    let all = shapes::all();
    if let Some((name, schema)) = all.iter().find(|(one, _)| *one == name) {
        return Ok(shapes::document(&format!("afk {name} --json"), schema));
    }
    if let Some((name, why)) = shapes::NO_DOCUMENT.iter().find(|(one, _)| *one == name) {
        return Err(Error::invalid(format!("`afk {name}` prints no document: {why}")));
    }
    let below: Vec<&str> = all
        .iter()
        .filter_map(|(one, _)| one.strip_prefix(name)?.strip_prefix(' ').map(|_| *one))
        .collect();
    if below.is_empty() {
        return Err(Error::invalid(format!(
            "there is no command {name:?} with a document; `afk schema output` lists them all"
        )));
    }
    Err(Error::invalid(format!("which one: {}?", below.join(", "))))
}
