//! Finds what looks like a secret, without ever repeating it.
//!
//! Known shapes (cloud keys, forge tokens, private key blocks) are found anywhere, and so are
//! passwords in addresses. A secret without a shape is only found as a long random-looking value
//! that is assigned to a name such as `password`, or, in a file of settings, as any value of such a
//! name that is not just words. Placeholders are ignored. Why these rules are our own: ADR 23.
//! `guardrails` uses this to refuse a change, `text::Mask` to mask secrets in text.

mod passwords;
mod shapes;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::{Regex, RegexSet};
use serde::{Deserialize, Serialize};

use passwords::Passwords;
use shapes::SHAPES;

/// What a secret looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretKind {
    /// An access key id of AWS.
    AwsKey,
    /// A token of GitHub.
    GithubToken,
    /// A token of GitLab.
    GitlabToken,
    /// A token or webhook of Slack.
    SlackToken,
    /// A key of Anthropic.
    AnthropicKey,
    /// A key of OpenAI.
    OpenAiKey,
    /// A key of Google.
    GoogleKey,
    /// A live key of Stripe.
    StripeKey,
    /// A token of npm.
    NpmToken,
    /// A token of Vault.
    VaultToken,
    /// A token of another service, known by its prefix.
    ServiceToken,
    /// A private key.
    PrivateKey,
    /// A password in an address, such as a database's.
    AddressPassword,
    /// A random-looking value assigned to a name such as `password`.
    Assigned,
}

impl fmt::Display for SecretKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AwsKey => "an AWS key",
            Self::GithubToken => "a GitHub token",
            Self::GitlabToken => "a GitLab token",
            Self::SlackToken => "a Slack token",
            Self::AnthropicKey => "an Anthropic key",
            Self::OpenAiKey => "an OpenAI key",
            Self::GoogleKey => "a Google key",
            Self::StripeKey => "a live Stripe key",
            Self::NpmToken => "an npm token",
            Self::VaultToken => "a Vault token",
            Self::ServiceToken => "a service's token",
            Self::PrivateKey => "a private key",
            Self::AddressPassword => "a password in an address",
            Self::Assigned => "a literal secret",
        })
    }
}

/// The byte range of a secret, and what it looks like.
pub(crate) struct SecretMatch {
    pub(crate) kind: SecretKind,
    pub(crate) at: Range<usize>,
}

/// The end of a private key.
const KEY_END: &str = r"(?-u)-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----";

/// Escapes of JSON or of a terminal that end in a letter and may come right before a word.
const ESCAPE: &str =
    r"(?-u)(?:\\[bfnrt]|\\u[0-9A-Fa-f]{4}|(?:\x1b|\\u001[bB])\[[0-9;]{0,12}[A-Za-z])$";

/// How far a secret may continue after the part that identifies it, at most, in bytes.
const LONGEST: usize = 15 << 10;

/// Maximum length of an escape, in bytes.
const ESCAPE_LEN: usize = 24;

/// A name such as `password` and the value assigned to it: quoted, or the rest of the line.
const ASSIGNED: &str = r#"(?mi-u)(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|credentials?)["']?[ \t]*(?::=|=>|[:=])[ \t]*(?:"([A-Za-z0-9+/_=.~-]{20,200})"|'([A-Za-z0-9+/_=.~-]{20,200})'|([A-Za-z0-9+/_=.~-]{20,200})[ \t]*;?\r?$)"#;

/// As [`ASSIGNED`], but in the output of a program, which may be JSON.
const ASSIGNED_IN_OUTPUT: &str = r#"(?mi-u)(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|credentials?)\\?["']?[ \t]*(?::=|=>|[:=])[ \t]*\\?["']?([A-Za-z0-9+/_=.~-]{20,200})[ \t]*;?(?:["']|\\["nrt]|\r?$)"#;

/// Words that mark a value as a placeholder.
const STAND_INS: &str = r"(?i-u)example|dummy|placeholder|changeme|change_me|your[_-]|xxxx|fake|sample|redacted|test|not[_-]?a[_-]?(?:real|secret)|1234567890|abcdef(?:gh|01)|deadbeef";

