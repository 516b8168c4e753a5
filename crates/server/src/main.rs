//! The `afk` binary.

fn main() -> std::process::ExitCode {
    // Hidden subcommands go here: they start before any runtime does.
    afk::cli::main(std::env::args_os())
}
