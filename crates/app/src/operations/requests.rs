//! Requests to a run: recorded in the store, and carried out by the process that works the run.
//! Also releases an issue again, in the person's name, after its run has ended.

use afk_core::ids::{At, IssueRef, Oid, RunId};
use afk_core::request::{self, PersonRequest, Request, Unclear};
use afk_core::run::Run;
use afk_core::steer::RELEASED;
use afk_core::trust::trusted;
use afk_engine::pass::budget_room;
use afk_engine::ports::{Store as _, StoredRun};
use serde::Serialize;

use crate::Error;
use crate::config::is_local;
use crate::operator::Operator;
use crate::views::{is_queued_again, is_released, outcome, release_again};

/// A request that was made.
#[derive(Debug, Clone, Serialize)]
pub struct RequestMade {
    /// The run.
    pub run: RunId,
    /// Its issue.
    pub issue: IssueRef,
    /// The request as recorded: what, by whom, when.
    #[serde(rename = "asked")]
    pub request: PersonRequest,
    /// What the run will answer, as far as is known now, in a sentence.
    pub expected: String,
}

/// The result of a retry.
#[derive(Debug, Clone)]
pub enum Retried {
    /// The run is live: the request was recorded.
    Requested(Box<RequestMade>),
    /// The run had ended: the issue is released again.
    Released {
        /// The issue.
        issue: IssueRef,
        /// The head that its next run goes on from; none if the ended run left none.
        goes_on_from: Option<Oid>,
    },
}

/// Finds the live run that `text` names: an id, a prefix of one, or an issue. A run that has ended
/// is an error, which says how to release its issue again, or that it is released already.
pub async fn find_live(operator: &Operator, text: &str) -> Result<StoredRun, Error> {
    let found = match operator.run(text).await {
        Ok(found) => found,
        Err(error) => {
            let Ok(issue) = operator.issue(text) else { return Err(error) };
            let released = is_released(operator, &issue).await?;
            return Err(if released { only_released(&issue) } else { error });
        }
    };
    if let Some(conclusion) = &found.run.conclusion {
        let (id, issue) = (found.run.id, &found.run.issue);
        if is_queued_again(operator, &found.run).await? {
            return Err(only_released(issue));
        }
        let how = outcome(conclusion.end);
        let again = release_again(&operator.config.policy, issue);
        let is_here = is_local(&operator.config.policy, &issue.repo);
        let closed = is_here && operator.tracker.get(issue).await?.is_some_and(|issue| !issue.open);
        let first =
            if closed { format!("`afk issue reopen {issue}`, then ") } else { String::new() };
        let ready = &operator.config.policy.ready_label;
        let taken_back = if is_here {
            String::new()
        } else {
            format!("; if it is released already, take {ready} off there to take that back")
        };
        return Err(Error::invalid(format!(
            "run {id} on {issue} has ended ({how}); to release the issue again: {first}{again}\
             {taken_back}"
        )));
    }
    Ok(found)
}

/// The error about an issue that is released, and that no run works yet.
fn only_released(issue: &IssueRef) -> Error {
    Error::invalid(format!(
        "no run is live on {issue}; it is released, and waits for its next run: `afk issue unlabel \
         {issue}` takes that back"
    ))
}

/// Records the request `what` for the run. One that the run would certainly refuse is refused here.
pub async fn request(
    operator: &Operator,
    found: &StoredRun,
    what: Request,
    now: At,
) -> Result<RequestMade, Error> {
    let (run, issue) = (found.run.id, &found.run.issue);
    let id = format!("cli:{run}:{}", uuid::Uuid::now_v7());
    let request = PersonRequest { id, by: operator.person.clone(), at: now, what };
    let room = match request.what {
        Request::Budget { .. } => {
            budget_room(&operator.store, &operator.config.policy, &found.run, now).await?
        }
        _ => None,
    };
    let expected = request::answer(&found.run, &request, room)
        .map_err(|why| Error::waiting(format!("run {run} on {issue}: {why}")))?;
    operator.store.add_request(run, &request).await?;
    Ok(RequestMade { run, issue: issue.clone(), request, expected })
}

