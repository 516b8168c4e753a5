//! Which issues an issue's body names as blockers. Whether they are still open is read from the
//! tracker elsewhere, where a forge's own dependency relations are added too.
//!
//! Read line by line, ignoring markdown's structure: a clause in a code block or a quotation
//! counts, because waiting too often is the safe mistake.

use crate::ids::{IssueRef, RepoName};

/// Maximum number of blockers that are read. Each costs a call of the tracker, and a body may name
/// any number.
pub const MOST: usize = 100;

/// The issues that `body` says block it, in order, each once; at most one more than [`MOST`], so
/// that the caller can tell that there are too many.
///
/// They are in a "blocked by" clause (to the end of its line), or in the list under a "Blocked by"
/// heading. A bare `#n` is an issue of `own`.
pub fn blockers(body: &str, own: &RepoName) -> Vec<IssueRef> {
    let mut found = Vec::new();
    // Most bodies name none.
    if clause_start(body).is_none() {
        return found;
    }
    let mut section = Section::Elsewhere;
    let mut above = Paragraph::default();
    for line in body.lines() {
        let text = line.trim();
        let underlined = above.text.as_str();
        let underlined = (is_underline(text) && !list_item(underlined)).then_some(underlined);
        if let Some(title) = heading(text).or(underlined) {
            if names_blockers(title) {
                section = Section::Blockers;
            } else if underlined.is_none() || above.is_plain {
                section = Section::Elsewhere;
            }
            above = Paragraph::default();
        } else {
            above.add(line);
        }
        if section == Section::Elsewhere && is_title(text) {
            // `Blocked by:` or `**Blocked by**` alone on its line also starts a list.
            section = Section::Lead;
        }
        if section != Section::Elsewhere && list_item(text) {
            if clause(text, Which::Negated).is_none() {
                references(text, own, &mut found);
            }
        } else if section == Section::Lead && !text.is_empty() && !is_title(text) {
            section = Section::Elsewhere;
        }
        let mut rest = text;
        while let Some(after) = clause(rest, Which::Stated) {
            // Up to the next clause, which may be a negated one.
            let end = clause_start(after).unwrap_or(after.len());
            references(&after[..end], own, &mut found);
            rest = after;
        }
    }
    found
}

const CLAUSE: &[u8] = b"blocked by";

/// Which part of the body the current line is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    /// Not under a "Blocked by".
    Elsewhere,
    /// Under a line that says only "Blocked by": to the first line that is not a list item.
    Lead,
    /// Under a heading: to the next heading.
    Blockers,
}

/// The lines since the last empty one: a row of `=` or `-` below them makes them a heading.
#[derive(Default)]
struct Paragraph {
    text: String,
    /// Whether it certainly is a paragraph of its own. Below a list, a quotation or code, such a
    /// row is only a rule.
    is_plain: bool,
}

impl Paragraph {
    fn add(&mut self, line: &str) {
        if line.trim().is_empty() {
            *self = Self::default();
        } else if self.text.is_empty() {
            self.is_plain = line.starts_with(char::is_alphanumeric);
            line.trim().clone_into(&mut self.text);
        } else {
            self.text.push(' ');
            self.text.push_str(line.trim());
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Stated,
    Negated,
}

/// The position of the first "blocked by", in any case. Uses Horspool's search because whole bodies
/// are searched: without a match it looks at one byte in ten.
fn clause_start(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(window) = bytes.get(at..at + CLAUSE.len()) {
        if window.eq_ignore_ascii_case(CLAUSE) {
            return Some(at);
        }
        at += usize::from(SHIFT[usize::from(window[CLAUSE.len() - 1])]);
    }
    None
}

/// How far the window may move, by its last byte.
const SHIFT: [u8; 256] = {
    let mut shift = [CLAUSE.len() as u8; 256];
    let mut i = 0;
    while i < CLAUSE.len() - 1 {
        let by = (CLAUSE.len() - 1 - i) as u8;
        shift[CLAUSE[i] as usize] = by;
        shift[CLAUSE[i].to_ascii_uppercase() as usize] = by;
        i += 1;
    }
    shift
};

/// The text after the first "blocked by" that is stated, or negated, as `which` asks.
fn clause(text: &str, which: Which) -> Option<&str> {
    let mut from = 0;
    while let Some(at) = clause_start(&text[from..]) {
        let start = from + at;
        let end = start + CLAUSE.len();
        let before = &text[..start];
        // The clause in "unblocked by" is only the end of another word.
        let whole = !before.ends_with(|c: char| c.is_alphanumeric());
        let negated = is_negated(before);
        if whole && negated == (which == Which::Negated) {
            return Some(&text[end..]);
        }
        from = end;
    }
    None
}

/// Whether the words just before a clause negate it.
fn is_negated(before: &str) -> bool {
    let mut words = before
        .split_whitespace()
        .rev()
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric() && c != '\'' && c != '’'));
    let Some(last) = words.next() else { return false };
    let is = |w: &str| {
        w.eq_ignore_ascii_case("not")
            || w.eq_ignore_ascii_case("never")
            || w.to_ascii_lowercase().ends_with("n't")
            || w.to_ascii_lowercase().ends_with("n’t")
    };
    let filler = ["longer", "currently", "yet", "being", "actually", "anymore", "any", "more"];
    let no_longer = last.eq_ignore_ascii_case("longer")
        && words.clone().next().is_some_and(|w| w.eq_ignore_ascii_case("no"));
    let skipped = filler.iter().any(|f| last.eq_ignore_ascii_case(f));
    is(last) || no_longer || (skipped && words.next().is_some_and(is))
}

