//! The outcome of a turn, in one vocabulary for every agent.
//!
//! Each agent's fold makes a [`TurnOutcome`] from the end of the stream and the end of the process;
//! the control plane acts on it. Finished, failed, interrupted by us and lost are kept apart, and a
//! failure says what happened and how to fix it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How the agent's process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Exit {
    /// It ended by itself.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// A signal ended it.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// It could not be started.
    NotStarted {
        /// Why not.
        message: String,
    },
    /// Its host is gone, so nobody knows how it ended.
    Lost,
}

impl Exit {
    /// The signal that ended the process, even if a shell-like parent or the process's own handler
    /// turned it into an exit code: 128 plus the signal's number, 1 to 64.
    pub fn signal(&self) -> Option<i32> {
        match self {
            Self::Signalled { signal } => Some(*signal),
            Self::Exited { code } if (129..=192).contains(code) => Some(code - 128),
            Self::Exited { .. } | Self::NotStarted { .. } | Self::Lost => None,
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited { code } => write!(f, "exit code {code}"),
            Self::Signalled { signal } => write!(f, "signal {signal}"),
            Self::NotStarted { .. } => f.write_str("not started"),
            Self::Lost => f.write_str("end unknown"),
        }
    }
}

/// The outcome of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum TurnOutcome {
    /// The agent ended its turn without an error. Says nothing about the quality of the work.
    Finished {
        /// The agent's last text.
        text: String,
    },
    /// The turn failed.
    Failed {
        /// What kind of failure it is.
        reason: FailReason,
        /// What the agent or the system said, as one line of limited length; may be empty.
        message: String,
    },
    /// We interrupted the turn before it was done.
    Interrupted,
    /// The agent's process or its host disappeared.
    Lost,
}

/// Why a turn failed, by what can be done about it ([`FailReason::recovery`]). `Display` says what
/// happened and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum FailReason {
    /// The agent has no credential for its model.
    NotSignedIn,
    /// The model's API answered with an error, after the agent's own retries.
    ApiError {
        /// The HTTP status; `None` when no answer came.
        status: Option<u16>,
    },
    /// The turn cost more than it was allowed.
    BudgetExceeded,
    /// The account has no credit left.
    NoCredit,
    /// The account has used up its allowance.
    UsageLimit {
        /// When the limit resets, if known.
        resets_at: Option<Timestamp>,
    },
    /// The conversation could not be opened, because its id is taken.
    SessionInUse,
    /// The conversation could not be resumed, because the agent does not know it.
    UnknownSession,
    /// The conversation has become too long to go on.
    StuckConversation,
    /// The named agent definition does not exist.
    UnknownAgent,
    /// Tools were refused, so the agent could not do what it wanted.
    PermissionDenied {
        /// The tools, each once.
        tools: Vec<String>,
    },
    /// Somebody other than us ended the process with a signal (or memory ran out).
    Killed {
        /// The signal's number.
        signal: i32,
    },
    /// The agent says that its turn was interrupted, but we did not interrupt it.
    Aborted,
    /// The model's API broke off its answer, for a reason of its own.
    BrokenOff,
    /// The process ended without a report on its turn.
    NoResult,
    /// The process's output is not the event stream of this agent.
    Garbage {
        /// How many lines could not be read.
        lines: u64,
    },
    /// The process could not be started, or refused to start.
    StartFailed,
    /// The agent says that the turn failed, for another reason.
    AgentError,
}

/// What can fix a failed turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// The same turn again after a while: resume the conversation and send the prompt again.
    Retry,
    /// The same turn again once the usage limit has reset; if that time is unknown, try now and
    /// then.
    WaitUntil(Option<Timestamp>),
    /// The same turn now, resuming the conversation instead of opening it.
    Resume,
    /// The same turn now, opening the conversation instead of resuming it.
    Open,
    /// The same turn again in a new conversation, with the whole prompt.
    NewConversation,
    /// The same turn again once what the agent needs is available: the sign-in, the model's API or
    /// the program. Nobody says when, so it is tried at growing intervals. Other turns of the same
    /// agent would fail meanwhile.
    Later(UnmetNeed),
    /// Only a person: a retry would fail in the same way.
    Person,
}

/// What an agent needed and did not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnmetNeed {
    /// A credential that the model's API accepts.
    SignIn,
    /// A model's API that answers.
    Model,
    /// A program that starts.
    Program,
}

