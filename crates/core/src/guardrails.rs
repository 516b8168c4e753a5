//! The guardrails: what a change may never contain, however well it is proved.
//!
//! They are applied before landing to everything that would enter the default branch's history: to
//! the exact candidate and, where the agent's own commits are kept, to each of them. They judge raw
//! trees and blobs, messages and headers, and fail closed: content that cannot be read is a breach.
//! A breach names its kind and, where there is one, the commit, the path and the line, never the
//! secret. Whether a change is *proved* is decided by `proof`.

mod breach;
mod header;
mod judging;
mod paths;
mod policy;

pub use crate::secrets::SecretKind;
pub use breach::{Breach, HeaderField, MessageOf};
pub use judging::{Judging, MAX_COMMITS, OwnCommit};
pub use policy::GuardrailPolicy;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::change::{Blob, Blobs, Change, Diff, Entry, Mode, Tally, TreePath, tally};
use crate::globs::{GlobError, Globs};
use crate::message::words::Words;
use crate::proof::{PathClass, ProofPolicy};
use crate::secrets::{SecretMatch, SecretShapes};
use paths::LinkFault;

/// Maximum number of breaches in a report; more would not help a person.
const MAX_BREACHES: usize = 50;

/// Maximum size of a file that matches `uncounted`, in bytes, unless the policy allows more.
const MAX_UNCOUNTED_FILE: u64 = 4 << 20;
/// Maximum number of bytes that a change adds to all uncounted files, unless the policy allows
/// more.
const MAX_UNCOUNTED_BYTES: u64 = 32 << 20;
/// Maximum number of uncounted files that a change touches, unless the policy allows more.
const MAX_UNCOUNTED_FILES: u64 = 1_000;

/// Guardrails that cannot be compiled.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GuardrailError {
    /// A pattern of the policy is malformed.
    #[error(transparent)]
    Glob(#[from] GlobError),
    /// A built-in pattern is malformed.
    #[error("a built-in pattern of the guardrails is wrong: {0}")]
    BuiltIn(#[from] regex::Error),
}

/// The guardrails of a repo, compiled from its policy.
#[derive(Debug, Clone)]
pub struct Guardrails {
    policy: GuardrailPolicy,
    deny: Globs,
    allow_ignored: Globs,
    uncounted: Globs,
    test_material: Globs,
    built_in: &'static BuiltIn,
}

/// The rules that no policy changes. Compiled once for the process, because every candidate needs
/// them.
#[derive(Debug)]
struct BuiltIn {
    credentials: Globs,
    no_credentials: Globs,
    settings: Globs,
    volume: regex::bytes::Regex,
    npm_login: regex::bytes::Regex,
    words: &'static Words,
    secrets: &'static SecretShapes,
}

impl BuiltIn {
    fn get() -> Result<&'static Self, GuardrailError> {
        static COMPILED: OnceLock<Result<BuiltIn, GuardrailError>> = OnceLock::new();
        COMPILED.get_or_init(Self::compile).as_ref().map_err(Clone::clone)
    }

    fn compile() -> Result<Self, GuardrailError> {
        Ok(Self {
            credentials: Globs::compile_any_case("credential files", paths::CREDENTIAL_FILES)?,
            no_credentials: Globs::compile_any_case("no credentials", paths::NO_CREDENTIAL_FILES)?,
            settings: Globs::compile_any_case("settings", paths::SETTINGS_FILES)?,
            volume: regex::bytes::Regex::new(VOLUME)?,
            npm_login: regex::bytes::Regex::new(NPM_LOGIN)?,
            words: Words::get()?,
            secrets: SecretShapes::get()?,
        })
    }
}

/// What the guardrails found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GuardrailReport {
    /// The breaches, at most 50.
    pub breaches: Vec<Breach>,
    /// How many more breaches there are.
    pub further: u64,
    /// The size of the whole change, uncounted files included.
    pub stats: Tally,
}

impl GuardrailReport {
    /// Whether there is no breach.
    pub fn passed(&self) -> bool {
        self.breaches.is_empty()
    }

    /// Whether there are breaches and the agent can repair all of them by rewriting messages.
    pub fn is_of_words(&self) -> bool {
        !self.passed() && self.breaches.iter().all(Breach::is_of_words)
    }

