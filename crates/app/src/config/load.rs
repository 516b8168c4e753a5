//! From file and variables to the type that holds the keys, or to every reason
//! why not.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::env::{self, Meant, Variable};
use super::problem::{ConfigErrors, Origin, Problem};
use super::schema::{Child, Node, nearest};

/// A configuration is at most this long.
const MAX_FILE: u64 = 1024 * 1024;
/// Wrong values that are looked for, one after the other.
const MAX_PROBLEMS: usize = 50;

/// What a configuration is made of. Later ones win: the file, the mounted
/// directory, the environment.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The TOML file; `None` is one without a key.
    pub file: Option<PathBuf>,
    /// A directory of files named like variables, such as a mounted `ConfigMap`.
    pub mounted: Option<PathBuf>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// Further names of variables, with the dotted key that each stands for.
    pub aliases: Vec<(&'static str, &'static str)>,
}

/// A configuration that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded<T> {
    /// The keys.
    pub config: T,
    /// What is odd and does no harm: variables that name no key.
    pub warnings: Vec<Problem>,
    /// Those of them that are spelt like a key: whoever gave one meant that key.
    pub mistyped: Vec<Problem>,
}

/// Loads the configuration, or says everything that is wrong with it.
pub fn load<T>(sources: &Sources) -> Result<Loaded<T>, ConfigErrors>
where
    T: DeserializeOwned + JsonSchema,
{
    let schema = schemars::schema_for!(T).to_value();
    let root = Node::root(&schema);
    let mut draft = Draft::default();
    if let Some(path) = &sources.file {
        draft.read_file(path, &root);
    }
    let mut variables = Vec::new();
    if let Some(directory) = &sources.mounted {
        match env::mounted(directory) {
            Ok(found) => variables.extend(found),
            Err(problem) => draft.problems.push(problem),
        }
    }
    variables.extend(env::variables(&sources.env));
    for variable in &variables {
        draft.apply(variable, &root, &sources.aliases);
    }
    let config = draft.deserialize();
    match config {
        Some(config) if draft.problems.is_empty() => {
            Ok(Loaded { config, warnings: draft.warnings, mistyped: draft.mistyped })
        }
        Some(_) | None => Err(ConfigErrors { problems: in_order(draft.problems) }),
    }
}

/// The text of one key at the top level, where the whole cannot be loaded: none where nobody
/// gave it.
///
/// Decides nothing about the rest. An error where the key may have been given and cannot be
/// read: then nobody knows, and a default would be a guess.
pub fn salvage<T: JsonSchema>(sources: &Sources, key: &str) -> Result<Option<String>, Unknown> {
    let schema = schemars::schema_for!(T).to_value();
    let root = Node::root(&schema);
    let mut draft = Draft::default();
    if let Some(path) = &sources.file {
        let text = read_text(path).map_err(|_| Unknown)?;
        let (parsed, errors) = DeTable::parse_recoverable(&text);
        let at = |_| Origin::Default;
        draft.table = draft.check_table(parsed.get_ref(), Some(&root), &mut Vec::new(), &at);
        // What is no TOML may have lost the key, made one up, or have it twice: only a line
        // that is whole by itself counts.
        if !errors.is_empty() {
            let lines = text.lines().filter(|line| line.trim_start().starts_with(key));
            let given: Vec<_> = lines.map(str::parse::<Table>).collect();
            let found = draft.table.get(key);
            match given.as_slice() {
                [] if found.is_none() => {}
                [Ok(one)] if found.is_some() && one.get(key) == found => {}
                _ => return Err(Unknown),
            }
        }
    }
    let mut variables = Vec::new();
    if let Some(directory) = &sources.mounted {
        variables.extend(env::mounted(directory).map_err(|_| Unknown)?);
    }
    variables.extend(env::variables(&sources.env));
    for variable in &variables {
        draft.apply(variable, &root, &sources.aliases);
    }
    match draft.table.remove(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Unknown),
    }
}

/// A key that may have been given, and cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

#[derive(Debug, Default)]
struct Draft {
    table: Table,
    /// Where each key of the table was given, by its path.
    origins: BTreeMap<Vec<String>, Origin>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    mistyped: Vec<Problem>,
}

impl Draft {
    fn read_file(&mut self, path: &Path, root: &Node<'_>) {
        let origin = |place| Origin::File { path: path.to_owned(), place };
        let text = match read_text(path) {
            Ok(text) => text,
            Err(what) => {
                let key = String::new();
                self.problems.push(Problem { origin: origin(None), key, what });
                return;
            }
        };
        let at = |offset: usize| origin(Some(place(&text, offset)));
        let (parsed, errors) = DeTable::parse_recoverable(&text);
        if !errors.is_empty() {
            for error in errors {
                let origin = error.span().map_or_else(|| origin(None), |span| at(span.start));
                let what = format!("is not TOML: {}", error.message());
                self.problems.push(Problem { origin, key: String::new(), what });
            }
            return;
        }
        self.table = self.check_table(parsed.get_ref(), Some(root), &mut Vec::new(), &at);
    }

