//! Drops what a reader of a rendered Markdown page does not see: titles of links and images,
//! alternative texts, labels, definitions that nothing refers to, and in HTML hidden elements,
//! attributes, CDATA sections, processing instructions and declarations.
//!
//! Only [`clean_markdown`](super::clean_markdown) calls this. It finds what is seen, and drops
//! everything else that has letters, so that the unforeseen (a surplus cell in a row of a table, a
//! second definition of a label) is dropped, too. Addresses stay, since they are what a link is
//! for. Code is seen, and stays. HTML is judged by [`html`](super::html).

use std::collections::BTreeSet;
use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, LinkType, Options, Parser, Tag, TagEnd};

use super::clean::{Hidden, Tally};
use super::html::{Units, hidden_html};

/// Maximum length of the name of a code block's language, and of a footnote's label, in bytes;
/// longer ones are dropped.
const LABEL: usize = 16;

/// A replacement of something that is not seen.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) at: Range<usize>,
    pub(super) instead: String,
    /// The kind to list; `None` for a part that is only rewritten and hides nothing.
    pub(super) kind: Option<Hidden>,
}

impl Edit {
    /// Returns an edit that drops a place.
    pub(super) fn drops(at: Range<usize>, kind: Hidden) -> Self {
        Self { at, instead: String::new(), kind: Some(kind) }
    }
}

