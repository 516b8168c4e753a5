//! Takes off an in-progress label that no run of this store holds: a lock that a person added by
//! hand, or that another control plane left behind.
//!
//! In the local tracker the person themselves takes it off; on a forge our own account does it.

use afk_core::ids::{Actor, At, IssueRef};
use afk_core::run::Run;
use afk_engine::Engine;
use afk_engine::ports::{Labels, PortErrorKind, Store as _, StoredRun};
use serde::Serialize;

use crate::Error;
use crate::config::is_local;
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
    /// Who took it off: the person in the local tracker, our own account on a forge.
    pub by: Actor,
}

/// Takes the in-progress label off `issue`, unless a live run holds it, which is an
/// [`ErrorKind::Waiting`](crate::ErrorKind::Waiting). `engine` has the trackers.
pub async fn release_lock(
    operator: &Operator,
    engine: &Engine,
    issue: IssueRef,
    now: At,
) -> Result<LockReleased, Error> {
    let live = operator.store.live().await?;
    let holds = |run: &Run| run.issue == issue && run.aside_since.is_none();
    if let Some(holder) = live.iter().find(|stored| holds(&stored.run)) {
        return Err(held(&issue, holder));
    }
    let label = operator.config.policy.in_progress_label.clone();
    let (released, by) = if is_local(&operator.config.policy, &issue.repo) {
        let by = operator.person.clone();
        (operator.tracker.unlabel(&issue, &label, &by, now).await?, by)
    } else {
        unlabel(engine, &issue, &label).await?
    };
    Ok(LockReleased { issue, label, released, by })
}

/// Takes `label` off an issue of a forge; returns whether it was there, and our account.
async fn unlabel(engine: &Engine, issue: &IssueRef, label: &str) -> Result<(bool, Actor), Error> {
    let tracker = &engine.ports().tracker;
    let by = tracker.own_account(&issue.repo).await?;
    tracker.forget(issue);
    let view = tracker.issue(issue).await.map_err(|error| match error.kind {
        PortErrorKind::NotFound => Error::invalid(format!("there is no issue {issue}")),
        _ => error.into(),
    })?;
    // Forges ignore the case of a label's name: remove the one that is on the issue.
    let there = view.issue.labels.into_iter().find(|other| other.eq_ignore_ascii_case(label));
    let Some(there) = there else { return Ok((false, by)) };
    tracker.label(issue, &Labels { add: Vec::new(), remove: vec![there] }).await?;
    Ok((true, by))
}

/// The error for a lock that a run holds: the run takes it off when it has ended.
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
