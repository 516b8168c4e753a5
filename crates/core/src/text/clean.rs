//! Removes from issue text what the person who released it could not see, and lists it for
//! `explain`.
//!
//! When in doubt about visibility, text is dropped: the agent may get less than the person saw,
//! never more. So comments are dropped in code fences too, where a person does see them, and
//! variation selectors and joiners are dropped although that changes some emoji.
//! [`unseen`](super::unseen) removes what a renderer of Markdown hides by other means.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use super::unseen::{drop_unseen, without_markup};

/// Issue text without what a person could not see, and what was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleaned {
    /// The remaining text.
    pub text: String,
    /// What was dropped, one entry for each kind; also the kind that [stays](Hidden::stays) in the
    /// text although a page does not show it.
    pub dropped: Vec<Dropped>,
}

/// Everything of one kind that was dropped from a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// The kind.
    pub kind: Hidden,
    /// How many were dropped: single characters, or whole parts of the other kinds.
    pub count: usize,
    /// The beginning of what was dropped, made readable and cut to [`SAMPLE`] characters.
    pub sample: String,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.count, self.kind, self.sample)
    }
}

/// The kinds of text that a person does not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hidden {
    /// `<!-- … -->`; an unclosed one extends to the end of the text.
    HtmlComment,
    /// A link definition that leads nowhere, `[//]: # (…)`, or that nothing refers to: the way to
    /// write a comment in Markdown.
    MarkdownComment,
    /// The title of a link, which is only shown as a tooltip.
    Title,
    /// The alternative text of an image, and its title.
    AlternativeText,
    /// The label of a link or a footnote, or the text after the fence that opens a code block.
    Label,
    /// An element of HTML that shows nothing, with its content.
    Element,
    /// An attribute of HTML that is not shown.
    Attribute,
    /// A CDATA section, a processing instruction or a declaration.
    Section,
    /// Another part of Markdown that is not shown, such as a surplus cell in a row of a table.
    Markup,
    /// A tag of an unknown element, which a page does not show but which may be code.
    UnknownTag,
    /// A character without width or shape: zero-width, filler, joiner.
    Invisible,
    /// A character that changes the order in which text is shown.
    Bidirectional,
    /// A tag character, U+E0000 to U+E007F: a hidden alphabet.
    Tag,
    /// A variation selector: 256 of them can encode a byte each.
    VariationSelector,
    /// A control character other than newline and tab.
    Control,
}

impl Hidden {
    /// Whether this kind is listed, but stays in the text.
    pub fn stays(self) -> bool {
        self == Self::UnknownTag
    }

    /// Whether this kind is counted in whole parts, and not in characters.
    fn is_whole(self) -> bool {
        match self {
            Self::HtmlComment
            | Self::MarkdownComment
            | Self::Title
            | Self::AlternativeText
            | Self::Label
            | Self::Element
            | Self::Attribute
            | Self::Section
            | Self::Markup
            | Self::UnknownTag => true,
            Self::Invisible
            | Self::Bidirectional
            | Self::Tag
            | Self::VariationSelector
            | Self::Control => false,
        }
    }
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HtmlComment => "HTML comment",
            Self::MarkdownComment => "markdown comment",
            Self::Title => "title",
            Self::AlternativeText => "alternative text",
            Self::Label => "hidden label",
            Self::Element => "hidden element",
            Self::Attribute => "hidden attribute",
            Self::Section => "hidden section",
            Self::Markup => "hidden part",
            Self::UnknownTag => "unknown tag",
            Self::Invisible => "invisible character",
            Self::Bidirectional => "bidirectional control",
            Self::Tag => "tag character",
            Self::VariationSelector => "variation selector",
            Self::Control => "control character",
        })
    }
}

/// How many characters of the dropped text are kept as a sample.
pub const SAMPLE: usize = 80;

/// How often a Markdown text is cleaned again, at most: text around a dropped part may now hide
/// something else.
const ROUNDS: usize = 16;

