//! Finds passwords that people chose, in files of settings and in addresses.
//!
//! Such passwords have no shape, and most are too short to look random. So the place decides (a
//! line of a settings file with a name such as `password`, `user:password@` of an address), and the
//! value must not be words, a reference to something else, or an id.

use std::ops::Range;

use regex::bytes::Regex;

/// A line of a settings file that gives a value to a name such as `password`.
const SETTING: &str = r#"(?mi-u)^[ \t]*(?:export[ \t]+|set[ \t]+|-[ \t]+)?["']?[A-Za-z0-9_.-]*?(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|credentials?)["']?[ \t]*(?:=|:[ \t])[ \t]*(?:"([^"\s]{8,200})"|'([^'\s]{8,200})'|([^\s"'#,;][^\s"',;]{7,199}))[ \t]*[,;]?[ \t]*(?:#.*)?\r?$"#;

/// A member of an object within a line, as in JSON on one line, with a value in quotes.
const MEMBER: &str = r#"(?i-u)[{,][ \t]*["']?[A-Za-z0-9_.-]*?(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|credentials?)["']?[ \t]*:[ \t]*(?:"([^"\s]{8,200})"|'([^'\s]{8,200})')"#;

/// An address with a password: scheme, user, password and host.
const ADDRESS: &str = r#"(?i-u)\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@"'`<>]{0,100}:([^\s/@"'`<>]{8,200})@(\[?[a-z0-9.:_-]{1,253})"#;

/// Hosts that cannot be reached from another machine, or are examples.
const NO_HOST: &str = r"(?i-u)^(?:localhost|127\.[0-9.]+|\[?::1|0\.0\.0\.0|(?:.*\.)?example(?:\.[a-z]+)?|.*\.(?:invalid|test|localhost))(?::[0-9]+)?$";

/// Values that refer to something else: a variable, a template, a store, a file, a digest.
const REFERENCE: &str = r"(?i-u)[$<>{}()*|\\]|%[a-z(_]|^(?:[!@~/]|\.{1,2}/|[a-z][a-z0-9+.-]*://|(?:env|file|vault|ssm|arn|op|sha[0-9]+|md5|base64|enc|path|secret|secrets|projects?)[:/.])|\.(?:txt|pem|key|crt|json|ya?ml|env|py|rb|js|ts|go|rs|sh)$";

/// A universally unique id, or a name in capitals: neither is a secret.
const NAME: &str = r"(?-u)^(?:[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)$";

/// One word of a value that is made of words: letters with at most one number after them, or a
/// number with at most two letters.
const WORD: &str = r"(?-u)^(?:[A-Za-z]+[0-9]{0,4}|[0-9]+[a-z]{0,2})$";

/// The patterns, compiled once.
#[derive(Debug, Clone)]
pub(super) struct Passwords {
    setting: Regex,
    member: Regex,
    address: Regex,
    no_host: Regex,
    reference: Regex,
    name: Regex,
    word: Regex,
}

impl Passwords {
    pub(super) fn compile() -> Result<Self, regex::Error> {
        Ok(Self {
            setting: Regex::new(SETTING)?,
            member: Regex::new(MEMBER)?,
            address: Regex::new(ADDRESS)?,
            no_host: Regex::new(NO_HOST)?,
            reference: Regex::new(REFERENCE)?,
            name: Regex::new(NAME)?,
            word: Regex::new(WORD)?,
        })
    }

    /// Returns the ranges of the passwords in addresses.
    pub(super) fn in_addresses(&self, content: &[u8]) -> Vec<Range<usize>> {
        let found = self.address.captures_iter(content);
        let pairs = found.filter_map(|hit| Some((hit.get(1)?, hit.get(2)?)));
        let real = pairs.filter(|(password, host)| {
            !self.no_host.is_match(host.as_bytes()) && self.is_chosen(password.as_bytes())
        });
        real.map(|(password, _)| password.range()).collect()
    }

    /// Returns the ranges of the values that a settings file gives to names such as `password`.
    pub(super) fn in_settings(&self, content: &[u8]) -> Vec<Range<usize>> {
        let lines = self.setting.captures_iter(content);
        let found = lines.chain(self.member.captures_iter(content));
        let values = found.filter_map(|hit| hit.iter().skip(1).flatten().next());
        values.filter(|value| self.is_chosen(value.as_bytes())).map(|v| v.range()).collect()
    }

    /// Whether the value may be a password that somebody chose.
    fn is_chosen(&self, value: &[u8]) -> bool {
        let count = |class: fn(&u8) -> bool| value.iter().filter(|b| class(b)).count();
        let mixed = count(u8::is_ascii_digit) >= 1 && count(u8::is_ascii_alphabetic) >= 4;
        let parts = value.split(|b| b"-_./:@+,".contains(b)).filter(|part| !part.is_empty());
        let words = parts.into_iter().all(|part| self.word.is_match(part));
        mixed && !words && !self.reference.is_match(value) && !self.name.is_match(value)
    }
}
