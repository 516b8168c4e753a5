//! Any other program as an agent: it reads the prompt on standard input or in a file, works, says
//! in plain words what it did, and exits.
//!
//! Exit code 0 with some output is a finished turn, and the end of the output is its message. There
//! is no conversation: every turn gets the whole prompt.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agents::event::{AgentEvent, TurnEnd};
use crate::agents::outcome::FailReason;
use crate::agents::relay::codec::{Codec, Progress, Step};
use crate::agents::relay::wire::{PROMPT_FILE, RelayRequest};

/// How much of the end of the output is at least kept for the turn's message, in bytes.
const MESSAGE: usize = 8 << 10;

/// The codec's state over one turn.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Generic {
    /// The end of the output.
    tail: String,
}

impl Codec for Generic {
    fn begin(&mut self, request: &RelayRequest, progress: &mut Progress, step: &mut Step) {
        let named = request.argv.iter().any(|word| word.contains(PROMPT_FILE));
        step.feed = (!named).then(|| request.prompt_for(false).to_owned());
        step.close = true;
        progress.started = true;
        step.events.push(AgentEvent::Started {
            session: String::new(),
            model: request.model.clone().unwrap_or_default(),
            version: String::new(),
        });
    }

    fn message(&mut self, _: &RelayRequest, _: &Value, _: &mut Progress, _: &mut Step) {}

    fn text(&mut self, text: &str, progress: &mut Progress, step: &mut Step) {
        progress.say(text, step);
        self.tail.push_str(text);
        self.tail.push('\n');
        if self.tail.len() > 2 * MESSAGE {
            let from = self.tail.ceil_char_boundary(self.tail.len() - MESSAGE);
            self.tail.drain(..from);
        }
    }

    fn cancel(&mut self, _: &mut Progress, step: &mut Step) {
        step.terminate = true;
    }

    fn exited(&mut self, code: Option<i32>, progress: &mut Progress, step: &mut Step) -> bool {
        if progress.cancelled {
            return false;
        }
        let said = self.tail.trim().to_owned();
        match code {
            Some(0) if said.is_empty() => {
                progress.fail(FailReason::NoResult, "the agent exited without a word", step);
            }
            Some(0) => {
                let (kind, text) = ("completed".to_owned(), Some(said));
                progress.finish(TurnEnd { kind, text, ..TurnEnd::default() }, None, step);
            }
            Some(code) => {
                let last = said.lines().next_back().unwrap_or_default();
                progress.fail(FailReason::AgentError, &format!("exit code {code}; {last}"), step);
            }
            None => return false,
        }
        true
    }
}
