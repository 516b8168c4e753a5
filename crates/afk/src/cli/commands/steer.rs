//! A person's requests to one run (`stop`, `say`, `answer`, `allow`, `deny`, `budget`, `retry`),
//! and the release of an issue whose run has ended.

use afk_app::operations::{self, Retried, find_live};
use afk_app::operator::Operator;
use afk_app::serve::{Worker, worker};
use afk_app::{Error, ErrorKind};
use afk_core::request::{self, Request};
use afk_engine::ports::StoredRun;
use serde_json::json;

use super::Context;
use super::issue::text_or_stdin;
use super::switch::hosts_stopped;
use crate::cli::exit::{Answer, Exit};
use crate::cli::sources::now;

pub(super) async fn stop(context: &Context<'_>, run: &str) -> Answer {
    let operator = context.operator_to_look().await.map_err(|error| match error.kind {
        ErrorKind::Failed => Error::failed(format!(
            "{error}; without the store it is not known what belongs to {run}: `afk halt` stops \
             every agent and job on this machine all the same"
        )),
        _ => error,
    })?;
    let found = find_live(&operator, run).await?;
    match make(context, &operator, &found, Request::Stop).await {
        // It could not be recorded, as on a full disk. What runs must stop all the same.
        Err(error) if error.kind == ErrorKind::Failed => {
            let stopped = match hosts_stopped(context, Some(found.run.id)).await {
                Ok(stopped) => stopped,
                Err(why) => format!("not everything could be stopped: {why}"),
            };
            Err(Error::failed(format!(
                "{stopped}; the request could not be recorded ({error}), so the run goes on when \
                 `afk serve` or `afk tick` works it: repeat the request when the store can be \
                 written"
            )))
        }
        done => done,
    }
}

pub(super) async fn say(context: &Context<'_>, run: &str, text: String) -> Answer {
    let said = request::say(&text_or_stdin(text)?)?;
    find_and_make(context, run, said).await
}

pub(super) async fn reply(
    context: &Context<'_>,
    run: &str,
    text: String,
    question: Option<u32>,
) -> Answer {
    let told = request::reply(question, &text_or_stdin(text)?)?;
    find_and_make(context, run, told).await
}

pub(super) async fn allow(context: &Context<'_>, run: &str, permission: Option<u32>) -> Answer {
    find_and_make(context, run, Request::Allow { ask: permission }).await
}

pub(super) async fn deny(
    context: &Context<'_>,
    run: &str,
    why: String,
    permission: Option<u32>,
) -> Answer {
    let refused = request::deny(permission, &text_or_stdin(why)?)?;
    find_and_make(context, run, refused).await
}

pub(super) async fn budget(context: &Context<'_>, run: &str, usd: &str) -> Answer {
    let raised = request::budget(usd)?;
    find_and_make(context, run, raised).await
}

pub(super) async fn retry(context: &Context<'_>, run: &str) -> Answer {
    let operator = context.operator().await?;
    match operations::retry(&operator, run, now()).await? {
        Retried::Requested(requested) => show(context, &operator, &requested).await,
        Retried::Released { issue, goes_on_from } => {
            let by = &operator.person;
            let document = json!({
                "issue": issue, "released": true, "by": by, "goes_on_from": goes_on_from,
            });
            context.out.result(&document, |_| {
                let released = format!("{issue} is released again by {}", by.login);
                let goes_on = goes_on_from.as_ref().map(|head| {
                    let head = head.short();
                    format!(
                        "; its next run goes on from {head}, without another turn of the agent, if \
                         the issue's text is still the same"
                    )
                });
                let goes_on = goes_on.unwrap_or_default();
                format!("{released}{goes_on}; `afk explain {issue}` shows its gates")
            })?;
            operator.store.close().await;
            Ok(Exit::Done)
        }
    }
}

async fn find_and_make(context: &Context<'_>, run: &str, what: Request) -> Answer {
    let operator = context.operator().await?;
    let found = find_live(&operator, run).await?;
    make(context, &operator, &found, what).await
}

async fn make(
    context: &Context<'_>,
    operator: &Operator,
    found: &StoredRun,
    what: Request,
) -> Answer {
    let requested = operations::request(operator, found, what, now()).await?;
    show(context, operator, &requested).await
}

async fn show(
    context: &Context<'_>,
    operator: &Operator,
    requested: &operations::RequestMade,
) -> Answer {
    let (run, issue) = (requested.run, &requested.issue);
    context.out.result(requested, |_| {
        format!("requested of run {run} on {issue}; once carried out: {}", requested.expected)
    })?;
    let who = worker(&operator.store, run).await?;
    context.out.note(if operator.config.policy.shadow {
        "shadow mode is on, in which nothing is done: it is carried out once `shadow = false`"
            .to_owned()
    } else {
        by_whom(requested, who.as_ref())
    });
    operator.store.close().await;
    Ok(Exit::Done)
}

/// Who will carry out what was requested, or that nobody does yet.
fn by_whom(requested: &operations::RequestMade, who: Option<&Worker>) -> String {
    let who = match who {
        Some(Worker::Daemon(daemon)) => format!("`afk serve` (pid {})", daemon.pid),
        Some(Worker::Other(other)) => format!("the afk that works this run (pid {})", other.pid),
        None => {
            let so = match requested.request.what {
                Request::Stop => "the run and its agent go on",
                _ => "nothing has changed yet",
            };
            return format!(
                "it is recorded, but no `afk serve` is running, so {so}; run `afk tick` to carry \
                 it out now"
            );
        }
    };
    format!("{who} will carry it out; `afk show {}` shows what came of it", requested.issue)
}
