//! Colour and marks: the same words with and without them.

use std::fmt::Display;

use owo_colors::{OwoColorize, Style};

/// Whether what is written may carry colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paint {
    on: bool,
}

/// How a line of a list stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Passed, done.
    Yes,
    /// Refused, failed.
    No,
    /// Not known, not asked.
    Unknown,
    /// Under way.
    Now,
    /// To come.
    Later,
}

impl Paint {
    /// No colour.
    #[cfg(test)]
    pub(super) const PLAIN: Self = Self { on: false };

    pub(super) const fn new(on: bool) -> Self {
        Self { on }
    }

    /// Whether there is colour.
    pub(super) const fn is_on(self) -> bool {
        self.on
    }

    fn with(self, style: Style, text: impl Display) -> String {
        if self.on { text.style(style).to_string() } else { text.to_string() }
    }

    /// What went well.
    pub(super) fn good(self, text: impl Display) -> String {
        self.with(Style::new().green(), text)
    }

    /// What did not.
    pub(super) fn bad(self, text: impl Display) -> String {
        self.with(Style::new().red().bold(), text)
    }

    /// What needs a look.
    pub(super) fn warn(self, text: impl Display) -> String {
        self.with(Style::new().yellow(), text)
    }

    /// Headings and names.
    pub(super) fn strong(self, text: impl Display) -> String {
        self.with(Style::new().bold(), text)
    }

    /// What is there for those who look for it.
    pub(super) fn faint(self, text: impl Display) -> String {
        self.with(Style::new().dimmed(), text)
    }

    /// One character that says how a line stands.
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
