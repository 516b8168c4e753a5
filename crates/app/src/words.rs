//! How outside text and times are written for people.

use std::time::Duration;

use afk_core::ids::At;
use afk_core::text::{AT, SLASH, neutral};

/// Text of issues, agents and CI made safe for a terminal: no terminal sequences, nothing
/// invisible; line ends stay.
pub fn printable(text: &str) -> String {
    // Prompts also have these two replaced, which would only disturb a person.
    neutral(text).replace(AT, "@").replace(SLASH, "/")
}

/// [`printable`] text on one line of at most `max` characters.
pub fn line(text: &str, max: usize) -> String {
    let text = printable(text);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= max {
        return text;
    }
    let cut: String = text.chars().take(max.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

/// The time from `from` to `to`; zero if `to` is earlier.
pub fn between(from: At, to: At) -> Duration {
    to.duration_since(from).try_into().unwrap_or(Duration::ZERO)
}
