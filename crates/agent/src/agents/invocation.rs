//! A process to start, as data: made by the agents' command builders and run by the host.
//!
//! Invariants: no secret is in `args` (they show in the process list); the environment is complete,
//! so whoever starts the process clears the inherited one; the prompt is in `stdin`, never in
//! `args`.

use std::ffi::OsString;
use std::path::PathBuf;

use secrecy::SecretString;

/// A program with its arguments, its whole environment and its standard input.
///
/// `Debug` shows neither values of variables nor the prompt.
#[derive(Clone)]
pub struct Invocation {
    /// The program's absolute path.
    pub program: PathBuf,
    /// The arguments, without the program's name.
    pub args: Vec<OsString>,
    /// The whole environment. Values are wrapped because some are credentials.
    pub env: Vec<(String, SecretString)>,
    /// The standard input at the start. A process of the Claude CLI gets more of it later.
    pub stdin: Vec<u8>,
}

impl std::fmt::Debug for Invocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Invocation")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &names)
            .field("stdin_bytes", &self.stdin.len())
            .finish()
    }
}

/// Returns a model's name that can stand in an argument and in a quoted setting; the beginning of
/// any other, for the error, which says what a name may have.
pub(super) fn checked_model(model: &str) -> Result<&str, String> {
    let fine = (1..=128).contains(&model.len())
        && model.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:/[]@".contains(&byte));
    if fine { Ok(model) } else { Err(model.chars().take(128).collect()) }
}
