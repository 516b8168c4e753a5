//! The host, the sandbox's init, its way to the network and the supervisor of tethered processes as
//! one program: `afk-host host DIR`, `afk-host sandbox-init …`, `afk-host egress`,
//! `afk-host tether …`.
//!
//! For the tests of this crate; other binaries have the same as hidden subcommands.

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
        Some((word, rest)) if word == afk_agent::tether::SUBCOMMAND => {
            afk_agent::tether::main(rest)
        }
        Some((word, [])) if word == afk_agent::egress::SUBCOMMAND => afk_agent::egress::main(),
        Some(_) | None => ExitCode::from(2),
    }
}
