//! The keys as written: files and variables merged into one untyped tree. Unknown keys are found
//! here, with the schema.
//!
//! Problems name key and place but never the value: a secret may have been written where something
//! else is expected.

use std::path::Path;

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::env::{self, Variable, VariableMeaning};
use super::fleet::ALLOWLIST;
use super::places::{SourceMap, place};
use super::problem::{Origin, Problem};
use super::schema::{Child, Node, nearest};

/// A configuration under construction.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) tree: Map<String, Value>,
    pub(super) places: SourceMap,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    pub(super) mistyped: Vec<Problem>,
    /// Keys that were reported and left out of `tree`: their absence is not reported as well.
    pub(super) left_out: Vec<Vec<String>>,
}

impl Draft {
    /// Reads the main file.
    pub(super) fn read_main(&mut self, path: &Path, text: String, root: &Node<'_>) {
        if let Some(tree) = self.read(path, &text, root) {
            self.tree = tree;
        }
        self.places.add_file(path, text);
        if self.tree.get(ALLOWLIST).is_some_and(Value::is_array) {
            self.places.add_part(ALLOWLIST, 0, 0);
        }
    }

    /// Parses the text of a file into its known keys; none if it is not TOML.
    pub(super) fn read(
        &mut self,
        path: &Path,
        text: &str,
        root: &Node<'_>,
    ) -> Option<Map<String, Value>> {
        let at = |offset: Option<usize>| Origin::File {
            path: path.to_owned(),
            place: offset.map(|offset| place(text, offset)),
        };
        let (parsed, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            let origin = |offset| at(Some(offset));
            return Some(self.table(parsed.into_inner(), Some(root), &mut Vec::new(), &origin));
        }
        for error in errors {
            let origin = at(error.span().map(|span| span.start));
            // What the parser expected is kept if it is a character, in backquotes, and dropped if
            // it is a word of its grammar.
            let message = error.message();
            let said = match message.split_once(", expected ") {
                Some((said, expected)) if !expected.contains('`') => said,
                Some(_) | None => message,
            };
            let what = format!("is not TOML: {said}");
            self.problems.push(Problem { origin, key: String::new(), what });
        }
        None
    }

    /// Converts a table without its unknown keys, which are reported. Consumes what was parsed as
    /// it goes, so that a fleet is not in memory twice.
    pub(super) fn table(
        &mut self,
        table: DeTable<'_>,
        node: Option<&Node<'_>>,
        path: &mut Vec<String>,
        at: &dyn Fn(usize) -> Origin,
    ) -> Map<String, Value> {
        let mut known = Map::new();
        let mut keys: Vec<_> = table.into_iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in keys {
            let name = key.get_ref().to_string();
            path.push(name.clone());
            let child = node.map_or(Child::Any, |node| node.child(&name));
            let inner = match child {
                Child::Known(child) => Some(Some(child)),
                Child::Any => Some(None),
                Child::Unknown => None,
            };
            let is_list = value.get_ref().is_array();
            if let Some(Some(inner)) = &inner
                && is_list
                && inner.takes_table()
            {
                // Serde would accept a list, and fill the table's keys in their order.
                let origin = at(value.span().start);
                self.problem(origin, path, "must be a table; found a list");
                self.left_out.push(path.clone());
            } else if let Some(inner) = inner {
                let value = self.value(value, inner.as_ref(), path, at);
                known.insert(name, value);
            } else {
                let keys = node.map(Node::keys).unwrap_or_default();
                let what = match nearest(&name, keys.iter().copied()) {
                    Some(key) => format!("is not a known key; did you mean `{key}`?"),
                    None if keys.is_empty() => no_table(node, path),
                    None => format!("is not a known key; known here: {}", keys.join(", ")),
                };
                self.problem(at(key.span().start), path, what);
            }
            path.pop();
        }
        known
    }

