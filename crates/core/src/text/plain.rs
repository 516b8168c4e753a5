//! Makes text of agents, CI, commits and strangers inert where we repeat it: in a comment
//! ([`plain`], [`quote`], [`line`]), in a prompt ([`neutral`]) or in a record ([`visible`]), and
//! cuts it to size ([`bounded`]).
//!
//! All but [`quote`], which adds a fence, are idempotent.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::clean::{Tally, drop_characters};

/// Replaces `@` in text that must neither mention a person nor attach a file: readable and inert.
pub const AT: char = '＠';

/// Replaces `/` at the start of a line in a prompt, where it would be a command.
pub const SLASH: char = '／';

/// Makes text of an agent, CI or a commit safe in a comment of ours or a pull request.
///
/// Terminal sequences and invisible characters are removed, `@` is replaced by [`AT`], so that it
/// mentions nobody, no HTML comment (and so no marker of ours) opens, and a closing keyword is
/// separated from its issue.
pub fn plain(text: &str) -> String {
    static CLOSING: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(concat!(
            r"(?i)\b(close[sd]?|fix(?:e[sd])?|resolve[sd]?)([\s:*_]+)",
            r"((?:[\w.-]+/[\w.-]+)?#[0-9]|gh-[0-9]|https?://)",
        ))
        .ok()
    });
    let text = strip_terminal(text);
    let text = drop_characters(&text, &mut Tally::default());
    let text = text.replace('@', AT.encode_utf8(&mut [0; 4])).replace("<!--", "<! --");
    match &*CLOSING {
        Some(closing) => closing.replace_all(&text, "${1}${2}ref. ${3}").into_owned(),
        // Fails only if the pattern above does not compile, which a test rules out.
        None => text.replace('#', "＃"),
    }
}

/// Returns the last `max` bytes of the [`plain`] text as a code block that the text cannot close.
/// The fence comes on top of `max`.
pub fn quote(text: &str, max: usize) -> String {
    let text = plain(text);
    let text = bounded(text.trim_end(), max, Keep::Tail);
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{text}\n{fence}")
}

/// Returns at most `max` bytes of `text` for a record: without terminal sequences and invisible
/// characters, otherwise unchanged.
pub fn visible(text: &str, max: usize) -> String {
    let text = drop_characters(&strip_terminal(text), &mut Tally::default());
    bounded(&text, max, Keep::Head).into_owned()
}

/// Makes outside text safe in a prompt: every `@` becomes [`AT`], and a `/` that begins a line
/// [`SLASH`], so that no executor interprets them. Terminal sequences and invisible characters are
/// removed.
pub fn neutral(text: &str) -> String {
    let text = drop_characters(&strip_terminal(text), &mut Tally::default());
    let mut out = String::with_capacity(text.len() + 16);
    for line in text.split_inclusive('\n') {
        let rest = line.trim_start();
        out.push_str(&line[..line.len() - rest.len()]);
        let rest = match rest.strip_prefix('/') {
            Some(after) => {
                out.push(SLASH);
                after
            }
            None => rest,
        };
        out.extend(rest.chars().map(|c| if c == '@' { AT } else { c }));
    }
    out
}

/// Which part of a text that is too long is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The beginning, as for issues and messages.
    Head,
    /// The end, as for logs.
    Tail,
}

/// Returns at most `max` bytes of `text`; if some are omitted, a line says how many.
pub fn bounded(text: &str, max: usize, keep: Keep) -> Cow<'_, str> {
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    let note = |left: usize| format!("… {left} bytes omitted");
    // Room for the longest note that this text can have, and its line end.
    let room = max.saturating_sub(note(text.len()).len() + 1);
    let mut out = String::with_capacity(max);
    match keep {
        Keep::Head => {
            let head = &text[..text.floor_char_boundary(room)];
            out.push_str(head);
            if room > 0 {
                out.push('\n');
                out.push_str(&note(text.len() - head.len()));
            }
        }
        Keep::Tail => {
            let tail = &text[text.ceil_char_boundary(text.len() - room)..];
            if room > 0 {
                out.push_str(&note(text.len() - tail.len()));
                out.push('\n');
            }
            out.push_str(tail);
        }
    }
    Cow::Owned(out)
}

/// Returns one line of at most `max` bytes (three at the least), for titles and list entries:
/// [`plain`] text, with line ends and runs of blanks replaced by one blank.
pub fn line(text: &str, max: usize) -> String {
    // Text far beyond the cut need not be processed.
    let near = &text[..text.floor_char_boundary(max.saturating_mul(16))];
    let out = plain(near).split_whitespace().collect::<Vec<_>>().join(" ");
    if out.len() <= max && near.len() == text.len() {
        return out;
    }
    let cut = out.floor_char_boundary(max.saturating_sub('…'.len_utf8()));
    format!("{}…", out[..cut].trim_end())
}

