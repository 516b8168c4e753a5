//! Where a key was given: the texts that were read, searched again when somebody must be told.
//!
//! A good configuration is never asked for places, so none are kept: a fleet has a hundred
//! thousand keys.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use afk_core::config::dotted;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fleet::{Pattern, REPOS, REPOS_LIKE};
use super::problem::{Origin, Problem};

/// The texts of a configuration, and what variables gave in their place.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The main file, then the included ones in their order.
    files: Vec<Text>,
    /// Entries of tables such as `repos` that an included file holds, with its number.
    holders: BTreeMap<[String; 2], usize>,
    /// Lists that several files add to: whose items begin where.
    parts: BTreeMap<String, Vec<(usize, usize)>>,
    /// What repos with like names have in common, in the order in which it counts.
    patterns: Vec<Pattern>,
    /// What variables gave, in the order in which they won.
    variables: Vec<(Vec<String>, Origin)>,
}

#[derive(Clone)]
struct Text {
    path: PathBuf,
    text: String,
}

impl fmt::Debug for Text {
    /// Without the text, where a secret may stand.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

/// A place in a file: how many words of the key lead there, and line and column.
type Found = (usize, (usize, usize));

impl Places {
    /// Notes a file; its number.
    pub(super) fn add_file(&mut self, path: &Path, text: String) -> usize {
        self.files.push(Text { path: path.to_owned(), text });
        self.files.len() - 1
    }

    /// Notes that `file` holds the entry `name` of `table`.
    pub(super) fn hold(&mut self, table: &str, name: &str, file: usize) {
        self.holders.insert([table.to_owned(), name.to_owned()], file);
    }

    /// Notes that the items of `list` from `start` on are those of `file`.
    pub(super) fn add_part(&mut self, list: &str, file: usize, start: usize) {
        self.parts.entry(list.to_owned()).or_default().push((file, start));
    }

    /// Notes what repos with like names have in common.
    pub(super) fn like(&mut self, patterns: Vec<Pattern>) {
        self.patterns = patterns;
    }

    /// Notes that a variable gave the key.
    pub(super) fn give(&mut self, key: Vec<String>, origin: Origin) {
        self.variables.push((key, origin));
    }

    /// A problem with the key, told where it was given, or what it would stand in.
    pub fn problem(&self, key: &[String], what: impl Into<String>) -> Problem {
        let (origin, key) = self.origin(key);
        Problem { origin, key: dotted(&key), what: what.into() }
    }

    /// Where the key was given, and as which key: a repo has some of its keys from a pattern.
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
                // Its own table, where it has one, is where a key is missing.
                if found.is_some_and(|(found, _)| found == key.len() || depth < 2) {
                    return (self.told(file, found), key);
                }
            }
        }
        (self.told(file, found), key.to_vec())
    }

    fn told(&self, file: usize, found: Option<Found>) -> Origin {
        match self.files.get(file) {
            Some(file) => {
                Origin::File { path: file.path.clone(), place: found.map(|(_, place)| place) }
            }
            None => Origin::Default,
        }
    }

    /// The file that holds the key, or would, and its place there.
    fn find(&self, key: &[String]) -> (usize, Option<Found>) {
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
    /// The place of the value at `key`, or of the innermost that is there.
    fn find(&self, key: &[String]) -> Option<Found> {
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

/// Line and column of a byte, from 1.
pub(super) fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[start..].chars().count() + 1)
}
