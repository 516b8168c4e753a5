//! The agent's questions in a run, who answered them, and how people refer to them.
//!
//! A question is recorded when it is first seen, with the time at which policy answers it. It is
//! answered once, by a person or by policy, whichever is recorded first. The recorded answer
//! decides; giving it to the agent follows from the record and may be repeated.

use serde::{Deserialize, Serialize};

use super::{Run, Turn};
use crate::ask::{Answer, PendingQuestion};
use crate::ids::{Actor, At, IssueRef};
use crate::request::{self, Request};
use crate::text::line;

/// What the agent is told if a person refuses without a reason.
const REFUSED: &str = "A person has refused this. Find another way; if there is none, say in a \
                       final message what you need, and stop.";

/// How much of a question a doorbell shows, in bytes.
const TOLD: usize = 2_000;

/// A question of the agent and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its number from 1, over the whole run, by which people refer to it.
    pub n: u32,
    /// The question.
    pub asked: PendingQuestion,
    /// When the run recorded it.
    pub at: At,
    /// When policy answers it, unless a person has.
    pub until: At,
    /// The answer; the first one stays.
    pub given: Option<RecordedAnswer>,
}

/// A recorded answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedAnswer {
    /// When it was recorded.
    pub at: At,
    /// Who gave it; none if policy did.
    pub by: Option<Actor>,
    /// The answer.
    pub answer: Answer,
}

/// The kind of answer that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerKind {
    /// Words, for an open question.
    Words,
    /// A permission, to be granted or refused.
    Permission,
}

impl Question {
    /// The kind of answer that it wants.
    pub fn wants(&self) -> AnswerKind {
        if self.asked.question { AnswerKind::Words } else { AnswerKind::Permission }
    }

    /// Whether the agent can be given an answer at `now`.
    pub fn is_due(&self, now: At) -> bool {
        self.given.is_some() || now >= self.until
    }

    /// Whether people are given time to answer it.
    pub fn is_for_people(&self) -> bool {
        self.until > self.at
    }

    /// Moves its deadline by the time between `from` and `to`, in which nobody could answer it. A
    /// question that policy answers at once is not postponed.
    pub(super) fn postpone(&mut self, from: At, to: At) {
        let missed = to.duration_since(from.max(self.at));
        if self.given.is_none() && self.is_for_people() && missed.is_positive() {
            self.until = self.until.checked_add(missed).unwrap_or(At::MAX);
        }
    }

    /// The question in one short line.
    pub fn line(&self) -> String {
        line(&self.asked.what, 160)
    }

    /// Why people cannot allow it; none if they can.
    pub fn cannot_be_allowed(&self) -> Option<String> {
        self.asked.cut.then(|| {
            format!(
                "question {} is not shown whole, so that nobody knows what would be allowed: refuse \
                 it, and say what to do instead",
                self.n
            )
        })
    }

    /// The commands that answer it, for a run on `issue`.
    pub fn commands(&self, issue: &IssueRef) -> Vec<String> {
        let n = self.n;
        match self.wants() {
            AnswerKind::Words => vec![format!("afk answer {issue} --ask {n} 'TEXT'")],
            AnswerKind::Permission => {
                let allow = (!self.asked.cut).then(|| format!("afk allow {issue} --ask {n}"));
                let deny = format!("afk deny {issue} --ask {n} 'WHY'");
                allow.into_iter().chain([deny]).collect()
            }
        }
    }

    /// What a doorbell says about it, for a run on `issue`.
    pub fn detail(&self, issue: &IssueRef) -> String {
        let n = self.n;
        let what = line(&self.asked.what, TOLD);
        let more = match (self.asked.cut, what.len() < self.asked.what.len()) {
            (false, false) => String::new(),
            (false, true) => {
                format!("\nThat is its beginning: `afk show {issue}` shows all of it.")
            }
            (true, _) => "\nIt is not shown whole, and so can only be refused.".to_owned(),
        };
        let allow = if self.asked.cut { String::new() } else { format!("/afk allow --ask {n}, ") };
        let until = self.until.strftime("%Y-%m-%d %H:%M:%S UTC");
        let commands = self.commands(issue).join("\n");
        match self.wants() {
            AnswerKind::Words => format!(
                "The agent asks: {what}{more}\nWithout an answer until {until} it decides by \
                 itself.\n{commands}\nOr, in a comment on the issue: /afk answer --ask {n} TEXT"
            ),
            AnswerKind::Permission => format!(
                "The agent asks for a permission: {what}{more}\nWithout an answer until {until} it is \
                 refused.\n{commands}\nOr, in a comment on the issue: {allow}/afk deny --ask {n} WHY"
            ),
        }
    }
}