    fn add(&mut self, breach: Breach) {
        if self.breaches.contains(&breach) {
            return;
        }
        if self.breaches.len() < MAX_BREACHES {
            self.breaches.push(breach);
            return;
        }
        self.further += 1;
        // A breach that is not named, and that rewriting messages cannot repair, must not be hidden
        // behind breaches that it can: it takes the place of one of those.
        let of_words = self.breaches.iter_mut().rev().find(|known| known.is_of_words());
        if let Some(known) = of_words.filter(|_| !breach.is_of_words()) {
            *known = breach;
        }
    }
}

impl fmt::Display for GuardrailReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.passed() {
            let Tally { files, added, removed, bytes: _ } = self.stats;
            return write!(f, "no guardrail breached ({files} files, +{added} −{removed})");
        }
        for (at, breach) in self.breaches.iter().enumerate() {
            let start = if at == 0 { "- " } else { "\n- " };
            write!(f, "{start}{breach}")?;
        }
        if self.further > 0 { write!(f, "\n- and {} more", self.further) } else { Ok(()) }
    }
}

/// `kind: PersistentVolume` or `PersistentVolumeClaim`, in YAML or JSON, also after a tag.
const VOLUME: &str =
    r#"(?-u)\bkind["']?\s*:\s*(?:[!&][^\s]*\s+)*["']?PersistentVolume(?:Claim)?(?:[^A-Za-z]|$)"#;

/// A login in an npm settings file, unless it refers to an environment variable.
const NPM_LOGIN: &str = r"(?m-u)^\s*(?:[^=\s]*:)?_(?:authToken|auth|password)\s*=\s*[^\s$]";

impl Guardrails {
    /// Compiles a policy.
    pub fn compile(policy: GuardrailPolicy) -> Result<Self, GuardrailError> {
        Ok(Self {
            deny: Globs::compile("guardrails.deny", &policy.deny)?,
            allow_ignored: Globs::compile("guardrails.allow_ignored", &policy.allow_ignored)?,
            uncounted: Globs::compile("guardrails.uncounted", &policy.uncounted)?,
            test_material: Globs::compile("guardrails.test_material", &policy.test_material)?,
            policy,
            built_in: BuiltIn::get()?,
        })
    }

    /// Judges a change between two trees and returns its whole size. `proof` says which paths are
    /// protected and whether a change may touch them. `ignored` are paths that the base's
    /// `.gitignore` files ignore.
    fn check_diff(
        &self,
        proof: &ProofPolicy,
        ignored: &BTreeSet<TreePath>,
        diff: &Diff,
        blobs: &Blobs,
        report: &mut GuardrailReport,
    ) -> Tally {
        // A secret that only moved is not new.
        let old = diff.changes.iter().filter_map(|c| Some((&c.path, c.old.as_ref()?)));
        let before: BTreeSet<&[u8]> = old
            .filter_map(|(path, entry)| Some((path, blobs.content(entry)?)))
            .flat_map(|(path, content)| {
                let found = self.secrets_in(path, content).into_iter();
                found.filter_map(|f| content.get(f.at))
            })
            .collect();
        let (mut counted, mut uncounted) = (Tally::default(), Tally::default());
        for change in &diff.changes {
            let size = tally(change, blobs);
            if self.uncounted.matches(&change.path) {
                uncounted += size;
            } else {
                counted += size;
            }
            self.check_path(proof, change, blobs, report);
            if ignored.contains(&change.path)
                && change.old.is_none()
                && !self.allow_ignored.matches(&change.path)
            {
                report.add(Breach::Ignored { path: self.masked(&change.path) });
            }
            if let Some(new) = &change.new {
                self.check_entry(proof, change, new, blobs, &before, report);
            }
        }
        let (lines, limit) = (counted.lines(), self.policy.max_diff_lines);
        if lines > limit {
            report.add(Breach::DiffTooLarge { lines, limit });
        }
        for (bytes, limit) in [
            (counted.bytes, self.policy.max_diff_bytes),
            (uncounted.bytes, self.policy.max_diff_bytes.max(MAX_UNCOUNTED_BYTES)),
        ] {
            if bytes > limit {
                report.add(Breach::DiffTooManyBytes { bytes, limit });
            }
        }
        for (files, limit) in [
            (counted.files, self.policy.max_files),
            (uncounted.files, self.policy.max_files.max(MAX_UNCOUNTED_FILES)),
        ] {
            if files > limit {
                report.add(Breach::TooManyFiles { files, limit });
            }
        }
        counted += uncounted;
        counted
    }

