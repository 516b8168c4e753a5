//! Rules for the text of one file: its head, its length, nothing left unfinished.
//!
//! Code is looked at as tokens, so that comments and strings are never taken for it.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::{Problem, Source};

/// A file that is longer is likely to have two reasons to exist.
const LONG: usize = 400;
/// A file that is longer has.
const TOO_LONG: usize = 600;

/// Why a test may be ignored: it is no test, but the child that one starts.
const HELPERS: [&str; 2] = ["the child of another test", "run by other tests"];

/// A Rust file begins by saying what it is for.
pub(super) fn head(source: &Source) -> Vec<Problem> {
    let first = source.text.lines().next().unwrap_or_default();
    match first.strip_prefix("//!").map(str::trim) {
        Some(text) if !text.is_empty() => Vec::new(),
        Some(_) | None => vec![Problem::at(
            source,
            1,
            "begins without a `//!` head; say what the file is for, who calls it, its invariants",
        )],
    }
}

/// A file has one reason to exist.
pub(super) fn length(source: &Source) -> Vec<Problem> {
    let lines = source.text.lines().count();
    let (warning, most) = (lines <= TOO_LONG, if lines <= TOO_LONG { LONG } else { TOO_LONG });
    if lines <= LONG {
        return Vec::new();
    }
    let what =
        format!("has {lines} lines, more than {most}; find the second reason and move it out");
    vec![Problem { warning, ..Problem::of(&source.path, what) }]
}

/// No line ends in blanks. In Markdown a break of two is one, and is banned too.
pub(super) fn whitespace(source: &Source) -> Vec<Problem> {
    let ends_blank = |line: &str| line.ends_with([' ', '\t', '\r']);
    let lines = source.text.split('\n').enumerate().filter(|(_, line)| ends_blank(line));
    lines.map(|(n, _)| Problem::at(source, n + 1, "ends in blanks")).collect()
}

/// No `todo!`, no `unimplemented!`, no test that is never run.
pub(super) fn unfinished(source: &Source) -> Vec<Problem> {
    let Some(tokens) = tokens(source) else {
        return vec![Problem::of(&source.path, "is not Rust")];
    };
    let mut found = Vec::new();
    walk(tokens, &mut |window| match window {
        [TokenTree::Ident(name), TokenTree::Punct(bang), ..]
            if bang.as_char() == '!' && (name == "todo" || name == "unimplemented") =>
        {
            let line = name.span().start().line;
            found.push(Problem::at(
                source,
                line,
                format!("`{name}!` is left; finish it or leave it out"),
            ));
        }
        [TokenTree::Punct(hash), TokenTree::Group(attribute), ..]
            if hash.as_char() == '#' && attribute.delimiter() == Delimiter::Bracket =>
        {
            let mut inside = attribute.stream().into_iter();
            let ignored = matches!(inside.next(), Some(TokenTree::Ident(name)) if name == "ignore");
            let reason = attribute.stream().to_string();
            if ignored && !HELPERS.iter().any(|helper| reason.contains(helper)) {
                let line = hash.span().start().line;
                let what = format!(
                    "a test that is ignored proves nothing; only what is {HELPERS:?} may be"
                );
                found.push(Problem::at(source, line, what));
            }
        }
        _ => {}
    });
    found
}

/// The file's tokens; none where it is not Rust.
pub(super) fn tokens(source: &Source) -> Option<TokenStream> {
    source.text.parse().ok()
}

/// Shows `look` every run of tokens, in groups too: at each place all that follow there.
pub(super) fn walk(tokens: TokenStream, look: &mut impl FnMut(&[TokenTree])) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (n, token) in tokens.iter().enumerate() {
        look(&tokens[n..]);
        if let TokenTree::Group(group) = token {
            walk(group.stream(), look);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: impl Into<String>) -> Source {
        Source { path: "a.rs".to_owned(), text: text.into() }
    }

    #[test]
    fn heads() {
        let check =
            |text: &str, problems| assert_eq!(head(&source(text)).len(), problems, "{text}");
        check("//! What it is for.\nfn a() {}\n", 0);
        check("//!\nfn a() {}\n", 1);
        check("// no head\n", 1);
        check("\n//! late\n", 1);
        check("", 1);
    }

    #[test]
    fn lengths() {
        let check = |lines, expected: &[bool]| {
            let found = length(&source("x\n".repeat(lines)));
            assert_eq!(found.iter().map(|one| one.warning).collect::<Vec<_>>(), expected);
        };
        check(400, &[]);
        check(401, &[true]);
        check(600, &[true]);
        check(601, &[false]);
    }

    #[test]
    fn blanks() {
        let check = |text: &str, lines: &[&str]| {
            let found: Vec<_> =
                whitespace(&source(text)).into_iter().map(|one| one.place).collect();
            assert_eq!(found, lines, "{text:?}");
        };
        check("a\n\nb\n", &[]);
        check("a \nb\nc\t", &["a.rs:1", "a.rs:3"]);
        check("a\r\n", &["a.rs:1"]);
    }

    #[test]
    fn what_is_unfinished() {
        let check = |text: &str, lines: &[&str]| {
            let found: Vec<_> =
                unfinished(&source(text)).into_iter().map(|one| one.place).collect();
            assert_eq!(found, lines, "{text:?}");
        };
        check("fn a() { b::select! { x => todo!() } }", &["a.rs:1"]);
        check("fn a() {\n    unimplemented!(\"later\")\n}", &["a.rs:2"]);
        check("// todo!()\nfn a() -> &'static str { \"todo!()\" }", &[]);
        check("fn todo() {}", &[]);
        check("#[test]\n#[ignore]\nfn a() {}", &["a.rs:2"]);
        check("#[ignore = \"slow\"]\nfn a() {}", &["a.rs:1"]);
        check("#[ignore = \"the child of another test\"]\nfn a() {}", &[]);
        check("mod a {\n#[ignore = \"run by other tests, in a box\"]\nfn a() {}\n}", &[]);
        check("fn a( {", &["a.rs"]);
    }
}
