//! Agents that speak the Agent Client Protocol, version 1, over their standard input and output.
//!
//! Nothing here does I/O: [`dialogue`] is the client's side of one turn. Which agent it is, and how
//! it is started, is configuration. Nothing here is made for one agent, apart from extensions in
//! `_meta`.

pub mod dialogue;

mod failure;