    pub(super) fn value(
        &mut self,
        value: Spanned<DeValue<'_>>,
        node: Option<&Node<'_>>,
        path: &mut Vec<String>,
        at: &dyn Fn(usize) -> Origin,
    ) -> Value {
        let start = value.span().start;
        match value.into_inner() {
            DeValue::Table(table) => Value::Object(self.table(table, node, path, at)),
            DeValue::Array(array) => {
                let item = node.and_then(Node::item);
                let mut values = Vec::with_capacity(array.len());
                for (n, value) in array.into_iter().enumerate() {
                    path.push(n.to_string());
                    values.push(self.value(value, item.as_ref(), path, at));
                    path.pop();
                }
                Value::Array(values)
            }
            DeValue::String(text) => Value::String(text.into_owned()),
            DeValue::Boolean(on) => Value::Bool(on),
            DeValue::Integer(number) => {
                let read = i64::from_str_radix(number.as_str(), number.radix());
                read.map_or_else(|_| self.no_number(at(start), path), Value::from)
            }
            DeValue::Float(number) => {
                let read: Option<f64> = number.as_str().parse().ok();
                // `30.0` counts as the whole number 30, as in JSON Schema.
                if let Some(whole) =
                    read.filter(|_| node.is_some_and(Node::takes_whole)).and_then(whole)
                {
                    return whole.into();
                }
                let read = read.and_then(Number::from_f64);
                read.map_or_else(|| self.no_number(at(start), path), Value::Number)
            }
            DeValue::Datetime(_) => {
                self.problem(at(start), path, "is a date, which no key takes; put text in quotes");
                Value::Null
            }
        }
    }

    fn no_number(&mut self, origin: Origin, path: &[String]) -> Value {
        self.problem(origin, path, "is not a number that can be used here");
        Value::from(0)
    }

    fn problem(&mut self, origin: Origin, path: &[String], what: impl Into<String>) {
        let key = afk_core::config::dotted(path);
        self.problems.push(Problem { origin, key, what: what.into() });
    }

    /// Applies a variable: its value replaces the file's.
    pub(super) fn apply(&mut self, variable: &Variable, root: &Node<'_>, aliases: &[(&str, &str)]) {
        match env::meaning(variable, root, aliases) {
            VariableMeaning::Value(path, value) => {
                put(&mut self.tree, &path, value);
                self.places.give(path, variable.origin.clone());
            }
            VariableMeaning::Toml(mut path, text, node) => {
                let at = |_| variable.origin.clone();
                if let Ok(parsed) = DeValue::parse(&text) {
                    let given = path.clone();
                    let value = self.value(parsed, Some(&node), &mut path, &at);
                    put(&mut self.tree, &given, value);
                    self.places.give(given, variable.origin.clone());
                }
            }
            VariableMeaning::Nothing => {}
            VariableMeaning::Wrong(problem) => self.problems.push(problem),
            VariableMeaning::Stray(problem, mistyped) => {
                self.mistyped.extend(mistyped.then(|| problem.clone()));
                self.warnings.push(problem);
            }
        }
    }
}

/// The number as an integer, if it has no decimals and is small enough to be exact.
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

/// What is wrong with the key at `path`, which is below something that is no table.
fn no_table(node: Option<&Node<'_>>, path: &[String]) -> String {
    let outer = path.split_last().map(|(_, outer)| outer.join(".")).unwrap_or_default();
    match node.and_then(Node::item) {
        Some(item) if item.takes_table() => {
            format!("is not a known key: {outer} is a list, whose entries begin with [[{outer}]]")
        }
        Some(_) => format!("is not a known key: {outer} is a list"),
        None => format!("is not a known key: {outer} is not a table"),
    }
}

/// Puts `value` at `path`, replacing what is there.
fn put(table: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            table.insert(key.clone(), value);
        }
        [key, rest @ ..] => {
            let entry = table.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
            if !entry.is_object() {
                *entry = Value::Object(Map::new());
            }
            if let Value::Object(inner) = entry {
                put(inner, rest, value);
            }
        }
    }
}
