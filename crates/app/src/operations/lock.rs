//! Takes off an in-progress label that no run of this store holds: a lock that a person added by
//! hand, or that another control plane left behind.

use afk_core::ids::{Actor, At, IssueRef};
use afk_engine::ports::{Store as _, StoredRun};
use serde::Serialize;

use crate::Error;
use crate::operator::Operator;

/// The result of releasing a lock.
#[derive(Debug, Clone, Serialize)]
pub struct LockReleased {
    /// The issue.
    pub issue: IssueRef,
    /// The in-progress label.
    pub label: String,
    /// Whether the issue had it.
    pub released: bool,
    /// Who took it off.
    pub by: Actor,
}

/// Takes the in-progress label off `issue`, unless a live run holds it.
pub async fn release_lock(
    operator: &Operator,
    issue: IssueRef,
    now: At,
) -> Result<LockReleased, Error> {
    let live = operator.store.live().await?;
    if let Some(holder) = live.iter().find(|stored| stored.run.issue == issue) {
        return Err(held(&issue, holder));
    }
    let (label, by) = (operator.config.policy.in_progress_label.clone(), operator.person.clone());
    let released = operator.tracker.unlabel(&issue, &label, &by, now).await?;
    Ok(LockReleased { issue, label, released, by })
}

/// The error for a lock that a run holds: it comes off when the run ends.
fn held(issue: &IssueRef, holder: &StoredRun) -> Error {
    let id = holder.run.id;
    Error::waiting(match holder.run.conclusion {
        None => format!("run {id} is live on {issue} and holds it: `afk stop {issue}` releases it"),
        Some(_) => format!(
            "run {id} on {issue} has ended and will release it by itself: `afk tick`, then look \
             again"
        ),
    })
}
