//! Where a key was given: the texts that were read, searched again when somebody must be told.
//!
//! A good configuration is never asked for places, so none are kept: a fleet has a hundred
//! thousand keys.

use std::fmt;
use std::path::{Path, PathBuf};

use afk_core::config::dotted;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Origin, Problem};

/// The texts of a configuration, and what variables gave in their place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The file.
    main: Option<Text>,
    /// What variables gave, in the order in which they won.
    variables: Vec<(Vec<String>, Origin)>,
}

#[derive(Clone, PartialEq, Eq)]
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

impl Places {
    /// Notes the file.
    pub(super) fn read(&mut self, path: &Path, text: String) {
        self.main = Some(Text { path: path.to_owned(), text });
    }

    /// Notes that a variable gave the key.
    pub(super) fn give(&mut self, key: Vec<String>, origin: Origin) {
        self.variables.push((key, origin));
    }

    /// A problem with the key, told where it was given, or what it would stand in.
    pub fn problem(&self, key: &[String], what: impl Into<String>) -> Problem {
        Problem { origin: self.origin(key), key: dotted(key), what: what.into() }
    }

    fn origin(&self, key: &[String]) -> Origin {
        let gave = |(given, _): &&(Vec<String>, Origin)| key.starts_with(given);
        if let Some((_, origin)) = self.variables.iter().rev().find(gave) {
            return origin.clone();
        }
        match &self.main {
            Some(file) => Origin::File { path: file.path.clone(), place: file.place_of(key) },
            None => Origin::Default,
        }
    }
}

impl Text {
    /// Line and column of the value at `key`, or of the innermost that is there.
    fn place_of(&self, key: &[String]) -> Option<(usize, usize)> {
        let (parsed, _) = DeTable::parse_recoverable(&self.text);
        let (first, rest) = key.split_first()?;
        let mut found: &Spanned<DeValue<'_>> = parsed.get_ref().get(first.as_str())?;
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
            found = inner;
        }
        Some(place(&self.text, found.span().start))
    }
}

/// Line and column of a byte, from 1.
pub(super) fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[start..].chars().count() + 1)
}
