//! The end of a failed job's log, for a report.

use std::borrow::Cow;

use afk_core::text::{Keep, bounded, clean};

use crate::http::{Account, Request};

/// How many bytes of a log are kept.
const KEPT: usize = 8 << 10;

/// Reads the end of the log that the request names. If it cannot be read, the text says why, so
/// that the stage's answer is not lost with it.
pub(super) async fn of(account: &Account, log: &Request) -> String {
    // More than is kept, since invisible characters are dropped from it.
    match account.tail(log, 4 * KEPT).await {
        Ok(end) => String::from_utf8_lossy(&end).into_owned(),
        Err(error) => format!("its log could not be read: {}", error.chain()),
    }
}

/// The end of `text` without invisible characters and colours; none if nothing is left.
pub(super) fn kept(text: &[u8]) -> Option<String> {
    let text = clean(&uncoloured(&String::from_utf8_lossy(text))).text;
    let text = text.trim();
    (!text.is_empty()).then(|| bounded(text, KEPT, Keep::Tail).into_owned())
}

/// Drops the escape sequences that colour a terminal's text: `clean` would leave their letters.
fn uncoloured(text: &str) -> Cow<'_, str> {
    if !text.contains('\u{1b}') {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split('\u{1b}');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.strip_prefix('[') {
            Some(sequence) => {
                let end = sequence.find(|c: char| ('@'..='~').contains(&c));
                out.push_str(end.map_or("", |end| &sequence[end + 1..]));
            }
            None => out.push_str(part),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_without_what_nobody_sees() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(kept(text.as_bytes()).as_deref(), expected, "{text:?}");
        };
        check("", None);
        check(" \n", None);
        check("a\u{1b}[31;1mred\u{1b}[0m\u{7}b\n", Some("aredb"));
        check("cut \u{1b}[3", Some("cut"));
        check("a\u{1b}Mb", Some("aMb"));
        check("a\r\nb", Some("a\nb"));
        let long = kept("line\n".repeat(10_000).as_bytes()).unwrap();
        assert!(long.len() <= KEPT && long.ends_with("line"), "{}", long.len());
        assert!(kept(b"\xff\xfe bad").unwrap().ends_with("bad"));
    }
}
