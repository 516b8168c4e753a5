//! The command line of a relay.
//!
//! The executor calls it. The agent's command, its prompt and the conversation are in the first
//! line of standard input, so that the relay's arguments show none of them in the list of
//! processes; later lines carry answers. The relay passes its whole environment on to the agent.

use std::path::PathBuf;

use secrecy::SecretString;

use super::wire::RelayRequest;
use crate::agents::invocation::Invocation;

/// The name of the hidden subcommand.
pub const SUBCOMMAND: &str = "agent-relay";

/// Builds the command of one turn; `binary` is the absolute path of the `afk` binary itself.
pub fn turn(
    binary: PathBuf,
    request: &RelayRequest,
    env: Vec<(String, SecretString)>,
) -> Invocation {
    Invocation { program: binary, args: vec![SUBCOMMAND.into()], env, stdin: request.line() }
}
