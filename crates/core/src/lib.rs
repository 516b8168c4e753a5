//! Words and decisions of `afk`, and nothing else.
//!
//! Everything here is a total function over data: no clock, no environment, no
//! I/O, no chance. Reading order: [`ids`] and [`issue`] for the words, `gates`
//! for what may be dispatched, `plan` for what a run does next.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

pub mod blockers;
pub mod comment;
pub mod doorbell;
pub mod gates;
pub mod ids;
pub mod issue;
pub mod phase;
pub mod priority;
pub mod prompt;
pub mod text;
pub mod trust;
pub mod verdict;
