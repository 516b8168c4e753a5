//! The vocabulary and the decisions of `afk`, and nothing else.
//!
//! Everything here is a total function over data: no clock, no environment, no I/O, no randomness.
//! Reading order: [`ids`] and [`issue`] for the vocabulary, [`gates`] for what may be dispatched,
//! [`run`] for the record, [`plan`] for what comes next.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

pub mod ask;
pub mod author;
pub mod blockers;
pub mod chain;
pub mod change;
pub mod checkout;
pub mod comment;
pub mod config;
pub mod digest;
pub mod doorbell;
pub mod elapsed;
pub mod evidence;
pub mod forms;
pub mod freeze;
pub mod gates;
mod globs;
pub mod guardrails;
pub mod hold;
pub mod ids;
pub mod impediment;
pub mod issue;
pub mod message;
pub mod network;
pub mod phase;
pub mod plan;
pub mod presence;
pub mod priority;
pub mod prompt;
pub mod proof;
pub mod replay;
pub mod request;
pub mod run;
pub mod secret;
mod secrets;
pub mod shared;
pub mod spend;
pub mod steer;
pub mod text;
pub mod trouble;
pub mod trust;
pub mod usd;
pub mod verdict;
pub mod workflow;