    /// Judges the text of a message. `speaks` says whether a trailer with this key and value is a
    /// breach.
    fn check_message(
        &self,
        of: &MessageOf,
        text: &str,
        speaks: &dyn Fn(&str, &str) -> bool,
        report: &mut GuardrailReport,
    ) {
        let BuiltIn { words, secrets, .. } = self.built_in;
        let shown = |words: &str| {
            if secrets.find_shapes(words.as_bytes()).is_empty() {
                words.chars().take(120).collect()
            } else {
                "(masked)".to_owned()
            }
        };
        if let Some(token) = words.skips_ci(text) {
            report.add(Breach::SkipsCi { of: of.clone(), token: shown(&text[token]) });
        }
        if let Some(closing) = words.closes(text) {
            // Only the beginning of the word that names the issue was matched: show all of it.
            let rest = text[closing.whole.end..].find(char::is_whitespace);
            let end = rest.map_or(text.len(), |rest| closing.whole.end + rest);
            let words = shown(&text[closing.whole.start..end]);
            report.add(Breach::ClosesIssue { of: of.clone(), words });
        }
        for line in text.lines() {
            if let Some((key, _)) = words.speaks_for(line).filter(|(k, v)| speaks(k, v)) {
                report.add(Breach::SpeaksFor { of: of.clone(), key: shown(&key) });
            }
        }
        let mut lines = Lines::of(text.as_bytes());
        for found in secrets.find(text.as_bytes()) {
            let line = lines.at(found.at.start);
            report.add(Breach::SecretInMessage { of: of.clone(), kind: found.kind, line });
        }
    }

    /// Returns what looks like a secret in a file; more counts as one in a file of settings.
    fn secrets_in(&self, path: &TreePath, content: &[u8]) -> Vec<SecretMatch> {
        if self.built_in.settings.matches(path) {
            self.built_in.secrets.find_in_settings(content)
        } else {
            self.built_in.secrets.find(content)
        }
    }

    /// Whether the operator allows the file to hold what looks like a key: it matches
    /// `test_material`, and it is a test.
    fn is_test_material(&self, proof: &ProofPolicy, path: &TreePath) -> bool {
        self.test_material.matches(path) && proof.class(path) == PathClass::Test
    }

    /// Makes the checks that only need the path, or that also apply to a deletion.
    fn check_path(
        &self,
        proof: &ProofPolicy,
        change: &Change,
        blobs: &Blobs,
        report: &mut GuardrailReport,
    ) {
        let path = || self.masked(&change.path);
        if let Some(found) = self.built_in.secrets.find_shapes(change.path.bytes()).first() {
            report.add(Breach::SecretInPath { path: path(), kind: found.kind });
        }
        if paths::is_unsafe(&change.path) {
            report.add(Breach::UnsafePath { path: path() });
        }
        if proof.is_protected(&change.path) && !proof.config().allow_protected {
            report.add(Breach::Protected { path: path() });
        }
        if self.deny.covers(&change.path) {
            report.add(Breach::Denied { path: path() });
        }
        let either = |matches: &dyn Fn(&[u8]) -> bool| {
            let sides = [&change.old, &change.new].into_iter().flatten();
            sides.filter_map(|e| blobs.content(e)).any(matches)
        };
        let npm_login = change.path.file_name() == b".npmrc"
            && either(&|content| self.built_in.npm_login.is_match(content));
        let named = self.built_in.credentials.matches(&change.path)
            && !self.built_in.no_credentials.matches(&change.path);
        if (named || npm_login) && !self.is_test_material(proof, &change.path) {
            report.add(Breach::CredentialFile { path: path() });
        }
        if is_manifest(change.path.file_name())
            && either(&|content| self.built_in.volume.is_match(content))
        {
            report.add(Breach::PersistentVolume { path: path() });
        }
    }

