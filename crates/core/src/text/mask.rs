//! Masks secrets in what agents and jobs write, before anything stores or shows it.
//!
//! A [`Mask`] finds known values, including their JSON, URL, base64 and hex encodings, and whatever
//! has the shape of a secret. Every byte of a secret becomes [`MASKED`], so that offsets stay valid
//! and JSON stays JSON. Known values of fewer than [`SHORTEST`] bytes are ignored: masking them
//! would mask ordinary words. Not covered: a secret that somebody split or encoded in another way.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};

use crate::secrets::{SecretShapes, merged};

/// The byte that replaces each byte of a secret.
pub const MASKED: u8 = b'*';

/// How many bytes of context a part of a text needs on both sides to be masked as in the whole
/// text: no secret that is found is longer.
pub const REACH: usize = 16 << 10;

/// Minimum length of a known value to be masked, in bytes.
const SHORTEST: usize = 8;

/// Minimum length of a line of a known value to be masked by itself, in bytes.
const LINE: usize = 16;

/// Finds secrets and masks them.
#[derive(Clone, Default)]
pub struct Mask {
    known: Option<AhoCorasick>,
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The patterns are the secrets, so only their number is shown.
        let known = self.known.as_ref().map_or(0, AhoCorasick::patterns_len);
        write!(f, "Mask({known} known)")
    }
}

impl Mask {
    /// Returns a mask that knows these values; the shapes of secrets are built in.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut spelled = BTreeSet::new();
        for value in values {
            let value = value.trim();
            spell(value, SHORTEST, &mut spelled);
            if value.contains('\n') {
                for line in value.lines() {
                    spell(line.trim(), LINE, &mut spelled);
                }
            }
        }
        if spelled.is_empty() {
            return Self::default();
        }
        // Fails only for more patterns than fit in memory.
        let known = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(spelled);
        Self { known: known.ok() }
    }

    /// Returns `text` with its secrets masked; its length does not change.
    pub fn bytes<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        filled(text, self.places(text))
    }

    /// As [`Mask::bytes`], for a string. Its length does not change either.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        lossy(text, self.bytes(text.as_bytes()))
    }

    /// Returns `text` with only the known values masked, for callers that search for shapes
    /// afterwards.
    pub fn known<'a>(&self, text: &'a str) -> Cow<'a, str> {
        lossy(text, filled(text.as_bytes(), self.known_places(text.as_bytes())))
    }

    /// Returns the ranges of secrets in `text`, in order and disjoint.
    pub fn places(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut places = self.known_places(text);
        match SecretShapes::get() {
            // The known values are masked first, so that a shape right after one begins a word.
            Ok(shapes) => places.extend(shapes.find_whole(&filled(text, places.clone()))),
            // Fails only if a built-in pattern does not compile, which a test rules out.
            Err(_) => places.push(0..text.len()),
        }
        merged(places)
    }

    fn known_places(&self, text: &[u8]) -> Vec<Range<usize>> {
        self.known.iter().flat_map(|known| known.find_iter(text)).map(|hit| hit.range()).collect()
    }
}

fn filled(text: &[u8], places: Vec<Range<usize>>) -> Cow<'_, [u8]> {
    if places.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut text = text.to_vec();
    for place in places {
        text[place].fill(MASKED);
    }
    Cow::Owned(text)
}

/// Returns `masked`, which was made from `text`, as a string.
fn lossy<'a>(text: &'a str, masked: Cow<'_, [u8]>) -> Cow<'a, str> {
    match masked {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(masked) => Cow::Owned(String::from_utf8_lossy(&masked).into_owned()),
    }
}

