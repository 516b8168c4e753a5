//! Colours, marks and the width of lines. The words of the output are the same with and without
//! colour; tables are cut to the width of a terminal.

use std::fmt::Display;

use owo_colors::{OwoColorize, Style};

/// Whether output may be coloured, and how wide it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paint {
    on: bool,
    /// The terminal's width, in columns; none if the output goes elsewhere.
    width: Option<usize>,
}

/// The state of a line in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Passed, done.
    Yes,
    /// Refused, failed.
    No,
    /// Not known, or not queried.
    Unknown,
    /// In progress.
    Now,
    /// Still to come.
    Later,
}

impl Paint {
    /// Output without colour.
    #[cfg(test)]
    pub(super) const PLAIN: Self = Self::new(false);

    /// Output that is not cut to any width.
    pub(super) const fn new(on: bool) -> Self {
        Self { on, width: None }
    }

    /// The same for a terminal of that width, if there is one.
    pub(super) const fn within(self, width: Option<usize>) -> Self {
        Self { width, ..self }
    }

    /// The terminal's width, in columns; none if the output goes elsewhere.
    pub(super) const fn width(self) -> Option<usize> {
        self.width
    }

    /// Whether output is coloured.
    pub(super) const fn is_on(self) -> bool {
        self.on
    }

    fn with(self, style: Style, text: impl Display) -> String {
        if self.on { text.style(style).to_string() } else { text.to_string() }
    }

    /// A good result.
    pub(super) fn good(self, text: impl Display) -> String {
        self.with(Style::new().green(), text)
    }

    /// A bad result.
    pub(super) fn bad(self, text: impl Display) -> String {
        self.with(Style::new().red().bold(), text)
    }

    /// Something that needs attention.
    pub(super) fn warn(self, text: impl Display) -> String {
        self.with(Style::new().yellow(), text)
    }

    /// Headings and names.
    pub(super) fn strong(self, text: impl Display) -> String {
        self.with(Style::new().bold(), text)
    }

    /// Secondary detail.
    pub(super) fn faint(self, text: impl Display) -> String {
        self.with(Style::new().dimmed(), text)
    }

    /// The one character for the state of a line.
    pub(super) fn mark(self, mark: Mark) -> String {
        match mark {
            Mark::Yes => self.good('✓'),
            Mark::No => self.bad('✗'),
            Mark::Unknown => self.warn('?'),
            Mark::Now => self.with(Style::new().cyan(), '▸'),
            Mark::Later => self.faint('·'),
        }
    }
}
