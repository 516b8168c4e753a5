//! `replay`: makes a run's decisions again from its journal. Only reads.

use afk_app::views::ReplayPage;

use super::Context;
use crate::cli::exit::{Answer, Exit};
use crate::cli::render;

pub(super) async fn run(context: &Context<'_>, text: &str) -> Answer {
    let operator = context.operator_to_look().await?;
    let run = operator.run(text).await?.run;
    let page = ReplayPage::read(&operator, run).await?;
    operator.store.close().await;
    context.out.result(&page, |paint| render::replayed(&page, paint))?;
    Ok(if page.same() { Exit::Done } else { Exit::Failure })
}
