//! Loads the typed configuration from files and variables, or returns everything that is wrong.
//!
//! The settings of a process call [`load`] at its start and whenever a file has changed, and
//! commands that edit the configuration check with it what they are about to write. If it fails,
//! [`salvage`] reads a single key, so that the data folder is found all the same.
//!
//! - It fails closed: one problem anywhere makes the whole configuration invalid.
//! - It reports all problems and not only the first: a wrong value is taken out of the tree, and
//!   the rest is read again. A key that is missing only because it was taken out is not reported.
//! - What keys there are is in the schema of the type that is loaded. No problem quotes a value,
//!   which may be a secret.

use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use afk_core::config::NO_STAGES;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use serde_path_to_error::Segment;

use super::draft::Draft;
use super::env::{self, Variable};
use super::fleet::{INCLUDE_DIR, REPOS, REPOS_LIKE, included};
use super::places::SourceMap;
use super::problem::{ConfigErrors, Origin, Problem};
use super::published::as_loaded;
use super::schema::Node;

/// Maximum length of a configuration file, enough for some fifty thousand repos.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// Maximum length of all included files together.
const MAX_INCLUDED: u64 = 64 * 1024 * 1024;
/// A made-up repo, with which a pattern is checked by itself.
const SAMPLE: &str = "owner/name";
/// Maximum number of wrong values that are reported at once.
const MAX_PROBLEMS: usize = 50;

/// Sources of a configuration. Later ones win: the file, the mounted directory, the environment.
#[derive(Clone, Default)]
pub struct Sources {
    /// The TOML file; `None` counts as an empty one.
    pub file: Option<PathBuf>,
    /// A text that counts as the file's, so that it can be checked before it is written there.
    pub proposed: Option<String>,
    /// A directory of files named like variables, such as a mounted `ConfigMap`.
    pub mounted: Option<PathBuf>,
    /// The environment's names and values. A value need not be UTF-8.
    pub env: Vec<(String, OsString)>,
    /// Further names of variables, with the dotted key that each stands for.
    pub aliases: Vec<(&'static str, &'static str)>,
}

impl Sources {
    /// The same sources, with `text` as the content of the file at `path`.
    #[must_use]
    pub fn proposing(&self, path: &Path, text: &str) -> Self {
        Self { file: Some(path.to_owned()), proposed: Some(text.to_owned()), ..self.clone() }
    }

    /// The text of the file at `path`, or what is proposed in its place.
    fn text(&self, path: &Path) -> Result<String, String> {
        self.proposed.clone().map_or_else(|| read_text(path), Ok)
    }
}

impl fmt::Debug for Sources {
    /// Omits the values of the environment, any of which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("mounted", &self.mounted)
            .finish_non_exhaustive()
    }
}

/// A loaded configuration.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    /// The configuration.
    pub config: T,
    /// Harmless oddities: variables that name no key.
    pub warnings: Vec<Problem>,
    /// Those of the warnings whose variable is spelt almost like a key, which was probably meant.
    pub mistyped: Vec<Problem>,
    /// Where each key was given.
    pub places: SourceMap,
}

/// A type that can be read from the keys of a document.
pub trait Compose: Sized {
    /// Returns the JSON Schema of the keys.
    fn schema() -> Value;
    /// Reads the type from a tree of keys.
    fn compose(tree: &Value) -> Result<Self, PartError>;
    /// Adds to a repo's table the keys that it must have, so that a pattern can be checked alone.
    fn complete_repo(table: &mut Map<String, Value>);
}

/// Why a tree could not be read, and at which key.
pub type PartError = serde_path_to_error::Error<serde_json::Error>;

impl<T: DeserializeOwned + JsonSchema> Compose for T {
    fn schema() -> Value {
        as_loaded(schemars::schema_for!(T).to_value())
    }

    fn compose(tree: &Value) -> Result<Self, PartError> {
        part(tree)
    }

    fn complete_repo(_: &mut Map<String, Value>) {}
}

/// Reads the keys that `T` knows, and ignores the others.
///
/// Following the path of keys doubles the cost of reading, so it is followed only after a failure.
pub(super) fn part<T: DeserializeOwned>(tree: &Value) -> Result<T, PartError> {
    T::deserialize(tree).or_else(|_| serde_path_to_error::deserialize(tree))
}

