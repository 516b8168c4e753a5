//! The guardrails: what a change may never contain, however well it is proved.
//!
//! Applied to the exact candidate before it lands. They judge raw trees and blobs and every
//! message, and fail closed: content that cannot be read is a breach. A breach names the kind, the
//! path and the line, never the secret. Whether a change is *proved* is decided by `proof`.

mod breach;
mod messages;
mod paths;

pub use crate::secrets::SecretKind;
pub use breach::{Breach, MessageOf};

use std::collections::BTreeSet;
use std::fmt;
use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::change::{Blob, Blobs, Change, Diff, Entry, Mode, Tally, TreePath, tally};
use crate::globs::{GlobError, Globs};
use crate::proof::ProofPolicy;
use crate::secrets::SecretShapes;
use messages::MessageRules;
use paths::LinkFault;

/// Maximum number of breaches in a report; more do not help a person.
const MAX_BREACHES: usize = 50;

/// The limits and the deny list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GuardrailPolicy {
    /// Maximum size of a file in a change, in bytes.
    pub max_file_bytes: u64,
    /// Maximum number of lines that a change adds and removes together.
    pub max_diff_lines: u64,
    /// Patterns of further paths that a change may not touch; a folder covers its contents.
    pub deny: Vec<String>,
}

impl Default for GuardrailPolicy {
    fn default() -> Self {
        Self { max_file_bytes: 1 << 20, max_diff_lines: 2_000, deny: Vec::new() }
    }
}

/// Guardrails that cannot be compiled.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GuardrailError {
    /// A pattern is wrong.
    #[error(transparent)]
    Glob(#[from] GlobError),
    /// One of our own patterns is wrong.
    #[error("a built-in pattern of the guardrails is wrong: {0}")]
    BuiltIn(#[from] regex::Error),
}

/// The guardrails, compiled once.
#[derive(Debug, Clone)]
pub struct Guardrails {
    policy: GuardrailPolicy,
    deny: Globs,
    built_in: &'static BuiltIn,
}

/// What no policy changes. Compiled once for the process, because every candidate needs it.
#[derive(Debug)]
struct BuiltIn {
    credentials: Globs,
    no_credentials: Globs,
    volume: regex::bytes::Regex,
    npm_login: regex::bytes::Regex,
    messages: MessageRules,
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
            volume: regex::bytes::Regex::new(VOLUME)?,
            npm_login: regex::bytes::Regex::new(NPM_LOGIN)?,
            messages: MessageRules::compile()?,
            secrets: SecretShapes::get()?,
        })
    }
}

/// A message that would be published with the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Whose.
    pub of: MessageOf,
    /// The whole message.
    pub text: String,
}

/// What the guardrails found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GuardrailReport {
    /// The breaches, at most 50.
    pub breaches: Vec<Breach>,
    /// How many more there are.
    pub further: u64,
    /// How large the change is.
    pub stats: Tally,
}

impl GuardrailReport {
    /// Whether there is no breach.
    pub fn passed(&self) -> bool {
        self.breaches.is_empty()
    }

    fn add(&mut self, breach: Breach) {
        if self.breaches.len() < MAX_BREACHES {
            self.breaches.push(breach);
        } else {
            self.further += 1;
        }
    }
}