    /// Makes the checks of the new entry at the path. `before` are the secrets that the old side
    /// has.
    fn check_entry(
        &self,
        proof: &ProofPolicy,
        change: &Change,
        new: &Entry,
        blobs: &Blobs,
        before: &BTreeSet<&[u8]>,
        report: &mut GuardrailReport,
    ) {
        let path = || self.masked(&change.path);
        if new.mode == Mode::Submodule {
            // Nobody judged the commit that the link leads to, wherever it led before.
            let moved = change.old.as_ref().is_some_and(|old| old.mode == Mode::Submodule);
            report.add(if moved {
                Breach::SubmoduleMoved { path: path() }
            } else {
                Breach::Submodule { path: path() }
            });
            return;
        }
        let limit = if self.uncounted.matches(&change.path) {
            self.policy.max_file_bytes.max(MAX_UNCOUNTED_FILE)
        } else {
            self.policy.max_file_bytes
        };
        let blob = blobs.get(new);
        if let Some(bytes) = blob.map(Blob::size).filter(|bytes| *bytes > limit) {
            report.add(Breach::FileTooLarge { path: path(), bytes, limit });
        }
        let Some(content) = blob.and_then(Blob::content) else {
            // Content that is too large to be read was already refused for its size.
            if blob.is_none_or(|blob| blob.size() <= limit) {
                report.add(Breach::Unreadable { path: path() });
            }
            return;
        };
        if new.mode == Mode::Symlink {
            match paths::link_fault(&change.path, content) {
                None => {}
                Some(LinkFault::Absolute) => report.add(Breach::AbsoluteLink { path: path() }),
                Some(LinkFault::Escapes) => report.add(Breach::EscapingLink { path: path() }),
                Some(LinkFault::IntoGit) => report.add(Breach::LinkIntoGit { path: path() }),
            }
        }
        if self.is_test_material(proof, &change.path) {
            return;
        }
        let mut lines = Lines::of(content);
        for found in self.secrets_in(&change.path, content) {
            let secret = content.get(found.at.clone()).unwrap_or_default();
            if !before.contains(secret) {
                let line = lines.at(found.at.start);
                report.add(Breach::Secret { path: path(), kind: found.kind, line });
            }
        }
    }

    /// Returns the path, with anything that looks like a secret masked.
    fn masked(&self, path: &TreePath) -> TreePath {
        let found = self.built_in.secrets.find_shapes(path.bytes());
        if found.is_empty() {
            return path.clone();
        }
        let mut masked = Vec::new();
        let mut from = 0;
        let mut ranges: Vec<_> = found.into_iter().map(|f| f.at).collect();
        ranges.sort_by_key(|at| at.start);
        for at in ranges {
            masked.extend_from_slice(path.bytes().get(from..at.start).unwrap_or_default());
            masked.extend_from_slice(b"[secret]");
            // A shape only matches the start of a token; the rest of the component is masked, too.
            let rest = path.bytes().get(at.end..).unwrap_or_default();
            let component = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
            from = from.max(at.end + component);
        }
        masked.extend_from_slice(path.bytes().get(from..).unwrap_or_default());
        TreePath::new(&masked).unwrap_or_else(|| path.clone())
    }
}

/// Whether a file may be a manifest, also as a template (`x.yaml.tpl`).
fn is_manifest(file_name: &[u8]) -> bool {
    let name = file_name.to_ascii_lowercase();
    [&b".yaml"[..], b".yml", b".json"]
        .iter()
        .any(|part| name.windows(part.len()).any(|window| window == *part))
}

/// Converts ascending byte positions to line numbers, so that a file full of findings is only read
/// once.
struct Lines<'a> {
    content: &'a [u8],
    counted: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    const fn of(content: &'a [u8]) -> Self {
        Self { content, counted: 0, line: 1 }
    }

    /// Returns the line, from 1, of the byte at `at`, which must not be before the previous one.
    fn at(&mut self, at: usize) -> u64 {
        let between = self.content.get(self.counted..at).unwrap_or_default();
        self.line += between.split(|b| *b == b'\n').skip(1).count() as u64;
        self.counted = at;
        self.line
    }
}

#[cfg(test)]
mod tests;
