//! Takes an in-progress label off that no run of this store stands behind: a lock that a
//! person put there by hand, or that another control plane left.

use afk_core::ids::IssueRef;
use afk_engine::ports::{Store as _, StoredRun};
use serde_json::json;

use super::Context;
use crate::cli::desk::{Desk, now};
use crate::cli::exit::Exit;
use crate::cli::failure::{Answer, Failure};

pub(super) async fn run(context: &Context<'_>, text: &str) -> Answer {
    let desk = Desk::open(context.config()).await?;
    let issue = desk.issue(text)?;
    let live = desk.port.live().await?;
    if let Some(holder) = live.iter().find(|stored| stored.run.issue == issue) {
        return Err(held(&issue, holder));
    }
    let label = &desk.config.in_progress_label;
    let released = desk.tracker.unlabel(&issue, label, &desk.keeper, now()).await?;
    let by = &desk.keeper;
    let document = json!({ "issue": issue, "label": label, "released": released, "by": by });
    context.out.result(&document, |_| {
        if released {
            format!(
                "{issue} has {label} no more, by {}; `afk explain {issue}` asks again",
                by.login
            )
        } else {
            format!("{issue} does not have {label}: there is nothing to release")
        }
    })?;
    desk.store.close().await;
    Ok(Exit::Done)
}

/// The lock is a run's own: it comes off when the run ends, and not before.
fn held(issue: &IssueRef, holder: &StoredRun) -> Failure {
    let id = holder.run.id;
    let message = match holder.run.conclusion {
        None => format!("run {id} is live on {issue} and holds it: `afk stop {issue}` lets it go"),
        Some(_) => format!(
            "run {id} on {issue} has ended and lets {issue} go by itself: `afk tick`, then look \
             again"
        ),
    };
    Failure::new(Exit::Waiting, message)
}
