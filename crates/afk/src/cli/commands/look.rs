//! `status`, `show`, `diff`, `runs`, `explain`: commands that only read.

use std::sync::Arc;
use std::time::Duration;

use afk_app::operator::{configured, issue};
use afk_app::views::{Explained, FromTrackers, RunDiff, RunPage, RunView, Status};
use afk_app::{App, AppError, Error};
use afk_engine::ports::{Filter, Settings as _, Store as _, StoredRun};
use serde_json::json;

use super::Context;
use crate::cli::exit::{Answer, Exit};
use crate::cli::render;
use crate::cli::sources::{now, sources};

/// Pause before the status is shown again.
const AGAIN: Duration = Duration::from_secs(2);
/// Moves the cursor to the top of the terminal and clears it, scrolled-off lines included.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J\u{1b}[3J";

pub(super) async fn status(context: &Context<'_>, watch: bool) -> Answer {
    if watch && !context.out.live {
        return Err(Error::invalid(
            "--watch needs a terminal: `afk serve` logs each change, and `afk status --json` is one \
             answer",
        ));
    }
    let mut watched = Watched::open(context).await?;
    loop {
        // Ctrl-C ends the process: nothing is under way here.
        let exit = watched.show(context, if watch { CLEAR } else { "" }).await?;
        if !watch || context.out.is_gone() {
            watched.app.store.close().await;
            return Ok(exit);
        }
        tokio::time::sleep(AGAIN).await;
        if watched.is_outdated() {
            watched.app.store.close().await;
            watched = Watched::open(context).await?;
        }
    }
}

/// What `status` shows. It stays open while it is shown again and again, because a new one would
/// log in at the forges and ask them about every repository anew.
struct Watched {
    app: App,
    /// What was wrong with the configuration when the app was opened.
    trouble: Option<String>,
    /// What the trackers said; none before they were asked.
    trackers: Option<FromTrackers>,
}

impl Watched {
    async fn open(context: &Context<'_>) -> Answer<Self> {
        let app = App::open_to_look(sources(context.config())).await?;
        let trouble = app.settings.current().1;
        Ok(Self { app, trouble, trackers: None })
    }

    async fn show(&mut self, context: &Context<'_>, before: &str) -> Answer {
        context.warn_of(self.trouble.as_deref(), self.app.store.path());
        let now = Status::read(&self.app, &mut self.trackers).await?;
        let valid = self.trouble.is_none();
        let text = |paint| format!("{before}{}", render::status(&now, valid, paint));
        context.out.result(&now, text)?;
        Ok(if valid { Exit::Done } else { Exit::Usage })
    }

    /// Whether the configuration has changed, has become invalid, or was corrected.
    fn is_outdated(&self) -> bool {
        let (config, trouble) = self.app.settings.read();
        !Arc::ptr_eq(&config, &self.app.config) || trouble != self.trouble
    }
}

pub(super) async fn runs(context: &Context<'_>, repo: Option<&str>, limit: u32) -> Answer {
    let operator = context.operator_to_look().await?;
    let repo = repo.map(|repo| operator.repo(repo)).transpose()?;
    let found =
        operator.store.runs(&Filter { repo, issue: None, limit, ..Filter::default() }).await?;
    let at = now();
    let policy = &operator.config.policy;
    let row = |one: &StoredRun| (one.run.admitted_at, RunView::new(&one.run, policy, None, at));
    let rows: Vec<_> = found.iter().map(row).collect();
    let views: Vec<_> = rows.iter().map(|(_, view)| view).collect();
    context.out.result(&json!({ "runs": views }), |paint| render::runs(&rows, at, paint))?;
    operator.store.close().await;
    Ok(Exit::Done)
}

pub(super) async fn show(context: &Context<'_>, text: &str) -> Answer {
    let operator = context.operator_to_look().await?;
    let run = operator.run(text).await?.run;
    // Only the current turn needs the app: the record is shown even if that cannot be opened.
    let app = match App::open_to_look(sources(context.config())).await {
        Ok(app) => Some(app),
        Err(error) => {
            tracing::debug!(%error, "the current turn cannot be read");
            None
        }
    };
    let page = RunPage::read(&operator, app.as_ref(), run).await?;
    context.out.result(&page, |paint| render::page(&page, paint))?;
    operator.store.close().await;
    Ok(Exit::Done)
}

pub(super) async fn diff(context: &Context<'_>, text: &str, stat: bool) -> Answer {
    let operator = context.operator_to_look().await?;
    let run = operator.run(text).await?.run;
    operator.store.close().await;
    let app = App::open_to_look(sources(context.config())).await?;
    let change = RunDiff::read(&app, &run, stat).await?;
    if context.out.json {
        context.out.result(&change, |_| String::new())?;
    } else {
        context.out.raw(change.patch.as_bytes());
    }
    Ok(Exit::Done)
}

pub(super) async fn explain(context: &Context<'_>, text: &str) -> Answer {
    let app = open(context).await?;
    let issue = issue(text, &app.config)?;
    configured(&issue.repo, &app.config, app.config_path.as_deref())?;
    let said = Explained::read(&app, &issue).await?;
    context.out.result(&said, |paint| render::explanation(&said.gates, &said.title, paint))?;
    Ok(if said.gates.eligible() { Exit::Done } else { Exit::Waiting })
}

/// Opens the app. If the configuration is invalid, the error says what that means for the loop and
/// how to fix it.
async fn open(context: &Context<'_>) -> Answer<App> {
    App::open(sources(context.config())).await.map_err(|error| match error {
        AppError::Config(errors) => Error::invalid(format!(
            "{errors}\nno gate can be decided with an invalid configuration, and nothing new is \
             dispatched until it is fixed; an `afk serve` that runs continues its live runs with \
             the last valid configuration\n\
             to fix it: correct what is named above in the file until `afk config check` exits \
             with 0, then explain again"
        )),
        other => other.into(),
    })
}
