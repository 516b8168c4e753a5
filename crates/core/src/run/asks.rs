//! What the agent asked in a run, who answered it, and how people name it.
//!
//! A question is recorded when it is first seen, with the time at which policy answers
//! it, and answered once: by a person or by policy, whoever is recorded first. The
//! record decides; telling the agent follows from it and may be repeated.

use serde::{Deserialize, Serialize};

use super::{Run, Turn};
use crate::ask::{Answer, Asked};
use crate::ids::{Actor, At, IssueRef};
use crate::request::{self, Request};
use crate::text::line;

/// What the agent is told where a person refuses and says no more.
const REFUSED: &str = "A person has refused this. Find another way; if there is none, say in a \
                       final message what you need, and stop.";

/// Something that the agent asked, and what it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// From 1, over the whole run: people name it by this.
    pub n: u32,
    /// What is asked.
    pub asked: Asked,
    /// When the run took note of it.
    pub at: At,
    /// When policy answers it, unless a person has.
    pub until: At,
    /// The answer; the first stays.
    pub given: Option<Given>,
}

/// An answer that is decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// When.
    pub at: At,
    /// Who gave it; none where policy did.
    pub by: Option<Actor>,
    /// What the agent is told.
    pub answer: Answer,
}

/// What an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// A question, which words answer.
    Words,
    /// A permission, which is given or refused.
    Permission,
}

impl Question {
    /// What it wants of a person.
    pub fn wants(&self) -> Wants {
        if self.asked.question { Wants::Words } else { Wants::Permission }
    }

    /// Whether the agent can be told something at `now`.
    pub fn is_due(&self, now: At) -> bool {
        self.given.is_some() || now >= self.until
    }

    /// Whether people are given time to answer it.
    pub fn is_for_people(&self) -> bool {
        self.until > self.at
    }

    /// What is asked, in one short line.
    pub fn line(&self) -> String {
        line(&self.asked.what, 160)
    }

    /// The commands that answer it, for a run on `issue`.
    pub fn commands(&self, issue: &IssueRef) -> Vec<String> {
        let n = self.n;
        match self.wants() {
            Wants::Words => vec![format!("afk answer {issue} --ask {n} 'TEXT'")],
            Wants::Permission => vec![
                format!("afk allow {issue} --ask {n}"),
                format!("afk deny {issue} --ask {n} 'WHY'"),
            ],
        }
    }

    /// What a doorbell says of it, for a run on `issue`.
    pub fn detail(&self, issue: &IssueRef) -> String {
        let (what, n) = (&self.asked.what, self.n);
        let until = self.until.strftime("%Y-%m-%d %H:%M:%S UTC");
        let commands = self.commands(issue).join("\n");
        match self.wants() {
            Wants::Words => format!(
                "The agent asks: {what}\nWithout an answer until {until} it decides by \
                 itself.\n{commands}\nOr, in a comment on the issue: /afk answer --ask {n} TEXT"
            ),
            Wants::Permission => format!(
                "The agent asks for a permission: {what}\nWithout an answer until {until} it is \
                 refused.\n{commands}\nOr, in a comment on the issue: /afk allow --ask {n}, \
                 /afk deny --ask {n} WHY"
            ),
        }
    }
}

impl Turn {
    /// What the agent asked under this id.
    pub fn question(&self, id: &str) -> Option<&Question> {
        self.questions.iter().find(|question| question.asked.id == id)
    }
}

impl Run {
    /// Everything that the agent asked, oldest first.
    pub fn questions(&self) -> impl Iterator<Item = &Question> {
        let turns = self.attempts.iter().flat_map(|attempt| &attempt.turns);
        turns.flat_map(|turn| &turn.questions)
    }

    /// What the agent asked in the turn under way and nobody has answered, oldest first.
    pub fn open_questions(&self) -> impl Iterator<Item = &Question> {
        self.asked_in_turn().filter(|question| question.given.is_none())
    }

    /// The question that somebody answers who said so `at`, by its number or because it
    /// alone was open then; or why there is none. What came up later was not meant.
    pub fn meant(&self, ask: Option<u32>, wants: Wants, at: At) -> Result<&Question, String> {
        let found = ask.map_or_else(|| self.alone(wants, at), |n| self.numbered(n, wants))?;
        match &found.given {
            None => Ok(found),
            Some(given) => {
                let by = given.by.as_ref().map_or("policy", |by| by.login.as_str());
                Err(format!("what the agent asked as {} was answered already, by {by}", found.n))
            }
        }
    }

