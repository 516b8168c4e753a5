//! `t3`: tries a T3 Code server, and gets a token for it.

use afk_app::App;
use afk_app::Error;
use afk_app::config::{Config, load};
use afk_app::operations::{check_t3, pair};
use afk_app::operator::repo as named;
use afk_core::ids::AdapterName;

use super::Context;
use super::issue::text_or_stdin;
use crate::cli::args::T3Command;
use crate::cli::exit::{Answer, Exit};
use crate::cli::render;
use crate::cli::sources::sources;

pub(super) async fn run(context: &Context<'_>, command: T3Command) -> Answer {
    match command {
        T3Command::Check { repo } => check(context, &repo).await,
        T3Command::Pair { name } => paired(context, &name).await,
    }
}

async fn check(context: &Context<'_>, repo: &str) -> Answer {
    let app = App::open(sources(context.config())).await?;
    let repo = named(repo, &app.config)?;
    let checked = Box::pin(check_t3(&app, &repo)).await?;
    context.out.result(&checked, |paint| render::t3_checked(&checked, paint))?;
    app.store.close().await;
    let failed = checked.steps.iter().any(|step| step.failed);
    Ok(if failed { Exit::Failure } else { Exit::Done })
}

async fn paired(context: &Context<'_>, name: &str) -> Answer {
    let name: AdapterName =
        name.parse().map_err(|error| Error::invalid(format!("{name:?}: {error}")))?;
    let config = load::<Config>(&sources(context.config()))?.config;
    let credential = text_or_stdin("-".to_owned())?;
    let paired = pair(&config, &name, &credential).await?;
    context.out.result(&paired, |paint| render::t3_paired(&paired, paint))?;
    Ok(Exit::Done)
}
