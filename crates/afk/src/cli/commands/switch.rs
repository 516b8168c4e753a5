//! The switches of the store, set and lifted by a person: `pause`, `halt`, `resume`, `freeze`,
//! `unfreeze`, and `ack`.

use afk_app::App;
use afk_app::operations::{self, AckOutcome};
use afk_app::operator::Operator;
use afk_core::ids::{JobKey, RepoName};
use afk_engine::ports::{Store as _, Switch, Switches};
use serde_json::json;

use super::Context;
use crate::cli::exit::{Answer, Exit};
use crate::cli::sources::{now, sources};
use crate::cli::words::{line, many};

pub(super) async fn pause(context: &Context<'_>, why: &str) -> Answer {
    let operator = context.operator_to_look().await?;
    operations::throw(&operator, &Switch::Pause, why, now()).await?;
    let live = operator.store.live().await?.len();
    let go_on = match live {
        0 => String::new(),
        1 => "; 1 live run goes on".to_owned(),
        more => format!("; {more} live runs go on"),
    };
    say(context, &operator, &format!("paused: nothing new is dispatched{go_on}")).await
}

pub(super) async fn halt(context: &Context<'_>, why: &str) -> Answer {
    let operator = context.operator_to_look().await?;
    operations::throw(&operator, &Switch::Halt, why, now()).await?;
    let stopped = match stop_all(context).await {
        Ok(stopped) => stopped,
        Err(error) => {
            context
                .out
                .note(format!("this command could not stop agents and jobs itself: {error}"));
            return say(context, &operator, "halted; whoever works this store stops its runs")
                .await;
        }
    };
    let (runs, seconds) = (many(stopped.runs, "live run"), stopped.took.as_secs_f32());
    if stopped.runs == 0 {
        return say(context, &operator, "halted; no run was live").await;
    }
    if stopped.alive.is_empty() {
        let text = format!("halted; everything of {runs} had stopped after {seconds:.1} s");
        return say(context, &operator, &text).await;
    }
    let alive: Vec<&str> = stopped.alive.iter().map(JobKey::as_str).collect();
    let text = format!("halted; still alive after {seconds:.1} s: {}", alive.join(", "));
    say(context, &operator, &text).await.map(|_| Exit::Failure)
}

async fn stop_all(context: &Context<'_>) -> Answer<operations::StopReport> {
    let app = App::open_to_look(sources(context.config())).await?;
    operations::stop_all(&app).await
}

pub(super) async fn resume(context: &Context<'_>) -> Answer {
    let operator = context.operator().await?;
    let lifted = operations::resume(&operator, now()).await?;
    let text = match (lifted.halt, lifted.pause) {
        (true, true) => "halt and pause are lifted",
        (true, false) => "the halt is lifted",
        (false, true) => "the pause is lifted",
        (false, false) => "nothing was halted or paused",
    };
    if operator.config.policy.kill_switch {
        context.out.note("the kill switch of the configuration is still on: `afk arm`");
    }
    say(context, &operator, text).await
}

pub(super) async fn freeze(context: &Context<'_>, repo: &str, why: &str) -> Answer {
    let operator = context.operator_to_look().await?;
    let repo = known(context, &operator, repo)?;
    operations::throw(&operator, &Switch::Freeze(repo.clone()), why, now()).await?;
    say(context, &operator, &format!("{repo} is frozen until `afk unfreeze {repo}`")).await
}

pub(super) async fn acknowledge(context: &Context<'_>, repo: &str) -> Answer {
    let operator = context.operator().await?;
    let repo = known(context, &operator, repo)?;
    let text = match operations::acknowledge(&operator, &repo, now()).await? {
        AckOutcome::NotFrozen => format!("{repo} is not frozen"),
        AckOutcome::ByPerson => {
            format!("{repo} was frozen by a person; such a freeze does not ring")
        }
        AckOutcome::Before { by } => {
            format!("{repo} was already acknowledged by {}", line(&by, 40))
        }
        AckOutcome::Now => {
            format!("{repo} no longer rings; it stays frozen until `afk unfreeze {repo}`")
        }
    };
    say(context, &operator, &text).await
}

pub(super) async fn unfreeze(context: &Context<'_>, repo: &str) -> Answer {
    let operator = context.operator().await?;
    let repo = operator.repo(repo)?;
    let frozen = operations::unfreeze(&operator, &repo, now()).await?;
    let text = if frozen { "is no longer frozen" } else { "was not frozen" };
    say(context, &operator, &format!("{repo} {text}")).await
}

/// Parses the repo as typed, with a remark if it is not configured: a freeze under a mistyped name
/// would hold nothing.
fn known(context: &Context<'_>, operator: &Operator, repo: &str) -> Answer<RepoName> {
    let repo = operator.repo(repo)?;
    if !operator.config.policy.repos.contains_key(&repo) {
        context.out.note(format!("{repo} is not configured: is the name right?"));
    }
    Ok(repo)
}

/// Prints `text` or, with `--json`, also the switches as they are now.
async fn say(context: &Context<'_>, operator: &Operator, text: &str) -> Answer {
    let switches: Switches = operator.store.switches().await?;
    context.out.result(&json!({ "did": text, "switches": switches }), |_| text.to_owned())?;
    operator.store.close().await;
    Ok(Exit::Done)
}
