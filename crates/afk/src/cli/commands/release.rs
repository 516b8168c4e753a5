//! `release`: takes off an in-progress label that no run of this store holds.

use afk_app::App;
use afk_app::operations::release_lock;

use super::Context;
use crate::cli::exit::{Answer, Exit};
use crate::cli::sources::{now, sources};

pub(super) async fn run(context: &Context<'_>, text: &str) -> Answer {
    let operator = context.operator().await?;
    let issue = operator.issue(text)?;
    let app = App::open(sources(context.config())).await?;
    let lock = release_lock(&operator, &app.engine, issue, now()).await?;
    context.out.result(&lock, |_| {
        let (issue, label) = (&lock.issue, &lock.label);
        if lock.released {
            let by = &lock.by.login;
            format!("{issue} no longer has {label}, taken off by {by}; `afk explain {issue}` shows its gates")
        } else {
            format!("{issue} does not have {label}: there is nothing to release")
        }
    })?;
    app.store.close().await;
    operator.store.close().await;
    Ok(Exit::Done)
}
