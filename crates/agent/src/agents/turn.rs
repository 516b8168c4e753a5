//! One way to read a turn, whichever agent runs it: bytes in, events out, and the outcome at the
//! end.
//!
//! Whoever tails the output of a host's job feeds it to a [`TurnReader`]. A reader can be stored
//! as a [`Checkpoint`] and restored, so that a new control plane continues at the same byte.

use serde::{Deserialize, Serialize};

use super::ask::AgentQuestion;
use super::claude::{self, stream::ClaudeState};
use super::event::{AgentEvent, TokenUsage, TurnEnd, TurnUsage};
use super::lines::{LinePosition, LineReader};
use super::outcome::{Exit, TurnOutcome};
use super::relay::RelayState;
use super::relay::wire::ConversationState;
use super::scripted::{self, stream::ScriptedState};

/// Which agent runs a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentKind {
    /// The Claude CLI.
    Claude,
    /// The scripted agent: a real process without a model, for trials and tests.
    Scripted,
    /// An agent that speaks the Agent Client Protocol, through the relay.
    Acp,
    /// Codex, through the relay.
    Codex,
    /// Any other program, through the relay.
    Command,
    /// An agent on a T3 Code server. Its adapter writes the log: lines of [`AgentEvent`]s, as the
    /// scripted agent writes them.
    T3,
}

impl AgentKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Claude, Self::Scripted, Self::Acp, Self::Codex, Self::Command, Self::T3];

    /// The kind's name in stored and forwarded logs; [`AgentKind::named`] is the inverse.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Scripted => "scripted",
            Self::Acp => "acp",
            Self::Codex => "codex",
            Self::Command => "command",
            Self::T3 => "t3",
        }
    }

    /// The kind with that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Reads one turn's standard output.
#[derive(Debug)]
pub struct TurnReader {
    lines: LineReader,
    state: State,
}

/// The position and state of a [`TurnReader`]. A reader that is resumed from a checkpoint must be
/// fed the bytes from [`Checkpoint::offset`] on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    position: LinePosition,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Claude(ClaudeState),
    Scripted(ScriptedState),
    Relayed(RelayState),
}

impl Checkpoint {
    /// Offset in the turn's output of the first byte that was not consumed yet.
    pub fn offset(&self) -> u64 {
        self.position.offset
    }
}

impl TurnReader {
    /// A reader at the start of a turn's output.
    pub fn new(agent: AgentKind) -> Self {
        let state = match agent {
            AgentKind::Claude => State::Claude(ClaudeState::default()),
            AgentKind::Scripted | AgentKind::T3 => State::Scripted(ScriptedState::default()),
            AgentKind::Acp | AgentKind::Codex | AgentKind::Command => {
                State::Relayed(RelayState::default())
            }
        };
        Self { lines: LineReader::new(LinePosition::default()), state }
    }

    /// A reader that continues from a checkpoint.
    pub fn resume(checkpoint: Checkpoint) -> Self {
        Self { lines: LineReader::new(checkpoint.position), state: checkpoint.state }
    }