    fn asked_in_turn(&self) -> impl Iterator<Item = &Question> {
        let under_way = self.turn().filter(|turn| turn.ended.is_none());
        under_way.into_iter().flat_map(|turn| &turn.questions)
    }

    fn numbered(&self, n: u32, wants: Wants) -> Result<&Question, String> {
        match self.asked_in_turn().find(|question| question.n == n) {
            Some(question) if question.wants() == wants => Ok(question),
            Some(other) => Err(other.wants_another()),
            None if self.questions().any(|question| question.n == n) => {
                Err(format!("what the agent asked as {n} is over with its turn"))
            }
            None => Err(format!("the agent asked nothing as {n}")),
        }
    }

    /// The one question that was open `at`.
    fn alone(&self, wants: Wants, at: At) -> Result<&Question, String> {
        let then = |question: &&Question| {
            let given = question.given.as_ref();
            question.at <= at && given.is_none_or(|given| given.at > at)
        };
        let (fits, others): (Vec<&Question>, Vec<&Question>) =
            self.asked_in_turn().filter(then).partition(|question| question.wants() == wants);
        match (fits.as_slice(), others.first()) {
            (&[one], _) => Ok(one),
            (&[], Some(other)) => Err(other.wants_another()),
            (&[], None) => Err(wants.nothing_open()),
            (several, _) => Err(name_one(several)),
        }
    }

    /// Notes what the agent asks; asked again it is the same.
    pub(super) fn question(&mut self, at: At, asked: Asked, until: At) {
        let n = self.questions().count() as u32 + 1;
        let Some(turn) = self.turn_mut().filter(|turn| turn.ended.is_none()) else { return };
        if turn.question(&asked.id).is_none() {
            turn.questions.push(Question { n, asked, at, until, given: None });
        }
    }

    /// Takes an answer; the first stays. With the last of them nobody decides any more,
    /// and the clocks go on.
    pub(super) fn give(&mut self, n: u32, given: Given) {
        let at = given.at;
        let turn = self.turn_mut().filter(|turn| turn.ended.is_none());
        let mut asked = turn.into_iter().flat_map(|turn| &mut turn.questions);
        match asked.find(|question| question.n == n) {
            Some(question) if question.given.is_none() => question.given = Some(given),
            Some(_) | None => return,
        }
        if self.open_questions().next().is_none() {
            self.unpause(at);
        }
    }

    /// Takes a person's answer.
    pub(super) fn give_asked(&mut self, at: At, said: &request::Asked) {
        let (ask, wants, answer) = match &said.what {
            Request::Answer { ask, text } => {
                (*ask, Wants::Words, Answer::Say { text: text.clone() })
            }
            Request::Allow { ask } => (*ask, Wants::Permission, Answer::Allow),
            Request::Deny { ask, why } => {
                let why = if why.is_empty() { REFUSED } else { why };
                (*ask, Wants::Permission, Answer::Deny { why: why.to_owned() })
            }
            Request::Retry
            | Request::Stop
            | Request::Budget { .. }
            | Request::Unfreeze
            | Request::Say { .. }
            | Request::Release
            | Request::Unclear { .. } => return,
        };
        if let Ok(n) = self.meant(ask, wants, said.at).map(|question| question.n) {
            self.give(n, Given { at, by: Some(said.by.clone()), answer });
        }
    }
}

impl Question {
    /// That another verb answers it.
    fn wants_another(&self) -> String {
        let n = self.n;
        match self.wants() {
            Wants::Words => format!("what the agent asks as {n} is a question: `afk answer` it"),
            Wants::Permission => {
                format!("what the agent asks as {n} is a permission: `afk allow` or `afk deny` it")
            }
        }
    }
}

impl Wants {
    fn nothing_open(self) -> String {
        match self {
            Self::Words => "the agent asks no question now",
            Self::Permission => "the agent asks for no permission now",
        }
        .to_owned()
    }
}

/// That several wait, and by which name.
fn name_one(several: &[&Question]) -> String {
    let names = several.iter().map(|one| format!("`--ask {}` ({})", one.n, one.line()));
    format!(
        "the agent asks {} things, name one: {}",
        several.len(),
        names.collect::<Vec<_>>().join(", ")
    )
}
