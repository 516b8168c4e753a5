//! `status`, `show`, `runs`, `explain`: they read, and change nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;

use afk_core::gates::Dispatcher;
use afk_core::run::Run;
use afk_engine::ports::{Filter, JournalRow, Store as _, StoredRun};
use afk_engine::switches::Brake;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::evidence::bundle_file;
use crate::cli::desk::{Desk, configured, issue, now, sources};
use crate::cli::exit::Exit;
use crate::cli::failure::{Answer, Failure};
use crate::cli::live::glance;
use crate::cli::render::{self, HandedBack, Held, Kept, Page, Status};
use crate::cli::view::RunView;
use afk_app::{App, AppError};
use afk_local::git::Workspaces;

/// Issues in the hands of people that `status` shows, the newest.
const HANDED_BACK: usize = 20;
/// Runs among which they are looked for, the newest.
const RECENT: u32 = 1_000;
/// Ready issues of a repo that `status` asks the gates for.
const READY: usize = 20;

pub(super) async fn status(context: &Context<'_>) -> Answer {
    // Says what is wrong with the configuration, where something is.
    let desk = Desk::open_to_look(context.out, context.config()).await?;
    desk.store.close().await;
    let app = App::open_to_look(sources(context.config())).await?;
    let trouble = app.engine.ports().settings.current().1;
    let ports = app.engine.ports();
    let switches = ports.store.switches().await?;
    let mut runs = Vec::new();
    for stored in ports.store.live().await? {
        runs.push(glance(&app.engine, &stored.run).await);
    }
    let handed_back = handed_back(&app, trouble.is_none()).await?;
    let (mut ready, mut unreadable) = (Vec::new(), Vec::new());
    let brake = brake(&app).await;
    for repo in app.config.allowlist.iter().filter(|repo| app.config.repos.contains_key(repo)) {
        match ports.tracker.ready(repo, &app.config.ready_label).await {
            Err(error) => unreadable.push((repo.clone(), error.chain())),
            Ok(mut issues) => {
                issues.retain(|issue| runs.iter().all(|run| run.issue != issue.issue));
                for issue in issues.into_iter().take(READY) {
                    let said = app.engine.explain(&issue.issue, Dispatcher::Loop, &brake).await;
                    let error = said.as_ref().err().map(afk_engine::ports::PortError::chain);
                    let (issue, title) = (issue.issue, issue.title);
                    ready.push(Held { issue, title, gates: said.ok(), error });
                }
            }
        }
    }
    let stopped = switches.halt.is_some() || switches.pause.is_some();
    let now = Status {
        at: now(),
        takes_issues: !app.config.kill_switch && !app.config.allowlist.is_empty() && !stopped,
        kill_switch: app.config.kill_switch,
        allowlist: app.config.allowlist.clone(),
        switches,
        runs,
        handed_back,
        ready,
        unreadable,
        serving: afk_app::serve::serving(&app.store).await?,
        looked_at: app.store.last_beat().await?,
        sandbox: app.capabilities.to_string(),
        config: app.config_path.clone(),
        data_dir: app.data_dir.clone(),
    };
    context.out.result(&now, |paint| render::status(&now, paint))?;
    Ok(if trouble.is_none() { Exit::Done } else { Exit::Usage })
}

/// What the newest runs handed to a person, as far as their trackers still show it there. By
/// which label they do is only `known` under a good configuration.
async fn handed_back(app: &App, known: bool) -> Answer<Vec<HandedBack>> {
    let (ports, mut seen, mut back) = (app.engine.ports(), BTreeSet::new(), Vec::new());
    let recent = Filter { limit: RECENT, ..Filter::default() };
    for StoredRun { run, .. } in ports.store.runs(&recent).await? {
        if !seen.insert(run.issue.clone()) {
            continue;
        }
        let Some(end) = run.conclusion.filter(|end| end.end.is_handed_back()) else { continue };
        // Where the tracker does not answer, nothing says that somebody has taken it.
        let taken = ports.tracker.issue(&run.issue).await.is_ok_and(|view| {
            let labelled = view.issue.labels.contains(&app.config.human_label);
            !view.issue.open || (known && !labelled)
        });
        if !taken {
            let title = run.pinned.title;
            let (issue, run, at, why) = (run.issue, run.id, end.at, end.why);
            back.push(HandedBack { issue, title, run, at, why });
            if back.len() == HANDED_BACK {
                break;
            }
        }
    }
    Ok(back)
}

