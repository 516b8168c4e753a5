//! Finds where a key was given, by searching the texts again when a problem must be reported.
//!
//! Positions are not stored: a valid configuration never needs them, and a fleet has a hundred
//! thousand keys.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use afk_core::config::dotted;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fleet::{Pattern, REPOS, REPOS_LIKE};
use super::problem::{Origin, Problem};

/// The texts of a configuration, and the keys that variables gave.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    /// The main file, then the included ones in their order.
    files: Vec<Text>,
    /// Entries of tables such as `repos` that an included file holds, with that file's number.
    holders: BTreeMap<[String; 2], usize>,
    /// Lists that several files add to, with the index at which each file's items begin.
    parts: BTreeMap<String, Vec<(usize, usize)>>,
    /// Patterns of repos, the one that wins first.
    patterns: Vec<Pattern>,
    /// Keys given by variables, in the order of their application: the last one wins.
    variables: Vec<(Vec<String>, Origin)>,
}

#[derive(Clone)]
struct Text {
    path: PathBuf,
    text: String,
}

impl fmt::Debug for Text {
    /// Omits the text, which may contain a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

/// A position in a file: how many segments of the key were found, then line and column.
type FilePosition = (usize, (usize, usize));

impl SourceMap {
    /// Adds a file; returns its number.
    pub(super) fn add_file(&mut self, path: &Path, text: String) -> usize {
        self.files.push(Text { path: path.to_owned(), text });
        self.files.len() - 1
    }

    /// Records that `file` holds the entry `name` of `table`.
    pub(super) fn hold(&mut self, table: &str, name: &str, file: usize) {
        self.holders.insert([table.to_owned(), name.to_owned()], file);
    }

    /// Records that the items of `list` from `start` on are from `file`.
    pub(super) fn add_part(&mut self, list: &str, file: usize, start: usize) {
        self.parts.entry(list.to_owned()).or_default().push((file, start));
    }

    /// Records all patterns.
    pub(super) fn like(&mut self, patterns: Vec<Pattern>) {
        self.patterns = patterns;
    }

    /// Records that a variable gave the key.
    pub(super) fn give(&mut self, key: Vec<String>, origin: Origin) {
        self.variables.push((key, origin));
    }

    /// Makes a problem with the key, located where the key was given or where it belongs.
    pub fn problem(&self, key: &[String], what: impl Into<String>) -> Problem {
        let (origin, key) = self.origin(key);
        Problem { origin, key: dotted(&key), what: what.into() }
    }

    /// Where the key was given, and as which key: a repo may have it from a pattern.
    fn origin(&self, key: &[String]) -> (Origin, Vec<String>) {
        let own = |found: Option<&(Vec<String>, Origin)>| found.map(|(_, origin)| origin.clone());
        let gave = |(given, _): &&(Vec<String>, Origin)| key.starts_with(given);
        if let Some(origin) = own(self.variables.iter().rev().find(gave)) {
            return (origin, key.to_vec());
        }
        let (file, found) = self.find(key);
        let depth = found.map_or(0, |(depth, _)| depth);
        if let [repos, name, rest @ ..] = key
            && repos == REPOS
            && depth < key.len()
        {
            for pattern in self.patterns.iter().filter(|pattern| pattern.matches(name)) {
                let like = [REPOS_LIKE.to_owned(), pattern.text.clone()];
                let key: Vec<_> = like.into_iter().chain(rest.iter().cloned()).collect();
                let (file, found) = self.find(&key);
                // A missing key belongs in the repo's own table, if it has one.
                if found.is_some_and(|(found, _)| found == key.len() || depth < 2) {
                    return (self.origin_in(file, found), key);
                }
            }
        }
        (self.origin_in(file, found), key.to_vec())
    }

    fn origin_in(&self, file: usize, found: Option<FilePosition>) -> Origin {
        match self.files.get(file) {
            Some(file) => {
                Origin::File { path: file.path.clone(), place: found.map(|(_, place)| place) }
            }
            None => Origin::Default,
        }
    }

    /// The file that holds the key, or would hold it, and its position there.
    fn find(&self, key: &[String]) -> (usize, Option<FilePosition>) {
        let mut key = key.to_vec();
        let mut file = 0;
        if let [list, nth, ..] = key.as_mut_slice()
            && let Some(parts) = self.parts.get(list)
            && let Ok(n) = nth.parse::<usize>()
            && let Some((holder, start)) = parts.iter().rfind(|(_, start)| *start <= n)
        {
            *nth = (n - start).to_string();
            file = *holder;
        } else if let [table, name, ..] = key.as_slice()
            && let Some(holder) = self.holders.get(&[table.clone(), name.clone()])
        {
            file = *holder;
        }
        (file, self.files.get(file).and_then(|text| text.find(&key)))
    }
}

impl Text {
    /// The position of the value at `key`, or of the innermost part that exists.
    fn find(&self, key: &[String]) -> Option<FilePosition> {
        let (parsed, _) = DeTable::parse_recoverable(&self.text);
        let (first, rest) = key.split_first()?;
        let mut found: &Spanned<DeValue<'_>> = parsed.get_ref().get(first.as_str())?;
        let mut depth = 1;
        for word in rest {
            let inner = match found.get_ref() {
                DeValue::Table(table) => table.get(word.as_str()),
                DeValue::Array(items) => word.parse().ok().and_then(|n: usize| items.get(n)),
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_) => None,
            };
            let Some(inner) = inner else { break };
            (found, depth) = (inner, depth + 1);
        }
        Some((depth, place(&self.text, found.span().start)))
    }
}

/// Line and column of a byte offset, both from 1; columns count characters.
pub(super) fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[start..].chars().count() + 1)
}
