//! Finds what a browser does not show of the HTML in a Markdown text.
//!
//! Only [`unseen`](super::unseen) calls this, and says where there is HTML. Elements and attributes
//! are kept if they are known to show something or to hold an address. An element that hides its
//! content is dropped with it, and one without an end is dropped to the end of the text. A tag
//! without attributes whose name is that of no element stays, because it may be code that nobody
//! marked as such (`Vec<u8>`), and is listed.

use std::ops::Range;

use super::clean::{Hidden, Tally};
use super::unseen::Edit;

/// Elements that show their content, or themselves.
const SHOWN: &[&str] = &[
    "a",
    "abbr",
    "article",
    "aside",
    "b",
    "bdi",
    "bdo",
    "big",
    "blockquote",
    "br",
    "caption",
    "center",
    "cite",
    "code",
    "col",
    "colgroup",
    "dd",
    "del",
    "details",
    "dfn",
    "div",
    "dl",
    "dt",
    "em",
    "figcaption",
    "figure",
    "font",
    "footer",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "i",
    "img",
    "ins",
    "kbd",
    "li",
    "main",
    "mark",
    "nav",
    "ol",
    "p",
    "picture",
    "pre",
    "q",
    "rt",
    "ruby",
    "s",
    "samp",
    "section",
    "small",
    "source",
    "span",
    "strike",
    "strong",
    "sub",
    "summary",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "time",
    "tr",
    "tt",
    "u",
    "ul",
    "var",
    "wbr",
];
/// Elements whose content is not shown, or not as it is written.
const UNSHOWN: &[&str] = &[
    "applet", "audio", "canvas", "datalist", "dialog", "embed", "frameset", "head", "iframe",
    "map", "math", "noembed", "noframes", "noscript", "object", "rp", "script", "select", "style",
    "svg", "template", "textarea", "title", "video", "xmp",
];
/// Elements without content, and so without a closing tag.
const VOID: &[&str] =
    &["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"];
/// Attributes that hold an address.
const ADDRESSES: &[&str] = &["href", "src", "srcset"];
/// Attributes that say how something looks, by a word or a number.
const LOOKS: &[&str] =
    &["align", "colspan", "height", "open", "rowspan", "start", "type", "valign", "value", "width"];
/// Maximum length of the value of such an attribute, in bytes; a longer one is dropped.
const WORD: usize = 12;
/// Properties of a style that hide nothing.
const HARMLESS: &[&str] = &["text-align", "font-weight", "font-style", "vertical-align"];
/// Maximum length of an unknown tag that may be code, in bytes.
const CODE: usize = 40;

/// The places of the HTML in a text: one for a tag in a line, one for each part of a block.
#[derive(Debug, Default)]
pub(super) struct Units {
    all: Vec<Vec<Range<usize>>>,
    block: Vec<Range<usize>>,
}

impl Units {
    /// Adds a tag or the like in a line.
    pub(super) fn inline(&mut self, at: Range<usize>) {
        self.all.push(vec![at]);
    }

    /// Adds a part of the current block.
    pub(super) fn in_block(&mut self, at: Range<usize>) {
        self.block.push(at);
    }

    /// Ends the current block.
    pub(super) fn end_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        if !block.is_empty() {
            self.all.push(block);
        }
    }
}

/// Returns the edits that drop what is hidden in the HTML at these places. Unknown tags, which
/// stay, are only added to `tally`.
pub(super) fn hidden_html(text: &str, units: &Units, tally: &mut Tally) -> Vec<Edit> {
    let mut reader = Reader { text, tally, edits: Vec::new(), hiding: None };
    for unit in units.all.iter().chain([&units.block]) {
        reader.unit(unit);
    }
    let Reader { mut edits, hiding, .. } = reader;
    edits.extend(hiding.map(|one| Edit::drops(one.from..text.len(), Hidden::Element)));
    edits
}

/// An open element whose content is hidden.
struct Hiding {
    name: String,
    from: usize,
    /// How many elements of that name are open, this one included.
    depth: u32,
}

struct Reader<'a> {
    text: &'a str,
    tally: &'a mut Tally,
    edits: Vec<Edit>,
    hiding: Option<Hiding>,
}

/// The parts of a block as one text, and where each of them came from.
struct Joined {
    text: String,
    parts: Vec<(usize, Range<usize>)>,
}