/// Drops from a Markdown text, such as the body of an issue, what a person cannot see on a rendered
/// page. Line ends become `\n`.
pub fn clean_markdown(text: &str) -> Cleaned {
    let mut tally = Tally::default();
    let mut text = drop_characters(text, &mut tally);
    for round in 0..=ROUNDS {
        let mut found = Tally::default();
        let once = drop_html_comments(&text, &mut found);
        let once = drop_markdown_comments(&once, &mut found);
        let once = drop_unseen(&once, &mut found);
        let settled = once == text;
        tally.take_over(found, settled);
        if settled {
            break;
        }
        text = if round == ROUNDS { without_markup(&once) } else { once };
    }
    Cleaned { text, dropped: tally.into_dropped() }
}

/// Drops from a plain text, such as the title of an issue, what a person cannot see. Line ends
/// become `\n`.
pub fn clean(text: &str) -> Cleaned {
    let mut tally = Tally::default();
    let text = drop_characters(text, &mut tally);
    let text = drop_html_comments(&text, &mut tally);
    let text = drop_markdown_comments(&text, &mut tally);
    Cleaned { text, dropped: tally.into_dropped() }
}

/// Counts what is dropped, by kind.
#[derive(Default)]
pub(super) struct Tally(BTreeMap<Hidden, (usize, String)>);

impl Tally {
    pub(super) fn add(&mut self, kind: Hidden, what: &str) {
        let entry = self.0.entry(kind).or_default();
        entry.0 += 1;
        let whole = kind.is_whole();
        let have = entry.1.chars().count();
        if kind.stays() && have + what.len() < SAMPLE {
            // Several of them together may say something, so all are in the sample.
            entry.1.push_str(what);
            return;
        }
        if whole && entry.0 > 1 || have >= SAMPLE {
            return;
        }
        if whole {
            entry.1.extend(what.chars().take(SAMPLE).map(|c| if c == '\n' { ' ' } else { c }));
            return;
        }
        for c in what.chars() {
            match tag_letter(c) {
                // The tag alphabet is shown as the letters that it encodes.
                Some(letter) => entry.1.push(letter),
                None if have + 9 <= SAMPLE => {
                    let gap = if have == 0 { "" } else { " " };
                    entry.1.push_str(gap);
                    // Writing to a string cannot fail.
                    let _ = write!(entry.1, "U+{:04X}", u32::from(c));
                }
                None => {}
            }
        }
    }

    /// Adds the counts of another round. What stays in the text is found in every round, and so
    /// only counted in the last, when the text is `settled`.
    fn take_over(&mut self, other: Self, settled: bool) {
        for (kind, (count, sample)) in other.0 {
            if kind.stays() && !settled {
                continue;
            }
            let entry = self.0.entry(kind).or_default();
            entry.0 += count;
            if entry.1.is_empty() {
                entry.1 = sample;
            }
        }
    }

    fn into_dropped(self) -> Vec<Dropped> {
        let entry = |(kind, (count, sample))| Dropped { kind, count, sample };
        self.0.into_iter().map(entry).collect()
    }
}

fn tag_letter(c: char) -> Option<char> {
    let code = u32::from(c);
    let letter = (0xE0020..=0xE007E).contains(&code).then(|| code - 0xE0000);
    letter.and_then(char::from_u32)
}

