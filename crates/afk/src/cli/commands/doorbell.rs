//! `doorbell test`: rings doorbells as a test.

use afk_app::App;
use afk_app::operations::test_doorbells;
use serde_json::json;

use super::Context;
use crate::cli::args::DoorbellCommand;
use crate::cli::exit::{Answer, Exit};
use crate::cli::render;
use crate::cli::sources::sources;

pub(super) async fn run(context: &Context<'_>, command: DoorbellCommand) -> Answer {
    let DoorbellCommand::Test { names } = command;
    let app = App::open(sources(context.config())).await?;
    let tested = test_doorbells(&app, &names).await?;
    let document = json!({ "doorbells": tested });
    context.out.result(&document, |paint| render::doorbells(&tested, paint))?;
    app.store.close().await;
    let all_rang = tested.iter().all(|one| one.error.is_none());
    Ok(if all_rang { Exit::Done } else { Exit::Failure })
}
