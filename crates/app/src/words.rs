//! Outside text made safe to show, and the time between two moments.

use std::time::Duration;

use afk_core::ids::At;
use afk_core::text::{AT, SLASH, neutral};

/// Makes text of issues, agents and CI safe for a terminal: no terminal sequences, nothing
/// invisible; line ends stay.
pub fn printable(text: &str) -> String {
    // `neutral` also replaces @ and / for prompts; people read the plain characters.
    neutral(text).replace(AT, "@").replace(SLASH, "/")
}

/// Puts [`printable`] text on one line of at most `max` characters; an ellipsis marks a cut.
pub fn line(text: &str, max: usize) -> String {
    let text = printable(text);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= max {
        return text;
    }
    let cut: String = text.chars().take(max.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

/// Returns the time from `from` to `to`; zero if `to` is earlier.
pub fn between(from: At, to: At) -> Duration {
    to.duration_since(from).try_into().unwrap_or(Duration::ZERO)
}
