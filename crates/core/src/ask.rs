//! An agent's questions to a person, and the policy's answer when no person gives one.
//!
//! An agent never stalls on a question: under `full-access` policy answers at once, under `ask` at
//! the question's deadline.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::At;
use crate::text::line;

/// The longest text of a question, in bytes.
pub const LONGEST: usize = 64 << 10;

/// What an agent may do without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Permissions {
    /// Everything that the sandbox allows. If the agent asks something, it is told at once to
    /// decide by itself.
    #[default]
    FullAccess,
    /// Each tool call that needs a permission waits for a person. If nobody answers within
    /// `question_timeout_seconds`, it is refused.
    Ask,
}

/// A question that an agent waits on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingQuestion {
    /// Its id at the executor; an answer names it.
    pub id: String,
    /// Whether it is an open question; otherwise it asks for a permission.
    pub question: bool,
    /// The question, in one line.
    pub what: String,
    /// Whether that line is cut off: people cannot grant a permission that nobody can see whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// Since when the agent waits.
    pub since: At,
}

impl PendingQuestion {
    /// Makes a question from its whole text, of which at most [`LONGEST`] bytes are kept.
    pub fn new(id: String, question: bool, text: &str, since: At) -> Self {
        // Control characters, which a terminal would swallow, are shown as escapes.
        let shown = text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
            if c.is_control() && !c.is_whitespace() {
                shown.extend(c.escape_unicode());
            } else {
                shown.push(c);
            }
            shown
        });
        let whole = line(&shown, usize::MAX);
        let cut = whole.len() > LONGEST;
        let what = if cut { line(&whole, LONGEST) } else { whole };
        Self { id, question, what, cut, since }
    }
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Permission granted.
    Allow,
    /// Permission refused, by a person or for lack of an answer.
    Deny {
        /// The reason, for the agent.
        why: String,
    },
    /// A person's own words.
    Say {
        /// The words.
        text: String,
    },
}

impl Permissions {
    /// The answer to `asked` when no person gives one.
    pub fn answer(self, asked: &PendingQuestion) -> Answer {
        let deny = |why: &str| Answer::Deny { why: why.to_owned() };
        match (self, asked.question) {
            (Self::FullAccess | Self::Ask, true) => deny(
                "Nobody is there to answer. Decide it yourself based on the issue, go on, and \
                 record the decision and its reason in a commit message.",
            ),
            (Self::FullAccess, false) => Answer::Allow,
            (Self::Ask, false) => deny(
                "Nobody has allowed this in time. Find another way; if there is none, say in a \
                 final message what you need, and stop.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_whole_or_known_to_be_cut() {
        let check = |text: &str, what: &str, cut| {
            let asked = PendingQuestion::new("r".to_owned(), false, text, At::UNIX_EPOCH);
            assert_eq!((asked.what.as_str(), asked.cut), (what, cut));
        };
        check("Bash: ls\n  -l", "Bash: ls -l", false);
        // Padding hides nothing.
        let padded = format!("Bash: true{}; rm -rf /", " ".repeat(LONGEST * 20));
        check(&padded, "Bash: true ; rm -rf /", false);
        let full = "x".repeat(LONGEST);
        check(&full, &full, false);
        check(&format!("{full}; rm -rf /"), &format!("{}…", &full[3..]), true);
        // Nor do control characters.
        check("echo \u{1b}]0;rm -rf /\u{7}", "echo \\u{1b}]0;rm -rf /\\u{7}", false);
    }

    #[test]
    fn policy_never_leaves_an_agent_without_an_answer() {
        let check = |permissions: Permissions, question: bool, allowed: bool| {
            let asked = PendingQuestion::new("r".to_owned(), question, "x", At::UNIX_EPOCH);
            let answer = permissions.answer(&asked);
            assert_eq!(answer == Answer::Allow, allowed, "{permissions:?} {answer:?}");
            assert!(!matches!(answer, Answer::Say { .. }), "nobody has said anything");
            let Answer::Deny { why } = answer else { return };
            let expected = if question {
                "Nobody is there to answer. Decide it yourself based on the issue, go on, and \
                 record the decision and its reason in a commit message."
            } else {
                "Nobody has allowed this in time. Find another way; if there is none, say in a \
                 final message what you need, and stop."
            };
            assert_eq!(why, expected, "{permissions:?}");
        };
        check(Permissions::FullAccess, false, true);
        check(Permissions::FullAccess, true, false);
        check(Permissions::Ask, false, false);
        check(Permissions::Ask, true, false);
    }
}
