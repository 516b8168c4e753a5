//! Finds what looks like a secret, without ever repeating it.
//!
//! Known shapes (cloud keys, forge tokens, private key blocks) are found anywhere; a secret without
//! a shape only if it is a long random-looking value assigned to a name such as `password`.
//! Placeholders are ignored. `guardrails` uses this to refuse a change, `text::Mask` to mask
//! secrets in text.

use std::fmt;
use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::{Regex, RegexSet};
use serde::{Deserialize, Serialize};

/// What a secret looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretKind {
    /// A key id of AWS.
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
    /// A private key.
    PrivateKey,
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
            Self::PrivateKey => "a private key",
            Self::Assigned => "a literal secret",
        })
    }
}

/// The position of a secret, and what it looks like.
pub(crate) struct Found {
    pub(crate) kind: SecretKind,
    pub(crate) at: Range<usize>,
}

/// The known shapes; all but a private key start at the beginning of a word.
const SHAPES: &[(SecretKind, &str)] = &[
    (SecretKind::AwsKey, r"(?-u)(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    (
        SecretKind::GithubToken,
        r"(?-u)gh[pousr]_[A-Za-z0-9]{36}|ghs_[A-Za-z0-9._-]{36}|github_pat_[A-Za-z0-9_]{22}",
    ),
    (SecretKind::GitlabToken, r"(?-u)glpat-[A-Za-z0-9_-]{20}"),
    (
        SecretKind::SlackToken,
        r"(?-u)xox[abeoprs]-[A-Za-z0-9-]{10}|hooks\.slack\.com/services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{16}",
    ),
    (SecretKind::AnthropicKey, r"(?-u)sk-ant-[A-Za-z0-9_-]{20}"),
    (
        SecretKind::OpenAiKey,
        r"(?-u)sk-(?:(?:proj|svcacct|admin)-[A-Za-z0-9_-]{32}|[A-Za-z0-9]{40})",
    ),
    (SecretKind::GoogleKey, r"(?-u)AIza[0-9A-Za-z_-]{35}"),
    (SecretKind::StripeKey, r"(?-u)[rs]k_live_[0-9A-Za-z]{20}"),
    (SecretKind::NpmToken, r"(?-u)npm_[A-Za-z0-9]{36}"),
    (SecretKind::VaultToken, r"(?-u)hvs\.[A-Za-z0-9_-]{24}"),
    // A header alone does not count: some of the key must follow.
    (
        SecretKind::PrivateKey,
        r"(?s-u)-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----.{1,300}?[A-Za-z0-9+/]{40}",
    ),
];

/// The end of a private key.
const KEY_END: &str = r"(?-u)-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----";

/// Escapes of JSON or of a terminal that end in a letter and may come right before a word.
const ESCAPE: &str =
    r"(?-u)(?:\\[bfnrt]|\\u[0-9A-Fa-f]{4}|(?:\x1b|\\u001[bB])\[[0-9;]{0,12}[A-Za-z])$";

/// How far a secret may continue after the part that identifies it, in bytes.
const LONGEST: usize = 15 << 10;

/// Maximum length of an escape, in bytes.
const ESCAPE_LEN: usize = 24;

/// A telling name and the value assigned to it: quoted, or the rest of the line.
const ASSIGNED: &str = r#"(?mi-u)(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|credentials?)["']?[ \t]*(?::=|=>|[:=])[ \t]*(?:"([A-Za-z0-9+/_=.~-]{20,200})"|'([A-Za-z0-9+/_=.~-]{20,200})'|([A-Za-z0-9+/_=.~-]{20,200})[ \t]*;?\r?$)"#;

/// The same in the output of a program, which may be JSON.
const ASSIGNED_IN_OUTPUT: &str = r#"(?mi-u)(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|credentials?)\\?["']?[ \t]*(?::=|=>|[:=])[ \t]*\\?["']?([A-Za-z0-9+/_=.~-]{20,200})[ \t]*;?(?:["']|\\["nrt]|\r?$)"#;

/// Words that mark a value as a placeholder.
const STAND_INS: &str = r"(?i-u)example|dummy|placeholder|changeme|change_me|your[_-]|xxxx|fake|sample|redacted|test|not[_-]?a[_-]?(?:real|secret)|1234567890|abcdef(?:gh|01)|deadbeef";