/// The patterns of this module, compiled.
#[derive(Debug, Clone)]
pub(crate) struct SecretShapes {
    any: RegexSet,
    shapes: Vec<(SecretKind, Regex)>,
    key_end: Regex,
    escape: Regex,
    assigned: Regex,
    assigned_in_output: Regex,
    stand_ins: Regex,
    passwords: Passwords,
}

impl SecretShapes {
    /// Returns the patterns, compiled once for the process. An error is a mistake in this module.
    pub(crate) fn get() -> Result<&'static Self, regex::Error> {
        static COMPILED: LazyLock<Result<SecretShapes, regex::Error>> =
            LazyLock::new(SecretShapes::compile);
        COMPILED.as_ref().map_err(Clone::clone)
    }

    fn compile() -> Result<Self, regex::Error> {
        let shapes = SHAPES
            .iter()
            .map(|(kind, shape)| Regex::new(shape).map(|shape| (*kind, shape)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            any: RegexSet::new(SHAPES.iter().map(|(_, shape)| shape))?,
            shapes,
            key_end: Regex::new(KEY_END)?,
            escape: Regex::new(ESCAPE)?,
            assigned: Regex::new(ASSIGNED)?,
            assigned_in_output: Regex::new(ASSIGNED_IN_OUTPUT)?,
            stand_ins: Regex::new(STAND_INS)?,
            passwords: Passwords::compile()?,
        })
    }

    /// Returns everything in `content` that looks like a secret, in order of position.
    pub(crate) fn find(&self, content: &[u8]) -> Vec<SecretMatch> {
        self.find_with(content, Vec::new())
    }

    /// As [`SecretShapes::find`], but for a file of settings, where any value of a name such as
    /// `password` may be a secret.
    pub(crate) fn find_in_settings(&self, content: &[u8]) -> Vec<SecretMatch> {
        self.find_with(content, self.passwords.in_settings(content))
    }

    fn find_with(&self, content: &[u8], settings: Vec<Range<usize>>) -> Vec<SecretMatch> {
        let mut found = self.find_shapes(content);
        let assigned = self.assigned.captures_iter(content);
        let assigned = assigned.filter_map(|captures| captures.iter().skip(1).flatten().next());
        let assigned = assigned.filter(|value| self.looks_random(value.as_bytes()));
        let assigned: Vec<_> = assigned.map(|value| value.range()).collect();
        let addresses = self.passwords.in_addresses(content);
        for (kind, places) in [
            (SecretKind::AddressPassword, addresses),
            (SecretKind::Assigned, assigned),
            (SecretKind::Assigned, settings),
        ] {
            // A place that was found already is not found again as a less certain kind.
            let known = merged(found.iter().map(|f| f.at.clone()).collect());
            let new = places.into_iter().filter(|at| {
                let next = known.partition_point(|known| known.end <= at.start);
                let free = known.get(next).is_none_or(|known| at.end <= known.start);
                let value = content.get(at.clone()).unwrap_or_default();
                free && !self.stand_ins.is_match(value)
            });
            found.extend(new.map(|at| SecretMatch { kind, at }));
        }
        found.sort_by_key(|f| f.at.start);
        found
    }

    /// Returns everything that has a known shape.
    pub(crate) fn find_shapes(&self, content: &[u8]) -> Vec<SecretMatch> {
        let mut found = Vec::new();
        for (kind, shape) in
            self.any.matches(content).into_iter().filter_map(|i| self.shapes.get(i))
        {
            let mut from = 0;
            while let Some(hit) = shape.find_at(content, from) {
                let key = *kind == SecretKind::PrivateKey;
                if !key && !self.begins_a_word(content, hit.start()) {
                    from = hit.start() + 1;
                    continue;
                }
                if key || !is_stand_in(hit.as_bytes()) {
                    found.push(SecretMatch { kind: *kind, at: hit.range() });
                }
                from = hit.end();
            }
        }
        found
    }

    /// Returns the ranges of all secrets in the output of a program, plain or inside JSON, each
    /// extended to the end of the secret.
    pub(crate) fn find_whole(&self, content: &[u8]) -> Vec<Range<usize>> {
        let shaped = self.find_shapes(content).into_iter();
        let mut found: Vec<_> = shaped.map(|found| self.whole(content, &found)).collect();
        let assigned = self.assigned_in_output.captures_iter(content);
        let values = assigned.filter_map(|captures| captures.get(1));
        found.extend(self.passwords.in_addresses(content));
        found.extend(values.filter(|v| self.looks_random(v.as_bytes())).map(|v| v.range()));
        found
    }

    /// Extends a match to the end of the secret, since a shape only describes its start.
    fn whole(&self, content: &[u8], found: &SecretMatch) -> Range<usize> {
        let Range { start, end } = found.at;
        let rest = content.get(end..).unwrap_or_default();
        let rest = rest.get(..LONGEST).unwrap_or(rest);
        let more = if found.kind == SecretKind::PrivateKey {
            // No key contains a quote: the text after one is something else.
            let text = rest.split(|byte| *byte == b'"').next().unwrap_or_default();
            match self.key_end.find(text) {
                Some(hit) => hit.end(),
                None => text
                    .iter()
                    .take_while(|b| b.is_ascii_alphanumeric() || b"+/=\\\r\n \t".contains(b))
                    .count(),
            }
        } else {
            let dotted = |at: usize| {
                rest.get(at) == Some(&b'.')
                    && rest.get(at + 1).is_some_and(u8::is_ascii_alphanumeric)
            };
            let word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
            (0..rest.len()).find(|at| !word(&rest[*at]) && !dotted(*at)).unwrap_or(rest.len())
        };
        start..end + more
    }

    /// Whether a word may begin at `at`.
    fn begins_a_word(&self, content: &[u8], at: usize) -> bool {
        let before = content.get(at.saturating_sub(ESCAPE_LEN)..at).unwrap_or_default();
        let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        !before.last().is_some_and(word) || self.escape.is_match(before)
    }

    /// Whether a value looks random and is no placeholder: it has letters and digits, evenly
    /// distributed.
    fn looks_random(&self, value: &[u8]) -> bool {
        let count = |class: fn(&u8) -> bool| value.iter().filter(|b| class(b)).count();
        let digits = count(u8::is_ascii_digit);
        let (upper, lower) = (count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase));
        let hex = value.iter().all(u8::is_ascii_hexdigit);
        let mixed = digits >= 2 && upper + lower >= 4;
        let bits = entropy(value);
        let wide = if hex {
            value.len() >= 32 && bits >= 3.0
        } else {
            upper > 0 && lower > 0 && bits >= 3.8
        };
        mixed && wide && !self.stand_ins.is_match(value)
    }
}

/// Merges ranges that overlap or touch, and sorts them.
pub(crate) fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|at| at.start);
    ranges.dedup_by(|next, before| {
        let touches = next.start <= before.end;
        if touches {
            before.end = before.end.max(next.end);
        }
        touches
    });
    ranges
}

/// The beginning of the documented key that every storage emulator of Azure has.
const EMULATOR: &[u8] = b"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1";

/// Whether it is a documented example key, or ends in a few repeated characters.
fn is_stand_in(secret: &[u8]) -> bool {
    let tail = secret.get(secret.len().saturating_sub(16)..).unwrap_or_default();
    secret.windows(7).any(|w| w.eq_ignore_ascii_case(b"example"))
        || secret.windows(EMULATOR.len()).any(|w| w == EMULATOR)
        || entropy(tail) < 2.0
}

/// Returns Shannon's entropy in bits per byte.
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    let all = bytes.len() as f64;
    let shares = counts.iter().filter(|n| **n > 0).map(|n| f64::from(*n) / all);
    shares.map(|p| -p * p.log2()).sum()
}
