//! The command line of one turn of the scripted agent.
//!
//! The executor calls it where it would call the Claude CLI's command builder.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::agents::invocation::Invocation;

/// The name of the hidden subcommand.
pub const SUBCOMMAND: &str = "scripted-agent";

/// One turn to be run.
#[derive(Debug, Clone)]
pub struct TurnRequest {
    /// The absolute path of the `afk` binary itself.
    pub binary: PathBuf,
    /// The path of the script.
    pub script: PathBuf,
    /// The number of the turn, from 1.
    pub turn: u32,
    /// The conversation's id, which the events repeat.
    pub session: String,
    /// The prompt.
    pub prompt: String,
    /// The whole environment: at least `PATH` and `HOME`, since the steps run programs.
    pub env: Vec<(String, String)>,
}

/// Builds the command of one turn.
pub fn turn(request: &TurnRequest) -> Invocation {
    let args: [OsString; 4] = [
        SUBCOMMAND.into(),
        request.script.clone().into_os_string(),
        format!("--turn={}", request.turn).into(),
        format!("--session={}", request.session).into(),
    ];
    Invocation {
        program: request.binary.clone(),
        args: args.to_vec(),
        env: request
            .env
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect(),
        stdin: request.prompt.clone().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_of_a_turn() {
        let made = turn(&TurnRequest {
            binary: "/bin/afk".into(),
            script: "/s.json".into(),
            turn: 2,
            session: "abc".into(),
            prompt: "go".into(),
            env: vec![("PATH".into(), "/bin".into())],
        });
        assert_eq!(made.args, ["scripted-agent", "/s.json", "--turn=2", "--session=abc"]);
        assert_eq!(made.stdin, b"go");
        assert_eq!(made.env.len(), 1);
    }
}