/// Loads the configuration, or returns everything that is wrong with it.
pub fn load<T: Compose>(sources: &Sources) -> Result<Loaded<T>, ConfigErrors> {
    let schema = T::schema();
    let root = Node::root(&schema);
    let mut draft = Draft::default();
    if let Some(path) = &sources.file {
        match sources.text(path) {
            Ok(text) => draft.read_main(path, text, &root),
            Err(what) => draft.problems.push(whole(path, what)),
        }
    }
    let mut variables = Vec::new();
    if let Some(directory) = &sources.mounted {
        match env::mounted(directory) {
            Ok(found) => variables.extend(found),
            Err(problem) => draft.problems.push(problem),
        }
    }
    let (given, wrong) = env::variables(&sources.env);
    variables.extend(given);
    draft.problems.extend(wrong);
    let include = include_in(&draft.tree, &variables, sources);
    if let Some(folder) = &include {
        read_included(&mut draft, folder, &root);
    }
    for variable in &variables {
        draft.apply(variable, &root, &sources.aliases);
    }
    read_patterns::<T>(&mut draft);
    draft.fill_repos();
    let config = deserialize(&mut draft);
    let Draft { mut problems, warnings, mistyped, places, .. } = draft;
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded { config, warnings, mistyped, places }),
        Some(_) | None => {
            in_order(&mut problems);
            Err(ConfigErrors { problems })
        }
    }
}

/// Returns the folder of included files, as far as the sources can be read.
pub fn include_dir(sources: &Sources) -> Option<PathBuf> {
    let text = sources.file.as_ref().and_then(|path| sources.text(path).ok()).unwrap_or_default();
    // Spares parsing a long file that names no folder. A key may be written with escapes, too.
    let may_name = text.contains(INCLUDE_DIR) || text.contains('\\');
    let tree: Map<String, Value> =
        if may_name { toml::from_str(&text).unwrap_or_default() } else { Map::new() };
    let mounted = sources.mounted.as_ref().and_then(|directory| env::mounted(directory).ok());
    let mut variables = mounted.unwrap_or_default();
    variables.extend(env::variables(&sources.env).0);
    include_in(&tree, &variables, sources)
}

/// The included folder; a variable wins over the file's key. A relative path is relative to the
/// folder of the main file.
fn include_in(
    tree: &Map<String, Value>,
    variables: &[Variable],
    sources: &Sources,
) -> Option<PathBuf> {
    let name = format!("AFK_{}", INCLUDE_DIR.to_uppercase());
    let given = variables.iter().rev().find(|variable| variable.name == name);
    let given = given.map(|variable| variable.value.trim()).filter(|text| !text.is_empty());
    let folder = Path::new(given.or_else(|| tree.get(INCLUDE_DIR)?.as_str())?);
    let beside = sources.file.as_ref().and_then(|path| path.parent());
    Some(beside.map_or_else(|| folder.to_owned(), |beside| beside.join(folder)))
}

fn read_included(draft: &mut Draft, folder: &Path, root: &Node<'_>) {
    let files = match included(folder) {
        Ok(files) => files,
        Err(error) => {
            let what = format!("names a folder that cannot be read: {error}");
            draft.problems.push(draft.places.problem(&[INCLUDE_DIR.to_owned()], what));
            return;
        }
    };
    let mut left = MAX_INCLUDED;
    for path in files {
        match read_text(&path) {
            Ok(text) if text.len() as u64 > left => {
                let what = format!(
                    "is too much: all included files together may have {MAX_INCLUDED} bytes"
                );
                return draft.problems.push(whole(&path, what));
            }
            Ok(text) => {
                left -= text.len() as u64;
                draft.include(&path, text, root);
            }
            Err(what) => draft.problems.push(whole(&path, what)),
        }
    }
}

