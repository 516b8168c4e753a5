//! Many repos: a folder of files beside the main one, and settings shared by repos with matching
//! names.
//!
//! An included file holds repos, patterns and a part of the allowlist; global settings belong in
//! the main file only. No key may be given twice. A repo's own table comes first; keys that it
//! omits are taken from the patterns that match its name, the longer pattern first. A repo exists
//! if it has a table, or if it is enrolled and matches a pattern.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use serde_json::{Map, Value};

use super::draft::Draft;
use super::problem::{Origin, Problem};
use super::schema::Node;

/// The folder of included files.
pub(super) const INCLUDE_DIR: &str = "include_dir";
/// The list of enrolled repos.
pub(super) const ALLOWLIST: &str = "allowlist";
/// The table of repos.
pub(super) const REPOS: &str = "repos";
/// The table of settings shared by repos with matching names.
pub(super) const REPOS_LIKE: &str = "repos_like";
/// The keys that an included file may hold.
const INCLUDED: [&str; 3] = [ALLOWLIST, REPOS, REPOS_LIKE];
/// The key in which a pattern may write `{owner}` and `{name}` for those of the repo.
const REMOTE: &str = "remote";

/// Settings shared by repos with matching names.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    /// The pattern as written, such as `owner/*`.
    pub(super) text: String,
    matcher: GlobMatcher,
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let glob = GlobBuilder::new(text).literal_separator(true).build().ok()?;
        Some(Self { text: text.to_owned(), matcher: glob.compile_matcher() })
    }

    /// Whether the pattern matches the repo of this name.
    pub(super) fn matches(&self, name: &str) -> bool {
        self.matcher.is_match(name)
    }
}

/// Whether the pattern matches the repo of this name.
pub(super) fn pattern_matches(pattern: &str, name: &str) -> bool {
    Pattern::parse(pattern).is_some_and(|pattern| pattern.matches(name))
}

/// Lists the included files in `folder`, `*.toml` without hidden ones, in the order of their names.
pub fn included(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        if path.extension().is_some_and(|extension| extension == "toml") && !hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl Draft {
    /// Adds an included file. An entry that two files give is a problem: nobody knows which was
    /// meant. Their allowlists are joined.
    pub(super) fn include(&mut self, path: &Path, text: String, root: &Node<'_>) {
        let tree = self.read(path, &text, root);
        let nth = self.places.add_file(path, text);
        for (key, value) in tree.into_iter().flatten() {
            if !INCLUDED.contains(&key.as_str()) {
                let what = format!(
                    "belongs in the main file: an included one may only hold {}",
                    INCLUDED.join(", ")
                );
                let origin = Origin::File { path: path.to_owned(), place: None };
                self.problems.push(Problem { origin, key, what });
                continue;
            }
            match (self.tree.get_mut(&key), value) {
                (Some(Value::Array(known)), Value::Array(more)) => {
                    self.places.add_part(&key, nth, known.len());
                    known.extend(more);
                }
                (None, Value::Array(more)) => {
                    self.places.add_part(&key, nth, 0);
                    self.tree.insert(key, Value::Array(more));
                }
                (_, Value::Object(entries)) => self.add_entries(&key, entries, nth),
                // A wrong type is reported when the tree is deserialised.
                (_, other) => drop(self.tree.insert(key, other)),
            }
        }
    }

    fn add_entries(&mut self, key: &str, entries: Map<String, Value>, nth: usize) {
        for (name, value) in entries {
            let table = self.tree.entry(key).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(table) = table else { return };
            if table.contains_key(&name) {
                let words = [key.to_owned(), name];
                let first = self.places.problem(&words, "").origin;
                let [_, name] = &words;
                self.places.hold(key, name, nth);
                let what = format!("is also given at {first}; keep one of them");
                self.problems.push(self.places.problem(&words, what));
            } else {
                self.places.hold(key, &name, nth);
                table.insert(name, value);
            }
        }
    }

    /// Completes each repo from the patterns that match its name, and adds enrolled repos that have
    /// no table of their own but match a pattern.
    pub(super) fn fill_repos(&mut self) {
        let Some(like) = self.tree.get(REPOS_LIKE).cloned() else { return };
        let Value::Object(like) = like else {
            let key = [REPOS_LIKE.to_owned()];
            self.problems.push(self.places.problem(&key, "must be a table"));
            return;
        };
        let mut patterns = Vec::new();
        for (text, table) in like {
            match (Pattern::parse(&text), table) {
                (Some(pattern), Value::Object(table)) => patterns.push((pattern, table)),
                (pattern, _) => {
                    let what = match pattern {
                        Some(_) => "must be a table",
                        None => "is not a pattern such as \"owner/*\"",
                    };
                    self.problems.push(self.places.problem(&[REPOS_LIKE.to_owned(), text], what));
                }
            }
        }
        patterns.sort_by(|(a, _), (b, _)| {
            b.text.len().cmp(&a.text.len()).then_with(|| a.text.cmp(&b.text))
        });
        let enrolled = self.tree.get(ALLOWLIST).and_then(Value::as_array).into_iter().flatten();
        let enrolled: Vec<String> =
            enrolled.filter_map(|name| Some(name.as_str()?.to_owned())).collect();
        let repos = self.tree.entry(REPOS).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(repos) = repos {
            for name in enrolled {
                let meant = patterns.iter().any(|(pattern, _)| pattern.matches(&name));
                if meant && !repos.contains_key(&name) {
                    repos.insert(name, Value::Object(Map::new()));
                }
            }
            for (name, own) in repos.iter_mut() {
                for (_, table) in patterns.iter().filter(|(pattern, _)| pattern.matches(name)) {
                    let remote = own.get(REMOTE).is_none();
                    fill(own, table);
                    if let Some(Value::String(text)) = own.get_mut(REMOTE).filter(|_| remote) {
                        *text = named(text, name);
                    }
                }
            }
        }
        self.places.like(patterns.into_iter().map(|(pattern, _)| pattern).collect());
    }
}

/// Adds the keys that `own` omits, also in inner tables; a list is one value.
fn fill(own: &mut Value, common: &Map<String, Value>) {
    let Value::Object(own) = own else { return };
    for (key, value) in common {
        match (own.get_mut(key), value) {
            (Some(inner @ Value::Object(_)), Value::Object(common)) => fill(inner, common),
            (Some(_), _) => {}
            (None, value) => drop(own.insert(key.clone(), value.clone())),
        }
    }
}

/// The text with `{owner}` and `{name}` replaced by the repo's.
fn named(text: &str, repo: &str) -> String {
    let (owner, name) = repo.split_once('/').unwrap_or(("", repo));
    text.replace("{owner}", owner).replace("{name}", name)
}
