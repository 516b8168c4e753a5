//! Keys given by environment variables, or by mounted files with the same names.
//!
//! `AFK_<KEY>`, with two underscores between the words of a dotted key. Booleans are strict: even a
//! blank one is an error, because a kill switch is never guessed. A blank number or text counts as
//! not given. A list is comma-separated or a TOML array; a table is a TOML inline table. A variable
//! that names no key is a warning and not an error, because schedulers add their own
//! (`AFK_SERVICE_HOST`).

use std::ffi::OsString;
use std::path::Path;

use serde_json::{Number, Value};
use toml::de::DeValue;

use super::NOT_KEYS;
use super::problem::{Origin, Problem};
use super::schema::{Child, Kind, Node, nearest};

/// Maximum length of a mounted file's value.
const MAX_VALUE: u64 = 64 * 1024;

/// A key that was given outside the file.
#[derive(Clone)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// What a variable means.
pub(super) enum VariableMeaning<'a> {
    /// It sets the key to this value.
    Value(Vec<String>, Value),
    /// It sets the key to a table or list, written as TOML, of this schema.
    Toml(Vec<String>, String, Node<'a>),
    /// The variable is blank, and leaves the key unchanged.
    Nothing,
    /// It names a key, but its text is not a value of that key.
    Wrong(Problem),
    /// It names no key; true if it is spelt almost like one.
    Stray(Problem, bool),
}

/// The variables that begin with `AFK_`, sorted by name, and a problem for each whose value is not
/// UTF-8: even if it names no key, nobody knows what was meant.
pub(super) fn variables(env: &[(String, OsString)]) -> (Vec<Variable>, Vec<Problem>) {
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for (name, value) in env {
        if !is_key(name) {
            continue;
        }
        let (name, origin) = (name.clone(), Origin::Variable { name: name.clone() });
        if let Some(value) = value.to_str() {
            found.push(Variable { name, value: value.to_owned(), origin });
        } else {
            let what = "is not UTF-8".to_owned();
            wrong.push(Problem { origin, key: String::new(), what });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    (found, wrong)
}

/// The files in `directory` with names of variables. Links are followed: a mounted `ConfigMap`
/// consists of them.
pub(super) fn mounted(directory: &Path) -> Result<Vec<Variable>, Problem> {
    let wrong = |path: &Path, what: String| Problem {
        origin: Origin::Mounted { path: path.to_owned() },
        key: String::new(),
        what,
    };
    let unreadable = |e: std::io::Error| format!("cannot be read: {e}");
    let entries = std::fs::read_dir(directory).map_err(|e| wrong(directory, unreadable(e)))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| wrong(directory, unreadable(e)))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !is_key(name) {
            continue;
        }
        let size = std::fs::metadata(&path).map_err(|e| wrong(&path, unreadable(e)))?;
        if !size.is_file() || size.len() > MAX_VALUE {
            return Err(wrong(&path, format!("is not a file of at most {MAX_VALUE} bytes")));
        }
        let value = std::fs::read_to_string(&path).map_err(|e| wrong(&path, unreadable(e)))?;
        let value = value.strip_suffix('\n').unwrap_or(&value).to_owned();
        let name = name.to_owned();
        found.push(Variable { name, value, origin: Origin::Mounted { path } });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Whether there is a file in `directory` with the name of a variable.
pub(crate) fn has_mounted(directory: &Path) -> std::io::Result<bool> {
    let mut entries = std::fs::read_dir(directory)?.flatten();
    Ok(entries.any(|entry| entry.file_name().to_str().is_some_and(is_key)))
}

/// Whether a variable of this name may be a key.
fn is_key(name: &str) -> bool {
    name.starts_with("AFK_") && !NOT_KEYS.contains(&name)
}

/// Finds the key and value that `variable` sets. `aliases` maps further names of variables to
/// dotted keys.
pub(super) fn meaning<'a>(
    variable: &Variable,
    root: &Node<'a>,
    aliases: &[(&str, &str)],
) -> VariableMeaning<'a> {
    let alias = aliases.iter().find(|(name, _)| *name == variable.name);
    let plain = || variable.name.strip_prefix("AFK_").unwrap_or_default().to_lowercase();
    let path: Vec<String> = alias.map_or_else(
        || plain().split("__").map(str::to_owned).collect(),
        |(_, key)| key.split('.').map(str::to_owned).collect(),
    );
    let problem =
        |what: String| Problem { origin: variable.origin.clone(), key: path.join("."), what };
    let mut node = root.clone();
    for (depth, word) in path.iter().enumerate() {
        // Entries of a map, such as repos, cannot be named by a variable.
        let named = node.keys().contains(&word.as_str());
        match node.child(word) {
            Child::Known(child) if named => node = child,
            Child::Known(_) | Child::Any | Child::Unknown => {
                let hint = nearest(word, node.keys()).map(|key| {
                    let words = path[..depth].iter().map(String::as_str).chain([key]);
                    let name = words.collect::<Vec<_>>().join("__").to_uppercase();
                    format!("; did you mean AFK_{name}?")
                });
                let mistyped = hint.is_some();
                let hint = hint.unwrap_or_default();
                let stray = problem(format!("names no key and is ignored{hint}"));
                return VariableMeaning::Stray(stray, mistyped);
            }
        }
    }
    match value(&node, &variable.value) {
        Ok(Read::Value(value)) => VariableMeaning::Value(path, value),
        Ok(Read::Toml) => VariableMeaning::Toml(path, variable.value.trim().to_owned(), node),
        Ok(Read::Nothing) => VariableMeaning::Nothing,
        Err(what) => VariableMeaning::Wrong(problem(what)),
    }
}