/// Reads one key at the top level, whose value is text, from a configuration that cannot be loaded;
/// none if it was not given.
///
/// Says nothing about the other keys. Fails if the key may have been given and cannot be read: then
/// a default would be a guess.
pub fn salvage<T: Compose>(sources: &Sources, key: &str) -> Result<Option<String>, Unknown> {
    let schema = T::schema();
    let root = Node::root(&schema);
    let mut draft = Draft::default();
    if let Some(path) = &sources.file {
        let text = sources.text(path).map_err(|_| Unknown)?;
        let (parsed, errors) = toml::de::DeTable::parse_recoverable(&text);
        let at = |_| Origin::Default;
        draft.tree = draft.table(parsed.into_inner(), Some(&root), &mut Vec::new(), &at);
        // From text that is not TOML the parser may have lost the key, made it up, or met it
        // twice. Only a single line counts that is TOML by itself and says what was parsed.
        if !errors.is_empty() {
            let lines = text.lines().filter(|line| line.trim_start().starts_with(key));
            let given: Vec<_> = lines.map(toml::from_str::<Map<String, Value>>).collect();
            let found = draft.tree.get(key);
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
    let (given, wrong) = env::variables(&sources.env);
    if !wrong.is_empty() {
        return Err(Unknown);
    }
    variables.extend(given);
    for variable in &variables {
        draft.apply(variable, &root, &sources.aliases);
    }
    match draft.tree.remove(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Unknown),
    }
}

/// The error of [`salvage`]: the key may have been given, and cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

/// Reports what is wrong in each pattern, whether or not a repo matches it.
fn read_patterns<T: Compose>(draft: &mut Draft) {
    let Some(Value::Object(patterns)) = draft.tree.get(REPOS_LIKE) else { return };
    for (pattern, table) in patterns.clone() {
        let Value::Object(mut table) = table else { continue };
        // Nothing else notices it as long as no repo matches.
        if table.get("stages").and_then(Value::as_array).is_some_and(Vec::is_empty) {
            let key = [REPOS_LIKE, &pattern, "stages"].map(str::to_owned);
            let problem = draft.places.problem(&key, NO_STAGES.to_owned());
            draft.problems.push(problem);
        }
        T::complete_repo(&mut table);
        let mut tree = json!({ REPOS: { SAMPLE: table } });
        for _ in 0..MAX_PROBLEMS {
            let Err(error) = T::compose(&tree) else { break };
            let mut path: Vec<_> = error.path().iter().filter_map(segment).collect();
            while !path.is_empty() && get(&tree, &path).is_none() {
                path.pop();
            }
            let [_, _, rest @ ..] = path.as_slice() else { break };
            let what = describe(&error.inner().to_string(), &path, get(&tree, &path));
            let key: Vec<_> = [REPOS_LIKE, &pattern]
                .map(str::to_owned)
                .into_iter()
                .chain(rest.to_vec())
                .collect();
            let problem = draft.places.problem(&key, what);
            if !draft.problems.contains(&problem) {
                draft.problems.push(problem);
            }
            // A required key that was taken out is put back, so that the next mistake shows.
            if rest.is_empty() || !remove(&mut tree, &path) {
                break;
            }
            if let Some(Value::Object(table)) = tree[REPOS].get_mut(SAMPLE) {
                T::complete_repo(table);
            }
        }
    }
}

/// Reads the configuration from the tree. Each wrong value is reported and taken out, so that the
/// next one shows.
fn deserialize<T: Compose>(draft: &mut Draft) -> Option<T> {
    let mut tree = Value::Object(std::mem::take(&mut draft.tree));
    // Keys that were reported and taken out: their absence is not reported as well.
    let mut taken = std::mem::take(&mut draft.left_out);
    for _ in 0..MAX_PROBLEMS {
        let error = match T::compose(&tree) {
            Ok(config) => return Some(config),
            Err(error) => error,
        };
        let mut path: Vec<_> = error.path().iter().filter_map(segment).collect();
        // Removes the innermost value that exists: a missing key has none.
        while !path.is_empty() && get(&tree, &path).is_none() {
            path.pop();
        }
        let message = error.inner().to_string();
        let missing = message.strip_prefix("missing field `").map(|key| key.trim_end_matches('`'));
        // A list was taken out whole, whichever of its items was wrong.
        let below = |one: &Vec<String>| one.strip_prefix(path.as_slice())?.first().cloned();
        let known = missing
            .is_some_and(|key| taken.iter().filter_map(below).any(|word| word.as_str() == key));
        let what = describe(&message, &path, get(&tree, &path));
        let problem = draft.places.problem(&path, what);
        // A problem in a pattern is reported once, not once for each repo.
        if !known && !draft.problems.contains(&problem) {
            draft.problems.push(problem);
        }
        taken.push(path.clone());
        if !remove(&mut tree, &path) {
            return None;
        }
    }
    None
}

/// A problem with a file as a whole.
fn whole(path: &Path, what: String) -> Problem {
    let origin = Origin::File { path: path.to_owned(), place: None };
    Problem { origin, key: String::new(), what }
}

/// Sorts the problems in files by position, then the others in their order.
fn in_order(problems: &mut [Problem]) {
    problems.sort_by(|a, b| {
        let key = |problem: &'_ Problem| match &problem.origin {
            Origin::File { path, place } => (0, Some(path.clone()), *place),
            Origin::Variable { .. } | Origin::Mounted { .. } | Origin::Default => (1, None, None),
        };
        key(a).cmp(&key(b))
    });
}

