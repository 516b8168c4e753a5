//! The whole loop on issues that live on a forge: the real binary, a real git remote, and the strict
//! fake of GitHub, whose every answer is checked against GitHub's own description.
//!
//! A run takes seconds of two cores, so that not everything is combined with everything:
//!
//! - `scenarios` shows each of the demo's scenarios once, with the demo's own project and scripts.
//!   Every other one is woken by webhooks, with a poll of an hour: whatever needs a poll hangs. The
//!   others are polled, and GitHub sends no webhook at all.
//! - `landing` lands the demo's change in each of the three ways, woken and polled: what a
//!   landing waits for (checks of a branch, of the default branch, people) comes by either. Its
//!   stage is GitHub's checks; the scenarios have the demo's command, but for `tested`, whose red
//!   check goes the long way: its log, the same run once more, the base.
//! - `homes` has the predecessor's repository, whose tracker, git, CI, deployment and cluster are
//!   five places.
//! - `demo` is `afk demo --forge` itself, where there is no network.
//! - `release` has who may release an issue, and what a webhook may do.
//!
//! Pull requests without webhooks are looked at by `afk tick`, as a scheduler runs it: the daemon
//! would look every half a minute, and the test would wait for that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod demo;
mod homes;
mod landing;
mod release;
mod scenarios;
mod stand;
mod support;
