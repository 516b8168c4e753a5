//! What a person asks of one run: kept in the store, and carried out by whoever
//! works it. An issue whose run has ended is released again here, by the person.

use afk_core::ids::{IssueRef, RunId};
use afk_core::request::{self, Asked, Request, Unclear};
use afk_engine::ports::{Store as _, StoredRun};
use serde_json::json;

use super::Context;
use super::issue::text_or_stdin;
use crate::cli::desk::{Desk, now};
use crate::cli::exit::Exit;
use crate::cli::failure::{Answer, Failure};

pub(super) async fn stop(context: &Context<'_>, run: &str) -> Answer {
    let desk = Desk::open_to_look(context.out, context.config()).await?;
    let found = live(&desk, run).await?;
    ask(context, &desk, &found, Request::Stop).await
}

pub(super) async fn say(context: &Context<'_>, run: &str, text: String) -> Answer {
    let said = request::say(&text_or_stdin(text)?).map_err(|why| unclear(&why))?;
    let desk = Desk::open(context.config()).await?;
    let found = live(&desk, run).await?;
    ask(context, &desk, &found, said).await
}

pub(super) async fn reply(
    context: &Context<'_>,
    run: &str,
    text: String,
    question: Option<u32>,
) -> Answer {
    let told = request::reply(question, &text_or_stdin(text)?).map_err(|why| unclear(&why))?;
    let desk = Desk::open(context.config()).await?;
    let found = live(&desk, run).await?;
    ask(context, &desk, &found, told).await
}

pub(super) async fn allow(context: &Context<'_>, run: &str, permission: Option<u32>) -> Answer {
    let desk = Desk::open(context.config()).await?;
    let found = live(&desk, run).await?;
    ask(context, &desk, &found, Request::Allow { ask: permission }).await
}

pub(super) async fn deny(
    context: &Context<'_>,
    run: &str,
    why: String,
    permission: Option<u32>,
) -> Answer {
    let refused = request::deny(permission, &text_or_stdin(why)?).map_err(|why| unclear(&why))?;
    let desk = Desk::open(context.config()).await?;
    let found = live(&desk, run).await?;
    ask(context, &desk, &found, refused).await
}

pub(super) async fn budget(context: &Context<'_>, run: &str, usd: &str) -> Answer {
    let asked = request::budget(usd).map_err(|why| unclear(&why))?;
    let desk = Desk::open(context.config()).await?;
    let found = live(&desk, run).await?;
    ask(context, &desk, &found, asked).await
}

pub(super) async fn retry(context: &Context<'_>, run: &str) -> Answer {
    let desk = Desk::open(context.config()).await?;
    let found = desk.run(run).await?;
    if found.run.conclusion.is_none() {
        return ask(context, &desk, &found, Request::Retry).await;
    }
    if found.run.settled_at.is_none() {
        let issue = &found.run.issue;
        return Err(Failure::new(
            Exit::Waiting,
            format!(
                "the run on {issue} has ended and {issue} does not show it yet: `afk tick`, \
                 then try again"
            ),
        ));
    }
    release(context, &desk, &found.run.issue).await
}

/// Releases an issue again, as the person at the keyboard: who puts a label on is
/// whom the gates ask about.
async fn release(context: &Context<'_>, desk: &Desk, issue: &IssueRef) -> Answer {
    let newest = desk.run(&issue.to_string()).await?.run;
    if newest.settled_at.is_none() {
        return Err(Failure::usage(format!(
            "{issue} has a live run already, {}: `afk show {issue}`",
            newest.id
        )));
    }
    let at = now();
    let (human, ready) = (&desk.config.human_label, &desk.config.ready_label);
    let open = desk.tracker.get(issue).await?.is_some_and(|issue| issue.open);
    if !open {
        return Err(Failure::usage(format!(
            "{issue} is closed: `afk issue reopen {issue}`, then try again"
        )));
    }
    desk.tracker.unlabel(issue, human, &desk.keeper, at).await?;
    // Put on anew: a release stands for the text as it is when it is made.
    desk.tracker.unlabel(issue, ready, &desk.keeper, at).await?;
    desk.tracker.label(issue, ready, &desk.keeper, at).await?;
    let document = json!({ "issue": issue, "released": true, "by": desk.keeper });
    let by = &desk.keeper.login;
    context.out.result(&document, |_| {
        format!("{issue} is released again by {by}; `afk explain {issue}` shows its gates")
    })?;
    desk.store.close().await;
    Ok(Exit::Done)
}

/// The run that `text` names, while something can be asked of it.
async fn live(desk: &Desk, text: &str) -> Answer<StoredRun> {
    let found = desk.run(text).await?;
    if let Some(conclusion) = &found.run.conclusion {
        let (id, issue) = (found.run.id, &found.run.issue);
        let how = crate::cli::view::outcome(conclusion.end);
        return Err(Failure::usage(format!(
            "run {id} on {issue} has ended ({how}): `afk retry {issue}` releases the issue again"
        )));
    }
    Ok(found)
}

async fn ask(context: &Context<'_>, desk: &Desk, found: &StoredRun, what: Request) -> Answer {
    let (run, issue) = (found.run.id, &found.run.issue);
    // What can be told now need not be waited for; the run may still be elsewhere then.
    let asked = Asked { id: fresh_id(run), by: desk.keeper.clone(), at: now(), what };
    let answer = match request::answer(&found.run, &asked) {
        Ok(answer) => answer,
        Err(why) => {
            return Err(Failure::new(Exit::Waiting, format!("run {run} on {issue}: {why}")));
        }
    };
    desk.port.ask(run, &asked).await?;
    let document = json!({ "run": run, "issue": issue, "asked": asked, "expected": answer });
    context.out.result(&document, |_| {
        format!("asked run {run} on {issue}; once it is taken up: {answer}")
    })?;
    context.out.note(format!(
        "whoever works this store takes it up, `afk tick` at the latest; \
         `afk show {issue}` shows what came of it"
    ));
    desk.store.close().await;
    Ok(Exit::Done)
}

fn fresh_id(run: RunId) -> String {
    format!("cli:{run}:{}", uuid::Uuid::now_v7())
}

fn unclear(why: &Unclear) -> Failure {
    Failure::usage(why.to_string())
}
