//! What a server is asked, whatever its protocol.
//!
//! Every command carries an id that the server remembers: repeated after it was taken it is
//! answered with the first sequence, whatever else is in it; repeated after it was refused it is
//! refused again. So one that was not answered is sent again with the same id, and one that was
//! refused never is.

use afk_core::ids::At;
use afk_engine::ports::{PortError, PortResult};
use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::view::{AtWork, View};
use super::{one, two};

/// A server, by its protocol.
#[async_trait]
pub(super) trait Protocol: Send + Sync {
    /// Every project that is there.
    async fn projects(&self) -> PortResult<Vec<Project>>;
    /// A thread as it is, read as freshly as that.
    async fn look(&self, thread: &str, fresh: Freshness) -> PortResult<ThreadRead>;
    /// Sends a command; the sequence that it was given.
    async fn send(&self, command: &Command<'_>) -> Result<u64, Refusal>;
    /// How often its threads may be read while somebody waits.
    fn pace(&self) -> jiff::SignedDuration;
    /// Follows a thread that was read at the sequence `after`; none where the server tells nothing
    /// unasked.
    fn follow(&self, _thread: &str, _after: u64) -> Option<Follow> {
        None
    }
    /// Whether it says how much its agents use.
    fn counts_tokens(&self) -> bool;
    /// Whether the process of an agent can be ended beside its turn.
    fn stops_sessions(&self) -> bool;
}

/// A thread that is followed until this is dropped.
pub(super) struct Follow {
    newest: watch::Receiver<u64>,
    task: AbortOnDropHandle<()>,
}

impl Follow {
    /// `task` tells the sequence of what is newest in the thread, and ends when it can no longer.
    pub(super) fn new(newest: watch::Receiver<u64>, task: AbortOnDropHandle<()>) -> Self {
        Self { newest, task }
    }

    /// Whether there is something newer than what was read at `sequence`.
    pub(super) fn is_newer(&self, sequence: u64) -> bool {
        *self.newest.borrow() > sequence
    }

    /// Whether nothing will be told any more.
    pub(super) fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}

/// The largest answer to a read: frames of 19 MB were recorded.
pub(super) const LARGEST: usize = 64 << 20;
/// What helps where it is larger.
pub(super) const CLEAN_UP: &str = ": archive or delete threads on the server that nobody needs any more, and keep logs out of prompts";

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Read now: something depends on it.
    Now,
    /// As old as whoever waits may see it.
    Poll,
}

/// Why a command was not taken.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The server refused it for good.
    Refused(PortError),
    /// It is not known whether it was taken, or it was not looked at: the same again.
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
    /// How far the server was when it was read; none if it did not say.
    pub(super) sequence: Option<u64>,
    /// The thread; none if it is not there.
    pub(super) thread: Option<AnyThread>,
}

/// A thread, by the protocol that it was read with.
#[derive(Debug, Clone)]
pub(super) enum AnyThread {
    /// Of protocol 1.
    One(one::Thread),
    /// Of protocol 2.
    Two(two::Thread),
}

impl AnyThread {
    /// What it shows of the turn of that message.
    pub(super) fn view(&self, message: &str, now: At) -> View {
        match self {
            Self::One(thread) => one::view(thread, message, now),
            Self::Two(thread) => two::view(thread, message, now),
        }
    }

    /// What people asked in it, by the ids of their messages, oldest first.
    pub(super) fn asked(&self) -> Vec<&str> {
        match self {
            Self::One(thread) => one::asked(thread),
            Self::Two(thread) => two::asked(thread),
        }
    }

    /// What is at work in it.
    pub(super) fn at_work(&self) -> Option<AtWork> {
        match self {
            Self::One(thread) => one::at_work(thread),
            Self::Two(thread) => two::at_work(thread),
        }
    }

    /// Whether somebody has deleted it.
    pub(super) fn is_deleted(&self) -> bool {
        match self {
            Self::One(thread) => one::is_deleted(thread),
            Self::Two(thread) => two::is_deleted(thread),
        }
    }
}

/// What a server is told.
#[derive(Debug, Clone)]
pub(super) struct Command<'a> {
    /// Its id.
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
        /// Its id.
        project: &'a str,
        /// What people see.
        title: &'a str,
        /// Its folder on the server's machine.
        root: &'a str,
        /// Whether the folder may be made.
        make: bool,
    },
    /// Makes a thread.
    CreateThread {
        /// Its id.
        thread: &'a str,
        /// In which project.
        project: &'a str,
        /// What people see.
        title: &'a str,
        /// The server's name of the agent.
        provider: &'a str,
        /// The model.
        model: &'a str,
        /// The mode that it runs in.
        mode: &'static str,
        /// The folder that it works in, if not the project's own.
        worktree: Option<&'a str>,
    },
    /// Starts a turn.
    StartTurn {
        /// On which thread.
        thread: &'a str,
        /// The id of its message.
        message: &'a str,
        /// What is asked.
        text: &'a str,
        /// The mode that it runs in.
        mode: &'static str,
    },
    /// Interrupts what is at work.
    Interrupt {
        /// On which thread.
        thread: &'a str,
        /// What is at work, as far as that is known.
        active: Option<&'a str>,
    },
    /// Allows or refuses something.
    Permit {
        /// On which thread.
        thread: &'a str,
        /// What was asked.
        request: &'a str,
        /// Whether it is allowed.
        allow: bool,
    },
    /// Answers questions.
    Reply {
        /// On which thread.
        thread: &'a str,
        /// What was asked.
        request: &'a str,
        /// The answers by the questions' ids.
        answers: Map<String, Value>,
    },
    /// Ends the agent's process of a thread.
    StopSession {
        /// Which.
        thread: &'a str,
    },
    /// Puts a thread away.
    Archive {
        /// Which.
        thread: &'a str,
    },
    /// Deletes a thread.
    Delete {
        /// Which.
        thread: &'a str,
    },
}
