//! The host, the sandbox and its way out as a program: `afk-host host DIR`, `afk-host sandbox-init …`,
//! `afk-host egress`.
//!
//! For the tests of this crate; the `afk` binary has the same three as hidden subcommands.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.split_first() {
        Some((word, [dir])) if word == afk_agent::host::SUBCOMMAND => {
            afk_agent::host::main(dir.as_ref())
        }
        Some((word, rest)) if word == afk_agent::sandbox::INIT_SUBCOMMAND => {
            afk_agent::sandbox::init_main(rest)
        }
        Some((word, [])) if word == afk_agent::egress::SUBCOMMAND => afk_agent::egress::main(),
        Some(_) | None => ExitCode::from(2),
    }
}