/// The title of a markdown heading.
fn heading(text: &str) -> Option<&str> {
    let title = text.trim_start_matches('#');
    let level = text.len() - title.len();
    ((1..=6).contains(&level) && title.starts_with([' ', '\t'])).then(|| title.trim())
}

/// Whether a line makes what is above it a heading.
fn is_underline(text: &str) -> bool {
    ['=', '-'].iter().any(|mark| text.starts_with(*mark) && text.trim_matches(*mark).is_empty())
}

fn names_blockers(title: &str) -> bool {
    clause(title, Which::Stated).is_some() && clause(title, Which::Negated).is_none()
}

/// Whether a line is only "blocked by" and its decoration.
fn is_title(text: &str) -> bool {
    let bare = text.trim_matches(|c: char| !c.is_alphanumeric());
    bare.as_bytes().eq_ignore_ascii_case(CLAUSE)
}

fn list_item(text: &str) -> bool {
    let numbered = text.trim_start_matches(|c: char| c.is_ascii_digit());
    ["- ", "* ", "+ "].iter().any(|mark| text.starts_with(mark))
        || (numbered.len() < text.len()
            && (numbered.starts_with(". ") || numbered.starts_with(") ")))
}

/// Adds every `#n` and `owner/repo#n` of `text` that is not in the list yet.
fn references(text: &str, own: &RepoName, found: &mut Vec<IssueRef>) {
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    for (at, _) in text.match_indices('#') {
        let digits = text[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let after = &text[at + 1 + digits..];
        let Ok(number @ 1..) = text[at + 1..at + 1 + digits].parse::<u64>() else { continue };
        if after.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let before = &text[..at];
        let name = &before[before.trim_end_matches(in_name).len()..];
        let repo = if name.is_empty() {
            own.clone()
        } else if let Ok(repo) = name.parse() {
            repo
        } else if let Ok(repo) = RepoName::complete(name, Some(own.owner())) {
            // `repo#7`: on this forge, a repo of the same owner.
            repo
        } else {
            continue;
        };
        let issue = IssueRef { repo, number };
        if found.len() <= MOST && !found.contains(&issue) {
            found.push(issue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(body: &str, expected: &[&str]) {
        let own: RepoName = "o/r".parse().unwrap();
        let found: Vec<_> = blockers(body, &own).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{body:?}");
    }

    #[test]
    fn clauses_count_to_the_end_of_their_line() {
        check("", &[]);
        check("Blocked by #7", &["o/r#7"]);
        check("This is BLOCKED BY: #7, x/y#8 and #9.\n#10", &["o/r#7", "x/y#8", "o/r#9"]);
        check("blocked by #7\nblocked by #7 and #3", &["o/r#7", "o/r#3"]);
        check("- blocked by #7", &["o/r#7"]);
        check("blocked by web#4", &["o/web#4"]);
        check("see #7", &[]);
        check("blocked by\n#7", &[]);
        check("blocked by #0, #x, #7a and nobody", &[]);
        check("Unblocked by #7", &[]);
        check("```\nblocked by #7\n```", &["o/r#7"]);
        check("é blocked by é#7", &["o/r#7"]);
    }

    #[test]
    fn what_is_taken_back_is_none() {
        check("not blocked by #7", &[]);
        check("It is NOT  blocked by #7.", &[]);
        check("**not** blocked by #7", &[]);
        check("isn't blocked by #7", &[]);
        check("no longer blocked by #7", &[]);
        check("not currently blocked by #7", &[]);
        check("not blocked by #7 but blocked by #8", &["o/r#8"]);
        check("blocked by #8, not blocked by #7", &["o/r#8"]);
        check("If not, wait: blocked by #7", &["o/r#7"]);
        check("No joke, blocked by #7", &["o/r#7"]);
    }

    #[test]
    fn a_list_under_its_heading_counts() {
        check(
            "## Blocked by\n\n- #7\n* [ ] x/y#8\n1. #9\n\n## Why\n- #10",
            &["o/r#7", "x/y#8", "o/r#9"],
        );
        check("### blocked by:\ntext #1\n- #7", &["o/r#7"]);
        check("# Not blocked by\n- #7", &[]);
        check("**Blocked by:**\n- #7\n- #8\nthen\n- #9", &["o/r#7", "o/r#8"]);
        check("## Blocked by\n- not blocked by #7\n- #8", &["o/r#8"]);
        check("## Blocked by #3\n- #7", &["o/r#3", "o/r#7"]);
        check("- blocked by #7\n- #8", &["o/r#7"]);
        check("####### Blocked by\ntext\n- #7", &[]);
        check("## Blocked by\n. #7\n2 of #8", &[]);
    }

    #[test]
    fn a_heading_may_be_underlined() {
        check("Blocked by\n----------\n\n- #1", &["o/r#1"]);
        check("Blocked by\r\n===\r\ntext #1\r\n- #7", &["o/r#7"]);
        check("**Blocked by:**\n-\n\ntext\n\n- #7", &["o/r#7"]);
        check("This work is\nblocked by\n---\nwhat follows:\n\n1. #7", &["o/r#7"]);
        check("Blocked by\n---\n- #7\n\nWhy\n===\n- #10", &["o/r#7"]);
        check("## Blocked by\n- #7\n\nWhy\n---\n- #10", &["o/r#7"]);
        check("Not blocked by\n---\n- #7", &[]);
        check("Blocked by\n\n---\n- #7", &[]);
        check("Blocked by\n- - -\ntext\n- #7", &[]);
        check("- blocked by #7\n---\n- #8", &["o/r#7"]);
        // A row below anything but a plain paragraph is a rule.
        let more = &["o/r#7", "o/r#8"];
        check("Blocked by\n---\n- #7\n---\n- #8", more);
        check("Blocked by\n---\n- #7\nand more\n---\n- #8", more);
        check("Blocked by\n---\n- #7\n\n  and more\n---\n- #8", more);
        check("Blocked by\n---\n> text\n---\n- #7\n- #8", more);
        check("Blocked by\n---\n- #7\n\n---\n- #8", more);
    }

    #[test]
    fn a_body_that_names_too_many_is_told_by_one_too_many() {
        let body =
            |n: usize| (1..=n).fold("blocked by".to_owned(), |body, i| body + &format!(" #{i}"));
        let own: RepoName = "o/r".parse().unwrap();
        let count = |n: usize| blockers(&body(n), &own).len();
        assert_eq!([99, 100, 101, 5_000].map(count), [99, 100, 101, 101]);
    }

    proptest! {
        #[test]
        fn the_search_misses_nothing(text in "(?i-u:[bloked y]|blocked by|é){0,30}") {
            let slow = text.to_ascii_lowercase().find("blocked by");
            prop_assert_eq!(clause_start(&text), slow);
        }

        #[test]
        fn both_kinds_of_heading_say_the_same(
            title in "[Bb]locked by|not blocked by|[a-z]{1,9}|no longer [a-z]{1,9} blocked by",
            row in "={1,9}|-{1,9}",
            below in "[a-z ]{0,9}",
            before in "|## Blocked by\n\n- #1\n\n|[a-z]{1,9}\n\n",
        ) {
            let own: RepoName = "o/r".parse().unwrap();
            let read = |heading: String| blockers(&format!("{before}{heading}\n{below}\n\n- #77"), &own);
            prop_assert_eq!(read(format!("{title}\n{row}")), read(format!("## {title}")));
        }

        #[test]
        fn any_body_is_read(body in any::<String>(), tail in "[ #a-zA-Z0-9/.-]{0,40}") {
            let own: RepoName = "o/r".parse().unwrap();
            let _ = blockers(&body, &own);
            let found = blockers(&format!("{body}\nblocked by {tail} #77"), &own);
            prop_assert!(found.iter().any(|i| i.number == 77));
        }
    }
}
