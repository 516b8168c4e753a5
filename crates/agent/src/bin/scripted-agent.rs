//! The scripted agent as a program of its own, for this crate's tests, which have
//! no `afk` binary. The product's is the hidden subcommand; both run
//! `afk_agent::agents::scripted::main` on the command line that
//! `afk_agent::agents::scripted::command` builds.

use std::io::Write;
use std::process::ExitCode;

use afk_agent::agents::scripted::{self, program::Args};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(args) = parse(&args) {
        ExitCode::from(u8::try_from(scripted::main(&args)).unwrap_or(1))
    } else {
        let usage = "usage: scripted-agent scripted-agent SCRIPT --turn=N --session=ID";
        let _ = writeln!(std::io::stderr(), "{usage}");
        ExitCode::from(2)
    }
}

fn parse(args: &[String]) -> Option<Args> {
    let [_, script, turn, session] = args else {
        return None;
    };
    Some(Args {
        script: script.into(),
        turn: turn.strip_prefix("--turn=")?.parse().ok()?,
        session: session.strip_prefix("--session=")?.to_owned(),
    })
}
