//! The hidden subcommand `scripted-agent`: one turn of the scripted agent is one such process.

use std::ffi::OsString;
use std::process::ExitCode;

use afk_agent::agents::scripted::{self, program::Args};

/// Runs one turn with the arguments `SCRIPT --turn=N --session=ID` and the prompt on standard
/// input. Wrong arguments end with exit code 2.
pub fn main(args: &[OsString]) -> ExitCode {
    let Some(args) = parse(args) else {
        return ExitCode::from(2);
    };
    u8::try_from(scripted::main(&args)).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn parse(args: &[OsString]) -> Option<Args> {
    let (script, rest) = args.split_first()?;
    let value = |name: &str| {
        rest.iter().find_map(|arg| arg.to_str()?.strip_prefix(name)?.strip_prefix('='))
    };
    Some(Args {
        script: script.into(),
        turn: value("--turn")?.parse().ok()?,
        session: value("--session")?.to_owned(),
    })
}
