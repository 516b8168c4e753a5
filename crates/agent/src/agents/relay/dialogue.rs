//! The machine behind a relayed turn: it reads entries of the log, and makes of them events, the
//! next messages to the agent, open questions and the turn's end.
//!
//! The relay runs it to act, and [`RelayState`](super::RelayState) to read, over the same entries.
//! It has no clock and no I/O, so both come to the same result. Each protocol is a
//! [`Codec`] in its agent's folder.

use serde::{Deserialize, Serialize};

use super::codec::{Codec, Progress, Step};
use super::wire::{Protocol, RelayEntry, RelayRequest};
use crate::agents::acp::dialogue::Acp;
use crate::agents::codex::exec::CodexExec;
use crate::agents::codex::server::CodexServer;
use crate::agents::generic::Generic;
use crate::agents::outcome::FailReason;

/// The dialogue of one turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dialogue {
    request: RelayRequest,
    codec: AnyCodec,
    progress: Progress,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AnyCodec {
    Acp(Box<Acp>),
    CodexServer(Box<CodexServer>),
    CodexExec(CodexExec),
    Command(Generic),
}

impl Dialogue {
    /// Begins a turn: returns the dialogue and the first messages to the agent.
    pub fn begin(request: RelayRequest) -> (Self, Step) {
        let codec = match request.protocol {
            Protocol::Acp => AnyCodec::Acp(Box::default()),
            Protocol::CodexServer => AnyCodec::CodexServer(Box::default()),
            Protocol::CodexExec => AnyCodec::CodexExec(CodexExec::default()),
            Protocol::Command => AnyCodec::Command(Generic::default()),
        };
        let mut begun = Self { request, codec, progress: Progress::default() };
        let mut step = Step::default();
        begun.codec.get().begin(&begun.request, &mut begun.progress, &mut step);
        (begun, step)
    }

    /// Processes the next entry of the log, and returns what follows from it.
    pub fn take(&mut self, entry: &RelayEntry) -> Step {
        let mut step = Step::default();
        let (codec, progress) = (self.codec.get(), &mut self.progress);
        match entry {
            RelayEntry::Agent(message) => {
                codec.message(&self.request, message, progress, &mut step);
            }
            RelayEntry::Text(text) => codec.text(text, progress, &mut step),
            RelayEntry::Cut {} => progress.count_garbage(),
            RelayEntry::Answer { id, reply } => {
                if let Some(ask) = progress.close_ask(id) {
                    codec.answer(&ask, reply, &mut step);
                }
            }
            RelayEntry::Cancel {} if !progress.cancelled && !progress.over => {
                progress.cancelled = true;
                codec.cancel(progress, &mut step);
                progress.close_asks();
            }
            RelayEntry::Late { after_ms } => {
                let said = format!("the agent did not begin within {} s", after_ms.div_ceil(1000));
                progress.fail(FailReason::StartFailed, &said, &mut step);
            }
            RelayEntry::NotStarted { message } => {
                progress.fail(FailReason::StartFailed, message, &mut step);
            }
            RelayEntry::Exited { code, signal, ours } => {
                if !progress.over && !codec.exited(*code, progress, &mut step) {
                    progress.ended_early(*code, *signal, *ours, &mut step);
                }
                progress.process_ended();
            }
            RelayEntry::Begun(_)
            | RelayEntry::Client(_)
            | RelayEntry::Fed { .. }
            | RelayEntry::Cancel {} => {}
        }
        step
    }

    /// The turn's request.
    pub fn request(&self) -> &RelayRequest {
        &self.request
    }

    /// What was read so far.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }
}

impl AnyCodec {
    fn get(&mut self) -> &mut dyn Codec {
        match self {
            Self::Acp(codec) => codec.as_mut(),
            Self::CodexServer(codec) => codec.as_mut(),
            Self::CodexExec(codec) => codec,
            Self::Command(codec) => codec,
        }
    }
}
