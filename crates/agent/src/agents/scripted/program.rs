//! The scripted agent's program: one turn, from the prompt to its end.
//!
//! The binary's hidden subcommand calls [`main`] and exits with the code that it returns. It never
//! panics. It prints events on standard output (and what a `garbage` step asks for) and, if it
//! cannot even begin, one line on standard error.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Instant;

use super::script::{Script, ScriptError, Step, Turn};
use super::session::Session;
use super::steps::{self, Flow};
use crate::agents::event::{AgentEvent, TurnEnd, TurnUsage};

/// The name that the agent gives its model.
pub const MODEL: &str = "scripted";
/// The longest prompt that is read, in bytes.
const MAX_PROMPT: u64 = 16 * 1024 * 1024;

/// The arguments of the hidden subcommand.
#[derive(Debug, Clone)]
pub struct Args {
    /// The path of the script.
    pub script: PathBuf,
    /// The number of the turn, from 1.
    pub turn: u32,
    /// The conversation's id.
    pub session: String,
}

/// Runs one turn in the working directory, with the prompt on standard input and events on standard
/// output. Returns the exit code: 0, 1 for a failed turn, 2 if it cannot begin, 3 if the output is
/// closed, or what an `exit` step says.
pub fn main(args: &Args) -> i32 {
    run(args, std::io::stdin(), std::io::stdout())
}

fn run(args: &Args, prompt: impl Read, out: impl Write) -> i32 {
    let begun = Instant::now();
    let script = match Script::read(&args.script) {
        Ok(script) => script,
        Err(error) => return refuse(&error),
    };
    // A turn that the script lacks fails as a turn, not as an agent that does not start.
    let unwritten;
    let turn = match script.turn(args.turn) {
        Ok(turn) => turn,
        Err(error) => {
            unwritten = Turn { steps: vec![Step::Fail { message: error.to_string() }] };
            &unwritten
        }
    };
    let mut text = Vec::new();
    if let Err(error) = prompt.take(MAX_PROMPT).read_to_end(&mut text) {
        let _ = writeln!(std::io::stderr(), "cannot read the prompt: {error}");
        return 2;
    }
    let mut session = Session::new(String::from_utf8_lossy(&text).into_owned(), out);
    // A closed output ends the agent, as SIGPIPE would.
    play(&mut session, args, script.turns.len(), turn, begun).unwrap_or(3)
}

fn refuse(error: &ScriptError) -> i32 {
    let _ = writeln!(std::io::stderr(), "scripted agent: {error}");
    2
}

/// Carries out the steps of a turn. Returns the exit code.
fn play<W: Write>(
    session: &mut Session<W>,
    args: &Args,
    turns: usize,
    turn: &Turn,
    begun: Instant,
) -> std::io::Result<i32> {
    session.emit(&AgentEvent::Started {
        session: args.session.clone(),
        model: MODEL.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })?;
    session.say(format!(
        "[scripted agent] turn {} of {turns}, a prompt of {} bytes",
        args.turn,
        session.prompt.len()
    ))?;
    let mut end = TurnEnd { kind: "success".to_owned(), ..TurnEnd::default() };
    let mut text = "[scripted agent] done".to_owned();
    for step in &turn.steps {
        if let Step::Say { text: said } = step {
            text = format!("[scripted agent] {said}");
        }
        match steps::take(session, step)? {
            Flow::Next => {}
            Flow::Exit(code) => return Ok(code),
            Flow::Fail { message, limit } => {
                end.is_error = true;
                "error".clone_into(&mut end.kind);
                end.limit = limit;
                end.errors.push(format!("[scripted agent] {message}"));
                break;
            }
        }
    }
    end.text = (!end.is_error).then_some(text);
    end.usage = TurnUsage {
        tokens: session.tokens,
        cost_usd_cumulative: session.cost_usd,
        since_last_result: Some([(MODEL.to_owned(), session.model_usage())].into()),
        num_turns: 1,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    let code = i32::from(end.is_error);
    session.emit(&AgentEvent::Ended(end))?;
    Ok(code)
}
