//! Reads JSON in which a text was cut in the middle of a character.
//!
//! JavaScript cuts texts by UTF-16 code units, which may leave one half of a surrogate pair, and
//! writes it as an escape of its own. `serde_json` refuses the whole document for that. A character
//! that was cut is no reason not to know what an agent does, so each such half is read as U+FFFD.
//!
//! The agents' streams are read in the same way: `agents/json.rs` in the crate `agent`, which uses
//! none of ours.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// The length of an escape such as `\uD83C`, in bytes.
const ESCAPE: usize = 6;

/// Reads `json`, with U+FFFD for each half of a surrogate pair that stands alone.
pub(crate) fn read_json<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(json).or_else(|error| match whole_pairs(json) {
        Cow::Owned(whole) => serde_json::from_slice(&whole),
        Cow::Borrowed(_) => Err(error),
    })
}

/// Replaces the escapes of halves that stand alone. Offsets stay the same.
fn whole_pairs(json: &[u8]) -> Cow<'_, [u8]> {
    let (mut whole, mut at) = (Cow::Borrowed(json), 0);
    while let Some(found) = json.iter().skip(at).position(|byte| *byte == b'\\') {
        at += found;
        at += match (code_unit(json, at), code_unit(json, at + ESCAPE)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 2 * ESCAPE,
            (Some(0xD800..=0xDFFF), _) => {
                if let Some(half) = whole.to_mut().get_mut(at..at + ESCAPE) {
                    half.copy_from_slice(br"\uFFFD");
                }
                ESCAPE
            }
            // The second backslash of `\\u` begins nothing.
            (Some(_) | None, _) => 2,
        };
    }
    whole
}

/// The code unit of the escape at `at`, if one begins there.
fn code_unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + ESCAPE)?.strip_prefix(br"\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[track_caller]
    fn check(json: &str, expected: &str) {
        let whole = whole_pairs(json.as_bytes());
        assert_eq!(String::from_utf8_lossy(&whole), expected);
        assert_eq!(matches!(whole, Cow::Borrowed(_)), json == expected, "copied only if needed");
    }

    #[test]
    fn a_half_that_stands_alone_is_replaced() {
        check(r#""plain \n \u00e9""#, r#""plain \n \u00e9""#);
        check(r#""\ud83c\udf89""#, r#""\ud83c\udf89""#);
        check(r#""\ud83c...""#, r#""\uFFFD...""#);
        check(r#""\uDF89""#, r#""\uFFFD""#);
        check(r#""\udf89\ud83c""#, r#""\uFFFD\uFFFD""#);
        check(r#""\ud83c\ud83c\udf89""#, r#""\uFFFD\ud83c\udf89""#);
        check(r#""\ud83c\n""#, r#""\uFFFD\n""#);
        // A backslash that is itself escaped begins no escape.
        check(r#""\\ud83c""#, r#""\\ud83c""#);
        check(r#""\\\ud83c""#, r#""\\\uFFFD""#);
        // What is no JSON anyway.
        check(r"\ud83c", r"\uFFFD");
        check(r"\ud83", r"\ud83");
        check("\\", "\\");
    }

    #[test]
    fn what_was_cut_in_the_middle_of_a_character_is_read() {
        let read = read_json::<Value>(br#"{"a":"\ud83c...","b":"\ud83c\udf89"}"#).unwrap();
        assert_eq!(read, serde_json::json!({ "a": "\u{fffd}...", "b": "\u{1f389}" }));
        read_json::<Value>(br#"{"a":"\ud83c"#).unwrap_err();
    }
}
