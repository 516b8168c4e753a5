//! Reads and commands of a server, whatever its protocol.
//!
//! Every command carries an id that the server remembers. A command whose id was taken before is
//! answered with the first one's sequence, whatever else is in it; one whose id was refused before
//! is refused again. So a command that was not answered is sent again with the same id, and one
//! that was refused never is.

use afk_core::ids::At;
use afk_engine::ports::{PortError, PortResult};
use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::view::{AtWork, View};
use super::{one, two};

/// A server of one protocol.
#[async_trait]
pub(super) trait Protocol: Send + Sync {
    /// Reads every project.
    async fn projects(&self) -> PortResult<Vec<Project>>;
    /// Reads a thread.
    async fn look(&self, thread: &str, fresh: Freshness) -> PortResult<ThreadRead>;
    /// Sends a command, and returns the sequence that the server gave it.
    async fn send(&self, command: &Command<'_>) -> Result<u64, Refusal>;
    /// The pause between two reads of a thread while somebody waits.
    fn pace(&self) -> jiff::SignedDuration;
    /// Subscribes to a thread that was read at the sequence `after`; none where the server has no
    /// subscriptions.
    fn follow(&self, _thread: &str, _after: u64) -> Option<Follow> {
        None
    }
    /// Whether the server says how many tokens its agents use.
    fn counts_tokens(&self) -> bool;
    /// Whether an agent's process can be ended apart from its turn.
    fn stops_sessions(&self) -> bool;
}

/// A subscription to a thread; it ends when this is dropped.
pub(super) struct Follow {
    newest: watch::Receiver<u64>,
    task: AbortOnDropHandle<()>,
}

impl Follow {
    /// `task` sends the sequence of the newest change of the thread to `newest`, and ends when the
    /// subscription does.
    pub(super) fn new(newest: watch::Receiver<u64>, task: AbortOnDropHandle<()>) -> Self {
        Self { newest, task }
    }

    /// Whether there is something newer than what was read at `sequence`.
    pub(super) fn is_newer(&self, sequence: u64) -> bool {
        *self.newest.borrow() > sequence
    }

    /// Whether the subscription has ended.
    pub(super) fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}

/// The largest answer to a read, in bytes: frames of 19 MB were recorded.
pub(super) const LARGEST: usize = 64 << 20;
/// The advice in an error about a larger answer.
pub(super) const CLEAN_UP: &str = ": archive or delete threads on the server that nobody needs any more, and keep logs out of prompts";

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Read now: a decision depends on it.
    Now,
    /// At most as old as [`Protocol::pace`], for callers that read again and again.
    Poll,
}

/// Why a command was not taken.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The server refused it for good.
    Refused(PortError),
    /// It is not known whether the command was taken, or the server did not look at it: the same
    /// command is to be sent again.
    Again(PortError),
}

/// A project on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Project {
    pub(super) id: String,
    /// Its folder on the server's machine.
    pub(super) root: String,
}

/// What a read showed.
#[derive(Debug)]
pub(super) struct ThreadRead {
    /// The server's sequence when the thread was read; none if it did not say.
    pub(super) sequence: Option<u64>,
    /// The thread; none if the server has none of that id.
    pub(super) thread: Option<AnyThread>,
}

/// A thread, by the protocol that it was read with.
#[derive(Debug, Clone)]
pub(super) enum AnyThread {
    /// Read with protocol 1.
    One(one::Thread),
    /// Read with protocol 2.
    Two(two::Thread),
}

impl AnyThread {
    /// What the thread shows of the turn of the message with that id.
    pub(super) fn view(&self, message: &str, now: At) -> View {
        match self {
            Self::One(thread) => one::view(thread, message, now),
            Self::Two(thread) => two::view(thread, message, now),
        }
    }

    /// The ids of the messages that users sent to the thread, ours among them, oldest first.
    pub(super) fn asked(&self) -> Vec<&str> {
        match self {
            Self::One(thread) => one::asked(thread),
            Self::Two(thread) => two::asked(thread),
        }
    }

    /// What is at work in the thread, if anything is.
    pub(super) fn at_work(&self) -> Option<AtWork> {
        match self {
            Self::One(thread) => one::at_work(thread),
            Self::Two(thread) => two::at_work(thread),
        }
    }

    /// Whether the thread is in the archive, where the cockpit does not show it.
    pub(super) fn is_archived(&self) -> bool {
        match self {
            Self::One(thread) => one::is_archived(thread),
            Self::Two(thread) => two::is_archived(thread),
        }
    }

    /// Whether somebody has deleted the thread.
    pub(super) fn is_deleted(&self) -> bool {
        match self {
            Self::One(thread) => one::is_deleted(thread),
            Self::Two(thread) => two::is_deleted(thread),
        }
    }
}

/// A command to a server. It names projects, threads, messages and requests by their ids.
#[derive(Debug, Clone)]
pub(super) struct Command<'a> {
    /// The command's own id, by which the server recognises it.
    pub(super) id: String,
    /// When it was made.
    pub(super) at: At,
    /// What it does.
    pub(super) action: Action<'a>,
}

/// What a command does.
#[derive(Debug, Clone)]
pub(super) enum Action<'a> {
    /// Makes a project.
    CreateProject {
        project: &'a str,
        /// The title that people see.
        title: &'a str,
        /// The project's folder on the server's machine.
        root: &'a str,
        /// Whether the server may make the folder.
        make: bool,
    },
    /// Makes a thread.
    CreateThread {
        thread: &'a str,
        /// The id of the thread's project.
        project: &'a str,
        /// The title that people see.
        title: &'a str,
        /// The server's name of the agent.
        provider: &'a str,
        model: &'a str,
        /// The server's word for what the agent may do without asking.
        mode: &'static str,
        /// The folder that the agent works in, if not the project's own.
        worktree: Option<&'a str>,
    },
    /// Starts a turn.
    StartTurn {
        thread: &'a str,
        /// The id of the turn's message.
        message: &'a str,
        /// The prompt.
        text: &'a str,
        /// The server's word for what the agent may do without asking.
        mode: &'static str,
    },
    /// Interrupts what is at work.
    Interrupt {
        thread: &'a str,
        /// The server's id of what is at work, if known.
        active: Option<&'a str>,
    },
    /// Answers a request for permission.
    Permit {
        /// The thread's id.
        thread: &'a str,
        /// The request's id.
        request: &'a str,
        /// Whether the permission is given.
        allow: bool,
    },
    /// Answers questions.
    Reply {
        thread: &'a str,
        request: &'a str,
        /// The answers by the questions' ids.
        answers: Map<String, Value>,
    },
    /// Ends the agent's process of a thread.
    StopSession {
        /// The thread's id.
        thread: &'a str,
    },
    /// Archives a thread.
    Archive {
        /// The thread's id.
        thread: &'a str,
    },
    /// Takes a thread out of the archive.
    Unarchive {
        /// The thread's id.
        thread: &'a str,
    },
    /// Deletes a thread.
    Delete {
        /// The thread's id.
        thread: &'a str,
    },
}
