//! The switches of the store, thrown and lifted by a person.

use std::time::{Duration, Instant};

use afk_core::freeze::Acknowledged;
use afk_core::ids::{JobKey, RepoName};
use afk_engine::ports::{Store as _, Switch, SwitchState, Switches};
use serde_json::json;

use super::Context;
use crate::cli::desk::{Desk, now, sources};
use crate::cli::exit::Exit;
use crate::cli::failure::Answer;
use crate::cli::words::{line, many};
use afk_app::App;

pub(super) async fn pause(context: &Context<'_>, why: &str) -> Answer {
    let desk = Desk::open_to_look(context.out, context.config()).await?;
    throw(&desk, &Switch::Pause, why).await?;
    let live = desk.port.live().await?.len();
    let runs = many(live, "live run");
    say(context, &desk, &format!("paused: nothing new is dispatched; {runs} go on")).await
}

pub(super) async fn halt(context: &Context<'_>, why: &str) -> Answer {
    let desk = Desk::open_to_look(context.out, context.config()).await?;
    throw(&desk, &Switch::Halt, why).await?;
    // Whoever works this store obeys by itself; where nobody does, agents would go on.
    let begun = Instant::now();
    let (stopped, alive) = match stop_all(context).await {
        Ok(stopped) => stopped,
        Err(error) => {
            context.out.note(format!("agents and jobs were not told from here: {error}"));
            return say(context, &desk, "halted; whoever works this store stops its runs").await;
        }
    };
    let (runs, seconds) = (many(stopped, "live run"), begun.elapsed().as_secs_f32());
    if alive.is_empty() {
        let text = format!("halted; nothing of {runs} is alive after {seconds:.1} s");
        return say(context, &desk, &text).await;
    }
    let alive: Vec<&str> = alive.iter().map(JobKey::as_str).collect();
    let text = format!("halted; still alive after {seconds:.1} s: {}", alive.join(", "));
    say(context, &desk, &text).await.map(|_| Exit::Failure)
}

/// How long what is alive may take to stop.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// Stops everything that is alive, and waits until it is gone: how many runs were
/// live, and what of them would not stop.
async fn stop_all(context: &Context<'_>) -> Answer<(usize, Vec<JobKey>)> {
    let app = App::open_to_look(sources(context.config())).await?;
    let ports = app.engine.ports();
    let live = ports.store.live().await?;
    let bound = Instant::now() + STOPPED_WITHIN;
    loop {
        let (mut alive, mut failed) = (Vec::new(), None);
        // One that cannot be looked at or told keeps no other from being stopped.
        for stored in &live {
            let run = stored.run.id;
            match ports.jobs.alive(run).await {
                Ok(left) if left.is_empty() => {}
                Ok(left) => {
                    failed = failed.or(ports.jobs.stop(run).await.err());
                    alive.extend(left);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            None if alive.is_empty() => return Ok((live.len(), alive)),
            Some(error) if Instant::now() >= bound => return Err(error.into()),
            None if Instant::now() >= bound => return Ok((live.len(), alive)),
            Some(_) | None => {}
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(super) async fn resume(context: &Context<'_>) -> Answer {
    let desk = Desk::open(context.config()).await?;
    let before = desk.port.switches().await?;
    for switch in [Switch::Halt, Switch::Pause] {
        desk.port.lift(&switch, &desk.keeper.login, now()).await?;
    }
    let text = match (before.halt.is_some(), before.pause.is_some()) {
        (true, true) => "halt and pause are lifted",
        (true, false) => "the halt is lifted",
        (false, true) => "the pause is lifted",
        (false, false) => "nothing was halted or paused",
    };
    if desk.config.kill_switch {
        context.out.note("the kill switch of the configuration is still on: `afk arm`");
    }
    say(context, &desk, text).await
}

pub(super) async fn freeze(context: &Context<'_>, repo: &str, why: &str) -> Answer {
    let desk = Desk::open_to_look(context.out, context.config()).await?;
    let repo = known(context, &desk, repo)?;
    throw(&desk, &Switch::Freeze(repo.clone()), why).await?;
    say(context, &desk, &format!("{repo} is frozen until `afk unfreeze {repo}`")).await
}

pub(super) async fn acknowledge(context: &Context<'_>, repo: &str) -> Answer {
    let desk = Desk::open(context.config()).await?;
    let repo = known(context, &desk, repo)?;
    let by = Acknowledged { by: desk.keeper.login.clone(), at: now() };
    let freeze = desk.port.acknowledge(&repo, &by).await?;
    let text = match freeze.map(|freeze| freeze.paging) {
        None => format!("{repo} is not frozen"),
        Some(None) => format!("{repo} was frozen by a person, which rings for nobody"),
        Some(Some(paging)) => match paging.acknowledged {
            Some(other) if other != by => {
                format!("{repo} was acknowledged before, by {}", line(&other.by, 40))
            }
            Some(_) | None => {
                format!("{repo} rings no more; it is frozen until `afk unfreeze {repo}`")
            }
        },
    };
    say(context, &desk, &text).await
}

pub(super) async fn unfreeze(context: &Context<'_>, repo: &str) -> Answer {
    let desk = Desk::open(context.config()).await?;
    let repo = desk.repo(repo)?;
    let frozen = desk.port.switches().await?.freeze_of(&repo).is_some();
    desk.port.lift(&Switch::Freeze(repo.clone()), &desk.keeper.login, now()).await?;
    let text = if frozen { "is frozen no more" } else { "was not frozen" };
    say(context, &desk, &format!("{repo} {text}")).await
}

/// The repo as it was typed, with a remark where nobody configured it: a freeze of
/// a name that was mistyped would hold nothing.
fn known(context: &Context<'_>, desk: &Desk, repo: &str) -> Answer<RepoName> {
    let repo = desk.repo(repo)?;
    if !desk.config.repos.contains_key(&repo) {
        context.out.note(format!("{repo} is not configured: is the name right?"));
    }
    Ok(repo)
}

async fn throw(desk: &Desk, switch: &Switch, why: &str) -> Answer<()> {
    let state =
        SwitchState { by: desk.keeper.login.clone(), at: now(), why: why.trim().to_owned() };
    Ok(desk.port.switch(switch, Some(&state)).await?)
}

/// The switches as they stand now, after what was done.
async fn say(context: &Context<'_>, desk: &Desk, text: &str) -> Answer {
    let switches: Switches = desk.port.switches().await?;
    context.out.result(&json!({ "did": text, "switches": switches }), |_| text.to_owned())?;
    desk.store.close().await;
    Ok(Exit::Done)
}
