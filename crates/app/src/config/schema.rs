//! The known keys, read from the JSON Schema of the configuration's type.
//!
//! Used to suggest the nearest known key and to decide how a variable's text is read. Structs are
//! closed even if their type does not say so: an unknown key is always an error. The schema below a
//! key is looked up once and kept, because thousands of repos have the same keys.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value;

/// How deep alternatives and references are followed; our schemas are shallower.
const MAX_DEPTH: usize = 32;

/// One place in the schema: all alternatives that are allowed there.
#[derive(Debug, Clone)]
pub(super) struct Node<'a>(Rc<Inner<'a>>);

#[derive(Debug)]
struct Inner<'a> {
    root: &'a Value,
    parts: Vec<&'a Value>,
    /// The struct's keys that were looked up so far.
    named: RefCell<BTreeMap<String, Child<'a>>>,
    /// What any key leads to that the struct does not name.
    entry: OnceCell<Child<'a>>,
    item: OnceCell<Option<Node<'a>>>,
}

/// What a key leads to.
#[derive(Debug, Clone)]
pub(super) enum Child<'a> {
    /// The schema of a struct's key, or of a map's entry.
    Known(Node<'a>),
    /// Anything is allowed there.
    Any,
    /// No such key.
    Unknown,
}

/// The kind of value that a variable's text is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Integer,
    Number,
    Text,
    List,
    Table,
}

impl<'a> Node<'a> {
    pub(super) fn root(schema: &'a Value) -> Self {
        Self::at(schema, schema)
    }

    fn at(root: &'a Value, schema: &'a Value) -> Self {
        Self::join(root, &[schema])
    }

    fn join(root: &'a Value, schemas: &[&'a Value]) -> Self {
        let mut parts = Vec::new();
        for schema in schemas {
            collect(root, schema, &mut parts, 0);
        }
        let (named, entry, item) = (RefCell::default(), OnceCell::new(), OnceCell::new());
        Self(Rc::new(Inner { root, parts, named, entry, item }))
    }

    pub(super) fn child(&self, key: &str) -> Child<'a> {
        if let Some(found) = self.0.named.borrow().get(key) {
            return found.clone();
        }
        let property = |part: &&'a Value| part.get("properties")?.get(key);
        let named: Vec<_> = self.0.parts.iter().filter_map(property).collect();
        if named.is_empty() {
            return self.0.entry.get_or_init(|| self.entry()).clone();
        }
        let child = Child::Known(Self::join(self.0.root, &named));
        self.0.named.borrow_mut().insert(key.to_owned(), child.clone());
        child
    }

    /// Looks up what a key leads to that the struct does not name.
    fn entry(&self) -> Child<'a> {
        let parts = &self.0.parts;
        let entries: Vec<_> =
            parts.iter().filter_map(|part| part.get("additionalProperties")).collect();
        let typed: Vec<_> = entries.iter().copied().filter(|entry| entry.is_object()).collect();
        if !typed.is_empty() {
            return Child::Known(Self::join(self.0.root, &typed));
        }
        let open = entries.iter().any(|entry| entry.as_bool() == Some(true))
            || parts.iter().any(|part| part.as_bool() == Some(true));
        if open { Child::Any } else { Child::Unknown }
    }

    pub(super) fn item(&self) -> Option<Self> {
        let find = || {
            let items: Vec<_> = self.0.parts.iter().filter_map(|part| part.get("items")).collect();
            (!items.is_empty()).then(|| Self::join(self.0.root, &items))
        };
        self.0.item.get_or_init(find).clone()
    }

    /// The keys of the struct; entries of a map have none.
    pub(super) fn keys(&self) -> Vec<&'a str> {
        let tables = self.0.parts.iter().filter_map(|part| part.get("properties")?.as_object());
        tables.flat_map(|table| table.keys().map(String::as_str)).collect()
    }

    /// Whether tables are allowed here and lists are not.
    pub(super) fn takes_table(&self) -> bool {
        let kinds = self.kinds();
        kinds.contains(&Kind::Table) && !kinds.contains(&Kind::List)
    }

    /// Whether whole numbers are allowed here and others are not.
    pub(super) fn takes_whole(&self) -> bool {
        let kinds = self.kinds();
        kinds.contains(&Kind::Integer) && !kinds.contains(&Kind::Number)
    }

    /// The kinds allowed here, without `null`.
    pub(super) fn kinds(&self) -> Vec<Kind> {
        let mut kinds = Vec::new();
        for part in &self.0.parts {
            let names: Vec<_> = match part.get("type") {
                Some(Value::String(name)) => vec![name.as_str()],
                Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
                Some(_) | None if part.get("enum").is_some() || part.get("const").is_some() => {
                    vec!["string"]
                }
                Some(_) | None => vec![],
            };
            for name in names {
                kinds.push(match name {
                    "boolean" => Kind::Boolean,
                    "integer" => Kind::Integer,
                    "number" => Kind::Number,
                    "array" => Kind::List,
                    "object" => Kind::Table,
                    "string" => Kind::Text,
                    _ => continue,
                });
            }
        }
        kinds
    }
}

/// The one of `known` that `given` was most likely meant to be; none if none is similar.
pub(crate) fn nearest<'k>(
    given: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    let given = plain(given);
    let alike = known.into_iter().filter_map(|key| {
        let plain = plain(key);
        let likeness = strsim::jaro_winkler(&given, &plain);
        // Two swapped letters are one slip, as likely as a letter too many: then the key with as
        // many letters is meant.
        let slips = strsim::osa_distance(&given, &plain);
        let longer = plain.chars().count().abs_diff(given.chars().count());
        (likeness > 0.8).then_some(((slips, longer), likeness, key))
    });
    alike
        .min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)).then_with(|| a.2.cmp(b.2)))
        .map(|(_, _, key)| key)
}

fn collect<'a>(root: &'a Value, schema: &'a Value, parts: &mut Vec<&'a Value>, depth: usize) {
    if depth > MAX_DEPTH {
        return;
    }
    parts.push(schema);
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#'));
    if let Some(target) = target.and_then(|pointer| root.pointer(pointer)) {
        collect(root, target, parts, depth + 1);
    }
    for word in ["allOf", "anyOf", "oneOf"] {
        for alternative in schema.get(word).and_then(Value::as_array).into_iter().flatten() {
            collect(root, alternative, parts, depth + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_was_meant_is_the_one_with_the_fewest_slips() {
        let check = |given: &str, known: &[&str], expected: Option<&str>| {
            assert_eq!(nearest(given, known.iter().copied()), expected, "{given}");
        };
        check("modle", &["mode", "model"], Some("model"));
        check("mod", &["mode", "model"], Some("mode"));
        check("kil-switch", &["kill_switch", "kind"], Some("kill_switch"));
        check("zzz", &["mode", "model"], None);
    }
}
