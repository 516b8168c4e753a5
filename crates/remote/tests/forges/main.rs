//! The adapters of forges over real HTTP, by their public interface, against strict fakes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod app_key;
mod contract;
mod forgejo;
mod github;
mod quiet;
mod support;
