//! The `afk` binary: runs a hidden subcommand if one is named, otherwise the command line.

use std::ffi::OsString;
use std::process::ExitCode;

/// With jemalloc, reading the configuration of 10,000 repositories takes half the time, and less of
/// the memory stays with the process.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    // Before anything opens a file or starts a thread: a host closes all inherited files.
    match args.get(1..).unwrap_or_default().split_first() {
        Some((word, [dir])) if word == afk_agent::host::SUBCOMMAND => {
            return afk_agent::host::main(dir.as_ref());
        }
        Some((word, rest)) if word == afk_agent::sandbox::INIT_SUBCOMMAND => {
            return afk_agent::sandbox::init_main(rest);
        }
        Some((word, rest)) if word == afk_agent::tether::SUBCOMMAND => {
            return afk_agent::tether::main(rest);
        }
        Some((word, [])) if word == afk_agent::egress::SUBCOMMAND => {
            return afk_agent::egress::main();
        }
        Some((word, rest)) if word == afk_agent::agents::scripted::command::SUBCOMMAND => {
            return afk::scripted::main(rest);
        }
        Some((word, [])) if word == afk_agent::agents::relay::command::SUBCOMMAND => {
            let code = afk_agent::agents::relay::main();
            return u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from);
        }
        Some(_) | None => {}
    }
    afk::cli::main(&args)
}
