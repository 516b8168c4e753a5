//! A person's requests to a live run: their verbs, how they are parsed from a comment, and what a
//! run does about them.
//!
//! A request is kept under a unique id, so that it is carried out once however often it is seen.
//! Who may make one is decided elsewhere.

use serde::{Deserialize, Serialize};

use crate::ids::{Actor, At};
use crate::run::{AnswerKind, Run, TurnEnd};
use crate::usd::Usd;

/// Maximum length of a person's message, in bytes.
pub const MAX_WORDS: usize = 16_000;

/// The verbs, for the answer to an unknown one.
const VERBS: &str = "/afk retry, /afk stop, /afk budget 20, /afk unfreeze, /afk say …, \
                     /afk answer …, /afk allow, /afk deny …";

/// What a person requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Retry now: end the wait for a retry, for a usage limit or for the agent.
    Retry,
    /// Stop the run and release the issue.
    Stop,
    /// Set the run's budget.
    Budget {
        /// The new budget.
        usd: Usd,
    },
    /// Lift the freeze of the repo.
    Unfreeze,
    /// Send the agent a message.
    Say {
        /// The message.
        text: String,
    },
    /// Release the issue again, after the run has ended.
    Release,
    /// Words that are not a known request.
    Unclear {
        /// What is wrong with them.
        why: String,
    },
    /// Answer the agent's question.
    Answer {
        /// Its number; none if only one is open.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ask: Option<u32>,
        /// The answer.
        text: String,
    },
    /// Grant the permission that the agent asks for, once.
    Allow {
        /// Its number; none if only one is open.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ask: Option<u32>,
    },
    /// Refuse the permission that the agent asks for.
    Deny {
        /// Its number; none if only one is open.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ask: Option<u32>,
        /// The reason for the agent; may be empty.
        why: String,
    },
}

/// A request with its id, and who made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonRequest {
    /// Its unique id.
    pub id: String,
    /// Who made it.
    pub by: Actor,
    /// When they made it.
    pub at: At,
    /// The request.
    #[serde(flatten)]
    pub what: Request,
}

/// Words after `/afk` that are not a known request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// No such verb.
    #[error("{0:?} is not a request; known are {VERBS}")]
    Verb(String),
    /// A budget that is not an amount above 0.
    #[error("a budget is an amount in US dollars above 0, such as 20")]
    Amount,
    /// The text is empty or too long.
    #[error("the text is empty or longer than {MAX_WORDS} bytes; write, for example, `{0}`")]
    Words(&'static str),
    /// The word after `--ask` is not a number.
    #[error(
        "`--ask` takes the question's number, as in `--ask 2`; omit it if only one question \
         is open"
    )]
    Ask,
}

/// The request in a comment; none if the comment does not begin with the word `/afk`.
pub fn in_comment(body: &str) -> Option<Result<Request, Unclear>> {
    let (first, rest) = body.trim_start().split_once('\n').unwrap_or((body.trim_start(), ""));
    let asked = first.trim_end().strip_prefix("/afk")?;
    if !asked.is_empty() && !asked.starts_with([' ', '\t']) {
        return None;
    }
    let (verb, words) = asked.trim().split_once(char::is_whitespace).unwrap_or((asked.trim(), ""));
    Some(match verb.to_ascii_lowercase().as_str() {
        "retry" => Ok(Request::Retry),
        "stop" => Ok(Request::Stop),
        "unfreeze" => Ok(Request::Unfreeze),
        "budget" => budget(words),
        "say" => say(&format!("{words}\n{rest}")),
        "answer" => named(words).and_then(|(ask, text)| reply(ask, &format!("{text}\n{rest}"))),
        "deny" => named(words).and_then(|(ask, why)| deny(ask, &format!("{why}\n{rest}"))),
        "allow" => match named(words) {
            Ok((ask, "")) => Ok(Request::Allow { ask }),
            // Whatever it means, it is not a plain yes.
            Ok(_) | Err(_) => Err(Unclear::Ask),
        },
        _ => Err(Unclear::Verb(verb.chars().take(40).collect())),
    })
}

/// A request for another budget.
pub fn budget(amount: &str) -> Result<Request, Unclear> {
    let usd: Usd = amount.trim().trim_start_matches('$').parse().map_err(|_| Unclear::Amount)?;
    if usd == Usd::ZERO { Err(Unclear::Amount) } else { Ok(Request::Budget { usd }) }
}