pub(super) async fn runs(context: &Context<'_>, repo: Option<&str>, limit: u32) -> Answer {
    let desk = Desk::open_to_look(context.out, context.config()).await?;
    let repo = repo.map(|repo| desk.repo(repo)).transpose()?;
    let found = desk.port.runs(&Filter { repo, issue: None, limit }).await?;
    let at = now();
    let rows: Vec<_> =
        found.iter().map(|one| (one.run.admitted_at, RunView::new(&one.run, None, at))).collect();
    let views: Vec<_> = rows.iter().map(|(_, view)| view).collect();
    context.out.result(&json!({ "runs": views }), |_| render::runs(&rows, at))?;
    desk.store.close().await;
    Ok(Exit::Done)
}

pub(super) async fn show(context: &Context<'_>, text: &str) -> Answer {
    let desk = Desk::open_to_look(context.out, context.config()).await?;
    let run = desk.run(text).await?.run;
    let journal = journal(&desk, &run).await?;
    let kept = kept(&desk, &run)?;
    let bundle = bundle_file(&desk, run.id)?;
    let bundle = bundle.is_file().then_some(bundle);
    let requests = desk.port.requests(run.id).await?;
    let summary = summary(context, &run).await;
    let page = Page { summary, run, requests, journal, bundle, kept };
    context.out.result(&page, |paint| render::page(&page, paint))?;
    desk.store.close().await;
    Ok(Exit::Done)
}

/// A run at a glance; a live one with its running turn, where the machine can be asked.
async fn summary(context: &Context<'_>, run: &Run) -> RunView {
    let recorded = || RunView::new(run, None, now());
    if run.conclusion.is_some() {
        return recorded();
    }
    match App::open_to_look(sources(context.config())).await {
        Ok(app) => glance(&app.engine, run).await,
        Err(error) => {
            tracing::debug!(%error, "the running turn is not looked at");
            recorded()
        }
    }
}

/// Where what is kept of a run lies; none where nothing is kept.
fn kept(desk: &Desk, run: &Run) -> Answer<Option<Kept>> {
    if !run.conclusion.as_ref().is_some_and(|conclusion| conclusion.end.is_handed_back()) {
        return Ok(None);
    }
    let spaces = Workspaces::open(&afk_app::data_dir(&desk.config)?.join("work"))
        .map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
    let there = |path: PathBuf| path.is_dir().then_some(path);
    Ok(Some(Kept {
        workspace: there(spaces.run(run.id).clone),
        jobs: there(spaces.jobs(run.id)),
        mirror: spaces.mirror(&run.issue.repo),
        refs: format!("refs/afk/{}/", run.id),
    }))
}

/// The whole journal of a run.
pub(super) async fn journal(desk: &Desk, run: &Run) -> Answer<Vec<JournalRow>> {
    let mut all: Vec<JournalRow> = Vec::new();
    loop {
        let after = all.last().map_or(0, |row| row.seq);
        let more = desk.port.journal(run.id, after).await?;
        if more.is_empty() {
            return Ok(all);
        }
        all.extend(more);
    }
}

pub(super) async fn explain(context: &Context<'_>, text: &str) -> Answer {
    let app = open(context).await?;
    let issue = issue(text, &app.config)?;
    configured(&issue.repo, &app.config, app.config_path.as_deref())?;
    let view = app.engine.ports().tracker.issue(&issue).await?;
    let said = app.engine.explain(&issue, Dispatcher::Loop, &brake(&app).await).await?;
    let document = json!({
        "issue": said.issue,
        "title": view.issue.title,
        "eligible": said.eligible(),
        "open": said.open,
        "priority": said.priority,
        "gates": said.gates,
        "dropped": said.dropped,
    });
    let title = &view.issue.title;
    context.out.result(&document, |paint| render::explanation(&said, title, paint))?;
    Ok(if said.eligible() { Exit::Done } else { Exit::Waiting })
}

/// Opens everything. Where the configuration is not good, what that does to the loop and
/// how to mend it is said too.
async fn open(context: &Context<'_>) -> Answer<App> {
    App::open(sources(context.config())).await.map_err(|error| match error {
        AppError::Config(errors) => Failure::usage(format!(
            "{errors}\nno gate is decided under a configuration that is not good, and pickup is \
             paused: nothing new is dispatched until this is mended; an `afk serve` that runs \
             goes on with its live runs under the last good configuration\n\
             to mend it: change what is named above in the file until `afk config check` ends \
             with 0, then explain again"
        )),
        other => other.into(),
    })
}

/// A brake that has read the switches once.
pub(super) async fn brake(app: &App) -> Brake {
    let brake = Brake::new(CancellationToken::new());
    brake.read(&*app.engine.ports().store).await;
    brake
}