/// The shapes, compiled once.
#[derive(Debug, Clone)]
pub(crate) struct SecretShapes {
    any: RegexSet,
    shapes: Vec<(SecretKind, Regex)>,
    key_end: Regex,
    escape: Regex,
    assigned: Regex,
    assigned_in_output: Regex,
    stand_ins: Regex,
}

impl SecretShapes {
    /// The shapes, compiled once. An error is a mistake in this file.
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
        })
    }

    /// Everything in `content` that looks like a secret, in order of position.
    pub(crate) fn find(&self, content: &[u8]) -> Vec<Found> {
        let mut found = self.find_shapes(content);
        let shaped = merged(found.iter().map(|f| f.at.clone()).collect());
        for captures in self.assigned.captures_iter(content) {
            let value = captures.iter().skip(1).flatten().next();
            if let Some(value) = value.filter(|v| self.looks_random(v.as_bytes())) {
                let at = value.range();
                let next = shaped.partition_point(|shape| shape.end <= at.start);
                if shaped.get(next).is_none_or(|shape| at.end <= shape.start) {
                    found.push(Found { kind: SecretKind::Assigned, at });
                }
            }
        }
        found.sort_by_key(|f| f.at.start);
        found
    }

    /// Everything that has a known shape.
    pub(crate) fn find_shapes(&self, content: &[u8]) -> Vec<Found> {
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
                    found.push(Found { kind: *kind, at: hit.range() });
                }
                from = hit.end();
            }
        }
        found
    }

    /// The ranges of all secrets in the output of a program, plain or inside JSON, each to its end.
    pub(crate) fn find_whole(&self, content: &[u8]) -> Vec<Range<usize>> {
        let shaped = self.find_shapes(content).into_iter();
        let mut found: Vec<_> = shaped.map(|found| self.whole(content, &found)).collect();
        let assigned = self.assigned_in_output.captures_iter(content);
        let values = assigned.filter_map(|captures| captures.get(1));
        found.extend(values.filter(|v| self.looks_random(v.as_bytes())).map(|v| v.range()));
        found
    }

    /// A match extended to the end of the secret, since a shape only describes its start.
    fn whole(&self, content: &[u8], found: &Found) -> Range<usize> {
        let Range { start, end } = found.at;
        let rest = content.get(end..).unwrap_or_default();
        let rest = rest.get(..LONGEST).unwrap_or(rest);
        let more = if found.kind == SecretKind::PrivateKey {
            // No key contains a quote: what comes after one is another text.
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

    /// Whether a value is not just words: it has letters and digits, evenly distributed.
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

/// The same places as disjoint ranges, in order.
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

/// A documented example key, or one repeated letter.
fn is_stand_in(secret: &[u8]) -> bool {
    let tail = secret.get(secret.len().saturating_sub(16)..).unwrap_or_default();
    secret.windows(7).any(|w| w.eq_ignore_ascii_case(b"example")) || entropy(tail) < 2.0
}

/// Shannon's entropy in bits a byte.
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    let all = bytes.len() as f64;
    let shares = counts.iter().filter(|n| **n > 0).map(|n| f64::from(*n) / all);
    shares.map(|p| -p * p.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(content: &str) -> Vec<SecretKind> {
        let shapes = SecretShapes::get().unwrap();
        shapes.find(content.as_bytes()).into_iter().map(|f| f.kind).collect()
    }

    /// Joined at run time, so that no file of ours contains what looks like a secret.
    fn join(parts: &[&str]) -> String {
        parts.concat()
    }

    const RANDOM: &str = "q7Zk2Wm9Xc4Vb8Nn3Ls6Pd1Rf5Tg0Hj";

    #[test]
    fn known_shapes_are_found() {
        use SecretKind as K;
        let pem = join(&["-----BEGIN RSA ", "PRIVATE KEY-----\n", RANDOM, RANDOM, "\n"]);
        for (content, kind) in [
            (join(&["AK", "IAQ7ZK2WM9XC4VB8NN"]), K::AwsKey),
            (join(&["AK", "IAQ7ZKQ7ZKQ7ZKQ7ZK"]), K::AwsKey),
            (join(&["x = \"gh", "p_", RANDOM, "AbC12\""]), K::GithubToken),
            (join(&["github", "_pat_", RANDOM]), K::GithubToken),
            (join(&["gh", "s_123_eyJhbGciOiJSUzI1NiJ9.", RANDOM, ".x"]), K::GithubToken),
            (join(&["\\nAK", "IAQ7ZK2WM9XC4VB8NN"]), K::AwsKey),
            (join(&["\x1b[1;32msk-", "ant-api03-", RANDOM]), K::AnthropicKey),
            (join(&["zsk-ant-sk-", "ant-api03-", RANDOM]), K::AnthropicKey),
            (join(&["gl", "pat-", RANDOM]), K::GitlabToken),
            (join(&["xo", "xb-1203920391-", RANDOM]), K::SlackToken),
            (join(&["sk-", "ant-api03-", RANDOM]), K::AnthropicKey),
            (join(&["sk-", "proj-", RANDOM, "Ab"]), K::OpenAiKey),
            (join(&["AI", "za", RANDOM, "AbCd"]), K::GoogleKey),
            (join(&["sk_", "live_", RANDOM]), K::StripeKey),
            (join(&["np", "m_", RANDOM, "AbC12"]), K::NpmToken),
            (join(&["hv", "s.", RANDOM]), K::VaultToken),
            (pem, K::PrivateKey),
            (format!("db_password = \"{RANDOM}\""), K::Assigned),
            (format!("export API_KEY={RANDOM}\n"), K::Assigned),
            (format!("{{\"clientSecret\": \"{RANDOM}\"}}"), K::Assigned),
            (format!("token: '{}'", "0f9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c"), K::Assigned),
        ] {
            assert_eq!(kinds(&content), [kind]);
        }
    }

    #[test]
    fn plain_text_is_left_alone() {
        for content in [
            "let token = next_token_from_the_stream(&mut input);",
            "password = \"correct-horse-battery-staple\"",
            "api_key: \"YOUR_API_KEY_GOES_HERE_0123\"",
            "secret = \"${VAULT_SECRET_DATABASE_PASSWORD}\"",
            "token = process.env.SOME_VERY_LONG_NAME_2",
            "token: tokenFromTheRequestHeader",
            "secret_name = \"my-service/database/credentials-v2\"",
            "checksum = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"",
            "secret = \"QwErTyUiOpAsDfGhJkLzXcVb\"",
            "token: '0f9e8d7c6b5a4f3e2d1c0b9a'",
            "secret = \"q7zk2wm9xc4vb8nn3ls6pd1rf5tg0hj\"",
            "secret = \"Q7ZK2WM9XC4VB8NN3LS6PD1RF5TG0HJ\"",
            "secret = \"Aa1Aa1Aa1Aa1Aa1Aa1Aa1Aa1\"",
            "AKIAIOSFODNN7EXAMPLE",
            "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "starts with -----BEGIN RSA PRIVATE KEY----- and nothing else",
            "the sk-ant- prefix, xoxb- and ghp_ are looked for",
            "task-antics-and-other-things-that-are-long",
            "disk-0f9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b3a2f1e",
        ] {
            assert_eq!(kinds(content), [], "{content}");
        }
    }

    #[test]
    fn a_value_is_found_once() {
        let content = join(&["token = \"gh", "p_", RANDOM, "AbC12\""]);
        assert_eq!(kinds(&content), [SecretKind::GithubToken]);
        let other = join(&["secret = \"", RANDOM, "\""]);
        let assigned = SecretKind::Assigned;
        let between = [content.as_str(), &other, &content, &other].join("\n");
        let github = SecretKind::GithubToken;
        assert_eq!(kinds(&between), [github, assigned, github, assigned]);
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let check = |ranges: &[Range<usize>], expected: &[Range<usize>]| {
            assert_eq!(merged(ranges.to_vec()), expected, "{ranges:?}");
        };
        check(&[], &[]);
        check(&[5..9, 0..3], &[0..3, 5..9]);
        check(&[0..3, 3..4, 5..6], &[0..4, 5..6]);
        check(&[0..9, 2..4, 8..10, 12..13], &[0..10, 12..13]);
    }
}