/// Returns the kind of an invisible character; `None` for others, and for `\r`, `\n` and `\t`.
pub(super) fn hidden(c: char) -> Option<Hidden> {
    match u32::from(c) {
        0x09 | 0x0A | 0x0D | 0x20..=0x7E => None,
        0x00..=0x1F | 0x7F..=0x9F => Some(Hidden::Control),
        0x061C | 0x200E | 0x200F | 0x202A..=0x202E | 0x2066..=0x2069 => Some(Hidden::Bidirectional),
        0x180B..=0x180D | 0x180F | 0xFE00..=0xFE0F | 0xE0100..=0xE01EF => {
            Some(Hidden::VariationSelector)
        }
        0xE0000..=0xE007F => Some(Hidden::Tag),
        // The rest of Unicode's default-ignorable code points, and blanks without a shape.
        0x00AD
        | 0x034F
        | 0x115F
        | 0x1160
        | 0x17B4
        | 0x17B5
        | 0x180E
        | 0x200B..=0x200D
        | 0x2060..=0x2065
        | 0x206A..=0x206F
        | 0x2800
        | 0x3164
        | 0xFEFF
        | 0xFFA0
        | 0xFFF0..=0xFFFB
        | 0x1BCA0..=0x1BCA3
        | 0x1D173..=0x1D17A
        | 0xE0080..=0xE00FF
        | 0xE01F0..=0xE0FFF => Some(Hidden::Invisible),
        _ => None,
    }
}

pub(super) fn drop_characters(text: &str, tally: &mut Tally) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => {
                chars.next_if_eq(&'\n');
                out.push('\n');
            }
            '\u{2028}' | '\u{2029}' => out.push('\n'),
            _ => match hidden(c) {
                Some(kind) => tally.add(kind, c.encode_utf8(&mut [0; 4])),
                None => out.push(c),
            },
        }
    }
    out
}

fn drop_html_comments(text: &str, tally: &mut Tally) -> String {
    const OPEN: &str = "<!--";
    const CLOSE: &str = "-->";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let (shown, comment) = match rest.find(OPEN) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        // The two sides of a removed comment must not form another.
        let joins =
            (1..OPEN.len()).any(|i| out.ends_with(&OPEN[..i]) && shown.starts_with(&OPEN[i..]));
        if joins {
            out.push(' ');
        }
        out.push_str(shown);
        if comment.is_empty() {
            return out;
        }
        // `<!-->` is a whole comment, so the close may share the open's dashes.
        let end = comment[2..].find(CLOSE).map_or(comment.len(), |at| at + 2 + CLOSE.len());
        tally.add(Hidden::HtmlComment, &comment[..end]);
        rest = &comment[end..];
    }
}

fn drop_markdown_comments(text: &str, tally: &mut Tally) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.split_inclusive('\n');
    while let Some(line) = lines.next() {
        let Some(title) = nowhere_title(line) else {
            out.push_str(line);
            continue;
        };
        let mut comment = line.trim().to_owned();
        let close = match title.chars().next() {
            Some('(') => ')',
            Some(quote @ ('"' | '\'')) => quote,
            Some(_) | None => '\0',
        };
        let mut open = close != '\0' && !(title.len() > 1 && title.ends_with(close));
        while open {
            let Some(line) = lines.next() else { break };
            comment.push(' ');
            comment.push_str(line.trim());
            open = !line.trim().is_empty() && !line.trim_end().ends_with(close);
        }
        tally.add(Hidden::MarkdownComment, &comment);
    }
    out
}

/// Returns the title part of a line such as `[//]: # (text)` or `[comment]: <> "text"`.
fn nowhere_title(line: &str) -> Option<&str> {
    let (_, rest) = line.trim().strip_prefix('[')?.split_once("]:")?;
    let rest = rest.trim_start();
    let title = rest.strip_prefix('#').or_else(|| rest.strip_prefix("<>"))?;
    (title.is_empty() || title.starts_with(char::is_whitespace)).then(|| title.trim())
}

#[cfg(test)]
mod tests {
    use super::super::outside;
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check_clean(input: &str, expected: &str, dropped: &[(Hidden, usize)]) {
        let cleaned = clean(input);
        assert_eq!(cleaned.text, expected);
        let kinds: Vec<_> = cleaned.dropped.iter().map(|d| (d.kind, d.count)).collect();
        assert_eq!(kinds, dropped);
    }