impl Joined {
    fn of(text: &str, unit: &[Range<usize>]) -> Self {
        let mut joined = Self { text: String::new(), parts: Vec::new() };
        for at in unit {
            joined.parts.push((joined.text.len(), at.clone()));
            joined.text.push_str(text.get(at.clone()).unwrap_or_default());
        }
        joined
    }

    /// Returns the index of the last part that begins at or before this place of the joined text.
    fn part(&self, at: usize) -> usize {
        self.parts.partition_point(|(from, _)| *from <= at).saturating_sub(1)
    }

    /// Converts a place of the joined text to one of the original text.
    fn place(&self, at: usize) -> usize {
        self.parts.get(self.part(at)).map_or(0, |(from, place)| place.start + (at - from))
    }

    /// Converts a range of the joined text to ranges of the original text, one for each part.
    fn places(&self, range: &Range<usize>) -> Vec<Range<usize>> {
        let parts = self.parts.get(self.part(range.start)..).unwrap_or_default().iter();
        let parts = parts.take_while(|(from, _)| *from < range.end);
        let places = parts.filter_map(|(from, place)| {
            let start = range.start.max(*from);
            let end = range.end.min(from + place.len());
            (start < end).then(|| place.start + (start - from)..place.start + (end - from))
        });
        places.collect()
    }
}

impl Reader<'_> {
    fn unit(&mut self, unit: &[Range<usize>]) {
        let joined = Joined::of(self.text, unit);
        let mut at = 0;
        while let Some(found) = joined.text.get(at..).and_then(|rest| rest.find('<')) {
            let start = at + found;
            let rest = joined.text.get(start..).unwrap_or_default();
            at = start + self.markup(&joined, start, rest);
        }
    }

    /// Reads what begins with a `<`, and returns its length.
    fn markup(&mut self, joined: &Joined, start: usize, rest: &str) -> usize {
        let sections = [("<![CDATA[", "]]>"), ("<?", ">"), ("<!", ">")];
        let section = sections.into_iter().find(|(open, _)| rest.starts_with(open));
        let bogus = || {
            let after = rest.strip_prefix("</")?;
            (!after.starts_with(|c: char| c.is_ascii_alphabetic())).then_some(("</", ">"))
        };
        if let Some((open, close)) = section.or_else(bogus) {
            let end = rest.get(open.len()..).and_then(|inner| inner.find(close));
            let end = end.map_or(rest.len(), |end| open.len() + end + close.len());
            self.drop(joined, start..start + end, Hidden::Section);
            return end;
        }
        let Some(tag) = HtmlTag::read(rest) else { return 1 };
        let Some(length) = tag.length else {
            // A tag without an end swallows the rest of the page.
            let from = joined.place(start);
            self.hiding.get_or_insert(Hiding { name: String::new(), from, depth: 1 });
            return rest.len();
        };
        self.tag(joined, start, &tag, length);
        length
    }

    fn tag(&mut self, joined: &Joined, start: usize, tag: &HtmlTag, length: usize) {
        let whole = start..start + length;
        if let Some(hiding) = &mut self.hiding {
            if hiding.name == tag.name {
                hiding.depth = if tag.closes { hiding.depth - 1 } else { hiding.depth + 1 };
            }
            if hiding.depth == 0 {
                let end = joined.place(whole.end - 1) + 1;
                self.edits.push(Edit::drops(hiding.from..end, Hidden::Element));
                self.hiding = None;
            }
            return;
        }
        let known = SHOWN.contains(&tag.name.as_str());
        let is_void = VOID.contains(&tag.name.as_str());
        if tag.hides() && !tag.closes && !is_void {
            let from = joined.place(start);
            self.hiding = Some(Hiding { name: tag.name.clone(), from, depth: 1 });
        } else if !known && tag.attributes.is_empty() && length <= CODE && !tag.hides() && !is_void
        {
            let name = joined.text.get(whole).unwrap_or_default();
            self.tally.add(Hidden::UnknownTag, name);
        } else if !known || tag.hides() {
            self.drop(joined, whole, Hidden::Element);
        } else {
            let gone = tag.attributes.iter().filter(|one| tag.closes || !one.is_kept());
            for one in gone {
                self.drop(joined, start + one.at.start..start + one.at.end, Hidden::Attribute);
            }
        }
    }

    fn drop(&mut self, joined: &Joined, range: Range<usize>, kind: Hidden) {
        if self.hiding.is_none() {
            self.edits.extend(joined.places(&range).into_iter().map(|at| Edit::drops(at, kind)));
        }
    }
}