    /// The reader's position and state after the last complete line.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint { position: self.lines.position(), state: self.state.clone() }
    }

    /// Reads the next bytes, chunked in any way, and returns the events of the lines they complete.
    #[must_use]
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        let state = &mut self.state;
        self.lines.feed(bytes, |line| state.line(line, &mut events));
        events
    }

    /// Reads a last line without a newline, and returns its events. Call it once, after the process
    /// has ended and all of its output was fed.
    #[must_use]
    pub fn finish(&mut self) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        let state = &mut self.state;
        self.lines.finish(|line| state.line(line, &mut events));
        events
    }

    /// Whether a tool call has begun and not ended.
    pub fn tool_open(&self) -> bool {
        match &self.state {
            State::Claude(state) => state.tool_open(),
            State::Scripted(state) => state.tool_open(),
            State::Relayed(state) => state.tool_open(),
        }
    }

    /// The end of the last turn that ended, as the agent reported it.
    pub fn end(&self) -> Option<&TurnEnd> {
        match &self.state {
            State::Claude(state) => state.end(),
            State::Scripted(state) => state.end(),
            State::Relayed(state) => state.end(),
        }
    }

    /// The agent's open questions. Claude's stay open after an answer until the tool call ends.
    pub fn asks(&self) -> &[AgentQuestion] {
        match &self.state {
            State::Claude(state) => state.asks(),
            State::Relayed(state) => state.asks(),
            State::Scripted(_) => &[],
        }
    }

    /// The conversation that a later turn can resume, if the relay knows it; `None` for agents
    /// without the relay.
    pub fn conversation(&self) -> Option<&ConversationState> {
        match &self.state {
            State::Claude(_) | State::Scripted(_) => None,
            State::Relayed(state) => state.conversation(),
        }
    }

    /// Whether the agent did not know the conversation that it was told to resume.
    pub fn conversation_unknown(&self) -> bool {
        match &self.state {
            State::Claude(_) | State::Scripted(_) => false,
            State::Relayed(state) => state.unknown(),
        }
    }

    /// Whether the agent behind the relay works on its prompt, or has; false for agents without the
    /// relay.
    pub fn prompted(&self) -> bool {
        match &self.state {
            State::Claude(_) | State::Scripted(_) => false,
            State::Relayed(state) => state.started(),
        }
    }

    /// The id of our newest input line that the agent has echoed, and so has processed.
    pub fn echoed(&self) -> Option<&str> {
        match &self.state {
            State::Claude(state) => state.echoed(),
            State::Scripted(_) | State::Relayed(_) => None,
        }
    }

    /// Tokens of answers that were cut off at the end of the turn.
    pub fn cut_off(&self) -> TokenUsage {
        match &self.state {
            State::Claude(state) => state.cut_off(),
            State::Scripted(_) | State::Relayed(_) => TokenUsage::default(),
        }
    }

    /// The best count of the turn's tokens so far, whether or not the turn has ended.
    pub fn tokens(&self) -> TokenUsage {
        let streamed = match &self.state {
            State::Claude(state) => state.streamed(),
            State::Scripted(state) => state.streamed(),
            State::Relayed(state) => state.streamed(),
        };
        match self.end() {
            Some(end) => end.usage.best_tokens(streamed),
            None => streamed,
        }
    }

    /// What the agent has reported that the turn used. Some agents report it before the turn's end,
    /// which may never come.
    pub fn spent(&self) -> Option<&TurnUsage> {
        match &self.state {
            State::Claude(_) | State::Scripted(_) => self.end().map(|end| &end.usage),
            State::Relayed(state) => state.spent(),
        }
    }

    /// Ids of requests that a CLI waits for and that nobody can answer.
    pub fn unanswerable(&self) -> &[String] {
        match &self.state {
            State::Claude(state) => state.unanswerable(),
            State::Scripted(_) | State::Relayed(_) => &[],
        }
    }

    /// Number of lines that were too long or unreadable.
    pub fn unread_lines(&self) -> u64 {
        let garbage = match &self.state {
            State::Claude(state) => state.garbage(),
            State::Scripted(state) => state.garbage(),
            State::Relayed(state) => state.garbage(),
        };
        garbage + self.lines.position().skipped
    }

    /// The outcome of the turn, once the process has ended and [`TurnReader::finish`] was called.
    /// `stderr_tail` is the end of the process's standard error; `interrupted_by_us` says whether
    /// we stopped it.
    pub fn outcome(&self, exit: &Exit, stderr_tail: &str, interrupted_by_us: bool) -> TurnOutcome {
        match &self.state {
            State::Claude(state) => claude::outcome::fold(&claude::outcome::Evidence {
                exit,
                started: state.started(),
                end: state.end(),
                unread_lines: self.unread_lines(),
                stderr_tail,
                interrupted_by_us,
            }),
            State::Scripted(state) => scripted::stream::fold(
                exit,
                state,
                self.unread_lines(),
                stderr_tail,
                interrupted_by_us,
            ),
            State::Relayed(state) => state.fold(exit, stderr_tail, interrupted_by_us),
        }
    }
}

impl State {
    fn line(&mut self, line: &str, events: &mut Vec<AgentEvent>) {
        match self {
            Self::Claude(state) => state.line(line, events),
            Self::Scripted(state) => state.line(line, events),
            Self::Relayed(state) => state.line(line, events),
        }
    }
}