/// Lets a live run continue at once, or releases the issue again if its run has ended and settled.
pub async fn retry(operator: &Operator, text: &str, now: At) -> Result<Retried, Error> {
    let found = operator.run(text).await?;
    let issue = &found.run.issue;
    if found.run.conclusion.is_none() {
        let requested = request(operator, &found, Request::Retry, now).await?;
        return Ok(Retried::Requested(Box::new(requested)));
    }
    if found.run.settled_at.is_none() {
        return Err(Error::waiting(format!(
            "the run on {issue} has ended, but {issue} does not show it yet: `afk tick`, then try \
             again"
        )));
    }
    if is_local(&operator.config.policy, &issue.repo) {
        let goes_on_from = release(operator, issue, now).await?;
        return Ok(Retried::Released { issue: issue.clone(), goes_on_from });
    }
    let newest = newest(operator, issue).await?;
    let made = release_on_forge(operator, &newest, now).await?;
    Ok(Retried::Requested(Box::new(made)))
}

/// Requests the release of an issue on a forge. The engine carries it out like `/afk retry` in a
/// comment there.
///
/// Only an account that is trusted on the forge may release. A user of this machine is not one,
/// whatever their name, unless the configuration lists them.
async fn release_on_forge(
    operator: &Operator,
    newest: &Run,
    now: At,
) -> Result<RequestMade, Error> {
    let (policy, person, issue) = (&operator.config.policy, &operator.person, &newest.issue);
    if trusted(person, &policy.trust, &|_| None).is_err() {
        let again = release_again(policy, issue);
        return Err(Error::invalid(format!(
            "{issue} is not in the local tracker, and {} is nobody there: {again}, or take {ready} \
             off and put it on again, with an account that may write to {}",
            person.login,
            issue.repo,
            ready = policy.ready_label,
        )));
    }
    let id = format!("cli:{}:{}", newest.id, uuid::Uuid::now_v7());
    let request = PersonRequest { id, by: person.clone(), at: now, what: Request::Release };
    operator.store.add_request(newest.id, &request).await?;
    let (run, issue, expected) = (newest.id, issue.clone(), RELEASED.to_owned());
    Ok(RequestMade { run, issue, request, expected })
}

/// The newest run on `issue`; an error if it has not settled.
async fn newest(operator: &Operator, issue: &IssueRef) -> Result<Run, Error> {
    let newest = operator.run(&issue.to_string()).await?.run;
    if newest.settled_at.is_none() {
        return Err(Error::invalid(format!(
            "{issue} has a live run already, {}: `afk show {issue}`",
            newest.id
        )));
    }
    Ok(newest)
}

/// Releases an issue of the local tracker again, by putting on its ready label as the person: the
/// gates judge whoever put it on. Returns the head that the newest run left to go on from.
async fn release(operator: &Operator, issue: &IssueRef, now: At) -> Result<Option<Oid>, Error> {
    let newest = newest(operator, issue).await?;
    let (tracker, person) = (&operator.tracker, &operator.person);
    if !tracker.get(issue).await?.is_some_and(|issue| issue.open) {
        return Err(Error::invalid(format!(
            "{issue} is closed: `afk issue reopen {issue}`, then try again"
        )));
    }
    // The request comes before the label, because the next run looks for it, and goes on from what
    // this run left. It is answered at once, so that no engine carries it out as well.
    let id = format!("cli:{}:{}", newest.id, uuid::Uuid::now_v7());
    let request = PersonRequest { id, by: person.clone(), at: now, what: Request::Release };
    operator.store.add_request(newest.id, &request).await?;
    operator.store.answer(&request.id, RELEASED, now).await?;
    let (human, ready) = (&operator.config.policy.human_label, &operator.config.policy.ready_label);
    tracker.unlabel(issue, human, person, now).await?;
    // Taken off and put on: a release covers the issue's text as of when the label was put on.
    tracker.unlabel(issue, ready, person, now).await?;
    tracker.label(issue, ready, person, now).await?;
    Ok(newest.leaves().map(|left| left.head))
}

impl From<Unclear> for Error {
    fn from(why: Unclear) -> Self {
        Self::invalid(why.to_string())
    }
}
