//! The `breakglass` binary: hidden subcommands first, then the command line.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    match args.get(1..).unwrap_or_default().split_first() {
        // Before anything starts a thread: each process has a supervisor, which must be small.
        Some((word, rest)) if word == afk_agent::tether::SUBCOMMAND => {
            afk_agent::tether::main(rest)
        }
        Some((word, rest)) if word == afk_breakglass::demo::agent::SUBCOMMAND => {
            afk_breakglass::demo::agent::main(rest)
        }
        Some(_) | None => afk_breakglass::cli::main(args),
    }
}