/// A tag of HTML.
struct HtmlTag {
    name: String,
    closes: bool,
    attributes: Vec<HtmlAttribute>,
    /// The length in bytes; `None` if the tag has no end.
    length: Option<usize>,
}

/// An attribute; its place includes the blanks before it.
struct HtmlAttribute {
    name: String,
    value: String,
    at: Range<usize>,
}

impl HtmlAttribute {
    fn is_kept(&self) -> bool {
        let one_word = !self.value.contains(|c: char| c.is_whitespace() || c.is_control());
        let short = self.value.len() <= WORD
            && self.value.chars().all(|c| c.is_ascii_alphanumeric() || ".%".contains(c));
        (ADDRESSES.contains(&self.name.as_str()) && one_word)
            || (LOOKS.contains(&self.name.as_str()) && short)
    }

    /// Whether the attribute hides its element, or may hide it.
    fn hides(&self) -> bool {
        let value = self.value.to_ascii_lowercase();
        match self.name.as_str() {
            "hidden" | "inert" => true,
            "type" => value.trim() == "hidden",
            "aria-hidden" => value.trim() == "true",
            "color" => ["white", "#fff", "transparent"].iter().any(|word| value.contains(word)),
            "style" => value.split(';').any(|one| {
                let property = one.split(':').next().unwrap_or_default().trim();
                !property.is_empty() && !HARMLESS.contains(&property)
            }),
            _ => false,
        }
    }
}

impl HtmlTag {
    /// Reads the tag that `text` begins with; `None` if it begins with no tag.
    fn read(text: &str) -> Option<Self> {
        let closes = text.starts_with("</");
        let name_at = if closes { 2 } else { 1 };
        let rest = text.get(name_at..)?;
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return None;
        }
        let ends = |c: char| c.is_whitespace() || c == '>' || c == '/';
        let name = rest.get(..rest.find(ends).unwrap_or(rest.len()))?;
        let mut at = name_at + name.len();
        let name = name.to_ascii_lowercase();
        let mut tag = Self { name, closes, attributes: Vec::new(), length: None };
        loop {
            let from = at;
            let rest = text.get(at..)?;
            let next = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
            at += rest.len() - next.len();
            if next.is_empty() {
                return Some(tag);
            }
            if next.starts_with('>') {
                tag.length = Some(at + 1);
                return Some(tag);
            }
            let Some((name, value, end)) = attribute(next) else { return Some(tag) };
            at += end;
            tag.attributes.push(HtmlAttribute { name, value, at: from..at });
        }
    }

    /// Whether neither the element nor its content is shown.
    fn hides(&self) -> bool {
        UNSHOWN.contains(&self.name.as_str()) || self.attributes.iter().any(HtmlAttribute::hides)
    }
}

/// Reads the attribute that `text` begins with: name, value and length; `None` if its value has no
/// end.
fn attribute(text: &str) -> Option<(String, String, usize)> {
    let ends = |c: char| c.is_whitespace() || "=>/".contains(c);
    // The first character belongs to the name even if it would end one.
    let first = text.chars().next().map_or(0, char::len_utf8);
    let rest = text.get(first..)?;
    let name = text.get(..first + rest.find(ends).unwrap_or(rest.len()))?;
    let after = text.get(name.len()..)?;
    let name = name.to_ascii_lowercase();
    let Some(given) = after.trim_start().strip_prefix('=') else {
        let length = name.len();
        return Some((name, String::new(), length));
    };
    let given = given.trim_start();
    let from = text.len() - given.len();
    let quote = given.chars().next().filter(|c| ['"', '\''].contains(c));
    let (value, length) = if let Some(quote) = quote {
        let inner = given.get(1..)?;
        let end = inner.find(quote)?;
        (inner.get(..end)?, end + 2)
    } else {
        let end = given.find(|c: char| c.is_whitespace() || c == '>');
        let value = given.get(..end.unwrap_or(given.len()))?;
        (value, value.len())
    };
    Some((name, value.to_owned(), from + length))
}