    #[test]
    fn what_a_person_cannot_see_is_dropped_and_named() {
        use Hidden::{
            Bidirectional, Control, HtmlComment, Invisible, MarkdownComment, Tag, VariationSelector,
        };
        check_clean("plain\n\ttext é 漢 🙂", "plain\n\ttext é 漢 🙂", &[]);
        check_clean("a<!-- x -->b<!--y-->c", "abc", &[(HtmlComment, 2)]);
        check_clean("a <!-- never closed\nmore", "a ", &[(HtmlComment, 1)]);
        check_clean("a<!-->b-->c", "ab-->c", &[(HtmlComment, 1)]);
        check_clean("a<!--->b", "ab", &[(HtmlComment, 1)]);
        check_clean("a <!-- x --!> y --> z", "a  z", &[(HtmlComment, 1)]);
        check_clean("<!<!-- x -->-- seen -->", "<! -- seen -->", &[(HtmlComment, 1)]);
        check_clean("a <<!-- x -->b", "a <b", &[(HtmlComment, 1)]);
        check_clean("<\u{200B}!-- x -->b", "b", &[(HtmlComment, 1), (Invisible, 1)]);
        check_clean("```\n<!-- x -->\n```", "```\n\n```", &[(HtmlComment, 1)]);
        check_clean("a\u{200B}\u{FEFF}\u{AD}\u{3164}b", "ab", &[(Invisible, 4)]);
        check_clean("a\u{202E}b\u{2069}\u{61C}c", "abc", &[(Bidirectional, 3)]);
        check_clean("a\u{E0041}\u{E0042}", "a", &[(Tag, 2)]);
        check_clean("a\u{FE0F}b\u{E0100}", "ab", &[(VariationSelector, 2)]);
        check_clean("a\0b\u{1B}[31mc\u{85}", "ab[31mc", &[(Control, 3)]);
        check_clean("a\r\nb\rc\u{2028}d", "a\nb\nc\nd", &[]);
        check_clean("a\n[//]: # (evil\nmore)\nb", "a\nb", &[(MarkdownComment, 1)]);
        check_clean("a\n[//]: # (evil\nmore\nstill)\nb", "a\nb", &[(MarkdownComment, 1)]);
        check_clean("[c]: <> \"\nevil\"\nb", "b", &[(MarkdownComment, 1)]);
        check_clean("[c]: <> \"evil\"\nb", "b", &[(MarkdownComment, 1)]);
        check_clean("[docs]: https://example.org/#a", "[docs]: https://example.org/#a", &[]);
    }

    #[test]
    fn what_was_dropped_can_be_read() {
        let shown = |text: &str| clean(text).dropped.first().map(ToString::to_string);
        assert_eq!(shown("<!-- do\nevil -->"), Some("1 HTML comment: <!-- do evil -->".to_owned()));
        assert_eq!(shown("a\u{E0068}\u{E0069}"), Some("2 tag character: hi".to_owned()));
        assert_eq!(
            shown("\u{202E}\u{202C}"),
            Some("2 bidirectional control: U+202E U+202C".to_owned())
        );
        let two = "<!-- a --><!-- b -->";
        assert_eq!(shown(two), Some("2 HTML comment: <!-- a -->".to_owned()));
        let letters = clean(&"\u{E0068}".repeat(5_000));
        assert_eq!(letters.dropped[0].sample, "h".repeat(SAMPLE));
        let long = clean(&"\u{200B}".repeat(5_000));
        assert_eq!(long.dropped[0].count, 5_000);
        assert_eq!(long.dropped[0].sample, ["U+200B"; 11].join(" "));
        assert!(long.dropped[0].sample.chars().count() <= SAMPLE);
    }

    proptest! {
        #[test]
        fn cleaning_twice_is_cleaning_once(text in outside()) {
            let once = clean(&text);
            let twice = clean(&once.text);
            prop_assert_eq!(&twice.text, &once.text);
            prop_assert!(twice.dropped.is_empty());
            prop_assert!(!once.text.contains("<!--"));
            prop_assert!(!once.text.chars().any(|c| hidden(c).is_some()));
        }
    }
}
