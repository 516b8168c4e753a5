//! Outside text made safe: issue text for the agent, agent text for people.
//!
//! [`clean`] and [`clean_markdown`] remove from an issue what the person who released it could not
//! see; [`plain`], [`quote`], [`line`] and [`bounded`] make text of agents, CI and commits fit for
//! a comment; [`neutral`] makes outside text fit for a prompt, [`visible`] for a record; a [`Mask`]
//! hides the secrets in what agents and jobs write. All functions are total. Nothing here judges
//! what a text says.

mod clean;
mod html;
mod mask;
mod plain;
mod unseen;

pub use clean::{Cleaned, Dropped, Hidden, SAMPLE, clean, clean_markdown};
pub use mask::{MASKED, Mask, REACH};
pub use plain::{AT, Keep, SLASH, bounded, line, neutral, plain, quote, visible};

/// Whether the character is invisible or changes how others are shown. Line ends and tabs are
/// neither.
pub(crate) fn is_hidden(c: char) -> bool {
    clean::hidden(c).is_some()
}

/// Generates text from the pieces that matter here, and from anything else.
#[cfg(test)]
fn outside() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let piece = prop_oneof![
        Just("<!--".to_owned()),
        Just("-->".to_owned()),
        Just("<!".to_owned()),
        Just("--".to_owned()),
        Just("<".to_owned()),
        Just("[//]: # (".to_owned()),
        Just(")".to_owned()),
        Just("\n".to_owned()),
        Just("\r".to_owned()),
        Just("\u{1B}[".to_owned()),
        Just("\u{1B}]".to_owned()),
        Just("\u{200B}".to_owned()),
        Just("closes ".to_owned()),
        Just("#7".to_owned()),
        Just("@a".to_owned()),
        Just("/".to_owned()),
        any::<String>(),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}