/// How a variable's text was read.
enum Read {
    /// As this value.
    Value(Value),
    /// As a table or list in TOML.
    Toml,
    /// As blank, which means "not given".
    Nothing,
}

/// Reads the text as a value of a kind that the key takes; an error says what it must be.
fn value(node: &Node<'_>, text: &str) -> Result<Read, String> {
    let kinds = node.kinds();
    let has = |kind| kinds.contains(&kind);
    let text = text.trim();
    if has(Kind::Boolean) {
        match boolean(text) {
            Some(on) => return Ok(Read::Value(Value::Bool(on))),
            None if has(Kind::Text) => {}
            None => {
                let found = if text.is_empty() { "it is blank" } else { "it is neither" };
                return Err(format!("must be 1, true, yes or on, or 0, false, no or off; {found}"));
            }
        }
    }
    if has(Kind::List) {
        return list(node, text);
    }
    if text.is_empty() {
        return Ok(Read::Nothing);
    }
    if has(Kind::Integer)
        && let Ok(number) = text.parse::<i64>()
    {
        return Ok(Read::Value(number.into()));
    }
    if has(Kind::Number)
        && let Some(number) = text.parse().ok().and_then(Number::from_f64)
    {
        return Ok(Read::Value(Value::Number(number)));
    }
    if has(Kind::Table)
        && let Ok(parsed) = DeValue::parse(text)
        && parsed.get_ref().is_table()
    {
        return Ok(Read::Toml);
    }
    if has(Kind::Text) {
        return Ok(Read::Value(text.into()));
    }
    Err(match kinds.first() {
        Some(Kind::Integer) => "must be a whole number".to_owned(),
        Some(Kind::Number) => "must be a number".to_owned(),
        Some(Kind::Table) => "must be a TOML inline table, such as { env = \"NAME\" }".to_owned(),
        Some(Kind::Boolean | Kind::Text | Kind::List) | None => {
            "cannot be set by a variable".to_owned()
        }
    })
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn list(node: &Node<'_>, text: &str) -> Result<Read, String> {
    if text.starts_with('[') {
        return match DeValue::parse(text) {
            Ok(parsed) if parsed.get_ref().is_array() => Ok(Read::Toml),
            Ok(_) | Err(_) => Err("looks like a TOML array but is not valid".to_owned()),
        };
    }
    let item = node.item();
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let values = parts.map(|part| match &item {
        Some(item) => Ok(match value(item, part)? {
            Read::Value(value) => value,
            Read::Toml | Read::Nothing => part.into(),
        }),
        None => Ok(part.into()),
    });
    values.collect::<Result<Vec<_>, String>>().map(|items| Read::Value(Value::Array(items)))
}