/// Returns a Markdown text without what is not seen on its page.
pub(super) fn drop_unseen(text: &str, tally: &mut Tally) -> String {
    let mut page = Page::read(text);
    let mut edits = std::mem::take(&mut page.edits);
    edits.extend(hidden_html(text, &page.html, tally));
    edits.extend(page.unseen(&edits));
    edits.sort_by_key(|edit| (edit.at.start, usize::MAX - edit.at.end));
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for edit in edits {
        // An edit that begins inside another was applied with it.
        let Some(before) = text.get(done..edit.at.start) else { continue };
        let Some(gone) = text.get(edit.at.clone()) else { continue };
        out.push_str(before);
        out.push_str(&edit.instead);
        if let Some(kind) = edit.kind {
            tally.add(kind, gone);
        }
        done = edit.at.end;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

/// Returns a text in which no markup is left that could hide something. Used for a text that is not
/// settled after many rounds, because it hides things inside each other.
pub(super) fn without_markup(text: &str) -> String {
    text.replace('<', "＜").replace('[', "［").replace('`', "'").replace('~', "∼").replace('|', "¦")
}

/// A link that is open.
struct OpenLink {
    kind: LinkType,
    address: String,
    title: bool,
    label: String,
    /// The place of the link's text, as far as it was read.
    text: Range<usize>,
}

/// A Markdown text as a page.
struct Page<'a> {
    text: &'a str,
    /// The places that are seen.
    seen: Vec<Range<usize>>,
    /// The places of HTML.
    html: Units,
    edits: Vec<Edit>,
    /// The labels of definitions that stay, because a link shows them.
    shown: BTreeSet<String>,
    /// The labels of definitions whose addresses were moved into the links.
    moved: BTreeSet<String>,
    /// The labels of the footnotes that the text refers to, and those of the footnotes that it
    /// defines, with their places.
    noted: BTreeSet<String>,
    notes: Vec<(String, Range<usize>)>,
    links: Vec<OpenLink>,
    /// How many images are open. Nothing inside an image is seen.
    images: u32,
}

impl<'a> Page<'a> {
    fn read(text: &'a str) -> Self {
        let options = Options::ENABLE_TABLES
            | Options::ENABLE_STRIKETHROUGH
            | Options::ENABLE_TASKLISTS
            | Options::ENABLE_FOOTNOTES;
        let parser = Parser::new_ext(text, options);
        let definitions: Vec<_> = parser
            .reference_definitions()
            .iter()
            .map(|(label, one)| {
                (folded(label), one.span.clone(), one.dest.to_string(), one.title.is_some())
            })
            .collect();
        let mut page = Self {
            text,
            seen: Vec::new(),
            html: Units::default(),
            edits: Vec::new(),
            shown: BTreeSet::new(),
            moved: BTreeSet::new(),
            noted: BTreeSet::new(),
            notes: Vec::new(),
            links: Vec::new(),
            images: 0,
        };
        for (event, at) in parser.into_offset_iter() {
            page.event(event, at);
        }
        for (label, at, address, titled) in definitions {
            page.definition(&label, at, &address, titled);
        }
        page.footnotes();
        page
    }

    fn event(&mut self, event: Event<'_>, at: Range<usize>) {
        if let Some(link) = self.links.last_mut()
            && !matches!(event, Event::End(TagEnd::Link))
        {
            link.text.end = link.text.end.max(at.end);
        }
        match event {
            Event::Start(tag) => self.start(tag, at),
            Event::End(TagEnd::Image) => self.images = self.images.saturating_sub(1),
            Event::End(TagEnd::Link) => self.end_link(at),
            Event::End(TagEnd::HtmlBlock) => self.html.end_block(),
            Event::End(_) => {}
            Event::Html(_) if self.images == 0 => {
                self.seen.push(at.clone());
                self.html.in_block(at);
            }
            Event::InlineHtml(html) if self.images == 0 => {
                self.seen.push(at.clone());
                // A tag that spans several lines of a quote contains the quote's marks, and cannot
                // be read as it stands.
                if self.text.get(at.clone()) == Some(&*html) {
                    self.html.inline(at);
                } else {
                    self.edits.push(Edit::drops(at, Hidden::Element));
                }
            }
            Event::FootnoteReference(label) => {
                self.noted.insert(folded(&label));
                self.footnote_label(&label, at);
            }
            Event::Html(_) | Event::InlineHtml(_) => {}
            Event::Text(_)
            | Event::Code(_)
            | Event::InlineMath(_)
            | Event::DisplayMath(_)
            | Event::SoftBreak
            | Event::HardBreak
            | Event::Rule
            | Event::TaskListMarker(_) => {
                if self.images == 0 {
                    self.seen.push(at);
                }
            }
        }
    }

    fn start(&mut self, tag: Tag<'_>, at: Range<usize>) {
        match tag {
            Tag::Image { link_type, dest_url, title, .. } => {
                self.images += 1;
                if self.images > 1 {
                    return;
                }
                let bare = link_type == LinkType::Inline && title.is_empty();
                let bare =
                    bare && self.text.get(at.clone()).is_some_and(|text| text.starts_with("![]("));
                if bare && !dest_url.contains(is_blank) {
                    self.seen.push(at);
                } else {
                    let instead = format!("![]({})", address(&dest_url));
                    let kind = (!bare).then_some(Hidden::AlternativeText);
                    self.edits.push(Edit { at, instead, kind });
                }
            }
            Tag::Link { link_type, dest_url, title, id } => self.links.push(OpenLink {
                kind: link_type,
                address: dest_url.to_string(),
                title: !title.is_empty(),
                label: id.to_string(),
                text: at.start..at.start + 1,
            }),
            Tag::CodeBlock(CodeBlockKind::Fenced(info)) => self.code(&info, at),
            Tag::FootnoteDefinition(label) => self.notes.push((label.to_string(), at)),
            Tag::CodeBlock(CodeBlockKind::Indented)
            | Tag::Paragraph
            | Tag::Heading { .. }
            | Tag::BlockQuote(_)
            | Tag::HtmlBlock
            | Tag::List(_)
            | Tag::Item
            | Tag::DefinitionList
            | Tag::DefinitionListTitle
            | Tag::DefinitionListDefinition
            | Tag::Table(_)
            | Tag::TableHead
            | Tag::TableRow
            | Tag::TableCell
            | Tag::Emphasis
            | Tag::Strong
            | Tag::Strikethrough
            | Tag::Superscript
            | Tag::Subscript
            | Tag::MetadataBlock(_) => {}
        }
    }

    /// Drops the text after the fence that opens a code block, unless it may be the name of a
    /// language.
    fn code(&mut self, info: &str, at: Range<usize>) {
        let line = self.text.get(at.clone()).unwrap_or_default().lines().next().unwrap_or_default();
        let fence = line.len() - line.trim_start().trim_start_matches(['`', '~']).len();
        let behind = at.start + fence..at.start + line.len();
        let name = |c: char| c.is_ascii_alphanumeric() || "+#-._,".contains(c);
        if info.len() <= LABEL && info.chars().all(name) {
            self.seen.push(behind);
        } else {
            self.edits.push(Edit::drops(behind, Hidden::Label));
        }
    }

    fn end_link(&mut self, at: Range<usize>) {
        let Some(link) = self.links.pop() else { return };
        let inner = self.text.get(link.text.end..at.end).and_then(|rest| rest.find(']'));
        let behind = inner.map_or(at.end, |inner| link.text.end + inner)..at.end;
        let tail = self.text.get(behind.clone()).unwrap_or_default();
        let instead = format!("]({})", address(&link.address));
        let kind = match link.kind {
            LinkType::Autolink
            | LinkType::Email
            | LinkType::ReferenceUnknown
            | LinkType::CollapsedUnknown
            | LinkType::ShortcutUnknown
            | LinkType::WikiLink { .. } => return,
            LinkType::Collapsed | LinkType::Shortcut => {
                self.shown.insert(folded(&link.label));
                self.seen.push(behind);
                return;
            }
            LinkType::Inline if link.title => Some(Hidden::Title),
            LinkType::Inline if link.address.contains(is_blank) => None,
            LinkType::Inline => {
                self.seen.push(behind);
                return;
            }
            LinkType::Reference => {
                self.moved.insert(folded(&link.label));
                Some(Hidden::Label)
            }
        };
        if self.images == 0 && tail.starts_with(']') {
            self.edits.push(Edit { at: behind, instead, kind });
        }
    }

    /// Keeps a link definition if a link shows its label, but drops its title.
    fn definition(&mut self, label: &str, at: Range<usize>, dest: &str, titled: bool) {
        let shown = self.text.get(at.clone()).and_then(|text| text.split_once("]:"));
        let stays = self.shown.contains(label);
        match shown {
            Some(_) if stays && !titled && !dest.contains(is_blank) => self.seen.push(at),
            Some((label, _)) if stays => {
                let instead = format!("{label}]: {}", address(dest));
                self.edits.push(Edit { at, instead, kind: titled.then_some(Hidden::Title) });
            }
            _ if titled => self.edits.push(Edit::drops(at, Hidden::Title)),
            _ => {
                let moved = self.moved.contains(label);
                let kind = (!moved).then_some(Hidden::MarkdownComment);
                self.edits.push(Edit { at, instead: String::new(), kind });
            }
        }
    }

    /// Keeps a footnote if something refers to it, but not its label where that may say something.
    fn footnotes(&mut self) {
        for (label, at) in std::mem::take(&mut self.notes) {
            if self.noted.contains(&folded(&label)) {
                let mark = at.start..(at.start + label.len() + "[^]:".len()).min(at.end);
                self.footnote_label(&label, mark);
            } else {
                self.edits.push(Edit::drops(at, Hidden::MarkdownComment));
            }
        }
    }

    /// Drops the mark of a footnote, which is shown as a number, if its label is longer than
    /// [`LABEL`] or has more than letters and digits.
    fn footnote_label(&mut self, label: &str, mark: Range<usize>) {
        if label.len() <= LABEL && label.chars().all(|c| c.is_ascii_alphanumeric()) {
            self.seen.push(mark);
        } else {
            self.edits.push(Edit::drops(mark, Hidden::Label));
        }
    }

    /// Returns edits that drop everything that has letters and is neither seen nor covered by
    /// `edits`.
    fn unseen(&self, edits: &[Edit]) -> Vec<Edit> {
        let known = self.seen.iter().cloned().chain(edits.iter().map(|edit| edit.at.clone()));
        let known = crate::secrets::merged(known.filter(|at| !at.is_empty()).collect());
        let ends = known.iter().map(|at| at.end);
        let starts = known.iter().map(|at| at.start).chain([self.text.len()]);
        let gaps = std::iter::once(0).chain(ends).zip(starts);
        gaps.flat_map(|(from, to)| self.unseen_between(from..to)).collect()
    }

    fn unseen_between(&self, gap: Range<usize>) -> Vec<Edit> {
        let Some(text) = self.text.get(gap.clone()) else { return Vec::new() };
        let mut found = Vec::new();
        let mut at = gap.start;
        for line in text.split_inclusive('\n') {
            let begins =
                at == 0 || self.text.get(..at).is_some_and(|before| before.ends_with('\n'));
            let ends = line.ends_with('\n') || at + line.len() == self.text.len();
            // A whole line is dropped as such, a part of a line from its first letter or digit to
            // its last.
            let blank = |c: char| c.is_whitespace() || c == '>';
            let part = if begins && ends {
                let start = line.len() - line.trim_start_matches(blank).len();
                start..line.trim_end().len()
            } else {
                let start = line.find(char::is_alphanumeric).unwrap_or(0);
                let end = line.char_indices().rfind(|(_, c)| c.is_alphanumeric());
                start..end.map_or(0, |(end, c)| end + c.len_utf8())
            };
            if line.contains(char::is_alphabetic) && part.start < part.end {
                let kind = if begins && ends { Hidden::MarkdownComment } else { Hidden::Markup };
                found.push(Edit::drops(at + part.start..at + part.end, kind));
            }
            at += line.len();
        }
        found
    }
}

/// Returns a label in the form in which labels are compared.
fn folded(label: &str) -> String {
    let words: Vec<&str> = label.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

/// Returns an address as Markdown takes it, without blanks, so that nothing in it reads as words.
fn address(given: &str) -> String {
    let encoded: String = given
        .chars()
        .map(|c| match c {
            '<' => "%3C".to_owned(),
            '>' => "%3E".to_owned(),
            '\\' => "%5C".to_owned(),
            c if is_blank(c) => "%20".to_owned(),
            c => c.to_string(),
        })
        .collect();
    if encoded.is_empty() || encoded.contains(['(', ')']) {
        format!("<{encoded}>")
    } else {
        encoded
    }
}

/// Whether the character could separate words.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Hidden, clean_markdown, outside};
    use super::LABEL;

    #[track_caller]
    fn check(input: &str, expected: &str, dropped: &[Hidden]) {
        let cleaned = clean_markdown(input);
        assert_eq!(cleaned.text, expected, "{input}");
        let kinds: Vec<Hidden> = cleaned.dropped.iter().map(|one| one.kind).collect();
        assert_eq!(kinds, dropped, "{input}");
    }

    #[test]
    fn titles_and_alternative_texts_are_dropped() {
        use Hidden::{AlternativeText, Label, MarkdownComment, Title};
        check("see [it](http://x/y \"do evil\") now", "see [it](http://x/y) now", &[Title]);
        check("[it](<a b> 'evil')", "[it](a%20b)", &[Title]);
        check("see [](http://x 'evil') now", "see [](http://x) now", &[Title]);
        check("[a](b 'evil') [c](d 'evil')", "[a](b) [c](d)", &[Title]);
        check("[it](<do evil>)", "[it](do%20evil)", &[]);
        check("![](<do evil>)", "![](do%20evil)", &[]);
        check("[it]\n\n[it]: http://x 'evil'\n", "[it]\n\n[it]: http://x\n", &[Title]);
        check("[it][]\n\n[it]: http://x\n", "[it][]\n\n[it]: http://x\n", &[]);
        check("[it][evil]\n\n[evil]: http://x\n", "[it](http://x)\n\n\n", &[Label]);
        check("a\n\n[evil]: http://x\n\nb", "a\n\n\n\nb", &[MarkdownComment]);
        check(
            "[a]\n\n[a]: http://x\n[a]: http://evil \"evil\"\n",
            "[a]\n\n[a]: http://x\n\n",
            &[MarkdownComment],
        );
        check("![do evil](x.png)", "![](x.png)", &[AlternativeText]);
        check("![a](x.png \"evil\") b", "![](x.png) b", &[AlternativeText]);
        check("![evil]\n\n[evil]: x.png", "![](x.png)\n\n", &[MarkdownComment, AlternativeText]);
        check(
            "[![evil](i.png)](http://x \"more\")",
            "[![](i.png)](http://x)",
            &[Title, AlternativeText],
        );
        check("![](x.png) [a](b) <http://c>", "![](x.png) [a](b) <http://c>", &[]);
        check("a[^1] b\n\n[^1]: seen\n", "a[^1] b\n\n[^1]: seen\n", &[]);
        check("a\n\n[^1]: evil\n", "a\n\n", &[MarkdownComment]);
    }

    #[test]
    fn hidden_html_is_dropped() {
        use Hidden::{Attribute, Element, Section, UnknownTag};
        check("a <span hidden>evil</span> b", "a  b", &[Element]);
        check("<div style=\"display: none\">\nevil\n\n*more*\n</div>\n\nb", "\n\nb", &[Element]);
        check("<div\nhidden>\nevil\n</div>\n\nb", "\n\nb", &[Element]);
        check("<p style=\"text-align:center\">b</p>", "<p>b</p>", &[Attribute]);
        check("<font color=\"white\">evil</font> a", " a", &[Element]);
        check("<template>evil</template>\n\nb", "\n\nb", &[Element]);
        check("a <div hidden>evil without an end", "a ", &[Element]);
        check("<b hidden>x<b>y</b>evil</b>z", "z", &[Element]);
        check("a <input type=hidden value=evil> b", "a  b", &[Element]);
        check("a <b title='evil' data-x=evil>c</b>", "a <b>c</b>", &[Attribute]);
        check("a <b\ntitle='evil'>c</b>", "a <b>c</b>", &[Attribute]);
        check("> a <b\n> title='evil'>c", "> a c", &[Element]);
        check("<img src=\"a.png\" alt=\"evil\">", "<img src=\"a.png\">", &[Attribute]);
        check(
            "<a id=\"evil words\" href=\"http://x\">y</a>",
            "<a href=\"http://x\">y</a>",
            &[Attribute],
        );
        check("<div title=\"\n\nevil\n\n\">seen</div>", "", &[Element]);
        check("a <![CDATA[ evil ]]> b", "a  b", &[Section]);
        check("a <?evil do it?> b", "a  b", &[Section]);
        check("<!DOCTYPE evil>\nb", "\nb", &[Section]);
        check("<div>\n</ evil>\nb</div>", "<div>\n\nb</div>", &[Section]);
        check("<evil words=\"x\">a</evil>", "a</evil>", &[Element, UnknownTag]);
        let details = "<details open><summary>s</summary>t</details>";
        check(details, details, &[]);
    }

    #[test]
    fn other_parts_of_markdown_are_dropped() {
        use Hidden::{Label, Markup};
        check("```rust\nlet a;\n```\n", "```rust\nlet a;\n```\n", &[]);
        check("```rust,ignore\nlet a;\n```\n", "```rust,ignore\nlet a;\n```\n", &[]);
        check("~~~ do evil at once\nlet a;\n~~~\n", "~~~\nlet a;\n~~~\n", &[Label]);
        check("a\n\n~~~ do evil\nlet a;\n~~~\n", "a\n\n~~~\nlet a;\n~~~\n", &[Label]);
        let fenced = |name: &str| format!("a\n\n```{name}\nlet a;\n```\n");
        let longest = fenced(&"x".repeat(LABEL));
        check(&longest, &longest, &[]);
        check(&fenced(&"x".repeat(LABEL + 1)), &fenced(""), &[Label]);
        let noted = |label: &str| format!("a[^{label}] b\n\n[^{label}]: c\n");
        let longest = noted(&"x".repeat(LABEL));
        check(&longest, &longest, &[]);
        check(&noted(&"x".repeat(LABEL + 1)), "a b\n\n c\n", &[Label]);
        check("|a|\n|-|\n|b|evil|\n", "|a|\n|-|\n|b||\n", &[Markup]);
        check("a[^do-evil-at-once] b\n\n[^do-evil-at-once]: c\n", "a b\n\n c\n", &[Label]);
    }

    #[test]
    fn what_stands_in_code_is_seen() {
        for text in [
            "```html\n<template><img alt=\"a\"></template>\n```\n",
            "`<span hidden>` and `![alt](x)`",
            "    <script>let a = 1 < 2;</script>\n",
            "a < b and HashMap<K, V> stay, and 1 > 0 && x",
            "`[x](y \"title\")`",
            "# A head\n\n1. one\n2. two\n\n- [x] done\n\n> quoted\n\nA & B &amp; &copy; \\* **bold** _it_ ~~no~~\n",
            "|a|b|\n|:--|--:|\n|c|`d`|\n",
            "Setext\n======\n\nmail <a@b.c> and <https://x/y?z>\n",
        ] {
            check(text, text, &[]);
        }
    }

    #[test]
    fn what_may_be_code_stays_and_is_listed() {
        let cleaned = clean_markdown("a Vec<u8> of Option<String>");
        assert_eq!(cleaned.text, "a Vec<u8> of Option<String>");
        let told: Vec<String> = cleaned.dropped.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["2 unknown tag: <u8><String>"]);
    }

    #[test]
    fn what_is_left_does_not_hide_anything_in_turn() {
        let joined = clean_markdown("<spa<b hidden>x</b>n hidden>evil</span>z");
        assert!(!joined.text.contains("evil"), "{joined:?}");
        let joined = clean_markdown("<<b hidden></b>!-- evil --> b");
        assert!(!joined.text.contains("<!--"), "{joined:?}");
        // Nested deeper than the rounds go, nothing is left of the markup.
        let deep = "<b hidden>".repeat(40) + "x" + &"</b>".repeat(40);
        assert!(clean_markdown(&deep).text.is_empty());
    }

    /// Generates parts of a page with whether they hide something. `hidN` is not seen, `seenN` is.
    fn parts() -> impl Strategy<Value = (String, bool)> {
        let hides = [
            "![hidN](u)",
            "![a](u \"hidN\")",
            "[seenN](u 'hidN')",
            "[seenN](<u N> \"hidN\")",
            "[seenN][hidN]\n\n[hidN]: u\n\n",
            "\n\n[hidN]: u \"hidN\"\n\n",
            "\n\n[//]: # (hidN)\n\n",
            "<!-- hidN -->",
            "<span hidden>hidN</span> seenN",
            "<b title=\"hidN\">seenN</b>",
            "<i style='opacity:0'>hidN *hidN*</i>",
            "\n\n<div style=\"display:none\">\n\nhidN\n\n</div>\n\nseenN",
            "seenN <![CDATA[hidN]]>",
            "seenN <?hidN?>",
            "<img src=\"u\" alt='hidN'>",
            "\n\n<script>hidN</script>\n\n",
            "\n\n```hidN of a language nobody has\nseenN\n```\n\n",
            "\n\n|seenN|\n|-|\n|a|hidN|\n\n",
            "\n\n[^hidN-of-a-footnote]: hidN\n\nseenN",
            "<a href=\"u\" id=\"hidN\">seenN</a>",
            "<svg><title>hidN</title></svg>",
        ];
        let shows =
            ["seenN", "`seenN`", "**seenN**", "[seenN](u)", "\n\n    seenN\n\n", "<b>seenN</b>"];
        prop_oneof![
            3 => proptest::sample::select(hides.to_vec()).prop_map(|text| (text.to_owned(), true)),
            1 => proptest::sample::select(shows.to_vec()).prop_map(|text| (text.to_owned(), false)),
        ]
    }

    proptest! {
        /// Text that a reader of the page cannot see does not reach the prompt, and text that can
        /// be seen does.
        #[test]
        fn a_reader_and_the_agent_see_the_same(
            parts in proptest::collection::vec(parts(), 1..8),
            quoted in any::<bool>(),
        ) {
            let numbered = parts.iter().enumerate();
            let words: Vec<String> =
                numbered.map(|(n, (part, _))| part.replace('N', &format!("{n}x"))).collect();
            let text = words.join(" ");
            let text = if quoted { format!("> {}", text.replace('\n', "\n> ")) } else { text };
            let cleaned = clean_markdown(&text);
            prop_assert!(!cleaned.text.contains("hid"), "{text:?} became {:?}", cleaned.text);
            for (n, part) in words.iter().enumerate() {
                let seen = format!("seen{n}x");
                if part.contains(&seen) {
                    prop_assert!(cleaned.text.contains(&seen), "{text:?} became {:?}", cleaned.text);
                }
            }
            prop_assert_eq!(cleaned.dropped.is_empty(), !parts.iter().any(|(_, hides)| *hides));
        }

        #[test]
        fn cleaning_twice_is_cleaning_once(
            pieces in proptest::collection::vec(prop_oneof![outside(), parts().prop_map(|(text, _)| text)], 0..6),
        ) {
            let once = clean_markdown(&pieces.concat());
            let twice = clean_markdown(&once.text);
            prop_assert_eq!(&twice.text, &once.text);
            prop_assert!(twice.dropped.iter().all(|one| one.kind.stays()), "{:?}", twice.dropped);
            prop_assert!(!once.text.contains("<!--"));
        }
    }
}