impl FailReason {
    /// What can fix this failure.
    pub fn recovery(&self) -> Recovery {
        match self {
            Self::ApiError { status } if is_passing(*status) => Recovery::Later(UnmetNeed::Model),
            Self::ApiError { status: Some(401 | 403) } | Self::NotSignedIn => {
                Recovery::Later(UnmetNeed::SignIn)
            }
            // A matter of the account or the configuration: the next issue would fail alike.
            Self::ApiError { status: Some(404) } | Self::NoCredit => {
                Recovery::Later(UnmetNeed::Model)
            }
            // Malformed or too large: every later request of this conversation repeats its history.
            Self::ApiError { status: Some(400 | 413) } | Self::StuckConversation => {
                Recovery::NewConversation
            }
            Self::StartFailed | Self::UnknownAgent | Self::Garbage { .. } => {
                Recovery::Later(UnmetNeed::Program)
            }
            Self::Killed { .. } | Self::Aborted | Self::BrokenOff | Self::NoResult => {
                Recovery::Retry
            }
            // The budget may have been raised meanwhile; otherwise nothing is left for a retry.
            Self::BudgetExceeded => Recovery::Retry,
            Self::UsageLimit { resets_at } => Recovery::WaitUntil(*resets_at),
            Self::SessionInUse => Recovery::Resume,
            Self::UnknownSession => Recovery::Open,
            Self::ApiError { .. } | Self::PermissionDenied { .. } | Self::AgentError => {
                Recovery::Person
            }
        }
    }

    /// Recognises missing credit and an unknown model by the text of an error, where nothing else
    /// in the agent's report says so.
    pub(crate) fn in_words(text: &str) -> Option<Self> {
        let text = text.to_lowercase();
        let says = |words: &str| text.contains(words);
        if says("credit balance is too low") {
            return Some(Self::NoCredit);
        }
        let no_model = says("issue with the selected model")
            || says("model_not_found")
            || says("the model") && says("does not exist");
        no_model.then_some(Self::ApiError { status: Some(404) })
    }
}

/// Whether an API error may be over by the next try: no answer, timeouts, conflicts, rate limits,
/// and every server error (529 is "overloaded").
fn is_passing(status: Option<u16>) -> bool {
    match status {
        None => true,
        Some(status) => matches!(status, 408 | 409 | 425 | 429) || status >= 500,
    }
}

impl std::fmt::Display for FailReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSignedIn => f.write_str(
                "the agent is not signed in: sign in by hand (`claude` and /login, `codex login`), or name a key in its table in [agents]",
            ),
            Self::ApiError { status } => api_error(*status, f),
            Self::BudgetExceeded => f.write_str(
                "the turn cost more than its budget: raise the budget, or split the issue",
            ),
            Self::NoCredit => f.write_str(
                "the account has no credit left: add some, or name another key in the agent's table in [agents]",
            ),
            Self::UsageLimit { resets_at: Some(at) } => write!(
                f,
                "the account's usage limit is reached: it resets at {at}, and the run continues by itself"
            ),
            Self::UsageLimit { resets_at: None } => f.write_str(
                "the account's usage limit is reached: wait until it resets, or use another credential",
            ),
            Self::SessionInUse => f.write_str(
                "the conversation's id is already in use: resume it instead of opening it",
            ),
            Self::UnknownSession => f.write_str(
                "the agent does not know the conversation: open it instead, and keep the agent's home between turns",
            ),
            Self::StuckConversation => f.write_str(
                "the conversation has become too long to go on: begin a new one",
            ),
            Self::UnknownAgent => f.write_str(
                "the agent definition does not exist: correct its name, or put it into the agent's home",
            ),
            Self::PermissionDenied { tools } => write!(
                f,
                "the agent was refused {}: allow it, or give the run full access",
                tools.join(", ")
            ),
            Self::Killed { signal } => write!(
                f,
                "signal {signal} ended the agent, and we did not send it: look for a memory limit or an operator, then retry"
            ),
            Self::Aborted => f.write_str(
                "the turn was interrupted, but not by us: retry it",
            ),
            Self::BrokenOff => f.write_str(
                "the model's answer was broken off: retry it, and see its message",
            ),
            Self::NoResult => f.write_str(
                "the agent ended without saying how its turn ended: retry it, and see its standard error",
            ),
            Self::Garbage { lines } => write!(
                f,
                "the agent printed {lines} lines that are not its event stream: check that the configured program is the agent"
            ),
            Self::StartFailed => f.write_str(
                "the agent did not start: see its standard error, and check the program's path and options",
            ),
            Self::AgentError => f.write_str("the agent says that its turn failed"),
        }
    }
}

fn api_error(status: Option<u16>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    match status {
        None => f.write_str(
            "the model's API could not be reached: check the network, and base_url if the agent's table has one",
        ),
        Some(401) => f.write_str(
            "the model's API refused the credential (401): renew the key that the agent's table names, or sign in again by hand (`claude` and /login, `codex login`)",
        ),
        Some(403) => f.write_str(
            "the model's API forbids this (403): check what the account and its key may use",
        ),
        Some(404) => f.write_str(
            "the model's API does not know this (404): check the model's name, and base_url if the agent's table has one",
        ),
        Some(429) => f.write_str(
            "the model's API limits the rate (429): retry later, or run fewer agents at once",
        ),
        Some(status @ (400 | 413)) => write!(
            f,
            "the model's API rejected the request ({status}): a new conversation may pass; if it does not, see its message"
        ),
        Some(status) if status >= 500 => write!(
            f,
            "the model's API failed ({status}): retry later"
        ),
        Some(status) => write!(
            f,
            "the model's API rejected the request ({status}): a retry will not help; see its message"
        ),
    }
}

