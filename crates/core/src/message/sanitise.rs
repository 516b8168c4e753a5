//! Removes from an agent's message what may not stand in one that we write.
//!
//! The message loses words that do something (skip CI, close an issue), trailers that speak for
//! other people, lines with what looks like a secret, and invisible characters. A closing word
//! becomes `Refs`, so that the issue is still named. A message that is not clean after [`ROUNDS`]
//! is dropped whole; the guardrails judge what is left like any other message.

use super::words::Words;
use crate::secrets::SecretShapes;
use crate::text::visible;

/// Maximum number of rounds: removing a token may join its neighbours to another one.
const ROUNDS: usize = 200;

/// Returns `message` without what may not land. Equal inputs give equal texts, and sanitising
/// twice changes nothing.
pub(super) fn sanitised(message: &str) -> String {
    let (Ok(words), Ok(secrets)) = (Words::get(), SecretShapes::get()) else {
        // Fails only if a built-in pattern does not compile, which a test rules out.
        return String::new();
    };
    let mut text = visible(message, usize::MAX);
    for _ in 0..ROUNDS {
        let next = without_secrets(&without_others(&text, words), secrets);
        let next = without_words(next, words);
        if next == text {
            return text;
        }
        text = next;
    }
    String::new()
}

fn without_words(mut text: String, words: &Words) -> String {
    for _ in 0..ROUNDS {
        if let Some(token) = words.skips_ci(&text) {
            take_out(&mut text, token);
        } else if let Some(closing) = words.closes(&text) {
            let big = text[closing.word.clone()].starts_with(char::is_uppercase);
            text.replace_range(closing.word, if big { "Refs" } else { "refs" });
        } else {
            return text;
        }
    }
    String::new()
}

/// Removes a place, and the blank after it if there is one before it, so that no two blanks are
/// left in a row.
fn take_out(text: &mut String, place: std::ops::Range<usize>) {
    let blank = |c: char| c == ' ' || c == '\t';
    let begins = text[..place.start].chars().next_back().is_none_or(|c| blank(c) || c == '\n');
    let after = text[place.end..].chars().next().filter(|c| begins && blank(*c));
    let end = place.end + after.map_or(0, char::len_utf8);
    text.replace_range(place.start..end, "");
}

/// Returns the text without the lines that hold a part of a secret.
fn without_secrets(text: &str, secrets: &SecretShapes) -> String {
    let mut text = text.to_owned();
    for _ in 0..ROUNDS {
        let found = secrets.find(text.as_bytes()).into_iter().map(|found| found.at);
        let places: Vec<_> = found.chain(secrets.find_whole(text.as_bytes())).collect();
        if places.is_empty() {
            return text;
        }
        let mut at = 0;
        let kept = text.split_inclusive('\n').filter(|line| {
            let line = at..at + line.len();
            at = line.end;
            !places.iter().any(|place| place.start < line.end && line.start < place.end)
        });
        text = kept.collect();
    }
    String::new()
}

/// Returns the text without trailers that speak for other people, and their continuations. `AFK-`
/// trailers stay here; [`super::landing`] removes them.
fn without_others(text: &str, words: &Words) -> String {
    let mut theirs = false;
    let mut kept = Vec::new();
    for line in text.lines() {
        theirs = words.speaks_for(line).is_some_and(|(key, _)| !key.starts_with("afk-"))
            || (theirs && line.starts_with([' ', '\t']));
        if !theirs {
            kept.push(line);
        }
    }
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_does_something_is_taken_out_and_the_rest_stays() {
        let check = |text: &str, expected: &str| {
            assert_eq!(sanitised(text), expected, "{text:?}");
            assert_eq!(sanitised(expected), expected, "a second time");
        };
        check("Add it\n\nBecause.", "Add it\n\nBecause.");
        check("Add it [skip ci] now", "Add it now");
        check("[skip ci] Add it", "Add it");
        check("Add [skip [skip ci] ci] it", "Add it");
        check("Add it\n\nskip-checks: true\nmore", "Add it\n\n\nmore");
        check("Add it, closes #7", "Add it, refs #7");
        check("Fixes #4711 and #7", "Refs #4711 and #7");
        check("fix: #7 is gone", "refs: #7 is gone");
        check("closes fixes #7", "closes refs #7");
        check("Clo\u{200b}ses ＃7", "Refs ＃7");
        check("a\u{202e}b\u{1b}[1mc\r\nd", "abc\nd");
        check("Add it\n\nReviewed-by: A <a@b>\n  and more\nText", "Add it\n\nText");
        check("Add it\n\n- signed-off-by: A\nmore", "Add it\n\nmore");
        let token = ["gh", "p_q7Zk2Wm9Xc4Vb8Nn3Ls6Pd1Rf5Tg0HjAbC12"].concat();
        check(&format!("Add it\n\nfirst\nuse {token} here\nlast"), "Add it\n\nfirst\nlast");
        check(&format!("Add {token}"), "");
        let body = "q7Zk2Wm9Xc4Vb8Nn3Ls6Pd1Rf5Tg0Hjq7Zk2Wm9Xc4Vb8Nn3Ls6Pd1Rf5Tg0Hj\n".repeat(4);
        let pem = ["-----BEGIN RSA ", "PRIVATE KEY-----\n", &body].concat();
        let pem = [&pem, "-----END RSA ", "PRIVATE KEY-----"].concat();
        check(&format!("Add it\n\n{pem}\nlast"), "Add it\n\nlast");
    }

    proptest! {
        #[test]
        fn nothing_is_left_whatever_was_written(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("["), Just("]"), Just("skip"), Just("ci"), Just(" "), Just("-"), Just("no"),
                    Just("***"), Just("NO_CI"), Just("Fixes"), Just("closes"), Just("#7"),
                    Just("\u{200b}"), Just("［"), Just("］"), Just("\n"), Just(": "), Just("true"),
                    Just("Signed-off-by"), Just("ci.skip"), Just("a"),
                ],
                0..24,
            )
        ) {
            let words = Words::get().unwrap();
            let text = sanitised(&parts.concat());
            prop_assert_eq!(words.skips_ci(&text), None);
            prop_assert_eq!(words.closes(&text), None);
            prop_assert_eq!(sanitised(&text), text.as_str());
        }
    }
}