/// Adds the encodings in which programs write `value`, if it has at least `shortest` bytes.
fn spell(value: &str, shortest: usize, into: &mut BTreeSet<Vec<u8>>) {
    if value.len() < shortest {
        return;
    }
    let json = json(value);
    into.extend([json.as_str(), &self::json(&json), &in_html(&json), value].map(Vec::from));
    for upper in [true, false] {
        let url = url(value, upper);
        into.insert(url.replace("%20", "+").into_bytes());
        into.insert(url.into_bytes());
        into.insert(hex(value.as_bytes(), upper).into_bytes());
    }
    for shift in 0..3 {
        for engine in [&BASE64_STANDARD_NO_PAD, &BASE64_URL_SAFE_NO_PAD] {
            let shifted = [&[0; 2][..shift], value.as_bytes()].concat();
            let text = engine.encode(&shifted);
            // The first and last characters of an encoding share bits with the neighbouring bytes.
            let from = [0, 2, 3][shift];
            let to = text.len() - usize::from(shifted.len() % 3 != 0);
            into.extend(text.get(from..to).map(Vec::from).filter(|part| part.len() >= SHORTEST));
        }
    }
}

/// Returns `value` as it appears between the quotes of JSON.
fn json(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}

/// Returns JSON as encoders write it whose output is safe in HTML.
fn in_html(json: &str) -> String {
    json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

fn url(value: &str, upper: bool) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let encode = |byte| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{}", hex(&[byte], upper)) }
    };
    value.bytes().map(encode).collect()
}

