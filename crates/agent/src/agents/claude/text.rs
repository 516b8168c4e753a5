//! Makes outside text inert before it goes into a prompt.
//!
//! Whoever composes a prompt passes every outside text (an issue, a comment, a log) through
//! [`neutralise`]. The CLI expands `@path` anywhere in a prompt, even in code fences, and puts that
//! file's content into the model request; a leading `/` runs one of its commands.
//!
//! The rewrite is visible on purpose: invisible characters are stripped elsewhere, and a rule that
//! depends on how the CLI splits words breaks with its next version. The result contains no at
//! sign, nor a character that Unicode normalisation turns into one, so it does not matter what the
//! CLI takes for a mention. The price is that code in an issue reads `(at)Override`; [`NOTE`] tells
//! the model.
//!
//! This is one of several layers: the command's environment also switches mentions off, and the
//! sandbox hides what must not be read.

use crate::agents::event::is_invisible;

/// What replaces an at sign.
pub const AT: &str = "(at)";
/// What replaces each slash at the start.
pub const SLASH: &str = "(slash)";
/// One sentence for the prompt that explains the replacements to the model.
pub const NOTE: &str = "In text quoted from outside, \"(at)\" stands for an at sign and a leading \"(slash)\" for a slash; write the real characters in code.";

/// Rewrites at signs and a leading slash. Idempotent.
pub fn neutralise(text: &str) -> String {
    let mut inert = String::with_capacity(text.len());
    for c in guard_start(text).chars() {
        if is_at(c) {
            inert.push_str(AT);
        } else {
            inert.push(c);
        }
    }
    inert
}

/// Rewrites only a leading slash: for a whole prompt, whose own parts may contain at signs on
/// purpose.
pub fn guard_start(text: &str) -> String {
    let skip = |c: char| c.is_whitespace() || c.is_control() || is_invisible(c);
    match text.find(|c| !skip(c)) {
        Some(start) if text[start..].starts_with(is_slash) => {
            let rest = text[start..].trim_start_matches(is_slash);
            let slashes = text[start..].chars().count() - rest.chars().count();
            format!("{}{}{rest}", &text[..start], SLASH.repeat(slashes))
        }
        Some(_) | None => text.to_owned(),
    }
}

/// Whether this is the at sign, or NFKC normalisation turns it into one.
fn is_at(c: char) -> bool {
    matches!(c, '@' | '\u{fe6b}' | '\u{ff20}')
}

/// Whether this is the slash, or NFKC normalisation turns it into one.
fn is_slash(c: char) -> bool {
    matches!(c, '/' | '\u{ff0f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mentions_and_commands_lose_their_power_and_stay_readable() {
        fn check(text: &str, expected: &str) {
            assert_eq!(neutralise(text), expected, "{text:?}");
        }
        check("", "");
        check("plain text, a/b", "plain text, a/b");
        check("see @/etc/passwd", "see (at)/etc/passwd");
        check("see @~/.ssh/id_rsa", "see (at)~/.ssh/id_rsa");
        check("see @\"a b\"", "see (at)\"a b\"");
        check("```\n@x\n```", "```\n(at)x\n```");
        check("a\u{ff20}b \u{fe6b}c", "a(at)b (at)c");
        check("/clear", "(slash)clear");
        check(" \n\u{feff}\u{200b}/clear", " \n\u{feff}\u{200b}(slash)clear");
        check("//x", "(slash)(slash)x");
        check("\u{ff0f}clear", "(slash)clear");
        check("@/clear", "(at)/clear");
        check("a\n/clear", "a\n/clear");
    }

    #[test]
    fn a_prompt_of_ours_keeps_its_at_signs() {
        assert_eq!(guard_start("mail a@b"), "mail a@b");
        assert_eq!(guard_start(" /context"), " (slash)context");
    }

    proptest! {
        #[test]
        fn the_result_is_inert(text in "[@/＠﹫／ \\n\\ta-z\u{200b}\u{feff}\"~.`]{0,40}|\\PC{0,40}") {
            let inert = neutralise(&text);
            prop_assert!(!inert.contains(is_at));
            let seen = inert.trim_start_matches(|c: char| {
                c.is_whitespace() || c.is_control() || is_invisible(c)
            });
            prop_assert!(!seen.starts_with(is_slash));
            prop_assert_eq!(neutralise(&inert), inert);
        }

        #[test]
        fn text_without_either_is_untouched(text in "[a-zA-Z0-9 .,:;(){}<>_\\-\\n]{0,60}") {
            prop_assert_eq!(neutralise(&text), text);
        }

        #[test]
        fn nothing_else_is_lost(text in "[a-z@ ]{0,40}") {
            prop_assert_eq!(neutralise(&text).replace(AT, "@"), text);
        }
    }
}