    /// The table without its unknown keys, which are named.
    fn check_table(
        &mut self,
        table: &DeTable<'_>,
        node: Option<&Node<'_>>,
        path: &mut Vec<String>,
        at: &impl Fn(usize) -> Origin,
    ) -> Table {
        let mut known = Table::new();
        let mut keys: Vec<_> = table.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in keys {
            let name = key.get_ref().to_string();
            let origin = at(key.span().start);
            path.push(name.clone());
            let child = node.map_or(Child::Any, |node| node.child(&name));
            let inner = match child {
                Child::Known(child) => Some(Some(child)),
                Child::Any => Some(None),
                Child::Unknown => None,
            };
            if let Some(inner) = inner {
                self.origins.insert(path.clone(), at(value.span().start));
                let value = self.check_value(value, inner.as_ref(), path, at);
                known.insert(name, value);
            } else {
                let known = node.map(Node::keys).unwrap_or_default();
                let what = match nearest(&name, known.iter().copied()) {
                    Some(key) => format!("is no key; did you mean `{key}`?"),
                    None => format!("is no key; known here: {}", known.join(", ")),
                };
                self.problems.push(Problem { origin, key: path.join("."), what });
            }
            path.pop();
        }
        known
    }

    fn check_value(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        node: Option<&Node<'_>>,
        path: &mut Vec<String>,
        at: &impl Fn(usize) -> Origin,
    ) -> Value {
        match value.get_ref() {
            DeValue::Table(table) => Value::Table(self.check_table(table, node, path, at)),
            DeValue::Array(array) => {
                let item = node.and_then(Node::item);
                let mut values = Vec::with_capacity(array.len());
                for (n, value) in array.iter().enumerate() {
                    path.push(n.to_string());
                    self.origins.insert(path.clone(), at(value.span().start));
                    values.push(self.check_value(value, item.as_ref(), path, at));
                    path.pop();
                }
                Value::Array(values)
            }
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(on) => Value::Boolean(*on),
            DeValue::Datetime(time) => Value::Datetime(*time),
            DeValue::Integer(number) => {
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => Value::Integer(number),
                    Err(_) => self.out_of_range(value, path, at),
                }
            }
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => Value::Float(number),
                Ok(_) | Err(_) => self.out_of_range(value, path, at),
            },
        }
    }

    fn out_of_range(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        path: &[String],
        at: &impl Fn(usize) -> Origin,
    ) -> Value {
        let what = "is not a number that can be used here".to_owned();
        let origin = at(value.span().start);
        self.problems.push(Problem { origin, key: path.join("."), what });
        Value::Integer(0)
    }

    fn apply(&mut self, variable: &Variable, root: &Node<'_>, aliases: &[(&str, &str)]) {
        match env::meaning(variable, root, aliases) {
            Meant::Value(path, value) => {
                env::put(&mut self.table, &path, value);
                self.origins.retain(|known, _| !known.starts_with(&path));
                self.origins.insert(path, variable.origin.clone());
            }
            Meant::Nothing => {}
            Meant::Wrong(problem) => self.problems.push(problem),
            Meant::Stray(problem, mistyped) => {
                self.mistyped.extend(mistyped.then(|| problem.clone()));
                self.warnings.push(problem);
            }
        }
    }

    /// Each wrong value is reported and taken out, so that the next one shows.
    fn deserialize<T: DeserializeOwned>(&mut self) -> Option<T> {
        for _ in 0..MAX_PROBLEMS {
            let value = Value::Table(self.table.clone());
            let error = match serde_path_to_error::deserialize::<_, T>(value) {
                Ok(config) => return Some(config),
                Err(error) => error,
            };
            let path: Vec<_> = error.path().iter().filter_map(segment).collect();
            let path = self.given(path);
            let found = get(&self.table, &path);
            let what = describe(error.inner().message(), found);
            let origin = self.origins.get(&path).cloned().unwrap_or(Origin::Default);
            self.problems.push(Problem { origin, key: path.join("."), what });
            if !remove(&mut self.table, &path) {
                return None;
            }
        }
        None
    }

    /// The longest beginning of `path` that somebody gave.
    fn given(&self, mut path: Vec<String>) -> Vec<String> {
        while !path.is_empty() && !self.origins.contains_key(&path) {
            path.pop();
        }
        path
    }
}

/// Those of the file by their place, the others after them as they came.
fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| match problem.origin {
        Origin::File { place, .. } => (0, place),
        Origin::Variable { .. } | Origin::Mounted { .. } | Origin::Default => (1, None),
    });
    problems
}

fn segment(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

/// Serde quotes the text it found, which may be a secret in the wrong place.
fn describe(message: &str, found: Option<&Value>) -> String {
    let quotes = message.starts_with("invalid type: ") || message.starts_with("invalid value: ");
    match (found, message.rsplit_once(", expected ")) {
        (Some(value), Some((_, expected))) if quotes => {
            let shown = match value {
                Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => {
                    format!("{} {value}", value.type_str())
                }
                Value::String(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
                    value.type_str().to_owned()
                }
            };
            format!("must be {}; found {shown}", in_words(expected))
        }
        (Some(_) | None, Some(_) | None) => message.trim().to_owned(),
    }
}

/// What serde expects, without the names of Rust's types.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0 up",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        other if other.starts_with("struct ") => "a table",
        other => other,
    }
}

fn get<'t>(table: &'t Table, path: &[String]) -> Option<&'t Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(table.get(first)?, |value, word| match value {
        Value::Table(table) => table.get(word),
        Value::Array(values) => values.get(word.parse::<usize>().ok()?),
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => None,
    })
}

/// An item of a list goes with the whole list, so that the places of the others
/// stay what they are in the file.
fn remove(table: &mut Table, path: &[String]) -> bool {
    match path {
        [] => false,
        [key] => table.remove(key).is_some(),
        [key, rest @ ..] => match table.get_mut(key) {
            Some(Value::Table(inner)) => remove(inner, rest),
            Some(_) => table.remove(key).is_some(),
            None => false,
        },
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let unreadable = |e: std::io::Error| format!("cannot be read: {e}");
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("is longer than {MAX_FILE} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}

/// Line and column of a byte, from 1.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[start..].chars().count() + 1)
}
