//! `doctor`: shows what was found, and how to fix it.

use afk_app::doctor::{State, examine};

use super::Context;
use crate::cli::exit::{Answer, Exit};
use crate::cli::render;
use crate::cli::sources::sources;

pub(super) async fn run(context: &Context<'_>, fix: bool) -> Answer {
    let report = Box::pin(examine(sources(context.config()), fix)).await;
    context.out.result(&report, |paint| render::doctor(&report, paint))?;
    Ok(match report.worst() {
        State::Failure if report.unusable => Exit::Usage,
        State::Failure => Exit::Missing,
        State::Ok | State::Note | State::Warning => Exit::Done,
    })
}