/// A request to send the agent `text`.
pub fn say(text: &str) -> Result<Request, Unclear> {
    spoken(text, "mind the tests").map(|text| Request::Say { text })
}

/// A request to answer the agent's question with `text`.
pub fn reply(ask: Option<u32>, text: &str) -> Result<Request, Unclear> {
    spoken(text, "the first one").map(|text| Request::Answer { ask, text })
}

/// A request to refuse a permission that the agent asks for; `why` may be empty.
pub fn deny(ask: Option<u32>, why: &str) -> Result<Request, Unclear> {
    let why = why.trim();
    if why.len() > MAX_WORDS {
        return Err(Unclear::Words("there is a test for that"));
    }
    Ok(Request::Deny { ask, why: why.to_owned() })
}

fn spoken(text: &str, example: &'static str) -> Result<String, Unclear> {
    let text = text.trim();
    if text.is_empty() || text.len() > MAX_WORDS {
        return Err(Unclear::Words(example));
    }
    Ok(text.to_owned())
}

/// The number after `--ask`, if the words begin with it, and the other words.
fn named(words: &str) -> Result<(Option<u32>, &str), Unclear> {
    let words = words.trim();
    let Some(rest) = words.strip_prefix("--ask") else { return Ok((None, words)) };
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    let (number, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    Ok((Some(number.parse().map_err(|_| Unclear::Ask)?), rest.trim()))
}

/// The answer to a request to `run`: what will be done, or why nothing will. `room` is the largest
/// budget that the caps of a day allow for it; none without such a cap.
pub fn answer(run: &Run, asked: &PersonRequest, room: Option<Usd>) -> Result<String, String> {
    if let Request::Unclear { why } = &asked.what {
        return Err(why.clone());
    }
    if run.conclusion.is_some() {
        return Err("the run had ended; `/afk retry` releases the issue again".to_owned());
    }
    if let Some(cancel) = &run.cancel {
        return Err(format!("the run starts no more work: {}", cancel.how.sentence()));
    }
    match &asked.what {
        Request::Stop => Ok("stopped".to_owned()),
        Request::Budget { usd } => match room.filter(|room| usd > room && *usd > run.budget) {
            Some(room) => Err(format!(
                "the caps of a day (`day_budget_usd`, `repo_day_budget_usd`) have no room for a \
                 budget of {usd}, only for one of {}; it stays at {}",
                room.max(run.budget),
                run.budget
            )),
            None => Ok(format!("the budget is {usd}, of which {} is spent", run.spent())),
        },
        Request::Say { .. } if run.candidate().is_some_and(|one| one.pull.is_some()) => Err(
            "people decide on its pull request, so its agent gets no message: to have the work \
             changed, close the pull request, add what you want to the issue, and release the \
             issue again"
                .to_owned(),
        ),
        Request::Say { .. } => Ok("the agent gets the message after its turn".to_owned()),
        Request::Retry => match run.turn().and_then(|turn| turn.ended.as_ref()).map(|e| &e.how) {
            Some(TurnEnd::Failed { .. } | TurnEnd::Lost | TurnEnd::Stalled) => {
                Ok("the run retries now".to_owned())
            }
            Some(TurnEnd::Limited { .. }) => Ok("the run tries the usage limit now".to_owned()),
            Some(TurnEnd::Unavailable { .. }) => Ok("the run tries its agent now".to_owned()),
            Some(TurnEnd::Finished { .. } | TurnEnd::Hopeless { .. } | TurnEnd::Interrupted)
            | None => Err("the run is in progress: there is nothing to retry".to_owned()),
        },
        Request::Unfreeze => Err("freezes belong to a repository: `afk unfreeze`".to_owned()),
        Request::Release => Err("the run has not ended: there is nothing to release".to_owned()),
        Request::Unclear { why } => Err(why.clone()),
        Request::Answer { ask, .. } => {
            run.meant(*ask, AnswerKind::Words, asked.at).map(|question| {
                format!("the agent gets this as the answer to question {}", question.n)
            })
        }
        Request::Allow { ask } => {
            let question = run.meant(*ask, AnswerKind::Permission, asked.at)?;
            match question.cannot_be_allowed() {
                None => Ok(format!("allowed once: {}", question.line())),
                Some(why) => Err(why),
            }
        }
        Request::Deny { ask, .. } => run
            .meant(*ask, AnswerKind::Permission, asked.at)
            .map(|question| format!("refused: {}", question.line())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_answers_what_it_names() {
        let check = |body: &str, expected: Result<Request, Unclear>| {
            assert_eq!(in_comment(body), Some(expected), "{body:?}");
        };
        let told = |ask, text: &str| Ok(Request::Answer { ask, text: text.to_owned() });
        let deny = |ask, why: &str| Ok(Request::Deny { ask, why: why.to_owned() });
        check("/afk allow", Ok(Request::Allow { ask: None }));
        check("/afk Allow --ask 2\nGo on.", Ok(Request::Allow { ask: Some(2) }));
        check("/afk allow --ask=12 ", Ok(Request::Allow { ask: Some(12) }));
        for unclear in ["2", "--ask", "--ask two", "--ask -1", "nothing of it", "--ask 2 never"] {
            check(&format!("/afk allow {unclear}"), Err(Unclear::Ask));
        }
        check("/afk deny", deny(None, ""));
        check("/afk deny --ask 3 not\nthat one", deny(Some(3), "not\nthat one"));
        check("/afk deny --ask all", Err(Unclear::Ask));
        check("/afk answer 2", told(None, "2"));
        check("/afk answer --ask 4 the first\nof both", told(Some(4), "the first\nof both"));
        check("/afk answer\nbelow", told(None, "below"));
    }

    #[test]
    fn words_have_a_length_that_may_be_reached() {
        let words = |n: usize| "x".repeat(n);
        assert!(say(&words(MAX_WORDS)).is_ok() && say(&words(MAX_WORDS + 1)).is_err());
        assert!(deny(None, &words(MAX_WORDS)).is_ok());
        assert!(deny(None, &words(MAX_WORDS + 1)).is_err());
    }

    #[test]
    fn a_comment_asks_by_its_first_line() {
        let check = |body: &str, expected: Option<Result<Request, Unclear>>| {
            assert_eq!(in_comment(body), expected, "{body:?}");
        };
        let say = |text: &str| Some(Ok(Request::Say { text: text.to_owned() }));
        check("/afk stop", Some(Ok(Request::Stop)));
        check("  \n/afk STOP please\nthanks", Some(Ok(Request::Stop)));
        check("/afk\tretry\r\n", Some(Ok(Request::Retry)));
        check("/afk unfreeze", Some(Ok(Request::Unfreeze)));
        check("/afk budget $20", Some(Ok(Request::Budget { usd: Usd::dollars(20) })));
        check("/afk say use the old door\nand the key", say("use the old door\nand the key"));
        check("/afk say\nbelow", say("below"));
        check("please /afk stop", None);
        check("Well.\n/afk stop", None);
        check("> /afk stop", None);
        check("/afkstop", None);
        check("", None);
        check("/afk", Some(Err(Unclear::Verb(String::new()))));
        check("/afk dance", Some(Err(Unclear::Verb("dance".to_owned()))));
        for amount in ["", "0", "-3", "much", "1e99", "NaN"] {
            check(&format!("/afk budget {amount}"), Some(Err(Unclear::Amount)));
        }
        let words = |example| Some(Err(Unclear::Words(example)));
        check("/afk say", words("mind the tests"));
        let long = "x".repeat(MAX_WORDS + 1);
        check(&format!("/afk say {long}"), words("mind the tests"));
        check("/afk answer --ask 2", words("the first one"));
        check(&format!("/afk deny {long}"), words("there is a test for that"));
        assert!(Unclear::Verb("dance".to_owned()).to_string().contains("/afk retry"));
    }

    #[test]
    fn what_is_unclear_is_told_how_to_write_it() {
        let check = |unclear: &Unclear, expected: &str| assert_eq!(unclear.to_string(), expected);
        let known = format!("\"dance\" is not a request; known are {VERBS}");
        check(&Unclear::Verb("dance".to_owned()), &known);
        check(&Unclear::Amount, "a budget is an amount in US dollars above 0, such as 20");
        check(
            &Unclear::Words("the first one"),
            &format!(
                "the text is empty or longer than {MAX_WORDS} bytes; write, for example, `the \
                 first one`"
            ),
        );
        check(
            &Unclear::Ask,
            "`--ask` takes the question's number, as in `--ask 2`; omit it if only one question is \
             open",
        );
    }
}
