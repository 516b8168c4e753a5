//! `doctor`: what is found, and how to mend it.

use super::Context;
use crate::cli::desk::sources;
use crate::cli::exit::Exit;
use crate::cli::failure::Answer;
use crate::cli::render;
use afk_app::doctor::{State, examine};

pub(super) async fn run(context: &Context<'_>, fix: bool) -> Answer {
    let report = Box::pin(examine(sources(context.config()), fix)).await;
    context.out.result(&report, |paint| render::doctor(&report, paint))?;
    Ok(match report.worst() {
        State::Failure if report.unusable => Exit::Usage,
        State::Failure => Exit::Missing,
        State::Ok | State::Note | State::Warning => Exit::Done,
    })
}