fn segment(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

/// The keys that a repository's table needs, each with an example.
const NEEDED: [(&str, &str); 3] = [
    ("remote", "\"/srv/git/web.git\""),
    ("verify", "[\"make\", \"test\"]"),
    ("stages", "[{ name = \"ci\", command = [\"make\", \"test\"] }]"),
];

/// The keys whose value is a command, besides `verify`, which says so itself.
const COMMANDS: [&str; 7] =
    ["command", "fetch", "build", "after_create", "before_run", "after_run", "before_remove"];

/// The values of a flag, in words.
const FLAG: &str = "true or false";
/// A list, in words.
const LIST: &str = "a list";

/// Rephrases an error of serde. It quotes what it found, which may be a misplaced secret: only what
/// was expected is kept, because that text comes from our code.
fn describe(message: &str, path: &[String], found: Option<&Value>) -> String {
    if let Some(key) = message.strip_prefix("missing field `") {
        let key = key.trim_end_matches('`');
        let such_as = NEEDED.iter().find(|(needed, _)| *needed == key);
        let such_as = such_as.map_or(String::new(), |(_, value)| format!(", such as {value}"));
        return format!("lacks the key `{key}`{such_as}");
    }
    let begins = |with: &[&str]| with.iter().any(|word| message.starts_with(word));
    let expected = message.rsplit_once(", expected ").map(|(_, expected)| in_words(expected));
    match expected {
        Some(expected) if begins(&["invalid type: "]) => match found {
            Some(Value::String(_)) if expected == FLAG => {
                format!("must be {FLAG}, without quotes; found text")
            }
            Some(Value::String(_)) if expected == LIST && is_command(path) => {
                "must be a list such as [\"sh\", \"ci.sh\"]".to_owned()
            }
            Some(value) => format!("must be {expected}; found {}", name_of(value)),
            None => format!("must be {expected}"),
        },
        Some(expected) if begins(&["invalid value: ", "invalid length ", "unknown variant "]) => {
            format!("must be {expected}")
        }
        Some(expected) if begins(&["unknown field "]) => {
            format!("has an unknown key; known are {expected}")
        }
        Some(_) | None if begins(&["invalid socket address"]) => {
            "must be an address and port such as \"127.0.0.1:8790\"".to_owned()
        }
        Some(_) | None => "is not valid: `afk config schema` prints what is".to_owned(),
    }
}

fn is_command(path: &[String]) -> bool {
    path.last().is_some_and(|key| COMMANDS.contains(&key.as_str()))
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number with decimals",
        Value::Number(number) if number.is_u64() => "a whole number",
        Value::Number(_) => "a negative number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

/// What serde expected, with plain words for Rust's types.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0 up",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" | "a set" => LIST,
        "a boolean" => FLAG,
        "a string" => "text",
        "a map" => "a table",
        other if other.starts_with("struct ") || other.starts_with("internally tagged") => {
            "a table"
        }
        other if other.contains(" variant") => "a table",
        other => other,
    }
}

fn get<'t>(tree: &'t Value, path: &[String]) -> Option<&'t Value> {
    path.iter().try_fold(tree, |value, word| match value {
        Value::Object(table) => table.get(word),
        Value::Array(values) => values.get(word.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

/// Removes the value at `path`. An item of a list is removed with the whole list, so that positions
/// of items stay as in the file.
fn remove(tree: &mut Value, path: &[String]) -> bool {
    let (Value::Object(table), [key, rest @ ..]) = (tree, path) else { return false };
    match table.get_mut(key) {
        Some(inner @ Value::Object(_)) if !rest.is_empty() => remove(inner, rest),
        Some(_) => table.remove(key).is_some(),
        None => false,
    }
}

/// The text of a file that is not too long.
pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    let unreadable = |e: std::io::Error| format!("cannot be read: {e}");
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("is longer than {MAX_FILE} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}
