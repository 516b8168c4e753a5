//! What a server shows of one turn of ours, whatever its protocol. `outcome` decides what it means.

use afk_core::ask::PendingQuestion;
use afk_core::ids::At;
use afk_core::spend::Usage;
use afk_core::text::Mask;

use super::transcript::TranscriptEntry;

/// The state of a turn, as far as its server can be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Liveness {
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
    Ended(Ending),
    /// It was accepted and never began.
    NeverStarted {
        /// The server's reason, or ours for believing so.
        why: String,
    },
    /// What the server shows is not enough to tell.
    Unknown,
}

/// How a turn ended, by its server's own word, which is not always right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// It came to its end. The model's API may have failed all the same.
    Completed,
    /// It was stopped.
    Interrupted,
    /// It failed.
    Failed {
        /// The server's reason.
        why: String,
        /// The HTTP status of the model's API, if the server tells it.
        status: Option<u16>,
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
    /// Its state.
    pub(super) liveness: Liveness,
    /// When its message came, by the server's clock.
    pub(super) began: At,
    /// When its thread last changed, by the server's clock.
    pub(super) last: At,
    /// What the agent said last.
    pub(super) said: Option<String>,
    /// Whether a tool call has not ended.
    pub(super) tool_open: bool,
    /// The requests that wait for an answer.
    pub(super) asks: Vec<PendingAsk>,
    /// Tokens into the model and out of it, as far as the server counts them.
    pub(super) tokens: (u64, u64),
    /// The usage to charge for, an estimate on the high side; none where nothing is counted.
    pub(super) usage: Option<Usage>,
    /// How often the model has answered, as far as that shows.
    pub(super) answers: u64,
    /// What the agent said and did so far, oldest first.
    pub(super) entries: Vec<TranscriptEntry>,
}

/// Something at work in a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AtWork {
    /// The server's id of it, if the server tells.
    pub(super) active: Option<String>,
}

/// A request of an agent that waits for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PendingAsk {
    /// The request as people see it.
    pub(super) asked: PendingQuestion,
    /// The ids of its questions; none for a permission.
    pub(super) questions: Vec<String>,
}

impl View {
    /// The view of a turn that is not there.
    pub(super) fn absent() -> Self {
        Self {
            liveness: Liveness::Absent,
            began: At::UNIX_EPOCH,
            last: At::UNIX_EPOCH,
            said: None,
            tool_open: false,
            asks: Vec::new(),
            tokens: (0, 0),
            usage: None,
            answers: 0,
            entries: Vec::new(),
        }
    }

    /// Masks known secrets and what looks like one. Called before anything of the view is kept or
    /// shown.
    pub(super) fn masked(self, mask: &Mask) -> Self {
        let masked = |text: String| mask.text(&text).into_owned();
        let liveness = match self.liveness {
            Liveness::Ended(Ending::Failed { why, status }) => {
                Liveness::Ended(Ending::Failed { why: masked(why), status })
            }
            Liveness::NeverStarted { why } => Liveness::NeverStarted { why: masked(why) },
            other @ (Liveness::Absent
            | Liveness::Pending
            | Liveness::Busy { .. }
            | Liveness::Ended(
                Ending::Completed | Ending::Interrupted | Ending::Restarted { .. },
            )
            | Liveness::Unknown) => other,
        };
        let asks = self.asks.into_iter().map(|ask| {
            let asked = PendingQuestion { what: masked(ask.asked.what), ..ask.asked };
            PendingAsk { asked, ..ask }
        });
        Self {
            liveness,
            said: self.said.map(masked),
            asks: asks.collect(),
            entries: self.entries.into_iter().map(|entry| entry.masked(mask)).collect(),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_server_tells_keeps_a_secret() {
        let secret = "hunter2-hunter2-hunter2";
        let what = format!("Is {secret} right?");
        let asked = PendingQuestion::new("1".to_owned(), true, &what, At::UNIX_EPOCH);
        let told = View {
            liveness: Liveness::Ended(Ending::Failed {
                why: format!("refused {secret}"),
                status: None,
            }),
            said: Some(format!("I found {secret}.")),
            asks: vec![PendingAsk { asked, questions: Vec::new() }],
            entries: vec![TranscriptEntry::said(At::UNIX_EPOCH, "1", secret, true)],
            ..View::absent()
        };
        let masked = told.masked(&Mask::new([secret]));
        let lines = masked.entries[0].lines().to_owned();
        for text in [format!("{masked:?}"), lines] {
            assert!(!text.contains(secret), "{text}");
        }
        let never = Liveness::NeverStarted { why: secret.to_owned() };
        let masked = View { liveness: never, ..View::absent() }.masked(&Mask::new([secret]));
        assert!(!format!("{masked:?}").contains(secret), "{masked:?}");
    }
}