/// Removes terminal sequences as a whole, so that no `[31m` is left of them.
fn strip_terminal(text: &str) -> Cow<'_, str> {
    const ESC: char = '\u{1B}';
    const CSI: char = '\u{9B}';
    if !text.contains([ESC, CSI]) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let introducer = match c {
            CSI => '[',
            ESC => match chars.next_if(|c| (' '..='~').contains(c)) {
                Some(next) => next,
                None => continue,
            },
            _ => {
                out.push(c);
                continue;
            }
        };
        match introducer {
            '[' => {
                while chars.next_if(|c| (' '..='?').contains(c)).is_some() {}
                chars.next_if(|c| ('@'..='~').contains(c));
            }
            // Strings (title, hyperlink, device control) extend to their terminator, or to the end
            // of the line.
            ']' | 'P' | 'X' | '^' | '_' => {
                while let Some(c) = chars.next_if(|c| *c != '\n' && *c != ESC) {
                    if matches!(c, '\u{7}' | '\u{9C}') {
                        break;
                    }
                }
                // The string terminator, `ESC \`, is removed as a sequence of its own.
            }
            ' '..='/' => {
                while chars.next_if(|c| (' '..='/').contains(c)).is_some() {}
                chars.next_if(|c| ('0'..='~').contains(c));
            }
            _ => {}
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::super::outside;
    use super::*;
    use crate::text::clean::hidden;
    use proptest::prelude::*;

    #[track_caller]
    fn check_plain(input: &str, expected: &str) {
        assert_eq!(plain(input), expected);
    }

    #[test]
    fn text_for_people_is_inert() {
        check_plain("\u{1B}[1;31merror\u{1B}[0m: no", "error: no");
        check_plain("\u{1B}]8;;http://x\u{1B}\\link\u{1B}]8;;\u{7}.", "link.");
        check_plain("\u{9B}2Ka\u{1B}(Bb\u{1B}", "ab");
        check_plain("ask @octo and @org/team", "ask ＠octo and ＠org/team");
        check_plain("<!-- afk-run:1 -->", "<! -- afk-run:1 -->");
        check_plain("<!\u{200B}-- afk-run:1 -->", "<! -- afk-run:1 -->");
        check_plain("Closes #7, fixes: o/r#8", "Closes ref. #7, fixes: ref. o/r#8");
        check_plain(
            "resolved https://x/issues/1 FIX GH-3",
            "resolved ref. https://x/issues/1 FIX ref. GH-3",
        );
        check_plain("**Fixes** #1", "**Fixes** ref. #1");
        check_plain("encloses #7, see #8, Refs #9", "encloses #7, see #8, Refs #9");
    }

    #[test]
    fn a_quote_cannot_be_closed_by_its_text() {
        assert_eq!(quote("ok\n", 100), "```text\nok\n```");
        assert_eq!(quote("a\n````\nb", 100), "`````text\na\n````\nb\n`````");
        assert_eq!(line("a\n  b @c", 100), "a b ＠c");
        assert_eq!(line("abcdefgh", 6), "abc…");
    }

    #[test]
    fn a_prompt_has_no_mention_and_no_command() {
        assert_eq!(neutral("/clear\n  /x a/b\nsee @src/x"), "／clear\n  ／x a/b\nsee ＠src/x");
        assert_eq!(neutral("\u{200B}/clear"), "／clear");
    }

    #[test]
    fn too_long_text_says_what_is_missing() {
        let text = "0123456789".repeat(10);
        assert_eq!(bounded(&text, 40, Keep::Head), "012345678901234567\n… 82 bytes omitted");
        assert_eq!(bounded(&text, 40, Keep::Tail), "… 82 bytes omitted\n234567890123456789");
        assert_eq!(bounded(&text, 100, Keep::Tail), text);
    }

    proptest! {
        #[test]
        fn plain_is_idempotent_and_inert(text in outside()) {
            let once = plain(&text);
            prop_assert_eq!(plain(&once), once.clone());
            prop_assert!(!once.contains('@') && !once.contains("<!--"));
            prop_assert!(!once.chars().any(|c| hidden(c).is_some()));
        }

        #[test]
        fn neutral_is_idempotent_and_inert(text in outside()) {
            let once = neutral(&text);
            prop_assert_eq!(neutral(&once), once.clone());
            prop_assert!(!once.contains('@'));
            prop_assert!(!once.lines().any(|l| l.trim_start().starts_with('/')));
        }

        #[test]
        fn bounds_hold(text in outside(), max in 0_usize..80) {
            for keep in [Keep::Head, Keep::Tail] {
                let cut = bounded(&text, max, keep).into_owned();
                prop_assert!(cut.len() <= max);
                prop_assert_eq!(bounded(&cut, max, keep), cut.clone());
            }
            prop_assert!(line(&text, max).len() <= max.max(3));
        }
    }
}