impl Turn {
    /// The question with this id.
    pub fn question(&self, id: &str) -> Option<&Question> {
        self.questions.iter().find(|question| question.asked.id == id)
    }
}

impl Run {
    /// All questions of the agent, oldest first.
    pub fn questions(&self) -> impl Iterator<Item = &Question> {
        let turns = self.attempts.iter().flat_map(|attempt| &attempt.turns);
        turns.flat_map(|turn| &turn.questions)
    }

    /// The unanswered questions of the current turn, oldest first.
    pub fn open_questions(&self) -> impl Iterator<Item = &Question> {
        self.asked_in_turn().filter(|question| question.given.is_none())
    }

    /// The question that an answer given `at` refers to, by its number or because it alone was open
    /// at that time; or why there is none. A question that came up later was not meant.
    pub fn meant(&self, ask: Option<u32>, wants: AnswerKind, at: At) -> Result<&Question, String> {
        let found = ask.map_or_else(|| self.alone(wants, at), |n| self.numbered(n, wants))?;
        match &found.given {
            None => Ok(found),
            Some(given) => {
                let by = given.by.as_ref().map_or("policy", |by| by.login.as_str());
                Err(format!("question {} was already answered by {by}", found.n))
            }
        }
    }

    fn asked_in_turn(&self) -> impl Iterator<Item = &Question> {
        let under_way = self.turn().filter(|turn| turn.ended.is_none());
        under_way.into_iter().flat_map(|turn| &turn.questions)
    }

    fn numbered(&self, n: u32, wants: AnswerKind) -> Result<&Question, String> {
        match self.asked_in_turn().find(|question| question.n == n) {
            Some(question) if question.wants() == wants => Ok(question),
            Some(other) => Err(other.wants_another()),
            None if self.questions().any(|question| question.n == n) => {
                Err(format!("question {n} ended with its turn"))
            }
            None => Err(format!("there is no question {n}")),
        }
    }

    /// The only question that was open `at`.
    fn alone(&self, wants: AnswerKind, at: At) -> Result<&Question, String> {
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

    /// Records a question; a repeated one changes nothing.
    pub(super) fn question(&mut self, at: At, asked: PendingQuestion, until: At) {
        let n = self.questions().count() as u32 + 1;
        let Some(turn) = self.turn_mut().filter(|turn| turn.ended.is_none()) else { return };
        if turn.question(&asked.id).is_none() {
            turn.questions.push(Question { n, asked, at, until, given: None });
        }
    }

    /// Records an answer; the first one stays. After the last open question the clocks resume.
    pub(super) fn record_answer_to(&mut self, n: u32, given: RecordedAnswer) {
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

    /// Records a person's answer.
    pub(super) fn record_requested_answer(&mut self, at: At, said: &request::PersonRequest) {
        let (ask, wants, answer) = match &said.what {
            Request::Answer { ask, text } => {
                (*ask, AnswerKind::Words, Answer::Say { text: text.clone() })
            }
            Request::Allow { ask } => (*ask, AnswerKind::Permission, Answer::Allow),
            Request::Deny { ask, why } => {
                let why = if why.is_empty() { REFUSED } else { why };
                (*ask, AnswerKind::Permission, Answer::Deny { why: why.to_owned() })
            }
            Request::Retry
            | Request::Stop
            | Request::Budget { .. }
            | Request::Unfreeze
            | Request::Say { .. }
            | Request::Release
            | Request::Unclear { .. } => return,
        };
        let meant = self.meant(ask, wants, said.at).ok();
        let meant =
            meant.filter(|one| answer != Answer::Allow || one.cannot_be_allowed().is_none());
        if let Some(n) = meant.map(|question| question.n) {
            self.record_answer_to(n, RecordedAnswer { at, by: Some(said.by.clone()), answer });
        }
    }
}

impl Question {
    /// Says which verb answers it.
    fn wants_another(&self) -> String {
        let n = self.n;
        match self.wants() {
            AnswerKind::Words => format!("{n} is an open question: use `afk answer`"),
            AnswerKind::Permission => {
                format!("{n} asks for a permission: use `afk allow` or `afk deny`")
            }
        }
    }
}

impl AnswerKind {
    fn nothing_open(self) -> String {
        match self {
            Self::Words => "the agent has no open question",
            Self::Permission => "the agent does not ask for a permission",
        }
        .to_owned()
    }
}

/// Says that several questions are open, with their numbers.
fn name_one(several: &[&Question]) -> String {
    let names = several.iter().map(|one| format!("`--ask {}` ({})", one.n, one.line()));
    format!(
        "the agent has {} open questions; name one: {}",
        several.len(),
        names.collect::<Vec<_>>().join(", ")
    )
}