impl fmt::Display for GuardrailReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.passed() {
            let Tally { files, added, removed } = self.stats;
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
        let deny = Globs::compile("guardrails.deny", &policy.deny)?;
        Ok(Self { policy, deny, built_in: BuiltIn::get()? })
    }

    /// Judges a change and its messages. Protected paths are judged by `proof`, which also knows
    /// whether they may be touched.
    pub fn check(
        &self,
        proof: &ProofPolicy,
        diff: &Diff,
        blobs: &Blobs,
        messages: &[Message],
    ) -> GuardrailReport {
        let mut report = GuardrailReport::default();
        for message in messages {
            self.check_message(message, &mut report);
        }
        // A secret that only moved is not new.
        let old = diff.changes.iter().filter_map(|c| c.old.as_ref());
        let before: BTreeSet<&[u8]> = old
            .filter_map(|entry| blobs.content(entry))
            .flat_map(|content| {
                let found = self.built_in.secrets.find(content).into_iter();
                found.filter_map(|f| content.get(f.at))
            })
            .collect();
        for change in &diff.changes {
            report.stats += tally(change, blobs);
            self.check_path(proof, change, blobs, &mut report);
            if let Some(new) = &change.new {
                self.check_entry(change, new, blobs, &before, &mut report);
            }
        }
        let (lines, limit) = (report.stats.lines(), self.policy.max_diff_lines);
        if lines > limit {
            report.add(Breach::DiffTooLarge { lines, limit });
        }
        report
    }

    fn check_message(&self, message: &Message, report: &mut GuardrailReport) {
        let of = || message.of.clone();
        if let Some(token) = self.built_in.messages.skips_ci(&message.text) {
            report.add(Breach::SkipsCi { of: of(), token: token.to_owned() });
        }
        if let Some(words) = self.built_in.messages.closes(&message.text) {
            let words = if self.built_in.secrets.find_shapes(words.as_bytes()).is_empty() {
                words.chars().take(120).collect()
            } else {
                "(masked)".to_owned()
            };
            report.add(Breach::ClosesIssue { of: of(), words });
        }
        let text = message.text.as_bytes();
        let mut lines = Lines::of(text);
        for found in self.built_in.secrets.find(text) {
            let line = lines.at(found.at.start);
            report.add(Breach::SecretInMessage { of: of(), kind: found.kind, line });
        }
    }

    /// Checks that only need the path, or that also apply to a deletion.
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
        if named || npm_login {
            report.add(Breach::CredentialFile { path: path() });
        }
        if is_manifest(change.path.file_name())
            && either(&|content| self.built_in.volume.is_match(content))
        {
            report.add(Breach::PersistentVolume { path: path() });
        }
    }

    /// Checks of the new entry at the path.
    fn check_entry(
        &self,
        change: &Change,
        new: &Entry,
        blobs: &Blobs,
        before: &BTreeSet<&[u8]>,
        report: &mut GuardrailReport,
    ) {
        let path = || self.masked(&change.path);
        if new.mode == Mode::Submodule {
            let known = change.old.as_ref().is_some_and(|old| old.mode == Mode::Submodule);
            if !known {
                report.add(Breach::Submodule { path: path() });
            }
            return;
        }
        let limit = self.policy.max_file_bytes;
        let blob = blobs.get(new);
        if let Some(bytes) = blob.map(Blob::size).filter(|bytes| *bytes > limit) {
            report.add(Breach::FileTooLarge { path: path(), bytes, limit });
        }
        let Some(content) = blob.and_then(Blob::content) else {
            // Content too large to read is refused for its size.
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
        let mut lines = Lines::of(content);
        for found in self.built_in.secrets.find(content) {
            let secret = content.get(found.at.clone()).unwrap_or_default();
            if !before.contains(secret) {
                let line = lines.at(found.at.start);
                report.add(Breach::Secret { path: path(), kind: found.kind, line });
            }
        }
    }

    /// The path, with anything that looks like a secret masked.
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
            // A shape matches a token's start; the rest of its component is masked too.
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

/// Line numbers, requested in ascending order, so that a file full of findings is read once.
struct Lines<'a> {
    content: &'a [u8],
    counted: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    const fn of(content: &'a [u8]) -> Self {
        Self { content, counted: 0, line: 1 }
    }

    /// The line of the byte at `at`, which must not be before the previous one.
    fn at(&mut self, at: usize) -> u64 {
        let between = self.content.get(self.counted..at).unwrap_or_default();
        self.line += between.split(|b| *b == b'\n').skip(1).count() as u64;
        self.counted = at;
        self.line
    }
}

#[cfg(test)]
mod tests;
