//! The whole loop on issues that live on a forge: the real binary, a real git remote, and the strict
//! fakes of GitHub and of Forgejo, whose every answer is checked against the forge's own description.
//!
//! A run takes seconds of two cores, so not everything is combined with everything:
//!
//! - `scenarios` shows each of the demo's scenarios once on each forge, with the demo's own project
//!   and scripts. On one forge it is woken by webhooks, with a poll of an hour: whatever needs a poll
//!   hangs. On the other it is polled, and no webhook is sent at all.
//! - `landing` lands the demo's change in each of the three ways, woken and polled: what a
//!   landing waits for (checks of a branch, of the default branch, people) comes by either. Its
//!   stage is what CI says on the forge; the scenarios have the demo's command, but for `tested`,
//!   whose red check goes the long way: its log, the same run once more, the base.
//! - `homes` has a repository whose tracker, git, CI, deployment and cluster are in five places.
//! - `demo` is `afk demo --forge` itself, where there is no network.
//! - `doctor` has what `afk doctor` says of accounts and repositories in which something is wrong.
//! - `asks` has what an agent asks and people answer in comments, with the real Claude CLI.
//! - `people` has what people say on the forge, and how they see what holds an issue up.
//! - `remotes` has the ways to the git remote: over HTTP, as the forge has it, and over SSH.
//! - `release` has who may release an issue, and what a webhook may do.
//!
//! Pull requests without webhooks are looked at by `afk tick`, as a scheduler runs it: the daemon
//! would look every half a minute, and the test would wait for that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]
#![allow(clippy::unnecessary_debug_formatting, reason = "TOML quotes as Rust does")]

#[path = "../../../remote/tests/forges/app_key.rs"]
mod app_key;
#[path = "../common/mod.rs"]
mod common;

/// Tests that each are run on both forges.
macro_rules! on_each_forge {
    ($($name:ident),* $(,)?) => {
        mod github {
            $(#[test] fn $name() { super::$name(super::Kind::GitHub); })*
        }
        mod forgejo {
            $(#[test] fn $name() { super::$name(super::Kind::Forgejo); })*
        }
    };
}

mod asks;
mod demo;
mod doctor;
mod homes;
mod landing;
mod people;
mod release;
mod remotes;
mod scenarios;
mod stand;
mod support;
