//! What a server shows of one turn of ours, whatever its protocol: what the adapter concludes from.

use afk_core::ask::Asked;
use afk_core::ids::At;

/// How a turn stands, as far as its server can be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// The server does not have its message.
    Absent,
    /// Its message is there, and nothing has come of it yet.
    Pending,
    /// Something is at work in its thread.
    Busy {
        /// The server's id of what is at work.
        active: Option<String>,
    },
    /// It is over.
    Ended(How),
    /// It was accepted and never began.
    NeverStarted {
        /// What the server says of that.
        why: String,
    },
    /// What the server shows does not say.
    Unknown,
}

/// How a turn ended, by its server's own word, which is not to be believed in everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum How {
    /// It came to its end. The model's API may have failed all the same.
    Completed,
    /// It was stopped.
    Interrupted,
    /// It failed.
    Failed {
        /// What the server says of that.
        why: String,
    },
    /// The server was ended under it, and its agent may still be at work.
    Restarted {
        /// When the server noticed.
        at: At,
    },
}

/// What a server shows of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// How it stands.
    pub(super) standing: Standing,
    /// When its message came.
    pub(super) began: At,
    /// When something of it last happened.
    pub(super) last: At,
    /// What the agent said last.
    pub(super) said: Option<String>,
    /// A tool of it is at work.
    pub(super) tool_open: bool,
    /// What it waits to be told.
    pub(super) asks: Vec<Ask>,
    /// Tokens into the model and out of it, as far as the server counts them.
    pub(super) tokens: (u64, u64),
    /// What the agent did, a line of JSON each, once it is over.
    pub(super) lines: Vec<u8>,
}

/// Something at work in a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AtWork {
    /// The server's id of it, as far as that is told.
    pub(super) active: Option<String>,
}

/// Something that an agent waits to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    /// What a person sees of it.
    pub(super) asked: Asked,
    /// The ids of its questions; none for a permission.
    pub(super) questions: Vec<String>,
}

impl View {
    /// Of a turn that is not there.
    pub(super) fn absent() -> Self {
        Self {
            standing: Standing::Absent,
            began: At::UNIX_EPOCH,
            last: At::UNIX_EPOCH,
            said: None,
            tool_open: false,
            asks: Vec::new(),
            tokens: (0, 0),
            lines: Vec::new(),
        }
    }
}