impl std::fmt::Display for TurnOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Finished { .. } => f.write_str("the turn finished"),
            Self::Failed { reason, message } if message.is_empty() => reason.fmt(f),
            Self::Failed { reason, message } => write!(f, "{reason} (it said: {message})"),
            Self::Interrupted => f.write_str("the turn was interrupted by us"),
            Self::Lost => {
                f.write_str("the agent's process or its host disappeared: retry the turn")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_says_what_remedies_it() {
        fn check(reason: &FailReason, recovery: Recovery, says: &str) {
            assert_eq!(reason.recovery(), recovery, "{reason:?}");
            assert!(reason.to_string().contains(says), "{reason}");
        }
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        let api = |status| FailReason::ApiError { status };
        let later = Recovery::Later;
        check(&FailReason::NotSignedIn, later(UnmetNeed::SignIn), "/login");
        check(&api(None), later(UnmetNeed::Model), "base_url");
        check(&api(Some(400)), Recovery::NewConversation, "new conversation");
        check(&api(Some(413)), Recovery::NewConversation, "new conversation");
        check(&api(Some(422)), Recovery::Person, "will not help");
        check(&api(Some(401)), later(UnmetNeed::SignIn), "renew");
        check(&api(Some(403)), later(UnmetNeed::SignIn), "forbids");
        check(&api(Some(404)), later(UnmetNeed::Model), "model's name");
        check(&api(Some(429)), later(UnmetNeed::Model), "fewer agents");
        check(&api(Some(500)), later(UnmetNeed::Model), "later");
        check(&api(Some(529)), later(UnmetNeed::Model), "529");
        check(&FailReason::BudgetExceeded, Recovery::Retry, "budget");
        check(
            &FailReason::UsageLimit { resets_at: Some(at) },
            Recovery::WaitUntil(Some(at)),
            "2027-01-15T08:00:00Z",
        );
        check(
            &FailReason::UsageLimit { resets_at: None },
            Recovery::WaitUntil(None),
            "wait until it resets",
        );
        check(&FailReason::SessionInUse, Recovery::Resume, "resume");
        check(&FailReason::UnknownSession, Recovery::Open, "open it");
        check(&FailReason::StuckConversation, Recovery::NewConversation, "begin a new one");
        check(&FailReason::UnknownAgent, later(UnmetNeed::Program), "name");
        check(&FailReason::NoCredit, later(UnmetNeed::Model), "add some");
        check(&FailReason::BrokenOff, Recovery::Retry, "broken off");
        check(
            &FailReason::PermissionDenied { tools: vec!["Bash".into(), "Write".into()] },
            Recovery::Person,
            "refused Bash, Write",
        );
        check(&FailReason::Killed { signal: 9 }, Recovery::Retry, "signal 9");
        check(&FailReason::Aborted, Recovery::Retry, "not by us");
        check(&FailReason::NoResult, Recovery::Retry, "without saying");
        check(&FailReason::Garbage { lines: 3 }, later(UnmetNeed::Program), "3 lines");
        check(&FailReason::StartFailed, later(UnmetNeed::Program), "did not start");
        check(&FailReason::AgentError, Recovery::Person, "failed");
    }

    #[test]
    fn what_the_account_or_the_configuration_lacks_is_read_from_words() {
        fn check(text: &str, expected: Option<&FailReason>) {
            assert_eq!(FailReason::in_words(text).as_ref(), expected, "{text}");
        }
        let no_model = FailReason::ApiError { status: Some(404) };
        let no_credit = FailReason::NoCredit;
        check("Credit balance is too low", Some(&no_credit));
        check("Your credit balance is too low to access the Anthropic API.", Some(&no_credit));
        check("There's an issue with the selected model (x). It may not exist", Some(&no_model));
        let by_codex = "The model `gpt-x` does not exist or you do not have access to it.";
        check(by_codex, Some(&no_model));
        check("{\"code\":\"model_not_found\"}", Some(&no_model));
        check("the file does not exist", None);
        check("", None);
    }

    #[test]
    fn a_signal_is_seen_through_an_exit_code() {
        fn check(exit: &Exit, signal: Option<i32>) {
            assert_eq!(exit.signal(), signal, "{exit}");
        }
        check(&Exit::Exited { code: 0 }, None);
        check(&Exit::Exited { code: 1 }, None);
        check(&Exit::Exited { code: 128 }, None);
        check(&Exit::Exited { code: 143 }, Some(15));
        check(&Exit::Exited { code: 255 }, None);
        check(&Exit::Signalled { signal: 9 }, Some(9));
        check(&Exit::Lost, None);
    }
}
