//! The switches of the store, set and lifted by a person: `pause`, `halt`, `resume`, `freeze`,
//! `unfreeze`, and `ack`.

use afk_app::operations::{self, AckOutcome};
use afk_app::operator::Operator;
use afk_app::serve::serving;
use afk_app::settings::FileSettings;
use afk_app::{App, Error, ErrorKind, data_dir, store_is_there};
use afk_core::ids::{JobKey, RepoName, RunId};
use afk_engine::ports::{Store as _, Switch, Switches};
use serde_json::json;

use super::Context;
use crate::cli::exit::{Answer, Exit};
use crate::cli::sources::{now, sources};
use crate::cli::words::{line, many};

pub(super) async fn pause(context: &Context<'_>, why: &str) -> Answer {
    let operator = context.operator_to_look().await?;
    operations::throw(&operator, &Switch::Pause, why, now()).await?;
    if operator.store.switches().await?.halt.is_some() {
        let text = "paused, too; everything stays halted until `afk resume`, which lifts both";
        return say(context, &operator, text).await;
    }
    let live = operator.store.live_runs().await?.len();
    let go_on = match live {
        0 => String::new(),
        1 => "; 1 live run goes on".to_owned(),
        more => format!("; {more} live runs go on"),
    };
    say(context, &operator, &format!("paused: nothing new is dispatched{go_on}")).await
}

pub(super) async fn halt(context: &Context<'_>, why: &str) -> Answer {
    let operator = match recorded(context, why).await {
        Ok(operator) => operator,
        // The store cannot be used, as on a full disk. What runs must stop all the same.
        Err(error) if error.kind == ErrorKind::Failed => {
            return Err(unrecorded(context, &error).await);
        }
        Err(error) => return Err(error),
    };
    let app = match App::open_to_look(sources(context.config())).await {
        Ok(app) => app,
        Err(error) => return without_store(context, &operator, &error.into()).await,
    };
    let stopped = match operations::stop_all(&app).await {
        Ok(stopped) => stopped,
        Err(error) => return unfinished(context, &operator, &error).await,
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

/// Opens the store and records the halt.
async fn recorded(context: &Context<'_>, why: &str) -> Answer<Operator> {
    let operator = context.operator_to_look().await?;
    operations::throw(&operator, &Switch::Halt, why, now()).await?;
    Ok(operator)
}

/// Stops what runs although the halt could not be recorded, because of `error`; returns the error
/// to report.
async fn unrecorded(context: &Context<'_>, error: &Error) -> Error {
    let stopped = match hosts_stopped(context, None).await {
        Ok(stopped) => stopped,
        Err(why) => format!("not everything could be stopped: {why}"),
    };
    Error::failed(format!(
        "{stopped}; the halt could not be recorded ({error}), so a running `afk serve` may start \
         agents again: stop it, too"
    ))
}

/// Stops what runs after the halt was recorded, without whatever `error` is about.
async fn without_store(context: &Context<'_>, operator: &Operator, error: &Error) -> Answer {
    match hosts_stopped(context, None).await {
        Ok(stopped) => {
            context.out.note(format!("stopped by their folders alone, because of this: {error}"));
            say(context, operator, &format!("halted; {stopped}")).await
        }
        Err(why) => unfinished(context, operator, &why).await,
    }
}

/// What is left to say if something could not be stopped after the halt was recorded: whether a
/// daemon will do it.
async fn unfinished(context: &Context<'_>, operator: &Operator, error: &Error) -> Answer {
    context.out.note(format!("this command could not stop everything itself: {error}"));
    if serving(&operator.store).await?.is_some() {
        return say(context, operator, "halted; `afk serve` works this store and stops its runs")
            .await;
    }
    let text = "halted, but agents and jobs may go on: no `afk serve` works this store, and this \
                command could not stop them";
    say(context, operator, text).await.map(|_| Exit::Failure)
}

/// Stops the agents and jobs on this machine, of one run or of all, without the store; returns
/// what to say about it. An error says that some were not stopped.
pub(super) async fn hosts_stopped(context: &Context<'_>, run: Option<RunId>) -> Answer<String> {
    let config = FileSettings::open_to_look(sources(context.config()), store_is_there)?.config();
    let hosts = operations::stop_hosts(&data_dir(&config)?, run).await?;
    if hosts.alive.is_empty() {
        return Ok(match hosts.stopped {
            0 => "no agent or job was running".to_owned(),
            1 => "stopped 1 agent or job".to_owned(),
            stopped => format!("stopped {stopped} agents and jobs"),
        });
    }
    let alive: Vec<String> = hosts.alive.iter().map(|dir| dir.display().to_string()).collect();
    Err(Error::failed(format!("still alive: {}", alive.join(", "))))
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