fn hex(bytes: &[u8], upper: bool) -> String {
    let digits = |byte: &u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
    bytes.iter().map(digits).collect()
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "Zq7-Wm2/Xc9+\"Vb4\\Nn8<Ls3 Pd6";
    const RANDOM: &str = "q7Zk2Wm9Xc4Vb8Nn3Ls6Pd1Rf5Tg0Hj";

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let masked = Mask::new([KEY]).text(text).into_owned();
        assert_eq!(masked, expected, "{text}");
        assert_eq!(masked.len(), text.len());
    }

    /// `text` with every character of the secret in it masked.
    fn stars(text: &str, secret: &str) -> String {
        assert!(text.contains(secret), "{text}");
        text.replace(secret, &"*".repeat(secret.len()))
    }

    #[test]
    fn a_known_value_is_masked_however_it_is_spelled() {
        for spelled in [
            KEY.to_owned(),
            json(KEY),
            json(&json(KEY)),
            in_html(&json(KEY)),
            url(KEY, true),
            url(KEY, false),
            url(KEY, true).replace("%20", "+"),
            hex(KEY.as_bytes(), false),
            hex(KEY.as_bytes(), true),
        ] {
            let text = format!("a {spelled}, b");
            check(&text, &stars(&text, &spelled));
        }
    }

    #[test]
    fn base64_hides_no_known_value() {
        let mask = Mask::new([KEY]);
        for before in ["", "u:", "user:", "x-api-key: "] {
            for after in ["", "\n", "@host", "::"] {
                for engine in [&BASE64_STANDARD, &BASE64_STANDARD_NO_PAD, &BASE64_URL_SAFE_NO_PAD] {
                    let encoded = engine.encode(format!("{before}{KEY}{after}"));
                    let masked = mask.text(&encoded).into_owned();
                    let left = masked.bytes().filter(|byte| *byte != MASKED).count();
                    let around = (before.len() + after.len()) * 4 / 3;
                    assert!(left <= around + 6, "{encoded} {masked}");
                }
            }
        }
    }

    #[test]
    fn what_has_the_shape_of_a_secret_is_masked_to_its_end() {
        // Joined at run time, so that no file of ours contains what looks like a secret.
        let anthropic = ["sk-", "ant-api03-", RANDOM, RANDOM].concat();
        let github = ["gh", "s_123_eyJ0.", RANDOM, ".", RANDOM].concat();
        let pem = |end: &str| {
            let (head, foot) = ("-----BEGIN RSA ", "-----END RSA ");
            [
                head,
                "PRIVATE KEY-----",
                end,
                RANDOM,
                RANDOM,
                end,
                RANDOM,
                end,
                foot,
                "PRIVATE KEY-----",
            ]
            .concat()
        };
        let (lines, escaped) = (pem("\n"), pem("\\n"));
        let assigned = format!("{RANDOM}{RANDOM}");
        for (text, secret) in [
            (format!("ANTHROPIC_API_KEY={anthropic}\nB=1"), &anthropic),
            (format!(r#"{{"content":"A=1\nKEY={anthropic}\nB=1"}}"#), &anthropic),
            (format!(r#"{{"content":"\n{anthropic}\\n"}}"#), &anthropic),
            (format!("https://x:{github}@github.com/o/r"), &github),
            (format!("cat key\n{lines}\n$ "), &lines),
            (format!(r#"{{"content":"{escaped}\n$ ","n":1}}"#), &escaped),
            (format!("MY_SECRET={assigned}\nB=1"), &assigned),
            (format!(r#"{{"content":"MY_SECRET={assigned}\nB=1"}}"#), &assigned),
            (format!(r#"{{"content":"{{\"token\": \"{assigned}\"}}"}}"#), &assigned),
        ] {
            check(&text, &stars(&text, secret));
        }
    }

    #[test]
    fn a_key_that_is_cut_off_takes_nothing_else_with_it() {
        let head = ["-----BEGIN ", "PRIVATE KEY-----\\n"].concat();
        let text = format!(r#"{{"content":"{head}{RANDOM}{RANDOM}","name":"{RANDOM}"}}"#);
        let masked = Mask::default().text(&text).into_owned();
        assert!(masked.ends_with(&format!(r#"*","name":"{RANDOM}"}}"#)), "{masked}");
        serde_json::from_str::<serde_json::Value>(&masked).unwrap();
    }

    #[test]
    fn ordinary_output_is_left_alone() {
        let mask = Mask::new(["abc", "1234567", ""]);
        for text in [
            "running 12 tests\ntest token::next_token ... ok",
            "abc 1234567 are too short to be told apart from words",
            "commit 0f9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b3a2f1e",
            "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            r#"{"type":"assistant","message":{"id":"msg_01XFDUDYJgAACzvnptvVoYEL"},"session_id":"0198c0de-0000-7000-8000-000000000001"}"#,
            r#"{"name":"toolu_01A09q90qw90lq917835lq9","input":{"command":"grep -rn token src"}}"#,
            "error[E0425]: cannot find value `secret` in this scope\n --> src/lib.rs:12:34",
            "secret = \"Base64EncodedSha256Digest(key)\"",
        ] {
            assert!(matches!(mask.text(text), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn a_value_of_many_lines_is_masked_by_its_lines() {
        let (one, two) = ("the first line of it", "and the second of its lines");
        let mask = Mask::new([format!("{one}\n{two}\nend\n").as_str()]);
        let text = format!("1 {one}\n2 {two}\nend");
        assert_eq!(mask.text(&text), stars(&stars(&text, one), two));
    }

    #[test]
    fn one_secret_right_after_another_is_masked_too() {
        let shaped = ["sk-", "ant-api03-", RANDOM].concat();
        check(&format!("{KEY}{shaped}"), &"*".repeat(KEY.len() + shaped.len()));
    }

    #[test]
    fn shapes_are_left_to_those_who_ask_for_them() {
        let shaped = ["sk-", "ant-api03-", RANDOM].concat();
        let masked = Mask::new([KEY]).known(&format!("{KEY} {shaped}")).into_owned();
        assert_eq!(masked, format!("{} {shaped}", "*".repeat(KEY.len())));
    }

    #[test]
    fn a_mask_says_nothing_of_what_it_knows() {
        assert!(!format!("{:?}", Mask::new([KEY])).contains("Zq7"));
    }

    proptest! {
        #[test]
        fn a_known_value_is_nowhere_and_all_else_stays(
            before in "\\PC{0,40}", after in "\\PC{0,40}", value in "[a-z0-9\"\\\\é]{8,40}"
        ) {
            let mask = Mask::new([value.as_str()]);
            let text = format!("{before}{value}{after}");
            let masked = mask.text(&text).into_owned();
            prop_assert!(!masked.contains(value.trim()));
            prop_assert_eq!(masked.len(), text.len());
            prop_assert_eq!(mask.text(&masked), masked.as_str());
        }
    }
}
