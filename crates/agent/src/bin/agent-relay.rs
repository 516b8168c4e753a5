//! The relay as a program of its own, for this crate's tests, which have no `afk` binary. The
//! product's is the hidden subcommand; both run `afk_agent::agents::relay::main` on the command line
//! that `afk_agent::agents::relay::command` builds.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(u8::try_from(afk_agent::agents::relay::main()).unwrap_or(1))
}
