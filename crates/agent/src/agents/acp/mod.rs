//! Agents that speak the Agent Client Protocol, version 1, over their standard input and output.
//!
//! Pure: [`dialogue`] is the client's side of one turn. Which agent it is, and how it is started,
//! is configuration; nothing here knows one, apart from extensions that agents announce in `_meta`.

pub mod dialogue;

mod failure;
